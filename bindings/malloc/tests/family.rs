//! C and C++ programs that use every function of the family, with threads and forks, over the preloaded library.

mod common;

use common::{command, compile, compile_with, library, preloaded, succeed};

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
fn free_memory_serves_all_sizes_and_goes_back() {
    run("resident.c");
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

#[test]
fn core_dumps_have_what_was_used() {
    run("dumps.c");
}

#[test]
fn core_dumps_have_the_blocks_of_a_small_region() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("program");
    if compile("dumps.c", &program) {
        let mut limited = preloaded("sh");
        limited.args(["-c", "ulimit -v 14000 && exec \"$0\" \"the block is left out\""]).arg(&program);
        assert_eq!(succeed(&mut limited).stdout, b"ok\n");
    }
}

#[test]
fn constructors_that_run_first_may_have_threads_and_fork() {
    let folder = tempfile::tempdir().unwrap();
    let (library, program) = (folder.path().join("libearly.so"), folder.path().join("program"));
    if compile_with("early.c", &library, &["-shared".as_ref(), "-fPIC".as_ref()])
        && compile_with("early_main.c", &program, &[library.as_os_str()])
    {
        assert_eq!(succeed(&mut preloaded(&program)).stdout, b"ok\n");
    }
}

#[test]
fn closing_the_library_leaves_it_to_those_who_use_it() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("program");
    if compile_with("late.c", &program, &["-ldl".as_ref()]) {
        assert_eq!(succeed(command(&program).arg(library())).stdout, b"ok\n");
    }
}
