//! The end of a run: from the last step of the script to the exit of the last worker.

use std::io;

use super::super::seat::{Errand, State};
use super::{Director, Phase};

impl Director<'_> {
    /// Goes to the next phase when the current one is over.
    pub(super) fn advance(&mut self) -> io::Result<()> {
        match self.phase {
            Phase::Running if self.has_run_enough() => {
                self.phase = Phase::Draining;
            }
            Phase::Draining if self.is_at_rest() => {
                if self.last_kill && !self.kill_somebody() {
                    return Ok(());
                }
                self.phase = Phase::Releasing;
                for index in 0..self.seats.len() {
                    if self.seats[index].state == State::Ready {
                        let releases = self.book.releases(index).into_iter();
                        let errands = releases.map(|step| Errand { step: Some(step), scripted: false });
                        self.seats[index].todo.extend(errands);
                    }
                }
            }
            Phase::Releasing if self.is_at_rest() => {
                for seat in self.seats.iter_mut().filter(|seat| seat.state == State::Ready) {
                    seat.dismiss();
                }
                let held = self.book.held_count();
                if held > 0 {
                    self.verdict.mixed_up(format!("{held} handles are held although everybody let go"));
                }
                self.phase = Phase::Leaving;
            }
            Phase::Leaving if self.seats.iter().all(|seat| seat.state == State::Empty) => {
                self.phase = Phase::Done;
            }
            _ => {}
        }
        Ok(())
    }

    /// Whether the time is over, all signals have been sent, and every recording has been replayed.
    fn has_run_enough(&self) -> bool {
        self.started.elapsed() >= self.plan.duration
            && self.schedule.is_empty()
            && self.pause.is_none()
            && self.script.is_complete()
            && self.counters().jobs_done.iter().all(|&times| times > 0)
    }

    /// Whether no step is planned or sent, no worker is dying, and no token waits for a check.
    fn is_at_rest(&self) -> bool {
        let at_rest = |state| matches!(state, State::Ready | State::Empty);
        self.deaths.is_empty()
            && self.suspects.is_empty()
            && self.seats.iter().all(|seat| at_rest(seat.state) && seat.is_drained() && !seat.stopped)
            && self.seats.iter().all(|seat| seat.state == State::Empty || seat.waits_for.is_none())
    }
}
