//! Maps.

use std::ffi::{c_char, c_int, c_void};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use std::{mem, ptr};

use tenure::collections::{Map, MapIter, MapOptions};

use crate::abi::{TENURE_FOREVER, tenure_member, tenure_object};
use crate::error::{Failure, fail, tenure_status};
use crate::guard::{bytes, guard, guard_out, guard_status, null, tell};
use crate::object::{Any, Thing, Ways, create, hand_out, usable};
use crate::registry::Pin;

/// An iteration over a map, and the pair that C looks at.
pub(crate) struct Iteration {
    // Before the map, so that it is dropped first.
    at: Mutex<(MapIter<'static>, Pair)>,
    _map: Pin<Thing>,
}

type Pair = (Vec<u8>, Vec<u8>);

impl Iteration {
    fn over(thing: Pin<Thing>) -> Result<Self, Failure> {
        let map = ptr::from_ref(thing.map()?);
        // SAFETY: the map is neither moved nor dropped while its object is pinned, which it is until the iterator is gone.
        let pairs = unsafe { &*map }.iter();
        Ok(Self { at: Mutex::new((pairs, Pair::default())), _map: thing })
    }
}

impl Thing {
    fn map(&self) -> Result<&Map, Failure> {
        if let Any::Map(map) = &self.any { Ok(map) } else { Err(self.wrong("map")) }
    }

    fn iteration(&self) -> Result<&Iteration, Failure> {
        if let Any::Iteration(iteration) = &self.any { Ok(iteration) } else { Err(self.wrong("iteration")) }
    }
}

/// Bytes that C passes, or none: null.
///
/// # Safety
///
/// Not null means readable for `size` bytes during the call.
unsafe fn optional<'a>(
    data: *const c_void,
    size: usize,
    what: &'static str,
) -> Result<Option<&'a [u8]>, Failure> {
    if data.is_null() {
        return Ok(None);
    }
    // SAFETY: the caller's promise.
    unsafe { bytes(data.cast(), size, what) }.map(Some)
}

/// A time that C passes, in nanoseconds; none for TENURE_FOREVER.
fn limit(time: u64) -> Option<Duration> {
    (time != TENURE_FOREVER).then(|| Duration::from_nanos(time))
}

#[cold]
fn no_such_key(size: usize) -> Failure {
    fail(
        tenure_status::TENURE_ERR_NOT_FOUND,
        format_args!("key: expected one that has a value, found one of {size} bytes that has none"),
    )
}

/// Creates an empty map from bytes to bytes, between threads of any processes. What is in the map belongs to the map: it outlives the
/// process that inserted it, and any member can replace and remove it. It is opened by tenure_object_open, as TENURE_MAP.
///
/// It is made for `capacity` pairs: it takes as many container slots, rounded up to a power of two, at least 64 (see
/// tenure_options.container_slots), and at most as many handles as it has pairs. With more pairs it becomes slower, and refuses a pair
/// whose bucket has 16. If `max_bytes` is not 0, it bounds the bytes of all pairs: 8 for each, 8 more for one that expires, and its key
/// and value in whole words of 8 bytes. An insertion that exceeds the bound evicts pairs that were not looked at lately.
///
/// `name` is NULL for none; `flags` is 0 or TENURE_OR_OPEN. One that was opened has the capacity and the bound that it was created with.
///
/// Threads, fork, results: as tenure_mutex_create. TENURE_ERR_CONTAINER_SLOTS.
///
/// Progress: no function of maps takes a lock or waits for another process; one is repeated only if another one has changed the same
/// bucket meanwhile. Crash: if the process is killed, its change was made or not.
///
/// # Safety
///
/// `name` is NULL or a string, `object` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_map_create(
    member: *const tenure_member,
    name: *const c_char,
    flags: u32,
    capacity: u32,
    max_bytes: u64,
    object: *mut *mut tenure_object,
) -> c_int {
    let options = MapOptions::new(capacity).max_bytes(max_bytes);
    let ways = Ways {
        create: &|place| Map::create(place, options),
        create_or_open: &|member, name| Map::create_or_open(member, name, options),
    };
    // SAFETY: the caller's promise.
    unsafe { create(member, name, (flags, 0), object, ways, Any::Map) }
}

