//! Memory that nobody uses goes back to everybody by itself, also from locals that live on and do nothing more.
#![cfg(not(loom))]

use std::alloc::Layout as Request;
use std::ops::Range;
use std::sync::atomic::Ordering::Relaxed;

use proptest::prelude::*;
use tenure_core::sync::Word;
use tenure_core::{Acquire, LeaseId};
use tenure_scratch_alloc::{Backing, Geometry, Layout, Local, OutOfMemory, Scratch};

const UNIT: u64 = 4096;
const UNITS: u64 = 1024;
/// The units that a local may keep: idle small spans, large runs, and the span from which it allocates.
const REST: u64 = 16 + 128 + 8;

struct There;

impl Backing for There {
    fn commit(&self, _: Range<u64>) -> Result<(), OutOfMemory> {
        Ok(())
    }

    fn decommit(&self, bytes: Range<u64>) -> Option<Range<u64>> {
        Some(bytes)
    }
}

struct Region {
    layout: Layout,
    words: Box<[Word]>,
    data: Box<[u64]>,
}

impl Region {
    fn new() -> Self {
        let layout = Geometry { bytes: UNITS * UNIT, unit_bytes: UNIT as u32 }.layout().unwrap();
        let region = Self {
            words: (0..layout.data_at() / 8).map(|_| Word::new(0)).collect(),
            data: vec![0; layout.capacity() as usize / 8].into(),
            layout,
        };
        region.scratch().init();
        region
    }

    fn scratch(&self) -> Scratch<'_> {
        // SAFETY: as long as the capacity; nobody asks for aligned blocks.
        unsafe { Scratch::new(&self.words, self.data.as_ptr().cast_mut().cast(), &self.layout) }
    }

    fn local(&self, index: u8) -> Local<'_> {
        // SAFETY: private memory, one value for each simulated member.
        Local::new(self.scratch(), &unsafe { Acquire::assume(LeaseId { index, incarnation: 1 }) })
    }

    /// Bytes of payload in spans that have an owner.
    fn owned(&self) -> u64 {
        let report = self.scratch().check(true, &|_| true, &|_, _, _| true);
        assert_eq!((report.violations.as_slice(), report.pending.as_slice()), (&[][..], &[][..]));
        report.bytes_owned + report.bytes_kept
    }
}

fn bytes(bytes: u64) -> Request {
    Request::from_size_align(bytes as usize, 1).unwrap()
}

fn all(local: &mut Local<'_>, size: u64) -> Vec<u64> {
    std::iter::from_fn(|| local.alloc(bytes(size), &There).ok()).collect()
}

#[test]
fn who_freed_everything_and_does_nothing_more_keeps_a_bounded_rest() {
    for size in [16, 100, 300, 700, 1800, 2048, 5000, 100_000] {
        for order in ["first to last", "last to first", "every seventh"] {
            let region = Region::new();
            let (mut a, mut b) = (region.local(0), region.local(1));
            let mut blocks = all(&mut a, size);
            assert!(blocks.len() as u64 * size > UNITS * UNIT / 2, "{} of {size}", blocks.len());
            match order {
                "last to first" => blocks.reverse(),
                "every seventh" => {
                    blocks = (0..7).flat_map(|at| blocks[at..].iter().copied().step_by(7)).collect()
                }
                _ => {}
            }
            for block in blocks {
                a.free(block).unwrap();
            }
            let had = all(&mut b, UNIT).len() as u64;
            assert!(had >= UNITS - REST, "{had} units after {size} bytes, {order}");
        }
    }
}

/// `b` had no room: at its next slow path, `a` gives up what it keeps.
#[test]
fn who_is_asked_keeps_only_what_it_allocates_from() {
    let region = Region::new();
    let (mut a, mut b) = (region.local(0), region.local(1));
    for size in [64, 500, 9000] {
        for block in all(&mut a, size) {
            a.free(block).unwrap();
        }
    }
    let had = all(&mut b, UNIT).len() as u64;
    assert!(had < UNITS, "a keeps nothing: the test shows nothing");
    a.alloc(bytes(1000), &There).unwrap();
    let more = all(&mut b, UNIT).len() as u64;
    assert!(had + more >= UNITS - 3, "{had} and {more} units");
}

/// Another member frees everything, and the owner goes on with other sizes only: asked for room, it collects what was freed.
#[test]
fn what_others_freed_is_collected_when_somebody_has_no_room() {
    let region = Region::new();
    let (mut a, mut b) = (region.local(0), region.local(1));
    // SAFETY: private memory.
    let right = unsafe { Acquire::assume(LeaseId { index: 1, incarnation: 1 }) };
    for block in all(&mut a, 64) {
        region.scratch().free_of(&right, block, LeaseId { index: 0, incarnation: 1 }).unwrap();
    }
    assert!(b.alloc(bytes(UNIT), &There).is_err(), "collected by nobody yet");
    a.alloc(bytes(1000), &There).unwrap();
    let had = all(&mut b, UNIT).len() as u64;
    assert!(had >= UNITS - 3, "{had} units");
}

