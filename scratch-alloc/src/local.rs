//! The private state of a thread: lists of free blocks, in spans that its lease owns.
//!
//! Recovery needs nothing of it: if a local disappears, the unit and block words have all information.

use std::alloc::Layout as Request;
use std::fmt;
use std::ptr::NonNull;

use tenure_core::{Acquire, LeaseId};

use crate::claim::Refused;
use crate::class::{GRANULE, class_bytes, class_of};
use crate::error::{AllocError, BlockError};
use crate::geometry::ALIGN_MAX;
use crate::large::Large;
use crate::scratch::{Backing, Scratch};
use crate::small::{COVERED_MIN, Class, Entry, Hot, HotMemory, Idle, Links};
use crate::sync::Ordering;
use crate::word::{Block, Owner};

/// One thread's allocator. Made for one lease; must not outlive it.
///
/// Dropping it drops private memory only: the lease owns its spans until the lease ends. So a program whose threads come and go
/// should keep the locals of ended threads for new ones.
///
/// # Memory
///
/// A span whose blocks are all free goes back to everybody when its last block is freed or collected, but for the last few: a local keeps
/// at most 16 units of idle small spans (a 32nd of the region, if that is less, and at least one span), and at most 128 units for the next
/// large blocks (an eighth of the region, if that is less). Beyond that it keeps two spans of each class: the one from which it
/// allocates, and the newest one, as long as some blocks of that were never used. A block that another member freed is in use until the owner
/// collects it, at its next slow path in the class. After any process had no room, the next slow path of each local collects all such blocks, and
/// gives the idle spans and what is kept for large blocks back.
///
/// In private memory a local has 32 bytes for each unit up to the highest one that it ever owned, or for twice as many; 4 for each span, and
/// nothing for a block.
pub struct Local<'a> {
    pub(crate) hot: HotMemory,
    pub(crate) scratch: Scratch<'a>,
    pub(crate) id: LeaseId,
    pub(crate) owner: Owner,
    /// By small class.
    pub(crate) classes: Box<[Class]>,
    /// By unit.
    pub(crate) links: Box<[Links]>,
    pub(crate) idle: Idle,
    pub(crate) large: Large,
    pub(crate) unused: Unused,
    /// The last request of somebody without room that this local has answered.
    pub(crate) requests: u64,
}

/// Calls of [`Local::trim_unused`] between two looks.
const LOOK: u32 = 256;
/// Calls of [`Local::trim_unused`] after which units that were free all the time go back to the system.
const PERIOD: u32 = 4096;

/// The looks of a period of [`Local::trim_unused`].
pub(crate) struct Unused {
    calls: u32,
    /// The fewest free units at any look.
    units: u32,
}

impl Default for Unused {
    fn default() -> Self {
        Self { calls: 0, units: u32::MAX }
    }
}

impl fmt::Debug for Local<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Local").field("id", &self.id).finish_non_exhaustive()
    }
}

impl<'a> Local<'a> {
    /// An empty local of `me`.
    #[must_use]
    pub fn new(scratch: Scratch<'a>, me: &Acquire) -> Self {
        // SAFETY: in a box.
        unsafe { Self::with(scratch, me, None) }
    }

    /// As [`Local::new`], with the fields that every call needs in `memory`.
    ///
    /// If the memory becomes zero, as MADV_WIPEONFORK makes it in a forked child, [`Local::alloc_cached`] returns `None` and
    /// [`Local::free_cached`] false for ever. The caller calls no other function then.
    ///
    /// # Safety
    ///
    /// `memory` points to [`Local::HOT_BYTES`] bytes, aligned to [`Local::HOT_ALIGN`], which nobody else uses as long as the local lives.
    #[must_use]
    pub unsafe fn new_in(scratch: Scratch<'a>, me: &Acquire, memory: NonNull<u8>) -> Self {
        // SAFETY: as promised.
        unsafe { Self::with(scratch, me, Some(memory)) }
    }

    /// Bytes of memory that [`Local::new_in`] needs.
    pub const HOT_BYTES: usize = size_of::<Hot>();
    /// The alignment of this memory, in bytes.
    pub const HOT_ALIGN: usize = align_of::<Hot>();

