//! A descriptor that always refers to the same process or thread: whether that has ended, and with which status.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::ioctl;
use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions};

use super::PidError;
use super::identity::{Identity, Scope, Stat, own_namespace};
use super::older::is_older;

/// `PIDFD_THREAD` of include/uapi/linux/pidfd.h, Linux 6.9: the descriptor refers to the thread itself.
const PIDFD_THREAD: PidfdFlags = PidfdFlags::from_bits_retain(rustix::fs::OFlags::EXCL.bits());

/// `PID_FS_MAGIC` of include/uapi/linux/magic.h: since Linux 6.9 descriptors of processes lie in a file system of their
/// own, in which each process has an inode number that no other process ever has.
const PID_FS_MAGIC: u64 = 0x5049_4446;

/// `struct pidfd_info` of include/uapi/linux/pidfd.h, as of its first version, `PIDFD_INFO_SIZE_VER0`; the field of the
/// exit status is the spare one of Linux 6.13.
#[repr(C)]
#[derive(Default)]
struct PidfdInfo {
    mask: u64,
    _cgroup: u64,
    _ids: [u32; 11],
    exit_code: i32,
}

const _: () = assert!(size_of::<PidfdInfo>() == 64);

/// `PIDFD_INFO_EXIT` of include/uapi/linux/pidfd.h, Linux 6.15: the exit status, available after the process is reaped, to any process
/// that has a descriptor from before.
const PIDFD_INFO_EXIT: u64 = 1 << 3;

/// `PIDFD_GET_INFO`, `_IOWR(0xFF, 11, struct pidfd_info)`.
const PIDFD_GET_INFO: ioctl::Opcode = ioctl::opcode::read_write::<PidfdInfo>(0xFF, 11);

/// An exit status in the form of `wait`: the code in the second byte, the signal in the lower seven bits, the eighth for
/// a core dump.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Status(pub u16);

impl Status {
    /// The status of a process that exited with a code.
    #[must_use]
    pub const fn exited(code: u8) -> Self {
        Self((code as u16) << 8)
    }

    /// The status of a process that a signal ended.
    #[must_use]
    pub const fn killed(signal: u8, dumped: bool) -> Self {
        Self((signal & 0x7f) as u16 | if dumped { 0x80 } else { 0 })
    }
}

/// The state of a process at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// The process runs, or is stopped; it has not ended.
    Running,
    /// The process has ended; the status, if the kernel tells it to this process at the moment.
    Ended(Option<Status>),
}

/// Refers to one process or thread, even if another one gets its number later.
#[derive(Debug)]
pub struct PidFd {
    fd: OwnedFd,
    number: i32,
    scope: Scope,
}

impl From<PidFd> for OwnedFd {
    fn from(pidfd: PidFd) -> Self {
        pidfd.fd
    }
}

impl PidFd {
    /// Opens the process or thread that has the number now, also if it has ended and is not reaped yet.
    ///
    /// # Errors
    ///
    /// [`PidError`].
    pub fn open(number: i32, scope: Scope) -> Result<Self, PidError> {
        let Some(pid) = Pid::from_raw(number.max(0)) else { return Err(PidError::Gone) };
        let flags = match scope {
            Scope::Process => PidfdFlags::empty(),
            Scope::Thread => PIDFD_THREAD,
        };
        let opened = match scope {
            Scope::Thread if is_older() => Err(Errno::INVAL),
            _ => rustix::process::pidfd_open(pid, flags),
        };
        match (opened, scope) {
            (Ok(fd), _) => Ok(Self { fd, number, scope }),
            (Err(Errno::SRCH), _) | (Err(Errno::NOENT), Scope::Thread) => Err(PidError::Gone),
            (Err(Errno::INVAL | Errno::NOENT), Scope::Process) => Err(PidError::NotAProcess { number }),
            (Err(error @ Errno::INVAL), Scope::Thread) => {
                let what = "descriptors of threads (PIDFD_THREAD, Linux 6.9)";
                Err(PidError::Unsupported { what, errno: error.raw_os_error() })
            }
            (Err(error @ (Errno::NOSYS | Errno::PERM)), _) => {
                let what = "descriptors of processes (pidfd_open, Linux 5.3)";
                Err(PidError::Unsupported { what, errno: error.raw_os_error() })
            }
            (Err(error), _) => Err(PidError::os("open a descriptor of a process")(error)),
        }
    }

