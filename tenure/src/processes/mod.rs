//! Processes and threads as handles: who one is, whether it has ended, and how, for any process that holds the handle.
//!
//! The payload is an exit word (`tenure_wait::exit`), which one can wait for, and an identity, which never changes. Each
//! member that holds the handle has one watcher, a thread that sleeps in the kernel until a process ends and then writes the
//! end down for everybody; so does whoever looks. All of them come to the same word, so that it does not matter which of them
//! are stopped or killed.

mod error;
mod exit;
mod process;
mod slot;
mod subject;
mod thread;
mod words;

pub use error::ProcessError;
pub use exit::Exit;
pub use process::Process;
pub use thread::Thread;

pub(crate) use slot::WatcherSlot;
pub(crate) use words::problem;
