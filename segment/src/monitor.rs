//! The monitor: one thread per member. It observes the death notifications of the other members, and its own end notifies them.
//!
//! The thread sleeps in the kernel on the notification words of all owners towards this member, on the count of joins (a join arms
//! new words) and on its own stop word. It never polls and uses no timeout. A notification proves nothing [A5]: the monitor starts
//! a reaper, which waits for the owner's lock.
//!
//! `futex_waitv` accepts 128 words. In a segment with more slots a member has several such threads; the first owns the robust
//! list.
//!
//! Several watchers observe the same death independently: each has its own notification word and clears only that, after the dead
//! member is recovered. If a watcher is killed before it clears its word, the next owner of its slot observes the word again.
//!
//! The proof single-steps this code: with `by_hand` no thread is started, and the thread that joined calls the monitor's rounds and
//! its reapers itself.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;

use rustix::io::Errno;
use rustix::thread::futex::{self, Flags, Timespec, Wait, WaitFlags, WaitPtr, WaitvFlags};
use tenure_core::fault;

use crate::control::Control;
use crate::member::Core;
use crate::notifications::{Former, OWNER_DIED, RobustList, TID_MASK};
use crate::thread::Thread;

/// Notification words that one thread waits for: 128 less the stop word and the membership word.
const NOTIFICATIONS_PER_THREAD: u16 = 126;
const MONITOR_STACK: usize = 64 << 10;
const REAPER_STACK: usize = 256 << 10;

/// Whether a member's monitor runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MonitorState {
    /// The monitor runs: this member is notified of the death of others, and they of its death.
    Running,
    /// The monitor was requested and could not be started. Joins and [`Lease::recover`](crate::Lease::recover) recover dead
    /// members.
    Unavailable(Absence),
    /// No monitor was requested, or the segment is private.
    Off,
}

/// Why the monitor could not be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absence {
    /// The kernel is older than 5.16, or a sandbox denies `futex_waitv`.
    FutexWaitv {
        /// The kernel's error.
        errno: i32,
    },
    /// The robust list could not be set up.
    RobustList {
        /// The kernel's error.
        errno: i32,
    },
    /// No thread could be started.
    Thread {
        /// The error.
        errno: i32,
    },
}

/// The running threads.
pub(crate) struct Monitor {
    stop: Arc<AtomicU32>,
    threads: Vec<Thread>,
    /// Used instead of the threads when the proof plays the monitor.
    by_hand: Option<Watcher>,
}

impl Monitor {
    /// Starts the threads. When this returns, our own notification words are armed.
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
                // SAFETY: `control` stays mapped until `stop`, which withdraws the list; the watcher owns the list.
                unsafe { watcher.arm() }.map_err(no_list)?;
                monitor.by_hand = Some(watcher);
                return Ok(monitor);
            }
            let ready = ready.clone();
            let started = Thread::start(c"tenure-monitor", MONITOR_STACK, move || {
                // SAFETY: as above; `stop` joins the thread, which withdraws the list before it ends.
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

    /// One round of a monitor that is played by hand: observes signalled notifications, without sleeping.
    pub(crate) fn play_round(&mut self) {
        if let Some(watcher) = &mut self.by_hand {
            watcher
                .round(&mut Vec::with_capacity(watcher.words()), Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
        }
    }

    /// Stops the threads and joins them. Reapers that wait for a lock go on waiting: they hold nothing of the member.
    pub(crate) fn stop(self) {
        // Release: the thread sees everything that the caller did before; pairs with the Acquires in `round` and `wait_for_stop`.
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

/// One monitor thread and the slots whose notifications it waits for.
struct Watcher {
    core: Arc<Core>,
    control: Control<'static>,
    stop: Arc<AtomicU32>,
    slots: Range<u16>,
    /// Notifies the others of our own end. Only the first thread has it.
    list: Option<RobustList>,
    /// The list that the thread had before; `Some` while our notifications are armed.
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

    /// If this is the first thread: arms our notifications, which the kernel signals when the calling thread ends.
    ///
    /// # Safety
    ///
    /// The watcher and the mapping of `control` live until the thread has ended or called `withdraw`.
    unsafe fn arm(&mut self) -> io::Result<()> {
        if let Some(list) = &self.list {
            // SAFETY: the caller's contract.
            self.former = Some(unsafe { list.enlist(self.control, self.core.id.index)? });
        }
        Ok(())
    }

    /// Disarms our notifications. Called by the thread that armed them.
    fn withdraw(&mut self) {
        if let (Some(list), Some(former)) = (&self.list, self.former.take()) {
            list.withdraw(&former, self.control, self.core.id.index);
        }
    }

    /// The most words that the thread waits for at once.
    fn words(&self) -> usize {
        self.slots.len() + 2
    }

    fn watch(&mut self) {
        let mut waits = Vec::with_capacity(self.words());
        while self.round(&mut waits, None) {}
    }

    /// Observes signalled notifications, then sleeps until another one is signalled, a member joins, the monitor is stopped, or
    /// `until` has passed. Returns false once the monitor is stopped.
    fn round(&mut self, waits: &mut Vec<Wait>, until: Option<&Timespec>) -> bool {
        // Acquire: pairs with the Release in `announce`; words armed before that join are seen armed below. A later join changes the
        // count, and the wait below returns at once.
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
            // `futex_waitv` stopped working (a new sandbox). Joins and `recover` still recover the dead.
            Err(_) => {
                self.wait_for_stop();
                false
            }
        }
    }

    /// Starts a reaper if the notification of slot `j` is signalled. If it is armed, returns the value to wait on.
    fn observe(&self, j: u8) -> Option<u32> {
        let notification = self.control.notification(j, self.core.id.index);
        // Acquire: pairs with the Release in `arm`; once the word is seen armed, the owner's lease is seen LIVE.
        let said = notification.load(Ordering::Acquire);
        if said & OWNER_DIED == 0 {
            return (said & TID_MASK != 0).then_some(said);
        }
        // The word stays signalled until the dead member is recovered. If we die before that, the next owner of our slot observes it.
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

/// Starts a reaper for slot `j`, unless it has one. The slot's next owner may get the lock before the reaper requests it; the
/// reaper then blocks until that owner is gone. One blocked thread per slot is harmless, one per death would not be.
fn send_reaper(core: &Arc<Core>, j: u8) {
    // AcqRel: pairs with the CAS to zero in `reap_one`: either the reaper sees this signal, or we see that it has ended.
    if core.signals[usize::from(j)].fetch_add(1, Ordering::AcqRel) != 0 {
        return;
    }
    if core.by_hand {
        return reap_one(core, j);
    }
    let twin = Arc::clone(core);
    if Thread::start(c"tenure-reaper", REAPER_STACK, move || reap_one(&twin, j)).is_err() {
        // Relaxed: the count is nonzero and has no reaper, so that no other thread resets it. `sweep` recovers what is proved dead
        // now; the rest is left to the next join or `recover`.
        core.signals[usize::from(j)].store(0, Ordering::Relaxed);
        core.sweep();
    }
}

/// Starts a reaper for slot `j`, unless it has one. The reaper waits for the owner's end even if no notification comes.
pub(crate) fn attend(core: &Arc<Core>, j: u8) {
    // Relaxed: a hint. An existing reaper waits for the same lock.
    if core.signals[usize::from(j)].load(Ordering::Relaxed) == 0 {
        send_reaper(core, j);
    }
}

fn reap_one(core: &Core, j: u8) {
    /// Resets the count on a panic in the caller's `reclaim`; otherwise the slot would never get a reaper again.
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
