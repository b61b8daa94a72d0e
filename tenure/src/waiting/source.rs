//! The interface of all objects that can be waited for, and the wait for one of them.

use tenure_segment::futex;
use tenure_wait::{self as wait, Attempt};

use super::error::WaitError;
use super::options::{Limits, WaitOptions};
use super::word::{HalfWord, WaitWord, WholeWord};
use crate::kind::Kind;
use crate::object::Object;
use crate::shared::Shared;

/// The result of a wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gained {
    /// Whether the object is a mutex whose last owner did not unlock it.
    pub abandoned: bool,
}

/// The state of one wait for one object: the generation of a manual-reset event at the waiter's first load.
pub(crate) type Memory = Option<u32>;

/// An object that can be waited for.
pub trait Source {
    /// The object, which holds the handle.
    fn object(&self) -> &Object;

    /// The wait word of the object: the whole word if waiters take from the object, else the low half.
    fn word(&self) -> Result<WaitWord<'_>, WaitError>;

    /// Takes the object if it is available.
    fn attempt(&self, memory: &mut Memory) -> Result<Attempt<Gained>, WaitError>;

    /// The next value of the word if a waiter takes from `value`; `None` if the object is not available. `value` is without the waiters
    /// bit.
    fn take(&self, value: u32) -> Option<u32>;

    /// Called after an MCAS has taken the object; `before` is the former value of its word.
    fn taken(&self, before: u32) -> Result<Gained, WaitError> {
        let _ = before;
        Ok(Gained::default())
    }

    /// Whether the object is a mutex that this thread owns and may lock again, by `lock_again`.
    ///
    /// # Errors
    ///
    /// The thread owns the mutex and must not lock it again.
    fn is_owned(&self) -> Result<bool, WaitError> {
        Ok(false)
    }

    /// Locks a mutex once more; this thread owns it.
    fn lock_again(&self) -> Result<(), WaitError> {
        Ok(())
    }

    /// Called before the caller sleeps on the word; `seen` is its last loaded value.
    fn prepare(&self, seen: u32) -> Result<(), WaitError> {
        let _ = seen;
        Ok(())
    }

    /// Marks that a waiter may fall asleep, after `prepare`. Returns the value to sleep on; `None` if the object may be available now.
    fn mark(&self, seen: u32) -> Result<Option<u32>, WaitError> {
        Ok(wait::set_waiters(&self.word()?, seen))
    }

    /// Whether the word tells that the object is available: else `wait_all` refuses it.
    fn is_in_word(&self) -> bool {
        true
    }
}

/// The wait word of an object from which waiters take nothing.
pub(crate) fn half_word(object: &Object) -> Result<HalfWord<'_>, WaitError> {
    Ok(HalfWord::of(object.state()?))
}

/// The wait word of an object from which waiters take; the caller knows its kind.
#[inline]
pub(crate) fn whole_word(object: &Object, kind: Kind) -> Result<WholeWord<'_>, WaitError> {
    Ok(WholeWord::of(object.state()?, &object.shared().mcas_descriptors, kind))
}

/// As [`whole_word`], without a check.
///
/// # Safety
///
/// As [`Object::mapped_state`].
#[inline(always)]
pub(crate) unsafe fn mapped_word(object: &Object, kind: Kind) -> WholeWord<'_> {
    // SAFETY: the caller's promise.
    WholeWord::of(unsafe { object.mapped_state() }, &object.shared().mcas_descriptors, kind)
}

/// Prepares a sleep on a word with the value `seen`; returns the value to sleep on, or `None` if the word has changed.
pub(crate) fn set_waiters(source: &(impl Source + ?Sized), seen: u32) -> Result<Option<u32>, WaitError> {
    source.prepare(seen)?;
    source.mark(seen)
}

/// Ensures that this process learns when a lease dies whose owner has what the caller is about to wait for.
pub(crate) fn attend(shared: &Shared, lease: u8) -> Result<(), WaitError> {
    shared.lease.attend(lease).map_err(|why| WaitError::Unheard(Box::new(why)))
}

/// Waits for one object.
pub(crate) fn wait_for(source: &impl Source, options: WaitOptions) -> Result<Gained, WaitError> {
    let (mut limits, mut memory) = (Limits::of(options), None);
    loop {
        match source.attempt(&mut memory)? {
            Attempt::Taken(gained) => return Ok(gained),
            Attempt::Blocked(seen) => {
                limits.check()?;
                if let Some(marked) = set_waiters(source, seen)? {
                    let word = source.word()?.futex();
                    limits.sleep(|deadline| Ok(futex::sleep(word, marked, deadline)?))?;
                }
            }
        }
    }
}
