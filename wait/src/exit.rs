//! The exit word: the end of a process or thread. It is monotonic: an end is never taken back, later changes only add the status.
//!
//! `{waiters:1 | ended:1 | known:1 | announced:2 | zero:11 | status:16}`
//!
//! | field | meaning | who sets it |
//! |---|---|---|
//! | `waiters` | a waiter may be asleep; together with `ended`: pending, the waiters are not woken yet | a waiter; a wake clears it |
//! | `ended` | the process or thread has ended | any process that learns of it |
//! | `known` | `status` is valid; only together with `ended` | any process that learns the status |
//! | `announced` | 0 nothing; 1 a thread of the process is writing its exit code elsewhere; 2 the code is valid | the process itself |
//! | `status` | the status as `waitpid` gives it | with `known` |
//!
//! | from -> to | who | killed right after |
//! |---|---|---|
//! | running -> ended, and known with a status if there is one | any process that learns of the end | with waiters: pending; the next record, look, wait or recovery wakes |
//! | ended -> ended, known, status | any process that learns the status | - |
//! | announced 0 -> 1 -> 2, the code stored in between | a thread of the process itself | 0 or 1: nothing is announced |
//! | any -> the same, waiters bit set | a waiter, before it sleeps | costs the process that records a system call |

use tenure_core::mutant;

use crate::word::{self, Attempt, Change, Look, Word};

const ENDED: u32 = 1 << 30;
const KNOWN: u32 = 1 << 29;
const ANNOUNCED: u32 = 0b11 << 27;
const ANNOUNCING_NOW: u32 = 1 << 27;
const ANNOUNCED_READY: u32 = 2 << 27;
const STATUS: u32 = 0xFFFF;

/// The value of a running process or thread.
pub const RUNNING: u32 = 0;

/// The value after the end, with the status if it is known.
#[must_use]
pub const fn ended(status: Option<u16>) -> u32 {
    match status {
        Some(status) => ENDED | KNOWN | status as u32,
        None => ENDED,
    }
}

/// How it ended, as far as the word tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct End {
    /// The status from the kernel.
    pub status: Option<u16>,
    /// It announced an exit code before it ended.
    pub announced: bool,
}

impl End {
    const fn of(value: u32) -> Self {
        let status = if value & KNOWN == 0 { None } else { Some((value & STATUS) as u16) };
        Self { status, announced: value & ANNOUNCED == ANNOUNCED_READY }
    }
}

/// Whether a waiter could go on with this value: it has ended.
#[must_use]
pub const fn is_available(value: u32) -> bool {
    value & ENDED != 0
}

/// Whether the protocol writes such a word.
#[must_use]
pub const fn is_valid(value: u32) -> bool {
    let known = value & KNOWN != 0;
    let rest = value & !(word::WAITERS | ENDED | KNOWN | ANNOUNCED | STATUS);
    rest == 0
        && value & ANNOUNCED != ANNOUNCED
        && (known || value & STATUS == 0)
        && (!known || value & ENDED != 0)
}

/// How it ended, if it has.
pub fn try_ended<W: Word>(word: &W) -> Attempt<End> {
    word::attempt(word, |value| {
        if is_available(value) { Look::Take { to: value, gained: End::of(value) } } else { Look::Blocked }
    })
}

/// Records that it has ended `[exit-true]`, and the status if it is known; the first status stays `[exit-grows]`. Every call publishes a pending end,
/// because the process that stored it may be stopped.
///
/// # Crash
///
/// A process that is killed before it wakes leaves a pending end. The next process that records, looks or recovers publishes it.
pub fn record<W: Word>(word: &W, status: Option<u16>) {
    word::change(word, is_available, |value| match (is_available(value), value & KNOWN != 0, status) {
        (true, true, _) if !mutant!("wait.exit.last_one_counts") => Change::Nothing(()),
        (true, _, None) => Change::Nothing(()),
        (true, _, Some(status)) => Change::Quiet { to: value & ANNOUNCED | ended(Some(status)), answer: () },
        (false, _, status) => Change::Offer { to: value & ANNOUNCED | ended(status), answer: () },
    });
}

/// Announces the exit code that `store` writes elsewhere; false if one is announced already, or it has ended.
///
/// # Crash
///
/// Before the last step nothing is announced.
pub fn announce<W: Word>(word: &W, store: impl FnOnce()) -> bool {
    let is_ours = word::change(word, is_available, |value| {
        if value & ANNOUNCED == 0 && !is_available(value) {
            Change::Quiet { to: value | ANNOUNCING_NOW, answer: true }
        } else {
            Change::Nothing(false)
        }
    });
    if is_ours {
        if mutant!("wait.exit.announced_before_written") {
            publish(word);
        }
        store();
        publish(word);
    }
    is_ours
}

fn publish<W: Word>(word: &W) {
    word::change(word, is_available, |value| {
        if value & ANNOUNCED == ANNOUNCING_NOW {
            Change::Quiet { to: value & !ANNOUNCED | ANNOUNCED_READY, answer: () }
        } else {
            Change::Nothing(())
        }
    });
}
