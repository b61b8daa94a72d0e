//! The effect of a SIGKILL, and of a SIGSTOP, at a bad moment on each subject: by doing it, many times.
//!
//! A victim creates, opens, closes, allocates and frees as fast as it can, and gets the signal at a random moment. Then
//! a survivor that was there before tries to do the same. Only this harness has a timeout.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};
use tenure_subjects::daemon::{Cpu, Daemon, Way};
use tenure_subjects::mutex::{Lock, Locked, Plain, Robust};
use tenure_subjects::pools::Rts;
use tenure_subjects::shared::Pages;
use tenure_subjects::team::{Child, Kind, Lap, Team, Work};
use tenure_subjects::tenured::Tenure;
use tenure_subjects::{Failed, Handles, Heap, Outcome, Subject};

/// The time limit for a survivor's work, which takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(2);
/// The time limit for a victim to begin.
const START: Duration = Duration::from_secs(30);
/// The time limit until the victim's handles and blocks must be recovered.
const GRACE: Duration = Duration::from_millis(500);
/// The number of handles, and of blocks, that the victim holds all the time.
const HELD: usize = 100;

/// The results of one subject.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Signals {
    /// Its name.
    pub subject: String,
    /// The process that gets the signal.
    pub victim: String,
    /// The number of kills.
    pub kills: u32,
    /// The number of kills after which the survivor did not finish.
    pub kills_hung: u32,
    /// The number of kills after which the survivor got an error.
    pub kills_failed: u32,
    /// The error that the survivor got, if it got one.
    pub error: Option<String>,
    /// The number of kills after which remains of the dead were still there after half a second.
    pub kills_leaked: u32,
    /// The remains, in the subject's own terms; of the last kill that left some.
    pub left: Option<String>,
    /// The number of kills after which the shared state contradicted itself.
    pub kills_torn: u32,
    /// Milliseconds from the kill until there were no remains of the dead, for each kill after which that happened.
    pub reclaimed_ms: Vec<f64>,
    /// The number of stops.
    pub stops: u32,
    /// The number of stops during which the survivor did not finish.
    pub stops_hung: u32,
}

/// The remains of the dead, seen from outside.
enum Left {
    Nothing,
    Something(String),
    Torn(String),
}

/// Hits every subject `times` with each signal.
///
/// # Errors
/// When a subject cannot be founded at all.
pub fn measure(times: u32) -> Outcome<Vec<Signals>> {
    let mut all = vec![
        signals("tenure", times, Tenure::processes, both, left_of_tenure)?,
        signals("robust-mutex", times, Locked::<Robust>::new, both, left_of_book)?,
        signals("mutex", times, Locked::<Plain>::new, both, left_of_book)?,
        signals("daemon", times, || Daemon::new(Way::Socket, Cpu::Any), both, left_of_daemon)?,
        signals("daemon, ring", times, || Daemon::new(Way::Ring, Cpu::Any), both, left_of_daemon)?,
        signals("rts-alloc", times, Rts::countable, blocks_only, left_of_rts)?,
    ];
    let few = times.min(3);
    all.push(daemon_itself("daemon", few, Way::Socket)?);
    all.push(daemon_itself("daemon, ring", few, Way::Ring)?);
    Ok(all)
}

/// The work of a member: some of every operation, holding [`HELD`] of each; never ends by itself.
type Labour<M> = fn(&mut M, u32) -> Outcome<()>;

fn layout() -> std::alloc::Layout {
    std::alloc::Layout::new::<[u128; 4]>()
}

fn both<M: Handles + Heap>(member: &mut M, rounds: u32) -> Outcome<()> {
    let mut held = Vec::new();
    let mut blocks = Vec::new();
    for _ in 0..HELD {
        held.push(member.create(1)?);
        blocks.push(member.alloc(layout())?);
    }
    for round in 0..rounds as usize {
        let slot = round % HELD;
        let token = member.token(&held[slot]);
        let opened = member.open(token)?;
        member.close(opened)?;
        member.close(held[slot])?;
        held[slot] = member.create(round as u64)?;
        member.free(blocks[slot], layout())?;
        blocks[slot] = member.alloc(layout())?;
    }
    held.into_iter().try_for_each(|held| member.close(held))?;
    blocks.into_iter().try_for_each(|block| member.free(block, layout()))
}

