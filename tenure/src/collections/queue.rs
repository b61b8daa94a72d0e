//! Queues.
//!
//! The words of their payload: 0 the sequence on which those sleep that pop, 1 that of those that push, 2 and 3 as of every container; 4 the capacity, 5
//! the kind of the elements; 8 tail, 24 head, 40 the returns for which nothing was found behind the head; each of those on lines of its own.

use std::collections::HashSet;
use std::fmt;
use std::future::poll_fn;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tenure_core::sync::Word;
use tenure_segment::futex;
use tenure_slab::{self as slab, CHUNK_SLOTS, Claimed, INLINE_BYTES, Known, QueueWords, Token};
use tenure_wait::{Attempt, sequence};

use crate::error::{CreateError, NotMember, OpenHandleError, UseError};
use crate::handle::{Handle, Raw};
use crate::kind::Kind;
use crate::member::Member;
use crate::names::{Name, Named, NamedError};
use crate::object::Object;
use crate::place::{Key, Place};
use crate::raw::RawHandle;
use crate::shared::{Caches, Shared};
use crate::slots::sealed::Keep;
use crate::slots::{Claim, PutError};
use crate::state::{CONTAINER_FIRST, CONTAINER_SLOTS, STATE_WORDS};
#[cfg(feature = "typed")]
use crate::typed::{self, Value};
use crate::waiting::future::{self, Step};
use crate::waiting::options::Limits;
use crate::waiting::source::{Gained, Memory, Source, attend};
use crate::waiting::word::{HalfWord, WaitWord};
use crate::waiting::{WaitError, WaitOptions};

pub(crate) const CAPACITY: usize = 4;
const KIND: usize = 5;
const TAIL: usize = 8;
const HEAD: usize = 24;
const RESCANNED: usize = 40;
const WORDS: usize = 48;

/// A queue between any threads of all processes: first in, first out, bounded, many on both sides.
///
/// An element is a handle: [`Queue::push`] creates one with a copy of the value, or [`Queue::push_handle`] pushes one that exists, of a
/// value of any size. The queue holds what is in it, so an element outlives whoever pushed it.
///
/// There are two ways out. [`Queue::pop`] takes the element out: if the process dies then, the element ends with it (at most once).
/// [`Queue::claim`] lends it: it leaves the queue at [`Claim::ack`], and if the process dies before, others get it (at least once): see below
/// when.
///
/// The space needs [`container_slots`](crate::Options::container_slots), and a handle for each element.
///
/// ```
/// # use tenure::collections::Queue;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let space = tenure::Space::options().container_slots(1024).handles(2048).scratch(1 << 20).anonymous()?;
/// # let (me, other) = (space.join()?, space.join()?);
/// let jobs = Queue::<u64>::create(&me, 1000)?;
/// jobs.push(&7)?;
/// jobs.push(&8)?;
///
/// let theirs = Queue::<u64>::open(&other, jobs.token())?; // usually in another process
/// let job = theirs.claim()?.expect("two jobs");
/// drop((theirs, job, other)); // as if it died here
/// let job = jobs.claim()?.expect("the same job");
/// assert_eq!(job.get()?.to_native(), 7);
/// job.ack()?; // done
/// assert_eq!(jobs.pop()?.expect("the other job").get()?.to_native(), 8);
/// assert!(jobs.pop()?.is_none());
/// # Ok(()) }
/// ```
///
/// A queue with a name, kept in a slot ([`Slots`](crate::Slots)), waits for its first reader with all its elements while no process lives.
///
/// # Order
///
/// Elements leave in the order in which they were pushed. One that was given back, by its claimer or after its death, comes next, or at
/// the latest after the elements that were pushed up to that moment.
///
/// # Progress
///
/// Lock-free between processes: no operation waits for a process that is stopped, at whatever instruction, nor for one that keeps an
/// element claimed. Those with options sleep while the queue is empty, or full.
///
/// A process that is stopped right after a push, before it wakes those that sleep, wakes them when it goes on; the next push wakes
/// them as well, and if it is killed, its recovery. A member without a monitor that sleeps recovers those that have claimed an element when it
/// fell asleep; of others it learns when somebody recovers them.
///
/// # Crash
///
/// A push is done or not done, and so is a pop. What a dead process had claimed is in the queue again.
pub struct Queue<T> {
    /// Claims have it as well: it stays open as long as they do.
    inner: Arc<Inner>,
    value: PhantomData<fn() -> T>,
}

/// The number of elements of a queue, at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueLen {
    /// Elements that wait to be claimed or popped.
    pub waiting: u32,
    /// Elements that are claimed.
    pub claimed: u32,
}

