//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use tenure::Backend;
use tenure_traces::Source;

use crate::driver::{Plan, Random, Replayed, Work};
use crate::negative_control::NegativeControl;
use crate::torture;
use crate::worker::Orders;

/// Kill and stop processes that share segments, and check that they lose nothing: demo, replay of recordings, torture.
#[derive(Debug, Parser)]
#[command(name = "torture", version, after_help = EXIT_CODES)]
pub struct Cli {
    /// Command to run; the default is the demo.
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
    /// A member process of a torture run; started by the run.
    #[command(hide = true)]
    Tortured(torture::Orders),
    /// The crowd process of a torture run; started by the run.
    #[command(hide = true)]
    Crowd(torture::CrowdOrders),
    /// The comparison at the end of the demo, in a separate process because it forks; started by the demo.
    #[command(hide = true)]
    Compare,
    /// A process that owns the mutex of the demo or waits for it; started by the demo.
    #[command(hide = true)]
    Mutex(crate::replay::owners::Orders),
    /// A worker of a run; started by the run.
    #[command(hide = true)]
    Worker(Orders),
}

/// Options of all runs.
#[derive(Debug, Args)]
pub struct Run {
    /// Seed of all random choices; by default a new one for every run.
    #[arg(long)]
    pub seed: Option<u64>,
    /// Print JSON, for scripts; no progress is shown.
    #[arg(long)]
    pub json: bool,
    /// Seconds without a sign of life after which the run is reported as stuck; by default 30, and 60 for `torture`.
    #[arg(long, hide = true)]
    pub patience: Option<f64>,
    /// Negative control: make the processes do something wrong.
    #[arg(long, hide = true)]
    pub negative_control: Option<NegativeControl>,
}

/// Options of `demo` and `replay`.
#[derive(Debug, Args)]
pub struct Workers {
    /// Number of worker processes at any time.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=120))]
    pub workers: u16,
    /// Number of workers to stop for a while and continue, one at a time; by default half of `--kills`.
    #[arg(long)]
    pub stops: Option<u32>,
    /// Backend: shm, file, memfd or sysv.
    #[arg(long, default_value = "shm")]
    pub backend: Backend,
    /// Options of all runs.
    #[command(flatten)]
    pub run: Run,
}

/// Arguments of `demo`.
#[derive(Debug, Args)]
pub struct Demo {
    /// Duration in seconds; every recording is replayed at least once in any case.
    #[arg(long, default_value_t = 12.0)]
    pub seconds: f64,
    /// Number of workers to kill.
    #[arg(long, default_value_t = 40)]
    pub kills: u32,
    /// The workers.
    #[command(flatten)]
    pub workers: Workers,
}

/// Arguments of `replay`.
#[derive(Debug, Args)]
pub struct Replay {
    /// Recordings of either format, gzipped or plain.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Duration in seconds; every recording is replayed at least once in any case.
    #[arg(long, default_value_t = 2.0)]
    pub seconds: f64,
    /// Number of workers to kill.
    #[arg(long, default_value_t = 0)]
    pub kills: u32,
    /// The workers.
    #[command(flatten)]
    pub workers: Workers,
}

/// Arguments of `torture`.
#[derive(Debug, Args)]
pub struct Torture {
    /// Duration in seconds.
    #[arg(long, default_value_t = 10.0)]
    pub seconds: f64,
    /// Run until every seat has done this number of operations, instead of for a time. No clock decides anything then.
    #[arg(long, conflicts_with = "seconds")]
    pub operations: Option<u64>,
    /// Number of member processes at any time.
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u16).range(1..=30))]
    pub members: u16,
    /// Backend of a segment: shm, file, memfd or sysv; can be given several times. Every other segment is tight.
    #[arg(long, default_values = ["shm", "memfd", "file", "sysv", "memfd", "shm"])]
    pub backend: Vec<Backend>,
    /// Crowds only: many recoverers of the same dead members at once (at most twice the number of members), and exact
    /// books. Otherwise crowds run in the last tenth of the time.
    #[arg(long)]
    pub crowd: bool,
    /// Options of all runs.
    #[command(flatten)]
    pub run: Run,
}

/// Maximum duration of a run, in seconds.
const SECONDS_MAX: f64 = 30.0 * 24.0 * 3600.0;

fn duration(what: &str, seconds: f64) -> Result<Duration, String> {
    match Duration::try_from_secs_f64(seconds) {
        Ok(duration) if seconds <= SECONDS_MAX => Ok(duration),
        _ => Err(format!("{what}: expected 0 to {SECONDS_MAX} seconds, found {seconds}")),
    }
}

impl Run {
    /// A plan with these options; `patience` is the default, in seconds.
    fn plan(
        &self,
        seconds: f64,
        patience: f64,
        backends: Vec<Backend>,
        processes: u16,
        work: Work,
    ) -> Result<Plan, String> {
        Ok(Plan {
            backends,
            processes: processes.into(),
            duration: duration("--seconds", seconds)?,
            seed: self.seed.unwrap_or_else(rand::random),
            patience: duration("--patience", self.patience.unwrap_or(patience))?,
            negative_control: self.negative_control,
            quiet: self.json,
            work,
        })
    }
}

impl Workers {
    fn plan(&self, seconds: f64, replayed: Replayed) -> Result<Plan, String> {
        let stops = self.stops.unwrap_or(replayed.kills / 2);
        let work = Work::Replay(Replayed { stops, ..replayed });
        self.run.plan(seconds, 30.0, vec![self.backend], self.workers, work)
    }
}

impl Torture {
    /// Converts the arguments to a plan.
    ///
    /// # Errors
    /// A number is out of range.
    pub fn plan(&self) -> Result<Plan, String> {
        let work = Work::Random(Random { operations: self.operations, crowd: self.crowd });
        self.run.plan(self.seconds, 60.0, self.backend.clone(), self.members, work)
    }
}

impl Demo {
    /// The arguments of `demo` when none are given.
    pub fn by_default() -> Self {
        match Cli::parse_from(["torture", "demo"]).command {
            Some(Command::Demo(demo)) => demo,
            other => unreachable!("parsed demo as {other:?}"),
        }
    }

    /// Converts the arguments to a plan: a replay of the built-in recordings, with gifts and a comparison.
    ///
    /// # Errors
    /// A number is out of range.
    pub fn plan(&self) -> Result<Plan, String> {
        let sources = Source::builtin();
        self.workers
            .plan(self.seconds, Replayed { sources, kills: self.kills, stops: 0, gifts: true, timing: true })
    }
}

impl Replay {
    /// Converts the arguments to a plan.
    ///
    /// # Errors
    /// A number is out of range.
    pub fn plan(&self) -> Result<Plan, String> {
        let sources = self.files.iter().cloned().map(Source::File).collect();
        self.workers.plan(
            self.seconds,
            Replayed { sources, kills: self.kills, stops: 0, gifts: false, timing: false },
        )
    }
}
