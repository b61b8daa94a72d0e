//! A corrupted segment is an error or a finding of `check`, never a crash, a hang or an access outside of it.
//!
//! Method: members work in a memfd space while random words of it, header included, are overwritten through the file:
//! with noise, with words copied from elsewhere in the segment (which look valid), and with single flipped bits. Then
//! every operation is called. Any answer is accepted; only a missing one is an error.
#![cfg(all(feature = "objects", feature = "typed"))]

mod hostile;

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;

use hostile::{Bytes, Corrupt, KIND, everything};
use proptest::prelude::*;
use tenure::Space;

/// Positions in words; reduced to the segment, and mostly near its start, where the words of the protocol are.
fn corrupts() -> impl Strategy<Value = Vec<Corrupt>> {
    let at = || prop_oneof![0..64u64, 0..1024u64, 0..(1u64 << 20)];
    let one = prop_oneof![
        (at(), any::<u64>()).prop_map(|(at, word)| Corrupt::Noise { at, word }),
        (at(), at()).prop_map(|(from, to)| Corrupt::Copy { from, to }),
        (at(), 0..64u8).prop_map(|(at, bit)| Corrupt::Flip { at, bit }),
        (at(), any::<u8>()).prop_map(|(at, value)| Corrupt::Small { at, value }),
    ];
    proptest::collection::vec(one, 1..60)
}

/// Noise, small numbers, and words that look like those of files: requests, refusals, claims.
fn strange_word() -> impl Strategy<Value = u64> {
    prop_oneof![
        any::<u64>(),
        0..9u64,
        (0..1u64 << 24).prop_map(|word| word | 1 << 22),
        (0..3u64, 0..64u64).prop_map(|(incarnation, number)| incarnation << 32 | number),
    ]
}

fn raw(space: &Space) -> File {
    let path = format!("/proc/self/fd/{}", space.fd().unwrap().as_raw_fd());
    File::options().read(true).write(true).open(path).unwrap()
}

/// The position of the payload that begins with the device and inode of `file`.
fn payload_of(space: &Space, file: &File) -> u64 {
    use std::os::unix::fs::MetadataExt;

    let metadata = file.metadata().unwrap();
    let wanted = [metadata.dev().to_le_bytes(), metadata.ino().to_le_bytes()].concat();
    let mut image = vec![0; space.bytes() as usize];
    raw(space).read_exact_at(&mut image, 0).unwrap();
    let found = (0..image.len()).step_by(8).find(|at| image[*at..].starts_with(&wanted));
    found.expect("a payload that begins with device and inode") as u64
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn corrupted_while_members_work(corrupts in corrupts(), more in corrupts(), large: bool) {
        let options = Space::options().members(4).handles(128).unit(4 << 10);
        let space = options.scratch(if large { 8 << 20 } else { 200 << 10 }).memfd().unwrap();
        let bytes = Bytes::of(&space);
        let (me, other) = (space.join().unwrap(), space.join().unwrap());
        let kept: Vec<_> =
            [8, 32, 33, 900].iter().filter_map(|len| other.create_raw(KIND, &vec![1; *len]).ok()).collect();
        let _typed = other.create(&7u64).unwrap();
        let block = other.alloc(std::alloc::Layout::new::<[u8; 100]>()).unwrap();
        let _pinned = other.alloc(std::alloc::Layout::new::<[u8; 50]>()).unwrap().pin().unwrap();
        let tokens: Vec<_> = kept.iter().map(tenure::Handle::token).chain([_typed.token()]).collect();

        corrupts.iter().for_each(|one| bytes.corrupt(one));
        everything(&space, &me, &tokens, &[]);
        more.iter().for_each(|one| bytes.corrupt(one));
        everything(&space, &me, &tokens, &[]);
        // A new process joins, if that is possible.
        let again = hostile::again(&space);
        if let Ok(again) = again
            && let Ok(late) = again.join()
        {
            everything(&again, &late, &tokens, &[]);
            let _ = late.leave();
        }
        drop((block, kept));
        let _ = (me.leave(), other.leave());
        let _ = space.check();
    }

    /// The words of a descriptor and of the table of a file, which their holders change, are overwritten with any
    /// value.
    #[test]
    fn words_of_files(corrupts in proptest::collection::vec((any::<bool>(), 0..12usize, strange_word()), 1..8)) {
        use tenure::{Access, Descriptor, FileShare, Sharing, testing::Way};

        let space = Space::options().members(4).handles(64).unit(4 << 10).scratch(200 << 10).memfd().unwrap();
        let (me, other) = (space.join().unwrap(), space.join().unwrap());
        let file = tempfile::tempfile().unwrap();
        let passed = tempfile::tempfile().unwrap();
        let enter = |member, access, sharing| FileShare::enter(member, &file, access, sharing);
        let held = Descriptor::create(&other, passed.try_clone().unwrap()).unwrap();
        let entered = enter(&other, Access::READ, Sharing::ALL).unwrap();
        let mine = enter(&me, Access::NONE, Sharing::ALL).unwrap();
        let places = [payload_of(&space, &passed), payload_of(&space, &file)];

        let bytes = raw(&space);
        for (is_table, word, value) in corrupts {
            bytes.write_all_at(&value.to_le_bytes(), places[usize::from(is_table)] + 8 * word as u64).unwrap();
            let _ = tenure::testing::open_by(&me, held.token(), Way::Direct);
            let _ = (enter(&me, Access::READ, Sharing::READ), enter(&other, Access::WRITE, Sharing::NONE));
            let _ = (mine.everybody(), entered.everybody(), space.check(), space.check_quiet());
        }
        drop((held, entered, mine));
        let _ = (me.leave(), other.leave());
        let _ = space.check();
    }

    #[test]
    fn scripts_on_what_the_dead_left(input in proptest::collection::vec(any::<u8>(), 0..400)) {
        hostile::before_attaching(&input);
    }

    #[test]
    fn scripts_while_members_work(input in proptest::collection::vec(any::<u8>(), 0..400)) {
        hostile::while_members_work(&input);
    }
}

