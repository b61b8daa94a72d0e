//! Pairs: two operations at once.
//!
//! The first actor stands right before or right after one of its shared steps. From there the second one runs to right before or right
//! after each of *its* shared steps. Then one of them, or both, is killed, or one is stopped; the other one goes on to a success,
//! at once or when the survivor has recovered and done everything. Points whose shared bytes, locks and program counters agree with
//! those of a point that was played are left out.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::actor::Actor;
use crate::apart::apart;
use crate::board::Board;
use crate::case::{Case, Part, Script, Size};
use crate::point::{
    FAIL_SAFE_SECONDS, Scene, Violation, Wrong, after_a_death, cast_of, in_time, rehearse_halves, stage,
    while_stopped,
};
use crate::sys;
use crate::track::{Tape, Track};

/// Two operations at once, and the parts before and after.
#[derive(Clone)]
pub(crate) struct Pair {
    pub(crate) name: &'static str,
    /// The first operation, with the survivor's parts and the dead.
    pub(crate) first: Case,
    /// The second operation.
    pub(crate) second: Case,
}

impl Pair {
    pub(crate) fn new(name: &'static str, first: Script, second: Script) -> Self {
        Self { name, first: Case::new(name, first), second: Case::new(name, second) }
    }

    pub(crate) fn size(mut self, size: Size) -> Self {
        self.first = self.first.size(size);
        self.second = self.second.size(size);
        self
    }

    /// The survivor's part before any other process exists.
    pub(crate) fn before(mut self, part: Part) -> Self {
        self.first.before = part;
        self
    }

    /// The survivor's part when the first actor meets it.
    pub(crate) fn assist_first(mut self, part: Part) -> Self {
        self.first.assist = part;
        self
    }

    /// The survivor's part when the second actor meets it.
    pub(crate) fn assist_second(mut self, part: Part) -> Self {
        self.second.assist = part;
        self
    }

    /// The survivor's part while a process is stopped, or dead and not recovered.
    pub(crate) fn meanwhile(mut self, part: Part) -> Self {
        self.first.meanwhile = part;
        self
    }

    /// The survivor's part when nobody is at work any more.
    pub(crate) fn after(mut self, part: Part) -> Self {
        self.first.after = part;
        self
    }

    /// A process that was killed in another case after so many of its shared steps.
    pub(crate) fn half(mut self, case: &'static str, steps: u32) -> Self {
        self.first = self.first.half(case, steps);
        self
    }

    pub(crate) fn guarded(mut self) -> Self {
        (self.first.guarded, self.second.guarded) = (true, true);
        self
    }

    pub(crate) fn uses_up(mut self) -> Self {
        self.first.uses_up = true;
        self
    }
}

/// The fate of the two at their places.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Ends {
    /// One is killed, and the other one goes on.
    SecondKilled,
    FirstKilled,
    BothKilled,
    /// One is killed. The other one is stopped until everything is recovered, and goes on then.
    SecondKilledFirstStopped,
    FirstKilledSecondStopped,
    /// One is stopped until the other one is done and the survivor has done everything.
    SecondStopped,
    /// Played once for each place of the first: the second one runs to its end.
    FirstStopped,
}

impl Ends {
    const ALL: [Self; 7] = [
        Self::SecondKilled,
        Self::FirstKilled,
        Self::BothKilled,
        Self::SecondKilledFirstStopped,
        Self::FirstKilledSecondStopped,
        Self::SecondStopped,
        Self::FirstStopped,
    ];

    fn words(self) -> &'static str {
        match self {
            Self::SecondKilled => "the second one killed",
            Self::FirstKilled => "the first one killed",
            Self::BothKilled => "both killed",
            Self::SecondKilledFirstStopped => "the second one killed, the first one stopped",
            Self::FirstKilledSecondStopped => "the first one killed, the second one stopped",
            Self::SecondStopped => "the second one stopped",
            Self::FirstStopped => "the first one stopped",
        }
    }

    /// The survivors of the two; their program counters matter.
    fn survive(self) -> [bool; 2] {
        match self {
            Self::SecondKilled | Self::SecondKilledFirstStopped => [true, false],
            Self::FirstKilled | Self::FirstKilledSecondStopped => [false, true],
            Self::BothKilled => [false, false],
            Self::SecondStopped | Self::FirstStopped => [true, true],
        }
    }
}

