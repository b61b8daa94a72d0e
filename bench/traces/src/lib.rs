//! Recordings of the handle and memory operations of real programs, for replay.
//!
//! Two formats, told apart by their first line, plain or gzipped:
//!
//! | first line | lines |
//! |---|---|
//! | `# handle trace v1` | `start P`, `fork P C`, `new P H KIND`, `open P H`, `close P H`, `exit P` |
//! | `# allocation trace v1` | `p P`, `t T`, `a ID BYTES`, `l ID BYTES ALIGN`, `r ID BYTES`, `f ID` |
//!
//! A recording is checked while it is read (a process closes only handles that it holds, an id is freed once) and
//! converted into steps with small dense numbers, so that a replay needs no look-ups and no checks.
//! Memory is bounded: [`LINES_MAX`] lines of at most [`LINE_BYTES_MAX`] bytes, at most 24 bytes kept of each.

mod allocations;
mod error;
mod handles;
mod lines;
#[cfg(test)]
mod tests;

pub use allocations::{After, AllocationProcess, AllocationStep, AllocationTrace, Verb};
pub use error::{Place, TraceError};
pub use handles::{HandleStep, HandleTrace, HandleVerb};
pub use lines::{LINE_BYTES_MAX, LINES_MAX};

use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::str::FromStr;

use lines::Lines;

/// A recording of either format.
#[derive(Debug)]
pub enum Recording {
    /// Creations, opens and closes of handles, by process.
    Handles(HandleTrace),
    /// Allocations, resizes and frees of blocks, by thread.
    Allocations(AllocationTrace),
}

/// The source of a recording: compiled into this program, or a file.
///
/// The text form (`builtin:gcc`, or a path) is passed to workers on their command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// One of [`BUILTIN`], by its position.
    Builtin(usize),
    /// A file, gzipped or plain.
    File(PathBuf),
}

/// The recordings that are compiled into the program, in the order in which the demo lists them.
pub const BUILTIN: [(&str, &[u8]); 4] = [
    ("build-handles", include_bytes!("../build-handles.trace.gz")),
    ("sqlite", include_bytes!("../sqlite.trace.gz")),
    ("gcc", include_bytes!("../gcc.trace.gz")),
    ("two-threads", include_bytes!("../two-threads.trace.gz")),
];

const BUILTIN_PREFIX: &str = "builtin:";

impl Source {
    /// All recordings that are compiled into the program.
    pub fn builtin() -> Vec<Source> {
        (0..BUILTIN.len()).map(Source::Builtin).collect()
    }

    /// A short name for tables.
    pub fn title(&self) -> String {
        match self {
            Source::Builtin(index) => BUILTIN[*index].0.to_owned(),
            Source::File(path) => {
                let name = path.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned());
                name.trim_end_matches(".gz").trim_end_matches(".trace").to_owned()
            }
        }
    }

    /// Reads, checks and converts the recording.
    ///
    /// # Errors
    /// [`TraceError`], naming file and line, what was expected and what was found.
    pub fn read(&self) -> Result<Recording, TraceError> {
        let name = self.to_string();
        match self {
            Source::Builtin(index) => parse(&name, BUILTIN[*index].1),
            Source::File(path) => {
                let file =
                    File::open(path).map_err(|error| TraceError::Open { path: path.clone(), error })?;
                parse(&name, BufReader::with_capacity(1 << 16, file))
            }
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Builtin(index) => write!(f, "{BUILTIN_PREFIX}{}", BUILTIN[*index].0),
            Source::File(path) => write!(f, "{}", path.display()),
        }
    }
}

impl FromStr for Source {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some(name) = text.strip_prefix(BUILTIN_PREFIX) else {
            return Ok(Source::File(PathBuf::from(text)));
        };
        let known = || BUILTIN.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
        let index = BUILTIN.iter().position(|(known, _)| *known == name);
        index.map(Source::Builtin).ok_or_else(|| format!("expected one of {}, found {name:?}", known()))
    }
}

/// Reads a recording of either format; `name` is used in errors.
///
/// # Errors
/// [`TraceError`], naming the line, what was expected and what was found.
pub fn parse(name: &str, input: impl BufRead) -> Result<Recording, TraceError> {
    let mut lines = Lines::open(name, input)?;
    if !lines.advance()? {
        return Err(lines.malformed(FIRST_LINES, "an empty file"));
    }
    let first = lines.line();
    if first.starts_with(handles::FIRST_LINE) {
        return handles::parse(lines).map(Recording::Handles);
    }
    if first.starts_with(allocations::FIRST_LINE) {
        return allocations::parse(lines).map(Recording::Allocations);
    }
    let found = format!("{first:?}");
    Err(lines.malformed(FIRST_LINES, found))
}

const FIRST_LINES: &str = "a first line starting with \"# handle trace v1\" or \"# allocation trace v1\"";