/// An input that made the fuzzer fail once, and a part of its collected inputs: names begin with the target's name.
#[test]
fn regress_inputs_of_the_fuzz_targets() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../verify/fuzz/inputs");
    let mut ran = 0;
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let input = std::fs::read(&path).unwrap();
        match path.file_name().unwrap().to_str().unwrap() {
            name if name.starts_with("before_attaching") => hostile::before_attaching(&input),
            name if name.starts_with("while_members_work") => hostile::while_members_work(&input),
            name => panic!("{name}: expected the name of a target in front"),
        }
        ran += 1;
    }
    assert!(ran > 0, "expected inputs in {directory}");
}

/// Corrupts every word of a name, at any position: all members go on; `check` finds corrupted words of the table.
#[test]
fn every_word_of_a_name() {
    let space = Space::options()
        .members(4)
        .handles(128)
        .unit(4 << 10)
        .scratch(200 << 10)
        .monitor(false)
        .memfd()
        .unwrap();
    let bytes = Bytes::of(&space);
    let (me, other) = (space.join().unwrap(), space.join().unwrap());
    let before = bytes.image();
    let named = other.create_raw_named(hostile::NAMES[0], KIND, &[2; 40]).unwrap();
    let changed: Vec<u64> = bytes
        .image()
        .iter()
        .zip(&before)
        .enumerate()
        .filter(|(_, (a, b))| a != b)
        .map(|(at, _)| at as u64)
        .collect();
    // Handle, block, unit, chunk, slot, pending slot, the name itself.
    assert!(changed.len() >= 12, "{changed:?}");
    let (mut tried, mut found) = (0, 0);
    for at in changed {
        let word = bytes.image()[at as usize];
        let flipped = (0..64).map(|bit| word ^ 1 << bit);
        for noise in [0, u64::MAX, 0x5555_5555_5555_5555].into_iter().chain(flipped) {
            bytes.corrupt(&Corrupt::Noise { at, word: noise });
            found += u32::from(!space.check_quiet().is_clean());
            hostile::names(&space, &me);
            hostile::names(&space, &other);
            bytes.corrupt(&Corrupt::Noise { at, word });
            tried += 1;
        }
    }
    println!("{found} of {tried} found");
    assert!(found > tried / 2, "{found} of {tried} found");
    drop(named);
}

/// Corrupts every word that a handle with a block changed, while it is held: what `get` returns is an error, or aligned and in the region.
#[test]
fn every_word_of_a_held_handle() {
    let space = Space::options().members(4).handles(128).unit(4 << 10).scratch(200 << 10).monitor(false);
    let space = space.memfd().unwrap();
    let bytes = Bytes::of(&space);
    let me = space.join().unwrap();
    let before = bytes.image();
    let raw = me.create_raw(KIND, &[2; 400]).unwrap();
    let typed = me.create(&[7u64; 40]).unwrap();
    let image = bytes.image();
    let changed: Vec<_> =
        (0..image.len() as u64).filter(|at| image[*at as usize] != before[*at as usize]).collect();
    let (mut tried, mut refused) = (0, 0);
    for at in changed {
        let word = image[at as usize];
        for noise in (0..64).map(|bit| word ^ 1 << bit).chain([0, u64::MAX, 0x5555_5555_5555_5555]) {
            bytes.corrupt(&Corrupt::Noise { at, word: noise });
            match raw.get() {
                Ok(found) => {
                    assert!(found.as_ptr().cast::<u128>().is_aligned());
                    std::hint::black_box(found.iter().map(|byte| u64::from(*byte)).sum::<u64>());
                }
                Err(_) => refused += 1,
            }
            if let Ok(found) = typed.get() {
                std::hint::black_box(
                    found.iter().map(|number| number.to_native()).fold(0, u64::wrapping_add),
                );
            }
            bytes.corrupt(&Corrupt::Noise { at, word });
            tried += 1;
        }
    }
    assert!(tried > 500 && refused > 50, "{refused} of {tried} refused");
}

#[test]
fn noise_is_found() {
    let space = Space::options().members(4).handles(128).unit(4 << 10).scratch(200 << 10).memfd().unwrap();
    let path = format!("/proc/self/fd/{}", space.fd().unwrap().as_raw_fd());
    let file = File::options().read(true).write(true).open(path).unwrap();
    let me = space.join().unwrap();
    let _handle = me.create_raw(KIND, &[1; 500]).unwrap();
    assert!(space.check_quiet().is_clean());
    for at in (4096..space.bytes() / 4).step_by(8) {
        let mut word = [0; 8];
        file.read_exact_at(&mut word, at).unwrap();
        if word != [0; 8] {
            file.write_all_at(&[0xee; 8], at).unwrap();
        }
    }
    let report = space.check_quiet();
    assert!(report.violations.len() > 10, "{report:?}");
}
