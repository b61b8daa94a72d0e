//! A queue over the slots of a container: first in, first out, any number of members on both sides.
//!
//! The slots hold the elements, as all slots do; this file is about their order. Positions count the pushes: position p belongs to slot p % n. An
//! EMPTY slot has the number of the next position that may be put there.
//!
//! ```text
//! push h   t = tail, slot t % n
//!          EMPTY t: put h, CAS(slot, EMPTY t -> h); CAS(tail, t -> t+1); if head > t: returns += 1
//!          EMPTY x, x < t: CAS(slot, EMPTY x -> EMPTY t), again
//!          else, it holds something: CAS(tail, t -> t+1), again; full after two rounds in which every slot held something
//!          before either: t - head >= n: full if slot head % n is READY, else pass(head), again
//!                         t - head >= the capacity: full if as many slots are READY
//! claim    if returns has changed since nothing was found behind the head: look there
//!          p = head, t = tail, slot p % n
//!          EMPTY x: x <= p and t <= p: empty               otherwise pass(p), again
//!          READY h: if t <= p: CAS(tail, p -> p+1); open h; head still p: CAS(slot -> CLAIMED me); look(p-1); CAS(head, p -> p+1)
//!                   if h was put another time meanwhile: give back, again
//!          CLAIMED: if t <= p: CAS(tail, p -> p+1); pass(p), again; empty after two rounds if then no slot is READY
//! pass p   look(p-1); CAS(head, p -> p+1); look(p)
//! look p   slot p % n is READY, and its next position is after the tail: returns += 1
//! behind   slots that are READY, whose next position at or after the head is after the tail: claim as above
//! ack      CAS(slot, CLAIMED me -> EMPTY x), x the first position of the slot at or after the head
//! give     CAS(slot, CLAIMED me -> READY); returns += 1
//! ```
//!
//! Tail and head only tell where to look: a process that is stopped before it moves them is helped by the next one. A claimed element
//! stays in its slot, and neither tail nor head waits for it: it may be claimed for as long as its job takes. If its claimer dies, recovery
//! makes it READY and counts in `returns`; then it is behind the head, where the next claim looks first.
//!
//! The helping is that of Tsigas and Zhang ("A simple, fast and scalable non-blocking concurrent FIFO queue", 2001) with the empty values of Colvin
//! and Groves ("Formal verification of an array-based nonblocking queue", 2005), which count the rounds; claims are new.
//! `verify/models/queue.pml` is the model.

use std::sync::atomic::AtomicU64;

use tenure_core::{Acquire, mutant};

use super::keep::{Claimed, Into, PutError};
use super::word::{Kept, NUMBER_MAX};
use crate::entry::BlockRef;
use crate::error::OpenError;
use crate::local::RefCounts;
use crate::open::Want;
use crate::slab::{Held, Slab};
use crate::sync::{Ordering, Word};

/// The places of a queue: words of its payload, and its container slots. The caller holds the queue.
#[derive(Clone, Copy)]
pub struct QueueWords<'a> {
    /// The next position to be pushed to.
    pub tail: &'a Word,
    /// The next position to be claimed.
    pub head: &'a Word,
    /// The number of returns for which nothing was found behind the head.
    pub rescanned: &'a Word,
    /// What this process knows about tail and head.
    pub known: &'a Known,
    /// The first of its slots.
    pub first: u32,
    /// The number of its slots: a power of two.
    pub slots: u32,
    /// How many elements may wait: 1 to `slots`.
    pub capacity: u32,
}

/// Tail and head of a queue as a thread of this process loaded them at some moment. Both only grow, so each is now at least what is here: who
/// pushes need not load the head, which those that pop change all the time, as long as there is room by this one; and the other way round.
#[derive(Debug, Default)]
pub struct Known {
    tail: AtomicU64,
    head: AtomicU64,
}

/// Why an element was not pushed. Nothing was changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PushError {
    /// There is no room.
    #[error("the queue is full")]
    Full,
    /// The handle cannot be put.
    #[error(transparent)]
    NotPut(#[from] PutError),
    /// The words of the queue are not those of one.
    #[error("the words of the queue are corrupted")]
    Corrupt,
}

/// Why nothing was claimed, though the queue may not be empty. Nothing was changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PopError {
    /// The handle in the slot is not one that the caller can open.
    #[error(transparent)]
    NotOpened(#[from] OpenError),
    /// The words of the queue are not those of one.
    #[error("the words of the queue are corrupted")]
    Corrupt,
}

