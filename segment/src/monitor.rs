//! The monitor: a thread per member that hears of the death of others, and is heard when its own process dies.
//!
//! It waits for the notifications that the others own towards it, for joins (which arm notifications), and for its own end; it polls
//! nothing and knows no clock. A notification proves nothing [A5]: the reaper that it sends waits for the lock.
//!
//! `futex_waitv` takes 128 words. A member of a segment with more slots has more than one such thread; the first owns
//! the robust list.
//!
//! Two that hear one death, one of them killed: nothing is handed over. Each watcher has a notification of its own, silences only that, after
//! the dead is recovered, and the next owner of its slot hears again what it had not silenced.
//!
//! The proof steps through all this in a thread of its own: by hand there is one monitor, which is played by whoever joined,
//! round by round, and so are its reapers.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;

use rustix::io::Errno;
use rustix::thread::futex::{self, Flags, Timespec, Wait, WaitFlags, WaitPtr, WaitvFlags};

use crate::control::Control;
use crate::fault;
use crate::member::Core;
use crate::notifications::{Former, OWNER_DIED, RobustList, TID_MASK};
use crate::thread::Thread;

/// Notifications that one thread waits for: 128 words less the stop word and the membership.
const NOTIFICATIONS_PER_THREAD: u16 = 126;
const MONITOR_STACK: usize = 64 << 10;
const REAPER_STACK: usize = 256 << 10;

/// How a member learns of the death of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MonitorState {
    /// A monitor listens, and makes our own death heard.
    Running,
    /// A monitor was asked for and could not be had: the dead are recovered by joins and by
    /// [`Lease::recover`](crate::Lease::recover).
    Unavailable(Absence),
    /// No monitor was asked for, or the segment is private.
    Off,
}

/// Why there is no monitor.
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
pub(crate) struct Monitor {
    stop: Arc<AtomicU32>,
    threads: Vec<Thread>,
    /// In place of the threads.
    by_hand: Option<Watcher>,
}

impl Monitor {
    /// Starts the threads; our own notifications are armed when this returns.
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
        let no_list = |error: io::Error| Absence::RobustList { errno: errno(&error) };
        let members = control.plan().members;
        let list = RobustList::new(members).map_err(no_list)?;
        let mut list = Some(list);
        let mut monitor = Self { stop: Arc::new(AtomicU32::new(0)), threads: Vec::new(), by_hand: None };
        let (ready, armed) = mpsc::channel();
        for first in (0..members).step_by(NOTIFICATIONS_PER_THREAD.into()) {
            let slots = first..members.min(first + NOTIFICATIONS_PER_THREAD);
            let mut watcher = Watcher::new(core, control, &monitor.stop, slots, list.take());
            if core.by_hand {
                // SAFETY: `control` stays until `stop`, which withdraws; the watcher owns the list.
                unsafe { watcher.arm() }.map_err(no_list)?;
                monitor.by_hand = Some(watcher);
                return Ok(monitor);
            }
            let ready = ready.clone();
            let started = Thread::start(c"tenure-monitor", MONITOR_STACK, move || {
                // SAFETY: as above; `stop` waits for the thread, which withdraws before it ends.
                let result = unsafe { watcher.arm() };
                let is_armed = result.is_ok();
                if first == 0 {
                    let _ = ready.send(result);
                }
                if is_armed {
                    watcher.watch();
                    watcher.withdraw();
                }
            });
            match started {
                Ok(thread) => monitor.threads.push(thread),
                Err(error) => {
                    monitor.stop();
                    return Err(Absence::Thread { errno: errno(&error) });
                }
            }
        }
        drop(ready);
        match armed.recv() {
            Ok(Ok(())) => Ok(monitor),
            Ok(Err(error)) => {
                monitor.stop();
                Err(no_list(error))
            }
            Err(_) => {
                monitor.stop();
                Err(Absence::Thread { errno: 0 })
            }
        }
    }

    /// Where the monitor is played by hand: hears what rang, and looks whether anything else did.
    pub(crate) fn play_round(&mut self) {
        if let Some(watcher) = &mut self.by_hand {
            watcher
                .round(&mut Vec::with_capacity(watcher.words()), Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
        }
    }

    /// Ends the threads and waits for them. Reapers that are parked stay parked: they hold nothing of the member.
    pub(crate) fn stop(self) {
        // Release: pairs with the Acquire in `watch`; what the caller did before is seen by the thread that ends.
        self.stop.store(1, Ordering::Release);
        let _ = futex::wake(&self.stop, Flags::PRIVATE, i32::MAX as u32);
        for thread in self.threads {
            thread.join();
        }
        if let Some(mut watcher) = self.by_hand {
            watcher.withdraw();
        }
    }
}

/// One monitor thread: the notifications of some slots.
struct Watcher {
    core: Arc<Core>,
    control: Control<'static>,
    stop: Arc<AtomicU32>,
    slots: Range<u16>,
    /// Of the first one: what makes our own end heard.
    list: Option<RobustList>,
    /// Which list its thread had before; there is one while the notifications are armed.
    former: Option<Former>,
}

impl Watcher {
    fn new(
        core: &Arc<Core>,
        control: Control<'static>,
        stop: &Arc<AtomicU32>,
        slots: Range<u16>,
        list: Option<RobustList>,
    ) -> Self {
        let (core, stop) = (Arc::clone(core), Arc::clone(stop));
        Self { core, control, stop, slots, list, former: None }
    }

