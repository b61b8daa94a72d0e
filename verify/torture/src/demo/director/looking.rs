//! The coordinator's own checks of tokens: each must answer as the book expects.

use std::fmt::Write as _;

use tenure::{Kind, OpenHandleError, Token};

use crate::pattern;

use super::super::book::{Expected, Suspect};
use super::super::seat::State;
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
            Err(error) => return self.verdict.mixed_up(format!("{name}: {error}")),
        };
        self.totals.looks += 1;
        let opened = member.open_raw(Kind::raw(suspect.kind), token);
        match (opened, alive) {
            (Err(OpenHandleError::Stale { .. }), false) => {}
            (Err(OpenHandleError::Stale { .. }), true) => {
                self.verdict.lost(format!("{name}: stale, but somebody living holds it"));
            }
            (Err(error), _) => self.verdict.refused(format!("{name}: cannot look at it: {error}")),
            (Ok(_), false) => {
                self.verdict.leaked(1, format!("{name}: opens, but nobody holds it any more"));
            }
            (Ok(handle), true) => {
                match handle.get() {
                    Ok(payload) => {
                        if let Err(text) = pattern::check_payload(suspect.identity, payload) {
                            self.verdict.mixed_up(format!("{name}: {text}"));
                        }
                    }
                    Err(error) => self.verdict.lost(format!("{name}: {error}")),
                }
                let other = member.open_raw(Kind::raw(suspect.kind ^ 1), token);
                if !matches!(other, Err(OpenHandleError::ForeignKind { .. })) {
                    self.verdict.mixed_up(format!("{name}: opens as another kind"));
                }
            }
        }
    }

    /// Reports the run as stuck when a worker or a reclaim does not finish in time.
    pub(super) fn find_stuck(&mut self) {
        let patience = self.plan.patience;
        let mut stuck = Vec::new();
        for seat in &self.seats {
            let silent = seat.received_at.elapsed();
            let owes = match seat.state {
                State::Starting => Some("join"),
                State::Ready if !seat.stopped && !seat.sent.is_empty() => Some("answer"),
                State::Leaving | State::Left => Some("leave"),
                _ => None,
            };
            if let Some(what) = owes.filter(|_| silent > patience) {
                stuck.push(format!("worker {} did not {what} for {silent:.1?}", seat.index));
            }
        }
        for (incarnation, death) in &self.deaths {
            let elapsed = death.killed_at.elapsed();
            if elapsed > patience {
                let text = format!(
                    "worker {} (#{incarnation}) was killed {elapsed:.1?} ago and is not reclaimed",
                    death.seat
                );
                stuck.push(text);
            }
        }
        if let Some(pause) = self.pause.as_ref().filter(|pause| pause.since.elapsed() > patience) {
            stuck.push(format!(
                "worker {} is stopped, and workers {:?} do not go on",
                pause.seat, pause.awaited
            ));
        }
        if self.received_at.elapsed() > patience {
            stuck.push("nobody said anything".into());
        }
        if stuck.is_empty() {
            return;
        }
        for text in stuck {
            self.verdict.stuck(text);
        }
        let dump = self.dump();
        self.verdict.note("dump", dump);
    }

    fn dump(&self) -> String {
        let mut text = format!("phase {:?}", self.phase);
        for seat in &self.seats {
            // Writing to a string does not fail.
            let _ = write!(
                text,
                "\n  worker {}: {:?}{}, pid {:?}, lease {:?}, {} to do (first {:?}), {} on their way (first {:?})",
                seat.index,
                seat.state,
                if seat.stopped { ", stopped" } else { "" },
                seat.pid(),
                seat.lease,
                seat.todo.len(),
                seat.todo.front().map(|errand| errand.step),
                seat.sent.len(),
                seat.sent.front().map(|errand| errand.step),
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
