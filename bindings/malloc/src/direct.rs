//! Blocks that are mappings of their own: too large, or aligned too much, for the allocator.
//!
//! A table knows all of them, so that a pointer that is neither in the region nor here is recognised without touching it.

use std::alloc::{GlobalAlloc, Layout};
use std::ptr;

use crate::arena::Books;
use crate::lock::{Guard, Lock};
use crate::system::{self, PAGE, pages};

/// Open addressing with linear probing; at most half full.
struct Table {
    slots: *mut Slot,
    /// A power of two, or zero at first.
    capacity: usize,
    used: usize,
}

/// All zero: empty.
#[derive(Clone, Copy)]
struct Slot {
    at: usize,
    bytes: usize,
}

static TABLE: Lock<Table> = Lock::new(Table { slots: ptr::null_mut(), capacity: 0, used: 0 });

const FIRST: usize = 64;

/// Holds the lock while the process forks.
pub(crate) fn hold() -> Guard {
    TABLE.hold()
}

impl Table {
    fn slots(&mut self) -> &mut [Slot] {
        if self.capacity == 0 {
            return &mut [];
        }
        // SAFETY: allocated and zeroed by `grow`, with that length.
        unsafe { std::slice::from_raw_parts_mut(self.slots, self.capacity) }
    }

    fn home(&self, at: usize) -> usize {
        // Fibonacci hashing of the page number.
        ((at / PAGE).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20) & (self.capacity - 1)
    }

    fn find(&mut self, at: usize) -> Option<usize> {
        if self.capacity == 0 || at == 0 {
            return None;
        }
        let (mut slot, last) = (self.home(at), self.capacity - 1);
        let slots = self.slots();
        while slots[slot].at != 0 {
            if slots[slot].at == at {
                return Some(slot);
            }
            slot = (slot + 1) & last;
        }
        None
    }

    fn insert(&mut self, at: usize, bytes: usize) -> bool {
        if (self.used + 1) * 2 > self.capacity && !self.grow() {
            return false;
        }
        let (mut slot, last) = (self.home(at), self.capacity - 1);
        let slots = self.slots();
        while slots[slot].at != 0 {
            slot = (slot + 1) & last;
        }
        slots[slot] = Slot { at, bytes };
        self.used += 1;
        true
    }

    fn grow(&mut self) -> bool {
        let capacity = (self.capacity * 2).max(FIRST);
        let layout = |capacity| Layout::array::<Slot>(capacity).expect("far below the address space");
        // SAFETY: not empty; all zero is a slot.
        let slots = unsafe { Books.alloc_zeroed(layout(capacity)) }.cast::<Slot>();
        if slots.is_null() {
            return false;
        }
        let old = std::mem::replace(self, Self { slots, capacity, used: 0 });
        for slot in 0..old.capacity {
            // SAFETY: below the old capacity.
            let Slot { at, bytes } = unsafe { *old.slots.add(slot) };
            if at != 0 {
                self.insert(at, bytes);
            }
        }
        if old.capacity > 0 {
            // SAFETY: allocated here, by an earlier growth.
            unsafe { Books.dealloc(old.slots.cast(), layout(old.capacity)) };
        }
        true
    }

    /// Empties a slot and moves back the entries that a search would not find behind it any more.
    fn remove(&mut self, slot: usize) -> Slot {
        let (mut hole, last) = (slot, self.capacity - 1);
        let removed = self.slots()[slot];
        self.used -= 1;
        let mut next = (hole + 1) & last;
        while self.slots()[next].at != 0 {
            let at = self.slots()[next].at;
            let home = self.home(at);
            if (next.wrapping_sub(home) & last) >= (next.wrapping_sub(hole) & last) {
                self.slots()[hole] = self.slots()[next];
                hole = next;
            }
            next = (next + 1) & last;
        }
        self.slots()[hole] = Slot { at: 0, bytes: 0 };
        removed
    }
}

/// Maps a block; null if the system refuses.
pub(crate) fn allocate(bytes: usize, align: usize) -> *mut u8 {
    let at = map(bytes, align);
    let Some(bytes) = pages(bytes.max(1)) else { return at };
    if !at.is_null() && !TABLE.with(|table| table.insert(at as usize, bytes)) {
        // SAFETY: mapped a line ago.
        unsafe { system::unmap(at, bytes) };
        return ptr::null_mut();
    }
    at
}

