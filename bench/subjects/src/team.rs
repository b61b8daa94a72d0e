//! Processes that are forked once, sleep, and take turns being measured, so that a disturbance hits all subjects alike.
//!
//! Fork only from a process without other threads. Children die with their parent.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::shared::{Pages, cpu_count, futex_wait, futex_wake, pin_to_cpu};
use crate::subject::{Failed, Outcome};

/// The most members of a team.
pub const MEMBERS_MAX: usize = 8;
/// The most operations of one turn that are timed one by one, for each member.
pub const SAMPLES_MAX: usize = 1 << 14;

/// A process of ours: killed and reaped when dropped, and killed by the kernel when its parent dies.
#[derive(Debug)]
pub struct Child {
    pid: i32,
    reaped: bool,
}

impl Child {
    /// Runs `work` in a new process, which ends afterwards. Call it from a process without other threads.
    ///
    /// # Errors
    /// The errors of fork.
    pub fn fork(work: impl FnOnce()) -> io::Result<Self> {
        // SAFETY: asks for a number.
        let parent = unsafe { libc::getpid() };
        // SAFETY: the caller has no other threads, so the child may do all that its parent may.
        match unsafe { libc::fork() } {
            -1 => Err(io::Error::last_os_error()),
            0 => {
                // SAFETY: a setting of this process; then a number.
                unsafe {
                    libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                    if libc::getppid() != parent {
                        libc::_exit(1);
                    }
                }
                let status = i32::from(catch_unwind(AssertUnwindSafe(work)).is_err());
                // SAFETY: ends the process without running the parent's exit handlers.
                unsafe { libc::_exit(status) }
            }
            pid => Ok(Self { pid, reaped: false }),
        }
    }

    /// The process number.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Sends a signal.
    pub fn signal(&self, signal: i32) {
        if !self.reaped {
            // SAFETY: our own child, not reaped, so the number is still its.
            unsafe { libc::kill(self.pid, signal) };
        }
    }

    /// Kills the process and waits until it is gone.
    pub fn kill(&mut self) {
        self.signal(libc::SIGKILL);
        self.wait();
    }

    /// Waits until the process has ended.
    pub fn wait(&mut self) {
        if !self.reaped {
            // SAFETY: our own child; the status is not asked for.
            unsafe { libc::waitpid(self.pid, std::ptr::null_mut(), 0) };
            self.reaped = true;
        }
    }

    /// Whether the process has ended; if so, its end in words.
    pub fn ended(&mut self) -> Option<String> {
        if self.reaped {
            return Some("ended".into());
        }
        let mut status = 0;
        // SAFETY: our own child, and a place for its status.
        if unsafe { libc::waitpid(self.pid, &raw mut status, libc::WNOHANG) } != self.pid {
            return None;
        }
        self.reaped = true;
        Some(match status {
            status if libc::WIFSIGNALED(status) => format!("ended by signal {}", libc::WTERMSIG(status)),
            status => format!("exited with {}", libc::WEXITSTATUS(status)),
        })
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Nanoseconds of the clock that all processes share.
#[inline]
#[must_use]
pub fn now_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a place for the answer.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

#[repr(C)]
struct Board {
    /// Number of the current turn; futex of the members.
    turn: AtomicU32,
    /// The number of members that have finished, over all turns; futex of the measuring process.
    done: AtomicU32,
    arrived: AtomicU32,
    operations: AtomicU32,
    sampled: AtomicU32,
    slots: [Slot; MEMBERS_MAX],
}

#[repr(C, align(128))]
struct Slot {
    begun_ns: AtomicU64,
    ended_ns: AtomicU64,
    operations: AtomicU64,
    failed: AtomicU32,
    sample_count: AtomicU32,
    message: [AtomicU8; 256],
    samples: [AtomicU32; SAMPLES_MAX],
}

/// One turn, as a member sees it.
pub struct Lap<'b> {
    /// The number of operations to do.
    pub wanted: u32,
    slot: &'b Slot,
    sampled: bool,
}

impl Lap<'_> {
    /// Times that number of operations.
    ///
    /// # Errors
    /// The first error of an operation.
    #[inline(always)]
    pub fn each(&mut self, mut operation: impl FnMut(u32) -> Outcome<()>) -> Outcome<()> {
        if self.sampled { self.one_by_one(&mut operation) } else { self.all(&mut operation) }
    }

    /// Whether operations are to be timed one by one.
    #[must_use]
    pub fn is_sampled(&self) -> bool {
        self.sampled
    }

