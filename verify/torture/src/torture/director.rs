//! The director: starts members, forwards gifts, kills and stops members by their fates, and adds up the reports.

use std::collections::HashMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use crate::negative_control::NegativeControl;

use crate::Failed;
use crate::verdict::Verdict;

use super::chance::{self, End, Fate};
use super::seat::{Event, Pause, Seat, State};
use super::stage::Stage;
use super::talk::{Command, Counts, Outcome, Parcel, Report};
use super::{Figures, Plan};

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
    stages: &'a mut [Stage],
    seats: Vec<Seat>,
    arguments: Vec<String>,
    events: Receiver<Event>,
    tell: Sender<Event>,
    started: Instant,
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
    counts: Counts,
    figures: Figures,
    verdict: Verdict,
}

impl<'a> Director<'a> {
    pub(super) fn new(
        plan: &'a Plan,
        stages: &'a mut [Stage],
        (tell, events): (Sender<Event>, Receiver<Event>),
    ) -> Self {
        let mut arguments = Vec::new();
        for stage in stages.iter() {
            arguments.extend(["--space".to_owned(), stage.segment.meeting.to_string()]);
        }
        let patience = (plan.patience.as_secs_f64().ceil() as u64).max(1);
        for (name, value) in [
            ("--director", u64::from(std::process::id())),
            ("--seed", plan.seed),
            ("--seats", plan.members as u64),
            ("--patience", patience),
        ] {
            arguments.extend([name.to_owned(), value.to_string()]);
        }
        arguments.extend(NegativeControl::arguments(plan.negative_control));
        let now = Instant::now();
        Self {
            plan,
            stages,
            seats: (0..plan.members).map(|seat| Seat::new(seat, plan.seed)).collect(),
            arguments,
            events,
            tell,
            started: now,
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
            verdict: Verdict::default(),
        }
    }

    /// Runs until every seat has done its operations and all members have left.
    pub(super) fn run(mut self) -> Result<(Counts, Figures, Verdict), Failed> {
        for seat in 0..self.seats.len() {
            self.fill(seat)?;
        }
        while self.seats.iter().any(|seat| seat.state != State::Empty) {
            match self.events.recv_timeout(if self.auditing.is_some() { AUDIT_TICK } else { TICK }) {
                Ok(event) => self.handle(event)?,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err("expected events, found no sender".into()),
            }
            self.tick();
            if self.verdict.interrupted || self.verdict.stuck > 0 {
                break;
            }
        }
        // A remaining member is killed when its seat is dropped.
        self.seats.clear();
        for stage in self.stages.iter() {
            self.figures.swept += stage.sweep(&|_, incarnation| incarnation != u64::MAX, &mut self.verdict);
        }
        self.figures.seconds = self.started.elapsed().as_secs_f64();
        Ok((self.counts, self.figures, self.verdict))
    }

    fn fill(&mut self, seat: usize) -> Result<(), Failed> {
        self.figures.processes += 1;
        Ok(self.seats[seat].fill(&self.arguments, &self.tell)?)
    }

    fn handle(&mut self, event: Event) -> Result<(), Failed> {
        match event {
            Event::Interrupted => self.verdict.interrupted = true,
            Event::Report(seat, number, report) if number == self.seats[seat].process_number => {
                self.heard_of(seat);
                self.report(seat, report);
            }
            Event::Gone(seat, number, why) if number == self.seats[seat].process_number => {
                self.gone(seat, why)?;
            }
            Event::Report(..) | Event::Gone(..) => {}
        }
        Ok(())
    }

    /// Records a sign of life of a seat; stopped members are continued after enough of these.
    fn heard_of(&mut self, seat: usize) {
        self.seats[seat].received_at = Instant::now();
        for pause in self.seats.iter_mut().filter_map(|other| other.pause.as_mut()) {
            pause.awaited.remove(&seat);
        }
    }

