//! Size classes: 16-byte steps up to 128 B, then four per doubling, with two exceptions: eight from 2 to 8 KiB, where programs have
//! pages with a header, and two above 128 KiB.
//!
//! The spacing is jemalloc's (Evans 2006) but for the exceptions. Worst-case internal waste: 15 bytes up to 128 B, under 20 % above, under
//! a third above 128 KiB.

/// Bytes of the smallest block, and the step and alignment of all blocks.
pub const GRANULE: u32 = 16;

/// The class of blocks that are whole runs of units.
pub(crate) const LARGE: u8 = 63;

/// The most small classes any geometry has (units of 1 MiB).
pub(crate) const CLASSES_MAX: usize = 60;

/// Blocks up to this size are spaced by [`GRANULE`].
const STEPPED_MAX: u32 = 128;
const STEPPED: u32 = STEPPED_MAX / GRANULE;

/// log2 of the number of classes above `2^log2` bytes, up to the double.
const fn step_bits(log2: u32) -> u32 {
    match log2 {
        11 | 12 => 3,
        17.. => 1,
        _ => 2,
    }
}

/// The first class above `2^log2` bytes, by log2.
const FIRST: [u8; 20] = {
    let mut first = [0; 20];
    let (mut class, mut log2) = (STEPPED, STEPPED_MAX.ilog2());
    while log2 < 20 {
        first[log2 as usize] = class as u8;
        class += 1 << step_bits(log2);
        log2 += 1;
    }
    first
};

/// Bytes of the blocks, by class.
const BYTES: [u32; CLASSES_MAX] = {
    let mut bytes = [0; CLASSES_MAX];
    let mut class = 0;
    while class < CLASSES_MAX as u32 {
        bytes[class as usize] = if class < STEPPED {
            (class + 1) * GRANULE
        } else {
            let mut log2 = STEPPED_MAX.ilog2();
            while log2 < 19 && FIRST[log2 as usize + 1] as u32 <= class {
                log2 += 1;
            }
            (1 << log2) + ((class - FIRST[log2 as usize] as u32 + 1) << (log2 - step_bits(log2)))
        };
        class += 1;
    }
    bytes
};

/// Bytes of a block of small class `class`.
#[must_use]
pub(crate) const fn class_bytes(class: u8) -> u32 {
    BYTES[class as usize]
}

/// Requests of up to this many bytes find their class in a table: no branch that mixed sizes mispredict.
pub(crate) const LOOKED_UP: usize = 1024;

/// The class of blocks that hold `last + 1` bytes, plus one, by `last / GRANULE`.
const TABLE: [u8; LOOKED_UP / GRANULE as usize] = {
    let mut table = [0; LOOKED_UP / GRANULE as usize];
    let mut granules = 0;
    while granules < table.len() {
        table[granules] = class_of((granules as u32 + 1) * GRANULE) + 1;
        granules += 1;
    }
    table
};

/// The smallest class whose blocks hold `last + 1` bytes, plus one, if `last` is below [`LOOKED_UP`]. The geometry may
/// have no such class.
#[inline]
pub(crate) const fn class_looked_up(last: usize) -> Option<u8> {
    if last < LOOKED_UP { Some(TABLE[last / GRANULE as usize]) } else { None }
}

/// The smallest class whose blocks hold `bytes`; the caller has checked that some small class does.
#[must_use]
pub(crate) const fn class_of(bytes: u32) -> u8 {
    if bytes <= STEPPED_MAX {
        // Zero bytes take the smallest class too.
        return (bytes.saturating_sub(1) / GRANULE) as u8;
    }
    let last = bytes - 1;
    let log2 = last.ilog2();
    let bits = step_bits(log2);
    FIRST[log2 as usize] + (last >> (log2 - bits) & ((1 << bits) - 1)) as u8
}

