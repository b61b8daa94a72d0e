//! Queues with real threads and processes: in order, each element once; nothing is lost with a process, and a job is done at least once.
#![cfg(all(feature = "objects", feature = "typed"))]

mod common;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use common::threads::wait_until_asleep;
use common::{Name, Process, in_fork, role, say};
use proptest::prelude::*;
use tenure::{
    Handle, Kind, Options, Raw, Space,
    collections::Queue,
    error::{CreateError, NotMember, OpenHandleError, PutError, QueueError, UseError, WaitError},
    sync::{Event, Locked, Reset, wait_all, wait_any},
};

const KIND: Kind = Kind::raw(1);

fn options() -> Options {
    Space::options().members(16).handles(4096).scratch(8 << 20).container_slots(1024)
}

fn number(handle: &Handle<Raw>) -> u64 {
    u64::from_le_bytes(handle.get().unwrap()[..8].try_into().unwrap())
}

/// Arguments: the space, what.
#[test]
fn child() {
    let Some(role) = role() else { return };
    let me = Space::options().attach(&role[0]).unwrap().join().unwrap();
    let jobs = Queue::open_raw(&me, KIND, "jobs").unwrap();
    match &*role[1] {
        "work" => {
            let done = Locked::<Done>::open(&me, "done").unwrap();
            loop {
                let job = jobs.claim_with(None).unwrap();
                set(&mut done.lock().unwrap(), number(&job));
                job.ack().unwrap();
                say("one", "");
            }
        }
        "claim" => {
            let claims: Vec<_> = std::iter::from_fn(|| jobs.claim().unwrap()).collect();
            say("claimed", claims.len());
            common::linger();
        }
        "pop" => say("popped", number(&jobs.pop_with(None).unwrap())),
        "drained" => {
            jobs.wait_until_empty(None).unwrap();
            say("empty", jobs.len().unwrap().claimed);
        }
        "push" => {
            for job in 0.. {
                jobs.push_with(&bytes_of(job), None).unwrap();
                say("pushed", job);
            }
        }
        // Waits for any of three objects, and says which.
        "any" => {
            let stop = Event::open(&me, "stop").unwrap();
            let other = tenure::process::Process::of_pid(&me, role[2].parse().unwrap()).unwrap();
            loop {
                let woken = wait_any(&[&jobs, &stop, &other], None).unwrap().index;
                if woken == 0 {
                    say("woken", format!("job {}", number(&jobs.pop().unwrap().unwrap())));
                } else {
                    say("woken", ["", "stop", "end"][woken]);
                }
            }
        }
        other => panic!("{other}"),
    }
}

/// A bit for each job.
type Done = [u64; 48];

/// A worker that is killed here leaves whole words.
fn set(done: &mut Done, job: u64) {
    done[job as usize / 64] |= 1 << (job % 64);
}

/// Of various lengths: in the entry, and in a block.
fn bytes_of(job: u64) -> Vec<u8> {
    let mut bytes = vec![job as u8; 8 + (job % 5) as usize * 100];
    bytes[..8].copy_from_slice(&job.to_le_bytes());
    bytes
}

/// Whoever sleeps for an element learns of the death of its claimer, also without a monitor.
#[test]
fn what_a_dead_process_has_claimed_comes_back_to_a_member_without_a_monitor() {
    let name = Name::new("queue-unmonitored");
    let space = name.open(options().monitor(false));
    let me = space.join().unwrap();
    let jobs = Queue::create_raw(me.named("jobs"), KIND, 64).unwrap();
    jobs.push(&bytes_of(7)).unwrap();
    let mut claimer = Process::start(&[&name.0, "claim"]);
    assert_eq!(claimer.receive("claimed").as_deref(), Some("1"));
    common::scope("the element comes back", |scope| {
        let popper = scope.spawn(|| number(&jobs.pop_with(None).unwrap()));
        claimer.kill_only();
        assert_eq!(popper.join().unwrap(), 7);
    });
}

