//! What a run is to do.

use std::time::Duration;

use tenure::Backend;

use crate::negative_control::NegativeControl;
use crate::worker::JobName;
use tenure_traces::{AllocationTrace, HandleTrace};
use tenure_traces::{Recording, Source, TraceError};

/// The whole order for a run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// What is replayed.
    pub sources: Vec<Source>,
    /// How the segment comes to be.
    pub backend: Backend,
    /// How many worker processes there are at any time.
    pub workers: usize,
    /// How long to go on, at least; every recording is replayed at least once in any case.
    pub duration: Duration,
    /// How many workers are killed.
    pub kills: u32,
    /// How many workers are stopped and continued.
    pub stops: u32,
    /// Everything random follows from it, except what the scheduler does.
    pub seed: u64,
    /// Hand extra handles with large payloads from worker to worker.
    pub gifts: bool,
    /// Measure single operations at the end.
    pub timing: bool,
    /// How long nothing may happen before the run is called stuck.
    pub patience: Duration,
    /// What the workers are to do wrong.
    pub negative_control: Option<NegativeControl>,
    /// No progress on standard error.
    pub quiet: bool,
}

/// The recordings of a plan, read.
#[derive(Debug, Default)]
pub struct Material {
    /// Handle recordings; the coordinator sequences them.
    pub handles: Vec<HandleTrace>,
    /// What the workers replay on their own.
    pub jobs: Vec<JobName>,
    /// Title of the recording of each job.
    pub job_titles: Vec<String>,
    /// The most bytes one job has at once, and its largest block.
    pub peak_bytes: u64,
    /// The largest block.
    pub largest_bytes: u64,
}

impl Material {
    /// Reads every recording.
    ///
    /// # Errors
    /// The first recording that is malformed.
    pub fn read(sources: &[Source]) -> Result<Self, TraceError> {
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

    /// Handles that suffice: what the recordings hold at once, what is planned ahead, and what workers claim ahead.
    pub fn handle_count(&self, ahead: usize) -> u32 {
        let recorded: u64 = self.handles.iter().map(|trace| u64::from(trace.peak_count)).max().unwrap_or(0);
        let total = (recorded + ahead as u64).next_power_of_two().max(HANDLES_MIN.into());
        u32::try_from(total).unwrap_or(u32::MAX)
    }

    /// Scratch that suffices for `workers` jobs at once: four times their peak and room for their largest blocks to
    /// be moved, and for the payloads of the handles; at least 64 MiB.
    pub fn scratch_bytes(&self, workers: usize, handle_count: u32) -> u64 {
        let each = self.peak_bytes.saturating_mul(4).saturating_add(self.largest_bytes.saturating_mul(2));
        let payloads = u64::from(handle_count).saturating_mul(1 << 10);
        let total = each.saturating_mul(workers as u64 + 1).saturating_add(payloads);
        total.checked_next_power_of_two().unwrap_or(total)
    }
}

/// The fewest handles a segment gets.
const HANDLES_MIN: u32 = 1 << 16;
