//! A record: all pairs of one bucket, one after the other, in whole words.
//!
//! ```text
//! pair    {value bytes:32 | expires:1 | key bytes:31}; if it expires, its deadline; the key; the value; each padded with zeros to whole words
//! ```
//!
//! A deadline is in nanoseconds of CLOCK_BOOTTIME. A pair past its deadline is in no answer, and no new record has it.
//!
//! A record is read by words, atomically, because the reader need not hold it: see `Look`. Then the words may be of anything, and the lengths
//! in them of any size. So a pair is made only of words that are there.

use std::ops::Range;
use std::slice;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tenure_core::sync::Word;
use tenure_segment::clock;

/// The most pairs of a bucket.
pub(crate) const PAIRS_MAX: usize = 16;

const WORD: usize = size_of::<Word>();

/// The words of so many bytes, fewer than 2^32.
const fn words_of(bytes: usize) -> usize {
    (bytes + (WORD - 1)) >> WORD.trailing_zeros()
}

/// One pair of a record. Two numbers: so that a look-up has it in registers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Pair {
    /// The position of its first word.
    at: usize,
    /// That word.
    head: u64,
}

/// Of the first word of a pair: it has a deadline.
const EXPIRES: u64 = 1 << 31;

/// An instant of the clock of deadlines, as nanoseconds; some 584 years after the boot if it is later.
fn nanos(since_boot: Duration) -> u64 {
    u64::try_from(since_boot.as_nanos()).unwrap_or(u64::MAX)
}

/// The deadline of a pair that is to be there for so long from now.
pub(crate) fn deadline_after(time: Duration) -> u64 {
    nanos(clock::since_boot().saturating_add(time))
}

/// The time until a deadline; zero if it has passed.
fn time_until(deadline: u64) -> Duration {
    Duration::from_nanos(deadline.saturating_sub(nanos(clock::since_boot())))
}

/// Whether a deadline has passed. By value: a pair whose address is taken is not in registers.
#[cold]
#[inline(never)]
fn has_passed(deadline: u64) -> bool {
    time_until(deadline).is_zero()
}

/// The words are no sequence of pairs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Malformed;

/// The words of a pair; `None` if a length is too large.
fn pair_words(expires: bool, key: usize, value: usize) -> Option<usize> {
    let is_short = (key as u64) < EXPIRES && u32::try_from(value).is_ok();
    is_short.then(|| 1 + usize::from(expires) + key.div_ceil(WORD) + value.div_ceil(WORD))
}

fn load(word: &Word) -> u64 {
    // Relaxed: written before the handle was published; if they are of another owner, the reader finds that the slot has changed.
    word.load(Ordering::Relaxed)
}

impl Pair {
    /// The pair whose first word is at this position, if all its words are there. `None` at the end of the record.
    #[inline(always)]
    fn at(record: &[Word], at: usize) -> Option<Result<Self, Malformed>> {
        let pair = Self { at, head: load(record.get(at)?) };
        Some(if pair.len() <= record.len() - at { Ok(pair) } else { Err(Malformed) })
    }

    /// The number of its words.
    fn len(self) -> usize {
        1 + usize::from(self.expires()) + words_of(self.key_bytes()) + words_of(self.value_bytes())
    }

    fn words(self) -> Range<usize> {
        self.at..self.at + self.len()
    }

    /// Whether a deadline follows the first word.
    fn expires(self) -> bool {
        self.head & EXPIRES != 0
    }

    fn key_bytes(self) -> usize {
        (self.head & (EXPIRES - 1)) as usize
    }

    fn key_words(self) -> Range<usize> {
        let at = self.at + 1 + usize::from(self.expires());
        at..at + words_of(self.key_bytes())
    }

    /// Its deadline, if it has one.
    pub(crate) fn deadline(&self, record: &[Word]) -> Option<u64> {
        self.expires().then(|| load(&record[self.at + 1]))
    }

    /// The time until it expires; zero if it has expired, `None` if it never does.
    pub(crate) fn time_left(&self, record: &[Word]) -> Option<Duration> {
        self.deadline(record).map(time_until)
    }

    /// Whether its deadline has passed.
    #[inline(always)]
    pub(crate) fn is_expired(&self, record: &[Word]) -> bool {
        self.deadline(record).is_some_and(has_passed)
    }

    fn value_words(&self) -> Range<usize> {
        let at = self.key_words().end;
        at..at + words_of(self.value_bytes())
    }

    /// The bytes of the value.
    pub(crate) fn value_bytes(&self) -> usize {
        (self.head >> 32) as usize
    }

    /// The positions of the bytes of the value.
    pub(crate) fn value_range(&self) -> Range<usize> {
        let at = self.value_words().start * WORD;
        at..at + self.value_bytes()
    }

