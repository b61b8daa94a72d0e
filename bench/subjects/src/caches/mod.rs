//! Maps from keys to values that members share: tenure's, tables behind mutexes as one would write them, LMDB, redis and memcached; and
//! dashmap, between threads.

mod dash;
mod lmdb;
mod remote;
mod shards;

use tenure::{Space, collections::Map};

use crate::subject::{Failed, Outcome, Subject};

pub use dash::Dash;
pub use lmdb::Lmdb;
pub use shards::{OfPthread, OfTenure, Shards};

/// A key: text, as memcached wants it.
pub type Key = [u8; 16];
/// A value.
pub type Value = [u8; 100];

/// The key with this number, below 2^32.
#[inline]
#[must_use]
pub fn key(number: u32) -> Key {
    let mut key = *b"key-----........";
    for (digit, place) in key[8..].iter_mut().enumerate() {
        *place = b'a' + (number >> (4 * digit) & 15) as u8;
    }
    key
}

/// A map.
pub trait Cache {
    /// Replaces the contents of `to` by the value of a key. False if there is none.
    ///
    /// # Errors
    /// [`Failed`].
    fn get(&mut self, key: &Key, to: &mut Vec<u8>) -> Outcome<bool>;

    /// Inserts a value, or replaces the one of the key.
    ///
    /// # Errors
    /// [`Failed`].
    fn insert(&mut self, key: &Key, value: &Value) -> Outcome<()>;

    /// Inserts a value for each key below `keys`.
    ///
    /// # Errors
    /// [`Failed`].
    fn fill(&mut self, keys: u32, value: &Value) -> Outcome<()> {
        (0..keys).try_for_each(|number| self.insert(&key(number), value))
    }
}

/// tenure's map, in memory without a name.
pub struct Tenured {
    space: Space,
    keys: u32,
}

impl Tenured {
    /// With a capacity of so many pairs.
    ///
    /// # Errors
    /// The errors of tenure.
    pub fn new(keys: u32) -> Outcome<Self> {
        let slots = keys.next_power_of_two();
        let scratch = u64::from(keys) * 512 + (16 << 20);
        let space = Space::options().handles(2 * slots).container_slots(slots).scratch(scratch).memfd();
        Ok(Self { space: space.map_err(|error| Failed::of("tenure", error))?, keys })
    }
}

impl Subject for Tenured {
    type Member = Map;

    fn join(&self) -> Outcome<Map> {
        let member = self.space.join().map_err(|error| Failed::of("join", error))?;
        let map = Map::create_or_open(&member, "map", self.keys);
        Ok(map.map_err(|error| Failed::of("map", error))?.into_inner())
    }
}

impl Cache for Map {
    #[inline]
    fn get(&mut self, key: &Key, to: &mut Vec<u8>) -> Outcome<bool> {
        self.get_into(key, to).map_err(|error| Failed::of("get", error))
    }

    #[inline]
    fn insert(&mut self, key: &Key, value: &Value) -> Outcome<()> {
        Map::insert(self, key, value).map(drop).map_err(|error| Failed::of("insert", error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::servers::{Memcached, Redis};

    fn keeps<S: Subject<Member: Cache>>(subject: Outcome<S>) {
        let subject = match subject {
            Err(Failed(why)) if why.starts_with("SKIPPED") => return println!("{why}"),
            subject => subject.unwrap(),
        };
        let (mut member, mut to) = (subject.join().unwrap(), Vec::new());
        assert!(!member.get(&key(7), &mut to).unwrap());
        member.fill(100, &[1; 100]).unwrap();
        member.insert(&key(99), &[2; 100]).unwrap();
        for number in 0..100 {
            assert!(member.get(&key(number), &mut to).unwrap());
            assert_eq!(to, [if number == 99 { 2 } else { 1 }; 100]);
        }
        assert!(!member.get(&key(100), &mut to).unwrap());
    }

    #[test]
    fn what_was_inserted_is_found() {
        keeps(Tenured::new(128));
        keeps(Shards::<OfTenure>::new(128));
        keeps(Shards::<OfPthread>::new(128));
        keeps(Dash::<Box<[u8]>, Box<[u8]>>::new(128));
        keeps(Dash::<Key, Value>::new(128));
        keeps(Lmdb::new(128));
        keeps(Redis::new());
        keeps(Memcached::new());
    }

    #[test]
    fn keys_differ() {
        let keys: std::collections::BTreeSet<_> = (0..1 << 16).map(key).collect();
        assert_eq!(keys.len(), 1 << 16);
    }
}
