//! The bound of a map in bytes, and the choice of what is evicted: CLOCK (Corbató 1968), over the buckets.
//!
//! Words of the map's payload, behind the state words: the bound, or 0; the bytes in use; the hand; a word zero; then, behind the places, a byte of
//! hints for each bucket. The hash puts each key of a bucket into one of eight parts; bit i of the hints is set when a key of part i is looked at, and
//! cleared when the hand comes by.
//!
//! None of these words decides what is in the map. A process that is killed between the change of a bucket and that of the bytes in use leaves a
//! wrong sum: each turn of the hand begins with a new count.

use std::sync::atomic::Ordering;

use tenure_core::sync::Word;

use super::places;
use crate::state::STATE_WORDS;

const MAX: usize = STATE_WORDS;
const USED: usize = STATE_WORDS + 1;
const HAND: usize = STATE_WORDS + 2;

/// The position of the hints.
fn hints_at(buckets: u32) -> usize {
    places::FIRST + places::words_of(buckets)
}

/// The words of the payload behind the state words.
pub(super) fn words_of(max_bytes: u64, buckets: u32) -> Vec<u64> {
    let hints = if max_bytes == 0 { 0 } else { buckets as usize / 8 };
    let mut words = vec![0; hints_at(buckets) - STATE_WORDS + hints];
    words[MAX - STATE_WORDS] = max_bytes;
    words
}

/// The words of a bounded map. All accesses are Relaxed: they are hints, and publish nothing.
#[derive(Clone, Copy)]
pub(super) struct Clock<'m> {
    words: &'m [Word],
    hints: &'m [Word],
}

impl<'m> Clock<'m> {
    /// `words` are those of the payload; `None` if the map has no bound. The outer `None`: they are too few.
    pub(super) fn of(words: &'m [Word], buckets: u32) -> Option<Option<Self>> {
        let has_bound = words.get(MAX)?.load(Ordering::Relaxed) != 0;
        let hints = words.get(hints_at(buckets)..)?;
        let count = if has_bound { buckets as usize / 8 } else { 0 };
        (hints.len() >= count).then_some(has_bound.then_some(Self { words, hints }))
    }

    pub(super) fn is_over(self) -> bool {
        let (used, max) = (self.words[USED].load(Ordering::Relaxed), self.words[MAX].load(Ordering::Relaxed));
        // Below zero if the sum is wrong.
        used.cast_signed() > max.min(i64::MAX as u64).cast_signed()
    }

    /// The record of a bucket has become so much longer.
    pub(super) fn add(self, bytes: i64) {
        self.words[USED].fetch_add(bytes.cast_unsigned(), Ordering::Relaxed);
    }

    /// The sum is right again, except for changes that others made while `count` counted.
    pub(super) fn recount(self, count: impl FnOnce() -> Option<u64>) {
        let before = self.words[USED].load(Ordering::Relaxed);
        if let Some(now) = count() {
            self.add(now.wrapping_sub(before).cast_signed());
        }
    }

    /// The next bucket of the hand, of so many minus 1.
    pub(super) fn advance(self, mask: u32) -> u32 {
        self.words[HAND].fetch_add(1, Ordering::Relaxed) as u32 & mask
    }

    /// A key of a bucket was looked at. Stores only if that is news.
    pub(super) fn touch(self, bucket: u32, eighth: u8) {
        let Some((word, shift)) = self.hints(bucket) else { return };
        let bit = 1 << (shift + u32::from(eighth));
        if word.load(Ordering::Relaxed) & bit == 0 {
            word.fetch_or(bit, Ordering::Relaxed);
        }
    }

    /// The hints of a bucket; from now on none is set.
    pub(super) fn take_hints(self, bucket: u32) -> u8 {
        let Some((word, shift)) = self.hints(bucket) else { return 0 };
        match (word.load(Ordering::Relaxed) >> shift) as u8 {
            0 => 0,
            _ => (word.fetch_and(!(0xff << shift), Ordering::Relaxed) >> shift) as u8,
        }
    }

    fn hints(self, bucket: u32) -> Option<(&'m Word, u32)> {
        Some((self.hints.get(bucket as usize / 8)?, bucket % 8 * 8))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(max_bytes: u64, buckets: u32) -> Vec<Word> {
        let rest = words_of(max_bytes, buckets);
        [0; STATE_WORDS].into_iter().chain(rest).map(Word::new).collect()
    }

    #[test]
    fn the_payload_has_the_words_of_a_clock() {
        for max in [0, 1000] {
            let words = words(max, 64);
            let clock = Clock::of(&words, 64).unwrap();
            assert_eq!(clock.is_some(), max != 0);
            assert!(Clock::of(&words[..words.len() - 1], 64).is_none());
        }
    }

    #[test]
    fn a_wrong_sum_is_right_after_a_count() {
        let words = words(1000, 64);
        let clock = Clock::of(&words, 64).unwrap().unwrap();
        clock.add(1001);
        assert!(clock.is_over());
        // A killed process has removed 500 bytes, and has not said so; another one inserts meanwhile.
        clock.recount(|| {
            clock.add(400);
            Some(501)
        });
        assert!(!clock.is_over());
        clock.add(99);
        assert!(!clock.is_over());
        clock.add(1);
        assert!(clock.is_over());
        // Below zero, where a process was killed that had not yet said what it inserted.
        clock.add(-2000);
        assert!(!clock.is_over());
        clock.recount(|| None);
        assert!(!clock.is_over());
        clock.recount(|| Some(2000));
        assert!(clock.is_over());
    }

    #[test]
    fn hints_are_those_of_their_bucket() {
        let words = words(1, 64);
        let clock = Clock::of(&words, 64).unwrap().unwrap();
        for bucket in 0..64 {
            assert_eq!(clock.take_hints(bucket), 0);
            for eighth in [0, 3, 7] {
                clock.touch(bucket, eighth);
            }
        }
        for bucket in 0..64 {
            assert_eq!((clock.take_hints(bucket), clock.take_hints(bucket)), (0b1000_1001, 0));
        }
    }

    #[test]
    fn the_hand_goes_round() {
        let words = words(1, 64);
        let clock = Clock::of(&words, 64).unwrap().unwrap();
        let turn: Vec<u32> = (0..130).map(|_| clock.advance(63)).collect();
        assert!(turn.iter().zip(0u32..).all(|(bucket, at)| *bucket == at % 64));
    }
}
