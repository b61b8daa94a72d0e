//! Raw values: handles and blocks as plain data, and the place of a payload.

use std::alloc::Layout;
use std::fmt;
use std::ptr::NonNull;

use tenure_scratch_alloc::Scratch;
use tenure_slab::{self as slab, INLINE_BYTES, Slab};

use crate::error::OpenHandleError;

/// Alignment of payloads in bytes. A payload in a block has it by the layout of the block, a payload in an entry by its place there.
pub(crate) const ALIGN: usize = 16;

/// One count of a handle as plain data, as [`RawFd`](std::os::fd::RawFd) is a descriptor: it can be copied, and dropping it closes
/// nothing. A count that is not closed stays until the member leaves or dies.
///
/// Getting one is safe. [`Local::get`](crate::Local::get) and [`Local::close`](crate::Local::close) are unsafe: nothing ties a copy
/// to the count, so the caller promises that the count exists and that no other code closes it. [`Handle`](crate::Handle) is the
/// safe owner of a count.
///
/// It is two registers wide.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
/// # let me = space.join()?;
/// let mut local = me.local();
/// let raw = local.create(tenure::Kind::raw(1), b"tea")?;
/// assert_eq!(local.payload(&raw)?.len(), 3);
/// // SAFETY: this count is closed once, here, and no reference to the payload exists.
/// unsafe { local.close(raw)? };
/// # Ok(()) }
/// ```
#[derive(Clone, Copy)]
pub struct RawHandle {
    pub(crate) held: slab::Held,
}

impl fmt::Debug for RawHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawHandle").field("held", &self.held).finish()
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

/// The contents of a new payload: bytes, and zeros behind them.
#[derive(Clone, Copy)]
pub(crate) struct Contents<'a> {
    pub(crate) bytes: &'a [u8],
    /// Bytes of the payload, as many as `bytes` at least, and its alignment.
    pub(crate) layout: Layout,
}

impl<'a> Contents<'a> {
    pub(crate) fn of(bytes: &'a [u8]) -> Self {
        // 16 is a power of two; a slice is not so long that its length cannot be rounded up to it.
        let layout = Layout::from_size_align(bytes.len(), ALIGN).unwrap_or_else(|_| Layout::for_value(bytes));
        Self { bytes, layout }
    }

    pub(crate) fn zeros(layout: Layout) -> Self {
        Self { bytes: &[], layout }
    }

    /// Whether they may lie in the entry of the handle.
    pub(crate) fn are_inline(&self) -> bool {
        let (len, align) = (self.layout.size(), self.layout.align());
        self.bytes.len() == len && len <= INLINE_BYTES && align <= ALIGN
    }

    /// Writes them.
    ///
    /// # Safety
    ///
    /// As many bytes as the layout has lie at the address, and no other code uses them.
    pub(crate) unsafe fn write_to(self, address: *mut u8) {
        let (bytes, len) = (self.bytes, self.layout.size());
        // SAFETY: the caller's promise; `bytes` is no longer than `len`.
        unsafe {
            address.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
            address.add(bytes.len()).write_bytes(0, len.saturating_sub(bytes.len()));
        }
    }
}

/// The place of the payload of a handle. The caller has this count.
pub(crate) fn place(
    slab: &Slab<'_>,
    scratch: &Scratch<'_>,
    held: slab::Held,
) -> Result<NonNull<[u8]>, OpenHandleError> {
    let (len, block) = slab.payload_of(held).map_err(slab::OpenError::from)?;
    let data = match block {
        None => slab.inline_address(held),
        Some(offset) => match scratch.find(offset) {
            Ok(found) if len <= found.bytes => NonNull::new(scratch.address(offset)),
            _ => None,
        },
    };
    let Some(data) = data else {
        // The handle is over by now, or its words are corrupted.
        slab.kind(held).map_err(slab::OpenError::from)?;
        let offset = block.unwrap_or_default();
        return Err(OpenHandleError::Corrupt(format!("payload of {len} bytes at {offset} is no block")));
    };
    Ok(NonNull::slice_from_raw_parts(data, len as usize))
}
