//! The summary of a run: its counts, and as the last line the number of violations.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::driver::Plan;
use crate::verdict::Verdict;
use tenure_tools::table::{Table, count};

use super::chance::Act;
use super::talk::Counts;
use super::{CrowdFigures, Figures};

/// The results of a run.
#[derive(Debug, Serialize)]
pub struct Summary {
    /// Seed; it repeats the choices.
    pub seed: u64,
    /// Backend of each segment.
    pub segments: Vec<String>,
    /// Number of members at any time.
    pub members: usize,
    /// Time from the start of the first member to the end of the last one, in seconds.
    pub seconds: f64,
    /// Number of operations of all members, as far as they were reported.
    pub operations: u64,
    /// The same by kind of operation.
    pub by_kind: BTreeMap<&'static str, u64>,
    /// Number of operations that had nothing to do.
    pub idle: u64,
    /// Number of operations refused because handles or memory were exhausted.
    pub exhausted: u64,
    /// Number of processes started, without forked children.
    pub processes: u64,
    /// Number of incarnations of members: a process that executes itself has several.
    pub incarnations: u64,
    /// Number of memberships begun.
    pub joins: u64,
    /// Number of memberships ended by leaving.
    pub leaves: u64,
    /// Number of members killed.
    pub kills: u64,
    /// Number of members stopped and continued.
    pub stops: u64,
    /// Number of children forked.
    pub forks: u64,
    /// Number of members that executed another program.
    pub execs: u64,
    /// Number of members that exited without leaving.
    pub exits: u64,
    /// Number of handles and blocks passed from member to member.
    pub gifts: u64,
    /// Number of dead leases recovered, by any member.
    pub recoveries: u64,
    /// Number of handles taken back from dead members.
    pub handles_reclaimed: u64,
    /// Number of blocks taken back from dead members.
    pub blocks_reclaimed: u64,
    /// Number of pinned blocks of dead members that the director verified and freed.
    pub pinned_swept: u64,
    /// Number of checks of every word of a segment while members worked.
    pub checks: u64,
    /// Number of waits that timed out.
    pub timeouts: u64,
    /// Number of times that the next owner of a mutex learned that it was abandoned.
    pub abandoned: u64,
    /// Number of comparisons of the ledger with the common objects.
    pub audits: u64,
    /// Number of audits given up because a member was stopped during a wait.
    pub audits_given_up: u64,
    /// Number of permits and signals of dead members that were put back.
    pub units_restored: u64,
    /// Number of threads killed while they waited, took or released.
    pub killed_waiting: u64,
    /// Counts of the crowds.
    pub crowd: CrowdFigures,
    /// Counts that must be zero.
    pub verdict: Verdict,
}

impl Summary {
    pub(super) fn new(
        plan: &Plan,
        (counts, figures, crowd): (&Counts, &Figures, CrowdFigures),
        verdict: Verdict,
    ) -> Self {
        Self {
            seed: plan.seed,
            segments: plan.backends.iter().map(ToString::to_string).collect(),
            members: plan.processes,
            seconds: figures.seconds,
            operations: counts.operations(),
            by_kind: Act::ALL.iter().map(|(_, _, name)| *name).zip(counts.acts.iter().copied()).collect(),
            idle: counts.idle,
            exhausted: counts.exhausted,
            processes: figures.processes,
            incarnations: figures.incarnations,
            joins: counts.joins,
            leaves: counts.leaves,
            kills: figures.kills,
            stops: figures.stops,
            forks: counts.forks,
            execs: figures.execs,
            exits: figures.exits,
            gifts: figures.gifts,
            recoveries: counts.reclaimed[0],
            handles_reclaimed: counts.reclaimed[1],
            blocks_reclaimed: counts.reclaimed[2],
            pinned_swept: figures.swept,
            checks: figures.looks,
            timeouts: counts.timeouts,
            abandoned: figures.audits.told,
            audits: figures.audits.done,
            audits_given_up: figures.audits.given_up,
            units_restored: figures.audits.restored,
            killed_waiting: figures.audits.doubtful,
            crowd,
            verdict,
        }
    }
}

/// Adds a row: name, count, details.
fn row(table: &mut Table<3>, what: &str, value: u64, more: String) {
    table.row([what.into(), count(value as f64), more]);
}

impl Summary {
    /// The rows of the members.
    fn describe_members(&self, table: &mut Table<3>) {
        let mut row = |what: &str, value: u64, more: String| row(table, what, value, more);
        let rate = self.operations as f64 / self.seconds.max(1e-9);
        row("operations", self.operations, format!("{} /s, by {} members", count(rate), self.members));
        row(
            "nothing to do",
            self.idle,
            format!("and {} refused for want of room", count(self.exhausted as f64)),
        );
        row("incarnations", self.incarnations, format!("in {} processes", self.processes));
        row("kills", self.kills, format!("and {} stops", self.stops));
        row("forks", self.forks, format!("and {} execs, {} ends without leaving", self.execs, self.exits));
        row("joins", self.joins, format!("and {} leaves", self.leaves));
        row("passed on", self.gifts, "handles and blocks, from member to member".into());
        let blocks = count(self.blocks_reclaimed as f64);
        row(
            "recoveries",
            self.recoveries,
            format!("{} handles, {blocks} blocks", count(self.handles_reclaimed as f64)),
        );
        row(
            "checks",
            self.checks,
            format!("while members worked; {} pinned blocks swept up", self.pinned_swept),
        );
        row("timed out", self.timeouts, format!("waits, and {} killed in the middle", self.killed_waiting));
        let restored = count(self.units_restored as f64);
        row(
            "abandoned",
            self.abandoned,
            format!("mutexes passed on, {restored} permits and signals of the dead restored"),
        );
        row("audits", self.audits, format!("and {} given up", self.audits_given_up));
    }

    /// The rows of the crowds.
    fn describe_crowds(&self, table: &mut Table<3>) {
        let crowd = &self.crowd;
        let mut row = |what: &str, value: u64, more: String| row(table, what, value, more);
        row(
            "crowds",
            crowd.rounds,
            format!(
                "rounds: {} recoverers, {} killed and {} stopped while they recovered",
                count(crowd.recoverers as f64),
                count(crowd.killed_recovering as f64),
                count(crowd.stopped as f64)
            ),
        );
        row(
            "counted",
            crowd.handles + crowd.blocks,
            format!(
                "{} handles and {} blocks of the living; {} handles could be had besides",
                count(crowd.handles as f64),
                count(crowd.blocks as f64),
                count(crowd.had as f64)
            ),
        );
    }

    fn describe_kinds(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds: Vec<String> =
            self.by_kind.iter().map(|(name, times)| format!("{name} {}", count(*times as f64))).collect();
        writeln!(f, "by kind: {}", kinds.join(", "))
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new(["", "", ""]);
        let had_members = self.processes > 0;
        if had_members {
            self.describe_members(&mut table);
        }
        self.describe_crowds(&mut table);
        write!(f, "{table}")?;
        if had_members {
            self.describe_kinds(f)?;
        }
        writeln!(
            f,
            "in {:.1} s on {} segments ({})",
            self.seconds,
            self.segments.len(),
            self.segments.join(", ")
        )?;
        self.verdict.describe(f, self.seed)?;
        writeln!(f, "violations {}", self.verdict.total())
    }
}
