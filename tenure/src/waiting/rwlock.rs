//! Read-write locks that survive the death of readers and writers. The crate `tenure-wait` has the protocol.
//!
//! The payload begins with the state words of a mutex, that of the writers. From byte 64 on there are 64 bytes for each lease, the first word
//! of which is the readers' word: readers of two members touch no line in common, as long as there is no writer.

use std::fmt;
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tenure_core::mutant;
use tenure_core::sync::Word;
use tenure_slab::{HolderSet, Token};
use tenure_wait::rwlock::{self, READERS_MAX};
use tenure_wait::{Attempt, Word as _};

use super::error::WaitError;
use super::future;
use super::mutex::{Mutex, MutexGuard, MutexState, MutexTaskGuard};
use super::options::WaitOptions;
use super::source::{Gained, Memory, Source, attend, wait_for, whole_word};
use super::thread_id::Gate;
use super::word::{HalfWord, WaitWord};
use crate::error::{CreateError, NotMember, OpenHandleError};
use crate::kind::Kind;
use crate::member::Member;
use crate::names::{Name, Named, NamedError};
use crate::object::Object;
use crate::place::{Key, Place};
use crate::state::STATE_BYTES;

/// Words of a line.
const LINE: usize = 8;

/// Words of the payload.
pub(crate) const fn lock_words(members: u16) -> usize {
    LINE * (1 + members as usize)
}

/// The readers' word of a lease, in a payload that is long enough for it.
pub(crate) fn readers_word(words: &[Word], lease: u8) -> Option<&Word> {
    words.get(LINE * (1 + usize::from(lease)))
}

/// The findings of `check` in the readers' words of a payload, which is long enough.
pub(crate) fn check(words: &[Word], members: u16, holders: &HolderSet, found: &mut Vec<String>) {
    for lease in (0..members).map(|lease| lease as u8) {
        // Relaxed: an inspection.
        let word = readers_word(words, lease).map_or(0, |word| word.load(Ordering::Relaxed));
        let readers = rwlock::readers(word as u32);
        if word >> 32 != 0 || readers > READERS_MAX {
            found.push(format!("{word:#x} is not the readers' word of lease {lease}"));
        } else if readers > 0 && !holders.contains(lease) {
            found.push(format!("lease {lease} has {readers} readers and does not hold it"));
        }
    }
}

/// A read-write lock between threads of all processes: any number of readers, or one writer. It survives the death of each of them.
///
/// A member that dies, leaves, or closes its last `RwLock` over the handle, has the lock for reading no more: a killed reader keeps no writer
/// waiting. If it had the lock for writing, the lock is abandoned: every reader is told so, by [`RwLockReadGuard::abandoned`], until a next
/// writer is, by [`RwLockWriteGuard::abandoned`].
///
/// ```
/// # use tenure::{error::WaitError, sync::RwLock};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
/// # let (me, other) = (space.join()?, space.join()?);
/// let lock = RwLock::create(&me)?;
/// let theirs = RwLock::open(&other, lock.token())?; // usually in another process
/// let (mine, other_guard) = (lock.read()?, theirs.read()?); // both at once
/// assert!(matches!(lock.try_write(), Err(WaitError::WouldBlock)));
/// drop(mine);
///
/// std::mem::forget(other_guard);
/// drop((theirs, other)); // as if the reader died
/// assert!(!lock.write()?.abandoned());
/// # Ok(()) }
/// ```
///
/// A thread that has the lock for reading and asks for it again may wait for ever, if a writer asked for it meanwhile; one that asks for it for
/// writing waits for itself. As with [`Mutex`], a thread that ends without unlocking leaves the lock as it is.
///
/// # Progress
///
/// Without writers, a read lock and its unlock take one CAS each, of a word of this member's own, and no system call. A writer claims the lock
/// first; from then on all readers that come wait for it, so that it gets the lock when the readers before it are gone: no stream of readers
/// that wait keeps it waiting for ever. Threads that only try, again and again, may: each is counted for the moment of its look. The order of the writers is unspecified, and so is that of a writer and the readers that wait for another one.
///
/// A process that is stopped keeps others waiting only if it has the lock, or is in the middle of a call that takes or gives back the lock.
///
/// # Crash
///
/// A reader that is killed at any instruction has the lock no more, once its recovery is over: at once with monitors; without them, a thread of
/// a waiting writer's process sleeps until it is dead, and recovers it. A writer that is killed leaves the lock abandoned, or had not claimed it
/// yet, or had unlocked it already.
///
/// It takes 64 bytes of scratch memory for each member of the geometry.
pub struct RwLock {
    /// Of the writers.
    mutex: Mutex,
    gate: Gate,
    /// The readers' word of this member.
    mine: NonNull<Word>,
}

