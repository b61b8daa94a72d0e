//! The view of a region: bounds-checked access to the words, and the operations on blocks for which a caller need not own the span.

use std::ops::Range;
use std::ptr::NonNull;

use tenure_core::{Acquire, LeaseId, ordering};

use crate::class::{GRANULE, LARGE, class_bytes};
use crate::error::{BlockError, OutOfMemory};
use crate::geometry::Layout;
use crate::sync::{Ordering, Word, fence};
use crate::word::{self, Block, Shape, Unit};

/// Control words.
pub(crate) const READY: usize = 0;
pub(crate) const ABANDONINGS: usize = 1;
const REQUESTS: usize = 2;
/// Words of a unit's line.
const LINE_REMOTE: usize = 0;
const LINE_TABLES: usize = 1;
const LINE_LARGE: usize = 2;

/// Commits and decommits the memory of the region. Byte ranges count from the region's start.
pub trait Backing {
    /// Commits `bytes`: afterwards accesses to them cannot fail.
    ///
    /// Payloads are committed before the first use of a unit, after the unit was decommitted, after [`Backing::decommit`] failed, and
    /// after a process died in between. Only the implementor can know in which of these cases they are zero.
    ///
    /// # Errors
    ///
    /// [`OutOfMemory`]; then the state of the range is unknown.
    fn commit(&self, bytes: Range<u64>) -> Result<(), OutOfMemory>;

    /// Returns the whole pages inside `bytes`, which are payloads, to the system. The result is the byte range of these pages, empty if
    /// there are none. `None`: the system refused, and some of the pages may be decommitted.
    fn decommit(&self, bytes: Range<u64>) -> Option<Range<u64>>;

    /// Whether [`Backing::decommit`] would refuse at the moment, so that free units are left as they are. The default is that it would not.
    fn keeps_all(&self) -> bool {
        false
    }

    /// Returns the memory of `bytes`, which are block words of units without a span, to the system; afterwards they are zero. Returns
    /// whether it did. The default keeps them.
    ///
    /// An implementor may only do so if a late load of such a word by a stopped process cannot fail.
    fn decommit_words(&self, bytes: Range<u64>) -> bool {
        let _ = bytes;
        false
    }
}

/// A scratch region: a borrowed view, cheap to copy.
#[derive(Clone, Copy, Debug)]
pub struct Scratch<'a> {
    words: &'a [Word],
    data: *mut u8,
    /// The capacity of the layout, in bytes of payload.
    capacity: u64,
    pub(crate) layout: &'a Layout,
}

// SAFETY: the view is a shared slice of atomics and an address; code that dereferences the address argues its own safety.
unsafe impl Send for Scratch<'_> {}
// SAFETY: as above.
unsafe impl Sync for Scratch<'_> {}

/// A block as the shared words describe it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// The start of the payload, in bytes from the start of the payloads.
    pub offset: u64,
    /// Bytes of payload.
    pub bytes: u64,
    /// The block word: the owner.
    pub owner: Block,
    /// The index of the block word, in words.
    pub(crate) at: usize,
    pub(crate) head: u32,
    pub(crate) shape: Shape,
}

impl<'a> Scratch<'a> {
    /// A view of `words`, the region up to [`Layout::data_at`], and of the payloads at `data`.
    ///
    /// # Panics
    ///
    /// If `words` is shorter than the layout requires.
    ///
    /// # Safety
    ///
    /// `data` points to [`Layout::capacity`] bytes that stay mapped for `'a`, aligned to at least the smaller of a unit and
    /// a page; only the owner of a block accesses its payload.
    #[must_use]
    pub unsafe fn new(words: &'a [Word], data: *mut u8, layout: &'a Layout) -> Self {
        let needed = layout.data_bytes_at as usize / 8;
        assert!(words.len() >= needed, "scratch region: expected {needed} words, found {}", words.len());
        Self { words, data, capacity: layout.capacity(), layout }
    }

    /// Initialises zeroed memory, of which [`Layout::commit_at_creation`] is committed. Call it before any other process sees the memory.
    pub fn init(&self) {
        if !self.layout.eager() {
            return;
        }
        for unit in 0..self.layout.units {
            // Relaxed: the creator publishes the whole segment later, by linking its name.
            self.unit(unit).store(Unit::Free.raw(), Ordering::Relaxed);
            self.tables_committed(unit).store(self.layout.all_tables(), Ordering::Relaxed);
        }
        self.hint_run(self.layout.dirty, 0..self.layout.units, true);
        self.control(READY).store(u64::from(self.layout.units), Ordering::Relaxed);
    }

