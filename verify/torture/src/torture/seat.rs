//! The seat of a member.

use crate::driver::{self, Game};

use super::chance::Fate;
use super::talk::{Command, Counts, Report};

/// Random operations.
pub(super) struct Torture;

impl Game for Torture {
    type Command = Command;
    type Report = Report;
    type Note = std::convert::Infallible;
    type Place = Place;
}

/// The seat of a member.
pub(super) type Seat = driver::Seat<Torture>;

/// What the director knows of a member.
pub(super) struct Place {
    pub(super) seat: u64,
    pub(super) incarnation: u64,
    pub(super) fate: Fate,
    /// Counts of the present incarnation.
    pub(super) counts: Counts,
    /// Number of reports of the present incarnation.
    pub(super) reports: u64,
    /// Number of operations of all earlier incarnations.
    pub(super) operations: u64,
    /// Whether it has been told to leave.
    pub(super) dismissed: bool,
}

impl Place {
    pub(super) fn new(seat: usize, seed: u64) -> Self {
        let seat = seat as u64;
        Self {
            seat,
            incarnation: 0,
            fate: Fate::of(seed, seat, 0),
            counts: Counts::default(),
            reports: 0,
            operations: 0,
            dismissed: false,
        }
    }

    /// Ends the present incarnation; the next one has another fate.
    pub(super) fn next_incarnation(&mut self, seed: u64) {
        self.operations += self.counts.operations();
        self.counts = Counts::default();
        self.reports = 0;
        self.incarnation += 1;
        self.fate = Fate::of(seed, self.seat, self.incarnation);
    }
}
