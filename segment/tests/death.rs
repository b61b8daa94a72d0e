//! Members that die, stop, fork, exec and close all descriptors. Method: real processes, killed by signals; the results are read
//! from the segment and from the kernel.

mod common;

use std::os::fd::AsRawFd;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, mpsc};

use common::*;
use tenure_core::{LeaseId, Recovery};
use tenure_segment::layout::{HEADER_BYTES, LEASE_BYTES};
use tenure_segment::{
    Backend, CommitError, DataArea, JoinError, Lease, MonitorState, NotMember, Place, Reclaim, RecoverError,
    Segment, Spec,
};

#[test]
fn child() {
    enter(&[
        ("member", member),
        ("forker", forker),
        ("daemon", daemon),
        ("anonymous", |stage| inherited(stage, Place::Anonymous)),
        ("memfd", |stage| inherited(stage, Place::Memfd(None))),
        ("slow", slow),
        ("worker", worker),
    ]);
}

/// Joins and obeys orders. Arguments: backend, name, guarded or alone.
fn member(stage: &Stage) {
    let segment = stage.attach().unwrap();
    let lease = join(&segment, if stage.arguments[2] == "guarded" { GUARDED } else { ALONE });
    stage.say(format!("joined {}", lease.id().index));
    loop {
        match stage.listen().as_str() {
            "check" => stage.say(format!("{:?}", lease.check())),
            "recover" => stage.say(format!("{:?}", lease.recover())),
            "touch" => {
                let word = &lease.data_area().words()[1000];
                stage.say(word.fetch_add(1, Ordering::SeqCst));
            }
            "close" => {
                // SAFETY: closes all descriptors except the pipes; the test requires that all code here survives it.
                unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, 0) };
                stage.say("closed");
            }
            "leave" => {
                lease.leave().unwrap();
                stage.say("left");
            }
            "fork" => {
                // SAFETY: the child only waits for the end of its input.
                let child = unsafe { libc::fork() };
                if child == 0 {
                    stage.listen();
                    // SAFETY: as above.
                    unsafe { libc::_exit(0) };
                }
                stage.say(child);
            }
            "spawn" => stage.say(std::process::Command::new("cat").spawn().unwrap().id()),
            "exec" => {
                use std::os::unix::process::CommandExt;
                let error = std::process::Command::new("cat").exec();
                stage.say(error);
            }
            other => panic!("{other}"),
        }
    }
}

fn start(name: &Name, how: &str) -> (Process, u8) {
    let child = Process::start(&["member", &name.backend.to_string(), &name.text, how]);
    let said = child.hear();
    let index = said.strip_prefix("joined ").expect(&said).parse().unwrap();
    (child, index)
}

/// Panics when it recovers another member, and says so.
struct PanicsForOthers(mpsc::Sender<()>);

impl Reclaim for PanicsForOthers {
    fn reclaim(&self, _: DataArea<'_>, recovery: &Recovery) {
        if recovery.dead().index != recovery.by() {
            let _ = self.0.send(());
            panic!("on purpose");
        }
    }
}

/// The monitor's description of the lock lives as long as the member, and so would a lock that a panic left behind.
#[test]
fn a_panic_in_a_recovery_leaves_no_lock_on_the_lease() {
    let name = Name::shm("panicked");
    let segment = open_or_create(name.place(), &Spec { members: 2, ..spec() });
    let (sender, panics) = mpsc::channel();
    let _lease = segment.join(GUARDED, Arc::new(PanicsForOthers(sender))).unwrap();
    let (victim, dead) = start(&name, "guarded");
    victim.kill();
    panics.recv_timeout(tenure_testkit::FAIL_SAFE).expect("the monitor recovers the dead");
    // The only slot that may be had is that of the dead: the joiner needs its write lock.
    eventually("the slot of the dead is had", || {
        segment.join(ALONE, Arc::new(Clear)).is_ok_and(|lease| lease.id().index == dead)
    });
}

fn is_alive(pid: &str) -> bool {
    // SAFETY: signal 0 only asks.
    unsafe { libc::kill(pid.parse().unwrap(), 0) == 0 }
}

fn lease_held(segment: &Segment, index: u8) -> bool {
    segment.leases()[usize::from(index)].held.unwrap()
}

fn lease_live(segment: &Segment, index: u8) -> bool {
    segment.leases()[usize::from(index)].live
}

