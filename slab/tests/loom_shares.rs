//! Goal: of concurrent requests that exclude each other exactly one enters, in every interleaving, and others decide the request of a
//! stopped lease. Method: loom, two or three threads, each a lease. Fences order the pair of PENDING and scan, and loom treats fences
//! exactly.
#![cfg(loom)]

use std::sync::Arc;

use loom::thread;
use tenure_core::LeaseId;
use tenure_core::sync::{AtomicU64, Ordering, Word};
use tenure_slab::{InTheWay, Modes, Shares};
use tenure_testkit::explore;

/// Modes that exclude themselves: write access that denies write access.
const EXCLUSIVE: Modes = Modes { access: 2, denied: 2 };
const READ: Modes = Modes { access: 1, denied: 0 };

fn words(members: u16) -> Arc<Vec<Word>> {
    Arc::new((0..Shares::words(members)).map(|_| Word::new(0)).collect())
}

fn enter(words: &[Word], lease: u8, modes: Modes) -> Result<(), InTheWay> {
    let shares = Shares::over(words, (words.len() / 2) as u16).unwrap();
    shares.enter(LeaseId { index: lease, incarnation: 1 }, modes, &|_| Some(1))
}

fn leave(words: &[Word], lease: u8) {
    let shares = Shares::over(words, (words.len() / 2) as u16).unwrap();
    shares.leave(LeaseId { index: lease, incarnation: 1 }, Modes::NONE);
}

fn entered_of(all: &[Modes], preemptions: Option<usize>, expected: u64) {
    let all = all.to_vec();
    explore(preemptions, move || {
        let words = words(all.len() as u16);
        let others: Vec<_> = all[1..]
            .iter()
            .enumerate()
            .map(|(at, modes)| {
                let (words, modes) = (words.clone(), *modes);
                thread::spawn(move || u64::from(enter(&words, at as u8 + 1, modes).is_ok()))
            })
            .collect();
        let mine = u64::from(enter(&words, 0, all[0]).is_ok());
        let entered: u64 = others.into_iter().map(|other| other.join().unwrap()).sum();
        assert_eq!(mine + entered, expected, "entered");
    });
}

#[test]
fn loom_one_of_two_enters() {
    entered_of(&[EXCLUSIVE; 2], Some(5), 1);
}

#[test]
fn loom_one_of_three_enters() {
    entered_of(&[EXCLUSIVE; 3], Some(2), 1);
}

#[test]
fn loom_both_that_agree_enter() {
    entered_of(&[READ; 2], None, 2);
}

/// A lease that is inside sees all stores of the leases that were inside before, and no store of others.
#[test]
fn loom_inside_one_is_alone() {
    explore(Some(4), || {
        let words = words(2);
        let inside = Arc::new(AtomicU64::new(0));
        let visit = |words: &[Word], inside: &AtomicU64, lease| {
            if enter(words, lease, EXCLUSIVE).is_ok() {
                // Relaxed: the modes words order the two.
                assert_eq!(inside.load(Ordering::Relaxed), 0, "somebody is inside");
                inside.store(1, Ordering::Relaxed);
                inside.store(0, Ordering::Relaxed);
                leave(words, lease);
            }
        };
        let other = {
            let (words, inside) = (words.clone(), inside.clone());
            thread::spawn(move || visit(&words, &inside, 1))
        };
        visit(&words, &inside, 0);
        other.join().unwrap();
    });
}

/// Lease 0 was stopped right after it stored its request. Two others decide the request, and one of them leaves again.
#[test]
fn loom_a_stopped_one_is_decided() {
    explore(Some(3), || {
        let words = words(3);
        // PENDING, asked: EXCLUSIVE, first ticket; the incarnation beside it.
        let asked = 0b010_010 << 6 | 1 << 12 | 1 << 22;
        words[0].store(asked, Ordering::Relaxed);
        words[1].store(1, Ordering::Relaxed);
        let other = {
            let words = words.clone();
            thread::spawn(move || enter(&words, 2, EXCLUSIVE).is_ok())
        };
        let mine = enter(&words, 1, EXCLUSIVE).is_ok();
        assert!(!mine && !other.join().unwrap(), "entered though the lowest comes first");
        assert_eq!(words[0].load(Ordering::Relaxed), 0b010_010 | 1 << 22, "the stopped one");
    });
}
