//! `libtenure_malloc.so`: the scratch allocator as the malloc of unmodified programs.
//!
//! ```console
//! $ LD_PRELOAD=target/release/libtenure_malloc.so sqlite3 my.db
//! ```
//!
//! The memory is private to the process: one region of address space, at most 64 GiB, of which the system backs the
//! pages that are touched; blocks of 32 MiB and more are mappings of their own. Every thread has a
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

#[cfg(not(test))]
#[global_allocator]
static BOOKS: arena::Books = arena::Books;

/// Before the program's own code. Earlier calls, of the loader or of libraries that come first, work as well.
extern "C" fn begin() {
    heap::watch_threads();
    fork::watch();
}

#[cfg_attr(not(test), used, unsafe(link_section = ".init_array"))]
#[cfg_attr(test, allow(dead_code))]
static BEGIN: extern "C" fn() = begin;
