//! What everything that one can wait for has in common, and waiting for one of them.

use std::time::Duration;

use tenure_segment::futex::{self, Deadline, Slept};
use tenure_wait::{self as wait, Attempt};

use super::error::WaitError;
use super::word::WaitWord;
use crate::object::Object;

/// What a waiter has when it goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gained {
    /// A mutex whose last owner did not unlock it.
    pub abandoned: bool,
    /// A mutex that this thread owned before.
    pub again: bool,
}

/// What one waiter remembers of one object while it waits: of a manual event, the generation when it came.
pub(crate) type Memory = Option<u32>;

/// Everything that one can wait for.
pub trait Source {
    /// The object, which holds the handle.
    fn object(&self) -> &Object;

    /// Takes it, if that is possible now.
    fn attempt(&self, memory: &mut Memory) -> Result<Attempt<Gained>, WaitError>;

    /// As `attempt`, without taking anything and without a memory.
    fn peek(&self) -> Result<Attempt<()>, WaitError>;

    /// Undoes an `attempt`.
    fn give_back(&self, gained: Gained);

    /// The caller is going to sleep because the word is `seen`.
    fn prepare(&self, seen: u32) -> Result<(), WaitError> {
        let _ = seen;
        Ok(())
    }
}

/// The wait word of an object.
pub(crate) fn word_of(object: &Object) -> Result<WaitWord<'_>, WaitError> {
    Ok(WaitWord::of(object.state()?))
}

/// What to sleep on after the word was `seen`; `None`: it is another by now.
pub(crate) fn mark(source: &(impl Source + ?Sized), seen: u32) -> Result<Option<u32>, WaitError> {
    source.prepare(seen)?;
    Ok(wait::mark(&word_of(source.object())?, seen))
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
            Some(marked) => futex::sleep(word_of(source.object())?.0, marked, &deadline)?,
            None => Slept::Woken,
        };
        match source.attempt(&mut memory)? {
            Attempt::Taken(gained) => return Ok(gained),
            Attempt::Blocked(_) if slept == Slept::TimedOut => return Err(WaitError::TimedOut),
            Attempt::Blocked(now) => seen = now,
        }
    }
}
