//! Goal: the exit word agrees with a model of the same operations. Method: proptest, one thread.
#![cfg(not(loom))]

use std::cell::Cell;
use std::sync::atomic::Ordering;

use proptest::prelude::*;
use tenure_wait::exit::{self, End};
use tenure_wait::{Attempt, WAITERS, Word, set_waiters, wake_waiters};

#[derive(Default)]
struct Plain {
    word: Cell<u32>,
    wakes: Cell<u32>,
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
        self.word.set(self.word.get() & !WAITERS);
        self.wakes.set(self.wakes.get() + 1);
    }

    fn clear(&self) {
        unreachable!("an end is not taken back");
    }
}

#[derive(Clone, Debug)]
enum Step {
    Record(Option<u16>),
    Announce(u32),
    /// A waiter sets the waiters bit.
    Wait,
    /// A recoverer wakes.
    Wake,
    Look,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        proptest::option::of(any::<u16>()).prop_map(Step::Record),
        any::<u32>().prop_map(Step::Announce),
        Just(Step::Wait),
        Just(Step::Wake),
        Just(Step::Look),
    ];
    proptest::collection::vec(step, 0..30)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn model_of_the_exit_word(steps in steps()) {
        let word = Plain::default();
        let (mut code, mut announced, mut ended) = (0, None, None::<Option<u16>>);
        for step in steps {
            match step {
                Step::Record(status) => {
                    let waiters = word.load() & WAITERS != 0;
                    let wakes = word.wakes.get();
                    exit::record(&word, status);
                    if ended.is_none() || waiters {
                        prop_assert_eq!(word.wakes.get() - wakes, u32::from(waiters));
                    }
                    ended = Some(ended.flatten().or(status));
                    prop_assert_eq!(word.load() & WAITERS, 0);
                }
                Step::Announce(new) => {
                    let expected = announced.is_none() && ended.is_none();
                    prop_assert_eq!(exit::announce(&word, || code = new), expected);
                    if expected {
                        announced = Some(new);
                    }
                }
                Step::Wait if ended.is_none() => prop_assert!(set_waiters(&word, word.load()).is_some()),
                Step::Wait => {}
                Step::Wake => wake_waiters(&word),
                Step::Look => {}
            }
            let expected = ended.map(|status| End { status, announced: announced.is_some() });
            match (exit::try_ended(&word), expected) {
                (Attempt::Taken(found), Some(expected)) => prop_assert_eq!(found, expected),
                (Attempt::Blocked(_), None) => {}
                (found, expected) => prop_assert!(false, "{:?}, expected {:?}", found, expected),
            }
            prop_assert_eq!(announced.unwrap_or(0), code);
            prop_assert!(exit::is_valid(word.load()));
        }
    }

    #[test]
    fn nonsense_is_told(word: u32) {
        let (ended, known, status) = (word >> 30 & 1, word >> 29 & 1, word & 0xffff);
        let possible = word >> 16 & 0x7ff == 0 && word >> 27 & 3 != 3 && known <= ended && (known == 1 || status == 0);
        prop_assert_eq!(exit::is_valid(word), possible);
    }
}

/// A process that is stopped or killed before it wakes leaves a pending end, and each later operation publishes it.
#[test]
fn each_operation_publishes_a_pending_end() {
    let pending = WAITERS | exit::ended(Some(9));
    let operations: [fn(&Plain); 4] = [
        |word| exit::record(word, None),
        |word| exit::record(word, Some(1)),
        |word| {
            let _ = exit::try_ended(word);
        },
        |word| wake_waiters(word),
    ];
    for operation in operations {
        let word = Plain::default();
        word.word.set(pending);
        operation(&word);
        assert_eq!((word.load(), word.wakes.get()), (exit::ended(Some(9)), 1));
    }
}
