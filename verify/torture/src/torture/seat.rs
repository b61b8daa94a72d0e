//! A seat: a place for one member process, which is filled again and again.

use std::collections::HashSet;
use std::io;
use std::process::{Command, ExitStatus};
use std::sync::mpsc::Sender;
use std::time::Instant;

use rustix::process::Signal;

use crate::wire::{Incoming, Process};

use super::chance::Fate;
use super::talk::{self, Counts, Report};

/// An event for the director.
#[derive(Debug)]
pub(super) enum Event {
    /// A member said something. Processes are counted, since one of them may be several incarnations.
    Report(usize, u64, Report),
    /// A member's output has ended; why, when it is not simply that.
    Gone(usize, u64, Option<String>),
    /// Somebody wants it to end.
    Interrupted,
}

/// How far a member is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Started, not a member yet.
    Starting,
    /// Does what it likes.
    Working,
    /// It may end.
    Ending,
    /// Said that it has left.
    Left,
    /// Has been killed.
    Killed,
    /// Nobody sits here.
    Empty,
}

/// A member that is stopped.
#[derive(Debug)]
pub(super) struct Pause {
    pub(super) until: Instant,
    /// Seats that have not shown since then that they go on.
    pub(super) awaited: HashSet<usize>,
}

/// A place for one member.
pub(super) struct Seat {
    pub(super) index: usize,
    pub(super) incarnation: u64,
    /// How many processes were started here.
    pub(super) process_number: u64,
    pub(super) state: State,
    pub(super) fate: Fate,
    pub(super) pause: Option<Pause>,
    pub(super) received_at: Instant,
    pub(super) started_at: Instant,
    /// Of the present incarnation.
    pub(super) counts: Counts,
    /// Reports of the present incarnation.
    pub(super) reports: u64,
    /// Operations of all incarnations before.
    pub(super) operations: u64,
    /// Has been told to leave.
    pub(super) dismissed: bool,
    /// Commands for when it goes on.
    outbox: Vec<talk::Command>,
    process: Option<Process>,
}

impl Seat {
    pub(super) fn new(index: usize, seed: u64) -> Self {
        let now = Instant::now();
        Self {
            index,
            incarnation: 0,
            process_number: 0,
            state: State::Empty,
            fate: Fate::of(seed, index as u64, 0),
            pause: None,
            received_at: now,
            started_at: now,
            counts: Counts::default(),
            reports: 0,
            operations: 0,
            dismissed: false,
            outbox: Vec::new(),
            process: None,
        }
    }

    /// Starts a process for the present incarnation. Its reports arrive as events.
    pub(super) fn fill(&mut self, arguments: &[String], events: &Sender<Event>) -> io::Result<()> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("tortured").args(arguments);
        command.args(["--seat", &self.index.to_string(), "--incarnation", &self.incarnation.to_string()]);
        self.process_number += 1;
        let (seat, number, events) = (self.index, self.process_number, events.clone());
        let handle = move |incoming| {
            let event = match incoming {
                Incoming::Message(report) => Event::Report(seat, number, report),
                Incoming::End(why) => Event::Gone(seat, number, why),
            };
            events.send(event).is_ok()
        };
        self.process = Some(Process::start(&mut command, format!("seat {seat}"), handle)?);
        self.state = State::Starting;
        self.pause = None;
        self.dismissed = false;
        self.received_at = Instant::now();
        self.started_at = self.received_at;
        self.outbox.clear();
        Ok(())
    }

    /// Is it up to it whether it goes on?
    pub(super) fn goes_on(&self) -> bool {
        matches!(self.state, State::Starting | State::Working | State::Ending) && self.pause.is_none()
    }

    /// The present incarnation is over; the next one has another fate.
    pub(super) fn next_incarnation(&mut self, seed: u64) {
        self.operations += self.counts.operations();
        self.counts = Counts::default();
        self.reports = 0;
        self.incarnation += 1;
        self.fate = Fate::of(seed, self.index as u64, self.incarnation);
    }

    /// Says something, or keeps it until it goes on: the pipe of a stopped process is not emptied.
    pub(super) fn say(&mut self, command: talk::Command) {
        if self.pause.is_some() {
            self.outbox.push(command);
            return;
        }
        if let Some(process) = &mut self.process {
            process.say(&command);
        }
    }

    pub(super) fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.state = State::Killed;
        self.pause = None;
        self.outbox.clear();
    }

    pub(super) fn stop(&mut self, pause: Pause) {
        self.signal(Signal::STOP);
        self.pause = Some(pause);
    }

    /// Lets a stopped member go on, and says what there was to be said.
    pub(super) fn go_on(&mut self) {
        self.signal(Signal::CONT);
        self.pause = None;
        self.received_at = Instant::now();
        for command in std::mem::take(&mut self.outbox) {
            self.say(command);
        }
    }

    fn signal(&self, signal: Signal) {
        if let Some(process) = &self.process {
            process.signal(signal);
        }
    }

    /// The process id of the member.
    pub(super) fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::pid)
    }

    /// Reaps the process after its output has ended.
    pub(super) fn empty(&mut self) -> io::Result<Option<ExitStatus>> {
        self.state = State::Empty;
        self.pause = None;
        self.outbox.clear();
        self.process.take().map(Process::reap).transpose()
    }
}
