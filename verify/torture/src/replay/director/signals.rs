//! Kills and stops workers.

use std::collections::HashMap;
use std::time::Instant;

use rand::seq::IndexedRandom;

use crate::driver::{Pause, State};

use super::super::chaos::Signal;
use super::super::watch::Dying;
use super::{Death, Director};

/// Maximum number of other workers that must show progress during a stop.
const WITNESSES_MAX: usize = 4;

impl Director<'_> {
    /// Sends the signals that are due, and ends a pause whose time is over.
    pub(super) fn strike(&mut self) {
        self.crew.end_pauses();
        while let Some(signal) = self.schedule.take_due(self.crew.started.elapsed()) {
            let dealt = match signal {
                Signal::Kill => self.kill_somebody(),
                Signal::Stop(pause) => self.stop_somebody(pause),
            };
            // A stop lasts until the others have answered their pulses, so with many workers not all stops fit in.
            let too_late =
                matches!(signal, Signal::Stop(_)) && self.crew.started.elapsed() >= self.plan.duration;
            if !dealt && !too_late {
                self.schedule.postpone(signal, self.crew.started.elapsed());
                break;
            }
        }
    }

    /// Kills a worker; false when there is none to kill.
    pub(super) fn kill_somebody(&mut self) -> bool {
        let able: Vec<usize> = (0..self.crew.seats.len())
            .filter(|&seat| self.crew.seats[seat].state == State::Working)
            .collect();
        let Some(&victim) = able.choose(&mut self.rng) else { return false };
        self.book.killed(victim);
        self.crew.seats[victim].kill();
        let killed_at = Instant::now();
        let incarnation = self.crew.seats[victim].place.incarnation;
        self.deaths.insert(incarnation, Death { seat: victim, killed_at });
        self.totals.kills += 1;
        if let Some((lease_index, lease_incarnation)) = self.crew.seats[victim].place.lease {
            let dying = Dying { incarnation, lease_index, lease_incarnation, killed_at };
            if self.watch.send(dying).is_err() {
                self.crew.verdict.stuck("the thread that watches the leases has ended");
            }
        }
        true
    }

    /// Stops a worker; false when one is stopped already, or no other worker would go on.
    fn stop_somebody(&mut self, pause: std::time::Duration) -> bool {
        if self.crew.seats.iter().any(|seat| seat.pause.is_some()) {
            return false;
        }
        let able: Vec<usize> =
            (0..self.crew.seats.len()).filter(|&seat| self.crew.seats[seat].is_working()).collect();
        if able.len() < 2 {
            return false;
        }
        let Some(&victim) = able.choose(&mut self.rng) else { return false };
        let others: Vec<usize> = able.into_iter().filter(|&other| other != victim).collect();
        let witnesses: Vec<usize> = others.choose_multiple(&mut self.rng, WITNESSES_MAX).copied().collect();
        let until = Instant::now() + pause;
        self.crew.seats[victim].stop(Pause { until, awaited: HashMap::new() });
        self.totals.stops += 1;
        // Each witness has to answer a pulse that it is sent after the stop.
        let awaited = witnesses.into_iter().map(|other| {
            self.crew.seats[other].pulse();
            (other, self.crew.seats[other].place.pulses_owed())
        });
        let awaited = awaited.collect();
        if let Some(pause) = &mut self.crew.seats[victim].pause {
            pause.awaited = awaited;
        }
        true
    }
}
