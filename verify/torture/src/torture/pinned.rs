//! The label of a pinned block: it names the member and the contents, because the member may be gone.

use crate::pattern::mix;

const MAGIC: u64 = 0x7047_91b2_0ed0_b10c;
const WORDS: usize = 4;

/// Size of a label in bytes; the rest of the block is computed from its key.
pub(super) const LABEL_BYTES: usize = WORDS * 8;

/// The member that pinned a block, and the key of the contents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Label {
    pub(super) seat: u64,
    pub(super) incarnation: u64,
    pub(super) key: u64,
}

impl Label {
    /// Fills a block of at least [`LABEL_BYTES`] bytes. Only the requested length is filled, not the rest of the size
    /// class.
    pub(super) fn write(self, block: &mut [u8]) {
        let words = [MAGIC ^ block.len() as u64, self.seat, self.incarnation, self.key];
        let (label, rest) = block.split_at_mut(LABEL_BYTES);
        for (place, word) in label.chunks_exact_mut(8).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        for (at, place) in rest.iter_mut().enumerate() {
            *place = self.byte(at, words[0]);
        }
    }

    /// The byte at offset `at` behind the label; the label contains the length.
    fn byte(self, at: usize, magic: u64) -> u8 {
        mix(self.key ^ magic ^ (at / 8) as u64).to_le_bytes()[at % 8]
    }

    /// Reads and verifies a block; the slice may be longer than the written length.
    pub(super) fn read(block: &[u8]) -> Result<Self, String> {
        let mut words =
            block.chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().unwrap_or_default()));
        let mut next = || words.next().unwrap_or_default();
        let (magic, label) = (next(), Self { seat: next(), incarnation: next(), key: next() });
        let len = (magic ^ MAGIC) as usize;
        if !(LABEL_BYTES..=block.len()).contains(&len) {
            return Err(format!("no label at its start, but {magic:016x}"));
        }
        let wrong = |(at, byte): (usize, &u8)| *byte != label.byte(at, magic);
        match block[LABEL_BYTES..len].iter().enumerate().position(wrong) {
            Some(at) => Err(format!("{label:?}: byte {at} after the label is not as written")),
            None => Ok(label),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_read_as_written_and_every_byte_counts() {
        let label = Label { seat: 3, incarnation: 9, key: 77 };
        for len in [LABEL_BYTES, 33, 40, 1000] {
            let mut block = vec![0; len];
            label.write(&mut block);
            assert_eq!(Label::read(&block), Ok(label));
            block.push(0xee);
            assert_eq!(Label::read(&block), Ok(label));
            // A length one smaller may leave no byte to compare.
            for at in (1..8).chain(LABEL_BYTES..len) {
                block[at] ^= 1;
                assert!(Label::read(&block).is_err(), "byte {at} of {len}");
                block[at] ^= 1;
            }
            assert!(Label::read(&vec![0; len]).is_err());
        }
    }
}