#[test]
fn each_element_leaves_once_and_in_order() {
    const EACH: u64 = 20_000;
    let space = options().anonymous().unwrap();
    let me = space.join().unwrap();
    for capacity in [1, 3, 64, 500] {
        let queue = Queue::<(u64, u64)>::create(&me, capacity).unwrap();
        let (left, seen) = (AtomicU64::new(2 * EACH), AtomicU64::new(0));
        common::scope("all elements leave", |scope| {
            for who in 0..2 {
                let queue = &queue;
                scope.spawn(move || (0..EACH).for_each(|n| queue.push_with(&(who, n), None).unwrap()));
            }
            for way in 0..3 {
                let (queue, left, seen) = (queue.try_clone().unwrap(), &left, &seen);
                scope.spawn(move || {
                    let mut next = [0, 0];
                    // Relaxed, all: counters, read after the threads have ended.
                    while left
                        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1))
                        .is_ok()
                    {
                        let element = if way == 0 {
                            let claim = queue.claim_with(None).unwrap();
                            let value = claim.get().map(|value| (value.0.to_native(), value.1.to_native()));
                            claim.ack().unwrap();
                            value
                        } else {
                            let handle = queue.pop_with(None).unwrap();
                            handle.get().map(|value| (value.0.to_native(), value.1.to_native()))
                        };
                        let (who, n) = element.unwrap();
                        assert!(n >= next[who as usize], "{n} of {who} after {next:?}");
                        next[who as usize] = n + 1;
                        seen.fetch_add(n + 1, Ordering::Relaxed);
                    }
                });
            }
        });
        assert_eq!(seen.into_inner(), 2 * (EACH * (EACH + 1) / 2));
        assert!(queue.is_empty().unwrap());
    }
    drop(me);
    assert!(space.check().is_clean());
    assert_eq!(space.stats().handles_live, 0);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Against a `VecDeque`, in one thread: claims that are given back come first.
    #[test]
    fn it_is_a_bounded_queue(capacity in 1..9u32, steps in prop::collection::vec(0..6u8, 1..400)) {
        use std::collections::VecDeque;

        let space = Space::options().handles(256).scratch(1 << 20).container_slots(64).private().unwrap();
        let me = space.join().unwrap();
        let queue = Queue::<u64>::create(&me, capacity).unwrap();
        let (mut model, mut claims, mut next) = (VecDeque::new(), Vec::new(), 0);
        for step in steps {
            match step {
                0..=2 => match queue.push(&next) {
                    Ok(()) => {
                        prop_assert!(model.len() < capacity as usize);
                        model.push_back(next);
                        next += 1;
                    }
                    Err(QueueError::Full { .. }) => prop_assert!(model.len() >= capacity as usize),
                    Err(error) => panic!("{error}"),
                },
                3 => {
                    let popped = queue.pop().unwrap().map(|handle| handle.get().unwrap().to_native());
                    prop_assert_eq!(popped, model.pop_front());
                }
                4 => match queue.claim().unwrap() {
                    Some(claim) => {
                        prop_assert_eq!(Some(claim.get().unwrap().to_native()), model.pop_front());
                        claims.push(claim);
                    }
                    None => prop_assert!(model.is_empty()),
                },
                _ => if let Some(claim) = claims.pop() {
                    claim.ack().unwrap();
                },
            }
            let len = queue.len().unwrap();
            prop_assert_eq!((len.waiting as usize, len.claimed as usize), (model.len(), claims.len()));
        }
        drop((claims, queue, me));
        prop_assert!(space.check().is_clean());
    }
}

