//! Descriptors that travel, and the tables of a file's users and their modes.

use super::Row;
use crate::driver::Sizes;
use crate::order::{Answer, Fault, Modes, New, Order, Sort};
use crate::stage::Stage;
use tenure_testkit::eventually;

pub(super) const DESCRIPTORS: &[Row] = &[
    (
        "a file travels by token: another program reads what was written, at the common position",
        Sizes::USUAL,
        file,
    ),
    ("a pipe travels by token", Sizes::USUAL, pipe),
    ("a pipe that travelled ends when its last writer has closed it", Sizes::USUAL, pipe_ends),
    ("the creator was killed: who opens it gets it from another holder", Sizes::USUAL, creator_killed),
    ("the only holder was killed: the descriptor ends", Sizes::USUAL, only_holder_killed),
    (
        "the only holder of a descriptor with a name was killed: who creates or opens it creates it",
        Sizes::USUAL,
        named_holder_killed,
    ),
    (
        "a descriptor is opened as a descriptor only, and ends with its last holder",
        Sizes::USUAL,
        descriptor_ends,
    ),
];

pub(super) const SHARES: &[Row] = &[
    ("two opens go together when neither does what the other does not share", Sizes::USUAL, matrix),
    ("a conflict says who has the file, for what, and what that shares", Sizes::USUAL, conflict_told),
    ("an open ends when it is closed, and with the member", Sizes::USUAL, share_closed),
    ("an open ends with a program that is killed", Sizes::USUAL, share_of_the_dead),
    ("a program that is stopped keeps its open", Sizes::USUAL, share_stopped),
    ("the opens of one program count among each other", Sizes::USUAL, share_twice),
    ("a file is told by itself, not by its path; another file is another one", Sizes::USUAL, other_path),
    ("of two who exclude each other and ask at once one has the file", Sizes::USUAL, at_once),
];

fn file(stage: &Stage) -> Result<(), Fault> {
    let (mut a, mut b) = stage.two()?;
    let fd = a.open_file(&stage.path("file"))?;
    a.write_to(fd, b"tea")?;
    let mine = a.carry(fd)?;
    let theirs = b.open_as(Sort::Descriptor, mine.token)?;
    let (own, other) = (a.duplicate(mine)?, b.duplicate(theirs)?);
    b.write_to(other, b"pot")?;
    a.write_to(own, b"!")?;
    let again = a.open_file(&stage.path("file"))?;
    assert_eq!(a.read_from(again, 100)?, b"teapot!");
    for fd in [own, again] {
        a.close_fd(fd)?;
    }
    b.close_fd(other)
}

fn pipe(stage: &Stage) -> Result<(), Fault> {
    let (mut a, mut b) = stage.two()?;
    let (reader, writer) = a.pipe()?;
    let mine = a.carry(reader)?;
    let theirs = b.open_as(Sort::Descriptor, mine.token)?;
    let fd = b.duplicate(theirs)?;
    a.write_to(writer, b"through")?;
    assert_eq!(b.read_from(fd, 100)?, b"through");
    a.close_fd(writer)?;
    assert_eq!(b.read_from(fd, 100)?, b"");
    b.close_fd(fd)
}

fn pipe_ends(stage: &Stage) -> Result<(), Fault> {
    let (mut a, mut b) = stage.two()?;
    let (reader, writer) = a.pipe()?;
    let mine = a.carry(writer)?;
    let theirs = b.open_as(Sort::Descriptor, mine.token)?;
    a.close(mine)?;
    let fd = b.duplicate(theirs)?;
    b.write_to(fd, b"last")?;
    b.close(theirs)?;
    b.close_fd(fd)?;
    assert_eq!(a.read_from(reader, 100)?, b"last");
    assert_eq!(a.read_from(reader, 100)?, b"");
    a.close_fd(reader)
}

fn creator_killed(stage: &Stage) -> Result<(), Fault> {
    stage.needs_processes()?;
    let (mut a, mut b) = stage.two()?;
    let fd = a.open_file(&stage.path("file"))?;
    a.write_to(fd, b"kept")?;
    let mine = a.carry(fd)?;
    b.open_as(Sort::Descriptor, mine.token)?;
    a.kill()?;
    let mut c = stage.program()?;
    let last = c.open_as(Sort::Descriptor, mine.token)?;
    let fd = c.duplicate(last)?;
    c.write_to(fd, b" here")?;
    c.close_fd(fd)?;
    let again = c.open_file(&stage.path("file"))?;
    assert_eq!(c.read_from(again, 100)?, b"kept here");
    c.close_fd(again)
}

