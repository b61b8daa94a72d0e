//! The client of the sockets: asks members for a descriptor.

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags};

use super::{GIVEN, Holder, MAGIC, REQUEST_BYTES, Refusal, address, foreign_user, is_visible, pidfd, socket};

/// A member that was asked and has not answered.
struct Asked {
    at: usize,
    socket: OwnedFd,
    /// The member's process. It tells of the member's death if the socket does not: a forked child keeps the socket open.
    process: Option<OwnedFd>,
}

pub(super) fn ask(
    creation_id: u64,
    holders: &[Holder],
    key: u64,
    patience: Duration,
) -> Result<(usize, OwnedFd), Vec<Refusal>> {
    let deadline = Instant::now() + patience;
    let mut refusals: Vec<_> = holders.iter().map(|_| Refusal::Silent).collect();
    let mut asked = Vec::new();
    for (at, holder) in holders.iter().enumerate() {
        match put_question(creation_id, holder, key) {
            Ok(socket) => {
                let process = is_visible(holder).then(|| pidfd(holder).ok()).flatten();
                asked.push(Asked { at, socket, process });
            }
            Err(refusal) => refusals[at] = refusal,
        }
    }
    while !asked.is_empty() {
        let ready = match wait(&asked, deadline) {
            Some(ready) => ready,
            // The others did not answer in time.
            None => break,
        };
        let mut still = Vec::with_capacity(asked.len());
        for (one, ready) in asked.into_iter().zip(ready) {
            if !ready {
                still.push(one);
                continue;
            }
            // Receive first: the member may have answered before it died.
            match receive_answer(&one.socket) {
                Ok(fd) => return Ok((one.at, fd)),
                Err(Refusal::Silent) if one.process.as_ref().is_some_and(has_ended) => {
                    refusals[one.at] = Refusal::Gone;
                }
                Err(Refusal::Silent) => still.push(one),
                Err(refusal) => refusals[one.at] = refusal,
            }
        }
        asked = still;
    }
    Err(refusals)
}

fn put_question(creation_id: u64, holder: &Holder, key: u64) -> Result<OwnedFd, Refusal> {
    let socket = socket().map_err(Refusal::denied("socket"))?;
    let address = address(creation_id, holder.lease).map_err(Refusal::denied("socket"))?;
    rustix::net::connect(&socket, &address).map_err(|errno| match errno {
        // The backlog is full: the member does not accept connections.
        Errno::AGAIN => Refusal::Silent,
        errno => Refusal::denied("connect to its socket")(errno),
    })?;
    // Root may join segments of other users, and then asks their members.
    if let Some(uid) = foreign_user(&socket).map_err(Refusal::denied("getsockopt"))?
        && !rustix::process::geteuid().is_root()
    {
        return Err(Refusal::Foreign { uid });
    }
    let mut request = [0; REQUEST_BYTES];
    request[..8].copy_from_slice(&MAGIC.to_le_bytes());
    request[8..].copy_from_slice(&key.to_le_bytes());
    match rustix::net::send(&socket, &request, SendFlags::NOSIGNAL) {
        // It has refused before the question was sent.
        Ok(_) | Err(Errno::PIPE | Errno::CONNRESET) => Ok(socket),
        Err(errno) => Err(Refusal::denied("send to its socket")(errno)),
    }
}

/// For each member whether its socket or process is ready; `None` if none was in time.
fn wait(asked: &[Asked], deadline: Instant) -> Option<Vec<bool>> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
        let mut polled: Vec<_> = asked.iter().map(|one| PollFd::new(&one.socket, PollFlags::IN)).collect();
        let processes = asked.iter().filter_map(|one| one.process.as_ref());
        polled.extend(processes.map(|process| PollFd::new(process, PollFlags::IN)));
        match poll(&mut polled, Some(&left)) {
            Ok(0) => return None,
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            Err(_) => return None,
        }
        let is_ready = |polled: &PollFd<'_>| !polled.revents().is_empty();
        let (sockets, processes) = polled.split_at(asked.len());
        let mut processes = processes.iter();
        let both = asked.iter().zip(sockets).map(|(one, socket)| {
            let ended = one.process.is_some() && processes.next().is_some_and(is_ready);
            is_ready(socket) || ended
        });
        return Some(both.collect());
    }
}

fn has_ended(process: &OwnedFd) -> bool {
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    let mut polled = [PollFd::new(process, PollFlags::IN)];
    poll(&mut polled, Some(&now)).is_ok_and(|ready| ready > 0)
}

/// Receives the answer, if it has arrived.
fn receive_answer(socket: &OwnedFd) -> Result<OwnedFd, Refusal> {
    let mut answer = [0];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut slices = [IoSliceMut::new(&mut answer)];
    let mut receive = || rustix::net::recvmsg(socket, &mut slices, &mut control, RecvFlags::CMSG_CLOEXEC);
    // The other end may have closed without reading our question. Then the kernel reports the reset before the answer that was sent
    // earlier.
    let received =
        match receive().or_else(|errno| if errno == Errno::CONNRESET { receive() } else { Err(errno) }) {
            Err(Errno::AGAIN | Errno::INTR) => return Err(Refusal::Silent),
            Err(Errno::CONNRESET) => return Err(Refusal::Gone),
            Err(errno) => return Err(Refusal::denied("receive from its socket")(errno)),
            Ok(received) => received,
        };
    let given = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    match (received.bytes, answer, given) {
        (1, [GIVEN], Some(fd)) => Ok(fd),
        (1, ..) => Err(Refusal::Declined),
        _ => Err(Refusal::Gone),
    }
}
