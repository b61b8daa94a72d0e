//! Descriptors that members pass to each other: a member gets a duplicate of a descriptor that another one has open.
//!
//! There are two ways. The kernel duplicates a descriptor of another process if the caller may trace that process (`pidfd_getfd`). The
//! other process need not answer, so it may be stopped. If tracing is denied, a thread of the member that has the
//! descriptor sends it through a socket ([`Offers`]); for that the process must run.
//!
//! A number alone proves nothing: process ids and descriptor numbers are used again. The lock on the lease tells whether the
//! process behind a number is the member that stored it, and an [`Identity`] tells which object the descriptor refers to.

mod ask;
mod identity;
mod offers;

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::Arc;

use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags};

pub use identity::Identity;
pub use offers::Offers;

use crate::lease::Lease;
use crate::name::Backend;
use tenure_core::LeaseId;

/// A member's claim that it has a descriptor open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The member.
    pub lease: LeaseId,
    /// The process id of the member, in its own namespace.
    pub pid: u32,
    /// That namespace, as returned by [`pid_namespace`].
    pub pid_namespace: u32,
    /// The number of the descriptor in that process.
    pub number: i32,
}

/// Why a way to get a duplicate failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The member has died or left.
    #[error("its process is gone")]
    Gone,
    /// The process id means another process here, or that cannot be determined.
    #[error("its process is not visible from here")]
    Invisible,
    /// The kernel refused.
    #[error("{call}: {source}")]
    Denied {
        /// The name of the system call.
        call: &'static str,
        /// The kernel's error.
        source: io::Error,
    },
    /// A process of another user listens under the member's name.
    #[error("its socket belongs to user {uid}")]
    Foreign {
        /// The id of that user.
        uid: u32,
    },
    /// The member did not answer: it may be stopped.
    #[error("its socket does not answer")]
    Silent,
    /// The member answered that it has closed the descriptor.
    #[error("its socket says no")]
    Declined,
    /// The number refers to another object by now: other code of the process closed the descriptor.
    #[error("its descriptor {number} leads to something else by now")]
    Changed {
        /// The number of the descriptor.
        number: i32,
    },
    /// The caller did not request this way.
    #[error("not traced")]
    NotTried,
}

impl Refusal {
    fn denied(call: &'static str) -> impl Fn(rustix::io::Errno) -> Self {
        move |errno| Self::Denied { call, source: errno.into() }
    }
}

/// The pid namespace of this process; zero if it cannot be determined.
#[must_use]
pub fn pid_namespace() -> u32 {
    crate::process::own_namespace().unwrap_or(0)
}

/// Whether process ids mean the same in the holder's process and in this one.
fn is_visible(holder: &Holder) -> bool {
    holder.pid_namespace != 0 && holder.pid_namespace == pid_namespace()
}

fn pidfd(holder: &Holder) -> Result<OwnedFd, Refusal> {
    let pid = i32::try_from(holder.pid).ok().and_then(Pid::from_raw).ok_or(Refusal::Gone)?;
    rustix::process::pidfd_open(pid, PidfdFlags::empty()).map_err(|errno| match errno {
        rustix::io::Errno::SRCH => Refusal::Gone,
        errno => Refusal::denied("pidfd_open")(errno),
    })
}

