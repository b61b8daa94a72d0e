//! Goal: the store and the look of a reader without contention, and those of a writer, are a Dekker pair: not both go in. So are the mark and the
//! look of one who waits for a permit, and the change and the look of one who gives one back: not both look first.
//! Method: a reader and a writer meet once a round; the data that they guard is not atomic, so Miri with many seeds
//! (`MIRIFLAGS="-Zmiri-many-seeds=0..8 -Zmiri-preemption-rate=0.2"`) reports a race where an ordering permits it. `verify/models/orderings` weakens them one by one.
#![cfg(not(loom))]

use std::cell::UnsafeCell;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use tenure_wait::mutex::{self, Owner};
use tenure_wait::sequence::{self, SequenceWord, WAITING};
use tenure_wait::{Attempt, WAITERS, Word, permits, rwlock};

struct Whole(AtomicU64);

impl Word for Whole {
    fn load(&self) -> u32 {
        self.0.load(Ordering::Acquire) as u32
    }

    fn compare_exchange(&self, from: u32, to: u32, success: Ordering, failure: Ordering) -> Result<u32, u32> {
        let whole = self.0.compare_exchange(from.into(), to.into(), success, failure);
        whole.map(|found| found as u32).map_err(|found| found as u32)
    }

    fn wake(&self) {
        self.0.fetch_and(!u64::from(WAITERS), Ordering::Release);
    }

    fn clear(&self) {
        self.0.swap(0, Ordering::Release);
    }
}

struct Data(UnsafeCell<u64>);

// SAFETY: what this test is about.
unsafe impl Sync for Data {}

#[test]
fn dekker_a_reader_beside_a_writer() {
    let rounds = if cfg!(miri) { 20 } else { 20_000 };
    let (writers, readers) = (Whole(AtomicU64::new(0)), Whole(AtomicU64::new(0)));
    let (data, barrier) = (&Data(UnsafeCell::new(0)), Barrier::new(2));
    thread::scope(|threads| {
        threads.spawn(|| {
            let mut last = 0;
            for _ in 0..rounds {
                barrier.wait();
                if rwlock::announce_only(&readers) {
                    if rwlock::is_free(&writers.0) {
                        // SAFETY: the lock is locked for reading.
                        let now = unsafe { *data.0.get() };
                        assert!(now >= last);
                        last = now;
                    }
                    assert!(rwlock::withdraw_only(&readers) || rwlock::withdraw(&readers));
                }
                barrier.wait();
            }
        });
        threads.spawn(|| {
            let me = Owner::new(1, 7);
            for _ in 0..rounds {
                barrier.wait();
                if mutex::lock_free(&writers, me) {
                    rwlock::begin_drain();
                    if rwlock::drained(&readers) == Attempt::Taken(()) {
                        // SAFETY: the lock is locked for writing.
                        unsafe { *data.0.get() += 1 };
                    }
                    assert!(mutex::unlock(&writers, me));
                }
                barrier.wait();
            }
        });
    });
}

/// A sequence without a kernel: it counts, and nobody sleeps.
struct Sequence(std::sync::atomic::AtomicU32);

impl SequenceWord for Sequence {
    fn load_sequence(&self, ordering: Ordering) -> u32 {
        self.0.load(ordering)
    }

    fn fetch_or(&self, bits: u32, ordering: Ordering) -> u32 {
        self.0.fetch_or(bits, ordering)
    }

    fn advance(&self) {
        self.0.fetch_add(1, Ordering::Release);
    }
}

#[test]
fn dekker_one_who_waits_beside_one_who_gives_back() {
    let rounds = if cfg!(miri) { 20 } else { 20_000 };
    let (sequence, all) = (Sequence(0.into()), [tenure_core::sync::Word::new(0)]);
    let barrier = Barrier::new(2);
    thread::scope(|threads| {
        threads.spawn(|| {
            for _ in 0..rounds {
                let taken = permits::try_take(&all, 0, 1).expect("it was given back");
                barrier.wait();
                assert!(permits::give_back(&all[taken.index], taken.word));
                sequence::wake(&sequence);
                barrier.wait();
                barrier.wait();
            }
        });
        threads.spawn(|| {
            for _ in 0..rounds {
                barrier.wait();
                let marked = sequence::mark(&sequence);
                let taken = permits::look(&all, 0, 0);
                barrier.wait();
                match taken {
                    Ok(taken) => assert!(permits::give_back(&all[0], taken.word)),
                    Err(_) => {
                        assert!(sequence::is_over(&sequence, marked), "it would sleep beside a free permit")
                    }
                }
                // Whether it was marked when the other one looked or not: the next round begins without a mark.
                if sequence.load_sequence(Ordering::Relaxed) & WAITING != 0 {
                    sequence.advance();
                }
                barrier.wait();
            }
        });
    });
}
