//! Mutexes.

use super::Row;
use crate::driver::Sizes;
use crate::order::{Fault, New, Order, Sort, Thing};
use crate::program::{Program, next_to_answer};
use crate::stage::Stage;

const MUTEX: New = New::Mutex { recursive: false };

pub(super) const ROWS: &[Row] = &[
    ("programs that count under a mutex lose no count", Sizes::USUAL, exclusion),
    ("a mutex that somebody else owns is not had: timed out, and nothing changed", Sizes::USUAL, timeout),
    ("who waits for a mutex gets it when it is unlocked", Sizes::USUAL, handed_over),
    ("of many who wait for a mutex each gets it in the end", Sizes::USUAL, everybody_in_turn),
    ("the owner of a recursive mutex locks it again, and unlocks it as often", Sizes::USUAL, recursive),
    (
        "locking again a mutex that is not recursive is told instead of waiting for oneself",
        Sizes::USUAL,
        deadlock,
    ),
    ("only its owner unlocks a mutex", Sizes::USUAL, not_owner),
    (
        "the owner was killed: who waits gets the mutex and is told that it was abandoned",
        Sizes::USUAL,
        abandoned_to_waiter,
    ),
    ("the owner was killed: exactly one of those who wait is told", Sizes::USUAL, abandoned_once),
    (
        "the owner was killed before anybody waited: the next one is told, the one after is not",
        Sizes::USUAL,
        abandoned_later,
    ),
    ("an owner that leaves abandons the mutex", Sizes::USUAL, abandoned_on_leave),
    ("an owner that closes the mutex for the last time abandons it", Sizes::USUAL, abandoned_on_close),
    ("a recursive mutex is abandoned whole, however often it was locked", Sizes::USUAL, abandoned_recursive),
    ("a stopped owner keeps the mutex; others may give up", Sizes::USUAL, owner_stopped),
    ("a waiter that is killed takes nothing with it", Sizes::USUAL, waiter_killed),
    ("a waiter that is stopped keeps nobody from the mutex", Sizes::USUAL, waiter_stopped),
    ("a mutex is opened as a mutex only", Sizes::USUAL, wrong_kind),
    ("a mutex ends with its last holder", Sizes::USUAL, ends),
    ("a forked child does not own its parent's mutex", Sizes::USUAL, forked_child),
];

fn exclusion(stage: &Stage) -> Result<(), Fault> {
    const TIMES: u32 = 500;
    let mut programs: [(Program, Thing); 3] = stage.sharing(MUTEX)?;
    let block = programs[0].0.alloc_zeroed(16)?;
    for (program, mutex) in &mut programs {
        program.begin(Order::CountUnder { mutex: *mutex, block, times: TIMES });
    }
    for (program, _) in &mut programs {
        program.answer()?;
    }
    let [(mut a, _), ..] = programs;
    assert_eq!(a.peek(block, 8)?, u64::from(3 * TIMES).to_le_bytes());
    a.free(block)
}

fn timeout(stage: &Stage) -> Result<(), Fault> {
    let [(mut a, mine), (mut b, theirs)] = stage.sharing(MUTEX)?;
    assert!(!a.take(mine, None)?);
    assert_eq!(b.take(theirs, Some(0)), Err(Fault::TimedOut));
    assert_eq!(b.take(theirs, Some(5)), Err(Fault::TimedOut));
    a.unlock(mine)?;
    assert!(!b.take(theirs, Some(0))?);
    b.unlock(theirs)
}

fn handed_over(stage: &Stage) -> Result<(), Fault> {
    let [(mut a, mine), (mut b, theirs)] = stage.sharing(MUTEX)?;
    for _ in 0..3 {
        a.take(mine, None)?;
        b.begin_to_take(theirs);
        a.unlock(mine)?;
        assert!(!b.taken()?);
        assert_eq!(a.take(mine, Some(0)), Err(Fault::TimedOut));
        b.unlock(theirs)?;
    }
    Ok(())
}

