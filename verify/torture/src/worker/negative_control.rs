//! Things a worker can be told to do wrong. A run with one of them has to fail: that is how we know that it would
//! notice.

use clap::ValueEnum;

/// What to do wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum NegativeControl {
    /// Let go of handles that it was told to hold.
    Lose,
    /// Keep handles that it was told to let go of.
    Leak,
    /// Give handles the payload of others.
    Mix,
    /// Write into a block that is in use.
    Corrupt,
    /// Stop answering.
    Hang,
    /// Crash.
    Crash,
    /// Pin a block that nobody will free.
    Forget,
}

impl NegativeControl {
    /// How many tasks go well before it starts.
    pub(super) const PATIENCE_TASKS: u64 = 200;
}
