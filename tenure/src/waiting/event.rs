//! Something that has happened, for those who wait for it.

use std::fmt;
use std::time::Duration;

use tenure_slab::Token;
use tenure_wait::event::{self, SIGNALLED};
use tenure_wait::{Attempt, Word as _};

use super::error::WaitError;
use super::source::{Gained, Memory, Source, half_word, wait_for, whole_word};
use super::word::WaitWord;
use crate::error::{CreateError, OpenHandleError};
use crate::kind::Kind;
use crate::member::Member;
use crate::names::{Name, Named, NamedError};
use crate::object::Object;

/// Who takes the signal of an event away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reset {
    /// Whoever calls [`Event::reset`]; until then everybody goes on who waits or comes.
    Manual,
    /// The one who goes on: each signal lets one waiter go.
    Automatic,
}

/// Something that one signals and others wait for.
///
/// A manual event remembers resets: one who waited when it was signalled goes on, even if it was reset before he was awake.
///
/// # Progress
///
/// Without waiters setting, resetting and waiting for what is signalled are a CAS or less. Who waits sleeps in the kernel.
///
/// # Crash
///
/// Killed while setting, it is signalled or not; if the dead had not woken the waiters yet, his recovery, or whoever looks
/// at the event next, does. A waiter that is killed or stopped takes no wake-up from others. One that was killed after taking an
/// automatic event's signal has taken it.
pub struct Event {
    object: Object,
    reset: Reset,
}

impl Event {
    /// Creates one.
    ///
    /// # Errors
    ///
    /// [`CreateError`]; nothing was created.
    pub fn create(member: &Member, reset: Reset, signalled: bool) -> Result<Self, CreateError> {
        Self::create_as(member, None, reset, signalled)
    }

    /// Creates one with a name that nothing has; see [`Member::create_named`].
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
        Self::create_as(member, Some(Name::new(name)?), reset, signalled)
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

    fn create_as(
        member: &Member,
        name: Option<Name<'_>>,
        reset: Reset,
        signalled: bool,
    ) -> Result<Self, CreateError> {
        let object = Object::create(member, name, Self::kind_of(reset), Self::initial(signalled), &[])?;
        Ok(Self { object, reset })
    }

    /// The kind of its handles.
    const fn kind_of(reset: Reset) -> Kind {
        match reset {
            Reset::Manual => Kind::EVENT_MANUAL,
            Reset::Automatic => Kind::EVENT_AUTO,
        }
    }

    /// The state words of a new one.
    fn initial(signalled: bool) -> [u64; 4] {
        [if signalled { SIGNALLED.into() } else { 0 }, 0, 0, 0]
    }

    /// Opens a token, of either sort.
    ///
    /// # Errors
    ///
    /// [`OpenHandleError`]; nothing is held.
    pub fn open(member: &Member, token: Token) -> Result<Self, OpenHandleError> {
        match Object::open(member, Kind::EVENT_MANUAL, token) {
            Err(OpenHandleError::ForeignKind { found: Kind::EVENT_AUTO, .. }) => {
                Self::over(Object::open(member, Kind::EVENT_AUTO, token)?)
            }
            opened => Self::over(opened?),
        }
    }

    /// Over an object of its kind.
    pub(crate) fn over(object: Object) -> Result<Self, OpenHandleError> {
        Ok(Self::of(object))
    }

    fn of(object: Object) -> Self {
        let reset = if object.kind() == Kind::EVENT_MANUAL { Reset::Manual } else { Reset::Automatic };
        Self { object, reset }
    }

    /// Holds it once more.
    ///
    /// # Errors
    ///
    /// [`OpenHandleError`].
    pub fn try_clone(&self) -> Result<Self, OpenHandleError> {
        Ok(Self { object: self.object.try_clone()?, reset: self.reset })
    }

    /// The 64 bits to pass to others.
    #[must_use]
    pub fn token(&self) -> Token {
        self.object.token()
    }

    /// Who resets it.
    #[must_use]
    pub fn resets(&self) -> Reset {
        self.reset
    }

    /// Signals it. Setting what is signalled changes nothing.
    ///
    /// # Errors
    ///
    /// [`WaitError::NotMember`].
    pub fn set(&self) -> Result<(), WaitError> {
        if self.reset == Reset::Manual {
            return self.set_manual();
        }
        event::set(&whole_word(&self.object, Kind::EVENT_AUTO)?);
        Ok(())
    }

    // By itself: together with the other sort each would save registers for both.
    #[inline(never)]
    fn set_manual(&self) -> Result<(), WaitError> {
        event::set(&half_word(&self.object)?);
        Ok(())
    }

    /// Takes the signal away; whether there was one.
    ///
    /// # Errors
    ///
    /// [`WaitError::NotMember`].
    pub fn reset(&self) -> Result<bool, WaitError> {
        Ok(match self.reset {
            Reset::Manual => event::reset(&half_word(&self.object)?, true),
            Reset::Automatic => event::reset(&whole_word(&self.object, Kind::EVENT_AUTO)?, false),
        })
    }

    /// Whether it is signalled; an automatic one may not be any more when this is answered.
    ///
    /// # Errors
    ///
    /// [`WaitError::NotMember`].
    pub fn is_set(&self) -> Result<bool, WaitError> {
        Ok(event::offers(self.word()?.load() & !tenure_wait::ASLEEP))
    }

    /// Waits until it is signalled, and takes the signal of an automatic event. `None` waits as long as it takes, zero not at
    /// all.
    ///
    /// # Errors
    ///
    /// [`WaitError::TimedOut`].
    pub fn wait(&self, timeout: Option<Duration>) -> Result<(), WaitError> {
        wait_for(self, timeout).map(drop)
    }
}

impl Event {
    // By itself, as `set_manual`.
    #[inline(never)]
    fn attempt_manual(&self, memory: &mut Memory) -> Result<Attempt<Gained>, WaitError> {
        Ok(match event::try_manual(&half_word(&self.object)?, *memory) {
            Attempt::Taken(()) => Attempt::Taken(Gained::default()),
            Attempt::Blocked(seen) => {
                memory.get_or_insert(event::generation(seen));
                Attempt::Blocked(seen)
            }
        })
    }
}

impl Source for Event {
    fn object(&self) -> &Object {
        &self.object
    }

    fn word(&self) -> Result<WaitWord<'_>, WaitError> {
        Ok(match self.reset {
            Reset::Manual => WaitWord::Half(half_word(&self.object)?),
            Reset::Automatic => WaitWord::Whole(whole_word(&self.object, Kind::EVENT_AUTO)?),
        })
    }

    #[inline]
    fn attempt(&self, memory: &mut Memory) -> Result<Attempt<Gained>, WaitError> {
        if self.reset == Reset::Manual {
            return self.attempt_manual(memory);
        }
        Ok(match event::try_auto(&whole_word(&self.object, Kind::EVENT_AUTO)?) {
            Attempt::Taken(()) => Attempt::Taken(Gained::default()),
            Attempt::Blocked(seen) => Attempt::Blocked(seen),
        })
    }

    fn take(&self, value: u32) -> Option<u32> {
        let left = match self.reset {
            Reset::Manual => value,
            Reset::Automatic => value & !SIGNALLED,
        };
        event::offers(value).then_some(left)
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event")
            .field("token", &self.token())
            .field("reset", &self.reset)
            .field("set", &self.is_set().ok())
            .finish()
    }
}