/// Inserts a copy of the `value_size` bytes at `value` under the `key_size` bytes at `key`, or replaces the value that the key has, in one
/// step. Any bytes will do, none as well: then the pointer may be NULL. `*replaced`, unless it is NULL, is 1 if the key had a value,
/// otherwise 0. The pair does not expire, whatever was said of the one that it replaces.
///
/// Threads: any. Fork: TENURE_ERR_FORKED in a child of the member's process.
///
/// Returns TENURE_OK; otherwise the map is unchanged, but for pairs that were evicted: TENURE_ERR_MAP_FULL; TENURE_ERR_EXHAUSTED when no
/// handle, or no memory, is free; TENURE_ERR_TOO_LARGE; TENURE_ERR_READ_ONLY for a member that only reads.
///
/// # Safety
///
/// `key` is readable for `key_size` bytes, `value` for `value_size`; `replaced` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_map_insert(
    object: *const tenure_object,
    key: *const c_void,
    key_size: usize,
    value: *const c_void,
    value_size: usize,
    replaced: *mut c_int,
) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { tenure_map_insert_for(object, key, key_size, value, value_size, TENURE_FOREVER, replaced) }
}

/// As tenure_map_insert, for `time` nanoseconds: afterwards the pair is in no answer. Its memory comes back with the next change of its
/// bucket, with an eviction, or by tenure_map_remove_expired; until then it counts in the bytes of tenure_map_len. 0: it has expired at
/// once. TENURE_FOREVER: it does not expire. Threads, fork, results: as there.
///
/// The time is that of CLOCK_BOOTTIME: it goes on while the machine is suspended, and setting the machine's clock does not change it. A
/// process in a time namespace whose clock is moved sees deadlines moved.
///
/// # Safety
///
/// As tenure_map_insert.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_map_insert_for(
    object: *const tenure_object,
    key: *const c_void,
    key_size: usize,
    value: *const c_void,
    value_size: usize,
    time: u64,
    replaced: *mut c_int,
) -> c_int {
    guard(|| {
        // SAFETY: the caller's promise.
        let (key, value) = unsafe {
            tell(replaced, 0);
            (bytes(key.cast(), key_size, "key")?, bytes(value.cast(), value_size, "value")?)
        };
        let object = usable(object)?;
        let map = object.map()?;
        let was_there = match limit(time) {
            Some(time) => map.insert_for(key, value, time)?,
            None => map.insert(key, value)?,
        };
        // SAFETY: the caller's promise.
        unsafe { tell(replaced, was_there.into()) };
        Ok(())
    })
}

/// As tenure_map_insert, but a value that the key has stays: `*inserted` is 1 if it had none, otherwise 0. Of any number of
/// concurrent calls with one key, one inserts. Threads, fork: as there.
///
/// # Safety
///
/// As tenure_map_insert; `inserted` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_map_insert_new(
    object: *const tenure_object,
    key: *const c_void,
    key_size: usize,
    value: *const c_void,
    value_size: usize,
    inserted: *mut c_int,
) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { tenure_map_insert_new_for(object, key, key_size, value, value_size, TENURE_FOREVER, inserted) }
}

/// As tenure_map_insert_new, for `time` nanoseconds: see tenure_map_insert_for. Threads, fork, results: as there.
///
/// # Safety
///
/// As tenure_map_insert_new.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_map_insert_new_for(
    object: *const tenure_object,
    key: *const c_void,
    key_size: usize,
    value: *const c_void,
    value_size: usize,
    time: u64,
    inserted: *mut c_int,
) -> c_int {
    let call = || {
        // SAFETY: the caller's promise.
        let (key, value) =
            unsafe { (bytes(key.cast(), key_size, "key")?, bytes(value.cast(), value_size, "value")?) };
        let object = usable(object)?;
        let map = object.map()?;
        let did = match limit(time) {
            Some(time) => map.insert_new_for(key, value, time)?,
            None => map.insert_new(key, value)?,
        };
        Ok(did.into())
    };
    // SAFETY: the caller's promise.
    unsafe { guard_out(inserted, "inserted", 0, call) }
}

