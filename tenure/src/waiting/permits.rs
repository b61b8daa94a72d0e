//! Permits with owners. The crate `tenure-wait` has the protocol.
//!
//! The payload begins with the word of a sequence, and the number of permits; from byte 64 on there is a word for each permit.

use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tenure_core::sync::Word;
use tenure_segment::futex;
use tenure_slab::{HolderSet, Token};
use tenure_wait::permits::{self, PERMITS_MAX, Taken};
use tenure_wait::sequence;

use super::error::WaitError;
use super::future::{self, Step};
use super::options::{Limits, WaitOptions};
use super::source::attend;
use super::word::HalfWord;
use crate::error::{CreateError, NotMember, OpenHandleError};
use crate::kind::Kind;
use crate::member::Member;
use crate::names::{Name, Named, NamedError};
use crate::object::Object;
use crate::place::{Key, Place};
use crate::state::STATE_WORDS;

/// State word: the number of permits, which never changes.
const TOTAL: usize = 1;
/// The word of the first permit.
pub(crate) const FIRST: usize = 8;

/// The words of the permits among those of a payload, if their number is one that there can be.
pub(crate) fn permit_words(words: &[Word]) -> Option<&[Word]> {
    // Relaxed: number of permits: written before the handle was published, never changed.
    let total = words.get(TOTAL)?.load(Ordering::Relaxed);
    let known = (1..=u64::from(PERMITS_MAX)).contains(&total);
    words.get(FIRST..).filter(|permits| known && permits.len() as u64 == total)
}

/// The findings of `check` in the words of the permits.
pub(crate) fn check(words: &[Word], holders: &HolderSet, found: &mut Vec<String>) {
    let Some(permits) = permit_words(words) else {
        found.push(format!("{} words are none of permits", words.len()));
        return;
    };
    for (number, permit) in permits.iter().enumerate() {
        // Relaxed: an inspection.
        let word = permit.load(Ordering::Relaxed);
        match u8::try_from(permits::owner(word).wrapping_sub(1)) {
            _ if permits::owner(word) == 0 => {}
            Ok(lease) if holders.contains(lease) => {}
            Ok(lease) => found.push(format!("lease {lease} has permit {number} and does not hold it")),
            Err(_) => found.push(format!("{word:#x} is not the word of a permit")),
        }
    }
}

/// A fixed number of permits that members own: a semaphore that loses none.
///
/// A [`Permit`] is given back when it is dropped. Those of a member that dies, leaves, or closes the object come back by themselves, and
/// wake those that wait: so a pool of connections, or a limit on how many work at once, is never smaller than it was made.
///
/// A [`Semaphore`](crate::sync::Semaphore) is for permits that one process acquires and another one releases: those have no owner.
///
/// ```
/// # use tenure::{error::WaitError, sync::Permits};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
/// # let (me, other) = (space.join()?, space.join()?);
/// let connections = Permits::create(&me, 2)?;
/// let theirs = Permits::open(&other, connections.token())?; // usually in another process
/// let (mine, one) = (connections.acquire(None)?, theirs.acquire(None)?);
/// assert!(matches!(connections.try_acquire(), Err(WaitError::WouldBlock)));
///
/// let _ = one.into_number(); // a guard would give it back
/// drop((theirs, other)); // as if it died
/// assert_eq!(connections.available()?, 1);
/// drop(mine);
/// assert_eq!(connections.available()?, 2);
/// # Ok(()) }
/// ```
///
/// They are waited for alone: [`wait_any`](crate::sync::wait_any) and [`wait_all`](crate::sync::wait_all) take none.
///
/// # Progress
///
/// Lock-free if a permit is free: an acquire is one CAS, in which a member prefers the permit that it had last; while few are free it looks at
/// each, which is a load for each permit. A process that is stopped keeps the permits that it has, and no other ones. One that is stopped
/// between a release and its wake wakes those that sleep when it goes on; the next release of another one wakes them as well, and the recovery of the stopped one if it is killed.
///
/// # Crash
///
/// A process that is killed at any instruction has a permit, which its recovery gives back, or it does not have it. As with a
/// [`Mutex`](crate::sync::Mutex), recovery is immediate with monitors; without them, a thread of the waiting process sleeps until an owner is dead, and recovers it.
/// Nobody is told of the death: what a permit stands for must need no repair, or have a mutex.
#[derive(Clone)]
pub struct Permits {
    inner: Arc<Inner>,
}

