//! Put, replace, take, evict, claim, ack, give back, and the closes and leaves beside them.

use tenure::{
    Handle, Member, Raw, Token,
    error::{OpenHandleError, PutError, SlotError},
};

use crate::case::{Case, KEEPING, KIND, Stage};
use crate::pair::Pair;
use crate::survivor::{Survivor, is_intact, payload};

/// The slots of the cases. [`crate::survivor::everything`] uses the next ones.
const SLOT: u32 = 0;
const OTHER: u32 = 1;

pub(super) fn all() -> Vec<Case> {
    let case = |name, script| Case::new(name, script).size(KEEPING).after(kept_or_over);
    vec![
        case("slot, put of its own", put_own),
        case("slot, put of its own, full meanwhile", put_own).meanwhile(fill_slot),
        case("slot, put of another's", put_posted).before(post_held),
        case("slot, put of another's, let go meanwhile", put_posted)
            .before(post_held)
            .meanwhile(Survivor::close_last),
        case("slot, put of another's, put meanwhile", put_posted).before(post_held).meanwhile(put_elsewhere),
        case("slot, put of another's, put and taken meanwhile", put_posted).before(post_held).meanwhile(
            |survivor| {
                put_elsewhere(survivor);
                take_other(survivor);
            },
        ),
        case("slot, put and close", put_and_close),
        case("slot, put and close, taken meanwhile", put_and_close).meanwhile(take_slot),
        case("slot, put and close, evicted meanwhile", put_and_close).meanwhile(evict_slot),
        case("slot, replace", replace).before(fill_slot),
        case("slot, replace, evicted meanwhile", replace).before(fill_slot).meanwhile(evict_slot),
        case("slot, replace, claimed and given back meanwhile", replace)
            .before(fill_slot)
            .meanwhile(claim_slot),
        case("slot, take", take).before(fill_slot),
        case("slot, take, taken meanwhile", take).before(fill_slot).meanwhile(take_slot),
        case("slot, take, moved meanwhile", take).before(fill_slot).meanwhile(move_slot),
        case("slot, take, refilled meanwhile", take).before(fill_slot).meanwhile(|survivor| {
            evict_slot(survivor);
            fill_slot(survivor);
        }),
        case("slot, evict", evict).before(fill_slot),
        case("slot, evict, opened meanwhile", evict).before(fill_slot).meanwhile(open_and_close),
        case("slot, evict, moved meanwhile", evict).before(fill_slot).meanwhile(move_slot),
        case("slot, evict, held by another", evict).before(put_held),
        case("slot, evict, let go meanwhile", evict).before(put_held).meanwhile(Survivor::close_last),
        case("slot, close, last, in a slot", close_posted).before(fill_slot),
        case("slot, close, last, evicted meanwhile", close_posted).before(fill_slot).meanwhile(evict_slot),
        case("slot, claim", claim).before(fill_slot).after(kept),
        case("slot, claim, claimed meanwhile", claim).before(fill_slot).meanwhile(claim_slot).after(kept),
        case("slot, claim, taken meanwhile", claim).before(fill_slot).meanwhile(take_slot),
        case("slot, give back", give_back).before(fill_slot).after(kept),
        case("slot, ack", ack).before(fill_slot),
        case("slot, ack, opened meanwhile", ack).before(fill_slot).meanwhile(open_and_close),
        case("slot, leave, with a claim", leave_claiming).before(fill_slot).after(kept),
    ]
}

pub(super) fn pairs() -> Vec<Pair> {
    let pair = |name, first, second| Pair::new(name, first, second).size(KEEPING).after(kept_or_over);
    let filled = |name, first, second| pair(name, first, second).before(fill_slot);
    vec![
        pair("slot, put | put of one handle", put_posted, put_posted_elsewhere).before(post_held),
        pair("slot, put | put, into one slot", put_own, put_own),
        pair("slot, put | close", put_posted, close_posted).before(post_held).meanwhile(Survivor::close_last),
        filled("slot, take | take", take, take),
        filled("slot, take | evict", take, evict),
        filled("slot, take | close", take, close_posted),
        filled("slot, evict | close", evict, close_posted),
        filled("slot, evict | put and close", evict, put_and_close),
        filled("slot, claim | claim", work, work),
        filled("slot, claim | replace", work, replace),
        filled(
            "slot, recover | recover, of an evictor",
            super::members::only_recover,
            super::members::only_recover,
        )
        .half("slot, evict", 2),
        filled(
            "slot, recover | recover, of a claimer",
            super::members::only_recover,
            super::members::only_recover,
        )
        .half("slot, claim", 4),
        pair("slot, recover | take, of a putter", super::members::recover, take)
            .half("slot, put of its own", 3),
        filled("slot, recover | claim, of a claimer", super::members::recover, work).half("slot, claim", 4),
    ]
}

