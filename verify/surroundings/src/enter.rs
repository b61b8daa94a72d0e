//! The surroundings, and how a process enters each of them before it executes a program there.
//!
//! Everything is private to the process: limits of its own, namespaces of its own, a filter of its own. Nothing of the machine changes.

use std::ffi::CString;
use std::io;

/// A surrounding: a row of the table.
pub(crate) struct Surrounding {
    /// What the row is called.
    pub(crate) name: &'static str,
    /// Puts the calling process into it; the text says what this machine lacks for it.
    pub(crate) enter: fn() -> Result<(), String>,
}

const fn of(name: &'static str, enter: fn() -> Result<(), String>) -> Surrounding {
    Surrounding { name, enter }
}

const NOBODY: u32 = 65534;
const MIB: u64 = 1 << 20;
const EPERM: i32 = libc::EPERM;
const ENOSYS: i32 = libc::ENOSYS;
const EINVAL: i32 = libc::EINVAL;

/// The topics of the table, each with its rows.
pub(crate) const ALL: &[(&str, &[Surrounding])] = &[
    (
        "Limits",
        &[
            of("none of all this", || Ok(())),
            of("RLIMIT_AS 6 GiB", || limit(libc::RLIMIT_AS, 6 << 30)),
            of("RLIMIT_AS 300 MiB", || limit(libc::RLIMIT_AS, 300 * MIB)),
            of("RLIMIT_DATA 100 MiB", || limit(libc::RLIMIT_DATA, 100 * MIB)),
            of("RLIMIT_STACK 256 KiB", || limit(libc::RLIMIT_STACK, 256 << 10)),
            of("RLIMIT_NOFILE 12", || limit(libc::RLIMIT_NOFILE, 12)),
            of("RLIMIT_FSIZE 1 MiB, SIGXFSZ ignored", || {
                ignore(libc::SIGXFSZ)?;
                limit(libc::RLIMIT_FSIZE, MIB)
            }),
            of("RLIMIT_FSIZE 1 MiB", || limit(libc::RLIMIT_FSIZE, MIB)),
            of("RLIMIT_MEMLOCK 0, another user", || {
                limit(libc::RLIMIT_MEMLOCK, 0)?;
                user(NOBODY)
            }),
            of("RLIMIT_SIGPENDING 0", || limit(libc::RLIMIT_SIGPENDING, 0)),
            of("mlockall before, /dev/shm of 64 MiB", || locked("before")),
            of("mlockall after, /dev/shm of 64 MiB", || locked("after")),
            of("no threads", deny_threads),
        ],
    ),
    (
        "Users and namespaces",
        &[
            of("another user", || user(NOBODY)),
            of("umask 0777", || {
                // SAFETY: a number of the process.
                unsafe { libc::umask(0o777) };
                Ok(())
            }),
            of("user namespace", || unshare(libc::CLONE_NEWUSER)),
            of("pid namespace", pid_namespace),
            of("ipc namespace", || unshare(libc::CLONE_NEWIPC)),
            of("net namespace", || unshare(libc::CLONE_NEWNET)),
            of("uts and cgroup namespaces", || unshare(libc::CLONE_NEWUTS | libc::CLONE_NEWCGROUP)),
        ],
    ),
    (
        "File systems",
        &[
            of("no /proc", || hide("/proc")),
            of("/proc with subset=pid", || mount("proc", "/proc", "proc", 0, "subset=pid")),
            of("/proc with hidepid=2, another user", || {
                mount("proc", "/proc", "proc", 0, "hidepid=2")?;
                user(NOBODY)
            }),
            of("no /sys", || hide("/sys")),
            of("no /tmp", || hide("/tmp/.")),
            of("no /dev/shm", || hide("/dev")),
            of("/dev/shm read-only", || mount("tmpfs", "/dev/shm", "tmpfs", libc::MS_RDONLY, "")),
            of("/dev/shm noexec,nosuid,nodev", || {
                let flags = libc::MS_NOEXEC | libc::MS_NOSUID | libc::MS_NODEV;
                mount("tmpfs", "/dev/shm", "tmpfs", flags, "mode=1777")
            }),
            of("/dev/shm of 64 KiB", || mount("tmpfs", "/dev/shm", "tmpfs", 0, "size=64k")),
            of("/dev/shm of 16 MiB", || mount("tmpfs", "/dev/shm", "tmpfs", 0, "size=16m")),
            of("/dev/shm without inodes", || mount("tmpfs", "/dev/shm", "tmpfs", 0, "nr_inodes=1")),
            of("/dev/shm of root alone, another user", || {
                mount("tmpfs", "/dev/shm", "tmpfs", 0, "mode=0755")?;
                user(NOBODY)
            }),
            of("/dev/shm is ramfs", || mount("ramfs", "/dev/shm", "ramfs", 0, "")),
            of("/dev/shm is overlayfs", overlay),
        ],
    ),
    (
        "Signals",
        &[
            of("all signals blocked", || {
                // SAFETY: a set of the caller's.
                unsafe {
                    let mut all = std::mem::zeroed();
                    libc::sigfillset(&raw mut all);
                    libc::sigprocmask(libc::SIG_BLOCK, &raw const all, std::ptr::null_mut());
                }
                Ok(())
            }),
            of("SIGCHLD ignored", || ignore(libc::SIGCHLD)),
            of("stopped and continued all the time", storm),
        ],
    ),
    (
        "Denied system calls",
        &[
            of("futex_waitv: ENOSYS", || deny(&[libc::SYS_futex_waitv], ENOSYS)),
            of("pidfd_open, pidfd_getfd, pidfd_send_signal: ENOSYS", || {
                deny(&[libc::SYS_pidfd_open, libc::SYS_pidfd_getfd, libc::SYS_pidfd_send_signal], ENOSYS)
            }),
            of("ioctl of PIDFD_GET_INFO: ENOTTY", deny_pidfd_info),
            of("close_range: ENOSYS", || deny(&[libc::SYS_close_range], ENOSYS)),
            of("close_range: EPERM", || deny(&[libc::SYS_close_range], EPERM)),
            of("clone3: ENOSYS", || deny(&[libc::SYS_clone3], ENOSYS)),
            of("unshare: EPERM", || deny(&[libc::SYS_unshare], EPERM)),
            of("madvise of MADV_DONTDUMP: EINVAL", || deny_advice(libc::MADV_DONTDUMP)),
            of("madvise of MADV_WIPEONFORK: EINVAL", || deny_advice(libc::MADV_WIPEONFORK)),
            of("madvise of MADV_DONTNEED: EINVAL", || deny_advice(libc::MADV_DONTNEED)),
            of("mremap: ENOSYS", || deny(&[libc::SYS_mremap], ENOSYS)),
            of("membarrier, rseq: ENOSYS", || deny(&[libc::SYS_membarrier, libc::SYS_rseq], ENOSYS)),
            of("getrandom: ENOSYS", || deny(&[libc::SYS_getrandom], ENOSYS)),
            of("statx: ENOSYS", || deny(&[libc::SYS_statx], ENOSYS)),
            of("statx: EPERM", || deny(&[libc::SYS_statx], EPERM)),
            of("fallocate: ENOSYS", || deny(&[libc::SYS_fallocate], ENOSYS)),
            of("linkat: EPERM", || deny(&[libc::SYS_linkat], EPERM)),
            of("memfd_create: EPERM", || deny(&[libc::SYS_memfd_create], EPERM)),
            of("set_robust_list, get_robust_list: ENOSYS", || {
                deny(&[libc::SYS_set_robust_list, libc::SYS_get_robust_list], ENOSYS)
            }),
            of("epoll, eventfd, inotify: EPERM", || {
                deny(&[libc::SYS_epoll_create1, libc::SYS_eventfd2, libc::SYS_inotify_init1], EPERM)
            }),
            of("socket, socketpair: EPERM", || deny(&[libc::SYS_socket, libc::SYS_socketpair], EPERM)),
            of("fcntl: EPERM", || deny(&[libc::SYS_fcntl], EPERM)),
            of("sched_yield, sched_getaffinity: EPERM", || {
                deny(&[libc::SYS_sched_yield, libc::SYS_sched_getaffinity], EPERM)
            }),
            of("mlock, mlock2, munlock: EPERM", || {
                deny(&[libc::SYS_mlock, libc::SYS_mlock2, libc::SYS_munlock], EPERM)
            }),
        ],
    ),
];

