//! Size classes: 16-byte steps up to 128 B, then four per doubling up to half a unit.
//!
//! The spacing is jemalloc's (Evans 2006). Worst-case internal waste: 15 bytes up to 128 B, under 20 % above.

/// Bytes of the smallest block, and the step and alignment of all of them.
pub const GRANULE: u32 = 16;

/// The class of blocks that are whole runs of units.
pub const LARGE: u8 = 63;

/// The most small classes any geometry has (units of 1 MiB).
pub const CLASSES_MAX: usize = 56;

/// Blocks up to this size are spaced by [`GRANULE`].
const STEPPED_MAX: u32 = 128;
const STEPPED: u32 = STEPPED_MAX / GRANULE;

/// Bytes of a block of small class `class`.
#[must_use]
pub const fn class_bytes(class: u8) -> u32 {
    let class = class as u32;
    if class < STEPPED {
        return (class + 1) * GRANULE;
    }
    let above = class - STEPPED;
    let doubling = above / 4;
    (STEPPED_MAX << doubling) / 4 * (5 + above % 4)
}

/// The smallest class whose blocks hold `bytes`; the caller has checked that some small class does.
#[inline]
#[must_use]
pub const fn class_of(bytes: u32) -> u8 {
    if bytes <= STEPPED_MAX {
        // Zero bytes take the smallest class too.
        return (bytes.saturating_sub(1) / GRANULE) as u8;
    }
    let last = bytes - 1;
    let log2 = 31 - last.leading_zeros();
    let quarter = (last >> (log2 - 2)) & 3;
    (STEPPED + (log2 - 7) * 4 + quarter) as u8
}

/// Number of small classes when units have `unit_bytes`: the largest small block is half a unit.
#[must_use]
pub const fn class_count(unit_bytes: u32) -> u8 {
    class_of(unit_bytes / 2) + 1
}

/// Units in a span of small class `class`: the fewest of 1, 2, 4, 8 that leave at most an eighth of the span unused.
#[must_use]
pub const fn span_units(class: u8, unit_bytes: u32) -> u32 {
    let block = class_bytes(class);
    let mut units = 1;
    while units < 8 {
        let span = units * unit_bytes;
        if span % block <= span / 8 {
            return units;
        }
        units *= 2;
    }
    units
}

/// What division by a class's size needs on the hot path.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Divisor {
    /// ceil(2^32 / (bytes / GRANULE))
    reciprocal: u64,
    bytes: u32,
}

impl Divisor {
    pub(crate) const fn new(bytes: u32) -> Self {
        let granules = (bytes / GRANULE) as u64;
        Self { reciprocal: (1u64 << 32).div_ceil(granules), bytes }
    }

    /// The index of the block that starts at `from_span` bytes into its span, if one starts exactly there.
    ///
    /// Exact because spans are at most 8 units of 1 MiB: fewer than 2^19 granules, divided by fewer than 2^15
    /// (Granlund and Montgomery 1994: the error `granules * divisor` stays below 2^32 for blocks of up to 2^13 granules;
    /// larger ones fail the multiplication check below instead of being mistaken).
    #[inline]
    pub(crate) const fn exact(self, from_span: u32) -> Option<u32> {
        let index = (((from_span / GRANULE) as u64 * self.reciprocal) >> 32) as u32;
        if index as u64 * self.bytes as u64 == from_span as u64 { Some(index) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_increasing_multiples_of_the_granule() {
        let mut before = 0;
        for class in 0..class_count(1 << 20) {
            let bytes = class_bytes(class);
            assert!(
                bytes > before && bytes.is_multiple_of(GRANULE),
                "class {class} has {bytes} after {before}"
            );
            before = bytes;
        }
        assert_eq!(before, 1 << 19);
        assert!(usize::from(class_count(1 << 20)) <= CLASSES_MAX && class_count(1 << 20) < LARGE);
    }

    #[test]
    fn class_of_is_the_smallest_that_fits_and_wastes_what_is_promised() {
        for bytes in 1..=(1u32 << 19) {
            let class = class_of(bytes);
            let block = class_bytes(class);
            assert!(block >= bytes);
            assert!(class == 0 || class_bytes(class - 1) < bytes, "{bytes} fits below class {class}");
            if bytes <= 128 {
                assert!(block - bytes <= 15);
            } else {
                assert!(
                    u64::from(block - bytes) * 5 < u64::from(block),
                    "{bytes} wastes too much of {block}"
                );
            }
        }
        assert_eq!(class_of(0), 0);
    }

    #[test]
    fn division_finds_exactly_the_block_starts() {
        for unit in [1 << 10, 1 << 16, 1 << 20] {
            for class in 0..class_count(unit) {
                let bytes = class_bytes(class);
                let divisor = Divisor::new(bytes);
                let span = span_units(class, unit) * unit;
                let step = if cfg!(miri) { 4096 + GRANULE } else { GRANULE };
                for from in (0..span).step_by(step as usize) {
                    let expected = (from % bytes == 0).then_some(from / bytes);
                    assert_eq!(divisor.exact(from), expected, "{from} in class {class} of {bytes}");
                }
                assert_eq!(divisor.exact(bytes + 1), None);
            }
        }
    }

    #[test]
    fn spans_leave_at_most_an_eighth_and_fit_the_table() {
        for unit in [1 << 10, 1 << 11, 1 << 16, 1 << 20] {
            for class in 0..class_count(unit) {
                let span = span_units(class, unit) * unit;
                let block = class_bytes(class);
                assert!(span % block <= span / 8, "class {class}: {} of {span}", span % block);
                assert!(span / block <= unit / GRANULE);
            }
        }
    }
}
