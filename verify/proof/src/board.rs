//! The page through which the processes of one point communicate: the phase of each actor, numbers, error texts.

use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::sys;

/// The phase of an actor's script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Phase {
    Preparing = 0,
    /// Waits for the survivor to play its part.
    Meeting = 1,
    /// The next instructions are the operation.
    Begun = 2,
    /// The operation is over.
    Ended = 3,
}

const TEXT: usize = 4000;

/// A text in shared memory: one process writes it and ends, or stops writing, before another reads it.
#[repr(C)]
pub(crate) struct Text {
    len: AtomicU32,
    bytes: UnsafeCell<[u8; TEXT]>,
}

// SAFETY: the type's comment.
unsafe impl Sync for Text {}

impl Text {
    pub(crate) fn write(&self, text: &str) {
        let bytes = &text.as_bytes()[..text.len().min(TEXT)];
        // SAFETY: nobody reads before the length is stored, and the writer is alone.
        unsafe { (&mut *self.bytes.get())[..bytes.len()].copy_from_slice(bytes) };
        self.len.store(bytes.len() as u32, Ordering::Release);
    }

    pub(crate) fn clear(&self) {
        self.len.store(0, Ordering::Release);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len.load(Ordering::Acquire) == 0
    }

    pub(crate) fn read(&self) -> String {
        let len = (self.len.load(Ordering::Acquire) as usize).min(TEXT);
        // SAFETY: the writer is done.
        String::from_utf8_lossy(unsafe { &(&*self.bytes.get())[..len] }).into_owned()
    }
}

/// Actors that are traced at once.
pub(crate) const SEATS: usize = 2;

#[repr(C)]
pub(crate) struct Board {
    /// By the seat of an actor.
    phases: [AtomicU32; SEATS],
    /// Points whose instruction was not the recorded one.
    pub(crate) drifted: AtomicU64,
    /// Points of the stretch that were played.
    pub(crate) played: AtomicU32,
    /// Whether an earlier kill left another state than the last.
    pub(crate) owes: AtomicU32,
    mail: [AtomicU64; 11],
    text: Text,
}

impl Board {
    pub(crate) fn new() -> &'static Self {
        // SAFETY: zeroed pages, aligned, never unmapped, valid as a board in every bit pattern.
        unsafe { &*sys::shared_pages(size_of::<Self>()).cast::<Self>() }
    }

    pub(crate) fn clear(&self) {
        (0..SEATS).for_each(|seat| self.set_phase(seat, Phase::Preparing));
        self.text.clear();
        self.played.store(0, Ordering::Relaxed);
        self.owes.store(0, Ordering::Relaxed);
        self.mail.iter().for_each(|word| word.store(0, Ordering::Relaxed));
    }

    #[inline]
    pub(crate) fn set_phase(&self, seat: usize, phase: Phase) {
        self.phases[seat].store(phase as u32, Ordering::Release);
    }

    pub(crate) fn is(&self, seat: usize, phase: Phase) -> bool {
        self.phases[seat].load(Ordering::Acquire) == phase as u32
    }

    pub(crate) fn post(&self, slot: usize, number: u64) {
        self.mail[slot].store(number, Ordering::Release);
    }

    pub(crate) fn read(&self, slot: usize) -> u64 {
        self.mail[slot].load(Ordering::Acquire)
    }

    /// All posted numbers.
    pub(crate) fn mail(&self) -> [u64; 11] {
        std::array::from_fn(|slot| self.read(slot))
    }

    /// Keeps the first text only: later ones are consequences.
    pub(crate) fn complain(&self, text: &str) {
        if self.text.is_empty() {
            self.text.write(text);
        }
    }

    pub(crate) fn complaint(&self) -> String {
        self.text.read()
    }
}

/// Panics of this process end it at once and leave their text on the board.
pub(crate) fn panic_to(board: &'static Board) {
    std::panic::set_hook(Box::new(|info| {
        board.complain(&info.to_string());
        sys::exit(101);
    }));
}
