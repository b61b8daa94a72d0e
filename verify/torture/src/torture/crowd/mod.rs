//! Crowds: many recoverers of the same dead members at once, killed and stopped during the recovery, and exact books.
//!
//! A crowd is a process with one thread, so that it may fork. In every round it starts victims, which do random
//! operations (those of [`super::hands`]) until they are killed, and recoverers, which have joined and wait for one
//! signal in memory outside of the space (`board`). At the signal all of them recover at the same time; a few join
//! instead, which recovers too, or open the victims' handles. Some are killed by a timer of their own, whose interrupt
//! arrives at any instruction, some by the director; some are stopped and continued after the others. The next wave
//! recovers the killed ones. There are no monitors, so nobody else recovers.
//!
//! In one round of eight a few recoverers without handles meet in slow motion (`steps`): they execute the same
//! instructions side by side for milliseconds, and one of them is killed.
//!
//! At the end of a round no member works in the space. The director recovers once more and compares every handle and
//! block with the books of the living members (`books`): a resource that is in no books is a leak, reported with its
//! index, round and seed. Some recoverers keep what they hold until the next round, and are killed in it.
//!
//! The seed determines the rounds (`script`); the instruction at which a kill arrives depends on the machine.
//!
//! | module | purpose |
//! |---|---|
//! | `script` | the plan of a round, as a function of the seed |
//! | `board` | the memory outside of the space |
//! | `clock` | time, and timers that kill or stop their own process |
//! | `steps` | slow motion, which makes short windows long |
//! | `child` | the victims and the recoverers |
//! | `round` | one round, until no member works |
//! | `books`, `count` | the handles and blocks of all members, compared with the space |
//! | `host` | the process of a crowd, as its parent uses it |

mod board;
mod books;
mod child;
mod clock;
mod count;
mod host;
mod round;
mod script;
mod steps;

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use serde::{Deserialize, Serialize};
use tenure::Backend;

use crate::Failed;
use crate::verdict::{Trouble, Verdict, Wrong};
use crate::wire::{die_with, send};

use super::member::{self, Home};
use super::stage::Stage;
use super::talk::Report;
use crate::negative_control::NegativeControl;

pub(super) use host::host;

/// Exit status of a child that has reported an error.
const HAS_SAID: i32 = 4;
/// Interval of a crowd's reports.
const REPORT: Duration = Duration::from_millis(250);

/// Arguments of a crowd.
#[derive(Debug, Clone, clap::Args)]
pub struct Orders {
    /// Backends of its spaces, in turn.
    #[arg(long = "backend", required = true)]
    pub backends: Vec<Backend>,
    /// Process id of its parent.
    #[arg(long)]
    pub director: u32,
    /// Seed of all choices.
    #[arg(long)]
    pub seed: u64,
    /// Maximum number of recoverers in a round.
    #[arg(long)]
    pub crowd: u64,
    /// Duration in seconds.
    #[arg(long)]
    pub milliseconds: u64,
    /// Number of rounds, instead of a duration.
    #[arg(long)]
    pub rounds: Option<u64>,
    /// Seconds after which a round is reported as stuck.
    #[arg(long)]
    pub patience: u32,
    /// Negative control: the error to make.
    #[arg(long)]
    pub negative_control: Option<NegativeControl>,
}

/// The counts of a crowd.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Figures {
    /// Number of complete rounds.
    pub rounds: u64,
    /// Number of spaces, one after the other.
    pub spaces: u64,
    /// Number of victims; all are killed.
    pub victims: u64,
    /// Number of operations of the victims.
    pub operations: u64,
    /// Number of recoverers.
    pub recoverers: u64,
    /// Number of recoverers killed during the recovery.
    pub killed_recovering: u64,
    /// Number of recoverers killed before or after the recovery, or while they opened handles.
    pub killed_else: u64,
    /// Number of recoverers stopped during their action and continued after the others.
    pub stopped: u64,
    /// Number of handles compared with the books.
    pub handles: u64,
    /// Number of blocks compared with the books.
    pub blocks: u64,
    /// Number of names found on live handles.
    pub names: u64,
    /// Number of free handles that could be allocated at the ends of rounds.
    pub had: u64,
    /// Number of units of scratch that could be allocated; as many as in the empty space.
    pub units: u64,
    /// Smoothed duration of a recovery, in ns; kills and stops are timed by it.
    pub recovery_ns: u64,
}

