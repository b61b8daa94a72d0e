//! The schedule of kills and stops.

use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;

/// A signal for a worker; the worker is chosen when the signal is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signal {
    /// SIGKILL.
    Kill,
    /// SIGSTOP, and SIGCONT after this time, but not before other workers have shown progress.
    Stop(Duration),
}

/// Signals with their times since the start, soonest last.
#[derive(Debug)]
pub(super) struct Schedule {
    signals: Vec<(Duration, Signal)>,
}

impl Schedule {
    /// Spreads the signals at random over the middle 90 % of the run.
    pub(super) fn draw(duration: Duration, kills: u32, stops: u32, rng: &mut StdRng) -> Self {
        let at = |rng: &mut StdRng| duration.mul_f64(rng.random_range(0.05..0.95));
        let mut signals: Vec<_> = (0..kills).map(|_| (at(rng), Signal::Kill)).collect();
        for _ in 0..stops {
            let pause = duration.mul_f64(rng.random_range(0.001..0.02)).max(Duration::from_millis(5));
            signals.push((at(rng), Signal::Stop(pause)));
        }
        signals.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
        Self { signals }
    }

    /// The time until the next signal is due.
    pub(super) fn next_in(&self, elapsed: Duration) -> Option<Duration> {
        self.signals.last().map(|(at, _)| at.saturating_sub(elapsed))
    }

    /// Removes and returns a signal that is due.
    pub(super) fn take_due(&mut self, elapsed: Duration) -> Option<Signal> {
        self.signals.pop_if(|(at, _)| *at <= elapsed).map(|(_, signal)| signal)
    }

    /// No worker could be signalled: try again a little later.
    pub(super) fn postpone(&mut self, signal: Signal, elapsed: Duration) {
        self.signals.push((elapsed + Duration::from_millis(2), signal));
        self.signals.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
    }

    /// Whether all signals have been sent.
    pub(super) fn is_empty(&self) -> bool {
        self.signals.is_empty()
    }
}
