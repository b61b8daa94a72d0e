//! A heap for the harness itself, so that every survivor and actor finds the heap of the C library in its initial
//! state: the free memory there decides which path malloc takes, and so the number of each instruction.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

struct Heaps;

#[global_allocator]
static HEAPS: Heaps = Heaps;

/// Whether new allocations come from the region.
static APART: AtomicBool = AtomicBool::new(false);
static BASE: AtomicUsize = AtomicUsize::new(0);
static USED: AtomicUsize = AtomicUsize::new(0);

/// Memory is touched as it is used.
const REGION: usize = 1 << 30;

/// Switches the region on, for this process and for processes forked from here on.
pub(crate) fn use_region(is_apart: bool) {
    if BASE.load(Ordering::Relaxed) == 0 {
        BASE.store(crate::sys::private_pages(REGION) as usize, Ordering::Relaxed);
    }
    APART.store(is_apart, Ordering::Relaxed);
}

/// Runs code with the harness's heap, region or not.
pub(crate) fn apart<T>(act: impl FnOnce() -> T) -> T {
    let was = APART.swap(true, Ordering::Relaxed);
    let result = act();
    APART.store(was, Ordering::Relaxed);
    result
}

/// Bytes of the region in use, for [`reset`].
pub(crate) fn mark() -> usize {
    USED.load(Ordering::Relaxed)
}

/// Frees all memory that was allocated apart since the mark.
///
/// # Safety
///
/// That memory is not used any more.
pub(crate) unsafe fn reset(mark: usize) {
    USED.store(mark, Ordering::Relaxed);
}

fn is_in_region(block: *mut u8) -> bool {
    (block as usize).wrapping_sub(BASE.load(Ordering::Relaxed)) < REGION && BASE.load(Ordering::Relaxed) != 0
}

// SAFETY: blocks of the region are aligned, do not overlap, and stay until `reset`, whose caller guarantees that they
// are unused; all others are the system's. Only processes of one thread allocate apart.
unsafe impl GlobalAlloc for Heaps {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !APART.load(Ordering::Relaxed) {
            // SAFETY: as the caller promises.
            return unsafe { System.alloc(layout) };
        }
        let base = BASE.load(Ordering::Relaxed);
        let start = (base + USED.load(Ordering::Relaxed)).next_multiple_of(layout.align()) - base;
        let end = start + layout.size();
        if end > REGION {
            return std::ptr::null_mut();
        }
        USED.store(end, Ordering::Relaxed);
        (base + start) as *mut u8
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if !is_in_region(block) {
            // SAFETY: as the caller promises.
            unsafe { System.dealloc(block, layout) };
        }
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if !is_in_region(block) {
            // SAFETY: as the caller promises.
            return unsafe { System.realloc(block, layout, size) };
        }
        apart(|| {
            // SAFETY: as the caller promises; a new block of at least the smaller of the sizes.
            unsafe {
                let new = self.alloc(Layout::from_size_align_unchecked(size, layout.align()));
                if !new.is_null() {
                    new.copy_from_nonoverlapping(block, size.min(layout.size()));
                }
                new
            }
        })
    }
}
