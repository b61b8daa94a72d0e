//! A scribbled segment is an error or a finding of `check`, never a crash, a hang or an access outside of it.
//!
//! Method: members work in a memfd space while random words of it, header included, are overwritten through the file:
//! with noise, with words copied from elsewhere in the segment (which look right), and with single bits flipped. Then every
//! operation is called; whatever it answers is fine, as long as it answers.

use std::alloc::Layout;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;

use proptest::prelude::*;
use tenure::{Kind, Member, Space, Token};

const KIND: Kind = Kind::raw(5);

#[derive(Clone, Debug)]
enum Scribble {
    Noise { at: u64, word: u64 },
    Copy { from: u64, to: u64 },
    Flip { at: u64, bit: u8 },
    Small { at: u64, value: u8 },
}

/// Positions in words; squeezed into the segment, and towards its start, where the words of the protocol are.
fn scribbles() -> impl Strategy<Value = Vec<Scribble>> {
    let at = || prop_oneof![0..64u64, 0..1024u64, 0..(1u64 << 20)];
    let one = prop_oneof![
        (at(), any::<u64>()).prop_map(|(at, word)| Scribble::Noise { at, word }),
        (at(), at()).prop_map(|(from, to)| Scribble::Copy { from, to }),
        (at(), 0..64u8).prop_map(|(at, bit)| Scribble::Flip { at, bit }),
        (at(), any::<u8>()).prop_map(|(at, value)| Scribble::Small { at, value }),
    ];
    proptest::collection::vec(one, 1..60)
}

fn scribble(file: &File, words: u64, scribbles: &[Scribble]) {
    let read = |at: u64| {
        let mut word = [0; 8];
        file.read_exact_at(&mut word, at % words * 8).unwrap();
        u64::from_le_bytes(word)
    };
    let write = |at: u64, word: u64| file.write_all_at(&word.to_le_bytes(), at % words * 8).unwrap();
    for scribble in scribbles {
        match *scribble {
            Scribble::Noise { at, word } => write(at, word),
            Scribble::Copy { from, to } => write(to, read(from)),
            Scribble::Flip { at, bit } => write(at, read(at) ^ 1 << bit),
            Scribble::Small { at, value } => write(at, value.into()),
        }
    }
}

/// Every operation; all answers are welcome.
fn everything(space: &Space, me: &Member, tokens: &[Token]) {
    let _ =
        (space.stats(), space.check(), space.check_quiet(), space.leases(), space.handles(), space.blocks());
    let mut local = me.local();
    for token in tokens {
        if let Ok(held) = local.open(KIND, *token) {
            let _ = local.get(&held).map(<[u8]>::len);
            let _ = local.close(held);
        }
        let _ = me.open::<u64>(*token).map(|handle| handle.get().map(|value| value.to_native()));
    }
    let mut held: Vec<_> = (0..70).filter_map(|len| local.create(KIND, &vec![7; len]).ok()).collect();
    let mut blocks: Vec<_> = [1, 40, 700, 3000, 9000, 20_000]
        .iter()
        .filter_map(|len| local.alloc(Layout::from_size_align(*len, 16).unwrap()).ok())
        .collect();
    for block in &mut blocks {
        if let Ok(resized) = local.realloc(*block, Layout::from_size_align(5000, 16).unwrap()) {
            *block = resized;
        }
    }
    for block in blocks {
        let _ = local.usable(block);
        let _ = local.free(block);
        let _ = local.free(block);
    }
    for held in held.drain(..) {
        let _ = local.get(&held).map(<[u8]>::len);
        let _ = local.close(held);
    }
    drop(local);
    for block in space.blocks() {
        let _ = me.free_pinned(block.offset);
    }
    let _ = (me.recover(), me.trim());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn scribbled_while_members_work(scribbles in scribbles(), more in scribbles(), large: bool) {
        let options = Space::options().members(4).handles(128).unit(4 << 10);
        let space = options.scratch(if large { 8 << 20 } else { 200 << 10 }).memfd().unwrap();
        let path = format!("/proc/self/fd/{}", space.fd().unwrap().as_raw_fd());
        let file = File::options().read(true).write(true).open(path).unwrap();
        let words = space.bytes() / 8;
        let (me, other) = (space.join().unwrap(), space.join().unwrap());
        let kept: Vec<_> =
            [8, 32, 33, 900].iter().filter_map(|len| other.create_raw(KIND, &vec![1; *len]).ok()).collect();
        let _typed = other.create(&7u64).unwrap();
        let block = other.alloc(Layout::new::<[u8; 100]>()).unwrap();
        let _pinned = other.alloc(Layout::new::<[u8; 50]>()).unwrap().pin().unwrap();
        let tokens: Vec<_> = kept.iter().map(tenure::Handle::token).chain([_typed.token()]).collect();

        scribble(&file, words, &scribbles);
        everything(&space, &me, &tokens);
        scribble(&file, words, &more);
        everything(&space, &me, &tokens);
        // Somebody new comes, if it may.
        let again = Space::options().from_fd(space.fd().unwrap().try_clone_to_owned().unwrap());
        if let Ok(again) = again
            && let Ok(late) = again.join()
        {
            everything(&again, &late, &tokens);
            let _ = late.leave();
        }
        drop((block, kept));
        let _ = (me.leave(), other.leave());
        let _ = space.check();
    }
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
