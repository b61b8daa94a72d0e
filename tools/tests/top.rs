//! `tenure top`: what a frame tells about processes that have locks, wait for them, fill queues and die.

#[path = "../../tenure/tests/common/mod.rs"]
mod common;

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::fd::{FromRawFd as _, OwnedFd};
use std::process::{Child, Command, Stdio};

use common::{Name, Process, end_of, listen, role, say};
use serde_json::Value;
use tenure::collections::Queue;
use tenure::sync::Mutex;
use tenure::{Options, Space};

const TENURE: &str = env!("CARGO_BIN_EXE_tenure");

/// Nobody recovers but who says so.
fn options() -> Options {
    Space::options().members(8).handles(1024).container_slots(64).scratch(32 << 20).monitor(false)
}

#[test]
fn child() {
    let Some(role) = role() else { return };
    let me = options().attach(&role[0]).unwrap().join().unwrap();
    match role[1].as_str() {
        "lock" => {
            let mutex = Mutex::create(me.named("till")).unwrap();
            let guard = mutex.lock().unwrap();
            say("has", "it");
            listen();
            drop(guard);
        }
        "wait" => {
            let mutex = Mutex::open(&me, "till").unwrap();
            say("waits", "");
            let _guard = mutex.lock().unwrap();
        }
        "queue" => {
            let queue = Queue::<u64>::create(me.named("jobs"), 8).unwrap();
            (0..3).for_each(|job| queue.push(&job).unwrap());
            say("pushed", 3);
            listen();
        }
        _ => {
            let _held: Vec<_> =
                (0..5).map(|_| me.create_raw(tenure::Kind::raw(1), &[1; 100]).unwrap()).collect();
            say("holds", 5);
            listen();
        }
    }
}

fn top(arguments: &[&str]) -> String {
    let output = Command::new(TENURE).arg("top").args(arguments).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn start(name: &Name, what: &str, says: &str) -> Process {
    common::start(name, what, says)
}

#[test]
fn a_frame_tells_who_has_what_who_waits_and_who_died() {
    let name = Name::new("top");
    let space = name.open(options());
    let locker = start(&name, "lock", "has");
    let waiter = start(&name, "wait", "waits");
    tenure_testkit::threads::wait_until_asleep(waiter.id());
    let _queue = start(&name, "queue", "pushed");
    let dead = start(&name, "hold", "holds");
    let dead_pid = dead.id();
    dead.kill();

    let frame = top(&[&name.0, "--once"]);
    let line = |words: &[&str]| frame.lines().any(|line| words.iter().all(|word| line.contains(word)));
    let pid = |pid: u32| pid.to_string();
    assert!(line(&["members 4 of 8", "handles"]), "{frame}");
    let owner = format!("(pid {}", locker.id());
    assert!(line(&["till", "mutex", "owned by lease", &owner]), "{frame}");
    // Of a process that may be traced, the kernel says where it sleeps.
    let waits = format!("pid {}", waiter.id());
    assert!(line(&["till", &waits]) || line(&["till", "somebody"]), "{frame}");
    assert!(line(&["jobs", "3 of 8", "[########            ]"]), "{frame}");
    assert!(line(&[&pid(locker.id()), "alive", "1 mutex"]), "{frame}");
    assert!(line(&[&pid(dead_pid), "dead, to be recovered", "5 kind 1"]), "{frame}");
    assert!(line(&[&pid(dead_pid), "5 handles", "to be recovered"]), "{frame}");
    assert!(line(&["kind 1", "500 B"]) && line(&["queue", "1"]), "{frame}");
    assert!(line(&["5 attached"]) || line(&["attached, 0 pinned"]), "{frame}");

    let document: Value = serde_json::from_str(&top(&[&name.0, "--json"])).unwrap();
    let data = &document["data"];
    assert_eq!(document["command"], "top");
    assert_eq!((&data["queues"][0]["waiting"], &data["queues"][0]["capacity"]), (&3.into(), &8.into()));
    assert_eq!(data["locks"][0]["has_waiters"], true);
    assert_eq!(data["deaths"][0]["pid"], dead_pid);
    assert_eq!(data["deaths"][0]["recovered"], false);

    // It has changed nothing.
    assert_eq!(space.stats().members_live, 4);
    assert!(space.check().is_clean());
}

#[test]
fn deaths_are_told_as_they_are_recovered() {
    let name = Name::new("deaths");
    let space = name.open(options());
    let (first, second) = (start(&name, "hold", "holds"), start(&name, "hold", "holds"));
    let pids = [first.id(), second.id()].map(|pid| pid.to_string());
    let mut child: Child = Command::new(TENURE)
        .args(["top", &name.0, "--every", "0.01"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut until = |words: &[&str]| {
        let is_it = |line: &String| words.iter().all(|word| line.contains(word));
        lines.by_ref().map(Result::unwrap).find(is_it).unwrap()
    };
    until(&[&pids[0], "alive", "5 kind 1"]);
    until(&[&pids[1], "alive"]);
    first.kill();
    until(&[&pids[0], "5 handles", "to be recovered"]);
    let me = space.join().unwrap();
    me.recover().unwrap();
    until(&[&pids[0], "5 handles", "nothing of it is left"]);
    // Recovered before anybody looked.
    second.kill();
    me.recover().unwrap();
    until(&[&pids[1], "5 handles", "nothing of it is left"]);
    drop(lines);
    // Nobody reads the frames any more.
    assert!(end_of(&mut child).success());
}

#[test]
fn a_key_and_a_signal_end_the_view_on_a_terminal() {
    use std::os::unix::process::ExitStatusExt as _;
    let name = Name::new("keys");
    let _space = name.open(options());
    for is_key in [true, false] {
        let (mut ours, mut theirs) = (0, 0);
        let null = std::ptr::null_mut();
        let size = libc::winsize { ws_row: 30, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0 };
        // SAFETY: room for two descriptors; no name, no settings, and a size that the call copies.
        let opened = unsafe {
            libc::openpty(&raw mut ours, &raw mut theirs, null, null.cast(), (&raw const size).cast_mut())
        };
        assert_eq!(opened, 0);
        // SAFETY: new descriptors, which nobody else closes.
        let (mut ours, theirs) =
            unsafe { (File::from_raw_fd(ours), File::from(OwnedFd::from_raw_fd(theirs))) };
        let mut command = Command::new(TENURE);
        command.args(["top", &name.0]).stdin(theirs.try_clone().unwrap()).stdout(theirs);
        let mut child = command.spawn().unwrap();
        drop(command);
        let mut said = String::new();
        let mut more = [0; 4096];
        while !said.contains("deaths") {
            let read = ours.read(&mut more).unwrap();
            said += &String::from_utf8_lossy(&more[..read]);
        }
        if is_key {
            ours.write_all(b"q").unwrap();
        } else {
            // SAFETY: our child, which has not been reaped.
            unsafe { libc::kill(child.id().cast_signed(), libc::SIGTERM) };
        }
        let status = end_of(&mut child);
        let (code, signal) = if is_key { (Some(0), None) } else { (None, Some(libc::SIGTERM)) };
        assert_eq!((status.code(), status.signal()), (code, signal));
        // The end of a terminal is an error.
        let mut rest = Vec::new();
        let _ = ours.read_to_end(&mut rest);
        let rest = String::from_utf8_lossy(&rest).into_owned();
        assert!(rest.contains("\x1b[?1049l") && rest.contains("\x1b[?25h"), "{rest:?}");
    }
}
