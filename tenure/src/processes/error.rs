//! Why there is no handle of a process, or no answer from it.

use tenure_segment::process::PidError;

use crate::error::{CreateError, NotMember, OpenHandleError};
use crate::names::NamedError;

/// What can go wrong with a handle of a process or thread.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProcessError {
    /// Not a member (any more).
    #[error(transparent)]
    NotMember(#[from] NotMember),
    /// No handle was created.
    #[error(transparent)]
    Create(#[from] CreateError),
    /// The token was not opened.
    #[error(transparent)]
    Open(#[from] OpenHandleError),
    /// The process or thread itself: gone, not watchable from here, not supported.
    #[error(transparent)]
    Pid(#[from] PidError),
    /// Only the process, or the thread, itself announces how it will end.
    #[error("only the one that the handle names announces its own end")]
    NotItself,
    /// It has announced another code already, or ended.
    #[error("it has announced its code already, or ended")]
    AlreadyAnnounced,
    /// The state is corrupted.
    #[error("corrupt: {0}")]
    Corrupt(String),
}

impl From<NamedError> for ProcessError {
    fn from(error: NamedError) -> Self {
        error.into_cause()
    }
}
