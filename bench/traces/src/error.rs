//! What can be wrong with a recording.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// A line of a recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file, or the name of a built-in recording.
    pub file: String,
    /// Counted from 1.
    pub line: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// Why a recording was refused. Nothing was replayed.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// The file cannot be opened.
    #[error("{}: expected a readable recording, found: {error}", path.display())]
    Open {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The file was opened but cannot be read to its end (a truncated or damaged gzip file, a directory).
    #[error("{place}: expected more of the recording, found: {error}")]
    Read {
        /// The line that could not be read.
        place: Place,
        /// What the system or the decompressor said.
        error: io::Error,
    },
    /// A line says something that cannot be.
    #[error("{place}: expected {expected}, found {found}")]
    Malformed {
        /// The line.
        place: Place,
        /// What would have been right there.
        expected: String,
        /// What is there.
        found: String,
    },
}
