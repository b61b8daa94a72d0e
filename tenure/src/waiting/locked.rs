//! A value and the mutex that protects it, in one object.

use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::Ordering;

use tenure_core::mutant;
use tenure_slab::Token;

use super::error::WaitError;
use super::mutex::{Mutex, MutexGuard};
use super::options::WaitOptions;
use super::plain::{self, FLAGS, Plain, data_of, head_of};
use super::source::Source as _;
use crate::error::{CreateError, OpenHandleError};
use crate::kind::Kind;
use crate::member::Member;
use crate::names::{Named, NamedError};

const DAMAGED: u64 = 1;

/// A value that processes change under a lock, as [`std::sync::Mutex`] has one: neither outlives the other.
///
/// If the owner of the lock dies, or panics, in the middle of a change, the value is *damaged*: every next owner is told so, by
/// [`LockedGuard::is_damaged`], until one says that it is [`repaired`](LockedGuard::repaired).
///
/// ```
/// # use tenure::Locked;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
/// # let (me, other) = (space.join()?, space.join()?);
/// let total = Locked::create(&me, &[0u64; 4])?;
/// let theirs = Locked::<[u64; 4]>::open(&other, total.token())?; // usually in another process
/// theirs.lock()?[1] += 7;
/// assert_eq!(total.lock()?[1], 7);
///
/// let mut guard = theirs.lock()?;
/// guard[2] = 1;
/// std::mem::forget(guard);
/// drop((theirs, other)); // as if the owner died here
/// let mut guard = total.lock()?;
/// assert!(guard.is_damaged());
/// guard[2] = 0;
/// guard.repaired();
/// # Ok(()) }
/// ```
///
/// Any bytes are a value of a [`Plain`] type, so a damaged value can be read safely; whether it makes sense is for the program to see. For
/// a value that is whole at every instant there is [`Versioned`](crate::Versioned).
///
/// # Progress
///
/// As [`Mutex`].
///
/// # Crash
///
/// An owner that is killed at any instruction leaves the value damaged, or has not locked yet, or has unlocked already.
pub struct Locked<T> {
    mutex: Mutex,
    value: PhantomData<fn() -> T>,
}

/// One copy, directly behind the words.
struct One<T>(PhantomData<T>);

impl<T> plain::Layout for One<T> {
    const KIND: Kind = Kind::LOCKED;
    const COPIES: usize = 1;
    const STRIDE: usize = size_of::<T>();
}

impl<T: Plain> Locked<T> {
    fn over(mutex: Mutex) -> Self {
        Self { mutex, value: PhantomData }
    }

    /// Creates it with a copy of `value`.
    ///
    /// # Errors
    ///
    /// [`CreateError`]; nothing was created.
    pub fn create(member: &Member, value: &T) -> Result<Self, CreateError> {
        plain::create::<One<T>, T>(member, None, value).map(Self::over)
    }

    /// Creates it with a name that is not in use; see [`Member::create_named`].
    ///
    /// # Errors
    ///
    /// [`CreateError`], for instance [`CreateError::NameTaken`]; nothing was created.
    pub fn create_named(member: &Member, name: &str, value: &T) -> Result<Self, CreateError> {
        plain::create::<One<T>, T>(member, Some(name), value).map(Self::over)
    }

    /// Opens the one that has the name, or creates it with a copy of `value`, in one step; see [`Member::create_or_open`].
    ///
    /// ```
    /// # use tenure::Locked;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let (me, other) = (space.join()?, space.join()?);
    /// let first = Locked::create_or_open(&me, "hits", &0u64)?;
    /// assert!(first.is_created());
    /// let second = Locked::create_or_open(&other, "hits", &0u64)?.into_inner(); // usually in another process
    /// *second.lock()? += 1;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`NamedError`]; nothing is held.
    pub fn create_or_open(member: &Member, name: &str, value: &T) -> Result<Named<Self>, NamedError> {
        plain::create_or_open::<One<T>, T>(member, name, value)?.try_map(|mutex| Ok(Self::over(mutex)))
    }

    /// Opens a token.
    ///
    /// ```
    /// # use tenure::{Locked, Mutex, OpenHandleError};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let number = Locked::create(&me, &7u64)?;
    /// assert_eq!(*Locked::<u64>::open(&me, number.token())?.lock()?, 7);
    /// let other_type = Locked::<i64>::open(&me, number.token());
    /// assert!(matches!(other_type, Err(OpenHandleError::ForeignKind { .. })));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`OpenHandleError`], for instance [`OpenHandleError::ForeignKind`] if it is no such value or one of another type; nothing is held.
    pub fn open(member: &Member, token: Token) -> Result<Self, OpenHandleError> {
        plain::open::<One<T>, T>(member, token).map(Self::over)
    }

    /// Opens the one that has the name.
    ///
    /// # Errors
    ///
    /// As [`Locked::open`], and [`OpenHandleError::NoSuchName`].
    pub fn open_named(member: &Member, name: &str) -> Result<Self, OpenHandleError> {
        plain::open_named::<One<T>, T>(member, name).map(Self::over)
    }

    /// Opens the same handle once more.
    ///
    /// # Errors
    ///
    /// [`OpenHandleError`].
    pub fn try_clone(&self) -> Result<Self, OpenHandleError> {
        self.mutex.try_clone().map(Self::over)
    }

