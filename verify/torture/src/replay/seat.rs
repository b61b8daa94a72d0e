//! The seat of a worker, with its sent and its waiting tasks.

use std::collections::VecDeque;
use std::time::Instant;

use crate::driver::{self, Game, State};
use crate::meeting::Meeting;
use crate::negative_control::NegativeControl;
use crate::wire::{Command, Counters, Report, Task};
use crate::worker::JobName;

use super::book::Incarnation;
use super::script::Step;

/// Maximum number of unanswered tasks of a worker.
const WINDOW_TASKS: usize = 512;
/// Maximum number of tasks in one frame.
const BATCH_TASKS: usize = 128;

/// A replay of recordings.
pub(super) struct Replay;

impl Game for Replay {
    type Command = Command;
    type Report = Report;
    type Note = Reclaimed;
    type Place = Place;
}

/// All resources of a killed worker have been reclaimed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reclaimed {
    pub(super) incarnation: Incarnation,
    /// The time since the kill.
    pub(super) elapsed_ns: u64,
}

/// A task that was sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Errand {
    /// Step that the task belongs to; `None` for a pulse.
    pub(super) step: Option<Step>,
    /// Whether the step is in the script.
    pub(super) scripted: bool,
}

impl Errand {
    /// A request for a sign of life.
    pub(super) const PULSE: Self = Self { step: None, scripted: false };
}

/// Arguments of every worker of a run.
#[derive(Debug, Clone)]
pub(super) struct Crew {
    pub(super) meeting: Meeting,
    pub(super) jobs: Vec<JobName>,
    pub(super) negative_control: Option<NegativeControl>,
}

impl Crew {
    /// The arguments of a worker with this key.
    pub(super) fn arguments(&self, key: u64) -> Vec<String> {
        let mut arguments = vec!["worker".to_owned()];
        for (name, value) in [
            ("--backend", self.meeting.backend.to_string()),
            ("--space", self.meeting.name.clone()),
            ("--coordinator", std::process::id().to_string()),
            ("--key", key.to_string()),
            ("--first-job", (key % 1024).to_string()),
        ] {
            arguments.extend([name.to_owned(), value]);
        }
        for job in &self.jobs {
            arguments.extend(["--job".to_owned(), job.to_string()]);
        }
        arguments.extend(NegativeControl::arguments(self.negative_control));
        arguments
    }
}

/// What the director knows of a worker.
#[derive(Debug, Default)]
pub(super) struct Place {
    pub(super) incarnation: Incarnation,
    /// Lease (index, incarnation) of the present worker, after it has joined.
    pub(super) lease: Option<(u8, u64)>,
    /// A predecessor that must be reclaimed before this worker gets tasks.
    pub(super) waits_for: Option<Incarnation>,
    pub(super) todo: VecDeque<Errand>,
    pub(super) sent: VecDeque<Errand>,
    /// Counters of the present worker.
    pub(super) counters: Counters,
    /// Tasks to send with the next frame.
    batch: Vec<Task>,
}

impl Place {
    /// A new worker takes the place; what there is to do remains.
    pub(super) fn fill(&mut self, incarnation: Incarnation) {
        self.incarnation = incarnation;
        self.lease = None;
        self.counters = Counters::default();
        self.batch.clear();
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
}

/// The seat of a worker.
pub(super) type Seat = driver::Seat<Replay>;

impl Seat {
    /// Whether the worker takes tasks.
    pub(super) fn is_working(&self) -> bool {
        self.state == State::Working && self.place.waits_for.is_none()
    }

    /// Queues a task; [`Seat::flush`] sends it.
    pub(super) fn push(&mut self, errand: Errand, task: Task) {
        if self.place.sent.is_empty() {
            self.received_at = Instant::now();
        }
        self.place.sent.push_back(errand);
        self.place.batch.push(task);
        if self.place.batch.len() == BATCH_TASKS {
            self.flush();
        }
    }

    /// Asks for a sign of life.
    pub(super) fn pulse(&mut self) {
        self.push(Errand::PULSE, Task::Pulse);
        self.flush();
    }

    /// Sends the queued tasks. A broken pipe is ignored: the end of the worker arrives as an event.
    pub(super) fn flush(&mut self) {
        if !self.place.batch.is_empty() {
            let tasks = std::mem::take(&mut self.place.batch);
            self.say(Command::Work(tasks));
        }
    }

    /// Tells the worker to leave.
    pub(super) fn dismiss(&mut self) {
        self.state = State::Ending;
        self.received_at = Instant::now();
        self.say(Command::Leave);
    }
}
