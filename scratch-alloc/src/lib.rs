//! A malloc-like allocator over shared memory, with an owner word per block and exact recovery.
//!
//! Blocks live in **spans** of 64 KiB **units**. A [`Local`] is one thread's allocator: it owns spans in the name of its
//! lease, keeps their free blocks in lists, and commits an allocation or a free with one plain store to the
//! block's word. Frees by others are one CAS. Everything that must survive a death is in the unit and block words. Their tables are
//! at `Unit` (src/word.rs) and [`Block`]; the protocol and its invariants are in docs/architecture.md, the bytes in docs/layout.md.
//!
//! | request | block | worst internal waste |
//! |---|---|---|
//! | 1 to 128 B | next multiple of 16 | 15 bytes |
//! | to half a unit (32 KiB) | four sizes per doubling, eight from 2 to 8 KiB | under 20 %, 12 % |
//! | larger | whole units | under one unit (64 KiB) |
//!
//! Limits: alignment up to a page, blocks up to 65535 units, 2^20 units and 64 GiB. Spans whose blocks are all free go back to everybody
//! by themselves; [`Local`] says what a thread keeps. Memory goes back to the system in [`Local::trim`].

mod check;
mod claim;
mod class;
mod error;
#[cfg(all(test, not(loom)))]
mod explore;
mod geometry;
mod inherit;
mod large;
mod local;
mod recover;
mod scratch;
mod small;
mod span;
mod word;

// Unit tests stop and kill members at each access to a word.
#[cfg(not(all(test, not(loom))))]
use tenure_core::sync;

#[cfg(all(test, not(loom)))]
use tenure_core::testing as sync;

pub use check::Report;
pub use class::GRANULE;
pub use error::{AllocError, BlockError, OutOfMemory};
pub use geometry::{ALIGN_MAX, Geometry, GeometryError, LAYOUT, Layout};
pub use local::Local;
pub use recover::Recovered;
pub use scratch::{Backing, Found, Scratch};
pub use word::{Block, Owner};