fn only_holder_killed(stage: &Stage) -> Result<(), Fault> {
    stage.needs_processes()?;
    let (mut a, mut b) = stage.two()?;
    let (_, writer) = a.pipe()?;
    let mine = a.carry(writer)?;
    a.kill()?;
    b.recover()?;
    eventually("the descriptor ends", || b.open_as(Sort::Descriptor, mine.token) == Err(Fault::Stale));
    Ok(())
}

fn named_holder_killed(stage: &Stage) -> Result<(), Fault> {
    stage.needs_processes()?;
    let (mut a, mut b) = stage.two()?;
    let (_, writer) = a.pipe()?;
    a.create_named("file", New::Descriptor(writer))?;
    a.kill()?;
    let fd = b.open_file(&stage.path("file"))?;
    let (mine, created) = b.create_or_open("file", New::Descriptor(fd))?;
    assert!(created);
    let own = b.duplicate(mine)?;
    b.write_to(own, b"new")?;
    b.close_fd(own)?;
    assert_eq!(std::fs::read_to_string(stage.path("file"))?, "new");
    Ok(())
}

fn descriptor_ends(stage: &Stage) -> Result<(), Fault> {
    let (mut a, mut b) = stage.two()?;
    let (reader, writer) = a.pipe()?;
    let mine = a.carry(writer)?;
    for sort in [Sort::Mutex, Sort::Process, Sort::Raw(7)] {
        assert_eq!(b.open_as(sort, mine.token), Err(Fault::ForeignKind), "{sort:?}");
    }
    a.close(mine)?;
    assert_eq!(b.open_as(Sort::Descriptor, mine.token), Err(Fault::Stale));
    assert_eq!(a.read_from(reader, 1)?, b"");
    a.close_fd(reader)
}

/// Modes by their initials.
fn modes(text: &str) -> Modes {
    Modes { read: text.contains('r'), write: text.contains('w'), delete: text.contains('d') }
}

/// Whether a use is excluded by another member's sharing.
fn excludes(access: &str, sharing: &str) -> bool {
    access.chars().any(|one| !sharing.contains(one))
}

fn matrix(stage: &Stage) -> Result<(), Fault> {
    const ACCESS: [&str; 4] = ["r", "w", "d", "rw"];
    const SHARING: [&str; 5] = ["", "r", "w", "rw", "rwd"];
    let (mut a, mut b) = stage.two()?;
    let path = stage.path("file");
    let (of_a, of_b) = (a.open_file(&path)?, b.open_file(&path)?);
    for (first, shared) in ACCESS.into_iter().flat_map(|access| SHARING.map(|sharing| (access, sharing))) {
        let held = a.share(of_a, modes(first), modes(shared))?;
        for (second, wanted) in ACCESS.into_iter().flat_map(|access| SHARING.map(|sharing| (access, sharing)))
        {
            let found = b.share(of_b, modes(second), modes(wanted));
            let expected = !excludes(first, wanted) && !excludes(second, shared);
            assert_eq!(found.is_ok(), expected, "{first}/{shared} and {second}/{wanted}: {found:?}");
            match found {
                Ok(share) => b.close(share)?,
                Err(Fault::Conflict { .. }) => {}
                Err(fault) => return Err(fault),
            }
        }
        a.close(held)?;
    }
    a.close_fd(of_a)?;
    b.close_fd(of_b)
}

fn conflict_told(stage: &Stage) -> Result<(), Fault> {
    let (mut a, mut b) = stage.two()?;
    let path = stage.path("file");
    let (of_a, of_b) = (a.open_file(&path)?, b.open_file(&path)?);
    a.share(of_a, modes("rw"), modes("r"))?;
    let pid = a.pid().unwrap_or(std::process::id());
    let expected = Fault::Conflict { pid, access: modes("rw"), sharing: modes("r") };
    assert_eq!(b.share(of_b, modes("w"), modes("rwd")), Err(expected));
    a.close_fd(of_a)?;
    b.close_fd(of_b)
}

