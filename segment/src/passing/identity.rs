//! The identity of the open file behind a descriptor.

use std::os::fd::{AsFd, AsRawFd};

use crate::layout::{FNV_START, fnv1a};

/// Identifies the object that a descriptor refers to: by device and inode, and for objects that all share one inode (eventfd, epoll
/// and similar) also by a hash of the other information from the kernel. Different identities: different objects. Equal identities:
/// the same object, except for objects with the shared inode, which the kernel's information may not distinguish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The device.
    pub device: u64,
    /// The inode.
    pub inode: u64,
    /// A hash of the other information; zero if the inode suffices.
    pub tag: u64,
}

impl Identity {
    /// The identity of the object behind `fd`.
    ///
    /// # Errors
    ///
    /// The kernel's answer to `fstat`.
    pub fn of(fd: impl AsFd) -> std::io::Result<Self> {
        let fd = fd.as_fd();
        let stat = rustix::fs::fstat(fd)?;
        // Files, sockets and pipes have a type in their mode; objects with the shared anonymous inode have none.
        let tag = if stat.st_mode & libc::S_IFMT == 0 { tag_of(fd.as_raw_fd()) } else { 0 };
        Ok(Self { device: stat.st_dev, inode: stat.st_ino, tag })
    }
}

fn tag_of(number: i32) -> u64 {
    let link = std::fs::read_link(format!("/proc/self/fd/{number}")).unwrap_or_default();
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{number}")).unwrap_or_default();
    let own = info.lines().filter(|line| line.starts_with("eventfd-id:")).collect::<String>();
    let hash = fnv1a(FNV_START, link.as_os_str().as_encoded_bytes());
    fnv1a(hash, own.as_bytes())
}
