//! Events for `tracing`: with the feature of that name. Without it this does nothing.

use tenure_core::LeaseId;

use crate::deaths::Death;
use crate::space::Space;

/// A space was created, opened, or put in the place of another one.
pub(crate) fn space(space: &Space, is_replaced: bool) {
    #[cfg(feature = "tracing")]
    {
        let (name, backend, bytes) = (space.name(), space.backend(), space.bytes());
        match (is_replaced, space.created()) {
            (true, _) => tracing::info!(target: "tenure", name, %backend, bytes, "space replaced"),
            (false, true) => tracing::info!(target: "tenure", name, %backend, bytes, "space created"),
            (false, false) => tracing::debug!(target: "tenure", name, %backend, bytes, "space opened"),
        }
    }
    let _ = (space, is_replaced);
}

/// A member has joined.
pub(crate) fn joined(LeaseId { index, incarnation }: LeaseId) {
    #[cfg(feature = "tracing")]
    tracing::info!(target: "tenure", lease = index, incarnation, "member joined");
    let _ = (index, incarnation);
}

/// A member is about to leave.
pub(crate) fn leaves(LeaseId { index, incarnation }: LeaseId) {
    #[cfg(feature = "tracing")]
    tracing::info!(target: "tenure", lease = index, incarnation, "member leaves");
    let _ = (index, incarnation);
}

/// Who listens to the events of a member: whoever did in the thread that joined.
pub(crate) struct Listener {
    #[cfg(feature = "tracing")]
    dispatch: tracing::Dispatch,
}

impl Listener {
    pub(crate) fn of_caller() -> Self {
        Self {
            #[cfg(feature = "tracing")]
            dispatch: tracing::dispatcher::get_default(Clone::clone),
        }
    }

    /// A member died, and this one took back what it had.
    pub(crate) fn death(&self, death: &Death) {
        #[cfg(feature = "tracing")]
        tracing::dispatcher::with_default(&self.dispatch, || {
            let Death { lease: LeaseId { index, incarnation }, pid, handles, blocks, locks } = *death;
            tracing::warn!(target: "tenure", lease = index, incarnation, pid, handles, blocks, locks, "death recovered");
        });
        let _ = death;
    }

    /// All of something is in use.
    pub(crate) fn exhausted(&self, what: &'static str) {
        #[cfg(feature = "tracing")]
        tracing::dispatcher::with_default(&self.dispatch, || {
            tracing::warn!(target: "tenure", what, "exhausted");
        });
        let _ = what;
    }
}

/// Whether an event of exhaustion is on its way: then no other one is sent, however often it happens.
#[derive(Clone, Default)]
pub(crate) struct Exhaustions {
    #[cfg(feature = "tracing")]
    is_told: std::sync::Arc<std::sync::atomic::AtomicBool>,
}

impl Exhaustions {
    /// Whether to send one.
    pub(crate) fn begin(&self) -> bool {
        // Relaxed: publishes nothing. If it is lost, one event more or less is sent.
        #[cfg(feature = "tracing")]
        return !self.is_told.swap(true, std::sync::atomic::Ordering::Relaxed);
        #[cfg(not(feature = "tracing"))]
        false
    }

    /// It has arrived.
    pub(crate) fn end(&self) {
        // Relaxed: as above.
        #[cfg(feature = "tracing")]
        self.is_told.store(false, std::sync::atomic::Ordering::Relaxed);
    }
}
