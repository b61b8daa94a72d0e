//! Whole runs with real processes: they end with nothing lost and nothing leaked, they detect every error of a negative
//! control, and they leave no segment behind, however they end.

use std::io::Write;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tenure::Space;
use tenure_testkit::eventually;

const TORTURE: &str = env!("CARGO_BIN_EXE_torture");

/// Runs the program, expects the exit status, and returns standard output and standard error.
#[track_caller]
fn expect(status: i32, arguments: &[&str]) -> (String, String) {
    let output = Command::new(TORTURE).args(arguments).output().unwrap();
    let [out, err] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    assert_eq!(output.status.code(), Some(status), "{arguments:?}\n{out}\n{err}");
    (out, err)
}

fn last_line(out: &str) -> &str {
    out.lines().last().unwrap()
}

/// The number of segments of the run of process `pid`.
fn segments_of(pid: u32) -> usize {
    let prefix = format!("run-{pid}-");
    Space::list().unwrap().iter().filter(|listed| listed.name.starts_with(&prefix)).count()
}

fn recording(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::Builder::new().prefix("recording").suffix(".trace").tempfile().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

#[test]
fn a_demo_with_kills_loses_nothing_and_leaks_nothing() {
    let (out, err) = expect(0, &["demo", "--seconds", "2", "--kills", "3", "--seed", "7"]);
    assert_eq!(last_line(&out), "lost 0, leaked 0", "{out}");
    assert!(
        out.contains("mimalloc")
            && out.contains("robust mutex")
            && out.contains("daemon")
            && out.contains("kill to reclaimed"),
        "{out}"
    );
    assert!(err.contains("seed 7"), "{err}");
}

#[test]
fn a_demo_for_scripts_is_json_and_nothing_else() {
    let (out, err) =
        expect(0, &["demo", "--seconds", "1", "--kills", "4", "--stops", "2", "--workers", "3", "--json"]);
    let summary: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(err, "");
    assert_eq!((&summary["kills"], &summary["workers"]), (&4.into(), &3.into()));
    // A stop lasts until the other workers have answered; when they are slow, not all stops fit in.
    assert!(summary["stops"].as_u64() <= Some(2), "{summary}");
    assert_eq!((&summary["verdict"]["lost"], &summary["verdict"]["leaked"]), (&0.into(), &0.into()));
    assert!(summary["handle_operations"].as_u64() > Some(20_000), "{summary}");
    assert!(summary["handles_reclaimed"].as_u64() > Some(0), "{summary}");
    let replayed = summary["replayed"].as_array().unwrap();
    assert_eq!(replayed.len(), 4);
    assert!(replayed.iter().all(|one| one["times"].as_u64() > Some(0)), "{replayed:?}");
}

#[test]
fn one_worker_alone_is_reclaimed_by_its_successor() {
    let (out, _) = expect(0, &["demo", "--seconds", "1", "--kills", "3", "--workers", "1"]);
    assert_eq!(last_line(&out), "lost 0, leaked 0", "{out}");
}

#[test]
fn recordings_of_both_formats_are_replayed_in_every_backend_that_can_be_shared() {
    let handles = recording(
        "# handle trace v1\nstart 0\nnew 0 0 file\nfork 0 1\nopen 1 0\nclose 0 0\nnew 1 1 pipe\nexit 1\n",
    );
    let blocks = recording(
        "# allocation trace v1\np 0\nt 0\na 0 100\nl 1 4000 4096\nt 1\nr 0 70000\nf 1\na 2 0\nt 0\nf 0\n",
    );
    let files = [handles.path().to_str().unwrap(), blocks.path().to_str().unwrap()];
    for backend in ["shm", "file", "memfd", "sysv"] {
        let more = ["--backend", backend, "--seconds", "0.3", "--kills", "2", "--workers", "2"];
        let (out, _) = expect(0, &[&["replay"][..], &files, &more].concat());
        assert_eq!(last_line(&out), "lost 0, leaked 0", "{backend}: {out}");
        assert!(out.contains(&format!("({backend})")), "{out}");
    }
}

#[test]
fn malformed_recordings_are_refused_by_line() {
    let bad = recording("# handle trace v1\nstart 0\nopen 0 3\n");
    let path = bad.path().to_str().unwrap();
    let (out, err) = expect(2, &["replay", path]);
    let expected = format!("{path}:3: expected a handle that somebody holds, found \"open 0 3\"");
    assert!(out.is_empty() && err.contains(&expected), "{err}");
    let (_, err) = expect(2, &["replay", "/nonexistent.trace"]);
    assert!(err.contains("/nonexistent.trace: expected a readable recording"), "{err}");
}

/// The arguments with the patience of a run: short for a process that hangs for ever, longer for one that is only slow.
fn patience(negative_control: &str) -> &'static [&'static str] {
    if negative_control == "hang" { &["--patience", "3"] } else { &[] }
}

