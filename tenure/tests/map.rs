//! Maps: against a `HashMap`, between threads, and between real processes that are killed.
#![cfg(feature = "objects")]

mod common;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use common::{Name, Process, role, say};
use proptest::prelude::*;
use tenure::{
    Member, Space,
    collections::{Map, MapOptions},
    error::{CreateError, MapError},
};

/// Keys that one process alone changes, by number.
const OWN: u64 = 40;
/// Keys that all change.
const COMMON: u64 = 40;

/// Numbers that look random, the same in each run.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *state >> 33
}

/// A value that tells for which key it was made, in each word.
fn value_of(key: &[u8], round: u64, size: u64) -> Vec<u8> {
    let key = u64::from_le_bytes(key.try_into().unwrap());
    [key, round].map(u64::to_le_bytes).concat().repeat(1 + (size % 30) as usize)
}

/// The round in which the value was made, for this key.
fn round_of(key: &[u8], value: &[u8]) -> u64 {
    let (words, rest) = value.as_chunks::<8>();
    assert!(rest.is_empty() && !words.is_empty(), "{value:?}");
    let round = u64::from_le_bytes(words[1]);
    assert_eq!(value, value_of(key, round, words.len() as u64 / 2 - 1), "no value of this key");
    round
}

fn own_key(worker: u64, number: u64) -> [u8; 8] {
    (1000 * (worker + 1) + number).to_le_bytes()
}

#[test]
fn child() {
    let Some(role) = role() else { return };
    let me = Space::options().attach(&role[0]).unwrap().join().unwrap();
    let map = Map::open(&me, "map").unwrap();
    if role[1] == "fork" {
        return fork(&me, &map);
    }
    let worker: u64 = role[1].parse().unwrap();
    let mut random = worker;
    for round in 1.. {
        let key = own_key(worker, next(&mut random) % OWN);
        let number = u64::from_le_bytes(key);
        if next(&mut random).is_multiple_of(3) {
            say("remove", format!("{number} {round}"));
            map.remove(&key).unwrap();
        } else {
            say("insert", format!("{number} {round}"));
            map.insert(&key, &value_of(&key, round, next(&mut random))).unwrap();
        }
        say("did", number);
        let common = (next(&mut random) % COMMON).to_le_bytes();
        match next(&mut random) % 4 {
            0 => drop(map.remove(&common).unwrap()),
            1 => drop(map.insert_new(&common, &value_of(&common, round, next(&mut random))).unwrap()),
            2 => drop(map.insert(&common, &value_of(&common, round, next(&mut random))).unwrap()),
            _ => drop(map.get(&common).unwrap().map(|value| round_of(&common, &value))),
        }
    }
}

/// What the parent knows of a key: the round of its value, 0 for none; and that of a change that may have been made.
#[derive(Default)]
struct Known {
    round: u64,
    pending: Option<u64>,
}

/// What a worker has said until it was killed.
fn book_of(mut worker: Process, lines: u64) -> HashMap<u64, Known> {
    let mut book: HashMap<u64, Known> = HashMap::new();
    let mut read = |line: &str| {
        let (word, rest) = line.split_once(' ').unwrap();
        let mut numbers = rest.split(' ').map(|number| number.parse::<u64>().unwrap());
        let known = book.entry(numbers.next().unwrap()).or_default();
        match word {
            "remove" => known.pending = Some(0),
            "insert" => known.pending = numbers.next(),
            "did" => known.round = known.pending.take().unwrap(),
            _ => panic!("{line}"),
        }
    };
    for _ in 0..lines {
        read(&worker.hear());
    }
    worker.kill_only();
    while let Some(line) = worker.receive("") {
        // The last one may be cut.
        if line.matches(' ').count() == if line.starts_with('d') { 1 } else { 2 } {
            read(&line);
        }
    }
    book
}

