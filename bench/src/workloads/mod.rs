//! The workloads.

mod containers;
mod handles;
mod lanes;
mod replay;
mod scratch;
mod values;
mod waiting;

pub use replay::Recorded;
pub(crate) use replay::replay;

use crate::case::Workload;

/// All workloads, in the order of the report.
#[must_use]
pub fn all() -> Vec<Workload> {
    let mut all = handles::all();
    all.extend(scratch::all());
    all.extend(waiting::all());
    all.extend(values::all());
    all.extend(containers::all());
    all.extend(replay::all());
    all
}
