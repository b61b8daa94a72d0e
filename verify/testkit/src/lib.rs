//! What the tests of all packages share. It knows nothing of tenure: each package's tests may use it, and no product build has it.
//!
//! | module | purpose |
//! |---|---|
//! | `waiting` | the one limit of all waits |
//! | `process` | the test binary starts itself again in a role, talks to it over pipes, and kills it |
//! | `kernel` | forked children, and system calls that the kernel refuses |
//! | `threads` | whether the threads of a process sleep, or poll |
//! | `explore` | loom tests that print the number of their interleavings |
#![allow(clippy::missing_panics_doc, clippy::missing_errors_doc, reason = "its callers are tests")]

#[cfg(loom)]
mod explore;
mod kernel;
mod process;
pub mod threads;
mod waiting;

#[cfg(loom)]
pub use explore::{explore, explore_in};
pub use kernel::{among_signals, deny, deny_all, die_with_parent, in_fork, is_root};
pub use process::{Process, in_role, linger, listen, role, say, unique_name, while_nobody_starts};
pub use waiting::{FAIL_SAFE, Lines, end_of, eventually, reap, returns, scope};
