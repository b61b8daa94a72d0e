//! The director: starts members, forwards gifts, kills and stops members by their fates, and adds up the reports.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::Failed;
use crate::driver::{self, Crew, Pause, Plan, Random, State};
use crate::negative_control::NegativeControl;

use super::Figures;
use super::chance::{self, End, Fate};
use super::seat::{Place, Seat, Torture};
use super::stage::Stage;
use super::talk::{Command, Counts, Outcome, Parcel, Report};

/// Interval at which the director checks for events that no report announces.
const TICK: Duration = Duration::from_millis(20);
/// Interval of audits, over all spaces in turn: the fewer members die between two audits, the more certain is the
/// ledger.
const AUDIT: Duration = Duration::from_millis(60);
/// The same, while an audit waits for members in the middle of an operation.
const AUDIT_TICK: Duration = Duration::from_millis(2);
/// Interval at which it checks and sweeps a space, over all spaces in turn.
const LOOK: Duration = Duration::from_millis(250);

/// The sender of a gift: seat, incarnation, number.
type Sent = (usize, u64, u64);

pub(super) struct Director<'a> {
    plan: &'a Plan,
    random: Random,
    stages: &'a mut [Stage],
    pub(super) crew: Crew<Torture>,
    arguments: Vec<String>,
    looked: Instant,
    next_look: usize,
    /// The space of the audit in progress, and the time of its last step.
    auditing: Option<usize>,
    audited: Instant,
    next_audit: usize,
    pulsed: Instant,
    ending: bool,
    /// Delivered gifts without an answer, with the receiver's seat and incarnation.
    gifts: HashMap<Sent, (usize, u64)>,
    pub(super) counts: Counts,
    pub(super) figures: Figures,
}

impl<'a> Director<'a> {
    /// Starts the members.
    pub(super) fn new(plan: &'a Plan, random: Random, stages: &'a mut [Stage]) -> Result<Self, Failed> {
        let mut arguments = Vec::new();
        for stage in stages.iter() {
            arguments.extend(["--space".to_owned(), stage.segment.meeting.to_string()]);
        }
        for (name, value) in [
            ("--director", u64::from(std::process::id())),
            ("--seed", plan.seed),
            ("--seats", plan.processes as u64),
            ("--patience", plan.patience_seconds()),
        ] {
            arguments.extend([name.to_owned(), value.to_string()]);
        }
        arguments.extend(NegativeControl::arguments(plan.negative_control));
        let now = Instant::now();
        let mut director = Self {
            plan,
            random,
            stages,
            crew: Crew::new(plan, |seat| Place::new(seat, plan.seed)),
            arguments,
            looked: now,
            next_look: 0,
            auditing: None,
            audited: now,
            next_audit: 0,
            pulsed: now,
            ending: false,
            gifts: HashMap::new(),
            counts: Counts::default(),
            figures: Figures::default(),
        };
        for seat in 0..plan.processes {
            director.fill(seat)?;
        }
        Ok(director)
    }

    /// Sweeps the spaces after the last member. A remaining member is killed when its seat is dropped.
    pub(super) fn finish(&mut self) {
        self.crew.seats.clear();
        for stage in self.stages.iter() {
            self.figures.swept +=
                stage.sweep(&|_, incarnation| incarnation != u64::MAX, &mut self.crew.verdict);
        }
        self.figures.seconds = self.crew.started.elapsed().as_secs_f64();
    }

    fn fill(&mut self, at: usize) -> Result<(), Failed> {
        self.figures.processes += 1;
        let place = &mut self.crew.seats[at].place;
        place.dismissed = false;
        let numbers = [("--seat", place.seat), ("--incarnation", place.incarnation)];
        let mut arguments = vec!["tortured".to_owned()];
        arguments.extend(self.arguments.iter().cloned());
        arguments
            .extend(numbers.into_iter().flat_map(|(name, number)| [name.to_owned(), number.to_string()]));
        Ok(self.crew.fill(at, &arguments)?)
    }

