//! The points of a case, spread over the processors.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::apart::{mark, reset};
use crate::board::{Board, Text};
use crate::case::Case;
use crate::pair::{Choice, Pair, PlayedPairs, RehearsedPair, States};
use crate::point::{Fate, Played, Rehearsed, Violation, play, rehearse};
use crate::sys::{self, Status};
use crate::track::Tape;

/// The counts of points played.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) killed: u64,
    pub(crate) stopped: u64,
    /// Survivors that went on from the state after a stretch.
    pub(crate) survivors: u64,
    /// Survivors that timed out, but had a successor that did not.
    pub(crate) slow: u64,
    /// Points at another instruction than the rehearsal's n-th.
    pub(crate) drifted: u64,
    /// Points of pairs that were left out, because one that agrees was played.
    pub(crate) agreeing: u64,
    pub(crate) violations: u64,
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.killed += other.killed;
        self.stopped += other.stopped;
        self.survivors += other.survivors;
        self.slow += other.slow;
        self.drifted += other.drifted;
        self.agreeing += other.agreeing;
        self.violations += other.violations;
    }
}

/// One worker's results, in memory that it shares with the harness.
#[repr(C)]
struct Desk {
    killed: AtomicU64,
    stopped: AtomicU64,
    survivors: AtomicU64,
    slow: AtomicU64,
    agreeing: AtomicU64,
    violations: AtomicU64,
    /// Of the first violation.
    address: AtomicU64,
    text: Text,
}

/// The harness's processes.
pub(crate) struct Pool {
    desks: Vec<(&'static Desk, &'static Board)>,
    /// The next task.
    next: &'static AtomicU64,
    tape: Tape,
    /// The results of a pair.
    states: States,
    /// Kills that may share a survivor.
    stretch: usize,
}

/// After so many violations of one case the rest of it is left out.
const ENOUGH: u64 = if cfg!(feature = "faults") { 1 } else { 3 };

impl Pool {
    pub(crate) fn new(stretch: usize) -> Self {
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        let desk = || {
            // SAFETY: zeroed pages, aligned, never unmapped, valid as a desk in every bit pattern.
            unsafe { &*sys::shared_pages(size_of::<Desk>()).cast::<Desk>() }
        };
        let desks = (0..cpus).map(|_| (desk(), Board::new())).collect();
        // SAFETY: a zeroed page, aligned, never unmapped.
        let next = unsafe { &*sys::shared_pages(size_of::<AtomicU64>()).cast::<AtomicU64>() };
        Self { desks, next, tape: Tape::new(), states: States::new(), stretch }
    }

    /// Steps the actors of a case and records their tracks.
    pub(crate) fn rehearse(&self, case: &Case, all: &[Case]) -> Result<Rehearsed, String> {
        rehearse(case, all, self.desks[0].1, &self.tape)
    }

    /// Plays all `points`; the tally, and the first violation that each worker found.
    pub(crate) fn play(
        &self,
        rehearsed: &Rehearsed,
        all: &[Case],
        points: &[(Fate, u32)],
    ) -> (Tally, Vec<Violation>) {
        let stretches = self.stretches(rehearsed, points);
        self.spread(&stretches, |desk, board, mine| {
            let mut left = ENOUGH;
            let mark = mark();
            for (_, &(fate, from, to)) in mine {
                left -= u64::from(!desk.play(board, rehearsed, all, fate, &points[from..to]));
                // SAFETY: the worker's results are on the desk, in shared memory.
                unsafe { reset(mark) };
                if left == 0 {
                    break;
                }
            }
        })
    }

    /// The points that are played together: kills between which nothing shared happens.
    fn stretches(&self, rehearsed: &Rehearsed, points: &[(Fate, u32)]) -> Vec<(Fate, usize, usize)> {
        let key = |(fate, n): &(Fate, u32)| (*fate, rehearsed.track.steps_until(*n));
        let mut stretches: Vec<(Fate, usize, usize)> = Vec::new();
        for (at, point) in points.iter().enumerate() {
            match stretches.last_mut() {
                Some((Fate::Killed, from, to))
                    if key(&points[*from]) == key(point) && at - *from < self.stretch =>
                {
                    *to = at + 1;
                }
                _ => stretches.push((point.0, at, at + 1)),
            }
        }
        stretches
    }

    /// Rehearses every case and plays it at its shared steps, every `stride`-th of them.
    pub(crate) fn play_steps(&self, cases: &[Case], all: &[Case], stride: usize) -> (Tally, Vec<Violation>) {
        self.spread(cases, |desk, board, mine| {
            let tape = Tape::new();
            for (at, case) in mine {
                let rehearsed = match rehearse(case, all, board, &tape) {
                    Ok(rehearsed) => rehearsed,
                    Err(what) => {
                        desk.note(&Violation::rehearsing(title(case), what));
                        break;
                    }
                };
                for (step, &n) in rehearsed.track.steps.iter().enumerate() {
                    let fates = [Fate::Killed, Fate::Stopped];
                    for fate in fates.into_iter().filter(|fate| {
                        (step + at + usize::from(*fate == Fate::Stopped)).is_multiple_of(stride)
                    }) {
                        desk.play(board, &rehearsed, all, fate, &[(fate, n)]);
                    }
                }
                if desk.violations.load(Ordering::Relaxed) >= ENOUGH {
                    break;
                }
            }
        })
    }

