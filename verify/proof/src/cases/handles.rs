//! Create, open, get and close, on every path.
#![allow(
    clippy::undocumented_unsafe_blocks,
    reason = "the cases own their handles by raw values, use no slice after the close, and two of them close what is stale on purpose"
)]

use tenure::{Local, Token, error::OpenHandleError, raw::RawHandle};

use crate::case::{Case, KIND, Stage, WIDE, WORN};
use crate::survivor::{Survivor, fill, is_intact, layout, payload};

pub(super) fn all() -> Vec<Case> {
    vec![
        Case::new("create, cached", |stage| create(stage, true, 8)),
        Case::new("create, claiming", |stage| create(stage, false, 8)),
        Case::new("create, claiming what a killed closer left", create_after_a_closer).half("close, last", 8),
        Case::new("create with a block", |stage| create(stage, true, 100)),
        Case::new("create with a block, claiming", |stage| create(stage, false, 100)),
        Case::new("create of a block", create_of_a_block),
        Case::new("create, exhausted", create_exhausted).uses_up(),
        Case::new("create, extending the slab", create_extending).size(WIDE),
        Case::new("open, first", |stage| open(stage, 0, 0)),
        Case::new("open, first, of a block", |stage| open(stage, 1, 0)),
        Case::new("open, already shared", |stage| open(stage, 0, 0)).before(share_all),
        Case::new("open, second", |stage| open(stage, 1, 1)),
        Case::new("open, stale", open_stale).before(make_stale),
        Case::new("open, given up meanwhile", open_given_up).before(create_to_give_up).meanwhile(give_up),
        Case::new("open, shared and given up meanwhile", open_given_up)
            .before(|survivor| {
                create_to_give_up(survivor);
                open_and_close_posted(survivor);
            })
            .meanwhile(give_up),
        Case::new("open, given up and drained meanwhile", open_given_up)
            .before(create_to_drain)
            .meanwhile(drain),
        Case::new("get", get),
        Case::new("close, private", |stage| close_private(stage, 8)),
        Case::new("close, private, with a block", |stage| close_private(stage, 100)),
        Case::new("close, private, opened meanwhile", close_private_posted)
            .meanwhile(|survivor| survivor.open_posted(0)),
        Case::new("close, not last", close_not_last),
        Case::new("close, second", close_second),
        Case::new("close, last", close_last).assist(open_and_close_posted),
        Case::new("close, last, opened meanwhile", close_last)
            .assist(open_and_close_posted)
            .meanwhile(|survivor| survivor.open_posted(0)),
        Case::new("close, of a creator who is held by others", close_last)
            .assist(|survivor| survivor.open_posted(0)),
        Case::new("close, last, of another's block", close_anothers)
            .before(create_to_give_up)
            .assist(Survivor::close_last),
        Case::new("close, both", close_last).assist(|survivor| survivor.open_posted(0)).meanwhile(
            |survivor| {
                survivor.close_last();
                survivor.open_posted(0);
            },
        ),
        Case::new("close, retiring", close_retiring).size(WORN),
    ]
}

fn create(stage: &Stage<'_>, warm: bool, len: usize) {
    let me = stage.join();
    let mut local = me.local();
    if warm {
        let held = local.create(KIND, &payload(len)).unwrap();
        unsafe { local.close(held) }.unwrap();
    }
    let bytes = payload(len);
    stage.begin();
    let held = local.create(KIND, &bytes);
    stage.end();
    let held = held.unwrap();
    check_and_close(&mut local, held, len);
    drop(local);
    me.leave().unwrap();
}

pub(super) fn create_claiming(stage: &Stage<'_>) {
    create(stage, false, 8);
}

pub(super) fn create_block_claiming(stage: &Stage<'_>) {
    create(stage, false, 100);
}

/// The closer's handle is over, and its entry still names the block; it is not recovered yet.
fn create_after_a_closer(stage: &Stage<'_>) {
    let me = stage.join();
    let mut local = me.local();
    let bytes = payload(8);
    stage.begin();
    let held = local.create(KIND, &bytes);
    stage.end_among_others();
    check_and_close(&mut local, held.unwrap(), 8);
    drop(local);
    me.leave().unwrap();
}

fn check_and_close(local: &mut Local<'_>, held: RawHandle, len: usize) {
    let bytes = unsafe { local.get(&held) }.unwrap();
    assert!(bytes.len() == len && is_intact(bytes), "the actor's own handle changed");
    unsafe { local.close(held) }.unwrap();
}

