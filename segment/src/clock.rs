//! The clock of values that expire. No lease and no wait looks at it.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// The time since the machine was booted, with the time while it was suspended: CLOCK_BOOTTIME. Setting the machine's clock does not change it,
/// and a segment ends with the boot that made it.
#[must_use]
pub fn since_boot() -> Duration {
    let now = clock_gettime(ClockId::Boottime);
    // In a time namespace the clock may be set below zero.
    Duration::new(now.tv_sec.try_into().unwrap_or(0), now.tv_nsec.try_into().unwrap_or(0))
}