/// The reason why a queue did not do what it should. Nothing was changed, except where a function says so: [`Queue::pop`] takes out an element that
/// is no valid value.
///
/// ```
/// # use tenure::{collections::Queue, error::QueueError};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let space = tenure::Space::options().container_slots(64).handles(64).scratch(1 << 20).anonymous()?;
/// # let me = space.join()?;
/// let jobs = Queue::<u64>::create(&me, 1)?;
/// jobs.push(&7)?;
/// assert!(matches!(jobs.push(&8), Err(QueueError::Full { capacity: 1 })));
/// # Ok(()) }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QueueError {
    /// The caller is not a member, or no member any more.
    #[error(transparent)]
    NotMember(#[from] NotMember),
    /// As many elements wait as the queue may have; or as many are claimed as it has slots; or the oldest one has waited for a whole round of
    /// the slots, some of which were passed by because what was in them was claimed.
    #[error("the queue is full: {capacity} elements")]
    Full {
        /// The capacity.
        capacity: u32,
    },
    /// The wait failed, for instance because its time was over.
    #[error(transparent)]
    Wait(#[from] WaitError),
    /// The element was not created.
    #[error(transparent)]
    NotCreated(#[from] CreateError),
    /// The handle was not put, for instance because it is in a slot or in a queue already.
    #[error(transparent)]
    NotPut(#[from] PutError),
    /// The element was not opened.
    #[error(transparent)]
    NotOpened(#[from] OpenHandleError),
    /// The words of the queue are corrupted.
    #[error("corrupt: the words of the queue")]
    Corrupt,
}

/// What a queue can hold: values of a type, or bytes ([`Raw`]).
pub trait Element: sealed::Sealed + Sized {
    /// What is pushed: a value of the type, or a slice of bytes.
    type Pushed: ?Sized;

    /// Calls `create` with the bytes of a value.
    #[doc(hidden)]
    fn with_bytes<R>(
        value: &Self::Pushed,
        create: impl FnOnce(&[u8]) -> Result<R, CreateError>,
    ) -> Result<R, CreateError>;

    #[doc(hidden)]
    fn validate(bytes: &[u8]) -> Result<(), OpenHandleError>;
}

mod sealed {
    pub trait Sealed {}
    #[cfg(feature = "typed")]
    impl<T: crate::Value> Sealed for T {}
    impl Sealed for crate::Raw {}
}

#[cfg(feature = "typed")]
impl<T: Value> Element for T {
    type Pushed = T;

    fn with_bytes<R>(
        value: &T,
        create: impl FnOnce(&[u8]) -> Result<R, CreateError>,
    ) -> Result<R, CreateError> {
        create(&typed::to_bytes(value)?)
    }

    fn validate(bytes: &[u8]) -> Result<(), OpenHandleError> {
        typed::validated::<T>(bytes).map(drop)
    }
}

impl Element for Raw {
    type Pushed = [u8];

    fn with_bytes<R>(
        value: &[u8],
        create: impl FnOnce(&[u8]) -> Result<R, CreateError>,
    ) -> Result<R, CreateError> {
        create(value)
    }

    fn validate(_: &[u8]) -> Result<(), OpenHandleError> {
        Ok(())
    }
}

/// A queue, without the type of its elements.
struct Inner {
    object: Object,
    /// Of the elements.
    kind: Kind,
    first: u32,
    slots: u32,
    capacity: u32,
    known: Known,
}

impl Inner {
    /// The largest capacity.
    const MOST: u32 = slab::SLOTS_MAX;

    fn initial(kind: Kind, capacity: u32) -> Result<([u64; STATE_WORDS], Vec<u8>), CreateError> {
        if capacity == 0 || capacity > Self::MOST {
            return Err(CreateError::Capacity { found: capacity, most: Self::MOST });
        }
        let mut state = [0; STATE_WORDS];
        state[CONTAINER_SLOTS] = capacity.next_power_of_two().max(CHUNK_SLOTS).into();
        let mut rest = vec![0; (WORDS - STATE_WORDS) * 8];
        rest[..8].copy_from_slice(&u64::from(capacity).to_le_bytes());
        rest[8..16].copy_from_slice(&kind.number().to_le_bytes());
        Ok((state, rest))
    }

    fn create(place: Place<'_>, kind: Kind, capacity: u32) -> Result<Self, CreateError> {
        kind.to_create()?;
        let (state, rest) = Self::initial(kind, capacity)?;
        let object = Object::create(place, Kind::QUEUE, state, &rest)?;
        object.just_created(|object| Self::over(object, kind))
    }

    fn create_or_open(
        member: &Member,
        name: &str,
        kind: Kind,
        capacity: u32,
    ) -> Result<Named<Self>, NamedError> {
        kind.to_create()?;
        let (state, rest) = Self::initial(kind, capacity)?;
        let named = Object::create_or_open(member, Name::new(name)?, Kind::QUEUE, state, &rest)?;
        Ok(named.try_map(|object| Self::over(object, kind))?)
    }

    /// Checks that the words are those of a queue with elements of this kind.
    fn over(object: Object, kind: Kind) -> Result<Self, OpenHandleError> {
        let words = object.words()?;
        // Relaxed: written before the handle was published, never changed.
        let word = |at: usize| words.get(at).map_or(0, |word| word.load(Ordering::Relaxed));
        let [slots, first, capacity] =
            [CONTAINER_SLOTS, CONTAINER_FIRST, CAPACITY].map(|at| u32::try_from(word(at)).unwrap_or(0));
        let found = Kind::from_number(word(KIND));
        let is_whole = words.len() >= WORDS
            && slots.is_power_of_two()
            && (1..=slots).contains(&capacity)
            && object.shared().slab.owns_slots(object.identity(), first, slots);
        if !is_whole {
            return Err(OpenHandleError::Corrupt(format!(
                "a queue of {capacity} with {slots} slots from {first} on, which are not its own"
            )));
        }
        if found != kind {
            return Err(OpenHandleError::ForeignKind { expected: kind, found });
        }
        Ok(Self { object, kind, first, slots, capacity, known: Known::default() })
    }

    fn shared(&self) -> &Shared {
        self.object.shared()
    }

    fn words(&self) -> Result<QueueWords<'_>, NotMember> {
        let words = self.object.words()?;
        let Self { first, slots, capacity, .. } = *self;
        Ok(QueueWords {
            tail: &words[TAIL],
            head: &words[HEAD],
            rescanned: &words[RESCANNED],
            known: &self.known,
            first,
            slots,
            capacity,
        })
    }

    /// Pushes; false if it is full.
    fn push(&self, held: RawHandle) -> Result<bool, QueueError> {
        let (shared, words) = (self.shared(), self.words()?);
        let is_pushed =
            has_room(shared.slab.push(shared.lease.acquire(), shared.ref_counts(), &words, held.held))?;
        if is_pushed {
            self.wake(Side::Pop)?;
        }
        Ok(is_pushed)
    }

    /// Pushes a new handle with a copy of the bytes; false if the queue is full. The caller wakes those that pop.
    fn push_bytes(&self, caches: &mut Caches, bytes: &[u8]) -> Result<bool, QueueError> {
        let (shared, words) = (self.shared(), self.words()?);
        let held = shared.create(caches, self.kind, bytes)?;
        let pushed = shared.slab.push(shared.lease.acquire(), shared.ref_counts(), &words, held.held);
        // The push has shared it, so its entry goes to no cache; that of one that found no room does.
        let is_shared = pushed.is_ok() && bytes.len() <= INLINE_BYTES;
        // SAFETY: the count of the creation, which only this call knows; nobody has a reference to the payload by it.
        let closed =
            unsafe { if is_shared { shared.close_shared(held) } else { shared.close(caches, held) } };
        let is_pushed = has_room(pushed)?;
        closed.map_err(|_| QueueError::Corrupt)?;
        Ok(is_pushed)
    }

    fn claim(&self) -> Result<Option<Claimed>, QueueError> {
        let (shared, words) = (self.shared(), self.words()?);
        let kind = Some(self.kind.number());
        let (acquire, ref_counts) = (shared.lease.acquire(), shared.ref_counts());
        match shared.slab.claim_next(acquire, ref_counts, &words, kind, |block| shared.free_block(block)) {
            Ok(claimed) => Ok(claimed),
            Err(slab::PopError::NotOpened(error)) => Err(OpenHandleError::from(error).into()),
            Err(_) => Err(QueueError::Corrupt),
        }
    }

    /// Ends a claim: the element is out of the queue. False if it is none. The caller wakes those that push.
    fn ack(&self, claimed: Claimed) -> Result<bool, NotMember> {
        let (shared, words) = (self.shared(), self.words()?);
        Ok(shared.slab.ack_next(shared.lease.acquire(), &words, claimed))
    }

    /// Ends a claim. False if it is none.
    fn end(&self, claimed: Claimed, is_done: bool) -> Result<bool, NotMember> {
        let shared = self.shared();
        let has_claimed = if is_done {
            self.ack(claimed)?
        } else {
            shared.lease.check()?;
            shared.slab.give_back_next(shared.lease.acquire(), claimed)
        };
        self.wake(if is_done { Side::Push } else { Side::Pop })?;
        Ok(has_claimed)
    }

    fn wait_word(&self, side: Side) -> Result<&Word, NotMember> {
        Ok(&self.object.state()?[side as usize])
    }

    /// Wakes those that wait on one side.
    #[inline]
    fn wake(&self, side: Side) -> Result<(), NotMember> {
        // After the change of the slot: either a waiter's look sees that, or this sees the mark.
        sequence::wake(&HalfWord::at(self.wait_word(side)?));
        Ok(())
    }

    /// Tries until it succeeds; sleeps in between.
    fn wait<R>(
        &self,
        side: Side,
        options: WaitOptions,
        mut attempt: impl FnMut() -> Result<Option<R>, QueueError>,
    ) -> Result<R, QueueError> {
        let mut limits = Limits::of(options);
        loop {
            match self.attempt_or_mark(side, &mut attempt, || limits.check())? {
                Step::Done(result) => return Ok(result),
                Step::Sleep(word, marked) => {
                    limits.sleep(|deadline| Ok(futex::sleep(word.futex(), marked, deadline)?))?;
                }
            }
        }
    }

    /// As [`Inner::wait`], as a future.
    async fn wait_async<R>(
        &self,
        side: Side,
        mut attempt: impl FnMut() -> Result<Option<R>, QueueError>,
    ) -> Result<R, QueueError> {
        let mut place = future::Place::new(self.object.shared());
        poll_fn(move |context| place.poll(self.attempt_or_mark(side, &mut attempt, || Ok(())), context)).await
    }

    /// Tries, or marks the sequence and says what to sleep on. `may_mark` is asked after an attempt without success.
    fn attempt_or_mark<R>(
        &self,
        side: Side,
        attempt: &mut impl FnMut() -> Result<Option<R>, QueueError>,
        may_mark: impl FnOnce() -> Result<(), WaitError>,
    ) -> Result<Step<'_, R>, QueueError> {
        if let Some(result) = attempt()? {
            return Ok(Step::Done(result));
        }
        may_mark()?;
        let word = HalfWord::at(self.wait_word(side)?);
        let marked = sequence::mark(&word);
        if let Some(result) = attempt()? {
            return Ok(Step::Done(result));
        }
        self.attend_claimers()?;
        Ok(Step::Sleep(word, marked))
    }

    /// Whether an element waits; others may be faster.
    fn has_ready(&self) -> Result<bool, NotMember> {
        Ok(self.shared().slab.has_ready(&self.words()?))
    }

    /// Before a sleep of a member without a monitor: ensures that it learns when a claimer dies, since the element comes back then.
    fn attend_claimers(&self) -> Result<(), WaitError> {
        let shared = self.shared();
        if shared.lease.has_monitor() {
            return Ok(());
        }
        let mut attended = HashSet::new();
        for slot in self.first..self.first + self.slots {
            if let Some(claimer) = shared.slab.slot(slot).and_then(|info| info.claimed_by)
                && attended.insert(claimer)
            {
                attend(shared, claimer)?;
            }
        }
        Ok(())
    }
}

/// Whether there was room for what was pushed.
fn has_room(pushed: Result<(), slab::PushError>) -> Result<bool, QueueError> {
    match pushed {
        Ok(()) => Ok(true),
        Err(slab::PushError::Full) => Ok(false),
        Err(slab::PushError::NotPut(error)) => Err(PutError::from(error).into()),
        Err(_) => Err(QueueError::Corrupt),
    }
}

/// Wakes those that pop, after elements were pushed; and takes the caches of the call back. Also when a value panics while it is copied.
struct Batch<'q> {
    inner: &'q Inner,
    caches: Option<Caches>,
    pushed: usize,
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        if self.pushed > 0 {
            // The only error is that this process is no member any more: then it has pushed, and its recovery wakes.
            let _ = self.inner.wake(Side::Pop);
        }
        if let Some(caches) = self.caches.take() {
            self.inner.shared().return_caches(caches);
        }
    }
}

