//! A mutex whose word names its owner, so that recovery can take it from a dead process.
//!
//! `{waiters:1 | lease + 1: 9 | thread: 22}`
//!
//! | value | waiters bit | meaning | who stores it |
//! |---|---|---|---|
//! | [`FREE`], 0 | 0 | unlocked | the owner, unlocking |
//! | [`ABANDONED`], lease 0 and thread 1 | 0 | unlocked; the next owner is told that it was abandoned | a wake, after recovery |
//! | [`ABANDONED`] | 1 | the same, pending: waiters are not woken yet | recovery of the owner, the owner itself, or the close of its last `Mutex` |
//! | lease + 1, thread | 0 | locked, no waiters | a thread that locks |
//! | lease + 1, thread | 1 | locked, waiters may be asleep | a waiter |
//!
//! While a thread owns the mutex only three others write the word: waiters set the waiters bit, a wake clears it, and the recovery of
//! the dead owner abandons it.

use std::fmt;

use tenure_core::mutant;
use tenure_core::sync::Ordering::{AcqRel, Acquire};

use crate::word::{self, Attempt, Look, WAITERS, Word};

const THREAD_BITS: u32 = 22;
const THREAD_MASK: u32 = (1 << THREAD_BITS) - 1;

/// Unlocked.
pub const FREE: u32 = 0;
/// The last owner died or closed the mutex without unlocking it; the next owner is told.
pub const ABANDONED: u32 = 1;

/// A thread of a member, as the value of a mutex that it owns.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Owner(u32);

impl Owner {
    /// `lease` is the lease index of the member, `thread` the kernel's id of the thread, in its own pid namespace; 22 bits of it are used.
    #[must_use]
    pub const fn new(lease: u8, thread: u32) -> Self {
        Self((lease as u32 + 1) << THREAD_BITS | thread & THREAD_MASK)
    }

    /// A guard of the member that is bound to no thread: no thread has the number 0. All such guards have the same value; who has the guard is
    /// the owner.
    #[must_use]
    pub const fn of_guard(lease: u8) -> Self {
        Self::new(lease, 0)
    }

    /// The lease index of the member.
    #[must_use]
    pub const fn lease(self) -> u8 {
        ((self.0 >> THREAD_BITS) - 1) as u8
    }

    /// The id of the thread.
    #[must_use]
    pub const fn thread(self) -> u32 {
        self.0 & THREAD_MASK
    }

    /// The value of a mutex that this thread owns.
    #[must_use]
    pub const fn value(self) -> u32 {
        self.0
    }
}

impl fmt::Debug for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Owner").field("lease", &self.lease()).field("thread", &self.thread()).finish()
    }
}

/// The state of a mutex.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum State {
    /// Nobody owns it.
    Free,
    /// Nobody owns it, and its last owner did not unlock it.
    Abandoned,
    /// Somebody owns it.
    Owned(Owner),
    /// Corrupted: no mutex has such a word.
    Nonsense,
}

impl State {
    /// Decodes a word, with or without [`WAITERS`].
    #[must_use]
    pub const fn of(word: u32) -> Self {
        let value = word & !WAITERS;
        match (value >> THREAD_BITS, value & THREAD_MASK) {
            (0, 0) => Self::Free,
            (0, 1) => Self::Abandoned,
            (0, _) => Self::Nonsense,
            (1..=256, _) => Self::Owned(Owner(value)),
            _ => Self::Nonsense,
        }
    }
}

/// The result of [`try_lock`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Locked {
    /// The caller owns it now.
    Now {
        /// Its last owner did not unlock it. Only one owner is told.
        abandoned: bool,
    },
    /// The caller owned it before.
    Already,
}

/// Locks the mutex if it is [`FREE`]: the one step of a lock without contention, and the only one that needs no look at the word. False
/// if the word is anything else: then [`try_lock`] decides.
#[inline(always)]
#[must_use]
pub fn lock_free<W: Word>(word: &W, me: Owner) -> bool {
    // AcqRel: wait word: as in `attempt`, of which this is the last step. Failure, Acquire: nothing is concluded from it.
    word.compare_exchange(FREE, me.value(), AcqRel, Acquire).is_ok()
}

