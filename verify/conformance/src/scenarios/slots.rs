//! Slots.

use super::Row;
use crate::driver::Sizes;
use crate::order::{Answer, Fault, New, Order, Sort};
use crate::stage::Stage;

const S: Sizes = Sizes::SLOTS;

const BOTH: Sizes = Sizes { slots: 4, ..Sizes::CONTAINERS };

pub(super) const ROWS: &[Row] = &[
    ("what is in a slot outlives the last member", S, outlives),
    ("the member that put it was killed: what is in the slot is there", S, putter_killed),
    ("what has a name, in a slot, is found by its name when nobody is left that made it", S, root),
    ("what was taken out is held by who took it, and the slot is empty", S, taken),
    ("what a member took out ends with it when it is killed", S, taker_killed),
    (
        "a slot that is full, a handle that is in a slot, and a slot that is not there are told apart",
        S,
        refused,
    ),
    ("any empty slot is found; none is told", S, anywhere),
    ("what is claimed is lent to one member alone", S, lent),
    ("of many who claim one slot at once one gets it", S, claimed_at_once),
    ("what is done leaves the slot empty; what is given back is claimed by another", S, done),
    ("a claim is ended by who claimed it, in its slot, and once", S, ended_once),
    ("who had claimed was killed: another claims it", S, claimer_killed),
    ("who had claimed leaves: another claims it", S, claimer_leaves),
    ("who had claimed is stopped: the claim stays, and others go on", S, claimer_stopped),
    ("what is replaced or evicted ends, unless somebody holds it", S, replaced),
    ("what is in a slot is taken and claimed as its own kind only", S, wrong_kind),
    ("a forked child has no claim of its parent's", S, forked_child),
    ("a space without slots says so", Sizes::USUAL, no_slots),
    (
        "a queue, a map, a value and a lock in slots are there with all that is in them when nobody is left",
        BOTH,
        objects,
    ),
];

fn outlives(stage: &Stage) -> Result<(), Fault> {
    let mut a = stage.program()?;
    let thing = a.create(b"kept")?;
    a.put(1, thing)?;
    a.leave()?;
    let mut b = stage.program()?;
    assert_eq!(b.find_slot(thing.token)?, Some(1));
    let opened = b.open(thing.token)?;
    assert_eq!(b.get(opened)?, b"kept");
    b.close(opened)?;
    let taken = b.take_out(1)?;
    assert_eq!((b.get(taken)?, taken.token), (b"kept".to_vec(), thing.token));
    b.close(taken)
}

fn putter_killed(stage: &Stage) -> Result<(), Fault> {
    stage.needs_processes()?;
    let (mut a, mut b) = stage.two()?;
    let thing = a.create(&[7; 100])?;
    a.put(0, thing)?;
    a.kill()?;
    b.recover()?;
    let taken = b.take_out(0)?;
    assert_eq!(b.get(taken)?, [7; 100]);
    Ok(())
}

fn root(stage: &Stage) -> Result<(), Fault> {
    let mut a = stage.program()?;
    let thing = a.create_named("root", crate::wishes::raw(b"limits"))?;
    let slot = a.put_anywhere(thing)?;
    a.leave()?;
    let mut b = stage.program()?;
    let found = b.open_named("root", crate::order::Sort::Raw(crate::wishes::KIND))?;
    assert_eq!(b.get(found)?, b"limits");
    b.evict(slot as u32)?;
    Ok(())
}

fn taken(stage: &Stage) -> Result<(), Fault> {
    let (mut a, mut b) = stage.two()?;
    let thing = a.create(b"it")?;
    a.put(2, thing)?;
    a.close(thing)?;
    let taken = b.take_out(2)?;
    assert_eq!(a.take_out(2), Err(Fault::SlotEmpty));
    assert_eq!(a.find_slot(thing.token)?, None);
    b.close(taken)?;
    assert_eq!(a.open(thing.token), Err(Fault::Stale));
    Ok(())
}

fn taker_killed(stage: &Stage) -> Result<(), Fault> {
    stage.needs_processes()?;
    let (mut a, mut b) = stage.two()?;
    let thing = a.create(b"it")?;
    a.put(2, thing)?;
    a.close(thing)?;
    b.take_out(2)?;
    b.kill()?;
    a.recover()?;
    assert_eq!(a.open(thing.token), Err(Fault::Stale));
    Ok(())
}

fn refused(stage: &Stage) -> Result<(), Fault> {
    let mut a = stage.program()?;
    let (one, two) = (a.create(b"one")?, a.create(b"two")?);
    a.put(3, one)?;
    assert_eq!(a.put(3, two), Err(Fault::SlotFull));
    assert_eq!(a.put(2, one), Err(Fault::Kept));
    assert_eq!(a.put(4, two), Err(Fault::NoSlot));
    assert_eq!(a.take_out(4), Err(Fault::NoSlot));
    assert_eq!(a.claim(u32::MAX), Err(Fault::NoSlot));
    assert_eq!(a.evict(4), Err(Fault::NoSlot));
    assert_eq!(a.evict(2), Err(Fault::SlotEmpty));
    assert_eq!(a.claim(2), Err(Fault::SlotEmpty));
    assert_eq!(a.evict(3)?, one.token);
    Ok(())
}

