//! The seats of a run, their events, and the verdict.

use std::io;
use std::process::ExitStatus;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::{Duration, Instant};

use super::{Event, Game, Plan, Seat, State};
use crate::verdict::Verdict;

/// The seats of a run, their events, and the verdict.
pub(crate) struct Crew<G: Game> {
    pub(crate) seats: Vec<Seat<G>>,
    pub(crate) verdict: Verdict,
    pub(crate) started: Instant,
    /// For other threads of the director's.
    pub(crate) tell: Sender<Event<G>>,
    events: Receiver<Event<G>>,
    patience: Duration,
}

impl<G: Game> Crew<G> {
    pub(crate) fn new(plan: &Plan, place: impl Fn(usize) -> G::Place) -> Self {
        let (tell, events) = mpsc::channel();
        Self {
            seats: (0..plan.processes).map(|index| Seat::new(index, place(index))).collect(),
            verdict: Verdict::default(),
            started: Instant::now(),
            tell,
            events,
            patience: plan.patience,
        }
    }

    /// Waits for an event, and returns all that have arrived.
    pub(super) fn wait(&mut self, patience: Duration) -> Vec<Event<G>> {
        // It has a sender here, so it fails by the time only.
        let first = self.events.recv_timeout(patience).ok();
        first.into_iter().chain(self.events.try_iter()).collect()
    }

    /// Whether the present process of a seat is number `number`. It gave a sign of life, then.
    pub(super) fn is_present(&mut self, seat: usize, number: u64) -> bool {
        let is_present = self.seats[seat].process_number == number;
        if is_present {
            self.seats[seat].received_at = Instant::now();
        }
        is_present
    }

    /// Starts a process on an empty seat.
    pub(crate) fn fill(&mut self, seat: usize, arguments: &[String]) -> io::Result<()> {
        self.seats[seat].fill(arguments, &self.tell)
    }

    /// Reaps the process of a seat after its output has ended.
    pub(crate) fn empty(&mut self, seat: usize) -> io::Result<Option<ExitStatus>> {
        for pause in self.pauses() {
            pause.awaited.remove(&seat);
        }
        self.seats[seat].empty()
    }

    /// Whether every seat is empty.
    pub(crate) fn is_empty(&self) -> bool {
        self.seats.iter().all(|seat| seat.state == State::Empty)
    }

    fn pauses(&mut self) -> impl Iterator<Item = &mut super::Pause> {
        self.seats.iter_mut().filter_map(|seat| seat.pause.as_mut())
    }

    /// A process showed that it goes on: processes that are stopped wait for one sign less.
    pub(crate) fn goes_on(&mut self, seat: usize) {
        for pause in self.pauses() {
            if let Some(signs) = pause.awaited.get_mut(&seat) {
                *signs = signs.saturating_sub(1);
            }
            pause.awaited.retain(|_, signs| *signs > 0);
        }
    }

    /// Continues the processes whose time is over, once all seats that they wait for went on or cannot go on.
    pub(crate) fn end_pauses(&mut self) {
        let going_on: Vec<bool> = self.seats.iter().map(Seat::goes_on).collect();
        for seat in &mut self.seats {
            let Some(pause) = &mut seat.pause else { continue };
            pause.awaited.retain(|other, _| going_on[*other]);
            if pause.awaited.is_empty() && Instant::now() >= pause.until {
                seat.go_on();
            }
        }
    }

    /// Reports the seats as stuck that have been silent for too long although they owe something, as `owes` says.
    ///
    /// A process stays stopped until others go on; these are reported first.
    pub(crate) fn find_stuck(&mut self, owes: impl Fn(&Seat<G>) -> Option<&'static str>) {
        for seat in self.seats.iter().filter(|seat| seat.state != State::Empty) {
            let silent = seat.received_at.elapsed();
            let (index, pid, state) = (seat.index, seat.pid(), seat.state);
            match &seat.pause {
                None if silent > self.patience => {
                    if let Some(what) = owes(seat) {
                        let text =
                            format!("seat {index}, pid {pid:?}, {state:?}: did not {what} for {silent:.1?}");
                        self.verdict.stuck(text);
                    }
                }
                Some(pause) if silent > 2 * self.patience => {
                    let text =
                        format!("seat {index}, pid {pid:?}: stopped, and {:?} do not go on", pause.awaited);
                    self.verdict.stuck(text);
                }
                _ => {}
            }
        }
    }
}
