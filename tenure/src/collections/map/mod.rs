//! A map from bytes to bytes.
//!
//! A bucket is one slot. It is empty, or it holds a handle whose payload is the record of the bucket: all its pairs, see `record.rs`. A record
//! never changes. A change of the bucket is a new record, and one CAS of the slot from the old record's name to the new one's: names of
//! handles never come back, so the CAS succeeds only if the bucket has not changed since the old record was found there. That CAS is the
//! instant of the change, and the load of the slot is the instant of a `get`. There are no two pairs of one key, no half-written
//! pairs, no lock, and nothing of the map's own for a recovery to repair: a process that is killed holds at most a record, as it holds
//! other handles.
//!
//! The price is that a change copies the other pairs of its bucket: on average fewer than one while the map is within its capacity.
//!
//! verify/models/map.pml is the model.

mod clock;
mod error;
mod places;
mod record;
mod sip;

use std::cell::Cell;
use std::fmt;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::ops::Range;
use std::slice;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tenure_core::mutant;
use tenure_core::sync::Word;
use tenure_slab::{INLINE_BYTES, Look, Payload, Place as RecordPlace, Token};

use crate::error::{CreateError, OpenHandleError, UseError};
use crate::handle::{Handle, Raw};
use crate::kind::Kind;
use crate::member::Member;
use crate::names::{Name, Named, NamedError};
use crate::object::Object;
use crate::place::{Key, Place};
use crate::raw::RawHandle;
use crate::shared::{Caches, Shared};
use crate::slots::sealed::{Count, Keep};
use crate::state::{CONTAINER_FIRST, CONTAINER_SLOTS};

use clock::Clock;
pub use error::MapError;
use places::{Places, confirmed};
pub(crate) use record::is_whole;
use record::{Copied, Draft, Malformed, Pairs, Selection, Source, copy_of, find};

impl From<Malformed> for MapError {
    #[cold]
    fn from(_: Malformed) -> Self {
        Self::Corrupt("a record of the map is no sequence of pairs".into())
    }
}

/// How a map is made: see [`Map::create`]. A number is a capacity.
///
/// ```
/// # use tenure::collections::{Map, MapOptions};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let space = tenure::Space::options().container_slots(64).handles(128).scratch(1 << 20).anonymous()?;
/// # let me = space.join()?;
/// let cache = Map::create(&me, MapOptions::new(64).max_bytes(4096))?;
/// for number in 0..1000u32 {
///     cache.insert(&number.to_le_bytes(), &[7; 100])?;
/// }
/// assert!(cache.bytes()? <= 4096);
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapOptions {
    capacity: u32,
    max_bytes: u64,
}

impl MapOptions {
    /// A map for so many pairs, without a bound.
    #[must_use]
    pub fn new(capacity: u32) -> Self {
        Self { capacity, max_bytes: 0 }
    }

    /// Bounds the bytes of all records; 0 is no bound. An insertion that exceeds it evicts pairs that were not looked at
    /// lately, bucket by bucket.
    ///
    /// A pair takes 8 bytes, 16 if it expires, and its key and its value, each in whole words. While several processes insert, or after some were killed while they
    /// did, the bound may be exceeded by the records that they were inserting, until the next turn through all buckets.
    #[must_use]
    pub fn max_bytes(self, bytes: u64) -> Self {
        Self { max_bytes: bytes, ..self }
    }

    fn buckets(self) -> u32 {
        self.capacity.clamp(tenure_slab::CHUNK_SLOTS, 1 << 31).next_power_of_two()
    }

    /// The state words of a new map: the key of the hash, from what the operating system gives the standard library; the number of slots; the
    /// first slot, which the creation fills in.
    fn state(self) -> [u64; 4] {
        const { assert!(SECRET == 0 && CONTAINER_SLOTS == 2 && CONTAINER_FIRST == 3) };
        let [first, second] = [(); 2].map(|()| RandomState::new().build_hasher().finish());
        [first, second, self.buckets().into(), 0]
    }

    /// The payload behind the state words.
    ///
    /// # Errors
    ///
    /// The space has not that many container slots: before anything of that size is allocated.
    fn rest(self, member: &Member) -> Result<Vec<u8>, CreateError> {
        let (slots, capacity) = (self.buckets(), member.shared().slab.container_slots());
        if slots > capacity {
            return Err(CreateError::ContainerSlots { slots, capacity });
        }
        let words = clock::words_of(self.max_bytes, slots);
        Ok(words.into_iter().flat_map(u64::to_le_bytes).collect())
    }
}

impl From<u32> for MapOptions {
    fn from(capacity: u32) -> Self {
        Self::new(capacity)
    }
}

