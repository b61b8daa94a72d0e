//! Sleeping on words of shared memory, and waking sleepers.
//!
//! The words are shared between processes, so the kernel's futexes are too: never `FUTEX_PRIVATE_FLAG`. Timeouts are moments of
//! CLOCK_MONOTONIC that the kernel waits for; no code here reads a clock twice.

use std::io;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::io::Errno;
use rustix::thread::ClockId;
use rustix::thread::futex::{self, Flags, Wait, WaitFlags, WaitPtr, WaitvFlags, WakeOp, WakeOpCmp};
use rustix::time::Timespec;

use crate::futex_threads;

/// The most words that one can sleep on at once.
pub const WORDS_MAX: usize = 128;

const EVERYBODY: u32 = i32::MAX as u32;
const ANY_BIT: NonZeroU32 = NonZeroU32::MAX;

/// When to give up.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(Option<Timespec>);

impl Deadline {
    /// Never.
    pub const NEVER: Self = Self(None);

    /// From now on; `None`, and what the clock cannot express, is never.
    #[must_use]
    pub fn after(timeout: Option<Duration>) -> Self {
        let Some(timeout) = timeout else { return Self::NEVER };
        let now = rustix::time::clock_gettime(ClockId::Monotonic);
        let nanos = now.tv_nsec + i64::from(timeout.subsec_nanos());
        let seconds = i64::try_from(timeout.as_secs())
            .ok()
            .and_then(|seconds| now.tv_sec.checked_add(seconds)?.checked_add(nanos / 1_000_000_000));
        Self(seconds.map(|tv_sec| Timespec { tv_sec, tv_nsec: nanos % 1_000_000_000 }))
    }
}

/// Why a sleep ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slept {
    /// The word changed, or a wake or a signal ended the sleep. The caller must load the word again.
    Woken,
    /// The deadline came.
    TimedOut,
}

fn slept(result: Result<(), Errno>) -> io::Result<Slept> {
    match result {
        Ok(()) | Err(Errno::AGAIN | Errno::INTR) => Ok(Slept::Woken),
        Err(Errno::TIMEDOUT) => Ok(Slept::TimedOut),
        Err(error) => Err(error.into()),
    }
}

/// Sleeps while the word is `expected`.
///
/// # Errors
///
/// What the kernel answers besides the usual; a sandbox may deny it.
pub fn sleep(word: &AtomicU32, expected: u32, deadline: &Deadline) -> io::Result<Slept> {
    sleep_for(word, expected, deadline, ANY_BIT)
}

/// As [`sleep`], and [`rouse`] with one of the `bits` wakes as well.
///
/// # Errors
///
/// As [`sleep`].
pub fn sleep_for(
    word: &AtomicU32,
    expected: u32,
    deadline: &Deadline,
    bits: NonZeroU32,
) -> io::Result<Slept> {
    // FUTEX_WAIT_BITSET takes the timeout as a moment, FUTEX_WAIT as a length: after a signal that would begin again.
    slept(futex::wait_bitset(word, Flags::empty(), expected, deadline.0.as_ref(), bits))
}

/// Wakes those who sleep with one of `bits`, the word unchanged; how many there were.
pub fn rouse(word: &AtomicU32, bits: NonZeroU32) -> usize {
    futex::wake_bitset(word, Flags::empty(), EVERYBODY, bits).unwrap_or(0)
}

/// Clears bit `bit` of the word and wakes everybody who sleeps on it, in one step of the kernel `[A9]`.
pub fn wake_clearing(word: &AtomicU32, bit: u32) {
    debug_assert!(bit < 32);
    if wake_op(word, WakeOp::AndNShift, bit as u16).is_err() {
        // A kernel or sandbox without FUTEX_WAKE_OP: two steps are better than none.
        // Release: woken threads see everything before; pairs with the Acquire with which they load the word.
        word.fetch_and(!(1 << bit), Ordering::Release);
        let _ = futex::wake(word, Flags::empty(), EVERYBODY);
    }
}

/// Makes the word 0 and wakes everybody who sleeps on it, in one step of the kernel `[A9]`.
pub fn wake_zeroing(word: &AtomicU32) {
    if wake_op(word, WakeOp::Set, 0).is_err() {
        // Release: as in `wake_clearing`.
        word.store(0, Ordering::Release);
        let _ = futex::wake(word, Flags::empty(), EVERYBODY);
    }
}

/// The word is changed and its sleepers are collected while their queue is locked: kernel/futex/waitwake.c,
/// `futex_wake_op`. Both addresses are the same word; the comparison never adds a second wake.
fn wake_op(word: &AtomicU32, op: WakeOp, argument: u16) -> Result<usize, Errno> {
    futex::wake_op(word, Flags::empty(), EVERYBODY, 0, word, op, WakeOpCmp::Eq, argument, 0)
}

/// Sleeps while every word is what is expected of it: at most [`WORDS_MAX`]. Where the kernel cannot do that (Linux before
/// 5.16, or a sandbox), threads do; also where `by_threads` says so.
///
/// # Errors
///
/// As [`sleep`], and when threads are needed and cannot be started.
pub fn sleep_any(words: &[(&AtomicU32, u32)], deadline: &Deadline, by_threads: bool) -> io::Result<Slept> {
    if by_threads {
        return futex_threads::sleep_any(words, deadline);
    }
    let mut waits = [Wait::new(); WORDS_MAX];
    for ((word, expected), wait) in words.iter().zip(&mut waits) {
        wait.val = (*expected).into();
        wait.uaddr = WaitPtr::new(word.as_ptr().cast());
        wait.flags = WaitFlags::SIZE_U32;
    }
    let waits = &waits[..words.len().min(WORDS_MAX)];
    match futex::waitv(waits, WaitvFlags::empty(), deadline.0.as_ref(), ClockId::Monotonic) {
        Err(Errno::NOSYS | Errno::PERM | Errno::ACCESS) => futex_threads::sleep_any(words, deadline),
        result => slept(result.map(drop)),
    }
}

/// The calling thread, as the kernel numbers it in the process's own namespace.
#[must_use]
pub fn thread_id() -> u32 {
    rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs()
}