    /// Times one piece of work that consists of `operations`.
    ///
    /// # Errors
    /// The error of the work.
    #[inline(always)]
    pub fn whole(&mut self, operations: u64, work: impl FnOnce() -> Outcome<()>) -> Outcome<()> {
        let begun = now_ns();
        work()?;
        self.record(begun, now_ns(), operations);
        Ok(())
    }

    /// Records samples that were timed elsewhere, in nanoseconds.
    pub fn note(&mut self, samples_ns: impl Iterator<Item = u64>) {
        let (mut sum, mut count) = (0, 0);
        for ns in samples_ns.take(SAMPLES_MAX) {
            self.slot.samples[count].store(ns.min(u64::from(u32::MAX)) as u32, Ordering::Relaxed);
            sum += ns;
            count += 1;
        }
        self.slot.sample_count.store(count as u32, Ordering::Relaxed);
        self.record(0, sum, count as u64);
    }

    #[inline(never)]
    fn all(&mut self, operation: &mut impl FnMut(u32) -> Outcome<()>) -> Outcome<()> {
        let begun = now_ns();
        for number in 0..self.wanted {
            operation(number)?;
        }
        self.record(begun, now_ns(), self.wanted.into());
        Ok(())
    }

    #[inline(never)]
    fn one_by_one(&mut self, operation: &mut impl FnMut(u32) -> Outcome<()>) -> Outcome<()> {
        let begun = now_ns();
        let mut before = begun;
        for number in 0..self.wanted {
            operation(number)?;
            let after = now_ns();
            if let Some(sample) = self.slot.samples.get(number as usize) {
                sample.store((after - before).min(u64::from(u32::MAX)) as u32, Ordering::Relaxed);
            }
            before = after;
        }
        self.slot.sample_count.store(self.wanted.min(SAMPLES_MAX as u32), Ordering::Relaxed);
        self.record(begun, before, self.wanted.into());
        Ok(())
    }

    fn record(&mut self, begun: u64, ended: u64, operations: u64) {
        // Relaxed: published by the Release of `done`.
        self.slot.begun_ns.store(begun, Ordering::Relaxed);
        self.slot.ended_ns.store(ended, Ordering::Relaxed);
        self.slot.operations.store(operations, Ordering::Relaxed);
    }
}

/// The work of a member in a turn.
pub type Work = Box<dyn FnMut(&mut Lap<'_>) -> Outcome<()>>;

/// Whether the members of a team are processes or threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Each member is a process of its own.
    Processes,
    /// All members are threads of one process.
    Threads,
}

/// The result of one turn.
#[derive(Clone, Copy, Debug)]
pub struct Turn {
    /// From the first member's beginning to the last one's end, divided by one member's operations.
    pub ns: f64,
    /// From the first member's beginning to the last one's end.
    pub elapsed_ns: u64,
}

/// Members that wait for their turn.
pub struct Team {
    board: Arc<Pages>,
    children: Vec<Child>,
    members: usize,
    limit: Duration,
    /// Subjects may have processes of their own, which end when they are dropped.
    _kept: Box<dyn Any>,
}

impl Team {
    /// Forks `members`, each of which makes its work in its own process or thread.
    ///
    /// # Errors
    /// When a process cannot be made, or a member cannot make its work.
    pub fn fork<M>(kind: Kind, members: usize, make: M) -> Outcome<Self>
    where
        M: Fn(usize) -> Outcome<Work> + 'static,
    {
        assert!((1..=MEMBERS_MAX).contains(&members));
        let pages = Arc::new(Pages::new(size_of::<Board>())?);
        let make = Arc::new(Shareable(make));
        let mut children = Vec::new();
        match kind {
            Kind::Processes => {
                for rank in 0..members {
                    let (pages, make) = (Arc::clone(&pages), Arc::clone(&make));
                    children.push(Child::fork(move || member(board(&pages), members, rank, &make.0))?);
                }
            }
            Kind::Threads => {
                let (pages, make) = (Arc::clone(&pages), Arc::clone(&make));
                children.push(Child::fork(move || {
                    std::thread::scope(|scope| {
                        for rank in 0..members {
                            let (pages, make) = (&pages, &make);
                            scope.spawn(move || {
                                let make: &Shareable<M> = make;
                                member(board(pages), members, rank, &make.0);
                            });
                        }
                    });
                })?);
            }
        }
        let limit = Duration::from_secs(60);
        let mut team = Self { board: pages, children, members, limit, _kept: Box::new(make) };
        team.wait(0)?;
        Ok(team)
    }

