//! The one limit of all waits in tests.
//!
//! No test expects an event within some time. A wait that takes longer than [`FAIL_SAFE`] counts as endless: it fails and names the
//! event that it waited for. Children have no limit of their own: they die with the test that waits for them.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ExitStatus};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

/// Far longer than any wait takes on a loaded machine.
pub const FAIL_SAFE: Duration = Duration::from_secs(120);

/// Polls until `is_so` returns true.
pub fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        if start.elapsed() > FAIL_SAFE {
            report(what);
            panic!("never: {what}");
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Runs a call that blocks. If it never returns, ends the process: a blocked thread cannot be ended in another way.
pub fn returns<T>(what: &str, call: impl FnOnce() -> T) -> T {
    let (returned, watch) = mpsc::channel::<()>();
    std::thread::scope(move |scope| {
        // Dropped when `call` returns or panics, which ends the watch.
        let _returned = returned;
        scope.spawn(move || {
            if watch.recv_timeout(FAIL_SAFE) == Err(RecvTimeoutError::Timeout) {
                report(what);
                std::process::abort();
            }
        });
        call()
    })
}

/// As [`returns`], for threads that wait for each other.
pub fn scope<'env, T>(
    what: &str,
    threads: impl for<'scope> FnOnce(&'scope std::thread::Scope<'scope, 'env>) -> T,
) -> T {
    returns(what, || std::thread::scope(threads))
}

/// Prints the missing event where the test runner does not capture it: a test that panics while its threads are blocked shows no output.
fn report(what: &str) {
    let _ = writeln!(std::io::stderr(), "never: {what}");
}

/// Waits for the end of a forked child and reaps it. Returns the status as `waitpid` returns it.
pub fn reap(pid: libc::pid_t) -> i32 {
    let mut status = 0;
    eventually("the forked child ends", || {
        // SAFETY: waits for a child of the caller's, which no other code reaps. `__WALL`: also a traced child.
        let found = unsafe { libc::waitpid(pid, &raw mut status, libc::WNOHANG | libc::__WALL) };
        assert!(found == 0 || found == pid, "waitpid: {}", std::io::Error::last_os_error());
        found == pid
    });
    status
}

/// Closes a child's input, as [`Child::wait`] does, waits for its end and reaps it.
pub fn end_of(child: &mut Child) -> ExitStatus {
    drop(child.stdin.take());
    let mut status = None;
    eventually("the child ends", || {
        status = child.try_wait().unwrap();
        status.is_some()
    });
    status.unwrap()
}

/// The lines that a child writes.
#[derive(Debug)]
pub struct Lines(mpsc::Receiver<String>);

impl Lines {
    /// The lines of a child's output, read by a thread.
    pub fn of(output: impl Read + Send + 'static) -> Self {
        let (send, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    return;
                }
            }
        });
        Self(lines)
    }

    /// Waits for the next line, which should be about `what`. `None`: the child ended.
    pub fn next(&self, what: &str) -> Option<String> {
        match self.0.recv_timeout(FAIL_SAFE) {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => {
                let what = format!("the child says {what}");
                report(&what);
                panic!("never: {what}");
            }
        }
    }

    /// The next line, if it has arrived.
    pub fn arrived(&self) -> Option<String> {
        self.0.try_recv().ok()
    }
}
