//! The process of a crowd, as its parent uses it.

use std::process::Command;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::Failed;
use crate::negative_control::NegativeControl;
use crate::verdict::Verdict;
use crate::wire::{Incoming, Process};

use super::super::seat::Event;
use super::super::talk::Report;
use super::super::{Plan, Share};
use super::Figures;

/// The seat number of a crowd in events; no member has it.
const SEAT: usize = usize::MAX;

/// Runs a crowd for `share`, and adds its errors to `verdict`.
///
/// # Errors
/// The process cannot be started.
pub(in super::super) fn host(
    plan: &Plan,
    share: Share,
    (tell, events): (Sender<Event>, &Receiver<Event>),
    verdict: &mut Verdict,
) -> Result<Figures, Failed> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("crowd").args(arguments(plan, share));
    let hear = move |heard| {
        let event = match heard {
            Incoming::Message(report) => Event::Report(SEAT, 0, report),
            Incoming::End(why) => Event::Gone(SEAT, 0, why),
        };
        tell.send(event).is_ok()
    };
    let process = Process::start(&mut command, "crowd".into(), hear)?;
    let mut listener = Listener { process, figures: Figures::default(), has_left: false, is_gone: false };
    while !listener.is_gone {
        let received_at = Instant::now();
        match events.recv_timeout(plan.patience) {
            Ok(event) => listener.hear(event, verdict),
            Err(RecvTimeoutError::Timeout) => {
                verdict.stuck(format!("a crowd is silent for {:.1?}", received_at.elapsed()));
                break;
            }
            Err(RecvTimeoutError::Disconnected) => break,
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
    option("--crowd", (2 * plan.members).to_string());
    option("--milliseconds", duration.as_millis().to_string());
    option("--patience", (plan.patience.as_secs_f64().ceil() as u64).max(1).to_string());
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
    fn hear(&mut self, event: Event, verdict: &mut Verdict) {
        match event {
            Event::Interrupted => {
                verdict.interrupted = true;
                self.process.close_input();
            }
            Event::Report(SEAT, _, Report::Crowd(figures, found)) => {
                self.figures = figures;
                verdict.add(found);
            }
            Event::Report(SEAT, _, Report::Wrong { what, text }) => {
                verdict.wrong(what, text);
                // The message comes from a child; the process of the crowd does not know of it.
                self.process.close_input();
            }
            Event::Report(SEAT, _, Report::Left) => self.has_left = true,
            Event::Gone(SEAT, _, why) => {
                self.is_gone = true;
                if let Some(why) = why {
                    verdict.mixed_up(format!("a crowd said something meaningless: {why}"));
                }
            }
            Event::Report(..) | Event::Gone(..) => {}
        }
    }
}