// SAFETY: the address of an atomic in the payload, used only while the handle is held and mapped; see `RwLock::mine`.
unsafe impl Send for RwLock {}
// SAFETY: as above.
unsafe impl Sync for RwLock {}

/// The state of a read-write lock; see [`RwLock::state`].
///
/// ```
/// # use tenure::sync::{RwLock, RwLockState};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
/// # let me = space.join()?;
/// # let lock = RwLock::create(&me)?;
/// match lock.state()? {
///     RwLockState::Free => println!("free"),
///     RwLockState::Abandoned => println!("free; its last writer did not unlock it"),
///     RwLockState::Read { members } => println!("threads of {members} members read"),
///     RwLockState::Written { lease, thread } => println!("thread {thread} of lease {lease} writes, or waits for readers"),
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RwLockState {
    /// Nobody has the lock.
    Free,
    /// Nobody has the lock, and its last writer did not unlock it.
    Abandoned,
    /// Some have the lock for reading.
    Read {
        /// The number of members whose threads have it.
        members: u16,
    },
    /// A thread has the lock for writing, or has claimed it and waits for the readers before it.
    Written {
        /// The lease index of the member.
        lease: u8,
        /// The id of the thread, in the pid namespace of its own process.
        thread: u32,
    },
}

impl RwLock {
    /// Creates a lock.
    ///
    /// # Errors
    ///
    /// [`CreateError`]; nothing was created.
    pub fn create<'a>(place: impl Into<Place<'a>>) -> Result<Self, CreateError> {
        let place = place.into();
        let object = Object::create(place, Kind::RWLOCK, Mutex::initial(false), &rest(place.member))?;
        object.just_created(Self::over)
    }

    /// Opens the lock that has the name, or creates it, in one step; see [`Member::create_or_open`].
    ///
    /// ```
    /// # use tenure::sync::RwLock;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let (me, other) = (space.join()?, space.join()?);
    /// let first = RwLock::create_or_open(&me, "index")?;
    /// let second = RwLock::create_or_open(&other, "index")?; // usually in another process
    /// assert!(first.is_created() && !second.is_created());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`NamedError`]; nothing is held.
    pub fn create_or_open(member: &Member, name: &str) -> Result<Named<Self>, NamedError> {
        let named = Object::create_or_open(
            member,
            Name::new(name)?,
            Kind::RWLOCK,
            Mutex::initial(false),
            &rest(member),
        )?;
        Ok(named.try_map(Self::over)?)
    }

    /// Opens the lock of a token, or the one that has a name.
    ///
    /// # Errors
    ///
    /// [`OpenHandleError`], for instance [`OpenHandleError::Stale`] or [`OpenHandleError::ForeignKind`]; nothing is held.
    pub fn open<'k>(member: &Member, key: impl Into<Key<'k>>) -> Result<Self, OpenHandleError> {
        Self::over(Object::open(member, Kind::RWLOCK, key.into())?)
    }

    /// Opens the same handle once more.
    ///
    /// # Errors
    ///
    /// [`OpenHandleError`].
    pub fn try_clone(&self) -> Result<Self, OpenHandleError> {
        Ok(Self::of(self.mutex.try_clone()?, self.mine))
    }

    /// Wraps an object of this kind, and checks its length.
    fn over(object: Object) -> Result<Self, OpenHandleError> {
        let mine = readers_of(&object)?;
        Ok(Self::of(Mutex::over_one_guard(object)?, mine))
    }

    fn of(mutex: Mutex, mine: NonNull<Word>) -> Self {
        Self { gate: Gate::of(mutex.object(), true), mutex, mine }
    }

    /// The token: 64 bits to pass to other processes.
    #[must_use]
    pub fn token(&self) -> Token {
        self.mutex.token()
    }

    /// The readers' word of this member.
    ///
    /// # Safety
    ///
    /// This process is the member.
    #[inline(always)]
    unsafe fn mine(&self) -> HalfWord<'_> {
        // SAFETY: in the payload, as `over` has found, which is mapped in the process that is the member as long as the handle is held.
        HalfWord::at(unsafe { self.mine.as_ref() })
    }

    /// The same, with a check.
    fn checked_mine(&self) -> Result<HalfWord<'_>, NotMember> {
        self.mutex.object().shared().lease.check()?;
        // SAFETY: this process is the member.
        Ok(unsafe { self.mine() })
    }

    /// The readers' word of a lease of the geometry.
    fn readers_of(&self, lease: u8) -> Result<HalfWord<'_>, NotMember> {
        Ok(HalfWord::at(
            readers_word(self.mutex.object().words()?, lease).expect("as many words as `over` found"),
        ))
    }

    fn leases(&self) -> impl Iterator<Item = u8> {
        (0..members(self.mutex.object().shared())).map(|lease| lease as u8)
    }

    /// Locks it for reading; waits without limit for a writer that has the lock or waits for it.
    ///
    /// ```
    /// # use tenure::sync::RwLock;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let lock = RwLock::create(&me)?;
    /// {
    ///     let guard = lock.read()?;
    ///     if guard.abandoned() { /* a writer died in the middle of a change */ }
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`WaitError::Deadlock`] when this thread has the lock for writing; [`WaitError::TooDeep`] when 2^30 threads of this member have it for
    /// reading, or did not unlock it; [`WaitError::NotMember`].
    ///
    /// # Progress, Crash
    ///
    /// See [`RwLock`].
    #[inline]
    pub fn read(&self) -> Result<RwLockReadGuard<'_>, WaitError> {
        let announced = self.announce_only();
        if announced && self.is_free() {
            Ok(RwLockReadGuard::of(self, false))
        } else {
            self.read_guard_contended(announced)
        }
    }

    #[cold]
    #[inline(never)]
    fn read_guard_contended(&self, announced: bool) -> Result<RwLockReadGuard<'_>, WaitError> {
        Ok(RwLockReadGuard::of(self, self.read_contended(announced, &WaitOptions::new())?))
    }

    /// Locks it for reading if no writer has it or waits for it; does not wait.
    ///
    /// ```
    /// # use tenure::{error::WaitError, sync::RwLock};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let (me, other) = (space.join()?, space.join()?);
    /// let lock = RwLock::create(&me)?;
    /// let theirs = RwLock::open(&other, lock.token())?;
    /// let writing = theirs.write()?;
    /// assert!(matches!(lock.try_read(), Err(WaitError::WouldBlock)));
    /// drop(writing);
    /// assert!(lock.try_read().is_ok());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`WaitError::WouldBlock`], and as [`RwLock::read`].
    pub fn try_read(&self) -> Result<RwLockReadGuard<'_>, WaitError> {
        self.read_with(Duration::ZERO).map_err(WaitError::of_no_wait)
    }

    /// Locks it for reading. `options` is usually a timeout; see [`WaitOptions`].
    ///
    /// # Errors
    ///
    /// [`WaitError::TimedOut`], and as [`RwLock::read`].
    pub fn read_with(&self, options: impl Into<WaitOptions>) -> Result<RwLockReadGuard<'_>, WaitError> {
        Ok(RwLockReadGuard::of(self, self.acquire_read(options)?))
    }

    /// Locks it for reading without a guard, for callers that unlock by [`RwLock::unlock_read`]; true if it is abandoned.
    ///
    /// ```
    /// # use tenure::{error::WaitError, sync::RwLock};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let lock = RwLock::create(&me)?;
    /// let is_abandoned = lock.acquire_read(None)?;
    /// assert!(!is_abandoned);
    /// lock.unlock_read()?;
    /// assert!(matches!(lock.unlock_read(), Err(WaitError::NotOwner)));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`RwLock::read_with`].
    #[inline]
    pub fn acquire_read(&self, options: impl Into<WaitOptions>) -> Result<bool, WaitError> {
        let announced = self.announce_only();
        if announced && self.is_free() { Ok(false) } else { self.read_contended(announced, &options.into()) }
    }

    /// The first of the two steps of a read lock without writers, and without other readers of this member. True: [`RwLock::is_free`] is next.
    #[inline(always)]
    fn announce_only(&self) -> bool {
        if !self.gate.admits_process() {
            return false;
        }
        // SAFETY: this process is the member.
        let (mine, state) = unsafe { (self.mine(), self.mutex.object().mapped_state()) };
        // The mutant: the reader looks before it announces itself.
        (!mutant!("wait.rwlock.look_first") || rwlock::is_free(&state[0])) && rwlock::announce_only(&mine)
    }

    /// The second step: whether the reader has the lock, which the last writer did unlock.
    #[inline(always)]
    fn is_free(&self) -> bool {
        // SAFETY: the first step found that this process is the member.
        mutant!("wait.rwlock.look_first")
            || rwlock::is_free(unsafe { &self.mutex.object().mapped_state()[0] })
    }

    /// Every other read lock; true if the last writer did not unlock it. `announced` if this reader has announced itself already.
    #[cold]
    #[inline(never)]
    fn read_contended(&self, announced: bool, options: &WaitOptions) -> Result<bool, WaitError> {
        if announced {
            withdraw(&self.checked_mine()?);
        }
        Ok(wait_for(&Reading { lock: self, is_task: false }, *options)?.abandoned)
    }

    /// Unlocks it for reading once: for one of the threads of this member that have it.
    ///
    /// # Errors
    ///
    /// [`WaitError::NotOwner`] if no thread of this member has the lock for reading; nothing was changed.
    ///
    /// # Crash
    ///
    /// See [`RwLock`].
    #[inline]
    pub fn unlock_read(&self) -> Result<(), WaitError> {
        if self.unlock_only_read() { Ok(()) } else { self.unlock_read_contended() }
    }

    /// The unlock of the only reader of this member, without a writer that waits: one step.
    #[inline(always)]
    fn unlock_only_read(&self) -> bool {
        // SAFETY: this process is the member.
        self.gate.admits_process() && rwlock::withdraw_only(&unsafe { self.mine() })
    }

    #[cold]
    #[inline(never)]
    fn unlock_read_contended(&self) -> Result<(), WaitError> {
        if rwlock::withdraw(&self.checked_mine()?) { Ok(()) } else { Err(WaitError::NotOwner) }
    }

    /// Locks it for writing; waits without limit.
    ///
    /// ```
    /// # use tenure::sync::RwLock;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let lock = RwLock::create(&me)?;
    /// {
    ///     let guard = lock.write()?;
    ///     if guard.abandoned() { /* check or repair the protected data */ }
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`WaitError::Deadlock`] when this thread has it for writing already; [`WaitError::NotMember`].
    ///
    /// # Progress, Crash
    ///
    /// See [`RwLock`].
    #[inline]
    pub fn write(&self) -> Result<RwLockWriteGuard<'_>, WaitError> {
        self.write_with(WaitOptions::new())
    }

    /// Locks it for writing if nobody has it; does not wait. Meanwhile, [`RwLock::try_read`] of others may fail.
    ///
    /// # Errors
    ///
    /// [`WaitError::WouldBlock`], and as [`RwLock::write`].
    pub fn try_write(&self) -> Result<RwLockWriteGuard<'_>, WaitError> {
        self.write_with(Duration::ZERO).map_err(WaitError::of_no_wait)
    }

    /// Locks it for writing. `options` is usually a timeout; see [`WaitOptions`].
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tenure::{error::WaitError, sync::RwLock};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let (me, other) = (space.join()?, space.join()?);
    /// let lock = RwLock::create(&me)?;
    /// let theirs = RwLock::open(&other, lock.token())?;
    /// let reading = theirs.read()?;
    /// let timed_out = lock.write_with(Duration::from_millis(1));
    /// assert!(matches!(timed_out, Err(WaitError::TimedOut)));
    /// # drop(reading);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`WaitError::TimedOut`], and as [`RwLock::write`].
    pub fn write_with(&self, options: impl Into<WaitOptions>) -> Result<RwLockWriteGuard<'_>, WaitError> {
        let abandoned = self.acquire_write(options)?;
        Ok(RwLockWriteGuard(self.mutex.guard_of(abandoned)))
    }

    /// Locks it for writing without a guard, for callers that unlock by [`RwLock::unlock_write`]; true if it was abandoned.
    ///
    /// ```
    /// # use tenure::{error::WaitError, sync::RwLock};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let lock = RwLock::create(&me)?;
    /// let was_abandoned = lock.acquire_write(None)?;
    /// assert!(!was_abandoned);
    /// lock.unlock_write()?;
    /// assert!(matches!(lock.unlock_write(), Err(WaitError::NotOwner)));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`RwLock::write_with`].
    pub fn acquire_write(&self, options: impl Into<WaitOptions>) -> Result<bool, WaitError> {
        let options = options.into().begun();
        let abandoned = self.mutex.acquire(options)?;
        if let Err(error) = self.drain(options) {
            // Who is told of a dead writer, and gives up, leaves that to the next one.
            let given_up = if abandoned { self.mutex.abandon() } else { self.mutex.unlock() };
            return given_up.and(Err(error));
        }
        Ok(abandoned)
    }

    /// Waits until nobody has the lock for reading. The caller owns the mutex.
    fn drain(&self, options: WaitOptions) -> Result<(), WaitError> {
        rwlock::begin_drain();
        for (lease, words) in self.mutex.object().words()?.chunks_exact(LINE).skip(1).enumerate() {
            if !rwlock::is_drained(&HalfWord::at(&words[0])) {
                wait_for(&Draining { lock: self, lease: lease as u8 }, options)?;
            }
        }
        Ok(())
    }

    /// Locks it for reading for a task: a future, for any executor, with a guard that may cross an await and be sent to another thread. A task
    /// that has it for writing waits for itself.
    ///
    /// ```
    /// # use tenure::sync::RwLock;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// # let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    /// # runtime.block_on(async {
    /// let lock = RwLock::create(&me)?;
    /// let (first, second) = (lock.read_async().await?, lock.read_async().await?);
    /// tokio::task::yield_now().await; // it may go on in another thread
    /// drop((first, second));
    /// drop(lock.write_async().await?);
    /// # Ok(()) }) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`RwLock::read`], but never [`WaitError::Deadlock`]; [`WaitError::Os`] if no thread can sleep for it.
    ///
    /// # Cancellation
    ///
    /// A future that is dropped has taken nothing, and keeps no wake-up from others.
    pub async fn read_async(&self) -> Result<RwLockReadTaskGuard<'_>, WaitError> {
        let gained = future::taken(&Reading { lock: self, is_task: true }).await?;
        Ok(RwLockReadTaskGuard { lock: self, abandoned: gained.abandoned })
    }

    /// Locks it for writing for a task, as [`RwLock::read_async`] for reading. A task that has it already waits for itself.
    ///
    /// # Errors
    ///
    /// As [`RwLock::write`], but never [`WaitError::Deadlock`]; [`WaitError::Os`] if no thread can sleep for it.
    ///
    /// # Cancellation
    ///
    /// A future that is dropped lets others go on. While it waits for readers, it keeps out new ones, as any writer does.
    pub async fn write_async(&self) -> Result<RwLockWriteTaskGuard<'_>, WaitError> {
        let mut giving_up = GivingUp(Some(self.mutex.lock_async().await?));
        rwlock::begin_drain();
        for lease in self.leases() {
            future::taken(&Draining { lock: self, lease }).await?;
        }
        let guard = giving_up.0.take().expect("taken here only");
        Ok(RwLockWriteTaskGuard(guard))
    }

    /// As [`Mutex::adopt_task`](crate::sync::Mutex::adopt_task), of a task that has it locked for writing.
    ///
    /// # Errors
    ///
    /// [`WaitError::NotOwner`]; [`WaitError::NotMember`].
    pub fn adopt_write_task(&self) -> Result<RwLockWriteTaskGuard<'_>, WaitError> {
        self.mutex.adopt_task().map(RwLockWriteTaskGuard)
    }

    /// Unlocks it for writing.
    ///
    /// # Errors
    ///
    /// [`WaitError::NotOwner`] if this thread does not have it for writing; nothing was changed.
    ///
    /// # Crash
    ///
    /// See [`RwLock`].
    #[inline]
    pub fn unlock_write(&self) -> Result<(), WaitError> {
        self.mutex.unlock()
    }

    /// Unlocks it for writing as one whose writer died: readers and the next writer are told. For a writer that leaves the data inconsistent, or
    /// was told so itself and repaired nothing.
    ///
    /// # Errors
    ///
    /// [`WaitError::NotOwner`] if this thread does not have it for writing; nothing was changed.
    pub fn abandon(&self) -> Result<(), WaitError> {
        self.mutex.abandon()
    }

    /// The state of the lock at this moment. Information only: it may have changed when this returns.
    ///
    /// # Errors
    ///
    /// [`WaitError::NotMember`]; [`WaitError::Corrupt`] if no lock has such words.
    pub fn state(&self) -> Result<RwLockState, WaitError> {
        let mut members = 0;
        for lease in self.leases() {
            members += u16::from(rwlock::readers(self.readers_of(lease)?.load()) > 0);
        }
        Ok(match self.mutex.state()? {
            MutexState::Owned { lease, thread } => RwLockState::Written { lease, thread },
            MutexState::Abandoned if members == 0 => RwLockState::Abandoned,
            MutexState::Free if members == 0 => RwLockState::Free,
            MutexState::Free | MutexState::Abandoned => RwLockState::Read { members },
        })
    }
}

