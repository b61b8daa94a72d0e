//! Real processes: the test binary starts itself again in a role, talks to it over pipes, and kills it.

use std::io::{BufRead, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use crate::{Lines, die_with_parent, end_of, threads};

const ROLE: &str = "TENURE_TEST_ROLE";

/// A name that no other test uses at the time.
#[must_use]
pub fn unique_name(tag: &str) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    format!("test-{}-{}-{tag}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// Process starts write, and tests read that must not run beside one.
static STARTS: RwLock<()> = RwLock::new(());

/// For tests of a name that nobody has any more: as long as the value lives, this process starts no other one. A child between `fork`
/// and the C library's handlers in it has all the locks of its parent.
pub fn while_nobody_starts() -> RwLockReadGuard<'static, ()> {
    STARTS.read().unwrap_or_else(PoisonError::into_inner)
}

/// The command that starts this binary in a role: it runs the test named `child`, in which [`role`] returns `arguments`.
#[must_use]
pub fn in_role(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    // If the test is killed, its children die, too. With code to run before exec, std calls `fork`, which waits for a join in
    // another thread. Otherwise std starts the child by a call that does not wait: the child would inherit a lock that is being
    // taken, and keep it until exec.
    // SAFETY: plain numbers.
    unsafe {
        command.pre_exec(|| {
            die_with_parent();
            Ok(())
        })
    };
    command.args(["child", "--exact", "--nocapture", "--test-threads=1"]).env(ROLE, arguments.join("\n"));
    command
}

/// A process in a role. It is killed when the value is dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    lines: Lines,
}

impl Process {
    /// Starts this binary in a role: see [`in_role`].
    #[must_use]
    pub fn start(arguments: &[&str]) -> Self {
        let mut command = in_role(arguments);
        let alone = STARTS.write().unwrap_or_else(PoisonError::into_inner);
        // Returns when the child executes the program.
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        drop(alone);
        let lines = Lines::of(child.stdout.take().unwrap());
        Self { child, lines }
    }

    /// Reads the process's lines until one has `word`; returns the rest of it. `None` when the process ends first.
    pub fn receive(&mut self, word: &str) -> Option<String> {
        let word = format!("@{word}");
        std::iter::from_fn(|| self.lines.next(&word)).find_map(|line| rest_of(&line, &word))
    }

    /// The next thing that the process says.
    pub fn hear(&self) -> String {
        self.hear_of("something")
    }

    fn hear_of(&self, what: &str) -> String {
        let mut lines = std::iter::from_fn(|| self.lines.next(what));
        lines
            .find_map(|line| rest_of(&line, "@"))
            .unwrap_or_else(|| panic!("the child ended and did not say {what}"))
    }

    /// Expects that this is the next thing that the process says.
    #[track_caller]
    pub fn expect(&self, word: &str) {
        assert_eq!(self.hear_of(word), word);
    }

    /// The next thing that the process says, if it has arrived.
    #[must_use]
    pub fn said(&self) -> Option<String> {
        std::iter::from_fn(|| self.lines.arrived()).find_map(|line| rest_of(&line, "@"))
    }

    /// Sends a word to the process, which [`listen`]s.
    pub fn tell(&mut self, word: &str) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{word}").unwrap();
    }

    /// The process id, as the C library has it.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// The process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: i32) {
        // SAFETY: no memory is involved; the child is ours and not reaped yet.
        assert_eq!(unsafe { libc::kill(self.pid(), signal) }, 0);
    }

    /// Stops it, and waits until all of its threads are stopped.
    pub fn stop(&self) {
        self.signal(libc::SIGSTOP);
        threads::wait_until_stopped(self.child.id());
    }

    /// Kills it and waits until it is gone.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        end_of(&mut self.child);
    }

    /// Kills it without waiting: it stays a zombie until dropped.
    pub fn kill_only(&mut self) {
        self.child.kill().unwrap();
    }

    /// Closes its input and waits for its end.
    pub fn wait(mut self) -> ExitStatus {
        end_of(&mut self.child)
    }

    /// Whether the child died of SIGKILL rather than ending by itself; any other end fails the test.
    #[must_use]
    pub fn was_killed(self) -> bool {
        let status = self.wait();
        assert!(status.success() || status.signal() == Some(libc::SIGKILL), "child ended with {status}");
        !status.success()
    }

    /// Whether it has not ended.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What follows `word` in a line of a child: libtest writes "test child ... " before the first one.
fn rest_of(line: &str, word: &str) -> Option<String> {
    line.split_once(word).map(|(_, rest)| rest.trim().to_owned())
}

/// The role of this process, if it is a child. It dies with its parent.
#[must_use]
pub fn role() -> Option<Vec<String>> {
    let role = std::env::var(ROLE).ok()?;
    die_with_parent();
    Some(role.split('\n').map(str::to_owned).collect())
}

/// Sends a word to the parent.
pub fn say(word: impl std::fmt::Display, rest: impl std::fmt::Display) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "@{word} {rest}").unwrap();
    out.flush().unwrap();
}

/// The next word from the parent; the process ends when the parent is gone.
pub fn listen() -> String {
    let mut line = String::new();
    if std::io::stdin().read_line(&mut line).unwrap_or(0) == 0 {
        std::process::exit(0);
    }
    line.trim_end().to_owned()
}

/// Waits until the parent sends a word or is gone.
pub fn linger() {
    let _ = std::io::stdin().lock().read_line(&mut String::new());
}