/// A handle that only the slot holds; its token is posted.
fn fill_slot(survivor: &mut Survivor) {
    if survivor.space.slots().iter().any(|info| info.slot == SLOT) {
        return;
    }
    let Ok(handle) = survivor.me.create_raw(KIND, &payload(100)) else { return };
    // A stopped putter may be faster.
    if survivor.me.slots().put(SLOT, &handle).is_ok() {
        survivor.board.post(0, handle.token().into());
    }
}

/// A handle of the survivor, for the actor to open.
fn post_held(survivor: &mut Survivor) {
    let token = survivor.create(100);
    survivor.tokens.pop();
    survivor.board.post(0, token.into());
}

/// A handle that the slot and the survivor hold.
fn put_held(survivor: &mut Survivor) {
    post_held(survivor);
    let handle = open(survivor).unwrap();
    survivor.me.slots().put(SLOT, &handle).unwrap();
}

fn open(survivor: &Survivor) -> Option<Handle<Raw>> {
    match survivor.me.open_raw(KIND, survivor.posted(0)?) {
        Ok(handle) => Some(handle),
        Err(OpenHandleError::Stale { .. }) => None,
        Err(error) => panic!("{error}"),
    }
}

fn open_and_close(survivor: &mut Survivor) {
    drop(open(survivor));
}

fn put_elsewhere(survivor: &mut Survivor) {
    let handle = open(survivor).unwrap();
    assert_put(survivor.me.slots().put(OTHER, &handle));
}

fn assert_put(put: Result<(), PutError>) {
    match put {
        Ok(()) | Err(PutError::Full { .. } | PutError::Already { .. } | PutError::InTransit { .. }) => {}
        Err(error) => panic!("{error}"),
    }
}

fn take_other(survivor: &mut Survivor) {
    take_out(survivor.me, OTHER);
}

fn take_slot(survivor: &mut Survivor) {
    take_out(survivor.me, SLOT);
}

fn take_out(me: &Member, slot: u32) -> Option<Handle<Raw>> {
    match me.slots().take_raw(slot, KIND) {
        Ok(handle) => {
            assert!(is_intact(handle.get().unwrap()), "what was taken has changed");
            Some(handle)
        }
        Err(SlotError::Empty { .. } | SlotError::Claimed { .. }) => None,
        Err(error) => panic!("{error}"),
    }
}

/// From one slot to the other. With one owner at a time no put is refused, also where the former putter is stopped.
fn move_slot(survivor: &mut Survivor) {
    if let Some(handle) = take_out(survivor.me, SLOT) {
        assert_put(survivor.me.slots().put(OTHER, &handle));
    }
}

fn evict_slot(survivor: &mut Survivor) {
    evict_from(survivor.me);
}

fn evict_from(me: &Member) -> Option<Token> {
    match me.slots().evict(SLOT) {
        Ok(token) => Some(token),
        Err(SlotError::Empty { .. } | SlotError::Claimed { .. }) => None,
        Err(error) => panic!("{error}"),
    }
}

fn claim_slot(survivor: &mut Survivor) {
    match survivor.me.slots().claim_raw(SLOT, KIND) {
        Ok(claim) => {
            assert!(is_intact(claim.get().unwrap()), "what was claimed has changed");
            claim.give_back().unwrap();
        }
        Err(SlotError::Empty { .. } | SlotError::Claimed { .. }) => {}
        Err(error) => panic!("{error}"),
    }
}

/// Nobody is at work: the posted handle is held by a slot or by the survivor, or it is over; nothing is claimed.
fn kept_or_over(survivor: &mut Survivor) {
    for info in survivor.space.slots() {
        assert_eq!(info.claimed_by, None, "{info:?}");
        let handle =
            survivor.me.open_raw(KIND, info.token).unwrap_or_else(|error| panic!("{info:?}: {error}"));
        assert!(is_intact(handle.get().unwrap()), "{info:?}: its payload changed");
    }
    let Some(token) = survivor.posted(0) else { return };
    let is_kept = survivor.me.slots().find(token).unwrap().is_some();
    let is_held = survivor.held.iter().any(|held| survivor.local.token(held) == token);
    assert_eq!(open(survivor).is_some(), is_kept || is_held, "kept: {is_kept}, held: {is_held}");
}