    fn hear(&mut self, at: usize, report: Report) {
        match report {
            Report::Joined { incarnation } => {
                if self.crew.seats[at].state == State::Ending {
                    // The same process executes another program.
                    self.figures.execs += 1;
                    self.is_over(at);
                }
                if incarnation != self.crew.seats[at].place.incarnation {
                    let text = format!("member {at} is incarnation {incarnation}");
                    self.crew
                        .verdict
                        .mixed_up(format!("{text}, not {}", self.crew.seats[at].place.incarnation));
                }
                if self.crew.seats[at].state != State::Killed {
                    self.crew.seats[at].state = State::Working;
                }
            }
            Report::Progress(counts) => {
                self.crew.seats[at].place.counts = counts;
                self.stop_by_chance(at);
            }
            Report::Ripe(counts) => {
                self.crew.seats[at].place.counts = counts;
                if self.crew.seats[at].state == State::Working {
                    self.kill(at);
                }
            }
            Report::Sent(parcel) => self.pass_on(parcel),
            Report::Took(parcel, outcome) => self.settle(&parcel, outcome),
            Report::Wrong { what, text } => self.crew.verdict.wrong(what, format!("member {at}: {text}")),
            Report::Ending(end, counts) => {
                self.crew.seats[at].place.counts = counts;
                if self.crew.seats[at].state == State::Working {
                    self.crew.seats[at].state = State::Ending;
                    self.crew.seats[at].place.fate.end = end;
                    self.crew.seats[at].say(Command::MayEnd);
                }
            }
            // Members never send this report.
            Report::Crowd(..) => {}
            Report::Left => {
                if self.crew.seats[at].state == State::Ending {
                    self.crew.seats[at].state = State::Left;
                }
            }
        }
    }

    fn kill(&mut self, seat: usize) {
        self.crew.seats[seat].kill();
        self.figures.kills += 1;
    }

    /// Stops a member that has just reported, if its fate says so and another member goes on.
    fn stop_by_chance(&mut self, at: usize) {
        let seat = &mut self.crew.seats[at];
        seat.place.reports += 1;
        let pause = chance::stop(self.plan.seed, at as u64, seat.place.incarnation, seat.place.reports);
        let Some(pause_us) = pause.filter(|_| seat.state == State::Working && !self.ending) else { return };
        let going_on = |seat: &&Seat| seat.index != at && seat.goes_on();
        let awaited: HashMap<usize, usize> =
            self.crew.seats.iter().filter(going_on).map(|seat| (seat.index, 1)).collect();
        if awaited.is_empty() {
            return;
        }
        let until = Instant::now() + Duration::from_micros(pause_us);
        self.crew.seats[at].stop(Pause { until, awaited });
        self.figures.stops += 1;
    }

    fn pass_on(&mut self, parcel: Parcel) {
        let sender = (parcel.from, parcel.incarnation, parcel.number);
        let receiver = &mut self.crew.seats[parcel.to];
        if receiver.state == State::Working {
            self.gifts.insert(sender, (parcel.to, receiver.place.incarnation));
            receiver.say(Command::Deliver(parcel));
            self.figures.gifts += 1;
        } else {
            self.answer(sender, Outcome::Declined);
        }
    }

    /// Handles the outcome of a gift. If the receiver found the gift invalid, its sender must have ended.
    fn settle(&mut self, parcel: &Parcel, outcome: Outcome) {
        let sender = (parcel.from, parcel.incarnation, parcel.number);
        if self.gifts.remove(&sender).is_none() {
            return;
        }
        let Outcome::Doubtful(text) = outcome else { return self.answer(sender, outcome) };
        let seat = &self.crew.seats[parcel.from];
        // A sender that releases its handles or dies was allowed to end, or killed, before: its state shows that.
        if seat.place.incarnation == parcel.incarnation && seat.state == State::Working {
            self.crew.verdict.lost(format!("member {} lives and sent to {}: {text}", parcel.from, parcel.to));
        }
        self.answer(sender, Outcome::Unknown);
    }

    fn answer(&mut self, (seat, incarnation, number): Sent, outcome: Outcome) {
        let seat = &mut self.crew.seats[seat];
        if seat.place.incarnation == incarnation && seat.state == State::Working {
            seat.say(Command::Settled { number, outcome });
        }
    }

    /// Records that the incarnation of this seat is over; its handles and blocks may remain.
    fn is_over(&mut self, at: usize) {
        self.counts.add(&self.crew.seats[at].place.counts);
        let incarnation = self.crew.seats[at].place.incarnation;
        self.crew.seats[at].place.next_incarnation(self.plan.seed);
        let received =
            |(sent, receiver): (&Sent, &(usize, u64))| (*receiver == (at, incarnation)).then_some(*sent);
        let unanswered: Vec<Sent> = self.gifts.iter().filter_map(received).collect();
        for sent in unanswered {
            self.gifts.remove(&sent);
            self.answer(sent, Outcome::Unknown);
        }
        // Gifts from it may still be taken; nobody waits for the outcomes.
        self.figures.incarnations += 1;
    }

