//! Owned scratch blocks: freed when they are dropped, or when their owner dies.

use std::alloc::Layout;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use crate::error::{AllocError, BlockError, FreeError};
use crate::raw::RawBlock;
use crate::shared::Shared;

/// A block of scratch memory that this member owns. It dereferences to its bytes.
///
/// # Panics
///
/// Dereferencing panics after the member left and in a forked child, where the memory is not mapped.
pub struct Block {
    shared: Arc<Shared>,
    offset: u64,
    /// What was asked for.
    layout: Layout,
}

impl Block {
    pub(crate) fn new(shared: Arc<Shared>, offset: u64, layout: Layout) -> Self {
        Self { shared, offset, layout }
    }

    pub(crate) fn scratch(&self) -> RawBlock {
        RawBlock { offset: self.offset, len: self.layout.size() }
    }

    /// Gives up ownership without freeing.
    pub(crate) fn forget(self) {
        let mut this = std::mem::ManuallyDrop::new(self);
        // SAFETY: `this` is neither used nor dropped afterwards; the rest of it needs no drop.
        unsafe { std::ptr::drop_in_place(&raw mut this.shared) };
    }

    /// Where the payload starts, in bytes from the start of all payloads: the same in every process.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The address in this process.
    #[must_use]
    pub fn as_ptr(&self) -> *mut u8 {
        self.shared.scratch.address(self.offset)
    }

    fn address(&self) -> *mut u8 {
        if let Err(error) = self.shared.lease.check() {
            panic!("block used: {error}");
        }
        self.as_ptr()
    }

    /// Resizes it, in place where possible; the first bytes, as many as both lengths have, are kept, and so is the alignment
    /// that it was allocated with.
    ///
    /// # Errors
    ///
    /// [`AllocError`]; the block is as it was.
    pub fn resize(&mut self, len: usize) -> Result<(), AllocError> {
        self.shared.lease.check()?;
        let layout = Layout::from_size_align(len, self.layout.align()).map_err(|_| {
            tenure_scratch_alloc::AllocError::TooLarge { bytes: len as u64, max: isize::MAX as u64 }
        })?;
        self.offset = self.shared.realloc(&mut self.shared.common(), self.offset, layout)?;
        self.layout = layout;
        Ok(())
    }

    /// Gives the block up to nobody: it outlives us and everybody, until [`Member::free_pinned`](crate::Member::free_pinned).
    /// Returns its offset.
    ///
    /// # Errors
    ///
    /// [`FreeError`] and the block.
    pub fn pin(self) -> Result<u64, (FreeError, Self)> {
        let pinned = self
            .shared
            .lease
            .check()
            .map_err(FreeError::from)
            .and_then(|()| Ok(self.shared.scratch.pin(self.shared.lease.acquire(), self.offset)?));
        match pinned {
            Ok(()) => {
                let offset = self.offset;
                self.forget();
                Ok(offset)
            }
            Err(error) => Err((error, self)),
        }
    }

    /// Gives the block to another process, by any means: its offset, length and owner. Whoever takes it frees it with
    /// [`Local::free_of`](crate::Local::free_of); it still dies with this member.
    #[must_use]
    pub fn give(self) -> RawBlock {
        let scratch = self.scratch();
        self.forget();
        scratch
    }
}

impl Deref for Block {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `address` saw that this process is the member, which cannot leave while `shared` is there: so the bytes are mapped.
        // The allocator gave this block to nobody else, and to take it away by a raw value is unsafe (`Local::free`). It is at
        // least that long; shared memory is always initialised; peers do not access a block that is not theirs [A8].
        unsafe { std::slice::from_raw_parts(self.address(), self.layout.size()) }
    }
}

impl DerefMut for Block {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as for `deref`; `self` is borrowed exclusively, and it is the only `Block` of these bytes.
        unsafe { std::slice::from_raw_parts_mut(self.address(), self.layout.size()) }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        if self.shared.lease.check().is_ok() {
            // This `Block` is the only owner, and references to its bytes borrow it: nobody uses them any more. To take them away by a
            // raw value is unsafe (`Local::free`), so this frees nobody else's block.
            let freed: Result<(), BlockError> = self.shared.common().blocks.free(self.offset);
            // Ours by construction; a corrupted word leaves nothing to free.
            let _ = freed;
        }
    }
}

impl fmt::Debug for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Block").field("offset", &self.offset).field("len", &self.layout.size()).finish()
    }
}
