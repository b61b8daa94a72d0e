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
pub trait Value:
    Archive<Archived: Portable + for<'a> CheckBytes<HighValidator<'a, Error>>>
    + for<'a> Serialize<HighSerializer<AlignedVec, ArenaHandle<'a>, Error>>
{
}

impl<T> Value for T where
    T: Archive<Archived: Portable + for<'a> CheckBytes<HighValidator<'a, Error>>>
        + for<'a> Serialize<HighSerializer<AlignedVec, ArenaHandle<'a>, Error>>
{
}

pub(crate) fn to_bytes<T: Value>(value: &T) -> Result<AlignedVec, CreateError> {
    rkyv::to_bytes::<Error>(value).map_err(CreateError::Serialize)
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
    // SAFETY: the caller's promise; payloads are aligned to 16 bytes, as rkyv's are.
    unsafe { rkyv::access_unchecked::<T::Archived>(bytes) }
}
