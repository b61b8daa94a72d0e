//! Waiting for any or all of several objects.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Waker};
use std::time::Duration;

use tenure_segment::futex::{self, Deadline, Slept};
use tenure_segment::readiness::{self, Signal};
use tenure_wait::{self as wait, Attempt, Look, Mcas, WAITERS, Word as _};

use super::error::WaitError;
use super::future::Place;
use super::options::{Limits, WaitOptions};
use super::source::{Gained, Memory, Source, set_waiters};
use super::word::{HalfWord, WaitWord, WholeWord};

/// The largest number of objects of one [`wait_any`] or [`wait_all`].
pub const WAIT_MAX: usize = 64;

/// An object that can be waited for: a [`Mutex`](crate::sync::Mutex), an [`Event`](crate::sync::Event), a [`Semaphore`](crate::sync::Semaphore), a
/// [`Process`](crate::process::Process), a [`Thread`](crate::process::Thread), or, by [`wait_any`] only, a
/// [`Queue`](crate::collections::Queue).
///
/// ```
/// # use tenure::sync::{Event, Reset, Semaphore, Waitable, wait_any};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
/// # let me = space.join()?;
/// let stop = Event::options(Reset::Manual).signalled(true).create(&me)?;
/// let permits = Semaphore::create(&me, 0, 1)?;
/// let objects: [&dyn Waitable; 2] = [&permits, &stop];
/// assert_eq!(wait_any(&objects, None)?.index, 1);
/// # Ok(()) }
/// ```
pub trait Waitable: Source + Send + Sync {}

impl<T: Source + Send + Sync> Waitable for T {}

/// The result of [`wait_any`].
///
/// ```
/// # use tenure::sync::{Mutex, Woken, wait_any};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
/// # let me = space.join()?;
/// let mutex = Mutex::create(&me)?;
/// assert_eq!(wait_any(&[&mutex], None)?, Woken { index: 0, abandoned: false });
/// mutex.unlock()?;
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Woken {
    /// The index of the object that was taken, or of the queue that has an element.
    pub index: usize,
    /// Whether the object is a mutex whose last owner died or left without unlocking it.
    pub abandoned: bool,
}

fn check_number(objects: &[&dyn Waitable]) -> Result<(), WaitError> {
    if (1..=WAIT_MAX).contains(&objects.len()) { Ok(()) } else { Err(WaitError::number(objects.len())) }
}

/// Waits until one of up to [`WAIT_MAX`] objects of any kinds is available, and takes it. If several are available, it takes the first of
/// them in the list. `options` is usually a timeout: `None` waits without limit, zero does not wait; see [`WaitOptions`].
///
/// If it takes a mutex, this thread owns that mutex, and unlocks it by [`Mutex::unlock`](crate::sync::Mutex::unlock) or
/// [`Mutex::adopt`](crate::sync::Mutex::adopt). The objects may belong to different spaces.
///
/// From a queue it takes nothing. A queue is available while an element waits in it, so a [`Queue::pop`](crate::collections::Queue::pop)
/// may succeed now; if others are faster it returns `None`, and the caller waits again:
///
/// ```
/// # use tenure::{collections::Queue, sync::{Event, Reset, wait_any}};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let space = tenure::Space::options().container_slots(64).handles(64).scratch(1 << 20).anonymous()?;
/// # let me = space.join()?;
/// let (jobs, stop) = (Queue::<u64>::create(&me, 64)?, Event::create(&me, Reset::Manual)?);
/// jobs.push(&7)?; // usually by another process
/// # stop.set()?;
/// loop {
///     match wait_any(&[&jobs, &stop], None)?.index {
///         0 => if let Some(job) = jobs.pop()? { println!("{}", job.get()?) },
///         _ => break,
///     }
/// }
/// # Ok(()) }
/// ```
///
/// ```
/// # use std::time::Duration;
/// # use tenure::{error::WaitError, sync::{Event, Reset, Semaphore, wait_any}};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
/// # let me = space.join()?;
/// let stop = Event::create(&me, Reset::Auto)?;
/// let permits = Semaphore::create(&me, 1, 8)?;
/// let woken = wait_any(&[&stop, &permits], None)?;
/// assert_eq!((woken.index, permits.count()?), (1, 0));
///
/// let none = wait_any(&[&stop, &permits], Some(Duration::ZERO));
/// assert!(matches!(none, Err(WaitError::TimedOut)));
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// [`WaitError::TimedOut`], and the errors of a wait for one of them, as [`WaitError::Of`] that says which; nothing is taken then.
///
/// # Progress
///
/// Sleeps in the kernel on all objects at once (`futex_waitv`, Linux 5.16). If that call is missing or denied, one helper thread for
/// each object sleeps instead, and ends before this returns. There is no polling.
///
/// # Crash
///
/// A process that is killed or stopped at any instruction has taken one object or none, and keeps no wake-up from others.
pub fn wait_any(objects: &[&dyn Waitable], options: impl Into<WaitOptions>) -> Result<Woken, WaitError> {
    wait_for_any(objects, options.into())
}

