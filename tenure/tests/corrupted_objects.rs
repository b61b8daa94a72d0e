//! Corrupted mutexes, events and semaphores are an error or a finding of `check`, never a crash or a hang.
//!
//! Method: as in `corrupted.rs`; mostly the entries of the objects are overwritten. Then all operations are called with
//! short timeouts; any answer is accepted.

#![cfg(all(feature = "objects", feature = "typed"))]

mod hostile;

use hostile::objects::{MOMENT, use_all};
use hostile::{Bytes, Corrupt};
use proptest::prelude::*;
use tenure::{Event, Member, Mutex, Reset, Semaphore, Space, Waitable, wait_all, wait_any};

fn wait_for_all(things: &[&dyn Waitable]) {
    let _ = (wait_any(things, MOMENT), wait_all(things, MOMENT));
}

/// Number of overwritten words: entries of handles, and one line before them.
const WORDS: u64 = 8 * 14;

/// Positions are relative to the first entry.
fn corrupts() -> impl Strategy<Value = Vec<Corrupt>> {
    let at = || 0..WORDS;
    let one = prop_oneof![
        (at(), any::<u64>()).prop_map(|(at, word)| Corrupt::Noise { at, word }),
        (at(), at()).prop_map(|(from, to)| Corrupt::Copy { from, to }),
        (at(), 0..64u8).prop_map(|(at, bit)| Corrupt::Flip { at, bit }),
        (at(), any::<u8>()).prop_map(|(at, value)| Corrupt::Small { at, value }),
    ];
    proptest::collection::vec(one, 1..12)
}

fn space() -> Space {
    Space::options().members(4).handles(64).unit(1 << 10).scratch(16 << 10).monitor(false).memfd().unwrap()
}

/// The position of the entries in words: found by the value that the payload of a handle leaves there.
fn entries(space: &Space, me: &Member) -> u64 {
    let mark = 0x5ca1_ab1e_0dd5_eed5_u64;
    let handle = me.create_raw(tenure::Kind::raw(1), &mark.to_le_bytes()).unwrap();
    let mut image = vec![0; space.bytes() as usize];
    let file = std::fs::File::from(space.fd().unwrap().try_clone_to_owned().unwrap());
    std::os::unix::fs::FileExt::read_exact_at(&file, &mut image, 0).unwrap();
    let at = image.chunks_exact(8).position(|word| word == mark.to_le_bytes()).unwrap() as u64;
    drop(handle);
    at - 12
}

fn moved(one: Corrupt, by: u64) -> Corrupt {
    match one {
        Corrupt::Noise { at, word } => Corrupt::Noise { at: at + by, word },
        Corrupt::Copy { from, to } => Corrupt::Copy { from: from + by, to: to + by },
        Corrupt::Flip { at, bit } => Corrupt::Flip { at: at + by, bit },
        Corrupt::Small { at, value } => Corrupt::Small { at: at + by, value },
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn corrupted_while_members_use_them(rounds in proptest::collection::vec(corrupts(), 1..5)) {
        let space = space();
        let bytes = Bytes::of(&space);
        let (me, other) = (space.join().unwrap(), space.join().unwrap());
        let base = entries(&space, &me);
        let (mutex, twice) = (Mutex::create(&me).unwrap(), Mutex::create_recursive(&me).unwrap());
        let (manual, auto) = (
            Event::create(&me, Reset::Manual, false).unwrap(),
            Event::create(&me, Reset::Auto, true).unwrap(),
        );
        let semaphore = Semaphore::create(&me, 1, 3).unwrap();
        let tokens = [mutex.token(), twice.token(), manual.token(), auto.token(), semaphore.token()];
        let theirs = Mutex::open(&other, mutex.token()).unwrap();
        let _ = theirs.acquire(MOMENT);
        for round in rounds {
            for one in round {
                bytes.corrupt(&moved(one, base));
            }
            use_all(&me, &tokens);
            use_all(&other, &tokens);
            let things: [&dyn Waitable; 5] = [&manual, &mutex, &semaphore, &twice, &auto];
            wait_for_all(&things);
            let _ = (manual.set(), auto.set(), semaphore.release(1), mutex.unlock(), twice.unlock(), theirs.unlock());
            hostile::look(&space);
            let _ = me.recover();
        }
        drop((mutex, twice, manual, auto, semaphore, theirs));
        let _ = (me.leave(), other.leave());
        hostile::look(&space);
    }
}
