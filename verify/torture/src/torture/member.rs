//! A member: a real process that joins every space of the run and executes its stream of choices, with one thread or
//! two, until its planned end. It may be killed or stopped at any instruction.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use tenure::{Member, Space};

use crate::Failed;
use crate::meeting::Meeting;
use crate::wire::{die_with, receive, send};

use super::chance::{self, Act, Choice, End, Fate};
use super::hands::Hands;
use super::talk::{Command, Counts, Outcome, Parcel, Report};
use crate::negative_control::NegativeControl;
use crate::verdict::{Trouble, Wrong};

/// Interval of a member's reports, in operations of its first thread.
const REPORT_OPERATIONS: u64 = 256;

/// Arguments of a member.
#[derive(Debug, Clone, clap::Args)]
pub struct Orders {
    /// The spaces, as BACKEND:NAME.
    #[arg(long = "space", required = true)]
    pub spaces: Vec<String>,
    /// Process id of the director.
    #[arg(long)]
    pub director: u32,
    /// Seed of the run.
    #[arg(long)]
    pub seed: u64,
    /// Its seat.
    #[arg(long)]
    pub seat: usize,
    /// Number of seats.
    #[arg(long)]
    pub seats: usize,
    /// Number of its incarnation in the seat.
    #[arg(long)]
    pub incarnation: u64,
    /// Seconds after which a forked child is reported as stuck.
    #[arg(long)]
    pub patience: u32,
    /// Negative control: the error to make.
    #[arg(long)]
    pub negative_control: Option<NegativeControl>,
}

/// Received messages, until a thread fetches them.
#[derive(Default)]
struct Mail {
    state: Mutex<Letters>,
    told: Condvar,
    leave: AtomicBool,
}

#[derive(Default)]
struct Letters {
    parcels: VecDeque<Parcel>,
    settled: [VecDeque<(u64, Outcome)>; 2],
    may_end: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Counters that both threads add to.
pub(super) struct Tally {
    acts: Vec<AtomicU64>,
    pub(super) idle: AtomicU64,
    pub(super) exhausted: AtomicU64,
    pub(super) timeouts: AtomicU64,
    pub(super) joins: AtomicU64,
    pub(super) leaves: AtomicU64,
    pub(super) forks: AtomicU64,
}

impl Tally {
    fn new() -> Self {
        let zero = || AtomicU64::new(0);
        let acts = Act::ALL.iter().map(|_| zero()).collect();
        Self {
            acts,
            idle: zero(),
            exhausted: zero(),
            timeouts: zero(),
            joins: zero(),
            leaves: zero(),
            forks: zero(),
        }
    }

    /// Adds one. Relaxed: statistics.
    pub(super) fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    fn counts(&self, members: &[Member]) -> Counts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let mut reclaimed = [0; 3];
        for one in members.iter().map(Member::reclaimed) {
            for (sum, more) in reclaimed.iter_mut().zip([one.leases, one.handles, one.blocks]) {
                *sum += more;
            }
        }
        Counts {
            acts: self.acts.iter().map(read).collect(),
            idle: read(&self.idle),
            exhausted: read(&self.exhausted),
            timeouts: read(&self.timeouts),
            joins: read(&self.joins),
            leaves: read(&self.leaves),
            forks: read(&self.forks),
            reclaimed,
        }
    }
}

/// The state that the threads of a member share.
pub(super) struct Home {
    pub(super) orders: Orders,
    pub(super) fate: Fate,
    pub(super) spaces: Vec<Arc<Space>>,
    pub(super) members: Vec<Member>,
    pub(super) tally: Tally,
    mail: Arc<Mail>,
    output: Mutex<File>,
    over: AtomicBool,
    /// Whether other members open handles whose life may be over. The bit of such an opener delays the end of the
    /// handle that uses the entry by then, so that a handle may open for a short time after its last close. Exact books
    /// distinguish that from a leak.
    pub(super) is_among_openers: bool,
}

