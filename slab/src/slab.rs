//! The view of a slab: words, layout and space tag.

use std::marker::PhantomData;
use std::num::NonZeroU64;
use std::{fmt, hash, ptr};

use crate::cache::{CACHE_MAX, Cache};
use crate::entry::{Entry, LINE, Len};
use crate::geometry::{GROUP_HANDLES, Geometry, GeometryError, INLINE_BYTES, Layout};
use crate::sync::{Ordering, Word};
use crate::token::Token;
use crate::word::Snapshot;

/// Control words, by position.
const COMMITTED: usize = 0;
const ECHO: usize = 1;
const RETURNS: usize = 6;

const _: () = assert!(COMMITTED == 0, "`committed_groups` loads the first word");

/// A handle slab over borrowed words; cheap to copy, owns nothing.
///
/// The words may be those of a mapping that several processes share, or private memory. Zeroed memory is a slab whose
/// entries are all FREE and none committed. Only words of committed groups and control words are ever touched.
///
/// A `Slab` of zero bytes is valid as well: it has no handle, and its operations fail and touch no word. So a copy in memory that the kernel
/// wipes in forked children is a copy for the member alone.
#[derive(Clone, Copy)]
pub struct Slab<'a> {
    // For the hot paths: entry `h` is `h * entry_bytes` bytes after `entries`, for `h` below `handles`.
    handles: u64,
    entries: *const Word,
    entry_bytes: usize,
    pub(crate) retire_from: Snapshot,
    words: *const Word,
    layout: Layout,
    space_tag: u8,
    borrowed: PhantomData<&'a [Word]>,
}

// SAFETY: shared references to atomic words, and numbers.
unsafe impl Send for Slab<'_> {}
// SAFETY: as above.
unsafe impl Sync for Slab<'_> {}

/// One count that this process has on a handle: a proof by convention.
///
/// It is `Copy`, so a caller can close it twice by mistake. The second close returns stale, or, if the process has other counts on the
/// handle, closes one of these. Tenure wraps it in a type that is not `Copy`.
///
/// It is two registers wide: a handle word, LIVE and without a tag, and `{extent:32 | index:32}`. If the word is not shared, the handle
/// had that word when the count was made, and its payload lies in the entry: then one CAS may close it. The extent is the number of inline
/// bytes, or a mark for a block.
#[derive(Clone, Copy)]
pub struct Held {
    word: NonZeroU64,
    place: u64,
}

impl Held {
    /// The extent of a payload that lies in a block.
    const BLOCK: u64 = INLINE_BYTES as u64 + 1;

    #[inline(always)]
    pub(crate) const fn new(live: Snapshot, index: u32, len: Len) -> Self {
        let is_inline = len.raw() < Self::BLOCK;
        let extent = if is_inline { len.raw() } else { Self::BLOCK };
        let live = if is_inline { live } else { Snapshot::live(live.generation(), true) };
        // Never zero: LIVE is not 0.
        let word = match NonZeroU64::new(live.raw()) {
            Some(word) => word,
            None => NonZeroU64::MIN,
        };
        Self { word, place: extent << 32 | index as u64 }
    }

    /// A word of the handle that is LIVE in its generation; if it is not shared, the one that a private close expects.
    #[inline(always)]
    pub(crate) const fn word(self) -> Snapshot {
        Snapshot::from_raw(self.word.get())
    }

    #[inline(always)]
    pub(crate) const fn parts(self) -> (NonZeroU64, u64) {
        (self.word, self.place)
    }

    /// The inverse of [`Self::parts`].
    #[inline(always)]
    pub(crate) const fn from_parts(word: NonZeroU64, place: u64) -> Self {
        Self { word, place }
    }

    /// Whether a close has no use for a cache: the handle was shared when this count was made, and its payload is in its entry.
    #[inline(always)]
    #[must_use]
    pub const fn is_shared_inline(self) -> bool {
        self.word().shared() && self.inline_len().is_some()
    }

    /// The index of the handle.
    #[inline(always)]
    #[must_use]
    pub const fn index(self) -> u32 {
        self.place as u32
    }

    /// The generation of the handle.
    #[inline]
    #[must_use]
    pub const fn generation(self) -> u64 {
        self.word().generation()
    }

    /// The bytes of a payload that lies in the entry; `None` for one in a block.
    #[inline(always)]
    #[must_use]
    pub const fn inline_len(self) -> Option<usize> {
        let extent = self.place >> 32;
        if extent < Self::BLOCK { Some(extent as usize) } else { None }
    }

    /// The handle as 64 bits, in the space that `slab` belongs to.
    #[must_use]
    pub fn token(self, slab: &Slab<'_>) -> Token {
        // Never panics: `Slab::new` has checked the tag; index and generation come from a layout.
        Token::new(slab.space_tag, self.generation(), self.index()).expect("a handle of this slab")
    }
}

