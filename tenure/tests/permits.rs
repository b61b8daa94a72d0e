//! `Permits`: none is lost and none is had twice, whoever has one, waits for one or gives one back is killed or stopped.
#![cfg(feature = "objects")]

#[path = "common/answers.rs"]
mod answers;
mod common;

use std::cell::Cell;
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use answers::{timed_out, would_block};
use common::threads::wait_until_asleep;
use common::{Name, Process, among_signals, eventually, in_fork, position, returns, role, say, start};
use tenure::{
    Space,
    error::{CreateError, OpenHandleError, WaitError},
    sync::{Permit, Permits, Semaphore, WaitOptions},
};

fn options() -> tenure::Options {
    Space::options().members(8).handles(64).scratch(1 << 20)
}

const LONG: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(5);

/// Has permits, or waits for them, until it is killed; arguments: the space, what.
#[test]
fn child() {
    let Some(role) = role() else { return };
    let me = Space::options().attach(&role[0]).unwrap().join().unwrap();
    let permits = Permits::open(&me, "permits").unwrap();
    match role[1].as_str() {
        "have" => {
            let _permits = [permits.acquire(None).unwrap(), permits.acquire(None).unwrap()];
            say("has two", "");
            common::linger();
        }
        "wait" => {
            say("waits", "");
            let _permit = permits.acquire(None).unwrap();
            say("has one", "");
            common::linger();
        }
        // With a few threads, so that some of them sleep.
        _ => std::thread::scope(|threads| {
            for _ in 0..3 {
                threads.spawn(|| {
                    loop {
                        drop(permits.acquire(None).unwrap());
                        drop((permits.try_acquire(), permits.acquire(Duration::from_micros(10))));
                    }
                });
            }
        }),
    }
}

/// All permits, and no more.
fn take_all(permits: &Permits) -> Vec<Permit> {
    let all: Vec<_> = (0..permits.total()).map(|_| permits.acquire(LONG).unwrap()).collect();
    would_block(permits.try_acquire());
    assert_eq!(permits.available().unwrap(), 0);
    all
}

#[test]
fn permits_are_as_many_as_were_made() {
    let space = options().memfd().unwrap();
    let (me, other) = (space.join().unwrap(), space.join().unwrap());
    let permits = Permits::create(me.named("permits"), 3).unwrap();
    let theirs = Permits::open(&other, permits.token()).unwrap();
    assert_eq!((permits.total(), theirs.total(), permits.available().unwrap()), (3, 3, 3));
    let mut all = take_all(&theirs);
    would_block(permits.try_acquire());
    timed_out(permits.acquire(SHORT));
    drop(all.pop());
    assert_eq!(permits.available().unwrap(), 1);
    let mine = permits.acquire(LONG).unwrap();
    timed_out(theirs.acquire(SHORT));
    // In another thread, and after the object that it came from.
    let again = permits.clone();
    drop(permits);
    std::thread::spawn(move || drop(mine)).join().unwrap();
    assert_eq!(again.available().unwrap(), 1);
    drop(all);
    drop(take_all(&again));
    assert_eq!(again.available().unwrap(), 3);

    assert!(matches!(Permits::create(&me, 0), Err(CreateError::Permits { total: 0 })));
    assert!(matches!(Permits::create(&me, 65_537), Err(CreateError::Permits { .. })));
    let most = Permits::create(&me, Permits::MAXIMUM).unwrap();
    assert_eq!(most.available().unwrap(), 65_536);
    drop(most.acquire(None).unwrap());
    assert!(matches!(Permits::create(me.named("permits"), 1), Err(CreateError::NameTaken { .. })));
    let opened = Permits::create_or_open(&other, "permits", 1).unwrap();
    assert!(!opened.is_created());
    assert_eq!(opened.into_inner().total(), 3);
    assert!(matches!(Permits::open(&other, "none"), Err(OpenHandleError::NoSuchName)));
    assert!(matches!(Semaphore::open(&me, again.token()), Err(OpenHandleError::ForeignKind { .. })));
    let semaphore = Semaphore::create(&me, 1, 1).unwrap();
    assert!(matches!(Permits::open(&me, semaphore.token()), Err(OpenHandleError::ForeignKind { .. })));
    let report = space.check();
    assert!(report.is_clean() && report.pending.is_empty(), "{report:?}");
}

