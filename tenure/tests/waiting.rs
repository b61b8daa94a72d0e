//! Mutexes, events and semaphores between processes that are killed and stopped while they hold, wait and wake.
//!
//! No test asserts on time. Waits that must end have no timeout of their own, only the fail-safe that all tests share.

#![cfg(feature = "objects")]

mod common;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use common::threads::{Threads, sleeps, wait_until_asleep, wait_until_quiet, wait_until_stopped};
use common::{Name, Process, eventually, linger, listen, returns, role, say, scope};
use tenure::{
    Kind, Member, Options, Space, Token,
    error::{CreateError, OpenHandleError, WaitError},
    sync::{Event, Mutex, MutexState, Reset, Semaphore, Waitable, wait_all, wait_any},
};

fn options() -> Options {
    Space::options().members(8).handles(256).scratch(1 << 20)
}

/// A timeout of zero.
const NOT_NOW: Option<Duration> = Some(Duration::ZERO);

#[test]
fn child() {
    let Some(role) = role() else { return };
    let [name, monitor, what, tokens @ ..] = &role[..] else { panic!("{role:?}") };
    let space = Space::options().monitor(monitor == "guarded").attach(name).unwrap();
    let me = space.join().unwrap();
    let tokens: Vec<Token> = tokens.iter().map(|token| token.parse().unwrap()).collect();
    match what.as_str() {
        "own" => {
            let mutex = Mutex::open(&me, tokens[0]).unwrap();
            let guard = mutex.lock().unwrap();
            say("owned", guard.abandoned());
            linger();
            drop(guard);
            say("unlocked", "");
            linger();
        }
        "lock" => {
            let mutex = Mutex::open(&me, tokens[0]).unwrap();
            say("waiting", "");
            let guard = mutex.lock().unwrap();
            say("locked", guard.abandoned());
            drop(guard);
            linger();
        }
        "wait" => {
            let event = Event::open(&me, tokens[0]).unwrap();
            say("waiting", "");
            event.wait(None).unwrap();
            say("woken", "");
            linger();
        }
        "acquire" => {
            let semaphore = Semaphore::open(&me, tokens[0]).unwrap();
            say("waiting", "");
            semaphore.acquire(None).unwrap();
            say("woken", "");
            linger();
        }
        "any" | "any without waitv" => {
            tenure::testing::pretend_no_waitv(&me, what != "any");
            let objects: Vec<_> = tokens.iter().map(|token| any(&me, *token)).collect();
            let objects: Vec<_> = objects.iter().map(|one| &**one).collect();
            say("waiting", "");
            let woken = wait_any(&objects, None).unwrap();
            say("woken", woken.index);
            linger();
        }
        // A wrong waiter: it wakes up by itself and polls.
        "poll" => {
            let event = Event::open(&me, tokens[0]).unwrap();
            say("waiting", "");
            while event.wait(Some(Duration::from_millis(10))).is_err() {}
            say("woken", "");
            linger();
        }
        other => panic!("{other}"),
    }
    let _ = listen;
}

/// Any of the objects of a token.
fn any(me: &Member, token: Token) -> Box<dyn Waitable> {
    if let Ok(mutex) = Mutex::open(me, token) {
        return Box::new(mutex);
    }
    match Event::open(me, token) {
        Ok(event) => Box::new(event),
        Err(_) => Box::new(Semaphore::open(me, token).unwrap()),
    }
}

fn start(name: &Name, guarded: bool, what: &str, tokens: &[Token]) -> Process {
    let tokens: Vec<_> = tokens.iter().map(ToString::to_string).collect();
    let monitor = if guarded { "guarded" } else { "alone" };
    let mut arguments = vec![name.0.as_str(), monitor, what];
    arguments.extend(tokens.iter().map(String::as_str));
    Process::start(&arguments)
}

fn clean(space: &Space) {
    let report = space.check();
    assert!(report.is_clean(), "{report:#?}");
}

