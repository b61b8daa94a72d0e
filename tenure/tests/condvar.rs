//! `Condvar`: no notification is lost, whoever of those that wait and notify is killed or stopped.
#![cfg(feature = "objects")]

mod common;

use std::cell::Cell;
use std::time::Duration;

use common::threads::wait_until_asleep;
use common::{Name, Process, among_signals, in_fork, returns, role, say, start};
use tenure::{
    Space,
    error::{CreateError, OpenHandleError, WaitError},
    sync::{Condvar, Locked, Mutex, Semaphore, WaitEnd, WaitOptions},
};

fn options() -> tenure::Options {
    Space::options().members(8).handles(64).scratch(1 << 20)
}

const LONG: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(5);

/// Changes, notifies or waits, until it is killed; arguments: the space, what.
#[test]
fn child() {
    let Some(role) = role() else { return };
    let me = Space::options().attach(&role[0]).unwrap().join().unwrap();
    let (number, changed) =
        (Locked::<u64>::open(&me, "number").unwrap(), Condvar::open(&me, "changed").unwrap());
    match role[1].as_str() {
        "change" => {
            *number.lock().unwrap() += 1;
            say("changed", ""); // and has notified nobody
            common::linger();
        }
        "lock" => {
            let mut guard = number.lock().unwrap();
            *guard += 1;
            say("changed", "");
            common::linger();
        }
        "wait" => {
            say("waits", "");
            let mut guard = changed.wait_while(number.lock().unwrap(), |number| **number == 0).unwrap();
            *guard -= 1;
            drop(guard);
            say("taken", "");
            common::linger();
        }
        // Takes one and gives it back, over and over.
        _ => loop {
            let mut guard = changed.wait_while(number.lock().unwrap(), |number| **number == 0).unwrap();
            guard.repaired();
            *guard = 0;
            drop(guard);
            let mut guard = number.lock().unwrap();
            guard.repaired();
            *guard = 1;
            drop(guard);
            changed.notify_one().unwrap();
        },
    }
}

/// Starts a thread of the scope that waits until the number is not zero; its wait has begun when this returns. It returns the number, and
/// whether that is damaged.
fn waiter<'s, 'e>(
    threads: &'s std::thread::Scope<'s, 'e>,
    number: &'e Locked<u64>,
    changed: &'e Condvar,
) -> std::thread::ScopedJoinHandle<'s, (u64, bool)> {
    let (says, hears) = std::sync::mpsc::channel();
    let thread = threads.spawn(move || {
        let condition = |number: &mut tenure::sync::LockedGuard<'_, u64>| {
            let _ = says.send(());
            **number == 0 && !number.is_damaged()
        };
        let guard = changed.wait_while(number.lock().unwrap(), condition).unwrap();
        (*guard, guard.is_damaged())
    });
    hears.recv().unwrap();
    // It looks while it has the lock, and gives that up in the wait.
    drop(number.lock().unwrap());
    thread
}

#[test]
fn waits_and_notifications() {
    let space = options().memfd().unwrap();
    let (me, other) = (space.join().unwrap(), space.join().unwrap());
    let mutex = Mutex::create(&me).unwrap();
    let changed = Condvar::create(me.named("changed")).unwrap();
    let theirs =
        (Mutex::open(&other, mutex.token()).unwrap(), Condvar::open(&other, changed.token()).unwrap());
    // Nobody is there; a notification is not kept.
    changed.notify_all().unwrap();
    changed.notify_one().unwrap();
    let (guard, end) = changed.wait_with(mutex.lock().unwrap(), SHORT).unwrap();
    assert_eq!((end, guard.abandoned()), (WaitEnd::TimedOut, false));
    let (guard, end) = changed.wait_with(guard, Duration::ZERO).unwrap();
    assert_eq!(end, WaitEnd::TimedOut);
    // It is locked again.
    assert!(matches!(theirs.0.try_lock().map(drop), Err(WaitError::WouldBlock)));
    drop(guard);
    // What a dead owner did is told once, also by a wait.
    theirs.0.acquire(None).unwrap();
    theirs.0.abandon().unwrap();
    let guard = mutex.lock().unwrap();
    assert!(guard.abandoned());
    // The guard that takes its place knows it as well.
    let (guard, _) = changed.wait_with(guard, SHORT).unwrap();
    assert!(guard.abandoned());
    drop(guard);
    assert!(!mutex.lock().unwrap().abandoned());

    assert!(matches!(Condvar::create(me.named("changed")), Err(CreateError::NameTaken { .. })));
    assert!(!Condvar::create_or_open(&other, "changed").unwrap().is_created());
    assert_eq!(Condvar::open(&other, "changed").unwrap().token(), changed.token());
    assert!(matches!(Semaphore::open(&other, changed.token()), Err(OpenHandleError::ForeignKind { .. })));
    assert!(matches!(Condvar::open(&other, mutex.token()), Err(OpenHandleError::ForeignKind { .. })));
    assert!(matches!(Condvar::open(&other, "none"), Err(OpenHandleError::NoSuchName)));
    drop(changed.try_clone().unwrap());
    let report = space.check();
    assert!(report.is_clean() && report.pending.is_empty(), "{report:?}");
}

