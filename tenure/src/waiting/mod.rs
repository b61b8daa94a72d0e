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
pub(crate) mod word;

use tenure_segment::DataArea;
use tenure_wait::McasDescriptors;

use crate::geometry::Plan;

pub use condvar::{Condvar, LockGuard, WaitEnd};
pub use error::WaitError;
pub use event::{Event, EventOptions, Reset};
pub use locked::{Locked, LockedGuard};
pub use many::{WAIT_MAX, Waitable, Woken, wait_all, wait_any};
pub use mutex::{Mutex, MutexGuard, MutexOptions, MutexState, MutexTaskGuard};
pub use options::WaitOptions;
pub use permits::{Permit, Permits};
pub use plain::{Initial, Plain};
pub use rwlock::{
    RwLock, RwLockReadGuard, RwLockReadTaskGuard, RwLockState, RwLockWriteGuard, RwLockWriteTaskGuard,
};
pub use semaphore::Semaphore;
pub use versioned::Versioned;

/// The MCAS descriptors of a data area.
pub(crate) fn mcas_descriptors<'a>(data_area: DataArea<'a>, plan: &Plan) -> McasDescriptors<'a> {
    McasDescriptors::over(
        &data_area.words()[plan.mcas_descriptors.start as usize..plan.mcas_descriptors.end as usize],
    )
}
