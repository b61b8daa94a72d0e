//! Queues.

use super::Row;
use crate::driver::Sizes;
use crate::order::{Answer, Fault, New, Order, Sort};
use crate::stage::Stage;
use crate::wishes::KIND;

const S: Sizes = Sizes::CONTAINERS;

const fn queue(capacity: u32) -> New {
    New::Queue { kind: KIND, capacity }
}

/// Only tries.
const NOW: Option<u64> = Some(0);

pub(super) const ROWS: &[Row] = &[
    ("elements leave a queue in the order in which they were pushed", S, order),
    ("an element has any number of bytes, or none", S, lengths),
    ("a queue that is full, one that is empty, and a wait that times out are told apart", S, refused),
    ("who waits for an element is woken by a push, who waits for room by a pop or a claim", S, woken),
    ("of many who pop at once each gets elements of its own", S, popped_at_once),
    ("an element outlives the member that pushed it, killed or gone", S, pusher_gone),
    ("what a member popped ends with it when it is killed", S, popper_killed),
    ("what is claimed is lent to one member; given back others get it, done it is gone", S, lent),
    ("who had claimed an element was killed: who waits gets it", S, claimer_killed),
    ("who had claimed an element leaves: another gets it", S, claimer_leaves),
    ("who had claimed an element is stopped: the claim stays, and others go on", S, claimer_stopped),
    ("a claim of a queue is ended by who claimed it, and once", S, ended_once),
    ("a handle travels through a queue as it is, and is in one at most", S, handles),
    ("a queue is opened as one of its elements' kind only, and takes no others", S, wrong_kind),
    ("a queue ends with its last holder, and its elements with it", S, ends),
    ("a queue has a name: one creates it, and all have that one", S, named),
    ("a forked child has no queue of its parent's", S, forked_child),
    ("a queue that finds no container slots is not created, and says so", S, no_slots),
    ("several are pushed and popped in order, as many as fit and as there are", S, many),
    (
        "who waits to push or pop several goes on with the first one, and a push of several wakes all",
        S,
        many_woken,
    ),
    ("who pushes several is killed: the first ones are there, each as a whole", S, many_killed),
    ("a wait for a queue or an event ends with either, and takes nothing from the queue", S, any),
];

fn order(stage: &Stage) -> Result<(), Fault> {
    let [(mut a, mine), (mut b, theirs)] = stage.sharing(queue(100))?;
    for byte in 0..50 {
        a.push(mine, &[byte], NOW)?;
    }
    for byte in 0..50 {
        assert_eq!(b.pop_bytes(theirs)?, [byte]);
        a.push(mine, &[50 + byte], None)?;
    }
    assert_eq!(a.queue_len(mine)?, (50, 0));
    for byte in 50..100 {
        assert_eq!(a.pop_bytes(mine)?, [byte]);
    }
    assert_eq!(b.pop(theirs, NOW), Err(Fault::QueueEmpty));
    Ok(())
}

fn lengths(stage: &Stage) -> Result<(), Fault> {
    let [(mut a, mine), (mut b, theirs)] = stage.sharing(queue(8))?;
    let all: [&[u8]; 4] = [b"", b"x", &[7; 33], &[9; 100_000]];
    for bytes in all {
        a.push(mine, bytes, NOW)?;
    }
    for bytes in all {
        assert!(b.pop_bytes(theirs)? == bytes, "{} bytes", bytes.len());
    }
    assert_eq!(a.push(mine, &vec![0; 3 << 20], NOW), Err(Fault::TooLarge));
    assert_eq!(a.queue_len(mine)?, (0, 0));
    Ok(())
}