struct Inner {
    object: Object,
    /// The lease of the member.
    lease: u8,
    /// Where to begin to look: what was taken or given back last.
    next: AtomicUsize,
}

/// A permit of [`Permits`]. Dropping it gives it back, in any thread of the process.
///
/// ```
/// # use tenure::sync::Permits;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
/// # let me = space.join()?;
/// let permits = Permits::create(&me, 2)?;
/// let permit = permits.acquire(None)?;
/// std::thread::spawn(move || drop(permit)).join().unwrap();
/// assert_eq!(permits.available()?, 2);
/// # Ok(()) }
/// ```
#[must_use]
pub struct Permit {
    inner: Arc<Inner>,
    taken: Taken,
}

impl Permits {
    /// The largest number of permits that one object can have.
    pub const MAXIMUM: u32 = PERMITS_MAX;

    /// Creates so many permits, 1 to [`Permits::MAXIMUM`], without a name; all are free. They take 8 bytes of scratch memory each.
    ///
    /// ```
    /// # use tenure::{error::CreateError, sync::Permits};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let permits = Permits::create(&me, 8)?;
    /// assert_eq!((permits.total(), permits.available()?), (8, 8));
    /// assert!(matches!(Permits::create(&me, 0), Err(CreateError::Permits { total: 0 })));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`CreateError`]; nothing was created.
    pub fn create<'a>(place: impl Into<Place<'a>>, total: u32) -> Result<Self, CreateError> {
        let (state, rest) = initial(total)?;
        Object::create(place.into(), Kind::PERMITS, state, &rest)?.just_created(Self::over)
    }

    /// Opens the permits that have the name, or creates them, in one step; see [`Member::create_or_open`]. `total` is ignored if they exist.
    ///
    /// # Errors
    ///
    /// [`NamedError`]; nothing is held.
    pub fn create_or_open(member: &Member, name: &str, total: u32) -> Result<Named<Self>, NamedError> {
        let (state, rest) = initial(total)?;
        let named = Object::create_or_open(member, Name::new(name)?, Kind::PERMITS, state, &rest)?;
        Ok(named.try_map(Self::over)?)
    }

    /// Opens the permits of a token, or those that have a name.
    ///
    /// # Errors
    ///
    /// [`OpenHandleError`], for instance [`OpenHandleError::Stale`] or [`OpenHandleError::ForeignKind`]; nothing is held.
    pub fn open<'k>(member: &Member, key: impl Into<Key<'k>>) -> Result<Self, OpenHandleError> {
        Self::over(Object::open(member, Kind::PERMITS, key.into())?)
    }

    /// Wraps an object of this kind.
    fn over(object: Object) -> Result<Self, OpenHandleError> {
        let words = object.words()?;
        let Some(permits) = permit_words(words) else {
            return Err(OpenHandleError::Corrupt(format!("{} words are none of permits", words.len())));
        };
        let (shared, total) = (object.shared(), permits.len());
        let lease = shared.lease.id().index;
        let members = usize::from(shared.reclaimer.plan.geometry.members);
        // Members begin at places of their own, so that they seldom meet.
        let next = AtomicUsize::new(total * usize::from(lease) / members);
        shared.objects.books.enter(object.identity().0);
        Ok(Self { inner: Arc::new(Inner { lease, next, object }) })
    }

    /// The token: 64 bits to pass to other processes.
    #[must_use]
    pub fn token(&self) -> Token {
        self.inner.object.token()
    }

    /// The number of permits, fixed at creation.
    #[must_use]
    pub fn total(&self) -> u32 {
        // What was found when they were opened; `over` has checked it.
        (self.inner.object.bytes() / 8 - FIRST) as u32
    }

    /// How many permits are free. Information only: it may have changed when this returns.
    ///
    /// # Errors
    ///
    /// [`WaitError::NotMember`].
    pub fn available(&self) -> Result<u32, WaitError> {
        // Relaxed: information only.
        let is_free = |permit: &&Word| permits::owner(permit.load(Ordering::Relaxed)) == 0;
        Ok(self.inner.permits()?.iter().filter(is_free).count() as u32)
    }

    /// Acquires a permit; waits until one is free. `options` is usually a timeout: `None` waits without limit, zero does not wait; see
    /// [`WaitOptions`].
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tenure::{error::WaitError, sync::Permits};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let permits = Permits::create(&me, 1)?;
    /// let permit = permits.acquire(None)?;
    /// let timed_out = permits.acquire(Duration::from_millis(1));
    /// assert!(matches!(timed_out, Err(WaitError::TimedOut)));
    /// # drop(permit);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`WaitError::TimedOut`]: at one moment all had owners; [`WaitError::Interrupted`], by the options; [`WaitError::NotMember`];
    /// [`WaitError::Unheard`] or [`WaitError::Corrupt`], when the death of an owner could not be noticed.
    ///
    /// # Progress
    ///
    /// See [`Permits`].
    ///
    /// # Crash
    ///
    /// See [`Permits`].
    pub fn acquire(&self, options: impl Into<WaitOptions>) -> Result<Permit, WaitError> {
        let taken = self.inner.take(options.into())?;
        Ok(Permit { inner: Arc::clone(&self.inner), taken })
    }

    /// Acquires a permit if one is free; does not wait.
    ///
    /// # Errors
    ///
    /// [`WaitError::WouldBlock`] if none was free at one moment; [`WaitError::NotMember`].
    pub fn try_acquire(&self) -> Result<Permit, WaitError> {
        self.acquire(Duration::ZERO).map_err(WaitError::of_no_wait)
    }

    /// As [`Permits::acquire`], as a future, for any executor; the executor's own timeouts limit it.
    ///
    /// ```
    /// # use tenure::sync::Permits;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// # let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    /// # runtime.block_on(async {
    /// let connections = Permits::create(&me, 1)?;
    /// let connection = connections.acquire_async().await?;
    /// let (next, ()) = tokio::join!(connections.acquire_async(), async { drop(connection) });
    /// next?;
    /// # Ok(()) }) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Permits::acquire`], but for the timeout; [`WaitError::Os`] if no thread can sleep for it.
    ///
    /// # Cancellation
    ///
    /// A future that is dropped has taken nothing, and keeps no wake-up from others.
    pub async fn acquire_async(&self) -> Result<Permit, WaitError> {
        let taken = self.inner.find_async().await?;
        Ok(Permit { inner: Arc::clone(&self.inner), taken })
    }

    /// Makes a guard of a permit that this member has, by the number of [`Permit::into_number`].
    ///
    /// ```
    /// # use tenure::{error::WaitError, sync::Permits};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let permits = Permits::create(&me, 1)?;
    /// let number = permits.acquire(None)?.into_number();
    /// drop(permits.adopt(number)?); // gives it back
    /// assert!(matches!(permits.adopt(number), Err(WaitError::NotOwner)));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`WaitError::NotOwner`] if this member does not have the permit, or not by this acquire; [`WaitError::NotMember`].
    pub fn adopt(&self, number: u64) -> Result<Permit, WaitError> {
        let index = (number & INDEX) as usize;
        let word = number & !INDEX | (u64::from(self.inner.lease) + 1);
        match self.inner.permits()?.get(index) {
            // Acquire: permit: as `permits::recover`.
            Some(permit) if permit.load(Ordering::Acquire) == word => {
                Ok(Permit { inner: Arc::clone(&self.inner), taken: Taken { index, word } })
            }
            _ => Err(WaitError::NotOwner),
        }
    }
}

