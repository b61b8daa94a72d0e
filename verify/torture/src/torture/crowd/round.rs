//! One round: victims work and are killed, recoverers recover all of them at once, and the remaining resources are
//! counted.

use std::io;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, kill_process, waitpid};

use crate::Failed;
use crate::verdict::Verdict;

use super::super::stage::Stage;
use super::board::{Board, SLOTS, Stand};
use super::clock::{now_ns, spin_until};
use super::script::{Blow, Deed, Finish, Recoverer, Round, Victim, WAVES_MAX};
use super::{Figures, Orders, child};

/// Interval at which the director checks for children that ended or stopped.
const NAP: Duration = Duration::from_micros(50);
/// Maximum time that the director waits for a wave to begin before it kills members of it.
const NOBODY: Duration = Duration::from_millis(100);
/// Number of signals in a round: one for the victims, and one for each wave.
const SIGNALS: u32 = WAVES_MAX + 1;

/// The role of a child in a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Victim(Victim),
    Recoverer(Recoverer),
    /// A recoverer of the previous round that still has its handles and blocks.
    Stayed,
}

/// A living child.
#[derive(Debug)]
pub(super) struct Child {
    pid: Pid,
    pub(super) slot: usize,
    part: Part,
    is_stopped: bool,
}

impl Child {
    fn signal(&self, signal: Signal) {
        // It fails only after the child is reaped; until then a dead child stays a zombie.
        let _ = kill_process(self.pid, signal);
    }

    fn wave(&self) -> Option<u32> {
        if let Part::Recoverer(part) = self.part { Some(part.wave) } else { None }
    }

    /// Whether the child stays until the next round. One that is killed from outside dies, possibly after its action.
    fn stays(&self) -> bool {
        let stays = |part: Recoverer| part.finish == Finish::Stay && part.blow != Blow::KillFromOutside;
        matches!(self.part, Part::Recoverer(part) if stays(part))
    }
}

/// The director's side of a crowd in one space.
pub(super) struct Crowd<'a> {
    pub(super) orders: &'a Orders,
    pub(super) stage: &'a mut Stage,
    pub(super) board: &'a Board,
    pub(super) figures: &'a mut Figures,
    pub(super) verdict: &'a mut Verdict,
    /// All living children.
    pub(super) children: Vec<Child>,
    /// Number of recoverers that begin at the same time.
    together: u32,
    pub(super) number: u64,
}

impl<'a> Crowd<'a> {
    pub(super) fn new(
        orders: &'a Orders,
        stage: &'a mut Stage,
        board: &'a Board,
        (figures, verdict): (&'a mut Figures, &'a mut Verdict),
    ) -> Self {
        let together = std::thread::available_parallelism().map_or(2, |count| count.get().min(12) as u32);
        Self { orders, stage, board, figures, verdict, children: Vec::new(), together, number: 0 }
    }

    /// Plays round `number` until no member works in the space.
    ///
    /// # Errors
    /// A child cannot be started.
    pub(super) fn play(&mut self, number: u64) -> Result<Round, Failed> {
        self.number = number;
        let round = Round::of(self.orders.seed, number, self.orders.crowd);
        let signal = (number as u32).wrapping_mul(SIGNALS);
        let victims = self.start(&round, signal)?;
        self.wait_until("the crowd is ready", |crowd| {
            crowd.children.iter().all(|child| crowd.is_ready(child))
        });
        self.kill_the_stayed();
        self.board.give_signal(signal);
        if !round.early_signal {
            self.wait_until("the victims are dead", |crowd| !crowd.any_lives(&victims));
        }
        for wave in 1..=round.waves {
            self.send(wave, signal);
            self.wait_until("a wave is over", |crowd| {
                crowd.children.iter().all(|one| crowd.is_settled(one, wave))
            });
            self.go_on(|pid| !pid.is_multiple_of(3));
        }
        self.go_on(|_| true);
        self.wait_until("all are done", |crowd| crowd.children.iter().all(|child| crowd.is_over(child)));
        for child in &mut self.children {
            child.part = Part::Stayed;
        }
        Ok(round)
    }

