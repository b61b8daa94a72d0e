//! Commands on an existing segment: `ls`, `stat`, `names`, `slots` and `check` read it; `recover` and `rm` clean up.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;
use serde_json::json;
use tenure::{BlockState, HandleState, Kind, Listed, NameState, Space, Token};

use crate::attach::attach;
use crate::cli::Name;
use crate::exit::Exit;
use crate::members::{lease_text, members};
use crate::shown::{Finding, Shown};
use crate::table::{Table, bytes, shown};

/// Lists the named segments of this user.
pub(crate) fn ls() -> Finding {
    let listed = Space::list()?;
    let mut table = Table::new(["name", "backend", "size", "members", "state"]);
    for one in &listed {
        let (members, state) = match found(one) {
            Ok(Found { live, dead, name }) => {
                let dead = (dead > 0).then(|| format!("{dead} dead, to be recovered"));
                (
                    live.to_string(),
                    dead.into_iter().chain(trouble(name).map(str::to_owned)).collect::<Vec<_>>().join("; "),
                )
            }
            Err(error) => ("-".to_owned(), error),
        };
        table.row([one.name.clone(), one.backend.to_string(), bytes(one.bytes), members, state]);
    }
    let text = if listed.is_empty() { "no segments\n".to_owned() } else { table.to_string() };
    Ok(Shown::well(text, listed.iter().map(row_json).collect()))
}

fn row_json(one: &Listed) -> serde_json::Value {
    let (live, dead, name, error) = match found(one) {
        Ok(Found { live, dead, name }) => (Some(live), Some(dead), trouble(name), None),
        Err(error) => (None, None, None, Some(error)),
    };
    json!({
        "name": one.name,
        "backend": one.backend.to_string(),
        "bytes": one.bytes,
        "path": one.path.display().to_string(),
        "members_live": live,
        "members_dead": dead,
        "name_state": name,
        "error": error,
    })
}

/// The trouble with the name of a space; `None` if the name leads to it and it is alone.
pub(crate) fn trouble(state: NameState) -> Option<&'static str> {
    match state {
        NameState::Current | NameState::Unknown => None,
        NameState::Contested => Some("another space that had this name has members"),
        NameState::Removed => Some("removed while it was looked at"),
        NameState::Replaced => Some("replaced while it was looked at"),
    }
}

/// The number of living members, that of dead members that nobody has recovered, and where the name leads.
struct Found {
    live: usize,
    dead: usize,
    name: NameState,
}

fn found(one: &Listed) -> Result<Found, String> {
    if let Some(error) = &one.error {
        return Err(error.clone());
    }
    let space = attach(one.backend, &one.name, Space::options()).map_err(|error| error.to_string())?;
    let leases = space.leases();
    let live = leases.iter().filter(|lease| lease.live);
    let dead = live.clone().filter(|lease| lease.held == Some(false)).count();
    Ok(Found { live: live.count() - dead, dead, name: space.name_state() })
}

