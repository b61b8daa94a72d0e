//! The private bookkeeping of one member about mutexes and MCAS operations.

use std::collections::HashMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The bookkeeping of one member.
#[derive(Default)]
pub(crate) struct Books {
    /// The number of `Mutex` values of this member, by handle index. The slab's local count does not serve, since a recoverer may raise it.
    mutexes: Mutex<HashMap<u32, u64>>,
    /// Held by the thread that uses the MCAS descriptor of the lease.
    mcas: Mutex<()>,
    /// For tests: whether to behave as without `futex_waitv`.
    pub(crate) no_waitv: AtomicBool,
}

impl Books {
    /// Counts one more `Mutex` over a handle.
    pub(crate) fn enter(&self, index: u32) {
        *self.mutexes.lock().unwrap_or_else(PoisonError::into_inner).entry(index).or_default() += 1;
    }

    /// Locks the MCAS descriptor of the lease. The lock is held for a bounded number of steps.
    pub(crate) fn lock_mcas(&self) -> MutexGuard<'_, ()> {
        self.mcas.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts one `Mutex` less. If it was the last, calls `last` before another thread can count a new one; `last` takes a bounded time.
    pub(crate) fn leave(&self, index: u32, last: impl FnOnce()) {
        let mut mutexes = self.mutexes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = mutexes.get_mut(&index) {
            *count -= 1;
            if *count > 0 {
                return;
            }
            mutexes.remove(&index);
        }
        last();
    }
}
