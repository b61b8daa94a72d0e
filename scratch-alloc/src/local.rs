//! The private side: one thread's stacks of free blocks, over spans that its lease owns.
//!
//! Nothing here is needed to recover: a local that disappears leaves spans and block words that say everything.

use std::alloc::Layout as Request;
use std::fmt;

use tenure_segment::sync::{Ordering, Word, fence};
use tenure_segment::{Acquire, LeaseId};

use crate::class::{GRANULE, LARGE, class_bytes, class_of};
use crate::crash::crash_point;
use crate::error::{AllocError, BlockError};
use crate::geometry::{ALIGN_MAX, SPAN_UNITS_MAX};
use crate::scratch::{ABANDONINGS, Backing, Scratch};
use crate::span::Refused;
use crate::word::{Block, Owner, Shape, Unit};

/// Free blocks moved from a span to the stack at a time.
const CARVE: u32 = 32;
/// Large blocks kept warm.
const WARM_RUNS: usize = 32;

/// What a local knows about one small class.
struct Class {
    /// Slots of free blocks of this local's spans; their words are FREE and nobody else moves them `[I12]`.
    stack: Vec<u32>,
    /// Slots of the newest span that are free and not on the stack yet.
    carve: std::ops::Range<u32>,
    /// Heads of this local's spans.
    spans: Vec<u32>,
    /// Spans acquired since the last collection.
    fresh: usize,
    bytes: u32,
}

/// One thread's allocator. Made for one lease; must not outlive it.
pub struct Local<'a> {
    scratch: Scratch<'a>,
    /// The block word of a block that we own.
    mine: u64,
    id: LeaseId,
    owner: Owner,
    classes: Vec<Class>,
    /// Per unit: 0, or class + 1 and the distance to the head: which units are covered by this local's spans.
    /// Of large spans only the head is entered.
    map: Vec<u16>,
    /// Free large spans, oldest first.
    warm: Vec<(u32, u16)>,
    warm_units: u32,
    /// Heads of large spans that are in use.
    large: Vec<u32>,
    abandonings_seen: u64,
}

impl fmt::Debug for Local<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Local").field("id", &self.id).field("warm", &self.warm.len()).finish_non_exhaustive()
    }
}

const fn map_entry(class: u8, distance: u32) -> u16 {
    (class as u16 + 1) | (distance as u16) << 8
}

impl<'a> Local<'a> {
    /// An empty local of `me`.
    #[must_use]
    pub fn new(scratch: Scratch<'a>, me: &Acquire) -> Self {
        let class = |class| Class {
            stack: Vec::new(),
            carve: 0..0,
            spans: Vec::new(),
            fresh: 0,
            bytes: class_bytes(class),
        };
        Self {
            scratch,
            mine: Block::lease(me.id()).raw(),
            id: me.id(),
            owner: Owner::from(me.id()),
            classes: (0..scratch.layout.classes).map(class).collect(),
            map: vec![0; scratch.layout.units as usize],
            warm: Vec::new(),
            warm_units: 0,
            large: Vec::new(),
            abandonings_seen: 0,
        }
    }