    /// The geometry's numbers.
    #[must_use]
    pub fn layout(&self) -> &'a Layout {
        self.layout
    }

    /// The address of a payload offset.
    ///
    /// # Panics
    ///
    /// When the offset is outside of the region.
    #[inline]
    #[must_use]
    pub fn address(&self, offset: u64) -> *mut u8 {
        assert!(offset < self.capacity, "offset {offset} outside of the region");
        // SAFETY: the offset is below the capacity, and the caller of `new` promised that these bytes are mapped.
        unsafe { self.data.add(offset as usize) }
    }

    /// The address of `bytes` bytes, if they lie in the part of the region that was handed out at some time and begin where a block can.
    ///
    /// Whether a block starts there is not asked: see [`find`](Self::find).
    #[inline(always)]
    #[must_use]
    pub fn bytes_at(&self, offset: u64, bytes: u64) -> Option<NonNull<u8>> {
        let end = u64::from(self.ready()) << self.layout.unit_shift;
        // SAFETY: the offset is at most the capacity, and the caller of `new` promised that these bytes are mapped.
        (offset <= end && bytes <= end - offset && offset.is_multiple_of(u64::from(GRANULE)))
            .then(|| unsafe { NonNull::new_unchecked(self.data.add(offset as usize)) })
    }

    /// As [`bytes_at`](Self::bytes_at), for bytes that begin anywhere.
    #[inline]
    #[must_use]
    pub fn bytes_within(&self, offset: u64, bytes: u64) -> Option<NonNull<u8>> {
        let end = u64::from(self.ready()) << self.layout.unit_shift;
        if offset > end || bytes > end - offset {
            return None;
        }
        // SAFETY: the offset is at most the capacity, and the caller of `new` promised that these bytes are mapped.
        NonNull::new(unsafe { self.data.add(offset as usize) })
    }

    /// The payload offset of an address, if it lies in the region.
    #[inline]
    #[must_use]
    pub fn offset(&self, address: *const u8) -> Option<u64> {
        let offset = (address as usize).wrapping_sub(self.data as usize) as u64;
        (offset < self.capacity).then_some(offset)
    }

    pub(crate) fn word(&self, at: usize) -> &'a Word {
        &self.words[at]
    }

    pub(crate) fn control(&self, index: usize) -> &'a Word {
        &self.words[index]
    }

    /// The first word of a table of block words; it has a word for each 2^`table` bytes of the capacity.
    pub(crate) fn table(&self, table: u32) -> &'a [Word] {
        &self.words[self.layout.table_words(table, 0, self.layout.units)]
    }

    /// How often a process had no room. A local that sees a new number gives back what it keeps.
    pub(crate) fn requests(&self) -> u64 {
        // Relaxed: a hint.
        self.control(REQUESTS).load(Ordering::Relaxed)
    }

    /// Asks all locals for the units that they keep.
    pub(crate) fn request(&self) {
        // Relaxed: a hint.
        self.control(REQUESTS).fetch_add(1, Ordering::Relaxed);
    }

    /// Above all units that were ever in use, and less than one step of growth more.
    #[must_use]
    pub fn ready_units(&self) -> u32 {
        self.ready()
    }

    /// The number of units whose control words are committed.
    #[inline]
    pub(crate) fn ready(&self) -> u32 {
        // Acquire: pairs with the AcqRel in `Scratch::extend`; the control words of these units were committed before.
        self.control(READY).load(Ordering::Acquire).min(u64::from(self.layout.units)) as u32
    }

    #[inline]
    pub(crate) fn unit(&self, unit: u32) -> &'a Word {
        debug_assert!(unit < self.layout.units);
        &self.words[self.layout.words + unit as usize]
    }

    /// Acquire: unit word: pairs with the Release in `unit_store` and `unit_compare_exchange`; all that the storing process did to the
    /// unit before is visible.
    pub(crate) fn unit_state(&self, unit: u32) -> Unit {
        Unit::from_raw(self.unit(unit).load(ordering!("scratch.unit.load", Acquire, Relaxed)))
    }

    /// One exact transition of a unit word.
    #[cfg_attr(test, track_caller)]
    pub(crate) fn unit_compare_exchange(&self, unit: u32, from: Unit, to: Unit) -> bool {
        // SeqCst: unit word: publishes all stores before, obtains those of the last writer; pairs with the Acquire in `unit_state`.
        // On x86-64 it costs the same as AcqRel. Failure decides nothing: Relaxed.
        let success = ordering!("scratch.exchange", SeqCst, Relaxed);
        self.unit(unit).compare_exchange(from.raw(), to.raw(), success, Ordering::Relaxed).is_ok()
    }

    /// Stores the word of a unit that the caller owns: no other process may change it.
    #[cfg_attr(test, track_caller)]
    pub(crate) fn unit_store(&self, unit: u32, to: Unit) {
        // Release: unit word: publishes the caller's stores to the unit; pairs with the Acquire in `unit_state`.
        self.unit(unit).store(to.raw(), ordering!("scratch.unit.store", Release, Relaxed));
    }

    /// The index of the word of block `index` of a span.
    pub(crate) fn block_at(&self, head: u32, class: u8, index: u32) -> usize {
        if class == LARGE {
            self.layout.lines + head as usize * 8 + LINE_LARGE
        } else {
            self.small_at(class, self.block_offset(head, class, index))
        }
    }

    /// The offset of block `index` of a span.
    pub(crate) fn block_offset(&self, head: u32, class: u8, index: u32) -> u64 {
        let start = u64::from(head) << self.layout.unit_shift;
        // A large span has one block.
        if class == LARGE { start } else { start + u64::from(index) * u64::from(class_bytes(class)) }
    }

    /// The index of the word of the block of a small class that starts at `offset`.
    fn small_at(&self, class: u8, offset: u64) -> usize {
        let table = Layout::table_of(class);
        self.layout.tables[table as usize] + (offset >> table) as usize
    }

    /// The word of the block of a small class that starts at `offset`.
    pub(crate) fn small_word(&self, class: u8, offset: u64) -> &'a Word {
        self.word(self.small_at(class, offset))
    }

    /// The offsets of all blocks of a span, and the indices of their words.
    pub(crate) fn blocks_at(
        self,
        head: u32,
        shape: Shape,
    ) -> impl DoubleEndedIterator<Item = (u64, usize)> + ExactSizeIterator + use<'a> {
        (0..self.layout.blocks(shape.class)).map(move |index| {
            (self.block_offset(head, shape.class, index), self.block_at(head, shape.class, index))
        })
    }

    /// The word at `at`, of the block at `offset`. Acquire: pairs with the Release of the last transition of the block.
    pub(crate) fn block_state(&self, at: usize, offset: u64) -> Block {
        Block::from_raw(self.word(at).load(Ordering::Acquire), offset)
    }

    /// The state of the block of the large span at `head`.
    pub(crate) fn large_state(&self, head: u32) -> Block {
        self.block_state(self.block_at(head, LARGE, 0), self.block_offset(head, LARGE, 0))
    }

    /// One exact transition of the word of the block at `offset`; the caller need not own the span.
    ///
    /// It publishes the payload accesses of the last owner; pairs with the Acquire of the collector and the adopter.
    #[cfg_attr(test, track_caller)]
    pub(crate) fn block_compare_exchange(&self, at: usize, offset: u64, from: Block, to: Block) -> bool {
        // SeqCst: block word: also ordered before the load of the hint in `tell_owner`. Failure decides nothing: Relaxed.
        let success = ordering!("scratch.exchange", SeqCst, Relaxed);
        let (from, to) = (from.raw(offset), to.raw(offset));
        self.word(at).compare_exchange(from, to, success, Ordering::Relaxed).is_ok()
    }

    fn line(&self, unit: u32, word: usize) -> &'a Word {
        &self.words[self.layout.lines + unit as usize * 8 + word]
    }

    /// Bit s: the words of `unit` in table s are committed. Only the owner of the unit stores it.
    pub(crate) fn tables_committed(&self, unit: u32) -> &'a Word {
        self.line(unit, LINE_TABLES)
    }

    /// The hint that others freed blocks of the span at `head`.
    pub(crate) fn remote(&self, head: u32) -> &'a Word {
        self.line(head, LINE_REMOTE)
    }

    /// Whether a shape read from shared memory can be a span at `head`.
    pub(crate) fn plausible(&self, head: u32, shape: Shape) -> bool {
        let fits = shape.units >= 1 && u64::from(head) + u64::from(shape.units) <= u64::from(self.ready());
        let small = shape.class < self.layout.classes
            && u16::from(self.layout.spans[usize::from(shape.class)].1) == shape.units;
        fits && (small || shape.class == LARGE)
    }

    /// The head and shape of the span that covers `unit`, if there is one.
    pub(crate) fn span_of(&self, unit: u32) -> Option<(u32, Shape)> {
        let head = match self.unit_state(unit) {
            Unit::Span(..) | Unit::Abandoned(_) => unit,
            Unit::Tail(_, distance) => unit.checked_sub(u32::from(distance))?,
            _ => return None,
        };
        match self.unit_state(head) {
            Unit::Span(_, shape) | Unit::Abandoned(shape)
                if self.plausible(head, shape) && unit - head < u32::from(shape.units) =>
            {
                Some((head, shape))
            }
            _ => None,
        }
    }

    /// The block that starts at `offset`.
    ///
    /// # Errors
    ///
    /// [`BlockError::OutOfRange`], [`BlockError::NotABlock`].
    ///
    /// # Progress
    ///
    /// Wait-free: a handful of loads.
    pub fn find(&self, offset: u64) -> Result<Found, BlockError> {
        let capacity = u64::from(self.ready()) << self.layout.unit_shift;
        if offset >= capacity {
            return Err(BlockError::OutOfRange { offset, capacity });
        }
        let none = BlockError::NotABlock { offset };
        let (head, shape) = self.span_of((offset >> self.layout.unit_shift) as u32).ok_or(none)?;
        let from_span = offset - (u64::from(head) << self.layout.unit_shift);
        let index = if shape.class == LARGE {
            (from_span == 0).then_some(0)
        } else {
            self.layout.divisors[usize::from(shape.class)].exact(from_span as u32)
        };
        let at = self.block_at(head, shape.class, index.ok_or(none)?);
        let bytes = self.layout.block_bytes(shape.class, u32::from(shape.units));
        Ok(Found { offset, bytes, owner: self.block_state(at, offset), at, head, shape })
    }

    /// Bytes of payload of the block at `offset`, if the lease `owner` owns it; with `owner` `None`, if it is pinned.
    ///
    /// # Errors
    ///
    /// [`BlockError`] if no block starts there, or if the block has another owner.
    ///
    /// # Progress
    ///
    /// Lock-free: as [`Scratch::find`], repeated if the span changed meanwhile.
    pub fn usable_of(&self, offset: u64, owner: Option<LeaseId>) -> Result<u64, BlockError> {
        // Acquire fence: the caller's earlier loads of the payload come before the loads of the words below, as in a seqlock. If they saw
        // bytes of a next owner, the words below are not older than the exchange that took the block from its former owner.
        fence(Ordering::Acquire);
        let found = loop {
            let found = self.find(offset)?;
            // `find` loads the shape before the block word. After the Acquire load of the block word, the shape that the span had when the
            // owner got the block is visible. So the shape is loaded again; if it differs, the first shape was that of a former span.
            if self.span_of((offset >> self.layout.unit_shift) as u32) == Some((found.head, found.shape)) {
                break found;
            }
        };
        match (found.owner, owner) {
            (Block::Free | Block::Remote, _) => Err(BlockError::AlreadyFree { offset }),
            (Block::Pinned { .. }, None) => Ok(found.bytes),
            (of, Some(id)) if of == Block::lease(id) => Ok(found.bytes),
            (of, _) => {
                let expected = owner.map_or(Block::Pinned { lease: 0 }, Block::lease);
                Err(BlockError::WrongOwner { offset, expected, found: of })
            }
        }
    }

    /// One transition of a block, from exactly `expected` to `to`.
    pub(crate) fn transfer(&self, offset: u64, expected: Block, to: Block) -> Result<Found, BlockError> {
        let found = self.find(offset)?;
        if found.owner == expected && self.block_compare_exchange(found.at, offset, expected, to) {
            return Ok(found);
        }
        Err(match self.block_state(found.at, offset) {
            Block::Free | Block::Remote => BlockError::AlreadyFree { offset },
            other => BlockError::WrongOwner { offset, expected, found: other },
        })
    }

    /// Frees a block whose word is `expected`; the caller need not own the span. The span's owner collects the block later.
    pub(crate) fn free_remote(&self, offset: u64, expected: Block) -> Result<(), BlockError> {
        let head = match self.free_small(offset, expected) {
            Some(head) => head,
            None => self.transfer(offset, expected, Block::Remote)?.head,
        };
        self.tell_owner(head);
        Ok(())
    }

    /// Frees the block that starts at `offset` in a small span if its word is `expected`, and returns the span's head.
    /// After `None` the caller has to take the slow path.
    ///
    /// The block word is not loaded before the CAS: its owner has just stored it, and its cache line would be transferred twice,
    /// once for the load and once for the CAS.
    #[inline]
    fn free_small(&self, offset: u64, expected: Block) -> Option<u32> {
        let unit = offset >> self.layout.unit_shift;
        if unit >= u64::from(self.ready()) {
            return None;
        }
        // Acquire, both loads: as in `unit_state`.
        let load = |unit| self.unit(unit).load(ordering!("scratch.unit.load", Acquire, Relaxed));
        let unit = unit as u32;
        let (mut head, mut seen) = (unit, load(unit));
        if let Some(distance) = word::tail_distance(seen) {
            head = unit.checked_sub(distance)?;
            seen = load(head);
        }
        let shape = word::span_shape(seen)?;
        if shape.class == LARGE || !self.plausible(head, shape) || unit - head >= u32::from(shape.units) {
            return None;
        }
        // With the word of a lease, the exchange shows that a block starts at `offset`. Other words do not have the offset.
        if !matches!(expected, Block::Lease { .. }) {
            return None;
        }
        let at = self.small_at(shape.class, offset);
        self.block_compare_exchange(at, offset, expected, Block::Remote).then_some(head)
    }

    /// Sets the hint that a block of the span at `head` became REMOTE.
    pub(crate) fn tell_owner(&self, head: u32) {
        // SeqCst: hint: ordered after the CAS of the block word to REMOTE. The owner stores 0 to the hint and then scans (Dekker):
        // - either our REMOTE is seen by the owner's scan: then the owner collects the block;
        // - or it is not: then the owner's 0 is seen by this load, and the hint is set again below.
        // A lost hint costs time only.
        let hint = self.remote(head);
        if hint.load(ordering!("scratch.tell.hint", SeqCst, Relaxed)) != 0 {
            return;
        }
        // Relaxed: a hint.
        hint.store(1, Ordering::Relaxed);
        if matches!(self.unit_state(head), Unit::Abandoned(_)) {
            // AcqRel: publishes the freed block; pairs with the Acquire in `Local::adopt`.
            self.control(ABANDONINGS).fetch_add(1, Ordering::AcqRel);
        }
    }

    /// Frees a block of lease `owner`, which passed the block to the caller.
    ///
    /// # Errors
    ///
    /// [`BlockError`]: nothing was freed. A second free is an error as long as `owner` has not allocated the block again.
    ///
    /// # Progress
    ///
    /// Wait-free.
    ///
    /// # Crash
    ///
    /// Killed before the CAS: the block still belongs to `owner`. After it: the block is free, and the owner's next scan finds it.
    pub fn free_of(&self, _right: &Acquire, offset: u64, owner: LeaseId) -> Result<(), BlockError> {
        self.free_remote(offset, Block::lease(owner))
    }

    /// Attaches a block of lease `me` to handle `index`: the handle owns it from now on.
    ///
    /// # Errors
    ///
    /// [`BlockError`]: nothing was changed.
    pub fn attach(&self, me: &Acquire, offset: u64, index: u32, generation: u64) -> Result<(), BlockError> {
        self.transfer(offset, Block::lease(me.id()), Block::Attached { index, generation }).map(drop)
    }

    /// Frees the block at `offset` if it is attached to handle `index` in a generation that is not current `[scratch-attached-garbage]`. Any other
    /// block is left alone, because a dead process may have left any offset in its entry.
    ///
    /// # Progress
    ///
    /// Wait-free.
    ///
    /// # Crash
    ///
    /// Either the block is freed, or a later call finds it in the same state.
    pub fn free_orphan(&self, offset: u64, index: u32, is_current: &dyn Fn(u32, u64) -> bool) -> bool {
        let Ok(found) = self.find(offset) else { return false };
        match found.owner {
            owner @ Block::Attached { index: of, generation }
                if of == index && !is_current(of, generation) =>
            {
                let freed = self.block_compare_exchange(found.at, offset, owner, Block::Remote);
                if freed {
                    self.tell_owner(found.head);
                }
                freed
            }
            _ => false,
        }
    }

    /// Pins a block of lease `me`: from now on only [`Scratch::free_pinned`] frees it.
    ///
    /// # Errors
    ///
    /// [`BlockError`]: nothing was changed.
    pub fn pin(&self, me: &Acquire, offset: u64) -> Result<(), BlockError> {
        let id = me.id();
        self.transfer(offset, Block::lease(id), Block::Pinned { lease: id.index }).map(drop)
    }

    /// Frees a pinned block; any member may.
    ///
    /// # Errors
    ///
    /// [`BlockError`]: nothing was freed.
    pub fn free_pinned(&self, me: &Acquire, offset: u64) -> Result<(), BlockError> {
        match self.find(offset)?.owner {
            pinned @ Block::Pinned { .. } => self.free_remote(offset, pinned),
            Block::Free | Block::Remote => Err(BlockError::AlreadyFree { offset }),
            found => Err(BlockError::WrongOwner {
                offset,
                expected: Block::Pinned { lease: me.id().index },
                found,
            }),
        }
    }
}
