//! Chunks: container slots that belong to a handle.
//!
//! A container is a handle whose kind says so. Its creator claims a run of chunks for it before the handle is LIVE. Only its holders
//! put into these slots, and what they put is no container: so the end of a container ends handles, but no other container.
//!
//! ```text
//! claim    chunks of a run, one after the other: CAS(chunk, FREE -> OWNED (c, g)); slot i of the run EMPTY, number i
//! sweep    chunk OWNED (c, g), and (c, g) is over: hazard = chunk; chunk still OWNED (c, g)?
//!          for each slot that is not EMPTY, it holds h: mark the group of h; CAS(slot -> EMPTY); free_if_unheld(h)
//!          hazard = 0; CAS(chunk, OWNED (c, g) -> FREEING); then free
//! free     chunk FREEING (d, f), and no hazard names it: CAS(chunk, FREEING (d, f) -> FREE)
//! ```
//!
//! Whoever ends a container sweeps afterwards, and so does each recovery: the chunk word says that there is something to sweep.
//!
//! `verify/models/chunks.pml` is the model.

use tenure_core::{Acquire, mutant};

use super::word::{Chunk, ChunkWord};
use crate::entry::BlockRef;
use crate::geometry::CHUNK_SLOTS;
use crate::inspect::Problem;
use crate::local::RefCounts;
use crate::slab::Slab;

/// The bits of a kind that tell a container.
pub const CONTAINER_KIND_MASK: u64 = 0b111 << 61;
/// Their value in the kind of a container.
pub const CONTAINER_KIND: u64 = 0b011 << 61;

/// Whether handles of this kind may own slots.
#[must_use]
pub const fn is_container(kind: u64) -> bool {
    kind & CONTAINER_KIND_MASK == CONTAINER_KIND
}

