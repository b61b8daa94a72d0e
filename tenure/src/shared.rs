//! The state that all parts of one member share: its lease, the views through its mapping, its private bookkeeping.

use std::alloc::{Layout, handle_alloc_error};
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tenure_core::{LeaseId, Recovery};
use tenure_scratch_alloc::{self as scratch, Backing, OutOfMemory, Scratch};
#[cfg(feature = "objects")]
use tenure_segment::sleepers::Sleepers;
use tenure_segment::{CommitError, DataArea, Lease, Segment, Wiped, WipedPage};
use tenure_slab::{BlockRef, Cache, Exhausted, RefCounts, Slab};

use crate::deaths::{Death, Ear, OnDeath, Teller};
use crate::error::{BlockError, CreateError, ReadOnly, ScratchError};
use crate::geometry::Plan;
use crate::kind::Kind;

#[cfg(feature = "objects")]
use crate::{files::Files, processes::WatcherSlot, waiting::books::Books};

/// The two views of a data area. `payloads` is the same memory, or a mapping of it that cannot be written.
pub(crate) fn views<'a>(
    data_area: DataArea<'a>,
    payloads: DataArea<'a>,
    plan: &'a Plan,
    space_tag: u8,
) -> (Slab<'a>, Scratch<'a>) {
    let words = data_area.words();
    let slab_words = plan.slab.words() as usize;
    let scratch_words =
        (plan.scratch_at / 8) as usize..((plan.scratch_at + plan.scratch.data_at()) / 8) as usize;
    // `Plan::of` and the segment's checks ensure that both regions lie inside the data area.
    let data = payloads.base().wrapping_add((plan.scratch_at + plan.scratch.data_at()) as usize);
    // SAFETY: `data` is the rest of the data area, which holds the payloads by the plan; the data area is page aligned, and
    // `scratch_at` is a multiple of the smaller of a unit and a page. Payload bytes are handed out block by block.
    let scratch = unsafe { Scratch::new(&words[scratch_words], data, &plan.scratch) };
    let slab = Slab::new(&words[..slab_words], plan.slab, space_tag).expect("the plan's own layout");
    (slab, scratch)
}

/// The leases, handles and blocks that one member has recovered since it joined; see
/// [`Member::reclaimed`](crate::Member::reclaimed).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reclaimed {
    /// Leases of dead members that this member recovered, alone or together with others.
    pub leases: u64,
    /// Handles freed.
    pub handles: u64,
    /// Blocks freed.
    pub blocks: u64,
}

/// Recovers the handles and blocks of dead leases. The segment calls it, after the kernel has proved the death.
pub(crate) struct Reclaimer {
    pub(crate) plan: Arc<Plan>,
    pub(crate) space_tag: u8,
    /// The local reference counts; made by the first use: a recovery during the join, or the member itself.
    ref_counts: OnceLock<RefCounts>,
    leases: AtomicU64,
    handles: AtomicU64,
    blocks: AtomicU64,
    /// Handles, blocks and locks that the last recovery took back.
    last: [AtomicU64; 3],
    pub(crate) on_death: Option<OnDeath>,
    pub(crate) teller: Teller,
}

impl Reclaimer {
    /// A reclaimer, and who listens to what it tells, if anybody does.
    pub(crate) fn new(plan: Arc<Plan>, space_tag: u8, on_death: Option<OnDeath>) -> (Self, Option<Ear>) {
        let zero = || AtomicU64::new(0);
        let (teller, ear) = Teller::new(on_death.clone());
        let this = Self {
            plan,
            space_tag,
            ref_counts: OnceLock::new(),
            leases: zero(),
            handles: zero(),
            blocks: zero(),
            last: [zero(), zero(), zero()],
            on_death,
            teller,
        };
        (this, ear)
    }

    /// The local reference counts of lease `me`; a reclaimer serves one lease only.
    pub(crate) fn ref_counts(&self, me: u8) -> &RefCounts {
        self.ref_counts.get_or_init(|| RefCounts::new(&self.plan.slab, me).expect("a lease of this geometry"))
    }

    pub(crate) fn reclaimed(&self) -> Reclaimed {
        // Relaxed: statistics.
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Reclaimed { leases: read(&self.leases), handles: read(&self.handles), blocks: read(&self.blocks) }
    }
}