/// Those that wait, by the position of their wait word.
#[derive(Clone, Copy)]
enum Side {
    Pop = 0,
    Push = 1,
}

/// The queue that has lent an element.
pub(crate) struct Lender(Arc<Inner>);

impl Lender {
    /// Ends a claim. False if it is none.
    pub(crate) fn end(&self, claimed: Claimed, is_done: bool) -> Result<bool, NotMember> {
        self.0.end(claimed, is_done)
    }
}

#[cfg(feature = "typed")]
impl<T: Value> Queue<T> {
    /// Creates a queue without a name, for `capacity` elements that wait: 1 to 2^20. It takes the next power of two of container slots, at
    /// least 64.
    ///
    /// ```
    /// # use tenure::{collections::Queue, error::CreateError};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let space = tenure::Space::options().container_slots(64).handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let jobs = Queue::<String>::create(&me, 64)?;
    /// jobs.push(&"one".into())?;
    /// assert_eq!(jobs.len()?.waiting, 1);
    /// let second = Queue::<String>::create(&me, 1);
    /// assert!(matches!(second, Err(CreateError::ContainerSlots { slots: 64, capacity: 64 })));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`CreateError`], for instance [`CreateError::ContainerSlots`]; nothing was created.
    pub fn create<'a>(place: impl Into<Place<'a>>, capacity: u32) -> Result<Self, CreateError> {
        Inner::create(place.into(), Kind::of::<T>(), capacity).map(Self::of)
    }

    /// Opens the queue that has the name, or creates it, in one step; see [`Member::create_or_open`]. `capacity` is ignored if it exists.
    ///
    /// ```
    /// # use tenure::collections::Queue;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().container_slots(64).handles(64).scratch(1 << 20).anonymous()?;
    /// # let (me, other) = (space.join()?, space.join()?);
    /// let jobs = Queue::<u64>::create_or_open(&me, "jobs", 64)?.into_inner();
    /// let theirs = Queue::<u64>::create_or_open(&other, "jobs", 64)?.into_inner(); // usually in another process
    /// jobs.push(&7)?;
    /// assert_eq!(theirs.pop()?.unwrap().get()?.to_native(), 7);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`NamedError`]; nothing is held.
    pub fn create_or_open(member: &Member, name: &str, capacity: u32) -> Result<Named<Self>, NamedError> {
        Inner::create_or_open(member, name, Kind::of::<T>(), capacity)?.try_map(|inner| Ok(Self::of(inner)))
    }

    /// Opens the queue of a token, or the one that has a name.
    ///
    /// ```
    /// # use tenure::{collections::Queue, error::OpenHandleError};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().container_slots(64).handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let jobs = Queue::<u64>::create(&me, 64)?;
    /// let wrong = Queue::<i64>::open(&me, jobs.token());
    /// assert!(matches!(wrong, Err(OpenHandleError::ForeignKind { .. })));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`OpenHandleError`], for instance [`OpenHandleError::ForeignKind`] if it is no queue or one of other elements; nothing is held.
    pub fn open<'k>(member: &Member, key: impl Into<Key<'k>>) -> Result<Self, OpenHandleError> {
        let object = Object::open(member, Kind::QUEUE, key.into())?;
        Inner::over(object, Kind::of::<T>()).map(Self::of)
    }
}

