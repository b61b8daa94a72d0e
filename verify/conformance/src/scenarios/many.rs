//! Waiting for several things at once.

use super::Row;
use crate::driver::Sizes;
use crate::order::{Answer, End, Fault, New, Order, Sort, Thing};
use crate::program::Program;
use crate::stage::{Stage, Target};

pub(super) const ROWS: &[Row] = &[
    (
        "waiting for any takes the first of the list that can be had, and that one only",
        Sizes::USUAL,
        any_in_order,
    ),
    ("waiting for any ends when one of them comes, of whatever kind", Sizes::USUAL, any_wakes),
    ("waiting for any times out and has taken nothing", Sizes::USUAL, any_times_out),
    (
        "waiting for any with a mutex whose owner was killed says that it was abandoned",
        Sizes::USUAL,
        any_abandoned,
    ),
    ("waiting for any with a process ends when the process ends", Sizes::USUAL, any_with_process),
    ("waiting for all takes all of them", Sizes::USUAL, all_takes_all),
    ("waiting for all takes nothing until all can be had", Sizes::USUAL, all_or_none),
    ("waiting for all ends when the last one comes", Sizes::USUAL, all_wakes),
    ("waiting for all says which mutexes were abandoned", Sizes::USUAL, all_abandoned),
    ("64 things may be waited for, 65 and 0 are refused", Sizes::USUAL, limits),
    ("a program killed while it waits for any swallows nothing", Sizes::USUAL, any_waiter_killed),
    ("a program killed while it waits for all holds nothing", Sizes::USUAL, all_waiter_killed),
];

fn opened(program: &mut Program, things: &[(Sort, Thing)]) -> Result<Vec<Thing>, Fault> {
    things.iter().map(|(sort, thing)| program.open_as(*sort, thing.token)).collect()
}

fn any_in_order(stage: &Stage) -> Result<(), Fault> {
    let mut a = stage.program()?;
    let (event, semaphore, mutex) = (a.event(false)?, a.semaphore(0, 5)?, a.mutex()?);
    let things = [event, semaphore, mutex];
    assert_eq!(a.take_any(&things, None)?, (2, false));
    a.unlock(mutex)?;
    a.release(semaphore, 2)?;
    assert_eq!(a.take_any(&things, None)?, (1, false));
    a.set(event)?;
    assert_eq!(a.take_any(&things, None)?, (0, false));
    assert_eq!((a.is_set(event)?, a.count(semaphore)?), (false, 1));
    a.take(mutex, Some(0))?;
    a.unlock(mutex)
}

fn any_wakes(stage: &Stage) -> Result<(), Fault> {
    let (mut a, mut b) = stage.two()?;
    let manual = a.event(true)?;
    let (automatic, semaphore, mutex) = (a.event(false)?, a.semaphore(0, 5)?, a.mutex()?);
    a.take(mutex, None)?;
    let sorts =
        [(Sort::Event, manual), (Sort::Event, automatic), (Sort::Semaphore, semaphore), (Sort::Mutex, mutex)];
    let theirs = opened(&mut b, &sorts)?;
    for expected in [3, 2, 1, 0] {
        b.begin_and_sleep(Order::TakeAny { things: theirs.clone(), timeout: None });
        match expected {
            3 => a.unlock(mutex)?,
            2 => a.release(semaphore, 1).map(drop)?,
            1 => a.set(automatic)?,
            _ => a.set(manual)?,
        }
        assert_eq!(b.answer()?, Answer::Woken(expected, false));
        if expected == 3 {
            b.unlock(theirs[3])?;
            a.take(mutex, None)?;
        }
    }
    assert_eq!(a.count(semaphore)?, 0);
    assert!(!a.is_set(automatic)? && a.is_set(manual)?);
    a.unlock(mutex)
}

