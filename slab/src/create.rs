//! From a free entry to a handle: claim, create, and releasing claimed entries.

use tenure_core::{Acquire, fault};

use crate::cache::Cache;
use crate::close::Decision;
use crate::entry::{BlockRef, Entry, Payload};
use crate::error::Exhausted;
use crate::geometry::INLINE_BYTES;
use crate::local::{Local, RefCounts};
use crate::slab::{Held, Slab};
use crate::sync::Ordering;
use crate::word::{Claim, State};

/// The most entries claimed at once.
const BATCH: usize = 32;

impl Slab<'_> {
    /// Fills a cache with up to 32 free entries, or as many as it has room for.
    ///
    /// The search follows the hints: first where the member found entries last, then everywhere else. If no hint leads to a free entry,
    /// every committed word is loaded before the result is "exhausted". `free` receives blocks that a killed closer left in a claimed
    /// entry; it runs without private locks.
    ///
    /// # Errors
    ///
    /// No committed entry is FREE. Entries in caches are INIT.
    ///
    /// # Progress
    ///
    /// Lock-free between processes; within one it may wait for first opens and last closes of handles of the same stripe.
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
            return Err(Exhausted { committed: self.committed_handles(), handles: self.layout().handles() });
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
                if self.claim_one(ref_counts, index, free) {
                    let _ = cache.push(index);
                }
            }
        }
    }

    /// Claims one entry anywhere, regardless of the hints: these can be lost.
    #[cold]
    fn claim_any(&self, ref_counts: &RefCounts, cache: &mut Cache, free: &mut impl FnMut(BlockRef)) {
        for index in 0..self.committed_handles() {
            let free_word =
                self.entry(index).is_some_and(|entry| entry.word.peek().state() == Some(State::Free));
            if free_word && self.claim_one(ref_counts, index, free) {
                // Relaxed: hint.
                self.hint(index / 64).fetch_or(1 << (index % 64), Ordering::Relaxed);
                let _ = cache.push(index);
                return;
            }
        }
    }

    /// Claims one entry: bit first, word second.
    fn claim_one(&self, ref_counts: &RefCounts, index: u32, free: &mut impl FnMut(BlockRef)) -> bool {
        let Some(entry) = self.entry(index) else { return false };
        let me = ref_counts.lease_index();
        let guard = ref_counts.lock(index);
        let seen = entry.word.peek();
        let usable =
            seen.state() == Some(State::Free) && seen.generation() >> self.layout().generation_bits() == 0;
        // Owned: a sibling has claimed the entry, so the word loaded above is old; the bit must stay set.
        if !usable || ref_counts.local(index).owned() {
            return false;
        }
        if !fault!("slab.claim.group_after_bit") {
            self.mark_group(ref_counts, index);
        }
        entry.bits().set(me);
        if entry.word.claim(seen) == Claim::Lost {
            entry.bits().clear(me);
            let Decision { block, .. } = self.free_if_unheld(ref_counts, &guard, index, entry);
            drop(guard);
            block.into_iter().for_each(free);
            return false;
        }
        if fault!("slab.claim.group_after_bit") {
            self.mark_group(ref_counts, index);
        }
        let generation = seen.generation();
        ref_counts.set_local(index, Local::new(generation, true, 0));
        drop(guard);
        // The entry may still name the block of the last generation: the process that ended that generation may have died before it freed
        // the block, and only a claimer may remove the name. Here the entry is INIT and the caller's, so remove it.
        if entry.len().is_block() {
            if let Some(generation) = generation.checked_sub(1) {
                free(BlockRef { offset: entry.block_offset(), index, generation });
            }
            entry.forget_block();
        }
        true
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
        loop {
            let Some((index, generation, entry)) = self.take(ref_counts, cache) else {
                self.claim(acquire, ref_counts, cache, &mut free)?;
                continue;
            };
            entry.set_kind(kind);
            entry.fill(payload);
            attach(index, generation);
            return Ok(publish(ref_counts, index, generation, entry));
        }
    }

    /// The fast path of [`Slab::create`], worth inlining: a payload of at most [`INLINE_BYTES`] bytes, and an entry in the cache. Also
    /// returns the address of the bytes. `None` if the cache is empty; then nothing is created.
    ///
    /// # Progress
    ///
    /// Wait-free: a few plain stores.
    ///
    /// # Crash
    ///
    /// As [`Slab::create`].
    #[cfg(not(loom))]
    #[inline]
    pub fn create_cached(
        &self,
        acquire: &Acquire,
        ref_counts: &RefCounts,
        cache: &mut Cache,
        kind: u64,
        bytes: &[u8],
    ) -> Option<(Held, *const u8)> {
        debug_assert_eq!(
            acquire.id().index,
            ref_counts.lease_index(),
            "these ref_counts are another member's"
        );
        if bytes.len() > INLINE_BYTES {
            return None;
        }
        let (index, generation, entry) = self.take(ref_counts, cache)?;
        entry.set_kind(kind);
        entry.fill(Payload::Inline(bytes));
        Some((publish(ref_counts, index, generation, entry), entry.inline_ptr()))
    }

    /// The entry pushed last to a cache, and the generation that it will issue.
    #[inline]
    fn take(&self, ref_counts: &RefCounts, cache: &mut Cache) -> Option<(u32, u64, Entry<'_>)> {
        while let Some(index) = cache.pop() {
            let local = ref_counts.local(index);
            // If not, the member has left since, or the cache is another member's. The generation comes from private memory, which peers
            // cannot corrupt; it equals the generation in the word.
            if let Some(entry) = self.entry(index)
                && local == Local::new(local.generation(), true, 0)
            {
                return Some((index, local.generation(), entry));
            }
        }
        None
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
        while let Some(index) = cache.pop() {
            let guard = ref_counts.lock(index);
            let local = ref_counts.local(index);
            let (true, 0, Some(entry)) = (local.owned(), local.count(), self.entry(index)) else { continue };
            ref_counts.set_local(index, Local::new(local.generation(), false, 0));
            entry.bits().clear(ref_counts.lease_index());
            // An entry in a cache names no block: claim and the private close have removed the name.
            let _ = self.free_if_unheld(ref_counts, &guard, index, entry);
            // If a stray bit kept the entry from becoming FREE, the owner of that bit frees it.
        }
    }
}

/// INIT -> LIVE, with one count.
#[inline]
fn publish(ref_counts: &RefCounts, index: u32, generation: u64, entry: Entry<'_>) -> Held {
    // The count first: a thread that sees LIVE sees the count [open.rs, fact 1].
    ref_counts.set_local(index, Local::new(generation, true, 1));
    entry.word.publish(generation);
    Held::new(index, generation)
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
