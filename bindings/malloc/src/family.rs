//! The malloc family, as the C library declares it.
//!
//! Where the standards leave a choice, this does as the GNU C library, with one exception: a pointer to no block in use
//! is left alone. Freeing it does nothing, its size is 0, and it cannot be resized.

use std::alloc::Layout;
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::heap;
use crate::system::{self, PAGE};
use crate::{direct, region, tls};

/// The alignment of every block.
const ALIGN: usize = 16;
/// Requests of more are the heap's slow path.
const QUICK: usize = 1024;
/// Blocks from here on are mappings of their own, which the system resizes without copying and takes back at once.
const DIRECT: usize = 32 << 20;
/// Blocks that grow to as much become mappings as well. Where such a block is freed, the next ones of its size are
/// likely to come and go too, and not to be worth a mapping: the limit rises, as the GNU C library's does.
static GROWN: AtomicUsize = AtomicUsize::new(128 << 10);
/// The most bytes an object may have.
const MOST: usize = isize::MAX as usize;

fn no_memory() -> *mut u8 {
    system::set_errno(libc::ENOMEM);
    ptr::null_mut()
}

/// Whether a block is rather a mapping of its own than in the region. Where memory is limited, so is one of which the region, which has
/// whole units for it, would waste more than an eighth.
fn is_mapping(bytes: usize, align: usize) -> bool {
    let wastes = || {
        bytes > region::UNIT / 2
            && region::is_limited()
            && bytes.next_multiple_of(region::UNIT) - bytes > bytes / 8
    };
    bytes >= DIRECT || align > region::ALIGN_MAX || wastes()
}

/// A block, from the heap or as a mapping.
///
/// As of C, it never unwinds: so that a caller that calls it last needs no frame of its own. The same goes for
/// `free_unusual`.
#[inline(never)]
extern "C" fn allocate(bytes: usize, align: usize) -> *mut u8 {
    let bytes = bytes.max(1);
    if is_mapping(bytes, align) {
        let block = map(bytes, align);
        if !block.is_null() || bytes > MOST || align > region::ALIGN_MAX {
            return block;
        }
        region::refused();
    }
    let block = in_region(bytes, align);
    // A small block would waste most of a mapping; and there is no memory for one either.
    if block.is_null() && bytes >= region::UNIT { map(bytes, align) } else { found(block) }
}

/// A block from the heap, or null.
fn in_region(bytes: usize, align: usize) -> *mut u8 {
    let found = heap::with(|heap| {
        heap.local.trim_unused(&heap.pages);
        // Large blocks begin at a unit.
        let least = if align > PAGE { region::UNIT / 2 + 1 } else { 1 };
        let offset = if align <= region::UNIT {
            let layout = Layout::from_size_align(bytes.max(least), align.min(PAGE)).ok()?;
            heap.local.alloc_slow(layout, &heap.pages)
        } else {
            heap.local.alloc_aligned(bytes as u64, align as u64, &heap.pages)
        };
        Some(heap.base.wrapping_add(offset.ok()? as usize))
    });
    found.flatten().unwrap_or(ptr::null_mut())
}

/// Sets the error number if there is no block.
fn found(block: *mut u8) -> *mut u8 {
    if block.is_null() { no_memory() } else { block }
}

/// A block that is a mapping.
fn map(bytes: usize, align: usize) -> *mut u8 {
    found(if bytes <= MOST { direct::allocate(bytes, align) } else { ptr::null_mut() })
}

/// Frees a block that the thread's own small spans do not have.
#[inline(never)]
extern "C" fn free_unusual(block: *mut u8) {
    if block.is_null() {
        return;
    }
    let (Some(offset), Some(region)) = (region::offset(block), region::get()) else {
        if let Some(bytes) = system::keeping_errno(|| direct::free(block))
            && bytes < DIRECT
        {
            // Relaxed: a hint.
            GROWN.fetch_max(bytes + 1, Ordering::Relaxed);
        }
        return;
    };
    // A pointer to no block in use is left alone.
    // SAFETY: this thread's own heap, to which no reference is kept.
    let _ = match unsafe { tls::heap().as_mut() } {
        Some(heap) => heap.local.free_slow(offset),
        None => region.scratch.free_of(&region.me, offset, region.me.id()),
    };
}

