//! Processes.

use super::Row;
use crate::driver::Sizes;
use crate::order::{Answer, End, Fault, Order, Sort, Thing};
use crate::program::Program;
use crate::stage::{Stage, Target};

pub(super) const ROWS: &[Row] = &[
    ("how a process ended is told to who is not its parent", Sizes::USUAL, exit_code),
    ("a process that was killed is told from one that ended", Sizes::USUAL, signal),
    ("how it ended is told also when it is gone, and to who comes later", Sizes::USUAL, told_later),
    ("a process that runs has not ended: waiting times out", Sizes::USUAL, running),
    ("who waits for a process is woken when it ends, whoever created the handle", Sizes::USUAL, woken),
    ("there is no handle of a process that is gone", Sizes::USUAL, gone),
    ("a process that ended and was not reaped is known all the same", Sizes::USUAL, not_reaped),
    ("a member that is killed is seen to end by another", Sizes::USUAL, member_killed),
    ("the creator of the handle was killed: others are told all the same", Sizes::USUAL, creator_killed),
    ("a process that is stopped has not ended", Sizes::USUAL, stopped),
    ("the handle of a process ends with its last holder", Sizes::USUAL, ends),
    ("the code that a process announced is told whole, all 32 bits of it", Sizes::USUAL, announced),
    ("only the process itself announces its code, and once", Sizes::USUAL, announced_by_whom),
    ("a process that announced a code and was killed was killed", Sizes::USUAL, announced_and_killed),
    ("who reaped a process tells those who were not told how it ended", Sizes::USUAL, reaped),
];

/// Kernels before 6.15 tell nobody but the parent.
pub(super) fn known(end: Option<End>) -> Result<End, Fault> {
    match end.expect("it ended") {
        End::Unknown => Err(Fault::NotHere("this kernel tells only parents how a process ended".into())),
        end => Ok(end),
    }
}

fn exit_code(stage: &Stage) -> Result<(), Fault> {
    let (mut a, mut b) = stage.two()?;
    for code in [0, 1, 42, 255] {
        let mut target = Target::start(&format!("exit {code}"))?;
        let mine = a.process_of(target.pid())?;
        let theirs = b.open_as(Sort::Process, mine.token)?;
        target.end();
        assert_eq!(known(b.wait_for_exit(theirs, None)?)?, End::Code(code));
        assert_eq!(known(a.wait_for_exit(mine, None)?)?, End::Code(code));
        assert_eq!(known(a.exit_of(mine)?)?, End::Code(code));
    }
    Ok(())
}

fn signal(stage: &Stage) -> Result<(), Fault> {
    let (mut a, mut b) = stage.two()?;
    for signal in [9, 15] {
        let mut target = Target::start(&format!("kill -{signal} $$"))?;
        let mine = a.process_of(target.pid())?;
        let theirs = b.open_as(Sort::Process, mine.token)?;
        target.end();
        assert_eq!(known(b.wait_for_exit(theirs, None)?)?, End::Signal(signal));
        assert_eq!(known(a.wait_for_exit(mine, None)?)?, End::Signal(signal));
    }
    Ok(())
}

fn told_later(stage: &Stage) -> Result<(), Fault> {
    let (mut a, mut b) = stage.two()?;
    let mut target = Target::start("exit 7")?;
    let mine = a.process_of(target.pid())?;
    target.end();
    assert_eq!(known(a.wait_for_exit(mine, None)?)?, End::Code(7));
    target.reap();
    assert_eq!(known(a.exit_of(mine)?)?, End::Code(7));
    let theirs = b.open_as(Sort::Process, mine.token)?;
    a.leave()?;
    assert_eq!(known(b.wait_for_exit(theirs, Some(0))?)?, End::Code(7));
    let mut c = stage.program()?;
    let later = c.open_as(Sort::Process, mine.token)?;
    assert_eq!(known(c.exit_of(later)?)?, End::Code(7));
    Ok(())
}

fn running(stage: &Stage) -> Result<(), Fault> {
    let mut a = stage.program()?;
    let target = Target::start("exit 0")?;
    let process = a.process_of(target.pid())?;
    assert_eq!(a.exit_of(process)?, None);
    assert_eq!(a.wait_for_exit(process, Some(0)), Err(Fault::TimedOut));
    assert_eq!(a.wait_for_exit(process, Some(5)), Err(Fault::TimedOut));
    assert_eq!(a.exit_of(process)?, None);
    Ok(())
}

fn woken(stage: &Stage) -> Result<(), Fault> {
    let (mut a, mut b) = stage.two()?;
    let mut target = Target::start("exit 5")?;
    let mine = a.process_of(target.pid())?;
    let theirs = b.open_as(Sort::Process, mine.token)?;
    a.begin_and_sleep(Order::WaitForExit { thing: mine, timeout: None });
    b.begin_and_sleep(Order::WaitForExit { thing: theirs, timeout: None });
    target.end();
    for program in [&mut a, &mut b] {
        let Answer::Exit(end) = program.answer()? else { panic!("no end") };
        assert_eq!(known(end)?, End::Code(5));
    }
    Ok(())
}

fn gone(stage: &Stage) -> Result<(), Fault> {
    let mut a = stage.program()?;
    let mut target = Target::start("exit 0")?;
    target.reap();
    assert_eq!(a.process_of(target.pid()), Err(Fault::Gone));
    assert_eq!(stage.in_use().handles, 0);
    Ok(())
}

