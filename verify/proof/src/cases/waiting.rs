//! Lock and unlock, set, reset and release, and waiting for one, any or all; with and without a sleeper.
//!
//! A sleeper must be woken although its waker is killed or stopped: by others that do the same (`meanwhile`), or once
//! the dead is recovered or the stopped one went on (`after`).

use std::time::Duration;

use tenure::{
    error::WaitError,
    sync::{MutexState, Waitable, wait_all, wait_any},
};

use crate::case::{Case, Stage};
use crate::survivor::Survivor;
pub(super) use crate::things::provide;
use crate::things::{AT_ONCE, NOT_NOW, Things, What, open};

/// Shared steps of `wait_all` over five objects after which it has reserved some, and not decided.
pub(super) const RESERVED: u32 = 6;

/// A case with the wait objects.
fn case(name: &'static str, script: crate::case::Script) -> Case {
    Case::new(name, script).before(provide).after(all_is_well)
}

pub(super) fn all() -> Vec<Case> {
    vec![
        case("create and drop a mutex", create),
        case("open and close a mutex", open_and_close),
        case("lock", lock).meanwhile(note_owner).after(told_if_owned),
        case("lock, by a known thread", lock_known).meanwhile(note_owner).after(told_if_owned),
        case("lock again", lock_again).meanwhile(note_owner).after(told_if_owned),
        case("lock, timing out", lock_timing_out).before(own).after(disown),
        case("unlock", unlock).meanwhile(note_owner).after(told_if_owned),
        case("unlock, with a waiter", unlock_with_waiter)
            .assist(|survivor| send(survivor, What::Mutex))
            .after(see_one_told),
        case("abandon, with a waiter", abandon)
            .assist(|survivor| send(survivor, What::Mutex))
            .after(see_told),
        case("close, of an owner", close_owner).meanwhile(note_owner).after(told_if_owned),
        case("set", |stage| set(stage, false)),
        case("reset", reset),
        case("set, with a waiter", |stage| set(stage, true)).before(manual_sleeper).after(see_manual),
        case("set, with a waiter, waited for meanwhile", |stage| set(stage, true))
            .before(manual_sleeper)
            .meanwhile(wait_if_set)
            .after(see_manual),
        case("set, with a waiter, set by others", |stage| set(stage, true))
            .before(manual_sleeper)
            .meanwhile(set_and_see)
            .after(see_manual),
        case("set an auto-reset event, with a waiter", set_auto).before(auto_sleeper).after(see_auto),
        case("set an auto-reset event, with a waiter, set by others", set_auto)
            .before(auto_sleeper)
            .meanwhile(|survivor| {
                things(survivor).auto.set().unwrap();
                things(survivor).see_sleeper();
            })
            .after(see_auto),
        case("release", |stage| release(stage, false)),
        case("release, with a waiter", |stage| release(stage, true))
            .before(semaphore_sleeper)
            .after(see_semaphore),
        case("release, with a waiter, released by others", |stage| release(stage, true))
            .before(semaphore_sleeper)
            .meanwhile(|survivor| {
                things(survivor).semaphore.release(1).unwrap();
                things(survivor).see_sleeper();
            })
            .after(see_semaphore),
        case("acquire", acquire).before(|survivor| {
            provide(survivor);
            things(survivor).semaphore.release(2).unwrap();
        }),
        case("acquire, timing out beside a waiter", acquire_timing_out)
            .before(semaphore_sleeper)
            .meanwhile(|survivor| {
                things(survivor).semaphore.release(1).unwrap();
                things(survivor).see_sleeper();
            })
            .after(see_semaphore),
        case("wait, timing out", wait_timing_out),
        case("wait any, timing out beside a waiter", any_timing_out)
            .before(auto_sleeper)
            .meanwhile(|survivor| {
                things(survivor).auto.set().unwrap();
                things(survivor).see_sleeper();
            })
            .after(see_auto),
        case("wait any, taking", any_taking).before(|survivor| {
            provide(survivor);
            things(survivor).auto.set().unwrap();
        }),
        case("wait all, taking", |stage| all_taking(stage, false)).before(signal_all).after(all_or_nothing),
        case("wait all, taken one by one meanwhile", |stage| all_taking(stage, true))
            .before(signal_all)
            .meanwhile(one_by_one)
            .after(all_or_nothing),
        case("wait all, waited for by others", |stage| all_taking(stage, true))
            .before(signal_all)
            .meanwhile(all_or_timed_out)
            .after(all_or_nothing),
        case("wait all, timing out", all_timing_out).before(own).after(disown),
        // Those who were killed before: owning, and between staging and waking.
        case("set what the dead left pending", |stage| set(stage, true))
            .before(manual_sleeper)
            .after(see_manual)
            .half("set, with a waiter", 1),
        case("recover, of an owner with a waiter", recover)
            .before(provide)
            .after(see_one_told)
            .half("unlock, with a waiter", 0),
        case("recover, of a pending value", recover).after(see_manual).half("set, with a waiter", 1),
        case("wait all, over what the dead has reserved", |stage| all_taking(stage, true))
            .before(signal_all)
            .half("wait all, taking", RESERVED),
        case("recover, of one who takes several", recover)
            .before(signal_all)
            .half("wait all, taking", RESERVED),
        case("recover, of an owner", recover).after(told_at_most_once).half("unlock", 0),
    ]
}

