//! The shared segment under tenure.

pub mod id;
pub mod sync;

pub use id::{Acquire, LeaseId, MEMBERS_MAX, Recovery};
