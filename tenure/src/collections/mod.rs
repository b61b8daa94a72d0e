//! Maps and queues between processes, which outlive the processes that fill them, and collections of other crates in scratch memory.

#[cfg(feature = "objects")]
pub(crate) mod map;
#[cfg(feature = "objects")]
pub(crate) mod queue;

#[cfg(feature = "allocator")]
pub use crate::allocator::ScratchAllocator;

#[cfg(feature = "objects")]
pub use {
    map::{Entry, Iter as MapIter, Map, MapOptions},
    queue::{Element, Queue, QueueLen},
};