fn map(bytes: usize, align: usize) -> *mut u8 {
    let slack = align.saturating_sub(PAGE);
    let Some(bytes) = pages(bytes.max(1)) else { return ptr::null_mut() };
    let Some(whole) = bytes.checked_add(slack) else { return ptr::null_mut() };
    if whole > isize::MAX as usize {
        return ptr::null_mut();
    }
    let start = system::map(whole);
    if start.is_null() || slack == 0 {
        return start;
    }
    let before = (start as usize).next_multiple_of(align) - start as usize;
    let after = slack - before;
    // SAFETY: the ends of the new mapping that the block does not need.
    unsafe {
        if before > 0 {
            system::unmap(start, before);
        }
        if after > 0 {
            system::unmap(start.add(before + bytes), after);
        }
        start.add(before)
    }
}

/// Frees a block; returns its bytes, if one started there.
pub(crate) fn free(at: *mut u8) -> Option<usize> {
    let removed = TABLE.with(|table| table.find(at as usize).map(|slot| table.remove(slot)));
    let Slot { bytes, .. } = removed?;
    // SAFETY: a block of ours that was in use, says the caller of `free`; nobody else found it in the table.
    unsafe { system::unmap(at, bytes) };
    Some(bytes)
}

/// Bytes of the block that starts there, if one does.
pub(crate) fn usable(at: *mut u8) -> Option<usize> {
    TABLE.with(|table| table.find(at as usize).map(|slot| table.slots()[slot].bytes))
}

/// Resizes the block that starts there, which may move; null if the system refuses, and then it is as it was.
pub(crate) fn resize(at: *mut u8, bytes: usize) -> *mut u8 {
    let Some(bytes) = pages(bytes).filter(|bytes| *bytes <= isize::MAX as usize) else {
        return ptr::null_mut();
    };
    TABLE.with(|table| {
        let Some(slot) = table.find(at as usize) else { return ptr::null_mut() };
        let has = table.slots()[slot].bytes;
        if has == bytes {
            return at;
        }
        // SAFETY: a block of ours.
        let to = unsafe { system::remap(at, has, bytes) };
        if !to.is_null() {
            table.remove(slot);
            // One was just removed: there is room.
            table.insert(to as usize, bytes);
        }
        to
    })
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, MutexGuard, PoisonError};

    use super::*;

    /// One test at a time: a mapping that another one makes may be where a block was that this one freed.
    fn alone() -> MutexGuard<'static, ()> {
        static ALONE: Mutex<()> = Mutex::new(());
        ALONE.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[test]
    fn blocks_are_found_until_they_are_freed() {
        let _alone = alone();
        let blocks: Vec<_> = (0..500).map(|i| allocate(i * 100, 1)).collect();
        for (i, at) in blocks.iter().enumerate() {
            assert_eq!(usable(*at), Some((i * 100).max(1).next_multiple_of(PAGE)), "{i}");
        }
        for at in blocks.iter().step_by(3) {
            assert!(free(*at).is_some());
            assert!(free(*at).is_none(), "twice");
        }
        for (i, at) in blocks.iter().enumerate() {
            assert_eq!(usable(*at).is_some(), i % 3 != 0, "{i}");
        }
        for (_, at) in blocks.iter().enumerate().filter(|(i, _)| i % 3 != 0) {
            assert!(free(*at).is_some());
        }
        assert!(free(ptr::null_mut()).is_none() && free(16 as *mut u8).is_none());
    }

    #[test]
    fn alignment_is_any_power_of_two() {
        let _alone = alone();
        for shift in 12..27 {
            let at = allocate(5000, 1 << shift);
            assert!(!at.is_null() && (at as usize).is_multiple_of(1 << shift), "{shift}");
            // SAFETY: a block of that size.
            unsafe { at.write_bytes(1, 8192) };
            assert!(free(at).is_some());
        }
    }

    #[test]
    fn resizing_keeps_contents_and_refuses_the_impossible() {
        let _alone = alone();
        let at = allocate(1 << 20, 1);
        // SAFETY: a block of a mebibyte, then of sixteen, then of a page.
        unsafe {
            at.add((1 << 20) - 1).write(7);
            let at = resize(at, 16 << 20);
            assert_eq!(at.add((1 << 20) - 1).read(), 7);
            at.write(3);
            assert!(resize(at, usize::MAX / 2).is_null());
            let at = resize(at, 1);
            assert_eq!((usable(at), at.read()), (Some(PAGE), 3));
            assert!(free(at).is_some());
        }
        assert!(allocate(usize::MAX - 5, 1).is_null() && allocate(usize::MAX / 2 + 1, 1).is_null());
    }
}
