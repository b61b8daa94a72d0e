//! What everything that one can wait for has in common, and waiting for one of them.

use std::time::Duration;

use tenure_segment::futex::{self, Deadline, Slept};
use tenure_wait::{self as wait, Attempt};

use super::error::WaitError;
use super::word::{HalfWord, WaitWord, WholeWord};
use crate::kind::Kind;
use crate::object::Object;

/// What a waiter has when it goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gained {
    /// A mutex whose last owner did not unlock it.
    pub abandoned: bool,
}

/// What one waiter remembers of one object while it waits: of a manual event, the generation when it came.
pub(crate) type Memory = Option<u32>;

/// Everything that one can wait for.
pub trait Source {
    /// The object, which holds the handle.
    fn object(&self) -> &Object;

    /// Its wait word: the whole of it, where those who wait take something.
    fn word(&self) -> Result<WaitWord<'_>, WaitError>;

    /// Takes it, if that is possible now.
    fn attempt(&self, memory: &mut Memory) -> Result<Attempt<Gained>, WaitError>;

    /// What taking it makes of a value of its word, mark aside; `None`: it cannot be had.
    fn take(&self, value: u32) -> Option<u32>;

    /// It was taken together with others, and this was its value before.
    fn taken(&self, before: u32) -> Result<Gained, WaitError> {
        let _ = before;
        Ok(Gained::default())
    }

    /// A mutex that this thread owns, and may lock again by `lock_again`.
    ///
    /// # Errors
    ///
    /// It may not.
    fn is_owned(&self) -> Result<bool, WaitError> {
        Ok(false)
    }

    /// Locks what this thread owns.
    fn lock_again(&self) -> Result<(), WaitError> {
        Ok(())
    }

    /// The caller is going to sleep because the word is `seen`.
    fn prepare(&self, seen: u32) -> Result<(), WaitError> {
        let _ = seen;
        Ok(())
    }
}

/// The wait word of an object of which nothing is taken.
pub(crate) fn half_word(object: &Object) -> Result<HalfWord<'_>, WaitError> {
    Ok(HalfWord::of(object.state()?))
}

/// The wait word of an object that is taken, and of which the caller knows the kind.
#[inline]
pub(crate) fn whole_word(object: &Object, kind: Kind) -> Result<WholeWord<'_>, WaitError> {
    Ok(WholeWord::of(object.state()?, &object.shared().records, kind))
}

/// What to sleep on after the word was `seen`; `None`: it is another by now.
pub(crate) fn mark(source: &(impl Source + ?Sized), seen: u32) -> Result<Option<u32>, WaitError> {
    source.prepare(seen)?;
    Ok(wait::mark(&source.word()?, seen))
}

/// Waits for one.
#[inline]
pub(crate) fn wait_for(source: &impl Source, timeout: Option<Duration>) -> Result<Gained, WaitError> {
    let mut memory = None;
    match source.attempt(&mut memory)? {
        Attempt::Taken(gained) => Ok(gained),
        Attempt::Blocked(_) if timeout.is_some_and(|timeout| timeout.is_zero()) => Err(WaitError::TimedOut),
        Attempt::Blocked(seen) => sleep_for(source, memory, seen, Deadline::after(timeout)),
    }
}

#[cold]
fn sleep_for(
    source: &impl Source,
    mut memory: Memory,
    mut seen: u32,
    deadline: Deadline,
) -> Result<Gained, WaitError> {
    loop {
        let slept = match mark(source, seen)? {
            Some(marked) => futex::sleep(source.word()?.sleepers(), marked, &deadline)?,
            None => Slept::Woken,
        };
        match source.attempt(&mut memory)? {
            Attempt::Taken(gained) => return Ok(gained),
            Attempt::Blocked(_) if slept == Slept::TimedOut => return Err(WaitError::TimedOut),
            Attempt::Blocked(now) => seen = now,
        }
    }
}
