//! The lease: a member's access to the segment.

use std::fmt;
use std::mem::ManuallyDrop;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use rustix::fs::FallocateFlags;
use rustix::mm::Advice;
use tenure_core::mutant;
use tenure_core::sync::{self, Mutex, Ordering};
use tenure_core::{Acquire, LeaseId, Recovery};

use crate::attachment::{Attachment, MemberMapping};
use crate::control::{Control, LeaseWord};
use crate::data_area::DataArea;
use crate::desk::{Absence, Lack};
use crate::error::{CommitError, DecommitError, NotMember, RecoverError};
use crate::fork_flag::ForkFlag;
use crate::lock;
use crate::member::{Core, Locks};
use crate::monitor::{self, Monitor, MonitorState};
use crate::name::Backend;
use crate::presence::Presence;
use crate::segment::Segment;

/// A member: a slot in the member table whose owner's life the kernel vouches for (not a lease in time), with its own mapping and
/// its own monitor. The mapping pins the kernel lock that proves the owner alive.
///
/// Dropping it leaves. In a forked child dropping it does nothing: the child has neither the mapping nor the lock, and every call
/// returns [`NotMember::ForkedChild`]. Closing all file descriptors of the process does not end the lease; `exec` and death do.
pub struct Lease {
    acquire: Acquire,
    // Leaked in a forked child, where unmapping or joining threads could hit other mappings and threads of the child.
    parts: ManuallyDrop<Parts>,
}

// In the order in which they must be dropped.
struct Parts {
    monitor: Mutex<Option<Monitor>>,
    monitor_state: MonitorState,
    control: Control<'static>,
    /// `None` for private memory, where all members use the segment's mapping.
    mapping: Option<MemberMapping>,
    flag: ForkFlag,
    /// Opened at the join, in case that the program cannot open it again later. `None` if the monitor's thread has its own.
    locks: Option<Arc<Locks>>,
    /// Tells that this member lives. `None` if the monitor's thread does.
    presence: Mutex<Option<Presence>>,
    core: Arc<Core>,
    attachment: Arc<Attachment>,
}

/// Whether `id` is alive. `incarnation_of` loads the lease word of a slot, and returns its incarnation if it is LIVE. `None` if the kernel cannot
/// be asked.
pub(crate) fn is_alive(
    attachment: &Attachment,
    id: LeaseId,
    incarnation_of: impl Fn(u8) -> Option<u64>,
) -> Option<bool> {
    if incarnation_of(id.index) != Some(id.incarnation) {
        return Some(false);
    }
    let probe = attachment.lock.as_ref().and_then(|lock| lock.probe())?;
    // The lock was held after the word was LIVE, and the word is unchanged below: a new owner would have changed it.
    let held = lock::is_owned(probe, id.index).ok()?;
    Some(held && incarnation_of(id.index) == Some(id.incarnation))
}

impl Lease {
    #[expect(clippy::too_many_arguments, reason = "one for each part, for the two joins")]
    pub(crate) fn new(
        acquire: Acquire,
        attachment: Arc<Attachment>,
        core: Arc<Core>,
        control: Control<'static>,
        flag: ForkFlag,
        mapping: Option<MemberMapping>,
        (locks, presence): (Option<Arc<Locks>>, Option<Presence>),
        monitor: Option<Monitor>,
        monitor_state: MonitorState,
    ) -> Self {
        let monitor = Mutex::new(monitor);
        let presence = Mutex::new(presence);
        let parts =
            Parts { monitor, monitor_state, control, mapping, flag, locks, presence, core, attachment };
        Self { acquire, parts: ManuallyDrop::new(parts) }
    }

    /// The slot and the incarnation.
    #[must_use]
    pub fn id(&self) -> LeaseId {
        self.acquire.id()
    }

    /// The right to hold objects in the data area. It must not be used once [`check`](Self::check) fails.
    #[inline]
    #[must_use]
    pub fn acquire(&self) -> &Acquire {
        &self.acquire
    }

