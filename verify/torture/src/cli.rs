//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use tenure::Backend;
use tenure_traces::Source;

use crate::demo::Plan;
use crate::negative_control::NegativeControl;
use crate::torture;
use crate::worker::Orders;

/// Processes that share segments are killed and stopped, and lose nothing: the demo, recordings to replay, and torture.
#[derive(Debug, Parser)]
#[command(name = "torture", version, after_help = EXIT_CODES)]
pub struct Cli {
    /// What to do; without it, the demo.
    #[command(subcommand)]
    pub command: Option<Command>,
}

const EXIT_CODES: &str = "\
Exit status: 0 all is well; 1 something is wrong (something lost, leaked, mixed up or stuck); 2 a refusal, nothing was done
(usage, no segment can be made); 130 interrupted.";

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Replay recordings on a segment of their own, with real processes that are killed and stopped.
    Replay(Replay),
    /// Replay the built-in recordings with processes that are killed and stopped.
    Demo(Demo),
    /// Random operations on several segments at once by processes that are killed, stopped, forked and replaced: on handles,
    /// blocks, names, files, processes, and on mutexes, events and semaphores that all of them wait for.
    Torture(Torture),
    /// A member of a torture; started by it.
    #[command(hide = true)]
    Tortured(torture::Orders),
    /// The crowd of a torture; started by it.
    #[command(hide = true)]
    Crowd(torture::CrowdOrders),
    /// The comparison at the end of the demo; started by it, because it forks.
    #[command(hide = true)]
    Compare,
    /// One who owns, or waits for, the mutex of the demo; started by it.
    #[command(hide = true)]
    Mutex(crate::demo::owners::Orders),
    /// A worker of a run; started by the run.
    #[command(hide = true)]
    Worker(Orders),
}

/// What all runs have in common.
#[derive(Debug, Args)]
pub struct Run {
    /// Worker processes at any time.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=120))]
    pub workers: u16,
    /// Workers to stop for a while and continue, one at a time; half as many as are killed unless given.
    #[arg(long)]
    pub stops: Option<u32>,
    /// What everything random follows from; another one every time unless given.
    #[arg(long)]
    pub seed: Option<u64>,
    /// shm, file, memfd or sysv.
    #[arg(long, default_value = "shm")]
    pub backend: Backend,
    /// For scripts; no progress is shown.
    #[arg(long)]
    pub json: bool,
    /// Seconds without a sign of life after which the run is called stuck.
    #[arg(long, hide = true, default_value_t = 30.0)]
    pub patience: f64,
    /// Make the workers do something wrong.
    #[arg(long, hide = true)]
    pub negative_control: Option<NegativeControl>,
}

/// Arguments of `demo`.
#[derive(Debug, Args)]
pub struct Demo {
    /// How long, in seconds; every recording is replayed at least once in any case.
    #[arg(long, default_value_t = 12.0)]
    pub seconds: f64,
    /// Workers to kill.
    #[arg(long, default_value_t = 40)]
    pub kills: u32,
    /// The rest.
    #[command(flatten)]
    pub run: Run,
}

/// Arguments of `replay`.
#[derive(Debug, Args)]
pub struct Replay {
    /// Recordings of either format, gzipped or plain.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// How long, in seconds; every recording is replayed at least once in any case.
    #[arg(long, default_value_t = 2.0)]
    pub seconds: f64,
    /// Workers to kill.
    #[arg(long, default_value_t = 0)]
    pub kills: u32,
    /// The rest.
    #[command(flatten)]
    pub run: Run,
}

/// Arguments of `torture`.
#[derive(Debug, Args)]
pub struct Torture {
    /// How long, in seconds.
    #[arg(long, default_value_t = 10.0)]
    pub seconds: f64,
    /// Instead: until every place for a member has seen so many operations. No clock decides anything then.
    #[arg(long, conflicts_with = "seconds")]
    pub operations: Option<u64>,
    /// Member processes at any time.
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u16).range(1..=30))]
    pub members: u16,
    /// What all choices follow from; another one every time unless given.
    #[arg(long)]
    pub seed: Option<u64>,
    /// A segment in this backend: shm, file, memfd or sysv; can be given several times. Every other segment is tight.
    #[arg(long, default_values = ["shm", "memfd", "file", "sysv", "memfd", "shm"])]
    pub backend: Vec<Backend>,
    /// Crowds only: many recoverers of the same dead at once, twice as many as members at most, and exact books. Otherwise
    /// they have the last tenth of the time.
    #[arg(long)]
    pub crowd: bool,
    /// For scripts.
    #[arg(long)]
    pub json: bool,
    /// Seconds without a sign of life after which the run is called stuck.
    #[arg(long, hide = true, default_value_t = 60.0)]
    pub patience: f64,
    /// Make the members do something wrong.
    #[arg(long, hide = true)]
    pub negative_control: Option<NegativeControl>,
}

/// The most seconds a run may be told to last.
const SECONDS_MAX: f64 = 30.0 * 24.0 * 3600.0;

fn duration(what: &str, seconds: f64) -> Result<Duration, String> {
    match Duration::try_from_secs_f64(seconds) {
        Ok(duration) if seconds <= SECONDS_MAX => Ok(duration),
        _ => Err(format!("{what}: expected 0 to {SECONDS_MAX} seconds, found {seconds}")),
    }
}

impl Torture {
    /// As a plan.
    ///
    /// # Errors
    /// A number out of range.
    pub fn plan(&self) -> Result<torture::Plan, String> {
        Ok(torture::Plan {
            backends: self.backend.clone(),
            members: self.members.into(),
            duration: duration("--seconds", self.seconds)?,
            operations: self.operations,
            seed: self.seed.unwrap_or_else(rand::random),
            patience: duration("--patience", self.patience)?,
            negative_control: self.negative_control,
            quiet: self.json,
            crowd: self.crowd,
        })
    }
}

impl Run {
    fn plan(&self, sources: Vec<Source>, seconds: f64, kills: u32) -> Result<Plan, String> {
        Ok(Plan {
            sources,
            backend: self.backend,
            workers: self.workers.into(),
            duration: duration("--seconds", seconds)?,
            kills,
            stops: self.stops.unwrap_or(kills / 2),
            seed: self.seed.unwrap_or_else(rand::random),
            gifts: false,
            timing: false,
            patience: duration("--patience", self.patience)?,
            negative_control: self.negative_control,
            quiet: self.json,
        })
    }
}

impl Demo {
    /// What `demo` does when nothing is said.
    pub fn by_default() -> Self {
        match Cli::parse_from(["torture", "demo"]).command {
            Some(Command::Demo(demo)) => demo,
            other => unreachable!("parsed demo as {other:?}"),
        }
    }

    /// As a plan.
    ///
    /// # Errors
    /// A number out of range.
    pub fn plan(&self) -> Result<Plan, String> {
        let plan = self.run.plan(Source::builtin(), self.seconds, self.kills)?;
        Ok(Plan { gifts: true, timing: true, ..plan })
    }
}

impl Replay {
    /// As a plan.
    ///
    /// # Errors
    /// A number out of range.
    pub fn plan(&self) -> Result<Plan, String> {
        let sources = self.files.iter().cloned().map(Source::File).collect();
        self.run.plan(sources, self.seconds, self.kills)
    }
}
