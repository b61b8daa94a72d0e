//! Tenure through its public interface, in one process: every backend, every refusal.
#![allow(
    clippy::undocumented_unsafe_blocks,
    reason = "raw values are this test's alone, slices are compared at once, and second calls are to be refused"
)]

use std::alloc::Layout;

use tenure::{
    Geometry, Kind, Space, Token,
    error::{CreateError, OpenHandleError, Returned, ScratchError, UseError},
};

const KIND: Kind = Kind::raw(7);

fn spaces() -> Vec<Space> {
    vec![
        Space::options().tiny().private().unwrap(),
        Space::options().tiny().anonymous().unwrap(),
        Space::options().memfd().unwrap(),
        Space::options().handles(100).scratch(8 << 20).anonymous().unwrap(),
    ]
}

#[test]
fn a_handle_lives_as_long_as_somebody_holds_it() {
    for space in spaces() {
        let (a, b) = (space.join().unwrap(), space.join().unwrap());
        for payload in [&b""[..], b"short", &[7; 32], &[8; 33], &[9; 500]] {
            let handle = a.create_raw(KIND, payload).unwrap();
            let token = handle.token();
            let other = b.open_raw(KIND, token).unwrap();
            assert_eq!(other.get().unwrap(), payload);
            drop(handle);
            assert_eq!(other.get().unwrap(), payload);
            let third = b.open_raw(KIND, token).unwrap();
            drop(other);
            assert_eq!(third.get().unwrap(), payload);
            drop(third);
            assert!(matches!(a.open_raw(KIND, token), Err(OpenHandleError::Stale { .. })));
            let report = space.check();
            assert!(report.is_clean(), "{report:?}");
            assert_eq!((report.stats.handles_live, report.stats.blocks_live()), (0, 0));
        }
        a.leave().unwrap();
        b.leave().unwrap();
        let report = space.check();
        assert!(report.is_clean() && report.pending.is_empty(), "{report:?}");
        assert_eq!((report.stats.members_live, report.stats.handles_claimed), (0, 0));
    }
}

#[test]
fn blocks_are_memory_that_grows_and_shrinks() {
    for space in spaces() {
        let me = space.join().unwrap();
        let mut block = me.alloc_zeroed(Layout::new::<[u8; 100]>()).unwrap();
        assert_eq!(&block[..], [0; 100]);
        block.copy_from_slice(&[5; 100]);
        for len in [120, 700, 90, 1000] {
            block.resize(len).unwrap();
            assert_eq!(&block[..90], [5; 90]);
        }
        assert!(me.alloc(Layout::new::<[u8; 0]>()).is_err());
        let handle = me.create_with(KIND, block).unwrap();
        assert_eq!(handle.get().unwrap().len(), 1000);
        drop(handle);
        let pinned = me.alloc(Layout::new::<u64>()).unwrap().pin().unwrap();
        assert_eq!(space.stats().blocks_pinned, 1);
        unsafe { me.free_pinned(pinned) }.unwrap();
        assert!(unsafe { me.free_pinned(pinned) }.is_err());
        assert_eq!(space.stats().blocks_live(), 0);
    }
}

#[test]
fn everything_can_be_used_up_and_comes_back() {
    for space in spaces() {
        let me = space.join().unwrap();
        let Geometry { handles, .. } = space.geometry();
        if handles > 1000 {
            continue;
        }
        for _ in 0..3 {
            let all: Vec<_> = (0..handles).map(|i| me.create_raw(KIND, &i.to_le_bytes()).unwrap()).collect();
            assert!(me.create_raw(KIND, b"").is_err());
            for (i, handle) in (0u32..).zip(&all) {
                assert_eq!(handle.get().unwrap(), i.to_le_bytes());
            }
        }
        let mut blocks = Vec::new();
        while let Ok(block) = me.alloc(Layout::new::<[u8; 300]>()) {
            blocks.push(block);
        }
        assert!(blocks.len() * 300 > space.geometry().scratch_bytes as usize / 2);
        drop(blocks);
        me.trim().unwrap();
        assert_eq!(space.stats().bytes_owned, 0);
        let report = space.check();
        assert!(report.is_clean(), "{report:?}");
    }
}

