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
    ("a pair that has expired is in no answer, and a new one is inserted over it", S, expired),
    ("the time until a pair expires is told; so is that it never does, and that there is none", S, time_left),
    ("the memory of pairs that have expired is given back, and no other pair is removed", S, given_back),
    (
        "a value that replaces another does not expire; by an exchange it expires when the other would have",
        S,
        renewed,
    ),
];

/// Some 36 years in nanoseconds: what is to expire then does not while a scenario runs.
const YEARS: u64 = 1 << 60;

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
        Order::RemoveKey { map, key: key.clone() },
        Order::Clear(map),
        Order::MapLen(map),
        Order::Pairs(map),
        Order::InsertFor { map, key: key.clone(), value: value.clone(), time: 0 },
        Order::InsertNewFor { map, key: b"new".to_vec(), value, time: YEARS },
        Order::TimeLeft { map, key },
        Order::RemoveExpired(map),
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

fn expired(stage: &Stage) -> Result<(), Fault> {
    let [(mut a, mine), (mut b, theirs)] = stage.sharing(MAP)?;
    assert!(!a.insert_for(mine, b"tea", b"green", 0)?);
    a.insert_for(mine, b"milk", b"white", YEARS)?;
    for (program, map) in [(&mut a, mine), (&mut b, theirs)] {
        assert_eq!(program.value_of(map, b"tea"), Err(Fault::NoSuchKey));
        assert_eq!(program.hold_value(map, b"tea"), Err(Fault::NoSuchKey));
        assert!(!program.has_key(map, b"tea")?);
        assert!(!program.remove_key(map, b"tea")?);
        assert!(!program.exchange(map, b"tea", Some(b"green"), Some(b"x"))?);
        assert_eq!(program.map_len(map)?.0, 1);
        assert_eq!(program.pairs(map)?, [(b"milk".to_vec(), b"white".to_vec())]);
    }
    assert!(!a.insert_for(mine, b"tea", b"green", 0)?, "nothing was replaced");
    assert!(b.insert_new(theirs, b"tea", b"black")?);
    assert_eq!(a.value_of(mine, b"tea")?, b"black");
    a.insert_for(mine, b"tea", b"green", 0)?;
    assert!(b.insert_new_for(theirs, b"tea", b"white", YEARS)?);
    assert!(!a.insert_new_for(mine, b"tea", b"x", YEARS)?);
    assert_eq!(a.value_of(mine, b"tea")?, b"white");
    assert!(b.insert_for(theirs, b"tea", b"blue", 0)?, "it was there, and is not");
    assert!(!a.has_key(mine, b"tea")?);
    assert!(a.exchange(mine, b"tea", None, Some(b"red"))?);
    assert_eq!(b.value_of(theirs, b"tea")?, b"red");
    Ok(())
}

fn time_left(stage: &Stage) -> Result<(), Fault> {
    let [(mut a, mine), (mut b, theirs)] = stage.sharing(MAP)?;
    assert_eq!(b.time_left(theirs, b"tea"), Err(Fault::NoSuchKey));
    a.insert_for(mine, b"tea", b"green", YEARS)?;
    a.insert_new_for(mine, b"milk", b"white", YEARS / 4)?;
    a.insert_for(mine, b"longest", b"", u64::MAX - 1)?;
    a.insert_for(mine, b"gone", b"", 0)?;
    a.insert(mine, b"never", b"")?;
    let mut left = |key| b.time_left(theirs, key);
    let (tea, milk) = (left(b"tea")?, left(b"milk")?);
    assert!(YEARS / 2 < tea && tea <= YEARS && YEARS / 8 < milk && milk <= YEARS / 4, "{tea}, {milk}");
    let longest = left(b"longest")?;
    assert!(4 * YEARS < longest && longest < u64::MAX, "{longest}");
    assert_eq!(left(b"gone"), Err(Fault::NoSuchKey));
    assert_eq!(left(b"never")?, u64::MAX);
    Ok(())
}

fn given_back(stage: &Stage) -> Result<(), Fault> {
    let [(mut a, mine), (mut b, theirs)] = stage.sharing(MAP)?;
    a.insert_for(mine, b"tea", &[1; 5000], 0)?;
    let (pairs, bytes) = a.map_len(mine)?;
    assert_eq!((pairs, bytes), (0, 8 + 8 + 8 + 5000));
    b.remove_expired(theirs)?;
    assert_eq!(a.map_len(mine)?, (0, 0));
    for number in 0..50_u8 {
        a.insert_for(mine, &[number], &[1; 100], 0)?;
        a.insert_for(mine, &[number, 0], &[2; 100], YEARS)?;
        a.insert(mine, &[number, 1], &[3; 100])?;
    }
    b.remove_expired(theirs)?;
    assert_eq!(a.map_len(mine)?, (100, 50 * (8 + 8 + 8 + 104) + 50 * (8 + 8 + 104)));
    for number in 0..50_u8 {
        assert_eq!(b.value_of(theirs, &[number, 0])?, [2; 100]);
        assert_eq!(b.value_of(theirs, &[number, 1])?, [3; 100]);
    }
    Ok(())
}

fn renewed(stage: &Stage) -> Result<(), Fault> {
    let [(mut a, mine), (mut b, theirs)] = stage.sharing(MAP)?;
    a.insert_for(mine, b"tea", b"green", YEARS)?;
    assert!(b.exchange(theirs, b"tea", Some(b"green"), Some(b"black"))?);
    let left = a.time_left(mine, b"tea")?;
    assert!(YEARS / 2 < left && left <= YEARS, "{left}");
    assert!(!b.insert_new(theirs, b"tea", b"x")?);
    assert!(a.time_left(mine, b"tea")? <= YEARS, "it was not replaced");
    assert!(b.insert(theirs, b"tea", b"white")?);
    assert_eq!((a.time_left(mine, b"tea")?, a.value_of(mine, b"tea")?), (u64::MAX, b"white".to_vec()));
    assert!(b.insert_for(theirs, b"tea", b"blue", YEARS)?);
    assert!(a.time_left(mine, b"tea")? <= YEARS);
    Ok(())
}
