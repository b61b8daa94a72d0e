//! Sets of waits with a descriptor, waits for objects and descriptors, and condition variables of tasks.
#![cfg(feature = "objects")]

mod common;

use std::io::Write;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use common::{Name, Process, in_fork, listen, returns, role, say};
use tenure::error::WaitError;
use tenure::process;
use tenure::sync::{
    Available, Condvar, Event, Locked, Mutex, MutexState, Reset, Semaphore, WaitSet, Woken, wait_all,
    wait_any, wait_any_or_fd,
};
use tenure::{Options, Space};

const LONG: Duration = Duration::from_secs(60);

fn options() -> Options {
    Space::options().members(8).handles(4096).scratch(4 << 20)
}

/// Whether the descriptor is readable now.
fn is_readable(fd: impl AsFd) -> bool {
    let mut polled = libc::pollfd { fd: fd.as_fd().as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one entry.
    assert!(unsafe { libc::poll(&raw mut polled, 1, 0) } >= 0);
    polled.revents & libc::POLLIN != 0
}

#[test]
fn child() {
    let Some(role) = role() else { return };
    let me = Space::options().attach(&role[0]).unwrap().join().unwrap();
    match role[1].as_str() {
        // Locks the value, begins to change it, and waits to be killed.
        "change" => {
            let total = Locked::<u64>::open(&me, "total").unwrap();
            let mut guard = total.lock().unwrap();
            *guard = 1;
            say("changing", "");
            listen();
        }
        // Has the condition variable open, and waits to be killed.
        "notify" => {
            let _changed = Condvar::open(&me, "changed").unwrap();
            say("open", "");
            listen();
        }
        other => panic!("{other}"),
    }
}

#[test]
fn the_descriptor_is_readable_as_long_as_there_is_something_to_take() {
    let space = options().memfd().unwrap();
    let (me, other) = (space.join().unwrap(), space.join().unwrap());
    let events: Vec<_> = (0..3).map(|_| Event::create(&me, Reset::Auto).unwrap()).collect();
    let theirs: Vec<_> = events.iter().map(|event| Event::open(&other, event.token()).unwrap()).collect();
    let mut waits = WaitSet::new(&me).unwrap();
    assert!(!is_readable(&waits));
    assert!(waits.take().unwrap().is_none());
    for (tag, event) in (7..).zip(&events) {
        waits.insert(tag, event.wait_async());
    }
    // They begin.
    assert!(is_readable(&waits));
    assert!(waits.take().unwrap().is_none());
    assert!(!is_readable(&waits));
    assert!(matches!(waits.wait(Some(Duration::ZERO)), Err(WaitError::TimedOut)));
    for round in 0..50 {
        let (first, second) = (round % 3, (round + 1) % 3);
        theirs[first].set().unwrap();
        let (tag, result) = waits.wait(LONG).unwrap();
        result.unwrap();
        assert_eq!(tag, 7 + first as u64);
        // Both, and one that nobody sets.
        waits.insert(tag, events[first].wait_async());
        theirs[second].set().unwrap();
        theirs[first].set().unwrap();
        let mut tags = [waits.wait(LONG).unwrap().0, waits.wait(LONG).unwrap().0];
        tags.sort_unstable();
        let mut expected = [7 + first as u64, 7 + second as u64];
        expected.sort_unstable();
        assert_eq!(tags, expected);
        assert_eq!(waits.len(), 1);
        for index in [first, second] {
            assert!(!events[index].is_set().unwrap());
            waits.insert(7 + index as u64, events[index].wait_async());
        }
        assert!(waits.take().unwrap().is_none());
        assert!(!is_readable(&waits), "round {round}");
    }
}

#[test]
fn a_wait_that_is_removed_or_replaced_takes_nothing() {
    let space = options().memfd().unwrap();
    let me = space.join().unwrap();
    let permits = Semaphore::create(&me, 0, 100).unwrap();
    let mut waits = WaitSet::new(&me).unwrap();
    waits.insert(1, permits.acquire_async());
    assert!(waits.take().unwrap().is_none());
    waits.insert(1, permits.acquire_async());
    waits.insert(2, permits.acquire_async());
    assert!(waits.take().unwrap().is_none());
    assert_eq!(waits.len(), 2);
    permits.release(1).unwrap();
    // Woken, and not taken yet.
    assert!(waits.remove(1) && !waits.remove(1));
    assert_eq!(waits.wait(LONG).unwrap().0, 2);
    assert_eq!(permits.count().unwrap(), 0);
    assert!(waits.is_empty());
    waits.insert(3, permits.acquire_async());
    assert!(waits.take().unwrap().is_none());
    drop(waits);
    // Nobody is there whom it could wake.
    permits.release(1).unwrap();
    assert_eq!(permits.count().unwrap(), 1);
}

/// The wakers of futures outlive the set, and its descriptor does not outlive it.
#[test]
fn wakers_that_are_late_wake_nobody() {
    let space = options().memfd().unwrap();
    let me = space.join().unwrap();
    let mut kept: Option<Waker> = None;
    let cell = Arc::new(std::sync::Mutex::new(&mut kept));
    let mut waits = WaitSet::new(&me).unwrap();
    let number = waits.as_fd().as_raw_fd();
    let polls = AtomicU32::new(0);
    waits.insert(
        1,
        std::future::poll_fn(|context: &mut Context<'_>| {
            **cell.lock().unwrap() = Some(context.waker().clone());
            if polls.fetch_add(1, Ordering::Relaxed) == 2 { Poll::Ready(()) } else { Poll::Pending }
        }),
    );
    assert!(waits.take().unwrap().is_none());
    let waker = cell.lock().unwrap().clone().unwrap();
    for _ in 0..3 {
        waker.wake_by_ref();
    }
    // One look for the three.
    assert!(is_readable(&waits) && waits.take().unwrap().is_none());
    assert_eq!(polls.load(Ordering::Relaxed), 2);
    waker.wake_by_ref();
    assert_eq!(waits.take().unwrap(), Some((1, ())));
    waker.wake_by_ref();
    assert!(is_readable(&waits) && waits.take().unwrap().is_none() && !is_readable(&waits));
    waits.insert(1, std::future::pending());
    waker.wake_by_ref();
    assert!(waits.take().unwrap().is_none());
    waker.wake_by_ref();
    drop(waits);
    waker.wake();
    // SAFETY: fails for a descriptor that is not open.
    assert_eq!(unsafe { libc::fcntl(number, libc::F_GETFD) }, -1);
}

