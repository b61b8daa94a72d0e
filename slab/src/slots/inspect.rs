//! Looking at slots.

use super::word::Kept;
use crate::inspect::Problem;
use crate::slab::Slab;
use crate::token::Token;

/// A slot that holds a handle, at the moment of a look.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub struct SlotInfo {
    /// Number of the slot.
    pub slot: u32,
    /// The handle in it.
    pub token: Token,
    /// The lease that has claimed it.
    pub claimed_by: Option<u8>,
}

impl Slab<'_> {
    /// The slot at the moment of the call; `None` if it is empty, or if there is no such slot.
    #[must_use]
    pub fn slot(&self, slot: u32) -> Option<SlotInfo> {
        let kept = self.slot_word(slot)?.load();
        let token = Token::new(self.space_tag(), kept.generation(), kept.index())?;
        kept.names(kept.index(), kept.generation()).then_some(SlotInfo {
            slot,
            token,
            claimed_by: kept.claimer(),
        })
    }

    /// The slots that are not empty, by number.
    pub fn kept(&self) -> impl Iterator<Item = SlotInfo> + use<'_> {
        (0..self.slots()).filter_map(|slot| self.slot(slot))
    }

    /// The slot that holds the handle; the caller holds the handle, or the result may be over by the time it is returned.
    #[must_use]
    pub fn slot_of(&self, token: Token) -> Option<u32> {
        let (index, generation) = (token.index(), token.generation());
        let slot = self.home(index)?.load().slot()?;
        let is_kept =
            token.space_tag() == self.space_tag() && self.slot_word(slot)?.load().names(index, generation);
        is_kept.then_some(slot)
    }

    /// Why the words of a slot are not as they must be. `None` also if the slot has changed meanwhile: then they are of several moments.
    pub(crate) fn slot_problem(&self, slot: u32, lease_is_live: &dyn Fn(u8) -> bool) -> Option<Problem> {
        let word = self.slot_word(slot)?;
        let kept = word.load();
        let problem = self.kept_problem(slot, kept, lease_is_live)?;
        (word.load() == kept).then_some(problem)
    }

    fn kept_problem(&self, slot: u32, kept: Kept, lease_is_live: &dyn Fn(u8) -> bool) -> Option<Problem> {
        if kept.is_empty() {
            // Only a container puts numbers into empty slots.
            let is_possible = kept == Kept::EMPTY || self.layout().chunk_of(slot).is_some();
            return (!is_possible).then_some(Problem::Slot { slot });
        }
        let index = kept.index();
        let entry = self.committed_entry(index);
        // What was put is shared: only a private close does not look at the slot.
        let is_held = entry.is_some_and(|entry| {
            let word = entry.word().peek();
            word.is_live(kept.generation()) && word.shared()
        });
        if !is_held || self.home(index)?.load().slot() != Some(slot) {
            return Some(Problem::Slot { slot });
        }
        let lease = kept.claimer()?;
        let is_holder =
            u16::from(lease) < self.layout().members() && lease_is_live(lease) && entry?.bits().has(lease);
        (!is_holder).then_some(Problem::Claim { slot, lease })
    }

    /// Why the home word of a handle is not as it must be. `None` also if it has changed meanwhile.
    pub(crate) fn home_problem(&self, index: u32) -> Option<Problem> {
        let word = self.home(index)?;
        let home = word.load();
        // Whoever is putting a handle somewhere holds it.
        let by = u8::try_from(home.by()?);
        let is_holder =
            by.is_ok_and(|lease| self.committed_entry(index).is_some_and(|entry| entry.bits().has(lease)));
        let is_possible = is_holder && home.slot().is_some();
        (!is_possible && word.load() == home).then_some(Problem::Transit { index })
    }
}