#[test]
fn a_mutex_excludes_recurses_and_says_whose_it_is() {
    let space = options().anonymous().unwrap();
    let (me, other) = (space.join().unwrap(), space.join().unwrap());
    let mutex = Mutex::create(&me).unwrap();
    let theirs = Mutex::open(&other, mutex.token()).unwrap();
    let guard = mutex.lock().unwrap();
    assert!(!guard.abandoned());
    assert!(matches!(mutex.try_lock(), Err(WaitError::Deadlock)));
    assert!(matches!(theirs.try_lock(), Err(WaitError::WouldBlock)));
    assert!(matches!(theirs.lock_timeout(Duration::from_millis(1)), Err(WaitError::TimedOut)));
    assert!(matches!(theirs.unlock(), Err(WaitError::NotOwner)));
    let MutexState::Owned { lease, .. } = theirs.state().unwrap() else { panic!("free") };
    assert_eq!(lease, me.lease().index);
    scope("the waiter locks", |scope| {
        let waiter = scope.spawn(|| theirs.lock().map(|guard| guard.abandoned()).unwrap());
        drop(guard);
        assert!(!waiter.join().unwrap());
    });
    assert_eq!(mutex.state().unwrap(), MutexState::Free);

    let twice = Mutex::options().recursive(true).create(&me).unwrap();
    let (a, b) = (twice.lock().unwrap(), twice.lock().unwrap());
    drop(a);
    let again = Mutex::open(&other, twice.token()).unwrap();
    assert!(again.is_recursive() && matches!(again.try_lock(), Err(WaitError::WouldBlock)));
    drop(b);
    drop(again.try_lock().unwrap());
    assert!(matches!(twice.unlock(), Err(WaitError::NotOwner)));
    clean(&space);
}

#[test]
fn objects_are_opened_as_what_they_are_and_never_as_bytes() {
    let space = options().private().unwrap();
    let me = space.join().unwrap();
    let mutex = Mutex::create(&me).unwrap();
    let token = mutex.token();
    assert!(matches!(Event::open(&me, token), Err(OpenHandleError::ForeignKind { .. })));
    let Err(OpenHandleError::ForeignKind { found, .. }) = me.open_raw(Kind::raw(1), token) else { panic!() };
    assert_eq!(found.to_string(), "mutex");
    assert!(matches!(me.open_raw(found, token), Err(OpenHandleError::SystemKind { .. })));
    assert!(matches!(me.create_raw(found, b"x"), Err(CreateError::SystemKind { .. })));
    assert!(matches!(me.local().open(found, token), Err(OpenHandleError::SystemKind { .. })));
    drop(mutex);
    assert!(matches!(Mutex::open(&me, token), Err(OpenHandleError::Stale { .. })));
    assert!(matches!(Semaphore::create(&me, 2, 1), Err(CreateError::Semaphore { .. })));
    assert!(matches!(Semaphore::create(&me, 0, 0), Err(CreateError::Semaphore { .. })));
}

#[test]
fn events_let_all_go_or_one() {
    let space = options().anonymous().unwrap();
    let me = space.join().unwrap();
    let manual = Event::create(&me, Reset::Manual).unwrap();
    assert!(matches!(manual.wait(NOT_NOW), Err(WaitError::TimedOut)));
    scope("all waiters are let go", |scope| {
        for _ in 0..3 {
            scope.spawn(|| manual.wait(None).unwrap());
        }
        manual.set().unwrap();
    });
    manual.wait(NOT_NOW).unwrap();
    assert!(manual.reset().unwrap() && !manual.reset().unwrap());
    assert!(matches!(manual.wait(NOT_NOW), Err(WaitError::TimedOut)));

    let auto = Event::options(Reset::Auto).signalled(true).create(&me).unwrap();
    assert_eq!(Event::open(&me, auto.token()).unwrap().resets(), Reset::Auto);
    auto.set().unwrap();
    auto.wait(NOT_NOW).unwrap();
    assert!(matches!(auto.wait(NOT_NOW), Err(WaitError::TimedOut)));
    scope("each waiter is let go", |scope| {
        let waiters: Vec<_> = (0..3).map(|_| scope.spawn(|| auto.wait(None).unwrap())).collect();
        for gone in 0..3 {
            auto.set().unwrap();
            eventually("one more", || waiters.iter().filter(|w| w.is_finished()).count() > gone);
        }
    });
    assert!(!auto.is_set().unwrap());
    clean(&space);
}

#[test]
fn semaphores_count_and_keep_their_maximum() {
    let space = options().anonymous().unwrap();
    let me = space.join().unwrap();
    let semaphore = Semaphore::create(&me, 1, 3).unwrap();
    semaphore.acquire(None).unwrap();
    assert!(matches!(semaphore.acquire(NOT_NOW), Err(WaitError::TimedOut)));
    assert_eq!(semaphore.release(2).unwrap(), 0);
    assert!(matches!(semaphore.release(2), Err(WaitError::Maximum { count: 2, more: 2, maximum: 3 })));
    assert!(matches!(semaphore.release(u32::MAX), Err(WaitError::Maximum { .. })));
    assert_eq!(semaphore.release(0).unwrap(), 2);
    assert_eq!(semaphore.release(1).unwrap(), 2);
    scope("all threads acquire and release", |scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..500 {
                    semaphore.acquire(None).unwrap();
                    semaphore.release(1).unwrap();
                }
            });
        }
    });
    assert_eq!(semaphore.count().unwrap(), 3);
    clean(&space);
}