fn refused(stage: &Stage) -> Result<(), Fault> {
    let [(mut a, mine), (mut b, theirs)] = stage.sharing(queue(2))?;
    assert_eq!(b.pop(theirs, NOW), Err(Fault::QueueEmpty));
    assert_eq!(b.claim_next(theirs, NOW), Err(Fault::QueueEmpty));
    assert_eq!(b.pop(theirs, Some(5)), Err(Fault::TimedOut));
    assert_eq!(b.claim_next(theirs, Some(5)), Err(Fault::TimedOut));
    a.push(mine, b"1", NOW)?;
    a.push(mine, b"2", NOW)?;
    let other = a.create(b"3")?;
    assert_eq!(a.push(mine, b"3", NOW), Err(Fault::QueueFull));
    assert_eq!(a.push_handle(mine, other, NOW), Err(Fault::QueueFull));
    assert_eq!(a.push(mine, b"3", Some(5)), Err(Fault::TimedOut));
    assert_eq!(a.push_handle(mine, other, Some(5)), Err(Fault::TimedOut));
    assert_eq!(a.queue_len(mine)?, (2, 0));
    assert_eq!(b.pop_bytes(theirs)?, b"1");
    a.push_handle(mine, other, NOW)?;
    assert_eq!((b.pop_bytes(theirs)?, b.pop_bytes(theirs)?), (b"2".to_vec(), b"3".to_vec()));
    Ok(())
}

fn woken(stage: &Stage) -> Result<(), Fault> {
    let [(mut a, mine), (mut b, theirs)] = stage.sharing(queue(1))?;
    b.begin_and_sleep(Order::Pop { queue: theirs, timeout: None });
    a.push(mine, b"1", NOW)?;
    let popped = b.thing()?;
    assert_eq!(b.get(popped)?, b"1");
    b.begin_and_sleep(Order::ClaimNext { queue: theirs, timeout: None });
    a.push(mine, b"2", NOW)?;
    let claim = b.thing()?;
    b.give_back_next(theirs, claim)?;
    a.begin_and_sleep(Order::Push { queue: mine, bytes: b"3".to_vec(), timeout: None });
    assert_eq!(b.pop_bytes(theirs)?, b"2");
    assert_eq!(a.answer()?, Answer::Done);
    a.begin_and_sleep(Order::Push { queue: mine, bytes: b"4".to_vec(), timeout: None });
    let claim = b.claim_next(theirs, NOW)?;
    assert_eq!(a.answer()?, Answer::Done, "what is claimed does not wait");
    b.ack_next(theirs, claim)?;
    assert_eq!(a.pop_bytes(mine)?, b"4");
    Ok(())
}

fn popped_at_once(stage: &Stage) -> Result<(), Fault> {
    let mut sharing: [_; 3] = stage.sharing(queue(16))?;
    let mut a = stage.program()?;
    let mine = a.open_as(Sort::Queue(KIND), sharing[0].1.token)?;
    for round in 0..10 {
        a.push(mine, &[round, 1], NOW)?;
        a.push(mine, &[round, 2], NOW)?;
        for (program, theirs) in &mut sharing {
            program.begin(Order::Pop { queue: *theirs, timeout: NOW });
        }
        let mut popped = Vec::new();
        for (program, _) in &mut sharing {
            match program.answer() {
                Ok(Answer::Thing(thing)) => {
                    popped.push(program.get(thing)?);
                    program.close(thing)?;
                }
                other => assert_eq!(other, Err(Fault::QueueEmpty)),
            }
        }
        popped.sort_unstable();
        assert_eq!(popped, [[round, 1], [round, 2]]);
    }
    Ok(())
}

fn pusher_gone(stage: &Stage) -> Result<(), Fault> {
    stage.needs_processes()?;
    let [(mut a, mine), (mut b, of_b), (mut c, of_c)] = stage.sharing(queue(8))?;
    a.push(mine, &[7; 100], NOW)?;
    let thing = b.create(b"its")?;
    b.push_handle(of_b, thing, NOW)?;
    a.leave()?;
    b.kill()?;
    c.recover()?;
    assert_eq!(c.pop_bytes(of_c)?, [7; 100]);
    let popped = c.pop(of_c, NOW)?;
    assert_eq!((c.get(popped)?, popped.token), (b"its".to_vec(), thing.token));
    Ok(())
}

