//! The layout of the scratch region.

use std::ops::Range;

use crate::class::{CLASSES_MAX, Divisor, GRANULE, LARGE, class_bytes, class_count, span_units};

/// The scratch region's part of the layout text; [docs/layout.md](https://docs.rs/tenure) holds the same lines.
pub const LAYOUT: &str = "\
scratch region, at the first unit-aligned (at least 4096) byte after the slab region
  control   64 B       [0] units ready (their control is committed) [1] how often a span without owner got room
                       [2] how often somebody had no room [3..8] zero
  dirty     8 B/64 u   bit = unit probably FREE
  clean     8 B/64 u   bit = unit probably UNBACKED
  units     8 B/unit   unit word: state:4 class:6 span units or distance:16 lease:12 incarnation:26
                       UNBACKED 0, FREE 1, HELD 2, BACKING 3, SPAN 4, TAIL 5, ABANDONED 6; class 63 = large
                       class 0 to 7: blocks of 16 to 128 B in steps of 16; then 4 a doubling, 8 from 2 to 8 KiB, 2 above 128 KiB
  lines     64 B/unit  [0] blocks of this span were freed by others [1] bit s: the unit's words of table s are committed
                       [2] block word of the large span that starts in the unit [3..8] zero
  tables    one for each s from 4 to log2(unit)-1, of 8 B for each 2^s bytes of data; never decommitted
                       the word of a small block of 2^s bytes or more, but fewer than 2^(s+1), is word offset>>s of table s
                       a word of at most 2^32: FREE, the granule (offset/16) of the next free block
                       LEASE: state:4 lease:12 incarnation:31 1 granule:16; ATTACHED: state:4 index:20 generation:36 1 0:3
                       PINNED: state:4 lease:12 0:44 1 0:3; REMOTE: state:4 0:56 1 0:3; LEASE 1, ATTACHED 2, PINNED 3, REMOTE 4
  data      units      payloads; a block's offset counts from here
each part starts at a multiple of 4096 B when the region has more than 64 units, of 64 B otherwise
";

/// The most units a region can have.
pub(crate) const UNITS_MAX: u64 = 1 << 20;
/// The most granules a region can have, which allows fewer units of more than 64 KiB.
const GRANULES_MAX: u64 = 1 << 32;
/// The tables of block words are numbered by log2 of a block's bytes, rounded down.
pub(crate) const TABLES: usize = 20;
/// The first one.
pub(crate) const FIRST_TABLE: u32 = GRANULE.trailing_zeros();
/// The longest span, in units: its length is 16 bits.
pub(crate) const SPAN_UNITS_MAX: u64 = (1 << 16) - 1;
/// The largest alignment a block can have, in bytes: mappings are page aligned.
pub const ALIGN_MAX: u32 = 4096;

const LINE: u64 = 64;
const PAGE: u64 = 4096;
/// Units whose control words are committed at a time.
const READY_STEP: u64 = 1024;

/// The sizes that the creator of a region chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Bytes of payload; rounded up to whole units.
    pub bytes: u64,
    /// Bytes of a unit: a power of two from 1 KiB to 1 MiB.
    pub unit_bytes: u32,
}

/// Why a geometry is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GeometryError {
    /// The unit is not a power of two in range.
    #[error("scratch unit: expected a power of two from 1024 to 1048576 bytes, found {found}")]
    Unit {
        /// The unit asked for, in bytes.
        found: u32,
    },
    /// Too small or too large.
    #[error("scratch: expected 1 byte to {max} bytes in units of {unit}, found {found}")]
    Bytes {
        /// The payload asked for, in bytes.
        found: u64,
        /// The most that units of this size allow, in bytes.
        max: u64,
        /// The unit, in bytes.
        unit: u32,
    },
}

/// Offsets computed from a [`Geometry`]. Word offsets count 64-bit words from the region's start, byte offsets bytes.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    pub(crate) units: u32,
    pub(crate) unit_shift: u32,
    pub(crate) classes: u8,
    pub(crate) dirty: usize,
    pub(crate) clean: usize,
    pub(crate) words: usize,
    pub(crate) lines: usize,
    /// By log2 of a block's bytes: where the table of its block words starts.
    pub(crate) tables: [usize; TABLES],
    pub(crate) data_bytes_at: u64,
    pub(crate) divisors: [Divisor; CLASSES_MAX],
    /// Blocks and units per span of each small class.
    pub(crate) spans: [(u32, u8); CLASSES_MAX],
}