fn blocks_only<M: Heap>(member: &mut M, rounds: u32) -> Outcome<()> {
    let blocks = (0..HELD).map(|_| member.alloc(layout())).collect::<Outcome<Vec<_>>>();
    let mut blocks = blocks?;
    for round in 0..rounds as usize {
        let slot = round % HELD;
        member.free(blocks[slot], layout())?;
        blocks[slot] = member.alloc(layout())?;
    }
    blocks.into_iter().try_for_each(|block| member.free(block, layout()))
}

/// A survivor whose turn is some work, and a victim that works until it is hit.
struct Scene<S> {
    subject: Arc<S>,
    survivor: Team,
    victim: Child,
    progress: Arc<Pages>,
}

fn progress(pages: &Pages) -> &AtomicU64 {
    // SAFETY: zeroed pages hold a zero, changed by atomics only.
    unsafe { pages.view() }
}

impl<S: Subject + 'static> Scene<S>
where
    S::Member: 'static,
{
    fn set(found: fn() -> Outcome<S>, labour: Labour<S::Member>) -> Outcome<Self> {
        let subject = Arc::new(found()?);
        let of_survivor = Arc::clone(&subject);
        let mut survivor = Team::fork(Kind::Processes, 1, move |_| {
            let mut member = of_survivor.join()?;
            Ok(Box::new(move |lap: &mut Lap<'_>| {
                let rounds = lap.wanted;
                lap.whole(rounds.into(), || labour(&mut member, rounds))
            }) as Work)
        })?;
        survivor.turn(1000)?;
        survivor.set_limit(PATIENCE);
        let progress_pages = Arc::new(Pages::new(4096)?);
        let (of_victim, pages) = (Arc::clone(&subject), Arc::clone(&progress_pages));
        let victim = Child::fork(move || {
            let Ok(mut member) = of_victim.join() else { return };
            progress(&pages).fetch_add(1, Ordering::Relaxed);
            while labour(&mut member, 1 << 20).is_ok() {}
        })?;
        let started = Instant::now();
        while progress(&progress_pages).load(Ordering::Relaxed) == 0 {
            if started.elapsed() > START {
                return Err(Failed::of("victim", "did not begin"));
            }
            std::thread::sleep(Duration::from_micros(50));
        }
        Ok(Self { subject, survivor, victim, progress: progress_pages })
    }

    /// Lets the victim reach its steady state.
    fn stride(&self, rng: &mut StdRng) {
        let _ = &self.progress;
        std::thread::sleep(Duration::from_micros(rng.random_range(2_000..5_000)));
    }
}

fn is_hung(error: &Failed) -> bool {
    error.0.starts_with("no answer")
}

fn signals<S: Subject<Member: 'static> + 'static>(
    name: &str,
    times: u32,
    found: fn() -> Outcome<S>,
    labour: Labour<S::Member>,
    left: fn(&S) -> Left,
) -> Outcome<Signals> {
    let mut rng = StdRng::seed_from_u64(1);
    let mut signals = Signals { subject: name.to_owned(), victim: "a member".into(), ..Signals::default() };
    for _ in 0..times {
        let mut scene = Scene::set(found, labour)?;
        scene.stride(&mut rng);
        let killed = Instant::now();
        scene.victim.signal(libc::SIGKILL);
        signals.kills += 1;
        let mut seen = left(&scene.subject);
        while matches!(seen, Left::Something(_)) && killed.elapsed() < GRACE {
            std::thread::sleep(Duration::from_micros(50));
            seen = left(&scene.subject);
        }
        let gone_ms = killed.elapsed().as_secs_f64() * 1e3;
        let answer = scene.survivor.turn(1000);
        signals.answered(answer.map(drop));
        match seen {
            Left::Nothing => signals.reclaimed_ms.push(gone_ms),
            Left::Something(what) => {
                signals.kills_leaked += 1;
                signals.left = Some(what);
            }
            Left::Torn(what) => {
                signals.kills_leaked += 1;
                signals.kills_torn += 1;
                signals.left = Some(what);
            }
        }
    }
    for _ in 0..times {
        let mut scene = Scene::set(found, labour)?;
        scene.stride(&mut rng);
        scene.victim.signal(libc::SIGSTOP);
        signals.stops += 1;
        if scene.survivor.turn(1000).is_err_and(|error| is_hung(&error)) {
            signals.stops_hung += 1;
        }
    }
    Ok(signals)
}

