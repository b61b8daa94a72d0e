//! Names across processes and in every backend: creation, opening, and the end of a name.
#![allow(
    clippy::undocumented_unsafe_blocks,
    reason = "raw values are this test's alone, and slices are compared at once"
)]
#![cfg(all(feature = "objects", feature = "typed"))]

mod common;

use std::collections::BTreeSet;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU32, Ordering};

use common::{Name, Process, eventually, in_fork, linger, role, say, scope};
use tenure::{
    Backend, CreateError, Kind, Member, NAME_MAX, Named, NamedError, OpenHandleError, Options, Space,
};

const KIND: Kind = Kind::raw(7);

fn small() -> Options {
    Space::options().handles(256).scratch(4 << 20)
}

/// A space in every backend that processes can share; it is removed afterwards.
fn shared(test: impl Fn(Space)) {
    let (shm, sysv) = (Name::new("names"), Name::new("names"));
    let directory = tempfile::tempdir_in("/dev/shm").unwrap();
    test(shm.open(small()));
    test(small().memfd().unwrap());
    test(small().anonymous().unwrap());
    test(small().open_file(directory.path().join("names")).unwrap());
    struct Remove<'n>(&'n str);
    impl Drop for Remove<'_> {
        fn drop(&mut self) {
            let _ = Space::remove(Backend::SysV, self.0, true);
        }
    }
    let _remove = Remove(&sysv.0);
    test(small().backend(Backend::SysV).open(&sysv.0).unwrap());
}

fn spaces(test: impl Fn(Space)) {
    test(small().private().unwrap());
    test(Space::options().tiny().private().unwrap());
    shared(test);
}

fn names(space: &Space) -> Vec<String> {
    space.names().into_iter().map(|info| info.name).collect()
}

#[track_caller]
fn assert_clean(space: &Space) {
    let report = space.check_quiet();
    assert!(report.is_clean() && report.pending.is_empty(), "{report:#?}");
}

#[test]
fn a_name_lives_as_long_as_somebody_holds_what_has_it() {
    spaces(|space| {
        let (a, b) = (space.join().unwrap(), space.join().unwrap());
        for payload in [&b""[..], b"short", &[7; 32], &[8; 33], &[9; 500]] {
            let handle = a.create_raw_named("jobs", KIND, payload).unwrap();
            let token = handle.token();
            assert_eq!((handle.get().unwrap(), handle.name().unwrap()), (payload, Some("jobs")));
            let opened = b.open_raw_named("jobs", KIND).unwrap();
            assert_eq!((opened.get().unwrap(), opened.name().unwrap()), (payload, Some("jobs")));
            assert_eq!(b.open_raw(KIND, token).unwrap().name().unwrap(), Some("jobs"));
            assert_eq!(a.look_up("jobs").unwrap(), (KIND, token));
            let [info] = &space.names()[..] else { panic!("{:?}", space.names()) };
            assert_eq!((&*info.name, info.kind, info.token, info.holders), ("jobs", KIND, token, 2));
            assert_clean(&space);

            let again = b.create_raw_named("jobs", KIND, b"");
            assert!(
                matches!(again, Err(CreateError::NameTaken { token: found }) if found == token),
                "{again:?}"
            );
            drop(handle);
            assert_eq!(a.open_raw_named("jobs", KIND).unwrap().get().unwrap(), payload);
            drop(opened);
            let gone = a.open_raw_named("jobs", KIND);
            assert!(matches!(gone, Err(OpenHandleError::NoSuchName)), "{gone:?}");
            assert!(space.names().is_empty());
            assert_clean(&space);
        }
        let nameless = a.create_raw(KIND, &[1; 100]).unwrap();
        assert_eq!(nameless.name().unwrap(), None);
    });
}

/// The second creator finds no memory for its value while the first one has not entered the name yet.
#[test]
fn who_loses_a_race_for_the_last_memory_opens_what_the_winner_made() {
    const BYTES: usize = 24 << 20;
    let space = Space::options().handles(64).scratch(32 << 20).anonymous().unwrap();
    let (a, b) = (space.join().unwrap(), space.join().unwrap());
    let value = vec![7; BYTES];
    for round in 0..5 {
        let barrier = Barrier::new(2);
        let race = |me: &Member| {
            barrier.wait();
            me.create_or_open_raw("large", KIND, &value).map(|named| (named.is_created(), named.into_inner()))
        };
        let [one, other] = std::thread::scope(|scope| {
            [&a, &b].map(|me| scope.spawn(|| race(me))).map(|racer| racer.join().unwrap().unwrap())
        });
        assert!(one.0 != other.0, "round {round}: exactly one creates");
        assert_eq!(one.1.token(), other.1.token());
    }
    assert_clean(&space);
}

