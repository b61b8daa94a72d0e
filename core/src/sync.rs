//! The atomics of the whole workspace: the standard ones, or loom's under `--cfg loom`.

#[cfg(not(loom))]
pub use std::sync::atomic::{AtomicU64, Ordering, fence};

#[cfg(loom)]
pub use loom::sync::atomic::{AtomicU64, Ordering, fence};

/// A word of shared memory. All shared state consists of such words.
///
/// `&[Word]` over a mapping is sound although other processes write to it: they only do so atomically `[A1]`, and an
/// atomic allows writes through a shared reference.
pub type Word = AtomicU64;

/// A process-private mutex; never placed in shared memory.
#[cfg(not(loom))]
pub use std::sync::{Mutex, MutexGuard};

#[cfg(loom)]
pub use loom::sync::{Mutex, MutexGuard};

/// Locks a process-private mutex and ignores poison: after a panic the private state is not trusted, and is repaired from the shared
/// words.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poison| poison.into_inner())
}

/// One round of a wait for another thread of this process, which is about to finish a few instructions. `round` starts at 0.
///
/// It spins, and after some rounds sleeps: a thread of higher priority must not keep the other one from the processor.
#[cold]
#[inline(never)]
pub fn pause(round: &mut u32) {
    #[cfg(loom)]
    loom::thread::yield_now();
    #[cfg(not(loom))]
    if *round < 100 {
        std::hint::spin_loop();
    } else {
        std::thread::sleep(std::time::Duration::from_micros(50));
    }
    *round += 1;
}
