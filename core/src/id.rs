//! The identity of a lease, and the two rights derived from it.

use std::fmt;

/// The most members a geometry can have.
pub const MEMBERS_MAX: u16 = 256;

/// The identity of a lease: the index of the slot, and the incarnation, that is, the number of times the slot was taken.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LeaseId {
    /// The slot in the lease table, below the geometry's `members`.
    pub index: u8,
    /// The number of times this slot was taken, with this time. It has 56 bits: enough for 2283 years at a million joins a second.
    pub incarnation: u64,
}

impl fmt::Debug for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "lease {}#{}", self.index, self.incarnation)
    }
}

/// The right of a member to hold handles and blocks. A LIVE lease gives it.
///
/// Mutating calls of the slab and the allocator take `&Acquire`.
#[derive(Debug)]
pub struct Acquire {
    id: LeaseId,
}

impl Acquire {
    /// Asserts the right to act as `id`.
    ///
    /// # Safety
    ///
    /// - `lease[id.index]` is LIVE with `id.incarnation` for as long as the value is used `[lease-live-first]`;
    /// - no other process acts as `id` meanwhile.
    ///
    /// Tests over private memory may assert it freely, one value per simulated member.
    #[must_use]
    pub const unsafe fn assume(id: LeaseId) -> Self {
        Self { id }
    }

    /// The lease that has the right.
    #[must_use]
    pub const fn id(&self) -> LeaseId {
        self.id
    }
}

/// The right to reclaim everything that a dead lease held. `by` is the recoverer's lease index, which gives its closer tag.
///
/// An owner that leaves recovers itself with `dead == by`.
#[derive(Debug)]
pub struct Recovery {
    dead: LeaseId,
    by: u8,
}

impl Recovery {
    /// Asserts the right to recover `dead` on behalf of lease `by`.
    ///
    /// # Safety
    ///
    /// - the owner of `dead` is proved gone `[A3]`, or is the caller itself, which is leaving;
    /// - the read or the write lock on the byte of `dead` is held while the value lives `[A4]`, `[lease-dead-only]`;
    /// - `by` is the caller's own lease, or the caller holds the write lock on the byte of `dead` and `by == dead.index`.
    #[must_use]
    pub const unsafe fn assume(dead: LeaseId, by: u8) -> Self {
        Self { dead, by }
    }

    /// The lease that is being recovered.
    #[must_use]
    pub const fn dead(&self) -> LeaseId {
        self.dead
    }

    /// The lease index of the recoverer.
    #[must_use]
    pub const fn by(&self) -> u8 {
        self.by
    }
}
