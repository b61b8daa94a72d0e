//! Named points at which a test can have the process killed. Without the feature `failpoints` they are nothing.

/// Every point of this crate, in the order of the protocol.
pub const ALL: &[&str] = &[
    "segment.create.sized",
    "segment.create.reserved",
    "segment.create.initialised",
    "segment.create.linked",
    "segment.join.mapped",
    "segment.join.read_locked",
    "segment.join.locked",
    "segment.join.unpinned",
    "segment.join.recovered",
    "segment.join.live",
    "segment.join.guarded",
    "segment.join.announced",
    "segment.recover.locked",
    "segment.recover.reclaimed",
    "segment.recover.freed",
    "segment.leave.left",
    "segment.leave.reclaimed",
    "segment.leave.freed",
    "segment.leave.unguarded",
];

/// Names a point at which a test can have the process killed: `failpoint!("crate.operation.moment")`.
#[cfg(feature = "failpoints")]
#[macro_export]
macro_rules! failpoint {
    ($name:expr) => {
        $crate::crash::hit($name)
    };
}

/// Names a point at which a test can have the process killed; in this build it is nothing.
#[cfg(not(feature = "failpoints"))]
#[macro_export]
macro_rules! failpoint {
    ($name:expr) => {};
}

#[cfg(feature = "failpoints")]
pub use armed::{arm_from, hit};

#[cfg(feature = "failpoints")]
mod armed {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    struct Armed {
        name: String,
        count: AtomicU64,
    }

    static ARMED: OnceLock<Armed> = OnceLock::new();

    /// Has this process killed when `name` is reached for the `count`-th time. Only the first call arms.
    pub fn arm_from(name: &str, count: u64) {
        ARMED.get_or_init(|| Armed { name: name.to_owned(), count: AtomicU64::new(count) });
    }

    /// The process is at `name`.
    pub fn hit(name: &'static str) {
        let Some(armed) = ARMED.get() else { return };
        // Relaxed: a counter; nothing is published through it.
        if armed.name == name && armed.count.fetch_sub(1, Ordering::Relaxed) == 1 {
            kill_self();
        }
    }

    #[cfg(not(loom))]
    fn kill_self() -> ! {
        // SAFETY: `raise`-like call without memory arguments; SIGKILL to ourselves is delivered before it returns.
        unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
        unreachable!("killed")
    }

    #[cfg(loom)]
    fn kill_self() -> ! {
        std::process::abort()
    }
}
