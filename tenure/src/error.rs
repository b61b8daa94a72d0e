//! The reasons why calls fail: an enum for each family of calls.

use tenure_scratch_alloc as scratch;
use tenure_segment as segment;
use tenure_slab as slab;

use crate::kind::Kind;

pub use scratch::GeometryError as ScratchGeometryError;
pub use scratch::{AllocError as ScratchError, BlockError};
pub use segment::{
    Absence, JoinError, ListError, NotMember, OpenError as SegmentError, RecoverError, RemoveError,
};
pub use slab::{Full as NamesFull, GeometryError as HandleGeometryError, TokenError};

pub use crate::member::LeaveError;
pub use crate::slots::{PutError, SlotError};
#[cfg(feature = "objects")]
pub use {
    crate::collections::{map::MapError, queue::QueueError},
    crate::files::{DescriptorError, Refused, ShareError},
    crate::names::NamedError,
    crate::processes::ProcessError,
    crate::waiting::WaitError,
    segment::{passing::Refusal, process::PidError},
};

/// A call that would have taken its argument has failed, and gives it back.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
/// # let me = space.join()?;
/// let handle = me.create(&7u64)?;
/// let Err(returned) = me.leave() else { panic!("the handle exists") };
/// assert_eq!(returned.error.to_string(), "a member cannot leave while handles, blocks or clones of it exist");
/// drop(handle);
/// returned.value.leave()?;
/// # Ok(()) }
/// ```
#[must_use]
pub struct Returned<E, T> {
    /// Why it has failed.
    pub error: E,
    /// The argument, unchanged.
    pub value: T,
}

impl<E: std::fmt::Debug, T> std::fmt::Debug for Returned<E, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Returned").field("error", &self.error).finish_non_exhaustive()
    }
}

impl<E: std::fmt::Display, T> std::fmt::Display for Returned<E, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.error.fmt(f)
    }
}

impl<E: std::error::Error, T> std::error::Error for Returned<E, T> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.error.source()
    }
}

/// The reason why a space was not created or attached. An existing space is unchanged.
///
/// ```
/// # use tenure::{error::OpenError, Space};
/// let many = Space::options().members(257).private();
/// assert!(matches!(many, Err(OpenError::Members { found: 257 })));
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The segment of the space: name, permissions, file system, version, boot or memory.
    #[error(transparent)]
    Segment(#[from] segment::OpenError),
    /// The number of members is out of range.
    #[error("members: expected 1 to 256, found {found}")]
    Members {
        /// The requested number of members.
        found: u16,
    },
    /// The number of handles or generation bits is out of range.
    #[error(transparent)]
    Handles(#[from] slab::GeometryError),
    /// The number of scratch bytes or unit bytes is out of range.
    #[error(transparent)]
    Scratch(#[from] scratch::GeometryError),
    /// The space exists with another geometry than the requested one.
    #[error(
        "{what}: expected {expected}, but the space exists with {found}; leave the option out to accept it"
    )]
    Geometry {
        /// The name of the option that differs.
        what: &'static str,
        /// The requested number.
        expected: u64,
        /// The number of the existing space.
        found: u64,
    },
    /// The header is corrupted.
    #[error("the space's {what} makes no sense: found {found:?}")]
    Corrupt {
        /// The name of the corrupted part.
        what: &'static str,
        /// The words of that part.
        found: Vec<u64>,
    },
}

