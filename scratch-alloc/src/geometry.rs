//! The layout of the scratch region.

use std::ops::Range;

use crate::class::{CLASSES_MAX, Divisor, GRANULE, LARGE, class_bytes, class_count, span_units};

/// The scratch region's part of the layout text; [docs/layout.md](https://docs.rs/tenure) holds the same lines.
pub const LAYOUT: &str = "\
scratch region, at the first unit-aligned (at least 4096) byte after the slab region
  control   64 B       [0] units ready (their control is committed) [1] how often a span without owner got room [2..8] zero
  dirty     8 B/64 u   bit = unit probably FREE
  clean     8 B/64 u   bit = unit probably UNBACKED
  units     8 B/unit   unit word: state:4 class:6 span units or distance:16 lease:8 incarnation:30
                       UNBACKED 0, FREE 1, HELD 2, BACKING 3, SPAN 4, TAIL 5, ABANDONED 6; class 63 = large
  lines     64 B/unit  [0] blocks of this span were freed by others [1] committed words of its table
                       [2] block word of the large span that starts in the unit [3..8] zero
  tables    unit/2     one block word per block of the small span that starts in the unit; never decommitted
                       LEASE: state:8 lease:8 incarnation:48; ATTACHED: state:8 index:20 generation:36; PINNED: state:8 lease:8
                       FREE 0, LEASE 1, ATTACHED 2, PINNED 3, REMOTE 4
  data      units      payloads; a block's offset counts from here
each part starts at a multiple of 4096 B when the region has more than 64 units, of 64 B otherwise
";

/// The most units a region can have. Block slots are 32 bits as well, which allows fewer units of more than 64 KiB.
pub const UNITS_MAX: u64 = 1 << 20;
/// The most block slots a region can have.
const SLOTS_MAX: u64 = 1 << 32;
/// The longest span, in units: its length is 16 bits.
pub const SPAN_UNITS_MAX: u64 = (1 << 16) - 1;
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
    pub(crate) table_shift: u32,
    pub(crate) classes: u8,
    pub(crate) dirty: usize,
    pub(crate) clean: usize,
    pub(crate) words: usize,
    pub(crate) lines: usize,
    pub(crate) tables: usize,
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
        let max = UNITS_MAX.min(SLOTS_MAX / (unit / u64::from(GRANULE))) * unit;
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
        let tables = place(&mut at, units * unit / 2);
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
            unit_shift: self.unit_bytes.trailing_zeros(),
            table_shift: (self.unit_bytes / GRANULE).trailing_zeros(),
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

    /// The bytes of the first `words` words of a unit's table.
    pub(crate) fn table_range(&self, unit: u32, words: u32) -> Range<u64> {
        let at = self.tables as u64 * 8 + (u64::from(unit) << (self.unit_shift - 1));
        at..at + u64::from(words) * 8
    }

    /// Words in the table of one unit.
    pub(crate) fn table_words(&self) -> u32 {
        1 << self.table_shift
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
            assert_eq!(u64::from(layout.units) << layout.table_shift, SLOTS_MAX);
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
            assert!(l.tables >= l.lines + units * 8);
            assert!(l.data_bytes_at >= l.tables as u64 * 8 + u64::from(l.units) * u64::from(unit_bytes) / 2);
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
