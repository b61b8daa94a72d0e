//! The attachment: what backs an open segment in this process. That is the memory, the file whose bytes are the locks, and a way to
//! open a new file description of it.

use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::path::PathBuf;

use rustix::fs::{CWD, Mode, OFlags};

use crate::control::Control;
use crate::header::Header;
use crate::mapping::{Access, Mapping};
use crate::name::{Backend, FileName};
use crate::presence::{self, NameState, Presence};

/// Identifies the file that a descriptor must refer to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    pub(crate) fn of(fd: impl AsFd) -> io::Result<Self> {
        let stat = rustix::fs::fstat(fd)?;
        Ok(Self { device: stat.st_dev, inode: stat.st_ino })
    }
}

/// A descriptor that other code of the process may close, or close and use the number again.
#[derive(Debug)]
pub(crate) struct Exposed {
    fd: ManuallyDrop<OwnedFd>,
    id: FileId,
}

impl Exposed {
    pub(crate) fn new(fd: OwnedFd) -> io::Result<Self> {
        Ok(Self { id: FileId::of(&fd)?, fd: ManuallyDrop::new(fd) })
    }

    /// Its number, and the file that it must refer to.
    pub(crate) fn entry(&self) -> (RawFd, FileId) {
        (self.fd.as_raw_fd(), self.id)
    }

    /// The descriptor, unless other code closed or replaced it.
    pub(crate) fn get(&self) -> Option<BorrowedFd<'_>> {
        (FileId::of(&*self.fd).ok()? == self.id).then(|| self.fd.as_fd())
    }
}

impl Drop for Exposed {
    fn drop(&mut self) {
        if self.get().is_some() {
            // SAFETY: dropped only here.
            unsafe { ManuallyDrop::drop(&mut self.fd) };
        }
    }
}

/// The file whose bytes are the locks.
#[derive(Debug)]
pub(crate) struct LockFile {
    fd: Exposed,
    pub(crate) id: FileId,
    /// The name that leads to the file, and its path; `None` for a file without a name.
    pub(crate) name: Option<FileName>,
    pub(crate) path: Option<PathBuf>,
}

impl LockFile {
    /// Opens a file description of its own, read-only. It never locks, so no mapping of it keeps a lock.
    pub(crate) fn of(fd: impl AsFd, name: Option<&FileName>) -> io::Result<Self> {
        let id = FileId::of(&fd)?;
        let (name, path) = (name.cloned(), name.map(FileName::path));
        let own = Exposed::new(reopen(fd.as_fd(), OFlags::RDONLY)?)?;
        Ok(Self { fd: own, id, name, path })
    }

    /// The number of our descriptor.
    pub(crate) fn number(&self) -> RawFd {
        self.fd.fd.as_raw_fd()
    }

    /// Our descriptor, unless other code of this process closed or replaced it.
    pub(crate) fn probe(&self) -> Option<BorrowedFd<'_>> {
        self.fd.get()
    }

    /// Opens a new file description, with locks of its own. `None` if neither the descriptor nor the path leads to the file.
    pub(crate) fn fresh(&self) -> io::Result<Option<OwnedFd>> {
        let by_number = self.probe().map(|fd| reopen(fd, OFlags::RDWR));
        let fresh = match (by_number, &self.path) {
            (Some(Ok(fd)), _) => fd,
            (_, Some(path)) => match rustix::fs::open(path, RDWR | OFlags::NOFOLLOW, Mode::empty()) {
                Ok(fd) => fd,
                Err(rustix::io::Errno::NOENT) => return Ok(None),
                Err(error) => return Err(error.into()),
            },
            (Some(Err(error)), None) => return Err(error),
            (None, None) => return Ok(None),
        };
        Ok((FileId::of(&fresh)? == self.id).then_some(fresh))
    }
}

const RDWR: OFlags = OFlags::RDWR.union(OFlags::CLOEXEC);

/// The path that leads to the file of a descriptor of the calling thread, which may have a table of its own.
pub(crate) fn link_of(fd: BorrowedFd<'_>) -> String {
    format!("/proc/thread-self/fd/{}", fd.as_raw_fd())
}

/// A new open file description of the same file.
pub(crate) fn reopen(fd: BorrowedFd<'_>, access: OFlags) -> io::Result<OwnedFd> {
    let link = link_of(fd);
    Ok(rustix::fs::openat(CWD, link, access | OFlags::CLOEXEC, Mode::empty())?)
}