/// A map from bytes to bytes, shared by all members. What is in the map belongs to the map: it outlives the member that inserted it, and
/// any member can replace and remove it.
///
/// ```
/// # use tenure::collections::Map;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let space = tenure::Space::options().container_slots(64).handles(64).scratch(1 << 20).anonymous()?;
/// # let (me, other) = (space.join()?, space.join()?);
/// let map = Map::create(&me, 64)?;
/// map.insert(b"tea", b"green")?;
/// let theirs = Map::open(&other, map.token())?; // usually in another process
/// drop((map, me));
/// assert_eq!(theirs.get(b"tea")?.as_deref(), Some(&b"green"[..]));
/// assert!(theirs.remove(b"tea")?);
/// assert!(theirs.is_empty()?);
/// # Ok(()) }
/// ```
///
/// # Progress
///
/// Lock-free, and waits for no other process: an operation is repeated only if another one has changed the same bucket meanwhile.
///
/// # Crash
///
/// A process that is killed at any instruction has made its change or not; nothing is lost or left.
///
/// # Limits
///
/// Keys have less than 2^31 bytes, values less than 2^32. Beyond its capacity a map becomes slower, and refuses pairs once their bucket has 16.
pub struct Map {
    object: Object,
    /// The slot of the first bucket.
    first: u32,
    /// The number of buckets, a power of two, minus 1.
    mask: u32,
    /// Whether it has a bound in bytes.
    is_bounded: bool,
    /// The key of the hash.
    secret: [u64; 2],
}

/// The part of the hash that a hint is about: not that of the bucket.
fn eighth(hash: u64) -> u8 {
    (hash >> 61) as u8
}

/// The position of the key of the hash among the state words.
const SECRET: usize = 0;

/// What a change does with the pair of a key.
enum Act<'v> {
    Keep,
    /// The value, and the deadline.
    Put(&'v [u8], Option<u64>),
    Remove,
}

/// The result of a change: whether there was a pair of the key, and whether it was changed.
struct Changed {
    was_there: bool,
    is_changed: bool,
}