fn wait_for_any(objects: &[&dyn Waitable], options: WaitOptions) -> Result<Woken, WaitError> {
    check_number(objects)?;
    let mut memories: [Memory; WAIT_MAX] = [None; WAIT_MAX];
    let mut seen = [0; WAIT_MAX];
    let mut limits = Limits::of(options);
    loop {
        for (index, object) in objects.iter().enumerate() {
            match object.attempt(&mut memories[index]).map_err(|error| error.of(index))? {
                Attempt::Taken(Gained { abandoned }) => return Ok(Woken { index, abandoned }),
                Attempt::Blocked(word) => seen[index] = word,
            }
        }
        limits.check()?;
        limits.sleep(|deadline| sleep_on(objects, &mut seen, deadline))?;
    }
}

/// Sleeps until one of the words differs from its value in `seen`, or is woken.
fn sleep_on(
    objects: &[&dyn Waitable],
    seen: &mut [u32; WAIT_MAX],
    deadline: &futex::Deadline,
) -> Result<Slept, WaitError> {
    let mut words: Vec<(&AtomicU32, u32)> = Vec::with_capacity(objects.len());
    for (index, (object, seen)) in objects.iter().zip(seen).enumerate() {
        match set_waiters(*object, *seen).map_err(|error| error.of(index))? {
            Some(marked) => words.push((object.word()?.futex(), marked)),
            None => return Ok(Slept::Woken),
        }
    }
    Ok(match &words[..] {
        [(word, marked)] => futex::sleep(word, *marked, deadline)?,
        words => {
            // Relaxed: a switch for tests.
            let by_threads = objects[0].object().shared().objects.books.no_waitv.load(Ordering::Relaxed);
            futex::sleep_any(words, deadline, by_threads)?
        }
    })
}

/// The result of [`wait_any_or_fd`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Available {
    /// An object was taken.
    Object(Woken),
    /// The index of a descriptor that can be read without waiting, has hung up, or has failed. Nothing was read from it.
    Descriptor(usize),
}