/// The places of both: the ordinal of each one's place, from one on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Standing {
    pub(crate) first: u32,
    pub(crate) second: u32,
}

/// The choice of points to play.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Choice {
    /// One in so many.
    pub(crate) every: u64,
    /// About so many of a pair, if it has more.
    pub(crate) at_most: u64,
    /// Only here.
    pub(crate) only: Option<Standing>,
}

impl Choice {
    fn has_first(&self, first: u32) -> bool {
        self.only.is_none_or(|only| only.first == first)
    }

    /// The number of points of a pair of which one is played, if it has so many.
    fn stride(&self, points: u64) -> u64 {
        self.every.max(points.div_ceil(self.at_most))
    }

    fn has(&self, stride: u64, at: Standing, ends: Ends) -> bool {
        // Neighbours in every direction take turns.
        let turn = 5 * u64::from(at.first) + 3 * u64::from(at.second) + ends as u64;
        self.only.map_or(turn.is_multiple_of(stride), |only| only == at)
    }
}

/// The points played at one step of the first actor.
#[derive(Clone, Debug, Default)]
pub(crate) struct PlayedPairs {
    pub(crate) killed: u64,
    pub(crate) stopped: u64,
    /// Left out, because a point that agrees was played.
    pub(crate) agreeing: u64,
    pub(crate) slow: u64,
    pub(crate) violation: Option<Violation>,
}

/// A pair whose first actor was stepped, and its dead.
pub(crate) struct RehearsedPair {
    pub(crate) pair: Pair,
    cast: Vec<Case>,
    halves: Vec<Track>,
    track: Track,
    /// The place of the first actor.
    places: sys::SharedSlice<u32>,
}

/// Steps the first actor, while the second one stands where its operation begins.
pub(crate) fn rehearse(
    pair: &Pair,
    all: &[Case],
    board: &'static Board,
    tape: &Tape,
) -> Result<RehearsedPair, String> {
    let cast = cast_of(&pair.first, all)?;
    let halves = rehearse_halves(&pair.first, &cast, board, tape)?;
    let places = sys::SharedSlice::new(0);
    let mut rehearsed = RehearsedPair { pair: pair.clone(), cast, halves, track: tape.track(), places };
    stage(board, 10 * FAIL_SAFE_SECONDS, || {
        let (scene, [first, second]) = rehearsed.begin(board);
        let mut seen = Vec::new();
        apart(|| first.rehearse(tape, None, || scene.survivor.has_changed(&mut seen)));
        first.finish();
        second.finish();
        scene.survivor.me.recover().unwrap();
    })
    .map_err(Wrong::what)?;
    rehearsed.track = tape.track();
    rehearsed.places = rehearsed.track.places();
    Ok(rehearsed)
}

impl RehearsedPair {
    fn begin(&self, board: &'static Board) -> (Scene, [Actor; 2]) {
        let mut scene = Scene::new(&self.pair.first, &self.cast, &self.halves, board);
        let actors = scene.begin_both(&self.pair.first, &self.pair.second);
        (scene, actors)
    }

    /// The number of places of the first actor.
    pub(crate) fn places(&self) -> u32 {
        self.places.len() as u32
    }

    /// Plays the chosen points at which the first actor is in one of its places.
    pub(crate) fn play(
        &self,
        first: u32,
        choice: Choice,
        board: &'static Board,
        tape: &Tape,
        states: &States,
    ) -> PlayedPairs {
        let mut done = PlayedPairs::default();
        if !choice.has_first(first) {
            return done;
        }
        let second = match self.rehearse_second(first, board, tape) {
            Ok(track) => track,
            Err(what) => {
                let at = Standing { first, second: 0 };
                done.violation = Some(self.violation(at, "the second one goes on", 0, what));
                return done;
            }
        };
        let places = second.places();
        let count = places.len() as u32;
        let points = u64::from(self.places()) * u64::from(count) * Ends::ALL.len() as u64;
        let stride = choice.stride(points);
        let all = (1..=count).flat_map(|second| Ends::ALL.map(|ends| (Standing { first, second }, ends)));
        for (at, ends) in all.filter(|(at, ends)| *ends != Ends::FirstStopped || at.second == count) {
            if !choice.has(stride, at, ends) {
                continue;
            }
            let n = places[at.second as usize - 1];
            if !states.is_new(self.state(at, ends, &second, n, tape)) {
                done.agreeing += 1;
                continue;
            }
            let result = in_time(&mut done.slow, || self.play_one(at, ends, &second, n, board));
            match ends {
                Ends::FirstStopped | Ends::SecondStopped => done.stopped += 1,
                _ => done.killed += 1,
            }
            if let Err(wrong) = result {
                done.violation = Some(self.violation(at, ends.words(), second.address(n), wrong.what()));
                break;
            }
        }
        done
    }

