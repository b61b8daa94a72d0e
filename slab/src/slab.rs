//! The view of a slab: words, layout and space tag.

use std::fmt;

use crate::cache::{CACHE_MAX, Cache};
use crate::entry::{Entry, LINE};
use crate::geometry::{GeometryError, Layout};
use crate::sync::{Ordering, Word};
use crate::token::Token;

/// Control words, by position.
const COMMITTED: usize = 0;
const ECHO: usize = 1;

/// Log2 of the words of an entry with a second line of holder bits.
const ENTRY_SHIFT_WIDE: u32 = 4;

/// A handle slab over borrowed words; cheap to copy, owns nothing.
///
/// The words may be those of a mapping that several processes share, or private memory. Zeroed memory is a slab whose
/// entries are all FREE and none committed. Only words of committed groups and control words are ever touched.
#[derive(Clone, Copy)]
pub struct Slab<'a> {
    words: &'a [Word],
    /// The entries, for the hot paths: entry `h` starts at `h << entry_shift`.
    entries: &'a [Word],
    entry_shift: u32,
    layout: Layout,
    space_tag: u8,
}

/// One count that this process has on a handle: a proof by convention.
///
/// It is `Copy`, so a caller can close it twice by mistake. The second close returns stale, or, if the process has other counts on the
/// handle, closes one of these. Tenure wraps it in a type that is not `Copy`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Held {
    index: u32,
    generation: u64,
}

impl Held {
    pub(crate) const fn new(index: u32, generation: u64) -> Self {
        Self { index, generation }
    }

    /// The index of the handle.
    #[inline]
    #[must_use]
    pub const fn index(self) -> u32 {
        self.index
    }

    /// The generation of the handle.
    #[inline]
    #[must_use]
    pub const fn generation(self) -> u64 {
        self.generation
    }

    /// The handle as 64 bits, in the space that `slab` belongs to.
    #[must_use]
    pub fn token(self, slab: &Slab<'_>) -> Token {
        // Never panics: `Slab::new` has checked the tag; index and generation come from a layout.
        Token::new(slab.space_tag, self.generation, self.index).expect("a handle of this slab")
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "handle {}#{}", self.index, self.generation)
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
        Ok(Self { words, entries, entry_shift: layout.entry_words().trailing_zeros(), layout, space_tag })
    }

    /// Stores the geometry in the control line of zeroed words. Call it before any other process can see them.
    ///
    /// It commits no group; see [`Slab::extend`].
    pub fn init(&self) {
        for (word, value) in self.words[ECHO..].iter().zip(self.echo()) {
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
        let found = [0, 1, 2].map(|i| self.words[ECHO + i].load(Ordering::Relaxed));
        let expected = self.echo();
        if found == expected { Ok(()) } else { Err(GeometryError::Mismatch { expected, found }) }
    }

    fn echo(&self) -> [u64; 3] {
        let geometry = self.layout.geometry();
        [geometry.handles.into(), geometry.members.into(), geometry.generation_bits.into()]
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
    #[must_use]
    pub fn committed_groups(&self) -> u32 {
        // Acquire: watermark: obtains the commitment of the memory; pairs with the Release in `extend`.
        let groups = self.words[COMMITTED].load(Ordering::Acquire);
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
        self.words[COMMITTED].fetch_max(groups.into(), Ordering::Release);
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
        self.words[COMMITTED].load(Ordering::Relaxed) <= self.layout.groups().into()
    }

    /// The number of handles whose entries are committed.
    pub(crate) fn committed_handles(&self) -> u32 {
        self.layout.first_handle(self.committed_groups())
    }

    /// The entry of a handle that the caller knows to be committed; `None` beyond the layout.
    #[inline]
    pub(crate) fn entry(&self, index: u32) -> Option<Entry<'a>> {
        let rest = self.entries.get((index as usize) << self.entry_shift..)?;
        let (line, rest) = rest.split_first_chunk::<LINE>()?;
        Some(Entry::new(line, rest, self.entry_shift == ENTRY_SHIFT_WIDE))
    }

    pub(crate) fn hint(&self, group: u32) -> &'a Word {
        &self.words[self.layout.hint_at(group) as usize]
    }

    pub(crate) fn map_word(&self, lease: u8, group: u32) -> &'a Word {
        &self.words[self.layout.map_at(lease, group) as usize]
    }

    /// Marks a handle as probably free.
    pub(crate) fn hint_free(&self, index: u32) {
        // Relaxed: hint: decides nothing; the claimer reads the word.
        self.hint(index / 64).fetch_and(!(1 << (index % 64)), Ordering::Relaxed);
    }
}
