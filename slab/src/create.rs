//! From a free entry to a handle: claim, create, and releasing claimed entries.

use tenure_core::{Acquire, mutant};

use crate::cache::Cache;
use crate::entry::{BlockRef, Payload};
use crate::error::Exhausted;
use crate::geometry::INLINE_BYTES;
use crate::local::RefCounts;
use crate::slab::{Held, Slab};
use crate::sync::Ordering;
use crate::word::{Claim, Claimed, State};

/// The most entries claimed at once.
const BATCH: usize = 32;

impl Slab<'_> {
    /// Fills a cache with up to 32 free entries, or as many as it has room for.
    ///
    /// The search follows the hints: first where the member found entries last, then everywhere else. If no hint leads to a free entry,
    /// every committed word is loaded before the result is "exhausted". `free` receives blocks that a killed closer left in a claimed
    /// entry; it runs while no sibling waits.
    ///
    /// # Errors
    ///
    /// No committed entry is FREE. Entries in caches are INIT.
    ///
    /// # Progress
    ///
    /// Lock-free between processes; within one it may wait for a first open or a last close of the same handle.
    ///
    /// # Crash
    ///
    /// At any point: bits of a dead lease at FREE or INIT entries, which recovery clears and frees; lost hints.
    pub fn claim(
        &self,
        acquire: &Acquire,
        ref_counts: &RefCounts,
        cache: &mut Cache,
        mut free: impl FnMut(BlockRef),
    ) -> Result<(), Exhausted> {
        self.claim_likely(acquire, ref_counts, cache, &mut free).or_else(|exhausted| {
            self.claim_any(ref_counts, cache, &mut free);
            if cache.is_empty() { Err(exhausted) } else { Ok(()) }
        })
    }

    /// As [`Slab::claim`], but examines only entries that the hints call free. A hint can be lost only if a process dies. For callers that
    /// prefer to extend the slab to a scan of all entries.
    ///
    /// # Errors
    ///
    /// [`Exhausted`]: no hint led to a free entry.
    pub fn claim_likely(
        &self,
        acquire: &Acquire,
        ref_counts: &RefCounts,
        cache: &mut Cache,
        mut free: impl FnMut(BlockRef),
    ) -> Result<(), Exhausted> {
        debug_assert_eq!(
            acquire.id().index,
            ref_counts.lease_index(),
            "these ref_counts are another member's"
        );
        let goal = cache.len() + cache.room().min(BATCH);
        if cache.room() == 0 {
            return Ok(());
        }
        let groups = self.committed_groups();
        let start = ref_counts.claim_start(groups, self.layout().members());
        for group in (0..groups).map(|step| (start + step) % groups) {
            self.claim_hinted(ref_counts, cache, goal, group, &mut free);
            if cache.len() >= goal {
                ref_counts.claimed_in(group);
                return Ok(());
            }
        }
        if cache.is_empty() {
            return Err(self.exhausted());
        }
        Ok(())
    }

    /// Claims entries of a group that the hints call free.
    fn claim_hinted(
        &self,
        ref_counts: &RefCounts,
        cache: &mut Cache,
        goal: usize,
        group: u32,
        free: &mut impl FnMut(BlockRef),
    ) {
        let hint = self.hint(group);
        // Relaxed, here and below: hint: decides nothing; the word does.
        let mut left = !hint.load(Ordering::Relaxed) & self.layout().group_mask(group);
        while left != 0 && cache.len() < goal {
            let wanted = lowest(left, goal - cache.len());
            left &= !wanted;
            // The hints are set to "taken" before the words are loaded, so that two claimers work on different entries.
            let mut won = wanted & !hint.fetch_or(wanted, Ordering::Relaxed);
            while won != 0 {
                let index = group * 64 + won.trailing_zeros();
                won &= won - 1;
                if let Some(claimed) = self.claim_one(ref_counts, index, free) {
                    cache.push(claimed);
                }
            }
        }
    }

    /// Claims one entry anywhere, regardless of the hints: these can be lost.
    #[cold]
    fn claim_any(&self, ref_counts: &RefCounts, cache: &mut Cache, free: &mut impl FnMut(BlockRef)) {
        for index in 0..self.committed_handles() {
            let free_word =
                self.entry(index).is_some_and(|entry| entry.word().peek().state() == Some(State::Free));
            if free_word && let Some(claimed) = self.claim_one(ref_counts, index, free) {
                // Relaxed: hint.
                self.hint(index / 64).fetch_or(1 << (index % 64), Ordering::Relaxed);
                cache.push(claimed);
                return;
            }
        }
    }

    /// Claims one entry: bit first, word second.
    ///
    /// Its siblings wait meanwhile: the bit of a claim that loses must not look like that of a creator.
    fn claim_one(
        &self,
        ref_counts: &RefCounts,
        index: u32,
        free: &mut impl FnMut(BlockRef),
    ) -> Option<Claimed> {
        let entry = self.entry(index)?;
        let me = ref_counts.lease_index();
        // With a count that is written down the entry is not FREE any more.
        let busy = ref_counts.busy_uncounted(index)?;
        let seen = entry.word().peek();
        // No bit of this process is set: none of its threads was busy, and it holds nothing that is FREE.
        if seen.state() != Some(State::Free) || seen.generation() >> self.layout().generation_bits() != 0 {
            return None;
        }
        if !mutant!("slab.claim.group_after_bit") {
            self.mark_group(ref_counts, index);
        }
        entry.bits().set(me);
        if entry.word().claim(seen) == Claim::Lost {
            let others = entry.bits().clear(me);
            let block = if others { None } else { self.free_if_unheld(ref_counts, entry, index).block };
            drop(busy);
            block.into_iter().for_each(free);
            return None;
        }
        if mutant!("slab.claim.group_after_bit") {
            self.mark_group(ref_counts, index);
        }
        drop(busy);
        if self.layout().has_slots()
            && let Some(home) = self.home(index)
        {
            home.reset();
        }
        let generation = seen.generation();
        // The entry may still name the block of the last generation: the process that ended that generation may have died before it freed
        // the block, and only a claimer may remove the name. Here the entry is INIT and the caller's, so remove it.
        if entry.len().is_block() {
            let block = generation.checked_sub(1).and_then(|generation| entry.block_ref(index, generation));
            block.into_iter().for_each(&mut *free);
            entry.forget_block();
        }
        Some(Claimed::new(generation, index))
    }

    /// Creates a handle, with one count for the caller.
    ///
    /// With an entry in the cache it is a few plain stores. `attach` is called with the handle's index and generation. At that moment
    /// the entry already names the block, and no process can open the handle yet. For a payload in a block, `attach` changes the block
    /// word from LEASE to ATTACHED. It is called for inline payloads, too. `free` is as in [`Slab::claim`].
    ///
    /// # Errors
    ///
    /// [`Exhausted`]; then `attach` was not called.
    ///
    /// # Panics
    ///
    /// If an inline payload has more than [`INLINE_BYTES`] bytes.
    ///
    /// # Progress
    ///
    /// Wait-free with an entry in the cache; otherwise as [`Slab::claim`].
    ///
    /// # Crash
    ///
    /// Before the word is LIVE: an INIT entry with the bit of a dead lease. After: a LIVE entry with it. In both cases recovery ends the
    /// generation and frees the block, if it was attached; a block that is not yet attached belongs to the dead lease. A panic in
    /// `attach` leaves the entry INIT until the member leaves.
    #[expect(clippy::too_many_arguments, reason = "one call of tenure; a struct would only name them twice")]
    #[inline(always)]
    pub fn create(
        &self,
        acquire: &Acquire,
        ref_counts: &RefCounts,
        cache: &mut Cache,
        kind: u64,
        payload: Payload<'_>,
        attach: impl FnOnce(u32, u64),
        mut free: impl FnMut(BlockRef),
    ) -> Result<Held, Exhausted> {
        if let Payload::Inline(bytes) = payload {
            assert!(
                bytes.len() <= INLINE_BYTES,
                "an inline payload has at most 32 bytes, this one {}",
                bytes.len()
            );
        }
        if cache.is_empty() {
            self.claim(acquire, ref_counts, cache, &mut free)?;
        }
        // A cache of this slab has entries of its layout only.
        let popped = cache.pop().and_then(|claimed| Some((claimed, self.entry(claimed.index())?)));
        let Some((claimed, entry)) = popped else { return Err(self.exhausted()) };
        entry.set_kind(kind);
        let len = entry.fill(payload);
        attach(claimed.index(), claimed.generation());
        // The count of 1 is not written down: see `Local`. The generation comes from private memory, which peers cannot corrupt; it
        // equals the generation in the word.
        entry.word().publish(claimed.live());
        Ok(Held::new(claimed.live(), claimed.index(), len))
    }

    #[cold]
    fn exhausted(&self) -> Exhausted {
        Exhausted { committed: self.committed_handles(), handles: self.layout().handles() }
    }

    /// Releases all entries of a cache, so that others can claim them.
    ///
    /// # Progress
    ///
    /// As [`Slab::claim`].
    ///
    /// # Crash
    ///
    /// As a close.
    pub fn drain(&self, acquire: &Acquire, ref_counts: &RefCounts, cache: &mut Cache) {
        debug_assert_eq!(
            acquire.id().index,
            ref_counts.lease_index(),
            "these ref_counts are another member's"
        );
        while let Some(claimed) = cache.pop() {
            let index = claimed.index();
            let (Some(entry), Some(_busy)) = (self.entry(index), ref_counts.busy_uncounted(index)) else {
                continue;
            };
            if !entry.bits().clear(ref_counts.lease_index()) {
                // An entry in a cache names no block: claim and the private close have removed the name.
                let _ = self.free_if_unheld(ref_counts, entry, index);
            }
            // If a stray bit kept the entry from becoming FREE, the owner of that bit frees it.
        }
    }
}

/// The lowest `count` set bits.
fn lowest(bits: u64, count: usize) -> u64 {
    let mut rest = bits;
    for _ in 0..count {
        rest &= rest.wrapping_sub(1);
    }
    bits & !rest
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::lowest;

    #[test]
    fn lowest_takes_what_there_is() {
        assert_eq!(lowest(0b1011_0100, 2), 0b0001_0100);
        assert_eq!(lowest(0b1, 5), 1);
        assert_eq!(lowest(u64::MAX, 64), u64::MAX);
        assert_eq!(lowest(0, 3), 0);
        assert_eq!(lowest(7, 0), 0);
    }
}
