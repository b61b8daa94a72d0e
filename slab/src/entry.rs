//! The words of one entry, without the handle word.

use std::marker::PhantomData;
use std::num::NonZeroU8;
#[cfg(not(loom))]
use std::ptr::NonNull;

use tenure_core::ordering;

use crate::geometry::INLINE_BYTES;
use crate::names::NameHash;
use crate::open::Want;
use crate::slots::is_container;
use crate::sync::{Ordering, Word};
use crate::word::HandleWord;

/// Words of payload in an entry.
pub(crate) const PAYLOAD_WORDS: usize = INLINE_BYTES / 8;

// The length word: `{block:1 | name:8 | bytes:55}`.
const BLOCK: u64 = 1 << 63;
const NAME_SHIFT: u32 = 55;
const BYTES_MASK: u64 = (1 << NAME_SHIFT) - 1;

// Holders read the bytes of an inline payload in place, so words must have their bytes in memory order.
const _: () = assert!(cfg!(target_endian = "little"));

/// A block of a handle that is over.
///
/// The receiver loads the block word at `offset`. Only if that is ATTACHED to handle `index` with a generation up to `generation`, the
/// receiver frees the block, by one CAS that expects exactly the loaded value. So several processes may find the same block, and one of
/// them may come an hour late: a block is never attached to a generation that is over.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct BlockRef {
    /// Offset of the block, as the entry had it: check that a block starts there.
    pub offset: u64,
    /// Index of the handle.
    pub index: u32,
    /// The newest generation of the handle that is over.
    pub generation: u64,
    /// The handle was a container: [`Slab::sweep`](crate::Slab::sweep) empties its slots.
    pub is_container: bool,
}

/// The payload of a new handle.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Payload<'p> {
    /// At most [`INLINE_BYTES`] bytes in the entry itself.
    Inline(&'p [u8]),
    /// A block of scratch memory.
    Block {
        /// Offset of the block; the slab only stores it.
        offset: u64,
        /// Bytes used of the block; below 2^55.
        len: u64,
        /// The name that follows the payload in the block.
        label: Option<Label>,
    },
}

/// Length and hash of the name of a handle, as its entry has them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Label {
    /// Bytes of the name, 1 to 255.
    pub len: NonZeroU8,
    /// Hash of the name.
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

    /// The length as the word has it: above [`INLINE_BYTES`] for a block.
    pub(crate) const fn raw(self) -> u64 {
        self.0
    }

    /// Bytes of the name.
    pub(crate) const fn name(self) -> u8 {
        (self.0 >> NAME_SHIFT) as u8
    }

    /// Inline bytes; at most [`INLINE_BYTES`], also in a corrupted segment.
    pub(crate) fn inline_bytes(self) -> usize {
        (self.0 & !BLOCK).min(INLINE_BYTES as u64) as usize
    }
}

/// The words of one entry: one line, and for more than 64 members a second line with the rest of the holder set.
#[derive(Clone, Copy)]
pub(crate) struct Entry<'a> {
    /// The first word of the line, which is the handle word. Two fields: an entry is passed in registers.
    at: *const Word,
    wide: bool,
    words: PhantomData<&'a [Word]>,
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
    more: Option<&'a [Word; MORE_BITS]>,
}

impl<'a> Entry<'a> {
    /// The entry whose line starts at `at`; `wide` tells whether a second line follows, which begins with the bits of leases from 64 on.
    ///
    /// # Safety
    ///
    /// One or two lines of words start at `at`, and stay for `'a`.
    #[inline(always)]
    pub(crate) unsafe fn new(at: *const Word, wide: bool) -> Self {
        Self { at, wide, words: PhantomData }
    }