/// The surrounding of that name.
#[must_use]
pub(crate) fn find(name: &str) -> Option<&'static Surrounding> {
    ALL.iter().flat_map(|(_, rows)| *rows).find(|row| row.name == name)
}

fn check(what: &str, result: libc::c_int) -> Result<(), String> {
    if result == -1 { Err(format!("{what}: {}", io::Error::last_os_error())) } else { Ok(()) }
}

/// A namespace with a /dev/shm of its own, so that nothing is left on the machine; in a user namespace where that is needed.
///
/// # Errors
///
/// What the machine refuses.
pub(crate) fn own_room() -> Result<(), String> {
    // SAFETY: no arguments.
    let (uid, gid) = unsafe { (libc::geteuid(), libc::getegid()) };
    if unshare(libc::CLONE_NEWNS).is_err() {
        unshare(libc::CLONE_NEWNS | libc::CLONE_NEWUSER)?;
        let write = |file: &str, text: String| std::fs::write(format!("/proc/self/{file}"), text);
        let _ = write("setgroups", "deny".into());
        write("uid_map", format!("{uid} {uid} 1")).map_err(|error| format!("uid_map: {error}"))?;
        write("gid_map", format!("{gid} {gid} 1")).map_err(|error| format!("gid_map: {error}"))?;
    }
    mount("none", "/", "", libc::MS_REC | libc::MS_PRIVATE, "")?;
    mount("tmpfs", "/dev/shm", "tmpfs", 0, "mode=1777,size=256m")
}

