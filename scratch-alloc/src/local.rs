//! The private state of a thread: stacks of free blocks, over spans that its lease owns.
//!
//! Recovery needs nothing of it: if a local disappears, the unit and block words have all information.

use std::alloc::Layout as Request;
use std::fmt;

use tenure_core::{Acquire, LeaseId};

use crate::claim::Refused;
use crate::class::{CLASSES_MAX, GRANULE, class_bytes, class_looked_up, class_of};
use crate::error::{AllocError, BlockError};
use crate::geometry::ALIGN_MAX;
use crate::large::Large;
use crate::scratch::{Backing, Scratch};
use crate::small::{Class, Cover, Free, Stacks};
use crate::sync::{Ordering, Word};
use crate::word::{Block, Owner};

/// One thread's allocator. Made for one lease; must not outlive it.
///
/// Dropping it drops private memory only: the lease owns its spans until the lease ends. So a program whose threads come and go
/// should keep the locals of ended threads for new ones.
pub struct Local<'a> {
    pub(crate) hot: Hot<'a>,
    pub(crate) scratch: Scratch<'a>,
    pub(crate) id: LeaseId,
    pub(crate) owner: Owner,
    /// By small class.
    pub(crate) classes: Box<[Class]>,
    pub(crate) large: Large,
}

/// The fields that every alloc and free touches.
pub(crate) struct Hot<'a> {
    /// The block words of small spans, by slot.
    table: &'a [Word],
    /// The block word of a block that this lease owns.
    pub(crate) mine: u64,
    unit_shift: u32,
    /// By unit: the span of this local that covers it. Of large spans only the head is entered.
    pub(crate) map: Box<[Cover]>,
    /// By small class, from index 1. Index 0, and classes that the geometry lacks, never have blocks.
    pub(crate) stacks: [Stacks; CLASSES_MAX + 1],
}

impl fmt::Debug for Local<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Local").field("id", &self.id).finish_non_exhaustive()
    }
}

impl<'a> Hot<'a> {
    /// Takes a free block off the stack.
    #[inline]
    pub(crate) fn take(&mut self, which: usize) -> Option<u64> {
        let free = self.stacks.get_mut(which)?.pop()?;
        Some(self.allot(free))
    }

    /// As `take`, without swapping the stacks.
    #[inline]
    fn take_cached(&mut self, which: usize) -> Option<u64> {
        let free = self.stacks.get_mut(which)?.pop_free()?;
        Some(self.allot(free))
    }

    #[inline]
    fn allot(&mut self, free: Free) -> u64 {
        // Release: the previous owner's accesses come before; pairs with the Acquire in `Scratch::block_state`.
        self.word(free.slot()).store(self.mine, Ordering::Release);
        free.offset()
    }

    /// Frees a small block of this local's spans if its word is `expected`, and pushes it on a stack.
    #[inline]
    fn put(&mut self, offset: u64, expected: u64) -> bool {
        let Some((cover, slot)) = self.small(offset) else { return false };
        let which = cover.which();
        let word = self.word(slot);
        // Relaxed: the caller has the expected value from this thread, or from one that synchronised with it.
        if word.load(Ordering::Relaxed) != expected {
            return false;
        }
        // All loads come before the store to the word: with mitigations of speculative store bypass, a processor lets no load pass
        // a store whose address is not known yet.
        let Some(true) = self.stacks.get_mut(which).map(|stacks| stacks.push(Free::new(slot, offset))) else {
            return false;
        };
        // Release: our payload accesses come before; pairs with the Acquire in `Scratch::block_state`.
        word.store(Block::Free.raw(), Ordering::Release);
        true
    }

    /// The span and the slot of a small block that starts at `offset` in a span of this local.
    #[inline]
    fn small(&self, offset: u64) -> Option<(&Cover, u32)> {
        let cover = self.map.get((offset >> self.unit_shift) as usize)?;
        Some((cover, cover.slot(offset)?))
    }

    /// Whether a span of this local covers `unit`; of large spans, whether `unit` is its head.
    pub(crate) fn covers(&self, unit: u32) -> bool {
        self.map.get(unit as usize).is_some_and(|cover| *cover != Cover::NONE)
    }

    /// The word of a block of a small span of this local.
    #[inline]
    fn word(&self, slot: u32) -> &'a Word {
        debug_assert!((slot as usize) < self.table.len());
        // SAFETY: slots come from `Class::free_of` and `Cover::slot`: block `index`, below the class's blocks per span, of
        // a span of this local at `head`, whose units lie in the region. So `head < units` and `index < 2^table_shift` (tested
        // in class.rs), and `Scratch::new` found the words of all such slots. None of these numbers is read from shared
        // memory after `enter` has entered the span here.
        unsafe { self.table.get_unchecked(slot as usize) }
    }
}

