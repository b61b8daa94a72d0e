//! The commands, on real segments with living and dead members in other processes; and their refusals, which name the
//! expected and the found state.

#[path = "../../tenure/tests/common/mod.rs"]
mod common;

use std::path::PathBuf;
use std::process::{Command, Stdio};

use common::{Name, Process, listen, role, say};
use serde_json::Value;
use tenure::{Kind, Options, Space};

/// Runs the command, expects the exit status, and returns standard output and standard error.
#[track_caller]
fn expect(status: i32, arguments: &[&str]) -> (String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_tenure")).args(arguments).output().unwrap();
    let [out, err] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    assert_eq!(output.status.code(), Some(status), "{arguments:?}\n{out}\n{err}");
    (out, err)
}

/// The data of the document that a command prints with `--json`, all of whose members are as the guide says.
#[track_caller]
fn data(arguments: &[&str]) -> Value {
    let (out, err) = expect(0, &[arguments, &["--json"]].concat());
    let mut document: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&document["version"], &document["status"]), (&1.into(), &0.into()), "{out}");
    assert!(err.is_empty() && document["error"].is_null(), "{out}{err}");
    assert!(arguments.join(" ").starts_with(document["command"].as_str().unwrap()), "{out}");
    document["data"].take()
}

/// A named segment that is removed at the end of the test.
struct Segment {
    name: Name,
    path: PathBuf,
}

impl Segment {
    fn new(what: &str) -> Self {
        Self::with(what, Space::options())
    }

    fn with(what: &str, options: Options) -> Self {
        let name = Name::new(what);
        let space = name.open(options.members(8).handles(1024).scratch(32 << 20));
        let path = space.path().unwrap().to_owned();
        Self { name, path }
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        // If the file is no longer a valid segment, nobody else removes it.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// A process that is a member of the segment and holds `handles` handles.
fn member_with(segment: &Segment, handles: usize) -> Process {
    let mut process = Process::start(&[&segment.name.0, &handles.to_string()]);
    process.receive("holds").unwrap();
    process
}

/// Holds handles with a block each; at any line of input closes one and prints whether its token is stale then.
#[test]
fn child() {
    let Some(role) = role() else { return };
    let space = Space::options().attach(&role[0]).unwrap();
    let me = space.join().unwrap();
    let create = |_| me.create_raw(Kind::raw(1), &[1; 500]).unwrap();
    let mut handles: Vec<_> = (0..role[1].parse().unwrap()).map(create).collect();
    say("holds", handles.len());
    listen();
    let closed = handles.pop().unwrap();
    let token = closed.token();
    drop(closed);
    say("stale", me.open_raw(Kind::raw(1), token).is_err());
    listen();
}

#[test]
fn a_live_segment_is_listed_looked_at_and_not_removed() {
    let segment = Segment::new("live");
    let mut member = member_with(&segment, 2);
    let name = segment.name.0.as_str();

    let (out, _) = expect(0, &["ls"]);
    let line = out.lines().find(|line| line.starts_with(name)).unwrap();
    assert!(line.contains(" shm ") && line.ends_with(" 1"), "{line}");
    let listed = data(&["ls"]);
    let one = listed.as_array().unwrap().iter().find(|one| one["name"] == name).unwrap();
    assert_eq!(
        (&one["members_live"], &one["members_dead"], &one["error"]),
        (&1.into(), &0.into(), &Value::Null)
    );

    let (out, _) = expect(0, &["stat", name]);
    assert!(out.contains("handles") && out.contains("alive"), "{out}");
    let stat = data(&["stat", name]);
    assert_eq!((&stat["members_live"], &stat["handles_live"]), (&1.into(), &2.into()));
    assert_eq!(stat["leases"][0]["pid"], member.id());
    assert_eq!(stat["leases"][0]["handles"], 2);
    assert_eq!(stat["geometry"]["handles"], 1024);

    let (out, _) = expect(0, &["check", name]);
    assert!(out.contains("clean, 2 handles"), "{out}");
    let check = data(&["check", name]);
    assert_eq!((&check["clean"], &check["handles_live"]), (&true.into(), &2.into()));

    let (out, err) = expect(2, &["rm", name]);
    assert!(out.is_empty() && err.contains("expected no living members, or --force"), "{err}");
    expect(0, &["stat", name]);
    expect(0, &["rm", name, "--force"]);
    let (_, err) = expect(2, &["stat", name]);
    assert!(err.contains(name), "{err}");
    // The member keeps its handles and blocks.
    member.tell("close");
    assert_eq!(member.receive("stale").as_deref(), Some("true"));
}

#[test]
fn readers_do_not_join() {
    let segment = Segment::new("look");
    expect(0, &["stat", &segment.name.0]);
    expect(0, &["check", &segment.name.0]);
    let stat = data(&["stat", &segment.name.0]);
    assert_eq!((&stat["members_live"], stat["leases"].as_array().unwrap().len()), (&0.into(), 0));
    expect(0, &["rm", &segment.name.0]);
}

#[test]
fn names_are_listed_with_what_has_them() {
    let segment = Segment::new("names");
    let (out, _) = expect(0, &["names", &segment.name.0]);
    assert_eq!(out, "no names\n");
    let space = Space::options().attach(&segment.name.0).unwrap();
    let me = space.join().unwrap();
    let handle = me.named("two\nlines").create_raw(Kind::raw(3), b"").unwrap();
    let other = me.named("jobs").create_raw(Kind::raw(4), b"").unwrap();
    let (out, _) = expect(0, &["names", &segment.name.0]);
    let lines: Vec<_> = out.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).collect();
    let (first, second) = (other.token().to_string(), handle.token().to_string());
    assert_eq!(lines[1], ["jobs", "kind", "4", &first, "1"], "{out}");
    assert_eq!(lines[2], ["two\\nlines", "kind", "3", &second, "1"], "{out}");
    let names = data(&["names", &segment.name.0]);
    assert_eq!((&names[1]["name"], &names[1]["token"]), (&"two\nlines".into(), &second.into()));
}

#[test]
fn slots_are_listed_with_their_names() {
    let segment = Segment::with("slots", Space::options().slots(3));
    let (out, _) = expect(0, &["slots", &segment.name.0]);
    assert_eq!(out, "no slot is in use\n");
    let space = Space::options().attach(&segment.name.0).unwrap();
    let me = space.join().unwrap();
    let named = me.named("jobs").create_raw(Kind::raw(4), b"").unwrap();
    assert_eq!(me.slots().keep(&named), Ok(0));
    let root = named.token().to_string();
    // Now only the slot holds it.
    drop(named);
    let job = me.create_raw(Kind::raw(5), b"").unwrap();
    me.slots().put(2, &job).unwrap();
    let claim = me.slots().claim_raw(2, Kind::raw(5)).unwrap();
    let (out, _) = expect(0, &["slots", &segment.name.0]);
    let lines: Vec<_> = out.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).collect();
    let (job, lease) = (job.token().to_string(), me.lease().index.to_string());
    assert_eq!(lines[1], ["0", &root, "0", "-", "jobs"], "{out}");
    assert_eq!(lines[2], ["2", &job, "1", &lease, "-"], "{out}");
    let slots = data(&["slots", &segment.name.0]);
    assert_eq!((&slots[0]["name"], &slots[1]["claimed_by"]), (&"jobs".into(), &me.lease().index.into()));
    drop(claim);
    expect(0, &["check", &segment.name.0]);
}