impl Lease {
    /// Duplicates the descriptor of `holder`, without asking it. The caller checks afterwards that the holder still claims
    /// that number, and the identity of the duplicate.
    ///
    /// # Errors
    ///
    /// [`Refusal`]; nothing was opened.
    ///
    /// # Progress
    ///
    /// Never waits: the holder may be stopped.
    pub fn duplicate(&self, holder: &Holder) -> Result<OwnedFd, Refusal> {
        if !is_visible(holder) {
            return Err(Refusal::Invisible);
        }
        let ours = holder.pid == std::process::id();
        let process = if ours { None } else { Some(pidfd(holder)?) };
        // After the pidfd was opened: a member that is alive now was alive then, and the process id was its own.
        match self.is_alive(holder.lease) {
            Some(true) => {}
            Some(false) => return Err(Refusal::Gone),
            // Private memory has no locks, but also no other process.
            None if ours && self.backend() == Backend::Private => {}
            None => return Err(Refusal::Invisible),
        }
        let Some(process) = process else {
            // SAFETY: no pointers; a number that is no descriptor is an error.
            let fd = unsafe { libc::fcntl(holder.number, libc::F_DUPFD_CLOEXEC, 0) };
            if fd < 0 {
                return Err(Refusal::Denied { call: "fcntl", source: io::Error::last_os_error() });
            }
            // SAFETY: a new descriptor, which no other code has.
            return Ok(unsafe { OwnedFd::from_raw_fd(fd) });
        };
        rustix::process::pidfd_getfd(process, holder.number, PidfdGetfdFlags::empty()).map_err(|errno| {
            match errno {
                rustix::io::Errno::SRCH => Refusal::Gone,
                errno => Refusal::denied("pidfd_getfd")(errno),
            }
        })
    }

    /// Asks all `holders` at once, through their sockets, for the descriptor that they offer as `key`. Returns the position of the
    /// holder that answered, and the descriptor.
    ///
    /// # Errors
    ///
    /// [`Refusal`] of each of them, in order.
    ///
    /// # Progress
    ///
    /// Waits for the first answer with a descriptor, at most `patience`: a stopped holder cannot answer.
    pub fn ask(
        &self,
        holders: &[Holder],
        key: u64,
        patience: std::time::Duration,
    ) -> Result<(usize, OwnedFd), Vec<Refusal>> {
        ask::ask(self.creation_id(), holders, key, patience)
    }

    /// Starts the thread that sends descriptors to other members. One per lease: a second one is refused.
    ///
    /// # Errors
    ///
    /// The system has no resources for a socket or a thread, or forbids them.
    pub fn offers(&self) -> io::Result<Offers> {
        Offers::start(self.creation_id(), self.id())
    }
}

/// The address of a member's socket; a process without access to the segment cannot guess it.
fn address(creation_id: u64, lease: LeaseId) -> rustix::io::Result<rustix::net::SocketAddrUnix> {
    let LeaseId { index, incarnation } = lease;
    let name = format!("tenure-{creation_id:016x}-{index}-{incarnation:x}");
    rustix::net::SocketAddrUnix::new_abstract_name(name.as_bytes())
}

/// The length of a request: a magic number, and the key.
const REQUEST_BYTES: usize = 16;
const MAGIC: u64 = u64::from_le_bytes(*b"TENUREFD");
/// The answers, of one byte; a descriptor comes with `GIVEN`.
const GIVEN: u8 = 1;
const NOT_MINE: u8 = 2;

/// A new socket of the type that both sides use.
fn socket() -> rustix::io::Result<OwnedFd> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
}

/// The user of the other end, unless it is our own user, or root, which has all rights anyway.
fn foreign_user(socket: &OwnedFd) -> rustix::io::Result<Option<u32>> {
    // Not rustix's `socket_peercred`: its type cannot hold the process id 0, which the kernel returns for a process that has
    // no number in this pid namespace.
    let mut peer = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut bytes = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: a buffer for the result, and its length.
    let answer = unsafe {
        let room = (&raw mut peer).cast();
        libc::getsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_PEERCRED, room, &raw mut bytes)
    };
    if answer != 0 {
        let error = io::Error::last_os_error();
        return Err(rustix::io::Errno::from_io_error(&error).unwrap_or(rustix::io::Errno::IO));
    }
    Ok((peer.uid != rustix::process::geteuid().as_raw() && peer.uid != 0).then_some(peer.uid))
}

/// The descriptors that are offered, by key.
type Table = Arc<tenure_core::sync::Mutex<std::collections::BTreeMap<u64, Arc<OwnedFd>>>>;
