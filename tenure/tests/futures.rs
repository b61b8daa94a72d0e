//! Waits as futures: on tokio and on a bare executor, between members and processes, cancelled, many at once.
#![cfg(all(feature = "objects", feature = "typed"))]

mod common;

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use common::{Name, Process, in_fork, listen, returns, role, say};
use tenure::collections::Queue;
use tenure::error::WaitError;
use tenure::process;
use tenure::sync::{Event, Mutex, MutexState, Permits, Reset, RwLock, Semaphore};
use tenure::{Options, Space};

/// The smallest executor: it polls one future, and parks.
struct Parked(Thread, AtomicBool);

impl Wake for Parked {
    fn wake(self: Arc<Self>) {
        self.1.store(true, Ordering::Release);
        self.0.unpark();
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let parked = Arc::new(Parked(thread::current(), AtomicBool::new(true)));
    let waker = Waker::from(Arc::clone(&parked));
    loop {
        // A poll that nobody has asked for would be polling.
        if parked.1.swap(false, Ordering::Acquire) {
            if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
                return output;
            }
        } else {
            thread::park();
        }
    }
}

fn poll_once<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

fn options() -> Options {
    Space::options().members(8).handles(1024).scratch(4 << 20)
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap()
}

#[test]
fn child() {
    let Some(role) = role() else { return };
    let me = Space::options().attach(&role[0]).unwrap().join().unwrap();
    match role[1].as_str() {
        // Sets the event when it is told to.
        "set" => {
            let go = Event::open(&me, "go").unwrap();
            say("ready", "");
            listen();
            go.set().unwrap();
        }
        // Locks the mutex as a task does, and waits to be killed.
        "lock" => {
            let mutex = Mutex::open(&me, "mutex").unwrap();
            let _guard = block_on(mutex.lock_async()).unwrap();
            say("locked", "");
            listen();
        }
        other => panic!("{other}"),
    }
}

#[test]
fn each_object_is_awaited_on_a_bare_executor() {
    let space = options().memfd().unwrap();
    let (me, other) = (space.join().unwrap(), space.join().unwrap());
    for reset in [Reset::Manual, Reset::Auto] {
        let go = Event::create(&me, reset).unwrap();
        let theirs = Event::open(&other, go.token()).unwrap();
        thread::scope(|scope| {
            let waiter = scope.spawn(|| block_on(go.wait_async()));
            theirs.set().unwrap();
            returns("the event is set", || waiter.join()).unwrap().unwrap();
        });
        assert_eq!(go.is_set().unwrap(), reset == Reset::Manual);
    }
    let permits = Semaphore::create(&me, 0, 8).unwrap();
    let theirs = Semaphore::open(&other, permits.token()).unwrap();
    thread::scope(|scope| {
        let waiters = [(); 3].map(|()| scope.spawn(|| block_on(permits.acquire_async())));
        for _ in 0..3 {
            theirs.release(1).unwrap();
        }
        for waiter in waiters {
            returns("a permit is there", || waiter.join()).unwrap().unwrap();
        }
    });
    assert_eq!(permits.count().unwrap(), 0);
    let mut program = std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
    let process = process::Process::of_child(&me, &program).unwrap();
    thread::scope(|scope| {
        let waiter = scope.spawn(|| block_on(process.wait_async()));
        drop(program.stdin.take());
        let exit = returns("the process has ended", || waiter.join()).unwrap().unwrap();
        assert_eq!(exit, process::Exit::Code(0));
    });
    program.wait().unwrap();
}

