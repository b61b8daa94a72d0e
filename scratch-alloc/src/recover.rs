//! Reclaiming the spans and blocks of a dead lease. Any process may recover, many at once, and any of them may die doing it.
//!
//! A recoverer that was stopped for an hour does no harm. Each word that it changes by CAS names the dead lease. No process takes
//! that lease again while any recoverer holds the lock on it `[A4]`, so a changed word never has its former value again. The one
//! exception is a block that is attached to an ended handle: its word names the handle. Such a block stays garbage `[scratch-attached-garbage]`. It becomes
//! REMOTE and not FREE, because its span may have a new owner, and that owner collects REMOTE blocks.
//!
//! Two recoverers at once, one of them killed: neither hands anything to the other. A recoverer that loses a CAS loads the word
//! again and continues with the new value. So after its pass no unit names the dead lease except under a head, whatever the others did,
//! and it may free the lease because of its own pass alone.

use tenure_core::{Recovery, mutant};

use crate::scratch::{ABANDONINGS, Scratch};
use crate::sync::Ordering;
use crate::word::{Block, Owner, Shape, Unit};

/// The result of one recovery. Concurrent recoverers share the work, so each reports its part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Blocks freed.
    pub blocks: u64,
    /// Units freed.
    pub units: u64,
    /// Spans left without an owner because attached or pinned blocks live in them.
    pub abandoned: u64,
}

/// The decision about a block in a span of a dead lease.
enum Fate {
    Free,
    Garbage(Block),
    Kept,
}

impl Scratch<'_> {
    /// Reclaims the spans and blocks of a dead lease; call it after the slab's recovery.
    ///
    /// `is_current(index, generation)` tells whether a handle is alive in that generation; once false, it stays false.
    ///
    /// # Progress
    ///
    /// Wait-free: one pass over the unit words in use and over the block words of the dead lease's spans.
    ///
    /// # Crash
    ///
    /// Every step is an exact CAS on a word that names the dead lease; the next recoverer repeats the pass.
    pub fn recover(&self, recovery: &Recovery, is_current: &dyn Fn(u32, u64) -> bool) -> Recovered {
        let dead = recovery.dead().index;
        let mut done = Recovered::default();
        // Units below `covered` are covered by a head. Heads come before their tails. A unit of the dead lease that no head covers
        // stays uncovered: only its owner could have stored a head.
        let mut covered = 0;
        for unit in 0..self.ready() {
            let mut state = self.unit_state(unit);
            if let Unit::Span(owner, shape) = state
                && owner.lease == dead
            {
                self.recover_span(unit, owner, shape, is_current, &mut done);
                state = self.unit_state(unit);
            }
            match state {
                Unit::Span(_, shape) | Unit::Abandoned(shape) if self.plausible(unit, shape) => {
                    covered = covered.max(unit + u32::from(shape.units));
                }
                Unit::Held(owner) | Unit::Tail(owner, _) if owner.lease == dead && unit >= covered => {
                    self.recover_unit(unit, state, Unit::Free, &mut done);
                }
                Unit::Backing(owner) if owner.lease == dead => {
                    self.recover_unit(unit, state, Unit::Unbacked, &mut done);
                }
                _ => {}
            }
        }
        done
    }

    /// Afterwards the head is no SPAN of the dead lease any more: its units can be freed one by one, or the span is abandoned.
    fn recover_span(
        &self,
        head: u32,
        dead: Owner,
        shape: Shape,
        is_current: &dyn Fn(u32, u64) -> bool,
        done: &mut Recovered,
    ) {
        let span = Unit::Span(dead, shape);
        // If the length is corrupted, the head alone becomes HELD; the caller frees it and all units that still name the dead lease.
        let mut releasable = true;
        let mut garbage = 0;
        if self.plausible(head, shape) {
            for (offset, at) in self.blocks_at(head, shape) {
                match self.fate(at, offset, dead.lease, is_current) {
                    Fate::Free => {}
                    Fate::Garbage(_) => garbage += 1,
                    Fate::Kept => {
                        releasable = false;
                        break;
                    }
                }
            }
            // If an adopter died before all tails named it, some tails name another lease. Then the next adopter has to store them.
            releasable &= self.tails_name(head, shape, dead);
        }
        if !releasable {
            self.abandon_span(head, span, shape, dead.lease, is_current, done);
        } else if self.unit_compare_exchange(head, span, Unit::Held(dead)) {
            // In the span of a dead lease no block comes into use: a block that was free or garbage above still is. The block words may
            // stay as they are: no head refers to them any more, and the next span that starts here clears them.
            done.blocks += garbage;
        }
    }

    fn fate(&self, at: usize, offset: u64, dead: u8, is_current: &dyn Fn(u32, u64) -> bool) -> Fate {
        let state = self.block_state(at, offset);
        match state {
            Block::Free | Block::Remote => Fate::Free,
            Block::Lease { lease, .. } if lease == dead => Fate::Garbage(state),
            Block::Attached { index, generation } if !is_current(index, generation) => Fate::Garbage(state),
            Block::Lease { .. } | Block::Attached { .. } | Block::Pinned { .. } => Fate::Kept,
            // Corrupted: it has no owner.
            Block::Unknown(_) => Fate::Garbage(state),
        }
    }

    fn abandon_span(
        &self,
        head: u32,
        span: Unit,
        shape: Shape,
        dead: u8,
        is_current: &dyn Fn(u32, u64) -> bool,
        done: &mut Recovered,
    ) {
        for (offset, at) in self.blocks_at(head, shape) {
            if let Fate::Garbage(state) = self.fate(at, offset, dead, is_current)
                && self.block_compare_exchange(at, offset, state, Block::Remote)
            {
                done.blocks += 1;
            }
        }
        // Relaxed: a hint. It is also set if no block is free yet: that costs an adopter one scan.
        self.remote(head).store(1, Ordering::Relaxed);
        if self.unit_compare_exchange(head, span, Unit::Abandoned(shape)) {
            done.abandoned += 1;
            // AcqRel: publishes the abandoned head; pairs with the Acquire in `Local::adopt`.
            self.control(ABANDONINGS).fetch_add(1, Ordering::AcqRel);
        }
    }

    fn recover_unit(&self, unit: u32, from: Unit, to: Unit, done: &mut Recovered) {
        if mutant!("scratch.recover.no_held") {
            return;
        }
        let unproved = mutant!("scratch.recover.plain_store");
        if unproved {
            self.unit_store(unit, to);
        }
        if unproved || self.unit_compare_exchange(unit, from, to) {
            let bitmap = if to == Unit::Free { self.layout.dirty } else { self.layout.clean };
            self.hint_run(bitmap, unit..unit + 1, true);
            done.units += 1;
        }
    }
}
