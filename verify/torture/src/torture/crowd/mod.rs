//! Crowds: many recoverers of the same dead at once, killed and stopped in the middle, and books that are exact.
//!
//! A crowd is a process of its own with one thread, so that it may fork. Round after round it starts victims, which do
//! random operations (those of [`super::hands`]) until they are killed, and recoverers, which have joined and wait for one
//! signal in memory outside of the space (`board`). At the signal all of them recover at the same time; a few join, which
//! recovers, or open the victims' handles meanwhile. Some are killed by a timer of their own, whose interrupt strikes at any
//! instruction, some by the director; some are stopped and go on after the others. The next wave recovers those that were
//! killed. There are no monitors, so nobody else recovers.
//!
//! In one round of eight a few recoverers that hold nothing themselves meet in slow motion (`steps`): they run through
//! the same instructions side by side for milliseconds, and one of them is killed.
//!
//! When all are done, nobody works in the space. The director recovers once more and compares every handle and block
//! with the books of those who live (`books`): what is in no books is a leak, with its index, round and seed. Some
//! recoverers live on with what they hold, and are killed in the next round.
//!
//! What happens follows from the seed (`script`); where a kill strikes is up to the machine.
//!
//! | module | what it owns |
//! |---|---|
//! | `script` | who does what in which round, as a function of the seed |
//! | `board` | the memory outside of the space |
//! | `clock` | time, and timers that kill or stop their own process |
//! | `steps` | slow motion, which makes short windows long |
//! | `child` | the victims and the recoverers |
//! | `round` | one round, up to the moment when nobody works any more |
//! | `books`, `count` | what everybody holds, compared with the space |
//! | `host` | the crowd as its parent sees it |

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

/// The exit status of a child that has said what is wrong.
const HAS_SAID: i32 = 4;
/// How often a crowd reports.
const REPORT: Duration = Duration::from_millis(250);

/// What a crowd is told when it starts.
#[derive(Debug, Clone, clap::Args)]
pub struct Orders {
    /// Backends of its spaces, in turn.
    #[arg(long = "backend", required = true)]
    pub backends: Vec<Backend>,
    /// Process id of its parent.
    #[arg(long)]
    pub director: u32,
    /// What everything follows from.
    #[arg(long)]
    pub seed: u64,
    /// The most recoverers of a round.
    #[arg(long)]
    pub crowd: u64,
    /// How long to go on.
    #[arg(long)]
    pub milliseconds: u64,
    /// Instead: how many rounds.
    #[arg(long)]
    pub rounds: Option<u64>,
    /// After how many seconds a round is called stuck.
    #[arg(long)]
    pub patience: u32,
    /// What to do wrong, to see it found.
    #[arg(long)]
    pub negative_control: Option<NegativeControl>,
}

/// What a crowd did and counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Figures {
    /// Rounds that were counted to their end.
    pub rounds: u64,
    /// Spaces, one after the other.
    pub spaces: u64,
    /// Victims, all killed.
    pub victims: u64,
    /// Operations of the victims.
    pub operations: u64,
    /// Recoverers.
    pub recoverers: u64,
    /// Recoverers killed while they recovered.
    pub killed_recovering: u64,
    /// Recoverers killed before or after, or while they opened handles.
    pub killed_else: u64,
    /// Recoverers stopped in the middle, and continued when others were done.
    pub stopped: u64,
    /// Handles that were compared with the books.
    pub handles: u64,
    /// Blocks that were compared with the books.
    pub blocks: u64,
    /// Names that the living had.
    pub names: u64,
    /// Handles that could be had at the ends of rounds, as many as nobody held.
    pub had: u64,
    /// Units of scratch that could be had, as many as at first.
    pub units: u64,
    /// How long a recovery takes, smoothed; the blows are aimed by it.
    pub recovery_ns: u64,
}

impl Orders {
    fn patience(&self) -> Duration {
        Duration::from_secs(self.patience.into())
    }

    /// A child's side of the space.
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

/// Plays rounds until it is time, or until nobody listens any more.
///
/// # Errors
/// A space or a process that cannot be made. Whatever goes wrong with a space is in the reports.
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
        // A leak is reported once.
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

/// Whether the parent has closed our input.
fn is_dismissed() -> Result<bool, Failed> {
    let input = io::stdin();
    let mut polled = [PollFd::new(&input, PollFlags::IN)];
    let now = rustix::time::Timespec { tv_sec: 0, tv_nsec: 0 };
    Ok(poll(&mut polled, Some(&now))? > 0)
}

/// Runs `body` in a process that was just forked from `parent`, and says what went wrong; returns its exit status.
fn in_child(parent: u32, patience: u32, body: impl FnOnce() -> Result<(), Trouble>) -> i32 {
    let body = AssertUnwindSafe(|| {
        if die_with(parent).is_err() {
            return Ok(());
        }
        // SAFETY: a clock for this process alone; its signal ends it.
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
