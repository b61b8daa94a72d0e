//! Mutexes that survive the death of their owner.

use std::fmt;
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tenure_core::sync::Word;
use tenure_slab::Token;
use tenure_wait::mutex::{self, Locked, Owner, State};
use tenure_wait::{Attempt, WAITERS, Word as _};

use super::error::WaitError;
use super::future;
use super::options::WaitOptions;
use super::source::{Gained, Memory, Source, attend, mapped_word, wait_for, whole_word};
use super::thread_id::{self, Gate};
use super::word::{WaitWord, WholeWord};
use crate::error::{CreateError, OpenHandleError};
use crate::kind::Kind;
use crate::member::Member;
use crate::names::{Name, Named, NamedError};
use crate::object::Object;
use crate::place::{Key, Place};

/// State words: the depth, that is, the number of times that the owner has locked the mutex again; and flags.
const DEPTH: usize = 1;
const FLAGS: usize = 2;
const RECURSIVE: u64 = 1;
/// Rounds in which a word has an owner that does not hold the object, before it is corrupted and not opened again meanwhile.
pub(super) const ROUNDS: usize = 8;
/// The largest depth.
const DEPTH_MAX: u64 = 1 << 30;

/// A mutex between threads of all processes, which survives the death of its owner.
///
/// The owner is a thread of a member. When that member dies, leaves, or closes its last `Mutex` over the handle, the mutex is abandoned.
/// Only the next owner learns that, by [`MutexGuard::abandoned`]. If a *thread* ends without unlocking, the mutex stays locked, as with a
/// leaked guard, until the member does one of these.
///
/// ```
/// # use tenure::{error::WaitError, sync::Mutex};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
/// # let (me, other) = (space.join()?, space.join()?);
/// let mutex = Mutex::create(&me)?;
/// let theirs = Mutex::open(&other, mutex.token())?; // usually in another process
/// let guard = theirs.lock()?;
/// assert!(matches!(mutex.try_lock(), Err(WaitError::WouldBlock)));
///
/// std::mem::forget(guard);
/// drop((theirs, other)); // as if the owner died
/// assert!(mutex.lock()?.abandoned());
/// # Ok(()) }
/// ```
///
/// Members of one process are distinct owners: locking through one a mutex that is held through the other deadlocks.
///
/// # Progress
///
/// Without waiters, lock and unlock take one CAS each and no system call. A waiter sleeps in the kernel; the unlock, or the recovery of a
/// dead owner, wakes it. With monitors, recovery is immediate; without them, a thread of the waiting process sleeps until the owner is
/// dead, and recovers it. The order of the waiters is unspecified.
///
/// # Crash
///
/// If the owner is killed at any instruction, the mutex is abandoned, or was not locked yet, or was unlocked already.
pub struct Mutex {
    object: Object,
    /// Shut for a recursive mutex: its lock and unlock look at the depth.
    gate: Gate,
    recursive: bool,
}

/// The state of a mutex; see [`Mutex::state`].
///
/// ```
/// # use tenure::sync::{Mutex, MutexState};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
/// # let me = space.join()?;
/// # let mutex = Mutex::create(&me)?;
/// match mutex.state()? {
///     MutexState::Free => println!("free"),
///     MutexState::Abandoned => println!("free; its last owner did not unlock it"),
///     MutexState::Owned { lease, thread } => println!("owned by thread {thread} of lease {lease}"),
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MutexState {
    /// No thread owns the mutex.
    Free,
    /// No thread owns the mutex, and its last owner did not unlock it.
    Abandoned,
    /// A thread or a task owns the mutex.
    Owned {
        /// The lease index of the member.
        lease: u8,
        /// The id of the thread, in the pid namespace of its own process; 0 for a task, see [`Mutex::lock_async`].
        thread: u32,
    },
}

/// How a mutex is made: see [`Mutex::options`].
///
/// ```
/// # use tenure::sync::Mutex;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
/// # let me = space.join()?;
/// let mutex = Mutex::options().recursive(true).create(me.named("queue"))?;
/// let (first, second) = (mutex.lock()?, mutex.lock()?);
/// drop(first);
/// drop(second); // unlocked now
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MutexOptions {
    recursive: bool,
}

