//! Processes and threads of the machine: their identity, whether they have ended, and with which status.
//!
//! A number means the process that has it at the moment. An [`Identity`] always means the same process; it is determined through a file
//! descriptor that always refers to one process ([`PidFd`]). A [`Watcher`] is a thread that is notified of the end of many processes.

mod identity;
mod older;
mod pidfd;
mod watcher;

pub use identity::{Identity, Scope, own_namespace, own_thread};
#[cfg(feature = "faults")]
#[doc(hidden)]
pub use older::pretend_older_kernel;
pub use pidfd::{Look, PidFd, Status};
pub use watcher::{Ended, Watch, Watcher};

/// Whether the process with this number has ended or does not exist; false if that cannot be determined.
pub(crate) fn has_ended(number: u32) -> bool {
    match PidFd::open(i32::try_from(number).unwrap_or(0), Scope::Process) {
        Ok(process) => matches!(process.look(), Look::Ended(_)),
        Err(why) => matches!(why, PidError::Gone),
    }
}

/// Why a process or thread cannot be watched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PidError {
    /// No process has this number, or another one has it by now.
    #[error("it is gone: nobody has this number any more, or somebody else has it")]
    Gone,
    /// The number is that of a thread, and a process was expected.
    #[error("{number} is the number of a thread, expected that of a process")]
    NotAProcess {
        /// The number.
        number: i32,
    },
    /// The number is of another pid namespace than this process's.
    #[error("it was named in pid namespace {expected}, and this process is in namespace {found}")]
    ForeignNamespace {
        /// The pid namespace of the number.
        expected: u32,
        /// The pid namespace of this process.
        found: u32,
    },
    /// The kernel, or a sandbox, does not support it.
    #[error("not supported here: {what} (errno {errno})")]
    Unsupported {
        /// The missing feature.
        what: &'static str,
        /// The kernel's error number.
        errno: i32,
    },
    /// The kernel refused for another reason, such as too many open files.
    #[error("{what}: {source}")]
    Os {
        /// The operation.
        what: &'static str,
        /// The kernel's error.
        source: std::io::Error,
    },
}

impl PidError {
    fn os(what: &'static str) -> impl FnOnce(rustix::io::Errno) -> Self {
        move |errno| Self::Os { what, source: errno.into() }
    }
}