/// Queues of bytes. The kind is that of the elements.
impl Queue<Raw> {
    /// As [`Queue::create`].
    ///
    /// ```
    /// # use tenure::{collections::Queue, Kind};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().container_slots(64).handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let jobs = Queue::create_raw(&me, Kind::raw(1), 64)?;
    /// jobs.push(b"tea")?;
    /// assert_eq!(jobs.pop()?.unwrap().get()?, b"tea");
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`CreateError`]; nothing was created.
    pub fn create_raw<'a>(
        place: impl Into<Place<'a>>,
        kind: Kind,
        capacity: u32,
    ) -> Result<Self, CreateError> {
        Inner::create(place.into(), kind, capacity).map(Self::of)
    }

    /// As [`Queue::create_or_open`].
    ///
    /// # Errors
    ///
    /// [`NamedError`]; nothing is held.
    pub fn create_or_open_raw(
        member: &Member,
        name: &str,
        kind: Kind,
        capacity: u32,
    ) -> Result<Named<Self>, NamedError> {
        Inner::create_or_open(member, name, kind, capacity)?.try_map(|inner| Ok(Self::of(inner)))
    }

    /// As [`Queue::open`].
    ///
    /// # Errors
    ///
    /// [`OpenHandleError`]; nothing is held.
    pub fn open_raw<'k>(
        member: &Member,
        kind: Kind,
        key: impl Into<Key<'k>>,
    ) -> Result<Self, OpenHandleError> {
        Inner::over(Object::open(member, Kind::QUEUE, key.into())?, kind).map(Self::of)
    }
}