#[test]
fn queues_permits_and_read_write_locks_are_awaited() {
    let space =
        Space::options().members(8).container_slots(64).handles(256).scratch(4 << 20).memfd().unwrap();
    let (me, other) = (space.join().unwrap(), space.join().unwrap());
    let jobs = Queue::<u64>::create(&me, 1).unwrap();
    let theirs = Queue::<u64>::open(&other, jobs.token()).unwrap();
    // One place: each push waits for a pop, and each pop for a push.
    const JOBS: u64 = 500;
    let runtime = runtime();
    let popped = thread::scope(|scope| {
        let consumer = scope.spawn(|| {
            block_on(async {
                let mut sum = 0;
                for job in 0..JOBS {
                    let number = if job % 2 == 0 {
                        theirs.pop_async().await.unwrap().get().unwrap().to_native()
                    } else {
                        let claim = theirs.claim_async().await.unwrap();
                        let number = claim.get().unwrap().to_native();
                        claim.ack().unwrap();
                        number
                    };
                    assert_eq!(number, job);
                    sum += number;
                }
                sum
            })
        });
        runtime.block_on(async {
            for job in 0..JOBS {
                jobs.push_async(&job).await.unwrap();
            }
        });
        returns("all jobs are popped", || consumer.join()).unwrap()
    });
    assert_eq!(popped, JOBS * (JOBS - 1) / 2);
    // A pop that is dropped takes nothing.
    let mut cancelled = Box::pin(jobs.pop_async());
    assert!(poll_once(cancelled.as_mut()).is_pending());
    theirs.push(&7).unwrap();
    drop(cancelled);
    assert_eq!(jobs.len().unwrap().waiting, 1);
    drop(block_on(jobs.pop_async()).unwrap());

    let permits = Permits::create(&me, 2).unwrap();
    let of_others = Permits::open(&other, permits.token()).unwrap();
    let taken = [block_on(permits.acquire_async()).unwrap(), block_on(of_others.acquire_async()).unwrap()];
    let mut waiting = Box::pin(permits.acquire_async());
    assert!(poll_once(waiting.as_mut()).is_pending());
    thread::scope(|scope| {
        let waiter = scope.spawn(|| block_on(waiting).map(drop));
        drop(taken);
        returns("a permit is free", || waiter.join()).unwrap().unwrap();
    });
    assert_eq!(permits.available().unwrap(), 2);

    let lock = RwLock::create(&me).unwrap();
    let of_others = RwLock::open(&other, lock.token()).unwrap();
    let reading = [block_on(lock.read_async()).unwrap(), block_on(of_others.read_async()).unwrap()];
    let mut writing = Box::pin(lock.write_async());
    assert!(poll_once(writing.as_mut()).is_pending());
    // The writer that waits keeps out readers, until it gives up.
    assert!(matches!(of_others.try_read(), Err(WaitError::WouldBlock)));
    drop(writing);
    drop(of_others.try_read().unwrap());
    thread::scope(|scope| {
        let writer = scope.spawn(|| block_on(of_others.write_async()).map(|guard| guard.abandoned()));
        drop(reading);
        assert!(!returns("the readers are gone", || writer.join()).unwrap().unwrap());
    });
    // A writer that is told of a dead one, and gives up, leaves that to the next.
    lock.acquire_write(None).unwrap();
    drop(lock);
    let reading = of_others.try_read().unwrap();
    assert!(reading.abandoned());
    let mut writing = Box::pin(of_others.write_async());
    assert!(poll_once(writing.as_mut()).is_pending());
    drop((writing, reading));
    assert!(block_on(of_others.write_async()).unwrap().abandoned());
    assert!(!block_on(of_others.read_async()).unwrap().abandoned());
}