    /// Steps the first actor of a pair.
    pub(crate) fn rehearse_pair(&self, pair: &Pair, all: &[Case]) -> Result<RehearsedPair, String> {
        crate::pair::rehearse(pair, all, self.desks[0].1, &self.tape)
    }

    /// Plays the chosen points of a pair; its workers take the places of the first actor in turn.
    pub(crate) fn play_pair(&self, rehearsed: &RehearsedPair, choice: Choice) -> (Tally, Vec<Violation>) {
        self.states.clear();
        let places: Vec<u32> = (1..=rehearsed.places()).collect();
        self.spread(&places, |desk, board, mine| {
            let tape = Tape::new();
            for (_, &first) in mine {
                desk.add(rehearsed.play(first, choice, board, &tape, &self.states));
                if desk.violations.load(Ordering::Relaxed) >= ENOUGH {
                    break;
                }
            }
        })
    }

    fn spread<T>(
        &self,
        items: &[T],
        work: impl Fn(&'static Desk, &'static Board, &mut dyn Iterator<Item = (usize, &T)>),
    ) -> (Tally, Vec<Violation>) {
        let mut workers = Vec::new();
        self.next.store(0, Ordering::Relaxed);
        for (worker, &(desk, board)) in self.desks.iter().enumerate() {
            desk.clear();
            board.clear();
            board.drifted.store(0, Ordering::Relaxed);
            // SAFETY: the harness has one thread.
            let pid = unsafe { sys::fork() };
            let Some(pid) = pid else {
                sys::stay_on_cpu(worker);
                let mut mine = std::iter::from_fn(|| {
                    let at = self.next.fetch_add(1, Ordering::Relaxed) as usize;
                    items.get(at).map(|item| (at, item))
                });
                work(desk, board, &mut mine);
                sys::exit(0);
            };
            workers.push(pid);
        }
        let mut tally = Tally::default();
        let mut found = Vec::new();
        for (pid, (desk, board)) in workers.into_iter().zip(&self.desks) {
            let status = sys::wait(pid);
            assert_eq!(status, Status::Exited(0), "a worker of the harness ended: {}", board.complaint());
            tally += desk.tally(board);
            found.extend(desk.first());
        }
        (tally, found)
    }
}

/// The case, and its dead.
pub(crate) fn title(case: &Case) -> String {
    let dead: Vec<_> = case.halves.iter().map(|half| format!("{}@{}", half.case, half.steps)).collect();
    if dead.is_empty() { case.name.into() } else { format!("{} [{}]", case.name, dead.join("; ")) }
}

impl Desk {
    fn clear(&self) {
        for counter in
            [&self.killed, &self.stopped, &self.survivors, &self.slow, &self.agreeing, &self.violations]
        {
            counter.store(0, Ordering::Relaxed);
        }
        self.text.clear();
    }

    fn add(&self, played: PlayedPairs) {
        let PlayedPairs { killed, stopped, agreeing, slow, violation } = played;
        self.killed.fetch_add(killed, Ordering::Relaxed);
        self.stopped.fetch_add(stopped, Ordering::Relaxed);
        self.survivors.fetch_add(killed + stopped, Ordering::Relaxed);
        self.agreeing.fetch_add(agreeing, Ordering::Relaxed);
        self.slow.fetch_add(slow, Ordering::Relaxed);
        if let Some(violation) = &violation {
            self.note(violation);
        }
    }

    /// Plays the points of a stretch; returns whether all passed.
    fn play(
        &self,
        board: &'static Board,
        rehearsed: &Rehearsed,
        all: &[Case],
        fate: Fate,
        points: &[(Fate, u32)],
    ) -> bool {
        let Played { points, survivors, slow, violation } = play(rehearsed, all, board, fate, points);
        let counter = if fate == Fate::Killed { &self.killed } else { &self.stopped };
        counter.fetch_add(points, Ordering::Relaxed);
        self.survivors.fetch_add(survivors, Ordering::Relaxed);
        self.slow.fetch_add(slow, Ordering::Relaxed);
        if let Some(violation) = &violation {
            self.note(violation);
        }
        violation.is_none()
    }

    /// Counts a violation, and keeps it if it is the first.
    fn note(&self, violation: &Violation) {
        if self.violations.fetch_add(1, Ordering::Relaxed) == 0 {
            let Violation { case, point, again, address, what } = violation;
            self.address.store(*address, Ordering::Relaxed);
            self.text.write(&format!("{case}\n{point}\n{again}\n{what}"));
        }
    }

    fn tally(&self, board: &Board) -> Tally {
        let read = |counter: &AtomicU64| counter.load(Ordering::Acquire);
        Tally {
            killed: read(&self.killed),
            stopped: read(&self.stopped),
            survivors: read(&self.survivors),
            slow: read(&self.slow),
            drifted: read(&board.drifted),
            agreeing: read(&self.agreeing),
            violations: read(&self.violations),
        }
    }

    fn first(&self) -> Option<Violation> {
        let text = self.text.read();
        let mut parts = text.splitn(4, '\n').map(String::from);
        let mut next = || parts.next();
        let (case, point, again, what) = (next()?, next()?, next()?, next()?);
        let address = self.address.load(Ordering::Acquire);
        (self.violations.load(Ordering::Acquire) > 0).then_some(Violation {
            case,
            point,
            again,
            address,
            what,
        })
    }
}