pub(super) fn things(survivor: &mut Survivor) -> &mut Things {
    survivor.things.as_mut().unwrap()
}

pub(super) fn send(survivor: &mut Survivor, what: What) {
    let (space, board) = (survivor.space, survivor.board);
    things(survivor).send_sleeper(space, board, what);
}

pub(super) fn all_is_well(survivor: &mut Survivor) {
    things(survivor).use_all();
}

fn own(survivor: &mut Survivor) {
    provide(survivor);
    things(survivor).mutex.acquire(NOT_NOW).unwrap();
}

fn disown(survivor: &mut Survivor) {
    things(survivor).mutex.unlock().unwrap();
    all_is_well(survivor);
}

pub(super) fn manual_sleeper(survivor: &mut Survivor) {
    provide(survivor);
    send(survivor, What::Manual);
}

pub(super) fn auto_sleeper(survivor: &mut Survivor) {
    provide(survivor);
    send(survivor, What::Auto);
}

pub(super) fn semaphore_sleeper(survivor: &mut Survivor) {
    provide(survivor);
    send(survivor, What::Semaphore);
}

/// Records which mutexes are owned, or abandoned, while the actor is dead or stopped.
fn note_owner(survivor: &mut Survivor) {
    let mine = survivor.me.lease().index;
    let is_owned = |mutex: &tenure::sync::Mutex| match mutex.state().unwrap() {
        MutexState::Owned { lease, .. } => {
            assert_ne!(lease, mine);
            assert!(matches!(mutex.acquire(NOT_NOW), Err(WaitError::TimedOut)));
            1
        }
        MutexState::Abandoned => 1,
        _ => 0,
    };
    let things = things(survivor);
    let owned = is_owned(&things.mutex) | is_owned(&things.twice) << 1;
    survivor.board.post(0, owned);
}

/// Exactly the mutexes that the dead actor owned are abandoned; an actor that was only stopped has unlocked.
fn told_if_owned(survivor: &mut Survivor) {
    if survivor.dead_before {
        // Recoverers may have been told already.
        return all_is_well(survivor);
    }
    let (owned, died) = (survivor.board.read(0), survivor.actor_died);
    let things = things(survivor);
    for (bit, mutex) in [&things.mutex, &things.twice].into_iter().enumerate() {
        let told = mutex.acquire(NOT_NOW).unwrap();
        assert_eq!(told, died && owned >> bit & 1 != 0, "abandoned, of {mutex:?}");
        mutex.unlock().unwrap();
    }
    all_is_well(survivor);
}

