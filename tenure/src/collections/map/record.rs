//! A record: all pairs of one bucket, one after the other, in whole words.
//!
//! ```text
//! pair    {value bytes:32 | key bytes:32}; the key; the value; each padded with zeros to whole words
//! ```
//!
//! A record is read by words, atomically, because the reader need not hold it: see `Look`. Then the words may be of anything, and the lengths
//! in them of any size. So a pair is made only of words that are there.

use std::mem::MaybeUninit;
use std::ops::Range;
use std::sync::atomic::Ordering;

use tenure_core::sync::Word;

/// The most pairs of a bucket.
pub(crate) const PAIRS_MAX: usize = 16;

const WORD: usize = size_of::<Word>();

/// One pair of a record: its place, and the bytes of its key and its value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Pair {
    /// The position of its first word.
    at: usize,
    key: usize,
    value: usize,
}

/// The words are no sequence of pairs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Malformed;

/// The words of a pair; `None` if a length is too large.
fn pair_words(key: usize, value: usize) -> Option<usize> {
    let is_short = |bytes: usize| u32::try_from(bytes).is_ok();
    (is_short(key) && is_short(value)).then(|| 1 + key.div_ceil(WORD) + value.div_ceil(WORD))
}

fn load(word: &Word) -> u64 {
    // Relaxed: written before the handle was published; if they are of another owner, the reader finds that the slot has changed.
    word.load(Ordering::Relaxed)
}

impl Pair {
    fn words(&self) -> Range<usize> {
        self.at..self.value_words().end
    }

    fn key_words(&self) -> Range<usize> {
        self.at + 1..self.at + 1 + self.key.div_ceil(WORD)
    }

    fn value_words(&self) -> Range<usize> {
        let at = self.key_words().end;
        at..at + self.value.div_ceil(WORD)
    }

    /// The bytes of the value.
    pub(crate) fn value_bytes(&self) -> usize {
        self.value
    }

    /// The positions of the bytes of the value.
    pub(crate) fn value_range(&self) -> Range<usize> {
        let at = self.value_words().start * WORD;
        at..at + self.value
    }

    fn has_key(&self, record: &[Word], key: &[u8]) -> bool {
        self.key == key.len() && are_same(&record[self.key_words()], key)
    }

    fn has_value(&self, record: &[Word], value: &[u8]) -> bool {
        self.value == value.len() && are_same(&record[self.value_words()], value)
    }

    /// Replaces the contents of `to` by the value.
    pub(crate) fn copy_value(&self, record: &[Word], to: &mut Vec<u8>) {
        copy(&record[self.value_words()], self.value, to);
    }

    /// Replaces the contents of `to` by the key.
    pub(crate) fn copy_key(&self, record: &[Word], to: &mut Vec<u8>) {
        copy(&record[self.key_words()], self.key, to);
    }
}

/// Whether the words are these bytes, and zeros.
fn are_same(words: &[Word], bytes: &[u8]) -> bool {
    let (whole, rest) = bytes.as_chunks::<WORD>();
    let mut words = words.iter().map(load);
    whole.iter().all(|chunk| words.next() == Some(u64::from_le_bytes(*chunk)))
        && (rest.is_empty() || words.next() == Some(padded(rest)))
}

/// A word that begins with these bytes, fewer than eight.
fn padded(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte))
}

fn copy(words: &[Word], bytes: usize, to: &mut Vec<u8>) {
    to.clear();
    to.reserve(words.len() * WORD);
    let (chunks, _) = to.spare_capacity_mut().as_chunks_mut::<WORD>();
    for (chunk, word) in chunks.iter_mut().zip(words) {
        *chunk = load(word).to_le_bytes().map(MaybeUninit::new);
    }
    // SAFETY: reserved above, and initialised: the words have at least that many bytes.
    unsafe { to.set_len(bytes.min(words.len() * WORD)) };
}

/// The pairs of a record, in order. Ends with [`Malformed`] where the words make no sense.
#[derive(Clone)]
pub(crate) struct Pairs<'r> {
    record: &'r [Word],
    at: usize,
}

impl<'r> Pairs<'r> {
    pub(crate) fn new(record: &'r [Word]) -> Self {
        Self { record, at: 0 }
    }
}

impl Iterator for Pairs<'_> {
    type Item = Result<Pair, Malformed>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let head = load(self.record.get(self.at)?);
        let (at, key, value) = (self.at, head as u32 as usize, (head >> 32) as usize);
        let words = 1 + key.div_ceil(WORD) + value.div_ceil(WORD);
        if words > self.record.len() - at {
            self.at = self.record.len();
            return Some(Err(Malformed));
        }
        self.at += words;
        Some(Ok(Pair { at, key, value }))
    }
}

