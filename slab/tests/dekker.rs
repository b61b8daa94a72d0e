//! Goal: the Dekker pairs of holder bits with the handle word, and with slots, hold: no handle ends while it has a holder, and none is left without one.
//! Method: closers, openers and a stale opener of one handle, each its own member, meet once per round. Miri with many
//! seeds (`MIRIFLAGS="-Zmiri-many-seeds=0..64 -Zmiri-preemption-rate=0.2"`) lets loads see old values where an ordering
//! permits it; loom treats SeqCst as AcqRel and cannot test these pairs. `verify/models/orderings` weakens them one by one.
#![cfg(not(loom))]

mod common;

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use common::{Member, layout, layout_with_slots, member, no_block, slab, words};
use tenure_slab::testing::{Contents, Read as _};
use tenure_slab::{Held, OpenError, Payload, Slab, State, Token};

fn rounds() -> u64 {
    if cfg!(miri) { 3 } else { 3000 }
}

fn create(slab: &Slab<'_>, m: &mut Member, kind: u64) -> Held {
    let payload = kind.to_le_bytes();
    slab.create(&m.acquire, &m.ref_counts, &mut m.cache, kind, Payload::Inline(&payload), |_, _| {}, no_block)
        .unwrap()
}

fn look(slab: &Slab<'_>, held: Held, kind: u64) {
    let (found, contents) = slab.read(held).expect("freed under its holder");
    let Contents::Inline { bytes, len: 8 } = contents else { panic!("{contents:?}") };
    assert_eq!((found, &bytes[..8]), (kind, &kind.to_le_bytes()[..]), "rewritten under its holder");
}

fn open_look_close(slab: &Slab<'_>, m: &Member, token: Token, kind: u64) {
    match slab.open(&m.acquire, &m.ref_counts, token, no_block) {
        Ok(held) => {
            for _ in 0..2 {
                look(slab, held, kind);
                thread::yield_now();
            }
            slab.close(&m.acquire, &m.ref_counts, None, held, no_block).unwrap();
        }
        Err(OpenError::Stale(_)) => {}
        Err(other) => panic!("{other}"),
    }
}

/// The last holder closes while another member opens and a third recycles the entry.
fn closer_against_opener(members: u16, third: u8) {
    let layout = layout(1, members, 36);
    let words = words(&layout);
    let slab = slab(&words, layout);
    let mut owner = member(&slab, 0);
    let opener = member(&slab, 1);
    let third_member = member(&slab, third);
    for kind in 0..rounds() {
        let held = create(&slab, &mut owner, kind);
        let token = held.token(&slab);
        // Shared from the start, so that a second open does not store to the word: the pure Dekker case.
        let again = slab.open(&opener.acquire, &opener.ref_counts, token, no_block).unwrap();
        slab.close(&opener.acquire, &opener.ref_counts, None, again, no_block).unwrap();
        let barrier = Barrier::new(3);
        thread::scope(|scope| {
            scope.spawn(|| {
                barrier.wait();
                look(&slab, held, kind);
                slab.close(&owner.acquire, &owner.ref_counts, Some(&mut owner.cache), held, no_block)
                    .unwrap();
            });
            for m in [&opener, &third_member] {
                let (slab, barrier) = (&slab, &barrier);
                scope.spawn(move || {
                    barrier.wait();
                    open_look_close(slab, m, token, kind);
                });
            }
        });
        let info = slab.inspect(0).unwrap();
        assert_eq!(
            (info.state, info.holders.len()),
            (Some(State::Free), 0),
            "round {kind}: left behind: {info:?}"
        );
    }
    assert!(slab.check(&|_| false).is_clean());
}

/// The other Dekker pair: the last holder closes while another member evicts the handle from its slot. Each leaves the decision to the
/// other one if it sees the other's hold: then the handle would never end.
#[test]
fn dekker_closer_against_an_evictor() {
    let layout = layout_with_slots(1, 2, 36, 1);
    let words = words(&layout);
    let slab = slab(&words, layout);
    let mut owner = member(&slab, 0);
    let evictor = member(&slab, 1);
    for kind in 0..if cfg!(miri) { 40 } else { 3000 } {
        let held = create(&slab, &mut owner, kind);
        slab.put(&owner.acquire, &owner.ref_counts, held, 0).unwrap();
        // Relaxed: it only makes them begin together.
        let begun = AtomicBool::new(false);
        thread::scope(|scope| {
            let (slab, owner, begun) = (&slab, &owner, &begun);
            scope.spawn(move || {
                begun.store(true, Ordering::Relaxed);
                for step in 0..kind % 40 {
                    std::hint::black_box(step);
                }
                slab.close(&owner.acquire, &owner.ref_counts, None, held, no_block).unwrap();
            });
            while !begun.load(Ordering::Relaxed) {
                thread::yield_now();
            }
            slab.evict(&evictor.acquire, &evictor.ref_counts, 0, no_block).unwrap();
        });
        let info = slab.inspect(0).unwrap();
        assert_eq!((info.state, info.holders.len()), (Some(State::Free), 0), "round {kind}: left behind");
    }
    assert!(slab.check(&|_| false).is_clean());
}

