//! For tests: a kernel of before Linux 6.9, whose `/proc` tells no status either. In other builds there is no such thing.

#[cfg(feature = "faults")]
mod switch {
    use std::sync::atomic::{AtomicBool, Ordering};

    static IS_OLDER: AtomicBool = AtomicBool::new(false);

    /// Has this process behave as if the kernel were older, or no longer.
    pub fn pretend_older_kernel(yes: bool) {
        // Relaxed: a switch that tests set before they begin.
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