    #[inline(always)]
    pub(crate) fn word(self) -> HandleWord<'a> {
        // SAFETY: the promise of `new`.
        HandleWord::new(unsafe { &*self.at })
    }

    #[inline(always)]
    fn line(self) -> &'a [Word; LINE] {
        // SAFETY: the promise of `new`.
        unsafe { &*self.at.cast() }
    }

    #[inline(always)]
    pub(crate) fn bits(self) -> Bits<'a> {
        // SAFETY: the promise of `new`: a wide entry has a second line.
        let more = self.wide.then(|| unsafe { &*self.at.add(LINE).cast::<[Word; MORE_BITS]>() });
        Bits { first: &self.line()[BITS], more }
    }

    // Only the claimer stores kind, len and payload, while the word is INIT. They are loaded by holders, after an Acquire load of the
    // word; by `free_if_unheld`, where the CAS of the word fails if they were stored again; and by inspectors, which may see a mixture.
    // So all accesses are Relaxed, and the word publishes them [word.rs, `publish`].

    #[inline]
    pub(crate) fn kind(self) -> u64 {
        // Relaxed: see above.
        self.line()[KIND].load(Ordering::Relaxed)
    }

    /// Whether the kind is the one that is wanted.
    #[inline(always)]
    pub(crate) fn is_kind(self, want: Want) -> bool {
        match want {
            Want::Any | Want::Recovery => true,
            Want::Kind(kind) => self.kind() == kind,
        }
    }

    #[inline]
    pub(crate) fn set_kind(self, kind: u64) {
        // Relaxed: see above.
        self.line()[KIND].store(kind, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn len(self) -> Len {
        // Relaxed: see above.
        Len(self.line()[LEN].load(Ordering::Relaxed))
    }

    /// The offset of the block; valid if `len` has the block bit.
    #[inline]
    pub(crate) fn block_offset(self) -> u64 {
        // Relaxed: see above.
        self.line()[PAYLOAD].load(Ordering::Relaxed)
    }

    /// The block that the entry names, if it names one, as that of a generation of handle `index` which is about to end or over.
    #[inline(always)]
    pub(crate) fn block_ref(self, index: u32, generation: u64) -> Option<BlockRef> {
        self.len().is_block().then(|| BlockRef {
            offset: self.block_offset(),
            index,
            generation,
            is_container: is_container(self.kind()),
        })
    }

    /// Length and hash of the name, if `len` has a name.
    #[inline]
    pub(crate) fn label(self) -> Option<Label> {
        let len = self.len();
        let bytes = NonZeroU8::new(len.name()).filter(|_| len.is_block())?;
        // Relaxed: see above.
        Some(Label { len: bytes, hash: NameHash::from_bits(self.line()[HASH].load(Ordering::Relaxed)) })
    }

    /// Removes the block's name from the entry. Only the claimer of an INIT entry may call it: in other states the name may be a newer one.
    #[inline]
    pub(crate) fn forget_block(self) {
        // Relaxed: see above.
        self.line()[LEN].store(0, Ordering::Relaxed);
    }

    /// Stores the payload, and returns the length word.
    #[inline(always)]
    pub(crate) fn fill(self, payload: Payload<'_>) -> Len {
        let len = match payload {
            Payload::Inline(bytes) => {
                let (chunks, rest) = bytes.as_chunks::<8>();
                let slots = &self.line()[PAYLOAD..];
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
                self.line()[LEN].store(bytes.len() as u64, Ordering::Relaxed);
                bytes.len() as u64
            }
            Payload::Block { offset, len, label } => {
                let name = label.map_or(0, |label| {
                    // Relaxed: see above.
                    self.line()[HASH].store(label.hash.bits(), Ordering::Relaxed);
                    u64::from(label.len.get())
                });
                // Relaxed, then Release: len: publishes the offset to our recoverer, if this process dies before `publish`.
                self.line()[PAYLOAD].store(offset, Ordering::Relaxed);
                let len = BLOCK | name << NAME_SHIFT | len & BYTES_MASK;
                self.line()[LEN].store(len, Ordering::Release);
                len
            }
        };
        Len(len)
    }

    /// The payload words in place.
    pub(crate) fn payload(self) -> &'a [Word] {
        &self.line()[PAYLOAD..]
    }

    /// The payload words, copied.
    pub(crate) fn words(self) -> [u64; PAYLOAD_WORDS] {
        // Relaxed: see above.
        std::array::from_fn(|i| self.line()[PAYLOAD + i].load(Ordering::Relaxed))
    }

    /// The address of the inline bytes.
    #[cfg(not(loom))]
    #[inline(always)]
    pub(crate) fn inline_ptr(self) -> NonNull<u8> {
        NonNull::from(&self.line()[PAYLOAD..]).cast()
    }
}

impl<'a> Bits<'a> {
    /// The word with a lease's bit, and the bit.
    #[inline(always)]
    fn word_of(self, lease: u8) -> Option<(&'a Word, u64)> {
        let word = match lease / 64 {
            0 => Some(self.first),
            at => self.more.and_then(|more| more.get(at as usize - 1)),
        };
        word.map(|word| (word, 1 << (lease % 64)))
    }

    /// Sets a lease's bit, and returns whether it was set before.
    #[cfg_attr(test, track_caller)]
    #[inline(always)]
    pub(crate) fn set(self, lease: u8) -> bool {
        let Some((word, bit)) = self.word_of(lease) else { return false };
        // SeqCst [D]: bits: announces a holder before its load of the word; pairs with `any` after a tag.
        word.fetch_or(bit, ordering!("slab.bits.set", SeqCst, AcqRel)) & bit != 0
    }

    /// Clears a lease's bit, and returns whether other bits are set; if not, the caller runs `free_if_unheld` afterwards
    /// `[slab-cleared-then-decided]`. The owners of the other bits clear them later and decide then, or their recoverers do.
    #[cfg_attr(test, track_caller)]
    #[inline(always)]
    pub(crate) fn clear(self, lease: u8) -> bool {
        let Some((word, bit)) = self.word_of(lease) else { return self.any() };
        // SeqCst [D]: bits: publishes all accesses of the holder; pairs with `any` in the process that frees the entry.
        let others = word.fetch_and(!bit, ordering!("slab.bits.clear", SeqCst, Relaxed)) & !bit != 0;
        others || self.more.is_some() && self.any()
    }

    /// Whether any bit is set. The words need not be loaded at one moment.
    #[inline]
    pub(crate) fn any(self) -> bool {
        // SeqCst [D]: bits: ordered after the store of the tag; pairs with `set` before an opener's load of the word.
        self.first.load(ordering!("slab.bits.any", SeqCst, Acquire)) != 0
            || self.more.is_some_and(|m| {
                m.iter().any(|word| word.load(ordering!("slab.bits.any", SeqCst, Acquire)) != 0)
            })
    }

    /// Whether a lease's bit is set.
    pub(crate) fn has(self, lease: u8) -> bool {
        // SeqCst [D]: bits: a recoverer loads a bit that only recoverers still change.
        self.word_of(lease).is_some_and(|(word, bit)| word.load(Ordering::SeqCst) & bit != 0)
    }

    /// A copy of all words, for inspectors.
    pub(crate) fn copy(self) -> [u64; 4] {
        let mut set = [0; 4];
        for (to, from) in
            set.iter_mut().zip(std::iter::once(self.first).chain(self.more.into_iter().flatten()))
        {
            // Relaxed: bits: information only.
            *to = from.load(Ordering::Relaxed);
        }
        set
    }
}