/// Checks that a run with this negative control fails for the expected reason.
#[track_caller]
fn is_noticed(negative_control: &str, field: &str) {
    let arguments =
        ["demo", "--seconds", "2", "--kills", "0", "--json", "--negative-control", negative_control];
    let (out, _) = expect(1, &[&arguments[..], patience(negative_control)].concat());
    let summary: Value = serde_json::from_str(&out).unwrap();
    assert!(summary["verdict"][field].as_u64() > Some(0), "{negative_control}: {out}");
}

#[test]
fn control_lost_handles_are_noticed() {
    is_noticed("lose", "lost");
}

#[test]
fn control_kept_handles_are_noticed() {
    is_noticed("leak", "leaked");
}

#[test]
fn control_wrong_payloads_are_noticed() {
    is_noticed("mix", "mixed_up");
}

#[test]
fn control_overwritten_blocks_are_noticed() {
    is_noticed("corrupt", "mixed_up");
}

#[test]
fn control_silence_is_noticed() {
    is_noticed("hang", "stuck");
}

#[test]
fn control_crashes_are_noticed() {
    is_noticed("crash", "died");
}

#[test]
fn control_forgotten_blocks_are_noticed() {
    is_noticed("forget", "leaked");
}

#[test]
fn a_failure_says_what_was_lost_and_how_to_repeat_it() {
    let (out, _) =
        expect(1, &["demo", "--seconds", "2", "--kills", "0", "--negative-control", "lose", "--seed", "99"]);
    assert!(out.contains("FAILED (seed 99): lost ") && out.contains("  lost: handle "), "{out}");
    assert!(last_line(&out).starts_with("lost ") && !last_line(&out).starts_with("lost 0"), "{out}");
}

#[test]
fn an_interrupted_run_leaves_nothing_behind() {
    let arguments = ["demo", "--seconds", "60", "--json"];
    let mut run = Command::new(TORTURE).args(arguments).stdout(Stdio::piped()).spawn().unwrap();
    let pid = run.id();
    eventually("a segment", || segments_of(pid) == 1);
    kill_process(Pid::from_child(&run), Signal::INT).unwrap();
    assert_eq!(run.wait().unwrap().code(), Some(130));
    assert_eq!(segments_of(pid), 0);
}

#[test]
fn what_a_killed_run_leaves_behind_is_swept_by_the_next() {
    let arguments = ["demo", "--seconds", "60", "--json"];
    let mut run = Command::new(TORTURE).args(arguments).stdout(Stdio::null()).spawn().unwrap();
    let pid = run.id();
    eventually("a segment", || segments_of(pid) == 1);
    run.kill().unwrap();
    run.wait().unwrap();
    // Another test's run may have removed it already.
    assert!(segments_of(pid) <= 1);
    let blocks = recording("# allocation trace v1\na 0 100\nf 0\n");
    // The workers die with their coordinator; until then they are members and the segment cannot be removed.
    eventually("nothing left", || {
        expect(0, &["replay", blocks.path().to_str().unwrap(), "--seconds", "0"]);
        segments_of(pid) == 0
    });
}

#[test]
fn torture_by_operations_violates_nothing() {
    for (seed, members) in [("1", "3"), ("2", "1"), ("3", "5")] {
        let arguments = ["torture", "--operations", "12000", "--members", members, "--seed", seed, "--json"];
        let (out, err) = expect(0, &arguments);
        let summary: Value = serde_json::from_str(&out).unwrap();
        assert_eq!(err, "");
        assert_eq!(summary["seed"].to_string(), seed);
        assert_eq!(summary["segments"].as_array().unwrap().len(), 6);
        assert!(summary["operations"].as_u64() >= members.parse::<u64>().ok().map(|m| m * 12_000), "{out}");
        let kinds = summary["by_kind"].as_object().unwrap();
        assert!(kinds.values().all(|times| times.as_u64() > Some(0)), "{kinds:?}");
        assert!(summary["joins"].as_u64() > summary["incarnations"].as_u64(), "{out}");
        // At least one audit for each segment; and in all segments together some owners died.
        assert!(summary["audits"].as_u64() >= Some(6), "{out}");
        for what in ["timeouts", "abandoned", "units_restored"] {
            assert!(summary[what].as_u64() > Some(0), "{what}: {out}");
        }
    }
}

#[test]
fn torture_on_one_backend_says_what_it_did() {
    let arguments =
        ["torture", "--operations", "3000", "--members", "2", "--seed", "5", "--backend", "memfd"];
    let (out, err) = expect(0, &arguments);
    assert_eq!(last_line(&out), "violations 0", "{out}");
    assert!(out.contains("on 1 segments (memfd)") && out.contains("kills"), "{out}");
    assert!(err.contains("seed 5"), "{err}");
    let (_, err) = expect(2, &["torture", "--backend", "private", "--operations", "1"]);
    assert!(err.contains("expected a backend that other programs can attach"), "{err}");
}