/// As `kept_or_over`, and the slot still has it.
fn kept(survivor: &mut Survivor) {
    kept_or_over(survivor);
    let token = survivor.posted(0).unwrap();
    assert_eq!(survivor.me.slots().find(token), Ok(Some(SLOT)), "lost");
}

fn posted(stage: &Stage<'_>, me: &Member) -> Option<Handle<Raw>> {
    me.open_raw(KIND, Token::try_from(stage.board.read(0)).unwrap()).ok()
}

fn put_own(stage: &Stage<'_>) {
    let me = stage.join();
    let handle = me.create_raw(KIND, &payload(100)).unwrap();
    stage.begin();
    let put = me.slots().put(SLOT, &handle);
    stage.end();
    assert_put(put);
    assert!(is_intact(handle.get().unwrap()));
    drop(handle);
    me.leave().unwrap();
}

fn put_posted(stage: &Stage<'_>) {
    put_posted_into(stage, SLOT);
}

fn put_posted_elsewhere(stage: &Stage<'_>) {
    put_posted_into(stage, OTHER);
}

fn put_posted_into(stage: &Stage<'_>, slot: u32) {
    let me = stage.join();
    let handle = posted(stage, &me);
    stage.begin();
    let put = handle.as_ref().map_or(Ok(()), |handle| me.slots().put(slot, handle));
    stage.end();
    assert_put(put);
    drop(handle);
    me.leave().unwrap();
}

fn close_posted(stage: &Stage<'_>) {
    let me = stage.join();
    let handle = posted(stage, &me);
    stage.begin();
    drop(handle);
    stage.end();
    me.leave().unwrap();
}

fn put_and_close(stage: &Stage<'_>) {
    let me = stage.join();
    let handle = me.create_raw(KIND, &payload(100)).unwrap();
    stage.begin();
    let put = me.slots().put(SLOT, &handle);
    drop(handle);
    stage.end();
    assert_put(put);
    me.leave().unwrap();
}

fn replace(stage: &Stage<'_>) {
    let me = stage.join();
    let handle = me.create_raw(KIND, &payload(100)).unwrap();
    stage.begin();
    let replaced = me.slots().replace(SLOT, &handle);
    stage.end();
    assert_put(replaced.map(|_| ()));
    drop(handle);
    me.leave().unwrap();
}

fn take(stage: &Stage<'_>) {
    let me = stage.join();
    stage.begin();
    let taken = take_out(&me, SLOT);
    stage.end();
    drop(taken);
    me.leave().unwrap();
}

fn evict(stage: &Stage<'_>) {
    let me = stage.join();
    stage.begin();
    evict_from(&me);
    stage.end();
    me.leave().unwrap();
}

fn claim(stage: &Stage<'_>) {
    let me = stage.join();
    stage.begin();
    let claim = me.slots().claim_raw(SLOT, KIND);
    stage.end();
    // Its drop gives it back.
    drop(claim);
    me.leave().unwrap();
}

fn give_back(stage: &Stage<'_>) {
    let me = stage.join();
    let claim = me.slots().claim_raw(SLOT, KIND);
    stage.begin();
    drop(claim);
    stage.end();
    me.leave().unwrap();
}

fn ack(stage: &Stage<'_>) {
    let me = stage.join();
    let claim = me.slots().claim_raw(SLOT, KIND);
    stage.begin();
    if let Ok(claim) = claim {
        claim.ack().unwrap();
    }
    stage.end();
    me.leave().unwrap();
}

/// A claim and its end.
fn work(stage: &Stage<'_>) {
    let me = stage.join();
    stage.begin();
    if let Ok(claim) = me.slots().claim_raw(SLOT, KIND) {
        claim.ack().unwrap();
    }
    stage.end();
    me.leave().unwrap();
}

fn leave_claiming(stage: &Stage<'_>) {
    let me = stage.join();
    let claim = me.slots().claim_raw(SLOT, KIND).unwrap();
    stage.begin();
    drop(claim);
    me.leave().unwrap();
    stage.end();
}
