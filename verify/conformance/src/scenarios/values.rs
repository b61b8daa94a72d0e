//! Locked, versioned and shared values.

use super::Row;
use crate::driver::Sizes;
use crate::order::{Answer, Fault, New, Order, Sort, Thing};
use crate::program::Program;
use crate::stage::Stage;

/// A type of the application's choice.
const OF: u64 = 0x0123_4567_89ab_cdef;
const U: Sizes = Sizes::USUAL;

pub(super) const LOCKED: &[Row] = &[
    ("programs that count in a locked value lose no count", U, exclusion),
    ("locked values of 0, 1, 16, 17 and 100000 bytes come back whole", U, sizes),
    ("a value that somebody else has locked is not had: timed out, and nothing changed", U, timeout),
    ("locking again is told instead of waiting for oneself", U, deadlock),
    ("only who has locked a value unlocks, repairs or gives it up", U, not_owner),
    ("the owner was killed in a change: everybody is told until one has repaired it", U, damaged),
    ("an owner that gives up leaves the value damaged", U, given_up),
    ("an owner that leaves, or closes the value, leaves it damaged", U, left),
    ("killed after the repair, before the unlock, an owner leaves the value damaged again", U, damaged_again),
    ("a stopped owner keeps the value; others may give up waiting", U, owner_stopped),
    ("a locked value is opened as one of its own type only", U, locked_type),
    ("of many who create or open a locked value one creates it, and all have that one", U, named),
    ("a forked child does not own its parent's value", U, forked_child),
];

pub(super) const VERSIONED: &[Row] = &[
    ("everybody reads what was written last, and its version", U, versions),
    ("versioned values of 1, 16, 17 and 100000 bytes come back whole", U, versioned_sizes),
    ("whoever reads while others write reads whole versions, never an older one", U, whole),
    ("writers that are killed leave whole versions, and keep nobody", U, writer_killed),
    ("a stopped writer keeps no reader waiting", U, writer_stopped),
    ("a value of another length is not written", U, another_length),
    ("a versioned value is opened as one of its own type only", U, versioned_type),
];

pub(super) const SHARED: &[Row] = &[
    (
        "a shared value is zero, of the length and alignment that were asked for, also in used memory",
        U,
        zeroed,
    ),
    ("what many add to a shared value at once is not lost", U, added),
    ("who adds to a shared value and is killed keeps nobody, and what was added stays", U, adder_killed),
    ("a shared value is opened as one of its own type only", U, shared_type),
    ("a shared value has a name, and ends with its last holder", U, shared_named),
    ("a forked child does not have its parent's shared value", U, shared_forked),
];

fn locked(bytes: &[u8]) -> New {
    New::Locked { of: OF, bytes: bytes.into() }
}

fn versioned(bytes: &[u8]) -> New {
    New::Versioned { of: OF, bytes: bytes.into() }
}

fn exclusion(stage: &Stage) -> Result<(), Fault> {
    const TIMES: u32 = 300;
    let mut programs: [(Program, Thing); 3] = stage.sharing(locked(&[0; 8]))?;
    for (program, value) in &mut programs {
        program.begin(Order::CountIn { value: *value, times: TIMES });
    }
    for (program, _) in &mut programs {
        program.answer()?;
    }
    let [(mut a, value), ..] = programs;
    assert!(!a.lock(value, None)?);
    assert_eq!(a.look(value)?, u64::from(3 * TIMES).to_le_bytes());
    a.unlock_value(value)
}

fn sizes(stage: &Stage) -> Result<(), Fault> {
    let (mut a, mut b) = stage.two()?;
    for len in [0, 1, 16, 17, 100_000] {
        let bytes: Vec<u8> = (0..len).map(|at| at as u8).collect();
        let mine = a.make(locked(&bytes))?;
        let theirs = b.open_as(Sort::Locked(OF), mine.token)?;
        assert!(!b.lock(theirs, None)?);
        assert_eq!(b.look(theirs)?, bytes);
        let changed = vec![9; len];
        b.change(theirs, &changed)?;
        b.unlock_value(theirs)?;
        a.lock(mine, None)?;
        assert_eq!(a.look(mine)?, changed);
        a.unlock_value(mine)?;
        a.close(mine)?;
        b.close(theirs)?;
    }
    Ok(())
}

