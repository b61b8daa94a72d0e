//! Memory that a process shares with the children it forks, and futexes in it.

use std::ptr::NonNull;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

/// Zeroed anonymous memory, shared with processes that are forked afterwards.
#[derive(Debug)]
pub struct Pages {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: plain memory; the code that stores a type into it says how it may be used.
unsafe impl Send for Pages {}
// SAFETY: as above.
unsafe impl Sync for Pages {}

impl Pages {
    /// `len` zero bytes, none of which costs memory before it is touched.
    ///
    /// # Errors
    /// The errors of mmap.
    pub fn new(len: usize) -> std::io::Result<Self> {
        let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        // SAFETY: a new mapping anywhere touches nothing that exists.
        let start = unsafe {
            libc::mmap(std::ptr::null_mut(), len, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0)
        };
        match NonNull::new(start.cast::<u8>()) {
            Some(start) if start.as_ptr().cast() != libc::MAP_FAILED => Ok(Self { start, len }),
            _ => Err(std::io::Error::last_os_error()),
        }
    }

    /// The first byte, aligned to a page.
    #[must_use]
    pub fn start(&self) -> *mut u8 {
        self.start.as_ptr()
    }

    /// The length asked for.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.len
    }

    /// The start as a `T`.
    ///
    /// # Safety
    /// `T` is valid when zeroed, no larger than the pages, and changed by atomics only.
    #[must_use]
    pub unsafe fn view<T>(&self) -> &T {
        assert!(size_of::<T>() <= self.len);
        // SAFETY: large enough, aligned to a page, valid when zeroed (the caller), mapped as long as `self`.
        unsafe { self.start.cast::<T>().as_ref() }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: our own mapping, and references into it cannot outlive `self`.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
    }
}

/// Sleeps while the word is `expected`, at most for `limit`.
pub fn futex_wait(word: &AtomicU32, expected: u32, limit: Duration) {
    let limit =
        libc::timespec { tv_sec: limit.as_secs() as libc::time_t, tv_nsec: i64::from(limit.subsec_nanos()) };
    // SAFETY: the kernel reads the word and the limit, which both live until it returns.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAIT, expected, &raw const limit) };
}

/// Wakes up to `count` sleepers.
pub fn futex_wake(word: &AtomicU32, count: i32) {
    // SAFETY: the kernel uses the word's address only.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, count) };
}

/// Keeps the calling thread on one processor; without effect where that is not allowed.
pub fn pin_to_cpu(cpu: usize) {
    // SAFETY: a zeroed set is an empty one; CPU_SET checks nothing but our number is below the set's 1024.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(cpu % cpu_count() % 1024, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set);
    }
}

/// The number of processors.
#[must_use]
pub fn cpu_count() -> usize {
    // SAFETY: asks for a number.
    unsafe { libc::sysconf(libc::_SC_NPROCESSORS_ONLN) }.max(1) as usize
}
