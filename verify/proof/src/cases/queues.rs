//! Push, pop, claim, ack and give back of a queue, its creation, and its end with what is in it.
//!
//! The survivor's queue has two elements. Whatever happens, each of them is in the queue until somebody pops or acks it, once, and they
//! leave in order; a queue that ends leaves nothing behind.

use std::time::Duration;

use tenure::{
    Claim, Member, Raw, Token,
    collections::Queue,
    error::{CreateError, QueueError, WaitError},
    sync::wait_any,
};

use crate::case::{Case, KIND, QUEUED, QUEUED_ONCE, Stage};
use crate::pair::Pair;
use crate::survivor::{Survivor, is_intact, payload};

const NAME: &str = "queue";

pub(super) fn all() -> Vec<Case> {
    let bare = |name, script| Case::new(name, script).size(QUEUED);
    let case = |name, script| bare(name, script).before(provide).after(is_whole);
    let kept = |name, script| bare(name, script).before(provide).after(has_both);
    vec![
        bare("queue, create and drop", create),
        bare("queue, create named and drop", create_named),
        bare("queue, drop, with elements", drop_filled),
        bare("queue, leave, with elements", leave_filled),
        Case::new("queue, drop, its slots reused meanwhile", drop_shared)
            .size(QUEUED_ONCE)
            .before(post_held)
            .meanwhile(reuse)
            .after(is_reused),
        kept("queue, push", push),
        kept("queue, push, pushed meanwhile", push).meanwhile(push_one),
        case("queue, push, popped meanwhile", push).meanwhile(pop_one),
        case("queue, pop", pop),
        case("queue, pop, popped meanwhile", pop).meanwhile(pop_one),
        case("queue, pop, round after round meanwhile", pop).meanwhile(|survivor| {
            for _ in 0..5 {
                push_one(survivor);
                pop_one(survivor);
            }
        }),
        kept("queue, claim", claim),
        kept("queue, claim, claimed meanwhile", claim).meanwhile(claim_one),
        case("queue, claim, popped meanwhile", claim).meanwhile(pop_one),
        case("queue, claim and ack", work),
        kept("queue, give back", give_back),
        kept("queue, leave, with a claim", leave_claiming),
        bare("queue, push many", push_many).before(provide).after(has_first),
        bare("queue, push many, popped meanwhile", push_many)
            .before(provide)
            .meanwhile(pop_one)
            .after(has_first_at_end),
        case("queue, pop many", pop_many),
        case("queue, pop many, popped meanwhile", pop_many).meanwhile(pop_one),
        kept("queue, wait for any", wait_any_of),
        kept("queue, wait for any, claimed meanwhile", wait_any_of).meanwhile(claim_one),
    ]
}

pub(super) fn pairs() -> Vec<Pair> {
    let pair =
        |name, first, second| Pair::new(name, first, second).size(QUEUED).before(provide).after(is_whole);
    vec![
        pair("queue, push | push", push, push),
        pair("queue, push | pop", push, pop),
        pair("queue, pop | pop", pop, pop),
        pair("queue, pop | claim", pop, work),
        pair("queue, claim | give back", work, give_back),
        pair("queue, push many | pop many", push_many, pop_many),
        Pair::new("queue, drop | create", drop_filled, create).size(QUEUED),
    ]
}

/// A queue of the survivor's with two elements.
fn provide(survivor: &mut Survivor) {
    if survivor.queue.is_some() {
        return;
    }
    let queue = Queue::create_raw(survivor.me.named(NAME), KIND, 64).unwrap();
    for len in [40, 41] {
        queue.push(&payload(len)).unwrap();
    }
    survivor.queue = Some(queue);
}

/// A handle of the survivor's, which is in the actor's queue as well.
fn post_held(survivor: &mut Survivor) {
    let token = survivor.create(100);
    survivor.board.post(0, token.into());
}

