//! The geometry of a slab, and the layout of its region in words.

use std::ops::Range;

use tenure_core::MEMBERS_MAX;

use crate::slots::SLOT_MEMBERS_MAX;
use crate::word::GENERATION_BITS;

/// The most handles of a geometry: a token has 20 bits for the index.
pub(crate) const HANDLES_MAX: u32 = 1 << 20;

/// The most slots of a geometry.
pub const SLOTS_MAX: u32 = 1 << 20;

/// Container slots are owned in chunks of as many.
pub const CHUNK_SLOTS: u32 = 64;

/// The most bytes a handle can carry without a block.
pub const INLINE_BYTES: usize = 32;

/// Handles in a group: one hint word, one bit of each group map, one run of memory to commit.
pub(crate) const GROUP_HANDLES: u32 = 64;

/// The fewest generation bits. Tests use few, so that handles retire early.
pub(crate) const GENERATION_BITS_MIN: u8 = 4;

const LINE_WORDS: u64 = 8;

/// The text about the slab region in docs/layout.md.
pub const LAYOUT: &str = "\
slab region, in words of 8 bytes; every part starts on a line of 64 bytes
control     8 words: committed_groups, handles, members, generation_bits, slots, container slots, returns, zero
hints       1 word a group of 64 handles: bit i set = handle i of the group is probably taken; padded to a line
group maps  1 map a lease: bit k set = the lease may have a bit in group k; each map padded to a line
homes       only with slots of either sort: 1 word a handle { by:9 | turn:23 | slot + 1:32 }, by: lease + 1 of who is putting it there; padded to a line
slots       1 word a slot { mark:8 | generation:36 | index:20 }  mark 0 EMPTY, 1 READY, 2 + lease CLAIMED; padded to a line; then 1 word
            a container slot, whose numbers go on; an EMPTY one has in the rest of the word what its container put there, any other zero
chunks      1 word a chunk of 64 container slots { mark:8 | generation:36 | index:20 }, mark 0 FREE (all zero), 1 OWNED by that handle,
            2 FREEING; padded to a line
hazards     only with container slots: 1 word a lease: the chunk + 1 that the lease sweeps, or 0; padded to a line
entries     8 words a handle: word, bits of leases 0 to 63, kind, len, payload 4
            with more than 64 members 8 words more: bits of leases 64 to 255 in 3, zero 5
word        { generation:36 | state:8 | 0:3 | shared:1 | closer tag:16 }  0 FREE, 1 INIT, 2 LIVE, 3 RETIRED
len         { block:1 | name:8 | bytes:55 }; with block set, the first payload word is the offset of the block; with bytes
            of name after the payload in the block, the second one is their hash
token       { space tag:8 | generation:36 | index:20 }
";

/// The numbers of handles and members, and of generations of a handle.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Geometry {
    /// Handles: 1 to 2^20.
    pub handles: u32,
    /// Members: 1 to [`MEMBERS_MAX`].
    pub members: u16,
    /// Generation bits: 4 to 36. A handle can be created `1 << generation_bits` times; then it retires. With 36 bits, and one handle
    /// created and closed every 10 ns, that is after 11 minutes, and costs one handle.
    pub generation_bits: u8,
    /// Slots: 0 to [`SLOTS_MAX`]. With slots of either sort a word for each handle and one for each slot are committed at creation.
    pub slots: u32,
    /// Slots that containers own, in chunks of [`CHUNK_SLOTS`]: 0 to [`SLOTS_MAX`], rounded up to whole chunks.
    pub container_slots: u32,
}

/// A geometry that cannot be laid out, or a region with another layout.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GeometryError {
    /// Too few or too many handles.
    #[error("expected 1 to {} handles, found {found}", HANDLES_MAX)]
    Handles {
        /// The number given.
        found: u32,
    },
    /// Too few or too many members.
    #[error("expected 1 to {} members, found {found}", MEMBERS_MAX)]
    Members {
        /// The number given.
        found: u16,
    },
    /// Too few or too many generation bits.
    #[error("expected 4 to 36 generation bits, found {found}")]
    GenerationBits {
        /// The number given.
        found: u8,
    },
    /// Too many slots.
    #[error("expected at most {} slots, found {found}", SLOTS_MAX)]
    Slots {
        /// The number given.
        found: u32,
    },
    /// Too many members for a slab with slots.
    #[error("expected at most {} members with slots, found {found}", SLOT_MEMBERS_MAX)]
    SlotMembers {
        /// The number given.
        found: u16,
    },
    /// The region is smaller than the layout.
    #[error("expected a region of {expected} words, found {found}")]
    TooShort {
        /// Words of the layout.
        expected: u64,
        /// Words of the region.
        found: u64,
    },
    /// Space tags are 1 to 255.
    #[error("expected a space tag from 1 to 255, found 0")]
    SpaceTag,
    /// A lease index that the geometry does not have.
    #[error("expected a lease index below {expected}, found {found}")]
    Lease {
        /// Members of the geometry.
        expected: u16,
        /// The index given.
        found: u8,
    },
    /// The region was initialised with another geometry; open it with that one.
    #[error("expected a slab of {expected:?}, found {found:?}")]
    Mismatch {
        /// Handles, members, generation bits, slots and container slots of the caller's geometry.
        expected: [u64; 5],
        /// The same numbers in the region's control line.
        found: [u64; 5],
    },
}