impl tenure_segment::Reclaim for Reclaimer {
    fn reclaim(&self, data_area: DataArea<'_>, recovery: &Recovery) {
        let (slab, scratch) = views(data_area, data_area, &self.plan, self.space_tag);
        let ref_counts = self.ref_counts(recovery.by());
        #[cfg(feature = "objects")]
        let mcas_descriptors = crate::waiting::mcas_descriptors(data_area, &self.plan);
        #[cfg_attr(not(feature = "objects"), expect(unused_mut, reason = "objects add to it"))]
        let mut locks = 0;
        let settle = |kind, held| {
            #[cfg(feature = "objects")]
            if let Ok(payload) = crate::raw::place(&slab, &scratch, held)
                // Too short: the payload is corrupted, and there is no wait word to recover.
                // SAFETY: held while this function runs.
                && let Some(words) = unsafe { crate::state::words_of(payload) }
            {
                let dead = recovery.dead().index;
                locks += u64::from(crate::waiting::recover::has_lock(Kind::from_number(kind), words, dead));
                crate::waiting::recover::recover(Kind::from_number(kind), words, &mcas_descriptors, dead);
            }
            let _: (u64, tenure_slab::Held) = (kind, held);
        };
        let mut blocks = 0;
        let handles = slab.recover(
            ref_counts,
            recovery,
            |kind| Kind::from_number(kind).is_system(),
            settle,
            |block| blocks += u64::from(free_orphan(&scratch, block)),
        );
        let spans = scratch.recover(recovery, &|index, generation| slab.is_current(index, generation));
        self.leases.fetch_add(1, Ordering::Relaxed);
        self.handles.fetch_add(u64::from(handles.handles), Ordering::Relaxed);
        self.blocks.fetch_add(blocks + spans.blocks, Ordering::Relaxed);
        for (last, now) in self.last.iter().zip([handles.handles.into(), blocks + spans.blocks, locks]) {
            // Relaxed: read by this thread, in `recovered`.
            last.store(now, Ordering::Relaxed);
        }
    }

    fn recovered(&self, dead: LeaseId, pid: u32) {
        // Relaxed: stored by this thread.
        let [handles, blocks, locks] = [0, 1, 2].map(|i: usize| self.last[i].load(Ordering::Relaxed));
        self.teller.tell_death(Death { lease: dead, pid, handles, blocks, locks });
    }
}

/// Frees a block that a handle named; the generations of that handle up to `block.generation` are over.
pub(crate) fn free_orphan(scratch: &Scratch<'_>, block: BlockRef) -> bool {
    scratch.free_orphan(block.offset, block.index, &|_, generation| generation > block.generation)
}

/// The handles of one thread. All zero in a forked child, where the slab has no handle, the cache no entry and no room.
#[derive(Clone, Copy)]
pub(crate) struct HandleCaches {
    pub(crate) slab: Slab<'static>,
    pub(crate) cache: Cache,
}

/// One thread's caches.
pub(crate) struct Caches {
    pub(crate) handles: Wiped<HandleCaches>,
    /// Its fast paths fail in a forked child, where `hot` is zero. So they do not need the check of the membership: a member that has
    /// left has no caches.
    pub(crate) blocks: scratch::Local<'static>,
    /// The memory of the hot fields of `blocks`; dropped after it.
    _hot: WipedPage,
}