    fn report(&mut self, at: usize, report: Report) {
        match report {
            Report::Joined { incarnation } => {
                if self.seats[at].state == State::Ending {
                    // The same process executes another program.
                    self.figures.execs += 1;
                    self.is_over(at);
                }
                if incarnation != self.seats[at].incarnation {
                    let text = format!("member {at} is incarnation {incarnation}");
                    self.verdict.mixed_up(format!("{text}, not {}", self.seats[at].incarnation));
                }
                if self.seats[at].state != State::Killed {
                    self.seats[at].state = State::Working;
                }
            }
            Report::Progress(counts) => {
                self.seats[at].counts = counts;
                self.stop_by_chance(at);
            }
            Report::Ripe(counts) => {
                self.seats[at].counts = counts;
                if self.seats[at].state == State::Working {
                    self.kill(at);
                }
            }
            Report::Sent(parcel) => self.pass_on(parcel),
            Report::Took(parcel, outcome) => self.settle(&parcel, outcome),
            Report::Wrong { what, text } => self.verdict.wrong(what, format!("member {at}: {text}")),
            Report::Ending(end, counts) => {
                self.seats[at].counts = counts;
                if self.seats[at].state == State::Working {
                    self.seats[at].state = State::Ending;
                    self.seats[at].fate.end = end;
                    self.seats[at].say(Command::MayEnd);
                }
            }
            // Members never send this report.
            Report::Crowd(..) => {}
            Report::Left => {
                if self.seats[at].state == State::Ending {
                    self.seats[at].state = State::Left;
                }
            }
        }
    }

    fn kill(&mut self, seat: usize) {
        self.seats[seat].kill();
        self.figures.kills += 1;
    }

    /// Stops a member that has just reported, if its fate says so and another member goes on.
    fn stop_by_chance(&mut self, at: usize) {
        let seat = &mut self.seats[at];
        seat.reports += 1;
        let pause = chance::stop(self.plan.seed, at as u64, seat.incarnation, seat.reports);
        let Some(pause_us) = pause.filter(|_| seat.state == State::Working && !self.ending) else { return };
        let going_on = |seat: &&Seat| seat.index != at && seat.goes_on();
        let awaited: std::collections::HashSet<usize> =
            self.seats.iter().filter(going_on).map(|seat| seat.index).collect();
        if awaited.is_empty() {
            return;
        }
        let until = Instant::now() + Duration::from_micros(pause_us);
        self.seats[at].stop(Pause { until, awaited });
        self.figures.stops += 1;
    }