#[test]
fn what_is_given_back_comes_first_and_is_not_lost_in_later_rounds() {
    let me = options().private().unwrap().join().unwrap();
    let queue = Queue::<u64>::create(&me, 64).unwrap();
    (0..10).for_each(|n| queue.push(&n).unwrap());
    let claims: Vec<_> = (0..5).map(|_| queue.claim().unwrap().unwrap()).collect();
    // Several rounds, in which the claimed ones keep their slots.
    for n in 10..300 {
        assert_eq!(queue.pop().unwrap().unwrap().get().unwrap().to_native(), n - 5);
        queue.push(&n).unwrap();
    }
    assert_eq!(queue.len().unwrap().claimed, 5);
    drop(claims);
    let mut given: Vec<_> =
        (0..10).map(|_| queue.pop().unwrap().unwrap().get().unwrap().to_native()).collect();
    given.sort_unstable();
    assert_eq!(given, [0, 1, 2, 3, 4, 295, 296, 297, 298, 299]);
    assert!(queue.pop().unwrap().is_none());
}

/// The tail does not lap the head where a slot was passed by.
#[test]
fn the_order_holds_beside_a_claim_that_lasts() {
    let me = options().private().unwrap().join().unwrap();
    let queue = Queue::<u64>::create(&me, 64).unwrap();
    (0..64).for_each(|n| queue.push(&n).unwrap());
    let claim = queue.claim().unwrap().unwrap();
    let popped = |queue: &Queue<u64>| queue.pop().unwrap().map(|handle| handle.get().unwrap().to_native());
    assert_eq!(popped(&queue), Some(1));
    queue.push(&64).unwrap();
    claim.ack().unwrap();
    // The oldest has waited for a whole round by now, or the element comes last.
    let last = match queue.push(&65) {
        Ok(()) => 65,
        Err(QueueError::Full { .. }) => 64,
        Err(error) => panic!("{error}"),
    };
    assert_eq!(std::iter::from_fn(|| popped(&queue)).collect::<Vec<_>>(), (2..=last).collect::<Vec<_>>());
}

/// A claim makes room: who sleeps until it can push goes on.
#[test]
fn a_claim_wakes_those_that_push() {
    let name = Name::new("queue-room");
    let space = name.open(options());
    let me = space.join().unwrap();
    let jobs = Queue::create_raw(me.named("jobs"), KIND, 1).unwrap();
    let mut producer = Process::start(&[&name.0, "push"]);
    assert_eq!(producer.receive("pushed").as_deref(), Some("0"));
    wait_until_asleep(producer.id());
    let claim = jobs.claim().unwrap().unwrap();
    assert_eq!(producer.receive("pushed").as_deref(), Some("1"));
    wait_until_asleep(producer.id());
    assert_eq!(number(&jobs.pop().unwrap().unwrap()), 1);
    assert_eq!(producer.receive("pushed").as_deref(), Some("2"));
    producer.kill();
    claim.ack().unwrap();
}

/// Claimed elements are in the queue, also those of a process that is killed.
#[test]
fn the_end_of_the_last_element_wakes_those_that_wait_for_it() {
    let name = Name::new("queue-empty");
    let space = name.open(options());
    let me = space.join().unwrap();
    let jobs = Queue::create_raw(me.named("jobs"), KIND, 100).unwrap();
    for way in 0..2 {
        (0..2).for_each(|job| jobs.push(&bytes_of(job)).unwrap());
        let mut waiter = Process::start(&[&name.0, "drained"]);
        wait_until_asleep(waiter.id());
        let mut claimer = Process::start(&[&name.0, "claim"]);
        assert_eq!(claimer.receive("claimed").as_deref(), Some("2"));
        claimer.kill();
        me.recover().unwrap();
        drop(jobs.pop().unwrap().unwrap());
        let claim = jobs.claim().unwrap().unwrap();
        wait_until_asleep(waiter.id());
        let timed_out = jobs.wait_until_empty(Duration::ZERO);
        assert!(matches!(timed_out, Err(QueueError::Wait(WaitError::TimedOut))));
        assert_eq!(waiter.said(), None);
        if way == 0 {
            claim.ack().unwrap();
        } else {
            claim.give_back().unwrap();
            drop(jobs.pop().unwrap().unwrap());
        }
        assert_eq!(waiter.receive("empty").as_deref(), Some("0"));
        jobs.wait_until_empty(Duration::ZERO).unwrap();
    }
}