fn any_times_out(stage: &Stage) -> Result<(), Fault> {
    let (mut a, mut b) = stage.two()?;
    let (event, semaphore, mutex) = (a.event(false)?, a.semaphore(0, 5)?, a.mutex()?);
    a.take(mutex, None)?;
    let theirs = opened(&mut b, &[(Sort::Event, event), (Sort::Semaphore, semaphore), (Sort::Mutex, mutex)])?;
    assert_eq!(b.take_any(&theirs, Some(0)), Err(Fault::TimedOut));
    assert_eq!(b.take_any(&theirs, Some(5)), Err(Fault::TimedOut));
    a.unlock(mutex)?;
    a.take(mutex, Some(0))?;
    a.unlock(mutex)
}

fn any_abandoned(stage: &Stage) -> Result<(), Fault> {
    stage.needs_processes()?;
    let (mut a, mut b) = stage.two()?;
    let (event, mutex) = (a.event(false)?, a.mutex()?);
    let theirs = opened(&mut b, &[(Sort::Event, event), (Sort::Mutex, mutex)])?;
    a.take(mutex, None)?;
    b.begin_and_sleep(Order::TakeAny { things: theirs.clone(), timeout: None });
    a.kill()?;
    assert_eq!(b.answer()?, Answer::Woken(1, true));
    b.unlock(theirs[1])
}

fn any_with_process(stage: &Stage) -> Result<(), Fault> {
    let mut a = stage.program()?;
    let mut target = Target::start("exit 3")?;
    let (event, process) = (a.event(false)?, a.process_of(target.pid())?);
    let things = vec![event, process];
    assert_eq!(a.take_any(&things, Some(0)), Err(Fault::TimedOut));
    a.begin_and_sleep(Order::TakeAny { things: things.clone(), timeout: None });
    target.end();
    assert_eq!(a.answer()?, Answer::Woken(1, false));
    assert_eq!(a.exit_of(process)?, Some(End::Code(3)));
    target.reap();
    a.set(event)?;
    assert_eq!(a.take_all(&things, None)?, [0; 0]);
    assert!(!a.is_set(event)?);
    Ok(())
}

fn all_takes_all(stage: &Stage) -> Result<(), Fault> {
    let mut a = stage.program()?;
    let event = a.make(New::Event { manual: false, signalled: true })?;
    let (semaphore, mutex) = (a.semaphore(2, 5)?, a.mutex()?);
    assert_eq!(a.take_all(&[event, semaphore, mutex], None)?, [0; 0]);
    assert_eq!((a.is_set(event)?, a.count(semaphore)?), (false, 1));
    a.unlock(mutex)
}

fn all_or_none(stage: &Stage) -> Result<(), Fault> {
    let (mut a, mut b) = stage.two()?;
    let (event, semaphore, mutex) = (a.event(false)?, a.semaphore(1, 5)?, a.mutex()?);
    let theirs = opened(&mut b, &[(Sort::Event, event), (Sort::Semaphore, semaphore), (Sort::Mutex, mutex)])?;
    assert_eq!(b.take_all(&theirs, Some(0)), Err(Fault::TimedOut));
    assert_eq!(b.take_all(&theirs, Some(5)), Err(Fault::TimedOut));
    // While it waits for the one that is missing, others have the rest.
    b.begin_and_sleep(Order::TakeAll { things: theirs.clone(), timeout: None });
    a.take(semaphore, Some(0))?;
    a.take(mutex, Some(0))?;
    a.set(event)?;
    a.release(semaphore, 1)?;
    a.unlock(mutex)?;
    assert_eq!(b.answer()?, Answer::Indices(Vec::new()));
    assert_eq!((a.is_set(event)?, a.count(semaphore)?), (false, 0));
    b.unlock(theirs[2])
}

