//! What the director and the members say to each other, in frames of [`crate::wire`].

use serde::{Deserialize, Serialize};

use crate::verdict::{Verdict, Wrong};

use super::chance::{Act, End};
use super::crowd;

/// Something that one member passes to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Gift {
    /// A handle, which the sender holds until it is told what became of it.
    Handle { token: u64, identity: u64, sort: Sort },
    /// A block of the sender's, to be freed by the other.
    Block { offset: u64, len: usize, owner_index: u8, owner_incarnation: u64, key: u64 },
}

/// What sort of handle a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Sort {
    Raw,
    Typed,
    Descriptor,
}

/// A gift on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Parcel {
    /// The sender's seat.
    pub(super) from: usize,
    /// The sender's incarnation.
    pub(super) incarnation: u64,
    /// The sender's number for it, modulo 2 the thread that sent it.
    pub(super) number: u64,
    /// The receiver's seat.
    pub(super) to: usize,
    /// Which space.
    pub(super) space: usize,
    pub(super) gift: Gift,
}

/// What became of a gift.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Outcome {
    /// The other has it.
    Taken,
    /// The other was not there to take it.
    Declined,
    /// The other ended, before or after it took it.
    Unknown,
    /// It was not as it has to be if the sender lives.
    Doubtful(String),
}

/// To a member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Command {
    /// Something from another member.
    Deliver(Parcel),
    /// What became of a gift; never [`Outcome::Doubtful`].
    Settled { number: u64, outcome: Outcome },
    /// Let go of everything and leave.
    Leave,
    /// The answer to [`Report::Ending`]; nothing comes after it.
    MayEnd,
}

/// From a member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Report {
    /// Member of all spaces.
    Joined { incarnation: u64 },
    /// Every so many operations.
    Progress(Counts),
    /// It has done its operations and expects to be killed.
    Ripe(Counts),
    /// A gift for another.
    Sent(Parcel),
    /// What became of a gift.
    Took(Parcel, Outcome),
    /// Something that must never be.
    Wrong { what: Wrong, text: String },
    /// It is about to end and waits for [`Command::MayEnd`].
    Ending(End, Counts),
    /// It has left all spaces.
    Left,
    /// From the director of a crowd: what happened so far.
    Crowd(crowd::Figures, Verdict),
}

/// What an incarnation did so far.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Counts {
    /// Acts begun, in the order of [`Act::ALL`].
    pub(super) acts: Vec<u64>,
    /// Acts that found nothing to do: nothing held, nothing arrived, nobody to send to.
    pub(super) idle: u64,
    /// Acts that were refused for want of handles or memory.
    pub(super) exhausted: u64,
    /// Waits that ended with nothing.
    pub(super) timeouts: u64,
    /// Memberships begun: its own, visits, those of forked children and families.
    pub(super) joins: u64,
    /// Memberships ended by leaving.
    pub(super) leaves: u64,
    /// Children forked.
    pub(super) forks: u64,
    /// Taken back from the dead: leases, handles, blocks.
    pub(super) reclaimed: [u64; 3],
}

impl Default for Counts {
    fn default() -> Self {
        let acts = vec![0; Act::ALL.len()];
        Self { acts, idle: 0, exhausted: 0, timeouts: 0, joins: 0, leaves: 0, forks: 0, reclaimed: [0; 3] }
    }
}

impl Counts {
    /// All acts.
    pub(super) fn operations(&self) -> u64 {
        self.acts.iter().sum()
    }

    pub(super) fn add(&mut self, other: &Self) {
        for (sum, more) in self.acts.iter_mut().zip(&other.acts) {
            *sum += more;
        }
        for (sum, more) in self.reclaimed.iter_mut().zip(&other.reclaimed) {
            *sum += more;
        }
        self.idle += other.idle;
        self.exhausted += other.exhausted;
        self.timeouts += other.timeouts;
        self.joins += other.joins;
        self.leaves += other.leaves;
        self.forks += other.forks;
    }
}