fn create_of_a_block(stage: &Stage<'_>) {
    let me = stage.join();
    let mut local = me.local();
    let block = local.alloc(layout(100)).unwrap();
    fill(&local, block);
    stage.begin();
    let held = unsafe { local.create_with(KIND, block) };
    stage.end();
    check_and_close(&mut local, held.unwrap(), 100);
    drop(local);
    me.leave().unwrap();
}

fn create_exhausted(stage: &Stage<'_>) {
    let me = stage.join();
    let mut local = me.local();
    let mut all = Vec::with_capacity(200);
    while let Ok(held) = local.create(KIND, &payload(8)) {
        all.push(held);
    }
    stage.begin();
    let one_more = local.create(KIND, b"");
    stage.end();
    // Unless another process gave one up.
    all.extend(one_more);
    assert!(all.len() > 40);
    all.into_iter().for_each(|held| unsafe { local.close(held) }.unwrap());
    drop(local);
    me.leave().unwrap();
}

fn create_extending(stage: &Stage<'_>) {
    let cached = stage.space.stats().handles_claimed;
    let me = stage.join();
    let mut local = me.local();
    let mut all = Vec::with_capacity(1200);
    // Until everything committed is in use or in the survivor's cache.
    loop {
        let stats = stage.space.stats();
        let left = 1024 - (stats.handles_live + stats.handles_claimed);
        let is_all_claimed = left == 0;
        // More than are created may be claimed, so the last ones come in small portions.
        let more =
            if is_all_claimed { stats.handles_claimed - cached } else { left.saturating_sub(64).max(16) };
        all.extend((0..more).map(|_| local.create(KIND, b"").unwrap()));
        if is_all_claimed {
            break;
        }
    }
    stage.begin();
    let held = local.create(KIND, b"");
    stage.end();
    all.push(held.unwrap());
    all.into_iter().for_each(|held| unsafe { local.close(held) }.unwrap());
    drop(local);
    me.leave().unwrap();
}

fn share_all(survivor: &mut Survivor) {
    for at in 0..survivor.tokens.len() {
        let held = survivor.local.open(KIND, survivor.tokens[at]).unwrap();
        unsafe { survivor.local.close(held) }.unwrap();
    }
}

fn open(stage: &Stage<'_>, which: usize, times: usize) {
    let me = stage.join();
    let mut local = me.local();
    let token = stage.tokens[which];
    let before: Vec<_> = (0..times).map(|_| local.open(KIND, token).unwrap()).collect();
    stage.begin();
    let held = local.open(KIND, token);
    stage.end();
    let held = held.unwrap();
    assert!(is_intact(unsafe { local.get(&held) }.unwrap()));
    before.into_iter().chain([held]).for_each(|held| unsafe { local.close(held) }.unwrap());
    drop(local);
    me.leave().unwrap();
}

fn make_stale(survivor: &mut Survivor) {
    survivor.create(8);
    survivor.close_last();
}

fn open_stale(stage: &Stage<'_>) {
    let me = stage.join();
    let mut local = me.local();
    let token = *stage.tokens.last().unwrap();
    stage.begin();
    let held = local.open(KIND, token);
    stage.end();
    assert!(matches!(held, Err(OpenHandleError::Stale { .. })), "{held:?}");
    drop(local);
    me.leave().unwrap();
}

/// Other processes do not learn of it, so that it stays private.
pub(super) fn create_to_give_up(survivor: &mut Survivor) {
    let token = survivor.create(100);
    survivor.tokens.pop();
    survivor.board.post(0, token.into());
}

fn create_to_drain(survivor: &mut Survivor) {
    let mut spare = survivor.me.local();
    let held = spare.create(KIND, &payload(100)).unwrap();
    survivor.board.post(0, spare.token(&held).into());
    survivor.spare = Some((spare, held));
}

/// Ends the handle by a private close and gives its entry, claimed for the next generation, to everybody.
fn drain(survivor: &mut Survivor) {
    let (mut spare, held) = survivor.spare.take().unwrap();
    unsafe { spare.close(held) }.unwrap();
    drop(spare);
    survivor.me.trim().unwrap();
}

/// Gives up the last handle and uses its entry and its block for something else.
fn give_up(survivor: &mut Survivor) {
    survivor.close_last();
    for len in [120, 8, 110] {
        survivor.create(len);
    }
}