fn popper_killed(stage: &Stage) -> Result<(), Fault> {
    stage.needs_processes()?;
    let [(mut a, mine), (mut b, theirs)] = stage.sharing(queue(8))?;
    a.push(mine, b"1", NOW)?;
    a.push(mine, b"2", NOW)?;
    let popped = b.pop(theirs, NOW)?;
    b.kill()?;
    a.recover()?;
    assert_eq!(a.open(popped.token), Err(Fault::Stale));
    assert_eq!(a.pop_bytes(mine)?, b"2");
    assert_eq!(a.queue_len(mine)?, (0, 0));
    Ok(())
}

fn lent(stage: &Stage) -> Result<(), Fault> {
    let [(mut a, mine), (mut b, theirs)] = stage.sharing(queue(8))?;
    a.push(mine, b"1", NOW)?;
    a.push(mine, b"2", NOW)?;
    let claim = b.claim_next(theirs, NOW)?;
    assert_eq!(b.get(claim)?, b"1");
    assert_eq!(a.queue_len(mine)?, (1, 1));
    assert_eq!(a.pop_bytes(mine)?, b"2", "the next one");
    assert_eq!(a.pop(mine, NOW), Err(Fault::QueueEmpty));
    a.push(mine, b"3", NOW)?;
    b.give_back_next(theirs, claim)?;
    assert_eq!(a.queue_len(mine)?, (2, 0));
    let (first, second) = (a.claim_next(mine, NOW)?, a.claim_next(mine, NOW)?);
    let both = [a.get(first)?, a.get(second)?];
    assert!(both.contains(&b"1".to_vec()) && both.contains(&b"3".to_vec()), "{both:?}");
    a.ack_next(mine, second)?;
    a.ack_next(mine, first)?;
    assert_eq!(a.queue_len(mine)?, (0, 0));
    assert_eq!(b.open(first.token), Err(Fault::Stale));
    assert_eq!(b.claim_next(theirs, NOW), Err(Fault::QueueEmpty));
    Ok(())
}

fn claimer_killed(stage: &Stage) -> Result<(), Fault> {
    stage.needs_processes()?;
    let [(mut a, mine), (mut b, of_b), (mut c, of_c)] = stage.sharing(queue(8))?;
    a.push(mine, b"job", NOW)?;
    let claim = b.claim_next(of_b, NOW)?;
    c.begin_and_sleep(Order::ClaimNext { queue: of_c, timeout: None });
    b.kill()?;
    let again = c.thing()?;
    assert_eq!((c.get(again)?, again.token), (b"job".to_vec(), claim.token));
    c.ack_next(of_c, again)?;
    assert_eq!(a.queue_len(mine)?, (0, 0));
    Ok(())
}

fn claimer_leaves(stage: &Stage) -> Result<(), Fault> {
    let [(mut a, mine), (mut b, theirs)] = stage.sharing(queue(8))?;
    a.push(mine, b"job", NOW)?;
    b.claim_next(theirs, NOW)?;
    b.leave()?;
    let claim = a.claim_next(mine, NOW)?;
    assert_eq!(a.get(claim)?, b"job");
    a.ack_next(mine, claim)
}

fn claimer_stopped(stage: &Stage) -> Result<(), Fault> {
    stage.needs_processes()?;
    let [(mut a, mine), (mut b, theirs)] = stage.sharing(queue(1))?;
    a.push(mine, b"first", NOW)?;
    let claim = b.claim_next(theirs, NOW)?;
    b.stop()?;
    a.recover()?;
    assert_eq!(a.claim_next(mine, NOW), Err(Fault::QueueEmpty));
    for round in 0..200 {
        a.push(mine, &[round], NOW)?;
        assert_eq!(a.pop_bytes(mine)?, [round]);
    }
    b.resume()?;
    assert_eq!(b.get(claim)?, b"first");
    b.ack_next(theirs, claim)
}