impl<T: Element> Queue<T> {
    /// Pushes a new handle with a copy of the value; does not wait.
    ///
    /// # Errors
    ///
    /// [`QueueError::Full`]; [`QueueError::NotCreated`], for instance without a free handle. Nothing was changed.
    ///
    /// # Progress
    ///
    /// Lock-free between processes.
    ///
    /// # Crash
    ///
    /// The element is in the queue or does not exist.
    pub fn push(&self, value: &T::Pushed) -> Result<(), QueueError> {
        let shared = self.inner.shared();
        shared.lease.check()?;
        let pushed = T::with_bytes(value, |bytes| Ok(self.inner.push_bytes(&mut shared.common(), bytes)))??;
        if !pushed {
            return Err(QueueError::Full { capacity: self.inner.capacity });
        }
        self.inner.wake(Side::Pop)?;
        Ok(())
    }

    /// Pushes new handles with copies of the values, in their order, until one finds no room; does not wait. Returns how many it has pushed.
    /// It costs less than as many calls of [`Queue::push`]. Others may push in between.
    ///
    /// ```
    /// # use tenure::collections::Queue;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().container_slots(64).handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let jobs = Queue::<u64>::create(&me, 4)?;
    /// assert_eq!(jobs.push_many(&[1, 2, 3])?, 3);
    /// assert_eq!(jobs.push_many(&[4, 5, 6])?, 1); // the queue is full
    /// let mut popped = Vec::new();
    /// assert_eq!(jobs.pop_many(&mut popped, 3)?, 3);
    /// assert_eq!(popped[2].get()?.to_native(), 3);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Queue::push`], if nothing was pushed. An error after the first value ends the call with the number of those that were pushed.
    ///
    /// # Progress
    ///
    /// Lock-free between processes. Those that sleep until there is an element are woken at the end, once; if this process is stopped before,
    /// by the next push of another one.
    ///
    /// # Crash
    ///
    /// The queue has got the first values, in their order and each as a whole, and not the others.
    pub fn push_many<'v>(&self, values: impl IntoIterator<Item = &'v T::Pushed>) -> Result<usize, QueueError>
    where
        T::Pushed: 'v,
    {
        let shared = self.inner.shared();
        shared.lease.check()?;
        // Before the first push: the caller's iterator may wait, and nobody else's wake-up should.
        let values: Vec<&T::Pushed> = values.into_iter().collect();
        // Of its own: a value may use the member while it is copied.
        let mut batch = Batch { inner: &self.inner, caches: Some(shared.take_caches()), pushed: 0 };
        for value in values {
            let pushed = T::with_bytes(value, |bytes| {
                Ok(batch.caches.as_mut().map_or(Ok(false), |caches| self.inner.push_bytes(caches, bytes)))
            });
            match pushed.map_err(QueueError::from).and_then(|pushed| pushed) {
                Ok(true) => batch.pushed += 1,
                Ok(false) if batch.pushed == 0 => {
                    return Err(QueueError::Full { capacity: self.inner.capacity });
                }
                Err(error) if batch.pushed == 0 => return Err(error),
                Ok(false) | Err(_) => break,
            }
        }
        Ok(batch.pushed)
    }

    /// As [`Queue::push_many`]; waits while there is no room for the first value. `options` is usually a timeout: see [`WaitOptions`].
    ///
    /// # Errors
    ///
    /// [`QueueError::Wait`] with [`WaitError::TimedOut`] or [`WaitError::Interrupted`], by the options, and as [`Queue::push_many`].
    pub fn push_many_with<'v>(
        &self,
        values: impl IntoIterator<Item = &'v T::Pushed>,
        options: impl Into<WaitOptions>,
    ) -> Result<usize, QueueError>
    where
        T::Pushed: 'v,
    {
        let values: Vec<&T::Pushed> = values.into_iter().collect();
        self.inner.wait(Side::Push, options.into(), || match self.push_many(values.iter().copied()) {
            Err(QueueError::Full { .. }) => Ok(None),
            pushed => pushed.map(Some),
        })
    }

    /// As [`Queue::push`]; waits while the queue is full. `options` is usually a timeout: `None` waits without limit; see [`WaitOptions`].
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tenure::{collections::Queue, error::{QueueError, WaitError}};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().container_slots(64).handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let jobs = Queue::<u64>::create(&me, 1)?;
    /// jobs.push_with(&7, None)?;
    /// let full = jobs.push_with(&8, Duration::from_millis(1));
    /// assert!(matches!(full, Err(QueueError::Wait(WaitError::TimedOut))));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`QueueError::Wait`] with [`WaitError::TimedOut`] or [`WaitError::Interrupted`], by the options, and as [`Queue::push`].
    pub fn push_with(&self, value: &T::Pushed, options: impl Into<WaitOptions>) -> Result<(), QueueError> {
        match self.push(value) {
            Err(QueueError::Full { .. }) => self.push_handle_with(&self.element(value)?, options),
            pushed => pushed,
        }
    }

    /// As [`Queue::push`], as a future that waits while the queue is full, for any executor; the executor's own timeouts limit it.
    ///
    /// # Errors
    ///
    /// As [`Queue::push_with`], but for the timeout; [`WaitError::Os`] if no thread can sleep for it.
    ///
    /// # Cancellation
    ///
    /// A future that is dropped has pushed nothing.
    pub async fn push_async(&self, value: &T::Pushed) -> Result<(), QueueError> {
        let element = self.element(value)?;
        self.push_handle_async(&element).await
    }

    fn element(&self, value: &T::Pushed) -> Result<Handle<T>, QueueError> {
        let (shared, kind) = (self.inner.object.shared(), self.inner.kind);
        shared.lease.check()?;
        let held = T::with_bytes(value, |bytes| shared.create(&mut shared.common(), kind, bytes))?;
        Ok(self.handle(held))
    }

    /// Takes the oldest element out of the queue; `None` if it is empty. If this process dies afterwards, the element ends with it.
    ///
    /// # Errors
    ///
    /// [`QueueError::NotOpened`] for an element that is no valid value: it was taken out, and is gone.
    ///
    /// # Progress
    ///
    /// Lock-free between processes.
    ///
    /// # Crash
    ///
    /// The element is in the queue, or ends with this process.
    pub fn pop(&self) -> Result<Option<Handle<T>>, QueueError> {
        let popped = self.take_out()?;
        if let Some(handle) = &popped {
            self.inner.wake(Side::Push)?;
            self.validate(handle)?;
        }
        Ok(popped)
    }

    /// As [`Queue::pop`], without a look at the value. The caller wakes those that push.
    fn take_out(&self) -> Result<Option<Handle<T>>, QueueError> {
        let Some(claimed) = self.inner.claim()? else { return Ok(None) };
        let handle = self.handle(RawHandle { held: claimed.held() });
        if self.inner.ack(claimed)? { Ok(Some(handle)) } else { Err(QueueError::Corrupt) }
    }

    /// Takes up to `limit` of the oldest elements out of the queue, and adds them to `popped`, in their order; does not wait. Returns how many
    /// it has added: 0 if the queue is empty. It costs less than as many calls of [`Queue::pop`]. Others may pop in between.
    ///
    /// See [`Queue::push_many`] for an example.
    ///
    /// # Errors
    ///
    /// As [`Queue::pop`]; what was taken out before is in `popped`.
    ///
    /// # Progress
    ///
    /// Lock-free between processes. Those that sleep until there is room are woken at the end, once; if this process is stopped before, by
    /// the next pop of another one.
    ///
    /// # Crash
    ///
    /// The first of these elements end with this process, and the others are in the queue.
    pub fn pop_many(&self, popped: &mut Vec<Handle<T>>, limit: usize) -> Result<usize, QueueError> {
        let before = popped.len();
        let mut result = Ok(true);
        while matches!(result, Ok(true)) && popped.len() - before < limit {
            result = self.take_out().and_then(|taken| {
                let Some(handle) = taken else { return Ok(false) };
                self.validate(&handle)?;
                popped.push(handle);
                Ok(true)
            });
        }
        self.inner.wake(Side::Push)?;
        result?;
        Ok(popped.len() - before)
    }

    /// As [`Queue::pop_many`]; waits while the queue is empty. `options` is usually a timeout: see [`WaitOptions`]. A `limit` of 0 does not
    /// wait.
    ///
    /// # Errors
    ///
    /// [`QueueError::Wait`] with [`WaitError::TimedOut`] or [`WaitError::Interrupted`], by the options, and as [`Queue::pop_many`].
    pub fn pop_many_with(
        &self,
        popped: &mut Vec<Handle<T>>,
        limit: usize,
        options: impl Into<WaitOptions>,
    ) -> Result<usize, QueueError> {
        self.inner.wait(Side::Pop, options.into(), || {
            let count = self.pop_many(popped, limit)?;
            Ok((count > 0 || limit == 0).then_some(count))
        })
    }

    /// As [`Queue::pop`]; waits while the queue is empty. `options` is usually a timeout: `None` waits without limit; see [`WaitOptions`].
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tenure::{collections::Queue, error::{QueueError, WaitError}};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().container_slots(64).handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let jobs = Queue::<u64>::create(&me, 64)?;
    /// jobs.push(&7)?;
    /// assert_eq!(jobs.pop_with(None)?.get()?.to_native(), 7);
    /// let empty = jobs.pop_with(Duration::from_millis(1));
    /// assert!(matches!(empty, Err(QueueError::Wait(WaitError::TimedOut))));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`QueueError::Wait`] with [`WaitError::TimedOut`] or [`WaitError::Interrupted`], by the options, and as [`Queue::pop`].
    pub fn pop_with(&self, options: impl Into<WaitOptions>) -> Result<Handle<T>, QueueError> {
        self.inner.wait(Side::Pop, options.into(), || self.pop())
    }

    /// As [`Queue::pop`], as a future that waits while the queue is empty, for any executor; the executor's own timeouts limit it.
    ///
    /// ```
    /// # use tenure::collections::Queue;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().container_slots(64).handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// # let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    /// # runtime.block_on(async {
    /// let jobs = Queue::<u64>::create(&me, 64)?;
    /// let (job, pushed) = tokio::join!(jobs.pop_async(), jobs.push_async(&7)); // usually by another process
    /// pushed?;
    /// assert_eq!(job?.get()?.to_native(), 7);
    /// # Ok(()) }) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Queue::pop_with`], but for the timeout; [`WaitError::Os`] if no thread can sleep for it.
    ///
    /// # Cancellation
    ///
    /// A future that is dropped has taken nothing, and keeps no wake-up from others.
    pub async fn pop_async(&self) -> Result<Handle<T>, QueueError> {
        self.inner.wait_async(Side::Pop, || self.pop()).await
    }

    /// Claims the oldest element; `None` if there is none. It stays in the queue, lent to this member alone, until [`Claim::ack`] or
    /// [`Claim::give_back`]. If this process dies, others get it: see # Order of [`Queue`].
    ///
    /// # Errors
    ///
    /// [`QueueError::NotOpened`] for an element that is no valid value: it was given back.
    ///
    /// # Progress
    ///
    /// Lock-free between processes. After something was given back it looks at all slots of the queue.
    ///
    /// # Crash
    ///
    /// See [`Queue`].
    pub fn claim(&self) -> Result<Option<Claim<T>>, QueueError> {
        let Some(claimed) = self.inner.claim()? else { return Ok(None) };
        let (held, lender) = (RawHandle { held: claimed.held() }, Lender(Arc::clone(&self.inner)));
        let claim = Claim::by_queue(self.handle(held), claimed, lender);
        // If one of these fails, the drop gives it back. What is claimed does not wait any more, so there may be room.
        self.inner.wake(Side::Push)?;
        self.validate(&claim)?;
        Ok(Some(claim))
    }

    /// As [`Queue::claim`]; waits while there is none. `options` is usually a timeout: `None` waits without limit; see [`WaitOptions`].
    ///
    /// # Errors
    ///
    /// [`QueueError::Wait`] with [`WaitError::TimedOut`] or [`WaitError::Interrupted`], by the options, and as [`Queue::claim`].
    pub fn claim_with(&self, options: impl Into<WaitOptions>) -> Result<Claim<T>, QueueError> {
        self.inner.wait(Side::Pop, options.into(), || self.claim())
    }

    /// As [`Queue::claim`], as a future that waits while there is none, for any executor; the executor's own timeouts limit it.
    ///
    /// # Errors
    ///
    /// As [`Queue::claim_with`], but for the timeout; [`WaitError::Os`] if no thread can sleep for it.
    ///
    /// # Cancellation
    ///
    /// A future that is dropped has taken nothing, and keeps no wake-up from others.
    pub async fn claim_async(&self) -> Result<Claim<T>, QueueError> {
        self.inner.wait_async(Side::Pop, || self.claim()).await
    }

    /// The owner of a count.
    fn handle(&self, held: RawHandle) -> Handle<T> {
        let (shared, kind) = (Arc::clone(self.inner.object.shared()), self.inner.kind);
        Handle { shared, held, kind, value: PhantomData }
    }

    fn validate(&self, handle: &Handle<T>) -> Result<(), QueueError> {
        let bytes = handle.bytes().map_err(|error| match error {
            UseError::NotMember(error) => QueueError::NotMember(error),
            error => error.of_opened().into(),
        })?;
        Ok(T::validate(bytes)?)
    }
}