/// Shows the handles, blocks and members in use.
pub(crate) fn stat(name: &Name) -> Finding {
    let space = name.attach()?;
    let (stats, geometry) = (space.stats(), space.geometry());
    let members = members(&space, &stats.handles_by_lease);
    let data = json!({
        "backend": space.backend().to_string(),
        "bytes": space.bytes(),
        "bytes_resident": stats.bytes_resident,
        "geometry": {
            "members": geometry.members,
            "handles": geometry.handles,
            "generation_bits": geometry.generation_bits,
            "scratch_bytes": geometry.scratch_bytes,
            "unit_bytes": geometry.unit_bytes,
            "slots": geometry.slots,
            "container_slots": geometry.container_slots,
        },
        "name_state": trouble(space.name_state()),
        "members_live": stats.members_live,
        "handles_live": stats.handles_live,
        "handles_claimed": stats.handles_claimed,
        "handles_capacity": stats.handles_capacity,
        "handles_retired": stats.handles_retired,
        "blocks_leased": stats.blocks_leased,
        "blocks_attached": stats.blocks_attached,
        "blocks_pinned": stats.blocks_pinned,
        "scratch_bytes_live": stats.bytes_live,
        "scratch_bytes_owned": stats.bytes_owned,
        "scratch_bytes_committed": stats.bytes_committed,
        "scratch_bytes_capacity": stats.bytes_capacity,
        "leases": members,
    });
    let resident =
        stats.bytes_resident.map_or_else(String::new, |resident| format!(", {} resident", bytes(resident)));
    let mut text = format!("{} ({}): {}{resident}\n", name.name, space.backend(), bytes(space.bytes()));
    if let Some(trouble) = trouble(space.name_state()) {
        writeln!(text, "{trouble}")?;
    }
    let mut table = Table::new(["", "in use", "of", ""]);
    table.row([
        "members".into(),
        stats.members_live.to_string(),
        geometry.members.to_string(),
        String::new(),
    ]);
    table.row([
        "handles".into(),
        stats.handles_live.to_string(),
        stats.handles_capacity.to_string(),
        format!("{} claimed ahead, {} retired", stats.handles_claimed, stats.handles_retired),
    ]);
    table.row([
        "blocks".into(),
        stats.blocks_live().to_string(),
        "-".into(),
        format!(
            "{} of members, {} of handles, {} pinned",
            stats.blocks_leased, stats.blocks_attached, stats.blocks_pinned
        ),
    ]);
    table.row([
        "scratch".into(),
        bytes(stats.bytes_live),
        bytes(stats.bytes_capacity),
        format!("{} owned by members, {} committed", bytes(stats.bytes_owned), bytes(stats.bytes_committed)),
    ]);
    write!(text, "{table}")?;
    let mut table = Table::new(["lease", "incarnation", "pid", "handles", "process", "owner"]);
    for member in &members {
        table.row([
            member.index.to_string(),
            member.incarnation.to_string(),
            member.pid.to_string(),
            member.handles.to_string(),
            member.process_text(),
            member.state().to_owned(),
        ]);
    }
    if !members.is_empty() {
        write!(text, "{table}")?;
    }
    Ok(Shown::well(text, data))
}

/// Lists the names in use and the members that have them.
pub(crate) fn names(name: &Name) -> Finding {
    let all = name.attach()?.names();
    let row = |info: &tenure::NameInfo| {
        json!({
            "name": info.name,
            "kind": info.kind.to_string(),
            "token": info.token.to_string(),
            "holders": info.holders,
        })
    };
    let mut table = Table::new(["name", "kind", "token", "members"]);
    for info in &all {
        table.row([
            shown(&info.name),
            info.kind.to_string(),
            info.token.to_string(),
            info.holders.to_string(),
        ]);
    }
    let text = if all.is_empty() { "no names\n".to_owned() } else { table.to_string() };
    Ok(Shown::well(text, all.iter().map(row).collect()))
}

/// Lists the slots that are in use: the handle in each, its name if it has one, and the lease that has claimed it.
pub(crate) fn slots(name: &Name) -> Finding {
    let space = name.attach()?;
    let (slots, names, handles) = (space.slots(), space.names(), space.handles());
    let mut table = Table::new(["slot", "token", "members", "claimed by lease", "name"]);
    let mut rows = Vec::new();
    for info in &slots {
        let name = names.iter().find(|named| named.token == info.token).map(|named| named.name.as_str());
        let holders = handles.iter().find(|handle| handle.index == info.token.index());
        let members = holders.map_or(0, |handle| handle.holders.len());
        rows.push(json!({
            "slot": info.slot,
            "token": info.token.to_string(),
            "name": name,
            "holders": members,
            "claimed_by": info.claimed_by,
        }));
        let claimer = info.claimed_by.map_or_else(|| "-".to_owned(), |lease| lease.to_string());
        let name = name.map_or_else(|| "-".to_owned(), shown);
        table.row([info.slot.to_string(), info.token.to_string(), members.to_string(), claimer, name]);
    }
    let text = if slots.is_empty() { "no slot is in use\n".to_owned() } else { table.to_string() };
    Ok(Shown::well(text, rows.into()))
}