#[test]
fn as_many_claims_as_slots_refuse_a_push_until_one_ends() {
    let me = options().private().unwrap().join().unwrap();
    let queue = Queue::<u64>::create(&me, 64).unwrap();
    (0..64).for_each(|n| queue.push(&n).unwrap());
    assert!(matches!(queue.push(&64), Err(QueueError::Full { capacity: 64 })));
    let mut claims: Vec<_> = (0..64).map(|_| queue.claim().unwrap().unwrap()).collect();
    assert!(queue.claim().unwrap().is_none());
    assert!(matches!(queue.push(&64), Err(QueueError::Full { .. })));
    claims.swap_remove(17).ack().unwrap();
    queue.push(&64).unwrap();
    assert!(matches!(queue.push(&65), Err(QueueError::Full { .. })));
    assert_eq!(queue.claim().unwrap().unwrap().get().unwrap().to_native(), 64);
    drop(claims);
    assert_eq!(queue.len().unwrap().waiting, 64);
}

#[test]
fn jobs_of_killed_workers_are_done_and_none_is_lost() {
    const JOBS: u64 = 3000;
    let name = Name::new("queue-jobs");
    let space = name.open(options());
    let me = space.join().unwrap();
    let jobs = Queue::create_raw(me.named("jobs"), KIND, 100).unwrap();
    let (done, is_over) =
        (Locked::<Done>::create(me.named("done"), &[0; 48]).unwrap(), AtomicBool::new(false));
    common::scope("all jobs are done", |scope| {
        let masters = [0, 1].map(|who| {
            let (name, is_over) = (&name.0, &is_over);
            scope.spawn(move || {
                let mut killed = 0;
                // Relaxed: nothing else is read after it.
                while !is_over.load(Ordering::Relaxed) {
                    let mut worker = Process::start(&[name, "work"]);
                    // Each is killed after another number of jobs, at whatever instruction.
                    for _ in 0..50 + (who + killed) * 37 % 200 {
                        if worker.receive("one").is_none() || is_over.load(Ordering::Relaxed) {
                            break;
                        }
                    }
                    worker.kill();
                    killed += 1;
                }
            })
        });
        for job in 0..JOBS {
            jobs.push_with(&bytes_of(job), None).unwrap();
        }
        let count = || done.lock().unwrap().iter().map(|word| u64::from(word.count_ones())).sum::<u64>();
        common::eventually("all jobs are done", || count() == JOBS);
        is_over.store(true, Ordering::Relaxed);
        // Workers that wait for a job get one.
        while !masters.iter().all(std::thread::ScopedJoinHandle::is_finished) {
            let _ = jobs.push_with(&bytes_of(0), Duration::from_millis(1));
        }
    });
    while jobs.pop().unwrap().is_some() {}
    drop((jobs, done, me));
    // The last member recovers whoever is still there.
    space.join().unwrap().recover().unwrap();
    let report = space.check();
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(space.stats().handles_live, 0, "leaked");
}

#[test]
fn the_claims_of_a_dead_process_wake_those_that_wait() {
    let name = Name::new("queue-wake");
    let space = name.open(options());
    let me = space.join().unwrap();
    let jobs = Queue::create_raw(me.named("jobs"), KIND, 100).unwrap();
    for _ in 0..3 {
        (0..10).for_each(|job| jobs.push(&bytes_of(job)).unwrap());
        let mut claimer = Process::start(&[&name.0, "claim"]);
        assert_eq!(claimer.receive("claimed").as_deref(), Some("10"));
        assert!(jobs.claim().unwrap().is_none());
        let mut waiter = Process::start(&[&name.0, "pop"]);
        wait_until_asleep(waiter.id());
        claimer.kill();
        let got = waiter.receive("popped").unwrap().parse().unwrap();
        let mut all: BTreeSet<_> =
            std::iter::from_fn(|| jobs.pop().unwrap()).map(|job| number(&job)).collect();
        all.insert(got);
        assert_eq!(all, (0..10).collect());
    }
}

