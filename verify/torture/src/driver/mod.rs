//! The driver of all runs: it starts processes in seats, waits for their reports, stops and continues them, and finds those that are stuck.
//!
//! A run is a plan and a director. The plan says how long, with how many processes and on which backends; `demo`, `replay` and `torture`
//! are presets of it. A director says which processes to start, what to tell them, when to kill or stop one, and what a report means:
//! [`crate::replay`] for recordings, [`crate::torture`] for random operations.

mod crew;
mod plan;
mod seat;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Failed;

pub(crate) use crew::Crew;
pub use plan::{Plan, Random, Replayed, Work};
pub(crate) use seat::{Pause, Seat, State};

/// The messages of a kind of run, and what its director knows of a seat.
pub(crate) trait Game: 'static {
    /// A message to a process.
    type Command: Serialize;
    /// A message from a process.
    type Report: DeserializeOwned + Send;
    /// A message from another thread of the director's.
    type Note: Send;
    /// What the director knows of a seat, besides its process.
    type Place;
}

/// An event for a director.
#[derive(Debug)]
pub(crate) enum Event<G: Game> {
    /// Process `.1` of seat `.0` sent a report. Processes of a seat are counted from 1.
    Report(usize, u64, G::Report),
    /// The output of a process has ended; with the error, if there was one.
    Gone(usize, u64, Option<String>),
    /// Another thread of the director says something.
    Note(G::Note),
}

/// What is particular to a kind of run.
pub(crate) trait Director {
    /// Its messages.
    type Game: Game;

    /// The seats, the events and the verdict.
    fn crew(&mut self) -> &mut Crew<Self::Game>;

    /// Whether the run is over.
    fn is_over(&self) -> bool;

    /// Acts before each wait, and returns how long to wait for the next event.
    fn act(&mut self) -> Result<Duration, Failed>;

    /// A report of the present process of a seat.
    fn report(&mut self, seat: usize, report: <Self::Game as Game>::Report);

    /// The process of a seat has ended; it has not been reaped. With the error of its output, if there was one.
    fn gone(&mut self, seat: usize, why: Option<String>) -> Result<(), Failed>;

    /// Another thread says something.
    fn note(&mut self, note: <Self::Game as Game>::Note);

    /// Acts after the events.
    fn tick(&mut self) -> Result<(), Failed>;
}

/// Runs until the director says that it is over, the user interrupts, or a process is stuck. Processes may be left.
pub(crate) fn run(director: &mut impl Director, interrupt: &Interrupt) -> Result<(), Failed> {
    while !director.is_over() {
        let patience = director.act()?;
        for event in director.crew().wait(patience) {
            match event {
                Event::Report(seat, number, report) if director.crew().is_present(seat, number) => {
                    director.report(seat, report);
                }
                Event::Gone(seat, number, why) if director.crew().is_present(seat, number) => {
                    director.gone(seat, why)?;
                }
                Event::Report(..) | Event::Gone(..) => {}
                Event::Note(note) => director.note(note),
            }
        }
        director.tick()?;
        let verdict = &mut director.crew().verdict;
        verdict.interrupted |= interrupt.is_set();
        if verdict.interrupted || verdict.stuck > 0 {
            break;
        }
    }
    Ok(())
}

/// Whether the user wants the run to end.
#[derive(Debug, Clone)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Handles the signals; once per process, before there is a segment that an interrupt could leave behind.
    ///
    /// # Errors
    /// The handler cannot be installed.
    pub fn install() -> Result<Self, Failed> {
        let interrupted = Arc::new(AtomicBool::new(false));
        let handler = Arc::clone(&interrupted);
        // Relaxed: it publishes nothing; the loop looks at it again and again.
        ctrlc::set_handler(move || handler.store(true, Ordering::Relaxed))?;
        Ok(Self(interrupted))
    }

    /// Whether a signal came.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