/// Of the number of a permit that was taken: its index. Above it, the version.
const INDEX: u64 = 0xffff;
const _: () = assert!(PERMITS_MAX as u64 == INDEX + 1);

/// The state words and the other bytes of new permits.
fn initial(total: u32) -> Result<([u64; STATE_WORDS], Vec<u8>), CreateError> {
    if total == 0 || total > PERMITS_MAX {
        return Err(CreateError::Permits { total });
    }
    Ok(([0, total.into(), 0, 0], vec![0; 8 * (FIRST - STATE_WORDS + total as usize)]))
}

impl Inner {
    fn permits(&self) -> Result<&[Word], NotMember> {
        Ok(&self.object.words()?[FIRST..])
    }

    fn sequence(&self) -> Result<HalfWord<'_>, NotMember> {
        Ok(HalfWord::of(self.object.state()?))
    }

    fn take(&self, options: WaitOptions) -> Result<Taken, WaitError> {
        let taken = self.find(options)?;
        // Relaxed: a hint.
        self.next.store(taken.index, Ordering::Relaxed);
        Ok(taken)
    }

    fn find(&self, options: WaitOptions) -> Result<Taken, WaitError> {
        let mut limits = Limits::of(options);
        loop {
            match self.take_or_mark(|| limits.check())? {
                Step::Done(taken) => return Ok(taken),
                Step::Sleep(word, marked) => {
                    limits.sleep(|deadline| Ok(futex::sleep(word.futex(), marked, deadline)?))?;
                }
            }
        }
    }

    /// As [`Inner::find`], as a future.
    async fn find_async(&self) -> Result<Taken, WaitError> {
        let mut place = future::Place::new(self.object.shared());
        poll_fn(move |context| place.poll(self.take_or_mark(|| Ok(())), context)).await
    }

    /// Takes a permit, or marks the sequence and says what to sleep on. `may_mark` is asked after an attempt that found none.
    fn take_or_mark(
        &self,
        may_mark: impl Fn() -> Result<(), WaitError>,
    ) -> Result<Step<'_, Taken>, WaitError> {
        // Relaxed: a hint.
        let first = self.next.load(Ordering::Relaxed);
        loop {
            if let Some(taken) = permits::try_take(self.permits()?, first, self.lease) {
                return Ok(Step::Done(taken));
            }
            may_mark()?;
            let word = self.sequence()?;
            let marked = sequence::mark(&word);
            if let Ok(taken) = permits::look(self.permits()?, first, self.lease) {
                return Ok(Step::Done(taken));
            }
            if self.attend_owners()? {
                return Ok(Step::Sleep(word, marked));
            }
        }
    }

    /// Before a sleep: ensures that this process learns when an owner dies, and checks that each owner holds the object
    /// `[wait-permit-holds]`, since recovery finds the permits of a dead one by its holder bits. False if a permit is free by now: who gave it
    /// back may be dead before it wakes, and would not be attended to.
    fn attend_owners(&self) -> Result<bool, WaitError> {
        let shared = self.object.shared();
        let mut attended = [0u64; 4];
        for permit in self.permits()? {
            // Acquire: permit: the word was as it is before the look at the bit.
            let seen = permit.load(Ordering::Acquire);
            let owner = match permits::owner(seen) {
                0 => return Ok(false),
                owner => u8::try_from(owner - 1)
                    .map_err(|_| WaitError::corrupt(format!("{seen:#x} is not the word of a permit")))?,
            };
            let (word, bit) = (usize::from(owner / 64), 1 << (owner % 64));
            if attended[word] & bit != 0 {
                continue;
            }
            attended[word] |= bit;
            // Recovery, and a close, give back the permits first, and clear the bit afterwards; a permit that is taken again has another word.
            if !shared.slab.is_held_by(self.object.held(), owner) && permit.load(Ordering::Acquire) == seen {
                return Err(WaitError::corrupt(format!(
                    "lease {owner} has a permit, and does not hold them"
                )));
            }
            attend(shared, owner)?;
        }
        Ok(true)
    }

    fn give_back(&self, taken: Taken) {
        // In a forked child the parent has the permit; of a member that has left, leaving gave it back.
        let Ok(permits) = self.permits() else { return };
        if let Some(permit) = permits.get(taken.index)
            && permits::give_back(permit, taken.word)
        {
            // Relaxed: a hint.
            self.next.store(taken.index, Ordering::Relaxed);
            if let Ok(word) = self.sequence() {
                sequence::wake(&word);
            }
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Ok(words) = self.object.words() {
            let shared = self.object.shared();
            // The last one of this member: do as recovery does. There is something to give back only if a permit became a number.
            shared.objects.books.leave(self.object.identity().0, || {
                super::recover::recover(self.object.kind(), words, &shared.mcas_descriptors, self.lease);
            });
        }
    }
}

impl Permit {
    /// Forgets the guard; the permit stays this member's until [`Permits::adopt`], or until it closes its last [`Permits`] over this
    /// object. For programs that cannot keep the guard: the number is one of this acquire only.
    #[must_use]
    pub fn into_number(mut self) -> u64 {
        let number = self.taken.word & !INDEX | self.taken.index as u64;
        // No permit has this word: the drop gives nothing back.
        self.taken.word = 0;
        number
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.inner.give_back(self.taken);
    }
}

impl crate::slots::sealed::Keep for Permits {
    fn count(&self) -> crate::slots::sealed::Count<'_> {
        self.inner.object.count()
    }
}

impl fmt::Debug for Permits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permits")
            .field("token", &self.token())
            .field("available", &self.available().ok())
            .field("total", &self.total())
            .finish()
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit")
            .field("permits", &self.inner.object.token())
            .field("index", &self.taken.index)
            .finish()
    }
}
