//! A sequence: a word that counts wakes, to sleep on until something changes that is not in the word.
//!
//! `{sequence:31 | waiters:1}`
//!
//! | waiters bit | meaning | who stores it |
//! |---|---|---|
//! | 0 | nobody sleeps | a wake |
//! | 1 | waiters may be asleep | a waiter, before its last look at what it waits for |
//!
//! | from -> to | who | killed right after |
//! |---|---|---|
//! | s, any bit -> s, waiters bit set | a waiter ([`mark`]) | costs the next wake a system call |
//! | s, waiters -> s + 1, no waiters, one step of the kernel | [`wake`], also that of recovery | done: all that slept are awake |
//!
//! A wake adds one to the word, which clears the waiters bit and changes the sequence: all in one step. So nothing is ever pending here: a wake
//! has happened, or it has not. Two wakes at once may add twice, which leaves the bit set without a waiter; that costs the next wake a system
//! call.
//!
//! A waiter marks first, and then looks, for the last time, at what it waits for; whoever changes that, changes it first, and wakes then:
//! - either the mark comes first: then the waker finds the bit, and the waiter wakes, or does not fall asleep, since the word has changed;
//! - or the change comes before that look, which finds it.
//!
//! A waiter of a condition variable looks while it has the lock, and marks before it gives it up; those of permits have no lock, and the four
//! accesses are SeqCst (Dekker).
//!
//! The sequence begins again after 2^31 wakes that each found a waiter. Only a waiter that is stopped between its mark and its sleep for exactly so many of
//! them is mistaken, and sleeps until the next wake.
//!
//! verify/models/condvar.pml and permits.pml are the models.

use tenure_core::ordering;
use tenure_core::sync::Ordering;

/// The waiters bit of a sequence.
pub const WAITING: u32 = 1;

/// A 32-bit word to sleep on, the word of a sequence.
pub trait SequenceWord {
    /// Loads the word.
    fn load_sequence(&self, ordering: Ordering) -> u32;

    /// Sets bits; returns the value before.
    fn fetch_or(&self, bits: u32, ordering: Ordering) -> u32;

    /// Adds one and wakes all waiters, in one step. Release.
    fn advance(&self);
}

/// Sets the waiters bit. Returns the value to sleep on, as long as what the caller waits for does not happen.
///
/// # Crash
///
/// The bit stays set, and costs the next wake a system call.
pub fn mark<W: SequenceWord>(word: &W) -> u32 {
    // SeqCst: the waiter's mark, before its last look; pairs with the load in `wake`: either that sees the mark, or the look sees the change.
    word.fetch_or(WAITING, ordering!("wait.sequence.mark", SeqCst, AcqRel)) | WAITING
}

/// Whether a waiter that is about to sleep on `marked`, or has slept on it, was woken.
pub fn is_over<W: SequenceWord>(word: &W, marked: u32) -> bool {
    // Acquire: wait word: makes visible what came before the wake; pairs with the kernel's step.
    word.load_sequence(Ordering::Acquire) != marked
}

/// Wakes all waiters, if there may be any. Called after a change for which they may wait, and by recovery.
///
/// # Progress
///
/// Wait-free.
///
/// # Crash
///
/// Killed before, the recovery of the lease wakes; after it, all are awake.
pub fn wake<W: SequenceWord>(word: &W) {
    // SeqCst: the waker's look, after its change; see `mark`.
    if word.load_sequence(ordering!("wait.sequence.look", SeqCst, Acquire)) & WAITING != 0 {
        word.advance();
    }
}
