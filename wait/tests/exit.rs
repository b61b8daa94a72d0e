//! Goal: the exit word is what a plain record of the same operations is. Method: proptest, one thread.
#![cfg(not(loom))]

use std::cell::Cell;

use proptest::prelude::*;
use tenure_wait::exit::{self, End};
use tenure_wait::{ASLEEP, Attempt, Word, mark, settle};

#[derive(Default)]
struct Plain {
    word: Cell<u32>,
    wakes: Cell<u32>,
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
        self.word.set(self.word.get() & !ASLEEP);
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
    /// Somebody is going to sleep.
    Mark,
    /// Somebody recovers.
    Settle,
    Look,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        proptest::option::of(any::<u16>()).prop_map(Step::Record),
        any::<u32>().prop_map(Step::Announce),
        Just(Step::Mark),
        Just(Step::Settle),
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
                    let asleep = word.load() & ASLEEP != 0;
                    let wakes = word.wakes.get();
                    exit::record(&word, status);
                    if ended.is_none() || asleep {
                        prop_assert_eq!(word.wakes.get() - wakes, u32::from(asleep));
                    }
                    ended = Some(ended.flatten().or(status));
                    prop_assert_eq!(word.load() & ASLEEP, 0);
                }
                Step::Announce(new) => {
                    let expected = announced.is_none() && ended.is_none();
                    prop_assert_eq!(exit::announce(&word, || code = new), expected);
                    if expected {
                        announced = Some(new);
                    }
                }
                Step::Mark if ended.is_none() => prop_assert!(mark(&word, word.load()).is_some()),
                Step::Mark => {}
                Step::Settle => settle(&word),
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

/// Stopped or killed between its two steps, whoever records leaves what anybody offers.
#[test]
fn what_was_staged_is_offered_by_anybody() {
    let staged = ASLEEP | exit::ended(Some(9));
    let offers: [fn(&Plain); 4] = [
        |word| exit::record(word, None),
        |word| exit::record(word, Some(1)),
        |word| {
            let _ = exit::try_ended(word);
        },
        |word| settle(word),
    ];
    for offer in offers {
        let word = Plain::default();
        word.word.set(staged);
        offer(&word);
        assert_eq!((word.load(), word.wakes.get()), (exit::ended(Some(9)), 1));
    }
}
