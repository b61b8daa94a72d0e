//! Looking into a handle that a slot holds, without holding it: no store.

use tenure_core::{mutant, ordering};

use super::word::{Kept, SlotWord};
use crate::error::OpenError;
use crate::slab::Slab;
use crate::sync::{Word, fence};
use crate::token::Token;

/// Where the payload of a handle lies.
#[derive(Clone, Copy, Debug)]
pub enum Place<'a> {
    /// In the entry: its words, and the number of bytes. They are mapped also when the handle is over.
    Inline(&'a [Word], usize),
    /// In a block: its offset, and the number of bytes.
    Block(u64, u64),
}

/// The handle that a slot held at one instant, and its payload's place.
///
/// While [`Look::is_still`] is true, the slot has held the handle since: so whatever was read of its payload until then is that of the handle. Names
/// of handles never come back to a slot, since each put of one needs a holder, and a generation has none once it is over. So a look
/// is a seqlock (Boehm 2012) whose sequence number is the slot.
#[derive(Clone, Copy)]
pub struct Look<'a> {
    word: SlotWord<'a>,
    kept: Kept,
    token: Token,
    place: Place<'a>,
}

impl<'a> Look<'a> {
    /// The handle.
    #[must_use]
    pub fn token(&self) -> Token {
        self.token
    }

    /// Where its payload lies.
    #[inline]
    #[must_use]
    pub fn place(&self) -> Place<'a> {
        self.place
    }

    /// Whether the slot still holds the handle. All loads that come before the call were loads of the handle's own payload if it does.
    ///
    /// What comes next in the same memory was stored by a process that got it after the slot had changed: see `free_if_unheld`.
    #[inline]
    #[must_use]
    pub fn is_still(&self) -> bool {
        // Acquire: the load below is not older than the loads before the call; pairs with the fence in `free_if_unheld`.
        fence(ordering!("slab.slot.still", Acquire, Release));
        self.word.peek() == self.kept || mutant!("slab.look.no_second_look")
    }
}

impl<'a> Slab<'a> {
    /// Looks at the handle that a slot holds; `None` if it is empty. Nothing is stored.
    ///
    /// The memory of a block stays mapped and can be loaded from, whoever has it by then, only if it is not given back to the system
    /// meanwhile: see [`Slab::owns_container_slots`].
    ///
    /// # Errors
    ///
    /// [`OpenError`]: it is of another kind, or there is no such handle.
    ///
    /// # Progress
    ///
    /// Lock-free: repeated only if others have changed the slot.
    #[inline(always)]
    pub fn look(&self, slot: u32, kind: u64) -> Result<Option<Look<'a>>, OpenError> {
        let Some(word) = self.slot_word(slot) else { return Ok(None) };
        loop {
            let kept = word.load();
            if kept.is_empty() {
                return Ok(None);
            }
            let (index, generation) = (kept.index(), kept.generation());
            let forged = OpenError::Forged { index, generation };
            let entry = self.committed_entry(index).ok_or(forged)?;
            let (found, len) = (entry.kind(), entry.len());
            let token = Token::new(self.space_tag(), generation, index).ok_or(forged)?;
            let place = if len.is_block() {
                Place::Block(entry.block_offset(), len.bytes())
            } else {
                Place::Inline(entry.payload(), len.inline_bytes())
            };
            let look = Look { word, kept, token, place };
            // Now, and not only after the payload was read: its place may be that of another handle, whose memory is gone.
            if !look.is_still() {
                continue;
            }
            if found != kind {
                return Err(OpenError::ForeignKind { expected: kind, found });
            }
            return Ok(Some(look));
        }
    }

    /// Whether a handle of the kind owns container slots, or did so not long ago.
    ///
    /// To be asked by a process that is about to give memory back to the system, after it has claimed that memory: see [`Slab::look`]. If a process
    /// may still load from there, then it has a handle of the kind open, which owned its slots when the memory was that of a handle in one of them.
    /// Everything since then has come before the call: that handle's end, and the claim of its memory.
    #[must_use]
    pub fn owns_container_slots(&self, kind: u64) -> bool {
        let owner_of = |chunk| self.chunk_word(chunk)?.load().owner();
        (0..self.layout().chunks()).filter_map(owner_of).any(|(index, _)| {
            // Its kind was stored before it got the slots.
            self.committed_entry(index).is_some_and(|entry| entry.kind() == kind)
        })
    }
}
