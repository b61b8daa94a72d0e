//! Maps.

use super::Row;
use crate::driver::Sizes;
use crate::order::{Answer, Fault, New, Order, Sort};
use crate::stage::Stage;

const S: Sizes = Sizes::CONTAINERS;

const MAP: New = New::Map { capacity: 64, max_bytes: 0 };

pub(super) const ROWS: &[Row] = &[
    ("what one member inserts all find, until one removes it", S, shared),
    (
        "an insertion replaces the value, and says whether there was one; one of a new key does not",
        S,
        replaced,
    ),
    ("of many who insert one new key at once one does", S, inserted_at_once),
    ("a value is exchanged for the expected one only; none is a value as well", S, exchanged),
    ("a key without a value is told", S, missing),
    ("keys and values have any number of bytes, or none", S, lengths),
    ("a pair that is too large is refused, and the map is as it was", S, too_large),
    ("a buffer that is too short is told the size of the value, and nothing is stored in it", S, short),
    ("a held value stays as it is while it is replaced and removed", S, held),
    ("an iteration sees every pair once", S, iterated),
    ("a map with far more pairs than its capacity refuses one, and says so", S, full),
    ("a map with a bound keeps it: pairs that nobody looks at are evicted", S, bounded),
    ("a pair outlives the member that inserted it, killed or gone", S, inserter_gone),
    ("a map is opened as one only, and ends with its last holder", S, wrong_kind),
    ("a map has a name: one creates it, and all have that one", S, named),
    ("a forked child has no map of its parent's", S, forked_child),
    ("a map that finds no container slots is not created, and says so", S, no_slots),
];

fn shared(stage: &Stage) -> Result<(), Fault> {
    let [(mut a, mine), (mut b, theirs)] = stage.sharing(MAP)?;
    for number in 0..50_u8 {
        assert!(!a.insert(mine, &[number], &[number; 3])?);
    }
    for number in 0..50_u8 {
        assert_eq!(b.value_of(theirs, &[number])?, [number; 3]);
        assert!(a.has_key(mine, &[number])?);
    }
    assert_eq!(b.map_len(theirs)?.0, 50);
    for number in 0..50_u8 {
        assert!(b.remove_key(theirs, &[number])?);
        assert!(!a.has_key(mine, &[number])?);
    }
    assert_eq!(a.map_len(mine)?, (0, 0));
    Ok(())
}

fn replaced(stage: &Stage) -> Result<(), Fault> {
    let [(mut a, mine), (mut b, theirs)] = stage.sharing(MAP)?;
    assert!(!a.insert(mine, b"tea", b"green")?);
    assert!(b.insert(theirs, b"tea", b"a longer value, of more than thirty-two bytes")?);
    assert_eq!(a.value_of(mine, b"tea")?, b"a longer value, of more than thirty-two bytes");
    assert!(a.insert(mine, b"tea", b"x")?);
    assert_eq!(b.value_of(theirs, b"tea")?, b"x");
    assert!(!b.insert_new(theirs, b"tea", b"white")?);
    assert!(b.insert_new(theirs, b"milk", b"white")?);
    assert_eq!((a.value_of(mine, b"tea")?, a.value_of(mine, b"milk")?), (b"x".to_vec(), b"white".to_vec()));
    assert_eq!(a.map_len(mine)?, (2, 48));
    Ok(())
}

fn inserted_at_once(stage: &Stage) -> Result<(), Fault> {
    let mut sharing: [_; 3] = stage.sharing(MAP)?;
    for round in 0..10_u8 {
        for (who, (program, map)) in sharing.iter_mut().enumerate() {
            let (key, value) = (vec![round], vec![who as u8; 40]);
            program.begin(Order::InsertNew { map: *map, key, value });
        }
        let mut first = None;
        for (who, (program, _)) in sharing.iter_mut().enumerate() {
            if program.answer()? == Answer::Truth(true) {
                assert_eq!(first.replace(who as u8), None, "one only");
            }
        }
        for (program, map) in &mut sharing {
            assert_eq!(program.value_of(*map, &[round])?, [first.expect("one"); 40]);
        }
    }
    Ok(())
}

fn exchanged(stage: &Stage) -> Result<(), Fault> {
    let [(mut a, mine), (mut b, theirs)] = stage.sharing(MAP)?;
    assert!(!a.exchange(mine, b"state", Some(b"open"), Some(b"closed"))?);
    assert!(a.exchange(mine, b"state", None, Some(b"open"))?);
    assert!(!b.exchange(theirs, b"state", None, Some(b"other"))?);
    assert!(!b.exchange(theirs, b"state", Some(b"ope"), None)?);
    assert!(b.exchange(theirs, b"state", Some(b"open"), Some(b""))?);
    assert_eq!(a.value_of(mine, b"state")?, b"");
    assert!(!a.exchange(mine, b"state", None, None)?);
    assert!(a.exchange(mine, b"state", Some(b""), None)?);
    assert_eq!(b.value_of(theirs, b"state"), Err(Fault::NoSuchKey));
    assert!(b.exchange(theirs, b"state", None, None)?);
    Ok(())
}