fn ended_once(stage: &Stage) -> Result<(), Fault> {
    let [(mut a, mine), (mut b, theirs)] = stage.sharing(queue(8))?;
    let thing = a.create(b"job")?;
    a.push_handle(mine, thing, NOW)?;
    assert_eq!(a.ack_next(mine, thing), Err(Fault::NotClaimed));
    let claim = a.claim_next(mine, NOW)?;
    let opened = b.open(thing.token)?;
    assert_eq!(b.ack_next(theirs, opened), Err(Fault::NotClaimed));
    assert_eq!(b.give_back_next(theirs, opened), Err(Fault::NotClaimed));
    assert_eq!(b.get(opened)?, b"job", "what was refused closed nothing");
    a.ack_next(mine, claim)?;
    assert_eq!(a.ack_next(mine, claim), Err(Fault::Stale));
    assert_eq!(a.give_back_next(mine, claim), Err(Fault::Stale));
    assert_eq!(a.get(thing)?, b"job", "held once more by its creator");
    assert_eq!(b.queue_len(theirs)?, (0, 0));
    Ok(())
}

fn handles(stage: &Stage) -> Result<(), Fault> {
    let [(mut a, mine), (mut b, theirs)] = stage.sharing(queue(8))?;
    let other = a.make(queue(8))?;
    let thing = a.create(b"it")?;
    a.push_handle(mine, thing, NOW)?;
    assert_eq!(a.push_handle(mine, thing, NOW), Err(Fault::Kept));
    assert_eq!(a.push_handle(other, thing, NOW), Err(Fault::Kept));
    a.close(thing)?;
    let popped = b.pop(theirs, NOW)?;
    assert_eq!((b.get(popped)?, popped.token), (b"it".to_vec(), thing.token));
    b.push_handle(theirs, popped, NOW)?;
    b.close(popped)?;
    let again = a.pop(mine, NOW)?;
    assert_eq!(again.token, thing.token);
    a.push_handle(other, again, NOW)?;
    a.close(again)?;
    a.close(other)?;
    assert_eq!(b.open(thing.token), Err(Fault::Stale), "it ended with the queue that held it");
    Ok(())
}

fn wrong_kind(stage: &Stage) -> Result<(), Fault> {
    let mut a = stage.program()?;
    let (five, mutex) = (a.make(New::Queue { kind: 5, capacity: 8 })?, a.mutex()?);
    assert_eq!(a.open_as(Sort::Queue(6), five.token), Err(Fault::ForeignKind));
    assert_eq!(a.open_as(Sort::Mutex, five.token), Err(Fault::ForeignKind));
    assert_eq!(a.open_as(Sort::Queue(5), mutex.token), Err(Fault::ForeignKind));
    let six = a.make(New::Raw { kind: 6, bytes: b"six".to_vec() })?;
    assert_eq!(a.push_handle(five, six, NOW), Err(Fault::ForeignKind));
    assert_eq!(a.pop(mutex, NOW), Err(Fault::ForeignKind));
    let (again, elements) = (a.open_as(Sort::Queue(5), five.token)?, a.queue_len(five)?);
    assert_eq!(elements, (0, 0));
    a.close(again)
}

fn ends(stage: &Stage) -> Result<(), Fault> {
    let [(mut a, mine), (mut b, theirs)] = stage.sharing(queue(8))?;
    let thing = a.create(b"it")?;
    a.push_handle(mine, thing, NOW)?;
    a.push(mine, &[1; 100], NOW)?;
    a.close(thing)?;
    a.close(mine)?;
    let opened = b.open(thing.token)?;
    b.close(opened)?;
    b.close(theirs)?;
    assert_eq!(b.open(thing.token), Err(Fault::Stale));
    assert_eq!(b.open_as(Sort::Queue(KIND), mine.token), Err(Fault::Stale));
    assert_eq!(stage.in_use().handles, 0);
    Ok(())
}

