//! A mutex that says who owns it, so that it can be taken from the dead.
//!
//! `{asleep:1 | lease + 1: 9 | thread: 22}`; [`FREE`] is 0, [`ABANDONED`] names no lease and thread 1. The word of a mutex that
//! somebody owns is changed by waiters, who set the mark, by whoever wakes, who clears it, and by the owner.

use tenure_core::fault;

use crate::word::{self, ASLEEP, Attempt, Look, Word};

const THREAD_BITS: u32 = 22;
const THREAD_MASK: u32 = (1 << THREAD_BITS) - 1;

/// Nobody's.
pub const FREE: u32 = 0;
/// Its owner died or let go of it for good; the next owner is told.
pub const ABANDONED: u32 = 1;

/// A thread of a member.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Owner {
    /// The lease index of the member.
    pub lease: u8,
    /// The kernel's number of the thread, as its own process sees it; 22 bits.
    pub thread: u32,
}

impl Owner {
    /// The word of a mutex that it owns.
    #[must_use]
    pub const fn value(self) -> u32 {
        (self.lease as u32 + 1) << THREAD_BITS | self.thread & THREAD_MASK
    }
}

/// What a word says, the mark aside.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum State {
    /// Nobody owns it.
    Free,
    /// Nobody owns it, and its last owner did not unlock it.
    Abandoned,
    /// Somebody owns it.
    Owned(Owner),
    /// No mutex has such a word.
    Nonsense,
}

impl State {
    /// Of a word, with or without [`ASLEEP`].
    #[must_use]
    pub const fn of(word: u32) -> Self {
        let value = word & !ASLEEP;
        match (value >> THREAD_BITS, value & THREAD_MASK) {
            (0, 0) => Self::Free,
            (0, 1) => Self::Abandoned,
            (0, _) => Self::Nonsense,
            (lease @ 1..=256, thread) => Self::Owned(Owner { lease: (lease - 1) as u8, thread }),
            _ => Self::Nonsense,
        }
    }
}

/// What locking came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Locked {
    /// It is ours.
    Now {
        /// Its last owner did not unlock it; nobody else is told.
        abandoned: bool,
    },
    /// It was ours before.
    Already,
}

/// Locks it, if it can be.
pub fn try_lock<W: Word>(word: &W, me: Owner) -> Attempt<Locked> {
    word::attempt(word, |value| match value {
        FREE => Look::Take { to: me.value(), gained: Locked::Now { abandoned: false } },
        ABANDONED => Look::Take { to: me.value(), gained: Locked::Now { abandoned: true } },
        _ if value == me.value() => Look::Has(Locked::Already),
        _ => Look::Blocked,
    })
}

/// Unlocks it; false if it is not `me` who owns it.
///
/// # Crash
///
/// Freeing and waking are one step: it is ours or it is free, and nobody sleeps.
#[must_use]
pub fn unlock<W: Word>(word: &W, me: Owner) -> bool {
    loop {
        let seen = word.load();
        if seen & !ASLEEP != me.value() {
            return false;
        }
        if seen & ASLEEP != 0 {
            if fault!("wait.unlock.freed_before_woken") {
                let _ = word.exchange(seen, FREE);
                word.wake();
                return true;
            }
            // Between the look and this only the mark can have changed.
            word.clear();
            return true;
        }
        if word.exchange(seen, FREE).is_ok() {
            return true;
        }
    }
}

/// Whether one who waits could have it.
#[must_use]
pub const fn offers(value: u32) -> bool {
    value == FREE || value == ABANDONED
}

/// After the death of `lease`: abandons what it owned, and lets everybody look again.
///
/// # Crash
///
/// Between the two steps the mark stays set, and whoever settles or tries next wakes.
///
/// Two recoverers at once, one of them killed between its steps: the other one wakes as well, since it finds the mark; or it is
/// past this object, and the killed one held the object by its own bit, so that its own recovery settles it again.
pub fn settle<W: Word>(word: &W, lease: u8) {
    loop {
        let seen = word.load();
        match State::of(seen) {
            State::Owned(owner) if owner.lease == lease => {
                // The fault: it is freed without a word.
                let left = if fault!("wait.settle.not_abandoned") { FREE } else { ABANDONED };
                if word.exchange(seen, left | seen & ASLEEP).is_ok() {
                    break;
                }
            }
            _ => break,
        }
    }
    word::settle(word);
}
