//! Open-file-description locks on single bytes, by which the kernel vouches for the lives of members.
//!
//! rustix has no OFD locks, so this calls `fcntl` directly.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

/// Some bytes of a file, or offsets of a folder.
#[derive(Clone, Copy)]
pub(crate) struct Bytes {
    pub(crate) first: i64,
    pub(crate) count: i64,
}

impl Bytes {
    fn of(index: u8) -> Self {
        Self { first: index.into(), count: 1 }
    }

    /// Those of all leases.
    const ALL: Self = Self { first: 0, count: tenure_core::MEMBERS_MAX as i64 };
}

/// A lock request.
fn request(kind: libc::c_int, bytes: Bytes) -> libc::flock {
    // SAFETY: `flock` is plain integers; `l_pid` must be zero for OFD locks, which this is.
    let mut flock: libc::flock = unsafe { std::mem::zeroed() };
    flock.l_type = kind as libc::c_short;
    flock.l_whence = libc::SEEK_SET as libc::c_short;
    flock.l_start = bytes.first;
    flock.l_len = bytes.count;
    flock
}

fn set(fd: impl AsFd, command: libc::c_int, mut flock: libc::flock) -> io::Result<()> {
    // SAFETY: a live descriptor and a `flock` of ours.
    if unsafe { libc::fcntl(fd.as_fd().as_raw_fd(), command, &raw mut flock) } == 0 {
        return Ok(());
    }
    Err(io::Error::last_os_error())
}

/// Whether the lock was granted. `Err` for every failure other than a conflicting lock.
fn attempt(fd: impl AsFd, flock: libc::flock) -> io::Result<bool> {
    match set(fd, libc::F_OFD_SETLK, flock) {
        Ok(()) => Ok(true),
        Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Takes an owner's lock. Never waits.
pub(crate) fn try_write(fd: impl AsFd, index: u8) -> io::Result<bool> {
    attempt(fd, request(libc::F_WRLCK, Bytes::of(index)))
}

/// Takes the locks of all owners at once. Never waits.
pub(crate) fn try_write_all(fd: impl AsFd) -> io::Result<bool> {
    attempt(fd, request(libc::F_WRLCK, Bytes::ALL))
}

/// Takes the lock for replacing a file without members; its byte follows those of the leases. Never waits.
pub(crate) fn try_replace(fd: impl AsFd) -> io::Result<bool> {
    attempt(fd, request(libc::F_WRLCK, Bytes { first: tenure_core::MEMBERS_MAX.into(), count: 1 }))
}

/// Takes a recoverer's lock. Never waits.
pub(crate) fn try_read(fd: impl AsFd, index: u8) -> io::Result<bool> {
    try_read_bytes(fd, Bytes::of(index))
}

/// Takes a read lock. Never waits.
pub(crate) fn try_read_bytes(fd: impl AsFd, bytes: Bytes) -> io::Result<bool> {
    attempt(fd, request(libc::F_RDLCK, bytes))
}

/// Takes a recoverer's lock. Sleeps in the kernel until the owner is gone.
pub(crate) fn read(fd: impl AsFd, index: u8) -> io::Result<()> {
    loop {
        match set(fd.as_fd(), libc::F_OFD_SETLKW, request(libc::F_RDLCK, Bytes::of(index))) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// A recoverer's lock that was granted. Its drop releases it, also when a recovery panics: the description may live as long as the member.
pub(crate) struct Granted<'a> {
    pub(crate) fd: BorrowedFd<'a>,
    pub(crate) index: u8,
}

impl Drop for Granted<'_> {
    fn drop(&mut self) {
        let _ = unlock(self.fd, self.index);
    }
}

/// Releases a recoverer's lock.
pub(crate) fn unlock(fd: impl AsFd, index: u8) -> io::Result<()> {
    set(fd, libc::F_OFD_SETLK, request(libc::F_UNLCK, Bytes::of(index)))
}

/// Whether another open file description has the owner's lock of the lease.
pub(crate) fn is_owned(fd: impl AsFd, index: u8) -> io::Result<bool> {
    // A read lock conflicts with an owner's write lock and with nothing else.
    conflict(fd, request(libc::F_RDLCK, Bytes::of(index))).map(|found| found.is_some())
}

/// Some bytes on which another open file description has a lock; it has at least one of `bytes`.
pub(crate) fn some_locked(fd: impl AsFd, bytes: Bytes) -> io::Result<Option<Bytes>> {
    conflict(fd, request(libc::F_WRLCK, bytes))
}

/// The first byte on which any other description has a lock.
pub(crate) fn first_held(fd: impl AsFd) -> io::Result<Option<u8>> {
    Ok(some_locked(fd, Bytes::ALL)?.map(|found| found.first.clamp(0, 255) as u8))
}

fn conflict(fd: impl AsFd, mut flock: libc::flock) -> io::Result<Option<Bytes>> {
    // SAFETY: a live descriptor and a `flock` of ours, which the kernel fills.
    if unsafe { libc::fcntl(fd.as_fd().as_raw_fd(), libc::F_OFD_GETLK, &raw mut flock) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // A length of zero stands for all bytes from the first.
    let count = if flock.l_len == 0 { i64::MAX - flock.l_start } else { flock.l_len };
    Ok((flock.l_type != libc::F_UNLCK as libc::c_short).then_some(Bytes { first: flock.l_start, count }))
}
