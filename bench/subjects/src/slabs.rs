//! Slabs that are private to a process: the cost of a handle where nothing is shared and nothing survives.

use std::sync::{Arc, Mutex};

use crate::subject::{Failed, Handles, Outcome, Subject};

/// `sharded-slab`: made for threads.
#[derive(Default)]
pub struct Sharded(Arc<sharded_slab::Slab<u64>>);

/// `slab` behind a mutex.
#[derive(Default)]
pub struct Locked(Arc<Mutex<slab::Slab<u64>>>);

/// `slotmap`: single-threaded.
#[derive(Default)]
pub struct Slots;

/// A thread of [`Sharded`].
pub struct ShardedMember(Arc<sharded_slab::Slab<u64>>);

/// A thread of [`Locked`].
pub struct LockedMember(Arc<Mutex<slab::Slab<u64>>>);

/// The only member of [`Slots`].
pub struct SlotsMember(slotmap::SlotMap<slotmap::DefaultKey, u64>);

impl Subject for Sharded {
    type Member = ShardedMember;

    fn join(&self) -> Outcome<ShardedMember> {
        Ok(ShardedMember(Arc::clone(&self.0)))
    }
}

impl Subject for Locked {
    type Member = LockedMember;

    fn join(&self) -> Outcome<LockedMember> {
        Ok(LockedMember(Arc::clone(&self.0)))
    }
}

impl Subject for Slots {
    type Member = SlotsMember;

    fn join(&self) -> Outcome<SlotsMember> {
        Ok(SlotsMember(slotmap::SlotMap::new()))
    }
}

#[cold]
fn none<T>() -> Outcome<T> {
    Err(Failed::of("slab", "no such entry, or not to be shared"))
}

impl Handles for ShardedMember {
    type Held = usize;

    #[inline]
    fn create(&mut self, payload: u64) -> Outcome<usize> {
        self.0.insert(payload).map_or_else(none, Ok)
    }

    #[inline]
    fn get(&mut self, held: &usize) -> Outcome<u64> {
        self.0.get(*held).map_or_else(none, |entry| Ok(*entry))
    }

    fn token(&mut self, held: &usize) -> u64 {
        *held as u64
    }

    fn open(&mut self, _: u64) -> Outcome<usize> {
        none()
    }

    #[inline]
    fn close(&mut self, held: usize) -> Outcome<()> {
        if self.0.remove(held) { Ok(()) } else { none() }
    }
}

impl LockedMember {
    #[inline]
    fn locked<T>(&self, critical: impl FnOnce(&mut slab::Slab<u64>) -> Option<T>) -> Outcome<T> {
        self.0.lock().ok().and_then(|mut slab| critical(&mut slab)).map_or_else(none, Ok)
    }
}

impl Handles for LockedMember {
    type Held = usize;

    #[inline]
    fn create(&mut self, payload: u64) -> Outcome<usize> {
        self.locked(|slab| Some(slab.insert(payload)))
    }

    #[inline]
    fn get(&mut self, held: &usize) -> Outcome<u64> {
        self.locked(|slab| slab.get(*held).copied())
    }

    fn token(&mut self, held: &usize) -> u64 {
        *held as u64
    }

    fn open(&mut self, _: u64) -> Outcome<usize> {
        none()
    }

    #[inline]
    fn close(&mut self, held: usize) -> Outcome<()> {
        self.locked(|slab| slab.try_remove(held).map(drop))
    }
}

impl Handles for SlotsMember {
    type Held = slotmap::DefaultKey;

    #[inline]
    fn create(&mut self, payload: u64) -> Outcome<slotmap::DefaultKey> {
        Ok(self.0.insert(payload))
    }

    #[inline]
    fn get(&mut self, held: &slotmap::DefaultKey) -> Outcome<u64> {
        self.0.get(*held).copied().map_or_else(none, Ok)
    }

    fn token(&mut self, _: &slotmap::DefaultKey) -> u64 {
        0
    }

    fn open(&mut self, _: u64) -> Outcome<slotmap::DefaultKey> {
        none()
    }

    #[inline]
    fn close(&mut self, held: slotmap::DefaultKey) -> Outcome<()> {
        self.0.remove(held).map_or_else(none, |_| Ok(()))
    }
}
