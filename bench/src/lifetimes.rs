//! Joining, leaving, dying: the costs, and the time until a death is forgotten.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tenure::{Raw, Space, collections::Queue};
use tenure_subjects::daemon::{Cpu, Daemon, Way};
use tenure_subjects::shared::Pages;
use tenure_subjects::team::{Child, Kind, Lap, Team, Work};
use tenure_subjects::tenured::Tenure;
use tenure_subjects::{Failed, Handles, Heap, Outcome, Subject};

use crate::stats::quantile;

/// The number of handles, and of blocks, that a victim holds when it is killed.
const HELD: usize = 100;
/// Blocks of the member whose death is the large one.
const MILLION: usize = 1_000_000;
/// Jobs of a queue that a victim has claimed.
const JOBS: usize = 10_000;
const LIMIT: Duration = Duration::from_secs(180);

/// An operation that was timed a number of times.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Lifetimes {
    /// The subject's name.
    pub subject: String,
    /// The operation.
    pub what: String,
    /// Milliseconds, each time.
    pub ms: Vec<f64>,
    /// Operations a second, where one follows the other.
    pub per_second: Option<f64>,
}

impl Lifetimes {
    pub(crate) fn new(subject: &str, what: &str, ms: Vec<f64>) -> Self {
        Self { subject: subject.into(), what: what.into(), ms, per_second: None }
    }

    /// Median, 99th percentile.
    #[must_use]
    pub fn p50_p99(&self) -> [f64; 2] {
        [quantile(&self.ms, 0.5), quantile(&self.ms, 0.99)]
    }
}

/// Everything here; `times` deaths of each kind.
///
/// # Errors
/// [`Failed`].
pub fn measure(times: usize) -> Outcome<Vec<Lifetimes>> {
    let mut all = comings(times)?;
    all.extend(deaths(times)?);
    all.extend(large_deaths((times / 10).max(3))?);
    all.extend(working_deaths((times / 4).max(3))?);
    Ok(all)
}

/// Joining and leaving, in turn.
fn comings(times: usize) -> Outcome<Vec<Lifetimes>> {
    let mut tenure = coming(Tenure::processes, |subject| {
        let member = subject.space().join().map_err(|error| Failed::of("join", error))?;
        member.leave().map_err(|error| Failed::of("leave", error))
    })?;
    let mut unguarded = coming(Tenure::unguarded, |subject| {
        let member = subject.space().join().map_err(|error| Failed::of("join", error))?;
        member.leave().map_err(|error| Failed::of("leave", error))
    })?;
    let mut daemon = coming(|| Daemon::new(Way::Socket, Cpu::Any), |subject| subject.join().map(drop))?;
    let mut ms = [Vec::new(), Vec::new(), Vec::new()];
    for _ in 0..times {
        for (team, ms) in [&mut tenure, &mut unguarded, &mut daemon].into_iter().zip(&mut ms) {
            ms.push(team.turn(1)?.ns / 1e6);
        }
    }
    let [tenure, unguarded, daemon] = ms;
    let what = "join and leave";
    Ok(vec![
        Lifetimes::new("tenure", what, tenure),
        Lifetimes::new("tenure, no monitor", what, unguarded),
        Lifetimes::new("daemon", what, daemon),
    ])
}

