//! What can go wrong with waiting.

use std::io;

use tenure_segment::NotMember;

/// Why a wait did not end as it was meant to, or something that others wait for was not changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WaitError {
    /// Not a member (any more).
    #[error(transparent)]
    NotMember(#[from] NotMember),
    /// It did not come in time; nothing was taken.
    #[error("timed out")]
    TimedOut,
    /// The thread waits for itself.
    #[error("this thread owns the mutex already, and it is not recursive")]
    Deadlock,
    /// Only its owner unlocks a mutex.
    #[error("this thread does not own the mutex")]
    NotOwner,
    /// It is locked again as often as can be counted.
    #[error("the mutex is locked {limit} times by this thread, the most that is counted")]
    TooDeep {
        /// The limit.
        limit: u64,
    },
    /// More releases than the semaphore allows; none was made.
    #[error("semaphore: {count} and {more} more would exceed its maximum of {maximum}")]
    Maximum {
        /// The count.
        count: u32,
        /// Releases asked for.
        more: u32,
        /// The maximum.
        maximum: u32,
    },
    /// One waits for 1 to 64 objects at once.
    #[error("objects to wait for: expected 1 to {max}, found {found}")]
    Number {
        /// How many were asked for.
        found: usize,
        /// The most.
        max: usize,
    },
    /// One takes all of several objects, not one of them twice.
    #[error("objects to take at once: {first} and {second} are the same object")]
    Twice {
        /// The place of one.
        first: usize,
        /// The place of the other.
        second: usize,
    },
    /// One takes all of several objects of one member.
    #[error("objects to take at once: {index} was opened by another member than 0")]
    SeveralMembers {
        /// The place of the first that was opened by another.
        index: usize,
    },
    /// A process or thread that has not ended, as far as anybody has written down, and that we cannot watch.
    #[error(transparent)]
    Unwatched(#[from] tenure_segment::process::PidError),
    /// The object's words are corrupted.
    #[error("corrupt: {0}")]
    Corrupt(String),
    /// The system does not let us sleep.
    #[error("the system does not let us wait: {0}")]
    Os(#[from] io::Error),
}
