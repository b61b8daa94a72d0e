//! The summary of a run: a short table, and as the last line the lost and leaked resources.

use std::fmt;

use serde::Serialize;

use crate::driver::{self, Plan};
use crate::timing::Timing;
use tenure_tools::table::{Table, count};

use super::director::Totals;
use super::owners::Owners;
use crate::verdict::Verdict;

/// The results of a run.
#[derive(Debug, Serialize)]
pub struct Summary {
    /// Seed; it repeats the random choices.
    pub seed: u64,
    /// Backend of the segment.
    pub backend: String,
    /// Number of worker processes at any time.
    pub workers: usize,
    /// Time from the start of the first worker to the exit of the last one, in seconds.
    pub seconds: f64,
    /// Number of handle operations of all workers.
    pub handle_operations: u64,
    /// Processor time of one handle operation in ns, with making and checking payloads.
    pub handle_operation_ns: f64,
    /// Number of block operations of all workers.
    pub block_operations: u64,
    /// Processor time of one block operation in ns, with filling and verifying.
    pub block_operation_ns: f64,
    /// Number of opens of a handle that the same worker held already.
    pub second_opens: u64,
    /// Number of replays of each recording.
    pub replayed: Vec<Replayed>,
    /// Number of workers killed.
    pub kills: u32,
    /// Number of workers stopped and continued.
    pub stops: u32,
    /// Number of handles taken back from dead workers.
    pub handles_reclaimed: u64,
    /// Number of blocks taken back from dead workers.
    pub blocks_reclaimed: u64,
    /// Median time from the kill until no word refers to the dead worker, in µs.
    pub reclaim_us_p50: f64,
    /// 99th percentile of the same time, in µs.
    pub reclaim_us_p99: f64,
    /// Results of the mutex whose owners were killed.
    pub owners: Owners,
    /// Number of tokens that the coordinator checked itself.
    pub looks: u64,
    /// Single operations of tenure and of other systems, measured after the run.
    pub timing: Vec<Timing>,
    /// Counts that must be zero.
    pub verdict: Verdict,
}

/// The number of replays of one recording.
#[derive(Debug, Serialize)]
pub struct Replayed {
    /// Name of the recording.
    pub name: String,
    /// Number of complete replays; for a recording of several processes, of the process replayed least often.
    pub times: u64,
}

impl Summary {
    pub(super) fn new(
        (plan, replayed): (&Plan, &driver::Replayed),
        job_titles: &[String],
        totals: &Totals,
        verdict: Verdict,
    ) -> Self {
        let counters = &totals.counters;
        let each = |ns: u64, operations: u64| ns as f64 / operations.max(1) as f64;
        let us = |quantile| totals.reclaim_ns.value_at_quantile(quantile) as f64 / 1000.0;
        Self {
            seed: plan.seed,
            backend: plan.backends[0].to_string(),
            workers: plan.processes,
            seconds: totals.elapsed.as_secs_f64(),
            handle_operations: counters.handle_operations,
            handle_operation_ns: each(counters.handle_ns, counters.handle_operations),
            block_operations: counters.block_operations,
            block_operation_ns: each(counters.block_ns, counters.block_operations),
            second_opens: counters.second_opens,
            replayed: times(replayed, job_titles, totals),
            kills: totals.kills,
            stops: totals.stops,
            handles_reclaimed: counters.handles_reclaimed,
            blocks_reclaimed: counters.blocks_reclaimed,
            reclaim_us_p50: us(0.5),
            reclaim_us_p99: us(0.99),
            owners: Owners::default(),
            looks: totals.looks,
            timing: Vec::new(),
            verdict,
        }
    }

    /// The last line, with the overall result.
    pub fn last_line(&self) -> String {
        format!("lost {}, leaked {}", self.verdict.lost, self.verdict.leaked)
    }
}

fn times(replayed: &driver::Replayed, job_titles: &[String], totals: &Totals) -> Vec<Replayed> {
    let of = |title: &String| {
        let jobs = job_titles.iter().zip(&totals.counters.jobs_done);
        jobs.filter(|(job, _)| *job == title).map(|(_, &times)| u64::from(times)).min()
    };
    let titles = replayed.sources.iter().map(|source| source.title());
    titles
        .map(|name| {
            let times = of(&name).unwrap_or(totals.passes);
            Replayed { name, times }
        })
        .collect()
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let per_second = |operations: u64| operations as f64 / self.seconds.max(1e-9);
        let replayed: Vec<String> =
            self.replayed.iter().map(|one| format!("{} {}x", one.name, one.times)).collect();
        let mut table = Table::new(["", "", ""]);
        let operations = |what: &str, operations: u64, ns: f64| {
            let rate = format!("{} /s", count(per_second(operations)));
            [
                what.to_owned(),
                rate,
                format!("{ns:.0} ns each with checks, {} in all", count(operations as f64)),
            ]
        };
        table.row(operations("handle operations", self.handle_operations, self.handle_operation_ns));
        table.row(operations("block operations", self.block_operations, self.block_operation_ns));
        let row = |what: &str, value: String, more: String| [what.to_owned(), value, more];
        table.row(row(
            "kills",
            self.kills.to_string(),
            format!("and {} stops, of {} workers", self.stops, self.workers),
        ));
        table.row(row(
            "reclaimed",
            format!("{} handles", self.handles_reclaimed),
            format!("{} blocks", self.blocks_reclaimed),
        ));
        if self.kills > 0 {
            let p50 = format!("p50 {:.2} ms", self.reclaim_us_p50 / 1000.0);
            table.row(row("kill to reclaimed", p50, format!("p99 {:.2} ms", self.reclaim_us_p99 / 1000.0)));
        }
        if self.owners.killed > 0 {
            let Owners { killed, told, handed_over_us_p50 } = self.owners;
            table.row(row(
                "mutex owners killed",
                killed.to_string(),
                format!(
                    "{told} told \"abandoned\", p50 {:.2} ms after the kill",
                    handed_over_us_p50 / 1000.0
                ),
            ));
        }
        write!(f, "{table}")?;
        writeln!(f, "replayed in {:.1} s ({}): {}", self.seconds, self.backend, replayed.join(", "))?;
        if !self.timing.is_empty() {
            write!(f, "\n{}", Timing::table(&self.timing))?;
        }
        self.verdict.describe(f, self.seed)?;
        writeln!(f, "{}", self.last_line())
    }
}
