//! The table of open files, between real processes: all combinations, compared with a list under one lock; deaths,
//! stops, and the reports of conflicting entries.
#![cfg(feature = "objects")]

mod common;

use std::fs::File;
use std::path::Path;

use common::{Name, Process, eventually, in_fork, listen, role, say};
use tenure::{
    Backend, Member, Options, Space,
    error::ShareError,
    file::{Access, Conflict, FileShare, Sharing},
};

fn options() -> Options {
    Space::options().members(6).handles(64).unit(4 << 10).scratch(200 << 10)
}

fn access(bits: u8) -> Access {
    let all = [(1, Access::READ), (2, Access::WRITE), (4, Access::DELETE)];
    all.iter().filter(|(bit, _)| bits & bit != 0).fold(Access::NONE, |sum, (_, one)| sum | *one)
}

fn sharing(bits: u8) -> Sharing {
    let all = [(1, Sharing::READ), (2, Sharing::WRITE), (4, Sharing::DELETE)];
    all.iter().filter(|(bit, _)| bits & bit != 0).fold(Sharing::NONE, |sum, (_, one)| sum | *one)
}

/// The rule for two opens in Windows, as documented.
fn go_together(one: (u8, u8), other: (u8, u8)) -> bool {
    one.0 == 0 || other.0 == 0 || (one.0 & !other.1 == 0 && other.0 & !one.1 == 0)
}

fn enter(me: &Member, file: &File, modes: (u8, u8)) -> Result<FileShare, ShareError> {
    FileShare::enter(me, file, access(modes.0), sharing(modes.1))
}

fn conflict(result: Result<FileShare, ShareError>) -> Conflict {
    match result {
        Err(ShareError::Conflict(conflict)) => conflict,
        other => panic!("{other:?}"),
    }
}

/// A process that enters and leaves on command: entries are numbered in order.
#[test]
fn child() {
    let Some(role) = role() else { return };
    let space = Space::options().monitor(false).attach(&role[1]).unwrap();
    let me = space.join().unwrap();
    let file = File::open(&role[2]).unwrap();
    match role[0].as_str() {
        "obey" => {
            say("ready", "");
            let mut entered = Vec::new();
            loop {
                let words = listen();
                let words: Vec<_> = words.split(' ').collect();
                let number = |at: usize| words[at].parse::<u8>().unwrap();
                match words[0] {
                    "enter" => match enter(&me, &file, (number(1), number(2))) {
                        Ok(share) => {
                            entered.push(share);
                            say("entered", "");
                        }
                        Err(error) => say("refused", error),
                    },
                    "leave" => {
                        drop(entered.remove(usize::from(number(1))));
                        say("left", "");
                    }
                    other => panic!("{other}"),
                }
            }
        }
        "alone" => {
            let inside = Path::new(&role[3]);
            let mut times = 0;
            while times < 150 {
                let Ok(share) = enter(&me, &file, (2, 0)) else { continue };
                File::create_new(inside).expect("nobody else is inside");
                std::fs::remove_file(inside).unwrap();
                drop(share);
                times += 1;
            }
            say("done", "");
        }
        other => panic!("{other}"),
    }
}

struct Other(Process);

impl Other {
    fn new(name: &Name, path: &Path) -> Self {
        let mut process = Process::start(&["obey", &name.0, path.to_str().unwrap()]);
        process.receive("ready").unwrap();
        Self(process)
    }

    fn enter(&mut self, (access, sharing): (u8, u8)) -> Result<(), String> {
        self.0.tell(&format!("enter {access} {sharing}"));
        // Both answers start with a mark.
        let said = self.0.receive("").unwrap();
        said.strip_prefix("refused ").map_or(Ok(()), |error| Err(error.to_owned()))
    }

    fn leave(&mut self, which: usize) {
        self.0.tell(&format!("leave {which}"));
        self.0.receive("left").unwrap();
    }
}

fn assert_clean(space: &Space) {
    let report = space.check_quiet();
    assert!(report.is_clean() && report.pending.is_empty(), "{report:#?}");
}

