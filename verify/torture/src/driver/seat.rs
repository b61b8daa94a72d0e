//! A seat: the place of one process of a run; it gets a new process when it is empty.

use std::collections::HashMap;
use std::io;
use std::process::{Command, ExitStatus};
use std::sync::mpsc::Sender;
use std::time::Instant;

use rustix::process::Signal;

use super::{Event, Game};
use crate::wire::{Incoming, Process};

/// The state of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Started, not a member yet.
    Starting,
    /// A member at work.
    Working,
    /// Has been told to leave, or that it may end.
    Ending,
    /// Has reported that it left.
    Left,
    /// Has been killed.
    Killed,
    /// The seat has no process.
    Empty,
}

/// A process that is stopped.
#[derive(Debug)]
pub(crate) struct Pause {
    /// It is not continued before.
    pub(crate) until: Instant,
    /// Other seats, and how many signs of life each of them has to give before it is continued.
    pub(crate) awaited: HashMap<usize, usize>,
}

/// The place of one process.
pub(crate) struct Seat<G: Game> {
    pub(crate) index: usize,
    pub(crate) state: State,
    pub(crate) pause: Option<Pause>,
    pub(crate) received_at: Instant,
    pub(crate) started_at: Instant,
    /// What the director knows of it.
    pub(crate) place: G::Place,
    /// Number of processes started here.
    pub(super) process_number: u64,
    /// Commands to send when it is continued.
    outbox: Vec<G::Command>,
    process: Option<Process>,
}

impl<G: Game> Seat<G> {
    pub(crate) fn new(index: usize, place: G::Place) -> Self {
        let now = Instant::now();
        Self {
            index,
            state: State::Empty,
            pause: None,
            received_at: now,
            started_at: now,
            place,
            process_number: 0,
            outbox: Vec::new(),
            process: None,
        }
    }

    /// Starts this program with `arguments`. Its reports arrive as events.
    pub(super) fn fill(&mut self, arguments: &[String], events: &Sender<Event<G>>) -> io::Result<()> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(arguments);
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
        self.received_at = Instant::now();
        self.started_at = self.received_at;
        self.outbox.clear();
        Ok(())
    }

    /// Whether it goes on without waiting for the director.
    pub(crate) fn goes_on(&self) -> bool {
        matches!(self.state, State::Starting | State::Working | State::Ending) && self.pause.is_none()
    }

    /// Sends a command, or keeps it until the process is continued: a stopped process does not empty its pipe.
    pub(crate) fn say(&mut self, command: G::Command) {
        if self.pause.is_some() {
            self.outbox.push(command);
        } else if let Some(process) = &mut self.process {
            process.say(&command);
        }
    }

    pub(crate) fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.state = State::Killed;
        self.pause = None;
        self.outbox.clear();
    }

    pub(crate) fn stop(&mut self, pause: Pause) {
        self.signal(Signal::STOP);
        self.pause = Some(pause);
    }

    /// Continues a stopped process and sends the kept commands.
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

    /// The process id.
    pub(crate) fn pid(&self) -> Option<u32> {
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
