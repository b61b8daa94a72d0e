//! The director's audit of the common objects (`commons`). The gate is closed and nobody waits, so all units of a group
//! are accounted for: available, held by living members, or held by dead ones; in addition, each dead member that was
//! taking or releasing at that moment may have changed one unit. Afterwards the units of the dead are put back and the
//! gate is opened.

use std::sync::atomic::Ordering;
use std::time::Instant;

use tenure::{LeaseInfo, Member, Space, sync::MutexState};

use crate::verdict::Verdict;

use super::commons::{
    ACCOUNTS_MAX, Entry, Founded, GROUPED, GROUPS, Group, Intent, Ledger, PULSE, Thing, Whose,
};

/// Counts of the audits.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Audits {
    /// Number of complete audits.
    pub(super) done: u64,
    /// Number of audits given up because a member was stopped in the middle of an operation.
    pub(super) given_up: u64,
    /// Number of times that a new owner learned that its mutex was abandoned.
    pub(super) told: u64,
    /// Number of units put back for dead members.
    pub(super) restored: u64,
    /// Number of accounts whose owner died while it took or released.
    pub(super) doubtful: u64,
}

impl Audits {
    pub(super) fn add(&mut self, other: &Self) {
        self.done += other.done;
        self.given_up += other.given_up;
        self.told += other.told;
        self.restored += other.restored;
        self.doubtful += other.doubtful;
    }
}

/// The state of an audit.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// Some living members are not quiet yet, or some dead ones are not recovered; the reason.
    Busy(String),
    Done,
}

/// The audits of one space.
pub(super) struct Auditor {
    founded: Founded,
    /// Accounts that were quiet after the gate was closed: their units do not change.
    quiet: Vec<bool>,
    closed_at: Option<Instant>,
    /// At the last audit: number of reports that the mutex was abandoned, and whether it was abandoned then.
    told_before: [u64; GROUPED],
    abandoned_before: [bool; GROUPED],
    pub(super) figures: Audits,
}

/// One account in an audit.
#[derive(Debug)]
struct Account {
    number: usize,
    whose: Whose,
    is_alive: bool,
    entries: [Entry; GROUPS.len()],
}

/// Sums over one group in an audit.
#[derive(Default, Clone, Debug)]
struct Sum {
    /// Units of living members.
    alive: i64,
    /// Accounts of dead members that were taking the group.
    taking: i64,
    /// Accounts of dead members that were releasing the group.
    releasing: i64,
    /// For each object: units that dead members certainly had.
    dead: [i64; 3],
    /// For each object: units that dead members may have released.
    doubtful: [i64; 3],
    /// For each object: further units that are missing.
    gone: [i64; 3],
    /// For the mutex: number of reports that it was abandoned, and whether it is abandoned now. When an owner dies
    /// after it was counted as living, the next audit counts it.
    told: u64,
    abandoned: bool,
}

impl Auditor {
    pub(super) fn new(founded: Founded) -> Self {
        Self {
            founded,
            quiet: vec![false; ACCOUNTS_MAX],
            closed_at: None,
            told_before: [0; GROUPED],
            abandoned_before: [false; GROUPED],
            figures: Audits::default(),
        }
    }

    /// Sets and resets the pulse event: all its waiters continue.
    pub(super) fn pulse(&self, verdict: &mut Verdict) {
        if let Some(event) = self.founded.commons.things[PULSE].event()
            && let Err(error) = event.set().and_then(|()| event.reset())
        {
            verdict.refused(format!("the director cannot pulse: {error}"));
        }
    }

    /// The time at which the gate was closed.
    pub(super) fn closed_at(&self) -> Option<Instant> {
        self.closed_at
    }

    pub(super) fn begin(&mut self, member: &Member) {
        self.quiet.fill(false);
        self.closed_at = Some(Instant::now());
        Ledger::at(member, self.founded.commons.offset).close_gate();
    }

    pub(super) fn give_up(&mut self, member: &Member) {
        self.closed_at = None;
        self.figures.given_up += 1;
        Ledger::at(member, self.founded.commons.offset).open_gate();
    }

