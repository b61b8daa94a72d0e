//! Typed values: archived by rkyv, validated once, read in place.

use rkyv::Portable;
use rkyv::api::high::{HighSerializer, HighValidator};
use rkyv::bytecheck::CheckBytes;
use rkyv::rancor::Error;
use rkyv::ser::allocator::ArenaHandle;
use rkyv::util::AlignedVec;
use rkyv::{Archive, Serialize};

use crate::error::{CreateError, OpenHandleError};

/// What can be the value of a handle: anything that derives rkyv's `Archive` and `Serialize`.
///
/// The archived value is read by many threads and processes at once, so it is `Sync`. It has no interior mutability:
/// [`Portable`] promises that. It is aligned to at most 16 bytes, as payloads are; more does not compile.
pub trait Value:
    Archive<Archived: Portable + Sync + for<'a> CheckBytes<HighValidator<'a, Error>>>
    + for<'a> Serialize<HighSerializer<AlignedVec, ArenaHandle<'a>, Error>>
{
}

impl<T> Value for T where
    T: Archive<Archived: Portable + Sync + for<'a> CheckBytes<HighValidator<'a, Error>>>
        + for<'a> Serialize<HighSerializer<AlignedVec, ArenaHandle<'a>, Error>>
{
}

/// Alignment of payloads: those in blocks have it from their layout, those in entries from their place in the entry.
pub(crate) const ALIGN: usize = 16;

/// A valid archive. `Archive` and `Serialize` are safe traits, so what they wrote is validated as well.
pub(crate) fn to_bytes<T: Value>(value: &T) -> Result<AlignedVec, CreateError> {
    const { assert!(align_of::<T::Archived>() <= ALIGN, "values are aligned to at most 16 bytes") };
    let bytes = rkyv::to_bytes::<Error>(value).map_err(CreateError::Serialize)?;
    rkyv::access::<T::Archived, Error>(&bytes).map_err(CreateError::Serialize)?;
    Ok(bytes)
}

pub(crate) fn validate<T: Value>(bytes: &[u8]) -> Result<(), OpenHandleError> {
    rkyv::access::<T::Archived, Error>(bytes)
        .map(drop)
        .map_err(|error| OpenHandleError::Corrupt(error.to_string()))
}

/// # Safety
///
/// The bytes are a valid archive of `T`.
pub(crate) unsafe fn access<T: Value>(bytes: &[u8]) -> &T::Archived {
    // SAFETY: the caller's promise; payloads are aligned to 16 bytes, and validation looks at the alignment too.
    unsafe { rkyv::access_unchecked::<T::Archived>(bytes) }
}
