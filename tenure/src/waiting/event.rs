//! Events.

use std::fmt;

use tenure_slab::Token;
use tenure_wait::event::{self, SIGNALLED};
use tenure_wait::{Attempt, Word as _};

use super::error::WaitError;
use super::future;
use super::options::WaitOptions;
use super::source::{Gained, Memory, Source, half_word, wait_for, whole_word};
use super::thread_id::Gate;
use super::word::{HalfWord, WaitWord, WholeWord};
use crate::error::{CreateError, OpenHandleError};
use crate::kind::Kind;
use crate::member::Member;
use crate::names::{Name, Named, NamedError};
use crate::object::Object;
use crate::place::{Key, Place};
use crate::state::State;

/// The way in which an event is reset.
///
/// ```
/// # use std::time::Duration;
/// # use tenure::sync::{Event, Reset};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
/// # let me = space.join()?;
/// for (reset, still_set) in [(Reset::Manual, true), (Reset::Auto, false)] {
///     let event = Event::options(reset).signalled(true).create(&me)?;
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
/// # use tenure::{error::WaitError, sync::{Event, Reset}};
/// # use std::time::Duration;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
/// # let (me, other) = (space.join()?, space.join()?);
/// let ready = Event::create(&me, Reset::Auto)?;
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

/// How an event is made: see [`Event::options`].
///
/// ```
/// # use tenure::sync::{Event, Reset};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
/// # let me = space.join()?;
/// let go = Event::options(Reset::Manual).signalled(true).create(me.named("go"))?;
/// assert!(go.is_set()?);
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventOptions {
    reset: Reset,
    signalled: bool,
}

impl EventOptions {
    /// Whether it is signalled at first; if not said, it is not.
    #[must_use]
    pub fn signalled(self, signalled: bool) -> Self {
        Self { signalled, ..self }
    }

    /// Creates the event.
    ///
    /// # Errors
    ///
    /// [`CreateError`]; nothing was created.
    pub fn create<'a>(self, place: impl Into<Place<'a>>) -> Result<Event, CreateError> {
        Object::create(place.into(), Event::kind_of(self.reset), self.state(), &[]).map(Event::of)
    }

    /// Opens the event that has the name, or creates it, in one step; see [`Member::create_or_open`]. An event that exists stays as it is.
    ///
    /// # Errors
    ///
    /// [`NamedError`], for instance if the existing event is reset the other way; nothing is held.
    pub fn create_or_open(self, member: &Member, name: &str) -> Result<Named<Event>, NamedError> {
        let kind = Event::kind_of(self.reset);
        Object::create_or_open(member, Name::new(name)?, kind, self.state(), &[])?
            .try_map(|object| Ok(Event::of(object)))
    }

    /// The state words of a new event.
    fn state(self) -> [u64; 4] {
        [if self.signalled { SIGNALLED.into() } else { 0 }, 0, 0, 0]
    }
}

impl Event {
    /// Creates an event that is not signalled.
    ///
    /// ```
    /// # use tenure::sync::{Event, Reset};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let go = Event::create(&me, Reset::Manual)?;
    /// assert!(!go.is_set()?);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`CreateError`]; nothing was created.
    pub fn create<'a>(place: impl Into<Place<'a>>, reset: Reset) -> Result<Self, CreateError> {
        Self::options(reset).create(place)
    }

    /// What can be chosen at creation, beside the way it is reset.
    #[must_use]
    pub fn options(reset: Reset) -> EventOptions {
        EventOptions { reset, signalled: false }
    }

    /// Opens the event that has the name, or creates it, in one step; see [`Member::create_or_open`]. A new one is not signalled.
    ///
    /// ```
    /// # use tenure::sync::{Event, Reset};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let (me, other) = (space.join()?, space.join()?);
    /// let first = Event::create_or_open(&me, "go", Reset::Manual)?;
    /// let second = Event::create_or_open(&other, "go", Reset::Manual)?; // usually in another process
    /// assert!(first.is_created() && !second.is_created());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`NamedError`], for instance if the existing event is reset the other way; nothing is held.
    pub fn create_or_open(member: &Member, name: &str, reset: Reset) -> Result<Named<Self>, NamedError> {
        Self::options(reset).create_or_open(member, name)
    }

    /// The kind of the handles of such events.
    const fn kind_of(reset: Reset) -> Kind {
        match reset {
            Reset::Manual => Kind::EVENT_MANUAL,
            Reset::Auto => Kind::EVENT_AUTO,
        }
    }

    /// Opens the event of a token, or the one that has a name, manual-reset or auto-reset.
    ///
    /// ```
    /// # use tenure::{error::OpenHandleError, sync::{Event, Reset, Semaphore}};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let (me, other) = (space.join()?, space.join()?);
    /// let go = Event::create(&me, Reset::Auto)?;
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
    pub fn open<'k>(member: &Member, key: impl Into<Key<'k>>) -> Result<Self, OpenHandleError> {
        let key = key.into();
        match Object::open(member, Kind::EVENT_MANUAL, key) {
            Err(OpenHandleError::ForeignKind { found: Kind::EVENT_AUTO, .. }) => {
                Self::over(Object::open(member, Kind::EVENT_AUTO, key)?)
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
    /// # use tenure::sync::{Event, Reset};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let go = Event::create(&me, Reset::Manual)?;
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
    /// # use tenure::sync::{Event, Reset};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let go = Event::create(&me, Reset::Manual)?;
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
    /// # use tenure::sync::{Event, Reset};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let go = Event::options(Reset::Manual).signalled(true).create(&me)?;
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
    /// # use tenure::sync::{Event, Reset};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let go = Event::options(Reset::Auto).signalled(true).create(&me)?;
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
    /// # use tenure::{error::WaitError, sync::{Event, Reset}};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let go = Event::options(Reset::Auto).signalled(true).create(&me)?;
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

    /// As [`Event::wait`], as a future, for any executor; the executor's own timeouts limit it.
    ///
    /// ```
    /// # use tenure::sync::{Event, Reset};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// # let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    /// # runtime.block_on(async {
    /// let go = Event::create(&me, Reset::Auto)?;
    /// let (waited, set) = tokio::join!(go.wait_async(), async { go.set() }); // usually by another process
    /// (waited?, set?);
    /// assert!(!go.is_set()?);
    /// # Ok(()) }) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`WaitError::NotMember`]; [`WaitError::Os`] if no thread can sleep for it.
    ///
    /// # Cancellation
    ///
    /// A future that is dropped has taken nothing, and keeps no wake-up from others.
    pub async fn wait_async(&self) -> Result<(), WaitError> {
        future::taken(self).await.map(drop)
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
