//! Errors of descriptors and of the tables of files.

use std::fmt;

use tenure_core::LeaseId;
use tenure_segment::passing::Refusal;

use super::modes::{Access, Sharing};
use crate::error::{CreateError, NotMember, OpenHandleError};
use crate::names::NamedError;

/// The reason why there is no descriptor. Nothing is held, and nothing was opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DescriptorError {
    /// No handle was created. The descriptor was closed.
    #[error(transparent)]
    Create(#[from] CreateError),
    /// The token could not be opened.
    #[error(transparent)]
    Open(#[from] OpenHandleError),
    /// The caller is not a member, or no member any more.
    #[error(transparent)]
    NotMember(#[from] NotMember),
    /// No live member has the descriptor open: the holders are dead and not recovered yet, or are still opening it themselves.
    #[error("no living process has the descriptor open")]
    NoHolder,
    /// Live members have the descriptor open, and each way to get a duplicate failed; one entry for each of them.
    #[error("no duplicate from any of those who have the descriptor: {}", Refused::list(.0))]
    Refused(Vec<Refused>),
    /// A system call on the descriptor failed.
    #[error("{what}: {source}")]
    Os {
        /// The purpose of the call.
        what: &'static str,
        /// The error of the kernel.
        source: std::io::Error,
    },
}

impl From<NamedError> for DescriptorError {
    fn from(error: NamedError) -> Self {
        error.into_cause()
    }
}

/// A member that has the descriptor open, and the reasons why it gave no duplicate.
#[derive(Debug)]
#[non_exhaustive]
pub struct Refused {
    /// The lease of the member.
    pub lease: LeaseId,
    /// The process id of the member, in its own pid namespace.
    pub pid: u32,
    /// The reason why the kernel did not duplicate the descriptor.
    pub direct: Refusal,
    /// The reason why the member did not send the descriptor; `None` if it was not asked.
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

/// The reason why no entry was added to the table of a file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ShareError {
    /// The entries of another member, or of this one, conflict with the request.
    #[error("the file is in use by {0}")]
    Conflict(Conflict),
    /// The table of the file was neither created nor opened.
    #[error(transparent)]
    Named(#[from] NamedError),
    /// The table is corrupted.
    #[error(transparent)]
    Open(#[from] OpenHandleError),
    /// The caller is not a member, or no member any more.
    #[error(transparent)]
    NotMember(#[from] NotMember),
    /// A system call on the file failed.
    #[error("{what}: {source}")]
    Os {
        /// The purpose of the call.
        what: &'static str,
        /// The error of the kernel.
        source: std::io::Error,
    },
}

impl From<CreateError> for ShareError {
    fn from(error: CreateError) -> Self {
        Self::Named(error.into())
    }
}

/// A member with entries in the table of a file, and the sum of these entries.
///
/// ```
/// # use tenure::file::{Access, FileShare, Sharing};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
/// # let me = space.join()?;
/// # let file = std::fs::File::open(std::env::current_exe()?)?;
/// let reading = FileShare::enter(&me, &file, Access::READ, Sharing::NONE)?;
/// let refused = FileShare::enter(&me, &file, Access::READ, Sharing::ALL).unwrap_err();
/// assert!(refused.to_string().ends_with("for read, which shares nothing"));
/// # drop(reading);
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Conflict {
    /// The lease of the member.
    pub lease: LeaseId,
    /// The process id of the member, in its own pid namespace; zero if it has left already.
    pub pid: u32,
    /// The access of the member to the file.
    pub access: Access,
    /// The access that the member permits to others.
    pub sharing: Sharing,
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { lease, pid, access, sharing } = self;
        write!(f, "process {pid} ({lease:?}) for {access}, which shares {sharing}")
    }
}
