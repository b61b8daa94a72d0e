//! Inspection without taking part: one handle, all handles, and the check of a quiet slab.

use std::fmt;

use crate::entry::Label;
use crate::geometry::INLINE_BYTES;
use crate::slab::Slab;
use crate::sync::Ordering;
use crate::word::State;

/// A set of lease indices.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct HolderSet([u64; 4]);

impl HolderSet {
    /// Whether a lease is in the set.
    #[must_use]
    pub const fn contains(&self, lease: u8) -> bool {
        self.0[lease as usize / 64] >> (lease % 64) & 1 != 0
    }

    /// The number of leases in the set.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.0.iter().map(|word| word.count_ones()).sum()
    }

    /// Whether the set is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0 == [0; 4]
    }

    /// The leases in the set, lowest first.
    pub fn iter(&self) -> impl Iterator<Item = u8> + use<> {
        let set = *self;
        (0..=u8::MAX).filter(move |lease| set.contains(*lease))
    }
}

impl fmt::Debug for HolderSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// The values of a handle's words. While the slab is in use the fields need not belong to one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct HandleInfo {
    /// Index of the handle.
    pub index: u32,
    /// Generation: of the handle if LIVE, the last one if RETIRED, else the next to be issued.
    pub generation: u64,
    /// State of the handle word; `None` if the word is corrupted.
    pub state: Option<State>,
    /// Whether the handle was opened since its creation.
    pub shared: bool,
    /// Tag of the member that last began to decide that the handle has no holder: a lease index plus 1, or 0.
    pub closer_tag: u16,
    /// Kind given at creation.
    pub kind: u64,
    /// Bytes of payload.
    pub len: u64,
    /// Offset of the block that the entry names, if any.
    pub block: Option<u64>,
    /// Length and hash of the name, if the handle has one.
    pub label: Option<Label>,
    /// Leases whose bit is set.
    pub holders: HolderSet,
}

/// Numbers of entries by state.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub struct Counts {
    /// Committed entries.
    pub committed: u32,
    /// FREE entries.
    pub free: u32,
    /// INIT entries: in caches, or being created.
    pub init: u32,
    /// LIVE entries: handles.
    pub live: u32,
    /// RETIRED entries: not used again.
    pub retired: u32,
    /// Entries with a corrupted word.
    pub corrupt: u32,
    /// FREE entries whose hint says "taken": only a full scan finds them.
    pub lost_hints: u32,
}

/// A violation of an invariant of a quiet slab.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The control line has another geometry, or a watermark above it.
    #[error("the control line is not that of this geometry")]
    Control,
    /// A word, length or generation that the protocol does not write.
    #[error("handle {index}: word or length is corrupt")]
    Corrupt {
        /// Index of the handle.
        index: u32,
    },
    /// INIT or LIVE without a holder, neither a member nor a slot: `free_if_unheld` is missing `[slab-cleared-then-decided]`.
    #[error("handle {index}: in use, but held by nobody")]
    Unheld {
        /// Index of the handle.
        index: u32,
    },
    /// FREE or RETIRED with a bit of a living lease `[slab-freed-when-empty]`, or with a tag.
    #[error("handle {index}: held, but not in use")]
    HeldUnused {
        /// Index of the handle.
        index: u32,
    },
    /// A bit of a lease that is not LIVE `[lease-live-first]`.
    #[error("handle {index}: held by lease {lease}, which is not live")]
    DeadHolder {
        /// Index of the handle.
        index: u32,
        /// The lease.
        lease: u8,
    },
    /// A bit whose group is not in the lease's group map `[slab-group-before-bit]`.
    #[error("handle {index}: held by lease {lease}, whose group map does not say so")]
    Unmapped {
        /// Index of the handle.
        index: u32,
        /// The lease.
        lease: u8,
    },
    /// INIT, or LIVE and not shared, with more than one holder.
    #[error("handle {index}: several holders of what only its creator knows")]
    SharedUnmarked {
        /// Index of the handle.
        index: u32,
    },
    /// A slot names a handle that is over, that was not shared, or whose home word names another slot `[slab-slot-is-home]`.
    #[error("slot {slot}: what it names is not held by it")]
    Slot {
        /// The slot.
        slot: u32,
    },
    /// A chunk of container slots that is owned by no container, or FREE and not empty `[slab-chunk-owned]`.
    #[error("chunk {chunk} of container slots: its owner is no container, or it is free and not empty")]
    Chunk {
        /// The chunk.
        chunk: u32,
    },
    /// A chunk of container slots whose container is over: whoever ended it has not swept it yet, or is stopped while it does.
    #[error("chunk {chunk} of container slots: its container is over, and nobody has swept it")]
    Unswept {
        /// The chunk.
        chunk: u32,
    },
    /// A slot is claimed by a lease that is not LIVE or does not hold the handle.
    #[error("slot {slot}: claimed by lease {lease}, which does not hold what is in it")]
    Claim {
        /// The slot.
        slot: u32,
        /// The lease.
        lease: u8,
    },
    /// The home word names a lease that does not hold the handle `[slab-putter-holds]`.
    #[error("handle {index}: put into a slot by a lease that does not hold it")]
    Transit {
        /// Index of the handle.
        index: u32,
    },
    /// A closer tag of a lease that the geometry does not have.
    #[error("handle {index}: closer tag {tag} is nobody's")]
    Tag {
        /// Index of the handle.
        index: u32,
        /// The tag.
        tag: u16,
    },
}

