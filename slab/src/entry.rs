//! One handle's words in place, but for the handle word itself.

use std::num::NonZeroU8;

use tenure_core::ordering;

use crate::geometry::INLINE_BYTES;
use crate::names::NameHash;
use crate::sync::{Ordering, Word};
use crate::word::HandleWord;

/// Words of payload in an entry.
pub(crate) const PAYLOAD_WORDS: usize = INLINE_BYTES / 8;

// The length word: `{block:1 | name:8 | bytes:55}`.
const BLOCK: u64 = 1 << 63;
const NAME_SHIFT: u32 = 55;
const BYTES_MASK: u64 = (1 << NAME_SHIFT) - 1;

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
        /// Bytes used of the block; below 2^55.
        len: u64,
        /// The name that follows those bytes in the block.
        label: Option<Label>,
    },
}

/// The name of a handle, as its entry has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Label {
    /// Bytes of the name, 1 to 255.
    pub len: NonZeroU8,
    /// Their hash.
    pub hash: NameHash,
}

/// The length word: `{block:1 | name:8 | bytes:55}`.
#[derive(Clone, Copy)]
pub(crate) struct Len(u64);

impl Len {
    pub(crate) const fn is_block(self) -> bool {
        self.0 & BLOCK != 0
    }

    pub(crate) const fn bytes(self) -> u64 {
        if self.is_block() { self.0 & BYTES_MASK } else { self.0 }
    }

    /// Bytes of the name.
    pub(crate) const fn name(self) -> u8 {
        (self.0 >> NAME_SHIFT) as u8
    }

    /// Bytes inline; never more than fit, whatever a corrupted segment left.
    pub(crate) fn inline_bytes(self) -> usize {
        (self.0 & !BLOCK).min(INLINE_BYTES as u64) as usize
    }
}

/// One handle's words: one line, and for more than 64 members a second one with the rest of the holder set.
#[derive(Clone, Copy)]
pub(crate) struct Entry<'a> {
    pub(crate) word: HandleWord<'a>,
    line: &'a [Word; LINE],
    /// Everything after the line; the rest of the holder set, if `wide`, and then other entries.
    rest: &'a [Word],
    wide: bool,
}

/// Words of a line.
pub(crate) const LINE: usize = 8;
/// Words of the second line that hold bits.
const MORE_BITS: usize = 3;

// Positions in the line; the handle word is at 0.
const BITS: usize = 1;
const KIND: usize = 2;
const LEN: usize = 3;
const PAYLOAD: usize = 4;
// With a name.
const HASH: usize = 5;

const _: () = assert!(PAYLOAD + PAYLOAD_WORDS == LINE);

/// The words of a holder set: leases 0 to 63, and the rest.
#[derive(Clone, Copy)]
pub(crate) struct Bits<'a> {
    first: &'a Word,
    more: &'a [Word],
}

impl<'a> Entry<'a> {
    /// A line, what follows it, and whether bits of leases from 64 on are there.
    #[inline]
    pub(crate) fn new(line: &'a [Word; LINE], rest: &'a [Word], wide: bool) -> Self {
        Self { word: HandleWord::new(&line[0]), line, rest, wide }
    }

