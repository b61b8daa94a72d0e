//! Goal: nobody sleeps on what is offered, whoever is killed or stops for good between two steps; a mutex excludes and publishes.
//! Method: loom, up to four threads on one word. The kernel's step is a lock around the word and its queue. One who is killed or
//! stopped is a thread whose word does nothing from then on. A sleeper who is never woken is a deadlock, which loom reports.
#![cfg(loom)]

#[path = "../../segment/tests/common/explore.rs"]
mod explore;

use std::sync::Arc;

use explore::explore;
use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicU32, Ordering};
use loom::sync::{Condvar, Mutex};
use loom::thread;
use tenure_wait::mutex::{self, Locked, Owner};
use tenure_wait::{ASLEEP, Attempt, Word, event, mark, semaphore, settle};

/// A word and the queue of those who sleep on it.
struct Futex {
    word: AtomicU32,
    /// How often it was woken.
    queue: Mutex<u32>,
    woken: Condvar,
}

impl Futex {
    fn new(value: u32) -> Arc<Self> {
        Arc::new(Self { word: AtomicU32::new(value), queue: Mutex::new(0), woken: Condvar::new() })
    }

    /// Sleeps while the word is `expected`.
    fn sleep(&self, expected: u32) {
        let mut queue = self.queue.lock().unwrap();
        if self.word.load(Ordering::Acquire) != expected {
            return;
        }
        let before = *queue;
        while *queue == before {
            queue = self.woken.wait(queue).unwrap();
        }
    }

    fn change(&self, change: impl FnOnce(&AtomicU32)) {
        let mut queue = self.queue.lock().unwrap();
        change(&self.word);
        *queue += 1;
        self.woken.notify_all();
    }
}

impl Word for Futex {
    fn load(&self) -> u32 {
        self.word.load(Ordering::Acquire)
    }

    fn exchange(&self, from: u32, to: u32) -> Result<(), u32> {
        self.word.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).map(drop)
    }

    fn wake(&self) {
        self.change(|word| {
            word.fetch_and(!ASLEEP, Ordering::Release);
        });
    }

    fn clear(&self) {
        self.change(|word| {
            word.swap(0, Ordering::Release);
        });
    }
}

/// Releases one, and ends, or stands still for good, before he wakes anybody.
fn release_and_end(futex: &Futex) {
    loop {
        let seen = futex.load();
        let staged = seen & ASLEEP != 0 && semaphore::offers(seen & !ASLEEP);
        if staged || futex.exchange(seen, seen + 1).is_ok() {
            return;
        }
    }
}

/// The word of one who ends before he wakes anybody.
struct EndsBeforeWaking<'a>(&'a Futex);

impl Word for EndsBeforeWaking<'_> {
    fn load(&self) -> u32 {
        self.0.load()
    }

    fn exchange(&self, from: u32, to: u32) -> Result<(), u32> {
        self.0.exchange(from, to)
    }

    fn wake(&self) {}

    fn clear(&self) {}
}

fn wait_until<T>(futex: &Futex, mut attempt: impl FnMut(&Futex) -> Attempt<T>) -> T {
    loop {
        match attempt(futex) {
            Attempt::Taken(gained) => return gained,
            Attempt::Blocked(seen) => {
                if let Some(marked) = mark(futex, seen) {
                    futex.sleep(marked);
                }
            }
        }
    }
}

fn acquire(futex: &Futex) {
    wait_until(futex, |word| semaphore::try_acquire(word));
}

#[test]
fn a_release_reaches_one_of_two_who_wait() {
    explore(Some(2), || {
        let futex = Futex::new(0);
        let waiters: Vec<_> = (0..2)
            .map(|_| {
                let futex = Arc::clone(&futex);
                thread::spawn(move || acquire(&futex))
            })
            .collect();
        semaphore::release(&*futex, 1, 5).unwrap();
        semaphore::release(&*futex, 1, 5).unwrap();
        waiters.into_iter().for_each(|waiter| waiter.join().unwrap());
        assert_eq!(futex.load() & !ASLEEP, 0);
    });
}

#[test]
fn a_releaser_is_killed_before_he_wakes_and_recovered() {
    explore(Some(2), || {
        let futex = Futex::new(0);
        let waiter = {
            let futex = Arc::clone(&futex);
            thread::spawn(move || acquire(&futex))
        };
        let killed = {
            let futex = Arc::clone(&futex);
            thread::spawn(move || release_and_end(&futex))
        };
        killed.join().unwrap();
        settle(&*futex);
        waiter.join().unwrap();
        assert_eq!(futex.load() & !ASLEEP, 0);
    });
}

