//! Sleeping on several words without `futex_waitv`: a thread sleeps on each, and the caller on a word of its own.
//!
//! Every thread ends before the caller goes on. A thread wakes like any sleeper of its word, or the caller wakes it by the bit that it
//! sleeps with: this does not change the word, and wakes no sleepers of other processes without that bit.

use std::io;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use rustix::thread::futex::{self, Flags};

use crate::futex::{Deadline, Slept, rouse, sleep_for};
use crate::thread::Thread;

const STACK: usize = 64 << 10;

/// The state that the caller and its threads share.
struct Post {
    /// Not 0 once one of the threads is awake.
    woken: AtomicU32,
    /// The threads must not begin to sleep any more.
    over: AtomicBool,
}

/// A word that the caller keeps mapped until its thread has ended.
struct Sleep {
    word: *const AtomicU32,
    expected: u32,
    bit: NonZeroU32,
}

// SAFETY: an atomic that outlives the thread that it is sent to.
unsafe impl Send for Sleep {}

/// As [`sleep_any`](crate::futex::sleep_any).
pub(crate) fn sleep_any(words: &[(&AtomicU32, u32)], deadline: &Deadline) -> io::Result<Slept> {
    let post = Arc::new(Post { woken: AtomicU32::new(0), over: AtomicBool::new(false) });
    let mut sleepers = Vec::with_capacity(words.len());
    let mut failed = None;
    for (at, (word, expected)) in words.iter().enumerate() {
        let bit = NonZeroU32::new(1 << (at % 32)).unwrap_or(NonZeroU32::MIN);
        let sleep = Sleep { word: std::ptr::from_ref(*word), expected: *expected, bit };
        let ended = Arc::new(AtomicBool::new(false));
        let (post, end) = (Arc::clone(&post), Arc::clone(&ended));
        match Thread::start(c"tenure-wait", STACK, move || sleep.run(&post, &end)) {
            Ok(thread) => sleepers.push((*word, bit, ended, thread)),
            Err(error) => {
                failed = Some(error);
                break;
            }
        }
    }
    let slept = match failed {
        Some(error) => Err(error),
        None => wait(&post.woken, deadline),
    };
    // Release: pairs with the Acquire in `run`.
    post.over.store(true, Ordering::Release);
    for (word, bit, ended, thread) in sleepers {
        // A thread that has loaded `over` and does not sleep yet is woken by a later round. Acquire: pairs with the Release in `run`.
        while !ended.load(Ordering::Acquire) {
            if rouse(word, bit) == 0 {
                std::thread::yield_now();
            }
        }
        thread.join();
    }
    slept
}

fn wait(woken: &AtomicU32, deadline: &Deadline) -> io::Result<Slept> {
    loop {
        // Acquire: pairs with the Release in `run`.
        if woken.load(Ordering::Acquire) != 0 {
            return Ok(Slept::Woken);
        }
        match crate::futex::sleep(woken, 0, deadline)? {
            Slept::Woken => {}
            ended => return Ok(ended),
        }
    }
}

impl Sleep {
    fn run(self, post: &Post, ended: &AtomicBool) {
        // SAFETY: the caller keeps the word mapped until it has joined this thread.
        let word = unsafe { &*self.word };
        // Acquire: pairs with the Release in `sleep_any`.
        if !post.over.load(Ordering::Acquire) {
            // The result does not matter: the caller loads the words again.
            let _ = sleep_for(word, self.expected, &Deadline::NEVER, self.bit);
        }
        // Release, both: pair with the Acquire loads of the caller.
        post.woken.store(1, Ordering::Release);
        let _ = futex::wake(&post.woken, Flags::empty(), 1);
        ended.store(true, Ordering::Release);
    }
}