impl MutexOptions {
    /// Whether its owner can lock it again, and must unlock it as often; if not said, it cannot.
    #[must_use]
    pub fn recursive(self, recursive: bool) -> Self {
        Self { recursive }
    }

    /// Creates the mutex.
    ///
    /// # Errors
    ///
    /// [`CreateError`]; nothing was created.
    pub fn create<'a>(self, place: impl Into<Place<'a>>) -> Result<Mutex, CreateError> {
        let object = Object::create(place.into(), Kind::MUTEX, Mutex::initial(self.recursive), &[])?;
        Ok(Mutex::counted(object, self.recursive))
    }

    /// Opens the mutex that has the name, or creates it, in one step; see [`Member::create_or_open`]. A mutex that exists stays as it is.
    ///
    /// # Errors
    ///
    /// [`NamedError`]; nothing is held.
    pub fn create_or_open(self, member: &Member, name: &str) -> Result<Named<Mutex>, NamedError> {
        let initial = Mutex::initial(self.recursive);
        let named = Object::create_or_open(member, Name::new(name)?, Kind::MUTEX, initial, &[])?;
        Ok(named.try_map(Mutex::over)?)
    }
}

impl Mutex {
    /// Creates a mutex that its owner can lock once.
    ///
    /// ```
    /// # use tenure::{error::WaitError, sync::Mutex};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let mutex = Mutex::create(&me)?;
    /// let guard = mutex.lock()?;
    /// assert!(matches!(mutex.lock(), Err(WaitError::Deadlock))); // by the same thread
    /// drop(guard);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`CreateError`]; nothing was created.
    pub fn create<'a>(place: impl Into<Place<'a>>) -> Result<Self, CreateError> {
        Self::options().create(place)
    }

    /// What can be chosen at creation.
    #[must_use]
    pub fn options() -> MutexOptions {
        MutexOptions::default()
    }

    /// Opens the mutex that has the name, or creates it, in one step; see [`Member::create_or_open`]. A new one can be locked once by its
    /// owner.
    ///
    /// ```
    /// # use tenure::sync::Mutex;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let (me, other) = (space.join()?, space.join()?);
    /// let first = Mutex::create_or_open(&me, "queue")?;
    /// let second = Mutex::create_or_open(&other, "queue")?; // usually in another process
    /// assert!(first.is_created() && !second.is_created());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`NamedError`]; nothing is held.
    pub fn create_or_open(member: &Member, name: &str) -> Result<Named<Self>, NamedError> {
        Self::options().create_or_open(member, name)
    }

    /// The state words of a new mutex.
    pub(super) fn initial(recursive: bool) -> [u64; 4] {
        [mutex::FREE.into(), 0, if recursive { RECURSIVE } else { 0 }, 0]
    }

    /// Opens the mutex of a token, or the one that has a name.
    ///
    /// ```
    /// # use tenure::{error::OpenHandleError, sync::Mutex};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let (me, other) = (space.join()?, space.join()?);
    /// let mutex = Mutex::create(&me)?;
    /// let theirs = Mutex::open(&other, mutex.token())?; // usually in another process
    /// drop(theirs.lock()?);
    ///
    /// let token = mutex.token();
    /// drop((mutex, theirs)); // the last holders
    /// assert!(matches!(Mutex::open(&other, token), Err(OpenHandleError::Stale { .. })));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`OpenHandleError`], for instance [`OpenHandleError::Stale`] or [`OpenHandleError::ForeignKind`]; nothing is held.
    pub fn open<'k>(member: &Member, key: impl Into<Key<'k>>) -> Result<Self, OpenHandleError> {
        Self::over(Object::open(member, Kind::MUTEX, key.into())?)
    }

    /// Wraps an object of this kind, or of one that begins with a mutex.
    pub(super) fn over(object: Object) -> Result<Self, OpenHandleError> {
        // Relaxed: flags: written before the handle was published, never changed.
        let flags = object.state()?[FLAGS].load(Ordering::Relaxed);
        if flags & !RECURSIVE != 0 {
            return Err(OpenHandleError::Corrupt(format!("a mutex with flags {flags:#x}")));
        }
        Ok(Self::counted(object, flags == RECURSIVE))
    }

    /// As [`Mutex::over`], for an object that lends what its mutex protects: the owner of a recursive one could have two guards.
    pub(super) fn over_one_guard(object: Object) -> Result<Self, OpenHandleError> {
        let kind = object.kind();
        let mutex = Self::over(object)?;
        if mutex.recursive {
            return Err(OpenHandleError::Corrupt(format!("a {kind} with a recursive mutex")));
        }
        Ok(mutex)
    }

    /// Wraps an object whose flags are known.
    fn counted(object: Object, recursive: bool) -> Self {
        object.shared().objects.books.enter(object.identity().0);
        let gate = Gate::of(&object, !recursive);
        Self { object, gate, recursive }
    }

    /// Opens the same handle once more.
    ///
    /// ```
    /// # use tenure::sync::Mutex;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let mutex = Mutex::create(&me)?;
    /// let second = mutex.try_clone()?;
    /// std::thread::spawn(move || second.lock().map(drop)).join().unwrap()?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`OpenHandleError`].
    pub fn try_clone(&self) -> Result<Self, OpenHandleError> {
        Ok(Self::counted(self.object.try_clone()?, self.recursive))
    }

    /// The token: 64 bits to pass to other processes.
    ///
    /// ```
    /// # use tenure::sync::Mutex;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let mutex = Mutex::create(&me)?;
    /// let text = mutex.token().to_string(); // 16 hexadecimal digits, for instance for a child's arguments
    /// assert_eq!(Mutex::open(&me, text.parse::<tenure::Token>()?)?.token(), mutex.token());
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn token(&self) -> Token {
        self.object.token()
    }

    /// Whether the owner can lock the mutex again.
    #[must_use]
    pub fn is_recursive(&self) -> bool {
        self.recursive
    }

    /// Locks the mutex; waits without limit.
    ///
    /// ```
    /// # use tenure::sync::{Mutex, MutexState};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let mutex = Mutex::create(&me)?;
    /// {
    ///     let guard = mutex.lock()?;
    ///     if guard.abandoned() { /* check or repair the protected data */ }
    /// }
    /// assert_eq!(mutex.state()?, MutexState::Free);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`WaitError::Deadlock`] when this thread owns the mutex, which is not recursive; [`WaitError::TooDeep`]; [`WaitError::NotMember`].
    ///
    /// # Progress
    ///
    /// One CAS if the mutex is free; else waits for its owner, until the owner unlocks or dies.
    ///
    /// # Crash
    ///
    /// See [`Mutex`].
    #[inline]
    pub fn lock(&self) -> Result<MutexGuard<'_>, WaitError> {
        if self.lock_free() { Ok(MutexGuard::of(self, false)) } else { self.guard_contended() }
    }

    #[cold]
    #[inline(never)]
    fn guard_contended(&self) -> Result<MutexGuard<'_>, WaitError> {
        Ok(MutexGuard::of(self, self.lock_contended(&WaitOptions::new())?))
    }

    /// Locks the mutex, or fails after `timeout`.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tenure::{error::WaitError, sync::Mutex};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let (me, other) = (space.join()?, space.join()?);
    /// let mutex = Mutex::create(&me)?;
    /// let theirs = Mutex::open(&other, mutex.token())?;
    /// let guard = theirs.lock()?;
    /// let timed_out = mutex.lock_timeout(Duration::from_millis(1));
    /// assert!(matches!(timed_out, Err(WaitError::TimedOut)));
    /// # drop(guard);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`WaitError::TimedOut`], and as [`Mutex::lock`].
    pub fn lock_timeout(&self, timeout: Duration) -> Result<MutexGuard<'_>, WaitError> {
        Ok(MutexGuard::of(self, self.acquire(timeout)?))
    }

    /// Locks the mutex if it is available; does not wait.
    ///
    /// ```
    /// # use tenure::{error::WaitError, sync::Mutex};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let (me, other) = (space.join()?, space.join()?);
    /// let mutex = Mutex::create(&me)?;
    /// let theirs = Mutex::open(&other, mutex.token())?;
    /// let guard = theirs.try_lock()?;
    /// assert!(matches!(mutex.try_lock(), Err(WaitError::WouldBlock)));
    /// # drop(guard);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`WaitError::WouldBlock`] if the mutex is not available, and as [`Mutex::lock`].
    pub fn try_lock(&self) -> Result<MutexGuard<'_>, WaitError> {
        Ok(MutexGuard::of(self, self.acquire(Duration::ZERO).map_err(WaitError::of_no_wait)?))
    }

    /// The lock of a free mutex: one step.
    #[inline(always)]
    fn lock_free(&self) -> bool {
        // SAFETY: this process is the member.
        self.gate
            .admits_thread()
            .is_some_and(|me| mutex::lock_free(&unsafe { mapped_word(&self.object, Kind::MUTEX) }, me))
    }

    /// Every other lock; true if the mutex was abandoned.
    #[cold]
    #[inline(never)]
    fn lock_contended(&self, options: &WaitOptions) -> Result<bool, WaitError> {
        let word = whole_word(&self.object, Kind::MUTEX)?;
        // This thread was not identified yet, or the mutex is recursive: it may be free.
        if mutex::lock_free(&word, self.me()) {
            self.begin()?;
            return Ok(false);
        }
        Ok(wait_for(self, *options)?.abandoned)
    }

    /// Locks the mutex without a guard, for callers that unlock by [`Mutex::unlock`]; true if it was abandoned. `options` is usually a
    /// timeout: `None` waits without limit, zero does not wait; see [`WaitOptions`].
    ///
    /// ```
    /// # use tenure::{error::WaitError, sync::Mutex};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let mutex = Mutex::create(&me)?;
    /// let was_abandoned = mutex.acquire(None)?;
    /// assert!(!was_abandoned);
    /// mutex.unlock()?;
    /// assert!(matches!(mutex.unlock(), Err(WaitError::NotOwner)));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Mutex::lock_timeout`].
    #[inline]
    pub fn acquire(&self, options: impl Into<WaitOptions>) -> Result<bool, WaitError> {
        if self.lock_free() { Ok(false) } else { self.lock_contended(&options.into()) }
    }

    /// Locks the mutex for a task: a future, for any executor, with a guard that may cross an await and be sent to another thread. The owner is
    /// the guard, not a thread. So it cannot be locked again by the same task, also if it is recursive, and a task that tries to waits for
    /// itself.
    ///
    /// ```
    /// # use tenure::sync::{Mutex, MutexState};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// # let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    /// # runtime.block_on(async {
    /// let mutex = Mutex::create(&me)?;
    /// let guard = mutex.lock_async().await?;
    /// tokio::task::yield_now().await; // it may go on in another thread
    /// assert!(mutex.try_lock().is_err());
    /// drop(guard);
    /// assert_eq!(mutex.state()?, MutexState::Free);
    /// # Ok(()) }) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Mutex::lock`], but never [`WaitError::Deadlock`]; [`WaitError::Os`] if no thread can sleep for it.
    ///
    /// # Cancellation
    ///
    /// A future that is dropped has taken nothing, and keeps no wake-up from others.
    ///
    /// # Crash
    ///
    /// See [`Mutex`]: the guards of a dead process unlock nothing, and the next owner is told.
    pub async fn lock_async(&self) -> Result<MutexTaskGuard<'_>, WaitError> {
        let gained = future::taken(&ForTask(self)).await?;
        Ok(MutexTaskGuard { mutex: self, abandoned: gained.abandoned })
    }

    /// The guard of a mutex that this thread has just acquired.
    pub(super) fn guard_of(&self, abandoned: bool) -> MutexGuard<'_> {
        MutexGuard::of(self, abandoned)
    }

    /// Makes a guard of a mutex that this thread owns already, by [`Mutex::acquire`] or [`wait_any`](crate::sync::wait_any).
    ///
    /// ```
    /// # use tenure::sync::{Mutex, MutexState, wait_any};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let mutex = Mutex::create(&me)?;
    /// wait_any(&[&mutex], None)?;
    /// drop(mutex.adopt()?); // unlocks
    /// assert_eq!(mutex.state()?, MutexState::Free);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`WaitError::NotOwner`].
    pub fn adopt(&self) -> Result<MutexGuard<'_>, WaitError> {
        let owned = self.owns(&whole_word(&self.object, Kind::MUTEX)?);
        if owned { Ok(MutexGuard::of(self, false)) } else { Err(WaitError::NotOwner) }
    }

    /// Makes a guard of a mutex that a task of this member owns already, whose guard was [forgotten](std::mem::forget): for other languages.
    ///
    /// ```
    /// # use tenure::{error::WaitError, sync::{Mutex, MutexState}};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// # let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    /// # runtime.block_on(async {
    /// let mutex = Mutex::create(&me)?;
    /// assert!(matches!(mutex.adopt_task(), Err(WaitError::NotOwner)));
    /// std::mem::forget(mutex.lock_async().await?);
    /// drop(mutex.adopt_task()?); // unlocks
    /// assert_eq!(mutex.state()?, MutexState::Free);
    /// # Ok(()) }) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`WaitError::NotOwner`]; [`WaitError::NotMember`].
    pub fn adopt_task(&self) -> Result<MutexTaskGuard<'_>, WaitError> {
        let guard = std::mem::ManuallyDrop::new(MutexTaskGuard { mutex: self, abandoned: false });
        let (word, me) = guard.parts()?;
        if word.load() & !tenure_wait::WAITERS != me.value() {
            return Err(WaitError::NotOwner);
        }
        Ok(std::mem::ManuallyDrop::into_inner(guard))
    }

    /// Unlocks the mutex once. A recursive mutex is free after as many unlocks as locks.
    ///
    /// ```
    /// # use tenure::{error::WaitError, sync::Mutex};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let mutex = Mutex::create(&me)?;
    /// assert!(matches!(mutex.unlock(), Err(WaitError::NotOwner)));
    /// mutex.acquire(None)?;
    /// mutex.unlock()?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`WaitError::NotOwner`]; nothing was changed.
    ///
    /// # Crash
    ///
    /// See [`Mutex`].
    #[inline]
    pub fn unlock(&self) -> Result<(), WaitError> {
        if self.unlock_unwaited() { Ok(()) } else { self.unlock_contended() }
    }

    /// The unlock of a mutex without waiters: one step.
    #[inline(always)]
    fn unlock_unwaited(&self) -> bool {
        let me = self.gate.admits_thread();
        // SAFETY: this process is the member.
        me.is_some_and(|me| mutex::unlock_unwaited(&unsafe { mapped_word(&self.object, Kind::MUTEX) }, me))
    }

    /// The unlock of a guard, if it needs more than one step.
    #[cold]
    #[inline(never)]
    fn unlock_leaving(&self) {
        // This thread owns the mutex by construction; in a forked child the parent's thread owns it, and this fails.
        if let Err(error) = self.unlock_contended() {
            ignore(error);
        }
    }

    /// Every unlock of more than one step.
    #[cold]
    #[inline(never)]
    fn unlock_contended(&self) -> Result<(), WaitError> {
        let word = whole_word(&self.object, Kind::MUTEX)?;
        let me = self.me();
        if self.recursive {
            if !self.owns(&word) {
                return Err(WaitError::NotOwner);
            }
            let depth = self.depth()?;
            // Relaxed, both: depth: only the owner accesses it.
            match depth.load(Ordering::Relaxed) {
                0 => {}
                again => {
                    depth.store(again - 1, Ordering::Relaxed);
                    return Ok(());
                }
            }
        }
        if mutex::unlock(&word, me) { Ok(()) } else { Err(WaitError::NotOwner) }
    }

    /// Gives the mutex back as one whose owner died: the next owner is told, by [`MutexGuard::abandoned`]. For an owner that leaves the
    /// protected data inconsistent, or that was told so itself and repaired nothing. A recursive mutex is free afterwards, however often it
    /// was locked.
    ///
    /// ```
    /// # use tenure::{error::WaitError, sync::Mutex};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let mutex = Mutex::create(&me)?;
    /// mutex.acquire(None)?;
    /// mutex.abandon()?;
    /// assert!(matches!(mutex.abandon(), Err(WaitError::NotOwner)));
    /// assert!(mutex.lock()?.abandoned());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`WaitError::NotOwner`]; nothing was changed.
    ///
    /// # Crash
    ///
    /// If the owner is killed here, the mutex is abandoned all the same.
    pub fn abandon(&self) -> Result<(), WaitError> {
        let word = whole_word(&self.object, Kind::MUTEX)?;
        if !self.owns(&word) {
            return Err(WaitError::NotOwner);
        }
        mutex::abandon(&word, self.me().lease());
        Ok(())
    }

    /// The state of the mutex at this moment. Information only: it may have changed when this returns.
    ///
    /// ```
    /// # use tenure::sync::{Mutex, MutexState};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let mutex = Mutex::create(&me)?;
    /// assert_eq!(mutex.state()?, MutexState::Free);
    /// let guard = mutex.lock()?;
    /// assert!(matches!(mutex.state()?, MutexState::Owned { lease, .. } if lease == me.lease().index));
    /// # drop(guard);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`WaitError::NotMember`]; [`WaitError::Corrupt`] if no mutex has such a word.
    pub fn state(&self) -> Result<MutexState, WaitError> {
        let seen = whole_word(&self.object, Kind::MUTEX)?.load();
        match State::of(seen) {
            State::Free => Ok(MutexState::Free),
            State::Abandoned => Ok(MutexState::Abandoned),
            State::Owned(owner) => Ok(MutexState::Owned { lease: owner.lease(), thread: owner.thread() }),
            State::Nonsense => Err(nonsense(seen)),
        }
    }

    /// Whether the calling thread owns the mutex, by its word.
    #[inline]
    fn owns(&self, word: &WholeWord<'_>) -> bool {
        word.load() & !WAITERS == self.me().value()
    }

    #[inline]
    fn me(&self) -> Owner {
        thread_id::owner(&self.object.shared().lease)
    }

    fn depth(&self) -> Result<&Word, WaitError> {
        Ok(&self.object.state()?[DEPTH])
    }

    /// The depth, if the owner may lock it once more.
    fn depth_before_again(&self) -> Result<u64, WaitError> {
        if !self.recursive {
            return Err(WaitError::Deadlock);
        }
        // Relaxed: depth: only the owner accesses it.
        let depth = self.depth()?.load(Ordering::Relaxed);
        if depth < DEPTH_MAX { Ok(depth) } else { Err(WaitError::TooDeep { limit: DEPTH_MAX }) }
    }

    /// How often the calling thread, which owns the mutex, has locked it again.
    pub(super) fn locked_again(&self) -> Result<u64, WaitError> {
        // Relaxed: depth: only the owner accesses it.
        if self.recursive { Ok(self.depth()?.load(Ordering::Relaxed)) } else { Ok(0) }
    }

    /// Resets the depth; called by a thread that has just become the owner.
    fn begin(&self) -> Result<(), WaitError> {
        if self.recursive {
            // Relaxed: depth: only the owner accesses it. The depth of a dead owner stays until the next owner resets it, here.
            self.depth()?.store(0, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// Out of line, so that the unlock saves no registers for it.
#[cold]
#[inline(never)]
fn ignore(error: WaitError) {
    drop(error);
}

fn nonsense(seen: u32) -> WaitError {
    WaitError::corrupt(format!("{seen:#x} is not the word of a mutex"))
}

impl Source for Mutex {
    fn object(&self) -> &Object {
        &self.object
    }

    fn word(&self) -> Result<WaitWord<'_>, WaitError> {
        Ok(WaitWord::Whole(whole_word(&self.object, Kind::MUTEX)?))
    }

    fn attempt(&self, _: &mut Memory) -> Result<Attempt<Gained>, WaitError> {
        match mutex::try_lock(&whole_word(&self.object, Kind::MUTEX)?, self.me()) {
            Attempt::Blocked(seen) => Ok(Attempt::Blocked(seen)),
            Attempt::Taken(Locked::Now { abandoned }) => {
                self.begin()?;
                Ok(Attempt::Taken(Gained { abandoned }))
            }
            Attempt::Taken(Locked::Already) => {
                self.lock_again()?;
                Ok(Attempt::Taken(Gained::default()))
            }
        }
    }

    fn take(&self, value: u32) -> Option<u32> {
        mutex::is_available(value).then(|| self.me().value())
    }

    fn taken(&self, before: u32) -> Result<Gained, WaitError> {
        self.begin()?;
        Ok(Gained { abandoned: before == mutex::ABANDONED })
    }

    fn is_owned(&self) -> Result<bool, WaitError> {
        let is_owned = self.owns(&whole_word(&self.object, Kind::MUTEX)?);
        if is_owned {
            self.depth_before_again()?;
        }
        Ok(is_owned)
    }

    fn lock_again(&self) -> Result<(), WaitError> {
        let depth = self.depth_before_again()?;
        // Relaxed: depth: only the owner accesses it.
        self.depth()?.store(depth + 1, Ordering::Relaxed);
        Ok(())
    }

    /// Checks that the owner holds the handle `[wait-owner-holds]`, since recovery finds a dead owner's mutexes by its holder bits. Ensures that this
    /// process learns when the owner dies.
    fn prepare(&self, seen: u32) -> Result<(), WaitError> {
        let owner = match State::of(seen) {
            State::Owned(owner) => owner,
            State::Nonsense => return Err(nonsense(seen)),
            State::Free | State::Abandoned => return Ok(()),
        };
        let (shared, word) = (self.object.shared(), whole_word(&self.object, Kind::MUTEX)?);
        // Recovery abandons the mutex first, and clears the dead owner's bit afterwards:
        // - either the bit is still set here;
        // - or it is cleared, and then the word, loaded after it, is not `seen` any more, unless the same thread has opened and locked the
        //   mutex again meanwhile. Hence several rounds.
        let is_held = || shared.slab.is_held_by(self.object.held(), owner.lease());
        if (0..ROUNDS).all(|_| !is_held() && word.load() == seen) {
            return Err(WaitError::corrupt(format!(
                "the mutex is owned by {owner:?}, which does not hold it"
            )));
        }
        attend(shared, owner.lease())
    }
}

impl Drop for Mutex {
    fn drop(&mut self) {
        if let Ok(words) = self.object.words() {
            let shared = self.object.shared();
            // The last `Mutex`: do as recovery does, for this member: abandon it if this member owns it, because recovery would not find an
            // owner without a holder bit. A guard borrows the mutex, so there is something to do only after `acquire` without `unlock`. A
            // thread that opens the mutex meanwhile, and locks it, does so after this.
            shared.objects.books.leave(self.object.identity().0, || {
                let mine = shared.lease.id().index;
                super::recover::recover(self.object.kind(), words, &shared.mcas_descriptors, mine);
            });
        }
    }
}

impl crate::slots::sealed::Keep for Mutex {
    fn count(&self) -> crate::slots::sealed::Count<'_> {
        self.object.count()
    }
}

impl fmt::Debug for Mutex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mutex").field("token", &self.token()).field("state", &self.state().ok()).finish()
    }
}