    /// Does the audit if all living members are quiet.
    pub(super) fn go_on(
        &mut self,
        name: &str,
        space: &Space,
        member: &Member,
        verdict: &mut Verdict,
    ) -> Progress {
        let ledger = Ledger::at(member, self.founded.commons.offset);
        let accounts = match self.accounts(ledger, space) {
            Ok(accounts) => accounts,
            Err(why) => return Progress::Busy(why),
        };
        if accounts.iter().any(|account| !account.is_alive)
            && let Err(error) = member.recover()
        {
            verdict.refused(format!("{name}: the director cannot recover: {error}"));
        }
        let mut sums = vec![Sum::default(); GROUPS.len()];
        for account in &accounts {
            self.add_up(account, &mut sums);
        }
        for (index, sum) in sums.iter_mut().enumerate() {
            if let Err(why) = self.count(index, sum, ledger, &accounts) {
                return Progress::Busy(why);
            }
        }
        // All members that were counted as living must still live: a dead one's units may be changing hands.
        let leases = space.leases();
        if accounts.iter().any(|account| account.is_alive && !is_alive(account.whose, &leases)) {
            return Progress::Busy("somebody died meanwhile".into());
        }
        let problems = self.compare(&sums, &accounts);
        if !problems.is_empty() {
            verdict.note("audit", format!("{name}: {sums:?}"));
            verdict.note("audit", format!("{name}: abandoned before {:?}", self.abandoned_before));
            for account in &accounts {
                verdict.note("audit", format!("{name}: {account:?}"));
            }
            verdict.note("audit", format!("{name}: {leases:?}"));
        }
        for problem in problems {
            verdict.lost(format!("{name}: {problem}"));
        }
        for (group, sum) in GROUPS.iter().zip(&sums) {
            if let Err(problem) = self.settle(group, sum, ledger) {
                verdict.mixed_up(format!("{name}: {}: {problem}", group.name));
            }
        }
        let victims = accounts.iter().filter(|account| !account.is_alive);
        for account in victims {
            self.figures.doubtful += u64::from(self.doubts(account) > 0);
            ledger.reap(account.number, account.whose);
        }
        self.figures.done += 1;
        self.closed_at = None;
        ledger.open_gate();
        Progress::Done
    }

    /// All accounts in use, if all living members are quiet.
    fn accounts(&mut self, ledger: Ledger<'_>, space: &Space) -> Result<Vec<Account>, String> {
        let owned: Vec<(usize, Whose)> = (0..ACCOUNTS_MAX)
            .filter_map(|number| ledger.whose(number).map(|whose| (number, whose)))
            .collect();
        // Read after the accounts: an account without a lease then belongs to a dead member.
        let leases = space.leases();
        let mut accounts = Vec::with_capacity(owned.len());
        for (number, whose) in owned {
            let is_alive = is_alive(whose, &leases);
            let entries = std::array::from_fn(|group| ledger.entry(number, group));
            let idle = |entry: &Entry| entry.intent == Intent::Nothing;
            if is_alive && !self.quiet[number] && !entries.iter().all(idle) {
                return Err(format!("account {number} of {whose:?} is not quiet: {entries:?}"));
            }
            self.quiet[number] |= is_alive;
            accounts.push(Account { number, whose, is_alive, entries });
        }
        Ok(accounts)
    }

    /// The intent of the account. An account that was quiet after the gate was closed has none: its threads only read
    /// the gate.
    fn intent(&self, account: &Account, group: usize) -> Intent {
        if self.quiet[account.number] { Intent::Nothing } else { account.entries[group].intent }
    }

    /// Maximum number of units that may be missing with the dead owner of an account, besides the units it had: one, or
    /// one a group when it waited for all of several groups.
    fn doubts(&self, account: &Account) -> i64 {
        let intents = || (0..GROUPS.len()).map(|group| self.intent(account, group));
        let all = intents().filter(|intent| *intent == Intent::TakingAll).count() as i64;
        all + i64::from(intents().any(|intent| !matches!(intent, Intent::Nothing | Intent::TakingAll)))
    }

    fn add_up(&self, account: &Account, sums: &mut [Sum]) {
        for (group, sum) in sums.iter_mut().enumerate() {
            let units = i64::from(account.entries[group].units);
            if account.is_alive {
                sum.alive += units;
                continue;
            }
            let intent = self.intent(account, group);
            sum.taking += i64::from(matches!(intent, Intent::TakingAny | Intent::TakingAll));
            sum.releasing += i64::from(matches!(intent, Intent::Releasing(_)));
            for thing in 0..GROUPS[group].things.len() {
                let given_back = match intent {
                    Intent::Releasing(done) => i64::from(thing <= done),
                    _ => 0,
                };
                sum.dead[thing] += units - given_back;
                sum.doubtful[thing] += i64::from(intent == Intent::Releasing(thing));
            }
        }
    }