fn timeout(stage: &Stage) -> Result<(), Fault> {
    let [(mut a, mine), (mut b, theirs)] = stage.sharing(locked(b"value"))?;
    a.lock(mine, None)?;
    assert_eq!(b.lock(theirs, Some(0)), Err(Fault::TimedOut));
    assert_eq!(b.lock(theirs, Some(5)), Err(Fault::TimedOut));
    a.unlock_value(mine)?;
    assert!(!b.lock(theirs, Some(0))?);
    assert_eq!(b.look(theirs)?, b"value");
    b.unlock_value(theirs)
}

fn deadlock(stage: &Stage) -> Result<(), Fault> {
    let mut a = stage.program()?;
    let value = a.make(locked(b"value"))?;
    a.lock(value, None)?;
    assert_eq!(a.lock(value, None), Err(Fault::Deadlock));
    a.unlock_value(value)
}

fn not_owner(stage: &Stage) -> Result<(), Fault> {
    let [(mut a, mine), (mut b, theirs)] = stage.sharing(locked(b"value"))?;
    a.lock(mine, None)?;
    assert_eq!(b.unlock_value(theirs), Err(Fault::NotOwner));
    assert_eq!(b.repaired(theirs), Err(Fault::NotOwner));
    assert_eq!(b.give_up(theirs), Err(Fault::NotOwner));
    a.unlock_value(mine)?;
    assert_eq!(a.unlock_value(mine), Err(Fault::NotOwner));
    assert!(!b.lock(theirs, None)?);
    b.unlock_value(theirs)
}

fn damaged(stage: &Stage) -> Result<(), Fault> {
    stage.needs_processes()?;
    let [(mut a, mine), (mut b, of_b), (mut c, of_c)] = stage.sharing(locked(b"ab"))?;
    a.lock(mine, None)?;
    a.change(mine, b"x")?;
    a.kill()?;
    for _ in 0..2 {
        assert!(b.lock(of_b, None)?);
        b.unlock_value(of_b)?;
        assert!(c.lock(of_c, None)?);
        c.unlock_value(of_c)?;
    }
    assert!(c.lock(of_c, None)?);
    assert_eq!(c.look(of_c)?, b"xb");
    c.repaired(of_c)?;
    c.unlock_value(of_c)?;
    assert!(!b.lock(of_b, None)?);
    b.unlock_value(of_b)
}

fn given_up(stage: &Stage) -> Result<(), Fault> {
    let [(mut a, mine), (mut b, theirs)] = stage.sharing(locked(b"value"))?;
    a.lock(mine, None)?;
    a.give_up(mine)?;
    assert!(b.lock(theirs, Some(0))?);
    b.repaired(theirs)?;
    b.unlock_value(theirs)?;
    assert!(!a.lock(mine, Some(0))?);
    a.unlock_value(mine)
}

fn left(stage: &Stage) -> Result<(), Fault> {
    let [(mut a, mine), (mut b, of_b), (mut c, of_c)] = stage.sharing(locked(b"value"))?;
    a.lock(mine, None)?;
    a.leave()?;
    assert!(b.lock(of_b, None)?);
    b.repaired(of_b)?;
    b.unlock_value(of_b)?;
    assert!(!b.lock(of_b, None)?);
    b.close(of_b)?;
    assert!(c.lock(of_c, None)?);
    c.unlock_value(of_c)
}

