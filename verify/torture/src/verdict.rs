//! What went wrong, counted and described.

use std::fmt;

use serde::{Deserialize, Serialize};
use tenure::{Space, Stats};

/// How many descriptions are kept; more are only counted.
const NOTES_MAX: usize = 40;

/// Sorts of wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Wrong {
    /// Something that was held is gone.
    Lost,
    /// Something that nobody held is still there.
    Leaked,
    /// Bytes or answers are somebody else's.
    MixedUp,
    /// An error where there must be none.
    Refused,
}

/// What a process found that must never be, in words.
pub type Trouble = (Wrong, String);

/// Everything that must be zero at the end.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// Handles that somebody held and that were gone.
    pub lost: u64,
    /// Handles and blocks that nobody held and that were still there.
    pub leaked: u64,
    /// Payloads, blocks or tokens that were not what they should be.
    pub mixed_up: u64,
    /// Operations that answered with an error they should not answer.
    pub refused: u64,
    /// Workers or reclaims that did not come to an end.
    pub stuck: u64,
    /// Workers that ended although nobody killed them.
    pub died: u64,
    /// What `check()` found in the quiet segment at the end.
    pub violations: u64,
    /// What happened, in words.
    pub notes: Vec<String>,
    /// Somebody ended the run.
    pub interrupted: bool,
}

impl Verdict {
    /// Everything that went wrong, whatever its kind.
    pub fn total(&self) -> u64 {
        let Self { lost, leaked, mixed_up, refused, stuck, died, violations, .. } = self;
        [lost, leaked, mixed_up, refused, stuck, died, violations].into_iter().sum()
    }

    /// Nothing went wrong?
    pub fn is_clean(&self) -> bool {
        self.total() == 0 && !self.interrupted
    }

    /// What went wrong, and the seed of the run; nothing when it is clean.
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

    /// Adds what another process found.
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

    /// Checks every word of `space`, which everybody has left.
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
