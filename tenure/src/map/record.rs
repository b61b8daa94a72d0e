//! The bytes of a record: all pairs of one bucket, one after the other.
//!
//! ```text
//! pair    {key bytes:32 | value bytes:32}, little-endian; the key; the value; each padded with zeros to a multiple of 8
//! ```

use std::ops::Range;

/// The most pairs of a bucket.
pub(crate) const PAIRS_MAX: usize = 16;

const HEAD: usize = 8;
const PAD: usize = 8;

/// One pair of a record. The ranges are positions in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Pair<'r> {
    pub(crate) key: &'r [u8],
    pub(crate) value: &'r [u8],
    value_at: usize,
}

impl Pair<'_> {
    pub(crate) fn value_range(&self) -> Range<usize> {
        self.value_at..self.value_at + self.value.len()
    }
}

/// The record is not a sequence of pairs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Malformed;

/// The lengths of a key and of its value, from the first word of a pair.
pub(crate) const fn lens(head: u64) -> (usize, usize) {
    (head as u32 as usize, (head >> 32) as usize)
}

/// The bytes of a pair, with its padding; `None` if a length is too large for a record.
pub(crate) fn pair_bytes(key: usize, value: usize) -> Option<usize> {
    let longest = usize::try_from(u32::MAX).unwrap_or(usize::MAX);
    if key > longest || value > longest {
        return None;
    }
    key.checked_next_multiple_of(PAD)?.checked_add(value.checked_next_multiple_of(PAD)?)?.checked_add(HEAD)
}

/// The pairs of a record. Ends with [`Malformed`] where the bytes make no sense.
#[derive(Clone)]
pub(crate) struct Pairs<'r> {
    record: &'r [u8],
    at: usize,
}

impl<'r> Pairs<'r> {
    pub(crate) fn new(record: &'r [u8]) -> Self {
        Self { record, at: 0 }
    }

    fn read(&self) -> Option<(Pair<'r>, usize)> {
        let rest = &self.record[self.at..];
        let (head, body) = rest.split_first_chunk::<HEAD>()?;
        let (key, value) = lens(u64::from_le_bytes(*head));
        let from = key.checked_next_multiple_of(PAD)?;
        let end = pair_bytes(key, value)?;
        if end > rest.len() {
            return None;
        }
        let pair =
            Pair { key: &body[..key], value: &body[from..from + value], value_at: self.at + HEAD + from };
        Some((pair, self.at + end))
    }
}

impl<'r> Iterator for Pairs<'r> {
    type Item = Result<Pair<'r>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at == self.record.len() {
            return None;
        }
        let read = self.read();
        self.at = read.map_or(self.record.len(), |(_, next)| next);
        Some(read.map(|(pair, _)| pair).ok_or(Malformed))
    }
}

/// Whether a record of `bytes` bytes is a sequence of pairs, as many as a bucket may have. `head` loads the word at a position.
pub(crate) fn is_whole(bytes: usize, head: impl Fn(usize) -> u64) -> bool {
    if !bytes.is_multiple_of(PAD) {
        return false;
    }
    let (mut at, mut pairs) = (0, 0);
    while at < bytes && pairs < PAIRS_MAX {
        let (key, value) = lens(head(at));
        match pair_bytes(key, value) {
            Some(pair) if pair <= bytes - at => at += pair,
            _ => return false,
        }
        pairs += 1;
    }
    at == bytes && pairs > 0
}

/// The pair of a key.
pub(crate) fn find<'r>(record: &'r [u8], key: &[u8]) -> Result<Option<Pair<'r>>, Malformed> {
    for pair in Pairs::new(record) {
        let pair = pair?;
        if pair.key == key {
            return Ok(Some(pair));
        }
    }
    Ok(None)
}

/// A record to be written: the pairs of a former one without one key, and perhaps one more pair.
#[derive(Clone, Copy)]
pub(crate) struct Draft<'d> {
    former: &'d [u8],
    without: &'d [u8],
    with: Option<&'d [u8]>,
    pairs: usize,
    bytes: usize,
}

impl<'d> Draft<'d> {
    /// `former` without `key`, and with `key` and its value if there is one. `Ok(None)`: a length is too large.
    pub(crate) fn new(
        former: &'d [u8],
        key: &'d [u8],
        value: Option<&'d [u8]>,
    ) -> Result<Option<Self>, Malformed> {
        let (mut pairs, mut bytes) = (0, Some(0usize));
        let mut add = |key: &[u8], value: &[u8]| {
            pairs += 1;
            bytes = bytes.and_then(|sum| sum.checked_add(pair_bytes(key.len(), value.len())?));
        };
        for pair in Pairs::new(former) {
            let pair = pair?;
            if pair.key != key {
                add(pair.key, pair.value);
            }
        }
        if let Some(value) = value {
            add(key, value);
        }
        Ok(bytes.map(|bytes| Self { former, without: key, with: value, pairs, bytes }))
    }