/// No process is creating the object of that name: the error is returned.
#[test]
fn create_or_open_without_room_says_so() {
    let space = Space::options().handles(64).scratch(4 << 20).anonymous().unwrap();
    let (a, b) = (space.join().unwrap(), space.join().unwrap());
    let _held = a.create_raw(KIND, &vec![7; 3 << 20]).unwrap();
    let error = b.create_or_open_raw("large", KIND, &vec![7; 3 << 20]).unwrap_err();
    assert!(matches!(error, NamedError::Create(CreateError::Scratch(_))), "{error}");
    assert_clean(&space);
}

#[test]
fn create_or_open_says_which_it_did() {
    spaces(|space| {
        let (a, b) = (space.join().unwrap(), space.join().unwrap());
        let first = a.create_or_open("counter", &7u64).unwrap();
        let second = b.create_or_open("counter", &8u64).unwrap();
        assert!(first.is_created() && !second.is_created());
        let (first, second) = (first.into_inner(), second.into_inner());
        assert_eq!((first.token(), second.get().unwrap().to_native()), (second.token(), 7));
        assert_eq!(b.open_named::<u64>("counter").unwrap().token(), first.token());
        // An object of another type has the name.
        let other = b.create_or_open_raw("counter", KIND, b"");
        assert!(matches!(other, Err(NamedError::Open(OpenHandleError::ForeignKind { .. }))), "{other:?}");
        assert!(matches!(b.open_named::<u32>("counter"), Err(OpenHandleError::ForeignKind { .. })));
        assert!(matches!(a.create_named("counter", &1u32), Err(CreateError::NameTaken { .. })));
        // Those attempts left nothing behind.
        assert_eq!(space.stats().handles_live, 1);
        drop((first, second));
        assert!(b.create_or_open_raw("counter", KIND, b"").unwrap().is_created());
        assert_clean(&space);
    });
}

#[test]
fn what_can_be_a_name() {
    let space = small().private().unwrap();
    let me = space.join().unwrap();
    let long = "x".repeat(NAME_MAX);
    let same = ["queue", "Queue", "queue ", "queu\u{e9}", "que\0ue", " ", &long, &long[1..]];
    let held: Vec<_> =
        same.iter().map(|name| me.create_raw_named(name, KIND, name.as_bytes()).unwrap()).collect();
    for name in same {
        assert_eq!(me.open_raw_named(name, KIND).unwrap().get().unwrap(), name.as_bytes());
    }
    let expected: BTreeSet<_> = same.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(names(&space), expected.into_iter().collect::<Vec<_>>());
    for bad in [String::new(), "y".repeat(NAME_MAX + 1)] {
        let error = me.create_raw_named(&bad, KIND, b"").unwrap_err();
        assert!(matches!(error, CreateError::BadName { found } if found == bad.len()), "{error}");
        assert!(matches!(me.open_raw_named(&bad, KIND), Err(OpenHandleError::NoSuchName)));
        assert!(matches!(
            me.create_or_open(&bad, &1u8),
            Err(NamedError::Create(CreateError::BadName { .. }))
        ));
    }
    assert_clean(&space);
    drop(held);
    assert_clean(&space);
}

/// Every handle has a name, ten thousand of them; the names end with the handles.
#[test]
fn thousands_of_names() {
    let space = Space::options().handles(10_000).scratch(16 << 20).anonymous().unwrap();
    let (me, other) = (space.join().unwrap(), space.join().unwrap());
    let name = |i: usize| format!("queue/{i:05}");
    // Handles that the other process claimed ahead are not available here.
    let held: Vec<_> =
        (0..9_900).map(|i| me.create_raw_named(&name(i), KIND, &i.to_le_bytes()).unwrap()).collect();
    for (i, handle) in held.iter().enumerate() {
        assert_eq!(other.open_raw_named(&name(i), KIND).unwrap().token(), handle.token());
    }
    assert_eq!(names(&space), (0..9_900).map(name).collect::<Vec<_>>());
    assert_clean(&space);
    drop(held);
    assert!(space.names().is_empty());
    assert_eq!(space.stats().blocks_attached, 0);
}

const PROCESSES: u32 = 4;
const ROUNDS: usize = 100;