    /// # Safety
    ///
    /// As [`Local::new_in`].
    unsafe fn with(scratch: Scratch<'a>, me: &Acquire, memory: Option<NonNull<u8>>) -> Self {
        let layout = scratch.layout;
        let mut local = Self {
            // SAFETY: as promised.
            hot: unsafe { HotMemory::new(&scratch, Block::lease(me.id()).raw(0), memory) },
            scratch,
            id: me.id(),
            owner: Owner::from(me.id()),
            classes: (0..layout.classes).map(|class| Class::new(layout, class)).collect(),
            links: Box::default(),
            idle: Idle::new(),
            large: Large::new(layout.units),
            unused: Unused::default(),
            requests: 0,
        };
        // Not in the first allocation. Without memory that one tries again.
        local.cover(layout.units.min(COVERED_MIN as u32));
        local
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
        if layout.align() <= GRANULE as usize
            && let Some(offset) = self.alloc_cached(layout.size())
        {
            return Ok(offset);
        }
        self.alloc_slow(layout, backing)
    }

    /// The part of [`Local::alloc`] that is worth inlining: a block of a common size, aligned to 16 bytes, if the list of its class has one.
    #[inline(always)]
    pub fn alloc_cached(&mut self, bytes: usize) -> Option<u64> {
        self.hot.take_looked_up(bytes)
    }

    /// The rest of [`Local::alloc`], for a caller that has tried [`Local::alloc_cached`].
    ///
    /// # Errors
    ///
    /// As [`Local::alloc`].
    #[inline(never)]
    pub fn alloc_slow(&mut self, layout: Request, backing: &dyn Backing) -> Result<u64, AllocError> {
        let bytes = layout.size() as u64;
        if layout.align() <= GRANULE as usize && bytes != 0 {
            return if self.is_small(bytes) {
                self.alloc_unlisted(bytes, backing)
            } else {
                self.alloc_large(bytes, backing)
            };
        }
        self.alloc_otherwise(layout, backing)
    }

    /// Allocates a block of a small size whose class may have an empty list.
    #[inline(never)]
    fn alloc_unlisted(&mut self, bytes: u64, backing: &dyn Backing) -> Result<u64, AllocError> {
        let class = class_of(bytes as u32);
        match self.take(class).or_else(|| self.take_queued(class)) {
            Some(offset) => Ok(offset),
            None => self.alloc_small(class, bytes, backing),
        }
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
    /// [`BlockError::NotABlock`] once its span was given back, which can be at once.
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
        if self.free_cached(offset) { Ok(()) } else { self.free_slow(offset) }
    }

    /// The part of [`Local::free`] that is worth inlining: a small block of this local's spans. Returns whether it was one.
    #[inline(always)]
    pub fn free_cached(&mut self, offset: u64) -> bool {
        match self.hot.put(offset) {
            Some(true) => {
                self.emptied((offset >> self.scratch.layout.unit_shift) as u32);
                true
            }
            Some(false) => true,
            None => false,
        }
    }

    /// The rest of [`Local::free`], for a caller that has tried [`Local::free_cached`].
    ///
    /// # Errors
    ///
    /// As [`Local::free`].
    #[inline(never)]
    pub fn free_slow(&mut self, offset: u64) -> Result<(), BlockError> {
        self.answer_requests();
        if self.free_large(offset, self.hot.leased(offset)) || self.put_in_full(offset) {
            return Ok(());
        }
        // A block of another local, or an error.
        self.scratch.free_remote(offset, Block::lease(self.id))
    }

    /// Frees a block that was attached to handle `index` at `generation`, which the caller has ended.
    ///
    /// # Errors
    ///
    /// [`BlockError`] if another process freed it first; that is harmless.
    pub fn free_attached(&mut self, offset: u64, index: u32, generation: u64) -> Result<(), BlockError> {
        let expected = Block::Attached { index, generation };
        if self.put_attached(offset, index, generation) || self.free_large(offset, expected.raw(offset)) {
            return Ok(());
        }
        self.scratch.free_remote(offset, expected)
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
        if let Some((word, _)) = self.hot.own_small(offset) {
            let attached = Block::Attached { index, generation };
            // Release: the payload comes before; pairs with the Acquire in `Scratch::block_state`.
            word.store(attached.raw(offset), Ordering::Release);
            return Ok(());
        }
        self.scratch.attach(me, offset, index, generation)
    }