fn missing(stage: &Stage) -> Result<(), Fault> {
    let mut a = stage.program()?;
    let map = a.make(MAP)?;
    a.insert(map, b"tea", b"")?;
    assert_eq!(a.value_of(map, b"tea")?, b"", "none is not the same as an empty one");
    for key in [&b"te"[..], b"tea ", b""] {
        assert_eq!(a.value_of(map, key), Err(Fault::NoSuchKey));
        assert_eq!(a.hold_value(map, key), Err(Fault::NoSuchKey));
        assert!(!a.has_key(map, key)?);
        assert!(!a.remove_key(map, key)?);
    }
    assert_eq!(a.map_len(map)?, (1, 16));
    Ok(())
}

fn lengths(stage: &Stage) -> Result<(), Fault> {
    let [(mut a, mine), (mut b, theirs)] = stage.sharing(MAP)?;
    let lengths = [0, 1, 7, 8, 32, 33, 4096, 4097, 100_000];
    for key in lengths {
        a.insert(mine, &vec![7; key], &vec![9; key])?;
    }
    for key in lengths {
        assert!(b.value_of(theirs, &vec![7; key])? == vec![9; key], "{key} bytes");
    }
    assert_eq!(b.map_len(theirs)?.0, lengths.len() as i32);
    Ok(())
}

fn too_large(stage: &Stage) -> Result<(), Fault> {
    let mut a = stage.program()?;
    let map = a.make(MAP)?;
    a.insert(map, b"tea", b"green")?;
    let large = vec![7; 3 << 20];
    assert_eq!(a.insert(map, b"tea", &large), Err(Fault::TooLarge));
    assert_eq!(a.insert(map, &large, b"green"), Err(Fault::TooLarge));
    assert_eq!(a.value_of(map, b"tea")?, b"green");
    assert_eq!(a.value_of(map, &large), Err(Fault::NoSuchKey));
    assert_eq!(a.map_len(map)?.0, 1);
    Ok(())
}

fn short(stage: &Stage) -> Result<(), Fault> {
    let mut a = stage.program()?;
    let map = a.make(MAP)?;
    for size in [2, 33, 5000] {
        a.insert(map, b"tea", &vec![9; size])?;
        assert_eq!(a.get_short(map, b"tea", 1)?, size as u64);
        assert_eq!(a.get_short(map, b"tea", size - 1)?, size as u64);
    }
    Ok(())
}

fn held(stage: &Stage) -> Result<(), Fault> {
    let [(mut a, mine), (mut b, theirs)] = stage.sharing(MAP)?;
    a.insert(mine, b"tea", &[1; 100])?;
    let first = b.hold_value(theirs, b"tea")?;
    a.insert(mine, b"tea", &[2; 100])?;
    let second = b.hold_value(theirs, b"tea")?;
    assert!(a.remove_key(mine, b"tea")?);
    a.insert(mine, b"other", &[3; 100])?;
    assert_eq!((b.get(first)?, b.get(second)?), (vec![1; 100], vec![2; 100]));
    b.close(theirs)?;
    a.close(mine)?;
    assert_eq!(b.get(first)?, [1; 100], "the map itself is over");
    b.close(first)?;
    b.close(second)?;
    assert_eq!(stage.in_use().handles, 0);
    Ok(())
}

fn iterated(stage: &Stage) -> Result<(), Fault> {
    let [(mut a, mine), (mut b, theirs)] = stage.sharing(MAP)?;
    assert_eq!(a.pairs(mine)?, []);
    let mut expected: Vec<(Vec<u8>, Vec<u8>)> =
        (0..100).map(|n| (vec![n; 1 + n as usize % 40], vec![n])).collect();
    expected.push((vec![], vec![]));
    for (key, value) in &expected {
        a.insert(mine, key, value)?;
    }
    let mut found = b.pairs(theirs)?;
    found.sort_unstable();
    expected.sort_unstable();
    assert_eq!(found, expected);
    b.clear(theirs)?;
    assert_eq!(a.pairs(mine)?, []);
    assert_eq!(a.map_len(mine)?, (0, 0));
    Ok(())
}

fn full(stage: &Stage) -> Result<(), Fault> {
    let mut a = stage.program()?;
    let map = a.make(MAP)?;
    let mut pairs = 0_u32;
    let refused = loop {
        match a.insert(map, &pairs.to_le_bytes(), b"x") {
            Ok(_) => pairs += 1,
            Err(fault) => break fault,
        }
    };
    assert_eq!(refused, Fault::MapFull);
    assert!((64..64 * 16).contains(&pairs), "{pairs}");
    assert_eq!(a.map_len(map)?.0, pairs as i32);
    assert!(a.insert(map, &0_u32.to_le_bytes(), b"y")?, "what is there is replaced");
    assert!(a.remove_key(map, &1_u32.to_le_bytes())?);
    Ok(())
}

