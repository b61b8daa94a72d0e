//! How the command ends.

use std::process::ExitCode;

/// What the exit status says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// All is well.
    Well,
    /// Something is wrong with a segment or a run.
    Wrong,
    /// Nothing was done.
    Refused,
    /// Somebody ended it.
    Interrupted,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(match exit {
            Exit::Well => 0,
            Exit::Wrong => 1,
            Exit::Refused => 2,
            Exit::Interrupted => 130,
        })
    }
}
