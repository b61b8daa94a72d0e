//! The statistics of a whole space, and the findings of its check.

use tenure_scratch_alloc::Scratch;
use tenure_segment::LeaseInfo;
#[cfg(feature = "objects")]
use tenure_slab::HandleInfo;
use tenure_slab::{Problem, Slab, State};

/// Counts of the members, handles, blocks and bytes in use; see [`Space::stats`](crate::Space::stats).
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
/// # let me = space.join()?;
/// let handle = me.create(&7u64)?;
/// let stats = space.stats();
/// assert_eq!((stats.handles_live, stats.handles_capacity), (1, 64));
/// assert_eq!(stats.handles_by_lease[usize::from(me.lease().index)], 1);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Members with a LIVE lease, including dead members that are not recovered yet.
    pub members_live: u16,
    /// Handles that at least one member or slot holds.
    pub handles_live: u64,
    /// Handles that members have claimed in advance and not created yet.
    pub handles_claimed: u64,
    /// Handles of the geometry.
    pub handles_capacity: u64,
    /// Handles that have used up their generations and are not issued again.
    pub handles_retired: u64,
    /// Handles that each lease holds, by lease index.
    pub handles_by_lease: Vec<u64>,
    /// Blocks owned by members.
    pub blocks_leased: u64,
    /// Blocks that belong to handles.
    pub blocks_attached: u64,
    /// Pinned blocks: only an explicit free ends them.
    pub blocks_pinned: u64,
    /// Bytes of all blocks in use.
    pub bytes_live: u64,
    /// Bytes of scratch that members own, in use or not.
    pub bytes_owned: u64,
    /// Bytes of scratch with memory behind them.
    pub bytes_committed: u64,
    /// Bytes of scratch of the geometry.
    pub bytes_capacity: u64,
    /// Bytes of memory behind the whole segment; `None` if the backend does not tell.
    pub bytes_resident: Option<u64>,
}

impl Stats {
    /// The number of blocks in use: leased, attached and pinned.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let block = me.alloc(std::alloc::Layout::new::<u64>())?; // leased
    /// let handle = me.create_raw(tenure::Kind::raw(1), &[7; 100])?; // its block is attached
    /// assert_eq!(space.stats().blocks_live(), 2);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn blocks_live(&self) -> u64 {
        self.blocks_leased + self.blocks_attached + self.blocks_pinned
    }
}

/// The findings of [`Space::check`](crate::Space::check).
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
/// let report = space.check();
/// for violation in &report.violations {
///     eprintln!("{violation}");
/// }
/// assert!(report.is_clean());
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Violations of the invariants. Empty in a correct space.
    pub violations: Vec<String>,
    /// States that an operation in progress or a due recovery can produce.
    pub pending: Vec<String>,
    /// The counts of the same pass.
    pub stats: Stats,
}

impl Report {
    /// Whether there are no violations. Pending states do not count.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.violations.is_empty()
    }
}

/// Whether an operation on a handle shows this problem between two of its steps.
fn is_transient(problem: &Problem) -> bool {
    matches!(
        problem,
        Problem::Unheld { .. }
            | Problem::HeldUnused { .. }
            | Problem::SharedUnmarked { .. }
            | Problem::Unswept { .. }
    )
}

/// Inspects the state words of the system's own objects.
#[cfg(feature = "objects")]
fn look_at_states(slab: &Slab<'_>, scratch: &Scratch<'_>, report: &mut Report) {
    use crate::kind::Kind;
    use crate::state::{STATE_WORDS, copy_state};

    for handle in slab.iter().filter(|handle| handle.state == Some(State::Live)) {
        let kind = Kind::from_number(handle.kind);
        if kind == Kind::MAP_RECORD {
            look_at_record(slab, scratch, &handle, report);
            continue;
        }
        if !kind.is_system() {
            continue;
        }
        let state = if handle.len < 8 * STATE_WORDS as u64 {
            None
        } else if let Some(offset) = handle.block {
            let found = scratch.find(offset).is_ok_and(|found| handle.len <= found.bytes);
            // SAFETY: a block of the space, mapped for the whole inspection, and at least that long.
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
        // The words belong together if the handle is unchanged.
        if slab.inspect(handle.index) != Some(handle) {
            continue;
        }
        let about = |what: String| format!("handle {}, {kind}: {what}", handle.index);
        report.violations.extend(found.violations.into_iter().map(about));
        report.pending.extend(found.pending.into_iter().map(about));
    }
}

/// The words of the payload of a handle, for an inspection that does not hold it: they may be those of another handle by now, and are loaded
/// atomically only. `None` if they are not all there.
#[cfg(feature = "objects")]
pub(crate) fn payload_words<'a>(
    slab: &'a Slab<'_>,
    scratch: &'a Scratch<'_>,
    handle: &HandleInfo,
) -> Option<&'a [tenure_core::sync::Word]> {
    use tenure_core::sync::Word;

    let words = usize::try_from(handle.len / 8).ok()?;
    match handle.block {
        None => slab.inline_words(handle.index).and_then(|all| all.get(..words)),
        Some(offset) => {
            let found = scratch.find(offset).is_ok_and(|found| handle.len <= found.bytes);
            let at = found.then(|| scratch.address(offset).cast::<Word>()).filter(|at| at.is_aligned())?;
            // SAFETY: a block of the space, mapped as long as the scratch memory, at least that long and aligned; loaded atomically only.
            Some(unsafe { std::slice::from_raw_parts(at, words) })
        }
    }
}

/// Inspects the record of a bucket of a map.
#[cfg(feature = "objects")]
fn look_at_record(slab: &Slab<'_>, scratch: &Scratch<'_>, handle: &HandleInfo, report: &mut Report) {
    let record = payload_words(slab, scratch, handle);
    let is_whole = handle.len.is_multiple_of(8) && record.is_some_and(crate::collections::map::is_whole);
    // The words belong together if the handle is unchanged.
    if !is_whole && slab.inspect(handle.index) == Some(*handle) {
        report
            .violations
            .push(format!("handle {}: a record of a map that is no sequence of pairs", handle.index));
    }
}

pub(crate) fn look(
    (slab, scratch): &(Slab<'_>, Scratch<'_>),
    leases: &[LeaseInfo],
    bytes_resident: Option<u64>,
    stable: bool,
) -> Report {
    let is_live = |lease: u8| leases.get(usize::from(lease)).is_some_and(|lease| lease.live);
    // Handles first: a block that is attached during the pass names a handle that this pass has not seen.
    let handles = slab.check(&is_live);
    let blocks = scratch.check(stable, &is_live, &|index, generation, offset| {
        slab.inspect(index).is_some_and(|handle| {
            let current = matches!(handle.state, Some(State::Init | State::Live));
            current && handle.generation == generation && handle.block == Some(offset)
        })
    });
    let mut report = Report { violations: blocks.violations, pending: blocks.pending, ..Report::default() };
    for problem in &handles.problems {
        // Without live members there is no operation in progress, so a transient state is a violation.
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
