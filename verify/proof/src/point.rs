//! Points: a fresh space, a survivor, an actor that is killed or stopped after exactly n instructions, and the checks.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::actor::Actor;
use crate::apart::{apart, use_region};
use crate::board::{Board, Phase, panic_to};
use crate::case::{Case, Half, Stage};
use crate::stretch;
use crate::survivor::{Survivor, remove, remove_files};
use crate::sys::{self, Status};
use crate::track::{Tape, Track};

/// The fate of the actor at its n-th instruction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Fate {
    #[default]
    Killed,
    Stopped,
}

impl Fate {
    pub(crate) fn verb(self) -> &'static str {
        match self {
            Self::Killed => "killed",
            Self::Stopped => "stopped",
        }
    }
}

/// A case whose actors were rehearsed: the dead ones first, then the one that is stepped.
pub(crate) struct Rehearsed {
    pub(crate) case: Case,
    pub(crate) halves: Vec<Track>,
    pub(crate) track: Track,
}

impl Rehearsed {
    /// Whether a shared step is at most 8 instructions away.
    pub(crate) fn is_near_a_step(&self, n: u32) -> bool {
        let steps = &self.track.steps;
        let next = steps.partition_point(|step| step + 8 < n);
        steps.get(next).is_some_and(|step| *step <= n + 8)
    }
}

/// A point that failed.
#[derive(Clone, Debug)]
pub(crate) struct Violation {
    pub(crate) case: String,
    /// The place, in words.
    pub(crate) point: String,
    /// Options of the command that repeats it.
    pub(crate) again: String,
    pub(crate) address: u64,
    pub(crate) what: String,
}

impl Violation {
    /// A failure of a case before any kill or stop.
    pub(crate) fn rehearsing(case: String, what: String) -> Self {
        let again = format!("--case {case:?}");
        Self { case, point: "left alone".into(), again, address: 0, what }
    }
}

/// The result of playing a stretch.
#[derive(Clone, Debug, Default)]
pub(crate) struct Played {
    pub(crate) points: u64,
    pub(crate) survivors: u64,
    /// Survivors that timed out, once.
    pub(crate) slow: u64,
    pub(crate) violation: Option<Violation>,
}

/// The time limit of a survivor, in seconds. A survivor that exceeds it counts as one that waits, if the next one at
/// the same point exceeds it too: the machine itself may have stopped. A point takes a few milliseconds. Faults make
/// survivors wait, which must not cost minutes.
pub(crate) const FAIL_SAFE_SECONDS: u32 = if cfg!(feature = "faults") { 4 } else { 20 };

/// The failure of a survivor.
pub(crate) enum Wrong {
    /// It exceeded the time limit.
    Late(String),
    Else(String),
}

impl Wrong {
    pub(crate) fn what(self) -> String {
        let (Self::Late(what) | Self::Else(what)) = self;
        what
    }
}

/// Runs `play` as a survivor's process; returns the failure, if there is one.
pub(crate) fn stage(board: &'static Board, seconds: u32, play: impl FnOnce()) -> Result<(), Wrong> {
    board.clear();
    let started = Instant::now();
    // SAFETY: the harness has one thread.
    let Some(pid) = (unsafe { sys::fork() }) else {
        use_region(false);
        panic_to(board);
        sys::alarm(seconds);
        play();
        sys::exit(0);
    };
    let status = sys::wait(pid);
    remove(&name_of(pid as u64));
    // A killed actor may end after its survivor, and create until then: its survivor's names once more.
    static BEFORE: AtomicU64 = AtomicU64::new(0);
    // Relaxed: the harness has one thread.
    remove_files(&name_of(BEFORE.swap(pid as u64, Ordering::Relaxed)));
    match status {
        Status::Exited(0) => Ok(()),
        Status::Exited(101) => Err(Wrong::Else(board.complaint())),
        Status::Killed(libc::SIGALRM) => {
            let seconds = started.elapsed().as_secs_f32();
            Err(Wrong::Late(format!("the survivor was not done after {seconds:.0} s: it waits")))
        }
        status => Err(Wrong::Else(format!("the survivor ended by {status:?}; {}", board.complaint()))),
    }
}

/// The name of the space that a survivor of this pid lets an actor create.
pub(crate) fn name_of(pid: u64) -> String {
    format!("proof-{pid}")
}

/// All processes of a point: an actor that is to be dead is stopped where it dies, or waits for the earlier ones to
/// die.
pub(crate) struct Scene {
    pub(crate) survivor: Survivor,
    early: Vec<Actor>,
    late: Vec<(Actor, usize)>,
}

impl Scene {
    /// Starts the first actors of the cast, as many as there are tracks; of `late` ones all.
    pub(crate) fn new(case: &Case, cast: &[Case], tracks: &[Track], board: &'static Board) -> Self {
        let mut survivor = Survivor::new(case.size, board);
        (case.before)(&mut survivor);
        cast.iter().for_each(|half| (half.before)(&mut survivor));
        let mut scene = Self { survivor, early: Vec::new(), late: Vec::new() };
        let early = |at: &usize| !case.halves[*at].late;
        for at in (0..tracks.len()).filter(early) {
            let actor = start(&cast[at], &mut scene.survivor);
            actor.run_to(&tracks[at], tracks[at].len());
            scene.early.push(actor);
        }
        scene
    }