/// Far more than an array of objects has room for, and locks of other members among them.
#[test]
fn thousands_wait_in_one_set() {
    const WAITS: u64 = 3000;
    let space = options().memfd().unwrap();
    let (me, other) = (space.join().unwrap(), space.join().unwrap());
    let events: Vec<_> = (0..WAITS).map(|_| Event::create(&me, Reset::Auto).unwrap()).collect();
    let mutex = Mutex::create(&me).unwrap();
    let theirs = Mutex::open(&other, mutex.token()).unwrap();
    let mut waits = WaitSet::new(&me).unwrap();
    for (tag, event) in (0..).zip(&events) {
        waits.insert(tag, async { event.wait_async().await.map(|()| None) });
    }
    waits.insert(WAITS, async { mutex.lock_async().await.map(Some) });
    theirs.acquire(None).unwrap();
    assert!(waits.take().unwrap().is_none());
    let seen = thread::scope(|scope| {
        let setter = scope.spawn(|| {
            for event in events.iter().rev() {
                Event::open(&other, event.token()).unwrap().set().unwrap();
            }
        });
        let mut seen = vec![false; WAITS as usize + 1];
        for round in 0..=WAITS {
            if round == WAITS {
                theirs.unlock().unwrap();
            }
            let (tag, result) = waits.wait(LONG).unwrap();
            let guard = result.unwrap();
            assert_eq!(guard.is_some(), tag == WAITS);
            assert!(!std::mem::replace(&mut seen[tag as usize], true));
        }
        returns("all are set", || setter.join()).unwrap();
        seen
    });
    assert!(seen.iter().all(|seen| *seen) && waits.is_empty());
    assert_eq!(mutex.state().unwrap(), MutexState::Free);
}

