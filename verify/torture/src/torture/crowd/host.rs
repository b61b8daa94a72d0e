//! The process of a crowd, as its parent uses it.

use std::process::Command;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::Failed;
use crate::driver::{Interrupt, Plan};
use crate::negative_control::NegativeControl;
use crate::verdict::Verdict;
use crate::wire::{Incoming, Process};

use super::super::Share;
use super::super::talk::Report;
use super::Figures;

/// Interval at which the parent looks whether the user wants the run to end.
const TICK: Duration = Duration::from_millis(20);

/// Runs a crowd for `share`, and adds its errors to `verdict`.
///
/// # Errors
/// The process cannot be started.
pub(in super::super) fn host(
    plan: &Plan,
    share: Share,
    interrupt: &Interrupt,
    verdict: &mut Verdict,
) -> Result<Figures, Failed> {
    let (tell, events) = mpsc::channel();
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("crowd").args(arguments(plan, share));
    let process = Process::start(&mut command, "crowd".into(), move |heard| tell.send(heard).is_ok())?;
    let mut listener = Listener { process, figures: Figures::default(), has_left: false, is_gone: false };
    let mut received_at = Instant::now();
    while !listener.is_gone {
        match events.recv_timeout(TICK) {
            Ok(heard) => {
                received_at = Instant::now();
                listener.hear(heard, verdict);
            }
            Err(RecvTimeoutError::Timeout) if received_at.elapsed() > plan.patience => {
                verdict.stuck(format!("a crowd is silent for {:.1?}", received_at.elapsed()));
                break;
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        if interrupt.is_set() && !verdict.interrupted {
            verdict.interrupted = true;
            listener.process.close_input();
        }
    }
    if !listener.is_gone {
        listener.process.signal(Signal::KILL);
    }
    let status = listener.process.reap()?;
    if !(status.success() && listener.has_left) && verdict.stuck == 0 {
        verdict.died(format!("a crowd ended with {status}"));
    }
    Ok(listener.figures)
}

fn arguments(plan: &Plan, share: Share) -> Vec<String> {
    let mut arguments = Vec::new();
    let mut option = |name: &str, value: String| arguments.extend([name.to_owned(), value]);
    for backend in &plan.backends {
        option("--backend", backend.to_string());
    }
    let (duration, rounds) = match share {
        Share::Time(duration) => (duration, None),
        Share::Rounds(rounds) => (Duration::ZERO, Some(rounds)),
    };
    option("--director", std::process::id().to_string());
    option("--seed", plan.seed.to_string());
    option("--crowd", (2 * plan.processes).to_string());
    option("--milliseconds", duration.as_millis().to_string());
    option("--patience", plan.patience_seconds().to_string());
    if let Some(rounds) = rounds {
        option("--rounds", rounds.to_string());
    }
    arguments.extend(NegativeControl::arguments(plan.negative_control));
    arguments
}

/// The last report of a crowd.
struct Listener {
    /// Closing its input tells the crowd to end.
    process: Process,
    figures: Figures,
    has_left: bool,
    is_gone: bool,
}

impl Listener {
    fn hear(&mut self, heard: Incoming<Report>, verdict: &mut Verdict) {
        match heard {
            Incoming::Message(Report::Crowd(figures, found)) => {
                self.figures = figures;
                verdict.add(found);
            }
            Incoming::Message(Report::Wrong { what, text }) => {
                verdict.wrong(what, text);
                // The message comes from a child; the process of the crowd does not know of it.
                self.process.close_input();
            }
            Incoming::Message(Report::Left) => self.has_left = true,
            // Crowds send no other report.
            Incoming::Message(_) => {}
            Incoming::End(why) => {
                self.is_gone = true;
                if let Some(why) = why {
                    verdict.mixed_up(format!("a crowd said something meaningless: {why}"));
                }
            }
        }
    }
}
