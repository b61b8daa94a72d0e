//! Handles of processes: create, open, look, wait, close; the end of a process is written down by the first member that
//! observes it.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use tenure::{
    error::WaitError,
    process::{Exit, Process},
};

use crate::case::{Case, Script, Stage};
use crate::survivor::Survivor;
use crate::target::{KILLED, Target, post, posted_number, posted_token};

fn case(name: &'static str, script: Script) -> Case {
    Case::new(name, script).before(running).after(all_is_told)
}

pub(super) fn all() -> Vec<Case> {
    vec![
        case("create a process's handle", create),
        case("open a process's handle", open),
        case("close a process's handle", close),
        case("look at a process", look).meanwhile(|survivor| target(survivor).end()),
        case("look at one that has ended", look).before(ended_with_mark).meanwhile(see_it_killed),
        case("look at one that is gone", look).before(gone).meanwhile(see_it_ended),
        case("look at one that is gone, with a waiter", look).before(gone_with_mark).meanwhile(say_how),
        case("say how it ended", reaped).before(gone).meanwhile(see_it_ended),
        case("say how it ended, others too", reaped).before(gone_with_mark).meanwhile(say_how),
        case("announce a code", announce)
            .before(|_| {})
            .assist(meet_actor)
            .meanwhile(see_actor)
            .after(see_actor_ended),
        case("wait for one that has ended", wait).before(ended_with_mark).meanwhile(see_it_killed),
        case("wait for one, timing out", wait_timing_out).meanwhile(|survivor| target(survivor).end()),
    ]
}

fn target(survivor: &mut Survivor) -> &mut Target {
    survivor.target.as_mut().unwrap()
}

fn running(survivor: &mut Survivor) {
    survivor.target = Some(Target::start(survivor.me, survivor.board));
}

pub(super) fn ended_with_mark(survivor: &mut Survivor) {
    running(survivor);
    leave_a_mark(survivor);
    target(survivor).end();
}

fn gone(survivor: &mut Survivor) {
    running(survivor);
    target(survivor).reap();
}

pub(super) fn gone_with_mark(survivor: &mut Survivor) {
    running(survivor);
    leave_a_mark(survivor);
    target(survivor).reap();
}

fn leave_a_mark(survivor: &mut Survivor) {
    let space = survivor.space;
    target(survivor).leave_a_mark(space);
}

fn see_it_killed(survivor: &mut Survivor) {
    assert_eq!(target(survivor).process.exit().unwrap(), Some(KILLED));
}

fn see_it_ended(survivor: &mut Survivor) {
    let exit = target(survivor).process.exit().unwrap();
    assert!([Some(Exit::Unknown), Some(KILLED)].contains(&exit), "{exit:?}");
    // Nobody waits for a stopped process.
    assert!(target(survivor).process.wait(Some(Duration::ZERO)).is_ok());
}

fn say_how(survivor: &mut Survivor) {
    let process = &target(survivor).process;
    process.reaped(ExitStatus::from_raw(libc::SIGKILL)).unwrap();
    assert_eq!(process.exit().unwrap(), Some(KILLED));
}

/// The recorded end is the right one and final, no matter which member recorded it.
pub(super) fn all_is_told(survivor: &mut Survivor) {
    let target = target(survivor);
    target.end();
    if target.process.exit().unwrap() == Some(Exit::Unknown) {
        target.process.reaped(ExitStatus::from_raw(libc::SIGKILL)).unwrap();
    }
    assert_eq!(target.process.exit().unwrap(), Some(KILLED));
    target.process.reaped(ExitStatus::from_raw(0x0300)).unwrap();
    assert_eq!(target.process.exit().unwrap(), Some(KILLED), "what was known has changed");
    assert_eq!(target.process.wait(Some(Duration::ZERO)).unwrap(), KILLED);
    target.reap();
}

fn meet_actor(survivor: &mut Survivor) {
    survivor.target = Some(Target::actor(survivor.me, survivor.board));
}

/// The announced code, or none.
fn see_actor(survivor: &mut Survivor) {
    let (died, exit) = (survivor.actor_died, target(survivor).process.exit().unwrap());
    let expected = if died { &[Some(Exit::Unknown), Some(Exit::Code(CODE))][..] } else { &[None] };
    assert!(survivor.dead_before || expected.contains(&exit), "{exit:?}");
}

fn see_actor_ended(survivor: &mut Survivor) {
    let (died, exit) =
        (survivor.actor_died || survivor.dead_before, target(survivor).process.exit().unwrap());
    let is_well = exit == Some(Exit::Code(CODE)) || died && exit == Some(Exit::Unknown);
    assert!(is_well, "{exit:?}");
}

const CODE: i32 = 0x0407_0301;

/// Opens the handle, does one thing, and leaves.
fn with_process(stage: &Stage<'_>, play: impl FnOnce(&Process)) {
    let me = stage.join();
    let process = Process::open(&me, posted_token(stage.board)).unwrap();
    play(&process);
    drop(process);
    me.leave().unwrap();
}

fn create(stage: &Stage<'_>) {
    let me = stage.join();
    let number = posted_number(stage.board);
    stage.begin();
    let process = Process::of_pid(&me, number);
    stage.end();
    assert_eq!(process.unwrap().exit().unwrap(), None);
    me.leave().unwrap();
}

fn open(stage: &Stage<'_>) {
    let me = stage.join();
    let token = posted_token(stage.board);
    stage.begin();
    let process = Process::open(&me, token);
    stage.end();
    assert_eq!(process.unwrap().exit().unwrap(), None);
    me.leave().unwrap();
}

fn close(stage: &Stage<'_>) {
    let me = stage.join();
    let process = Process::open(&me, posted_token(stage.board)).unwrap();
    stage.begin();
    drop(process);
    stage.end();
    me.leave().unwrap();
}

pub(super) fn look(stage: &Stage<'_>) {
    with_process(stage, |process| {
        stage.begin();
        let exit = process.exit();
        stage.end();
        let exit = exit.unwrap();
        assert!([None, Some(Exit::Unknown), Some(KILLED)].contains(&exit), "{exit:?}");
    });
}

pub(super) fn reaped(stage: &Stage<'_>) {
    with_process(stage, |process| {
        stage.begin();
        let said = process.reaped(ExitStatus::from_raw(libc::SIGKILL));
        stage.end();
        said.unwrap();
        assert_eq!(process.exit().unwrap(), Some(KILLED));
    });
}

fn announce(stage: &Stage<'_>) {
    let me = stage.join();
    let process = Process::current(&me).unwrap();
    post(stage.board, &process);
    stage.meet();
    stage.begin();
    let announced = process.exiting(CODE);
    stage.end();
    announced.unwrap();
    drop(process);
    me.leave().unwrap();
}

fn wait(stage: &Stage<'_>) {
    with_process(stage, |process| {
        stage.begin();
        let exit = process.wait(None);
        stage.end();
        assert_eq!(exit.unwrap(), KILLED);
    });
}

/// Its watcher runs already.
fn wait_timing_out(stage: &Stage<'_>) {
    with_process(stage, |process| {
        let a_moment = Some(Duration::from_micros(50));
        assert!(matches!(process.wait(a_moment), Err(WaitError::TimedOut)));
        stage.begin();
        let exit = process.wait(a_moment);
        stage.end_among_others();
        assert!(matches!(exit, Err(WaitError::TimedOut) | Ok(KILLED)), "{exit:?}");
    });
}
