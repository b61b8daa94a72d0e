//! Small spans of a local: lists of free blocks, and the sources of more free blocks.
//!
//! The free blocks of a unit are a list through their own block words, as the pages of mimalloc have lists through their free blocks
//! (Leijen et al. 2019). Each unit counts its blocks that are not in its list. So the free that makes a unit idle is the one that sees
//! the count become zero, and an idle span is given back without a search.
//!
//! A unit of a small span is in one of these states, all private:
//!
//! | state | class of its entry | its list | its count | leaves it when |
//! |---|---|---|---|---|
//! | full: no free blocks in its list | none | empty | all its blocks | a block of it is freed: the slow path of `free` queues it |
//! | queued in its class | its class | some blocks | the others | its list becomes the list of the class: full |
//! | idle: queued, nothing in use | its class | all its blocks | 0 | as queued; or the span is given back |

use std::collections::VecDeque;
use std::ops::{Deref, DerefMut, Range};
use std::ptr::NonNull;

use tenure_core::ordering;

use crate::claim::Refused;
use crate::class::{CLASSES_MAX, GRANULE, LOOKED_UP, class_bytes, class_looked_up};
use crate::error::AllocError;
use crate::geometry::{FIRST_TABLE, Layout};
use crate::local::Local;
use crate::scratch::{ABANDONINGS, Backing, Scratch};
use crate::sync::{Ordering, Word};
use crate::word::{Block, END, REMOTE, Shape, Unit, is_collectable, offset_bits};

/// Never used blocks that become the list of their class at a time.
const EXTEND: u32 = 64;

/// Cache colouring: the offset of a span's first used block in its page, in bytes, grows by this from one unit to the next.
const COLOUR: u32 = 7 * 64;
const PAGE: u32 = 4096;

/// The most units in idle spans of a local.
const IDLE_MAX: u32 = 16;

/// The fewest units that a local has entries for, as long as the region has as many.
pub(crate) const COVERED_MIN: usize = 256;

/// No unit: the end of a queue.
const NONE: u32 = u32::MAX;

/// The fields that every alloc and free touches. All zero is a valid value: that of a local which has no blocks and knows no unit. Memory
/// that is zero in a forked child thus makes the fast paths fail there.
pub(crate) struct Hot {
    /// The word of a block of this lease, but for the bits of its offset.
    mine: u64,
    unit_shift: u32,
    pub(crate) entries: Entries,
    /// By (bytes - 1) / 16: the position of the class in `lists`, times their size.
    by_size: [u16; LOOKED_UP / GRANULE as usize],
    /// By class, from 1. The first one is of no class: no block is ever allocated or freed there.
    lists: [List; CLASSES_MAX + 1],
}

/// The list of a class from which blocks are allocated.
#[repr(align(32))]
struct List {
    /// The granule of the first block: below the limit, or the list is empty.
    free: u64,
    /// Above the granules at which a block of the class can start in the region.
    limit: u64,
    /// The words of blocks, by granule shifted right by `shift`.
    table: *const Word,
    shift: u32,
}

impl List {
    #[inline(always)]
    fn at(lists: &mut [Self; CLASSES_MAX + 1], position: u16) -> &mut Self {
        debug_assert!(usize::from(position) < size_of_val(lists));
        // SAFETY: all positions are made by `position`, of 0 or a class + 1, and so are those of elements.
        unsafe { &mut *lists.as_mut_ptr().byte_add(usize::from(position)) }
    }

    /// The word of the block at `granule`.
    ///
    /// # Safety
    ///
    /// The granule is in the region, and the region outlives `'w`.
    #[inline(always)]
    unsafe fn word<'w>(&self, granule: u64) -> &'w Word {
        // SAFETY: the table has a word for each 2^shift granules of the region. The list of no class has the shift 63: the word is
        // the first control word of the region.
        unsafe { &*self.table.add((granule >> self.shift) as usize) }
    }
}

/// A unit as a local sees it. All zero: it is not the local's.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Entry {
    /// The granule of the first block in the unit's list, or [`END`].
    freed: u64,
    /// The number of blocks that start in the unit and are not in its list.
    out: u32,
    /// The position of the class in `lists`, times their size; 0 if a free has to take the slow path.
    list: u16,
    /// What the unit is.
    kind: u8,
}

/// `Entry::kind` of a unit of a small span is its class + 1.
const FOREIGN: u8 = 0;
/// The head of a large span of the local.
const LARGE_HEAD: u8 = u8::MAX;