#[test]
fn what_a_killed_member_held_is_recovered() {
    let segment = Segment::new("dead");
    let name = segment.name.0.as_str();
    member_with(&segment, 300).kill();
    let (out, _) = expect(0, &["ls"]);
    assert!(
        out.lines().any(|line| line.starts_with(name) && line.contains("1 dead, to be recovered")),
        "{out}"
    );
    let (out, _) = expect(0, &["stat", name]);
    assert!(out.contains("dead, to be recovered"), "{out}");
    let check = data(&["check", name]);
    assert_eq!((&check["clean"], &check["handles_live"]), (&true.into(), &300.into()));
    assert!(
        check["pending"]
            .as_array()
            .unwrap()
            .iter()
            .any(|line| line.to_string().contains("not recovered yet"))
    );

    let (out, _) = expect(0, &["recover", name]);
    // Handles that the dead member had claimed ahead count as well.
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
    let Name(name) = &Name::new("missing");
    for command in ["stat", "check", "recover", "rm"] {
        let (out, err) = expect(2, &[command, name]);
        assert!(out.is_empty() && err.starts_with("tenure: ") && err.contains(name), "{command}: {err}");
        let (out, silent) = expect(2, &[command, name, "--json"]);
        let document: Value = serde_json::from_str(&out).unwrap();
        assert!(silent.is_empty() && document["command"] == command && document["space"] == *name, "{out}");
        assert_eq!((&document["status"], &document["data"]), (&2.into(), &Value::Null));
        let said = format!("tenure: {}\n", document["error"].as_str().unwrap());
        assert_eq!(said, err, "{command}");
    }
    let (out, _) = expect(0, &["ls"]);
    assert!(!out.contains(name));
}

