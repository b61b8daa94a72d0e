//! A fork leaves the child a copy of everything and one thread: locks are held across it, and the child takes over the
//! heaps of the other threads.

use std::cell::UnsafeCell;

use crate::lock::{self, Guard};
use crate::{arena, direct, heap, region};

struct Held(UnsafeCell<Option<[Guard; 5]>>);

// SAFETY: touched by the thread that forks only, and the C library lets one fork at a time run these functions.
unsafe impl Sync for Held {}

static HELD: Held = Held(UnsafeCell::new(None));

/// Registers the fork handlers.
pub(crate) fn watch() {
    // SAFETY: three functions that stay as long as the process.
    unsafe { libc::pthread_atfork(Some(before), Some(in_parent), Some(in_child)) };
}

extern "C" fn before() {
    // In the order in which code nests them.
    let [common, pool] = heap::hold();
    let held = [common, pool, direct::hold(), region::hold(), arena::hold()];
    lock::begin_fork();
    // SAFETY: see `Held`.
    unsafe { *HELD.0.get() = Some(held) };
}

fn release() {
    lock::end_fork();
    // SAFETY: see `Held`.
    drop(unsafe { (*HELD.0.get()).take() });
}

extern "C" fn in_parent() {
    release();
}

extern "C" fn in_child() {
    release();
    heap::after_fork();
}
