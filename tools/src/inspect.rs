//! Commands on an existing segment: `ls`, `stat`, `names` and `check` read it; `recover` and `rm` clean up.

use std::fmt::Write as _;

use serde_json::json;
use tenure::{Listed, NameState, Space};

use crate::attach::attach;
use crate::cli::Name;
use crate::exit::{Answer, Exit};
use crate::table::{Table, bytes};

/// Lists the named segments of this user.
///
/// # Errors
/// The segments cannot be listed.
pub fn ls(json: bool) -> Answer {
    let listed = Space::list()?;
    if json {
        let all: Vec<_> = listed.iter().map(row_json).collect();
        return Ok((pretty(&json!(all)), Exit::Well));
    }
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
    Ok((text, Exit::Well))
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
fn trouble(state: NameState) -> Option<&'static str> {
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
///
/// # Errors
/// The segment cannot be attached.
pub fn stat(name: &Name, json: bool) -> Answer {
    let space = name.attach()?;
    let (stats, geometry) = (space.stats(), space.geometry());
    let leases: Vec<_> = space.leases().into_iter().filter(|lease| lease.live).collect();
    let held_by = |index: u8| stats.handles_by_lease.get(usize::from(index)).copied().unwrap_or(0);
    if json {
        let leases: Vec<_> = leases
            .iter()
            .map(|lease| {
                json!({
                    "index": lease.index,
                    "incarnation": lease.incarnation,
                    "pid": lease.pid,
                    "alive": lease.held,
                    "handles": held_by(lease.index),
                })
            })
            .collect();
        let text = pretty(&json!({
            "name": name.name,
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
            "leases": leases,
        }));
        return Ok((text, Exit::Well));
    }
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
    let mut table = Table::new(["lease", "incarnation", "pid", "handles", "owner"]);
    for lease in &leases {
        let owner = match lease.held {
            Some(true) => "alive",
            Some(false) => "dead, to be recovered",
            None => "unknown",
        };
        table.row([
            lease.index.to_string(),
            lease.incarnation.to_string(),
            lease.pid.to_string(),
            held_by(lease.index).to_string(),
            owner.to_owned(),
        ]);
    }
    if !leases.is_empty() {
        write!(text, "{table}")?;
    }
    Ok((text, Exit::Well))
}

/// Lists the names in use and the members that have them.
///
/// # Errors
/// The segment cannot be attached.
pub fn names(name: &Name, json: bool) -> Answer {
    let all = name.attach()?.names();
    if json {
        let row = |info: &tenure::NameInfo| {
            json!({
                "name": info.name,
                "kind": info.kind.to_string(),
                "token": info.token.to_string(),
                "holders": info.holders,
            })
        };
        return Ok((pretty(&all.iter().map(row).collect()), Exit::Well));
    }
    let mut table = Table::new(["name", "kind", "token", "members"]);
    for info in &all {
        // A name may contain any byte, also a line break: escape it to keep one name a line.
        let shown = info.name.escape_debug().to_string();
        table.row([shown, info.kind.to_string(), info.token.to_string(), info.holders.to_string()]);
    }
    let text = if all.is_empty() { "no names\n".to_owned() } else { table.to_string() };
    Ok((text, Exit::Well))
}

/// Lists the slots that are in use: the handle in each, its name if it has one, and the lease that has claimed it.
///
/// # Errors
/// The segment cannot be attached.
pub fn slots(name: &Name, json: bool) -> Answer {
    let space = name.attach()?;
    let (slots, names, handles) = (space.slots(), space.names(), space.handles());
    let rows = slots.iter().map(|info| {
        let name = names.iter().find(|named| named.token == info.token).map(|named| named.name.as_str());
        let holders = handles.iter().find(|handle| handle.index == info.token.index());
        (info, name, holders.map_or(0, |handle| handle.holders.len()))
    });
    if json {
        let row = |(info, name, members): (&tenure::SlotInfo, _, u32)| {
            json!({
                "slot": info.slot,
                "token": info.token.to_string(),
                "name": name,
                "holders": members,
                "claimed_by": info.claimed_by,
            })
        };
        return Ok((pretty(&rows.map(row).collect()), Exit::Well));
    }
    let mut table = Table::new(["slot", "token", "members", "claimed by lease", "name"]);
    for (info, name, members) in rows {
        let claimer = info.claimed_by.map_or_else(|| "-".to_owned(), |lease| lease.to_string());
        let name = name.map_or_else(|| "-".to_owned(), |name| name.escape_debug().to_string());
        table.row([info.slot.to_string(), info.token.to_string(), members.to_string(), claimer, name]);
    }
    let text = if slots.is_empty() { "no slot is in use\n".to_owned() } else { table.to_string() };
    Ok((text, Exit::Well))
}

/// Checks every word; an inconsistency makes the exit status 1.
///
/// # Errors
/// The segment cannot be attached.
pub fn check(name: &Name, json: bool) -> Answer {
    let report = name.attach()?.check();
    let exit = if report.is_clean() { Exit::Well } else { Exit::Wrong };
    let (handles, blocks) = (report.stats.handles_live, report.stats.blocks_live());
    if json {
        let text = pretty(&json!({
            "name": name.name,
            "clean": report.is_clean(),
            "violations": report.violations,
            "pending": report.pending,
            "handles_live": handles,
            "blocks_live": blocks,
        }));
        return Ok((text, exit));
    }
    let mut text = String::new();
    for violation in &report.violations {
        writeln!(text, "violation: {violation}")?;
    }
    for pending in &report.pending {
        writeln!(text, "pending: {pending}")?;
    }
    let verdict = if report.is_clean() { "clean" } else { "NOT CLEAN" };
    writeln!(text, "{}: {verdict}, {handles} handles and {blocks} blocks in use", name.name)?;
    Ok((text, exit))
}

/// Joins, which recovers dead members, and prints the resources taken back.
///
/// # Errors
/// The segment cannot be attached or joined.
pub fn recover(name: &Name) -> Answer {
    let space = name.attach()?;
    let member = space.join()?;
    member.recover()?;
    let taken = member.reclaimed();
    member.leave()?;
    let text = format!(
        "{}: {} dead members recovered, {} handles and {} blocks taken back\n",
        name.name, taken.leases, taken.handles, taken.blocks
    );
    Ok((text, Exit::Well))
}

/// Removes the segment.
///
/// # Errors
/// The segment does not exist, or it has living members and `force` is off.
pub fn rm(name: &Name, force: bool) -> Answer {
    match Space::remove(name.backend, &name.name, force) {
        Ok(()) => Ok((format!("{}: removed\n", name.name), Exit::Well)),
        Err(error @ tenure::error::RemoveError::Held { .. }) => {
            Err(format!("{error}; expected no living members, or --force").into())
        }
        Err(error) => Err(error.into()),
    }
}

fn pretty(value: &serde_json::Value) -> String {
    format!("{value:#}\n")
}
