//! A condition variable: waited for and notified, with and without others.
//!
//! Whoever waits is woken once what it waits for was changed, also if the one who changed it is dead before it notified.

use tenure::{error::WaitError, sync::WaitEnd};

use super::waiting::{all_is_well, provide, recover, send, things, with_things};
use crate::case::{Case, Script, Stage};
use crate::survivor::Survivor;
use crate::things::{AT_ONCE, FLAG, NOT_NOW, What};

pub(super) fn all() -> Vec<Case> {
    let case = |name, script: Script| Case::new(name, script).before(provide).after(all_is_well);
    vec![
        case("create and drop a condition variable", |stage| {
            let me = stage.join();
            stage.begin();
            drop(tenure::sync::Condvar::create(&me).unwrap());
            stage.end();
            me.leave().unwrap();
        }),
        case("notify nobody", |stage| {
            with_things(stage, |things| {
                stage.begin();
                let notified = things.changed.notify_all();
                stage.end();
                notified.unwrap();
            });
        }),
        case("wait with a condition variable, timing out", |stage| {
            with_things(stage, |things| {
                stage.begin();
                let waited = things.changed.wait_with(things.mutex.lock().unwrap(), AT_ONCE);
                stage.end_among_others();
                let (guard, end) = waited.unwrap();
                assert!(!guard.abandoned() && matches!(end, WaitEnd::TimedOut | WaitEnd::Notified));
            });
        })
        .meanwhile(give_up_a_lock)
        .after(told_at_most_once),
        case("wait for a change, which somebody is about to make", |stage| {
            with_things(stage, |things| {
                let guard = things.mutex.lock().unwrap();
                stage.meet();
                stage.begin();
                let waited = things.changed.wait_while(guard, |_| stage.board.read(FLAG) == 0);
                stage.end_among_others();
                drop(waited.unwrap());
            });
        })
        .assist(|survivor| {
            survivor.board.post(FLAG, 0);
            send(survivor, What::ToChange);
        })
        .after(|survivor| {
            things(survivor).see_sleeper();
            survivor.board.post(FLAG, 0);
            all_is_well(survivor);
        }),
        case("change and notify, with a waiter", change).before(waiter).after(see_waiter),
        case("change and notify, with a waiter, notified by others", change)
            .before(waiter)
            .meanwhile(|survivor| {
                if change_if_free(survivor) {
                    things(survivor).see_sleeper();
                }
            })
            .after(see_waiter),
        case("recover, of one who has changed and notified nobody", recover)
            .before(waiter)
            .after(see_waiter)
            .half("change and notify, with a waiter", 2),
        case("recover, of one who was about to change", recover)
            .before(waiter)
            .after(see_waiter)
            .half("change and notify, with a waiter", 1),
    ]
}

fn waiter(survivor: &mut Survivor) {
    provide(survivor);
    send(survivor, What::Changed);
}

fn change(stage: &Stage<'_>) {
    with_things(stage, |things| {
        stage.begin();
        let locked = things.mutex.acquire(None);
        stage.board.post(FLAG, 1);
        let unlocked = things.mutex.unlock();
        let notified = things.changed.notify_one();
        stage.end_among_others();
        locked.unwrap();
        unlocked.unwrap();
        notified.unwrap();
    });
}

/// Changes and notifies, unless somebody has the lock; whether it did.
fn change_if_free(survivor: &mut Survivor) -> bool {
    let board = survivor.board;
    let things = things(survivor);
    match things.mutex.acquire(NOT_NOW) {
        Ok(_) => {
            board.post(FLAG, 1);
            things.mutex.unlock().unwrap();
            things.changed.notify_all().unwrap();
            true
        }
        Err(error) => {
            assert!(matches!(error, WaitError::TimedOut), "{error}");
            false
        }
    }
}

/// Whoever waits is awake if something was changed, and nobody notifies it any more; else it is as if it had not begun.
fn see_waiter(survivor: &mut Survivor) {
    if survivor.board.read(FLAG) == 0 {
        assert!(survivor.actor_died || survivor.dead_before, "nothing was changed");
        assert!(change_if_free(survivor), "the lock of the dead");
    }
    let told = things(survivor).see_sleeper();
    assert!(!told || survivor.actor_died || survivor.dead_before, "abandoned, but nobody died");
    survivor.board.post(FLAG, 0);
    all_is_well(survivor);
}

/// Takes and gives back the lock, if it can be had.
fn give_up_a_lock(survivor: &mut Survivor) {
    if things(survivor).mutex.acquire(NOT_NOW).is_ok() {
        things(survivor).mutex.unlock().unwrap();
        things(survivor).changed.notify_all().unwrap();
    }
}

fn told_at_most_once(survivor: &mut Survivor) {
    let told = things(survivor).mutex.acquire(NOT_NOW).unwrap();
    assert!(!told || survivor.actor_died || survivor.dead_before, "abandoned, but nobody died");
    things(survivor).mutex.unlock().unwrap();
    all_is_well(survivor);
}