    #[inline(always)]
    fn has_key(&self, record: &[Word], key: &[u8]) -> bool {
        self.key_bytes() == key.len() && are_same(&record[self.key_words()], key)
    }

    fn has_value(&self, record: &[Word], value: &[u8]) -> bool {
        self.value_bytes() == value.len() && are_same(&record[self.value_words()], value)
    }

    /// Replaces the contents of `to` by the value.
    pub(crate) fn copy_value(&self, record: &[Word], to: &mut Vec<u8>) {
        copy(&record[self.value_words()], self.value_bytes(), to);
    }

    /// Replaces the contents of `to` by the key.
    pub(crate) fn copy_key(&self, record: &[Word], to: &mut Vec<u8>) {
        copy(&record[self.key_words()], self.key_bytes(), to);
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
pub(super) fn padded(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte))
}

#[inline(always)]
fn copy(words: &[Word], bytes: usize, to: &mut Vec<u8>) {
    to.clear();
    to.reserve(words.len() * WORD);
    let mut at = to.as_mut_ptr().cast::<u64>();
    let mut put = |words: &[Word]| {
        for word in words {
            // SAFETY: reserved above, for all words, of which each is put once.
            unsafe {
                at.write_unaligned(load(word).to_le());
                at = at.add(1);
            }
        }
    };
    // The lengths are constants, so that the compiler makes no loops of them.
    let (eights, rest) = words.as_chunks::<8>();
    eights.iter().for_each(|words| put(words));
    let (fours, rest) = rest.as_chunks::<4>();
    fours.first().into_iter().for_each(|words| put(words));
    let (twos, rest) = rest.as_chunks::<2>();
    twos.first().into_iter().for_each(|words| put(words));
    rest.first().into_iter().for_each(|word| put(slice::from_ref(word)));
    // SAFETY: reserved above, and initialised: the words have at least that many bytes.
    unsafe { to.set_len(bytes.min(words.len() * WORD)) };
}

/// A key that is looked for, with its first and its last word.
#[derive(Clone, Copy)]
struct Probe<'k> {
    key: &'k [u8],
    words: usize,
    first: u64,
    last: u64,
}

impl<'k> Probe<'k> {
    #[inline(always)]
    fn new(key: &'k [u8]) -> Self {
        let words = words_of(key.len());
        let (first, last) = match (key.first_chunk(), key.last_chunk()) {
            // The last word begins where the others end: it has the last bytes without those that are in the word before.
            (Some(first), Some(last)) => {
                (u64::from_le_bytes(*first), u64::from_le_bytes(*last) >> (8 * (words * WORD - key.len())))
            }
            _ => (padded(key), padded(key)),
        };
        Self { key, words, first, last }
    }

    /// Whether a pair has the key.
    #[inline(always)]
    fn is_of(&self, record: &[Word], pair: Pair) -> bool {
        if pair.key_bytes() != self.key.len() {
            return false;
        }
        match &record[pair.key_words()] {
            [] => true,
            // No loop for a key of one or two words, which most are.
            [first, .., last] if self.words > 1 => {
                (load(first) ^ self.first) | (load(last) ^ self.last) == 0
                    && (self.words == 2 || are_same(&record[pair.key_words()], self.key))
            }
            [first, ..] => load(first) == self.first,
        }
    }
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
        let pair = Pair::at(self.record, self.at)?;
        self.at = pair.map_or(self.record.len(), |pair| pair.words().end);
        Some(pair)
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

/// The pair of a key, unless it has expired.
#[inline(always)]
pub(crate) fn find(record: &[Word], key: &[u8]) -> Result<Option<Pair>, Malformed> {
    let probe = Probe::new(key);
    let mut at = 0;
    while let Some(pair) = Pair::at(record, at) {
        let pair = pair?;
        if probe.is_of(record, pair) {
            return Ok((!pair.is_expired(record)).then_some(pair));
        }
        at += pair.len();
    }
    Ok(None)
}

/// What [`copy_of`] has done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Copied {
    /// There is no such pair.
    Absent,
    All,
    /// Nothing: a value that is cheaper to be held, and copied at once.
    Large,
    /// The words are no sequence of pairs.
    Malformed,
}

/// The longest value that is copied without a hold.
const COPY_MAX: usize = 4096;

/// Replaces the contents of `to` by the value of a key. A function of its own, and its result a byte: so all that it needs is in registers.
#[inline(never)]
pub(crate) fn copy_of(record: &[Word], key: &[u8], to: &mut Vec<u8>) -> Copied {
    match find(record, key) {
        Ok(None) => Copied::Absent,
        Ok(Some(pair)) if pair.value_bytes() > COPY_MAX => Copied::Large,
        Ok(Some(pair)) => {
            pair.copy_value(record, to);
            Copied::All
        }
        Err(Malformed) => Copied::Malformed,
    }
}

