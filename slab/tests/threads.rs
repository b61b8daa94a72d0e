//! Goal: no payload or block changes while it is held, and nothing is left at the end.
//! Method: members of two threads each do random operations on few handles, pass tokens through shared slots, and die at any moment
//! without a cleanup, while a janitor with two threads recovers them; then `check()`.
#![cfg(not(loom))]

mod common;

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use common::{acquire, layout, recovery, slab, words};
use tenure_slab::testing::{Contents, Read as _};
use tenure_slab::{BlockRef, Cache, Closed, Held, OpenError, Payload, RefCounts, Slab, Token};

/// A simple random number generator.
struct Rng(u64);

impl Rng {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % n
    }
}

/// The scratch memory: one word a block, 0 free, 1 leased, else attached.
struct Blocks(Vec<AtomicU64>);

fn attached(index: u32, generation: u64) -> u64 {
    1 << 63 | generation << 20 | u64::from(index)
}

impl Blocks {
    fn lease(&self, rng: &mut Rng) -> Option<u64> {
        let at = rng.below(self.0.len() as u64) as usize;
        self.0[at].compare_exchange(0, 1, Ordering::AcqRel, Ordering::Relaxed).ok().map(|_| at as u64)
    }

    /// As the tenure crate: frees a block by exact CAS, if it is attached to a generation that is over.
    fn free(&self, found: BlockRef) {
        let Some(word) = self.0.get(found.offset as usize) else { return };
        let seen = word.load(Ordering::Acquire);
        let (index, generation) = ((seen & 0xf_ffff) as u32, seen >> 20 & 0xf_ffff_ffff);
        if seen >> 63 == 1 && index == found.index && generation <= found.generation {
            let _ = word.compare_exchange(seen, 0, Ordering::AcqRel, Ordering::Relaxed);
        }
    }

    fn is_attached(&self, offset: u64, held: Held) -> bool {
        self.0[offset as usize].load(Ordering::Acquire) == attached(held.index(), held.generation())
    }
}

struct World<'a> {
    slab: Slab<'a>,
    tokens: Vec<AtomicU64>,
    blocks: Blocks,
}

fn pattern(kind: u64) -> [u8; 32] {
    let mut bytes = [0; 32];
    for (i, chunk) in bytes.chunks_exact_mut(8).enumerate() {
        chunk.copy_from_slice(&(kind.wrapping_mul(2 * i as u64 + 1)).to_le_bytes());
    }
    bytes
}

impl World<'_> {
    fn create(&self, lease: u8, ref_counts: &RefCounts, cache: &mut Cache, rng: &mut Rng) -> Option<Held> {
        let kind = rng.below(u64::MAX);
        let bytes = pattern(kind);
        let free = |found| self.blocks.free(found);
        let block = if rng.below(3) == 0 { self.blocks.lease(rng) } else { None };
        let payload = block.map_or(Payload::Inline(&bytes), |offset| Payload::Block {
            offset,
            len: kind >> 1,
            label: None,
        });
        let attach = |index, generation| {
            if let Some(offset) = block {
                self.blocks.0[offset as usize].store(attached(index, generation), Ordering::Release);
            }
        };
        let result = self.slab.create(&acquire(lease), ref_counts, cache, kind, payload, attach, free);
        if result.is_err()
            && let Some(offset) = block
        {
            self.blocks.0[offset as usize].store(0, Ordering::Release);
        }
        result.ok()
    }

    /// Asserts that the payload created under this kind is unchanged.
    fn look(&self, held: Held) {
        let (kind, contents) = self.slab.read(held).expect("held, so live");
        match contents {
            Contents::Inline { bytes, len } => {
                assert_eq!((bytes, len), (pattern(kind), 32), "{held:?} changed while held");
            }
            Contents::Block { offset, len } => {
                assert_eq!(len, kind >> 1, "{held:?} changed while held");
                assert!(self.blocks.is_attached(offset, held), "the block of {held:?} was freed while held");
            }
        }
    }

    /// One thread of one incarnation of a member; it ends without a cleanup.
    fn work(&self, lease: u8, ref_counts: &RefCounts, seed: u64, steps: u32) {
        let mut rng = Rng(seed | 1);
        let mut cache = self.slab.cache();
        let mut mine: Vec<Held> = Vec::new();
        let acquire = acquire(lease);
        let free = |found| self.blocks.free(found);
        for _ in 0..steps {
            let slot = &self.tokens[rng.below(self.tokens.len() as u64) as usize];
            match rng.below(12) {
                0..3 => {
                    if let Some(held) = self.create(lease, ref_counts, &mut cache, &mut rng) {
                        slot.store(held.token(&self.slab).into(), Ordering::Release);
                        mine.push(held);
                    }
                }
                3..7 => {
                    let Ok(token) = Token::try_from(slot.load(Ordering::Acquire)) else { continue };
                    match self.slab.open(&acquire, ref_counts, token, free) {
                        Ok(held) => mine.push(held),
                        Err(OpenError::Stale(_)) => {}
                        Err(other) => panic!("{token:?}: {other}"),
                    }
                }
                7 => {
                    if let Some(held) = mine.last() {
                        mine.push(self.slab.reopen(&acquire, ref_counts, *held).expect("held"));
                    }
                }
                8 if rng.below(40) == 0 => self.slab.drain(&acquire, ref_counts, &mut cache),
                _ => {}
            }
            for held in &mine {
                self.look(*held);
            }
            while mine.len() > 6 || (!mine.is_empty() && rng.below(3) == 0) {
                let held = mine.swap_remove(rng.below(mine.len() as u64) as usize);
                let cache = if rng.below(4) == 0 { None } else { Some(&mut cache) };
                let closed = self.slab.close(&acquire, ref_counts, cache, held, free).expect("held");
                assert!(matches!(closed, Closed::Counted | Closed::Left | Closed::Ended));
            }
        }
        for held in &mine {
            self.look(*held);
        }
    }
}

