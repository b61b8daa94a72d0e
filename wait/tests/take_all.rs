//! Goal: takings of several words, step by step and mixed with those of others, with deaths and with takers of one, come to what a
//! plain record says. Method: proptest, one thread; leases have their steps in any order of each other.
#![cfg(not(loom))]

use proptest::prelude::*;
use tenure_core::sync::{Ordering, Word as Whole};
use tenure_wait::{
    ASLEEP, Attempt, RECORD_WORDS, Records, Reservable, Reservation, TAKE_MAX, Taking, Word, exchange,
    semaphore,
};

const LEASES: u8 = 3;
const WORDS: usize = 3;
const RUINED: u32 = 0x7777;

struct Wide<'a> {
    whole: &'a Whole,
    records: Records<'a>,
}

impl Word for Wide<'_> {
    fn load(&self) -> u32 {
        self.records.plain(self.whole, RUINED)
    }

    fn exchange(&self, from: u32, to: u32) -> Result<(), u32> {
        exchange(self.whole, from, to)
    }

    fn wake(&self) {
        self.whole.fetch_and(!u64::from(ASLEEP), Ordering::Release);
    }

    fn clear(&self) {
        unreachable!("nobody owns a semaphore");
    }
}

impl Reservable for Wide<'_> {
    fn whole(&self) -> &Whole {
        self.whole
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// The next step of a lease's taking; it takes the words in an order that begins with the second.
    Next(u8, usize),
    /// It dies, is recovered, and the lease has a new owner.
    Die(u8),
    /// One is taken by itself.
    One(usize),
    /// One is given.
    Give(usize),
    /// Somebody is going to sleep on it, if there is nothing.
    Sleep(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let one = prop_oneof![
        8 => (0..LEASES, 0..WORDS).prop_map(|(lease, first)| Step::Next(lease, first)),
        1 => (0..LEASES).prop_map(Step::Die),
        2 => (0..WORDS).prop_map(Step::One),
        2 => (0..WORDS).prop_map(Step::Give),
        1 => (0..WORDS).prop_map(Step::Sleep),
    ];
    proptest::collection::vec(one, 1..80)
}

/// A taking, and what the record says of it.
struct Going<'a> {
    taking: Taking<'a>,
    reserved: Vec<usize>,
    withdrawn: bool,
    decided: bool,
}

/// What everybody agrees on.
struct Model<'a> {
    counts: [u32; WORDS],
    going: [Option<Going<'a>>; LEASES as usize],
}

