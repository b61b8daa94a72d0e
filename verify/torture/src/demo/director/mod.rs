//! The director: distributes the steps of the script over the seats, kills and stops workers, starts their successors,
//! and compares all reports with the book.

mod ending;
mod handling;
mod looking;
mod signals;

use std::collections::HashMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rustix::process::Signal;

use crate::pattern;
use crate::wire::{Counters, Task};

use super::book::{Book, Incarnation, Suspect};
use super::chaos::Schedule;
use super::plan::{Material, Plan};
use super::progress::Progress;
use super::script::Script;
use super::seat::{Crew, Errand, Event, Seat, State};
use super::stage::Stage;
use super::watch::{self, Dying};
use crate::verdict::Verdict;

/// Maximum number of steps that are planned and not confirmed.
pub(super) const LOOKAHEAD_STEPS: usize = 16 << 10;
/// Maximum number of steps that are skipped in search of one that is ready.
const PASSED_STEPS_MAX: usize = 128;
/// Interval at which every worker is asked for a sign of life and progress is shown.
const TICK: Duration = Duration::from_millis(50);

/// The phase of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    /// Workers follow the script, and are killed and stopped.
    Running,
    /// No new steps are planned; the director waits for the planned ones.
    Draining,
    /// One worker is killed while it holds handles; the others release everything.
    Releasing,
    /// Every worker has been told to leave.
    Leaving,
    /// No worker is left.
    Done,
}

/// A worker that is stopped.
#[derive(Debug)]
struct Pause {
    seat: usize,
    incarnation: Incarnation,
    since: Instant,
    until: Instant,
    /// Workers that have not shown progress since then.
    awaited: Vec<Awaited>,
}

/// A worker that has to answer `pulses` pulses; the last one was requested while another worker was stopped.
#[derive(Debug, Clone, Copy)]
struct Awaited {
    seat: usize,
    incarnation: Incarnation,
    pulses: usize,
}

/// A worker that has been killed and not yet reclaimed.
#[derive(Debug, Clone, Copy)]
struct Death {
    seat: usize,
    killed_at: Instant,
}

/// The totals of a run.
#[derive(Debug)]
pub(super) struct Totals {
    /// Sums over all workers of the run.
    pub(super) counters: Counters,
    pub(super) kills: u32,
    pub(super) stops: u32,
    /// Number of passes over handle recordings.
    pub(super) passes: u64,
    /// Number of checks of single tokens by the coordinator.
    pub(super) looks: u64,
    /// Times from kill to reclaimed, in ns.
    pub(super) reclaim_ns: Histogram<u64>,
    pub(super) elapsed: Duration,
}

pub(super) struct Director<'a> {
    plan: &'a Plan,
    stage: &'a Stage,
    crew: Crew,
    script: Script,
    book: Book,
    seats: Vec<Seat>,
    schedule: Schedule,
    rng: StdRng,
    phase: Phase,
    started: Instant,
    ticked: Instant,
    received_at: Instant,
    incarnations: Incarnation,
    pause: Option<Pause>,
    deaths: HashMap<Incarnation, Death>,
    /// Incarnations that were reclaimed before their output had ended.
    reclaimed_early: Vec<Incarnation>,
    suspects: Vec<Suspect>,
    last_kill: bool,
    events: Receiver<Event>,
    tell: Sender<Event>,
    watch: Sender<Dying>,
    progress: Progress,
    totals: Totals,
    verdict: Verdict,
}

impl<'a> Director<'a> {
    pub(super) fn new(
        plan: &'a Plan,
        material: Material,
        stage: &'a Stage,
        (tell, events): (Sender<Event>, Receiver<Event>),
    ) -> std::io::Result<Self> {
        let rng = |purpose| StdRng::seed_from_u64(pattern::combine(&[plan.seed, purpose]));
        // The last kill waits until no task is in progress, so that the victim holds many handles and all are
        // reclaimed.
        let last_kill = plan.kills > 0 && plan.workers > 1;
        let kills = plan.kills - u32::from(last_kill);
        let stops = if plan.workers > 1 { plan.stops } else { 0 };
        let job_count = material.jobs.len();
        let crew = Crew {
            meeting: stage.segment.meeting.clone(),
            jobs: material.jobs,
            negative_control: plan.negative_control,
        };
        let histogram =
            Histogram::new_with_bounds(1, 3600 * 1_000_000_000, 3).map_err(std::io::Error::other)?;
        let counters = Counters { jobs_done: vec![0; job_count], ..Counters::default() };
        let now = Instant::now();
        Ok(Self {
            plan,
            stage,
            crew,
            script: Script::new(material.handles, plan.workers, plan.gifts.then(|| rng(1))),
            book: Book::new(plan.seed, plan.workers, rng(2)),
            seats: (0..plan.workers).map(Seat::new).collect(),
            schedule: Schedule::draw(plan.duration, kills, stops, &mut rng(3)),
            rng: rng(4),
            phase: Phase::Running,
            started: now,
            ticked: now,
            received_at: now,
            incarnations: 0,
            pause: None,
            deaths: HashMap::new(),
            reclaimed_early: Vec::new(),
            suspects: Vec::new(),
            last_kill,
            watch: watch::start(stage.segment.space.clone(), tell.clone())?,
            events,
            tell,
            progress: Progress::new(plan.duration, plan.quiet),
            totals: Totals {
                counters,
                kills: 0,
                stops: 0,
                passes: 0,
                looks: 0,
                reclaim_ns: histogram,
                elapsed: Duration::ZERO,
            },
            verdict: Verdict::default(),
        })
    }

