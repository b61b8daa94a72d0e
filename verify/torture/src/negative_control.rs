//! Errors that a process of a run can be told to make. A run with a negative control must fail: this shows that the run
//! detects such an error.

use clap::ValueEnum;

/// The error to make. Some apply to workers of the demo, some to members of a torture, some to children of a crowd.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum NegativeControl {
    /// Release handles that the process was told to hold; a handle that was sent to another process and has not
    /// arrived.
    Lose,
    /// Keep handles that the process was told to release; pin a block for a member that will never exist.
    Leak,
    /// Give handles the payload of other handles.
    Mix,
    /// Write into a block in use.
    Corrupt,
    /// Stop answering.
    Hang,
    /// Crash.
    Crash,
    /// Demo: pin a block that no process will free.
    Forget,
    /// Torture: write one word of a pair that belongs to the owner of a mutex.
    Trespass,
    /// Torture: take a permit of a semaphore without recording it in the ledger.
    Pocket,
    /// Torture: signal an auto-reset event without having consumed its signal.
    Forge,
    /// Torture: take one of two objects that have to be taken together, and be killed.
    Halve,
    /// Crowd: keep a handle that is not in the books.
    Keep,
    /// Crowd: keep a block that is not in the books.
    Hoard,
}

impl NegativeControl {
    /// Number of correct tasks of a worker, or operations of a thread, before the first error.
    pub(crate) const PATIENCE: u64 = 100;

    /// The command-line arguments of a process with this negative control.
    pub(crate) fn arguments(which: Option<Self>) -> impl Iterator<Item = String> {
        let value = which.and_then(|which| which.to_possible_value());
        value.into_iter().flat_map(|value| ["--negative-control".to_owned(), value.get_name().to_owned()])
    }
}