    fn has_ended(&mut self, at: usize, why: Option<String>) -> Result<(), Failed> {
        let (state, end) = (self.crew.seats[at].state, self.crew.seats[at].place.fate.end);
        let status = self.crew.empty(at)?;
        if let Some(why) = why {
            self.crew.verdict.mixed_up(format!("member {at} said something meaningless: {why}"));
        }
        let ended_well = status.is_some_and(|status| status.success());
        match (state, end) {
            (State::Killed, _) => {}
            (State::Left, _) if ended_well => {}
            (State::Ending, End::Exits) if ended_well => self.figures.exits += 1,
            _ => {
                let text = format!("member {at}, incarnation {}", self.crew.seats[at].place.incarnation);
                self.crew.verdict.died(format!("{text}, ended while {state:?} with {status:?}"));
            }
        }
        self.is_over(at);
        if self.is_enough(at) || self.crew.verdict.died > 10 { Ok(()) } else { self.fill(at) }
    }

    /// Whether this seat stays empty after its present member.
    fn is_enough(&self, seat: usize) -> bool {
        match self.random.operations {
            Some(operations) => {
                let seat = &self.crew.seats[seat];
                seat.place.operations + seat.place.counts.operations() >= operations
            }
            None => self.ending,
        }
    }

    fn look_around(&mut self) {
        let now = Instant::now();
        if self.random.operations.is_none() && now >= self.crew.started + self.plan.duration {
            self.ending = true;
        }
        self.crew.end_pauses();
        for at in 0..self.crew.seats.len() {
            self.strike(at, now);
        }
        if now >= self.pulsed + TICK {
            self.pulsed = now;
            self.stages.iter().for_each(|stage| stage.pulse(&mut self.crew.verdict));
        }
        if self.auditing.is_none() && now >= self.audited + AUDIT && !self.stages.is_empty() {
            self.auditing = Some(self.next_audit % self.stages.len());
            self.next_audit += 1;
        }
        if let Some(at) = self.auditing.filter(|_| now >= self.audited + AUDIT_TICK) {
            self.audited = now;
            if self.stages[at].audit(&mut self.crew.verdict) {
                self.auditing = None;
            }
        }
        if now >= self.looked + LOOK && !self.stages.is_empty() {
            self.looked = now;
            let stage = &self.stages[self.next_look % self.stages.len()];
            self.next_look += 1;
            self.figures.looks += 1;
            stage.look(&mut self.crew.verdict);
            let seats = &self.crew.seats;
            let over = |seat: u64, incarnation: u64| {
                seats.get(seat as usize).is_some_and(|seat| incarnation < seat.place.incarnation)
            };
            self.figures.swept += stage.sweep(&over, &mut self.crew.verdict);
        }
        self.crew.find_stuck(|_| Some("report"));
    }

    /// Kills the member of one seat, or tells it to leave, if that is due.
    fn strike(&mut self, at: usize, now: Instant) {
        let enough = self.is_enough(at);
        let seat = &mut self.crew.seats[at];
        let Fate { end, early_us, .. } = seat.place.fate;
        let is_young = matches!(seat.state, State::Starting | State::Working);
        if end == End::KilledEarly && is_young && now >= seat.started_at + Duration::from_micros(early_us) {
            return self.kill(at);
        }
        if enough && seat.state == State::Working && !seat.place.dismissed {
            seat.place.dismissed = true;
            seat.say(Command::Leave);
        }
    }
}

impl driver::Director for Director<'_> {
    type Game = Torture;

    fn crew(&mut self) -> &mut Crew<Torture> {
        &mut self.crew
    }

    fn is_over(&self) -> bool {
        self.crew.is_empty()
    }

    fn act(&mut self) -> Result<Duration, Failed> {
        Ok(if self.auditing.is_some() { AUDIT_TICK } else { TICK })
    }

    /// Every report is a sign of life.
    fn report(&mut self, seat: usize, report: Report) {
        self.crew.goes_on(seat);
        self.hear(seat, report);
    }

    fn gone(&mut self, seat: usize, why: Option<String>) -> Result<(), Failed> {
        self.has_ended(seat, why)
    }

    fn note(&mut self, note: std::convert::Infallible) {
        match note {}
    }

    fn tick(&mut self) -> Result<(), Failed> {
        self.look_around();
        Ok(())
    }
}