impl Geometry {
    /// Computes the layout.
    ///
    /// # Errors
    ///
    /// A number is out of its range.
    pub const fn layout(self) -> Result<Layout, GeometryError> {
        if self.handles == 0 || self.handles > HANDLES_MAX {
            return Err(GeometryError::Handles { found: self.handles });
        }
        if self.members == 0 || self.members > MEMBERS_MAX {
            return Err(GeometryError::Members { found: self.members });
        }
        if self.generation_bits < GENERATION_BITS_MIN || self.generation_bits as u32 > GENERATION_BITS {
            return Err(GeometryError::GenerationBits { found: self.generation_bits });
        }
        if self.slots > SLOTS_MAX {
            return Err(GeometryError::Slots { found: self.slots });
        }
        if self.container_slots > SLOTS_MAX {
            return Err(GeometryError::Slots { found: self.container_slots });
        }
        let all_slots = self.slots + self.container_slots;
        if all_slots > 0 && self.members > SLOT_MEMBERS_MAX {
            return Err(GeometryError::SlotMembers { found: self.members });
        }
        let groups = self.handles.div_ceil(GROUP_HANDLES);
        let hints_at = LINE_WORDS;
        let maps_at = hints_at + (groups as u64).next_multiple_of(LINE_WORDS);
        let map_words = (groups.div_ceil(64) as u64).next_multiple_of(LINE_WORDS);
        let homes_at = maps_at + map_words * self.members as u64;
        let homes = if all_slots > 0 { (self.handles as u64).next_multiple_of(LINE_WORDS) } else { 0 };
        let slots_at = homes_at + homes;
        let first_container_slot = self.slots.next_multiple_of(LINE_WORDS as u32);
        let chunks = self.container_slots.div_ceil(CHUNK_SLOTS);
        let chunks_at = slots_at + first_container_slot as u64 + chunks as u64 * CHUNK_SLOTS as u64;
        let hazards_at = chunks_at + (chunks as u64).next_multiple_of(LINE_WORDS);
        let hazards = if chunks > 0 { (self.members as u64).next_multiple_of(LINE_WORDS) } else { 0 };
        let entries_at = hazards_at + hazards;
        Ok(Layout {
            geometry: self,
            groups,
            hints_at,
            maps_at,
            map_words,
            homes_at,
            slots_at,
            first_container_slot,
            chunks,
            chunks_at,
            hazards_at,
            entries_at,
            wide: self.members > 64,
        })
    }
}

/// The layout of the slab region, in words from its start.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Layout {
    geometry: Geometry,
    groups: u32,
    hints_at: u64,
    maps_at: u64,
    map_words: u64,
    homes_at: u64,
    slots_at: u64,
    first_container_slot: u32,
    chunks: u32,
    chunks_at: u64,
    hazards_at: u64,
    entries_at: u64,
    wide: bool,
}

impl Layout {
    /// The geometry.
    #[must_use]
    pub const fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// Words of the whole region.
    #[must_use]
    pub const fn words(&self) -> u64 {
        self.entries_at + self.geometry.handles as u64 * self.entry_words()
    }

    /// Words at the start of the region that must be committed at creation: all but the entries.
    #[must_use]
    pub const fn control_words(&self) -> u64 {
        self.entries_at
    }

    /// Groups of handles; the last one may be smaller than 64.
    #[must_use]
    pub const fn groups(&self) -> u32 {
        self.groups
    }

    /// Words of the region that hold the entries of a run of groups: commit them before [`crate::Slab::extend`].
    #[must_use]
    pub fn group_range(&self, groups: Range<u32>) -> Range<u64> {
        self.entry_start(self.first_handle(groups.start))..self.entry_start(self.first_handle(groups.end))
    }