/// What a local knows of a unit beside its [`Entry`], and only slow paths need.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Links {
    /// In the queue of its class, or [`NONE`].
    next: u32,
    before: u32,
    /// Of a unit of a small span: the number of blocks that start in it.
    starts: u32,
    /// Of all units of a small span: its position in `Class::spans`. Of the head of a large span: its position in `Large::spans`.
    pub(crate) place: u32,
}

/// The entries of a local, by unit.
pub(crate) struct Entries {
    /// From a box, which the local owns. Null in memory that was wiped, and before the first entry.
    first: *mut Entry,
    /// Above all units that the local ever owned. Units from here on are not its own.
    units: usize,
}

impl Entries {
    #[inline(always)]
    fn get_mut(&mut self, unit: usize) -> Option<&mut Entry> {
        // SAFETY: below the number of entries; `&mut self` is the only access to them.
        if unit < self.units { Some(unsafe { &mut *self.first.add(unit) }) } else { None }
    }
}

impl Deref for Entries {
    type Target = [Entry];

    fn deref(&self) -> &[Entry] {
        if self.units == 0 {
            return &[];
        }
        // SAFETY: the memory of a box of as many entries, which lives as long as the local. Wiped, there are none.
        unsafe { std::slice::from_raw_parts(self.first, self.units) }
    }
}

impl DerefMut for Entries {
    fn deref_mut(&mut self) -> &mut [Entry] {
        if self.units == 0 {
            return &mut [];
        }
        // SAFETY: as above, and `&mut self` is the only access.
        unsafe { std::slice::from_raw_parts_mut(self.first, self.units) }
    }
}

/// The memory of a [`Hot`]. It is dereferenced as the box of one would be.
pub(crate) struct HotMemory {
    at: NonNull<Hot>,
    /// Of `Entries`: in a forked child the hot fields may be zero.
    all_entries: *mut [Entry],
    /// Whether `at` came from a box; else it is memory of the caller.
    boxed: bool,
}

// SAFETY: owned memory, as a box is; the pointers in `Hot` are to words of the region, which are atomics, and to the entries.
unsafe impl Send for HotMemory {}
// SAFETY: as above; what changes takes `&mut`.
unsafe impl Sync for HotMemory {}

impl HotMemory {
    /// Makes a [`Hot`] in a box, or in `memory`.
    ///
    /// # Safety
    ///
    /// `memory` is as [`Local::new_in`] demands.
    pub(crate) unsafe fn new(scratch: &Scratch<'_>, mine: u64, memory: Option<NonNull<u8>>) -> Self {
        let boxed = memory.is_none();
        let at = match memory {
            Some(memory) => memory.cast::<Hot>(),
            None => NonNull::from(Box::leak(Box::<Hot>::new_uninit())).cast(),
        };
        // SAFETY: long and aligned enough, and nobody else's, as the caller promises; all zero is a valid value.
        unsafe {
            at.write_bytes(0, 1);
            (*at.as_ptr()).begin(scratch, mine);
        }
        Self { at, all_entries: std::ptr::slice_from_raw_parts_mut(NonNull::dangling().as_ptr(), 0), boxed }
    }

    /// Gives the local `units` entries: those that it has, and further ones of units that are not its own. False without memory.
    fn cover(&mut self, units: usize) -> bool {
        let Some(mut entries) = zeroed::<Entry>(units) else { return false };
        entries[..self.entries.len()].copy_from_slice(&self.entries);
        let former = std::mem::replace(&mut self.all_entries, Box::into_raw(entries));
        self.entries = Entries { first: self.all_entries.cast(), units };
        // SAFETY: made here before, or of no length; nobody uses them any more.
        drop(unsafe { Box::from_raw(former) });
        true
    }
}

impl Deref for HotMemory {
    type Target = Hot;

    #[inline(always)]
    fn deref(&self) -> &Hot {
        // SAFETY: written by `new`, and all zero is a valid value; nobody else has access.
        unsafe { self.at.as_ref() }
    }
}

impl DerefMut for HotMemory {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut Hot {
        // SAFETY: as above.
        unsafe { self.at.as_mut() }
    }
}

impl Drop for HotMemory {
    fn drop(&mut self) {
        // SAFETY: made by `cover`, from a box, or of no length; nobody uses them any more.
        drop(unsafe { Box::from_raw(self.all_entries) });
        if self.boxed {
            // SAFETY: made by `new`, from a box.
            drop(unsafe { Box::from_raw(self.at.as_ptr()) });
        }
    }
}

/// A type of which zero bytes are a valid value.
///
/// # Safety
///
/// They are.
pub(crate) unsafe trait Zeroable {}

