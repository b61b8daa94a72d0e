//! Things a process of a run can be told to do wrong. A run with one of them has to fail: that is how we know that it would
//! notice.

use clap::ValueEnum;

/// What to do wrong: a worker of the demo, a member of a torture, or a child of a crowd, each of them some.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum NegativeControl {
    /// Let go of handles that it was told to hold; of a handle that was sent to somebody and has not arrived.
    Lose,
    /// Keep handles that it was told to let go of; pin a block in the name of somebody who will never be.
    Leak,
    /// Give handles the payload of others.
    Mix,
    /// Write into a block that is in use.
    Corrupt,
    /// Stop answering.
    Hang,
    /// Crash.
    Crash,
    /// Demo: pin a block that nobody will free.
    Forget,
    /// Torture: write one word of a pair that belongs to the owner of a mutex.
    Trespass,
    /// Torture: take a permit of a semaphore and not say so.
    Pocket,
    /// Torture: signal an auto-reset event without having taken its signal.
    Forge,
    /// Torture: take one of two things that are to be taken together, and be killed.
    Halve,
    /// Crowd: keep a handle that is in no books.
    Keep,
    /// Crowd: keep a block that is in no books.
    Hoard,
}

impl NegativeControl {
    /// How many tasks of a worker, or operations of a thread, go well before it starts.
    pub(crate) const PATIENCE: u64 = 100;

    /// As a process is told on its command line.
    pub(crate) fn arguments(which: Option<Self>) -> impl Iterator<Item = String> {
        let value = which.and_then(|which| which.to_possible_value());
        value.into_iter().flat_map(|value| ["--negative-control".to_owned(), value.get_name().to_owned()])
    }
}
