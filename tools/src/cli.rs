//! The command line.

use clap::{Args, Parser, Subcommand};
use tenure::{Backend, Space};

use crate::attach::{AttachError, attach};

/// Inspect, check and clean segments of handles and scratch memory.
#[derive(Debug, Parser)]
#[command(name = "tenure", version, after_help = EXIT_CODES)]
pub struct Cli {
    /// Command to run.
    #[command(subcommand)]
    pub command: Command,
}

const EXIT_CODES: &str = "\
Exit status: 0 all is well; 1 a check is not clean, or the answer cannot be written; 2 a refusal, nothing was done (usage, no such segment, members that
are alive).";

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the named segments of this user.
    Ls {
        /// Print JSON, for scripts.
        #[arg(long)]
        json: bool,
    },
    /// Show the members, handles and memory in use in a segment, without joining it.
    Stat(Look),
    /// List the names in a segment and the members that have them, without joining it.
    Names(Look),
    /// List what is in the slots of a segment, without joining it.
    Slots(Look),
    /// Check every word of a segment, without joining it.
    Check(Look),
    /// Join a segment and take back the resources of dead members.
    Recover(Name),
    /// Remove a segment; refused while it has living members.
    Rm {
        /// Segment to remove.
        #[command(flatten)]
        name: Name,
        /// Remove it even while members live; they keep their handles and blocks.
        #[arg(long)]
        force: bool,
    },
}

/// The segment to work on.
#[derive(Debug, Args)]
pub struct Name {
    /// Name of the segment; for the backend `file`, its path.
    pub name: String,
    /// Backend: shm, sysv or file.
    #[arg(long, default_value = "shm")]
    pub backend: Backend,
}

impl Name {
    /// Attaches to the segment without joining.
    pub(crate) fn attach(&self) -> Result<Space, AttachError> {
        attach(self.backend, &self.name, Space::options())
    }
}

/// The segment to look at, and the output format.
#[derive(Debug, Args)]
pub struct Look {
    /// Segment to look at.
    #[command(flatten)]
    pub name: Name,
    /// Print JSON, for scripts.
    #[arg(long)]
    pub json: bool,
}
