//! Every scenario in every backend, through Rust and through C, against the table in the docs; and whether they can fail.

use std::process::Command;

fn suite(argument: &str) {
    let output = Command::new(env!("CARGO_BIN_EXE_tenure-conformance")).arg(argument).output().unwrap();
    let (said, failed) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    print!("{said}");
    assert!(output.status.success(), "{failed}");
}

#[test]
fn everything_is_as_the_table_says() {
    suite("--compare");
}

#[test]
fn every_mistake_is_found() {
    suite("--negative-control");
}
