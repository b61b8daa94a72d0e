//! The server of the sockets: a thread of a member that sends descriptors to others.

use std::io::{self, IoSlice};
use std::mem::{ManuallyDrop, MaybeUninit};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::io::Errno;
use rustix::net::{
    RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, accept_with, bind, listen,
    recv, send, sendmsg,
};
use tenure_core::LeaseId;
use tenure_core::sync;

use super::{GIVEN, MAGIC, NOT_MINE, REQUEST_BYTES, Table, address, foreign_user, socket};
use crate::error::NotMember;
use crate::fork_flag::ForkFlag;
use crate::thread::Thread;

const STACK: usize = 64 << 10;
/// The most connections without a request. The oldest is closed if there are more: a client sends its request at once.
const CONNECTIONS_MAX: usize = 64;
/// The most connections that the kernel queues for the thread.
const BACKLOG: i32 = 4096;

/// The descriptors that a member offers to others, and the thread that sends them. A drop ends the thread.
///
/// The thread accesses private memory only. It does not exist in a forked child; calls there have no effect.
pub struct Offers {
    flag: ForkFlag,
    table: Table,
    door: Arc<OwnedFd>,
    stop: Arc<OwnedFd>,
    // Not joined in a forked child, where it does not exist.
    thread: ManuallyDrop<Thread>,
}

impl Offers {
    pub(super) fn start(creation_id: u64, lease: LeaseId) -> io::Result<Self> {
        let flag = ForkFlag::new()?;
        let door = Arc::new(socket()?);
        bind(&door, &address(creation_id, lease)?)?;
        listen(&door, BACKLOG)?;
        let stop = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let table = Table::default();
        let porter = Porter {
            table: Arc::clone(&table),
            door: Arc::clone(&door),
            stop: Arc::clone(&stop),
            waiting: Vec::new(),
            spare: None,
        };
        let thread = Thread::start(c"tenure-files", STACK, move || porter.serve())?;
        Ok(Self { flag, table, door, stop, thread: ManuallyDrop::new(thread) })
    }

    /// Offers `fd` as `key`: from now on the thread sends a duplicate to each process that asks for `key`.
    pub fn put(&self, key: u64, fd: Arc<OwnedFd>) {
        if self.flag.check().is_ok() {
            sync::lock(&self.table).insert(key, fd);
        }
    }

    /// Ends the offer of `key`: after this call no process gets it, and its descriptor is not kept here.
    pub fn remove(&self, key: u64) {
        if self.flag.check().is_ok() {
            sync::lock(&self.table).remove(&key);
        }
    }
}

impl Drop for Offers {
    fn drop(&mut self) {
        if self.flag.check() == Err(NotMember::ForkedChild) {
            // SAFETY: the thread that owns the other reference does not exist in this process, and ours is not used again:
            // it is never dropped below.
            unsafe { libc::close(self.door.as_raw_fd()) };
            std::mem::forget((Arc::clone(&self.door), Arc::clone(&self.stop), Arc::clone(&self.table)));
            return;
        }
        let _ = rustix::io::write(&self.stop, &1_u64.to_ne_bytes());
        // SAFETY: dropped once.
        unsafe { ManuallyDrop::take(&mut self.thread) }.join();
    }
}

/// The state of the thread.
struct Porter {
    table: Table,
    door: Arc<OwnedFd>,
    stop: Arc<OwnedFd>,
    waiting: Vec<OwnedFd>,
    /// A spare descriptor, closed for a moment to accept and decline a connection when the process has no descriptors left.
    spare: Option<OwnedFd>,
}

impl Porter {
    fn serve(mut self) {
        loop {
            if self.spare.is_none() {
                self.spare = rustix::io::fcntl_dupfd_cloexec(&self.stop, 0).ok();
            }
            let fixed = [self.stop.as_fd(), self.door.as_fd()];
            let all = fixed.into_iter().chain(self.waiting.iter().map(AsFd::as_fd));
            let mut polled: Vec<_> = all.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
            match poll(&mut polled, None) {
                Ok(_) => {}
                Err(Errno::INTR) => continue,
                // Without the thread, `duplicate` still works.
                Err(_) => return,
            }
            let mut ready: Vec<_> = polled.iter().map(|one| !one.revents().is_empty()).collect();
            let asking = ready.split_off(2);
            if ready[0] {
                return;
            }
            let waiting = std::mem::take(&mut self.waiting);
            for (connection, asks) in waiting.into_iter().zip(asking) {
                if !asks || !self.answer(&connection) {
                    self.waiting.push(connection);
                }
            }
            if ready[1] {
                self.admit();
            }
        }
    }

    fn admit(&mut self) {
        let connection = match accept_with(&self.door, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
            Ok(connection) => connection,
            Err(Errno::MFILE | Errno::NFILE) => {
                self.spare = None;
                drop(accept_with(&self.door, SocketFlags::CLOEXEC));
                return;
            }
            Err(_) => return,
        };
        if !matches!(foreign_user(&connection), Ok(None)) {
            return decline(&connection);
        }
        if self.answer(&connection) {
            return;
        }
        if self.waiting.len() == CONNECTIONS_MAX {
            self.waiting.remove(0);
        }
        self.waiting.push(connection);
    }

    /// Answers the request of a connection; false if no request has arrived.
    fn answer(&self, connection: &OwnedFd) -> bool {
        let mut request = [0; REQUEST_BYTES];
        match recv(connection, &mut request, RecvFlags::DONTWAIT) {
            Err(Errno::AGAIN | Errno::INTR) => return false,
            Ok((REQUEST_BYTES, _)) if request[..8] == MAGIC.to_le_bytes() => {}
            _ => return true,
        }
        let mut key = [0; 8];
        key.copy_from_slice(&request[8..]);
        // The lock is held during the send, which never waits: once `remove` has returned, the descriptor is not sent any more.
        let table = sync::lock(&self.table);
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let fds = table.get(&u64::from_le_bytes(key)).map(|fd| [fd.as_fd()]);
        let word = match &fds {
            Some(fds) if control.push(SendAncillaryMessage::ScmRights(fds)) => [GIVEN],
            _ => [NOT_MINE],
        };
        if sendmsg(connection, &[IoSlice::new(&word)], &mut control, flags).is_err() {
            // Other code of this process has closed the descriptor, or the other end has closed the connection.
            decline(connection);
        }
        true
    }
}

fn decline(connection: &OwnedFd) {
    let _ = send(connection, &[NOT_MINE], SendFlags::DONTWAIT | SendFlags::NOSIGNAL);
}
