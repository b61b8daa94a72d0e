//! Processes and threads as handles: their identity and their exit, for any process that holds the handle.
//!
//! The payload is an exit word (`tenure_wait::exit`), which is a wait word, and an identity, which never changes. Each member that holds
//! such handles has one watcher, a thread that sleeps in the kernel until a process ends and then records the exit in the word. A call
//! that asks for the exit records it as well. All of them write the same word, so it does not matter if some of them are stopped or
//! killed.

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
