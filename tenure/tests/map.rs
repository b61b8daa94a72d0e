//! Maps: against a `HashMap`, between threads, and between real processes that are killed.
#![cfg(feature = "objects")]

mod common;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;
use tenure::{Map, MapError, Space};

#[derive(Clone, Debug)]
enum Op {
    Insert(u8, Vec<u8>),
    InsertNew(u8, Vec<u8>),
    Remove(u8),
    Exchange(u8, u8, Option<Vec<u8>>),
    Get(u8),
    Hold(u8),
    Clear,
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![prop::collection::vec(any::<u8>(), 0..20), prop::collection::vec(any::<u8>(), 0..3000)]
}

fn op() -> impl Strategy<Value = Op> {
    let key = 0..80u8;
    prop_oneof![
        8 => (key.clone(), value()).prop_map(|(key, value)| Op::Insert(key, value)),
        4 => (key.clone(), value()).prop_map(|(key, value)| Op::InsertNew(key, value)),
        6 => key.clone().prop_map(Op::Remove),
        4 => (key.clone(), any::<u8>(), prop::option::of(value())).prop_map(|(key, pick, new)| Op::Exchange(key, pick, new)),
        4 => key.clone().prop_map(Op::Get),
        2 => key.prop_map(Op::Hold),
        1 => Just(Op::Clear),
    ]
}

/// Keys of several lengths, the empty one among them.
fn key(number: u8) -> Vec<u8> {
    vec![number; usize::from(number % 24)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Two members change one map; each answer is that of a `HashMap`, and in the end nothing is left.
    #[test]
    fn a_map_is_a_hash_map(ops in prop::collection::vec((any::<bool>(), op()), 0..120)) {
        let space = Space::options().container_slots(64).handles(128).scratch(64 << 20).anonymous().unwrap();
        let members = [space.join().unwrap(), space.join().unwrap()];
        // Many keys share a bucket.
        let first = Map::create(&members[0], 64).unwrap();
        let second = Map::open(&members[1], first.token()).unwrap();
        let mut model: HashMap<Vec<u8>, Vec<u8>> = HashMap::new();
        let mut held = Vec::new();
        for (is_second, op) in ops {
            let map = if is_second { &second } else { &first };
            match op {
                Op::Insert(at, value) => {
                    prop_assert_eq!(map.insert(&key(at), &value).unwrap(), model.insert(key(at), value).is_some());
                }
                Op::InsertNew(at, value) => {
                    prop_assert_eq!(map.insert_new(&key(at), &value).unwrap(), !model.contains_key(&key(at)));
                    model.entry(key(at)).or_insert(value);
                }
                Op::Remove(at) => {
                    prop_assert_eq!(map.remove(&key(at)).unwrap(), model.remove(&key(at)).is_some());
                }
                Op::Exchange(at, pick, new) => {
                    let now = model.get(&key(at)).cloned();
                    let expected = match pick % 3 {
                        0 => None,
                        1 => Some(vec![pick]),
                        _ => now.clone(),
                    };
                    let is_done = map.compare_exchange(&key(at), expected.as_deref(), new.as_deref()).unwrap();
                    prop_assert_eq!(is_done, now == expected);
                    match new {
                        Some(new) if is_done => drop(model.insert(key(at), new)),
                        None if is_done => drop(model.remove(&key(at))),
                        _ => {}
                    }
                }
                Op::Get(at) => {
                    prop_assert_eq!(map.get(&key(at)).unwrap(), model.get(&key(at)).cloned());
                    prop_assert_eq!(map.contains_key(&key(at)).unwrap(), model.contains_key(&key(at)));
                }
                Op::Hold(at) => {
                    let entry = map.get_handle(&key(at)).unwrap();
                    prop_assert_eq!(entry.is_some(), model.contains_key(&key(at)));
                    held.extend(entry.map(|entry| (entry, model[&key(at)].clone())));
                }
                Op::Clear => {
                    map.clear().unwrap();
                    model.clear();
                }
            }
            prop_assert_eq!(map.len().unwrap(), model.len());
            prop_assert_eq!(map.is_empty().unwrap(), model.is_empty());
        }
        let pairs: HashMap<Vec<u8>, Vec<u8>> = first.iter().map(Result::unwrap).collect();
        prop_assert_eq!(pairs, model);
        // What is held stays as it was.
        for (entry, value) in &held {
            prop_assert_eq!(entry.get().unwrap(), &value[..]);
            prop_assert_eq!(entry.get().unwrap().as_ptr() as usize % 8, 0);
        }
        drop(held);
        let report = space.check();
        prop_assert!(report.is_clean(), "{report:?}");
        second.clear().unwrap();
        drop((first, second));
        let report = space.check_quiet();
        prop_assert!(report.is_clean() && report.pending.is_empty(), "{report:?}");
        prop_assert_eq!((report.stats.handles_live, report.stats.blocks_live()), (0, 0));
    }
}

#[test]
fn a_bucket_has_at_most_16_pairs() {
    let space = Space::options().container_slots(64).handles(128).scratch(64 << 20).anonymous().unwrap();
    let me = space.join().unwrap();
    let map = Map::create(&me, 1).unwrap();
    assert_eq!(map.buckets(), 64);
    // 64 buckets have at most 1024 pairs; which is the first one that is full, the hash says.
    let insert = |number: u32| map.insert(&number.to_le_bytes(), &[7; 20]);
    let (refused, error) =
        (0..=1024).find_map(|number| insert(number).err().map(|error| (number, error))).unwrap();
    assert!(matches!(error, MapError::Full { pairs: 16 }), "{error}");
    assert_eq!(map.len().unwrap(), refused as usize);
    // Others of the same bucket can still be replaced and removed; then there is room.
    for number in 0..refused {
        assert!(insert(number).unwrap());
    }
    for number in 0..refused {
        assert!(map.remove(&number.to_le_bytes()).unwrap());
    }
    assert!(!insert(refused).unwrap());
    assert_eq!(map.len().unwrap(), 1);
}

/// Threads of two members count in the values of a few keys by `compare_exchange`: no change is lost.
#[test]
fn no_change_of_several_threads_is_lost() {
    const THREADS: usize = 4;
    const ROUNDS: u64 = 3000;
    // Six in a bucket.
    const KEYS: u64 = 400;
    let space = Space::options().container_slots(64).handles(256).scratch(64 << 20).anonymous().unwrap();
    let members = [space.join().unwrap(), space.join().unwrap()];
    let map = Map::create(&members[0], 64).unwrap();
    let done = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let map = Map::open(&members[thread % 2], map.token()).unwrap();
            let done = &done;
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    let key = (round % KEYS).to_le_bytes();
                    loop {
                        let now = map.get(&key).unwrap();
                        // The number, repeated: a mixture of two values would be seen.
                        let count = now.as_ref().map_or(0, |value| {
                            let (words, _) = value.as_chunks::<8>();
                            assert!(words.iter().all(|word| *word == words[0]), "{value:?}");
                            u64::from_le_bytes(words[0])
                        });
                        let next = (count + 1).to_le_bytes().repeat(1 + (count % 20) as usize);
                        if map.compare_exchange(&key, now.as_deref(), Some(&next)).unwrap() {
                            done.fetch_add(1, Ordering::Relaxed);
                            break;
                        }
                    }
                }
            });
        }
    });
    let total: u64 =
        map.iter().map(|pair| u64::from_le_bytes(pair.unwrap().1[..8].try_into().unwrap())).sum();
    assert_eq!((total, done.into_inner()), (THREADS as u64 * ROUNDS, THREADS as u64 * ROUNDS));
    assert!(space.check().is_clean());
}
