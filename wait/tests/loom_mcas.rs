//! Goal: an MCAS takes all of its words or none, also if a process is killed, stopped or late, and an operation on one of the words never
//! waits. Method: loom, two or three threads on two words; a killed or stopped process is a thread that ends after some steps of an
//! MCAS; the final loads resolve the words, as recovery does.
#![cfg(loom)]

use std::sync::Arc;

use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicU64, Ordering};
use loom::thread;
use tenure_testkit::explore;
use tenure_wait::mutex::{self, Locked, Owner};
use tenure_wait::{
    Attempt, MCAS_DESCRIPTOR_WORDS, Mcas, McasDescriptors, McasRef, McasWord, WAITERS, Word,
    compare_exchange, semaphore,
};

const LEASES: usize = 2;

/// Two words, the descriptors, and a value that the first word protects if it is a mutex.
struct Stage {
    words: [AtomicU64; 2],
    descriptors: Vec<AtomicU64>,
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
            // Only the leases that are used: loom counts all words.
            descriptors: (0..LEASES * MCAS_DESCRIPTOR_WORDS).map(|_| AtomicU64::new(0)).collect(),
            protected: UnsafeCell::new(0),
        })
    }

    fn descriptors(&self) -> McasDescriptors<'_> {
        McasDescriptors::over(&self.descriptors)
    }

    fn word(&self, which: usize) -> Wide<'_> {
        Wide { whole: &self.words[which], descriptors: self.descriptors() }
    }

    /// The values after all threads are done.
    fn values(&self) -> [u32; 2] {
        [0, 1].map(|which| self.word(which).load())
    }
}

struct Wide<'a> {
    whole: &'a AtomicU64,
    descriptors: McasDescriptors<'a>,
}

impl Word for Wide<'_> {
    fn load(&self) -> u32 {
        let value = self.descriptors.resolve(self.whole, CORRUPTED);
        assert_ne!(value, CORRUPTED, "a reference to another ticket than the descriptor's");
        value
    }

    fn compare_exchange(&self, from: u32, to: u32, success: Ordering, failure: Ordering) -> Result<u32, u32> {
        compare_exchange(self.whole, from, to, success, failure)
    }

    fn wake(&self) {
        self.whole.fetch_and(!u64::from(WAITERS), Ordering::Release);
    }

    fn clear(&self) {
        unreachable!("nobody sleeps");
    }
}

impl McasWord for Wide<'_> {
    fn whole(&self) -> &AtomicU64 {
        self.whole
    }
}

const CORRUPTED: u32 = 0x7777;

fn one_less(value: u32) -> Option<u32> {
    value.checked_sub(1)
}

/// Takes both words, in this order, and ends after `steps` of its four steps. Returns whether it succeeded.
fn take_both(stage: &Stage, me: u8, order: [usize; 2], steps: usize) -> Option<bool> {
    let mut mcas = stage.descriptors().begin(me).unwrap();
    let mut all = true;
    for (step, which) in order.into_iter().enumerate() {
        if step >= steps {
            return None;
        }
        all = mcas.install(&stage.word(which), one_less).is_ok();
        if !all {
            break;
        }
    }
    (steps > 2).then(|| finish(stage, &mcas, order, all, steps > 3))
}

fn finish(stage: &Stage, mcas: &Mcas<'_>, order: [usize; 2], all: bool, releases: bool) -> bool {
    let taken = mcas.commit(all);
    if releases {
        for (entry, which) in order.into_iter().enumerate() {
            mcas.release(entry, &stage.word(which));
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
            // Never waits: takes it or finds it taken.
            thread::spawn(move || {
                let word = stage.word(1);
                semaphore::take_one(&word, word.whole.load(Ordering::Acquire))
                    || matches!(semaphore::try_acquire(&word), Attempt::Taken(()))
            })
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
            let committed = killed.join().unwrap();
            let [left, right] = stage.values();
            assert!(left == right + 1, "{left} and {right}: taken by halves");
            assert!(committed.is_none_or(|taken| left == 2 - u32::from(taken)));
        });
    }
}

/// A helper that comes late, when the lease has another owner, which takes the same words.
#[test]
fn a_late_helper_does_not_undo_the_mcas_of_the_next_owner_of_the_lease() {
    explore(Some(3), || {
        let stage = Stage::new([3, 3]);
        assert_eq!(take_both(&stage, 0, [0, 1], 2), None, "killed when both are installed");
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
fn a_mutex_in_an_mcas_excludes_and_publishes() {
    explore(Some(3), || {
        let stage = Stage::new([mutex::FREE, 1]);
        let other = {
            let stage = Arc::clone(&stage);
            thread::spawn(move || {
                let me = Owner::new(1, 7);
                let word = stage.word(0);
                // As callers do it: the one step without contention first.
                if mutex::lock_free(&word, me)
                    || matches!(mutex::try_lock(&word, me), Attempt::Taken(Locked::Now { .. }))
                {
                    // SAFETY: this thread owns the mutex.
                    stage.protected.with_mut(|value| unsafe { *value += 1 });
                    assert!(mutex::unlock_unwaited(&word, me));
                }
            })
        };
        let me = Owner::new(0, 7);
        let mut mcas = stage.descriptors().begin(0).unwrap();
        let lock = |value| mutex::is_available(value).then(|| me.value());
        let all =
            mcas.install(&stage.word(0), lock).is_ok() && mcas.install(&stage.word(1), one_less).is_ok();
        if finish(&stage, &mcas, [0, 1], all, true) {
            // SAFETY: this thread owns the mutex.
            stage.protected.with_mut(|value| unsafe { *value += 1 });
            assert!(mutex::unlock_unwaited(&stage.word(0), me));
        }
        other.join().unwrap();
        assert_eq!(stage.values()[0], mutex::FREE);
        assert!(McasRef::of(stage.words[1].load(Ordering::Acquire)).is_none());
    });
}