/// Bytes of the block that starts there; 0 if none does.
fn usable(block: *mut u8) -> usize {
    let Some(offset) = region::offset(block) else { return direct::usable(block).unwrap_or(0) };
    // SAFETY: this thread's own heap, to which no reference is kept.
    if let Some(heap) = unsafe { tls::heap().as_ref() } {
        return heap.local.usable(offset).unwrap_or(0) as usize;
    }
    region::get().and_then(|region| region.scratch.find(offset).ok()).map_or(0, |found| found.bytes as usize)
}

/// Resizes by moving; `has` bytes are usable now.
fn move_to(block: *mut u8, has: usize, bytes: usize) -> *mut u8 {
    // A block that grows is likely to grow again.
    let grows = bytes > has && bytes >= grown();
    let mut to = if grows { map(bytes, ALIGN) } else { ptr::null_mut() };
    if to.is_null() {
        to = allocate(bytes, ALIGN);
    }
    if !to.is_null() {
        // SAFETY: two different blocks, each at least that long; the caller of `realloc` gives up the old one.
        unsafe {
            ptr::copy_nonoverlapping(block, to, has.min(bytes));
            free(block);
        }
    }
    to
}

fn grown() -> usize {
    // Relaxed: a hint.
    GROWN.load(Ordering::Relaxed)
}

fn resize(block: *mut u8, bytes: usize) -> *mut u8 {
    let has = usable(block);
    if has == 0 {
        return no_memory();
    }
    // In place unless more than half would be wasted.
    if bytes <= has && (bytes > has / 2 || has <= ALIGN) {
        return block;
    }
    let Some(offset) = region::offset(block) else {
        if bytes < region::UNIT {
            return move_to(block, has, bytes);
        }
        let to = if bytes <= MOST { direct::resize(block, bytes) } else { ptr::null_mut() };
        return if to.is_null() { no_memory() } else { to };
    };
    let in_place = has >= region::UNIT
        && bytes < DIRECT
        && heap::with(|heap| heap.local.resize_in_place(offset, bytes as u64, &heap.pages)) == Some(true);
    if in_place { block } else { move_to(block, has, bytes) }
}

/// Zeroes a block that was just allocated, except where the system has done so.
fn zeroed(block: *mut u8, bytes: usize) -> *mut u8 {
    if !block.is_null() {
        // SAFETY: the block is ours and at least that long.
        unsafe { block.write_bytes(0, bytes) };
    }
    block
}

/// A zeroed block of more than the quick sizes.
fn allocate_zeroed(bytes: usize) -> *mut u8 {
    if is_mapping(bytes, ALIGN) {
        let block = map(bytes, ALIGN);
        if !block.is_null() || bytes > MOST {
            return block;
        }
    }
    if bytes < region::UNIT {
        return zeroed(allocate(bytes, ALIGN), bytes);
    }
    let found = heap::with(|heap| {
        heap.pages.nothing_fresh();
        let offset = heap.local.alloc(Layout::from_size_align(bytes, ALIGN).ok()?, &heap.pages).ok()?;
        let block = heap.base.wrapping_add(offset as usize);
        let fresh = heap.pages.is_fresh(offset..offset + bytes as u64);
        Some(if fresh { block } else { zeroed(block, bytes) })
    });
    // A mapping is zero.
    found.flatten().unwrap_or_else(|| map(bytes, ALIGN))
}

/// Allocates `bytes`; null and ENOMEM without memory. Zero bytes are a block as well.
///
/// # Safety
///
/// No preconditions; unsafe only for a uniform signature.
#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C" fn malloc(bytes: usize) -> *mut u8 {
    // SAFETY: this thread's own heap, to which no reference is kept.
    if let Some(heap) = unsafe { tls::heap().as_mut() }
        && let Some(offset) = heap.local.alloc_cached(bytes)
    {
        return heap.base.wrapping_add(offset as usize);
    }
    allocate(bytes, ALIGN)
}

/// Frees a block. Errors are ignored, `errno` stays.
///
/// # Safety
///
/// The caller does not use the block any more.
#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C" fn free(block: *mut u8) {
    // SAFETY: this thread's own heap, to which no reference is kept.
    if let Some(heap) = unsafe { tls::heap().as_mut() }
        // Null, too, is no offset of the region.
        && heap.local.free_cached((block as usize).wrapping_sub(heap.base as usize) as u64)
    {
        return;
    }
    free_unusual(block);
}

