//! A traced process that plays a script, and the way to have it stand at exactly the n-th instruction of its operation.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::board::{Board, Phase};
use crate::case::{Script, Stage};
use crate::sys::{self, Status};

/// What a rehearsal found out about an operation: the address of every instruction, and how to get to each quickly.
#[derive(Clone, Debug, Default)]
pub(crate) struct Track {
    /// `addresses[n]` is about to run after n instructions.
    addresses: Vec<u64>,
    /// For every n, an earlier instruction and how often its address comes up until then.
    anchors: Vec<(u32, u32)>,
    /// Numbers of instructions after which the shared bytes differ from before, or that are system calls.
    pub(crate) steps: Vec<u32>,
}

impl Track {
    fn new(addresses: Vec<u64>, steps: Vec<u32>) -> Self {
        let mut hits = std::collections::HashMap::new();
        let repeated: std::collections::HashSet<u64> =
            addresses.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[0]).collect();
        let mut best = (0, 0);
        let mut anchors = vec![best];
        for (n, &address) in addresses.iter().enumerate().skip(1) {
            // An instruction that repeats itself stops a breakpoint once and a step each time; the first one is where
            // we are when the breakpoint is set.
            if address != addresses[0] && !repeated.contains(&address) {
                let count = hits.entry(address).or_insert(0_u32);
                *count += 1;
                if i64::from(*count) - (n as i64) < i64::from(best.1) - i64::from(best.0) {
                    best = (n as u32, *count);
                }
            }
            anchors.push(best);
        }
        Self { addresses, anchors, steps }
    }

    /// Whether the n-th step was one more round of a string instruction, in which nothing shared changed. The processor
    /// can be stopped there, but the instruction is the same one.
    pub(crate) fn is_one_more_round(&self, n: u32) -> bool {
        let at = n as usize;
        n > 1
            && self.addresses[at] == self.addresses[at - 1]
            && self.addresses[at - 1] == self.addresses[at - 2]
            && self.steps.binary_search(&n).is_err()
    }

    /// Steps of the operation.
    pub(crate) fn len(&self) -> u32 {
        self.addresses.len().saturating_sub(1) as u32
    }

    pub(crate) fn address(&self, n: u32) -> u64 {
        self.addresses.get(n as usize).copied().unwrap_or(0)
    }
}

/// Where a rehearsal writes what it sees, in memory shared with whoever asked for it.
pub(crate) struct Tape {
    words: &'static [AtomicU64],
}

const TAPE_WORDS: usize = 1 << 23;
const CHANGED: u64 = 1 << 63;

impl Tape {
    pub(crate) fn new() -> Self {
        let base = sys::shared_pages(TAPE_WORDS * 8);
        // SAFETY: as many zeroed words, aligned, never unmapped.
        Self { words: unsafe { std::slice::from_raw_parts(base.cast(), TAPE_WORDS) } }
    }

    fn set_len(&self, len: usize) {
        self.words[0].store(len as u64, Ordering::Release);
    }

    fn put(&self, n: usize, address: u64, changed: bool) {
        assert!(n + 1 < TAPE_WORDS, "an operation of more than {TAPE_WORDS} instructions");
        self.words[n + 1].store(address | if changed { CHANGED } else { 0 }, Ordering::Relaxed);
    }

    /// What was recorded.
    pub(crate) fn track(&self) -> Track {
        let len = self.words[0].load(Ordering::Acquire) as usize;
        let words: Vec<u64> = self.words[1..=len].iter().map(|word| word.load(Ordering::Relaxed)).collect();
        let changed = words.iter().enumerate().filter(|(_, word)| **word & CHANGED != 0);
        let steps = changed.map(|(n, _)| n as u32).collect();
        Track::new(words.iter().map(|word| word & !CHANGED).collect(), steps)
    }
}

/// A process that plays a script.
pub(crate) struct Actor {
    pub(crate) pid: libc::pid_t,
    board: &'static Board,
}

impl Actor {
    /// Starts one; it runs until it meets the survivor or begins.
    pub(crate) fn start(stage: Stage<'_>, script: Script) -> Self {
        let board = stage.board;
        board.set_phase(Phase::Preparing);
        // SAFETY: the survivor has one thread.
        let Some(pid) = (unsafe { sys::fork() }) else {
            sys::alarm(0);
            assert!(sys::ask_to_be_traced(), "not traced");
            script(&stage);
            sys::exit(0);
        };
        let actor = Self { pid, board };
        actor.expect_stop(sys::wait(pid));
        sys::die_with_me(pid);
        actor
    }

    fn expect_stop(&self, status: Status) {
        if status == Status::Exited(101) {
            // Its complaint is on the board.
            sys::exit(101);
        }
        assert_eq!(status, Status::Stopped(libc::SIGTRAP), "the traced process did not get there");
    }

    pub(crate) fn is(&self, phase: Phase) -> bool {
        self.board.is(phase)
    }

    /// Lets it go on until its next stop.
    pub(crate) fn go_on(&self) {
        self.expect_stop(sys::resume(self.pid));
    }

    fn step(&self) {
        self.expect_stop(sys::step(self.pid));
    }

    /// Steps it through its operation, or to the `steps`-th of its shared steps, onto the tape.
    pub(crate) fn rehearse(&self, tape: &Tape, steps: Option<u32>, shared: impl Fn() -> u64) {
        let mut before = shared();
        let (mut n, mut seen) = (0, 0);
        tape.put(0, sys::instruction_pointer(self.pid), false);
        while !self.board.is(Phase::Ended) && steps.is_none_or(|steps| seen < steps) {
            let at = sys::instruction_pointer(self.pid);
            self.step();
            n += 1;
            let after = shared();
            let changed = after != before || is_system_call(at);
            (before, seen) = (after, seen + u32::from(changed));
            tape.put(n, sys::instruction_pointer(self.pid), changed);
        }
        tape.set_len(n + 1);
    }

    /// Has it run the first `n` instructions of its operation.
    pub(crate) fn run_to(&self, track: &Track, n: u32) {
        let mut at = 0;
        let (anchor, hits) = track.anchors.get(n as usize).copied().unwrap_or_default();
        if anchor > 8 && sys::set_breakpoint(self.pid, Some(track.address(anchor))) {
            for _ in 0..hits {
                self.go_on();
                if self.board.is(Phase::Ended) {
                    break;
                }
            }
            sys::set_breakpoint(self.pid, None);
            at = anchor;
        }
        for _ in at..n {
            if self.board.is(Phase::Ended) {
                break;
            }
            self.step();
        }
        if sys::instruction_pointer(self.pid) != track.address(n) {
            self.board.drifted.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Kills it where it stands; it is gone when this returns.
    pub(crate) fn kill(self) {
        sys::kill(self.pid);
    }

    /// Lets it go on to its end, which must be a good one.
    pub(crate) fn finish(self) {
        loop {
            match sys::resume(self.pid) {
                Status::Stopped(libc::SIGTRAP) => {}
                Status::Exited(0) => return,
                Status::Exited(101) => sys::exit(101),
                status => panic!("after it was stopped, the process ended by {status:?}"),
            }
        }
    }
}

fn is_system_call(address: u64) -> bool {
    // SAFETY: the actor is a fork of this process and loads no code, so its instructions are mapped here as well.
    let bytes = unsafe { std::ptr::read_unaligned(address as *const [u8; 2]) };
    bytes == [0x0f, 0x05]
}
