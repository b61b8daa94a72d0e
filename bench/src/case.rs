//! A case: a subject doing a workload with so many members.

use std::sync::Arc;

use tenure_subjects::shared::{Pages, cpu_count};
use tenure_subjects::team::{Kind, Team, Work};
use tenure_subjects::{Outcome, Subject};

/// The work, and the subjects that do it.
pub struct Workload {
    /// `group/name`.
    pub id: String,
    /// In words, for people.
    pub title: String,
    /// The cases that take turns.
    pub cases: Vec<Case>,
}

impl Workload {
    /// A workload that several subjects do.
    pub fn new(id: impl Into<String>, title: impl Into<String>, cases: Vec<Case>) -> Self {
        Self { id: id.into(), title: title.into(), cases }
    }
}

/// One subject.
pub struct Case {
    /// Its name.
    pub subject: &'static str,
    /// The number of members that work at once.
    pub members: usize,
    /// Whether the subject works in one process only.
    pub private: bool,
    /// Forks the members.
    pub fork: Box<dyn Fn() -> Outcome<Team>>,
}

impl Case {
    /// Whether it has more members than processors.
    #[must_use]
    pub fn is_oversubscribed(&self) -> bool {
        self.members > cpu_count()
    }

    /// Whether it works in one process only: a bound, not a rival.
    #[must_use]
    pub fn private(mut self) -> Self {
        self.private = true;
        self
    }
}

/// The place of one member in a team.
pub struct Seat<'s, S> {
    /// The subject; `join` may be called more than once.
    pub subject: &'s S,
    /// Its number, from 0.
    pub rank: usize,
    /// The number of members.
    pub members: usize,
    /// Zeroed memory that all members of the team share.
    pub exchange: Arc<Pages>,
}

impl<S: Subject> Seat<'_, S> {
    /// A member of the subject.
    ///
    /// # Errors
    /// The errors of the subject.
    pub fn join(&self) -> Outcome<S::Member> {
        self.subject.join()
    }
}

const EXCHANGE_BYTES: usize = 1 << 20;

/// A case of processes.
pub fn processes<S: Subject + 'static>(
    subject: &'static str,
    members: usize,
    found: fn() -> Outcome<S>,
    work: fn(&Seat<'_, S>) -> Outcome<Work>,
) -> Case {
    case(Kind::Processes, subject, members, found, work)
}

/// A case of threads.
pub fn threads<S: Subject + 'static>(
    subject: &'static str,
    members: usize,
    found: fn() -> Outcome<S>,
    work: fn(&Seat<'_, S>) -> Outcome<Work>,
) -> Case {
    case(Kind::Threads, subject, members, found, work)
}

/// A case of either kind, from functions that make the subject and the work.
pub fn case<S: Subject + 'static>(
    kind: Kind,
    name: &'static str,
    members: usize,
    found: impl Fn() -> Outcome<S> + 'static,
    work: impl Fn(&Seat<'_, S>) -> Outcome<Work> + Clone + 'static,
) -> Case {
    let fork = move || {
        let subject = Arc::new(found()?);
        let exchange = Arc::new(Pages::new(EXCHANGE_BYTES)?);
        let (work, of_team) = (work.clone(), Arc::clone(&subject));
        let team = Team::fork(kind, members, move |rank| {
            work(&Seat { subject: &*of_team, rank, members, exchange: Arc::clone(&exchange) })
        });
        subject.settle();
        team
    };
    Case { subject: name, members, private: false, fork: Box::new(fork) }
}
