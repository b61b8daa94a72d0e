//! Condition variables. The crate `tenure-wait` has the protocol of the word, which is the low half of the first state word.

use std::fmt;
use std::future::poll_fn;
use std::task::Poll;

use tenure_core::mutant;
use tenure_segment::futex;
use tenure_slab::Token;
use tenure_wait::sequence;

use super::error::WaitError;
use super::future;
use super::locked::{Locked, LockedGuard, LockedTaskGuard};
use super::mutex::{Mutex, MutexGuard, MutexTaskGuard};
use super::options::{Limits, WaitOptions};
use super::source::half_word;
use super::word::HalfWord;
use crate::error::{CreateError, OpenHandleError};
use crate::kind::Kind;
use crate::member::Member;
use crate::names::{Name, Named, NamedError};
use crate::object::Object;
use crate::place::{Key, Place};

/// A condition variable between threads of all processes: to wait, with a lock, for what another thread will change under that lock.
///
/// It works with a [`Mutex`] and with a [`Locked`] value. A wait gives up the lock, sleeps until somebody notifies, and takes the lock again.
/// As with [`std::sync::Condvar`], a wait may also end without a notification, so callers look again at what they wait for:
/// [`Condvar::wait_while`] does. All waiters of one condition variable use the same lock.
///
/// ```
/// # use tenure::sync::{Condvar, Locked};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
/// # let (me, other) = (space.join()?, space.join()?);
/// let (total, changed) = (Locked::create(&me, &0u64)?, Condvar::create(&me)?);
/// let theirs = (Locked::<u64>::open(&other, total.token())?, Condvar::open(&other, changed.token())?);
/// std::thread::scope(|threads| {
///     threads.spawn(|| {
///         // usually in another process
///         *theirs.0.lock().unwrap() = 7;
///         theirs.1.notify_all().unwrap();
///     });
///     let total = changed.wait_while(total.lock()?, |total| **total == 0)?;
///     assert_eq!(*total, 7);
///     Ok::<_, tenure::error::WaitError>(())
/// })?;
/// # Ok(()) }
/// ```
///
/// # Progress
///
/// A notification without waiters is one load; with waiters it is one system call, which wakes all of them. A waiter that is stopped keeps
/// no other one asleep.
///
/// # Crash
///
/// A notification has happened, for all that waited, or it has not. When a process that has the condition variable open dies, its recovery
/// wakes all that wait: so they look again also if the process has changed something and died before it notified. A waiter learns of the death from the lock,
/// if the process died with it: by [`MutexGuard::abandoned`], [`LockedGuard::is_damaged`]. A guard of a mutex that was told so keeps that over a
/// wait, but others that lock meanwhile are not told: repair the data before you wait. If it died without the lock, nothing was left in
/// the middle, and what the others wait for may never come: then they wait as if it lived. Recovery is immediate with monitors, else it comes with the
/// next member that recovers.
///
/// A waiter that is killed takes no notification with it: each one wakes all.
pub struct Condvar {
    object: Object,
}

/// How a wait of a [`Condvar`] ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitEnd {
    /// Somebody notified; or, of [`Condvar::wait_while_with`], the condition is over. It may also be a wake for no reason.
    Notified,
    /// The timeout expired.
    TimedOut,
    /// A signal handler ran during the wait, which was [interruptible](WaitOptions::interruptible).
    Interrupted,
}

/// The guard of a lock that a [`Condvar`] can give up and take again: a [`MutexGuard`] or a [`LockedGuard`].
pub trait LockGuard: sealed::LockGuard {}

impl<G: sealed::LockGuard> LockGuard for G {}

/// The guard of a lock that a [`Condvar`] can give up and take again for a task: a [`MutexTaskGuard`] or a [`LockedTaskGuard`].
pub trait TaskGuard: sealed::TaskGuard {}

impl<G: sealed::TaskGuard> TaskGuard for G {}

mod sealed {
    use super::{Locked, LockedGuard, LockedTaskGuard, Mutex, MutexGuard, MutexTaskGuard, WaitError};
    use std::future::Future;

    pub trait LockGuard: Sized {
        /// The lock.
        type Lock;

        fn lock(&self) -> Self::Lock;

        fn mutex(&self) -> &Mutex;

        /// Whether it was told that the last owner died; a guard that takes its place is told as well.
        fn was_told(&self) -> bool;

        /// Locks again; waits without limit.
        fn again(lock: Self::Lock, was_told: bool) -> Result<Self, WaitError>;
    }

