//! A value and the mutex that protects it, in one object.

use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::slice;
use std::sync::atomic::Ordering;

use tenure_core::mutant;
use tenure_slab::Token;

use super::error::WaitError;
use super::mutex::{MutexGuard, MutexTaskGuard};
use super::options::WaitOptions;
use super::plain::{Data, Initial, Layout, OWN, Plain, kind_of};
use super::source::Source as _;
use crate::error::{CreateError, OpenHandleError};
use crate::kind::Kind;
use crate::member::Member;
use crate::names::{Named, NamedError};
use crate::place::{Key, Place};

/// In the object's own word: zero, or damaged.
const DAMAGED: u64 = 1;

const ONE: Layout = Layout { kind: Kind::LOCKED, copies: 1 };

/// A value that processes change under a lock, as [`std::sync::Mutex`] has one: neither outlives the other.
///
/// If the owner of the lock dies, or panics, in the middle of a change, the value is *damaged*: every next owner is told so, by
/// [`LockedGuard::is_damaged`], until one says that it is [`repaired`](LockedGuard::repaired).
///
/// ```
/// # use tenure::sync::Locked;
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
/// a value that is whole at every instant there is [`Versioned`](crate::sync::Versioned).
///
/// # Progress
///
/// As [`Mutex`](crate::sync::Mutex).
///
/// # Crash
///
/// An owner that is killed at any instruction leaves the value damaged, or has not locked yet, or has unlocked already.
///
/// `Locked<[u8]>` is for bytes of any length, which programs in other languages share: its [`Kind`] is a number of the application's choice.
pub struct Locked<T: ?Sized> {
    data: Data,
    value: PhantomData<fn(&T)>,
}

impl<T: ?Sized> Locked<T> {
    fn over(data: Data) -> Self {
        Self { data, value: PhantomData }
    }
}

impl<T: Plain> Locked<T> {
    /// Creates it with a copy of `value`.
    ///
    /// # Errors
    ///
    /// [`CreateError`]; nothing was created.
    pub fn create<'a>(place: impl Into<Place<'a>>, value: &T) -> Result<Self, CreateError> {
        Data::create(place.into(), ONE, kind_of::<T>(), Initial::Bytes(value.as_bytes())).map(Self::over)
    }

    /// Opens the one that has the name, or creates it with a copy of `value`, in one step; see [`Member::create_or_open`].
    ///
    /// ```
    /// # use tenure::sync::Locked;
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
        let named =
            Data::create_or_open(member, name, ONE, kind_of::<T>(), Initial::Bytes(value.as_bytes()))?;
        Ok(named.try_map(|data| data.sized::<T>().map(Self::over))?)
    }

    /// Opens the one of a token, or the one that has a name.
    ///
    /// ```
    /// # use tenure::{error::OpenHandleError, sync::{Locked, Mutex}};
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
    pub fn open<'k>(member: &Member, key: impl Into<Key<'k>>) -> Result<Self, OpenHandleError> {
        Data::open(member, key.into(), ONE, kind_of::<T>())?.sized::<T>().map(Self::over)
    }
}

impl Locked<[u8]> {
    /// Creates one of a kind; `bytes` are its initial bytes, or how many zeros it has.
    ///
    /// ```
    /// # use tenure::{sync::Locked, Kind};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let (me, other) = (space.join()?, space.join()?);
    /// let text = Locked::create_raw(&me, Kind::raw(7), b"tea")?;
    /// let theirs = Locked::open_raw(&other, Kind::raw(7), text.token())?; // usually a program in C or Python
    /// theirs.lock()?[2] = b'n';
    /// assert_eq!(*text.lock()?, *b"ten");
    /// assert!(Locked::open_raw(&other, Kind::raw(8), text.token()).is_err());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Locked::create`].
    pub fn create_raw<'a, 'b>(
        place: impl Into<Place<'a>>,
        kind: Kind,
        bytes: impl Into<Initial<'b>>,
    ) -> Result<Self, CreateError> {
        Data::create(place.into(), ONE, kind, bytes.into()).map(Self::over)
    }

    /// As [`Locked::create_or_open`], of bytes and of a kind. One that is opened has the length that it was created with.
    ///
    /// # Errors
    ///
    /// As [`Locked::create_or_open`].
    pub fn create_or_open_raw<'a>(
        member: &Member,
        name: &str,
        kind: Kind,
        bytes: impl Into<Initial<'a>>,
    ) -> Result<Named<Self>, NamedError> {
        Data::create_or_open(member, name, ONE, kind, bytes.into())?.try_map(|data| Ok(Self::over(data)))
    }

    /// As [`Locked::open`], if it is of the kind.
    ///
    /// # Errors
    ///
    /// As [`Locked::open`].
    pub fn open_raw<'k>(
        member: &Member,
        kind: Kind,
        key: impl Into<Key<'k>>,
    ) -> Result<Self, OpenHandleError> {
        Data::open(member, key.into(), ONE, kind).map(Self::over)
    }

    /// The length in bytes, which never changes.
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "no container")]
    pub fn len(&self) -> usize {
        self.data.len
    }
}

