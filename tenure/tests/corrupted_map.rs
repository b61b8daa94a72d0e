//! A corrupted map is an error or a finding of `check`, never a crash, a hang or an access outside of the segment.
//!
//! Method: as in `corrupted.rs`; the words that are overwritten are those that are not zero, and the ones beside them: the slots of the map, the
//! chunk, the entries of its records, the records themselves. Any answer is accepted.

#![cfg(all(feature = "objects", feature = "typed"))]

mod hostile;

use hostile::{Bytes, Corrupt};
use proptest::prelude::*;
use tenure::{Map, MapOptions, Member, Space};

fn space() -> Space {
    let options = Space::options().members(4).handles(64).container_slots(192);
    options.unit(1 << 10).scratch(32 << 10).monitor(false).memfd().unwrap()
}

/// Words near those that are not zero, from the second page on: the header is that of `corrupted.rs`.
fn interesting(bytes: &Bytes) -> Vec<u64> {
    let image = bytes.image();
    let is_used =
        |at: &usize| image[at.saturating_sub(1)..(at + 2).min(image.len())].iter().any(|word| *word != 0);
    (512..image.len()).filter(is_used).map(|at| at as u64).collect()
}

/// Positions are reduced to the words above.
fn corrupts() -> impl Strategy<Value = Vec<Corrupt>> {
    let at = any::<u64>;
    let one = prop_oneof![
        (at(), any::<u64>()).prop_map(|(at, word)| Corrupt::Noise { at, word }),
        (at(), at()).prop_map(|(from, to)| Corrupt::Copy { from, to }),
        (at(), 0..64u8).prop_map(|(at, bit)| Corrupt::Flip { at, bit }),
        (at(), any::<u8>()).prop_map(|(at, value)| Corrupt::Small { at, value }),
    ];
    proptest::collection::vec(one, 1..16)
}

fn reduced(one: &Corrupt, positions: &[u64]) -> Corrupt {
    let reduce = |at: u64| positions[(at % positions.len() as u64) as usize];
    match *one {
        Corrupt::Noise { at, word } => Corrupt::Noise { at: reduce(at), word },
        Corrupt::Copy { from, to } => Corrupt::Copy { from: reduce(from), to: reduce(to) },
        Corrupt::Flip { at, bit } => Corrupt::Flip { at: reduce(at), bit },
        Corrupt::Small { at, value } => Corrupt::Small { at: reduce(at), value },
    }
}

fn use_map(map: &Map) {
    for key in 0..20u8 {
        let key = [key; 5];
        let _ = (map.get(&key), map.contains_key(&key), map.with(&key, <[u8]>::len));
        let _ = map.get_handle(&key).map(|entry| entry.map(|entry| entry.get().map(<[u8]>::len)));
        let _ = (map.insert(&key, &[6; 40]), map.insert_new(&key, &[7; 5]), map.insert(&key, &[8; 300]));
        let _ = (map.compare_exchange(&key, Some(&[8; 300]), Some(&[9; 10])), map.remove(&key));
    }
    let _ = (map.len(), map.is_empty(), map.iter().take(2000).count(), map.clear());
}

fn use_all(me: &Member, map: &Map) {
    use_map(map);
    if let Ok(again) = Map::open(me, map.token()) {
        use_map(&again);
    }
    if let Ok(again) = Map::open_named(me, "map") {
        use_map(&again);
    }
    let _ = Map::create(me, MapOptions::new(64).max_bytes(900)).map(|map| use_map(&map));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn corrupted_while_members_use_it(rounds in proptest::collection::vec(corrupts(), 1..5)) {
        let space = space();
        let bytes = Bytes::of(&space);
        let (me, other) = (space.join().unwrap(), space.join().unwrap());
        let map = Map::create_named(&me, "map", 64).unwrap();
        for key in 0..12u8 {
            map.insert(&[key; 5], &vec![key; usize::from(key) * 30]).unwrap();
        }
        let theirs = Map::create_or_open(&other, "bounded", MapOptions::new(64).max_bytes(2000)).unwrap().into_inner();
        for round in rounds {
            let positions = interesting(&bytes);
            round.iter().for_each(|one| bytes.corrupt(&reduced(one, &positions)));
            use_all(&me, &map);
            hostile::look(&space);
            use_all(&other, &theirs);
            let _ = (me.recover(), me.trim());
        }
        drop((map, theirs));
        let _ = (me.leave(), other.leave());
        hostile::look(&space);
    }
}

/// A record with a length that is too large, and a slot that is marked as claimed.
#[test]
fn a_corrupted_record_is_told() {
    let space = space();
    let bytes = Bytes::of(&space);
    let me = space.join().unwrap();
    let map = Map::create(&me, 64).unwrap();
    let value = [0xa5u8; 40];
    map.insert(b"key", &value).unwrap();
    let image = bytes.image();
    // The value's first word; the key and the lengths are before it.
    let at = image.iter().position(|word| *word == u64::from_ne_bytes([0xa5; 8])).unwrap() as u64;
    assert_eq!(image[at as usize - 2], 3 | 40 << 32);
    bytes.corrupt(&Corrupt::Noise { at: at - 2, word: 3 | 1 << 40 });
    assert!(matches!(map.get(b"key"), Err(tenure::MapError::Corrupt(_))));
    assert!(matches!(map.insert(b"key", b""), Err(tenure::MapError::Corrupt(_))));
    let violations = space.check().violations;
    assert!(violations.iter().any(|one| one.contains("record of a map")), "{violations:?}");
    bytes.corrupt(&Corrupt::Noise { at: at - 2, word: 3 | 40 << 32 });
    assert_eq!(map.get(b"key").unwrap().as_deref(), Some(&value[..]));
    assert!(space.check().is_clean());

    let info = space.handles().into_iter().find(|handle| handle.len == 56).unwrap();
    let ready = 1 << 56 | info.generation << 20 | u64::from(info.index);
    let slot = image.iter().position(|word| *word == ready).unwrap() as u64;
    bytes.corrupt(&Corrupt::Noise { at: slot, word: ready + (2 << 56) });
    assert!(matches!(map.insert(b"key", b"new"), Err(tenure::MapError::Corrupt(_))));
    assert!(matches!(map.remove(b"key"), Err(tenure::MapError::Corrupt(_))));
    assert!(map.clear().is_err());
    bytes.corrupt(&Corrupt::Noise { at: slot, word: ready });
    assert!(map.remove(b"key").unwrap());
}