fn damaged_again(stage: &Stage) -> Result<(), Fault> {
    stage.needs_processes()?;
    let [(mut a, mine), (mut b, theirs)] = stage.sharing(locked(b"value"))?;
    a.lock(mine, None)?;
    a.give_up(mine)?;
    assert!(a.lock(mine, None)?);
    a.repaired(mine)?;
    a.kill()?;
    assert!(b.lock(theirs, None)?);
    b.unlock_value(theirs)
}

fn owner_stopped(stage: &Stage) -> Result<(), Fault> {
    stage.needs_processes()?;
    let [(mut a, mine), (mut b, theirs)] = stage.sharing(locked(b"value"))?;
    a.lock(mine, None)?;
    a.stop()?;
    assert_eq!(b.lock(theirs, Some(5)), Err(Fault::TimedOut));
    b.recover()?;
    assert_eq!(b.lock(theirs, Some(0)), Err(Fault::TimedOut));
    a.resume()?;
    a.unlock_value(mine)?;
    assert!(!b.lock(theirs, None)?);
    b.unlock_value(theirs)
}

fn locked_type(stage: &Stage) -> Result<(), Fault> {
    let (mut a, mut b) = stage.two()?;
    let value = a.make(locked(b"value"))?;
    for sort in [Sort::Locked(OF + 1), Sort::Versioned(OF), Sort::Mutex, Sort::Raw(1)] {
        assert_eq!(b.open_as(sort, value.token), Err(Fault::ForeignKind), "{sort:?}");
    }
    let (mutex, bytes) = (a.mutex()?, a.create(b"bytes")?);
    assert_eq!(b.open_as(Sort::Locked(OF), mutex.token), Err(Fault::ForeignKind));
    assert_eq!(b.open_as(Sort::Locked(OF), bytes.token), Err(Fault::ForeignKind));
    Ok(())
}

fn named(stage: &Stage) -> Result<(), Fault> {
    let mut programs = [stage.program()?, stage.program()?, stage.program()?];
    for (program, byte) in programs.iter_mut().zip(*b"abc") {
        program.begin(Order::CreateOrOpen { name: "value".into(), new: locked(&[byte; 20]) });
    }
    let (mut made, mut all) = (0, Vec::new());
    for program in &mut programs {
        let Answer::CreatedOrOpened(thing, created) = program.answer()? else { panic!("another answer") };
        made += u32::from(created);
        all.push(thing);
    }
    assert_eq!(made, 1);
    let mut found = Vec::new();
    for (program, thing) in programs.iter_mut().zip(all) {
        program.lock(thing, None)?;
        found.push((thing.token, program.look(thing)?));
        program.unlock_value(thing)?;
    }
    assert!(found.iter().all(|one| *one == found[0]), "{found:?}");
    let again = programs[0].open_named("value", Sort::Locked(OF))?;
    assert_eq!(again.token, found[0].0);
    assert_eq!(programs[1].create_named("value", locked(b"x")), Err(Fault::NameTaken));
    assert_eq!(programs[1].open_named("value", Sort::Locked(OF + 1)), Err(Fault::ForeignKind));
    Ok(())
}

fn forked_child(stage: &Stage) -> Result<(), Fault> {
    stage.needs_processes()?;
    let mut a = stage.program()?;
    let value = a.make(locked(b"value"))?;
    a.lock(value, None)?;
    let answers = a.fork(&[
        Order::UnlockValue(value),
        Order::Repaired(value),
        Order::GiveUp(value),
        Order::Lock { thing: value, timeout: Some(0) },
    ])?;
    assert!(answers.iter().all(|answer| *answer == Err(Fault::Forked)), "{answers:?}");
    assert_eq!(a.look(value)?, b"value");
    a.unlock_value(value)
}

