//! Joining. The order of the steps is the protocol: lock, pin, verify, recover, store LIVE, arm notifications, announce.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::thread::futex;
use tenure_core::sync::Ordering;
use tenure_core::{Acquire, LeaseId};

use crate::attachment::{Attachment, FileId, LockFile, MemberMapping};
use crate::control::{Control, LeaseWord};
use crate::desk::Absence;
use crate::error::JoinError;
use crate::fork_flag::ForkFlag;
use crate::fork_lock::NoForks;
use crate::host;
use crate::lease::Lease;
use crate::lock;
use crate::member::{self, Core, Locks, Reclaim};
use crate::monitor::{Monitor, MonitorState};
use crate::name::Backend;
use crate::process;

/// Options of a join.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JoinOptions {
    /// Start a monitor, which notifies this member of the death of others at once, and them of its death. It is a sleeping thread.
    pub monitor: bool,
    /// Start no monitor thread: [`Lease::play_monitor`] does its work. For the proof, which single-steps it.
    #[doc(hidden)]
    pub by_hand: bool,
}

impl JoinOptions {
    /// With a monitor, or without.
    #[must_use]
    pub const fn guarded(monitor: bool) -> Self {
        Self { monitor, by_hand: false }
    }
}

impl Default for JoinOptions {
    fn default() -> Self {
        Self::guarded(true)
    }
}

fn os(what: &'static str) -> impl FnOnce(io::Error) -> JoinError {
    move |source| JoinError::Os { what, source }
}

/// Takes the lowest free slot of `attachment`.
pub(crate) fn join(
    attachment: &Arc<Attachment>,
    options: JoinOptions,
    reclaim: Arc<dyn Reclaim>,
) -> Result<Lease, JoinError> {
    let flag = ForkFlag::new().map_err(os("map the fork flag"))?;
    let Some(file) = &attachment.lock else { return join_private(attachment, flag, reclaim) };
    let lost = || JoinError::LostDescriptor { place: attachment.place() };
    let denied = |source: io::Error| {
        let stat = file.probe().and_then(|fd| rustix::fs::fstat(fd).ok());
        match (source.kind(), stat) {
            (io::ErrorKind::PermissionDenied, Some(stat)) => JoinError::Denied {
                place: attachment.place(),
                owner: stat.st_uid,
                group: stat.st_gid,
                mode: stat.st_mode & 0o7777,
                uid: host::effective_uid(),
            },
            _ => os("reopen the segment")(source),
        }
    };

    let mut tries = 0;
    let (mut no_forks, fd, mapping, control, index) = loop {
        // A child forked before the descriptor is closed below would inherit it and keep the lock.
        let no_forks = NoForks::begin();
        let fd = file.fresh().map_err(denied)?.ok_or_else(lost)?;
        check_length(attachment, &fd)?;
        let mapping = attachment.map_for_member(&fd).map_err(os("map the segment for working"))?;
        // SAFETY: the mapping has the plan's length. The `Lease` owns both the view and the mapping, and does not use the view
        // after the mapping. Besides the `Lease`, only the monitor gets the view, and it is stopped before the mapping goes.
        let control: Control<'static> =
            unsafe { Control::over(mapping.memory.base(), attachment.header.plan) };
        let index = match claim_free(control, &fd)? {
            Some(index) => Some(index),
            None => claim(control, &fd)?,
        };
        if let Some(index) = index {
            break (no_forks, fd, mapping, control, index);
        }
        if tries == TRIES || !is_any_ending(control, &fd) {
            return Err(JoinError::Full { members: attachment.header.plan.members });
        }
        drop((mapping, fd, no_forks));
        pause(tries);
        tries += 1;
    };
    // In this order: either a creator that finds no file sees the lock, or the name was gone before and this join fails.
    let presence = attachment.claim_presence();
    check_file(attachment, file, &fd)?;

    // No return from here until forks are possible again: the drop of a withheld lock needs that.
    let presence = match (presence, &mut no_forks) {
        (Some(presence), Some(no_forks)) => Some(presence.withheld(no_forks)),
        (presence, _) => presence,
    };

    // From here on the mapping alone keeps the lock. File systems on which it does not are detected below.
    drop(fd);
    drop(no_forks);
    let owned = match file.probe() {
        Some(probe) => lock::is_owned(probe, index),
        None => lock::is_owned(file.fresh().map_err(denied)?.ok_or_else(lost)?, index),
    };
    if !owned.map_err(os("ask for our own lock"))? {
        return Err(JoinError::LockNotPinned { place: attachment.place() });
    }

    let no_locks = |absence: Absence| match absence {
        Absence::Locks { errno } => os("reopen the segment")(io::Error::from_raw_os_error(errno)),
        other => os("reopen the segment")(io::Error::other(other)),
    };
    let locks = Arc::new(Locks::open(attachment).map_err(no_locks)?);
    // SAFETY: we hold the write lock on byte `index`, and recover as the slot that we are taking.
    unsafe { member::recover(control, index, index, &*reclaim) };
    let id = go_live(control, index);

    // SAFETY: the mapping stays, and the lease is LIVE, until `Lease::leave` or its drop has closed the gate [lease-live-first].
    let core = Arc::new(unsafe { Core::new(id, reclaim, control, options.by_hand) });
    let (monitor, monitor_state) = if options.monitor {
        // SAFETY: the `Lease` stops the monitor before it unmaps.
        match unsafe { Monitor::start(&core, control, attachment, &locks) } {
            Ok(monitor) => (Some(monitor), MonitorState::Running),
            Err(absence) => (None, MonitorState::Unavailable(absence)),
        }
    } else {
        (None, MonitorState::Off)
    };
    announce(control);
    if core.sweep_by(&locks).is_ok_and(|recovered| recovered > 0) {
        // Wakes all monitors again after the recovery, for members that were not notified of it.
        announce(control);
    }
    // SAFETY: we made the lease LIVE, and no other process acts as it [lease-live-first].
    let acquire = unsafe { Acquire::assume(id) };
    let has_thread = monitor_state == MonitorState::Running && !options.by_hand;
    // A monitor thread has its own, which no other code closes.
    let kept = (!has_thread).then_some(locks);
    let presence = presence.filter(|_| !monitor.as_ref().is_some_and(|monitor| monitor.has_presence));
    let attachment = Arc::clone(attachment);
    Ok(Lease::new(
        acquire,
        attachment,
        core,
        control,
        flag,
        Some(mapping),
        (kept, presence),
        monitor,
        monitor_state,
    ))
}