/// The payload behind the state words: zero.
fn rest(member: &Member) -> Vec<u8> {
    vec![0; 8 * lock_words(members(member.shared())) - STATE_BYTES]
}

/// The readers' word of this member, if the payload has one for each lease.
fn readers_of(object: &Object) -> Result<NonNull<Word>, OpenHandleError> {
    let (words, shared) = (object.words()?, object.shared());
    let expected = lock_words(members(shared));
    readers_word(words, shared.lease.id().index)
        .filter(|_| words.len() == expected)
        .map(NonNull::from)
        .ok_or_else(|| {
            OpenHandleError::Corrupt(format!("a lock of {} words, expected {expected}", words.len()))
        })
}

fn members(shared: &crate::shared::Shared) -> u16 {
    shared.reclaimer.plan.geometry.members
}

fn withdraw(mine: &HalfWord<'_>) {
    // Announced before, so there is one, unless the word was corrupted.
    let _ = rwlock::withdraw(mine);
}

/// A wait of a reader for the writer.
struct Reading<'l> {
    lock: &'l RwLock,
    /// Another one may own the lock in this thread.
    is_task: bool,
}

impl Source for Reading<'_> {
    fn object(&self) -> &Object {
        self.lock.mutex.object()
    }

    fn word(&self) -> Result<WaitWord<'_>, WaitError> {
        self.lock.mutex.word()
    }

    fn attempt(&self, _: &mut Memory) -> Result<Attempt<Gained>, WaitError> {
        let (lock, mine) = (self.lock, self.lock.checked_mine()?);
        let writers = whole_word(lock.mutex.object(), Kind::MUTEX)?;
        if !self.is_task && lock.mutex.is_owned()? {
            return Err(WaitError::Deadlock);
        }
        if !rwlock::announce(&mine) {
            return Err(WaitError::TooDeep { limit: READERS_MAX.into() });
        }
        match rwlock::look(&writers) {
            Attempt::Taken(abandoned) => Ok(Attempt::Taken(Gained { abandoned })),
            Attempt::Blocked(seen) => {
                withdraw(&mine);
                Ok(Attempt::Blocked(seen))
            }
        }
    }

    fn take(&self, value: u32) -> Option<u32> {
        tenure_wait::mutex::is_available(value).then_some(value)
    }

    fn prepare(&self, seen: u32) -> Result<(), WaitError> {
        self.lock.mutex.prepare(seen)
    }
}

