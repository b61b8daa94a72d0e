//! Small spans of a local: stacks of free blocks, and the sources of more free blocks.

use std::ops::Range;

use tenure_core::ordering;

use crate::claim::Refused;
use crate::class::{CLASSES_MAX, Divisor, class_bytes};
use crate::error::AllocError;
use crate::geometry::Layout;
use crate::local::{Hot, Local};
use crate::scratch::{ABANDONINGS, Backing, Scratch};
use crate::sync::Ordering;
use crate::word::{Block, Shape, Unit};

/// Free blocks moved from a new span to the stack at a time.
const EXTEND: u32 = 32;
/// The least number of freed blocks for which the stacks are swapped while there are never used blocks.
const SWAP_LEAST: usize = 8;
/// The most freed blocks that are moved when the stacks are swapped.
const TURN_MOST: usize = 64;

/// Cache colouring: the offset of a span's first used block in its page, in bytes, grows by this from one unit to the next.
const COLOUR: u32 = 7 * 64;
const PAGE: u32 = 4096;

/// The page-map entry of a unit: all zero, or the small span of the local that covers it, with the numbers of its class that a
/// free needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(32))]
pub(crate) struct Cover {
    /// Finds the span's blocks; [`Divisor::NONE`] if no small span covers the unit.
    divisor: Divisor,
    /// The low bits of the offset at which the span begins.
    start: u32,
    /// The slot of its first block.
    first_slot: u32,
    /// The index into `Hot::stacks`, or [`Cover::LARGE_HEAD`].
    which: u32,
}

impl Cover {
    /// No index of a stack.
    const LARGE_HEAD: u32 = CLASSES_MAX as u32 + 1;
    pub(crate) const NONE: Self = Self { divisor: Divisor::NONE, start: 0, first_slot: 0, which: 0 };
    /// The head of a large span of the local.
    pub(crate) const LARGE: Self = Self { which: Self::LARGE_HEAD, ..Self::NONE };

    fn new(which: usize, head: u32, layout: &Layout) -> Self {
        Self {
            divisor: layout.divisors[which - 1],
            start: (u64::from(head) << layout.unit_shift) as u32,
            first_slot: head << layout.table_shift,
            which: which as u32,
        }
    }

    /// Entries of `units` units that no span of this local covers. The system allocates no page for entries that are never written.
    pub(crate) fn none(units: usize) -> Box<[Self]> {
        // SAFETY: all zero is `NONE`: the fields are integers, of which zero is a valid value.
        unsafe { Box::new_zeroed_slice(units).assume_init() }
    }

    /// The slot of the block that starts at `offset`, if there is one.
    #[inline]
    pub(crate) fn slot(&self, offset: u64) -> Option<u32> {
        // Spans are shorter than 2^32 bytes.
        let index = self.divisor.exact((offset as u32).wrapping_sub(self.start))?;
        Some(self.first_slot | index)
    }

    /// The head of the span; one of its blocks starts at `offset`.
    fn head(&self, offset: u64, unit_shift: u32) -> u32 {
        (offset >> unit_shift) as u32 - ((offset as u32).wrapping_sub(self.start) >> unit_shift)
    }

    /// The index into `Hot::stacks`.
    #[inline]
    pub(crate) fn which(&self) -> usize {
        self.which as usize
    }

    pub(crate) fn is_large(&self) -> bool {
        self.which == Self::LARGE_HEAD
    }
}

/// A free block: its slot and its offset. So the next allocation computes neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Free(u64);

impl Free {
    #[inline]
    pub(crate) fn new(slot: u32, offset: u64) -> Self {
        // Offsets are multiples of 16 below 2^36.
        Self(offset << 28 | u64::from(slot))
    }

    #[inline]
    pub(crate) fn slot(self) -> u32 {
        self.0 as u32
    }

    #[inline]
    pub(crate) fn offset(self) -> u64 {
        self.0 >> 32 << 4
    }
}

/// Free blocks of one small class, of this local's spans; their words are FREE, and no other local changes them `[scratch-local-moves]`.
///
/// There are two stacks, as in mimalloc (Leijen et al. 2019): with one stack, each operation would wait for the length that the
/// operation before it stored.
pub(crate) struct Stacks {
    /// The next blocks to allocate.
    free: Vec<Free>,
    /// Freed blocks; they become `free` when that is empty.
    freed: Vec<Free>,
}

impl Stacks {
    pub(crate) const EMPTY: Self = Self { free: Vec::new(), freed: Vec::new() };

