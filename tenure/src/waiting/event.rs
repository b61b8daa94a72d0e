//! Events.

use std::fmt;

use tenure_slab::Token;
use tenure_wait::event::{self, SIGNALLED};
use tenure_wait::{Attempt, Word as _};

use super::error::WaitError;
use super::options::WaitOptions;
use super::source::{Gained, Memory, Source, half_word, wait_for, whole_word};
use super::thread_id::Gate;
use super::word::{HalfWord, WaitWord, WholeWord};
use crate::error::{CreateError, OpenHandleError};
use crate::kind::Kind;
use crate::member::Member;
use crate::names::{Name, Named, NamedError};
use crate::object::Object;
use crate::state::State;

/// The way in which an event is reset.
///
/// ```
/// # use std::time::Duration;
/// # use tenure::{Event, Reset};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
/// # let me = space.join()?;
/// for (reset, still_set) in [(Reset::Manual, true), (Reset::Auto, false)] {
///     let event = Event::create(&me, reset, true)?;
///     event.wait(None)?;
///     assert_eq!(event.is_set()?, still_set);
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reset {
    /// Manual-reset: by [`Event::reset`]. Until then all waiters return, also those that start later.
    Manual,
    /// Auto-reset: by the waiter that takes the signal. Each signal lets one waiter return.
    Auto,
}

/// An event between threads of all processes: manual-reset or auto-reset, as in Win32.
///
/// A manual-reset event counts its resets: a thread that waits when the event is signalled returns, even if the event is reset before the
/// thread runs again.
///
/// ```
/// # use tenure::{Event, Reset, WaitError};
/// # use std::time::Duration;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
/// # let (me, other) = (space.join()?, space.join()?);
/// let ready = Event::create(&me, Reset::Auto, false)?;
/// let theirs = Event::open(&other, ready.token())?; // usually in another process
/// theirs.set()?;
/// ready.wait(None)?; // takes the signal
/// assert!(matches!(ready.wait(Some(Duration::ZERO)), Err(WaitError::TimedOut)));
/// # Ok(()) }
/// ```
///
/// # Progress
///
/// Without waiters, `set`, `reset`, and `wait` for a signalled event take at most one CAS each, and no system call. A waiter sleeps in
/// the kernel.
///
/// # Crash
///
/// If a process is killed while it sets the event, the event is signalled or not. If the waiters are not woken yet, the recovery of the
/// dead process, or the next operation on the event, wakes them. A waiter that is killed or stopped takes no wake-up from others. If a
/// waiter of an auto-reset event is killed after it took the signal, the signal is lost.
pub struct Event {
    object: Object,
    gate: Gate,
    reset: Reset,
}

impl Event {
    /// Creates an event without a name; `signalled` is its first state.
    ///
    /// ```
    /// # use tenure::{Event, Reset};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let go = Event::create(&me, Reset::Manual, true)?;
    /// assert!(go.is_set()?);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`CreateError`]; nothing was created.
    pub fn create(member: &Member, reset: Reset, signalled: bool) -> Result<Self, CreateError> {
        Self::create_as(member, None, reset, signalled)
    }

    /// Creates an event with a name that is not in use; see [`Member::create_named`].
    ///
    /// ```
    /// # use tenure::{CreateError, Event, Reset};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let go = Event::create_named(&me, "go", Reset::Manual, false)?;
    /// let again = Event::create_named(&me, "go", Reset::Manual, false);
    /// assert!(matches!(again, Err(CreateError::NameTaken { .. })));
    /// # drop(go);
    /// # Ok(()) }
    /// ```
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

    /// Opens the event that has the name, manual-reset or auto-reset.
    ///
    /// ```
    /// # use tenure::{Event, OpenHandleError, Reset};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let (me, other) = (space.join()?, space.join()?);
    /// let go = Event::create_named(&me, "go", Reset::Auto, false)?;
    /// let theirs = Event::open_named(&other, "go")?; // usually in another process
    /// assert_eq!((theirs.token(), theirs.resets()), (go.token(), Reset::Auto));
    /// assert!(matches!(Event::open_named(&other, "stop"), Err(OpenHandleError::NoSuchName)));
    /// # Ok(()) }
    /// ```
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