/// Handles or blocks of one kind and owner.
#[derive(Serialize)]
struct Group {
    kind: String,
    /// The lease that owns them; `None` if slots, handles or nobody do.
    lease: Option<u8>,
    /// What owns them if no lease does.
    owner: Option<&'static str>,
    count: u64,
    bytes: u64,
}

/// Who owns something: a lease, or what is one otherwise.
type Owner = Result<u8, &'static str>;

/// Numbers and bytes, by kind and owner.
#[derive(Default)]
struct Groups(BTreeMap<(String, Owner), (u64, u64)>);

impl Groups {
    fn add(&mut self, kind: String, owner: Owner, bytes: u64) {
        let (count, sum) = self.0.entry((kind, owner)).or_default();
        *count += 1;
        *sum += bytes;
    }

    fn show(self, space: &Space, none: &str) -> Finding {
        let members = members(space, &[]);
        let group = |((kind, by), (count, bytes)): ((_, Result<_, _>), _)| Group {
            kind,
            lease: by.ok(),
            owner: by.err(),
            count,
            bytes,
        };
        let groups: Vec<_> = self.0.into_iter().map(group).collect();
        let mut table = Table::new(["kind", "count", "bytes", "owner"]);
        for group in &groups {
            let owner = match (group.lease, group.owner) {
                (Some(lease), _) => format!("lease {}", lease_text(lease, &members)),
                (None, owner) => owner.unwrap_or("-").to_owned(),
            };
            table.row([group.kind.clone(), group.count.to_string(), bytes(group.bytes), owner]);
        }
        let text = if groups.is_empty() { format!("{none}\n") } else { table.to_string() };
        Ok(Shown::well(text, serde_json::to_value(groups)?))
    }
}

/// Lists the handles by kind and owner: one that several members hold counts for each of them. With `each`, every handle.
pub(crate) fn handles(name: &Name, each: bool) -> Finding {
    const NONE: &str = "no handles";
    let space = name.attach()?;
    let all = space.handles().into_iter().filter(|handle| handle.state == Some(HandleState::Live));
    if !each {
        let mut groups = Groups::default();
        for handle in all {
            let kind = Kind::from_number(handle.kind).to_string();
            for lease in handle.holders.iter() {
                groups.add(kind.clone(), Ok(lease), handle.len);
            }
            if handle.holders.is_empty() {
                groups.add(kind, Err("slots"), handle.len);
            }
        }
        return groups.show(&space, NONE);
    }
    let names = space.names();
    let mut table = Table::new(["token", "kind", "bytes", "leases", "name"]);
    let mut rows = Vec::new();
    for handle in all {
        let token = space.token_of(&handle);
        let named = names.iter().find(|named| Some(named.token) == token).map(|named| named.name.as_str());
        let token = token.as_ref().map(Token::to_string);
        let kind = Kind::from_number(handle.kind).to_string();
        let leases: Vec<u8> = handle.holders.iter().collect();
        rows.push(json!({
            "token": token,
            "index": handle.index,
            "generation": handle.generation,
            "kind": kind,
            "kind_number": handle.kind,
            "bytes": handle.len,
            "leases": leases,
            "name": named,
        }));
        let leases = leases.iter().map(u8::to_string).collect::<Vec<_>>().join(",");
        let or_none =
            |text: Option<String>| text.filter(|text| !text.is_empty()).unwrap_or_else(|| "-".to_owned());
        table.row([
            or_none(token),
            kind,
            bytes(handle.len),
            or_none(Some(leases)),
            or_none(named.map(shown)),
        ]);
    }
    let text = if rows.is_empty() { format!("{NONE}\n") } else { table.to_string() };
    Ok(Shown::well(text, rows.into()))
}