fn anywhere(stage: &Stage) -> Result<(), Fault> {
    let mut a = stage.program()?;
    let mut all = Vec::new();
    for byte in 0..5 {
        all.push(a.create(&[byte])?);
    }
    let mut slots = Vec::new();
    for thing in &all[..4] {
        slots.push(a.put_anywhere(*thing)?);
    }
    slots.sort_unstable();
    assert_eq!(slots, [0, 1, 2, 3]);
    assert_eq!(a.put_anywhere(all[4]), Err(Fault::SlotFull));
    assert_eq!(a.put_anywhere(all[0]), Err(Fault::Kept));
    a.evict(2)?;
    assert_eq!(a.put_anywhere(all[4])?, 2);
    (0..4).try_for_each(|slot| a.evict(slot).map(drop))
}

fn lent(stage: &Stage) -> Result<(), Fault> {
    let (mut a, mut b) = stage.two()?;
    let (thing, other) = (a.create(b"job")?, a.create(b"other")?);
    a.put(0, thing)?;
    a.close(thing)?;
    let claim = a.claim(0)?;
    assert_eq!((a.get(claim)?, claim.token), (b"job".to_vec(), thing.token));
    assert_eq!(b.claim(0), Err(Fault::Claimed));
    assert_eq!(a.claim(0), Err(Fault::Claimed));
    assert_eq!(b.take_out(0), Err(Fault::Claimed));
    assert_eq!(b.evict(0), Err(Fault::Claimed));
    assert_eq!(a.put(0, other), Err(Fault::SlotFull));
    assert_eq!(a.replace(0, other), Err(Fault::SlotFull));
    assert_eq!(b.find_slot(thing.token)?, Some(0), "the slot still holds it");
    a.ack(0, claim)
}

fn claimed_at_once(stage: &Stage) -> Result<(), Fault> {
    let mut a = stage.program()?;
    let mut programs = [stage.program()?, stage.program()?, stage.program()?];
    for round in 0..10 {
        let thing = a.create(&[round])?;
        a.put(0, thing)?;
        a.close(thing)?;
        for program in &mut programs {
            program.begin(Order::Claim { slot: 0, kind: crate::wishes::KIND });
        }
        let answers = programs.each_mut().map(crate::program::Program::answer);
        let mut claims = 0;
        for (program, answer) in programs.iter_mut().zip(answers) {
            match answer {
                Ok(Answer::Thing(claim)) => {
                    claims += 1;
                    program.ack(0, claim)?;
                }
                other => assert_eq!(other, Err(Fault::Claimed)),
            }
        }
        assert_eq!(claims, 1);
    }
    Ok(())
}

fn done(stage: &Stage) -> Result<(), Fault> {
    let (mut a, mut b) = stage.two()?;
    let thing = a.create(b"job")?;
    a.put(0, thing)?;
    a.close(thing)?;
    let claim = a.claim(0)?;
    a.give_back(0, claim)?;
    let claim = b.claim(0)?;
    assert_eq!(b.get(claim)?, b"job");
    b.ack(0, claim)?;
    assert_eq!(a.claim(0), Err(Fault::SlotEmpty));
    assert_eq!(a.open(thing.token), Err(Fault::Stale));
    Ok(())
}

fn ended_once(stage: &Stage) -> Result<(), Fault> {
    let (mut a, mut b) = stage.two()?;
    let thing = a.create(b"job")?;
    a.put(0, thing)?;
    assert_eq!(a.ack(0, thing), Err(Fault::NotClaimed));
    let claim = a.claim(0)?;
    assert_eq!(a.ack(1, claim), Err(Fault::NotClaimed));
    let opened = b.open(thing.token)?;
    assert_eq!(b.ack(0, opened), Err(Fault::NotClaimed));
    assert_eq!(b.give_back(0, opened), Err(Fault::NotClaimed));
    assert_eq!(b.get(opened)?, b"job", "what was refused closed nothing");
    a.ack(0, claim)?;
    assert_eq!(a.ack(0, claim), Err(Fault::Stale));
    assert_eq!(a.get(thing)?, b"job", "held once more by its creator");
    Ok(())
}

fn claimer_killed(stage: &Stage) -> Result<(), Fault> {
    stage.needs_processes()?;
    let (mut a, mut b) = stage.two()?;
    let thing = a.create(b"job")?;
    a.put(0, thing)?;
    a.close(thing)?;
    b.claim(0)?;
    assert_eq!(a.claim(0), Err(Fault::Claimed));
    b.kill()?;
    a.recover()?;
    let claim = a.claim(0)?;
    assert_eq!(a.get(claim)?, b"job");
    a.ack(0, claim)
}

fn claimer_leaves(stage: &Stage) -> Result<(), Fault> {
    let (mut a, mut b) = stage.two()?;
    let thing = a.create(b"job")?;
    a.put(0, thing)?;
    a.close(thing)?;
    b.claim(0)?;
    b.leave()?;
    let claim = a.claim(0)?;
    assert_eq!(a.get(claim)?, b"job");
    a.ack(0, claim)
}