fn unshare(flags: libc::c_int) -> Result<(), String> {
    // SAFETY: this process has one thread.
    check("unshare", unsafe { libc::unshare(flags) })
}

fn limit(what: libc::__rlimit_resource_t, to: u64) -> Result<(), String> {
    let limit = libc::rlimit { rlim_cur: to, rlim_max: to };
    // SAFETY: reads the value.
    check("setrlimit", unsafe { libc::setrlimit(what, &raw const limit) })
}

fn user(id: u32) -> Result<(), String> {
    // SAFETY: a list of no groups, and numbers.
    unsafe {
        check("setgroups", libc::setgroups(0, std::ptr::null()))?;
        check("setgid", libc::setgid(id))?;
        check("setuid", libc::setuid(id))?;
        // Only then the children of the process may be traced by each other again, as programs that such a user starts may.
        check("prctl", libc::prctl(libc::PR_SET_DUMPABLE, 1))
    }
}

fn ignore(signal: libc::c_int) -> Result<(), String> {
    // SAFETY: no handler.
    unsafe { libc::signal(signal, libc::SIG_IGN) };
    Ok(())
}

fn mount(source: &str, target: &str, kind: &str, flags: libc::c_ulong, data: &str) -> Result<(), String> {
    let c = |text: &str| CString::new(text).expect("no zero byte");
    let (from, to, kind, data) = (c(source), c(target), c(kind), c(data));
    // SAFETY: four strings that outlive the call.
    let done = unsafe { libc::mount(from.as_ptr(), to.as_ptr(), kind.as_ptr(), flags, data.as_ptr().cast()) };
    check(&format!("mount {source} on {target}"), done)
}

/// An empty folder in the place of another one.
fn hide(path: &str) -> Result<(), String> {
    mount("tmpfs", path, "tmpfs", libc::MS_RDONLY, "")
}

fn overlay() -> Result<(), String> {
    mount("tmpfs", "/mnt", "tmpfs", 0, "")?;
    for name in ["lower", "upper", "work"] {
        std::fs::create_dir(format!("/mnt/{name}")).map_err(|error| error.to_string())?;
    }
    mount("overlay", "/dev/shm", "overlay", 0, "lowerdir=/mnt/lower,upperdir=/mnt/upper,workdir=/mnt/work")
}

fn locked(when: &str) -> Result<(), String> {
    // Not all of the machine's memory, whatever happens.
    mount("tmpfs", "/dev/shm", "tmpfs", 0, "size=64m")?;
    // Otherwise a limit of this machine may decide, and not the lock. It does not where the process may lock what it wants.
    let _ = limit(libc::RLIMIT_MEMLOCK, libc::RLIM_INFINITY);
    // And if memory is short all the same, this process goes first.
    std::fs::write("/proc/self/oom_score_adj", "1000").map_err(|error| format!("oom_score_adj: {error}"))?;
    // SAFETY: no other thread reads the environment.
    unsafe { std::env::set_var("SCENARIO_LOCK", when) };
    Ok(())
}

