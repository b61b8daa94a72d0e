//! What a member shares with its monitor and its reapers: who it is, whom to ask to reclaim, and the gate that
//! keeps recovery and leaving apart.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use crate::attachment::{Attachment, FileId};
use crate::control::{Control, LeaseWord};
use crate::data_area::DataArea;
use crate::fault;
use crate::id::{LeaseId, Recovery};
use crate::lock;
use crate::mapping::Mapping;
use crate::notifications::OWNER_DIED;
use crate::sync::{self, Mutex, Ordering};

/// Takes back what a dead lease held in the data area. Implemented by whoever owns the data area.
pub trait Reclaim: Send + Sync {
    /// Takes back everything that `recovery.dead()` holds.
    ///
    /// One call at a time is made for one member, but members in several processes may recover the same lease at the
    /// same time, and any of them may die doing it: it has to be idempotent. It also runs for a member's own lease
    /// when it leaves, and for the former owner of a slot before a new one takes it (then `by == dead().index`).
    ///
    /// It may run on a thread with 256 KiB of stack. It must not call back into the [`Lease`](crate::Lease), whose gate
    /// it is behind, nor own it: a monitor keeps its `Reclaim` alive.
    fn reclaim(&self, data_area: DataArea<'_>, recovery: &Recovery);
}

/// An open file description of our own that outlives the closing of its descriptor by anybody else in the process.
struct Pinned {
    fd: OwnedFd,
    _pin: Mapping,
}

impl Pinned {
    fn of(attachment: &Attachment) -> io::Result<Option<(Self, FileId)>> {
        let Some(file) = &attachment.lock else { return Ok(None) };
        let Some(fd) = file.fresh()? else { return Ok(None) };
        let pin = Mapping::pin(&fd)?;
        Ok(Some((Self { fd, _pin: pin }, file.id)))
    }
}

/// The part of a member that may outlive it in a parked reaper. It owns no mapping of the segment.
pub(crate) struct Core {
    pub(crate) id: LeaseId,
    pub(crate) attachment: Arc<Attachment>,
    pub(crate) reclaim: Arc<dyn Reclaim>,
    /// The member's own mapping, while it is a member. Whoever holds the gate may use it and act as the member;
    /// leaving takes it away under the gate. It also makes reclaiming one at a time: one closer tag, one actor.
    gate: Mutex<Option<Control<'static>>>,
    /// Per slot: how often it rang since its reaper last looked; zero means that it has no reaper.
    pub(crate) signals: Box<[AtomicU32]>,
    /// Monitor and reapers are played by the thread that joined; see [`crate::monitor`].
    pub(crate) by_hand: bool,
}

impl Core {
    /// # Safety
    ///
    /// `control` stays mapped until it is taken out by `close_gate`; `id` is the caller's LIVE lease until then.
    pub(crate) unsafe fn new(
        id: LeaseId,
        attachment: Arc<Attachment>,
        reclaim: Arc<dyn Reclaim>,
        control: Control<'static>,
        by_hand: bool,
    ) -> Self {
        let signals = control.slots().map(|_| AtomicU32::new(0)).collect();
        Self { id, attachment, reclaim, gate: Mutex::new(Some(control)), signals, by_hand }
    }

