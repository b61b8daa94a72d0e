//! The built-in recordings have the expected contents, and every malformed recording is refused with an error that
//! names the line, the expected and the found content.

use std::io::Write;

use super::*;

fn refusal(text: &str) -> String {
    match parse("x.trace", text.as_bytes()) {
        Ok(_) => panic!("accepted: {text:?}"),
        Err(error) => error.to_string(),
    }
}

fn handles(text: &str) -> HandleTrace {
    match parse("x.trace", format!("# handle trace v1\n{text}").as_bytes()) {
        Ok(Recording::Handles(trace)) => trace,
        other => panic!("{other:?}"),
    }
}

fn allocations(text: &str) -> AllocationTrace {
    match parse("x.trace", format!("# allocation trace v1\n{text}").as_bytes()) {
        Ok(Recording::Allocations(trace)) => trace,
        other => panic!("{other:?}"),
    }
}

#[test]
fn builtin_recordings_are_complete() {
    let recordings: Vec<Recording> = Source::builtin().iter().map(|s| s.read().unwrap()).collect();
    let Recording::Handles(build) = &recordings[0] else { panic!("build is a handle recording") };
    assert_eq!((build.process_count, build.handle_count), (116, 6697));
    assert_eq!((build.peak_count, build.kinds.as_slice()), (19, &["file".to_owned(), "pipe".to_owned()][..]));
    let count = |wanted: fn(&HandleVerb) -> bool| build.steps.iter().filter(|s| wanted(&s.verb)).count();
    assert_eq!(count(|v| *v == HandleVerb::Open), 255);
    assert_eq!(count(|v| matches!(v, HandleVerb::Close { .. })), 6697 + 255);
    assert_eq!(count(|v| matches!(v, HandleVerb::Close { last: true })), 6697);
    let shapes: Vec<(usize, usize)> = recordings[1..]
        .iter()
        .map(|r| match r {
            Recording::Allocations(t) => {
                (t.processes.len(), t.processes.iter().map(|p| p.step_count()).sum())
            }
            Recording::Handles(_) => panic!("an allocation recording"),
        })
        .collect();
    assert_eq!(shapes, [(1, 145_189), (5, 129_850), (1, 120_001)]);
    let Recording::Allocations(threads) = &recordings[3] else { unreachable!() };
    assert_eq!(threads.processes[0].threads.len(), 3);
    assert_eq!(threads.processes[0].peak_bytes, 498_465);
}

#[test]
fn exit_and_the_end_close_what_is_held() {
    let trace = handles("start 9\nnew 9 4 file\nopen 9 4\nfork 9 3\nopen 3 4\nexit 9\n");
    let last: Vec<bool> =
        trace.steps[3..].iter().map(|s| s.verb == HandleVerb::Close { last: true }).collect();
    assert_eq!(last, [false, false, true]);
    assert_eq!(trace.steps[5].process, 1);
}

#[test]
fn handle_numbers_may_be_used_again_after_the_last_close() {
    let trace = handles("new 0 4 file\nclose 0 4\nnew 0 4 pipe\nclose 0 4\n");
    assert_eq!(trace.steps.iter().map(|s| s.handle).collect::<Vec<_>>(), [0, 0, 1, 1]);
}

#[test]
fn steps_wait_for_other_threads() {
    let trace = allocations("t 5\na 0 8\na 1 8\nt 7\nf 0\na 2 16\nt 5\nf 2\n");
    let process = &trace.processes[0];
    assert_eq!(process.threads[1][0].after, After { thread: 0, steps: 1 });
    assert_eq!(process.threads[1][1].after.steps, 0);
    assert_eq!(process.threads[0][2].after, After { thread: 1, steps: 2 });
}

#[test]
fn slots_are_used_again_at_once_by_one_thread_and_rest_between_several() {
    let alone = "a 0 8\nf 0\n".repeat(5000);
    assert_eq!(allocations(&alone).processes[0].slot_count, 1);
    let together = "t 0\na 0 8\nt 1\nf 0\n".repeat(5000);
    let process = &allocations(&together).processes[0];
    assert!(process.slot_count < 5000, "{}", process.slot_count);
    let waits = process.threads[0].iter().filter(|step| step.after.steps > 0).count();
    assert_eq!(waits, 5000 - process.slot_count as usize);
}

