//! Slots with real processes and threads: what is in a slot outlives members, a claim of a dead process comes back, and nothing is lost or leaked.
#![cfg(feature = "typed")]

mod common;

use std::sync::atomic::{AtomicU64, Ordering};

use common::{Name, Process, reap, role, say};
use tenure::{Kind, Member, NotMember, PutError, SlotError, Space, UseError};

const KIND: Kind = Kind::raw(1);
const JOBS: u32 = 8;

#[test]
fn child() {
    let Some(role) = role() else { return };
    let me = Space::options().attach(&role[0]).unwrap().join().unwrap();
    if role[1] == "work" {
        for slot in 0..JOBS {
            let Ok(job) = me.slots().claim_raw(slot, KIND) else { continue };
            say("job", job.get().unwrap()[0]);
            job.ack().unwrap();
        }
        return say("done", "");
    }
    if role[1] == "fork" {
        return fork(&me);
    }
    // Claims one job, and is killed.
    let claim = (0..JOBS).find_map(|slot| me.slots().claim_raw(slot, KIND).ok()).unwrap();
    say("claimed", claim.slot());
    loop {
        std::thread::park();
    }
}

fn fill(me: &Member) {
    for slot in 0..JOBS {
        me.slots().put(slot, &me.create_raw(KIND, &[slot as u8; 40]).unwrap()).unwrap();
    }
}

#[test]
fn jobs_that_killed_workers_had_claimed_are_done() {
    let name = Name::new("slot-jobs");
    let space = name.open(Space::options().slots(JOBS).members(8).handles(64).scratch(1 << 20));
    fill(&space.join().unwrap());
    let mut lazy: Vec<_> = (0..3).map(|_| Process::start(&[&name.0, "claim"])).collect();
    let mut claimed: Vec<u32> =
        lazy.iter_mut().map(|process| process.receive("claimed").unwrap().parse().unwrap()).collect();
    claimed.sort_unstable();
    assert_eq!(claimed, [0, 1, 2], "one job, claimed by two");
    let lent = space.slots().iter().filter(|info| info.claimed_by.is_some()).count();
    assert_eq!(lent, 3);
    lazy.into_iter().for_each(Process::kill);

    // Joining recovers the dead, and gives back what they had claimed.
    let mut worker = Process::start(&[&name.0, "work"]);
    let done: Vec<u32> = (0..JOBS).map(|_| worker.receive("job").unwrap().parse().unwrap()).collect();
    assert_eq!(done, (0..JOBS).collect::<Vec<_>>());
    assert!(worker.receive("done").is_some());
    let _ = worker.was_killed();
    assert_eq!(space.slots(), []);
    let me = space.join().unwrap();
    me.recover().unwrap();
    me.leave().unwrap();
    let report = space.check_quiet();
    assert!(report.is_clean() && report.pending.is_empty(), "{report:?}");
    assert_eq!((report.stats.handles_live, report.stats.blocks_live()), (0, 0));
}

/// The claim is the parent's: the child can neither end it nor use slots, and its drops do nothing.
fn fork(me: &Member) {
    let claim = me.slots().claim_raw(0, KIND).unwrap();
    // SAFETY: this process runs one test; the child uses nothing that another thread may have locked for long.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        let gone = NotMember::ForkedChild;
        let handle = &*claim;
        assert_eq!(me.slots().put(1, handle), Err(PutError::NotMember(gone)));
        assert!(matches!(me.slots().evict(0), Err(SlotError::NotMember(no)) if no == gone));
        assert!(matches!(me.slots().take_raw(1, KIND), Err(SlotError::NotMember(no)) if no == gone));
        assert_eq!(me.slots().find(handle.token()), Err(gone));
        assert_eq!(claim.ack(), Err(UseError::NotMember(gone)));
        // SAFETY: ends the child without running any destructor of the parent.
        unsafe { libc::_exit(0) };
    }
    assert_eq!(reap(pid), 0);
    assert_eq!(claim.get().unwrap(), [0; 40]);
    claim.give_back().unwrap();
    say("done", "");
}

#[test]
fn a_forked_child_has_no_claims() {
    let name = Name::new("slot-fork");
    let space = name.open(Space::options().slots(JOBS).members(8).handles(64).scratch(1 << 20));
    let me = space.join().unwrap();
    fill(&me);
    let mut process = Process::start(&[&name.0, "fork"]);
    assert_eq!(process.receive("done").as_deref(), Some(""));
    assert!(!process.was_killed());
    assert_eq!(me.slots().claim_raw(0, KIND).unwrap().get().unwrap(), [0; 40]);
}

#[cfg(feature = "objects")]
#[test]
fn roots_outlive_all_members() {
    let name = Name::new("slot-roots");
    {
        let space = name.open(Space::options().slots(4).handles(64).scratch(1 << 20));
        let me = space.join().unwrap();
        let root = me.create_named("limits", &[3u32, 5]).unwrap();
        assert_eq!(me.slots().keep(&root), Ok(0));
        assert_eq!(me.slots().keep(&root), Err(PutError::Already { slot: 0 }));
    }
    let space = Space::options().attach(&name.0).unwrap();
    assert_eq!((space.names()[0].name.as_str(), space.names()[0].holders), ("limits", 0));
    assert!(space.check_quiet().is_clean());
    let me = space.join().unwrap();
    let root = me.open_named::<[u32; 2]>("limits").unwrap();
    assert_eq!(root.get().unwrap()[1].to_native(), 5);
    assert_eq!(me.slots().find(root.token()), Ok(Some(0)));
    assert_eq!(me.slots().evict(0).unwrap(), root.token());
    drop(root);
    assert!(me.open_named::<[u32; 2]>("limits").is_err(), "the name ended with its last holder");
}

