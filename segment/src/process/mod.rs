//! Processes and threads of the machine: who one is, whether it has ended, and with which status.
//!
//! A number names whoever has it at the moment. What is meant by it is an [`Identity`], taken through a file descriptor
//! that refers to one process for good ([`PidFd`]). A [`Watcher`] is a thread that is notified of the end of many.

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
    /// There is none with this number, or it is another one by now.
    #[error("it is gone: nobody has this number any more, or somebody else has it")]
    Gone,
    /// The number is that of a thread, and a process was expected.
    #[error("{number} is the number of a thread, expected that of a process")]
    NotAProcess {
        /// The number.
        number: i32,
    },
    /// Its number means something else here: this process is in another pid namespace.
    #[error("it was named in pid namespace {expected}, and this process is in namespace {found}")]
    ForeignNamespace {
        /// The namespace in which the number means it.
        expected: u32,
        /// Ours.
        found: u32,
    },
    /// The kernel, or a sandbox, does not do it.
    #[error("not supported here: {what} (errno {errno})")]
    Unsupported {
        /// What would be needed.
        what: &'static str,
        /// The kernel's answer.
        errno: i32,
    },
    /// The kernel refused for another reason, such as too many open files.
    #[error("{what}: {source}")]
    Os {
        /// What was tried.
        what: &'static str,
        /// Why not.
        source: std::io::Error,
    },
}

impl PidError {
    fn os(what: &'static str) -> impl FnOnce(rustix::io::Errno) -> Self {
        move |errno| Self::Os { what, source: errno.into() }
    }
}