/// The time until the pair of a key expires: `*left`, in nanoseconds, is at least 1, and TENURE_FOREVER if the pair does not expire.
///
/// Threads: any. Fork: TENURE_ERR_FORKED in a child of the member's process.
///
/// Returns TENURE_OK; TENURE_ERR_NOT_FOUND when the key has no value, also when it has expired. Then, and after an error, `*left` is 0.
///
/// # Safety
///
/// `key` is readable for `key_size` bytes, `left` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_map_time_left(
    object: *const tenure_object,
    key: *const c_void,
    key_size: usize,
    left: *mut u64,
) -> c_int {
    let call = || {
        // SAFETY: the caller's promise.
        let key = unsafe { bytes(key.cast(), key_size, "key") }?;
        let time = usable(object)?.map()?.time_left(key)?.ok_or_else(|| no_such_key(key_size))?;
        if time == Duration::MAX {
            return Ok(TENURE_FOREVER);
        }
        // One that expires is never said to stay for ever.
        Ok(u64::try_from(time.as_nanos()).unwrap_or(TENURE_FOREVER).min(TENURE_FOREVER - 1))
    };
    // SAFETY: the caller's promise.
    unsafe { guard_out(left, "left", 0, call) }
}

/// If the value of the key is the `expected_size` bytes at `expected`, makes it the `value_size` bytes at `value`, in one step. NULL
/// stands for no value: an `expected` of NULL inserts, a `value` of NULL removes. `*exchanged` is 1 if the value was the expected one,
/// otherwise 0. A value that replaces another one expires when that would have expired. Threads, fork, results: as tenure_map_insert.
///
/// # Safety
///
/// `key` is readable for `key_size` bytes; `expected` and `value` are NULL or readable for their sizes; `exchanged` is NULL or
/// writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_map_exchange(
    object: *const tenure_object,
    key: *const c_void,
    key_size: usize,
    expected: *const c_void,
    expected_size: usize,
    value: *const c_void,
    value_size: usize,
    exchanged: *mut c_int,
) -> c_int {
    let call = || {
        // SAFETY: the caller's promise.
        let (key, expected, value) = unsafe {
            (
                bytes(key.cast(), key_size, "key")?,
                optional(expected, expected_size, "expected")?,
                optional(value, value_size, "value")?,
            )
        };
        Ok(usable(object)?.map()?.compare_exchange(key, expected, value)?.into())
    };
    // SAFETY: the caller's promise.
    unsafe { guard_out(exchanged, "exchanged", 0, call) }
}

/// Copies the value of a key into `buffer` of `size` bytes. `*needed`, unless it is NULL, is the size of the value; with a `size` of 0 only
/// that is stored.
///
/// Threads: any. Fork: TENURE_ERR_FORKED in a child of the member's process.
///
/// Returns TENURE_OK; TENURE_ERR_NOT_FOUND when the key has no value; TENURE_ERR_BUFFER for a buffer that is too short, in which nothing is
/// stored. The value may be replaced by a longer one between two calls.
///
/// # Safety
///
/// `key` is readable for `key_size` bytes; `buffer` is writable for `size` bytes unless that is 0; `needed` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_map_get(
    object: *const tenure_object,
    key: *const c_void,
    key_size: usize,
    buffer: *mut c_void,
    size: usize,
    needed: *mut usize,
) -> c_int {
    guard(|| {
        // SAFETY: the caller's promise.
        let key = unsafe {
            tell(needed, 0);
            bytes(key.cast(), key_size, "key")?
        };
        if buffer.is_null() && size != 0 {
            return Err(null("buffer"));
        }
        let mut value = Vec::new();
        if !usable(object)?.map()?.get_into(key, &mut value)? {
            return Err(no_such_key(key_size));
        }
        // SAFETY: the caller's promise.
        unsafe { tell(needed, value.len()) };
        if value.len() > size {
            if size == 0 && !needed.is_null() {
                return Ok(());
            }
            return Err(fail(
                tenure_status::TENURE_ERR_BUFFER,
                format_args!("buffer: expected {} bytes, found {size}", value.len()),
            ));
        }
        if !value.is_empty() {
            // SAFETY: not longer than `size`, for which `buffer` is writable, the caller's promise.
            unsafe { ptr::copy_nonoverlapping(value.as_ptr(), buffer.cast(), value.len()) };
        }
        Ok(())
    })
}