impl Map {
    /// Creates an empty map. `options` is usually its capacity, a number of pairs: the map takes as many container slots, rounded up to a power
    /// of two, at least 64, and at most as many handles as it has pairs.
    ///
    /// # Errors
    ///
    /// [`CreateError`], for instance [`CreateError::ContainerSlots`]; nothing was created.
    pub fn create<'a>(
        place: impl Into<Place<'a>>,
        options: impl Into<MapOptions>,
    ) -> Result<Self, CreateError> {
        let (place, options) = (place.into(), options.into());
        let rest = options.rest(place.member)?;
        Object::create(place, Kind::MAP, options.state(), &rest)?.just_created(Self::over)
    }

    /// Opens the map that has the name, or creates it, in one step; see [`Member::create_or_open`].
    ///
    /// ```
    /// # use tenure::collections::Map;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().container_slots(64).handles(64).scratch(1 << 20).anonymous()?;
    /// # let (me, other) = (space.join()?, space.join()?);
    /// let map = Map::create_or_open(&me, "prices", 64)?.into_inner();
    /// map.insert(b"tea", b"3.20")?;
    /// let theirs = Map::create_or_open(&other, "prices", 64)?; // usually in another process
    /// assert!(!theirs.is_created());
    /// assert_eq!(theirs.into_inner().get(b"tea")?.as_deref(), Some(&b"3.20"[..]));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`NamedError`]; nothing is held.
    pub fn create_or_open(
        member: &Member,
        name: &str,
        options: impl Into<MapOptions>,
    ) -> Result<Named<Self>, NamedError> {
        let options = options.into();
        let named = Object::create_or_open(
            member,
            Name::new(name)?,
            Kind::MAP,
            options.state(),
            &options.rest(member)?,
        )?;
        Ok(named.try_map(Self::over)?)
    }

    /// Opens the map of a token, or the one that has a name.
    ///
    /// # Errors
    ///
    /// [`OpenHandleError`], for instance [`OpenHandleError::ForeignKind`]; nothing is held.
    pub fn open<'k>(member: &Member, key: impl Into<Key<'k>>) -> Result<Self, OpenHandleError> {
        Self::over(Object::open(member, Kind::MAP, key.into())?)
    }

    /// Opens the same map once more.
    ///
    /// # Errors
    ///
    /// [`OpenHandleError`].
    pub fn try_clone(&self) -> Result<Self, OpenHandleError> {
        Self::over(self.object.try_clone()?)
    }

    /// Checks the words of the payload.
    fn over(object: Object) -> Result<Self, OpenHandleError> {
        // Relaxed: written before the handle was published, never changed.
        let words = object.state()?.each_ref().map(|word| word.load(Ordering::Relaxed));
        let secret = [words[SECRET], words[SECRET + 1]];
        let (first, buckets) = (words[CONTAINER_FIRST], words[CONTAINER_SLOTS]);
        if let (Ok(first), Ok(buckets)) = (u32::try_from(first), u32::try_from(buckets))
            && buckets.is_power_of_two()
            && let Some(clock) = Clock::of(object.words()?, buckets)
            && object.shared().slab.owns_slots(object.identity(), first, buckets)
        {
            let is_bounded = clock.is_some();
            return Ok(Self { object, first, mask: buckets - 1, is_bounded, secret });
        }
        Err(OpenHandleError::Corrupt(format!("a map that does not own {buckets} slots from {first} on")))
    }

    /// The hash of a key: SipHash-1-3 with a secret of the map. Members of all versions must find the same bucket, and a stranger whose keys a
    /// program passes on must not be able to choose keys of one bucket.
    #[inline(always)]
    fn hash(&self, key: &[u8]) -> u64 {
        sip::hash(self.secret, key)
    }

    /// The slot of the bucket of a key.
    pub(crate) fn slot_of(&self, key: &[u8]) -> u32 {
        self.slot_at(self.hash(key))
    }

    #[inline]
    fn slot_at(&self, hash: u64) -> u32 {
        self.first + (hash as u32 & self.mask)
    }

    /// The token: 64 bits to pass to other processes.
    #[must_use]
    pub fn token(&self) -> Token {
        self.object.token()
    }

    /// The number of buckets: the capacity, rounded up to a power of two.
    #[must_use]
    pub fn buckets(&self) -> u32 {
        self.mask + 1
    }

    fn shared(&self) -> Result<&Arc<Shared>, MapError> {
        let shared = self.object.shared();
        shared.lease.check()?;
        Ok(shared)
    }

    /// A copy of the value of a key.
    ///
    /// ```
    /// # use tenure::collections::Map;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().container_slots(64).handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let map = Map::create(&me, 64)?;
    /// map.insert(b"tea", b"green")?;
    /// assert_eq!(map.get(b"tea")?, Some(b"green".to_vec()));
    /// assert_eq!(map.get(b"coffee")?, None);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`MapError`].
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, MapError> {
        let mut value = Vec::new();
        Ok(self.get_into(key, &mut value)?.then_some(value))
    }

    /// Replaces the contents of `to` by the value of a key, or leaves it empty. Returns whether there is a value.
    ///
    /// # Errors
    ///
    /// [`MapError`]; the contents are arbitrary.
    pub fn get_into(&self, key: &[u8], to: &mut Vec<u8>) -> Result<bool, MapError> {
        let (shared, hash) = (self.shared()?, self.hash(key));
        let guess = self.places()?.guess(hash as u32 & self.mask);
        let Some(look) = shared.look(self.slot_at(hash))? else {
            to.clear();
            return Ok(false);
        };
        if let Ok(record) = shared.words_guessed(&look, guess) {
            let copied = copy_of(record, key, to);
            // If not, the words may have been anything.
            if look.is_still() {
                if copied == Copied::All {
                    self.touch(hash)?;
                    return Ok(true);
                }
                if copied == Copied::Absent {
                    to.clear();
                    return Ok(false);
                }
            }
        }
        self.get_again(key, to)
    }

    /// The rest of [`Self::get_into`]: the value is a large one, or the bucket has changed.
    #[cold]
    #[inline(never)]
    fn get_again(&self, key: &[u8], to: &mut Vec<u8>) -> Result<bool, MapError> {
        let hash = self.hash(key);
        let copied = self.read(self.slot_at(hash), |record| match copy_of(record, key, to) {
            Copied::Malformed => Err(Malformed),
            copied => Ok(copied),
        })?;
        match copied {
            Some(Copied::All) => {
                self.touch(hash)?;
                return Ok(true);
            }
            Some(Copied::Large) => {
                to.clear();
                return Ok(self.with(key, |value| to.extend_from_slice(value))?.is_some());
            }
            _ => {}
        }
        // Of a round that was repeated.
        to.clear();
        Ok(false)
    }

    /// Passes the value of a key to `use_it`, in shared memory, without a copy; the member holds it meanwhile.
    ///
    /// ```
    /// # use tenure::collections::Map;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().container_slots(64).handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let map = Map::create(&me, 64)?;
    /// map.insert(b"tea", b"green")?;
    /// assert_eq!(map.with(b"tea", |value| value.len())?, Some(5));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`MapError`].
    pub fn with<R>(&self, key: &[u8], use_it: impl FnOnce(&[u8]) -> R) -> Result<Option<R>, MapError> {
        let hash = self.hash(key);
        let Some(record) = self.open_record(self.slot_at(hash))? else { return Ok(None) };
        self.touch(hash)?;
        let bytes = record.bytes()?;
        Ok(find(record.words()?, key)?.map(|pair| use_it(&bytes[pair.value_range()])))
    }

    /// Holds the value of a key: it stays as it is while the entry lives, also after it was replaced or removed in the map.
    ///
    /// ```
    /// # use tenure::collections::Map;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().container_slots(64).handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let map = Map::create(&me, 64)?;
    /// map.insert(b"tea", b"green")?;
    /// let entry = map.get_handle(b"tea")?.unwrap();
    /// map.insert(b"tea", b"black")?;
    /// assert_eq!(entry.get()?, b"green");
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`MapError`].
    pub fn get_handle(&self, key: &[u8]) -> Result<Option<Entry>, MapError> {
        let hash = self.hash(key);
        let Some(record) = self.open_record(self.slot_at(hash))? else { return Ok(None) };
        self.touch(hash)?;
        let found = find(record.words()?, key)?.map(|pair| pair.value_range());
        Ok(found.map(|range| Entry { record: record.into_handle(), range }))
    }

    /// Whether there is a value of the key.
    ///
    /// # Errors
    ///
    /// [`MapError`].
    pub fn contains_key(&self, key: &[u8]) -> Result<bool, MapError> {
        Ok(self.read(self.slot_of(key), |record| Ok(find(record, key)?.is_some()))? == Some(true))
    }

    /// Inserts a copy of the value, or replaces the one of the key. Returns whether there was one.
    ///
    /// ```
    /// # use tenure::collections::Map;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().container_slots(64).handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let map = Map::create(&me, 64)?;
    /// assert!(!map.insert(b"tea", b"green")?);
    /// assert!(map.insert(b"tea", b"black")?);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`MapError`]; the map is unchanged.
    pub fn insert(&self, key: &[u8], value: &[u8]) -> Result<bool, MapError> {
        Ok(self.change(key, |_| Act::Put(value, None))?.was_there)
    }

    /// As [`Map::insert`], for a time: afterwards the pair is in no answer. Its memory comes back with the next change of its bucket, with an
    /// eviction, or by [`Map::remove_expired`]; until then it counts in [`Map::bytes`].
    ///
    /// The time is that of CLOCK_BOOTTIME: it goes on while the machine is suspended, and setting the machine's clock does not change it. A
    /// process in a time namespace whose clock is moved sees deadlines moved.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tenure::collections::Map;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().container_slots(64).handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let map = Map::create(&me, 64)?;
    /// map.insert_for(b"session", b"alice", Duration::from_secs(3600))?;
    /// assert!(map.time_left(b"session")?.is_some_and(|left| left > Duration::from_secs(3000)));
    /// map.insert_for(b"session", b"bob", Duration::ZERO)?;
    /// assert_eq!(map.get(b"session")?, None);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`MapError`]; the map is unchanged.
    pub fn insert_for(&self, key: &[u8], value: &[u8], time: Duration) -> Result<bool, MapError> {
        let deadline = record::deadline_after(time);
        Ok(self.change(key, |_| Act::Put(value, Some(deadline)))?.was_there)
    }

    /// Inserts a copy of the value if there is none of the key. Returns whether it did.
    ///
    /// ```
    /// # use tenure::collections::Map;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().container_slots(64).handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let map = Map::create(&me, 64)?;
    /// assert!(map.insert_new(b"tea", b"green")?);
    /// assert!(!map.insert_new(b"tea", b"black")?); // of any number of callers, one inserts
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`MapError`]; the map is unchanged.
    pub fn insert_new(&self, key: &[u8], value: &[u8]) -> Result<bool, MapError> {
        self.insert_absent(key, value, None)
    }

    /// As [`Map::insert_new`], for a time: see [`Map::insert_for`].
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tenure::collections::Map;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().container_slots(64).handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let map = Map::create(&me, 64)?;
    /// assert!(map.insert_new_for(b"once an hour", b"", Duration::from_secs(3600))?);
    /// assert!(!map.insert_new_for(b"once an hour", b"", Duration::from_secs(3600))?);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`MapError`]; the map is unchanged.
    pub fn insert_new_for(&self, key: &[u8], value: &[u8], time: Duration) -> Result<bool, MapError> {
        self.insert_absent(key, value, Some(record::deadline_after(time)))
    }

    fn insert_absent(&self, key: &[u8], value: &[u8], deadline: Option<u64>) -> Result<bool, MapError> {
        let act = |draft: &Draft<'_>| if draft.is_found() { Act::Keep } else { Act::Put(value, deadline) };
        Ok(self.change(key, act)?.is_changed)
    }

    /// The time until the pair of a key expires: never zero, and [`Duration::MAX`] if it does not expire. `None` if there is no such pair.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tenure::collections::Map;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().container_slots(64).handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let map = Map::create(&me, 64)?;
    /// assert_eq!(map.time_left(b"tea")?, None);
    /// map.insert(b"tea", b"green")?;
    /// assert_eq!(map.time_left(b"tea")?, Some(Duration::MAX));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`MapError`].
    pub fn time_left(&self, key: &[u8]) -> Result<Option<Duration>, MapError> {
        let left = |record: &[Word]| {
            Ok(find(record, key)?.map(|pair| pair.time_left(record).unwrap_or(Duration::MAX)))
        };
        // Zero: it has expired since `find`.
        Ok(self.read(self.slot_of(key), left)?.flatten().filter(|left| !left.is_zero()))
    }

    /// Removes the value of a key. Returns whether there was one.
    ///
    /// # Errors
    ///
    /// [`MapError`]; the map is unchanged.
    pub fn remove(&self, key: &[u8]) -> Result<bool, MapError> {
        let act = |draft: &Draft<'_>| if draft.is_found() { Act::Remove } else { Act::Keep };
        Ok(self.change(key, act)?.is_changed)
    }

    /// If the value of the key is `expected`, makes it `new`, in one step; `None` is no value. Returns whether it did. A value that replaces
    /// another one expires when that would have expired.
    ///
    /// ```
    /// # use tenure::collections::Map;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().container_slots(64).handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let map = Map::create(&me, 64)?;
    /// map.insert(b"state", b"open")?;
    /// assert!(map.compare_exchange(b"state", Some(b"open"), Some(b"closed"))?);
    /// assert!(!map.compare_exchange(b"state", Some(b"open"), None)?);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`MapError`]; the map is unchanged.
    pub fn compare_exchange(
        &self,
        key: &[u8],
        expected: Option<&[u8]>,
        new: Option<&[u8]>,
    ) -> Result<bool, MapError> {
        let is_expected = Cell::new(false);
        self.change(key, |draft| {
            is_expected.set(expected.map_or(!draft.is_found(), |value| draft.is_value(value)));
            match new {
                _ if !is_expected.get() => Act::Keep,
                Some(value) => Act::Put(value, draft.deadline()),
                None if draft.is_found() => Act::Remove,
                None => Act::Keep,
            }
        })?;
        Ok(is_expected.get())
    }

    /// Removes all pairs, bucket by bucket: pairs that others insert meanwhile may stay.
    ///
    /// # Errors
    ///
    /// [`MapError`].
    pub fn clear(&self) -> Result<(), MapError> {
        let shared = self.shared()?;
        shared.check_writer()?;
        for slot in self.slots() {
            while let Some(look) = shared.look(slot)? {
                if shared.evict_exactly(slot, look.token()) {
                    self.grew(slot, -bytes_of(&look).cast_signed())?;
                } else {
                    Shared::check_changed(&look)?;
                }
            }
        }
        Ok(())
    }

    /// Gives back the memory of pairs that have expired, bucket by bucket. For maps without a bound, now and then, by any member.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tenure::collections::Map;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().container_slots(64).handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let map = Map::create(&me, 64)?;
    /// map.insert_for(b"tea", b"green", Duration::ZERO)?;
    /// assert!(map.bytes()? > 0);
    /// map.remove_expired()?;
    /// assert_eq!(map.bytes()?, 0);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`MapError`].
    pub fn remove_expired(&self) -> Result<(), MapError> {
        self.shared()?.check_writer()?;
        let clock = self.clock()?;
        // A bucket that keeps pairs needs a new record. If there is no memory for it, those that keep none make room.
        let mut later = Vec::new();
        for bucket in 0..self.buckets() {
            match self.thin(clock, bucket, |former| Selection::of_all(former)) {
                Err(MapError::Create(_)) => later.push(bucket),
                result => result?,
            }
        }
        later.into_iter().try_for_each(|bucket| self.thin(clock, bucket, |former| Selection::of_all(former)))
    }

    /// The number of pairs, counted bucket by bucket: exact if nobody changes the map meanwhile.
    ///
    /// # Errors
    ///
    /// [`MapError`].
    pub fn len(&self) -> Result<usize, MapError> {
        let mut len = 0;
        for slot in self.slots() {
            let count = |record: &[Word]| Ok(Selection::of_all(record)?.len());
            len += self.read(slot, count)?.unwrap_or(0);
        }
        Ok(len)
    }

    /// The bytes of all records, counted bucket by bucket: 8 for each pair, 8 more for one that expires, and its key and value in whole words. What
    /// the blocks of the records have beyond that is not counted.
    ///
    /// # Errors
    ///
    /// [`MapError`].
    pub fn bytes(&self) -> Result<u64, MapError> {
        let shared = self.shared()?;
        let bytes_of = |slot| Ok(shared.look(slot)?.map_or(0, |look| bytes_of(&look)));
        self.slots().map(bytes_of).sum()
    }

    /// Whether all buckets had no pair, each when it was looked at.
    ///
    /// # Errors
    ///
    /// [`MapError`].
    pub fn is_empty(&self) -> Result<bool, MapError> {
        for slot in self.slots() {
            if self.read(slot, |record| Ok(Selection::of_all(record)?.len()))?.is_some_and(|pairs| pairs > 0)
            {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// All pairs, bucket by bucket: each pair that is in the map during the whole iteration is seen once, one that is inserted or removed
    /// meanwhile may be seen or not.
    ///
    /// ```
    /// # use tenure::collections::Map;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().container_slots(64).handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let map = Map::create(&me, 64)?;
    /// map.insert(b"tea", b"green")?;
    /// for pair in map.iter() {
    ///     assert_eq!(pair?, (b"tea".to_vec(), b"green".to_vec()));
    /// }
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn iter(&self) -> Iter<'_> {
        Iter { map: self, slots: self.slots(), pairs: Vec::new() }
    }

    #[inline(always)]
    fn places(&self) -> Result<Places<'_>, MapError> {
        Ok(Places::of(self.object.words()?, self.buckets()))
    }

    fn clock(&self) -> Result<Option<Clock<'_>>, MapError> {
        let words = if self.is_bounded { self.object.words()? } else { return Ok(None) };
        Ok(Clock::of(words, self.buckets()).flatten())
    }

    #[inline]
    fn touch(&self, hash: u64) -> Result<(), MapError> {
        if let Some(clock) = self.clock()? {
            clock.touch(hash as u32 & self.mask, eighth(hash));
        }
        Ok(())
    }

    /// Says that the record of a bucket has become longer, and evicts others if there are too many bytes: at most in two turns through all buckets.
    fn grew(&self, slot: u32, bytes: i64) -> Result<(), MapError> {
        let Some(clock) = self.clock()? else { return Ok(()) };
        clock.add(bytes);
        for _ in 0..2 * u64::from(self.buckets()) {
            if !clock.is_over() {
                break;
            }
            let bucket = clock.advance(self.mask);
            if bucket == 0 {
                clock.recount(|| self.bytes().ok());
            }
            if self.first + bucket != slot {
                // What is kept of a bucket needs memory. If there is none, buckets of which nothing is kept make room.
                match self.evict(clock, bucket) {
                    Err(MapError::Create(_)) => {}
                    result => result?,
                }
            }
        }
        Ok(())
    }

    /// Evicts the pairs of a bucket that have expired, or were not looked at since the last time, if it can do so at once: if not, others have
    /// changed the bucket.
    fn evict(&self, clock: Clock<'_>, bucket: u32) -> Result<(), MapError> {
        self.thin(Some(clock), bucket, |former| {
            let hints = clock.take_hints(bucket);
            Selection::of(former, |key| hints >> eighth(self.hash(key)) & 1 != 0)
        })
    }

    /// Leaves a bucket those of its pairs that are selected, if it can do so at once: if not, others have changed the bucket.
    fn thin(
        &self,
        clock: Option<Clock<'_>>,
        bucket: u32,
        select: impl for<'s> FnOnce(&'s [Word]) -> Result<Selection<'s>, Malformed>,
    ) -> Result<(), MapError> {
        let (shared, places, slot) = (self.shared()?, self.places()?, self.first + bucket);
        let Some(look) = shared.look(slot)? else { return Ok(()) };
        let rest = match shared.words_of(&look).and_then(select) {
            Ok(rest) => rest,
            Err(malformed) if look.is_still() => return Err(malformed.into()),
            Err(_) => return Ok(()),
        };
        let words = rest.words();
        let is_thinner = if rest.is_all() {
            false
        } else if words == 0 {
            shared.evict_exactly(slot, look.token())
        } else {
            shared.put_record(&rest, words, slot, Some(look.token()), |at| places.tell(bucket, at))?
        };
        if is_thinner {
            if let Some(clock) = clock {
                clock.add((words as u64 * 8).wrapping_sub(bytes_of(&look)).cast_signed());
            }
        } else if !rest.is_all() {
            Shared::check_changed(&look)?;
        }
        Ok(())
    }

    fn slots(&self) -> Range<u32> {
        self.first..self.first + self.buckets()
    }

    /// Opens the record that a slot names.
    fn open_record(&self, slot: u32) -> Result<Option<Record<'_>>, MapError> {
        let shared = self.shared()?;
        loop {
            let Some(info) = shared.slab.slot(slot) else { return Ok(None) };
            match shared.open(Kind::MAP_RECORD, info.token) {
                Ok(held) => return Ok(Some(Record { shared, held })),
                // Replaced, and over: the generation says so.
                Err(_) if shared.slab.slot(slot) != Some(info) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Reads the record of a bucket, which it does not hold: `read` may be called with any words, and its result counts only if they were the
    /// record's. `None` for an empty bucket. The instant of the answer is that of the load of the slot.
    fn read<R>(
        &self,
        slot: u32,
        mut read: impl FnMut(&[Word]) -> Result<R, Malformed>,
    ) -> Result<Option<R>, MapError> {
        let shared = self.shared()?;
        loop {
            let Some(look) = shared.look(slot)? else { return Ok(None) };
            let result = shared.words_of(&look).and_then(&mut read);
            if look.is_still() {
                return Ok(Some(result?));
            }
        }
    }

    /// Changes the pair of a key, in one step, as `act` says. `act` may be called with any record, and the last call counts.
    fn change<'v>(&self, key: &'v [u8], act: impl Fn(&Draft<'_>) -> Act<'v>) -> Result<Changed, MapError> {
        let shared = self.shared()?;
        shared.check_writer()?;
        let (slot, places) = (self.slot_of(key), self.places()?);
        loop {
            let guess = places.guess(slot - self.first);
            let look = shared.look(slot)?;
            let is_still = || look.is_none_or(|look| look.is_still());
            let former = look.map_or(Ok(&[][..]), |look| shared.words_guessed(&look, guess));
            let draft = match former.and_then(|former| Draft::without(former, key)) {
                Ok(draft) => draft,
                Err(malformed) if is_still() => return Err(malformed.into()),
                Err(_) => continue,
            };
            let was_there = draft.is_found();
            let new = match act(&draft) {
                Act::Keep if is_still() => return Ok(Changed { was_there, is_changed: false }),
                Act::Keep => continue,
                Act::Put(value, deadline) => Some((value, deadline)),
                Act::Remove => None,
            };
            let token = look.map(|look| look.token());
            // That nobody has changed the bucket since `look`, the CAS of the slot says.
            let mut bytes = 0;
            let is_changed = if draft.others() == 0 && new.is_none() {
                token.is_none_or(|token| shared.evict_exactly(slot, token))
            } else if draft.others() >= record::PAIRS_MAX && new.is_some() {
                match self.clock()? {
                    // If all were looked at, the next try finds that none was since.
                    Some(clock) => self.evict(clock, slot - self.first)?,
                    None if is_still() => return Err(MapError::Full { pairs: draft.others() }),
                    None => {}
                }
                continue;
            } else {
                let too_large =
                    MapError::TooLarge { key: key.len(), value: new.map_or(0, |(value, _)| value.len()) };
                let draft = match new {
                    Some((value, deadline)) => draft.with(value, deadline),
                    None => draft,
                };
                let words = draft.words().ok_or(too_large)?;
                bytes = words as u64 * 8;
                shared.put_record(&draft, words, slot, token, |at| places.tell(slot - self.first, at))?
            };
            if is_changed {
                let former = look.map_or(0, |look| bytes_of(&look));
                // The change is made, whatever becomes of an eviction.
                let _ = self.grew(slot, bytes.wrapping_sub(former).cast_signed());
                return Ok(Changed { was_there, is_changed: true });
            }
            if let Some(look) = look {
                Shared::check_changed(&look)?;
            }
        }
    }
}

/// The bytes of a record that was looked at.
fn bytes_of(look: &Look<'_>) -> u64 {
    match look.place() {
        RecordPlace::Inline(_, bytes) => bytes as u64,
        RecordPlace::Block(_, bytes) => bytes,
    }
}

/// A count of a record.
struct Record<'m> {
    shared: &'m Arc<Shared>,
    held: RawHandle,
}