    impl<'m> LockGuard for MutexGuard<'m> {
        type Lock = &'m Mutex;

        fn lock(&self) -> &'m Mutex {
            self.mutex()
        }

        fn mutex(&self) -> &Mutex {
            self.mutex()
        }

        fn was_told(&self) -> bool {
            self.abandoned()
        }

        fn again(lock: &'m Mutex, was_told: bool) -> Result<Self, WaitError> {
            let is_told = lock.acquire(None)?;
            Ok(lock.guard_of(was_told || is_told))
        }
    }

    impl<'m, T: ?Sized> LockGuard for LockedGuard<'m, T> {
        type Lock = &'m Locked<T>;

        fn lock(&self) -> &'m Locked<T> {
            self.locked()
        }

        fn mutex(&self) -> &Mutex {
            self.locked().mutex()
        }

        /// The value itself is damaged, until somebody says that it is repaired.
        fn was_told(&self) -> bool {
            false
        }

        fn again(lock: &'m Locked<T>, _: bool) -> Result<Self, WaitError> {
            lock.lock()
        }
    }

    pub trait TaskGuard: Sized + Send {
        /// The lock.
        type Lock: Send;

        fn lock(&self) -> Self::Lock;

        /// As of a [`LockGuard`].
        fn was_told(&self) -> bool;

        /// Locks again.
        fn again(lock: Self::Lock, was_told: bool) -> impl Future<Output = Result<Self, WaitError>> + Send;
    }

    impl<'m> TaskGuard for MutexTaskGuard<'m> {
        type Lock = &'m Mutex;

        fn lock(&self) -> &'m Mutex {
            self.mutex()
        }

        fn was_told(&self) -> bool {
            self.abandoned()
        }

        async fn again(lock: &'m Mutex, was_told: bool) -> Result<Self, WaitError> {
            Ok(lock.lock_async().await?.told(was_told))
        }
    }

    impl<'m, T: ?Sized> TaskGuard for LockedTaskGuard<'m, T> {
        type Lock = &'m Locked<T>;

        fn lock(&self) -> &'m Locked<T> {
            self.locked()
        }

        fn was_told(&self) -> bool {
            false
        }

        async fn again(lock: &'m Locked<T>, _: bool) -> Result<Self, WaitError> {
            lock.lock_async().await
        }
    }
}