#[test]
fn processes_start_with_fresh_ids() {
    let trace = allocations("p 0\na 0 8\np 1\na 0 8\nf 0\n");
    assert_eq!(trace.processes.iter().map(AllocationProcess::step_count).collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn malformed_first_lines_are_refused() {
    assert!(refusal("").contains("x.trace:1: expected a first line starting with"));
    assert!(refusal("\n \n").ends_with("found an empty file"));
    assert!(refusal("# handle trace v2\n").ends_with("found \"# handle trace v2\""));
    assert!(refusal("\u{7f}ELF").contains("x.trace:1"));
}

#[test]
fn malformed_handle_lines_are_refused() {
    let at_2 = |line: &str| refusal(&format!("# handle trace v1\n{line}\n"));
    assert_eq!(
        at_2("nwe 0 1 file"),
        "x.trace:2: expected start, fork, new, open, close or exit, found \"nwe 0 1 file\""
    );
    assert_eq!(
        at_2("new 0 1"),
        "x.trace:2: expected \"new PROCESS HANDLE KIND\" with numbers up to 2^64 - 1, found \"new 0 1\""
    );
    assert!(at_2("new 0 -1 file").contains("found \"new 0 -1 file\""));
    assert!(at_2("start 18446744073709551616").contains("2^64 - 1"));
    assert!(at_2("exit 1 2").contains("\"exit PROCESS\""));
    assert!(at_2("fork 1 2 3 4 5 6 7").contains("\"fork PARENT CHILD\""));
    assert!(at_2("open 0 1").contains("expected a handle that somebody holds"));
    assert!(at_2("close 0 1").contains("expected a handle that process 0 holds"));
    let reused = refusal("# handle trace v1\nnew 0 1 file\n\n# comment\nnew 1 1 file\n");
    assert_eq!(reused, "x.trace:5: expected a handle number that is not in use, found \"new 1 1 file\"");
    let foreign = refusal("# handle trace v1\nnew 0 1 file\nclose 1 1\n");
    assert!(foreign.starts_with("x.trace:3: expected a handle that process 1 holds"));
}

#[test]
fn malformed_allocation_lines_are_refused() {
    let at_2 = |line: &str| refusal(&format!("# allocation trace v1\n{line}\n"));
    assert_eq!(at_2("x 1"), "x.trace:2: expected p, t, a, l, r or f, found \"x 1\"");
    assert!(at_2("a 1").contains("\"a ID BYTES\""));
    assert!(at_2("a 1 1e3").contains("\"a ID BYTES\""));
    assert!(at_2("l 1 64 48").contains("a power of two up to 2097152, found 48"));
    assert!(at_2("l 1 64 0").contains("a power of two"));
    assert!(at_2("a 1 9999999999999999").contains("at most 1099511627776 bytes"));
    assert!(at_2("f 1").contains("the id of a live block (block 1 is not)"));
    assert!(at_2("r 1 8").contains("the id of a live block"));
    let twice = refusal("# allocation trace v1\na 1 8\na 1 8\n");
    assert!(twice.starts_with("x.trace:3: expected an id that is not in use (block 1 is live)"));
    let freed_twice = refusal("# allocation trace v1\na 1 8\nf 1\nf 1\n");
    assert!(freed_twice.starts_with("x.trace:4:"));
    let other_process = refusal("# allocation trace v1\na 1 8\np 1\nf 1\n");
    assert!(other_process.starts_with("x.trace:4:"));
}

#[test]
fn long_lines_foreign_bytes_and_damaged_gzip_are_refused() {
    let long = format!("# handle trace v1\n{}\n", "x".repeat(1000));
    assert!(refusal(&long).contains("x.trace:2: expected a line of at most 256 bytes"));
    let error = parse("x", &b"# handle trace v1\n\xff\xfe\n"[..]).unwrap_err().to_string();
    assert_eq!(error, "x:2: expected text, found bytes that are not UTF-8");

    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(b"# allocation trace v1\na 0 8\nf 0\n").unwrap();
    let good = encoder.finish().unwrap();
    assert!(matches!(parse("x.gz", &good[..]), Ok(Recording::Allocations(_))));
    let cut = parse("x.gz", &good[..good.len() / 2]).unwrap_err().to_string();
    assert!(cut.starts_with("x.gz:") && cut.contains("expected more of the recording"), "{cut}");
    let mut bent = good.clone();
    let middle = bent.len() - 6;
    bent[middle] ^= 0xff;
    assert!(parse("x.gz", &bent[..]).unwrap_err().to_string().contains("expected more of the recording"));
}

#[test]
fn missing_files_are_refused() {
    let error = Source::File("/nonexistent/a.trace".into()).read().unwrap_err().to_string();
    assert!(error.starts_with("/nonexistent/a.trace: expected a readable recording, found:"), "{error}");
    assert!(
        "builtin:nothing".parse::<Source>().unwrap_err().contains("expected one of build-handles, sqlite")
    );
}
