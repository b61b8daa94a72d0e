//! Spaces in which nobody lives are replaced when the geometry changed, and no others, with real processes.

mod common;

use std::os::fd::AsRawFd as _;

use common::{Name, eventually, listen, role, say};
use tenure::error::{JoinError, OpenError};
use tenure::{Backend, Kind, NameState, Options, Space};

fn options(handles: u32) -> Options {
    Space::options().members(4).handles(handles).scratch(1 << 20)
}

fn replacing(handles: u32) -> Options {
    options(handles).replace_unused(true)
}

#[track_caller]
fn is_refused(opened: Result<Space, OpenError>, expected: u64, found: u64) {
    match opened {
        Err(OpenError::Geometry { what: "handles", expected: e, found: f }) => {
            assert_eq!((e, f), (expected, found));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn child() {
    let Some(role) = role() else { return };
    match role[1].as_str() {
        "live" => {
            let _me = Space::options().attach(&role[0]).unwrap().join().unwrap();
            say("lives", "");
            listen();
        }
        // Joins whatever space there is, as often as it can. While it is a member, the name leads to its space.
        "join" => {
            let mut joined = 0;
            say("begins", "");
            while joined < 300 {
                let Ok(space) = Space::options().monitor(false).attach(&role[0]) else { continue };
                let Ok(me) = space.join() else { continue };
                let states = [space.name_state(), space.name_state()];
                // Contested: the other joiner has the lock of a lease in the space before this one, and is about to see that it was removed.
                if !states.iter().all(|state| matches!(state, NameState::Current | NameState::Contested)) {
                    say("wrong", format!("{states:?}"));
                    return;
                }
                me.leave().unwrap();
                joined += 1;
            }
            say("joined", joined);
        }
        _ => unreachable!(),
    }
}

#[test]
fn a_space_in_which_nobody_lives_is_replaced() {
    for backend in [Backend::Shm, Backend::SysV] {
        let Name(name) = &Name::new("replace");
        let before = options(64).backend(backend).open(name).unwrap();
        is_refused(options(128).backend(backend).open(name), 128, 64);
        // The same geometry, or none that is asked for: nothing to replace.
        assert!(!replacing(64).backend(backend).open(name).unwrap().created());
        let any = Space::options().backend(backend).replace_unused(true).open(name).unwrap();
        assert_eq!((any.created(), before.name_state()), (false, NameState::Current));

        let after = replacing(128).backend(backend).open(name).unwrap();
        assert!(after.created() && after.geometry().handles == 128);
        assert_eq!((before.name_state(), after.name_state()), (NameState::Replaced, NameState::Current));
        assert!(matches!(before.join(), Err(JoinError::Removed { .. })));
        let me = after.join().unwrap();
        drop(me.create_raw(Kind::raw(1), b"tea").unwrap());
        me.leave().unwrap();
        Space::remove(backend, name, false).unwrap();
    }
}

#[test]
fn a_file_is_replaced_as_well() {
    let folder = tempfile::tempdir_in("/dev/shm").unwrap();
    let path = folder.path().join("space");
    let before = options(64).open_file(&path).unwrap();
    let me = before.join().unwrap();
    is_refused(replacing(128).open_file(&path), 128, 64);
    me.leave().unwrap();
    assert!(replacing(128).open_file(&path).unwrap().created());
    assert!(matches!(before.join(), Err(JoinError::Removed { .. })));
}

#[test]
fn a_space_is_not_replaced_while_a_process_lives_in_it_or_is_stopped_there() {
    let name = Name::new("lives");
    let space = name.open(options(64));
    let process = common::start(&name, "live", "lives");
    is_refused(replacing(128).open(&name.0), 128, 64);
    process.stop();
    is_refused(replacing(128).open(&name.0), 128, 64);
    assert_eq!((space.name_state(), space.stats().members_live), (NameState::Current, 1));
    process.kill();
    // Until the kernel has taken the process apart, it has its lock.
    let mut after = None;
    eventually("the space of a dead process is replaced", || {
        after = replacing(128).open(&name.0).ok();
        after.is_some()
    });
    assert!(after.unwrap().created());
}

/// The lock that a join takes first, and the one that a recoverer has: whoever has either may be about to live there.
#[test]
fn a_space_is_not_replaced_while_a_process_is_about_to_join() {
    let name = Name::new("joins");
    let space = name.open(options(64));
    let path = space.path().unwrap();
    for kind in [libc::F_RDLCK, libc::F_WRLCK] {
        let joiner = std::fs::File::options().read(true).write(true).open(path).unwrap();
        // SAFETY: plain integers.
        let mut lock: libc::flock = unsafe { std::mem::zeroed() };
        (lock.l_type, lock.l_start, lock.l_len) = (kind as libc::c_short, 3, 1);
        // SAFETY: a descriptor of ours and a lock of ours.
        assert_eq!(unsafe { libc::fcntl(joiner.as_raw_fd(), libc::F_OFD_SETLK, &raw const lock) }, 0);
        is_refused(replacing(128).open(&name.0), 128, 64);
        assert_eq!(space.name_state(), NameState::Current);
    }
    assert!(replacing(128).open(&name.0).unwrap().created());
}

#[test]
fn a_space_is_not_replaced_while_members_live_in_an_earlier_one_of_the_name() {
    let name = Name::new("earlier");
    let earlier = name.open(options(64));
    let me = earlier.join().unwrap();
    Space::remove(Backend::Shm, &name.0, true).unwrap();
    let second = name.open(options(96));
    assert_eq!((earlier.name_state(), second.name_state()), (NameState::Replaced, NameState::Contested));
    is_refused(replacing(128).open(&name.0), 128, 96);
    assert_eq!(second.name_state(), NameState::Contested);
    me.leave().unwrap();
    assert!(replacing(128).open(&name.0).unwrap().created());
}

/// Processes join while others replace: whoever is a member has the space of the name.
#[test]
fn of_a_join_and_a_replacement_at_the_same_moment_one_wins() {
    let name = Name::new("race");
    let _first = name.open(options(64));
    let mut joiners = [(); 2].map(|()| common::start(&name, "join", "begins"));
    let mut handles = 64;
    while joiners.iter_mut().any(|joiner| joiner.is_running()) {
        handles = if handles == 64 { 128 } else { 64 };
        // Refused whenever one of them is a member.
        let _ = replacing(handles).monitor(false).open(&name.0);
    }
    for joiner in &mut joiners {
        assert_eq!(joiner.receive("joined").as_deref(), Some("300"));
    }
    assert!(replacing(96).open(&name.0).unwrap().created());
}