    /// Arms our notifications for the end of the calling thread, if we have the list.
    ///
    /// # Safety
    ///
    /// The watcher and the mapping of `control` outlive the thread, or `withdraw`.
    unsafe fn arm(&mut self) -> io::Result<()> {
        if let Some(list) = &self.list {
            // SAFETY: passed on.
            self.former = Some(unsafe { list.enlist(self.control, self.core.id.index)? });
        }
        Ok(())
    }

    /// Silences them again; by the thread that armed them.
    fn withdraw(&mut self) {
        if let (Some(list), Some(former)) = (&self.list, self.former.take()) {
            list.withdraw(&former, self.control, self.core.id.index);
        }
    }

    /// How many words it waits for at most.
    fn words(&self) -> usize {
        self.slots.len() + 2
    }

    fn watch(&mut self) {
        let mut waits = Vec::with_capacity(self.words());
        while self.round(&mut waits, None) {}
    }

    /// Hears what rang, then sleeps until something else does, somebody joins, it is time to stop, or it is late. False: it is
    /// over.
    fn round(&mut self, waits: &mut Vec<Wait>, until: Option<&Timespec>) -> bool {
        // Acquire: pairs with the Release in `join`; the notifications armed before a join are seen below, and a join after
        // this load changes the word, so that waiting for it fails at once.
        let membership = self.control.membership();
        let joins = membership.load(Ordering::Acquire);
        // Acquire: pairs with the Release in `stop`.
        if self.stop.load(Ordering::Acquire) != 0 {
            return false;
        }
        waits.clear();
        waits.push(wait(&self.stop, 0, WaitFlags::PRIVATE));
        waits.push(wait(membership, joins, WaitFlags::empty()));
        for j in self.slots.clone().map(|j| j as u8).filter(|j| *j != self.core.id.index) {
            if let Some(armed) = self.observe(j) {
                waits.push(wait(self.control.notification(j, self.core.id.index), armed, WaitFlags::empty()));
            }
        }
        match futex::waitv(waits, WaitvFlags::empty(), until, rustix::thread::ClockId::Monotonic) {
            Ok(_) | Err(Errno::AGAIN | Errno::INTR | Errno::TIMEDOUT) => true,
            // The kernel cannot do it any more. Without a monitor there is still every join and every `recover`.
            Err(_) => {
                self.wait_for_stop();
                false
            }
        }
    }

    /// Answers the notification of slot `j` if it rang. The value is what an armed notification says.
    fn observe(&self, j: u8) -> Option<u32> {
        let notification = self.control.notification(j, self.core.id.index);
        // Acquire: pairs with the Release of the owner that armed it; its lease is LIVE in our eyes as well.
        let said = notification.load(Ordering::Acquire);
        if said & OWNER_DIED == 0 {
            return (said & TID_MASK != 0).then_some(said);
        }
        // It stays rung until the dead is recovered: should we end before that, the next owner of our slot hears it too.
        if fault!("segment.observe.cleared_before_recovered") {
            notification.store(0, Ordering::Relaxed);
        }
        send_reaper(&self.core, j);
        None
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

/// At most one reaper per slot: a new owner may have the lock before the reaper asks for it, which parks it
/// until that owner is gone; one parked thread per slot is harmless, one per death is not.
fn send_reaper(core: &Arc<Core>, j: u8) {
    // AcqRel: pairs with the reaper's exchange to zero; either it sees this ring, or we see it gone.
    if core.signals[usize::from(j)].fetch_add(1, Ordering::AcqRel) != 0 {
        return;
    }
    if core.by_hand {
        return reap_one(core, j);
    }
    let twin = Arc::clone(core);
    if Thread::start(c"tenure-reaper", REAPER_STACK, move || reap_one(&twin, j)).is_err() {
        // Relaxed: nobody else takes the slot from nonzero to zero now. The dead wait for the next join or `recover`.
        core.signals[usize::from(j)].store(0, Ordering::Relaxed);
        core.sweep();
    }
}

/// One reaper for slot `j`, unless it has one: he waits for its owner's end, whether or not somebody rings.
pub(crate) fn attend(core: &Arc<Core>, j: u8) {
    // Relaxed: a look; whoever is there waits for the same lock.
    if core.signals[usize::from(j)].load(Ordering::Relaxed) == 0 {
        send_reaper(core, j);
    }
}

fn reap_one(core: &Core, j: u8) {
    /// A panic in the caller's `reclaim` must not leave the slot without reapers for ever.
    struct Retire<'a>(&'a AtomicU32);
    impl Drop for Retire<'_> {
        fn drop(&mut self) {
            if std::thread::panicking() {
                // Relaxed: as in `send_reaper`.
                self.0.store(0, Ordering::Relaxed);
            }
        }
    }
    let signals = Retire(&core.signals[usize::from(j)]);
    loop {
        // Acquire: pairs with the AcqRel in `send_reaper`.
        let before = signals.0.load(Ordering::Acquire);
        let _ = core.reap(j);
        // AcqRel: as above.
        if signals.0.compare_exchange(before, 0, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            return;
        }
    }
}
