//! Collections of handles, which outlive the processes that fill them.

mod queue;

pub(crate) use queue::Lender;
pub use queue::{Element, Queue, QueueError, QueueLen};
