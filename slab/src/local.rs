//! The process-private state of one member: the handles that its process holds, and the local reference counts.

use crossbeam_utils::CachePadded;
use tenure_core::ordering;

use crate::geometry::{GeometryError, Layout};
use crate::sync::{AtomicU64, Mutex, MutexGuard, Ordering, lock};
use crate::word::GENERATION_BITS;

/// Private mutexes per member; handle `h` belongs to stripe `h % STRIPES`.
#[cfg(not(any(loom, miri)))]
pub(crate) const STRIPES: usize = 64;
#[cfg(any(loom, miri))]
pub(crate) const STRIPES: usize = 2;

const COUNT_BITS: u32 = 27;
const OWNED: u64 = 1 << COUNT_BITS;

const COUNT_MASK: u64 = (1 << COUNT_BITS) - 1;

/// The most counts one process can open on one handle.
pub const COUNT_MAX: u64 = COUNT_MASK - (1 << 16);

/// The limit of counts for a recovery: it must be able to open a handle on which the program has [`COUNT_MAX`] counts. The difference
/// exceeds the number of threads of one process that recover at once.
pub(crate) const COUNT_MAX_RECOVERING: u64 = COUNT_MASK;

const _: () = assert!(GENERATION_BITS + 1 + COUNT_BITS == 64);

/// The local word of a handle, in private memory: `{generation:36 | owned:1 | count:27}`.
///
/// | owned | count | meaning |
/// |---|---|---|
/// | 0 | 0 | this process has no holder bit; the generation is the last that it knew, or 0 |
/// | 1 | 0 | this process has the holder bit, the word is INIT and the entry is in a cache (or a private close is putting it there) |
/// | 1 | n | this process has the holder bit, and n [`Held`](crate::Held) of this generation exist |
/// | 0 | n | never |
///
/// `owned` and the holder bit change only under the stripe's lock. The transitions without the lock are:
/// count n -> n+1 and n+1 -> n for n >= 1, by exact CAS; {g, 1, 0} -> {g, 1, 1} by the thread that has the entry in its cache
/// (`create`); {g, 1, n} -> {g+1, 1, 0} by the thread that has just made the word INIT g+1 (the private close).
#[cfg_attr(test, derive(Debug))]
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Local(u64);

impl Local {
    pub(crate) const fn new(generation: u64, owned: bool, count: u64) -> Self {
        Self(generation << (COUNT_BITS + 1) | if owned { OWNED } else { 0 } | count & COUNT_MASK)
    }

    pub(crate) const fn generation(self) -> u64 {
        self.0 >> (COUNT_BITS + 1)
    }

    pub(crate) const fn owned(self) -> bool {
        self.0 & OWNED != 0
    }

    pub(crate) const fn count(self) -> u64 {
        self.0 & COUNT_MASK
    }

    /// Whether at least one `Held` of `generation` exists.
    pub(crate) const fn holds(self, generation: u64) -> bool {
        self.generation() == generation && self.count() > 0
    }

    const fn more(self) -> Self {
        Self(self.0 + 1)
    }

    const fn less(self) -> Self {
        Self(self.0 - 1)
    }
}

/// The result of an increment.
#[must_use]
pub(crate) enum Increment {
    /// Incremented.
    Counted,
    /// This process has no count of that generation.
    NotHeld,
    /// The count is at the caller's limit.
    Full,
}

/// The result of a decrement that does not go to 0.
#[must_use]
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Drop {
    /// Decremented; counts remain.
    Counted,
    /// The count is 1; it was not decremented.
    Last,
    /// This process has no count of that generation.
    NotHeld,
}

/// The process-private state of one member.
///
/// It has one word per handle (zeroed lazily by the kernel), 64 private locks and a mirror of the member's group map.
/// All threads of the member share one value. Recovery does not need it: when the process dies, the holder bits
/// in shared memory tell which handles it held.
#[derive(Debug)]
pub struct RefCounts {
    me: u8,
    counts: Box<[AtomicU64]>,
    stripes: Box<[CachePadded<Mutex<()>>]>,
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
            stripes: (0..STRIPES).map(|_| CachePadded::new(Mutex::new(()))).collect(),
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

