//! The allocator's own memory: Rust's global allocator in this library, which must not be malloc.
//!
//! Powers of two from a chunk that grows, one list of free pieces for each; larger ones are mappings of their own,
//! which grow without copying, so that reserved room is not touched.

use std::alloc::{GlobalAlloc, Layout};
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::lock::{Guard, Lock};
use crate::system::{self, PAGE};

/// Log2 of the smallest and the largest piece of a chunk.
const SMALLEST: u32 = 5;
const LARGEST: u32 = 13;
/// Bytes that are mapped at a time, and where there are not as many.
const CHUNKS: [usize; 2] = [128 << 10, 1 << LARGEST];

/// Bytes. Pieces from this size on, and mappings, each begin `COLOUR` bytes later in their page than the one before.
/// They are stacks: their first lines are used most, and would otherwise share few sets of the processor's cache.
const COLOURED: usize = 1024;
const COLOUR: usize = 7 * 64;
/// The alignment of pieces, in bytes.
const ALIGN: usize = 1 << SMALLEST;

struct Arena {
    next: usize,
    end: usize,
    free: [*mut Piece; (LARGEST - SMALLEST + 1) as usize],
}

struct Piece {
    next: *mut Piece,
}

/// Mappings made so far.
static MAPPINGS: AtomicUsize = AtomicUsize::new(0);

static ARENA: Lock<Arena> =
    Lock::new(Arena { next: 0, end: 0, free: [ptr::null_mut(); (LARGEST - SMALLEST + 1) as usize] });

/// Holds the lock while the process forks.
pub(crate) fn hold() -> Guard {
    ARENA.hold()
}

/// The global allocator.
pub(crate) struct Books;

/// Log2 of the piece that holds `layout`, if a piece does.
fn order(layout: Layout) -> Option<u32> {
    let order = layout.size().max(1 << SMALLEST).next_power_of_two().trailing_zeros();
    (order <= LARGEST && layout.align() <= ALIGN).then_some(order)
}

/// Whether there is room for pieces of `bytes` together, in an empty chunk if need be: without memory the standard library ends the process.
pub(crate) fn has_room(bytes: usize) -> bool {
    ARENA.with(|arena| arena.end - arena.next >= bytes || arena.begin(bytes))
}

impl Arena {
    /// Begins another chunk with room for `least` bytes; false without memory.
    fn begin(&mut self, least: usize) -> bool {
        for bytes in CHUNKS.into_iter().filter(|bytes| *bytes >= least) {
            let chunk = system::map(bytes);
            if !chunk.is_null() {
                (self.next, self.end) = (chunk as usize, chunk as usize + bytes);
                return true;
            }
        }
        false
    }

    fn fresh(&mut self, order: u32) -> *mut u8 {
        let bytes = 1usize << order;
        if self.end - self.next < bytes && !self.begin(bytes) {
            return ptr::null_mut();
        }
        let at = self.next;
        self.next = (at + bytes + if bytes >= COLOURED { COLOUR } else { 0 }).min(self.end);
        at as *mut u8
    }
}

/// Maps room for `bytes`.
fn map(bytes: usize) -> *mut u8 {
    let start = system::map(bytes + PAGE);
    if start.is_null() {
        return start;
    }
    // Relaxed: a counter that orders nothing; any number is right.
    start.wrapping_add(MAPPINGS.fetch_add(1, Ordering::Relaxed) * COLOUR % PAGE)
}

/// The start and the length of a mapping for `bytes`.
fn mapping(at: *mut u8, bytes: usize) -> (*mut u8, usize) {
    (at.wrapping_sub(at as usize % PAGE), bytes + PAGE)
}

// SAFETY: pieces and mappings are disjoint, as long and as aligned as was asked for, and nobody else's until they are freed.
unsafe impl GlobalAlloc for Books {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let Some(order) = order(layout) else { return map(layout.size()) };
        ARENA.with(|arena| {
            let list = &mut arena.free[(order - SMALLEST) as usize];
            if list.is_null() {
                return arena.fresh(order);
            }
            let piece = *list;
            // SAFETY: a free piece, which `dealloc` made part of the list.
            *list = unsafe { (*piece).next };
            piece.cast()
        })
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: passed on.
        let at = unsafe { self.alloc(layout) };
        if !at.is_null() && order(layout).is_some() {
            // SAFETY: just allocated. Mappings are zero already.
            unsafe { at.write_bytes(0, layout.size()) };
        }
        at
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        let Some(order) = order(layout) else {
            let (start, bytes) = mapping(at, layout.size());
            // SAFETY: mapped by `alloc`.
            unsafe { system::unmap(start, bytes) };
            return;
        };
        ARENA.with(|arena| {
            let list = &mut arena.free[(order - SMALLEST) as usize];
            let piece = at.cast::<Piece>();
            // SAFETY: at least 32 bytes that nobody uses any more.
            unsafe { piece.write(Piece { next: *list }) };
            *list = piece;
        });
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        // SAFETY: `bytes` is a size that `layout`'s alignment allows, says the caller.
        let wanted = unsafe { Layout::from_size_align_unchecked(bytes, layout.align()) };
        match (order(layout), order(wanted)) {
            (Some(has), Some(wants)) if has == wants => return at,
            (None, None) => {
                let (start, has) = mapping(at, layout.size());
                // SAFETY: mapped by `alloc`.
                let to = unsafe { system::remap(start, has, bytes + PAGE) };
                return if to.is_null() { to } else { to.wrapping_add(at as usize % PAGE) };
            }
            _ => {}
        }
        // SAFETY: passed on; two different pieces, each at least that long.
        unsafe {
            let to = self.alloc(wanted);
            if !to.is_null() {
                ptr::copy_nonoverlapping(at, to, layout.size().min(bytes));
                self.dealloc(at, layout);
            }
            to
        }
    }
}