/// Somebody overwrites the word of each free block with the number of a block at the end of the region, or beyond it. Blocks may overlap
/// then, but they stay in the region.
#[test]
fn an_overwritten_link_leads_to_no_block_outside() {
    for size in [16u64, 112, 1000, 1800, 2048] {
        for back in [0, 1, 2, 7, 64, 127, 128, 129] {
            let region = Region::new();
            let mut a = region.local(0);
            let blocks: Vec<_> = (0..20).map(|_| a.alloc(bytes(size), &There).unwrap()).collect();
            for block in blocks {
                a.free(block).unwrap();
            }
            let link = (UNITS * UNIT / 16).saturating_sub(back);
            for word in region.words.iter().filter(|word| (1..1 << 20).contains(&word.load(Relaxed))).skip(1)
            {
                word.store(link, Relaxed);
            }
            for _ in 0..40 {
                if let Ok(offset) = a.alloc(bytes(size), &There) {
                    assert!(offset + size <= UNITS * UNIT, "{size} bytes at {offset}");
                }
            }
        }
    }
}

/// A unit of one class serves any other class, and large blocks, after it was idle.
#[test]
fn changing_sizes_do_not_add_up() {
    let region = Region::new();
    let mut a = region.local(0);
    let quarter = UNITS * UNIT / 4;
    for size in [100, 1000, 16, 50_000, 300, 1 << 20, 2000, 64] {
        let blocks: Vec<_> = (0..quarter / size).map(|_| a.alloc(bytes(size), &There).unwrap()).collect();
        assert!(region.owned() <= quarter * 3 / 2 + REST * UNIT, "{} for {size} bytes", region.owned());
        for block in blocks {
            a.free(block).unwrap();
        }
    }
    assert!(region.owned() <= REST * UNIT);
}

#[derive(Clone, Debug)]
enum Operation {
    Alloc { size: u64, of: u8 },
    Free { which: usize, of: u8 },
    Release { of: u8 },
}

fn operations() -> impl Strategy<Value = Vec<Operation>> {
    let size = prop_oneof![4 => 1u64..600, 1 => 600u64..2049, 1 => 2049u64..40_000];
    let operation = prop_oneof![
        5 => (size, 0..2u8).prop_map(|(size, of)| Operation::Alloc { size, of }),
        4 => (any::<usize>(), 0..2u8).prop_map(|(which, of)| Operation::Free { which, of }),
        1 => (0..2u8).prop_map(|of| Operation::Release { of }),
    ];
    prop::collection::vec(operation, 1..400)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: if cfg!(miri) { 2 } else { 64 }, ..ProptestConfig::default() })]

    /// Two members that also free each other's blocks: the blocks never overlap, each is freed exactly once, and in the end everything
    /// can be had again.
    #[test]
    fn random_operations_against_a_list(operations in operations()) {
        let region = Region::new();
        let mut locals = [region.local(0), region.local(1)];
        let mut live: Vec<(u64, u64, u8)> = Vec::new();
        for operation in operations {
            match operation {
                Operation::Alloc { size, of } => {
                    if let Ok(offset) = locals[usize::from(of)].alloc(bytes(size), &There) {
                        let disjoint = live.iter().all(|(at, has, _)| offset + size <= *at || at + has <= offset);
                        prop_assert!(disjoint, "{offset} of {size} overlaps one of {live:?}");
                        prop_assert!(locals[usize::from(of)].usable(offset).unwrap() >= size);
                        live.push((offset, size, of));
                    }
                }
                Operation::Free { which, of } if !live.is_empty() => {
                    let (offset, _, owner) = live.swap_remove(which % live.len());
                    let id = LeaseId { index: owner, incarnation: 1 };
                    if of == owner {
                        locals[usize::from(of)].free(offset).unwrap();
                        prop_assert!(locals[usize::from(of)].free(offset).is_err(), "freed twice");
                    } else {
                        // SAFETY: private memory.
                        let me = unsafe { Acquire::assume(LeaseId { index: of, incarnation: 1 }) };
                        region.scratch().free_of(&me, offset, id).unwrap();
                        prop_assert!(region.scratch().free_of(&me, offset, id).is_err(), "freed twice");
                    }
                }
                Operation::Free { .. } => {}
                Operation::Release { of } => locals[usize::from(of)].release_idle(),
            }
        }
        let report = region.scratch().check(true, &|_| true, &|_, _, _| true);
        prop_assert_eq!(&report.violations, &Vec::<String>::new());
        prop_assert_eq!(report.leased, live.len() as u64);
        for (offset, _, owner) in live {
            locals[usize::from(owner)].free(offset).unwrap();
        }
        for local in &mut locals {
            local.release_idle();
        }
        prop_assert_eq!(region.owned(), 0);
    }
}
