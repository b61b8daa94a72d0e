//! The end of a process or thread: once it is written nothing takes it back, and later words only make it more precise.
//!
//! `{asleep:1 | ended:1 | known:1 | announced:2 | zero:11 | status:16}`. The status, as `wait` has it, counts once `known` is
//! set, which only goes with `ended`. `announced` is what the process says itself before it ends: 1, a thread of it is writing
//! the code elsewhere; 2, the code is there to be read.

use tenure_core::fault;

use crate::word::{self, Attempt, Change, Look, Word};

const ENDED: u32 = 1 << 30;
const KNOWN: u32 = 1 << 29;
const ANNOUNCED: u32 = 0b11 << 27;
const ANNOUNCING_NOW: u32 = 1 << 27;
const ANNOUNCED_READY: u32 = 2 << 27;
const STATUS: u32 = 0xFFFF;

/// The word of one that runs.
pub const RUNNING: u32 = 0;

/// The word of one that has ended, with a status if it is known.
#[must_use]
pub const fn ended(status: Option<u16>) -> u32 {
    match status {
        Some(status) => ENDED | KNOWN | status as u32,
        None => ENDED,
    }
}

/// How it ended, as far as this word says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct End {
    /// What the kernel said.
    pub status: Option<u16>,
    /// It had announced a code before.
    pub announced: bool,
}

impl End {
    const fn of(value: u32) -> Self {
        let status = if value & KNOWN == 0 { None } else { Some((value & STATUS) as u16) };
        Self { status, announced: value & ANNOUNCED == ANNOUNCED_READY }
    }
}

/// Whether one who waits could go on.
#[must_use]
pub const fn offers(value: u32) -> bool {
    value & ENDED != 0
}

/// Whether there can be such a word, the mark aside.
#[must_use]
pub const fn is_valid(value: u32) -> bool {
    let known = value & KNOWN != 0;
    let rest = value & !(word::ASLEEP | ENDED | KNOWN | ANNOUNCED | STATUS);
    rest == 0
        && value & ANNOUNCED != ANNOUNCED
        && (known || value & STATUS == 0)
        && (!known || value & ENDED != 0)
}

/// How it ended, if it has.
pub fn try_ended<W: Word>(word: &W) -> Attempt<End> {
    word::attempt(word, |value| {
        if offers(value) { Look::Take { to: value, gained: End::of(value) } } else { Look::Blocked }
    })
}

/// Writes down that it has ended `[I21]`, and how, if that is known; the first who knows is believed `[I20]`. Whoever comes later makes sure
/// that everybody has heard, since those who came before may stand still.
///
/// # Crash
///
/// Killed between the two steps, it leaves a staged end, which whoever records, looks or recovers next offers.
pub fn record<W: Word>(word: &W, status: Option<u16>) {
    word::change(word, offers, |value| match (offers(value), value & KNOWN != 0, status) {
        (true, true, _) if !fault!("wait.exit.last_one_counts") => Change::Nothing(()),
        (true, _, None) => Change::Nothing(()),
        (true, _, Some(status)) => Change::Quiet { to: value & ANNOUNCED | ended(Some(status)), answer: () },
        (false, _, status) => Change::Offer { to: value & ANNOUNCED | ended(status), answer: () },
    });
}

/// Announces the code that `store` writes elsewhere; false if somebody has done so, or it has ended.
///
/// # Crash
///
/// Killed before the last step it has announced nothing.
pub fn announce<W: Word>(word: &W, store: impl FnOnce()) -> bool {
    let is_ours = word::change(word, offers, |value| {
        if value & ANNOUNCED == 0 && !offers(value) {
            Change::Quiet { to: value | ANNOUNCING_NOW, answer: true }
        } else {
            Change::Nothing(false)
        }
    });
    if is_ours {
        if fault!("wait.exit.announced_before_written") {
            publish(word);
        }
        store();
        publish(word);
    }
    is_ours
}

fn publish<W: Word>(word: &W) {
    word::change(word, offers, |value| {
        if value & ANNOUNCED == ANNOUNCING_NOW {
            Change::Quiet { to: value & !ANNOUNCED | ANNOUNCED_READY, answer: () }
        } else {
            Change::Nothing(())
        }
    });
}