#[test]
fn every_notification_wakes_all_that_wait() {
    let space = options().memfd().unwrap();
    let (me, other) = (space.join().unwrap(), space.join().unwrap());
    let (number, changed) = (Locked::create(&me, &0u64).unwrap(), Condvar::create(&me).unwrap());
    let theirs = Condvar::open(&other, changed.token()).unwrap();
    for one in [true, false] {
        *number.lock().unwrap() = 0;
        std::thread::scope(|threads| {
            let waiters = [(); 3].map(|()| waiter(threads, &number, &changed));
            *number.lock().unwrap() = 7;
            if one {
                theirs.notify_one().unwrap()
            } else {
                theirs.notify_all().unwrap()
            }
            assert_eq!(waiters.map(|waiter| waiter.join().unwrap()), [(7, false); 3]);
        });
    }
}

/// Numbers go through a place for one, from threads of two members to others: none is lost, and none waits for ever.
#[test]
fn threads_pass_numbers() {
    const ROUNDS: u64 = 3000;
    let space = options().anonymous().unwrap();
    let members = [space.join().unwrap(), space.join().unwrap()];
    let place = Locked::create(&members[0], &0u64).unwrap();
    let changed = Condvar::create(&members[0]).unwrap();
    let total = std::thread::scope(|threads| {
        let mut takers = Vec::new();
        for member in &members {
            let open = || {
                let place = Locked::<u64>::open(member, place.token()).unwrap();
                (place, Condvar::open(member, changed.token()).unwrap())
            };
            let (place, changed) = open();
            threads.spawn(move || {
                for number in 1..=ROUNDS {
                    let mut guard = changed.wait_while(place.lock().unwrap(), |place| **place != 0).unwrap();
                    *guard = number;
                    if number % 2 == 0 {
                        changed.notify_one().unwrap();
                        drop(guard);
                    } else {
                        drop(guard);
                        changed.notify_all().unwrap();
                    }
                }
            });
            let (place, changed) = open();
            takers.push(threads.spawn(move || {
                let mut total = 0;
                for _ in 0..ROUNDS {
                    let mut guard = changed.wait_while(place.lock().unwrap(), |place| **place == 0).unwrap();
                    total += std::mem::take(&mut *guard);
                    drop(guard);
                    changed.notify_one().unwrap();
                }
                total
            }));
        }
        takers.into_iter().map(|taker| returns("a taker", || taker.join().unwrap())).sum::<u64>()
    });
    assert_eq!(total, 2 * (ROUNDS * (ROUNDS + 1) / 2));
}

#[test]
fn a_process_that_dies_wakes_those_that_wait() {
    for (monitor, what) in [(true, "change"), (false, "change"), (true, "lock"), (false, "lock")] {
        let name = Name::new("dies");
        let space = name.open(options().monitor(monitor));
        let me = space.join().unwrap();
        let number = Locked::create(me.named("number"), &0u64).unwrap();
        let changed = Condvar::create(me.named("changed")).unwrap();
        std::thread::scope(|threads| {
            let waiter = waiter(threads, &number, &changed);
            let process = start(&name, what, "changed");
            process.kill();
            if !monitor {
                let _ = me.recover();
            }
            assert_eq!(returns("the waiter", || waiter.join().unwrap()), (1, what == "lock"));
        });
        assert!(space.check().is_clean());
    }
}

