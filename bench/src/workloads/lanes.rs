//! A lane from one member to another: a ring of plain values, the cheapest transport there is.

use std::cell::UnsafeCell;
use std::mem::MaybeUninit;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tenure_subjects::shared::Pages;

const SLOTS: usize = 1024;

#[repr(C)]
struct Ring<T> {
    /// Pushed so far.
    head: Line,
    /// Taken so far.
    tail: Line,
    slots: [UnsafeCell<MaybeUninit<T>>; SLOTS],
}

#[repr(C, align(128))]
struct Line(AtomicU64);

/// One end of the lane; there is one sender and one receiver.
pub(super) struct Lane<T> {
    pages: Arc<Pages>,
    /// This end's own counter.
    own: u64,
    /// The other end's counter, as last read.
    seen: u64,
    item: std::marker::PhantomData<T>,
}

/// The offset of the ring; the first page is for other messages of members.
const RING_AT: usize = 4096;

impl<T: Copy> Lane<T> {
    pub(super) fn new(pages: &Arc<Pages>) -> Self {
        assert!(RING_AT + size_of::<Ring<T>>() <= pages.bytes());
        Self { pages: Arc::clone(pages), own: 0, seen: 0, item: std::marker::PhantomData }
    }

    fn ring(&self) -> &Ring<T> {
        // SAFETY: large enough, see `new`; zero counters and slots without a value are a valid, empty ring.
        unsafe { &*self.pages.start().add(RING_AT).cast() }
    }

    /// Waits for room and sends.
    #[inline]
    pub(super) fn send(&mut self, item: T) {
        while self.own - self.seen == SLOTS as u64 {
            self.seen = self.taken();
            std::hint::spin_loop();
        }
        let slot = self.ring().slots[self.own as usize % SLOTS].get();
        // SAFETY: the receiver has taken the slot's item, as `seen` says, and does not read the slot before `head` says
        // so.
        unsafe { (*slot).write(item) };
        self.own += 1;
        // Release: publishes the slot; pairs with the Acquire in `receive`.
        self.ring().head.0.store(self.own, Ordering::Release);
    }

    /// Waits for an item.
    #[inline]
    pub(super) fn receive(&mut self) -> T {
        while self.own == self.seen {
            // Acquire: pairs with the Release in `send`.
            self.seen = self.ring().head.0.load(Ordering::Acquire);
            std::hint::spin_loop();
        }
        let slot = self.ring().slots[self.own as usize % SLOTS].get();
        // SAFETY: written before `head` said so, and not overwritten before `tail` says so below.
        unsafe { (*slot).assume_init_read() }
    }

    /// Frees the slot of the item that was received last.
    #[inline]
    pub(super) fn done(&mut self) {
        self.own += 1;
        // Release: all uses of the item come before; pairs with the Acquire in `taken`.
        self.ring().tail.0.store(self.own, Ordering::Release);
    }

    /// The number of items that the receiver is done with.
    #[inline]
    pub(super) fn taken(&self) -> u64 {
        // Acquire: pairs with the Release in `done`.
        self.ring().tail.0.load(Ordering::Acquire)
    }

    /// The number of items sent.
    pub(super) fn sent(&self) -> u64 {
        self.own
    }
}

/// A word in the first page, by which one member tells the others a number.
pub(super) fn told(pages: &Pages, index: usize) -> &AtomicU64 {
    assert!(index < RING_AT / 8);
    // SAFETY: inside of the first page, aligned, and changed by atomics only.
    unsafe { &*pages.start().cast::<AtomicU64>().add(index) }
}

/// Waits until the number was told, and returns it.
pub(super) fn hear(pages: &Pages, index: usize) -> u64 {
    loop {
        // Acquire: pairs with the Release of the member that tells.
        match told(pages, index).load(Ordering::Acquire) {
            0 => std::thread::yield_now(),
            word => return word,
        }
    }
}
