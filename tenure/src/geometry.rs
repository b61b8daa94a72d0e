//! The geometry, which is chosen at creation, and the places of the regions in the data area.

use std::ops::Range;

use tenure_core::MEMBERS_MAX;
use tenure_scratch_alloc as scratch;
use tenure_segment::layout::{FNV_START, fnv1a};
use tenure_segment::{Permissions, Spec};
use tenure_slab as slab;

use crate::error::OpenError;

/// The sizes of a space. Its creator chooses them by [`Options`](crate::Options); a process that attaches reads them.
///
/// ```
/// # use tenure::Geometry;
/// let geometry = Geometry::default();
/// assert_eq!((geometry.members, geometry.handles, geometry.scratch_bytes), (64, 65_536, 1 << 30));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// The largest number of members at a time: 1 to 256.
    pub members: u16,
    /// The number of handles: 1 to 2^20.
    pub handles: u32,
    /// Bits of a handle's generation, 4 to 36: after `1 << generation_bits` uses an index is retired.
    pub generation_bits: u8,
    /// Bytes of scratch memory; rounded up to whole units.
    pub scratch_bytes: u64,
    /// Bytes of a scratch unit: a power of two from 1 KiB to 1 MiB.
    pub unit_bytes: u32,
    /// The number of slots: 0 to 2^20. With slots, at most 254 members.
    pub slots: u32,
    /// The number of slots for what queues and maps hold: 0 to 2^20, rounded up to a multiple of 64. With any, at most 254 members.
    pub container_slots: u32,
}

impl Default for Geometry {
    /// 64 members, 65,536 handles, 1 GiB of scratch in units of 64 KiB, no slots. The segment is sparse: only the bytes in use cost memory.
    fn default() -> Self {
        Self {
            members: 64,
            handles: 1 << 16,
            generation_bits: 36,
            scratch_bytes: 1 << 30,
            unit_bytes: 64 << 10,
            slots: 0,
            container_slots: 0,
        }
    }
}

impl Geometry {
    /// The geometry for embedded use: 4 members, 32 handles, 8 KiB of scratch; the whole segment is under 32 KiB.
    #[must_use]
    pub const fn tiny() -> Self {
        Self {
            members: 4,
            handles: 32,
            generation_bits: 36,
            scratch_bytes: 8 << 10,
            unit_bytes: 1 << 10,
            slots: 0,
            container_slots: 0,
        }
    }

    fn to_words(self) -> [u64; 8] {
        let Self { members, handles, generation_bits, scratch_bytes, unit_bytes, slots, container_slots } =
            self;
        let (members, handles, bits) = (members.into(), handles.into(), generation_bits.into());
        [members, handles, bits, scratch_bytes, unit_bytes.into(), slots.into(), container_slots.into(), 0]
    }

    fn from_words(words: [u64; 8]) -> Option<Self> {
        let [members, handles, generation_bits, scratch_bytes, unit_bytes, slots, container_slots, _] = words;
        Some(Self {
            members: members.try_into().ok()?,
            handles: handles.try_into().ok()?,
            generation_bits: generation_bits.try_into().ok()?,
            scratch_bytes,
            unit_bytes: unit_bytes.try_into().ok()?,
            slots: slots.try_into().ok()?,
            container_slots: container_slots.try_into().ok()?,
        })
    }
}

/// A geometry with its layouts.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) geometry: Geometry,
    pub(crate) slab: slab::Layout,
    /// Right after the slab region.
    pub(crate) names: slab::NamesLayout,
    pub(crate) scratch: scratch::Layout,
    /// The range of the MCAS descriptors, one for each lease, right after the names; in words from the data area's start.
    pub(crate) mcas_descriptors: Range<u64>,
    /// The start of the scratch region, in bytes from the data area's start; the slab region is at 0.
    pub(crate) scratch_at: u64,
    pub(crate) data_area_bytes: u64,
}

const PAGE: u64 = 4096;
/// Words of the MCAS descriptor of one lease, also in a build without the feature `objects`; see [`OBJECTS_LAYOUT`].
const MCAS_DESCRIPTOR_WORDS: u64 = 65;
#[cfg(feature = "objects")]
const _: () = assert!(MCAS_DESCRIPTOR_WORDS == tenure_wait::MCAS_DESCRIPTOR_WORDS as u64);
/// Groups of handles that are committed at creation, and the fewest of each later step.
const COMMIT_GROUPS: u32 = 16;