fn bounded(stage: &Stage) -> Result<(), Fault> {
    let [(mut a, mine), (mut b, theirs)] = stage.sharing(New::Map { capacity: 64, max_bytes: 4096 })?;
    for number in 0..200_u32 {
        a.insert(mine, &number.to_le_bytes(), &[7; 100])?;
    }
    let (pairs, bytes) = b.map_len(theirs)?;
    assert!(bytes <= 4096 && (1..=4096 / 120).contains(&pairs), "{pairs} pairs of {bytes} bytes");
    assert_eq!(b.value_of(theirs, &199_u32.to_le_bytes())?, [7; 100], "the last one");
    Ok(())
}

fn inserter_gone(stage: &Stage) -> Result<(), Fault> {
    stage.needs_processes()?;
    let [(mut a, mine), (mut b, of_b), (mut c, of_c)] = stage.sharing(MAP)?;
    a.insert(mine, b"left", &[1; 100])?;
    b.insert(of_b, b"killed", b"its")?;
    a.leave()?;
    b.kill()?;
    c.recover()?;
    assert_eq!((c.value_of(of_c, b"left")?, c.value_of(of_c, b"killed")?), (vec![1; 100], b"its".to_vec()));
    assert!(c.insert(of_c, b"left", b"changed")? && c.remove_key(of_c, b"killed")?);
    Ok(())
}

fn wrong_kind(stage: &Stage) -> Result<(), Fault> {
    let mut a = stage.program()?;
    let (map, mutex) = (a.make(MAP)?, a.mutex()?);
    assert_eq!(a.open_as(Sort::Mutex, map.token), Err(Fault::ForeignKind));
    assert_eq!(a.open_as(Sort::Queue(1), map.token), Err(Fault::ForeignKind));
    assert_eq!(a.open_as(Sort::Map, mutex.token), Err(Fault::ForeignKind));
    assert_eq!(a.value_of(mutex, b"tea"), Err(Fault::ForeignKind));
    a.insert(map, b"tea", &[7; 100])?;
    let again = a.try_clone(map)?;
    a.close(map)?;
    assert_eq!(a.value_of(again, b"tea")?, [7; 100]);
    a.close(again)?;
    assert_eq!(a.open_as(Sort::Map, map.token), Err(Fault::Stale));
    a.close(mutex)?;
    assert_eq!(stage.in_use().handles, 0);
    Ok(())
}

fn named(stage: &Stage) -> Result<(), Fault> {
    let (mut a, mut b) = stage.two()?;
    let (mine, created) = a.create_or_open("prices", MAP)?;
    assert!(created);
    let (theirs, created) = b.create_or_open("prices", MAP)?;
    assert!(!created);
    assert_eq!(b.create_named("prices", MAP), Err(Fault::NameTaken));
    a.insert(mine, b"tea", b"3.20")?;
    let third = b.open_named("prices", Sort::Map)?;
    assert_eq!((b.value_of(third, b"tea")?, third.token), (b"3.20".to_vec(), theirs.token));
    assert_eq!(b.look_up("prices")?, mine.token);
    Ok(())
}

fn forked_child(stage: &Stage) -> Result<(), Fault> {
    stage.needs_processes()?;
    let [(mut a, mine), (mut b, theirs)] = stage.sharing(MAP)?;
    a.insert(mine, b"tea", b"green")?;
    let (map, key, value) = (mine, b"tea".to_vec(), b"x".to_vec());
    let answers = a.fork(&[
        Order::Insert { map, key: key.clone(), value: value.clone() },
        Order::InsertNew { map, key: b"new".to_vec(), value: value.clone() },
        Order::Exchange { map, key: key.clone(), expected: Some(b"green".to_vec()), new: None },
        Order::GetValue { map, key: key.clone() },
        Order::HoldValue { map, key: key.clone() },
        Order::HasKey { map, key: key.clone() },
        Order::RemoveKey { map, key },
        Order::Clear(map),
        Order::MapLen(map),
        Order::Pairs(map),
    ])?;
    assert!(answers.iter().all(|answer| *answer == Err(Fault::Forked)), "{answers:?}");
    assert_eq!(b.pairs(theirs)?, [(b"tea".to_vec(), b"green".to_vec())]);
    Ok(())
}

fn no_slots(stage: &Stage) -> Result<(), Fault> {
    let (mut a, mut b) = stage.two()?;
    let map = |capacity| New::Map { capacity, max_bytes: 0 };
    assert_eq!(a.make(map(129)), Err(Fault::ContainerSlots));
    let first = a.make(map(65))?; // takes 128
    assert_eq!(b.make(map(1)), Err(Fault::ContainerSlots));
    a.close(first)?;
    b.make(map(128))?;
    Ok(())
}
