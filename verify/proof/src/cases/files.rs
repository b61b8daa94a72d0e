//! Descriptors that travel by token, and the tables of a file's users and their modes.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use tenure::{
    Member, Token,
    error::{DescriptorError, ShareError},
    file::{Access, Descriptor, FileShare, Sharing},
    testing::Way,
};

use crate::case::{Case, Stage};
use crate::survivor::Survivor;

pub(super) fn all() -> Vec<Case> {
    vec![
        Case::new("descriptor, create", create),
        Case::new("descriptor, open, closed meanwhile", open).before(have_one).meanwhile(close_and_reuse),
        Case::new("descriptor, close", close).meanwhile(open_posted),
        Case::new("file share, enter", |stage| enter(stage, Access::READ, Sharing::ALL))
            .before(have_a_file)
            .meanwhile(share),
        Case::new("file share, enter, excluded meanwhile", |stage| {
            enter(stage, Access::WRITE, Sharing::NONE)
        })
        .before(|survivor| {
            have_a_file(survivor);
            share(survivor);
            survivor.shares.push(enter_as(survivor.me, file(survivor), Access::NONE, Sharing::ALL).unwrap());
        })
        .meanwhile(exclude),
        Case::new("file share, enter, excluded by a later one meanwhile", |stage| {
            enter(stage, Access::WRITE, Sharing::NONE)
        })
        .before(have_a_file)
        .meanwhile(exclude_as_guest),
        Case::new("file share, leave", leave).before(have_a_file).meanwhile(exclude),
    ]
}

fn owned(number: i32) -> OwnedFd {
    assert!(number >= 0, "{}", std::io::Error::last_os_error());
    // SAFETY: a new descriptor that is nobody else's.
    unsafe { OwnedFd::from_raw_fd(number) }
}

fn memfd() -> OwnedFd {
    // SAFETY: a name that outlives the call.
    owned(unsafe { libc::memfd_create(c"proof".as_ptr(), libc::MFD_CLOEXEC) })
}

/// An epoll set that is ready or not: nothing else tells two epoll sets apart.
fn epoll(is_ready: bool) -> OwnedFd {
    if is_ready { epoll_with(ready()) } else { new_epoll() }
}

fn new_epoll() -> OwnedFd {
    // SAFETY: numbers.
    owned(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })
}

/// A descriptor that is ready as long as it is open anywhere; it is never closed.
fn ready() -> i32 {
    // SAFETY: numbers.
    let ready = owned(unsafe { libc::eventfd(1, libc::EFD_CLOEXEC) });
    std::os::fd::IntoRawFd::into_raw_fd(ready)
}

fn epoll_with(ready: i32) -> OwnedFd {
    let set = new_epoll();
    let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: 0 };
    // SAFETY: descriptors of ours, and an event that outlives the call.
    let added = unsafe { libc::epoll_ctl(set.as_raw_fd(), libc::EPOLL_CTL_ADD, ready, &raw mut event) };
    assert_eq!(added, 0);
    set
}

fn says_ready(set: &Descriptor) -> bool {
    let mut event = libc::epoll_event { events: 0, u64: 0 };
    // SAFETY: a descriptor of ours, and an event that outlives the call.
    unsafe { libc::epoll_wait(set.as_raw_fd(), &raw mut event, 1, 0) == 1 }
}

/// Does first-time work in advance: the thread that hands descriptors over runs.
fn warmed(stage: &Stage<'_>) -> Member {
    let me = stage.join();
    drop(Descriptor::create(&me, memfd()).unwrap());
    me
}

fn create(stage: &Stage<'_>) {
    let me = warmed(stage);
    let fd = memfd();
    stage.begin();
    let created = Descriptor::create(&me, fd);
    stage.end();
    drop(created.unwrap());
    me.leave().unwrap();
}

/// The survivor has an epoll set, and posts its token.
pub(super) fn have_one(survivor: &mut Survivor) {
    let held = Descriptor::create(survivor.me, epoll(true)).unwrap();
    survivor.board.post(0, held.token().into());
    survivor.descriptors.push(held);
}

fn posted(stage: &Stage<'_>) -> Token {
    Token::try_from(stage.board.read(0)).unwrap()
}

pub(super) fn open(stage: &Stage<'_>) {
    let me = warmed(stage);
    let token = posted(stage);
    stage.begin();
    let opened = tenure::testing::open_by(&me, token, Way::Direct);
    stage.end();
    match opened {
        Ok(opened) => assert!(says_ready(&opened), "another descriptor than the one that was passed"),
        Err(error) => {
            let is_over = matches!(error, DescriptorError::NoHolder | DescriptorError::Open(_));
            assert!(is_over, "{error}");
        }
    }
    me.leave().unwrap();
}