/// A wait of the writer, which owns the mutex, for the readers of a lease.
struct Draining<'l> {
    lock: &'l RwLock,
    lease: u8,
}

impl Source for Draining<'_> {
    fn object(&self) -> &Object {
        self.lock.mutex.object()
    }

    fn word(&self) -> Result<WaitWord<'_>, WaitError> {
        Ok(WaitWord::Half(self.lock.readers_of(self.lease)?))
    }

    fn attempt(&self, _: &mut Memory) -> Result<Attempt<Gained>, WaitError> {
        Ok(match rwlock::drained(&self.lock.readers_of(self.lease)?) {
            Attempt::Taken(()) => Attempt::Taken(Gained::default()),
            Attempt::Blocked(seen) => Attempt::Blocked(seen),
        })
    }

    fn take(&self, value: u32) -> Option<u32> {
        (value == 0).then_some(0)
    }

    /// As that of a mutex: the readers hold the handle, and this process learns when they die.
    fn prepare(&self, seen: u32) -> Result<(), WaitError> {
        let (object, lease) = (self.object(), self.lease);
        let shared = object.shared();
        // Recovery, and a close, withdraw the readers first, and clear the bit afterwards: see the mutex.
        let (readers, is_held) =
            (self.lock.readers_of(lease)?, || shared.slab.is_held_by(object.held(), lease));
        if (0..super::mutex::ROUNDS).all(|_| !is_held() && readers.load() == seen) {
            return Err(WaitError::corrupt(format!(
                "the lock has {} readers of lease {lease}, which does not hold it",
                rwlock::readers(seen)
            )));
        }
        attend(shared, lease)
    }
}

