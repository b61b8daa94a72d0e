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
//! Locks and events in [`sync`], maps and queues in [`collections`], [processes](process) and [descriptors](mod@file) are handles too (feature
//! `objects`, on by default). [`raw`] has handles and blocks as plain data, and [`error`] why a call fails.
//! docs/guide.md is the place to begin.
//!
//! docs/architecture.md has the map of the crates, the protocol and its invariants; docs/layout.md has the bytes.

/// The README and the guide; their Rust blocks are tests. Both are links in this folder, so that the package has them as files.
#[cfg(all(doctest, feature = "objects", feature = "typed"))]
mod documents {
    #[doc = include_str!("../README.md")]
    struct Readme;
    #[doc = include_str!("../docs/guide.md")]
    struct Guide;
}

#[cfg(feature = "allocator")]
mod allocator;
#[cfg(feature = "objects")]
mod atomics;
mod block;
pub mod collections;
mod deaths;
pub mod error;
mod events;
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
#[cfg(feature = "objects")]
mod objects;
mod offset;
mod options;
mod place;
#[cfg(feature = "objects")]
mod processes;
pub mod raw;
mod report;
mod shared;
mod slots;
mod space;
#[cfg(feature = "objects")]
mod state;
#[doc(hidden)]
pub mod testing;
#[cfg(feature = "typed")]
mod typed;
#[cfg(feature = "objects")]
mod waiting;

pub use block::Block;
pub use deaths::Death;
pub use geometry::Geometry;
pub use handle::{Handle, Raw};
pub use kind::Kind;
pub use local::Local;
pub use member::Member;
#[cfg(feature = "objects")]
pub use names::{NameInfo, Named};
#[cfg(feature = "objects")]
pub use objects::{LockOwner, ObjectInfo, ObjectState};
pub use offset::Offset;
pub use options::Options;
pub use place::{Key, Place};
pub use report::{Report, Stats};
pub use shared::Reclaimed;
pub use slots::{Claim, Keep, Slots};
pub use space::Space;

#[cfg(feature = "typed")]
pub use typed::Value;

/// The crate that archives [values](Value): it has the traits `Archive` and `Serialize`.
///
/// A program that does not depend on it derives them so:
///
/// ```
/// use tenure::rkyv;
///
/// #[derive(rkyv::Archive, rkyv::Serialize)]
/// #[rkyv(crate = rkyv)]
/// struct Order {
///     id: u64,
/// }
/// ```
///
/// # Features
///
/// The bytes of an archive must be the same for all programs that share a space. rkyv takes their format from cargo features, which hold for the
/// whole program; this crate switches on `little_endian`, `aligned` and `pointer_width_32`, which are rkyv's defaults. A program that uses rkyv for
/// something else has that format there too, and does not build with `big_endian`, `unaligned` or another width. It can do without the feature
/// `typed` of this crate: raw payloads need no rkyv.
#[cfg(feature = "typed")]
pub use rkyv;
pub use tenure_core::LeaseId;

/// The crate of [plain](crate::sync::Plain) values: it has the traits `FromBytes`, `IntoBytes` and `Immutable`. A program that does not depend on it derives them so:
///
/// ```
/// use tenure::zerocopy;
///
/// #[derive(zerocopy::FromBytes, zerocopy::IntoBytes, zerocopy::Immutable)]
/// #[zerocopy(crate = "tenure::zerocopy")]
/// #[repr(C)]
/// struct Account {
///     balance: i64,
/// }
/// ```
#[cfg(feature = "objects")]
pub use zerocopy;

/// The collections and the trait of [`ScratchAllocator`](crate::collections::ScratchAllocator).
#[cfg(feature = "allocator")]
pub use allocator_api2;

#[cfg(feature = "faults")]
#[doc(hidden)]
pub use tenure_core::mutant;
pub use tenure_scratch_alloc::{Block as BlockState, Found as BlockInfo};
pub use tenure_segment::{Backend, LeaseInfo, Listed, MonitorState, NameState, Permissions};
#[cfg(feature = "objects")]
pub use tenure_slab::NAME_MAX;
pub use tenure_slab::{
    HandleInfo, HolderSet, Label as NameLabel, NameHash, SlotInfo, State as HandleState, Token,
};

/// What processes wait for and protect data with: locks, events, semaphores, and values that have a lock, or versions.
#[cfg(feature = "objects")]
pub mod sync {
    pub use crate::atomics::{Atomics, Shared};
    pub use crate::waiting::{
        Available, Condvar, Event, EventOptions, Initial, LockGuard, Locked, LockedGuard, LockedTaskGuard,
        Mutex, MutexGuard, MutexOptions, MutexState, MutexTaskGuard, Permit, Permits, Plain, Reset, RwLock,
        RwLockReadGuard, RwLockReadTaskGuard, RwLockState, RwLockWriteGuard, RwLockWriteTaskGuard, Semaphore,
        TaskGuard, Versioned, WAIT_MAX, WaitEnd, WaitOptions, WaitSet, Waitable, Woken, wait_all, wait_any,
        wait_any_or_fd,
    };
}

/// Processes and threads as handles: whether and how they ended.
#[cfg(feature = "objects")]
pub mod process {
    pub use crate::processes::{Exit, Process, Thread};
}

/// Descriptors that travel between processes, and the sharing of files.
#[cfg(feature = "objects")]
pub mod file {
    pub use crate::files::{Access, Conflict, Descriptor, FileShare, Sharing};
}
