//! The answer of a command, for a reader and for a script.

use serde::Serialize;
use serde_json::Value;

use crate::exit::Exit;

/// What a command has found.
#[derive(Debug)]
pub(crate) struct Shown {
    /// For a reader.
    pub(crate) text: String,
    /// For a script.
    pub(crate) data: Value,
    /// Whether all is well.
    pub(crate) exit: Exit,
}

impl Shown {
    pub(crate) fn well(text: String, data: Value) -> Self {
        Self { text, data, exit: Exit::Well }
    }
}

/// What a command has found, or the reason why it was refused.
pub(crate) type Finding = Result<Shown, Box<dyn std::error::Error + Send + Sync>>;

/// The JSON object of every command. docs/guide.md describes it; a change of the meaning of a member is another version.
#[derive(Debug, Serialize)]
pub(crate) struct Document<'a> {
    pub(crate) version: u32,
    pub(crate) command: Option<&'a str>,
    pub(crate) space: Option<&'a str>,
    pub(crate) status: u8,
    pub(crate) error: Option<String>,
    pub(crate) data: Option<&'a Value>,
}

impl Document<'_> {
    const VERSION: u32 = 1;

    /// The document about a finding of `command`, in one line or in several.
    pub(crate) fn about(command: &str, space: Option<&str>, finding: &Finding, is_line: bool) -> String {
        let (exit, error, data) = match finding {
            Ok(shown) => (shown.exit, None, Some(&shown.data)),
            Err(error) => (Exit::Refused, Some(crate::exit::in_full(&**error)), None),
        };
        let command = Some(command);
        Document { version: Self::VERSION, command, space, status: exit.status(), error, data }.print(is_line)
    }

    /// The document about a command line that is none.
    pub(crate) fn misuse(error: String) -> String {
        let status = Exit::Refused.status();
        let error = Some(error);
        Document { version: Self::VERSION, command: None, space: None, status, error, data: None }
            .print(false)
    }

    fn print(&self, is_line: bool) -> String {
        let text = if is_line { serde_json::to_string(self) } else { serde_json::to_string_pretty(self) };
        text.expect("numbers, texts and values of JSON") + "\n"
    }
}