    /// Locks it; waits without limit.
    ///
    /// # Errors
    ///
    /// [`WaitError::Deadlock`] when this thread has it locked already; [`WaitError::NotMember`].
    ///
    /// # Progress
    ///
    /// As [`Mutex::lock`].
    ///
    /// # Crash
    ///
    /// See [`Locked`].
    #[inline]
    pub fn lock(&self) -> Result<LockedGuard<'_, T>, WaitError> {
        self.guard(self.mutex.lock()?)
    }

    /// Locks it if it is available; does not wait.
    ///
    /// # Errors
    ///
    /// [`WaitError::TimedOut`] if it is not available, and as [`Locked::lock`].
    pub fn try_lock(&self) -> Result<LockedGuard<'_, T>, WaitError> {
        self.guard(self.mutex.try_lock()?)
    }

    /// Locks it. `options` is usually a timeout; see [`WaitOptions`].
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tenure::{Locked, WaitError};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let (me, other) = (space.join()?, space.join()?);
    /// let number = Locked::create(&me, &7u64)?;
    /// let theirs = Locked::<u64>::open(&other, number.token())?;
    /// let guard = theirs.lock()?;
    /// let timed_out = number.lock_with(Duration::from_millis(1));
    /// assert!(matches!(timed_out, Err(WaitError::TimedOut)));
    /// # drop(guard);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`WaitError::TimedOut`] or [`WaitError::Interrupted`], by the options, and as [`Locked::lock`].
    pub fn lock_with(&self, options: impl Into<WaitOptions>) -> Result<LockedGuard<'_, T>, WaitError> {
        let abandoned = self.mutex.acquire(options)?;
        self.guard(self.mutex.guard_of(abandoned))
    }

    #[inline]
    fn guard<'m>(&'m self, guard: MutexGuard<'m>) -> Result<LockedGuard<'m, T>, WaitError> {
        if guard.abandoned() && !mutant!("values.locked.told_once") {
            // Relaxed: damaged: only the owner of the mutex accesses it. Killed before this store, the mutex is abandoned once more.
            head_of(&self.mutex)?[FLAGS].store(DAMAGED, Ordering::Relaxed);
        }
        Ok(LockedGuard { locked: self, is_panicking: std::thread::panicking(), guard })
    }
}

impl<T> Locked<T> {
    /// The token: 64 bits to pass to other processes.
    #[must_use]
    pub fn token(&self) -> Token {
        self.mutex.token()
    }
}

impl<T> crate::slots::sealed::Keep for Locked<T> {
    fn count(&self) -> crate::slots::sealed::Count<'_> {
        self.mutex.count()
    }
}

impl<T> fmt::Debug for Locked<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Locked").field("mutex", &self.mutex).finish_non_exhaustive()
    }
}

/// The value of a [`Locked`], as long as this thread has it locked. Dropping the guard unlocks; a drop while the thread panics leaves the
/// value damaged.
///
/// # Panics
///
/// An access panics in a forked child, where the value is not mapped, and a change also in a member that only
/// [reads](crate::Options::read_only).
#[must_use]
pub struct LockedGuard<'m, T> {
    locked: &'m Locked<T>,
    /// Whether the thread was panicking already when it locked.
    is_panicking: bool,
    /// Dropped after `LockedGuard::drop`.
    guard: MutexGuard<'m>,
}

impl<T> LockedGuard<'_, T> {
    /// Whether an owner has died or panicked in the middle of a change, and nobody has [repaired](Self::repaired) the value since.
    #[must_use]
    pub fn is_damaged(&self) -> bool {
        // Relaxed: damaged: only the owner of the mutex accesses it.
        head_of(&self.locked.mutex).is_ok_and(|head| head[FLAGS].load(Ordering::Relaxed) != 0)
    }

    /// Says that the value makes sense again.
    ///
    /// # Crash
    ///
    /// Killed afterwards, but before the unlock, the value is damaged again.
    pub fn repaired(&mut self) {
        self.set_flags(0);
    }

    fn set_flags(&mut self, flags: u64) {
        // Not in a forked child, whose parent owns the mutex.
        if let Ok(head) = head_of(&self.locked.mutex) {
            // Relaxed: damaged: only the owner of the mutex accesses it.
            head[FLAGS].store(flags, Ordering::Relaxed);
        }
    }

    fn value(&self) -> *mut T {
        match data_of::<One<T>>(&self.locked.mutex, 0) {
            Ok(data) => data.as_ptr().cast(),
            Err(error) => panic!("locked value used: {error}"),
        }
    }
}

impl<T: Plain> Deref for LockedGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: mapped, as `value` has checked; of this type, length and alignment, as the open has checked, or made so; any bytes are a
        // `T`. Only the owner of the mutex makes references to the value. This thread is the owner as long as the guard lives: a thread
        // cannot own it twice, since it is not recursive, and no other object unlocks it, since a handle is opened by its kind only.
        unsafe { &*self.value() }
    }
}

impl<T: Plain> DerefMut for LockedGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        if let Err(error) = self.locked.mutex.object().shared().check_writer() {
            panic!("locked value changed: {error}");
        }
        // SAFETY: as in `deref`; the guard is borrowed for as long.
        unsafe { &mut *self.value() }
    }
}

impl<T> Drop for LockedGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        if std::thread::panicking() && !self.is_panicking {
            self.set_flags(DAMAGED);
        }
    }
}

impl<T: Plain + fmt::Debug> fmt::Debug for LockedGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockedGuard")
            .field("value", &**self)
            .field("is_damaged", &self.is_damaged())
            .field("guard", &self.guard)
            .finish()
    }
}
