//! A traced process that plays a script, and stopping it at exactly the n-th instruction of its operation.

use std::sync::atomic::Ordering;

use crate::board::{Board, Phase};
use crate::case::{Script, Stage};
use crate::sys::{self, Status};
use crate::track::{Tape, Track};

/// A process that plays a script.
pub(crate) struct Actor {
    pub(crate) pid: libc::pid_t,
    board: &'static Board,
    seat: usize,
}

impl Actor {
    /// Starts an actor; it runs until it meets the survivor or begins.
    pub(crate) fn start(stage: Stage<'_>, script: Script) -> Self {
        let Stage { board, seat, .. } = stage;
        board.set_phase(seat, Phase::Preparing);
        // SAFETY: the survivor has one thread.
        let Some(pid) = (unsafe { sys::fork() }) else {
            sys::alarm(0);
            assert!(sys::ask_to_be_traced(), "not traced");
            script(&stage);
            sys::exit(0);
        };
        let actor = Self { pid, board, seat };
        actor.expect_stop(sys::wait(pid));
        sys::die_with_me(pid);
        actor
    }

    fn expect_stop(&self, status: Status) {
        if status == Status::Exited(101) {
            // Its error text is on the board.
            sys::exit(101);
        }
        assert_eq!(status, Status::Stopped(libc::SIGTRAP), "the traced process did not get there");
    }

    pub(crate) fn is(&self, phase: Phase) -> bool {
        self.board.is(self.seat, phase)
    }

    /// Resumes the actor until its next stop.
    pub(crate) fn go_on(&self) {
        self.expect_stop(sys::resume(self.pid));
    }

    fn step(&self) {
        self.expect_stop(sys::step(self.pid));
    }

    /// Single-steps the actor through its operation, or to the `steps`-th of its shared steps, and records it on the
    /// tape.
    ///
    /// `has_changed` returns whether the shared bytes have changed since its last call.
    pub(crate) fn rehearse(&self, tape: &Tape, steps: Option<u32>, has_changed: impl FnMut() -> bool) {
        self.rehearse_noting(tape, steps, has_changed, |_| {});
    }

    /// As [`Self::rehearse`]; `note` is called with the number of shared steps made, at first and after each.
    pub(crate) fn rehearse_noting(
        &self,
        tape: &Tape,
        steps: Option<u32>,
        mut has_changed: impl FnMut() -> bool,
        mut note: impl FnMut(usize),
    ) {
        has_changed();
        note(0);
        let (mut n, mut seen) = (0, 0);
        let mut at = sys::instruction_pointer(self.pid);
        tape.put(0, at, false);
        while !self.is(Phase::Ended) && steps.is_none_or(|steps| seen < steps) {
            self.step();
            n += 1;
            let is_step = has_changed() | is_system_call(at);
            if is_step {
                seen += 1;
                note(seen as usize);
            }
            at = sys::instruction_pointer(self.pid);
            tape.put(n, at, is_step);
        }
        tape.set_len(n + 1);
    }

    /// Runs the first `n` instructions of the actor's operation; returns whether the actor then is where the rehearsal
    /// was.
    pub(crate) fn run_to(&self, track: &Track, n: u32) -> bool {
        for leg in track.way_to(n) {
            let by_breakpoint =
                leg.to > leg.from + 1 && sys::set_breakpoint(self.pid, Some(track.address(leg.to)));
            for _ in 0..if by_breakpoint { leg.hits } else { leg.to - leg.from } {
                if self.is(Phase::Ended) {
                    break;
                }
                if by_breakpoint { self.go_on() } else { self.step() }
            }
            if by_breakpoint {
                sys::set_breakpoint(self.pid, None);
            }
        }
        let is_there = sys::instruction_pointer(self.pid) == track.address(n);
        self.board.drifted.fetch_add(u64::from(!is_there), Ordering::Relaxed);
        is_there
    }

    /// Kills the actor at its place; it is gone when this returns.
    pub(crate) fn kill(self) {
        sys::kill(self.pid);
    }

    /// Lets the actor run to its end, which must be a success.
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
