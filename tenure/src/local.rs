//! The fast interface: caches of one thread, raw payloads, and handles that the caller closes by hand.

use std::alloc::Layout;
use std::fmt;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;

use tenure_core::LeaseId;
use tenure_scratch_alloc::GRANULE;
use tenure_slab::{self as slab, INLINE_BYTES, Payload, Slab, Token};

use crate::error::{AllocError, CreateError, FreeError, NotMember, OpenHandleError, UseError};
use crate::kind::Kind;
use crate::raw::{ALIGN, Contents, RawBlock, RawHandle, place};
use crate::shared::{Caches, HandleCaches, Shared};
#[cfg(feature = "typed")]
use crate::typed::{self, Value};

/// The fast access of one thread to a member. Make one for each thread with [`Member::local`](crate::Member::local) and keep it.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use tenure::Kind;
/// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
/// # let (me, other) = (space.join()?, space.join()?);
/// let mut local = me.local();
/// let held = local.create(Kind::raw(1), b"tea")?;
/// let token = local.token(&held);
///
/// // Usually in another process:
/// let mut theirs = other.local();
/// let opened = theirs.open(Kind::raw(1), token)?;
/// // SAFETY: both members hold the handle until they close their counts, once each, here.
/// unsafe {
///     assert_eq!(theirs.get(&opened)?, b"tea");
///     theirs.close(opened)?;
///     local.close(held)?;
/// }
/// # Ok(()) }
/// ```
///
/// # Progress
///
/// With filled caches, `create`, `get`, `alloc` and `free` store only to words that no other thread stores to; `close` of a handle
/// that no other process has opened is one CAS. When the local is dropped, its caches stay with the member.
///
/// # Crash
///
/// No handle or block is lost with a local: other processes recover from the shared words alone.
///
/// # Safety of the unsafe functions
///
/// Calls that get a handle or a block are safe: at worst the caller leaks it. Calls that use, close or free by a raw value are unsafe,
/// as with [`GlobalAlloc`](std::alloc::GlobalAlloc). Their contracts are only about live references and live owners. A stale number
/// (a handle that this member does not hold, an offset where none of its blocks starts) is always an error, and nothing is changed:
/// it is never undefined behaviour.
#[derive(Debug)]
pub struct Local<'m> {
    shared: &'m Shared,
    caches: ManuallyDrop<Caches>,
}

impl fmt::Debug for Caches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Caches")
            .field("handles", &self.handles.cache.len())
            .field("blocks", &self.blocks)
            .finish()
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Member").field("lease", &self.lease.id()).finish_non_exhaustive()
    }
}

impl Drop for Local<'_> {
    fn drop(&mut self) {
        // SAFETY: the caches are not used again.
        let caches = unsafe { ManuallyDrop::take(&mut self.caches) };
        self.shared.return_caches(caches);
    }
}

impl<'m> Local<'m> {
    pub(crate) fn new(shared: &'m Shared) -> Self {
        Self { shared, caches: ManuallyDrop::new(shared.take_caches()) }
    }

