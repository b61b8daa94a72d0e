//! Goal: corrupted words and lost hints cost handles or time, but never cause a crash or a hang [A8].
//! Method: random operations, and random words overwritten in between; any result is accepted, as long as the call returns.
#![cfg(not(loom))]

mod common;

use std::sync::atomic::Ordering;

use common::{layout, layout_with_slots, member, recovery, slab, words};
use proptest::prelude::*;
use tenure_slab::testing::{Contents, Read as _};
use tenure_slab::{INLINE_BYTES, Payload, Token};

#[test]
fn regress_lost_hints_are_found() {
    for handles in [1, 64, 70] {
        let layout = layout(handles, 2, 36);
        let words = words(&layout);
        let slab = slab(&words, layout);
        // All hints, which lie after the control line, say "taken".
        for word in &words[8..8 + layout.groups() as usize] {
            word.store(u64::MAX, Ordering::Relaxed);
        }
        assert_eq!(slab.counts().lost_hints, handles);
        let mut m = member(&slab, 0);
        for _ in 0..handles {
            let payload = Payload::Inline(b"");
            let nothing = common::no_block;
            slab.create(&m.acquire, &m.ref_counts, &mut m.cache, 1, payload, |_, _| {}, nothing).unwrap();
        }
        assert!(slab.claim(&m.acquire, &m.ref_counts, &mut m.cache, common::no_block).is_err());
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 2 } else { 512 }, failure_persistence: None, ..ProptestConfig::default()
    })]

    #[test]
    fn corrupted_words_neither_crash_nor_hang(
        members in prop_oneof![Just(3u16), Just(200)],
        steps in prop::collection::vec(
            (0..13u8, 0..2u8, any::<usize>(), prop_oneof![any::<u64>(), 0..5u64, Just(u64::MAX)]),
            if cfg!(miri) { 10..20 } else { 50..300 },
        ),
    ) {
        let layout = layout_with_slots(20, members, 8, 3);
        let words = words(&layout);
        let slab = slab(&words, layout);
        let mut actors = [member(&slab, 0), member(&slab, 1)];
        let janitor = member(&slab, 2);
        let mut held = [Vec::new(), Vec::new()];
        for (what, who, pick, value) in steps {
            let m = &mut actors[usize::from(who)];
            let held = &mut held[usize::from(who)];
            let nothing = |_| {};
            match what {
                0..3 => {
                    let payload =
                        if pick % 2 == 0 { Payload::Inline(b"12345") } else { Payload::Block { offset: 3, len: 4, label: None } };
                    let made =
                        slab.create(&m.acquire, &m.ref_counts, &mut m.cache, value, payload, |_, _| {}, nothing);
                    held.extend(made);
                }
                3 => {
                    let token = Token::new(slab.space_tag(), value % 256, pick as u32 % 20).unwrap();
                    held.extend(slab.open(&m.acquire, &m.ref_counts, token, nothing));
                }
                4 => {
                    if let Some(h) = held.get(pick % held.len().max(1)) {
                        if let Ok((_, Contents::Inline { len, .. })) = slab.read(*h) {
                            prop_assert!(len <= INLINE_BYTES);
                        }
                        let _ = slab.kind(*h);
                    }
                }
                5 => {
                    if !held.is_empty() {
                        let h = held.swap_remove(pick % held.len());
                        let cache = (value % 2 == 0).then_some(&mut m.cache);
                        let _ = slab.close(&m.acquire, &m.ref_counts, cache, h, nothing);
                    }
                }
                6 if value % 8 == 0 => {
                    slab.recover(&janitor.ref_counts, &recovery(who, 2), |_| false, |_, _| {}, nothing);
                    *m = member(&slab, who);
                    held.clear();
                }
                7 => slab.drain(&m.acquire, &m.ref_counts, &mut m.cache),
                9 => {
                    if let Some(h) = held.get(pick % held.len().max(1)) {
                        let _ = slab.replace(&m.acquire, &m.ref_counts, *h, value as u32 % 4, nothing);
                    }
                }
                10 => held.extend(slab.take(&m.acquire, &m.ref_counts, value as u32 % 4, None, nothing)),
                11 => {
                    let _ = slab.evict(&m.acquire, &m.ref_counts, value as u32 % 4, nothing);
                }
                12 => {
                    let claimed = slab.claim_slot(&m.acquire, &m.ref_counts, value as u32 % 4, None, nothing);
                    if let Ok(claimed) = claimed && pick % 3 > 0 {
                        let _ = if pick % 3 == 1 { slab.ack(&m.acquire, claimed) } else { slab.give_back(&m.acquire, claimed) };
                        held.push(claimed.held());
                    }
                }
                _ => words[pick % words.len()].store(value, Ordering::Relaxed),
            }
            let _ = slab.check(&|_| true);
        }
    }
}