/// The first process of a namespace of its own; this process waits for it, and ends as it does.
fn pid_namespace() -> Result<(), String> {
    unshare(libc::CLONE_NEWPID)?;
    // SAFETY: one thread.
    let child = unsafe { libc::fork() };
    check("fork", child)?;
    if child > 0 {
        let mut state = 0;
        // SAFETY: our child; then ends this process.
        unsafe {
            libc::waitpid(child, &raw mut state, 0);
            libc::_exit(if libc::WIFEXITED(state) {
                libc::WEXITSTATUS(state)
            } else {
                128 + libc::WTERMSIG(state)
            });
        }
    }
    die_with_parent();
    mount("proc", "/proc", "proc", 0, "")
}

/// Makes this process die when its parent does.
pub(crate) fn die_with_parent() {
    // SAFETY: plain numbers.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
}

/// A second process stops and continues this one, and what it executes, every millisecond.
fn storm() -> Result<(), String> {
    // SAFETY: one thread.
    let child = unsafe { libc::fork() };
    check("fork", child)?;
    if child == 0 {
        die_with_parent();
        for number in 0..3 {
            // SAFETY: who reads our output is not to wait for this process.
            unsafe { libc::close(number) };
        }
        loop {
            // SAFETY: numbers.
            unsafe {
                let parent = libc::getppid();
                if parent == 1 {
                    libc::_exit(0);
                }
                libc::kill(parent, libc::SIGSTOP);
                libc::usleep(200);
                libc::kill(parent, libc::SIGCONT);
                libc::usleep(1000);
            }
        }
    }
    Ok(())
}

fn statement(code: u32, k: u32) -> libc::sock_filter {
    libc::sock_filter { code: code as u16, jt: 0, jf: 0, k }
}

fn equal(k: u32, then: u8, otherwise: u8) -> libc::sock_filter {
    libc::sock_filter {
        code: (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16,
        jt: then,
        jf: otherwise,
        k,
    }
}

const LOAD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
const RETURN: u32 = libc::BPF_RET | libc::BPF_K;

fn install(mut filter: Vec<libc::sock_filter>) -> Result<(), String> {
    filter.push(statement(RETURN, libc::SECCOMP_RET_ALLOW));
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: a program that outlives the call.
    unsafe {
        check("prctl", libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))?;
        check("seccomp", libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program))
    }
}

/// Has these system calls answer `errno`.
fn deny(calls: &[libc::c_long], errno: i32) -> Result<(), String> {
    let mut filter = vec![statement(LOAD, 0)];
    for call in calls {
        filter.push(equal(*call as u32, 0, 1));
        filter.push(statement(RETURN, libc::SECCOMP_RET_ERRNO | errno as u32));
    }
    install(filter)
}

/// Has madvise refuse one advice.
fn deny_advice(advice: libc::c_int) -> Result<(), String> {
    let third_argument = 32;
    install(vec![
        statement(LOAD, 0),
        equal(libc::SYS_madvise as u32, 0, 3),
        statement(LOAD, third_argument),
        equal(advice as u32, 0, 1),
        statement(RETURN, libc::SECCOMP_RET_ERRNO | EINVAL as u32),
    ])
}

/// Has the ioctl that tells about the process of a descriptor answer as on a kernel before Linux 6.13.
fn deny_pidfd_info() -> Result<(), String> {
    let second_argument = 24;
    // The kind and the number of the request; its other half is the length of the structure.
    let request = 0xFF << 8 | 11;
    install(vec![
        statement(LOAD, 0),
        equal(libc::SYS_ioctl as u32, 0, 4),
        statement(LOAD, second_argument),
        statement(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, 0xFFFF),
        equal(request, 0, 1),
        statement(RETURN, libc::SECCOMP_RET_ERRNO | libc::ENOTTY as u32),
    ])
}

/// Processes can be started, threads cannot.
fn deny_threads() -> Result<(), String> {
    let refuse = |errno: i32| statement(RETURN, libc::SECCOMP_RET_ERRNO | errno as u32);
    let flags = 16;
    install(vec![
        statement(LOAD, 0),
        equal(libc::SYS_clone3 as u32, 0, 1),
        refuse(ENOSYS),
        equal(libc::SYS_clone as u32, 0, 3),
        statement(LOAD, flags),
        libc::sock_filter {
            code: (libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K) as u16,
            jt: 0,
            jf: 1,
            k: libc::CLONE_THREAD as u32,
        },
        refuse(libc::EAGAIN),
    ])
}
