//! Goal: the table of names agrees with a map: in sequential use, when it is full, and under threads.
//! Method: random operations beside a map; threads that insert, find and close the same few names; all handles named at once.
#![cfg(not(loom))]

mod common;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};

use common::SPACE;
use common::world::{World, token};
use proptest::prelude::*;
use tenure_core::sync::Word;
use tenure_slab::{Full, Inserted, NameHash, Names, NamesLayout, Token};

/// Hashes for a table of two buckets: each bucket is the first one of half of the names.
fn crowded(name: u64) -> NameHash {
    NameHash::from_bits(name & 1 | name << 58)
}

fn spread(name: u64) -> NameHash {
    NameHash::of(&name.to_le_bytes())
}

fn words(layout: &NamesLayout) -> Vec<Word> {
    (0..layout.words()).map(|_| Word::new(0)).collect()
}

/// The held handles in the table, each once.
fn listed(world: &World, names: &Names<'_>) -> BTreeMap<u64, Token> {
    let report = names.look();
    assert!(report.problems.is_empty(), "{report:?}");
    let mut listed = BTreeMap::new();
    for token in report.named.into_iter().filter(|token| world.is_held(*token)) {
        let other = listed.insert(world.name(token), token);
        assert!(other.is_none_or(|other| other == token), "two handles have one name: {other:?}, {token:?}");
    }
    listed
}

#[derive(Clone, Debug)]
enum Step {
    Enter(u64),
    Find(u64),
    /// Closes one of the held counts.
    Close(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let name = || 1..24u64;
    let step = prop_oneof![
        5 => name().prop_map(Step::Enter),
        2 => name().prop_map(Step::Find),
        3 => (0..64usize).prop_map(Step::Close),
    ];
    proptest::collection::vec(step, 1..200)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 2 } else { 500 }, failure_persistence: None, ..ProptestConfig::default()
    })]

    #[test]
    fn the_table_agrees_with_a_map(steps in steps(), is_crowded: bool) {
        let (handles, hash): (u32, fn(u64) -> NameHash) = if is_crowded { (4, crowded) } else { (300, spread) };
        let layout = NamesLayout::for_handles(handles);
        let words = words(&layout);
        let names = Names::new(&words, layout, SPACE).unwrap();
        let world = World::new(steps.len() as u32, hash);
        let mut held: Vec<Token> = Vec::new();
        for (handle, step) in (0..).zip(steps) {
            let map: BTreeMap<u64, Token> = held.iter().map(|token| (world.name(*token), *token)).collect();
            prop_assert_eq!(&listed(&world, &names), &map);
            match step {
                Step::Enter(name) => match world.insert(&names, handle, name) {
                    Ok(Inserted::New) => {
                        prop_assert!(!map.contains_key(&name));
                        held.push(token(handle));
                    }
                    Ok(Inserted::Found(found)) => {
                        prop_assert_eq!(map.get(&name), Some(&found));
                        held.push(found);
                    }
                    Err(Full) => prop_assert!(is_crowded && map.len() >= 14 && !map.contains_key(&name)),
                },
                Step::Find(name) => {
                    let found = world.find(&names, name);
                    prop_assert_eq!(map.get(&name), found.as_ref());
                    held.extend(found);
                }
                Step::Close(which) => {
                    if !held.is_empty() {
                        world.close(held.swap_remove(which % held.len()));
                    }
                }
            }
        }
    }
}

#[test]
fn one_of_many_threads_creates_a_name() {
    let rounds = if cfg!(miri) { 3 } else { 2000 };
    let layout = NamesLayout::for_handles(4);
    let words = words(&layout);
    let names = Names::new(&words, layout, SPACE).unwrap();
    let world = World::new(rounds * 8 + 8, crowded);
    // Meanwhile other handles are inserted through the same pending slot, and closed.
    let next = AtomicU32::new(0);
    for round in 0..rounds {
        let created = AtomicU32::new(0);
        let barrier = std::sync::Barrier::new(4);
        std::thread::scope(|scope| {
            for thread in 0..4u64 {
                let (names, world, next, created, barrier) = (&names, &world, &next, &created, &barrier);
                scope.spawn(move || {
                    barrier.wait();
                    let name = |step: u64| if step == 0 { 2 } else { 4 + 2 * thread };
                    let tokens = [0, 1].map(|step| {
                        let handle = next.fetch_add(1, Ordering::Relaxed);
                        match world.insert(names, handle, name(step)).unwrap() {
                            Inserted::New => {
                                created.fetch_add(u32::from(step == 0), Ordering::Relaxed);
                                token(handle)
                            }
                            Inserted::Found(found) => found,
                        }
                    });
                    assert_eq!(world.find(names, name(0)), Some(tokens[0]));
                    world.close(tokens[0]);
                    barrier.wait();
                    assert_eq!(world.find(names, name(1)), Some(tokens[1]));
                    world.close(tokens[1]);
                    if thread == 0 {
                        assert_eq!(created.load(Ordering::Relaxed), 1, "round {round}");
                    }
                    tokens.into_iter().for_each(|token| world.close(token));
                });
            }
        });
        assert!(listed(&world, &names).is_empty());
    }
}

/// The table is large enough for a name on every handle, also after many names have ended.
#[test]
fn every_handle_can_have_a_name() {
    let handles: u32 = if cfg!(miri) { 64 } else { 1 << 16 };
    let layout = NamesLayout::for_handles(handles);
    let words = words(&layout);
    let names = Names::new(&words, layout, SPACE).unwrap();
    let world = World::new(handles * 2, spread);
    for handle in 0..handles {
        assert_eq!(world.insert(&names, handle, handle.into()), Ok(Inserted::New));
    }
    for handle in 0..handles {
        world.close(token(handle));
        let later = handles + handle;
        assert_eq!(world.insert(&names, later, later.into()), Ok(Inserted::New));
    }
    assert!((handles..2 * handles).all(|later| world.find(&names, later.into()) == Some(token(later))));
    assert!((0..handles).all(|gone| world.find(&names, gone.into()).is_none()));
}