/// The words of a new record.
pub(crate) trait Source {
    /// Passes them in order. If those of the former record have changed, it may pass other words, more or fewer.
    fn write(&self, put: impl FnMut(u64));
}

/// Some of the pairs of a record, none of which has expired.
pub(crate) struct Selection<'s> {
    former: &'s [Word],
    /// A bit for each pair.
    chosen: u32,
    words: usize,
}

impl<'s> Selection<'s> {
    /// The pairs that are wanted.
    fn new(former: &'s [Word], mut wants: impl FnMut(&Pair) -> bool) -> Result<Self, Malformed> {
        let mut selection = Self { former, chosen: 0, words: 0 };
        for (at, pair) in Pairs::new(former).enumerate() {
            let pair = pair?;
            if at >= PAIRS_MAX {
                return Err(Malformed);
            }
            if !pair.is_expired(former) && wants(&pair) {
                selection.chosen |= 1 << at;
                selection.words += pair.words().len();
            }
        }
        Ok(selection)
    }

    /// The pairs whose keys are wanted.
    pub(crate) fn of(former: &'s [Word], mut wants: impl FnMut(&[u8]) -> bool) -> Result<Self, Malformed> {
        let mut key = Vec::new();
        Self::new(former, |pair| {
            pair.copy_key(former, &mut key);
            wants(&key)
        })
    }

    /// All pairs.
    pub(crate) fn of_all(former: &'s [Word]) -> Result<Self, Malformed> {
        Self::new(former, |_| true)
    }

    /// The number of pairs.
    pub(crate) fn len(&self) -> usize {
        self.chosen.count_ones() as usize
    }

    /// The number of their words.
    pub(crate) fn words(&self) -> usize {
        self.words
    }

    /// Whether these are all pairs of the record.
    pub(crate) fn is_all(&self) -> bool {
        self.words == self.former.len()
    }
}

impl Source for Selection<'_> {
    fn write(&self, mut put: impl FnMut(u64)) {
        // If the words have changed, there may be more pairs than bits.
        for (at, pair) in Pairs::new(self.former).take(PAIRS_MAX).enumerate() {
            let Ok(pair) = pair else { return };
            if self.chosen >> at & 1 != 0 {
                self.former[pair.words()].iter().for_each(|word| put(load(word)));
            }
        }
    }
}

/// A record to be written: a former one without the pair of one key, and perhaps with a new pair of it.
pub(crate) struct Draft<'d> {
    key: &'d [u8],
    /// The value of the new pair, and its deadline.
    new: Option<(&'d [u8], Option<u64>)>,
    found: Option<Pair>,
    others: Selection<'d>,
}

impl<'d> Draft<'d> {
    /// A draft of `former` without the pair of `key`.
    pub(crate) fn without(former: &'d [Word], key: &'d [u8]) -> Result<Self, Malformed> {
        let mut found = None;
        let others = Selection::new(former, |pair| {
            let is_other = found.is_some() || !pair.has_key(former, key);
            if !is_other {
                found = Some(*pair);
            }
            is_other
        })?;
        Ok(Self { key, new: None, found, others })
    }

    /// Whether the former record has a pair of the key.
    pub(crate) fn is_found(&self) -> bool {
        self.found.is_some()
    }

    /// Whether this is the value of the key in the former record.
    pub(crate) fn is_value(&self, value: &[u8]) -> bool {
        self.found.is_some_and(|pair| pair.has_value(self.others.former, value))
    }

    /// The deadline of the key in the former record.
    pub(crate) fn deadline(&self) -> Option<u64> {
        self.found.and_then(|pair| pair.deadline(self.others.former))
    }

    /// The number of other pairs.
    pub(crate) fn others(&self) -> usize {
        self.others.len()
    }

    /// Adds a new pair of the key.
    pub(crate) fn with(self, value: &'d [u8], deadline: Option<u64>) -> Self {
        Self { new: Some((value, deadline)), ..self }
    }

    /// The number of words of the record; `None` if a length is too large.
    pub(crate) fn words(&self) -> Option<usize> {
        let Some((value, deadline)) = self.new else { return Some(self.others.words) };
        self.others.words.checked_add(pair_words(deadline.is_some(), self.key.len(), value.len())?)
    }
}