fn share_closed(stage: &Stage) -> Result<(), Fault> {
    let (mut a, mut b) = stage.two()?;
    let path = stage.path("file");
    let (of_a, of_b) = (a.open_file(&path)?, b.open_file(&path)?);
    let mine = a.share(of_a, modes("w"), modes(""))?;
    assert!(b.share(of_b, modes("r"), modes("rwd")).is_err());
    a.close(mine)?;
    let theirs = b.share(of_b, modes("w"), modes(""))?;
    assert!(a.share(of_a, modes("r"), modes("rwd")).is_err());
    a.close_fd(of_a)?;
    b.close_fd(of_b)?;
    let mut c = stage.program()?;
    let of_c = c.open_file(&path)?;
    assert!(c.share(of_c, modes("r"), modes("rwd")).is_err(), "the open lasts until {theirs:?} is closed");
    b.leave()?;
    c.share(of_c, modes("r"), modes(""))?;
    c.close_fd(of_c)
}

fn share_of_the_dead(stage: &Stage) -> Result<(), Fault> {
    stage.needs_processes()?;
    let (mut a, mut b) = stage.two()?;
    let path = stage.path("file");
    let (of_a, of_b) = (a.open_file(&path)?, b.open_file(&path)?);
    b.share(of_b, modes(""), modes("rwd"))?;
    a.share(of_a, modes("rwd"), modes(""))?;
    a.kill()?;
    b.share(of_b, modes("rwd"), modes(""))?;
    b.close_fd(of_b)
}

fn share_stopped(stage: &Stage) -> Result<(), Fault> {
    stage.needs_processes()?;
    let (mut a, mut b) = stage.two()?;
    let path = stage.path("file");
    let (of_a, of_b) = (a.open_file(&path)?, b.open_file(&path)?);
    a.share(of_a, modes("w"), modes("r"))?;
    a.stop()?;
    assert!(matches!(b.share(of_b, modes("w"), modes("rwd")), Err(Fault::Conflict { .. })));
    b.share(of_b, modes("r"), modes("rwd"))?;
    a.resume()?;
    a.close_fd(of_a)?;
    b.close_fd(of_b)
}

fn share_twice(stage: &Stage) -> Result<(), Fault> {
    let mut a = stage.program()?;
    let fd = a.open_file(&stage.path("file"))?;
    let first = a.share(fd, modes("r"), modes("r"))?;
    assert!(matches!(a.share(fd, modes("w"), modes("rwd")), Err(Fault::Conflict { .. })));
    let second = a.share(fd, modes("r"), modes("r"))?;
    a.close(first)?;
    assert!(matches!(a.share(fd, modes("w"), modes("rwd")), Err(Fault::Conflict { .. })));
    a.close(second)?;
    a.share(fd, modes("w"), modes("rwd"))?;
    a.close_fd(fd)
}

fn other_path(stage: &Stage) -> Result<(), Fault> {
    let (mut a, mut b) = stage.two()?;
    let (path, link) = (stage.path("file"), stage.path("link"));
    let fd = a.open_file(&path)?;
    std::fs::hard_link(&path, &link)?;
    a.share(fd, modes("rw"), modes(""))?;
    let same = b.open_file(&link)?;
    assert!(matches!(b.share(same, modes("r"), modes("rwd")), Err(Fault::Conflict { .. })));
    let other = b.open_file(&stage.path("other"))?;
    b.share(other, modes("rw"), modes(""))?;
    a.close_fd(fd)?;
    [same, other].into_iter().try_for_each(|fd| b.close_fd(fd))
}

fn at_once(stage: &Stage) -> Result<(), Fault> {
    let path = stage.path("file");
    let (mut a, mut b) = stage.two()?;
    let fds = [a.open_file(&path)?, b.open_file(&path)?];
    for _ in 0..20 {
        for (program, fd) in [&mut a, &mut b].into_iter().zip(fds) {
            program.begin(Order::Share { fd, access: modes("w"), sharing: modes("") });
        }
        // Closed only when both have answered.
        let answers = [a.answer(), b.answer()];
        let mut entered = 0;
        for (program, answer) in [&mut a, &mut b].into_iter().zip(answers) {
            match answer {
                Ok(Answer::Thing(share)) => {
                    entered += 1;
                    program.close(share)?;
                }
                Err(Fault::Conflict { .. }) => {}
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(entered, 1, "of two who exclude each other");
    }
    a.close_fd(fds[0])?;
    b.close_fd(fds[1])
}