impl Record<'_> {
    fn bytes(&self) -> Result<&[u8], MapError> {
        let payload = self.shared.payload(&self.shared.slab, self.held)?;
        // SAFETY: held as long as the slice is used. The payload is that of a record, since it was opened as that kind; it was written before the
        // handle was published, and never changes.
        Ok(unsafe { payload.as_ref() })
    }

    fn words(&self) -> Result<&[Word], MapError> {
        let payload = self.shared.payload(&self.shared.slab, self.held)?;
        // SAFETY: as above; a record is aligned to words.
        Ok(unsafe { slice::from_raw_parts(payload.as_ptr().cast(), payload.len() / 8) })
    }

    fn into_handle(self) -> Handle<Raw> {
        let handle = Handle {
            shared: Arc::clone(self.shared),
            held: self.held,
            kind: Kind::MAP_RECORD,
            value: std::marker::PhantomData,
        };
        std::mem::forget(self);
        handle
    }
}

impl Drop for Record<'_> {
    fn drop(&mut self) {
        if self.shared.lease.check().is_err() {
            return;
        }
        let (slab, acquire) = (&self.shared.slab, self.shared.lease.acquire());
        let free = |block| self.shared.free_block(block);
        // The count is this record's. If its word is corrupted, there is nothing to close.
        let _ = slab.close(acquire, self.shared.ref_counts(), None, self.held.held, free);
    }
}

