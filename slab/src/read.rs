//! What a holder reads: one load and one compare, no store.

use tenure_segment::sync::{Ordering, fence};

use crate::entry::{Entry, Label, PAYLOAD_WORDS};
use crate::error::Stale;
use crate::geometry::INLINE_BYTES;
use crate::slab::{Held, Slab};
use crate::token::Token;

#[cfg(not(loom))]
use crate::entry::Payload;

/// What a handle carries, copied out of its entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Contents {
    /// Bytes in the entry; the first `len` count.
    Inline {
        /// The bytes, zero or old ones after `len`.
        bytes: [u8; INLINE_BYTES],
        /// How many count; at most [`INLINE_BYTES`].
        len: usize,
    },
    /// A block of scratch memory.
    Block {
        /// Where it is, as given to create.
        offset: u64,
        /// Bytes used of it.
        len: u64,
    },
}

impl<'a> Slab<'a> {
    /// Whether a generation of a handle is issued and not over, or is being created: INIT or LIVE.
    ///
    /// A block attached to a generation for which this is false is garbage `[I13]`, for good.
    #[inline]
    #[must_use]
    pub fn is_current(&self, index: u32, generation: u64) -> bool {
        index < self.committed_handles()
            && self.entry(index).is_some_and(|entry| entry.word.peek().is_current(generation))
    }

    /// Whether the handle is LIVE with the holder's generation: false only when nobody holds it, that is, by a mistake.
    #[inline]
    #[must_use]
    pub fn is_live(&self, held: Held) -> bool {
        self.live_entry(held).is_ok()
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
        !self.is_live(Held::new(token.index(), token.generation()))
    }

    /// The name that a handle was created with, as its entry has it; `None` without a name, and when it is over.
    ///
    /// Nobody needs to hold it: what is returned was true of this generation.
    #[must_use]
    pub fn label(&self, token: Token) -> Option<Label> {
        let held = Held::new(token.index(), token.generation());
        let label = self.live_entry(held).ok()?.label();
        // Acquire: the reads above come before the second look at the word: if that is LIVE still, no claimer wrote meanwhile.
        fence(Ordering::Acquire);
        self.live_entry(held).ok().and(label)
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

    /// The kind, and the payload in place.
    ///
    /// # Errors
    ///
    /// The handle is over: `held` was closed.
    ///
    /// # Safety
    ///
    /// The count that `held` stands for is not closed before the last use of the result, and the lease it belongs to is
    /// not recovered. Then the entry stays LIVE `[I6]` and nobody writes its payload.
    #[cfg(not(loom))]
    #[inline]
    pub unsafe fn get<'h>(&self, held: Held) -> Result<(u64, Payload<'h>), Stale>
    where
        'a: 'h,
    {
        let entry = self.live_entry(held)?;
        let len = entry.len();
        let payload = if len.is_block() {
            Payload::Block { offset: entry.block_offset(), len: len.bytes(), label: entry.label() }
        } else {
            // SAFETY:
            // - the pointer is to 32 bytes of the entry, inside `words`, which live for 'a, and `inline_bytes` is at most 32;
            // - `AtomicU64` has the layout of `u64`: all its bytes are initialised;
            // - nobody writes them during 'h: the caller holds, so the word stays LIVE and only claimers write [I6].
            Payload::Inline(unsafe { std::slice::from_raw_parts(entry.inline_ptr(), len.inline_bytes()) })
        };
        Ok((entry.kind(), payload))
    }

    /// How long the payload is, and the offset of its block, if it lies in one. No reference to it is made.
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

    /// Where the inline bytes of a handle are, whether or not it has any: the entry's last four words.
    ///
    /// `None` beyond the layout.
    #[cfg(not(loom))]
    #[inline]
    #[must_use]
    pub fn inline_address(&self, held: Held) -> Option<*const u8> {
        self.entry(held.index()).map(Entry::inline_ptr)
    }

    /// The kind, and the payload copied. After a mistaken close it may be a mixture, but nothing worse.
    ///
    /// # Errors
    ///
    /// The handle is over: `held` was closed.
    #[inline]
    pub fn read(&self, held: Held) -> Result<(u64, Contents), Stale> {
        let entry = self.live_entry(held)?;
        let len = entry.len();
        let contents = if len.is_block() {
            Contents::Block { offset: entry.block_offset(), len: len.bytes() }
        } else {
            let mut bytes = [0; INLINE_BYTES];
            let words: [u64; PAYLOAD_WORDS] = entry.words();
            for (to, word) in bytes.chunks_exact_mut(8).zip(words) {
                to.copy_from_slice(&word.to_le_bytes());
            }
            Contents::Inline { bytes, len: len.inline_bytes() }
        };
        Ok((entry.kind(), contents))
    }

    #[inline]
    fn live_entry(&self, held: Held) -> Result<Entry<'a>, Stale> {
        let (index, expected) = (held.index(), held.generation());
        let Some(entry) = self.entry(index) else { return Err(Stale { index, expected, found: 0 }) };
        let seen = entry.word.peek();
        if seen.is_live(expected) {
            Ok(entry)
        } else {
            Err(Stale { index, expected, found: seen.generation() })
        }
    }
}