/// Allocates an array of zeroes; null and ENOMEM also where its size overflows.
///
/// # Safety
///
/// As [`malloc`].
#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C" fn calloc(count: usize, each: usize) -> *mut u8 {
    match count.checked_mul(each) {
        None => no_memory(),
        // SAFETY: as promised.
        Some(bytes @ ..=QUICK) => zeroed(unsafe { malloc(bytes) }, bytes),
        Some(bytes) => allocate_zeroed(bytes),
    }
}

/// Resizes a block; null and ENOMEM without memory, and then it is as it was. Zero bytes free it.
///
/// # Safety
///
/// The caller uses the block by the address that is returned only, unless that is null.
#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C" fn realloc(block: *mut u8, bytes: usize) -> *mut u8 {
    if block.is_null() {
        // SAFETY: as promised.
        return unsafe { malloc(bytes) };
    }
    if bytes == 0 {
        // SAFETY: as promised.
        unsafe { free(block) };
        return ptr::null_mut();
    }
    resize(block, bytes)
}

/// As [`realloc`], for an array; null and ENOMEM also where its size overflows.
///
/// # Safety
///
/// As [`realloc`].
#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C" fn reallocarray(block: *mut u8, count: usize, each: usize) -> *mut u8 {
    // SAFETY: as promised.
    count.checked_mul(each).map_or_else(no_memory, |bytes| unsafe { realloc(block, bytes) })
}

/// Allocates at a multiple of `align`; null and EINVAL unless that is a power of two.
///
/// # Safety
///
/// As [`malloc`].
#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C" fn aligned_alloc(align: usize, bytes: usize) -> *mut u8 {
    if !align.is_power_of_two() {
        system::set_errno(libc::EINVAL);
        return ptr::null_mut();
    }
    allocate(bytes, align.max(ALIGN))
}

/// As [`aligned_alloc`], but the result is the error number and `to` gets the block.
///
/// # Safety
///
/// `to` points to room for a pointer.
#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C" fn posix_memalign(to: *mut *mut u8, align: usize, bytes: usize) -> i32 {
    if !align.is_power_of_two() || align < size_of::<usize>() {
        return libc::EINVAL;
    }
    let block = system::keeping_errno(|| allocate(bytes, align.max(ALIGN)));
    if block.is_null() {
        return libc::ENOMEM;
    }
    // SAFETY: as promised.
    unsafe { to.write(block) };
    0
}

/// As [`aligned_alloc`] with `align` rounded up to a power of two.
///
/// # Safety
///
/// As [`malloc`].
#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C" fn memalign(align: usize, bytes: usize) -> *mut u8 {
    // SAFETY: as promised.
    align.checked_next_power_of_two().map_or_else(no_memory, |align| unsafe { aligned_alloc(align, bytes) })
}

/// Allocates whole pages' alignment.
///
/// # Safety
///
/// As [`malloc`].
#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C" fn valloc(bytes: usize) -> *mut u8 {
    allocate(bytes, PAGE)
}

/// Allocates whole pages.
///
/// # Safety
///
/// As [`malloc`].
#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C" fn pvalloc(bytes: usize) -> *mut u8 {
    system::pages(bytes.max(1)).map_or_else(no_memory, |bytes| allocate(bytes, PAGE))
}

/// The usable bytes of a block; 0 for a pointer to no block.
///
/// # Safety
///
/// As [`malloc`].
#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C" fn malloc_usable_size(block: *mut u8) -> usize {
    usable(block)
}

/// Frees a block whose size the caller knows.
///
/// # Safety
///
/// As [`free`].
#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C" fn free_sized(block: *mut u8, _bytes: usize) {
    // SAFETY: as promised.
    unsafe { free(block) };
}

/// Frees a block whose size and alignment the caller knows.
///
/// # Safety
///
/// As [`free`].
#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C" fn free_aligned_sized(block: *mut u8, _align: usize, _bytes: usize) {
    // SAFETY: as promised.
    unsafe { free(block) };
}

/// As [`free`]; an old name.
///
/// # Safety
///
/// As [`free`].
#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C" fn cfree(block: *mut u8) {
    // SAFETY: as promised.
    unsafe { free(block) };
}

/// Gives the free memory of this thread's heap, and of the heaps of threads that have ended, back to the system;
/// returns whether it was any.
///
/// # Safety
///
/// As [`malloc`].
#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C" fn malloc_trim(_keep: usize) -> i32 {
    system::keeping_errno(|| i32::from(heap::trim() > 0))
}
