//! The shared segment under tenure: one run of bytes that several processes map, and a table of members that the kernel vouches for.
//!
//! A [`Segment`] maps the bytes read-only and is not a member. [`Segment::join`] makes a member: a [`Lease`], with its own mapping,
//! which pins the kernel lock that proves its owner alive. Usually it also has a monitor, which is notified of the death of others
//! within microseconds, without polling. The crate that owns the data area implements [`Reclaim`], by which recovery takes back
//! everything that a dead member held. docs/architecture.md has the glossary, the axioms `[A#]` and the invariants
//! `[I#]` cited here; [`layout::LAYOUT`] has the bytes.

#[cfg(not(loom))]
mod attachment;
#[cfg(not(loom))]
mod backend;
#[cfg(not(loom))]
mod control;
mod data_area;
#[cfg(not(loom))]
mod error;
pub mod fault;
#[cfg(not(loom))]
mod fork_flag;
#[cfg(not(loom))]
mod fork_lock;
#[cfg(not(loom))]
pub mod futex;
#[cfg(not(loom))]
mod futex_threads;
#[cfg(not(loom))]
mod header;
#[cfg(not(loom))]
mod host;
pub mod id;
#[cfg(not(loom))]
mod join;
pub mod layout;
#[cfg(not(loom))]
mod lease;
#[cfg(not(loom))]
mod listing;
#[cfg(not(loom))]
mod lock;
#[cfg(not(loom))]
mod mapping;
#[cfg(not(loom))]
mod member;
#[cfg(not(loom))]
mod monitor;
#[cfg(not(loom))]
mod name;
#[cfg(not(loom))]
mod notifications;
#[cfg(not(loom))]
pub mod passing;
#[cfg(not(loom))]
mod peek;
#[cfg(not(loom))]
pub mod process;
#[cfg(not(loom))]
mod segment;
pub mod sync;
#[cfg(not(loom))]
mod thread;
pub mod weak;

pub use data_area::DataArea;
#[cfg(not(loom))]
pub use error::{CommitError, DecommitError, JoinError, ListError, NotMember, OpenError, RemoveError};
pub use id::{Acquire, LeaseId, MEMBERS_MAX, Recovery};
#[cfg(not(loom))]
pub use join::JoinOptions;
#[cfg(not(loom))]
pub use lease::Lease;
#[cfg(not(loom))]
pub use listing::Listed;
#[cfg(not(loom))]
pub use member::Reclaim;
#[cfg(not(loom))]
pub use monitor::{Absence, MonitorState};
#[cfg(not(loom))]
pub use name::{Backend, Place};
#[cfg(not(loom))]
pub use peek::peek;
#[cfg(not(loom))]
pub use segment::{LeaseInfo, Segment, Spec};
