//! The comparison: tenure beside the daemon, the mutex and the rivals, in turn and in one run.
//!
//! `cargo perf` runs it and writes a report; `cargo perf --quick` is the same with few rounds.

pub mod case;
pub mod crowd;
pub mod kill;
pub mod lifetimes;
pub mod measure;
pub mod memory;
pub mod programs;
pub mod report;
pub mod stats;
pub mod workloads;
