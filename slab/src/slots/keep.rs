//! Put, replace, take, evict, claim, ack and give back; and the recovery of what a dead member had begun.

use tenure_core::{Acquire, mutant};

use super::chunks::is_container;
use super::word::{Kept, SlotWord};
use crate::cache::Cache;
use crate::close::Decision;
use crate::entry::BlockRef;
use crate::error::{OpenError, Stale};
use crate::local::{Local, RefCounts};
use crate::open::Want;
use crate::slab::{Held, Slab};
use crate::token::Token;
use crate::word::Share;

/// Why a handle was not put into a slot. Nothing was changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PutError {
    /// The slot holds another handle; for a replacement: one that somebody has claimed.
    #[error("slot {slot} is in use")]
    Full {
        /// The slot.
        slot: u32,
    },
    /// A slot holds the handle already.
    #[error("the handle is in slot {slot} already")]
    Already {
        /// The slot that holds it.
        slot: u32,
    },
    /// Another holder of the handle is putting it into a slot.
    #[error("another holder of the handle is putting it into slot {slot}")]
    InTransit {
        /// The slot of the other one.
        slot: u32,
    },
    /// The handle was put 2^23 times, puts that lost a race for a slot included, and can be put no more.
    #[error("the handle was put as often as it can be")]
    Exhausted,
    /// There is no such slot.
    #[error("expected a slot below {slots}, found {slot}")]
    NoSlot {
        /// The number given.
        slot: u32,
        /// Slots of the geometry.
        slots: u32,
    },
    /// The handle is a container, and the slot is one of a container.
    #[error("a container cannot be put into container slot {slot}")]
    Container {
        /// The slot.
        slot: u32,
    },
    /// The caller does not hold the handle.
    #[error(transparent)]
    NotHeld(#[from] OpenError),
}

/// Why nothing was taken out of a slot, or claimed. Nothing was changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SlotError {
    /// The slot holds nothing.
    #[error("slot {slot} is empty")]
    Empty {
        /// The slot.
        slot: u32,
    },
    /// What the slot holds is lent to a member.
    #[error("slot {slot} is claimed by lease {lease}")]
    Claimed {
        /// The slot.
        slot: u32,
        /// The lease that has claimed it.
        lease: u8,
    },
    /// There is no such slot.
    #[error("expected a slot below {slots}, found {slot}")]
    NoSlot {
        /// The number given.
        slot: u32,
        /// Slots of the geometry.
        slots: u32,
    },
    /// The handle in the slot is not one that the caller can open: of another kind, opened as often as possible, or the slot is corrupted.
    #[error(transparent)]
    NotOpened(#[from] OpenError),
}

/// A handle that is lent to this member by a slot, with a count of this process.
///
/// A proof by convention, as [`Held`] is: [`Slab::ack`] or [`Slab::give_back`] ends it, once; then a close ends the count. If the member
/// dies, recovery gives it back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Claimed {
    pub(super) held: Held,
    pub(super) slot: u32,
}

impl Claimed {
    /// The claim of a handle in a slot. If this member has not claimed it, its end is refused.
    #[must_use]
    pub const fn new(held: Held, slot: u32) -> Self {
        Self { held, slot }
    }

    /// The count of this process.
    #[must_use]
    pub const fn held(self) -> Held {
        self.held
    }

    /// The slot.
    #[must_use]
    pub const fn slot(self) -> u32 {
        self.slot
    }
}

/// Refuses a slot that holds nothing, or whose handle is claimed.
fn unclaimed(slot: u32, seen: Kept) -> Result<(), SlotError> {
    match seen.claimer() {
        Some(lease) => Err(SlotError::Claimed { slot, lease }),
        None if seen.is_ready() => Ok(()),
        None => Err(SlotError::Empty { slot }),
    }
}

/// What a slot that is to be put into may have.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Into {
    /// This word: EMPTY with its number, or a handle that nobody has claimed.
    Exactly(Kept),
    /// EMPTY, with any number.
    Empty,
    /// EMPTY, or a handle that nobody has claimed.
    Any,
}

impl Into {
    fn accepts(self, seen: Kept) -> bool {
        match self {
            Self::Exactly(expected) => seen == expected,
            Self::Empty => seen.is_empty(),
            Self::Any => seen.is_empty() || seen.is_ready(),
        }
    }
}