impl Caches {
    fn new(views: &Views<'static>, lease: &Lease, is_reader: bool) -> Self {
        type Blocks = scratch::Local<'static>;
        const { assert!(Blocks::HOT_ALIGN <= 64 && Blocks::HOT_BYTES <= WipedPage::BYTES) };
        // SAFETY: zero bytes are a valid slab and a valid cache, as their documentation says.
        let mut handles = unsafe { Wiped::<HandleCaches>::zeroed() };
        let hot =
            WipedPage::new().unwrap_or_else(|_| handle_alloc_error(Layout::new::<[u8; WipedPage::BYTES]>()));
        // At the end of the page: most other things that threads often store to lie at the start of one, and a load waits for a store to
        // the same offset of another page.
        let at = hot.base().wrapping_add((WipedPage::BYTES - Blocks::HOT_BYTES) & !63);
        let at = NonNull::new(at).unwrap_or(NonNull::dangling());
        // SAFETY: in the page, which is dropped after the local, and nobody else's; aligned to 64.
        let blocks = unsafe { scratch::Local::new_in(views.scratch, lease.acquire(), at) };
        if lease.check().is_ok() {
            handles.slab = views.slab;
            // That of a reader stays without room, so that each `create` takes the path that refuses.
            if !is_reader {
                handles.cache = views.slab.cache();
            }
        } else {
            // A forked child has made these caches: they refuse as those that it inherited.
            // SAFETY: the memory of the hot fields; zero is a valid value of them.
            unsafe { at.write_bytes(0, Blocks::HOT_BYTES) };
        }
        Self { handles, blocks, _hot: hot }
    }
}

/// The views through a member's mapping, and its reference counts.
pub(crate) struct Views<'a> {
    pub(crate) slab: Slab<'a>,
    pub(crate) scratch: Scratch<'a>,
    ref_counts: &'a RefCounts,
    #[cfg(feature = "objects")]
    pub(crate) names: tenure_slab::Names<'a>,
    #[cfg(feature = "objects")]
    pub(crate) mcas_descriptors: tenure_wait::McasDescriptors<'a>,
}

impl<'a> Views<'a> {
    fn new(lease: &'a Lease, reclaimer: &'a Reclaimer, reader: Option<&'a Segment>) -> Self {
        let (data_area, plan, space_tag) = (lease.data_area(), &*reclaimer.plan, reclaimer.space_tag);
        let payloads = reader.map_or(data_area, Segment::data_area);
        let (slab, scratch) = views(data_area, payloads, plan, space_tag);
        Self {
            slab,
            scratch,
            ref_counts: reclaimer.ref_counts(lease.id().index),
            #[cfg(feature = "objects")]
            names: crate::names::view(data_area, plan, space_tag),
            #[cfg(feature = "objects")]
            mcas_descriptors: crate::waiting::mcas_descriptors(data_area, plan),
        }
    }
}

/// The private bookkeeping of one member about its objects.
#[cfg(feature = "objects")]
#[derive(Default)]
pub(crate) struct Objects {
    pub(crate) books: Books,
    pub(crate) watcher: WatcherSlot,
    pub(crate) files: Files,
    /// The threads that sleep for futures.
    pub(crate) sleepers: Sleepers,
}

/// The inner state of a member; handles and blocks keep it alive.
pub(crate) struct Shared {
    /// The views borrow from `lease`, `reclaimer` and `reader`, have no destructor, and are never handed out for 'static.
    views: Views<'static>,
    #[cfg(feature = "objects")]
    pub(crate) objects: Objects,
    /// The caches of calls without a `Local`, and of drops.
    common: Mutex<Caches>,
    /// Caches of locals that were dropped, for the next ones.
    idle: Mutex<Vec<Caches>>,
    pub(crate) lease: Lease,
    pub(crate) reclaimer: Arc<Reclaimer>,
    /// The mapping of the payloads of a member that only reads: see [`Options::read_only`](crate::Options::read_only).
    reader: Option<Segment>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic between two pushes leaves a cache that at worst leaks a free block until the member leaves.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.close_threads();
    }
}

impl std::ops::Deref for Shared {
    type Target = Views<'static>;

    #[inline(always)]
    fn deref(&self) -> &Views<'static> {
        &self.views
    }
}

impl Shared {
    /// Ends the member's threads that access the segment. Again, it does nothing.
    pub(crate) fn close_threads(&mut self) {
        let is_forked = self.lease.check() == Err(crate::error::NotMember::ForkedChild);
        #[cfg(feature = "objects")]
        {
            self.objects.watcher.close(is_forked);
            self.objects.sleepers.close(is_forked);
        }
        if !is_forked {
            if self.lease.check().is_ok() {
                crate::events::leaves(self.lease.id());
            }
            self.reclaimer.teller.close();
        }
    }