    /// The data area, through the member's own mapping.
    ///
    /// The mapping does not exist in a forked child and is inaccessible after leaving: call [`check`](Self::check) before
    /// accessing it.
    #[inline]
    #[must_use]
    pub fn data_area(&self) -> DataArea<'_> {
        self.parts.control.data_area()
    }

    /// Whether this process is the member. About a nanosecond: one load of a private word.
    ///
    /// # Errors
    ///
    /// [`NotMember`], with the reason.
    ///
    /// # Progress
    ///
    /// Wait-free.
    #[inline]
    pub fn check(&self) -> Result<(), NotMember> {
        self.parts.flag.check()
    }

    /// The word of the member's serial, which is mapped as long as the lease exists. A caller that loads the serial once, and finds it
    /// there again later, knows by this one comparison that it is still the same process, and still the member: see [`is_serial`].
    ///
    /// [`is_serial`]: crate::is_serial
    #[inline]
    #[must_use]
    pub fn serial(&self) -> &AtomicU64 {
        self.parts.flag.word()
    }

    /// The incarnation in the lease word of slot `index` if that is LIVE; its owner may be dead already. `None` if the slot is free
    /// or does not exist.
    ///
    /// # Progress
    ///
    /// Wait-free. It reads the member's own mapping: see [`data_area`](Self::data_area).
    #[must_use]
    pub fn incarnation_of(&self, index: u8) -> Option<u64> {
        let control = self.parts.control;
        if u16::from(index) >= control.plan().members {
            return None;
        }
        // Acquire: pairs with the Release that made the word LIVE or FREE [lease-live-first], [lease-freed-under-lock]; if the word is
        // FREE, everything that the recoverer reclaimed before is visible.
        let word = LeaseWord(control.lease(index).load(Ordering::Acquire));
        word.is_dirty().then(|| word.incarnation())
    }

    /// Whether `id` is alive, by its lease word and the kernel's lock. `None` if the kernel cannot be asked: in private memory, or
    /// if the descriptor is lost.
    ///
    /// # Progress
    ///
    /// Never waits; makes a system call.
    #[must_use]
    pub fn is_alive(&self, id: LeaseId) -> Option<bool> {
        is_alive(&self.parts.attachment, id, |index| self.incarnation_of(index))
    }

    /// Whether it was joined with a monitor, whatever has become of that.
    #[must_use]
    pub fn is_guarded(&self) -> bool {
        self.parts.monitor_state != MonitorState::Off
    }

    /// The segment that this member joined.
    #[must_use]
    pub fn segment(&self) -> Segment {
        Segment::over(Arc::clone(&self.parts.attachment))
    }

    /// The process id of a member, in the member's own namespace; `None` if the lease has ended. Information only.
    #[must_use]
    pub fn pid_of(&self, id: LeaseId) -> Option<u32> {
        let is_it = || self.incarnation_of(id.index) == Some(id.incarnation);
        // Relaxed: information only. It belongs to `id` if the incarnation is the same before and after.
        let pid = is_it().then(|| self.parts.control.pid(id.index).load(Ordering::Relaxed) as u32)?;
        is_it().then_some(pid)
    }

    /// The random number that identifies the creation of the segment; never 0.
    #[inline]
    #[must_use]
    pub fn creation_id(&self) -> u64 {
        self.parts.attachment.header.creation_id
    }

    /// Whether this member is notified of the death of others, as the monitor finds at this moment.
    ///
    /// # Progress
    ///
    /// Waits for the monitor's first thread, which waits for no other process. That also recovers members that are dead.
    #[must_use]
    pub fn monitor_state(&self) -> MonitorState {
        let Parts { core, monitor_state, .. } = &*self.parts;
        if *monitor_state != MonitorState::Running || self.check().is_err() {
            return *monitor_state;
        }
        // Any order makes it look.
        let _ = core.desk.order_sweep();
        match core.desk.lack() {
            Lack::Nothing => MonitorState::Running,
            Lack::Late(absence) => MonitorState::Degraded(absence),
            Lack::Failed(absence) => MonitorState::Failed(absence),
        }
    }

    /// Reserves bytes of the data area, so that touching them cannot fault. The range is rounded out to whole pages. Bytes may be
    /// reserved already; private memory needs no reservation.
    ///
    /// # Errors
    ///
    /// [`CommitError::NoSpace`] if the file system is full; nothing was reserved then. The memory limit of a container produces no
    /// error: the kernel kills a process instead.
    ///
    /// # Progress
    ///
    /// Waits for no other process; makes system calls.
    ///
    /// # Crash
    ///
    /// Killed inside, some pages may be reserved without a record of it; committing them again is harmless.
    pub fn commit(&self, range: Range<u64>) -> Result<(), CommitError> {
        self.check()?;
        let Parts { attachment, mapping, .. } = &*self.parts;
        let plan = attachment.header.plan;
        if range.start > range.end || range.end > plan.data_area_bytes {
            let Range { start, end } = range;
            return Err(CommitError::OutOfDataArea { start, end, data_area_bytes: plan.data_area_bytes });
        }
        let Some(mapping) = mapping.as_ref().filter(|_| range.start < range.end) else { return Ok(()) };
        let page = rustix::param::page_size() as u64;
        let start = (plan.data_area_offset + range.start) / page * page;
        let end = (plan.data_area_offset + range.end).next_multiple_of(page).min(plan.total_bytes());
        let wanted = end - start;
        let refused = |source: std::io::Error| match source.raw_os_error() {
            Some(libc::ENOSPC | libc::EDQUOT | libc::ENOMEM | libc::EFAULT) => {
                CommitError::NoSpace { wanted }
            }
            _ => CommitError::Os { what: "reserve memory", source },
        };
        // If our descriptor was closed and there is no path, populating the pages reserves them as well.
        let Some(fd) = self.file_memory() else {
            return mapping
                .memory
                .advise(start as usize, wanted as usize, Advice::LinuxPopulateWrite)
                .map_err(refused);
        };
        let stat = rustix::fs::fstat(&fd)
            .map_err(|e| CommitError::Os { what: "stat the segment", source: e.into() })?;
        let (expected, found) = (plan.total_bytes(), stat.st_size as u64);
        if found < expected {
            return Err(CommitError::Truncated { expected, found });
        }
        rustix::fs::fallocate(&fd, FallocateFlags::KEEP_SIZE, start, wanted).map_err(|e| refused(e.into()))
    }

    /// Returns the whole pages inside the range to the system. They read zero from now on and are no longer reserved. The
    /// result is the byte range of these pages; an empty range if there are none.
    ///
    /// The caller must own the bytes exclusively, by the protocol of the crate that owns the data area.
    ///
    /// # Errors
    ///
    /// [`DecommitError`]; some of the pages may have gone then. Memory without a file that this process has locked stays.
    ///
    /// # Progress
    ///
    /// Waits for no other process; makes system calls.
    ///
    /// # Crash
    ///
    /// Killed inside, some of the pages may have been returned.
    pub fn decommit(&self, range: Range<u64>) -> Result<Range<u64>, DecommitError> {
        self.check()?;
        let Parts { attachment, mapping, .. } = &*self.parts;
        let plan = attachment.header.plan;
        if range.start > range.end || range.end > plan.data_area_bytes {
            let Range { start, end } = range;
            return Err(DecommitError::OutOfDataArea { start, end, data_area_bytes: plan.data_area_bytes });
        }
        let page = rustix::param::page_size() as u64;
        let start = (plan.data_area_offset + range.start).next_multiple_of(page);
        let end = (plan.data_area_offset + range.end) / page * page;
        if start >= end {
            return Ok(range.start..range.start);
        }
        let (memory, advice) = match mapping {
            Some(mapping) => (&mapping.memory, Advice::LinuxRemove),
            None => (&attachment.read_only, Advice::LinuxDontNeed),
        };
        if let Err(refused) = memory.advise(start as usize, (end - start) as usize, advice) {
            // For locked memory, among others. If the memory is a file, the file itself gives it back.
            let fd = self.file_memory().ok_or(DecommitError::Os(refused))?;
            let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            rustix::fs::fallocate(&fd, flags, start, end - start).map_err(|e| DecommitError::Os(e.into()))?;
        }
        Ok(start - plan.data_area_offset..end - plan.data_area_offset)
    }

    /// A descriptor of the memory's file. `None` if the memory has no file, or if our descriptor was closed and the file has no path.
    fn file_memory(&self) -> Option<OwnedFd> {
        let attachment = &self.parts.attachment;
        let file = attachment.lock.as_ref().filter(|_| attachment.is_file_memory())?;
        file.fresh().ok().flatten()
    }

    /// Recovers every lease whose owner is gone, and returns how many this call freed. Zero for private memory, where no member dies
    /// alone.
    ///
    /// # Errors
    ///
    /// [`RecoverError`]: not a member; or there are other members and the locks cannot be reached: neither this thread nor the monitor
    /// has a descriptor, and the file cannot be opened again.
    ///
    /// # Progress
    ///
    /// Waits for no other process; waits for a recovery by another thread of this member. Makes two system calls for each lease that
    /// is LIVE, since only the kernel knows whether its owner lives.
    ///
    /// # Crash
    ///
    /// Killed anywhere inside, the next recoverer does the rest.
    pub fn recover(&self) -> Result<usize, RecoverError> {
        self.check()?;
        if self.backend() == Backend::Private {
            return Ok(0);
        }
        let core = &self.parts.core;
        match core.sweep(|| self.open_locks()) {
            Ok(recovered) => Ok(recovered),
            // The monitor has locks of its own.
            Err(absence) => Ok(core.desk.order_sweep().unwrap_or(Err(absence))?),
        }
    }

    /// A description of the lock file: a new one or, if it cannot be opened any more, that of the join.
    fn open_locks(&self) -> Result<Arc<Locks>, Absence> {
        let Parts { attachment, locks, .. } = &*self.parts;
        let old = || locks.clone().filter(|locks| locks.check(self.id().index).is_ok());
        Locks::open(attachment).map(Arc::new).or_else(|absence| old().ok_or(absence))
    }

    /// Whether a monitor of this member runs: then it is told of the death of whoever armed notifications for it.
    #[must_use]
    pub fn has_monitor(&self) -> bool {
        self.parts.monitor_state == MonitorState::Running
    }

    /// Ensures that this process learns when the owner of slot `of` dies. Call it before blocking on something it owns.
    ///
    /// If the monitor is going to be notified, this does nothing. Otherwise a reaper is started, at most one per slot: a thread that
    /// waits in the kernel for the lock of the slot and recovers the lease when its owner is gone.
    ///
    /// # Errors
    ///
    /// This process would not learn of the death, for the reason given.
    ///
    /// # Progress
    ///
    /// Never waits.
    pub fn attend(&self, of: u8) -> Result<(), Absence> {
        let Parts { core, control, mapping, monitor_state, .. } = &*self.parts;
        let others = u16::from(of) < control.plan().members && of != self.id().index;
        if self.check().is_err() || mapping.is_none() || !others {
            return Ok(());
        }
        if *monitor_state != MonitorState::Running {
            return monitor::attend(core, || self.open_locks(), of);
        }
        if let Lack::Failed(absence) = core.desk.lack() {
            return Err(absence);
        }
        // Relaxed: a hint. An owner arms its notifications before it acquires anything; a cleared word only starts a reaper.
        if control.notification(of, self.id().index).load(Ordering::Relaxed) == 0 {
            if core.by_hand {
                return monitor::attend(core, || self.open_locks(), of);
            }
            core.desk.order_reaper(of);
        }
        Ok(())
    }

    /// Ends the membership: reclaims everything that the lease holds, frees the slot, and releases the kernel lock last. The member's
    /// mapping becomes inaccessible but stays reserved: a late access faults and cannot reach other memory.
    ///
    /// The caller must ensure that no thread uses the data area, or a reference into it, once this is called.
    ///
    /// # Errors
    ///
    /// [`NotMember`] in a forked child, and for all but the first call.
    ///
    /// # Progress
    ///
    /// Waits for recoveries that this member has begun, and for its monitor; neither waits for another process. A reaper that waits
    /// for a member's death continues until that death; it keeps a thread and a file descriptor, and no lock.
    ///
    /// # Crash
    ///
    /// Killed inside, the lease stays dirty until everything is released, and another member recovers the rest.
    pub fn leave(&self) -> Result<(), NotMember> {
        self.check()?;
        let parts = &*self.parts;
        let id = self.id();
        let left = parts.core.close_gate(|control| {
            parts.flag.mark_left();
            // SAFETY: we are the owner of `id`, hold the write lock by our mapping, and act as `id`.
            let recovery = unsafe { Recovery::assume(id, id.index) };
            let live = LeaseWord::live(id.incarnation);
            if mutant!("segment.leave.freed_before_reclaimed") {
                control.lease(id.index).store(live.freed().0, Ordering::Release);
            }
            parts.core.reclaim.reclaim(control.data_area(), &recovery);
            // Release: everything is released before [lease-live-first]; pairs with the Acquire of the slot's next owner. Failure: the word was
            // corrupted, and the next owner recovers the lease.
            let _ = control.lease(id.index).compare_exchange(
                live.0,
                live.freed().0,
                Ordering::Release,
                Ordering::Relaxed,
            );
        });
        // Another thread was leaving at the same time.
        left.ok_or(NotMember::Left)?;
        self.stop_monitor();
        drop(sync::lock(&parts.presence).take());
        parts.attachment.tidy_name();
        if let Some(mapping) = &parts.mapping {
            // SAFETY: the gate is closed, the monitor is stopped, and the caller promises that no other thread uses the mapping. On
            // failure the lock is kept until the lease is dropped.
            let _ = unsafe { mapping.close_off() };
        }
        Ok(())
    }

    /// One round of a monitor that is played by hand: observes signalled notifications and recovers the dead. Called by the thread
    /// that joined.
    #[doc(hidden)]
    pub fn play_monitor(&self) {
        if let (Ok(()), Some(monitor)) = (self.check(), &mut *sync::lock(&self.parts.monitor)) {
            monitor.play_round();
        }
    }

    fn stop_monitor(&self) {
        let monitor = sync::lock(&self.parts.monitor).take();
        if let Some(monitor) = monitor {
            monitor.stop();
        }
    }

    /// The backend of the segment.
    #[must_use]
    pub fn backend(&self) -> Backend {
        self.parts.attachment.backend
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.check() == Err(NotMember::ForkedChild) {
            return;
        }
        let _ = self.leave();
        // After a panic in `reclaim` the lease stays dirty; other members recover it once the mapping is gone.
        self.parts.core.close_gate(|_| ());
        self.stop_monitor();
        // SAFETY: dropped only here; no thread of ours uses the mapping any more.
        unsafe { ManuallyDrop::drop(&mut self.parts) };
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease")
            .field("id", &self.id())
            .field("monitor_state", &self.parts.monitor_state)
            .finish_non_exhaustive()
    }
}
