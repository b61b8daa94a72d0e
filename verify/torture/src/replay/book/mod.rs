//! The expected state: the holders of every handle, as far as the workers have confirmed.
//!
//! An operation counts when its answer has arrived. When a worker is killed, its unanswered tasks may or may not have
//! happened. Either way a dead worker holds nothing once it is reclaimed, so the same wishes are simply made again. A
//! token that a dead worker held is *haunted* until that worker is reclaimed: it may still open, or be stale.
//! Afterwards the answer is certain: with a living holder the token opens, without one it is stale.

#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};

use rand::Rng;
use rand::rngs::StdRng;

use crate::pattern;
use crate::wire::Task;

use super::script::{Step, Wish};

/// A process that used a seat; numbered from 0, never reused.
pub(super) type Incarnation = u32;

#[derive(Debug, Clone, Copy, Default)]
struct Holds {
    /// Number of references that the worker has confirmed.
    confirmed: u16,
    /// Number of references after all tasks that the worker was sent.
    expected: u16,
}

#[derive(Debug)]
struct Entry {
    kind: u32,
    version: u64,
    identity: u64,
    token: Option<u64>,
    holds: Box<[Holds]>,
    /// Seats of the script's steps that are not confirmed, in order.
    order: VecDeque<usize>,
    /// Number of entries of `order` that have been sent.
    sent: usize,
    /// Number of steps that have been sent and are not confirmed, also those that are not in the script.
    outstanding: u32,
    outstanding_seat: usize,
    outstanding_open: bool,
    /// The script has no further step for this handle.
    ended: bool,
}

/// The correct answer of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expected {
    /// The token opens and the handle has its payload.
    Alive,
    /// The token is stale.
    Stale,
    /// A step is in progress; ask later.
    NotYet,
    /// A worker that is dying, or dead and not reclaimed, holds it: the token may open or not. After the reclaim of
    /// that worker, the token is checked again.
    Haunted,
}

/// A token to check.
#[derive(Debug, Clone, Copy)]
pub(super) struct Suspect {
    pub(super) handle: u64,
    pub(super) token: u64,
    pub(super) kind: u32,
    pub(super) identity: u64,
}

#[derive(Debug)]
struct Haunting {
    suspect: Suspect,
    ghosts: Vec<Incarnation>,
}

/// The result of a confirmed step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Finding {
    /// The step went as expected.
    Good,
    /// The token was stale because its last living holder had died: make the same wish again.
    Again,
    /// The token was stale although a living worker holds it.
    Lost(String),
    /// Two handles have one token.
    MixedUp(String),
}

/// The holders of every handle.
pub(super) struct Book {
    seed: u64,
    seats: usize,
    entries: HashMap<u64, Entry>,
    /// Tokens with a living or dying holder -> their handle.
    tokens: HashMap<u64, u64>,
    haunted: HashMap<u64, Haunting>,
    /// Seats whose worker has been killed and is not yet known to be gone: its handles may be reclaimed already.
    dying: Box<[bool]>,
    rng: StdRng,
}

impl Book {
    pub(super) fn new(seed: u64, seats: usize, rng: StdRng) -> Self {
        Self {
            seed,
            seats,
            entries: HashMap::new(),
            tokens: HashMap::new(),
            haunted: HashMap::new(),
            dying: vec![false; seats].into(),
            rng,
        }
    }

    /// Records a step of the script.
    pub(super) fn plan(&mut self, step: &Step) {
        let seats = self.seats;
        let entry = self.entries.entry(step.handle).or_insert_with(|| Entry {
            kind: step.kind,
            version: 0,
            identity: 0,
            token: None,
            holds: vec![Holds::default(); seats].into(),
            order: VecDeque::new(),
            sent: 0,
            outstanding: 0,
            outstanding_seat: 0,
            outstanding_open: false,
            ended: false,
        });
        entry.order.push_back(step.seat);
        entry.ended |= step.wish == Wish::Release { last: true };
    }

    /// Whether the step can be sent now. `scripted` is false for steps that [`Book::plan`] has not seen.
    pub(super) fn is_ready(&self, step: &Step, scripted: bool) -> bool {
        let entry = &self.entries[&step.handle];
        if scripted && entry.order.get(entry.sent) != Some(&step.seat) {
            return false;
        }
        // Only a release may follow an unconfirmed step, and only of a handle that the same worker certainly holds.
        entry.outstanding == 0
            || (step.wish != Wish::Hold && entry.outstanding_seat == step.seat && !entry.outstanding_open)
    }

