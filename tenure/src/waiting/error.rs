//! Errors of waits, and of changes to objects that others wait for.

use std::io;

use tenure_segment::NotMember;

/// The reason why a wait failed, or why an object was not changed.
///
/// ```
/// # use tenure::{error::WaitError, sync::{Mutex, wait_all, wait_any}};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
/// # let me = space.join()?;
/// let mutex = Mutex::create(&me)?;
/// assert!(matches!(wait_any(&[], None), Err(WaitError::Number { found: 0, max: 64 })));
/// let twice = wait_all(&[&mutex, &mutex], None);
/// assert!(matches!(twice, Err(WaitError::Twice { .. })));
/// # Ok(()) }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
// Two words, so that the results of lock, unlock, set and wait are no larger: a payload is one word, or numbers of less than two.
pub enum WaitError {
    /// The caller is not a member, or no member any more.
    #[error(transparent)]
    NotMember(#[from] NotMember),
    /// The member only reads.
    #[error(transparent)]
    ReadOnly(#[from] crate::error::ReadOnly),
    /// The timeout expired; nothing was taken.
    #[error("timed out")]
    TimedOut,
    /// It is not available, and the call does not wait; nothing was taken.
    #[error("not available now")]
    WouldBlock,
    /// A signal handler ran during the wait, which was [interruptible](super::WaitOptions::interruptible); nothing was taken.
    #[error("interrupted by a signal")]
    Interrupted,
    /// The thread owns the mutex already, which is not recursive, so it would wait for itself.
    #[error("this thread owns the mutex already, and it is not recursive")]
    Deadlock,
    /// The thread does not own the mutex, which only its owner can unlock.
    #[error("this thread does not own the mutex")]
    NotOwner,
    /// The lock count of the recursive mutex is at its limit.
    #[error("the mutex is locked {limit} times by this thread, the most that is counted")]
    TooDeep {
        /// The largest lock count.
        limit: u64,
    },
    /// The thread has locked the recursive mutex more than once, and a wait with it would give it up once.
    #[error("this thread has locked the mutex again, {times} times, and a wait would give it up once")]
    LockedAgain {
        /// How often it was locked again.
        times: u64,
    },
    /// The release would exceed the maximum of the semaphore; nothing was released.
    #[error("semaphore: {count} and {more} more would exceed its maximum of {maximum}")]
    Maximum {
        /// The count before the call.
        count: u32,
        /// The requested number of releases.
        more: u32,
        /// The maximum of the semaphore.
        maximum: u32,
    },
    /// The number of objects is not 1 to 64.
    #[error("objects to wait for: expected 1 to {max}, found {found}")]
    Number {
        /// The number of objects given.
        found: u32,
        /// The largest number of objects.
        max: u32,
    },
    /// Two of the objects to take together are the same object.
    #[error("objects to take at once: {first} and {second} are the same object")]
    Twice {
        /// The index of the first of the two.
        first: u32,
        /// The index of the second.
        second: u32,
    },
    /// The objects to take together were opened by several members.
    #[error("objects to take at once: {index} was opened by another member than 0")]
    SeveralMembers {
        /// The index of the first object that another member opened.
        index: usize,
    },
    /// One of the objects to take together is a queue, from which a wait takes nothing.
    #[error("objects to take at once: {index} is a queue, from which a wait takes nothing")]
    NotTaken {
        /// The index of the first such object.
        index: usize,
    },
    /// The end of a process or thread is not recorded, and this process cannot watch it.
    #[error(transparent)]
    Unwatched(Box<tenure_segment::process::PidError>),
    /// A lock or a permit has an owner, or an element of a queue a claimer, of whose death this process would not learn.
    #[error("would not learn of the death of the owner: {0}")]
    Unheard(Box<tenure_segment::Absence>),
    /// The wait was for several objects, and failed for this one.
    #[error("object {index}: {error}")]
    Of {
        /// The index of the object.
        index: u32,
        /// Why.
        error: Box<WaitError>,
    },
    /// The object's words are corrupted.
    #[error("corrupt: {0}")]
    #[allow(clippy::box_collection, reason = "a String is three words")]
    Corrupt(Box<String>),
    /// The kernel refuses the sleep.
    #[error("the system does not let us wait: {0}")]
    Os(#[from] io::Error),
}

impl WaitError {
    pub(super) fn number(found: usize) -> Self {
        Self::Number { found: u32::try_from(found).unwrap_or(u32::MAX), max: super::WAIT_MAX as u32 }
    }

    /// The error of a wait for several objects. That the caller is no member is said of all of them.
    #[cold]
    pub(super) fn of(self, index: usize) -> Self {
        match self {
            Self::NotMember(_) => self,
            error => Self::Of { index: index as u32, error: Box::new(error) },
        }
    }

    /// The error of a call that does not wait.
    #[cold]
    pub(super) fn of_no_wait(self) -> Self {
        if let Self::TimedOut = self { Self::WouldBlock } else { self }
    }

    #[cold]
    pub(crate) fn corrupt(what: impl Into<String>) -> Self {
        Self::Corrupt(Box::new(what.into()))
    }
}

const _: () = assert!(size_of::<WaitError>() == 2 * size_of::<usize>());
const _: () = assert!(size_of::<Result<super::MutexGuard<'_>, WaitError>>() == 2 * size_of::<usize>());
const _: () = assert!(size_of::<Result<u32, WaitError>>() == 2 * size_of::<usize>());