#[test]
fn what_cannot_be_is_refused() {
    let space = Space::options().slots(1).handles(64).scratch(1 << 20).anonymous().unwrap();
    let (me, other) = (space.join().unwrap(), space.join().unwrap());
    let (one, two) = (me.create(&1u64).unwrap(), me.create(&2u64).unwrap());
    assert_eq!(other.slots().put(0, &one), Err(PutError::ForeignHandle));
    assert_eq!(me.slots().put(1, &one), Err(PutError::NoSlot { slot: 1, slots: 1 }));
    assert_eq!(me.slots().keep(&one), Ok(0));
    assert_eq!(me.slots().keep(&two), Err(PutError::AllFull { slots: 1 }));
    let claim = other.slots().claim::<u64>(0).unwrap();
    assert_eq!(me.slots().replace(0, &two), Err(PutError::Full { slot: 0 }));
    assert!(matches!(me.slots().take::<u64>(0), Err(SlotError::Claimed { slot: 0, .. })));
    drop(claim);
    assert_eq!(me.slots().replace(0, &two), Ok(Some(one.token())));
    let without = Space::options().handles(64).scratch(1 << 20).anonymous().unwrap();
    let me = without.join().unwrap();
    let one = me.create(&1u64).unwrap();
    assert_eq!(me.slots().keep(&one), Err(PutError::AllFull { slots: 0 }));
    assert!(matches!(me.slots().evict(0), Err(SlotError::NoSlot { slot: 0, slots: 0 })));
    assert!(Space::options().slots(1).members(255).anonymous().is_err());
}

/// Four threads of two members, on the same slots: sibling threads, too. Each job is created once, and acked, evicted, replaced or kept.
#[test]
fn threads_of_several_members_lose_nothing() {
    const SLOTS: u32 = 3;
    const ROUNDS: u64 = 4000;
    let space = Space::options().slots(SLOTS).members(4).handles(256).scratch(4 << 20).anonymous().unwrap();
    let members = [space.join().unwrap(), space.join().unwrap()];
    let (created, ended) = (AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for thread in 0..4u64 {
            let (me, created, ended) = (&members[thread as usize % 2], &created, &ended);
            scope.spawn(move || {
                let count = |counter: &AtomicU64| counter.fetch_add(1, Ordering::Relaxed);
                for round in 0..ROUNDS {
                    let step = round.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(thread) >> 7;
                    let slot = step as u32 % SLOTS;
                    match step % 5 {
                        0 => {
                            let job = me.create_raw(KIND, &[7; 40]).unwrap();
                            match me.slots().keep(&job) {
                                Ok(_) => _ = count(created),
                                Err(PutError::AllFull { .. }) => {}
                                Err(error) => panic!("{error}"),
                            }
                        }
                        1 => {
                            let job = me.create_raw(KIND, &[7; 40]).unwrap();
                            match me.slots().replace(slot, &job) {
                                Ok(former) => {
                                    count(created);
                                    _ = former.map(|_| count(ended));
                                }
                                Err(PutError::Full { .. }) => {}
                                Err(error) => panic!("{error}"),
                            }
                        }
                        2 => {
                            if let Ok(claim) = me.slots().claim_raw(slot, KIND) {
                                assert_eq!(claim.get().unwrap(), [7; 40]);
                                if step % 3 == 0 {
                                    claim.give_back().unwrap();
                                } else {
                                    claim.ack().unwrap();
                                    count(ended);
                                }
                            }
                        }
                        3 => {
                            if let Ok(taken) = me.slots().take_raw(slot, KIND) {
                                assert_eq!(taken.get().unwrap(), [7; 40]);
                                // With one owner it is in transit nowhere, also when a putter is between two steps.
                                match me.slots().keep(&taken) {
                                    Ok(_) => {}
                                    Err(PutError::AllFull { .. }) => _ = count(ended),
                                    Err(error) => panic!("{error}"),
                                }
                            }
                        }
                        _ => _ = me.slots().evict(slot).map(|_| count(ended)),
                    }
                }
            });
        }
    });
    let report = space.check_quiet();
    assert!(report.is_clean() && report.pending.is_empty(), "{report:?}");
    let kept = space.slots().len() as u64;
    assert_eq!(created.load(Ordering::Relaxed), ended.load(Ordering::Relaxed) + kept);
    assert_eq!(report.stats.handles_live, kept);
    for slot in 0..SLOTS {
        let _ = members[0].slots().evict(slot);
    }
    let stats = space.stats();
    assert_eq!((stats.handles_live, stats.blocks_live()), (0, 0));
}

#[test]
fn a_slot_that_is_full_costs_a_handle_no_turn() {
    let space = Space::options().slots(2).handles(64).scratch(1 << 20).anonymous().unwrap();
    let me = space.join().unwrap();
    let (kept, handle) = (me.create_raw(KIND, b"kept").unwrap(), me.create_raw(KIND, b"refused").unwrap());
    me.slots().put(0, &kept).unwrap();
    // More than a handle can be put.
    for _ in 0..=1 << 23 {
        assert_eq!(me.slots().put(0, &handle), Err(PutError::Full { slot: 0 }));
    }
    me.slots().evict(0).unwrap();
    me.slots().put(0, &handle).unwrap();
    assert_eq!(me.slots().put(0, &handle), Err(PutError::Already { slot: 0 }));
}
