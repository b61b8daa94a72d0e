//! Taking back what a dead lease held. Anyone may, many at once, and may die doing it.

use tenure_segment::Recovery;
use tenure_segment::sync::Ordering;

use crate::crash::crash_point;
use crate::scratch::{ABANDONINGS, Scratch};
use crate::word::{Block, Shape, Unit};

/// What one recovery took back. Concurrent recoverers share the work, so each reports its part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Blocks freed.
    pub blocks: u64,
    /// Units given back.
    pub units: u64,
    /// Spans left without an owner because attached or pinned blocks live in them.
    pub abandoned: u64,
}

impl Scratch<'_> {
    /// Takes back the spans and blocks of a dead lease; call it after the slab's recovery.
    ///
    /// `is_current(index, generation)` says whether a handle is alive in that generation.
    ///
    /// # Progress
    ///
    /// Wait-free: one pass over the unit words in use and over the block words of the dead lease's spans.
    ///
    /// # Crash
    ///
    /// Every step is an exact CAS on a word that names the dead; whoever comes next repeats the pass.
    pub fn recover(&self, recovery: &Recovery, is_current: &dyn Fn(u32, u64) -> bool) -> Recovered {
        let dead = recovery.dead().index;
        let mut done = Recovered::default();
        let ready = self.ready();
        for head in 0..ready {
            if let span @ Unit::Span(owner, shape) = self.unit_state(head)
                && owner.lease == dead
            {
                if self.plausible(head, shape) {
                    self.recover_span(head, span, shape, dead, is_current, &mut done);
                } else if self.unit_exchange(head, span, Unit::Free) {
                    // A scribbled length: the head alone is freed; its tails, if any, are orphans.
                    self.hint(self.layout.warm, head, true);
                }
            }
        }
        for unit in 0..ready {
            self.recover_unit(unit, dead, &mut done);
        }
        done
    }

    fn recover_span(
        &self,
        head: u32,
        span: Unit,
        shape: Shape,
        dead: u8,
        is_current: &dyn Fn(u32, u64) -> bool,
        done: &mut Recovered,
    ) {
        let mut kept = false;
        // A span whose table was never committed in full is not SPAN yet, so every word may be touched.
        for index in 0..self.layout.blocks(shape.class) {
            let slot = self.slot_of(head, index);
            let state = self.block_state(slot);
            let garbage = match state {
                Block::Free | Block::Remote => continue,
                Block::Lease { lease, .. } => lease == dead,
                Block::Attached { index, generation } => !is_current(index, generation),
                Block::Pinned { .. } => false,
                // Scribbled: nobody can own it.
                Block::Unknown(_) => true,
            };
            if garbage && self.block_exchange(slot, state, Block::Free) {
                done.blocks += 1;
                crash_point!("scratch.recover.block_freed");
            }
            // Whatever was there while we tried, in a dead lease's span a block only ever becomes free.
            kept |= !matches!(self.block_state(slot), Block::Free | Block::Remote);
        }
        if kept {
            if self.unit_exchange(head, span, Unit::Abandoned(shape)) {
                done.abandoned += 1;
                crash_point!("scratch.recover.abandoned");
                // AcqRel: publishes the abandoned head; pairs with the Acquire in `Local::adopt`.
                self.control(ABANDONINGS).fetch_add(1, Ordering::AcqRel);
            }
            return;
        }
        // Tails first: killed in between, the head still says that there is work to do.
        self.free_tails(head, 1..u32::from(shape.units));
        if self.unit_exchange(head, span, Unit::Free) {
            self.hint(self.layout.warm, head, true);
            done.units += u64::from(shape.units);
            crash_point!("scratch.recover.head_freed");
        }
    }

    fn recover_unit(&self, unit: u32, dead: u8, done: &mut Recovered) {
        let state = self.unit_state(unit);
        let to = match state {
            Unit::Held(owner) if owner.lease == dead => Unit::Free,
            Unit::Backing(owner) if owner.lease == dead => Unit::Unbacked,
            Unit::Tail(owner, _) if owner.lease == dead && self.span_of(unit).is_none() => Unit::Free,
            _ => return,
        };
        if self.unit_exchange(unit, state, to) {
            let bitmap = if to == Unit::Free { self.layout.warm } else { self.layout.cold };
            self.hint(bitmap, unit, true);
            done.units += 1;
            crash_point!("scratch.recover.unit_freed");
        }
    }
}