/// The only slots go to a queue of the survivor's, if the other one is over, and the same handle to the same slot.
fn reuse(survivor: &mut Survivor) {
    let queue = match Queue::create_raw(survivor.me, KIND, 64) {
        Ok(queue) => queue,
        Err(CreateError::ContainerSlots { .. }) => return,
        Err(error) => panic!("{error}"),
    };
    let handle = survivor.me.open_raw(KIND, survivor.posted(0).unwrap()).unwrap();
    // The actor may not have let it go.
    if queue.push_handle(&handle).is_ok() {
        survivor.queue = Some(queue);
    }
}

/// What the survivor has put is there; and afterwards the slots are free.
fn is_reused(survivor: &mut Survivor) {
    if survivor.queue.is_some() {
        assert_eq!(drain(survivor), [100], "taken from a queue that lives");
    }
    drop(Queue::create_raw(survivor.me, KIND, 64).unwrap());
}

fn queue(survivor: &Survivor) -> &Queue<Raw> {
    survivor.queue.as_ref().unwrap()
}

fn push_one(survivor: &mut Survivor) {
    queue(survivor).push(&payload(42)).unwrap();
}

fn pop_one(survivor: &mut Survivor) {
    if let Some(handle) = queue(survivor).pop().unwrap() {
        assert!(is_intact(handle.get().unwrap()), "what was popped has changed");
    }
}

fn claim_one(survivor: &mut Survivor) {
    if let Some(claim) = queue(survivor).claim().unwrap() {
        assert!(is_intact(claim.get().unwrap()), "what was claimed has changed");
        claim.give_back().unwrap();
    }
}

/// Nobody is at work any more. Returns the lengths of the elements.
fn drain(survivor: &mut Survivor) -> Vec<usize> {
    let queue = survivor.queue.take().unwrap();
    assert_eq!(queue.len().unwrap().claimed, 0, "claimed by nobody");
    let lens = std::iter::from_fn(|| {
        let handle = queue.pop().unwrap()?;
        let bytes = handle.get().unwrap();
        assert!(is_intact(bytes), "an element has changed");
        Some(bytes.len())
    });
    lens.collect()
}

/// Each element at most once. What was given back comes first.
fn is_whole(survivor: &mut Survivor) {
    let lens = drain(survivor);
    for len in [40, 41] {
        assert!(lens.iter().filter(|found| **found == len).count() <= 1, "twice: {lens:?}");
    }
}

fn has_both(survivor: &mut Survivor) {
    let mut lens = drain(survivor);
    lens.sort_unstable();
    assert!(lens.starts_with(&[40, 41]), "lost: {lens:?}");
}

/// What `push_many` pushes.
const BATCH: [usize; 3] = [50, 20, 51];

/// The two, and then the first ones of the batch, each as a whole.
fn has_first(survivor: &mut Survivor) {
    let lens = drain(survivor);
    let all = [40, 41, BATCH[0], BATCH[1], BATCH[2]];
    assert!(lens.len() >= 2 && all.starts_with(&lens), "not the first ones: {lens:?}");
}

/// As `has_first`, if others have popped.
fn has_first_at_end(survivor: &mut Survivor) {
    let lens = drain(survivor);
    let all = [40, 41, BATCH[0], BATCH[1], BATCH[2]];
    let is_part = (0..=5).any(|end| all[..end].ends_with(&lens));
    assert!(is_part, "lost, or out of order: {lens:?}");
}

fn create(stage: &Stage<'_>) {
    let me = stage.join();
    stage.begin();
    // The other one may have taken the slots.
    drop(Queue::create_raw(&me, KIND, 64));
    stage.end();
    me.leave().unwrap();
}

fn create_named(stage: &Stage<'_>) {
    let me = stage.join();
    stage.begin();
    drop(Queue::create_raw(me.named("mine"), KIND, 64).unwrap());
    stage.end();
    me.leave().unwrap();
}

fn filled(me: &Member) -> Queue<Raw> {
    let queue = Queue::create_raw(me, KIND, 64).unwrap();
    for len in [20, 100] {
        queue.push(&payload(len)).unwrap();
    }
    queue
}