/// Unlocks the mutex if `me` owns it and no waiters bit is set: the one step of an unlock without contention. False if the word is
/// anything else: then [`unlock`] decides.
#[inline(always)]
#[must_use]
pub fn unlock_unwaited<W: Word>(word: &W, me: Owner) -> bool {
    // AcqRel: wait word: as in `unlock`, of which this is the last step. Failure, Acquire: nothing is concluded from it.
    word.compare_exchange(me.value(), FREE, AcqRel, Acquire).is_ok()
}

/// Locks the mutex if it is free or abandoned.
pub fn try_lock<W: Word>(word: &W, me: Owner) -> Attempt<Locked> {
    word::attempt(word, |value| match value {
        FREE => Look::Take { to: me.value(), gained: Locked::Now { abandoned: false } },
        ABANDONED => Look::Take { to: me.value(), gained: Locked::Now { abandoned: true } },
        _ if value == me.value() => Look::Has(Locked::Already),
        _ => Look::Blocked,
    })
}

/// As [`try_lock`], for an owner that is a guard: it never owns the mutex already. True if it was abandoned.
pub fn try_lock_for_guard<W: Word>(word: &W, lease: u8) -> Attempt<bool> {
    word::attempt(word, |value| match value {
        FREE | ABANDONED => Look::Take { to: Owner::of_guard(lease).value(), gained: value == ABANDONED },
        _ => Look::Blocked,
    })
}

/// Unlocks the mutex; false if `me` does not own it.
///
/// # Crash
///
/// Unlocking and waking are one step. Before it the dead process owns the mutex; after it the mutex is free, and nobody sleeps.
#[must_use]
pub fn unlock<W: Word>(word: &W, me: Owner) -> bool {
    loop {
        let seen = word.load();
        if seen & !WAITERS != me.value() {
            return false;
        }
        if seen & WAITERS != 0 {
            if mutant!("wait.unlock.freed_before_woken") {
                let _ = word.compare_exchange(seen, FREE, AcqRel, Acquire);
                word.wake();
                return true;
            }
            // Waiters: unlock and wake in one step of the kernel. Since the load only the waiters bit can have changed.
            word.clear();
            return true;
        }
        // No waiters: unlock, or look again if one came.
        // AcqRel: wait word: publishes what the owner did under the mutex; pairs with the AcqRel in `attempt`. Failure, Acquire:
        // the loop loads again.
        if word.compare_exchange(seen, FREE, AcqRel, Acquire).is_ok() {
            return true;
        }
    }
}

/// Whether a waiter could lock a mutex of this value.
#[must_use]
pub const fn is_available(value: u32) -> bool {
    value == FREE || value == ABANDONED
}

/// Abandons the mutex if `lease` owns it, and wakes the waiters. Recovery calls this for each mutex that the dead lease held. The owner
/// itself, and the close of a process's last `Mutex`, call it for their own lease.
///
/// # Crash
///
/// A recoverer that is killed between the two steps leaves [`ABANDONED`] pending; the next recoverer, or the next to lock, wakes.
///
/// Two recoverers at once, one of them killed between its steps: if the other one comes later, it finds the waiters bit and wakes as
/// well; if it is past this object already, the killed one still held the object by its own bit, so its own recovery wakes.
pub fn abandon<W: Word>(word: &W, lease: u8) {
    loop {
        let seen = word.load();
        match State::of(seen) {
            // Owned by the dead: abandon it, or look again if a waiter came.
            State::Owned(owner) if owner.lease() == lease => {
                // The mutant: the next owner is not told.
                let left = if mutant!("wait.recover.not_abandoned") { FREE } else { ABANDONED };
                // AcqRel: wait word: publishes that the owner is over, obtains the owner's last change; pairs with the AcqRel in
                // `attempt`. Failure, Acquire: the loop loads again.
                if word.compare_exchange(seen, left | seen & WAITERS, AcqRel, Acquire).is_ok() {
                    break;
                }
            }
            // Not owned by the dead, or abandoned by another recoverer: only wake.
            _ => break,
        }
    }
    word::wake_waiters(word);
}
