//! What a look at a whole space finds.

use tenure_scratch_alloc::Scratch;
use tenure_segment::LeaseInfo;
use tenure_slab::{Problem, Slab, State};

/// What is in use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Members whose lease is LIVE; a dead one that is not recovered yet counts.
    pub members_live: u16,
    /// Handles that somebody holds.
    pub handles_live: u64,
    /// Handles claimed ahead by members and not created yet.
    pub handles_claimed: u64,
    /// Handles of the geometry.
    pub handles_capacity: u64,
    /// Handles used up.
    pub handles_retired: u64,
    /// Handles held by each lease.
    pub handles_by_lease: Vec<u64>,
    /// Blocks owned by members.
    pub blocks_leased: u64,
    /// Blocks that belong to handles.
    pub blocks_attached: u64,
    /// Blocks that only an explicit free ends.
    pub blocks_pinned: u64,
    /// Bytes of those blocks.
    pub bytes_live: u64,
    /// Bytes of scratch owned by members, used or not.
    pub bytes_owned: u64,
    /// Bytes of scratch with memory behind them.
    pub bytes_committed: u64,
    /// Bytes of scratch of the geometry.
    pub bytes_capacity: u64,
    /// Bytes of memory behind the whole segment, where the backend can tell.
    pub bytes_resident: Option<u64>,
}

impl Stats {
    /// Blocks in use.
    #[must_use]
    pub fn blocks_live(&self) -> u64 {
        self.blocks_leased + self.blocks_attached + self.blocks_pinned
    }
}

/// What `check` found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// What can never be. Empty in a correct space.
    pub violations: Vec<String>,
    /// What operations in progress or a recovery that is due explain.
    pub pending: Vec<String>,
    /// What is in use.
    pub stats: Stats,
}

impl Report {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.violations.is_empty()
    }
}

/// What the words of a handle show between two steps of an operation.
fn is_transient(problem: &Problem) -> bool {
    matches!(problem, Problem::Unheld { .. } | Problem::HeldUnused { .. } | Problem::SharedUnmarked { .. })
}

/// The state words of the system's objects.
#[cfg(feature = "objects")]
fn look_at_states(slab: &Slab<'_>, scratch: &Scratch<'_>, report: &mut Report) {
    use crate::kind::Kind;
    use crate::state::{STATE_WORDS, copy_state};

    for handle in slab.iter().filter(|handle| handle.state == Some(State::Live)) {
        let kind = Kind::from_word(handle.kind);
        if !kind.is_system() {
            continue;
        }
        let state = if handle.len < 8 * STATE_WORDS as u64 {
            None
        } else if let Some(offset) = handle.block {
            let found = scratch.find(offset).is_ok_and(|found| handle.len <= found.bytes);
            // SAFETY: a block of the space, mapped as long as it is looked at, and at least that long.
            found.then(|| unsafe { copy_state(scratch.address(offset)) }).flatten()
        } else {
            let words = slab.inline_words(handle.index);
            // SAFETY: the words of the entry.
            words.and_then(|words| unsafe { copy_state(words.as_ptr().cast_mut().cast()) })
        };
        let found = match state {
            Some(state) => crate::waiting::recover::inspect(kind, state, &handle.holders),
            None => crate::waiting::recover::Findings {
                violations: vec!["its payload is too short for its state".into()],
                pending: Vec::new(),
            },
        };
        // What was read belongs together if the handle is still what it was.
        if slab.inspect(handle.index) != Some(handle) {
            continue;
        }
        let about = |what: String| format!("handle {}, {kind}: {what}", handle.index);
        report.violations.extend(found.violations.into_iter().map(about));
        report.pending.extend(found.pending.into_iter().map(about));
    }
}

pub(crate) fn look(
    (slab, scratch): &(Slab<'_>, Scratch<'_>),
    leases: &[LeaseInfo],
    bytes_resident: Option<u64>,
    stable: bool,
) -> Report {
    let is_live = |lease: u8| leases.get(usize::from(lease)).is_some_and(|lease| lease.live);
    // Handles first: a block that is attached while we look names a handle that we have not seen.
    let handles = slab.check(&is_live);
    let blocks = scratch.check(stable, &is_live, &|index, generation, offset| {
        slab.inspect(index).is_some_and(|handle| {
            let current = matches!(handle.state, Some(State::Init | State::Live));
            current && handle.generation == generation && handle.block == Some(offset)
        })
    });
    let mut report = Report { violations: blocks.violations, pending: blocks.pending, ..Report::default() };
    for problem in &handles.problems {
        // What an operation in progress explains, it explains only while somebody lives.
        let list =
            if is_transient(problem) && !stable { &mut report.pending } else { &mut report.violations };
        list.push(problem.to_string());
    }
    for handle in slab.iter().filter(|handle| handle.state == Some(State::Live)) {
        if let Some(offset) = handle.block
            && !scratch.find(offset).is_ok_and(|found| {
                found.owner
                    == tenure_scratch_alloc::Block::Attached {
                        index: handle.index,
                        generation: handle.generation,
                    }
            })
            && slab.inspect(handle.index) == Some(handle)
        {
            let what = format!("handle {} names the block at {offset}, which is not its own", handle.index);
            if stable { &mut report.violations } else { &mut report.pending }.push(what);
        }
    }
    #[cfg(feature = "objects")]
    look_at_states(slab, scratch, &mut report);
    for lease in leases.iter().filter(|lease| lease.live && lease.held == Some(false)) {
        report.pending.push(format!("lease {} of a dead process is not recovered yet", lease.index));
    }
    let mut handles_by_lease = vec![0; leases.len()];
    for handle in slab.iter().filter(|handle| handle.state == Some(State::Live)) {
        for lease in handle.holders.iter() {
            if let Some(count) = handles_by_lease.get_mut(usize::from(lease)) {
                *count += 1;
            }
        }
    }
    report.stats = Stats {
        members_live: leases.iter().filter(|lease| lease.live).count() as u16,
        handles_live: handles.counts.live.into(),
        handles_claimed: handles.counts.init.into(),
        handles_capacity: slab.layout().geometry().handles.into(),
        handles_retired: handles.counts.retired.into(),
        handles_by_lease,
        blocks_leased: blocks.leased,
        blocks_attached: blocks.attached,
        blocks_pinned: blocks.pinned,
        bytes_live: blocks.bytes_used,
        bytes_owned: blocks.bytes_owned,
        bytes_committed: blocks.bytes_backed,
        bytes_capacity: scratch.layout().capacity(),
        bytes_resident,
    };
    report
}