#[test]
fn all_combinations_between_two_processes() {
    let name = Name::new("combinations");
    let space = name.open(options());
    let me = space.join().unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut other = Other::new(&name, file.path());
    let modes = || (0..8).flat_map(|access| (0..8).map(move |sharing| (access, sharing)));
    for mine in modes() {
        let share = enter(&me, file.as_file(), mine).unwrap();
        assert_eq!(
            (share.access(), mine.0 == 0 || share.sharing() == sharing(mine.1)),
            (access(mine.0), true)
        );
        for theirs in modes() {
            let entered = other.enter(theirs);
            assert_eq!(entered.is_ok(), go_together(mine, theirs), "{mine:?} {theirs:?} {entered:?}");
            match entered {
                Ok(()) => {
                    assert_clean(&space);
                    other.leave(0);
                }
                Err(said) => {
                    let (pid, lease) = (std::process::id(), me.lease());
                    let expected = format!(
                        "the file is in use by process {pid} ({lease:?}) for {}, which shares {}",
                        access(mine.0),
                        sharing(mine.1)
                    );
                    assert_eq!(said, expected);
                }
            }
        }
    }
    drop(me);
    drop(other);
    eventually("its table is gone", || {
        let _ = space.join().unwrap().recover();
        space.stats().handles_live == 0
    });
}

#[test]
fn many_entries_of_several_processes_as_a_list_under_a_lock() {
    let name = Name::new("several");
    let space = name.open(options());
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut others: Vec<_> = (0..3).map(|_| Other::new(&name, file.path())).collect();
    let mut model: Vec<Vec<(u8, u8)>> = vec![Vec::new(); others.len()];
    let mut state = 0x1234_5678_9abc_def0_u64;
    let mut random = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let (mut entered, mut refused) = (0, 0);
    for _ in 0..1500 {
        let who = random(3) as usize;
        if random(3) < 2 {
            // Mostly modes that are partly compatible.
            let modes = ([1, 1, 2, 4, 0][random(5) as usize], [7, 7, 3, 1, 0][random(5) as usize]);
            let expected = model.iter().flatten().all(|one| go_together(*one, modes));
            assert_eq!(others[who].enter(modes).is_ok(), expected, "{model:?} and {who}: {modes:?}");
            if expected {
                model[who].push(modes);
                entered += 1;
            } else {
                refused += 1;
            }
        } else if !model[who].is_empty() {
            let which = random(model[who].len() as u64) as usize;
            model[who].remove(which);
            others[who].leave(which);
        }
    }
    assert!(entered > 100 && refused > 100, "{entered} {refused}");
    assert_clean(&space);
}

#[test]
fn of_those_that_exclude_each_other_one_is_inside() {
    let name = Name::new("alone");
    let space = name.open(options());
    let directory = tempfile::tempdir().unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    let inside = directory.path().join("inside");
    let start = || {
        let paths = [file.path(), inside.as_path()].map(|path| path.to_str().unwrap());
        Process::start(&["alone", &name.0, paths[0], paths[1]])
    };
    let mut all: Vec<_> = (0..3).map(|_| start()).collect();
    for process in &mut all {
        assert!(process.receive("done").is_some());
    }
    all.into_iter().for_each(|process| assert!(process.wait().success()));
    assert_clean(&space);
}

#[test]
fn the_dead_are_in_nobodys_way_without_monitors() {
    let name = Name::new("dead");
    let space = name.open(options().monitor(false));
    let me = space.join().unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    for _ in 0..3 {
        let mut other = Other::new(&name, file.path());
        other.enter((3, 0)).unwrap();
        let who = conflict(enter(&me, file.as_file(), (1, 7)));
        assert_eq!((who.pid, who.access, who.sharing), (other.0.pid() as u32, access(3), Sharing::NONE));
        other.0.kill();
        let share = enter(&me, file.as_file(), (2, 0)).unwrap();
        let everybody = share.everybody().unwrap();
        assert_eq!(everybody.len(), 1, "{everybody:?}");
        assert_eq!((everybody[0].lease, everybody[0].access), (me.lease(), Access::WRITE));
    }
    drop(me);
    assert_clean(&space);
}