/// Three workers at a time are killed while they change the map; others follow. Every change that was reported is in the map, the change that
/// each was at is there or not, and every value is one that was inserted for its key.
#[test]
fn killed_workers_lose_nothing_and_leave_nothing() {
    const ROUNDS: u64 = 4;
    const WORKERS: u64 = 3;
    let name = Name::new("map-killed");
    let space = name.open(Space::options().container_slots(64).members(16).handles(1024).scratch(64 << 20));
    let me = space.join().unwrap();
    let map = Map::create(me.named("map"), 64).unwrap();
    for round in 0..ROUNDS {
        let workers: Vec<_> = (0..WORKERS)
            .map(|worker| (worker, Process::start(&[&name.0, &(round * WORKERS + worker).to_string()])))
            .collect();
        for (worker, process) in workers {
            let book = book_of(process, 301 + 57 * worker + 7 * round);
            let worker = round * WORKERS + worker;
            for (number, known) in book {
                let key = number.to_le_bytes();
                assert!((0..OWN).any(|own| own_key(worker, own) == key));
                let found = map.get(&key).unwrap().map_or(0, |value| round_of(&key, &value));
                let Known { round, pending } = known;
                assert!(found == round || Some(found) == pending, "{found}, not {round} or {pending:?}");
            }
        }
    }
    for pair in &map {
        let (key, value) = pair.unwrap();
        round_of(&key, &value);
    }
    me.recover().unwrap();
    let report = space.check();
    assert!(report.is_clean() && report.pending.is_empty(), "{report:?}");
    drop(map);
    me.leave().unwrap();
    let report = space.check_quiet();
    assert!(report.is_clean() && report.pending.is_empty(), "{report:?}");
    assert_eq!((report.stats.handles_live, report.stats.blocks_live()), (0, 0));
}

/// In a forked child the map is the parent's.
fn fork(me: &Member, map: &Map) {
    map.insert(b"key", b"value").unwrap();
    let entry = map.get_handle(b"key").unwrap().unwrap();
    // SAFETY: this process runs one test; the child uses nothing that another thread may have locked for long.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        assert!(matches!(map.get(b"key"), Err(MapError::NotMember(_))));
        assert!(matches!(map.insert(b"key", b"child"), Err(MapError::NotMember(_))));
        assert!(matches!(map.remove(b"key"), Err(MapError::NotMember(_))));
        assert!(matches!(map.clear(), Err(MapError::NotMember(_))));
        assert!(map.len().is_err() && map.is_empty().is_err() && map.iter().all(|pair| pair.is_err()));
        assert!(entry.get().is_err() && Map::open(me, "map").is_err());
        drop(entry);
        // SAFETY: ends the child without running any destructor of the parent.
        unsafe { libc::_exit(0) };
    }
    assert_eq!(common::reap(pid), 0);
    assert_eq!(entry.get().unwrap(), b"value");
    say("done", "");
}

#[test]
fn a_forked_child_has_no_map() {
    let name = Name::new("map-fork");
    let space = name.open(Space::options().container_slots(64).members(8).handles(64).scratch(1 << 20));
    let me = space.join().unwrap();
    let map = Map::create(me.named("map"), 64).unwrap();
    let mut process = Process::start(&[&name.0, "fork"]);
    assert_eq!(process.receive("done").as_deref(), Some(""));
    assert!(!process.was_killed());
    assert_eq!(map.get(b"key").unwrap().as_deref(), Some(&b"value"[..]));
}

/// A map that a slot holds outlives all members, with what is in it.
#[test]
fn a_map_in_a_slot_outlives_all_members() {
    let space =
        Space::options().slots(1).container_slots(64).handles(64).scratch(1 << 20).anonymous().unwrap();
    let me = space.join().unwrap();
    let map = Map::create(me.named("cache"), 64).unwrap();
    map.insert(b"key", &[7; 100]).unwrap();
    assert_eq!(me.slots().keep(&map), Ok(0));
    drop((map, me));
    let me = space.join().unwrap();
    let map = Map::open(&me, "cache").unwrap();
    assert_eq!(map.get(b"key").unwrap(), Some(vec![7; 100]));
    drop(map);
    me.slots().evict(0).unwrap();
    assert!(Map::open(&me, "cache").is_err());
    let report = space.check();
    assert!(report.is_clean(), "{report:?}");
    assert_eq!((report.stats.handles_live, report.stats.blocks_live()), (0, 0));
}

#[test]
fn maps_need_slots_of_their_own() {
    let space = Space::options().container_slots(128).handles(64).scratch(1 << 20).anonymous().unwrap();
    let me = space.join().unwrap();
    let refused = Map::create(&me, 129);
    assert!(matches!(refused, Err(CreateError::ContainerSlots { slots: 256, capacity: 128 })), "{refused:?}");
    let first = Map::create(&me, 1).unwrap();
    assert!(Map::create(&me, 128).is_err());
    assert!(Map::create(&me, u32::MAX).is_err());
    let second = Map::create(&me, 64).unwrap();
    first.insert(b"key", b"first").unwrap();
    assert_eq!(second.get(b"key").unwrap(), None);
    drop(first);
    // The slots of the first one are free again, and empty.
    let third = Map::create(&me, 64).unwrap();
    assert!(third.is_empty().unwrap());
    drop((second, third));
    let report = space.check_quiet();
    assert!(report.is_clean(), "{report:?}");
    assert_eq!((report.stats.handles_live, report.stats.blocks_live()), (0, 0));
}

