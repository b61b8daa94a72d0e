//! Torture: random operations on several spaces at once by processes that are killed, stopped, forked and replaced.
//!
//! One director (this process) and several members (`member`), each in a seat that gets a new member when it is empty.
//! No process knows the whole state: contents are computed from numbers that are passed on with the handles, and a
//! member checks everything that it holds or receives.
//!
//! Deterministic: the choices (`chance`). The seed, the seat and the count of incarnations in it determine the
//! operations of an incarnation with all their parameters, its end and the number of operations before it, and its
//! stops: after which report and for how long. Not deterministic: the interleaving of threads and processes, the
//! instruction at which a kill or a stop arrives, the messages that have arrived when a member checks, the member that
//! finds a resource exhausted; and, in a run by time, the number of incarnations.
//!
//! | module | purpose |
//! |---|---|
//! | `chance` | the next operation, as a function of the seed |
//! | `talk` | the messages between director and members |
//! | `member` | the process of a member and its threads |
//! | `hands`, `blocks`, `guests` | operations: on handles, on blocks, and those of visits and forked children |
//! | `waits` | operations on the common mutexes, events and semaphores |
//! | `commons` | these objects, and the ledger with their owners |
//! | `pinned` | the label of a pinned block |
//! | `seat`, `director` | what is particular to random operations: fates, gifts, reports |
//! | `stage` | the spaces: check, sweep, last check |
//! | `audit` | compares the ledger with the objects, and puts back the units of the dead |
//! | `crowd` | many recoverers of the same dead at once, and exact books |
//! | `summary` | the counts |

mod audit;
mod blocks;
mod chance;
mod commons;
mod crowd;
mod director;
mod files;
mod guests;
mod hands;
mod member;
mod outlive;
mod pinned;
mod seat;
mod stage;
mod summary;
mod talk;
mod waits;

use std::time::{Duration, Instant};

use tenure::Backend;

pub use crowd::{Figures as CrowdFigures, Orders as CrowdOrders, run as run_crowd};
pub use member::{Orders, run as run_member};
pub use summary::Summary;

use crate::Failed;
use crate::driver::{self, Interrupt, Plan, Random};
use crate::verdict::Verdict;
use audit::Audits;
use director::Director;
use stage::Stage;
use talk::Counts;

/// The duration of a crowd.
#[derive(Debug, Clone, Copy)]
enum Share {
    Time(Duration),
    Rounds(u64),
}

/// The crowd gets one part in this number of the time.
const CROWD_PARTS: u32 = 10;
/// Number of operations of a seat for one round of the crowd, in runs that count operations.
const ROUND_OPERATIONS: u64 = 200;

/// The parts of a run for the members and for the crowd.
fn parts(plan: &Plan, random: Random) -> (Duration, Share) {
    let crowd = if random.crowd { plan.duration } else { plan.duration / CROWD_PARTS };
    let share = match random.operations {
        Some(operations) => Share::Rounds(operations.div_ceil(ROUND_OPERATIONS)),
        None => Share::Time(crowd),
    };
    (plan.duration - crowd, share)
}

/// The counts of the director.
#[derive(Debug, Clone, Default)]
struct Figures {
    seconds: f64,
    processes: u64,
    incarnations: u64,
    kills: u64,
    stops: u64,
    execs: u64,
    exits: u64,
    gifts: u64,
    swept: u64,
    looks: u64,
    audits: Audits,
}

/// Executes the plan. Errors of a space are in the summary.
///
/// # Errors
/// A segment cannot be created, or a member cannot be started.
pub fn run(plan: &Plan, random: Random, interrupt: &Interrupt) -> Result<Summary, Failed> {
    let (duration, share) = parts(plan, random);
    let (mut counts, mut figures, mut verdict) = Default::default();
    if !random.crowd {
        let plan = &Plan { duration, ..plan.clone() };
        (counts, figures, verdict) = run_members(plan, random, interrupt)?;
    }
    let mut crowd = CrowdFigures::default();
    if verdict.is_clean() {
        let started = Instant::now();
        crowd = crowd::host(plan, share, interrupt, &mut verdict)?;
        figures.seconds += started.elapsed().as_secs_f64();
    }
    Ok(Summary::new(plan, (&counts, &figures, crowd), verdict))
}

/// The members' part of a run.
fn run_members(
    plan: &Plan,
    random: Random,
    interrupt: &Interrupt,
) -> Result<(Counts, Figures, Verdict), Failed> {
    let build =
        |(index, backend): (usize, &Backend)| Stage::build(*backend, index, plan.processes, plan.seed);
    let mut stages = plan.backends.iter().enumerate().map(build).collect::<Result<Vec<_>, _>>()?;
    let mut director = Director::new(plan, random, &mut stages)?;
    driver::run(&mut director, interrupt)?;
    director.finish();
    let (counts, mut figures, mut verdict) = (director.counts, director.figures, director.crew.verdict);
    for stage in &mut stages {
        figures.audits.add(&stage.finish(plan.patience, &mut verdict));
    }
    Ok((counts, figures, verdict))
}
