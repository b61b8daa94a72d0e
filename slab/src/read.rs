//! Reading a held handle: one load and one compare, no store.

#[cfg(not(loom))]
use std::ptr::NonNull;

use crate::entry::{Entry, Label};
use crate::error::Stale;
use crate::slab::{Held, Slab};
use crate::sync::{Ordering, fence};
use crate::token::Token;
use crate::word::Snapshot;

impl<'a> Slab<'a> {
    /// Whether a generation of a handle is issued and not over, or is being created: INIT or LIVE.
    ///
    /// Once this is false for a generation, a block attached to it is garbage for ever `[scratch-attached-garbage]`.
    #[inline]
    #[must_use]
    pub fn is_current(&self, index: u32, generation: u64) -> bool {
        self.committed_entry(index).is_some_and(|entry| entry.word().peek().is_current(generation))
    }

    /// Whether the handle is LIVE with the holder's generation: false only if the caller, by mistake, does not hold it.
    #[inline(always)]
    #[must_use]
    pub fn is_live(&self, held: Held) -> bool {
        self.live_at(held.index(), held.word()).is_some()
    }

    /// Whether a lease's bit is set on a handle that the caller holds.
    #[must_use]
    pub fn is_held_by(&self, held: Held, lease: u8) -> bool {
        self.entry(held.index()).is_some_and(|entry| entry.bits().has(lease))
    }

    /// Whether a handle is over, or not yet there: its word is not LIVE in the token's generation.
    #[inline]
    #[must_use]
    pub fn is_over(&self, token: Token) -> bool {
        self.live_at(token.index(), Snapshot::live(token.generation(), false)).is_none()
    }

    /// Length and hash of the name that the handle was created with; `None` if it has no name, or is over.
    ///
    /// The caller need not hold the handle: the result was true for this generation.
    #[must_use]
    pub fn label(&self, token: Token) -> Option<Label> {
        let live = Snapshot::live(token.generation(), false);
        let label = self.live_at(token.index(), live)?.label();
        // Acquire: keeps the loads above before the second load of the word: if that is still LIVE, no claimer has stored meanwhile.
        fence(Ordering::Acquire);
        self.live_at(token.index(), live).and(label)
    }

    /// The kind the handle was created with.
    ///
    /// # Errors
    ///
    /// The handle is over: `held` was closed.
    #[inline]
    pub fn kind(&self, held: Held) -> Result<u64, Stale> {
        Ok(self.live_entry(held)?.kind())
    }

    /// Bytes of payload, and the offset of its block, if it lies in one. No reference to the payload is made.
    ///
    /// # Errors
    ///
    /// The handle is over: `held` was closed.
    pub fn payload_of(&self, held: Held) -> Result<(u64, Option<u64>), Stale> {
        let entry = self.live_entry(held)?;
        let len = entry.len();
        Ok(if len.is_block() {
            (len.bytes(), Some(entry.block_offset()))
        } else {
            (len.inline_bytes() as u64, None)
        })
    }

    /// The address of the inline bytes of a handle, also if it has none: the entry's last four words. One load and one compare.
    ///
    /// `None` if the handle is over: `held` was closed.
    #[cfg(not(loom))]
    #[inline(always)]
    #[must_use]
    pub fn inline_address(&self, held: Held) -> Option<NonNull<u8>> {
        self.live_at(held.index(), held.word()).map(Entry::inline_ptr)
    }

    /// Offset and bytes of the block with the payload of a handle, as the entry says. One load and one compare more than the two loads.
    ///
    /// `None` if the payload lies in the entry, or the handle is over: `held` was closed.
    #[inline(always)]
    #[must_use]
    pub fn block_of(&self, held: Held) -> Option<(u64, u64)> {
        let entry = self.live_at(held.index(), held.word())?;
        let len = entry.len();
        len.is_block().then(|| (entry.block_offset(), len.bytes()))
    }

    #[inline]
    pub(crate) fn live_entry(&self, held: Held) -> Result<Entry<'a>, Stale> {
        self.live_at(held.index(), held.word()).ok_or_else(|| self.stale(held))
    }

    /// The entry, if its word is LIVE with the generation of `live`: one load and one compare.
    #[inline(always)]
    fn live_at(&self, index: u32, live: Snapshot) -> Option<Entry<'a>> {
        self.entry(index).filter(|entry| entry.word().peek().is_same(live))
    }
}