    /// Starts all other actors; then those to be dead die, one after the other. The actor left is the case's own.
    pub(crate) fn begin(&mut self, case: &Case, cast: &[Case], tracks: &[Track]) -> Actor {
        for at in (0..cast.len()).filter(|at| case.halves[*at].late) {
            self.late.push((start(&cast[at], &mut self.survivor), at));
        }
        self.survivor.has_met = false;
        let actor = start(case, &mut self.survivor);
        self.early.drain(..).for_each(Actor::kill);
        while let Some((half, at)) = (!self.late.is_empty()).then(|| self.late.remove(0)) {
            let Some(track) = tracks.get(at) else {
                self.late.insert(0, (half, at));
                break;
            };
            self.survivor.board.set_phase(0, Phase::Begun);
            half.run_to(track, track.len());
            half.kill();
        }
        self.survivor.board.set_phase(0, Phase::Begun);
        self.survivor.note_dead();
        actor
    }

    /// Two actors are stopped where their operations begin; then those to be dead die.
    pub(crate) fn begin_both(&mut self, first: &Case, second: &Case) -> [Actor; 2] {
        let first = seat(first, &mut self.survivor, 0, true);
        let second = seat(second, &mut self.survivor, 1, true);
        self.survivor.is_delayed = true;
        self.early.drain(..).for_each(Actor::kill);
        self.survivor.note_dead();
        [first, second]
    }

    /// Whether the actor's work can be undone: it changes bytes only, and nobody else is at work, such as a sleeper's
    /// thread that waits for the end of a process.
    pub(crate) fn is_repeatable(&self, case: &Case) -> bool {
        let sleeper = self.survivor.things.as_ref().and_then(|things| things.sleeper());
        !case.sampled
            && case.halves.iter().all(|half| !half.late)
            && [Some(std::process::id() as libc::pid_t), sleeper]
                .into_iter()
                .flatten()
                .all(sys::has_one_thread)
    }
}

pub(crate) fn start(case: &Case, survivor: &mut Survivor) -> Actor {
    seat(case, survivor, 0, false)
}

/// Starts an actor at one of the seats; it is stopped where its operation begins.
pub(crate) fn seat(case: &Case, survivor: &mut Survivor, seat: usize, is_shared: bool) -> Actor {
    let stage = Stage { guarded: case.guarded, seat, is_shared, ..survivor.stage() };
    let actor = Actor::start(stage, case.script);
    while actor.is(Phase::Meeting) {
        (case.assist)(survivor);
        survivor.has_met = true;
        actor.go_on();
    }
    assert!(actor.is(Phase::Begun), "{}: the operation does not begin", case.name);
    actor
}

/// Steps all actors of a case once and records their tracks.
pub(crate) fn rehearse(
    case: &Case,
    all: &[Case],
    board: &'static Board,
    tape: &Tape,
) -> Result<Rehearsed, String> {
    let cast = cast_of(case, all)?;
    let halves = rehearse_halves(case, &cast, board, tape)?;
    stage(board, 10 * FAIL_SAFE_SECONDS, || {
        let mut scene = Scene::new(case, &cast, &halves, board);
        let actor = scene.begin(case, &cast, &halves);
        let mut seen = Vec::new();
        apart(|| actor.rehearse(tape, None, || scene.survivor.has_changed(&mut seen)));
        actor.finish();
    })
    .map_err(Wrong::what)?;
    Ok(Rehearsed { case: case.clone(), halves, track: tape.track() })
}

/// Steps the actors that will be dead when the operation of a case begins.
pub(crate) fn rehearse_halves(
    case: &Case,
    cast: &[Case],
    board: &'static Board,
    tape: &Tape,
) -> Result<Vec<Track>, String> {
    let mut halves: Vec<Track> = Vec::new();
    for (number, half) in case.halves.iter().enumerate() {
        stage(board, 10 * FAIL_SAFE_SECONDS, || {
            let mut scene = Scene::new(case, cast, &halves, board);
            let actor = if half.late {
                let _own = scene.begin(case, cast, &halves);
                scene.late.remove(0).0
            } else {
                start(&cast[number], &mut scene.survivor)
            };
            let mut seen = Vec::new();
            apart(|| actor.rehearse(tape, Some(half.steps), || scene.survivor.has_changed(&mut seen)));
        })
        .map_err(Wrong::what)?;
        halves.push(tape.track());
    }
    Ok(halves)
}

