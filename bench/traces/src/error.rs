//! Errors in a recording.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// A line of a recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// File name, or name of a built-in recording.
    pub file: String,
    /// Line number, counted from 1.
    pub line: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// The reason why a recording was refused. Nothing was replayed.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// The file cannot be opened.
    #[error("{}: expected a readable recording, found: {error}", path.display())]
    Open {
        /// Path of the file.
        path: PathBuf,
        /// Error of the system.
        error: io::Error,
    },
    /// The file was opened but cannot be read to its end (a truncated or damaged gzip file, a directory).
    #[error("{place}: expected more of the recording, found: {error}")]
    Read {
        /// The line that could not be read.
        place: Place,
        /// Error of the system or of the decompressor.
        error: io::Error,
    },
    /// The content of a line is not valid.
    #[error("{place}: expected {expected}, found {found}")]
    Malformed {
        /// The line.
        place: Place,
        /// Description of a valid content.
        expected: String,
        /// Content found.
        found: String,
    },
}