/// The sleeper got it; it may or may not be told of the dead owner. Nobody else is told.
pub(super) fn see_one_told(survivor: &mut Survivor) {
    let told = things(survivor).see_sleeper();
    assert!(survivor.actor_died || !told || survivor.dead_before, "abandoned, but nobody died");
    assert!(!things(survivor).mutex.acquire(NOT_NOW).unwrap(), "told twice");
    things(survivor).mutex.unlock().unwrap();
    all_is_well(survivor);
}

/// The sleeper got it and was told, and nobody else is.
fn see_told(survivor: &mut Survivor) {
    assert!(things(survivor).see_sleeper(), "its owner abandoned it or died, and nobody was told");
    assert!(!things(survivor).mutex.acquire(NOT_NOW).unwrap(), "told twice");
    things(survivor).mutex.unlock().unwrap();
    all_is_well(survivor);
}

fn told_at_most_once(survivor: &mut Survivor) {
    assert!(things(survivor).mutex.acquire(NOT_NOW).unwrap(), "its owner died, and nobody was told");
    things(survivor).mutex.unlock().unwrap();
    all_is_well(survivor);
}

/// Nobody is at work any more: a sleeper sleeps only because the event is not signalled.
pub(super) fn see_manual(survivor: &mut Survivor) {
    let things = things(survivor);
    if !things.manual.is_set().unwrap() {
        things.manual.set().unwrap();
    }
    things.see_sleeper();
    all_is_well(survivor);
}

pub(super) fn see_auto(survivor: &mut Survivor) {
    let things = things(survivor);
    if things.has_sleeper() && !things.auto.is_set().unwrap() {
        // If the sleeper was woken meanwhile, it is one signal too many, which `use_all` takes away.
        things.auto.set().unwrap();
    }
    things.see_sleeper();
    all_is_well(survivor);
}

pub(super) fn see_semaphore(survivor: &mut Survivor) {
    let things = things(survivor);
    if things.has_sleeper() && things.semaphore.count().unwrap() == 0 {
        things.semaphore.release(1).unwrap();
    }
    things.see_sleeper();
    all_is_well(survivor);
}

/// An event that is signalled, or about to be, wakes every waiter, no matter which process is stopped.
fn wait_if_set(survivor: &mut Survivor) {
    let things = things(survivor);
    if things.manual.is_set().unwrap() {
        things.manual.wait(None).unwrap();
        things.see_sleeper();
    }
}

fn set_and_see(survivor: &mut Survivor) {
    things(survivor).manual.set().unwrap();
    things(survivor).see_sleeper();
}

fn create(stage: &Stage<'_>) {
    let me = stage.join();
    stage.begin();
    let mutex = tenure::sync::Mutex::create(&me);
    drop(mutex.unwrap());
    stage.end();
    me.leave().unwrap();
}

fn open_and_close(stage: &Stage<'_>) {
    let me = stage.join();
    let token = open(&me, stage.board).mutex.token();
    stage.begin();
    let mutex = tenure::sync::Mutex::open(&me, token);
    drop(mutex.unwrap());
    stage.end();
    me.leave().unwrap();
}

/// Opens everything, does one thing, and leaves.
pub(super) fn with_things(stage: &Stage<'_>, play: impl FnOnce(&Things)) {
    let me = stage.join();
    let things = open(&me, stage.board);
    play(&things);
    drop(things);
    me.leave().unwrap();
}

fn lock(stage: &Stage<'_>) {
    with_things(stage, |things| {
        stage.begin();
        let told = things.mutex.acquire(None);
        stage.end();
        assert!(!told.unwrap());
        things.mutex.unlock().unwrap();
    });
}

