//! Shared by the tests of other languages: paths, and running programs that end with the test.
#![allow(dead_code, reason = "each test binary uses a part")]

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tenure::{Backend, Space};

pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

/// The folder with the libraries of this build: that of this test's program.
pub(crate) fn built() -> PathBuf {
    std::env::current_exe().unwrap().parent().unwrap().to_owned()
}

/// A folder with the C interface installed under it, removed at the end.
pub(crate) struct Installed(tempfile::TempDir);

impl Installed {
    pub(crate) fn new() -> Self {
        let prefix = tempfile::tempdir().unwrap();
        let mut install = Command::new(folder().join("install"));
        install.arg("--prefix").arg(prefix.path()).arg("--from").arg(built());
        succeed(&mut install);
        Self(prefix)
    }

    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.0.path().join(below)
    }
}

/// Whether a program is there to be run.
pub(crate) fn has(program: &str) -> bool {
    let version = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    version.is_ok_and(|status| status.success())
}

/// Runs a program and expects that it succeeds; a failure shows its output.
pub(crate) fn succeed(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} ended with {}\n{text}\n{errors}", output.status);
    text
}

/// A name that nobody else uses. A space of that name is removed at the end, also when the test fails.
pub(crate) struct Name(pub(crate) String);

impl Name {
    pub(crate) fn new(tag: &str) -> Self {
        Self(tenure_testkit::unique_name(tag))
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        let _ = Space::remove(Backend::Shm, &self.0, true);
        let _ = Space::remove(Backend::SysV, &self.0, true);
        let _ = Space::remove(Backend::File, &format!("/tmp/tenure-{}", self.0), true);
    }
}

/// Runs an example that says hello: as the first program, twice as the second one, and once when the first has ended; `gone` is what it says then.
pub(crate) fn says_hello(program: &Path, gone: &str) {
    let name = Name::new("hello");
    let hello = || {
        let mut command = Command::new(program);
        command.env("HELLO_SPACE", &name.0);
        command
    };
    // Its input is ours: it ends when we do.
    let mut first = hello().stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut output = BufReader::new(first.stdout.take().unwrap());
    let mut token = String::new();
    output.read_line(&mut token).unwrap();
    for _ in 0..2 {
        assert_eq!(succeed(hello().arg(token.trim())), "hello from another process\n");
    }
    drop(first.stdin.take());
    let mut rest = String::new();
    output.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "2 visits\n");
    assert!(first.wait().unwrap().success());
    // It removed the space.
    assert!(Space::list().unwrap().iter().all(|listed| listed.name != name.0));
    let late = hello().arg(token.trim()).output().unwrap();
    assert!(String::from_utf8_lossy(&late.stderr).contains(gone), "{late:?}");
}