/// Whether a record is a sequence of pairs, as many as a bucket may have.
pub(crate) fn is_whole(record: &[Word]) -> bool {
    let mut count = 0;
    let mut is_pair = |pair: Result<Pair, Malformed>| {
        count += 1;
        pair.is_ok() && count <= PAIRS_MAX
    };
    Pairs::new(record).all(&mut is_pair) && count > 0
}

/// The pair of a key.
#[inline(always)]
pub(crate) fn find(record: &[Word], key: &[u8]) -> Result<Option<Pair>, Malformed> {
    for pair in Pairs::new(record) {
        let pair = pair?;
        if pair.has_key(record, key) {
            return Ok(Some(pair));
        }
    }
    Ok(None)
}

/// The words of a new record.
pub(crate) trait Source {
    /// Passes them in order. If those of the former record have changed, it may pass other words, more or fewer.
    fn write(&self, put: impl FnMut(u64));
}

/// Some of the pairs of a record.
pub(crate) struct Selection<'s> {
    former: &'s [Word],
    /// A bit for each pair.
    chosen: u32,
    words: usize,
}

impl<'s> Selection<'s> {
    /// The pairs whose keys are wanted.
    pub(crate) fn of(former: &'s [Word], mut wants: impl FnMut(&[u8]) -> bool) -> Result<Self, Malformed> {
        let (mut selection, mut key) = (Self { former, chosen: 0, words: 0 }, Vec::new());
        for (at, pair) in Pairs::new(former).enumerate() {
            let pair = pair?;
            pair.copy_key(former, &mut key);
            if at < PAIRS_MAX && wants(&key) {
                selection.chosen |= 1 << at;
                selection.words += pair.words().len();
            }
        }
        Ok(selection)
    }

    /// The number of their words.
    pub(crate) fn words(&self) -> usize {
        self.words
    }

    /// Whether these are all pairs.
    pub(crate) fn is_all(&self) -> bool {
        self.words == self.former.len()
    }
}

impl Source for Selection<'_> {
    fn write(&self, mut put: impl FnMut(u64)) {
        for (_, pair) in
            Pairs::new(self.former).enumerate().filter(|(at, _)| *at < 32 && self.chosen >> at & 1 != 0)
        {
            let Ok(pair) = pair else { return };
            self.former[pair.words()].iter().for_each(|word| put(load(word)));
        }
    }
}

/// A record to be written: a former one without the pair of one key, and perhaps with a new pair of it.
///
/// The former record is parsed once: if its words change, the new record has as many words all the same.
pub(crate) struct Draft<'d> {
    key: &'d [u8],
    /// The value of the new pair.
    value: Option<&'d [u8]>,
    former: &'d [Word],
    found: Option<Pair>,
    /// The number of other pairs.
    others: usize,
}

impl<'d> Draft<'d> {
    /// A draft of `former` without the pair of `key`.
    pub(crate) fn without(former: &'d [Word], key: &'d [u8]) -> Result<Self, Malformed> {
        let (mut found, mut others) = (None, 0);
        for pair in Pairs::new(former) {
            let pair = pair?;
            if found.is_none() && pair.has_key(former, key) {
                found = Some(pair);
            } else {
                others += 1;
            }
        }
        Ok(Self { key, value: None, former, found, others })
    }

    /// Whether the former record has a pair of the key.
    pub(crate) fn is_found(&self) -> bool {
        self.found.is_some()
    }

    /// Whether this is the value of the key in the former record.
    pub(crate) fn is_value(&self, value: &[u8]) -> bool {
        self.found.is_some_and(|pair| pair.has_value(self.former, value))
    }

    /// The number of other pairs.
    pub(crate) fn others(&self) -> usize {
        self.others
    }

    /// The words of the other pairs.
    fn kept(&self) -> [&'d [Word]; 2] {
        match self.found.map(|pair| pair.words()) {
            Some(found) => [&self.former[..found.start], &self.former[found.end..]],
            None => [self.former, &[]],
        }
    }

    /// Adds a new pair of the key.
    pub(crate) fn with(self, value: &'d [u8]) -> Self {
        Self { value: Some(value), ..self }
    }

    /// The number of words of the record; `None` if a length is too large.
    pub(crate) fn words(&self) -> Option<usize> {
        let others = self.kept().iter().map(|words| words.len()).sum::<usize>();
        match self.value {
            Some(value) => others.checked_add(pair_words(self.key.len(), value.len())?),
            None => Some(others),
        }
    }
}