    /// Starts all children of the round; returns the slots of the victims.
    fn start(&mut self, round: &Round, signal: u32) -> Result<Vec<usize>, Failed> {
        let taken: Vec<usize> = self.children.iter().map(|child| child.slot).collect();
        let mut free = (0..SLOTS).filter(|slot| !taken.contains(slot));
        let slots: Vec<usize> = free.by_ref().take(round.victims.len()).collect();
        for (part, slot) in round.victims.iter().zip(&slots) {
            self.board.slot(*slot).clear();
            let cue = self.cue(*slot, &slots, signal, (0, false));
            let home = || self.orders.home(self.stage, *slot, self.number);
            let pid = fork(self.orders.patience, || child::play_victim(home()?, &cue, round, part))?;
            self.children.push(Child { pid, slot: *slot, part: Part::Victim(*part), is_stopped: false });
        }
        for (part, slot) in round.recoverers.iter().zip(free) {
            self.board.slot(slot).clear();
            let size = round.recoverers.iter().filter(|other| other.wave == part.wave).count() as u32;
            let cue = self.cue(slot, &slots, signal, (size, round.is_slow));
            let home = || self.orders.home(self.stage, slot, self.number);
            let pid = fork(self.orders.patience, || child::play_recoverer(&home()?, &cue, part))?;
            self.children.push(Child { pid, slot, part: Part::Recoverer(*part), is_stopped: false });
        }
        self.figures.victims += round.victims.len() as u64;
        self.figures.recoverers += round.recoverers.len() as u64;
        Ok(slots)
    }