/// Holds the value of a key: `*value`, in shared memory, of `*size` bytes, stays as it is until `*entry` is closed by
/// tenure_object_close, also after it was replaced or removed in the map. Its address is a multiple of 8. Nothing is copied. An entry has
/// no token.
///
/// Threads: any. Fork: TENURE_ERR_FORKED in a child of the member's process, where it is not mapped.
///
/// Returns TENURE_OK; otherwise `*entry` is NULL: TENURE_ERR_NOT_FOUND when the key has no value; TENURE_ERR_TOO_MANY when this process
/// holds too many entries of one bucket.
///
/// # Safety
///
/// `key` is readable for `key_size` bytes; `value`, `size` and `entry` are NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_map_hold(
    object: *const tenure_object,
    key: *const c_void,
    key_size: usize,
    value: *mut *const c_void,
    size: *mut usize,
    entry: *mut *mut tenure_object,
) -> c_int {
    // SAFETY: the caller's promise.
    unsafe {
        tell(value, ptr::null());
        tell(size, 0);
    }
    let call = || {
        // SAFETY: the caller's promise.
        let key = unsafe { bytes(key.cast(), key_size, "key") }?;
        let object = usable(object)?;
        let held = object.map()?.get_handle(key)?.ok_or_else(|| no_such_key(key_size))?;
        let found = held.get()?;
        let (at, len) = (found.as_ptr().cast(), found.len());
        let entry = hand_out(object.member()?, Any::Entry(held))?;
        // SAFETY: the caller's promise.
        unsafe {
            tell(value, at);
            tell(size, len);
        }
        Ok(entry)
    };
    // SAFETY: the caller's promise.
    unsafe { guard_out(entry, "entry", ptr::null_mut(), call) }
}

/// Whether a key has a value at the moment: `*is` is 1 or 0. Threads: any. Fork: TENURE_ERR_FORKED in a child of the member's process.
///
/// # Safety
///
/// `key` is readable for `key_size` bytes, `is` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_map_contains(
    object: *const tenure_object,
    key: *const c_void,
    key_size: usize,
    is: *mut c_int,
) -> c_int {
    let call = || {
        // SAFETY: the caller's promise.
        let key = unsafe { bytes(key.cast(), key_size, "key") }?;
        Ok(usable(object)?.map()?.contains_key(key)?.into())
    };
    // SAFETY: the caller's promise.
    unsafe { guard_out(is, "is", 0, call) }
}

/// Removes the value of a key. TENURE_ERR_NOT_FOUND when it has none. Threads, fork, results: as tenure_map_insert.
///
/// # Safety
///
/// `key` is readable for `key_size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_map_remove(
    object: *const tenure_object,
    key: *const c_void,
    key_size: usize,
) -> c_int {
    guard(|| {
        // SAFETY: the caller's promise.
        let key = unsafe { bytes(key.cast(), key_size, "key") }?;
        if usable(object)?.map()?.remove(key)? { Ok(()) } else { Err(no_such_key(key_size)) }
    })
}

