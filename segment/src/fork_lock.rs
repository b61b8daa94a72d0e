//! Keeps this process from forking while a join holds what a child must not inherit: for some microseconds a
//! descriptor, or a mapping not yet kept from children, would make the child keep the lease alive after its parent's
//! death.
//!
//! This is the one global of the crate: forks concern the whole process. Children made by `vfork`, by spawning a
//! program, or by the bare system call do not ask; the former two lose the lease when they execute the program.

use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicU32, Ordering};

/// A lock of the C library: one that the handlers of a fork may unlock, in the parent and in the child.
struct Lock(UnsafeCell<libc::pthread_mutex_t>);

// SAFETY: only ever passed to the library's own functions, which are made for several threads.
unsafe impl Sync for Lock {}

static LOCK: Lock = Lock(UnsafeCell::new(libc::PTHREAD_MUTEX_INITIALIZER));

const UNASKED: u32 = 0;
const ASKING: u32 = 1;
const ASKED: u32 = 2;

/// Whether forks ask for the lock.
static FORKS: AtomicU32 = AtomicU32::new(UNASKED);

extern "C" fn lock() {
    // SAFETY: an initialised lock that lives as long as the process.
    unsafe { libc::pthread_mutex_lock(LOCK.0.get()) };
}

extern "C" fn unlock() {
    // SAFETY: locked by this thread, or, in a child, by the thread whose copy it is.
    unsafe { libc::pthread_mutex_unlock(LOCK.0.get()) };
}

/// While it lives, no other thread forks.
pub(crate) struct NoForks(());

impl NoForks {
    /// `None` while another thread is still asking for the first time, or if the system has no room for the question:
    /// then a fork in the middle of the join may keep the lease, as long as the child lives and executes nothing.
    pub(crate) fn begin() -> Option<Self> {
        // Acquire: pairs with the Release below; whoever sees ASKED has every later fork ask. Whoever loses does not
        // wait: in a forked child the winner may be a thread that is not there.
        match FORKS.compare_exchange(UNASKED, ASKING, Ordering::Acquire, Ordering::Acquire) {
            Ok(_) => {
                // SAFETY: three functions that stay as long as the process.
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
