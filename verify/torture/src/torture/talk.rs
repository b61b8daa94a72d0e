//! The messages between the director and the members, in frames of [`crate::wire`].

use serde::{Deserialize, Serialize};

use crate::verdict::{Verdict, Wrong};

use super::chance::{Act, End};
use super::crowd;

/// A resource that one member passes to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Gift {
    /// A handle; the sender holds it until it learns the outcome.
    Handle { token: u64, identity: u64, sort: Sort },
    /// A block of the sender that the receiver frees.
    Block { offset: u64, len: usize, owner_index: u8, owner_incarnation: u64, key: u64 },
}

/// The type of the handle of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Sort {
    Raw,
    Typed,
    Descriptor,
}

/// A gift in transit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Parcel {
    /// The sender's seat.
    pub(super) from: usize,
    /// The sender's incarnation.
    pub(super) incarnation: u64,
    /// The sender's number of the gift; modulo 2 it is the thread that sent it.
    pub(super) number: u64,
    /// The receiver's seat.
    pub(super) to: usize,
    /// Index of the space.
    pub(super) space: usize,
    pub(super) gift: Gift,
}

/// The outcome of a gift.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Outcome {
    /// The receiver took it.
    Taken,
    /// The receiver did not exist.
    Declined,
    /// The receiver ended, before or after it took the gift.
    Unknown,
    /// The gift was not valid, which is an error if the sender lives.
    Doubtful(String),
}

/// A message to a member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Command {
    /// A gift from another member.
    Deliver(Parcel),
    /// The outcome of a gift; never [`Outcome::Doubtful`].
    Settled { number: u64, outcome: Outcome },
    /// Release everything and leave.
    Leave,
    /// The answer to [`Report::Ending`]; it is the last message.
    MayEnd,
}

/// A message from a member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Report {
    /// It is a member of all spaces.
    Joined { incarnation: u64 },
    /// Sent at fixed numbers of operations.
    Progress(Counts),
    /// The member has done its operations and expects to be killed.
    Ripe(Counts),
    /// A gift for another member.
    Sent(Parcel),
    /// The outcome of a gift that it received.
    Took(Parcel, Outcome),
    /// An error of a space.
    Wrong { what: Wrong, text: String },
    /// The member is about to end and waits for [`Command::MayEnd`].
    Ending(End, Counts),
    /// The member has left all spaces.
    Left,
    /// From the process of a crowd: its counts and errors so far.
    Crowd(crowd::Figures, Verdict),
}

/// The counts of an incarnation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Counts {
    /// Number of acts begun, in the order of [`Act::ALL`].
    pub(super) acts: Vec<u64>,
    /// Number of acts that had nothing to do: nothing held, nothing received, no other seat.
    pub(super) idle: u64,
    /// Number of acts refused because handles or memory were exhausted.
    pub(super) exhausted: u64,
    /// Number of waits that timed out.
    pub(super) timeouts: u64,
    /// Number of memberships begun: its own, visits, those of forked children and families.
    pub(super) joins: u64,
    /// Number of memberships ended by leaving.
    pub(super) leaves: u64,
    /// Number of children forked.
    pub(super) forks: u64,
    /// Numbers of resources taken back from dead members: leases, handles, blocks.
    pub(super) reclaimed: [u64; 3],
}

impl Default for Counts {
    fn default() -> Self {
        let acts = vec![0; Act::ALL.len()];
        Self { acts, idle: 0, exhausted: 0, timeouts: 0, joins: 0, leaves: 0, forks: 0, reclaimed: [0; 3] }
    }
}

impl Counts {
    /// The number of all acts.
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
