//! Events: a manual-reset event stays signalled until it is reset; a waiter of an auto-reset event takes the signal.
//!
//! `{waiters:1 | signalled:1 | generation:30}`
//!
//! | signalled | waiters bit | meaning | who stores it |
//! |---|---|---|---|
//! | 0 | 0 | not signalled, no waiters | a process that resets; a waiter of an auto-reset event, taking the signal |
//! | 0 | 1 | not signalled, waiters may be asleep | a waiter |
//! | 1 | 0 | signalled | a process that sets; a wake |
//! | 1 | 1 | pending: set, and the waiters are not woken yet | a process that sets |
//!
//! The generation counts the resets of a signalled manual-reset event. A waiter that wakes and finds the event reset compares the
//! generation, and so learns that the event was signalled meanwhile. It stays 0 in auto-reset events.

use tenure_core::sync::Ordering::{AcqRel, Acquire};

use crate::word::{self, Attempt, Change, Look, WAITERS, Word};

/// The event is signalled.
pub const SIGNALLED: u32 = 1 << 30;
const GENERATION: u32 = SIGNALLED - 1;

/// The generation of a word.
#[must_use]
pub const fn generation(word: u32) -> u32 {
    word & GENERATION
}

/// Whether a waiter could go on with this value: the event is signalled.
#[must_use]
pub const fn is_available(value: u32) -> bool {
    value & SIGNALLED != 0
}

/// Signals an auto-reset event that is not signalled and has no waiters: the one step of a `set` without contention. False if the word is
/// anything else: then [`set`] decides.
#[inline(always)]
#[must_use]
pub fn set_unwaited<W: Word>(word: &W) -> bool {
    // AcqRel: wait word: as in `change`, of which this is the last step. Failure, Acquire: nothing is concluded from it.
    word.compare_exchange(0, SIGNALLED, AcqRel, Acquire).is_ok()
}

/// Takes the signal of an auto-reset event, if it is signalled and not pending: the one step of a wait without contention. False if the
/// word is anything else: then [`try_auto`] decides.
#[inline(always)]
#[must_use]
pub fn take_signal<W: Word>(word: &W) -> bool {
    // AcqRel: wait word: as in `attempt`, of which this is the last step. Failure, Acquire: nothing is concluded from it.
    word.compare_exchange(SIGNALLED, 0, AcqRel, Acquire).is_ok()
}

/// Whether a manual-reset event is signalled and not pending: a wait without contention, which stores nothing. False if the word is anything
/// else: then [`try_manual`] decides.
#[inline(always)]
#[must_use]
pub fn is_signalled<W: Word>(word: &W) -> bool {
    word.load() & (SIGNALLED | WAITERS) == SIGNALLED
}

/// Signals the event.
pub fn set<W: Word>(word: &W) {
    word::change(word, is_available, |value| {
        if is_available(value) {
            Change::Nothing(())
        } else {
            Change::Offer { to: value | SIGNALLED, answer: () }
        }
    });
}

/// Resets the event; whether it was signalled. `is_manual` for a manual-reset event, which counts the reset.
pub fn reset<W: Word>(word: &W, is_manual: bool) -> bool {
    word::change(word, is_available, |value| {
        if !is_available(value) {
            return Change::Nothing(false);
        }
        let next = generation(value).wrapping_add(u32::from(is_manual)) & GENERATION;
        Change::Quiet { to: next, answer: true }
    })
}

/// Whether a manual-reset event is signalled, or was signalled since its generation was `since`.
pub fn try_manual<W: Word>(word: &W, since: Option<u32>) -> Attempt<()> {
    word::attempt(word, |value| {
        if is_available(value) {
            Look::Take { to: value, gained: () }
        } else if since.is_some_and(|since| since != generation(value)) {
            Look::Has(())
        } else {
            Look::Blocked
        }
    })
}

/// Takes the signal of an auto-reset event, if it is signalled.
pub fn try_auto<W: Word>(word: &W) -> Attempt<()> {
    word::attempt(word, |value| {
        if is_available(value) { Look::Take { to: value & !SIGNALLED, gained: () } } else { Look::Blocked }
    })
}
