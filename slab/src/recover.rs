//! Taking back what a dead lease held.

use tenure_core::{Recovery, fault};

use crate::close::Decision;
use crate::entry::{BlockRef, Entry};
use crate::error::OpenError;
use crate::local::{COUNT_MAX_RECOVERING, Local, RefCounts};
use crate::slab::{Held, Slab};
use crate::sync::Ordering;
use crate::word::State;

/// What a recovery found to do; others may have done the rest.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Recovered {
    /// Holder bits of the dead lease that were cleared.
    pub handles: u32,
    /// Generations that ended thereby, those of claimed entries included.
    pub ended: u32,
    /// Blocks given to `free`; some of them may have been free already.
    pub blocks: u32,
}

impl Slab<'_> {
    /// Takes back every holder bit of a dead lease, and ends the handles that nobody else holds.
    ///
    /// `ref_counts` are those of the recoverer, `recovery.by()`: their locks keep two threads of one process from deciding
    /// about one handle with the same tag. For a recovery on joining, or on leaving, where the dead is the recoverer itself,
    /// they are the member's own; fresh ones will do on joining. After leaving, every [`Held`](crate::Held) and every
    /// [`Cache`](crate::Cache) of the member is void.
    ///
    /// `free` receives the blocks of handles that ended, and those that killed closers left behind; it runs without
    /// private locks.
    ///
    /// `wants` and `settle` are for payloads that say more about a holder than that it is one: a mutex that it owns. `settle` is
    /// called with every handle on which the dead lease has its bit, if `wants` its kind, before the bit is cleared: so every
    /// recoverer calls it again until all is done, and it has to be idempotent. The recoverer holds the handle meanwhile: if it is
    /// stopped in `settle` for an hour, it does not go on in another handle's payload. `settle` runs without private locks.
    ///
    /// # Progress
    ///
    /// Wait-free between processes: one pass over the groups that the dead lease touched, and an open and a close of each handle that
    /// is settled. Any number of recoverers may be at it, and any of them may stop for an hour.
    ///
    /// # Crash
    ///
    /// The group map is cleared last, word by word, so the next recoverer finds everything that is left. An entry whose end the
    /// recoverer was deciding is found through the recoverer's own map, also when other recoverers have freed the lease. Killed while
    /// settling, the recoverer has a bit on the handle like any holder.
    pub fn recover(
        &self,
        ref_counts: &RefCounts,
        recovery: &Recovery,
        wants: impl Fn(u64) -> bool,
        mut settle: impl FnMut(u64, Held),
        mut free: impl FnMut(BlockRef),
    ) -> Recovered {
        debug_assert_eq!(recovery.by(), ref_counts.lease_index(), "these ref_counts are another member's");
        let dead = recovery.dead().index;
        let mut recovered = Recovered::default();
        if u16::from(dead) >= self.layout().members() {
            return recovered;
        }
        if dead == ref_counts.lease_index() {
            ref_counts.forget_groups();
        }
        let committed = self.committed_groups();
        for first in (0..self.layout().groups()).step_by(64) {
            let map = self.map_word(dead, first);
            // SeqCst: group map: everything the dead lease stored is visible, by the lock that proves its death [A3].
            let mut groups = map.load(Ordering::SeqCst);
            if groups == 0 {
                continue;
            }
            while groups != 0 {
                let group = first + groups.trailing_zeros();
                groups &= groups - 1;
                // Beyond the watermark only a corrupted segment sets bits.
                if group < committed {
                    for index in self.layout().group_handles(group) {
                        self.settle_entry(ref_counts, dead, index, &wants, &mut settle, &mut free);
                        self.recover_entry(ref_counts, dead, index, &mut recovered, &mut free);
                    }
                }
            }
            // SeqCst: group map: after all that it stood for is done. No new owner of the lease can have set a bit
            // yet: the lock on the lease is ours or our peers' until all of us are done [I3].
            map.store(0, Ordering::SeqCst);
        }
        recovered
    }

    fn settle_entry(
        &self,
        ref_counts: &RefCounts,
        dead: u8,
        index: u32,
        wants: &impl Fn(u64) -> bool,
        settle: &mut impl FnMut(u64, Held),
        free: &mut impl FnMut(BlockRef),
    ) {
        let Some(entry) = self.entry(index) else { return };
        if !entry.bits().has(dead) {
            return;
        }
        let seen = entry.word.load();
        let generation = seen.generation();
        if !seen.is_live(generation) || !wants(entry.kind()) {
            return;
        }
        if dead == ref_counts.lease_index() {
            // Its bit is ours to clear: nobody else may, by the write lock of a join, or because we are leaving. So what was LIVE
            // when the bit had been seen stays LIVE.
            return settle(entry.kind(), Held::new(index, generation));
        }
        // The program's own counts must not keep us from settling: nobody would do it later. Hence the higher limit.
        let held = loop {
            if let Some(held) = self.open_held(ref_counts, entry, index, generation, COUNT_MAX_RECOVERING) {
                break held;
            }
            match self.open_first(ref_counts, entry, index, generation, &mut *free) {
                // Siblings opened it meanwhile, as often as they can.
                Err(OpenError::CountFull { .. }) => {}
                held => break held,
            }
        };
        // Otherwise it is over, and somebody else who recovers was faster.
        let Ok(held) = held else { return };
        settle(entry.kind(), held);
        let _ = self.close_counted(ref_counts, held, free);
    }

    fn recover_entry(
        &self,
        ref_counts: &RefCounts,
        dead: u8,
        index: u32,
        recovered: &mut Recovered,
        free: &mut impl FnMut(BlockRef),
    ) {
        let Some(entry) = self.entry(index) else { return };
        if fault!("slab.recover.no_init") && entry.word.peek().state() == Some(State::Init) {
            return;
        }
        let has = entry.bits().has(dead);
        let unheld =
            || !entry.bits().any() && matches!(entry.word.peek().state(), Some(State::Init | State::Live));
        // Without the bit too: a closer may have been killed between clearing it and `free_if_unheld`.
        if has || unheld() {
            self.take_responsibility(ref_counts, dead, index);
            let guard = ref_counts.lock(index);
            if has {
                if dead == ref_counts.lease_index() {
                    // Leaving: what this process counted is void.
                    let generation = ref_counts.local(index).generation();
                    ref_counts.set_local(index, Local::new(generation, false, 0));
                }
                entry.bits().clear(dead);
                recovered.handles += 1;
            }
            let Decision { ended, block } = self.free_if_unheld(ref_counts, &guard, index, entry);
            drop(guard);
            recovered.ended += u32::from(ended);
            if let Some(block) = block {
                free(block);
                recovered.blocks += 1;
            }
            if ended {
                return;
            }
        }
        if let Some(block) = self.left_block(entry, index)
            && !fault!("slab.recover.no_block")
        {
            free(block);
            recovered.blocks += 1;
        }
    }

    /// Sets the entry's group in the recoverer's own map, before `free_if_unheld` `[I26]`.
    ///
    /// Our tag may replace the tag of another recoverer or of a closer. That one then forgets the entry, and a recoverer goes on to
    /// clear the dead lease's map. If we are killed before our second CAS, only our own map leads to the entry.
    ///
    /// A member that recovers its own lease does not mark: its map has the group until this recovery clears it, and the mirror of
    /// the map must not remember a group that is cleared afterwards.
    fn take_responsibility(&self, ref_counts: &RefCounts, dead: u8, index: u32) {
        if dead != ref_counts.lease_index() && !fault!("slab.recover.no_mark") {
            self.mark_group(ref_counts, index);
        }
    }

    /// The block that an entry without a handle still names.
    ///
    /// Its name stays: only a claimer may take it away, since only a claimer knows that no newer one is being written.
    fn left_block(&self, entry: Entry<'_>, index: u32) -> Option<BlockRef> {
        let seen = entry.word.peek();
        let generation = match seen.state()? {
            State::Free => seen.generation().checked_sub(1)?,
            State::Retired => seen.generation(),
            State::Init | State::Live => return None,
        };
        let block =
            entry.len().is_block().then(|| BlockRef { offset: entry.block_offset(), index, generation })?;
        // If a claimer came meanwhile, what was read may be a mixture; and that claimer sees to the old block.
        // The load is an RMW-free look at the same word: SeqCst keeps the two reads above before it on x86-64; elsewhere
        // a mixture is possible, and harmless, because the block word has the last say.
        (entry.word.load() == seen).then_some(block)
    }
}
