//! The doorbell: a thread per member that hears of the death of others, and is heard when its own process dies.
//!
//! It waits for the bells that the others own towards it, for joins (which arm bells), and for its own end; it polls
//! nothing and knows no clock. A bell proves nothing [A5]: the undertaker that it sends waits for the lock.
//!
//! `futex_waitv` takes 128 words. A member of a segment with more slots has more than one such thread; the first owns
//! the robust list.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;

use rustix::io::Errno;
use rustix::thread::futex::{self, Flags, Wait, WaitFlags, WaitPtr, WaitvFlags};

use crate::bells::{OWNER_DIED, RobustList, TID_MASK};
use crate::control::{Control, LeaseWord};
use crate::id::LeaseId;
use crate::member::Core;
use crate::thread::Thread;

/// Bells that one thread waits for: 128 words less the stop word and the membership.
const BELLS_PER_THREAD: u16 = 126;
const GUARDIAN_STACK: usize = 64 << 10;
const UNDERTAKER_STACK: usize = 256 << 10;

/// How a member learns of the death of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doorbell {
    /// A guardian listens, and makes our own death heard.
    Guardian,
    /// A guardian was asked for and could not be had: the dead are recovered by joins and by
    /// [`Lease::recover`](crate::Lease::recover).
    Absent(Absence),
    /// No guardian was asked for, or the segment is private.
    Off,
}

/// Why there is no guardian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absence {
    /// The kernel is older than 5.16, or a sandbox denies `futex_waitv`.
    FutexWaitv {
        /// The answer.
        errno: i32,
    },
    /// The robust list could not be set up.
    RobustList {
        /// The answer.
        errno: i32,
    },
    /// No thread could be started.
    Thread {
        /// The answer.
        errno: i32,
    },
}

/// The running threads.
pub(crate) struct Guardian {
    stop: Arc<AtomicU32>,
    threads: Vec<Thread>,
}

impl Guardian {
    /// Starts the threads; our own bells are armed when this returns.
    ///
    /// # Safety
    ///
    /// `control` stays mapped until `stop` has returned.
    pub(crate) unsafe fn start(core: &Arc<Core>, control: Control<'static>) -> Result<Self, Absence> {
        let errno = |error: &io::Error| error.raw_os_error().unwrap_or(0);
        match futex::waitv(&[], WaitvFlags::empty(), None, rustix::thread::ClockId::Monotonic) {
            Err(Errno::INVAL) | Ok(_) => {}
            Err(error) => return Err(Absence::FutexWaitv { errno: error.raw_os_error() }),
        }
        let list =
            RobustList::new(control.plan().members).map_err(|e| Absence::RobustList { errno: errno(&e) })?;
        let mut list = Some(list);
        let mut guardian = Self { stop: Arc::new(AtomicU32::new(0)), threads: Vec::new() };
        let (ready, enlisted) = mpsc::channel();
        let members = control.plan().members;
        for first in (0..members).step_by(BELLS_PER_THREAD.into()) {
            let watcher = Watcher {
                core: Arc::clone(core),
                control,
                stop: Arc::clone(&guardian.stop),
                slots: first..members.min(first + BELLS_PER_THREAD),
            };
            let (list, ready) = (list.take(), ready.clone());
            let started = Thread::start(c"tenure-guardian", GUARDIAN_STACK, move || match list {
                // SAFETY: the list moves into the closure, and `control` stays until the thread was joined.
                Some(list) => match unsafe { list.enlist(watcher.control, watcher.core.id.index) } {
                    Ok(former) => {
                        let _ = ready.send(Ok(()));
                        watcher.watch();
                        list.withdraw(&former, watcher.control, watcher.core.id.index);
                    }
                    Err(error) => drop(ready.send(Err(error))),
                },
                None => watcher.watch(),
            });
            match started {
                Ok(thread) => guardian.threads.push(thread),
                Err(error) => {
                    guardian.stop();
                    return Err(Absence::Thread { errno: errno(&error) });
                }
            }
        }
        drop(ready);
        match enlisted.recv() {
            Ok(Ok(())) => Ok(guardian),
            Ok(Err(error)) => {
                guardian.stop();
                Err(Absence::RobustList { errno: errno(&error) })
            }
            Err(_) => {
                guardian.stop();
                Err(Absence::Thread { errno: 0 })
            }
        }
    }

    /// Ends the threads and waits for them. Undertakers that are parked stay parked: they hold nothing of the member.
    pub(crate) fn stop(self) {
        // Release: pairs with the Acquire in `watch`; what the caller did before is seen by the thread that ends.
        self.stop.store(1, Ordering::Release);
        let _ = futex::wake(&self.stop, Flags::PRIVATE, i32::MAX as u32);
        for thread in self.threads {
            thread.join();
        }
    }
}

/// One guardian thread: the bells of some slots.
struct Watcher {
    core: Arc<Core>,
    control: Control<'static>,
    stop: Arc<AtomicU32>,
    slots: Range<u16>,
}