/// Removes all pairs, bucket by bucket: pairs that others insert meanwhile may stay. Threads, fork: as tenure_map_insert.
#[unsafe(no_mangle)]
pub extern "C" fn tenure_map_clear(object: *const tenure_object) -> c_int {
    guard(|| Ok(usable(object)?.map()?.clear()?))
}

/// Gives back the memory of pairs that have expired, bucket by bucket. For maps without a bound, now and then, by any member. Threads, fork:
/// as tenure_map_insert. TENURE_ERR_READ_ONLY for a member that only reads.
#[unsafe(no_mangle)]
pub extern "C" fn tenure_map_remove_expired(object: *const tenure_object) -> c_int {
    guard(|| Ok(usable(object)?.map()?.remove_expired()?))
}

/// The number of pairs, counted bucket by bucket: exact if nobody changes the map meanwhile. `*bytes`, unless it is NULL, is the bytes of
/// all pairs, as tenure_map_create counts them, with those that have expired and whose memory was not given back. Threads: any. Fork: TENURE_ERR_FORKED in a child of the member's process.
///
/// # Safety
///
/// `count` and `bytes` are NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_map_len(
    object: *const tenure_object,
    count: *mut usize,
    bytes: *mut u64,
) -> c_int {
    let call = || {
        let object = usable(object)?;
        let map = object.map()?;
        let sum = if bytes.is_null() { 0 } else { map.bytes()? };
        let count = map.len()?;
        // SAFETY: the caller's promise.
        unsafe { tell(bytes, sum) };
        Ok(count)
    };
    // SAFETY: the caller's promise.
    unsafe { guard_out(count, "count", 0, call) }
}

/// Begins an iteration over all pairs: see tenure_map_next. `*iteration` is to be closed by tenure_object_close; until then the map's
/// object is in use, and cannot be closed. It has no token.
///
/// Threads: any. Fork: TENURE_ERR_FORKED in a child of the member's process. If it fails, `*iteration` is NULL.
///
/// # Safety
///
/// `iteration` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_map_iterate(
    object: *const tenure_object,
    iteration: *mut *mut tenure_object,
) -> c_int {
    let call = || {
        let object = usable(object)?;
        let member = object.member()?;
        hand_out(member, Any::Iteration(Iteration::over(object)?))
    };
    // SAFETY: the caller's promise.
    unsafe { guard_out(iteration, "iteration", ptr::null_mut(), call) }
}

/// The next pair of an iteration: copies of the key and the value, which are valid until the next call with this iteration. Each pair
/// that is in the map during the whole iteration is seen once; one that is inserted or removed meanwhile may be seen or not.
///
/// Threads: any, one at a time. Fork: TENURE_ERR_FORKED in a child of the member's process.
///
/// Returns TENURE_OK; TENURE_END when there are no more pairs. Then, and after an error, the pointers are NULL and the sizes 0.
///
/// # Safety
///
/// `key`, `key_size`, `value` and `value_size` are NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_map_next(
    iteration: *const tenure_object,
    key: *mut *const c_void,
    key_size: *mut usize,
    value: *mut *const c_void,
    value_size: *mut usize,
) -> c_int {
    // SAFETY: the caller's promise.
    let store = |(found_key, found_value): (&[u8], &[u8]), is_there: bool| unsafe {
        tell(key, if is_there { found_key.as_ptr().cast() } else { ptr::null() });
        tell(key_size, found_key.len());
        tell(value, if is_there { found_value.as_ptr().cast() } else { ptr::null() });
        tell(value_size, found_value.len());
    };
    guard_status(|| {
        store((&[], &[]), false);
        let object = usable(iteration)?;
        // Whoever panicked has left them whole.
        let (pairs, last) = &mut *object.iteration()?.at.lock().unwrap_or_else(PoisonError::into_inner);
        mem::take(last);
        let Some(pair) = pairs.next() else { return Ok(tenure_status::TENURE_END) };
        *last = pair?;
        store((&last.0, &last.1), true);
        Ok(tenure_status::TENURE_OK)
    })
}