/// Whether a slot is recovered and unlocked: a join skips the slot while the recoverer has it locked.
fn is_vacant(segment: &Segment, index: u8) -> bool {
    let file = std::fs::OpenOptions::new().read(true).write(true).open(segment.path().unwrap()).unwrap();
    // SAFETY: plain integers; fields that are not set below are zero, as required for such locks.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = libc::F_WRLCK as libc::c_short;
    (lock.l_start, lock.l_len) = (index.into(), 1);
    // SAFETY: a live descriptor and a local request.
    assert_eq!(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_GETLK, &raw mut lock) }, 0);
    !lease_live(segment, index) && lock.l_type == libc::F_UNLCK as libc::c_short
}

/// Joins until it gets slot `index`. The slot is free, but its recoverer may have it locked for a moment.
fn join_as(segment: &Segment, index: u8) -> Lease {
    let mut lease = join(segment, GUARDED);
    eventually("the slot is vacant", || {
        let is_it = lease.id().index == index;
        if !is_it {
            lease.leave().unwrap();
            lease = join(segment, GUARDED);
        }
        is_it
    });
    lease
}

#[test]
fn a_killed_member_is_recovered_by_the_monitor_of_another() {
    for backend in [Backend::Shm, Backend::File, Backend::SysV] {
        let name = Name::new(backend, "killed");
        let segment = name.segment();
        let lease = join(&segment, GUARDED);
        assert_eq!(lease.monitor_state(), MonitorState::Running);
        for _ in 0..3 {
            let (child, index) = start(&name, "guarded");
            assert!(
                held(segment.data_area(), index)
                    && lease_live(&segment, index)
                    && lease_held(&segment, index)
            );
            child.kill();
            eventually("the monitor recovers", || is_vacant(&segment, index));
            assert!(!held(segment.data_area(), index));
            assert_eq!(reclaimed_by(segment.data_area(), index), Some(lease.id().index));
        }
        assert_eq!(segment.leases()[1].incarnation, 3, "the slot was taken again each time");
    }
}

#[test]
fn every_survivor_hears_and_one_of_them_recovers() {
    let name = Name::shm("survivors");
    let segment = name.segment();
    let mut survivors: Vec<_> = (0..3).map(|_| start(&name, "guarded").0).collect();
    let (child, index) = start(&name, "guarded");
    child.kill();
    eventually("somebody recovers", || !lease_live(&segment, index));
    assert!(reclaimed_by(segment.data_area(), index).unwrap() < 3);
    for survivor in &mut survivors {
        survivor.tell("check");
        survivor.expect("Ok(())");
    }
}

/// The kernel signals the notification before the process is gone, and a watcher that has observed it may die in between. The test
/// signals the word itself: it then has the value that the kernel gives it, and the kernel does not signal it again.
#[test]
fn a_notification_observed_by_a_watcher_that_dies_is_observed_by_the_next_owner_of_its_slot() {
    use std::os::unix::fs::FileExt;
    let name = Name::shm("observed");
    let segment = open_or_create(name.place(), &members(3));
    let (owner, owners) = start(&name, "guarded");
    let (watcher, watchers) = start(&name, "guarded");
    let notifications = HEADER_BYTES + LEASE_BYTES * 3;
    let notification = notifications + 8 * (3 * u64::from(owners) + u64::from(watchers));
    let file = std::fs::OpenOptions::new().write(true).open(segment.path().unwrap()).unwrap();
    file.write_all_at(&0xC000_0000_u32.to_le_bytes(), notification).unwrap();
    // The join makes every monitor scan its notifications. It also takes the last free slot: the next join gets the watcher's slot.
    let _filler = join(&segment, ALONE);
    eventually("it sends a reaper", || threads::has_thread(watcher.id(), "tenure-reap"));
    watcher.kill();
    // Not while the owner's monitor recovers it.
    let mut next = None;
    eventually("the watcher's slot is free", || {
        next = segment.join(GUARDED, Arc::new(Clear)).ok();
        next.is_some()
    });
    let lease = next.unwrap();
    assert_eq!(lease.id().index, watchers);
    assert!(lease_live(&segment, owners), "not dead yet");
    owner.kill();
    eventually("the next owner of the slot recovers", || !lease_live(&segment, owners));
    assert!(!held(segment.data_area(), owners));
}

