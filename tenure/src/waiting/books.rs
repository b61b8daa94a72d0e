//! What a member's process knows privately about what it waits for.

use std::collections::HashMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// One for each member.
#[derive(Default)]
pub(crate) struct Books {
    /// By handle index: how many `Mutex` values there are. Not the slab's count, which a recoverer may hold up.
    mutexes: Mutex<HashMap<u32, u64>>,
    /// The record of the lease is one thread's at a time.
    taking: Mutex<()>,
    /// For tests: do as if the kernel had no `futex_waitv`.
    pub(crate) no_waitv: AtomicBool,
}

impl Books {
    /// One `Mutex` more over a handle.
    pub(crate) fn enter(&self, index: u32) {
        *self.mutexes.lock().unwrap_or_else(PoisonError::into_inner).entry(index).or_default() += 1;
    }

    /// For one who takes several at once. Held for a bounded number of steps.
    pub(crate) fn take_several(&self) -> MutexGuard<'_, ()> {
        self.taking.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One less; whether it was the last.
    pub(crate) fn leave(&self, index: u32) -> bool {
        let mut mutexes = self.mutexes.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(count) = mutexes.get_mut(&index) else { return true };
        *count -= 1;
        let last = *count == 0;
        if last {
            mutexes.remove(&index);
        }
        last
    }
}
