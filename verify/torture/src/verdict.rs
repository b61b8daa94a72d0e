//! The errors of a run, counted and described.

use std::fmt;

use serde::{Deserialize, Serialize};
use tenure::{Space, Stats};

/// Maximum number of descriptions kept; further errors are only counted.
const NOTES_MAX: usize = 40;

/// The kind of an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Wrong {
    /// A held resource is gone.
    Lost,
    /// A resource that nobody holds still exists.
    Leaked,
    /// The bytes or the answer belong to another resource.
    MixedUp,
    /// An operation failed that must succeed.
    Refused,
}

/// An error that a process found: its kind and a description.
pub type Trouble = (Wrong, String);

/// Error counts; all must be zero at the end.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// Number of handles that were held and are gone.
    pub lost: u64,
    /// Number of handles and blocks that nobody held and that still existed.
    pub leaked: u64,
    /// Number of payloads, blocks or tokens with wrong contents.
    pub mixed_up: u64,
    /// Number of operations that failed and must not fail.
    pub refused: u64,
    /// Number of workers or reclaims that did not finish.
    pub stuck: u64,
    /// Number of workers that ended although the run did not kill them.
    pub died: u64,
    /// Number of violations that `check()` found in the quiet segment at the end.
    pub violations: u64,
    /// Descriptions of the errors.
    pub notes: Vec<String>,
    /// Whether the user ended the run.
    pub interrupted: bool,
}

impl Verdict {
    /// The number of all errors.
    pub fn total(&self) -> u64 {
        let Self { lost, leaked, mixed_up, refused, stuck, died, violations, .. } = self;
        [lost, leaked, mixed_up, refused, stuck, died, violations].into_iter().sum()
    }

    /// Whether there is no error.
    pub fn is_clean(&self) -> bool {
        self.total() == 0 && !self.interrupted
    }

    /// Writes the errors and the seed of the run; nothing when there are none.
    pub(crate) fn describe(&self, f: &mut fmt::Formatter<'_>, seed: u64) -> fmt::Result {
        if self.is_clean() {
            return Ok(());
        }
        let Self { lost, leaked, mixed_up, refused, stuck, died, violations, notes, interrupted } = self;
        let ended = if *interrupted { "INTERRUPTED" } else { "FAILED" };
        writeln!(
            f,
            "\n{ended} (seed {seed}): lost {lost}, leaked {leaked}, mixed up {mixed_up}, refused {refused}, stuck {stuck}, \
             died {died}, violations {violations}"
        )?;
        notes.iter().try_for_each(|note| writeln!(f, "  {note}"))
    }

    /// Adds the errors that another process found.
    pub(crate) fn add(&mut self, other: Self) {
        let Self { lost, leaked, mixed_up, refused, stuck, died, violations, notes, interrupted } = other;
        let sums = [
            (&mut self.lost, lost),
            (&mut self.leaked, leaked),
            (&mut self.mixed_up, mixed_up),
            (&mut self.refused, refused),
            (&mut self.stuck, stuck),
            (&mut self.died, died),
            (&mut self.violations, violations),
        ];
        sums.into_iter().for_each(|(sum, more)| *sum += more);
        self.notes.extend(notes);
        self.notes.truncate(NOTES_MAX);
        self.interrupted |= interrupted;
    }

    /// Checks every word of `space`, after all members have left.
    pub(crate) fn last_look(&mut self, about: &str, space: &Space) -> Stats {
        let report = space.check();
        for violation in report.violations {
            self.violation(format!("{about}: {violation}"));
        }
        for pending in report.pending {
            self.violation(format!("{about}: pending although nobody is left: {pending}"));
        }
        report.stats
    }

    pub(crate) fn wrong(&mut self, what: Wrong, text: impl Into<String>) {
        match what {
            Wrong::Lost => self.lost(text),
            Wrong::Leaked => self.leaked(1, text),
            Wrong::MixedUp => self.mixed_up(text),
            Wrong::Refused => self.refused(text),
        }
    }

    pub(crate) fn lost(&mut self, text: impl Into<String>) {
        self.lost += 1;
        self.note("lost", text);
    }

    pub(crate) fn leaked(&mut self, count: u64, text: impl Into<String>) {
        self.leaked += count;
        self.note("leaked", text);
    }

    pub(crate) fn mixed_up(&mut self, text: impl Into<String>) {
        self.mixed_up += 1;
        self.note("mixed up", text);
    }

    pub(crate) fn refused(&mut self, text: impl Into<String>) {
        self.refused += 1;
        self.note("refused", text);
    }

    pub(crate) fn stuck(&mut self, text: impl Into<String>) {
        self.stuck += 1;
        self.note("stuck", text);
    }

    pub(crate) fn died(&mut self, text: impl Into<String>) {
        self.died += 1;
        self.note("died", text);
    }

    pub(crate) fn violation(&mut self, text: impl Into<String>) {
        self.violations += 1;
        self.note("violation", text);
    }

    pub(crate) fn note(&mut self, what: &str, text: impl Into<String>) {
        if self.notes.len() < NOTES_MAX {
            self.notes.push(format!("{what}: {}", text.into()));
        }
    }
}
