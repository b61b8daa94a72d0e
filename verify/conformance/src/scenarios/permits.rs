//! Permits with owners.

use super::Row;
use crate::driver::Sizes;
use crate::order::{Fault, New, Sort};
use crate::stage::Stage;

const TWO: New = New::Permits { total: 2 };

pub(super) const ROWS: &[Row] = &[
    ("there are as many permits as were created, whoever has them", Sizes::USUAL, as_many),
    ("a permit that is given back goes to one that waits", Sizes::USUAL, waits),
    ("a process was killed: its permits come back, and wake those that wait", Sizes::USUAL, killed),
    ("a stopped process has its permits, and keeps no others", Sizes::USUAL, stopped),
    ("a waiter that is stopped or killed keeps nobody", Sizes::USUAL, waiter_stopped),
    ("a permit is given back once, by the member that has it", Sizes::USUAL, once),
    ("a member that closes the permits for the last time has none any more", Sizes::USUAL, closed),
    ("permits are opened as such only", Sizes::USUAL, wrong_kind),
];

fn as_many(stage: &Stage) -> Result<(), Fault> {
    let [(mut a, mine), (mut b, theirs)] = stage.sharing(TWO)?;
    assert_eq!(b.available(theirs)?, 2);
    let (one, two) = (a.acquire(mine, None)?, b.acquire(theirs, Some(0))?);
    for timeout in [0, 5] {
        assert_eq!(a.acquire(mine, Some(timeout)), Err(Fault::TimedOut));
        assert_eq!(b.acquire(theirs, Some(timeout)), Err(Fault::TimedOut));
    }
    assert_eq!(a.available(mine)?, 0);
    a.give_back_permit(mine, one)?;
    let again = b.acquire(theirs, None)?;
    b.give_back_permit(theirs, two)?;
    b.give_back_permit(theirs, again)?;
    assert_eq!(a.available(mine)?, 2);
    assert_eq!(a.make(New::Permits { total: 0 }), Err(Fault::Argument));
    assert_eq!(a.make(New::Permits { total: 65_537 }), Err(Fault::Argument));
    Ok(())
}

fn waits(stage: &Stage) -> Result<(), Fault> {
    let [(mut a, mine), (mut b, theirs)] = stage.sharing(TWO)?;
    let (one, two) = (a.acquire(mine, None)?, a.acquire(mine, None)?);
    b.begin_to_acquire(theirs);
    a.give_back_permit(mine, one)?;
    let permit = b.acquired()?;
    assert_eq!(a.available(mine)?, 0);
    b.give_back_permit(theirs, permit)?;
    a.give_back_permit(mine, two)
}

fn killed(stage: &Stage) -> Result<(), Fault> {
    stage.needs_processes()?;
    let [(mut a, mine), (mut b, theirs)] = stage.sharing(TWO)?;
    a.acquire(mine, None)?;
    a.acquire(mine, None)?;
    b.begin_to_acquire(theirs);
    a.kill()?;
    let permit = b.acquired()?;
    assert_eq!(b.available(theirs)?, 1);
    b.give_back_permit(theirs, permit)?;
    assert_eq!(b.available(theirs)?, 2);
    Ok(())
}

fn stopped(stage: &Stage) -> Result<(), Fault> {
    stage.needs_processes()?;
    let [(mut a, mine), (mut b, theirs)] = stage.sharing(TWO)?;
    let one = a.acquire(mine, None)?;
    a.stop()?;
    let permit = b.acquire(theirs, Some(0))?;
    assert_eq!(b.acquire(theirs, Some(5)), Err(Fault::TimedOut));
    a.resume()?;
    a.give_back_permit(mine, one)?;
    b.give_back_permit(theirs, permit)?;
    assert_eq!(b.available(theirs)?, 2);
    Ok(())
}

fn waiter_stopped(stage: &Stage) -> Result<(), Fault> {
    stage.needs_processes()?;
    let [(mut a, mine), (mut b, of_b), (mut c, of_c)] = stage.sharing(New::Permits { total: 1 })?;
    let one = a.acquire(mine, None)?;
    b.begin_to_acquire(of_b);
    b.stop()?;
    c.begin_to_acquire(of_c);
    a.give_back_permit(mine, one)?;
    let permit = c.acquired()?;
    b.kill()?;
    c.give_back_permit(of_c, permit)?;
    let one = a.acquire(mine, None)?;
    a.give_back_permit(mine, one)
}

fn once(stage: &Stage) -> Result<(), Fault> {
    let [(mut a, mine), (mut b, theirs)] = stage.sharing(TWO)?;
    let one = a.acquire(mine, None)?;
    assert_eq!(b.give_back_permit(theirs, one), Err(Fault::NotOwner));
    a.give_back_permit(mine, one)?;
    assert_eq!(a.give_back_permit(mine, one), Err(Fault::NotOwner));
    let again = a.acquire(mine, None)?;
    assert_eq!(a.give_back_permit(mine, one), Err(Fault::NotOwner));
    assert_eq!(b.available(theirs)?, 1);
    a.give_back_permit(mine, again)
}

fn closed(stage: &Stage) -> Result<(), Fault> {
    let [(mut a, mine), (mut b, theirs)] = stage.sharing(TWO)?;
    a.acquire(mine, None)?;
    let second = a.try_clone(mine)?;
    a.close(mine)?;
    assert_eq!(b.available(theirs)?, 1);
    a.close(second)?;
    assert_eq!(b.available(theirs)?, 2);
    Ok(())
}

fn wrong_kind(stage: &Stage) -> Result<(), Fault> {
    let mut a = stage.program()?;
    let (permits, semaphore) = (a.make(TWO)?, a.semaphore(1, 1)?);
    assert_eq!(a.open_as(Sort::Semaphore, permits.token), Err(Fault::ForeignKind));
    assert_eq!(a.open_as(Sort::Permits, semaphore.token), Err(Fault::ForeignKind));
    assert_eq!(a.acquire(semaphore, None), Err(Fault::ForeignKind));
    a.close(permits)?;
    assert_eq!(a.open_as(Sort::Permits, permits.token), Err(Fault::Stale));
    a.close(semaphore)
}
