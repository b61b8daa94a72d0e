//! Goal: mutexes, events and semaphores agree with a model of the same operations, also if a process is killed before it wakes. Method:
//! proptest, one thread; waiters are counted.
#![cfg(not(loom))]

use std::cell::Cell;
use std::sync::atomic::Ordering;

use proptest::prelude::*;
use tenure_wait::mutex::{self, Locked, Owner};
use tenure_wait::{Attempt, WAITERS, Word, event, semaphore, set_waiters, wake_waiters};

/// A word, and the number of its waiters.
#[derive(Default)]
struct Plain {
    word: Cell<u32>,
    waiters: Cell<u32>,
    /// The working process is killed before its next wake.
    dies: Cell<bool>,
}

impl Word for Plain {
    fn load(&self) -> u32 {
        self.word.get()
    }

    fn compare_exchange(&self, from: u32, to: u32, _: Ordering, _: Ordering) -> Result<u32, u32> {
        if self.word.get() != from {
            return Err(self.word.get());
        }
        self.word.set(to);
        Ok(from)
    }

    fn wake(&self) {
        if !self.dies.take() {
            self.word.set(self.word.get() & !WAITERS);
            self.waiters.set(0);
        }
    }

    fn clear(&self) {
        // One step: a process that dies before it has not unlocked.
        if !self.dies.take() {
            self.word.set(0);
            self.waiters.set(0);
        }
    }
}

impl Plain {
    /// Sleeps as a waiter does.
    fn sleep(&self, seen: u32) {
        if set_waiters(self, seen) == Some(self.word.get()) {
            self.waiters.set(self.waiters.get() + 1);
        }
    }

    /// Asserts that waiters sleep only with the waiters bit set, and never on an available value, unless it is pending because a process
    /// died.
    fn check(&self, is_available: impl Fn(u32) -> bool, one_died: bool) {
        let (has_waiters, value) = (self.word.get() & WAITERS != 0, self.word.get() & !WAITERS);
        assert!(
            has_waiters || self.waiters.get() == 0,
            "{} sleep without the waiters bit",
            self.waiters.get()
        );
        assert!(one_died || !(has_waiters && is_available(value)), "pending, and nobody died");
    }
}

/// The steps of some processes.
#[derive(Clone, Copy, Debug)]
enum Step {
    Take(u8),
    Give(u8),
    Reset,
    Wake,
    /// The next process that wakes is killed before the wake.
    Die,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let one = prop_oneof![
        4 => (0..3u8).prop_map(Step::Take),
        4 => (0..7u8).prop_map(Step::Give),
        1 => Just(Step::Reset),
        2 => Just(Step::Wake),
        1 => Just(Step::Die),
    ];
    proptest::collection::vec(one, 1..60)
}

const fn owner(who: u8) -> Owner {
    Owner::new(who, 5)
}

// Each operation as callers do it: the one step without contention first.

fn acquire(word: &Plain) -> Attempt<()> {
    if semaphore::take_one(word, word.load().into()) {
        Attempt::Taken(())
    } else {
        semaphore::try_acquire(word)
    }
}

fn release(word: &Plain, more: u32, maximum: u32) -> Result<u32, u32> {
    match semaphore::release_unwaited(word, word.load().into(), more, maximum) {
        Some(before) => Ok(before),
        None => semaphore::release(word, more, maximum),
    }
}

fn take_signal(word: &Plain) -> Attempt<()> {
    if event::take_signal(word) { Attempt::Taken(()) } else { event::try_auto(word) }
}

fn look(word: &Plain, since: Option<u32>) -> Attempt<()> {
    if event::is_signalled(word) { Attempt::Taken(()) } else { event::try_manual(word, since) }
}

fn set(word: &Plain, is_manual: bool) {
    if is_manual || !event::set_unwaited(word) {
        event::set(word);
    }
}

fn lock(word: &Plain, me: Owner) -> Attempt<Locked> {
    if mutex::lock_free(word, me) {
        Attempt::Taken(Locked::Now { abandoned: false })
    } else {
        mutex::try_lock(word, me)
    }
}