fn not_reaped(stage: &Stage) -> Result<(), Fault> {
    let (mut a, mut b) = stage.two()?;
    let mut target = Target::start("exit 9")?;
    let first = a.process_of(target.pid())?;
    target.end();
    a.wait_for_exit(first, None)?;
    let second = b.process_of(target.pid())?;
    assert_eq!(known(b.wait_for_exit(second, None)?)?, End::Code(9));
    Ok(())
}

fn member_killed(stage: &Stage) -> Result<(), Fault> {
    stage.needs_processes()?;
    let (a, mut b) = stage.two()?;
    let process = b.process_of(a.pid()?)?;
    assert_eq!(b.exit_of(process)?, None);
    b.begin_and_sleep(Order::WaitForExit { thing: process, timeout: None });
    a.kill()?;
    let Answer::Exit(end) = b.answer()? else { panic!("no end") };
    assert_eq!(known(end)?, End::Signal(9));
    Ok(())
}

fn creator_killed(stage: &Stage) -> Result<(), Fault> {
    stage.needs_processes()?;
    let (mut a, mut b) = stage.two()?;
    let mut target = Target::start("exit 6")?;
    let mine = a.process_of(target.pid())?;
    let theirs = b.open_as(Sort::Process, mine.token)?;
    b.begin_and_sleep(Order::WaitForExit { thing: theirs, timeout: None });
    a.kill()?;
    target.end();
    let Answer::Exit(end) = b.answer()? else { panic!("no end") };
    assert_eq!(known(end)?, End::Code(6));
    Ok(())
}

fn stopped(stage: &Stage) -> Result<(), Fault> {
    stage.needs_processes()?;
    let (a, mut b) = stage.two()?;
    let process = b.process_of(a.pid()?)?;
    a.stop()?;
    assert_eq!(b.wait_for_exit(process, Some(5)), Err(Fault::TimedOut));
    assert_eq!(b.exit_of(process)?, None);
    a.resume()
}

fn ends(stage: &Stage) -> Result<(), Fault> {
    let (mut a, mut b) = stage.two()?;
    let target = Target::start("exit 0")?;
    let mine = a.process_of(target.pid())?;
    for sort in [Sort::Mutex, Sort::Event, Sort::Raw(5)] {
        assert_eq!(b.open_as(sort, mine.token), Err(Fault::ForeignKind), "{sort:?}");
    }
    let theirs = b.open_as(Sort::Process, mine.token)?;
    a.close(mine)?;
    assert_eq!(b.exit_of(theirs)?, None);
    b.close(theirs)?;
    assert_eq!(a.open_as(Sort::Process, mine.token), Err(Fault::Stale));
    Ok(())
}

/// A program with the handle of its own process, and another that has it open.
fn with_its_own(stage: &Stage) -> Result<[(Program, Thing); 2], Fault> {
    stage.needs_processes()?;
    let (mut a, mut b) = stage.two()?;
    let pid = a.pid()?;
    let mine = a.process_of(pid)?;
    let theirs = b.open_as(Sort::Process, mine.token)?;
    Ok([(a, mine), (b, theirs)])
}

fn announced(stage: &Stage) -> Result<(), Fault> {
    // The lowest 8 bits are those with which programs end.
    const CODE: i32 = 0x1234_5600;
    let [(mut a, mine), (mut b, theirs)] = with_its_own(stage)?;
    a.exiting(mine, CODE)?;
    assert_eq!(b.exit_of(theirs)?, None, "it has not ended yet");
    b.begin_and_sleep(Order::WaitForExit { thing: theirs, timeout: None });
    drop(a);
    assert_eq!(b.answer()?, Answer::Exit(Some(End::Code(CODE))));
    Ok(())
}

fn announced_by_whom(stage: &Stage) -> Result<(), Fault> {
    let [(mut a, mine), (mut b, theirs)] = with_its_own(stage)?;
    assert_eq!(b.exiting(theirs, 0x300), Err(Fault::NotOwner));
    a.exiting(mine, 0x100)?;
    assert_eq!(a.exiting(mine, 0x200), Err(Fault::Announced));
    drop(a);
    assert_eq!(b.wait_for_exit(theirs, None)?, Some(End::Code(0x100)));
    Ok(())
}

fn announced_and_killed(stage: &Stage) -> Result<(), Fault> {
    let [(mut a, mine), (mut b, theirs)] = with_its_own(stage)?;
    a.exiting(mine, 0x100)?;
    a.kill()?;
    assert_eq!(known(b.wait_for_exit(theirs, None)?)?, End::Signal(9));
    Ok(())
}

fn reaped(stage: &Stage) -> Result<(), Fault> {
    stage.needs_processes()?;
    let (mut a, mut b) = stage.two()?;
    let mut target = Target::start("exit 7")?;
    let mine = a.process_of(target.pid())?;
    // Nobody who has the handle sees it end.
    a.stop()?;
    let status = target.reap();
    let theirs = b.open_as(Sort::Process, mine.token)?;
    assert_eq!(b.exit_of(theirs)?, Some(End::Unknown));
    let mut c = stage.program()?;
    let last = c.open_as(Sort::Process, mine.token)?;
    b.reaped(theirs, status)?;
    assert_eq!(c.exit_of(last)?, Some(End::Code(7)));
    c.reaped(last, 9)?;
    assert_eq!(b.exit_of(theirs)?, Some(End::Code(7)), "what is known stays");
    a.resume()?;
    assert_eq!(a.exit_of(mine)?, Some(End::Code(7)));
    Ok(())
}
