//! Leases within living processes: join, leave, incarnations, full tables, corrupted words, commit and decommit.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use common::*;
use tenure_core::Recovery;
use tenure_segment::layout::{HEADER_BYTES, LEASE_BYTES};
use tenure_segment::{
    Absence, Backend, CommitError, DataArea, DecommitError, JoinError, MonitorState, NotMember, Place,
    Reclaim, RecoverError, Segment, Spec,
};

#[test]
fn child() {
    enter(&[("denied", denied), ("forking", forking)]);
}

/// Runs `body` with a new segment of every backend; removes its name afterwards.
fn each_backend(tag: &str, spec: &Spec, mut body: impl FnMut(Segment)) {
    for backend in [Backend::Shm, Backend::File, Backend::SysV] {
        let name = Name::new(backend, tag);
        body(open_or_create(name.place(), spec));
    }
    for place in [Place::Memfd(None), Place::Anonymous, Place::Private] {
        body(open_or_create(place, spec));
    }
}

#[test]
fn leaving_frees_the_slot_and_incarnations_grow() {
    each_backend("incarnations", &spec(), |segment| {
        for incarnation in 1..=3 {
            let lease = join(&segment, GUARDED);
            assert_eq!((lease.id().index, lease.id().incarnation), (0, incarnation), "{}", segment.backend());
            assert_eq!(lease.acquire().id(), lease.id());
            let info = segment.leases()[0];
            assert!(info.live && info.incarnation == incarnation && info.pid == std::process::id());
            assert_eq!(info.held, (segment.backend() != Backend::Private).then_some(true));
            lease.check().unwrap();
            lease.leave().unwrap();
            assert_eq!(lease.leave(), Err(NotMember::Left));
            assert_eq!(lease.check(), Err(NotMember::Left));
            assert_eq!(lease.recover(), Err(RecoverError::NotMember(NotMember::Left)));
            assert!(matches!(lease.commit(0..1), Err(CommitError::NotMember(NotMember::Left))));
            assert!(matches!(lease.decommit(0..1), Err(DecommitError::NotMember(NotMember::Left))));
            // The lock is released although the `Segment` still exists.
            let info = segment.leases()[0];
            assert!(!info.live && info.incarnation == incarnation && info.held != Some(true), "{info:?}");
            assert!(!held(segment.data_area(), 0), "leaving reclaims");
            assert_eq!(reclaimed_by(segment.data_area(), 0), Some(0));
        }
    });
}

#[test]
fn dropping_leaves() {
    each_backend("drop", &spec(), |segment| {
        drop(join(&segment, GUARDED));
        let info = segment.leases()[0];
        assert!(!info.live && info.held != Some(true), "{}", segment.backend());
    });
}

#[test]
fn a_full_table_says_so_and_the_lowest_free_slot_is_taken() {
    each_backend("full", &spec(), |segment| {
        let mut leases: Vec<_> = (0..8).map(|_| join(&segment, ALONE)).collect();
        assert!(leases.iter().enumerate().all(|(i, lease)| usize::from(lease.id().index) == i));
        let refused = segment.join(ALONE, Arc::new(Clear)).unwrap_err();
        assert!(matches!(refused, JoinError::Full { members: 8 }), "{refused}");
        drop(leases.swap_remove(5));
        drop(leases.swap_remove(2));
        assert_eq!(join(&segment, ALONE).id().index, 2);
        assert_eq!(join(&segment, ALONE).id().index, 2);
    });
}

#[test]
fn many_members_are_as_good_as_few() {
    for count in [64, 256_u16] {
        let name = Name::shm("many");
        let segment = open_or_create(name.place(), &members(count));
        // Two members have a monitor: with 256 slots these are three threads each.
        let guarded = [join(&segment, GUARDED), join(&segment, GUARDED)];
        let others: Vec<_> = (2..count).map(|_| join(&segment, ALONE)).collect();
        assert!(segment.join(ALONE, Arc::new(Clear)).is_err());
        assert!(guarded.iter().all(|lease| lease.monitor_state() == MonitorState::Running));
        assert!(segment.leases().iter().all(|lease| lease.held == Some(true)));
        assert_eq!(others.last().unwrap().id().index, (count - 1) as u8);
        drop(others);
        assert_eq!(segment.leases().iter().filter(|lease| lease.live).count(), 2);
    }
}

