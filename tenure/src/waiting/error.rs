//! Errors of waiting and of changing what others wait for.

use std::io;

use tenure_segment::NotMember;

/// Why a wait failed, or an object that others wait for was not changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WaitError {
    /// The caller is not a member, or no member any more.
    #[error(transparent)]
    NotMember(#[from] NotMember),
    /// The timeout expired; nothing was taken.
    #[error("timed out")]
    TimedOut,
    /// The thread owns the mutex already, and would wait for itself.
    #[error("this thread owns the mutex already, and it is not recursive")]
    Deadlock,
    /// Only its owner unlocks a mutex.
    #[error("this thread does not own the mutex")]
    NotOwner,
    /// The recursive mutex is locked as often as can be counted.
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
    /// The number of objects is not 1 to 64.
    #[error("objects to wait for: expected 1 to {max}, found {found}")]
    Number {
        /// How many were asked for.
        found: usize,
        /// The most.
        max: usize,
    },
    /// Two of the objects to take at once are the same.
    #[error("objects to take at once: {first} and {second} are the same object")]
    Twice {
        /// The place of the first of the two.
        first: usize,
        /// The place of the second.
        second: usize,
    },
    /// The objects to take at once were opened by several members.
    #[error("objects to take at once: {index} was opened by another member than 0")]
    SeveralMembers {
        /// The place of the first object that another member opened.
        index: usize,
    },
    /// The end of a process or thread is not recorded, and this process cannot watch it.
    #[error(transparent)]
    Unwatched(#[from] tenure_segment::process::PidError),
    /// The object's words are corrupted.
    #[error("corrupt: {0}")]
    Corrupt(String),
    /// The system refuses the sleep.
    #[error("the system does not let us wait: {0}")]
    Os(#[from] io::Error),
}
