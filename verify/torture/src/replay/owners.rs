//! A mutex whose owner is killed: exactly one waiter gets it and learns that it was abandoned.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use clap::{Args, ValueEnum};
use rustix::process::{Signal, set_parent_process_death_signal};
use serde::Serialize;
use tenure::{Backend, Member, Space, Token, error::WaitError, sync::Mutex};

use crate::Failed;
use crate::meeting::Meeting;

use crate::verdict::Verdict;

/// Number of rounds; one owner is killed in each.
const ROUNDS: u32 = 5;
/// Time for the waiter to fall asleep; a waiter that is still awake is told all the same.
const TO_SLEEP: Duration = Duration::from_millis(20);
/// Upper bound of every wait; a longer wait counts as endless.
const AT_MOST: Duration = Duration::from_secs(20);

/// The result.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Owners {
    /// Number of owners killed, each with a waiting process.
    pub killed: u32,
    /// Number of waiters that learned that the mutex was abandoned.
    pub told: u32,
    /// Median time from the kill until the waiter owned the mutex, in µs.
    pub handed_over_us_p50: f64,
}

/// Arguments of the owner and waiter processes.
#[derive(Debug, Clone, Args)]
pub struct Orders {
    #[arg(long)]
    backend: Backend,
    #[arg(long)]
    space: String,
    #[arg(long)]
    token: String,
    #[arg(long)]
    part: Part,
}

/// The role of the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    Owner,
    Next,
}

/// Runs one of the two processes.
///
/// # Errors
/// An error of tenure; none should occur.
pub fn play(orders: &Orders) -> Result<(), Failed> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let meeting = Meeting { backend: orders.backend, name: orders.space.clone() };
    let space: Space = meeting.attach(Space::options())?;
    let me = space.join()?;
    let token: Token = orders.token.parse().map_err(|_| "expected a token")?;
    let mutex = Mutex::open(&me, token)?;
    match orders.part {
        Part::Owner => {
            let _guard = mutex.lock()?;
            say("owned")?;
            // Wait until this process is killed, or its parent is gone.
            let _ = std::io::stdin().lock().read_line(&mut String::new());
        }
        Part::Next => {
            say("waiting")?;
            match mutex.lock_timeout(AT_MOST) {
                Ok(guard) => say(&format!("locked {} {}", guard.abandoned(), now_ns()))?,
                Err(WaitError::TimedOut) => say("never")?,
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(())
}

fn say(what: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout();
    writeln!(out, "{what}")?;
    out.flush()
}

fn now_ns() -> i64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec * 1_000_000_000 + now.tv_nsec
}

/// A process, killed when it is dropped.
struct Player(Child, BufReader<ChildStdout>);

impl Player {
    fn start(meeting: &Meeting, token: Token, part: &str) -> Result<Self, Failed> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["mutex", "--backend", &meeting.backend.to_string(), "--space", &meeting.name])
            .args(["--token", &token.to_string(), "--part", part])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let output = child.stdout.take().ok_or("no output")?;
        Ok(Self(child, BufReader::new(output)))
    }

    fn receive(&mut self) -> Result<String, Failed> {
        let mut line = String::new();
        self.1.read_line(&mut line)?;
        Ok(line.trim_end().to_owned())
    }
}

impl Drop for Player {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Kills owners, and compares the results of the waiters' locks with the kills.
///
/// # Errors
/// A process cannot be started. Errors of the mutex are in the verdict.
pub(super) fn run(meeting: &Meeting, me: &Member, verdict: &mut Verdict) -> Result<Owners, Failed> {
    let mutex = Mutex::create(me)?;
    let mut owners = Owners::default();
    let mut took_ns = Vec::new();
    for _ in 0..ROUNDS {
        let mut owner = Player::start(meeting, mutex.token(), "owner")?;
        expect(&owner.receive()?, "owned", verdict);
        let mut next = Player::start(meeting, mutex.token(), "next")?;
        expect(&next.receive()?, "waiting", verdict);
        std::thread::sleep(TO_SLEEP);
        let killed_at = now_ns();
        drop(owner);
        owners.killed += 1;
        let answer = next.receive()?;
        match answer.split_whitespace().collect::<Vec<_>>()[..] {
            ["locked", "true", at] => {
                owners.told += 1;
                took_ns.extend(at.parse::<i64>().ok().map(|at| at - killed_at));
            }
            ["locked", ..] => {
                verdict.mixed_up("the owner of a mutex was killed, and the next one was not told")
            }
            _ => verdict.stuck(format!("the owner of a mutex was killed, and the next one says {answer:?}")),
        }
        // The process unlocks before it exits.
        let _ = next.0.wait();
        if mutex.lock_timeout(AT_MOST)?.abandoned() {
            verdict.mixed_up("a mutex was abandoned once, and two were told");
        }
    }
    took_ns.sort_unstable();
    owners.handed_over_us_p50 = took_ns.get(took_ns.len() / 2).map_or(0.0, |ns| *ns as f64 / 1000.0);
    Ok(owners)
}

fn expect(found: &str, expected: &str, verdict: &mut Verdict) {
    if found != expected {
        verdict.died(format!("expected a process that says {expected:?}, found {found:?}"));
    }
}