/// A guard of a task goes through awaits and threads, and keeps out tasks of its own member, threads, and other members.
#[test]
fn a_task_owns_a_mutex() {
    const TASKS: u32 = 16;
    const ROUNDS: u32 = 50;
    let space = options().memfd().unwrap();
    let members = [space.join().unwrap(), space.join().unwrap()];
    let first = Mutex::create(members[0].named("mutex")).unwrap();
    // One count, changed in two steps, with an await between them.
    let (count, entered) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    runtime().block_on(async {
        let tasks: Vec<_> = (0..TASKS)
            .map(|task| {
                let mutex = Mutex::open(&members[task as usize % 2], "mutex").unwrap();
                let (count, entered) = (Arc::clone(&count), Arc::clone(&entered));
                tokio::spawn(async move {
                    for _ in 0..ROUNDS {
                        let guard = mutex.lock_async().await.unwrap();
                        assert!(!guard.abandoned() && entered.fetch_add(1, Ordering::Relaxed) == 0);
                        let before = count.load(Ordering::Relaxed);
                        tokio::task::yield_now().await;
                        count.store(before + 1, Ordering::Relaxed);
                        entered.fetch_sub(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
    });
    assert_eq!(count.load(Ordering::Relaxed), TASKS * ROUNDS);
    assert_eq!(first.state().unwrap(), MutexState::Free);

    let guard = block_on(first.lock_async()).unwrap();
    assert!(matches!(first.state().unwrap(), MutexState::Owned { thread: 0, .. }));
    assert!(matches!(first.try_lock(), Err(WaitError::WouldBlock)));
    assert!(matches!(first.unlock(), Err(WaitError::NotOwner)));
    assert!(poll_once(pin!(first.lock_async())).is_pending());
    thread::scope(|scope| scope.spawn(|| drop(guard)).join()).unwrap();
    block_on(first.lock_async()).unwrap().abandon().unwrap();
    assert!(first.lock().unwrap().abandoned());
    let recursive = Mutex::options().recursive(true).create(&members[0]).unwrap();
    let guard = block_on(recursive.lock_async()).unwrap();
    assert!(poll_once(pin!(recursive.lock_async())).is_pending());
    drop(guard);
    drop((recursive.lock().unwrap(), recursive.lock().unwrap()));
    assert!(space.check().is_clean());
}

#[test]
fn a_process_that_is_killed_hands_its_tasks_mutex_on() {
    let name = Name::new("futures-killed");
    let space = name.open(options());
    let me = space.join().unwrap();
    let mutex = Mutex::create(me.named("mutex")).unwrap();
    let mut owner = Process::start(&[&name.0, "lock"]);
    assert!(owner.receive("locked").is_some());
    thread::scope(|scope| {
        let waiter = scope.spawn(|| block_on(mutex.lock_async()).map(|guard| guard.abandoned()));
        owner.kill_only();
        assert!(returns("the owner is dead", || waiter.join()).unwrap().unwrap());
    });
}

#[test]
fn another_process_ends_a_wait() {
    let name = Name::new("futures-set");
    let space = name.open(options());
    let me = space.join().unwrap();
    let go = Event::create(me.named("go"), Reset::Auto).unwrap();
    let mut setter = Process::start(&[&name.0, "set"]);
    assert!(setter.receive("ready").is_some());
    runtime().block_on(async {
        // Not set yet: the executor's own timeout ends the wait.
        let timed_out = tokio::time::timeout(Duration::from_millis(1), go.wait_async()).await;
        assert!(timed_out.is_err());
        setter.tell("now");
        go.wait_async().await.unwrap();
    });
    assert!(!setter.was_killed());
}

/// A future that is dropped has taken nothing, and others get what it waited for.
#[test]
fn what_is_cancelled_takes_nothing() {
    let space = options().memfd().unwrap();
    let me = space.join().unwrap();
    let permits = Semaphore::create(&me, 0, 100).unwrap();
    for round in 0..100u32 {
        let mut cancelled = Box::pin(permits.acquire_async());
        assert!(poll_once(cancelled.as_mut()).is_pending());
        thread::scope(|scope| {
            let waiter = scope.spawn(|| block_on(permits.acquire_async()));
            let releaser = scope.spawn(|| permits.release(1));
            // At any moment of the others.
            for _ in 0..round {
                std::hint::spin_loop();
            }
            drop(cancelled);
            releaser.join().unwrap().unwrap();
            returns("the permit is there", || waiter.join()).unwrap().unwrap();
        });
        assert_eq!(permits.count().unwrap(), 0);
    }
}

/// Far more waits than threads: each is ended by its own event, and no other future is polled for it.
#[test]
fn thousands_wait_at_once() {
    const WAITS: usize = 3000;
    let space = Space::options().members(4).handles(4096).scratch(4 << 20).memfd().unwrap();
    let (me, other) = (space.join().unwrap(), space.join().unwrap());
    let events: Vec<_> = (0..WAITS).map(|_| Event::create(&me, Reset::Auto).unwrap()).collect();
    let tokens: Vec<_> = events.iter().map(Event::token).collect();
    let polls = Arc::new(AtomicU32::new(0));
    runtime().block_on(async {
        let tasks: Vec<_> = events
            .into_iter()
            .map(|event| {
                let polls = Arc::clone(&polls);
                tokio::spawn(async move {
                    let mut wait = pin!(event.wait_async());
                    std::future::poll_fn(|context| {
                        polls.fetch_add(1, Ordering::Relaxed);
                        wait.as_mut().poll(context)
                    })
                    .await
                })
            })
            .collect();
        for token in tokens.iter().rev() {
            Event::open(&other, *token).unwrap().set().unwrap();
        }
        for task in tasks {
            task.await.unwrap().unwrap();
        }
    });
    // One that is set before it is polled needs one poll, any other one two.
    assert!(polls.load(Ordering::Relaxed) as usize <= 2 * WAITS, "{polls:?}");
    drop(me);
    assert!(space.check().is_clean());
}

#[test]
fn a_forked_child_awaits_nothing() {
    let space = options().memfd().unwrap();
    let me = space.join().unwrap();
    let go = Event::create(&me, Reset::Auto).unwrap();
    let mut waiting = Box::pin(go.wait_async());
    assert!(poll_once(waiting.as_mut()).is_pending());
    let status = in_fork(|| {
        let refused = matches!(poll_once(waiting.as_mut()), Poll::Ready(Err(WaitError::NotMember(_))));
        let begun = matches!(block_on(go.wait_async()), Err(WaitError::NotMember(_)));
        drop(waiting);
        i32::from(!(refused && begun))
    });
    assert_eq!(status, 0);
    go.set().unwrap();
    block_on(go.wait_async()).unwrap();
}