    #[inline]
    pub(crate) fn bits(self) -> Bits<'a> {
        let more = if self.wide { self.rest.get(..MORE_BITS) } else { None };
        Bits { first: &self.line[BITS], more: more.unwrap_or(&[]) }
    }

    // kind, len and payload are written only by the claimer while the word is INIT, and read by holders, which obtained
    // the word, by finishers, whose CAS on the word fails if it was rewritten, and by inspectors, which may see nonsense.
    // So all accesses are Relaxed, and the word publishes them [word.rs, `publish`].

    #[inline]
    pub(crate) fn kind(self) -> u64 {
        // Relaxed: see above.
        self.line[KIND].load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn set_kind(self, kind: u64) {
        // Relaxed: see above.
        self.line[KIND].store(kind, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn len(self) -> Len {
        // Relaxed: see above.
        Len(self.line[LEN].load(Ordering::Relaxed))
    }

    /// The offset of the block, if `len` says that there is one.
    #[inline]
    pub(crate) fn block_offset(self) -> u64 {
        // Relaxed: see above.
        self.line[PAYLOAD].load(Ordering::Relaxed)
    }

    /// The name, if `len` says that there is one.
    #[inline]
    pub(crate) fn label(self) -> Option<Label> {
        let len = self.len();
        let bytes = NonZeroU8::new(len.name()).filter(|_| len.is_block())?;
        // Relaxed: see above.
        Some(Label { len: bytes, hash: NameHash::from_bits(self.line[HASH].load(Ordering::Relaxed)) })
    }

    /// Forgets the block. Only who has the entry as INIT may: elsewhere the mark may be another's, newer one.
    #[inline]
    pub(crate) fn forget_block(self) {
        // Relaxed: see above.
        self.line[LEN].store(0, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn fill(self, payload: Payload<'_>) {
        match payload {
            Payload::Inline(bytes) => {
                let (chunks, rest) = bytes.as_chunks::<8>();
                let slots = &self.line[PAYLOAD..];
                for (chunk, slot) in chunks.iter().zip(slots) {
                    // Relaxed: see above.
                    slot.store(u64::from_le_bytes(*chunk), Ordering::Relaxed);
                }
                if let (false, Some(slot)) = (rest.is_empty(), slots.get(chunks.len())) {
                    let word = rest.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
                    // Relaxed: see above.
                    slot.store(word, Ordering::Relaxed);
                }
                // Relaxed: see above.
                self.line[LEN].store(bytes.len() as u64, Ordering::Relaxed);
            }
            Payload::Block { offset, len, label } => {
                let name = label.map_or(0, |label| {
                    // Relaxed: see above.
                    self.line[HASH].store(label.hash.bits(), Ordering::Relaxed);
                    u64::from(label.len.get())
                });
                // Relaxed, then Release: len: publishes the offset to whoever recovers us, should we end before `publish`.
                self.line[PAYLOAD].store(offset, Ordering::Relaxed);
                self.line[LEN].store(BLOCK | name << NAME_SHIFT | len & BYTES_MASK, Ordering::Release);
            }
        }
    }

    /// The payload words in place.
    pub(crate) fn payload(self) -> &'a [Word] {
        &self.line[PAYLOAD..]
    }

    /// The payload words, copied.
    pub(crate) fn words(self) -> [u64; PAYLOAD_WORDS] {
        // Relaxed: see above.
        std::array::from_fn(|i| self.line[PAYLOAD + i].load(Ordering::Relaxed))
    }

    /// Where the inline bytes are.
    #[cfg(not(loom))]
    #[inline]
    pub(crate) fn inline_ptr(self) -> *const u8 {
        self.line[PAYLOAD..].as_ptr().cast()
    }
}

impl Bits<'_> {
    #[inline]
    fn word_of(&self, lease: u8) -> Option<&Word> {
        match lease / 64 {
            0 => Some(self.first),
            at => self.more.get(at as usize - 1),
        }
    }

    /// Sets a lease's bit.
    #[cfg_attr(test, track_caller)]
    pub(crate) fn set(self, lease: u8) {
        if let Some(word) = self.word_of(lease) {
            // SeqCst [D]: bits: announces a holder before it reads the word; pairs with `any` after a tag.
            word.fetch_or(1 << (lease % 64), ordering!("slab.bits.set", SeqCst, AcqRel));
        }
    }

    /// Clears a lease's bit; whoever calls it runs `free_if_unheld` afterwards `[I5]`.
    #[cfg_attr(test, track_caller)]
    pub(crate) fn clear(self, lease: u8) {
        if let Some(word) = self.word_of(lease) {
            // SeqCst [D]: bits: publishes all accesses of the holder; pairs with `any` in whoever frees the entry.
            word.fetch_and(!(1 << (lease % 64)), ordering!("slab.bits.clear", SeqCst, Relaxed));
        }
    }

    /// Whether anybody's bit is set; word by word is fine.
    pub(crate) fn any(self) -> bool {
        // SeqCst [D]: bits: read after the tag was written; pairs with `set` before an opener reads the word.
        self.first.load(ordering!("slab.bits.any", SeqCst, Acquire)) != 0
            || self.more.iter().any(|word| word.load(ordering!("slab.bits.any", SeqCst, Acquire)) != 0)
    }

    /// Whether a lease's bit is set.
    pub(crate) fn has(self, lease: u8) -> bool {
        // SeqCst [D]: bits: a recoverer's look at a bit that only recoverers change any more.
        self.word_of(lease).is_some_and(|word| word.load(Ordering::SeqCst) >> (lease % 64) & 1 != 0)
    }

    /// All of them, for a look.
    pub(crate) fn copy(self) -> [u64; 4] {
        let mut set = [0; 4];
        for (to, from) in set.iter_mut().zip(std::iter::once(self.first).chain(self.more)) {
            // Relaxed: bits: a look, not a decision.
            *to = from.load(Ordering::Relaxed);
        }
        set
    }
}
