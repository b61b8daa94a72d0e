//! A lock-free table from names to handles: words beside the slab, of a fixed number.
//!
//! The table says nothing about lifetimes. A slot names a handle by index and generation, and is free when that handle is over. So a
//! name ends with the last holder of its handle, in the same instant, wherever a process is killed. The table does not contain the
//! names either: each lies behind its handle's payload, and [`Handles`] compares it.
//!
//! The hash of a name chooses two buckets (two-choice hashing). A bucket is one line: a *pending slot* and seven slots. All handles of one
//! name are inserted through the pending slot of its first bucket, after Purcell and Harris (2005). An insert loads the pending slot, looks
//! through all slots of both buckets, and stores its handle by one CAS of the pending slot, which fails if another handle was inserted
//! meanwhile. This CAS decides. The word also says which slot the handle goes to; the next process that finds it *helps*: it moves the
//! handle to its slot before it inserts another one. So a stopped process keeps nobody waiting. docs/architecture.md has the protocol and
//! the invariants `[names-unique]` to `[names-slots-keep]`.
//!
//! The layout text, which is hashed, calls the pending slot the intake, INSERTING ENTERING, and the two buckets home and other.

mod inspect;
mod layout;
mod table;
mod word;

pub use inspect::{NamesProblem, NamesReport};
pub use layout::{NAME_MAX, NAMES_LAYOUT, NameHash, NamesLayout};
pub use table::{Full, Handles, Inserted, Names};
