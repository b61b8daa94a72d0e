//! Allocators that are private to one process and lose nothing because they keep nothing: the bound.

use std::alloc::{GlobalAlloc, Layout, System};

use crate::subject::{Failed, Heap, Outcome, Subject};

/// A subject that has nothing to found, around a member that is made from nothing.
pub struct Private<A>(fn() -> A);

/// The global allocator interface of an allocator, called directly.
#[derive(Debug)]
pub struct Global<A>(A);

/// A block: its address, good in this process alone.
#[derive(Clone, Copy, Debug)]
pub struct Address(*mut u8);

/// The C library's malloc.
#[must_use]
pub fn malloc() -> Private<System> {
    Private(|| System)
}

/// mimalloc.
#[must_use]
pub fn mimalloc() -> Private<mimalloc::MiMalloc> {
    Private(|| mimalloc::MiMalloc)
}

/// jemalloc.
#[cfg(feature = "rivals")]
#[must_use]
pub fn jemalloc() -> Private<tikv_jemallocator::Jemalloc> {
    Private(|| tikv_jemallocator::Jemalloc)
}

/// snmalloc.
#[cfg(feature = "rivals")]
#[must_use]
pub fn snmalloc() -> Private<snmalloc_rs::SnMalloc> {
    Private(|| snmalloc_rs::SnMalloc)
}

impl<A: GlobalAlloc> Subject for Private<A> {
    type Member = Global<A>;

    fn join(&self) -> Outcome<Global<A>> {
        Ok(Global((self.0)()))
    }
}

impl<A: GlobalAlloc> Heap for Global<A> {
    type Block = Address;

    #[inline]
    fn alloc(&mut self, layout: Layout) -> Outcome<Address> {
        // SAFETY: no layout that is measured has size zero.
        let start = unsafe { self.0.alloc(layout) };
        if start.is_null() {
            return Err(Failed::of("alloc", "no memory"));
        }
        Ok(Address(start))
    }

    #[inline]
    fn free(&mut self, block: Address, layout: Layout) -> Outcome<()> {
        // SAFETY: the caller got it from `alloc` with this layout and frees it once.
        unsafe { self.0.dealloc(block.0, layout) };
        Ok(())
    }

    #[inline]
    fn address(&self, block: Address) -> *mut u8 {
        block.0
    }

    #[inline]
    fn realloc(&mut self, block: Address, old: Layout, new: Layout) -> Outcome<Address> {
        // SAFETY: the caller got it with layout `old`, and no new size is zero.
        let start = unsafe { self.0.realloc(block.0, old, new.size()) };
        if start.is_null() {
            return Err(Failed::of("realloc", "no memory"));
        }
        Ok(Address(start))
    }

    #[inline]
    fn word(&self, block: Address) -> u64 {
        block.0.expose_provenance() as u64
    }

    #[inline]
    fn of_word(&self, word: u64, _: Layout) -> Address {
        Address(std::ptr::with_exposed_provenance_mut(word as usize))
    }
}
