//! Waiting for any or all of several objects.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tenure_segment::futex::{self, Deadline, Slept};
use tenure_wait::{self as wait, ASLEEP, Attempt, Look, Taking, Word as _};

use super::error::WaitError;
use super::source::{Gained, Memory, Source, mark};
use super::word::{HalfWord, WaitWord, WholeWord};

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
                Attempt::Taken(Gained { abandoned }) => return Ok(Woken { index, abandoned }),
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
            Some(marked) => words.push((object.word()?.sleepers(), marked)),
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

/// Waits until all of up to [`WAIT_MAX`] objects can be had, and takes them, all in one step. The answer has the indices of those that
/// are mutexes whose last owner died or went without unlocking them. `None` waits as long as it takes, zero not at all.
///
/// While one of them cannot be had it takes none and disturbs nobody. They are different objects, opened by one member: a recursive
/// mutex that this thread owns is locked again. A manual event has to be signalled when the others can be had; to have been is not
/// enough.
///
/// # Errors
///
/// [`WaitError::TimedOut`], [`WaitError::Twice`], [`WaitError::SeveralMembers`], and whatever waiting for one of them answers; nothing is
/// taken then.
///
/// # Progress
///
/// Sleeps in the kernel, on the first that cannot be had. Waits for nobody who is taking others at the moment, stopped or not: whoever
/// meets an object that is being taken together with others decides, after a bounded number of looks, that those come later.
/// Several who want some of the same objects can make each other begin again, but each time one of them got further: obstruction-free.
/// Threads of one process take one after the other.
///
/// # Crash
///
/// Killed or stopped anywhere, it has taken all of them or none.
///
/// After Harris, Fraser and Pratt, A Practical Multi-Word Compare-and-Swap Operation (2002); see docs/architecture.md.
pub fn wait_all(objects: &[&dyn Waitable], timeout: Option<Duration>) -> Result<Vec<usize>, WaitError> {
    check_number(objects)?;
    let order = order_of(objects)?;
    let mut deadline = None;
    let mut last_look = is_zero(timeout);
    let mut withdrawn = 0;
    loop {
        let (index, seen) = match first_blocked(objects, &order)? {
            Some(blocked) => blocked,
            None => match take_all(objects, &order)? {
                Outcome::Taken(abandoned) => return Ok(abandoned),
                Outcome::Blocked(index, seen) => (index, seen),
                Outcome::Withdrawn => {
                    withdrawn += 1;
                    stand_back(objects, withdrawn);
                    continue;
                }
            },
        };
        if last_look {
            return Err(WaitError::TimedOut);
        }
        let deadline = deadline.get_or_insert_with(|| Deadline::after(timeout));
        if let Some(marked) = mark(objects[index], seen)? {
            let word = objects[index].word()?.sleepers();
            last_look = futex::sleep(word, marked, deadline)? == Slept::TimedOut;
        }
    }
}

/// The order of their tokens: so those who want the same ones meet at the first, and not in the middle of each other.
fn order_of(objects: &[&dyn Waitable]) -> Result<Vec<usize>, WaitError> {
    let member = objects[0].object().shared();
    if let Some(other) = objects.iter().position(|object| !Arc::ptr_eq(object.object().shared(), member)) {
        return Err(WaitError::SeveralMembers { index: other });
    }
    let token = |index: usize| u64::from(objects[index].object().token());
    let mut order: Vec<usize> = (0..objects.len()).collect();
    order.sort_by_key(|index| token(*index));
    match order.windows(2).find(|pair| token(pair[0]) == token(pair[1])) {
        Some(twice) => Err(WaitError::Twice { first: twice[0], second: twice[1] }),
        None => Ok(order),
    }
}

/// Leaves the field for a moment to the one who was in the way; longer each time, and not the same for all. Bounded.
fn stand_back(objects: &[&dyn Waitable], withdrawn: u32) {
    let me = u32::from(objects[0].object().shared().lease.id().index);
    for _ in 0..(withdrawn * (me % 7 + 1) * 16).min(1024) {
        std::hint::spin_loop();
    }
}

