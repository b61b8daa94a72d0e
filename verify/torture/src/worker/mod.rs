//! A worker: a real process that executes the coordinator's tasks on handles, and replays allocation recordings while
//! it has no task. It may be killed or stopped at any instruction.
//!
//! Commands come through standard input, reports go through standard output ([`crate::wire`]).

mod blocks;
mod hands;
mod jobs;

use std::alloc::Layout;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::sync::mpsc::{self, Receiver, TryRecvError};
use std::thread;

use rustix::time::{ClockId, clock_gettime};
use tenure::{Backend, Member, Space};

use crate::Failed;
use crate::meeting::Meeting;
use crate::negative_control::NegativeControl;
use crate::wire::{Command, Counters, Outcome, Report, die_with, receive, send};

pub(crate) use hands::GIFT_KIND;
pub use jobs::JobName;

use blocks::Replayer;
use hands::Hands;

/// Arguments of a worker.
#[derive(Debug, Clone, clap::Args)]
pub struct Orders {
    /// Backend of the segment.
    #[arg(long)]
    pub backend: Backend,
    /// Name or path of the segment.
    #[arg(long)]
    pub space: String,
    /// Process id of the coordinator.
    #[arg(long)]
    pub coordinator: u32,
    /// Number from which the patterns of its blocks are computed.
    #[arg(long)]
    pub key: u64,
    /// Recorded processes to replay repeatedly, as PROCESS@RECORDING.
    #[arg(long = "job")]
    pub jobs: Vec<JobName>,
    /// Position of the first of them.
    #[arg(long, default_value_t = 0)]
    pub first_job: usize,
    /// Negative control: the error to make.
    #[arg(long)]
    pub negative_control: Option<NegativeControl>,
}

/// Works until told to leave or until the coordinator is gone.
///
/// # Errors
/// An error that makes work impossible. Wrong answers of the space are not errors here but reports.
pub fn run(orders: Orders) -> Result<(), Failed> {
    die_with(orders.coordinator)?;
    let mut output = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    let commands = listen()?;

    let meeting = Meeting { backend: orders.backend, name: orders.space.clone() };
    let space = meeting.attach(Space::options())?;
    let member = space.join()?;
    let lease = member.lease();
    send(&mut output, &Report::Joined { lease_index: lease.index, lease_incarnation: lease.incarnation })?;

    let mut counters = Counters { jobs_done: vec![0; orders.jobs.len()], ..Counters::default() };
    let mut local = member.local();
    let mut hands = Hands::new(orders.negative_control);
    let mut replayer = Replayer::new(orders.jobs, orders.first_job, orders.key, orders.negative_control);
    while let Some(command) = next(&commands, replayer.is_idle()) {
        match command {
            Next::Idle => {
                let started_ns = thread_cpu_ns();
                if let Err(fault) = replayer.advance(&member, &mut local, &mut counters)? {
                    send(&mut output, &Report::Wrong(fault))?;
                }
                counters.block_ns += thread_cpu_ns() - started_ns;
            }
            Next::Command(Command::Work(tasks)) => {
                let started_ns = thread_cpu_ns();
                let mut perform = |task| hands.perform(&mut local, task, &mut counters);
                let outcomes: Vec<Outcome> = tasks.iter().map(&mut perform).collect();
                counters.handle_ns += thread_cpu_ns() - started_ns;
                account(&member, &replayer, &mut counters);
                send(&mut output, &Report::Done { outcomes, counters: counters.clone() })?;
            }
            Next::Command(Command::Leave) => break,
        }
    }
    if let Err(fault) = replayer.finish(&mut local, &mut counters) {
        send(&mut output, &Report::Wrong(fault))?;
    }
    if let Err(fault) = hands.finish(&mut local) {
        send(&mut output, &Report::Wrong(fault))?;
    }
    drop(local);
    if orders.negative_control == Some(NegativeControl::Forget) {
        member.alloc(Layout::new::<u64>())?.pin()?;
    }
    account(&member, &replayer, &mut counters);
    member.leave()?;
    send(&mut output, &Report::Left { counters })?;
    Ok(())
}

fn account(member: &Member, replayer: &Replayer, counters: &mut Counters) {
    let reclaimed = member.reclaimed();
    counters.blocks_live = replayer.blocks_live();
    counters.handles_reclaimed = reclaimed.handles;
    counters.blocks_reclaimed = reclaimed.blocks;
}

enum Next {
    Command(Command),
    Idle,
}

/// The next command, or `Idle` when there is none and `wait` is off; `None` when the coordinator is gone.
fn next(commands: &Receiver<Command>, wait: bool) -> Option<Next> {
    if wait {
        return commands.recv().ok().map(Next::Command);
    }
    match commands.try_recv() {
        Ok(command) => Some(Next::Command(command)),
        Err(TryRecvError::Empty) => Some(Next::Idle),
        Err(TryRecvError::Disconnected) => None,
    }
}

fn listen() -> io::Result<Receiver<Command>> {
    let (sender, receiver) = mpsc::channel();
    let mut input = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    thread::Builder::new().name("listener".into()).spawn(move || {
        while let Ok(Some(command)) = receive(&mut input) {
            if sender.send(command).is_err() {
                return;
            }
        }
    })?;
    Ok(receiver)
}

/// Processor time of this thread.
fn thread_cpu_ns() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
