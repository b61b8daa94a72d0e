//! The state that a member shares with its monitor and its reapers: its lease, its `Reclaim`, and the gate that makes recovery and
//! leaving mutually exclusive.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use tenure_core::mutant;
use tenure_core::sync::{self, Mutex, Ordering};
use tenure_core::{LeaseId, Recovery};

use crate::attachment::{Attachment, Exposed, LockFile};
use crate::control::{Control, LeaseWord};
use crate::data_area::DataArea;
use crate::desk::{Absence, Desk};
use crate::lock::{self, Granted};
use crate::mapping::Mapping;
use crate::notifications::OWNER_DIED;

/// Reclaims everything that a dead lease held in the data area. The crate that owns the data area implements it.
pub trait Reclaim: Send + Sync {
    /// Reclaims everything that `recovery.dead()` holds.
    ///
    /// Calls of one member do not overlap. Members of several processes may recover the same lease at the same time, and any of
    /// them may be killed meanwhile, so the implementation must be idempotent. It is also called for a member's own lease when
    /// that leaves, and for the former owner of a slot before a new owner takes it; in both cases `by == dead().index`.
    ///
    /// It may run on a thread with 256 KiB of stack and a descriptor table of its own: it must not use descriptors. It must not call the
    /// [`Lease`](crate::Lease), whose gate is locked meanwhile, and must not own it: the monitor keeps the `Reclaim` alive.
    fn reclaim(&self, data_area: DataArea<'_>, recovery: &Recovery);

    /// Called after `reclaim` of a dead lease, and not after that of a member that leaves: the lease is free by now. `pid` is the number of its
    /// process, in its own pid namespace; information only. What is true of `reclaim` is true of this.
    fn recovered(&self, dead: LeaseId, pid: u32) {
        let _ = (dead, pid);
    }
}

/// An open file description of the lock file that one member has for itself: through it the member asks for the locks of the others.
/// A mapping pins it, so that a lock survives if other code of the process closes the descriptor.
///
/// Locks belong to the description. Threads that share one take and release a lock only under the gate; see [`Core::reap`].
#[derive(Debug)]
pub(crate) struct Locks {
    fd: Exposed,
    _pin: Mapping,
}

impl Locks {
    /// Opens the description, in the descriptor table of the calling thread.
    pub(crate) fn open(attachment: &Attachment) -> Result<Self, Absence> {
        let open = |file: &LockFile| {
            let fd = file.fresh()?.ok_or_else(|| io::Error::from_raw_os_error(libc::EBADF))?;
            Ok(Self { _pin: Mapping::pin(&fd)?, fd: Exposed::new(fd)? })
        };
        // Private memory has no locks, and no other process.
        let file = attachment.lock.as_ref().ok_or(Absence::Locks { errno: 0 })?;
        open(file).map_err(|error: io::Error| Absence::locks(&error))
    }

    /// As if `fd` were the description.
    #[cfg(test)]
    pub(crate) fn over(fd: std::os::fd::OwnedFd, file: &std::fs::File) -> Self {
        Self { fd: Exposed::new(fd).unwrap(), _pin: Mapping::pin(file).unwrap() }
    }

    /// The descriptor.
    ///
    /// # Errors
    ///
    /// Other code of this process closed it: a lock that it grants may be on another file, and proves nothing.
    fn fd(&self) -> Result<BorrowedFd<'_>, Absence> {
        self.fd.get().ok_or(Absence::Locks { errno: libc::EBADF })
    }

    /// Whether the kernel still tells who holds the lock of lease `j`.
    pub(crate) fn check(&self, j: u8) -> Result<(), Absence> {
        lock::is_owned(self.fd()?, j).map(drop).map_err(|error| Absence::locks(&error))
    }
}

