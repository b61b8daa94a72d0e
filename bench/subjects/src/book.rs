//! The state of a daemon: all handles and blocks, counts per client, and the owner of each block.
//!
//! Plain data without pointers, so that the daemon can keep it in memory that its clients can read, and the mutexes can
//! keep the very same data in shared memory. Callers have exclusive access.
//!
//! Unlike the daemons of 2002 and 2005 it finds free entries and blocks in lists instead of scanning; it must not be slower
//! than they were.

use std::cell::UnsafeCell;

use crate::subject::{Failed, Outcome};

/// Clients at a time.
pub const CLIENTS: usize = 16;
/// Handles at a time.
pub const HANDLES: usize = 1 << 14;
/// Bytes of scratch.
pub const SCRATCH: usize = 1 << 30;

const HEADER: usize = 16;
/// Classes are 16 B, then four to a doubling.
const CLASSES: usize = 96;
const NONE: u32 = u32::MAX;

/// One handle.
#[repr(C)]
struct Entry {
    generation: u32,
    holds: u32,
    payload: u64,
    next_free: u32,
    zero: u32,
    by_client: [u16; CLIENTS],
}

/// Before every block.
#[repr(C)]
struct Header {
    /// Client plus one; 0 when free.
    owner: u32,
    class: u32,
    /// Offset of the next free block of the class; 0 at the end.
    next_free: u64,
}

#[repr(C)]
struct State {
    free_entry: u32,
    entries_used: u32,
    holds: u64,
    blocks: u64,
    clients: u64,
    scratch_used: u64,
    free_block: [u64; CLASSES],
    entries: [Entry; HANDLES],
}

/// The book: lies in zeroed memory of [`Book::BYTES`].
#[repr(C)]
pub struct Book {
    state: UnsafeCell<State>,
}

// SAFETY: every method that touches the state is unsafe and asks its caller to be alone.
unsafe impl Sync for Book {}

/// The class of a length, and the class's bytes.
fn class_of(len: usize) -> (usize, usize) {
    let len = len.max(16).next_multiple_of(16);
    if len <= 64 {
        return (len / 16 - 1, len);
    }
    let top = (len - 1).ilog2() as usize;
    let step = 1 << (top - 2);
    let rounded = len.next_multiple_of(step);
    (4 * (top - 6) + 3 + (rounded - (1 << top)) / step, rounded)
}

impl Book {
    /// Bytes of a book with its scratch.
    pub const BYTES: usize = size_of::<Self>().next_multiple_of(4096) + SCRATCH;

    /// The state, for a caller with exclusive access.
    #[expect(clippy::mut_from_ref, reason = "the caller is alone")]
    unsafe fn alone(&self) -> &mut State {
        // SAFETY: the caller of every public method promises to be alone.
        unsafe { &mut *self.state.get() }
    }

    fn scratch(&self) -> *mut u8 {
        // SAFETY: the scratch follows the book in the same memory.
        unsafe {
            std::ptr::from_ref(self).cast_mut().cast::<u8>().add(size_of::<Self>().next_multiple_of(4096))
        }
    }

    /// A number for a new client.
    ///
    /// # Errors
    /// When there are [`CLIENTS`] already.
    ///
    /// # Safety
    /// The caller is alone.
    pub unsafe fn enter(&self) -> Outcome<usize> {
        // SAFETY: the caller's promise.
        let state = unsafe { self.alone() };
        let client = state.clients.trailing_ones() as usize;
        if client >= CLIENTS {
            return Err(Failed::of("enter", "too many clients"));
        }
        state.clients |= 1 << client;
        Ok(client)
    }

    /// A handle of `client`'s.
    ///
    /// # Errors
    /// When there are [`HANDLES`] already.
    ///
    /// # Safety
    /// The caller is alone.
    pub unsafe fn create(&self, client: usize, payload: u64) -> Outcome<u64> {
        // SAFETY: the caller's promise.
        let state = unsafe { self.alone() };
        let index = if state.free_entry != 0 {
            let index = state.free_entry - 1;
            state.free_entry = state.entries[index as usize].next_free;
            index
        } else if (state.entries_used as usize) < HANDLES {
            state.entries_used += 1;
            state.entries_used - 1
        } else {
            return Err(Failed::of("create", "no free handle"));
        };
        let entry = &mut state.entries[index as usize];
        entry.payload = payload;
        entry.holds = 1;
        entry.by_client[client] = 1;
        state.holds += 1;
        Ok(u64::from(entry.generation) << 32 | u64::from(index))
    }