#[test]
fn a_releaser_stops_before_he_wakes_and_keeps_nobody_else_waiting() {
    explore(Some(2), || {
        let futex = Futex::new(0);
        let stopped = {
            let futex = Arc::clone(&futex);
            thread::spawn(move || release_and_end(&futex))
        };
        let waiter = {
            let futex = Arc::clone(&futex);
            thread::spawn(move || acquire(&futex))
        };
        // Takes effect, whatever the other one has staged.
        semaphore::release(&*futex, 1, 5).unwrap();
        waiter.join().unwrap();
        stopped.join().unwrap();
        // What is left, if he got that far, can be had by one who comes.
        if semaphore::offers(futex.load() & !ASLEEP) {
            acquire(&futex);
        }
    });
}

#[test]
fn one_who_is_woken_and_killed_keeps_no_wake_up() {
    explore(Some(2), || {
        let futex = Futex::new(0);
        // Marks, sleeps perhaps, and never looks again.
        let killed = {
            let futex = Arc::clone(&futex);
            thread::spawn(move || {
                let seen = futex.load();
                if !event::offers(seen & !ASLEEP)
                    && let Some(marked) = mark(&*futex, seen)
                {
                    futex.sleep(marked);
                }
            })
        };
        let waiter = {
            let futex = Arc::clone(&futex);
            thread::spawn(move || wait_until(&futex, |word| event::try_auto(word)))
        };
        event::set(&*futex);
        waiter.join().unwrap();
        // The other one may have come too late for that signal.
        event::set(&*futex);
        killed.join().unwrap();
    });
}

#[test]
fn a_manual_event_that_is_reset_at_once_lets_go_who_waited() {
    explore(Some(2), || {
        let futex = Futex::new(0);
        let marked = mark(&*futex, 0).unwrap();
        let waiter = {
            let futex = Arc::clone(&futex);
            thread::spawn(move || {
                futex.sleep(marked);
                let mut since = Some(event::generation(marked));
                wait_until(&futex, |word| event::try_manual(word, since.take()));
            })
        };
        event::set(&*futex);
        assert!(event::reset(&*futex, true));
        waiter.join().unwrap();
    });
}

struct Protected(UnsafeCell<u32>);

// SAFETY: accessed by owners of the mutex only, which loom checks.
unsafe impl Sync for Protected {}
// SAFETY: a number.
unsafe impl Send for Protected {}

const fn owner(lease: u8) -> Owner {
    Owner { lease, thread: 7 }
}

fn lock(futex: &Futex, me: Owner) -> bool {
    match wait_until(futex, |word| mutex::try_lock(word, me)) {
        Locked::Now { abandoned } => abandoned,
        Locked::Already => unreachable!(),
    }
}

#[test]
fn a_mutex_excludes_and_publishes() {
    explore(Some(2), || {
        let (futex, value) = (Futex::new(0), Arc::new(Protected(UnsafeCell::new(0))));
        let work = |lease: u8| {
            let (futex, value) = (Arc::clone(&futex), Arc::clone(&value));
            move || {
                assert!(!lock(&futex, owner(lease)));
                // SAFETY: the mutex is ours.
                value.0.with_mut(|value| unsafe { *value += 1 });
                assert!(mutex::unlock(&*futex, owner(lease)));
            }
        };
        let others = [thread::spawn(work(0)), thread::spawn(work(1))];
        work(2)();
        others.into_iter().for_each(|other| other.join().unwrap());
        // SAFETY: nobody else is there.
        value.0.with(|value| assert_eq!(unsafe { *value }, 3));
        assert_eq!(futex.load() & !ASLEEP, 0);
    });
}

#[test]
fn the_mutex_of_the_dead_is_abandoned_to_one() {
    explore(Some(2), || {
        let futex = Futex::new(owner(9).value());
        let locked = |lease: u8| {
            let futex = Arc::clone(&futex);
            move || {
                let told = lock(&futex, owner(lease));
                assert!(mutex::unlock(&*futex, owner(lease)));
                told
            }
        };
        let waiter = thread::spawn(locked(0));
        // One who recovers is killed between his two steps, and another one begins at the same time.
        let killed = {
            let futex = Arc::clone(&futex);
            thread::spawn(move || mutex::settle(&EndsBeforeWaking(&futex), 9))
        };
        killed.join().unwrap();
        mutex::settle(&*futex, 9);
        let told = [locked(1)(), waiter.join().unwrap()];
        assert!(told[0] != told[1], "{told:?}");
    });
}
