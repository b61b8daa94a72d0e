//! Waiting for any or all of several objects.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tenure_segment::futex::{self, Deadline, Slept};
use tenure_wait::Attempt;

use super::error::WaitError;
use super::source::{Gained, Memory, Source, mark, word_of};

/// The most objects that one can wait for at once.
pub const WAIT_MAX: usize = 64;

/// What one can wait for: a [`Mutex`](crate::Mutex), an [`Event`](crate::Event), a [`Semaphore`](crate::Semaphore) and so on.
pub trait Waitable: Source + Send + Sync {}

impl<T: Source + Send + Sync> Waitable for T {}

/// What [`wait_any`] came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Woken {
    /// Which of the objects it was.
    pub index: usize,
    /// It is a mutex whose last owner died or went without unlocking it.
    pub abandoned: bool,
}

fn check_number(objects: &[&dyn Waitable]) -> Result<(), WaitError> {
    let found = objects.len();
    if (1..=WAIT_MAX).contains(&found) { Ok(()) } else { Err(WaitError::Number { found, max: WAIT_MAX }) }
}

fn is_zero(timeout: Option<Duration>) -> bool {
    timeout.is_some_and(|timeout| timeout.is_zero())
}

/// Waits until one of up to [`WAIT_MAX`] objects of any kinds can be had, and takes it: the first in the list of those that can.
/// `None` waits as long as it takes, zero not at all.
///
/// A mutex that it takes is owned by this thread, to be unlocked by [`Mutex::unlock`](crate::Mutex::unlock) or
/// [`Mutex::adopt`](crate::Mutex::adopt). The objects may belong to different spaces.
///
/// # Errors
///
/// [`WaitError::TimedOut`], and whatever waiting for one of them answers; nothing is taken then.
///
/// # Progress
///
/// Sleeps in the kernel on all of them at once (`futex_waitv`, Linux 5.16). Where that is missing or denied, helper threads, one for
/// each object and ended before this returns, sleep in its place. Nobody polls.
///
/// # Crash
///
/// Killed or stopped anywhere, it has taken one object or none, and took no wake-up from anybody.
pub fn wait_any(objects: &[&dyn Waitable], timeout: Option<Duration>) -> Result<Woken, WaitError> {
    check_number(objects)?;
    let mut memories: [Memory; WAIT_MAX] = [None; WAIT_MAX];
    let mut seen = [0; WAIT_MAX];
    let mut deadline = None;
    let mut last_look = is_zero(timeout);
    loop {
        for (index, object) in objects.iter().enumerate() {
            match object.attempt(&mut memories[index])? {
                Attempt::Taken(Gained { abandoned, .. }) => return Ok(Woken { index, abandoned }),
                Attempt::Blocked(word) => seen[index] = word,
            }
        }
        if last_look {
            return Err(WaitError::TimedOut);
        }
        let deadline = deadline.get_or_insert_with(|| Deadline::after(timeout));
        last_look = sleep_on(objects, &mut seen, deadline)? == Slept::TimedOut;
    }
}

/// Sleeps while the words are as they were seen.
fn sleep_on(
    objects: &[&dyn Waitable],
    seen: &mut [u32; WAIT_MAX],
    deadline: &Deadline,
) -> Result<Slept, WaitError> {
    let mut words: Vec<(&AtomicU32, u32)> = Vec::with_capacity(objects.len());
    for (object, seen) in objects.iter().zip(seen) {
        match mark(*object, *seen)? {
            Some(marked) => words.push((word_of(object.object())?.0, marked)),
            None => return Ok(Slept::Woken),
        }
    }
    Ok(match &words[..] {
        [(word, marked)] => futex::sleep(word, *marked, deadline)?,
        words => {
            // Relaxed: a switch for tests.
            let by_threads = objects[0].object().shared().books.no_waitv.load(Ordering::Relaxed);
            futex::sleep_any(words, deadline, by_threads)?
        }
    })
}

/// Waits until all of up to [`WAIT_MAX`] objects can be had, and takes them. The answer has the indices of those that are mutexes
/// whose last owner died or went without unlocking them. `None` waits as long as it takes, zero not at all.
///
/// While one of them cannot be had it takes none and disturbs nobody. When all can, it takes one after the other, in the order
/// of their tokens; if one is lost meanwhile, it gives back what it took and goes on waiting. So, unlike Windows:
///
/// - others may see a mutex locked, or miss a count, for that moment; a semaphore to which something is given back may exceed its
///   maximum by that until it is taken;
/// - killed or stopped *in* that moment, it keeps what it took so far: mutexes are abandoned by its death, counts and signals are
///   gone as if their wait had ended.
///
/// A manual event has to be signalled when the others can be had; to have been is not enough. An object given twice is taken
/// twice.
///
/// # Errors
///
/// [`WaitError::TimedOut`], and whatever waiting for one of them answers; nothing is taken then.
///
/// # Progress
///
/// Sleeps in the kernel, on the first that cannot be had. Several who want the same objects in any order of the list cannot keep each
/// other waiting.
///
/// # Crash
///
/// See above.
pub fn wait_all(objects: &[&dyn Waitable], timeout: Option<Duration>) -> Result<Vec<usize>, WaitError> {
    check_number(objects)?;
    let mut order: Vec<usize> = (0..objects.len()).collect();
    order.sort_by_key(|index| u64::from(objects[*index].object().token()));
    let mut deadline = None;
    let mut last_look = is_zero(timeout);
    loop {
        let blocked = match first_blocked(objects, &order)? {
            Some(blocked) => blocked,
            None => match take_all(objects, &order)? {
                Ok(abandoned) => return Ok(abandoned),
                Err(lost) => lost,
            },
        };
        if last_look {
            return Err(WaitError::TimedOut);
        }
        let deadline = deadline.get_or_insert_with(|| Deadline::after(timeout));
        let (index, seen) = blocked;
        if let Some(marked) = mark(objects[index], seen)? {
            let word = word_of(objects[index].object())?.0;
            last_look = futex::sleep(word, marked, deadline)? == Slept::TimedOut;
        }
    }
}

/// The first object that cannot be had, and its word.
fn first_blocked(objects: &[&dyn Waitable], order: &[usize]) -> Result<Option<(usize, u32)>, WaitError> {
    for &index in order {
        if let Attempt::Blocked(seen) = objects[index].peek()? {
            return Ok(Some((index, seen)));
        }
    }
    Ok(None)
}

type Lost = (usize, u32);

/// Takes all, or none and tells which one was lost.
fn take_all(objects: &[&dyn Waitable], order: &[usize]) -> Result<Result<Vec<usize>, Lost>, WaitError> {
    let mut taken: Vec<(usize, Gained)> = Vec::with_capacity(order.len());
    let mut lost = None;
    for &index in order {
        match objects[index].attempt(&mut None) {
            Ok(Attempt::Taken(gained)) => taken.push((index, gained)),
            Ok(Attempt::Blocked(seen)) => lost = Some(Ok((index, seen))),
            Err(error) => lost = Some(Err(error)),
        }
        if lost.is_some() {
            break;
        }
    }
    let Some(lost) = lost else {
        let mut abandoned: Vec<usize> =
            taken.iter().filter(|(_, gained)| gained.abandoned).map(|(index, _)| *index).collect();
        abandoned.sort_unstable();
        return Ok(Ok(abandoned));
    };
    for (index, gained) in taken.into_iter().rev() {
        objects[index].give_back(gained);
    }
    lost.map(Err)
}