#[test]
fn sixty_four_monitors_in_one_process() {
    let name = Name::shm("monitors");
    let segment = open_or_create(name.place(), &members(64));
    let leases: Vec<_> = (0..64).map(|_| join(&segment, GUARDED)).collect();
    assert!(leases.iter().all(|lease| lease.monitor_state() == MonitorState::Running));
    drop(leases);
    assert!(segment.leases().iter().all(|lease| !lease.live && lease.held == Some(false)));
}

/// Writes a value to a lease word that no member would store.
fn corrupt(segment: &Segment, index: u8, word: u64) {
    use std::os::unix::fs::FileExt;
    let file = std::fs::OpenOptions::new().write(true).open(segment.path().unwrap()).unwrap();
    file.write_all_at(&word.to_le_bytes(), HEADER_BYTES + LEASE_BYTES * u64::from(index)).unwrap();
}

#[test]
fn corrupted_lease_words_are_cleaned_up_and_never_panic() {
    let name = Name::shm("corrupt");
    let segment = name.segment();
    corrupt(&segment, 0, 5 << 8 | 0xEE);
    corrupt(&segment, 1, u64::MAX);
    corrupt(&segment, 2, 9 << 8 | 1);
    let lease = join(&segment, GUARDED);
    assert_eq!(lease.id().index, 3, "an unknown state is a dirty one");
    let leases = segment.leases();
    assert!(
        leases.iter().all(|lease| lease.live == (lease.index == 3)),
        "joining recovers all that nobody holds: {leases:?}"
    );
    assert_eq!(reclaimed_by(segment.data_area(), 1), Some(3));
    let (next, other) = (join(&segment, ALONE), join(&segment, ALONE));
    assert_eq!((next.id().index, next.id().incarnation), (0, 6));
    assert_eq!(
        (other.id().index, other.id().incarnation),
        (2, 10),
        "a slot at the last incarnation is left alone"
    );
    // Our own lease word, while we are a member.
    corrupt(&segment, 3, 0x1234_5678_9ABC_DEF0);
    lease.check().unwrap();
    drop(lease);
    assert_eq!(next.recover(), Ok(1), "what the leaver could not free is dirty");
    assert!(!segment.leases()[3].live);
}

#[test]
fn corrupted_notifications_wake_nobody_to_do_harm() {
    let name = Name::shm("notifications");
    let segment = name.segment();
    let lease = join(&segment, GUARDED);
    let other = join(&segment, GUARDED);
    // Row 1, column 0: the value after a death; invalid values in the other rows.
    use std::os::unix::fs::FileExt;
    let file = std::fs::OpenOptions::new().write(true).open(segment.path().unwrap()).unwrap();
    let notifications = HEADER_BYTES + 8 * LEASE_BYTES;
    for (row, value) in [(1, 0xC000_0000_u32), (2, 0xFFFF_FFFF), (3, 0x4000_0001), (4, 0x1234)] {
        file.write_all_at(&value.to_le_bytes(), notifications + row * 64).unwrap();
    }
    // A join makes the monitors scan their notifications.
    let third = join(&segment, GUARDED);
    // The notification of row 1 stays signalled while its owner lives; row 3 has no owner.
    eventually("the false notification is answered", || {
        let mut notification = [0; 4];
        std::fs::File::open(segment.path().unwrap())
            .unwrap()
            .read_exact_at(&mut notification, notifications + 3 * 64)
            .unwrap();
        u32::from_le_bytes(notification) == 0
    });
    for member in [&lease, &other, &third] {
        member.check().unwrap();
        assert!(held(segment.data_area(), member.id().index), "a false notification reclaims nothing");
    }
}

