//! Handle recordings as an endless sequence of steps, each for one seat.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use rand::Rng;
use rand::rngs::StdRng;

use crate::worker::GIFT_KIND;
use tenure_traces::{HandleTrace, HandleVerb};

/// The first kind of the recorded handles.
const RECORDED_KIND: u32 = 1;
/// Number of recorded steps for each gift.
const STEPS_PER_GIFT: u64 = 8;

/// A wish: seat `seat` shall hold the handle once more, or once less. The task that fulfils it (create, open, close)
/// depends on the living holders at that time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Step {
    /// Number of the handle; never reused.
    pub(super) handle: u64,
    /// Seat of the worker.
    pub(super) seat: usize,
    /// Kind of the handle in the space.
    pub(super) kind: u32,
    /// Hold or release.
    pub(super) wish: Wish,
}

/// The purpose of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Wish {
    /// Hold the handle once more.
    Hold,
    /// Hold the handle once less.
    Release {
        /// The script has no further step for the handle.
        last: bool,
    },
}

/// Produces steps, pass after pass.
pub(super) struct Script {
    traces: Vec<HandleTrace>,
    seats: usize,
    gifts: Option<StdRng>,
    /// Steps of gifts that are due at a later clock.
    later: BinaryHeap<Reverse<(u64, Step)>>,
    clock: u64,
    position: usize,
    passes: u64,
    first_handle: u64,
    next_gift: u64,
}

impl Script {
    pub(super) fn new(traces: Vec<HandleTrace>, seats: usize, gifts: Option<StdRng>) -> Self {
        let traces: Vec<_> = traces.into_iter().filter(|trace| !trace.steps.is_empty()).collect();
        Self {
            traces,
            seats,
            gifts,
            later: BinaryHeap::new(),
            clock: 0,
            position: 0,
            passes: 0,
            first_handle: 0,
            next_gift: 1 << 48,
        }
    }

    /// The number of complete passes over recordings.
    pub(super) fn passes(&self) -> u64 {
        self.passes
    }

    /// Whether every recording has been replayed once.
    pub(super) fn is_complete(&self) -> bool {
        self.passes >= self.traces.len() as u64
    }

    /// The next step; `None` only when there is no handle recording.
    pub(super) fn next(&mut self) -> Option<Step> {
        if self.traces.is_empty() {
            return None;
        }
        if let Some(&Reverse((due, step))) = self.later.peek()
            && due <= self.clock
        {
            self.later.pop();
            return Some(step);
        }
        let trace = &self.traces[self.passes as usize % self.traces.len()];
        let recorded = trace.steps[self.position];
        let step = Step {
            handle: self.first_handle + u64::from(recorded.handle),
            seat: (u64::from(recorded.process) + self.passes) as usize % self.seats,
            kind: RECORDED_KIND + u32::from(recorded.kind),
            wish: match recorded.verb {
                HandleVerb::New | HandleVerb::Open => Wish::Hold,
                HandleVerb::Close { last } => Wish::Release { last },
            },
        };
        self.position += 1;
        if self.position == trace.steps.len() {
            self.first_handle += u64::from(trace.handle_count);
            self.position = 0;
            self.passes += 1;
        }
        self.clock += 1;
        if self.clock.is_multiple_of(STEPS_PER_GIFT) {
            self.plan_gift();
        }
        Some(step)
    }

    /// Plans a handle that one worker creates and others open, and that all of them release much later.
    fn plan_gift(&mut self) {
        let Some(rng) = &mut self.gifts else { return };
        let handle = self.next_gift;
        self.next_gift += 1;
        let holders = rng.random_range(1..=self.seats.min(3));
        let first = rng.random_range(0..self.seats);
        let mut due = self.clock;
        for holder in 0..holders {
            due += rng.random_range(1..400);
            let seat = (first + holder) % self.seats;
            self.later.push(Reverse((
                due,
                Step { handle, seat, kind: GIFT_KIND.number() as u32, wish: Wish::Hold },
            )));
        }
        for holder in 0..holders {
            due += rng.random_range(500..4000);
            let wish = Wish::Release { last: holder + 1 == holders };
            let seat = (first + holder) % self.seats;
            self.later.push(Reverse((due, Step { handle, seat, kind: GIFT_KIND.number() as u32, wish })));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use rand::SeedableRng;

    use tenure_traces::{Recording, Source};

    use super::*;

    #[test]
    fn every_handle_is_held_before_it_is_released_and_ends_once() {
        let Recording::Handles(trace) = Source::Builtin(0).read().unwrap() else {
            panic!("a handle recording")
        };
        let mut script = Script::new(vec![trace], 3, Some(StdRng::seed_from_u64(1)));
        let mut holds: HashMap<u64, Vec<i32>> = HashMap::new();
        while script.passes() < 3 {
            let step = script.next().unwrap();
            let seats = holds.entry(step.handle).or_insert_with(|| vec![0; 3]);
            match step.wish {
                Wish::Hold => seats[step.seat] += 1,
                Wish::Release { last } => {
                    seats[step.seat] -= 1;
                    assert!(seats[step.seat] >= 0);
                    assert_eq!(last, seats.iter().sum::<i32>() == 0);
                    if last {
                        holds.remove(&step.handle);
                    }
                }
            }
        }
        assert!(holds.keys().all(|&handle| handle >= 1 << 48), "only gifts live on between passes");
        assert!(holds.len() > 100, "{}", holds.len());
    }
}
