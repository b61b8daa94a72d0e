//! What all wait words have in common.

use tenure_core::fault;

/// Set while somebody may be asleep on the word. A waiter that gives up, or dies, leaves it; the next change clears it.
pub const ASLEEP: u32 = 1 << 31;

/// A 32-bit word that one can sleep on.
pub trait Word {
    /// Acquire.
    fn load(&self) -> u32;

    /// Changes it if it is `from`: AcqRel, or Acquire if it is something else.
    ///
    /// # Errors
    ///
    /// What it is.
    fn exchange(&self, from: u32, to: u32) -> Result<(), u32>;

    /// In one step clears [`ASLEEP`] and wakes everybody who sleeps on it. Release.
    fn wake(&self);

    /// In one step makes it 0 and wakes everybody who sleeps on it. Release.
    fn clear(&self);
}

/// What one who waits makes of a value. Values come without [`ASLEEP`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Look<T> {
    /// He can go on if he makes it `to`; the same value, if there is nothing to take.
    Take {
        /// The next value.
        to: u32,
        /// What he has then.
        gained: T,
    },
    /// He can go on, whatever else the word says.
    Has(T),
    /// He has to wait.
    Blocked,
}

/// What became of looking.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Attempt<T> {
    /// Taken.
    Taken(T),
    /// The word, [`ASLEEP`] included, that has to change first.
    Blocked(u32),
}

/// What one who offers makes of a value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change<T> {
    /// Those who wait may be able to go on with `to`.
    Offer {
        /// The next value.
        to: u32,
        /// The answer.
        answer: T,
    },
    /// Nobody who waits cares about the change.
    Quiet {
        /// The next value.
        to: u32,
        /// The answer.
        answer: T,
    },
    /// Nothing to change.
    Nothing(T),
}

/// Takes what the word offers, if it does.
///
/// # Crash
///
/// Before the exchange nothing happened; after it the dead has it, and his recovery sees to that.
pub fn attempt<W: Word, T>(word: &W, mut look: impl FnMut(u32) -> Look<T>) -> Attempt<T> {
    loop {
        let seen = word.load();
        let value = seen & !ASLEEP;
        match look(value) {
            Look::Has(gained) => return Attempt::Taken(gained),
            Look::Blocked => return Attempt::Blocked(seen),
            // Staged: whoever did it may stand still for long.
            Look::Take { .. } if seen & ASLEEP != 0 && !fault!("wait.attempt.waits_for_the_waker") => {
                word.wake()
            }
            Look::Take { .. } if seen & ASLEEP != 0 => return Attempt::Blocked(seen),
            Look::Take { to, gained } => {
                if to == value || word.exchange(seen, to).is_ok() {
                    return Attempt::Taken(gained);
                }
            }
        }
    }
}

/// Announces one who is going to sleep because the word was `seen`. The answer is what to sleep on; `None`: it has changed.
///
/// # Crash
///
/// The mark stays, and costs the next one to offer a system call.
pub fn mark<W: Word>(word: &W, seen: u32) -> Option<u32> {
    let marked = seen | ASLEEP;
    if marked != seen {
        word.exchange(seen, marked).ok()?;
    }
    Some(marked)
}

/// Changes the word. `offers` says with which values one who waits could go on.
///
/// # Crash
///
/// Killed between staging and waking: see [`settle`].
pub fn change<W: Word, T>(
    word: &W,
    offers: impl Fn(u32) -> bool,
    mut next: impl FnMut(u32) -> Change<T>,
) -> T {
    loop {
        let seen = word.load();
        let (value, asleep) = (seen & !ASLEEP, seen & ASLEEP);
        if asleep != 0 && offers(value) {
            // Somebody's change has not taken effect yet, and ours comes after it.
            word.wake();
            continue;
        }
        match next(value) {
            Change::Nothing(answer) => return answer,
            Change::Quiet { to, answer } => {
                if word.exchange(seen, to | asleep).is_ok() {
                    return answer;
                }
            }
            Change::Offer { to, answer } => {
                // The fault: the bit goes first, so that one who is killed here takes the wake-up with him.
                let staged = if fault!("wait.change.bit_before_wake") { to } else { to | asleep };
                if word.exchange(seen, staged).is_ok() {
                    if asleep != 0 {
                        word.wake();
                    }
                    return answer;
                }
            }
        }
    }
}

/// Makes sure that nothing staged stays so, and that whoever sleeps looks again: for those who come after one who died.
///
/// # Progress
///
/// Wait-free.
pub fn settle<W: Word>(word: &W) {
    if word.load() & ASLEEP != 0 && !fault!("wait.settle.nobody_woken") {
        word.wake();
    }
}