#[test]
fn a_waiter_that_is_stopped_or_killed_takes_no_notification() {
    let name = Name::new("stopped");
    let space = name.open(options());
    let me = space.join().unwrap();
    let number = Locked::create(me.named("number"), &0u64).unwrap();
    let changed = Condvar::create(me.named("changed")).unwrap();
    for is_killed in [false, true] {
        let mut process = start(&name, "wait", "waits");
        wait_until_asleep(process.id());
        std::thread::scope(|threads| {
            let waiter = waiter(threads, &number, &changed);
            process.stop();
            *number.lock().unwrap() = 1;
            changed.notify_one().unwrap();
            assert_eq!(returns("the waiter", || waiter.join().unwrap()), (1, false));
        });
        if is_killed {
            process.kill();
            *number.lock().unwrap() = 0;
        } else {
            process.signal(libc::SIGCONT);
            process.receive("taken");
            assert_eq!(*number.lock().unwrap(), 0);
            process.kill();
        }
    }
}

#[test]
fn processes_that_are_killed_anywhere_keep_nobody() {
    let name = Name::new("anywhere");
    let space = name.open(options());
    let me = space.join().unwrap();
    let number = Locked::create(me.named("number"), &1u64).unwrap();
    let changed = Condvar::create(me.named("changed")).unwrap();
    for round in 0..20 {
        let workers = [(); 2].map(|()| Process::start(&[&name.0, "work"]));
        for _ in 0..50 + 10 * (round % 7) {
            // What the dead has taken, another one puts there again.
            let (mut guard, _) = changed
                .wait_while_with(number.lock().unwrap(), SHORT, |number| {
                    **number == 0 && !number.is_damaged()
                })
                .unwrap();
            guard.repaired();
            *guard = 1;
            drop(guard);
            changed.notify_all().unwrap();
        }
        workers.into_iter().for_each(Process::kill);
        drop(number.lock_with(LONG).unwrap());
    }
    let _ = me.recover();
    let report = space.check();
    assert!(report.is_clean() && report.pending.is_empty(), "{report:?}");
}

#[test]
fn a_mutex_that_is_locked_twice_is_an_error() {
    let space = options().memfd().unwrap();
    let me = space.join().unwrap();
    let (mutex, changed) =
        (Mutex::options().recursive(true).create(&me).unwrap(), Condvar::create(&me).unwrap());
    let (once, twice) = (mutex.lock().unwrap(), mutex.lock().unwrap());
    assert!(matches!(changed.wait(twice).map(drop), Err(WaitError::LockedAgain { times: 1 })));
    let (once, end) = changed.wait_with(once, SHORT).unwrap();
    assert_eq!(end, WaitEnd::TimedOut);
    drop(once);
    assert!(matches!(mutex.unlock(), Err(WaitError::NotOwner)));
}

#[test]
fn a_forked_child_does_not_wait() {
    let space = options().memfd().unwrap();
    let me = space.join().unwrap();
    let (mutex, changed) = (Mutex::create(&me).unwrap(), Condvar::create(&me).unwrap());
    let guard = Cell::new(Some(mutex.lock().unwrap()));
    let status = in_fork(|| {
        assert!(matches!(changed.notify_all(), Err(WaitError::NotMember(_))));
        let waited = changed.wait(guard.take().unwrap());
        assert!(matches!(waited.map(drop), Err(WaitError::NotMember(_))));
        0
    });
    assert_eq!(status, 0);
    let (guard, end) = changed.wait_with(guard.take().unwrap(), SHORT).unwrap();
    assert_eq!(end, WaitEnd::TimedOut);
    drop(guard);
}

#[test]
fn a_signal_ends_an_interruptible_wait() {
    let space = options().memfd().unwrap();
    let me = space.join().unwrap();
    let (mutex, changed) = (Mutex::create(&me).unwrap(), Condvar::create(&me).unwrap());
    among_signals(|| {
        // A signal is no notification, and ends no other wait.
        let (guard, end) = changed.wait_with(mutex.lock().unwrap(), 4 * SHORT).unwrap();
        assert_eq!(end, WaitEnd::TimedOut);
        let interruptible = WaitOptions::new().timeout(LONG).interruptible();
        let (guard, end) = changed.wait_while_with(guard, interruptible, |_| true).unwrap();
        assert_eq!(end, WaitEnd::Interrupted);
        drop(guard);
    });
}
