//! Goal: two members that work on one slot or one handle at once, in every interleaving: no handle ends while a slot holds it, no two slots
//! hold one handle, and each claim is one member's.
//! Method: loom. It treats SeqCst as AcqRel, so the Dekker pair of slot and holder bits is not tested here but in `dekker.rs` under Miri.
#![cfg(loom)]

mod common;
use std::sync::Arc;

use common::{SPACE, acquire, layout_with_slots, no_block, words};
use loom::thread;
use tenure_core::sync::Word;
use tenure_slab::testing::{Contents, Read as _};
use tenure_slab::{
    Cache, Claimed, Held, Layout, Payload, Place, PutError, RefCounts, Slab, SlotError, State, Token,
};
use tenure_testkit::explore;

/// Words that threads can share.
#[derive(Clone)]
struct Shared {
    words: Arc<Vec<Word>>,
    layout: Layout,
}

impl Shared {
    fn new(handles: u32, slots: u32) -> Self {
        let layout = layout_with_slots(handles, 2, 36, slots);
        let shared = Self { words: Arc::new(words(&layout)), layout };
        shared.slab().init();
        shared.slab().extend(1);
        shared
    }

    fn slab(&self) -> Slab<'_> {
        Slab::new(&self.words, self.layout, SPACE).unwrap()
    }

    fn ref_counts(&self, lease: u8) -> RefCounts {
        RefCounts::new(&self.layout, lease).unwrap()
    }

    /// What is left in the end: the slots, by token, and the state of handle 0.
    fn end(&self) -> (Vec<Option<Token>>, Option<State>) {
        let slab = self.slab();
        let report = slab.check(&|_| true);
        assert!(report.is_clean(), "{report:?}");
        let kept = (0..slab.slots()).map(|slot| slab.slot(slot).map(|info| info.token)).collect();
        (kept, slab.inspect(0).unwrap().state)
    }
}

fn create(slab: &Slab<'_>, lease: u8, ref_counts: &RefCounts, value: u64) -> Held {
    let (bytes, mut cache) = (value.to_le_bytes(), Cache::with_capacity(1));
    slab.create(&acquire(lease), ref_counts, &mut cache, value, Payload::Inline(&bytes), |_, _| {}, no_block)
        .unwrap()
}

fn look(slab: &Slab<'_>, held: Held, value: u64) {
    let (kind, contents) = slab.read(held).expect("ended under its holder");
    let Contents::Inline { bytes, len: 8 } = contents else { panic!("{contents:?}") };
    assert_eq!((kind, &bytes[..8]), (value, &value.to_le_bytes()[..]));
}

fn close(slab: &Slab<'_>, lease: u8, ref_counts: &RefCounts, held: Held) {
    slab.close(&acquire(lease), ref_counts, None, held, no_block).unwrap();
}

/// Takes what is in slot 0, and looks at it.
fn take(slab: &Slab<'_>, lease: u8, ref_counts: &RefCounts) -> Option<Held> {
    match slab.take(&acquire(lease), ref_counts, 0, None, no_block) {
        Ok(held) => {
            look(slab, held, 7);
            Some(held)
        }
        Err(SlotError::Empty { .. } | SlotError::Claimed { .. }) => None,
        Err(other) => panic!("{other}"),
    }
}

fn claim(slab: &Slab<'_>, lease: u8, ref_counts: &RefCounts) -> Option<Claimed> {
    match slab.claim_slot(&acquire(lease), ref_counts, 0, None, no_block) {
        Ok(claimed) => {
            look(slab, claimed.held(), 7);
            Some(claimed)
        }
        Err(SlotError::Empty { .. } | SlotError::Claimed { .. }) => None,
        Err(other) => panic!("{other}"),
    }
}

/// The putter closes right after it has put; the other holder decides.
#[test]
fn loom_put_and_close_against_a_close() {
    explore(None, || {
        let shared = Shared::new(1, 1);
        let (slab, mine) = (shared.slab(), shared.ref_counts(0));
        let held = create(&slab, 0, &mine, 7);
        let token = held.token(&slab);
        let theirs = shared.ref_counts(1);
        let opened = slab.open(&acquire(1), &theirs, token, no_block).unwrap();
        let other = shared.clone();
        let closer = thread::spawn(move || close(&other.slab(), 1, &theirs, opened));
        slab.put(&acquire(0), &mine, held, 0).unwrap();
        close(&slab, 0, &mine, held);
        closer.join().unwrap();
        assert_eq!(shared.end(), (vec![Some(token)], Some(State::Live)));
    });
}