#[test]
fn a_number_is_one_acquire() {
    let space = options().memfd().unwrap();
    let (me, other) = (space.join().unwrap(), space.join().unwrap());
    let permits = Permits::create(&me, 2).unwrap();
    let theirs = Permits::open(&other, permits.token()).unwrap();
    let number = permits.acquire(None).unwrap().into_number();
    assert_eq!(theirs.available().unwrap(), 1);
    assert!(matches!(theirs.adopt(number), Err(WaitError::NotOwner)));
    // Two guards of one acquire give it back once.
    let twice = [permits.adopt(number).unwrap(), permits.adopt(number).unwrap()];
    let [one, two] = twice;
    drop(one);
    let others = [theirs.acquire(None).unwrap(), theirs.acquire(None).unwrap()];
    drop(two);
    assert_eq!(permits.available().unwrap(), 0);
    drop(others);
    let later = permits.acquire(None).unwrap();
    assert!(matches!(permits.adopt(number), Err(WaitError::NotOwner)));
    assert!(matches!(permits.adopt(u64::MAX), Err(WaitError::NotOwner)));
    drop(later);
    // The last close gives back what became a number.
    let second = Permits::open(&other, permits.token()).unwrap();
    let _ = theirs.acquire(None).unwrap().into_number();
    drop(theirs);
    assert_eq!(permits.available().unwrap(), 1);
    drop(second);
    assert_eq!(permits.available().unwrap(), 2);
    other.leave().unwrap();
}

