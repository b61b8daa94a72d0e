//! One handle's words in place, but for the handle word itself.

use tenure_segment::sync::{Ordering, Word};

use crate::geometry::INLINE_BYTES;
use crate::word::HandleWord;

/// Words of payload in an entry.
pub(crate) const PAYLOAD_WORDS: usize = INLINE_BYTES / 8;

const BLOCK: u64 = 1 << 63;

// Words are 8 bytes in memory order: bytes of an inline payload are read in place.
const _: () = assert!(cfg!(target_endian = "little"));

/// A block that a handle names, which nobody needs any more.
///
/// Whoever receives it looks at the block word at `offset`, and only if it says ATTACHED to handle `index` with a
/// generation up to `generation` frees it, by one CAS expecting exactly what it read. Then it does not matter that several
/// find the same block, nor that one of them comes an hour late: a generation that is over is never attached again.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct BlockRef {
    /// Offset of the block; whatever the entry said, so check that it is one.
    pub offset: u64,
    /// Index of the handle.
    pub index: u32,
    /// The newest generation of the handle that is over.
    pub generation: u64,
}

/// What a handle carries, to be created with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Payload<'p> {
    /// At most [`INLINE_BYTES`] bytes in the entry itself.
    Inline(&'p [u8]),
    /// A block of scratch memory.
    Block {
        /// Where the block is; the slab only keeps it.
        offset: u64,
        /// Bytes used of the block; below 2^63.
        len: u64,
    },
}

/// The length word: `{block:1 | bytes:63}`.
#[derive(Clone, Copy)]
pub(crate) struct Len(u64);

impl Len {
    pub(crate) const fn is_block(self) -> bool {
        self.0 & BLOCK != 0
    }

    pub(crate) const fn bytes(self) -> u64 {
        self.0 & !BLOCK
    }

    /// Bytes inline; never more than fit, whatever a scribbler left.
    pub(crate) fn inline_bytes(self) -> usize {
        self.bytes().min(INLINE_BYTES as u64) as usize
    }
}

/// One handle's words.
#[derive(Clone, Copy)]
pub(crate) struct Entry<'a> {
    pub(crate) word: HandleWord<'a>,
    pub(crate) bits: Bits<'a>,
    kind: &'a Word,
    len: &'a Word,
    payload: &'a [Word; PAYLOAD_WORDS],
}

/// The words of a holder set.
#[derive(Clone, Copy)]
pub(crate) struct Bits<'a>(&'a [Word]);

impl<'a> Entry<'a> {
    /// Eight words: up to 64 members.
    #[inline]
    pub(crate) fn narrow(words: &'a [Word; 8]) -> Self {
        let [word, _, kind, len, ..] = words;
        // Panics: never; the range has four of the eight words.
        let payload = words.last_chunk().expect("4 of 8");
        Self { word: HandleWord::new(word), bits: Bits(&words[1..2]), kind, len, payload }
    }

    /// Sixteen words: up to 256 members.
    #[inline]
    pub(crate) fn wide(words: &'a [Word; 16]) -> Self {
        let [word, _, _, _, _, kind, len, ..] = words;
        // Panics: never; the range has four of the sixteen words.
        let payload = words[8..12].first_chunk().expect("4 of 4");
        Self { word: HandleWord::new(word), bits: Bits(&words[1..5]), kind, len, payload }
    }

    // kind, len and payload are written only by the claimer while the word is INIT, and read by holders, which obtained
    // the word, by finishers, whose CAS on the word fails if it was rewritten, and by inspectors, which may see nonsense.
    // So all accesses are Relaxed, and the word publishes them [word.rs, `publish`].

    #[inline]
    pub(crate) fn kind(self) -> u64 {
        // Relaxed: see above.
        self.kind.load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn set_kind(self, kind: u64) {
        // Relaxed: see above.
        self.kind.store(kind, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn len(self) -> Len {
        // Relaxed: see above.
        Len(self.len.load(Ordering::Relaxed))
    }

    /// The offset of the block, if `len` says that there is one.
    #[inline]
    pub(crate) fn block_offset(self) -> u64 {
        // Relaxed: see above.
        self.payload[0].load(Ordering::Relaxed)
    }

    /// Forgets the block. Only who has the entry as INIT may: elsewhere the mark may be another's, newer one.
    #[inline]
    pub(crate) fn forget_block(self) {
        // Relaxed: see above.
        self.len.store(0, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn fill(self, payload: Payload<'_>) {
        match payload {
            Payload::Inline(bytes) => {
                let chunks = bytes.chunks_exact(8);
                let rest = chunks.remainder();
                let mut slots = self.payload.iter();
                // The chunks first: `zip` takes from its left side before it knows that the right one is done.
                for (chunk, slot) in chunks.zip(slots.by_ref()) {
                    // Relaxed: see above.
                    slot.store(u64::from_le_bytes(chunk.try_into().expect("8 bytes")), Ordering::Relaxed);
                }
                if let (false, Some(slot)) = (rest.is_empty(), slots.next()) {
                    let word = rest.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
                    // Relaxed: see above.
                    slot.store(word, Ordering::Relaxed);
                }
                // Relaxed: see above.
                self.len.store(bytes.len() as u64, Ordering::Relaxed);
            }
            Payload::Block { offset, len } => {
                // Relaxed: see above. The offset first: where the mark is seen by the dead's recoverer, so is the offset.
                self.payload[0].store(offset, Ordering::Relaxed);
                self.len.store(len | BLOCK, Ordering::Release);
            }
        }
    }

    /// The payload words, copied.
    pub(crate) fn words(self) -> [u64; PAYLOAD_WORDS] {
        // Relaxed: see above.
        self.payload.each_ref().map(|word| word.load(Ordering::Relaxed))
    }

    /// Where the inline bytes are.
    #[cfg(not(loom))]
    pub(crate) fn inline_ptr(self) -> *const u8 {
        self.payload.as_ptr().cast()
    }
}

impl Bits<'_> {
    /// Sets a lease's bit.
    pub(crate) fn set(self, lease: u8) {
        if let Some(word) = self.0.get(lease as usize / 64) {
            // SeqCst [D]: bits: announces a holder before it reads the word; pairs with `any` after a tag.
            word.fetch_or(1 << (lease % 64), Ordering::SeqCst);
        }
    }

    /// Clears a lease's bit; whoever calls it runs `finish` afterwards [I5].
    pub(crate) fn clear(self, lease: u8) {
        if let Some(word) = self.0.get(lease as usize / 64) {
            // SeqCst [D]: bits: publishes all accesses of the holder; pairs with `any` in whoever frees the entry.
            word.fetch_and(!(1 << (lease % 64)), Ordering::SeqCst);
        }
    }

    /// Whether anybody's bit is set; word by word is fine.
    pub(crate) fn any(self) -> bool {
        // SeqCst [D]: bits: read after the tag was written; pairs with `set` before an opener reads the word.
        self.0.iter().any(|word| word.load(Ordering::SeqCst) != 0)
    }

    /// Whether a lease's bit is set.
    pub(crate) fn has(self, lease: u8) -> bool {
        // SeqCst [D]: bits: a recoverer's look at a bit that only recoverers change any more.
        self.0
            .get(lease as usize / 64)
            .is_some_and(|word| word.load(Ordering::SeqCst) >> (lease % 64) & 1 != 0)
    }

    /// All of them, for a look.
    pub(crate) fn copy(self) -> [u64; 4] {
        let mut set = [0; 4];
        for (to, from) in set.iter_mut().zip(self.0) {
            // Relaxed: bits: a look, not a decision.
            *to = from.load(Ordering::Relaxed);
        }
        set
    }
}
