//! Processes.

use super::Row;
use crate::driver::Sizes;
use crate::order::{Answer, End, Fault, Order, Sort};
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
];

/// Kernels before 6.15 tell nobody but the parent.
fn known(end: Option<End>) -> Result<End, Fault> {
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
