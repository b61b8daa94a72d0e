//! One mapping, unmapped when dropped.

use std::ffi::c_void;
use std::io;
use std::os::fd::AsFd;
use std::ptr;

use rustix::mm::{self, Advice, MapFlags, MprotectFlags, MremapFlags, ProtFlags};

/// What a mapping is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    ReadOnly,
    ReadWrite,
}

impl Access {
    fn protection(self) -> ProtFlags {
        match self {
            Self::ReadOnly => ProtFlags::READ,
            Self::ReadWrite => ProtFlags::READ | ProtFlags::WRITE,
        }
    }
}

/// An address range that this value owns.
#[derive(Debug)]
pub(crate) struct Mapping {
    base: *mut u8,
    bytes: usize,
}

// SAFETY: the value owns a range of addresses; all accesses through it are the business of whoever makes them.
unsafe impl Send for Mapping {}
// SAFETY: as above; no method changes the value itself.
unsafe impl Sync for Mapping {}

impl Mapping {
    pub(crate) fn file(fd: impl AsFd, bytes: u64, access: Access) -> io::Result<Self> {
        let bytes = length(bytes)?;
        // SAFETY: a new mapping at an address of the kernel's choice.
        let base = unsafe { mm::mmap(ptr::null_mut(), bytes, access.protection(), MapFlags::SHARED, fd, 0)? };
        Ok(Self { base: base.cast(), bytes })
    }

    /// One inaccessible page that does nothing but keep an open file description, and so its locks, alive.
    pub(crate) fn pin(fd: impl AsFd) -> io::Result<Self> {
        let bytes = rustix::param::page_size();
        // SAFETY: a new mapping at an address of the kernel's choice.
        let base = unsafe { mm::mmap(ptr::null_mut(), bytes, ProtFlags::empty(), MapFlags::PRIVATE, fd, 0)? };
        let pin = Self { base: base.cast(), bytes };
        pin.keep_from_children()?;
        Ok(pin)
    }

    pub(crate) fn anonymous(bytes: u64, flags: MapFlags) -> io::Result<Self> {
        let bytes = length(bytes)?;
        let flags = flags | MapFlags::NORESERVE;
        // SAFETY: a new mapping at an address of the kernel's choice.
        let base =
            unsafe { mm::mmap_anonymous(ptr::null_mut(), bytes, Access::ReadWrite.protection(), flags)? };
        Ok(Self { base: base.cast(), bytes })
    }

    /// SysV memory by its identifier; attaching works after removal too, as long as somebody is attached.
    pub(crate) fn sysv(shmid: i32, bytes: u64, access: Access) -> io::Result<Self> {
        let bytes = length(bytes)?;
        let flags = if access == Access::ReadOnly { libc::SHM_RDONLY } else { 0 };
        // SAFETY: a new mapping at an address of the kernel's choice. `munmap` detaches it as `shmdt` would.
        let base = unsafe { libc::shmat(shmid, ptr::null(), flags) };
        if base as isize == -1 {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { base: base.cast(), bytes })
    }

    /// A second mapping of the same shared memory, for working.
    pub(crate) fn duplicate(&self) -> io::Result<Self> {
        // SAFETY: an old size of zero leaves the old mapping alone and maps the same shared pages elsewhere.
        let base = unsafe { mm::mremap(self.base.cast(), 0, self.bytes, MremapFlags::MAYMOVE)? };
        let twin = Self { base: base.cast(), bytes: self.bytes };
        // SAFETY: a mapping that nobody else knows yet.
        unsafe { mm::mprotect(base, self.bytes, MprotectFlags::READ | MprotectFlags::WRITE)? };
        Ok(twin)
    }

    pub(crate) fn base(&self) -> *mut u8 {
        self.base
    }

    /// Takes the right to write.
    pub(crate) fn make_readable_only(&self) -> io::Result<()> {
        // SAFETY: the range is ours; later writes fault instead of reaching shared memory.
        unsafe { mm::mprotect(self.base.cast(), self.bytes, MprotectFlags::READ)? };
        Ok(())
    }

    /// [A6] Not mapped in a forked child.
    pub(crate) fn keep_from_children(&self) -> io::Result<()> {
        self.advise(0, self.bytes, Advice::LinuxDontFork)
    }

    /// [A6] Zero in a forked child.
    pub(crate) fn wipe_in_children(&self) -> io::Result<()> {
        self.advise(0, self.bytes, Advice::LinuxWipeOnFork)
    }

    /// A dying process with a huge core dump notifies the monitors late: leave the segment out of it.
    pub(crate) fn keep_from_dumps(&self) -> io::Result<()> {
        self.advise(0, self.bytes, Advice::LinuxDontDump)
    }

    /// `offset` and `bytes` must be multiples of the page size within the mapping.
    pub(crate) fn advise(&self, offset: usize, bytes: usize, advice: Advice) -> io::Result<()> {
        assert!(offset <= self.bytes && bytes <= self.bytes - offset, "advice beyond the mapping");
        // SAFETY: within a range that is ours; the advices in use either reserve memory or zero what the caller owns.
        unsafe { mm::madvise(self.base.add(offset).cast::<c_void>(), bytes, advice)? };
        Ok(())
    }

    /// Replaces the mapping, in place, by nothing: it lets go of what it pinned, and the addresses stay reserved, so
    /// that a late pointer faults rather than reads somebody else's memory.
    ///
    /// # Safety
    ///
    /// Nobody accesses the range from now on.
    pub(crate) unsafe fn close_off(&self) -> io::Result<()> {
        let flags = MapFlags::PRIVATE | MapFlags::FIXED | MapFlags::NORESERVE;
        // SAFETY: exactly the range that is ours, and nobody uses it by the caller's contract.
        unsafe { mm::mmap_anonymous(self.base.cast(), self.bytes, ProtFlags::empty(), flags)? };
        Ok(())
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: exactly the range that is ours. It can only fail for want of a range descriptor; then it stays.
        let _ = unsafe { mm::munmap(self.base.cast(), self.bytes) };
    }
}

/// A length the kernel would round up to pages is left to it.
fn length(bytes: u64) -> io::Result<usize> {
    usize::try_from(bytes).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))
}
