//! Real processes for tests: the test binary starts itself again in a role; shared memory left behind is removed.
#![allow(dead_code, unused_imports, reason = "each test binary uses a part")]

use std::io::{BufRead, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};

use tenure::{Backend, Options, Space};

#[path = "../../../segment/tests/common/fail_safe.rs"]
pub(crate) mod fail_safe;
#[path = "../../../segment/tests/common/threads.rs"]
pub(crate) mod threads;

use fail_safe::Lines;
pub(crate) use fail_safe::{end_of, eventually, reap, returns, scope};

const ROLE: &str = "TENURE_TEST_ROLE";

/// A unique name; its segment is removed also when the test fails.
pub(crate) struct Name(pub(crate) String);

impl Name {
    pub(crate) fn new(tag: &str) -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        Self(format!("test-{}-{count}-{tag}", std::process::id()))
    }

    pub(crate) fn open(&self, options: Options) -> Space {
        options.open(&self.0).unwrap()
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        let _ = Space::remove(Backend::Shm, &self.0, true);
    }
}

/// A child in a role of this test binary. It runs the test named `child`, which executes a role if it is given one.
pub(crate) struct Process(Child, Lines);

impl Process {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["child", "--exact", "--nocapture", "--test-threads=1"])
            .env(ROLE, arguments.join("\n"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let lines = Lines::of(child.stdout.take().unwrap());
        Self(child, lines)
    }

    /// Reads the child's lines until one starts with `word`; returns the rest of it. `None` when the child ends first.
    pub(crate) fn receive(&mut self, word: &str) -> Option<String> {
        let word = format!("@{word}");
        std::iter::from_fn(|| self.1.next(&word))
            .find_map(|line| line.split_once(&word).map(|(_, rest)| rest.trim().to_owned()))
    }

    /// Sends a word to the child, which [`listen`]s.
    pub(crate) fn tell(&mut self, word: &str) {
        writeln!(self.0.stdin.as_mut().unwrap(), "{word}").unwrap();
    }

    pub(crate) fn pid(&self) -> i32 {
        self.0.id() as i32
    }

    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    pub(crate) fn signal(&self, signal: i32) {
        // SAFETY: no memory is involved; the child is ours and not reaped yet.
        assert_eq!(unsafe { libc::kill(self.pid(), signal) }, 0);
    }

    pub(crate) fn kill(mut self) {
        self.0.kill().unwrap();
        end_of(&mut self.0);
    }

    pub(crate) fn wait(mut self) -> ExitStatus {
        end_of(&mut self.0)
    }

    /// Whether the child died of SIGKILL rather than ending by itself; any other end fails the test.
    pub(crate) fn was_killed(self) -> bool {
        let status = self.wait();
        assert!(status.success() || status.signal() == Some(libc::SIGKILL), "child ended with {status}");
        !status.success()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The role of this process, if it is a child. It dies with its parent.
pub(crate) fn role() -> Option<Vec<String>> {
    let role = std::env::var(ROLE).ok()?;
    die_with_parent();
    Some(role.split('\n').map(str::to_owned).collect())
}

/// Makes this process die when its parent dies; so a kill of the test reaches all its descendants.
pub(crate) fn die_with_parent() {
    // SAFETY: plain numbers.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
}

/// Runs `body` in a forked child that dies with us, and returns its result, or 1000 plus the signal that ended it.
pub(crate) fn in_fork(body: impl FnOnce() -> i32) -> i32 {
    // SAFETY: the child runs `body` and leaves by `_exit`; glibc makes allocation usable in it.
    match unsafe { libc::fork() } {
        0 => {
            die_with_parent();
            let code = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body)).unwrap_or(101);
            // SAFETY: ends the child without running any destructor of the parent.
            unsafe { libc::_exit(code) }
        }
        child => {
            assert!(child > 0);
            let status = reap(child);
            if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { 1000 + libc::WTERMSIG(status) }
        }
    }
}

/// Sends a word to the parent.
pub(crate) fn say(word: &str, rest: impl std::fmt::Display) {
    println!("@{word} {rest}");
    std::io::stdout().flush().unwrap();
}

/// The next word from the parent; the process ends when the parent is gone.
pub(crate) fn listen() -> String {
    let mut line = String::new();
    if std::io::stdin().read_line(&mut line).unwrap_or(0) == 0 {
        std::process::exit(0);
    }
    line.trim_end().to_owned()
}

/// Waits until the parent sends a word or is gone.
pub(crate) fn linger() {
    let _ = std::io::stdin().lock().read_line(&mut String::new());
}

/// Makes the kernel answer `call` with `errno` from now on, for all calls or only those with `third` as third argument.
/// Returns whether that works.
pub(crate) fn deny(call: libc::c_long, third: Option<u32>, errno: i32) -> bool {
    let rule = |code: u32, jt, jf, k| libc::sock_filter { code: code as u16, jt, jf, k };
    let third_at = std::mem::offset_of!(libc::seccomp_data, args) as u32 + 2 * 8;
    let mut rules = vec![
        rule(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
        rule(
            libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K,
            0,
            if third.is_some() { 3 } else { 1 },
            call as u32,
        ),
    ];
    if let Some(third) = third {
        rules.push(rule(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, third_at));
        rules.push(rule(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, third));
    }
    rules.extend([
        rule(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ERRNO | errno as u32),
        rule(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
    ]);
    let program = libc::sock_fprog { len: rules.len() as u16, filter: rules.as_mut_ptr() };
    // SAFETY: a complete program that outlives the calls.
    unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
            && libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) == 0
    }
}