impl Watcher {
    fn watch(&self) {
        let mut waits = Vec::with_capacity(usize::from(BELLS_PER_THREAD) + 2);
        // The epoch with which each slot was last seen dirty; zero: never.
        let mut seen = vec![0; self.slots.len()];
        loop {
            // Acquire: pairs with the Release in `join`; the bells armed before a join are seen below, and a join after
            // this load changes the word, so that waiting for it fails at once.
            let membership = self.control.membership();
            let joins = membership.load(Ordering::Acquire);
            // Acquire: pairs with the Release in `stop`.
            if self.stop.load(Ordering::Acquire) != 0 {
                return;
            }
            waits.clear();
            waits.push(wait(&self.stop, 0, WaitFlags::PRIVATE));
            waits.push(wait(membership, joins, WaitFlags::empty()));
            for (slot, seen) in self.slots.clone().zip(&mut seen) {
                let j = slot as u8;
                if j == self.core.id.index {
                    continue;
                }
                if let Some(armed) = self.hear(j) {
                    waits.push(wait(self.control.bell(j, self.core.id.index), armed, WaitFlags::empty()));
                }
                self.compare_epoch(j, seen);
            }
            match futex::waitv(&waits, WaitvFlags::empty(), None, rustix::thread::ClockId::Monotonic) {
                Ok(_) | Err(Errno::AGAIN | Errno::INTR) => {}
                // The kernel cannot do it any more. Without a doorbell there is still every join and every `recover`.
                Err(_) => return self.wait_for_stop(),
            }
        }
    }

    /// Answers the bell of slot `j` if it rang. The value is what an armed bell says.
    fn hear(&self, j: u8) -> Option<u32> {
        let bell = self.control.bell(j, self.core.id.index);
        // Acquire: pairs with the Release of the owner that armed it; its lease is LIVE in our eyes as well.
        let said = bell.load(Ordering::Acquire);
        if said & OWNER_DIED == 0 {
            return (said & TID_MASK != 0).then_some(said);
        }
        // It stays rung until the dead is buried: should we end before that, the next owner of our slot hears it too.
        send_undertaker(&self.core, j);
        None
    }

    /// A death whose bell was armed again by the next owner before we heard it: that owner has recovered it.
    fn compare_epoch(&self, j: u8, seen: &mut u64) {
        // Acquire: pairs with the Release of the recoverer; what it freed is free in the eyes of those we wake.
        let word = LeaseWord(self.control.lease(j).load(Ordering::Acquire));
        let current = if word.is_dirty() { word.epoch() } else { 0 };
        let before = std::mem::replace(seen, current);
        if before != 0 && before != current {
            self.core.reclaim.ended(LeaseId { index: j, epoch: before });
        }
    }

    fn wait_for_stop(&self) {
        // Acquire: pairs with the Release in `stop`.
        while self.stop.load(Ordering::Acquire) == 0 {
            let _ = futex::wait(&self.stop, Flags::PRIVATE, 0, None);
        }
    }
}

fn wait(word: &AtomicU32, value: u32, flags: WaitFlags) -> Wait {
    let mut wait = Wait::new();
    wait.val = value.into();
    wait.uaddr = WaitPtr::new(word.as_ptr().cast());
    wait.flags = WaitFlags::SIZE_U32 | flags;
    wait
}

/// At most one undertaker per slot: a new owner may have the lock before the undertaker asks for it, which parks it
/// until that owner is gone; one parked thread per slot is harmless, one per death is not.
fn send_undertaker(core: &Arc<Core>, j: u8) {
    // AcqRel: pairs with the undertaker's exchange to zero; either it sees this ring, or we see it gone.
    if core.rings[usize::from(j)].fetch_add(1, Ordering::AcqRel) != 0 {
        return;
    }
    let twin = Arc::clone(core);
    if Thread::start(c"tenure-undertake", UNDERTAKER_STACK, move || undertake(&twin, j)).is_err() {
        // Relaxed: nobody else takes the slot from nonzero to zero now. The dead wait for the next join or `recover`.
        core.rings[usize::from(j)].store(0, Ordering::Relaxed);
        core.sweep();
    }
}

/// One undertaker for slot `j`, unless it has one: he waits for its owner's end, whether or not somebody rings.
pub(crate) fn attend(core: &Arc<Core>, j: u8) {
    // Relaxed: a look; whoever is there waits for the same lock.
    if core.rings[usize::from(j)].load(Ordering::Relaxed) == 0 {
        send_undertaker(core, j);
    }
}

fn undertake(core: &Core, j: u8) {
    /// A panic in the caller's `reclaim` must not leave the slot without undertakers for ever.
    struct Retire<'a>(&'a AtomicU32);
    impl Drop for Retire<'_> {
        fn drop(&mut self) {
            if std::thread::panicking() {
                // Relaxed: as in `send_undertaker`.
                self.0.store(0, Ordering::Relaxed);
            }
        }
    }
    let rings = Retire(&core.rings[usize::from(j)]);
    loop {
        // Acquire: pairs with the AcqRel in `send_undertaker`.
        let before = rings.0.load(Ordering::Acquire);
        let _ = core.bury(j);
        // AcqRel: as above.
        if rings.0.compare_exchange(before, 0, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            return;
        }
    }
}