pub(crate) fn cast_of(case: &Case, all: &[Case]) -> Result<Vec<Case>, String> {
    let find = |name: &str| all.iter().find(|case| case.name == name).cloned();
    let of = |half: &Half| {
        let found = find(half.case).ok_or_else(|| format!("no case {:?}", half.case))?;
        Ok(Case { guarded: case.guarded, ..found })
    };
    case.halves.iter().map(of).collect()
}

/// Kills or stops an actor after each of these numbers of instructions, between which nothing shared happens, and checks everything;
/// as far as the first violation.
pub(crate) fn play(
    rehearsed: &Rehearsed,
    all: &[Case],
    board: &'static Board,
    fate: Fate,
    points: &[(Fate, u32)],
) -> Played {
    let mut done = Played::default();
    let mut left = points;
    while !left.is_empty() && done.violation.is_none() {
        let slow = &mut done.slow;
        let mut play = |points| in_time(slow, || play_some(rehearsed, all, board, fate, points));
        let mut result = play(left);
        let played = (board.played.load(Ordering::Acquire) as usize).clamp(1, left.len());
        let mut n = left[played - 1].1;
        done.points += played as u64;
        done.survivors += 1;
        let owes = board.owes.load(Ordering::Acquire) != 0 && played > 1;
        if owes && result.is_ok() {
            n = left[played - 2].1;
            done.survivors += 1;
            result = play(&[(fate, n)]);
        }
        done.violation = result.err().map(|wrong| Violation {
            case: crate::pool::title(&rehearsed.case),
            point: format!("{} at {n}", fate.verb()),
            again: format!("--case {:?} --at {n} --fate {}", rehearsed.case.name, fate.verb()),
            address: rehearsed.track.address(n),
            what: wrong.what(),
        });
        left = &left[played..];
    }
    done
}

/// Plays a point, and once more if its survivor timed out: the machine itself may have stopped.
pub(crate) fn in_time(slow: &mut u64, play: impl Fn() -> Result<(), Wrong>) -> Result<(), Wrong> {
    match play() {
        Err(Wrong::Late(_)) if !cfg!(feature = "faults") => {
            let again = play();
            *slow += u64::from(again.is_ok());
            again
        }
        result => result,
    }
}

/// Plays as many of the points as one survivor can see.
fn play_some(
    rehearsed: &Rehearsed,
    all: &[Case],
    board: &'static Board,
    fate: Fate,
    points: &[(Fate, u32)],
) -> Result<(), Wrong> {
    let Rehearsed { case, halves, track } = rehearsed;
    let cast = cast_of(case, all).map_err(Wrong::Else)?;
    stage(board, FAIL_SAFE_SECONDS, || {
        let mut scene = Scene::new(case, &cast, halves, board);
        match fate {
            Fate::Killed => {
                stretch::kill_along(&mut scene, rehearsed, &cast, points);
                after_a_death(&mut scene.survivor, case);
            }
            Fate::Stopped => {
                let actor = scene.begin(case, &cast, halves);
                actor.run_to(track, points[0].1);
                while_stopped(&mut scene.survivor, case, actor, 0);
            }
        }
        scene.survivor.settle();
        scene.survivor.end();
    })
}

/// The survivor goes on before anything is recovered, recovers, and a newcomer finds room.
pub(crate) fn after_a_death(survivor: &mut Survivor, case: &Case) {
    survivor.actor_died = true;
    survivor.dead_before = !case.halves.is_empty();
    survivor.everything(case.uses_up);
    (case.meanwhile)(survivor);
    survivor.me.recover().unwrap();
    survivor.is_delayed = false;
    survivor.assert_nothing_is_left();
    (case.after)(survivor);
    survivor.assert_recovered(0);
    survivor.welcome_guest(false);
    survivor.see_off_guest();
    survivor.everything(false);
}

/// The survivor does everything while the actor is stopped; then the actor goes on to a success. So many others were
/// killed.
pub(crate) fn while_stopped(survivor: &mut Survivor, case: &Case, actor: Actor, killed: usize) {
    let dead = case.halves.len() + killed;
    survivor.actor_died = killed > 0;
    survivor.dead_before = dead > 0;
    survivor.everything(case.uses_up);
    (case.meanwhile)(survivor);
    let before = survivor.me.reclaimed().leases;
    survivor.me.recover().unwrap();
    let recovered = survivor.me.reclaimed().leases - before;
    assert!(recovered <= dead as u64, "recovered {recovered} members, where only {dead} were dead");
    let kept = survivor.space.leases().into_iter().find(|lease| survivor.is_of_the_dead(lease));
    assert!(
        kept.is_none() || case.full_house,
        "the stopped one keeps the dead from being recovered: {kept:?}"
    );
    survivor.welcome_guest(case.uses_up);
    survivor.verify("while somebody is stopped");
    let report = survivor.space.check();
    assert!(report.is_clean(), "while somebody is stopped: {report:#?}");
    actor.finish();
    survivor.is_delayed = false;
    survivor.verify("after the stopped one went on");
    survivor.me.recover().unwrap();
    (case.after)(survivor);
    survivor.see_off_guest();
    survivor.everything(false);
}
