//! The survivor's wait objects, and processes that wait for them.

use std::time::Duration;

use tenure::{Condvar, Event, Mutex, Permits, Reset, RwLock, Semaphore, Space, Token, WaitError};

use crate::board::Board;
use crate::survivor::Survivor;
use crate::sys::{self, Status};

/// Mail slots of the board with the tokens of the things; and one for the lease of an actor.
const MUTEX: usize = 2;
const TWICE: usize = 3;
const MANUAL: usize = 4;
const AUTO: usize = 5;
const SEMAPHORE: usize = 6;
const LOCK: usize = 8;
const CHANGED: usize = 9;
const PERMITS: usize = 10;
/// Number on the board: what those that wait with the condition variable wait for, while it is zero. The mutex protects it.
pub(crate) const FLAG: usize = 1;

pub(crate) const NOT_NOW: Option<Duration> = Some(Duration::ZERO);
/// A timeout so short that a waiter goes to sleep and gives up.
pub(crate) const AT_ONCE: Option<Duration> = Some(Duration::from_nanos(1));

/// One of each, held by the survivor.
pub(crate) struct Things {
    pub(crate) mutex: Mutex,
    pub(crate) twice: Mutex,
    pub(crate) manual: Event,
    pub(crate) auto: Event,
    pub(crate) semaphore: Semaphore,
    pub(crate) lock: RwLock,
    pub(crate) changed: Condvar,
    /// Two of them.
    pub(crate) permits: Permits,
    /// A process that waits for one of them.
    sleeper: Option<libc::pid_t>,
}

/// The kind of object to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Mutex,
    Manual,
    Auto,
    Semaphore,
    Read,
    Write,
    Changed,
    Permit,
    /// Waits for the mutex; changes, under it, what others wait for, and notifies.
    ToChange,
    /// Has a permit, waits for the mutex, and gives the permit back.
    ToGiveBack,
}

/// Gives the survivor the objects, unless it has them.
pub(crate) fn provide(survivor: &mut Survivor) {
    if survivor.things.is_some() {
        return;
    }
    let me = survivor.me;
    let things = Things {
        mutex: Mutex::create(me).unwrap(),
        twice: Mutex::create_recursive(me).unwrap(),
        manual: Event::create(me, Reset::Manual, false).unwrap(),
        auto: Event::create(me, Reset::Auto, false).unwrap(),
        semaphore: Semaphore::create(me, 0, 5).unwrap(),
        lock: RwLock::create(me).unwrap(),
        changed: Condvar::create(me).unwrap(),
        permits: Permits::create(me, 2).unwrap(),
        sleeper: None,
    };
    let board = survivor.board;
    board.post(MUTEX, things.mutex.token().into());
    board.post(TWICE, things.twice.token().into());
    board.post(MANUAL, things.manual.token().into());
    board.post(AUTO, things.auto.token().into());
    board.post(SEMAPHORE, things.semaphore.token().into());
    board.post(LOCK, things.lock.token().into());
    board.post(CHANGED, things.changed.token().into());
    board.post(PERMITS, things.permits.token().into());
    survivor.things = Some(things);
}

/// The same objects, opened by another member.
pub(crate) fn open(me: &tenure::Member, board: &Board) -> Things {
    let token = |slot| Token::try_from(board.read(slot)).unwrap();
    Things {
        mutex: Mutex::open(me, token(MUTEX)).unwrap(),
        twice: Mutex::open(me, token(TWICE)).unwrap(),
        manual: Event::open(me, token(MANUAL)).unwrap(),
        auto: Event::open(me, token(AUTO)).unwrap(),
        semaphore: Semaphore::open(me, token(SEMAPHORE)).unwrap(),
        lock: RwLock::open(me, token(LOCK)).unwrap(),
        changed: Condvar::open(me, token(CHANGED)).unwrap(),
        permits: Permits::open(me, token(PERMITS)).unwrap(),
        sleeper: None,
    }
}