    /// The handles of a group.
    #[must_use]
    pub fn group_handles(&self, group: u32) -> Range<u32> {
        self.first_handle(group)..self.first_handle(group.saturating_add(1))
    }

    /// The handles of the first `groups` groups.
    #[must_use]
    pub const fn first_handle(&self, groups: u32) -> u32 {
        if groups >= self.groups { self.geometry.handles } else { groups * GROUP_HANDLES }
    }

    pub(crate) const fn handles(&self) -> u32 {
        self.geometry.handles
    }

    pub(crate) const fn members(&self) -> u16 {
        self.geometry.members
    }

    pub(crate) const fn generation_bits(&self) -> u32 {
        self.geometry.generation_bits as u32
    }

    #[inline]
    pub(crate) const fn slots(&self) -> u32 {
        self.geometry.slots
    }

    #[inline]
    pub(crate) const fn has_slots(&self) -> bool {
        self.slots_at > self.homes_at
    }

    /// Chunks of container slots.
    pub(crate) const fn chunks(&self) -> u32 {
        self.chunks
    }

    /// The home word of a handle of the layout; `None` without slots.
    pub(crate) const fn home_at(&self, index: u32) -> Option<u64> {
        if self.has_slots() { Some(self.homes_at + index as u64) } else { None }
    }

    /// The word of a slot of either sort.
    pub(crate) const fn slot_at(&self, slot: u32) -> Option<u64> {
        if slot < self.geometry.slots || self.chunk_of(slot).is_some() {
            Some(self.slots_at + slot as u64)
        } else {
            None
        }
    }

    /// The chunk of a container slot; `None` if it is none.
    pub(crate) const fn chunk_of(&self, slot: u32) -> Option<u32> {
        match slot.checked_sub(self.first_container_slot) {
            Some(at) if at / CHUNK_SLOTS < self.chunks => Some(at / CHUNK_SLOTS),
            _ => None,
        }
    }

    /// The slots of a chunk.
    pub(crate) const fn chunk_slots(&self, chunk: u32) -> Range<u32> {
        let first = self.first_container_slot + chunk * CHUNK_SLOTS;
        first..first + CHUNK_SLOTS
    }

    pub(crate) const fn chunk_at(&self, chunk: u32) -> u64 {
        self.chunks_at + chunk as u64
    }

    pub(crate) const fn hazard_at(&self, lease: u8) -> u64 {
        self.hazards_at + lease as u64
    }

    pub(crate) const fn entry_words(&self) -> u64 {
        if self.wide { 16 } else { 8 }
    }

    #[inline]
    pub(crate) const fn entry_start(&self, index: u32) -> u64 {
        self.entries_at + index as u64 * self.entry_words()
    }

    pub(crate) const fn hint_at(&self, group: u32) -> u64 {
        self.hints_at + group as u64
    }

    /// The word of a lease's group map that has the bit of `group`.
    pub(crate) const fn map_at(&self, lease: u8, group: u32) -> u64 {
        self.maps_at + lease as u64 * self.map_words + group as u64 / 64
    }

    /// Words of one group map that are in use.
    pub(crate) const fn map_used_words(&self) -> u32 {
        self.groups.div_ceil(64)
    }

