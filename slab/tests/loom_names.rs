//! Goal: in every interleaving a name has one handle, and an inserted handle is found.
//! Method: loom, two or three threads, buckets of two slots.
#![cfg(loom)]

mod common;

use std::sync::Arc;

use common::SPACE;
use common::world::{World, token};
use loom::thread;
use tenure_core::sync::Word;
use tenure_slab::{Inserted, NameHash, Names, NamesLayout, Token};
use tenure_testkit::explore;

struct Shared {
    words: Vec<Word>,
    layout: NamesLayout,
    world: World,
}

/// Two buckets; the lowest bit of a name chooses its first bucket.
fn hash(name: u64) -> NameHash {
    NameHash::from_bits(name & 1 | name << 58)
}

impl Shared {
    fn new(handles: u32) -> Arc<Self> {
        let layout = NamesLayout::for_handles(4);
        let words = (0..layout.words()).map(|_| Word::new(0)).collect();
        let shared = Self { words, layout, world: World::new(handles, hash) };
        shared.names().extend(0);
        Arc::new(shared)
    }

    fn names(&self) -> Names<'_> {
        Names::new(&self.words, self.layout, SPACE).unwrap()
    }

    /// Inserts a handle, or finds another one with the name.
    fn get(&self, handle: u32, name: u64) -> (Token, bool) {
        match self.world.insert(&self.names(), handle, name).unwrap() {
            Inserted::New => (token(handle), true),
            Inserted::Found(found) => (found, false),
        }
    }

    fn find(&self, name: u64) -> Option<Token> {
        let found = self.world.find(&self.names(), name);
        found.inspect(|found| self.world.close(*found))
    }
}

#[test]
fn loom_one_of_two_creates_a_name() {
    explore(Some(5), || {
        let shared = Shared::new(2);
        let theirs = shared.clone();
        let other = thread::spawn(move || theirs.get(1, 2));
        let (mine, is_new) = shared.get(0, 2);
        let (their, is_their_new) = other.join().unwrap();
        assert_eq!(mine, their);
        assert!(is_new != is_their_new);
        assert_eq!(shared.find(2), Some(mine));
    });
}

/// Two names are inserted through one pending slot, while a third name, which no handle has, is looked up.
#[test]
fn loom_two_names_with_one_first_bucket() {
    explore(Some(5), || {
        let shared = Shared::new(2);
        let theirs = shared.clone();
        let other = thread::spawn(move || {
            let (mine, is_new) = theirs.get(1, 4);
            assert!(is_new && theirs.find(4) == Some(mine) && theirs.find(6).is_none());
        });
        let (mine, is_new) = shared.get(0, 2);
        assert!(is_new && shared.find(2) == Some(mine));
        other.join().unwrap();
        assert_eq!([shared.find(2), shared.find(4)], [Some(token(0)), Some(token(1))]);
    });
}

/// Two names with two first buckets compete for the last free slot of all.
#[test]
fn loom_two_first_buckets_and_one_slot() {
    explore(Some(4), || {
        let shared = Shared::new(5);
        for (handle, name) in [(0, 2), (1, 3), (2, 4)] {
            assert!(shared.get(handle, name).1);
        }
        let theirs = shared.clone();
        let insert = |shared: &Shared, handle, name| shared.world.insert(&shared.names(), handle, name);
        let other = thread::spawn(move || insert(&theirs, 4, 7));
        let mine = insert(&shared, 3, 8);
        let their = other.join().unwrap();
        // There is room for one; a second one may be inserted while the slot still looks free: then it stays in its pending slot.
        assert!(mine.is_ok() || their.is_ok());
        assert_eq!(shared.find(8), mine.ok().map(|_| token(3)));
        assert_eq!(shared.find(7), their.ok().map(|_| token(4)));
        assert_eq!([2, 3, 4].map(|name| shared.find(name)), [0, 1, 2].map(|handle| Some(token(handle))));
        // When a handle is over, the one in the pending slot gets its slot, and another one can be inserted.
        shared.world.close(token(0));
        if mine.is_ok() {
            assert_eq!(shared.find(8), Some(token(3)));
        }
    });
}

/// The last holder closes while another process creates or opens.
#[test]
fn loom_close_against_create_or_open() {
    explore(Some(5), || {
        let shared = Shared::new(3);
        assert!(shared.get(0, 2).1);
        let theirs = shared.clone();
        let closer = thread::spawn(move || {
            theirs.world.close(token(0));
            theirs.find(2)
        });
        let (mine, is_new) = shared.get(1, 2);
        assert_eq!(mine, token(is_new.into()));
        assert!(shared.find(2) == Some(mine) && shared.world.is_held(mine));
        let seen = closer.join().unwrap();
        assert!(seen.is_none_or(|seen| seen == mine));
    });
}

/// Two processes create or open while the last holder closes; an insert that finds the slot free must not overwrite the other handle.
#[test]
fn loom_two_create_or_open_after_a_close() {
    explore(Some(4), || {
        let shared = Shared::new(4);
        assert!(shared.get(0, 2).1);
        let (theirs, third) = (shared.clone(), shared.clone());
        let closer = thread::spawn(move || theirs.world.close(token(0)));
        let other = thread::spawn(move || third.get(1, 2));
        let (mine, _) = shared.get(2, 2);
        closer.join().unwrap();
        let (their, _) = other.join().unwrap();
        // Unless one of them opened the former handle.
        assert!(mine == their || mine == token(0) || their == token(0));
        let held = [token(0), token(1), token(2)].into_iter().filter(|t| shared.world.is_held(*t));
        let found = shared.find(2).unwrap();
        assert!(held.into_iter().all(|one| one == found));
    });
}
