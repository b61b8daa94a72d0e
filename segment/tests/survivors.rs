//! Survivors that have lost, since they joined, what a process can lose: rights, paths, descriptors, threads, system calls. A death must
//! reach them all the same, or they must say that it does not. Method: real processes, each the only other member of its segment.

mod common;

use std::os::unix::fs::FileExt;
use std::sync::atomic::Ordering;

use common::*;
use tenure_segment::layout::{HEADER_BYTES, LEASE_BYTES};
use tenure_segment::{Absence, Backend, MonitorState, Place, RecoverError, Segment};

#[test]
fn child() {
    enter(&[
        ("member", member),
        ("anonymous", |stage| without_descriptors(stage, Place::Anonymous)),
        ("memfd", |stage| without_descriptors(stage, Place::Memfd(None))),
    ]);
}

const NOBODY: u32 = 65534;

/// Opens files, starts threads.
const OPENS: &[libc::c_long] = &[
    #[cfg(target_arch = "x86_64")]
    libc::SYS_open,
    libc::SYS_openat,
    libc::SYS_openat2,
];
const THREADS: &[libc::c_long] = &[libc::SYS_clone, libc::SYS_clone3];

fn close_all() {
    for number in 3..1024 {
        // SAFETY: closes all descriptors except the pipes; the test requires that all code here survives it.
        unsafe { libc::close(number) };
    }
}

fn limit(what: libc::__rlimit_resource_t, to: u64) {
    let limit = libc::rlimit { rlim_cur: to, rlim_max: to };
    // SAFETY: a limit of ours.
    assert_eq!(unsafe { libc::setrlimit(what, &raw const limit) }, 0);
}

/// Takes something from this process; false if that is not possible here.
fn lose(what: &str) -> bool {
    match what {
        // SAFETY: drops rights of this process only.
        "user" => unsafe { libc::setgid(NOBODY) == 0 && libc::setuid(NOBODY) == 0 },
        "root folder" => {
            let empty = std::env::temp_dir().join(format!("segtest-empty-{}", std::process::id()));
            std::fs::create_dir(&empty).unwrap();
            std::env::set_current_dir(&empty).unwrap();
            // Before it is the root: afterwards its path leads elsewhere.
            std::fs::remove_dir(&empty).unwrap();
            // SAFETY: strings.
            unsafe { libc::chroot(c".".as_ptr()) == 0 && libc::chdir(c"/".as_ptr()) == 0 }
        }
        "descriptors" => {
            close_all();
            true
        }
        "room for descriptors" => {
            limit(libc::RLIMIT_NOFILE, 0);
            true
        }
        "opens" => deny_all(OPENS),
        "threads" => deny_all(THREADS),
        "waitv" => deny_all(&[libc::SYS_futex_waitv]),
        "locks" => deny_all(&[libc::SYS_fcntl]),
        "everything" => ["root folder", "user", "descriptors", "room for descriptors", "opens", "threads"]
            .into_iter()
            .all(lose),
        other => panic!("{other}"),
    }
}

/// Joins and obeys orders. Arguments: backend, name; guarded, alone, or guarded by a monitor that shares the descriptors of the program.
fn member(stage: &Stage) {
    let segment = stage.attach().unwrap();
    let how = stage.arguments[2].as_str();
    if how == "sharing" && !deny_all(&[libc::SYS_close_range]) {
        return stage.say("skipped");
    }
    let lease = join(&segment, if how == "alone" { ALONE } else { GUARDED });
    stage.say(format!("joined {}", lease.id().index));
    loop {
        let order = stage.listen();
        match order.split_once(' ') {
            Some(("lose", what)) => stage.say(if lose(what) { "lost" } else { "skipped" }),
            Some(("attend", of)) => stage.say(format!("{:?}", lease.attend(of.parse().unwrap()))),
            _ if order == "state" => stage.say(format!("{:?}", lease.monitor_state())),
            _ if order == "recover" => stage.say(format!("{:?}", lease.recover())),
            _ => panic!("{order}"),
        }
    }
}

fn start(name: &Name, how: &str) -> (Process, u8) {
    let child = Process::start(&["member", &name.backend.to_string(), &name.text, how]);
    let said = child.hear();
    let index = said.strip_prefix("joined ").expect(&said).parse().unwrap();
    (child, index)
}