#[derive(Clone, Debug)]
enum Op {
    Insert(u8, Vec<u8>),
    InsertNew(u8, Vec<u8>),
    /// For ever, or for no time at all.
    InsertFor(u8, Vec<u8>, bool),
    RemoveExpired,
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
        6 => (key.clone(), value(), any::<bool>()).prop_map(|(key, value, lasts)| Op::InsertFor(key, value, lasts)),
        1 => Just(Op::RemoveExpired),
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
                Op::InsertFor(at, value, lasts) => {
                    let time = if lasts { Duration::MAX } else { Duration::ZERO };
                    let was_there = model.remove(&key(at)).is_some();
                    // An expired pair is as good as none, for each kind of insertion.
                    if at % 2 == 0 || was_there {
                        prop_assert_eq!(map.insert_for(&key(at), &value, time).unwrap(), was_there);
                    } else {
                        prop_assert!(map.insert_new_for(&key(at), &value, time).unwrap());
                        prop_assert_eq!(map.insert_new_for(&key(at), &value, time).unwrap(), !lasts);
                    }
                    let left = map.time_left(&key(at)).unwrap();
                    prop_assert_eq!(left.is_some_and(|left| left > Duration::from_secs(1 << 30)), lasts);
                    if lasts {
                        model.insert(key(at), value);
                    }
                }
                Op::RemoveExpired => {
                    map.remove_expired().unwrap();
                    let words = |bytes: &Vec<u8>| bytes.len().div_ceil(8);
                    let bytes = |pair: (&Vec<u8>, &Vec<u8>)| {
                        let expires = map.time_left(pair.0).unwrap() != Some(Duration::MAX);
                        8 * (1 + usize::from(expires) + words(pair.0) + words(pair.1)) as u64
                    };
                    prop_assert_eq!(map.bytes().unwrap(), model.iter().map(bytes).sum::<u64>());
                }
                Op::Remove(at) => {
                    prop_assert_eq!(map.remove(&key(at)).unwrap(), model.remove(&key(at)).is_some());
                }
                Op::Exchange(at, pick, new) => {
                    let now = model.get(&key(at)).cloned();
                    let left = map.time_left(&key(at)).unwrap();
                    prop_assert_eq!(left.is_some(), now.is_some());
                    let expected = match pick % 3 {
                        0 => None,
                        1 => Some(vec![pick]),
                        _ => now.clone(),
                    };
                    let is_done = map.compare_exchange(&key(at), expected.as_deref(), new.as_deref()).unwrap();
                    prop_assert_eq!(is_done, now == expected);
                    if now.is_some() && new.is_some() {
                        let expires = |left| left != Some(Duration::MAX);
                        prop_assert_eq!(expires(map.time_left(&key(at)).unwrap()), expires(left));
                    }
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

/// What has expired is in nobody's way: not in a full bucket, and not in a bounded map, where it goes before what is looked at.
#[test]
fn expired_pairs_make_room() {
    let space = Space::options().container_slots(128).handles(256).scratch(64 << 20).anonymous().unwrap();
    let me = space.join().unwrap();
    let map = Map::create(&me, 1).unwrap();
    for number in 0..10_000u32 {
        assert!(!map.insert_for(&number.to_le_bytes(), &[7; 20], Duration::ZERO).unwrap());
    }
    assert!(map.is_empty().unwrap() && map.len().unwrap() == 0 && map.iter().next().is_none());
    assert!(map.get_handle(&0u32.to_le_bytes()).unwrap().is_none());
    assert!(!map.remove(&0u32.to_le_bytes()).unwrap());
    // One in each bucket at most, since each insertion drops what has expired.
    assert!((1..=64 * 48).contains(&map.bytes().unwrap()));
    map.insert_for(b"long", &[7; 5000], Duration::from_secs(3600)).unwrap();
    map.insert(b"tea", b"green").unwrap();
    map.remove_expired().unwrap();
    assert_eq!(map.bytes().unwrap(), 8 + 8 + 8 + 5000 + 8 + 8 + 8);
    assert_eq!(map.get(b"long").unwrap(), Some(vec![7; 5000]));
    // Replaced, the value expires no more; replaced by an exchange, it still does.
    assert!(map.compare_exchange(b"long", Some(&[7; 5000]), Some(b"short")).unwrap());
    assert!(map.time_left(b"long").unwrap().is_some_and(|left| left <= Duration::from_secs(3600)));
    map.insert(b"long", b"for ever").unwrap();
    assert_eq!(map.time_left(b"long").unwrap(), Some(Duration::MAX));
    assert_eq!(map.time_left(b"none").unwrap(), None);

    let bounded = Map::create(&me, MapOptions::new(64).max_bytes(4096)).unwrap();
    let (expired, looked_at) = (|number: u64| number.to_le_bytes(), b"hot");
    bounded.insert(looked_at, &[1; 100]).unwrap();
    for number in 0..1000u64 {
        bounded.insert_for(&expired(number), &[7; 100], Duration::ZERO).unwrap();
        assert_eq!(bounded.get(looked_at).unwrap(), Some(vec![1; 100]));
    }
    assert!(bounded.bytes().unwrap() <= 4096 && bounded.len().unwrap() == 1);
    drop((map, bounded));
    let report = space.check_quiet();
    assert!(report.is_clean(), "{report:?}");
    assert_eq!((report.stats.handles_live, report.stats.blocks_live()), (0, 0));
}

/// Where memory has run out, buckets of which everything has expired give theirs back, and so make room for what the others keep.
#[test]
fn expired_pairs_go_from_a_full_space() {
    let space = Space::options().container_slots(512).handles(4096).scratch(1 << 20).anonymous().unwrap();
    let me = space.join().unwrap();
    // In each map, one of the two buckets comes first: in which, the hash says.
    let maps: Vec<_> = (0..8).map(|_| Map::create(&me, 64).unwrap()).collect();
    let all_keys: Vec<[[u8; 8]; 4]> = maps.iter().map(tenure::testing::neighbours).collect();
    for (map, keys) in maps.iter().zip(&all_keys) {
        map.insert(&keys[0], &[7; 2000]).unwrap();
        map.insert_for(&keys[1], &[7; 2000], Duration::ZERO).unwrap();
        map.insert_for(&keys[3], &[7; 2000], Duration::ZERO).unwrap();
    }
    let fill = |size| {
        let layout = std::alloc::Layout::from_size_align(size, 8).unwrap();
        std::iter::from_fn(|| me.alloc(layout).ok()).collect::<Vec<_>>()
    };
    let _rest = [fill(2048), fill(64)];
    for (map, keys) in maps.iter().zip(&all_keys) {
        map.remove_expired().unwrap();
        assert_eq!((map.len().unwrap(), map.bytes().unwrap()), (1, 8 + 8 + 2000));
        assert_eq!(map.get(&keys[0]).unwrap(), Some(vec![7; 2000]));
    }
    assert!(space.check().is_clean());
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

/// Readers load from memory that they do not hold, so it is not given back to the system while there is a map.
#[test]
fn memory_is_kept_while_there_is_a_map() {
    let space = Space::options().container_slots(64).handles(64).scratch(8 << 20).memfd().unwrap();
    let me = space.join().unwrap();
    let map = Map::create(&me, 64).unwrap();
    map.insert(b"key", &[7; 1 << 20]).unwrap();
    assert!(map.remove(b"key").unwrap());
    let committed = space.stats().bytes_committed;
    assert_eq!(me.trim().unwrap(), 0);
    assert_eq!(space.stats().bytes_committed, committed);
    drop(map);
    assert!(me.trim().unwrap() >= 1 << 20);
}

/// Values of all sizes around the limits: of the entry, and of what is copied without a hold.
#[test]
fn values_of_all_sizes_are_whole() {
    let space = Space::options().container_slots(64).handles(64).scratch(16 << 20).anonymous().unwrap();
    let me = space.join().unwrap();
    let map = Map::create(&me, 64).unwrap();
    for size in (0..40).chain(4080..4110).chain([100_000, 1 << 20]) {
        let value: Vec<u8> = (0..size).map(|at| (at % 251) as u8).collect();
        map.insert(b"key", &value).unwrap();
        assert!(map.get(b"key").unwrap().as_deref() == Some(&value[..]), "{size}");
        assert_eq!(map.with(b"key", |found| found == value).unwrap(), Some(true), "{size}");
        assert_eq!(map.iter().map(|pair| pair.unwrap()).collect::<Vec<_>>(), [(b"key".to_vec(), value)]);
    }
    assert_eq!(map.len().unwrap(), 1);
}

#[test]
fn a_member_that_only_reads_gets_and_changes_nothing() {
    let name = Name::new("map-reader");
    let space = name.open(Space::options().container_slots(64).handles(64).scratch(1 << 20));
    let me = space.join().unwrap();
    let map = Map::create(me.named("map"), 64).unwrap();
    map.insert(b"key", &[7; 100]).unwrap();
    let reader = Space::options().read_only(true).attach(&name.0).unwrap().join().unwrap();
    let theirs = Map::open(&reader, "map").unwrap();
    assert_eq!(theirs.get(b"key").unwrap(), Some(vec![7; 100]));
    assert_eq!(theirs.get_handle(b"key").unwrap().unwrap().get().unwrap(), [7; 100]);
    assert!(matches!(theirs.insert(b"key", b""), Err(MapError::ReadOnly(_))));
    assert!(matches!(theirs.remove(b"key"), Err(MapError::ReadOnly(_))));
    assert!(matches!(theirs.clear(), Err(MapError::ReadOnly(_))));
    assert!(matches!(theirs.remove_expired(), Err(MapError::ReadOnly(_))));
    assert_eq!(map.len().unwrap(), 1);
}

/// A bounded map keeps within its bound, evicts what was not looked at first, and counts anew what the dead have left wrong.
#[test]
fn a_bounded_map_evicts_what_was_not_looked_at() {
    const MAX: u64 = 16 << 10;
    let space = Space::options().container_slots(512).handles(1024).scratch(64 << 20).anonymous().unwrap();
    let me = space.join().unwrap();
    let map = Map::create(&me, MapOptions::new(512).max_bytes(MAX)).unwrap();
    let pair = 8 + 8 + 104;
    map.insert(b"hot", &[1; 100]).unwrap();
    let mut evicted = 0;
    for number in 0..20_000u64 {
        assert!(!map.insert(&number.to_le_bytes(), &[7; 100]).unwrap());
        assert_eq!(map.get(b"hot").unwrap(), Some(vec![1; 100]), "{number}");
        if number % 500 == 0 {
            let bytes = map.bytes().unwrap();
            assert!(bytes <= MAX, "{bytes}");
            evicted = number;
        }
    }
    assert!(evicted > 0 && map.bytes().unwrap() > MAX / 2);
    assert_eq!(map.len().unwrap() as u64, map.bytes().unwrap() / pair, "all pairs have one size");
    // Looked at no more, it goes as well.
    for number in 20_000..40_000u64 {
        map.insert(&number.to_le_bytes(), &[7; 100]).unwrap();
    }
    assert_eq!(map.get(b"hot").unwrap(), None);
    // A value above the bound leaves nothing but itself, in its bucket.
    map.insert(b"large", &[9; MAX as usize]).unwrap();
    assert_eq!(map.get(b"large").unwrap(), Some(vec![9; MAX as usize]));
    assert!(map.bytes().unwrap() <= MAX + 17 * pair);
    map.insert(b"small", b"x").unwrap();
    assert!(map.get(b"small").unwrap().is_some());
    map.clear().unwrap();
    assert_eq!((map.len().unwrap(), map.bytes().unwrap()), (0, 0));
    for number in 0..100u64 {
        map.insert(&number.to_le_bytes(), &[7; 100]).unwrap();
    }
    assert_eq!(map.len().unwrap(), 100, "what was cleared counts no more");
    assert!(space.check().is_clean());
}

/// Workers that are killed while they insert into a bounded map leave its bound as it was.
#[test]
fn killed_workers_leave_the_bound_as_it_was() {
    const MAX: u64 = 16 << 10;
    let name = Name::new("map-bound");
    let space = name.open(Space::options().container_slots(64).members(16).handles(1024).scratch(64 << 20));
    let me = space.join().unwrap();
    let map = Map::create(me.named("map"), MapOptions::new(64).max_bytes(MAX)).unwrap();
    for round in 0..6u64 {
        let worker = Process::start(&[&name.0, &round.to_string()]);
        for _ in 0..100 + 31 * round {
            worker.hear();
        }
        worker.kill();
    }
    for number in 0..2000u64 {
        map.insert(&number.to_le_bytes(), &[7; 100]).unwrap();
        let bytes = map.bytes().unwrap();
        // After a turn through all buckets the sum is right, wherever the dead were.
        assert!(number < 200 || bytes <= MAX, "{number}: {bytes}");
    }
    assert!(map.bytes().unwrap() > MAX / 2);
    drop(map);
    me.recover().unwrap();
    let report = space.check();
    assert!(report.is_clean() && report.pending.is_empty(), "{report:?}");
    assert_eq!((report.stats.handles_live, report.stats.blocks_live()), (0, 0));
}