    /// The parameters of a child in a wave of `size` recoverers.
    fn cue<'c>(
        &self,
        slot: usize,
        victims: &'c [usize],
        signal: u32,
        (size, is_slow): (u32, bool),
    ) -> child::Cue<'c>
    where
        'a: 'c,
    {
        let together = self.together.min(size);
        let typical_ns = self.figures.recovery_ns;
        child::Cue { board: self.board, slot, victims, signal, together, typical_ns, is_slow }
    }

    fn kill_the_stayed(&self) {
        let stayed = self.children.iter().filter(|child| child.part == Part::Stayed);
        stayed.for_each(|child| child.signal(Signal::KILL));
    }

    /// Gives the signal of a wave, and kills the recoverers that are to be killed from outside.
    fn send(&self, wave: u32, signal: u32) {
        self.board.give_signal(signal.wrapping_add(wave));
        let delay_ns = |part: Recoverer| part.permille * self.figures.recovery_ns / 1000;
        let mut struck: Vec<(u64, &Child)> = Vec::new();
        for child in self.children.iter().filter(|child| child.wave() == Some(wave)) {
            if let Part::Recoverer(part) = child.part
                && part.blow == Blow::KillFromOutside
            {
                struck.push((delay_ns(part), child));
            }
        }
        struck.sort_by_key(|(delay_ns, _)| *delay_ns);
        let mut begin_ns = None;
        for (delay_ns, child) in struck {
            let begin_ns = *begin_ns.get_or_insert_with(|| self.await_begin());
            spin_until(begin_ns + delay_ns);
            child.signal(Signal::KILL);
        }
    }

    /// Waits until a wave begins; returns the time.
    fn await_begin(&self) -> u64 {
        let started = Instant::now();
        loop {
            if let Some(begin_ns) = self.board.begin_ns() {
                return begin_ns;
            }
            // No member of the wave runs: all of them wait for a processor, or are dead.
            if started.elapsed() > NOBODY {
                return now_ns();
            }
            std::thread::yield_now();
        }
    }

    /// Continues the stopped children that `chosen` selects.
    fn go_on(&mut self, chosen: impl Fn(u32) -> bool) {
        for child in self.children.iter_mut().filter(|child| child.is_stopped) {
            if chosen(child.pid.as_raw_nonzero().get().unsigned_abs()) {
                child.is_stopped = false;
                child.signal(Signal::CONT);
            }
        }
    }

    fn is_ready(&self, child: &Child) -> bool {
        child.part == Part::Stayed || self.board.slot(child.slot).stand() != Stand::Starting
    }

    fn any_lives(&self, slots: &[usize]) -> bool {
        self.children.iter().any(|child| child.part == Part::Stayed || slots.contains(&child.slot))
    }

    /// Whether the child has nothing more to do in this wave.
    fn is_settled(&self, child: &Child, wave: u32) -> bool {
        match child.wave() {
            Some(its) if its > wave => true,
            Some(_) => child.is_stopped || self.is_over(child),
            // Victims, and recoverers of the previous round, are in the list until they are dead.
            None => false,
        }
    }

    /// Whether the child stays until the next round and its action is complete.
    fn is_over(&self, child: &Child) -> bool {
        child.stays() && !child.is_stopped && self.board.slot(child.slot).stand() == Stand::Done
    }

    /// Waits until `happens` is true, and handles children that end or stop meanwhile.
    fn wait_until(&mut self, what: &str, happens: impl Fn(&Self) -> bool) {
        let started = Instant::now();
        loop {
            self.notice();
            if happens(self) {
                return;
            }
            if started.elapsed() > self.orders.patience() {
                let stands =
                    |child: &Child| (child.slot, self.board.slot(child.slot).stand(), child.is_stopped);
                let crowd: Vec<_> = self.children.iter().map(stands).collect();
                self.verdict.stuck(format!("{}: waits until {what}: {crowd:?}", self.about()));
                return self.kill_all();
            }
            std::thread::sleep(NAP);
        }
    }

    /// The names of the round and the run, for messages.
    pub(super) fn about(&self) -> String {
        format!("{}, round {} of seed {}", self.stage.name(), self.number, self.orders.seed)
    }

    /// Kills and reaps all children.
    pub(super) fn kill_all(&mut self) {
        for child in std::mem::take(&mut self.children) {
            child.signal(Signal::KILL);
            while let Err(rustix::io::Errno::INTR) = waitpid(Some(child.pid), WaitOptions::empty()) {}
        }
    }

    /// Handles children that ended or stopped.
    fn notice(&mut self) {
        // An error means that there are no children.
        while let Ok(Some((pid, status))) = waitpid(None, WaitOptions::NOHANG | WaitOptions::UNTRACED) {
            let Some(at) = self.children.iter().position(|child| child.pid == pid) else { continue };
            if status.stopped() {
                self.children[at].is_stopped = true;
                self.figures.stopped += 1;
            } else {
                let child = self.children.swap_remove(at);
                self.reap(&child, status);
            }
        }
    }

    /// Counts the end of a child by its kind.
    fn reap(&mut self, child: &Child, status: WaitStatus) {
        let slot = self.board.slot(child.slot);
        self.figures.operations += slot.operations();
        match (status.terminating_signal(), child.part, slot.stand()) {
            (Some(libc::SIGKILL), Part::Recoverer(part), Stand::AtIt) if part.deed != Deed::Open => {
                self.figures.killed_recovering += 1;
            }
            (Some(libc::SIGKILL), Part::Recoverer(_), _) => self.figures.killed_else += 1,
            (Some(libc::SIGKILL), ..) => {}
            (None, ..) if status.exit_status() == Some(super::HAS_SAID) => {}
            (None, Part::Recoverer(_), _) if status.exit_status() == Some(0) => {
                // A recoverer that was stopped, or waited for a processor, would distort the average.
                if let Some(took_ns) =
                    slot.took_ns().filter(|took_ns| *took_ns < 4 * self.figures.recovery_ns)
                {
                    self.figures.recovery_ns = (self.figures.recovery_ns * 15 + took_ns) / 16;
                }
            }
            _ => {
                let text = format!("{}: slot {}, {:?}: {status:?}", self.about(), child.slot, child.part);
                self.verdict.died(text);
            }
        }
    }
}

impl Drop for Crowd<'_> {
    fn drop(&mut self) {
        self.kill_all();
    }
}

/// Runs `body` in a forked child.
fn fork(patience: u32, body: impl FnOnce() -> Result<(), crate::verdict::Trouble>) -> io::Result<Pid> {
    let parent = std::process::id();
    // SAFETY: this process has one thread, so the child may call any function; it ends by `_exit`.
    match unsafe { libc::fork() } {
        0 => {
            let code = super::in_child(parent, patience, body);
            // SAFETY: ends the child without running anything that belongs to its parent.
            unsafe { libc::_exit(code) }
        }
        child => Pid::from_raw(child.max(0)).ok_or_else(io::Error::last_os_error),
    }
}