fn coming<S: Subject + 'static>(found: fn() -> Outcome<S>, come: fn(&S) -> Outcome<()>) -> Outcome<Team> {
    let subject = Arc::new(found()?);
    Team::fork(Kind::Processes, 1, move |_| {
        let subject = Arc::clone(&subject);
        Ok(Box::new(move |lap: &mut Lap<'_>| lap.each(|_| come(&subject))) as Work)
    })
}

/// A process that holds `blocks` blocks and as many handles, up to [`HELD`], and waits to be killed.
fn victim<S>(subject: &Arc<S>, blocks: usize) -> Outcome<Child>
where
    S: Subject<Member: Handles + Heap> + 'static,
{
    let subject = Arc::clone(subject);
    holder(move || {
        let mut member = subject.join()?;
        for number in 0..blocks {
            if number < HELD {
                member.create(number as u64)?;
            }
            member.alloc(std::alloc::Layout::new::<[u128; 4]>())?;
        }
        Ok(member)
    })
}

/// A process that has what `hold` returns, and waits to be killed.
fn holder<T>(hold: impl FnOnce() -> Outcome<T>) -> Outcome<Child> {
    let pages = Arc::new(Pages::new(4096)?);
    let told = Arc::clone(&pages);
    let mut child = Child::fork(move || {
        if let Ok(_held) = hold() {
            flag(&told).store(1, Ordering::Release);
            loop {
                std::thread::sleep(LIMIT);
            }
        }
    })?;
    let started = Instant::now();
    // Acquire: pairs with the Release above.
    while flag(&pages).load(Ordering::Acquire) == 0 {
        if let Some(how) = child.ended() {
            return Err(Failed::of("victim", how));
        }
        if started.elapsed() > LIMIT {
            return Err(Failed::of("victim", "not ready"));
        }
        std::thread::sleep(Duration::from_micros(20));
    }
    Ok(child)
}

fn flag(pages: &Pages) -> &AtomicU64 {
    // SAFETY: zeroed pages hold a zero, changed by atomics only.
    unsafe { pages.view() }
}

/// Milliseconds from the kill until `is_gone`.
fn until_gone(mut victim: Child, is_gone: impl Fn() -> bool) -> Outcome<f64> {
    let killed = Instant::now();
    victim.signal(libc::SIGKILL);
    while !is_gone() {
        if killed.elapsed() > LIMIT {
            return Err(Failed::of("the dead", "still there"));
        }
        // A recoverer needs the processor more than we do.
        std::thread::sleep(Duration::from_micros(10));
    }
    let ms = killed.elapsed().as_secs_f64() * 1e3;
    victim.wait();
    Ok(ms)
}

/// Whether only the `living` are members.
fn nobody_dead(space: &Space, living: usize) -> bool {
    space.leases().iter().filter(|lease| lease.live).count() <= living
}

fn survivor<S: Subject<Member: 'static> + 'static>(subject: &Arc<S>) -> Outcome<Team> {
    let subject = Arc::clone(subject);
    Team::fork(Kind::Processes, 1, move |_| {
        let member = subject.join()?;
        Ok(Box::new(move |lap: &mut Lap<'_>| {
            let _member = &member;
            lap.each(|_| Ok(()))
        }) as Work)
    })
}

fn deaths(times: usize) -> Outcome<Vec<Lifetimes>> {
    let tenure = Arc::new(Tenure::processes()?);
    let daemon = Arc::new(Daemon::new(Way::Socket, Cpu::Any)?);
    let _survivors = (survivor(&tenure)?, survivor(&daemon)?);
    let mut ms = [Vec::new(), Vec::new()];
    let mut seconds = [0.0, 0.0];
    for _ in 0..times {
        let started = Instant::now();
        ms[0].push(until_gone(victim(&tenure, HELD)?, || nobody_dead(tenure.space(), 1))?);
        seconds[0] += started.elapsed().as_secs_f64();
        let started = Instant::now();
        ms[1].push(until_gone(victim(&daemon, HELD)?, || daemon.book().in_use() == (0, 0))?);
        seconds[1] += started.elapsed().as_secs_f64();
    }
    let what = "killed holding 100 handles and 100 blocks: until nothing of it is left";
    Ok(["tenure", "daemon"]
        .into_iter()
        .zip(ms)
        .zip(seconds)
        .map(|((subject, ms), seconds)| {
            let per_second = Some(ms.len() as f64 / seconds);
            Lifetimes { per_second, ..Lifetimes::new(subject, what, ms) }
        })
        .collect())
}

/// A member with a million blocks dies: how long until all of them are free, and how long a recoverer works for that.
fn large_deaths(times: usize) -> Outcome<Vec<Lifetimes>> {
    let guarded = Arc::new(Tenure::processes()?);
    let unguarded = Arc::new(Tenure::unguarded()?);
    let daemon = Arc::new(Daemon::new(Way::Socket, Cpu::Any)?);
    let _survivors = (survivor(&guarded)?, survivor(&daemon)?);
    let of_recoverer = Arc::clone(&unguarded);
    let mut recoverer = Team::fork(Kind::Processes, 1, move |_| {
        let member = of_recoverer.member()?;
        Ok(Box::new(move |lap: &mut Lap<'_>| {
            lap.whole(1, || member.recover().map(drop).map_err(|error| Failed::of("recover", error)))
        }) as Work)
    })?;
    let mut ms = [Vec::new(), Vec::new(), Vec::new()];
    for _ in 0..times {
        ms[0].push(until_gone(victim(&guarded, MILLION)?, || nobody_dead(guarded.space(), 1))?);
        let mut dead = victim(&unguarded, MILLION)?;
        dead.kill();
        ms[1].push(recoverer.turn(1)?.ns / 1e6);
        if !nobody_dead(unguarded.space(), 1) {
            return Err(Failed::of("recover", "the dead one is still there"));
        }
    }
    // A million round trips to make one: once is enough.
    ms[2].push(until_gone(victim(&daemon, MILLION)?, || daemon.book().in_use() == (0, 0))?);
    let [tenure, recover, daemon] = ms;
    let what = "killed holding 1,000,000 blocks: until nothing of it is left";
    Ok(vec![
        Lifetimes::new("tenure", what, tenure),
        Lifetimes::new(
            "tenure, no monitor",
            "recover() after the death of a member with 1,000,000 blocks",
            recover,
        ),
        Lifetimes::new("daemon", what, daemon),
    ])
}

