//! The plan of a run.

use std::time::Duration;

use tenure::Backend;
use tenure_traces::Source;

use crate::negative_control::NegativeControl;

/// All parameters of a run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Backends of the segments, one each.
    pub backends: Vec<Backend>,
    /// Number of processes at any time.
    pub processes: usize,
    /// Duration; a run may be longer, until its work is complete.
    pub duration: Duration,
    /// Seed of all random choices; the scheduling of the system is not determined by it.
    pub seed: u64,
    /// Time without a sign of life after which the run is reported as stuck.
    pub patience: Duration,
    /// Negative control: the error that the processes shall make.
    pub negative_control: Option<NegativeControl>,
    /// No output on standard error.
    pub quiet: bool,
    /// What the processes do.
    pub work: Work,
}

/// What the processes of a run do.
#[derive(Debug, Clone)]
pub enum Work {
    /// They replay recordings on one segment.
    Replay(Replayed),
    /// They do random operations on all segments.
    Random(Random),
}

/// A replay of recordings.
#[derive(Debug, Clone)]
pub struct Replayed {
    /// Recordings; each is replayed at least once, however short the duration.
    pub sources: Vec<Source>,
    /// Number of processes to kill.
    pub kills: u32,
    /// Number of processes to stop and continue.
    pub stops: u32,
    /// Hand extra handles with large payloads from process to process.
    pub gifts: bool,
    /// Measure single operations at the end.
    pub timing: bool,
}

/// Random operations.
#[derive(Debug, Clone, Copy)]
pub struct Random {
    /// Number of operations of a seat after which it gets no new process; then no clock decides the end.
    pub operations: Option<u64>,
    /// Crowds only, no members.
    pub crowd: bool,
}

impl Plan {
    /// The patience in whole seconds, for an argument; at least one.
    pub(crate) fn patience_seconds(&self) -> u64 {
        (self.patience.as_secs_f64().ceil() as u64).max(1)
    }
}

impl std::fmt::Display for Plan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { processes, seed, .. } = self;
        let seconds = self.duration.as_secs_f64();
        let backends: Vec<String> = self.backends.iter().map(ToString::to_string).collect();
        let segments = match &backends[..] {
            [one] => format!("1 segment ({one})"),
            several => format!("{} segments ({})", several.len(), several.join(", ")),
        };
        let work = match &self.work {
            Work::Replay(Replayed { kills, stops, .. }) => {
                format!("{seconds:.0} s, {kills} killed and {stops} stopped at random")
            }
            Work::Random(Random { operations: Some(operations), .. }) => {
                format!("{operations} operations each")
            }
            Work::Random(Random { crowd: true, .. }) => format!("crowds only, {seconds:.0} s"),
            Work::Random(_) => format!("{seconds:.0} s"),
        };
        write!(f, "{processes} processes on {segments}, {work}; seed {seed}")
    }
}