pub(super) fn open_given_up(stage: &Stage<'_>) {
    let me = stage.join();
    let mut local = me.local();
    let token = posted(stage);
    stage.begin();
    let held = local.open(KIND, token);
    stage.end();
    match held {
        Ok(held) => check_and_close(&mut local, held, 100),
        Err(error) => assert!(matches!(error, OpenHandleError::Stale { .. }), "{error}"),
    }
    drop(local);
    me.leave().unwrap();
}

fn get(stage: &Stage<'_>) {
    let me = stage.join();
    let mut local = me.local();
    let held = local.create(KIND, &payload(100)).unwrap();
    stage.begin();
    let bytes = unsafe { local.get(&held) };
    stage.end();
    assert!(is_intact(bytes.unwrap()));
    unsafe { local.close(held) }.unwrap();
    drop(local);
    me.leave().unwrap();
}

fn close_private(stage: &Stage<'_>, len: usize) {
    let me = stage.join();
    let mut local = me.local();
    let held = local.create(KIND, &payload(len)).unwrap();
    stage.begin();
    let closed = unsafe { local.close(held) };
    stage.end();
    closed.unwrap();
    drop(local);
    me.leave().unwrap();
}

fn post(stage: &Stage<'_>, token: Token) {
    stage.board.post(0, token.into());
}

fn posted(stage: &Stage<'_>) -> Token {
    Token::try_from(stage.board.read(0)).unwrap()
}

pub(super) fn close_private_posted(stage: &Stage<'_>) {
    let me = stage.join();
    let mut local = me.local();
    let held = local.create(KIND, &payload(100)).unwrap();
    post(stage, local.token(&held));
    stage.begin();
    let closed = unsafe { local.close(held) };
    stage.end();
    closed.unwrap();
    // A handle that is created now must not take the other one's entry or block.
    let others: Vec<_> = [90, 91, 100].map(|len| local.create(KIND, &payload(len)).unwrap()).into();
    others.into_iter().for_each(|held| unsafe { local.close(held) }.unwrap());
    drop(local);
    me.leave().unwrap();
}

fn open_and_close_posted(survivor: &mut Survivor) {
    let held = survivor.local.open(KIND, survivor.posted(0).unwrap()).unwrap();
    unsafe { survivor.local.close(held) }.unwrap();
}

fn close_last(stage: &Stage<'_>) {
    let me = stage.join();
    let mut local = me.local();
    let held = local.create(KIND, &payload(100)).unwrap();
    post(stage, local.token(&held));
    stage.meet();
    stage.begin();
    let closed = unsafe { local.close(held) };
    stage.end();
    closed.unwrap();
    let others: Vec<_> = [90, 91, 100].map(|len| local.create(KIND, &payload(len)).unwrap()).into();
    others.into_iter().for_each(|held| unsafe { local.close(held) }.unwrap());
    drop(local);
    me.leave().unwrap();
}

fn close_not_last(stage: &Stage<'_>) {
    let me = stage.join();
    let mut local = me.local();
    let held = local.open(KIND, stage.tokens[1]).unwrap();
    stage.begin();
    let closed = unsafe { local.close(held) };
    stage.end();
    closed.unwrap();
    drop(local);
    me.leave().unwrap();
}

pub(super) fn close_anothers(stage: &Stage<'_>) {
    let me = stage.join();
    let mut local = me.local();
    let held = local.open(KIND, posted(stage)).unwrap();
    stage.meet();
    stage.begin();
    let closed = unsafe { local.close(held) };
    stage.end();
    closed.unwrap();
    drop(local);
    me.leave().unwrap();
}

fn close_second(stage: &Stage<'_>) {
    let me = stage.join();
    let mut local = me.local();
    let held = local.open(KIND, stage.tokens[1]).unwrap();
    let again = local.open(KIND, stage.tokens[1]).unwrap();
    stage.begin();
    let closed = unsafe { local.close(again) };
    stage.end();
    closed.unwrap();
    check_and_close(&mut local, held, 100);
    drop(local);
    me.leave().unwrap();
}

fn close_retiring(stage: &Stage<'_>) {
    let me = stage.join();
    let mut local = me.local();
    for _ in 0..15 {
        let held = local.create(KIND, &payload(100)).unwrap();
        unsafe { local.close(held) }.unwrap();
    }
    let held = local.create(KIND, &payload(100)).unwrap();
    stage.begin();
    let closed = unsafe { local.close(held) };
    stage.end();
    closed.unwrap();
    assert!(stage.space.stats().handles_retired > 0);
    drop(local);
    me.leave().unwrap();
}