    /// Pops a free block.
    #[inline]
    pub(crate) fn pop(&mut self) -> Option<Free> {
        self.pop_free().or_else(|| self.pop_freed())
    }

    /// As `pop`, but from `free` only.
    #[inline]
    pub(crate) fn pop_free(&mut self) -> Option<Free> {
        self.free.pop()
    }

    #[inline(never)]
    fn pop_freed(&mut self) -> Option<Free> {
        if self.swap(SWAP_LEAST) { self.free.pop() } else { None }
    }

    /// Swaps the stacks if `freed` has at least `least` blocks: moves these, but at most [`TURN_MOST`], to `free`, which is empty. Returns
    /// whether it did.
    fn swap(&mut self, least: usize) -> bool {
        debug_assert!(self.free.is_empty());
        let enough = self.freed.len() >= least;
        if self.freed.len() > TURN_MOST {
            // Only the last ones: these are in the processor's cache.
            let kept = self.freed.len() - TURN_MOST;
            self.free.extend_from_slice(&self.freed[kept..]);
            self.freed.truncate(kept);
        } else if enough {
            std::mem::swap(&mut self.free, &mut self.freed);
        }
        enough
    }

    /// Pushes a freed block; false if there is no room. `enter` reserves room for all blocks, so that happens only with corrupted
    /// words.
    #[inline]
    pub(crate) fn push(&mut self, free: Free) -> bool {
        let len = self.freed.len();
        if len == self.freed.capacity() {
            return false;
        }
        // SAFETY: there is room for one more element, which is initialised before the length counts it.
        unsafe {
            self.freed.as_mut_ptr().add(len).write(free);
            self.freed.set_len(len + 1);
        }
        true
    }

    /// Reserves room for `blocks` blocks, so that no free allocates private memory.
    fn reserve(&mut self, blocks: usize) {
        for stack in [&mut self.free, &mut self.freed] {
            stack.reserve(blocks.saturating_sub(stack.len()));
        }
    }

    fn is_empty(&self) -> bool {
        self.free.is_empty() && self.freed.is_empty()
    }
}

/// The private state of one small class.
pub(crate) struct Class {
    /// Bytes of a block.
    pub(crate) bytes: u32,
    /// Blocks per span.
    blocks: u32,
    /// Blocks of the newest span that are free and not on a stack yet: their numbers, counted from `extend_first` and modulo `blocks`.
    extend: Range<u32>,
    extend_head: u32,
    extend_first: u32,
    /// Units per span.
    units: u8,
    /// Heads of this local's spans.
    spans: Vec<u32>,
    /// The position in `spans` at which the next collection starts.
    cursor: usize,
    /// Back-off: the number of spans to enter before the next collection.
    back_off: usize,
    /// The value of ABANDONINGS when no abandoned span of this class had room.
    seen: u64,
}

impl Class {
    pub(crate) fn new(layout: &Layout, class: u8) -> Self {
        let (blocks, units) = layout.spans[usize::from(class)];
        Self {
            bytes: class_bytes(class),
            blocks,
            extend: 0..0,
            extend_head: 0,
            extend_first: 0,
            units,
            spans: Vec::new(),
            cursor: 0,
            back_off: 0,
            seen: 0,
        }
    }

    fn free_of(&self, scratch: &Scratch<'_>, head: u32, index: u32) -> Free {
        let offset = u64::from(head) << scratch.layout.unit_shift;
        Free::new(scratch.slot_of(head, index), offset + u64::from(index) * u64::from(self.bytes))
    }

    /// Makes the new span at `head` the one that is extended.
    ///
    /// Spans begin at multiples of a unit, and their first blocks are used most. If all began with block 0, these blocks would share few
    /// sets of the processor's cache. So each span begins with another block of its first page, or, if blocks are large, with any block.
    fn begin(&mut self, head: u32) {
        self.extend = 0..self.blocks;
        self.extend_head = head;
        let elsewhere = if self.bytes > 1024 { head } else { head * COLOUR % PAGE / self.bytes };
        self.extend_first = elsewhere % self.blocks;
    }

    /// Moves some never used blocks to the stack, the lowest on top.
    fn extend(&mut self, stacks: &mut Stacks, scratch: &Scratch<'_>) -> bool {
        let end = self.extend.end.min(self.extend.start.saturating_add(EXTEND));
        stacks.free.extend((self.extend.start..end).rev().map(|at| {
            let index = self.extend_first + at;
            let index = if index < self.blocks { index } else { index - self.blocks };
            self.free_of(scratch, self.extend_head, index)
        }));
        self.extend.start = end;
        !stacks.free.is_empty()
    }

