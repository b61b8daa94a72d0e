//! What can go wrong, one enum per family of operations.

use tenure_scratch_alloc as scratch;
use tenure_segment as segment;
use tenure_slab as slab;

use crate::kind::Kind;

pub use scratch::{AllocError as ScratchError, BlockError};
pub use segment::{JoinError, NotMember, RemoveError};

/// Why a space was not created or attached. Whatever exists is as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The segment below: name, permissions, file system, version, boot, memory.
    #[error(transparent)]
    Segment(#[from] segment::OpenError),
    /// Members out of range.
    #[error("members: expected 1 to 256, found {found}")]
    Members {
        /// Members asked for.
        found: u16,
    },
    /// Handles or generation bits out of range.
    #[error(transparent)]
    Handles(#[from] slab::GeometryError),
    /// Scratch bytes or unit out of range.
    #[error(transparent)]
    Scratch(#[from] scratch::GeometryError),
    /// The space exists with another geometry than the one asked for.
    #[error(
        "{what}: expected {expected}, but the space exists with {found}; leave the option out to accept it"
    )]
    Geometry {
        /// Which number.
        what: &'static str,
        /// The one asked for.
        expected: u64,
        /// The one found.
        found: u64,
    },
    /// The header is corrupted.
    #[error("the space's {what} makes no sense: found {found:?}")]
    Corrupt {
        /// Which part.
        what: &'static str,
        /// What is there.
        found: Vec<u64>,
    },
}

/// Why no handle was created. The value is still the caller's.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CreateError {
    /// Not a member (any more).
    #[error(transparent)]
    NotMember(#[from] NotMember),
    /// Every handle is held by somebody alive, or retired.
    #[error("handles exhausted: all {capacity} are in use or retired")]
    Exhausted {
        /// Handles of the geometry.
        capacity: u32,
    },
    /// No scratch memory for the payload.
    #[error(transparent)]
    Scratch(#[from] ScratchError),
    /// The block to attach is not the caller's.
    #[error(transparent)]
    Block(#[from] BlockError),
    /// A semaphore of impossible numbers.
    #[error(
        "semaphore: a count of {count} with a maximum of {maximum}; the maximum is 1 to 2^30-1, the count at most that"
    )]
    Semaphore {
        /// The count asked for.
        count: u32,
        /// The maximum asked for.
        maximum: u32,
    },
    /// The kind belongs to the system's own objects.
    #[error("{kind} is not created from bytes: it is one of the system's objects")]
    SystemKind {
        /// The kind asked for.
        kind: Kind,
    },
    /// Another handle has the name.
    #[error("name taken: it is that of {token}")]
    NameTaken {
        /// The one that has it.
        token: slab::Token,
    },
    /// Not something that can be a name.
    #[error("a name has 1 to {} bytes, this one {found}", slab::NAME_MAX)]
    BadName {
        /// Its bytes.
        found: usize,
    },
    /// Among the names there is no room for this one; others may fit.
    #[error(transparent)]
    NamesFull(#[from] slab::Full),
    /// The value could not be serialised.
    #[error("value not serialised: {0}")]
    Serialize(rkyv::rancor::Error),
}

/// Why a token was not opened. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenHandleError {
    /// Not a member (any more).
    #[error(transparent)]
    NotMember(#[from] NotMember),
    /// Everybody let go of it.
    #[error("stale: everybody let go of handle {index} in generation {generation}")]
    Stale {
        /// Its index.
        index: u32,
        /// Its generation.
        generation: u64,
    },
    /// No handle has this name.
    #[error("nothing has this name")]
    NoSuchName,
    /// Never issued by this space.
    #[error("forged: handle {index} was never issued in generation {generation}")]
    Forged {
        /// Its index.
        index: u32,
        /// Its generation.
        generation: u64,
    },
    /// Issued by another space.
    #[error("foreign space: expected a token of space {expected}, found one of space {found}")]
    ForeignSpace {
        /// The tag of this space.
        expected: u8,
        /// The tag of the token.
        found: u8,
    },
    /// Another kind of object.
    #[error("foreign kind: expected {expected}, found {found}")]
    ForeignKind {
        /// The kind asked for.
        expected: Kind,
        /// The kind of the object.
        found: Kind,
    },
    /// The kind belongs to the system's own objects, whose payload changes while it is held.
    #[error("{kind} is not opened as bytes: it is one of the system's objects")]
    SystemKind {
        /// The kind asked for.
        kind: Kind,
    },
    /// This process has it open as often as can be counted.
    #[error("this process has the handle open {limit} times, the most that is counted")]
    TooMany {
        /// The limit.
        limit: u64,
    },
    /// The value's bytes are not valid for the type, or the handle's words are corrupted.
    #[error("corrupt: {0}")]
    Corrupt(String),
}

impl From<slab::OpenError> for OpenHandleError {
    fn from(error: slab::OpenError) -> Self {
        match error {
            slab::OpenError::Stale(slab::Stale { index, expected, .. }) => {
                Self::Stale { index, generation: expected }
            }
            slab::OpenError::Forged { index, generation } => Self::Forged { index, generation },
            slab::OpenError::ForeignSpace { expected, found } => Self::ForeignSpace { expected, found },
            slab::OpenError::ForeignKind { expected, found } => {
                Self::ForeignKind { expected: Kind::from_word(expected), found: Kind::from_word(found) }
            }
            slab::OpenError::CountFull { .. } => Self::TooMany { limit: slab::COUNT_MAX },
            other => Self::Corrupt(other.to_string()),
        }
    }
}

/// Why a handle that we hold cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UseError {
    /// Not a member (any more).
    #[error(transparent)]
    NotMember(#[from] NotMember),
    /// Closed already, or corrupted.
    #[error("handle {index} in generation {generation} is not held")]
    Stale {
        /// Its index.
        index: u32,
        /// Its generation.
        generation: u64,
    },
}

/// Why there is no block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AllocError {
    /// Not a member (any more).
    #[error(transparent)]
    NotMember(#[from] NotMember),
    /// Size, alignment, exhausted, no memory.
    #[error(transparent)]
    Scratch(#[from] ScratchError),
    /// The block to resize is not the caller's.
    #[error(transparent)]
    Block(#[from] BlockError),
}

/// Why a block was not freed. It is as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FreeError {
    /// Not a member (any more).
    #[error(transparent)]
    NotMember(#[from] NotMember),
    /// Not a block, free already, somebody else's.
    #[error(transparent)]
    Block(#[from] BlockError),
}

impl Kind {
    /// For calls that hand out plain bytes.
    #[inline(always)]
    pub(crate) fn to_create(self) -> Result<(), CreateError> {
        if self.is_system() { Err(CreateError::SystemKind { kind: self }) } else { Ok(()) }
    }

    /// For calls that hand out plain bytes.
    #[inline(always)]
    pub(crate) fn to_open(self) -> Result<(), OpenHandleError> {
        if self.is_system() { Err(OpenHandleError::SystemKind { kind: self }) } else { Ok(()) }
    }
}
