//! Taking over the other locals of the same lease: after a fork, since the child has only one thread.

use crate::class::LARGE;
use crate::local::Local;
use crate::recover::Recovered;
use crate::scratch::{ABANDONINGS, Backing};
use crate::sync::Ordering;
use crate::word::{Shape, Unit};

impl<'a> Local<'a> {
    /// Takes over the spans and units of all locals of this lease except this one and `others`. Their threads no longer exist, and may
    /// have stopped at any instruction. Blocks in use stay in use: the lease owns them.
    ///
    /// Small spans are abandoned: the next local that needs blocks of their class adopts them. Large spans become spans of this local.
    /// Other claimed units are freed. No other process may work in the region meanwhile.
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
        // Units below `covered` are covered by a head, as in `Scratch::recover`.
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
                    // The unit may be decommitted or not, and `Backing::commit` may assume that an UNBACKED unit is zero.
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
        // Relaxed: a hint. Some blocks may be free: only the private state of the former local had that.
        scratch.remote(head).store(1, Ordering::Relaxed);
        scratch.unit_store(head, Unit::Abandoned(shape));
        // AcqRel: publishes the abandoned head; pairs with the Acquire in `Local::adopt`.
        scratch.control(ABANDONINGS).fetch_add(1, Ordering::AcqRel);
    }
}