fn is_live(segment: &Segment, index: u8) -> bool {
    segment.leases()[usize::from(index)].live
}

trait Survivor {
    /// Whether it lost that.
    fn loses(&mut self, what: &str) -> bool;
    fn says(&mut self, order: &str, expected: impl std::fmt::Debug);
}

impl Survivor for Process {
    fn loses(&mut self, what: &str) -> bool {
        self.tell(&format!("lose {what}"));
        let lost = self.hear() == "lost";
        if !lost {
            println!("SKIPPED: losing {what}: not possible here");
        }
        lost
    }

    fn says(&mut self, order: &str, expected: impl std::fmt::Debug) {
        self.tell(order);
        self.expect(&format!("{expected:?}"));
    }
}

/// Each loss alone, and all of them together.
const LOSSES: [&str; 8] =
    ["user", "root folder", "descriptors", "room for descriptors", "opens", "threads", "waitv", "everything"];

#[test]
fn a_death_reaches_a_survivor_that_has_lost_what_can_be_lost() {
    for backend in [Backend::Shm, Backend::SysV] {
        for loss in LOSSES {
            let name = Name::new(backend, "denied");
            let segment = name.segment();
            let (mut survivor, me) = start(&name, "guarded");
            if !survivor.loses(loss) {
                continue;
            }
            let (victim, index) = start(&name, "guarded");
            victim.kill();
            eventually(&format!("{backend}, without {loss}: the survivor recovers"), || {
                !is_live(&segment, index)
            });
            assert_eq!(reclaimed_by(segment.data_area(), index), Some(me));
            let state = match loss {
                "waitv" => MonitorState::Degraded(Absence::FutexWaitv { errno: libc::EPERM }),
                _ => MonitorState::Running,
            };
            survivor.says("state", state);
            survivor.says("recover", Ok::<_, RecoverError>(0));
        }
    }
}

/// The notification comes before the proof: without a reaper the monitor has to look again. The test signals it while the owner lives.
#[test]
fn without_a_thread_the_monitor_itself_waits_for_the_proof() {
    let name = Name::shm("unproved");
    let segment = name.segment();
    let (mut survivor, me) = start(&name, "guarded");
    let (victim, index) = start(&name, "guarded");
    if !survivor.loses("threads") {
        return;
    }
    let notification = HEADER_BYTES + LEASE_BYTES * 8 + 8 * (8 * u64::from(index) + u64::from(me));
    let file = std::fs::OpenOptions::new().write(true).open(segment.path().unwrap()).unwrap();
    file.write_all_at(&0xC000_0000_u32.to_le_bytes(), notification).unwrap();
    // The state is that of a look after the signal.
    survivor.says("state", MonitorState::Degraded(Absence::Thread { errno: libc::EPERM }));
    assert!(is_live(&segment, index), "not dead yet");
    victim.kill();
    eventually("the monitor recovers", || !is_live(&segment, index));
    survivor.says("state", MonitorState::Running);
}

/// A member without a monitor: `recover` uses what the join opened.
#[test]
fn recovery_by_hand_needs_nothing_that_is_lost() {
    for loss in ["user", "root folder", "room for descriptors", "opens"] {
        let name = Name::shm("by-hand");
        let _segment = name.segment();
        let (mut survivor, _) = start(&name, "alone");
        if !survivor.loses(loss) {
            continue;
        }
        let (victim, _) = start(&name, "alone");
        survivor.says("recover", Ok::<_, RecoverError>(0));
        victim.kill();
        survivor.says("recover", Ok::<_, RecoverError>(1));
        survivor.says("state", MonitorState::Off);
    }
}

#[test]
fn a_monitor_recovers_for_a_program_that_cannot() {
    let name = Name::shm("delegated");
    let segment = name.segment();
    let (mut survivor, me) = start(&name, "guarded");
    // It arms no notifications: only the order to sweep leads the monitor to it.
    let (victim, index) = start(&name, "alone");
    if !survivor.loses("everything") {
        return;
    }
    victim.kill();
    assert!(is_live(&segment, index));
    survivor.says("recover", Ok::<_, RecoverError>(1));
    assert_eq!(reclaimed_by(segment.data_area(), index), Some(me));
}