fn claimer_stopped(stage: &Stage) -> Result<(), Fault> {
    stage.needs_processes()?;
    let (mut a, mut b) = stage.two()?;
    let (first, second) = (a.create(b"first")?, a.create(b"second")?);
    a.put(0, first)?;
    let claim = b.claim(0)?;
    b.stop()?;
    a.recover()?;
    assert_eq!(a.claim(0), Err(Fault::Claimed));
    a.put(1, second)?;
    let other = a.claim(1)?;
    a.ack(1, other)?;
    b.resume()?;
    b.ack(0, claim)
}

fn replaced(stage: &Stage) -> Result<(), Fault> {
    let (mut a, mut b) = stage.two()?;
    let (one, two, three) = (a.create(b"one")?, a.create(b"two")?, a.create(b"three")?);
    assert_eq!(a.replace(0, one)?, 0, "the slot was empty");
    a.close(one)?;
    assert_eq!(a.replace(0, two)?, one.token);
    assert_eq!(b.open(one.token), Err(Fault::Stale));
    assert_eq!(a.replace(0, three)?, two.token);
    assert_eq!(a.get(two)?, b"two", "its creator holds it");
    a.close(three)?;
    let held = b.open(three.token)?;
    assert_eq!(a.evict(0)?, three.token);
    assert_eq!(b.get(held)?, b"three");
    b.close(held)?;
    assert_eq!(a.open(three.token), Err(Fault::Stale));
    Ok(())
}

fn wrong_kind(stage: &Stage) -> Result<(), Fault> {
    let mut a = stage.program()?;
    let thing = a.make(New::Raw { kind: 5, bytes: b"five".to_vec() })?;
    a.put(0, thing)?;
    assert_eq!(a.take_out_as(0, 6), Err(Fault::ForeignKind));
    assert_eq!(a.claim_as(0, 6), Err(Fault::ForeignKind));
    let claim = a.claim_as(0, 5)?;
    a.ack(0, claim)
}

fn forked_child(stage: &Stage) -> Result<(), Fault> {
    stage.needs_processes()?;
    let (mut a, mut b) = stage.two()?;
    let thing = a.create(b"job")?;
    a.put(0, thing)?;
    let claim = a.claim(0)?;
    let answers = a.fork(&[
        Order::Ack { slot: 0, thing: claim },
        Order::Evict(0),
        Order::Claim { slot: 0, kind: crate::wishes::KIND },
        Order::Put { slot: Some(1), thing },
    ])?;
    assert!(answers.iter().all(|answer| *answer == Err(Fault::Forked)), "{answers:?}");
    assert_eq!(b.claim(0), Err(Fault::Claimed));
    a.ack(0, claim)
}

fn no_slots(stage: &Stage) -> Result<(), Fault> {
    let mut a = stage.program()?;
    let thing = a.create(b"it")?;
    assert_eq!(a.put(0, thing), Err(Fault::NoSlot));
    assert_eq!(a.put_anywhere(thing), Err(Fault::SlotFull));
    assert_eq!(a.find_slot(thing.token)?, None);
    Ok(())
}

fn objects(stage: &Stage) -> Result<(), Fault> {
    let mut a = stage.program()?;
    let queue = a.create_named("jobs", New::Queue { kind: crate::wishes::KIND, capacity: 8 })?;
    let map = a.create_named("prices", New::Map { capacity: 64, max_bytes: 0 })?;
    let value = a.create_named("value", New::Versioned { of: 9, bytes: b"first".to_vec() })?;
    let lock = a.create_named("lock", New::RwLock)?;
    a.push(queue, b"job", Some(0))?;
    a.insert(map, b"tea", &[7; 100])?;
    a.write(value, b"other")?;
    for thing in [queue, map, value, lock] {
        a.put_anywhere(thing)?;
    }
    assert_eq!(a.put_anywhere(map), Err(Fault::Kept));
    let mutex = a.mutex()?;
    assert_eq!(a.put_anywhere(mutex), Err(Fault::SlotFull));
    a.close(mutex)?;
    a.leave()?;

    let mut b = stage.program()?;
    let jobs = b.open_named("jobs", Sort::Queue(crate::wishes::KIND))?;
    assert_eq!(b.pop_bytes(jobs)?, b"job");
    let prices = b.open_named("prices", Sort::Map)?;
    assert_eq!(b.value_of(prices, b"tea")?, [7; 100]);
    let value = b.open_named("value", Sort::Versioned(9))?;
    assert_eq!(b.read(value)?.0, b"other");
    let lock = b.open_named("lock", Sort::RwLock)?;
    assert!(!b.lock_write(lock, Some(0))?);
    b.unlock_write(lock)?;
    (0..4).try_for_each(|slot| b.evict(slot).map(drop))?;
    b.close(prices)?;
    assert_eq!(b.open_named("prices", Sort::Map), Err(Fault::NoSuchName));
    Ok(())
}