/// The layout of the payloads of the system's own objects; part of the layout hash, also in a build without the feature `objects`.
#[doc(hidden)]
pub const OBJECTS_LAYOUT: &str = "\
handles of the system's own kinds have bit 62 of the kind set, and bit 63 not; those that own container slots have bit 61 set as well
kinds       1 mutex, 2 manual event, 3 automatic event, 4 semaphore, 5 process, 6 thread, 7 descriptor, 8 file share, 9 locked value, 10 versioned value,
            11 read-write lock, 14 shared value, 16 map, 17 queue, 18 record of a map, 19 condition variable, 20 permits
map         state words 0 and 1 key of SipHash-1-3; a word zero; the bucket of a key is the slot first + hash mod (number of slots), a power of two
            word 4 the bound in bytes, or 0; 5 bytes in use; 6 the hand; 7 zero; then for each bucket 4 B, a guess at the granule (offset/16) of its
            record; with a bound then 1 B for each bucket, which of its keys were looked at
pair        of a record: one word { value bytes:32 | expires:1 | key bytes:31 }; if it expires, its deadline in nanoseconds of CLOCK_BOOTTIME;
            the key; the value; each padded with zeros to whole words
container   word 2 how many container slots it owns, in whole chunks; word 3 the number of the first one
state       first 4 words of the payload; of kinds 1 to 6 and 9 to 11 the low half of word 0 is a wait word, bit 31 = somebody may be asleep
reserved    word 0 of kinds 1, 3 and 4: { 1:1 | ticket, upper:31 | 0:1 | ticket, lower:17 | entry:6 | lease:8 }, or its upper half is zero
record      65 words a lease, after the names: { ticket:48 | 0:14 | state:2 }, 1 OPEN, 2 TAKEN, 3 WITHDRAWN; 64 entries { after:32 | before:32 }
mutex       { lease + 1:9 | thread:22 }, 0 free, 1 abandoned; word 1 how often locked again; word 2 bit 0 recursive
locked      begins as a mutex; word 3 1 = damaged; word 4 the kind of its type; word 5 bytes of the value; from word 6 the value
versioned   begins as a mutex, of its writers; word 3 version; word 4 and 5 as of a locked value; from word 6 two copies of the value,
            each a multiple of 16 B; copy version % 2 is the value
shared      word 0 the kind of its type; word 1 bytes of the value; word 2 its alignment; the value at the first multiple of that from word 4
read-write  begins as a mutex, of its writers; from word 8 on 8 words a lease: the readers' word { waiting:1 | readers:31 }, the rest zero
events      { signalled:1 | generation:30 }; the generation of an automatic one is zero
semaphore   { count:31 }; word 1 maximum
condition   the low half of word 0 { sequence:31 | waiting:1 }; the rest zero
queue       the low halves of words 0 and 1 the same, of those that pop and those that push
permits     word 0 as of a condition variable; word 1 their number; from word 8 on one word each: { version:48 | lease + 1:16 }, lease + 1 0 free
process     { ended:1 | known:1 | announced:2 | zero:11 | status:16 }, above it the code announced:32; announced 1 being written, 2 valid
            word 1 number; word 2 start in ticks; word 3 { inode of the process:32 | inode of the pid namespace:32 }; threads the same
";

/// The layout of the payloads of descriptors and file shares, also in a build without the feature `objects`. docs/layout.md has the
/// same text, and a test compares the two.
#[doc(hidden)]
pub const FILES_LAYOUT: &str = "\
descriptors and file shares: the payload of a handle of that kind, in words of 8 bytes, always in a block
descriptor  device, inode, tag, zero; then 2 words a lease: claim, place
claim       { incarnation:32 | number + 1:32 }, lower half zero for none; counts while the lease has the incarnation, lower 32 bits of it
place       { pid namespace:32 | pid:32 }; the namespace as the inode of /proc/self/ns/pid, zero for unknown
file share  device, inode, zero, zero; then 2 words a lease: modes, incarnation; the modes count while the lease has the incarnation
modes       { ticket:42 | by:8 | state:2 | asked:6 | entered:6 }  0 SETTLED, 1 PENDING, 2 REFUSED, 3 KICKED
            when REFUSED, asked is what lease by had entered
entered     { denied:3 | access:3 }, also asked; bits: 1 read, 2 write, 4 delete
            the name of a file share: 0xff, \"file\", device, inode, 8 bytes each, little endian
";

/// The hash of the layout texts of this crate and of the crates below: of all bytes of a data area.
pub(crate) const LAYOUT_HASH: u64 = {
    let handles = fnv1a(fnv1a(FNV_START, slab::LAYOUT.as_bytes()), slab::NAMES_LAYOUT.as_bytes());
    let objects = fnv1a(fnv1a(handles, scratch::LAYOUT.as_bytes()), OBJECTS_LAYOUT.as_bytes());
    fnv1a(objects, FILES_LAYOUT.as_bytes())
};