#[test]
fn a_forked_child_takes_nothing() {
    let space = options().memfd().unwrap();
    let me = space.join().unwrap();
    let go = Event::create(&me, Reset::Auto).unwrap();
    let mut waits = WaitSet::new(&me).unwrap();
    waits.insert(1, go.wait_async());
    assert!(waits.take().unwrap().is_none());
    let mut waits = Some(waits);
    let status = in_fork(|| {
        let mut waits = waits.take().unwrap();
        let refused = matches!(waits.take(), Err(WaitError::NotMember(_)))
            && matches!(waits.wait(None), Err(WaitError::NotMember(_)));
        drop(waits);
        i32::from(!refused)
    });
    assert_eq!(status, 0);
    let mut waits = waits.unwrap();
    go.set().unwrap();
    assert_eq!(waits.wait(LONG).unwrap().0, 1);
}

#[test]
fn objects_and_descriptors_are_waited_for_together() {
    let space = options().memfd().unwrap();
    let (me, other) = (space.join().unwrap(), space.join().unwrap());
    let stop = Event::create(&me, Reset::Auto).unwrap();
    let mutex = Mutex::create(&me).unwrap();
    let (first, mut peer) = UnixStream::pair().unwrap();
    let (second, ended) = UnixStream::pair().unwrap();
    let fds = [first.as_fd(), second.as_fd()];
    let now = Some(Duration::ZERO);
    assert!(matches!(wait_any_or_fd(&[&stop], &fds, now), Err(WaitError::TimedOut)));
    assert!(matches!(wait_any_or_fd(&[&stop], &fds, Duration::from_millis(1)), Err(WaitError::TimedOut)));
    assert!(matches!(wait_any_or_fd(&[], &[], now), Err(WaitError::TimedOut)));
    let theirs = Event::open(&other, stop.token()).unwrap();
    let object = |index| Available::Object(Woken { index, abandoned: false });
    for _ in 0..20 {
        thread::scope(|scope| {
            let waiter = scope.spawn(|| wait_any_or_fd(&[&stop], &fds, LONG));
            theirs.set().unwrap();
            assert_eq!(returns("the event is set", || waiter.join()).unwrap().unwrap(), object(0));
            let waiter = scope.spawn(|| wait_any_or_fd(&[&stop], &fds, LONG));
            peer.write_all(b"x").unwrap();
            let available = returns("a byte is there", || waiter.join()).unwrap().unwrap();
            assert_eq!(available, Available::Descriptor(0));
        });
        std::io::Read::read_exact(&mut &first, &mut [0]).unwrap();
        assert!(!stop.is_set().unwrap());
    }
    // An object comes first, also if a descriptor is readable; the owner is this thread.
    drop(ended);
    assert_eq!(wait_any_or_fd(&[&stop], &fds, None).unwrap(), Available::Descriptor(1));
    assert_eq!(wait_any_or_fd(&[&stop, &mutex], &fds, None).unwrap(), object(1));
    mutex.unlock().unwrap();
    let mut program = std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
    let process = process::Process::of_child(&me, &program).unwrap();
    let pidfd = process.pidfd().unwrap();
    assert!(matches!(wait_any_or_fd(&[&process], &[pidfd.as_fd()], now), Err(WaitError::TimedOut)));
    drop(program.stdin.take());
    assert_eq!(wait_any_or_fd(&[], &[pidfd.as_fd()], LONG).unwrap(), Available::Descriptor(0));
    program.wait().unwrap();
    assert!(process.pidfd().is_err());
}