/// Works until its planned end, until it is told to leave, or until the director is gone.
///
/// # Errors
/// An error that makes work impossible. Wrong answers of a space are not errors here but reports.
pub fn run(orders: Orders) -> Result<(), Failed> {
    die_with(orders.director)?;
    let output = Mutex::new(File::from(io::stdout().as_fd().try_clone_to_owned()?));
    let mail = listen()?;
    let spaces = orders
        .spaces
        .iter()
        .map(|text| Ok(Arc::new(text.parse::<Meeting>()?.attach(Space::options())?)))
        .collect::<Result<Vec<_>, Failed>>()?;
    let fate = Fate::of(orders.seed, orders.seat as u64, orders.incarnation);
    let over = AtomicBool::new(false);
    let mut home = Home {
        orders,
        fate,
        spaces,
        members: Vec::new(),
        tally: Tally::new(),
        mail,
        output,
        over,
        is_among_openers: false,
    };
    for space in &home.spaces {
        match space.join() {
            Ok(member) => home.members.push(member),
            Err(error) => return home.say_wrong((Wrong::Refused, format!("cannot join: {error}"))),
        }
        Tally::count(&home.tally.joins);
    }
    home.say(&Report::Joined { incarnation: home.orders.incarnation })?;

    let mut all_hands = Vec::new();
    thread::scope(|scope| -> Result<(), Failed> {
        let home = &home;
        let others: Vec<_> =
            (1..home.fate.threads).map(|thread| scope.spawn(move || home.work(thread))).collect();
        all_hands.push(home.work(0)?);
        // Relaxed: it only asks the other thread to stop soon.
        home.over.store(true, Ordering::Relaxed);
        for other in others {
            all_hands.push(other.join().map_err(|_| "a thread panicked")??);
        }
        Ok(())
    })?;
    for hands in all_hands {
        hands.let_go().or_else(|trouble| home.say_wrong(trouble))?;
    }
    let counts = home.counts();
    for member in std::mem::take(&mut home.members) {
        match member.leave() {
            Ok(()) => Tally::count(&home.tally.leaves),
            Err(error) => home.say_wrong((Wrong::Refused, format!("cannot leave: {error}")))?,
        }
    }
    // The reclaimed resources are read while it is a member; the number of leaves, afterwards.
    home.say(&Report::Progress(Counts { leaves: home.counts().leaves, ..counts }))?;
    home.say(&Report::Left)?;
    Ok(())
}

impl Home {
    /// The state of a forked process: one space, one thread, and no messages from a director.
    pub(super) fn forked(orders: Orders, space: Arc<Space>) -> io::Result<Self> {
        let fate = Fate { end: End::Killed, operations: u64::MAX, threads: 1, early_us: 0 };
        Ok(Self {
            orders,
            fate,
            spaces: vec![space],
            members: Vec::new(),
            tally: Tally::new(),
            mail: Arc::default(),
            output: Mutex::new(File::from(io::stdout().as_fd().try_clone_to_owned()?)),
            over: AtomicBool::new(false),
            is_among_openers: true,
        })
    }