impl Source for Draft<'_> {
    fn write(&self, mut put: impl FnMut(u64)) {
        // The new one first: it is the likeliest to be looked for.
        if let Some(value) = self.value {
            put(self.key.len() as u64 | (value.len() as u64) << 32);
            for part in [self.key, value] {
                let (whole, rest) = part.as_chunks::<WORD>();
                whole.iter().for_each(|chunk| put(u64::from_le_bytes(*chunk)));
                if !rest.is_empty() {
                    put(padded(rest));
                }
            }
        }
        for words in self.kept() {
            words.iter().for_each(|word| put(load(word)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn words(words: &[u64]) -> Vec<Word> {
        words.iter().map(|word| Word::new(*word)).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// A record is a small map.
        #[test]
        fn changes_of_a_record_are_those_of_a_map(
            changes in prop::collection::vec((0..6usize, prop::option::of(prop::collection::vec(any::<u8>(), 0..40))), 0..40),
        ) {
            let mut record = Vec::new();
            let mut map = std::collections::HashMap::<Vec<u8>, Vec<u8>>::new();
            let (mut key_of, mut value_of) = (Vec::new(), Vec::new());
            for (key, value) in changes {
                let key = vec![7; key * 3];
                let draft = Draft::without(&record, &key).unwrap();
                prop_assert_eq!(draft.is_found(), map.contains_key(&key));
                let before = map.get(&key).cloned();
                prop_assert_eq!(draft.is_value(&[7; 9]), before.as_deref() == Some(&[7; 9][..]));
                prop_assert_eq!(before.is_some_and(|value| draft.is_value(&value)), draft.is_found());
                let mut next = Vec::new();
                let others = draft.others();
                let draft = match &value {
                    Some(value) => draft.with(value),
                    None => draft,
                };
                draft.write(|word| next.push(word));
                prop_assert_eq!(draft.words(), Some(next.len()));
                map.remove(&key);
                prop_assert_eq!(others, map.len());
                map.extend(value.map(|value| (key, value)));
                record = words(&next);
                prop_assert_eq!(is_whole(&record), !map.is_empty());
                let (mut some, selection) = (Vec::new(), Selection::of(&record, |key| key.len() % 2 == 0).unwrap());
                selection.write(|word| some.push(word));
                prop_assert_eq!(some.len(), selection.words());
                let evens = map.keys().filter(|key| key.len() % 2 == 0).count();
                prop_assert_eq!(Pairs::new(&words(&some)).filter(Result::is_ok).count(), evens);
                prop_assert_eq!(selection.is_all(), evens == map.len());
                let pairs: Vec<_> = Pairs::new(&record).map(Result::unwrap).collect();
                prop_assert_eq!(pairs.len(), map.len());
                for pair in pairs {
                    pair.copy_key(&record, &mut key_of);
                    pair.copy_value(&record, &mut value_of);
                    prop_assert_eq!(map.get(&key_of), Some(&value_of));
                    prop_assert_eq!(find(&record, &key_of), Ok(Some(pair)));
                    prop_assert_eq!(pair.value_bytes(), value_of.len());
                    let bytes: Vec<u8> = next.iter().flat_map(|word| word.to_le_bytes()).collect();
                    prop_assert_eq!(&bytes[pair.value_range()], &value_of[..]);
                }
            }
        }

        /// Any words are a record or malformed; nothing panics.
        #[test]
        fn any_words_are_looked_at_safely(
            lens in prop::collection::vec((0..20u32, prop_oneof![0..20u32, any::<u32>()]), 0..20),
        ) {
            let record: Vec<u64> = lens.into_iter().map(|(key, value)| u64::from(key) | u64::from(value) << 32).collect();
            let record = words(&record);
            let read: Vec<_> = Pairs::new(&record).collect();
            prop_assert!(read.iter().rev().skip(1).all(Result::is_ok));
            prop_assert!(!is_whole(&record) || read.iter().all(Result::is_ok));
            for pair in read.into_iter().flatten() {
                pair.copy_key(&record, &mut Vec::new());
                pair.copy_value(&record, &mut Vec::new());
            }
            if let Ok(draft) = Draft::without(&record, b"tea") {
                draft.write(|_| {});
            }
        }
    }

    #[test]
    fn what_is_no_sequence_of_pairs_is_not_whole() {
        let three = [3 | 5 << 32, 1, 2].repeat(17);
        assert!(
            is_whole(&words(&three[..3])) && is_whole(&words(&three[..6])) && is_whole(&words(&three[..48]))
        );
        for count in [0, 1, 2, 4, 5, 51] {
            assert!(!is_whole(&words(&three[..count])), "{count}");
        }
        assert!(!is_whole(&words(&[u64::MAX, 0, 0])));
    }

    #[test]
    fn lengths_above_32_bits_are_refused() {
        assert_eq!(pair_words(1, 9), Some(4));
        assert_eq!(pair_words(u32::MAX as usize + 1, 0), None);
        assert_eq!(pair_words(0, u32::MAX as usize + 1), None);
    }
}