/// A mutex as a task locks it.
struct ForTask<'m>(&'m Mutex);

impl Source for ForTask<'_> {
    fn object(&self) -> &Object {
        &self.0.object
    }

    fn word(&self) -> Result<WaitWord<'_>, WaitError> {
        self.0.word()
    }

    fn attempt(&self, _: &mut Memory) -> Result<Attempt<Gained>, WaitError> {
        let lease = self.0.object.shared().lease.id().index;
        match mutex::try_lock_for_guard(&whole_word(&self.0.object, Kind::MUTEX)?, lease) {
            Attempt::Blocked(seen) => Ok(Attempt::Blocked(seen)),
            Attempt::Taken(abandoned) => {
                self.0.begin()?;
                Ok(Attempt::Taken(Gained { abandoned }))
            }
        }
    }

    fn take(&self, value: u32) -> Option<u32> {
        let lease = self.0.object.shared().lease.id().index;
        mutex::is_available(value).then(|| Owner::of_guard(lease).value())
    }

    fn prepare(&self, seen: u32) -> Result<(), WaitError> {
        self.0.prepare(seen)
    }
}

/// A mutex that a task has locked: see [`Mutex::lock_async`]. Dropping the guard unlocks the mutex, in whatever thread.
#[must_use]
pub struct MutexTaskGuard<'m> {
    mutex: &'m Mutex,
    abandoned: bool,
}

