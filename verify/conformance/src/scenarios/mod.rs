//! The list.

mod events;
mod files;
mod handles;
mod many;
mod maps;
mod members;
mod mutexes;
mod names;
mod processes;
mod queues;
mod rwlocks;
mod scratch;
mod slots;
mod threads;
mod values;

use crate::driver::Sizes;
use crate::order::Fault;
use crate::stage::Stage;

/// A promise to users.
#[derive(Debug)]
pub struct Scenario {
    /// The heading of its group.
    pub topic: &'static str,
    /// The expectation, as a sentence.
    pub name: &'static str,
    /// The size of its space.
    pub sizes: Sizes,
    /// Checks the promise; panics if it does not hold.
    pub play: fn(&Stage) -> Result<(), Fault>,
}

type Row = (&'static str, Sizes, fn(&Stage) -> Result<(), Fault>);

/// All of them, by topic.
#[must_use]
pub fn all() -> Vec<&'static Scenario> {
    let topics: [(&str, &[Row]); 19] = [
        ("Handles", handles::ROWS),
        ("Members", members::ROWS),
        ("Scratch memory", scratch::ROWS),
        ("Mutexes", mutexes::ROWS),
        ("Read-write locks", rwlocks::ROWS),
        ("Events", events::EVENTS),
        ("Semaphores", events::SEMAPHORES),
        ("Waiting for several things", many::ROWS),
        ("Names", names::ROWS),
        ("Slots", slots::ROWS),
        ("Locked values", values::LOCKED),
        ("Versioned values", values::VERSIONED),
        ("Shared values", values::SHARED),
        ("Processes", processes::ROWS),
        ("Threads", threads::ROWS),
        ("Descriptors", files::DESCRIPTORS),
        ("File sharing", files::SHARES),
        ("Queues", queues::ROWS),
        ("Maps", maps::ROWS),
    ];
    let scenarios = topics.into_iter().flat_map(|(topic, rows)| {
        rows.iter().map(move |(name, sizes, play)| Scenario { topic, name, sizes: *sizes, play: *play })
    });
    // Once in a process; the list lives as long as it does.
    Vec::leak(scenarios.collect()).iter().collect()
}
