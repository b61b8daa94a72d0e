//! A view of the segment's own shared words in a mapping: leases, death notifications, membership.

use std::marker::PhantomData;
use std::sync::atomic::AtomicU32;

use tenure_core::sync::{Ordering, Word, fence};

use crate::data_area::DataArea;
use crate::layout::{MEMBERSHIP_OFFSET, Plan};

/// The value of a lease word: `{incarnation:56 | state:8}`.
///
/// | from -> to | who | killed right after |
/// |---|---|---|
/// | FREE(n) -> LIVE(n+1), store | the holder of the write lock on the byte | a dirty lease that holds nothing |
/// | LIVE(n) -> FREE(n) | a recoverer under the read lock, or the owner leaving | done |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LeaseWord(pub(crate) u64);

impl LeaseWord {
    const FREE: u64 = 0;
    const LIVE: u64 = 1;
    /// The last incarnation that a slot can have. A slot with it, which only corruption produces, is not taken again.
    pub(crate) const INCARNATION_MAX: u64 = (1 << 56) - 1;

    pub(crate) const fn live(incarnation: u64) -> Self {
        Self(incarnation << 8 | Self::LIVE)
    }

    /// The same incarnation, FREE.
    pub(crate) const fn freed(self) -> Self {
        Self(self.0 & !0xFF | Self::FREE)
    }

    pub(crate) const fn incarnation(self) -> u64 {
        self.0 >> 8
    }

    /// Whether the state is anything but FREE. A corrupted state counts as LIVE, so that recovery frees it.
    pub(crate) const fn is_dirty(self) -> bool {
        self.0 & 0xFF != Self::FREE
    }
}

/// A view of the shared words; cheap to copy.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Control<'a> {
    base: *mut u8,
    plan: Plan,
    borrow: PhantomData<&'a Word>,
}

// SAFETY: a `Control` hands out atomics only.
unsafe impl Send for Control<'_> {}
// SAFETY: as above.
unsafe impl Sync for Control<'_> {}

impl<'a> Control<'a> {
    /// # Safety
    ///
    /// `base` starts a mapping of `plan.total_bytes()` bytes that stays mapped for `'a`.
    pub(crate) const unsafe fn over(base: *mut u8, plan: Plan) -> Self {
        Self { base, plan, borrow: PhantomData }
    }

    fn word(self, offset: u64) -> &'a Word {
        // SAFETY: `offset` comes from the plan, so it is aligned and inside the mapping; words are atomics [A1].
        unsafe { Word::from_ptr(self.base.add(offset as usize).cast()) }
    }

    fn futex(self, offset: u64) -> &'a AtomicU32 {
        // SAFETY: as in `word`; futex words are never accessed at another width.
        unsafe { AtomicU32::from_ptr(self.base.add(offset as usize).cast()) }
    }

    pub(crate) const fn plan(self) -> Plan {
        self.plan
    }

    /// All slots.
    pub(crate) fn slots(self) -> impl DoubleEndedIterator<Item = u8> {
        (0..self.plan.members).map(|i| i as u8)
    }

    pub(crate) fn lease(self, index: u8) -> &'a Word {
        self.word(self.plan.lease_offset(index))
    }

    /// The lease word, through a read-only mapping, which permits only relaxed loads.
    pub(crate) fn look(self, index: u8) -> LeaseWord {
        let word = LeaseWord(self.lease(index).load(Ordering::Relaxed));
        // Acquire: pairs with the Release of the store that is read, so that `pid` is at least as new.
        fence(Ordering::Acquire);
        word
    }

    pub(crate) fn pid(self, index: u8) -> &'a Word {
        self.word(self.plan.lease_offset(index) + 8)
    }

    pub(crate) fn notification(self, owner: u8, watcher: u8) -> &'a AtomicU32 {
        self.futex(self.plan.notification_offset(owner, watcher))
    }

    pub(crate) fn membership(self) -> &'a AtomicU32 {
        self.futex(MEMBERSHIP_OFFSET)
    }

    pub(crate) fn data_area(self) -> DataArea<'a> {
        // SAFETY: the plan keeps the data area inside the mapping and aligned to 4096; it stays mapped for `'a`.
        unsafe {
            DataArea::assume(
                self.base.add(self.plan.data_area_offset as usize),
                self.plan.data_area_bytes as usize,
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lease_words_round_trip() {
        for incarnation in [0, 1, 77, LeaseWord::INCARNATION_MAX] {
            let live = LeaseWord::live(incarnation);
            assert!(live.is_dirty());
            assert_eq!(live.incarnation(), incarnation);
            assert!(!live.freed().is_dirty());
            assert_eq!(live.freed().incarnation(), incarnation);
        }
        assert!(LeaseWord(0xFF).is_dirty(), "an unknown state is dirty");
    }
}