#[test]
fn crowds_leave_the_books_exact() {
    let size = ["--operations", "30000", "--seed", "6", "--backend", "shm"];
    let arguments = [&["torture", "--crowd", "--json"][..], &size].concat();
    let (out, err) = expect(0, &arguments);
    assert_eq!(err, "");
    let summary: Value = serde_json::from_str(&out).unwrap();
    let crowd = summary["crowd"].as_object().unwrap();
    for (what, count) in crowd {
        assert!(count.as_u64() > Some(0), "{what}: {out}");
    }
    // The director's own handles are counted in every round.
    assert!(crowd["handles"].as_u64() > crowd["rounds"].as_u64().map(|rounds| 8 * rounds), "{out}");
    assert_eq!(summary["operations"], 0, "{out}");
}

#[test]
fn crowds_by_rounds_in_every_backend() {
    let arguments =
        ["torture", "--crowd", "--operations", "14000", "--members", "2", "--seed", "7", "--json"];
    let (out, _) = expect(0, &arguments);
    let summary: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(summary["crowd"]["rounds"], 70, "{out}");
    assert_eq!(summary["crowd"]["spaces"], 2, "{out}");
}

/// Checks that a crowd with this negative control fails for the expected reason, and that its messages name it.
#[track_caller]
fn crowd_notices(negative_control: &str, field: &str, words: &str) {
    let size = ["--seconds", "20", "--seed", "4", "--backend", "shm", "--json"];
    let (out, _) =
        expect(1, &[&["torture", "--crowd"][..], &size, &["--negative-control", negative_control]].concat());
    let summary: Value = serde_json::from_str(&out).unwrap();
    assert!(summary["verdict"][field].as_u64() > Some(0), "{negative_control}: {out}");
    let notes = summary["verdict"]["notes"].as_array().unwrap();
    assert!(notes.iter().any(|note| note.as_str().unwrap().contains(words)), "{negative_control}: {out}");
}

#[test]
fn control_crowds_notice_a_handle_in_no_books() {
    crowd_notices("keep", "leaked", "is in no books: Entry");
}

#[test]
fn control_crowds_notice_a_block_in_no_books() {
    crowd_notices("hoard", "leaked", "is in no books: Lease");
}

#[test]
fn control_crowds_notice_a_pinned_block_of_nobody() {
    crowd_notices("leak", "leaked", "is in no books: Nobody");
}

#[test]
fn control_crowds_notice_a_handle_that_its_holder_lost() {
    crowd_notices("lose", "lost", "is gone, but in the books");
}

#[test]
fn control_crowds_notice_members_that_crash() {
    crowd_notices("crash", "died", "slot ");
}

/// Checks that a torture with this negative control fails for the expected reason.
#[track_caller]
fn torture_notices(negative_control: &str, field: &str) {
    let size = ["--operations", "6000", "--members", "3", "--seed", "4", "--backend", "shm"];
    let more = ["--json", "--negative-control", negative_control];
    let (out, _) = expect(1, &[&["torture"][..], &size, &more, patience(negative_control)].concat());
    let summary: Value = serde_json::from_str(&out).unwrap();
    assert!(summary["verdict"][field].as_u64() > Some(0), "{negative_control}: {out}");
}

#[test]
fn control_torture_notices_lost_handles() {
    torture_notices("lose", "lost");
}

#[test]
fn control_torture_notices_leaks() {
    torture_notices("leak", "leaked");
}

#[test]
fn control_torture_notices_wrong_payloads() {
    torture_notices("mix", "mixed_up");
}

#[test]
fn control_torture_notices_overwritten_blocks() {
    torture_notices("corrupt", "mixed_up");
}

#[test]
fn control_torture_notices_who_writes_without_the_lock() {
    torture_notices("trespass", "mixed_up");
}

#[test]
fn control_torture_notices_permits_that_nobody_booked() {
    torture_notices("pocket", "lost");
}

#[test]
fn control_torture_notices_signals_that_nobody_had() {
    torture_notices("forge", "mixed_up");
}

#[test]
fn control_torture_notices_half_of_what_is_taken_together() {
    torture_notices("halve", "lost");
}

#[test]
fn control_torture_notices_silence() {
    torture_notices("hang", "stuck");
}

#[test]
fn control_torture_notices_crashes() {
    torture_notices("crash", "died");
}

#[test]
fn usage_errors_are_refusals() {
    for arguments in [
        &["frobnicate"][..],
        &["replay"],
        &["demo", "--workers", "0"],
        &["demo", "--seconds", "-1"],
        &["demo", "--seconds", "1e300"],
        &["demo", "--backend", "floppy"],
        &["demo", "--backend", "private"],
        &["replay", "--backend", "anonymous", "x"],
    ] {
        let (out, err) = expect(2, arguments);
        assert!(out.is_empty() && !err.is_empty(), "{arguments:?}");
    }
    let (out, _) = expect(0, &["--help"]);
    assert!(out.contains("Exit status") && !out.contains("worker "), "{out}");
}
