//! What a member's process knows privately about the mutexes it holds.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use tenure_segment::futex;

/// One for each member.
pub(crate) struct Books {
    /// Differs from that of every other member of this process and, across a fork, of its parent.
    serial: u64,
    /// By handle index: how many `Mutex` values there are. Not the slab's count, which a recoverer may hold up.
    mutexes: Mutex<HashMap<u32, u64>>,
}

impl Books {
    pub(crate) fn new() -> Self {
        static SERIAL: AtomicU64 = AtomicU64::new(1);
        // Relaxed: only differs.
        Self { serial: SERIAL.fetch_add(1, Ordering::Relaxed), mutexes: Mutex::default() }
    }

    /// The calling thread, without asking the kernel each time.
    #[inline]
    pub(crate) fn thread_id(&self) -> u32 {
        thread_local! {
            // A forked child has another thread id, but needs another member too, whose serial differs.
            static KNOWN: Cell<(u64, u32)> = const { Cell::new((0, 0)) };
        }
        let (serial, thread) = KNOWN.get();
        if serial == self.serial {
            return thread;
        }
        let thread = futex::thread_id();
        KNOWN.set((self.serial, thread));
        thread
    }

    /// One `Mutex` more over a handle.
    pub(crate) fn enter(&self, index: u32) {
        *self.mutexes.lock().unwrap_or_else(PoisonError::into_inner).entry(index).or_default() += 1;
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