fn named(stage: &Stage) -> Result<(), Fault> {
    let (mut a, mut b) = stage.two()?;
    let (mine, created) = a.create_or_open("jobs", queue(8))?;
    assert!(created);
    let (theirs, created) = b.create_or_open("jobs", queue(99))?;
    assert!(!created);
    assert_eq!(b.create_named("jobs", queue(8)), Err(Fault::NameTaken));
    let other = New::Queue { kind: 5, capacity: 8 };
    assert_eq!(b.create_or_open("jobs", other), Err(Fault::ForeignKind));
    a.push(mine, b"1", NOW)?;
    let third = b.open_named("jobs", Sort::Queue(KIND))?;
    assert_eq!((b.pop_bytes(third)?, third.token), (b"1".to_vec(), theirs.token));
    assert_eq!(b.look_up("jobs")?, mine.token);
    Ok(())
}

fn forked_child(stage: &Stage) -> Result<(), Fault> {
    stage.needs_processes()?;
    let [(mut a, mine), (mut b, theirs)] = stage.sharing(queue(8))?;
    a.push(mine, b"1", NOW)?;
    let (claim, thing) = (a.claim_next(mine, NOW)?, a.create(b"it")?);
    a.push(mine, b"2", NOW)?;
    let answers = a.fork(&[
        Order::Push { queue: mine, bytes: b"x".to_vec(), timeout: NOW },
        Order::PushHandle { queue: mine, thing, timeout: NOW },
        Order::Pop { queue: mine, timeout: None },
        Order::ClaimNext { queue: mine, timeout: NOW },
        Order::GiveBackNext { queue: mine, thing: claim },
        Order::QueueLen(mine),
    ])?;
    assert!(answers.iter().all(|answer| *answer == Err(Fault::Forked)), "{answers:?}");
    assert_eq!(b.queue_len(theirs)?, (1, 1));
    a.ack_next(mine, claim)
}

fn no_slots(stage: &Stage) -> Result<(), Fault> {
    let (mut a, mut b) = stage.two()?;
    assert_eq!(a.make(queue(129)), Err(Fault::ContainerSlots));
    assert_eq!(a.make(queue(0)), Err(Fault::Argument));
    let first = a.make(queue(65))?; // takes 128
    assert_eq!(b.make(queue(1)), Err(Fault::ContainerSlots));
    a.close(first)?;
    b.make(queue(128))?;
    Ok(())
}

fn many(stage: &Stage) -> Result<(), Fault> {
    let [(mut a, mine), (mut b, theirs)] = stage.sharing(queue(5))?;
    let large = vec![9; 10_000];
    let values: [&[u8]; 4] = [b"1", b"", &large, b"4"];
    assert_eq!(b.pop_many(theirs, 3, NOW), Err(Fault::QueueEmpty));
    assert_eq!(a.push_many(mine, &values, NOW)?, 4);
    assert_eq!(a.push_many(mine, &values, NOW)?, 1, "there is room for five");
    assert_eq!(a.push_many(mine, &values, NOW), Err(Fault::QueueFull));
    assert_eq!(a.push_many(mine, &values, Some(5)), Err(Fault::TimedOut));
    assert_eq!(a.push_many(mine, &[], NOW)?, 0);
    assert_eq!(b.pop_many(theirs, 0, None)?.len(), 0);
    let popped = b.pop_many(theirs, 3, NOW)?;
    assert_eq!(popped.len(), 3);
    for (thing, value) in popped.into_iter().zip(values) {
        assert!(b.get(thing)? == value, "{} bytes", value.len());
        b.close(thing)?;
    }
    let rest = b.pop_many(theirs, 100, None)?;
    assert_eq!(rest.len(), 2);
    assert_eq!((b.get(rest[0])?, b.get(rest[1])?), (b"4".to_vec(), b"1".to_vec()));
    assert_eq!(b.pop_many(theirs, 1, Some(5)), Err(Fault::TimedOut));
    // One that is too large ends the call before it.
    let impossible = vec![0; 3 << 20];
    assert_eq!(a.push_many(mine, &[b"x", &impossible, b"y"], NOW)?, 1);
    assert_eq!(a.push_many(mine, &[&impossible, b"y"], NOW), Err(Fault::TooLarge));
    assert_eq!(b.pop_bytes(theirs)?, b"x");
    assert_eq!(a.queue_len(mine)?, (0, 0));
    Ok(())
}