/// The queue of [`JOBS`] jobs, for a member that opens it or creates it.
fn jobs(space: &Space) -> Outcome<Queue<Raw>> {
    let member = space.join().map_err(|error| Failed::of("join", error))?;
    let jobs = Queue::create_or_open_raw(&member, "jobs", tenure::Kind::raw(1), JOBS as u32);
    Ok(jobs.map_err(|error| Failed::of("queue", error))?.into_inner())
}

/// A member that has claimed all jobs of a queue.
fn worker(space: &Arc<Space>) -> Outcome<Child> {
    let space = Arc::clone(space);
    holder(move || {
        let jobs = jobs(&space)?;
        let mut claims = Vec::with_capacity(JOBS);
        while let Some(claim) = jobs.claim().map_err(|error| Failed::of("claim", error))? {
            claims.push(claim);
        }
        if claims.len() == JOBS { Ok((jobs, claims)) } else { Err(Failed::of("claims", claims.len())) }
    })
}

/// A member dies that has claimed [`JOBS`] jobs: how long until all of them are in the queue again, and how long a recoverer works for that.
fn working_deaths(times: usize) -> Outcome<Vec<Lifetimes>> {
    let space = |monitor| -> Outcome<Arc<Space>> {
        let options = Space::options().handles(1 << 15).container_slots(1 << 14).scratch(1 << 20);
        let space = options.monitor(monitor).memfd();
        Ok(Arc::new(space.map_err(|error| Failed::of("tenure", error))?))
    };
    // Fills the queue, and is asked whether it is full again.
    let survivor = |space: &Arc<Space>, recovers: bool| -> Outcome<Team> {
        let space = Arc::clone(space);
        Team::fork(Kind::Processes, 1, move |_| {
            let jobs = jobs(&space)?;
            for number in 0..JOBS {
                jobs.push(&number.to_le_bytes()).map_err(|error| Failed::of("push", error))?;
            }
            let member = space.join().map_err(|error| Failed::of("join", error))?;
            Ok(Box::new(move |lap: &mut Lap<'_>| {
                lap.whole(1, || {
                    if recovers {
                        member.recover().map_err(|error| Failed::of("recover", error))?;
                    }
                    Ok(())
                })?;
                let len = jobs.len().map_err(|error| Failed::of("len", error))?;
                if len.waiting as usize == JOBS { Ok(()) } else { Err(Failed(format!("jobs: {len:?}"))) }
            }) as Work)
        })
    };
    let (guarded, unguarded) = (space(true)?, space(false)?);
    let (mut witness, mut recoverer) = (survivor(&guarded, false)?, survivor(&unguarded, true)?);
    let mut ms = [Vec::new(), Vec::new()];
    for _ in 0..times {
        // The survivor is two members: the one of the queue, and the one that recovers.
        ms[0].push(until_gone(worker(&guarded)?, || nobody_dead(&guarded, 2))?);
        witness.turn(1)?;
        worker(&unguarded)?.kill();
        ms[1].push(recoverer.turn(1)?.ns / 1e6);
    }
    let [tenure, recover] = ms;
    Ok(vec![
        Lifetimes::new(
            "tenure",
            "killed with 10,000 jobs of a queue claimed: until all of them wait again",
            tenure,
        ),
        Lifetimes::new(
            "tenure, no monitor",
            "recover() after the death of a member with 10,000 jobs of a queue claimed",
            recover,
        ),
    ])
}
