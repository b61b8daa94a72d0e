//! A forked child is not a member: its calls are refused, its drops do nothing, and it may join itself.
//!
//! Method: a separate process forks, so that no other thread of the test interferes, and prints its findings.

mod common;

use std::alloc::Layout;
use std::sync::atomic::{AtomicBool, Ordering};

use common::{Name, Process, die_with_parent, reap, role, say};
use tenure::{
    Kind, Member, Space,
    error::{AllocError, CreateError, LeaveError, NotMember, OpenHandleError, Returned, UseError},
};

const KIND: Kind = Kind::raw(1);

#[test]
fn child() {
    let Some(role) = role() else { return };
    let space = Space::options().attach(&role[0]).unwrap();
    let me = space.join().unwrap();
    if role.get(1).is_some_and(|what| what == "busy") {
        return fork_while_others_work(&me);
    }
    if role.get(1).is_some_and(|what| what == "spawning") {
        return join_while_others_spawn(&space);
    }
    let handle = me.create_raw(KIND, b"parent's").unwrap();
    let token = handle.token();
    let mut block = me.alloc(Layout::new::<[u8; 64]>()).unwrap();
    block.fill(3);
    // SAFETY: this process runs one test; the child uses nothing that another thread may have locked for long.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        let gone = NotMember::ForkedChild;
        assert!(matches!(handle.get(), Err(UseError::NotMember(no)) if no == gone));
        assert!(matches!(me.create_raw(KIND, b"x"), Err(CreateError::NotMember(no)) if no == gone));
        assert!(matches!(me.open_raw(KIND, token), Err(OpenHandleError::NotMember(no)) if no == gone));
        assert!(matches!(me.alloc(Layout::new::<u8>()), Err(AllocError::NotMember(no)) if no == gone));
        assert_eq!(me.recover(), Err(gone.into()));
        assert_eq!(me.trim(), Err(gone));
        assert!(matches!(handle.try_clone(), Err(OpenHandleError::NotMember(no)) if no == gone));
        drop((handle, block));
        assert!(matches!(me.leave(), Err(Returned { error: LeaveError::NotMember(no), .. }) if no == gone));
        // The child joins through the space that it inherited.
        let me = space.join().unwrap();
        let opened = me.open_raw(KIND, token).unwrap();
        assert_eq!(opened.get().unwrap(), b"parent's");
        say("forked", me.lease().index);
        // SAFETY: ends the child without running any destructor of the parent.
        unsafe { libc::_exit(0) };
    }
    assert_eq!(reap(pid), 0);
    assert_eq!(handle.get().unwrap(), b"parent's");
    assert!(block.iter().all(|byte| *byte == 3));
    drop((handle, block));
    me.leave().unwrap();
    say("done", "");
}

#[test]
fn forked_children_harm_nobody() {
    let name = Name::new("fork");
    let space = name.open(Space::options().members(4).handles(64).scratch(1 << 20));
    let mut process = Process::start(&[&name.0]);
    assert_eq!(process.receive("forked").as_deref(), Some("1"));
    assert_eq!(process.receive("done").as_deref(), Some(""));
    assert!(!process.was_killed());
    // The child ended without leaving: the next member to join takes back its resources.
    let me = space.join().unwrap();
    me.recover().unwrap();
    me.leave().unwrap();
    let report = space.check();
    assert!(report.is_clean() && report.pending.is_empty(), "{report:?}");
    assert_eq!((report.stats.handles_live, report.stats.members_live), (0, 0));
}

/// Forks `times` times and runs `child` in each child, which succeeds if it returns true; then sets `over`.
fn fork_again_and_again(times: u32, over: &AtomicBool, child: impl Fn() -> bool) {
    for round in 0..times {
        // SAFETY: the child runs `child` (each caller says why that is sound) and ends.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            die_with_parent();
            let well = child();
            // SAFETY: ends the child without running any destructor of the parent.
            unsafe { libc::_exit(i32::from(!well)) };
        }
        let status = reap(pid);
        if status != 0 {
            over.store(true, Ordering::Relaxed);
            panic!("the child of round {round} ended with {status:#x}");
        }
    }
    over.store(true, Ordering::Relaxed);
}

/// Forks while another thread is in the middle of an operation. A lock of that thread stays locked in the child for
/// ever, so the child calls only functions that take no lock.
fn fork_while_others_work(me: &Member) {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                drop(me.create_raw(KIND, b"busy").unwrap());
                drop(me.local());
            }
        });
        fork_again_and_again(300, &over, || {
            let refused =
                matches!(me.create_raw(KIND, b"x"), Err(CreateError::NotMember(NotMember::ForkedChild)));
            let mut local = me.local();
            let also =
                matches!(local.create(KIND, b"x"), Err(CreateError::NotMember(NotMember::ForkedChild)));
            refused && also
        });
    });
    say("done", "");
}

#[test]
fn regress_a_child_does_not_wait_for_threads_that_are_not_there() {
    let name = Name::new("busy");
    let _space = name.open(Space::options().members(4).handles(64).scratch(1 << 20));
    let mut process = Process::start(&[&name.0, "busy"]);
    assert_eq!(process.receive("done").as_deref(), Some(""));
    assert!(!process.was_killed());
}

/// The same while other threads start and end: a child that joins starts a thread as well.
fn join_while_others_spawn(space: &Space) {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    std::thread::spawn(|| ()).join().unwrap();
                }
            });
        }
        fork_again_and_again(700, &over, || {
            let me = space.join().unwrap();
            drop(me.create_raw(KIND, b"child's").unwrap());
            me.leave().unwrap();
            true
        });
    });
    say("done", "");
}

#[test]
fn regress_a_child_joins_while_threads_start() {
    let name = Name::new("spawning");
    let _space = name.open(Space::options().members(4).handles(64).scratch(1 << 20));
    let mut process = Process::start(&[&name.0, "spawning"]);
    assert_eq!(process.receive("done").as_deref(), Some(""));
    assert!(!process.was_killed());
}

#[test]
fn nobody_leaves_while_references_may_exist() {
    let space = Space::options().tiny().memfd().unwrap();
    let mut me = space.join().unwrap();
    let handle = me.create_raw(KIND, b"mine").unwrap();
    let block = me.alloc(Layout::new::<u64>()).unwrap();
    for round in 0..3 {
        let Err(Returned { error: LeaveError::InUse, value: still }) = me.leave() else {
            panic!("left in round {round}")
        };
        me = still;
        assert_eq!(handle.get().unwrap(), b"mine");
    }
    drop(handle);
    let Err(Returned { error: LeaveError::InUse, value: me }) = me.leave() else {
        panic!("left with a block")
    };
    drop(block);
    me.leave().unwrap();
    assert_eq!((space.check().stats.blocks_live(), space.stats().members_live), (0, 0));
}

#[test]
fn dropping_everything_leaves() {
    let space = Space::options().tiny().memfd().unwrap();
    let me = space.join().unwrap();
    let handle = me.create_raw(KIND, b"mine").unwrap();
    drop(me);
    assert_eq!((handle.get().unwrap(), space.stats().members_live), (&b"mine"[..], 1));
    drop(handle);
    assert_eq!((space.stats().handles_live, space.stats().members_live), (0, 0));
}