/// Lists the blocks by kind and owner. With `each`, every block.
pub(crate) fn blocks(name: &Name, each: bool) -> Finding {
    const NONE: &str = "no blocks";
    let space = name.attach()?;
    let (all, handles) = (space.blocks(), space.handles());
    // Sorted by index.
    let kind_of = |index: u32| {
        let found = handles.binary_search_by_key(&index, |handle| handle.index).ok()?;
        Some(Kind::from_number(handles[found].kind))
    };
    let owned = all.iter().filter_map(|block| match block.owner {
        BlockState::Lease { lease, .. } => Some((block, "leased".to_owned(), Ok(lease))),
        BlockState::Attached { index, .. } => {
            let kind = kind_of(index).map_or_else(|| "-".to_owned(), |kind| kind.to_string());
            Some((block, format!("attached, {kind}"), Err("handle")))
        }
        BlockState::Pinned { .. } => Some((block, "pinned".to_owned(), Err("nobody"))),
        _ => None,
    });
    if !each {
        let mut groups = Groups::default();
        owned.for_each(|(block, kind, owner)| groups.add(kind, owner, block.bytes));
        return groups.show(&space, NONE);
    }
    let mut table = Table::new(["offset", "bytes", "lease", "handle", "kind"]);
    let mut rows = Vec::new();
    for (block, kind, owner) in owned {
        let handle = match block.owner {
            BlockState::Attached { index, .. } => Some(index),
            _ => None,
        };
        rows.push(json!({
            "offset": block.offset,
            "bytes": block.bytes,
            "kind": kind,
            "lease": owner.ok(),
            "handle": handle,
        }));
        let or_none =
            |number: Option<u32>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
        table.row([
            block.offset.to_string(),
            bytes(block.bytes),
            or_none(owner.ok().map(u32::from)),
            or_none(handle),
            kind,
        ]);
    }
    let text = if rows.is_empty() { format!("{NONE}\n") } else { table.to_string() };
    Ok(Shown::well(text, rows.into()))
}

/// Checks every word; an inconsistency makes the exit status 1.
pub(crate) fn check(name: &Name) -> Finding {
    let report = name.attach()?.check();
    let exit = if report.is_clean() { Exit::Well } else { Exit::Wrong };
    let (handles, blocks) = (report.stats.handles_live, report.stats.blocks_live());
    let data = json!({
        "clean": report.is_clean(),
        "violations": report.violations,
        "pending": report.pending,
        "handles_live": handles,
        "blocks_live": blocks,
    });
    let mut text = String::new();
    for violation in &report.violations {
        writeln!(text, "violation: {violation}")?;
    }
    for pending in &report.pending {
        writeln!(text, "pending: {pending}")?;
    }
    let verdict = if report.is_clean() { "clean" } else { "NOT CLEAN" };
    writeln!(text, "{}: {verdict}, {handles} handles and {blocks} blocks in use", name.name)?;
    Ok(Shown { text, data, exit })
}

/// Joins, which recovers dead members, and prints the resources taken back.
pub(crate) fn recover(name: &Name) -> Finding {
    let space = name.attach()?;
    let member = space.join()?;
    member.recover()?;
    let taken = member.reclaimed();
    member.leave()?;
    let text = format!(
        "{}: {} dead members recovered, {} handles and {} blocks taken back\n",
        name.name, taken.leases, taken.handles, taken.blocks
    );
    let data = json!({ "members": taken.leases, "handles": taken.handles, "blocks": taken.blocks });
    Ok(Shown::well(text, data))
}

/// Removes the segment; refused while it has living members and `force` is off.
pub(crate) fn rm(name: &Name, force: bool) -> Finding {
    match Space::remove(name.backend, &name.name, force) {
        Ok(()) => Ok(Shown::well(format!("{}: removed\n", name.name), json!({ "removed": true }))),
        Err(error @ tenure::error::RemoveError::Held { .. }) => {
            Err(format!("{error}; expected no living members, or --force").into())
        }
        Err(error) => Err(error.into()),
    }
}
