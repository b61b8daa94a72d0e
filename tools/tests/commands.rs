//! The commands about segments, against real segments with living and dead members in other processes; and what
//! they refuse, with what was expected and what was found.

mod common;

use common::{Segment, Worker, expect, unique};
use serde_json::Value;
use tenure_tools::wire::{Outcome, Task};

fn create(handle: u64) -> Task {
    Task::Create { handle, kind: 1, identity: handle }
}

#[test]
fn a_live_segment_is_listed_looked_at_and_not_removed() {
    let segment = Segment::new("live");
    let mut worker = Worker::join(&segment.name);
    let created = worker.work(vec![create(1), create(2)]);
    assert!(created.iter().all(|outcome| matches!(outcome, Outcome::Created { .. })), "{created:?}");
    let name = segment.name.as_str();

    let (out, _) = expect(0, &["ls"]);
    let line = out.lines().find(|line| line.starts_with(name)).unwrap();
    assert!(line.contains(" shm ") && line.ends_with(" 1"), "{line}");
    let (out, _) = expect(0, &["ls", "--json"]);
    let listed: Value = serde_json::from_str(&out).unwrap();
    let one = listed.as_array().unwrap().iter().find(|one| one["name"] == name).unwrap();
    assert_eq!(
        (&one["members_live"], &one["members_dead"], &one["error"]),
        (&1.into(), &0.into(), &Value::Null)
    );

    let (out, _) = expect(0, &["stat", name]);
    assert!(out.contains("handles") && out.contains("alive"), "{out}");
    let (out, _) = expect(0, &["stat", name, "--json"]);
    let stat: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&stat["members_live"], &stat["handles_live"]), (&1.into(), &2.into()));
    assert_eq!(stat["leases"][0]["pid"], worker.child.id());
    assert_eq!(stat["leases"][0]["handles"], 2);
    assert_eq!(stat["geometry"]["handles"], 1024);

    let (out, _) = expect(0, &["check", name]);
    assert!(out.contains("clean, 2 handles"), "{out}");
    let (out, _) = expect(0, &["check", name, "--json"]);
    let check: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&check["clean"], &check["handles_live"]), (&true.into(), &2.into()));

    let (out, err) = expect(2, &["rm", name]);
    assert!(out.is_empty() && err.contains("expected no living members, or --force"), "{err}");
    expect(0, &["stat", name]);
    expect(0, &["rm", name, "--force"]);
    let (_, err) = expect(2, &["stat", name]);
    assert!(err.contains(name), "{err}");
    // The member keeps what it has.
    assert_eq!(
        worker.work(vec![Task::Close { handle: 1, probe: true }]),
        [Outcome::Closed { leaked: false }]
    );
}

#[test]
fn readers_do_not_join() {
    let segment = Segment::new("look");
    expect(0, &["stat", &segment.name]);
    expect(0, &["check", &segment.name]);
    let (out, _) = expect(0, &["stat", &segment.name, "--json"]);
    let stat: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&stat["members_live"], stat["leases"].as_array().unwrap().len()), (&0.into(), 0));
    expect(0, &["rm", &segment.name]);
}

#[test]
fn names_are_listed_with_what_has_them() {
    let segment = Segment::new("names");
    let (out, _) = expect(0, &["names", &segment.name]);
    assert_eq!(out, "no names\n");
    let space = tenure::Space::options().attach(&segment.name).unwrap();
    let me = space.join().unwrap();
    let handle = me.create_raw_named("two\nlines", tenure::Kind::raw(3), b"").unwrap();
    let other = me.create_raw_named("jobs", tenure::Kind::raw(4), b"").unwrap();
    let (out, _) = expect(0, &["names", &segment.name]);
    let lines: Vec<_> = out.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).collect();
    let (first, second) = (other.token().to_string(), handle.token().to_string());
    assert_eq!(lines[1], ["jobs", "kind", "4", &first, "1"], "{out}");
    assert_eq!(lines[2], ["two\\nlines", "kind", "3", &second, "1"], "{out}");
    let (out, _) = expect(0, &["names", &segment.name, "--json"]);
    let names: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&names[1]["name"], &names[1]["token"]), (&"two\nlines".into(), &second.into()));
}

#[test]
fn what_a_killed_member_held_is_recovered() {
    let segment = Segment::new("dead");
    let name = segment.name.as_str();
    let mut worker = Worker::join(name);
    let created = worker.work((1..=300).map(create).collect());
    assert!(created.iter().all(|outcome| matches!(outcome, Outcome::Created { .. })), "{created:?}");
    worker.kill();
    let (out, _) = expect(0, &["ls"]);
    assert!(
        out.lines().any(|line| line.starts_with(name) && line.contains("1 dead, to be recovered")),
        "{out}"
    );
    let (out, _) = expect(0, &["stat", name]);
    assert!(out.contains("dead, to be recovered"), "{out}");
    let (out, _) = expect(0, &["check", name, "--json"]);
    let check: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&check["clean"], &check["handles_live"]), (&true.into(), &300.into()));
    assert!(
        check["pending"]
            .as_array()
            .unwrap()
            .iter()
            .any(|line| line.to_string().contains("not recovered yet"))
    );

    let (out, _) = expect(0, &["recover", name]);
    // Those that the dead had claimed ahead count as well.
    let numbers: Vec<u32> = out.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    assert!(numbers.len() == 3 && numbers[0] == 1 && numbers[1] >= 300 && numbers[2] > 0, "{out}");
    let (out, _) = expect(0, &["check", name]);
    assert_eq!(out, format!("{name}: clean, 0 handles and 0 blocks in use\n"));
    let (out, _) = expect(0, &["recover", name]);
    assert!(out.contains("0 dead members recovered"), "{out}");
    expect(0, &["rm", name]);
}

#[test]
fn names_that_cannot_be_are_refused() {
    let long = "x".repeat(201);
    for name in ["a/b", "../etc/passwd", "", ".hidden", "a b", &long] {
        for command in ["stat", "check", "recover", "rm"] {
            let (out, err) = expect(2, &[command, "--", name]);
            assert!(out.is_empty() && err.contains("cannot name a segment"), "{command} {name:?}: {err}");
        }
    }
}

#[test]
fn a_missing_segment_is_refused_and_not_created() {
    let name = unique("missing");
    for command in ["stat", "check", "recover", "rm"] {
        let (out, err) = expect(2, &[command, &name]);
        assert!(out.is_empty() && err.starts_with("tenure: ") && err.contains(&name), "{command}: {err}");
    }
    let (out, _) = expect(0, &["ls"]);
    assert!(!out.contains(&name));
}

#[test]
fn a_file_that_is_no_segment_is_refused_and_left_alone() {
    let segment = Segment::new("garbage");
    std::fs::write(&segment.path, [b'x'; 5000]).unwrap();
    for command in ["stat", "check", "recover"] {
        let (_, err) = expect(2, &[command, &segment.name]);
        assert!(err.contains(&segment.name) && err.len() > 40, "{command}: {err}");
    }
    let (out, _) = expect(0, &["ls"]);
    assert!(
        out.lines().any(|line| line.starts_with(&segment.name) && line.contains("not a segment")),
        "{out}"
    );
    assert_eq!(std::fs::read(&segment.path).unwrap(), [b'x'; 5000]);
}

#[test]
fn usage_errors_are_refusals() {
    for arguments in [
        &["frobnicate"][..],
        &["stat"],
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
