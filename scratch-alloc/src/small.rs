//! Small spans of a local: stacks of free blocks, and where more of them come from.

use std::ops::Range;

use tenure_segment::sync::Ordering;

use crate::access::Access;
use crate::claim::Refused;
use crate::class::{CLASSES_MAX, Divisor, GRANULE, class_bytes};
use crate::crash::crash_point;
use crate::error::AllocError;
use crate::geometry::Layout;
use crate::local::Local;
use crate::scratch::{ABANDONINGS, Backing, Scratch};
use crate::word::{Block, Shape, Unit};

/// Free blocks moved from a span to the stack at a time.
const CARVE: u32 = 32;

/// Map entry of the head of a large span. That of a unit of a small span is its class plus one, and from bit 8 how many
/// units back its head is.
pub(crate) const MAPPED_LARGE: u16 = 1 << 8;

/// A free block: its slot and its offset in granules, so that neither has to be computed when it is allocated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Free(u64);

impl Free {
    #[inline]
    pub(crate) fn new(slot: u32, offset: u64) -> Self {
        // Capacities are below 2^32 granules.
        Self(u64::from(slot) << 32 | offset / u64::from(GRANULE))
    }

    #[inline]
    pub(crate) fn slot(self) -> usize {
        (self.0 >> 32) as usize
    }

    #[inline]
    pub(crate) fn offset(self) -> u64 {
        (self.0 & 0xffff_ffff) * u64::from(GRANULE)
    }
}

/// What a local knows about one small class.
#[repr(align(64))]
pub(crate) struct Class {
    /// Free blocks of this local's spans; their words are FREE and nobody else moves them `[I12]`.
    pub(crate) free: Vec<Free>,
    pub(crate) divisor: Divisor,
    /// Blocks per span.
    pub(crate) blocks: u32,
    pub(crate) bytes: u32,
    /// Indices of blocks of the newest span, at `carve_head`, that are free and not on the stack yet.
    carve: Range<u32>,
    carve_head: u32,
    /// Units per span.
    units: u8,
    /// Heads of this local's spans.
    spans: Vec<u32>,
    /// Where the next collection starts in `spans`.
    cursor: usize,
    /// Spans to acquire before collecting is worth it again.
    owed: usize,
    /// ABANDONINGS when no abandoned span of this class had room.
    seen: u64,
}

/// The classes of a local: see [`Local::classes`].
pub(crate) fn classes(layout: &Layout) -> Box<[Class; 64]> {
    const { assert!(CLASSES_MAX < 64) };
    Box::new(std::array::from_fn(|which| {
        let class = which.wrapping_sub(1);
        let exists = class < usize::from(layout.classes);
        let (blocks, units) = if exists { layout.spans[class] } else { (0, 0) };
        let bytes = if exists { class_bytes(class as u8) } else { GRANULE };
        Class {
            free: Vec::new(),
            divisor: Divisor::new(bytes),
            blocks,
            bytes,
            carve: 0..0,
            carve_head: 0,
            units,
            spans: Vec::new(),
            cursor: 0,
            owed: 0,
            seen: 0,
        }
    }))
}

impl Class {
    fn free_of(&self, scratch: &Scratch<'_>, head: u32, index: u32) -> Free {
        let offset = u64::from(head) << scratch.layout.unit_shift;
        Free::new(scratch.slot_of(head, index), offset + u64::from(index) * u64::from(self.bytes))
    }

    /// Moves the blocks that `is_free` says of the span at `head` to the stack, lowest on top; returns how many.
    fn gather(&mut self, scratch: &Scratch<'_>, head: u32, is_free: impl Fn(u64) -> bool) -> usize {
        // SeqCst: before the scan; pairs with `Scratch::tell_owner`.
        scratch.remote(head).put(0, Ordering::SeqCst);
        crash_point!("scratch.gather.hint_cleared");
        let before = self.free.len();
        for index in (0..self.blocks).rev() {
            let free = self.free_of(scratch, head, index);
            let word = &scratch.table()[free.slot()];
            // SeqCst: after the hint; also an Acquire: the freer's payload accesses come before ours.
            if is_free(word.see(Ordering::SeqCst)) {
                word.put(Block::Free.raw(), Ordering::Release);
                crash_point!("scratch.gather.block_taken");
                self.free.push(free);
            }
        }
        self.free.len() - before
    }
}