impl Plan {
    pub(crate) fn new(geometry: Geometry) -> Result<Self, OpenError> {
        let Geometry { members, handles, generation_bits, scratch_bytes, unit_bytes, slots, container_slots } =
            geometry;
        if members == 0 || members > MEMBERS_MAX {
            return Err(OpenError::Members { found: members });
        }
        let slab = slab::Geometry { handles, members, generation_bits, slots, container_slots }.layout()?;
        let scratch = scratch::Geometry { bytes: scratch_bytes, unit_bytes }.layout()?;
        let names = slab::NamesLayout::for_handles(handles);
        let align = u64::from(unit_bytes).min(PAGE);
        let mcas_descriptors_at = slab.words() + names.words();
        let mcas_descriptors =
            mcas_descriptors_at..mcas_descriptors_at + MCAS_DESCRIPTOR_WORDS * u64::from(members);
        let scratch_at = (mcas_descriptors.end * 8).next_multiple_of(align);
        let data_area_bytes = (scratch_at + scratch.bytes()).next_multiple_of(PAGE);
        Ok(Self { geometry, slab, names, mcas_descriptors, scratch, scratch_at, data_area_bytes })
    }

    /// The plan of a segment that exists.
    pub(crate) fn of(words: [u64; 8], data_area_bytes: u64) -> Result<Self, OpenError> {
        let corrupt = || OpenError::Corrupt { what: "geometry", found: words.to_vec() };
        let plan = Self::new(Geometry::from_words(words).ok_or_else(corrupt)?)?;
        if plan.data_area_bytes != data_area_bytes {
            return Err(OpenError::Corrupt {
                what: "data area length",
                found: vec![plan.data_area_bytes, data_area_bytes],
            });
        }
        Ok(plan)
    }

    pub(crate) fn spec(&self) -> Spec {
        let control = 0..self.slab.control_words() * 8;
        let entries = self.slab.group_range(0..self.first_groups());
        let names = self.slab.words()..self.slab.words() + self.names.control_words();
        let scratch = self.scratch.commit_at_creation();
        let commit = vec![
            control,
            entries.start * 8..entries.end * 8,
            names.start * 8..names.end * 8,
            self.mcas_descriptors.start * 8..self.mcas_descriptors.end * 8,
            self.scratch_at + scratch.start..self.scratch_at + scratch.end,
        ];
        Spec {
            members: self.geometry.members,
            data_area_bytes: self.data_area_bytes,
            geometry: self.geometry.to_words(),
            layout_hash: LAYOUT_HASH,
            permissions: Permissions::default(),
            commit,
        }
    }

    /// Groups of handles that are committed at creation.
    pub(crate) fn first_groups(&self) -> u32 {
        COMMIT_GROUPS.min(self.slab.groups())
    }

    /// The number of groups to commit next, after `committed`: half as many more, so that a million handles take about a dozen steps.
    pub(crate) fn next_groups(&self, committed: u32) -> u32 {
        committed.saturating_add((committed / 2).max(COMMIT_GROUPS)).min(self.slab.groups())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_survive_the_header() {
        for geometry in [
            Geometry::default(),
            Geometry::tiny(),
            Geometry { slots: 9, container_slots: 64, ..Geometry::tiny() },
        ] {
            let plan = Plan::new(geometry).unwrap();
            let again = Plan::of(geometry.to_words(), plan.data_area_bytes).unwrap();
            assert_eq!(again.geometry, geometry);
            assert!(plan.spec().commit.iter().all(|range| range.end <= plan.data_area_bytes));
        }
    }

    #[test]
    fn impossible_geometries_are_refused() {
        let bad = |change: fn(&mut Geometry)| {
            let mut geometry = Geometry::default();
            change(&mut geometry);
            Plan::new(geometry).unwrap_err().to_string()
        };
        assert!(bad(|g| g.members = 0).contains("found 0"));
        assert!(bad(|g| g.members = 257).contains("found 257"));
        assert!(bad(|g| g.handles = 0).contains("found 0"));
        assert!(bad(|g| g.handles = (1 << 20) + 1).contains("1048577"));
        assert!(bad(|g| g.generation_bits = 37).contains("37"));
        assert!(bad(|g| g.scratch_bytes = 0).contains("found 0"));
        assert!(bad(|g| g.slots = (1 << 20) + 1).contains("1048577"));
        assert!(bad(|g| (g.slots, g.members) = (1, 255)).contains("255"));
        assert!(bad(|g| g.unit_bytes = 5000).contains("5000"));
        let words = Geometry::default().to_words();
        assert!(matches!(Plan::of(words, 4096), Err(OpenError::Corrupt { what: "data area length", .. })));
    }
}
