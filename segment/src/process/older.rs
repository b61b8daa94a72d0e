//! For tests: simulates a kernel before Linux 6.9 whose `/proc` tells no status. Not in other builds.

#[cfg(feature = "faults")]
mod switch {
    use std::sync::atomic::{AtomicBool, Ordering};

    static IS_OLDER: AtomicBool = AtomicBool::new(false);

    /// Makes this process behave as on an older kernel, or not any more.
    pub fn pretend_older_kernel(yes: bool) {
        // Relaxed: tests set this switch before they begin.
        IS_OLDER.store(yes, Ordering::Relaxed);
    }

    pub(crate) fn is_older() -> bool {
        // Relaxed: as above.
        IS_OLDER.load(Ordering::Relaxed)
    }
}

#[cfg(feature = "faults")]
pub(super) use switch::is_older;
#[cfg(feature = "faults")]
pub use switch::pretend_older_kernel;

#[cfg(not(feature = "faults"))]
pub(super) const fn is_older() -> bool {
    false
}
