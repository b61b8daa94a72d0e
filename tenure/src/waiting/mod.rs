//! Mutexes, read-write locks, condition variables, events and semaphores: handles with a wait word at the start of their payload. The crate `tenure-wait` has the protocol of
//! the word.

pub(crate) mod books;
mod condvar;
mod error;
mod event;
pub(crate) mod future;
mod locked;
mod many;
mod mutex;
pub(crate) mod options;
pub(crate) mod permits;
mod plain;
pub(crate) mod recover;
pub(crate) mod rwlock;
mod semaphore;
pub(crate) mod source;
mod thread_id;
mod versioned;
mod wait_set;
pub(crate) mod word;

use tenure_segment::DataArea;
use tenure_wait::McasDescriptors;

use crate::geometry::Plan;

pub use condvar::{Condvar, LockGuard, TaskGuard, WaitEnd};
pub use error::WaitError;
pub use event::{Event, EventOptions, Reset};
pub use locked::{Locked, LockedGuard, LockedTaskGuard};
pub use many::{Available, WAIT_MAX, Waitable, Woken, wait_all, wait_any, wait_any_or_fd};
pub use mutex::{Mutex, MutexGuard, MutexOptions, MutexState, MutexTaskGuard};
pub use options::WaitOptions;
pub use permits::{Permit, Permits};
pub use plain::{Initial, Plain};
pub use rwlock::{
    RwLock, RwLockReadGuard, RwLockReadTaskGuard, RwLockState, RwLockWriteGuard, RwLockWriteTaskGuard,
};
pub use semaphore::Semaphore;
pub use versioned::Versioned;
pub use wait_set::WaitSet;

/// The MCAS descriptors of a data area.
pub(crate) fn mcas_descriptors<'a>(data_area: DataArea<'a>, plan: &Plan) -> McasDescriptors<'a> {
    McasDescriptors::over(
        &data_area.words()[plan.mcas_descriptors.start as usize..plan.mcas_descriptors.end as usize],
    )
}
