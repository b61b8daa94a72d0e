//! The Python package, by its own tests in `python/tests`: from its sources, and as a wheel.

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;

use common::{Installed, built, folder, succeed};

fn package() -> PathBuf {
    folder().join("../python")
}

/// Whether there is a Python that is recent enough; says so if there is none.
fn has_python() -> bool {
    let recent =
        Command::new("python3").args(["-c", "import sys; sys.exit(sys.version_info < (3, 9))"]).output();
    let has = recent.is_ok_and(|output| output.status.success());
    if !has {
        println!("SKIPPED: no python3 from 3.9 on");
    }
    has
}

/// Python with the package in a folder.
fn python_with(folder: &Path) -> Command {
    let mut python = Command::new("python3");
    python.env("PYTHONPATH", folder).env("PYTHONDONTWRITEBYTECODE", "1");
    python.env_remove("TENURE_LIBRARY").env_remove("TENURE_NATIVE");
    python
}

fn run_the_tests(mut python: Command) {
    python.args(["-m", "unittest", "discover", "--start-directory"]).arg(package().join("tests"));
    succeed(&mut python);
}

/// Builds the wheel with the library of this build; its path.
fn wheel(to: &Path) -> PathBuf {
    let mut build = Command::new(package().join("wheel"));
    let printed = succeed(build.arg("--from").arg(built()).arg("--out").arg(to));
    printed.trim().into()
}

#[test]
fn the_python_package() {
    if !has_python() {
        return;
    }
    let installed = Installed::new();
    let mut python = python_with(&package());
    python.env("TENURE_LIBRARY", installed.path("lib/libtenure.so")).env("TENURE_NATIVE", "0");
    run_the_tests(python);
}

#[test]
fn the_python_package_with_its_extension() {
    if !has_python() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let wheel = wheel(folder.path());
    if !wheel.display().to_string().contains("abi3") {
        println!("SKIPPED: no C compiler (cc), no Python.h, or a Python before 3.10");
        return;
    }
    let unpacked = folder.path().join("unpacked");
    succeed(Command::new("python3").args(["-m", "zipfile", "-e"]).arg(wheel).arg(&unpacked));
    let check = "import tenure, sys; sys.exit(not tenure.NATIVE)";
    succeed(python_with(&unpacked).args(["-c", check]));
    run_the_tests(python_with(&unpacked));
}

#[test]
fn the_python_package_installed() {
    if !has_python() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let fresh = folder.path().join("venv");
    let made = Command::new("python3").args(["-m", "venv"]).arg(&fresh).output().unwrap();
    if !made.status.success() || !fresh.join("bin/pip").exists() {
        println!("SKIPPED: python3 -m venv makes no environment with pip here");
        return;
    }
    let wheel = wheel(folder.path());
    let in_it = |program: &str| {
        let mut command = Command::new(fresh.join("bin").join(program));
        command.current_dir(folder.path()).env_remove("PYTHONPATH").env_remove("TENURE_LIBRARY");
        command
    };
    succeed(
        in_it("pip").args(["install", "--no-index", "--no-deps", "--disable-pip-version-check"]).arg(wheel),
    );
    let printed = succeed(in_it("python").arg(package().join("examples/two_processes.py")));
    let expected = "results: {'milk': 'MILK', 'tea': 'TEA'}\nthe lock's last owner was killed: True\n";
    assert_eq!(printed, expected);
    let found = succeed(in_it("python").args(["-c", "import tenure; print(tenure.__file__)"]));
    assert!(Path::new(&found).starts_with(fresh.canonicalize().unwrap()), "{found}");
}
