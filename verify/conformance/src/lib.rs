//! The promises to a user of handles: one list of scenarios, which runs in every backend, through Rust and through C.
//!
//! A [`Scenario`] gives orders to [`Program`]s and checks their answers. A program is a process of its own (a thread,
//! where the memory is private) that obeys through a [`Driver`], of which there is one for each [`Language`].
//! Afterwards the [`Stage`] checks that `check()` is clean and nothing is left behind. The results become a table,
//! `docs/conformance.md`.
//!
//! [`NegativeControl`] shows that scenarios can fail: drivers that do one thing wrong, which must be found.
//!
//! No scenario measures time. A wait that must not end has a timeout, and any scenario a fail-safe of minutes.

mod c;
mod driver;
mod negative_control;
mod order;
mod program;
mod run;
mod rust;
mod scenarios;
mod stage;
mod table;
mod wishes;

pub use driver::{Backend, Driver, Language, OpenSpace, Place, Sizes};
pub use negative_control::NegativeControl;
pub use order::{Answer, End, Fault, InUse, Modes, New, Order, Sort, Thing};
pub use program::Program;
pub use run::{Outcome, Run, play_negative_control, run};
pub use scenarios::{Scenario, all};
pub use stage::{Stage, Target};
pub use table::{failures, skipped, table};