// SAFETY: the fields are integers.
unsafe impl Zeroable for Entry {}
// SAFETY: as above.
unsafe impl Zeroable for Links {}

/// Entries or links for `units` units, which are not 0; none without memory. The system allocates no page for those that are never written.
fn zeroed<T: Zeroable>(units: usize) -> Option<Box<[T]>> {
    let layout = std::alloc::Layout::array::<T>(units).ok()?;
    // SAFETY: not of zero bytes.
    let first = NonNull::new(unsafe { std::alloc::alloc_zeroed(layout) })?.cast::<T>();
    // SAFETY: allocated as a box of that length is; zero is a valid value, as the trait promises.
    Some(unsafe { Box::from_raw(std::ptr::slice_from_raw_parts_mut(first.as_ptr(), units)) })
}

fn position(which: u8) -> u16 {
    u16::from(which) * size_of::<List>() as u16
}

impl Hot {
    /// Makes one of zeroes, in its place: it is larger than a thread with a small stack has room for.
    fn begin(&mut self, scratch: &Scratch<'_>, mine: u64) {
        let layout = scratch.layout;
        self.mine = mine;
        self.unit_shift = layout.unit_shift;
        for list in &mut self.lists {
            *list = List { free: END, limit: 0, table: scratch.control(0), shift: u64::BITS - 1 };
        }
        for class in 0..layout.classes {
            let table = Layout::table_of(class);
            let limit = (layout.capacity() - u64::from(class_bytes(class))) / u64::from(GRANULE) + 1;
            self.lists[usize::from(class) + 1] =
                List { free: END, limit, table: scratch.table(table).as_ptr(), shift: table - FIRST_TABLE };
        }
        for (granules, place) in self.by_size.iter_mut().enumerate() {
            // The geometry may have no such class: then no list has blocks.
            *place = position(class_looked_up(granules * GRANULE as usize).unwrap_or(0));
        }
    }

    /// Takes a block of a common size off the list of its class: its offset.
    #[inline(always)]
    pub(crate) fn take_looked_up(&mut self, bytes: usize) -> Option<u64> {
        // Size 0 wraps around to a value that is in no table.
        let position = *self.by_size.get(bytes.wrapping_sub(1) / GRANULE as usize)?;
        self.take(position)
    }

    #[inline(always)]
    fn take(&mut self, position: u16) -> Option<u64> {
        let list = List::at(&mut self.lists, position);
        let granule = list.free;
        // Also if the link was overwritten by somebody: the slow path rebuilds the lists.
        if granule >= list.limit {
            return None;
        }
        // SAFETY: below the limit, and so in the region.
        let word = unsafe { list.word(granule) };
        // Relaxed: this local stored the link.
        list.free = word.load(Ordering::Relaxed);
        let offset = granule * u64::from(GRANULE);
        // Release: the previous owner's accesses come before; pairs with the Acquire in `Scratch::block_state`.
        word.store(self.leased(offset), Ordering::Release);
        Some(offset)
    }

    /// Frees the block at `offset` if it is a block of this lease in a queued unit. `Some(true)`: the unit is idle now.
    #[inline(always)]
    pub(crate) fn put(&mut self, offset: u64) -> Option<bool> {
        let unit = (offset >> self.unit_shift) as usize;
        let entry = self.entries.get_mut(unit)?;
        let granule = offset / u64::from(GRANULE);
        // SAFETY: the unit is in the region, and so is the granule.
        let word = unsafe { List::at(&mut self.lists, entry.list).word(granule) };
        // Relaxed: the caller has the expected value from this thread, or from one that synchronised with it.
        if word.load(Ordering::Relaxed) != self.mine ^ offset_bits(offset) {
            return None;
        }
        Some(entry.push(granule, word))
    }

    /// The word of the small block of this lease that starts at `offset`, if there is one in the spans of this local, and its class.
    #[inline]
    pub(crate) fn own_small<'w>(&self, offset: u64) -> Option<(&'w Word, u8)> {
        let unit = offset >> self.unit_shift;
        let class = self.entries.get(unit as usize)?.small()?;
        // SAFETY: the unit is in the region, and so is the granule.
        let word = unsafe { self.lists[usize::from(class) + 1].word(offset / u64::from(GRANULE)) };
        (word.load(Ordering::Relaxed) == self.leased(offset)).then_some((word, class))
    }

    /// The word of a block of this lease at `offset`.
    #[inline]
    pub(crate) fn leased(&self, offset: u64) -> u64 {
        self.mine ^ offset_bits(offset)
    }

    /// Whether a span of this local covers `unit`; of large spans, whether `unit` is its head.
    pub(crate) fn covers(&self, unit: u32) -> bool {
        self.entries.get(unit as usize).is_some_and(|entry| entry.kind != FOREIGN)
    }
}

