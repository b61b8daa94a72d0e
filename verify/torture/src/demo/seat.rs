//! A seat: a place for one worker process, with what it has been told and has yet to be told.

use std::collections::VecDeque;
use std::io;
use std::process::{Command, ExitStatus};
use std::sync::mpsc::Sender;
use std::time::Instant;

use rustix::process::Signal;

use crate::meeting::Meeting;
use crate::negative_control::NegativeControl;
use crate::wire::{self, Counters, Incoming, Process, Report, Task};
use crate::worker::JobName;

use super::book::Incarnation;
use super::script::Step;

/// How many tasks a worker may be behind. The pipe has to hold them all while it is stopped.
const WINDOW_TASKS: usize = 512;
/// How many tasks go into one frame at most.
const BATCH_TASKS: usize = 128;

/// An event for the director.
#[derive(Debug)]
pub(super) enum Event {
    /// A worker said something.
    Report(usize, Incarnation, Report),
    /// A worker's output has ended; why, when it is not simply that.
    Gone(usize, Incarnation, Option<String>),
    /// Everything a killed worker held has been reclaimed, so long after the kill.
    Reclaimed(Incarnation, u64),
    /// Somebody wants it to end.
    Interrupted,
}

/// How far a worker is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Started, not a member yet.
    Starting,
    /// Takes tasks.
    Ready,
    /// Has been told to leave.
    Leaving,
    /// Said that it has left.
    Left,
    /// Has been killed.
    Killed,
    /// Killed for good, or gone after leaving: nobody sits here.
    Empty,
}

/// A step on its way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Errand {
    /// What for; `None` for a pulse.
    pub(super) step: Option<Step>,
    /// Does the script know about it?
    pub(super) scripted: bool,
}

/// What every worker of a run is told.
#[derive(Debug, Clone)]
pub(super) struct Crew {
    pub(super) meeting: Meeting,
    pub(super) jobs: Vec<JobName>,
    pub(super) negative_control: Option<NegativeControl>,
}

/// A place for one worker.
pub(super) struct Seat {
    pub(super) index: usize,
    pub(super) incarnation: Incarnation,
    pub(super) state: State,
    pub(super) stopped: bool,
    /// Of the present worker, once it has joined.
    pub(super) lease: Option<(u8, u64)>,
    /// A predecessor that has to be reclaimed before this worker takes tasks.
    pub(super) waits_for: Option<Incarnation>,
    pub(super) todo: VecDeque<Errand>,
    pub(super) sent: VecDeque<Errand>,
    /// Of the present worker.
    pub(super) counters: Counters,
    pub(super) received_at: Instant,
    outbox: Vec<Task>,
    process: Option<Process>,
}

impl Seat {
    pub(super) fn new(index: usize) -> Self {
        Self {
            index,
            incarnation: 0,
            state: State::Empty,
            stopped: false,
            lease: None,
            waits_for: None,
            todo: VecDeque::new(),
            sent: VecDeque::new(),
            counters: Counters::default(),
            received_at: Instant::now(),
            outbox: Vec::new(),
            process: None,
        }
    }

    /// Starts a process for this seat. Its reports arrive as events.
    pub(super) fn fill(
        &mut self,
        crew: &Crew,
        incarnation: Incarnation,
        key: u64,
        events: &Sender<Event>,
    ) -> io::Result<()> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("worker");
        command.args(["--backend", &crew.meeting.backend.to_string(), "--space", &crew.meeting.name]);
        command.args(["--coordinator", &std::process::id().to_string(), "--key", &key.to_string()]);
        command.args(["--first-job", &(key % 1024).to_string()]);
        for job in &crew.jobs {
            command.arg("--job").arg(job.to_string());
        }
        command.args(NegativeControl::arguments(crew.negative_control));
        let (seat, events) = (self.index, events.clone());
        let handle = move |incoming| {
            let event = match incoming {
                Incoming::Message(report) => Event::Report(seat, incarnation, report),
                Incoming::End(why) => Event::Gone(seat, incarnation, why),
            };
            events.send(event).is_ok()
        };
        self.process = Some(Process::start(&mut command, format!("seat {seat}"), handle)?);
        self.incarnation = incarnation;
        self.state = State::Starting;
        self.stopped = false;
        self.lease = None;
        self.counters = Counters::default();
        self.received_at = Instant::now();
        Ok(())
    }

    /// Takes tasks?
    pub(super) fn is_working(&self) -> bool {
        self.state == State::Ready && self.waits_for.is_none()
    }

    /// Nothing to do and nothing on its way?
    pub(super) fn is_drained(&self) -> bool {
        self.todo.is_empty() && self.sent.is_empty()
    }

    /// Room for another task?
    pub(super) fn has_room(&self) -> bool {
        self.sent.len() < WINDOW_TASKS
    }

    /// Pulses that it has been asked for and has not shown.
    pub(super) fn pulses_owed(&self) -> usize {
        self.sent.iter().filter(|errand| errand.step.is_none()).count()
    }

    /// Puts a task on its way; [`Seat::flush`] lets it go.
    pub(super) fn push(&mut self, errand: Errand, task: Task) {
        if self.sent.is_empty() {
            self.received_at = Instant::now();
        }
        self.sent.push_back(errand);
        self.outbox.push(task);
        if self.outbox.len() == BATCH_TASKS {
            self.flush();
        }
    }

    /// Sends what has been pushed. A worker that is gone makes itself known in another way.
    pub(super) fn flush(&mut self) {
        if !self.outbox.is_empty() {
            let tasks = std::mem::take(&mut self.outbox);
            self.say(&wire::Command::Work(tasks));
        }
    }

    /// Tells the worker to leave.
    pub(super) fn dismiss(&mut self) {
        self.state = State::Leaving;
        self.received_at = Instant::now();
        self.say(&wire::Command::Leave);
    }

    fn say(&mut self, command: &wire::Command) {
        if let Some(process) = &mut self.process {
            process.say(command);
        }
    }

    /// Sends a signal to the worker.
    pub(super) fn signal(&mut self, signal: Signal) {
        let Some(process) = &self.process else { return };
        process.signal(signal);
        match signal {
            Signal::STOP => self.stopped = true,
            Signal::CONT => self.stopped = false,
            Signal::KILL => self.state = State::Killed,
            _ => {}
        }
    }

    /// The process id of the worker.
    pub(super) fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::pid)
    }

    /// Reaps the process after its output has ended.
    pub(super) fn empty(&mut self) -> io::Result<Option<ExitStatus>> {
        self.outbox.clear();
        self.state = State::Empty;
        self.stopped = false;
        self.process.take().map(Process::reap).transpose()
    }
}