fn versions(stage: &Stage) -> Result<(), Fault> {
    let [(mut a, mine), (mut b, theirs)] = stage.sharing(versioned(b"first"))?;
    assert_eq!(b.read(theirs)?, (b"first".to_vec(), 0));
    assert_eq!(b.write(theirs, b"other")?, 1);
    assert_eq!(a.read(mine)?, (b"other".to_vec(), 1));
    assert_eq!(a.write(mine, b"third")?, 2);
    assert_eq!(b.read(theirs)?, (b"third".to_vec(), 2));
    Ok(())
}

fn versioned_sizes(stage: &Stage) -> Result<(), Fault> {
    let (mut a, mut b) = stage.two()?;
    for len in [1, 16, 17, 100_000] {
        let bytes: Vec<u8> = (0..len).map(|at| at as u8).collect();
        let mine = a.make(versioned(&bytes))?;
        let theirs = b.open_as(Sort::Versioned(OF), mine.token)?;
        assert_eq!(b.read(theirs)?, (bytes, 0));
        let changed = vec![9; len];
        b.write(theirs, &changed)?;
        assert_eq!(a.read(mine)?, (changed, 1));
        a.close(mine)?;
        b.close(theirs)?;
    }
    Ok(())
}

fn whole(stage: &Stage) -> Result<(), Fault> {
    const TIMES: u32 = 300;
    let [(mut a, of_a), (mut b, of_b), (mut c, of_c)] = stage.sharing(versioned(&[0; 300]))?;
    a.begin(Order::WriteRounds { value: of_a, len: 300, times: TIMES });
    c.begin(Order::WriteRounds { value: of_c, len: 300, times: TIMES });
    b.begin(Order::ReadRounds { value: of_b, times: TIMES });
    for program in [&mut a, &mut b, &mut c] {
        program.answer()?;
    }
    assert_eq!(b.read(of_b)?.1, u64::from(2 * TIMES), "no write is lost");
    Ok(())
}

fn writer_killed(stage: &Stage) -> Result<(), Fault> {
    stage.needs_processes()?;
    let mut b = stage.program()?;
    let mine = b.make(versioned(&[0; 5000]))?;
    for round in 1..5 {
        let mut a = stage.program()?;
        let theirs = a.open_as(Sort::Versioned(OF), mine.token)?;
        a.begin(Order::WriteRounds { value: theirs, len: 5000, times: u32::MAX });
        let start = b.read(mine)?.1;
        while b.read(mine)?.1 < start + 10 * round {}
        // In the middle of some write.
        a.kill()?;
        b.begin(Order::ReadRounds { value: mine, times: 1 });
        b.answer()?;
        let before = b.read(mine)?.1;
        assert_eq!(b.write(mine, &[7; 5000])?, before + 1, "waits for the recovery of the writer only");
        assert_eq!(b.read(mine)?, (vec![7; 5000], before + 1));
    }
    Ok(())
}

fn writer_stopped(stage: &Stage) -> Result<(), Fault> {
    stage.needs_processes()?;
    let [(mut a, theirs), (mut b, mine)] = stage.sharing(versioned(&[0; 5000]))?;
    a.begin(Order::WriteRounds { value: theirs, len: 5000, times: 2000 });
    for _ in 0..10 {
        a.stop()?;
        b.begin(Order::ReadRounds { value: mine, times: 3 });
        b.answer()?;
        a.resume()?;
    }
    a.answer()?;
    assert_eq!(b.read(mine)?.1, 2000);
    Ok(())
}

fn another_length(stage: &Stage) -> Result<(), Fault> {
    let mut a = stage.program()?;
    let value = a.make(versioned(b"value"))?;
    assert_eq!(a.write(value, b"longer"), Err(Fault::Argument));
    assert_eq!(a.write(value, b""), Err(Fault::Argument));
    assert_eq!(a.read(value)?, (b"value".to_vec(), 0));
    Ok(())
}

fn versioned_type(stage: &Stage) -> Result<(), Fault> {
    let (mut a, mut b) = stage.two()?;
    let value = a.make(versioned(b"value"))?;
    for sort in [Sort::Versioned(OF + 1), Sort::Locked(OF), Sort::Semaphore, Sort::Raw(1)] {
        assert_eq!(b.open_as(sort, value.token), Err(Fault::ForeignKind), "{sort:?}");
    }
    Ok(())
}

