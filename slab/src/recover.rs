//! Recovery: reclaiming the handles that a dead lease held.

use tenure_core::{Recovery, mutant};

use crate::close::Decision;
use crate::entry::{BlockRef, Entry};
use crate::local::{Local, RefCounts};
use crate::open::Want;
use crate::slab::{Held, Slab};
use crate::sync::Ordering;
use crate::token::Token;
use crate::word::{Snapshot, State};

/// The result of one recovery; concurrent recoveries share the work.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Recovered {
    /// Holder bits of the dead lease that were cleared.
    pub handles: u32,
    /// Generations that this recovery ended, with those of claimed entries.
    pub ended: u32,
    /// Blocks passed to `free`; some of them may have been free already.
    pub blocks: u32,
}

impl Slab<'_> {
    /// Clears every holder bit of a dead lease, and ends the handles that have no other holder.
    ///
    /// `ref_counts` are those of the recoverer, `recovery.by()`: they keep two threads of one process from deciding
    /// about one handle with the same tag. In a recovery on joining or leaving, the dead lease is the recoverer's own, and so are
    /// `ref_counts`; on joining new ones suffice. After leaving, every [`Held`](crate::Held) and every
    /// [`Cache`](crate::Cache) of the member is void.
    ///
    /// `free` receives the blocks of handles that ended, and the blocks that killed closers left behind; it runs while no sibling waits.
    ///
    /// `wants` and `settle` are for payloads that name holders themselves, for example a mutex with its owner. `settle` is
    /// called with every handle on which the dead lease has its bit, if `wants` is true for its kind, before the bit is cleared. Every
    /// recoverer calls it again until the bit is cleared, so it has to be idempotent. The recoverer holds the handle meanwhile: if it is
    /// stopped in `settle` for an hour, it cannot continue in another handle's payload. `settle` runs while no sibling waits.
    ///
    /// # Progress
    ///
    /// Wait-free between processes: one pass over the groups in the dead lease's group map, and an open and a close of each handle that
    /// is settled. Any number of recoverers may run at once, and any of them may be stopped for an hour.
    ///
    /// # Crash
    ///
    /// The group map is cleared last, word by word, so the next recoverer finds all remaining work. If the recoverer was deciding about
    /// an entry, its own group map leads to that entry, also if other recoverers have freed the dead lease. If it is killed in
    /// `settle`, it has a bit on the handle like any holder.
    ///
    /// A lease sets the bit of a group in its group map before any holder bit of the group, and recovery loads the map after the death `[A3]`:
    /// - either the bit of the group is seen by the recoverer's load of the map: then the recoverer visits the group;
    /// - or it is not: then the lease died before it set any holder bit of the group `[slab-group-before-bit]`, and there is nothing to recover.
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
        self.recover_slots(dead);
        for first in (0..self.layout().groups()).step_by(64) {
            let map = self.map_word(dead, first);
            // SeqCst: group map: all stores of the dead lease are visible, by the lock that proves its death [A3].
            let groups = map.load(Ordering::SeqCst);
            if groups == 0 {
                continue;
            }
            for index in self.handles_of(first, groups) {
                self.settle_entry(ref_counts, dead, index, &wants, &mut settle, &mut free);
                self.recover_entry(ref_counts, dead, index, &mut recovered, &mut free);
            }
            // SeqCst: group map: ordered after the recovery of the groups of this word. No new owner of the lease can have set a bit
            // yet: this or another recoverer holds the lock on the lease until all of them are done [lease-dead-only].
            map.store(0, Ordering::SeqCst);
        }
        // Of containers that have ended above, or whose last holder was killed before it swept.
        self.sweep(ref_counts, &mut free);
        if dead == ref_counts.lease_index() {
            // The sweep may have marked groups after their words were cleared: the mirror must not have more than the map.
            ref_counts.forget_groups();
        }
        recovered
    }

    /// Settles the puts that a dead lease had begun, and gives back what it had claimed: before its bits are cleared, and before the waiters
    /// of a container are woken.
    fn recover_slots(&self, dead: u8) {
        if !self.layout().has_slots() {
            return;
        }
        self.recover_hazard(dead);
        for first in (0..self.layout().groups()).step_by(64) {
            // SeqCst: group map: as in `recover`.
            let groups = self.map_word(dead, first).load(Ordering::SeqCst);
            self.handles_of(first, groups).for_each(|index| self.recover_slot(dead, index));
        }
        self.count_return();
    }

    /// The handles of the groups in a word of a group map, whose first bit is that of group `first`. Only a corrupted segment has bits of
    /// groups that are not committed: they are left out.
    fn handles_of(&self, first: u32, groups: u64) -> impl Iterator<Item = u32> {
        let committed = self.committed_groups();
        (0..64)
            .filter(move |bit| groups >> bit & 1 != 0)
            .map(move |bit| first + bit)
            .filter(move |group| *group < committed)
            .flat_map(|group| self.layout().group_handles(group))
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
        let seen = entry.word().load();
        let generation = seen.generation();
        if !seen.is_live(generation) || !wants(entry.kind()) {
            return;
        }
        if dead == ref_counts.lease_index() {
            // The bit is this lease's own. No other process may clear it, because of the write lock of the join, or because the lease is
            // leaving. So a handle that was LIVE after the load of the bit stays LIVE.
            return settle(entry.kind(), Held::new(Snapshot::live(generation, true), index, entry.len()));
        }
        let Some(token) = Token::new(self.space_tag(), generation, index) else { return };
        // The program's own counts must not prevent `settle`, because no process would do it later. Hence the higher limit.
        // If it is not opened, the handle is over: another recoverer was faster.
        if let Ok(held) = self.open_slow(ref_counts, token, Want::Recovery, &mut *free).get() {
            settle(entry.kind(), held);
            let _ = self.close_slow(ref_counts, None, held, free);
        }
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
        if mutant!("slab.recover.no_init") && entry.word().peek().state() == Some(State::Init) {
            return;
        }
        let has = entry.bits().has(dead);
        let unheld = || {
            let seen = entry.word().peek();
            !entry.bits().any()
                && matches!(seen.state(), Some(State::Init | State::Live))
                && !(self.layout().has_slots() && self.is_kept(index, seen.generation()))
        };
        // Also without the bit: a closer may have been killed between clearing it and `free_if_unheld`.
        if has || unheld() {
            self.take_responsibility(ref_counts, dead, index);
            let Some(mut busy) = ref_counts.busy(index) else { return };
            if has && dead == ref_counts.lease_index() {
                // Leaving: the counts of this process are void.
                busy.set(Local::NONE);
            }
            recovered.handles += u32::from(has);
            // Others hold it: they clear their bits later and decide then, or their recoverers do.
            let others = has && entry.bits().clear(dead);
            let Decision { ended, block } =
                if others { Decision::NOTHING } else { self.free_if_unheld(ref_counts, entry, index) };
            drop(busy);
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
            && !mutant!("slab.recover.no_block")
        {
            free(block);
            recovered.blocks += 1;
        }
    }

    /// Sets the entry's group in the recoverer's own map, before `free_if_unheld` `[slab-group-before-decision]`.
    ///
    /// Our tag may replace the tag of another recoverer or of a closer. That process then gives up the entry, and a recoverer continues
    /// and clears the dead lease's map. If we are killed before our second CAS, only our own map leads to the entry.
    ///
    /// A member that recovers its own lease does not set the bit: its map has the group until this recovery clears it, and the private
    /// mirror of the map must not have a group that is cleared afterwards.
    fn take_responsibility(&self, ref_counts: &RefCounts, dead: u8, index: u32) {
        if dead != ref_counts.lease_index() && !mutant!("slab.recover.no_mark") {
            self.mark_group(ref_counts, index);
        }
    }

    /// The block that a FREE or RETIRED entry still names.
    ///
    /// The entry keeps the name: only a claimer may remove it, because only a claimer knows that no newer name is being stored.
    fn left_block(&self, entry: Entry<'_>, index: u32) -> Option<BlockRef> {
        let seen = entry.word().peek();
        let generation = match seen.state()? {
            State::Free => seen.generation().checked_sub(1)?,
            State::Retired => seen.generation(),
            State::Init | State::Live => return None,
        };
        let block = entry.block_ref(index, generation)?;
        // If a claimer has the entry by now, the loaded length and offset may be a mixture; and that claimer frees the old block.
        // This second load of the word is SeqCst, which on x86-64 keeps the two loads above before it. Elsewhere a mixture is possible,
        // and harmless, because the block word decides.
        (entry.word().load() == seen).then_some(block)
    }
}