    /// One more hold of `client`'s.
    ///
    /// # Errors
    /// When nobody holds it.
    ///
    /// # Safety
    /// The caller is alone.
    pub unsafe fn open(&self, client: usize, token: u64) -> Outcome<u64> {
        // SAFETY: the caller's promise.
        let state = unsafe { self.alone() };
        let entry = &mut state.entries[token as usize & (HANDLES - 1)];
        if entry.holds == 0 || u64::from(entry.generation) != token >> 32 {
            return Err(Failed::of("open", "stale"));
        }
        entry.holds += 1;
        entry.by_client[client] += 1;
        state.holds += 1;
        Ok(entry.payload)
    }

    /// Removes one hold of `client`'s.
    ///
    /// # Errors
    /// When the client does not hold it.
    ///
    /// # Safety
    /// The caller is alone.
    pub unsafe fn close(&self, client: usize, token: u64) -> Outcome<()> {
        // SAFETY: the caller's promise.
        let state = unsafe { self.alone() };
        let index = token as usize & (HANDLES - 1);
        let entry = &mut state.entries[index];
        if entry.by_client[client] == 0 || u64::from(entry.generation) != token >> 32 {
            return Err(Failed::of("close", "not held"));
        }
        entry.by_client[client] -= 1;
        entry.holds -= 1;
        state.holds -= 1;
        if entry.holds == 0 {
            entry.generation = entry.generation.wrapping_add(1);
            entry.next_free = state.free_entry;
            state.free_entry = index as u32 + 1;
        }
        Ok(())
    }

    /// The payload of a handle that the caller's client holds: it does not change meanwhile.
    ///
    /// # Safety
    /// The caller's client holds the handle.
    #[must_use]
    pub unsafe fn payload(&self, token: u64) -> u64 {
        let state = self.state.get();
        // SAFETY: the index is below HANDLES; nobody writes the payload while somebody holds the handle.
        unsafe { (&raw const (*state).entries[token as usize & (HANDLES - 1)].payload).read() }
    }

    /// A block of `client`'s, by the offset of its payload.
    ///
    /// # Errors
    /// When the scratch is used up.
    ///
    /// # Safety
    /// The caller is alone.
    pub unsafe fn alloc(&self, client: usize, len: usize) -> Outcome<u64> {
        // SAFETY: the caller's promise.
        let state = unsafe { self.alone() };
        let (class, bytes) = class_of(len);
        if class >= CLASSES {
            return Err(Failed::of("alloc", "too large"));
        }
        let offset = match state.free_block[class] {
            0 => {
                let start = state.scratch_used as usize + HEADER;
                if start + bytes > SCRATCH {
                    return Err(Failed::of("alloc", "no memory"));
                }
                state.scratch_used += (HEADER + bytes) as u64;
                start as u64
            }
            offset => {
                // SAFETY: offsets in lists are those of blocks.
                state.free_block[class] = unsafe { (*self.header(offset)).next_free };
                offset
            }
        };
        // SAFETY: inside of the scratch, by the check above.
        unsafe {
            self.header(offset).write(Header { owner: client as u32 + 1, class: class as u32, next_free: 0 });
        }
        state.blocks += 1;
        Ok(offset)
    }

    /// Frees a block; any client may have allocated it.
    ///
    /// # Errors
    /// When it is free already.
    ///
    /// # Safety
    /// The caller is alone, and `alloc` returned the offset.
    pub unsafe fn free(&self, offset: u64) -> Outcome<()> {
        // SAFETY: the caller's promise.
        let state = unsafe { self.alone() };
        // SAFETY: the offset is that of a block.
        let header = unsafe { &mut *self.header(offset) };
        if header.owner == 0 {
            return Err(Failed::of("free", "not in use"));
        }
        header.owner = 0;
        header.next_free = state.free_block[header.class as usize];
        state.free_block[header.class as usize] = offset;
        state.blocks -= 1;
        Ok(())
    }

    unsafe fn header(&self, offset: u64) -> *mut Header {
        // SAFETY: a block's offset is HEADER above its header, inside of the scratch.
        unsafe { self.scratch().add(offset as usize - HEADER).cast() }
    }

    /// The address of a block.
    #[must_use]
    pub fn address(&self, offset: u64) -> *mut u8 {
        // SAFETY: offsets are below SCRATCH.
        unsafe { self.scratch().add(offset as usize % SCRATCH) }
    }