    fn rehearse_second(&self, first: u32, board: &'static Board, tape: &Tape) -> Result<Track, String> {
        stage(board, 10 * FAIL_SAFE_SECONDS, || {
            let (scene, [one, other]) = self.begin(board);
            let mut seen = Vec::new();
            apart(|| {
                one.run_to(&self.track, self.instructions(first));
                let note = |steps| tape.put_state(steps, scene.survivor.fingerprint());
                other.rehearse_noting(tape, None, || scene.survivor.has_changed(&mut seen), note);
            });
        })
        .map_err(Wrong::what)?;
        Ok(tape.track())
    }

    /// The number of instructions that the first actor has run in one of its places.
    fn instructions(&self, first: u32) -> u32 {
        self.places[first as usize - 1]
    }

    /// A number for all state that the rest of the point depends on. The second actor has run `n` instructions.
    fn state(&self, at: Standing, ends: Ends, second: &Track, n: u32, tape: &Tape) -> u64 {
        let [first_lives, second_lives] = ends.survive();
        let first_at = first_lives.then(|| self.track.address(self.instructions(at.first)));
        let second_at = second_lives.then(|| second.address(n));
        let mut hasher = DefaultHasher::new();
        (ends, first_at, second_at, tape.state(second.steps_until(n))).hash(&mut hasher);
        hasher.finish()
    }

    fn play_one(
        &self,
        at: Standing,
        ends: Ends,
        second_track: &Track,
        n: u32,
        board: &'static Board,
    ) -> Result<(), Wrong> {
        let case = &self.pair.first;
        stage(board, FAIL_SAFE_SECONDS, || {
            let (mut scene, [first, second]) = self.begin(board);
            apart(|| {
                first.run_to(&self.track, self.instructions(at.first));
                second.run_to(second_track, n);
            });
            let survivor = &mut scene.survivor;
            match ends {
                Ends::SecondKilled => {
                    second.kill();
                    first.finish();
                    after_a_death(survivor, case);
                }
                Ends::FirstKilled => {
                    first.kill();
                    second.finish();
                    after_a_death(survivor, case);
                }
                Ends::BothKilled => {
                    first.kill();
                    second.kill();
                    after_a_death(survivor, case);
                }
                Ends::SecondKilledFirstStopped => {
                    second.kill();
                    while_stopped(survivor, case, first, 1);
                }
                Ends::FirstKilledSecondStopped => {
                    first.kill();
                    while_stopped(survivor, case, second, 1);
                }
                Ends::SecondStopped => {
                    first.finish();
                    while_stopped(survivor, case, second, 0);
                }
                Ends::FirstStopped => {
                    second.finish();
                    while_stopped(survivor, case, first, 0);
                }
            }
            scene.survivor.settle();
            scene.survivor.end();
        })
    }

    fn violation(&self, at: Standing, ends: &str, address: u64, what: String) -> Violation {
        let Standing { first, second } = at;
        let name = self.pair.name;
        Violation {
            case: name.into(),
            point: format!("in places {first} and {second}, {ends}"),
            again: format!("--pairs --case {name:?} --at {first} --and {second}"),
            address,
            what,
        }
    }
}

/// The states that were played, in memory that the harness's processes share.
pub(crate) struct States {
    /// An open table of numbers, zero where there is none.
    table: &'static [AtomicU64],
}

const TABLE: usize = 1 << 21;

impl States {
    pub(crate) fn new() -> Self {
        Self { table: sys::shared_words(TABLE) }
    }

    pub(crate) fn clear(&self) {
        self.table.iter().for_each(|word| word.store(0, Ordering::Relaxed));
    }

    /// Adds a state; returns whether it is new. If the table is full every state is new.
    fn is_new(&self, state: u64) -> bool {
        let state = state.max(1);
        for at in (0..64).map(|step| (state as usize).wrapping_add(step) % TABLE) {
            // Relaxed: nothing is published through it.
            match self.table[at].compare_exchange(0, state, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(found) if found == state => return false,
                Err(_) => {}
            }
        }
        true
    }
}
