//! The command line.

use clap::{Args, Parser, Subcommand};
use tenure::{Backend, Space};

use crate::attach::{AttachError, attach};

/// Inspect, check and clean segments of handles and scratch memory.
#[derive(Debug, Parser)]
#[command(name = "tenure", version, after_help = EXIT_CODES)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const EXIT_CODES: &str = "\
Exit status: 0 all is well; 1 a check is not clean; 2 a refusal, nothing was done (usage, no such segment, members that
are alive).";

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the named segments of this user.
    Ls {
        /// For scripts.
        #[arg(long)]
        json: bool,
    },
    /// Show what is in use in a segment, without joining it.
    Stat(Look),
    /// List the names in a segment and what has them, without joining it.
    Names(Look),
    /// Check every word of a segment, without joining it.
    Check(Look),
    /// Join a segment and take back what dead members left behind.
    Recover(Name),
    /// Remove a segment; refused while it has living members.
    Rm {
        /// Which.
        #[command(flatten)]
        name: Name,
        /// Even while members live; they keep what they have.
        #[arg(long)]
        force: bool,
    },
}

/// Which segment.
#[derive(Debug, Args)]
pub struct Name {
    /// Its name; for the backend `file`, its path.
    pub name: String,
    /// shm, sysv or file.
    #[arg(long, default_value = "shm")]
    pub backend: Backend,
}

impl Name {
    /// Attaches to it without joining.
    pub(crate) fn attach(&self) -> Result<Space, AttachError> {
        attach(self.backend, &self.name, Space::options())
    }
}

/// Which segment, and for whom.
#[derive(Debug, Args)]
pub struct Look {
    /// Which.
    #[command(flatten)]
    pub name: Name,
    /// For scripts.
    #[arg(long)]
    pub json: bool,
}