#[test]
fn a_wait_for_several_says_which_one_failed() {
    let space = options().memfd().unwrap();
    let me = space.join().unwrap();
    let stop = Event::create(&me, Reset::Auto).unwrap();
    let mine = Mutex::create(&me).unwrap();
    mine.acquire(None).unwrap();
    let is_second = |error: WaitError| {
        assert!(error.to_string().starts_with("object 1: this thread owns the mutex"), "{error}");
        matches!(error, WaitError::Of { index: 1, error } if matches!(*error, WaitError::Deadlock))
    };
    assert!(is_second(wait_any(&[&stop, &mine], LONG).unwrap_err()));
    assert!(is_second(wait_any_or_fd(&[&stop, &mine], &[], LONG).unwrap_err()));
    stop.set().unwrap();
    assert!(is_second(wait_all(&[&stop, &mine], LONG).unwrap_err()));
    assert!(stop.is_set().unwrap());
    mine.unlock().unwrap();
}

#[test]
fn tasks_wait_with_condition_variables() {
    const ROUNDS: u64 = 200;
    let space = options().memfd().unwrap();
    let (me, other) = (space.join().unwrap(), space.join().unwrap());
    let (total, changed) = (Locked::create(&me, &0u64).unwrap(), Condvar::create(&me).unwrap());
    let theirs = (
        Locked::<u64>::open(&other, total.token()).unwrap(),
        Condvar::open(&other, changed.token()).unwrap(),
    );
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    // A task and a thread take turns.
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            for round in 0..ROUNDS {
                let guard = theirs.0.lock().unwrap();
                let mut guard = theirs.1.wait_while(guard, |total| **total != 2 * round + 1).unwrap();
                *guard += 1;
                drop(guard);
                theirs.1.notify_all().unwrap();
            }
        });
        runtime.block_on(async {
            for round in 0..ROUNDS {
                let mut guard = total.lock_async().await.unwrap();
                while *guard != 2 * round {
                    guard = changed.wait_async(guard).await.unwrap();
                }
                *guard += 1;
                drop(guard);
                changed.notify_all().unwrap();
            }
        });
        returns("all rounds", || thread.join()).unwrap();
    });
    assert_eq!(*total.lock().unwrap(), 2 * ROUNDS);

    // A wait that is dropped has given up the lock.
    let mutex = Mutex::create(&me).unwrap();
    let mut waits = WaitSet::new(&me).unwrap();
    waits.insert(1, async { changed.wait_async(mutex.lock_async().await?).await });
    assert!(waits.take().unwrap().is_none());
    drop(mutex.try_lock().unwrap());
    changed.notify_all().unwrap();
    drop(waits.wait(LONG).unwrap().1.unwrap());
    waits.insert(2, async { changed.wait_async(mutex.lock_async().await?).await });
    assert!(waits.take().unwrap().is_none());
    assert!(waits.remove(2));
    drop(mutex.try_lock().unwrap());
    // An owner that died while the task waited is told of.
    waits.insert(3, async { changed.wait_async(mutex.lock_async().await?).await });
    assert!(waits.take().unwrap().is_none());
    {
        let theirs = Mutex::open(&other, mutex.token()).unwrap();
        theirs.acquire(None).unwrap();
        changed.notify_all().unwrap();
    }
    assert!(waits.wait(LONG).unwrap().1.unwrap().abandoned());
}

#[test]
fn the_death_of_others_is_told_to_tasks() {
    let name = Name::new("wait-set-death");
    let space = name.open(options());
    let me = space.join().unwrap();
    let total = Locked::create(me.named("total"), &0u64).unwrap();
    let changed = Condvar::create(me.named("changed")).unwrap();
    let mut owner = Process::start(&[&name.0, "change"]);
    assert!(owner.receive("changing").is_some());
    let mut waits = WaitSet::new(&me).unwrap();
    waits.insert(1, total.lock_async());
    assert!(waits.take().unwrap().is_none());
    owner.kill_only();
    let (_, guard) = waits.wait(LONG).unwrap();
    let mut guard = guard.unwrap();
    assert!(guard.is_damaged() && *guard == 1);
    guard.repaired();
    let mut notifier = Process::start(&[&name.0, "notify"]);
    assert!(notifier.receive("open").is_some());
    let mut waiting = WaitSet::new(&me).unwrap();
    waiting.insert(1, changed.wait_async(guard));
    assert!(waiting.take().unwrap().is_none());
    notifier.kill_only();
    assert!(!waiting.wait(LONG).unwrap().1.unwrap().is_damaged());
}
