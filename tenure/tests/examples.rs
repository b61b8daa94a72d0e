//! The examples, with worker processes that are killed while they work: what each example promises is so.
//!
//! The examples are modules of this binary, which starts itself again as the example and as its workers. A worker that has done its work waits
//! until the kills are over. So each kill hits a worker that lives, and is followed by a restart, whatever the time that anything takes.
#![cfg(all(feature = "objects", feature = "typed"))]
#![allow(clippy::duplicate_mod, reason = "each example has a module that both use")]

#[path = "../examples/cache.rs"]
#[allow(dead_code, reason = "its main function")]
mod cache;
mod common;
#[path = "../examples/jobs.rs"]
#[allow(dead_code, reason = "its main function")]
mod jobs;
#[path = "../examples/service.rs"]
#[allow(dead_code, reason = "its main function")]
mod service;

use std::fs;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use common::threads::wait_until_asleep;
use common::{Name, Process, eventually, in_role, role, say};
use tenure::{
    Member, Space,
    collections::{Map, Queue},
    sync::{Mutex, Shared},
};

const JOBS: usize = 300_000;
const KILLS: u32 = 60;

/// Arguments: the space, the gate, and the example with its numbers, or the role of a worker.
#[test]
fn child() {
    let Some(role) = role() else { return };
    let (space, gate) = (&*role[0], &*role[1]);
    let start = |role: &'static str| in_role(&[space, gate, role]).stdout(Stdio::null()).spawn();
    match &*role[2] {
        "jobs" => say("outcome", jobs::run(space, JOBS, 3, &start).unwrap()),
        "cache" => {
            let bytes = role[3].parse().unwrap();
            say("outcome", cache::run(space, 3, u64::MAX, bytes, &start).unwrap());
        }
        "service" => say("outcome", service::run(space, u64::MAX, 3, &start).unwrap()),
        "calculator" => {
            service::calculate(space).unwrap();
            eventually("the kills are over", || fs::exists(gate).unwrap());
        }
        role => {
            if role == "worker" { cache::work(space) } else { jobs::work(role, space) }.unwrap();
            eventually("the kills are over", || fs::exists(gate).unwrap());
        }
    }
}

/// An example that runs, and the kills.
struct Example {
    process: Process,
    name: Name,
    gate: PathBuf,
    _folder: tempfile::TempDir,
    random: u64,
}

impl Example {
    fn start(arguments: &[&str]) -> Self {
        let (folder, name) = (tempfile::tempdir().unwrap(), Name::new(arguments[0]));
        let gate = folder.path().join("gate");
        let arguments = [&[&*name.0, gate.to_str().unwrap()], arguments].concat();
        let seed = std::env::var("TENURE_TEST_SEED").map(|seed| seed.parse().unwrap());
        let random = seed.unwrap_or_else(|_| RandomState::new().build_hasher().finish());
        println!("TENURE_TEST_SEED={random}");
        Self { process: Process::start(&arguments), name, gate, _folder: folder, random }
    }

    /// Numbers that look random, the same for the same seed.
    fn random(&mut self, below: u64) -> u64 {
        self.random =
            self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) % below
    }

    /// The space, once it exists.
    fn space(&self) -> Space {
        let mut space = None;
        eventually("there is a space", || {
            space = Space::options().attach(&self.name.0).ok();
            space.is_some()
        });
        space.unwrap()
    }

    /// The workers that live.
    fn workers(&self) -> Vec<i32> {
        let parent = self.process.pid();
        let is_worker = |pid: &i32| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            // The name may have spaces; the state and the parent follow it.
            let mut rest = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
            rest.next() != Some("Z") && rest.next().and_then(|of| of.parse().ok()) == Some(parent)
        };
        let names = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.file_name());
        names.filter_map(|name| name.to_str()?.parse().ok()).filter(is_worker).collect()
    }

    /// Kills one of the workers, whichever, at a moment that is not chosen.
    fn kill_one(&mut self) {
        std::thread::sleep(Duration::from_micros(self.random(8_000)));
        let mut workers = Vec::new();
        eventually("a worker lives", || {
            workers = self.workers();
            !workers.is_empty()
        });
        let victim = workers[self.random(workers.len() as u64) as usize];
        // SAFETY: plain numbers.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, victim, 0) };
        assert!(fd >= 0, "{}", std::io::Error::last_os_error());
        // SAFETY: a new descriptor.
        let fd = unsafe { OwnedFd::from_raw_fd(fd as i32) };
        // Of a worker: nobody else has got the number meanwhile.
        assert!(self.workers().contains(&victim));
        let (fd, nothing) = (fd.as_raw_fd(), std::ptr::null::<libc::siginfo_t>());
        // SAFETY: a descriptor, plain numbers, and no information.
        let sent = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, libc::SIGKILL, nothing, 0) };
        assert_eq!(sent, 0, "{}", std::io::Error::last_os_error());
        eventually("the worker is dead", || !self.workers().contains(&victim));
    }

    /// Lets the workers end. Returns what the example says at its end, and that nothing is left.
    fn end(mut self, space: &Space) -> String {
        fs::write(&self.gate, "").unwrap();
        let outcome = self.process.receive("outcome").expect("the example says how it ended");
        assert!(!self.process.was_killed());
        assert!(Space::options().attach(&self.name.0).is_err(), "the space was not removed");
        let report = space.check_quiet();
        assert!(report.is_clean() && report.pending.is_empty(), "{report:?}");
        assert_eq!((report.stats.handles_live, report.stats.blocks_live()), (0, 0));
        println!("{outcome}");
        outcome
    }
}