    fn pass_on(&mut self, parcel: Parcel) {
        let sender = (parcel.from, parcel.incarnation, parcel.number);
        let receiver = &mut self.seats[parcel.to];
        if receiver.state == State::Working {
            self.gifts.insert(sender, (parcel.to, receiver.incarnation));
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
        let seat = &self.seats[parcel.from];
        // A sender that releases its handles or dies was allowed to end, or killed, before: its state shows that.
        if seat.incarnation == parcel.incarnation && seat.state == State::Working {
            self.verdict.lost(format!("member {} lives and sent to {}: {text}", parcel.from, parcel.to));
        }
        self.answer(sender, Outcome::Unknown);
    }

    fn answer(&mut self, (seat, incarnation, number): Sent, outcome: Outcome) {
        let seat = &mut self.seats[seat];
        if seat.incarnation == incarnation && seat.state == State::Working {
            seat.say(Command::Settled { number, outcome });
        }
    }

    /// Records that the incarnation of this seat is over; its handles and blocks may remain.
    fn is_over(&mut self, at: usize) {
        self.counts.add(&self.seats[at].counts);
        let incarnation = self.seats[at].incarnation;
        self.seats[at].next_incarnation(self.plan.seed);
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

    fn gone(&mut self, at: usize, why: Option<String>) -> Result<(), Failed> {
        let (state, end) = (self.seats[at].state, self.seats[at].fate.end);
        let status = self.seats[at].empty()?;
        if let Some(why) = why {
            self.verdict.mixed_up(format!("member {at} said something meaningless: {why}"));
        }
        let ended_well = status.is_some_and(|status| status.success());
        match (state, end) {
            (State::Killed, _) => {}
            (State::Left, _) if ended_well => {}
            (State::Ending, End::Exits) if ended_well => self.figures.exits += 1,
            _ => {
                let text = format!("member {at}, incarnation {}", self.seats[at].incarnation);
                self.verdict.died(format!("{text}, ended while {state:?} with {status:?}"));
            }
        }
        self.is_over(at);
        if self.is_enough(at) || self.verdict.died > 10 { Ok(()) } else { self.fill(at) }
    }

    /// Whether this seat stays empty after its present member.
    fn is_enough(&self, seat: usize) -> bool {
        match self.plan.operations {
            Some(operations) => {
                let seat = &self.seats[seat];
                seat.operations + seat.counts.operations() >= operations
            }
            None => self.ending,
        }
    }

    fn tick(&mut self) {
        let now = Instant::now();
        if self.plan.operations.is_none() && now >= self.started + self.plan.duration {
            self.ending = true;
        }
        for at in 0..self.seats.len() {
            self.strike(at, now);
        }
        if now >= self.pulsed + TICK {
            self.pulsed = now;
            self.stages.iter().for_each(|stage| stage.pulse(&mut self.verdict));
        }
        if self.auditing.is_none() && now >= self.audited + AUDIT && !self.stages.is_empty() {
            self.auditing = Some(self.next_audit % self.stages.len());
            self.next_audit += 1;
        }
        if let Some(at) = self.auditing.filter(|_| now >= self.audited + AUDIT_TICK) {
            self.audited = now;
            if self.stages[at].audit(&mut self.verdict) {
                self.auditing = None;
            }
        }
        if now >= self.looked + LOOK && !self.stages.is_empty() {
            self.looked = now;
            let stage = &self.stages[self.next_look % self.stages.len()];
            self.next_look += 1;
            self.figures.looks += 1;
            stage.look(&mut self.verdict);
            let seats = &self.seats;
            let over = |seat: u64, incarnation: u64| {
                seats.get(seat as usize).is_some_and(|seat| incarnation < seat.incarnation)
            };
            self.figures.swept += stage.sweep(&over, &mut self.verdict);
        }
        self.find_stuck(now);
    }

    /// Kills or continues the member of one seat, if that is due.
    fn strike(&mut self, at: usize, now: Instant) {
        let enough = self.is_enough(at);
        let going_on: Vec<bool> = self.seats.iter().map(Seat::goes_on).collect();
        let seat = &mut self.seats[at];
        if let Some(pause) = &mut seat.pause {
            pause.awaited.retain(|other| going_on[*other]);
            if now >= pause.until && pause.awaited.is_empty() {
                seat.go_on();
            }
        }
        let Fate { end, early_us, .. } = seat.fate;
        let is_young = matches!(seat.state, State::Starting | State::Working);
        if end == End::KilledEarly && is_young && now >= seat.started_at + Duration::from_micros(early_us) {
            return self.kill(at);
        }
        if enough && seat.state == State::Working && !seat.dismissed {
            seat.dismissed = true;
            seat.say(Command::Leave);
        }
    }

    /// Reports the run as stuck when a member that should go on does not.
    fn find_stuck(&mut self, now: Instant) {
        let patience = self.plan.patience;
        for seat in &self.seats {
            let silent = now - seat.received_at.min(now);
            if seat.state == State::Empty || silent <= patience {
                continue;
            }
            let Seat { index, incarnation, state, pause, .. } = seat;
            let text = format!("member {index}, incarnation {incarnation}, pid {:?}", seat.pid());
            match pause {
                // It stays stopped until others go on; if they do not, they are reported as stuck.
                Some(pause) if silent <= 2 * patience => {
                    self.verdict.note("note", format!("{text} is stopped and waits for {:?}", pause.awaited));
                }
                _ => self.verdict.stuck(format!("{text}: {state:?}, silent for {silent:.1?}")),
            }
        }
    }
}
