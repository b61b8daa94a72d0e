//! Goal: whoever waits for an end learns of it, whoever records it stands still or comes last, and what is known stays; in every
//! interleaving. Method: loom, two or three threads; sleepers of a futex are those of a condition variable, whose lock is the
//! kernel's.
#![cfg(loom)]

#[path = "../../segment/tests/common/explore.rs"]
mod explore;

use std::sync::Arc;

use explore::explore;
use loom::sync::atomic::{AtomicU32, Ordering};
use loom::sync::{Condvar, Mutex};
use loom::thread;
use tenure_wait::exit::{self, End};
use tenure_wait::{ASLEEP, Attempt, Word, mark};

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
                    if let Some(marked) = mark(self, seen) {
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

    fn exchange(&self, from: u32, to: u32) -> Result<(), u32> {
        // AcqRel and Acquire: as the trait asks.
        self.word.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).map(drop)
    }

    fn wake(&self) {
        let _queue = self.queue.lock().unwrap();
        // Release: as the trait asks.
        self.word.fetch_and(!ASLEEP, Ordering::Release);
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

/// One who records is stopped, or killed, before he wakes anybody; another one records too.
#[test]
fn loom_one_who_stands_still_keeps_nobody_waiting() {
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
                if futex.exchange(seen, seen | exit::ended(None)).is_err() {
                    let _ = futex.exchange(seen | ASLEEP, seen | ASLEEP | exit::ended(None));
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
fn loom_what_is_announced_is_there() {
    explore(Some(3), || {
        let futex = Futex::new(exit::RUNNING);
        let code = Arc::new(AtomicU32::new(0));
        let announcer = {
            let (futex, code) = (futex.clone(), code.clone());
            // Release: the word says that it is there.
            thread::spawn(move || {
                assert!(
                    exit::announce(&*futex, || code.store(7, Ordering::Release))
                        || exit::offers(futex.load())
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