#[test]
fn a_kill_while_many_monitors_of_256_slots_listen() {
    let name = Name::shm("far");
    let segment = open_or_create(name.place(), &members(256));
    // More notifications are armed than one thread can wait for, and another thread than the first one observes the victim's.
    let fillers: Vec<_> = (0..200).map(|i| join(&segment, if i < 135 { GUARDED } else { ALONE })).collect();
    let (child, index) = start(&name, "guarded");
    assert_eq!(index, 200);
    child.kill();
    eventually("a monitor recovers", || !lease_live(&segment, index));
    assert!(!held(segment.data_area(), index));
    drop(fillers);
}

#[test]
fn without_a_monitor_the_next_join_recovers() {
    let name = Name::shm("next-join");
    let segment = name.segment();
    let (first, index) = start(&name, "alone");
    let (second, other) = start(&name, "alone");
    first.kill();
    second.kill();
    assert!(lease_live(&segment, index) && !lease_held(&segment, index), "dead, and nobody has noticed");
    let lease = join(&segment, ALONE);
    let me = lease.id().index;
    assert!(me != index && me != other, "a slot that is nobody's comes before one that is the dead's");
    for dead in [index, other] {
        assert!(!lease_live(&segment, dead) && !held(segment.data_area(), dead));
        assert_eq!(reclaimed_by(segment.data_area(), dead), Some(me));
    }
}

#[test]
fn in_a_house_full_of_the_dead_the_next_join_takes_a_slot_of_theirs() {
    let name = Name::shm("full-house");
    let segment = name.segment();
    let members: Vec<_> = (0..MEMBERS).map(|_| start(&name, "alone").0).collect();
    members.into_iter().for_each(Process::kill);
    let lease = join(&segment, ALONE);
    assert_eq!(lease.id(), LeaseId { index: 0, incarnation: 2 }, "the lowest slot, after recovering it");
    assert!((0..MEMBERS).all(|dead| reclaimed_by(segment.data_area(), dead as u8) == Some(0)));
    assert!(segment.leases()[1..].iter().all(|lease| !lease.live));
}

#[test]
fn without_a_monitor_recover_recovers() {
    let name = Name::shm("recover");
    let segment = name.segment();
    let lease = join(&segment, ALONE);
    let (mut living, _) = start(&name, "alone");
    let (dead, index) = start(&name, "alone");
    assert_eq!(lease.recover(), Ok(0));
    dead.kill();
    assert!(held(segment.data_area(), index));
    assert_eq!(lease.recover(), Ok(1));
    assert!(!held(segment.data_area(), index) && !lease_live(&segment, index));
    assert_eq!(lease.recover(), Ok(0));
    living.tell("recover");
    living.expect("Ok(0)");
    assert!(held(segment.data_area(), 1), "the living keeps what it holds");
}

#[test]
fn after_everybody_was_killed_the_next_one_carries_on() {
    let name = Name::shm("everybody");
    let created = name.segment().creation_id();
    let members: Vec<_> = (0..3).map(|_| start(&name, "guarded").0).collect();
    members.iter().for_each(Process::stop);
    // They are stopped first, so that none of them recovers another.
    members.into_iter().for_each(Process::kill);
    let segment = name.segment();
    assert_eq!((segment.created(), segment.creation_id()), (false, created));
    let leases = segment.leases();
    assert!(leases[..3].iter().all(|lease| lease.live && lease.held == Some(false)), "{leases:?}");
    let lease = join(&segment, GUARDED);
    assert_eq!(lease.id(), LeaseId { index: 3, incarnation: 1 });
    assert!(segment.leases().iter().all(|other| other.live == (other.index == 3)));
    assert!((0..3).all(|index| !held(segment.data_area(), index)));
}

#[test]
fn a_stopped_member_keeps_its_lease() {
    let name = Name::shm("stopped");
    let segment = name.segment();
    let lease = join(&segment, GUARDED);
    let (mut child, index) = start(&name, "guarded");
    child.stop();
    assert_eq!(lease.recover(), Ok(0));
    assert_ne!(join(&segment, ALONE).id().index, index);
    assert!(lease_held(&segment, index) && held(segment.data_area(), index));
    child.signal(libc::SIGCONT);
    child.tell("check");
    child.expect("Ok(())");
    child.stop();
    child.kill();
    eventually("killed while stopped", || !lease_live(&segment, index));
}

#[test]
fn a_zombie_is_dead() {
    let name = Name::shm("zombie");
    let segment = name.segment();
    let _lease = join(&segment, GUARDED);
    let (mut child, index) = start(&name, "guarded");
    child.kill_only();
    eventually("recovered before anybody waited for it", || !lease_live(&segment, index));
}

