//! Handles the reports of workers and updates the book.

use crate::Failed;
use crate::driver::State;
use crate::verdict::Trouble;
use crate::wire::{Outcome, Report};

use super::super::book::{Finding, Incarnation};
use super::super::script::Wish;
use super::super::seat::Errand;
use super::super::watch::Dying;
use super::{Director, Phase, add};

impl Director<'_> {
    pub(super) fn heard(&mut self, seat: usize, report: Report) {
        match report {
            Report::Joined { lease_index, lease_incarnation } => {
                self.crew.seats[seat].place.lease = Some((lease_index, lease_incarnation));
                match self.crew.seats[seat].state {
                    State::Starting => self.crew.seats[seat].state = State::Working,
                    // The worker was killed before we knew that it had joined.
                    _ => self.watch_late(seat, lease_index, lease_incarnation),
                }
            }
            Report::Done { outcomes, counters } => {
                self.crew.seats[seat].place.counters = counters;
                for outcome in outcomes {
                    let Some(errand) = self.crew.seats[seat].place.sent.pop_front() else {
                        self.crew
                            .verdict
                            .mixed_up(format!("worker {seat} answered what it was not asked: {outcome:?}"));
                        return;
                    };
                    self.outcome(seat, errand, outcome);
                }
            }
            Report::Wrong(fault) => self.wrong(seat, fault),
            Report::Left { counters } => {
                self.crew.seats[seat].place.counters = counters;
                if self.crew.seats[seat].state == State::Ending {
                    self.crew.seats[seat].state = State::Left;
                }
            }
        }
    }

    fn outcome(&mut self, seat: usize, errand: Errand, outcome: Outcome) {
        let finding = match (errand.step, outcome) {
            (_, Outcome::Wrong(fault)) => {
                self.wrong(seat, fault);
                Finding::Good
            }
            (None, Outcome::Alive) => {
                self.crew.goes_on(seat);
                Finding::Good
            }
            (Some(step), Outcome::Created { token }) => self.book.held(&step, errand.scripted, Some(token)),
            (Some(step), Outcome::Opened) => self.book.held(&step, errand.scripted, None),
            (Some(step), Outcome::Stale) => self.book.stale(&step, errand.scripted),
            (Some(step), Outcome::Closed { leaked }) if step.wish != Wish::Hold => {
                self.book.released(&step, errand.scripted);
                if leaked {
                    let text =
                        format!("handle {}: opens after its last holder, worker {seat}, let go", step.handle);
                    self.crew.verdict.leaked(1, text);
                }
                Finding::Good
            }
            (_, outcome) => {
                Finding::MixedUp(format!("worker {seat} answered {:?} with {outcome:?}", errand.step))
            }
        };
        match finding {
            Finding::Good => {}
            Finding::Again => self.crew.seats[seat].place.todo.push_front(errand),
            Finding::Lost(text) => self.crew.verdict.lost(text),
            Finding::MixedUp(text) => self.crew.verdict.mixed_up(text),
        }
    }

    fn wrong(&mut self, seat: usize, (what, text): Trouble) {
        self.crew.verdict.wrong(what, format!("worker {seat}: {text}"));
    }

    fn watch_late(&mut self, seat: usize, lease_index: u8, lease_incarnation: u64) {
        let incarnation = self.crew.seats[seat].place.incarnation;
        let Some(death) = self.deaths.get(&incarnation) else { return };
        let dying = Dying { incarnation, lease_index, lease_incarnation, killed_at: death.killed_at };
        if self.watch.send(dying).is_err() {
            self.crew.verdict.stuck("the thread that watches the leases has ended");
        }
    }

    /// Handles the end of a worker's output.
    pub(super) fn has_ended(&mut self, index: usize, why: Option<String>) -> Result<(), Failed> {
        let seat = &mut self.crew.seats[index];
        let (state, incarnation, lease) = (seat.state, seat.place.incarnation, seat.place.lease);
        let counters = std::mem::take(&mut seat.place.counters);
        let status = self.crew.empty(index)?;
        add(&mut self.totals.counters, &counters);
        match state {
            State::Killed => {}
            State::Left if status.is_some_and(|status| status.success()) => return Ok(()),
            _ => {
                let status = status.map_or_else(String::new, |status| status.to_string());
                let why = why.unwrap_or_default();
                self.crew.verdict.died(format!("worker {index} while {state:?}: {status} {why}"));
                return Ok(());
            }
        }
        let errands: Vec<Errand> = self.crew.seats[index].place.sent.drain(..).collect();
        for errand in errands.into_iter().rev() {
            if let Some(step) = errand.step {
                self.book.unsend(&step, errand.scripted);
                self.crew.seats[index].place.todo.push_front(errand);
            }
        }
        let owed = self.book.died(index, incarnation);
        for step in owed.into_iter().rev() {
            self.crew.seats[index].place.todo.push_front(Errand { step: Some(step), scripted: false });
        }
        if lease.is_none() {
            // The worker was killed before it held anything.
            self.deaths.remove(&incarnation);
        } else if let Some(early) = self.reclaimed_early.iter().position(|early| *early == incarnation) {
            self.reclaimed_early.swap_remove(early);
            self.suspects.extend(self.book.reclaimed(incarnation));
        } else {
            self.crew.seats[index].place.waits_for = Some(incarnation);
        }
        if self.phase >= Phase::Releasing {
            self.crew.seats[index].place.todo.clear();
            return Ok(());
        }
        self.fill(index)
    }

    pub(super) fn reclaimed(&mut self, incarnation: Incarnation, elapsed_ns: u64) {
        self.totals.reclaim_ns.saturating_record(elapsed_ns);
        let Some(death) = self.deaths.remove(&incarnation) else { return };
        let seat = &mut self.crew.seats[death.seat];
        if seat.place.incarnation == incarnation && seat.state == State::Killed {
            self.reclaimed_early.push(incarnation);
            return;
        }
        if seat.place.waits_for == Some(incarnation) {
            seat.place.waits_for = None;
        }
        self.suspects.extend(self.book.reclaimed(incarnation));
    }
}
