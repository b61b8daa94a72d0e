//! Spans: making them of claimed units, adopting abandoned ones, releasing them.
//!
//! The lease in the head word owns the span, and no other lease stores to its unit words. The head word is stored last when a
//! span is made, and first when it is released: in between, each unit word names the owner by itself, so that recovery needs
//! no order. A tail is TAIL in a small span and HELD in a large one. The lease in a tail word does not matter while a head covers
//! the tail.

use std::ops::Range;

use tenure_core::mutant;

use crate::claim::Refused;
use crate::class::LARGE;
use crate::geometry::Layout;
use crate::scratch::{ABANDONINGS, Backing, Scratch};
use crate::sync::Ordering;
use crate::word::{self, Block, Owner, Shape, Unit};

/// The word of a tail of a span that `owner` owns.
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
        let end = head + u32::from(shape.units);
        if !self.commit_table(Layout::table_of(shape.class), head..end, backing) {
            self.free_units(head..end);
            return Err(Refused::NoMemory);
        }
        self.remote(head).store(0, Ordering::Relaxed);
        if mutant!("scratch.small.head_before_tails") {
            self.unit_store(head, Unit::Span(me, shape));
        }
        for unit in tails(head, shape) {
            self.unit_store(unit, tail(me, shape.class, unit - head));
        }
        self.unit_store(head, Unit::Span(me, shape));
        Ok(())
    }

    /// Makes the words of `units` in a table committed and FREE.
    fn commit_table(&self, table: u32, units: Range<u32>, backing: &dyn Backing) -> bool {
        // Relaxed: only the unit's owner stores it; ownership came with the Acquire of the claim.
        let committed = |unit| self.tables_committed(unit).load(Ordering::Relaxed);
        let has = |unit: &u32| committed(*unit) >> table & 1 == 1;
        let mut unit = units.start;
        while unit < units.end {
            let new = (unit..units.end).take_while(|unit| !has(unit)).count() as u32;
            if new > 0 {
                let words = self.layout.table_words(table, unit, new);
                if backing.commit(words.start as u64 * 8..words.end as u64 * 8).is_err() {
                    return false;
                }
                // New words are zero, that is, FREE. They are not touched: some are never used.
                const { assert!(word::is_free(0)) };
                for unit in unit..unit + new {
                    self.tables_committed(unit).store(committed(unit) | 1 << table, Ordering::Relaxed);
                }
                unit += new;
                continue;
            }
            for at in self.layout.table_words(table, unit, 1) {
                // Relaxed, both: published by the Release store of the head. A freer that was stopped since a former span may
                // change a leased word to REMOTE between the load and the store; it cannot change a FREE one.
                if !word::is_free(self.word(at).load(Ordering::Relaxed)) {
                    self.word(at).store(word::END, Ordering::Relaxed);
                }
            }
            unit += 1;
        }
        true
    }

    /// Turns a claimed run into a large span whose block word is `block`; its later units stay HELD.
    pub(crate) fn make_large(&self, me: Owner, head: u32, units: u16, block: u64) {
        // Relaxed: published by the Release store of the head below.
        self.word(self.block_at(head, LARGE, 0)).store(block, Ordering::Relaxed);
        self.resize_large(me, head, units);
    }

    /// Makes the first `units` units from `head` a large span; all of them are HELD by the caller.
    pub(crate) fn resize_large(&self, me: Owner, head: u32, units: u16) {
        self.unit_store(head, Unit::Span(me, Shape { class: LARGE, units }));
    }

    /// Frees the block of a large span of the caller, all of whose units are HELD afterwards.
    pub(crate) fn unmake_large(&self, me: Owner, head: u32) {
        // Relaxed: the Release store of the head below publishes it.
        self.word(self.block_at(head, LARGE, 0)).store(word::END, Ordering::Relaxed);
        self.unit_store(head, Unit::Held(me));
    }

    /// Frees a span of the caller whose blocks are all free and whose tails name the caller.
    pub(crate) fn release_span(&self, me: Owner, head: u32, shape: Shape) {
        if shape.units > 1 {
            // First the head: from here on no process takes the units for a span. Others may claim some of them soon.
            self.unit_store(head, Unit::Held(me));
        }
        self.free_units(head..head + u32::from(shape.units));
    }

    /// Whether all tails of the span at `head` are well-formed, regardless of the lease that they name.
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

    /// Adopts an abandoned span: makes `me` its owner. The caller has to load its block words again: they may have changed.
    pub(crate) fn adopt(&self, me: Owner, head: u32, shape: Shape) -> bool {
        // A tail is no tail of this head: the span is corrupted, and its units may be owned by others.
        if !self.tails_stand(head, shape) {
            return false;
        }
        // The CAS fails: another process was first, or the span was adopted and abandoned with another shape.
        if mutant!("scratch.adopt.by_store") {
            self.unit_store(head, Unit::Span(me, shape));
        } else if !self.unit_compare_exchange(head, Unit::Abandoned(shape), Unit::Span(me, shape)) {
            return false;
        }
        // The span is ours. Killed before all tails name us: recovery abandons the span again, and the next adopter names them.
        for unit in tails(head, shape) {
            self.unit_store(unit, tail(me, shape.class, unit - head));
        }
        true
    }

    /// Frees all abandoned spans without a block in use.
    pub(crate) fn release_abandoned(&self, me: Owner) {
        for head in 0..self.ready() {
            let Unit::Abandoned(shape) = self.unit_state(head) else { continue };
            if !self.plausible(head, shape) || !self.all_free(head, shape) || !self.adopt(me, head, shape) {
                continue;
            }
            // Check again: before the adoption, another process may have adopted the span, filled it, died, and left it abandoned.
            if self.all_free(head, shape) {
                self.release_span(me, head, shape);
            } else {
                self.abandon(head, shape);
            }
        }
    }

    fn all_free(&self, head: u32, shape: Shape) -> bool {
        self.blocks_at(head, shape).all(|(offset, at)| is_free(self.block_state(at, offset)))
    }

    /// Whether an abandoned span has a free block. The hint is cleared first: if there is none, the next free of a block there sets it
    /// again and tells everybody ([`Scratch::tell_owner`]).
    pub(crate) fn has_free(&self, head: u32, shape: Shape) -> bool {
        // SeqCst, both: as in `Local::collect_span`.
        self.remote(head).store(0, Ordering::SeqCst);
        self.blocks_at(head, shape).any(|(_, at)| word::is_collectable(self.word(at).load(Ordering::SeqCst)))
    }

    /// Abandons a span of the caller, in which the caller owns no block; any process may adopt it.
    fn abandon(&self, head: u32, shape: Shape) {
        // Relaxed: a hint.
        self.remote(head).store(1, Ordering::Relaxed);
        self.unit_store(head, Unit::Abandoned(shape));
        // AcqRel: publishes the abandoned head; pairs with the Acquire in `Local::adopt`.
        self.control(ABANDONINGS).fetch_add(1, Ordering::AcqRel);
    }
}
