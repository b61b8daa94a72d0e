//! Events and semaphores.

use super::Row;
use crate::driver::Sizes;
use crate::order::{Fault, New, Sort, Thing};
use crate::program::{Program, has_answered, next_to_answer};
use crate::stage::Stage;

const AUTOMATIC: New = New::Event { manual: false, signalled: false };

pub(super) const EVENTS: &[Row] = &[
    ("a manual-reset event releases everybody, and stays set", Sizes::USUAL, manual_releases_all),
    ("an auto-reset event releases one, and is reset", Sizes::USUAL, automatic_releases_one),
    ("an auto-reset event that is set twice is set once", Sizes::USUAL, automatic_saturates),
    (
        "a manual-reset event that is set and reset at once releases those who waited",
        Sizes::USUAL,
        set_then_reset,
    ),
    ("who waits for an event that is not set times out", Sizes::USUAL, event_times_out),
    ("an event may be set when it is created", Sizes::USUAL, set_at_creation),
    ("resetting says whether it was set", Sizes::USUAL, reset_tells),
    ("who set an event was killed: it stays set", Sizes::USUAL, setter_killed),
    ("a waiter that is killed swallows no signal of an auto-reset event", Sizes::USUAL, event_waiter_killed),
    ("a waiter that is stopped keeps no signal from others", Sizes::USUAL, event_waiter_stopped),
    ("an event is opened whichever sort it is, and as an event only", Sizes::USUAL, event_kinds),
];

pub(super) const SEMAPHORES: &[Row] = &[
    ("a semaphore is had as often as it counts", Sizes::USUAL, counts),
    ("giving back says what the count was, and does not exceed the maximum", Sizes::USUAL, maximum),
    ("a semaphore of impossible numbers is refused", Sizes::USUAL, impossible),
    ("giving back two releases two of those who wait", Sizes::USUAL, releases_as_many),
    ("what somebody took who was killed is not given back", Sizes::USUAL, taker_killed),
    ("a waiter that is killed takes none of the count", Sizes::USUAL, semaphore_waiter_killed),
];

/// The next one that is released.
fn next(waiting: &mut Vec<(Program, Thing)>) -> Result<(), Fault> {
    assert!(!next_to_answer(waiting).0.taken()?, "only mutexes are abandoned");
    Ok(())
}

fn manual_releases_all(stage: &Stage) -> Result<(), Fault> {
    let mut a = stage.program()?;
    let event = a.event(true)?;
    let mut waiting = stage.waiters(4, Sort::Event, event.token)?;
    a.set(event)?;
    while !waiting.is_empty() {
        next(&mut waiting)?;
    }
    assert!(a.is_set(event)?);
    a.take(event, Some(0))?;
    a.take(event, None)?;
    assert!(a.is_set(event)?);
    Ok(())
}

fn automatic_releases_one(stage: &Stage) -> Result<(), Fault> {
    let mut a = stage.program()?;
    let event = a.event(false)?;
    let mut waiting = stage.waiters(3, Sort::Event, event.token)?;
    while !waiting.is_empty() {
        a.set(event)?;
        next(&mut waiting)?;
        assert!(!a.is_set(event)?, "who was released took it");
        assert!(!waiting.iter().any(|(program, _)| has_answered(program)), "only one is released");
    }
    Ok(())
}

fn automatic_saturates(stage: &Stage) -> Result<(), Fault> {
    let [(mut a, mine), (mut b, theirs)] = stage.sharing(AUTOMATIC)?;
    a.set(mine)?;
    a.set(mine)?;
    b.take(theirs, None)?;
    assert_eq!(b.take(theirs, Some(0)), Err(Fault::TimedOut));
    Ok(())
}

fn set_then_reset(stage: &Stage) -> Result<(), Fault> {
    let mut a = stage.program()?;
    let event = a.event(true)?;
    let mut waiting = stage.waiters(3, Sort::Event, event.token)?;
    a.set(event)?;
    a.reset(event)?;
    while !waiting.is_empty() {
        next(&mut waiting)?;
    }
    assert_eq!(a.take(event, Some(0)), Err(Fault::TimedOut));
    Ok(())
}

fn event_times_out(stage: &Stage) -> Result<(), Fault> {
    let mut a = stage.program()?;
    for manual in [true, false] {
        let event = a.event(manual)?;
        assert_eq!(a.take(event, Some(0)), Err(Fault::TimedOut));
        assert_eq!(a.take(event, Some(5)), Err(Fault::TimedOut));
        a.set(event)?;
        a.take(event, Some(0))?;
    }
    Ok(())
}

fn set_at_creation(stage: &Stage) -> Result<(), Fault> {
    let (mut a, mut b) = stage.two()?;
    for manual in [true, false] {
        let mine = a.make(New::Event { manual, signalled: true })?;
        let theirs = b.open_as(Sort::Event, mine.token)?;
        assert!(b.is_set(theirs)?);
        b.take(theirs, Some(0))?;
        assert_eq!(a.is_set(mine)?, manual);
    }
    Ok(())
}

fn reset_tells(stage: &Stage) -> Result<(), Fault> {
    let mut a = stage.program()?;
    for manual in [true, false] {
        let event = a.event(manual)?;
        assert!(!a.reset(event)?);
        a.set(event)?;
        assert!(a.reset(event)?);
        assert!(!a.reset(event)?);
        assert!(!a.is_set(event)?);
    }
    Ok(())
}

