//! Goal: the decisions of one unit word or block word are right in every interleaving, and the word that passes a
//! block on publishes the accesses to its payload.
//! Method: loom, two threads, one unit with one or two blocks. Loom treats SeqCst as AcqRel, so accesses that are SeqCst only for a hint
//! are not tested here; a lost hint costs time only.
#![cfg(loom)]

use std::alloc::Layout as Request;
use std::ops::Range;
use std::sync::Arc;

use loom::thread;
use tenure_core::sync::{AtomicU64, Ordering, Word};
use tenure_core::{Acquire, LeaseId, Recovery};
use tenure_scratch_alloc::{AllocError, Backing, Geometry, Layout, Local, OutOfMemory, Scratch};
use tenure_testkit::explore_in;

const UNIT: usize = 1024;

/// Memory that is committed as a whole.
struct There;

impl Backing for There {
    fn commit(&self, _: Range<u64>) -> Result<(), OutOfMemory> {
        Ok(())
    }

    fn decommit(&self, bytes: Range<u64>) -> Option<Range<u64>> {
        Some(bytes)
    }
}

#[repr(align(1024))]
struct Unit(#[allow(dead_code, reason = "it is memory")] [u8; UNIT]);

/// A region of one unit that threads can share.
#[derive(Clone)]
struct Shared {
    words: Arc<Vec<Word>>,
    payload: Arc<std::cell::UnsafeCell<Unit>>,
    layout: Arc<Layout>,
    /// Stands for the payload of a block.
    used: Arc<AtomicU64>,
}

// SAFETY: the payload is never accessed.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Shared {
    fn new() -> Self {
        let layout = Geometry { bytes: UNIT as u64, unit_bytes: UNIT as u32 }.layout().unwrap();
        let shared = Self {
            words: Arc::new((0..layout.data_at() / 8).map(|_| Word::new(0)).collect()),
            payload: Arc::new(std::cell::UnsafeCell::new(Unit([0; UNIT]))),
            layout: Arc::new(layout),
            used: Arc::new(AtomicU64::new(0)),
        };
        shared.scratch().init();
        shared
    }

    fn scratch(&self) -> Scratch<'_> {
        // SAFETY: one aligned unit, as the layout says; nobody accesses it.
        unsafe { Scratch::new(&self.words, self.payload.get().cast(), &self.layout) }
    }
}

fn id(lease: u8) -> LeaseId {
    LeaseId { index: lease, incarnation: 1 }
}

fn acquire(lease: u8) -> Acquire {
    // SAFETY: private memory; one value per simulated member.
    unsafe { Acquire::assume(id(lease)) }
}

fn recovery(dead: u8, by: u8) -> Recovery {
    // SAFETY: private memory; the dead member does nothing any more.
    unsafe { Recovery::assume(id(dead), by) }
}

fn bytes(bytes: usize) -> Request {
    Request::from_size_align(bytes, 16).unwrap()
}

/// Explores every interleaving with at most `preemptions` preemptions.
fn explore(preemptions: usize, test: impl Fn() + Sync + Send + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(preemptions);
    model.max_branches = 10_000;
    explore_in(&model, test);
}

#[test]
fn loom_remote_free_against_the_owners_collect() {
    explore(2, || {
        let shared = Shared::new();
        let me = acquire(0);
        let mut local = Local::new(shared.scratch(), &me);
        let given = local.alloc(bytes(512), &There).unwrap();
        local.alloc(bytes(512), &There).unwrap();
        let theirs = shared.clone();
        let freer = thread::spawn(move || {
            // Relaxed: the block word publishes it.
            theirs.used.store(7, Ordering::Relaxed);
            theirs.scratch().free_of(&acquire(1), given, id(0)).unwrap();
        });
        let early = local.alloc(bytes(512), &There);
        if let Ok(offset) = early {
            assert_eq!(offset, given);
            assert_eq!(shared.used.load(Ordering::Relaxed), 7, "ours before the freer was done with it");
        }
        freer.join().unwrap();
        assert_eq!(local.alloc(bytes(512), &There).is_ok(), early.is_err(), "lost, or given out twice");
    });
}

#[test]
fn loom_two_claimers_of_one_unit() {
    explore(2, || {
        let shared = Shared::new();
        let claimer = |lease: u8| {
            let shared = shared.clone();
            move || {
                let me = acquire(lease);
                match Local::new(shared.scratch(), &me).alloc(bytes(UNIT), &There) {
                    Ok(_) => true,
                    Err(AllocError::Exhausted { .. }) => false,
                    Err(other) => panic!("{other}"),
                }
            }
        };
        let other = thread::spawn(claimer(1));
        let one = claimer(0)();
        let other = other.join().unwrap();
        assert!(one != other, "one unit, claimed by {}", if one { "both" } else { "neither" });
    });
}

#[test]
fn loom_two_recoverers_and_a_late_free() {
    explore(2, || {
        let shared = Shared::new();
        let dead = acquire(0);
        let given = Local::new(shared.scratch(), &dead).alloc(bytes(512), &There).unwrap();
        let theirs = shared.clone();
        let recoverer = thread::spawn(move || {
            theirs.scratch().recover(&recovery(0, 1), &|_, _| false);
            let me = acquire(1);
            Local::new(theirs.scratch(), &me).alloc(bytes(UNIT), &There).is_ok()
        });
        let freed = shared.scratch().free_of(&acquire(2), given, id(0)).is_ok();
        shared.scratch().recover(&recovery(0, 2), &|_, _| false);
        let theirs = recoverer.join().unwrap();
        let me = acquire(2);
        let ours = Local::new(shared.scratch(), &me).alloc(bytes(UNIT), &There).is_ok();
        assert!(theirs != ours, "freed {freed}: one unit, had by {}", if ours { "both" } else { "neither" });
    });
}
