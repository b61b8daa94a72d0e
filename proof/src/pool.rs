//! The points of a case, spread over the processors.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::actor::Tape;
use crate::board::Board;
use crate::case::Case;
use crate::point::{Fate, Rehearsed, Violation, play, rehearse};
use crate::sys::{self, Status};

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) killed: u64,
    pub(crate) stopped: u64,
    /// Points at another instruction than the rehearsal's n-th.
    pub(crate) drifted: u64,
    pub(crate) violations: u64,
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.killed += other.killed;
        self.stopped += other.stopped;
        self.drifted += other.drifted;
        self.violations += other.violations;
    }
}

/// One worker's results, in memory that it shares with the harness.
#[repr(C)]
struct Desk {
    killed: AtomicU64,
    stopped: AtomicU64,
    violations: AtomicU64,
    /// Of the first violation.
    n: AtomicU32,
    fate: AtomicU32,
    address: AtomicU64,
}

/// The harness's processes.
pub(crate) struct Pool {
    cpus: usize,
    desks: Vec<(&'static Desk, &'static Board)>,
    tape: Tape,
}

/// After so many violations of one case the rest of it is left out.
const ENOUGH: u64 = 3;

impl Pool {
    pub(crate) fn new() -> Self {
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        let desk = || {
            // SAFETY: zeroed pages, aligned, never unmapped, valid as a desk in every bit pattern.
            unsafe { &*sys::shared_pages(size_of::<Desk>()).cast::<Desk>() }
        };
        Self { cpus, desks: (0..cpus).map(|_| (desk(), Board::new())).collect(), tape: Tape::new() }
    }

    /// Steps the actors of a case and writes down where they come by.
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
        let name = rehearsed.case.name;
        let workers: Vec<_> = (0..self.cpus)
            .map(|worker| {
                let (desk, board) = self.desks[worker];
                desk.clear();
                board.clear();
                board.drifted.store(0, Ordering::Relaxed);
                // SAFETY: the harness has one thread.
                let pid = unsafe { sys::fork() };
                let Some(pid) = pid else {
                    sys::stay_on_cpu(worker);
                    work(desk, board, rehearsed, all, points.iter().skip(worker).step_by(self.cpus));
                    sys::exit(0);
                };
                pid
            })
            .collect();
        let mut tally = Tally::default();
        let mut found = Vec::new();
        for (pid, (desk, board)) in workers.into_iter().zip(&self.desks) {
            let status = sys::wait(pid);
            assert_eq!(status, Status::Exited(0), "{name}: a worker of the harness ended: {}", board.complaint());
            let read = |counter: &AtomicU64| counter.load(Ordering::Acquire);
            tally += Tally {
                killed: read(&desk.killed),
                stopped: read(&desk.stopped),
                drifted: read(&board.drifted),
                violations: read(&desk.violations),
            };
            if read(&desk.violations) > 0 {
                found.push(Violation {
                    case: name.into(),
                    fate: if desk.fate.load(Ordering::Acquire) == 0 { Fate::Killed } else { Fate::Stopped },
                    n: desk.n.load(Ordering::Acquire),
                    address: read(&desk.address),
                    what: board.complaint(),
                });
            }
        }
        (tally, found)
    }
}

impl Desk {
    fn clear(&self) {
        for counter in [&self.killed, &self.stopped, &self.violations] {
            counter.store(0, Ordering::Relaxed);
        }
    }
}

fn work<'a>(
    desk: &Desk,
    board: &'static Board,
    rehearsed: &Rehearsed,
    all: &[Case],
    points: impl Iterator<Item = &'a (Fate, u32)>,
) {
    let mut first = None;
    for &(fate, n) in points {
        let counter = if fate == Fate::Killed { &desk.killed } else { &desk.stopped };
        counter.fetch_add(1, Ordering::Relaxed);
        if let Err(violation) = play(rehearsed, all, board, fate, n) {
            desk.violations.fetch_add(1, Ordering::Relaxed);
            first.get_or_insert(violation);
            if desk.violations.load(Ordering::Relaxed) >= ENOUGH {
                break;
            }
        }
    }
    if let Some(violation) = first {
        desk.n.store(violation.n, Ordering::Relaxed);
        desk.fate.store(u32::from(violation.fate == Fate::Stopped), Ordering::Relaxed);
        desk.address.store(violation.address, Ordering::Relaxed);
        board.clear();
        board.complain(&violation.what);
    }
}
