//! `preempt_everywhere`: a member is stopped before each of its steps while others do the most harmful operations, and goes on.
//!
//! One thread plays all members, so every interleaving with one or two switches is tried, not just the likely ones.

use tenure_core::testing::unpassed;

use super::crash::{ABANDON, WRITES};
use super::hooks::{Outcome, died_at, run};
use super::{LAZY, Player, TINY, TWO_UNITS, World};
use crate::geometry::Geometry;

/// A member that died before the scene and is not recovered yet.
const DEAD: u8 = 20;

type Part = fn(&World, &mut Player<'_>, &mut Vec<u64>);

struct Scene {
    name: &'static str,
    geometry: Geometry,
    /// Prepares `a` and `b`; returns the blocks that both know.
    before: fn(&World, &mut Player<'_>, &mut Player<'_>) -> Vec<u64>,
    /// The work of `a`, during which it is stopped.
    act: Part,
}

struct Intrusion {
    name: &'static str,
    /// The work of `b` while `a` is stopped.
    act: Part,
}

/// `DEAD` leaves spans: some that can be released and some that cannot.
fn leave_a_corpse(world: &World) -> Vec<u64> {
    let mut dead = world.join(DEAD);
    let blocks: Vec<_> =
        [512, TWO_UNITS, 2048, TWO_UNITS, 512].iter().filter_map(|bytes| dead.alloc(*bytes).ok()).collect();
    dead.attach(blocks[1], 1, 1);
    dead.attach(blocks[2], 2, 1);
    let pinned = dead.alloc(TWO_UNITS).unwrap();
    dead.pin(pinned);
    world.reap(DEAD);
    blocks
}

/// An abandoned span of two units with room, and one with a large block.
fn leave_abandoned(world: &World, by: &Player<'_>) -> Vec<u64> {
    let mut gone = world.join(21);
    let blocks = vec![gone.alloc(TWO_UNITS).unwrap(), gone.alloc(1500).unwrap()];
    gone.attach(blocks[0], 3, 1);
    gone.attach(blocks[1], 4, 1);
    gone.die(by.index());
    blocks
}

/// Ends the handles of `leave_abandoned`: nothing is in use there any more.
fn end_abandoned(world: &World, blocks: &[u64]) {
    for (at, index) in [(0, 3), (1, 4)] {
        if world.is_current(index, 1) {
            world.end_handle(index, 1);
            world.scratch().free_orphan(blocks[at], index, &|h, g| world.is_current(h, g));
        }
    }
}

fn recover_corpse(world: &World, by: u8) {
    world.recover(DEAD, by);
    world.rest(DEAD);
}

const SCENES: &[Scene] = &[
    Scene {
        name: "recover",
        geometry: TINY,
        before: |w, _, _| leave_a_corpse(w),
        act: |w, a, _| {
            recover_corpse(w, a.index());
        },
    },
    Scene {
        name: "recover with handles ending",
        geometry: TINY,
        before: |w, _, _| leave_a_corpse(w),
        act: |w, a, _| {
            w.end_handle(1, 1);
            recover_corpse(w, a.index());
        },
    },
    Scene {
        name: "recover what an adopter left",
        geometry: TINY,
        before: |w, a, b| {
            let blocks = leave_abandoned(w, b);
            // It dies after it stored the head and before it stored the tail.
            let mut dead = w.join(DEAD);
            let mut steps = 0;
            loop {
                let adopted = |w: &World| {
                    (0..8).any(|u| {
                        matches!(
                w.scratch().unit_state(u), crate::word::Unit::Span(o, _) if o.lease == DEAD)
                    })
                };
                if run(|| assert!(dead.alloc(TWO_UNITS).is_ok()), None, Some(steps)) == Outcome::Died
                    && !adopted(w)
                {
                    std::mem::forget(dead);
                    w.reap(DEAD);
                    w.recover(DEAD, a.index());
                    w.rest(DEAD);
                    dead = w.join(DEAD);
                    steps += 1;
                    continue;
                }
                break;
            }
            std::mem::forget(dead);
            w.reap(DEAD);
            end_abandoned(w, &blocks);
            blocks
        },
        act: |w, a, _| recover_corpse(w, a.index()),
    },
    Scene {
        name: "release abandoned spans",
        geometry: TINY,
        before: |w, _, b| {
            let blocks = leave_abandoned(w, b);
            end_abandoned(w, &blocks);
            blocks
        },
        act: |w, a, _| {
            w.scratch().release_abandoned(a.local.owner);
        },
    },
    Scene {
        name: "adopt",
        geometry: TINY,
        before: |w, _, b| leave_abandoned(w, b),
        act: |_, a, _| {
            a.alloc(TWO_UNITS).ok();
        },
    },
    Scene {
        name: "adopt in need",
        geometry: TINY,
        before: |w, _, b| {
            let blocks = leave_abandoned(w, b);
            while b.alloc(1024).is_ok() {}
            blocks
        },
        act: |_, a, _| {
            a.alloc(TWO_UNITS).ok();
        },
    },
    Scene {
        name: "claim",
        geometry: TINY,
        before: |_, _, _| vec![],
        act: |_, a, _| {
            for bytes in [3072, 512, TWO_UNITS] {
                a.alloc(bytes).ok();
            }
        },
    },
    Scene {
        name: "claim the first units of all",
        geometry: LAZY,
        before: |_, _, _| vec![],
        act: |_, a, _| {
            for bytes in [3072, 512, TWO_UNITS] {
                a.alloc(bytes).ok();
            }
        },
    },
    Scene {
        name: "use, give back and trim",
        geometry: TINY,
        before: |_, _, _| vec![],
        act: |w, a, _| {
            let blocks: Vec<_> =
                [2048, 512, TWO_UNITS].iter().filter_map(|bytes| a.alloc(*bytes).ok()).collect();
            for block in blocks {
                a.free(block);
            }
            a.local.trim(&w.memory);
        },
    },
    Scene {
        name: "resize",
        geometry: TINY,
        before: |_, _, _| vec![],
        act: |_, a, _| {
            let Ok(mut block) = a.alloc(2048) else { return };
            for bytes in [3072, 1025, 2048] {
                block = a.try_realloc(block, bytes).unwrap_or(block);
            }
        },
    },
    Scene {
        name: "collect",
        geometry: TINY,
        before: |_, a, _| {
            let mut blocks = a.alloc_all(TWO_UNITS);
            blocks.truncate(6);
            blocks
        },
        act: |_, a, _| {
            for bytes in [TWO_UNITS, TWO_UNITS, 1024] {
                a.alloc(bytes).ok();
            }
            a.local.release_idle();
        },
    },
    Scene {
        name: "collect large",
        geometry: TINY,
        before: |_, a, _| a.alloc_all(2048),
        act: |_, a, _| {
            a.alloc(4096).ok();
        },
    },
    Scene {
        name: "free another one's",
        geometry: TINY,
        before: |_, _, b| b.alloc_all(TWO_UNITS),
        act: |w, a, blocks| {
            for block in [blocks[0], blocks[7]] {
                if w.is_leased(block, 1) {
                    a.free_of(block, 1);
                }
            }
        },
    },
    Scene {
        name: "free in a dead one's span",
        geometry: TINY,
        before: |w, _, _| leave_a_corpse(w),
        act: |w, _, blocks| {
            for (at, index) in [(1, 1), (2, 2)] {
                w.end_handle(index, 1);
                w.scratch().free_orphan(blocks[at], index, &|h, g| w.is_current(h, g));
            }
        },
    },
    Scene {
        name: "free and adopt",
        geometry: TINY,
        before: |w, _, b| leave_abandoned(w, b),
        act: |w, _, blocks| {
            end_abandoned(w, blocks);
        },
    },
];

const INTRUSIONS: &[Intrusion] = &[
    Intrusion {
        name: "take everything",
        act: |_, b, _| {
            for bytes in [TWO_UNITS, 2048, 512, 1024] {
                b.alloc(bytes).ok();
            }
            b.alloc_all(512);
        },
    },
    Intrusion {
        name: "take and give back",
        act: |w, b, _| {
            for bytes in [TWO_UNITS, 512, 1024, 4096] {
                if let Ok(block) = b.alloc(bytes) {
                    b.free(block);
                }
            }
            b.local.trim(&w.memory);
        },
    },
    Intrusion {
        name: "recover and take everything",
        act: |w, b, _| {
            recover_corpse(w, b.index());
            for bytes in [TWO_UNITS, 2048, 512, 1024] {
                b.alloc(bytes).ok();
            }
            b.alloc_all(512);
        },
    },
    Intrusion {
        name: "recover, take, attach and die",
        act: |w, b, _| {
            recover_corpse(w, b.index());
            attach_all_and_die(w, b);
        },
    },
    Intrusion { name: "attach everything and die", act: attach_all_and_die_part },
    Intrusion {
        name: "attach everything, die, let go",
        act: |w, b, blocks| {
            attach_all_and_die_part(w, b, blocks);
            for generation in 0..64 {
                if w.is_current(7, generation) {
                    let offset = w.held_by(7, generation);
                    w.end_handle(7, generation);
                    w.scratch().free_orphan(offset, 7, &|h, g| w.is_current(h, g));
                }
            }
            b.alloc(TWO_UNITS).ok();
        },
    },
    Intrusion {
        name: "let go of handles",
        act: |w, _, blocks| {
            for (at, index) in [(1, 1), (2, 2)] {
                if w.is_current(index, 1) {
                    w.end_handle(index, 1);
                    w.scratch().free_orphan(blocks[at], index, &|h, g| w.is_current(h, g));
                }
            }
        },
    },
    Intrusion {
        name: "recover while handles end",
        act: |w, b, blocks| {
            recover_corpse(w, b.index());
            for (at, index) in [(1, 1), (2, 2)] {
                if w.is_current(index, 1) {
                    w.end_handle(index, 1);
                    w.scratch().free_orphan(blocks[at], index, &|h, g| w.is_current(h, g));
                }
            }
            b.alloc_all(TWO_UNITS);
            b.alloc_all(1024);
        },
    },
    Intrusion {
        name: "recover, adopt, and let go too early to free",
        act: |w, b, _| {
            recover_corpse(w, b.index());
            b.alloc(TWO_UNITS).ok();
            for index in [1, 2] {
                w.end_handle(index, 1);
            }
        },
    },
    Intrusion {
        name: "free what the other one gave",
        act: |w, b, blocks| {
            for &block in blocks.iter() {
                if w.is_leased(block, 0) {
                    b.free_of(block, 0);
                }
            }
        },
    },
    Intrusion {
        name: "collect and release",
        act: |_, b, blocks| {
            for &block in blocks.iter() {
                if b.world.is_leased(block, 1) {
                    b.free(block);
                }
            }
            b.local.release_idle();
            b.alloc(2048).ok();
        },
    },
];

/// A new member adopts all spans that it can, claims the rest, attaches all blocks to handles, and dies.
fn attach_all_and_die(world: &World, b: &mut Player<'_>) {
    attach_all_and_die_part(world, b, &mut Vec::new());
}

fn attach_all_and_die_part(world: &World, b: &mut Player<'_>, _: &mut Vec<u64>) {
    let mut gone = world.join(22);
    let mut generation = 0;
    for bytes in [TWO_UNITS, TWO_UNITS, TWO_UNITS, TWO_UNITS, 2048, 512, 512, 1024] {
        if let Ok(block) = gone.alloc(bytes) {
            while world.is_current(7, generation) {
                generation += 1;
            }
            gone.attach(block, 7, generation);
        }
    }
    gone.die(b.index());
}

/// Plays a scene: `a` is stopped before step `at` for an intrusion, and dies before step `dies`, if that is given.
fn play(scene: &Scene, intrusion: &Intrusion, at: u64, dies: Option<u64>) -> Outcome {
    let world = World::new(scene.geometry);
    let (mut a, mut b) = (world.join(0), world.join(1));
    let blocks = (scene.before)(&world, &mut a, &mut b);
    let (mut for_a, mut for_b) = (blocks.clone(), blocks);
    let mut intrude = || {
        (intrusion.act)(&world, &mut b, &mut for_b);
        world.verify(false);
    };
    let outcome = run(|| (scene.act)(&world, &mut a, &mut for_a), Some((at, &mut intrude)), dies);
    if outcome == Outcome::Died {
        world.recover_and_recover(0, 1);
    }
    recover_corpse(&world, 1);
    world.reap(DEAD);
    world.verify(true);
    world.exhaust(&mut b);
    world.end();
    outcome
}

fn context<T>(
    what: impl FnOnce() -> T,
    scene: &Scene,
    intrusion: &Intrusion,
    at: u64,
    dies: Option<u64>,
) -> T {
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(what)) {
        Ok(done) => done,
        Err(failure) => {
            eprintln!("in {:?} stopped at {at} by {:?}, dying at {dies:?}", scene.name, intrusion.name);
            std::panic::resume_unwind(failure)
        }
    }
}

