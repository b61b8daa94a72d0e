//! Where the record of each bucket probably lies: so that a look-up begins to load the record while it loads the slot and the entry that name it.
//!
//! Words of the map's payload: behind those of the bound, 32 bits a bucket, the offset of the record in granules of 16 bytes. Whoever changes
//! a bucket writes its place afterwards. A process that is killed or stopped before that leaves the place of a former record, and so may two changes
//! at once. So a place is only a guess: it is used if the entry of the record says the same.

use std::sync::atomic::{AtomicU32, Ordering};

use tenure_core::sync::Word;

use crate::state::STATE_WORDS;

/// The position of the first place in the payload.
pub(super) const FIRST: usize = STATE_WORDS + 4;

const GRANULE: u64 = 16;

/// The words of the places of so many buckets.
pub(super) const fn words_of(buckets: u32) -> usize {
    buckets as usize / 2
}

/// The places of a map. All accesses are Relaxed: they are guesses, and publish nothing.
#[derive(Clone, Copy)]
pub(super) struct Places<'m>(&'m [AtomicU32]);

impl<'m> Places<'m> {
    /// `words` are those of the payload. With too few, there are no places.
    #[inline(always)]
    pub(super) fn of(words: &'m [Word], buckets: u32) -> Self {
        let words = words.get(FIRST..).and_then(|words| words.get(..words_of(buckets))).unwrap_or_default();
        // SAFETY: each word is two places, aligned as words are, and borrowed as long. Nobody accesses it as a word, but for the creator of the map
        // before others know it.
        Self(unsafe { std::slice::from_raw_parts(words.as_ptr().cast(), words.len() * 2) })
    }

    /// The offset where the record of a bucket probably lies.
    #[inline(always)]
    pub(super) fn guess(self, bucket: u32) -> u64 {
        self.0.get(bucket as usize).map_or(0, |place| u64::from(place.load(Ordering::Relaxed)) * GRANULE)
    }

    /// The record of a bucket lies at this offset now.
    pub(super) fn tell(self, bucket: u32, offset: u64) {
        if let Some(place) = self.0.get(bucket as usize) {
            // A space has at most 64 GiB of scratch memory: 2^32 granules.
            place.store((offset / GRANULE) as u32, Ordering::Relaxed);
        }
    }
}

/// `guess`, which is equal to what it was compared with. The compiler does not know that: if it used the other one, the processor would have
/// to wait for it.
#[inline(always)]
pub(super) fn confirmed(guess: u64) -> u64 {
    #[cfg(not(miri))]
    let guess = {
        let mut guess = guess;
        // SAFETY: no instruction.
        unsafe {
            std::arch::asm!("/* {0} */", inout(reg) guess, options(pure, nomem, nostack, preserves_flags))
        };
        guess
    };
    guess
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Space;
    use crate::collections::{Map, MapOptions};

    #[test]
    fn each_bucket_has_a_place() {
        let words: Vec<Word> = (0..FIRST + 32).map(|_| Word::new(0)).collect();
        let places = Places::of(&words, 64);
        for bucket in 0..64 {
            assert_eq!(places.guess(bucket), 0);
            places.tell(bucket, u64::from(bucket + 1) * GRANULE);
        }
        assert!((0..64).all(|bucket| places.guess(bucket) == u64::from(bucket + 1) * GRANULE));
        assert_eq!(words[..FIRST].iter().map(|word| word.load(Ordering::Relaxed)).sum::<u64>(), 0);
        // A corrupted map: nothing outside is accessed.
        let places = Places::of(&words, 128);
        places.tell(0, 16);
        assert_eq!((places.guess(0), places.guess(127)), (0, 0));
    }

    /// What a process leaves that is killed before it tells the place, and what one leaves that was stopped there for an hour.
    #[test]
    fn a_place_is_only_a_guess() {
        let space = Space::options().container_slots(64).handles(256).scratch(1 << 20).anonymous().unwrap();
        let me = space.join().unwrap();
        for max_bytes in [0, 1 << 20] {
            let map = Map::create(&me, MapOptions::new(64).max_bytes(max_bytes)).unwrap();
            let value = |key: u8| [key; 100];
            (0..100).for_each(|key| assert!(!map.insert(&[key], &value(key)).unwrap()));
            let places = map.places().unwrap();
            let right: Vec<u64> = (0..64).map(|bucket| places.guess(bucket)).collect();
            // Those of other buckets, and those where nothing is.
            for wrong in
                [right.clone(), vec![8 << 20; 64], vec![u64::from(u32::MAX) * GRANULE; 64], vec![0; 64]]
            {
                (0..64).for_each(|bucket| places.tell(bucket, wrong[(bucket as usize + 1) % 64]));
                (0..100).for_each(|key| assert_eq!(map.get(&[key]).unwrap(), Some(value(key).to_vec())));
            }
            (0..100).for_each(|key| assert!(map.insert(&[key], &value(key + 1)).unwrap()));
            (0..100).for_each(|key| assert_eq!(map.get(&[key]).unwrap(), Some(value(key + 1).to_vec())));
            // All are told again, of buckets that have a record in a block.
            let is_told = |bucket: &u32| places.guess(*bucket) != 0;
            assert_eq!((0..64).filter(is_told).count(), right.iter().filter(|place| **place != 0).count());
        }
    }
}