impl Model<'_> {
    /// Somebody but `me` meets this word: whoever has reserved it, and has not decided, is too late.
    fn meet(&mut self, word: usize, me: Option<u8>) {
        for (lease, going) in self.going.iter_mut().enumerate() {
            let Some(going) = going.as_mut().filter(|_| me != Some(lease as u8)) else { continue };
            if let Some(at) = going.reserved.iter().position(|reserved| *reserved == word)
                && !going.decided
            {
                going.withdrawn = true;
                going.reserved.remove(at);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 4 } else { 1024 }, failure_persistence: None, ..ProptestConfig::default()
    })]

    #[test]
    fn takings_come_to_what_the_record_says(steps in steps()) {
        let words: Vec<Whole> = (0..WORDS).map(|_| Whole::new(2)).collect();
        let all: Vec<Whole> = (0..usize::from(LEASES) * RECORD_WORDS).map(|_| Whole::new(0)).collect();
        let records = Records::over(&all);
        let word = |which: usize| Wide { whole: &words[which], records };
        let mut model = Model { counts: [2; WORDS], going: [const { None }; LEASES as usize] };
        for step in steps {
            match step {
                Step::Next(lease, first) => {
                    let Some(mut going) = model.going[usize::from(lease)].take() else {
                        let taking = records.begin(lease).unwrap();
                        let going = Going { taking, reserved: Vec::new(), withdrawn: false, decided: false };
                        model.going[usize::from(lease)] = Some(going);
                        continue;
                    };
                    // By their places in the record, those that were made plain included.
                    let reserved_before = (0..WORDS).filter(|which| {
                        Reservation::of(words[*which].load(Ordering::Relaxed)).is_some_and(|by| by.lease == lease)
                    }).count();
                    let next = (0..WORDS).map(|at| (first + at) % WORDS).find(|which| {
                        let by = Reservation::of(words[*which].load(Ordering::Relaxed));
                        by.is_none_or(|by| by.lease != lease)
                    });
                    match next {
                        Some(which) if !going.decided && reserved_before < 2 => {
                            model.meet(which, Some(lease));
                            match going.taking.reserve(&word(which), |count| count.checked_sub(1)) {
                                Ok(before) => {
                                    prop_assert_eq!(before, model.counts[which]);
                                    going.reserved.push(which);
                                    model.going[usize::from(lease)] = Some(going);
                                }
                                Err(seen) => {
                                    prop_assert_eq!((seen & !ASLEEP, model.counts[which]), (0, 0));
                                    prop_assert!(!going.taking.decide(false));
                                    (0..WORDS).for_each(|which| clean(&going.taking, &word(which)));
                                }
                            }
                        }
                        _ if !going.decided => {
                            let taken = going.taking.decide(true);
                            prop_assert_eq!(taken, !going.withdrawn);
                            if taken {
                                going.reserved.iter().for_each(|which| model.counts[*which] -= 1);
                            }
                            going.decided = true;
                            model.going[usize::from(lease)] = Some(going);
                        }
                        _ => (0..WORDS).for_each(|which| clean(&going.taking, &word(which))),
                    }
                }
                Step::Die(lease) => {
                    model.going[usize::from(lease)] = None;
                    // The recoverer looks at everything that the dead held.
                    for which in 0..WORDS {
                        model.meet(which, None);
                        prop_assert_eq!(word(which).load() & !ASLEEP, model.counts[which]);
                    }
                }
                Step::One(which) => {
                    model.meet(which, None);
                    let taken = matches!(semaphore::try_acquire(&word(which)), Attempt::Taken(()));
                    prop_assert_eq!(taken, model.counts[which] > 0);
                    model.counts[which] -= u32::from(taken);
                }
                Step::Give(which) => {
                    model.meet(which, None);
                    let expected = if model.counts[which] < 3 { Ok(model.counts[which]) } else { Err(3) };
                    prop_assert_eq!(semaphore::release(&word(which), 1, 3), expected);
                    model.counts[which] = (model.counts[which] + 1).min(3);
                }
                Step::Sleep(which) => {
                    model.meet(which, None);
                    let seen = word(which).load();
                    if seen & !ASLEEP == 0 {
                        prop_assert!(tenure_wait::mark(&word(which), seen).is_some());
                    }
                }
            }
        }
        for which in 0..WORDS {
            prop_assert_eq!(word(which).load() & !ASLEEP, model.counts[which]);
        }
    }

    #[test]
    fn corrupts_end_in_a_value(corrupt: u64, record: [u64; 4], value in 0..4_u32) {
        let all: Vec<Whole> = (0..RECORD_WORDS).map(|at| Whole::new(record[at % 4])).collect();
        let records = Records::over(&all);
        let whole = Whole::new(corrupt);
        let word = Wide { whole: &whole, records };
        prop_assert_eq!(u64::from(word.load()), whole.load(Ordering::Relaxed));
        let mut taking = records.begin(0).unwrap();
        whole.store(value.into(), Ordering::Relaxed);
        if taking.reserve(&word, |count| count.checked_sub(1)).is_ok() {
            prop_assert!(taking.decide(true));
            taking.clean(0, &word);
            prop_assert_eq!(whole.load(Ordering::Relaxed), u64::from(value - 1));
        }
    }
}

/// Of whichever entry it is.
fn clean(taking: &Taking<'_>, word: &Wide<'_>) {
    (0..TAKE_MAX).for_each(|entry| taking.clean(entry, word));
}

#[test]
fn reservations_and_values_are_told_apart() {
    assert_eq!(Reservation::of(0), None);
    assert_eq!(Reservation::of(u64::from(u32::MAX)), None);
    // With the mark it is none.
    assert_eq!(Reservation::of(1 << 63 | u64::from(ASLEEP)), None);
    assert_eq!(Reservation::of(1 << 63 | 200).map(|by| by.lease), Some(200));
}