    /// The number of pairs.
    pub(crate) fn pairs(&self) -> usize {
        self.pairs
    }

    /// The bytes of the record.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Passes the record piece by piece, in order.
    pub(crate) fn write(&self, mut put: impl FnMut(&[u8])) {
        let mut pair = |key: &[u8], value: &[u8]| {
            let head = key.len() as u64 | (value.len() as u64) << 32;
            put(&head.to_le_bytes());
            for part in [key, value] {
                put(part);
                put(&[0; PAD][..part.len().next_multiple_of(PAD) - part.len()]);
            }
        };
        // The newest first: it is the likeliest to be looked for.
        if let Some(value) = self.with {
            pair(self.without, value);
        }
        for Pair { key, value, .. } in Pairs::new(self.former).flatten() {
            if key != self.without {
                pair(key, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn drafted(former: &[u8], key: &[u8], value: Option<&[u8]>) -> Vec<u8> {
        let draft = Draft::new(former, key, value).unwrap().unwrap();
        let mut record = Vec::new();
        draft.write(|bytes| record.extend_from_slice(bytes));
        assert_eq!(record.len(), draft.bytes());
        assert_eq!(Pairs::new(&record).count(), draft.pairs());
        record
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// A record is a small map.
        #[test]
        fn changes_of_a_record_are_those_of_a_map(
            changes in prop::collection::vec((0..6usize, prop::option::of(prop::collection::vec(any::<u8>(), 0..40))), 0..40),
        ) {
            let mut record = Vec::new();
            let mut map = std::collections::HashMap::new();
            for (key, value) in changes {
                let key = vec![7; key * 3];
                record = drafted(&record, &key, value.as_deref());
                prop_assert_eq!(record.len() % PAD, 0);
                match value {
                    Some(value) => map.insert(key, value),
                    None => map.remove(&key),
                };
                let pairs: Vec<_> = Pairs::new(&record).map(Result::unwrap).collect();
                prop_assert_eq!(pairs.len(), map.len());
                let head = |at: usize| u64::from_le_bytes(*record[at..].first_chunk().unwrap());
                prop_assert_eq!(is_whole(record.len(), head), !map.is_empty());
                for pair in pairs {
                    prop_assert_eq!(map.get(pair.key).map(Vec::as_slice), Some(pair.value));
                    prop_assert_eq!(find(&record, pair.key), Ok(Some(pair)));
                    prop_assert_eq!(&record[pair.value_range()], pair.value);
                }
            }
        }

        /// Any bytes are a record or malformed; nothing panics.
        #[test]
        fn any_bytes_are_looked_at_safely(mut record in prop::collection::vec(any::<u8>(), 0..80), lens in prop::collection::vec(0..9u8, 8)) {
            let _ = Pairs::new(&record).count();
            // Small lengths make it likelier that several pairs are read.
            for (at, len) in lens.into_iter().enumerate() {
                if let Some(byte) = record.get_mut(at * 4) {
                    *byte = len;
                }
                if let Some(rest) = record.get_mut(at * 4 + 1..at * 4 + 4) {
                    rest.fill(0);
                }
            }
            let read: Vec<_> = Pairs::new(&record).collect();
            prop_assert!(read.iter().rev().skip(1).all(Result::is_ok));
            let _ = Draft::new(&record, b"tea", None).map(|draft| draft.map(|draft| draft.write(|_| {})));
        }
    }

    #[test]
    fn what_is_no_sequence_of_pairs_is_not_whole() {
        let three = 3 | 5 << 32;
        assert!(is_whole(24, |_| three) && is_whole(48, |_| three));
        for bytes in [0, 4, 16, 32, 47] {
            assert!(!is_whole(bytes, |_| three), "{bytes}");
        }
        assert!(is_whole(16 * 24, |_| three) && !is_whole(17 * 24, |_| three));
        assert!(!is_whole(24, |_| u64::MAX) && !is_whole(usize::MAX & !7, |_| u64::MAX));
    }

    #[test]
    fn lengths_above_32_bits_are_refused() {
        assert_eq!(pair_bytes(1, 9), Some(32));
        assert_eq!(pair_bytes(u32::MAX as usize + 1, 0), None);
        assert_eq!(pair_bytes(0, u32::MAX as usize + 1), None);
    }
}
