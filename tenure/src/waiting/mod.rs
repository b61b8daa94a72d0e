//! Mutexes, events and semaphores: handles whose payload starts with a wait word. The protocol of the word is in `wait`.

pub(crate) mod books;
mod error;
mod event;
mod many;
mod mutex;
mod semaphore;
pub(crate) mod settle;
pub(crate) mod source;
mod thread_id;
pub(crate) mod word;

use tenure_segment::DataArea;
use tenure_wait::Records;

use crate::geometry::Plan;

pub use error::WaitError;
pub use event::{Event, Reset};
pub use many::{WAIT_MAX, Waitable, Woken, wait_all, wait_any};
pub use mutex::{Mutex, MutexGuard, MutexState};
pub use semaphore::Semaphore;

/// The records of a data area, for those who take several at once.
pub(crate) fn records<'a>(data_area: DataArea<'a>, plan: &Plan) -> Records<'a> {
    Records::over(&data_area.words()[plan.records.start as usize..plan.records.end as usize])
}