    /// Bits of the handles that a group has; the last group may have fewer than 64.
    pub(crate) fn group_mask(&self, group: u32) -> u64 {
        let handles = self.group_handles(group).len();
        if handles >= 64 { u64::MAX } else { (1 << handles) - 1 }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn layout(handles: u32, members: u16) -> Layout {
        Geometry { handles, members, generation_bits: 36, slots: 0, container_slots: 0 }.layout().unwrap()
    }

    #[test]
    fn the_layout_text_is_the_one_in_the_layout_file() {
        assert!(
            include_str!("../../docs/layout.md").contains(LAYOUT),
            "docs/layout.md and slab::LAYOUT differ"
        );
    }

    #[test]
    fn parts_follow_each_other_on_lines() {
        for (handles, members) in [(1, 1), (32, 4), (64, 64), (65, 65), (4096, 64), (HANDLES_MAX, 256)] {
            let l = layout(handles, members);
            for at in [l.hints_at, l.maps_at, l.entries_at, l.map_words, l.entry_words()] {
                assert_eq!(at % LINE_WORDS, 0);
            }
            assert!(l.maps_at >= l.hints_at + u64::from(l.groups));
            assert!(l.map_at((l.members() - 1) as u8, l.groups - 1) < l.entries_at);
            assert_eq!(l.group_range(0..l.groups()), l.control_words()..l.words());
            let runs: u64 = (0..l.groups()).map(|g| l.group_range(g..g + 1)).map(|r| r.end - r.start).sum();
            assert_eq!(runs, l.words() - l.control_words());
            let handles_of_groups: usize = (0..l.groups()).map(|g| l.group_handles(g).len()).sum();
            assert_eq!(handles_of_groups as u32, handles);
        }
    }

    #[test]
    fn slots_lie_between_the_maps_and_the_entries() {
        let good = Geometry { handles: 65, members: 8, generation_bits: 36, slots: 0, container_slots: 0 };
        let without = good.layout().unwrap();
        assert_eq!((without.home_at(0), without.slot_at(0)), (None, None));
        let with = Geometry { slots: 9, ..good }.layout().unwrap();
        assert_eq!(with.home_at(0), Some(without.entry_start(0)));
        assert_eq!(with.slot_at(0), Some(without.entry_start(0) + 72));
        assert_eq!((with.slot_at(8), with.slot_at(9)), (with.slot_at(0).map(|at| at + 8), None));
        assert_eq!(with.entry_start(0), without.entry_start(0) + 72 + 16);
        assert_eq!(with.words() - with.control_words(), without.words() - without.control_words());
    }

    #[test]
    fn container_slots_follow_the_slots_in_chunks() {
        let good = Geometry { handles: 65, members: 9, generation_bits: 36, slots: 3, container_slots: 0 };
        let without = good.layout().unwrap();
        assert_eq!((without.chunks(), without.slot_at(3), without.chunk_of(8)), (0, None, None));
        let with = Geometry { container_slots: 65, ..good }.layout().unwrap();
        assert_eq!((with.chunks(), with.chunk_slots(0), with.chunk_slots(1)), (2, 8..72, 72..136));
        assert_eq!((with.slot_at(3), with.slot_at(7)), (None, None));
        assert_eq!(with.slot_at(8), with.slot_at(0).map(|at| at + 8));
        assert_eq!((with.chunk_of(71), with.chunk_of(72), with.chunk_of(136)), (Some(0), Some(1), None));
        assert_eq!(with.slot_at(135).map(|at| at + 1), Some(with.chunk_at(0)));
        assert_eq!((with.hazard_at(0), with.entry_start(0)), (with.chunk_at(8), with.hazard_at(16)));
        // Only container slots.
        let only = Geometry { slots: 0, container_slots: 64, ..good }.layout().unwrap();
        assert!(only.home_at(64).is_some() && only.has_slots());
        assert!(Geometry { container_slots: SLOTS_MAX + 1, ..good }.layout().is_err());
        assert!(Geometry { slots: 0, container_slots: 1, members: 255, ..good }.layout().is_err());
    }

    #[test]
    fn small_and_large_geometries_cost_what_they_should() {
        assert_eq!(layout(32, 4).words() * 8, 2432);
        assert_eq!(layout(32, 8).words() * 8, 2688);
        let large = layout(HANDLES_MAX, 64);
        assert!(large.control_words() * 8 <= 256 * 1024 + 64);
        assert_eq!((large.words() - large.control_words()) * 8, 64 << 20);
    }

    #[test]
    fn numbers_outside_their_ranges_are_refused() {
        let good = Geometry { handles: 64, members: 8, generation_bits: 36, slots: 0, container_slots: 0 };
        assert!(matches!(Geometry { handles: 0, ..good }.layout(), Err(GeometryError::Handles { found: 0 })));
        assert!(Geometry { handles: HANDLES_MAX + 1, ..good }.layout().is_err());
        assert!(Geometry { members: 0, ..good }.layout().is_err());
        assert!(Geometry { members: 257, ..good }.layout().is_err());
        assert!(Geometry { generation_bits: 3, ..good }.layout().is_err());
        assert!(Geometry { generation_bits: 37, ..good }.layout().is_err());
        assert!(Geometry { slots: SLOTS_MAX, ..good }.layout().is_ok());
        assert!(Geometry { slots: SLOTS_MAX + 1, ..good }.layout().is_err());
        assert!(Geometry { slots: 1, members: SLOT_MEMBERS_MAX, ..good }.layout().is_ok());
        assert!(Geometry { slots: 1, members: SLOT_MEMBERS_MAX + 1, ..good }.layout().is_err());
    }
}