/// The memory that racing processes share besides the space.
struct Race {
    arrived: [AtomicU32; ROUNDS],
    done: [AtomicU32; ROUNDS],
    created: [AtomicU32; ROUNDS],
}

impl Race {
    fn new() -> &'static Self {
        let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: fresh zeroed pages, never unmapped, valid as counters.
        unsafe { &*libc::mmap(std::ptr::null_mut(), size_of::<Self>(), access, flags, -1, 0).cast::<Self>() }
    }

    fn meet(counter: &AtomicU32) {
        counter.fetch_add(1, Ordering::SeqCst);
        // If one process fails, the others end as well.
        eventually("all of them meet", || counter.load(Ordering::SeqCst) >= PROCESSES);
    }

    /// Creates or opens the same names as all others, at the same time.
    fn run(&self, me: &Member) {
        for round in 0..ROUNDS {
            // Half of the names end with the round, and are created again.
            let name = format!("round {}", if round % 2 == 0 { round } else { 1 });
            Self::meet(&self.arrived[round]);
            let handle = me.create_or_open_raw(&name, KIND, &round.to_le_bytes()).unwrap();
            self.created[round].fetch_add(u32::from(handle.is_created()), Ordering::SeqCst);
            let handle = handle.into_inner();
            assert_eq!(handle.get().unwrap(), round.to_le_bytes());
            assert_eq!(me.look_up(&name).unwrap(), (KIND, handle.token()));
            Self::meet(&self.done[round]);
        }
    }

    fn assert_one_each(&self) {
        let created: Vec<_> = self.created.iter().map(|count| count.load(Ordering::SeqCst)).collect();
        assert_eq!(created, [1; ROUNDS]);
    }
}

#[test]
fn of_racing_processes_exactly_one_creates() {
    shared(|space| {
        let race = Race::new();
        scope("all processes of the race end", |scope| {
            for _ in 0..PROCESSES {
                scope.spawn(|| {
                    let code = in_fork(|| {
                        let me = space.join().unwrap();
                        race.run(&me);
                        me.leave().unwrap();
                        0
                    });
                    assert_eq!(code, 0, "{}", space.backend());
                });
            }
        });
        race.assert_one_each();
        assert!(space.names().is_empty());
        assert_clean(&space);
    });
}

#[test]
fn of_racing_members_exactly_one_creates() {
    let space = small().private().unwrap();
    let race = Race::new();
    scope("all members of the race are done", |scope| {
        (0..PROCESSES).for_each(|_| drop(scope.spawn(|| race.run(&space.join().unwrap()))));
    });
    race.assert_one_each();
    assert_clean(&space);
}

#[test]
fn of_racing_threads_of_a_member_exactly_one_creates() {
    let space = small().private().unwrap();
    let (me, race) = (space.join().unwrap(), Race::new());
    scope("all threads of the race are done", |scope| {
        (0..PROCESSES).for_each(|_| drop(scope.spawn(|| race.run(&me))))
    });
    race.assert_one_each();
    drop(me);
    assert_clean(&space);
}

#[test]
fn names_are_taken_and_left_at_the_same_time() {
    let space = small().private().unwrap();
    let barrier = Barrier::new(4);
    scope("all threads take and leave names", |scope| {
        for thread in 0..4u64 {
            let (space, barrier) = (&space, &barrier);
            scope.spawn(move || {
                let me = space.join().unwrap();
                barrier.wait();
                for step in 0..3000u64 {
                    let name = format!("n{}", (step * 7 + thread) % 3);
                    match step % 3 {
                        0 => match me.create_named(&name, &step) {
                            Ok(handle) => assert_eq!(handle.name().unwrap(), Some(&*name)),
                            Err(CreateError::NameTaken { .. }) => {}
                            Err(error) => panic!("{error}"),
                        },
                        1 => match me.open_named::<u64>(&name) {
                            Ok(handle) => assert_eq!(handle.name().unwrap(), Some(&*name)),
                            Err(OpenHandleError::NoSuchName) => {}
                            Err(error) => panic!("{error}"),
                        },
                        _ => {
                            let named = me.create_or_open(&name, &step).unwrap();
                            let own = matches!(named, Named::Created(_));
                            let handle = named.into_inner();
                            let value = handle.get().unwrap().to_native();
                            assert!(!own || value == step);
                            // While the handle is held, no other object can have the name.
                            assert_eq!(me.look_up(&name).unwrap().1, handle.token());
                        }
                    }
                }
            });
        }
    });
    assert!(space.names().is_empty());
    assert_clean(&space);
}

