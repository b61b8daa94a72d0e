//! The process-private state of one member: local reference counts, and which groups its map has.

use tenure_core::ordering;

use crate::geometry::{GeometryError, Layout};
use crate::sync::{AtomicU64, Ordering, pause};
use crate::word::GENERATION_BITS;

const COUNT_BITS: u32 = 27;
const COUNT_MASK: u64 = (1 << COUNT_BITS) - 1;
const BUSY_BIT: u64 = 1 << COUNT_BITS;
const GENERATION_SHIFT: u32 = COUNT_BITS + 1;

/// The most counts one process can open on one handle.
pub const COUNT_MAX: u64 = COUNT_MASK - (1 << 16);

/// The limit of counts for a recovery: it must be able to open a handle on which the program has [`COUNT_MAX`] counts. The difference
/// exceeds the number of threads of one process that recover at once.
pub(crate) const COUNT_MAX_RECOVERING: u64 = COUNT_MASK;

const _: () = assert!(GENERATION_BITS + 1 + COUNT_BITS == 64);

/// The local word of a handle, in private memory: `{generation:36 | busy:1 | count:27}`.
///
/// | value | meaning |
/// |---|---|
/// | 0 | no count is written down |
/// | {g, n}, n >= 1 | this process has n counts on generation g; the word is LIVE g and shared, and the process's bit is set |
/// | busy | a thread of this process sets or clears its bit, or decides whether the handle has a holder; its siblings wait |
///
/// The count of a creator is not written down until somebody of its process opens the handle. So while the local word is 0, the
/// process's bit tells: if the bit is set and the word is LIVE, this process has created the handle and has one count; if the bit is set
/// and the word is INIT, the entry is in a cache; else the process has nothing there. A private close and the create after it change
/// only the word.
///
/// | from -> to | who |
/// |---|---|
/// | {g, n} -> {g, n+1} and back, for n >= 1 | an open and a close of what the process has opened |
/// | 0 -> busy -> {g, 1} | the first open by a process that has not created the handle |
/// | 0 -> busy -> {g, 2} | the first open by the creator's process; it has set the shared flag |
/// | 0 or {g, 1} -> busy -> 0 | the last close, unless it is private |
/// | any -> busy -> the same | a claim, a release, a recovery, an open that fails, a look by token |
#[cfg_attr(test, derive(Debug))]
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Local(u64);

impl Local {
    pub(crate) const NONE: Self = Self(0);
    pub(crate) const BUSY: Self = Self(BUSY_BIT);

    #[inline(always)]
    pub(crate) const fn new(generation: u64, count: u64) -> Self {
        Self(generation << GENERATION_SHIFT | count)
    }

    /// The count on `generation`; 0 if none is written down.
    #[inline(always)]
    pub(crate) const fn count(self, generation: u64) -> u64 {
        let count = self.0.wrapping_sub(generation << GENERATION_SHIFT);
        if count <= COUNT_MASK { count } else { 0 }
    }

    /// Whether a count on `generation` is written down and below `most`.
    #[inline(always)]
    pub(crate) const fn can_increment(self, generation: u64, most: u64) -> bool {
        // One compare: a count of 0 becomes the largest number.
        self.0.wrapping_sub(generation << GENERATION_SHIFT).wrapping_sub(1) < most - 1
    }
}

/// A local word in place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LocalWord<'a>(&'a AtomicU64);

impl<'a> LocalWord<'a> {
    #[inline(always)]
    pub(crate) fn load(self) -> Local {
        // Acquire: local word: if it has a count, the word was LIVE and shared before; pairs with the Release in `Busy`.
        Local(self.0.load(ordering!("slab.local.load", Acquire, Relaxed)))
    }

    /// The value, as soon as no sibling is busy.
    pub(crate) fn settled(self) -> Local {
        let mut round = 0;
        loop {
            match self.load() {
                Local::BUSY => pause(&mut round),
                local => return local,
            }
        }
    }

    /// {g, n} -> {g, n+1}, if the value is `seen`, whose count is at least 1 and below the limit.
    #[inline(always)]
    pub(crate) fn increment(self, seen: Local) -> bool {
        // Acquire: local word: as `load`. Failure decides nothing: Relaxed.
        let order = ordering!("slab.local.increment", Acquire, Relaxed);
        self.0.compare_exchange(seen.0, seen.0 + 1, order, Ordering::Relaxed).is_ok()
    }

    /// {g, n} -> {g, n-1}, if the value is `seen`, whose count is above 1.
    #[inline(always)]
    pub(crate) fn decrement(self, seen: Local) -> bool {
        // Release: local word: this thread's accesses come before the last close; pairs with the Acquire in `exchange`.
        let order = ordering!("slab.local.decrement", Release, Relaxed);
        self.0.compare_exchange(seen.0, seen.0 - 1, order, Ordering::Relaxed).is_ok()
    }

