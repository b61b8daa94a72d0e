//! Goal: no waiter sleeps on an available value, also if a process is killed or stopped for ever between two steps; a mutex excludes and
//! publishes. Method: loom, up to four threads on one word. The kernel's step is a lock around the word and its queue. A killed or
//! stopped process is a thread whose word does nothing from then on. A waiter that is never woken is a deadlock, which loom reports.
#![cfg(loom)]

use std::sync::Arc;

use loom::cell::UnsafeCell;
use loom::sync::atomic::Ordering::{AcqRel, Acquire};
use loom::sync::atomic::{AtomicU32, Ordering};
use loom::sync::{Condvar, Mutex};
use loom::thread;
use tenure_testkit::explore;
use tenure_wait::mutex::{self, Locked, Owner};
use tenure_wait::{Attempt, WAITERS, Word, event, semaphore, set_waiters, wake_waiters};

/// A word and the queue of its waiters.
struct Futex {
    word: AtomicU32,
    /// The number of wakes.
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

    fn compare_exchange(&self, from: u32, to: u32, success: Ordering, failure: Ordering) -> Result<u32, u32> {
        self.word.compare_exchange(from, to, success, failure)
    }

    fn wake(&self) {
        self.change(|word| {
            word.fetch_and(!WAITERS, Ordering::Release);
        });
    }

    fn clear(&self) {
        self.change(|word| {
            word.swap(0, Ordering::Release);
        });
    }
}

/// Releases one count, and ends, or is stopped for ever, before it wakes.
fn release_and_end(futex: &Futex) {
    loop {
        let seen = futex.load();
        let pending = seen & WAITERS != 0 && semaphore::is_available(seen & !WAITERS);
        if pending || futex.compare_exchange(seen, seen + 1, AcqRel, Acquire).is_ok() {
            return;
        }
    }
}

/// The word of a process that ends before it wakes.
struct EndsBeforeWaking<'a>(&'a Futex);

impl Word for EndsBeforeWaking<'_> {
    fn load(&self) -> u32 {
        self.0.load()
    }

    fn compare_exchange(&self, from: u32, to: u32, success: Ordering, failure: Ordering) -> Result<u32, u32> {
        self.0.compare_exchange(from, to, success, failure)
    }

    fn wake(&self) {}

    fn clear(&self) {}
}

fn wait_until<T>(futex: &Futex, mut attempt: impl FnMut(&Futex) -> Attempt<T>) -> T {
    loop {
        match attempt(futex) {
            Attempt::Taken(gained) => return gained,
            Attempt::Blocked(seen) => {
                if let Some(marked) = set_waiters(futex, seen) {
                    futex.sleep(marked);
                }
            }
        }
    }
}

// Each operation as callers do it: the one step without contention first.

fn acquire(futex: &Futex) {
    wait_until(futex, |word| {
        if semaphore::take_one(word, word.load().into()) {
            Attempt::Taken(())
        } else {
            semaphore::try_acquire(word)
        }
    });
}

fn release(futex: &Futex) {
    if semaphore::release_unwaited(futex, futex.load().into(), 1, 5).is_none() {
        semaphore::release(futex, 1, 5).unwrap();
    }
}

fn take_signal(futex: &Futex) {
    wait_until(
        futex,
        |word| {
            if event::take_signal(word) { Attempt::Taken(()) } else { event::try_auto(word) }
        },
    );
}

fn set(futex: &Futex) {
    if !event::set_unwaited(futex) {
        event::set(futex);
    }
}

#[test]
fn two_releases_reach_two_waiters() {
    explore(Some(2), || {
        let futex = Futex::new(0);
        let waiters: Vec<_> = (0..2)
            .map(|_| {
                let futex = Arc::clone(&futex);
                thread::spawn(move || acquire(&futex))
            })
            .collect();
        release(&futex);
        release(&futex);
        waiters.into_iter().for_each(|waiter| waiter.join().unwrap());
        assert_eq!(futex.load() & !WAITERS, 0);
    });
}

#[test]
fn a_releaser_is_killed_before_it_wakes_and_recovered() {
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
        wake_waiters(&*futex);
        waiter.join().unwrap();
        assert_eq!(futex.load() & !WAITERS, 0);
    });
}

#[test]
fn a_releaser_stops_before_it_wakes_and_keeps_nobody_waiting() {
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
        // The release succeeds, also over a pending value.
        release(&futex);
        waiter.join().unwrap();
        stopped.join().unwrap();
        // If the stopped process got that far, the count that is left is available.
        if semaphore::is_available(futex.load() & !WAITERS) {
            acquire(&futex);
        }
    });
}

#[test]
fn a_waiter_that_is_killed_keeps_no_wake_up() {
    explore(Some(2), || {
        let futex = Futex::new(0);
        // It sets the waiters bit, may sleep, and never loads the word again.
        let killed = {
            let futex = Arc::clone(&futex);
            thread::spawn(move || {
                let seen = futex.load();
                if !event::is_available(seen & !WAITERS)
                    && let Some(marked) = set_waiters(&*futex, seen)
                {
                    futex.sleep(marked);
                }
            })
        };
        let waiter = {
            let futex = Arc::clone(&futex);
            thread::spawn(move || take_signal(&futex))
        };
        set(&futex);
        waiter.join().unwrap();
        // The other waiter may have come too late for that signal.
        set(&futex);
        killed.join().unwrap();
    });
}

#[test]
fn a_manual_reset_event_that_is_reset_at_once_lets_its_waiters_go() {
    explore(Some(2), || {
        let futex = Futex::new(0);
        let marked = set_waiters(&*futex, 0).unwrap();
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
    Owner::new(lease, 7)
}

fn lock(futex: &Futex, me: Owner) -> bool {
    if mutex::lock_free(futex, me) {
        return false;
    }
    match wait_until(futex, |word| mutex::try_lock(word, me)) {
        Locked::Now { abandoned } => abandoned,
        Locked::Already => unreachable!(),
    }
}

fn unlock(futex: &Futex, me: Owner) -> bool {
    mutex::unlock_unwaited(futex, me) || mutex::unlock(futex, me)
}

#[test]
fn a_mutex_excludes_and_publishes() {
    explore(Some(2), || {
        let (futex, value) = (Futex::new(0), Arc::new(Protected(UnsafeCell::new(0))));
        let work = |lease: u8| {
            let (futex, value) = (Arc::clone(&futex), Arc::clone(&value));
            move || {
                assert!(!lock(&futex, owner(lease)));
                // SAFETY: this thread owns the mutex.
                value.0.with_mut(|value| unsafe { *value += 1 });
                assert!(unlock(&futex, owner(lease)));
            }
        };
        let others = [thread::spawn(work(0)), thread::spawn(work(1))];
        work(2)();
        others.into_iter().for_each(|other| other.join().unwrap());
        // SAFETY: the other threads have ended.
        value.0.with(|value| assert_eq!(unsafe { *value }, 3));
        assert_eq!(futex.load() & !WAITERS, 0);
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
                assert!(unlock(&futex, owner(lease)));
                told
            }
        };
        let waiter = thread::spawn(locked(0));
        // A recoverer is killed between its two steps, and another one begins at the same time.
        let killed = {
            let futex = Arc::clone(&futex);
            thread::spawn(move || mutex::abandon(&EndsBeforeWaking(&futex), 9))
        };
        killed.join().unwrap();
        mutex::abandon(&*futex, 9);
        let told = [locked(1)(), waiter.join().unwrap()];
        assert!(told[0] != told[1], "{told:?}");
    });
}