#[test]
fn the_stopped_are_in_the_way_with_what_they_have_and_keep_nobody_waiting() {
    let name = Name::new("stopped");
    let space = name.open(options());
    let me = space.join().unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut other = Other::new(&name, file.path());
    other.enter((1, 1)).unwrap();
    other.0.signal(libc::SIGSTOP);
    let who = conflict(enter(&me, file.as_file(), (2, 7)));
    assert_eq!((who.pid, who.access, who.sharing), (other.0.pid() as u32, Access::READ, Sharing::READ));
    drop(enter(&me, file.as_file(), (1, 7)).unwrap());
    other.0.signal(libc::SIGCONT);
    other.leave(0);
    drop(enter(&me, file.as_file(), (2, 0)).unwrap());
    drop(me);
    drop(other);
    let _ = space.join().unwrap().recover();
    assert_clean(&space);
}

#[test]
fn entries_of_one_process_count_among_each_other() {
    let space = options().private().unwrap();
    let me = space.join().unwrap();
    let file = tempfile::tempfile().unwrap();
    let one = enter(&me, &file, (1, 3)).unwrap();
    let two = enter(&me, &file, (1, 3)).unwrap();
    let who = conflict(enter(&me, &file, (2, 2)));
    assert_eq!((who.lease, who.access, who.sharing), (me.lease(), Access::READ, sharing(3)));
    let writing = enter(&me, &file, (2, 3)).unwrap();
    assert_eq!(conflict(enter(&me, &file, (1, 1))).access, access(3));
    drop(writing);
    drop(one);
    // The other entry is still there.
    assert!(matches!(enter(&me, &file, (4, 7)), Err(ShareError::Conflict(_))));
    drop(two);
    drop(enter(&me, &file, (7, 0)).unwrap());
    drop(me);
    assert_clean(&space);
}

#[test]
fn a_file_is_its_device_and_inode() {
    let name = Name::new("inodes");
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    for space in [
        options().memfd().unwrap(),
        options().open_file(path("space")).unwrap(),
        options().backend(Backend::SysV).open(&name.0).unwrap(),
    ] {
        let me = space.join().unwrap();
        let one = File::create(path("one")).unwrap();
        let share = enter(&me, &one, (1, 0)).unwrap();
        std::fs::hard_link(path("one"), path("two")).unwrap();
        std::fs::rename(path("one"), path("three")).unwrap();
        for name in ["two", "three"] {
            conflict(enter(&me, &File::open(path(name)).unwrap(), (1, 7)));
        }
        // Another file, also after the first one was removed: its inode is not reused while the entry lives.
        std::fs::remove_file(path("two")).unwrap();
        std::fs::remove_file(path("three")).unwrap();
        drop(one);
        for at in 0..20 {
            let name = format!("other{at}");
            drop(enter(&me, &File::create(path(&name)).unwrap(), (7, 0)).unwrap());
            std::fs::remove_file(path(&name)).unwrap();
        }
        drop(share);
        drop(me);
        assert_clean(&space);
        assert_eq!(space.stats().handles_live, 0);
        if space.backend() == Backend::SysV {
            Space::remove(Backend::SysV, &name.0, true).unwrap();
        }
    }
}

#[test]
fn users_cannot_give_the_names_of_tables() {
    let space = options().memfd().unwrap();
    let me = space.join().unwrap();
    let file = tempfile::tempfile().unwrap();
    let _share = enter(&me, &file, (1, 0)).unwrap();
    assert!(space.names().is_empty(), "{:?}", space.names());
}

#[test]
fn a_forked_child_leaves_the_entry_of_its_parent() {
    let space = options().memfd().unwrap();
    let me = space.join().unwrap();
    let file = tempfile::tempfile().unwrap();
    let mut share = Some(enter(&me, &file, (1, 0)).unwrap());
    let code = in_fork(|| {
        let refused = enter(&me, &file, (1, 0));
        drop(share.take());
        i32::from(!matches!(refused, Err(ShareError::NotMember(_))))
    });
    assert_eq!(code, 0);
    assert_eq!(conflict(enter(&me, &file, (1, 7))).lease, me.lease());
}
