//! Other members, in processes of their own, with monitors that have threads: only they can tell whether a notification
//! is observed.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use tenure::{Member, MonitorState, Space, error::JoinError};

use crate::case::KIND;
use crate::survivor::{Leeway, Survivor, everything, layout, payload};
use crate::sys::{self, Status};
use crate::things;

/// How a process is a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// With a monitor.
    Guarded,
    /// With a monitor, in a process that can have no descriptor, thread, process or file any more.
    Denied,
    /// Without one.
    Unguarded,
    /// With notifications that have been signalled: the thread that armed them is gone, as in a process that is about
    /// to die.
    Dying,
}

/// A request to a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Order {
    /// Every operation of a member.
    Everything = 1,
    /// Locks the mutex, however long it takes. The answer is 1 if the mutex was abandoned.
    Lock = 2,
    Unlock = 3,
    Leave = 4,
}

/// A member in another process.
pub(crate) struct Peer {
    pid: libc::pid_t,
    stream: UnixStream,
    /// Its slot.
    pub(crate) slot: u8,
}

impl Peer {
    /// Starts a peer, in a certain slot if one is given; it is a member when this returns.
    pub(crate) fn start(survivor: &Survivor, manner: Manner, slot: Option<u8>) -> Self {
        let (ours, theirs) = UnixStream::pair().unwrap();
        // SAFETY: the survivor has one thread.
        let Some(pid) = (unsafe { sys::fork() }) else {
            sys::alarm(0);
            drop(ours);
            live(survivor, manner, slot, theirs);
            sys::exit(0);
        };
        drop(theirs);
        let mut peer = Self { pid, stream: ours, slot: 0 };
        peer.slot = peer.answer();
        peer
    }

    /// Sends a request without waiting for the answer.
    pub(crate) fn order(&mut self, order: Order) {
        self.stream.write_all(&[order as u8]).unwrap();
    }

    pub(crate) fn answer(&mut self) -> u8 {
        let mut answer = [0];
        if self.stream.read_exact(&mut answer).is_err() {
            // Its error text is on the board.
            assert_eq!(sys::wait(self.pid), Status::Exited(101));
            sys::exit(101);
        }
        answer[0]
    }

    pub(crate) fn obey(&mut self, order: Order) -> u8 {
        self.order(order);
        self.answer()
    }

    /// Whether its main thread sleeps on a futex.
    pub(crate) fn is_asleep(&self) -> bool {
        sys::sleeps_on_a_futex(self.pid)
    }

    pub(crate) fn stop(&self) {
        sys::stop(self.pid);
    }

    pub(crate) fn go_on(&self) {
        sys::go_on(self.pid);
    }

    /// Kills it; it is gone when this returns.
    pub(crate) fn kill(self) {
        sys::kill(self.pid);
    }

    pub(crate) fn leave(mut self) {
        self.obey(Order::Leave);
        assert_eq!(sys::wait(self.pid), Status::Exited(0));
    }
}

/// The other process.
fn live(survivor: &Survivor, manner: Manner, slot: Option<u8>, mut stream: UnixStream) {
    let fd = survivor.space.fd().unwrap().try_clone_to_owned().unwrap();
    let space = Space::options().from_fd(fd).unwrap();
    let me = join_in(slot, || join(survivor, &space, manner));
    let mut local = me.local();
    if manner == Manner::Dying {
        local.create(KIND, &payload(100)).unwrap();
        local.alloc(layout(100)).unwrap();
    }
    if manner == Manner::Denied {
        sys::deny_everything();
    }
    stream.write_all(&[me.lease().index]).unwrap();
    let things = survivor.things.is_some().then(|| things::open(&me, survivor.board));
    let mutex = || &things.as_ref().unwrap().mutex;
    let mut order = [0];
    while stream.read_exact(&mut order).is_ok() {
        let answer = match order[0] {
            order if order == Order::Everything as u8 => {
                everything(&me, &mut local, survivor.size, Leeway::default());
                0
            }
            order if order == Order::Lock as u8 => u8::from(mutex().acquire(None).unwrap()),
            order if order == Order::Unlock as u8 => {
                mutex().unlock().unwrap();
                0
            }
            _ => break,
        };
        stream.write_all(&[answer]).unwrap();
    }
    drop((things, local));
    me.leave().unwrap();
    let _ = stream.write_all(&[0]);
}

fn join(survivor: &Survivor, guarded: &Space, manner: Manner) -> Result<Member, JoinError> {
    match manner {
        Manner::Unguarded => survivor.space.join(),
        Manner::Guarded | Manner::Denied => {
            let me = guarded.join()?;
            assert_eq!(me.monitor_state(), MonitorState::Running);
            Ok(me)
        }
        Manner::Dying => {
            // SAFETY: the process is killed with this member.
            let by_hand = || unsafe { tenure::testing::join_monitoring_by_hand(guarded) };
            std::thread::scope(|scope| scope.spawn(by_hand).join().unwrap())
        }
    }
}

/// Joins until the new member gets the slot, which is free, or soon will be: a recoverer of its owner has it for a
/// moment.
fn join_in(slot: Option<u8>, join: impl Fn() -> Result<Member, JoinError>) -> Member {
    let mut others = Vec::new();
    loop {
        match join() {
            Ok(me) if slot.is_none_or(|slot| slot == me.lease().index) => {
                others.into_iter().for_each(|other: Member| other.leave().unwrap());
                return me;
            }
            Ok(other) => others.push(other),
            Err(error) => {
                assert!(!others.is_empty(), "{error}");
                others.drain(..).for_each(|other| other.leave().unwrap());
            }
        }
    }
}