/// The part of a member that a waiting reaper may keep alive after the member has left. It owns no mapping of the segment, and no
/// descriptor: the last reference may be dropped by a thread with a descriptor table of its own.
pub(crate) struct Core {
    pub(crate) id: LeaseId,
    pub(crate) reclaim: Arc<dyn Reclaim>,
    /// The member's own mapping; `None` once the member has left. A thread that holds the gate may use the mapping and act as the
    /// member. The gate also serializes calls of `reclaim`: a closer tag must have one user at a time.
    gate: Mutex<Option<Control<'static>>>,
    /// By slot: the number of signals that its reaper has not handled yet; zero if the slot has no reaper.
    pub(crate) signals: Box<[AtomicU32]>,
    /// Orders to the monitor.
    pub(crate) desk: Desk,
    /// The thread that joined runs the monitor and the reapers itself; see [`crate::monitor`].
    pub(crate) by_hand: bool,
}

impl Core {
    /// # Safety
    ///
    /// Until `close_gate`, `control` stays mapped and `id` is the caller's LIVE lease.
    pub(crate) unsafe fn new(
        id: LeaseId,
        reclaim: Arc<dyn Reclaim>,
        control: Control<'static>,
        by_hand: bool,
    ) -> Self {
        let signals = control.slots().map(|_| AtomicU32::new(0)).collect();
        let desk = Desk::new(control.plan().members);
        Self { id, reclaim, gate: Mutex::new(Some(control)), signals, desk, by_hand }
    }

