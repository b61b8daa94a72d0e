//! Errors of handles of processes and threads.

use tenure_segment::process::PidError;

use crate::error::{CreateError, NotMember, OpenHandleError};
use crate::names::NamedError;

/// The error of an operation on a handle of a process or thread.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProcessError {
    /// The caller is not a member, or no member any more.
    #[error(transparent)]
    NotMember(#[from] NotMember),
    /// No handle was created.
    #[error(transparent)]
    Create(#[from] CreateError),
    /// The token was not opened.
    #[error(transparent)]
    Open(#[from] OpenHandleError),
    /// The process or thread has ended, cannot be watched from this process, or is not supported by the kernel.
    #[error(transparent)]
    Pid(#[from] PidError),
    /// The caller is not the process or thread of the handle, which alone can announce its own code.
    #[error("only the one that the handle names announces its own end")]
    NotItself,
    /// The process or thread has announced a code already, or has ended.
    #[error("it has announced its code already, or ended")]
    AlreadyAnnounced,
    /// The state words of the handle are corrupted.
    #[error("corrupt: {0}")]
    Corrupt(String),
}

impl From<NamedError> for ProcessError {
    fn from(error: NamedError) -> Self {
        error.into_cause()
    }
}
