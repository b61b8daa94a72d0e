//! The calls to the system: pages of this process alone.

use std::ptr;

/// Bytes of a page as this library counts them. Larger pages of the processor are multiples: see [`granule`].
pub(crate) const PAGE: usize = 4096;

/// Bytes of a page of the system: mappings begin at its multiples.
pub(crate) fn granule() -> usize {
    // SAFETY: reads a number that the system gave this process.
    (unsafe { libc::getauxval(libc::AT_PAGESZ) } as usize).max(PAGE)
}

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

/// Maps zeroes at an address, where nothing is mapped, or an address of [`reserve`]; false if the system refuses, or if something is there.
///
/// # Safety
///
/// Whole pages. If they are reserved, they are pages of [`reserve`] that nobody uses.
pub(crate) unsafe fn map_at(at: *mut u8, bytes: usize, reserved: bool) -> bool {
    if reserved {
        // SAFETY: as the caller promises. If it is refused, the pages are reserved as before.
        return unsafe { libc::mprotect(at.cast(), bytes, libc::PROT_READ | libc::PROT_WRITE) == 0 };
    }
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_FIXED_NOREPLACE;
    // SAFETY: nothing is replaced.
    let found = unsafe { libc::mmap(at.cast(), bytes, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0) };
    if found == libc::MAP_FAILED {
        return false;
    }
    if found != at.cast() {
        // A kernel before 4.17 takes the address for a wish.
        // SAFETY: mapped a line ago.
        unsafe { libc::munmap(found, bytes) };
        return false;
    }
    true
}

/// Reserves addresses without memory; null if the system refuses.
pub(crate) fn reserve(bytes: usize) -> *mut u8 {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    // SAFETY: a new mapping, wherever there is room.
    let at = unsafe { libc::mmap(ptr::null_mut(), bytes, libc::PROT_NONE, flags, -1, 0) };
    if at == libc::MAP_FAILED { ptr::null_mut() } else { at.cast() }
}

/// Whether a limit of this process is set for its address space or its data, and is less than 64 GiB.
pub(crate) fn is_limited() -> bool {
    [libc::RLIMIT_AS, libc::RLIMIT_DATA].into_iter().any(|limit| {
        let mut found = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
        // SAFETY: a variable for the limit.
        unsafe { libc::getrlimit(limit, &raw mut found) == 0 && found.rlim_cur < 64 << 30 }
    })
}

/// The end of the address space, a power of two: by the address of what the system put on the first thread's stack, which lies there.
pub(crate) fn address_space() -> usize {
    let here = 0u8;
    // SAFETY: reads a number that the system gave this process.
    let first_stack = unsafe { libc::getauxval(libc::AT_RANDOM) } as usize;
    first_stack.max(&raw const here as usize).next_power_of_two()
}

/// A number that differs between processes as far as the system makes their addresses differ, without a call that it may refuse.
pub(crate) fn random_address() -> usize {
    let here = 0u8;
    // SAFETY: reads numbers that the system gave this process.
    let addresses = unsafe { [libc::getauxval(libc::AT_SYSINFO_EHDR), libc::getauxval(libc::AT_ENTRY)] };
    let own = [&raw const here as u64, is_limited as *const () as u64];
    addresses.into_iter().chain(own).fold(0u64, |mixed, address| {
        let mixed = (mixed ^ address).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed ^ mixed >> 29
    }) as usize
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