    /// Opens the process or thread of this identity.
    ///
    /// # Errors
    ///
    /// [`PidError`]; `Gone` also if another one has the number.
    pub fn open_same(identity: &Identity) -> Result<Self, PidError> {
        let found = own_namespace()?;
        if found != identity.namespace {
            return Err(PidError::ForeignNamespace { expected: identity.namespace, found });
        }
        let this = Self::open(identity.number, identity.scope)?;
        let now = match this.inode()? {
            // The inode suffices.
            Some(inode) if identity.inode != 0 => Some(Identity { inode, ..*identity }),
            _ => this.identity()?,
        };
        if now.is_some_and(|now| now.is_same(identity)) { Ok(this) } else { Err(PidError::Gone) }
    }

    /// The identity of the process or thread; `None` once it was reaped.
    ///
    /// # Errors
    ///
    /// [`PidError::Unsupported`] without a `/proc` that shows it, on a kernel without another way to get the identity.
    pub fn identity(&self) -> Result<Option<Identity>, PidError> {
        let (number, scope, namespace) = (self.number, self.scope, own_namespace()?);
        let inode = self.inode()?;
        let start_ticks = match (Stat::of(&self.fd, scope), inode) {
            (Ok(Some((_, stat))), _) => stat.start_ticks,
            (Ok(None), _) => return Ok(None),
            (Err(_), Some(_)) => 0,
            (Err(error), None) => {
                let what = "a /proc that shows when the process started";
                return Err(PidError::Unsupported { what, errno: error.raw_os_error() });
            }
        };
        Ok(Some(Identity { number, scope, start_ticks, namespace, inode: inode.unwrap_or(0) }))
    }

    fn inode(&self) -> Result<Option<u32>, PidError> {
        let magic =
            rustix::fs::fstatfs(&self.fd).map_err(PidError::os("look at a descriptor of a process"))?;
        if magic.f_type as u64 != PID_FS_MAGIC || is_older() {
            return Ok(None);
        }
        let stat = rustix::fs::fstat(&self.fd).map_err(PidError::os("look at a descriptor of a process"))?;
        Ok(Some(stat.st_ino as u32).filter(|inode| *inode != 0))
    }

    /// Whether it has ended, and its status.
    #[must_use]
    pub fn look(&self) -> Look {
        let mut poll = [PollFd::new(&self.fd, PollFlags::IN)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        match rustix::event::poll(&mut poll, Some(&now)) {
            Ok(0) | Err(_) => Look::Running,
            Ok(_) => Look::Ended(self.status()),
        }
    }

    /// The status after the end, if the kernel tells it to this process.
    ///
    /// After the process was reaped, the kernel tells any process (since Linux 6.15). Before, it tells the parent, and any process that
    /// may read the entry in `/proc`: usually those of the same user.
    #[must_use]
    pub fn status(&self) -> Option<Status> {
        if is_older() {
            return self.status_as_parent();
        }
        self.status_when_reaped()
            .or_else(|| self.status_as_parent())
            .or_else(|| self.status_in_proc())
            // It was reaped between the two calls.
            .or_else(|| self.status_when_reaped())
    }

    fn status_when_reaped(&self) -> Option<Status> {
        let mut info = PidfdInfo { mask: PIDFD_INFO_EXIT, ..PidfdInfo::default() };
        // SAFETY: the structure of this request, of the size that is encoded in the request's number; it lives during the call. A kernel
        // without the request does not know the number and writes nothing.
        let told = unsafe { ioctl::ioctl(&self.fd, ioctl::Updater::<PIDFD_GET_INFO, _>::new(&mut info)) };
        (told.is_ok() && info.mask & PIDFD_INFO_EXIT != 0).then_some(Status(info.exit_code as u16))
    }

    /// The status by `waitid` with WNOWAIT, which leaves the process to be reaped.
    fn status_as_parent(&self) -> Option<Status> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        if self.scope != Scope::Process {
            return None;
        }
        let found = rustix::process::waitid(WaitId::PidFd(self.fd.as_fd()), options).ok()??;
        match (found.exit_status(), found.terminating_signal()) {
            (Some(code), _) => Some(Status::exited(code as u8)),
            (None, Some(signal)) => Some(Status::killed(signal as u8, found.dumped())),
            _ => None,
        }
    }

    fn status_in_proc(&self) -> Option<Status> {
        let (number, stat) = Stat::of(&self.fd, self.scope).ok()??;
        if !matches!(stat.state, b'Z' | b'X') {
            return None;
        }
        if stat.status == 0 {
            // The status is zero, or hidden from this process. In the latter case the link to its program is hidden, too; else the link
            // is gone.
            let exe = rustix::fs::readlinkat(CWD, format!("/proc/{number}/exe"), Vec::new());
            let is_shown = matches!(exe, Ok(_) | Err(Errno::NOENT | Errno::SRCH));
            if !is_shown || Stat::of(&self.fd, self.scope).ok()?.is_none() {
                return None;
            }
        }
        Some(Status(stat.status))
    }
}

impl AsFd for PidFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
