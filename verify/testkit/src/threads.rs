//! The states of the threads of a process, by `/proc`.
//!
//! A thread polls if it wakes up without a wake by another thread. On a loaded machine neither the number of context switches at its
//! start nor the length of a sleep proves that. The call in which the thread sleeps does: it has a deadline or it has none. While all
//! threads of a process sleep without a deadline, only another process can wake one of them, and a thread that was woken has another
//! count of voluntary switches when it sleeps again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::eventually;

/// The tasks of a process; some of them may end meanwhile.
fn tasks(pid: u32) -> Vec<PathBuf> {
    std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten().map(|task| task.path()).collect()
}

/// The contents of a file of a task; empty once the thread has ended.
fn read(task: &Path, what: &str) -> String {
    std::fs::read_to_string(task.join(what)).unwrap_or_default()
}

/// Whether a process has a thread whose name begins with `name`.
pub fn has_thread(pid: u32, name: &str) -> bool {
    tasks(pid).iter().any(|task| read(task, "comm").starts_with(name))
}

/// Waits until all threads of a process are stopped: the signal reaches one of them first, and the others run on until then.
pub fn wait_until_stopped(pid: u32) {
    eventually("all threads of the child are stopped", || {
        tasks(pid).iter().all(|task| read(task, "status").lines().any(|line| line.starts_with("State:\tT")))
    });
}

/// A call in which a thread sleeps until another one wakes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sleep {
    name: String,
    /// The number of the call, its arguments, and the address of the call.
    call: String,
    has_deadline: bool,
    is_shared_futex: bool,
    voluntary_switches: u64,
}

impl Sleep {
    /// `None`: the thread runs, has ended, or sleeps in a call that ends by itself.
    fn of(task: &Path) -> Option<Self> {
        const FUTEX: &str = if cfg!(target_arch = "x86_64") { "202" } else { "98" };
        const EPOLL_PWAIT: &str = if cfg!(target_arch = "x86_64") { "281" } else { "22" };
        // The newer calls have the same number on all architectures.
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
        // The same sleep as before the count was read, not a later one.
        let is_one = read(task, "syscall").trim() == call;
        is_one.then_some(Self { name, call, has_deadline, is_shared_futex, voluntary_switches })
    }
}

/// Waits until the test's own thread of a child sleeps on a word that processes share. A thread that is stopped before it sleeps could
/// still take a value that becomes available.
pub fn wait_until_asleep(pid: u32) {
    eventually("the child's test thread sleeps on a shared word", || {
        tasks(pid)
            .iter()
            .filter_map(|task| Sleep::of(task))
            .any(|sleep| sleep.name == "child" && sleep.is_shared_futex)
    });
}

/// The state of all threads of a process at one moment, without the calling thread.
#[derive(Debug, PartialEq, Eq)]
pub enum Threads {
    /// A thread runs, or sleeps in a call that ends by itself.
    Busy,
    /// A thread sleeps with a deadline.
    Polls(Sleep),
    /// All threads sleep without a deadline.
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

/// Waits until all threads of a process sleep, or one of them is found to poll.
///
/// One scan takes time: a thread that was scanned may be woken by another one that is not scanned yet. If two scans find the same sleeps,
/// all threads slept at the moment between the scans.
pub fn wait_until_quiet(pid: u32) -> Threads {
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
pub fn sleeps(pid: u32) -> BTreeMap<PathBuf, Sleep> {
    match wait_until_quiet(pid) {
        Threads::Asleep(sleeps) => sleeps,
        polls => panic!("{polls:?}"),
    }
}
