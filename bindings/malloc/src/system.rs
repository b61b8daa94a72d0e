//! The calls to the system: pages of this process alone.

use std::ptr;

/// Bytes of a page as this library counts them. Larger pages of the processor are multiples.
pub(crate) const PAGE: usize = 4096;

/// Whole pages that hold `bytes`.
pub(crate) fn pages(bytes: usize) -> Option<usize> {
    bytes.checked_next_multiple_of(PAGE)
}

/// Maps `bytes` of zeroes; null if the system refuses. Nothing is reserved for pages that are never touched.
pub(crate) fn map(bytes: usize) -> *mut u8 {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    // SAFETY: a new mapping, wherever there is room.
    let at = unsafe { libc::mmap(ptr::null_mut(), bytes, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0) };
    if at == libc::MAP_FAILED { ptr::null_mut() } else { at.cast() }
}

/// # Safety
///
/// The pages that hold these bytes are mapped by [`map`] and nobody uses them any more.
pub(crate) unsafe fn unmap(at: *mut u8, bytes: usize) {
    // SAFETY: as the caller promises.
    if unsafe { libc::munmap(at.cast(), bytes) } != 0 {
        // A hole in a larger mapping makes two mappings, and the system may refuse another one. Then the addresses stay
        // and the memory goes; if that is refused as well, both stay.
        // SAFETY: as the caller promises.
        unsafe { forget(at, bytes) };
    }
}

/// Resizes a mapping, which may move; null if the system refuses, and then it is as it was.
///
/// # Safety
///
/// A mapping of `from` bytes by [`map`], which nobody else uses.
pub(crate) unsafe fn remap(at: *mut u8, from: usize, to: usize) -> *mut u8 {
    // SAFETY: as the caller promises.
    let at = unsafe { libc::mremap(at.cast(), from, to, libc::MREMAP_MAYMOVE) };
    if at == libc::MAP_FAILED { ptr::null_mut() } else { at.cast() }
}

/// Gives the pages of the range back; they are zero when they are touched again. False if the system refuses, because some
/// are locked for instance: then each of them is either zero or as it was.
///
/// # Safety
///
/// Whole pages mapped by [`map`], in which nobody keeps anything.
pub(crate) unsafe fn forget(at: *mut u8, bytes: usize) -> bool {
    // SAFETY: as the caller promises.
    unsafe { libc::madvise(at.cast(), bytes, libc::MADV_DONTNEED) == 0 }
}

/// Says whether core dumps have the pages of the range. A system that refuses dumps more than it needs to, or less.
///
/// # Safety
///
/// Whole pages mapped by [`map`].
pub(crate) unsafe fn dump(at: *mut u8, bytes: usize, yes: bool) {
    let advice = if yes { libc::MADV_DODUMP } else { libc::MADV_DONTDUMP };
    // SAFETY: as the caller promises; the advice changes no memory.
    unsafe { libc::madvise(at.cast(), bytes, advice) };
}

/// Runs `body` and restores the thread's error number: free must not change it.
pub(crate) fn keeping_errno<R>(body: impl FnOnce() -> R) -> R {
    // SAFETY: the thread's own variable.
    let before = unsafe { *libc::__errno_location() };
    let result = body();
    set_errno(before);
    result
}

/// Sets the thread's error number.
pub(crate) fn set_errno(number: i32) {
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = number };
}
