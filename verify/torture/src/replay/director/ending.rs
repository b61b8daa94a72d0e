//! The end of a run: from the last step of the script to the exit of the last worker.

use crate::driver::State;

use super::super::seat::Errand;
use super::{Director, Phase};

impl Director<'_> {
    /// Goes to the next phase when the current one is over.
    pub(super) fn advance(&mut self) {
        match self.phase {
            Phase::Running if self.has_run_enough() => {
                self.phase = Phase::Draining;
            }
            Phase::Draining if self.is_at_rest() => {
                if self.last_kill && !self.kill_somebody() {
                    return;
                }
                self.phase = Phase::Releasing;
                for index in 0..self.crew.seats.len() {
                    if self.crew.seats[index].state == State::Working {
                        let releases = self.book.releases(index).into_iter();
                        let errands = releases.map(|step| Errand { step: Some(step), scripted: false });
                        self.crew.seats[index].place.todo.extend(errands);
                    }
                }
            }
            Phase::Releasing if self.is_at_rest() => {
                for seat in self.crew.seats.iter_mut().filter(|seat| seat.state == State::Working) {
                    seat.dismiss();
                }
                let held = self.book.held_count();
                if held > 0 {
                    self.crew.verdict.mixed_up(format!("{held} handles are held although everybody let go"));
                }
                self.phase = Phase::Leaving;
            }
            Phase::Leaving if self.crew.is_empty() => {
                self.phase = Phase::Done;
            }
            _ => {}
        }
    }

    /// Whether the time is over, all signals have been sent, and every recording has been replayed.
    fn has_run_enough(&self) -> bool {
        self.crew.started.elapsed() >= self.plan.duration
            && self.schedule.is_empty()
            && self.crew.seats.iter().all(|seat| seat.pause.is_none())
            && self.script.is_complete()
            && self.counters().jobs_done.iter().all(|&times| times > 0)
    }

    /// Whether no step is planned or sent, no worker is dying, and no token waits for a check.
    fn is_at_rest(&self) -> bool {
        let at_rest = |state| matches!(state, State::Working | State::Empty);
        self.deaths.is_empty()
            && self.suspects.is_empty()
            && self
                .crew
                .seats
                .iter()
                .all(|seat| at_rest(seat.state) && seat.place.is_drained() && seat.pause.is_none())
            && self.crew.seats.iter().all(|seat| seat.state == State::Empty || seat.place.waits_for.is_none())
    }
}