/// As [`wait_any`], or until one of the descriptors can be read without waiting, has hung up, or has failed. If several of all these are, it
/// takes the first object.
///
/// ```
/// # use std::io::Write;
/// # use std::os::fd::AsFd;
/// # use std::os::unix::net::UnixStream;
/// # use tenure::sync::{Available, Event, Reset, Woken, wait_any_or_fd};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
/// # let me = space.join()?;
/// let stop = Event::create(&me, Reset::Auto)?;
/// let (socket, mut peer) = UnixStream::pair()?;
/// peer.write_all(b"x")?;
/// assert_eq!(wait_any_or_fd(&[&stop], &[socket.as_fd()], None)?, Available::Descriptor(0));
/// stop.set()?;
/// let woken = Woken { index: 0, abandoned: false };
/// assert_eq!(wait_any_or_fd(&[&stop], &[socket.as_fd()], None)?, Available::Object(woken));
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// As [`wait_any`], but there may be no object; [`WaitError::Os`] also if the process has no descriptors left.
///
/// # Progress
///
/// Sleeps in the kernel, in `poll`, while a thread of the member sleeps on the objects. It is for a wait now and then; an event loop keeps a
/// [`WaitSet`](crate::sync::WaitSet).
///
/// # Crash
///
/// As [`wait_any`].
pub fn wait_any_or_fd(
    objects: &[&dyn Waitable],
    descriptors: &[BorrowedFd<'_>],
    options: impl Into<WaitOptions>,
) -> Result<Available, WaitError> {
    if !objects.is_empty() {
        check_number(objects)?;
    }
    wait_for_any_or_fd(objects, descriptors, options.into())
}

fn wait_for_any_or_fd(
    objects: &[&dyn Waitable],
    descriptors: &[BorrowedFd<'_>],
    options: WaitOptions,
) -> Result<Available, WaitError> {
    let signal = Arc::new(Signal::new()?);
    let waker = Waker::from(Arc::clone(&signal));
    let mut places: Vec<Place> = objects.iter().map(|object| Place::new(object.object().shared())).collect();
    let mut memories: [Memory; WAIT_MAX] = [None; WAIT_MAX];
    let mut limits = Limits::of(options);
    loop {
        signal.lower();
        let is_last = limits.check().is_err();
        let mut has_changed = false;
        for (index, object) in objects.iter().enumerate() {
            match object.attempt(&mut memories[index]).map_err(|error| error.of(index))? {
                Attempt::Taken(Gained { abandoned }) => {
                    return Ok(Available::Object(Woken { index, abandoned }));
                }
                Attempt::Blocked(_) if is_last => {}
                Attempt::Blocked(seen) => {
                    match set_waiters(*object, seen).map_err(|error| error.of(index))? {
                        Some(marked) => {
                            let word = object.word()?.futex();
                            places[index].sleep(word, marked, &Context::from_waker(&waker))?;
                        }
                        None => has_changed = true,
                    }
                }
            }
        }
        let mut ready = None;
        limits.sleep(|deadline| {
            // A look at the descriptors, or a sleep.
            let now = Deadline::after(Some(Duration::ZERO));
            let deadline = if is_last || has_changed { &now } else { deadline };
            let all = descriptors.iter().copied().chain([signal.as_fd()]);
            Ok(match readiness::sleep(all, deadline)? {
                Ok(index) => {
                    ready = (index < descriptors.len()).then_some(index);
                    Slept::Woken
                }
                Err(Slept::TimedOut) if has_changed => Slept::Woken,
                Err(end) => end,
            })
        })?;
        if let Some(index) = ready {
            return Ok(Available::Descriptor(index));
        }
        if is_last {
            return Err(WaitError::TimedOut);
        }
    }
}

/// Waits until all of up to [`WAIT_MAX`] objects are available, and takes them, all in one step. Returns the indices of the mutexes whose
/// last owner died or left without unlocking them. `options` is usually a timeout: `None` waits without limit, zero does not wait; see
/// [`WaitOptions`].
///
/// While one of them is not available, it takes none and disturbs no other waiter. The objects must be distinct, and opened by one
/// member. A recursive mutex that this thread owns is locked again. A manual-reset event must be signalled at the moment when all others
/// are available; an earlier signal does not count.
///
/// ```
/// # use std::time::Duration;
/// # use tenure::{error::WaitError, sync::{Mutex, Semaphore, wait_all}};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
/// # let me = space.join()?;
/// let mutex = Mutex::create(&me)?;
/// let permits = Semaphore::create(&me, 1, 8)?;
/// assert!(wait_all(&[&mutex, &permits], None)?.is_empty()); // no mutex was abandoned
/// mutex.unlock()?;
///
/// // No permit is left, so the mutex is not taken either:
/// let none = wait_all(&[&mutex, &permits], Some(Duration::ZERO));
/// assert!(matches!(none, Err(WaitError::TimedOut)));
/// drop(mutex.try_lock()?);
/// # Ok(()) }
/// ```
///
/// # Errors
///
/// [`WaitError::TimedOut`], [`WaitError::Twice`], [`WaitError::SeveralMembers`], [`WaitError::NotTaken`], and the errors of a wait for one of
/// them, as [`WaitError::Of`] that says which; nothing is taken then.
///
/// # Progress
///
/// Sleeps in the kernel, on the first object that is not available. It never waits for another `wait_all`, stopped or not: an operation
/// that finds an object in the middle of another MCAS makes that MCAS fail, after a bounded number of loads. Several `wait_all` over some
/// of the same objects can make each other start over, but each time one of them got further: obstruction-free. Threads of one member
/// take one after the other.
///
/// # Crash
///
/// A process that is killed or stopped at any instruction has taken all of them or none.
///
/// # Source
///
/// The multi-word compare-and-swap (MCAS) follows Harris, Fraser and Pratt, A Practical Multi-Word Compare-and-Swap Operation (2002);
/// see docs/architecture.md.
pub fn wait_all(objects: &[&dyn Waitable], options: impl Into<WaitOptions>) -> Result<Vec<usize>, WaitError> {
    wait_for_all(objects, options.into())
}

fn wait_for_all(objects: &[&dyn Waitable], options: WaitOptions) -> Result<Vec<usize>, WaitError> {
    check_number(objects)?;
    if let Some(index) = objects.iter().position(|object| !object.is_in_word()) {
        return Err(WaitError::NotTaken { index });
    }
    let order = order_of(objects)?;
    let mut limits = Limits::of(options);
    let mut failures = 0;
    loop {
        let (index, seen) = match first_blocked(objects, &order)? {
            Some(blocked) => blocked,
            None => match take_all(objects, &order)? {
                Outcome::Taken(abandoned) => return Ok(abandoned),
                Outcome::Blocked(index, seen) => (index, seen),
                Outcome::Failed => {
                    failures += 1;
                    back_off(objects, failures);
                    continue;
                }
            },
        };
        limits.check()?;
        if let Some(marked) = set_waiters(objects[index], seen).map_err(|error| error.of(index))? {
            let word = objects[index].word()?.futex();
            limits.sleep(|deadline| Ok(futex::sleep(word, marked, deadline)?))?;
        }
    }
}

/// Sorts the objects by token: so two `wait_all` over the same objects conflict at the first object, before either has installed others.
fn order_of(objects: &[&dyn Waitable]) -> Result<Vec<usize>, WaitError> {
    let member = objects[0].object().shared();
    if let Some(other) = objects.iter().position(|object| !Arc::ptr_eq(object.object().shared(), member)) {
        return Err(WaitError::SeveralMembers { index: other });
    }
    let token = |index: usize| u64::from(objects[index].object().token());
    let mut order: Vec<usize> = (0..objects.len()).collect();
    order.sort_by_key(|index| token(*index));
    match order.windows(2).find(|pair| token(pair[0]) == token(pair[1])) {
        Some(twice) => Err(WaitError::Twice { first: twice[0] as u32, second: twice[1] as u32 }),
        None => Ok(order),
    }
}

/// Backs off after another operation has made an MCAS fail: longer each time, and by different numbers for different leases. Bounded.
fn back_off(objects: &[&dyn Waitable], failures: u32) {
    let me = u32::from(objects[0].object().shared().lease.id().index);
    for _ in 0..(failures * (me % 7 + 1) * 16).min(1024) {
        std::hint::spin_loop();
    }
}

/// The first object that is not available, and its word.
fn first_blocked(objects: &[&dyn Waitable], order: &[usize]) -> Result<Option<(usize, u32)>, WaitError> {
    for &index in order {
        let object = objects[index];
        let seen = object.word()?.load();
        if object.take(seen & !WAITERS).is_none() && !object.is_owned().map_err(|error| error.of(index))? {
            return Ok(Some((index, seen)));
        }
    }
    Ok(None)
}

enum Outcome {
    /// All are taken; the indices of the abandoned mutexes.
    Taken(Vec<usize>),
    /// One is not available: its index and its word.
    Blocked(usize, u32),
    /// Another operation made the MCAS fail, or an object that is only read has changed.
    Failed,
}

/// Takes all objects, or none.
fn take_all(objects: &[&dyn Waitable], order: &[usize]) -> Result<Outcome, WaitError> {
    let shared = objects[0].object().shared();
    shared.lease.check()?;
    // The lease has one MCAS descriptor, so only one thread uses it at a time.
    let _one_at_a_time = shared.objects.books.lock_mcas();
    let mut attempt = TakeAll {
        mcas: shared.mcas_descriptors.begin(shared.lease.id().index).ok_or_else(|| {
            WaitError::corrupt(format!("no MCAS descriptor for lease {}", shared.lease.id().index))
        })?,
        installed: Vec::with_capacity(order.len()),
        read: Vec::new(),
        owned: Vec::new(),
    };
    // Install a reference in each word, up to the first that is not available.
    let mut blocked = Ok(None);
    for &index in order {
        blocked = attempt.add(objects[index], index).map_err(|error| error.of(index));
        if !matches!(blocked, Ok(None)) {
            break;
        }
    }
    // Commit if all are installed; else make the MCAS fail.
    let all = matches!(blocked, Ok(None)) && attempt.is_unchanged();
    let taken = attempt.mcas.commit(all);
    // Release phase: each word gets its next value, or its former one.
    for (entry, (_, word, _)) in attempt.installed.iter().enumerate() {
        attempt.mcas.release(entry, word);
    }
    // One is not available: the caller sleeps on it.
    if let Some(seen) = blocked? {
        return Ok(Outcome::Blocked(seen.0, seen.1));
    }
    // Made to fail: the caller backs off.
    if !taken {
        return Ok(Outcome::Failed);
    }
    // Taken: run the last step of each kind, for instance the reset of a recursive mutex's depth.
    let mut abandoned = Vec::new();
    for (index, _, before) in attempt.installed {
        if objects[index].taken(before)?.abandoned {
            abandoned.push(index);
        }
    }
    for index in attempt.owned {
        objects[index].lock_again().map_err(|error| error.of(index))?;
    }
    abandoned.sort_unstable();
    Ok(Outcome::Taken(abandoned))
}

/// One attempt of [`take_all`].
struct TakeAll<'o> {
    mcas: Mcas<'o>,
    /// The words with references, by entry: index, word, value before.
    installed: Vec<(usize, WholeWord<'o>, u32)>,
    /// The words from which this takes nothing, with their values. They must be unchanged when all references are installed.
    read: Vec<(HalfWord<'o>, u32)>,
    /// Mutexes that this thread owns already.
    owned: Vec<usize>,
}

impl<'o> TakeAll<'o> {
    /// Adds one object; returns its index and word if it is not available.
    fn add(&mut self, object: &'o dyn Waitable, index: usize) -> Result<Option<(usize, u32)>, WaitError> {
        match object.word()? {
            // A mutex that this thread owns: it is locked again after the commit.
            WaitWord::Whole(_) if object.is_owned()? => self.owned.push(index),
            // Waiters take from it: install a reference.
            WaitWord::Whole(word) => match self.mcas.install(&word, |value| object.take(value)) {
                Ok(before) => self.installed.push((index, word, before)),
                Err(seen) => return Ok(Some((index, seen))),
            },
            // Waiters only read it: read it now, and again before the commit.
            WaitWord::Half(word) => {
                let look = |value| match object.take(value) {
                    Some(to) => Look::Take { to, gained: value },
                    None => Look::Blocked,
                };
                match wait::attempt(&word, look) {
                    Attempt::Taken(seen) => self.read.push((word, seen)),
                    Attempt::Blocked(seen) => return Ok(Some((index, seen))),
                }
            }
        }
        Ok(None)
    }

    /// Whether the words that are only read are unchanged. Then all objects were available at one moment: when the last reference was
    /// installed.
    fn is_unchanged(&self) -> bool {
        self.read.iter().all(|(word, seen)| word.load() == *seen)
    }
}