impl QueueWords<'_> {
    fn load_tail(&self) -> u64 {
        // SeqCst: tail: before the load of a slot: a slot that is EMPTY afterwards was not filled at that position; pairs with `move_tail`.
        self.tail.load(Ordering::SeqCst)
    }

    fn load_head(&self) -> u64 {
        // SeqCst: head: after a push has filled a slot; pairs with `move_head`, which comes before the look at the slot.
        self.head.load(Ordering::SeqCst)
    }

    /// The tail if it is at most `p`, else a position behind `p` that it has passed.
    fn tail_behind(&self, p: u64) -> u64 {
        // Relaxed, both: private; any value that the tail has had will do.
        let known = self.known.tail.load(Ordering::Relaxed);
        if known > p {
            return known;
        }
        let tail = self.load_tail();
        self.known.tail.store(tail, Ordering::Relaxed);
        tail
    }

    /// The head, or an earlier one by which there is room for position `t`.
    fn head_before(&self, t: u64) -> u64 {
        // Relaxed, both: private; any value that the head has had will do.
        let known = self.known.head.load(Ordering::Relaxed);
        if t < known.saturating_add(self.capacity.into()) {
            return known;
        }
        let head = self.load_head();
        self.known.head.store(head, Ordering::Relaxed);
        head
    }

    /// False if another one has moved it.
    fn move_tail(&self, from: u64) -> bool {
        // SeqCst: tail: after the slot was filled, or seen to hold something.
        self.tail.compare_exchange(from, from + 1, Ordering::SeqCst, Ordering::Relaxed).is_ok()
    }

    fn move_head(&self, from: u64) -> bool {
        // SeqCst: head: after the slot was claimed, or seen. Failure: another one has moved it.
        self.head.compare_exchange(from, from + 1, Ordering::SeqCst, Ordering::Relaxed).is_ok()
    }

    fn slot(&self, position: u64) -> u32 {
        self.first + (position as u32 & (self.slots - 1))
    }

    /// The first position of a slot at or after `from`.
    fn next(&self, slot: u32, from: u64) -> u64 {
        let number = u64::from(slot.wrapping_sub(self.first));
        from.wrapping_add(number.wrapping_sub(from) & u64::from(self.slots - 1))
    }

    fn all(&self) -> std::ops::Range<u32> {
        self.first..self.first + self.slots
    }
}

/// Where an element to be claimed was seen.
#[derive(Clone, Copy)]
enum Seen {
    /// At the head, which has this position.
    Head(u64),
    /// Behind it: the next position of its slot is this one, after the tail.
    Behind(u64),
}