    /// Bytes of payload of the block of this lease at `offset`.
    ///
    /// # Errors
    ///
    /// [`BlockError`] if no block starts there, or if it has another owner.
    pub fn usable_own(&self, offset: u64) -> Result<u64, BlockError> {
        match self.usable_small(offset) {
            Some(bytes) => Ok(bytes),
            None => self.scratch.usable_of(offset, Some(self.id)),
        }
    }

    fn usable_small(&self, offset: u64) -> Option<u64> {
        self.hot.own_small(offset).map(|(_, class)| u64::from(class_bytes(class)))
    }

    /// Bytes of payload of the block at `offset`.
    ///
    /// # Errors
    ///
    /// [`BlockError`] when no block in use starts there.
    pub fn usable(&self, offset: u64) -> Result<u64, BlockError> {
        if let Some(bytes) = self.usable_small(offset) {
            return Ok(bytes);
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
        // Also in place: the addresses of offsets are aligned to no more.
        let (align, max) =
            (layout.align() as u64, u64::from(ALIGN_MAX.min(self.scratch.layout.unit_bytes())));
        if align > max {
            return Err(Ok(AllocError::Align { align, max }));
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
        // SAFETY: two blocks of this lease, each at least that long. If somebody has overwritten block words, they may overlap.
        unsafe {
            let (from, to) = (self.scratch.address(offset), self.scratch.address(to));
            std::ptr::copy(from, to, found.bytes.min(bytes) as usize);
        }
        // The lease owned the block above; only a double free by the caller's peers can have changed that.
        let _ = self.free(offset);
        Ok(to)
    }

    /// Whether `unit` is the head of a large span of this local.
    pub(crate) fn is_large_head(&self, unit: u64) -> bool {
        self.hot.entries.get(unit as usize).is_some_and(Entry::is_large)
    }

    /// Whether requests of `bytes` are small.
    pub(crate) fn is_small(&self, bytes: u64) -> bool {
        bytes <= u64::from(self.scratch.layout.unit_bytes()) / 2
    }

    /// Claims units without an owner, after this local gave back idle spans.
    pub(crate) fn claim(&mut self, units: u32, backing: &dyn Backing) -> Result<u32, Refused> {
        // A span of one unit finds room in any other. For longer ones, units that lie side by side may be among the idle ones.
        self.release_idle_spans(if units == 1 { 1 } else { u32::MAX });
        self.claim_covered(units, backing)
    }

    /// Claims units without an owner. All units that a local ever claimed are covered.
    pub(crate) fn claim_covered(&mut self, units: u32, backing: &dyn Backing) -> Result<u32, Refused> {
        let start = self.scratch.claim(self.owner, units, backing)?;
        if !self.cover(start + units) {
            self.scratch.free_units(start..start + units);
            return Err(Refused::NoMemory);
        }
        Ok(start)
    }

    /// Gives back what this local keeps for later, but for the lists of its classes.
    pub(crate) fn release_kept(&mut self) {
        self.release_large();
        self.collect_hinted();
        self.release_idle_spans(u32::MAX);
    }

    /// Asks everybody for the units that they keep: this local has no room.
    pub(crate) fn request(&mut self) {
        self.scratch.request();
        self.requests = self.scratch.requests();
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

    /// Returns the memory of free units that nobody claims to the system, little by little; returns the bytes that it took. For
    /// callers that call it at their slow paths: after 4096 calls, as many units go as were free at each of the looks of this period.
    ///
    /// # Progress
    ///
    /// Mostly an increment; a look at the hints of 64 units a load at every 256th call; system calls as [`Local::trim`] at every 4096th.
    ///
    /// # Crash
    ///
    /// As [`Local::trim`].
    pub fn trim_unused(&mut self, backing: &dyn Backing) -> u64 {
        let unused = &mut self.unused;
        unused.calls += 1;
        if !unused.calls.is_multiple_of(LOOK) {
            return 0;
        }
        unused.units = unused.units.min(self.scratch.free_units_hinted());
        if unused.calls < PERIOD {
            return 0;
        }
        let units = std::mem::take(unused).units;
        if units == 0 { 0 } else { self.scratch.decommit_highest(self.owner, units, backing) }
    }
}