#[test]
fn resize_keeps_the_alignment() {
    let space = Space::options().scratch(8 << 20).anonymous().unwrap();
    let me = space.join().unwrap();
    for align in [1, 16, 64, 512, 4096] {
        let mut blocks = Vec::new();
        for more in 0..50 {
            let mut block = me.alloc(Layout::from_size_align(64, align).unwrap()).unwrap();
            block.fill(more);
            for bytes in [200 + usize::from(more), 5000, 150_000, 40_000, 100] {
                block.resize(bytes).unwrap();
                assert!(block.as_ptr().addr().is_multiple_of(align), "{align}, then {bytes}: {block:?}");
                assert!(block[..64].iter().all(|byte| *byte == more), "{block:?}");
            }
            blocks.push(block);
        }
    }
}

#[test]
fn locals_are_fast_and_lose_nothing() {
    let space = Space::options().anonymous().unwrap();
    let me = space.join().unwrap();
    let mut local = me.local();
    for round in 0..10_000u64 {
        let held = local.create(KIND, &round.to_le_bytes()).unwrap();
        assert_eq!(unsafe { local.get(&held) }.unwrap(), round.to_le_bytes());
        let block = local.alloc(Layout::new::<[u8; 64]>()).unwrap();
        unsafe { local.free(block) }.unwrap();
        assert!(unsafe { local.free(block) }.is_err());
        unsafe { local.close(held) }.unwrap();
        assert!(unsafe { local.close(held) }.is_err());
        assert!(unsafe { local.get(&held) }.is_err());
    }
    drop(local);
    me.leave().unwrap();
    let report = space.check();
    assert!(report.is_clean() && report.pending.is_empty(), "{report:?}");
    assert_eq!(report.stats.handles_claimed + report.stats.blocks_live(), 0);
}

#[test]
fn tokens_do_for_what_is_held() {
    let space = Space::options().anonymous().unwrap();
    let (me, other) = (space.join().unwrap(), space.join().unwrap());
    let (mut local, others) = (me.local(), other.local());
    for payload in [&b"in the entry"[..], &[7; 400]] {
        let token = {
            let held = local.create(KIND, payload).unwrap();
            local.token(&held)
        };
        let held = local.held(KIND, token).unwrap();
        assert_eq!(unsafe { local.get(&held) }.unwrap(), payload);
        let memory = local.payload(&held).unwrap();
        assert_eq!((memory.cast::<u8>().as_ptr().cast_const(), memory.len()), {
            let bytes = unsafe { local.get(&held) }.unwrap();
            (bytes.as_ptr(), payload.len())
        });
        let foreign = local.held(Kind::raw(8), token);
        assert!(matches!(foreign, Err(OpenHandleError::ForeignKind { .. })), "{foreign:?}");
        // A handle held by another local is not held by ours.
        assert!(matches!(others.held(KIND, token), Err(OpenHandleError::Stale { .. })));
        let elsewhere = Token::new(token.space_tag() % 255 + 1, token.generation(), token.index()).unwrap();
        assert!(matches!(local.held(KIND, elsewhere), Err(OpenHandleError::ForeignSpace { .. })));
        assert!(matches!(unsafe { local.close_token(elsewhere) }, Err(OpenHandleError::ForeignSpace { .. })));
        let nowhere = Token::new(token.space_tag(), token.generation(), (1 << 20) - 1).unwrap();
        assert!(matches!(unsafe { local.close_token(nowhere) }, Err(OpenHandleError::Stale { .. })));
        local.open(KIND, token).unwrap();
        unsafe { local.close_token(token) }.unwrap();
        assert_eq!(unsafe { local.get(&held) }.unwrap(), payload);
        unsafe { local.close_token(token) }.unwrap();
        assert!(matches!(unsafe { local.close_token(token) }, Err(OpenHandleError::Stale { .. })));
        assert!(local.held(KIND, token).is_err());
    }
    let block = local.alloc(Layout::new::<u64>()).unwrap();
    unsafe { local.pin(block) }.unwrap();
    assert!(unsafe { local.pin(block) }.is_err() && unsafe { local.free(block) }.is_err());
    unsafe { me.free_pinned(block.offset) }.unwrap();
    assert_eq!(space.stats().blocks_live() + space.stats().handles_live, 0);
}

