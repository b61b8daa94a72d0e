//! Goal: mutexes, events and semaphores are what a plain record of the same operations is, also when whoever changes them is killed
//! before he wakes. Method: proptest, one thread; sleepers are counted.
#![cfg(not(loom))]

use std::cell::Cell;

use proptest::prelude::*;
use tenure_wait::mutex::{self, Locked, Owner};
use tenure_wait::{ASLEEP, Attempt, Word, event, mark, semaphore, settle};

/// A word, and how many sleep on it.
#[derive(Default)]
struct Plain {
    word: Cell<u32>,
    asleep: Cell<u32>,
    /// Who works is killed before his next wake.
    dies: Cell<bool>,
}

impl Word for Plain {
    fn load(&self) -> u32 {
        self.word.get()
    }

    fn exchange(&self, from: u32, to: u32) -> Result<(), u32> {
        if self.word.get() != from {
            return Err(self.word.get());
        }
        self.word.set(to);
        Ok(())
    }

    fn wake(&self) {
        if !self.dies.take() {
            self.word.set(self.word.get() & !ASLEEP);
            self.asleep.set(0);
        }
    }

    fn clear(&self) {
        // One step: dead before it, one has not unlocked.
        if !self.dies.take() {
            self.word.set(0);
            self.asleep.set(0);
        }
    }
}

impl Plain {
    /// What one does who has to wait.
    fn sleep(&self, seen: u32) {
        if mark(self, seen) == Some(self.word.get()) {
            self.asleep.set(self.asleep.get() + 1);
        }
    }

    /// Nobody sleeps without the mark, and nobody sleeps on what is offered, unless it is staged by one who died.
    fn check(&self, offers: impl Fn(u32) -> bool, one_died: bool) {
        let (marked, value) = (self.word.get() & ASLEEP != 0, self.word.get() & !ASLEEP);
        assert!(marked || self.asleep.get() == 0, "{} sleep unmarked", self.asleep.get());
        assert!(one_died || !(marked && offers(value)), "staged, and nobody died");
    }
}

/// One who dies may have done it or not; the rest is done.
#[derive(Clone, Copy, Debug)]
enum Step {
    Take(u8),
    Give(u8),
    Reset,
    Settle,
    /// The next to wake is killed before it.
    Die,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let one = prop_oneof![
        4 => (0..3u8).prop_map(Step::Take),
        4 => (0..3u8).prop_map(Step::Give),
        1 => Just(Step::Reset),
        2 => Just(Step::Settle),
        1 => Just(Step::Die),
    ];
    proptest::collection::vec(one, 1..60)
}

const fn owner(who: u8) -> Owner {
    Owner { lease: who, thread: 5 }
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
                // Whoever helps is not the one who dies.
                Step::Take(_) => {
                    word.dies.set(false);
                    match semaphore::try_acquire(&word) {
                        Attempt::Taken(()) => count = count.checked_sub(1).expect("taken from nothing"),
                        Attempt::Blocked(seen) => {
                            prop_assert_eq!(count, 0);
                            word.sleep(seen);
                        }
                    }
                }
                Step::Give(more) => {
                    let staged = word.load() & ASLEEP != 0 && semaphore::offers(word.load() & !ASLEEP);
                    if staged {
                        word.dies.set(false);
                    }
                    let expected = if count + u32::from(more) <= 4 { Ok(count) } else { Err(count) };
                    prop_assert_eq!(semaphore::release(&word, more.into(), 4), expected);
                    count += if expected.is_ok() { u32::from(more) } else { 0 };
                }
                Step::Settle => {
                    word.dies.set(false);
                    settle(&word);
                    prop_assert_eq!(word.asleep.get(), 0);
                }
                Step::Reset => {}
                Step::Die => {
                    word.dies.set(true);
                    one_died = true;
                }
            }
            prop_assert_eq!(word.load() & !ASLEEP, count);
            word.check(semaphore::offers, one_died);
        }
    }

    #[test]
    fn events(steps in steps(), manual: bool) {
        let (word, mut set, mut since) = (Plain::default(), false, None);
        for step in steps {
            match step {
                Step::Take(_) => {
                    let attempt =
                        if manual { event::try_manual(&word, since) } else { event::try_auto(&word) };
                    match attempt {
                        Attempt::Taken(()) => {
                            prop_assert!(set || manual && since.is_some());
                            set &= manual;
                            since = None;
                        }
                        Attempt::Blocked(seen) => {
                            prop_assert!(!set);
                            since = since.or(Some(event::generation(seen)));
                            word.sleep(seen);
                        }
                    }
                }
                Step::Give(_) => {
                    event::set(&word);
                    set = true;
                    prop_assert_eq!(word.asleep.get(), 0);
                }
                Step::Reset => prop_assert_eq!(event::reset(&word, manual), std::mem::take(&mut set)),
                Step::Settle => settle(&word),
                Step::Die => {}
            }
            prop_assert_eq!(event::offers(word.load() & !ASLEEP), set);
            word.check(event::offers, false);
        }
    }

    #[test]
    fn mutexes(steps in steps()) {
        let (word, mut owned, mut abandoned) = (Plain::default(), None, false);
        for step in steps {
            match step {
                Step::Take(who) => match mutex::try_lock(&word, owner(who)) {
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
                    let expected = owned == Some(who);
                    prop_assert_eq!(mutex::unlock(&word, owner(who)), expected);
                    if expected {
                        owned = None;
                        prop_assert_eq!(word.asleep.get(), 0);
                    }
                }
                // The owner dies, and is recovered by one who dies in the middle, and by another.
                Step::Reset => if let Some(who) = owned.take() {
                    word.dies.set(true);
                    mutex::settle(&word, who);
                    word.dies.set(false);
                    mutex::settle(&word, who);
                    abandoned = true;
                    prop_assert_eq!(word.asleep.get(), 0);
                },
                // Of somebody else nothing changes.
                Step::Settle => mutex::settle(&word, 77),
                Step::Die => {}
            }
            let expected = owned.map_or(if abandoned { mutex::ABANDONED } else { mutex::FREE }, |who| owner(who).value());
            prop_assert_eq!(word.load() & !ASLEEP, expected);
            word.check(mutex::offers, false);
        }
    }
}