/// The reason why no handle was created. The caller keeps the value.
///
/// ```
/// # use tenure::{error::CreateError, Space};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let space = Space::options().handles(1).scratch(1 << 20).anonymous()?;
/// let me = space.join()?;
/// let _first = me.create(&7u64)?;
/// match me.create(&8u64) {
///     Err(CreateError::Exhausted { capacity }) => assert_eq!(capacity, 1),
///     other => panic!("{other:?}"),
/// }
/// # Ok(()) }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CreateError {
    /// The caller is not a member, or no member any more.
    #[error(transparent)]
    NotMember(#[from] NotMember),
    /// The member only reads.
    #[error(transparent)]
    ReadOnly(#[from] ReadOnly),
    /// Every handle is held by a live member, or retired.
    #[error("handles exhausted: all {capacity} are in use or retired")]
    Exhausted {
        /// The number of handles of the geometry.
        capacity: u32,
    },
    /// There is no scratch memory for the payload.
    #[error(transparent)]
    Scratch(#[from] ScratchError),
    /// The caller does not own the block to attach.
    #[error(transparent)]
    Block(#[from] BlockError),
    /// The block belongs to another member, of this space or of another one.
    #[error("the block at {offset} belongs to another member")]
    ForeignBlock {
        /// The offset of the block.
        offset: u64,
    },
    /// The count or the maximum of the semaphore is out of range.
    #[error(
        "semaphore: a count of {count} with a maximum of {maximum}; the maximum is 1 to 2^30-1, the count at most that"
    )]
    Semaphore {
        /// The requested count.
        count: u32,
        /// The requested maximum.
        maximum: u32,
    },
    /// The number of permits is out of range.
    #[error("permits: {total} of them; there are 1 to 65536")]
    Permits {
        /// The requested number.
        total: u32,
    },
    /// No run of container slots is free that is long enough: see [`Options::container_slots`](crate::Options::container_slots).
    #[error("no {slots} container slots in a row are free; the space has {capacity}")]
    ContainerSlots {
        /// The slots that the container needs, in multiples of 64.
        slots: u32,
        /// The container slots of the space.
        capacity: u32,
    },
    /// The capacity of the queue is out of range.
    #[error("expected a capacity of 1 to {most}, found {found}")]
    Capacity {
        /// The requested capacity.
        found: u32,
        /// The largest capacity of a queue.
        most: u32,
    },
    /// The kind is one of the system's own objects, which are not created from bytes.
    #[error("{kind} is not created from bytes: it is one of the system's objects")]
    SystemKind {
        /// The requested kind.
        kind: Kind,
    },
    /// Another handle has the name.
    #[error("name taken: it is that of {token}")]
    NameTaken {
        /// The token of the handle that has the name.
        token: slab::Token,
    },
    /// The name is empty or too long.
    #[error("a name has 1 to {} bytes, this one {found}", slab::NAME_MAX)]
    BadName {
        /// The length of the name in bytes.
        found: usize,
    },
    /// The table of names has no room for this name; other names may fit.
    #[error(transparent)]
    NamesFull(#[from] slab::Full),
    /// The value could not be serialised.
    #[cfg(feature = "typed")]
    #[error("value not serialised: {0}")]
    Serialize(rkyv::rancor::Error),
}

/// The reason why a token was not opened. Nothing was changed.
///
/// ```
/// # use tenure::{error::OpenHandleError, Space};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let space = Space::options().handles(64).scratch(1 << 20).anonymous()?;
/// # let me = space.join()?;
/// let token = me.create(&7u64)?.token(); // the handle is closed at once
/// match me.open::<u64>(token) {
///     Err(OpenHandleError::Stale { index, .. }) => assert_eq!(index, token.index()),
///     other => panic!("{other:?}"),
/// }
/// # Ok(()) }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenHandleError {
    /// The caller is not a member, or no member any more.
    #[error(transparent)]
    NotMember(#[from] NotMember),
    /// The handle has ended: its last holder has closed it, or died.
    #[error("stale: everybody let go of handle {index} in generation {generation}")]
    Stale {
        /// The index of the token.
        index: u32,
        /// The generation of the token.
        generation: u64,
    },
    /// No handle has this name.
    #[error("nothing has this name")]
    NoSuchName,
    /// This space has never issued the token.
    #[error("forged: handle {index} was never issued in generation {generation}")]
    Forged {
        /// The index of the token.
        index: u32,
        /// The generation of the token.
        generation: u64,
    },
    /// Another space has issued the token.
    #[error("foreign space: expected a token of space {expected}, found one of space {found}")]
    ForeignSpace {
        /// The tag of this space.
        expected: u8,
        /// The tag of the token.
        found: u8,
    },
    /// The object is of another kind.
    #[error(
        "foreign kind: expected a handle of {expected}, found one of {found}; open it with the kind, or the Rust type, that it was created with"
    )]
    ForeignKind {
        /// The requested kind.
        expected: Kind,
        /// The kind of the object.
        found: Kind,
    },
    /// The kind is one of the system's own objects. Their payloads change while they are held, so they are not opened as bytes.
    #[error("{kind} is not opened as bytes: it is one of the system's objects")]
    SystemKind {
        /// The requested kind.
        kind: Kind,
    },
    /// The local count of the handle in this process is at its limit.
    #[error("this process has the handle open {limit} times, the most that is counted")]
    TooMany {
        /// The largest local count.
        limit: u64,
    },
    /// The member only reads, and whoever has such a value can store to it.
    #[error(transparent)]
    ReadOnly(#[from] ReadOnly),
    /// The value's bytes are not valid for the type, or the handle's words are corrupted.
    #[error("corrupt: {0}")]
    Corrupt(String),
}

#[doc(hidden)]
impl From<slab::OpenError> for OpenHandleError {
    fn from(error: slab::OpenError) -> Self {
        match error {
            slab::OpenError::Stale(slab::Stale { index, expected, .. }) => {
                Self::Stale { index, generation: expected }
            }
            slab::OpenError::Forged { index, generation } => Self::Forged { index, generation },
            slab::OpenError::ForeignSpace { expected, found } => Self::ForeignSpace { expected, found },
            slab::OpenError::ForeignKind { expected, found } => {
                Self::ForeignKind { expected: Kind::from_number(expected), found: Kind::from_number(found) }
            }
            slab::OpenError::CountFull { .. } => Self::TooMany { limit: slab::COUNT_MAX },
            other => Self::Corrupt(other.to_string()),
        }
    }
}

/// The reason why a held handle cannot be used. One byte: a result with it is passed in registers. The caller has the handle's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UseError {
    /// The caller is not a member, or no member any more.
    #[error(transparent)]
    NotMember(#[from] NotMember),
    /// The handle is closed already, or its word is corrupted.
    #[error("the handle is not held")]
    Stale,
}

#[cfg(any(feature = "typed", feature = "objects"))]
impl UseError {
    /// Of a handle that was opened just now: it is held, unless the segment is corrupted.
    pub(crate) fn of_opened(self) -> OpenHandleError {
        match self {
            Self::NotMember(error) => error.into(),
            Self::Stale => OpenHandleError::Corrupt(self.to_string()),
        }
    }
}

const _: () = assert!(size_of::<Result<&[u8], UseError>>() == 16 && size_of::<Result<(), UseError>>() == 1);

/// The member is of a [read-only](crate::Options::read_only) space: it opens, reads and waits, but creates and allocates nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("read-only: this member was joined to read, and neither creates nor allocates")]
pub struct ReadOnly;

/// The reason why a block was not allocated or resized.
///
/// ```
/// # use std::alloc::Layout;
/// # use tenure::error::{AllocError, ScratchError};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
/// # let me = space.join()?;
/// let empty = me.alloc(Layout::new::<()>());
/// assert!(matches!(empty, Err(AllocError::Scratch(ScratchError::Empty))));
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AllocError {
    /// The caller is not a member, or no member any more.
    #[error(transparent)]
    NotMember(#[from] NotMember),
    /// The member only reads.
    #[error(transparent)]
    ReadOnly(#[from] ReadOnly),
    /// The size or the alignment is impossible, the scratch memory is exhausted, or the system has no memory.
    #[error(transparent)]
    Scratch(#[from] ScratchError),
    /// The caller does not own the block to resize.
    #[error(transparent)]
    Block(#[from] BlockError),
}

/// The reason why a block was not freed. The block is unchanged.
///
/// ```
/// # use tenure::error::{BlockError, FreeError};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
/// # let (me, other) = (space.join()?, space.join()?);
/// let block = me.local().alloc(std::alloc::Layout::new::<u64>())?;
/// // SAFETY: no reference to the block exists. A free by a member that does not own it is an error.
/// let foreign = unsafe { other.local().free(block) };
/// assert!(matches!(foreign, Err(FreeError::Block(BlockError::WrongOwner { .. }))));
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FreeError {
    /// The caller is not a member, or no member any more.
    #[error(transparent)]
    NotMember(#[from] NotMember),
    /// No block starts there, it is free already, or it has another owner.
    #[error(transparent)]
    Block(#[from] BlockError),
}

impl Kind {
    /// Refuses a system kind: for calls that create a handle from plain bytes.
    #[inline(always)]
    pub(crate) fn to_create(self) -> Result<(), CreateError> {
        if self.is_system() { Err(CreateError::SystemKind { kind: self }) } else { Ok(()) }
    }

    /// Refuses a system kind: for calls that return plain bytes.
    #[inline(always)]
    pub(crate) fn to_open(self) -> Result<(), OpenHandleError> {
        if self.is_system() { Err(OpenHandleError::SystemKind { kind: self }) } else { Ok(()) }
    }
}