impl Things {
    /// Starts a process that waits; it sleeps when this returns.
    pub(crate) fn send_sleeper(&mut self, space: &Space, board: &Board, what: What) {
        if self.sleeper.is_some() {
            return;
        }
        // SAFETY: the survivor has one thread.
        let Some(pid) = (unsafe { sys::fork() }) else {
            let me = space.join().unwrap();
            let things = open(&me, board);
            let abandoned = match what {
                What::Mutex => {
                    let abandoned = things.mutex.acquire(None).unwrap();
                    things.mutex.unlock().unwrap();
                    abandoned
                }
                What::Manual => things.manual.wait(None).map(|()| false).unwrap(),
                What::Auto => things.auto.wait(None).map(|()| false).unwrap(),
                What::Semaphore => things.semaphore.acquire(None).map(|()| false).unwrap(),
                What::Read => things.lock.read().unwrap().abandoned(),
                What::Write => things.lock.write().unwrap().abandoned(),
                What::ToChange => {
                    let told = things.mutex.acquire(None).unwrap();
                    board.post(FLAG, 1);
                    things.mutex.unlock().unwrap();
                    things.changed.notify_all().unwrap();
                    told
                }
                What::ToGiveBack => {
                    let permit = things.permits.try_acquire().unwrap();
                    let told = things.mutex.acquire(None).unwrap();
                    things.mutex.unlock().unwrap();
                    drop(permit);
                    told
                }
                What::Permit => things.permits.acquire(None).map(|_| false).unwrap(),
                What::Changed => {
                    let mut told = false;
                    let condition = |guard: &mut tenure::MutexGuard<'_>| {
                        told |= guard.abandoned();
                        board.read(FLAG) == 0
                    };
                    drop(things.changed.wait_while(things.mutex.lock().unwrap(), condition).unwrap());
                    told
                }
            };
            drop(things);
            me.leave().unwrap();
            sys::exit(if abandoned { 3 } else { 2 });
        };
        while !sys::sleeps_on_a_futex(pid) {
            std::thread::yield_now();
        }
        self.sleeper = Some(pid);
    }

    /// Whether the sleeper is awake: its next actions cannot be repeated.
    pub(crate) fn is_sleeper_awake(&self) -> bool {
        self.sleeper.is_some_and(|pid| !sys::sleeps_on_a_futex(pid))
    }

    pub(crate) fn sleeper(&self) -> Option<libc::pid_t> {
        self.sleeper
    }

    /// Whether there is a sleeper that was not waited for.
    pub(crate) fn has_sleeper(&self) -> bool {
        self.sleeper.is_some()
    }

    /// Waits until the sleeper has got its object, if there is a sleeper; returns whether it was told of an abandoned
    /// mutex.
    pub(crate) fn see_sleeper(&mut self) -> bool {
        let Some(pid) = self.sleeper.take() else { return false };
        match sys::wait(pid) {
            Status::Exited(code @ (2 | 3)) => code == 3,
            status => panic!("the one who slept ended by {status:?}"),
        }
    }

    /// All objects are available now, and none was lost.
    pub(crate) fn use_all(&self) {
        // No permit was lost, and none is had twice.
        let both = [(); 2].map(|()| self.permits.try_acquire().unwrap());
        assert!(matches!(self.permits.try_acquire(), Err(WaitError::TimedOut)));
        drop(both);
        assert_eq!(self.permits.available().unwrap(), 2);
        // Its readers and its writer are gone; if the writer died, one writer was told.
        drop(self.lock.try_write().unwrap_or_else(|error| panic!("{:?}: {error}", self.lock)));
        let reading = self.lock.try_read().unwrap();
        assert!(!reading.abandoned(), "abandoned twice");
        assert!(matches!(self.lock.try_write(), Err(WaitError::TimedOut)));
        drop(reading);
        for mutex in [&self.mutex, &self.twice] {
            // The owner is gone; if it died, one process was told.
            mutex.acquire(NOT_NOW).unwrap_or_else(|error| panic!("{mutex:?}: {error}"));
            mutex.unlock().unwrap();
            assert!(!mutex.acquire(NOT_NOW).unwrap(), "abandoned twice");
            mutex.unlock().unwrap();
        }
        for event in [&self.manual, &self.auto] {
            event.set().unwrap();
            event.wait(NOT_NOW).unwrap();
            let _ = event.reset().unwrap();
            assert!(matches!(event.wait(NOT_NOW), Err(WaitError::TimedOut)));
        }
        while self.semaphore.count().unwrap() > 0 {
            self.semaphore.acquire(NOT_NOW).unwrap();
        }
        self.semaphore.release(1).unwrap();
        self.semaphore.acquire(NOT_NOW).unwrap();
        assert!(matches!(self.semaphore.acquire(NOT_NOW), Err(WaitError::TimedOut)));
    }
}
