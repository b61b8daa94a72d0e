//! The Python package, by its own tests in `python/tests`.

mod common;

use std::process::Command;

use common::{Installed, folder, succeed};

#[test]
fn the_python_package() {
    let recent =
        Command::new("python3").args(["-c", "import sys; sys.exit(sys.version_info < (3, 9))"]).status();
    if !recent.is_ok_and(|status| status.success()) {
        println!("SKIPPED: no python3 from 3.9 on");
        return;
    }
    let installed = Installed::new();
    let mut python = Command::new("python3");
    python.args(["-m", "unittest", "discover", "--start-directory"]).arg(folder().join("../python/tests"));
    python.env("PYTHONPATH", folder().join("../python")).env("PYTHONDONTWRITEBYTECODE", "1");
    python.env("TENURE_LIBRARY", installed.path("lib/libtenure.so"));
    succeed(&mut python);
}
