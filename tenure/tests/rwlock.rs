//! `RwLock`: readers together, writers alone, whoever of them is killed or stopped.
#![cfg(feature = "objects")]

#[path = "common/answers.rs"]
mod answers;
mod common;

use std::cell::Cell;
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use answers::{timed_out, would_block};
use common::{Name, Process, among_signals, eventually, in_fork, position, role, say, start};
use tenure::{
    Space,
    error::{CreateError, OpenHandleError, WaitError},
    sync::{Mutex, RwLock, RwLockState, WaitOptions},
};

fn options() -> tenure::Options {
    Space::options().members(8).handles(64).scratch(1 << 20)
}

const LONG: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(5);

/// Has the lock, or waits for it, until it is killed; arguments: the space, what.
#[test]
fn child() {
    let Some(role) = role() else { return };
    let me = Space::options().attach(&role[0]).unwrap().join().unwrap();
    let lock = RwLock::open(&me, "lock").unwrap();
    match role[1].as_str() {
        "read" => {
            let _guards = (lock.read().unwrap(), lock.read().unwrap());
            say("has it", "");
            common::linger();
        }
        "write" => {
            let _guard = lock.write().unwrap();
            say("has it", "");
            common::linger();
        }
        "claim" => {
            say("waits", "");
            let guard = lock.write().unwrap();
            say("told", if guard.abandoned() { "yes" } else { "no" });
            drop(guard);
            common::linger();
        }
        _ => loop {
            drop(lock.read().unwrap());
            if lock.write().unwrap().abandoned() {
                say("told", "");
            }
        },
    }
}

#[test]
fn readers_are_together_and_a_writer_is_alone() {
    let space = options().memfd().unwrap();
    let (me, other) = (space.join().unwrap(), space.join().unwrap());
    let lock = RwLock::create(me.named("lock")).unwrap();
    let theirs = RwLock::open(&other, lock.token()).unwrap();
    assert_eq!(lock.state().unwrap(), RwLockState::Free);
    {
        let _three = (lock.read().unwrap(), lock.try_read().unwrap(), theirs.read_with(LONG).unwrap());
        assert_eq!(lock.state().unwrap(), RwLockState::Read { members: 2 });
        would_block(lock.try_write());
        timed_out(theirs.write_with(SHORT));
        // Who gave up keeps nobody waiting.
        drop(theirs.try_read().unwrap());
    }
    let writing = lock.write().unwrap();
    assert!(matches!(lock.state().unwrap(), RwLockState::Written { lease, .. } if lease == me.lease().index));
    would_block(theirs.try_read());
    timed_out(theirs.read_with(SHORT));
    would_block(theirs.try_write());
    timed_out(theirs.write_with(SHORT));
    // Of this thread.
    assert!(matches!(lock.read().map(drop), Err(WaitError::Deadlock)));
    assert!(matches!(lock.try_read().map(drop), Err(WaitError::Deadlock)));
    assert!(matches!(lock.write().map(drop), Err(WaitError::Deadlock)));
    assert!(matches!(lock.unlock_read(), Err(WaitError::NotOwner)));
    drop(writing);
    assert!(matches!(lock.unlock_write(), Err(WaitError::NotOwner)));
    assert_eq!(lock.state().unwrap(), RwLockState::Free);
    // Without guards.
    assert!(!lock.acquire_read(None).unwrap() && !theirs.acquire_read(SHORT).unwrap());
    lock.unlock_read().unwrap();
    theirs.unlock_read().unwrap();
    assert!(!theirs.acquire_write(LONG).unwrap());
    theirs.unlock_write().unwrap();

    assert!(matches!(RwLock::create(me.named("lock")), Err(CreateError::NameTaken { .. })));
    assert!(!RwLock::create_or_open(&other, "lock").unwrap().is_created());
    assert!(matches!(Mutex::open(&other, lock.token()), Err(OpenHandleError::ForeignKind { .. })));
    assert!(matches!(RwLock::open(&other, "none"), Err(OpenHandleError::NoSuchName)));
    let mutex = Mutex::create(&me).unwrap();
    assert!(matches!(RwLock::open(&other, mutex.token()), Err(OpenHandleError::ForeignKind { .. })));
    let report = space.check();
    assert!(report.is_clean() && report.pending.is_empty(), "{report:?}");
}

