//! The atomics of the whole workspace: the standard ones, or loom's under `--cfg loom`.

#[cfg(not(loom))]
pub use std::sync::atomic::{AtomicU64, Ordering, fence};

#[cfg(loom)]
pub use loom::sync::atomic::{AtomicU64, Ordering, fence};

/// A word of shared memory. Everything that several processes agree on is made of these.
///
/// `&[Word]` over a mapping is sound although other processes write to it: they only do so atomically `[A1]`, and an
/// atomic allows writes through a shared reference.
pub type Word = AtomicU64;

/// A process-private mutex; never placed in shared memory.
#[cfg(not(loom))]
pub use std::sync::{Mutex, MutexGuard};

#[cfg(loom)]
pub use loom::sync::{Mutex, MutexGuard};

/// Locks a process-private mutex, ignoring poison: what it guards is repaired from the shared words, never from memory
/// left half-written by a panic.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poison| poison.into_inner())
}
