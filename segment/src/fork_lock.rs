//! Keeps this process from forking while a join holds resources that a child must not inherit. For some microseconds these are a
//! descriptor, or a mapping without `MADV_DONTFORK`; with either the child would keep the lease alive after its parent's death.
//!
//! This is the crate's only global, since a fork concerns the whole process. `vfork`, spawning a program and the bare system call do
//! not take the lock; after the former two the child loses the inherited lock when it executes the program.

use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicU32, Ordering};

/// A lock of the C library, because fork handlers may unlock it in the parent and in the child.
struct Lock(UnsafeCell<libc::pthread_mutex_t>);

// SAFETY: only passed to the library's functions, which are thread-safe.
unsafe impl Sync for Lock {}

static LOCK: Lock = Lock(UnsafeCell::new(libc::PTHREAD_MUTEX_INITIALIZER));

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
                let asked = unsafe { libc::pthread_atfork(Some(lock), Some(unlock), Some(unlock)) } == 0;
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
}

impl Drop for NoForks {
    fn drop(&mut self) {
        unlock();
    }
}
