//! The identity of a process: its number, and the facts that distinguish it from all processes with the same number earlier or later.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;

use super::PidError;

/// Whether a number names a process or a single thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// The process whose first thread has the number; it ends when the last of its threads does.
    Process,
    /// The thread of this number, of any process.
    Thread,
}

/// A process or thread, and no other one that has the number earlier or later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    /// The number, in its pid namespace.
    pub number: i32,
    /// Process or thread.
    pub scope: Scope,
    /// Start time, in clock ticks since the boot; zero if this system does not tell.
    pub start_ticks: u64,
    /// The inode number of its pid namespace.
    pub namespace: u32,
    /// The lower half of the inode number, which no other process ever has; zero on a kernel before 6.9.
    pub inode: u32,
}

impl Identity {
    /// Whether both are the same process or thread: by inode number if the kernel has one, else by start time.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        let by_inode = (self.inode != 0 && other.inode != 0).then_some(self.inode == other.inode);
        let by_start = (self.start_ticks != 0 && other.start_ticks != 0)
            .then_some(self.start_ticks == other.start_ticks);
        (self.number, self.scope, self.namespace) == (other.number, other.scope, other.namespace)
            && by_inode.or(by_start).unwrap_or(false)
    }
}

/// The inode number of the caller's pid namespace.
///
/// # Errors
///
/// [`PidError::Unsupported`] without `/proc`.
pub fn own_namespace() -> Result<u32, PidError> {
    let stat = rustix::fs::stat("/proc/self/ns/pid")
        .map_err(|errno| PidError::Unsupported { what: "/proc/self/ns/pid", errno: errno.raw_os_error() })?;
    // The kernel numbers namespaces with 32 bits.
    Ok(stat.st_ino as u32)
}

/// The kernel's id of the calling thread.
#[must_use]
pub fn own_thread() -> i32 {
    rustix::thread::gettid().as_raw_nonzero().get()
}

/// The first bytes of a file of `/proc`, without an allocation.
pub(super) struct ProcFile {
    bytes: [u8; 1024],
    len: usize,
}

impl ProcFile {
    pub(super) fn read(path: &str) -> Result<Self, Errno> {
        let fd = rustix::fs::openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        let mut file = Self { bytes: [0; 1024], len: 0 };
        while file.len < file.bytes.len() {
            match rustix::io::read(&fd, &mut file.bytes[file.len..]) {
                Ok(0) => break,
                Ok(more) => file.len += more,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(file)
    }

    /// The contents, as bytes: the name of a process, which comes before the other fields, need not be UTF-8.
    fn text(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// The number of a descriptor's process in this `/proc`; `None` once it was reaped. A `/proc` of another namespace has another
/// number, or none.
pub(super) fn number_in_proc(fd: BorrowedFd<'_>) -> Result<Option<i32>, Errno> {
    let file = ProcFile::read(&format!("/proc/thread-self/fdinfo/{}", fd.as_raw_fd()))?;
    let line = file.text().split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"Pid:"));
    let number = line.and_then(|line| std::str::from_utf8(line).ok()?.trim().parse::<i32>().ok());
    match number {
        Some(number) if number > 0 => Ok(Some(number)),
        Some(-1) => Ok(None),
        // Zero: not in this namespace.
        _ => Err(Errno::NOENT),
    }
}

/// The fields of `/proc/PID/stat` in use, see proc(5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stat {
    pub(super) state: u8,
    pub(super) start_ticks: u64,
    /// The status in the form of `wait`; zero also if it is hidden from the caller.
    pub(super) status: u16,
}

impl Stat {
    /// Reads the file of a descriptor's process; `None` once it was reaped.
    pub(super) fn of(fd: impl AsFd, scope: Scope) -> Result<Option<(i32, Self)>, Errno> {
        loop {
            let Some(number) = number_in_proc(fd.as_fd())? else { return Ok(None) };
            let path = match scope {
                Scope::Process => format!("/proc/{number}/stat"),
                Scope::Thread => format!("/proc/{number}/task/{number}/stat"),
            };
            let stat = match ProcFile::read(&path) {
                Ok(file) => Self::parse(file.text()).ok_or(Errno::ILSEQ).map(Some),
                Err(Errno::NOENT | Errno::SRCH) => Ok(None),
                Err(error) => Err(error),
            }?;
            // If it was reaped in between, another process may have the number: ask the descriptor again.
            let is_still = number_in_proc(fd.as_fd())? == Some(number);
            match stat {
                Some(stat) if is_still => return Ok(Some((number, stat))),
                // Hidden from this process.
                None if is_still => return Err(Errno::NOENT),
                _ => {}
            }
        }
    }

    fn parse(text: &[u8]) -> Option<Self> {
        // The name, in brackets, may have brackets and blanks itself.
        let end_of_name = text.iter().rposition(|byte| *byte == b')')?;
        // The first field after the name is the third.
        let mut fields = text.get(end_of_name + 2..)?.split(|byte| *byte == b' ');
        let state = *fields.next()?.first()?;
        let mut number =
            |skipped| std::str::from_utf8(fields.nth(skipped)?.trim_ascii_end()).ok()?.parse::<u64>().ok();
        let start_ticks = number(22 - 4)?;
        Some(Self { state, start_ticks, status: number(52 - 23)? as u16 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::PidFd;

    #[test]
    fn stat_lines_are_parsed_whatever_the_name_is() {
        let rest = "Z 1 2 3 0 -1 4227148 37 0 0 0 0 0 0 0 20 0 1 0 5038170 0 0 9 0 0 0 0 0 0 0 0 0 1 0 0 17 0 0 0 0 0 0 0 0 0 0 0 0 0 768\n";
        for name in ["p2", "a b", ") S 1 (", "\u{fe}"] {
            let line = format!("29527 ({name}) {rest}");
            let expected = Stat { state: b'Z', start_ticks: 5_038_170, status: 768 };
            assert_eq!(Stat::parse(line.as_bytes()), Some(expected), "{name}");
        }
        assert_eq!(Stat::parse(b"29527 (p2) Z 1 2"), None);
        assert_eq!(Stat::parse(b""), None);
    }

    #[test]
    fn another_process_of_the_same_number_is_another_one() {
        let me = PidFd::open(std::process::id() as i32, Scope::Process).unwrap().identity().unwrap().unwrap();
        assert!(me.is_same(&me) && me.start_ticks != 0 && me.namespace != 0, "{me:?}");
        // Before Linux 6.9 only the start time decides.
        let older = Identity { inode: 0, ..me };
        assert!(older.is_same(&me));
        for other in [
            Identity { start_ticks: me.start_ticks + 1, ..older },
            Identity { start_ticks: 0, ..older },
            Identity { number: me.number + 1, ..me },
            Identity { namespace: me.namespace + 1, ..me },
            Identity { scope: Scope::Thread, ..me },
        ] {
            assert!(!other.is_same(&me) && !me.is_same(&other), "{other:?}");
        }
        if me.inode != 0 {
            // The inode also distinguishes a process that got the number within the same clock tick.
            let reused = Identity { inode: me.inode.wrapping_add(1).max(1), ..me };
            assert!(!reused.is_same(&me));
        }
    }
}
