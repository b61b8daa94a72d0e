//! `libtenure_malloc.so`: the scratch allocator as the malloc of unmodified programs.
//!
//! ```console
//! $ LD_PRELOAD=$PWD/target/release/libtenure_malloc.so sqlite3 my.db
//! ```
//!
//! The memory is private to the process: one region of at most 64 GiB, of which pages are mapped as they are needed, and never before;
//! blocks of 32 MiB and more are mappings of their own. Every thread has a
//! [`Local`](tenure_scratch_alloc::Local) of the allocator, all in the name of one lease, and gives it to the next
//! thread when it ends. A forked child goes on with its copy and takes over the memory of the threads that it lacks: it
//! treats them like members that were killed.
//!
//! Not provided: sharing with other processes, error reports (a pointer to no block in use is left alone), and
//! replacing the allocator of a program that brings its own.

mod arena;
mod direct;
mod family;
mod fork;
mod heap;
mod lock;
mod region;
mod system;
mod tls;

pub use family::*;

use std::sync::atomic::{AtomicBool, Ordering};

#[cfg(not(test))]
#[global_allocator]
static BOOKS: arena::Books = arena::Books;

/// Has the C library say when threads end and when the process forks: once, before the first thread gets a heap. Libraries whose
/// constructors run before this one's may fork and start threads.
fn begin() {
    static BEGUN: AtomicBool = AtomicBool::new(false);
    // Relaxed: what comes after needs nothing that came before. The thread that is first may be here again, from the two calls.
    if !BEGUN.swap(true, Ordering::Relaxed) {
        heap::watch_threads();
        fork::watch();
    }
}

/// Before the program's own code, if no library has allocated earlier.
extern "C" fn first() {
    begin();
}

#[cfg_attr(not(test), used, unsafe(link_section = ".init_array"))]
#[cfg_attr(test, allow(dead_code))]
static FIRST: extern "C" fn() = first;
