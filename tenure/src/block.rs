//! Owned scratch blocks: freed by a drop, or by recovery when their owner dies.

use std::alloc::Layout;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use crate::error::{AllocError, BlockError, CreateError, FreeError, Returned};
use crate::raw::RawBlock;
use crate::shared::Shared;

/// A block of scratch memory that this member owns. It dereferences to its bytes. Dropping it frees it.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
/// # let me = space.join()?;
/// let mut block = me.alloc(std::alloc::Layout::from_size_align(1000, 16)?)?;
/// block[..3].copy_from_slice(b"tea");
/// assert_eq!((block.len(), &block[..3]), (1000, &b"tea"[..]));
/// # Ok(()) }
/// ```
///
/// # Panics
///
/// Dereferencing panics after the member has left, and in a forked child: the memory is not mapped there.
pub struct Block {
    shared: Arc<Shared>,
    offset: u64,
    /// The size and the alignment of the request, in bytes.
    layout: Layout,
}

impl Block {
    pub(crate) fn new(shared: Arc<Shared>, offset: u64, layout: Layout) -> Self {
        Self { shared, offset, layout }
    }

    pub(crate) fn scratch(&self) -> RawBlock {
        RawBlock { offset: self.offset, len: self.layout.size() }
    }

    /// Refuses a member other than the owner. Leases and offsets do not tell: members of different spaces have the same ones.
    pub(crate) fn check_owner(&self, shared: &Arc<Shared>) -> Result<(), CreateError> {
        let is_ours = Arc::ptr_eq(&self.shared, shared);
        if is_ours { Ok(()) } else { Err(CreateError::ForeignBlock { offset: self.offset }) }
    }

    /// Gives up ownership without freeing.
    pub(crate) fn forget(self) {
        let mut this = std::mem::ManuallyDrop::new(self);
        // SAFETY: `this` is neither used nor dropped afterwards; its other fields need no drop.
        unsafe { std::ptr::drop_in_place(&raw mut this.shared) };
    }

    /// The start of the payload, in bytes from the start of all payloads: the same number in every process.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let block = me.alloc(std::alloc::Layout::new::<u64>())?;
    /// assert_eq!(me.local().address(tenure::raw::RawBlock { offset: block.offset(), len: 8 }), block.as_ptr());
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The address of the payload in this process.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let block = me.alloc_zeroed(std::alloc::Layout::new::<u64>())?;
    /// // SAFETY: the block is in use, 8 bytes long and aligned; no other code accesses it.
    /// unsafe { block.as_ptr().cast::<u64>().write(7) };
    /// assert_eq!(block[0], 7);
    /// # Ok(()) }
    /// ```
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

    /// Resizes the block to `len` bytes, in place where possible; else its offset changes. It keeps the first bytes, up to the smaller of
    /// both lengths, and its alignment.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let mut block = me.alloc(std::alloc::Layout::from_size_align(100, 16)?)?;
    /// block[99] = 7;
    /// block.resize(10_000)?;
    /// assert_eq!((block.len(), block[99]), (10_000, 7));
    /// assert!(block.resize(1 << 30).is_err()); // more than the space has
    /// assert_eq!(block.len(), 10_000);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`AllocError`]; the block is unchanged.
    pub fn resize(&mut self, len: usize) -> Result<(), AllocError> {
        self.shared.lease.check()?;
        let layout = Layout::from_size_align(len, self.layout.align()).map_err(|_| {
            tenure_scratch_alloc::AllocError::TooLarge { bytes: len as u64, max: isize::MAX as u64 }
        })?;
        self.offset = self.shared.realloc(&mut self.shared.common(), self.offset, layout)?;
        self.layout = layout;
        Ok(())
    }

    /// Pins the block: from now on it has no owner, and outlives all members until
    /// [`Member::free_pinned`](crate::Member::free_pinned) frees it. Returns its offset.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let block = me.alloc(std::alloc::Layout::new::<[u64; 8]>())?;
    /// let offset = block.pin()?;
    /// assert_eq!(space.stats().blocks_pinned, 1);
    /// // SAFETY: no process uses the bytes.
    /// unsafe { me.free_pinned(offset)? };
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`FreeError`]; the block is returned, unchanged.
    pub fn pin(self) -> Result<u64, Returned<FreeError, Self>> {
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
            Err(error) => Err(Returned { error, value: self }),
        }
    }

    /// Gives the block up, to pass it to another process as a raw value. The receiver needs the offset, the length and the owner
    /// ([`Member::lease`](crate::Member::lease)), and frees the block by [`Local::free_of`](crate::Local::free_of). This member stays the
    /// owner: if it leaves or dies first, the block is freed.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let (me, other) = (space.join()?, space.join()?);
    /// let mut block = me.alloc(std::alloc::Layout::new::<[u8; 100]>())?;
    /// block[0] = 7;
    /// let (raw, owner) = (block.give(), me.lease());
    ///
    /// // Usually in another process:
    /// let mut local = other.local();
    /// // SAFETY: `me` gave the block, and does not use it any more.
    /// unsafe {
    ///     assert_eq!(local.address(raw).read(), 7);
    ///     local.free_of(raw, owner)?;
    /// }
    /// # Ok(()) }
    /// ```
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
        // SAFETY: `address` checked that this process is the member, and the member cannot leave while `shared` exists: so the bytes are
        // mapped. The allocator gave this block to no other caller, and freeing it through a raw value is unsafe (`Local::free`). It is
        // at least that long; shared memory is always initialised; peers do not access a block that they do not own [A8].
        unsafe { std::slice::from_raw_parts(self.address(), self.layout.size()) }
    }
}

impl DerefMut for Block {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as for `deref`; `self` is borrowed exclusively, and is the only `Block` of these bytes.
        unsafe { std::slice::from_raw_parts_mut(self.address(), self.layout.size()) }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        if self.shared.lease.check().is_ok() {
            // This `Block` is the only owner, and references to its bytes borrow it: no code uses them any more. Freeing them through
            // a raw value is unsafe (`Local::free`), so this frees no other owner's block.
            let freed: Result<(), BlockError> = self.shared.common().blocks.free(self.offset);
            // The block is owned by construction; if its word is corrupted, there is nothing to free.
            let _ = freed;
        }
    }
}

impl fmt::Debug for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Block").field("offset", &self.offset).field("len", &self.layout.size()).finish()
    }
}