impl Orders {
    fn patience(&self) -> Duration {
        Duration::from_secs(self.patience.into())
    }

    /// A child's view of the space.
    fn home(&self, stage: &Stage, slot: usize, round: u64) -> Result<Home, Trouble> {
        let orders = member::Orders {
            spaces: Vec::new(),
            director: self.director,
            seed: self.seed,
            seat: slot,
            seats: 1,
            incarnation: round,
            patience: self.patience,
            negative_control: self.negative_control,
        };
        super::hands::must("set up a child", Home::forked(orders, Arc::clone(&stage.segment.space)))
    }
}

/// Runs rounds until the time is over or the parent is gone.
///
/// # Errors
/// A space or a process cannot be created. Errors of a space are in the reports.
pub fn run(orders: &Orders) -> Result<(), Failed> {
    die_with(orders.director)?;
    let board = board::Board::new()?;
    let started = Instant::now();
    let (mut figures, mut verdict) =
        (Figures { recovery_ns: 20_000, ..Figures::default() }, Verdict::default());
    let is_enough = |figures: &Figures| match orders.rounds {
        Some(rounds) => figures.rounds >= rounds,
        None => started.elapsed() >= Duration::from_millis(orders.milliseconds),
    };
    let mut reported = Instant::now();
    let mut round = 0;
    while !is_enough(&figures) && verdict.is_clean() && !is_dismissed()? {
        let backend = orders.backends[figures.spaces as usize % orders.backends.len()];
        let options = script::options(orders.seed, figures.spaces);
        let mut stage =
            Stage::with(backend, options, crate::pattern::combine(&[orders.seed, figures.spaces]))?;
        figures.spaces += 1;
        let ground = count::Ground::of(&stage, stage.member().ok_or("the director is no member")?)?;
        let mut crowd = round::Crowd::new(orders, &mut stage, &board, (&mut figures, &mut verdict));
        for _ in 0..script::ROUNDS_IN_A_SPACE {
            let played = crowd.play(round)?;
            crowd.count(&ground, &played)?;
            crowd.figures.rounds += 1;
            round += 1;
            if reported.elapsed() > REPORT {
                reported = Instant::now();
                say(&Report::Crowd(*crowd.figures, Verdict::default()))?;
            }
            if is_enough(crowd.figures) || !crowd.verdict.is_clean() || is_dismissed()? {
                break;
            }
        }
        drop(crowd);
        // No last check after an error, so that a leak is reported once.
        if verdict.is_clean() {
            stage.finish(orders.patience(), &mut verdict);
        }
    }
    say(&Report::Crowd(figures, verdict))?;
    say(&Report::Left)
}

fn say(report: &Report) -> Result<(), Failed> {
    let mut output = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    Ok(send(&mut output, report)?)
}

/// Whether the parent has closed the input of this process.
fn is_dismissed() -> Result<bool, Failed> {
    let input = io::stdin();
    let mut polled = [PollFd::new(&input, PollFlags::IN)];
    let now = rustix::time::Timespec { tv_sec: 0, tv_nsec: 0 };
    Ok(poll(&mut polled, Some(&now))? > 0)
}

/// Runs `body` in a process that was just forked from `parent`, and reports its error; returns the exit status.
fn in_child(parent: u32, patience: u32, body: impl FnOnce() -> Result<(), Trouble>) -> i32 {
    let body = AssertUnwindSafe(|| {
        if die_with(parent).is_err() {
            return Ok(());
        }
        // SAFETY: sets an alarm for this process only; its signal ends the process.
        unsafe { libc::alarm(patience) };
        body()
    });
    let (what, text) = match catch_unwind(body) {
        Ok(Ok(())) => return 0,
        Ok(Err(trouble)) => trouble,
        Err(_) => (Wrong::Refused, "a child panicked".into()),
    };
    say(&Report::Wrong { what, text }).map_or(1, |()| HAS_SAID)
}