impl PartialEq for Held {
    fn eq(&self, other: &Self) -> bool {
        (self.index(), self.generation()) == (other.index(), other.generation())
    }
}

impl Eq for Held {}

impl hash::Hash for Held {
    fn hash<H: hash::Hasher>(&self, state: &mut H) {
        (self.index(), self.generation()).hash(state);
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "handle {}#{}", self.index(), self.generation())
    }
}

impl fmt::Debug for Slab<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slab")
            .field("geometry", &self.layout.geometry())
            .field("space_tag", &self.space_tag)
            .field("committed_groups", &self.committed_groups())
            .finish_non_exhaustive()
    }
}

impl<'a> Slab<'a> {
    /// A view of `words` as laid out by `layout`. It loads nothing; see [`Slab::init`] and [`Slab::verify`].
    ///
    /// # Errors
    ///
    /// Fewer words than the layout has, or a space tag of 0.
    pub fn new(words: &'a [Word], layout: Layout, space_tag: u8) -> Result<Self, GeometryError> {
        let found = words.len() as u64;
        if found < layout.words() {
            return Err(GeometryError::TooShort { expected: layout.words(), found });
        }
        if space_tag == 0 {
            return Err(GeometryError::SpaceTag);
        }
        let entries = &words[layout.entry_start(0) as usize..layout.words() as usize];
        Ok(Self {
            handles: layout.handles().into(),
            entries: entries.as_ptr(),
            entry_bytes: layout.entry_words() as usize * size_of::<Word>(),
            retire_from: Snapshot::retire_from(layout.generation_bits()),
            words: words.as_ptr(),
            layout,
            space_tag,
            borrowed: PhantomData,
        })
    }