impl crate::slots::sealed::Keep for RwLock {
    fn count(&self) -> crate::slots::sealed::Count<'_> {
        self.mutex.count()
    }
}

impl fmt::Debug for RwLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RwLock").field("token", &self.token()).field("state", &self.state().ok()).finish()
    }
}

/// The mutex of a writer that may still give up.
struct GivingUp<'l>(Option<MutexTaskGuard<'l>>);

impl Drop for GivingUp<'_> {
    fn drop(&mut self) {
        // Who is told of a dead writer, and gives up, leaves that to the next one.
        if let Some(guard) = self.0.take_if(|guard| guard.abandoned()) {
            let _ = guard.abandon();
        }
    }
}

/// A lock that a task has locked for reading: see [`RwLock::read_async`]. Dropping the guard unlocks it, in whatever thread.
#[must_use]
pub struct RwLockReadTaskGuard<'l> {
    lock: &'l RwLock,
    abandoned: bool,
}

impl RwLockReadTaskGuard<'_> {
    /// As [`RwLockReadGuard::abandoned`].
    #[must_use]
    pub fn abandoned(&self) -> bool {
        self.abandoned
    }
}

impl Drop for RwLockReadTaskGuard<'_> {
    fn drop(&mut self) {
        // In a forked child the parent's guard has it, and this fails.
        let _ = self.lock.unlock_read();
    }
}

