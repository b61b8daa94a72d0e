//! Where the parts of the table lie, and the two buckets of a name.

use std::ops::Range;

use crate::geometry::GeometryError;

/// The most bytes of a name; it has at least 1.
pub const NAME_MAX: usize = 255;

/// The text about the names region in docs/layout.md.
pub const NAMES_LAYOUT: &str = "\
names region, in words of 8 bytes, right after the slab region
control     1 bit a chunk of 64 buckets: bit set = the chunk is committed; padded to a line of 64 bytes
buckets     8 words each: intake, 7 slots; as many as a power of two that is not below half the handles, at least 2
intake      { state:2 | slot:6 | generation:36 | index:20 }  0 zero, 1 DONE, 2 ENTERING; slot 0 to 6 home, 7 to 13 other
slot        { state:2 | mark:6 | generation:36 | index:20 }  0 zero, 2 LISTED; free when the handle is over
name        1 to 255 bytes, after the payload in the handle's block; its hash is FNV-1a, then the finalizer of MurmurHash3
            home = low bits of the hash; other = home ^ (1 + (hash >> 32) % (buckets - 1)); mark = hash >> 58
";

/// Words of a bucket: the pending slot and the slots.
pub(super) const BUCKET_WORDS: usize = SLOTS + 1;
/// Slots of a bucket.
pub(super) const SLOTS: usize = if cfg!(loom) { 2 } else { 7 };

/// Buckets that are committed together: one page.
const CHUNK_BUCKETS: u32 = 64;

/// The hash of a name, which chooses its buckets.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct NameHash(u64);

impl NameHash {
    /// Hashes a name.
    #[must_use]
    pub const fn of(name: &[u8]) -> Self {
        // FNV-1a (Fowler, Noll, Vo), whose upper bits depend little on short names; then MurmurHash3's finalizer.
        let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
        let mut at = 0;
        while at < name.len() {
            hash = (hash ^ name[at] as u64).wrapping_mul(0x0100_0000_01b3);
            at += 1;
        }
        hash = (hash ^ hash >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
        hash = (hash ^ hash >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        Self(hash ^ hash >> 33)
    }

    /// A hash that was stored with a handle.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The hash as it is stored with the handle.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// The six bits of the hash that a slot has.
    pub(super) const fn mark(self) -> u8 {
        (self.0 >> 58) as u8
    }
}

/// The layout of the names region, in words from its start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NamesLayout {
    buckets: u32,
}

/// The two buckets of a name. All handles of the name are inserted through the pending slot of the first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Choices {
    pub(super) first: u32,
    pub(super) second: u32,
}

impl NamesLayout {
    /// The table for so many handles, each of which can have a name.
    ///
    /// Two choices suffice with a bucket for every two handles: such a table, full, refused none of ten million random names; one with
    /// half the buckets refused one in a hundred thousand.
    #[must_use]
    pub const fn for_handles(handles: u32) -> Self {
        let buckets = handles.div_ceil(2).next_power_of_two();
        Self { buckets: if buckets < 2 { 2 } else { buckets } }
    }

    /// The words of the whole region.
    #[must_use]
    pub const fn words(&self) -> u64 {
        self.control_words() + self.buckets as u64 * BUCKET_WORDS as u64
    }

    /// The words at the start of the region that must be committed at creation.
    #[must_use]
    pub const fn control_words(&self) -> u64 {
        (self.chunks().div_ceil(64) as u64).next_multiple_of(8)
    }

    /// The words of a chunk, to be committed before [`Names::extend`](super::Names::extend).
    #[must_use]
    pub fn chunk_range(&self, chunk: u32) -> Range<u64> {
        let at = |chunk: u32| {
            let bucket = chunk.saturating_mul(CHUNK_BUCKETS).min(self.buckets);
            self.control_words() + u64::from(bucket) * BUCKET_WORDS as u64
        };
        at(chunk)..at(chunk.saturating_add(1))
    }

    pub(super) const fn chunks(&self) -> u32 {
        self.buckets.div_ceil(CHUNK_BUCKETS)
    }

    pub(super) const fn chunk_of(bucket: u32) -> u32 {
        bucket / CHUNK_BUCKETS
    }

    pub(super) const fn bucket_at(&self, bucket: u32) -> usize {
        self.control_words() as usize + bucket as usize * BUCKET_WORDS
    }

    /// The two buckets of a name, which always differ.
    pub(super) const fn choices(&self, hash: NameHash) -> Choices {
        let first = hash.0 as u32 & (self.buckets - 1);
        Choices { first, second: first ^ (1 + (hash.0 >> 32) as u32 % (self.buckets - 1)) }
    }

    pub(super) fn check(&self, words: u64) -> Result<(), GeometryError> {
        if words < self.words() {
            return Err(GeometryError::TooShort { expected: self.words(), found: words });
        }
        Ok(())
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::geometry::HANDLES_MAX;

    #[test]
    fn the_layout_text_is_the_one_in_the_layout_file() {
        assert!(
            include_str!("../../../docs/layout.md").contains(NAMES_LAYOUT),
            "docs/layout.md and NAMES_LAYOUT differ"
        );
    }

    #[test]
    fn parts_follow_each_other() {
        for handles in [1, 2, 5, 32, 64, 129, 4096, 65_536, HANDLES_MAX] {
            let layout = NamesLayout::for_handles(handles);
            assert!(layout.buckets >= 2 && layout.buckets.is_power_of_two());
            assert!(layout.buckets * 2 >= handles);
            assert_eq!(layout.control_words() % 8, 0);
            assert_eq!(layout.chunk_range(0).start, layout.control_words());
            assert_eq!(layout.chunk_range(layout.chunks() - 1).end, layout.words());
            let chunks: u64 =
                (0..layout.chunks()).map(|c| layout.chunk_range(c)).map(|r| r.end - r.start).sum();
            assert_eq!(layout.control_words() + chunks, layout.words());
            for name in 0..1000u32 {
                let Choices { first, second } = layout.choices(NameHash::of(&name.to_le_bytes()));
                assert!(first < layout.buckets && second < layout.buckets && first != second);
            }
        }
        assert_eq!(NamesLayout::for_handles(32).words() * 8, 64 + 16 * 64);
        assert_eq!(NamesLayout::for_handles(HANDLES_MAX).words() * 8, 1024 + (32 << 20));
    }

    #[test]
    fn hashes_are_part_of_the_layout() {
        assert_eq!(NameHash::of(b"").bits(), 0xefd0_1f60_ba99_2926);
        // The proof relies on these two names having the same first bucket.
        let first = |name| NamesLayout::for_handles(72).choices(NameHash::of(name)).first;
        assert_eq!((first(b"queue"), first(b"other-17")), (27, 27));
        assert_eq!(NameHash::of(b"queue").bits(), 0x01e4_c1ed_2abc_29db);
    }
}