#[test]
fn closing_every_descriptor_keeps_the_lease_and_the_monitor() {
    let name = Name::shm("close");
    let segment = name.segment();
    let lease = join(&segment, ALONE);
    let (mut closer, index) = start(&name, "guarded");
    closer.tell("close");
    closer.expect("closed");
    assert!(lease_held(&segment, index));
    assert_eq!(lease.recover(), Ok(0));
    closer.tell("touch");
    closer.expect("0");
    // The member is still notified: its monitor has a descriptor of its own.
    let (victim, dead) = start(&name, "guarded");
    victim.kill();
    eventually("recovered by the one without descriptors", || !lease_live(&segment, dead));
    assert_eq!(reclaimed_by(segment.data_area(), dead), Some(index));
    closer.kill();
    assert!(!lease_held(&segment, index));
    assert_eq!(lease.recover(), Ok(1));
}

#[test]
fn exec_drops_the_lease_of_a_process_that_lives_on() {
    let name = Name::shm("exec");
    let segment = name.segment();
    let _lease = join(&segment, GUARDED);
    let (mut child, index) = start(&name, "guarded");
    child.tell("exec");
    eventually("exec is a death", || !lease_live(&segment, index));
    assert!(!lease_held(&segment, index));
    assert!(child.is_running());
}

#[test]
fn a_forked_child_does_not_keep_the_lease_alive() {
    for backend in [Backend::Shm, Backend::SysV] {
        let name = Name::new(backend, "fork-alive");
        let segment = name.segment();
        let _lease = join(&segment, GUARDED);
        let (mut child, index) = start(&name, "guarded");
        child.tell("fork");
        let grandchild = child.hear();
        child.kill_only();
        eventually("the member is dead", || !lease_live(&segment, index));
        assert!(is_alive(&grandchild), "its child is not");
    }
}

#[test]
fn a_spawned_process_does_not_keep_the_lease_alive() {
    let name = Name::shm("spawn");
    let segment = name.segment();
    let _lease = join(&segment, GUARDED);
    let (mut child, index) = start(&name, "guarded");
    // posix_spawn: vfork and exec.
    child.tell("spawn");
    let grandchild = child.hear();
    assert!(lease_held(&segment, index), "vfork and exec of a child change nothing for the member");
    child.kill_only();
    eventually("the member is dead", || !lease_live(&segment, index));
    assert!(is_alive(&grandchild));
}

/// Tests a forked child: it is not a member, a drop does nothing, a join works.
fn forker(stage: &Stage) {
    let segment = stage.attach().unwrap();
    let lease = join(&segment, GUARDED);
    let id = lease.id();
    let lease = Mutex::new(Some(lease));
    let code = in_fork(|| {
        let inherited = lease.lock().unwrap().take().unwrap();
        assert_eq!(inherited.check(), Err(NotMember::ForkedChild));
        assert_eq!(inherited.leave(), Err(NotMember::ForkedChild));
        assert_eq!(inherited.recover(), Err(RecoverError::NotMember(NotMember::ForkedChild)));
        assert!(matches!(inherited.commit(0..1), Err(CommitError::NotMember(NotMember::ForkedChild))));
        drop(inherited);
        assert!(lease_held(&segment, id.index) && lease_live(&segment, id.index));
        let own = join(&segment, GUARDED);
        assert_ne!(own.id().index, id.index);
        own.check().unwrap();
        assert_eq!(own.monitor_state(), MonitorState::Running);
        own.leave().unwrap();
        let again = join(&segment, GUARDED);
        again.check().unwrap();
        // It dies as a member: it exits without a drop.
        std::mem::forget(again);
        0
    });
    assert_eq!(code, 0);
    let lease = lease.into_inner().unwrap().unwrap();
    assert_eq!((lease.check(), lease.id()), (Ok(()), id));
    assert!(held(lease.data_area(), id.index) && lease_held(&segment, id.index));
    eventually("the child is recovered by our monitor", || !lease_live(&segment, 1 - id.index));
    lease.leave().unwrap();
    stage.say("ok");
}

#[test]
fn a_forked_child_is_no_member_and_may_join() {
    for backend in [Backend::Shm, Backend::File, Backend::SysV] {
        let name = Name::new(backend, "forker");
        let segment = name.segment();
        let child = Process::start(&["forker", &backend.to_string(), &name.text]);
        child.expect("ok");
        assert!(child.wait().success());
        assert!(segment.leases().iter().all(|lease| !lease.live));
    }
}