/// The Dekker pair alone: a weakened ordering fails here first.
#[test]
fn dekker_closer_against_one_opener() {
    let layout = layout(1, 2, 36);
    let words = words(&layout);
    let slab = slab(&words, layout);
    let mut owner = member(&slab, 0);
    let opener = member(&slab, 1);
    for kind in 0..if cfg!(miri) { 40 } else { 3000 } {
        let held = create(&slab, &mut owner, kind);
        let token = held.token(&slab);
        let again = slab.open(&opener.acquire, &opener.ref_counts, token, no_block).unwrap();
        slab.close(&opener.acquire, &opener.ref_counts, None, again, no_block).unwrap();
        // Relaxed: it only makes them begin together.
        let begun = AtomicBool::new(false);
        thread::scope(|scope| {
            let (slab, owner, begun) = (&slab, &owner, &begun);
            scope.spawn(move || {
                begun.store(true, Ordering::Relaxed);
                // An open has more steps before its pair than a close.
                for step in 0..kind % 40 {
                    std::hint::black_box(step);
                }
                slab.close(&owner.acquire, &owner.ref_counts, None, held, no_block).unwrap();
            });
            while !begun.load(Ordering::Relaxed) {
                thread::yield_now();
            }
            open_look_close(slab, &opener, token, kind);
        });
        assert_eq!(slab.inspect(0).unwrap().state, Some(State::Free), "round {kind}: left behind");
    }
    assert!(slab.check(&|_| false).is_clean());
}

#[test]
fn dekker_closer_against_openers() {
    closer_against_opener(3, 2);
}

#[test]
fn dekker_closer_against_openers_in_several_words() {
    closer_against_opener(256, 255);
}

/// Two threads of one member and one of another: the private close against the open of a sibling thread and of another member.
#[test]
fn dekker_private_close_against_openers() {
    let layout = layout(1, 2, 36);
    let words = words(&layout);
    let slab = slab(&words, layout);
    let mut owner = member(&slab, 0);
    let stranger = member(&slab, 1);
    for kind in 0..rounds() {
        let held = create(&slab, &mut owner, kind);
        let token = held.token(&slab);
        let barrier = Barrier::new(3);
        let Member { acquire, ref_counts, cache } = &mut owner;
        let (acquire, ref_counts) = (&*acquire, &*ref_counts);
        thread::scope(|scope| {
            scope.spawn(|| {
                barrier.wait();
                slab.close(acquire, ref_counts, Some(cache), held, no_block).unwrap();
            });
            scope.spawn(|| {
                barrier.wait();
                if let Ok(held) = slab.open(acquire, ref_counts, token, no_block) {
                    look(&slab, held, kind);
                    slab.close(acquire, ref_counts, None, held, no_block).unwrap();
                }
            });
            scope.spawn(|| {
                barrier.wait();
                open_look_close(&slab, &stranger, token, kind);
            });
        });
        let info = slab.inspect(0).unwrap();
        assert_ne!(info.state, Some(State::Live), "round {kind}: left behind: {info:?}");
        slab.drain(acquire, ref_counts, cache);
        assert_eq!(slab.inspect(0).unwrap().state, Some(State::Free), "round {kind}");
        assert!(slab.check(&|_| false).is_clean());
    }
}

/// All threads open a handle if there is one, else they create one. Without rounds closers and openers meet at any step.
#[test]
fn dekker_everybody_at_once() {
    let layout = layout(1, 3, 36);
    let words = words(&layout);
    let slab = slab(&words, layout);
    let latest = AtomicU64::new(Token::new(slab.space_tag(), 0, 0).unwrap().into());
    thread::scope(|scope| {
        for lease in 0..3 {
            let (slab, latest) = (&slab, &latest);
            scope.spawn(move || {
                let mut m = member(slab, lease);
                for round in 0..if cfg!(miri) { 25 } else { 20_000 } {
                    let token = Token::try_from(latest.load(Ordering::Acquire)).unwrap();
                    // Kind and payload follow from the token, so a reader can tell whether they were stored again.
                    let held = match slab.open(&m.acquire, &m.ref_counts, token, no_block) {
                        Ok(held) => held,
                        // Before the first creation the token is forged.
                        Err(OpenError::Stale(_) | OpenError::Forged { .. }) => {
                            let kind = u64::from(lease) << 32 | round;
                            let payload = Payload::Inline(&kind.to_le_bytes()[..8]);
                            let created = slab.create(
                                &m.acquire,
                                &m.ref_counts,
                                &mut m.cache,
                                kind,
                                payload,
                                |_, _| {},
                                no_block,
                            );
                            let Ok(held) = created else { continue };
                            latest.store(held.token(slab).into(), Ordering::Release);
                            held
                        }
                        Err(other) => panic!("{other}"),
                    };
                    let kind = slab.kind(held).expect("freed under its holder");
                    look(slab, held, kind);
                    look(slab, held, kind);
                    // Mostly the slow path, which is under test.
                    let cache = if round % 4 == 0 { Some(&mut m.cache) } else { None };
                    slab.close(&m.acquire, &m.ref_counts, cache, held, no_block).unwrap();
                    if round % 8 == 0 {
                        slab.drain(&m.acquire, &m.ref_counts, &mut m.cache);
                    }
                }
                slab.drain(&m.acquire, &m.ref_counts, &mut m.cache);
            });
        }
    });
    assert_eq!(slab.inspect(0).unwrap().state, Some(State::Free), "left behind");
    assert!(slab.check(&|_| false).is_clean());
}