impl fmt::Debug for RwLockReadTaskGuard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RwLockReadTaskGuard")
            .field("lock", self.lock)
            .field("abandoned", &self.abandoned)
            .finish()
    }
}

/// A lock that a task has locked for writing: see [`RwLock::write_async`]. Dropping the guard unlocks it, in whatever thread.
#[must_use]
#[derive(Debug)]
pub struct RwLockWriteTaskGuard<'l>(MutexTaskGuard<'l>);

impl RwLockWriteTaskGuard<'_> {
    /// As [`Mutex::abandon`].
    ///
    /// # Errors
    ///
    /// [`WaitError::NotMember`]; the lock is abandoned all the same when its member is recovered.
    pub fn abandon(self) -> Result<(), WaitError> {
        self.0.abandon()
    }

    /// As [`MutexGuard::abandoned`](super::MutexGuard::abandoned).
    #[must_use]
    pub fn abandoned(&self) -> bool {
        self.0.abandoned()
    }
}

/// A lock that is locked for reading. Dropping the guard unlocks it; a guard stays in the thread that locked.
#[must_use]
pub struct RwLockReadGuard<'l> {
    /// The lock, and in bit 0 of its address, which is even, whether it is abandoned: so that a result with a guard is two words.
    tagged: NonNull<RwLock>,
    of_this_thread: PhantomData<(&'l RwLock, *const ())>,
}