    /// The work of one thread. The returned hands still hold their handles and blocks.
    fn work(&self, thread: u64) -> Result<Hands<'_>, Failed> {
        let Orders { seed, seat, incarnation, .. } = self.orders;
        let stream = chance::stream(seed, seat as u64, incarnation, thread);
        let mut hands = Hands::new(self, thread);
        for number in 0.. {
            if self.over.load(Ordering::Relaxed) {
                break;
            }
            let choice = Choice::of(stream, number);
            Tally::count(&self.tally.acts[choice.index]);
            if let Err(trouble) = hands.perform(choice) {
                self.say_wrong(trouble)?;
            }
            if number > NegativeControl::PATIENCE {
                self.negative_control_process();
            }
            if thread == 0 && self.is_the_end(number)? {
                break;
            }
        }
        // In the thread that owns the locked mutexes.
        hands.let_go_of_commons().or_else(|trouble| self.say_wrong(trouble))?;
        Ok(hands)
    }

    /// Reports after each operation of the first thread, and ends as planned.
    fn is_the_end(&self, number: u64) -> Result<bool, Failed> {
        if number % REPORT_OPERATIONS == REPORT_OPERATIONS - 1 {
            self.say(&Report::Progress(self.counts()))?;
        }
        let end = match self.fate.end {
            _ if self.mail.leave.load(Ordering::Relaxed) => End::Leaves,
            end if number == self.fate.operations => end,
            _ => return Ok(false),
        };
        if matches!(end, End::Killed | End::KilledEarly) {
            self.say(&Report::Ripe(self.counts()))?;
            return Ok(false);
        }
        self.say(&Report::Ending(end, self.counts()))?;
        let mut letters = lock(&self.mail.state);
        while !letters.may_end {
            letters = self.mail.told.wait(letters).unwrap_or_else(PoisonError::into_inner);
        }
        drop(letters);
        match end {
            End::Leaves => Ok(true),
            End::Executes => Err(self.execute().into()),
            _ => {
                // No other thread is in the middle of a report.
                let _output = lock(&self.output);
                // SAFETY: ends the process, as if it had returned from `main` without leaving.
                unsafe { libc::_exit(0) }
            }
        }
    }

    /// Executes another program, while this process holds handles and blocks and the other thread works.
    fn execute(&self) -> io::Error {
        let mut arguments: Vec<String> = std::env::args().skip(1).collect();
        if let Some(at) = arguments.iter().position(|argument| argument == "--incarnation") {
            arguments[at + 1] = (self.orders.incarnation + 1).to_string();
        }
        // No other thread is in the middle of a report.
        let _output = lock(&self.output);
        std::process::Command::new("/proc/self/exe").args(arguments).exec()
    }

    fn negative_control_process(&self) {
        match self.orders.negative_control {
            Some(NegativeControl::Hang) => loop {
                thread::park();
            },
            Some(NegativeControl::Crash) => std::process::abort(),
            _ => {}
        }
    }

    fn counts(&self) -> Counts {
        self.tally.counts(&self.members)
    }

    pub(super) fn say(&self, report: &Report) -> Result<(), Failed> {
        Ok(send(&mut *lock(&self.output), report)?)
    }

    pub(super) fn say_wrong(&self, (what, text): Trouble) -> Result<(), Failed> {
        self.say(&Report::Wrong { what, text })
    }

    /// A gift from another member.
    pub(super) fn parcel(&self) -> Option<Parcel> {
        lock(&self.mail.state).parcels.pop_front()
    }

    /// The outcome of a gift that this thread sent.
    pub(super) fn settled(&self, thread: u64) -> Option<(u64, Outcome)> {
        lock(&self.mail.state).settled[(thread % 2) as usize].pop_front()
    }
}

fn listen() -> io::Result<Arc<Mail>> {
    let mail = Arc::new(Mail::default());
    let ours = Arc::clone(&mail);
    let mut input = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    thread::Builder::new().name("listener".into()).spawn(move || {
        loop {
            match receive(&mut input) {
                Ok(Some(Command::Deliver(parcel))) => lock(&ours.state).parcels.push_back(parcel),
                Ok(Some(Command::Settled { number, outcome })) => {
                    lock(&ours.state).settled[(number % 2) as usize].push_back((number, outcome));
                }
                Ok(Some(Command::Leave)) => ours.leave.store(true, Ordering::Relaxed),
                Ok(Some(Command::MayEnd)) => {
                    lock(&ours.state).may_end = true;
                    ours.told.notify_all();
                    // Further messages are for the next incarnation, which is another program.
                    return;
                }
                // SAFETY: ends the process: the director is gone.
                Ok(None) | Err(_) => unsafe { libc::_exit(3) },
            }
        }
    })?;
    Ok(mail)
}