impl Geometry {
    /// Computes the layout.
    ///
    /// # Errors
    ///
    /// [`GeometryError`] names the value that is out of range.
    pub fn layout(&self) -> Result<Layout, GeometryError> {
        let unit = u64::from(self.unit_bytes);
        if !self.unit_bytes.is_power_of_two() || !(1 << 10..=1 << 20).contains(&self.unit_bytes) {
            return Err(GeometryError::Unit { found: self.unit_bytes });
        }
        let max = UNITS_MAX.min(GRANULES_MAX / (unit / u64::from(GRANULE))) * unit;
        if self.bytes == 0 || self.bytes > max {
            return Err(GeometryError::Bytes { found: self.bytes, max, unit: self.unit_bytes });
        }
        let units = self.bytes.div_ceil(unit);
        let align = if units > 64 { PAGE } else { LINE };
        let place = |at: &mut u64, bytes: u64| {
            let here = *at;
            *at = (here + bytes).next_multiple_of(align);
            (here / 8) as usize
        };
        let mut at = LINE.next_multiple_of(align);
        let dirty = place(&mut at, units.div_ceil(64) * 8);
        let clean = place(&mut at, units.div_ceil(64) * 8);
        let words = place(&mut at, units * 8);
        let lines = place(&mut at, units * LINE);
        let unit_shift = self.unit_bytes.trailing_zeros();
        let mut tables = [0; TABLES];
        for table in FIRST_TABLE..unit_shift {
            tables[table as usize] = place(&mut at, ((units * unit) >> table) * 8);
        }
        let data_bytes_at = at.next_multiple_of(unit.clamp(LINE, PAGE));
        let classes = class_count(self.unit_bytes);
        let mut divisors = [Divisor::NONE; CLASSES_MAX];
        let mut spans = [(0, 0); CLASSES_MAX];
        for class in 0..classes {
            let length = span_units(class, self.unit_bytes);
            let blocks = length * self.unit_bytes / class_bytes(class);
            divisors[usize::from(class)] = Divisor::new(class_bytes(class), blocks);
            spans[usize::from(class)] = (blocks, length as u8);
        }
        Ok(Layout {
            units: units as u32,
            unit_shift,
            classes,
            dirty,
            clean,
            words,
            lines,
            tables,
            data_bytes_at,
            divisors,
            spans,
        })
    }
}