    pub(crate) fn new(lease: Lease, reclaimer: Arc<Reclaimer>, reader: Option<Segment>) -> Self {
        let views = Views::new(&lease, &reclaimer, reader.as_ref());
        // SAFETY: the mappings live as long as `lease` and `reader`; the plan and the reference counts lie in `reclaimer`'s allocation.
        // None is ever replaced, all are dropped with `Shared`, and the 'static references never leave `Shared`.
        let views = unsafe { std::mem::transmute::<Views<'_>, Views<'static>>(views) };
        let common = Mutex::new(Caches::new(&views, &lease, reader.is_some()));
        Self {
            views,
            #[cfg(feature = "objects")]
            objects: Objects::default(),
            common,
            idle: Mutex::default(),
            lease,
            reclaimer,
            reader,
        }
    }

    /// Refuses what writes payloads.
    pub(crate) fn check_writer(&self) -> Result<(), ReadOnly> {
        if self.reader.is_none() { Ok(()) } else { Err(ReadOnly) }
    }

    /// The place of the state of an object, which its holders change: also of a member that only reads, by the mapping of the words.
    #[cfg(feature = "objects")]
    pub(crate) fn place_of_state(
        &self,
        held: crate::raw::RawHandle,
    ) -> Result<NonNull<[u8]>, crate::error::OpenHandleError> {
        let payload = self.place(held)?;
        if self.reader.is_none() {
            return Ok(payload);
        }
        // A payload in the entry lies among the words already.
        let Some(offset) = self.scratch.offset(payload.as_ptr().cast()) else { return Ok(payload) };
        let plan = &self.reclaimer.plan;
        let at = plan.scratch_at + plan.scratch.data_at() + offset;
        // The same bytes in the other mapping of the same segment.
        let base = self.lease.data_area().base().wrapping_add(at as usize);
        Ok(NonNull::slice_from_raw_parts(NonNull::new(base).unwrap_or(NonNull::dangling()), payload.len()))
    }

    #[inline]
    pub(crate) fn ref_counts(&self) -> &RefCounts {
        self.views.ref_counts
    }