#[test]
fn each_job_is_done_although_all_are_killed() {
    let mut example = Example::start(&["jobs"]);
    let space = example.space();
    (0..KILLS).for_each(|_| example.kill_one());
    let outcome = example.end(&space);
    assert!(outcome.starts_with(&format!("{JOBS} jobs done, ")), "{outcome}");
    assert!(outcome.ends_with(&format!("; {KILLS} processes were killed")), "{outcome}");
}

/// The cache of an example that runs.
fn cache_of(me: &Member) -> (Map, Shared<cache::Counts>) {
    let mut found = None;
    eventually("there is a cache", || {
        found = Map::open(me, "cache").ok().zip(Shared::open(me, "counts").ok());
        found.is_some()
    });
    found.unwrap()
}

#[test]
fn what_is_in_the_cache_stays_when_all_are_killed() {
    let mut example = Example::start(&["cache", "100000000"]);
    let space = example.space();
    let me = space.join().unwrap();
    let (cache, counts) = cache_of(&me);
    for kill in 1..=KILLS as usize {
        eventually("the workers insert", || cache.len().unwrap() >= 10 * kill);
        let before: Vec<_> = cache.iter().map(Result::unwrap).collect();
        example.kill_one();
        me.recover().unwrap();
        for (key, value) in before {
            assert_eq!(cache.get(&key).unwrap(), Some(value));
        }
        // So that the next one is killed while it inserts.
        cache.clear().unwrap();
    }
    counts.get().unwrap().lookups.store(0, Relaxed);
    drop((cache, counts));
    me.leave().unwrap();
    let outcome = example.end(&space);
    assert!(outcome.ends_with(&format!("; {KILLS} processes were killed")), "{outcome}");
}

/// Nobody would start it again, or tell it that there is no more.
#[test]
fn a_worker_ends_when_the_process_that_looks_after_it_does() {
    let name = Name::new("unwatched");
    let space = name.open(Space::options().members(8).container_slots(1024).scratch(64 << 20));
    let me = space.join().unwrap();
    let mut parent = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
    let _supervisor = tenure::process::Process::of_pid(me.named("supervisor"), parent.id()).unwrap();
    let consumer = Process::start(&[&name.0, "", "consumer"]);
    wait_until_asleep(consumer.id());
    parent.kill().unwrap();
    assert_eq!(consumer.wait().code(), Some(1));
    parent.wait().unwrap();
}

#[test]
fn a_bounded_cache_evicts_and_keeps_whole_values_when_all_are_killed() {
    const BYTES: u64 = 200_000;
    let mut example = Example::start(&["cache", &BYTES.to_string()]);
    let space = example.space();
    let me = space.join().unwrap();
    let (cache, counts) = cache_of(&me);
    (0..KILLS).for_each(|_| example.kill_one());
    let inserted = &counts.get().unwrap().inserted;
    eventually("more is inserted than there is room for", || inserted.load(Relaxed) > BYTES / 16);
    counts.get().unwrap().lookups.store(0, Relaxed);
    for pair in &cache {
        let (key, value) = pair.unwrap();
        assert_eq!(value, cache::compute(u64::from_le_bytes(key.try_into().unwrap())));
    }
    drop((cache, counts));
    me.leave().unwrap();
    let outcome = example.end(&space);
    assert!(!outcome.contains(" 0 evictions"), "{outcome}");
    assert!(outcome.ends_with(&format!("; {KILLS} processes were killed")), "{outcome}");
}

#[test]
fn each_request_is_answered_although_all_workers_are_killed() {
    let mut example = Example::start(&["service"]);
    let space = example.space();
    let me = space.join().unwrap();
    let mut found = None;
    eventually("there is a ledger", || {
        found = Shared::<service::Ledger>::open(&me, "ledger").ok();
        found.is_some()
    });
    let ledger = found.unwrap();
    let numbers = ledger.get().unwrap();
    for _ in 0..KILLS {
        let before = numbers.answers.load(Relaxed);
        eventually("requests are answered", || numbers.answers.load(Relaxed) > before);
        example.kill_one();
    }
    // As if a client went away.
    let jobs = Queue::<service::Job>::open(&me, "jobs").unwrap();
    let gone = Shared::<service::Answer>::create(&me).unwrap().token();
    numbers.pushed.fetch_add(1, Relaxed);
    jobs.push_with(&Some([7, gone.into(), gone.into()]), None).unwrap();
    // As if a worker was killed between its two changes of the ledger.
    let killed = space.join().unwrap();
    let lock = Mutex::open(&killed, "lock").unwrap();
    std::mem::forget(lock.lock().unwrap());
    numbers.done.store(0, Relaxed);
    drop((lock, killed));
    numbers.requests.store(0, Relaxed);
    drop((ledger, jobs));
    me.leave().unwrap();
    let outcome = example.end(&space);
    let (answers, rest) = outcome.split_once(" answers, ").unwrap();
    assert!(answers.parse::<u32>().unwrap() > KILLS);
    let (missing, rest) = rest.split_once(" jobs not in the ledger; ").unwrap();
    assert!(missing.parse::<u32>().unwrap() <= KILLS, "each killed worker had one job at most");
    assert_eq!(rest, format!("{KILLS} processes were killed"));
}
