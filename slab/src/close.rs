//! From a count to nothing: close, and the decision that nobody holds.

use tenure_core::{Acquire, fault};

use crate::cache::Cache;
use crate::entry::{BlockRef, Entry};
use crate::error::Stale;
use crate::local::{Drop, Local, RefCounts};
use crate::slab::{Held, Slab};
use crate::sync::MutexGuard;
use crate::word::{Release, Renew, State};

/// What a close did.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Closed {
    /// This process still holds it.
    Counted,
    /// This process no longer holds it. Others do, or somebody who is looking will end it.
    Left,
    /// Nobody holds it: its generation is over, and its block was given to `free`.
    Ended,
}

/// What `free_if_unheld` did.
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
    /// Gives one count back. The last count of the process ends its hold, the last hold ends the handle.
    ///
    /// A handle that was only ever opened by its creator's process, closed with room in `cache`, costs one CAS, and its
    /// entry goes to the cache. `free` receives the handle's block when this call ends the handle; it runs without
    /// private locks.
    ///
    /// # Errors
    ///
    /// [`Stale`]: this process has no such count.
    ///
    /// # Progress
    ///
    /// Not the last count of the process, or private: lock-free, and wait-free but for sibling threads counting the same
    /// handle. Otherwise wait-free between processes; within one it may wait for the first opens and last closes of
    /// handles of the same stripe.
    ///
    /// # Crash
    ///
    /// At any point: a bit of a dead lease or an entry that names a block of a generation that is over; recovery of
    /// this lease sees to both, as does the next claimer of the entry to the latter.
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
            // Once shared, always shared: the exchange would fail, and have the line to itself for that.
            let Some(cache) = cache.filter(|cache| cache.room() > 0 && !entry.word.peek().shared()) else {
                return match self.close_last(ref_counts, entry, index, generation, &mut free) {
                    Some(closed) => Ok(closed),
                    None => self.close_counted(ref_counts, held, free),
                };
            };
            // A sibling may open between the look above and the CAS: see `open_held`, fact 2.
            match entry.word.renew(generation, self.layout().generation_bits()) {
                Renew::Renewed { next } => {
                    // Whatever a sibling counted in the meantime is void: its look at the word says so.
                    ref_counts.set_local(index, Local::new(next, true, 0));
                    if entry.len().is_block() {
                        free(BlockRef { offset: entry.block_offset(), index, generation });
                        // The entry is INIT and ours, so the mark is ours to clear.
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

    /// The private close found the last generation: RETIRED, and our bit still there.
    #[cold]
    fn retire(&self, ref_counts: &RefCounts, held: Held, mut free: impl FnMut(BlockRef)) -> Closed {
        let (index, generation) = (held.index(), held.generation());
        let Some(entry) = self.entry(index) else { return Closed::Ended };
        // Nobody ever writes a RETIRED entry again, so the block stays named; freeing it twice is harmless.
        let block =
            entry.len().is_block().then(|| BlockRef { offset: entry.block_offset(), index, generation });
        {
            let _guard = ref_counts.lock(index);
            ref_counts.set_local(index, Local::new(generation, false, 0));
            entry.bits().clear(ref_counts.lease_index());
            // No `free_if_unheld` [I5]: it would find RETIRED.
        }
        block.into_iter().for_each(&mut free);
        Closed::Ended
    }

    /// The last count, once others were told of the handle: as the end of [`Self::close_counted`]. `None`: a sibling thread
    /// counted meanwhile, and nothing was done.
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

    /// Takes the process's bit away; its last count was given back.
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

    /// One count of several, or the last one the long way.
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
            // A sibling counted meanwhile (and may have given it back again).
            match ref_counts.give(index, generation) {
                Drop::Counted => return Ok(Closed::Counted),
                Drop::NotHeld => return not_held(),
                Drop::Last => {}
            }
        }
        Ok(self.leave(ref_counts, guard, entry, index, &mut free))
    }

    /// Decides whether nobody holds a handle, and if so ends its generation.
    ///
    /// Whoever clears a bit calls it afterwards `[I5]`. The tag makes reading the set and ending the generation one
    /// decision: an opener that slips in between takes the tag back, a newer closer overwrites it, and our CAS fails.
    /// The stripe is locked, because two threads of one process would share a tag.
    ///
    /// # Two at once
    ///
    /// A lost CAS means that a newer tag decides. The lease of that tag has the entry's group in its own group map `[I26]`: an opener
    /// or closer had its bit there `[I8]`, a recoverer has marked the group first. So if it dies before its second CAS, its own
    /// recovery comes by and decides.
    ///
    /// # Progress
    ///
    /// Wait-free: two CASes, none repeated.
    ///
    /// # Crash
    ///
    /// A stale tag, which the next opener or closer overwrites; or a FREE entry that names its block, which the next
    /// claimer or our recovery frees: the entry is no longer ours, so nobody but a claimer may take the name away.
    pub(crate) fn free_if_unheld(
        &self,
        ref_counts: &RefCounts,
        _stripe: &MutexGuard<'_, ()>,
        index: u32,
        entry: Entry<'_>,
    ) -> Decision {
        // Not needed for safety, and it spares a CAS on every close that is not the last: whoever's bit this is will
        // clear it later and decide then, or its recovery does.
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
        // Read before the generation ends: afterwards a claimer may write here. If they are not of this generation, the
        // CAS below fails.
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
