//! What there is to see in a space, gathered in one look.

use std::collections::BTreeMap;

use serde::Serialize;
use tenure::{BlockState, HandleState, Kind, ObjectInfo, ObjectState, Space};

use super::history::{Death, History};
use super::sleepers::{Sleeper, sleepers};
use crate::inspect::trouble;
use crate::members::{Member, lease_text, members};

/// The number of cells in a map of the memory.
pub(crate) const CELLS: usize = 96;

/// Handles of one kind.
#[derive(Debug, Default, Serialize)]
pub(crate) struct OfKind {
    pub(crate) kind: String,
    pub(crate) count: u64,
    pub(crate) bytes: u64,
    /// Those that a slot holds and no member.
    pub(crate) in_slots_only: u64,
}

/// The memory of the blocks, in cells of equal size from its start.
#[derive(Debug, Serialize)]
pub(crate) struct Memory {
    pub(crate) cell_bytes: u64,
    /// How full each cell is, in percent.
    pub(crate) cells: Vec<u8>,
    pub(crate) leased: u64,
    pub(crate) attached: u64,
    pub(crate) pinned: u64,
    pub(crate) bytes_live: u64,
    pub(crate) bytes_owned: u64,
    pub(crate) bytes_committed: u64,
    pub(crate) bytes_capacity: u64,
}

/// Something that processes have or wait for.
#[derive(Debug, Serialize)]
pub(crate) struct Lock {
    /// Its name, or its token.
    pub(crate) what: String,
    pub(crate) kind: String,
    /// Whether it is a lock, and not an event, a count or the end of a process.
    pub(crate) is_lock: bool,
    /// Who has it, as text.
    pub(crate) state: String,
    /// The lease of who has it, to write.
    pub(crate) owner: Option<u8>,
    /// Whether threads may sleep for it.
    pub(crate) has_waiters: bool,
    /// The processes that sleep for it, as far as the kernel tells.
    pub(crate) waiters: Vec<u32>,
}

/// A queue.
#[derive(Debug, Serialize)]
pub(crate) struct Queue {
    /// Its name, or its token.
    pub(crate) what: String,
    pub(crate) waiting: u32,
    pub(crate) claimed: u32,
    pub(crate) capacity: u32,
    pub(crate) has_waiters: bool,
}

/// One look.
#[derive(Debug, Serialize)]
pub(crate) struct View {
    pub(crate) name: String,
    pub(crate) backend: String,
    pub(crate) bytes: u64,
    pub(crate) bytes_resident: Option<u64>,
    /// What is wrong with the name.
    pub(crate) name_state: Option<&'static str>,
    pub(crate) members_capacity: u16,
    pub(crate) members: Vec<Member>,
    /// What each of the members holds, in their order: kinds and numbers.
    pub(crate) holds: Vec<Vec<(String, u64)>>,
    pub(crate) handles_live: u64,
    pub(crate) handles_capacity: u64,
    pub(crate) kinds: Vec<OfKind>,
    pub(crate) memory: Memory,
    pub(crate) locks: Vec<Lock>,
    pub(crate) queues: Vec<Queue>,
    pub(crate) deaths: Vec<Death>,
}

impl View {
    /// Looks at a space once.
    pub(crate) fn now(space: &Space, name: &str) -> Self {
        Self::of(space, name, &mut History::default())
    }

    /// Looks at a space.
    pub(crate) fn of(space: &Space, name: &str, history: &mut History) -> Self {
        let stats = space.stats();
        let members = members(space, &stats.handles_by_lease);
        let geometry = space.geometry();
        let mut kinds = BTreeMap::<String, OfKind>::new();
        let mut holds = BTreeMap::<(u8, String), u64>::new();
        for handle in space.handles().iter().filter(|handle| handle.state == Some(HandleState::Live)) {
            let kind = Kind::from_number(handle.kind).to_string();
            let of_kind = kinds.entry(kind.clone()).or_default();
            of_kind.kind.clone_from(&kind);
            of_kind.count += 1;
            of_kind.bytes += handle.len;
            of_kind.in_slots_only += u64::from(handle.holders.is_empty());
            for lease in handle.holders.iter() {
                *holds.entry((lease, kind.clone())).or_default() += 1;
            }
        }
        let mut blocks_of = BTreeMap::<u8, u64>::new();
        let (mut used, mut last) = (Vec::new(), 0);
        for block in space.blocks() {
            match block.owner {
                BlockState::Lease { lease, .. } => *blocks_of.entry(lease).or_default() += 1,
                BlockState::Attached { .. } | BlockState::Pinned { .. } => {}
                _ => continue,
            }
            last = last.max(block.offset + block.bytes);
            used.push((block.offset, block.bytes));
        }
        for (lease, count) in blocks_of {
            holds.insert((lease, "block".to_owned()), count);
        }
        let held_by = |member: &Member| {
            let of_member = holds.iter().filter(|((lease, _), _)| *lease == member.index);
            of_member.map(|((_, kind), count)| (kind.clone(), *count)).collect()
        };
        let memory = Memory {
            leased: stats.blocks_leased,
            attached: stats.blocks_attached,
            pinned: stats.blocks_pinned,
            bytes_live: stats.bytes_live,
            bytes_owned: stats.bytes_owned,
            bytes_committed: stats.bytes_committed,
            bytes_capacity: stats.bytes_capacity,
            ..cells(&used, last)
        };
        let (locks, queues) = objects(space, &members);
        Self {
            name: name.to_owned(),
            backend: space.backend().to_string(),
            bytes: space.bytes(),
            bytes_resident: stats.bytes_resident,
            name_state: trouble(space.name_state()),
            members_capacity: geometry.members,
            holds: members.iter().map(held_by).collect(),
            handles_live: stats.handles_live,
            handles_capacity: stats.handles_capacity,
            kinds: kinds.into_values().collect(),
            memory,
            locks,
            queues,
            deaths: history.look(space, &members),
            members,
        }
    }
}

