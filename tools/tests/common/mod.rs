//! What the tests of the command share: running it, segments that clean up after themselves, and workers to kill.

// Every test file is a program of its own and uses only some of this.
#![allow(dead_code)]

use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use tenure::{Backend, Space};
use tenure_tools::wire::{self, Outcome, Report, Task};

pub(crate) const TENURE: &str = env!("CARGO_BIN_EXE_tenure");

/// Runs the command to its end.
pub(crate) fn tenure(arguments: &[&str]) -> Output {
    Command::new(TENURE).args(arguments).output().unwrap()
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Runs the command, expects the exit status, and returns standard output and standard error.
#[track_caller]
pub(crate) fn expect(status: i32, arguments: &[&str]) -> (String, String) {
    let output = tenure(arguments);
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(status), "{arguments:?}\n{out}\n{err}");
    (out, err)
}

/// A name that no other test uses, on this machine and at this time.
pub(crate) fn unique(what: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("test-{what}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A named segment that goes with the test.
pub(crate) struct Segment {
    pub(crate) name: String,
    pub(crate) path: PathBuf,
}

impl Segment {
    pub(crate) fn new(what: &str) -> Self {
        let name = unique(what);
        let space = Space::options().members(8).handles(1024).scratch(32 << 20).open(&name).unwrap();
        let path = space.path().unwrap().to_owned();
        Self { name, path }
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        let _ = Space::remove(Backend::Shm, &self.name, true);
        let _ = std::fs::remove_file(&self.path);
    }
}

/// A worker process that is a member of a segment.
pub(crate) struct Worker {
    pub(crate) child: Child,
    input: ChildStdin,
    output: ChildStdout,
}

impl Worker {
    pub(crate) fn join(segment: &str) -> Self {
        let coordinator = std::process::id().to_string();
        let mut child = Command::new(TENURE)
            .args([
                "worker",
                "--backend",
                "shm",
                "--space",
                segment,
                "--coordinator",
                &coordinator,
                "--key",
                "1",
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let mut worker = Self { child, input, output };
        assert!(matches!(worker.receive(), Report::Joined { .. }));
        worker
    }

    pub(crate) fn receive(&mut self) -> Report {
        wire::receive(&mut self.output).unwrap().expect("the worker ended")
    }

    pub(crate) fn work(&mut self, tasks: Vec<Task>) -> Vec<Outcome> {
        wire::send(&mut self.input, &wire::Command::Work(tasks)).unwrap();
        match self.receive() {
            Report::Done { outcomes, .. } => outcomes,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