/// Number of small classes when units have `unit_bytes`: the largest small block is half a unit.
#[must_use]
pub(crate) const fn class_count(unit_bytes: u32) -> u8 {
    class_of(unit_bytes / 2) + 1
}

/// Units in a span of small class `class`: the fewest of 1, 2, 4, 8 that leave at most an eighth of the span unused.
#[must_use]
pub(crate) const fn span_units(class: u8, unit_bytes: u32) -> u32 {
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

/// Finds blocks in a span, for the hot path: division by a block's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Divisor {
    /// floor(2^64 / bytes) + 1
    reciprocal: u64,
    /// `(reciprocal * bytes - 2^64) * blocks`
    limit: u64,
}

impl Divisor {
    /// Finds no blocks at all.
    pub(crate) const NONE: Self = Self { reciprocal: 0, limit: 0 };

    /// The divisor of a span of `blocks` blocks of `bytes` bytes.
    pub(crate) const fn new(bytes: u32, blocks: u32) -> Self {
        // (2^64 - 1) / bytes equals floor(2^64 / bytes), except for powers of two, where it is one less.
        let floor = u64::MAX / bytes as u64 + bytes.is_power_of_two() as u64;
        let reciprocal = floor + 1;
        // The multiplication is modulo 2^64: its result is the excess.
        Self { reciprocal, limit: reciprocal.wrapping_mul(bytes as u64) * blocks as u64 }
    }

    /// The index of the block that starts exactly `from_span` bytes into its span, if there is one.
    ///
    /// One multiplication gives the quotient above and a scaled remainder below (Lemire, Kaser and Kurz 2019, Faster
    /// remainder by direct computation). With `excess = reciprocal * bytes - 2^64`, which is 1 to `bytes`:
    /// `(index * bytes + rest) * reciprocal = index * 2^64 + (index * excess + rest * reciprocal)`. Without a rest, the
    /// second term is below `limit = blocks * excess` just when `index < blocks`. With one, it is at least `reciprocal`
    /// and below 2^64; and `limit` is at most 2^16 * 2^19, `reciprocal` at least 2^45.
    #[inline]
    pub(crate) const fn exact(self, from_span: u32) -> Option<u32> {
        let product = self.reciprocal as u128 * from_span as u128;
        if (product as u64) < self.limit { Some((product >> 64) as u32) } else { None }
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
        assert!(usize::from(class_count(1 << 20)) == CLASSES_MAX && class_count(1 << 20) < LARGE);
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
                let part = match bytes {
                    2049..=8192 => 9,
                    131_073.. => 3,
                    _ => 5,
                };
                let waste = u64::from(block - bytes);
                assert!(waste * part < u64::from(block), "{bytes} wastes too much of {block}");
            }
        }
        assert_eq!(class_of(0), 0);
        for last in 0..LOOKED_UP {
            assert_eq!(class_looked_up(last), Some(class_of(last as u32 + 1) + 1));
        }
        assert_eq!((class_looked_up(LOOKED_UP), class_looked_up(0usize.wrapping_sub(1))), (None, None));
    }

    #[test]
    fn division_finds_exactly_the_block_starts() {
        for unit in [1 << 10, 1 << 16, 1 << 20] {
            for class in 0..class_count(unit) {
                let bytes = class_bytes(class);
                let span = span_units(class, unit) * unit;
                let blocks = span / bytes;
                let divisor = Divisor::new(bytes, blocks);
                let step = if cfg!(miri) { 4096 + GRANULE } else { GRANULE };
                for from in (0..span).step_by(step as usize) {
                    let expected = (from % bytes == 0 && from / bytes < blocks).then_some(from / bytes);
                    assert_eq!(divisor.exact(from), expected, "{from} in class {class} of {bytes}");
                }
                for from in (0..blocks).flat_map(|index| [index * bytes + 1, index * bytes + bytes - 1]) {
                    assert_eq!(divisor.exact(from), None);
                }
                assert_eq!(divisor.exact(blocks * bytes), None);
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
