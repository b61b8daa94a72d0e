//! The director: distributes the steps of the script over the seats, kills and stops workers, starts their successors,
//! and compares all reports with the book.

mod ending;
mod handling;
mod looking;
mod signals;

use std::collections::HashMap;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use crate::Failed;
use crate::driver::{self, Crew, Plan, Replayed};
use crate::pattern;
use crate::wire::{Counters, Report, Task};
use hdrhistogram::Histogram;
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::book::{Book, Incarnation, Suspect};
use super::chaos::Schedule;
use super::material::Material;
use super::progress::Progress;
use super::script::Script;
use super::seat::{self, Errand, Place, Reclaimed, Replay};
use super::stage::Stage;
use super::watch::{self, Dying};

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
    pub(super) crew: Crew<Replay>,
    workers: seat::Crew,
    script: Script,
    book: Book,
    schedule: Schedule,
    rng: StdRng,
    phase: Phase,
    ticked: Instant,
    heard_at: Instant,
    incarnations: Incarnation,
    deaths: HashMap<Incarnation, Death>,
    /// Incarnations that were reclaimed before their output had ended.
    reclaimed_early: Vec<Incarnation>,
    suspects: Vec<Suspect>,
    last_kill: bool,
    watch: Sender<Dying>,
    progress: Progress,
    pub(super) totals: Totals,
}

impl<'a> Director<'a> {
    /// Starts the workers.
    pub(super) fn new(
        plan: &'a Plan,
        replayed: &Replayed,
        material: Material,
        stage: &'a Stage,
    ) -> Result<Self, Failed> {
        let rng = |purpose| StdRng::seed_from_u64(pattern::combine(&[plan.seed, purpose]));
        // The last kill waits until no task is in progress, so that the victim holds many handles and all are
        // reclaimed.
        let last_kill = replayed.kills > 0 && plan.processes > 1;
        let kills = replayed.kills - u32::from(last_kill);
        let stops = if plan.processes > 1 { replayed.stops } else { 0 };
        let counters = Counters { jobs_done: vec![0; material.jobs.len()], ..Counters::default() };
        let workers = seat::Crew {
            meeting: stage.segment.meeting.clone(),
            jobs: material.jobs,
            negative_control: plan.negative_control,
        };
        let crew = Crew::new(plan, |_| Place::default());
        let now = Instant::now();
        let mut director = Self {
            plan,
            stage,
            workers,
            script: Script::new(material.handles, plan.processes, replayed.gifts.then(|| rng(1))),
            book: Book::new(plan.seed, plan.processes, rng(2)),
            schedule: Schedule::draw(plan.duration, kills, stops, &mut rng(3)),
            rng: rng(4),
            phase: Phase::Running,
            ticked: now,
            heard_at: now,
            incarnations: 0,
            deaths: HashMap::new(),
            reclaimed_early: Vec::new(),
            suspects: Vec::new(),
            last_kill,
            watch: watch::start(stage.segment.space.clone(), crew.tell.clone())?,
            crew,
            progress: Progress::new(plan.duration, plan.quiet),
            totals: Totals {
                counters,
                kills: 0,
                stops: 0,
                passes: 0,
                looks: 0,
                reclaim_ns: Histogram::new_with_bounds(1, 3600 * 1_000_000_000, 3)?,
                elapsed: Duration::ZERO,
            },
        };
        for seat in 0..plan.processes {
            director.fill(seat)?;
        }
        Ok(director)
    }

    /// Kills the remaining workers, and ends the totals.
    pub(super) fn finish(&mut self) {
        self.totals.elapsed = self.crew.started.elapsed();
        for index in 0..self.crew.seats.len() {
            self.crew.seats[index].kill();
            if let Err(error) = self.crew.empty(index) {
                self.crew.verdict.note("note", format!("worker {index}: {error}"));
            }
        }
        self.totals.counters = self.counters();
        self.totals.passes = self.script.passes();
        self.progress.finish();
    }

    /// Starts a worker on an empty seat.
    fn fill(&mut self, seat: usize) -> Result<(), Failed> {
        let incarnation = self.incarnations;
        self.incarnations += 1;
        let key = pattern::combine(&[self.plan.seed, 5, incarnation.into()]);
        self.crew.fill(seat, &self.workers.arguments(key))?;
        self.crew.seats[seat].place.fill(incarnation);
        Ok(())
    }

    fn plan_steps(&mut self) {
        if self.phase != Phase::Running {
            return;
        }
        let mut planned: usize =
            self.crew.seats.iter().map(|seat| seat.place.todo.len() + seat.place.sent.len()).sum();
        while planned < LOOKAHEAD_STEPS {
            let Some(step) = self.script.next() else { return };
            self.book.plan(&step);
            self.crew.seats[step.seat].place.todo.push_back(Errand { step: Some(step), scripted: true });
            planned += 1;
        }
    }

    /// Sends a seat the steps that are ready. A step that is not ready is skipped, with all later steps on the same
    /// handle.
    fn pump(&mut self, index: usize) {
        let seat = &mut self.crew.seats[index];
        let mut passed: Vec<Errand> = Vec::new();
        while seat.is_working() && seat.place.has_room() && passed.len() < PASSED_STEPS_MAX {
            let Some(errand) = seat.place.todo.pop_front() else { break };
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
            seat.place.todo.push_front(errand);
        }
        seat.flush();
    }

    /// Asks every worker for a sign of life, and looks whether one is stuck.
    fn look_around(&mut self) {
        self.ticked = Instant::now();
        for seat in &mut self.crew.seats {
            if self.phase == Phase::Running && seat.is_working() && seat.place.pulses_owed() == 0 {
                seat.pulse();
            }
        }
        self.look_at_random();
        self.find_stuck();
        let counters = self.counters();
        let operations = counters.handle_operations + counters.block_operations;
        self.progress.show(self.crew.started.elapsed(), operations, self.totals.kills, self.totals.stops);
    }

    /// The sum of all counters that workers have reported so far.
    fn counters(&self) -> Counters {
        let mut sum = self.totals.counters.clone();
        for seat in &self.crew.seats {
            add(&mut sum, &seat.place.counters);
        }
        sum
    }
}

impl driver::Director for Director<'_> {
    type Game = Replay;

    fn crew(&mut self) -> &mut Crew<Replay> {
        &mut self.crew
    }

    fn is_over(&self) -> bool {
        self.phase == Phase::Done || !self.crew.verdict.is_clean()
    }

    /// Sends what is ready, and the signals that are due.
    fn act(&mut self) -> Result<Duration, Failed> {
        self.plan_steps();
        for seat in 0..self.crew.seats.len() {
            self.pump(seat);
        }
        self.strike();
        let next = self.schedule.next_in(self.crew.started.elapsed()).unwrap_or(TICK);
        Ok(next.min(TICK / 10))
    }

    fn report(&mut self, seat: usize, report: Report) {
        self.heard_at = Instant::now();
        self.heard(seat, report);
    }

    fn gone(&mut self, seat: usize, why: Option<String>) -> Result<(), Failed> {
        self.heard_at = Instant::now();
        self.has_ended(seat, why)
    }

    fn note(&mut self, Reclaimed { incarnation, elapsed_ns }: Reclaimed) {
        self.heard_at = Instant::now();
        self.reclaimed(incarnation, elapsed_ns);
    }

    fn tick(&mut self) -> Result<(), Failed> {
        self.look_at_suspects();
        self.advance();
        if self.ticked.elapsed() >= TICK {
            self.look_around();
        }
        Ok(())
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