#[test]
fn mutexes_events_and_semaphores_by_name() {
    use tenure::{Event, Mutex, Reset, Semaphore};
    spaces(|space| {
        let (a, b) = (space.join().unwrap(), space.join().unwrap());
        let mutex = Mutex::create_or_open(&a, "mutex", true).unwrap();
        let same = Mutex::create_or_open(&b, "mutex", false).unwrap();
        assert!(mutex.is_created() && !same.is_created());
        let (mutex, same) = (mutex.into_inner(), same.into_inner());
        // With the properties of the first creation.
        assert!(mutex.is_recursive() && same.is_recursive() && mutex.token() == same.token());
        let guard = mutex.lock().unwrap();
        assert!(same.try_lock().is_err());
        drop(guard);
        assert!(!same.try_lock().unwrap().abandoned());
        drop(same);

        for (name, reset) in [("manual", Reset::Manual), ("automatic", Reset::Auto)] {
            let event = Event::create_named(&a, name, reset, false).unwrap();
            let same = Event::open_named(&b, name).unwrap();
            event.set().unwrap();
            same.wait(None).unwrap();
            assert_eq!((same.resets(), same.is_set().unwrap()), (reset, reset == Reset::Manual));
            let other = if reset == Reset::Manual { Reset::Auto } else { Reset::Manual };
            assert!(!Event::create_or_open(&b, name, reset, false).unwrap().is_created());
            let error = Event::create_or_open(&b, name, other, false).unwrap_err();
            assert!(matches!(error, NamedError::Open(OpenHandleError::ForeignKind { .. })), "{error}");
        }

        let semaphore = Semaphore::create_named(&a, "semaphore", 1, 2).unwrap();
        let same = Semaphore::create_or_open(&b, "semaphore", 5, 7).unwrap().into_inner();
        same.acquire(None).unwrap();
        assert_eq!((same.maximum(), semaphore.count().unwrap()), (2, 0));
        semaphore.release(2).unwrap();
        assert_eq!(Semaphore::open_named(&b, "semaphore").unwrap().count().unwrap(), 2);
        let taken = Mutex::create_named(&b, "semaphore", false).map(drop);
        assert!(
            matches!(taken, Err(CreateError::NameTaken { token }) if token == semaphore.token()),
            "{taken:?}"
        );
        assert!(matches!(Mutex::open_named(&b, "semaphore"), Err(OpenHandleError::ForeignKind { .. })));

        let kinds: Vec<_> = space.names().into_iter().map(|info| info.kind.to_string()).collect();
        assert_eq!(kinds, ["mutex", "semaphore"]);
        assert_clean(&space);
        drop((mutex, semaphore, same));
        assert_eq!(space.names(), []);
    });
}

#[test]
fn a_named_mutex_whose_owner_is_killed_is_abandoned() {
    let name = Name::new("abandoned");
    let space = name.open(small());
    let me = space.join().unwrap();
    let mut child = Process::start(&[&name.0, "mutex!", "mutex"]);
    child.receive("ready").unwrap();
    let mutex = tenure::Mutex::open_named(&me, "mutex").unwrap();
    assert!(mutex.try_lock().is_err());
    child.kill();
    assert!(mutex.lock().unwrap().abandoned());
    assert!(!mutex.lock().unwrap().abandoned());
    drop(mutex);
    // A recoverer of the dead member first abandons the mutex, then releases the handle.
    eventually("the name ends", || space.names().is_empty());
}

#[test]
fn processes_by_name() {
    let space = small().private().unwrap();
    let (a, b) = (space.join().unwrap(), space.join().unwrap());
    let process = tenure::Process::create_named(&a, "us", std::process::id()).unwrap();
    let same = tenure::Process::open_named(&b, "us").unwrap();
    assert_eq!((same.pid(), same.token()), (std::process::id(), process.token()));
    assert!(tenure::Process::create_named(&b, "us", std::process::id()).is_err());
    assert!(tenure::Thread::open_named(&b, "us").is_err());
    // For any given number, the result is the object of that name.
    let found = tenure::Process::create_or_open(&b, "us", std::process::id()).unwrap();
    assert!(!found.is_created());
    assert_eq!(found.into_inner().token(), process.token());
    // Also for the number of a process that is gone.
    let found = tenure::Process::create_or_open(&b, "us", u32::MAX).unwrap();
    assert!(!found.is_created());
    assert_eq!(found.into_inner().token(), process.token());
    assert!(tenure::Thread::create_or_open(&b, "us", std::process::id()).is_err());
    drop((process, same));
    assert!(tenure::Process::open_named(&b, "us").is_err());
    let made = tenure::Process::create_or_open(&b, "us", std::process::id()).unwrap();
    assert!(made.is_created());
    assert_eq!(tenure::Process::open_named(&a, "us").unwrap().token(), made.into_inner().token());
    // No process has that number, so no object gets the name.
    assert!(tenure::Process::create_or_open(&b, "nobody", u32::MAX).is_err());
    assert!(tenure::Process::open_named(&b, "nobody").is_err());
    assert_clean(&space);
}

