//! The common base of tenure's protocols: atomic words, the identity of a lease and the two rights that derive from it, and
//! switches for tests. No OS.

mod id;
pub mod mutant;
pub mod sync;
#[cfg(not(loom))]
#[doc(hidden)]
pub mod testing;
pub mod weak;

pub use id::{Acquire, LeaseId, MEMBERS_MAX, Recovery};