/// How full the memory is, up to the end of the last block.
fn cells(used: &[(u64, u64)], last: u64) -> Memory {
    let cell_bytes = last.div_ceil(CELLS as u64).max(1).next_power_of_two();
    let mut cells = vec![0_u64; last.div_ceil(cell_bytes) as usize];
    for &(offset, bytes) in used {
        let (mut from, end) = (offset, offset + bytes);
        while from < end {
            let cell = from / cell_bytes;
            let to = end.min((cell + 1) * cell_bytes);
            if let Some(sum) = cells.get_mut(cell as usize) {
                *sum += to - from;
            }
            from = to;
        }
    }
    // While others allocate, blocks of several moments may overlap.
    let percent = |bytes: u64| (bytes * 100).div_ceil(cell_bytes).min(100) as u8;
    Memory {
        cell_bytes,
        cells: cells.into_iter().map(percent).collect(),
        leased: 0,
        attached: 0,
        pinned: 0,
        bytes_live: 0,
        bytes_owned: 0,
        bytes_committed: 0,
        bytes_capacity: 0,
    }
}

fn objects(space: &Space, members: &[Member]) -> (Vec<Lock>, Vec<Queue>) {
    let (objects, names) = (space.objects(), space.names());
    let asleep = if objects.iter().any(|object| object.has_waiters) {
        let alive = members.iter().filter(|member| member.alive != Some(false));
        sleepers(space, alive.map(|member| member.pid))
    } else {
        Vec::new()
    };
    let (mut locks, mut queues) = (Vec::new(), Vec::new());
    for object in &objects {
        let name = names.iter().find(|named| named.token == object.token);
        let what = name.map_or_else(|| object.token.to_string(), |named| named.name.clone());
        if let ObjectState::Queue { waiting, claimed, capacity } = object.state {
            queues.push(Queue { what, waiting, claimed, capacity, has_waiters: object.has_waiters });
        } else if let Some((owner, state)) = state_text(object, members) {
            let is_here = |sleeper: &&Sleeper| (object.at..object.end).contains(&sleeper.at);
            let mut waiters: Vec<_> = asleep.iter().filter(is_here).map(|sleeper| sleeper.pid).collect();
            waiters.dedup();
            let (kind, has_waiters) = (object.kind.to_string(), object.has_waiters);
            // At the moment at which a mutex is taken together with others it is a lock, too.
            let is_lock = matches!(object.state, ObjectState::Lock { .. }) || kind == "mutex";
            locks.push(Lock { what, kind, is_lock, state, owner, has_waiters, waiters });
        }
    }
    // Those that somebody has or waits for first.
    locks.sort_by_key(|lock| (!lock.has_waiters, lock.owner.is_none()));
    (locks, queues)
}

/// Who has an object, and how that is said; `None` for one that nobody has or waits for.
fn state_text(object: &ObjectInfo, members: &[Member]) -> Option<(Option<u8>, String)> {
    let each = |all: &[(u8, u32)]| {
        let one = |(lease, count): &(u8, u32)| format!("{count} by lease {}", lease_text(*lease, members));
        all.iter().map(one).collect::<Vec<_>>().join(", ")
    };
    let text = match &object.state {
        ObjectState::Lock { owner, abandoned, readers } => {
            let owned = owner.map(|owner| {
                let thread = owner.thread.map_or_else(String::new, |thread| format!(", thread {thread}"));
                format!("owned by lease {}{thread}", lease_text(owner.lease, members))
            });
            let read = Some(format!("read {}", each(readers))).filter(|_| !readers.is_empty());
            let free = if *abandoned { "free, abandoned" } else { "free" };
            let text: Vec<_> = [owned, read].into_iter().flatten().collect();
            let text = if text.is_empty() { free.to_owned() } else { text.join("; ") };
            return Some((owner.map(|owner| owner.lease), text));
        }
        ObjectState::InDecision { lease } => {
            format!("being taken by lease {}, together with others", lease_text(*lease, members))
        }
        ObjectState::Event { signalled } => {
            if *signalled {
                "signalled".to_owned()
            } else {
                "not signalled".to_owned()
            }
        }
        ObjectState::Semaphore { count, maximum } => format!("{count} of {maximum} free"),
        ObjectState::Permits { free, total, owners } => {
            let owners = if owners.is_empty() { String::new() } else { format!("; {}", each(owners)) };
            format!("{free} of {total} free{owners}")
        }
        ObjectState::Ended { ended } => if *ended { "ended" } else { "runs" }.to_owned(),
        ObjectState::Other if object.has_waiters => "awaited".to_owned(),
        _ => return None,
    };
    Some((None, text))
}
