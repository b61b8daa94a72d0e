//! The record of a rehearsed operation: its instructions, those that others see, and how to get to each quickly.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::sys;

/// One instruction, and the last leg of the way there.
#[derive(Clone, Copy, Debug, Default)]
struct Instruction {
    address: u64,
    /// The instruction at which the breakpoint is set.
    from: u32,
    /// The number of times that the address is reached from there on, this time included.
    hits: u32,
}

/// A part of the way: on from one instruction until a later one has come up so often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Leg {
    pub(crate) from: u32,
    pub(crate) to: u32,
    pub(crate) hits: u32,
}

#[derive(Debug)]
pub(crate) struct Track {
    /// The n-th is about to run after n instructions. Shared, so that forking does not copy it.
    instructions: sys::SharedSlice<Instruction>,
    /// Numbers of instructions after which the shared bytes have changed, or that are system calls.
    pub(crate) steps: sys::SharedSlice<u32>,
}

/// The costs of a stop, and of setting and removing a breakpoint.
const STOP: u32 = 6;
const SETTING: u32 = 1;

impl Track {
    fn new(words: &[AtomicU64]) -> Self {
        let words = || words.iter().map(|word| word.load(Ordering::Relaxed));
        let changed = || (0..).zip(words()).filter(|(_, word)| word & CHANGED != 0);
        let instruction = |word| Instruction { address: word & !CHANGED, ..Instruction::default() };
        let mut instructions = sys::SharedSlice::collect(|| words().map(instruction));
        // In a process of its own, which takes its memory with it.
        sys::in_a_child(|| find_ways(&mut instructions));
        Self { instructions, steps: sys::SharedSlice::collect(|| changed().map(|(n, _)| n)) }
    }

    /// The legs that lead to the n-th instruction, in their order.
    pub(crate) fn way_to(&self, n: u32) -> Vec<Leg> {
        let mut legs = Vec::new();
        let mut to = n;
        while let Some(&Instruction { from, hits, .. }) =
            self.instructions.get(to as usize).filter(|_| to > 0)
        {
            legs.push(Leg { from, to, hits });
            to = from;
        }
        legs.reverse();
        legs
    }

    /// Whether the n-th step was one more round of a string instruction, in which nothing shared changed. The processor
    /// can be stopped there, but the instruction is the same one.
    pub(crate) fn is_one_more_round(&self, n: u32) -> bool {
        n > 1
            && self.address(n) == self.address(n - 1)
            && self.address(n - 1) == self.address(n - 2)
            && self.steps.binary_search(&n).is_err()
    }

    /// The number of shared steps after n instructions.
    pub(crate) fn steps_until(&self, n: u32) -> usize {
        self.steps.partition_point(|step| *step <= n)
    }

    /// The places in which one of two actors is stopped: right before each shared step, when the step's inputs have
    /// been read, and right after it, before the next step's inputs are read.
    pub(crate) fn places(&self) -> sys::SharedSlice<u32> {
        let mut places: Vec<u32> =
            self.steps.iter().flat_map(|step| [step - 1, *step]).filter(|n| *n > 0).collect();
        places.dedup();
        sys::SharedSlice::collect(|| places.iter().copied())
    }

    /// The number of instructions of the operation.
    pub(crate) fn len(&self) -> u32 {
        self.instructions.len().saturating_sub(1) as u32
    }

    pub(crate) fn address(&self, n: u32) -> u64 {
        self.instructions.get(n as usize).map_or(0, |one| one.address)
    }
}