fn everybody_in_turn(stage: &Stage) -> Result<(), Fault> {
    let mut a = stage.program()?;
    let mine = a.mutex()?;
    a.take(mine, None)?;
    let mut waiting = stage.waiters(4, Sort::Mutex, mine.token)?;
    a.unlock(mine)?;
    while !waiting.is_empty() {
        let (mut program, theirs) = next_to_answer(&mut waiting);
        assert!(!program.taken()?);
        assert_eq!(a.take(mine, Some(0)), Err(Fault::TimedOut));
        program.unlock(theirs)?;
    }
    Ok(())
}

fn recursive(stage: &Stage) -> Result<(), Fault> {
    let [(mut a, mine), (mut b, theirs)] = stage.sharing(New::Mutex { recursive: true })?;
    for _ in 0..3 {
        a.take(mine, None)?;
    }
    for _ in 0..3 {
        assert_eq!(b.take(theirs, Some(0)), Err(Fault::TimedOut));
        a.unlock(mine)?;
    }
    assert_eq!(a.unlock(mine), Err(Fault::NotOwner));
    // A member that opened it may as well: recursion is a property of the mutex.
    b.take(theirs, None)?;
    b.take(theirs, None)?;
    b.unlock(theirs)?;
    b.unlock(theirs)
}

fn deadlock(stage: &Stage) -> Result<(), Fault> {
    let mut a = stage.program()?;
    let mutex = a.mutex()?;
    a.take(mutex, None)?;
    assert_eq!(a.take(mutex, None), Err(Fault::Deadlock));
    assert_eq!(a.take(mutex, Some(0)), Err(Fault::Deadlock));
    a.unlock(mutex)?;
    a.take(mutex, None)?;
    a.unlock(mutex)
}

fn not_owner(stage: &Stage) -> Result<(), Fault> {
    let [(mut a, mine), (mut b, theirs)] = stage.sharing(MUTEX)?;
    assert_eq!(a.unlock(mine), Err(Fault::NotOwner));
    a.take(mine, None)?;
    assert_eq!(b.unlock(theirs), Err(Fault::NotOwner));
    assert_eq!(b.take(theirs, Some(0)), Err(Fault::TimedOut));
    a.unlock(mine)
}

fn abandoned_to_waiter(stage: &Stage) -> Result<(), Fault> {
    stage.needs_processes()?;
    let [(mut a, mine), (mut b, theirs)] = stage.sharing(MUTEX)?;
    a.take(mine, None)?;
    b.begin_to_take(theirs);
    a.kill()?;
    assert!(b.taken()?, "it is told that it was abandoned");
    b.unlock(theirs)?;
    assert!(!b.take(theirs, None)?, "it is told once");
    b.unlock(theirs)
}

fn abandoned_once(stage: &Stage) -> Result<(), Fault> {
    stage.needs_processes()?;
    let mut a = stage.program()?;
    let mine = a.mutex()?;
    a.take(mine, None)?;
    let mut waiting = stage.waiters(3, Sort::Mutex, mine.token)?;
    a.kill()?;
    let mut told = Vec::new();
    while !waiting.is_empty() {
        let (mut program, theirs) = next_to_answer(&mut waiting);
        told.push(program.taken()?);
        program.unlock(theirs)?;
    }
    assert_eq!(told, [true, false, false]);
    Ok(())
}

fn abandoned_later(stage: &Stage) -> Result<(), Fault> {
    stage.needs_processes()?;
    let [(mut a, mine), (mut b, of_b), (mut c, of_c)] = stage.sharing(MUTEX)?;
    a.take(mine, None)?;
    a.kill()?;
    assert!(b.take(of_b, None)?);
    assert_eq!(c.take(of_c, Some(0)), Err(Fault::TimedOut));
    b.unlock(of_b)?;
    assert!(!c.take(of_c, None)?);
    c.unlock(of_c)
}

fn abandoned_on_leave(stage: &Stage) -> Result<(), Fault> {
    let [(mut a, mine), (mut b, theirs)] = stage.sharing(MUTEX)?;
    a.take(mine, None)?;
    b.begin_to_take(theirs);
    a.leave()?;
    assert!(b.taken()?);
    b.unlock(theirs)
}