impl<T> Queue<T> {
    /// Flips a bit of one of the words of the payload, for tests.
    pub(crate) fn flip(&self, word: usize, bit: u32) {
        let Ok(words) = self.inner.object.words() else { return };
        // Relaxed: a test.
        words[word].fetch_xor(1 << bit, Ordering::Relaxed);
    }

    fn of(inner: Inner) -> Self {
        Self { inner: Arc::new(inner), value: PhantomData }
    }

    /// Pushes a handle; does not wait. From then on the queue holds it as well; the caller still holds its handle.
    ///
    /// ```
    /// # use tenure::{collections::Queue, error::{PutError, QueueError}};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().container_slots(64).handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let buffers = Queue::<Vec<u8>>::create(&me, 64)?;
    /// let buffer = me.create(&vec![0u8; 1000])?;
    /// buffers.push_handle(&buffer)?;
    /// let again = buffers.push_handle(&buffer);
    /// assert!(matches!(again, Err(QueueError::NotPut(PutError::Already { .. }))));
    /// assert_eq!(buffers.pop()?.unwrap().token(), buffer.token());
    /// buffers.push_handle(&buffer)?; // as often as 2^23 times
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`QueueError::Full`]; [`QueueError::NotPut`]. Nothing was changed.
    pub fn push_handle(&self, handle: &Handle<T>) -> Result<(), QueueError> {
        let held = self.own(handle)?;
        if self.inner.push(held)? { Ok(()) } else { Err(QueueError::Full { capacity: self.inner.capacity }) }
    }

    /// As [`Queue::push_handle`]; waits while the queue is full.
    ///
    /// # Errors
    ///
    /// [`QueueError::Wait`] with [`WaitError::TimedOut`] or [`WaitError::Interrupted`], by the options, and as [`Queue::push_handle`].
    pub fn push_handle_with(
        &self,
        handle: &Handle<T>,
        options: impl Into<WaitOptions>,
    ) -> Result<(), QueueError> {
        let held = self.own(handle)?;
        self.inner.wait(Side::Push, options.into(), || Ok(self.inner.push(held)?.then_some(())))
    }

    /// As [`Queue::push_handle`], as a future that waits while the queue is full.
    ///
    /// # Errors
    ///
    /// As [`Queue::push_handle_with`], but for the timeout; [`WaitError::Os`] if no thread can sleep for it.
    ///
    /// # Cancellation
    ///
    /// A future that is dropped has pushed nothing.
    pub async fn push_handle_async(&self, handle: &Handle<T>) -> Result<(), QueueError> {
        let held = self.own(handle)?;
        self.inner.wait_async(Side::Push, || Ok(self.inner.push(held)?.then_some(()))).await
    }

    fn own(&self, handle: &Handle<T>) -> Result<RawHandle, QueueError> {
        let shared = self.inner.object.shared();
        shared.lease.check()?;
        if !Arc::ptr_eq(shared, &handle.shared) {
            return Err(PutError::ForeignHandle.into());
        }
        if handle.kind != self.inner.kind {
            let (expected, found) = (self.inner.kind, handle.kind);
            return Err(OpenHandleError::ForeignKind { expected, found }.into());
        }
        Ok(handle.held)
    }

    /// The number of elements at the moment; other processes may change it during the call. It looks at every slot.
    ///
    /// # Errors
    ///
    /// [`NotMember`].
    pub fn len(&self) -> Result<QueueLen, NotMember> {
        let (all, claimed) = self.inner.shared().slab.count_kept(&self.inner.words()?);
        Ok(QueueLen { waiting: all - claimed, claimed })
    }

    /// Waits until no element waits or is claimed: all that was pushed was popped, or is done. Each slot is empty at a moment during the call,
    /// so it means that of all elements only if nobody pushes meanwhile.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tenure::{collections::Queue, error::{QueueError, WaitError}};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().container_slots(64).handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let jobs = Queue::<u64>::create(&me, 64)?;
    /// jobs.push(&7)?;
    /// let job = jobs.claim()?.unwrap();
    /// let not_done = jobs.wait_until_empty(Duration::from_millis(1));
    /// assert!(matches!(not_done, Err(QueueError::Wait(WaitError::TimedOut))));
    /// job.ack()?;
    /// jobs.wait_until_empty(None)?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`QueueError::Wait`] with [`WaitError::TimedOut`] or [`WaitError::Interrupted`], by the options; [`QueueError::NotMember`].
    ///
    /// # Progress
    ///
    /// It sleeps, and looks at every slot after each pop, claim and ack.
    pub fn wait_until_empty(&self, options: impl Into<WaitOptions>) -> Result<(), QueueError> {
        // Claims and acks wake those that wait for room.
        self.inner.wait(Side::Push, options.into(), || Ok(self.is_empty()?.then_some(())))
    }

    /// Whether no element waits or is claimed, at the moment.
    ///
    /// # Errors
    ///
    /// [`NotMember`].
    pub fn is_empty(&self) -> Result<bool, NotMember> {
        Ok(self.len()? == QueueLen::default())
    }

    /// How many elements may wait, fixed at creation.
    #[must_use]
    pub fn capacity(&self) -> u32 {
        self.inner.capacity
    }

    /// The token: 64 bits to pass to other processes.
    #[must_use]
    pub fn token(&self) -> Token {
        self.inner.object.token()
    }

    /// One more of the same queue, for instance for another thread.
    ///
    /// # Errors
    ///
    /// [`OpenHandleError::NotMember`].
    pub fn try_clone(&self) -> Result<Self, OpenHandleError> {
        self.inner.shared().lease.check()?;
        Ok(Self { inner: Arc::clone(&self.inner), value: PhantomData })
    }
}

