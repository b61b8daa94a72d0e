//! Shared by the tests: the path of the library, and running programs with it.

#![allow(dead_code, reason = "each test uses a part")]

use std::ffi::OsStr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// The library that was built together with this test.
pub(crate) fn library() -> PathBuf {
    let path = std::env::current_exe().unwrap().parent().unwrap().join("libtenure_malloc.so");
    assert!(path.exists(), "{} is not there", path.display());
    path
}

/// A command that dies with this test.
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    // SAFETY: one system call that is safe between fork and exec.
    unsafe {
        command.pre_exec(|| {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            Ok(())
        });
    }
    command.env("LC_ALL", "C").stdin(Stdio::null());
    command
}

/// As `command`, with the library preloaded.
pub(crate) fn preloaded(program: impl AsRef<OsStr>) -> Command {
    let mut command = command(program);
    command.env("LD_PRELOAD", library());
    command
}

/// The output of a command that has to succeed.
pub(crate) fn succeed(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{text}", output.status);
    // The loader says so and goes on without.
    assert!(!text.contains("cannot be preloaded"), "{text}");
    output
}

/// Compiles one of the programs in `c/`; false, and a line that says so, without a compiler.
pub(crate) fn compile(source: &str, to: &Path) -> bool {
    compile_with(source, to, &[])
}

/// As `compile`, with more for the compiler to do.
pub(crate) fn compile_with(source: &str, to: &Path, more: &[&OsStr]) -> bool {
    let (compiler, standard) =
        if source.ends_with(".cc") { ("g++", "-std=c++17") } else { ("gcc", "-std=gnu11") };
    if Command::new(compiler).arg("--version").output().is_err() {
        println!("SKIPPED: {source}: {compiler} is not installed");
        return false;
    }
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/c").join(source);
    // Without optimisation, which would leave out blocks that nobody reads.
    let mut command = command(compiler);
    command.args([standard, "-g", "-O0", "-fno-builtin", "-Wall", "-Wextra", "-Werror", "-pthread", "-o"]);
    succeed(command.arg(to).arg(source).args(more));
    true
}
