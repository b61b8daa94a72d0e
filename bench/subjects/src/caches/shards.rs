//! A cache as one would write it by hand: 64 tables in shared memory, each behind a mutex. The owner of a mutex that dies in the middle of an
//! insertion leaves a value that is half old and half new.

use std::cell::UnsafeCell;
use std::collections::hash_map::DefaultHasher;
use std::hash::Hasher;
use std::sync::Arc;

use tenure::{Space, sync::Mutex};

use super::{Cache, Key, Value};
use crate::shared::Pages;
use crate::subject::{Failed, Outcome, Subject};

/// Tables, and mutexes.
const SHARDS: usize = 64;

/// The mutexes of the tables.
pub trait Mutexes: Sized {
    /// As one process has them.
    type Member;

    /// New ones, which are free.
    ///
    /// # Errors
    /// [`Failed`].
    fn new() -> Outcome<Self>;

    /// Those of the calling process.
    ///
    /// # Errors
    /// [`Failed`].
    fn join(&self) -> Outcome<Self::Member>;

    /// Calls `critical` with one of them locked.
    ///
    /// # Errors
    /// Its errors, and those of the mutex.
    fn locked<T>(member: &Self::Member, at: usize, critical: impl FnOnce() -> Outcome<T>) -> Outcome<T>;
}

/// Mutexes of tenure.
pub struct OfTenure(Space);

impl Mutexes for OfTenure {
    type Member = Vec<Mutex>;

    fn new() -> Outcome<Self> {
        let space = Space::options().handles(1 << 10).scratch(1 << 20).memfd();
        space.map(Self).map_err(|error| Failed::of("tenure", error))
    }

    fn join(&self) -> Outcome<Vec<Mutex>> {
        let member = self.0.join().map_err(|error| Failed::of("join", error))?;
        let mutex = |at| {
            let made = Mutex::create_or_open(&member, &format!("shard {at}"));
            made.map(tenure::Named::into_inner).map_err(|error| Failed::of("mutex", error))
        };
        (0..SHARDS).map(mutex).collect()
    }

    #[inline]
    fn locked<T>(mutexes: &Vec<Mutex>, at: usize, critical: impl FnOnce() -> Outcome<T>) -> Outcome<T> {
        let _guard = mutexes[at].lock().map_err(|error| Failed::of("lock", error))?;
        critical()
    }
}

/// Mutexes of pthread, shared between processes and robust, each on a line of its own.
pub struct OfPthread(Arc<Pages>);

#[repr(C, align(64))]
struct Robust(UnsafeCell<libc::pthread_mutex_t>);

impl Mutexes for OfPthread {
    type Member = Arc<Pages>;

    fn new() -> Outcome<Self> {
        let pages = Pages::new(SHARDS * size_of::<Robust>())?;
        // SAFETY: the attributes are initialised before they are used; nobody else knows the pages yet.
        let done = unsafe {
            let mut attributes = std::mem::zeroed();
            libc::pthread_mutexattr_init(&raw mut attributes);
            libc::pthread_mutexattr_setpshared(&raw mut attributes, libc::PTHREAD_PROCESS_SHARED);
            libc::pthread_mutexattr_setrobust(&raw mut attributes, libc::PTHREAD_MUTEX_ROBUST);
            (0..SHARDS).fold(0, |done, at| {
                done | libc::pthread_mutex_init(robust(&pages, at), &raw const attributes)
            })
        };
        if done == 0 { Ok(Self(Arc::new(pages))) } else { Err(Failed::of("robust mutex", done)) }
    }

    fn join(&self) -> Outcome<Arc<Pages>> {
        Ok(Arc::clone(&self.0))
    }

    #[inline]
    fn locked<T>(pages: &Arc<Pages>, at: usize, critical: impl FnOnce() -> Outcome<T>) -> Outcome<T> {
        // SAFETY: initialised by `new`.
        match unsafe { libc::pthread_mutex_lock(robust(pages, at)) } {
            0 => {}
            error => return Err(Failed::of("lock", error)),
        }
        let answer = critical();
        // SAFETY: we hold it.
        unsafe { libc::pthread_mutex_unlock(robust(pages, at)) };
        answer
    }
}

fn robust(pages: &Pages, at: usize) -> *mut libc::pthread_mutex_t {
    assert!(at < SHARDS);
    pages.start().cast::<Robust>().wrapping_add(at).cast()
}

/// A place of a table.
#[repr(C, align(64))]
struct Place {
    /// Of the value; 0: there is none.
    bytes: u32,
    key: Key,
    value: Value,
}

const _: () = assert!(size_of::<Place>() == 128);

/// Tables with open addressing.
pub struct Shards<M> {
    mutexes: M,
    tables: Arc<Pages>,
    /// Places of a table, a power of two.
    places: usize,
}

/// A process that has [`Shards`].
pub struct ShardsMember<M: Mutexes> {
    mutexes: M::Member,
    tables: Arc<Pages>,
    places: usize,
}

impl<M: Mutexes> Shards<M> {
    /// Half full with so many pairs.
    ///
    /// # Errors
    /// [`Failed`].
    pub fn new(keys: u32) -> Outcome<Self> {
        let places = (2 * keys as usize).div_ceil(SHARDS).next_power_of_two();
        let tables = Pages::new(SHARDS * places * size_of::<Place>())?;
        Ok(Self { mutexes: M::new()?, tables: Arc::new(tables), places })
    }
}

impl<M: Mutexes> Subject for Shards<M> {
    type Member = ShardsMember<M>;

    fn join(&self) -> Outcome<ShardsMember<M>> {
        let tables = Arc::clone(&self.tables);
        Ok(ShardsMember { mutexes: self.mutexes.join()?, tables, places: self.places })
    }
}

impl<M: Mutexes> ShardsMember<M> {
    /// Calls `critical` with the place of the key, or the one where it would be; `None` if the table is full.
    #[inline]
    fn at<T>(&self, key: &Key, critical: impl FnOnce(Option<&mut Place>) -> T) -> Outcome<T> {
        let mut hasher = DefaultHasher::new();
        hasher.write(key);
        let hash = hasher.finish() as usize;
        let shard = hash % SHARDS;
        M::locked(&self.mutexes, shard, || {
            let places = self.tables.start().cast::<Place>().wrapping_add(shard * self.places);
            // SAFETY: inside of the pages, zeroed at first, which is a valid value; the mutex excludes others.
            let table = unsafe { std::slice::from_raw_parts_mut(places, self.places) };
            let (from, mask) = (hash / SHARDS, self.places - 1);
            let found = (from..from + self.places).map(|at| at & mask).find(|at| {
                let place = &table[*at];
                place.bytes == 0 || place.key == *key
            });
            Ok(critical(found.map(|at| &mut table[at])))
        })
    }
}

impl<M: Mutexes> Cache for ShardsMember<M> {
    #[inline]
    fn get(&mut self, key: &Key, to: &mut Vec<u8>) -> Outcome<bool> {
        to.clear();
        self.at(key, |place| match place {
            Some(Place { bytes: bytes @ 1.., value, .. }) => {
                to.extend_from_slice(&value[..(*bytes as usize).min(value.len())]);
                true
            }
            _ => false,
        })
    }

    #[inline]
    fn insert(&mut self, key: &Key, value: &Value) -> Outcome<()> {
        let inserted = self.at(key, |place| {
            let place = place?;
            *place = Place { bytes: value.len() as u32, key: *key, value: *value };
            Some(())
        })?;
        inserted.ok_or_else(|| Failed::of("shards", "a table is full"))
    }
}
