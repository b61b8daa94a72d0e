//! Semaphores.

use std::fmt;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tenure_slab::Token;
use tenure_wait::semaphore::{self, MAXIMUM};
use tenure_wait::{Attempt, WAITERS, Word as _};

use super::error::WaitError;
use super::source::{Gained, Memory, Source, wait_for, whole_word};
use super::word::WaitWord;
use crate::error::{CreateError, OpenHandleError};
use crate::kind::Kind;
use crate::member::Member;
use crate::names::{Name, Named, NamedError};
use crate::object::Object;

/// State word: the maximum, which never changes.
const LIMIT: usize = 1;

/// A counting semaphore with a maximum.
///
/// Nobody owns what was acquired: if a process dies without a release, its permits are gone until another process releases them.
///
/// # Progress
///
/// As [`Event`](crate::Event).
///
/// # Crash
///
/// If a process is killed while it releases, all of it is released or nothing is.
pub struct Semaphore {
    object: Object,
    maximum: u32,
}

impl Semaphore {
    /// The largest maximum that a semaphore can have.
    pub const MAXIMUM: u32 = MAXIMUM;

    /// Creates a semaphore with a count from 0 to the maximum, which is from 1 to [`Semaphore::MAXIMUM`].
    ///
    /// # Errors
    ///
    /// [`CreateError`]; nothing was created.
    pub fn create(member: &Member, count: u32, maximum: u32) -> Result<Self, CreateError> {
        Self::create_as(member, None, count, maximum)
    }

    /// Creates a semaphore with a name that is not in use; see [`Member::create_named`].
    ///
    /// # Errors
    ///
    /// [`CreateError`], for instance [`CreateError::NameTaken`]; nothing was created.
    pub fn create_named(member: &Member, name: &str, count: u32, maximum: u32) -> Result<Self, CreateError> {
        Self::create_as(member, Some(Name::new(name)?), count, maximum)
    }

    /// Opens the semaphore that has the name.
    ///
    /// # Errors
    ///
    /// [`OpenHandleError`], for instance [`OpenHandleError::NoSuchName`]; nothing is held.
    pub fn open_named(member: &Member, name: &str) -> Result<Self, OpenHandleError> {
        Self::over(Object::open_named(member, Name::known(name)?, Kind::SEMAPHORE)?)
    }

    /// Opens the semaphore that has the name, or creates it, in one step; see [`Member::create_or_open`]. `count` and `maximum` are ignored
    /// if it exists.
    ///
    /// # Errors
    ///
    /// [`NamedError`]; nothing is held.
    pub fn create_or_open(
        member: &Member,
        name: &str,
        count: u32,
        maximum: u32,
    ) -> Result<Named<Self>, NamedError> {
        let initial = Self::initial(count, maximum)?;
        let named = Object::create_or_open(member, Name::new(name)?, Kind::SEMAPHORE, initial, &[])?;
        Ok(named.try_map(Self::over)?)
    }

    fn create_as(
        member: &Member,
        name: Option<Name<'_>>,
        count: u32,
        maximum: u32,
    ) -> Result<Self, CreateError> {
        let object = Object::create(member, name, Kind::SEMAPHORE, Self::initial(count, maximum)?, &[])?;
        Ok(Self { object, maximum })
    }

    /// The state words of a new semaphore.
    fn initial(count: u32, maximum: u32) -> Result<[u64; 4], CreateError> {
        if maximum == 0 || maximum > MAXIMUM || count > maximum {
            return Err(CreateError::Semaphore { count, maximum });
        }
        Ok([count.into(), maximum.into(), 0, 0])
    }

    /// Opens a token.
    ///
    /// # Errors
    ///
    /// [`OpenHandleError`]; nothing is held.
    pub fn open(member: &Member, token: Token) -> Result<Self, OpenHandleError> {
        Self::over(Object::open(member, Kind::SEMAPHORE, token)?)
    }

    /// Wraps an object of this kind.
    fn over(object: Object) -> Result<Self, OpenHandleError> {
        // Relaxed: maximum: written before the handle was published, never changed.
        let found = object.state()?[LIMIT].load(Ordering::Relaxed);
        match u32::try_from(found) {
            Ok(maximum @ 1..=MAXIMUM) => Ok(Self { object, maximum }),
            _ => Err(OpenHandleError::Corrupt(format!("a semaphore with a maximum of {found}"))),
        }
    }

    /// Opens the same handle once more.
    ///
    /// # Errors
    ///
    /// [`OpenHandleError`].
    pub fn try_clone(&self) -> Result<Self, OpenHandleError> {
        Ok(Self { object: self.object.try_clone()?, maximum: self.maximum })
    }

    /// The token: 64 bits to pass to other processes.
    #[must_use]
    pub fn token(&self) -> Token {
        self.object.token()
    }

    /// The maximum.
    #[must_use]
    pub fn maximum(&self) -> u32 {
        self.maximum
    }

    /// The count at the moment.
    ///
    /// # Errors
    ///
    /// [`WaitError::NotMember`].
    pub fn count(&self) -> Result<u32, WaitError> {
        Ok(whole_word(&self.object, Kind::SEMAPHORE)?.load() & !WAITERS)
    }

    /// Waits until the count is not zero, and subtracts one. A timeout of `None` waits without limit, zero does not wait.
    ///
    /// # Errors
    ///
    /// [`WaitError::TimedOut`].
    pub fn acquire(&self, timeout: Option<Duration>) -> Result<(), WaitError> {
        wait_for(self, timeout).map(drop)
    }

    /// Adds `more` to the count; returns the count before.
    ///
    /// # Errors
    ///
    /// [`WaitError::Maximum`] if the count would exceed the maximum; nothing was added.
    pub fn release(&self, more: u32) -> Result<u32, WaitError> {
        let maximum = self.maximum;
        semaphore::release(&whole_word(&self.object, Kind::SEMAPHORE)?, more, maximum)
            .map_err(|count| WaitError::Maximum { count, more, maximum })
    }
}

impl Source for Semaphore {
    fn object(&self) -> &Object {
        &self.object
    }

    fn word(&self) -> Result<WaitWord<'_>, WaitError> {
        Ok(WaitWord::Whole(whole_word(&self.object, Kind::SEMAPHORE)?))
    }

    fn attempt(&self, _: &mut Memory) -> Result<Attempt<Gained>, WaitError> {
        Ok(match semaphore::try_acquire(&whole_word(&self.object, Kind::SEMAPHORE)?) {
            Attempt::Taken(()) => Attempt::Taken(Gained::default()),
            Attempt::Blocked(seen) => Attempt::Blocked(seen),
        })
    }

    fn take(&self, value: u32) -> Option<u32> {
        value.checked_sub(1)
    }
}

impl fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Semaphore")
            .field("token", &self.token())
            .field("count", &self.count().ok())
            .field("maximum", &self.maximum)
            .finish()
    }
}
