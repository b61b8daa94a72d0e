//! `crash_everywhere`: a member dies before each of its steps; another member recovers it, or dies at each step of the recovery.

use tenure_core::testing::unpassed;

use super::hooks::{Outcome, died_at, run};
use super::{LAZY, Player, TINY, TWO_UNITS, World};
use crate::geometry::Geometry;

/// The members of a scene: `a` dies, `b` recovers it.
struct Cast<'w> {
    a: Player<'w>,
    b: Player<'w>,
    /// Blocks that `before` passes to `act`.
    blocks: Vec<u64>,
}

struct Scene {
    name: &'static str,
    geometry: Geometry,
    before: fn(&mut Cast<'_>),
    /// The work of `a`, during which it dies.
    act: fn(&mut Cast<'_>),
}

const fn scene(name: &'static str, before: fn(&mut Cast<'_>), act: fn(&mut Cast<'_>)) -> Scene {
    Scene { name, geometry: TINY, before, act }
}

const fn lazy(name: &'static str, before: fn(&mut Cast<'_>), act: fn(&mut Cast<'_>)) -> Scene {
    Scene { name, geometry: LAZY, before, act }
}

/// Leaves an abandoned span of blocks of `bytes`: a handle and a pin keep a block each, if the span has two.
fn abandon(cast: &mut Cast<'_>, index: u8, bytes: usize) -> Vec<u64> {
    let mut gone = cast.b.world.join(index);
    let kept = gone.alloc(bytes).unwrap();
    gone.attach(kept, u32::from(index), 1);
    let mut left = vec![kept];
    if bytes <= 512 {
        let pinned = gone.alloc(bytes).unwrap();
        gone.pin(pinned);
        gone.alloc(bytes).ok();
        left.push(pinned);
    }
    gone.die(cast.b.index());
    left
}

/// `b` allocates everything that is left.
fn exhaust(cast: &mut Cast<'_>) {
    while cast.b.alloc(1024).is_ok() {}
}

const SCENES: &[Scene] = &[
    scene(
        "first blocks",
        |_| {},
        |c| {
            for bytes in [512, 16, TWO_UNITS, 3000] {
                c.a.alloc(bytes).unwrap();
            }
        },
    ),
    scene(
        "free and again",
        |c| c.blocks = vec![c.a.alloc(512).unwrap(), c.a.alloc(2048).unwrap()],
        |c| {
            for block in c.blocks.split_off(0) {
                c.a.free(block);
            }
            c.a.alloc(512).unwrap();
            c.a.alloc(1024).unwrap();
            c.a.alloc(1024).unwrap();
        },
    ),
    scene(
        "free one after the other",
        |c| c.blocks = (0..3).map(|_| c.a.alloc(256).unwrap()).collect(),
        |c| {
            for block in c.blocks.split_off(0) {
                c.a.free(block);
            }
            c.a.alloc(256).unwrap();
        },
    ),
    scene(
        "idle spans go back",
        |c| c.blocks = (0..8).map(|_| c.a.alloc(512).unwrap()).collect(),
        |c| {
            for block in c.blocks.split_off(0) {
                c.a.free(block);
            }
            // All but one unit.
            c.b.alloc(3072).unwrap();
        },
    ),
    scene(
        "a unit with words of a dead owner",
        |c| {
            let mut dead = c.b.world.join(20);
            dead.alloc(512).unwrap();
            dead.alloc(512).unwrap();
            dead.die(1);
        },
        |c| {
            c.a.alloc(512).unwrap();
            c.a.alloc(512).unwrap();
        },
    ),
    scene(
        "large blocks again",
        |c| {
            let block = c.a.alloc(1024).unwrap();
            c.a.free(block);
        },
        |c| {
            let block = c.a.alloc(1024).unwrap();
            c.a.free(block);
            // The cached span is shorter.
            c.a.alloc(2048).unwrap();
        },
    ),
    scene(
        "resize a large block",
        |_| {},
        |c| {
            let block = c.a.alloc(4096).unwrap();
            let block = c.a.realloc(block, 1500);
            let block = c.a.realloc(block, 3072);
            let block = c.a.realloc(block, 8192);
            let block = c.a.realloc(block, 600);
            c.a.realloc(block, 100);
        },
    ),
    scene(
        "resize where others are",
        |c| {
            c.blocks = vec![c.a.alloc(2048).unwrap()];
            c.b.alloc(1024).unwrap();
        },
        |c| {
            let block = c.a.realloc(c.blocks[0], 4096);
            c.a.realloc(block, 5120);
        },
    ),
    scene(
        "trim",
        |c| {
            for bytes in [512, TWO_UNITS, 1024] {
                let block = c.a.alloc(bytes).unwrap();
                c.a.free(block);
            }
        },
        |c| {
            c.a.local.trim(&c.a.world.memory);
        },
    ),
    scene(
        "trim what stays",
        |c| c.a.world.memory.keep.set(true),
        |c| {
            assert_eq!(c.a.local.trim(&c.a.world.memory), 0);
            c.a.alloc(4096).unwrap();
        },
    ),
    scene(
        "trim and again",
        |c| {
            c.b.alloc(512).unwrap();
        },
        |c| {
            c.a.local.trim(&c.a.world.memory);
            c.a.alloc(4096).unwrap();
            c.a.alloc(TWO_UNITS).unwrap();
        },
    ),
    scene(
        "collect what others freed",
        |c| {
            let blocks = c.a.alloc_all(TWO_UNITS);
            for &block in blocks.iter().step_by(2) {
                c.b.free_of(block, 0);
            }
        },
        |c| {
            c.a.alloc(TWO_UNITS).unwrap();
            c.a.alloc(TWO_UNITS).unwrap();
        },
    ),
    scene(
        "collect large blocks that others freed",
        |c| {
            let blocks = [c.a.alloc(2048).unwrap(), c.a.alloc(3072).unwrap(), c.a.alloc(1024).unwrap()];
            c.b.free_of(blocks[0], 0);
            c.b.free_of(blocks[2], 0);
            exhaust(c);
        },
        |c| {
            c.a.alloc(2048).unwrap();
            c.a.alloc(512).unwrap();
            c.a.alloc(1024).unwrap_err();
        },
    ),
    scene(
        "free what another one gave",
        |c| c.blocks = vec![c.b.alloc(512).unwrap(), c.b.alloc(2048).unwrap()],
        |c| {
            c.a.free_of(c.blocks[0], 1);
            c.a.free_of(c.blocks[1], 1);
        },
    ),
    scene(
        "attach, pin and free both",
        |_| {},
        |c| {
            for bytes in [256, 2048] {
                let blocks = [c.a.alloc(bytes).unwrap(), c.a.alloc(bytes).unwrap()];
                c.a.attach(blocks[0], 5, bytes as u64);
                c.a.pin(blocks[1]);
                c.a.free_pinned(blocks[1]);
                c.a.world.end_handle(5, bytes as u64);
                c.a.local.free_attached(blocks[0], 5, bytes as u64).unwrap();
            }
        },
    ),
    scene(
        "finish another one's handles",
        |c| {
            c.blocks = vec![c.b.alloc(256).unwrap(), c.b.alloc(2048).unwrap(), c.b.alloc(16).unwrap()];
            for (index, block) in c.blocks.clone().into_iter().enumerate() {
                c.b.attach(block, index as u32, 3);
            }
        },
        |c| {
            for (index, block) in c.blocks.clone().into_iter().enumerate() {
                c.a.world.end_handle(index as u32, 3);
                if index == 2 {
                    assert!(c.a.world.scratch().free_orphan(block, 2, &|h, g| c.a.world.is_current(h, g)));
                } else {
                    c.a.local.free_attached(block, index as u32, 3).unwrap();
                }
            }
        },
    ),
    scene(
        "adopt a small span",
        |c| {
            abandon(c, 9, TWO_UNITS);
        },
        |c| {
            c.a.alloc(TWO_UNITS).unwrap();
        },
    ),
    scene(
        "adopt when nothing is left",
        |c| {
            c.blocks = abandon(c, 9, 512);
            exhaust(c);
            c.b.free_pinned(c.blocks[1]);
        },
        |c| {
            c.a.alloc(500).unwrap();
            c.a.alloc(500).unwrap_err();
        },
    ),
    scene(
        "free in an abandoned span",
        |c| c.blocks = abandon(c, 9, TWO_UNITS),
        |c| {
            c.a.free_pinned(c.blocks[1]);
            c.a.world.end_handle(9, 1);
            assert!(c.a.world.scratch().free_orphan(c.blocks[0], 9, &|h, g| c.a.world.is_current(h, g)));
        },
    ),
    scene(
        "release abandoned spans",
        |c| {
            c.blocks = abandon(c, 9, 3072);
            let more = abandon(c, 10, TWO_UNITS);
            c.blocks.extend(more);
            for (index, block) in [(9, c.blocks[0]), (10, c.blocks[1])] {
                c.a.world.end_handle(index, 1);
                assert!(c.a.world.scratch().free_orphan(block, index, &|_, _| false));
            }
            c.a.free_pinned(c.blocks[2]);
        },
        |c| {
            c.a.alloc(8192).unwrap();
        },
    ),
    scene(
        "everything is idle elsewhere in the same local",
        |c| {
            for bytes in [512, TWO_UNITS, 1024, 16] {
                let block = c.a.alloc(bytes).unwrap();
                c.a.free(block);
            }
        },
        |c| {
            c.a.alloc(7168).unwrap();
            c.a.alloc(1024).unwrap();
            c.a.alloc(1).unwrap_err();
        },
    ),
    scene(
        "one unit instead of two",
        |c| {
            c.blocks = vec![c.b.alloc(1024).unwrap(), c.b.alloc(1024).unwrap()];
            exhaust(c);
            c.b.free(c.blocks[0]);
            c.b.local.release_idle();
        },
        |c| {
            c.a.alloc(TWO_UNITS).unwrap();
            c.a.alloc(TWO_UNITS).unwrap_err();
        },
    ),
    scene(
        "claim what a hint promised wrongly",
        |c| {
            c.b.alloc(512).unwrap();
            let taken = c.b.alloc(1024).unwrap();
            c.b.alloc(512).unwrap();
            c.b.free(taken);
            c.b.local.release_idle();
            c.b.alloc(256).unwrap();
            let scratch = c.a.world.scratch();
            scratch.hint_run(scratch.layout.dirty, 0..8, true);
        },
        |c| {
            c.a.alloc(3072).unwrap();
        },
    ),
    scene(
        "recover",
        |c| {
            let mut dead = c.b.world.join(20);
            let blocks = [512, 512, TWO_UNITS, 2048].map(|bytes| dead.alloc(bytes).unwrap());
            dead.attach(blocks[0], 1, 1);
            c.b.world.reap(20);
        },
        |c| {
            c.a.world.recover(20, 0);
        },
    ),
    scene(
        "recover what is kept",
        |c| {
            let mut dead = c.b.world.join(20);
            let blocks = [TWO_UNITS, TWO_UNITS, 2048, TWO_UNITS].map(|bytes| dead.alloc(bytes).unwrap());
            dead.attach(blocks[0], 1, 1);
            dead.attach(blocks[1], 2, 1);
            dead.attach(blocks[2], 3, 1);
            dead.pin(blocks[3]);
            c.b.world.end_handle(2, 1);
            c.b.world.orphans.take();
            c.b.world.reap(20);
        },
        |c| {
            c.a.world.recover(20, 0);
        },
    ),
    lazy(
        "first units of all",
        |_| {},
        |c| {
            c.a.alloc(512).unwrap();
            c.a.alloc(6 << 10).unwrap();
            c.a.alloc(TWO_UNITS).unwrap();
        },
    ),
    lazy(
        "no memory",
        |c| c.a.world.memory.refuse_after.set(Some(3)),
        |c| {
            c.a.alloc(512).ok();
            c.a.alloc(2 << 10).ok();
            c.a.alloc(60 << 10).unwrap_err();
            c.a.alloc(TWO_UNITS).ok();
        },
    ),
    lazy(
        "memory for one unit but not for its neighbours",
        |c| {
            c.b.alloc(40 << 10).unwrap();
            c.a.world.memory.longest.set(2 << 10);
        },
        |c| {
            c.a.alloc(512).unwrap();
            c.a.alloc(2 << 10).unwrap();
            c.a.alloc(3 << 10).unwrap_err();
        },
    ),
    lazy(
        "no memory at all",
        |c| {
            c.b.alloc(40 << 10).unwrap();
            c.a.world.memory.refuse_after.set(Some(0));
        },
        |c| {
            c.a.alloc(8 << 10).unwrap_err();
            c.a.alloc(512).unwrap_err();
        },
    ),
];

/// Plays a scene until the step before `dies`, then calls `then`, which can recover `a`.
fn play(world: &World, scene: &Scene, dies: Option<u64>, then: impl FnOnce(&mut Player<'_>, Outcome)) {
    let mut cast = Cast { a: world.join(0), b: world.join(1), blocks: Vec::new() };
    (scene.before)(&mut cast);
    let outcome = run(|| (scene.act)(&mut cast), None, dies);
    // Private memory is gone, without a drop.
    std::mem::forget(cast.a);
    world.reap(0);
    world.memory.refuse_after.set(None);
    world.memory.longest.set(0);
    then(&mut cast.b, outcome);
}

#[test]
fn crash_everywhere() {
    let mut deaths = 0;
    for scene in SCENES {
        let mut steps = None;
        for dies in 0.. {
            let world = World::new(scene.geometry);
            play(&world, scene, Some(dies), |b, outcome| {
                if let Outcome::Finished(all) = outcome {
                    steps = Some(all);
                }
                // The dead member may have been recovering another one: recover both.
                for dead in [0, 20] {
                    world.recover(dead, b.index());
                    world.rest(dead);
                }
                world.verify(true);
                world.exhaust(b);
                world.end();
            });
            deaths += 1;
            if steps.is_some() {
                break;
            }
        }
        assert!(steps.is_some_and(|steps| steps > 0), "{} did nothing", scene.name);
    }
    let died_at = died_at();
    eprintln!("{deaths} deaths, after {} different writes", died_at.len());
    assert_eq!(
        unpassed(env!("CARGO_MANIFEST_DIR"), WRITES, &died_at),
        NOBODY_DIED,
        "nobody died after these"
    );
}

/// Texts of source lines that write to a word. For the first four, the lines of the callers count.
pub(super) const WRITES: &[&str] = &[
    ".unit_store(",
    ".unit_compare_exchange(",
    ".block_compare_exchange(",
    ".hint_run(",
    ".store(",
    ".compare_exchange(",
    ".fetch_",
];

/// The writes after which nobody dies in `crash_everywhere`.
const NOBODY_DIED: &[&str] = &[
    // Only private memory takes its tables back.
    "claim.rs: committed.store(committed.load(Ordering::Relaxed) & !bit, Ordering::Relaxed);",
    // No scene loses a hint, or refuses a decommit and then the commit of the same page.
    "claim.rs: self.hint_run(bitmap, unit..unit + 1, true);",
    "claim.rs: self.hint_run(self.layout.clean, units, true);",
    "claim.rs: self.unit_store(start, Unit::Unbacked);",
    // A mutant.
    "claim.rs: self.unit_store(unit, Unit::Held(me));",
    // Its callers are in the list of writes.
    "claim.rs: word.fetch_and(!bits, Ordering::Relaxed);",
    "claim.rs: word.fetch_or(bits, Ordering::Relaxed);",
    // After a fork nobody else works in the region.
    "inherit.rs: scratch.control(ABANDONINGS).fetch_add(1, Ordering::AcqRel);",
    "inherit.rs: scratch.remote(head).store(1, Ordering::Relaxed);",
    "inherit.rs: scratch.unit_store(head, Unit::Abandoned(shape));",
    // A mutant.
    "recover.rs: self.unit_store(unit, to);",
    // A race: `preempt`.
    "scratch.rs: self.control(ABANDONINGS).fetch_add(1, Ordering::AcqRel);",
    // Creation: nobody else sees the region.
    "scratch.rs: self.control(READY).store(u64::from(self.layout.units), Ordering::Relaxed);",
    "scratch.rs: self.hint_run(self.layout.dirty, 0..self.layout.units, true);",
    "scratch.rs: self.tables_committed(unit).store(self.layout.all_tables(), Ordering::Relaxed);",
    // Their callers are in the list of writes; the third is creation.
    "scratch.rs: self.unit(unit).compare_exchange(from.raw(), to.raw(), success, Ordering::Relaxed).is_ok()",
    "scratch.rs: self.unit(unit).store(Unit::Free.raw(), Ordering::Relaxed);",
    "scratch.rs: self.unit(unit).store(to.raw(), ordering!(\"scratch.unit.store\", Release, Relaxed));",
    "scratch.rs: self.word(at).compare_exchange(from, to, success, Ordering::Relaxed).is_ok()",
    // A race: `preempt`.
    "span.rs: self.control(ABANDONINGS).fetch_add(1, Ordering::AcqRel);",
    "span.rs: self.remote(head).store(1, Ordering::Relaxed);",
    "span.rs: self.unit_store(head, Unit::Abandoned(shape));",
    // Mutants.
    "span.rs: self.unit_store(head, Unit::Span(me, shape));",
    "span.rs: self.unit_store(head, Unit::Span(me, shape));",
];

/// The recoverer dies at every step, for some of the places where the first one died.
#[test]
fn crash_the_recoverer_everywhere() {
    let mut deaths = 0;
    for scene in SCENES {
        let mut dies = 0;
        loop {
            let mut finished = false;
            for recoverer_dies in 0.. {
                let world = World::new(scene.geometry);
                let mut recovered = false;
                play(&world, scene, Some(dies), |b, outcome| {
                    finished = matches!(outcome, Outcome::Finished(_));
                    let c = world.join(2);
                    let outcome = run(
                        || {
                            for dead in [0, 20] {
                                world.recover(dead, 2);
                            }
                        },
                        None,
                        Some(recoverer_dies),
                    );
                    recovered = matches!(outcome, Outcome::Finished(_));
                    std::mem::forget(c);
                    for dead in [0, 2, 20] {
                        world.recover_and_recover(dead, 1);
                    }
                    world.exhaust(b);
                    world.end();
                });
                deaths += 1;
                if recovered {
                    break;
                }
            }
            if finished {
                break;
            }
            // A stride that visits every residue: scenes have up to some hundred steps, recoveries as many.
            dies += 5;
        }
    }
    eprintln!("{deaths} double deaths");
}

/// The writes that need a race, those of `Scratch::abandon` for instance: `preempt` dies there.
pub(super) const ABANDON: &[&str] = &[
    "scratch.rs: self.control(ABANDONINGS).fetch_add(1, Ordering::AcqRel);",
    "span.rs: self.control(ABANDONINGS).fetch_add(1, Ordering::AcqRel);",
    "span.rs: self.remote(head).store(1, Ordering::Relaxed);",
    "span.rs: self.unit_store(head, Unit::Abandoned(shape));",
];
