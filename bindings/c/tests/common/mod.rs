//! Shared by the tests of other languages: paths, and running programs that end with the test.
#![allow(dead_code, reason = "each test binary uses a part")]

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
