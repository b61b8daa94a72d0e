//! A mapping that is unmapped when dropped.

use std::ffi::c_void;
use std::io;
use std::os::fd::AsFd;
use std::ptr;

use rustix::mm::{self, Advice, MapFlags, MprotectFlags, MremapFlags, ProtFlags};

/// The access that a mapping permits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    ReadOnly,
    ReadWrite,
}

/// An address range that this value owns.
#[derive(Debug)]
pub(crate) struct Mapping {
    base: *mut u8,
    bytes: usize,
}

// SAFETY: the value owns a range of addresses; accesses through its pointer are unsafe code elsewhere.
unsafe impl Send for Mapping {}
// SAFETY: as above; no method mutates the value.
unsafe impl Sync for Mapping {}

impl Mapping {
    pub(crate) fn file(fd: impl AsFd, bytes: u64, access: Access) -> io::Result<Self> {
        let bytes = length(bytes)?;
        // SAFETY: a new mapping at an address of the kernel's choice.
        let base = unsafe { mm::mmap(ptr::null_mut(), bytes, ProtFlags::empty(), MapFlags::SHARED, fd, 0)? };
        Self { base: base.cast(), bytes }.opened(access)
    }

    /// A new mapping without access gets access. After mlockall(MCL_FUTURE) the kernel has locked it: then its pages are to be locked when
    /// they are touched, not all at once, which would fill the whole sparse segment. (Without access there is nothing to fill.)
    fn opened(self, access: Access) -> io::Result<Self> {
        // The kernel refuses this advice for locked memory only.
        let asked = self.advise(0, self.bytes, Advice::LinuxDontNeed);
        if asked.is_err_and(|error| error.raw_os_error() == Some(libc::EINVAL)) {
            let when = mm::MlockFlags::ONFAULT;
            // Without the call, or at the limit, all of it stays locked.
            // SAFETY: the range is ours, and nobody has its address yet.
            let _ = unsafe { mm::mlock_with(self.base.cast(), self.bytes, when) };
        }
        let access = match access {
            Access::ReadOnly => MprotectFlags::READ,
            Access::ReadWrite => MprotectFlags::READ | MprotectFlags::WRITE,
        };
        // SAFETY: as above.
        unsafe { mm::mprotect(self.base.cast(), self.bytes, access)? };
        Ok(self)
    }

    /// One inaccessible page, whose only purpose is to keep an open file description, and so its locks, alive.
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
        let base = unsafe { mm::mmap_anonymous(ptr::null_mut(), bytes, ProtFlags::empty(), flags)? };
        Self { base: base.cast(), bytes }.opened(Access::ReadWrite)
    }

    /// Attaches SysV memory by its identifier. This also works after its removal, as long as a process is attached.
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

    /// A second mapping of the same shared memory, writable.
    pub(crate) fn duplicate(&self) -> io::Result<Self> {
        // SAFETY: an old size of zero leaves the old mapping alone and maps the same shared pages elsewhere.
        let base = unsafe { mm::mremap(self.base.cast(), 0, self.bytes, MremapFlags::MAYMOVE)? };
        let twin = Self { base: base.cast(), bytes: self.bytes };
        // SAFETY: a new mapping that no other code uses yet.
        unsafe { mm::mprotect(base, self.bytes, MprotectFlags::READ | MprotectFlags::WRITE)? };
        Ok(twin)
    }

    #[inline(always)]
    pub(crate) fn base(&self) -> *mut u8 {
        self.base
    }

    /// Makes the mapping read-only.
    pub(crate) fn make_readable_only(&self) -> io::Result<()> {
        // SAFETY: the range is ours; later writes fault instead of reaching shared memory.
        unsafe { mm::mprotect(self.base.cast(), self.bytes, MprotectFlags::READ)? };
        Ok(())
    }

    /// Excludes the mapping from forked children [A6].
    pub(crate) fn keep_from_children(&self) -> io::Result<()> {
        self.advise(0, self.bytes, Advice::LinuxDontFork)
    }

    /// Makes the mapping read zero in forked children [A6].
    pub(crate) fn wipe_in_children(&self) -> io::Result<()> {
        self.advise(0, self.bytes, Advice::LinuxWipeOnFork)
    }

    /// Leaves the mapping out of core dumps. A dying process writes its dump first and notifies the monitors afterwards: a kernel
    /// or sandbox that refuses the advice makes dumps larger and such notifications later, and nothing else.
    pub(crate) fn keep_from_dumps(&self) {
        let _ = self.advise(0, self.bytes, Advice::LinuxDontDump);
    }

    /// `offset` and `bytes` must be multiples of the page size within the mapping.
    pub(crate) fn advise(&self, offset: usize, bytes: usize, advice: Advice) -> io::Result<()> {
        assert!(offset <= self.bytes && bytes <= self.bytes - offset, "advice beyond the mapping");
        // SAFETY: within a range that is ours; the advices in use either reserve memory or zero bytes that the caller owns.
        unsafe { mm::madvise(self.base.add(offset).cast::<c_void>(), bytes, advice)? };
        Ok(())
    }

    /// Replaces the mapping in place by inaccessible memory. This releases what it pinned; the addresses stay reserved, so that an
    /// access through a late pointer faults and cannot reach another mapping.
    ///
    /// # Safety
    ///
    /// No code accesses the range from now on.
    pub(crate) unsafe fn close_off(&self) -> io::Result<()> {
        let flags = MapFlags::PRIVATE | MapFlags::FIXED | MapFlags::NORESERVE;
        // SAFETY: exactly the range that is ours; by the caller's contract no code accesses it.
        unsafe { mm::mmap_anonymous(self.base.cast(), self.bytes, ProtFlags::empty(), flags)? };
        Ok(())
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: exactly the range that is ours. It fails only if the kernel cannot split a mapping; then the range stays mapped.
        let _ = unsafe { mm::munmap(self.base.cast(), self.bytes) };
    }
}

/// The length as `usize`. The kernel rounds it up to whole pages.
fn length(bytes: u64) -> io::Result<usize> {
    usize::try_from(bytes).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))
}
