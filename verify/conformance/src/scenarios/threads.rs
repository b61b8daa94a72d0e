//! Threads.

use std::path::PathBuf;

use super::Row;
use super::processes::known;
use crate::driver::Sizes;
use crate::order::{Answer, End, Fault, Order, Sort};
use crate::stage::{Stage, Target};
use tenure_testkit::eventually;

pub(super) const ROWS: &[Row] = &[
    ("a thread that ends is told to who waits for it, and its process goes on", Sizes::USUAL, ends),
    ("the threads of one process are told apart", Sizes::USUAL, apart),
    ("a thread that runs has not ended: waiting times out", Sizes::USUAL, running),
    ("the threads of a process that is killed end with it", Sizes::USUAL, killed),
    (
        "a thread announces its code, all 32 bits of it; only the thread itself, and once",
        Sizes::USUAL,
        announced,
    ),
    ("there is no handle of a thread that is gone", Sizes::USUAL, gone),
    ("waiting for any with a thread ends when the thread ends", Sizes::USUAL, any),
    ("a thread is opened as a thread only, and its handle ends with its last holder", Sizes::USUAL, kinds),
];

fn ends(stage: &Stage) -> Result<(), Fault> {
    let (mut a, mut b) = stage.two()?;
    let number = a.start_thread()?;
    let mine = a.thread_of(number)?;
    let theirs = b.open_as(Sort::Thread, mine.token)?;
    assert_eq!(b.exit_of(theirs)?, None);
    b.begin_and_sleep(Order::WaitForExit { thing: theirs, timeout: None });
    a.end_thread(number)?;
    let Answer::Exit(end) = b.answer()? else { panic!("no end") };
    assert_eq!(known(end)?, End::Code(0));
    let own = a.tid();
    let own = a.thread_of(own)?;
    assert_eq!(a.exit_of(own)?, None);
    assert_eq!(known(a.wait_for_exit(mine, None)?)?, End::Code(0));
    // A later opener is told as well.
    let mut c = stage.program()?;
    let later = c.open_as(Sort::Thread, mine.token)?;
    assert_eq!(known(c.exit_of(later)?)?, End::Code(0));
    Ok(())
}

fn apart(stage: &Stage) -> Result<(), Fault> {
    let (mut a, mut b) = stage.two()?;
    let numbers = [a.start_thread()?, a.start_thread()?];
    let [first, second] = [b.thread_of(numbers[0])?, b.thread_of(numbers[1])?];
    assert_eq!([b.number_of(first)?, b.number_of(second)?], numbers);
    a.end_thread(numbers[0])?;
    assert!(b.wait_for_exit(first, None)?.is_some());
    assert_eq!(b.exit_of(second)?, None);
    a.end_thread(numbers[1])?;
    assert!(b.wait_for_exit(second, None)?.is_some());
    Ok(())
}

fn running(stage: &Stage) -> Result<(), Fault> {
    let (a, mut b) = stage.two()?;
    let thread = b.thread_of(a.tid())?;
    assert_eq!(b.exit_of(thread)?, None);
    assert_eq!(b.wait_for_exit(thread, Some(0)), Err(Fault::TimedOut));
    assert_eq!(b.wait_for_exit(thread, Some(5)), Err(Fault::TimedOut));
    assert_eq!(b.exit_of(thread)?, None);
    Ok(())
}

fn killed(stage: &Stage) -> Result<(), Fault> {
    stage.needs_processes()?;
    let (mut a, mut b) = stage.two()?;
    let number = a.start_thread()?;
    let [first, second] = [b.thread_of(a.tid())?, b.thread_of(number)?];
    a.kill()?;
    for thread in [first, second] {
        assert_eq!(known(b.wait_for_exit(thread, None)?)?, End::Signal(9));
    }
    Ok(())
}

fn announced(stage: &Stage) -> Result<(), Fault> {
    const CODE: i32 = 0xdead_beef_u32 as i32;
    let (mut a, mut b) = stage.two()?;
    let (own, number) = (a.tid(), a.start_thread()?);
    let (mine, another) = (a.thread_of(own)?, a.thread_of(number)?);
    let theirs = b.open_as(Sort::Thread, mine.token)?;
    assert_eq!(a.exiting(another, CODE), Err(Fault::NotOwner), "another thread of the same process");
    assert_eq!(b.exiting(theirs, CODE), Err(Fault::NotOwner), "another process");
    a.exiting(mine, CODE)?;
    assert_eq!(a.exiting(mine, 0), Err(Fault::Announced));
    assert_eq!(b.exit_of(theirs)?, None, "it has not ended yet");
    drop(a);
    assert_eq!(b.wait_for_exit(theirs, None)?, Some(End::Code(CODE)));
    Ok(())
}

fn gone(stage: &Stage) -> Result<(), Fault> {
    let (mut a, mut b) = stage.two()?;
    let number = a.start_thread()?;
    a.end_thread(number)?;
    // Join returns a moment before the kernel removes the thread.
    let folder = PathBuf::from(format!("/proc/{number}"));
    eventually("the thread is gone", || !folder.exists());
    assert_eq!(b.thread_of(number), Err(Fault::Gone));
    assert_eq!(stage.in_use().handles, 0);
    Ok(())
}

fn any(stage: &Stage) -> Result<(), Fault> {
    let (mut a, mut b) = stage.two()?;
    let number = a.start_thread()?;
    let things = [b.event(false)?, b.thread_of(number)?];
    assert_eq!(b.take_any(&things, Some(0)), Err(Fault::TimedOut));
    b.begin_and_sleep(Order::TakeAny { things: things.into(), timeout: None });
    a.end_thread(number)?;
    assert_eq!(b.answer()?, Answer::Woken(1, false));
    Ok(())
}

fn kinds(stage: &Stage) -> Result<(), Fault> {
    let (mut a, mut b) = stage.two()?;
    let target = Target::start("exit 0")?;
    let process = a.process_of(target.pid())?;
    assert_eq!(b.open_as(Sort::Thread, process.token), Err(Fault::ForeignKind));
    let own = a.tid();
    let mine = a.thread_of(own)?;
    for sort in [Sort::Process, Sort::Mutex, Sort::Raw(5)] {
        assert_eq!(b.open_as(sort, mine.token), Err(Fault::ForeignKind), "{sort:?}");
    }
    let theirs = b.open_as(Sort::Thread, mine.token)?;
    a.close(mine)?;
    assert_eq!(b.exit_of(theirs)?, None);
    b.close(theirs)?;
    assert_eq!(a.open_as(Sort::Thread, mine.token), Err(Fault::Stale));
    Ok(())
}