/// By a thread whose id is known: the one step of a lock without contention, and that of an unlock.
fn lock_known(stage: &Stage<'_>) {
    with_things(stage, |things| {
        assert!(!things.mutex.acquire(NOT_NOW).unwrap());
        things.mutex.unlock().unwrap();
        stage.begin();
        let told = [things.mutex.acquire(None), things.twice.acquire(None)];
        stage.end();
        assert!(told.into_iter().all(|told| !told.unwrap()));
        things.mutex.unlock().unwrap();
        things.twice.unlock().unwrap();
    });
}

/// A mutex that its owner hands on as abandoned: told exactly once, killed or not.
fn abandon(stage: &Stage<'_>) {
    with_things(stage, |things| {
        things.mutex.acquire(NOT_NOW).unwrap();
        stage.meet();
        stage.begin();
        let abandoned = things.mutex.abandon();
        stage.end_among_others();
        abandoned.unwrap();
    });
}

fn lock_again(stage: &Stage<'_>) {
    with_things(stage, |things| {
        stage.begin();
        let told = [things.twice.acquire(None), things.twice.acquire(None)];
        stage.end();
        assert!(told.into_iter().all(|told| !told.unwrap()));
        things.twice.unlock().unwrap();
        things.twice.unlock().unwrap();
        assert!(matches!(things.twice.unlock(), Err(WaitError::NotOwner)));
    });
}

fn lock_timing_out(stage: &Stage<'_>) {
    with_things(stage, |things| {
        stage.begin();
        let told = things.mutex.acquire(AT_ONCE);
        stage.end_among_others();
        assert!(matches!(told, Err(WaitError::TimedOut)), "{told:?}");
    });
}

fn unlock(stage: &Stage<'_>) {
    with_things(stage, |things| {
        things.mutex.acquire(NOT_NOW).unwrap();
        things.twice.acquire(NOT_NOW).unwrap();
        things.twice.acquire(NOT_NOW).unwrap();
        stage.begin();
        let unlocked = [things.mutex.unlock(), things.twice.unlock(), things.twice.unlock()];
        stage.end();
        unlocked.into_iter().for_each(Result::unwrap);
    });
}

fn unlock_with_waiter(stage: &Stage<'_>) {
    with_things(stage, |things| {
        things.mutex.acquire(NOT_NOW).unwrap();
        stage.meet();
        stage.begin();
        let unlocked = things.mutex.unlock();
        stage.end_among_others();
        unlocked.unwrap();
    });
}

/// Locked without a guard, and then let go of for good.
fn close_owner(stage: &Stage<'_>) {
    with_things(stage, |things| {
        let mutex = things.mutex.try_clone().unwrap();
        mutex.acquire(NOT_NOW).unwrap();
        mutex.unlock().unwrap();
    });
    let me = stage.join();
    let mutex = tenure::sync::Mutex::open(&me, open(&me, stage.board).mutex.token()).unwrap();
    mutex.acquire(NOT_NOW).unwrap();
    stage.begin();
    drop(mutex);
    stage.end();
    // Nobody else may have been told: the survivor expects to be told only when the actor died.
    let mutex = open(&me, stage.board).mutex;
    assert!(mutex.acquire(NOT_NOW).unwrap(), "let go of while owned, but nobody is told");
    mutex.unlock().unwrap();
    drop(mutex);
    me.leave().unwrap();
}

fn set(stage: &Stage<'_>, with_waiter: bool) {
    with_things(stage, |things| {
        stage.begin();
        let set = things.manual.set();
        if with_waiter {
            stage.end_among_others()
        } else {
            stage.end()
        }
        set.unwrap();
        if !with_waiter {
            let _ = things.manual.reset().unwrap();
        }
    });
}

pub(super) fn set_with_waiter(stage: &Stage<'_>) {
    set(stage, true);
}

pub(super) fn release_with_waiter(stage: &Stage<'_>) {
    release(stage, true);
}

