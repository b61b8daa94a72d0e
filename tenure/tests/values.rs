//! `Locked` and `Versioned`: values that outlive whoever changes them, killed in the middle included.
#![cfg(feature = "objects")]

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};

use common::{Name, Process, in_fork, role, say};
use tenure::{
    Kind, Space,
    error::{CreateError, NamedError, OpenHandleError, ReadOnly, WaitError},
    sync::{Locked, Mutex, Versioned},
};

/// Odd in length, so that the last word is not whole.
type Value = [u8; 1021];

fn options() -> tenure::Options {
    Space::options().members(8).handles(64).scratch(1 << 20)
}

/// Writes without an end; arguments: the space, what.
#[test]
fn child() {
    let Some(role) = role() else { return };
    let me = Space::options().attach(&role[0]).unwrap().join().unwrap();
    if role[1] == "damage" {
        let locked = Locked::<Value>::open(&me, "value").unwrap();
        let mut guard = locked.lock().unwrap();
        guard[0] = 9;
        say("locked", "");
        common::linger();
        guard[1] = 9;
    }
    let value = Versioned::<Value>::open(&me, "value").unwrap();
    say("writing", "");
    for round in (0..=u8::MAX).cycle() {
        value.write(&[round; 1021]).unwrap();
        if round == u8::MAX {
            value.update(|value| value.fill(0)).unwrap();
        }
    }
}

#[test]
fn whoever_dies_in_a_change_leaves_a_damaged_value_until_somebody_repairs_it() {
    let name = Name::new("damaged");
    let space = name.open(options());
    let me = space.join().unwrap();
    let locked = Locked::<Value>::create(me.named("value"), &[1; 1021]).unwrap();
    assert!(!locked.lock().unwrap().is_damaged());
    let mut process = Process::start(&[&name.0, "damage"]);
    process.receive("locked");
    assert!(matches!(locked.try_lock(), Err(WaitError::WouldBlock)));
    process.kill();
    {
        let guard = locked.lock().unwrap();
        assert_eq!((guard[0], guard[1], guard.is_damaged()), (9, 1, true));
    }
    // Told to each owner, not only to the first.
    let other = space.join().unwrap();
    let theirs = Locked::<Value>::open(&other, locked.token()).unwrap();
    for _ in 0..2 {
        assert!(theirs.lock().unwrap().is_damaged());
        assert!(locked.lock_with(None).unwrap().is_damaged());
    }
    {
        let mut guard = theirs.lock().unwrap();
        guard[0] = 1;
        guard.repaired();
    }
    let guard = locked.lock().unwrap();
    assert_eq!((&guard[..], guard.is_damaged()), (&[1; 1021][..], false));
    drop(guard);
    assert!(space.check().is_clean());
}

#[test]
fn a_panic_in_a_change_leaves_a_damaged_value() {
    let me = options().private().unwrap().join().unwrap();
    let locked = Locked::create(&me, &[1u64, 2]).unwrap();
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let mut guard = locked.lock().unwrap();
        guard[0] = 7;
        panic!("on purpose");
    }));
    assert!(panicked.is_err());
    let mut guard = locked.lock().unwrap();
    assert!(guard.is_damaged() && guard[0] == 7);
    guard.repaired();
    drop(guard);
    // A guard of a thread that was panicking before damages nothing.
    struct LocksInDrop<'a>(&'a Locked<[u64; 2]>);
    impl Drop for LocksInDrop<'_> {
        fn drop(&mut self) {
            self.0.lock().unwrap()[1] = 3;
        }
    }
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let _locks = LocksInDrop(&locked);
        panic!("on purpose");
    }));
    assert!(panicked.is_err());
    let guard = locked.lock().unwrap();
    assert_eq!((*guard, guard.is_damaged()), ([7, 3], false));
}

#[test]
fn writers_that_are_killed_leave_whole_versions_and_no_reader_waits() {
    let name = Name::new("versions");
    let space = name.open(options());
    let me = space.join().unwrap();
    let value = Versioned::<Value>::create(me.named("value"), &[0; 1021]).unwrap();
    let is_whole = |value: &Value| value.iter().all(|byte| *byte == value[0]);
    let mut before = 0;
    for round in 0..20 {
        let mut process = Process::start(&[&name.0, "write"]);
        process.receive("writing");
        for _ in 0..200 + 10 * round {
            let now = value.version().unwrap();
            assert!(now >= before && is_whole(&value.read().unwrap()), "torn at version {now}");
            before = now;
        }
        if round % 2 == 0 {
            // Perhaps in the middle of a write: readers do not wait.
            process.signal(libc::SIGSTOP);
            (0..100).for_each(|_| assert!(is_whole(&value.read().unwrap())));
        }
        process.kill();
        assert!(is_whole(&value.read().unwrap()));
        let written = value.write(&[7; 1021]).unwrap();
        assert_eq!((value.version().unwrap(), value.read().unwrap()), (written, [7; 1021]));
    }
    assert!(space.check().is_clean());
}

