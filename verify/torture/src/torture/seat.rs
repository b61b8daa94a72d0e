//! A seat: the place of one member process; it gets a new process when it is empty.

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
    /// A member sent a report. The number counts processes, since one process may be several incarnations.
    Report(usize, u64, Report),
    /// The output of a member has ended; with the error, if there was one.
    Gone(usize, u64, Option<String>),
    /// The user wants the run to end.
    Interrupted,
}

/// The state of a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Started, not a member yet.
    Starting,
    /// Executes its choices.
    Working,
    /// Has been told that it may end.
    Ending,
    /// Has reported that it left.
    Left,
    /// Has been killed.
    Killed,
    /// The seat has no process.
    Empty,
}

/// A member that is stopped.
#[derive(Debug)]
pub(super) struct Pause {
    pub(super) until: Instant,
    /// Seats that have not shown progress since then.
    pub(super) awaited: HashSet<usize>,
}

/// The place of one member.
pub(super) struct Seat {
    pub(super) index: usize,
    pub(super) incarnation: u64,
    /// Number of processes started here.
    pub(super) process_number: u64,
    pub(super) state: State,
    pub(super) fate: Fate,
    pub(super) pause: Option<Pause>,
    pub(super) received_at: Instant,
    pub(super) started_at: Instant,
    /// Counts of the present incarnation.
    pub(super) counts: Counts,
    /// Number of reports of the present incarnation.
    pub(super) reports: u64,
    /// Number of operations of all earlier incarnations.
    pub(super) operations: u64,
    /// Whether it has been told to leave.
    pub(super) dismissed: bool,
    /// Commands to send when it is continued.
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

    /// Whether it goes on without waiting for the director.
    pub(super) fn goes_on(&self) -> bool {
        matches!(self.state, State::Starting | State::Working | State::Ending) && self.pause.is_none()
    }

    /// Ends the present incarnation; the next one has another fate.
    pub(super) fn next_incarnation(&mut self, seed: u64) {
        self.operations += self.counts.operations();
        self.counts = Counts::default();
        self.reports = 0;
        self.incarnation += 1;
        self.fate = Fate::of(seed, self.index as u64, self.incarnation);
    }

    /// Sends a command, or keeps it until the process is continued: a stopped process does not empty its pipe.
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

    /// Continues a stopped member and sends the kept commands.
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
