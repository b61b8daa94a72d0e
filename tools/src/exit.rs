//! How a program ends.

use std::error::Error;
use std::io::Write;
use std::process::ExitCode;

/// Text for standard output, and how to end.
pub type Answer = Result<(String, Exit), Box<dyn Error + Send + Sync>>;

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

impl Exit {
    /// Prints the answer of `program`, and says how to end.
    pub fn of(program: &str, answer: Answer) -> Self {
        match answer {
            Ok((text, exit)) => {
                // The reader of our output may have closed it.
                let _ = std::io::stdout().write_all(text.as_bytes());
                exit
            }
            Err(error) => {
                eprintln!("{program}: {}", in_full(&*error));
                Self::Refused
            }
        }
    }
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

/// An error with everything that led to it.
pub fn in_full(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}