/// A value of a map that this member holds: see [`Map::get_handle`].
#[derive(Debug)]
pub struct Entry {
    record: Handle<Raw>,
    range: Range<usize>,
}

impl Entry {
    /// The value, in shared memory. Its address is a multiple of 8.
    ///
    /// # Errors
    ///
    /// [`UseError`] after the member has left, or in a forked child.
    pub fn get(&self) -> Result<&[u8], UseError> {
        self.record.get()?.get(self.range.clone()).ok_or(UseError::Stale)
    }
}

/// The pairs of a map: see [`Map::iter`].
#[derive(Debug)]
pub struct Iter<'m> {
    map: &'m Map,
    slots: Range<u32>,
    /// Those of the last bucket that are still to come.
    pairs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Iter<'_> {
    fn load(&mut self, slot: u32) -> Result<(), MapError> {
        let pairs = &mut self.pairs;
        let found = self.map.read(slot, |record| {
            pairs.clear();
            for pair in Pairs::new(record) {
                let (pair, mut copy) = (pair?, (Vec::new(), Vec::new()));
                if pair.is_expired(record) {
                    continue;
                }
                pair.copy_key(record, &mut copy.0);
                pair.copy_value(record, &mut copy.1);
                pairs.push(copy);
            }
            Ok(())
        })?;
        if found.is_none() {
            // Of a round that was repeated.
            self.pairs.clear();
        }
        Ok(())
    }
}