/// Whole pages of up to 64 KiB in the data area, which begins at 4096.
const FROM: u64 = 65536 - 4096;
const TO: u64 = FROM + 65536;

#[test]
fn commit_and_decommit_move_memory() {
    each_backend("commit", &Spec { data_area_bytes: 1 << 20, ..spec() }, |segment| {
        let lease = join(&segment, ALONE);
        let word = |offset: usize| &lease.data_area().words()[offset / 8];
        // SAFETY: a number.
        let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) as u64 };
        let before = segment.committed_bytes();
        lease.commit(FROM..TO).unwrap();
        lease.commit(FROM..TO).unwrap();
        word(FROM as usize).store(1, Ordering::Relaxed);
        word(TO as usize - 8).store(2, Ordering::Relaxed);
        let grown = segment.committed_bytes().zip(before).map(|(after, before)| after - before);
        assert!(grown.is_none_or(|grown| grown == 65536), "{}: {grown:?}", segment.backend());
        assert_eq!(lease.decommit(FROM..TO - 1).unwrap(), FROM..TO - page);
        assert_eq!(word(FROM as usize).load(Ordering::Relaxed), 0, "{}", segment.backend());
        assert_eq!(word(TO as usize - 8).load(Ordering::Relaxed), 2, "only whole pages inside the range");
        assert!(lease.decommit(1..4095).unwrap().is_empty());
        assert!(matches!(lease.commit(0..(1 << 20) + 1), Err(CommitError::OutOfDataArea { .. })));
        assert!(matches!(lease.decommit(0..u64::MAX), Err(DecommitError::OutOfDataArea { .. })));
        #[allow(clippy::reversed_empty_ranges, reason = "that is the point")]
        let backwards = 5..4;
        assert!(matches!(lease.commit(backwards), Err(CommitError::OutOfDataArea { .. })));
        lease.commit(7..7).unwrap();
    });
}

/// Locked memory of a file is decommitted through the file. Locked memory without a file stays, and `decommit` returns an error.
#[test]
fn locked_memory_goes_back_or_is_said_to_stay() {
    each_backend("locked", &Spec { data_area_bytes: 1 << 20, ..spec() }, |segment| {
        let lease = join(&segment, ALONE);
        lease.commit(FROM..TO).unwrap();
        let word = &lease.data_area().words()[FROM as usize / 8];
        word.store(1, Ordering::Relaxed);
        let before = segment.committed_bytes();
        // SAFETY: pages of this member's mapping, which stay mapped until the lease ends.
        if unsafe { libc::mlock((&raw const *word).cast(), 65536) } != 0 {
            return println!("SKIPPED: locked: no memory to be locked here");
        }
        let decommitted = lease.decommit(FROM..TO);
        // Before the load of the word: that may commit its page again.
        let shrunk = before.zip(segment.committed_bytes()).map(|(before, after)| before - after);
        let gone = word.load(Ordering::Relaxed) == 0;
        assert_eq!(decommitted.is_ok(), gone, "{}: {decommitted:?}", segment.backend());
        let expected = if gone { 65536 } else { 0 };
        assert!(shrunk.is_none_or(|shrunk| shrunk == expected), "{}: {shrunk:?}", segment.backend());
        let is_file = matches!(segment.backend(), Backend::Shm | Backend::File | Backend::Memfd);
        assert!(gone || !is_file, "{}: {decommitted:?}", segment.backend());
    });
}

#[test]
fn a_truncated_file_is_noticed_before_it_faults() {
    let name = Name::shm("truncated");
    let segment = name.segment();
    let lease = join(&segment, ALONE);
    let file = std::fs::OpenOptions::new().write(true).open(segment.path().unwrap()).unwrap();
    file.set_len(segment.total_bytes() - 4096).unwrap();
    assert!(matches!(lease.commit(0..4096), Err(CommitError::Truncated { expected: 20480, found: 16384 })));
    let refused = segment.join(ALONE, Arc::new(Clear)).unwrap_err();
    assert!(matches!(refused, JoinError::Truncated { expected: 20480, found: 16384, .. }), "{refused}");
}

