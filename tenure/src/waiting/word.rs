//! The wait word of an object: the low half of its first state word.

use std::sync::atomic::{AtomicU32, Ordering};

use tenure_core::sync::Word as Whole;
use tenure_segment::futex;
use tenure_wait::sequence::SequenceWord;
use tenure_wait::{McasDescriptors, McasWord, WAITERS, Word, compare_exchange};

use crate::kind::Kind;
use crate::state::State;

// The low half comes first.
const _: () = assert!(cfg!(target_endian = "little"));

/// The wait word of an object from which waiters take nothing: a manual-reset event, a process, a thread. Its first state word is accessed
/// by halves.
#[derive(Clone, Copy)]
pub struct HalfWord<'a>(&'a AtomicU32);

impl<'a> HalfWord<'a> {
    pub(crate) fn of(state: &'a State) -> Self {
        Self::at(&state[0])
    }

    /// As [`HalfWord::of`], for a wait word that is not the first state word.
    #[inline(always)]
    pub(crate) fn at(word: &'a Whole) -> Self {
        let [low, _] = halves(word);
        Self(low)
    }

    /// The futex: the 32 bits to sleep on.
    pub(crate) fn futex(&self) -> &'a AtomicU32 {
        self.0
    }
}

/// The two 32-bit halves of a word, low half first. All processes access one word by one width.
#[inline(always)]
pub(crate) fn halves(word: &Whole) -> &[AtomicU32; 2] {
    // SAFETY: the two halves are as long as the word, need no stricter alignment, and are atomic; the word is written as a whole only
    // before the handle is published, and accessed by halves from then on.
    unsafe { &*std::ptr::from_ref(word).cast() }
}

impl Word for HalfWord<'_> {
    #[inline]
    fn load(&self) -> u32 {
        // Acquire: wait word: makes visible all stores before the `set` of the event or the record of the end; pairs with the AcqRel of
        // each `compare_exchange` on the word and with the kernel's step.
        self.0.load(Ordering::Acquire)
    }

    #[inline]
    fn compare_exchange(&self, from: u32, to: u32, success: Ordering, failure: Ordering) -> Result<u32, u32> {
        self.0.compare_exchange(from, to, success, failure)
    }

    #[cold]
    fn wake(&self) {
        futex::wake_clearing(self.0, WAITERS.trailing_zeros());
    }

    #[cold]
    fn clear(&self) {
        futex::wake_zeroing(self.0);
    }
}

impl SequenceWord for HalfWord<'_> {
    #[inline]
    fn load_sequence(&self, ordering: Ordering) -> u32 {
        self.0.load(ordering)
    }

    #[inline]
    fn fetch_or(&self, bits: u32, ordering: Ordering) -> u32 {
        self.0.fetch_or(bits, ordering)
    }

    #[cold]
    fn advance(&self) {
        futex::wake_adding(self.0);
    }
}

/// The wait word of an object from which waiters take: a mutex, an auto-reset event, a semaphore. Its first state word is accessed as a
/// whole, since it may hold a reference to an MCAS descriptor; only the kernel accesses the low half alone.
#[derive(Clone, Copy)]
pub struct WholeWord<'a> {
    whole: &'a Whole,
    mcas: &'a McasDescriptors<'a>,
    /// The replacement value of a corrupted word.
    corrupted: u32,
}

impl<'a> WholeWord<'a> {
    #[inline]
    pub(crate) fn of(state: &'a State, mcas: &'a McasDescriptors<'a>, kind: Kind) -> Self {
        // A corrupted mutex gets a value that no mutex has, and each use reports it. A corrupted event is not signalled, and a
        // corrupted semaphore has no permits.
        Self { whole: &state[0], mcas, corrupted: if kind == Kind::MUTEX { 2 } else { 0 } }
    }

    /// Loads all 64 bits, without a look at what they are.
    #[inline(always)]
    pub(crate) fn load_whole(&self) -> u64 {
        // Acquire: wait word: as `McasDescriptors::resolve`.
        self.whole.load(Ordering::Acquire)
    }

    /// The half that the kernel accesses.
    fn low(&self) -> &'a AtomicU32 {
        // SAFETY: the low half lies in the word, and is atomic. Only the kernel accesses the half alone, and its steps do not change the
        // other half.
        unsafe { &*std::ptr::from_ref(self.whole).cast() }
    }
}

impl Word for WholeWord<'_> {
    #[inline]
    fn load(&self) -> u32 {
        self.mcas.resolve(self.whole, self.corrupted)
    }

    #[inline]
    fn compare_exchange(&self, from: u32, to: u32, success: Ordering, failure: Ordering) -> Result<u32, u32> {
        compare_exchange(self.whole, from, to, success, failure)
    }

    #[cold]
    fn wake(&self) {
        futex::wake_clearing(self.low(), WAITERS.trailing_zeros());
    }

    /// The upper half is zero here: only the owner clears a mutex, and no MCAS installs a reference in a mutex that has an owner.
    #[cold]
    fn clear(&self) {
        futex::wake_zeroing(self.low());
    }
}

impl McasWord for WholeWord<'_> {
    fn whole(&self) -> &Whole {
        self.whole
    }
}

/// A wait word of either width.
#[derive(Clone, Copy)]
pub enum WaitWord<'a> {
    Half(HalfWord<'a>),
    Whole(WholeWord<'a>),
}

impl<'a> WaitWord<'a> {
    /// The futex: the 32 bits to sleep on.
    pub(crate) fn futex(&self) -> &'a AtomicU32 {
        match self {
            Self::Half(word) => word.0,
            Self::Whole(word) => word.low(),
        }
    }
}

impl Word for WaitWord<'_> {
    fn load(&self) -> u32 {
        match self {
            Self::Half(word) => word.load(),
            Self::Whole(word) => word.load(),
        }
    }

    fn compare_exchange(&self, from: u32, to: u32, success: Ordering, failure: Ordering) -> Result<u32, u32> {
        match self {
            Self::Half(word) => word.compare_exchange(from, to, success, failure),
            Self::Whole(word) => word.compare_exchange(from, to, success, failure),
        }
    }

    fn wake(&self) {
        match self {
            Self::Half(word) => word.wake(),
            Self::Whole(word) => word.wake(),
        }
    }

    fn clear(&self) {
        match self {
            Self::Half(word) => word.clear(),
            Self::Whole(word) => word.clear(),
        }
    }
}
