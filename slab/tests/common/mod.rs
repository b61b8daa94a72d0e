//! Members of a slab in private memory.
#![allow(dead_code, unreachable_pub, reason = "every test file uses its part")]

pub mod world;

use tenure_core::sync::Word;
use tenure_core::{Acquire, LeaseId, Recovery};
use tenure_slab::{Cache, Geometry, Layout, RefCounts, Slab};

pub const SPACE: u8 = 9;

/// Zeroed words.
pub fn words(layout: &Layout) -> Vec<Word> {
    (0..layout.words()).map(|_| Word::new(0)).collect()
}

pub fn layout(handles: u32, members: u16, generation_bits: u8) -> Layout {
    layout_with_slots(handles, members, generation_bits, 0)
}

pub fn layout_with_slots(handles: u32, members: u16, generation_bits: u8, slots: u32) -> Layout {
    Geometry { handles, members, generation_bits, slots, container_slots: 0 }.layout().unwrap()
}

/// An initialised slab, committed as a whole.
pub fn slab(words: &[Word], layout: Layout) -> Slab<'_> {
    let slab = Slab::new(words, layout, SPACE).unwrap();
    slab.init();
    slab.extend(layout.groups());
    slab
}

pub fn acquire(lease: u8) -> Acquire {
    // SAFETY: private memory; every test makes one simulated member per lease.
    unsafe { Acquire::assume(LeaseId { index: lease, incarnation: 1 }) }
}

pub fn recovery(dead: u8, by: u8) -> Recovery {
    // SAFETY: private memory; the tests stop using a member before they recover it.
    unsafe { Recovery::assume(LeaseId { index: dead, incarnation: 1 }, by) }
}

/// One member and one thread of it.
pub struct Member {
    pub acquire: Acquire,
    pub ref_counts: RefCounts,
    pub cache: Cache,
}

pub fn member(slab: &Slab<'_>, lease: u8) -> Member {
    Member {
        acquire: acquire(lease),
        ref_counts: RefCounts::new(slab.layout(), lease).unwrap(),
        cache: slab.cache(),
    }
}

/// For operations in tests without blocks.
pub fn no_block(block: tenure_slab::BlockRef) {
    panic!("unexpected {block:?}");
}
