//! Errors, small enough for the hot path.

use crate::word::Block;

/// Why nothing was allocated. The region is as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AllocError {
    /// The request is larger than the largest block.
    #[error("block of {bytes} bytes: at most {max} are possible here")]
    TooLarge {
        /// Bytes asked for.
        bytes: u64,
        /// The largest block of this geometry, in bytes.
        max: u64,
    },
    /// Zero bytes.
    #[error("block of 0 bytes: expected at least 1")]
    Empty,
    /// An alignment that is not a power of two or larger than a page or a unit.
    #[error("alignment of {align} bytes: expected a power of two up to {max}")]
    Align {
        /// Alignment asked for, in bytes.
        align: u64,
        /// The largest alignment of this geometry, in bytes.
        max: u64,
    },
    /// Every usable unit is owned by a living lease.
    #[error("scratch exhausted: no room for {bytes} bytes in {capacity}")]
    Exhausted {
        /// Bytes asked for.
        bytes: u64,
        /// Bytes of payload in the whole region.
        capacity: u64,
    },
    /// The system has no memory to commit.
    #[error("no memory behind the segment for {bytes} more bytes")]
    NoMemory {
        /// Bytes asked for.
        bytes: u64,
    },
}

/// Why a block was not freed, attached or resized. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlockError {
    /// The offset is outside of the payload, or of its part that was ever used.
    #[error("offset {offset}: outside of the {capacity} bytes in use")]
    OutOfRange {
        /// The offset, in bytes.
        offset: u64,
        /// Bytes of payload that can contain blocks now.
        capacity: u64,
    },
    /// No block starts there.
    #[error("offset {offset}: no block starts there")]
    NotABlock {
        /// The offset, in bytes.
        offset: u64,
    },
    /// The block is free: a double free, or a use after free.
    #[error("offset {offset}: the block is already free")]
    AlreadyFree {
        /// The offset, in bytes.
        offset: u64,
    },
    /// The block has another owner.
    #[error("offset {offset}: expected {expected:?}, found {found:?}")]
    WrongOwner {
        /// The offset, in bytes.
        offset: u64,
        /// The owner the caller named.
        expected: Block,
        /// The owner that the block word names.
        found: Block,
    },
}

/// The system could not commit memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("out of memory")]
pub struct OutOfMemory;
