//! C and C++ programs that use every function of the family, with threads and forks, over the preloaded library.

mod common;

use common::{compile, preloaded, succeed};

fn run(source: &str) {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("program");
    if compile(source, &program) {
        assert_eq!(succeed(&mut preloaded(&program)).stdout, b"ok\n");
    }
}

#[test]
fn every_function_and_its_edge_cases() {
    run("family.c");
}

#[test]
fn memory_that_was_locked_when_it_was_given_back() {
    run("locked.c");
}

#[test]
fn threads_come_and_go_and_free_for_each_other() {
    run("threads.c");
}

#[test]
fn forks_of_programs_with_threads() {
    run("forks.c");
}

#[test]
fn cpp_new_and_delete() {
    run("news.cc");
}
