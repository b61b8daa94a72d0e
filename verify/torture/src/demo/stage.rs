//! The segment of a run: made under a name of its own, gone when the run is over, however it ends.

use std::sync::Arc;

use tenure::{Backend, Member, Space};

use crate::meeting::Meeting;

use super::director::LOOKAHEAD_STEPS;
use super::plan::{Material, Plan};

/// What the segments of runs are called: this, a process id, and something random.
const PREFIX: &str = "run-";

/// The segment, and the coordinator's membership.
pub(super) struct Stage {
    pub(super) meeting: Meeting,
    pub(super) space: Arc<Space>,
    member: Option<Member>,
}

impl Stage {
    /// Makes the segment and joins it, without a monitor: reclaiming is up to the workers.
    pub(super) fn build(plan: &Plan, material: &Material) -> Result<Self, StageError> {
        sweep(plan.backend);
        let name = format!("{PREFIX}{}-{:08x}", std::process::id(), rand::random::<u32>());
        let members = (2 * plan.workers + 2).clamp(64, 256) as u16;
        let handle_count = material.handle_count(2 * LOOKAHEAD_STEPS);
        let options = Space::options()
            .members(members)
            .handles(handle_count)
            .scratch(material.scratch_bytes(plan.workers, handle_count))
            .monitor(false);
        let (meeting, space) = Meeting::create(plan.backend, &name, options)?;
        let mut stage = Self { meeting, space: Arc::new(space), member: None };
        stage.member = Some(stage.space.join()?);
        Ok(stage)
    }

    /// The coordinator's membership, until it leaves.
    pub(super) fn member(&self) -> Option<&Member> {
        self.member.as_ref()
    }

    /// The coordinator leaves; looking stays possible.
    pub(super) fn leave(&mut self) {
        if let Some(member) = self.member.take() {
            // It is a member, so it can leave.
            let _ = member.leave();
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.leave();
        // A memfd goes by itself, and about a segment that cannot be removed nothing is left to be done.
        let _ = Space::remove(self.meeting.backend, &self.meeting.name, true);
    }
}

/// Removes the segments of runs that were killed before they could do it themselves.
pub(crate) fn sweep(backend: Backend) {
    for listed in Space::list().unwrap_or_default().iter().filter(|listed| listed.backend == backend) {
        let process = listed.name.strip_prefix(PREFIX).and_then(|rest| rest.split_once('-'));
        let Some((process, _)) = process else { continue };
        if !std::path::Path::new("/proc").join(process).exists() {
            // Refused while somebody is a member, and right so.
            let _ = Space::remove(listed.backend, &listed.name, false);
        }
    }
}

/// Why there is no stage.
#[derive(Debug, thiserror::Error)]
pub(super) enum StageError {
    /// The segment cannot be made.
    #[error(transparent)]
    Meeting(#[from] tenure_tools::attach::AttachError),
    /// The coordinator cannot join it.
    #[error("cannot join the new segment: {}", tenure_tools::exit::in_full(.0))]
    Join(#[from] tenure::JoinError),
}