/// The next owner learns of the abandonment, and no later one; the monitor recovers, or a reaper where there is none.
fn owner_is_killed(guarded: bool) {
    let name = Name::new("abandoned");
    let space = name.open(options().monitor(guarded));
    let me = space.join().unwrap();
    let mutex = Mutex::create(&me).unwrap();
    let token = [mutex.token()];
    for round in 0..3 {
        let mut owner = start(&name, guarded, "own", &token);
        assert_eq!(owner.receive("owned").as_deref(), Some("false"), "round {round}");
        let mut waiters: Vec<_> = (0..2).map(|_| start(&name, guarded, "lock", &token)).collect();
        for waiter in &mut waiters {
            waiter.receive("waiting").unwrap();
            wait_until_asleep(waiter.id());
        }
        owner.kill();
        let told: Vec<_> = waiters.iter_mut().map(|waiter| waiter.receive("locked").unwrap()).collect();
        assert_eq!(told.iter().filter(|told| *told == "true").count(), 1, "round {round}: {told:?}");
        waiters.into_iter().for_each(|waiter| assert!(waiter.wait().success()));
        assert!(!returns("the waiters unlock", || mutex.lock().unwrap().abandoned()));
    }
    clean(&space);
}

#[test]
fn an_owner_is_killed_and_one_waiter_is_told() {
    owner_is_killed(true);
}

#[test]
fn an_owner_is_killed_where_nobody_has_a_monitor() {
    owner_is_killed(false);
}

#[test]
fn an_owner_without_a_monitor_is_killed_while_others_have_one() {
    let name = Name::new("deaf");
    let space = name.open(options());
    let me = space.join().unwrap();
    let mutex = Mutex::create(&me).unwrap();
    let mut owner = start(&name, false, "own", &[mutex.token()]);
    owner.receive("owned").unwrap();
    let mut waiter = start(&name, true, "lock", &[mutex.token()]);
    waiter.receive("waiting").unwrap();
    wait_until_asleep(waiter.id());
    owner.kill();
    assert_eq!(waiter.receive("locked").as_deref(), Some("true"));
}

#[test]
fn an_owner_leaves_or_lets_go_without_unlocking() {
    let space = options().anonymous().unwrap();
    let (me, other) = (space.join().unwrap(), space.join().unwrap());
    let mine = Mutex::create(&me).unwrap();
    let theirs = Mutex::open(&other, mine.token()).unwrap();
    let clone = theirs.try_clone().unwrap();
    std::mem::forget(theirs.lock().unwrap());
    drop(theirs);
    assert!(matches!(mine.try_lock(), Err(WaitError::WouldBlock)), "one more value holds it");
    scope("the waiter is told", |scope| {
        let waiter = scope.spawn(|| mine.lock().unwrap().abandoned());
        drop(clone);
        assert!(waiter.join().unwrap());
    });
    assert!(!mine.try_lock().unwrap().abandoned());
    clean(&space);
}

