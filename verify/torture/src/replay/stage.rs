//! The segment of a run, and the coordinator's membership.

use tenure::{Member, Space};

use crate::Failed;
use crate::driver::Plan;
use crate::meeting::Segment;

use super::director::LOOKAHEAD_STEPS;
use super::material::Material;

/// The segment, and the coordinator's membership.
pub(super) struct Stage {
    /// Dropped first: the coordinator leaves before the segment is removed.
    member: Option<Member>,
    pub(super) segment: Segment,
}

impl Stage {
    /// Creates the segment and joins it without a monitor: only the workers reclaim.
    pub(super) fn build(plan: &Plan, material: &Material) -> Result<Self, Failed> {
        let members = (2 * plan.processes + 2).clamp(64, 256) as u16;
        let handle_count = material.handle_count(2 * LOOKAHEAD_STEPS);
        let options = Space::options()
            .members(members)
            .handles(handle_count)
            .scratch(material.scratch_bytes(plan.processes, handle_count))
            .monitor(false);
        let segment = Segment::create(plan.backends[0], options)?;
        Ok(Self { member: Some(segment.space.join()?), segment })
    }

    /// The coordinator's membership, until it leaves.
    pub(super) fn member(&self) -> Option<&Member> {
        self.member.as_ref()
    }

    /// The coordinator leaves; it can still read the space.
    pub(super) fn leave(&mut self) {
        if let Some(member) = self.member.take() {
            // A member can always leave.
            let _ = member.leave();
        }
    }
}
