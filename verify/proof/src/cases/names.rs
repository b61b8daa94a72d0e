//! Create with a name, open by name, create or open, and the end of a name.

use tenure::{
    Handle, Member, Named, Raw,
    error::{CreateError, OpenHandleError},
};

use crate::case::{Case, KIND, Stage};
use crate::survivor::{Survivor, is_intact, payload};

/// The name that all processes want.
const QUEUE: &str = "queue";
/// A name that is inserted through the same pending slot: both names have the same first bucket, of 64.
const NEIGHBOUR: &str = "other-17";

pub(super) fn all() -> Vec<Case> {
    vec![
        Case::new("create named, first of all", create_first),
        Case::new("create named", create).before(warm),
        Case::new("create named, taken", create).before(take),
        Case::new("create named, taken meanwhile", create).before(warm).meanwhile(take),
        Case::new("create named, a neighbour meanwhile", create).before(warm).meanwhile(take_neighbour),
        Case::new("create or open, new", create_or_open).before(warm),
        Case::new("create or open, existing", create_or_open).before(take),
        Case::new("create or open, created meanwhile", create_or_open).before(warm).meanwhile(take),
        Case::new("create or open, given up meanwhile", create_or_open).before(take).meanwhile(give_up),
        Case::new("create or open, replaced meanwhile", create_or_open).before(take).meanwhile(replace),
        Case::new("open by name", open).before(take),
        Case::new("open by name, given up meanwhile", open).before(take).meanwhile(give_up),
        Case::new("open by name, created meanwhile", open).before(warm).meanwhile(take),
        Case::new("close, last, of a name", close).before(warm),
        Case::new("close, last, of a name wanted meanwhile", close).before(warm).meanwhile(take),
    ]
}

/// Commits the memory of the table.
pub(super) fn warm(survivor: &mut Survivor) {
    take(survivor);
    give_up(survivor);
}

fn take(survivor: &mut Survivor) {
    survivor.take_name(QUEUE);
}

pub(super) fn take_only_neighbour(survivor: &mut Survivor) {
    survivor.take_name(NEIGHBOUR);
}

/// Takes the name, unless it is taken.
pub(super) fn take_if_free(survivor: &mut Survivor) {
    if survivor.me.look_up(QUEUE).is_err() {
        take(survivor);
    }
}

fn take_neighbour(survivor: &mut Survivor) {
    survivor.take_name(NEIGHBOUR);
    survivor.take_name(QUEUE);
}

fn give_up(survivor: &mut Survivor) {
    survivor.named.pop().unwrap();
}

fn replace(survivor: &mut Survivor) {
    give_up(survivor);
    take(survivor);
}

fn check(stage: &Stage<'_>, handle: &Handle<Raw>) {
    let bytes = handle.get().unwrap();
    assert!(bytes.len() == 40 && is_intact(bytes), "what has the name changed");
    let names = stage.space.names();
    let found: Vec<_> = names.iter().filter(|info| info.name == QUEUE).collect();
    assert!(
        found.len() == 1 && found[0].token == handle.token(),
        "{handle:?} has the name, and there are {names:?}"
    );
}

/// Nothing is committed of the table, and nothing is in the caches.
fn create_first(stage: &Stage<'_>) {
    create_by(stage, &stage.join());
}

/// With a handle and a block in the caches: other cases cover how they get there.
fn join(stage: &Stage<'_>) -> Member {
    let me = stage.join();
    drop(me.create_raw(KIND, &payload(45)).unwrap());
    me
}

pub(super) fn create(stage: &Stage<'_>) {
    let me = join(stage);
    create_by(stage, &me);
    me.leave().unwrap();
}

/// A name that is inserted through the same pending slot.
pub(super) fn create_neighbour(stage: &Stage<'_>) {
    let me = join(stage);
    stage.begin();
    let created = me.named(NEIGHBOUR).create_raw(KIND, &payload(40));
    stage.end();
    match created {
        Ok(handle) => {
            let found = me.look_up(NEIGHBOUR).unwrap();
            assert_eq!(found, (KIND, handle.token()), "another handle has the name that was just created");
        }
        Err(CreateError::NameTaken { .. }) => {}
        Err(error) => panic!("{error}"),
    }
    me.leave().unwrap();
}

fn create_by(stage: &Stage<'_>, me: &Member) {
    stage.begin();
    let created = me.named(QUEUE).create_raw(KIND, &payload(40));
    stage.end();
    match created {
        Ok(handle) => check(stage, &handle),
        Err(CreateError::NameTaken { .. }) => {}
        Err(error) => panic!("{error}"),
    }
}

pub(super) fn create_or_open(stage: &Stage<'_>) {
    let me = join(stage);
    stage.begin();
    let named = me.create_or_open_raw(QUEUE, KIND, &payload(40));
    stage.end();
    let named = named.map(Named::into_inner).unwrap();
    check(stage, &named);
    drop(named);
    me.leave().unwrap();
}

fn open(stage: &Stage<'_>) {
    let me = stage.join();
    stage.begin();
    let opened = me.open_raw(KIND, QUEUE);
    stage.end();
    match opened {
        Ok(handle) => check(stage, &handle),
        Err(OpenHandleError::NoSuchName) => {}
        Err(error) => panic!("{error}"),
    }
    me.leave().unwrap();
}

pub(super) fn close(stage: &Stage<'_>) {
    let me = stage.join();
    let handle = me.named(QUEUE).create_raw(KIND, &payload(40)).unwrap();
    stage.begin();
    drop(handle);
    stage.end();
    me.leave().unwrap();
}
