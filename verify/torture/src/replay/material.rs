//! The recordings of a run.

use crate::worker::JobName;
use tenure_traces::{AllocationTrace, HandleTrace};
use tenure_traces::{Recording, Source, TraceError};

/// The contents of the recordings of a run.
#[derive(Debug, Default)]
pub(super) struct Material {
    /// Handle recordings; the coordinator sequences them.
    pub(super) handles: Vec<HandleTrace>,
    /// Allocation recordings, by process; each worker replays them without the coordinator.
    pub(super) jobs: Vec<JobName>,
    /// Title of the recording of each job.
    pub(super) job_titles: Vec<String>,
    /// Maximum number of live bytes of one job.
    pub(super) peak_bytes: u64,
    /// Size of the largest block, in bytes.
    pub(super) largest_bytes: u64,
}

impl Material {
    /// Reads every recording.
    ///
    /// # Errors
    /// The first recording that is malformed.
    pub(super) fn read(sources: &[Source]) -> Result<Self, TraceError> {
        let mut material = Self::default();
        for source in sources {
            match source.read()? {
                Recording::Handles(trace) => material.handles.push(trace),
                Recording::Allocations(trace) => material.add_jobs(source, &trace),
            }
        }
        Ok(material)
    }

    fn add_jobs(&mut self, source: &Source, trace: &AllocationTrace) {
        for (index, process) in trace.processes.iter().enumerate() {
            self.jobs.push(JobName { process: index, source: source.clone() });
            self.job_titles.push(source.title());
            self.peak_bytes = self.peak_bytes.max(process.peak_bytes);
            self.largest_bytes = self.largest_bytes.max(process.largest_bytes);
        }
    }

    /// A sufficient number of handles: those live at once in the recordings, those planned ahead, and `ahead` that
    /// workers claim in advance.
    pub(super) fn handle_count(&self, ahead: usize) -> u32 {
        let recorded: u64 = self.handles.iter().map(|trace| u64::from(trace.peak_count)).max().unwrap_or(0);
        let total = (recorded + ahead as u64).next_power_of_two().max(HANDLES_MIN.into());
        u32::try_from(total).unwrap_or(u32::MAX)
    }

    /// A sufficient number of bytes of scratch memory for `workers` jobs at once: four times their peak, room to move
    /// their largest blocks, and room for the payloads of the handles; at least 64 MiB.
    pub(super) fn scratch_bytes(&self, workers: usize, handle_count: u32) -> u64 {
        let each = self.peak_bytes.saturating_mul(4).saturating_add(self.largest_bytes.saturating_mul(2));
        let payloads = u64::from(handle_count).saturating_mul(1 << 10);
        let total = each.saturating_mul(workers as u64 + 1).saturating_add(payloads);
        total.checked_next_power_of_two().unwrap_or(total)
    }
}

/// Minimum number of handles of a segment.
const HANDLES_MIN: u32 = 1 << 16;