/// The result of [`Slab::check`].
#[derive(Clone, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub struct Report {
    /// Entries by state.
    pub counts: Counts,
    /// The problems; the first 100.
    pub problems: Vec<Problem>,
}

impl Report {
    /// Whether there are no problems.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.problems.is_empty()
    }

    fn add(&mut self, problem: Problem) {
        if self.problems.len() < 100 {
            self.problems.push(problem);
        }
    }
}

impl Slab<'_> {
    /// The values of a handle's words; `None` if its entry is not committed.
    #[must_use]
    pub fn inspect(&self, index: u32) -> Option<HandleInfo> {
        if index >= self.committed_handles() {
            return None;
        }
        let entry = self.entry(index)?;
        let word = entry.word().peek();
        let len = entry.len();
        Some(HandleInfo {
            index,
            generation: word.generation(),
            state: word.state(),
            shared: word.shared(),
            closer_tag: word.tag(),
            kind: entry.kind(),
            len: len.bytes(),
            block: len.is_block().then(|| entry.block_offset()),
            label: entry.label(),
            holders: HolderSet(entry.bits().copy()),
        })
    }

    /// The payload words in a handle's entry, if the payload lies there: inspectors load them atomically.
    #[must_use]
    pub fn inline_words(&self, index: u32) -> Option<&[crate::sync::Word]> {
        (index < self.committed_handles()).then(|| self.entry(index))?.map(crate::entry::Entry::payload)
    }

    /// Every committed entry that is not FREE, by index.
    pub fn iter(&self) -> impl Iterator<Item = HandleInfo> + use<'_> {
        (0..self.committed_handles())
            .filter_map(|index| self.inspect(index))
            .filter(|info| info.state != Some(State::Free))
    }

    /// Counts the entries by state: loads every committed word.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let mut counts = Counts { committed: self.committed_handles(), ..Counts::default() };
        for index in 0..counts.committed {
            let Some(entry) = self.entry(index) else { break };
            match entry.word().peek().state() {
                Some(State::Free) => {
                    counts.free += 1;
                    // Relaxed: hint: information only.
                    let taken = self.hint(index / 64).load(Ordering::Relaxed) >> (index % 64) & 1;
                    counts.lost_hints += taken as u32;
                }
                Some(State::Init) => counts.init += 1,
                Some(State::Live) => counts.live += 1,
                Some(State::Retired) => counts.retired += 1,
                None => counts.corrupt += 1,
            }
        }
        counts
    }

    /// Checks the invariants of a quiet slab, that is, while no process works in it; `lease_is_live` tells which leases are LIVE.
    ///
    /// Lost hints, and FREE entries that still name a block, are not problems.
    #[must_use]
    pub fn check(&self, lease_is_live: &dyn Fn(u8) -> bool) -> Report {
        let mut report = Report { counts: self.counts(), problems: Vec::new() };
        if self.verify().is_err() || !self.watermark_fits() {
            report.add(Problem::Control);
        }
        for index in 0..report.counts.committed {
            if let Some(info) = self.inspect(index) {
                self.check_entry(&info, lease_is_live, &mut report);
            }
        }
        let slots =
            (0..self.slots()).chain((0..self.layout().chunks()).flat_map(|c| self.layout().chunk_slots(c)));
        for problem in slots.filter_map(|slot| self.slot_problem(slot, lease_is_live)) {
            report.add(problem);
        }
        for problem in (0..self.layout().chunks()).filter_map(|c| self.chunk_problem(c)) {
            report.add(problem);
        }
        report
    }

    fn check_entry(&self, info: &HandleInfo, lease_is_live: &dyn Fn(u8) -> bool, report: &mut Report) {
        let index = info.index;
        let Some(state) = info.state.filter(|_| info.generation >> self.layout().generation_bits() == 0)
        else {
            return report.add(Problem::Corrupt { index });
        };
        if state == State::Live && info.block.is_none() && info.len > INLINE_BYTES as u64 {
            report.add(Problem::Corrupt { index });
        }
        if info.closer_tag > self.layout().members() {
            report.add(Problem::Tag { index, tag: info.closer_tag });
        }
        let used = matches!(state, State::Init | State::Live);
        let is_kept = || self.layout().has_slots() && self.is_kept(index, info.generation);
        if used && info.holders.is_empty() && !is_kept() {
            report.add(Problem::Unheld { index });
        }
        if !used && (!info.holders.is_empty() || info.closer_tag != 0 || info.shared) {
            report.add(Problem::HeldUnused { index });
        }
        if used && !info.shared && info.holders.len() > 1 {
            report.add(Problem::SharedUnmarked { index });
        }
        if let Some(problem) = self.home_problem(index) {
            report.add(problem);
        }
        for lease in info.holders.iter() {
            if u16::from(lease) >= self.layout().members() || !lease_is_live(lease) {
                report.add(Problem::DeadHolder { index, lease });
            } else if !self.maps_group(lease, index / 64) {
                report.add(Problem::Unmapped { index, lease });
            }
        }
    }

    fn maps_group(&self, lease: u8, group: u32) -> bool {
        // Relaxed: group map: information only.
        self.map_word(lease, group).load(Ordering::Relaxed) >> (group % 64) & 1 != 0
    }
}