#[test]
fn threads_join_and_leave_at_once() {
    let name = Name::shm("threads");
    let segment = open_or_create(name.place(), &members(4));
    let joined = AtomicU64::new(0);
    scope("all threads join and leave", |scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for round in 0..50 {
                    let options = if round % 2 == 0 { GUARDED } else { ALONE };
                    match segment.join(options, Arc::new(Clear)) {
                        Ok(lease) => {
                            hold(lease.data_area(), lease.id());
                            lease.recover().unwrap();
                            joined.fetch_add(1, Ordering::Relaxed);
                        }
                        Err(JoinError::Full { .. }) => std::thread::yield_now(),
                        Err(error) => panic!("{error}"),
                    }
                }
            });
        }
    });
    let leases = segment.leases();
    assert!(leases.iter().all(|lease| !lease.live && lease.held == Some(false)), "{leases:?}");
    let incarnations: u64 = leases.iter().map(|lease| lease.incarnation).sum();
    assert_eq!(incarnations, joined.into_inner());
}

/// A member whose `reclaim` panics.
struct Panics;

impl Reclaim for Panics {
    fn reclaim(&self, _: DataArea<'_>, _: &Recovery) {
        panic!("on purpose");
    }
}

#[test]
fn a_panic_while_leaving_leaves_a_dirty_lease_for_others() {
    let name = Name::shm("panic");
    let segment = name.segment();
    let other = join(&segment, ALONE);
    let lease = segment.join(GUARDED, Arc::new(Panics)).unwrap();
    hold(lease.data_area(), lease.id());
    let index = lease.id().index;
    let left = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| lease.leave()));
    assert!(left.is_err());
    assert_eq!(segment.leases()[usize::from(index)].held, Some(true));
    drop(lease);
    assert!(segment.leases()[usize::from(index)].live && held(segment.data_area(), index));
    assert_eq!(other.recover(), Ok(1));
    assert!(!held(segment.data_area(), index));
}

#[test]
fn a_lease_outlives_its_segment_value() {
    each_backend("outlives", &spec(), |segment| {
        let lease = join(&segment, GUARDED);
        let backend = segment.backend();
        drop(segment);
        lease.check().unwrap();
        assert_eq!(lease.recover(), Ok(0));
        lease.commit(0..4096).unwrap();
        assert!(held(lease.data_area(), 0), "{backend}");
        lease.leave().unwrap();
    });
}

/// The `VmFlags` of the mapping that contains `address`.
fn vm_flags(address: usize) -> Vec<String> {
    let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
    let mut inside = false;
    for line in maps.lines() {
        let range = line.split_once(' ').and_then(|(range, _)| range.split_once('-'));
        let parse = |text| usize::from_str_radix(text, 16).ok();
        if let Some((Some(start), Some(end))) = range.map(|(start, end)| (parse(start), parse(end))) {
            inside = (start..end).contains(&address);
        } else if let Some(flags) = line.strip_prefix("VmFlags:").filter(|_| inside) {
            return flags.split_whitespace().map(str::to_owned).collect();
        }
    }
    panic!("{address:#x} is not mapped");
}

#[test]
fn mappings_stay_out_of_children_and_dumps_and_readers_cannot_write() {
    each_backend("flags", &spec(), |segment| {
        if segment.backend() == Backend::Private {
            return;
        }
        let lease = join(&segment, ALONE);
        let has = |flags: &[String], flag: &str| flags.iter().any(|f| f == flag);
        let working = vm_flags(lease.data_area().base() as usize);
        assert!(has(&working, "wr") && has(&working, "dc") && has(&working, "dd"), "{working:?}");
        let looking = vm_flags(segment.data_area().base() as usize);
        assert!(!has(&looking, "wr") && !has(&looking, "dc") && has(&looking, "dd"), "{looking:?}");
        let base = lease.data_area().base() as usize;
        lease.leave().unwrap();
        let left = vm_flags(base);
        assert!(
            !has(&left, "rd") && !has(&left, "wr") && !has(&left, "sh"),
            "reserved and inaccessible: {left:?}"
        );
    });
}