#[test]
fn waiters_are_killed_and_stopped_and_swallow_nothing() {
    let name = Name::new("waiters");
    let space = name.open(options());
    let me = space.join().unwrap();
    let (auto, semaphore) =
        (Event::create(&me, Reset::Auto).unwrap(), Semaphore::create(&me, 0, 10).unwrap());
    let mutex = Mutex::create(&me).unwrap();
    type Wake<'a> = Box<dyn Fn() + 'a>;
    let wake_mutex = || drop(mutex.adopt().unwrap());
    let cases: [(&str, Token, Wake<'_>, &str); 3] = [
        ("wait", auto.token(), Box::new(|| auto.set().unwrap()), "woken"),
        ("acquire", semaphore.token(), Box::new(|| assert_eq!(semaphore.release(1).unwrap(), 0)), "woken"),
        ("lock", mutex.token(), Box::new(wake_mutex), "locked"),
    ];
    for (what, token, wake, said) in &cases {
        for signal in [libc::SIGKILL, libc::SIGSTOP] {
            if *what == "lock" {
                returns("nobody has the mutex", || mutex.acquire(None).unwrap());
            }
            let mut waiters: Vec<_> = (0..3).map(|_| start(&name, true, what, &[*token])).collect();
            for waiter in &mut waiters {
                waiter.receive("waiting").unwrap();
                wait_until_asleep(waiter.id());
            }
            // If only some waiters are woken, they are the ones that slept first.
            for waiter in &waiters[..2] {
                waiter.signal(signal);
                if signal == libc::SIGSTOP {
                    wait_until_stopped(waiter.id());
                }
            }
            wake();
            assert!(waiters[2].receive(said).is_some(), "{what}");
            drop(waiters);
            // A stopped waiter may have been in the middle of taking the object.
            let _ = me.recover();
        }
    }
    clean(&space);
}

#[test]
fn any_of_mixed_kinds() {
    let space = options().anonymous().unwrap();
    let me = space.join().unwrap();
    for pretend in [false, true] {
        tenure::testing::pretend_no_waitv(&me, pretend);
        let mutex = Mutex::create(&me).unwrap();
        let auto = Event::create(&me, Reset::Auto).unwrap();
        let manual = Event::create(&me, Reset::Manual).unwrap();
        let semaphore = Semaphore::create(&me, 0, 5).unwrap();
        let objects: [&dyn Waitable; 4] = [&auto, &semaphore, &manual, &mutex];
        assert_eq!(wait_any(&objects, None).unwrap().index, 3, "the mutex was free");
        drop(mutex.adopt().unwrap());
        let is_over = AtomicBool::new(false);
        scope("each object is taken", |scope| {
            let owner = scope.spawn(|| {
                let guard = mutex.lock().unwrap();
                for expected in [0, 1, 2] {
                    scope.spawn(move || thread::sleep(Duration::from_millis(5))).join().unwrap();
                    match expected {
                        0 => auto.set().unwrap(),
                        1 => assert_eq!(semaphore.release(1).unwrap(), 0),
                        _ => manual.set().unwrap(),
                    }
                    eventually("taken", || !auto.is_set().unwrap() && semaphore.count().unwrap() == 0);
                }
                // Not before the last one was taken: a waiter that has checked the event already would find the mutex.
                eventually("the last one is taken", || is_over.load(Ordering::Relaxed));
                drop(guard);
            });
            eventually("locked", || mutex.state().unwrap() != MutexState::Free || owner.is_finished());
            let mut seen = Vec::new();
            while seen.last() != Some(&2) {
                seen.push(wait_any(&objects, None).unwrap().index);
            }
            is_over.store(true, Ordering::Relaxed);
            assert_eq!(seen, [0, 1, 2]);
        });
        let short = Some(Duration::from_millis(2));
        assert!(matches!(wait_any(&objects[..2], short), Err(WaitError::TimedOut)));
        assert!(matches!(wait_any(&[], short), Err(WaitError::Number { found: 0, .. })));
        let many = vec![&auto as &dyn Waitable; 65];
        assert!(matches!(wait_any(&many, short), Err(WaitError::Number { found: 65, max: 64 })));
        assert!(matches!(wait_any(&many[..64], short), Err(WaitError::TimedOut)));
    }
    clean(&space);
}

#[test]
fn all_or_none() {
    let space = options().anonymous().unwrap();
    let me = space.join().unwrap();
    let mutex = Mutex::create(&me).unwrap();
    let auto = Event::options(Reset::Auto).signalled(true).create(&me).unwrap();
    let semaphore = Semaphore::create(&me, 0, 5).unwrap();
    let objects: [&dyn Waitable; 3] = [&semaphore, &auto, &mutex];
    assert!(matches!(wait_all(&objects, NOT_NOW), Err(WaitError::TimedOut)));
    assert!(auto.is_set().unwrap() && mutex.state().unwrap() == MutexState::Free, "nothing was taken");
    scope("the waiter takes all", |scope| {
        let waiter = scope.spawn(|| {
            let abandoned = wait_all(&objects, None).unwrap();
            mutex.unlock().unwrap();
            abandoned
        });
        semaphore.release(1).unwrap();
        assert_eq!(waiter.join().unwrap(), []);
    });
    assert!(!auto.is_set().unwrap() && semaphore.count().unwrap() == 0);
    // A wait for all that can never succeed is refused, and takes nothing.
    let again = mutex.try_clone().unwrap();
    let twice: [&dyn Waitable; 3] = [&mutex, &semaphore, &again];
    assert!(matches!(wait_all(&twice, None), Err(WaitError::Twice { first: 0, second: 2 })));
    let other = space.join().unwrap();
    let elsewhere = Mutex::open(&other, mutex.token()).unwrap();
    let two: [&dyn Waitable; 2] = [&auto, &elsewhere];
    assert!(matches!(wait_all(&two, None), Err(WaitError::SeveralMembers { index: 1 })));
    auto.set().unwrap();
    mutex.acquire(NOT_NOW).unwrap();
    let deadlock: [&dyn Waitable; 2] = [&auto, &mutex];
    let refused = wait_all(&deadlock, None).unwrap_err();
    assert!(
        matches!(&refused, WaitError::Of { index: 1, error } if matches!(**error, WaitError::Deadlock)),
        "{refused:?}"
    );
    mutex.unlock().unwrap();
    assert!(auto.is_set().unwrap());
    // A recursive mutex of ours is locked again.
    let recursive = Mutex::options().recursive(true).create(&me).unwrap();
    recursive.acquire(NOT_NOW).unwrap();
    wait_all(&[&recursive, &auto], NOT_NOW).unwrap();
    assert!(!auto.is_set().unwrap());
    recursive.unlock().unwrap();
    assert!(matches!(recursive.state(), Ok(MutexState::Owned { .. })));
    recursive.unlock().unwrap();
    assert_eq!(recursive.state().unwrap(), MutexState::Free);
    // The abandonment is reported.
    let left = Mutex::open(&other, mutex.token()).unwrap();
    left.acquire(NOT_NOW).unwrap();
    drop((left, elsewhere));
    other.leave().unwrap();
    assert_eq!(wait_all(&[&recursive, &mutex], None).unwrap(), [1]);
    mutex.unlock().unwrap();
    recursive.unlock().unwrap();
    clean(&space);
}

/// Several members with several threads each want the same objects, all at once or one by one.
#[test]
fn many_take_all_and_one_by_one() {
    let space = options().anonymous().unwrap();
    let me = space.join().unwrap();
    let (permits, mutex) = (Semaphore::create(&me, 2, 3).unwrap(), Mutex::create(&me).unwrap());
    let signal = Event::options(Reset::Auto).signalled(true).create(&me).unwrap();
    let open = Event::options(Reset::Manual).signalled(true).create(&me).unwrap();
    let pair = [AtomicU64::new(0), AtomicU64::new(0)];
    scope("all threads take what they want", |scope| {
        for turn in 0..6 {
            let (space, pair) = (&space, &pair);
            let tokens = [permits.token(), mutex.token(), signal.token(), open.token()];
            scope.spawn(move || {
                let me = space.join().unwrap();
                let permits = Semaphore::open(&me, tokens[0]).unwrap();
                let mutex = Mutex::open(&me, tokens[1]).unwrap();
                let signal = Event::open(&me, tokens[2]).unwrap();
                let open = Event::open(&me, tokens[3]).unwrap();
                for round in 0..200 {
                    match turn {
                        0 => {
                            let guard = mutex.lock().unwrap();
                            assert!(!guard.abandoned());
                        }
                        1 => {
                            permits.acquire(None).unwrap();
                            permits.release(1).unwrap();
                        }
                        2 => {
                            open.reset().unwrap();
                            open.set().unwrap();
                        }
                        _ => {
                            let all: [&dyn Waitable; 4] = [&mutex, &signal, &open, &permits];
                            let first = round % 4;
                            let rotated: Vec<_> = all[first..].iter().chain(&all[..first]).copied().collect();
                            assert_eq!(wait_all(&rotated, None).unwrap(), [0; 0]);
                            // Relaxed, all: the mutex excludes and publishes.
                            let [left, right] = pair;
                            let before = left.load(Ordering::Relaxed);
                            assert_eq!(before, right.load(Ordering::Relaxed));
                            left.store(before + 1, Ordering::Relaxed);
                            assert!(!signal.is_set().unwrap() && permits.count().unwrap() <= 1);
                            right.store(before + 1, Ordering::Relaxed);
                            mutex.unlock().unwrap();
                            permits.release(1).unwrap();
                            signal.set().unwrap();
                        }
                    }
                }
                drop((permits, mutex, signal, open));
                me.leave().unwrap();
            });
        }
    });
    assert_eq!((permits.count().unwrap(), mutex.state().unwrap()), (2, MutexState::Free));
    assert!(signal.is_set().unwrap() && open.is_set().unwrap());
    assert_eq!(pair.map(AtomicU64::into_inner), [600; 2]);
    clean(&space);
}

#[test]
fn who_waits_is_not_woken_for_nothing() {
    let name = Name::new("quiet");
    let space = name.open(options());
    let me = space.join().unwrap();
    let event = Event::create(&me, Reset::Manual).unwrap();
    let other = Event::create(&me, Reset::Manual).unwrap();
    for (what, tokens) in [("wait", &[event.token()][..]), ("any", &[other.token(), event.token()])] {
        let mut waiter = start(&name, true, what, tokens);
        waiter.receive("waiting").unwrap();
        wait_until_asleep(waiter.id());
        let before = sleeps(waiter.id());
        // A wake-up is issued before the call that causes it returns; the pause reveals wake-ups from other sources,
        // such as a timer.
        for _ in 0..100 {
            assert!(!event.reset().unwrap());
            assert!(matches!(event.wait(NOT_NOW), Err(WaitError::TimedOut)));
        }
        thread::sleep(Duration::from_millis(200));
        assert_eq!(sleeps(waiter.id()), before, "{what}: woken for nothing");
        event.set().unwrap();
        waiter.receive("woken").unwrap();
        assert!(event.reset().unwrap());
        // Work of its monitor and of reapers must not be taken for an effect on the next waiter.
        waiter.kill();
        eventually("the dead waiter is recovered", || space.stats().members_live == 1);
    }
}

/// The negative control of the test above.
#[test]
fn who_polls_is_seen() {
    let name = Name::new("polls");
    let space = name.open(options());
    let me = space.join().unwrap();
    let event = Event::create(&me, Reset::Manual).unwrap();
    let mut waiter = start(&name, true, "poll", &[event.token()]);
    waiter.receive("waiting").unwrap();
    let seen = wait_until_quiet(waiter.id());
    assert!(matches!(seen, Threads::Polls(_)), "{seen:?}");
}

#[test]
fn any_across_processes_with_and_without_waitv() {
    let name = Name::new("any");
    let space = name.open(options());
    let me = space.join().unwrap();
    let auto = Event::create(&me, Reset::Auto).unwrap();
    let semaphore = Semaphore::create(&me, 0, 4).unwrap();
    let mutex = Mutex::create(&me).unwrap();
    let tokens = [auto.token(), semaphore.token(), mutex.token()];
    for what in ["any", "any without waitv"] {
        let mut owner = start(&name, true, "own", &tokens[2..]);
        owner.receive("owned").unwrap();
        for (index, wake) in [(0, 0), (1, 1)] {
            let mut waiter = start(&name, true, what, &tokens);
            waiter.receive("waiting").unwrap();
            wait_until_asleep(waiter.id());
            if wake == 0 {
                auto.set().unwrap()
            } else {
                let _ = semaphore.release(1).unwrap();
            }
            assert_eq!(waiter.receive("woken").unwrap(), index.to_string(), "{what}");
        }
        let mut waiter = start(&name, true, what, &tokens);
        waiter.receive("waiting").unwrap();
        wait_until_asleep(waiter.id());
        owner.kill();
        assert_eq!(waiter.receive("woken").unwrap(), "2", "{what}: the mutex of the dead");
        // The waiter dies with the mutex, or unlocks by leaving: it is abandoned either way.
        drop(waiter);
        let abandoned = returns("the mutex of the dead is free", || mutex.lock().unwrap().abandoned());
        assert!(abandoned, "{what}");
    }
    clean(&space);
}

#[test]
fn a_forked_child_has_nothing_of_it() {
    let space = options().anonymous().unwrap();
    let me = space.join().unwrap();
    let mutex = Mutex::create(&me).unwrap();
    let event = Event::options(Reset::Manual).signalled(true).create(&me).unwrap();
    let guard = mutex.lock().unwrap();
    let code = common::in_fork(|| {
        let refused =
            [mutex.lock().is_err(), event.wait(None).is_err(), event.set().is_err(), mutex.unlock().is_err()];
        let again = space.join().unwrap();
        let theirs = Mutex::open(&again, mutex.token()).unwrap();
        let waits = matches!(theirs.try_lock(), Err(WaitError::WouldBlock));
        drop(theirs);
        i32::from(!(refused.iter().all(|refused| *refused) && waits))
    });
    assert_eq!(code, 0);
    drop(guard);
    assert!(!mutex.lock().unwrap().abandoned());
}