fn abandoned_on_close(stage: &Stage) -> Result<(), Fault> {
    let [(mut a, mine), (mut b, theirs)] = stage.sharing(MUTEX)?;
    a.take(mine, None)?;
    let again = a.try_clone(mine)?;
    a.close(mine)?;
    assert_eq!(b.take(theirs, Some(0)), Err(Fault::TimedOut), "held once more by its owner");
    b.begin_to_take(theirs);
    a.close(again)?;
    assert!(b.taken()?);
    b.unlock(theirs)
}

fn abandoned_recursive(stage: &Stage) -> Result<(), Fault> {
    stage.needs_processes()?;
    let [(mut a, mine), (mut b, theirs)] = stage.sharing(New::Mutex { recursive: true })?;
    for _ in 0..5 {
        a.take(mine, None)?;
    }
    b.begin_to_take(theirs);
    a.kill()?;
    assert!(b.taken()?);
    b.unlock(theirs)?;
    assert_eq!(b.unlock(theirs), Err(Fault::NotOwner), "the count of the dead is gone");
    Ok(())
}

fn owner_stopped(stage: &Stage) -> Result<(), Fault> {
    stage.needs_processes()?;
    let [(mut a, mine), (mut b, theirs)] = stage.sharing(MUTEX)?;
    a.take(mine, None)?;
    a.stop()?;
    assert_eq!(b.take(theirs, Some(5)), Err(Fault::TimedOut));
    b.recover()?;
    assert_eq!(b.take(theirs, Some(0)), Err(Fault::TimedOut));
    b.begin_to_take(theirs);
    a.resume()?;
    a.unlock(mine)?;
    assert!(!b.taken()?);
    b.unlock(theirs)
}

fn waiter_killed(stage: &Stage) -> Result<(), Fault> {
    stage.needs_processes()?;
    let [(mut a, mine), (mut b, of_b), (mut c, of_c)] = stage.sharing(MUTEX)?;
    a.take(mine, None)?;
    b.begin_to_take(of_b);
    c.begin_to_take(of_c);
    b.kill()?;
    a.unlock(mine)?;
    assert!(!c.taken()?);
    c.unlock(of_c)
}

fn waiter_stopped(stage: &Stage) -> Result<(), Fault> {
    stage.needs_processes()?;
    let [(mut a, mine), (mut b, of_b), (mut c, of_c)] = stage.sharing(MUTEX)?;
    a.take(mine, None)?;
    b.begin_to_take(of_b);
    c.begin_to_take(of_c);
    b.stop()?;
    a.unlock(mine)?;
    assert!(!c.taken()?, "who is not stopped gets it");
    c.unlock(of_c)?;
    assert!(!a.take(mine, None)?);
    b.resume()?;
    a.unlock(mine)?;
    assert!(!b.taken()?);
    b.unlock(of_b)
}

fn wrong_kind(stage: &Stage) -> Result<(), Fault> {
    let (mut a, mut b) = stage.two()?;
    let mutex = a.mutex()?;
    for sort in [Sort::Event, Sort::Semaphore, Sort::Raw(1)] {
        assert_eq!(b.open_as(sort, mutex.token), Err(Fault::ForeignKind), "{sort:?}");
    }
    let bytes = a.create(b"bytes")?;
    assert_eq!(b.open_as(Sort::Mutex, bytes.token), Err(Fault::ForeignKind));
    Ok(())
}

fn ends(stage: &Stage) -> Result<(), Fault> {
    let [(mut a, mine), (mut b, theirs)] = stage.sharing(MUTEX)?;
    a.close(mine)?;
    b.take(theirs, None)?;
    b.unlock(theirs)?;
    b.close(theirs)?;
    assert_eq!(a.open_as(Sort::Mutex, mine.token), Err(Fault::Stale));
    Ok(())
}

fn forked_child(stage: &Stage) -> Result<(), Fault> {
    stage.needs_processes()?;
    let mut a = stage.program()?;
    let mutex = a.mutex()?;
    a.take(mutex, None)?;
    let answers = a.fork(&[Order::Unlock(mutex), Order::Take { thing: mutex, timeout: Some(0) }])?;
    assert!(answers.iter().all(|answer| *answer == Err(Fault::Forked)), "{answers:?}");
    a.unlock(mutex)
}
