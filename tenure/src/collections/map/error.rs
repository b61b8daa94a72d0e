//! Errors of maps.

use crate::error::{CreateError, NotMember, OpenHandleError, ReadOnly, UseError};

/// The reason why an operation on a map failed. The pairs are unchanged, except by [`Map::clear`](crate::collections::Map::clear), and by an eviction that a
/// bounded map has begun.
///
/// ```
/// # use tenure::{collections::Map, error::MapError};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let space = tenure::Space::options().container_slots(64).handles(8).scratch(1 << 20).anonymous()?;
/// # let me = space.join()?;
/// let map = Map::create(&me, 64)?;
/// let too_large = map.insert(b"key", &vec![0; 2 << 20]);
/// assert!(matches!(too_large, Err(MapError::Create(_))));
/// assert_eq!(map.get(b"key")?, None);
/// # Ok(()) }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MapError {
    /// The caller is not a member, or no member any more.
    #[error(transparent)]
    NotMember(#[from] NotMember),
    /// The member only reads.
    #[error(transparent)]
    ReadOnly(#[from] ReadOnly),
    /// No handle or no memory for the pair.
    #[error(transparent)]
    Create(CreateError),
    /// The bucket of the key is full: the map has far more pairs than its capacity.
    #[error("the bucket of the key has {pairs} pairs, the most it can have")]
    Full {
        /// The pairs of the bucket.
        pairs: usize,
    },
    /// A key has 2^31 bytes or more, or a value 2^32.
    #[error("keys have less than 2^31 bytes and values less than 2^32, these have {key} and {value}")]
    TooLarge {
        /// Bytes of the key.
        key: usize,
        /// Bytes of the value.
        value: usize,
    },
    /// This process has a record of the map open as often as it can be: too many [`Entry`](crate::collections::Entry) values of one bucket.
    #[error("this process has the handle open {limit} times, the most that is counted")]
    TooMany {
        /// The limit.
        limit: u64,
    },
    /// The segment is corrupted where the map lies.
    #[error("corrupt: {0}")]
    Corrupt(String),
}

impl From<CreateError> for MapError {
    fn from(error: CreateError) -> Self {
        match error {
            CreateError::NotMember(why) => Self::NotMember(why),
            CreateError::ReadOnly(why) => Self::ReadOnly(why),
            other => Self::Create(other),
        }
    }
}

impl From<OpenHandleError> for MapError {
    fn from(error: OpenHandleError) -> Self {
        match error {
            OpenHandleError::NotMember(why) => Self::NotMember(why),
            OpenHandleError::TooMany { limit } => Self::TooMany { limit },
            other => Self::Corrupt(other.to_string()),
        }
    }
}

impl From<UseError> for MapError {
    fn from(error: UseError) -> Self {
        match error {
            UseError::NotMember(why) => Self::NotMember(why),
            UseError::Stale => Self::Corrupt(error.to_string()),
        }
    }
}
