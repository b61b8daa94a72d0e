//! Read-write locks.

use super::Row;
use crate::driver::Sizes;
use crate::order::{Fault, New, Sort};
use crate::stage::Stage;

const LOCK: New = New::RwLock;

pub(super) const ROWS: &[Row] = &[
    ("several read at once; a writer is alone", Sizes::USUAL, exclusion),
    ("a writer that waits goes before readers that come later", Sizes::USUAL, writer_first),
    ("a writer that gives up keeps no reader", Sizes::USUAL, writer_gives_up),
    (
        "a reader was killed: a writer that waits gets the lock, and is told nothing",
        Sizes::USUAL,
        reader_killed,
    ),
    ("a stopped reader keeps writers, and no reader", Sizes::USUAL, reader_stopped),
    ("a writer was killed: readers are told, until one writer was", Sizes::USUAL, writer_killed),
    ("a writer that waits is killed: it keeps nobody", Sizes::USUAL, waiter_killed),
    ("only who has the lock unlocks it", Sizes::USUAL, not_owner),
    ("a member that closes the lock for the last time has it no more", Sizes::USUAL, unlocked_on_close),
    ("a read-write lock is opened as one only", Sizes::USUAL, wrong_kind),
];

fn exclusion(stage: &Stage) -> Result<(), Fault> {
    let [(mut a, mine), (mut b, theirs)] = stage.sharing(LOCK)?;
    assert!(!a.lock_read(mine, None)? && !b.lock_read(theirs, Some(0))? && !b.lock_read(theirs, None)?);
    assert_eq!(a.lock_write(mine, Some(0)), Err(Fault::TimedOut));
    b.unlock_read(theirs)?;
    b.unlock_read(theirs)?;
    b.begin_to_write(theirs);
    a.unlock_read(mine)?;
    assert!(!b.taken()?);
    assert_eq!(a.lock_read(mine, Some(5)), Err(Fault::TimedOut));
    assert_eq!(a.lock_write(mine, Some(5)), Err(Fault::TimedOut));
    assert_eq!(b.lock_read(theirs, Some(0)), Err(Fault::Deadlock));
    assert_eq!(b.lock_write(theirs, None), Err(Fault::Deadlock));
    a.begin_to_read(mine);
    b.unlock_write(theirs)?;
    assert!(!a.taken()?);
    a.unlock_read(mine)
}

fn writer_first(stage: &Stage) -> Result<(), Fault> {
    let [(mut a, mine), (mut b, of_b), (mut c, of_c)] = stage.sharing(LOCK)?;
    assert!(!a.lock_read(mine, None)?);
    b.begin_to_write(of_b);
    assert_eq!(c.lock_read(of_c, Some(5)), Err(Fault::TimedOut));
    a.unlock_read(mine)?;
    assert!(!b.taken()?);
    b.unlock_write(of_b)?;
    assert!(!c.lock_read(of_c, None)?);
    c.unlock_read(of_c)
}

fn writer_gives_up(stage: &Stage) -> Result<(), Fault> {
    let [(mut a, mine), (mut b, of_b), (mut c, of_c)] = stage.sharing(LOCK)?;
    assert!(!a.lock_read(mine, None)?);
    assert_eq!(b.lock_write(of_b, Some(5)), Err(Fault::TimedOut));
    assert!(!c.lock_read(of_c, Some(0))?);
    c.unlock_read(of_c)?;
    a.unlock_read(mine)
}

fn reader_killed(stage: &Stage) -> Result<(), Fault> {
    stage.needs_processes()?;
    let [(mut a, mine), (mut b, theirs)] = stage.sharing(LOCK)?;
    assert!(!a.lock_read(mine, None)?);
    b.begin_to_write(theirs);
    a.kill()?;
    assert!(!b.taken()?, "a reader leaves nothing unfinished");
    b.unlock_write(theirs)
}

fn reader_stopped(stage: &Stage) -> Result<(), Fault> {
    stage.needs_processes()?;
    let [(mut a, mine), (mut b, theirs)] = stage.sharing(LOCK)?;
    assert!(!a.lock_read(mine, None)?);
    a.stop()?;
    assert_eq!(b.lock_write(theirs, Some(5)), Err(Fault::TimedOut));
    assert!(!b.lock_read(theirs, Some(0))?);
    b.unlock_read(theirs)?;
    a.resume()?;
    a.unlock_read(mine)?;
    assert!(!b.lock_write(theirs, None)?);
    b.unlock_write(theirs)
}

fn writer_killed(stage: &Stage) -> Result<(), Fault> {
    stage.needs_processes()?;
    let [(mut a, mine), (mut b, theirs)] = stage.sharing(LOCK)?;
    assert!(!a.lock_write(mine, None)?);
    b.begin_to_read(theirs);
    a.kill()?;
    assert!(b.taken()?, "the reader that waited is told");
    assert!(b.lock_read(theirs, Some(0))?, "the next one as well");
    b.unlock_read(theirs)?;
    b.unlock_read(theirs)?;
    assert!(b.lock_write(theirs, Some(0))?, "one writer is told");
    b.unlock_write(theirs)?;
    assert!(!b.lock_write(theirs, Some(0))?);
    b.unlock_write(theirs)?;
    assert!(!b.lock_read(theirs, Some(0))?);
    b.unlock_read(theirs)
}

fn waiter_killed(stage: &Stage) -> Result<(), Fault> {
    stage.needs_processes()?;
    let [(mut a, mine), (mut b, of_b), (mut c, of_c)] = stage.sharing(LOCK)?;
    assert!(!a.lock_read(mine, None)?);
    b.begin_to_write(of_b);
    c.begin_to_read(of_c);
    b.kill()?;
    // It had claimed the lock, so they are told.
    assert!(c.taken()?);
    c.unlock_read(of_c)?;
    a.unlock_read(mine)?;
    assert!(c.lock_write(of_c, None)?);
    c.unlock_write(of_c)
}

fn not_owner(stage: &Stage) -> Result<(), Fault> {
    let [(mut a, mine), (mut b, theirs)] = stage.sharing(LOCK)?;
    assert!(!a.lock_read(mine, None)?);
    assert_eq!(b.unlock_read(theirs), Err(Fault::NotOwner));
    assert_eq!(a.unlock_write(mine), Err(Fault::NotOwner));
    a.unlock_read(mine)?;
    assert_eq!(a.unlock_read(mine), Err(Fault::NotOwner));
    assert!(!a.lock_write(mine, None)?);
    assert_eq!(b.unlock_write(theirs), Err(Fault::NotOwner));
    a.unlock_write(mine)
}

fn unlocked_on_close(stage: &Stage) -> Result<(), Fault> {
    let [(mut a, mine), (mut b, theirs)] = stage.sharing(LOCK)?;
    assert!(!a.lock_read(mine, None)?);
    a.close(mine)?;
    assert!(!b.lock_write(theirs, Some(0))?);
    b.close(theirs)
}

fn wrong_kind(stage: &Stage) -> Result<(), Fault> {
    let mut a = stage.program()?;
    let (lock, mutex) = (a.make(LOCK)?, a.mutex()?);
    assert_eq!(a.open_as(Sort::Mutex, lock.token), Err(Fault::ForeignKind));
    assert_eq!(a.open_as(Sort::RwLock, mutex.token), Err(Fault::ForeignKind));
    assert_eq!(a.unlock(lock), Err(Fault::ForeignKind));
    a.close(lock)?;
    assert_eq!(a.open_as(Sort::RwLock, lock.token), Err(Fault::Stale));
    a.close(mutex)
}
