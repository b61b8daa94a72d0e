//! Goal: a reader gets one whole value, and never an older one than before, while values are written; in every interleaving.
//! Method: loom, one thread that reads, one or two that write, two words a value.
#![cfg(loom)]

use std::sync::Arc;

use loom::sync::Mutex;
use loom::thread;
use tenure_core::sync::Word;
use tenure_testkit::explore;
use tenure_wait::versioned::{read, write};

/// Value n has the words 10 n and 10 n + 1.
struct Value {
    version: Word,
    copies: [[Word; 2]; 2],
    /// The version, as the writers know it: loom would lose interleavings if they loaded the word that they store afterwards.
    lock: Mutex<u64>,
}

impl Value {
    fn new() -> Arc<Self> {
        let copy = |n: u64| [Word::new(10 * n), Word::new(10 * n + 1)];
        // The other copy has what a dead writer left.
        Arc::new(Self { version: Word::new(0), copies: [copy(0), copy(9)], lock: Mutex::new(0) })
    }

    fn copy<'v>(&'v self) -> impl Fn(usize) -> &'v [Word] {
        |copy| &self.copies[copy]
    }

    fn write_next(&self) {
        let mut version = self.lock.lock().unwrap();
        let next = *version + 1;
        *version = write(&self.version, *version, self.copy(), [10 * next, 10 * next + 1].into_iter());
        assert_eq!(*version, next);
    }

    fn read_whole(&self) -> u64 {
        let mut words = [0; 2];
        let version = read(&self.version, self.copy(), |at, word| words[at] = word);
        assert_eq!(words, [10 * version, 10 * version + 1], "of version {version}");
        version
    }
}

#[test]
fn loom_a_reader_beside_three_writes_of_one() {
    explore(Some(3), || {
        let value = Value::new();
        let writer = {
            let value = value.clone();
            thread::spawn(move || (0..3).for_each(|_| value.write_next()))
        };
        value.read_whole();
        writer.join().unwrap();
        assert_eq!(value.read_whole(), 3);
    });
}

#[test]
fn loom_a_reader_beside_two_writers() {
    explore(Some(2), || {
        let value = Value::new();
        let writers: Vec<_> = (0..2)
            .map(|_| {
                let value = value.clone();
                thread::spawn(move || value.write_next())
            })
            .collect();
        let first = value.read_whole();
        assert!(value.read_whole() >= first);
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        assert_eq!(value.read_whole(), 2);
    });
}
