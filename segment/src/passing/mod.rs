//! Descriptors that members pass each other: what one has open, another gets a duplicate of.
//!
//! There are two ways. The kernel duplicates out of another process for whoever may trace it (`pidfd_getfd`): nobody has to
//! answer, so a stopped process is as good as a running one. Where tracing is denied, a thread of the member that has the
//! descriptor hands it over through a socket ([`Offers`]); that takes a process that runs.
//!
//! A number alone proves nothing: process ids and descriptor numbers are used again. The lock on the lease says whether the
//! process behind a number is the member that wrote it down, and an [`Identity`] what the descriptor leads to.

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

/// Where a member says that it has something open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The member.
    pub lease: LeaseId,
    /// Its process, in its own namespace.
    pub pid: u32,
    /// That namespace, as [`pid_namespace`] has it.
    pub pid_namespace: u32,
    /// The number by which that process knows the descriptor.
    pub number: i32,
}

/// Why a way to a duplicate did not lead anywhere.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The member has died or left.
    #[error("its process is gone")]
    Gone,
    /// The process id means another process here, or nothing can be said about that.
    #[error("its process is not visible from here")]
    Invisible,
    /// The kernel said no.
    #[error("{call}: {source}")]
    Denied {
        /// The call.
        call: &'static str,
        /// The answer.
        source: io::Error,
    },
    /// Somebody of another user listens in its name.
    #[error("its socket belongs to user {uid}")]
    Foreign {
        /// That user.
        uid: u32,
    },
    /// It did not answer: it may be stopped.
    #[error("its socket does not answer")]
    Silent,
    /// It answered that it has closed it.
    #[error("its socket says no")]
    Declined,
    /// Something else has this number by now: it was closed without telling.
    #[error("its descriptor {number} leads to something else by now")]
    Changed {
        /// The number.
        number: i32,
    },
    /// This way was not asked for.
    #[error("not traced")]
    NotTried,
}

impl Refusal {
    fn denied(call: &'static str) -> impl Fn(rustix::io::Errno) -> Self {
        move |errno| Self::Denied { call, source: errno.into() }
    }
}

/// The namespace in which this process has its process id; zero when it cannot be told.
#[must_use]
pub fn pid_namespace() -> u32 {
    crate::process::own_namespace().unwrap_or(0)
}

/// Whether process ids mean the same there and here.
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
    /// Duplicates what `holder` has open, without asking it. The caller looks afterwards whether the holder still says that
    /// it has it there, and what it leads to.
    ///
    /// # Errors
    ///
    /// [`Refusal`]; nothing was opened.
    ///
    /// # Progress
    ///
    /// Waits for nobody: a stopped process is as good as a running one.
    pub fn duplicate(&self, holder: &Holder) -> Result<OwnedFd, Refusal> {
        if !is_visible(holder) {
            return Err(Refusal::Invisible);
        }
        let ours = holder.pid == std::process::id();
        let process = if ours { None } else { Some(pidfd(holder)?) };
        // After the process was opened: a member that is alive now was alive then, and its process id its own.
        match self.is_alive(holder.lease) {
            Some(true) => {}
            Some(false) => return Err(Refusal::Gone),
            // Private memory has no locks, and no other process either.
            None if ours && self.backend() == Backend::Private => {}
            None => return Err(Refusal::Invisible),
        }
        let Some(process) = process else {
            // SAFETY: numbers; a number that is no descriptor is an error.
            let fd = unsafe { libc::fcntl(holder.number, libc::F_DUPFD_CLOEXEC, 0) };
            if fd < 0 {
                return Err(Refusal::Denied { call: "fcntl", source: io::Error::last_os_error() });
            }
            // SAFETY: a new descriptor that is nobody else's.
            return Ok(unsafe { OwnedFd::from_raw_fd(fd) });
        };
        rustix::process::pidfd_getfd(process, holder.number, PidfdGetfdFlags::empty()).map_err(|errno| {
            match errno {
                rustix::io::Errno::SRCH => Refusal::Gone,
                errno => Refusal::denied("pidfd_getfd")(errno),
            }
        })
    }

    /// Asks all `holders` at once, through their sockets, for what they offer as `key`. The answer names who gave it.
    ///
    /// # Errors
    ///
    /// [`Refusal`] of each of them, in order.
    ///
    /// # Progress
    ///
    /// Waits for the first that gives it, at most `patience`: those that are stopped cannot answer.
    pub fn ask(
        &self,
        holders: &[Holder],
        key: u64,
        patience: std::time::Duration,
    ) -> Result<(usize, OwnedFd), Vec<Refusal>> {
        ask::ask(self.creation_id(), holders, key, patience)
    }

    /// Starts the thread that hands descriptors over. One per lease: a second one is refused.
    ///
    /// # Errors
    ///
    /// The system has no room for a socket or a thread, or forbids them.
    pub fn offers(&self) -> io::Result<Offers> {
        Offers::start(self.creation_id(), self.id())
    }
}

/// The address at which a member hands over; nobody without access to the segment can guess it.
fn address(creation_id: u64, lease: LeaseId) -> rustix::io::Result<rustix::net::SocketAddrUnix> {
    let LeaseId { index, incarnation } = lease;
    let name = format!("tenure-{creation_id:016x}-{index}-{incarnation:x}");
    rustix::net::SocketAddrUnix::new_abstract_name(name.as_bytes())
}

/// What asks: a magic number, and the key.
const REQUEST_BYTES: usize = 16;
const MAGIC: u64 = u64::from_le_bytes(*b"TENUREFD");
/// What answers: one byte, and with `GIVEN` a descriptor.
const GIVEN: u8 = 1;
const NOT_MINE: u8 = 2;

/// A descriptor of the sockets that both sides use.
fn socket() -> rustix::io::Result<OwnedFd> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
}

/// The user of the other end, unless it is ours, or root, who may do as it likes anyway.
fn foreign_user(socket: &OwnedFd) -> rustix::io::Result<Option<u32>> {
    // Not rustix's `socket_peercred`: its type cannot hold the process id 0, which the kernel gives for a process that has
    // no number in this pid namespace.
    let mut peer = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut bytes = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: room for the answer, and how much that is.
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

/// What is offered, by key.
type Table = Arc<tenure_core::sync::Mutex<std::collections::BTreeMap<u64, Arc<OwnedFd>>>>;