/// Takes all at once, if all can be had, and gives it back.
pub(super) fn all_or_none(stage: &Stage<'_>) {
    with_things(stage, |things| {
        let objects: [&dyn Waitable; 5] =
            [&things.semaphore, &things.mutex, &things.auto, &things.twice, &things.manual];
        stage.begin();
        let taken = wait_all(&objects, NOT_NOW);
        stage.end_among_others();
        match taken {
            Ok(_) => {
                things.mutex.unlock().unwrap();
                things.twice.unlock().unwrap();
                things.auto.set().unwrap();
                things.semaphore.release(1).unwrap();
            }
            Err(error) => assert!(matches!(error, WaitError::TimedOut), "{error}"),
        }
    });
}

/// Locks one of the mutexes that others take together, if it is available.
pub(super) fn try_lock(stage: &Stage<'_>) {
    with_things(stage, |things| {
        stage.begin();
        let locked = things.mutex.acquire(NOT_NOW);
        stage.end_among_others();
        match locked {
            Ok(_) => things.mutex.unlock().unwrap(),
            Err(error) => assert!(matches!(error, WaitError::TimedOut), "{error}"),
        }
    });
}

fn reset(stage: &Stage<'_>) {
    with_things(stage, |things| {
        things.manual.set().unwrap();
        things.auto.set().unwrap();
        stage.begin();
        let reset = [things.manual.reset(), things.auto.reset()];
        stage.end();
        reset.into_iter().for_each(|reset| assert!(reset.unwrap()));
    });
}

pub(super) fn set_auto(stage: &Stage<'_>) {
    with_things(stage, |things| {
        stage.begin();
        let set = things.auto.set();
        stage.end_among_others();
        set.unwrap();
    });
}

fn release(stage: &Stage<'_>, with_waiter: bool) {
    with_things(stage, |things| {
        stage.begin();
        let released = things.semaphore.release(1);
        if with_waiter {
            stage.end_among_others()
        } else {
            stage.end()
        }
        released.unwrap();
    });
}

fn acquire(stage: &Stage<'_>) {
    with_things(stage, |things| {
        stage.begin();
        let acquired = things.semaphore.acquire(None);
        stage.end();
        acquired.unwrap();
    });
}

fn acquire_timing_out(stage: &Stage<'_>) {
    with_things(stage, |things| {
        stage.begin();
        let acquired = things.semaphore.acquire(AT_ONCE);
        stage.end_among_others();
        assert!(matches!(acquired, Err(WaitError::TimedOut)), "{acquired:?}");
    });
}

fn wait_timing_out(stage: &Stage<'_>) {
    with_things(stage, |things| {
        stage.begin();
        let waited = things.manual.wait(AT_ONCE);
        stage.end();
        assert!(matches!(waited, Err(WaitError::TimedOut)), "{waited:?}");
    });
}

fn any_timing_out(stage: &Stage<'_>) {
    with_things(stage, |things| {
        let objects: [&dyn Waitable; 3] = [&things.manual, &things.auto, &things.semaphore];
        stage.begin();
        let woken = wait_any(&objects, AT_ONCE);
        stage.end_among_others();
        assert!(matches!(woken, Err(WaitError::TimedOut)), "{woken:?}");
    });
}

fn any_taking(stage: &Stage<'_>) {
    with_things(stage, |things| {
        let objects: [&dyn Waitable; 3] = [&things.manual, &things.auto, &things.mutex];
        stage.begin();
        let woken = wait_any(&objects, Some(Duration::from_secs(1)));
        stage.end();
        assert_eq!(woken.unwrap().index, 1);
    });
}

fn all_taking(stage: &Stage<'_>, among_others: bool) {
    with_things(stage, |things| {
        let objects: [&dyn Waitable; 5] =
            [&things.semaphore, &things.mutex, &things.auto, &things.twice, &things.manual];
        stage.begin();
        let abandoned = wait_all(&objects, None);
        if among_others {
            stage.end_among_others();
        } else {
            stage.end();
        }
        assert_eq!(abandoned.unwrap(), [0; 0]);
        things.mutex.unlock().unwrap();
        things.twice.unlock().unwrap();
    });
}