impl Slab<'_> {
    /// Puts a handle that the caller holds into an empty slot. From now on the slot holds it as well; the caller's count is unchanged.
    ///
    /// # Errors
    ///
    /// [`PutError`]; the slot is unchanged.
    ///
    /// # Progress
    ///
    /// Lock-free, and waits for nobody: it repeats only if others open or close the handle. Of two holders that put one handle at once,
    /// the second one is refused, until the first one is done or is recovered.
    ///
    /// # Crash
    ///
    /// The slot holds the handle or not; recovery of this lease permits the next put.
    pub fn put(
        &self,
        acquire: &Acquire,
        ref_counts: &RefCounts,
        held: Held,
        slot: u32,
    ) -> Result<(), PutError> {
        self.put_into(acquire, ref_counts, held, slot, Into::Exactly(Kept::EMPTY), None, |_| {}).map(|_| ())
    }

    /// As [`Slab::put`], also in the place of a handle that nobody has claimed. That handle ends if nobody else holds it, and `free` receives
    /// its block; its token is returned.
    ///
    /// # Errors
    ///
    /// [`PutError`]; the slot is unchanged.
    ///
    /// # Progress
    ///
    /// As [`Slab::put`]; it repeats also if others change the slot.
    ///
    /// # Crash
    ///
    /// The slot holds the one or the other handle, and recovery of this lease ends the former one if nobody holds it.
    pub fn replace(
        &self,
        acquire: &Acquire,
        ref_counts: &RefCounts,
        held: Held,
        slot: u32,
        free: impl FnMut(BlockRef),
    ) -> Result<Option<Token>, PutError> {
        self.put_into(acquire, ref_counts, held, slot, Into::Any, None, free)
    }

    /// As [`Slab::replace`], only if the slot holds `expected`, or is empty if that is `None`. If the former handle ends, its entry goes to `cache`, if
    /// that has room: the next create of this thread needs no claim.
    ///
    /// # Errors
    ///
    /// [`PutError::Full`] if the slot holds something else, or is empty, and as [`Slab::replace`]; the slot is unchanged.
    ///
    /// # Progress
    ///
    /// As [`Slab::put`]; it repeats nothing if others change the slot.
    ///
    /// # Crash
    ///
    /// As [`Slab::replace`].
    #[expect(clippy::too_many_arguments, reason = "as `create`: one call of tenure")]
    pub fn replace_exactly(
        &self,
        acquire: &Acquire,
        ref_counts: &RefCounts,
        held: Held,
        slot: u32,
        expected: Option<Token>,
        cache: &mut Cache,
        free: impl FnMut(BlockRef),
    ) -> Result<(), PutError> {
        let into = expected
            .map_or(Into::Empty, |token| Into::Exactly(Kept::ready(token.index(), token.generation())));
        self.put_into(acquire, ref_counts, held, slot, into, Some(cache), free).map(|_| ())
    }

    #[expect(clippy::too_many_arguments, reason = "those of its callers, and what these differ in")]
    pub(super) fn put_into(
        &self,
        acquire: &Acquire,
        ref_counts: &RefCounts,
        held: Held,
        slot: u32,
        into: Into,
        cache: Option<&mut Cache>,
        free: impl FnMut(BlockRef),
    ) -> Result<Option<Token>, PutError> {
        debug_assert_eq!(
            acquire.id().index,
            ref_counts.lease_index(),
            "these ref_counts are another member's"
        );
        let Some(target) = self.slot_word(slot) else {
            return Err(PutError::NoSlot { slot, slots: self.slots() });
        };
        let (index, generation) = (held.index(), held.generation());
        let held = self.held(ref_counts, held.token(self))?;
        let stale = || OpenError::from(Stale { index, expected: generation, found: generation });
        let (Some(entry), Some(home)) = (self.entry(index), self.home(index)) else {
            return Err(stale().into());
        };
        if is_container(entry.kind()) && self.layout().chunk_of(slot).is_some() {
            return Err(PutError::Container { slot });
        }
        // A private close would not look at the slot. From now on there is none.
        let mut seen = entry.word().peek();
        while !seen.shared() && !mutant!("slab.put.not_shared") {
            if !seen.is_live(generation) {
                return Err(OpenError::from(self.stale(held)).into());
            }
            if let Share::Lost(now) = entry.word().share(seen) {
                seen = now;
            } else {
                break;
            }
        }
        let before = home.load();
        if let Some(slot) = before.slot() {
            if before.by().is_some() {
                return Err(PutError::InTransit { slot });
            }
            if self.slot_word(slot).is_some_and(|word| word.load().names(index, generation)) {
                return Err(PutError::Already { slot });
            }
        }
        // A slot that is full now costs the handle none of its turns.
        if !into.accepts(target.load()) {
            return Err(PutError::Full { slot });
        }
        let Some(begun) = before.begun(ref_counts.lease_index(), slot) else {
            return Err(PutError::Exhausted);
        };
        let ready = Kept::ready(index, generation);
        if !mutant!("slab.put.home_after_slot") && !home.begin(before, begun) {
            return Err(PutError::InTransit { slot: home.load().slot().unwrap_or(slot) });
        }
        // From here to `settle` no other process puts the handle anywhere.
        let replaced = loop {
            let seen = target.load();
            if !into.accepts(seen) {
                break None;
            }
            if !seen.is_empty() {
                self.mark_kept(ref_counts, seen);
            }
            if target.put(seen, ready) {
                break Some(seen);
            }
        };
        if mutant!("slab.put.home_after_slot") {
            let _ = home.begin(before, begun);
        }
        // Also if nothing was put: the slot says so.
        home.settle(begun);
        match replaced {
            None => Err(PutError::Full { slot }),
            Some(other) if other.is_empty() => Ok(None),
            Some(other) => {
                self.emptied(ref_counts, other, cache, free);
                Ok(Token::new(self.space_tag(), other.generation(), other.index()))
            }
        }
    }

    /// Takes the handle out of a slot: afterwards the caller has a count of it, and the slot is empty.
    ///
    /// With `kind`, a handle of another kind stays where it is. `free` receives the block of another generation if this call ends that one.
    ///
    /// # Errors
    ///
    /// [`SlotError`]; the slot is unchanged.
    ///
    /// # Progress
    ///
    /// As [`Slab::open`]; it repeats only if others change the slot.
    ///
    /// # Crash
    ///
    /// The slot holds the handle; or it does not, and recovery of this lease ends the handle if nobody else holds it.
    pub fn take(
        &self,
        acquire: &Acquire,
        ref_counts: &RefCounts,
        slot: u32,
        kind: Option<u64>,
        free: impl FnMut(BlockRef),
    ) -> Result<Held, SlotError> {
        self.get_out(acquire, ref_counts, slot, kind, |_| Kept::EMPTY, free)
    }

    /// Claims the handle in a slot: the slot still holds it, and lends it to this member alone.
    ///
    /// # Errors
    ///
    /// [`SlotError`]; the slot is unchanged.
    ///
    /// # Progress
    ///
    /// As [`Slab::take`].
    ///
    /// # Crash
    ///
    /// Recovery of this lease gives it back: it is claimed by another member then.
    pub fn claim_slot(
        &self,
        acquire: &Acquire,
        ref_counts: &RefCounts,
        slot: u32,
        kind: Option<u64>,
        free: impl FnMut(BlockRef),
    ) -> Result<Claimed, SlotError> {
        let me = ref_counts.lease_index();
        let held = self.get_out(acquire, ref_counts, slot, kind, |ready| ready.claimed(me), free)?;
        Ok(Claimed { held, slot })
    }

    fn get_out(
        &self,
        acquire: &Acquire,
        ref_counts: &RefCounts,
        slot: u32,
        kind: Option<u64>,
        left: impl Fn(Kept) -> Kept,
        mut free: impl FnMut(BlockRef),
    ) -> Result<Held, SlotError> {
        debug_assert_eq!(
            acquire.id().index,
            ref_counts.lease_index(),
            "these ref_counts are another member's"
        );
        let Some(word) = self.slot_word(slot) else {
            return Err(SlotError::NoSlot { slot, slots: self.slots() });
        };
        let want = kind.map_or(Want::Any, Want::Kind);
        loop {
            let seen = word.load();
            unclaimed(slot, seen)?;
            if mutant!("slab.take.no_bit")
                && word.exchange(seen, left(seen))
                && let Some(token) = Token::new(self.space_tag(), seen.generation(), seen.index())
            {
                return self
                    .open_slow(ref_counts, token, want, &mut free)
                    .get()
                    .map_err(|refused| self.explain(token, want, refused).into());
            }
            // Hold it before the slot lets it go.
            let Some((held, _)) = self.hold_kept(ref_counts, slot, seen, want, &mut free)? else { continue };
            if word.exchange(seen, left(seen)) {
                return Ok(held);
            }
            // Somebody was faster. The count must not leave this function: the caller could put a handle that another one took.
            let _ = self.close_slow(ref_counts, None, held, &mut free);
        }
    }

    /// Opens the handle that a slot was seen to hold, for a caller that is about to change the slot, and returns the turn in which it was
    /// put. `None` if the slot has changed.
    pub(super) fn hold_kept(
        &self,
        ref_counts: &RefCounts,
        slot: u32,
        seen: Kept,
        want: Want,
        free: &mut impl FnMut(BlockRef),
    ) -> Result<Option<(Held, u64)>, OpenError> {
        let index = seen.index();
        let token = Token::new(self.space_tag(), seen.generation(), index);
        let (Some(token), Some(home), Some(word)) = (token, self.home(index), self.slot_word(slot)) else {
            // A corrupted slot: no such handle.
            return Err(OpenError::Forged { index, generation: seen.generation() });
        };
        let held = match self.open_slow(ref_counts, token, want, &mut *free).get() {
            Ok(held) => held,
            // Somebody else has taken it, and it is over.
            Err(_) if word.load() != seen => return Ok(None),
            Err(refused) => return Err(self.explain(token, want, refused)),
        };
        // A put that is not settled: it has happened, because the slot names the handle after `by` was loaded. Its process may be
        // stopped, and the handle must not wait for it.
        let putting = home.load();
        if word.load() != seen {
            let _ = self.close_slow(ref_counts, None, held, free);
            return Ok(None);
        }
        if putting.by().is_some() && putting.slot() == Some(slot) {
            home.settle(putting);
        }
        Ok(Some((held, putting.turn())))
    }

    /// Empties a slot without holding what is in it. The handle ends if nobody else holds it, and `free` receives its block.
    ///
    /// # Errors
    ///
    /// [`SlotError`]; the slot is unchanged.
    ///
    /// # Progress
    ///
    /// Lock-free between processes: it repeats only if others change the slot. Within one it may wait for a first open or a last close of
    /// the same handle.
    ///
    /// # Crash
    ///
    /// The slot holds the handle; or it does not, and recovery of this lease ends the handle if nobody else holds it.
    pub fn evict(
        &self,
        acquire: &Acquire,
        ref_counts: &RefCounts,
        slot: u32,
        mut free: impl FnMut(BlockRef),
    ) -> Result<Token, SlotError> {
        debug_assert_eq!(
            acquire.id().index,
            ref_counts.lease_index(),
            "these ref_counts are another member's"
        );
        let Some(word) = self.slot_word(slot) else {
            return Err(SlotError::NoSlot { slot, slots: self.slots() });
        };
        loop {
            let seen = word.load();
            unclaimed(slot, seen)?;
            let Some(token) = Token::new(self.space_tag(), seen.generation(), seen.index()) else {
                return Err(SlotError::Empty { slot });
            };
            if self.let_out(ref_counts, word, seen, &mut free) {
                return Ok(token);
            }
        }
    }

    /// As [`Slab::evict`], only if the slot holds `expected`; returns whether it did.
    ///
    /// # Progress
    ///
    /// As [`Slab::evict`]; it repeats nothing if others change the slot.
    ///
    /// # Crash
    ///
    /// As [`Slab::evict`].
    pub fn evict_exactly(
        &self,
        acquire: &Acquire,
        ref_counts: &RefCounts,
        slot: u32,
        expected: Token,
        mut free: impl FnMut(BlockRef),
    ) -> bool {
        debug_assert_eq!(
            acquire.id().index,
            ref_counts.lease_index(),
            "these ref_counts are another member's"
        );
        let expected = Kept::ready(expected.index(), expected.generation());
        let Some(word) = self.slot_word(slot) else { return false };
        word.load() == expected && self.let_out(ref_counts, word, expected, &mut free)
    }

    /// Empties a slot that was seen to hold a handle, and decides about the handle. False if the slot has changed.
    pub(super) fn let_out(
        &self,
        ref_counts: &RefCounts,
        word: SlotWord<'_>,
        seen: Kept,
        free: &mut impl FnMut(BlockRef),
    ) -> bool {
        if !mutant!("slab.evict.no_mark") {
            self.mark_kept(ref_counts, seen);
        }
        let is_out = word.evict(seen);
        if is_out {
            self.emptied(ref_counts, seen, None, free);
        }
        is_out
    }

    /// To be called before a slot loses what it was seen to hold: if this process dies right after, its recovery finds the handle.
    fn mark_kept(&self, ref_counts: &RefCounts, seen: Kept) {
        if self.has(seen.index()) {
            self.mark_group(ref_counts, seen.index());
        }
    }

    /// Decides about a handle that this process has let out of a slot; its group is in the map of this lease. If the handle ends, its entry goes
    /// to `cache`.
    fn emptied(
        &self,
        ref_counts: &RefCounts,
        was: Kept,
        cache: Option<&mut Cache>,
        mut free: impl FnMut(BlockRef),
    ) {
        if mutant!("slab.evict.no_finish") {
            return;
        }
        let (Some(entry), Some(busy)) = (self.committed_entry(was.index()), ref_counts.busy(was.index()))
        else {
            return;
        };
        let Decision { block, .. } = if entry.bits().any() {
            // The owners of the bits clear them later and decide then.
            Decision::NOTHING
        } else if let Some(place) = cache.and_then(Cache::slot)
            && busy.then() == Local::NONE
        {
            match self.renew_if_unheld(ref_counts, entry, was.index()) {
                Ok((claimed, block)) => {
                    drop(busy);
                    // The entry is INIT and this process's own, so it may remove the block's name.
                    if let Some(block) = block {
                        free(block);
                        entry.forget_block();
                    }
                    place.fill(claimed);
                    return;
                }
                Err(decision) => decision,
            }
        } else {
            self.free_if_unheld(ref_counts, entry, was.index())
        };
        drop(busy);
        block.into_iter().for_each(free);
    }

    /// Ends a claim: the slot is empty. The caller closes its count afterwards, and the handle ends unless others hold it. False if the slot
    /// is not claimed by this member: the segment is corrupted.
    ///
    /// # Progress
    ///
    /// Wait-free: one CAS.
    ///
    /// # Crash
    ///
    /// Recovery of this lease gives the handle back; or the slot is empty, and it closes the count.
    pub fn ack(&self, acquire: &Acquire, claimed: Claimed) -> bool {
        self.end_claim(acquire, claimed, |_| Kept::EMPTY)
    }

    /// Gives a claimed handle back to its slot, where others can claim it. The caller closes its count afterwards. The result is as in
    /// [`Slab::ack`].
    ///
    /// # Progress
    ///
    /// Wait-free: one CAS.
    ///
    /// # Crash
    ///
    /// The handle is given back.
    pub fn give_back(&self, acquire: &Acquire, claimed: Claimed) -> bool {
        self.end_claim(acquire, claimed, Kept::returned)
    }

    pub(super) fn end_claim(&self, acquire: &Acquire, claimed: Claimed, left: impl Fn(Kept) -> Kept) -> bool {
        let Claimed { held, slot } = claimed;
        let lent = Kept::ready(held.index(), held.generation()).claimed(acquire.id().index);
        self.slot_word(slot).is_some_and(|word| word.exchange(lent, left(lent)))
    }

    /// Settles the put that a dead lease had begun, and gives back what it had claimed: before its bit is cleared, for every entry of the
    /// groups in its map.
    pub(crate) fn recover_slot(&self, dead: u8, index: u32) {
        let Some(home) = self.home(index) else { return };
        let seen = home.load();
        if seen.by() == Some(dead.into()) && !mutant!("slab.recover.no_settle") {
            // The slot says whether the put has happened.
            home.settle(seen);
        }
        let Some(word) = seen.slot().and_then(|slot| self.slot_word(slot)) else { return };
        let kept = word.load();
        if kept.index() == index && kept.claimer() == Some(dead) && !mutant!("slab.recover.no_claim") {
            // If it fails, another recoverer was faster: nobody can have claimed as `dead` since, while its lock is held [lease-dead-only].
            let _ = word.exchange(kept, kept.returned());
        }
    }
}