impl Source for Draft<'_> {
    fn write(&self, mut put: impl FnMut(u64)) {
        // The new one first: it is the likeliest to be looked for.
        if let Some((value, deadline)) = self.new {
            let expires = deadline.map_or(0, |_| EXPIRES);
            put(self.key.len() as u64 | expires | (value.len() as u64) << 32);
            deadline.map(&mut put);
            for part in [self.key, value] {
                let (whole, rest) = part.as_chunks::<WORD>();
                whole.iter().for_each(|chunk| put(u64::from_le_bytes(*chunk)));
                if !rest.is_empty() {
                    put(padded(rest));
                }
            }
        }
        self.others.write(put);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn words(words: &[u64]) -> Vec<Word> {
        words.iter().map(|word| Word::new(*word)).collect()
    }

    /// A value, and its deadline: none, one long ago, or one that never comes.
    fn value_and_deadline() -> impl Strategy<Value = (Vec<u8>, Option<u64>)> {
        (
            prop::collection::vec(any::<u8>(), 0..40),
            prop_oneof![Just(None), Just(Some(0)), Just(Some(u64::MAX))],
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// A record is a small map.
        #[test]
        fn changes_of_a_record_are_those_of_a_map(
            changes in prop::collection::vec((0..6usize, prop::option::of(value_and_deadline())), 0..40),
        ) {
            let mut record = Vec::new();
            let mut map = std::collections::HashMap::<Vec<u8>, Vec<u8>>::new();
            let (mut key_of, mut value_of) = (Vec::new(), Vec::new());
            for (key, new) in changes {
                let key = vec![7; key * 3];
                let draft = Draft::without(&record, &key).unwrap();
                prop_assert_eq!(draft.is_found(), map.contains_key(&key));
                let before = map.get(&key).cloned();
                prop_assert_eq!(draft.is_value(&[7; 9]), before.as_deref() == Some(&[7; 9][..]));
                prop_assert_eq!(before.is_some_and(|value| draft.is_value(&value)), draft.is_found());
                let mut next = Vec::new();
                let others = draft.others();
                let draft = match &new {
                    Some((value, deadline)) => draft.with(value, *deadline),
                    None => draft,
                };
                let has_expired = new.as_ref().is_some_and(|(_, deadline)| *deadline == Some(0));
                draft.write(|word| next.push(word));
                prop_assert_eq!(draft.words(), Some(next.len()));
                map.remove(&key);
                prop_assert_eq!(others, map.len());
                prop_assert!(others <= PAIRS_MAX);
                let deadline = new.as_ref().and_then(|(_, deadline)| *deadline);
                map.extend(new.filter(|_| !has_expired).map(|(value, _)| (key.clone(), value)));
                record = words(&next);
                prop_assert_eq!(is_whole(&record), !map.is_empty() || has_expired);
                let found = find(&record, &key).unwrap();
                prop_assert_eq!(found.is_some(), map.contains_key(&key));
                prop_assert!(found.is_none_or(|pair| pair.deadline(&record) == deadline));
                let (mut some, selection) = (Vec::new(), Selection::of(&record, |key| key.len() % 2 == 0).unwrap());
                selection.write(|word| some.push(word));
                prop_assert_eq!(some.len(), selection.words());
                let evens = map.keys().filter(|key| key.len() % 2 == 0).count();
                prop_assert_eq!(Pairs::new(&words(&some)).filter(Result::is_ok).count(), evens);
                prop_assert_eq!(selection.is_all(), evens == map.len() && !has_expired);
                let mut pairs: Vec<_> = Pairs::new(&record).map(Result::unwrap).collect();
                prop_assert_eq!(pairs.len(), map.len() + usize::from(has_expired));
                pairs.retain(|pair| !pair.is_expired(&record));
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
    fn a_deadline_is_an_instant_of_the_clock() {
        let now = || deadline_after(Duration::ZERO);
        let (before, soon, after) = (now(), deadline_after(Duration::from_secs(1000)), now());
        assert!((before..=after).contains(&(soon - 1_000_000_000_000)));
        assert_eq!(deadline_after(Duration::MAX), u64::MAX);
        let record = |deadline| words(&[EXPIRES, deadline]);
        let left = |record: &[Word]| Pair { at: 0, head: EXPIRES }.time_left(record).unwrap();
        assert!((1..=1000).contains(&left(&record(soon)).as_secs()) && left(&record(before)).is_zero());
    }

    #[test]
    fn lengths_that_do_not_fit_are_refused() {
        assert_eq!((pair_words(false, 1, 9), pair_words(true, 1, 9)), (Some(4), Some(5)));
        assert!(pair_words(false, i32::MAX as usize, u32::MAX as usize).is_some());
        assert_eq!(pair_words(false, i32::MAX as usize + 1, 0), None);
        assert_eq!(pair_words(false, 0, u32::MAX as usize + 1), None);
    }
}
