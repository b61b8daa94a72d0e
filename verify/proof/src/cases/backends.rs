//! Creating, joining and leaving in the backends that the other cases do not use: a file, and SysV memory.
//!
//! Backends differ in their system calls only: the words are changed by the same instructions. So these cases are
//! played around their system calls, and elsewhere at a thousand instructions, evenly spread.

use tenure::{Backend, Options, Space, error::OpenError};

use crate::case::{Case, KIND, SMALL, Stage};
use crate::point::name_of;
use crate::survivor::{Survivor, payload};
use crate::sys;

use super::members::work_in;

/// The board word with the actor's process number.
const ACTOR: usize = 6;
/// The board word with the survivor's process number.
const HOST: usize = 7;

pub(super) fn all() -> Vec<Case> {
    vec![
        Case::new("create a space, in a file", |stage| create(stage, Backend::File))
            .meanwhile(|survivor| use_it(survivor, Backend::File))
            .sampled(),
        Case::new("create a space, of SysV memory", |stage| create(stage, Backend::SysV))
            .meanwhile(|survivor| use_it(survivor, Backend::SysV))
            .sampled(),
        Case::new("join, finding the dead, in a file", |stage| join(stage, Backend::File))
            .before(|survivor| have_a_dead_member(survivor, Backend::File))
            .meanwhile(|survivor| use_it(survivor, Backend::File))
            .sampled(),
        Case::new("join, finding the dead, in SysV memory", |stage| join(stage, Backend::SysV))
            .before(|survivor| have_a_dead_member(survivor, Backend::SysV))
            .meanwhile(|survivor| use_it(survivor, Backend::SysV))
            .sampled(),
        Case::new("leave, in a file", |stage| leave(stage, Backend::File))
            .before(|survivor| keep_open(survivor, Backend::File))
            .meanwhile(|survivor| use_it(survivor, Backend::File))
            .sampled(),
        Case::new("leave, in SysV memory", |stage| leave(stage, Backend::SysV))
            .before(|survivor| keep_open(survivor, Backend::SysV))
            .meanwhile(|survivor| use_it(survivor, Backend::SysV))
            .sampled(),
    ]
}

/// The name, or the path, of the space of a survivor.
fn place(backend: Backend, survivor: u64) -> String {
    let name = name_of(survivor);
    if backend == Backend::File { format!("/dev/shm/{name}") } else { name }
}

fn open_in(options: Options, backend: Backend, place: &str) -> Result<Space, OpenError> {
    if backend == Backend::File { options.open_file(place) } else { options.backend(backend).open(place) }
}

/// The survivor's space in this backend, which is created unless it exists.
fn host(backend: Backend) -> Space {
    open_in(SMALL.options(), backend, &place(backend, std::process::id().into())).unwrap()
}

fn create(stage: &Stage<'_>, backend: Backend) {
    // SAFETY: no pointers.
    let survivor = unsafe { libc::getppid() };
    let (options, place) = (SMALL.options(), place(backend, survivor as u64));
    stage.board.post(ACTOR, std::process::id().into());
    stage.begin();
    let space = open_in(options, backend, &place);
    stage.end();
    work_in(&space.unwrap());
}

fn attached(stage: &Stage<'_>, backend: Backend) -> Space {
    stage.board.post(ACTOR, std::process::id().into());
    open_in(SMALL.options(), backend, &place(backend, stage.board.read(HOST))).unwrap()
}

fn join(stage: &Stage<'_>, backend: Backend) {
    let space = attached(stage, backend);
    stage.begin();
    let me = space.join();
    stage.end();
    me.unwrap().leave().unwrap();
    work_in(&space);
}

fn leave(stage: &Stage<'_>, backend: Backend) {
    let space = attached(stage, backend);
    let me = space.join().unwrap();
    me.local().create(KIND, &payload(100)).unwrap();
    stage.begin();
    let left = me.leave();
    stage.end();
    left.unwrap();
    work_in(&space);
}

/// SysV memory goes with its last attached process: the survivor stays attached.
fn keep_open(survivor: &mut Survivor, backend: Backend) {
    survivor.board.post(HOST, std::process::id().into());
    std::mem::forget(host(backend));
}

fn have_a_dead_member(survivor: &mut Survivor, backend: Backend) {
    keep_open(survivor, backend);
    sys::in_a_child(|| {
        let me = host(backend).join().unwrap();
        me.local().create(KIND, &payload(100)).unwrap();
        std::mem::forget(me);
    });
}

/// The survivor uses the space in this backend as well. Nothing of a killed process stays there, and no memory of its
/// own.
fn use_it(survivor: &mut Survivor, backend: Backend) {
    let space = host(backend);
    work_in(&space);
    let report = space.check();
    assert!(report.is_clean(), "in the space of another backend: {report:#?}");
    if survivor.actor_died {
        let leases = space.leases();
        assert!(leases.iter().all(|lease| !lease.live && lease.held == Some(false)), "{leases:?}");
        let left = report.stats.handles_live + report.stats.blocks_live() + report.stats.bytes_owned;
        assert!(left == 0 && report.pending.is_empty(), "in the space of another backend: {report:#?}");
        forget_memory_of(survivor.board.read(ACTOR));
    }
}

/// The kernel has no call that creates SysV memory and marks it to be removed with its last user: a process killed
/// between the two calls that this takes leaves an identifier, but no memory behind it.
fn forget_memory_of(actor: u64) {
    let table = std::fs::read_to_string("/proc/sysvipc/shm").unwrap_or_default();
    for row in table.lines().skip(1) {
        let row: Vec<i64> = row.split_whitespace().map(|number| number.parse().unwrap_or(-1)).collect();
        let (identifier, creator, bytes) = (row[1], row[4], row[14] + row[15]);
        if creator as u64 == actor {
            assert_eq!(bytes, 0, "memory of a dead creator stays: {row:?}");
            // SAFETY: IPC_RMID takes no buffer; nobody else knows the private identifier of a dead creator.
            unsafe { libc::shmctl(identifier as i32, libc::IPC_RMID, std::ptr::null_mut()) };
        }
    }
}