    /// For each object of a group: the number of missing units, without those that living and dead members had.
    fn count(
        &self,
        index: usize,
        sum: &mut Sum,
        ledger: Ledger<'_>,
        accounts: &[Account],
    ) -> Result<(), String> {
        let group = &GROUPS[index];
        for (place, thing) in group.things.iter().enumerate() {
            let units = i64::from(group.units);
            let can_be_had = match &self.founded.commons.things[*thing] {
                Thing::Semaphore(semaphore) => semaphore.count().map(i64::from),
                Thing::Event(event) => event.is_set().map(i64::from),
                Thing::Mutex(mutex) => {
                    let abandoned = match mutex.state() {
                        Ok(MutexState::Owned { lease, thread }) => {
                            let owns = |account: &Account| {
                                let has_it = account.is_alive && account.entries[index].units > 0;
                                has_it && account.whose.lease.index == lease
                            };
                            if sum.alive != 1 || !accounts.iter().any(owns) {
                                return Err(format!("{} is owned by {lease}, thread {thread}", group.name));
                            }
                            false
                        }
                        Ok(state) if sum.alive != 0 => {
                            return Err(format!("{} is {state:?}, and {} have it", group.name, sum.alive));
                        }
                        Ok(state) => state == MutexState::Abandoned,
                        Err(error) => return Err(format!("{}: {error}", group.name)),
                    };
                    // A dead owner shows once: as a report to the next owner, or as the abandoned state. Relaxed:
                    // nobody waits.
                    (sum.told, sum.abandoned) = (ledger.told(*thing).load(Ordering::Relaxed), abandoned);
                    let told = sum.told - self.told_before[*thing];
                    let before = i64::from(self.abandoned_before[*thing]);
                    sum.gone[place] = told as i64 + i64::from(abandoned) - before - sum.dead[place];
                    continue;
                }
            };
            let can_be_had = can_be_had.map_err(|error| format!("{}: {error}", group.name))?;
            sum.gone[place] = units - sum.alive - sum.dead[place] - can_be_had;
        }
        Ok(())
    }

    /// Describes the inconsistencies.
    fn compare(&self, sums: &[Sum], accounts: &[Account]) -> Vec<String> {
        let mut problems = Vec::new();
        let mut gone = 0;
        for (group, sum) in GROUPS.iter().zip(sums) {
            for place in 0..group.things.len() {
                let limit = sum.taking + sum.doubtful[place];
                let found = sum.gone[place];
                if !(0..=limit).contains(&found) {
                    let thing = group.things[place];
                    problems.push(format!(
                        "{}, thing {thing}: expected 0 to {limit} gone with the dead besides what they had, found \
                         {found} ({} of the living, {} of the dead)",
                        group.name, sum.alive, sum.dead[place]
                    ));
                }
            }
            let things = group.things.len();
            gone += sum.gone[..things].iter().max().copied().unwrap_or_default();
            if sum.releasing == 0 {
                let mut found = self.comparable(group, sum);
                let first = found.next();
                if !found.all(|other| Some(other) == first) {
                    problems.push(format!(
                        "{}: {:?} gone with the dead: neither all nor nothing",
                        group.name,
                        &sum.gone[..things]
                    ));
                }
            }
        }
        let victims = || accounts.iter().filter(|account| !account.is_alive);
        for victim in victims() {
            let groups: Vec<usize> =
                (0..GROUPS.len()).filter(|group| self.intent(victim, *group) == Intent::TakingAll).collect();
            // If no other member died in the middle of these groups, this one took all of the missing units.
            if groups.iter().all(|group| sums[*group].taking == 1 && sums[*group].releasing == 0) {
                let found: Vec<i64> =
                    groups.iter().flat_map(|group| self.comparable(&GROUPS[*group], &sums[*group])).collect();
                if found.windows(2).any(|two| two[0] != two[1]) {
                    problems.push(format!(
                        "who waited for all of the groups {groups:?} and died took {found:?}: neither all nor nothing"
                    ));
                }
            }
        }
        let doubts: i64 = victims().map(|account| self.doubts(account)).sum();
        if gone > doubts {
            problems.push(format!("{gone} units gone with the dead, who could take {doubts}"));
        }
        problems
    }

