//! The fast tier: one thread's caches, raw payloads, and handles that are closed by hand.

use std::alloc::Layout;
use std::fmt;
use std::mem::ManuallyDrop;

use tenure_core::LeaseId;
use tenure_scratch_alloc::GRANULE;
use tenure_slab::{self as slab, INLINE_BYTES, Payload, Token};

use crate::error::{AllocError, BlockError, CreateError, FreeError, NotMember, OpenHandleError, UseError};
use crate::kind::Kind;
use crate::raw::{RawBlock, RawHandle, place};
use crate::shared::{Caches, Shared};

/// One thread's fast access to a member. Make one per thread with [`Member::local`](crate::Member::local) and keep it.
///
/// # Progress
///
/// With warm caches `create`, `get`, `alloc` and `free` store to words that only this thread stores to; `close` of a
/// handle that nobody else opened is one CAS. What is cached stays with the member when the local is dropped.
///
/// # Crash
///
/// Nothing is lost with a local: other processes recover from the shared words alone.
///
/// # Safety of the unsafe functions
///
/// Calls that get something are safe: at worst they leak it. Calls that use or give up something by a raw value are unsafe,
/// as with [`GlobalAlloc`](std::alloc::GlobalAlloc). Their contracts are about references and owners that are alive, and about
/// nothing else: a number that no longer stands for anything (a handle that this member does not hold, an offset where none
/// of its blocks starts) is refused with an error, whatever the caller promised, and nothing is changed.
#[derive(Debug)]
pub struct Local<'m> {
    shared: &'m Shared,
    caches: ManuallyDrop<Caches>,
}