#[test]
fn a_file_that_is_no_segment_is_refused_and_left_alone() {
    let segment = Segment::new("garbage");
    std::fs::write(&segment.path, [b'x'; 5000]).unwrap();
    for command in ["stat", "check", "recover"] {
        let (_, err) = expect(2, &[command, &segment.name.0]);
        assert!(err.contains(&segment.name.0) && err.len() > 40, "{command}: {err}");
    }
    let (out, _) = expect(0, &["ls"]);
    assert!(
        out.lines().any(|line| line.starts_with(&segment.name.0) && line.contains("not a segment")),
        "{out}"
    );
    assert_eq!(std::fs::read(&segment.path).unwrap(), [b'x'; 5000]);
}

#[test]
fn usage_errors_are_refusals() {
    let (out, err) = expect(2, &["stat", "--json"]);
    let document: Value = serde_json::from_str(&out).unwrap();
    assert!(err.is_empty() && document["data"].is_null() && document["status"] == 2, "{out}");
    assert!(document["error"].as_str().unwrap().contains("<NAME>"), "{out}");
    for arguments in [
        &["frobnicate"][..],
        &["stat"],
        &["stat", "--backend", "floppy", "x"],
        &["stat", "--backend", "private", "x"],
        &[],
    ] {
        let (out, err) = expect(2, arguments);
        assert!(out.is_empty() && !err.is_empty(), "{arguments:?}");
    }
    let (out, _) = expect(0, &["--help"]);
    assert!(out.contains("Exit status"), "{out}");
}

/// A full disk behind standard output is an error; a reader that has read enough is none.
#[test]
fn an_answer_that_cannot_be_written_is_an_error() {
    let _segment = Segment::new("unwritten");
    let run = |out: Stdio| Command::new(env!("CARGO_BIN_EXE_tenure")).arg("ls").stdout(out).output().unwrap();
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let output = run(full.into());
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.starts_with("tenure: cannot write the answer: "), "{text}");
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    assert_eq!(run(writer.into()).status.code(), Some(0));
}

#[test]
fn handles_and_blocks_are_listed_by_kind_and_owner() {
    let segment = Segment::with("lists", Space::options().slots(1));
    let name = segment.name.0.as_str();
    assert_eq!(expect(0, &["ls", "handles", name]).0, "no handles\n");
    assert_eq!(expect(0, &["ls", "blocks", name]).0, "no blocks\n");
    let member = member_with(&segment, 3);
    let space = Space::options().attach(name).unwrap();
    let me = space.join().unwrap();
    let kept = me.named("kept").create_raw(Kind::raw(2), &[0; 5]).unwrap();
    me.slots().put(0, &kept).unwrap();
    let token = kept.token().to_string();
    drop(kept);
    let block = me.alloc(std::alloc::Layout::new::<[u8; 4096]>()).unwrap();
    let pinned = me.alloc(std::alloc::Layout::new::<[u8; 64]>()).unwrap().pin().unwrap();
    let lease = space.leases().iter().find(|lease| lease.live && lease.pid == member.id()).unwrap().index;

    let groups = data(&["ls", "handles", name]);
    let group = |groups: &Value, kind: &str| {
        groups.as_array().unwrap().iter().find(|group| group["kind"] == kind).unwrap().clone()
    };
    let (theirs, slot) = (group(&groups, "kind 1"), group(&groups, "kind 2"));
    assert_eq!(
        (&theirs["lease"], &theirs["count"], &theirs["bytes"]),
        (&lease.into(), &3.into(), &1500.into())
    );
    assert_eq!((&slot["lease"], &slot["owner"], &slot["count"]), (&Value::Null, &"slots".into(), &1.into()));
    let (out, _) = expect(0, &["ls", "handles", name]);
    assert!(out.contains(&format!("pid {}", member.id())) && out.contains("slots"), "{out}");
    let each = data(&["ls", "handles", name, "--each"]);
    let named = each.as_array().unwrap().iter().find(|row| row["token"] == token).unwrap();
    assert_eq!((&named["name"], each.as_array().unwrap().len()), (&"kept".into(), 4));

    let groups = data(&["ls", "blocks", name]);
    let (leased, attached) = (group(&groups, "leased"), group(&groups, "attached, kind 1"));
    assert_eq!((&leased["lease"], &leased["count"]), (&me.lease().index.into(), &1.into()));
    assert_eq!((&attached["owner"], &attached["count"]), (&"handle".into(), &3.into()));
    assert_eq!(group(&groups, "pinned")["count"], 1);
    let each = data(&["ls", "blocks", name, "--each"]);
    let mine = each.as_array().unwrap().iter().find(|row| row["offset"] == block.offset()).unwrap();
    assert_eq!((&mine["lease"], &mine["bytes"]), (&me.lease().index.into(), &4096.into()));
    // SAFETY: nobody uses its bytes.
    unsafe { me.free_pinned(pinned).unwrap() };
}