/// For segments that only forked children inherit: a child joins, is killed, and its parent recovers it.
fn inherited(stage: &Stage, place: Place) {
    let segment = open_or_create(place, &spec());
    let lease = join(&segment, GUARDED);
    for incarnation in 1..4 {
        let code = in_fork(|| {
            assert_eq!(lease.check(), Err(NotMember::ForkedChild));
            let own = join_as(&segment, 1);
            assert_eq!(own.id(), LeaseId { index: 1, incarnation });
            assert!(held(segment.data_area(), 1) && held(segment.data_area(), 0), "one memory");
            // SAFETY: the end of this process.
            unsafe { libc::raise(libc::SIGKILL) }
        });
        assert_eq!(code, 1000 + libc::SIGKILL);
        eventually("our monitor recovers", || !lease_live(&segment, 1));
        assert!(!held(segment.data_area(), 1) && held(segment.data_area(), 0));
    }
    lease.leave().unwrap();
    assert!(!lease_held(&segment, 0));
    stage.say("ok");
}

#[test]
fn inherited_segments_know_death_as_well() {
    for role in ["anonymous", "memfd"] {
        let child = Process::start(&[role]);
        child.expect("ok");
        assert!(child.wait().success());
    }
}

/// Forks and lets the member's process exit, as daemons do.
fn daemon(stage: &Stage) {
    let segment = stage.attach().unwrap();
    let lease = join(&segment, GUARDED);
    stage.say(lease.id().index);
    stage.listen();
    // SAFETY: the parent ends at once; the child goes on alone.
    if unsafe { libc::fork() } != 0 {
        // SAFETY: as above.
        unsafe { libc::_exit(0) };
    }
    stage.say(format!("{:?}", lease.check()));
    stage.listen();
    drop(lease);
    let own = join_as(&segment, 1);
    stage.say(own.id().index);
    stage.listen();
}

#[test]
fn a_daemon_that_forked_after_joining_is_no_member_until_it_joins() {
    let name = Name::shm("daemon");
    let segment = name.segment();
    let _lease = join(&segment, GUARDED);
    let mut child = Process::start(&["daemon", "shm", &name.text]);
    child.expect("1");
    child.tell("go");
    child.expect("Err(ForkedChild)");
    eventually("its former self is recovered", || !lease_live(&segment, 1));
    child.tell("join");
    child.expect("1");
    assert!(lease_held(&segment, 1));
    assert_eq!(segment.leases()[1].incarnation, 2);
    // The child ends at the end of its input.
    drop(child);
    eventually("the daemon has left", || !lease_live(&segment, 1));
}

/// A recoverer whose `reclaim` reports its start, and then waits for an order. The main thread speaks for it: `reclaim` may run in a
/// thread with another descriptor table.
fn slow(stage: &Stage) {
    struct Slow(mpsc::SyncSender<mpsc::SyncSender<()>>);
    impl Reclaim for Slow {
        fn reclaim(&self, data_area: DataArea<'_>, recovery: &Recovery) {
            if recovery.dead().index != recovery.by() {
                let (go, wait) = mpsc::sync_channel(0);
                self.0.send(go).unwrap();
                wait.recv().unwrap();
            }
            Clear.reclaim(data_area, recovery);
        }
    }
    let segment = stage.attach().unwrap();
    let (begin, begins) = mpsc::sync_channel(0);
    let lease = segment.join(GUARDED, Arc::new(Slow(begin))).unwrap();
    stage.say(format!("joined {}", lease.id().index));
    for go in begins {
        stage.say("reclaiming");
        stage.listen();
        go.send(()).unwrap();
    }
}

#[test]
fn a_stopped_recoverer_costs_a_slot_and_nothing_else() {
    let name = Name::shm("slow");
    let segment = open_or_create(name.place(), &members(3));
    let slow = Process::start(&["slow", "shm", &name.text]);
    slow.expect("joined 0");
    let (victim, index) = start(&name, "guarded");
    assert_eq!(index, 1);
    victim.kill();
    slow.expect("reclaiming");
    slow.stop();

    // A join does not get the slot of the dead member while that is being recovered; it gets the next slot.
    let lease = join(&segment, ALONE);
    assert_eq!(lease.id().index, 2);
    // The join recovered the victim: it did not wait for the stopped recoverer.
    assert!(!lease_live(&segment, 1) && !held(segment.data_area(), 1));
    assert_eq!(reclaimed_by(segment.data_area(), 1), Some(2));
    let refused = segment.join(ALONE, Arc::new(Clear)).unwrap_err();
    assert!(matches!(refused, JoinError::Full { members: 3 }), "{refused}");
    slow.kill();
    assert_eq!(lease.recover(), Ok(1), "the recoverer itself");
    assert_eq!(join(&segment, ALONE).id().index, 0);
}