/// Claims a slot in private memory. All members are in this process and end with it: no lock, no proof and no recovery is needed.
fn join_private(
    attachment: &Arc<Attachment>,
    flag: ForkFlag,
    reclaim: Arc<dyn Reclaim>,
) -> Result<Lease, JoinError> {
    debug_assert_eq!(attachment.backend, Backend::Private);
    // SAFETY: the mapping of private memory is writable, and the `Core` below keeps the attachment alive.
    let control: Control<'static> =
        unsafe { Control::over(attachment.read_only.base(), attachment.header.plan) };
    for index in control.slots() {
        let word = control.lease(index);
        // Acquire: pairs with the Release of the former owner that stored FREE.
        let found = LeaseWord(word.load(Ordering::Acquire));
        let live = LeaseWord::live(found.incarnation() + 1);
        if found.is_dirty() || found.incarnation() == LeaseWord::INCARNATION_MAX {
            continue;
        }
        // Acquire: as above. If another thread took the slot, try the next.
        if word.compare_exchange(found.0, live.0, Ordering::Acquire, Ordering::Relaxed).is_ok() {
            let id = LeaseId { index, incarnation: live.incarnation() };
            store_pid(control, index);
            // SAFETY: as in `join`.
            let core = Arc::new(unsafe { Core::new(id, reclaim, control, false) });
            // SAFETY: as in `join`.
            let acquire = unsafe { Acquire::assume(id) };
            return Ok(Lease::new(
                acquire,
                Arc::clone(attachment),
                core,
                control,
                flag,
                None::<MemberMapping>,
                (None, None),
                None,
                MonitorState::Off,
            ));
        }
    }
    Err(JoinError::Full { members: attachment.header.plan.members })
}

/// Locks the lowest FREE slot and returns it. `None` if there is none, or if other processes were locking the same slots.
///
/// A write lock excludes recoverers, so this takes it only on a slot that is FREE: a process that is stopped here does not delay
/// the recovery of a dead member. It first takes the read lock, under which the slot stays FREE, and the kernel then upgrades it
/// to the write lock in one step.
fn claim_free(control: Control<'_>, fd: &OwnedFd) -> Result<Option<u8>, JoinError> {
    // Acquire: pairs with the Release of the owner or recoverer that freed the slot.
    let word = |index| LeaseWord(control.lease(index).load(Ordering::Acquire));
    let is_free =
        |index: &u8| !word(*index).is_dirty() && word(*index).incarnation() < LeaseWord::INCARNATION_MAX;
    for index in control.slots().filter(is_free) {
        if !lock::try_read(fd, index).map_err(os("lock a lease"))? {
            continue;
        }
        if is_free(&index) && lock::try_write(fd, index).map_err(os("lock a lease"))? {
            return Ok(Some(index));
        }
        lock::unlock(fd, index).map_err(os("unlock a lease"))?;
    }
    Ok(None)
}