/// An attached segment: everything that a `Segment` and its members share within the process.
#[derive(Debug)]
pub(crate) struct Attachment {
    pub(crate) backend: Backend,
    pub(crate) header: Header,
    pub(crate) created: bool,
    pub(crate) name: Option<String>,
    /// `None` only for private memory.
    pub(crate) lock: Option<LockFile>,
    /// Mapped read-only and inherited by forked children. Exception: private memory has only this mapping, and it is writable.
    pub(crate) read_only: Mapping,
}

/// A member's mapping: the writable memory and, where the memory does not pin the lock itself, a second mapping that does.
#[derive(Debug)]
pub(crate) struct MemberMapping {
    pub(crate) memory: Mapping,
    pin: Option<Mapping>,
}

impl MemberMapping {
    /// Releases the memory and then the lock; the addresses stay reserved.
    ///
    /// # Safety
    ///
    /// No code accesses the memory from now on.
    pub(crate) unsafe fn close_off(&self) -> io::Result<()> {
        // SAFETY: the caller's contract.
        unsafe { self.memory.close_off()? };
        // SAFETY: the pin is inaccessible memory, which no code accesses.
        self.pin.as_ref().map_or(Ok(()), |pin| unsafe { pin.close_off() })
    }
}

impl Attachment {
    /// The control words, through the read-only mapping.
    pub(crate) fn read_only_control(&self) -> Control<'_> {
        // SAFETY: the read-only mapping has the plan's length and lives as long as `self`.
        unsafe { Control::over(self.read_only.base(), self.header.plan) }
    }

    /// The lock by which the folder tells that a member lives; `None` for a segment without a name.
    pub(crate) fn claim_presence(&self) -> Option<Presence> {
        Presence::claim(self.lock.as_ref()?.name.as_ref()?, self.header.creation_id)
    }

    /// Where the name of the segment leads.
    pub(crate) fn name_state(&self) -> NameState {
        match self.lock.as_ref().and_then(|lock| Some((lock, lock.name.as_ref()?))) {
            Some((lock, name)) => presence::state_of(name, lock.probe(), self.header.creation_id),
            None => NameState::Unknown,
        }
    }

    /// After the last member of a segment that was removed has left: no permit is needed to create another one.
    pub(crate) fn tidy_name(&self) {
        let Some((lock, name)) = self.lock.as_ref().and_then(|lock| Some((lock, lock.name.as_ref()?))) else {
            return;
        };
        let is_removed =
            lock.probe().is_some_and(|fd| rustix::fs::fstat(fd).is_ok_and(|stat| stat.st_nlink == 0));
        if is_removed && presence::is_anybody_there(name).is_ok_and(|there| !there) {
            presence::end_permit(name);
        }
    }

    /// The name of the segment in error messages.
    pub(crate) fn place(&self) -> String {
        let path = self.lock.as_ref().and_then(|lock| lock.path.as_ref());
        path.map_or_else(|| self.backend.to_string(), |path| path.display().to_string())
    }

    /// Whether the lock file is also the memory.
    pub(crate) const fn is_file_memory(&self) -> bool {
        matches!(self.backend, Backend::Shm | Backend::File | Backend::Memfd)
    }

    /// Maps the memory writable, so that the locks of `fd` last exactly as long as the mapping. Forked children do not inherit it.
    pub(crate) fn map_for_member(&self, fd: &OwnedFd) -> io::Result<MemberMapping> {
        let bytes = self.header.plan.total_bytes();
        let (memory, pin) = match self.backend {
            Backend::Shm | Backend::File | Backend::Memfd => {
                (Mapping::file(fd, bytes, Access::ReadWrite)?, None)
            }
            Backend::SysV => {
                (Mapping::sysv(self.header.shmid, bytes, Access::ReadWrite)?, Some(Mapping::pin(fd)?))
            }
            Backend::Anonymous | Backend::Private => (self.read_only.duplicate()?, Some(Mapping::pin(fd)?)),
        };
        memory.keep_from_children()?;
        memory.keep_from_dumps();
        Ok(MemberMapping { memory, pin })
    }

    /// The bytes that the file system has allocated to the segment, if it counts them.
    pub(crate) fn committed_bytes(&self) -> Option<u64> {
        let probe = self.lock.as_ref().filter(|_| self.is_file_memory())?.probe()?;
        rustix::fs::fstat(probe).ok().map(|stat| stat.st_blocks as u64 * 512)
    }

    /// The length of the file that holds the memory; `None` for memory that cannot be truncated.
    pub(crate) fn file_bytes(&self, fd: impl AsFd) -> io::Result<Option<u64>> {
        if !self.is_file_memory() {
            return Ok(None);
        }
        Ok(Some(rustix::fs::fstat(fd)?.st_size as u64))
    }
}