fn all_wakes(stage: &Stage) -> Result<(), Fault> {
    let (mut a, mut b) = stage.two()?;
    let (first, second) = (a.event(true)?, a.event(false)?);
    let theirs = opened(&mut b, &[(Sort::Event, first), (Sort::Event, second)])?;
    for order in [[first, second], [second, first]] {
        b.begin_and_sleep(Order::TakeAll { things: theirs.clone(), timeout: None });
        for event in order {
            a.set(event)?;
        }
        assert_eq!(b.answer()?, Answer::Indices(Vec::new()));
        assert!(a.reset(first)?, "manual");
        assert!(!a.is_set(second)?, "automatic");
    }
    Ok(())
}

fn all_abandoned(stage: &Stage) -> Result<(), Fault> {
    stage.needs_processes()?;
    let (mut a, mut b) = stage.two()?;
    let (first, second, third) = (a.mutex()?, b.mutex()?, a.mutex()?);
    let things = [first, b.open_as(Sort::Mutex, first.token)?, b.open_as(Sort::Mutex, third.token)?];
    a.take(first, None)?;
    a.take(third, None)?;
    let theirs = vec![things[1], second, things[2]];
    b.begin_and_sleep(Order::TakeAll { things: theirs.clone(), timeout: None });
    a.kill()?;
    assert_eq!(b.answer()?, Answer::Indices(vec![0, 2]));
    theirs.into_iter().try_for_each(|mutex| b.unlock(mutex))
}

fn limits(stage: &Stage) -> Result<(), Fault> {
    let mut a = stage.program()?;
    let (events, fault) = a.create_many(New::Event { manual: false, signalled: false }, 65)?;
    assert_eq!((events.len(), fault), (65, None));
    assert_eq!(a.take_any(&events, Some(0)), Err(Fault::Argument));
    assert_eq!(a.take_all(&events, Some(0)), Err(Fault::Argument));
    assert_eq!(a.take_any(&[], Some(0)), Err(Fault::Argument));
    assert_eq!(a.take_all(&[], Some(0)), Err(Fault::Argument));
    assert_eq!(a.take_any(&events[..64], Some(0)), Err(Fault::TimedOut));
    a.set(events[63])?;
    assert_eq!(a.take_any(&events[..64], None)?, (63, false));
    for event in &events[..64] {
        a.set(*event)?;
    }
    assert_eq!(a.take_all(&events[..64], None)?, [0; 0]);
    assert_eq!(a.take_any(&events[..64], Some(0)), Err(Fault::TimedOut));
    Ok(())
}

fn any_waiter_killed(stage: &Stage) -> Result<(), Fault> {
    stage.needs_processes()?;
    let (mut a, mut b) = stage.two()?;
    let (event, semaphore, mutex) = (a.event(false)?, a.semaphore(0, 5)?, a.mutex()?);
    a.take(mutex, None)?;
    let theirs = opened(&mut b, &[(Sort::Event, event), (Sort::Semaphore, semaphore), (Sort::Mutex, mutex)])?;
    b.begin_and_sleep(Order::TakeAny { things: theirs, timeout: None });
    b.kill()?;
    a.set(event)?;
    a.release(semaphore, 1)?;
    a.unlock(mutex)?;
    assert!(a.is_set(event)?);
    assert_eq!(a.count(semaphore)?, 1);
    assert_eq!(a.take_all(&[event, semaphore, mutex], None)?, [0; 0]);
    a.unlock(mutex)
}

fn all_waiter_killed(stage: &Stage) -> Result<(), Fault> {
    stage.needs_processes()?;
    let (mut a, mut b) = stage.two()?;
    let (event, semaphore, mutex) = (a.event(false)?, a.semaphore(1, 5)?, a.mutex()?);
    let theirs = opened(&mut b, &[(Sort::Event, event), (Sort::Semaphore, semaphore), (Sort::Mutex, mutex)])?;
    b.begin_and_sleep(Order::TakeAll { things: theirs, timeout: None });
    b.kill()?;
    assert!(!a.take(mutex, Some(0))?);
    a.unlock(mutex)?;
    assert_eq!(a.count(semaphore)?, 1);
    Ok(())
}
