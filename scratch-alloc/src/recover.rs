//! Taking back what a dead lease held. Anyone may, many at once, and may die doing it.
//!
//! Why a recoverer that was stopped for an hour does no harm: whatever it exchanges names the dead lease, which cannot be
//! taken again while any recoverer holds the lock on it `[A4]`, so no word comes back to what the recoverer read once it
//! was changed. Only a block that was a handle's carries another name; it is garbage for good `[I13]`, and goes to
//! REMOTE, because its span may have found a new owner by then, who collects such blocks.
//!
//! Two recoverers at once, one of them killed: nothing is handed over. A recoverer that loses an exchange reads the word again and
//! goes on from what it finds, so when its pass is over no unit names the dead except under a head, whatever the others did. It
//! frees the lease on the strength of its own pass alone.

use tenure_core::{Recovery, fault};

use crate::scratch::{ABANDONINGS, Scratch};
use crate::sync::Ordering;
use crate::word::{Block, Owner, Shape, Unit};

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

/// What is to be done about a block of a dead lease's span.
enum Fate {
    Free,
    Garbage(Block),
    Kept,
}

impl Scratch<'_> {
    /// Takes back the spans and blocks of a dead lease; call it after the slab's recovery.
    ///
    /// `is_current(index, generation)` says whether a handle is alive in that generation; once false, it stays false.
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
        // Units below are covered by a head. Heads come before their tails, and a unit of the dead that no head covers
        // stays so: only its owner could have made one.
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

    /// Afterwards the head is no SPAN of the dead any more: its units are free to be taken one by one, or abandoned.
    fn recover_span(
        &self,
        head: u32,
        dead: Owner,
        shape: Shape,
        is_current: &dyn Fn(u32, u64) -> bool,
        done: &mut Recovered,
    ) {
        let span = Unit::Span(dead, shape);
        // A corrupted length: the head alone is freed, and whatever still names the dead.
        let mut releasable = true;
        let mut garbage = 0;
        if self.plausible(head, shape) {
            for at in self.blocks_at(head, shape) {
                match self.fate(at, dead.lease, is_current) {
                    Fate::Free => {}
                    Fate::Garbage(_) => garbage += 1,
                    Fate::Kept => {
                        releasable = false;
                        break;
                    }
                }
            }
            // Tails name somebody else where an adopter died early. Then the next adopter has to name them.
            releasable &= self.tails_name(head, shape, dead);
        }
        if !releasable {
            self.abandon_span(head, span, shape, dead.lease, is_current, done);
        } else if self.unit_compare_exchange(head, span, Unit::Held(dead)) {
            // Nothing comes to life in a dead lease's span: what was seen free or garbage is. The words may stay as they are:
            // no head names them any more, and the next one clears them.
            done.blocks += garbage;
        }
    }

    fn fate(&self, at: usize, dead: u8, is_current: &dyn Fn(u32, u64) -> bool) -> Fate {
        let state = self.block_state(at);
        match state {
            Block::Free | Block::Remote => Fate::Free,
            Block::Lease { lease, .. } if lease == dead => Fate::Garbage(state),
            Block::Attached { index, generation } if !is_current(index, generation) => Fate::Garbage(state),
            Block::Lease { .. } | Block::Attached { .. } | Block::Pinned { .. } => Fate::Kept,
            // Corrupted: nobody can own it.
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
        for at in self.blocks_at(head, shape) {
            if let Fate::Garbage(state) = self.fate(at, dead, is_current)
                && self.block_compare_exchange(at, state, Block::Remote)
            {
                done.blocks += 1;
            }
        }
        // Relaxed: a hint. Also set where no block is free yet: it costs an adopter one scan.
        self.remote(head).store(1, Ordering::Relaxed);
        if self.unit_compare_exchange(head, span, Unit::Abandoned(shape)) {
            done.abandoned += 1;
            // AcqRel: publishes the abandoned head; pairs with the Acquire in `Local::adopt`.
            self.control(ABANDONINGS).fetch_add(1, Ordering::AcqRel);
        }
    }

    fn recover_unit(&self, unit: u32, from: Unit, to: Unit, done: &mut Recovered) {
        if fault!("scratch.recover.no_held") {
            return;
        }
        let unproved = fault!("scratch.recover.plain_store");
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
