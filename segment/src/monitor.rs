//! The monitor: one thread per member. It observes the death notifications of the other members, and its own end notifies them.
//!
//! The thread sleeps in the kernel on the notification words of all owners towards this member, on the count of joins (a join arms
//! new words) and on the bell of its desk, by which threads of the member give orders. A notification proves nothing [A5]: the monitor
//! starts a reaper, which waits in the kernel for the owner's lock.
//!
//! A death must need nothing that a process can lose: the descriptor through which the locks are asked for is opened when the monitor
//! starts, in a descriptor table of the monitor's own. Only the reaper is a new thread. If none can be started, the monitor asks for
//! the lock itself, at growing intervals of at most 0.1 s, and tries to start the reaper again each time. It also looks at such
//! intervals if `futex_waitv` is refused later. In every other state it never polls and uses no timeout.
//!
//! `futex_waitv` accepts 128 words. In a segment with more slots a member has several such threads; the first owns the robust
//! list.
//!
//! Several watchers observe the same death independently: each has its own notification word and clears only that, after the dead
//! member is recovered. If a watcher is killed before it clears its word, the next owner of its slot observes the word again.
//!
//! The proof single-steps this code: with `by_hand` no thread is started, and the thread that joined calls the monitor's rounds and
//! its reapers itself.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use rustix::io::Errno;
use rustix::thread::ClockId;
use rustix::thread::futex::{self, Flags, Timespec, Wait, WaitFlags, WaitPtr, WaitvFlags};
use tenure_core::mutant;

use crate::attachment::Attachment;
use crate::control::Control;
use crate::desk::{Absence, Lack, Order};
use crate::futex::Deadline;
use crate::member::{Core, Locks};
use crate::notifications::{Former, OWNER_DIED, RobustList, TID_MASK};
use crate::presence::Presence;
use crate::thread::{Thread, take_own_table};

/// Notification words that one thread waits for: 128 less the bell and the membership word.
const NOTIFICATIONS_PER_THREAD: u16 = 126;
/// Enough for `reclaim`: a monitor without a reaper recovers by itself.
const STACK: usize = 256 << 10;

/// The first and the longest pause before a monitor looks again at a slot for which it could not start a reaper.
const PAUSES: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(100));

/// Whether a member is notified of the death of others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MonitorState {
    /// The monitor runs: this member is notified of the death of others, and they of its death.
    Running,
    /// The monitor runs and lacks something. Instead of sleeping until the kernel reports a death it looks at intervals of at most
    /// 0.1 s, until what it lacks is back.
    Degraded(Absence),
    /// The monitor runs and cannot recover dead members, until what it lacks is back: then it does. Meanwhile
    /// `recover` of a member, and waits that depend on it, return the same reason.
    Failed(Absence),
    /// The monitor was requested and could not be started. Joins and `recover` of a member recover
    /// dead members.
    Unavailable(Absence),
    /// No monitor was requested, or the segment is private.
    Off,
}

/// The running threads.
pub(crate) struct Monitor {
    core: Arc<Core>,
    threads: Vec<Thread>,
    /// A thread tells that the member lives; otherwise the member itself has to.
    pub(crate) has_presence: bool,
    /// Used instead of the threads when the proof plays the monitor.
    by_hand: Option<Watcher>,
}