    /// Pushes the blocks of the span at `head` for whose words `is_free` is true, the lowest on top. Returns their number.
    ///
    /// The hint and the block word are a Dekker pair with a free by another process ([`Scratch::tell_owner`]):
    /// - either its REMOTE is seen by this scan: then the block is collected now;
    /// - or it is not: then this store of 0 is seen by its load of the hint, it sets the hint again, and the next scan collects the block.
    fn collect_span(
        &self,
        stacks: &mut Stacks,
        scratch: &Scratch<'_>,
        head: u32,
        is_free: impl Fn(u64) -> bool,
    ) -> usize {
        // SeqCst: hint: ordered before the scan; pairs with the load in `Scratch::tell_owner`.
        scratch.remote(head).store(0, ordering!("scratch.collect.hint", SeqCst, Relaxed));
        let before = stacks.free.len();
        for index in (0..self.blocks).rev() {
            let free = self.free_of(scratch, head, index);
            let word = &scratch.table()[free.slot() as usize];
            // SeqCst: block word: ordered after the store to the hint; pairs with the exchange to REMOTE. Also an Acquire: the freer's
            // payload accesses come before ours.
            if is_free(word.load(ordering!("scratch.collect.scan", SeqCst, Relaxed))) {
                word.store(Block::Free.raw(), Ordering::Release);
                stacks.free.push(free);
            }
        }
        stacks.free.len() - before
    }
}

