//! A lock-free directory from names to handles: a fixed table of words beside the slab.
//!
//! The table says nothing about who lives. A slot names a handle by index and generation, and a slot whose handle is over is
//! free: names vanish with their last holder in the same instant as the handle, wherever anybody is killed. Nor does the
//! table contain names: they lie with the handles' payloads, and [`Handles`] compares them.
//!
//! A name has two buckets, from its hash: its *home* and another. A bucket is one line: a word through which new names
//! come in, the *intake*, and seven slots. A handle enters the table by one CAS of the intake of its name's home, from the
//! value that was there before the caller looked through all slots: if it succeeds, nobody else has entered a handle with this
//! name meanwhile. That CAS is the decision; the word says which slot the handle goes to, and whoever comes next puts it
//! there before entering another, so whoever is stopped keeps nobody waiting. docs/architecture.md has the protocol and the
//! invariants `[I15]` to `[I17]`.

mod inspect;
mod layout;
mod table;
mod word;

pub use inspect::{NamesProblem, NamesReport};
pub use layout::{NAME_MAX, NAMES_LAYOUT, NameHash, NamesLayout};
pub use table::{Entered, Full, Handles, Names};