fn shared(size: usize) -> New {
    New::Shared { of: OF, size, align: 64 }
}

fn zeroed(stage: &Stage) -> Result<(), Fault> {
    let mut a = stage.program()?;
    for size in [8, 64, 4096, 100_000] {
        for _ in 0..3 {
            let value = a.make(shared(size))?;
            let (start, len) = a.shared_at(value)?;
            assert_eq!((start % 64, len), (0, size));
            for at in [0, size / 16 * 8, size - 8] {
                assert_eq!(a.word_at(value, at)?, 0);
            }
            for at in [0, size / 16 * 8, size - 8] {
                a.add_to(value, at)?;
            }
            a.close(value)?;
        }
    }
    Ok(())
}

fn added(stage: &Stage) -> Result<(), Fault> {
    const TIMES: u32 = 100_000;
    let mut programs: [(Program, Thing); 3] = stage.sharing(shared(128))?;
    for (program, value) in &mut programs {
        program.begin(Order::AddTo { value: *value, at: 120, times: TIMES });
    }
    for (program, _) in &mut programs {
        program.answer()?;
    }
    let [(mut a, value), ..] = programs;
    assert_eq!(a.word_at(value, 120)?, u64::from(3 * TIMES));
    assert_eq!(a.word_at(value, 112)?, 0);
    assert_eq!(a.word_at(value, 128), Err(Fault::TooLarge));
    Ok(())
}

fn adder_killed(stage: &Stage) -> Result<(), Fault> {
    stage.needs_processes()?;
    let [(mut a, theirs), (mut b, mine)] = stage.sharing(shared(64))?;
    a.begin(Order::AddTo { value: theirs, at: 8, times: u32::MAX });
    while b.word_at(mine, 8)? < 1000 {}
    a.kill()?;
    let found = b.word_at(mine, 8)?;
    assert_eq!(b.add_to(mine, 8)?, found);
    Ok(())
}

fn shared_type(stage: &Stage) -> Result<(), Fault> {
    let (mut a, mut b) = stage.two()?;
    let value = a.make(shared(64))?;
    for sort in [Sort::Shared(OF + 1), Sort::Locked(OF), Sort::Versioned(OF), Sort::Mutex, Sort::Raw(1)] {
        assert_eq!(b.open_as(sort, value.token), Err(Fault::ForeignKind), "{sort:?}");
    }
    Ok(())
}

fn shared_named(stage: &Stage) -> Result<(), Fault> {
    let (mut a, mut b) = stage.two()?;
    let (mine, created) = a.create_or_open("counters", shared(64))?;
    let (theirs, again) = b.create_or_open("counters", shared(8))?;
    assert_eq!((created, again, mine.token), (true, false, theirs.token));
    assert_eq!(b.shared_at(theirs)?.1, 64, "the length of its creation");
    a.add_to(mine, 56)?;
    a.close(mine)?;
    let found = a.open_named("counters", Sort::Shared(OF))?;
    assert_eq!(a.word_at(found, 56)?, 1);
    a.close(found)?;
    b.close(theirs)?;
    assert_eq!(a.open_named("counters", Sort::Shared(OF)), Err(Fault::NoSuchName));
    Ok(())
}

fn shared_forked(stage: &Stage) -> Result<(), Fault> {
    stage.needs_processes()?;
    let mut a = stage.program()?;
    let value = a.make(shared(64))?;
    let answers = a.fork(&[Order::SharedAt(value), Order::AddTo { value, at: 0, times: 1 }])?;
    assert!(answers.iter().all(|answer| *answer == Err(Fault::Forked)), "{answers:?}");
    assert_eq!(a.add_to(value, 0)?, 0);
    Ok(())
}