    pub(crate) fn shared(&self) -> &'m Shared {
        self.shared
    }

    /// The lease of the member: the owner of the blocks that this local allocates.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// assert_eq!(me.local().owner(), me.lease());
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn owner(&self) -> LeaseId {
        self.shared.lease.id()
    }

    /// Whether the member is of a [read-only](crate::Options::read_only) space: it writes no payload.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// assert!(!space.join()?.local().is_read_only());
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.shared.check_writer().is_err()
    }

    /// Creates a handle of `kind` with a copy of `bytes`, held once by this process.
    ///
    /// A payload of up to 32 bytes lies in the handle's own cache line, a longer one in a block.
    ///
    /// ```
    /// # use tenure::{error::CreateError, Kind};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let space = tenure::Space::options().handles(1).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let mut local = me.local();
    /// let held = local.create(Kind::raw(1), b"tea")?;
    /// let full = local.create(Kind::raw(1), b"milk");
    /// assert!(matches!(full, Err(CreateError::Exhausted { capacity: 1 })));
    /// # let _ = held;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`CreateError`], for instance [`CreateError::Exhausted`]; nothing was created.
    #[inline(always)]
    pub fn create(&mut self, kind: Kind, bytes: &[u8]) -> Result<RawHandle, CreateError> {
        kind.to_create()?;
        self.shared.create(&mut self.caches, kind, bytes)
    }

    /// Creates a handle of `kind` whose payload is zeros, without a copy of them: `layout` is its size and alignment. For payloads that their
    /// holders agree to change by atomic operations: see [`Local::payload`].
    ///
    /// ```
    /// # use std::alloc::Layout;
    /// # use std::sync::atomic::{AtomicU64, Ordering};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let mut local = me.local();
    /// let held = local.create_zeroed(tenure::Kind::raw(1), Layout::from_size_align(100_000, 64)?)?;
    /// let words = local.payload(&held)?.cast::<[AtomicU64; 12_500]>();
    /// // SAFETY: 100,000 bytes, mapped while the handle is held, and aligned; all holders access them atomically.
    /// assert_eq!(unsafe { words.as_ref() }[12_499].fetch_add(1, Ordering::Relaxed), 0);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Local::create`].
    pub fn create_zeroed(&mut self, kind: Kind, layout: Layout) -> Result<RawHandle, CreateError> {
        kind.to_create()?;
        // Without bytes nothing is to be aligned, and no block is that small.
        let is_inline = layout.size() == 0 || layout.size() <= INLINE_BYTES && layout.align() <= ALIGN;
        if is_inline {
            return self.shared.create(&mut self.caches, kind, &[0; INLINE_BYTES][..layout.size()]);
        }
        self.shared.create_from(&mut self.caches, kind, Contents::zeros(layout))
    }

    /// Creates a handle of `kind` with a block of this member as its payload, without a copy. From now on the block belongs to the handle.
    ///
    /// ```
    /// # use tenure::Kind;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let mut local = me.local();
    /// let block = local.alloc(std::alloc::Layout::new::<[u8; 100]>())?;
    /// // SAFETY: the block is this caller's own, 100 bytes long, and is not written after it is given up.
    /// let held = unsafe {
    ///     local.address(block).write_bytes(7, 100);
    ///     local.create_with(Kind::raw(1), block)?
    /// };
    /// // SAFETY: held, and closed by no other code.
    /// assert_eq!(unsafe { local.get(&held)? }, [7; 100]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`CreateError`]; the caller keeps the block.
    ///
    /// # Safety
    ///
    /// If a block of this member starts at the offset, the caller owns it by a raw value: no [`Block`](crate::Block) owns it, no other
    /// code frees it, and from now on no code writes it.
    pub unsafe fn create_with(&mut self, kind: Kind, block: RawBlock) -> Result<RawHandle, CreateError> {
        self.shared.lease.check()?;
        kind.to_create()?;
        self.shared.create_with(&mut self.caches, kind, block)
    }

    /// Opens a token: afterwards this process holds the handle once more.
    ///
    /// ```
    /// # use tenure::{error::OpenHandleError, Kind};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let (me, other) = (space.join()?, space.join()?);
    /// let mut local = me.local();
    /// let held = local.create(Kind::raw(1), b"tea")?;
    /// let token = local.token(&held);
    ///
    /// let mut theirs = other.local(); // usually in another process
    /// let opened = theirs.open(Kind::raw(1), token)?;
    /// assert!(matches!(theirs.open(Kind::raw(2), token), Err(OpenHandleError::ForeignKind { .. })));
    ///
    /// // SAFETY: each count is closed once, and no reference to the payload exists.
    /// unsafe { (theirs.close(opened)?, local.close(held)?) };
    /// assert!(matches!(theirs.open(Kind::raw(1), token), Err(OpenHandleError::Stale { .. })));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`OpenHandleError`], for instance [`OpenHandleError::Stale`], [`OpenHandleError::ForeignKind`] or
    /// [`OpenHandleError::ForeignSpace`]; nothing is held.
    #[inline(always)]
    pub fn open(&mut self, kind: Kind, token: Token) -> Result<RawHandle, OpenHandleError> {
        kind.to_open()?;
        self.shared.open_in(&self.caches.handles.slab, kind, token)
    }

    /// The payload, borrowed from shared memory: one load and one compare.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let mut local = me.local();
    /// let held = local.create(tenure::Kind::raw(1), b"tea")?;
    /// // SAFETY: this member holds the handle, and nothing closes it here.
    /// assert_eq!(unsafe { local.get(&held)? }, b"tea");
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`UseError::Stale`] when no process holds the handle any more, [`UseError::NotMember`] after the member has left or in a forked
    /// child.
    ///
    /// # Safety
    ///
    /// If the handle is not stale: `held` came from a local of this member, this member holds the handle from now until the last use of
    /// the slice, and no holder writes the payload during that time.
    #[inline(always)]
    pub unsafe fn get(&self, held: &RawHandle) -> Result<&[u8], UseError> {
        let payload = self.payload(held)?;
        // SAFETY: the caller holds the handle as long as the slice is used, so its payload is mapped, at least that long, and
        // immutable [slab-bit-covers-use].
        Ok(unsafe { payload.as_ref() })
    }

    /// The payload as memory, without a reference to it. For payloads that their holders agree to change by atomic operations: for
    /// them the slice of [`get`](Self::get) would be undefined behaviour. The memory is mapped in the process that holds the handle, for
    /// as long as it holds it.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let mut local = me.local();
    /// let held = local.create(tenure::Kind::raw(1), &[0; 8])?;
    /// let word = local.payload(&held)?.cast::<std::sync::atomic::AtomicU64>();
    /// // SAFETY: 8 bytes, mapped while the handle is held, and aligned; all holders access them atomically.
    /// unsafe { word.as_ref() }.store(7, std::sync::atomic::Ordering::Release);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    #[inline(always)]
    pub fn payload(&self, held: &RawHandle) -> Result<NonNull<[u8]>, UseError> {
        self.shared.payload(&self.caches.handles.slab, *held)
    }

    /// The token: 64 bits to pass to other processes.
    ///
    /// ```
    /// # use tenure::Kind;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let mut local = me.local();
    /// let held = local.create(Kind::raw(1), b"tea")?;
    /// let bits = u64::from(local.token(&held)); // to a file, a pipe, shared memory
    /// assert!(local.open(Kind::raw(1), bits.try_into()?).is_ok());
    /// # Ok(()) }
    /// ```
    #[inline]
    #[must_use]
    pub fn token(&self, held: &RawHandle) -> Token {
        held.held.token(&self.shared.slab)
    }

    /// Finds a handle that this process holds already, by its token: for callers that keep tokens only. The result is a copy, not one
    /// more count.
    ///
    /// ```
    /// # use tenure::Kind;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let (me, other) = (space.join()?, space.join()?);
    /// let mut local = me.local();
    /// let held = local.create(Kind::raw(1), b"tea")?;
    /// let token = local.token(&held);
    /// assert!(local.held(Kind::raw(1), token).is_ok());
    /// assert!(other.local().held(Kind::raw(1), token).is_err()); // does not hold it
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`OpenHandleError`], in particular `Stale` when this process does not hold the handle.
    #[inline(always)]
    pub fn held(&self, kind: Kind, token: Token) -> Result<RawHandle, OpenHandleError> {
        kind.to_open()?;
        let slab = &self.caches.handles.slab;
        match slab.held(self.shared.ref_counts(), token) {
            Ok(held) if slab.kind(held) == Ok(kind.number()) => Ok(RawHandle { held }),
            Ok(held) => Err(self.shared.of_another_kind(kind, held)),
            Err(refused) => Err(self.shared.not_opened(refused)),
        }
    }

    /// As [`Local::close`], by token.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let mut local = me.local();
    /// let held = local.create(tenure::Kind::raw(1), b"tea")?;
    /// let token = local.token(&held);
    /// // SAFETY: the count is closed once, and no reference to the payload exists. A second close is an error.
    /// unsafe {
    ///     local.close_token(token)?;
    ///     assert!(local.close_token(token).is_err());
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`OpenHandleError`], in particular `Stale` when this process does not hold the handle.
    ///
    /// # Safety
    ///
    /// As [`Local::close`].
    #[inline(always)]
    pub unsafe fn close_token(&mut self, token: Token) -> Result<(), OpenHandleError> {
        match self.caches.handles.slab.held(self.shared.ref_counts(), token) {
            // SAFETY: the caller's promise.
            Ok(held) => unsafe { self.close(RawHandle { held }) }.map_err(|error| match error {
                UseError::NotMember(why) => why.into(),
                UseError::Stale => {
                    OpenHandleError::Stale { index: token.index(), generation: token.generation() }
                }
            }),
            Err(refused) => Err(self.shared.not_opened(refused)),
        }
    }

    /// Closes one count. The last close of all processes frees the payload.
    ///
    /// ```
    /// # use tenure::error::UseError;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let mut local = me.local();
    /// let held = local.create(tenure::Kind::raw(1), b"tea")?;
    /// // SAFETY: the count is closed once, and no reference to the payload exists. A second close is an error.
    /// unsafe {
    ///     local.close(held)?;
    ///     assert!(matches!(local.close(held), Err(UseError::Stale)));
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`UseError::Stale`] if the handle was closed already.
    ///
    /// # Safety
    ///
    /// If this member holds the handle, the caller owns one of its counts by a raw value: neither a [`Handle`](crate::Handle)
    /// nor an object owns that count. If it is the member's last count, no reference to the payload is used any more.
    ///
    /// # Crash
    ///
    /// If the process is killed here, recovery finishes the close.
    #[inline(always)]
    pub unsafe fn close(&mut self, held: RawHandle) -> Result<(), UseError> {
        // SAFETY: the caller's promise.
        unsafe { self.shared.close(&mut self.caches, held) }
    }

    /// Allocates a block of scratch memory. Its bytes are initialised, but their values are arbitrary.
    ///
    /// ```
    /// # use tenure::error::{AllocError, ScratchError};
    /// # use std::alloc::Layout;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let mut local = me.local();
    /// let block = local.alloc(Layout::new::<[u64; 8]>())?;
    /// // SAFETY: the block is this caller's own and at least 64 bytes long.
    /// unsafe { local.address(block).write_bytes(0, 64) };
    /// let empty = local.alloc(Layout::new::<()>());
    /// assert!(matches!(empty, Err(AllocError::Scratch(ScratchError::Empty))));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`AllocError`], for instance [`ScratchError::Exhausted`](crate::error::ScratchError::Exhausted); nothing was changed.
    #[inline(always)]
    pub fn alloc(&mut self, layout: Layout) -> Result<RawBlock, AllocError> {
        // Without the check of the membership: see `Caches::blocks`.
        if layout.align() <= GRANULE as usize
            && let Some(offset) = self.caches.blocks.alloc_cached(layout.size())
        {
            return Ok(RawBlock { offset, len: layout.size() });
        }
        self.alloc_uncached(layout)
    }

    /// A function of its own: in one function with `alloc`, the result would be passed through memory wherever `alloc` is inlined.
    #[inline(never)]
    fn alloc_uncached(&mut self, layout: Layout) -> Result<RawBlock, AllocError> {
        self.shared.lease.check()?;
        self.shared.check_writer()?;
        match self.caches.blocks.alloc_slow(layout, self.shared) {
            Ok(offset) => Ok(RawBlock { offset, len: layout.size() }),
            Err(refused) => {
                let offset = self.shared.alloc_again(&mut self.caches, layout, refused)?;
                Ok(RawBlock { offset, len: layout.size() })
            }
        }
    }

    /// As [`Local::alloc`]; all bytes are zero.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let mut local = me.local();
    /// let block = local.alloc_zeroed(std::alloc::Layout::new::<u64>())?;
    /// // SAFETY: the block is this caller's own, 8 bytes long and aligned.
    /// assert_eq!(unsafe { local.address(block).cast::<u64>().read() }, 0);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Local::alloc`].
    pub fn alloc_zeroed(&mut self, layout: Layout) -> Result<RawBlock, AllocError> {
        let block = self.alloc(layout)?;
        // SAFETY: this call has just allocated the block, which is at least that long.
        unsafe { self.address(block).write_bytes(0, block.len) };
        Ok(block)
    }

    /// Resizes a block of this member, in place where possible. It keeps the first bytes, up to the smaller of both lengths. Afterwards the
    /// block has the alignment of `layout`, also if it was allocated with another one.
    ///
    /// ```
    /// # use std::alloc::Layout;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let mut local = me.local();
    /// let block = local.alloc(Layout::new::<u64>())?;
    /// // SAFETY: the caller owns the blocks, and uses the old one no more after the call.
    /// unsafe {
    ///     local.address(block).cast::<u64>().write(7);
    ///     let block = local.realloc(block, Layout::new::<[u64; 1000]>())?;
    ///     assert_eq!((block.len, local.address(block).cast::<u64>().read()), (8000, 7));
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`AllocError`]; the block is unchanged.
    ///
    /// # Safety
    ///
    /// As [`Local::free`]: the old block ends, also if the new one lies in the same place.
    pub unsafe fn realloc(&mut self, block: RawBlock, layout: Layout) -> Result<RawBlock, AllocError> {
        self.shared.lease.check()?;
        let offset = self.shared.realloc(&mut self.caches, block.offset, layout)?;
        Ok(RawBlock { offset, len: layout.size() })
    }

    /// Frees a block of this member. Any of its threads may have allocated it.
    ///
    /// ```
    /// # use tenure::error::{BlockError, FreeError};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let mut local = me.local();
    /// let block = local.alloc(std::alloc::Layout::new::<u64>())?;
    /// // SAFETY: the caller owns the block and does not use its bytes any more. A second free is an error.
    /// unsafe {
    ///     local.free(block)?;
    ///     assert!(matches!(local.free(block), Err(FreeError::Block(BlockError::AlreadyFree { .. }))));
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`FreeError`] for a double free, an offset where no block starts, or a block of another owner.
    ///
    /// # Safety
    ///
    /// If a block of this member starts at the offset, the caller owns it by a raw value: no [`Block`](crate::Block) owns it, and no
    /// code uses a reference or a pointer to its bytes any more.
    #[inline(always)]
    pub unsafe fn free(&mut self, block: RawBlock) -> Result<(), FreeError> {
        // Without the check of the membership: see `Caches::blocks`.
        if self.caches.blocks.free_cached(block.offset) { Ok(()) } else { self.free_uncached(block) }
    }

    #[inline(never)]
    fn free_uncached(&mut self, block: RawBlock) -> Result<(), FreeError> {
        self.shared.lease.check()?;
        Ok(self.caches.blocks.free_slow(block.offset)?)
    }

    /// Frees a block of another member, `owner`, which passed it to this member and does not access it any more.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let (me, other) = (space.join()?, space.join()?);
    /// let block = me.local().alloc(std::alloc::Layout::new::<u64>())?;
    /// let owner = me.lease();
    ///
    /// let mut theirs = other.local(); // usually in another process
    /// // SAFETY: `me` passed the block on, and no process uses its bytes any more.
    /// unsafe {
    ///     assert!(theirs.free(block).is_err()); // not its own
    ///     theirs.free_of(block, owner)?;
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`FreeError`], in particular when `owner` does not own the block, or not any more.
    ///
    /// # Safety
    ///
    /// As [`Local::free`], for a block of `owner`, in all processes: its owner gave it, as by [`Block::give`](crate::Block::give).
    pub unsafe fn free_of(&mut self, block: RawBlock, owner: LeaseId) -> Result<(), FreeError> {
        self.shared.lease.check()?;
        Ok(self.shared.scratch.free_of(self.shared.lease.acquire(), block.offset, owner)?)
    }

    /// Pins a block of this member: from now on it has no owner, and outlives all members until
    /// [`Member::free_pinned`](crate::Member::free_pinned) frees it.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let mut local = me.local();
    /// let block = local.alloc(std::alloc::Layout::new::<u64>())?;
    /// // SAFETY: no `Block` owns it, and no process uses its bytes any more.
    /// unsafe {
    ///     local.pin(block)?;
    ///     me.free_pinned(block.offset)?;
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`FreeError`]; nothing was changed.
    ///
    /// # Safety
    ///
    /// If a block of this member starts at the offset, no [`Block`](crate::Block) owns it: from now on any member may free the block by its
    /// offset, and a `Block` would then be dangling.
    pub unsafe fn pin(&mut self, block: RawBlock) -> Result<(), FreeError> {
        self.shared.lease.check()?;
        Ok(self.shared.scratch.pin(self.shared.lease.acquire(), block.offset)?)
    }

    /// The address of a block in this process. To access it is unsafe, as with every pointer: the caller ensures that the block is in use,
    /// that its owner allows the access, and that no process frees the block during the access.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let (me, other) = (space.join()?, space.join()?);
    /// let block = me.local().alloc(std::alloc::Layout::new::<u64>())?;
    /// let theirs = other.local().address(block); // usually in another process, at another address
    /// // SAFETY: the block is in use, 8 bytes long and aligned; no other code accesses it.
    /// unsafe { theirs.cast::<u64>().write(7) };
    /// # Ok(()) }
    /// ```
    ///
    /// # Panics
    ///
    /// Panics when the offset is outside of this space.
    #[inline]
    #[must_use]
    pub fn address(&self, block: RawBlock) -> *mut u8 {
        self.shared.scratch.address(block.offset)
    }

    /// The usable bytes of a block: at least the requested length, and often more.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let mut local = me.local();
    /// let block = local.alloc(std::alloc::Layout::new::<[u8; 100]>())?;
    /// assert!(local.usable(block)? >= 100);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`FreeError`] when no block in use starts at the offset.
    pub fn usable(&self, block: RawBlock) -> Result<u64, FreeError> {
        self.shared.lease.check()?;
        Ok(self.caches.blocks.usable(block.offset)?)
    }

    /// The usable bytes of a block that the lease `owner` owns; with `None`, of a pinned block.
    ///
    /// The owner may die at any moment, and other members can then get the memory. To verify data that was read from the block, call this
    /// again afterwards: if it succeeds, the owner was not recovered, so no other member had the memory during the read. It does not show
    /// whether the owner itself freed the block and allocated it again: owner and reader must agree that the owner does not.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let (me, other) = (space.join()?, space.join()?);
    /// let block = me.local().alloc(std::alloc::Layout::new::<u64>())?;
    /// let theirs = other.local(); // usually in another process
    /// assert!(theirs.usable_of(block, Some(me.lease()))? >= 8);
    /// assert!(theirs.usable_of(block, Some(other.lease())).is_err());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`FreeError`] when `owner` does not own the block, or not any more.
    pub fn usable_of(&self, block: RawBlock, owner: Option<LeaseId>) -> Result<u64, FreeError> {
        self.shared.lease.check()?;
        Ok(self.shared.scratch.usable_of(block.offset, owner)?)
    }
}

