//! Changes of a map and looks at it. Three keys share a bucket, and a fourth one is in another: what is done with one must leave the others as they are.

use std::time::Duration;

use tenure::collections::{Map, MapOptions};

use crate::case::{Case, MAPPED, Part, Stage};
use crate::pair::Pair;
use crate::survivor::{Mapped, Survivor};

const NAME: &str = "map";
/// The place of the first key on the board.
const KEYS: usize = 1;

pub(super) fn all() -> Vec<Case> {
    let case =
        |name, script| Case::new(name, script).size(MAPPED).before(provide).meanwhile(look).after(is_well);
    vec![
        case("map, create and drop", |stage| {
            let me = stage.join();
            stage.begin();
            drop(Map::create(&me, 64).unwrap());
            stage.end();
            me.leave().unwrap();
        }),
        case("map, drop, with what is in it", drop_filled),
        case("map, insert", insert),
        case("map, insert, a neighbour inserted meanwhile", insert).meanwhile(change_second),
        case("map, insert, replaced meanwhile", insert).meanwhile(change_first),
        case("map, insert, removed meanwhile", insert).meanwhile(remove_first),
        case("map, insert, twice", |stage| {
            with(stage, |map, [first, ..]| [3, 4].map(|number| map.insert(&first, &value(number)).unwrap()));
        }),
        case("map, insert, of a small value", |stage| {
            with(stage, |map, [_, _, third, _]| map.insert(&third, &[7]).unwrap());
        }),
        case("map, insert new", insert_new),
        case("map, insert new, inserted meanwhile", insert_new).meanwhile(change_third),
        case("map, remove", remove),
        case("map, remove, a neighbour inserted meanwhile", remove).meanwhile(change_second),
        case("map, remove, replaced meanwhile", remove).meanwhile(change_first),
        case("map, remove, the last of a bucket", remove).before(provide_one),
        case("map, remove, the last of a bucket, replaced meanwhile", remove)
            .before(provide_one)
            .meanwhile(change_first),
        case("map, compare and exchange, replaced meanwhile", exchange).meanwhile(change_first),
        case("map, insert, evicting", |stage| {
            with(stage, |map, [.., fourth]| map.insert(&fourth, &value(5)).unwrap())
        })
        .before(provide_bounded)
        .meanwhile(|_| {})
        .after(is_intact),
        case("map, get", get),
        case("map, get, replaced meanwhile", get).meanwhile(change_first),
        case("map, get, removed meanwhile", get).meanwhile(remove_first),
        case("map, get a handle, replaced meanwhile", get_handle).meanwhile(change_first),
        case("map, iterate, changed meanwhile", iterate).meanwhile(change_all),
        case("map, clear, changed meanwhile", |stage| with(stage, |map, _| map.clear().unwrap()))
            .meanwhile(change_third)
            .after(is_intact),
        case("map, remove expired", remove_expired),
        case("map, recover, of one who was inserting", super::members::recover).half("map, insert", 8),
    ]
}

pub(super) fn pairs() -> Vec<Pair> {
    let pair =
        |name, first, second| Pair::new(name, first, second).size(MAPPED).before(provide).after(is_intact);
    vec![
        pair("map, insert | insert", insert, insert),
        pair("map, insert new | insert new", insert_new, insert_new),
        pair("map, insert | remove", insert, remove),
        pair("map, remove | get a handle", remove, get_handle),
    ]
}

fn value(number: u8) -> [u8; 100] {
    [number; 100]
}

/// The number of a value that was inserted as it is.
fn number(value: &[u8]) -> u8 {
    assert!(
        value == [7] || value.len() == 100 && value.iter().all(|byte| *byte == value[0]),
        "torn: {value:?}"
    );
    value[0]
}

fn number_of(map: &Map, key: &[u8]) -> Option<u8> {
    map.get(key).unwrap().map(|value| number(&value))
}

fn provide_with(survivor: &mut Survivor, has_second: bool, options: MapOptions) {
    if survivor.mapped.is_some() {
        return;
    }
    let map = Map::create(survivor.me.named(NAME), options).unwrap();
    let keys: [[u8; 8]; 4] = tenure::testing::neighbours(&map);
    for (at, key) in keys.iter().enumerate() {
        survivor.board.post(KEYS + at, u64::from_le_bytes(*key));
    }
    map.insert(&keys[0], &value(1)).unwrap();
    if has_second {
        map.insert(&keys[1], &value(2)).unwrap();
    }
    survivor.mapped = Some(Mapped { map, keys, second: has_second.then_some(2) });
}

fn provide(survivor: &mut Survivor) {
    provide_with(survivor, true, MapOptions::new(64));
}

fn provide_one(survivor: &mut Survivor) {
    provide_with(survivor, false, MapOptions::new(64));
}

/// So bounded that the pair of another bucket evicts the first one, but not the small one, which was looked at.
fn provide_bounded(survivor: &mut Survivor) {
    provide_with(survivor, false, MapOptions::new(64).max_bytes(200));
    let Mapped { map, keys, second } = survivor.mapped.as_mut().unwrap();
    if second.is_none() {
        map.insert(&keys[1], &[7]).unwrap();
        *second = Some(7);
    }
}