    pub(crate) fn common(&self) -> MutexGuard<'_, Caches> {
        lock(&self.common)
    }

    /// Caches for a new local: those of a dropped local, or new ones.
    pub(crate) fn take_caches(&self) -> Caches {
        // In a forked child the lock may be held by a thread that does not exist there.
        let idle = self.lease.check().ok().and_then(|()| lock(&self.idle).pop());
        idle.unwrap_or_else(|| Caches::new(&self.views, &self.lease, self.reader.is_some()))
    }

    pub(crate) fn return_caches(&self, caches: Caches) {
        // In a forked child the caches are of no use, and the lock may be held by a thread that does not exist there.
        if self.lease.check().is_ok() {
            lock(&self.idle).push(caches);
        }
    }

    /// Recovers dead members and drains idle caches, after handles or memory ran out and before the call fails. The caller tries again in
    /// any case, even if this recovered nothing: a monitor, or another member, may have recovered the same a moment earlier.
    pub(crate) fn scavenge(&self) {
        // If the dead cannot be told from the living, the caller's call fails for want of what they hold.
        let _ = self.lease.recover();
        // Whoever has ended a container may be stopped before it swept.
        self.sweep();
        for caches in lock(&self.idle).iter_mut() {
            caches.blocks.release_idle();
            // No thread uses the claimed handles of a dropped local.
            self.slab.drain(self.lease.acquire(), self.ref_counts(), &mut caches.handles.cache);
        }
        // Nor those in the common caches. If this call holds the common caches itself, `try_lock` fails, and the call has looked there first.
        if let Ok(mut caches) = self.common.try_lock() {
            caches.blocks.release_idle();
            self.slab.drain(self.lease.acquire(), self.ref_counts(), &mut caches.handles.cache);
        }
    }

    pub(crate) fn free_block(&self, block: BlockRef) {
        free_orphan(&self.scratch, block);
        self.sweep_after(block);
    }

    /// Ends what the slots of a container hold, after the container has ended.
    #[inline(always)]
    fn sweep_after(&self, block: BlockRef) {
        if block.is_container {
            self.sweep();
        }
    }

    #[cold]
    #[inline(never)]
    fn sweep(&self) {
        self.slab.sweep(self.ref_counts(), |block| {
            free_orphan(&self.scratch, block);
        });
    }

    /// Runs an allocation; if it runs out of memory, recovers dead members and runs it once more.
    pub(crate) fn with_room<T>(
        &self,
        mut alloc: impl FnMut() -> Result<T, ScratchError>,
    ) -> Result<T, ScratchError> {
        match alloc() {
            Err(ScratchError::Exhausted { .. } | ScratchError::NoMemory { .. }) => {
                self.scavenge();
                alloc().inspect_err(|_| self.reclaimer.teller.tell_exhausted("scratch"))
            }
            result => result,
        }
    }

    /// Fills an empty handle cache.
    #[cold]
    pub(crate) fn refill(&self, cache: &mut Cache) -> Result<(), CreateError> {
        let (acquire, ref_counts) = (self.lease.acquire(), self.ref_counts());
        let free = |block| self.free_block(block);
        let plan = &self.reclaimer.plan;
        loop {
            let committed = self.slab.committed_groups();
            if self.slab.claim_likely(acquire, ref_counts, cache, free).is_ok() {
                return Ok(());
            }
            let next = plan.next_groups(committed);
            if next == committed {
                break;
            }
            let words = plan.slab.group_range(committed..next);
            self.lease
                .commit(words.start * 8..words.end * 8)
                .map_err(|_| ScratchError::NoMemory { bytes: (words.end - words.start) * 8 })?;
            self.slab.extend(next);
        }
        // Entries whose hints were lost with a dead process; then handles that dead members and idle caches hold.
        if self.slab.claim(acquire, ref_counts, cache, free).is_ok() {
            return Ok(());
        }
        self.scavenge();
        self.slab.claim(acquire, ref_counts, cache, free).map_err(|Exhausted { .. }| {
            self.reclaimer.teller.tell_exhausted("handles");
            CreateError::Exhausted { capacity: plan.geometry.handles }
        })
    }

    pub(crate) fn trim(&self) -> u64 {
        self.scavenge();
        self.common().blocks.trim(self)
    }

    /// Frees the block of a handle that this call has just ended.
    pub(crate) fn free_ended(&self, caches: &mut scratch::Local<'static>, block: BlockRef) {
        match caches.free_attached(block.offset, block.index, block.generation) {
            Ok(()) => self.sweep_after(block),
            // Another generation of the handle: a process died before it freed the block.
            Err(BlockError::WrongOwner { .. }) => self.free_block(block),
            // A recoverer was faster, and may be stopped before it sweeps.
            Err(_) => self.sweep_after(block),
        }
    }
}

impl Shared {
    fn in_data_area(&self, bytes: Range<u64>) -> Range<u64> {
        let scratch_at = self.reclaimer.plan.scratch_at;
        scratch_at + bytes.start..scratch_at + bytes.end
    }
}

impl Backing for Shared {
    /// While there is a map, its readers may load from memory that they do not hold.
    fn keeps_all(&self) -> bool {
        self.slab.owns_container_slots(Kind::MAP.number())
    }

    fn commit(&self, bytes: Range<u64>) -> Result<(), OutOfMemory> {
        self.lease.commit(self.in_data_area(bytes)).map_err(|_: CommitError| OutOfMemory)
    }

    fn decommit(&self, bytes: Range<u64>) -> Option<Range<u64>> {
        // The caller has claimed the bytes: a map that is created from now on has no record there [map-memory-stays].
        if self.keeps_all() {
            return None;
        }
        let scratch_at = self.reclaimer.plan.scratch_at;
        let gone = self.lease.decommit(self.in_data_area(bytes)).ok()?;
        Some(gone.start.saturating_sub(scratch_at)..gone.end.saturating_sub(scratch_at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Space;

    /// A monitor may recover the dead member between the failure and the caller's own recovery.
    #[test]
    fn what_was_refused_is_tried_again_also_when_nothing_was_due() {
        let me = Space::options().handles(64).scratch(1 << 20).private().unwrap().join().unwrap();
        let mut tries = 0;
        let done = me.shared().with_room(|| {
            tries += 1;
            if tries > 1 { Ok(tries) } else { Err(ScratchError::Exhausted { bytes: 1, capacity: 1 }) }
        });
        assert_eq!(done.unwrap(), 2);
    }
}
