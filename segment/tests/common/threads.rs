//! What threads of a process do, as `/proc` tells.
//!
//! A thread polls if it wakes up although nobody woke it. Neither how often it was switched out while it started nor how long it sleeps
//! tells that on a loaded machine. The call in which it sleeps does: it has a deadline or it has none. While all threads of a process
//! sleep without a deadline, only another process can wake one of them, and if one was woken, its count of voluntary switches is
//! another as soon as it sleeps again.
#![allow(dead_code, reason = "each test binary uses a part")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::fail_safe::eventually;

/// The tasks of a process, those that end meanwhile among them.
fn tasks(pid: u32) -> Vec<PathBuf> {
    std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten().map(|task| task.path()).collect()
}

/// Nothing once the thread has ended.
fn read(task: &Path, what: &str) -> String {
    std::fs::read_to_string(task.join(what)).unwrap_or_default()
}

/// Whether a process has a thread whose name begins with `name`.
pub(crate) fn has_thread(pid: u32, name: &str) -> bool {
    tasks(pid).iter().any(|task| read(task, "comm").starts_with(name))
}

/// Waits until all threads of a process are stopped: the signal reaches one of them first, and the others run on until then.
pub(crate) fn wait_until_stopped(pid: u32) {
    eventually("all threads of the child are stopped", || {
        tasks(pid).iter().all(|task| read(task, "status").lines().any(|line| line.starts_with("State:\tT")))
    });
}

/// A call in which a thread sleeps until another one wakes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sleep {
    name: String,
    /// The number of the call, its arguments, and where it was made.
    call: String,
    has_deadline: bool,
    is_shared_futex: bool,
    voluntary_switches: u64,
}

impl Sleep {
    /// `None`: it runs, has ended, or sleeps in a call that ends by itself.
    fn of(task: &Path) -> Option<Self> {
        const FUTEX: &str = if cfg!(target_arch = "x86_64") { "202" } else { "98" };
        const EPOLL_PWAIT: &str = if cfg!(target_arch = "x86_64") { "281" } else { "22" };
        // These have one number everywhere.
        const EPOLL_PWAIT2: &str = "441";
        const FUTEX_WAITV: &str = "449";
        let (name, call) = (read(task, "comm").trim().to_owned(), read(task, "syscall").trim().to_owned());
        let words: Vec<_> = call.split(' ').collect();
        // Each of these calls takes the deadline as its fourth argument.
        let [number, _, operation, _, deadline, ..] = words[..] else { return None };
        let number_of = |word: &str| u64::from_str_radix(word.trim_start_matches("0x"), 16).ok();
        let (has_deadline, is_shared_futex) = match number {
            FUTEX => {
                let (private, realtime) = (0x80, 0x100);
                let operation = number_of(operation)?;
                // FUTEX_WAIT and FUTEX_WAIT_BITSET.
                if !matches!(operation & !(private | realtime), 0 | 9) {
                    return None;
                }
                (number_of(deadline)? != 0, operation & private == 0)
            }
            FUTEX_WAITV => (number_of(deadline)? != 0, true),
            EPOLL_PWAIT2 => (number_of(deadline)? != 0, false),
            // Milliseconds in the lower half; -1: no deadline.
            EPOLL_PWAIT => (number_of(deadline)? as u32 != u32::MAX, false),
            _ => return None,
        };
        let status = read(task, "status");
        let switches = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
        let voluntary_switches = switches.trim().parse().ok()?;
        // It was one sleep all the time, not a later one that was counted.
        let is_one = read(task, "syscall").trim() == call;
        is_one.then_some(Self { name, call, has_deadline, is_shared_futex, voluntary_switches })
    }
}

/// Waits until the test's own thread of a child sleeps on a word that processes share: one that was on its way when it was stopped could
/// still take what becomes available.
pub(crate) fn wait_until_asleep(pid: u32) {
    eventually("the child's test thread sleeps on a shared word", || {
        tasks(pid)
            .iter()
            .filter_map(|task| Sleep::of(task))
            .any(|sleep| sleep.name == "child" && sleep.is_shared_futex)
    });
}

/// What all threads of a process do at one moment, but one of the caller's own.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Threads {
    /// One of them runs, or sleeps in a call that ends by itself.
    Busy,
    /// One of them sleeps, and wakes up by itself.
    Polls(Sleep),
    /// All sleep until they are woken.
    Asleep(BTreeMap<PathBuf, Sleep>),
}

fn look(pid: u32) -> Threads {
    // SAFETY: no memory is involved.
    let own = unsafe { libc::gettid() }.to_string();
    let mut found = BTreeMap::new();
    for task in tasks(pid) {
        if task.ends_with(&own) {
            continue;
        }
        match Sleep::of(&task) {
            None => return Threads::Busy,
            Some(sleep) if sleep.has_deadline => return Threads::Polls(sleep),
            Some(sleep) => drop(found.insert(task, sleep)),
        }
    }
    Threads::Asleep(found)
}

/// Waits until all threads of a process sleep, or one of them is seen to poll.
///
/// One look takes time: a thread may be woken after it was looked at, by one that was not yet. Two that find the same sleeps have found
/// all threads asleep at the moment between them.
pub(crate) fn wait_until_quiet(pid: u32) -> Threads {
    let mut before = Threads::Busy;
    eventually("all threads of the process sleep until they are woken", || {
        let now = look(pid);
        let is_certain = matches!(now, Threads::Polls(_)) || (now != Threads::Busy && now == before);
        before = now;
        is_certain
    });
    before
}

/// As [`wait_until_quiet`], for a process that must not poll.
pub(crate) fn sleeps(pid: u32) -> BTreeMap<PathBuf, Sleep> {
    match wait_until_quiet(pid) {
        Threads::Asleep(sleeps) => sleeps,
        polls => panic!("{polls:?}"),
    }
}
