//! Lines of a recording, bounded in length and number, with the place for errors.

use std::io::{BufRead, BufReader, Read};

use flate2::bufread::MultiGzDecoder;

use super::error::{Place, TraceError};

/// Maximum accepted length of a line, in bytes.
pub const LINE_BYTES_MAX: usize = 256;

/// Maximum accepted number of lines.
pub const LINES_MAX: u64 = 8 << 20;

const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// Reads one line at a time.
pub(super) struct Lines<'a> {
    input: Box<dyn BufRead + 'a>,
    place: Place,
    buffer: Vec<u8>,
}

impl<'a> Lines<'a> {
    /// Looks at the first bytes to tell gzip from plain text.
    pub(super) fn open(name: &str, mut input: impl BufRead + 'a) -> Result<Self, TraceError> {
        let place = Place { file: name.to_owned(), line: 1 };
        let gzipped = match input.fill_buf() {
            Ok(start) => start.starts_with(&GZIP_MAGIC),
            Err(error) => return Err(TraceError::Read { place, error }),
        };
        let input: Box<dyn BufRead + 'a> = if gzipped {
            Box::new(BufReader::with_capacity(1 << 16, MultiGzDecoder::new(input)))
        } else {
            Box::new(input)
        };
        Ok(Self { input, place: Place { line: 0, ..place }, buffer: Vec::new() })
    }

    /// Moves to the next line that is not blank; false at the end. Comments count as lines.
    pub(super) fn advance(&mut self) -> Result<bool, TraceError> {
        loop {
            self.place.line += 1;
            if self.place.line > LINES_MAX {
                return Err(self.malformed(format!("at most {LINES_MAX} lines"), "more"));
            }
            self.buffer.clear();
            let limit = LINE_BYTES_MAX as u64 + 1;
            let read = (&mut self.input).take(limit).read_until(b'\n', &mut self.buffer);
            let read_bytes = read.map_err(|error| TraceError::Read { place: self.place.clone(), error })?;
            if read_bytes == 0 {
                return Ok(false);
            }
            if read_bytes > LINE_BYTES_MAX {
                return Err(
                    self.malformed(format!("a line of at most {LINE_BYTES_MAX} bytes"), "a longer one")
                );
            }
            if str::from_utf8(&self.buffer).is_err() {
                return Err(self.malformed("text", "bytes that are not UTF-8"));
            }
            if !self.buffer.trim_ascii().is_empty() {
                return Ok(true);
            }
        }
    }

    /// The current line without surrounding space.
    pub(super) fn line(&self) -> &str {
        str::from_utf8(&self.buffer).unwrap_or_default().trim_ascii()
    }

    /// Moves to the next line that is neither blank nor a comment and splits it at spaces; `None` at the end.
    pub(super) fn next_fields(&mut self) -> Result<Option<Fields<'_>>, TraceError> {
        while self.advance()? {
            if self.buffer.trim_ascii_start().first() != Some(&b'#') {
                return Ok(Some(Fields::split(self.line(), &self.place)));
            }
        }
        Ok(None)
    }

    pub(super) fn name(&self) -> &str {
        &self.place.file
    }

    pub(super) fn malformed(&self, expected: impl Into<String>, found: impl Into<String>) -> TraceError {
        TraceError::Malformed { place: self.place.clone(), expected: expected.into(), found: found.into() }
    }
}

/// One line, taken apart.
pub(super) struct Fields<'a> {
    /// The first word.
    pub(super) verb: &'a str,
    line: &'a str,
    arguments: [&'a str; ARGUMENTS_MAX],
    count: usize,
    place: &'a Place,
}

const ARGUMENTS_MAX: usize = 3;

impl<'a> Fields<'a> {
    fn split(line: &'a str, place: &'a Place) -> Self {
        let mut words = line.split_ascii_whitespace();
        let verb = words.next().unwrap_or_default();
        let mut arguments = [""; ARGUMENTS_MAX];
        let mut count = 0;
        for word in words {
            if let Some(argument) = arguments.get_mut(count) {
                *argument = word;
            }
            count += 1;
        }
        Self { verb, line, arguments, count, place }
    }

    /// The arguments as numbers; `shape` describes the expected line.
    pub(super) fn numbers<const N: usize>(&self, shape: &str) -> Result<[u64; N], TraceError> {
        self.words::<N>(shape)?;
        self.leading(shape)
    }

    /// The first `N` arguments as numbers; more arguments may follow.
    pub(super) fn leading<const N: usize>(&self, shape: &str) -> Result<[u64; N], TraceError> {
        let mut numbers = [0; N];
        for (number, word) in numbers.iter_mut().zip(self.arguments) {
            *number = word.parse().map_err(|_| self.malformed(self.shape(shape), self.quoted()))?;
        }
        Ok(numbers)
    }

    /// Exactly `N` arguments.
    pub(super) fn words<const N: usize>(&self, shape: &str) -> Result<[&'a str; N], TraceError> {
        const { assert!(N <= ARGUMENTS_MAX) };
        if self.count != N {
            return Err(self.malformed(self.shape(shape), self.quoted()));
        }
        let mut words = [""; N];
        words.copy_from_slice(&self.arguments[..N]);
        Ok(words)
    }

    pub(super) fn malformed(&self, expected: impl Into<String>, found: impl Into<String>) -> TraceError {
        TraceError::Malformed { place: self.place.clone(), expected: expected.into(), found: found.into() }
    }

    pub(super) fn quoted(&self) -> String {
        format!("{:?}", self.line)
    }

    fn shape(&self, shape: &str) -> String {
        format!("\"{shape}\" with numbers up to 2^64 - 1")
    }
}