impl Entry {
    /// The head of a large span of the local.
    pub(crate) const LARGE: Self = Self { freed: END, out: 0, list: 0, kind: LARGE_HEAD };
    pub(crate) const FOREIGN: Self = Self { freed: 0, out: 0, list: 0, kind: FOREIGN };

    pub(crate) fn is_large(&self) -> bool {
        self.kind == LARGE_HEAD
    }

    /// Puts the block at `granule`, whose word is `word`, in front of the unit's list. Returns whether the unit is idle now.
    #[inline(always)]
    fn push(&mut self, granule: u64, word: &Word) -> bool {
        // Release: our payload accesses, or those of the freer, come before; pairs with the Acquire in `Scratch::block_state`.
        word.store(self.freed, Ordering::Release);
        self.freed = granule;
        self.out = self.out.wrapping_sub(1);
        self.out == 0
    }

    /// The class of the small span of the local that covers the unit.
    fn small(&self) -> Option<u8> {
        if self.kind == FOREIGN || self.kind == LARGE_HEAD { None } else { Some(self.kind - 1) }
    }
}

/// The private state of one small class.
pub(crate) struct Class {
    /// Bytes of a block.
    pub(crate) bytes: u32,
    /// Blocks per span.
    blocks: u32,
    /// Blocks of the newest span that were never used: their numbers, counted from `extend_first` and modulo `blocks`.
    extend: Range<u32>,
    extend_head: u32,
    extend_first: u32,
    /// Units per span.
    units: u8,
    /// Heads of this local's spans.
    spans: Vec<u32>,
    /// The first and the last unit of the queue of those that have free blocks in their lists.
    queue: u32,
    last: u32,
    /// The unit whose list became the list of the class last.
    current: u32,
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
            queue: NONE,
            last: NONE,
            current: NONE,
            cursor: 0,
            back_off: 0,
            seen: 0,
        }
    }

    /// Makes the new span at `head` the one whose blocks are used next.
    ///
    /// Spans begin at multiples of a unit, and their first blocks are used most. If all began with block 0, these blocks would share few
    /// sets of the processor's cache. So each span begins with another block of its first page, or, if blocks are large, with any block.
    fn begin(&mut self, head: u32) {
        self.extend = 0..self.blocks;
        self.extend_head = head;
        let elsewhere = if self.bytes > 1024 { head } else { head * COLOUR % PAGE / self.bytes };
        self.extend_first = elsewhere % self.blocks;
    }

    /// Whether block `index` of the span at `head` was never used.
    fn is_unused(&self, head: u32, index: u32) -> bool {
        let from_first =
            if index < self.extend_first { index + self.blocks } else { index } - self.extend_first;
        head == self.extend_head && self.extend.contains(&from_first)
    }

    /// The number of blocks that start in `unit` of the span at `head`.
    fn starts(&self, head: u32, unit: u32, unit_shift: u32) -> u32 {
        let first = |unit: u32| ((unit - head) << unit_shift).div_ceil(self.bytes).min(self.blocks);
        first(unit + 1) - first(unit)
    }
}

/// Idle spans of a local, which are given back when it keeps too many units in them, and when somebody has no room.
pub(crate) struct Idle {
    /// Heads, the longest idle one first.
    heads: VecDeque<u32>,
    units: u32,
}

impl Idle {
    pub(crate) fn new() -> Self {
        // Never more heads than that: without memory nothing could be given back.
        Self { heads: VecDeque::with_capacity(IDLE_MAX as usize + 8), units: 0 }
    }
}