#[test]
fn the_monitor_takes_no_signals() {
    let name = Name::shm("signals");
    let segment = name.segment();
    let _lease = join(&segment, GUARDED);
    let monitors = || {
        let mut monitors = 0;
        for task in std::fs::read_dir("/proc/self/task").unwrap().flatten() {
            // Threads of other tests start and end, and `/proc` tells no signals of an ending thread: read twice.
            let look = || std::fs::read_to_string(task.path().join("status")).unwrap_or_default();
            let (status, later) = (look(), look());
            if status.starts_with("Name:\ttenure-monitor") && later.contains("State:\tS") {
                monitors += 1;
                let blocked = status.lines().find_map(|line| line.strip_prefix("SigBlk:\t")).unwrap();
                let blocked = u64::from_str_radix(blocked, 16).unwrap();
                for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGUSR1, libc::SIGALRM, libc::SIGCHLD] {
                    assert_ne!(blocked & 1 << (signal - 1), 0, "{status}");
                }
            }
        }
        monitors
    };
    eventually("a monitor sleeps", || monitors() > 0);
}

/// Denies futex_waitv, as older container runtimes do.
fn denied(stage: &Stage) {
    if !deny_all(&[libc::SYS_futex_waitv]) {
        return stage.say("skipped");
    }
    let lease = join(&stage.attach().unwrap(), GUARDED);
    assert_eq!(lease.monitor_state(), MonitorState::Unavailable(Absence::FutexWaitv { errno: libc::EPERM }));
    lease.check().unwrap();
    stage.say("joined");
    stage.listen();
}

#[test]
fn a_sandbox_without_futex_waitv_means_no_monitor() {
    let name = Name::shm("denied");
    let segment = name.segment();
    let child = Process::start(&["denied", "shm", &name.text]);
    if child.hear() == "skipped" {
        println!("SKIPPED: no seccomp to be had here");
        return;
    }
    child.kill();
    let lease = join(&segment, ALONE);
    assert_eq!(lease.monitor_state(), MonitorState::Off);
    assert!(!segment.leases()[0].live);
}

/// One thread joins and leaves while another forks: no child may keep a lease that was left, regardless of the step at which it was
/// forked.
fn forking(stage: &Stage) {
    let segment = stage.attach().unwrap();
    let over = std::sync::atomic::AtomicBool::new(false);
    let kept = AtomicU64::new(0);
    let mut children = std::collections::VecDeque::new();
    let end = |child: libc::pid_t| {
        // SAFETY: a child of this process that was not waited for.
        unsafe {
            libc::kill(child, libc::SIGKILL);
        }
        reap(child);
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let lease = segment.join(ALONE, Arc::new(Clear)).unwrap();
                let index = usize::from(lease.id().index);
                lease.leave().unwrap();
                kept.fetch_add(u64::from(segment.leases()[index].held == Some(true)), Ordering::Relaxed);
            }
        });
        for _ in 0..400 {
            // SAFETY: the child only waits for its end; it dies with its parent at the latest.
            let child = unsafe { libc::fork() };
            if child == 0 {
                // SAFETY: plain numbers.
                unsafe {
                    libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                    loop {
                        libc::pause();
                    }
                }
            }
            children.push_back(child);
            if children.len() > 8 {
                children.pop_front().into_iter().for_each(end);
            }
        }
        over.store(true, Ordering::Relaxed);
    });
    children.into_iter().for_each(end);
    stage.say(kept.load(Ordering::Relaxed));
}

#[test]
fn a_child_forked_in_the_middle_of_a_join_keeps_nothing() {
    for backend in [Backend::Shm, Backend::SysV] {
        let name = Name::new(backend, "forking");
        let _segment = name.segment();
        let child = Process::start(&["forking", &backend.to_string(), &name.text]);
        child.expect("0");
        assert!(child.wait().success());
    }
}
