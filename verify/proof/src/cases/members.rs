//! Create and attach spaces, join, leave and recover, with every remainder of dead members.

use tenure::Space;

use crate::case::{Case, Half, KIND, LAZY, SMALL, Stage};
use crate::point::name_of;
use crate::survivor::{Leeway, Survivor, everything, fill, is_intact, layout, payload};

pub(super) fn all() -> Vec<Case> {
    vec![
        Case::new("create a space", create_space).meanwhile(use_named).elsewhere(),
        Case::new("attach to a space", attach).before(use_named).elsewhere(),
        Case::new("join", join),
        Case::new("join, finding the dead", join)
            .half("create with a block, claiming", 30)
            .half("close, last", 3)
            .half("alloc, new span of several units", 4),
        Case::new("join, a full house", join)
            .half("create with a block, claiming", 30)
            .half("close, last", 3)
            .half("alloc, new span of several units", 4)
            .half("lock", 1)
            .half("leave, holding nothing", 1)
            .full_house(),
        Case::new("leave, holding nothing", leave),
        Case::new("leave, holding everything", leave_holding),
        Case::new("leave, where others hold a block", leave_shared)
            .assist(|survivor| survivor.open_posted(0)),
        Case::new("recover, nobody", recover),
        rich("recover, rich"),
        Case::new("recover, everything of somebody", recover).half("leave, holding everything", 0),
        Case::new("recover, where others hold a block", recover).half("leave, where others hold a block", 0),
        Case::new("recover, uncommitted", recover)
            .size(LAZY)
            .half("alloc, large, committing", 3)
            .half("trim, decommitting", 6),
    ]
}

/// Recovers an INIT handle, a LIVE one without a holder, shared and private ones, private blocks, an attached block whose
/// handle never came to be, and units in the middle of a claim.
fn rich(name: &'static str) -> Case {
    Case::new(name, recover)
        .assist(|survivor| survivor.open_posted(0))
        .half("create with a block, claiming", 30)
        .half("close, last", 1)
        .half("alloc, new span of several units", 2)
}

/// Recovery of a member that was killed after `steps` of its shared steps in `case`.
pub(crate) fn recover_after(case: &Case, steps: u32) -> Case {
    Case {
        halves: vec![Half { case: case.name, steps, late: false }],
        size: case.size,
        meanwhile: case.meanwhile,
        after: case.after,
        uses_up: case.uses_up,
        elsewhere: case.elsewhere,
        guarded: case.guarded,
        ..Case::new("recover, of one killed in the middle", recover)
    }
}

/// Recovery of the dead of `recover, rich` and of a member that was killed recovering them.
pub(crate) fn recover_rich_after(steps: u32) -> Case {
    let mut case = rich("recover, after a recoverer was killed");
    case.halves.push(Half { case: "recover, nobody", steps, late: true });
    case
}

fn named(stage: &Stage<'_>) -> String {
    name_of(stage.board.read(7))
}

fn create_space(stage: &Stage<'_>) {
    // SAFETY: no pointers.
    let survivor = unsafe { libc::getppid() };
    let (options, name) = (SMALL.options(), name_of(survivor as u64));
    stage.begin();
    let space = options.open(&name);
    stage.end();
    work_in(&space.unwrap());
}

/// The survivor's own use of the space that the actor creates at the same time, or attaches to.
fn use_named(survivor: &mut Survivor) {
    let pid = std::process::id();
    survivor.board.post(7, pid.into());
    work_in(&SMALL.options().open(&name_of(pid.into())).unwrap());
}

pub(super) fn work_in(space: &Space) {
    let me = space.join().unwrap();
    let mut local = me.local();
    everything(&me, &mut local, SMALL, Leeway::default());
    drop(local);
    me.leave().unwrap();
}

fn attach(stage: &Stage<'_>) {
    let (options, name) = (SMALL.options(), named(stage));
    stage.begin();
    let space = options.attach(&name);
    stage.end();
    work_in(&space.unwrap());
}

pub(super) fn join(stage: &Stage<'_>) {
    stage.begin();
    let me = stage.try_join();
    stage.end();
    let me = me.unwrap();
    let mut local = me.local();
    everything(&me, &mut local, SMALL, stage.leeway());
    drop(local);
    me.leave().unwrap();
}

pub(super) fn leave(stage: &Stage<'_>) {
    let me = stage.join();
    stage.begin();
    let left = me.leave();
    stage.end();
    left.unwrap();
}

pub(super) fn leave_holding(stage: &Stage<'_>) {
    let me = stage.join();
    let mut local = me.local();
    for len in [8, 100] {
        local.create(KIND, &payload(len)).unwrap();
        let block = local.alloc(layout(len)).unwrap();
        fill(&local, block);
    }
    let shared = local.open(KIND, stage.tokens[1]).unwrap();
    // SAFETY: we hold it, nobody writes payloads, and the slice is not used after the close.
    assert!(is_intact(unsafe { local.get(&shared) }.unwrap()));
    local.open(KIND, stage.tokens[0]).unwrap();
    local.alloc(layout(3 * SMALL.unit_bytes)).unwrap();
    drop(local);
    stage.begin();
    let left = me.leave();
    stage.end();
    left.unwrap();
}

/// Recovers, and does nothing else: working and leaving would find more than recovery does.
pub(super) fn only_recover(stage: &Stage<'_>) {
    let me = stage.join();
    stage.begin();
    let recovered = me.recover();
    stage.end();
    recovered.unwrap();
    me.leave().unwrap();
}

/// Beside a block that is its own there is one in the same span that belongs to a handle, which the survivor holds.
fn leave_shared(stage: &Stage<'_>) {
    let me = stage.join();
    let mut local = me.local();
    let held = local.create(KIND, &payload(100)).unwrap();
    let block = local.alloc(layout(100)).unwrap();
    fill(&local, block);
    stage.board.post(0, local.token(&held).into());
    stage.meet();
    drop(local);
    stage.begin();
    let left = me.leave();
    stage.end();
    left.unwrap();
}

pub(super) fn recover(stage: &Stage<'_>) {
    let me = stage.join();
    stage.begin();
    let recovered = me.recover();
    stage.end();
    recovered.unwrap();
    let mut local = me.local();
    everything(&me, &mut local, SMALL, stage.leeway());
    drop(local);
    me.leave().unwrap();
}
