//! The operations, each with its preparation and the conditions that must hold after it.

mod backends;
mod blocks;
mod conditions;
mod files;
mod handles;
mod locks;
mod map;
mod members;
mod monitors;
mod names;
mod pairs;
mod permits;
mod processes;
mod queues;
mod slots;
mod values;
mod waiting;

pub(crate) use members::{recover_after, recover_rich_after};
pub(crate) use pairs::all as pairs;

use crate::case::Case;

/// Every case.
pub(crate) fn all() -> Vec<Case> {
    [
        handles::all(),
        blocks::all(),
        members::all(),
        backends::all(),
        monitors::all(),
        names::all(),
        slots::all(),
        queues::all(),
        files::all(),
        waiting::all(),
        processes::all(),
        values::all(),
        locks::all(),
        conditions::all(),
        permits::all(),
        map::all(),
    ]
    .concat()
}
