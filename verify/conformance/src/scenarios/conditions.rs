//! Condition variables.

use super::Row;
use crate::driver::Sizes;
use crate::order::{Fault, New, Sort, Thing};
use crate::program::Program;
use crate::stage::Stage;

pub(super) const ROWS: &[Row] = &[
    ("a notification wakes all that wait", Sizes::USUAL, all_woken),
    ("a notification that nobody waits for is not kept", Sizes::USUAL, not_kept),
    ("the lock is free during the wait, and locked after it, also after a timeout", Sizes::USUAL, lock_again),
    ("it is waited for with a locked value as well", Sizes::USUAL, locked_value),
    (
        "a process changes something and is killed before it notifies: those that wait look again",
        Sizes::USUAL,
        changer_killed,
    ),
    ("a process is killed with the lock: those that wait are told", Sizes::USUAL, owner_killed),
    ("a waiter that is stopped or killed takes no notification with it", Sizes::USUAL, waiter_stopped),
    ("only who has the lock waits, and has it once", Sizes::USUAL, not_owner),
    ("a condition variable is opened as one only", Sizes::USUAL, wrong_kind),
];

/// Programs that have a lock and a condition variable open, of both the creator first.
fn sharing<const N: usize>(stage: &Stage, lock: New) -> Result<[(Program, Thing, Thing); N], Fault> {
    let sort = lock.sort();
    let all: [(Program, Thing); N] = stage.sharing(lock)?;
    let mut condvar = None;
    let all = all.map(|(mut program, lock)| {
        let opened = match condvar {
            None => program.make(New::Condvar),
            Some(token) => program.open_as(Sort::Condvar, token),
        };
        let opened =
            opened.unwrap_or_else(|fault| panic!("a condition variable beside a {sort:?}: {fault:?}"));
        condvar = Some(opened.token);
        (program, lock, opened)
    });
    Ok(all)
}

const MUTEX: New = New::Mutex { recursive: false };

fn all_woken(stage: &Stage) -> Result<(), Fault> {
    let [(mut a, notify), (mut b, b_waits), (mut c, c_waits)] = stage.sharing(New::Condvar)?;
    // A lock for each, so that neither keeps the other one waiting.
    let (of_b, of_c) = (b.mutex()?, c.mutex()?);
    assert!(!b.take(of_b, None)? && !c.take(of_c, None)?);
    b.begin_to_wait_with(b_waits, of_b);
    c.begin_to_wait_with(c_waits, of_c);
    for (lock, token) in [(Sort::Mutex, of_b.token), (Sort::Mutex, of_c.token)] {
        // Both have given up their locks: their waits have begun.
        let lock = a.open_as(lock, token)?;
        assert!(!a.take(lock, None)?);
        a.unlock(lock)?;
    }
    a.notify(notify)?;
    assert!(!b.taken()? && !c.taken()?);
    b.unlock(of_b)?;
    c.unlock(of_c)
}

fn not_kept(stage: &Stage) -> Result<(), Fault> {
    let [(mut a, mine, notify), (mut b, theirs, waits)] = sharing(stage, MUTEX)?;
    a.notify(notify)?;
    assert!(!b.take(theirs, None)?);
    assert_eq!(b.wait_with(waits, theirs, Some(5)), Err(Fault::TimedOut));
    b.unlock(theirs)?;
    assert!(!a.take(mine, Some(0))?);
    a.unlock(mine)
}

fn lock_again(stage: &Stage) -> Result<(), Fault> {
    let [(mut a, mine, waits), (mut b, theirs, notify)] = sharing(stage, MUTEX)?;
    assert!(!a.take(mine, None)?);
    a.begin_to_wait_with(waits, mine);
    assert!(!b.take(theirs, None)?);
    b.notify(notify)?;
    b.unlock(theirs)?;
    assert!(!a.taken()?);
    assert_eq!(b.take(theirs, Some(0)), Err(Fault::TimedOut));
    assert_eq!(a.wait_with(waits, mine, Some(5)), Err(Fault::TimedOut));
    assert_eq!(b.take(theirs, Some(0)), Err(Fault::TimedOut));
    a.unlock(mine)?;
    assert_eq!(a.unlock(mine), Err(Fault::NotOwner));
    assert!(!b.take(theirs, None)?);
    b.unlock(theirs)
}