fn setter_killed(stage: &Stage) -> Result<(), Fault> {
    stage.needs_processes()?;
    let (mut a, mut b) = stage.two()?;
    for manual in [true, false] {
        let mut c = stage.program()?;
        let mine = a.event(manual)?;
        let theirs = c.open_as(Sort::Event, mine.token)?;
        c.set(theirs)?;
        c.kill()?;
        a.recover()?;
        let last = b.open_as(Sort::Event, mine.token)?;
        b.take(last, None)?;
        assert_eq!(a.is_set(mine)?, manual);
    }
    Ok(())
}

fn event_waiter_killed(stage: &Stage) -> Result<(), Fault> {
    stage.needs_processes()?;
    let [(mut a, mine), (mut b, theirs)] = stage.sharing(AUTOMATIC)?;
    b.begin_to_take(theirs);
    let mut waiting = stage.waiters(1, Sort::Event, mine.token)?;
    b.kill()?;
    a.set(mine)?;
    next(&mut waiting)?;
    assert!(!a.is_set(mine)?);
    Ok(())
}

fn event_waiter_stopped(stage: &Stage) -> Result<(), Fault> {
    stage.needs_processes()?;
    let [(mut a, mine), (mut b, theirs)] = stage.sharing(AUTOMATIC)?;
    b.begin_to_take(theirs);
    let mut waiting = stage.waiters(1, Sort::Event, mine.token)?;
    b.stop()?;
    a.set(mine)?;
    next(&mut waiting)?;
    b.resume()?;
    assert!(!has_answered(&b));
    a.set(mine)?;
    b.taken()?;
    Ok(())
}

fn event_kinds(stage: &Stage) -> Result<(), Fault> {
    let (mut a, mut b) = stage.two()?;
    for manual in [true, false] {
        let event = a.event(manual)?;
        b.open_as(Sort::Event, event.token)?;
        for sort in [Sort::Mutex, Sort::Semaphore, Sort::Raw(2)] {
            assert_eq!(b.open_as(sort, event.token), Err(Fault::ForeignKind), "{sort:?}");
        }
    }
    Ok(())
}

fn counts(stage: &Stage) -> Result<(), Fault> {
    let [(mut a, mine), (mut b, theirs)] = stage.sharing(New::Semaphore { count: 3, maximum: 5 })?;
    a.take(mine, None)?;
    b.take(theirs, None)?;
    b.take(theirs, Some(0))?;
    assert_eq!(a.take(mine, Some(0)), Err(Fault::TimedOut));
    assert_eq!(b.take(theirs, Some(5)), Err(Fault::TimedOut));
    assert_eq!(b.count(theirs)?, 0);
    a.release(mine, 2)?;
    assert_eq!(b.count(theirs)?, 2);
    b.take(theirs, Some(0))?;
    assert_eq!(a.count(mine)?, 1);
    Ok(())
}

fn maximum(stage: &Stage) -> Result<(), Fault> {
    let [(mut a, mine), (mut b, theirs)] = stage.sharing(New::Semaphore { count: 1, maximum: 3 })?;
    assert_eq!(b.release(theirs, 2)?, 1);
    assert_eq!(a.release(mine, 1), Err(Fault::Maximum));
    assert_eq!(a.count(mine)?, 3);
    a.take(mine, None)?;
    assert_eq!(b.release(theirs, 2), Err(Fault::Maximum));
    assert_eq!(b.count(theirs)?, 2);
    assert_eq!(b.release(theirs, 1)?, 2);
    Ok(())
}

fn impossible(stage: &Stage) -> Result<(), Fault> {
    let mut a = stage.program()?;
    for (count, maximum) in [(2, 1), (0, 0), (0, u32::MAX), (u32::MAX, u32::MAX)] {
        assert_eq!(a.semaphore(count, maximum), Err(Fault::Argument), "{count} of {maximum}");
    }
    a.semaphore(0, 1)?;
    assert_eq!(stage.in_use().handles, 1);
    Ok(())
}

fn releases_as_many(stage: &Stage) -> Result<(), Fault> {
    let mut a = stage.program()?;
    let mine = a.semaphore(0, 10)?;
    let mut waiting = stage.waiters(3, Sort::Semaphore, mine.token)?;
    a.release(mine, 2)?;
    next(&mut waiting)?;
    next(&mut waiting)?;
    assert_eq!(a.count(mine)?, 0);
    assert!(!has_answered(&waiting[0].0), "two were given back");
    a.release(mine, 2)?;
    next(&mut waiting)?;
    assert_eq!(a.count(mine)?, 1);
    Ok(())
}

fn taker_killed(stage: &Stage) -> Result<(), Fault> {
    stage.needs_processes()?;
    let [(mut a, mine), (mut b, theirs)] = stage.sharing(New::Semaphore { count: 2, maximum: 2 })?;
    b.take(theirs, None)?;
    b.kill()?;
    a.recover()?;
    assert_eq!(a.count(mine)?, 1);
    a.take(mine, Some(0))?;
    assert_eq!(a.take(mine, Some(0)), Err(Fault::TimedOut));
    Ok(())
}

fn semaphore_waiter_killed(stage: &Stage) -> Result<(), Fault> {
    stage.needs_processes()?;
    let [(mut a, mine), (mut b, theirs)] = stage.sharing(New::Semaphore { count: 0, maximum: 2 })?;
    b.begin_to_take(theirs);
    b.kill()?;
    assert_eq!(a.release(mine, 1)?, 0);
    assert_eq!(a.count(mine)?, 1);
    a.take(mine, None)?;
    Ok(())
}