    /// Opens the event that has the name, or creates it, in one step; see [`Member::create_or_open`]. `signalled` is ignored if the event
    /// exists.
    ///
    /// ```
    /// # use tenure::{Event, Reset};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let (me, other) = (space.join()?, space.join()?);
    /// let first = Event::create_or_open(&me, "go", Reset::Manual, true)?;
    /// let second = Event::create_or_open(&other, "go", Reset::Manual, false)?; // usually in another process
    /// assert!(first.is_created() && !second.is_created());
    /// assert!(second.into_inner().is_set()?);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`NamedError`], for instance if the existing event is reset the other way; nothing is held.
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
        Object::create(member, name, Self::kind_of(reset), Self::initial(signalled), &[]).map(Self::of)
    }

    /// The kind of the handles of such events.
    const fn kind_of(reset: Reset) -> Kind {
        match reset {
            Reset::Manual => Kind::EVENT_MANUAL,
            Reset::Auto => Kind::EVENT_AUTO,
        }
    }

    /// The state words of a new event.
    fn initial(signalled: bool) -> [u64; 4] {
        [if signalled { SIGNALLED.into() } else { 0 }, 0, 0, 0]
    }

    /// Opens the token of an event, manual-reset or auto-reset.
    ///
    /// ```
    /// # use tenure::{Event, OpenHandleError, Reset, Semaphore};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let (me, other) = (space.join()?, space.join()?);
    /// let go = Event::create(&me, Reset::Auto, false)?;
    /// let theirs = Event::open(&other, go.token())?; // usually in another process
    /// theirs.set()?;
    /// assert!(go.is_set()?);
    ///
    /// let permits = Semaphore::create(&me, 1, 1)?;
    /// assert!(matches!(Event::open(&other, permits.token()), Err(OpenHandleError::ForeignKind { .. })));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`OpenHandleError`], for instance [`OpenHandleError::Stale`] or [`OpenHandleError::ForeignKind`]; nothing is held.
    pub fn open(member: &Member, token: Token) -> Result<Self, OpenHandleError> {
        match Object::open(member, Kind::EVENT_MANUAL, token) {
            Err(OpenHandleError::ForeignKind { found: Kind::EVENT_AUTO, .. }) => {
                Self::over(Object::open(member, Kind::EVENT_AUTO, token)?)
            }
            opened => Self::over(opened?),
        }
    }

    /// Wraps an object of one of the two kinds.
    pub(crate) fn over(object: Object) -> Result<Self, OpenHandleError> {
        Ok(Self::of(object))
    }

    fn of(object: Object) -> Self {
        let reset = if object.kind() == Kind::EVENT_MANUAL { Reset::Manual } else { Reset::Auto };
        Self { gate: Gate::of(&object, true), object, reset }
    }

    /// Opens the same handle once more.
    ///
    /// ```
    /// # use tenure::{Event, Reset};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let go = Event::create(&me, Reset::Manual, false)?;
    /// let second = go.try_clone()?; // for instance for another thread
    /// second.set()?;
    /// assert!(go.is_set()?);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`OpenHandleError`].
    pub fn try_clone(&self) -> Result<Self, OpenHandleError> {
        self.object.try_clone().map(Self::of)
    }

    /// The token: 64 bits to pass to other processes.
    #[must_use]
    pub fn token(&self) -> Token {
        self.object.token()
    }

    /// The way in which the event is reset.
    #[must_use]
    pub fn resets(&self) -> Reset {
        self.reset
    }

    /// Signals the event, and wakes its waiters. If it is signalled already, nothing changes.
    ///
    /// ```
    /// # use tenure::{Event, Reset};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let go = Event::create(&me, Reset::Manual, false)?;
    /// go.set()?;
    /// go.wait(None)?;
    /// go.wait(None)?; // still signalled: a manual-reset event
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`WaitError::NotMember`].
    ///
    /// # Progress
    ///
    /// Lock-free; makes a system call only if there are waiters.
    ///
    /// # Crash
    ///
    /// See [`Event`].
    #[inline]
    pub fn set(&self) -> Result<(), WaitError> {
        if self.gate.admits_process() && self.reset == Reset::Auto {
            // SAFETY: this process is the member.
            let state = unsafe { self.object.mapped_state() };
            if event::set_unwaited(&self.auto_word(state)) {
                return Ok(());
            }
        }
        self.set_contended()
    }

    /// Every `set` of more than one step.
    #[cold]
    #[inline(never)]
    fn set_contended(&self) -> Result<(), WaitError> {
        match self.reset {
            Reset::Manual => event::set(&half_word(&self.object)?),
            Reset::Auto => event::set(&whole_word(&self.object, Kind::EVENT_AUTO)?),
        }
        Ok(())
    }

    #[inline(always)]
    fn auto_word<'a>(&'a self, state: &'a State) -> WholeWord<'a> {
        WholeWord::of(state, &self.object.shared().mcas_descriptors, Kind::EVENT_AUTO)
    }

    /// Resets the event; true if it was signalled.
    ///
    /// ```
    /// # use tenure::{Event, Reset};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let go = Event::create(&me, Reset::Manual, true)?;
    /// assert_eq!((go.reset()?, go.reset()?), (true, false));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`WaitError::NotMember`].
    pub fn reset(&self) -> Result<bool, WaitError> {
        Ok(match self.reset {
            Reset::Manual => event::reset(&half_word(&self.object)?, true),
            Reset::Auto => event::reset(&whole_word(&self.object, Kind::EVENT_AUTO)?, false),
        })
    }

    /// Whether the event is signalled. Another waiter may have taken the signal of an auto-reset event when this returns.
    ///
    /// ```
    /// # use tenure::{Event, Reset};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let go = Event::create(&me, Reset::Auto, true)?;
    /// assert!(go.is_set()?);
    /// go.wait(None)?; // takes the signal
    /// assert!(!go.is_set()?);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`WaitError::NotMember`].
    pub fn is_set(&self) -> Result<bool, WaitError> {
        Ok(event::is_available(self.word()?.load() & !tenure_wait::WAITERS))
    }

    /// Waits until the event is signalled, and takes the signal of an auto-reset event. `options` is usually a timeout: `None` waits without
    /// limit, zero does not wait; see [`WaitOptions`].
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tenure::{Event, Reset, WaitError};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let go = Event::create(&me, Reset::Auto, true)?;
    /// go.wait(None)?;
    /// let timed_out = go.wait(Some(Duration::from_millis(1)));
    /// assert!(matches!(timed_out, Err(WaitError::TimedOut)));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`WaitError::TimedOut`]; [`WaitError::NotMember`].
    ///
    /// # Progress
    ///
    /// Lock-free if the event is signalled; else sleeps in the kernel.
    ///
    /// # Crash
    ///
    /// See [`Event`].
    #[inline]
    pub fn wait(&self, options: impl Into<WaitOptions>) -> Result<(), WaitError> {
        if self.gate.admits_process() {
            // SAFETY: this process is the member.
            let state = unsafe { self.object.mapped_state() };
            let done = match self.reset {
                Reset::Auto => event::take_signal(&self.auto_word(state)),
                Reset::Manual => event::is_signalled(&HalfWord::of(state)),
            };
            if done {
                return Ok(());
            }
        }
        self.wait_contended(&options.into())
    }

    /// Every wait of more than one step.
    #[cold]
    #[inline(never)]
    fn wait_contended(&self, options: &WaitOptions) -> Result<(), WaitError> {
        wait_for(self, *options).map(drop)
    }
}