const OF: u64 = 1 << 63 | 5;

fn locked_value(stage: &Stage) -> Result<(), Fault> {
    let value = New::Locked { of: OF, bytes: b"tea".to_vec() };
    let [(mut a, mine, waits), (mut b, theirs, notify)] = sharing(stage, value)?;
    assert!(!a.lock(mine, None)?);
    a.begin_to_wait_with(waits, mine);
    assert!(!b.lock(theirs, None)?);
    b.change(theirs, b"ten")?;
    b.unlock_value(theirs)?;
    b.notify(notify)?;
    assert!(!a.taken()?);
    assert_eq!(a.look(mine)?, b"ten");
    assert_eq!(b.lock(theirs, Some(0)), Err(Fault::TimedOut));
    a.unlock_value(mine)
}

fn changer_killed(stage: &Stage) -> Result<(), Fault> {
    stage.needs_processes()?;
    let [(mut a, mine, waits), (mut b, theirs, _)] = sharing(stage, MUTEX)?;
    assert!(!a.take(mine, None)?);
    a.begin_to_wait_with(waits, mine);
    assert!(!b.take(theirs, None)?);
    b.unlock(theirs)?;
    b.kill()?;
    assert!(!a.taken()?);
    a.unlock(mine)
}

fn owner_killed(stage: &Stage) -> Result<(), Fault> {
    stage.needs_processes()?;
    let [(mut a, mine, waits), (mut b, theirs, _)] = sharing(stage, MUTEX)?;
    assert!(!a.take(mine, None)?);
    a.begin_to_wait_with(waits, mine);
    assert!(!b.take(theirs, None)?);
    b.kill()?;
    assert!(a.taken()?, "the last owner died");
    a.unlock(mine)
}

fn waiter_stopped(stage: &Stage) -> Result<(), Fault> {
    stage.needs_processes()?;
    let [(mut a, mine, notify), (mut b, of_b, b_waits), (mut c, of_c, c_waits)] = sharing(stage, MUTEX)?;
    assert!(!b.take(of_b, None)?);
    b.begin_to_wait_with(b_waits, of_b);
    assert!(!c.take(of_c, None)?);
    c.begin_to_wait_with(c_waits, of_c);
    b.stop()?;
    assert!(!a.take(mine, None)?);
    a.unlock(mine)?;
    a.notify(notify)?;
    assert!(!c.taken()?);
    c.begin_to_wait_with(c_waits, of_c);
    assert!(!a.take(mine, None)?);
    a.unlock(mine)?;
    b.kill()?;
    a.notify(notify)?;
    assert!(!c.taken()?);
    c.unlock(of_c)
}

fn not_owner(stage: &Stage) -> Result<(), Fault> {
    let [(mut a, mine, waits)] = sharing(stage, New::Mutex { recursive: true })?;
    assert_eq!(a.wait_with(waits, mine, None), Err(Fault::NotOwner));
    assert!(!a.take(mine, None)? && !a.take(mine, None)?);
    assert_eq!(a.wait_with(waits, mine, None), Err(Fault::Deadlock));
    // It was given up once.
    assert_eq!(a.wait_with(waits, mine, Some(5)), Err(Fault::TimedOut));
    a.unlock(mine)?;
    assert_eq!(a.unlock(mine), Err(Fault::NotOwner));
    let event = a.event(true)?;
    assert_eq!(a.wait_with(waits, event, None), Err(Fault::ForeignKind));
    a.close(event)
}

fn wrong_kind(stage: &Stage) -> Result<(), Fault> {
    let mut a = stage.program()?;
    let (condvar, mutex) = (a.make(New::Condvar)?, a.mutex()?);
    assert_eq!(a.open_as(Sort::Mutex, condvar.token), Err(Fault::ForeignKind));
    assert_eq!(a.open_as(Sort::Condvar, mutex.token), Err(Fault::ForeignKind));
    assert_eq!(a.notify(mutex), Err(Fault::ForeignKind));
    a.close(condvar)?;
    assert_eq!(a.open_as(Sort::Condvar, condvar.token), Err(Fault::Stale));
    a.close(mutex)
}
