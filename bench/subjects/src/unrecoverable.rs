//! tenure's allocator without recovery: spans, two private stacks a class and offsets, over private memory, and no
//! block words. Nobody could tell which blocks a dead process held, and a double free goes unnoticed. The difference to
//! tenure is the price of exact recovery.

use std::alloc::Layout;
use std::cell::UnsafeCell;

use crate::subject::{Failed, Heap, Outcome, Subject};

const UNIT_SHIFT: u32 = 16;
const UNIT: usize = 1 << UNIT_SHIFT;
const UNITS: usize = 1 << 10;
/// Classes are multiples of so many bytes.
const GRANULE: usize = 16;
const CLASSES: usize = 64;

/// Makes heaps, one for each member.
#[derive(Debug)]
pub struct Unrecoverable;

/// Blocks of one class.
#[derive(Default)]
struct Stacks {
    free: Vec<u64>,
    freed: Vec<u64>,
}

/// One member's memory.
pub struct Stack {
    stacks: Vec<Stacks>,
    /// The class of each unit's blocks.
    map: Vec<u8>,
    units_used: usize,
    data: Box<[UnsafeCell<u8>]>,
}

impl Subject for Unrecoverable {
    type Member = Stack;

    fn join(&self) -> Outcome<Stack> {
        // The system backs only pages that are written.
        let plain = Box::into_raw(vec![0u8; UNITS * UNIT].into_boxed_slice());
        // SAFETY: a cell of a byte has the size, alignment and bit patterns of the byte; we own the allocation alone.
        let data = unsafe { Box::from_raw(plain as *mut [UnsafeCell<u8>]) };
        let stacks = (0..CLASSES).map(|_| Stacks::default()).collect();
        Ok(Stack { stacks, map: vec![0; UNITS], units_used: 0, data })
    }
}

impl Stack {
    #[inline(never)]
    fn refill(&mut self, class: usize) -> Outcome<u64> {
        let Stacks { free, freed } = &mut self.stacks[class];
        if freed.is_empty() {
            let head = self.units_used;
            if head == UNITS {
                return Err(Failed::of("alloc", "all units are used"));
            }
            self.units_used += 1;
            self.map[head] = class as u8;
            let bytes = (class + 1) * GRANULE;
            free.extend((0..UNIT / bytes).rev().map(|index| (head * UNIT + index * bytes) as u64));
            freed.reserve(free.len() * UNITS);
        } else {
            std::mem::swap(free, freed);
        }
        free.pop().ok_or_else(|| Failed::of("alloc", "a class without blocks"))
    }
}

impl Heap for Stack {
    type Block = u64;

    #[inline(always)]
    fn alloc(&mut self, layout: Layout) -> Outcome<u64> {
        let class = layout.size().wrapping_sub(1) / GRANULE;
        let Some(stacks) = self.stacks.get_mut(class).filter(|_| layout.align() <= GRANULE) else {
            return Err(Failed::of("alloc", "only small blocks"));
        };
        match stacks.free.pop() {
            Some(offset) => Ok(offset),
            None => self.refill(class),
        }
    }

    #[inline(always)]
    fn free(&mut self, offset: u64, _: Layout) -> Outcome<()> {
        let class = self.map[(offset >> UNIT_SHIFT) as usize];
        self.stacks[usize::from(class)].freed.push(offset);
        Ok(())
    }

    #[inline(always)]
    fn address(&self, offset: u64) -> *mut u8 {
        self.data[offset as usize].get()
    }

    fn word(&self, offset: u64) -> u64 {
        offset
    }

    fn of_word(&self, word: u64, _: Layout) -> u64 {
        word
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_do_not_overlap_and_come_again() {
        let mut heap = Unrecoverable.join().unwrap();
        let layout = Layout::from_size_align(100, 16).unwrap();
        let mut blocks: Vec<u64> = (0..2000).map(|_| heap.alloc(layout).unwrap()).collect();
        blocks.iter().for_each(|block| heap.free(*block, layout).unwrap());
        let mut again: Vec<u64> = (0..2000).map(|_| heap.alloc(layout).unwrap()).collect();
        blocks.sort_unstable();
        again.sort_unstable();
        assert!(blocks.windows(2).all(|pair| pair[1] - pair[0] >= 100));
        assert!(again.windows(2).all(|pair| pair[1] - pair[0] >= 100));
    }
}
