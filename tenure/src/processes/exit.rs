//! How a process or thread ended.

use std::fmt;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use tenure_segment::process::{Scope, Status};
use tenure_wait::exit::End;

/// How a process or thread ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Exit {
    /// By itself, with this code.
    ///
    /// The kernel keeps the lowest 8 bits of a code. All 32 are here if the process announced them with
    /// [`Process::exiting`](crate::Process::exiting) and the kernel's 8 do not contradict.
    Code(i32),
    /// By a signal.
    Signal {
        /// Its number.
        number: i32,
        /// The kernel wrote a core dump.
        core_dumped: bool,
    },
    /// It has ended, and nobody who holds the handle was told how. Whoever reaps it may know, and
    /// [say so](crate::Process::reaped); then this becomes one of the others.
    Unknown,
}

impl Exit {
    /// The code, of one that ended by itself.
    #[must_use]
    pub const fn code(self) -> Option<i32> {
        if let Self::Code(code) = self { Some(code) } else { None }
    }

    /// Joins what the kernel told with what it had announced itself. The kernel is believed; a thread that returns ends with 0
    /// in its eyes, whatever the thread means.
    pub(super) fn of(end: End, scope: Scope, announced: impl FnOnce() -> i32) -> Self {
        let announced = end.announced.then(announced);
        match (end.status, announced) {
            (None, None) => Self::Unknown,
            (None, Some(code)) => Self::Code(code),
            (Some(status), announced) => {
                let (signal, code) = (status & 0x7f, i32::from(status >> 8));
                match announced {
                    _ if signal != 0 => {
                        Self::Signal { number: signal.into(), core_dumped: status & 0x80 != 0 }
                    }
                    Some(whole) if whole & 0xff == code || (scope, code) == (Scope::Thread, 0) => {
                        Self::Code(whole)
                    }
                    _ => Self::Code(code),
                }
            }
        }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal { number, core_dumped: false } => write!(f, "signal {number}"),
            Self::Signal { number, core_dumped: true } => write!(f, "signal {number} (core dumped)"),
            Self::Unknown => f.write_str("ended, unknown how"),
        }
    }
}

/// What `wait` said, in the form of the exit word.
pub(super) fn status_of(status: ExitStatus) -> Option<Status> {
    match (status.code(), status.signal()) {
        (Some(code), _) => Some(Status::exited(code as u8)),
        (None, Some(signal)) => Some(Status::killed(signal as u8, status.core_dumped())),
        // Stopped or continued: it has not ended.
        (None, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exit(status: Option<u16>, announced: Option<i32>) -> Exit {
        Exit::of(End { status, announced: announced.is_some() }, Scope::Process, || announced.unwrap())
    }

    #[test]
    fn the_kernel_is_believed_and_completed() {
        assert_eq!(exit(None, None), Exit::Unknown);
        assert_eq!(exit(None, Some(-5)), Exit::Code(-5));
        assert_eq!(exit(Some(0x0700), None), Exit::Code(7));
        assert_eq!(exit(Some(0x0500), Some(0xC000_0005_u32 as i32)), Exit::Code(0xC000_0005_u32 as i32));
        // It said 7 and ended with 0.
        assert_eq!(exit(Some(0), Some(7)), Exit::Code(0));
        let thread = End { status: Some(0), announced: true };
        assert_eq!(Exit::of(thread, Scope::Thread, || 7), Exit::Code(7));
        let killed = Exit::Signal { number: 9, core_dumped: false };
        assert_eq!(exit(Some(9), Some(7)), killed);
        assert_eq!(exit(Some(0x8b), None), Exit::Signal { number: 11, core_dumped: true });
    }

    #[test]
    fn statuses_of_wait_are_understood() {
        for raw in [0, 0x0700, 0xff00, 9, 0x8b] {
            let status = status_of(ExitStatus::from_raw(raw)).unwrap();
            assert_eq!(i32::from(status.0), raw);
        }
        // Stopped by SIGTSTP.
        assert_eq!(status_of(ExitStatus::from_raw(0x147f)), None);
    }
}
