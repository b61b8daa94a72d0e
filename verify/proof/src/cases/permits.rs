//! Permits with owners: acquired and given back, with and without others who wait.
//!
//! Whoever is killed has none any more once it is recovered; whoever waits gets one then.

use tenure::{error::WaitError, sync::Permit};

use super::waiting::{all_is_well, provide, recover, send, things, with_things};
use crate::case::{Case, Script, Stage};
use crate::survivor::Survivor;
use crate::things::{AT_ONCE, What, open};

pub(super) fn all() -> Vec<Case> {
    let case = |name, script: Script| Case::new(name, script).before(provide).after(all_is_well);
    vec![
        case("create and drop permits", |stage| {
            let me = stage.join();
            stage.begin();
            drop(tenure::sync::Permits::create(&me, 3).unwrap());
            stage.end();
            me.leave().unwrap();
        }),
        case("acquire a permit", |stage| {
            with_things(stage, |things| {
                stage.begin();
                let permit = things.permits.acquire(None);
                stage.end_among_others();
                drop(permit.unwrap());
            });
        })
        .meanwhile(one_is_left),
        case("acquire the last permit", acquire_last)
            .before(keep_one)
            .meanwhile(swap_if_free)
            .after(all_back),
        case("acquire a permit, timing out", |stage| {
            with_things(stage, |things| {
                stage.begin();
                let timed_out = things.permits.acquire(AT_ONCE);
                stage.end_among_others();
                assert!(matches!(timed_out, Err(WaitError::TimedOut)), "{timed_out:?}");
            });
        })
        .before(|survivor| {
            keep_one(survivor);
            keep_one(survivor);
        })
        .after(all_back),
        case("wait for a permit, which somebody is about to give back", |stage| {
            with_things(stage, |things| {
                things.mutex.acquire(None).unwrap();
                stage.meet();
                stage.begin();
                let unlocked = things.mutex.unlock();
                let permit = things.permits.acquire(None);
                stage.end_among_others();
                unlocked.unwrap();
                drop(permit.unwrap());
            });
        })
        .before(keep_one)
        .assist(|survivor| send(survivor, What::ToGiveBack))
        .after(see_waiter),
        case("give back a permit", |stage| {
            with_things(stage, |things| {
                let permit = things.permits.acquire(None).unwrap();
                stage.begin();
                drop(permit);
                stage.end();
            });
        })
        .meanwhile(one_is_left),
        case("give back a permit, with a waiter", give_back)
            .assist(|survivor| send(survivor, What::Permit))
            .after(see_waiter),
        case("give back a permit, with a waiter, given back by others", give_back)
            .before(keep_one)
            .assist(|survivor| send(survivor, What::Permit))
            .meanwhile(|survivor| {
                if survivor.has_met {
                    give_back_kept(survivor);
                    things(survivor).see_sleeper();
                }
            })
            .after(see_waiter),
        case("close, of one who has a permit", |stage| {
            let me = stage.join();
            let things = open(&me, stage.board);
            let permits = things.permits.clone();
            drop(things);
            let _ = permits.acquire(None).unwrap().into_number();
            stage.begin();
            drop(permits);
            stage.end();
            me.leave().unwrap();
        })
        .meanwhile(one_is_left),
        case("recover, of one who has permits and one who waits", recover)
            .after(see_waiter)
            .half("give back a permit, with a waiter", 0),
        case("recover, of one who has given back a permit and woken nobody", recover)
            .after(see_waiter)
            .half("give back a permit, with a waiter", 1),
    ]
}

/// Has all permits that the survivor does not have, lets somebody wait, and gives one back.
fn give_back(stage: &Stage<'_>) {
    with_things(stage, |things| {
        let first = things.permits.acquire(None).unwrap();
        let second: Option<Permit> = things.permits.try_acquire().ok();
        stage.meet();
        stage.begin();
        drop(first);
        stage.end_among_others();
        drop(second);
    });
}

fn acquire_last(stage: &Stage<'_>) {
    with_things(stage, |things| {
        stage.begin();
        let permit = things.permits.try_acquire();
        stage.end_among_others();
        // At each moment one of the two was free: the other one was given back before it was taken.
        drop(permit.unwrap());
    });
}

/// Numbers on the board: what the survivor has.
const KEPT: [usize; 2] = [0, 1];

fn keep_one(survivor: &mut Survivor) {
    provide(survivor);
    let board = survivor.board;
    if let Some(slot) = KEPT.into_iter().find(|slot| board.read(*slot) == 0) {
        board.post(slot, things(survivor).permits.try_acquire().unwrap().into_number());
    }
}

fn give_back_kept(survivor: &mut Survivor) {
    let board = survivor.board;
    for slot in KEPT.into_iter().filter(|slot| board.read(*slot) != 0) {
        drop(things(survivor).permits.adopt(board.read(slot)).unwrap());
        board.post(slot, 0);
    }
}

/// Takes the other permit and gives back the first, if the other one is free: never has both.
fn swap_if_free(survivor: &mut Survivor) {
    let board = survivor.board;
    let things = things(survivor);
    let kept = things.permits.adopt(board.read(KEPT[0])).unwrap();
    drop(kept);
    board.post(KEPT[0], things.permits.try_acquire().unwrap().into_number());
}

fn all_back(survivor: &mut Survivor) {
    give_back_kept(survivor);
    all_is_well(survivor);
}

/// Whoever is stopped or dead has one permit at most.
fn one_is_left(survivor: &mut Survivor) {
    let mine = things(survivor).permits.try_acquire().unwrap();
    assert!(things(survivor).permits.available().unwrap() <= 1);
    drop(mine);
}

/// The one who waited got a permit.
fn see_waiter(survivor: &mut Survivor) {
    things(survivor).see_sleeper();
    all_back(survivor);
}