    /// Runs to the end, or until an error is found. No worker is left afterwards.
    pub(super) fn run(mut self) -> std::io::Result<(Totals, Verdict)> {
        for seat in 0..self.seats.len() {
            self.fill(seat)?;
        }
        while self.phase != Phase::Done && self.verdict.is_clean() {
            self.plan_steps();
            for seat in 0..self.seats.len() {
                self.pump(seat);
            }
            self.strike();
            self.wait()?;
            self.look_at_suspects();
            self.advance()?;
            if self.ticked.elapsed() >= TICK {
                self.tick();
            }
        }
        self.totals.elapsed = self.started.elapsed();
        self.abandon();
        self.progress.finish();
        self.totals.passes = self.script.passes();
        Ok((self.totals, self.verdict))
    }

    /// Starts a worker on an empty seat.
    fn fill(&mut self, seat: usize) -> std::io::Result<()> {
        let incarnation = self.incarnations;
        self.incarnations += 1;
        let key = pattern::combine(&[self.plan.seed, 5, incarnation.into()]);
        self.seats[seat].fill(&self.crew, incarnation, key, &self.tell)
    }

    fn plan_steps(&mut self) {
        if self.phase != Phase::Running {
            return;
        }
        let mut planned: usize = self.seats.iter().map(|seat| seat.todo.len() + seat.sent.len()).sum();
        while planned < LOOKAHEAD_STEPS {
            let Some(step) = self.script.next() else { return };
            self.book.plan(&step);
            self.seats[step.seat].todo.push_back(Errand { step: Some(step), scripted: true });
            planned += 1;
        }
    }

    /// Sends a seat the steps that are ready. A step that is not ready is skipped, with all later steps on the same
    /// handle.
    fn pump(&mut self, index: usize) {
        let seat = &mut self.seats[index];
        let mut passed: Vec<Errand> = Vec::new();
        while seat.is_working() && seat.has_room() && passed.len() < PASSED_STEPS_MAX {
            let Some(errand) = seat.todo.pop_front() else { break };
            let task = match errand.step {
                None => Task::Pulse,
                Some(step) => {
                    let about =
                        |earlier: &Errand| earlier.step.is_some_and(|other| other.handle == step.handle);
                    if !self.book.is_ready(&step, errand.scripted) || passed.iter().any(about) {
                        passed.push(errand);
                        continue;
                    }
                    self.book.send(&step, errand.scripted)
                }
            };
            seat.push(errand, task);
        }
        for errand in passed.into_iter().rev() {
            seat.todo.push_front(errand);
        }
        seat.flush();
    }

    /// Waits a short time for events and handles all that have arrived.
    fn wait(&mut self) -> std::io::Result<()> {
        let patience = self.schedule.next_in(self.started.elapsed()).unwrap_or(TICK).min(TICK / 10);
        let first = match self.events.recv_timeout(patience) {
            Ok(event) => event,
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return Ok(()),
        };
        self.handle(first)?;
        while let Ok(event) = self.events.try_recv() {
            self.handle(event)?;
        }
        Ok(())
    }

    fn tick(&mut self) {
        self.ticked = Instant::now();
        for seat in &mut self.seats {
            if self.phase == Phase::Running && seat.is_working() && seat.pulses_owed() == 0 {
                seat.push(Errand { step: None, scripted: false }, Task::Pulse);
                seat.flush();
            }
        }
        self.look_at_random();
        self.find_stuck();
        let counters = self.counters();
        let operations = counters.handle_operations + counters.block_operations;
        self.progress.show(self.started.elapsed(), operations, self.totals.kills, self.totals.stops);
    }

    /// The sum of all counters that workers have reported so far.
    fn counters(&self) -> Counters {
        let mut sum = self.totals.counters.clone();
        for seat in &self.seats {
            add(&mut sum, &seat.counters);
        }
        sum
    }

    /// Kills all remaining workers.
    fn abandon(&mut self) {
        for seat in &mut self.seats {
            seat.signal(Signal::KILL);
            if let Err(error) = seat.empty() {
                self.verdict.note("note", format!("worker {}: {error}", seat.index));
            }
            add(&mut self.totals.counters, &std::mem::take(&mut seat.counters));
            seat.state = State::Empty;
        }
    }
}

fn add(sum: &mut Counters, more: &Counters) {
    let Counters {
        handle_operations,
        handle_ns,
        block_operations,
        block_ns,
        blocks_live: _,
        second_opens,
        handles_reclaimed,
        blocks_reclaimed,
        jobs_done,
    } = more;
    sum.handle_operations += handle_operations;
    sum.handle_ns += handle_ns;
    sum.block_operations += block_operations;
    sum.block_ns += block_ns;
    sum.second_opens += second_opens;
    sum.handles_reclaimed += handles_reclaimed;
    sum.blocks_reclaimed += blocks_reclaimed;
    for (sum, more) in sum.jobs_done.iter_mut().zip(jobs_done) {
        *sum += more;
    }
}
