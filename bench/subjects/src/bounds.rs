//! Bounds: the shared words that tenure changes, with the same instructions, and nothing around them. No lease is
//! checked, no number is checked beyond its generation, a member is one thread, nothing grows, nothing can be
//! recovered. The time that tenure takes beyond this is its own cost; with these words no subject can be faster.

use std::alloc::Layout;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::shared::Pages;
use crate::subject::{Failed, Handles, Heap, Outcome, Subject};

const ENTRIES: usize = 1 << 10;
/// Entries or blocks of one member.
const SHARE: usize = 256;

/// One handle: a line, as in tenure.
#[repr(C, align(64))]
struct Entry {
    /// `{generation:63 | live:1}`
    word: AtomicU64,
    holders: AtomicU64,
    kind: AtomicU64,
    len: AtomicU64,
    payload: [AtomicU64; 4],
}

/// Handles made of these stores and one exchange; holders are bits.
pub struct Words {
    pages: Arc<Pages>,
}

/// A member: its bit, its entries that are free.
pub struct WordsMember {
    pages: Arc<Pages>,
    bit: u64,
    free: Vec<u32>,
}

/// One hold.
#[derive(Clone, Copy)]
pub struct WordsHeld {
    index: u32,
    opened: bool,
    word: u64,
}

impl Words {
    /// Memory for all members.
    ///
    /// # Errors
    /// [`Failed`].
    pub fn new() -> Outcome<Self> {
        Ok(Self { pages: Arc::new(Pages::new((ENTRIES + 1) * size_of::<Entry>())?) })
    }
}

impl Subject for Words {
    type Member = WordsMember;

    fn join(&self) -> Outcome<WordsMember> {
        let mut member = WordsMember { pages: Arc::clone(&self.pages), bit: 0, free: Vec::new() };
        // Relaxed: a unique number only; the last line counts the members.
        let rank = member.entry(ENTRIES as u32).word.fetch_add(1, Ordering::Relaxed) as usize;
        if (rank + 1) * SHARE > ENTRIES {
            return Err(Failed::of("join", "too many members"));
        }
        member.bit = 1 << rank;
        member.free = (rank * SHARE..(rank + 1) * SHARE).map(|index| index as u32).collect();
        for index in member.free.clone() {
            // Relaxed: claimed for good by this member.
            member.entry(index).holders.store(member.bit, Ordering::Relaxed);
        }
        Ok(member)
    }
}

impl WordsMember {
    #[inline(always)]
    fn entry(&self, index: u32) -> &Entry {
        // SAFETY: zeroed pages are entries without handles; indices come from `join`, or from a token of this subject.
        unsafe { &*self.pages.start().cast::<Entry>().add(index as usize) }
    }
}

impl Handles for WordsMember {
    type Held = WordsHeld;

    #[inline(always)]
    fn create(&mut self, payload: u64) -> Outcome<WordsHeld> {
        let Some(index) = self.free.pop() else { return Err(Failed::of("create", "no entry")) };
        let entry = self.entry(index);
        // Relaxed: ours while the word is not live, and published by it.
        entry.kind.store(1, Ordering::Relaxed);
        entry.payload[0].store(payload, Ordering::Relaxed);
        entry.len.store(8, Ordering::Relaxed);
        // Relaxed: only we change it now.
        let word = entry.word.load(Ordering::Relaxed) | 1;
        // Release: publishes the payload; pairs with the Acquire in `get` and `open`.
        entry.word.store(word, Ordering::Release);
        Ok(WordsHeld { index, opened: false, word })
    }

    #[inline(always)]
    fn get(&mut self, held: &WordsHeld) -> Outcome<u64> {
        let entry = self.entry(held.index);
        // Acquire: pairs with the Release in `create`.
        if entry.word.load(Ordering::Acquire) != held.word {
            return Err(Failed::of("get", "stale"));
        }
        // Relaxed: nobody writes it while it is held.
        Ok(entry.payload[0].load(Ordering::Relaxed))
    }

    fn token(&mut self, held: &WordsHeld) -> u64 {
        held.word << 10 | u64::from(held.index)
    }

    #[inline(always)]
    fn open(&mut self, token: u64) -> Outcome<WordsHeld> {
        let held = WordsHeld { index: token as u32 % ENTRIES as u32, opened: true, word: token >> 10 };
        let entry = self.entry(held.index);
        // SeqCst, both: announces the holder before the word is read.
        entry.holders.fetch_or(self.bit, Ordering::SeqCst);
        if entry.word.load(Ordering::SeqCst) != held.word {
            return Err(Failed::of("open", "stale"));
        }
        Ok(held)
    }

    #[inline(always)]
    fn close(&mut self, held: WordsHeld) -> Outcome<()> {
        let entry = self.entry(held.index);
        if held.opened {
            // SeqCst, both: the member that clears the last bit would decide that nobody holds it.
            entry.holders.fetch_and(!self.bit, Ordering::SeqCst);
            if entry.holders.load(Ordering::SeqCst) == 0 {
                return Err(Failed::of("close", "the creator has left"));
            }
            return Ok(());
        }
        // SeqCst: the one exchange that ends a generation.
        match entry.word.compare_exchange(held.word, held.word + 1, Ordering::SeqCst, Ordering::Relaxed) {
            Ok(_) => self.free.push(held.index),
            Err(_) => return Err(Failed::of("close", "stale")),
        }
        Ok(())
    }
}

