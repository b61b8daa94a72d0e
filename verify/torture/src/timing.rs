//! Times single operations of tenure, a daemon, a mutex and two allocators, in turns within one run, so that noise of
//! the machine affects all of them alike. The result is the median over the rounds; compare ratios, not nanoseconds of
//! different days.
//!
//! The allocators are private to their process: their blocks end with it and cannot be recovered. `cargo perf` measures
//! more, with intervals.

use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};
use tenure_subjects::daemon::{Cpu, Daemon, Way};
use tenure_subjects::heaps::{malloc, mimalloc};
use tenure_subjects::mutex::{Locked, Robust};
use tenure_subjects::team::{Kind, Team, Work};
use tenure_subjects::tenured::Tenure;
use tenure_subjects::{Outcome, Subject, work};

use tenure_tools::table::{Table, count};

use crate::Failed;

const ROUNDS: usize = 31;
const WARM_ROUNDS: usize = 3;
/// Target duration of a turn, in ns.
const TURN_NS: u64 = 500_000;

/// One operation, in nanoseconds: medians over the rounds.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Timing {
    /// Name of the operation.
    pub operation: String,
    /// Tenure, in ns.
    pub tenure_ns_p50: f64,
    /// A daemon on a Unix socket, on the client's processor, in ns.
    pub daemon_ns_p50: Option<f64>,
    /// A robust mutex in shared memory, in ns.
    pub mutex_ns_p50: Option<f64>,
    /// mimalloc, where it has such an operation, in ns.
    pub mimalloc_ns_p50: Option<f64>,
    /// The system's malloc, where it has such an operation, in ns.
    pub malloc_ns_p50: Option<f64>,
}

impl Timing {
    /// The table that the demo prints.
    pub fn table(timings: &[Timing]) -> Table<6> {
        let mut table = Table::new([
            "ns, median (alone, same run)",
            "daemon",
            "robust mutex",
            "mimalloc",
            "malloc",
            "tenure",
        ]);
        let cell = |ns: Option<f64>| match ns {
            None => "-".to_owned(),
            Some(ns) if ns < 1000.0 => format!("{ns:.1}"),
            Some(ns) => count(ns),
        };
        for timing in timings {
            table.row([
                timing.operation.clone(),
                cell(timing.daemon_ns_p50),
                cell(timing.mutex_ns_p50),
                cell(timing.mimalloc_ns_p50),
                cell(timing.malloc_ns_p50),
                cell(Some(timing.tenure_ns_p50)),
            ]);
        }
        table
    }
}

/// Measures for about a second, in a process of its own: the teams are forked, and a process that forks must have no
/// other threads.
///
/// # Errors
/// An error of an operation; none should occur.
pub fn measure() -> Result<Vec<Timing>, Failed> {
    let output = Command::new(std::env::current_exe()?)
        .arg("compare")
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()?;
    if !output.status.success() {
        return Err(format!("expected figures, found a comparison that ended with {}", output.status).into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// The body of the process that [`measure`] starts: returns the results as JSON.
///
/// # Errors
/// An error of an operation; none should occur.
pub fn compare() -> Result<String, Failed> {
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    let daemon = || Daemon::new(Way::Socket, Cpu::Same);
    macro_rules! handles {
        ($work:path) => {
            [
                Some(team(Tenure::processes, $work)?),
                Some(team(daemon, $work)?),
                Some(team(Locked::<Robust>::new, $work)?),
                None,
                None,
            ]
        };
    }
    macro_rules! heaps {
        ($work:path) => {
            [
                Some(team(Tenure::processes, $work)?),
                Some(team(daemon, $work)?),
                Some(team(Locked::<Robust>::new, $work)?),
                Some(team(|| Ok(mimalloc()), $work)?),
                Some(team(|| Ok(malloc()), $work)?),
            ]
        };
    }
    let timings = [
        row("handle create+get+close", handles!(work::create_get_close))?,
        row("handle second open+close", handles!(work::open_own))?,
        row("alloc+free 64 B, 8 held", heaps!(work::pair_held))?,
        row("alloc+free 16..1024 B, batch of 1000", heaps!(work::batch))?,
        row("alloc+free 64 KiB..4 MiB", heaps!(work::large))?,
    ];
    Ok(serde_json::to_string(&timings)?)
}

fn team<S: Subject + 'static>(
    found: fn() -> Outcome<S>,
    work: impl Fn(S::Member) -> Outcome<Work> + 'static,
) -> Outcome<Team> {
    let subject = found()?;
    Team::fork(Kind::Processes, 1, move |_| work(subject.join()?))
}

/// Measures one operation with all teams in turns.
fn row(operation: &str, mut teams: [Option<Team>; 5]) -> Outcome<Timing> {
    let mut operations = [0; 5];
    for (team, operations) in teams.iter_mut().zip(&mut operations) {
        if let Some(team) = team {
            *operations = team.calibrate(TURN_NS)?;
        }
    }
    let mut rounds: [Vec<f64>; 5] = Default::default();
    for round in 0..WARM_ROUNDS + ROUNDS {
        for ((team, &operations), rounds) in teams.iter_mut().zip(&operations).zip(&mut rounds) {
            let Some(team) = team else { continue };
            let turn = team.turn(operations)?;
            if round >= WARM_ROUNDS {
                rounds.push(turn.ns);
            }
        }
    }
    let [tenure, daemon, mutex, mimalloc, malloc] = rounds.map(median);
    Ok(Timing {
        operation: operation.to_owned(),
        tenure_ns_p50: tenure.unwrap_or(f64::NAN),
        daemon_ns_p50: daemon,
        mutex_ns_p50: mutex,
        mimalloc_ns_p50: mimalloc,
        malloc_ns_p50: malloc,
    })
}

fn median(mut samples: Vec<f64>) -> Option<f64> {
    samples.sort_by(f64::total_cmp);
    samples.get(samples.len() / 2).copied()
}