/// A push, a claim that comes back, a signal and a death, each while the waiter sleeps.
#[test]
fn one_thread_waits_for_a_queue_an_event_and_a_process() {
    let name = Name::new("queue-any");
    let space = name.open(options());
    let me = space.join().unwrap();
    let jobs = Queue::create_raw(me.named("jobs"), KIND, 64).unwrap();
    let stop = Event::create(me.named("stop"), Reset::Auto).unwrap();
    jobs.push(&bytes_of(1)).unwrap();
    let mut claimer = Process::start(&[&name.0, "claim"]);
    assert_eq!(claimer.receive("claimed").as_deref(), Some("1"));
    let mut ends = Process::start(&[&name.0, "claim"]);
    assert_eq!(ends.receive("claimed").as_deref(), Some("0"));
    let mut waiter = Process::start(&[&name.0, "any", &ends.id().to_string()]);
    wait_until_asleep(waiter.id());
    jobs.push(&bytes_of(2)).unwrap();
    assert_eq!(waiter.receive("woken").as_deref(), Some("job 2"));
    wait_until_asleep(waiter.id());
    stop.set().unwrap();
    assert_eq!(waiter.receive("woken").as_deref(), Some("stop"));
    wait_until_asleep(waiter.id());
    claimer.kill();
    assert_eq!(waiter.receive("woken").as_deref(), Some("job 1"));
    wait_until_asleep(waiter.id());
    ends.kill();
    assert_eq!(waiter.receive("woken").as_deref(), Some("end"));
    waiter.kill();
}

#[test]
fn a_wait_takes_nothing_from_a_queue() {
    let me = options().private().unwrap().join().unwrap();
    let (queue, stop) = (Queue::<u64>::create(&me, 64).unwrap(), Event::create(&me, Reset::Manual).unwrap());
    let timed_out = |result| matches!(result, Err(WaitError::TimedOut));
    assert!(timed_out(wait_any(&[&queue, &stop], Duration::ZERO)));
    assert!(timed_out(wait_any(&[&queue], Duration::from_millis(1))));
    queue.push(&7).unwrap();
    stop.set().unwrap();
    for _ in 0..2 {
        assert_eq!(wait_any(&[&queue, &stop], None).unwrap().index, 0);
    }
    assert!(matches!(wait_all(&[&stop, &queue], None), Err(WaitError::NotTaken { index: 1 })));
    let claim = queue.claim().unwrap().unwrap();
    assert!(timed_out(wait_any(&[&queue], Duration::ZERO)), "what is claimed does not wait");
    claim.give_back().unwrap();
    assert_eq!(wait_any(&[&queue, &stop], None).unwrap().index, 0);
    assert_eq!(queue.pop().unwrap().unwrap().get().unwrap().to_native(), 7);
    assert_eq!(wait_any(&[&queue, &stop], None).unwrap().index, 1);
    // Round after round, with a claim that lasts in between.
    queue.push(&8).unwrap();
    let claim = queue.claim().unwrap().unwrap();
    for n in 0..200 {
        assert!(timed_out(wait_any(&[&queue], Duration::ZERO)));
        queue.push(&n).unwrap();
        assert_eq!(wait_any(&[&queue], Duration::ZERO).unwrap().index, 0);
        drop(queue.pop().unwrap().unwrap());
    }
    drop(claim);
    assert_eq!(wait_any(&[&queue], Duration::ZERO).unwrap().index, 0);
}

