//! The command line.

use std::time::Duration;

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
    /// Print one JSON object, for scripts; also for errors and refusals. docs/guide.md has its members.
    #[arg(long, global = true)]
    pub json: bool,
}

const EXIT_CODES: &str = "\
Exit status: 0 all is well; 1 a check is not clean, or the answer cannot be written; 2 a refusal, nothing was done (usage, no such segment, members that
are alive).";

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the named segments of this user, or what is in one.
    #[command(args_conflicts_with_subcommands = true)]
    Ls {
        /// What to list.
        #[command(subcommand)]
        what: Option<List>,
        /// When to repeat it.
        #[command(flatten)]
        watch: Watch,
    },
    /// Show the members, handles and memory in use in a segment, without joining it.
    Stat {
        /// Segment to look at.
        #[command(flatten)]
        look: Look,
        /// Print metrics in the text format of Prometheus.
        #[arg(long, conflicts_with_all = ["json", "watch"])]
        prometheus: bool,
    },
    /// Show a segment live: members, locks, queues, handles, memory and deaths, without joining it. `q` quits.
    ///
    /// Without a terminal it prints one frame after the other.
    Top {
        /// Segment to look at.
        #[command(flatten)]
        name: Name,
        /// Seconds between two looks.
        #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = seconds)]
        every: Duration,
        /// Print one frame as text and end; with --json, what is in it.
        #[arg(long)]
        once: bool,
    },
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

impl Command {
    /// Its name, as it is typed.
    pub(crate) const fn word(&self) -> &'static str {
        match self {
            Self::Ls { what: None, .. } => "ls",
            Self::Ls { what: Some(List::Handles(_)), .. } => "ls handles",
            Self::Ls { what: Some(List::Blocks(_)), .. } => "ls blocks",
            Self::Stat { .. } => "stat",
            Self::Top { .. } => "top",
            Self::Names(_) => "names",
            Self::Slots(_) => "slots",
            Self::Check(_) => "check",
            Self::Recover(_) => "recover",
            Self::Rm { .. } => "rm",
        }
    }

    /// The segment that it is about.
    pub(crate) const fn space(&self) -> Option<&Name> {
        match self {
            Self::Ls { what: None, .. } => None,
            Self::Ls { what: Some(List::Handles(each) | List::Blocks(each)), .. } => Some(&each.look.name),
            Self::Stat { look, .. } | Self::Names(look) | Self::Slots(look) | Self::Check(look) => {
                Some(&look.name)
            }
            Self::Recover(name) | Self::Rm { name, .. } | Self::Top { name, .. } => Some(name),
        }
    }

    /// How long to wait until it is done again; `None`: it is done once.
    pub(crate) fn every(&self) -> Option<Duration> {
        let watch = match self {
            Self::Ls { what: None, watch } => watch,
            Self::Ls { what: Some(List::Handles(each) | List::Blocks(each)), .. } => &each.look.watch,
            Self::Stat { look, .. } | Self::Names(look) | Self::Slots(look) | Self::Check(look) => {
                &look.watch
            }
            Self::Recover(_) | Self::Rm { .. } | Self::Top { .. } => return None,
        };
        watch.watch
    }
}

/// What a segment has, to be listed.
#[derive(Debug, Subcommand)]
pub enum List {
    /// The handles in a segment, counted by kind and owner, without joining it.
    Handles(Each),
    /// The blocks in a segment, counted by kind and owner, without joining it.
    Blocks(Each),
}

/// The segment to look at, and whether to count.
#[derive(Debug, Args)]
pub struct Each {
    /// Segment to look at.
    #[command(flatten)]
    pub look: Look,
    /// List each one, instead of their numbers.
    #[arg(long)]
    pub each: bool,
}

/// When to repeat a command.
#[derive(Debug, Args)]
pub struct Watch {
    /// Do it again every so many seconds, until it is interrupted; every 2 without a number. With --json each answer is one line.
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "2", value_parser = seconds)]
    pub watch: Option<Duration>,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let number = text.parse().map_err(|_| format!("expected a number of seconds, found {text:?}"))?;
    Duration::try_from_secs_f64(number).map_err(|error| error.to_string())
}

/// The segment to work on.
#[derive(Debug, Args)]
pub struct Name {
    /// Name of the segment; for the backend `file`, its path. For a segment without a name, the path of a descriptor of it:
    /// /proc/PID/fd/N, of a process that has it open.
    pub name: String,
    /// Backend: shm, sysv or file.
    #[arg(long, default_value = "shm")]
    pub backend: Backend,
}

impl Name {
    /// Attaches to the segment without joining.
    pub(crate) fn attach(&self) -> Result<Space, AttachError> {
        // No name of shared memory contains a slash.
        let is_descriptor = self.backend == Backend::Shm && self.name.starts_with("/proc/");
        let backend = if is_descriptor { Backend::Memfd } else { self.backend };
        attach(backend, &self.name, Space::options())
    }
}

/// The segment to look at.
#[derive(Debug, Args)]
pub struct Look {
    /// Segment to look at.
    #[command(flatten)]
    pub name: Name,
    /// When to repeat it.
    #[command(flatten)]
    pub watch: Watch,
}