/// A creator that nobody else knows puts and closes; a taker sees the handle in the slot and knows it from nowhere else.
#[test]
fn loom_the_slot_publishes_the_handle() {
    explore(None, || {
        let shared = Shared::new(1, 1);
        let other = shared.clone();
        let taker = thread::spawn(move || {
            let (slab, theirs) = (other.slab(), other.ref_counts(1));
            let taken = take(&slab, 1, &theirs);
            if let Some(held) = taken {
                close(&slab, 1, &theirs, held);
            }
            taken.is_some()
        });
        let (slab, mine) = (shared.slab(), shared.ref_counts(0));
        let held = create(&slab, 0, &mine, 7);
        slab.put(&acquire(0), &mine, held, 0).unwrap();
        close(&slab, 0, &mine, held);
        let end = if taker.join().unwrap() {
            (vec![None], Some(State::Free))
        } else {
            (vec![Some(held.token(&slab))], Some(State::Live))
        };
        assert_eq!(shared.end(), end);
    });
}

/// Two holders put one handle into two slots: at most one is told that it did, and that slot holds it.
#[test]
fn loom_two_puts_of_one_handle() {
    explore(None, || {
        let shared = Shared::new(1, 2);
        let (slab, mine) = (shared.slab(), shared.ref_counts(0));
        let held = create(&slab, 0, &mine, 7);
        let token = held.token(&slab);
        let theirs = shared.ref_counts(1);
        let opened = slab.open(&acquire(1), &theirs, token, no_block).unwrap();
        let other = shared.clone();
        let putter = thread::spawn(move || other.slab().put(&acquire(1), &theirs, opened, 1));
        let puts = [slab.put(&acquire(0), &mine, held, 0), putter.join().unwrap()];
        let kept = match puts {
            [Ok(()), Err(PutError::Already { slot: 0 } | PutError::InTransit { .. })] => {
                vec![Some(token), None]
            }
            [Err(PutError::Already { slot: 1 } | PutError::InTransit { .. }), Ok(())] => {
                vec![None, Some(token)]
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(shared.end(), (kept, Some(State::Live)));
    });
}

#[test]
fn loom_two_puts_into_one_slot() {
    explore(None, || {
        let shared = Shared::new(2, 1);
        let (slab, mine, theirs) = (shared.slab(), shared.ref_counts(0), shared.ref_counts(1));
        let (one, two) = (create(&slab, 0, &mine, 7), create(&slab, 1, &theirs, 8));
        let other = shared.clone();
        let putter = thread::spawn(move || {
            let slab = other.slab();
            let put = slab.put(&acquire(1), &theirs, two, 0);
            close(&slab, 1, &theirs, two);
            put
        });
        let put = slab.put(&acquire(0), &mine, one, 0);
        close(&slab, 0, &mine, one);
        let kept = match (put, putter.join().unwrap()) {
            (Ok(()), Err(PutError::Full { slot: 0 })) => one,
            (Err(PutError::Full { slot: 0 }), Ok(())) => two,
            other => panic!("{other:?}"),
        };
        let (slots, _) = shared.end();
        assert_eq!(slots, [Some(kept.token(&slab))]);
        assert_eq!(slab.counts().live, 1, "the other one ended");
    });
}

#[test]
fn loom_two_takes_of_one_slot() {
    explore(None, || {
        let shared = Shared::new(1, 1);
        let (slab, mine) = (shared.slab(), shared.ref_counts(0));
        let held = create(&slab, 0, &mine, 7);
        slab.put(&acquire(0), &mine, held, 0).unwrap();
        let other = shared.clone();
        let taker = thread::spawn(move || {
            let (slab, theirs) = (other.slab(), other.ref_counts(1));
            let taken = take(&slab, 1, &theirs);
            taken.is_some()
        });
        let taken = take(&slab, 0, &mine);
        assert_ne!(taken.is_some(), taker.join().unwrap(), "one handle, taken by both or neither");
        look(&slab, held, 7);
        assert_eq!(shared.end(), (vec![None], Some(State::Live)));
    });
}

/// A job is claimed by one of two members at a time, and acked once.
#[test]
fn loom_two_claims_of_one_slot() {
    explore(None, || {
        let shared = Shared::new(1, 1);
        let (slab, mine) = (shared.slab(), shared.ref_counts(0));
        let held = create(&slab, 0, &mine, 7);
        slab.put(&acquire(0), &mine, held, 0).unwrap();
        let work = |shared: &Shared, lease: u8, ref_counts: &RefCounts| {
            let slab = shared.slab();
            let claimed = claim(&slab, lease, ref_counts);
            if let Some(claimed) = claimed {
                assert_eq!(slab.slot(0).unwrap().claimed_by, Some(lease), "claimed by another one");
                assert!(slab.ack(&acquire(lease), claimed));
                close(&slab, lease, ref_counts, claimed.held());
            }
            claimed.is_some()
        };
        let (other, theirs) = (shared.clone(), shared.ref_counts(1));
        let worker = thread::spawn(move || work(&other, 1, &theirs));
        let done = work(&shared, 0, &mine);
        assert_ne!(done, worker.join().unwrap(), "done twice, or by nobody");
        look(&slab, held, 7);
        assert_eq!(shared.end(), (vec![None], Some(State::Live)));
    });
}

/// A taker puts the handle elsewhere while the putter may still be about to settle.
#[test]
fn loom_take_and_put_against_the_putter() {
    explore(None, || {
        let shared = Shared::new(1, 2);
        let (slab, mine) = (shared.slab(), shared.ref_counts(0));
        let held = create(&slab, 0, &mine, 7);
        let token = held.token(&slab);
        let other = shared.clone();
        let mover = thread::spawn(move || {
            let (slab, theirs) = (other.slab(), other.ref_counts(1));
            let Some(held) = take(&slab, 1, &theirs) else { return false };
            // The former putter does not put it again, so this one is never refused.
            slab.put(&acquire(1), &theirs, held, 1).unwrap();
            close(&slab, 1, &theirs, held);
            true
        });
        slab.put(&acquire(0), &mine, held, 0).unwrap();
        let moved = mover.join().unwrap();
        close(&slab, 0, &mine, held);
        let kept = if moved { vec![None, Some(token)] } else { vec![Some(token), None] };
        assert_eq!(shared.end(), (kept, Some(State::Live)));
    });
}

/// One member looks at what is in the slot, without a hold; the other empties the slot, and uses the entry again for a handle of the same kind.
#[test]
fn loom_a_look_is_at_one_handle() {
    explore(None, || {
        let shared = Shared::new(1, 1);
        let (slab, mine) = (shared.slab(), shared.ref_counts(0));
        let create_as = |value: u64| {
            let (bytes, mut cache) = (value.to_le_bytes(), Cache::with_capacity(1));
            let payload = Payload::Inline(&bytes);
            slab.create(&acquire(0), &mine, &mut cache, 7, payload, |_, _| {}, no_block).unwrap()
        };
        let held = create_as(1);
        slab.put(&acquire(0), &mine, held, 0).unwrap();
        close(&slab, 0, &mine, held);
        let other = shared.clone();
        let reader = thread::spawn(move || {
            let slab = other.slab();
            let Some(look) = slab.look(0, 7).unwrap() else { return };
            let Place::Inline(words, 8) = look.place() else { panic!("{:?}", look.place()) };
            // Relaxed: as the map reads.
            let value = words[0].load(std::sync::atomic::Ordering::Relaxed);
            if look.is_still() {
                assert_eq!(value, 1, "of the next handle");
            }
        });
        assert!(slab.evict_exactly(&acquire(0), &mine, 0, held.token(&slab), no_block));
        let next = create_as(2);
        reader.join().unwrap();
        close(&slab, 0, &mine, next);
        assert_eq!(shared.end().0, [None]);
    });
}

/// Two members replace what is in a slot, each only what it has seen there: one of them does.
#[test]
fn loom_two_replacements_of_one_handle() {
    explore(None, || {
        let shared = Shared::new(3, 1);
        let (slab, mine) = (shared.slab(), shared.ref_counts(0));
        let first = create(&slab, 0, &mine, 7);
        slab.put(&acquire(0), &mine, first, 0).unwrap();
        close(&slab, 0, &mine, first);
        let expected = Some(first.token(&slab));
        let replace = move |shared: &Shared, lease: u8, ref_counts: &RefCounts| {
            let slab = shared.slab();
            let held = create(&slab, lease, ref_counts, 8);
            let mut cache = Cache::with_capacity(1);
            let put =
                slab.replace_exactly(&acquire(lease), ref_counts, held, 0, expected, &mut cache, no_block);
            slab.drain(&acquire(lease), ref_counts, &mut cache);
            close(&slab, lease, ref_counts, held);
            assert!(matches!(put, Ok(()) | Err(PutError::Full { slot: 0 })), "{put:?}");
            put.is_ok().then(|| held.token(&slab))
        };
        let (other, theirs) = (shared.clone(), shared.ref_counts(1));
        let replacer = thread::spawn(move || replace(&other, 1, &theirs));
        let done = [replace(&shared, 0, &mine), replacer.join().unwrap()];
        let kept = match done {
            [Some(token), None] | [None, Some(token)] => token,
            other => panic!("{other:?}"),
        };
        assert_eq!(shared.end().0, [Some(kept)]);
        assert_eq!(slab.counts().live, 1, "the others ended");
    });
}