const FREE: u64 = 0;
const LEASED: u64 = 1;
const REMOTE: u64 = 2;
/// Bytes of a block.
const BLOCK: usize = 64;
const BLOCKS: usize = 1 << 12;

/// Blocks of 64 bytes with a word each. The freeing member exchanges the word; the owner checks the words in the order
/// in which it gave the blocks.
pub struct Exchanged {
    pages: Arc<Pages>,
}

/// One member; the first one owns all blocks.
pub struct ExchangedMember {
    pages: Arc<Pages>,
    free: Vec<u64>,
    given: VecDeque<u64>,
}

impl Exchanged {
    /// Memory for the blocks.
    ///
    /// # Errors
    /// [`Failed`].
    pub fn new() -> Outcome<Self> {
        Ok(Self { pages: Arc::new(Pages::new(BLOCKS * (BLOCK + 8))?) })
    }
}

impl Subject for Exchanged {
    type Member = ExchangedMember;

    fn join(&self) -> Outcome<ExchangedMember> {
        let free = (0..BLOCKS as u64).rev().collect();
        Ok(ExchangedMember { pages: Arc::clone(&self.pages), free, given: VecDeque::with_capacity(BLOCKS) })
    }
}

impl ExchangedMember {
    #[inline(always)]
    fn word_of(&self, block: u64) -> &AtomicU64 {
        // SAFETY: the words follow the blocks; block numbers are below `BLOCKS`, also those that come through the lane.
        unsafe { &*self.pages.start().add(BLOCKS * BLOCK).cast::<AtomicU64>().add(block as usize % BLOCKS) }
    }
}

impl Heap for ExchangedMember {
    type Block = u64;

    #[inline(always)]
    fn alloc(&mut self, _: Layout) -> Outcome<u64> {
        if self.free.is_empty() {
            self.collect();
        }
        let Some(block) = self.free.pop() else { return Err(Failed::of("alloc", "no block")) };
        // Relaxed: nobody else changes a free block's word; the transport that passes the block on publishes it.
        self.word_of(block).store(LEASED, Ordering::Relaxed);
        self.given.push_back(block);
        Ok(block)
    }

    fn free(&mut self, _: u64, _: Layout) -> Outcome<()> {
        Err(Failed::of("free", "blocks are freed by the other one"))
    }

    #[inline(always)]
    fn address(&self, block: u64) -> *mut u8 {
        self.pages.start().wrapping_add(block as usize % BLOCKS * BLOCK)
    }

    fn word(&self, block: u64) -> u64 {
        block
    }

    fn of_word(&self, word: u64, _: Layout) -> u64 {
        word
    }

    #[inline(always)]
    fn free_passed(&mut self, block: u64, _: Layout, _: [u64; 2]) -> Outcome<()> {
        // AcqRel: our accesses come before the owner's next ones; pairs with the Acquire in `collect`.
        match self.word_of(block).compare_exchange(LEASED, REMOTE, Ordering::AcqRel, Ordering::Relaxed) {
            Ok(_) => Ok(()),
            Err(_) => Err(Failed::of("free", "not in use")),
        }
    }

    fn collect(&mut self) {
        while let Some(block) = self.given.front().copied() {
            // Acquire: pairs with the exchange in `free_passed`.
            if self.word_of(block).load(Ordering::Acquire) != REMOTE {
                return;
            }
            // Relaxed: ours again.
            self.word_of(block).store(FREE, Ordering::Relaxed);
            self.given.pop_front();
            self.free.push(block);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_is_opened_while_it_lives() {
        let words = Words::new().unwrap();
        let (mut a, mut b) = (words.join().unwrap(), words.join().unwrap());
        let held = a.create(7).unwrap();
        let token = a.token(&held);
        let opened = b.open(token).unwrap();
        assert_eq!((a.get(&held).unwrap(), b.get(&opened).unwrap()), (7, 7));
        b.close(opened).unwrap();
        a.close(held).unwrap();
        assert!(a.get(&held).is_err() && b.open(token).is_err() && a.close(held).is_err());
    }

    #[test]
    fn a_block_comes_back_once_the_other_has_freed_it() {
        let subject = Exchanged::new().unwrap();
        let (mut a, mut b) = (subject.join().unwrap(), subject.join().unwrap());
        let layout = Layout::from_size_align(BLOCK, 16).unwrap();
        let blocks: Vec<u64> = (0..BLOCKS).map(|_| a.alloc(layout).unwrap()).collect();
        assert!(a.alloc(layout).is_err());
        b.free_passed(blocks[0], layout, [0; 2]).unwrap();
        assert!(b.free_passed(blocks[0], layout, [0; 2]).is_err());
        assert_eq!(a.alloc(layout).unwrap(), blocks[0]);
    }
}