#[test]
fn threads_lose_no_update() {
    let space = options().anonymous().unwrap();
    let me = space.join().unwrap();
    let (locked, versioned) =
        (Locked::create(&me, &0u64).unwrap(), Versioned::create(&me, &[0u64; 5]).unwrap());
    let is_over = AtomicBool::new(false);
    std::thread::scope(|threads| {
        let reader = threads.spawn(|| {
            let mut last = 0;
            while !is_over.load(Ordering::Relaxed) {
                let read = versioned.read().unwrap();
                assert!(read.iter().all(|number| *number == read[0]) && read[0] >= last, "{read:?}");
                last = read[0];
            }
        });
        let writers: Vec<_> = (0..2)
            .map(|_| {
                threads.spawn(|| {
                    for _ in 0..5000 {
                        *locked.lock().unwrap() += 1;
                        versioned
                            .update(|numbers| numbers.iter_mut().for_each(|number| *number += 1))
                            .unwrap();
                    }
                })
            })
            .collect();
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        is_over.store(true, Ordering::Relaxed);
        reader.join().unwrap();
    });
    assert_eq!((*locked.lock().unwrap(), versioned.read().unwrap()), (10_000, [10_000; 5]));
    assert_eq!(versioned.version().unwrap(), 10_000);
    assert!(matches!(
        {
            let _first = locked.lock().unwrap();
            locked.try_lock().map(drop)
        },
        Err(WaitError::Deadlock)
    ));
}

#[test]
fn what_is_of_another_type_is_refused() {
    let space = options().memfd().unwrap();
    let (me, other) = (space.join().unwrap(), space.join().unwrap());
    let locked = Locked::create(me.named("locked"), &7u64).unwrap();
    let versioned = Versioned::create(me.named("versioned"), &7u64).unwrap();
    let mutex = Mutex::create(&me).unwrap();
    macro_rules! foreign {
        ($($open:expr),*) => {
            $(assert!(matches!($open.map(drop), Err(OpenHandleError::ForeignKind { .. }))));*
        };
    }
    foreign!(
        Locked::<i64>::open(&other, locked.token()),
        Locked::<[u64; 2]>::open(&other, "locked"),
        Locked::<u64>::open(&other, versioned.token()),
        Versioned::<u64>::open(&other, locked.token()),
        Versioned::<u32>::open(&other, versioned.token()),
        Mutex::open(&other, locked.token()),
        Mutex::open(&other, "versioned"),
        Locked::<u64>::open(&other, mutex.token()),
        other.open_raw(Kind::raw(1), locked.token())
    );
    let taken = Locked::create(me.named("locked"), &7u64);
    assert!(matches!(taken, Err(CreateError::NameTaken { .. })));
    let other_type = Locked::create_or_open(&other, "locked", &7u8);
    assert!(matches!(other_type, Err(NamedError::Open(OpenHandleError::ForeignKind { .. }))));
    assert!(matches!(Locked::<u64>::open(&other, "none"), Err(OpenHandleError::NoSuchName)));
    let token = locked.token();
    drop(locked);
    assert!(matches!(Locked::<u64>::open(&other, token), Err(OpenHandleError::Stale { .. })));

    let names: Vec<_> = space.names().into_iter().map(|name| name.kind.to_string()).collect();
    assert_eq!(names, ["versioned value"]);
    drop((versioned, mutex));
    assert!(space.check().is_clean() && space.stats().handles_live == 0);
}

#[test]
fn a_reader_and_a_forked_child_change_nothing() {
    let space = options().memfd().unwrap();
    let me = space.join().unwrap();
    let (locked, versioned) = (Locked::create(&me, &7u64).unwrap(), Versioned::create(&me, &7u64).unwrap());
    let fd = space.fd().unwrap().try_clone_to_owned().unwrap();
    let reader = Space::options().read_only(true).from_fd(fd).unwrap().join().unwrap();
    let theirs = Locked::<u64>::open(&reader, locked.token()).unwrap();
    let changed = catch_unwind(AssertUnwindSafe(|| *theirs.lock().unwrap() = 8));
    assert!(changed.is_err());
    // A panic of the program while it had the lock, for whatever reason.
    let mut guard = locked.lock().unwrap();
    assert_eq!((*guard, guard.is_damaged()), (7, true));
    guard.repaired();
    drop(guard);
    let theirs = Versioned::<u64>::open(&reader, versioned.token()).unwrap();
    assert!(matches!(theirs.write(&8), Err(WaitError::ReadOnly(ReadOnly))));
    assert!(matches!(theirs.update(|value| *value = 8), Err(WaitError::ReadOnly(ReadOnly))));
    assert_eq!(theirs.read().unwrap(), 7);
    assert!(Locked::create(&reader, &7u64).is_err());

    let guard = locked.lock().unwrap();
    let status = in_fork(|| {
        let refused = catch_unwind(AssertUnwindSafe(|| *guard)).is_err()
            && versioned.read().is_err()
            && versioned.write(&8).is_err()
            && locked.try_lock().is_err();
        i32::from(!refused)
    });
    assert_eq!(status, 0);
    drop(guard);
    assert_eq!((*locked.lock().unwrap(), versioned.read().unwrap()), (7, 7));
}