#[test]
fn what_a_killed_producer_pushed_is_there_in_order() {
    let name = Name::new("queue-producer");
    let space = name.open(options().slots(1));
    let mut told = 0;
    {
        // Kept by a slot: no process needs to live.
        let me = space.join().unwrap();
        let jobs = Queue::create_raw(me.named("jobs"), KIND, 500).unwrap();
        me.slots().keep(&jobs).unwrap();
        let mut producer = Process::start(&[&name.0, "push"]);
        for _ in 0..200 {
            told = producer.receive("pushed").unwrap().parse().unwrap();
        }
        drop((jobs, me));
        producer.kill();
    }
    let me = space.join().unwrap();
    let jobs = Queue::open_raw(&me, KIND, "jobs").unwrap();
    let all: Vec<_> = std::iter::from_fn(|| jobs.pop().unwrap()).map(|job| number(&job)).collect();
    assert!(all.len() as u64 > told, "lost: {} of {told}", all.len());
    assert_eq!(all, (0..all.len() as u64).collect::<Vec<_>>());
    drop(jobs);
    me.slots().evict(0).unwrap();
    drop(me);
    let report = space.check();
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(space.stats().handles_live, 0, "leaked");
}

#[test]
fn bad_calls_are_refused() {
    let space = options().anonymous().unwrap();
    let (me, other) = (space.join().unwrap(), space.join().unwrap());
    for (capacity, most) in [(0, 1 << 20), ((1 << 20) + 1, 1 << 20)] {
        let refused = Queue::<u64>::create(&me, capacity);
        assert!(
            matches!(refused, Err(CreateError::Capacity { found, most: m }) if (found, m) == (capacity, most))
        );
    }
    let refused = Queue::<u64>::create(&me, 1025);
    assert!(matches!(refused, Err(CreateError::ContainerSlots { slots: 2048, capacity: 1024 })));
    assert_eq!(space.stats().handles_live, 0);

    let jobs = Queue::<u64>::create(&me, 64).unwrap();
    let job = other.create(&1).unwrap();
    assert!(matches!(jobs.push_handle(&job), Err(QueueError::NotPut(PutError::ForeignHandle))));
    let mutex = tenure::sync::Mutex::create(&me).unwrap();
    let wrong = Queue::<u64>::open(&me, mutex.token());
    assert!(matches!(wrong, Err(OpenHandleError::ForeignKind { .. })));
    let wrong = Queue::<u32>::open(&me, jobs.token());
    assert!(matches!(wrong, Err(OpenHandleError::ForeignKind { .. })));
    let timed_out = jobs.pop_with(Some(Duration::ZERO));
    assert!(matches!(timed_out, Err(QueueError::Wait(WaitError::TimedOut))));

    // In a forked child, and after the member has left.
    jobs.push(&7).unwrap();
    let claim = jobs.claim().unwrap().unwrap();
    let refused = in_fork(|| {
        let push = matches!(jobs.push(&8), Err(QueueError::NotMember(NotMember::ForkedChild)));
        let pop = matches!(jobs.pop(), Err(QueueError::NotMember(NotMember::ForkedChild)));
        i32::from(push && pop && jobs.len().is_err())
    });
    assert_eq!(refused, 1);
    assert!(me.leave().is_err());
    assert!(matches!(claim.ack(), Err(UseError::NotMember(_)) | Ok(())));
}

/// The words of a queue, every bit of each: an answer or an error, never a crash, a hang or an access outside.
#[test]
fn corrupted_queues_are_errors() {
    let space = options().private().unwrap();
    let me = space.join().unwrap();
    for word in 0..48 {
        for bit in [0, 1, 5, 6, 7, 20, 31, 32, 55, 56, 63] {
            let queue = Queue::<u64>::create(&me, 64).unwrap();
            (0..3).for_each(|n| queue.push(&n).unwrap());
            let claim = queue.claim().unwrap();
            tenure::testing::flip(&queue, word, bit);
            let _ = queue.push(&7);
            let _ = queue.pop();
            let _ = queue.claim();
            let _ = queue.len();
            let _ = Queue::<u64>::open(&me, queue.token());
            let _ = space.check();
            drop(claim);
            tenure::testing::flip(&queue, word, bit);
        }
    }
}
