//! Typed values: archived by rkyv, validated once, read in place.

use rkyv::Portable;
use rkyv::api::high::{HighSerializer, HighValidator};
use rkyv::bytecheck::CheckBytes;
use rkyv::rancor::Error;
use rkyv::ser::allocator::ArenaHandle;
use rkyv::util::AlignedVec;
use rkyv::{Archive, Serialize};

use crate::error::{CreateError, OpenHandleError, UseError};
use crate::raw::ALIGN;

/// A type that can be the value of a handle: each type that derives rkyv's `Archive` and `Serialize`.
///
/// The type derives them from the `rkyv` of the program, or from the one that this crate exports: see [`rkyv`](crate::rkyv).
///
/// Many threads and processes read the archived value at once, so it is `Sync`. It has no interior mutability: [`Portable`]
/// promises that. Its alignment is at most 16 bytes, that of payloads; a larger one does not compile.
///
/// ```
/// # use rkyv::{Archive, Serialize};
/// #[derive(Archive, Serialize)]
/// struct Point {
///     x: i32,
///     y: i32,
/// }
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
/// # let me = space.join()?;
/// let point = me.create(&Point { x: 1, y: 2 })?;
/// assert_eq!(point.get()?.x.to_native() + point.get()?.y.to_native(), 3);
/// # Ok(()) }
/// ```
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

/// A valid archive of a value. `Archive` and `Serialize` are safe traits, so their output is validated as well.
pub(crate) fn to_bytes<T: Value>(value: &T) -> Result<AlignedVec, CreateError> {
    const { assert!(align_of::<T::Archived>() <= ALIGN, "values are aligned to at most 16 bytes") };
    let bytes = rkyv::to_bytes::<Error>(value).map_err(CreateError::Serialize)?;
    rkyv::access::<T::Archived, Error>(&bytes).map_err(CreateError::Serialize)?;
    Ok(bytes)
}

/// The value, if the bytes are a valid archive of one.
pub(crate) fn validated<T: Value>(bytes: &[u8]) -> Result<&T::Archived, OpenHandleError> {
    rkyv::access::<T::Archived, Error>(bytes).map_err(|error| OpenHandleError::Corrupt(error.to_string()))
}

/// # Errors
///
/// [`UseError::Stale`] if the words of the handle were corrupted since, so that these are other bytes.
///
/// # Safety
///
/// The bytes are a valid archive of `T`, or others of any length and place.
pub(crate) unsafe fn access<T: Value>(bytes: &[u8]) -> Result<&T::Archived, UseError> {
    // The value is at their end, aligned.
    let at = bytes.len().checked_sub(size_of::<T::Archived>());
    if !at.is_some_and(|at| at.is_multiple_of(align_of::<T::Archived>())) {
        return Err(UseError::Stale);
    }
    // SAFETY: the caller's promise; payloads are aligned to 16 bytes, and validation checks the alignment too.
    Ok(unsafe { rkyv::access_unchecked::<T::Archived>(bytes) })
}