    /// The words; none of a slab of zero bytes.
    pub(crate) fn words(&self) -> &'a [Word] {
        if self.words.is_null() {
            return &[];
        }
        // SAFETY: `new` got at least as many words as the layout has, borrowed for 'a; nothing else stores to the field.
        unsafe { &*ptr::slice_from_raw_parts(self.words, self.layout.words() as usize) }
    }

    /// Stores the geometry in the control line of zeroed words. Call it before any other process can see them.
    ///
    /// It commits no group; see [`Slab::extend`].
    pub fn init(&self) {
        for (word, value) in self.words()[ECHO..].iter().zip(self.echo()) {
            // Relaxed: control: the segment publishes the whole data area when it is complete.
            word.store(value, Ordering::Relaxed);
        }
    }

    /// Compares the geometry in the control line with the layout.
    ///
    /// # Errors
    ///
    /// They differ.
    pub fn verify(&self) -> Result<(), GeometryError> {
        // Relaxed: control: written before the segment was published.
        let found = [0, 1, 2, 3, 4].map(|i| self.words()[ECHO + i].load(Ordering::Relaxed));
        let expected = self.echo();
        if found == expected { Ok(()) } else { Err(GeometryError::Mismatch { expected, found }) }
    }

    fn echo(&self) -> [u64; 5] {
        let Geometry { handles, members, generation_bits, slots, container_slots } = self.layout.geometry();
        [handles.into(), members.into(), generation_bits.into(), slots.into(), container_slots.into()]
    }

    /// The layout.
    #[must_use]
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The tag in the tokens of this space; never 0.
    #[must_use]
    pub fn space_tag(&self) -> u8 {
        self.space_tag
    }

    /// The number of committed groups.
    #[inline]
    #[must_use]
    pub fn committed_groups(&self) -> u32 {
        // Acquire: watermark: obtains the commitment of the memory; pairs with the Release in `extend`.
        // SAFETY: null, or the control line, which `new` got with the rest of the words.
        let groups = unsafe { self.words.as_ref() }.map_or(0, |word| word.load(Ordering::Acquire));
        groups.min(self.layout.groups().into()) as u32
    }

    /// Publishes that the entries of the first `groups` groups are committed; returns the number of committed groups.
    ///
    /// The caller has committed [`Layout::group_range`] before. The number never decreases, and never exceeds the layout's.
    ///
    /// # Progress
    ///
    /// Wait-free, except for a retry if another process published at the same time.
    ///
    /// # Crash
    ///
    /// The next caller commits again the memory that was committed and not published.
    pub fn extend(&self, groups: u32) -> u32 {
        let groups = groups.min(self.layout.groups());
        // Release: watermark: publishes the commitment; pairs with the Acquire in `committed_groups`.
        self.words()[COMMITTED].fetch_max(groups.into(), Ordering::Release);
        self.committed_groups()
    }

    /// An empty cache for one thread, of a size that leaves three quarters of a small slab to others: a quarter of the
    /// handles divided among all members, 1 to 64.
    #[must_use]
    pub fn cache(&self) -> Cache {
        let fair = self.layout.handles() as usize / 4 / usize::from(self.layout.members());
        Cache::with_capacity(fair.clamp(1, CACHE_MAX))
    }

    /// Whether `extend` can have stored the watermark.
    pub(crate) fn watermark_fits(&self) -> bool {
        // Relaxed: watermark: information only.
        self.words()[COMMITTED].load(Ordering::Relaxed) <= self.layout.groups().into()
    }

    /// The number of handles whose entries are committed.
    pub(crate) fn committed_handles(&self) -> u32 {
        self.layout.first_handle(self.committed_groups())
    }

    /// Whether the layout has the handle; never of a slab of zero bytes.
    #[inline(always)]
    pub(crate) fn has(&self, index: u32) -> bool {
        u64::from(index) < self.handles
    }

    /// The entry of a handle that the caller knows to be committed; `None` beyond the layout.
    #[inline(always)]
    pub(crate) fn entry(&self, index: u32) -> Option<Entry<'a>> {
        if !self.has(index) {
            return None;
        }
        let at = self.entries.wrapping_byte_add(index as usize * self.entry_bytes);
        // SAFETY: by the layout `handles` entries of that many bytes start at `entries`, and the words are borrowed for 'a.
        Some(unsafe { Entry::new(at, self.entry_bytes > LINE * size_of::<Word>()) })
    }

    /// The entry, if its memory is committed: so that a load of it cannot fail.
    #[inline(always)]
    pub(crate) fn committed_entry(&self, index: u32) -> Option<Entry<'a>> {
        let entry = self.entry(index)?;
        // As in `committed_groups`, without its limit: the layout has the handle.
        // SAFETY: the layout has a handle, so this is no slab of zero bytes, and `new` got the control line with the rest of the words.
        let groups = unsafe { &*self.words }.load(Ordering::Acquire);
        (u64::from(index / GROUP_HANDLES) < groups).then_some(entry)
    }

    /// Counts whatever may have made something READY behind the head of a queue: see src/slots/queue.rs.
    pub(crate) fn returns(&self) -> &'a Word {
        &self.words()[RETURNS]
    }

    pub(crate) fn hint(&self, group: u32) -> &'a Word {
        &self.words()[self.layout.hint_at(group) as usize]
    }

    pub(crate) fn map_word(&self, lease: u8, group: u32) -> &'a Word {
        &self.words()[self.layout.map_at(lease, group) as usize]
    }

    /// Marks a handle as probably free.
    pub(crate) fn hint_free(&self, index: u32) {
        // Relaxed: hint: decides nothing; the claimer reads the word.
        self.hint(index / 64).fetch_and(!(1 << (index % 64)), Ordering::Relaxed);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::{BlockRef, OpenError, Payload, RefCounts, State};
    use tenure_core::{Acquire, LeaseId};

    /// What a forked child finds in memory that the kernel has wiped.
    #[test]
    fn a_slab_and_a_cache_of_zero_bytes_refuse_everything() {
        let layout = Geometry { handles: 4, members: 2, generation_bits: 36, slots: 0, container_slots: 0 }
            .layout()
            .unwrap();
        let words: Vec<Word> = (0..layout.words()).map(|_| Word::new(0)).collect();
        let slab = Slab::new(&words, layout, 1).unwrap();
        slab.init();
        slab.extend(layout.groups());
        // SAFETY: private memory, one member.
        let acquire = unsafe { Acquire::assume(LeaseId { index: 0, incarnation: 1 }) };
        let ref_counts = RefCounts::new(&layout, 0).unwrap();
        let mut cache = slab.cache();
        let nothing = |block: BlockRef| panic!("unexpected {block:?}");
        let payload = Payload::Inline(b"tea");
        let held = slab.create(&acquire, &ref_counts, &mut cache, 1, payload, |_, _| {}, nothing).unwrap();
        let opened = slab.open(&acquire, &ref_counts, held.token(&slab), nothing).unwrap();

        // SAFETY: both types say that zero bytes are a value.
        let (none, mut empty) = unsafe { std::mem::zeroed::<(Slab<'_>, Cache)>() };
        assert!(none.create(&acquire, &ref_counts, &mut empty, 1, payload, |_, _| {}, nothing).is_err());
        for held in [held, opened] {
            let token = held.token(&slab);
            assert!(!none.is_live(held) && none.inline_address(held).is_none());
            assert!(none.close(&acquire, &ref_counts, Some(&mut empty), held, nothing).is_err());
            assert!(none.held(&ref_counts, token).is_err());
            let refused = none.open(&acquire, &ref_counts, token, nothing);
            assert!(matches!(refused, Err(OpenError::ForeignSpace { .. })), "{refused:?}");
        }
        assert_eq!(none.committed_groups(), 0);
        // The counts are what they were, where the slab itself is used.
        assert_eq!(slab.inspect(0).unwrap().state, Some(State::Live));
    }
}
