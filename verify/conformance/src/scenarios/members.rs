//! Joining, leaving, forking, dying.

use super::Row;
use crate::driver::Sizes;
use crate::order::{Answer, Fault, Order, Sort};
use crate::stage::Stage;
use crate::wishes::{KIND, raw};
use tenure_testkit::eventually;

const THREE: Sizes = Sizes { members: 3, ..Sizes::USUAL };

pub(super) const ROWS: &[Row] = &[
    ("who is no member holds nothing", Sizes::USUAL, stranger),
    ("leaving gives back every handle and block", Sizes::USUAL, leave),
    ("who left may join again", Sizes::USUAL, join_again),
    ("a space outlives its members", Sizes::USUAL, space_outlives_members),
    ("as many members as there may be, then a clear error, then again", THREE, members_full),
    ("the place of a member that was killed is free again", THREE, place_of_the_dead),
    ("a forked child is no member; its calls are refused", Sizes::USUAL, forked_child),
    ("what a forked child lets go of stays its parent's", Sizes::USUAL, forked_child_lets_go),
    ("a forked child may join by itself", Sizes::USUAL, forked_child_joins),
    ("a member that was killed is taken back without anybody asking", Sizes::USUAL, monitor),
    ("all members were killed: the next one finds nothing of theirs", Sizes::USUAL, all_killed),
];

fn stranger(stage: &Stage) -> Result<(), Fault> {
    let mut a = stage.stranger();
    assert_eq!(a.create(b"x"), Err(Fault::NotMember));
    assert_eq!(a.alloc(16, 16), Err(Fault::NotMember));
    a.join()?;
    let handle = a.create(b"x")?;
    a.close(handle)
}

fn leave(stage: &Stage) -> Result<(), Fault> {
    let (mut a, mut b) = stage.two()?;
    let handle = a.create(&[1; 500])?;
    a.alloc(100, 16)?;
    let theirs = b.create(b"b's")?;
    a.open(theirs.token)?;
    a.leave()?;
    assert_eq!(b.open(handle.token), Err(Fault::Stale));
    let stats = stage.in_use();
    assert_eq!((stats.members, stats.handles, stats.leased, stats.attached), (1, 1, 0, 0));
    assert_eq!(b.get(theirs)?, b"b's");
    Ok(())
}

fn join_again(stage: &Stage) -> Result<(), Fault> {
    let mut a = stage.program()?;
    let first = a.lease()?;
    let handle = a.create(b"before")?;
    a.leave()?;
    assert_eq!(a.create(b"x"), Err(Fault::NotMember));
    a.join()?;
    assert_ne!(a.lease()?, first);
    assert_eq!(a.open(handle.token), Err(Fault::Stale));
    a.create(b"after")?;
    Ok(())
}

fn space_outlives_members(stage: &Stage) -> Result<(), Fault> {
    let mut a = stage.program()?;
    let block = a.alloc(100, 16)?;
    a.poke(block, b"left here")?;
    a.pin(block)?;
    drop(a);
    let mut b = stage.program()?;
    assert_eq!(b.peek(block, 9)?, b"left here");
    b.free_pinned(block)
}

fn members_full(stage: &Stage) -> Result<(), Fault> {
    let (mut a, mut b) = stage.two()?;
    let _c = stage.program()?;
    let mut d = stage.stranger();
    assert_eq!(d.join(), Err(Fault::Full));
    a.leave()?;
    d.join()?;
    let handle = d.create(b"in")?;
    b.open(handle.token)?;
    Ok(())
}

fn place_of_the_dead(stage: &Stage) -> Result<(), Fault> {
    stage.needs_processes()?;
    let (mut a, b) = stage.two()?;
    let c = stage.program()?;
    b.kill()?;
    c.kill()?;
    // At once, although a monitor that is just recovering one of them has its place locked for a moment.
    let moved_in = || {
        let mut program = stage.stranger();
        program.join().map(|_| program)
    };
    let mut d = moved_in()?;
    let _e = moved_in()?;
    let handle = d.create(b"in")?;
    a.open(handle.token)?;
    assert_eq!(stage.stranger().join(), Err(Fault::Full));
    Ok(())
}

fn forked_child(stage: &Stage) -> Result<(), Fault> {
    stage.needs_processes()?;
    let mut a = stage.program()?;
    let handle = a.create(b"parent's")?;
    let block = a.alloc(64, 16)?;
    let sort = Sort::Raw(KIND);
    let orders = [
        Order::Create(raw(b"x")),
        Order::Open { sort, token: handle.token },
        Order::Get(handle),
        Order::Clone(handle),
        Order::Alloc { bytes: 16, align: 16, zeroed: false },
        Order::Address(block),
        Order::Recover,
    ];
    let answers = a.fork(&orders)?;
    assert!(answers.iter().all(|answer| *answer == Err(Fault::Forked)), "{answers:?}");
    assert_eq!(a.get(handle)?, b"parent's");
    a.free(block)
}

fn forked_child_lets_go(stage: &Stage) -> Result<(), Fault> {
    stage.needs_processes()?;
    let (mut a, mut b) = stage.two()?;
    let handle = a.create(b"parent's")?;
    let block = a.alloc(64, 16)?;
    a.poke(block, b"too")?;
    // The child may get an error or not; nothing happens.
    a.fork(&[Order::Close(handle), Order::Free(block), Order::Leave])?;
    assert_eq!(a.get(handle)?, b"parent's");
    assert_eq!(a.peek(block, 3)?, b"too");
    let opened = b.open(handle.token)?;
    assert_eq!(b.get(opened)?, b"parent's");
    Ok(())
}

fn forked_child_joins(stage: &Stage) -> Result<(), Fault> {
    stage.needs_processes()?;
    let mut a = stage.program()?;
    let handle = a.create(b"parent's")?;
    let open = Order::Open { sort: Sort::Raw(KIND), token: handle.token };
    let answers = a.fork(&[Order::Join, open, Order::Create(raw(b"child's")), Order::Stats, Order::Leave])?;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    let Ok(Answer::InUse(stats)) = &answers[3] else { panic!("{answers:?}") };
    assert_eq!((stats.members, stats.handles), (2, 2));
    assert_eq!(a.get(handle)?, b"parent's");
    let stats = stage.in_use();
    assert_eq!((stats.members, stats.handles), (1, 1));
    Ok(())
}

fn monitor(stage: &Stage) -> Result<(), Fault> {
    stage.needs_processes()?;
    let (a, mut b) = stage.two()?;
    let mut c = stage.program()?;
    let handle = c.create(&[1; 200])?;
    c.alloc(100, 16)?;
    c.kill()?;
    eventually("what the dead held is taken back", || {
        let stats = stage.in_use();
        (stats.members, stats.handles, stats.leased, stats.attached) == (2, 0, 0, 0)
    });
    assert_eq!(b.open(handle.token), Err(Fault::Stale));
    drop(a);
    Ok(())
}

fn all_killed(stage: &Stage) -> Result<(), Fault> {
    stage.needs_processes()?;
    let (mut a, mut b) = stage.two()?;
    let handle = a.create(&[1; 200])?;
    b.open(handle.token)?;
    b.alloc(5000, 16)?;
    let (stayed, _) = (stage.in_use(), a.kill()?);
    assert_eq!((stayed.handles, stayed.leased), (1, 1));
    b.kill()?;
    let mut c = stage.program()?;
    assert_eq!(c.open(handle.token), Err(Fault::Stale));
    let stats = stage.in_use();
    assert_eq!((stats.members, stats.handles, stats.leased, stats.attached), (1, 0, 0, 0));
    Ok(())
}
