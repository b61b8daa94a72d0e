//! Torture: random operations on several spaces at once by processes that are killed, stopped, forked and replaced.
//!
//! One director (this process) and a number of members (`member`), each in a seat that is filled again when it is
//! empty. Nobody knows the whole: contents follow from numbers that travel with what is passed on, and a member checks
//! whatever it holds or is sent.
//!
//! What is deterministic: the choices (`chance`). The operations of an incarnation with all their numbers, how it
//! ends and after how many operations, and at which of its reports it is stopped for how long, follow from the seed,
//! the seat and the count of incarnations in it. What the scheduler decides: how operations of different threads and
//! processes interleave, the instruction at which a kill or a stop arrives, what has arrived when a member looks, and
//! who runs out of room; and, in a run by time, how many incarnations there are.
//!
//! | module | what it owns |
//! |---|---|
//! | `chance` | what happens next, as a function of the seed |
//! | `talk` | what director and members say to each other |
//! | `member` | the process of a member and its threads |
//! | `hands`, `blocks`, `guests` | operations: on handles, on blocks, and those of visits and forked children |
//! | `waits` | operations on mutexes, events and semaphores that all share |
//! | `commons` | these, and the ledger of who has what |
//! | `pinned` | the label of a pinned block |
//! | `seat`, `director` | the processes, kills and stops; gifts; what is reported |
//! | `stage` | the spaces: look, sweep, last look |
//! | `audit` | compares the ledger with the things, and puts back what the dead had |
//! | `crowd` | many recoverers of the same dead at once, and exact books |
//! | `summary` | the figures |

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

use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};

use tenure::Backend;

pub use crowd::{Figures as CrowdFigures, Orders as CrowdOrders, run as run_crowd};
pub use member::{Orders, run as run_member};
pub use summary::Summary;

use crate::Failed;
use crate::meeting::Segment;
use crate::negative_control::NegativeControl;
use crate::verdict::Verdict;
use audit::Audits;
use director::Director;
use seat::Event;
use stage::Stage;
use talk::Counts;

/// The whole order for a run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// How the spaces come to be, one each.
    pub backends: Vec<Backend>,
    /// How many members there are at any time.
    pub members: usize,
    /// How long to go on, unless the operations are counted.
    pub duration: Duration,
    /// After how many operations nobody comes after a member; then no clock decides anything about the end.
    pub operations: Option<u64>,
    /// What all choices follow from.
    pub seed: u64,
    /// How long somebody may be silent before the run is called stuck.
    pub patience: Duration,
    /// What the members are to do wrong.
    pub negative_control: Option<NegativeControl>,
    /// No word on standard error.
    pub quiet: bool,
    /// Crowds only, no members.
    pub crowd: bool,
}

/// How long a crowd goes on.
#[derive(Debug, Clone, Copy)]
enum Share {
    Time(Duration),
    Rounds(u64),
}

/// One part of the time in so many is the crowd's.
const CROWD_PARTS: u32 = 10;
/// Operations of a place for a member, in runs that count them, for one round of the crowd.
const ROUND_OPERATIONS: u64 = 200;

impl Plan {
    /// The members' part of a run, and the crowd's.
    fn parts(&self) -> (Duration, Share) {
        let crowd = if self.crowd { self.duration } else { self.duration / CROWD_PARTS };
        let share = match self.operations {
            Some(operations) => Share::Rounds(operations.div_ceil(ROUND_OPERATIONS)),
            None => Share::Time(crowd),
        };
        (self.duration - crowd, share)
    }
}

/// What the director counts.
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

/// Does what the plan says. Whatever goes wrong with a space is in the summary.
///
/// # Errors
/// A segment that cannot be made, a member that cannot be started.
pub fn run(plan: &Plan) -> Result<Summary, Failed> {
    plan.backends.iter().for_each(|backend| Segment::sweep(*backend));
    let (tell, events) = mpsc::channel();
    let (tell_of_crowd, crowd_events) = mpsc::channel();
    let interrupted = [tell.clone(), tell_of_crowd.clone()];
    ctrlc::set_handler(move || {
        // Nobody listens any more when the run is over.
        interrupted.iter().for_each(|tell| drop(tell.send(Event::Interrupted)));
    })?;
    let (duration, share) = plan.parts();
    let (mut counts, mut figures, mut verdict) = Default::default();
    if !plan.crowd {
        let plan = &Plan { duration, ..plan.clone() };
        (counts, figures, verdict) = run_members(plan, (tell, events))?;
    }
    let mut crowd = CrowdFigures::default();
    if verdict.is_clean() {
        let started = Instant::now();
        crowd = crowd::host(plan, share, (tell_of_crowd, &crowd_events), &mut verdict)?;
        figures.seconds += started.elapsed().as_secs_f64();
    }
    Ok(Summary::new(plan, (&counts, &figures, crowd), verdict))
}

/// The members' part of a run.
fn run_members(
    plan: &Plan,
    channel: (Sender<Event>, Receiver<Event>),
) -> Result<(Counts, Figures, Verdict), Failed> {
    let build = |(index, backend): (usize, &Backend)| Stage::build(*backend, index, plan.members, plan.seed);
    let mut stages = plan.backends.iter().enumerate().map(build).collect::<Result<Vec<_>, _>>()?;
    let (counts, mut figures, mut verdict) = Director::new(plan, &mut stages, channel).run()?;
    for stage in &mut stages {
        figures.audits.add(&stage.finish(plan.patience, &mut verdict));
    }
    Ok((counts, figures, verdict))
}