impl Local<'_> {
    #[cold]
    #[inline(never)]
    pub(crate) fn alloc_slow(
        &mut self,
        class: u8,
        bytes: u64,
        backing: &dyn Backing,
    ) -> Result<u64, AllocError> {
        let found = self.carve(class)
            || (self.class(class).owed == 0 && self.collect(class, false))
            || self.adopt(class, false)
            || self.new_small(class, backing).is_ok()
            // Before "exhausted": everything that hints and caches may have hidden.
            || self.collect(class, true)
            || self.adopt(class, true);
        let refused = if found { Ok(()) } else { self.scrape(class, backing) };
        match (self.pop(class), refused) {
            (Some(offset), _) => Ok(offset),
            // A span of several units was not to be had; one unit may be.
            (None, Err(_)) if self.class(class).units > 1 => self.alloc_large(bytes, backing),
            (None, refused) => Err(self.error(refused.err().unwrap_or(Refused::Exhausted), bytes)),
        }
    }

    /// Gives back whatever is idle here or nobody's, and tries once more.
    fn scrape(&mut self, class: u8, backing: &dyn Backing) -> Result<(), Refused> {
        self.release_idle();
        self.scratch.release_abandoned(self.owner);
        if self.class(class).free.is_empty() { self.new_small(class, backing) } else { Ok(()) }
    }

    /// Moves some free blocks of the newest span to the stack, lowest on top.
    fn carve(&mut self, class: u8) -> bool {
        let scratch = self.scratch;
        let class = self.class(class);
        let (start, end) = (class.carve.start, class.carve.end.min(class.carve.start + CARVE));
        for index in (start..end).rev() {
            class.free.push(class.free_of(&scratch, class.carve_head, index));
        }
        class.carve.start = end;
        start < end
    }

    /// Collects blocks of this class that others freed: of hinted spans until it is enough, or of all spans.
    ///
    /// Where it yields less than an eighth of what it looked at, an eighth more spans come before the next time: so a
    /// class has at most about a quarter more blocks than were ever in use, and looks at eight words per allocation.
    fn collect(&mut self, class: u8, all: bool) -> bool {
        let scratch = self.scratch;
        let class = self.class(class);
        let (mut looked_at, mut found) = (0, 0);
        for _ in 0..class.spans.len() {
            class.cursor = if class.cursor + 1 < class.spans.len() { class.cursor + 1 } else { 0 };
            let head = class.spans[class.cursor];
            // Relaxed: a hint.
            if all || scratch.remote(head).see(Ordering::Relaxed) != 0 {
                looked_at += class.blocks as usize;
                found += class.gather(&scratch, head, |word| word == Block::Remote.raw());
                if !all && found * 4 >= class.blocks as usize {
                    break;
                }
            }
        }
        if found * 8 <= looked_at {
            class.owed = 1 + class.spans.len() / 8;
        }
        found > 0
    }

    /// Takes over an abandoned span of the class that has room: one that a hint names, or any.
    fn adopt(&mut self, class: u8, any: bool) -> bool {
        let scratch = self.scratch;
        let is_free = |word: u64| [Block::Free.raw(), Block::Remote.raw()].contains(&word);
        // Acquire: pairs with the counting in `recover`; the spans abandoned before are visible.
        let abandonings = scratch.control(ABANDONINGS).see(Ordering::Acquire);
        if !any && abandonings == self.class(class).seen {
            return false;
        }
        for head in 0..scratch.ready() {
            if let Unit::Abandoned(shape) = scratch.unit_state(head)
                && shape.class == class
                && scratch.plausible(head, shape)
                // Relaxed: a hint.
                && (any || scratch.remote(head).see(Ordering::Relaxed) != 0)
                && scratch.blocks_at(head, shape).any(|at| is_free(scratch.word(at).see(Ordering::Relaxed)))
                && scratch.adopt(self.owner, head, shape)
            {
                self.enter(head, shape);
                // It may have been somebody's in between, and be full by now.
                if self.class(class).gather(&scratch, head, is_free) > 0 {
                    return true;
                }
            }
        }
        self.class(class).seen = abandonings;
        false
    }

    /// Enters a small span that is ours into the private books.
    fn enter(&mut self, head: u32, shape: Shape) {
        for distance in 0..shape.units {
            self.map[head as usize + usize::from(distance)] = (u16::from(shape.class) + 1) | distance << 8;
        }
        let class = self.class(shape.class);
        class.spans.push(head);
        class.owed = class.owed.saturating_sub(1);
        // So that no free ever grows the stack.
        let room = class.spans.len() * class.blocks as usize;
        class.free.reserve(room.saturating_sub(class.free.len()));
    }

    fn new_small(&mut self, class: u8, backing: &dyn Backing) -> Result<(), Refused> {
        let scratch = self.scratch;
        let shape = Shape { class, units: u16::from(self.class(class).units) };
        let head = scratch.claim(self.owner, u32::from(shape.units), backing)?;
        scratch.make_small(self.owner, head, shape, backing)?;
        self.enter(head, shape);
        let newest = self.class(class);
        newest.carve = 0..newest.blocks;
        newest.carve_head = head;
        self.carve(class);
        Ok(())
    }

    /// Gives every small span whose blocks are all free to everybody; returns how many units.
    pub(crate) fn release_small(&mut self) -> u64 {
        let scratch = self.scratch;
        let mut released = 0;
        for class in 0..scratch.layout.classes {
            if self.class(class).spans.is_empty() {
                continue;
            }
            // Regardless of hints: a freer may have died before setting one.
            self.collect(class, true);
            while self.carve(class) {}
            let which = self.class(class);
            which.free.sort_unstable_by(|a, b| b.cmp(a));
            let head_of = |free: &Free| free.slot() as u32 >> scratch.layout.table_shift;
            let mut idle: Vec<u32> = (which.free.chunk_by(|a, b| head_of(a) == head_of(b)))
                .filter(|blocks| blocks.len() == which.blocks as usize)
                .map(|blocks| head_of(&blocks[0]))
                .collect();
            idle.sort_unstable();
            let is_idle = |head: u32| idle.binary_search(&head).is_ok();
            which.free.retain(|free| !is_idle(head_of(free)));
            which.spans.retain(|head| !is_idle(*head));
            (which.cursor, which.owed) = (0, 0);
            let shape = Shape { class, units: u16::from(which.units) };
            for head in idle {
                self.map[head as usize..][..usize::from(shape.units)].fill(0);
                scratch.release_span(self.owner, head, shape);
                released += u64::from(shape.units);
            }
        }
        released
    }
}