impl Slab<'_> {
    /// Pushes a handle that the caller holds: from now on the queue holds it as well.
    ///
    /// # Errors
    ///
    /// [`PushError`]; nothing was changed.
    ///
    /// # Progress
    ///
    /// Lock-free: it repeats only if others push, claim or end claims.
    ///
    /// # Crash
    ///
    /// The queue holds the handle or not.
    pub fn push(
        &self,
        acquire: &Acquire,
        ref_counts: &RefCounts,
        queue: &QueueWords<'_>,
        held: Held,
    ) -> Result<(), PushError> {
        let slots = u64::from(queue.slots);
        let (mut full_from, mut is_counted) = (None, false);
        loop {
            let t = queue.load_tail();
            let slot = queue.slot(t);
            let Some(word) = self.slot_word(slot).filter(|_| t <= NUMBER_MAX) else {
                return Err(PushError::Corrupt);
            };
            let seen = word.load();
            if queue.load_tail() != t {
                continue;
            }
            if seen.is_empty() && seen.number() < t {
                word.renumber(seen, t);
                continue;
            }
            if seen.is_empty() && seen.number() > t {
                // An ack leaves a position less than a round beyond the head, which is not beyond the tail.
                return Err(PushError::Corrupt);
            }
            // One round ahead of the head, at most: what is pushed further would be claimed in the place of the slot's older position.
            let p = queue.head_before(t);
            if t >= p.saturating_add(slots) {
                let Some(oldest) = self.slot_word(queue.slot(p)) else { return Err(PushError::Corrupt) };
                let oldest = oldest.load();
                if queue.load_head() == p {
                    if oldest.is_ready() {
                        return Err(PushError::Full);
                    }
                    self.pass_over(queue, p);
                }
                continue;
            }
            // Not only the difference: positions that were passed over may lie in between.
            if !is_counted && t >= p.saturating_add(queue.capacity.into()) {
                is_counted = true;
                let (all, claimed) = self.count_kept(queue);
                if all - claimed >= queue.capacity {
                    return Err(PushError::Full);
                }
            }
            if seen.is_empty() {
                match self.put_into(acquire, ref_counts, held, slot, Into::Exactly(seen), None, |_| {}) {
                    Ok(_) => {
                        // The head is never beyond the tail. If another one has moved the tail, the head may have passed this position, because
                        // the slot had held something when the tail came.
                        if !queue.move_tail(t) && queue.load_head() > t {
                            self.count_return();
                        }
                        return Ok(());
                    }
                    Err(PutError::Full { .. }) => {}
                    Err(error) => return Err(error.into()),
                }
            } else {
                let from = *full_from.get_or_insert(t);
                if t >= from + 2 * slots {
                    // Claimed, or given back: in each of two rounds.
                    let is_kept = |slot| self.slot_word(slot).is_some_and(|word| !word.load().is_empty());
                    if queue.all().all(is_kept) {
                        return Err(PushError::Full);
                    }
                    (full_from, is_counted) = (None, false);
                }
                queue.move_tail(t);
            }
        }
    }

    /// Moves the head on from position p, whose slot was seen EMPTY or CLAIMED: no push will fill it, or somebody has claimed it.
    fn pass_over(&self, queue: &QueueWords<'_>, p: u64) {
        self.look_behind(queue, p);
        if queue.move_head(p) {
            self.look_behind(queue, p + 1);
        }
    }

    /// Looks at the slot of the position before p: whether it holds what a push has put there while the head passed it over. A push that
    /// finds the head behind it counts by itself; this is for one that found it before, and is done. The process that moved the head may be
    /// stopped before this look, so whoever moves it next looks as well, and whoever is about to find the queue empty.
    fn look_behind(&self, queue: &QueueWords<'_>, p: u64) -> bool {
        let Some(before) = p.checked_sub(1) else { return false };
        let slot = queue.slot(before);
        let is_behind = self.slot_word(slot).is_some_and(|word| word.load().is_ready())
            && queue.load_tail() < queue.next(slot, p);
        if is_behind {
            self.count_return();
        }
        is_behind
    }

    /// Counts that something may be READY behind the head of a queue.
    pub(crate) fn count_return(&self) {
        // SeqCst: returns: after the slot has become READY; pairs with the load in `claim_next`, before its look at the slots.
        self.returns().fetch_add(1, Ordering::SeqCst);
    }

    /// Claims the oldest element: its slot still holds it, and lends it to this member alone. `None` if the queue is empty.
    ///
    /// With `kind`, a handle of another kind is an error. `free` receives the block of another generation if this call ends that one.
    ///
    /// # Errors
    ///
    /// [`PopError`]; nothing was changed.
    ///
    /// # Progress
    ///
    /// Lock-free: it repeats only if others push, claim or end claims. It looks at all slots of the queue after something was given back.
    ///
    /// # Crash
    ///
    /// Recovery of this lease gives the element back: it is claimed next.
    pub fn claim_next(
        &self,
        acquire: &Acquire,
        ref_counts: &RefCounts,
        queue: &QueueWords<'_>,
        kind: Option<u64>,
        mut free: impl FnMut(BlockRef),
    ) -> Result<Option<Claimed>, PopError> {
        debug_assert_eq!(
            acquire.id().index,
            ref_counts.lease_index(),
            "these ref_counts are another member's"
        );
        let want = kind.map_or(Want::Any, Want::Kind);
        let slots = u64::from(queue.slots);
        let mut tries = 0;
        loop {
            // SeqCst: returns: before the look at the slots; pairs with `count_return`.
            let returns = self.returns().load(Ordering::SeqCst);
            // SeqCst: rescanned: as above.
            let rescanned = queue.rescanned.load(Ordering::SeqCst);
            if returns != rescanned && !mutant!("slab.queue.no_rescan") {
                for slot in queue.all() {
                    let Some(word) = self.slot_word(slot) else { return Err(PopError::Corrupt) };
                    let position = queue.next(slot, queue.load_head());
                    let seen = word.load();
                    if seen.is_ready()
                        && queue.load_tail() < position
                        && let Some(claimed) = self.claim_seen(
                            ref_counts,
                            queue,
                            slot,
                            seen,
                            Seen::Behind(position),
                            want,
                            &mut free,
                        )?
                    {
                        return Ok(Some(claimed));
                    }
                }
                // SeqCst: rescanned: after the look at the slots. Failure: others look as well.
                let _ =
                    queue.rescanned.compare_exchange(rescanned, returns, Ordering::SeqCst, Ordering::Relaxed);
            }
            let p = queue.load_head();
            let slot = queue.slot(p);
            let Some(word) = self.slot_word(slot).filter(|_| p <= NUMBER_MAX) else {
                return Err(PopError::Corrupt);
            };
            let t = queue.tail_behind(p);
            let seen = word.load();
            if queue.load_head() != p {
                continue;
            }
            if seen.is_empty() && seen.number() <= p && t <= p {
                if self.look_behind(queue, p) {
                    continue;
                }
                return Ok(None);
            }
            tries += 1;
            if tries > 2 * slots {
                // Nothing but what others have claimed, and positions that were passed over?
                if !queue.all().any(|slot| self.slot_word(slot).is_some_and(|word| word.load().is_ready())) {
                    return Ok(None);
                }
                tries = 0;
            }
            if t <= p {
                // Its pusher has not done so yet; or the slot was not empty when position `p` came, and is passed over.
                queue.move_tail(p);
            }
            if !seen.is_ready() {
                self.pass_over(queue, p);
            } else if let Some(claimed) =
                self.claim_seen(ref_counts, queue, slot, seen, Seen::Head(p), want, &mut free)?
            {
                self.look_behind(queue, p);
                queue.move_head(p);
                return Ok(Some(claimed));
            }
        }
    }

    /// Claims what a slot was seen to hold, READY. `None` if others were faster.
    #[expect(clippy::too_many_arguments, reason = "one call of `claim_next`, in two places")]
    fn claim_seen(
        &self,
        ref_counts: &RefCounts,
        queue: &QueueWords<'_>,
        slot: u32,
        seen: Kept,
        at: Seen,
        want: Want,
        free: &mut impl FnMut(BlockRef),
    ) -> Result<Option<Claimed>, PopError> {
        let Some((held, turn)) = self.hold_kept(ref_counts, slot, seen, want, free)? else { return Ok(None) };
        let is_still_first = match at {
            Seen::Head(p) => queue.load_head() == p,
            Seen::Behind(position) => queue.load_tail() < position,
        };
        let claimed = Claimed { held, slot };
        let word = self.slot_word(slot).filter(|_| is_still_first);
        if word.is_some_and(|word| word.exchange(seen, seen.claimed(ref_counts.lease_index()))) {
            // The same handle may have been popped and pushed again meanwhile: then it is not the oldest element any more.
            let turn_now = self.home(held.index()).map(|home| home.load().turn());
            if turn_now == Some(turn) {
                return Ok(Some(claimed));
            }
            let lent = seen.claimed(ref_counts.lease_index());
            if word.is_some_and(|word| word.exchange(lent, seen)) {
                self.count_return();
            }
        }
        let _ = self.close_slow(ref_counts, None, held, free);
        Ok(None)
    }

    /// Ends a claim: the element leaves the queue. The caller still has its count. False if it is not claimed by this member: the segment
    /// is corrupted, or the queue is over.
    ///
    /// # Progress
    ///
    /// Wait-free.
    ///
    /// # Crash
    ///
    /// Recovery of this lease gives the element back, or the queue has let it go.
    pub fn ack_next(&self, acquire: &Acquire, queue: &QueueWords<'_>, claimed: Claimed) -> bool {
        // By the head, which is beyond the position at which the element was pushed, and which this process has moved last if it pops.
        let number = queue.next(claimed.slot, queue.load_head());
        self.end_claim(acquire, claimed, |_| Kept::empty(number))
    }

    /// Gives a claimed element back: it is claimed next. The caller still has its count. The result is as in [`Slab::ack_next`].
    ///
    /// # Progress
    ///
    /// Wait-free.
    ///
    /// # Crash
    ///
    /// As [`Slab::ack_next`]; the element is given back.
    pub fn give_back_next(&self, acquire: &Acquire, claimed: Claimed) -> bool {
        let is_given = self.end_claim(acquire, claimed, Kept::returned);
        self.count_return();
        is_given
    }

    /// Whether an element waits: one that does so during the whole call is found. It claims nothing, so others may be faster.
    ///
    /// # Progress
    ///
    /// Wait-free. Mostly it looks at the head; while something was given back, or nothing but claims is there, at all slots.
    #[must_use]
    pub fn has_ready(&self, queue: &QueueWords<'_>) -> bool {
        let load = |slot| self.slot_word(slot).map(|word| word.load());
        // SeqCst, both: as in `claim_next`, with which this shares the decision that the queue is empty.
        let is_rescanned = self.returns().load(Ordering::SeqCst) == queue.rescanned.load(Ordering::SeqCst);
        let p = queue.load_head();
        let t = queue.load_tail();
        let oldest = load(queue.slot(p));
        if oldest.is_some_and(Kept::is_ready) {
            return true;
        }
        let is_empty = is_rescanned
            && queue.load_head() == p
            && oldest.is_some_and(|seen| seen.is_empty() && seen.number() <= p && t <= p)
            && !self.look_behind(queue, p);
        !is_empty && queue.all().any(|slot| load(slot).is_some_and(Kept::is_ready))
    }

    /// How many slots of a queue hold something, and how many of them are claimed, at the moment: a look at each.
    #[must_use]
    pub fn count_kept(&self, queue: &QueueWords<'_>) -> (u32, u32) {
        queue
            .all()
            .filter_map(|slot| self.slot(slot))
            .fold((0, 0), |(all, claimed), info| (all + 1, claimed + u32::from(info.claimed_by.is_some())))
    }
}
