//! C and C++ programs that use every function of the family, with threads and forks, over the preloaded library.

mod common;

use std::process::Command;

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

/// Runs `little.c` in a mode that prints one line.
fn little(mode: &str) {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("program");
    if compile("little.c", &program) {
        let said = succeed(preloaded(&program).arg(mode)).stdout;
        let said = String::from_utf8_lossy(&said);
        assert!(said == "ok\n" || said.starts_with("SKIPPED"), "{said}");
        if said != "ok\n" {
            print!("{said}");
        }
    }
}

#[test]
fn locked_memory_costs_what_is_used() {
    little("locked");
}

#[test]
fn a_threads_first_call_needs_little_stack() {
    little("stacks");
}

#[test]
fn blocks_with_large_alignments_come_from_the_region() {
    little("aligned");
}

/// The percentages differ with the size classes: what a block is rounded up to, and the word that each block has outside of it.
#[test]
fn limits_leave_as_much_as_they_leave_to_the_c_library() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("program");
    if !compile("little.c", &program) {
        return;
    }
    let served = |mut shell: Command, limit: &str, bytes: u32| {
        let line = format!("ulimit {limit} 300000 && exec \"$0\" fill {bytes}");
        let said = succeed(shell.args(["-c", &line]).arg(&program)).stdout;
        String::from_utf8_lossy(&said).trim().parse::<u64>().unwrap()
    };
    for limit in ["-v", "-d"] {
        // 0: mixed sizes.
        for (bytes, least) in [
            (0, 90),
            (100, 84),
            (1000, 90),
            (5000, 90),
            (20_000, 90),
            (40_000, 90),
            (100_000, 90),
            (1_000_000, 90),
        ] {
            let (ours, theirs) = (served(preloaded("sh"), limit, bytes), served(command("sh"), limit, bytes));
            let share = ours * 100 / theirs;
            assert!(share >= least, "ulimit {limit}, {bytes}: {ours} MiB, {share} % of {theirs}");
        }
    }
}