/// The script of an actor that does one thing with the map.
fn with<R>(stage: &Stage<'_>, work: impl FnOnce(&Map, [[u8; 8]; 4]) -> R) {
    let me = stage.join();
    let map = Map::open(&me, NAME).unwrap();
    let keys = [0, 1, 2, 3].map(|at| stage.board.read(KEYS + at).to_le_bytes());
    stage.begin();
    let _ = work(&map, keys);
    stage.end();
    drop(map);
    me.leave().unwrap();
}

fn insert(stage: &Stage<'_>) {
    with(stage, |map, [first, ..]| map.insert(&first, &value(3)).unwrap());
}

fn insert_new(stage: &Stage<'_>) {
    with(stage, |map, [_, _, third, _]| map.insert_new(&third, &value(4)).unwrap());
}

fn remove(stage: &Stage<'_>) {
    with(stage, |map, [first, ..]| map.remove(&first).unwrap());
}

fn exchange(stage: &Stage<'_>) {
    with(stage, |map, [first, ..]| map.compare_exchange(&first, Some(&value(1)), Some(&value(5))).unwrap());
}

fn remove_expired(stage: &Stage<'_>) {
    let me = stage.join();
    let map = Map::open(&me, NAME).unwrap();
    map.insert_for(&stage.board.read(KEYS + 2).to_le_bytes(), &value(4), Duration::ZERO).unwrap();
    stage.begin();
    map.remove_expired().unwrap();
    stage.end();
    drop(map);
    me.leave().unwrap();
}

fn get(stage: &Stage<'_>) {
    let me = stage.join();
    let map = Map::open(&me, NAME).unwrap();
    let key = stage.board.read(KEYS).to_le_bytes();
    // Few instructions, so that the mutants are looked for after each.
    let mut to = Vec::with_capacity(200);
    stage.begin();
    let is_there = map.get_into(&key, &mut to);
    stage.end();
    assert!(!is_there.unwrap() || number(&to) != 0);
    drop(map);
    me.leave().unwrap();
}

fn get_handle(stage: &Stage<'_>) {
    with(stage, |map, [first, ..]| {
        if let Some(entry) = map.get_handle(&first).unwrap() {
            number(entry.get().unwrap());
        }
    });
}

fn iterate(stage: &Stage<'_>) {
    with(stage, |map, keys| {
        for pair in map {
            let (key, value) = pair.unwrap();
            number(&value);
            assert!(keys.iter().any(|known| key == known), "{key:?}");
        }
    });
}

/// A map of the actor's own, which ends with its last holder.
fn drop_filled(stage: &Stage<'_>) {
    let me = stage.join();
    let map = Map::create(&me, 64).unwrap();
    for key in 0..3u8 {
        map.insert(&[key], &value(key)).unwrap();
    }
    stage.begin();
    drop(map);
    stage.end();
    me.leave().unwrap();
}

/// The actor is stopped or dead, and nothing was recovered.
fn look(survivor: &mut Survivor) {
    let Mapped { map, keys, second } = survivor.mapped.as_ref().unwrap();
    assert_eq!(number_of(map, &keys[1]), *second, "the change of a neighbour was lost");
    let numbers = [keys[0], keys[1], keys[2]].map(|key| number_of(map, &key));
    let count = numbers.iter().flatten().count();
    let listed: Vec<u8> = map.iter().map(|pair| number(&pair.unwrap().1)).collect();
    assert_eq!(listed.len(), count, "{listed:?}, {numbers:?}");
}

fn change(survivor: &mut Survivor, at: usize, number: Option<u8>) {
    let Mapped { map, keys, second } = survivor.mapped.as_mut().unwrap();
    // So often that the memory of former records is that of others.
    for number in number.into_iter().flat_map(|number| [6; 10].into_iter().chain([number])) {
        map.insert(&keys[at], &value(number)).unwrap();
    }
    if number.is_none() {
        map.remove(&keys[at]).unwrap();
    }
    if at == 1 {
        *second = number;
    }
}

fn change_first(survivor: &mut Survivor) {
    change(survivor, 0, Some(9));
    look(survivor);
}

fn change_second(survivor: &mut Survivor) {
    change(survivor, 1, Some(10));
    look(survivor);
}

fn change_third(survivor: &mut Survivor) {
    change(survivor, 2, Some(11));
}

fn remove_first(survivor: &mut Survivor) {
    change(survivor, 0, None);
    change(survivor, 2, Some(12));
    look(survivor);
}

fn change_all(survivor: &mut Survivor) {
    let parts: [Part; 3] = [change_first, change_second, change_third];
    parts.iter().for_each(|part| part(survivor));
}

/// Nobody is at work any more.
fn is_well(survivor: &mut Survivor) {
    look(survivor);
    is_intact(survivor);
}

fn is_intact(survivor: &mut Survivor) {
    let Mapped { map, keys, .. } = survivor.mapped.take().unwrap();
    for (at, key) in keys.iter().enumerate() {
        number_of(&map, key);
        let number = 20 + at as u8;
        map.insert(key, &value(number)).unwrap();
        assert_eq!(number_of(&map, key), Some(number));
    }
    assert!(map.bytes().unwrap() <= 4 * 120);
}
