//! A seat: the place of one worker process, with its sent and its waiting tasks.

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

/// Maximum number of unanswered tasks of a worker. The pipe must hold all of them while the worker is stopped.
const WINDOW_TASKS: usize = 512;
/// Maximum number of tasks in one frame.
const BATCH_TASKS: usize = 128;

/// An event for the director.
#[derive(Debug)]
pub(super) enum Event {
    /// A worker sent a report.
    Report(usize, Incarnation, Report),
    /// The output of a worker has ended; with the error, if there was one.
    Gone(usize, Incarnation, Option<String>),
    /// All resources of a killed worker have been reclaimed; the time since the kill, in ns.
    Reclaimed(Incarnation, u64),
    /// The user wants the run to end.
    Interrupted,
}

/// The state of a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Started, not yet a member.
    Starting,
    /// Takes tasks.
    Ready,
    /// Has been told to leave.
    Leaving,
    /// Has reported that it left.
    Left,
    /// Has been killed.
    Killed,
    /// Reaped after a kill or after leaving: the seat has no worker.
    Empty,
}

/// A task that was sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Errand {
    /// Step that the task belongs to; `None` for a pulse.
    pub(super) step: Option<Step>,
    /// Whether the step is in the script.
    pub(super) scripted: bool,
}

/// Arguments of every worker of a run.
#[derive(Debug, Clone)]
pub(super) struct Crew {
    pub(super) meeting: Meeting,
    pub(super) jobs: Vec<JobName>,
    pub(super) negative_control: Option<NegativeControl>,
}

/// The place of one worker.
pub(super) struct Seat {
    pub(super) index: usize,
    pub(super) incarnation: Incarnation,
    pub(super) state: State,
    pub(super) stopped: bool,
    /// Lease (index, incarnation) of the present worker, after it has joined.
    pub(super) lease: Option<(u8, u64)>,
    /// A predecessor that must be reclaimed before this worker gets tasks.
    pub(super) waits_for: Option<Incarnation>,
    pub(super) todo: VecDeque<Errand>,
    pub(super) sent: VecDeque<Errand>,
    /// Counters of the present worker.
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

    /// Starts a worker process on this seat. Its reports arrive as events.
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

    /// Whether the worker takes tasks.
    pub(super) fn is_working(&self) -> bool {
        self.state == State::Ready && self.waits_for.is_none()
    }

    /// Whether the worker has no waiting and no unanswered task.
    pub(super) fn is_drained(&self) -> bool {
        self.todo.is_empty() && self.sent.is_empty()
    }

    /// Whether one more task can be sent.
    pub(super) fn has_room(&self) -> bool {
        self.sent.len() < WINDOW_TASKS
    }

    /// The number of pulses that the worker has been sent and has not answered.
    pub(super) fn pulses_owed(&self) -> usize {
        self.sent.iter().filter(|errand| errand.step.is_none()).count()
    }

    /// Queues a task; [`Seat::flush`] sends it.
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

    /// Sends the queued tasks. A broken pipe is ignored: the end of the worker arrives as an event.
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
