//! Goal: MCAS operations, step by step, interleaved with each other, with deaths and with operations on one word, agree with a model.
//! Method: proptest, one thread; the steps of the leases come in any order.
#![cfg(not(loom))]

use proptest::prelude::*;
use tenure_core::sync::{Ordering, Word as Whole};
use tenure_wait::{
    Attempt, MCAS_DESCRIPTOR_WORDS, MCAS_MAX, Mcas, McasDescriptors, McasRef, McasWord, WAITERS, Word,
    compare_exchange, semaphore,
};

const LEASES: u8 = 3;
const WORDS: usize = 3;
const CORRUPTED: u32 = 0x7777;

struct Wide<'a> {
    whole: &'a Whole,
    descriptors: McasDescriptors<'a>,
}

impl Word for Wide<'_> {
    fn load(&self) -> u32 {
        self.descriptors.resolve(self.whole, CORRUPTED)
    }

    fn compare_exchange(&self, from: u32, to: u32, success: Ordering, failure: Ordering) -> Result<u32, u32> {
        compare_exchange(self.whole, from, to, success, failure)
    }

    fn wake(&self) {
        self.whole.fetch_and(!u64::from(WAITERS), Ordering::Release);
    }

    fn clear(&self) {
        unreachable!("nobody owns a semaphore");
    }
}

impl McasWord for Wide<'_> {
    fn whole(&self) -> &Whole {
        self.whole
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// The next step of a lease's MCAS; it takes the words in an order that begins with the second field.
    Next(u8, usize),
    /// The owner of a lease dies and is recovered, and the lease gets a new owner.
    Die(u8),
    /// Takes one count of one word.
    One(usize),
    /// Releases one count of one word.
    Give(usize),
    /// A waiter sets the waiters bit, if the count is 0.
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

/// An MCAS, and its state in the model.
struct Going<'a> {
    mcas: Mcas<'a>,
    installed: Vec<usize>,
    failed: bool,
    committed: bool,
}

/// The state that all processes agree on.
struct Model<'a> {
    counts: [u32; WORDS],
    going: [Option<Going<'a>>; LEASES as usize],
}

impl Model<'_> {
    /// A process other than `me` loads this word: an MCAS that has a reference in it, and is not committed, fails.
    fn meet(&mut self, word: usize, me: Option<u8>) {
        for (lease, going) in self.going.iter_mut().enumerate() {
            let Some(going) = going.as_mut().filter(|_| me != Some(lease as u8)) else { continue };
            if let Some(at) = going.installed.iter().position(|installed| *installed == word)
                && !going.committed
            {
                going.failed = true;
                going.installed.remove(at);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 4 } else { 1024 }, failure_persistence: None, ..ProptestConfig::default()
    })]

    #[test]
    fn operations_agree_with_the_model(steps in steps()) {
        let words: Vec<Whole> = (0..WORDS).map(|_| Whole::new(2)).collect();
        let all: Vec<Whole> = (0..usize::from(LEASES) * MCAS_DESCRIPTOR_WORDS).map(|_| Whole::new(0)).collect();
        let descriptors = McasDescriptors::over(&all);
        let word = |which: usize| Wide { whole: &words[which], descriptors };
        let mut model = Model { counts: [2; WORDS], going: [const { None }; LEASES as usize] };
        for step in steps {
            match step {
                Step::Next(lease, first) => {
                    let Some(mut going) = model.going[usize::from(lease)].take() else {
                        let mcas = descriptors.begin(lease).unwrap();
                        let going = Going { mcas, installed: Vec::new(), failed: false, committed: false };
                        model.going[usize::from(lease)] = Some(going);
                        continue;
                    };
                    // The references that are not resolved yet.
                    let installed_before = (0..WORDS).filter(|which| {
                        McasRef::of(words[*which].load(Ordering::Relaxed)).is_some_and(|by| by.lease == lease)
                    }).count();
                    let next = (0..WORDS).map(|at| (first + at) % WORDS).find(|which| {
                        let by = McasRef::of(words[*which].load(Ordering::Relaxed));
                        by.is_none_or(|by| by.lease != lease)
                    });
                    match next {
                        Some(which) if !going.committed && installed_before < 2 => {
                            model.meet(which, Some(lease));
                            match going.mcas.install(&word(which), |count| count.checked_sub(1)) {
                                Ok(before) => {
                                    prop_assert_eq!(before, model.counts[which]);
                                    going.installed.push(which);
                                    model.going[usize::from(lease)] = Some(going);
                                }
                                Err(seen) => {
                                    prop_assert_eq!((seen & !WAITERS, model.counts[which]), (0, 0));
                                    prop_assert!(!going.mcas.commit(false));
                                    (0..WORDS).for_each(|which| release(&going.mcas, &word(which)));
                                }
                            }
                        }
                        _ if !going.committed => {
                            let taken = going.mcas.commit(true);
                            prop_assert_eq!(taken, !going.failed);
                            if taken {
                                going.installed.iter().for_each(|which| model.counts[*which] -= 1);
                            }
                            going.committed = true;
                            model.going[usize::from(lease)] = Some(going);
                        }
                        _ => (0..WORDS).for_each(|which| release(&going.mcas, &word(which))),
                    }
                }
                Step::Die(lease) => {
                    model.going[usize::from(lease)] = None;
                    // The recoverer loads each word that the dead lease held.
                    for which in 0..WORDS {
                        model.meet(which, None);
                        prop_assert_eq!(word(which).load() & !WAITERS, model.counts[which]);
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
                    if seen & !WAITERS == 0 {
                        prop_assert!(tenure_wait::set_waiters(&word(which), seen).is_some());
                    }
                }
            }
        }
        for which in 0..WORDS {
            prop_assert_eq!(word(which).load() & !WAITERS, model.counts[which]);
        }
    }

    #[test]
    fn corrupts_end_in_a_value(corrupt: u64, descriptor: [u64; 4], value in 0..4_u32) {
        let all: Vec<Whole> = (0..MCAS_DESCRIPTOR_WORDS).map(|at| Whole::new(descriptor[at % 4])).collect();
        let descriptors = McasDescriptors::over(&all);
        let whole = Whole::new(corrupt);
        let word = Wide { whole: &whole, descriptors };
        prop_assert_eq!(u64::from(word.load()), whole.load(Ordering::Relaxed));
        let mut mcas = descriptors.begin(0).unwrap();
        whole.store(value.into(), Ordering::Relaxed);
        if mcas.install(&word, |count| count.checked_sub(1)).is_ok() {
            prop_assert!(mcas.commit(true));
            mcas.release(0, &word);
            prop_assert_eq!(whole.load(Ordering::Relaxed), u64::from(value - 1));
        }
    }
}

/// The release phase of one word, with any entry.
fn release(mcas: &Mcas<'_>, word: &Wide<'_>) {
    (0..MCAS_MAX).for_each(|entry| mcas.release(entry, word));
}

#[test]
fn references_and_values_are_told_apart() {
    assert_eq!(McasRef::of(0), None);
    assert_eq!(McasRef::of(u64::from(u32::MAX)), None);
    // A word with the waiters bit is no reference.
    assert_eq!(McasRef::of(1 << 63 | u64::from(WAITERS)), None);
    assert_eq!(McasRef::of(1 << 63 | 200).map(|by| by.lease), Some(200));
}
