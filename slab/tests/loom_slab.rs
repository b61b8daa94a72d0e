//! Goal: the decisions of one word are right in every interleaving, and the word publishes the payload.
//! Method: loom, two or three threads, one or two handles. Loom treats SeqCst as AcqRel, so the Dekker pair of bits and
//! word is not tested here but in `dekker.rs` under Miri, and in the Promela models.
#![cfg(loom)]

mod common;

use std::sync::Arc;

use common::{SPACE, acquire, layout, words};
use loom::thread;
use tenure_core::sync::Word;
use tenure_slab::testing::{Contents, Read as _};
use tenure_slab::{Cache, Closed, Held, Layout, OpenError, Payload, RefCounts, Slab, State, Token};
use tenure_testkit::explore;

/// Words that threads can share.
#[derive(Clone)]
struct Shared {
    words: Arc<Vec<Word>>,
    layout: Layout,
}

impl Shared {
    fn new(handles: u32) -> Self {
        let layout = layout(handles, 2, 36);
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
}

fn no_block(block: tenure_slab::BlockRef) {
    panic!("unexpected {block:?}");
}

fn create(slab: &Slab<'_>, lease: u8, ref_counts: &RefCounts, cache: &mut Cache, value: u64) -> Held {
    let bytes = value.to_le_bytes();
    slab.create(&acquire(lease), ref_counts, cache, value, Payload::Inline(&bytes), |_, _| {}, no_block)
        .unwrap()
}

fn look(slab: &Slab<'_>, held: Held, value: u64) {
    let (kind, contents) = slab.read(held).expect("ended under its holder");
    let Contents::Inline { bytes, len: 8 } = contents else { panic!("{contents:?}") };
    assert_eq!((kind, &bytes[..8]), (value, &value.to_le_bytes()[..]));
}

/// Opens a handle of value 7, looks at it and closes it, as lease `lease`. `None` if it is over already.
fn open_look_close(slab: &Slab<'_>, lease: u8, ref_counts: &RefCounts, token: Token) -> Option<Closed> {
    match slab.open(&acquire(lease), ref_counts, token, no_block) {
        Ok(held) => {
            look(slab, held, 7);
            Some(slab.close(&acquire(lease), ref_counts, None, held, no_block).unwrap())
        }
        Err(OpenError::Stale(_)) => None,
        Err(other) => panic!("{other}"),
    }
}

/// Explores every interleaving with at most `preemptions` preemptions; all interleavings without a bound.
#[test]
fn loom_private_close_against_a_strangers_open() {
    explore(None, || {
        let shared = Shared::new(1);
        let (slab, mine) = (shared.slab(), shared.ref_counts(0));
        let mut cache = Cache::with_capacity(1);
        let held = create(&slab, 0, &mine, &mut cache, 7);
        let token = held.token(&slab);
        let theirs = shared.clone();
        let opener = thread::spawn(move || {
            let (slab, ref_counts) = (theirs.slab(), theirs.ref_counts(1));
            open_look_close(&slab, 1, &ref_counts, token);
        });
        let closed = slab.close(&acquire(0), &mine, Some(&mut cache), held, no_block).unwrap();
        // A private close kept the entry: it can be used again before the opener has loaded the word.
        if closed == Closed::Ended && !cache.is_empty() {
            let held = create(&slab, 0, &mine, &mut cache, 8);
            look(&slab, held, 8);
            slab.close(&acquire(0), &mine, Some(&mut cache), held, no_block).unwrap();
        }
        opener.join().unwrap();
        slab.drain(&acquire(0), &mine, &mut cache);
        let info = slab.inspect(0).unwrap();
        assert_eq!((info.state, info.holders.len()), (Some(State::Free), 0));
    });
}

#[test]
fn loom_private_close_against_a_siblings_open() {
    explore(None, || {
        let shared = Shared::new(1);
        let (slab, mine) = (shared.slab(), Arc::new(shared.ref_counts(0)));
        let mut cache = Cache::with_capacity(1);
        let held = create(&slab, 0, &mine, &mut cache, 7);
        let token = held.token(&slab);
        let (theirs, ours) = (shared.clone(), mine.clone());
        let sibling = thread::spawn(move || {
            let slab = theirs.slab();
            open_look_close(&slab, 0, &ours, token);
        });
        let closed = slab.close(&acquire(0), &mine, Some(&mut cache), held, no_block).unwrap();
        if closed == Closed::Ended && !cache.is_empty() {
            let held = create(&slab, 0, &mine, &mut cache, 8);
            look(&slab, held, 8);
            assert_eq!(
                slab.close(&acquire(0), &mine, Some(&mut cache), held, no_block),
                Ok(Closed::Ended),
                "a sibling's failed open left a count"
            );
        }
        sibling.join().unwrap();
        slab.drain(&acquire(0), &mine, &mut cache);
        let info = slab.inspect(0).unwrap();
        assert_eq!((info.state, info.holders.len()), (Some(State::Free), 0));
    });
}

#[test]
fn loom_two_counts_of_one_process_close_at_once() {
    explore(None, || {
        let shared = Shared::new(1);
        let (slab, mine) = (shared.slab(), Arc::new(shared.ref_counts(0)));
        let mut cache = Cache::with_capacity(1);
        let held = create(&slab, 0, &mine, &mut cache, 7);
        let again = slab.reopen(&acquire(0), &mine, held).unwrap();
        let (theirs, ours) = (shared.clone(), mine.clone());
        let sibling = thread::spawn(move || {
            let slab = theirs.slab();
            look(&slab, again, 7);
            slab.close(&acquire(0), &ours, None, again, no_block).unwrap()
        });
        look(&slab, held, 7);
        let one = slab.close(&acquire(0), &mine, Some(&mut cache), held, no_block).unwrap();
        let other = sibling.join().unwrap();
        assert!(
            matches!((one, other), (Closed::Counted, Closed::Ended) | (Closed::Ended, Closed::Counted)),
            "{one:?} and {other:?}"
        );
        slab.drain(&acquire(0), &mine, &mut cache);
        assert_eq!(slab.inspect(0).unwrap().state, Some(State::Free));
    });
}

#[test]
fn loom_two_claimers_of_one_entry() {
    explore(None, || {
        let shared = Shared::new(1);
        let claimer = |lease: u8| {
            let shared = shared.clone();
            move || {
                let (slab, ref_counts) = (shared.slab(), shared.ref_counts(lease));
                let mut cache = Cache::with_capacity(1);
                let claimed = slab.claim(&acquire(lease), &ref_counts, &mut cache, no_block).is_ok();
                assert_eq!(claimed, cache.len() == 1);
                claimed
            }
        };
        let other = thread::spawn(claimer(1));
        let one = claimer(0)();
        let other = other.join().unwrap();
        assert!(one != other, "one entry, claimed by {}", if one { "both" } else { "neither" });
        let info = shared.slab().inspect(0).unwrap();
        assert_eq!(info.state, Some(State::Init));
        assert_eq!(info.holders.iter().collect::<Vec<_>>(), [u8::from(other)]);
    });
}

#[test]
fn loom_claim_against_release_loses_no_entry() {
    explore(None, || {
        let shared = Shared::new(1);
        let (slab, mine) = (shared.slab(), shared.ref_counts(0));
        let mut cache = Cache::with_capacity(1);
        let held = create(&slab, 0, &mine, &mut cache, 7);
        let theirs = shared.clone();
        let claimer = thread::spawn(move || {
            let (slab, ref_counts) = (theirs.slab(), theirs.ref_counts(1));
            let mut cache = Cache::with_capacity(1);
            let claimed = slab.claim(&acquire(1), &ref_counts, &mut cache, no_block).is_ok();
            if claimed {
                slab.drain(&acquire(1), &ref_counts, &mut cache);
            }
        });
        slab.close(&acquire(0), &mine, None, held, no_block).unwrap();
        claimer.join().unwrap();
        // One free entry is found, regardless of the hints.
        slab.claim(&acquire(0), &mine, &mut cache, no_block).unwrap();
        assert_eq!(cache.len(), 1);
    });
}

#[test]
fn loom_the_word_publishes_the_payload() {
    explore(None, || {
        let shared = Shared::new(1);
        // The token is known before the handle exists: only the word orders the opener after the creator.
        let token = Token::new(SPACE, 0, 0).unwrap();
        let theirs = shared.clone();
        let opener = thread::spawn(move || {
            let (slab, ref_counts) = (theirs.slab(), theirs.ref_counts(1));
            match slab.open_kind(&acquire(1), &ref_counts, token, 7, no_block) {
                Ok(held) => look(&slab, held, 7),
                Err(OpenError::Forged { .. }) => {}
                Err(other) => panic!("{other}"),
            }
        });
        let (slab, mine) = (shared.slab(), shared.ref_counts(0));
        let mut cache = Cache::with_capacity(1);
        create(&slab, 0, &mine, &mut cache, 7);
        opener.join().unwrap();
    });
}

#[test]
fn loom_private_close_against_a_sibling_and_a_stranger() {
    explore(Some(2), || {
        let shared = Shared::new(1);
        let (slab, mine) = (shared.slab(), Arc::new(shared.ref_counts(0)));
        let mut cache = Cache::with_capacity(1);
        let held = create(&slab, 0, &mine, &mut cache, 7);
        let token = held.token(&slab);
        let opener = |lease: u8, ref_counts: Arc<RefCounts>| {
            let shared = shared.clone();
            move || {
                let slab = shared.slab();
                open_look_close(&slab, lease, &ref_counts, token);
            }
        };
        let sibling = thread::spawn(opener(0, mine.clone()));
        let stranger = thread::spawn(opener(1, Arc::new(shared.ref_counts(1))));
        slab.close(&acquire(0), &mine, Some(&mut cache), held, no_block).unwrap();
        sibling.join().unwrap();
        stranger.join().unwrap();
        assert_ne!(slab.inspect(0).unwrap().state, Some(State::Live));
        slab.drain(&acquire(0), &mine, &mut cache);
        let info = slab.inspect(0).unwrap();
        assert_eq!((info.state, info.holders.len()), (Some(State::Free), 0));
    });
}

/// The count of a creator is not written down: its close without a cache and the first open by a sibling count it both.
#[test]
fn loom_counted_close_of_a_creator_against_a_siblings_open() {
    explore(None, || {
        let shared = Shared::new(1);
        let (slab, mine) = (shared.slab(), Arc::new(shared.ref_counts(0)));
        let mut cache = Cache::with_capacity(1);
        let held = create(&slab, 0, &mine, &mut cache, 7);
        let token = held.token(&slab);
        let (theirs, ours) = (shared.clone(), mine.clone());
        let sibling = thread::spawn(move || {
            let slab = theirs.slab();
            open_look_close(&slab, 0, &ours, token);
        });
        look(&slab, held, 7);
        slab.close(&acquire(0), &mine, None, held, no_block).unwrap();
        sibling.join().unwrap();
        let info = slab.inspect(0).unwrap();
        assert_eq!((info.state, info.generation, info.holders.len()), (Some(State::Free), 1, 0));
    });
}

/// A handle of a stranger, which a sibling opens and closes: a look by token does not take the sibling's bit for that of a creator, whose
/// close would be private and end the handle.
#[test]
fn loom_look_by_token_against_a_siblings_open() {
    explore(None, || {
        let shared = Shared::new(1);
        let (slab, strangers) = (shared.slab(), shared.ref_counts(1));
        let mut cache = Cache::with_capacity(1);
        let created = create(&slab, 1, &strangers, &mut cache, 7);
        let token = created.token(&slab);
        let ours = Arc::new(shared.ref_counts(0));
        let (theirs, siblings) = (shared.clone(), ours.clone());
        let sibling = thread::spawn(move || {
            let slab = theirs.slab();
            let held = slab.open(&acquire(0), &siblings, token, no_block).unwrap();
            // The other thread may have closed this count.
            let _ = slab.close(&acquire(0), &siblings, None, held, no_block);
        });
        if let Ok(held) = slab.held(&ours, token) {
            let mut room = Cache::with_capacity(1);
            let _ = slab.close(&acquire(0), &ours, Some(&mut room), held, no_block);
        }
        look(&slab, created, 7);
        sibling.join().unwrap();
        look(&slab, created, 7);
    });
}

/// The bit of a claim that loses against another process does not look like that of a creator.
#[test]
fn loom_claim_that_loses_against_a_siblings_open() {
    explore(Some(2), || {
        let shared = Shared::new(1);
        let token = Token::new(SPACE, 0, 0).unwrap();
        let ours = Arc::new(shared.ref_counts(0));
        let (stranger, opener) = (shared.clone(), shared.clone());
        let creator = thread::spawn(move || {
            let (slab, theirs) = (stranger.slab(), stranger.ref_counts(1));
            let mut cache = Cache::with_capacity(1);
            let claimed = slab.claim(&acquire(1), &theirs, &mut cache, no_block).is_ok();
            if claimed {
                let held = create(&slab, 1, &theirs, &mut cache, 7);
                slab.close(&acquire(1), &theirs, None, held, no_block).unwrap();
            }
        });
        let siblings = ours.clone();
        let sibling = thread::spawn(move || {
            let slab = opener.slab();
            if let Ok(held) = slab.open(&acquire(0), &siblings, token, no_block) {
                look(&slab, held, 7);
                let closed = slab.close(&acquire(0), &siblings, None, held, no_block).unwrap();
                assert_ne!(closed, Closed::Counted, "a count too many");
            }
        });
        let slab = shared.slab();
        let mut cache = Cache::with_capacity(1);
        if slab.claim(&acquire(0), &ours, &mut cache, no_block).is_ok() {
            slab.drain(&acquire(0), &ours, &mut cache);
        }
        creator.join().unwrap();
        sibling.join().unwrap();
        let info = slab.inspect(0).unwrap();
        assert_eq!((info.state, info.holders.len()), (Some(State::Free), 0));
    });
}

/// A local count publishes the entry to a sibling that opens by it, and by nothing else.
#[test]
fn loom_a_sibling_opens_by_the_local_count() {
    explore(Some(2), || {
        let shared = Shared::new(1);
        let token = Token::new(SPACE, 0, 0).unwrap();
        let ours = Arc::new(shared.ref_counts(0));
        let opener = || {
            let (shared, ours) = (shared.clone(), ours.clone());
            move || {
                let slab = shared.slab();
                match slab.open(&acquire(0), &ours, token, no_block) {
                    Ok(held) => assert_eq!(held.inline_len(), Some(8), "a length that was not published"),
                    Err(OpenError::Forged { .. }) => {}
                    Err(other) => panic!("{other}"),
                }
            }
        };
        let (one, other) = (thread::spawn(opener()), thread::spawn(opener()));
        let (slab, theirs) = (shared.slab(), shared.ref_counts(1));
        let mut cache = Cache::with_capacity(1);
        create(&slab, 1, &theirs, &mut cache, 7);
        one.join().unwrap();
        other.join().unwrap();
    });
}