    /// The stripe of a handle: serialises, within this process, every change of its holder bit and every `free_if_unheld` of it.
    pub(crate) fn lock(&self, index: u32) -> MutexGuard<'_, ()> {
        lock(&self.stripes[index as usize % STRIPES])
    }

    /// The local word of a handle; zero for a handle that the layout does not have.
    #[inline]
    pub(crate) fn local(&self, index: u32) -> Local {
        // Acquire: local word: the accesses of other threads before their decrements come before the last close; pairs with the Release
        // in `give`.
        self.counts
            .get(index as usize)
            .map_or(Local(0), |word| Local(word.load(ordering!("slab.local.load", Acquire, Relaxed))))
    }

    /// Overwrites the local word; [`Local`] has the permitted transitions.
    #[inline]
    pub(crate) fn set_local(&self, index: u32, local: Local) {
        if let Some(word) = self.counts.get(index as usize) {
            // Release: local word: publishes the preceding transition of the shared word to siblings; pairs with the Acquire in
            // `local`. This store comes after a sibling's `increment` of the value that it replaces: the increment is an RMW, and no
            // other store fits between its load and its store.
            #[cfg(not(loom))]
            word.store(local.0, ordering!("slab.local.set", Release, Relaxed));
            // loom has only partial modification orders, and would let a later load see that increment instead.
            #[cfg(loom)]
            word.swap(local.0, ordering!("slab.local.set", AcqRel, Relaxed));
        }
    }

    /// n -> n+1 for n >= 1, up to `most`.
    #[inline]
    pub(crate) fn increment(&self, index: u32, generation: u64, most: u64) -> Increment {
        let Some(word) = self.counts.get(index as usize) else { return Increment::NotHeld };
        // Relaxed: local word: only the expected value of the CAS below.
        let mut seen = Local(word.load(Ordering::Relaxed));
        loop {
            if !seen.holds(generation) {
                return Increment::NotHeld;
            }
            if seen.count() >= most {
                return Increment::Full;
            }
            // Acquire: local word: as `local`. Failure: expected value only.
            match word.compare_exchange_weak(
                seen.0,
                seen.more().0,
                ordering!("slab.local.increment", Acquire, Relaxed),
                Ordering::Relaxed,
            ) {
                Ok(_) => return Increment::Counted,
                Err(now) => seen = Local(now),
            }
        }
    }

    /// n+1 -> n for n >= 1, if the word is `seen` and `seen` permits it.
    #[inline]
    pub(crate) fn give_one_of_several(&self, index: u32, generation: u64, seen: Local) -> bool {
        seen.generation() == generation
            && seen.count() > 1
            && self.counts.get(index as usize).is_some_and(|word| {
                // Release: local word: as in `give`. Failure decides nothing: Relaxed.
                word.compare_exchange(seen.0, seen.less().0, Ordering::Release, Ordering::Relaxed).is_ok()
            })
    }

    /// n+1 -> n for n >= 1.
    #[inline]
    pub(crate) fn give(&self, index: u32, generation: u64) -> Drop {
        let Some(word) = self.counts.get(index as usize) else { return Drop::NotHeld };
        // Acquire: local word: if this is the last count, the accesses of the other threads come before the close; pairs
        // with the Release below in these threads.
        let mut seen = Local(word.load(Ordering::Acquire));
        loop {
            if !seen.holds(generation) {
                return Drop::NotHeld;
            }
            if seen.count() == 1 {
                return Drop::Last;
            }
            // Release: local word: this thread's accesses come before the last close; pairs with the Acquire loads here.
            match word.compare_exchange_weak(
                seen.0,
                seen.less().0,
                ordering!("slab.local.give", Release, Relaxed),
                Ordering::Acquire,
            ) {
                Ok(_) => return Drop::Counted,
                Err(now) => seen = Local(now),
            }
        }
    }

    /// {g, owned, 1} -> {g, not owned, 0}; the stripe is locked. False: another count appeared.
    pub(crate) fn give_last(&self, index: u32, generation: u64) -> bool {
        let Some(word) = self.counts.get(index as usize) else { return false };
        let last = Local::new(generation, true, 1);
        // Acquire: local word: as in `give`.
        word.compare_exchange(
            last.0,
            Local::new(generation, false, 0).0,
            Ordering::Acquire,
            Ordering::Relaxed,
        )
        .is_ok()
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
    // SAFETY:
    // - an `AtomicU64` is valid for every bit pattern, zero included;
    // - the allocation is zeroed by the allocator, lazily for large ones, so a million handles cost pages when used.
    unsafe { Box::<[AtomicU64]>::new_zeroed_slice(words).assume_init() }
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
        fn locals_round_trip(generation in 0..1u64 << GENERATION_BITS, owned: bool, count in 0..=COUNT_MASK) {
            let local = Local::new(generation, owned, count);
            prop_assert_eq!((local.generation(), local.owned(), local.count()), (generation, owned, count));
            prop_assert_eq!(local.holds(generation), count > 0);
        }
    }

    #[test]
    fn counts_stop_at_the_limit_and_at_one() {
        let layout = crate::Geometry { handles: 4, members: 2, generation_bits: 36 }.layout().unwrap();
        let ref_counts = RefCounts::new(&layout, 1).unwrap();
        ref_counts.set_local(2, Local::new(7, true, COUNT_MAX - 1));
        assert!(matches!(ref_counts.increment(2, 7, COUNT_MAX), Increment::Counted));
        assert!(matches!(ref_counts.increment(2, 7, COUNT_MAX), Increment::Full));
        assert!(matches!(ref_counts.increment(2, 8, COUNT_MAX), Increment::NotHeld));
        assert!(matches!(ref_counts.increment(9, 7, COUNT_MAX), Increment::NotHeld));
        // A recovery can still open it.
        assert!(matches!(ref_counts.increment(2, 7, COUNT_MAX_RECOVERING), Increment::Counted));
        assert_eq!(ref_counts.local(2), Local::new(7, true, COUNT_MAX + 1));
        assert_eq!(ref_counts.give(2, 7), Drop::Counted);
        ref_counts.set_local(2, Local::new(7, true, 2));
        assert_eq!(ref_counts.give(2, 7), Drop::Counted);
        assert_eq!(ref_counts.give(2, 7), Drop::Last);
        assert!(ref_counts.give_last(2, 7));
        assert_eq!(ref_counts.give(2, 7), Drop::NotHeld);
        assert!(matches!(RefCounts::new(&layout, 2), Err(GeometryError::Lease { expected: 2, found: 2 })));
    }
}
