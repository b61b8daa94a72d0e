//! Semaphores.

use std::fmt;
use std::sync::atomic::Ordering;

use tenure_slab::Token;
use tenure_wait::semaphore::{self, MAXIMUM};
use tenure_wait::{Attempt, WAITERS, Word as _};

use super::error::WaitError;
use super::future;
use super::options::WaitOptions;
use super::source::{Gained, Memory, Source, mapped_word, wait_for, whole_word};
use super::thread_id::Gate;
use super::word::WaitWord;
use crate::error::{CreateError, OpenHandleError};
use crate::kind::Kind;
use crate::member::Member;
use crate::names::{Name, Named, NamedError};
use crate::object::Object;
use crate::place::{Key, Place};

/// State word: the maximum, which never changes.
const LIMIT: usize = 1;

/// A counting semaphore with a maximum, between threads of all processes.
///
/// Permits have no owner: if a process dies before it releases its permits, they are lost until another process releases them.
///
/// ```
/// # use tenure::sync::Semaphore;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
/// # let (me, other) = (space.join()?, space.join()?);
/// let permits = Semaphore::create(&me, 2, 8)?;
/// let theirs = Semaphore::open(&other, permits.token())?; // usually in another process
/// theirs.acquire(None)?;
/// assert_eq!(permits.count()?, 1);
/// assert_eq!(theirs.release(1)?, 1); // the count before
/// # Ok(()) }
/// ```
///
/// # Progress
///
/// As [`Event`](crate::sync::Event).
///
/// # Crash
///
/// If a process is killed during a release, all permits of that release are added or none.
pub struct Semaphore {
    object: Object,
    gate: Gate,
    maximum: u32,
}

impl Semaphore {
    /// The largest maximum that a semaphore can have.
    pub const MAXIMUM: u32 = MAXIMUM;

