//! Goal: a waiter learns of the end, also if a process that records it is stopped or comes last, and a known status stays; in every
//! interleaving. Method: loom, two or three threads; a condition variable is the futex, and its lock is the kernel's.
#![cfg(loom)]

use std::sync::Arc;

use loom::sync::atomic::Ordering::{AcqRel, Acquire};
use loom::sync::atomic::{AtomicU32, Ordering};
use loom::sync::{Condvar, Mutex};
use loom::thread;
use tenure_testkit::explore;
use tenure_wait::exit::{self, End};
use tenure_wait::{Attempt, WAITERS, Word, set_waiters};

struct Futex {
    word: AtomicU32,
    queue: Mutex<()>,
    woken: Condvar,
}

impl Futex {
    fn new(word: u32) -> Arc<Self> {
        Arc::new(Self { word: AtomicU32::new(word), queue: Mutex::new(()), woken: Condvar::new() })
    }

    fn sleep(&self, expected: u32) {
        let queue = self.queue.lock().unwrap();
        // Relaxed: the kernel compares and queues under its lock.
        if self.word.load(Ordering::Relaxed) == expected {
            drop(self.woken.wait(queue).unwrap());
        }
    }

    fn wait(&self) -> End {
        loop {
            match exit::try_ended(self) {
                Attempt::Taken(end) => return end,
                Attempt::Blocked(seen) => {
                    if let Some(marked) = set_waiters(self, seen) {
                        self.sleep(marked);
                    }
                }
            }
        }
    }
}

impl Word for Futex {
    fn load(&self) -> u32 {
        // Acquire: as the trait asks.
        self.word.load(Ordering::Acquire)
    }

    fn compare_exchange(&self, from: u32, to: u32, success: Ordering, failure: Ordering) -> Result<u32, u32> {
        self.word.compare_exchange(from, to, success, failure)
    }

    fn wake(&self) {
        let _queue = self.queue.lock().unwrap();
        // Release: as the trait asks.
        self.word.fetch_and(!WAITERS, Ordering::Release);
        self.woken.notify_all();
    }

    fn clear(&self) {
        unreachable!("an end is not taken back");
    }
}

#[test]
fn loom_two_record_and_one_waits() {
    explore(Some(3), || {
        let futex = Futex::new(exit::RUNNING);
        let recorders: Vec<_> = [None, Some(9)]
            .into_iter()
            .map(|status| {
                let futex = futex.clone();
                thread::spawn(move || exit::record(&*futex, status))
            })
            .collect();
        futex.wait();
        recorders.into_iter().for_each(|recorder| recorder.join().unwrap());
        assert_eq!(futex.load(), exit::ended(Some(9)));
    });
}

/// One process is stopped or killed before it wakes; another one records too.
#[test]
fn loom_a_stopped_recorder_keeps_nobody_waiting() {
    explore(Some(3), || {
        let futex = Futex::new(exit::RUNNING);
        let waiter = {
            let futex = futex.clone();
            thread::spawn(move || futex.wait())
        };
        let stopped = {
            let futex = futex.clone();
            thread::spawn(move || {
                let seen = futex.load();
                if futex.compare_exchange(seen, seen | exit::ended(None), AcqRel, Acquire).is_err() {
                    let _ = futex.compare_exchange(
                        seen | WAITERS,
                        seen | WAITERS | exit::ended(None),
                        AcqRel,
                        Acquire,
                    );
                }
            })
        };
        exit::record(&*futex, Some(9));
        waiter.join().unwrap();
        stopped.join().unwrap();
        exit::record(&*futex, Some(9));
        assert_eq!(futex.load(), exit::ended(Some(9)));
    });
}

#[test]
fn loom_an_announced_code_is_valid() {
    explore(Some(3), || {
        let futex = Futex::new(exit::RUNNING);
        let code = Arc::new(AtomicU32::new(0));
        let announcer = {
            let (futex, code) = (futex.clone(), code.clone());
            // Release: code: published by the word.
            thread::spawn(move || {
                assert!(
                    exit::announce(&*futex, || code.store(7, Ordering::Release))
                        || exit::is_available(futex.load())
                )
            })
        };
        let recorder = {
            let futex = futex.clone();
            thread::spawn(move || exit::record(&*futex, None))
        };
        if futex.wait().announced {
            // Acquire: pairs with the store above, by the word.
            assert_eq!(code.load(Ordering::Acquire), 7);
        }
        announcer.join().unwrap();
        recorder.join().unwrap();
        let end = futex.wait();
        assert!(exit::is_valid(futex.load()) && end.status.is_none());
    });
}