fn stress(members: u16, generation_bits: u8, lives: u64, steps: u32) {
    let layout = layout(48, members, generation_bits);
    let words = words(&layout);
    let world = World {
        slab: slab(&words, layout),
        tokens: (0..12).map(|_| AtomicU64::new(0)).collect(),
        blocks: Blocks((0..64).map(|_| AtomicU64::new(0)).collect()),
    };
    let janitor = (members - 1) as u8;
    let janitors = RefCounts::new(&layout, janitor).unwrap();
    thread::scope(|scope| {
        for member in 0..3u8 {
            let (world, janitors) = (&world, &janitors);
            scope.spawn(move || {
                let lease = member * (members / 4) as u8;
                for life in 0..lives {
                    let ref_counts = RefCounts::new(&layout, lease).unwrap();
                    thread::scope(|threads| {
                        for sibling in 0..2 {
                            let seed = (life * 6 + u64::from(member) * 2 + sibling + 1)
                                .wrapping_mul(0x9e37_79b9_7f4a_7c15);
                            let ref_counts = &ref_counts;
                            threads.spawn(move || world.work(lease, ref_counts, seed, steps));
                        }
                    });
                    // The member is dead. Two threads of the janitor recover it at once, while other members work.
                    thread::scope(|threads| {
                        for _ in 0..2 {
                            threads.spawn(|| {
                                world.slab.recover(
                                    janitors,
                                    &recovery(lease, janitor),
                                    |_| false,
                                    |_, _| {},
                                    |b| world.blocks.free(b),
                                )
                            });
                        }
                    });
                }
            });
        }
    });
    let report = world.slab.check(&|_| false);
    assert!(report.is_clean(), "{report:?}");
    assert_eq!((report.counts.live, report.counts.init), (0, 0));
    for (at, word) in world.blocks.0.iter().enumerate() {
        // Blocks that are leased and not attached are the scratch allocator's to recover; here no member dies with such a block.
        assert_eq!(word.load(Ordering::Relaxed), 0, "block {at} leaked");
    }
}

#[test]
fn threads_of_members_that_die() {
    let (lives, steps) = if cfg!(miri) { (1, 12) } else { (40, 3000) };
    stress(8, 36, lives, steps);
}

#[test]
fn threads_of_members_in_several_words() {
    let (lives, steps) = if cfg!(miri) { (1, 12) } else { (20, 3000) };
    stress(200, 36, lives, steps);
}

#[test]
fn threads_until_entries_retire() {
    let (lives, steps) = if cfg!(miri) { (1, 12) } else { (10, 3000) };
    stress(8, 6, lives, steps);
}