impl Local<'_> {
    /// The private state and the stacks of a small class.
    fn class(&mut self, class: u8) -> (&mut Class, &mut Stacks) {
        (&mut self.classes[usize::from(class)], &mut self.hot.stacks[usize::from(class) + 1])
    }

    /// The slow path of an allocation: the class exists, but its stack `free` is empty.
    pub(crate) fn alloc_small(
        &mut self,
        class: u8,
        bytes: u64,
        backing: &dyn Backing,
    ) -> Result<u64, AllocError> {
        let scratch = self.scratch;
        let which = usize::from(class) + 1;
        if let Some(offset) = self.hot.take(which) {
            return Ok(offset);
        }
        let (books, stacks) = self.class(class);
        let found = books.extend(stacks, &scratch)
            || stacks.swap(1)
            || (books.back_off == 0 && self.collect(class, false))
            || self.adopt(class, false)
            || self.new_small(class, backing).is_ok()
            // Before "exhausted": free blocks without a hint.
            || self.collect(class, true)
            || self.adopt(class, true);
        let refused = if found { Ok(()) } else { self.flush(class, backing) };
        let (books, stacks) = self.class(class);
        books.extend(stacks, &scratch);
        let units = books.units;
        match (self.hot.take(which), refused) {
            (Some(offset), _) => Ok(offset),
            // No run of several units is free; one unit may be.
            (None, Err(_)) if units > 1 => self.alloc_large(bytes, backing),
            (None, refused) => Err(self.error(refused.err().unwrap_or(Refused::Exhausted), bytes)),
        }
    }

    /// Frees all idle spans of this local and all abandoned spans without a block in use, and tries once more.
    fn flush(&mut self, class: u8, backing: &dyn Backing) -> Result<(), Refused> {
        self.release_idle();
        self.scratch.release_abandoned(self.owner);
        if self.class(class).1.is_empty() { self.new_small(class, backing) } else { Ok(()) }
    }

    /// Collects blocks of this class that others freed: from hinted spans until there are enough, or from `all` spans.
    ///
    /// Back-off: if at most an eighth of the scanned blocks was REMOTE, the next collection comes after the number of spans has grown
    /// by an eighth. So a class has at most about a quarter more blocks than were ever in use, and scans eight words per allocation.
    fn collect(&mut self, class: u8, all: bool) -> bool {
        let scratch = self.scratch;
        let (class, stacks) = self.class(class);
        let (mut looked_at, mut found) = (0, 0);
        for _ in 0..class.spans.len() {
            class.cursor = if class.cursor + 1 < class.spans.len() { class.cursor + 1 } else { 0 };
            let head = class.spans[class.cursor];
            // Relaxed: a hint.
            if all || scratch.remote(head).load(Ordering::Relaxed) != 0 {
                looked_at += class.blocks as usize;
                found += class.collect_span(stacks, &scratch, head, |word| word == Block::Remote.raw());
                if !all && found * 4 >= class.blocks as usize {
                    break;
                }
            }
        }
        if found * 8 <= looked_at {
            class.back_off = 1 + class.spans.len() / 8;
        }
        found > 0
    }

    /// Adopts (reclaims) an abandoned span of the class that has a free block: a span with a hint, or `any`.
    fn adopt(&mut self, class: u8, any: bool) -> bool {
        let scratch = self.scratch;
        let is_free = |word: u64| [Block::Free.raw(), Block::Remote.raw()].contains(&word);
        // Acquire: pairs with the AcqRel increments; the spans abandoned before are visible.
        let abandonings = scratch.control(ABANDONINGS).load(Ordering::Acquire);
        // No span was abandoned, and no block in an abandoned span freed, since the last scan in vain: skip the scan.
        if !any && abandonings == self.class(class).0.seen {
            return false;
        }
        for head in 0..scratch.ready() {
            // No head of an abandoned span of this class: next unit.
            if let Unit::Abandoned(shape) = scratch.unit_state(head)
                && shape.class == class
                // Corrupted shape: leave it alone.
                && scratch.plausible(head, shape)
                // No hint: probably full. Relaxed: a hint.
                && (any || scratch.remote(head).load(Ordering::Relaxed) != 0)
                // Full. Relaxed: `collect_span` loads the words again.
                && scratch.blocks_at(head, shape).any(|at| is_free(scratch.word(at).load(Ordering::Relaxed)))
                // Another process adopted it first, or it is corrupted.
                && scratch.adopt(self.owner, head, shape)
            {
                self.enter(head, shape);
                let (books, stacks) = self.class(class);
                if books.collect_span(stacks, &scratch, head, is_free) > 0 {
                    return true;
                }
                // Another process adopted it, filled it and died since the look above: keep the full span, try the next one.
            }
        }
        self.class(class).0.seen = abandonings;
        false
    }

    /// Enters a small span of this lease into the private state of this local.
    fn enter(&mut self, head: u32, shape: Shape) {
        let (class, stacks) = self.class(shape.class);
        class.spans.push(head);
        class.back_off = class.back_off.saturating_sub(1);
        stacks.reserve(class.spans.len() * class.blocks as usize);
        let cover = Cover::new(usize::from(shape.class) + 1, head, self.scratch.layout);
        self.hot.map[head as usize..][..usize::from(shape.units)].fill(cover);
    }

    fn new_small(&mut self, class: u8, backing: &dyn Backing) -> Result<(), Refused> {
        let scratch = self.scratch;
        let shape = Shape { class, units: u16::from(self.class(class).0.units) };
        let head = scratch.claim(self.owner, u32::from(shape.units), backing)?;
        scratch.make_small(self.owner, head, shape, backing)?;
        self.enter(head, shape);
        self.class(class).0.begin(head);
        Ok(())
    }

    /// Frees every small span whose blocks are all free.
    pub(crate) fn release_small(&mut self) {
        let scratch = self.scratch;
        for class in 0..scratch.layout.classes {
            if self.class(class).0.spans.is_empty() {
                continue;
            }
            // All spans, regardless of hints: a freer may have died before it set one.
            self.collect(class, true);
            let Hot { map, stacks, .. } = &mut self.hot;
            let (which, stacks) =
                (&mut self.classes[usize::from(class)], &mut stacks[usize::from(class) + 1]);
            while which.extend.start < which.extend.end {
                which.extend(stacks, &scratch);
            }
            stacks.free.append(&mut stacks.freed);
            stacks.free.sort_unstable_by_key(|free| std::cmp::Reverse(free.offset()));
            let shift = scratch.layout.unit_shift;
            let head_of = |free: &Free| map[(free.offset() >> shift) as usize].head(free.offset(), shift);
            let mut idle: Vec<u32> = (stacks.free.chunk_by(|a, b| head_of(a) == head_of(b)))
                .filter(|blocks| blocks.len() == which.blocks as usize)
                .map(|blocks| head_of(&blocks[0]))
                .collect();
            idle.sort_unstable();
            let is_idle = |head: u32| idle.binary_search(&head).is_ok();
            stacks.free.retain(|free| !is_idle(head_of(free)));
            which.spans.retain(|head| !is_idle(*head));
            (which.cursor, which.back_off) = (0, 0);
            let shape = Shape { class, units: u16::from(which.units) };
            for head in idle {
                self.hot.map[head as usize..][..usize::from(shape.units)].fill(Cover::NONE);
                scratch.release_span(self.owner, head, shape);
            }
        }
    }
}