/// The cheapest way to each instruction: a step from the one before, or a breakpoint that was set at any earlier one.
fn find_ways(instructions: &mut [Instruction]) {
    let addresses: Vec<u64> = instructions.iter().map(|one| one.address).collect();
    // An instruction that repeats itself stops a breakpoint once and a step each time.
    let repeated: HashSet<u64> =
        addresses.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[0]).collect();
    // For each address, its last occurrence, and the cheapest way there by its own breakpoint.
    let mut last: HashMap<u64, (u32, Leg, u32)> = HashMap::new();
    // Instructions that are cheaper than every later one so far: the cheapest after any is the next of them.
    let mut cheapest = vec![(0, 0)];
    let mut cost = 0;
    for (n, &address) in addresses.iter().enumerate() {
        let n = n as u32;
        let mut leg = Leg { from: n.saturating_sub(1), to: n, hits: 1 };
        cost += if n == 0 { 0 } else { STOP };
        if n > 0 && address != addresses[0] && !repeated.contains(&address) {
            let before = last.get(&address).copied();
            // Not at the address itself: a breakpoint does not stop at the current instruction.
            let first = before.map_or(0, |(at, ..)| at + 1);
            let set_at = cheapest.get(cheapest.partition_point(|(at, _)| *at < first));
            let fresh =
                set_at.map(|(from, cost)| (Leg { from: *from, to: n, hits: 1 }, cost + STOP + SETTING));
            let again = before.map(|(_, leg, cost)| (Leg { to: n, hits: leg.hits + 1, ..leg }, cost + STOP));
            if let Some((best, best_cost)) = fresh.into_iter().chain(again).min_by_key(|(_, cost)| *cost) {
                last.insert(address, (n, best, best_cost));
                if best_cost < cost {
                    (leg, cost) = (best, best_cost);
                }
            }
        }
        instructions[n as usize] = Instruction { address, from: leg.from, hits: leg.hits };
        if n > 0 {
            while cheapest.last().is_some_and(|(_, last)| *last >= cost) {
                cheapest.pop();
            }
            cheapest.push((n, cost));
        }
    }
}

/// The memory to which a rehearsal writes its record, shared with the process that asked for it.
pub(crate) struct Tape {
    words: &'static [AtomicU64],
    /// A number for the state after each shared step, if asked for.
    states: &'static [AtomicU64],
}

const STATES: usize = 1 << 16;

const TAPE_WORDS: usize = 1 << 23;
const CHANGED: u64 = 1 << 63;

impl Tape {
    pub(crate) fn new() -> Self {
        Self { words: sys::shared_words(TAPE_WORDS), states: sys::shared_words(STATES) }
    }

    /// The state after so many shared steps.
    pub(crate) fn put_state(&self, steps: usize, state: u64) {
        self.states[steps].store(state, Ordering::Relaxed);
    }

    pub(crate) fn state(&self, steps: usize) -> u64 {
        self.states[steps].load(Ordering::Relaxed)
    }

    pub(crate) fn set_len(&self, len: usize) {
        self.words[0].store(len as u64, Ordering::Release);
    }

    pub(crate) fn put(&self, n: usize, address: u64, changed: bool) {
        assert!(n + 1 < TAPE_WORDS, "an operation of more than {TAPE_WORDS} instructions");
        self.words[n + 1].store(address | if changed { CHANGED } else { 0 }, Ordering::Relaxed);
    }

    /// The recorded track.
    pub(crate) fn track(&self) -> Track {
        let len = self.words[0].load(Ordering::Acquire) as usize;
        Track::new(&self.words[1..=len])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The instruction at which a walk over all legs ends.
    fn walk(addresses: &[u64], legs: &[Leg]) -> usize {
        legs.iter().fold(0, |at, leg| {
            assert_eq!(at, leg.from as usize);
            if leg.to == leg.from + 1 {
                return at + 1;
            }
            let hits = (at + 1..).filter(|n| addresses[*n] == addresses[leg.to as usize]);
            hits.take(leg.hits as usize).last().unwrap()
        })
    }

    #[test]
    fn every_way_leads_where_it_should() {
        // Loops in loops, and an instruction that repeats itself.
        let inner =
            |round: u64| (0..5).flat_map(move |n| [10 + round % 3, 20, 21 + n % 2]).chain([30, 30, 30, 31]);
        let addresses: Vec<u64> =
            [1, 2].into_iter().chain((0..7).flat_map(inner)).chain([3, 20, 4]).collect();
        let mut instructions = vec![Instruction::default(); addresses.len()];
        for (instruction, address) in instructions.iter_mut().zip(&addresses) {
            instruction.address = *address;
        }
        find_ways(&mut instructions);
        let mut shared = sys::SharedSlice::new(addresses.len());
        shared.copy_from_slice(&instructions);
        let track = Track { instructions: shared, steps: sys::SharedSlice::new(0) };
        let mut stops = 0;
        for n in 0..addresses.len() {
            let way = track.way_to(n as u32);
            assert_eq!(walk(&addresses, &way), n, "{way:?}");
            stops += way.iter().map(|leg| leg.hits).sum::<u32>();
        }
        assert!(stops < 6 * addresses.len() as u32, "{stops} stops for {} instructions", addresses.len());
    }
}