fn many_woken(stage: &Stage) -> Result<(), Fault> {
    let [(mut a, mine), (mut b, of_b), (mut c, of_c)] = stage.sharing(queue(2))?;
    b.begin_and_sleep(Order::PopMany { queue: of_b, limit: 1, timeout: None });
    c.begin_and_sleep(Order::Pop { queue: of_c, timeout: None });
    assert_eq!(a.push_many(mine, &[b"1", b"2"], NOW)?, 2);
    let Answer::Many(of_b_popped, None) = b.answer()? else { panic!("another answer") };
    let of_c_popped = c.thing()?;
    let mut both = [b.get(of_b_popped[0])?, c.get(of_c_popped)?];
    both.sort();
    assert_eq!(both, [b"1", b"2"]);
    a.push_many(mine, &[b"3", b"4"], NOW)?;
    let values = vec![b"5".to_vec(), b"6".to_vec(), b"7".to_vec()];
    a.begin_and_sleep(Order::PushMany { queue: mine, values, timeout: None });
    assert_eq!(b.pop_bytes(of_b)?, b"3");
    assert_eq!(a.answer()?, Answer::Number(1), "room for the first one");
    assert_eq!((b.pop_bytes(of_b)?, b.pop_bytes(of_b)?), (b"4".to_vec(), b"5".to_vec()));
    Ok(())
}

fn many_killed(stage: &Stage) -> Result<(), Fault> {
    stage.needs_processes()?;
    let [(mut a, mine), (mut b, theirs)] = stage.sharing(queue(64))?;
    let values: Vec<Vec<u8>> = (0..64).map(|byte| vec![byte; 1 + byte as usize * 10]).collect();
    a.begin(Order::PushMany { queue: mine, values: values.clone(), timeout: NOW });
    a.kill()?;
    b.recover()?;
    let (waiting, claimed) = b.queue_len(theirs)?;
    assert_eq!(claimed, 0);
    for value in &values[..waiting as usize] {
        assert_eq!(b.pop_bytes(theirs)?, *value);
    }
    assert_eq!(b.pop(theirs, NOW), Err(Fault::QueueEmpty));
    Ok(())
}

fn any(stage: &Stage) -> Result<(), Fault> {
    let [(mut a, mine), (mut b, theirs)] = stage.sharing(queue(8))?;
    let stop = a.make(New::Event { manual: false, signalled: false })?;
    let event = b.open_as(Sort::Event, stop.token)?;
    b.begin_and_sleep(Order::TakeAny { things: vec![theirs, event], timeout: None });
    a.push(mine, b"1", NOW)?;
    assert_eq!(b.answer()?, Answer::Woken(0, false));
    assert_eq!(b.take_any(&[event, theirs], NOW)?, (1, false), "nothing was taken");
    assert_eq!(b.take_all(&[theirs], NOW), Err(Fault::Argument));
    assert_eq!(b.pop_bytes(theirs)?, b"1");
    assert_eq!(b.take_any(&[theirs, event], NOW), Err(Fault::TimedOut));
    b.begin_and_sleep(Order::TakeAny { things: vec![theirs, event], timeout: None });
    a.set(stop)?;
    assert_eq!(b.answer()?, Answer::Woken(1, false));
    Ok(())
}