    /// Closes the gate: waits until no other thread holds it, calls `last` as the final holder, and admits none afterwards. `None` if
    /// it was closed already.
    pub(crate) fn close_gate<R>(&self, last: impl FnOnce(Control<'static>) -> R) -> Option<R> {
        let mut gate = sync::lock(&self.gate);
        gate.take().map(last)
    }

    /// Whether any lease but our own is LIVE.
    fn is_any_dirty(&self) -> bool {
        let gate = sync::lock(&self.gate);
        let Some(control) = *gate else { return false };
        // Acquire: pairs with the Release that made the word LIVE or FREE [lease-live-first], [lease-freed-under-lock].
        let dirty = |j: u8| LeaseWord(control.lease(j).load(Ordering::Acquire)).is_dirty();
        control.slots().any(|j| j != self.id.index && dirty(j))
    }

    /// Recovers every lease whose owner is gone, except our own, and returns how many. Never waits for another process.
    ///
    /// # Errors
    ///
    /// The kernel cannot be asked who is dead. Some leases may have been recovered.
    pub(crate) fn sweep(&self, open: impl FnOnce() -> Result<Arc<Locks>, Absence>) -> Result<usize, Absence> {
        if self.is_any_dirty() { self.sweep_by(&*open()?) } else { Ok(0) }
    }

    /// As [`sweep`](Self::sweep).
    pub(crate) fn sweep_by(&self, locks: &Locks) -> Result<usize, Absence> {
        let gate = sync::lock(&self.gate);
        let Some(control) = *gate else { return Ok(0) };
        // Acquire: as in `is_any_dirty`.
        let dirty = |j: &u8| LeaseWord(control.lease(*j).load(Ordering::Acquire)).is_dirty();
        let fd = locks.fd()?;
        let mut recovered = 0;
        let mut failed = None;
        for j in control.slots().filter(|j| *j != self.id.index).filter(dirty) {
            let granted = lock::try_read(fd, j);
            let proved = matches!(granted, Ok(true));
            failed = granted.err().or(failed);
            if mutant!("segment.recover.without_lock") {
                let _ = lock::unlock(fd, j);
            }
            if !proved && !mutant!("segment.recover.without_proof") {
                continue;
            }
            let _granted = Granted { fd, index: j };
            // If other code replaced the descriptor, the lock may be on another file and proves nothing.
            locks.fd()?;
            // SAFETY: we hold the read lock on byte j until `_granted` is dropped; we hold the gate, so we act as our own lease.
            recovered += usize::from(unsafe { self.recover_locked(control, j) }.is_some());
        }
        failed.map_or(Ok(recovered), |error| Err(Absence::locks(&error)))
    }

    /// Waits in the kernel until the owner of slot `j` is gone, then recovers its lease unless another member did.
    ///
    /// While waiting it holds nothing of its own member, which may leave meanwhile.
    pub(crate) fn reap(&self, locks: &Locks, j: u8) -> Result<(), Absence> {
        let failed = |error| Absence::locks(&error);
        let fd = locks.fd()?;
        if !lock::try_read(fd, j).map_err(failed)? && !mutant!("segment.recover.notification_is_proof") {
            if self.by_hand {
                // A reaper thread would sleep here.
                return Ok(());
            }
            lock::read(fd, j).map_err(failed)?;
        }
        self.reap_now(locks, j).map(drop)
    }

    /// Recovers the lease of slot `j` if its owner is gone, and returns whether it is. Never waits for another process.
    pub(crate) fn reap_now(&self, locks: &Locks, j: u8) -> Result<bool, Absence> {
        let gate = sync::lock(&self.gate);
        let fd = locks.fd()?;
        // Also when the lock was granted before: the description is shared, and another thread may have released the lock.
        let proved = lock::try_read(fd, j).map_err(|error| Absence::locks(&error))?;
        // Dropped before the gate is left.
        let _granted = Granted { fd, index: j };
        if let Some(control) = *gate
            && (proved || mutant!("segment.recover.notification_is_proof"))
        {
            locks.fd()?;
            // SAFETY: as in `sweep_by`.
            unsafe { self.recover_locked(control, j) };
            self.clear(control, j);
        }
        Ok(proved)
    }

    /// Clears our notification word of slot `j` if it is signalled. The caller holds the read lock on byte `j`. A new owner needs the
    /// write lock before it arms the word, so a signal seen here belongs to the death that was just recovered.
    fn clear(&self, control: Control<'_>, j: u8) {
        let notification = control.notification(j, self.id.index);
        // Relaxed, all: clearing publishes nothing. If the CAS fails, the word stays signalled for a slot that is FREE, which is
        // harmless.
        let said = notification.load(Ordering::Relaxed);
        if said & OWNER_DIED != 0 {
            let _ = notification.compare_exchange(said, 0, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// # Safety
    ///
    /// A read lock on byte `j` is held, and the gate with `control` in it.
    unsafe fn recover_locked(&self, control: Control<'_>, j: u8) -> Option<LeaseId> {
        // SAFETY: the caller's contract; the caller holds the gate, so our own lease is the recoverer.
        unsafe { recover(control, j, self.id.index, &*self.reclaim) }
    }
}

/// If the lease in slot `j` is dirty, reclaims what it held, frees it and returns its id.
///
/// # Crash
///
/// Killed anywhere inside, the lease is still dirty, and the next recoverer starts over, or it is free.
///
/// # Safety
///
/// A lock on byte `j` is held by the caller, and `by` is its own lease or, under the write lock, `j`.
pub(crate) unsafe fn recover(control: Control<'_>, j: u8, by: u8, reclaim: &dyn Reclaim) -> Option<LeaseId> {
    let word = control.lease(j);
    // Acquire: pairs with the Release of the owner that stored LIVE, or of a recoverer that stored FREE.
    let found = LeaseWord(word.load(Ordering::Acquire));
    if !found.is_dirty() {
        return None;
    }
    let dead = LeaseId { index: j, incarnation: found.incarnation() };
    // SAFETY: the lock proves the owner gone [A3] and excludes a new one [A4]; `by` is valid by the caller's contract.
    let recovery = unsafe { Recovery::assume(dead, by) };
    if mutant!("segment.recover.freed_before_reclaimed") {
        word.store(found.freed().0, Ordering::Release);
    }
    reclaim.reclaim(control.data_area(), &recovery);
    // Relaxed: information only. Before the slot is free, so that it is not the next owner's.
    let pid = control.pid(j).load(Ordering::Relaxed) as u32;
    // Release: everything is reclaimed before the slot is free; pairs with the Acquires of members that take the slot or read the
    // word. Failure means that another recoverer freed the slot first.
    let freed = word.compare_exchange(found.0, found.freed().0, Ordering::Release, Ordering::Relaxed);
    reclaim.recovered(dead, pid);
    freed.is_ok().then_some(dead)
}