    /// The region.
    #[must_use]
    pub fn scratch(&self) -> Scratch<'a> {
        self.scratch
    }

    /// Allocates a block that `layout` fits in; returns its payload offset. The contents are whatever was there.
    ///
    /// # Errors
    ///
    /// [`AllocError`]; nothing was changed, except that caches of this local may have been given back.
    ///
    /// # Progress
    ///
    /// A pop and one plain store when a free block is cached. Otherwise lock-free between processes: a bounded scan, and
    /// one CAS per unit claimed.
    ///
    /// # Crash
    ///
    /// Killed before the store the block is free, after it the lease's; both are found by recovery.
    #[inline]
    pub fn alloc(&mut self, layout: Request, backing: &dyn Backing) -> Result<u64, AllocError> {
        let bytes = layout.size();
        if layout.align() > GRANULE as usize || bytes > self.small_max() || bytes == 0 {
            return self.alloc_unusual(layout, backing);
        }
        let class = class_of(bytes as u32);
        self.alloc_class(class, bytes as u64, backing)
    }

    #[inline]
    fn alloc_class(&mut self, class: u8, bytes: u64, backing: &dyn Backing) -> Result<u64, AllocError> {
        let cache = &mut self.classes[usize::from(class)];
        let Some(slot) = cache.stack.pop() else { return self.alloc_slow(class, bytes, backing) };
        let size = cache.bytes;
        // Release: the previous owner's accesses come before; pairs with the Acquire in `Scratch::block_state`.
        self.scratch.block(slot).store(self.mine, Ordering::Release);
        Ok(self.offset_of(slot, size))
    }

    #[inline]
    fn small_max(&self) -> usize {
        1 << (self.scratch.layout.unit_shift - 1)
    }

    #[inline]
    fn offset_of(&self, slot: u32, bytes: u32) -> u64 {
        let shift = self.scratch.layout.table_shift;
        let (head, index) = (slot >> shift, slot & ((1 << shift) - 1));
        (u64::from(head) << self.scratch.layout.unit_shift) + u64::from(index) * u64::from(bytes)
    }

    #[cold]
    fn alloc_unusual(&mut self, layout: Request, backing: &dyn Backing) -> Result<u64, AllocError> {
        let (bytes, align) = (layout.size() as u64, layout.align() as u64);
        if bytes == 0 {
            return Err(AllocError::Empty);
        }
        let max = u64::from(ALIGN_MAX.min(self.scratch.layout.unit_bytes()));
        if align > max {
            return Err(AllocError::Align { align, max });
        }
        if bytes.max(align) <= self.small_max() as u64 {
            // Blocks are aligned to what divides their size, spans to a unit or a page.
            let smallest = class_of(bytes.max(align) as u32);
            let fits =
                (smallest..self.scratch.layout.classes).find(|c| u64::from(class_bytes(*c)) % align == 0);
            if let Some(class) = fits {
                return self.alloc_class(class, bytes, backing);
            }
        }
        self.alloc_large(bytes, backing)
    }

    /// As [`Local::alloc`], with the first `layout.size()` bytes zeroed.
    ///
    /// # Errors
    ///
    /// As [`Local::alloc`].
    pub fn alloc_zeroed(&mut self, layout: Request, backing: &dyn Backing) -> Result<u64, AllocError> {
        let offset = self.alloc(layout, backing)?;
        // SAFETY: the block is ours and holds at least `layout.size()` bytes.
        unsafe { self.scratch.address(offset).write_bytes(0, layout.size()) };
        Ok(offset)
    }

    /// Frees a block of this lease.
    ///
    /// # Errors
    ///
    /// [`BlockError`]; nothing was freed.
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
        match self.small_slot(offset) {
            Some((class, slot)) if self.scratch.block(slot).load(Ordering::Relaxed) == self.mine => {
                self.put(class, slot);
                Ok(())
            }
            _ => self.free_unusual(offset, Block::lease(self.id)),
        }
    }

    /// The class and slot of a small block that starts at `offset` in a span of this local.
    #[inline]
    fn small_slot(&self, offset: u64) -> Option<(u8, u32)> {
        let unit = offset >> self.scratch.layout.unit_shift;
        let entry = *self.map.get(usize::try_from(unit).ok()?)?;
        let class = (entry as u8).checked_sub(1)?;
        if class == LARGE {
            return None;
        }
        let head = unit as u32 - u32::from(entry >> 8);
        let from_span = (offset - (u64::from(head) << self.scratch.layout.unit_shift)) as u32;
        let index = self.scratch.layout.divisors[usize::from(class)].exact(from_span)?;
        // The unused rest of a span is no block.
        (index < self.scratch.layout.spans[usize::from(class)].0)
            .then(|| (class, self.scratch.slot_of(head, index)))
    }

    /// Frees a block of a span of this local and keeps it.
    #[inline]
    fn put(&mut self, class: u8, slot: u32) {
        // Release: our payload accesses come before; pairs with the Acquire in `Scratch::block_state`.
        self.scratch.block(slot).store(Block::Free.raw(), Ordering::Release);
        self.classes[usize::from(class)].stack.push(slot);
    }

    #[cold]
    fn free_unusual(&mut self, offset: u64, expected: Block) -> Result<(), BlockError> {
        let unit = (offset >> self.scratch.layout.unit_shift) as usize;
        if self.map.get(unit).is_none_or(|entry| *entry == 0) {
            let found = self.scratch.transfer(offset, expected, Block::Remote)?;
            crash_point!("scratch.free.remote_stored");
            self.scratch.tell_owner(found.head);
            return Ok(());
        }
        let found = self.scratch.find(offset)?;
        match found.owner {
            owner if owner == expected => {}
            Block::Free | Block::Remote => return Err(BlockError::AlreadyFree { offset }),
            owner => return Err(BlockError::WrongOwner { offset, expected, found: owner }),
        }
        if found.shape.class == LARGE {
            self.put_large(found.head, found.shape);
        } else {
            self.put(found.shape.class, found.slot);
        }
        Ok(())
    }

    /// Frees a block that was attached to handle `index` at `generation`, which the caller has ended.
    ///
    /// # Errors
    ///
    /// [`BlockError`] when somebody was faster, which is no harm.
    pub fn free_attached(&mut self, offset: u64, index: u32, generation: u64) -> Result<(), BlockError> {
        let expected = Block::Attached { index, generation };
        match self.small_slot(offset) {
            Some((class, slot)) if self.scratch.block(slot).load(Ordering::Relaxed) == expected.raw() => {
                self.put(class, slot);
                Ok(())
            }
            _ => self.free_unusual(offset, expected),
        }
    }

    /// Hands a block of this lease to handle `index`: one plain store when the block lies in this local's spans.
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
        match self.small_slot(offset) {
            Some((_, slot)) if self.scratch.block(slot).load(Ordering::Relaxed) == self.mine => {
                let attached = Block::Attached { index, generation };
                // Release: the payload comes before; pairs with the Acquire in `Scratch::block_state`.
                self.scratch.block(slot).store(attached.raw(), Ordering::Release);
                Ok(())
            }
            _ => self.scratch.attach(me, offset, index, generation),
        }
    }

    /// Bytes of payload of the block at `offset`.
    ///
    /// # Errors
    ///
    /// [`BlockError`] when no block in use starts there.
    pub fn usable(&self, offset: u64) -> Result<u64, BlockError> {
        if let Some((class, slot)) = self.small_slot(offset)
            && self.scratch.block(slot).load(Ordering::Relaxed) == self.mine
        {
            return Ok(u64::from(self.classes[usize::from(class)].bytes));
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
    /// `Err(Ok(e))`: no memory, `Err(Err(e))`: not a block of ours. The block is as it was.
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
        // In place unless more than half would be wasted.
        if aligned && bytes <= found.bytes && (bytes > found.bytes / 2 || found.bytes <= u64::from(GRANULE)) {
            return Ok(offset);
        }
        if found.shape.class == LARGE && aligned && self.map[found.head as usize] != 0 {
            let length = bytes.div_ceil(u64::from(self.scratch.layout.unit_bytes()));
            if bytes > self.small_max() as u64 && length <= SPAN_UNITS_MAX {
                if length <= u64::from(found.shape.units) {
                    self.shrink(found.head, found.shape, length as u16);
                    return Ok(offset);
                }
                if self.grow(found.head, found.shape, length as u16, backing) {
                    return Ok(offset);
                }
            }
        }
        let to = self.alloc(layout, backing).map_err(Ok)?;
        // SAFETY: two different blocks of ours, each at least that long.
        unsafe {
            let (from, to) = (self.scratch.address(offset), self.scratch.address(to));
            std::ptr::copy_nonoverlapping(from, to, found.bytes.min(bytes) as usize);
        }
        // It was ours a moment ago, and only a double free by the caller's peers could have changed that.
        let _ = self.free(offset);
        Ok(to)
    }

    fn shrink(&mut self, head: u32, shape: Shape, units: u16) {
        self.scratch.unit_store(head, Unit::Span(self.owner, Shape { units, ..shape }));
        crash_point!("scratch.shrink.head_stored");
        self.scratch.free_tails(head, u32::from(units)..u32::from(shape.units));
    }

    fn grow(&mut self, head: u32, shape: Shape, units: u16, backing: &dyn Backing) -> bool {
        let more = u32::from(units - shape.units);
        if !self.scratch.claim_at(self.owner, head + u32::from(shape.units), more, backing) {
            return false;
        }
        self.scratch.make_tails(self.owner, head, u32::from(shape.units)..u32::from(units));
        crash_point!("scratch.grow.tails_stored");
        self.scratch.unit_store(head, Unit::Span(self.owner, Shape { units, ..shape }));
        true
    }

    #[cold]
    fn alloc_slow(&mut self, class: u8, bytes: u64, backing: &dyn Backing) -> Result<u64, AllocError> {
        let which = usize::from(class);
        if !self.carve(which) {
            let cache = &self.classes[which];
            let worth_it = !cache.spans.is_empty() && cache.fresh * 8 >= cache.spans.len();
            let refilled = (worth_it && self.collect(which)) || self.adopt(class);
            if !refilled {
                self.new_span(class, backing).or_else(|refused| {
                    if self.collect(which) {
                        return Ok(());
                    }
                    self.release_idle();
                    self.release_abandoned();
                    self.new_span(class, backing).map_err(|_| self.error(refused, bytes))
                })?;
            }
        }
        let cache = &mut self.classes[which];
        let size = cache.bytes;
        let Some(slot) = cache.stack.pop() else { return Err(self.error(Refused::Exhausted, bytes)) };
        self.scratch.block(slot).store(self.mine, Ordering::Release);
        Ok(self.offset_of(slot, size))
    }

    fn error(&self, refused: Refused, bytes: u64) -> AllocError {
        match refused {
            Refused::Exhausted => AllocError::Exhausted { bytes, capacity: self.scratch.layout.capacity() },
            Refused::NoMemory => AllocError::NoMemory { bytes },
        }
    }

    /// Moves some free blocks of the newest span to the stack, lowest on top.
    fn carve(&mut self, which: usize) -> bool {
        let class = &mut self.classes[which];
        let end = class.carve.end.min(class.carve.start + CARVE);
        class.stack.extend((class.carve.start..end).rev());
        class.carve.start = end;
        !class.stack.is_empty()
    }

    /// Collects the blocks of this class that others freed.
    fn collect(&mut self, which: usize) -> bool {
        let scratch = self.scratch;
        let blocks = scratch.layout.spans[which].0;
        let class = &mut self.classes[which];
        class.fresh = 0;
        for &head in &class.spans {
            if scratch.remote(head).load(Ordering::Relaxed) == 0 {
                continue;
            }
            scratch.remote(head).store(0, Ordering::Relaxed);
            // SeqCst: the store of 0 before the scan; pairs with the fence in `Scratch::tell_owner`.
            fence(Ordering::SeqCst);
            for slot in (0..blocks).map(|index| scratch.slot_of(head, index)) {
                // Acquire: the freer's payload accesses come before ours; pairs with `Scratch::block_exchange`.
                if scratch.block(slot).load(Ordering::Acquire) == Block::Remote.raw() {
                    scratch.block(slot).store(Block::Free.raw(), Ordering::Release);
                    class.stack.push(slot);
                }
            }
        }
        !class.stack.is_empty()
    }

    /// Takes over abandoned spans of the class that have room, if any were abandoned since we last looked.
    fn adopt(&mut self, class: u8) -> bool {
        // Acquire: pairs with the AcqRel in `recover`; the spans abandoned before are visible.
        let abandonings = self.scratch.control(ABANDONINGS).load(Ordering::Acquire);
        if abandonings == self.abandonings_seen {
            return false;
        }
        let blocks = self.scratch.layout.spans[usize::from(class)].0;
        let is_free =
            |block: &Word| [Block::Free.raw(), Block::Remote.raw()].contains(&block.load(Ordering::Acquire));
        for head in 0..self.scratch.ready() {
            let Unit::Abandoned(shape) = self.scratch.unit_state(head) else { continue };
            let slots =
                move |scratch: Scratch<'a>| (0..blocks).map(move |index| scratch.slot_of(head, index));
            if shape.class != class
                || !self.scratch.plausible(head, shape)
                || !slots(self.scratch).any(|slot| is_free(self.scratch.block(slot)))
                || !self.scratch.adopt(self.owner, head, shape)
            {
                continue;
            }
            self.enter(head, shape);
            for slot in slots(self.scratch) {
                if is_free(self.scratch.block(slot)) {
                    self.scratch.block(slot).store(Block::Free.raw(), Ordering::Release);
                    self.classes[usize::from(class)].stack.push(slot);
                }
            }
            return true;
        }
        self.abandonings_seen = abandonings;
        false
    }

    /// Enters a small span that is ours into the private books.
    fn enter(&mut self, head: u32, shape: Shape) {
        for distance in 0..u32::from(shape.units) {
            self.map[(head + distance) as usize] = map_entry(shape.class, distance);
        }
        let class = &mut self.classes[usize::from(shape.class)];
        class.spans.push(head);
        class.fresh += 1;
        // So that no free ever grows the stack.
        let room = class.spans.len() * self.scratch.layout.spans[usize::from(shape.class)].0 as usize;
        class.stack.reserve(room.saturating_sub(class.stack.len()));
    }

    fn new_span(&mut self, class: u8, backing: &dyn Backing) -> Result<(), Refused> {
        let (blocks, units) = self.scratch.layout.spans[usize::from(class)];
        let shape = Shape { class, units: u16::from(units) };
        let head = self.scratch.claim(self.owner, u32::from(units), backing)?;
        self.scratch.make_span(self.owner, head, shape, backing)?;
        self.enter(head, shape);
        let first = self.scratch.slot_of(head, 0);
        self.classes[usize::from(class)].carve = first..first + blocks;
        self.carve(usize::from(class));
        Ok(())
    }

    fn alloc_large(&mut self, bytes: u64, backing: &dyn Backing) -> Result<u64, AllocError> {
        let layout = self.scratch.layout;
        let units = bytes.div_ceil(u64::from(layout.unit_bytes()));
        if units > SPAN_UNITS_MAX || units > u64::from(layout.units) {
            return Err(AllocError::TooLarge { bytes, max: layout.largest() });
        }
        let units = units as u16;
        let head = match self.take_warm(units, backing) {
            Some(head) => head,
            None => self.new_large(units, backing).or_else(|refused| {
                self.release_idle();
                self.release_abandoned();
                self.new_large(units, backing).map_err(|_| self.error(refused, bytes))
            })?,
        };
        self.scratch.block(self.scratch.slot_of(head, 0)).store(self.mine, Ordering::Release);
        Ok(u64::from(head) << layout.unit_shift)
    }

    fn new_large(&mut self, units: u16, backing: &dyn Backing) -> Result<u32, Refused> {
        self.collect_large();
        let head = self.scratch.claim(self.owner, u32::from(units), backing).or_else(|_| {
            self.release_warm();
            self.scratch.claim(self.owner, u32::from(units), backing)
        })?;
        let shape = Shape { class: LARGE, units };
        self.scratch.make_span(self.owner, head, shape, backing)?;
        self.map[head as usize] = map_entry(LARGE, 0);
        self.large.push(head);
        Ok(head)
    }

    /// A warm run that fits: the one that wastes least, split if it is longer.
    fn take_warm(&mut self, units: u16, backing: &dyn Backing) -> Option<u32> {
        let fits = self.warm.iter().enumerate().filter(|(_, run)| run.1 >= units);
        let (at, &(head, length)) = fits.min_by_key(|(_, run)| run.1)?;
        self.warm.swap_remove(at);
        self.warm_units -= u32::from(length);
        self.large.push(head);
        if length > units {
            let (rest, rest_units) = (head + u32::from(units), length - units);
            if !self.scratch.split(self.owner, head, units, rest_units, backing) {
                return Some(head);
            }
            self.map[rest as usize] = map_entry(LARGE, 0);
            self.warm.push((rest, rest_units));
            self.warm_units += u32::from(rest_units);
        }
        Some(head)
    }

    /// Frees a large block of ours and keeps its units warm.
    fn put_large(&mut self, head: u32, shape: Shape) {
        self.scratch.block(self.scratch.slot_of(head, 0)).store(Block::Free.raw(), Ordering::Release);
        if let Some(at) = self.large.iter().position(|h| *h == head) {
            self.large.swap_remove(at);
        }
        self.keep_warm(head, shape);
    }

    fn keep_warm(&mut self, head: u32, shape: Shape) {
        let most = (self.scratch.layout.units / 8).clamp(1, 1024);
        if self.warm_units + u32::from(shape.units) > most || self.warm.len() == WARM_RUNS {
            self.release_warm();
        }
        if u32::from(shape.units) > most {
            self.map[head as usize] = 0;
            self.scratch.release_span(head, shape);
            return;
        }
        self.warm.push((head, shape.units));
        self.warm_units += u32::from(shape.units);
    }

    /// Gives the warm large runs to everybody.
    fn release_warm(&mut self) {
        for (head, units) in std::mem::take(&mut self.warm) {
            self.map[head as usize] = 0;
            self.scratch.release_span(head, Shape { class: LARGE, units });
        }
        self.warm_units = 0;
    }

    /// Collects large blocks that others freed.
    fn collect_large(&mut self) {
        let mut at = 0;
        while let Some(&head) = self.large.get(at) {
            let slot = self.scratch.slot_of(head, 0);
            if self.scratch.remote(head).load(Ordering::Relaxed) != 0
                && self.scratch.block_state(slot) == Block::Remote
            {
                self.scratch.remote(head).store(0, Ordering::Relaxed);
                self.large.swap_remove(at);
                if let Unit::Span(owner, shape) = self.scratch.unit_state(head)
                    && owner == self.owner
                    && self.scratch.plausible(head, shape)
                {
                    self.scratch.block(slot).store(Block::Free.raw(), Ordering::Release);
                    self.keep_warm(head, shape);
                }
            } else {
                at += 1;
            }
        }
    }

    /// Gives every span of this local whose blocks are all free to everybody; returns how many units.
    pub fn release_idle(&mut self) -> u64 {
        let scratch = self.scratch;
        self.collect_large();
        let mut released = u64::from(self.warm_units);
        self.release_warm();
        for which in 0..self.classes.len() {
            for &head in &self.classes[which].spans {
                // Regardless of hints: a freer may have died before setting one.
                scratch.remote(head).store(1, Ordering::Relaxed);
            }
            self.collect(which);
            let (blocks, units) = scratch.layout.spans[which];
            let class = &mut self.classes[which];
            class.stack.extend(std::mem::take(&mut class.carve));
            class.stack.sort_unstable_by(|a, b| b.cmp(a));
            let head_of = |slot: u32| slot >> scratch.layout.table_shift;
            let mut idle: Vec<u32> = (class.stack.chunk_by(|a, b| head_of(*a) == head_of(*b)))
                .filter(|slots| slots.len() == blocks as usize)
                .map(|slots| head_of(slots[0]))
                .collect();
            idle.sort_unstable();
            let is_idle = |head: u32| idle.binary_search(&head).is_ok();
            class.stack.retain(|slot| !is_idle(head_of(*slot)));
            class.spans.retain(|head| !is_idle(*head));
            for &head in &idle {
                self.map[head as usize..][..usize::from(units)].fill(0);
                scratch.release_span(head, Shape { class: which as u8, units: u16::from(units) });
                released += u64::from(units);
            }
        }
        released
    }

    /// Gives abandoned spans without a block in use to everybody.
    fn release_abandoned(&mut self) {
        for head in 0..self.scratch.ready() {
            if let Unit::Abandoned(shape) = self.scratch.unit_state(head)
                && self.scratch.plausible(head, shape)
                && (0..self.scratch.layout.blocks(shape.class)).all(|index| {
                    let state = self.scratch.block_state(self.scratch.slot_of(head, index));
                    matches!(state, Block::Free | Block::Remote)
                })
                && self.scratch.adopt(self.owner, head, shape)
            {
                self.scratch.release_span(head, shape);
            }
        }
    }

    /// Gives what is idle back to everybody and the memory of all free units back to the system; returns its bytes.
    ///
    /// # Progress
    ///
    /// Lock-free; a system call per free unit.
    ///
    /// # Crash
    ///
    /// A unit being punched is BACKING of this lease; recovery makes it UNBACKED.
    pub fn trim(&mut self, backing: &dyn Backing) -> u64 {
        self.release_idle();
        self.release_abandoned();
        self.scratch.punch_free(self.owner, backing)
    }
}