#[test]
fn descriptors_by_name() {
    use std::io::{Read, Write};
    let space = small().anonymous().unwrap();
    let (a, b) = (space.join().unwrap(), space.join().unwrap());
    let (mut reader, writer) = std::io::pipe().unwrap();
    let theirs = tenure::Descriptor::create_named(&a, "out", writer).unwrap();
    let ours = tenure::Descriptor::open_named(&b, "out").unwrap();
    std::fs::File::from(ours.duplicate().unwrap()).write_all(b"hello").unwrap();
    // Another pipe, closed when an object of that name exists already.
    let (mut closed, other) = std::io::pipe().unwrap();
    let again = tenure::Descriptor::create_or_open(&b, "out", other).unwrap();
    assert!(!again.is_created());
    assert_eq!(closed.read(&mut [0]).unwrap(), 0);
    let same = again.into_inner();
    assert_eq!(same.token(), theirs.token());
    assert_clean(&space);
    drop((theirs, ours, same));
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert_eq!((&*text, space.names().len()), ("hello", 0));
    let (_, writer) = std::io::pipe().unwrap();
    assert!(tenure::Descriptor::create_or_open(&a, "out", writer).unwrap().is_created());
}

#[test]
fn child() {
    let Some(role) = role() else { return };
    let space = small().attach(&role[0]).unwrap();
    let me = space.join().unwrap();
    if role[1] == "mutex!" {
        let mutex = tenure::Mutex::create_or_open(&me, &role[2], false).unwrap().into_inner();
        let guard = mutex.lock().unwrap();
        say("ready", guard.abandoned());
        linger();
        return;
    }
    let held: Vec<_> =
        role[1..].iter().map(|name| me.create_or_open(name, &1u32).unwrap().into_inner()).collect();
    say("ready", held.len());
    linger();
}

#[test]
fn names_end_with_killed_holders() {
    let name = Name::new("killed");
    let space = name.open(small());
    let me = space.join().unwrap();
    let kept = me.create_named("kept", &0u32).unwrap();
    let mut child = Process::start(&[&name.0, "kept", "lost", "taken over"]);
    child.receive("ready").unwrap();
    assert_eq!(names(&space), ["kept", "lost", "taken over"]);
    let over = me.open_named::<u32>("taken over").unwrap();
    child.kill();
    // The monitor recovers; it gets the death notification.
    eventually("a dead holder's name ends", || names(&space) == ["kept", "taken over"]);
    assert!(matches!(me.open_named::<u32>("lost"), Err(OpenHandleError::NoSuchName)));
    assert!(me.create_or_open("lost", &2u32).unwrap().is_created());
    assert_eq!((over.get().unwrap().to_native(), kept.get().unwrap().to_native()), (1, 0));
    drop((over, kept));
    // The reference of the dead member to the handle taken over may be the last one to be recovered.
    eventually("all names end", || space.names().is_empty());
    me.leave().unwrap();
    assert_clean(&space);
}

/// Names of handles that are closed without a destructor.
#[test]
fn locals_have_names() {
    spaces(|space| {
        let me = space.join().unwrap();
        let mut local = me.local();
        let held = local.create_named("raw", KIND, b"bytes").unwrap();
        let again = local.create_or_open("raw", KIND, b"others").unwrap();
        assert!(!again.is_created());
        assert_eq!(unsafe { local.get(&again.into_inner()) }.unwrap(), b"bytes");
        let opened = local.open_named("raw", KIND).unwrap();
        assert_eq!(local.token(&opened), local.token(&held));
        for _ in 0..3 {
            assert!(local.open_named("raw", KIND).is_ok());
            unsafe { local.close(held) }.unwrap();
            unsafe { local.close(held) }.unwrap();
        }
        assert!(matches!(local.open_named("raw", KIND), Err(OpenHandleError::NoSuchName)));
        drop(local);
        assert_clean(&space);
    });
}