fn all_timing_out(stage: &Stage<'_>) {
    with_things(stage, |things| {
        let objects: [&dyn Waitable; 3] = [&things.twice, &things.mutex, &things.auto];
        stage.begin();
        let abandoned = wait_all(&objects, AT_ONCE);
        stage.end_among_others();
        assert!(matches!(abandoned, Err(WaitError::TimedOut)), "{abandoned:?}");
    });
}

/// Makes all objects that `wait_all` takes available.
pub(super) fn signal_all(survivor: &mut Survivor) {
    provide(survivor);
    let things = things(survivor);
    things.auto.set().unwrap();
    things.manual.set().unwrap();
    things.semaphore.release(2).unwrap();
}

/// The dead actor has taken everything, or nothing. An actor that was only stopped has taken everything, and unlocked.
fn all_or_nothing(survivor: &mut Survivor) {
    if survivor.dead_before {
        // Recoverers may have taken and given back some.
        return all_is_well(survivor);
    }
    let died = survivor.actor_died;
    let things = things(survivor);
    let taken = things.semaphore.count().unwrap() == 1;
    assert!(taken || things.semaphore.count().unwrap() == 2 && died, "{:?}", things.semaphore);
    assert_eq!(things.auto.is_set().unwrap(), !taken, "{:?}", things.auto);
    assert!(things.manual.is_set().unwrap());
    for mutex in [&things.mutex, &things.twice] {
        let told = mutex.acquire(NOT_NOW).unwrap();
        assert_eq!(told, died && taken, "abandoned, of {mutex:?}");
        mutex.unlock().unwrap();
    }
    all_is_well(survivor);
}

/// Takes each by itself, and gives it back: all objects that the other one takes, or none.
fn one_by_one(survivor: &mut Survivor) {
    if survivor.dead_before {
        // Recoverers may be in the middle of it.
        return;
    }
    let things = things(survivor);
    let has = |waited: Result<(), WaitError>| match waited {
        Ok(()) => true,
        Err(WaitError::TimedOut) => false,
        Err(error) => panic!("{error}"),
    };
    let locked = |mutex: &tenure::sync::Mutex| has(mutex.acquire(NOT_NOW).map(|told| assert!(!told)));
    let first = locked(&things.twice);
    let second = locked(&things.mutex);
    let signalled = has(things.auto.wait(NOT_NOW));
    things.semaphore.acquire(NOT_NOW).unwrap();
    let left = things.semaphore.count().unwrap();
    assert_eq!((first, second, left), (signalled, signalled, u32::from(signalled)), "taken by halves");
    things.semaphore.release(1).unwrap();
    if signalled {
        things.auto.set().unwrap();
        things.twice.unlock().unwrap();
        things.mutex.unlock().unwrap();
    }
}

/// Takes all at once, and gives them back, or none.
fn all_or_timed_out(survivor: &mut Survivor) {
    if survivor.dead_before {
        return;
    }
    let things = things(survivor);
    let objects: [&dyn Waitable; 3] = [&things.mutex, &things.semaphore, &things.auto];
    let before = things.semaphore.count().unwrap();
    match wait_all(&objects, NOT_NOW) {
        Ok(abandoned) => {
            assert_eq!((abandoned, before), (vec![], 2));
            things.mutex.unlock().unwrap();
            things.semaphore.release(1).unwrap();
            things.auto.set().unwrap();
        }
        Err(WaitError::TimedOut) => assert_eq!(before, 1),
        Err(error) => panic!("{error}"),
    }
}

/// Recovers, while others may be stopped in the middle.
pub(super) fn recover(stage: &Stage<'_>) {
    let me = stage.join();
    stage.begin();
    let recovered = me.recover();
    stage.end_among_others();
    recovered.unwrap();
    me.leave().unwrap();
}
