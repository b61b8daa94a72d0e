//! Handles, locks and scratch memory shared by the processes of one machine: no daemon, and no lock that a dead process can hold.
//!
//! A [`Space`] is a segment that several processes map. A process joins it to become a [`Member`]; only a member can hold
//! handles and memory. A [`Handle`] is an object that lives as long as at least one member holds it; its [`Token`] is a number
//! that any process can pass to any other. A [`Block`] is malloc-like memory. When a process dies, the other members recover its
//! handles and its memory.
//!
//! ```
//! # use rkyv::{Archive, Serialize};
//! #[derive(Archive, Serialize)]
//! struct Order {
//!     id: u64,
//!     lines: Vec<String>,
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let space = tenure::Space::options().handles(1024).scratch(16 << 20).anonymous()?;
//! let me = space.join()?;
//! let handle = me.create(&Order { id: 7, lines: vec!["tea".into()] })?;
//! let token = handle.token(); // 64 bits, to be passed by any means
//!
//! // Usually in another process:
//! let other = space.join()?;
//! let opened = other.open::<Order>(token)?;
//! assert_eq!((opened.get()?.id, opened.get()?.lines[0].as_str()), (7.into(), "tea"));
//!
//! drop(handle);
//! assert_eq!(opened.get()?.lines.len(), 1); // still held by the other
//! drop(opened);
//! assert!(other.open::<Order>(token).is_err()); // stale
//! # Ok(()) }
//! ```
//!
//! [`Mutex`], [`Event`], [`Semaphore`], [`Process`] and [`Descriptor`] (feature `objects`, on by default) are handles too; [`wait_any`] and
//! [`wait_all`] wait for several. docs/guide.md is the place to begin.
//!
//! docs/architecture.md has the map of the crates, the protocol and its invariants; docs/layout.md has the bytes.

/// The README and the guide; their Rust blocks are tests.
#[cfg(all(doctest, feature = "objects"))]
mod documents {
    #[doc = include_str!("../../README.md")]
    struct Readme;
    #[doc = include_str!("../../docs/guide.md")]
    struct Guide;
}

#[cfg(feature = "allocator")]
mod allocator;
#[cfg(feature = "objects")]
mod atomics;
mod block;
#[cfg(feature = "objects")]
mod collections;
mod error;
#[cfg(feature = "objects")]
mod files;
mod geometry;
mod handle;
mod kind;
mod local;
mod member;
#[cfg(feature = "objects")]
mod names;
#[cfg(feature = "objects")]
mod object;
mod offset;
mod options;
#[cfg(feature = "objects")]
mod processes;
mod raw;
mod report;
mod shared;
mod slots;
mod space;
#[cfg(feature = "objects")]
mod state;
#[doc(hidden)]
pub mod testing;
mod typed;
#[cfg(feature = "objects")]
mod waiting;

#[cfg(feature = "allocator")]
pub use allocator::ScratchAllocator;
pub use block::Block;
pub use error::{
    AllocError, BlockError, CreateError, FreeError, JoinError, NotMember, OpenError, OpenHandleError,
    ReadOnly, RecoverError, RemoveError, ScratchError, UseError,
};
pub use geometry::Geometry;
pub use handle::{Handle, Raw};
pub use kind::Kind;
pub use local::Local;
pub use member::{LeaveError, Member};
pub use offset::Offset;
pub use options::Options;
pub use raw::{RawBlock, RawHandle};
pub use report::{Report, Stats};
pub use shared::Reclaimed;
pub use slots::{Claim, Keep, PutError, SlotError, Slots};
pub use space::Space;
pub use typed::Value;

#[cfg(feature = "objects")]
pub use {
    atomics::{Atomics, Shared},
    collections::{Element, Entry, Map, MapError, MapIter, MapOptions, Queue, QueueError, QueueLen},
    files::{Access, Conflict, Descriptor, DescriptorError, FileShare, Refused, ShareError, Sharing},
    names::{NameInfo, Named, NamedError},
    processes::{Exit, Process, ProcessError, Thread},
    tenure_segment::{passing::Refusal, process::PidError},
    tenure_slab::NAME_MAX,
    waiting::{
        Condvar, Event, Initial, LockGuard, Locked, LockedGuard, Mutex, MutexGuard, MutexState, Permit,
        Permits, Plain, Reset, RwLock, RwLockReadGuard, RwLockState, RwLockWriteGuard, Semaphore, Versioned,
        WAIT_MAX, WaitEnd, WaitError, WaitOptions, Waitable, Woken, wait_all, wait_any,
    },
};

pub use tenure_core::LeaseId;
#[cfg(feature = "faults")]
#[doc(hidden)]
pub use tenure_core::mutant;
pub use tenure_scratch_alloc::{Block as BlockState, Found as BlockInfo};
pub use tenure_segment::{
    Absence, Backend, LeaseInfo, Listed, MonitorState, NameState, OpenError as SegmentError,
};
pub use tenure_slab::{HandleInfo, SlotInfo, Token, TokenError};