    /// Any value -> busy; waits for a sibling that is busy.
    fn busy(self) -> Busy<'a> {
        loop {
            if let Some(busy) = self.exchange(self.settled()) {
                return busy;
            }
        }
    }

    /// `seen` -> busy, if the value is `seen`.
    #[inline(always)]
    pub(crate) fn exchange(self, seen: Local) -> Option<Busy<'a>> {
        // Acquire: local word: what siblings did when they were busy, and the accesses before their decrements, come before; pairs
        // with the Releases in `Busy` and `decrement`. Failure decides nothing: Relaxed.
        let order = ordering!("slab.local.busy", Acquire, Relaxed);
        match self.0.compare_exchange(seen.0, Local::BUSY.0, order, Ordering::Relaxed) {
            Ok(_) => Some(Busy { word: self.0, then: seen.0 }),
            Err(_) => None,
        }
    }

    /// Overwrites it, for tests.
    #[cfg(all(test, not(loom)))]
    pub(crate) fn set(self, local: Local) {
        self.0.store(local.0, Ordering::Relaxed);
    }
}

/// The right to change the process's bit of one handle and to decide about it. Dropping it stores the local word.
#[must_use]
#[derive(Debug)]
pub(crate) struct Busy<'a> {
    word: &'a AtomicU64,
    then: u64,
}

impl Busy<'_> {
    /// The value of the local word before, and, until another one is set, after.
    pub(crate) fn then(&self) -> Local {
        Local(self.then)
    }

    /// Sets the value of the local word after.
    #[inline(always)]
    pub(crate) fn set(&mut self, then: Local) {
        self.then = then.0;
    }
}

impl Drop for Busy<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        // Release: local word: publishes the changes of bit and word to siblings; pairs with the Acquire in `load` and `exchange`.
        self.word.store(self.then, ordering!("slab.local.free", Release, Relaxed));
    }
}

/// The process-private state of one member.
///
/// It has one word per handle (zeroed lazily by the kernel) and a mirror of the member's group map.
/// All threads of the member share one value. Recovery does not need it: when the process dies, the holder bits
/// in shared memory tell which handles it held.
#[derive(Debug)]
pub struct RefCounts {
    me: u8,
    counts: Box<[AtomicU64]>,
    /// Busy while a thread sweeps.
    sweeping: AtomicU64,
    groups: Box<[AtomicU64]>,
    /// The group of the last successful claim, and the number of groups moved since the home group.
    cursor: AtomicU64,
}

impl RefCounts {
    /// The state of the member that owns lease `lease_index`, without counts.
    ///
    /// # Errors
    ///
    /// The layout has no such lease.
    pub fn new(layout: &Layout, lease_index: u8) -> Result<Self, GeometryError> {
        if u16::from(lease_index) >= layout.members() {
            return Err(GeometryError::Lease { expected: layout.members(), found: lease_index });
        }
        Ok(Self {
            me: lease_index,
            counts: zeroed(layout.handles() as usize),
            sweeping: AtomicU64::new(0),
            groups: zeroed(layout.map_used_words() as usize),
            cursor: AtomicU64::new(pack_cursor(0, WALK)),
        })
    }

    /// The lease index of the member.
    #[must_use]
    pub fn lease_index(&self) -> u8 {
        self.me
    }

    /// The closer tag of the member; never 0.
    pub(crate) fn tag(&self) -> u16 {
        u16::from(self.me) + 1
    }

    /// Excludes siblings that sweep; waits for one that does.
    pub(crate) fn sweeping(&self) -> Busy<'_> {
        LocalWord(&self.sweeping).busy()
    }

    /// The local word of a handle; `None` for a handle that the layout does not have.
    #[inline(always)]
    pub(crate) fn word(&self, index: u32) -> Option<LocalWord<'_>> {
        self.counts.get(index as usize).map(LocalWord)
    }

    /// Any value -> busy; waits for a sibling that is busy. `None` for a handle that the layout does not have.
    pub(crate) fn busy(&self, index: u32) -> Option<Busy<'_>> {
        self.word(index).map(LocalWord::busy)
    }

    /// 0 -> busy; waits for a sibling that is busy. `None` if the process has a count that is written down.
    pub(crate) fn busy_uncounted(&self, index: u32) -> Option<Busy<'_>> {
        let word = self.word(index)?;
        while word.settled() == Local::NONE {
            if let Some(busy) = word.exchange(Local::NONE) {
                return Some(busy);
            }
        }
        None
    }

    /// Whether the bit of a group is set in the mirror of the group map; then it is set in the shared map, too.
    pub(crate) fn knows_group(&self, group: u32) -> bool {
        self.groups.get(group as usize / 64).is_some_and(|word| {
            // Acquire: mirror: the shared bit was set before; pairs with the Release in `learn_group`.
            word.load(Ordering::Acquire) >> (group % 64) & 1 != 0
        })
    }

    pub(crate) fn learn_group(&self, group: u32) {
        if let Some(word) = self.groups.get(group as usize / 64) {
            // Release: mirror: the shared bit is set; pairs with the Acquire in `knows_group`.
            word.fetch_or(1 << (group % 64), Ordering::Release);
        }
    }

    /// Clears the mirror: the shared group map is being cleared.
    pub(crate) fn forget_groups(&self) {
        for word in &self.groups {
            // Relaxed: mirror: the member is leaving; no thread works with it any more.
            word.store(0, Ordering::Relaxed);
        }
    }

    /// The group of `groups` in which a claim looks for free entries first.
    ///
    /// Each member starts at a home group of its own, so that members do not contend. From there it moves on, and returns home every 16
    /// groups: entries that were freed behind it are cached, groups ahead may never have been accessed.
    pub(crate) fn claim_start(&self, groups: u32, members: u16) -> u32 {
        // Relaxed: private hint.
        let cursor = self.cursor.load(Ordering::Relaxed);
        let (group, walked) = (cursor as u32, (cursor >> 32) as u32);
        if walked < WALK && group < groups {
            return group;
        }
        let home = (u64::from(groups) * u64::from(self.me) / u64::from(members)) as u32;
        // Relaxed: private hint.
        self.cursor.store(pack_cursor(home, 0), Ordering::Relaxed);
        home
    }

    /// The last claim succeeded in `group`.
    pub(crate) fn claimed_in(&self, group: u32) {
        // Relaxed, both: private hint; an update lost to a sibling thread only changes where the next claim starts.
        let cursor = self.cursor.load(Ordering::Relaxed);
        if cursor as u32 != group {
            self.cursor.store(pack_cursor(group, (cursor >> 32) as u32 + 1), Ordering::Relaxed);
        }
    }
}

