//! Forked children, signals, and system calls that the kernel refuses.

use std::cell::Cell;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::reap;

thread_local! {
    static IS_FORKED: Cell<bool> = const { Cell::new(false) };
}

/// Lets a panic in a forked child print its message alone. The hook of the standard library takes locks, for the output and for a backtrace,
/// and another thread of the parent may have held one at the fork: the child would wait for ever.
fn panic_without_locks_when_forked() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !IS_FORKED.get() {
                return before(info);
            }
            let text = format!("in a forked child: {info}\n");
            // SAFETY: the bytes of a live string.
            unsafe { libc::write(libc::STDERR_FILENO, text.as_ptr().cast(), text.len()) };
        }));
    });
}

/// Makes this process die when its parent dies; so a kill of the test reaches all its descendants.
pub fn die_with_parent() {
    // SAFETY: plain numbers.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
}

/// Runs `body` in a forked child that dies with us, and returns its result, or 1000 plus the signal that ended it. For processes that
/// few threads share.
pub fn in_fork(body: impl FnOnce() -> i32) -> i32 {
    panic_without_locks_when_forked();
    // SAFETY: the child runs `body` and leaves by `_exit`; glibc makes allocation usable in it.
    match unsafe { libc::fork() } {
        0 => {
            die_with_parent();
            IS_FORKED.set(true);
            let code = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body)).unwrap_or(101);
            // SAFETY: ends the child without running any destructor of the parent.
            unsafe { libc::_exit(code) }
        }
        child => {
            assert!(child > 0, "fork: {}", std::io::Error::last_os_error());
            let status = reap(child);
            if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { 1000 + libc::WTERMSIG(status) }
        }
    }
}

/// Runs `body` while this thread gets signals, whose handler does nothing.
pub fn among_signals(body: impl FnOnce()) {
    extern "C" fn nothing(_: libc::c_int) {}
    // SAFETY: a handler that does nothing.
    unsafe { libc::signal(libc::SIGUSR2, nothing as extern "C" fn(libc::c_int) as libc::sighandler_t) };
    let is_over = AtomicBool::new(false);
    std::thread::scope(|threads| {
        // SAFETY: no arguments. A pointer with musl, which another thread would not take.
        let waiter = unsafe { libc::pthread_self() } as usize;
        let is_over = &is_over;
        threads.spawn(move || {
            while !is_over.load(Ordering::Relaxed) {
                // SAFETY: the scope ends after this thread, so that one still runs.
                unsafe { libc::pthread_kill(waiter as libc::pthread_t, libc::SIGUSR2) };
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        body();
        is_over.store(true, Ordering::Relaxed);
    });
}

/// Whether this process is root.
#[must_use]
pub fn is_root() -> bool {
    // SAFETY: no arguments.
    unsafe { libc::geteuid() == 0 }
}

/// Makes the kernel answer `call` of this thread with `errno` from now on, for all calls or only those with `third` as third argument.
/// False if it does not.
#[must_use]
pub fn deny(call: libc::c_long, third: Option<u32>, errno: i32) -> bool {
    let third_at = std::mem::offset_of!(libc::seccomp_data, args) as u32 + 2 * 8;
    let answer = rule(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ERRNO | errno as u32);
    let rules = match third {
        None => vec![rule(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, call as u32), answer],
        Some(third) => vec![
            rule(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 3, call as u32),
            rule(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, third_at),
            rule(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, third),
            answer,
        ],
    };
    filter(rules, 0)
}

/// Makes the kernel answer these calls of all threads of this process with EPERM from now on. False if it does not.
#[must_use]
pub fn deny_all(calls: &[libc::c_long]) -> bool {
    let answer = rule(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32);
    let of = |call| [rule(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, call), answer];
    filter(calls.iter().flat_map(|call| of(*call as u32)).collect(), libc::SECCOMP_FILTER_FLAG_TSYNC)
}

const fn rule(code: u32, jt: u8, jf: u8, k: u32) -> libc::sock_filter {
    libc::sock_filter { code: code as u16, jt, jf, k }
}

/// Installs rules about the number of a call; what they do not answer is allowed.
fn filter(rules: Vec<libc::sock_filter>, flags: libc::c_ulong) -> bool {
    let load = rule(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0);
    let allow = rule(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW);
    let mut rules = [vec![load], rules, vec![allow]].concat();
    let program = libc::sock_fprog { len: rules.len() as u16, filter: rules.as_mut_ptr() };
    // SAFETY: a complete program that outlives the calls.
    unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
            && libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program) == 0
    }
}