impl Source for Event {
    fn object(&self) -> &Object {
        &self.object
    }

    fn word(&self) -> Result<WaitWord<'_>, WaitError> {
        Ok(match self.reset {
            Reset::Manual => WaitWord::Half(half_word(&self.object)?),
            Reset::Auto => WaitWord::Whole(whole_word(&self.object, Kind::EVENT_AUTO)?),
        })
    }

    fn attempt(&self, memory: &mut Memory) -> Result<Attempt<Gained>, WaitError> {
        let attempt = match self.reset {
            Reset::Manual => event::try_manual(&half_word(&self.object)?, *memory),
            Reset::Auto => event::try_auto(&whole_word(&self.object, Kind::EVENT_AUTO)?),
        };
        Ok(match attempt {
            Attempt::Taken(()) => Attempt::Taken(Gained::default()),
            Attempt::Blocked(seen) => {
                // Of a manual-reset event; that of an auto-reset event is not used.
                memory.get_or_insert(event::generation(seen));
                Attempt::Blocked(seen)
            }
        })
    }

    fn take(&self, value: u32) -> Option<u32> {
        let left = match self.reset {
            Reset::Manual => value,
            Reset::Auto => value & !SIGNALLED,
        };
        event::is_available(value).then_some(left)
    }
}

impl crate::slots::sealed::Keep for Event {
    fn count(&self) -> crate::slots::sealed::Count<'_> {
        self.object.count()
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
