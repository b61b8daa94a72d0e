//! The coordinator's own checks of tokens: each must answer as the book expects.

use std::fmt::Write as _;

use tenure::{Kind, Token, error::OpenHandleError};

use crate::driver::State;
use crate::pattern;

use super::super::book::{Expected, Suspect};
use super::Director;

impl Director<'_> {
    /// Checks tokens that a dead worker held, as soon as none of their steps is in progress.
    pub(super) fn look_at_suspects(&mut self) {
        let suspects = std::mem::take(&mut self.suspects);
        for suspect in suspects {
            match self.book.expected(&suspect) {
                Expected::NotYet => self.suspects.push(suspect),
                // Another holder died meanwhile; the token is checked again after the reclaim of that holder.
                Expected::Haunted => {}
                Expected::Alive => self.look(&suspect, true),
                Expected::Stale => self.look(&suspect, false),
            }
        }
    }

    /// Checks a random handle that is held, if none of its steps is in progress.
    pub(super) fn look_at_random(&mut self) {
        let Some(suspect) = self.book.any_suspect() else { return };
        if self.book.expected(&suspect) == Expected::Alive {
            self.look(&suspect, true);
        }
    }

    fn look(&mut self, suspect: &Suspect, alive: bool) {
        let Some(member) = self.stage.member() else { return };
        let name = format!("handle {}, token {:016x}", suspect.handle, suspect.token);
        let token = match Token::try_from(suspect.token) {
            Ok(token) => token,
            Err(error) => return self.crew.verdict.mixed_up(format!("{name}: {error}")),
        };
        self.totals.looks += 1;
        let opened = member.open_raw(Kind::raw(suspect.kind), token);
        match (opened, alive) {
            (Err(OpenHandleError::Stale { .. }), false) => {}
            (Err(OpenHandleError::Stale { .. }), true) => {
                self.crew.verdict.lost(format!("{name}: stale, but somebody living holds it"));
            }
            (Err(error), _) => self.crew.verdict.refused(format!("{name}: cannot look at it: {error}")),
            (Ok(_), false) => {
                self.crew.verdict.leaked(1, format!("{name}: opens, but nobody holds it any more"));
            }
            (Ok(handle), true) => {
                match handle.get() {
                    Ok(payload) => {
                        if let Err(text) = pattern::check_payload(suspect.identity, payload) {
                            self.crew.verdict.mixed_up(format!("{name}: {text}"));
                        }
                    }
                    Err(error) => self.crew.verdict.lost(format!("{name}: {error}")),
                }
                let other = member.open_raw(Kind::raw(suspect.kind ^ 1), token);
                if !matches!(other, Err(OpenHandleError::ForeignKind { .. })) {
                    self.crew.verdict.mixed_up(format!("{name}: opens as another kind"));
                }
            }
        }
    }

    /// Reports the run as stuck when a worker or a reclaim does not finish in time.
    pub(super) fn find_stuck(&mut self) {
        self.crew.find_stuck(|seat| match seat.state {
            State::Starting => Some("join"),
            State::Working if !seat.place.sent.is_empty() => Some("answer"),
            State::Ending | State::Left => Some("leave"),
            _ => None,
        });
        for (incarnation, death) in &self.deaths {
            let elapsed = death.killed_at.elapsed();
            if elapsed > self.plan.patience {
                let who = format!("worker {} (#{incarnation})", death.seat);
                self.crew.verdict.stuck(format!("{who} was killed {elapsed:.1?} ago and is not reclaimed"));
            }
        }
        if self.heard_at.elapsed() > self.plan.patience {
            self.crew.verdict.stuck("nobody said anything");
        }
        if self.crew.verdict.stuck > 0 {
            let dump = self.dump();
            self.crew.verdict.note("dump", dump);
        }
    }

    fn dump(&self) -> String {
        let mut text = format!("phase {:?}", self.phase);
        for seat in &self.crew.seats {
            // Writing to a string does not fail.
            let _ = write!(
                text,
                "\n  worker {}: {:?}{}, pid {:?}, lease {:?}, {} to do (first {:?}), {} on their way (first {:?})",
                seat.index,
                seat.state,
                if seat.pause.is_some() { ", stopped" } else { "" },
                seat.pid(),
                seat.place.lease,
                seat.place.todo.len(),
                seat.place.todo.front().map(|errand| errand.step),
                seat.place.sent.len(),
                seat.place.sent.front().map(|errand| errand.step),
            );
        }
        for lease in self.stage.segment.space.leases().iter().filter(|lease| lease.live) {
            let _ = write!(
                text,
                "\n  lease {}: incarnation {}, pid {}, held {:?}",
                lease.index, lease.incarnation, lease.pid, lease.held
            );
        }
        text
    }
}