/// The number of groups that a member moves on before it returns to its home group.
const WALK: u32 = 16;

const fn pack_cursor(group: u32, walked: u32) -> u64 {
    (walked as u64) << 32 | group as u64
}

#[cfg(not(loom))]
fn zeroed(words: usize) -> Box<[AtomicU64]> {
    // Zeroed by the allocator, lazily for large ones, so a million handles cost pages when used.
    let plain = Box::into_raw(vec![0u64; words].into_boxed_slice());
    // SAFETY: an `AtomicU64` has the size, alignment and bit patterns of a `u64`, so the allocation is one of it; we own it alone.
    unsafe { Box::from_raw(plain as *mut [AtomicU64]) }
}

#[cfg(loom)]
fn zeroed(words: usize) -> Box<[AtomicU64]> {
    (0..words).map(|_| AtomicU64::new(0)).collect()
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: if cfg!(miri) { 8 } else { 1024 }, failure_persistence: None, ..ProptestConfig::default()
        })]

        #[test]
        fn a_local_word_counts_on_its_generation_only(
            generation in 0..1u64 << GENERATION_BITS, count in 1..=COUNT_MASK, other in 0..1u64 << GENERATION_BITS,
        ) {
            let local = Local::new(generation, count);
            prop_assert_eq!(local.count(generation), count);
            prop_assert!(other == generation || local.count(other) == 0);
            prop_assert!(local != Local::NONE && local != Local::BUSY);
            prop_assert_eq!((Local::NONE.count(generation), Local::BUSY.count(generation)), (0, 0));
        }
    }

    #[test]
    fn counts_stop_at_the_limit() {
        let layout =
            crate::Geometry { handles: 4, members: 2, generation_bits: 36, slots: 0, container_slots: 0 }
                .layout()
                .unwrap();
        let ref_counts = RefCounts::new(&layout, 1).unwrap();
        let word = ref_counts.word(2).unwrap();
        word.set(Local::new(7, COUNT_MAX - 1));
        let seen = word.load();
        assert!(seen.can_increment(7, COUNT_MAX) && word.increment(seen) && !word.increment(seen));
        let full = word.load();
        assert!(!full.can_increment(7, COUNT_MAX), "full");
        assert!(!full.can_increment(8, COUNT_MAX) && !full.can_increment(6, COUNT_MAX), "another generation");
        assert!(!Local::NONE.can_increment(0, COUNT_MAX) && !Local::BUSY.can_increment(0, COUNT_MAX));
        // A recovery can still open it.
        assert!(full.can_increment(7, COUNT_MAX_RECOVERING) && word.increment(full));
        let seen = word.load();
        assert_eq!(seen, Local::new(7, COUNT_MAX + 1));
        assert!(word.decrement(seen) && !word.decrement(seen));
        assert!(ref_counts.word(9).is_none(), "no such handle");
        assert!(matches!(RefCounts::new(&layout, 2), Err(GeometryError::Lease { expected: 2, found: 2 })));
    }

    #[test]
    fn a_busy_word_has_no_count_and_is_what_it_was_afterwards() {
        let layout =
            crate::Geometry { handles: 4, members: 2, generation_bits: 36, slots: 0, container_slots: 0 }
                .layout()
                .unwrap();
        let ref_counts = RefCounts::new(&layout, 1).unwrap();
        for local in [Local::NONE, Local::new(0, 1), Local::new(7, 3)] {
            let word = ref_counts.word(2).unwrap();
            word.set(local);
            let busy = ref_counts.busy(2).unwrap();
            assert_eq!((busy.then(), word.load()), (local, Local::BUSY));
            assert!(word.exchange(local).is_none());
            drop(busy);
            assert_eq!(word.load(), local);
            assert_eq!(ref_counts.busy_uncounted(2).is_some(), local == Local::NONE);
        }
        assert!(ref_counts.busy(9).is_none());
    }
}