    /// Creates a semaphore. The maximum is 1 to [`Semaphore::MAXIMUM`], the count 0 to the maximum.
    ///
    /// ```
    /// # use tenure::{error::CreateError, sync::Semaphore};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let permits = Semaphore::create(&me, 2, 8)?;
    /// assert_eq!((permits.count()?, permits.maximum()), (2, 8));
    /// let wrong = Semaphore::create(&me, 9, 8);
    /// assert!(matches!(wrong, Err(CreateError::Semaphore { count: 9, maximum: 8 })));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`CreateError`], for instance [`CreateError::Semaphore`] for other numbers; nothing was created.
    pub fn create<'a>(place: impl Into<Place<'a>>, count: u32, maximum: u32) -> Result<Self, CreateError> {
        let initial = Self::initial(count, maximum)?;
        Ok(Self::of(Object::create(place.into(), Kind::SEMAPHORE, initial, &[])?, maximum))
    }

    /// Opens the semaphore that has the name, or creates it, in one step; see [`Member::create_or_open`]. `count` and `maximum` are ignored
    /// if the semaphore exists.
    ///
    /// ```
    /// # use tenure::sync::Semaphore;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let (me, other) = (space.join()?, space.join()?);
    /// let first = Semaphore::create_or_open(&me, "permits", 2, 8)?;
    /// let second = Semaphore::create_or_open(&other, "permits", 1, 1)?; // usually in another process
    /// assert!(first.is_created() && !second.is_created());
    /// assert_eq!(second.into_inner().maximum(), 8);
    /// # Ok(()) }
    /// ```
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

    fn of(object: Object, maximum: u32) -> Self {
        Self { gate: Gate::of(&object, true), object, maximum }
    }

    /// The state words of a new semaphore.
    fn initial(count: u32, maximum: u32) -> Result<[u64; 4], CreateError> {
        if maximum == 0 || maximum > MAXIMUM || count > maximum {
            return Err(CreateError::Semaphore { count, maximum });
        }
        Ok([count.into(), maximum.into(), 0, 0])
    }

    /// Opens the semaphore of a token, or the one that has a name.
    ///
    /// ```
    /// # use tenure::{error::OpenHandleError, sync::Semaphore};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let (me, other) = (space.join()?, space.join()?);
    /// let permits = Semaphore::create(&me, 2, 8)?;
    /// let theirs = Semaphore::open(&other, permits.token())?; // usually in another process
    /// let token = permits.token();
    /// drop((permits, theirs));
    /// assert!(matches!(Semaphore::open(&other, token), Err(OpenHandleError::Stale { .. })));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`OpenHandleError`], for instance [`OpenHandleError::Stale`] or [`OpenHandleError::ForeignKind`]; nothing is held.
    pub fn open<'k>(member: &Member, key: impl Into<Key<'k>>) -> Result<Self, OpenHandleError> {
        Self::over(Object::open(member, Kind::SEMAPHORE, key.into())?)
    }

    /// Wraps an object of this kind.
    fn over(object: Object) -> Result<Self, OpenHandleError> {
        // Relaxed: maximum: written before the handle was published, never changed.
        let found = object.state()?[LIMIT].load(Ordering::Relaxed);
        match u32::try_from(found) {
            Ok(maximum @ 1..=MAXIMUM) => Ok(Self::of(object, maximum)),
            _ => Err(OpenHandleError::Corrupt(format!("a semaphore with a maximum of {found}"))),
        }
    }

    /// Opens the same handle once more.
    ///
    /// ```
    /// # use tenure::sync::Semaphore;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let permits = Semaphore::create(&me, 1, 8)?;
    /// let second = permits.try_clone()?; // for instance for another thread
    /// second.acquire(None)?;
    /// assert_eq!(permits.count()?, 0);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`OpenHandleError`].
    pub fn try_clone(&self) -> Result<Self, OpenHandleError> {
        Ok(Self::of(self.object.try_clone()?, self.maximum))
    }

    /// The token: 64 bits to pass to other processes.
    #[must_use]
    pub fn token(&self) -> Token {
        self.object.token()
    }

    /// The maximum of the count, fixed at creation.
    #[must_use]
    pub fn maximum(&self) -> u32 {
        self.maximum
    }

    /// The count at this moment: the number of permits available.
    ///
    /// ```
    /// # use tenure::sync::Semaphore;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let permits = Semaphore::create(&me, 2, 8)?;
    /// permits.acquire(None)?;
    /// assert_eq!(permits.count()?, 1);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`WaitError::NotMember`].
    pub fn count(&self) -> Result<u32, WaitError> {
        Ok(whole_word(&self.object, Kind::SEMAPHORE)?.load() & !WAITERS)
    }

    /// Waits until the count is not zero, and subtracts one. `options` is usually a timeout: `None` waits without limit, zero does not wait;
    /// see [`WaitOptions`].
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tenure::{error::WaitError, sync::Semaphore};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let permits = Semaphore::create(&me, 1, 8)?;
    /// permits.acquire(None)?;
    /// let timed_out = permits.acquire(Some(Duration::from_millis(1)));
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
    /// Lock-free if the count is not zero; else sleeps in the kernel.
    ///
    /// # Crash
    ///
    /// See [`Semaphore`].
    #[inline]
    pub fn acquire(&self, options: impl Into<WaitOptions>) -> Result<(), WaitError> {
        if self.gate.admits_process() {
            // SAFETY: this process is the member.
            let word = unsafe { mapped_word(&self.object, Kind::SEMAPHORE) };
            if semaphore::take_one(&word, word.load_whole()) {
                return Ok(());
            }
        }
        self.acquire_contended(&options.into())
    }

    /// As [`Semaphore::acquire`], as a future, for any executor; the executor's own timeouts limit it.
    ///
    /// ```
    /// # use tenure::sync::Semaphore;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// # let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    /// # runtime.block_on(async {
    /// let permits = Semaphore::create(&me, 0, 8)?;
    /// let (acquired, released) = tokio::join!(permits.acquire_async(), async { permits.release(1) }); // usually by another process
    /// (acquired?, released?);
    /// assert_eq!(permits.count()?, 0);
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
    pub async fn acquire_async(&self) -> Result<(), WaitError> {
        future::taken(self).await.map(drop)
    }

    /// Every other acquire.
    #[cold]
    #[inline(never)]
    fn acquire_contended(&self, options: &WaitOptions) -> Result<(), WaitError> {
        wait_for(self, *options).map(drop)
    }

    /// Adds `more` to the count; returns the count before.
    ///
    /// ```
    /// # use tenure::{error::WaitError, sync::Semaphore};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let permits = Semaphore::create(&me, 0, 2)?;
    /// assert_eq!(permits.release(2)?, 0);
    /// assert!(matches!(permits.release(1), Err(WaitError::Maximum { count: 2, more: 1, maximum: 2 })));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`WaitError::Maximum`] if the count would exceed the maximum; nothing was added.
    ///
    /// # Progress
    ///
    /// Lock-free; makes a system call only if there are waiters.
    #[inline]
    pub fn release(&self, more: u32) -> Result<u32, WaitError> {
        if self.gate.admits_process() {
            // SAFETY: this process is the member.
            let word = unsafe { mapped_word(&self.object, Kind::SEMAPHORE) };
            if let Some(before) = semaphore::release_unwaited(&word, word.load_whole(), more, self.maximum) {
                return Ok(before);
            }
        }
        self.release_contended(more)
    }

    /// Every other release.
    #[cold]
    #[inline(never)]
    fn release_contended(&self, more: u32) -> Result<u32, WaitError> {
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

impl crate::slots::sealed::Keep for Semaphore {
    fn count(&self) -> crate::slots::sealed::Count<'_> {
        self.object.count()
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
