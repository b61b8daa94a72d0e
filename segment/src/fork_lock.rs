//! Keeps this process from forking while a join holds resources that a child must not inherit. For some microseconds these are a
//! descriptor, or a mapping without `MADV_DONTFORK`; with either the child would keep the lease alive after its parent's death.
//!
//! A descriptor whose lock tells for long that its member lives is closed in the child instead, before `fork` returns there.
//!
//! The crate's globals are this lock with its list of descriptors, since a fork concerns the whole process, and the last serial
//! (`fork_flag`). `vfork`, spawning a program and the bare system call do
//! not take the lock; after the former two the child loses the inherited lock when it executes the program.

use std::cell::UnsafeCell;
use std::os::fd::{BorrowedFd, RawFd};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::attachment::FileId;

/// A lock of the C library, because fork handlers may unlock it in the parent and in the child.
struct Lock(UnsafeCell<libc::pthread_mutex_t>);

// SAFETY: only passed to the library's functions, which are thread-safe.
unsafe impl Sync for Lock {}

static LOCK: Lock = Lock(UnsafeCell::new(libc::PTHREAD_MUTEX_INITIALIZER));

/// Descriptors that a forked child closes.
struct Withheld(UnsafeCell<Vec<(RawFd, FileId)>>);

// SAFETY: only used by the thread that has the lock or, in a child before `fork` returns, by its only thread, which is a copy of that.
unsafe impl Sync for Withheld {}

static WITHHELD: Withheld = Withheld(UnsafeCell::new(Vec::new()));

const UNASKED: u32 = 0;
const ASKING: u32 = 1;
const ASKED: u32 = 2;

/// Whether the fork handlers that take the lock are registered.
static FORKS: AtomicU32 = AtomicU32::new(UNASKED);

extern "C" fn lock() {
    // SAFETY: an initialised lock that lives as long as the process.
    unsafe { libc::pthread_mutex_lock(LOCK.0.get()) };
}

extern "C" fn unlock() {
    // SAFETY: locked by this thread or, in a child, by the thread that this one is a copy of.
    unsafe { libc::pthread_mutex_unlock(LOCK.0.get()) };
}

extern "C" fn close_and_unlock() {
    // SAFETY: see `Withheld`. Nothing is allocated or freed.
    let withheld = unsafe { &mut *WITHHELD.0.get() };
    for (number, id) in withheld.drain(..) {
        // SAFETY: borrowed for this call only. If other code closed it, the number leads nowhere or to another file.
        let fd = unsafe { BorrowedFd::borrow_raw(number) };
        if FileId::of(fd).is_ok_and(|found| found == id) {
            // SAFETY: the child never uses the descriptors of its parent's members, not even to close them.
            unsafe { libc::close(number) };
        }
    }
    unlock();
}

/// No other thread forks while this value lives.
pub(crate) struct NoForks(());

impl NoForks {
    /// `None` while another thread registers the handlers, or if they cannot be registered. Then the child of a fork during the join
    /// may keep the lease until it exits or executes a program.
    pub(crate) fn begin() -> Option<Self> {
        // Acquire: pairs with the Release below; a thread that sees ASKED knows that every later fork takes the lock. The loser of
        // the race does not wait: in a forked child the winner may be a thread that does not exist.
        match FORKS.compare_exchange(UNASKED, ASKING, Ordering::Acquire, Ordering::Acquire) {
            Ok(_) => {
                // SAFETY: the three functions exist as long as the process.
                let asked =
                    unsafe { libc::pthread_atfork(Some(lock), Some(unlock), Some(close_and_unlock)) } == 0;
                // Release: as above.
                FORKS.store(if asked { ASKED } else { UNASKED }, Ordering::Release);
                if !asked {
                    return None;
                }
            }
            Err(ASKED) => {}
            Err(_) => return None,
        }
        lock();
        Some(Self(()))
    }

    /// From now on a forked child closes this descriptor, until `release`.
    pub(crate) fn withhold(&mut self, number: RawFd, id: FileId) {
        // SAFETY: this value has the lock.
        unsafe { &mut *WITHHELD.0.get() }.push((number, id));
    }

    /// Ends `withhold`.
    pub(crate) fn release(&mut self, number: RawFd, id: FileId) {
        // SAFETY: this value has the lock.
        let withheld = unsafe { &mut *WITHHELD.0.get() };
        if let Some(at) = withheld.iter().position(|entry| *entry == (number, id)) {
            withheld.swap_remove(at);
        }
    }
}

impl Drop for NoForks {
    fn drop(&mut self) {
        unlock();
    }
}
