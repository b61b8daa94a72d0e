//! Close, and the decision that a handle has no holder.

use tenure_core::{Acquire, mutant, ordering};

use crate::cache::Cache;
use crate::entry::{BlockRef, Entry};
use crate::error::Stale;
use crate::local::{Local, RefCounts};
use crate::slab::{Held, Slab};
use crate::sync::fence;
use crate::word::{Claimed, Release, Renew, Reserved, Snapshot, State};

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
    /// A block to be freed, while no sibling waits.
    pub(crate) block: Option<BlockRef>,
}

impl Decision {
    pub(crate) const NOTHING: Self = Self { ended: false, block: None };
}

impl Slab<'_> {
    /// Closes one count. The last count of the process clears its holder bit; the last holder bit ends the handle.
    ///
    /// If nobody has opened the handle since its creation, and `cache` has room, the close costs one CAS, and the entry goes to the
    /// cache (private close). `free` receives the handle's block if this call ends the handle; it runs while no sibling waits.
    ///
    /// # Errors
    ///
    /// [`Stale`]: this process has no such count.
    ///
    /// # Progress
    ///
    /// Private: wait-free. Not the last count of the process: lock-free, and wait-free except for sibling threads that count the same
    /// handle. Otherwise wait-free between processes; within one it may wait for a first open of the same handle.
    ///
    /// # Crash
    ///
    /// At any point: a bit of a dead lease, or an entry that names a block of a generation that is over. Recovery of this lease repairs
    /// both; the next claimer of the entry also repairs the latter.
    #[inline(always)]
    pub fn close(
        &self,
        acquire: &Acquire,
        ref_counts: &RefCounts,
        mut cache: Option<&mut Cache>,
        held: Held,
        free: impl FnMut(BlockRef),
    ) -> Result<Closed, Stale> {
        debug_assert_eq!(
            acquire.id().index,
            ref_counts.lease_index(),
            "these ref_counts are another member's"
        );
        let index = held.index();
        if held.word().shared() {
            // One of several counts of the process.
            if self.has(index)
                && let Some(word) = ref_counts.word(index)
            {
                let local = word.load();
                if local.count(held.generation()) > 1 && word.decrement(local) {
                    return Ok(Closed::Counted);
                }
            }
        } else if let Some(slot) = cache.as_deref_mut().and_then(Cache::slot)
            && let Some(entry) = self.entry(index)
        {
            match self.renew_own(entry, acquire.id().index, held.word()) {
                Renew::Renewed => {
                    slot.fill(held.word().claimed_next(index));
                    return Ok(Closed::Ended);
                }
                Renew::Retired => {
                    self.retire(ref_counts, index);
                    return Ok(Closed::Ended);
                }
                Renew::Refused => {}
            }
        }
        match self.close_slow(ref_counts, cache, held, free) {
            Some(closed) => Ok(closed),
            None => Err(self.stale(held)),
        }
    }

    /// A private close: from LIVE to INIT of the next generation, if the word is `live` and member `me` has its bit set. Without the bit the
    /// handle is one of another member of this process, or of another space, and not this member's to close.
    #[inline(always)]
    fn renew_own(&self, entry: Entry<'_>, me: u8, live: Snapshot) -> Renew {
        if entry.bits().has(me) { entry.word().renew(live, self.retire_from) } else { Renew::Refused }
    }

    /// The end of a private close of the last generation: the word is RETIRED, and our bit is still set.
    #[cold]
    #[inline(never)]
    fn retire(&self, ref_counts: &RefCounts, index: u32) {
        let _busy = ref_counts.busy(index);
        let Some(entry) = self.entry(index) else { return };
        entry.bits().clear(ref_counts.lease_index());
        // No decision [slab-cleared-then-decided]: it would find RETIRED.
    }

    /// The rest of [`Self::close`]; `None` if this process has no such count.
    #[cold]
    #[inline(never)]
    pub(crate) fn close_slow(
        &self,
        ref_counts: &RefCounts,
        cache: Option<&mut Cache>,
        held: Held,
        free: impl FnMut(BlockRef),
    ) -> Option<Closed> {
        let (index, generation) = (held.index(), held.generation());
        let entry = self.entry(index)?;
        let live = Snapshot::live(generation, false);
        // As in `close`, for a payload in a block.
        if held.inline_len().is_none()
            && let Some(slot) = cache.and_then(Cache::slot)
            && entry.word().peek() == live
        {
            let renewed = self.renew_own(entry, ref_counts.lease_index(), live);
            if renewed != Renew::Refused {
                let block = entry.block_ref(index, generation);
                block.into_iter().for_each(free);
                if renewed == Renew::Retired {
                    // No process writes to a RETIRED entry again, so the entry keeps naming the block; freeing the block twice is harmless.
                    self.retire(ref_counts, index);
                } else {
                    // The entry is INIT and this process's own, so it may remove the block's name.
                    if block.is_some() {
                        entry.forget_block();
                    }
                    slot.fill(live.claimed_next(index));
                }
                return Some(Closed::Ended);
            }
        }
        let word = ref_counts.word(index)?;
        loop {
            let local = word.settled();
            let count = local.count(generation);
            if count > 1 {
                if word.decrement(local) {
                    return Some(Closed::Counted);
                }
            } else if count == 1 || local == Local::NONE {
                let Some(mut busy) = word.exchange(local) else { continue };
                let me = ref_counts.lease_index();
                // A count that is not written down: see `Local` and `Slab::open_first`.
                if count == 0 && !(entry.bits().has(me) && entry.word().peek().is_live(generation)) {
                    return None;
                }
                busy.set(Local::NONE);
                let others = entry.bits().clear(me);
                if others || mutant!("slab.close.no_finish") {
                    return Some(Closed::Left);
                }
                let Decision { ended, block } = self.free_if_unheld(ref_counts, entry, index);
                drop(busy);
                block.into_iter().for_each(free);
                return Some(if ended { Closed::Ended } else { Closed::Left });
            } else {
                // A count on a later generation.
                return None;
            }
        }
    }

    #[cold]
    #[inline(never)]
    pub(crate) fn stale(&self, held: Held) -> Stale {
        let found = self.entry(held.index()).map_or(0, |entry| entry.word().peek().generation());
        Stale { index: held.index(), expected: held.generation(), found }
    }

    /// Ends the generation of a handle if the handle has no holder: no member's bit, and no slot.
    ///
    /// A process that clears the last holder bit calls this function afterwards `[slab-cleared-then-decided]`. The tag makes the load of the holder set and the end of the
    /// generation one decision: an opener in between removes the tag, a newer closer overwrites it, and then our CAS fails.
    /// The caller is [`Busy`](crate::local::Busy) with the handle, because two threads of one process have the same tag.
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
    #[inline(never)]
    pub(crate) fn free_if_unheld(&self, ref_counts: &RefCounts, entry: Entry<'_>, index: u32) -> Decision {
        if self.layout().has_slots() {
            self.decide::<true>(ref_counts, entry, index)
        } else {
            self.decide::<false>(ref_counts, entry, index)
        }
    }

    /// [`Self::free_if_unheld`], in a slab with slots or in one without.
    #[inline(always)]
    fn decide<const SLOTS: bool>(&self, ref_counts: &RefCounts, entry: Entry<'_>, index: u32) -> Decision {
        let Some((reserved, block)) = self.unheld::<SLOTS>(ref_counts, entry, index) else {
            return Decision::NOTHING;
        };
        match entry.word().release(reserved, self.layout().generation_bits()) {
            Release::Overtaken => return Decision::NOTHING,
            Release::Retired => {}
            Release::Freed => {
                self.hint_free(index);
            }
        }
        Decision { ended: true, block }
    }

    /// The first half of [`Self::free_if_unheld`]: the word has our tag, and nobody held the handle afterwards. Its block, if it has one.
    #[inline(always)]
    fn unheld<const SLOTS: bool>(
        &self,
        ref_counts: &RefCounts,
        entry: Entry<'_>,
        index: u32,
    ) -> Option<(Reserved, Option<BlockRef>)> {
        let seen = entry.word().load();
        if !matches!(seen.state(), Some(State::Init | State::Live)) {
            return None;
        }
        // Held by a slot: whoever empties it decides afterwards. This look spares the CAS; the one below decides.
        if SLOTS && self.is_kept(index, seen.generation()) && !mutant!("slab.free_if_unheld.no_slot") {
            return None;
        }
        let reserved = entry.word().reserve(seen, ref_counts.tag())?;
        if entry.bits().any() && !mutant!("slab.free_if_unheld.no_second_look") {
            return None;
        }
        // After the bits: nobody who has a bit is putting it anywhere now.
        let generation = reserved.generation();
        if SLOTS && self.is_kept(index, generation) && !mutant!("slab.free_if_unheld.no_slot") {
            return None;
        }
        if SLOTS {
            // Release: the loads of the slot above, or the change of the slot by this process, come before everything that is stored after the end
            // of the handle, by whomever: whoever loads that, and passes the fence of `Look::is_still`, sees that the slot has changed.
            fence(ordering!("slab.slot.ended", Release, Acquire));
        }
        // Load length and offset before the generation ends: afterwards a claimer may store new ones. If they are not of this
        // generation, the CAS that ends it fails.
        Some((reserved, entry.block_ref(index, generation)))
    }

    /// As [`Self::free_if_unheld`], for a handle that this process has let out of a slot; but if the handle ends, its entry is not FREE but the
    /// caller's, for its cache. The caller frees the block, and removes its name from the entry.
    ///
    /// It is a claim before the end: our bit first, the word second. Our bit is set while the handle is LIVE and held by nobody else:
    /// - whoever decides about it meanwhile sees the bit, or has looked before and its CAS fails, because our tag is in the word; we decide;
    /// - an opener removes our tag, so our CAS fails: then we clear our bit as any closer does, and decide again.
    ///
    /// Siblings wait: the bit must not look like that of a creator.
    ///
    /// # Progress
    ///
    /// As [`Self::free_if_unheld`].
    ///
    /// # Crash
    ///
    /// After the tag: as there. After the bit: a bit of a dead lease at a handle that nobody else holds; its recovery ends the handle. After the CAS:
    /// INIT with the bit of a dead lease, which names the block of the generation that is over, as after a private close.
    pub(crate) fn renew_if_unheld(
        &self,
        ref_counts: &RefCounts,
        entry: Entry<'_>,
        index: u32,
    ) -> Result<(Claimed, Option<BlockRef>), Decision> {
        let unheld = self.unheld::<true>(ref_counts, entry, index);
        let (reserved, block) = unheld.ok_or(Decision::NOTHING)?;
        let me = ref_counts.lease_index();
        entry.bits().set(me);
        let Some(claimed) = entry.word().renew_reserved(reserved, index, self.layout().generation_bits())
        else {
            // As in a close that is not private.
            let is_held = entry.bits().clear(me);
            return Err(if is_held {
                Decision::NOTHING
            } else {
                self.free_if_unheld(ref_counts, entry, index)
            });
        };
        if let Some(home) = self.home(index) {
            home.reset();
        }
        Ok((claimed, block))
    }
}