impl Condvar {
    /// Creates a condition variable without a name.
    ///
    /// # Errors
    ///
    /// [`CreateError`]; nothing was created.
    pub fn create<'a>(place: impl Into<Place<'a>>) -> Result<Self, CreateError> {
        Ok(Self { object: Object::create(place.into(), Kind::CONDVAR, [0; 4], &[])? })
    }

    /// Opens the condition variable that has the name, or creates it, in one step; see [`Member::create_or_open`].
    ///
    /// # Errors
    ///
    /// [`NamedError`]; nothing is held.
    pub fn create_or_open(member: &Member, name: &str) -> Result<Named<Self>, NamedError> {
        let named = Object::create_or_open(member, Name::new(name)?, Kind::CONDVAR, [0; 4], &[])?;
        Ok(named.try_map(|object| Ok::<_, OpenHandleError>(Self { object }))?)
    }

    /// Opens the condition variable of a token, or the one that has a name.
    ///
    /// # Errors
    ///
    /// [`OpenHandleError`], for instance [`OpenHandleError::Stale`] or [`OpenHandleError::ForeignKind`]; nothing is held.
    pub fn open<'k>(member: &Member, key: impl Into<Key<'k>>) -> Result<Self, OpenHandleError> {
        Ok(Self { object: Object::open(member, Kind::CONDVAR, key.into())? })
    }

    /// Opens the same handle once more.
    ///
    /// # Errors
    ///
    /// [`OpenHandleError`].
    pub fn try_clone(&self) -> Result<Self, OpenHandleError> {
        Ok(Self { object: self.object.try_clone()? })
    }

    /// The token: 64 bits to pass to other processes.
    #[must_use]
    pub fn token(&self) -> Token {
        self.object.token()
    }

    fn word(&self) -> Result<HalfWord<'_>, WaitError> {
        half_word(&self.object)
    }

    /// Gives up the lock, sleeps until somebody notifies, and takes the lock again, both without limit. The caller must look again at what it
    /// waits for: see [`Condvar`].
    ///
    /// ```
    /// # use tenure::{error::WaitError, sync::{Condvar, Mutex}};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let (mutex, changed) = (Mutex::options().recursive(true).create(&me)?, Condvar::create(&me)?);
    /// # let arrived = std::sync::atomic::AtomicBool::new(false);
    /// # let has_arrived = || arrived.load(std::sync::atomic::Ordering::Relaxed);
    /// # std::thread::scope(|threads| {
    /// # threads.spawn(|| { let _guard = mutex.lock().unwrap(); arrived.store(true, std::sync::atomic::Ordering::Relaxed); changed.notify_all().unwrap(); });
    /// let mut guard = mutex.lock()?;
    /// while !has_arrived() {
    ///     guard = changed.wait(guard)?;
    /// }
    /// # drop(guard); Ok::<_, tenure::error::WaitError>(()) })?;
    ///
    /// let (twice, _again) = (mutex.lock()?, mutex.lock()?); // a wait would give it up only once
    /// assert!(matches!(changed.wait(twice).map(drop), Err(WaitError::LockedAgain { .. })));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// The guard is gone then, and the lock was given up: [`WaitError::LockedAgain`]; [`WaitError::NotMember`]; as [`Mutex::lock`]; or the
    /// system does not let this thread sleep.
    ///
    /// # Crash
    ///
    /// Killed at any instruction, the process has the lock, and recovery abandons it, or it does not have it.
    pub fn wait<G: LockGuard>(&self, guard: G) -> Result<G, WaitError> {
        Ok(self.wait_with(guard, WaitOptions::new())?.0)
    }

    /// As [`Condvar::wait`], within limits. `options` is usually a timeout; see [`WaitOptions`]. They are limits of the sleep: in any case the
    /// lock is taken again, however long that takes, and is the caller's when this returns.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tenure::sync::{Condvar, Mutex, WaitEnd};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let (mutex, changed) = (Mutex::create(&me)?, Condvar::create(&me)?);
    /// let (guard, end) = changed.wait_with(mutex.lock()?, Duration::from_millis(1))?;
    /// assert_eq!(end, WaitEnd::TimedOut);
    /// # drop(guard);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Condvar::wait`]. A timeout is no error.
    ///
    /// # Crash
    ///
    /// As [`Condvar::wait`].
    pub fn wait_with<G: LockGuard>(
        &self,
        guard: G,
        options: impl Into<WaitOptions>,
    ) -> Result<(G, WaitEnd), WaitError> {
        let word = self.word()?;
        let times = guard.mutex().locked_again()?;
        if times > 0 {
            return Err(WaitError::LockedAgain { times });
        }
        let (lock, was_told) = (guard.lock(), guard.was_told());
        let marked = if mutant!("wait.condvar.marked_late") {
            drop(guard);
            sequence::mark(&word)
        } else {
            // Under the lock: whoever changes under the lock, after this, what the caller waits for, finds the mark.
            let marked = sequence::mark(&word);
            drop(guard);
            marked
        };
        let end = sleep(&word, marked, options.into())?;
        Ok((G::again(lock, was_told)?, end))
    }

    /// [Waits](Condvar::wait) as long as the condition is true. It is looked at with the lock, before the first wait and after each one.
    ///
    /// ```
    /// # use tenure::sync::{Condvar, Locked};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let (total, changed) = (Locked::create(&me, &7u64)?, Condvar::create(&me)?);
    /// let mut total = changed.wait_while(total.lock()?, |total| **total == 0 && !total.is_damaged())?;
    /// *total -= 1;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Condvar::wait`].
    ///
    /// # Crash
    ///
    /// As [`Condvar::wait`].
    pub fn wait_while<G: LockGuard>(
        &self,
        guard: G,
        condition: impl FnMut(&mut G) -> bool,
    ) -> Result<G, WaitError> {
        Ok(self.wait_while_with(guard, WaitOptions::new(), condition)?.0)
    }

    /// As [`Condvar::wait_while`], within limits, which are those of all its sleeps together: see [`Condvar::wait_with`]. Unless it ends as
    /// [`WaitEnd::Notified`], the condition is still true.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tenure::sync::{Condvar, Locked, WaitEnd};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let (total, changed) = (Locked::create(&me, &0u64)?, Condvar::create(&me)?);
    /// let (total, end) =
    ///     changed.wait_while_with(total.lock()?, Duration::from_millis(1), |total| **total == 0)?;
    /// assert_eq!((*total, end), (0, WaitEnd::TimedOut));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Condvar::wait_with`].
    ///
    /// # Crash
    ///
    /// As [`Condvar::wait`].
    pub fn wait_while_with<G: LockGuard>(
        &self,
        mut guard: G,
        options: impl Into<WaitOptions>,
        mut condition: impl FnMut(&mut G) -> bool,
    ) -> Result<(G, WaitEnd), WaitError> {
        let options = options.into().begun();
        let mut end = WaitEnd::Notified;
        while condition(&mut guard) {
            if end != WaitEnd::Notified {
                return Ok((guard, end));
            }
            (guard, end) = self.wait_with(guard, options)?;
        }
        Ok((guard, WaitEnd::Notified))
    }

    /// As [`Condvar::wait`], as a future, for any executor, with the guard of a task: of [`Mutex::lock_async`] or [`Locked::lock_async`].
    ///
    /// ```
    /// # use tenure::sync::{Condvar, Locked};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// # let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    /// # runtime.block_on(async {
    /// let (total, changed) = (Locked::create(&me, &0u64)?, Condvar::create(&me)?);
    /// let wait = async {
    ///     let mut guard = total.lock_async().await?;
    ///     while *guard == 0 {
    ///         guard = changed.wait_async(guard).await?;
    ///     }
    ///     Ok::<_, tenure::error::WaitError>(*guard)
    /// };
    /// let change = async {
    ///     *total.lock_async().await? = 7; // usually by another process
    ///     changed.notify_all()
    /// };
    /// let (found, changed) = tokio::join!(wait, change);
    /// assert_eq!(found?, 7);
    /// changed?;
    /// # Ok(()) }) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Mutex::lock_async`]; the guard is gone then, and the lock was given up.
    ///
    /// # Cancellation
    ///
    /// A future that was polled and is dropped has given up the lock, and does not take it again.
    ///
    /// # Crash
    ///
    /// As [`Condvar::wait`].
    pub async fn wait_async<G: TaskGuard>(&self, guard: G) -> Result<G, WaitError> {
        let word = self.word()?;
        let (lock, was_told) = (guard.lock(), guard.was_told());
        // Under the lock: see `wait_with`.
        let marked = sequence::mark(&word);
        drop(guard);
        let mut place = future::Place::new(self.object.shared());
        poll_fn(|context| {
            if sequence::is_over(&word, marked) {
                return Poll::Ready(Ok(()));
            }
            place
                .sleep(word.futex(), marked, context)
                .map_or_else(|error| Poll::Ready(Err(error)), |()| Poll::Pending)
        })
        .await?;
        // The sleepers look after the lock from now on.
        drop(place);
        G::again(lock, was_told).await
    }

    /// Wakes all that wait. The caller may have the lock or not; what they wait for was changed under the lock before.
    ///
    /// ```
    /// # use tenure::sync::Condvar;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let changed = Condvar::create(&me)?;
    /// changed.notify_all()?; // nobody waits: one load
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`WaitError::NotMember`].
    ///
    /// # Progress
    ///
    /// Wait-free; makes a system call only if there are waiters.
    ///
    /// # Crash
    ///
    /// See [`Condvar`].
    pub fn notify_all(&self) -> Result<(), WaitError> {
        sequence::wake(&self.word()?);
        Ok(())
    }

    /// Wakes at least one of those that wait, if any do: in fact all of them, as [`Condvar::notify_all`]. A single one that was woken might be
    /// stopped or dead, and the notification would be lost for the others, who could go on.
    ///
    /// # Errors
    ///
    /// As [`Condvar::notify_all`].
    pub fn notify_one(&self) -> Result<(), WaitError> {
        self.notify_all()
    }
}

/// Sleeps on a word that the caller has marked, until it is woken.
fn sleep(word: &HalfWord<'_>, marked: u32, options: WaitOptions) -> Result<WaitEnd, WaitError> {
    let mut limits = Limits::of(options);
    loop {
        if sequence::is_over(word, marked) {
            return Ok(WaitEnd::Notified);
        }
        let slept = limits
            .check()
            .and_then(|()| limits.sleep(|deadline| Ok(futex::sleep(word.futex(), marked, deadline)?)));
        match slept {
            Ok(()) => {}
            Err(WaitError::TimedOut) => return Ok(WaitEnd::TimedOut),
            Err(WaitError::Interrupted) => return Ok(WaitEnd::Interrupted),
            Err(error) => return Err(error),
        }
    }
}

impl crate::slots::sealed::Keep for Condvar {
    fn count(&self) -> crate::slots::sealed::Count<'_> {
        self.object.count()
    }
}

impl fmt::Debug for Condvar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Condvar").field("token", &self.token()).finish_non_exhaustive()
    }
}