#[test]
fn a_watch_shows_what_changes_and_ends_with_a_refusal() {
    use std::io::{BufRead as _, BufReader};
    let segment = Segment::new("watch");
    let mut member = member_with(&segment, 2);
    let watch = ["stat", &segment.name.0, "--json", "--watch", "0.01"];
    let mut child =
        Command::new(env!("CARGO_BIN_EXE_tenure")).args(watch).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || serde_json::from_str::<Value>(&lines.next().unwrap().unwrap()).unwrap();
    assert_eq!(next()["data"]["handles_live"], 2);
    member.tell("close");
    assert_eq!(member.receive("stale").as_deref(), Some("true"));
    while next()["data"]["handles_live"] != 1 {}
    expect(0, &["rm", &segment.name.0, "--force"]);
    let last = std::iter::repeat_with(next).find(|document| document["status"] != 0).unwrap();
    assert_eq!((&last["status"], &last["data"]), (&2.into(), &Value::Null));
    assert_eq!(child.wait().unwrap().code(), Some(2));
}

#[test]
fn a_space_without_a_name_is_looked_at_by_a_descriptor_of_a_process() {
    let space = Space::options().handles(64).scratch(1 << 20).memfd().unwrap();
    let me = space.join().unwrap();
    let _held = me.create_raw(Kind::raw(1), b"tea").unwrap();
    use std::os::fd::AsRawFd as _;
    let path = format!("/proc/{}/fd/{}", std::process::id(), space.fd().unwrap().as_raw_fd());
    let stat = data(&["stat", &path]);
    assert_eq!((&stat["backend"], &stat["handles_live"]), (&"memfd".into(), &1.into()));
    assert_eq!(data(&["check", &path])["clean"], true);
    assert_eq!(data(&["ls", "handles", &path])[0]["kind"], "kind 1");
    let other = std::fs::File::open("/dev/null").unwrap();
    let path = format!("/proc/{}/fd/{}", std::process::id(), other.as_raw_fd());
    let (_, err) = expect(2, &["stat", &path]);
    assert!(err.contains(&path), "{err}");
}

/// A sample of the text format of Prometheus: metric, labels, value.
type Sample = (String, Vec<(String, String)>, f64);

/// Parses the text format of Prometheus, as it is specified; panics if it is not that.
fn parse(text: &str) -> Vec<Sample> {
    let is_name = |name: &str| {
        let mut bytes = name.bytes();
        bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_')
            && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    let (mut samples, mut current, mut seen) = (Vec::new(), String::new(), Vec::new());
    let mut lines = text.lines();
    assert!(text.ends_with('\n'));
    while let Some(line) = lines.next() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, help) = help.split_once(' ').unwrap();
            assert!(!help.is_empty() && !seen.contains(&name.to_owned()), "{line}");
            assert_eq!(lines.next().unwrap(), format!("# TYPE {name} gauge"));
            seen.push(name.to_owned());
            current = name.to_owned();
            continue;
        }
        let (name, mut rest) = line.split_once('{').unwrap();
        assert!(name == current && is_name(name), "{line}");
        let mut labels = Vec::new();
        loop {
            let (label, more) = rest.split_once("=\"").unwrap();
            assert!(is_name(label), "{line}");
            let (mut value, mut chars) = (String::new(), more.char_indices());
            let end = loop {
                match chars.next().unwrap() {
                    (at, '"') => break at,
                    (_, '\\') => value.push(match chars.next().unwrap().1 {
                        'n' => '\n',
                        other if matches!(other, '\\' | '"') => other,
                        other => panic!("{other} in {line}"),
                    }),
                    (_, other) => value.push(other),
                }
            };
            labels.push((label.to_owned(), value));
            rest = &more[end + 1..];
            match rest.strip_prefix(',') {
                Some(more) => rest = more,
                None => break,
            }
        }
        samples.push((name.to_owned(), labels, rest.strip_prefix("} ").unwrap().parse().unwrap()));
    }
    samples
}

