//! The shared segment under tenure: one run of bytes that several processes map, and a table of members that the kernel vouches for.
//!
//! A [`Segment`] maps the bytes read-only and is not a member. [`Segment::join`] makes a member: a [`Lease`], with its own mapping,
//! which pins the kernel lock that proves its owner alive. Usually it also has a monitor, which is notified of the death of others
//! within microseconds, without polling. The crate that owns the data area implements [`Reclaim`]; recovery calls it to reclaim
//! everything that a dead member held. docs/architecture.md has the glossary, the axioms `[A#]` and the invariants
//! `[lease-...]` cited here; [`layout::LAYOUT`] has the bytes.

mod attachment;
mod backend;
pub mod clock;
mod control;
mod data_area;
mod desk;
mod error;
mod fork_flag;
mod fork_lock;
pub mod futex;
mod futex_threads;
mod header;
mod host;
mod join;
pub mod layout;
mod lease;
mod listing;
mod lock;
mod mapping;
mod member;
mod monitor;
mod name;
mod notifications;
pub mod passing;
mod peek;
mod permissions;
mod presence;
pub mod process;
pub mod readiness;
mod segment;
pub mod sleepers;
mod thread;
mod wiped;

pub use data_area::DataArea;
pub use desk::Absence;
pub use error::{
    CommitError, DecommitError, JoinError, ListError, NotMember, OpenError, RecoverError, RemoveError,
};
pub use fork_flag::is_serial;
pub use join::JoinOptions;
pub use lease::Lease;
pub use listing::Listed;
pub use member::Reclaim;
pub use monitor::MonitorState;
pub use name::{Backend, Place};
pub use peek::peek;
pub use permissions::Permissions;
pub use presence::NameState;
pub use segment::{LeaseInfo, Segment, Spec};
pub use thread::start_thread;
pub use wiped::{Wiped, WipedPage};
