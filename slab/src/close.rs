//! Close, and the decision that a handle has no holder.

use tenure_core::{Acquire, fault};

use crate::cache::Cache;
use crate::entry::{BlockRef, Entry};
use crate::error::Stale;
use crate::local::{Drop, Local, RefCounts};
use crate::slab::{Held, Slab};
use crate::sync::MutexGuard;
use crate::word::{Release, Renew, State};

/// The result of a close.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Closed {
    /// This process still holds the handle.
    Counted,
    /// This process no longer holds the handle. Others hold it, or another process is deciding and will end it.
    Left,
    /// The handle had no other holder: its generation is over, and `free` received its block.
    Ended,
}

/// The result of `free_if_unheld`.
#[must_use]
#[derive(Clone, Copy)]
pub(crate) struct Decision {
    /// It ended the generation.
    pub(crate) ended: bool,
    /// A block to be freed, after the stripe is unlocked.
    pub(crate) block: Option<BlockRef>,
}

impl Decision {
    const NOTHING: Self = Self { ended: false, block: None };
}

impl Slab<'_> {
    /// Closes one count. The last count of the process clears its holder bit; the last holder bit ends the handle.
    ///
    /// If only the creator's process ever opened the handle, and `cache` has room, the close costs one CAS, and the entry goes to the
    /// cache (private close). `free` receives the handle's block if this call ends the handle; it runs without private locks.
    ///
    /// # Errors
    ///
    /// [`Stale`]: this process has no such count.
    ///
    /// # Progress
    ///
    /// Not the last count of the process, or private: lock-free, and wait-free except for sibling threads that count the same
    /// handle. Otherwise wait-free between processes; within one it may wait for the first opens and last closes of
    /// handles of the same stripe.
    ///
    /// # Crash
    ///
    /// At any point: a bit of a dead lease, or an entry that names a block of a generation that is over. Recovery of this lease repairs
    /// both; the next claimer of the entry also repairs the latter.
    #[inline]
    pub fn close(
        &self,
        acquire: &Acquire,
        ref_counts: &RefCounts,
        cache: Option<&mut Cache>,
        held: Held,
        mut free: impl FnMut(BlockRef),
    ) -> Result<Closed, Stale> {
        debug_assert_eq!(
            acquire.id().index,
            ref_counts.lease_index(),
            "these ref_counts are another member's"
        );
        let (index, generation) = (held.index(), held.generation());
        let local = ref_counts.local(index);
        if local == Local::new(generation, true, 1)
            && let Some(entry) = self.entry(index)
        {
            // `shared` is never cleared: skip a CAS that must fail and would still take the cache line exclusively.
            let Some(cache) = cache.filter(|cache| cache.room() > 0 && !entry.word.peek().shared()) else {
                return match self.close_last(ref_counts, entry, index, generation, &mut free) {
                    Some(closed) => Ok(closed),
                    None => self.close_counted(ref_counts, held, free),
                };
            };
            // A sibling may open between the load above and the CAS: see `open_held`, fact 2.
            match entry.word.renew(generation, self.layout().generation_bits()) {
                Renew::Renewed { next } => {
                    // An increment that a sibling made in the meantime is void: the sibling finds that when it loads the word.
                    ref_counts.set_local(index, Local::new(next, true, 0));
                    if entry.len().is_block() {
                        free(BlockRef { offset: entry.block_offset(), index, generation });
                        // The entry is INIT and this process's own, so it may remove the block's name.
                        entry.forget_block();
                    }
                    let _ = cache.push(index);
                    return Ok(Closed::Ended);
                }
                Renew::Retired => return Ok(self.retire(ref_counts, held, free)),
                Renew::Refused => {}
            }
        } else if ref_counts.give_one_of_several(index, generation, local) {
            return Ok(Closed::Counted);
        }
        self.close_counted(ref_counts, held, free)
    }

    /// The end of a private close of the last generation: the word is RETIRED, and our bit is still set.
    #[cold]
    fn retire(&self, ref_counts: &RefCounts, held: Held, mut free: impl FnMut(BlockRef)) -> Closed {
        let (index, generation) = (held.index(), held.generation());
        let Some(entry) = self.entry(index) else { return Closed::Ended };
        // No process writes to a RETIRED entry again, so the entry keeps naming the block; freeing the block twice is harmless.
        let block =
            entry.len().is_block().then(|| BlockRef { offset: entry.block_offset(), index, generation });
        {
            let _guard = ref_counts.lock(index);
            ref_counts.set_local(index, Local::new(generation, false, 0));
            entry.bits().clear(ref_counts.lease_index());
            // No `free_if_unheld` [slab-cleared-then-decided]: it would find RETIRED.
        }
        block.into_iter().for_each(&mut free);
        Closed::Ended
    }

    /// Closes the last count of a shared handle: as the end of [`Self::close_counted`]. `None`: a sibling thread has incremented the count,
    /// and nothing was done.
    #[inline(never)]
    fn close_last(
        &self,
        ref_counts: &RefCounts,
        entry: Entry<'_>,
        index: u32,
        generation: u64,
        free: &mut impl FnMut(BlockRef),
    ) -> Option<Closed> {
        let guard = ref_counts.lock(index);
        if !ref_counts.give_last(index, generation) {
            return None;
        }
        Some(self.leave(ref_counts, guard, entry, index, free))
    }

    /// Clears the process's bit; its last count is closed.
    #[inline(always)]
    fn leave(
        &self,
        ref_counts: &RefCounts,
        guard: MutexGuard<'_, ()>,
        entry: Entry<'_>,
        index: u32,
        free: &mut impl FnMut(BlockRef),
    ) -> Closed {
        entry.bits().clear(ref_counts.lease_index());
        if fault!("slab.close.no_finish") {
            return Closed::Left;
        }
        let Decision { ended, block } = self.free_if_unheld(ref_counts, &guard, index, entry);
        drop(guard);
        block.into_iter().for_each(free);
        if ended { Closed::Ended } else { Closed::Left }
    }

    /// The slow path of [`Self::close`]: one count of several, or the last one.
    #[cold]
    #[inline(never)]
    pub(crate) fn close_counted(
        &self,
        ref_counts: &RefCounts,
        held: Held,
        mut free: impl FnMut(BlockRef),
    ) -> Result<Closed, Stale> {
        let (index, generation) = (held.index(), held.generation());
        let not_held = || Err(self.not_held(ref_counts, held));
        match ref_counts.give(index, generation) {
            Drop::Counted => return Ok(Closed::Counted),
            Drop::NotHeld => return not_held(),
            Drop::Last => {}
        }
        let Some(entry) = self.entry(index) else { return not_held() };
        let guard = ref_counts.lock(index);
        while !ref_counts.give_last(index, generation) {
            // A sibling has incremented the count (and may have decremented it again).
            match ref_counts.give(index, generation) {
                Drop::Counted => return Ok(Closed::Counted),
                Drop::NotHeld => return not_held(),
                Drop::Last => {}
            }
        }
        Ok(self.leave(ref_counts, guard, entry, index, &mut free))
    }

    /// Ends the generation of a handle if the handle has no holder.
    ///
    /// A process that clears a holder bit calls this function afterwards `[slab-cleared-then-decided]`. The tag makes the load of the holder set and the end of the
    /// generation one decision: an opener in between removes the tag, a newer closer overwrites it, and then our CAS fails.
    /// The stripe is locked, because two threads of one process have the same tag.
    ///
    /// An opener and this function are a Dekker pair: the opener sets its bit and loads the word, this stores the tag and loads the bits:
    /// - either the opener's bit is seen by the second load of the bits here: then nothing is done, and the opener's close decides;
    /// - or it is not: then our tag is seen by the opener's load of the word, and only one of two CASes from that value succeeds.
    ///
    /// # Two at once
    ///
    /// If a CAS fails, a newer tag decides. The lease of that tag has the entry's group in its own group map `[slab-group-before-decision]`: an opener
    /// or closer had its bit there `[slab-group-before-bit]`, a recoverer has marked the group first. So if that process dies before its second CAS, its own
    /// recovery visits the entry and decides.
    ///
    /// # Progress
    ///
    /// Wait-free: two CASes, none repeated.
    ///
    /// # Crash
    ///
    /// A stale tag, which the next opener or closer overwrites; or a FREE entry that names its block, which the next
    /// claimer or our recovery frees. The entry is no longer ours, so only a claimer may remove the block's name.
    pub(crate) fn free_if_unheld(
        &self,
        ref_counts: &RefCounts,
        _stripe: &MutexGuard<'_, ()>,
        index: u32,
        entry: Entry<'_>,
    ) -> Decision {
        // Not needed for safety; it saves a CAS on every close that is not the last. The owner of the bit clears it later and decides
        // then, or the owner's recovery does.
        if entry.bits().any() {
            return Decision::NOTHING;
        }
        let seen = entry.word.load();
        if !matches!(seen.state(), Some(State::Init | State::Live)) {
            return Decision::NOTHING;
        }
        let Some(reserved) = entry.word.reserve(seen, ref_counts.tag()) else { return Decision::NOTHING };
        if entry.bits().any() && !fault!("slab.free_if_unheld.no_second_look") {
            return Decision::NOTHING;
        }
        // Load length and offset before the generation ends: afterwards a claimer may store new ones. If they are not of this
        // generation, the CAS below fails.
        let generation = reserved.generation();
        let block =
            entry.len().is_block().then(|| BlockRef { offset: entry.block_offset(), index, generation });
        match entry.word.release(reserved, self.layout().generation_bits()) {
            Release::Overtaken => return Decision::NOTHING,
            Release::Retired => {}
            Release::Freed => {
                self.hint_free(index);
            }
        }
        Decision { ended: true, block }
    }
}
