//! The protocol that all wait words share.
//!
//! Below, "wake" is FUTEX_WAKE_OP on the word itself: it clears the waiters bit and wakes all waiters in one step. Any process may wake at
//! any time. A value is *available* if a waiter could go on with it: unlocked, signalled, a count above zero.
//!
//! | from -> to | who | killed right after |
//! |---|---|---|
//! | any -> the same, waiters bit set | a waiter, before it sleeps | costs the next change a system call |
//! | not available, no waiters -> available | unlock, set or release | done: nobody sleeps |
//! | not available, waiters -> available, waiters: pending | set, release or recovery | the next operation, or recovery, wakes |
//! | owned, waiters -> free, no waiters, one step of the kernel | unlock | done |
//! | any, waiters -> the same, no waiters, one step of the kernel | the process that stored a pending value; any that finds one; recovery | done |
//! | available, no waiters -> taken | lock, acquire, or the wait for an auto-reset event | a mutex: recovery abandons it; else it was taken |
//! | signalled, no waiters -> not signalled, generation + 1 if manual-reset | reset | done |
//! | available, no waiters -> reference(lease, ticket, entry) | `wait_all` | its descriptor is UNDECIDED: the next load of the word makes it FAILED |
//! | descriptor UNDECIDED -> FAILED | a process that finds a reference, after some loads; its own lease | any process puts the former values back |
//! | descriptor UNDECIDED -> SUCCEEDED | its own lease: the commit | any process puts the next values in |
//! | reference -> next or former value, by an exact CAS | any process, once the descriptor is decided | done |
//! | owned by the dead -> abandoned, waiters bit unchanged | recovery, before it clears the holder's bit | the next recoverer continues |

use tenure_core::mutant;
use tenure_core::sync::Ordering::{self, AcqRel, Acquire};

/// The waiters bit.
///
/// | waiters bit | value | meaning | who sets it | who clears it |
/// |---|---|---|---|---|
/// | 0 | not available | nobody sleeps | - | - |
/// | 0 | available | nobody sleeps; any operation may take it | a process that unlocks, sets or releases | the taker |
/// | 1 | not available | waiters may be asleep | a waiter, just before it sleeps ([`set_waiters`]) | a wake |
/// | 1 | available | pending: stored, and the waiters are not woken yet | a process that sets, releases or recovers | a wake |
///
/// Only the kernel clears the bit, together with the wake ([`Word::wake`], [`Word::clear`]). A waiter that gives up, or dies, leaves it
/// set; this costs the next change one system call.
pub const WAITERS: u32 = 1 << 31;

/// A 32-bit word to sleep on.
pub trait Word {
    /// Loads the word, Acquire. If the word holds a reference to an MCAS descriptor, resolves that first.
    fn load(&self) -> u32;

    /// Stores `to` if the word is `from`.
    ///
    /// # Errors
    ///
    /// The value found.
    fn compare_exchange(&self, from: u32, to: u32, success: Ordering, failure: Ordering) -> Result<u32, u32>;

    /// Clears [`WAITERS`] and wakes all waiters, in one step. Release.
    fn wake(&self);

    /// Stores 0 and wakes all waiters, in one step. Release.
    fn clear(&self);
}

/// A waiter's decision about a value; the value comes without [`WAITERS`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Look<T> {
    /// Available: the waiter goes on once it has stored `to`. `to` equals the value if nothing is taken.
    Take {
        /// The next value.
        to: u32,
        /// The result.
        gained: T,
    },
    /// The waiter goes on, and changes nothing.
    Has(T),
    /// Not available: the waiter sleeps.
    Blocked,
}

/// The result of [`attempt`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Attempt<T> {
    /// Taken.
    Taken(T),
    /// Not available; the word as it was seen, [`WAITERS`] included.
    Blocked(u32),
}

/// The decision of a process that changes a value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change<T> {
    /// Store `to`, which may be available, and wake the waiters.
    Offer {
        /// The next value.
        to: u32,
        /// The answer.
        answer: T,
    },
    /// Store `to`, without a wake: no waiter can go on because of it.
    Quiet {
        /// The next value.
        to: u32,
        /// The answer.
        answer: T,
    },
    /// Store nothing.
    Nothing(T),
}