#[test]
fn threads_are_never_more_than_permits() {
    const ROUNDS: u64 = 3000;
    for total in [1, 3] {
        let space = options().anonymous().unwrap();
        let members = [space.join().unwrap(), space.join().unwrap()];
        let permits = Permits::create(&members[0], total).unwrap();
        let (inside, plain) = (AtomicU64::new(0), AtomicU64::new(0));
        std::thread::scope(|threads| {
            for member in &members {
                for _ in 0..3 {
                    let (permits, inside) = (Permits::open(member, permits.token()).unwrap(), &inside);
                    let plain = &plain;
                    threads.spawn(move || {
                        for _ in 0..ROUNDS {
                            let permit = permits.acquire(None).unwrap();
                            // Relaxed, all: the permit orders them.
                            assert!(inside.fetch_add(1, Ordering::Relaxed) < u64::from(total));
                            if total == 1 {
                                plain.store(plain.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
                            }
                            inside.fetch_sub(1, Ordering::Relaxed);
                            drop(permit);
                        }
                    });
                }
            }
        });
        assert_eq!(permits.available().unwrap(), total);
        assert_eq!(plain.into_inner(), if total == 1 { 6 * ROUNDS } else { 0 });
    }
}

#[test]
fn the_permits_of_a_killed_process_come_back() {
    for monitor in [true, false] {
        let name = Name::new("killed");
        let space = name.open(options().monitor(monitor));
        let me = space.join().unwrap();
        let permits = Permits::create(me.named("permits"), 3).unwrap();
        for _ in 0..3 {
            let process = start(&name, "have", "has two");
            assert_eq!(permits.available().unwrap(), 1);
            let mine = permits.try_acquire().unwrap();
            timed_out(permits.acquire(SHORT));
            // One that is stopped has them.
            process.stop();
            timed_out(permits.acquire(SHORT));
            std::thread::scope(|threads| {
                let waiters = [(); 2].map(|()| threads.spawn(|| permits.acquire(None).unwrap()));
                process.kill();
                let both = returns("those that wait", || waiters.map(|waiter| waiter.join().unwrap()));
                assert_eq!(permits.available().unwrap(), 0);
                drop((both, mine));
            });
            assert_eq!(permits.available().unwrap(), 3);
        }
        assert!(space.check().is_clean());
    }
}

#[test]
fn a_waiter_that_is_stopped_or_killed_keeps_nobody() {
    let name = Name::new("waits");
    let space = name.open(options());
    let me = space.join().unwrap();
    let permits = Permits::create(me.named("permits"), 1).unwrap();
    let mine = permits.acquire(None).unwrap();
    let process = start(&name, "wait", "waits");
    wait_until_asleep(process.id());
    process.stop();
    drop(mine); // wakes it
    let mine = permits.acquire(LONG).unwrap();
    std::thread::scope(|threads| {
        let waiter = threads.spawn(|| permits.acquire(None).unwrap());
        drop(mine);
        returns("the other one", || drop(waiter.join().unwrap()));
    });
    process.kill();
    eventually("it is free", || permits.available().unwrap() == 1);
}

#[test]
fn processes_that_are_killed_anywhere_lose_no_permit() {
    let name = Name::new("anywhere");
    let space = name.open(options());
    let me = space.join().unwrap();
    let permits = Permits::create(me.named("permits"), 2).unwrap();
    for round in 0..20 {
        let workers = [(); 2].map(|()| Process::start(&[&name.0, "work"]));
        for _ in 0..50 + 10 * (round % 7) {
            drop(permits.acquire(LONG).unwrap());
        }
        workers.into_iter().for_each(Process::kill);
        drop(take_all(&permits));
    }
    let _ = me.recover();
    assert_eq!(permits.available().unwrap(), 2);
    let report = space.check();
    assert!(report.is_clean() && report.pending.is_empty(), "{report:?}");
}

#[test]
fn a_forked_child_has_no_permit() {
    let space = options().memfd().unwrap();
    let me = space.join().unwrap();
    let permits = Permits::create(&me, 2).unwrap();
    let permit = Cell::new(Some(permits.acquire(None).unwrap()));
    let status = in_fork(|| {
        assert!(matches!(permits.acquire(None).map(drop), Err(WaitError::NotMember(_))));
        assert!(matches!(permits.available(), Err(WaitError::NotMember(_))));
        drop(permit.take());
        0
    });
    assert_eq!(status, 0);
    assert_eq!(permits.available().unwrap(), 1);
}

#[test]
fn corrupted_words_are_errors_and_findings() {
    const TOTAL: u32 = 12_345;
    let space = options().memfd().unwrap();
    let (me, other) = (space.join().unwrap(), space.join().unwrap());
    let permits = Permits::create(&me, TOTAL).unwrap();
    let all = take_all(&permits);
    let (file, at) = position(&space, TOTAL.into());
    let first = at + 56;
    let store = |at: u64, word: u64| file.write_all_at(&word.to_le_bytes(), at).unwrap();
    let finds = |what: &str| {
        let report = space.check();
        let found = report.violations.iter().chain(&report.pending).any(|found| found.contains(what));
        assert!(found, "{what}: {report:?}");
    };
    assert!(space.check().is_clean());
    // A permit of a lease that does not hold them: nobody waits for it for ever.
    store(first, 1 << 16 | 8);
    finds("lease 7 has permit 0 and does not hold it");
    let waited = permits.acquire(LONG);
    assert!(
        matches!(&waited, Err(WaitError::Corrupt(what)) if what.contains("lease 7 has a permit")),
        "{waited:?}"
    );
    drop(waited);
    store(first, 1 << 16 | 300);
    finds("is not the word of a permit");
    assert!(matches!(permits.acquire(LONG).map(drop), Err(WaitError::Corrupt(_))));
    // Its owner cannot give it back.
    drop(all);
    assert_eq!(permits.available().unwrap(), TOTAL - 1);
    store(first, 1 << 16);
    drop(take_all(&permits));
    // Their number.
    for wrong in [0, 12_344, 1 << 40] {
        store(at, wrong);
        finds("words are none of permits");
        assert!(matches!(Permits::open(&other, permits.token()), Err(OpenHandleError::Corrupt(_))));
    }
    drop(permits.acquire(None).unwrap());
    store(at, TOTAL.into());
    assert!(space.check().is_clean());
}

#[test]
fn a_signal_ends_an_interruptible_wait() {
    let space = options().memfd().unwrap();
    let me = space.join().unwrap();
    let permits = Permits::create(&me, 1).unwrap();
    let _mine = permits.acquire(None).unwrap();
    among_signals(|| {
        timed_out(permits.acquire(4 * SHORT));
        let waited = permits.acquire(WaitOptions::new().timeout(LONG).interruptible());
        assert!(matches!(waited.map(drop), Err(WaitError::Interrupted)));
    });
}