impl Monitor {
    /// Starts the threads. When this returns, our own notification words are armed.
    ///
    /// `locks` are those of the caller, for a monitor that is played by hand. Threads open their own.
    ///
    /// # Safety
    ///
    /// `control` stays mapped until `stop` has returned.
    pub(crate) unsafe fn start(
        core: &Arc<Core>,
        control: Control<'static>,
        attachment: &Arc<Attachment>,
        locks: &Arc<Locks>,
    ) -> Result<Self, Absence> {
        waitv_works()?;
        let members = control.plan().members;
        let mut list = Some(RobustList::new(members).map_err(|error| no_list(&error))?);
        let mut monitor =
            Self { core: Arc::clone(core), threads: Vec::new(), has_presence: false, by_hand: None };
        let (ready, started) = mpsc::channel();
        for first in (0..members).step_by(NOTIFICATIONS_PER_THREAD.into()) {
            let slots = first..members.min(first + NOTIFICATIONS_PER_THREAD);
            let mut watcher = Watcher::new(core, control, slots, list.take());
            if core.by_hand {
                watcher.locks = Some(Arc::clone(locks));
                watcher.attachment = Some(Arc::clone(attachment));
                // SAFETY: `control` stays mapped until `stop`, which withdraws the list; the watcher owns the list.
                unsafe { watcher.arm() }?;
                monitor.by_hand = Some(watcher);
                return Ok(monitor);
            }
            let (ready, attachment) = (ready.clone(), Arc::clone(attachment));
            let thread = Thread::start(c"tenure-monitor", STACK, move || {
                let result = watcher.equip(&attachment).and_then(|()| {
                    // SAFETY: as above; `stop` joins the thread, which withdraws the list before it ends.
                    unsafe { watcher.arm() }?;
                    Ok(watcher.presence.is_some())
                });
                let core = Arc::clone(&watcher.core);
                let open = (first == 0 && result.is_ok()).then(|| core.desk.open());
                let is_armed = result.is_ok();
                // Before the caller goes on, which has another reference: a descriptor must not be closed by this thread, which has
                // another table.
                drop(attachment);
                let _ = ready.send(result);
                if is_armed {
                    watcher.watch();
                    watcher.withdraw();
                }
                drop(open);
            });
            match thread {
                Ok(thread) => monitor.threads.push(thread),
                Err(error) => {
                    monitor.stop();
                    return Err(Absence::Thread { errno: error.raw_os_error().unwrap_or(0) });
                }
            }
        }
        drop(ready);
        for _ in 0..monitor.threads.len() {
            let result = started.recv().unwrap_or(Err(Absence::Thread { errno: 0 }));
            match result {
                Ok(has_presence) => monitor.has_presence |= has_presence,
                Err(absence) => {
                    monitor.stop();
                    return Err(absence);
                }
            }
        }
        Ok(monitor)
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
        self.core.desk.stop();
        for thread in self.threads {
            thread.join();
        }
        if let Some(mut watcher) = self.by_hand {
            watcher.withdraw();
        }
    }
}

/// Whether `futex_waitv` exists and is permitted.
fn waitv_works() -> Result<(), Absence> {
    match futex::waitv(&[], WaitvFlags::empty(), None, ClockId::Monotonic) {
        Err(Errno::INVAL) | Ok(_) => Ok(()),
        Err(error) => Err(Absence::FutexWaitv { errno: error.raw_os_error() }),
    }
}

fn no_list(error: &std::io::Error) -> Absence {
    Absence::RobustList { errno: error.raw_os_error().unwrap_or(0) }
}

/// What a look at a slot found.
struct Observed {
    /// The value to wait on, if the notification is armed.
    armed: Option<u32>,
    had_order: bool,
    /// What is missing if the slot has neither a reaper nor a proof.
    lack: Lack,
}

/// One monitor thread and the slots whose notifications it waits for.
struct Watcher {
    core: Arc<Core>,
    control: Control<'static>,
    slots: Range<u16>,
    /// Opened before the first round, so that a death needs no descriptor, no right and no path.
    locks: Option<Arc<Locks>>,
    /// Tells that this member lives. It goes with the thread.
    presence: Option<Presence>,
    /// To open the locks again. `None` in a descriptor table of the thread's own, where nobody closes them.
    attachment: Option<Arc<Attachment>>,
    /// Notifies the others of our own end. Only the first thread has it.
    list: Option<RobustList>,
    /// The list that the thread had before; `Some` while our notifications are armed.
    former: Option<Former>,
    /// The next pause, while some slot has neither a reaper nor a proof.
    pause: Duration,
}

impl Watcher {
    fn new(core: &Arc<Core>, control: Control<'static>, slots: Range<u16>, list: Option<RobustList>) -> Self {
        let core = Arc::clone(core);
        Self {
            core,
            control,
            slots,
            locks: None,
            presence: None,
            attachment: None,
            list,
            former: None,
            pause: PAUSES.0,
        }
    }