impl Local<'_> {
    fn class(&mut self, class: u8) -> &mut Class {
        &mut self.classes[usize::from(class)]
    }

    pub(crate) fn take(&mut self, class: u8) -> Option<u64> {
        self.hot.take(position(class + 1))
    }

    /// The slow path of an allocation: the class exists, but its list is empty.
    pub(crate) fn alloc_small(
        &mut self,
        class: u8,
        bytes: u64,
        backing: &dyn Backing,
    ) -> Result<u64, AllocError> {
        if let Some(offset) = self.take(class) {
            return Ok(offset);
        }
        if self.hot.lists[usize::from(class) + 1].free != END {
            // Somebody overwrote a link. The words that are not in use are free.
            self.rebuild(class);
        }
        if let Some(offset) = self.take_queued(class).or_else(|| self.take_unused(class)) {
            return Ok(offset);
        }
        self.answer_requests();
        let found = (self.class(class).back_off == 0 && self.collect(class, false))
            || self.adopt(class, false)
            || self.new_small(class, backing).is_ok()
            // Before "exhausted": free blocks without a hint.
            || self.collect(class, true)
            || self.adopt(class, true);
        let refused = if found { Ok(()) } else { self.flush(class, backing) };
        let units = self.class(class).units;
        match (self.take_queued(class).or_else(|| self.take_unused(class)), refused) {
            (Some(offset), _) => Ok(offset),
            // No run of several units is free; one unit may be.
            (None, Err(_)) if units > 1 => self.alloc_large(bytes, backing),
            (None, refused) => Err(self.error(refused.err().unwrap_or(Refused::Exhausted), bytes)),
        }
    }

    /// Allocates from a class with an empty list: makes the list of a queued unit the list of the class. `None` if no unit is queued.
    pub(crate) fn take_queued(&mut self, class: u8) -> Option<u64> {
        let unit = self.class(class).queue;
        if unit == NONE || self.hot.lists[usize::from(class) + 1].free != END {
            return None;
        }
        self.dequeue(class, unit);
        let full = self.full(class, unit);
        let entry = std::mem::replace(&mut self.hot.entries[unit as usize], full);
        self.hot.lists[usize::from(class) + 1].free = entry.freed;
        self.class(class).current = unit;
        if entry.out == 0 {
            self.forget_idle(class, self.head_of(class, unit));
        }
        self.take(class)
    }

    /// The entry of a unit of a small span whose list is empty.
    fn full(&self, class: u8, unit: u32) -> Entry {
        Entry { freed: END, out: self.links[unit as usize].starts, list: 0, kind: class + 1 }
    }

    /// Allocates from a class with an empty list: makes some never used blocks of the newest span its list, the lowest first. `None` if
    /// there are no such blocks.
    fn take_unused(&mut self, class: u8) -> Option<u64> {
        let scratch = self.scratch;
        let books = &mut self.classes[usize::from(class)];
        let end = books.extend.end.min(books.extend.start.saturating_add(EXTEND));
        let (mut free, list) = (END, &mut self.hot.lists[usize::from(class) + 1]);
        for at in (books.extend.start..end).rev() {
            let index = books.extend_first + at;
            let index = if index < books.blocks { index } else { index - books.blocks };
            let granule = scratch.block_offset(books.extend_head, class, index) / u64::from(GRANULE);
            // SAFETY: a block of a span of this local, which lies in the region.
            let word = unsafe { list.word(granule) };
            // Relaxed: the block was free before. Only this local reads the link.
            word.store(free, Ordering::Relaxed);
            free = granule;
        }
        books.extend.start = end;
        list.free = free;
        self.take(class)
    }

    /// The head of the small span of this local that covers `unit`. Of private memory: a shared word may be corrupted.
    fn head_of(&self, class: u8, unit: u32) -> u32 {
        let place = self.links[unit as usize].place as usize;
        self.classes[usize::from(class)].spans.get(place).copied().unwrap_or(unit)
    }

    /// Notes the position of a small span.
    fn set_place(&mut self, head: u32, units: u32, place: usize) {
        for unit in head..head + units {
            self.links[unit as usize].place = place as u32;
        }
    }

    /// Queues a unit whose list is to get its first block: the one that served the class last in front, because its blocks are in the
    /// processor's cache, and all others at the end, where their lists grow longer until it is their turn.
    fn enqueue(&mut self, class: u8, unit: u32) {
        let books = &mut self.classes[usize::from(class)];
        let in_front = unit == books.current;
        let neighbour = std::mem::replace(if in_front { &mut books.queue } else { &mut books.last }, unit);
        if neighbour == NONE {
            (books.queue, books.last) = (unit, unit);
        }
        let links = &mut self.links[unit as usize];
        (links.next, links.before) = if in_front { (neighbour, NONE) } else { (NONE, neighbour) };
        if let Some(neighbour) = self.links.get_mut(neighbour as usize) {
            *(if in_front { &mut neighbour.before } else { &mut neighbour.next }) = unit;
        }
        self.hot.entries[unit as usize].list = position(class + 1);
    }

    /// Takes a queued unit out of the queue.
    fn dequeue(&mut self, class: u8, unit: u32) {
        let Links { next, before, .. } = self.links[unit as usize];
        match self.links.get_mut(next as usize) {
            Some(next) => next.before = before,
            None => self.class(class).last = before,
        }
        match self.links.get_mut(before as usize) {
            Some(before) => before.next = next,
            None => self.class(class).queue = next,
        }
    }

    /// Frees a small block of this local that starts at `offset` and is in use, by its word.
    fn put_slow(&mut self, class: u8, offset: u64, word: &Word) {
        let unit = (offset >> self.scratch.layout.unit_shift) as u32;
        if self.hot.entries[unit as usize].list == 0 {
            self.enqueue(class, unit);
        }
        if self.hot.entries[unit as usize].push(offset / u64::from(GRANULE), word) {
            self.emptied(unit);
        }
    }

    /// As `Hot::put`, for a block in a full unit.
    pub(crate) fn put_in_full(&mut self, offset: u64) -> bool {
        let Some((word, class)) = self.hot.own_small(offset) else { return false };
        self.put_slow(class, offset, word);
        true
    }

    /// Frees a block of this local's spans that is attached to handle `index` at `generation`.
    pub(crate) fn put_attached(&mut self, offset: u64, index: u32, generation: u64) -> bool {
        let unit = offset >> self.scratch.layout.unit_shift;
        let Some(class) = self.hot.entries.get(unit as usize).and_then(Entry::small) else { return false };
        // The word of an attached block does not say where the block starts.
        let layout = self.scratch.layout;
        let (_, units) = layout.spans[usize::from(class)];
        let head = if units == 1 { unit } else { self.head_of(class, unit as u32).into() };
        let from_span = offset - (head << layout.unit_shift);
        let starts = layout.divisors[usize::from(class)].exact(from_span as u32).is_some();
        let word = self.scratch.small_word(class, offset);
        let attached = Block::Attached { index, generation }.raw(offset);
        // Relaxed: the caller has ended the handle, and so synchronised with the process that attached the block.
        if !starts || word.load(Ordering::Relaxed) != attached {
            return false;
        }
        self.put_slow(class, offset, word);
        true
    }

    /// Nothing of a unit is in use any more: its span may be idle.
    #[cold]
    pub(crate) fn emptied(&mut self, unit: u32) {
        let Some(class) = self.hot.entries[unit as usize].small() else { return };
        let head = self.head_of(class, unit);
        let units = u32::from(self.class(class).units);
        let entries = &self.hot.entries;
        if !(head..head + units).all(|unit| entries.get(unit as usize).is_some_and(|entry| entry.out == 0)) {
            return;
        }
        self.idle.heads.push_back(head);
        self.idle.units += units;
        let most = (self.scratch.layout.units / 32).clamp(1, IDLE_MAX);
        while self.idle.units > most && self.idle.heads.len() > 1 {
            self.release_one();
        }
    }

    /// The idle span at `head` is to be used again.
    fn forget_idle(&mut self, class: u8, head: u32) {
        if let Some(at) = self.idle.heads.iter().rposition(|idle| *idle == head) {
            self.idle.heads.remove(at);
            self.idle.units -= u32::from(self.class(class).units);
        }
    }

    /// Gives the longest idle span back to everybody; false if there is none.
    fn release_one(&mut self) -> bool {
        let Some(head) = self.idle.heads.pop_front() else { return false };
        let Some(class) = self.hot.entries[head as usize].small() else { return true };
        self.idle.units -= u32::from(self.class(class).units);
        let shape = Shape { class, units: u16::from(self.class(class).units) };
        for unit in head..head + u32::from(shape.units) {
            self.dequeue(class, unit);
        }
        self.leave(head, shape);
        true
    }

    /// Gives a span without blocks in use, whose units are in no queue, back to everybody.
    fn leave(&mut self, head: u32, shape: Shape) {
        self.hot.entries[head as usize..][..usize::from(shape.units)].fill(Entry::FOREIGN);
        let place = self.links[head as usize].place as usize;
        let class = self.class(shape.class);
        class.spans.swap_remove(place);
        let moved = class.spans.get(place).copied();
        if class.extend_head == head {
            class.extend = 0..0;
        }
        if let Some(moved) = moved {
            self.set_place(moved, shape.units.into(), place);
        }
        self.scratch.release_span(self.owner, head, shape);
    }

    /// Gives everything that this local keeps and does not use back to everybody, if somebody has no room.
    pub(crate) fn answer_requests(&mut self) {
        let requests = self.scratch.requests();
        if requests != self.requests {
            self.requests = requests;
            self.release_kept();
        }
    }

    /// Gives idle spans of at least `units` units back to everybody, if there are as many.
    pub(crate) fn release_idle_spans(&mut self, units: u32) {
        let rest = self.idle.units.saturating_sub(units);
        while self.idle.units > rest && self.release_one() {}
    }

    /// Frees all idle spans of this local and all abandoned spans without a block in use, and tries once more.
    fn flush(&mut self, class: u8, backing: &dyn Backing) -> Result<(), Refused> {
        self.release_idle();
        self.scratch.release_abandoned(self.owner);
        if self.class(class).queue != NONE {
            return Ok(());
        }
        self.new_small(class, backing).inspect_err(|_| self.request())
    }

    /// Collects blocks of this class that others freed: from hinted spans until there are enough, or from `all` spans.
    ///
    /// Back-off: if at most an eighth of the scanned blocks was REMOTE, the next collection comes after the number of spans has grown
    /// by an eighth. So a class has at most about a quarter more blocks than were ever in use, and scans eight words per allocation.
    fn collect(&mut self, class: u8, all: bool) -> bool {
        let (mut looked_at, mut found) = (0, 0);
        let spans = self.class(class).spans.len();
        for at in (0..spans).rev() {
            // Downwards from the last one, or from the cursor: a span that is given back is replaced by the last one.
            let books = self.class(class);
            if !all {
                books.cursor = books.cursor.checked_sub(1).unwrap_or(spans - 1);
            }
            let (at, blocks) = (if all { at } else { books.cursor }, books.blocks as usize);
            let Some(freed) = self.collect_at(class, at, all) else { continue };
            looked_at += blocks;
            found += freed;
            if !all && found * 4 >= blocks {
                break;
            }
        }
        let books = self.class(class);
        if found * 8 <= looked_at {
            books.back_off = 1 + books.spans.len() / 8;
        }
        // Nothing is queued if the last block of a span was found, and the span was given back.
        books.queue != NONE
    }

    /// Puts the blocks of the span at `head` for whose words `is_free` is true into the lists of their units, the lowest first. Returns
    /// their number.
    ///
    /// The hint and the block word are a Dekker pair with a free by another process ([`Scratch::tell_owner`]):
    /// - either its REMOTE is seen by this scan: then the block is collected now;
    /// - or it is not: then this store of 0 is seen by its load of the hint, it sets the hint again, and the next scan collects the block.
    fn collect_span(&mut self, class: u8, head: u32, is_free: impl Fn(u64) -> bool) -> usize {
        let scratch = self.scratch;
        // SeqCst: hint: ordered before the scan; pairs with the load in `Scratch::tell_owner`.
        scratch.remote(head).store(0, ordering!("scratch.collect.hint", SeqCst, Relaxed));
        let mut found = 0;
        let Class { blocks, bytes, .. } = *self.class(class);
        let mut offset = scratch.block_offset(head, class, blocks);
        for _ in 0..blocks {
            offset -= u64::from(bytes);
            let word = scratch.small_word(class, offset);
            // SeqCst: block word: ordered after the store to the hint; pairs with the exchange to REMOTE. Also an Acquire: the freer's
            // payload accesses come before ours.
            if is_free(word.load(ordering!("scratch.collect.scan", SeqCst, Relaxed))) {
                found += 1;
                self.put_slow(class, offset, word);
                if !self.hot.covers(head) {
                    // That was the last block, and the span was given back.
                    break;
                }
            }
        }
        found
    }

    /// Collects the blocks that others freed of all spans with a hint.
    pub(crate) fn collect_hinted(&mut self) {
        for class in 0..self.scratch.layout.classes {
            for at in (0..self.class(class).spans.len()).rev() {
                self.collect_at(class, at, false);
            }
        }
    }

    /// Collects the blocks that others freed of the span at position `at`, if there is one and it has a hint, or in `any` case. Returns
    /// their number.
    fn collect_at(&mut self, class: u8, at: usize, any: bool) -> Option<usize> {
        let &head = self.class(class).spans.get(at)?;
        // Relaxed: a hint.
        let due = any || self.scratch.remote(head).load(Ordering::Relaxed) != 0;
        due.then(|| self.collect_span(class, head, |word| word == REMOTE))
    }

    /// Adopts (reclaims) an abandoned span of the class that has a free block: a span with a hint, or `any`.
    fn adopt(&mut self, class: u8, any: bool) -> bool {
        let scratch = self.scratch;
        // Acquire: pairs with the AcqRel increments; the spans abandoned before are visible.
        let abandonings = scratch.control(ABANDONINGS).load(Ordering::Acquire);
        // No span was abandoned, and no block in an abandoned span freed, since the last scan in vain: skip the scan.
        if !any && abandonings == self.class(class).seen {
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
                // Full.
                && scratch.has_free(head, shape)
                && self.has_room(class, head + u32::from(shape.units))
                // Another process adopted it first, or it is corrupted.
                && scratch.adopt(self.owner, head, shape)
            {
                self.enter(head, shape);
                if self.collect_span(class, head, is_collectable) > 0 && self.class(class).queue != NONE {
                    return true;
                }
                // Another process adopted it, filled it and died since the look above: keep the full span, try the next one. Or nothing
                // was in use there, and the span was given back to everybody.
            }
        }
        self.class(class).seen = abandonings;
        false
    }

    /// Makes entries and links for the units below `end`, which are about to become this local's. False without memory.
    #[inline]
    pub(crate) fn cover(&mut self, end: u32) -> bool {
        end as usize <= self.links.len() || self.cover_more(end)
    }

    #[cold]
    fn cover_more(&mut self, end: u32) -> bool {
        let has = self.links.len();
        let units = (end as usize).max(2 * has).max(COVERED_MIN).min(self.scratch.layout.units as usize);
        let Some(mut links) = zeroed::<Links>(units) else { return false };
        if !self.hot.cover(units) {
            return false;
        }
        links[..has].copy_from_slice(&self.links);
        self.links = links;
        true
    }

    /// Makes room in the private state for a small span that ends at `end` and is to be adopted. False without memory.
    fn has_room(&mut self, class: u8, end: u32) -> bool {
        self.cover(end) && self.class(class).spans.try_reserve(1).is_ok()
    }

    /// Enters a small span of this lease into the private state of this local: its units are full.
    fn enter(&mut self, head: u32, shape: Shape) {
        let class = self.class(shape.class);
        let place = class.spans.len();
        class.spans.push(head);
        class.back_off = class.back_off.saturating_sub(1);
        self.set_place(head, shape.units.into(), place);
        for unit in head..head + u32::from(shape.units) {
            let class = &self.classes[usize::from(shape.class)];
            self.links[unit as usize].starts = class.starts(head, unit, self.scratch.layout.unit_shift);
            self.hot.entries[unit as usize] = self.full(shape.class, unit);
        }
    }

    fn new_small(&mut self, class: u8, backing: &dyn Backing) -> Result<(), Refused> {
        let scratch = self.scratch;
        let shape = Shape { class, units: u16::from(self.class(class).units) };
        let head = match self.take_run(shape.units.into()) {
            Some(head) => head,
            None => self.claim(shape.units.into(), backing)?,
        };
        if self.class(class).spans.try_reserve(1).is_err() {
            scratch.free_units(head..head + u32::from(shape.units));
            return Err(Refused::NoMemory);
        }
        scratch.make_small(self.owner, head, shape, backing)?;
        self.enter(head, shape);
        self.class(class).begin(head);
        Ok(())
    }

    /// Makes the lists of a class anew from its block words, and gives its idle spans back to everybody.
    fn rebuild(&mut self, class: u8) {
        let scratch = self.scratch;
        self.hot.lists[usize::from(class) + 1].free = END;
        let books = self.class(class);
        (books.queue, books.last) = (NONE, NONE);
        let shape = Shape { class, units: u16::from(self.class(class).units) };
        for at in 0..self.class(class).spans.len() {
            self.forget_idle(class, self.classes[usize::from(class)].spans[at]);
        }
        // Downwards: a span that is given back is replaced by the last one, which is done.
        for at in (0..self.class(class).spans.len()).rev() {
            let head = self.class(class).spans[at];
            // SeqCst: hint: as in `collect_span`.
            scratch.remote(head).store(0, ordering!("scratch.collect.hint", SeqCst, Relaxed));
            let is_free = |at: usize| {
                // SeqCst: block word: as in `collect_span`.
                is_collectable(scratch.word(at).load(ordering!("scratch.collect.scan", SeqCst, Relaxed)))
            };
            if scratch.blocks_at(head, shape).all(|(_, at)| is_free(at)) {
                self.leave(head, shape);
                continue;
            }
            for unit in head..head + u32::from(shape.units) {
                self.hot.entries[unit as usize] = self.full(class, unit);
            }
            for (index, (offset, at)) in scratch.blocks_at(head, shape).enumerate().rev() {
                if !self.class(class).is_unused(head, index as u32) && is_free(at) {
                    self.put_slow(class, offset, scratch.word(at));
                }
            }
        }
        let books = self.class(class);
        (books.cursor, books.back_off) = (0, 0);
    }

    /// Frees every small span whose blocks are all free.
    pub(crate) fn release_small(&mut self) {
        for class in 0..self.scratch.layout.classes {
            // All spans, regardless of counts and hints: blocks in the list of the class count as used, and a freer may have died before it
            // set a hint.
            if !self.class(class).spans.is_empty() {
                self.rebuild(class);
            }
        }
    }
}
