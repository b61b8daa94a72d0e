//! Raw values: handles and blocks as plain data, and the place of a payload.

use std::fmt;
use std::ptr::NonNull;

use tenure_scratch_alloc::Scratch;
use tenure_slab::{self as slab, Slab};

use crate::error::OpenHandleError;

/// One count of a handle as plain data, as [`RawFd`](std::os::fd::RawFd) is a descriptor: it can be copied, and dropping it closes
/// nothing. A count that is not closed stays until the member leaves or dies.
///
/// Getting one is safe. [`Local::get`](crate::Local::get) and [`Local::close`](crate::Local::close) are unsafe: nothing ties a copy
/// to the count, so the caller promises that the count exists and that no other code closes it. [`Handle`](crate::Handle) is the
/// safe owner of a count.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
/// # let me = space.join()?;
/// let mut local = me.local();
/// let raw = local.create(tenure::Kind::raw(1), b"tea")?;
/// assert_eq!(raw.payload().len(), 3);
/// // SAFETY: this count is closed once, here, and no reference to the payload exists.
/// unsafe { local.close(raw)? };
/// # Ok(()) }
/// ```
#[derive(Clone, Copy)]
pub struct RawHandle {
    pub(crate) held: slab::Held,
    pub(crate) data: *const u8,
    pub(crate) len: usize,
}

// SAFETY: numbers and an address; no safe function dereferences the address. The count belongs to the process, not to a thread.
unsafe impl Send for RawHandle {}
// SAFETY: as above.
unsafe impl Sync for RawHandle {}

impl RawHandle {
    /// The payload as memory, without a reference to it. For payloads that their holders agree to change by atomic operations: for
    /// them the slice of [`Local::get`](crate::Local::get) would be undefined behaviour. The memory is mapped in the process that holds
    /// the handle, for as long as it holds it.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let mut local = me.local();
    /// let held = local.create(tenure::Kind::raw(1), &[0; 8])?;
    /// let word = held.payload().cast::<std::sync::atomic::AtomicU64>();
    /// // SAFETY: 8 bytes, mapped while the handle is held, and aligned; all holders access them atomically.
    /// unsafe { word.as_ref() }.store(7, std::sync::atomic::Ordering::Release);
    /// # Ok(()) }
    /// ```
    #[inline]
    #[must_use]
    pub fn payload(&self) -> NonNull<[u8]> {
        let data = NonNull::new(self.data.cast_mut()).unwrap_or(NonNull::dangling());
        NonNull::slice_from_raw_parts(data, self.len)
    }
}

impl fmt::Debug for RawHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawHandle").field("held", &self.held).field("len", &self.len).finish()
    }
}

/// A block of scratch memory as plain data: freed by hand, or when its owner leaves or dies.
///
/// Getting a raw block is safe, and so is building one from numbers. The functions that free the block are unsafe: the caller
/// promises that its bytes are not used any more. [`Block`](crate::Block) is the safe owner of a block.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
/// # let me = space.join()?;
/// let mut local = me.local();
/// let raw = local.alloc(std::alloc::Layout::new::<[u64; 8]>())?;
/// assert_eq!(raw.len, 64);
/// // SAFETY: no code uses the bytes any more.
/// unsafe { local.free(raw)? };
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RawBlock {
    /// The start of the payload, in bytes from the start of all payloads; the same in every process.
    pub offset: u64,
    /// The requested length in bytes.
    pub len: usize,
}

/// The place of the payload of a handle. The caller has just got this count and has not closed it.
pub(crate) fn place(
    slab: &Slab<'_>,
    scratch: &Scratch<'_>,
    held: slab::Held,
) -> Result<RawHandle, OpenHandleError> {
    let (len, block) = slab.payload_of(held).map_err(slab::OpenError::from)?;
    let Some(offset) = block else {
        // The index is within the layout: the slab has just loaded this entry.
        let data = slab.inline_address(held).unwrap_or(std::ptr::dangling());
        return Ok(RawHandle { held, data, len: len as usize });
    };
    match scratch.find(offset) {
        Ok(found) if len <= found.bytes => {
            Ok(RawHandle { held, data: scratch.address(offset), len: len as usize })
        }
        _ => Err(OpenHandleError::Corrupt(format!("payload of {len} bytes at {offset} is no block"))),
    }
}
