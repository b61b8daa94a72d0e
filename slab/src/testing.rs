//! For tests: reading a held handle, without the memory around the slab.

use crate::entry::PAYLOAD_WORDS;
use crate::error::Stale;
use crate::geometry::INLINE_BYTES;
use crate::slab::{Held, Slab};

/// The payload of a handle, copied out of its entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Contents {
    /// Inline bytes.
    Inline {
        /// The payload in the first `len` bytes; zero or former bytes after it.
        bytes: [u8; INLINE_BYTES],
        /// Bytes of payload; at most [`INLINE_BYTES`].
        len: usize,
    },
    /// A block of scratch memory.
    Block {
        /// Offset of the block, as given to create.
        offset: u64,
        /// Bytes of the block in use.
        len: u64,
    },
}

/// Reads the payload of a handle.
pub trait Read {
    /// The kind, and a copy of the payload. After a mistaken close the copy may be a mixture, but nothing worse.
    ///
    /// # Errors
    ///
    /// The handle is over: `held` was closed.
    fn read(&self, held: Held) -> Result<(u64, Contents), Stale>;
}

impl Read for Slab<'_> {
    fn read(&self, held: Held) -> Result<(u64, Contents), Stale> {
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
}