#[test]
fn a_reaper_that_waits_does_not_keep_a_leaver() {
    let name = Name::shm("parked");
    let segment = name.segment();
    let leaver = join(&segment, GUARDED);
    let (victim, index) = start(&name, "guarded");
    let witness = join(&segment, ALONE);
    // A notification is signalled although its owner lives: so a reaper waits for the owner's lock.
    use std::os::unix::fs::FileExt;
    let file = std::fs::OpenOptions::new().write(true).open(segment.path().unwrap()).unwrap();
    let notification = HEADER_BYTES + 8 * LEASE_BYTES + 64 * u64::from(index);
    file.write_all_at(&0xC000_0000_u32.to_le_bytes(), notification).unwrap();
    drop(join(&segment, ALONE));
    eventually("the reaper is waiting", || {
        let locks = std::fs::read_to_string("/proc/locks").unwrap();
        let inode = std::os::unix::fs::MetadataExt::ino(&file.metadata().unwrap()).to_string();
        locks.lines().any(|line| line.contains("->") && line.contains(&inode))
    });
    leaver.leave().unwrap();
    assert!(!lease_held(&segment, 0), "its lock is free at once");
    victim.kill();
    assert_eq!(witness.recover(), Ok(1), "the reaper of a member that left recovers nothing");
    assert_eq!(reclaimed_by(segment.data_area(), index), Some(witness.id().index));
    assert_eq!(join(&segment, ALONE).id().index, 0);
}

/// Joins, holds, checks that it still holds, leaves; in an endless loop.
fn worker(stage: &Stage) {
    let segment = stage.attach().unwrap();
    stage.say("ready");
    for round in 0_u64.. {
        let lease = match segment.join(if round % 3 == 0 { ALONE } else { GUARDED }, Arc::new(Clear)) {
            Ok(lease) => lease,
            Err(JoinError::Full { .. }) => continue,
            Err(error) => panic!("{error}"),
        };
        let id = lease.id();
        hold(lease.data_area(), id);
        lease.recover().unwrap();
        let word = lease.data_area().words()[usize::from(id.index)].load(Ordering::SeqCst);
        if word != id.incarnation {
            stage.say(format!("{id:?} was reclaimed while it lived: {word}"));
            std::thread::park();
        }
    }
}

/// The variable from which [`seed`] takes the seed of an earlier run.
const SEED: &str = "TENURE_TEST_SEED";

/// A seed. It decides which workers are killed and stopped, and at which intervals. Each run has another seed; a test that fails
/// prints it, and the variable repeats the test with it. The scheduler decides the rest.
fn seed() -> u64 {
    use std::hash::BuildHasher;
    let seed = match std::env::var(SEED) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{SEED}={text} is no number")),
        // The standard library takes its hash keys from the kernel's random numbers.
        Err(_) => std::hash::RandomState::new().hash_one(0),
    };
    println!("{SEED}={seed}");
    seed
}

#[test]
fn crash_at_random_moments_among_six_workers() {
    let name = Name::shm("random");
    let segment = name.segment();
    let begin = || {
        let worker = Process::start(&["worker", "shm", &name.text]);
        worker.expect("ready");
        worker
    };
    let mut workers: Vec<_> = (0..6).map(|_| begin()).collect();
    let mut random = seed();
    for _ in 0..100 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        std::thread::sleep(std::time::Duration::from_micros(random >> 51));
        let i = (random >> 33) as usize % workers.len();
        if random & 1 << 40 == 0 {
            workers[(i + 1) % 6].signal(libc::SIGSTOP);
        }
        std::mem::replace(&mut workers[i], begin()).kill();
        workers[(i + 1) % 6].signal(libc::SIGCONT);
        assert_eq!(workers.iter().find_map(Process::said), None);
    }
    drop(workers);
    let lease = join(&segment, GUARDED);
    lease.recover().unwrap();
    let others = segment.leases().into_iter().filter(|other| other.index != lease.id().index);
    for other in others {
        assert!(
            !other.live && other.held == Some(false) && !held(segment.data_area(), other.index),
            "{other:?}"
        );
    }
}
