//! The exit status of a program.

use std::error::Error;
use std::io::{ErrorKind, Write};
use std::process::ExitCode;

/// Text for standard output and the exit status, or an error.
pub type Answer = Result<(String, Exit), Box<dyn Error + Send + Sync>>;

/// The meaning of the exit status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// No error was found.
    Well,
    /// A segment or a run has errors.
    Wrong,
    /// The command was refused and changed nothing.
    Refused,
    /// The user interrupted the program.
    Interrupted,
}

impl Exit {
    /// Prints the answer of `program` and returns its exit status.
    pub fn of(program: &str, answer: Answer) -> Self {
        match answer {
            Ok((text, exit)) => {
                let mut out = std::io::stdout();
                match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
                    // The reader has read enough.
                    Err(error) if error.kind() == ErrorKind::BrokenPipe => exit,
                    Err(error) => {
                        let _ = writeln!(std::io::stderr(), "{program}: cannot write the answer: {error}");
                        Self::Wrong
                    }
                    Ok(()) => exit,
                }
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

/// The text of an error with all its sources.
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
