//! Changes of a locked value and of a versioned one.
//!
//! A reader of the versioned value gets a whole one at every instant. The locked value is damaged exactly if it was not whole when its
//! owner died, or might not have been; whoever finds it damaged is told so until somebody repairs it.

use tenure::{
    Member,
    error::WaitError,
    sync::{Locked, Versioned},
};

use crate::case::{Case, Stage};
use crate::survivor::{Survivor, Values};

const LOCKED: &str = "locked";
const VERSIONED: &str = "versioned";

pub(super) fn all() -> Vec<Case> {
    let case = |name, script| Case::new(name, script).before(provide).meanwhile(look).after(is_well);
    vec![
        case("create and drop a locked value", |stage| {
            create(stage, |me| drop(Locked::create(me, &[7u64; 9]).unwrap()));
        }),
        case("create and drop a versioned value", |stage| {
            create(stage, |me| drop(Versioned::create(me.named("mine"), &7u64).unwrap()));
        }),
        case("change a locked value", |stage| with_locked(stage, change)),
        case("write a versioned value", |stage| {
            with_versioned(stage, |value| {
                value.write(&[8; 5]).unwrap();
            });
        }),
        case("update a versioned value", |stage| {
            with_versioned(stage, |value| {
                value.update(|value| *value = [value[0] + 1; 5]).unwrap();
            });
        }),
        case("read a versioned value", |stage| {
            with_versioned(stage, |value| assert!(is_whole(&value.read().unwrap())));
        }),
        // The dead had begun to change it: its owner is told, repairs it, and is killed meanwhile.
        case("repair a locked value", |stage| with_locked(stage, repair)).half("change a locked value", 2),
        case("write over what the dead has left", |stage| {
            with_versioned(stage, |value| {
                value.write(&[9; 5]).unwrap();
            });
        })
        .half("write a versioned value", 3),
    ]
}

fn is_whole<const N: usize>(value: &[u64; N]) -> bool {
    value.iter().all(|number| *number == value[0])
}

fn provide(survivor: &mut Survivor) {
    if survivor.values.is_some() {
        return;
    }
    let me = survivor.me;
    survivor.values = Some(Values {
        locked: Locked::create(me.named(LOCKED), &[1; 3]).unwrap(),
        versioned: Versioned::create(me.named(VERSIONED), &[1; 5]).unwrap(),
    });
}

fn create(stage: &Stage<'_>, create: impl FnOnce(&Member)) {
    let me = stage.join();
    stage.begin();
    create(&me);
    stage.end();
    me.leave().unwrap();
}

fn with_locked(stage: &Stage<'_>, change: fn(&Locked<[u64; 3]>)) {
    let me = stage.join();
    let value = Locked::open(&me, LOCKED).unwrap();
    stage.begin();
    change(&value);
    stage.end();
    drop(value);
    me.leave().unwrap();
}

fn with_versioned(stage: &Stage<'_>, change: fn(&Versioned<[u64; 5]>)) {
    let me = stage.join();
    let value = Versioned::open(&me, VERSIONED).unwrap();
    stage.begin();
    change(&value);
    stage.end();
    drop(value);
    me.leave().unwrap();
}

fn change(value: &Locked<[u64; 3]>) {
    let mut guard = value.lock().unwrap();
    for number in guard.iter_mut() {
        *number += 1;
    }
}

fn repair(value: &Locked<[u64; 3]>) {
    let mut guard = value.lock().unwrap();
    if guard.is_damaged() {
        *guard = [5; 3];
        guard.repaired();
    }
}

/// The actor is stopped or dead, and nothing was recovered.
fn look(survivor: &mut Survivor) {
    let values = survivor.values.as_ref().unwrap();
    let version = values.versioned.version().unwrap();
    assert!(is_whole(&values.versioned.read().unwrap()), "a torn value");
    assert!(values.versioned.version().unwrap() >= version);
    match values.locked.try_lock() {
        Ok(guard) => assert!(guard.is_damaged() || is_whole(&guard), "not whole, and not damaged: {guard:?}"),
        Err(WaitError::WouldBlock) => {}
        Err(error) => panic!("{error}"),
    }
}

/// Nobody is at work any more.
fn is_well(survivor: &mut Survivor) {
    look(survivor);
    let values = survivor.values.take().unwrap();
    let is_damaged = values.locked.lock().unwrap().is_damaged();
    assert!(!is_damaged || survivor.actor_died || survivor.dead_before, "damaged, but nobody died");
    // Told again and again, until it is repaired.
    {
        let mut guard = values.locked.lock().unwrap();
        assert_eq!(guard.is_damaged(), is_damaged);
        *guard = [2; 3];
        guard.repaired();
    }
    assert!(!values.locked.lock().unwrap().is_damaged());
    let written = values.versioned.write(&[3; 5]).unwrap();
    assert_eq!((values.versioned.read().unwrap(), values.versioned.version().unwrap()), ([3; 5], written));
}