impl<'m> MutexTaskGuard<'m> {
    pub(super) fn mutex(&self) -> &'m Mutex {
        self.mutex
    }

    /// Tells of an abandoned lock if this does, or did before.
    pub(super) fn told(mut self, before: bool) -> Self {
        self.abandoned |= before;
        self
    }

    /// As [`MutexGuard::abandoned`].
    #[must_use]
    pub fn abandoned(&self) -> bool {
        self.abandoned
    }

    /// As [`Mutex::abandon`].
    ///
    /// # Errors
    ///
    /// [`WaitError::NotMember`]; the mutex is abandoned all the same when its member is recovered.
    pub fn abandon(self) -> Result<(), WaitError> {
        let this = std::mem::ManuallyDrop::new(self);
        let (word, me) = this.parts()?;
        mutex::abandon(&word, me.lease());
        Ok(())
    }

    fn parts(&self) -> Result<(WholeWord<'_>, Owner), WaitError> {
        let object = &self.mutex.object;
        Ok((whole_word(object, Kind::MUTEX)?, Owner::of_guard(object.shared().lease.id().index)))
    }
}

impl Drop for MutexTaskGuard<'_> {
    fn drop(&mut self) {
        // In a forked child the parent's guard owns it, and this fails.
        if let Ok((word, me)) = self.parts() {
            let _ = mutex::unlock(&word, me);
        }
    }
}