    /// Takes back all holds and blocks of `client`; returns their numbers.
    ///
    /// # Safety
    /// The caller is alone, and the client does nothing any more.
    pub unsafe fn forget(&self, client: usize) -> (u64, u64) {
        let (holds, blocks) = self.in_use();
        // SAFETY: the caller's promise; so for each of the short borrows below.
        let (entries_used, scratch_used) = unsafe {
            let state = self.alone();
            (state.entries_used as usize, state.scratch_used)
        };
        for index in 0..entries_used {
            // SAFETY: as above.
            let (count, generation) = unsafe {
                let entry = &self.alone().entries[index];
                (entry.by_client[client], entry.generation)
            };
            for _ in 0..count {
                // SAFETY: as above. It holds it, as was just seen.
                let _ = unsafe { self.close(client, u64::from(generation) << 32 | index as u64) };
            }
        }
        let mut at = 0;
        while at < scratch_used {
            let offset = at + HEADER as u64;
            // SAFETY: blocks follow each other without gaps.
            let (owner, class) = unsafe {
                let header = self.header(offset);
                ((*header).owner, (*header).class)
            };
            at = offset + class_bytes(class as usize) as u64;
            if owner == client as u32 + 1 {
                // SAFETY: as above; it is in use.
                let _ = unsafe { self.free(offset) };
            }
        }
        // SAFETY: as above.
        unsafe { self.alone() }.clients &= !(1 << client);
        let (holds_left, blocks_left) = self.in_use();
        (holds - holds_left, blocks - blocks_left)
    }

    /// Holds and blocks at the moment; a guess unless the caller is alone.
    #[must_use]
    pub fn in_use(&self) -> (u64, u64) {
        let state = self.state.get();
        // SAFETY: word-sized counters, which no read tears; volatile because another process may change them.
        unsafe { ((&raw const (*state).holds).read_volatile(), (&raw const (*state).blocks).read_volatile()) }
    }

    /// Whether the book contradicts itself: counts against lists.
    ///
    /// # Safety
    /// The caller is alone.
    #[must_use]
    pub unsafe fn is_torn(&self) -> bool {
        // SAFETY: the caller's promise.
        let state = unsafe { self.alone() };
        let used = &state.entries[..(state.entries_used as usize).min(HANDLES)];
        let holds: u64 = used.iter().map(|entry| u64::from(entry.holds)).sum();
        let by_client = |entry: &Entry| entry.by_client.iter().map(|&count| u32::from(count)).sum::<u32>();
        let agree = used.iter().all(|entry| entry.holds == by_client(entry));
        let mut free = 0;
        let mut next = state.free_entry;
        while next != 0 && next != NONE && free <= used.len() {
            free += 1;
            next = used.get(next as usize - 1).map_or(NONE, |entry| entry.next_free);
        }
        let unheld = used.iter().filter(|entry| entry.holds == 0).count();
        holds != state.holds || !agree || free != unheld
    }
}

fn class_bytes(class: usize) -> usize {
    if class < 4 {
        return (class + 1) * 16;
    }
    let (doubling, step) = ((class - 4) / 4, (class - 4) % 4);
    (64 << doubling) + (step + 1) * (16 << doubling)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shared::Pages;

    #[test]
    fn classes_hold_what_they_are_asked_for() {
        for len in (1..5000).chain([65_535, 65_536, 65_537, 4 << 20, (4 << 20) + 1]) {
            let (class, bytes) = class_of(len);
            assert_eq!(class_bytes(class), bytes, "{len}");
            assert!(bytes >= len && bytes <= (len * 5 / 4).max(len + 16), "{len}: {bytes}");
        }
    }

    #[test]
    fn what_a_client_held_comes_back() {
        let pages = Pages::new(Book::BYTES).unwrap();
        // SAFETY: zero bytes are an empty book, and this thread is alone with it.
        unsafe {
            let book = pages.view::<Book>();
            let (a, b) = (book.enter().unwrap(), book.enter().unwrap());
            let token = book.create(a, 7).unwrap();
            assert_eq!(book.open(b, token).unwrap(), 7);
            let block = book.alloc(a, 100).unwrap();
            book.address(block).write_bytes(1, 100);
            assert_eq!(book.forget(a), (1, 1));
            assert_eq!((book.in_use(), book.is_torn()), ((1, 0), false));
            book.close(b, token).unwrap();
            assert!(
                book.open(b, token).is_err() && book.close(b, token).is_err() && book.free(block).is_err()
            );
            assert_eq!((book.in_use(), book.is_torn()), ((0, 0), false));
            assert_eq!(book.alloc(b, 100).unwrap(), block);
            let again = book.create(a, 1).unwrap();
            book.state.get().as_mut().unwrap().holds += 1;
            assert!(book.is_torn() && again != token);
        }
    }
}
