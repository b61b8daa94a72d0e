//! Mutexes, events and semaphores by name.
//!
//! Whoever opens what exists takes it as it is: what a caller would have created it with does not matter then.

use super::{Name, Named, NamedError};
use crate::error::{CreateError, OpenHandleError};
use crate::kind::Kind;
use crate::member::Member;
use crate::object::{Called, Object};
use crate::waiting::{Event, Mutex, Reset, Semaphore};

/// By name; see [`Member::create_named`].
impl Mutex {
    /// Creates one with a name that nothing has.
    ///
    /// # Errors
    ///
    /// [`CreateError`], for instance [`CreateError::NameTaken`]; nothing was created.
    pub fn create_named(member: &Member, name: &str, recursive: bool) -> Result<Self, CreateError> {
        let called = Called::By(Name::new(name)?);
        let object = Object::create_called(member, called, Kind::MUTEX, Self::initial(recursive), &[])?;
        Ok(Self::entered(object, recursive))
    }

    /// Opens the mutex that has a name.
    ///
    /// # Errors
    ///
    /// [`OpenHandleError`], for instance [`OpenHandleError::NoSuchName`]; nothing is held.
    pub fn open_named(member: &Member, name: &str) -> Result<Self, OpenHandleError> {
        Self::over(Object::open_named(member, Name::known(name)?, Kind::MUTEX)?)
    }

    /// Opens the mutex that has a name, or creates it, in one step; see [`Member::create_or_open`]. One that exists is
    /// recursive or not as it was created.
    ///
    /// # Errors
    ///
    /// [`NamedError`]; nothing is held.
    pub fn create_or_open(member: &Member, name: &str, recursive: bool) -> Result<Named<Self>, NamedError> {
        let initial = Self::initial(recursive);
        let named = Object::create_or_open(member, Name::new(name)?, Kind::MUTEX, initial, &[])?;
        Ok(named.try_map(Self::over)?)
    }
}

/// By name; see [`Member::create_named`].
impl Event {
    /// Creates one with a name that nothing has.
    ///
    /// # Errors
    ///
    /// [`CreateError`], for instance [`CreateError::NameTaken`]; nothing was created.
    pub fn create_named(
        member: &Member,
        name: &str,
        reset: Reset,
        signalled: bool,
    ) -> Result<Self, CreateError> {
        let (called, kind) = (Called::By(Name::new(name)?), Self::kind_of(reset));
        Ok(Self::of(Object::create_called(member, called, kind, Self::initial(signalled), &[])?))
    }

    /// Opens the event that has a name, of either sort.
    ///
    /// # Errors
    ///
    /// [`OpenHandleError`], for instance [`OpenHandleError::NoSuchName`]; nothing is held.
    pub fn open_named(member: &Member, name: &str) -> Result<Self, OpenHandleError> {
        let name = Name::known(name)?;
        match Object::open_named(member, name, Kind::EVENT_MANUAL) {
            Err(OpenHandleError::ForeignKind { found: Kind::EVENT_AUTO, .. }) => {
                Object::open_named(member, name, Kind::EVENT_AUTO).map(Self::of)
            }
            opened => opened.map(Self::of),
        }
    }

    /// Opens the event that has a name, or creates it, in one step; see [`Member::create_or_open`]. One that exists is
    /// signalled or not as it is.
    ///
    /// # Errors
    ///
    /// [`NamedError`], for instance when the event that exists is of the other sort; nothing is held.
    pub fn create_or_open(
        member: &Member,
        name: &str,
        reset: Reset,
        signalled: bool,
    ) -> Result<Named<Self>, NamedError> {
        let (initial, kind) = (Self::initial(signalled), Self::kind_of(reset));
        let named = Object::create_or_open(member, Name::new(name)?, kind, initial, &[])?;
        named.try_map(|object| Ok(Self::of(object)))
    }
}

/// By name; see [`Member::create_named`].
impl Semaphore {
    /// Creates one with a name that nothing has.
    ///
    /// # Errors
    ///
    /// [`CreateError`], for instance [`CreateError::NameTaken`]; nothing was created.
    pub fn create_named(member: &Member, name: &str, count: u32, maximum: u32) -> Result<Self, CreateError> {
        let (called, initial) = (Called::By(Name::new(name)?), Self::initial(count, maximum)?);
        Ok(Self::of(Object::create_called(member, called, Kind::SEMAPHORE, initial, &[])?, maximum))
    }

    /// Opens the semaphore that has a name.
    ///
    /// # Errors
    ///
    /// [`OpenHandleError`], for instance [`OpenHandleError::NoSuchName`]; nothing is held.
    pub fn open_named(member: &Member, name: &str) -> Result<Self, OpenHandleError> {
        Self::over(Object::open_named(member, Name::known(name)?, Kind::SEMAPHORE)?)
    }

    /// Opens the semaphore that has a name, or creates it, in one step; see [`Member::create_or_open`]. One that exists has
    /// its own count and maximum.
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
}