fn drop_filled(stage: &Stage<'_>) {
    let me = stage.join();
    let queue = filled(&me);
    stage.begin();
    drop(queue);
    stage.end();
    me.leave().unwrap();
}

fn drop_shared(stage: &Stage<'_>) {
    let me = stage.join();
    let queue = Queue::create_raw(&me, KIND, 64).unwrap();
    let handle = me.open_raw(KIND, Token::try_from(stage.board.read(0)).unwrap()).unwrap();
    queue.push_handle(&handle).unwrap();
    drop(handle);
    stage.begin();
    drop(queue);
    stage.end();
    me.leave().unwrap();
}

fn leave_filled(stage: &Stage<'_>) {
    let me = stage.join();
    let queue = std::mem::ManuallyDrop::new(filled(&me));
    stage.begin();
    // Recovery of its own lease ends it.
    drop(std::mem::ManuallyDrop::into_inner(queue));
    me.leave().unwrap();
    stage.end();
}

fn with_queue(stage: &Stage<'_>, work: impl FnOnce(&Queue<Raw>)) {
    let me = stage.join();
    let queue = Queue::open_raw(&me, KIND, NAME).unwrap();
    stage.begin();
    work(&queue);
    stage.end();
    drop(queue);
    me.leave().unwrap();
}

fn push(stage: &Stage<'_>) {
    with_queue(stage, |queue| match queue.push(&payload(43)) {
        Ok(()) | Err(QueueError::Full { .. }) => {}
        Err(error) => panic!("{error}"),
    });
}

fn push_many(stage: &Stage<'_>) {
    let values = BATCH.map(payload);
    with_queue(stage, |queue| {
        queue.push_many(values.iter().map(|value| &value[..])).unwrap();
    });
}

fn pop_many(stage: &Stage<'_>) {
    let mut popped = Vec::new();
    with_queue(stage, |queue| {
        queue.pop_many(&mut popped, 2).unwrap();
        for handle in popped.drain(..) {
            assert!(is_intact(handle.get().unwrap()), "what was popped has changed");
        }
    });
}

fn wait_any_of(stage: &Stage<'_>) {
    // The others may have claimed or taken all of it.
    with_queue(stage, |queue| match wait_any(&[queue], Duration::ZERO) {
        Ok(_) | Err(WaitError::TimedOut) => {}
        Err(error) => panic!("{error}"),
    });
}

fn pop(stage: &Stage<'_>) {
    with_queue(stage, |queue| {
        if let Some(handle) = queue.pop().unwrap() {
            assert!(is_intact(handle.get().unwrap()), "what was popped has changed");
        }
    });
}

fn claimed(queue: &Queue<Raw>) -> Option<Claim<Raw>> {
    let claim = queue.claim().unwrap()?;
    assert!(is_intact(claim.get().unwrap()), "what was claimed has changed");
    Some(claim)
}

fn claim(stage: &Stage<'_>) {
    let me = stage.join();
    let queue = Queue::open_raw(&me, KIND, NAME).unwrap();
    stage.begin();
    let claim = claimed(&queue);
    stage.end();
    // Its drop gives it back.
    drop((claim, queue));
    me.leave().unwrap();
}

fn work(stage: &Stage<'_>) {
    with_queue(stage, |queue| {
        if let Some(claim) = claimed(queue) {
            claim.ack().unwrap();
        }
    });
}

fn give_back(stage: &Stage<'_>) {
    let me = stage.join();
    let queue = Queue::open_raw(&me, KIND, NAME).unwrap();
    let claim = claimed(&queue);
    stage.begin();
    drop(claim);
    stage.end();
    drop(queue);
    me.leave().unwrap();
}

fn leave_claiming(stage: &Stage<'_>) {
    let me = stage.join();
    let queue = Queue::open_raw(&me, KIND, NAME).unwrap();
    let claim = claimed(&queue);
    stage.begin();
    drop((claim, queue));
    me.leave().unwrap();
    stage.end();
}
