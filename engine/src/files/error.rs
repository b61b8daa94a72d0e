//! What can go wrong with descriptors.

use std::fmt;

use tenure_segment::LeaseId;
use tenure_segment::passing::Refusal;

use crate::error::{CreateError, NotMember, OpenHandleError};

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