/// For [`wait_any`](crate::sync::wait_any): available while an element waits. A wait takes nothing from it.
impl<T> Source for Queue<T> {
    fn object(&self) -> &Object {
        &self.inner.object
    }

    fn word(&self) -> Result<WaitWord<'_>, WaitError> {
        Ok(WaitWord::Half(HalfWord::at(self.inner.wait_word(Side::Pop)?)))
    }

    fn attempt(&self, _: &mut Memory) -> Result<Attempt<Gained>, WaitError> {
        Ok(if self.inner.has_ready()? { Attempt::Taken(Gained::default()) } else { Attempt::Blocked(0) })
    }

    /// The word does not tell.
    fn take(&self, _: u32) -> Option<u32> {
        None
    }

    /// As a pop that is about to sleep: it marks, looks for the last time, and attends.
    fn mark(&self, _: u32) -> Result<Option<u32>, WaitError> {
        let marked = sequence::mark(&HalfWord::at(self.inner.wait_word(Side::Pop)?));
        if self.inner.has_ready()? {
            return Ok(None);
        }
        self.inner.attend_claimers()?;
        Ok(Some(marked))
    }

    fn is_in_word(&self) -> bool {
        false
    }
}

impl<T> Keep for Queue<T> {
    fn count(&self) -> crate::slots::sealed::Count<'_> {
        self.inner.object.count()
    }
}

impl<T> fmt::Debug for Queue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue")
            .field("token", &self.token())
            .field("len", &self.len().ok())
            .field("capacity", &self.capacity())
            .finish()
    }
}