#[test]
fn metrics_are_in_the_text_format_of_prometheus() {
    use tenure::{collections::Queue, sync::Mutex};
    let segment = Segment::with("metrics", Space::options().container_slots(64));
    let name = segment.name.0.as_str();
    let member = member_with(&segment, 3);
    let space = Space::options().monitor(false).attach(name).unwrap();
    let me = space.join().unwrap();
    let odd = "a \"quoted\\\n name";
    let mutex = Mutex::create(me.named(odd)).unwrap();
    let _guard = mutex.lock().unwrap();
    let queue = Queue::<u64>::create(me.named("jobs"), 8).unwrap();
    queue.push(&1).unwrap();

    let (out, _) = expect(0, &["stat", name, "--prometheus"]);
    let samples = parse(&out);
    let value = |metric: &str, labels: &[(&str, &str)]| {
        let has = |all: &[(String, String)], (label, value): &(&str, &str)| {
            all.iter().any(|(l, v)| l == label && v == value)
        };
        let mut found =
            samples.iter().filter(|(m, all, _)| m == metric && labels.iter().all(|label| has(all, label)));
        let one = found.next().unwrap_or_else(|| panic!("{metric} {labels:?} in {out}"));
        assert!(found.next().is_none() && has(&one.1, &("space", name)) && has(&one.1, &("backend", "shm")));
        one.2
    };
    assert_eq!(value("tenure_members", &[("state", "alive")]), 2.0);
    assert_eq!(value("tenure_members_capacity", &[]), 8.0);
    assert_eq!(value("tenure_member_handles", &[("pid", &member.id().to_string())]), 3.0);
    assert_eq!(value("tenure_handles", &[("kind", "kind 1")]), 3.0);
    assert_eq!(value("tenure_handles_payload_bytes", &[("kind", "kind 1")]), 1500.0);
    assert_eq!(value("tenure_space_size_bytes", &[]), space.bytes() as f64);
    assert_eq!(value("tenure_lock_owned", &[("object", odd)]), 1.0);
    assert_eq!(value("tenure_object_awaited", &[("object", odd)]), 0.0);
    assert_eq!(value("tenure_queue_elements", &[("object", "jobs"), ("state", "waiting")]), 1.0);
    assert_eq!(value("tenure_queue_capacity_elements", &[("object", "jobs")]), 8.0);
    assert_eq!(value("tenure_scratch_capacity_bytes", &[]), (32 << 20) as f64);

    let (out, _) = expect(2, &["stat", name, "--prometheus", "--json"]);
    let document: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(document["status"], 2);
}

/// The kernel lets only those open the memory of others that may restore processes: others get an error that says so.
#[test]
fn an_anonymous_space_is_looked_at_by_the_descriptor_of_its_locks() {
    let spaces =
        [5, 6].map(|handles| Space::options().handles(handles).scratch(1 << 20).anonymous().unwrap());
    let members = spaces.each_ref().map(|space| space.join().unwrap());
    let _held = members[1].create_raw(Kind::raw(1), b"tea").unwrap();
    let locks = std::fs::read_dir("/proc/self/fd").unwrap().flatten().filter_map(|entry| {
        let target = std::fs::read_link(entry.path()).ok()?;
        let fd = entry.file_name().into_string().unwrap();
        let path = format!("/proc/{}/fd/{fd}", std::process::id());
        target.to_str()?.starts_with("/memfd:tenure-locks-").then_some(path)
    });
    let mut found = Vec::new();
    for path in locks {
        let output =
            Command::new(env!("CARGO_BIN_EXE_tenure")).args(["stat", &path, "--json"]).output().unwrap();
        let document: Value = serde_json::from_slice(&output.stdout).unwrap();
        if document["status"] == 2 {
            let error = document["error"].as_str().unwrap();
            assert!(error.contains("CAP_CHECKPOINT_RESTORE"), "{error}");
            println!("SKIPPED: {error}");
            return;
        }
        let data = &document["data"];
        assert_eq!((&data["backend"], &data["members_live"]), (&"anonymous".into(), &1.into()));
        assert_eq!(data["leases"][0]["alive"], true);
        found.push((data["geometry"]["handles"].as_u64().unwrap(), data["handles_live"].as_u64().unwrap()));
        let (out, _) = expect(0, &["check", &path]);
        assert!(out.contains("clean"), "{out}");
        // It is only looked at.
        expect(2, &["recover", &path]);
    }
    found.sort_unstable();
    found.dedup();
    assert_eq!(found, [(5, 0), (6, 1)]);
}
