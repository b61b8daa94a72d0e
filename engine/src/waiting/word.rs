//! The wait word of an object: the low half of its first state word.

use std::sync::atomic::{AtomicU32, Ordering};

use tenure_segment::futex;
use tenure_wait::{ASLEEP, Word};

use crate::object::State;

// The low half comes first.
const _: () = assert!(cfg!(target_endian = "little"));

/// A word of shared memory that the kernel wakes sleepers of.
#[derive(Clone, Copy)]
pub(crate) struct WaitWord<'a>(pub(crate) &'a AtomicU32);

impl<'a> WaitWord<'a> {
    pub(crate) fn of(state: &'a State) -> Self {
        let [low, _] = halves(&state[0]);
        Self(low)
    }
}

/// A word as two of 32 bits, low half first. Whoever shares it uses one width only.
pub(crate) fn halves(word: &tenure_segment::sync::Word) -> &[AtomicU32; 2] {
    // SAFETY: as long, aligned stricter, and atomic; the first state word is written as a whole only before anybody else can
    // see it, and accessed by halves ever after.
    unsafe { &*std::ptr::from_ref(word).cast() }
}

impl Word for WaitWord<'_> {
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
