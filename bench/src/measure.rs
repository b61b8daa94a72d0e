//! Lets the cases of a workload take turns, round by round.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use tenure_subjects::Failed;
use tenure_subjects::team::Team;

use crate::case::{Case, Workload};
use crate::stats::{Ratio, Verdict, median};

/// The amount of measuring.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Rounds that count.
    pub rounds: usize,
    /// Rounds before those.
    pub warm_rounds: usize,
    /// The time that a turn should take.
    pub turn_ns: u64,
}

impl Effort {
    /// For a report.
    pub const FULL: Self = Self { rounds: 61, warm_rounds: 3, turn_ns: 2_000_000 };
    /// For a look.
    pub const QUICK: Self = Self { rounds: 9, warm_rounds: 3, turn_ns: 500_000 };
}

/// The name of a bound, not a contender: the transport that other subjects need as well.
pub const ALONE: &str = "the lane alone";
/// The name of a bound, not a contender: the shared words of handles, and nothing around them.
pub const WORDS_ALONE: &str = "its words alone";
/// The name of a bound, not a contender: the lane, and a word for each block that the freeing member exchanges.
pub const LANE_AND_WORD: &str = "the lane and a word a block";

/// Whether a subject is a bound, which takes no part in the comparison.
fn is_bound(subject: &str) -> bool {
    [ALONE, WORDS_ALONE, LANE_AND_WORD].contains(&subject)
}

/// Every how many rounds operations are timed one by one as well.
const SAMPLED_EVERY: usize = 4;

/// The results of one workload.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Measured {
    /// `group/name`.
    pub id: String,
    /// In words.
    pub title: String,
    /// One for each case.
    pub subjects: Vec<Figures>,
}

/// The results of one subject.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Figures {
    /// Its name.
    pub subject: String,
    /// The number of members that worked at once.
    pub members: usize,
    /// Whether that is more than there are processors.
    pub oversubscribed: bool,
    /// Whether it works in one process only.
    pub private: bool,
    /// Operations of one turn.
    pub operations: u32,
    /// Nanoseconds of an operation in each round: first begin to last end, divided by one member's operations.
    pub rounds_ns: Vec<f64>,
    /// The figures of operations that were timed one by one, the clock included; empty where that makes no sense.
    pub tail_ns: Option<Tail>,
    /// Why there are no figures.
    pub failed: Option<String>,
}

/// The figures of single operations, in nanoseconds.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Tail {
    /// Median.
    pub p50: u64,
    /// 99 of 100 took less.
    pub p99: u64,
    /// 999 of 1000 took less.
    pub p999: u64,
    /// The number of operations timed.
    pub count: u64,
}

impl Figures {
    /// Median over the rounds.
    #[must_use]
    pub fn ns(&self) -> f64 {
        median(&self.rounds_ns)
    }
}

/// A subject beside tenure with as many members.
#[derive(Clone, Debug)]
pub struct Comparison<'m> {
    /// tenure's.
    pub ours: &'m Figures,
    /// The other's.
    pub theirs: &'m Figures,
    /// Ours divided by theirs.
    pub ratio: Ratio,
}

impl Comparison<'_> {
    /// The verdict that the interval supports.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        self.ratio.verdict()
    }
}

impl Measured {
    /// Every other subject beside tenure, as far as both have figures.
    #[must_use]
    pub fn comparisons(&self) -> Vec<Comparison<'_>> {
        let is_done = |figures: &&Figures| figures.failed.is_none();
        let is_other = |figures: &&Figures| figures.subject != "tenure" && !is_bound(&figures.subject);
        let others = self.subjects.iter().filter(is_done).filter(is_other);
        others
            .filter_map(|theirs| {
                let mut tenure = self.subjects.iter().filter(is_done).filter(|one| one.subject == "tenure");
                let ours = tenure.find(|ours| ours.members == theirs.members)?;
                let ratio = Ratio::of(&ours.rounds_ns, &theirs.rounds_ns);
                Some(Comparison { ours, theirs, ratio })
            })
            .collect()
    }

    /// The figures of a subject with so many members.
    #[must_use]
    pub fn of(&self, subject: &str, members: usize) -> Option<&Figures> {
        let mut all = self.subjects.iter().filter(|figures| figures.failed.is_none());
        all.find(|figures| figures.subject == subject && figures.members == members)
    }
}

struct Runner {
    figures: Figures,
    team: Option<Team>,
    tail: Option<Histogram<u64>>,
}

/// Measures a workload: every round, each subject has its turn.
#[must_use]
pub fn measure(workload: &Workload, effort: Effort) -> Measured {
    let mut runners: Vec<Runner> = workload.cases.iter().map(|case| Runner::begin(case, effort)).collect();
    for round in 0..effort.warm_rounds + effort.rounds {
        // So that no case always follows the same one.
        let first = round % runners.len().max(1);
        let order = (0..runners.len()).map(|place| (place + first) % runners.len());
        for index in order.collect::<Vec<_>>() {
            runners[index].round(round.checked_sub(effort.warm_rounds));
        }
    }
    let subjects = runners.into_iter().map(Runner::end).collect();
    Measured { id: workload.id.clone(), title: workload.title.clone(), subjects }
}

impl Runner {
    fn begin(case: &Case, effort: Effort) -> Self {
        let mut runner = Self {
            figures: Figures {
                subject: case.subject.to_owned(),
                members: case.members,
                oversubscribed: case.is_oversubscribed(),
                private: case.private,
                operations: 0,
                rounds_ns: Vec::new(),
                tail_ns: None,
                failed: None,
            },
            team: None,
            tail: Histogram::new_with_bounds(1, 60_000_000_000, 3).ok(),
        };
        let begun = (case.fork)().and_then(|mut team| {
            runner.figures.operations = team.calibrate(effort.turn_ns)?;
            Ok(team)
        });
        match begun {
            Ok(team) => runner.team = Some(team),
            Err(Failed(why)) => runner.figures.failed = Some(why),
        }
        runner
    }

    fn round(&mut self, counted: Option<usize>) {
        let Some(team) = &mut self.team else { return };
        let operations = self.figures.operations;
        let done = team.turn(operations).and_then(|turn| {
            let Some(round) = counted else { return Ok(()) };
            self.figures.rounds_ns.push(turn.ns);
            match &mut self.tail {
                Some(tail) if round % SAMPLED_EVERY == 0 => {
                    team.sampled_turn(operations, |ns| tail.saturating_record(ns.max(1).into()))
                }
                _ => Ok(()),
            }
        });
        if let Err(Failed(why)) = done {
            self.figures.failed = Some(why);
            self.team = None;
        }
    }

    fn end(self) -> Figures {
        let mut figures = self.figures;
        figures.tail_ns = self.tail.filter(|tail| tail.len() >= 1000).map(|tail| Tail {
            p50: tail.value_at_quantile(0.5),
            p99: tail.value_at_quantile(0.99),
            p999: tail.value_at_quantile(0.999),
            count: tail.len(),
        });
        figures
    }
}