impl Signals {
    fn answered(&mut self, answer: Outcome<()>) {
        match answer {
            Ok(()) => {}
            Err(error) if is_hung(&error) => self.kills_hung += 1,
            Err(error) => {
                self.kills_failed += 1;
                self.error = Some(error.0);
            }
        }
    }
}

fn daemon_itself(name: &str, times: u32, way: Way) -> Outcome<Signals> {
    let mut signals = Signals { subject: name.to_owned(), victim: "the daemon".into(), ..Signals::default() };
    for signal in 0..2 * times {
        let daemon = Arc::new(Daemon::new(way, Cpu::Any)?);
        let of_survivor = Arc::clone(&daemon);
        let mut survivor = Team::fork(Kind::Processes, 1, move |_| {
            let mut member = of_survivor.join()?;
            Ok(Box::new(move |lap: &mut Lap<'_>| {
                let rounds = lap.wanted;
                lap.whole(rounds.into(), || both(&mut member, rounds))
            }) as Work)
        })?;
        survivor.turn(100)?;
        survivor.set_limit(PATIENCE);
        let kills = signal % 2 == 0;
        daemon.signal(if kills { libc::SIGKILL } else { libc::SIGSTOP });
        let answer = survivor.turn(100).map(drop);
        if kills {
            signals.kills += 1;
            signals.kills_leaked += 1;
            signals.left = Some("everything: nobody knows any more who held what".into());
            signals.answered(answer);
        } else {
            signals.stops += 1;
            signals.stops_hung += u32::from(answer.is_err_and(|error| is_hung(&error)));
        }
    }
    Ok(signals)
}

fn left_of_tenure(subject: &Tenure) -> Left {
    let dead = subject.space().leases().iter().any(|lease| lease.live && lease.held == Some(false));
    let report = subject.space().check();
    if !report.is_clean() {
        return Left::Torn(report.violations.join("; "));
    }
    let (handles, blocks) = (report.stats.handles_live, report.stats.blocks_live());
    match (dead, handles, blocks) {
        (false, 0, 0) => Left::Nothing,
        _ => Left::Something(format!("{handles} handles, {blocks} blocks")),
    }
}

fn left_of_daemon(subject: &Daemon) -> Left {
    match subject.book().in_use() {
        (0, 0) => Left::Nothing,
        (holds, blocks) => Left::Something(format!("{holds} holds, {blocks} blocks")),
    }
}

fn left_of_book<L: Lock>(subject: &Locked<L>) -> Left {
    let (holds, blocks) = subject.book().in_use();
    // SAFETY: nobody works: the victim is dead, and the survivor waits for its turn.
    if unsafe { subject.book().is_torn() } {
        return Left::Torn(format!("{holds} holds, {blocks} blocks, and lists that contradict the counts"));
    }
    match (holds, blocks) {
        (0, 0) => Left::Nothing,
        _ => Left::Something(format!("{holds} holds, {blocks} blocks")),
    }
}

fn left_of_rts(subject: &Rts) -> Left {
    // One is the survivor.
    match subject.workers() {
        0 | 1 => Left::Nothing,
        workers => Left::Something(format!("{} worker slot, with its slabs", workers - 1)),
    }
}
