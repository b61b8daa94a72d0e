//! The slot for a member's watcher: empty until the member watches its first process, and filled afterwards.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tenure_segment::process::{Ended, Identity, PidError, Watch, Watcher};

/// The watcher of a member; `None` before the first watch.
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
        // A watcher that cannot be reached any more keeps its own watches; a new watcher replaces it here.
        let watcher = match slot.take().filter(Watcher::is_reachable) {
            Some(watcher) => watcher,
            None => Watcher::start().map_err(|source| PidError::Os { what: "start a watcher", source })?,
        };
        slot.insert(watcher).watch(identity, ended)
    }

    /// Ends a watch: when this returns, `ended` does not run and will not run.
    pub(super) fn end(&self, watch: Watch) {
        watch.end(self.lock().as_ref());
    }

    /// Makes the watcher look now. When this returns, the watcher has reported each end that it knows of.
    pub(super) fn look(&self, watch: &Watch) {
        if let Some(watcher) = &*self.lock() {
            watcher.look(watch);
        }
    }

    /// Ends the watcher. In a forked child its thread does not exist, and locks that it held stay locked for ever.
    pub(crate) fn close(&mut self, is_forked_child: bool) {
        let watcher = self.0.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if is_forked_child {
            std::mem::forget(watcher);
        }
    }
}