/// The first object that cannot be had, and its word.
fn first_blocked(objects: &[&dyn Waitable], order: &[usize]) -> Result<Option<(usize, u32)>, WaitError> {
    for &index in order {
        let object = objects[index];
        let seen = object.word()?.load();
        if object.take(seen & !ASLEEP).is_none() && !object.is_owned()? {
            return Ok(Some((index, seen)));
        }
    }
    Ok(None)
}

enum Outcome {
    /// All; the indices of those that were abandoned.
    Taken(Vec<usize>),
    /// One cannot be had: which, and its word.
    Blocked(usize, u32),
    /// Somebody was in the way.
    Withdrawn,
}

/// Takes all, or none.
fn take_all(objects: &[&dyn Waitable], order: &[usize]) -> Result<Outcome, WaitError> {
    let shared = objects[0].object().shared();
    shared.lease.check()?;
    // One record a member.
    let _one_at_a_time = shared.objects.books.take_several();
    let mut attempt = TakeAll {
        taking: shared
            .records
            .begin(shared.lease.id().index)
            .ok_or_else(|| WaitError::Corrupt(format!("no record for lease {}", shared.lease.id().index)))?,
        reserved: Vec::with_capacity(order.len()),
        looked_at: Vec::new(),
        owned: Vec::new(),
    };
    let mut blocked = Ok(None);
    for &index in order {
        blocked = attempt.add(objects[index], index);
        if !matches!(blocked, Ok(None)) {
            break;
        }
    }
    let all = matches!(blocked, Ok(None)) && attempt.is_unchanged();
    let taken = attempt.taking.decide(all);
    for (entry, (_, word, _)) in attempt.reserved.iter().enumerate() {
        attempt.taking.clean(entry, word);
    }
    if let Some(seen) = blocked? {
        return Ok(Outcome::Blocked(seen.0, seen.1));
    }
    if !taken {
        return Ok(Outcome::Withdrawn);
    }
    let mut abandoned = Vec::new();
    for (index, _, before) in attempt.reserved {
        if objects[index].taken(before)?.abandoned {
            abandoned.push(index);
        }
    }
    for index in attempt.owned {
        objects[index].lock_again()?;
    }
    abandoned.sort_unstable();
    Ok(Outcome::Taken(abandoned))
}

/// One attempt to take all.
struct TakeAll<'o> {
    taking: Taking<'o>,
    /// In order: which, its word, and its value before.
    reserved: Vec<(usize, WholeWord<'o>, u32)>,
    /// Those of which nothing is taken: their words as they have to be still when the rest is reserved.
    looked_at: Vec<(HalfWord<'o>, u32)>,
    /// Mutexes that this thread owns already.
    owned: Vec<usize>,
}

impl<'o> TakeAll<'o> {
    /// One more; the answer is that and why it cannot be had.
    fn add(&mut self, object: &'o dyn Waitable, index: usize) -> Result<Option<(usize, u32)>, WaitError> {
        match object.word()? {
            WaitWord::Whole(_) if object.is_owned()? => self.owned.push(index),
            WaitWord::Whole(word) => match self.taking.reserve(&word, |value| object.take(value)) {
                Ok(before) => self.reserved.push((index, word, before)),
                Err(seen) => return Ok(Some((index, seen))),
            },
            WaitWord::Half(word) => {
                let look = |value| match object.take(value) {
                    Some(to) => Look::Take { to, gained: value },
                    None => Look::Blocked,
                };
                match wait::attempt(&word, look) {
                    Attempt::Taken(seen) => self.looked_at.push((word, seen)),
                    Attempt::Blocked(seen) => return Ok(Some((index, seen))),
                }
            }
        }
        Ok(None)
    }

    /// Everything that was looked at is as it was: so it all was at once, when everything else was reserved already.
    fn is_unchanged(&self) -> bool {
        self.looked_at.iter().all(|(word, seen)| word.load() == *seen)
    }
}
