//! The exit of a process or thread: its code or its signal.

use std::fmt;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use tenure_segment::process::{Scope, Status};
use tenure_wait::exit::End;

/// The exit of a process or thread: its code or its signal.
///
/// ```
/// # use tenure::process::Exit;
/// assert_eq!((Exit::Code(3).code(), Exit::Unknown.code()), (Some(3), None));
/// assert_eq!(Exit::Signal { number: 9, core_dumped: false }.to_string(), "signal 9");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Exit {
    /// The process or thread ended by itself, with this code.
    ///
    /// The kernel keeps the lowest 8 bits of a code. The code has all 32 bits if the process announced them with
    /// [`Process::exiting`](crate::process::Process::exiting) and the kernel's 8 bits do not contradict.
    Code(i32),
    /// A signal ended the process or thread.
    Signal {
        /// The number of the signal.
        number: i32,
        /// Whether the kernel wrote a core dump.
        core_dumped: bool,
    },
    /// The process or thread has ended, and no holder of the handle got its status. The process that reaps it may record the status by
    /// [`Process::reaped`](crate::process::Process::reaped); then the exit becomes one of the other variants.
    Unknown,
}

impl Exit {
    /// The code; `None` if a signal ended the process or thread, or if its status is unknown.
    #[must_use]
    pub const fn code(self) -> Option<i32> {
        if let Self::Code(code) = self { Some(code) } else { None }
    }

    /// Combines the status from the kernel with the announced code. If they contradict, the status of the kernel counts; but the kernel
    /// reports 0 for every thread that returns, so for a thread the announced code completes a status of 0.
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

/// The status from `wait`, in the form of the exit word.
pub(super) fn status_of(status: ExitStatus) -> Option<Status> {
    match (status.code(), status.signal()) {
        (Some(code), _) => Some(Status::exited(code as u8)),
        (None, Some(signal)) => Some(Status::killed(signal as u8, status.core_dumped())),
        // Stopped or continued: the process has not ended.
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
        // The process announced 7 and ended with 0.
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