impl Iterator for Iter<'_> {
    type Item = Result<(Vec<u8>, Vec<u8>), MapError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(pair) = self.pairs.pop() {
                return Some(Ok(pair));
            }
            let slot = self.slots.next()?;
            if let Err(error) = self.load(slot) {
                self.slots = 0..0;
                self.pairs.clear();
                return Some(Err(error));
            }
        }
    }
}

impl<'m> IntoIterator for &'m Map {
    type Item = Result<(Vec<u8>, Vec<u8>), MapError>;
    type IntoIter = Iter<'m>;

    fn into_iter(self) -> Iter<'m> {
        self.iter()
    }
}

impl Keep for Map {
    fn count(&self) -> Count<'_> {
        self.object.count()
    }
}

impl fmt::Debug for Map {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Map").field("token", &self.token()).field("buckets", &self.buckets()).finish()
    }
}

impl Shared {
    #[inline(always)]
    fn look(&self, slot: u32) -> Result<Option<Look<'_>>, MapError> {
        #[cold]
        #[inline(never)]
        fn refused(error: tenure_slab::OpenError) -> MapError {
            OpenHandleError::from(error).into()
        }
        self.slab.look(slot, Kind::MAP_RECORD.number()).map_err(refused)
    }

    /// The words at the place of a record that was looked at: those of the record as long as the slot holds it, and any words afterwards.
    #[inline(always)]
    fn words_of<'s>(&'s self, look: &Look<'s>) -> Result<&'s [Word], Malformed> {
        self.words_guessed(look, u64::MAX)
    }

    /// As [`Self::words_of`], and sooner if the record lies at the offset that was guessed.
    #[inline(always)]
    fn words_guessed<'s>(&'s self, look: &Look<'s>, guess: u64) -> Result<&'s [Word], Malformed> {
        match look.place() {
            RecordPlace::Inline(words, bytes) if bytes.is_multiple_of(8) => {
                words.get(..bytes / 8).ok_or(Malformed)
            }
            RecordPlace::Block(offset, bytes) if bytes.is_multiple_of(8) => {
                let offset = if offset == guess { confirmed(guess) } else { offset };
                let at = self.scratch.bytes_at(offset, bytes).ok_or(Malformed)?;
                // SAFETY: inside the region, and aligned to 16 bytes, as `bytes_at` says. Mapped as long as the member; backed, as the record was when
                // it was looked at, and no memory is given back while there is a map [map-memory-stays]. The words are loaded atomically
                // only. A next owner may store to them by plain stores: what was loaded then is not used, as in any seqlock.
                Ok(unsafe { slice::from_raw_parts(at.as_ptr().cast(), bytes as usize / 8) })
            }
            _ => Err(Malformed),
        }
    }

    /// Refuses a slot that was not changed although another process must have been faster.
    fn check_changed(look: &Look<'_>) -> Result<(), MapError> {
        if look.is_still() {
            return Err(MapError::Corrupt("a slot of the map is marked as claimed".into()));
        }
        Ok(())
    }

    /// Makes a new record of so many words, and puts it into the place of the expected one; false if the bucket has changed. `tell_place` gets the
    /// offset of its block afterwards, if it has one.
    ///
    /// # Crash
    ///
    /// The bucket has the one or the other record; recovery ends the one that nobody holds.
    fn put_record(
        &self,
        source: &impl Source,
        words: usize,
        slot: u32,
        expected: Option<Token>,
        tell_place: impl FnOnce(u64),
    ) -> Result<bool, MapError> {
        let caches = &mut *self.common();
        let record = self.create_record(caches, source, words)?;
        let block = self.slab.block_of(record.held);
        let (acquire, ref_counts) = (self.lease.acquire(), self.ref_counts());
        let (blocks, cache) = (&mut caches.blocks, &mut caches.handles.cache);
        let free = |block| self.free_ended(blocks, block);
        let put = if mutant!("map.change.any_record") {
            self.slab.replace(acquire, ref_counts, record.held, slot, free).map(|_| ())
        } else {
            self.slab.replace_exactly(acquire, ref_counts, record.held, slot, expected, cache, free)
        };
        // SAFETY: the count of the new record, which no other code knows.
        let _ = unsafe { self.close(caches, record) };
        match put {
            Ok(()) => {
                // Killed or stopped before this: the place is that of a former record, and only a guess.
                if let Some((offset, _)) = block {
                    tell_place(offset);
                }
                Ok(true)
            }
            // Others have changed the bucket.
            Err(tenure_slab::PutError::Full { .. }) => Ok(false),
            // The record is new, so nobody else puts it anywhere.
            Err(error) => Err(MapError::Corrupt(error.to_string())),
        }
    }

    /// A handle of a new record, held once.
    fn create_record(
        &self,
        caches: &mut Caches,
        source: &impl Source,
        words: usize,
    ) -> Result<RawHandle, CreateError> {
        if words * 8 <= INLINE_BYTES {
            let (mut bytes, mut at) = ([0; INLINE_BYTES], 0);
            source.write(|word| {
                if let Some(to) = bytes.get_mut(at..at + 8) {
                    to.copy_from_slice(&word.to_le_bytes());
                    at += 8;
                }
            });
            return self.publish(caches, Kind::MAP_RECORD, Payload::Inline(&bytes[..words * 8]));
        }
        let block = self.alloc_for(caches, words * 8)?;
        let at = self.scratch.address(block.offset).cast::<Word>();
        // SAFETY: the block was allocated just now, is at least that long, and aligned to 16 bytes.
        let mut to = unsafe { slice::from_raw_parts(at, words) }.iter();
        source.write(|word| {
            if let Some(to) = to.next() {
                // Relaxed: the handle word publishes the record.
                to.store(word, Ordering::Relaxed);
            }
        });
        let payload = Payload::Block { offset: block.offset, len: block.len as u64, label: None };
        self.publish(caches, Kind::MAP_RECORD, payload).inspect_err(|_| {
            // Allocated above, by these caches.
            let _ = caches.blocks.free(block.offset);
        })
    }

    /// Empties the bucket, if it has the expected record.
    fn evict_exactly(&self, slot: u32, expected: Token) -> bool {
        let (acquire, ref_counts) = (self.lease.acquire(), self.ref_counts());
        let blocks = &mut self.common().blocks;
        self.slab.evict_exactly(acquire, ref_counts, slot, expected, |block| self.free_ended(blocks, block))
    }
}
