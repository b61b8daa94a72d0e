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

/// Requests up to this size find their class in a table: no branch to mispredict where sizes mix.
const LOOKED_UP_MAX: u32 = 1024;

const LOOKED_UP: [u8; (LOOKED_UP_MAX / GRANULE) as usize + 1] = {
    let mut table = [0; (LOOKED_UP_MAX / GRANULE) as usize + 1];
    let mut granules = 0;
    while granules < table.len() {
        table[granules] = class_computed(granules as u32 * GRANULE);
        granules += 1;
    }
    table
};

/// The smallest class whose blocks hold `bytes`; the caller has checked that some small class does.
#[inline]
#[must_use]
pub const fn class_of(bytes: u32) -> u8 {
    if bytes <= LOOKED_UP_MAX { LOOKED_UP[bytes.div_ceil(GRANULE) as usize] } else { class_computed(bytes) }
}

const fn class_computed(bytes: u32) -> u8 {
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

/// Division by a class's size, for the hot path.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Divisor {
    /// ceil(2^64 / bytes)
    reciprocal: u64,
}

impl Divisor {
    pub(crate) const fn new(bytes: u32) -> Self {
        Self { reciprocal: u64::MAX / bytes as u64 + 1 }
    }

    /// The index of the block that starts at `from_span` bytes into its span, if one starts exactly there.
    ///
    /// One multiplication gives the quotient above and the scaled remainder below; both are exact for 32-bit operands
    /// (Lemire, Kaser and Kurz 2019, Faster remainder by direct computation).
    #[inline]
    pub(crate) const fn exact(self, from_span: u32) -> Option<u32> {
        let product = self.reciprocal as u128 * from_span as u128;
        if (product as u64) < self.reciprocal { Some((product >> 64) as u32) } else { None }
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