impl<'a> Local<'a> {
    /// An empty local of `me`.
    #[must_use]
    pub fn new(scratch: Scratch<'a>, me: &Acquire) -> Self {
        let layout = scratch.layout;
        Self {
            hot: Hot {
                table: scratch.table(),
                mine: Block::lease(me.id()).raw(),
                unit_shift: layout.unit_shift,
                map: Cover::none(layout.units as usize),
                stacks: [Stacks::EMPTY; CLASSES_MAX + 1],
            },
            scratch,
            id: me.id(),
            owner: Owner::from(me.id()),
            classes: (0..layout.classes).map(|class| Class::new(layout, class)).collect(),
            large: Large::new(layout.units),
        }
    }

    /// The region.
    #[must_use]
    pub fn scratch(&self) -> Scratch<'a> {
        self.scratch
    }

    /// Allocates a block that `layout` fits in; returns its payload offset. The contents are undefined.
    ///
    /// # Errors
    ///
    /// [`AllocError`]; nothing was changed, except that caches of this local may have been released.
    ///
    /// # Progress
    ///
    /// A pop and one plain store when a free block is cached. Otherwise lock-free between processes: a bounded scan, and
    /// one CAS per unit claimed.
    ///
    /// # Crash
    ///
    /// Killed before the store: the block is free. After it: the lease owns it. Recovery handles both.
    #[inline]
    pub fn alloc(&mut self, layout: Request, backing: &dyn Backing) -> Result<u64, AllocError> {
        // Size 0 wraps around to a value that is in no table.
        if layout.align() <= GRANULE as usize
            && let Some(which) = class_looked_up(layout.size().wrapping_sub(1))
            && let Some(offset) = self.hot.take(usize::from(which))
        {
            return Ok(offset);
        }
        self.alloc_slow(layout, backing)
    }

    /// As [`Local::alloc`], aligned to 16 bytes, if a free block of a common size is cached: the part that is worth inlining.
    #[inline]
    pub fn alloc_cached(&mut self, bytes: usize) -> Option<u64> {
        let which = class_looked_up(bytes.wrapping_sub(1))?;
        self.hot.take_cached(usize::from(which))
    }

    #[inline(never)]
    fn alloc_slow(&mut self, layout: Request, backing: &dyn Backing) -> Result<u64, AllocError> {
        if layout.align() <= GRANULE as usize && !self.is_small(layout.size() as u64) {
            return self.alloc_large(layout.size() as u64, backing);
        }
        self.alloc_otherwise(layout, backing)
    }

    #[inline(never)]
    fn alloc_otherwise(&mut self, layout: Request, backing: &dyn Backing) -> Result<u64, AllocError> {
        let (bytes, align) = (layout.size() as u64, layout.align() as u64);
        if bytes == 0 {
            return Err(AllocError::Empty);
        }
        let max = u64::from(ALIGN_MAX.min(self.scratch.layout.unit_bytes()));
        if align > max {
            return Err(AllocError::Align { align, max });
        }
        if self.is_small(bytes.max(align)) {
            let mut class = class_of(bytes.max(align) as u32);
            // A block is aligned to each power of two that divides its size, a span to a unit or a page.
            while align > u64::from(GRANULE) && !u64::from(class_bytes(class)).is_multiple_of(align) {
                class += 1;
            }
            if class < self.scratch.layout.classes {
                return self.alloc_small(class, bytes, backing);
            }
        }
        self.alloc_large(bytes, backing)
    }

    /// Frees a block of this lease.
    ///
    /// # Errors
    ///
    /// [`BlockError`]; nothing was freed. A second free is [`BlockError::AlreadyFree`] until the block is allocated again, or
    /// [`BlockError::NotABlock`] once its units are used otherwise; for a large block that can be at once.
    ///
    /// # Progress
    ///
    /// One load, one plain store and a push for a block of this local's spans; one CAS for one of another local's.
    ///
    /// # Crash
    ///
    /// As [`Local::alloc`].
    #[inline]
    pub fn free(&mut self, offset: u64) -> Result<(), BlockError> {
        if self.hot.put(offset, self.hot.mine) {
            Ok(())
        } else {
            self.free_unusual(offset, Block::lease(self.id))
        }
    }

    /// As [`Local::free`], if it is a small block of this local's spans. Returns whether it was.
    #[inline]
    pub fn free_cached(&mut self, offset: u64) -> bool {
        self.hot.put(offset, self.hot.mine)
    }

    #[inline(never)]
    fn free_unusual(&mut self, offset: u64, expected: Block) -> Result<(), BlockError> {
        if self.free_large(offset, expected) {
            return Ok(());
        }
        // A block of another local, or an error.
        self.scratch.free_remote(offset, expected)
    }

    /// Frees a block that was attached to handle `index` at `generation`, which the caller has ended.
    ///
    /// # Errors
    ///
    /// [`BlockError`] if another process freed it first; that is harmless.
    pub fn free_attached(&mut self, offset: u64, index: u32, generation: u64) -> Result<(), BlockError> {
        let expected = Block::Attached { index, generation };
        if self.hot.put(offset, expected.raw()) { Ok(()) } else { self.free_unusual(offset, expected) }
    }

    /// Attaches a block of this lease to handle `index`: one plain store if the block lies in this local's spans.
    ///
    /// # Errors
    ///
    /// [`BlockError`]; nothing was changed.
    #[inline]
    pub fn attach(
        &mut self,
        me: &Acquire,
        offset: u64,
        index: u32,
        generation: u64,
    ) -> Result<(), BlockError> {
        if let Some((_, slot)) = self.hot.small(offset)
            && self.hot.word(slot).load(Ordering::Relaxed) == self.hot.mine
        {
            let attached = Block::Attached { index, generation };
            // Release: the payload comes before; pairs with the Acquire in `Scratch::block_state`.
            self.hot.word(slot).store(attached.raw(), Ordering::Release);
            return Ok(());
        }
        self.scratch.attach(me, offset, index, generation)
    }

    /// Bytes of payload of the block at `offset`.
    ///
    /// # Errors
    ///
    /// [`BlockError`] when no block in use starts there.
    pub fn usable(&self, offset: u64) -> Result<u64, BlockError> {
        if let Some((cover, slot)) = self.hot.small(offset)
            && self.hot.word(slot).load(Ordering::Relaxed) == self.hot.mine
        {
            return Ok(u64::from(class_bytes(cover.which() as u8 - 1)));
        }
        let found = self.scratch.find(offset)?;
        match found.owner {
            Block::Free | Block::Remote => Err(BlockError::AlreadyFree { offset }),
            _ => Ok(found.bytes),
        }
    }

    /// Resizes a block of this lease, in place where the class or the neighbouring units allow it; returns its offset.
    ///
    /// # Errors
    ///
    /// `Err(Ok(e))`: no memory. `Err(Err(e))`: not a block of this lease. The block is unchanged.
    ///
    /// # Crash
    ///
    /// Killed while a block moves, both belong to the lease.
    pub fn realloc(
        &mut self,
        offset: u64,
        layout: Request,
        backing: &dyn Backing,
    ) -> Result<u64, Result<AllocError, BlockError>> {
        let bytes = layout.size() as u64;
        if bytes == 0 {
            return Err(Ok(AllocError::Empty));
        }
        let found = self.scratch.find(offset).map_err(Err)?;
        let expected = Block::lease(self.id);
        if found.owner != expected {
            return Err(Err(match found.owner {
                Block::Free | Block::Remote => BlockError::AlreadyFree { offset },
                found => BlockError::WrongOwner { offset, expected, found },
            }));
        }
        let aligned = offset.is_multiple_of(layout.align() as u64);
        // In place, unless that wastes more than half of the block.
        let fits = bytes <= found.bytes && (bytes > found.bytes / 2 || found.bytes <= u64::from(GRANULE));
        if aligned && (fits || self.resize_large(&found, bytes, backing)) {
            return Ok(offset);
        }
        let to = self.alloc(layout, backing).map_err(Ok)?;
        // SAFETY: two different blocks of this lease, each at least that long.
        unsafe {
            let (from, to) = (self.scratch.address(offset), self.scratch.address(to));
            std::ptr::copy_nonoverlapping(from, to, found.bytes.min(bytes) as usize);
        }
        // The lease owned the block above; only a double free by the caller's peers can have changed that.
        let _ = self.free(offset);
        Ok(to)
    }

    /// Whether `unit` is the head of a large span of this local.
    pub(crate) fn is_large_head(&self, unit: u64) -> bool {
        self.hot.map.get(unit as usize).is_some_and(Cover::is_large)
    }

    /// Whether requests of `bytes` are small.
    pub(crate) fn is_small(&self, bytes: u64) -> bool {
        bytes <= u64::from(self.scratch.layout.unit_bytes()) / 2
    }

    pub(crate) fn error(&self, refused: Refused, bytes: u64) -> AllocError {
        match refused {
            Refused::Exhausted => AllocError::Exhausted { bytes, capacity: self.scratch.layout.capacity() },
            Refused::NoMemory => AllocError::NoMemory { bytes },
        }
    }

    /// Frees every span of this local whose blocks are all free.
    pub fn release_idle(&mut self) {
        self.release_large();
        self.release_small();
    }

    /// Frees all idle spans, and returns the memory of all free units to the system; returns the bytes that it took. Memory that
    /// the system refuses, locked memory for example, stays free, and the next call tries again.
    ///
    /// # Progress
    ///
    /// Lock-free; a system call per run of free units, some more if one is refused.
    ///
    /// # Crash
    ///
    /// A unit being decommitted is BACKING of this lease; recovery makes it UNBACKED, whether its memory was decommitted or not.
    pub fn trim(&mut self, backing: &dyn Backing) -> u64 {
        self.release_idle();
        self.scratch.release_abandoned(self.owner);
        self.scratch.decommit_free(self.owner, backing)
    }
}