    /// The number of missing units of each object of a group; without mutexes for which it is uncertain, because a new
    /// owner may have learned of the abandonment and died.
    fn comparable<'a>(&'a self, group: &'a Group, sum: &'a Sum) -> impl Iterator<Item = i64> + 'a {
        let is_certain = |place: usize, thing: usize| {
            group.mutex() != Some(thing) || (sum.dead[place] == 0 && !self.abandoned_before[thing])
        };
        let places = group.things.iter().enumerate();
        places.filter(move |(place, thing)| is_certain(*place, **thing)).map(|(place, _)| sum.gone[place])
    }

    /// Puts back the missing units and repairs the pair.
    fn settle(&mut self, group: &Group, sum: &Sum, ledger: Ledger<'_>) -> Result<(), String> {
        let no_victims = sum.dead == [0; 3] && sum.taking == 0 && sum.releasing == 0;
        for thing in group.things {
            if matches!(self.founded.commons.things[*thing], Thing::Mutex(_)) {
                self.figures.told += sum.told - self.told_before[*thing];
                self.told_before[*thing] = sum.told;
                self.abandoned_before[*thing] = sum.abandoned;
            }
        }
        let mut found = Ok(());
        if let Some(pair) = group.pair.filter(|_| sum.alive == 0) {
            // Relaxed, all: pair: nobody owns it; its next owner sees these stores because we signal the object
            // afterwards, or open the gate.
            let pair = ledger.pair(pair);
            let words = [pair.owner, pair.first, pair.second].map(|word| word.load(Ordering::Relaxed));
            let is_well = words[0] == 0 && words[1] == words[2];
            let is_told = group.mutex().is_some();
            if !is_well && (if is_told { !sum.abandoned } else { no_victims }) {
                found = Err(format!("nobody has it, but its owner and words are {words:x?}"));
            }
            // The next owner of an abandoned mutex learns of that and repairs the pair itself.
            if !sum.abandoned {
                pair.owner.store(0, Ordering::Relaxed);
                pair.second.store(words[1], Ordering::Relaxed);
            }
        }
        for (place, thing) in group.things.iter().enumerate() {
            let missing = sum.dead[place] + sum.gone[place];
            match &self.founded.commons.things[*thing] {
                Thing::Mutex(_) => {}
                Thing::Event(_) | Thing::Semaphore(_) if missing < 0 => self.take(*thing, -missing),
                Thing::Semaphore(semaphore) if missing > 0 => {
                    semaphore.release(missing as u32).map_err(|error| error.to_string())?;
                    self.figures.restored += missing as u64;
                }
                Thing::Event(event) if missing > 0 => {
                    event.set().map_err(|error| error.to_string())?;
                    self.figures.restored += 1;
                }
                Thing::Event(_) | Thing::Semaphore(_) => {}
            }
        }
        found
    }

    /// Takes surplus units, so that each fault is reported once.
    fn take(&self, thing: usize, more: i64) {
        for _ in 0..more {
            let none = Some(std::time::Duration::ZERO);
            // It fails when no unit is available; then nothing has to be taken.
            let _ = match &self.founded.commons.things[thing] {
                Thing::Semaphore(semaphore) => semaphore.acquire(none),
                Thing::Event(event) => event.wait(none),
                Thing::Mutex(_) => Ok(()),
            };
        }
    }

    /// The last audit, after all members are gone: the first lock of an abandoned mutex reports that, the second does
    /// not.
    pub(super) fn finish(&mut self, verdict: &mut Verdict) {
        for thing in GROUPS.iter().filter_map(Group::mutex) {
            let Some(mutex) = self.founded.commons.things[thing].mutex() else { continue };
            for expected in [self.abandoned_before[thing], false] {
                match mutex.try_lock() {
                    Ok(guard) if guard.abandoned() == expected => {
                        self.figures.told += u64::from(expected);
                    }
                    other => {
                        verdict.mixed_up(format!("mutex {thing}: expected abandoned {expected}: {other:?}"))
                    }
                }
            }
        }
    }
}

fn is_alive(whose: Whose, leases: &[LeaseInfo]) -> bool {
    let is_its = |lease: &LeaseInfo| {
        whose.is_of(lease.index, lease.incarnation) && lease.live && lease.held != Some(false)
    };
    !whose.is_closed && leases.iter().any(is_its)
}