    /// Gives the calling thread and its reapers a descriptor table of their own, if the kernel permits, and opens the locks in it. They
    /// then count against no limit of the program, no child inherits them, and a program that closes all descriptors does not close
    /// them.
    fn equip(&mut self, attachment: &Arc<Attachment>) -> Result<(), Absence> {
        let has_own = attachment.lock.as_ref().is_some_and(|file| take_own_table(file.number()));
        // The last reference must go in the table of the program.
        self.attachment = (!has_own).then(|| Arc::clone(attachment));
        self.locks = Some(Arc::new(Locks::open(attachment)?));
        if has_own && self.slots.start == 0 {
            // Otherwise the join keeps its own, which is in the same table.
            self.presence = attachment.claim_presence();
        }
        Ok(())
    }

    /// If this is the first thread: arms our notifications, which the kernel signals when the calling thread ends.
    ///
    /// # Safety
    ///
    /// The watcher and the mapping of `control` live until the thread has ended or called `withdraw`.
    unsafe fn arm(&mut self) -> Result<(), Absence> {
        if let Some(list) = &self.list {
            // SAFETY: the caller's contract.
            let former = unsafe { list.enlist(self.control, self.core.id.index) };
            self.former = Some(former.map_err(|error| no_list(&error))?);
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

    /// Observes signalled notifications, then sleeps until another one is signalled, a member joins, a thread of the member gives an
    /// order, or `until` has passed. Returns false once the monitor is stopped.
    fn round(&mut self, waits: &mut Vec<Wait>, until: Option<&Timespec>) -> bool {
        let core = Arc::clone(&self.core);
        if let (Some(attachment), Some(locks)) = (&self.attachment, &mut self.locks)
            && locks.check(core.id.index).is_err()
            && let Ok(again) = Locks::open(attachment)
        {
            *locks = Arc::new(again);
        }
        let Some(locks) = self.locks.clone() else { return false };
        // Acquire: pairs with the Release in `announce`; words armed before that join are seen armed below. A later join changes the
        // count, and the wait below returns at once.
        let membership = self.control.membership();
        let joins = membership.load(Ordering::Acquire);
        // Acquire: pairs with the Release of whoever gives an order. A later order changes the value, and the wait below returns at
        // once.
        let orders = core.desk.bell.load(Ordering::Acquire);
        if core.desk.is_stopped() {
            return false;
        }
        waits.clear();
        waits.push(wait(&core.desk.bell, orders, WaitFlags::PRIVATE));
        waits.push(wait(membership, joins, WaitFlags::empty()));
        let mut lack = locks.check(core.id.index).map_or_else(Lack::Failed, |()| Lack::Nothing);
        let (mut is_due, mut has_orders) = (false, false);
        for j in self.slots.clone().map(|j| j as u8).filter(|j| *j != core.id.index) {
            let Observed { armed, had_order, lack: lacks } = self.observe(&locks, j);
            is_due |= lacks != Lack::Nothing;
            has_orders |= had_order;
            lack = lack.or(lacks);
            if let Some(armed) = armed {
                waits.push(wait(self.control.notification(j, core.id.index), armed, WaitFlags::empty()));
            }
        }
        let waitv = waitv_works();
        lack = waitv.map_or_else(|absence| lack.or(Lack::Late(absence)), |()| lack);
        core.desk.set_lack(usize::from(self.slots.start / NOTIFICATIONS_PER_THREAD), lack);
        if self.slots.start == 0 {
            core.desk.serve(|| protected(|| core.sweep_by(&locks)));
        }
        if waitv.is_err() {
            // The kernel wakes this thread for orders only.
            let pause = Timespec { tv_sec: 0, tv_nsec: PAUSES.1.as_nanos() as i64 };
            match futex::wait(&core.desk.bell, Flags::PRIVATE, orders, Some(until.unwrap_or(&pause))) {
                Ok(()) | Err(Errno::AGAIN | Errno::INTR | Errno::TIMEDOUT) => {}
                Err(_) => std::thread::sleep(PAUSES.1),
            }
            return true;
        }
        let again = if is_due { Deadline::after(Some(self.pause)) } else { Deadline::NEVER };
        if is_due {
            self.pause = PAUSES.1.min(2 * self.pause);
        } else if !has_orders {
            // A reaper that was just started may fail as the one before did.
            self.pause = PAUSES.0;
        }
        // An error, for example of a sandbox that is new since the last look, ends the sleep; the next round looks again.
        let _ = futex::waitv(waits, WaitvFlags::empty(), until.or(again.time()), ClockId::Monotonic);
        true
    }

    /// Starts a reaper if the notification of slot `j` is signalled, or if there is an order to.
    fn observe(&self, locks: &Arc<Locks>, j: u8) -> Observed {
        let notification = self.control.notification(j, self.core.id.index);
        // Acquire: pairs with the Release in `arm`; once the word is seen armed, the owner's lease is seen LIVE.
        let said = notification.load(Ordering::Acquire);
        let is_signalled = said & OWNER_DIED != 0;
        let order = self.core.desk.take_order(j);
        // The word stays signalled until the dead member is recovered. If we die before that, the next owner of our slot observes it.
        if is_signalled && mutant!("segment.observe.cleared_before_recovered") {
            notification.store(0, Ordering::Relaxed);
        }
        let lack = if is_signalled || order.is_some() { self.see_to(locks, j, order) } else { Lack::Nothing };
        let armed = (!is_signalled && said & TID_MASK != 0).then_some(said);
        Observed { armed, had_order: order.is_some(), lack }
    }

    /// Starts a reaper for slot `j`. Without one, recovers the slot now if its owner is gone already.
    fn see_to(&self, locks: &Arc<Locks>, j: u8, order: Option<Order>) -> Lack {
        let missing = if let Some(Order::Failed(absence)) = order {
            absence
        } else {
            // A reaper that cannot ask for the lock would only end again.
            match locks.check(j).and_then(|()| send_reaper(&self.core, locks, j)) {
                Ok(()) => return Lack::Nothing,
                Err(absence) => absence,
            }
        };
        let lack = match protected(|| self.core.reap_now(locks, j)) {
            Ok(true) => return Lack::Nothing,
            Ok(false) => Lack::Late(missing),
            Err(absence) => Lack::Failed(absence),
        };
        self.core.desk.give_back(j);
        lack
    }
}

/// Runs a recovery. A panic in the caller's `reclaim` must not end the thread: with it would end what notifies others of our death.
fn protected<T>(recover: impl FnOnce() -> Result<T, Absence>) -> Result<T, Absence> {
    catch_unwind(AssertUnwindSafe(recover)).unwrap_or(Err(Absence::Locks { errno: libc::ENOTRECOVERABLE }))
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
///
/// The reaper drops `locks` in the descriptor table of the calling thread, which it shares.
fn send_reaper(core: &Arc<Core>, locks: &Arc<Locks>, j: u8) -> Result<(), Absence> {
    // AcqRel: pairs with the CAS to zero in `reap_one`: either the reaper sees this signal, or we see that it has ended.
    if core.signals[usize::from(j)].fetch_add(1, Ordering::AcqRel) != 0 {
        return Ok(());
    }
    if core.by_hand {
        reap_one(core, locks, j);
        return Ok(());
    }
    let (core_twin, locks_twin) = (Arc::clone(core), Arc::clone(locks));
    Thread::start(c"tenure-reaper", STACK, move || reap_one(&core_twin, &locks_twin, j)).map(drop).map_err(
        |error| {
            // Relaxed: the count is nonzero and has no reaper, so that no other thread resets it.
            core.signals[usize::from(j)].store(0, Ordering::Relaxed);
            Absence::Thread { errno: error.raw_os_error().unwrap_or(0) }
        },
    )
}

/// For a member without a monitor thread: starts a reaper for slot `j`, unless it has one.
pub(crate) fn attend(
    core: &Arc<Core>,
    open: impl FnOnce() -> Result<Arc<Locks>, Absence>,
    j: u8,
) -> Result<(), Absence> {
    // Relaxed: a hint. An existing reaper waits for the same lock.
    if core.signals[usize::from(j)].load(Ordering::Relaxed) != 0 {
        return Ok(());
    }
    let locks = open()?;
    // Now rather than by the reaper, which nobody asks for the outcome.
    locks.check(j)?;
    send_reaper(core, &locks, j)
}

fn reap_one(core: &Core, locks: &Locks, j: u8) {
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
        let failed = core.reap(locks, j).err();
        // AcqRel: as above.
        if signals.0.compare_exchange(before, 0, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            if let Some(why) = failed {
                core.desk.report_failed(j, why);
            }
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::{Creation, private};
    use crate::data_area::DataArea;
    use crate::header::Header;
    use crate::layout::{Plan, mixed_hash};
    use crate::lock;
    use crate::member::Reclaim;
    use crate::name::Backend;
    use crate::permissions::Permissions;
    use crate::segment::Spec;
    use rustix::fs::{Mode, OFlags};
    use tenure_core::{LeaseId, Recovery};

    struct Nothing;

    impl Reclaim for Nothing {
        fn reclaim(&self, _: DataArea<'_>, _: &Recovery) {}
    }

    /// Gives `test` the monitor of slot 0 of four, played by hand, with these locks.
    fn with_watcher(locks: Locks, test: impl FnOnce(&mut Watcher)) {
        let spec = Spec {
            members: 4,
            data_area_bytes: 4096,
            geometry: [0; 8],
            layout_hash: 5,
            commit: Vec::new(),
            permissions: Permissions::default(),
        };
        let header = Header {
            plan: Plan::new(4, 4096).unwrap(),
            geometry: [0; 8],
            layout_hash: mixed_hash(5),
            creation_id: 1,
            backend: Backend::Private.code(),
            shmid: 0,
        };
        let attachment = private::create(&mut Creation { header, spec: &spec, init: &mut |_| () }).unwrap();
        // SAFETY: the mapping has the plan's length and outlives the watcher.
        let control: Control<'static> = unsafe { Control::over(attachment.read_only.base(), header.plan) };
        let id = LeaseId { index: 0, incarnation: 1 };
        // SAFETY: the mapping outlives the core; nobody else uses the memory.
        let core = Arc::new(unsafe { Core::new(id, Arc::new(Nothing), control, true) });
        let mut watcher = Watcher::new(&core, control, 0..4, None);
        watcher.locks = Some(Arc::new(locks));
        test(&mut watcher);
        core.close_gate(|_| ());
    }

    fn play(watcher: &mut Watcher, rounds: u32) {
        for _ in 0..rounds {
            let now = Timespec { tv_sec: 0, tv_nsec: 0 };
            assert!(watcher.round(&mut Vec::new(), Some(&now)));
        }
    }

    #[test]
    fn reapers_that_fail_are_started_at_growing_intervals() {
        if waitv_works().is_err() {
            return println!("SKIPPED: futex_waitv is refused here");
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        // Through it the kernel tells of locks, and refuses to grant one for reading.
        let deaf = std::fs::OpenOptions::new().write(true).open(file.path()).unwrap();
        with_watcher(Locks::over(deaf.into(), file.as_file()), |watcher| {
            watcher.core.desk.order_reaper(1);
            play(watcher, 40);
            assert_eq!(watcher.pause, PAUSES.1);
            let refused = Absence::Locks { errno: libc::EBADF };
            assert_eq!(watcher.core.desk.lack(), Lack::Failed(refused));
        });
    }

    #[test]
    fn no_reaper_is_started_while_the_locks_are_out_of_reach() {
        if waitv_works().is_err() {
            return println!("SKIPPED: futex_waitv is refused here");
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = rustix::fs::open(file.path(), OFlags::PATH, Mode::empty()).unwrap();
        with_watcher(Locks::over(path, file.as_file()), |watcher| {
            watcher.core.desk.order_reaper(1);
            play(watcher, 1);
            // A reaper would have failed, and said so.
            assert_eq!(watcher.core.desk.take_order(1), Some(Order::Reaper));
        });
    }

    #[test]
    fn what_a_reaper_failed_by_is_said() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let (owner, locks) = (file.reopen().unwrap(), file.reopen().unwrap());
        assert!(lock::try_write(&owner, 1).unwrap());
        with_watcher(Locks::over(locks.into(), file.as_file()), |watcher| {
            let why = Absence::Locks { errno: libc::EIO };
            watcher.core.desk.report_failed(1, why);
            play(watcher, 1);
            assert_eq!(watcher.core.desk.lack(), Lack::Late(why));
        });
    }
}