impl<T: ?Sized> Locked<T> {
    /// Opens the same handle once more.
    ///
    /// # Errors
    ///
    /// [`OpenHandleError`].
    pub fn try_clone(&self) -> Result<Self, OpenHandleError> {
        self.data.try_clone().map(Self::over)
    }

    /// Locks it; waits without limit.
    ///
    /// # Errors
    ///
    /// [`WaitError::Deadlock`] when this thread has it locked already; [`WaitError::NotMember`].
    ///
    /// # Progress
    ///
    /// As [`Mutex::lock`](crate::sync::Mutex::lock).
    ///
    /// # Crash
    ///
    /// See [`Locked`].
    #[inline]
    pub fn lock(&self) -> Result<LockedGuard<'_, T>, WaitError> {
        self.guard(self.data.mutex.lock()?)
    }

    /// Locks it if it is available; does not wait.
    ///
    /// # Errors
    ///
    /// [`WaitError::WouldBlock`] if it is not available, and as [`Locked::lock`].
    pub fn try_lock(&self) -> Result<LockedGuard<'_, T>, WaitError> {
        self.guard(self.data.mutex.try_lock()?)
    }

    /// Locks it. `options` is usually a timeout; see [`WaitOptions`].
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tenure::{error::WaitError, sync::Locked};
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
        let abandoned = self.data.mutex.acquire(options)?;
        self.guard(self.data.mutex.guard_of(abandoned))
    }

    /// Locks it for a task: a future, for any executor, with a guard that may cross an await and be sent to another thread. The owner is the guard,
    /// not a thread: see [`Mutex::lock_async`](crate::sync::Mutex::lock_async).
    ///
    /// ```
    /// # use tenure::{error::WaitError, sync::Locked};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// # let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    /// # runtime.block_on(async {
    /// let number = Locked::create(&me, &7u64)?;
    /// let mut guard = number.lock_async().await?;
    /// tokio::task::yield_now().await; // it may go on in another thread
    /// *guard += 1;
    /// assert!(matches!(number.try_lock(), Err(WaitError::WouldBlock)));
    /// drop(guard);
    /// assert_eq!(*number.lock()?, 8);
    /// # Ok(()) }) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Mutex::lock_async`](crate::sync::Mutex::lock_async).
    ///
    /// # Cancellation
    ///
    /// A future that is dropped has taken nothing, and keeps no wake-up from others.
    ///
    /// # Crash
    ///
    /// See [`Locked`].
    pub async fn lock_async(&self) -> Result<LockedTaskGuard<'_, T>, WaitError> {
        self.guard(self.data.mutex.lock_async().await?)
    }

    #[inline]
    fn guard<'m, G: Owned>(&'m self, guard: G) -> Result<LockedGuard<'m, T, G>, WaitError> {
        if guard.is_abandoned() && !mutant!("values.locked.told_once") {
            // Relaxed: damaged: only the owner of the mutex accesses it. Killed before this store, the mutex is abandoned once more.
            self.data.head()?[OWN].store(DAMAGED, Ordering::Relaxed);
        }
        Ok(LockedGuard { locked: self, is_panicking: std::thread::panicking(), guard })
    }

    /// The guard of a lock that this thread holds already, because its guard was [forgotten](std::mem::forget).
    ///
    /// ```
    /// # use tenure::{error::WaitError, sync::Locked};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let number = Locked::create(&me, &7u64)?;
    /// // SAFETY: here is no guard, and in the next call the only one was forgotten.
    /// assert!(matches!(unsafe { number.adopt() }, Err(WaitError::NotOwner)));
    /// std::mem::forget(number.lock()?);
    /// // SAFETY: see above.
    /// *unsafe { number.adopt() }? += 1; // unlocked at the end of the statement
    /// assert_eq!(*number.lock()?, 8);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`WaitError::NotOwner`] if this thread does not hold it; [`WaitError::NotMember`].
    ///
    /// # Safety
    ///
    /// This thread has no other guard of the lock any more.
    pub unsafe fn adopt(&self) -> Result<LockedGuard<'_, T>, WaitError> {
        self.guard(self.data.mutex.adopt()?)
    }

    /// The token: 64 bits to pass to other processes.
    #[must_use]
    pub fn token(&self) -> Token {
        self.data.mutex.token()
    }

    pub(super) fn mutex(&self) -> &super::mutex::Mutex {
        &self.data.mutex
    }
}

impl<T: ?Sized> crate::slots::sealed::Keep for Locked<T> {
    fn count(&self) -> crate::slots::sealed::Count<'_> {
        self.data.mutex.count()
    }
}

impl<T: ?Sized> fmt::Debug for Locked<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Locked").field("mutex", &self.data.mutex).finish_non_exhaustive()
    }
}

