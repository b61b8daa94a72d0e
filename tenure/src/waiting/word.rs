//! The wait word of an object: the low half of its first state word.

use std::sync::atomic::{AtomicU32, Ordering};

use tenure_segment::futex;
use tenure_segment::sync::Word as Whole;
use tenure_wait::{ASLEEP, Records, Reservable, Word, exchange};

use crate::kind::Kind;
use crate::state::State;

// The low half comes first.
const _: () = assert!(cfg!(target_endian = "little"));

/// A wait word of an object of which nothing is taken by those who wait: a manual event, a process, a thread. Its first state
/// word is accessed by halves.
#[derive(Clone, Copy)]
pub struct HalfWord<'a>(&'a AtomicU32);

impl<'a> HalfWord<'a> {
    pub(crate) fn of(state: &'a State) -> Self {
        let [low, _] = halves(&state[0]);
        Self(low)
    }
}

/// A word as two of 32 bits, low half first. Whoever shares it uses one width only.
pub(crate) fn halves(word: &Whole) -> &[AtomicU32; 2] {
    // SAFETY: as long, aligned stricter, and atomic; the first state word is written as a whole only before anybody else can
    // see it, and accessed by halves ever after.
    unsafe { &*std::ptr::from_ref(word).cast() }
}

impl Word for HalfWord<'_> {
    #[inline]
    fn load(&self) -> u32 {
        // Acquire: wait word: obtains what whoever offered did before; pairs with the AcqRel in `exchange` and the kernel's step.
        self.0.load(Ordering::Acquire)
    }

    #[inline]
    fn exchange(&self, from: u32, to: u32) -> Result<(), u32> {
        // AcqRel: wait word: publishes what an owner or offerer did, obtains what the one before did. Acquire as in `load`.
        self.0.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).map(drop)
    }

    #[cold]
    fn wake(&self) {
        futex::wake_clearing(self.0, ASLEEP.trailing_zeros());
    }

    #[cold]
    fn clear(&self) {
        futex::wake_zeroing(self.0);
    }
}

/// A wait word of an object that those who wait take: a mutex, an automatic event, a semaphore. Its first state word is accessed
/// as a whole, by the kernel alone as a half, since it may be reserved for one who takes several.
#[derive(Clone, Copy)]
pub struct WholeWord<'a> {
    whole: &'a Whole,
    records: &'a Records<'a>,
    /// What it becomes if somebody has corrupted it.
    ruined: u32,
}

impl<'a> WholeWord<'a> {
    #[inline]
    pub(crate) fn of(state: &'a State, records: &'a Records<'a>, kind: Kind) -> Self {
        // A mutex of which everybody is told that it is none; an event that is not signalled; a semaphore that has nothing.
        Self { whole: &state[0], records, ruined: if kind == Kind::MUTEX { 2 } else { 0 } }
    }

    /// What the kernel is given.
    fn low(&self) -> &'a AtomicU32 {
        // SAFETY: half as long and atomic. Only the kernel accesses it, whose steps are steps on the whole that leave the other
        // half as it is.
        unsafe { &*std::ptr::from_ref(self.whole).cast() }
    }
}

impl Word for WholeWord<'_> {
    #[inline]
    fn load(&self) -> u32 {
        self.records.plain(self.whole, self.ruined)
    }

    #[inline]
    fn exchange(&self, from: u32, to: u32) -> Result<(), u32> {
        exchange(self.whole, from, to)
    }

    #[cold]
    fn wake(&self) {
        futex::wake_clearing(self.low(), ASLEEP.trailing_zeros());
    }

    /// Only its owner clears a mutex, and nobody reserves what is owned: the upper half is zero.
    #[cold]
    fn clear(&self) {
        futex::wake_zeroing(self.low());
    }
}

impl Reservable for WholeWord<'_> {
    fn whole(&self) -> &Whole {
        self.whole
    }
}

/// Either.
#[derive(Clone, Copy)]
pub enum WaitWord<'a> {
    Half(HalfWord<'a>),
    Whole(WholeWord<'a>),
}

impl<'a> WaitWord<'a> {
    /// What one sleeps on.
    pub(crate) fn sleepers(&self) -> &'a AtomicU32 {
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

    fn exchange(&self, from: u32, to: u32) -> Result<(), u32> {
        match self {
            Self::Half(word) => word.exchange(from, to),
            Self::Whole(word) => word.exchange(from, to),
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
