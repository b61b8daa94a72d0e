//! Monitors and reapers, played by hand: notifications are armed, observed and withdrawn, dead members are recovered.
//!
//! A witness, whose monitor has threads, is stopped until the actor is dead or stopped. Then it must observe every signalled
//! notification and recover the dead without help; and it must be notified of the death of the next owner of the actor's slot. In one
//! case the witness is denied every resource that a process can be denied.

use super::members::{join, leave};
use crate::case::{Case, SLOT, Stage};
use crate::peer::{Manner, Order, Peer};
use crate::survivor::{ARMED, SIGNALLED, Survivor, slots};
use crate::things;

pub(super) fn all() -> Vec<Case> {
    vec![
        witnessed("join, arming notifications", join_next).half("lock", 1),
        witnessed("leave, withdrawing notifications", leave),
        witnessed("observe a notification, and recover the dead", observe)
            .half("leave, holding everything", 0),
        witnessed("leave, before a witness that is denied everything", leave).before(bring_denied_witness),
        Case::new("observe a notification, of one who is dying", observe)
            .guarded()
            .before(|survivor| survivor.dying = Some(Peer::start(survivor, Manner::Dying, None)))
            .meanwhile(|survivor| {
                assert_notifications(survivor);
                assert_dying_lives(survivor);
            })
            .after(recover_the_dying),
    ]
}

fn witnessed(name: &'static str, script: crate::case::Script) -> Case {
    Case::new(name, script).guarded().before(bring_witness).meanwhile(witness_goes_on).after(see_next_owners)
}

fn join_next(stage: &Stage<'_>) {
    let free = stage.space.leases().iter().position(|lease| !lease.live).unwrap();
    stage.board.post(SLOT, free as u64 + 1);
    join(stage);
}

pub(super) fn observe(stage: &Stage<'_>) {
    let me = stage.join();
    stage.begin();
    tenure::testing::play_monitor(&me);
    stage.end();
    me.leave().unwrap();
}

pub(super) fn bring_witness(survivor: &mut Survivor) {
    bring(survivor, Manner::Guarded);
}

fn bring_denied_witness(survivor: &mut Survivor) {
    bring(survivor, Manner::Denied);
}

fn bring(survivor: &mut Survivor, manner: Manner) {
    things::provide(survivor);
    let witness = Peer::start(survivor, manner, None);
    witness.stop();
    survivor.witness = Some(witness);
}

/// Waits until a condition holds. The survivor's fail-safe limits the time.
fn eventually(mut is_so: impl FnMut() -> bool) {
    while !is_so() {
        std::thread::yield_now();
    }
}

fn is_owned(survivor: &Survivor, slot: u8) -> bool {
    survivor.space.leases()[usize::from(slot)].held != Some(false)
}

fn is_live(survivor: &Survivor, slot: u8) -> bool {
    survivor.space.leases()[usize::from(slot)].live
}

/// No notification of a slot without an owner is armed: a member that relied on it would wait for ever.
fn assert_notifications(survivor: &Survivor) {
    for owner in slots().filter(|slot| !is_owned(survivor, *slot)) {
        let armed = slots().find(|watcher| survivor.notification(owner, *watcher) & ARMED != 0);
        assert_eq!(armed, None, "a notification of slot {owner} is armed, and its thread is gone");
    }
}

/// The witness observes the signalled notifications, and does everything.
pub(super) fn witness_goes_on(survivor: &mut Survivor) {
    assert_notifications(survivor);
    let Some(mut witness) = survivor.witness.take() else { return };
    let watcher = witness.slot;
    let is_signalled =
        |slot: &u8| survivor.notification(*slot, watcher) & SIGNALLED != 0 && !is_owned(survivor, *slot);
    let signalled: Vec<_> = slots().filter(is_signalled).collect();
    witness.go_on();
    eventually(|| signalled.iter().all(|slot| !is_live(survivor, *slot) && !is_signalled(slot)));
    witness.obey(Order::Everything);
    survivor.witness = Some(witness);
}

/// The next owner of the actor's slot is killed, with a monitor and without, and the witness is notified; then the witness leaves.
pub(super) fn see_next_owners(survivor: &mut Survivor) {
    assert_notifications(survivor);
    let Some(mut witness) = survivor.witness.take() else { return };
    let mutex = &survivor.things.as_ref().unwrap().mutex;
    // A process that is being recovered may have had the slot.
    mutex.acquire(things::NOT_NOW).unwrap();
    mutex.unlock().unwrap();
    let slot = next_slot(survivor);
    let mut owner = Peer::start(survivor, Manner::Unguarded, slot);
    assert_eq!(owner.obey(Order::Lock), 0, "a mutex that nobody had is abandoned");
    witness.order(Order::Lock);
    eventually(|| witness.is_asleep());
    owner.kill();
    assert_eq!(witness.answer(), 1, "the mutex of the dead is not abandoned");
    witness.obey(Order::Unlock);

    let owner = Peer::start(survivor, Manner::Guarded, slot);
    let slot = owner.slot;
    owner.kill();
    let is_recovered = || !is_live(survivor, slot) && survivor.notification(slot, witness.slot) == 0;
    eventually(is_recovered);
    for watcher in slots().filter(|watcher| *watcher != witness.slot) {
        assert_eq!(
            survivor.notification(slot, watcher) & SIGNALLED,
            SIGNALLED,
            "no notification for slot {watcher}"
        );
    }
    witness.leave();
}

/// The slot that the actor had, once it is free; none if the actor never got one.
fn next_slot(survivor: &Survivor) -> Option<u8> {
    let posted = survivor.board.read(SLOT).checked_sub(1).map(|slot| slot as u8);
    posted.filter(|slot| !is_owned(survivor, *slot))
}

fn assert_dying_lives(survivor: &Survivor) {
    let slot = survivor.dying.as_ref().unwrap().slot;
    assert!(
        is_live(survivor, slot) && is_owned(survivor, slot),
        "one whose notification was signalled was recovered alive"
    );
}

/// The next owner of the actor's slot observes the notification that the actor observed, and recovers its owner after
/// that owner's death.
fn recover_the_dying(survivor: &mut Survivor) {
    assert_dying_lives(survivor);
    let heir = Peer::start(survivor, Manner::Guarded, next_slot(survivor));
    let dying = survivor.dying.take().unwrap();
    let slot = dying.slot;
    dying.kill();
    eventually(|| !is_live(survivor, slot));
    heir.leave();
}
