//! Spans: making them of claimed units, taking them over, giving them back.
//!
//! Whoever is named by the head owns the span, and nobody else stores to its unit words. The head comes last when a span
//! is made and goes first when it is given back: in between every unit names its owner by itself, so that recovery needs
//! no order. A tail of a small span is TAIL, one of a large span HELD; which lease they name does not matter while a
//! head covers them.

use std::ops::Range;

use tenure_core::fault;

use crate::claim::Refused;
use crate::class::LARGE;
use crate::scratch::{ABANDONINGS, Backing, Scratch};
use crate::sync::Ordering;
use crate::word::{Block, Owner, Shape, Unit};

/// What a tail of a span says when `owner` has named it.
pub(crate) fn tail(owner: Owner, class: u8, distance: u32) -> Unit {
    if class == LARGE { Unit::Held(owner) } else { Unit::Tail(owner, distance as u16) }
}

fn is_free(state: Block) -> bool {
    matches!(state, Block::Free | Block::Remote)
}

fn tails(head: u32, shape: Shape) -> Range<u32> {
    head + 1..head + u32::from(shape.units)
}

impl Scratch<'_> {
    /// Turns a claimed run into a small span with all blocks free.
    pub(crate) fn make_small(
        &self,
        me: Owner,
        head: u32,
        shape: Shape,
        backing: &dyn Backing,
    ) -> Result<(), Refused> {
        // Relaxed: only the unit's owner stores it.
        let used = self.table_committed(head).load(Ordering::Relaxed);
        if !self.commit_table(head, self.layout.blocks(shape.class), backing) {
            self.free_units(head..head + u32::from(shape.units));
            return Err(Refused::NoMemory);
        }
        const { assert!(Block::Free.raw() == 0) };
        // Words that were committed just now are FREE as they are, and may never be touched.
        for at in self.blocks_at(head, shape).take(used as usize) {
            // Relaxed: published by the Release store of the head below.
            self.word(at).store(Block::Free.raw(), Ordering::Relaxed);
        }
        self.remote(head).store(0, Ordering::Relaxed);
        if fault!("scratch.small.head_before_tails") {
            self.unit_store(head, Unit::Span(me, shape));
        }
        for unit in tails(head, shape) {
            self.unit_store(unit, tail(me, shape.class, unit - head));
        }
        self.unit_store(head, Unit::Span(me, shape));
        Ok(())
    }

    /// Makes the first `words` words of the table at `head` touchable, for good.
    fn commit_table(&self, head: u32, words: u32, backing: &dyn Backing) -> bool {
        let committed = self.table_committed(head);
        // Relaxed: only the unit's owner stores it; ownership came with the Acquire of the claim.
        if committed.load(Ordering::Relaxed) >= u64::from(words) {
            return true;
        }
        let done = backing.commit(self.layout.table_range(head, words)).is_ok();
        if done {
            committed.store(u64::from(words), Ordering::Relaxed);
        }
        done
    }

    /// Turns a claimed run into a large span whose block belongs to `block`; its later units stay HELD.
    pub(crate) fn make_large(&self, me: Owner, head: u32, units: u16, block: u64) {
        // Relaxed: published by the Release store of the head below.
        self.word(self.block_at(head, LARGE, 0)).store(block, Ordering::Relaxed);
        self.resize_large(me, head, units);
    }

    /// Says how many of the units from `head`, all of them HELD by the caller, are a large span.
    pub(crate) fn resize_large(&self, me: Owner, head: u32, units: u16) {
        self.unit_store(head, Unit::Span(me, Shape { class: LARGE, units }));
    }

    /// Frees the block of a large span of the caller, all of whose units are HELD afterwards.
    pub(crate) fn unmake_large(&self, me: Owner, head: u32) {
        // Relaxed: the head stops naming it in the next line.
        self.word(self.block_at(head, LARGE, 0)).store(Block::Free.raw(), Ordering::Relaxed);
        self.unit_store(head, Unit::Held(me));
    }

    /// Gives back a span of the caller whose blocks are all free and whose tails name the caller.
    pub(crate) fn release_span(&self, me: Owner, head: u32, shape: Shape) {
        if shape.units > 1 {
            // First: from here on nobody can take the units for a span, some of which may soon belong to others.
            self.unit_store(head, Unit::Held(me));
        }
        self.free_units(head..head + u32::from(shape.units));
    }

    /// Whether all tails of the span at `head` look like tails of it, whoever they name.
    fn tails_stand(&self, head: u32, shape: Shape) -> bool {
        tails(head, shape).all(|unit| match self.unit_state(unit) {
            Unit::Tail(_, distance) => shape.class != LARGE && u32::from(distance) == unit - head,
            Unit::Held(_) => shape.class == LARGE,
            _ => false,
        })
    }

    /// Whether all tails of the span at `head` name `owner`.
    pub(crate) fn tails_name(&self, head: u32, shape: Shape, owner: Owner) -> bool {
        tails(head, shape).all(|unit| self.unit_state(unit) == tail(owner, shape.class, unit - head))
    }

    /// Takes over an abandoned span, whose blocks may be anything by then.
    pub(crate) fn adopt(&self, me: Owner, head: u32, shape: Shape) -> bool {
        // Of a span that was corrupted, nothing is taken that may be somebody's.
        if !self.tails_stand(head, shape) {
            return false;
        }
        if fault!("scratch.adopt.by_store") {
            self.unit_store(head, Unit::Span(me, shape));
        } else if !self.unit_compare_exchange(head, Unit::Abandoned(shape), Unit::Span(me, shape)) {
            return false;
        }
        for unit in tails(head, shape) {
            self.unit_store(unit, tail(me, shape.class, unit - head));
        }
        true
    }

    /// Gives abandoned spans without a block in use to everybody.
    pub(crate) fn release_abandoned(&self, me: Owner) {
        for head in 0..self.ready() {
            let Unit::Abandoned(shape) = self.unit_state(head) else { continue };
            if !self.plausible(head, shape) || !self.all_free(head, shape) || !self.adopt(me, head, shape) {
                continue;
            }
            // Again: before it was ours, somebody may have taken it, filled it, died, and left it like this.
            if self.all_free(head, shape) {
                self.release_span(me, head, shape);
            } else {
                self.abandon(head, shape);
            }
        }
    }

    fn all_free(&self, head: u32, shape: Shape) -> bool {
        self.blocks_at(head, shape).all(|at| is_free(self.block_state(at)))
    }

    /// Leaves a span of the caller, in which the caller owns no block, to whoever wants it.
    fn abandon(&self, head: u32, shape: Shape) {
        // Relaxed: a hint.
        self.remote(head).store(1, Ordering::Relaxed);
        self.unit_store(head, Unit::Abandoned(shape));
        // AcqRel: publishes the abandoned head; pairs with the Acquire in `Local::adopt`.
        self.control(ABANDONINGS).fetch_add(1, Ordering::AcqRel);
    }
}
