//! Goal: the table of share modes has the same results as a list of entries under one lock.
//! Method: all pairs of modes; random sequences of enter, leave, death and recovery, compared with such a list; threads.
#![cfg(not(loom))]

use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;
use tenure_core::LeaseId;
use tenure_core::sync::Word;
use tenure_slab::{InTheWay, Modes, Shares};

const MEMBERS: u16 = 5;

fn words() -> Vec<Word> {
    (0..Shares::words(MEMBERS)).map(|_| Word::new(0)).collect()
}

fn modes() -> impl Iterator<Item = Modes> + Clone {
    (0..64).map(|bits| Modes { access: bits & 7, denied: bits >> 3 })
}

/// As Windows has it, bit by bit.
fn are_compatible(one: Modes, other: Modes) -> bool {
    (0..3).all(|bit| {
        let has = |modes: u8| modes >> bit & 1 != 0;
        !(has(one.access) && has(other.denied) || has(other.access) && has(one.denied))
    })
}

#[test]
fn every_pair_of_modes() {
    for first in modes() {
        for second in modes() {
            for (one, other) in [(0, 3), (3, 0), (2, 2)] {
                let words = words();
                let shares = Shares::over(&words, MEMBERS).unwrap();
                let id = |index| LeaseId { index, incarnation: 9 };
                shares.enter(id(one), first, &|_| Some(9)).unwrap();
                let entered = shares.enter(id(other), second, &|_| Some(9));
                assert_eq!(entered.is_ok(), are_compatible(first, second), "{first:?} {second:?}");
                if let Err(in_the_way) = entered {
                    assert_eq!(in_the_way, InTheWay { lease: id(one), modes: first });
                    shares.leave(id(one), Modes::NONE);
                    shares.enter(id(other), second, &|_| Some(9)).unwrap();
                }
            }
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Enter {
        lease: u8,
        modes: Modes,
    },
    Leave {
        lease: u8,
        which: usize,
    },
    /// The lease dies and is not recovered yet: its entries stay.
    Die {
        lease: u8,
    },
    Recover {
        lease: u8,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let lease = 0..MEMBERS as u8;
    let modes = (0..8u8, 0..8u8).prop_map(|(access, denied)| Modes { access, denied });
    prop_oneof![
        4 => (lease.clone(), modes).prop_map(|(lease, modes)| Step::Enter { lease, modes }),
        2 => (lease.clone(), any::<usize>()).prop_map(|(lease, which)| Step::Leave { lease, which }),
        1 => lease.clone().prop_map(|lease| Step::Die { lease }),
        1 => lease.prop_map(|lease| Step::Recover { lease }),
    ]
}

#[derive(Default)]
struct Model {
    /// The entries of all leases, one by one: lease and modes.
    entries: Vec<(u8, Modes)>,
    dead: Vec<u8>,
}

impl Model {
    fn of(&self, lease: u8) -> Modes {
        let own = self.entries.iter().filter(|(by, _)| *by == lease);
        own.fold(Modes::NONE, |all, (_, modes)| all.and(*modes))
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn as_a_list_under_a_lock(steps in proptest::collection::vec(step(), 0..80)) {
        let words = words();
        let shares = Shares::over(&words, MEMBERS).unwrap();
        let incarnations: Vec<_> = (0..MEMBERS).map(|_| AtomicU64::new(1)).collect();
        let id = |index: u8| LeaseId { index, incarnation: incarnations[usize::from(index)].load(Ordering::Relaxed) };
        let incarnation_of = |index: u8| Some(id(index).incarnation);
        let mut model = Model::default();
        for step in steps {
            match step {
                Step::Enter { lease, modes } if !model.dead.contains(&lease) => {
                    let expected = model.entries.iter().all(|(_, other)| are_compatible(*other, modes));
                    let entered = shares.enter(id(lease), modes, &incarnation_of);
                    prop_assert_eq!(entered.is_ok(), expected);
                    match entered {
                        Ok(()) => model.entries.push((lease, modes)),
                        Err(InTheWay { lease: by, modes: its }) => {
                            prop_assert_eq!(by, id(by.index));
                            prop_assert_eq!(its, model.of(by.index));
                            prop_assert!(!are_compatible(its, modes));
                        }
                    }
                }
                Step::Leave { lease, which } if !model.dead.contains(&lease) => {
                    let own: Vec<_> = (0..model.entries.len())
                        .filter(|at| model.entries[*at].0 == lease)
                        .collect();
                    if !own.is_empty() {
                        model.entries.remove(own[which % own.len()]);
                    }
                    shares.leave(id(lease), model.of(lease));
                }
                Step::Die { lease } => model.dead.push(lease),
                Step::Recover { lease } if model.dead.contains(&lease) => {
                    model.dead.retain(|dead| *dead != lease);
                    model.entries.retain(|(by, _)| *by != lease);
                    incarnations[usize::from(lease)].fetch_add(1, Ordering::Relaxed);
                }
                _ => {}
            }
            for lease in 0..MEMBERS as u8 {
                let look = shares.look(lease, &incarnation_of);
                prop_assert_eq!(look.map_or(Modes::NONE, |share| share.entered), model.of(lease));
                prop_assert!(look.is_none_or(|share| share.pending.is_none()));
            }
        }
    }
}

/// Threads with modes that exclude each other are never inside together; readers can be.
#[test]
fn threads_that_exclude_each_other() {
    let words = words();
    let shares = Shares::over(&words, MEMBERS).unwrap();
    let inside = [AtomicU64::new(0), AtomicU64::new(0)];
    std::thread::scope(|scope| {
        for lease in 0..MEMBERS as u8 {
            let inside = &inside;
            scope.spawn(move || {
                let me = LeaseId { index: lease, incarnation: 4 };
                // Readers deny writing, writers deny everything.
                let is_writer = lease % 2 == 0;
                let modes =
                    if is_writer { Modes { access: 2, denied: 3 } } else { Modes { access: 1, denied: 2 } };
                let mut entered = 0;
                while entered < 4_000 {
                    if shares.enter(me, modes, &|_| Some(4)).is_err() {
                        std::thread::yield_now();
                        continue;
                    }
                    entered += 1;
                    let own = &inside[usize::from(is_writer)];
                    let before = own.fetch_add(1, Ordering::Relaxed);
                    assert!(!is_writer || before == 0, "two writers");
                    assert_eq!(inside[usize::from(!is_writer)].load(Ordering::Relaxed), 0, "both sorts");
                    own.fetch_sub(1, Ordering::Relaxed);
                    shares.leave(me, Modes::NONE);
                }
            });
        }
    });
    assert_eq!(shares.iter(&|_| Some(4)).count(), 0);
}