/// The notification of an owner without a monitor never comes: a waiter has the monitor wait for the owner's lock.
#[test]
fn a_waiter_is_told_of_an_owner_without_a_monitor() {
    for loss in ["user", "threads", "everything"] {
        let name = Name::shm("attended");
        let segment = name.segment();
        let (mut survivor, _) = start(&name, "guarded");
        let (victim, index) = start(&name, "alone");
        if !survivor.loses(loss) {
            continue;
        }
        survivor.says(&format!("attend {index}"), Ok::<(), Absence>(()));
        victim.kill();
        eventually(&format!("without {loss}: the survivor recovers"), || !is_live(&segment, index));
    }
}

#[test]
fn what_cannot_be_recovered_is_said() {
    let name = Name::shm("said");
    let segment = name.segment();
    let (mut survivor, _) = start(&name, "guarded");
    let (mut lone, _) = start(&name, "alone");
    let (victim, index) = start(&name, "guarded");
    if !survivor.loses("locks") || !lone.loses("descriptors") || !lone.loses("root folder") {
        return;
    }
    victim.kill();
    let refused = Absence::Locks { errno: libc::EPERM };
    survivor.says("state", MonitorState::Failed(refused));
    survivor.says("recover", Err::<usize, _>(RecoverError::Unable(refused)));
    survivor.says(&format!("attend {index}"), Err::<(), _>(refused));
    assert!(is_live(&segment, index));
    // Without a monitor, the descriptor closed, and no path.
    let gone = Absence::Locks { errno: libc::EBADF };
    lone.says("recover", Err::<usize, _>(RecoverError::Unable(gone)));
    lone.says(&format!("attend {index}"), Err::<(), _>(gone));
}

/// On a kernel without descriptor tables of threads the monitor opens again what the program has closed.
#[test]
fn a_monitor_that_shares_the_descriptors_of_the_program_looks_again() {
    for loss in ["user", "room for descriptors", "descriptors"] {
        let name = Name::shm("sharing");
        let segment = name.segment();
        let mut survivor = Process::start(&["member", "shm", &name.text, "sharing"]);
        if survivor.hear() == "skipped" || !survivor.loses(loss) {
            println!("SKIPPED: sharing: not possible here");
            continue;
        }
        let (victim, index) = start(&name, "guarded");
        victim.kill();
        eventually(&format!("without {loss}: the survivor recovers"), || !is_live(&segment, index));
        survivor.says("state", MonitorState::Running);
    }
}

#[test]
fn a_waiter_without_a_monitor_and_without_threads_is_told_so() {
    let name = Name::shm("no-reaper");
    let _segment = name.segment();
    let (mut lone, _) = start(&name, "alone");
    let (_owner, index) = start(&name, "guarded");
    if lone.loses("threads") {
        let refused = Absence::Thread { errno: libc::EPERM };
        lone.says(&format!("attend {index}"), Err::<(), _>(refused));
    }
}

/// A segment without a path, a process that has closed all descriptors: nothing but the monitor reaches the locks.
fn without_descriptors(stage: &Stage, place: Place) {
    let segment = open_or_create(place, &spec());
    let lease = join(&segment, GUARDED);
    let go = &lease.data_area().words()[1000];
    // SAFETY: the child uses the segment that it inherits and never returns.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: plain numbers.
        unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
        let own = join(&segment, GUARDED);
        own.data_area().words()[1000].store(1, Ordering::SeqCst);
        // SAFETY: it is killed here.
        let wait = || unsafe { libc::pause() };
        loop {
            wait();
        }
    }
    eventually("the child has joined", || go.load(Ordering::SeqCst) == 1);
    close_all();
    // SAFETY: our child.
    unsafe { libc::kill(child, libc::SIGKILL) };
    reap(child);
    eventually("the monitor recovers", || !is_live(&segment, 1));
    assert_eq!(reclaimed_by(segment.data_area(), 1), Some(0));
    assert_eq!(lease.monitor_state(), MonitorState::Running);
    assert_eq!(lease.recover(), Ok(0));
    lease.leave().unwrap();
    stage.say("ok");
}

#[test]
fn a_monitor_keeps_its_descriptors_when_the_program_closes_all() {
    for role in ["anonymous", "memfd"] {
        let child = Process::start(&[role]);
        child.expect("ok");
        assert!(child.wait().success());
    }
}
