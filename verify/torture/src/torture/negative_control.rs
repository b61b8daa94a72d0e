//! Things a member can be told to do wrong. A run with one of them has to fail: that is how we know that it would
//! notice.

use clap::ValueEnum;

/// What to do wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum NegativeControl {
    /// Let go of a handle that was sent to somebody and has not arrived.
    Lose,
    /// Pin a block in the name of somebody who will never be.
    Leak,
    /// Give a handle the payload of another.
    Mix,
    /// Write into a block that is in use.
    Corrupt,
    /// Write one word of a pair that belongs to the owner of a mutex.
    Trespass,
    /// Take a permit of a semaphore and not say so.
    Pocket,
    /// Signal an auto-reset event without having taken its signal.
    Forge,
    /// Keep a handle that is in no books.
    Keep,
    /// Keep a block that is in no books.
    Hoard,
    /// Take one of two things that are to be taken together, and be killed.
    Halve,
    /// Stop answering.
    Hang,
    /// Crash.
    Crash,
}

impl NegativeControl {
    /// How many operations of a thread go well before it starts.
    pub(super) const PATIENCE_OPERATIONS: u64 = 100;
}
