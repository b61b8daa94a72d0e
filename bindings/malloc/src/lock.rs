//! Locks that a fork may cross: around it the forking thread holds all of them.

use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::tls;

/// Names the thread that is forking and holds every lock, or 0.
static FORKER: AtomicUsize = AtomicUsize::new(0);

/// A value that one thread uses at a time.
pub(crate) struct Lock<T> {
    mutex: Mutex<()>,
    inside: UnsafeCell<T>,
}

// SAFETY: `with` gives out one reference at a time; the values it guards may be used by any thread.
unsafe impl<T> Sync for Lock<T> {}

/// Keeps a lock until it is dropped.
pub(crate) type Guard = MutexGuard<'static, ()>;

fn me() -> usize {
    tls::words().as_ptr() as usize
}

impl<T> Lock<T> {
    pub(crate) const fn new(inside: T) -> Self {
        Self { mutex: Mutex::new(()), inside: UnsafeCell::new(inside) }
    }

    /// Runs `body`, which must not use the same lock.
    pub(crate) fn with<R>(&self, body: impl FnOnce(&mut T) -> R) -> R {
        // Relaxed: only this thread could have stored its own name.
        let forking = FORKER.load(Ordering::Relaxed) == me();
        // The fork handlers of other libraries may allocate while this thread holds the lock already.
        let _guard = (!forking).then(|| self.mutex.lock().unwrap_or_else(PoisonError::into_inner));
        // SAFETY: this thread holds the lock and no reference from another `with`.
        body(unsafe { &mut *self.inside.get() })
    }

    pub(crate) fn hold(&'static self) -> Guard {
        self.mutex.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// From here on this thread holds every lock.
pub(crate) fn begin_fork() {
    // Relaxed: read by this thread only, as far as it matters.
    FORKER.store(me(), Ordering::Relaxed);
}

/// The locks are about to be released.
pub(crate) fn end_fork() {
    // Relaxed: as above.
    FORKER.store(0, Ordering::Relaxed);
}