/// Takes the value of the word if it is available.
///
/// # Crash
///
/// Before the compare-exchange nothing happened. After it the dead process owns the value, and its recovery handles that.
pub fn attempt<W: Word, T>(word: &W, mut look: impl FnMut(u32) -> Look<T>) -> Attempt<T> {
    loop {
        let seen = word.load();
        let value = seen & !WAITERS;
        match look(value) {
            Look::Has(gained) => return Attempt::Taken(gained),
            Look::Blocked => return Attempt::Blocked(seen),
            // Pending: publish it, because the process that stored it may be stopped.
            Look::Take { .. } if seen & WAITERS != 0 && !mutant!("wait.attempt.waits_for_the_waker") => {
                word.wake()
            }
            Look::Take { .. } if seen & WAITERS != 0 => return Attempt::Blocked(seen),
            // Available: take it, or look again if it changed.
            Look::Take { to, gained } => {
                // AcqRel: wait word: obtains what the last owner or releaser did, and passes it on to the next taker; pairs with the
                // AcqRel in `change` and `unlock` and with the kernel's step. Failure, Acquire: the loop loads again.
                if to == value || word.compare_exchange(seen, to, AcqRel, Acquire).is_ok() {
                    return Attempt::Taken(gained);
                }
            }
        }
    }
}

/// Sets the waiters bit before a sleep on a word that was `seen`. Returns the value to sleep on; `None` if the word has changed.
///
/// The store and load of a waiter and of a waker are on one word, and the kernel compares the word again before it sleeps:
/// - either the waker's compare-exchange comes first: then this one fails, or the kernel finds another value, and nobody sleeps;
/// - or this one comes first: then the waker finds the waiters bit, and wakes.
///
/// # Crash
///
/// The bit stays set, and costs the next change a system call.
pub fn set_waiters<W: Word>(word: &W, seen: u32) -> Option<u32> {
    let marked = seen | WAITERS;
    if marked != seen {
        // AcqRel: wait word: as in `attempt`; the bit itself publishes nothing. Failure, Acquire: the caller loads again.
        word.compare_exchange(seen, marked, AcqRel, Acquire).ok()?;
    }
    Some(marked)
}

/// Changes the word. `is_available` tells with which values a waiter could go on.
///
/// # Crash
///
/// A process that is killed before it wakes leaves a pending value: see [`wake_waiters`].
pub fn change<W: Word, T>(
    word: &W,
    is_available: impl Fn(u32) -> bool,
    mut next: impl FnMut(u32) -> Change<T>,
) -> T {
    loop {
        let seen = word.load();
        let (value, waiters) = (seen & !WAITERS, seen & WAITERS);
        if waiters != 0 && is_available(value) {
            // Pending: another process's change comes before ours, so publish it first.
            word.wake();
            continue;
        }
        match next(value) {
            Change::Nothing(answer) => return answer,
            Change::Quiet { to, answer } => {
                // AcqRel: wait word: publishes what the caller did before, obtains what the last change published; pairs with the
                // Acquire of the next load. Failure, Acquire: the loop loads again.
                if word.compare_exchange(seen, to | waiters, AcqRel, Acquire).is_ok() {
                    return answer;
                }
            }
            Change::Offer { to, answer } => {
                // The mutant: the bit is cleared first, so a process that is killed here takes the wake-up with it.
                let pending = if mutant!("wait.change.bit_before_wake") { to } else { to | waiters };
                // AcqRel: as above. Without waiters this publishes the value; with waiters it is pending until the wake.
                if word.compare_exchange(seen, pending, AcqRel, Acquire).is_ok() {
                    if waiters != 0 {
                        word.wake();
                    }
                    return answer;
                }
            }
        }
    }
}

/// Wakes all waiters if the waiters bit is set, and so publishes a pending value. Recovery calls this for every word of the dead.
///
/// # Progress
///
/// Wait-free.
pub fn wake_waiters<W: Word>(word: &W) {
    if word.load() & WAITERS != 0 && !mutant!("wait.recover.nobody_woken") {
        word.wake();
    }
}
