//! Goal: several words are taken all at once or not at all, whoever is killed, stands still, or comes late, and one who takes one
//! of them waits for nobody. Method: loom, two or three threads on two words; one who is killed or stopped is a thread that ends
//! after so many steps of a taking; the last look makes the words plain, as recovery does.
#![cfg(loom)]

#[path = "../../segment/tests/common/explore.rs"]
mod explore;

use std::sync::Arc;

use explore::explore;
use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicU64, Ordering};
use loom::thread;
use tenure_wait::mutex::{self, Locked, Owner};
use tenure_wait::{
    ASLEEP, Attempt, RECORD_WORDS, Records, Reservable, Reservation, Taking, Word, exchange, semaphore,
};

const LEASES: usize = 2;

/// Two words, the records, and what the first word protects where it is a mutex.
struct Stage {
    words: [AtomicU64; 2],
    records: Vec<AtomicU64>,
    protected: UnsafeCell<u32>,
}

// SAFETY: `protected` is accessed by owners of the mutex only, which loom checks.
unsafe impl Sync for Stage {}
// SAFETY: numbers.
unsafe impl Send for Stage {}

impl Stage {
    fn new(words: [u32; 2]) -> Arc<Self> {
        Arc::new(Self {
            words: words.map(|word| AtomicU64::new(word.into())),
            // Only those that are used: loom counts them all.
            records: (0..LEASES * RECORD_WORDS).map(|_| AtomicU64::new(0)).collect(),
            protected: UnsafeCell::new(0),
        })
    }

    fn records(&self) -> Records<'_> {
        Records::over(&self.records)
    }

    fn word(&self, which: usize) -> Wide<'_> {
        Wide { whole: &self.words[which], records: self.records() }
    }

    /// What everybody finds when all are done.
    fn values(&self) -> [u32; 2] {
        [0, 1].map(|which| self.word(which).load())
    }
}

struct Wide<'a> {
    whole: &'a AtomicU64,
    records: Records<'a>,
}

impl Word for Wide<'_> {
    fn load(&self) -> u32 {
        let plain = self.records.plain(self.whole, RUINED);
        assert_ne!(plain, RUINED, "a reservation that its record knows nothing of");
        plain
    }

    fn exchange(&self, from: u32, to: u32) -> Result<(), u32> {
        exchange(self.whole, from, to)
    }

    fn wake(&self) {
        self.whole.fetch_and(!u64::from(ASLEEP), Ordering::Release);
    }

    fn clear(&self) {
        unreachable!("nobody sleeps");
    }
}

impl Reservable for Wide<'_> {
    fn whole(&self) -> &AtomicU64 {
        self.whole
    }
}

const RUINED: u32 = 0x7777;

fn one_less(value: u32) -> Option<u32> {
    value.checked_sub(1)
}

/// Takes one of both, in this order, and ends after so many of its four steps; whether it has them.
fn take_both(stage: &Stage, me: u8, order: [usize; 2], steps: usize) -> Option<bool> {
    let mut taking = stage.records().begin(me).unwrap();
    let mut all = true;
    for (step, which) in order.into_iter().enumerate() {
        if step >= steps {
            return None;
        }
        all = taking.reserve(&stage.word(which), one_less).is_ok();
        if !all {
            break;
        }
    }
    (steps > 2).then(|| finish(stage, &taking, order, all, steps > 3))
}

fn finish(stage: &Stage, taking: &Taking<'_>, order: [usize; 2], all: bool, cleans: bool) -> bool {
    let taken = taking.decide(all);
    if cleans {
        for (entry, which) in order.into_iter().enumerate() {
            taking.clean(entry, &stage.word(which));
        }
    }
    taken
}

#[test]
fn two_take_both_in_opposite_orders() {
    explore(Some(3), || {
        let stage = Stage::new([2, 2]);
        let other = {
            let stage = Arc::clone(&stage);
            thread::spawn(move || take_both(&stage, 1, [1, 0], 9))
        };
        let taken = [take_both(&stage, 0, [0, 1], 9), other.join().unwrap()];
        let times = taken.iter().filter(|taken| **taken == Some(true)).count() as u32;
        assert_eq!(stage.values(), [2 - times; 2]);
    });
}

#[test]
fn one_takes_both_and_another_one_of_them() {
    explore(Some(3), || {
        let stage = Stage::new([1, 1]);
        let other = {
            let stage = Arc::clone(&stage);
            // It is never kept waiting: it takes it or finds it taken.
            thread::spawn(move || matches!(semaphore::try_acquire(&stage.word(1)), Attempt::Taken(())))
        };
        let both = take_both(&stage, 0, [0, 1], 9) == Some(true);
        let one = other.join().unwrap();
        assert!(!(both && one), "taken twice");
        assert_eq!(stage.values(), [u32::from(!both), u32::from(!both && !one)]);
    });
}

#[test]
fn one_is_killed_after_any_step_while_another_takes_one() {
    for steps in 0..4 {
        explore(Some(3), move || {
            let stage = Stage::new([2, 2]);
            let killed = {
                let stage = Arc::clone(&stage);
                thread::spawn(move || take_both(&stage, 0, [0, 1], steps))
            };
            semaphore::try_acquire(&stage.word(1));
            let decided = killed.join().unwrap();
            let [left, right] = stage.values();
            assert!(left == right + 1, "{left} and {right}: taken by halves");
            assert!(decided.is_none_or(|taken| left == 2 - u32::from(taken)));
        });
    }
}

/// A helper that comes late, when the lease is already somebody else's, who takes the same words.
#[test]
fn a_late_one_does_not_undo_what_the_next_owner_of_the_lease_takes() {
    explore(Some(3), || {
        let stage = Stage::new([3, 3]);
        assert_eq!(take_both(&stage, 0, [0, 1], 2), None, "killed when both are reserved");
        let late = {
            let stage = Arc::clone(&stage);
            thread::spawn(move || {
                let _ = stage.word(0).load();
            })
        };
        // The recoverer; then the next owner.
        stage.values();
        let taken = take_both(&stage, 0, [0, 1], 9);
        late.join().unwrap();
        assert_eq!(stage.values(), [3 - u32::from(taken == Some(true)); 2]);
    });
}

#[test]
fn a_mutex_that_is_taken_with_others_excludes_and_publishes() {
    explore(Some(3), || {
        let stage = Stage::new([mutex::FREE, 1]);
        let other = {
            let stage = Arc::clone(&stage);
            thread::spawn(move || {
                let me = Owner { lease: 1, thread: 7 };
                if let Attempt::Taken(Locked::Now { .. }) = mutex::try_lock(&stage.word(0), me) {
                    // SAFETY: the mutex is ours.
                    stage.protected.with_mut(|value| unsafe { *value += 1 });
                    assert!(mutex::unlock(&stage.word(0), me));
                }
            })
        };
        let me = Owner { lease: 0, thread: 7 };
        let mut taking = stage.records().begin(0).unwrap();
        let lock = |value| mutex::offers(value).then(|| me.value());
        let all =
            taking.reserve(&stage.word(0), lock).is_ok() && taking.reserve(&stage.word(1), one_less).is_ok();
        if finish(&stage, &taking, [0, 1], all, true) {
            // SAFETY: the mutex is ours.
            stage.protected.with_mut(|value| unsafe { *value += 1 });
            assert!(mutex::unlock(&stage.word(0), me));
        }
        other.join().unwrap();
        assert_eq!(stage.values()[0], mutex::FREE);
        assert!(Reservation::of(stage.words[1].load(Ordering::Acquire)).is_none());
    });
}
