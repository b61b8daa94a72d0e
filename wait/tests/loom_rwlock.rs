//! Goal: a reader and a writer of a read-write lock are never in it together, and each sees what the last writer did; in every interleaving.
//! Method: loom, a reader that tries and a writer that tries, over words without sleepers: what waits, waits as on any wait word (loom_wait).
//! loom takes SeqCst accesses for AcqRel, so the one step of a reader without contention is in `dekker.rs`.
#![cfg(loom)]

use std::sync::Arc;

use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicU32, Ordering};
use loom::thread;
use tenure_testkit::explore;
use tenure_wait::mutex::{self, Owner};
use tenure_wait::{Attempt, WAITERS, Word, rwlock};

struct Plain(AtomicU32);

impl Word for Plain {
    fn load(&self) -> u32 {
        self.0.load(Ordering::Acquire)
    }

    fn compare_exchange(&self, from: u32, to: u32, success: Ordering, failure: Ordering) -> Result<u32, u32> {
        self.0.compare_exchange(from, to, success, failure)
    }

    fn wake(&self) {
        self.0.fetch_and(!WAITERS, Ordering::Release);
    }

    fn clear(&self) {
        self.0.swap(0, Ordering::Release);
    }
}

struct Lock {
    writers: Plain,
    readers: [Plain; 2],
    data: UnsafeCell<u64>,
}

// SAFETY: loom reports accesses to the data at once.
unsafe impl Sync for Lock {}
// SAFETY: as above.
unsafe impl Send for Lock {}

impl Lock {
    fn new() -> Arc<Self> {
        let word = || Plain(AtomicU32::new(0));
        Arc::new(Self { writers: word(), readers: [word(), word()], data: UnsafeCell::new(0) })
    }

    fn try_read(&self, lease: usize) -> Option<u64> {
        assert!(rwlock::announce(&self.readers[lease]));
        let read = match rwlock::look(&self.writers) {
            // SAFETY: no writer; see above.
            Attempt::Taken(abandoned) => (!abandoned).then(|| self.data.with(|data| unsafe { *data })),
            Attempt::Blocked(_) => None,
        };
        assert!(rwlock::withdraw(&self.readers[lease]));
        read
    }

    fn try_write(&self, lease: u8) -> bool {
        let me = Owner::new(lease, 7);
        if !matches!(mutex::try_lock(&self.writers, me), Attempt::Taken(_)) {
            return false;
        }
        rwlock::begin_drain();
        let is_alone = self.readers.iter().all(|readers| rwlock::drained(readers) == Attempt::Taken(()));
        if is_alone {
            // SAFETY: nobody else is in the lock; see above.
            self.data.with_mut(|data| unsafe { *data += 1 });
        }
        assert!(mutex::unlock(&self.writers, me));
        is_alone
    }
}

#[test]
fn loom_a_reader_beside_a_writer() {
    explore(None, || {
        let lock = Lock::new();
        let writer = {
            let lock = lock.clone();
            thread::spawn(move || u64::from(lock.try_write(1)))
        };
        let read = lock.try_read(0);
        let written = writer.join().unwrap();
        assert!(read.is_none_or(|read| read <= written));
        assert_eq!(lock.try_read(0), Some(written));
    });
}

#[test]
fn loom_two_readers_beside_two_writes() {
    explore(Some(2), || {
        let lock = Lock::new();
        let writer = {
            let lock = lock.clone();
            thread::spawn(move || u64::from(lock.try_write(1)) + u64::from(lock.try_write(1)))
        };
        let reader = {
            let lock = lock.clone();
            thread::spawn(move || lock.try_read(1))
        };
        lock.try_read(0);
        reader.join().unwrap();
        let written = writer.join().unwrap();
        assert_eq!(lock.try_read(0), Some(written));
    });
}