/// The value of a [`Locked`], as long as this thread has it locked. Dropping the guard unlocks; a drop while the thread panics leaves the
/// value damaged.
///
/// # Panics
///
/// An access panics in a forked child, where the value is not mapped, and a change also in a member that only
/// [reads](crate::Options::read_only).
///
/// `G` is the guard of the mutex: of a thread, or of a task: [`LockedTaskGuard`].
#[must_use]
pub struct LockedGuard<'m, T: ?Sized, G = MutexGuard<'m>> {
    locked: &'m Locked<T>,
    /// Whether the thread was panicking already when it locked.
    is_panicking: bool,
    /// Dropped after `LockedGuard::drop`.
    guard: G,
}

/// The value of a [`Locked`], as long as a task has it locked: see [`Locked::lock_async`].
pub type LockedTaskGuard<'m, T> = LockedGuard<'m, T, MutexTaskGuard<'m>>;

/// A guard of the mutex.
trait Owned {
    fn is_abandoned(&self) -> bool;
}

impl Owned for MutexGuard<'_> {
    #[inline]
    fn is_abandoned(&self) -> bool {
        self.abandoned()
    }
}

impl Owned for MutexTaskGuard<'_> {
    fn is_abandoned(&self) -> bool {
        self.abandoned()
    }
}

impl<'m, T: ?Sized, G> LockedGuard<'m, T, G> {
    pub(super) fn locked(&self) -> &'m Locked<T> {
        self.locked
    }
}

impl<T: ?Sized, G> LockedGuard<'_, T, G> {
    /// Whether an owner has died or panicked in the middle of a change, and nobody has [repaired](Self::repaired) the value since.
    #[must_use]
    pub fn is_damaged(&self) -> bool {
        // Relaxed: damaged: only the owner of the mutex accesses it.
        self.locked.data.head().is_ok_and(|head| head[OWN].load(Ordering::Relaxed) != 0)
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
        if let Ok(head) = self.locked.data.head() {
            // Relaxed: damaged: only the owner of the mutex accesses it.
            head[OWN].store(flags, Ordering::Relaxed);
        }
    }

    /// Unlocks and leaves the value damaged: for an owner that gives up in the middle of a change.
    ///
    /// ```
    /// # use tenure::sync::Locked;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let number = Locked::create(&me, &7u64)?;
    /// number.lock()?.abandon();
    /// assert!(number.lock()?.is_damaged());
    /// # Ok(()) }
    /// ```
    pub fn abandon(mut self) {
        self.set_flags(DAMAGED);
    }

    /// The address of the value in this process, without a reference to it: for other languages. Accesses are sound as long as the lock is
    /// held; a member that only reads does not store.
    ///
    /// # Panics
    ///
    /// See [`LockedGuard`].
    #[must_use]
    pub fn address(&self) -> *mut u8 {
        match self.locked.data.parts() {
            Ok((_, data)) => data.as_ptr(),
            Err(error) => panic!("locked value used: {error}"),
        }
    }

    fn check_writer(&self) {
        if let Err(error) = self.locked.data.mutex.object().shared().check_writer() {
            panic!("locked value changed: {error}");
        }
    }
}

// The reason why references to the value are sound: it is mapped, as `address` has checked; of this type, length and alignment, as the open has
// checked, or made so; any bytes are a value. Only the owner of the mutex makes references to it. This thread, or the guard of a task, is the
// owner as long as the guard lives: neither can own it twice, since it is not recursive, and no other object unlocks it, since a handle is
// opened by its kind only.

impl<T: Plain, G> Deref for LockedGuard<'_, T, G> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: see above.
        unsafe { &*self.address().cast() }
    }
}

impl<T: Plain, G> DerefMut for LockedGuard<'_, T, G> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        self.check_writer();
        // SAFETY: see above; the guard is borrowed for as long.
        unsafe { &mut *self.address().cast() }
    }
}

impl<G> Deref for LockedGuard<'_, [u8], G> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: see above.
        unsafe { slice::from_raw_parts(self.address(), self.locked.data.len) }
    }
}

impl<G> DerefMut for LockedGuard<'_, [u8], G> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        self.check_writer();
        // SAFETY: see above; the guard is borrowed for as long.
        unsafe { slice::from_raw_parts_mut(self.address(), self.locked.data.len) }
    }
}

impl<T: ?Sized, G> Drop for LockedGuard<'_, T, G> {
    #[inline]
    fn drop(&mut self) {
        if std::thread::panicking() && !self.is_panicking {
            self.set_flags(DAMAGED);
        }
    }
}

impl<T: ?Sized, G: fmt::Debug> fmt::Debug for LockedGuard<'_, T, G>
where
    Self: Deref<Target: fmt::Debug>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockedGuard")
            .field("value", &&**self)
            .field("is_damaged", &self.is_damaged())
            .field("guard", &self.guard)
            .finish()
    }
}
