//! x
pub mod meeting;
pub mod pattern;
pub mod trace;
pub mod wire;
pub mod worker;
