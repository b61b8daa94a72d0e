//! Kills and stops workers.

use std::time::Instant;

use rand::seq::IndexedRandom;
use rustix::process::Signal;

use super::super::book::Incarnation;
use super::super::chaos::Blow;
use super::super::seat::{Errand, State};
use super::super::watch::Dying;
use super::{Awaited, Death, Director, Pause};
use crate::wire::Task;

/// Maximum number of other workers that must show progress during a stop.
const WITNESSES_MAX: usize = 4;

impl Director<'_> {
    /// Sends the signals that are due, and ends a pause whose time is over.
    pub(super) fn strike(&mut self) {
        self.end_pause();
        while let Some(blow) = self.schedule.take_due(self.started.elapsed()) {
            let dealt = match blow {
                Blow::Kill => self.kill_somebody(),
                Blow::Stop(pause) => self.stop_somebody(pause),
            };
            // A stop lasts until the others have answered their pulses, so with many workers not all stops fit in.
            let too_late = matches!(blow, Blow::Stop(_)) && self.started.elapsed() >= self.plan.duration;
            if !dealt && !too_late {
                self.schedule.postpone(blow, self.started.elapsed());
                break;
            }
        }
    }

    /// Kills a worker; false when there is none to kill.
    pub(super) fn kill_somebody(&mut self) -> bool {
        let able: Vec<usize> =
            (0..self.seats.len()).filter(|&seat| self.seats[seat].state == State::Ready).collect();
        let Some(&victim) = able.choose(&mut self.rng) else { return false };
        self.book.killed(victim);
        self.seats[victim].signal(Signal::KILL);
        let killed_at = Instant::now();
        let incarnation = self.seats[victim].incarnation;
        self.deaths.insert(incarnation, Death { seat: victim, killed_at });
        self.totals.kills += 1;
        if let Some((lease_index, lease_incarnation)) = self.seats[victim].lease {
            let dying = Dying { incarnation, lease_index, lease_incarnation, killed_at };
            if self.watch.send(dying).is_err() {
                self.verdict.stuck("the thread that watches the leases has ended");
            }
        }
        true
    }

    /// Stops a worker; false when one is stopped already, or no other worker would go on.
    fn stop_somebody(&mut self, pause: std::time::Duration) -> bool {
        if self.pause.is_some() {
            return false;
        }
        let able: Vec<usize> = (0..self.seats.len()).filter(|&seat| self.seats[seat].is_working()).collect();
        if able.len() < 2 {
            return false;
        }
        let Some(&victim) = able.choose(&mut self.rng) else { return false };
        self.seats[victim].signal(Signal::STOP);
        self.totals.stops += 1;
        let others: Vec<usize> = able.into_iter().filter(|&other| other != victim).collect();
        let mut awaited = Vec::new();
        for &other in others.choose_multiple(&mut self.rng, WITNESSES_MAX) {
            let seat = &mut self.seats[other];
            seat.push(Errand { step: None, scripted: false }, Task::Pulse);
            seat.flush();
            let (incarnation, pulses) = (seat.incarnation, seat.pulses_owed());
            awaited.push(Awaited { seat: other, incarnation, pulses });
        }
        let since = Instant::now();
        let incarnation = self.seats[victim].incarnation;
        self.pause = Some(Pause { seat: victim, incarnation, since, until: since + pause, awaited });
        true
    }

    /// Records that the worker of a seat has shown progress.
    pub(super) fn pulse_of(&mut self, seat: usize) {
        let Some(pause) = &mut self.pause else { return };
        for awaited in pause.awaited.iter_mut().filter(|awaited| awaited.seat == seat) {
            awaited.pulses -= 1;
        }
        pause.awaited.retain(|awaited| awaited.pulses > 0);
    }

    fn end_pause(&mut self) {
        let Some(pause) = &mut self.pause else { return };
        let is_present = |seat: usize, incarnation: Incarnation| {
            self.seats[seat].incarnation == incarnation && self.seats[seat].state == State::Ready
        };
        pause.awaited.retain(|awaited| is_present(awaited.seat, awaited.incarnation));
        if !is_present(pause.seat, pause.incarnation) {
            // The worker was killed while it was stopped.
            self.pause = None;
            return;
        }
        if pause.awaited.is_empty() && Instant::now() >= pause.until {
            let seat = &mut self.seats[pause.seat];
            seat.signal(Signal::CONT);
            seat.received_at = Instant::now();
            self.pause = None;
        }
    }
}
