//! Observes the end of a child through two handles: one of its parent, and one of a visitor that opened the token.

use std::io::{Read, Write};
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use tenure::{
    Member,
    error::ProcessError,
    process::{Exit, Process},
};

use super::chance::Choice;
use super::hands::{Hands, Room, must};
use super::member::Tally;
use crate::verdict::{Trouble, Wrong};
use crate::wire::die_with;

/// A forked child that waits for a byte and then ends as that byte says. Dropping this value ends it.
struct Ward {
    pid: Pid,
    tell: std::io::PipeWriter,
}

impl Ward {
    fn fork(expected: Exit) -> Result<Self, Trouble> {
        let (mut reader, tell) = must("make a pipe", std::io::pipe())?;
        let parent = std::process::id();
        // SAFETY: the child makes system calls only, and ends.
        match unsafe { libc::fork() } {
            0 => {
                // If the parent was killed before this call, the pipe never closes: this child has its other end, too.
                if die_with(parent).is_err() {
                    // SAFETY: ends the child.
                    unsafe { libc::_exit(0) }
                }
                let _ = reader.read_exact(&mut [0]);
                match expected.code() {
                    // SAFETY: ends the child without running anything that belongs to its parent.
                    Some(code) => unsafe { libc::_exit(code) },
                    None => loop {
                        // SAFETY: ends this process.
                        unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
                    },
                }
            }
            child => match Pid::from_raw(child.max(0)) {
                Some(pid) => Ok(Self { pid, tell }),
                None => Err((Wrong::Refused, format!("cannot fork: {}", std::io::Error::last_os_error()))),
            },
        }
    }

    fn end(&mut self) -> Result<(), Trouble> {
        must("tell a child", self.tell.write_all(&[1]))
    }
}

impl Drop for Ward {
    fn drop(&mut self) {
        // The child is not reaped yet, so its process id is not reused.
        let _ = kill_process(self.pid, Signal::KILL);
        while let Err(rustix::io::Errno::INTR) = waitpid(Some(self.pid), WaitOptions::empty()) {}
    }
}

impl Room for ProcessError {
    fn is_full(&self) -> bool {
        matches!(self, Self::Create(error) if error.is_full())
    }
}

fn expect(found: Option<Exit>, expected: Option<Exit>) -> Result<(), Trouble> {
    let text = || format!("the end of a child is {found:?}, expected {expected:?}");
    (found == expected).then_some(()).ok_or_else(|| (Wrong::MixedUp, text()))
}

impl Hands<'_> {
    /// Forks a child and observes its end.
    pub(super) fn outlive(&mut self, choice: Choice) -> Result<(), Trouble> {
        let expected = match choice.how % 4 {
            0 => Exit::Signal { number: libc::SIGKILL, core_dumped: false },
            _ => Exit::Code((choice.how >> 2) as u8 as i32),
        };
        let at = self.space(choice.space);
        let member: &Member = self.member(at);
        Tally::count(&self.home.tally.forks);
        let mut ward = Ward::fork(expected)?;
        let made = Process::of_pid(member, ward.pid.as_raw_nonzero().get().unsigned_abs());
        let Some(process) = self.room("create a process's handle", made)? else { return Ok(()) };
        let me = must("join to see a child end", self.home.spaces[at].join())?;
        Tally::count(&self.home.tally.joins);
        let other = must("open a process's handle", Process::open(&me, process.token()))?;
        expect(must("look at a child", process.exit())?, None)?;
        ward.end()?;
        let patience = Some(Duration::from_secs(self.home.orders.patience.into()));
        expect(Some(must("wait for a child", other.wait(patience))?), Some(expected))?;
        // The child is reaped, and its process id may be reused.
        drop(ward);
        expect(must("look at a child", process.exit())?, Some(expected))?;
        drop((process, other));
        must("leave after a child's end", me.leave())?;
        Tally::count(&self.home.tally.leaves);
        Ok(())
    }
}
