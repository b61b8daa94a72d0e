//! The process that the handles of processes refer to: it does nothing until the survivor ends it.

use tenure::{
    Member, Space, Token,
    process::{Exit, Process},
};

use crate::board::Board;
use crate::sys::{self, Status};

/// The board words with its token and its number.
const TOKEN: usize = 5;
const NUMBER: usize = 6;

pub(crate) const KILLED: Exit = Exit::Signal { number: libc::SIGKILL, core_dumped: false };

#[derive(Clone, Copy, PartialEq, Eq)]
enum Life {
    Running,
    /// It has ended, and was not reaped.
    Ended,
    Gone,
    /// It is the actor; other code ends it.
    Actor,
}

/// A process, and the survivor's handle of it.
pub(crate) struct Target {
    pub(crate) process: Process,
    number: libc::pid_t,
    life: Life,
}

impl Target {
    pub(crate) fn start(me: &Member, board: &Board) -> Self {
        // SAFETY: the survivor has one thread.
        let Some(number) = (unsafe { sys::fork() }) else {
            sys::alarm(0);
            loop {
                sys::pause();
            }
        };
        let process = Process::of_pid(me, number as u32).unwrap();
        board.post(TOKEN, process.token().into());
        board.post(NUMBER, number as u64);
        Self { process, number, life: Life::Running }
    }

    /// The actor, which has posted a handle of itself.
    pub(crate) fn actor(me: &Member, board: &Board) -> Self {
        let process = Process::open(me, posted_token(board)).unwrap();
        Self { number: process.pid() as libc::pid_t, process, life: Life::Actor }
    }

    /// A process waits for it and gives up: the waiters bit then stays set.
    pub(crate) fn leave_a_mark(&self, space: &Space) {
        let token = self.process.token();
        // SAFETY: the survivor has one thread.
        let Some(pid) = (unsafe { sys::fork() }) else {
            let me = space.join().unwrap();
            let process = Process::open(&me, token).unwrap();
            assert!(process.wait(Some(std::time::Duration::from_micros(100))).is_err());
            drop(process);
            me.leave().unwrap();
            sys::exit(0);
        };
        assert_eq!(sys::wait(pid), Status::Exited(0));
    }

    /// Ends it, without reaping it.
    pub(crate) fn end(&mut self) {
        if self.life == Life::Running {
            sys::end(self.number);
            self.life = Life::Ended;
        }
    }

    pub(crate) fn reap(&mut self) {
        self.end();
        if self.life == Life::Ended {
            assert_eq!(sys::wait(self.number), Status::Killed(libc::SIGKILL));
            self.life = Life::Gone;
        }
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        self.reap();
    }
}

pub(crate) fn posted_token(board: &Board) -> Token {
    Token::try_from(board.read(TOKEN)).unwrap()
}

pub(crate) fn posted_number(board: &Board) -> u32 {
    board.read(NUMBER) as u32
}

pub(crate) fn post(board: &Board, process: &Process) {
    board.post(TOKEN, process.token().into());
}