    /// Turns a step that is ready into a task.
    pub(super) fn send(&mut self, step: &Step, scripted: bool) -> Task {
        let Some(entry) = self.entries.get_mut(&step.handle) else {
            unreachable!("planned before it is sent")
        };
        entry.sent += usize::from(scripted);
        entry.outstanding += 1;
        entry.outstanding_seat = step.seat;
        let (handle, kind) = (step.handle, entry.kind);
        let haunted = entry.token.is_some_and(|token| self.haunted.contains_key(&token));
        if step.wish != Wish::Hold {
            entry.holds[step.seat].expected -= 1;
            let nobody = entry.holds.iter().all(|holds| holds.expected == 0);
            return Task::Close { handle, probe: nobody && !haunted };
        }
        entry.holds[step.seat].expected += 1;
        let (held, dying) = entry.is_held_by(&self.dying);
        if let Some(token) = entry.token
            && (held || dying || (haunted && self.rng.random_bool(0.5)))
        {
            entry.outstanding_open = true;
            return Task::Open { handle, kind, token, identity: entry.identity };
        }
        entry.version += 1;
        entry.identity = pattern::combine(&[self.seed, handle, entry.version]);
        if let Some(token) = entry.token.take() {
            self.tokens.remove(&token);
        }
        Task::Create { handle, kind, identity: entry.identity }
    }

    /// Records that the worker holds the handle: it created it under `token`, or opened it.
    pub(super) fn held(&mut self, step: &Step, scripted: bool, token: Option<u64>) -> Finding {
        let Some(entry) = self.entries.get_mut(&step.handle) else {
            unreachable!("sent before it is confirmed")
        };
        entry.confirm(scripted);
        entry.holds[step.seat].confirmed += 1;
        let Some(token) = token else { return Finding::Good };
        entry.token = Some(token);
        if let Some(other) = self.tokens.insert(token, step.handle) {
            return Finding::MixedUp(format!(
                "handles {other} and {} have one token, {token:016x}",
                step.handle
            ));
        }
        if self.haunted.contains_key(&token) {
            let text =
                format!("handle {} was given the token {token:016x} that a dead worker holds", step.handle);
            return Finding::MixedUp(text);
        }
        Finding::Good
    }

    /// Records that the worker tried to open the handle and found the token stale. The step counts as never sent.
    pub(super) fn stale(&mut self, step: &Step, scripted: bool) -> Finding {
        let Some(entry) = self.entries.get_mut(&step.handle) else {
            unreachable!("sent before it is confirmed")
        };
        entry.unsend(step.seat, scripted);
        let token = entry.token.take();
        if let Some(token) = token {
            self.tokens.remove(&token);
        }
        let holders: Vec<usize> =
            (0..self.seats).filter(|&seat| entry.holds[seat].confirmed > 0 && !self.dying[seat]).collect();
        if holders.is_empty() {
            return Finding::Again;
        }
        let token = token.unwrap_or_default();
        Finding::Lost(format!(
            "handle {}, token {token:016x}: stale for worker {}, but held by {holders:?}",
            step.handle, step.seat
        ))
    }

    /// Records that the worker released the handle.
    pub(super) fn released(&mut self, step: &Step, scripted: bool) {
        let Some(entry) = self.entries.get_mut(&step.handle) else {
            unreachable!("sent before it is confirmed")
        };
        entry.confirm(scripted);
        entry.holds[step.seat].confirmed -= 1;
        self.forget_if_done(step.handle);
    }

    fn forget_if_done(&mut self, handle: u64) {
        let Some(entry) = self.entries.get(&handle) else { return };
        if entry.is_held() || entry.outstanding > 0 {
            return;
        }
        if let Some(token) = entry.token {
            self.tokens.remove(&token);
        }
        if entry.ended && entry.order.is_empty() {
            self.entries.remove(&handle);
        }
    }

    /// Takes back a step that was sent to a worker that died before it answered.
    pub(super) fn unsend(&mut self, step: &Step, scripted: bool) {
        if let Some(entry) = self.entries.get_mut(&step.handle) {
            entry.unsend(step.seat, scripted);
        }
    }