/// Locks the lowest slot whose write lock the kernel grants, and returns it. If its former owner is still to be recovered, the
/// caller does that as the new owner of this slot. A slot at its last incarnation, reached only by corruption, is skipped.
fn claim(control: Control<'_>, fd: &OwnedFd) -> Result<Option<u8>, JoinError> {
    for index in control.slots() {
        if !lock::try_write(fd, index).map_err(os("lock a lease"))? {
            continue;
        }
        // Acquire: pairs with the Release of the owner or recoverer that freed the slot.
        if LeaseWord(control.lease(index).load(Ordering::Acquire)).incarnation() < LeaseWord::INCARNATION_MAX
        {
            return Ok(Some(index));
        }
        lock::unlock(fd, index).map_err(os("unlock a lease"))?;
    }
    Ok(None)
}

/// How often a join looks again for a slot while the space is full and one of its members is ending.
const TRIES: u32 = 216;

/// A recovery in progress needs processor time, the kernel some milliseconds to take a process apart.
fn pause(tries: u32) {
    if tries < 16 {
        std::thread::yield_now();
    } else {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}

/// Whether a slot will be free in a moment although its lock was not granted. Either it has no owner, and members that
/// recover the former one, or other joins, hold read locks on it; or the process of its owner has ended, and the kernel still
/// keeps the memory, for a reader of its files in /proc for instance.
fn is_any_ending(control: Control<'_>, fd: &OwnedFd) -> bool {
    control.slots().any(|index| {
        // Relaxed, both: looked at again.
        let incarnation = LeaseWord(control.lease(index).load(Ordering::Relaxed)).incarnation();
        let pid = control.pid(index).load(Ordering::Relaxed);
        let is_over = |owned: bool| !owned || process::has_ended(pid as u32);
        incarnation < LeaseWord::INCARNATION_MAX && lock::is_owned(fd, index).is_ok_and(is_over)
    })
}

/// Checks that the descriptor still refers to the file that we opened, and that the file still has a name if it had one.
fn check_file(attachment: &Attachment, file: &LockFile, fd: &OwnedFd) -> Result<(), JoinError> {
    if FileId::of(fd).map_err(os("stat the segment"))? != file.id {
        return Err(JoinError::LostDescriptor { place: attachment.place() });
    }
    let links = rustix::fs::fstat(fd).map_err(|e| os("stat the segment")(e.into()))?.st_nlink;
    if file.path.is_some() && links == 0 {
        return Err(JoinError::Removed { place: attachment.place() });
    }
    Ok(())
}

fn check_length(attachment: &Attachment, fd: &OwnedFd) -> Result<(), JoinError> {
    let expected = attachment.header.plan.total_bytes();
    match attachment.file_bytes(fd).map_err(os("stat the segment"))? {
        Some(found) if found < expected => {
            Err(JoinError::Truncated { place: attachment.place(), expected, found })
        }
        _ => Ok(()),
    }
}

fn go_live(control: Control<'_>, index: u8) -> LeaseId {
    let word = control.lease(index);
    // Relaxed: we hold the write lock, so no other process changes the word; `claim` or `recover` has acquired it.
    let incarnation = LeaseWord(word.load(Ordering::Relaxed)).incarnation() + 1;
    // Release: the former owner is recovered before; pairs with the Acquires of recoverers and watchers.
    word.store(LeaseWord::live(incarnation).0, Ordering::Release);
    store_pid(control, index);
    LeaseId { index, incarnation }
}

fn store_pid(control: Control<'_>, index: u8) {
    // Relaxed: information only.
    control.pid(index).store(u64::from(std::process::id()), Ordering::Relaxed);
}

/// Wakes every monitor, so that it scans its notification words again.
fn announce(control: Control<'_>) {
    // Release: our notifications are armed before; pairs with the Acquire at the head of `Watcher::round`.
    control.membership().fetch_add(1, Ordering::Release);
    let _ = futex::wake(control.membership(), futex::Flags::empty(), i32::MAX as u32);
}