#[test]
fn threads_see_whole_changes() {
    const ROUNDS: u64 = 20_000;
    let space = options().anonymous().unwrap();
    let members = [space.join().unwrap(), space.join().unwrap()];
    let lock = RwLock::create(&members[0]).unwrap();
    let numbers = [AtomicU64::new(0), AtomicU64::new(0)];
    let read = |lock: &RwLock| {
        let _guard = lock.read().unwrap();
        // Relaxed: the lock orders them.
        let [one, two] = [0, 1].map(|at: usize| numbers[at].load(Ordering::Relaxed));
        assert_eq!(one, two, "read in the middle of a change");
        one
    };
    std::thread::scope(|threads| {
        for member in &members {
            for is_writer in [true, false, false] {
                let (lock, numbers) = (RwLock::open(member, lock.token()).unwrap(), &numbers);
                threads.spawn(move || {
                    let mut last = 0;
                    for _ in 0..ROUNDS / 10 {
                        if is_writer {
                            let _guard = lock.write().unwrap();
                            for number in numbers {
                                number.store(number.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
                            }
                        }
                        for _ in 0..5 {
                            let now = read(&lock);
                            assert!(now >= last);
                            last = now;
                        }
                    }
                });
            }
        }
    });
    assert_eq!(read(&lock), 2 * (ROUNDS / 10));
    assert_eq!(lock.state().unwrap(), RwLockState::Free);
}

#[test]
fn a_killed_reader_keeps_no_writer_waiting() {
    for monitor in [true, false] {
        let name = Name::new("reader");
        let space = name.open(options().monitor(monitor));
        let me = space.join().unwrap();
        let lock = RwLock::create(me.named("lock")).unwrap();
        for _ in 0..3 {
            let reader = start(&name, "read", "has it");
            timed_out(lock.write_with(SHORT));
            // One that is stopped has the lock.
            reader.signal(libc::SIGSTOP);
            timed_out(lock.write_with(SHORT));
            drop(lock.read_with(SHORT).unwrap());
            std::thread::scope(|threads| {
                let writer = threads.spawn(|| lock.write_with(LONG).unwrap().abandoned());
                eventually("the writer waits", || {
                    matches!(lock.state().unwrap(), RwLockState::Written { .. })
                });
                reader.kill();
                assert!(!writer.join().unwrap(), "a reader leaves nothing unfinished");
            });
            assert_eq!(lock.state().unwrap(), RwLockState::Free);
        }
        assert!(space.check().is_clean());
    }
}

#[test]
fn a_killed_writer_is_told_of() {
    for monitor in [true, false] {
        let name = Name::new("writer");
        let space = name.open(options().monitor(monitor));
        let me = space.join().unwrap();
        let lock = RwLock::create(me.named("lock")).unwrap();
        let writer = start(&name, "write", "has it");
        timed_out(lock.read_with(SHORT));
        timed_out(lock.write_with(SHORT));
        std::thread::scope(|threads| {
            let readers = [(); 3].map(|()| threads.spawn(|| lock.read_with(LONG).unwrap().abandoned()));
            std::thread::sleep(SHORT);
            writer.kill();
            assert_eq!(readers.map(|reader| reader.join().unwrap()), [true; 3]);
        });
        assert_eq!(lock.state().unwrap(), RwLockState::Abandoned);
        assert!(lock.read().unwrap().abandoned());
        // A writer that gives up leaves it to the next one.
        let reading = lock.read().unwrap();
        timed_out(lock.write_with(SHORT));
        would_block(lock.try_write());
        assert!(lock.read().unwrap().abandoned());
        drop(reading);
        assert!(lock.write().unwrap().abandoned());
        assert!(!lock.write().unwrap().abandoned() && !lock.read().unwrap().abandoned());
        assert!(space.check().is_clean());
    }
}

/// No stream of readers keeps a writer waiting: readers that come later wait for it. Killed meanwhile, it keeps nobody.
#[test]
fn a_writer_that_waits_goes_before_new_readers() {
    let name = Name::new("claim");
    let space = name.open(options());
    let me = space.join().unwrap();
    let lock = RwLock::create(me.named("lock")).unwrap();
    let is_claimed = || matches!(lock.state().unwrap(), RwLockState::Written { .. });
    for is_killed in [false, true] {
        let reading = lock.read().unwrap();
        let mut writer = start(&name, "claim", "waits");
        eventually("the writer has claimed it", is_claimed);
        would_block(lock.try_read());
        timed_out(lock.read_with(SHORT));
        if is_killed {
            writer.kill();
            // It had claimed the lock: nobody can tell that it changed nothing.
            assert!(lock.read_with(LONG).unwrap().abandoned());
            drop(reading);
        } else {
            drop(reading);
            assert_eq!(writer.receive("told").as_deref(), Some("no"));
            drop(lock.write_with(LONG).unwrap());
            writer.kill();
        }
    }
    assert!(lock.write_with(LONG).unwrap().abandoned());
    assert!(space.check().is_clean());
}

#[test]
fn processes_that_are_killed_anywhere_keep_nobody() {
    let name = Name::new("anywhere");
    let space = name.open(options());
    let me = space.join().unwrap();
    let lock = RwLock::create(me.named("lock")).unwrap();
    let until = Instant::now() + Duration::from_secs(2);
    let mut rounds = 0;
    while rounds < 20 || Instant::now() < until && rounds < 60 {
        rounds += 1;
        let workers = [(); 2].map(|()| Process::start(&[&name.0, "work"]));
        for round in 0..50 + 10 * (rounds % 7) {
            let _ = lock.read_with(LONG).unwrap().abandoned();
            if round % 5 == 0 {
                drop(lock.write_with(LONG).unwrap());
            }
        }
        workers.into_iter().for_each(Process::kill);
        drop(lock.write_with(LONG).unwrap());
    }
    let _ = me.recover();
    drop(lock.write_with(LONG).unwrap());
    assert_eq!(lock.state().unwrap(), RwLockState::Free);
    let report = space.check();
    assert!(report.is_clean() && report.pending.is_empty(), "{report:?}");
}

#[test]
fn the_last_close_of_a_member_unlocks() {
    let space = options().memfd().unwrap();
    let (me, other) = (space.join().unwrap(), space.join().unwrap());
    let lock = RwLock::create(&me).unwrap();
    let theirs = RwLock::open(&other, lock.token()).unwrap();
    let second = theirs.try_clone().unwrap();
    theirs.acquire_read(None).unwrap();
    std::mem::forget(second.read().unwrap());
    drop(second);
    would_block(lock.try_write());
    drop(theirs);
    assert!(!lock.try_write().unwrap().abandoned());
    let theirs = RwLock::open(&other, lock.token()).unwrap();
    theirs.acquire_write(None).unwrap();
    drop(theirs);
    assert!(lock.try_read().unwrap().abandoned() && lock.try_write().unwrap().abandoned());
}

#[test]
fn a_forked_child_has_no_lock() {
    let space = options().memfd().unwrap();
    let me = space.join().unwrap();
    let lock = RwLock::create(&me).unwrap();
    let guards = Cell::new(Some([lock.read().unwrap(), lock.read().unwrap()]));
    let status = in_fork(|| {
        assert!(matches!(lock.read().map(drop), Err(WaitError::NotMember(_))));
        assert!(matches!(lock.write().map(drop), Err(WaitError::NotMember(_))));
        assert!(matches!(lock.unlock_read(), Err(WaitError::NotMember(_))));
        drop(guards.take());
        0
    });
    assert_eq!(status, 0);
    assert_eq!(lock.state().unwrap(), RwLockState::Read { members: 1 });
}

#[test]
fn corrupted_words_are_errors_and_findings() {
    const READERS: u64 = 12_345;
    let space = options().memfd().unwrap();
    let me = space.join().unwrap();
    let lock = RwLock::create(&me).unwrap();
    (0..READERS).for_each(|_| assert!(!lock.acquire_read(None).unwrap()));
    let (file, at) = position(&space, READERS);
    let store = |at: u64, word: u64| file.write_all_at(&word.to_le_bytes(), at).unwrap();
    let finds = |what: &str| {
        let report = space.check();
        let found = report.violations.iter().chain(&report.pending).any(|found| found.contains(what));
        assert!(found, "{what}: {report:?}");
    };
    assert!(space.check().is_clean());
    // Readers of a lease that does not hold the lock: no writer waits for them for ever.
    store(at, 0);
    store(at + 64, 7);
    finds("lease 1 has 7 readers and does not hold it");
    let waited = lock.write_with(LONG);
    assert!(
        matches!(&waited, Err(WaitError::Corrupt(what)) if what.contains("7 readers of lease 1")),
        "{waited:?}"
    );
    drop(waited);
    store(at + 64, 0);
    drop(lock.write().unwrap());
    // More readers than there can be.
    store(at, 1 << 30);
    assert!(matches!(lock.read().map(drop), Err(WaitError::TooDeep { limit: 0x4000_0000 })));
    store(at, 1 << 32 | 1);
    finds("is not the readers' word of lease 0");
    store(at, 0);
    // The word of the writers.
    store(at - 64, 0xfff);
    finds("is not the word of a mutex");
    assert!(matches!(lock.read().map(drop), Err(WaitError::Corrupt(_))));
    assert!(matches!(lock.write().map(drop), Err(WaitError::Corrupt(_))));
    store(at - 64, 0);
    drop(lock.read().unwrap());
    assert!(space.check().is_clean());
}

#[test]
fn a_signal_ends_an_interruptible_wait() {
    let space = options().memfd().unwrap();
    let (me, other) = (space.join().unwrap(), space.join().unwrap());
    let lock = RwLock::create(&me).unwrap();
    let theirs = RwLock::open(&other, lock.token()).unwrap();
    let guard = theirs.read().unwrap();
    among_signals(|| {
        let waited = lock.write_with(WaitOptions::new().timeout(LONG).interruptible());
        assert!(matches!(waited.map(drop), Err(WaitError::Interrupted)));
        drop(guard);
        let writing = theirs.write().unwrap();
        let waited = lock.read_with(WaitOptions::new().timeout(LONG).interruptible());
        assert!(matches!(waited.map(drop), Err(WaitError::Interrupted)));
        drop(writing);
    });
    assert_eq!(lock.state().unwrap(), RwLockState::Free);
}