    /// Records that the worker of a seat is being killed: from now on none of its handles is certain.
    pub(super) fn killed(&mut self, seat: usize) {
        self.dying[seat] = true;
    }

    /// Records that the worker of a seat is dead: its tokens become haunted. Returns the steps that restore its state
    /// in the successor. Its unanswered steps have been taken back before this call.
    pub(super) fn died(&mut self, seat: usize, incarnation: Incarnation) -> Vec<Step> {
        self.dying[seat] = false;
        let mut owed = Vec::new();
        for (&handle, entry) in &mut self.entries {
            let held = std::mem::take(&mut entry.holds[seat]);
            if held.confirmed == 0 {
                continue;
            }
            owed.extend((0..held.confirmed).map(|_| Step {
                handle,
                seat,
                kind: entry.kind,
                wish: Wish::Hold,
            }));
            if let Some(token) = entry.token {
                let suspect = Suspect { handle, token, kind: entry.kind, identity: entry.identity };
                let haunting = self.haunted.entry(token).or_insert(Haunting { suspect, ghosts: Vec::new() });
                haunting.ghosts.push(incarnation);
            }
        }
        owed.sort_unstable();
        owed
    }

    /// Records that a dead worker has been reclaimed. Returns the tokens that no other dead worker holds.
    pub(super) fn reclaimed(&mut self, incarnation: Incarnation) -> Vec<Suspect> {
        for haunting in self.haunted.values_mut() {
            haunting.ghosts.retain(|ghost| *ghost != incarnation);
        }
        let released = self.haunted.extract_if(|_, haunting| haunting.ghosts.is_empty());
        released.map(|(_, haunting)| haunting.suspect).collect()
    }

    /// The correct answer of a token now.
    pub(super) fn expected(&self, suspect: &Suspect) -> Expected {
        if self.haunted.contains_key(&suspect.token) {
            return Expected::Haunted;
        }
        match self.entries.get(&suspect.handle) {
            Some(entry) if entry.token == Some(suspect.token) => {
                match (entry.outstanding, entry.is_held_by(&self.dying)) {
                    (_, (_, true)) => Expected::Haunted,
                    (0, (true, _)) => Expected::Alive,
                    (0, (false, _)) => Expected::Stale,
                    _ => Expected::NotYet,
                }
            }
            _ => Expected::Stale,
        }
    }

    /// Steps with which a seat releases everything, after the end of the script.
    pub(super) fn releases(&self, seat: usize) -> Vec<Step> {
        let mut steps = Vec::new();
        for (&handle, entry) in &self.entries {
            let wish = Wish::Release { last: false };
            let times = entry.holds[seat].confirmed;
            steps.extend((0..times).map(|_| Step { handle, seat, kind: entry.kind, wish }));
        }
        steps.sort_unstable();
        steps
    }

    /// Any handle that is held, to be checked.
    pub(super) fn any_suspect(&mut self) -> Option<Suspect> {
        let skip = self.rng.random_range(0..self.tokens.len().max(1));
        let (&token, &handle) = self.tokens.iter().nth(skip)?;
        let entry = self.entries.get(&handle)?;
        Some(Suspect { handle, token, kind: entry.kind, identity: entry.identity })
    }

    /// The number of handles with a living holder.
    pub(super) fn held_count(&self) -> usize {
        self.entries.values().filter(|entry| entry.is_held()).count()
    }
}

impl Entry {
    fn is_held(&self) -> bool {
        self.holds.iter().any(|holds| holds.confirmed > 0)
    }

    /// Whether a living worker holds it, and whether a dying worker holds it.
    fn is_held_by(&self, dying: &[bool]) -> (bool, bool) {
        let holding = |of: bool| {
            let mut seats = self.holds.iter().zip(dying);
            seats.any(|(holds, &dying)| holds.confirmed > 0 && dying == of)
        };
        (holding(false), holding(true))
    }

    fn settle(&mut self) {
        self.outstanding -= 1;
        self.outstanding_open &= self.outstanding > 0;
    }

    fn confirm(&mut self, scripted: bool) {
        self.settle();
        if scripted {
            self.sent -= 1;
            self.order.pop_front();
        }
    }

    fn unsend(&mut self, seat: usize, scripted: bool) {
        self.settle();
        self.sent -= usize::from(scripted);
        self.holds[seat].expected = self.holds[seat].confirmed;
    }
}