    /// The time limit of a turn; a minute unless set here.
    pub fn set_limit(&mut self, limit: Duration) {
        self.limit = limit;
    }

    /// The members' processes.
    pub fn children(&mut self) -> &mut [Child] {
        &mut self.children
    }

    /// Lets all members do `operations` at once.
    ///
    /// # Errors
    /// A member's error; that it died; that it did not answer.
    pub fn turn(&mut self, operations: u32) -> Outcome<Turn> {
        self.begin(operations, false)
    }

    /// As [`Team::turn`], timing operations one by one; `each` gets the nanoseconds of every one.
    ///
    /// # Errors
    /// As [`Team::turn`].
    pub fn sampled_turn(&mut self, operations: u32, mut each: impl FnMut(u32)) -> Outcome<()> {
        self.begin(operations.min(SAMPLES_MAX as u32), true)?;
        for slot in &board(&self.board).slots[..self.members] {
            let count = slot.sample_count.load(Ordering::Relaxed) as usize;
            slot.samples[..count.min(SAMPLES_MAX)].iter().for_each(|ns| each(ns.load(Ordering::Relaxed)));
        }
        Ok(())
    }

    /// The number of operations for a turn of about `turn_ns`, found by running some.
    ///
    /// The first operations touch memory for the first time, or reserve it, and take a thousand times as long as later ones:
    /// the answer is only believed when turns of that many operations take that long again and again.
    ///
    /// # Errors
    /// As [`Team::turn`].
    pub fn calibrate(&mut self, turn_ns: u64) -> Outcome<u32> {
        const OPERATIONS_MAX: u64 = 1 << 20;
        const TURNS: usize = 24;
        let (mut operations, mut believed) = (16_u64, 0);
        // Picoseconds of an operation, the best of all turns: other programs, and first touches, make turns longer, never shorter.
        let mut best = u64::MAX;
        for turn in 0..TURNS {
            let elapsed = self.turn(operations as u32)?.elapsed_ns.max(1);
            best = best.min(elapsed * 1000 / operations).max(1);
            let wanted = (turn_ns * 1000 / best).clamp(1, OPERATIONS_MAX);
            believed = if wanted <= operations + operations / 4 { believed + 1 } else { 0 };
            operations = wanted.min(operations * 16);
            if believed >= 3 && turn >= TURNS / 2 {
                break;
            }
        }
        Ok(operations as u32)
    }

    fn begin(&mut self, operations: u32, sampled: bool) -> Outcome<Turn> {
        let pages = Arc::clone(&self.board);
        let board = board(&pages);
        board.operations.store(operations, Ordering::Relaxed);
        board.sampled.store(sampled.into(), Ordering::Relaxed);
        for slot in &board.slots[..self.members] {
            slot.sample_count.store(0, Ordering::Relaxed);
            slot.operations.store(0, Ordering::Relaxed);
        }
        // Release: publishes the orders above; pairs with the Acquire in `member`.
        let turn = board.turn.fetch_add(1, Ordering::Release) + 1;
        futex_wake(&board.turn, i32::MAX);
        self.wait(turn)?;
        let of = |field: fn(&Slot) -> &AtomicU64| {
            board.slots[..self.members].iter().map(move |slot| field(slot).load(Ordering::Relaxed))
        };
        let begun = of(|slot| &slot.begun_ns).min().unwrap_or(0);
        let ended = of(|slot| &slot.ended_ns).max().unwrap_or(0);
        let operations = of(|slot| &slot.operations).max().unwrap_or(0).max(1);
        let elapsed_ns = ended.saturating_sub(begun);
        Ok(Turn { ns: elapsed_ns as f64 / operations as f64, elapsed_ns })
    }

    /// Waits until all members have finished `turn`.
    fn wait(&mut self, turn: u32) -> Outcome<()> {
        let pages = Arc::clone(&self.board);
        let board = board(&pages);
        let expected = (turn + 1) * self.members as u32;
        let started = Instant::now();
        loop {
            // Acquire: pairs with the Release in `member`, which publishes the member's records.
            let done = board.done.load(Ordering::Acquire);
            if done >= expected {
                break;
            }
            futex_wait(&board.done, done, Duration::from_millis(100));
            // A member that failed may keep the others from finishing.
            if let Some(message) = self.message() {
                return Err(Failed(message));
            }
            for child in &mut self.children {
                if let Some(how) = child.ended() {
                    return Err(Failed(self.message().unwrap_or(how)));
                }
            }
            if started.elapsed() > self.limit {
                return Err(Failed(format!("no answer after {} s", self.limit.as_secs())));
            }
        }
        self.message().map_or(Ok(()), |message| Err(Failed(message)))
    }