/// The survivor makes an actor's epoll set ready for good, also when the actor is dead.
pub(super) fn keep_ready(survivor: &mut Survivor) {
    survivor.board.post(3, ready() as u64);
}

/// As [`close`], after [`keep_ready`].
pub(super) fn close_kept(stage: &Stage<'_>) {
    close_set(stage, epoll_with(stage.board.read(3) as i32));
}

/// The survivor closes its descriptor, and another file gets its number.
pub(super) fn close_and_reuse(survivor: &mut Survivor) {
    let held = survivor.descriptors.pop().unwrap();
    let number = held.as_raw_fd();
    drop(held);
    let other = epoll(false);
    if other.as_raw_fd() != number {
        // SAFETY: the number was free a moment ago; the survivor does nothing else meanwhile.
        let reused = unsafe { libc::dup3(other.as_raw_fd(), number, libc::O_CLOEXEC) };
        assert_eq!(reused, number);
    }
    std::mem::forget(other);
}

fn close(stage: &Stage<'_>) {
    close_set(stage, epoll(true));
}

fn close_set(stage: &Stage<'_>, set: OwnedFd) {
    let me = warmed(stage);
    let held = Descriptor::create(&me, set).unwrap();
    stage.board.post(0, held.token().into());
    stage.begin();
    drop(held);
    stage.end();
    me.leave().unwrap();
}

/// The survivor opens the descriptor that the actor closes: it gets that or nothing.
fn open_posted(survivor: &mut Survivor) {
    let Some(token) = survivor.posted(0) else { return };
    match tenure::testing::open_by(survivor.me, token, Way::Direct) {
        Ok(opened) => {
            assert!(says_ready(&opened), "another descriptor than the one that was passed");
            survivor.descriptors.push(opened);
        }
        Err(DescriptorError::NoHolder | DescriptorError::Open(_)) => {}
        Err(error) => panic!("{error}"),
    }
}

/// A file that the survivor and the actors, its children, have under one number.
pub(super) fn have_a_file(survivor: &mut Survivor) {
    let file = memfd();
    survivor.board.post(3, file.as_raw_fd() as u64);
    std::mem::forget(file);
}

fn file(survivor: &Survivor) -> u64 {
    survivor.board.read(3)
}

fn enter_as(me: &Member, number: u64, access: Access, sharing: Sharing) -> Result<FileShare, ShareError> {
    // SAFETY: made by `have_a_file`, and never closed.
    let file = unsafe { BorrowedFd::borrow_raw(number as i32) };
    FileShare::enter(me, file, access, sharing)
}

fn enter(stage: &Stage<'_>, access: Access, sharing: Sharing) {
    let me = stage.join();
    let number = stage.board.read(3);
    stage.begin();
    let entered = enter_as(&me, number, access, sharing);
    stage.end();
    match &entered {
        Ok(_) => {}
        Err(ShareError::Conflict(who)) => assert!(who.lease != me.lease(), "in its own way"),
        Err(error) => panic!("{error}"),
    }
    drop(entered);
    me.leave().unwrap();
}

pub(super) fn enter_alone(stage: &Stage<'_>) {
    enter(stage, Access::WRITE, Sharing::NONE);
}

pub(super) fn leave(stage: &Stage<'_>) {
    let me = stage.join();
    let entered = enter_as(&me, stage.board.read(3), Access::WRITE, Sharing::NONE).unwrap();
    stage.begin();
    drop(entered);
    stage.end();
    me.leave().unwrap();
}

/// Reading that shares everything is compatible with the same.
fn share(survivor: &mut Survivor) {
    drop(enter_as(survivor.me, file(survivor), Access::READ, Sharing::ALL).unwrap());
}

/// An exclusive entry conflicts only with entries of living members.
fn try_to_exclude(me: &Member, survivor: &Survivor) -> Option<FileShare> {
    match enter_as(me, file(survivor), Access::WRITE, Sharing::NONE) {
        Ok(entered) => Some(entered),
        Err(ShareError::Conflict(who)) => {
            let lease = survivor.space.leases()[usize::from(who.lease.index)];
            assert!(lease.held == Some(true) && lease.incarnation == who.lease.incarnation, "{who} is dead");
            assert_eq!((who.access, who.sharing, who.pid), (Access::WRITE, Sharing::NONE, lease.pid));
            None
        }
        Err(error) => panic!("{error}"),
    }
}

pub(super) fn exclude(survivor: &mut Survivor) {
    survivor.shares.extend(try_to_exclude(survivor.me, survivor));
}

fn exclude_as_guest(survivor: &mut Survivor) {
    let guest = survivor.space.join().unwrap();
    drop(try_to_exclude(&guest, survivor));
    guest.leave().unwrap();
    exclude(survivor);
}