#[test]
fn preempt_everywhere() {
    let mut stops = 0;
    for scene in SCENES {
        for intrusion in INTRUSIONS {
            for at in 0.. {
                let outcome = context(|| play(scene, intrusion, at, None), scene, intrusion, at, None);
                stops += 1;
                let Outcome::Finished(steps) = outcome else { unreachable!("nobody dies") };
                if steps <= at {
                    break;
                }
            }
        }
    }
    eprintln!("{stops} stops");
}

/// A member is stopped, and dies some steps later.
#[test]
fn preempt_and_crash() {
    let mut deaths = 0;
    for scene in SCENES {
        for intrusion in INTRUSIONS {
            let mut at = 0;
            loop {
                let mut steps = at;
                // Soon after, and sometimes much later.
                for later in [1, 2, 3, 5, 8, 13, 21, 34, 55] {
                    let dies = Some(at + later);
                    match context(|| play(scene, intrusion, at, dies), scene, intrusion, at, dies) {
                        Outcome::Died => steps = u64::MAX,
                        Outcome::Finished(all) => {
                            steps = steps.max(all);
                            break;
                        }
                    }
                    deaths += 1;
                }
                if steps <= at {
                    break;
                }
                at += 1;
            }
        }
    }
    eprintln!("{deaths} deaths after a stop");
    // Writes that only a race leads to, and no scene in `crash_everywhere`.
    let unpassed = unpassed(env!("CARGO_MANIFEST_DIR"), WRITES, &died_at());
    for write in ABANDON {
        assert!(!unpassed.contains(&(*write).to_owned()), "nobody died after {write}");
    }
}
