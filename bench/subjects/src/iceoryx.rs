//! iceoryx2's pool: blocks of one size behind a lock-free set of indices, in memory that forked members share.
//!
//! It knows neither the owner of a block nor whether a block is in use: the blocks of a dead process are lost.

// The crate's log needs a backend, by name.
extern crate iceoryx2_bb_loggers as _;

use std::alloc::Layout;
use std::ptr::NonNull;
use std::sync::Arc;

use iceoryx2_bb_memory::pool_allocator::{Allocate, Deallocate, FixedSizePoolAllocator};

use crate::shared::Pages;
use crate::subject::{Failed, Heap, Outcome, Subject};

const BLOCK: usize = 64;
const BLOCKS: usize = 1 << 12;

/// Its set of indices wants one more than it has blocks.
type Allocator = FixedSizePoolAllocator<{ BLOCKS + 1 }>;

/// Bytes before the blocks.
const HEAD: usize = size_of::<Allocator>().next_multiple_of(4096);

/// The pool.
pub struct Pool {
    pages: Arc<Pages>,
}

/// One user of the pool.
pub struct PoolMember {
    pages: Arc<Pages>,
}

impl Pool {
    /// With 4096 blocks of 64 bytes.
    ///
    /// # Errors
    /// [`Failed`].
    pub fn new() -> Outcome<Self> {
        let pages = Pages::new(HEAD + BLOCKS * BLOCK)?;
        let blocks =
            NonNull::new(pages.start().wrapping_add(HEAD)).ok_or_else(|| Failed::of("pool", "no memory"))?;
        let layout = Layout::from_size_align(BLOCK, BLOCK).map_err(|error| Failed::of("layout", error))?;
        // SAFETY: room for it at an address aligned to a page; it finds its own parts relative to itself.
        unsafe { pages.start().cast::<Allocator>().write(Allocator::new(layout, blocks, BLOCKS * BLOCK)) };
        Ok(Self { pages: Arc::new(pages) })
    }
}

impl Subject for Pool {
    type Member = PoolMember;

    fn join(&self) -> Outcome<PoolMember> {
        Ok(PoolMember { pages: Arc::clone(&self.pages) })
    }
}

impl PoolMember {
    #[inline(always)]
    fn pool(&self) -> &Allocator {
        // SAFETY: `Pool::new` put it there; it is made to be shared, and members are forked, so its addresses are theirs.
        unsafe { &*self.pages.start().cast() }
    }
}

impl Heap for PoolMember {
    type Block = NonNull<u8>;

    #[inline(always)]
    fn alloc(&mut self, layout: Layout) -> Outcome<NonNull<u8>> {
        self.pool().allocate(layout).map_err(|error| Failed(format!("alloc: {error:?}")))
    }

    #[inline(always)]
    fn free(&mut self, block: NonNull<u8>, layout: Layout) -> Outcome<()> {
        // SAFETY: the caller got it from `alloc` and frees it once.
        unsafe { self.pool().deallocate(block, layout) };
        Ok(())
    }

    #[inline(always)]
    fn address(&self, block: NonNull<u8>) -> *mut u8 {
        block.as_ptr()
    }

    fn word(&self, block: NonNull<u8>) -> u64 {
        (block.as_ptr().addr() - self.pages.start().addr()) as u64
    }

    fn of_word(&self, word: u64, _: Layout) -> NonNull<u8> {
        NonNull::new(self.pages.start().wrapping_add(word as usize)).unwrap_or(NonNull::dangling())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_come_and_go() {
        let subject = Pool::new().unwrap();
        let (mut a, mut b) = (subject.join().unwrap(), subject.join().unwrap());
        let layout = Layout::from_size_align(BLOCK, 16).unwrap();
        let blocks: Vec<_> = (0..BLOCKS).map(|_| a.alloc(layout).unwrap()).collect();
        assert!(a.alloc(layout).is_err());
        let passed = b.of_word(a.word(blocks[7]), layout);
        b.free(passed, layout).unwrap();
        assert_eq!(a.alloc(layout).unwrap(), blocks[7]);
    }
}