fn unlock(word: &Plain, me: Owner) -> bool {
    mutex::unlock_unwaited(word, me) || mutex::unlock(word, me)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 8 } else { 2048 }, failure_persistence: None, ..ProptestConfig::default()
    })]

    #[test]
    fn semaphores(steps in steps()) {
        let (word, mut count, mut one_died) = (Plain::default(), 0_u32, false);
        for step in steps {
            match step {
                // The process that dies is another one.
                Step::Take(_) => {
                    word.dies.set(false);
                    match acquire(&word) {
                        Attempt::Taken(()) => count = count.checked_sub(1).expect("taken from nothing"),
                        Attempt::Blocked(seen) => {
                            prop_assert_eq!(count, 0);
                            word.sleep(seen);
                        }
                    }
                }
                Step::Give(more) => {
                    let pending = word.load() & WAITERS != 0 && semaphore::is_available(word.load() & !WAITERS);
                    if pending {
                        word.dies.set(false);
                    }
                    let expected = if count + u32::from(more) <= 4 { Ok(count) } else { Err(count) };
                    prop_assert_eq!(release(&word, more.into(), 4), expected);
                    count += if expected.is_ok() { u32::from(more) } else { 0 };
                }
                Step::Wake => {
                    word.dies.set(false);
                    wake_waiters(&word);
                    prop_assert_eq!(word.waiters.get(), 0);
                }
                Step::Reset => {}
                Step::Die => {
                    word.dies.set(true);
                    one_died = true;
                }
            }
            prop_assert_eq!(word.load() & !WAITERS, count);
            word.check(semaphore::is_available, one_died);
        }
    }

    #[test]
    fn events(steps in steps(), is_manual: bool) {
        let (word, mut set, mut since, mut one_died) = (Plain::default(), false, None, false);
        for step in steps {
            let pending = word.load() & WAITERS != 0 && event::is_available(word.load() & !WAITERS);
            match step {
                // The process that dies is another one.
                Step::Take(_) => {
                    word.dies.set(false);
                    let attempt = if is_manual { look(&word, since) } else { take_signal(&word) };
                    match attempt {
                        Attempt::Taken(()) => {
                            prop_assert!(set || is_manual && since.is_some());
                            set &= is_manual;
                            since = None;
                        }
                        Attempt::Blocked(seen) => {
                            prop_assert!(!set);
                            since = since.or(Some(event::generation(seen)));
                            word.sleep(seen);
                        }
                    }
                    prop_assert!(!pending || word.waiters.get() == 0, "went on, and left others asleep");
                }
                Step::Give(_) => {
                    if pending {
                        word.dies.set(false);
                    }
                    self::set(&word, is_manual);
                    set = true;
                    prop_assert!(one_died || word.waiters.get() == 0);
                }
                Step::Reset => {
                    word.dies.set(false);
                    prop_assert_eq!(event::reset(&word, is_manual), std::mem::take(&mut set));
                }
                Step::Wake => {
                    word.dies.set(false);
                    wake_waiters(&word);
                }
                Step::Die => {
                    word.dies.set(true);
                    one_died = true;
                }
            }
            prop_assert_eq!(event::is_available(word.load() & !WAITERS), set);
            word.check(event::is_available, one_died);
        }
    }

    #[test]
    fn mutexes(steps in steps()) {
        let (word, mut owned, mut abandoned) = (Plain::default(), None, false);
        for step in steps {
            match step {
                Step::Take(who) => match lock(&word, owner(who)) {
                    Attempt::Taken(Locked::Now { abandoned: told }) => {
                        prop_assert_eq!((owned, told), (None, abandoned));
                        (owned, abandoned) = (Some(who), false);
                    }
                    Attempt::Taken(Locked::Already) => prop_assert_eq!(owned, Some(who)),
                    Attempt::Blocked(seen) => {
                        prop_assert!(owned.is_some_and(|owner| owner != who));
                        word.sleep(seen);
                    }
                },
                Step::Give(who) => {
                    let who = who % 3;
                    let expected = owned == Some(who);
                    prop_assert_eq!(unlock(&word, owner(who)), expected);
                    if expected {
                        owned = None;
                        prop_assert_eq!(word.waiters.get(), 0);
                    }
                }
                // The owner dies. One recoverer begins and dies, and another one recovers the owner.
                Step::Reset => if let Some(who) = owned.take() {
                    word.dies.set(true);
                    mutex::abandon(&word, who);
                    word.dies.set(false);
                    mutex::abandon(&word, who);
                    abandoned = true;
                    prop_assert_eq!(word.waiters.get(), 0);
                },
                // Recovery of a lease that does not own it changes nothing.
                Step::Wake => mutex::abandon(&word, 77),
                Step::Die => {}
            }
            let expected = owned.map_or(if abandoned { mutex::ABANDONED } else { mutex::FREE }, |who| owner(who).value());
            prop_assert_eq!(word.load() & !WAITERS, expected);
            word.check(mutex::is_available, false);
        }
    }
}
