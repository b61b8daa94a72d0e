//! Sleeping on words of shared memory, and waking sleepers.
//!
//! The words are shared between processes, so the futexes are shared, too: never `FUTEX_PRIVATE_FLAG`. Deadlines are absolute times of
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

/// The most words of one sleep.
pub const WORDS_MAX: usize = 128;

const EVERYBODY: u32 = i32::MAX as u32;
const ANY_BIT: NonZeroU32 = NonZeroU32::MAX;

/// The time at which a sleep ends without a wake.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(Option<Timespec>);

impl Deadline {
    /// Never.
    pub const NEVER: Self = Self(None);

    pub(crate) fn time(&self) -> Option<&Timespec> {
        self.0.as_ref()
    }

    /// The deadline `timeout` from now; never for `None`, and for times that the clock cannot express.
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
    /// The word changed, or a wake ended the sleep. The caller must load the word again.
    Woken,
    /// A signal handler ran on this thread. The caller may sleep again until the same deadline.
    Interrupted,
    /// The deadline has passed.
    TimedOut,
}

fn slept(result: Result<(), Errno>) -> io::Result<Slept> {
    match result {
        Ok(()) | Err(Errno::AGAIN) => Ok(Slept::Woken),
        Err(Errno::INTR) => Ok(Slept::Interrupted),
        Err(Errno::TIMEDOUT) => Ok(Slept::TimedOut),
        Err(error) => Err(error.into()),
    }
}

/// Sleeps while the word is `expected`.
///
/// # Errors
///
/// An unexpected error of the kernel; a sandbox may deny the call.
pub fn sleep(word: &AtomicU32, expected: u32, deadline: &Deadline) -> io::Result<Slept> {
    sleep_for(word, expected, deadline, ANY_BIT)
}

/// As [`sleep`], but [`rouse`] with one of the `bits` wakes it, too.
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
    // FUTEX_WAIT_BITSET takes an absolute time. FUTEX_WAIT takes a duration, which would begin again after a signal.
    slept(futex::wait_bitset(word, Flags::empty(), expected, deadline.0.as_ref(), bits))
}

/// Wakes all threads that sleep with one of `bits`, without changing the word. Returns their number.
pub fn rouse(word: &AtomicU32, bits: NonZeroU32) -> usize {
    futex::wake_bitset(word, Flags::empty(), EVERYBODY, bits).unwrap_or(0)
}

/// Clears bit `bit` of the word and wakes all sleepers, in one step of the kernel `[A9]`.
pub fn wake_clearing(word: &AtomicU32, bit: u32) {
    debug_assert!(bit < 32);
    if wake_op(word, WakeOp::AndNShift, bit as u16).is_err() {
        // A kernel or sandbox without FUTEX_WAKE_OP: change the word and wake in two steps.
        // Release: woken threads see all stores before; pairs with their Acquire loads of the word.
        word.fetch_and(!(1 << bit), Ordering::Release);
        let _ = futex::wake(word, Flags::empty(), EVERYBODY);
    }
}

/// Sets the word to 0 and wakes all sleepers, in one step of the kernel `[A9]`.
pub fn wake_zeroing(word: &AtomicU32) {
    if wake_op(word, WakeOp::Set, 0).is_err() {
        // Release: as in `wake_clearing`.
        word.store(0, Ordering::Release);
        let _ = futex::wake(word, Flags::empty(), EVERYBODY);
    }
}

/// Adds one to the word and wakes all sleepers, in one step of the kernel `[A9]`.
pub fn wake_adding(word: &AtomicU32) {
    if wake_op(word, WakeOp::Add, 1).is_err() {
        // Release: as in `wake_clearing`.
        word.fetch_add(1, Ordering::Release);
        let _ = futex::wake(word, Flags::empty(), EVERYBODY);
    }
}

/// Changes the word and wakes its sleepers. The kernel does both while the queue of sleepers is locked (kernel/futex/waitwake.c,
/// `futex_wake_op`). Both addresses are the same word; the comparison never causes a second wake.
fn wake_op(word: &AtomicU32, op: WakeOp, argument: u16) -> Result<usize, Errno> {
    futex::wake_op(word, Flags::empty(), EVERYBODY, 0, word, op, WakeOpCmp::Eq, argument, 0)
}

/// Sleeps while every word, at most [`WORDS_MAX`] of them, has its expected value. If the kernel cannot do that (Linux before
/// 5.16, or a sandbox), or if `by_threads` is set, helper threads sleep instead.
///
/// # Errors
///
/// As [`sleep`], or if threads are needed and cannot be started.
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

/// The kernel's id of the calling thread, in the process's own namespace.
#[must_use]
pub fn thread_id() -> u32 {
    rustix::thread::gettid().as_raw_nonzero().get().unsigned_abs()
}