/// Typed values. As raw payloads they have a kind: that of their type, [`Kind::of`], or one of the application's choice, [`Kind::named`].
#[cfg(feature = "typed")]
impl Local<'_> {
    /// Creates a handle of `kind` with a typed value, archived by rkyv, held once by this process.
    ///
    /// ```
    /// # use tenure::Kind;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let (me, other) = (space.join()?, space.join()?);
    /// let kind = Kind::of::<Vec<u32>>(); // computed once: it is a hash
    /// let (mut local, mut theirs) = (me.local(), other.local());
    /// let held = local.create_value(kind, &vec![1u32, 2, 3])?;
    /// let opened = theirs.open_value::<Vec<u32>>(kind, local.token(&held))?; // usually in another process
    /// // SAFETY: both members hold the handle until they close their counts, once each, here; the payload is a value of the type.
    /// unsafe {
    ///     assert_eq!(theirs.get_value::<Vec<u32>>(&opened)?.len(), 3);
    ///     theirs.close(opened)?;
    ///     local.close(held)?;
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Local::create`], and [`CreateError::Serialize`].
    pub fn create_value<T: Value>(&mut self, kind: Kind, value: &T) -> Result<RawHandle, CreateError> {
        self.create(kind, &typed::to_bytes(value)?)
    }

    /// Opens a token as a typed value: afterwards this process holds the handle once more. The bytes are validated once, here.
    ///
    /// # Errors
    ///
    /// As [`Local::open`], and [`OpenHandleError::Corrupt`] if the bytes are no valid value; nothing is held.
    pub fn open_value<T: Value>(&mut self, kind: Kind, token: Token) -> Result<RawHandle, OpenHandleError> {
        let held = self.open(kind, token)?;
        // SAFETY: this call holds the handle; the payload of no kind that `open` accepts is written while it is held.
        let bytes = unsafe { self.get(&held) };
        match bytes.map_err(UseError::of_opened).and_then(typed::validated::<T>) {
            Ok(_) => Ok(held),
            Err(error) => {
                // SAFETY: the count was made by this call, and nobody knows it.
                let _ = unsafe { self.close(held) };
                Err(error)
            }
        }
    }

    /// The archived value, borrowed from shared memory.
    ///
    /// # Errors
    ///
    /// As [`Local::get`].
    ///
    /// # Safety
    ///
    /// As [`Local::get`]; and the payload is a valid archive of `T`: the handle comes from [`Local::create_value`] or [`Local::open_value`] with
    /// this type, or from a [`Handle<T>`](crate::Handle).
    #[inline]
    pub unsafe fn get_value<T: Value>(&self, held: &RawHandle) -> Result<&T::Archived, UseError> {
        // SAFETY: the caller's promise.
        unsafe { typed::access::<T>(self.get(held)?) }
    }
}

impl Shared {
    #[inline(always)]
    pub(crate) fn create(
        &self,
        caches: &mut Caches,
        kind: Kind,
        bytes: &[u8],
    ) -> Result<RawHandle, CreateError> {
        let HandleCaches { slab, cache } = &mut *caches.handles;
        // In a forked child the cache is empty.
        if !cache.is_empty() && bytes.len() <= INLINE_BYTES {
            let (acquire, payload) = (self.lease.acquire(), Payload::Inline(bytes));
            let created =
                slab.create(acquire, self.ref_counts(), cache, kind.number(), payload, |_, _| {}, |_| {});
            if let Ok(held) = created {
                return Ok(RawHandle { held });
            }
        }
        self.create_slow(caches, kind, bytes)
    }

    #[cold]
    #[inline(never)]
    fn create_slow(&self, caches: &mut Caches, kind: Kind, bytes: &[u8]) -> Result<RawHandle, CreateError> {
        self.create_from(caches, kind, Contents::of(bytes))
    }

    /// Creates a handle, without a fast path.
    // A function of its own would cost as much as the copy of a small payload.
    #[inline(always)]
    pub(crate) fn create_from(
        &self,
        caches: &mut Caches,
        kind: Kind,
        contents: Contents<'_>,
    ) -> Result<RawHandle, CreateError> {
        self.lease.check()?;
        self.check_writer()?;
        if contents.are_inline() {
            return self.publish(caches, kind, Payload::Inline(contents.bytes));
        }
        let layout = contents.layout;
        let block = RawBlock { offset: self.alloc(caches, layout)?, len: layout.size() };
        // SAFETY: the block was allocated just now, is at least that long, and no other code knows it yet.
        unsafe { contents.write_to(self.scratch.address(block.offset)) };
        self.create_with(caches, kind, block).inspect_err(|_| {
            // Allocated above, by these caches.
            let _ = caches.blocks.free(block.offset);
        })
    }

    /// A block for a payload.
    #[cfg(feature = "objects")]
    pub(crate) fn alloc_for(&self, caches: &mut Caches, bytes: usize) -> Result<RawBlock, CreateError> {
        let layout = Layout::from_size_align(bytes, 16).map_err(|_| too_large(bytes))?;
        Ok(RawBlock { offset: self.alloc(caches, layout)?, len: bytes })
    }

    pub(crate) fn create_with(
        &self,
        caches: &mut Caches,
        kind: Kind,
        block: RawBlock,
    ) -> Result<RawHandle, CreateError> {
        let offset = block.offset;
        let len = (block.len as u64).min(caches.blocks.usable_own(offset)?);
        self.publish(caches, kind, Payload::Block { offset, len, label: None })
    }

    /// Creates the handle. The caller owns the block of the payload, and it is large enough.
    pub(crate) fn publish(
        &self,
        caches: &mut Caches,
        kind: Kind,
        payload: Payload<'_>,
    ) -> Result<RawHandle, CreateError> {
        #[cfg(feature = "objects")]
        if slab::is_container(kind.number()) {
            return self.publish_container(caches, kind, payload);
        }
        self.publish_with(caches, kind, payload, |_, _| {})
    }

    /// Creates a container, with its slots.
    #[cfg(feature = "objects")]
    #[cold]
    fn publish_container(
        &self,
        caches: &mut Caches,
        kind: Kind,
        payload: Payload<'_>,
    ) -> Result<RawHandle, CreateError> {
        let Payload::Block { offset, .. } = payload else {
            return self.publish_with(caches, kind, payload, |_, _| {});
        };
        let mut slots = Ok(());
        let created = self.publish_with(caches, kind, payload, |index, generation| {
            slots = self.claim_container_slots(offset, (index, generation));
        })?;
        slots.inspect_err(|_| {
            let (acquire, cache) = (self.lease.acquire(), &mut caches.handles.cache);
            let free = |block| self.free_block(block);
            // Created just now. With it end the chunks that it may have got.
            let _ = self.slab.close(acquire, self.ref_counts(), Some(cache), created.held, free);
        })?;
        Ok(created)
    }

    /// As [`Shared::publish`]; `attach` is called with index and generation before anybody else can open the handle.
    #[inline(always)]
    fn publish_with(
        &self,
        caches: &mut Caches,
        kind: Kind,
        payload: Payload<'_>,
        attach: impl FnOnce(u32, u64),
    ) -> Result<RawHandle, CreateError> {
        if caches.handles.cache.is_empty() {
            self.refill(&mut caches.handles.cache)?;
        }
        let (acquire, blocks) = (self.lease.acquire(), &mut caches.blocks);
        let attach = |index, generation| {
            if let Payload::Block { offset, .. } = payload {
                // The caller has checked that this member owns the block; only a double free by this process can have changed that.
                let _ = blocks.attach(acquire, offset, index, generation);
            }
            attach(index, generation);
        };
        let held = self
            .slab
            .create(
                acquire,
                self.ref_counts(),
                &mut caches.handles.cache,
                kind.number(),
                payload,
                attach,
                |block| self.free_block(block),
            )
            .map_err(|_| CreateError::Exhausted { capacity: self.reclaimer.plan.geometry.handles })?;
        Ok(RawHandle { held })
    }

    /// Claims the slots of a container that is being created, as many as its payload says, and writes the number of the first one there.
    #[cfg(feature = "objects")]
    fn claim_container_slots(&self, block: u64, owner: (u32, u64)) -> Result<(), CreateError> {
        use crate::state::{CONTAINER_FIRST, CONTAINER_SLOTS};

        let words = self.scratch.address(block).cast::<u64>();
        // SAFETY: the payload of a container begins with state words; this member owns the block, and nobody else knows the handle yet.
        let slots = unsafe { words.add(CONTAINER_SLOTS).read() } as u32;
        let (acquire, ref_counts) = (self.lease.acquire(), self.ref_counts());
        let free = |block| {
            crate::shared::free_orphan(&self.scratch, block);
        };
        let first = self.slab.claim_slots(acquire, ref_counts, owner, slots, free).or_else(|| {
            self.scavenge();
            self.slab.claim_slots(acquire, ref_counts, owner, slots, free)
        });
        let Some(first) = first else {
            return Err(CreateError::ContainerSlots { slots, capacity: self.slab.container_slots() });
        };
        // SAFETY: as above.
        unsafe { words.add(CONTAINER_FIRST).write(first.into()) };
        Ok(())
    }

    /// The place of the payload of a handle that was just opened or created.
    pub(crate) fn place(&self, held: RawHandle) -> Result<NonNull<[u8]>, OpenHandleError> {
        place(&self.slab, &self.scratch, held.held)
    }

    /// Opens a handle without the caches of a thread.
    pub(crate) fn open(&self, kind: Kind, token: Token) -> Result<RawHandle, OpenHandleError> {
        self.lease.check()?;
        self.open_in(&self.slab, kind, token)
    }

    /// Opens a handle; `slab` is this member's, or empty in a forked child.
    #[inline(always)]
    fn open_in(&self, slab: &Slab<'_>, kind: Kind, token: Token) -> Result<RawHandle, OpenHandleError> {
        let free = |block| self.free_block(block);
        match slab.open_kind(self.lease.acquire(), self.ref_counts(), token, kind.number(), free) {
            Ok(held) if held.inline_len().is_some() => Ok(RawHandle { held }),
            Ok(held) => self.open_block(held),
            Err(refused) => Err(self.not_opened(refused)),
        }
    }

    /// Checks the place of a payload in a block.
    #[inline(never)]
    fn open_block(&self, held: slab::Held) -> Result<RawHandle, OpenHandleError> {
        let held = RawHandle { held };
        match self.place(held) {
            Ok(_) => Ok(held),
            Err(corrupt) => {
                let (acquire, free) = (self.lease.acquire(), |block| self.free_block(block));
                let _ = self.slab.close(acquire, self.ref_counts(), None, held.held, free);
                Err(corrupt)
            }
        }
    }

    /// One more count on a handle that the caller holds.
    pub(crate) fn reopen(&self, held: RawHandle) -> Result<RawHandle, OpenHandleError> {
        let held = self.slab.reopen(self.lease.acquire(), self.ref_counts(), held.held)?;
        Ok(RawHandle { held })
    }

    #[cold]
    #[inline(never)]
    fn not_opened(&self, refused: slab::OpenError) -> OpenHandleError {
        self.lease.check().map_or_else(OpenHandleError::from, |()| refused.into())
    }

    #[cold]
    #[inline(never)]
    fn of_another_kind(&self, expected: Kind, held: slab::Held) -> OpenHandleError {
        match self.slab.kind(held) {
            Ok(found) => OpenHandleError::ForeignKind { expected, found: Kind::from_number(found) },
            Err(stale) => slab::OpenError::from(stale).into(),
        }
    }

    /// The payload of a handle; `slab` is this member's, or empty in a forked child.
    #[inline(always)]
    pub(crate) fn payload(&self, slab: &Slab<'_>, held: RawHandle) -> Result<NonNull<[u8]>, UseError> {
        if let Some(len) = held.held.inline_len()
            && let Some(data) = slab.inline_address(held.held)
        {
            return Ok(NonNull::slice_from_raw_parts(data, len));
        }
        self.payload_in_block(slab, held)
    }

    /// The payload in a block, or the reason why there is none.
    #[inline(never)]
    fn payload_in_block(&self, slab: &Slab<'_>, held: RawHandle) -> Result<NonNull<[u8]>, UseError> {
        // That it is a block was seen when the handle was created or opened. Only corruption changes it while the handle is held, and
        // then the bytes are still of this region.
        if let Some((offset, bytes)) = slab.block_of(held.held)
            && let Some(data) = self.scratch.bytes_at(offset, bytes)
        {
            return Ok(NonNull::slice_from_raw_parts(data, bytes as usize));
        }
        Err(self.not_used())
    }

    #[cold]
    #[inline(never)]
    fn not_used(&self) -> UseError {
        self.lease.check().map_or_else(UseError::from, |()| UseError::Stale)
    }

    /// # Safety
    ///
    /// As [`Local::close`].
    #[inline(always)]
    pub(crate) unsafe fn close(&self, caches: &mut Caches, held: RawHandle) -> Result<(), UseError> {
        let Caches { handles, blocks, .. } = caches;
        let HandleCaches { slab, cache } = &mut **handles;
        let (acquire, ref_counts) = (self.lease.acquire(), self.ref_counts());
        let free = |block| self.free_ended(blocks, block);
        match slab.close(acquire, ref_counts, Some(cache), held.held, free) {
            Ok(_) => Ok(()),
            Err(_) => Err(self.not_used()),
        }
    }

    /// As [`Shared::close`], for a handle that was shared: its entry goes to no cache.
    ///
    /// # Safety
    ///
    /// As [`Local::close`].
    pub(crate) unsafe fn close_shared(&self, held: RawHandle) -> Result<(), UseError> {
        let (acquire, ref_counts) = (self.lease.acquire(), self.ref_counts());
        match self.slab.close(acquire, ref_counts, None, held.held, |block| self.free_block(block)) {
            Ok(_) => Ok(()),
            Err(_) => Err(self.not_used()),
        }
    }

    // Inlined always: a call would pass its result through memory, which costs more than the allocation.
    #[inline(always)]
    pub(crate) fn alloc(
        &self,
        caches: &mut Caches,
        layout: Layout,
    ) -> Result<u64, tenure_scratch_alloc::AllocError> {
        match caches.blocks.alloc(layout, self) {
            Ok(offset) => Ok(offset),
            Err(refused) => self.alloc_again(caches, layout, refused),
        }
    }

    #[cold]
    #[inline(never)]
    fn alloc_again(
        &self,
        caches: &mut Caches,
        layout: Layout,
        refused: tenure_scratch_alloc::AllocError,
    ) -> Result<u64, tenure_scratch_alloc::AllocError> {
        let mut first = Some(refused);
        self.with_room(|| first.take().map_or_else(|| caches.blocks.alloc(layout, self), Err))
    }

    pub(crate) fn realloc(
        &self,
        caches: &mut Caches,
        offset: u64,
        layout: Layout,
    ) -> Result<u64, AllocError> {
        let mut not_ours = None;
        let resized = self.with_room(|| match caches.blocks.realloc(offset, layout, self) {
            Ok(offset) => Ok(Some(offset)),
            Err(Ok(refused)) => Err(refused),
            Err(Err(error)) => {
                not_ours = Some(error);
                Ok(None)
            }
        })?;
        resized.ok_or_else(|| not_ours.map_or(NotMember::Left.into(), AllocError::from))
    }
}

#[cfg(feature = "objects")]
pub(crate) fn too_large(bytes: usize) -> CreateError {
    CreateError::Scratch(tenure_scratch_alloc::AllocError::TooLarge {
        bytes: bytes as u64,
        max: isize::MAX as u64,
    })
}
