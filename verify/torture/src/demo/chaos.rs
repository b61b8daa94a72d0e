//! When who is killed or stopped.

use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;

/// Something to be done to a worker; to which one is decided when it is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Blow {
    /// SIGKILL.
    Kill,
    /// SIGSTOP, and SIGCONT so much later, but not before others have shown that they go on.
    Stop(Duration),
}

/// Blows with their times since the start, soonest last.
#[derive(Debug)]
pub(super) struct Schedule {
    blows: Vec<(Duration, Blow)>,
}

impl Schedule {
    /// Spreads the blows at random over the middle 90 % of the run.
    pub(super) fn draw(duration: Duration, kills: u32, stops: u32, rng: &mut StdRng) -> Self {
        let at = |rng: &mut StdRng| duration.mul_f64(rng.random_range(0.05..0.95));
        let mut blows: Vec<_> = (0..kills).map(|_| (at(rng), Blow::Kill)).collect();
        for _ in 0..stops {
            let pause = duration.mul_f64(rng.random_range(0.001..0.02)).max(Duration::from_millis(5));
            blows.push((at(rng), Blow::Stop(pause)));
        }
        blows.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
        Self { blows }
    }

    /// How long until the next blow is due.
    pub(super) fn next_in(&self, elapsed: Duration) -> Option<Duration> {
        self.blows.last().map(|(at, _)| at.saturating_sub(elapsed))
    }

    /// A blow that is due.
    pub(super) fn take_due(&mut self, elapsed: Duration) -> Option<Blow> {
        self.blows.pop_if(|(at, _)| *at <= elapsed).map(|(_, blow)| blow)
    }

    /// Nobody could be hit: try again a little later.
    pub(super) fn postpone(&mut self, blow: Blow, elapsed: Duration) {
        self.blows.push((elapsed + Duration::from_millis(2), blow));
        self.blows.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
    }

    /// All done?
    pub(super) fn is_empty(&self) -> bool {
        self.blows.is_empty()
    }
}
