//! tenure as a C program has it: every call through the C interface, with its numbers in place of references.

use std::alloc::Layout;
use std::ffi::c_int;
use std::mem::MaybeUninit;
use std::ptr;

use tenure_capi::{
    TENURE_ABI_VERSION, tenure_alloc, tenure_backend, tenure_block, tenure_block_at, tenure_close,
    tenure_create, tenure_free, tenure_handle, tenure_join, tenure_local, tenure_local_open, tenure_open,
    tenure_options, tenure_space, tenure_space_open, tenure_strerror,
};

use crate::subject::{Failed, Handles, Heap, Outcome, Subject};

const KIND: u32 = 1;

/// A space that processes share. It stays open as long as the process lives.
pub struct ThroughC {
    space: *mut tenure_space,
}

/// A thread's access to a member, as the pointer that C has.
pub struct Seat {
    local: *mut tenure_local,
}

/// The part of `tenure_handle` that callers keep.
#[derive(Clone, Copy)]
pub struct Held {
    token: u64,
    data: *const u64,
}

/// The part of `tenure_block` that callers keep.
#[derive(Clone, Copy)]
pub struct Block {
    offset: u64,
    data: *mut u8,
}

#[cold]
fn failed(what: &'static str, status: c_int) -> Failed {
    // SAFETY: the library's own text, which is never freed.
    let text = unsafe { std::ffi::CStr::from_ptr(tenure_strerror(status)) };
    Failed::of(what, text.to_string_lossy())
}

/// Runs a call that writes a `T` to the pointer it gets.
#[inline(always)]
fn made<T>(what: &'static str, call: impl FnOnce(*mut T) -> c_int) -> Outcome<T> {
    let mut out = MaybeUninit::uninit();
    match call(out.as_mut_ptr()) {
        // SAFETY: every call that answers 0 has written its result.
        0 => Ok(unsafe { out.assume_init() }),
        status => Err(failed(what, status)),
    }
}

impl ThroughC {
    /// Members are processes.
    ///
    /// # Errors
    /// The errors of the library.
    pub fn new() -> Outcome<Self> {
        let options = tenure_options {
            abi: TENURE_ABI_VERSION,
            backend: tenure_backend::TENURE_MEMFD as u32,
            flags: 0,
            members: 0,
            handles: 1 << 14,
            generation_bits: 0,
            scratch_bytes: 1 << 30,
            unit_bytes: 0,
            mode: 0,
            owner: 0,
            group: 0,
            slots: 0,
            container_slots: 0,
        };
        // SAFETY: options to read, no name, room for the result.
        let space = made("open", |out| unsafe { tenure_space_open(&raw const options, ptr::null(), out) })?;
        Ok(Self { space })
    }
}

impl Subject for ThroughC {
    type Member = Seat;

    fn join(&self) -> Outcome<Seat> {
        // SAFETY: a space that stays open, room for the result.
        let member = made("join", |out| unsafe { tenure_join(self.space, out) })?;
        // SAFETY: a member that stays, room for the result.
        let local = made("local", |out| unsafe { tenure_local_open(member, out) })?;
        Ok(Seat { local })
    }
}

fn held(handle: &tenure_handle) -> Held {
    Held { token: handle.token, data: handle.data.cast() }
}

impl Handles for Seat {
    type Held = Held;

    #[inline(always)]
    fn create(&mut self, payload: u64) -> Outcome<Held> {
        let data = (&raw const payload).cast();
        // SAFETY: eight bytes of ours to read, and room for the result.
        let handle = made("create", |out| unsafe { tenure_create(self.local, KIND, data, 8, out) })?;
        Ok(held(&handle))
    }

    #[inline(always)]
    fn get(&mut self, held: &Held) -> Outcome<u64> {
        // SAFETY: the payload stays while it is held.
        Ok(unsafe { held.data.read_volatile() })
    }

    fn token(&mut self, held: &Held) -> u64 {
        held.token
    }

    #[inline(always)]
    fn open(&mut self, token: u64) -> Outcome<Held> {
        // SAFETY: room for the result.
        let handle = made("open", |out| unsafe { tenure_open(self.local, KIND, token, out) })?;
        Ok(self::held(&handle))
    }

    #[inline(always)]
    fn close(&mut self, held: Held) -> Outcome<()> {
        // SAFETY: as the trait has it, the count is the caller's, and `get` returns a copy.
        match unsafe { tenure_close(self.local, held.token) } {
            0 => Ok(()),
            status => Err(failed("close", status)),
        }
    }
}

fn block(block: &tenure_block) -> Block {
    Block { offset: block.offset, data: block.data.cast() }
}

impl Heap for Seat {
    type Block = Block;

    #[inline(always)]
    fn alloc(&mut self, layout: Layout) -> Outcome<Block> {
        // SAFETY: room for the result.
        let made = made("alloc", |out| unsafe { tenure_alloc(self.local, layout.size(), 0, out) })?;
        Ok(self::block(&made))
    }

    #[inline(always)]
    fn free(&mut self, block: Block, _: Layout) -> Outcome<()> {
        // SAFETY: as the trait has it, the block is the caller's, who uses it no more.
        match unsafe { tenure_free(self.local, block.offset) } {
            0 => Ok(()),
            status => Err(failed("free", status)),
        }
    }

    #[inline(always)]
    fn address(&self, block: Block) -> *mut u8 {
        block.data
    }

    fn word(&self, block: Block) -> u64 {
        block.offset
    }

    fn of_word(&self, word: u64, _: Layout) -> Block {
        // SAFETY: room for the result.
        let found = made("block_at", |out| unsafe { tenure_block_at(self.local, word, out) });
        found.map_or(Block { offset: word, data: ptr::null_mut() }, |found| self::block(&found))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handles_and_blocks_go_through_c() {
        let subject = ThroughC::new().unwrap();
        let (mut a, mut b) = (subject.join().unwrap(), subject.join().unwrap());
        let held = a.create(7).unwrap();
        let token = a.token(&held);
        let opened = b.open(token).unwrap();
        assert_eq!((a.get(&held).unwrap(), b.get(&opened).unwrap()), (7, 7));
        b.close(opened).unwrap();
        a.close(held).unwrap();
        assert!(b.open(token).is_err_and(|failed| failed.to_string().starts_with("open: ")));
        let layout = Layout::from_size_align(64, 16).unwrap();
        let block = a.alloc(layout).unwrap();
        // SAFETY: 64 bytes of ours.
        unsafe { a.address(block).write_bytes(1, 64) };
        assert!(!b.address(b.of_word(a.word(block), layout)).is_null());
        a.free(block, layout).unwrap();
        assert!(a.free(block, layout).is_err());
    }
}
