//! Real processes for tests: the test binary starts itself again in a role; what it leaves behind is removed.
#![allow(dead_code, reason = "each test binary uses a part")]

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};

use tenure::{Backend, Options, Space};

const ROLE: &str = "TENURE_TEST_ROLE";

/// A name that nobody else uses, removed again also when the test fails.
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

/// A child in a role of this test binary: the test named `child`, which runs a role if it finds one.
pub(crate) struct Process(Child);

impl Process {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["child", "--exact", "--nocapture", "--test-threads=1"])
            .env(ROLE, arguments.join("\n"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        Self(child)
    }

    /// Reads the child's lines until one starts with `word`; returns the rest of it. `None` when the child ends first.
    pub(crate) fn hear(&mut self, word: &str) -> Option<String> {
        let mut lines = BufReader::new(self.0.stdout.as_mut()?).lines();
        lines.find_map(|line| {
            line.ok()?.split_once(&format!("@{word}")).map(|(_, rest)| rest.trim().to_owned())
        })
    }

    pub(crate) fn pid(&self) -> i32 {
        self.0.id() as i32
    }

    pub(crate) fn signal(&self, signal: i32) {
        // SAFETY: no memory is involved; the child is ours and not reaped yet.
        assert_eq!(unsafe { libc::kill(self.pid(), signal) }, 0);
    }

    pub(crate) fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    pub(crate) fn wait(mut self) -> ExitStatus {
        drop(self.0.stdin.take());
        self.0.wait().unwrap()
    }

    /// Whether it died of SIGKILL rather than ending by itself; ending in any other way fails the test.
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

/// The role of this process, if it is a child.
pub(crate) fn role() -> Option<Vec<String>> {
    Some(std::env::var(ROLE).ok()?.split('\n').map(str::to_owned).collect())
}

/// Tells the parent.
pub(crate) fn say(word: &str, rest: impl std::fmt::Display) {
    println!("@{word} {rest}");
    std::io::stdout().flush().unwrap();
}

/// Waits until the parent is done with us, or gone.
pub(crate) fn linger() {
    let _ = std::io::stdin().lock().read_line(&mut String::new());
}