impl fmt::Debug for MutexTaskGuard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MutexTaskGuard")
            .field("mutex", self.mutex)
            .field("abandoned", &self.abandoned)
            .finish()
    }
}

/// A locked mutex. Dropping the guard unlocks the mutex; a guard stays in the thread that locked.
///
/// ```
/// # use tenure::sync::{Mutex, MutexState};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
/// # let me = space.join()?;
/// let mutex = Mutex::create(&me)?;
/// let guard = mutex.lock()?;
/// drop(guard);
/// assert_eq!(mutex.state()?, MutexState::Free);
/// # Ok(()) }
/// ```
#[must_use]
pub struct MutexGuard<'m> {
    /// The mutex, and in bit 0 of its address, which is even, whether it was abandoned: so that a result with a guard is two words.
    tagged: NonNull<Mutex>,
    of_this_thread: PhantomData<(&'m Mutex, *const ())>,
}

const ABANDONED: usize = 1;
const _: () = assert!(align_of::<Mutex>() > ABANDONED);

impl<'m> MutexGuard<'m> {
    #[inline(always)]
    fn of(mutex: &'m Mutex, abandoned: bool) -> Self {
        let tagged = NonNull::from(mutex).map_addr(|address| address | usize::from(abandoned));
        Self { tagged, of_this_thread: PhantomData }
    }

