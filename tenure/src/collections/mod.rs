//! Collections of handles, which outlive the processes that fill them.

mod map;
mod queue;

pub(crate) use map::is_whole;
pub use map::{Entry, Iter as MapIter, Map, MapError, MapOptions};
pub(crate) use queue::Lender;
pub use queue::{Element, Queue, QueueError, QueueLen};