    /// Ends the right to act as the member, after whoever has it now; `last` still has it. `None`: ended before.
    pub(crate) fn close_gate<R>(&self, last: impl FnOnce(Control<'static>) -> R) -> Option<R> {
        let mut gate = sync::lock(&self.gate);
        gate.take().map(last)
    }

    /// Recovers every lease but our own whose owner is gone. Never waits for another process.
    pub(crate) fn sweep(&self) -> usize {
        let gate = sync::lock(&self.gate);
        let Some(control) = *gate else { return 0 };
        let others = || control.slots().filter(|j| *j != self.id.index);
        // Acquire: here and below, pairs with the Release that made the word dirty or free [I1], [I2].
        let dirty = |j: &u8| LeaseWord(control.lease(*j).load(Ordering::Acquire)).is_dirty();
        if !others().any(|j| dirty(&j)) {
            return 0;
        }
        let Ok(Some((pinned, id))) = Pinned::of(&self.attachment) else { return 0 };
        let mut recovered = 0;
        for j in others().filter(dirty) {
            let proved = matches!(lock::try_read(&pinned.fd, j), Ok(true));
            if fault!("segment.recover.without_lock") {
                let _ = lock::unlock(&pinned.fd, j);
            }
            if !proved && !fault!("segment.recover.without_proof") {
                continue;
            }
            // The descriptor was ours when we locked: otherwise the lock proves nothing.
            if !FileId::of(&pinned.fd).is_ok_and(|now| now == id) {
                break;
            }
            // SAFETY: the read lock on byte j is ours until `unlock`; the gate is open, so we act as our own lease.
            recovered += usize::from(unsafe { self.recover_locked(control, j) }.is_some());
            let _ = lock::unlock(&pinned.fd, j);
        }
        recovered
    }

    /// Waits, in the kernel, until the owner of slot `j` is gone, then recovers its lease if nobody did.
    ///
    /// While it waits it holds nothing of the member, which may leave meanwhile.
    pub(crate) fn reap(&self, j: u8) -> io::Result<()> {
        let Some((pinned, id)) = Pinned::of(&self.attachment)? else { return Ok(()) };
        if !lock::try_read(&pinned.fd, j)? && !fault!("segment.recover.notification_is_proof") {
            if self.by_hand {
                // A thread sleeps here, and holds nothing of the member.
                return Ok(());
            }
            lock::read(&pinned.fd, j)?;
        }
        let gate = sync::lock(&self.gate);
        if let Some(control) = *gate
            && FileId::of(&pinned.fd)? == id
        {
            // SAFETY: as in `sweep`.
            unsafe { self.recover_locked(control, j) };
            self.clear(control, j);
        }
        drop(gate);
        let _ = lock::unlock(&pinned.fd, j);
        Ok(())
    }

    /// Silences the notification that slot `j` rang for us. The read lock on byte `j` is held: an owner to arm it again would need
    /// the write lock, so what rang is the death that is over.
    fn clear(&self, control: Control<'_>, j: u8) {
        let notification = control.notification(j, self.id.index);
        // Relaxed, all: silence publishes nothing; a lost exchange leaves a notification that rings for a slot that is FREE.
        let said = notification.load(Ordering::Relaxed);
        if said & OWNER_DIED != 0 {
            let _ = notification.compare_exchange(said, 0, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// # Safety
    ///
    /// A read lock on byte `j` is held, and the gate with `control` in it.
    unsafe fn recover_locked(&self, control: Control<'_>, j: u8) -> Option<LeaseId> {
        // SAFETY: passed on; the gate makes our own lease the recoverer.
        unsafe { recover(control, j, self.id.index, &*self.reclaim) }
    }
}

/// Recovers the lease in slot `j`, if it is dirty, and frees it. The answer names it.
///
/// # Crash
///
/// Killed anywhere inside, the lease stays dirty or is free; the next recoverer starts over.
///
/// # Safety
///
/// A lock on byte `j` is held by the caller, and `by` is its own lease or, under the write lock, `j`.
pub(crate) unsafe fn recover(control: Control<'_>, j: u8, by: u8, reclaim: &dyn Reclaim) -> Option<LeaseId> {
    let word = control.lease(j);
    // Acquire: pairs with the Release of the owner's LIVE or of another recoverer's FREE.
    let found = LeaseWord(word.load(Ordering::Acquire));
    if !found.is_dirty() {
        return None;
    }
    let dead = LeaseId { index: j, incarnation: found.incarnation() };
    // SAFETY: the lock proves the owner gone [A3] and keeps the next one away [A4]; `by` as the caller promises.
    let recovery = unsafe { Recovery::assume(dead, by) };
    if fault!("segment.recover.freed_before_reclaimed") {
        word.store(found.freed().0, Ordering::Release);
    }
    reclaim.reclaim(control.data_area(), &recovery);
    // Release: everything reclaimed comes before the slot is free; pairs with the Acquire of whoever takes or looks at
    // it. Failure means that another recoverer was first, which is as good.
    let freed = word.compare_exchange(found.0, found.freed().0, Ordering::Release, Ordering::Relaxed);
    freed.is_ok().then_some(dead)
}