impl Slab<'_> {
    /// The number of container slots, in whole chunks.
    #[must_use]
    pub fn container_slots(&self) -> u32 {
        self.layout().chunks() * CHUNK_SLOTS
    }

    /// Claims a run of container slots for a handle that the caller is creating; returns the first one. The run is `slots` rounded up to
    /// whole chunks. Call it in `attach` of [`Slab::create`], for a handle of a container kind. `None` if no such run is free.
    ///
    /// # Progress
    ///
    /// Wait-free between processes: at most two passes over the chunks.
    ///
    /// # Crash
    ///
    /// The chunks name a handle that recovery ends, and sweeps.
    pub fn claim_slots(
        &self,
        acquire: &Acquire,
        ref_counts: &RefCounts,
        (index, generation): (u32, u64),
        slots: u32,
        free: impl FnMut(BlockRef),
    ) -> Option<u32> {
        debug_assert_eq!(
            acquire.id().index,
            ref_counts.lease_index(),
            "these ref_counts are another member's"
        );
        let (owner, chunks) = (Chunk::owned(index, generation), slots.div_ceil(CHUNK_SLOTS));
        let run = self.claim_run(owner, chunks).or_else(|| {
            // Containers may be over whose last holder is stopped.
            self.sweep(ref_counts, free);
            self.claim_run(owner, chunks)
        })?;
        let first = self.layout().chunk_slots(run).start;
        for (number, slot) in (first..first + chunks * CHUNK_SLOTS).enumerate() {
            // Nobody else uses the chunk. A word that is not EMPTY is corrupted, and stays so.
            if let Some((word, seen)) = self.slot_word(slot).map(|word| (word, word.load()))
                && seen.is_empty()
            {
                word.renumber(seen, number as u64);
            }
        }
        Some(first)
    }

    /// The first chunk of a run of FREE ones, which are now the owner's.
    fn claim_run(&self, owner: Chunk, chunks: u32) -> Option<u32> {
        let mut first = 0;
        if chunks == 0 {
            return None;
        }
        while first + chunks <= self.layout().chunks() {
            let is_taken = |chunk: &u32| !self.chunk_word(*chunk).is_some_and(|word| word.claim(owner));
            let Some(taken) = (first..first + chunks).find(is_taken) else { return Some(first) };
            for word in (first..taken).filter_map(|chunk| self.chunk_word(chunk)) {
                word.give_back(owner);
            }
            first = taken + 1;
        }
        None
    }

    /// Whether a handle owns a run of slots, as [`Slab::claim_slots`] has returned it. The caller holds the handle.
    #[must_use]
    pub fn owns_slots(&self, (index, generation): (u32, u64), first: u32, slots: u32) -> bool {
        let Some(chunk) = self.layout().chunk_of(first) else { return false };
        let is_owned =
            |chunk| self.chunk_word(chunk).is_some_and(|word| word.load() == Chunk::owned(index, generation));
        self.layout().chunk_slots(chunk).start == first
            && slots > 0
            && (chunk..chunk.saturating_add(slots.div_ceil(CHUNK_SLOTS))).all(is_owned)
    }

    /// Empties the slots of all containers that are over, and frees their chunks. What was in the slots ends if nobody else holds it, and
    /// `free` receives its block. To be called after a close, a recovery or an eviction has ended a container: `free` got a
    /// [`BlockRef`] that says so.
    ///
    /// # Progress
    ///
    /// Wait-free between processes: one pass over the chunks, and over the slots of containers that are over. Within a process it waits
    /// for a sibling that sweeps.
    ///
    /// # Crash
    ///
    /// The chunk still names a container that is over: the next sweep, or the recovery of this lease, goes on.
    pub fn sweep(&self, ref_counts: &RefCounts, mut free: impl FnMut(BlockRef)) {
        if mutant!("slab.chunks.no_sweep") {
            return;
        }
        for chunk in 0..self.layout().chunks() {
            let Some(word) = self.chunk_word(chunk) else { break };
            let seen = word.load();
            if self.is_chunk_over(seen) {
                self.sweep_chunk(ref_counts, chunk, word, seen, &mut free);
            }
        }
    }

    fn is_chunk_over(&self, chunk: Chunk) -> bool {
        // An owner that cannot be is a corrupted word, which nobody changes.
        chunk.owner().is_some_and(|(index, generation)| {
            self.committed_entry(index).is_some() && !self.is_current(index, generation)
        })
    }

    fn sweep_chunk(
        &self,
        ref_counts: &RefCounts,
        chunk: u32,
        word: ChunkWord<'_>,
        seen: Chunk,
        free: &mut impl FnMut(BlockRef),
    ) {
        let me = ref_counts.lease_index();
        let Some(hazard) = self.hazard(me) else { return };
        let busy = ref_counts.sweeping();
        if !mutant!("slab.chunks.no_hazard") {
            hazard.set(chunk);
        }
        if word.load() == seen && !seen.is_freeing() {
            for slot in self.layout().chunk_slots(chunk) {
                self.let_go(ref_counts, slot, free);
            }
        }
        hazard.clear();
        if !seen.is_freeing() {
            word.begin_free(seen);
        }
        drop(busy);
        // Of whichever container: this hazard may have kept another member from freeing the chunk.
        let now = word.load();
        let is_swept = |lease| self.hazard(lease).and_then(|hazard| hazard.chunk()) == Some(chunk);
        // With container slots at most 254.
        let mut leases = (0..self.layout().members()).map(|lease| lease as u8);
        if now.is_freeing() && self.is_chunk_over(now) && !leases.any(is_swept) {
            word.free(now);
        }
    }

    /// Empties a slot of a container that is over.
    fn let_go(&self, ref_counts: &RefCounts, slot: u32, free: &mut impl FnMut(BlockRef)) {
        let Some(word) = self.slot_word(slot) else { return };
        loop {
            let seen = word.load();
            if seen.is_empty() || self.let_out(ref_counts, word, seen, free) {
                return;
            }
        }
    }

    /// Recovers what a dead lease was sweeping; [`Slab::sweep`] comes afterwards.
    pub(crate) fn recover_hazard(&self, dead: u8) {
        if let Some(hazard) = self.hazard(dead)
            && !mutant!("slab.chunks.recover_no_hazard")
        {
            hazard.clear();
        }
    }

    /// Why the word of a chunk is not as it must be. `None` also if it has changed meanwhile.
    pub(crate) fn chunk_problem(&self, chunk: u32) -> Option<Problem> {
        let word = self.chunk_word(chunk)?;
        let found = word.load();
        let is_empty = |slot| self.slot_word(slot).is_some_and(|word| word.load().is_empty());
        let problem = if found == Chunk::FREE {
            let is_clean = self.layout().chunk_slots(chunk).all(is_empty);
            (!is_clean).then_some(Problem::Chunk { chunk })
        } else if self.is_chunk_over(found) {
            Some(Problem::Unswept { chunk })
        } else {
            let owner = found.owner().filter(|_| !found.is_freeing());
            let owner = owner.and_then(|(index, _)| self.committed_entry(index));
            let is_owned = owner.is_some_and(|entry| is_container(entry.kind()));
            (!is_owned).then_some(Problem::Chunk { chunk })
        };
        problem.filter(|_| word.load() == found)
    }
}