    #[inline(always)]
    pub(super) fn mutex(&self) -> &'m Mutex {
        let address = self.tagged.as_ptr().map_addr(|address| address & !ABANDONED);
        // SAFETY: made of a reference that lives for 'm; the bit is removed.
        unsafe { &*address }
    }
}

impl MutexGuard<'_> {
    /// Whether the last owner died or left without unlocking: then the protected data may be inconsistent. Only one guard returns true for
    /// one such death.
    ///
    /// ```
    /// # use tenure::sync::Mutex;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let (me, other) = (space.join()?, space.join()?);
    /// let mutex = Mutex::create(&me)?;
    /// {
    ///     let theirs = Mutex::open(&other, mutex.token())?;
    ///     theirs.acquire(None)?;
    /// } // the last `Mutex` of `other` is dropped without an unlock
    /// assert!(mutex.lock()?.abandoned());
    /// assert!(!mutex.lock()?.abandoned()); // told once
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn abandoned(&self) -> bool {
        self.tagged.addr().get() & ABANDONED != 0
    }
}

impl Drop for MutexGuard<'_> {
    #[inline]
    fn drop(&mut self) {
        if !self.mutex().unlock_unwaited() {
            self.mutex().unlock_leaving();
        }
    }
}

impl fmt::Debug for MutexGuard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MutexGuard")
            .field("mutex", self.mutex())
            .field("abandoned", &self.abandoned())
            .finish()
    }
}
