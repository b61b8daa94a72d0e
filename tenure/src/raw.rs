//! Raw values: handles and blocks as plain data, and where a payload lies.

use std::fmt;
use std::ptr::NonNull;

use tenure_scratch_alloc::Scratch;
use tenure_slab::{self as slab, Slab};

use crate::error::OpenHandleError;

/// One count of a handle as plain data, as [`RawFd`](std::os::fd::RawFd) is a descriptor: it can be copied, and dropping it closes
/// nothing. A count that nobody closes is held until the member leaves or dies.
///
/// Getting one is safe. [`Local::get`](crate::Local::get) and [`Local::close`](crate::Local::close) are unsafe: nothing ties a copy to the count, so the caller says
/// that the count is there, and that nobody else closes it. [`Handle`](crate::Handle) is the safe owner of a count.
#[derive(Clone, Copy)]
pub struct RawHandle {
    pub(crate) held: slab::Held,
    pub(crate) data: *const u8,
    pub(crate) len: usize,
}

// SAFETY: numbers and an address, which no safe function dereferences. The count is the process's, not the thread's.
unsafe impl Send for RawHandle {}
// SAFETY: as above.
unsafe impl Sync for RawHandle {}

impl RawHandle {
    /// The payload as memory, without a reference to it: for payloads that their holders agree to change by atomic
    /// operations, for which the slice of [`Local::get`](crate::Local::get) would be wrong. Mapped as long as the handle is held, by the process
    /// that holds it.
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
/// Getting one is safe, and so is writing one down. The functions that take the block away are unsafe: the caller says that
/// nobody uses its bytes any more. [`Block`](crate::Block) is the safe owner of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RawBlock {
    /// Where the payload starts, in bytes from the start of all payloads; the same in every process.
    pub offset: u64,
    /// Bytes asked for.
    pub len: usize,
}

/// Where the payload of a handle lies. The caller has just got this count and has not closed it.
pub(crate) fn place(
    slab: &Slab<'_>,
    scratch: &Scratch<'_>,
    held: slab::Held,
) -> Result<RawHandle, OpenHandleError> {
    let (len, block) = slab.payload_of(held).map_err(slab::OpenError::from)?;
    let Some(offset) = block else {
        // Inside of the layout: the slab has just looked at this entry.
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