/// Two spaces have the same numbers of leases and offsets: only the member that owns a block makes a handle of it.
#[test]
fn a_block_of_another_member_does_not_become_a_payload() {
    let spaces = [(); 2].map(|()| Space::options().handles(64).scratch(1 << 20).anonymous().unwrap());
    let [one, two] = [&spaces[0], &spaces[1]].map(|space| space.join().unwrap());
    let beside = spaces[1].join().unwrap();
    let mut mine = two.alloc(Layout::new::<[u8; 64]>()).unwrap();
    mine.fill(1);
    for other in [&one, &beside] {
        let theirs = other.alloc(Layout::new::<[u8; 64]>()).unwrap();
        let Returned { error, value: theirs } = two.create_with(Kind::raw(1), theirs).map(drop).unwrap_err();
        assert!(
            matches!(error, CreateError::ForeignBlock { offset } if offset == theirs.offset()),
            "{error}"
        );
    }
    let handle = two.create_with(Kind::raw(1), mine).unwrap();
    assert_eq!(handle.get().unwrap(), [1; 64]);
}

/// Handles of two members of one process have the same shape: a member closes only what it holds itself.
#[test]
fn a_handle_of_another_member_is_not_closed() {
    let spaces = [(); 2].map(|()| Space::options().handles(64).scratch(1 << 20).anonymous().unwrap());
    let [one, two] = [&spaces[0], &spaces[1]].map(|space| space.join().unwrap());
    let beside = spaces[0].join().unwrap();
    for payload in [&b"tea"[..], &[7; 100]] {
        let mut local = one.local();
        let held = local.create(KIND, payload).unwrap();
        for other in [&beside, &two] {
            let mut theirs = other.local();
            // In the other space, the same number is of another generation.
            let first = theirs.create(KIND, b"first").unwrap();
            unsafe { theirs.close(first) }.unwrap();
            // So that their cache has room for an entry.
            let own = theirs.create(KIND, b"own").unwrap();
            assert!(matches!(unsafe { theirs.close(held) }, Err(UseError::Stale)));
            unsafe { theirs.close(own) }.unwrap();
        }
        assert_eq!(unsafe { local.get(&held) }.unwrap(), payload);
        unsafe { local.close(held) }.unwrap();
    }
    assert_eq!(spaces[0].stats().handles_live, 0);
}

#[test]
fn a_payload_is_created_zeroed_in_any_size_and_alignment() {
    let space = Space::options().members(8).handles(64).scratch(1 << 20).private().unwrap();
    let me = space.join().unwrap();
    let mut local = me.local();
    for (size, align) in [(0, 1), (0, 64), (1, 1), (32, 16), (32, 32), (33, 1), (100_000, 4096)] {
        let layout = Layout::from_size_align(size, align).unwrap();
        if let Ok(used) = local.alloc(layout) {
            // SAFETY: the block is ours, and as long.
            unsafe {
                local.address(used).write_bytes(0xff, size);
                local.free(used).unwrap();
            }
        }
        let held = local.create_zeroed(Kind::raw(1), layout).unwrap();
        let opened = me.open_raw(Kind::raw(1), local.token(&held)).unwrap();
        let bytes = opened.get().unwrap();
        assert!(bytes.len() == size && bytes.iter().all(|byte| *byte == 0), "{layout:?}");
        assert!(size == 0 || bytes.as_ptr().addr().is_multiple_of(align), "{layout:?}");
    }
    let refused = local.create_zeroed(Kind::raw(1), Layout::from_size_align(8, 1 << 20).unwrap());
    assert!(matches!(refused, Err(CreateError::Scratch(ScratchError::Align { .. }))));
}
