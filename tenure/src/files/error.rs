//! What can go wrong with descriptors.

use std::fmt;

use tenure_core::LeaseId;
use tenure_segment::passing::Refusal;

use super::modes::{Access, Sharing};
use crate::error::{CreateError, NotMember, OpenHandleError};
use crate::names::NamedError;

/// Why there is no descriptor. Nothing is held, and nothing was opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DescriptorError {
    /// No handle for it. It was closed.
    #[error(transparent)]
    Create(#[from] CreateError),
    /// The token could not be opened.
    #[error(transparent)]
    Open(#[from] OpenHandleError),
    /// Not a member (any more).
    #[error(transparent)]
    NotMember(#[from] NotMember),
    /// Those who had it are dead and not recovered yet, or are about to get it themselves.
    #[error("nobody alive has the descriptor open")]
    Nobody,
    /// Somebody alive has it, and no way leads there.
    #[error("no duplicate from any of those who have the descriptor: {}", Refused::list(.0))]
    Refused(Vec<Refused>),
    /// The kernel does not say what the descriptor is.
    #[error("{what}: {source}")]
    Os {
        /// What was asked.
        what: &'static str,
        /// The answer.
        source: std::io::Error,
    },
}

impl From<NamedError> for DescriptorError {
    fn from(error: NamedError) -> Self {
        error.into_cause()
    }
}

/// Somebody who has the descriptor, and why no way leads there.
#[derive(Debug)]
#[non_exhaustive]
pub struct Refused {
    /// Its lease.
    pub lease: LeaseId,
    /// Its process, in its own namespace.
    pub pid: u32,
    /// Why the kernel did not duplicate it for us.
    pub direct: Refusal,
    /// Why the holder did not give it to us; `None`: it was not asked.
    pub socket: Option<Refusal>,
}

impl Refused {
    fn list(all: &[Self]) -> String {
        all.iter().map(Self::to_string).collect::<Vec<_>>().join("; ")
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { lease, pid, direct, socket } = self;
        write!(f, "process {pid} ({lease:?}): {direct}")?;
        socket.iter().try_for_each(|socket| write!(f, ", and {socket}"))
    }
}

/// Why nothing was entered into the table of a file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ShareError {
    /// Somebody is in the way.
    #[error("the file is in use by {0}")]
    Conflict(Conflict),
    /// No table for the file.
    #[error(transparent)]
    Named(#[from] NamedError),
    /// The table is corrupted.
    #[error(transparent)]
    Open(#[from] OpenHandleError),
    /// Not a member (any more).
    #[error(transparent)]
    NotMember(#[from] NotMember),
    /// The kernel does not say which file it is.
    #[error("{what}: {source}")]
    Os {
        /// What was asked.
        what: &'static str,
        /// The answer.
        source: std::io::Error,
    },
}

impl From<CreateError> for ShareError {
    fn from(error: CreateError) -> Self {
        Self::Named(error.into())
    }
}

/// A member with entries in the table of a file, and all that it does and shares by them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Conflict {
    /// Its lease.
    pub lease: LeaseId,
    /// Its process, in its own namespace; zero when it has left by now.
    pub pid: u32,
    /// What it does.
    pub access: Access,
    /// What it lets others do.
    pub sharing: Sharing,
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { lease, pid, access, sharing } = self;
        write!(f, "process {pid} ({lease:?}) for {access}, which shares {sharing}")
    }
}