const ABANDONED: usize = 1;
const _: () = assert!(align_of::<RwLock>() > ABANDONED);
const _: () = assert!(size_of::<Result<RwLockReadGuard<'_>, WaitError>>() == 2 * size_of::<usize>());

impl<'l> RwLockReadGuard<'l> {
    #[inline(always)]
    fn of(lock: &'l RwLock, abandoned: bool) -> Self {
        let tagged = NonNull::from(lock).map_addr(|address| address | usize::from(abandoned));
        Self { tagged, of_this_thread: PhantomData }
    }

    #[inline(always)]
    fn lock(&self) -> &'l RwLock {
        let address = self.tagged.as_ptr().map_addr(|address| address & !ABANDONED);
        // SAFETY: made of a reference that lives for 'l; the bit is removed.
        unsafe { &*address }
    }
}

impl RwLockReadGuard<'_> {
    /// Whether the last writer died or left without unlocking: then the protected data may be inconsistent. Every reader is told, until a next
    /// writer was.
    ///
    /// ```
    /// # use tenure::sync::RwLock;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let (me, other) = (space.join()?, space.join()?);
    /// let lock = RwLock::create(&me)?;
    /// let theirs = RwLock::open(&other, lock.token())?;
    /// std::mem::forget(theirs.write()?);
    /// drop((theirs, other)); // as if the writer died
    /// assert!(lock.read()?.abandoned());
    /// assert!(lock.read()?.abandoned());
    /// assert!(lock.write()?.abandoned()); // this one repairs the data
    /// assert!(!lock.read()?.abandoned());
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn abandoned(&self) -> bool {
        self.tagged.addr().get() & ABANDONED != 0
    }
}

impl Drop for RwLockReadGuard<'_> {
    #[inline]
    fn drop(&mut self) {
        if !self.lock().unlock_only_read() {
            // The lock is locked by construction; in a forked child the parent's thread has it, and this fails.
            let _ = self.lock().unlock_read_contended();
        }
    }
}

impl fmt::Debug for RwLockReadGuard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RwLockReadGuard")
            .field("lock", self.lock())
            .field("abandoned", &self.abandoned())
            .finish()
    }
}

/// A lock that is locked for writing. Dropping the guard unlocks it; a guard stays in the thread that locked.
#[must_use]
pub struct RwLockWriteGuard<'l>(MutexGuard<'l>);

impl RwLockWriteGuard<'_> {
    /// Whether the last writer died or left without unlocking: then the protected data may be inconsistent. Only one writer is told of one
    /// such death.
    #[must_use]
    pub fn abandoned(&self) -> bool {
        self.0.abandoned()
    }
}

impl fmt::Debug for RwLockWriteGuard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RwLockWriteGuard").field("abandoned", &self.abandoned()).finish_non_exhaustive()
    }
}
