//! Where a member keeps its watcher: there is none until somebody is to be watched, and one afterwards.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tenure_segment::process::{Ended, Identity, PidError, Watch, Watcher};

/// A member's watcher, if it has one by now.
#[derive(Debug, Default)]
pub(crate) struct WatcherSlot(Mutex<Option<Watcher>>);

impl WatcherSlot {
    fn lock(&self) -> MutexGuard<'_, Option<Watcher>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Watches a process until it ends, or until [`WatcherSlot::end`].
    ///
    /// # Errors
    ///
    /// [`PidError`]; `ended` was not called and will not be.
    pub(super) fn watch(&self, identity: Identity, ended: Ended) -> Result<Watch, PidError> {
        let mut slot = self.lock();
        // One that cannot be reached any more goes on with what it watches, and is left to itself.
        let watcher = match slot.take().filter(Watcher::is_reachable) {
            Some(watcher) => watcher,
            None => Watcher::start().map_err(|source| PidError::Os { what: "start a watcher", source })?,
        };
        slot.insert(watcher).watch(identity, ended)
    }

    /// Ends it: `ended` does not run and will not.
    pub(super) fn end(&self, watch: Watch) {
        watch.end(self.lock().as_ref());
    }

    /// Has the watcher look now; when this returns, an end that it knows of has been told.
    pub(super) fn look(&self, watch: &Watch) {
        if let Some(watcher) = &*self.lock() {
            watcher.look(watch);
        }
    }

    /// Ends the watcher. In a forked child there is no such thread, and what it had locked may be locked for ever.
    pub(crate) fn close(&mut self, is_forked_child: bool) {
        let watcher = self.0.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if is_forked_child {
            std::mem::forget(watcher);
        }
    }
}
