//! A lock-free slab of handles over shared words: holder sets, generations, exact recovery.
//!
//! A handle lives as long as some member of the space holds it. Its entry has one word that tells the truth, one bit
//! per member that may hold it, and 32 bytes of payload or the offset of a block. When a process dies, the bits of its
//! lease name the handles that it held, and any process reclaims them with [`Slab::recover`].
//!
//! This crate is pure protocol. It borrows words ([`Slab`]) and takes the right to act as an argument (`Acquire`, `Recovery`). The
//! private state of a member is a value ([`RefCounts`]), and so are the claimed entries of a thread ([`Cache`]). src/word.rs has
//! the handle word and its transitions; docs/architecture.md has the invariants `[slab-...]` that comments cite. `[D]` marks
//! the SeqCst accesses of the Dekker pair of holder bits and handle word.
//!
//! # Progress
//!
//! Lock-free between processes: a process that is stopped, or dies, at any instruction keeps nobody waiting. Within a process
//! a claim, a first open, a last close and a recovery of one handle wait for each other; everything else is lock-free.
//!
//! # Crash
//!
//! A process may end between any two instructions. Each operation documents the state that this leaves, and which operation repairs it.
//!
//! # Limits
//!
//! 2^20 handles, 256 members, 2^36 generations of a handle (at a handle created and closed every 10 ns, 11 minutes until
//! its entry is used up; the others take over), nearly 2^27 counts of a process on a handle.

mod cache;
mod close;
mod create;
mod entry;
mod error;
#[cfg(all(test, not(loom)))]
mod explore;
mod geometry;
mod inspect;
mod local;
mod names;
mod open;
mod read;
mod recover;
mod shares;
mod slab;
mod slots;
#[doc(hidden)]
pub mod testing;
mod token;
mod word;

// Unit tests stop and kill members at each access to a word.
#[cfg(not(all(test, not(loom))))]
use tenure_core::sync;

#[cfg(all(test, not(loom)))]
use tenure_core::testing as sync;

pub use cache::Cache;
pub use close::Closed;
pub use entry::{BlockRef, Label, Payload};
pub use error::{Exhausted, OpenError, Stale};
pub use geometry::{CHUNK_SLOTS, Geometry, GeometryError, INLINE_BYTES, LAYOUT, Layout, SLOTS_MAX};
pub use inspect::{Counts, HandleInfo, HolderSet, Problem, Report};
pub use local::{COUNT_MAX, RefCounts};
pub use names::{
    Full, Handles, Inserted, NAME_MAX, NAMES_LAYOUT, NameHash, Names, NamesLayout, NamesProblem, NamesReport,
};
pub use recover::Recovered;
pub use shares::{InTheWay, Incarnations, Modes, Share, Shares};
pub use slab::{Held, Slab};
pub use slots::{
    CONTAINER_KIND, CONTAINER_KIND_MASK, Claimed, Known, Look, Place, PopError, PushError, PutError,
    QueueWords, SLOT_MEMBERS_MAX, SlotError, SlotInfo, is_container,
};
pub use token::{Token, TokenError};
pub use word::State;