impl fmt::Debug for Caches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Caches").field("handles", &self.handles.len()).field("blocks", &self.blocks).finish()
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

    #[cfg(feature = "objects")]
    pub(crate) fn shared(&self) -> &'m Shared {
        self.shared
    }

    /// The lease of the member, which owns what this local allocates.
    #[must_use]
    pub fn owner(&self) -> LeaseId {
        self.shared.lease.id()
    }

    /// Creates a handle of `kind` with a copy of `bytes`, held once by this process.
    ///
    /// Up to 32 bytes lie in the handle's own cache line, more in a block.
    ///
    /// # Errors
    ///
    /// [`CreateError`]; nothing was created.
    #[inline(always)]
    pub fn create(&mut self, kind: Kind, bytes: &[u8]) -> Result<RawHandle, CreateError> {
        kind.to_create()?;
        self.shared.create(&mut self.caches, kind, bytes)
    }

    /// Creates a handle of `kind` whose payload is a block of ours, which from now on belongs to the handle.
    ///
    /// # Errors
    ///
    /// [`CreateError`]; the block is still the caller's.
    ///
    /// # Safety
    ///
    /// If a block of this member starts there, it is the caller's to give up: no [`Block`](crate::Block) stands for it, nobody
    /// frees it, and from now on nobody writes it.
    pub unsafe fn create_with(&mut self, kind: Kind, block: RawBlock) -> Result<RawHandle, CreateError> {
        self.shared.lease.check()?;
        kind.to_create()?;
        self.shared.create_with(&mut self.caches, kind, block)
    }

    /// Opens a token: afterwards this process holds the handle once more.
    ///
    /// # Errors
    ///
    /// [`OpenHandleError`] says whether it is stale, forged, of another space or of another kind.
    #[inline(always)]
    pub fn open(&mut self, kind: Kind, token: Token) -> Result<RawHandle, OpenHandleError> {
        kind.to_open()?;
        self.shared.open(kind, token)
    }

    /// The payload: one load and one compare.
    ///
    /// # Errors
    ///
    /// [`UseError::Stale`] when nobody holds it any more, [`UseError::NotMember`] after leaving or in a forked child.
    ///
    /// # Safety
    ///
    /// If the handle is not stale: `held` came from a local of this member, which holds the handle from now until the slice is
    /// used for the last time, and no holder writes the payload meanwhile.
    #[inline(always)]
    pub unsafe fn get(&self, held: &RawHandle) -> Result<&[u8], UseError> {
        self.shared.lease.check()?;
        // SAFETY: the caller's promise.
        unsafe { self.shared.get(held) }
    }

    /// The 64 bits to pass to others.
    #[inline]
    #[must_use]
    pub fn token(&self, held: &RawHandle) -> Token {
        held.held.token(&self.shared.slab)
    }

    /// What this process holds already, by its token: for callers that keep tokens only. It is a copy, not one more count.
    ///
    /// # Errors
    ///
    /// [`OpenHandleError`], in particular `Stale` when this process does not hold it.
    #[inline]
    pub fn held(&self, kind: Kind, token: Token) -> Result<RawHandle, OpenHandleError> {
        self.shared.lease.check()?;
        kind.to_open()?;
        match self.shared.slab.held_inline(self.shared.ref_counts(), token, kind.number()) {
            Some((held, data, len)) => Ok(RawHandle { held, data, len }),
            None => self.held_slow(kind, token),
        }
    }

    #[cold]
    #[inline(never)]
    fn held_slow(&self, kind: Kind, token: Token) -> Result<RawHandle, OpenHandleError> {
        let held = self.shared.slab.held(self.shared.ref_counts(), token)?;
        let found = Kind::from_word(self.shared.slab.kind(held).map_err(slab::OpenError::from)?);
        if found != kind {
            return Err(OpenHandleError::ForeignKind { expected: kind, found });
        }
        self.shared.place(held)
    }

    /// As [`Local::close`], by token.
    ///
    /// # Errors
    ///
    /// [`OpenHandleError`], in particular `Stale` when this process does not hold it.
    ///
    /// # Safety
    ///
    /// As [`Local::close`].
    #[inline(always)]
    pub unsafe fn close_token(&mut self, token: Token) -> Result<(), OpenHandleError> {
        self.shared.lease.check()?;
        let held = self.shared.slab.held(self.shared.ref_counts(), token)?;
        // The address is not looked at.
        let held = RawHandle { held, data: std::ptr::null(), len: 0 };
        // SAFETY: the caller's promise.
        unsafe { self.shared.close(&mut self.caches, held) }.map_err(|error| match error {
            UseError::NotMember(why) => why.into(),
            UseError::Stale { index, generation } => OpenHandleError::Stale { index, generation },
        })
    }

    /// Gives back one count; whoever gives back the last one of all processes frees the payload.
    ///
    /// # Errors
    ///
    /// [`UseError::Stale`] if it was closed already.
    ///
    /// # Safety
    ///
    /// If this member holds the handle, the caller owns one of its counts by a raw value: neither a [`Handle`](crate::Handle)
    /// nor an object stands for that count. If it is the member's last one, no reference to the payload is used any more.
    #[inline(always)]
    pub unsafe fn close(&mut self, held: RawHandle) -> Result<(), UseError> {
        self.shared.lease.check()?;
        // SAFETY: the caller's promise.
        unsafe { self.shared.close(&mut self.caches, held) }
    }

    /// Allocates scratch memory; its contents are whatever was there before.
    ///
    /// # Errors
    ///
    /// [`AllocError`]; nothing was changed.
    #[inline(always)]
    pub fn alloc(&mut self, layout: Layout) -> Result<RawBlock, AllocError> {
        self.shared.lease.check()?;
        if layout.align() <= GRANULE as usize
            && let Some(offset) = self.caches.blocks.alloc_cached(layout.size())
        {
            return Ok(RawBlock { offset, len: layout.size() });
        }
        self.alloc_uncached(layout)
    }

    /// Apart from `alloc`, whose result would otherwise travel through memory wherever it is inlined.
    #[inline(never)]
    fn alloc_uncached(&mut self, layout: Layout) -> Result<RawBlock, AllocError> {
        let offset = self.shared.alloc(&mut self.caches, layout)?;
        Ok(RawBlock { offset, len: layout.size() })
    }

    /// As [`Local::alloc`], zeroed.
    ///
    /// # Errors
    ///
    /// As [`Local::alloc`].
    pub fn alloc_zeroed(&mut self, layout: Layout) -> Result<RawBlock, AllocError> {
        let block = self.alloc(layout)?;
        // SAFETY: the block is ours and at least that long.
        unsafe { self.address(block).write_bytes(0, block.len) };
        Ok(block)
    }

    /// Resizes a block of ours, in place where that is possible; the first bytes, as many as both have, are kept. Afterwards it
    /// is aligned as `layout` says, however it was allocated.
    ///
    /// # Errors
    ///
    /// [`AllocError`]; the block is as it was.
    ///
    /// # Safety
    ///
    /// As [`Local::free`]: the old block goes, also where the new one lies in the same place.
    pub unsafe fn realloc(&mut self, block: RawBlock, layout: Layout) -> Result<RawBlock, AllocError> {
        self.shared.lease.check()?;
        let offset = self.shared.realloc(&mut self.caches, block.offset, layout)?;
        Ok(RawBlock { offset, len: layout.size() })
    }

    /// Frees a block of this member, from whichever of its threads.
    ///
    /// # Errors
    ///
    /// [`FreeError`] for a double free, an offset where no block starts, a block of somebody else.
    ///
    /// # Safety
    ///
    /// If a block of this member starts there, the caller owns it by a raw value: no [`Block`](crate::Block) stands for it, and
    /// nobody uses a reference or a pointer to its bytes any more.
    #[inline(always)]
    pub unsafe fn free(&mut self, block: RawBlock) -> Result<(), FreeError> {
        self.shared.lease.check()?;
        Ok(self.caches.blocks.free(block.offset)?)
    }

    /// Frees a block of another member, which passed it to us and will not touch it any more.
    ///
    /// # Errors
    ///
    /// [`FreeError`], in particular when the block is not `owner`'s (any more).
    ///
    /// # Safety
    ///
    /// As [`Local::free`], for a block of `owner`, in all processes: its owner gave it, as by [`Block::give`](crate::Block::give).
    pub unsafe fn free_of(&mut self, block: RawBlock, owner: LeaseId) -> Result<(), FreeError> {
        self.shared.lease.check()?;
        Ok(self.shared.scratch.free_of(self.shared.lease.acquire(), block.offset, owner)?)
    }

    /// Gives a block of this member up to nobody: it outlives everybody, until
    /// [`Member::free_pinned`](crate::Member::free_pinned).
    ///
    /// # Errors
    ///
    /// [`FreeError`]; nothing was changed.
    ///
    /// # Safety
    ///
    /// If a block of this member starts there, no [`Block`](crate::Block) stands for it: whoever knows the offset may free it
    /// from now on, and a `Block` would not notice.
    pub unsafe fn pin(&mut self, block: RawBlock) -> Result<(), FreeError> {
        self.shared.lease.check()?;
        Ok(self.shared.scratch.pin(self.shared.lease.acquire(), block.offset)?)
    }

    /// The address of a block in this process. To access it is unsafe, as with every pointer: the caller ensures that the block
    /// is in use, that its owner allows the access, and that nobody takes the block away meanwhile.
    ///
    /// # Panics
    ///
    /// When the offset is not one of this space.
    #[inline]
    #[must_use]
    pub fn address(&self, block: RawBlock) -> *mut u8 {
        self.shared.scratch.address(block.offset)
    }

    /// Bytes of payload that a block really has.
    ///
    /// # Errors
    ///
    /// [`FreeError`] when no block in use starts there.
    pub fn usable(&self, block: RawBlock) -> Result<u64, FreeError> {
        self.shared.lease.check()?;
        Ok(self.caches.blocks.usable(block.offset)?)
    }

    /// Bytes of payload of a block that the lease `owner` owns; without an owner, of a pinned block.
    ///
    /// The owner may die at any moment, and other members then get the memory. To verify data that was read from the block,
    /// call this again: success means that the owner has not died, so that no other member had the memory meanwhile. It does
    /// not show whether the owner itself freed the block and allocated it anew: owner and reader agree that it does not.
    ///
    /// # Errors
    ///
    /// [`FreeError`] when the block is not `owner`'s (any more).
    pub fn usable_of(&self, block: RawBlock, owner: Option<LeaseId>) -> Result<u64, FreeError> {
        self.shared.lease.check()?;
        Ok(self.shared.scratch.usable_of(block.offset, owner)?)
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
        self.lease.check()?;
        let (acquire, cache) = (self.lease.acquire(), &mut caches.handles);
        match self.slab.create_cached(acquire, self.ref_counts(), cache, kind.number(), bytes) {
            Some((held, data)) => Ok(RawHandle { held, data, len: bytes.len() }),
            None => self.create_slow(caches, kind, bytes),
        }
    }

    #[cold]
    #[inline(never)]
    fn create_slow(&self, caches: &mut Caches, kind: Kind, bytes: &[u8]) -> Result<RawHandle, CreateError> {
        if bytes.len() <= INLINE_BYTES {
            return self.publish(caches, kind, Payload::Inline(bytes));
        }
        let layout = Layout::from_size_align(bytes.len(), 16).map_err(|_| too_large(bytes.len()))?;
        let block = RawBlock { offset: self.alloc(caches, layout)?, len: bytes.len() };
        // SAFETY: the block is ours, at least that long, and nobody else knows it yet.
        unsafe { self.scratch.address(block.offset).copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        self.create_with(caches, kind, block).inspect_err(|_| {
            // It was ours when we allocated it.
            let _ = caches.blocks.free(block.offset);
        })
    }

    pub(crate) fn create_with(
        &self,
        caches: &mut Caches,
        kind: Kind,
        block: RawBlock,
    ) -> Result<RawHandle, CreateError> {
        let usable = caches.blocks.usable(block.offset)?;
        let found = self.scratch.find(block.offset)?;
        let (expected, offset) = (tenure_scratch_alloc::Block::lease(self.lease.id()), block.offset);
        if found.owner != expected {
            return Err(BlockError::WrongOwner { offset, expected, found: found.owner }.into());
        }
        let len = (block.len as u64).min(usable);
        self.publish(caches, kind, Payload::Block { offset, len, label: None })
    }

    /// Creates the handle. The block of a payload is the caller's own and large enough.
    pub(crate) fn publish(
        &self,
        caches: &mut Caches,
        kind: Kind,
        payload: Payload<'_>,
    ) -> Result<RawHandle, CreateError> {
        if caches.handles.is_empty() {
            self.refill(&mut caches.handles)?;
        }
        let (acquire, blocks) = (self.lease.acquire(), &mut caches.blocks);
        let attach = |index, generation| {
            if let Payload::Block { offset, .. } = payload {
                // Checked by the caller to be ours; only our own double free could have changed it since.
                let _ = blocks.attach(acquire, offset, index, generation);
            }
        };
        let held = self
            .slab
            .create(
                acquire,
                self.ref_counts(),
                &mut caches.handles,
                kind.number(),
                payload,
                attach,
                |block| {
                    crate::shared::free_orphan(&self.scratch, block);
                },
            )
            .map_err(|_| CreateError::Exhausted { capacity: self.reclaimer.plan.geometry.handles })?;
        Ok(match payload {
            Payload::Inline(bytes) => {
                // Inside of the layout: the slab has just written this entry.
                let data = self.slab.inline_address(held).unwrap_or(std::ptr::dangling());
                RawHandle { held, data, len: bytes.len() }
            }
            Payload::Block { offset, len, .. } => {
                RawHandle { held, data: self.scratch.address(offset), len: len as usize }
            }
        })
    }

    /// Where the payload of a handle lies that was just opened or created.
    #[inline]
    pub(crate) fn place(&self, held: slab::Held) -> Result<RawHandle, OpenHandleError> {
        place(&self.slab, &self.scratch, held)
    }

    #[inline(always)]
    pub(crate) fn open(&self, kind: Kind, token: Token) -> Result<RawHandle, OpenHandleError> {
        self.lease.check()?;
        match self.slab.open_again(self.lease.acquire(), self.ref_counts(), token, kind.number()) {
            Some((held, data, len)) => Ok(RawHandle { held, data, len }),
            None => self.open_first(kind, token),
        }
    }

    #[inline]
    fn open_first(&self, kind: Kind, token: Token) -> Result<RawHandle, OpenHandleError> {
        let free = |block| self.free_block(block);
        match self.slab.open_unheld(self.lease.acquire(), self.ref_counts(), token, kind.number(), free) {
            Some((held, data, len)) => Ok(RawHandle { held, data, len }),
            None => self.open_slow(kind, token),
        }
    }

    #[cold]
    #[inline(never)]
    fn open_slow(&self, kind: Kind, token: Token) -> Result<RawHandle, OpenHandleError> {
        let (acquire, ref_counts) = (self.lease.acquire(), self.ref_counts());
        let free = |block| self.free_block(block);
        let held = self.slab.open_kind(acquire, ref_counts, token, kind.number(), free)?;
        self.place(held).inspect_err(|_| {
            let _ = self.slab.close(acquire, ref_counts, None, held, free);
        })
    }

    /// # Safety
    ///
    /// As [`Local::get`].
    #[inline(always)]
    pub(crate) unsafe fn get(&self, held: &RawHandle) -> Result<&[u8], UseError> {
        if !self.slab.is_live(held.held) {
            return Err(stale(held.held));
        }
        // SAFETY: the caller holds the handle as long as the slice is used, so its payload is mapped, at least that long, and
        // immutable [slab-bit-covers-use]; `data` and `len` were checked when it was opened or made by `create`.
        Ok(unsafe { std::slice::from_raw_parts(held.data, held.len) })
    }

    /// # Safety
    ///
    /// As [`Local::close`].
    #[inline(always)]
    pub(crate) unsafe fn close(&self, caches: &mut Caches, held: RawHandle) -> Result<(), UseError> {
        let Caches { handles, blocks } = caches;
        let (acquire, ref_counts) = (self.lease.acquire(), self.ref_counts());
        self.slab
            .close(acquire, ref_counts, Some(handles), held.held, |block| self.free_ended(blocks, block))
            .map(drop)
            .map_err(|_| stale(held.held))
    }

    // Always: the result of a call travels through memory, which costs more than the allocation.
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

fn stale(held: slab::Held) -> UseError {
    UseError::Stale { index: held.index(), generation: held.generation() }
}

fn too_large(bytes: usize) -> CreateError {
    CreateError::Scratch(tenure_scratch_alloc::AllocError::TooLarge {
        bytes: bytes as u64,
        max: isize::MAX as u64,
    })
}