impl Layout {
    /// Bytes of the whole region.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.data_bytes_at + self.capacity()
    }

    /// Bytes of payload.
    #[must_use]
    pub fn capacity(&self) -> u64 {
        u64::from(self.units) << self.unit_shift
    }

    /// The offset of the payloads, in bytes; everything before it is words.
    #[must_use]
    pub fn data_at(&self) -> u64 {
        self.data_bytes_at
    }

    /// Bytes of a unit.
    #[must_use]
    pub fn unit_bytes(&self) -> u32 {
        1 << self.unit_shift
    }

    /// Byte ranges that must be committed before [`Scratch::init`](crate::Scratch::init): everything for a region of at
    /// most 64 units, else the control and hint words.
    #[must_use]
    pub fn commit_at_creation(&self) -> Range<u64> {
        if self.eager() { 0..self.bytes() } else { 0..self.words as u64 * 8 }
    }

    /// Whether all memory is committed at creation.
    pub(crate) fn eager(&self) -> bool {
        self.units <= 64
    }

    /// The number of ready units after `ready`, and the byte ranges to commit for it.
    pub(crate) fn next_ready(&self, ready: u32) -> (u32, [Range<u64>; 2]) {
        let next = (u64::from(ready) + READY_STEP).min(u64::from(self.units));
        let (from, to) = (u64::from(ready), next);
        let words = self.words as u64 * 8;
        let lines = self.lines as u64 * 8;
        (next as u32, [words + from * 8..words + to * 8, lines + from * LINE..lines + to * LINE])
    }

    /// The payload bytes of a run of units.
    pub(crate) fn data_range(&self, unit: u32, units: u32) -> Range<u64> {
        let at = |unit: u64| self.data_bytes_at + (unit << self.unit_shift);
        at(u64::from(unit))..at(u64::from(unit) + u64::from(units))
    }

    /// The indices of the words of table `table` for the data of `units` units.
    pub(crate) fn table_words(&self, table: u32, unit: u32, units: u32) -> Range<usize> {
        let at = |unit: u32| self.tables[table as usize] + ((unit as usize) << (self.unit_shift - table));
        at(unit)..at(unit + units)
    }

    /// The bits of all tables.
    pub(crate) fn all_tables(&self) -> u64 {
        (1 << self.unit_shift) - (1 << FIRST_TABLE)
    }

    /// The table with the words of the blocks of a small class.
    pub(crate) fn table_of(class: u8) -> u32 {
        class_bytes(class).ilog2()
    }

    /// Bytes of a block in a span of `class` and `length` units.
    pub(crate) fn block_bytes(&self, class: u8, length: u32) -> u64 {
        if class == LARGE { u64::from(length) << self.unit_shift } else { u64::from(class_bytes(class)) }
    }

    /// Blocks in a span of `class`, which is small and valid, or large.
    pub(crate) fn blocks(&self, class: u8) -> u32 {
        if class == LARGE { 1 } else { self.spans[usize::from(class)].0 }
    }

    /// Units that hold `bytes`.
    pub(crate) fn units_for(&self, bytes: u64) -> u32 {
        ((bytes + u64::from(self.unit_bytes() - 1)) >> self.unit_shift) as u32
    }

    /// The largest block in bytes.
    #[must_use]
    pub fn largest(&self) -> u64 {
        u64::from(self.units).min(SPAN_UNITS_MAX) << self.unit_shift
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_geometries_are_refused_by_name() {
        let bad = |bytes, unit_bytes| Geometry { bytes, unit_bytes }.layout().unwrap_err();
        assert_eq!(bad(1 << 20, 3000), GeometryError::Unit { found: 3000 });
        assert_eq!(bad(1 << 20, 512), GeometryError::Unit { found: 512 });
        assert_eq!(bad(1 << 20, 1 << 21), GeometryError::Unit { found: 1 << 21 });
        assert!(matches!(bad(0, 1 << 16), GeometryError::Bytes { found: 0, .. }));
        for unit_bytes in [1 << 16, 1 << 17, 1 << 20] {
            assert!(matches!(
                bad((64 << 30) + 1, unit_bytes),
                GeometryError::Bytes { max: 0x10_0000_0000, .. }
            ));
            let layout = Geometry { bytes: 64 << 30, unit_bytes }.layout().unwrap();
            assert_eq!(layout.capacity() / u64::from(GRANULE), GRANULES_MAX);
        }
        assert!(matches!(bad((1 << 30) + 1, 1 << 10), GeometryError::Bytes { max: 0x4000_0000, .. }));
    }

    #[test]
    fn parts_do_not_overlap_and_hold_what_they_must() {
        for (bytes, unit_bytes) in
            [(16 << 10, 2 << 10), (64 << 16, 1 << 16), (1 << 30, 1 << 16), (64 << 30, 1 << 16)]
        {
            let l = Geometry { bytes, unit_bytes }.layout().unwrap();
            let units = l.units as usize;
            assert!(l.dirty >= 8 && l.clean >= l.dirty + units.div_ceil(64));
            assert!(l.words >= l.clean + units.div_ceil(64) && l.lines >= l.words + units);
            let mut end = l.lines + units * 8;
            for table in FIRST_TABLE..unit_bytes.ilog2() {
                let words = l.table_words(table, 0, l.units);
                assert!(words.start >= end && words.len() as u64 == l.capacity() >> table);
                end = words.end;
            }
            assert!(l.data_bytes_at >= end as u64 * 8);
            assert!(l.capacity() >= bytes && l.block_bytes(LARGE, 3) == 3 * u64::from(unit_bytes));
        }
    }

    #[test]
    fn layout_text_is_the_documented_one() {
        assert!(
            include_str!("../../docs/layout.md").contains(LAYOUT),
            "docs/layout.md differs from scratch-alloc's LAYOUT"
        );
    }
}