    fn message(&self) -> Option<String> {
        let slots = &board(&self.board).slots[..self.members];
        // Acquire: pairs with the Release in `Slot::fail`.
        let slot = slots.iter().find(|slot| slot.failed.load(Ordering::Acquire) != 0)?;
        let bytes: Vec<u8> = slot.message.iter().map(|byte| byte.load(Ordering::Relaxed)).collect();
        Some(String::from_utf8_lossy(&bytes).trim_end_matches('\0').to_owned())
    }
}

/// Members are processes, which do not share it, or threads.
struct Shareable<M>(M);

// SAFETY: with processes nothing is shared. Where members are threads, subjects are made of locks, atomics and values
// without interior mutability; `Team::fork` is given no others.
unsafe impl<M> Sync for Shareable<M> {}
// SAFETY: as above.
unsafe impl<M> Send for Shareable<M> {}

fn board(pages: &Pages) -> &Board {
    // SAFETY: the pages are as large as a board, which consists of atomics and is valid when zero.
    unsafe { pages.view() }
}

impl Slot {
    fn fail(&self, why: &Failed) {
        for (to, &from) in self.message.iter().zip(why.0.as_bytes()) {
            to.store(from, Ordering::Relaxed);
        }
        // Release: publishes the message; pairs with the Acquire in `Team::message`.
        self.failed.store(1, Ordering::Release);
    }
}

fn member(board: &Board, members: usize, rank: usize, make: &dyn Fn(usize) -> Outcome<Work>) {
    let slot = &board.slots[rank];
    let finish = || {
        // Release: publishes this member's records; pairs with the Acquire in `Team::wait`.
        board.done.fetch_add(1, Ordering::Release);
        futex_wake(&board.done, 1);
    };
    if members > 1 && members <= cpu_count() {
        pin_to_cpu(rank);
    }
    let mut work = match make(rank) {
        Ok(work) => work,
        Err(error) => return slot.fail(&error),
    };
    finish();
    let mut turn = 0;
    loop {
        // Acquire: pairs with the Release in `Team::begin`.
        while board.turn.load(Ordering::Acquire) == turn {
            futex_wait(&board.turn, turn, Duration::from_secs(1));
        }
        turn += 1;
        meet(&board.arrived, turn * members as u32);
        let mut lap = Lap {
            wanted: board.operations.load(Ordering::Relaxed),
            slot,
            sampled: board.sampled.load(Ordering::Relaxed) != 0,
        };
        if let Err(error) = work(&mut lap) {
            slot.fail(&error);
            finish();
            return;
        }
        finish();
    }
}

/// Waits until `count` have come.
fn meet(arrived: &AtomicU32, count: u32) {
    // AcqRel: all that was done before one arrival is visible after the last one.
    arrived.fetch_add(1, Ordering::AcqRel);
    let mut looks = 0_u32;
    while arrived.load(Ordering::Acquire) < count {
        looks += 1;
        if looks < 1000 {
            std::hint::spin_loop();
        } else {
            std::thread::yield_now();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_team_of_processes_counts_and_fails_in_words() {
        let mut team = Team::fork(Kind::Processes, 2, |rank| {
            let mut laps = 0;
            Ok(Box::new(move |lap: &mut Lap<'_>| {
                laps += 1;
                if laps == 3 && rank == 1 {
                    return Err(Failed("third lap".into()));
                }
                lap.each(|_| Ok(()))
            }))
        })
        .unwrap();
        assert!(team.turn(1000).unwrap().ns > 0.0);
        let mut count = 0;
        team.sampled_turn(100, |_| count += 1).unwrap();
        assert_eq!(count, 200);
        assert_eq!(team.turn(1).unwrap_err(), Failed("third lap".into()));
    }

    #[test]
    fn a_member_that_dies_is_noticed() {
        let mut team = Team::fork(Kind::Processes, 1, |_| Ok(Box::new(|lap| lap.each(|_| Ok(()))))).unwrap();
        team.turn(1).unwrap();
        team.children()[0].signal(libc::SIGKILL);
        assert_eq!(team.turn(1).unwrap_err(), Failed("ended by signal 9".into()));
    }
}
