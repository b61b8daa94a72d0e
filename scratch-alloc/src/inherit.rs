//! Going on without the other locals of the same lease: after a fork, whose child has one thread.

use crate::class::LARGE;
use crate::local::Local;
use crate::recover::Recovered;
use crate::scratch::{ABANDONINGS, Backing};
use crate::sync::Ordering;
use crate::word::{Shape, Unit};

impl<'a> Local<'a> {
    /// Takes over what locals of this lease had that are neither this one nor among `others`, because their threads are not
    /// there any more, wherever they stopped. Blocks in use stay in use: they are the lease's.
    ///
    /// Small spans are left without an owner, for whoever next needs blocks of their class; large ones become this local's;
    /// what was claimed for neither is free. Nobody else works in the region meanwhile.
    ///
    /// # Progress
    ///
    /// One pass over the unit words in use; a system call for each unit that was being committed or decommitted.
    pub fn inherit(&mut self, others: &[&Local<'a>], backing: &dyn Backing) -> Recovered {
        let scratch = self.scratch;
        let mut done = Recovered::default();
        let known =
            |me: &Self, unit| me.hot.covers(unit) || others.iter().any(|local| local.hot.covers(unit));
        let kept = |me: &Self, unit| me.keeps(unit) || others.iter().any(|local| local.keeps(unit));
        // Units below are covered by a head, as in `Scratch::recover`.
        let mut covered = 0;
        for unit in 0..scratch.ready() {
            let state = scratch.unit_state(unit);
            match state {
                Unit::Span(owner, shape) if scratch.plausible(unit, shape) => {
                    covered = unit + u32::from(shape.units);
                    if owner == self.owner && !known(self, unit) {
                        self.inherit_span(unit, shape);
                        done.abandoned += u64::from(shape.class != LARGE);
                    }
                }
                Unit::Abandoned(shape) if scratch.plausible(unit, shape) => {
                    covered = unit + u32::from(shape.units);
                }
                Unit::Held(owner) | Unit::Tail(owner, _)
                    if owner == self.owner && unit >= covered && !kept(self, unit) =>
                {
                    scratch.free_units(unit..unit + 1);
                    done.units += 1;
                }
                Unit::Backing(owner) if owner == self.owner => {
                    // Its memory may or may not have gone, and `Backing::commit` may take an UNBACKED unit for zero.
                    scratch.decommit_run(unit..unit + 1, backing);
                    done.units += 1;
                }
                _ => {}
            }
        }
        done
    }

    fn inherit_span(&mut self, head: u32, shape: Shape) {
        let scratch = self.scratch;
        if shape.class == LARGE {
            self.inherit_large(head, shape.units.into());
            return;
        }
        // Relaxed: a hint. Some of its blocks may be free, which its owner's books said.
        scratch.remote(head).store(1, Ordering::Relaxed);
        scratch.unit_store(head, Unit::Abandoned(shape));
        // AcqRel: publishes the abandoned head; pairs with the Acquire in `Local::adopt`.
        scratch.control(ABANDONINGS).fetch_add(1, Ordering::AcqRel);
    }
}
