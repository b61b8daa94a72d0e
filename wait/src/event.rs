//! Events: signalled until somebody resets them, or until somebody takes the signal.
//!
//! `{asleep:1 | signalled:1 | generation:30}`. The generation counts the resets of a signalled manual event, so that one who was
//! woken, and finds it reset already, knows that it was signalled meanwhile. Automatic events leave it 0.

use crate::word::{self, Attempt, Change, Look, Word};

/// The event is signalled.
pub const SIGNALLED: u32 = 1 << 30;
const GENERATION: u32 = SIGNALLED - 1;

/// The generation of a word.
#[must_use]
pub const fn generation(word: u32) -> u32 {
    word & GENERATION
}

/// Whether one who waits could go on.
#[must_use]
pub const fn offers(value: u32) -> bool {
    value & SIGNALLED != 0
}

/// Signals it.
pub fn set<W: Word>(word: &W) {
    word::change(word, offers, |value| {
        if offers(value) { Change::Nothing(()) } else { Change::Offer { to: value | SIGNALLED, answer: () } }
    });
}

/// Takes the signal away; whether there was one.
pub fn reset<W: Word>(word: &W, manual: bool) -> bool {
    word::change(word, offers, |value| {
        if !offers(value) {
            return Change::Nothing(false);
        }
        let next = generation(value).wrapping_add(u32::from(manual)) & GENERATION;
        Change::Quiet { to: next, answer: true }
    })
}

/// Whether a manual event is signalled, or was since its generation was `since`.
pub fn try_manual<W: Word>(word: &W, since: Option<u32>) -> Attempt<()> {
    word::attempt(word, |value| {
        if offers(value) {
            Look::Take { to: value, gained: () }
        } else if since.is_some_and(|since| since != generation(value)) {
            Look::Has(())
        } else {
            Look::Blocked
        }
    })
}

/// Takes the signal of an automatic event, if there is one.
pub fn try_auto<W: Word>(word: &W) -> Attempt<()> {
    word::attempt(word, |value| {
        if offers(value) { Look::Take { to: value & !SIGNALLED, gained: () } } else { Look::Blocked }
    })
}
