//! Killed at every named point of this crate, a process leaves nothing that the next one cannot use. Method: a child
//! arms one point and does everything once; it must die of it. Run with `--features failpoints`.

mod common;

use std::os::unix::process::ExitStatusExt;

use common::*;
use tenure_segment::{Backend, Segment, crash};

#[test]
fn child_entry() {
    enter(&[("armed", armed), ("dirty", dirty)]);
}

/// Creates or attaches, joins, holds, leaves. Arguments: backend, name, point, at which time it kills.
fn armed(stage: &Stage) {
    crash::arm_from(&stage.arguments[2], stage.arguments[3].parse().unwrap());
    let segment = Segment::open_or_create(stage.place(0), &spec(), &mut mark).unwrap();
    let lease = join(&segment, GUARDED);
    lease.leave().unwrap();
    stage.say("survived");
}

/// Joins and waits to be killed.
fn dirty(stage: &Stage) {
    let segment = stage.attach().unwrap();
    let _lease = join(&segment, ALONE);
    stage.say("joined");
    stage.listen();
}

fn files_of(name: &Name) -> usize {
    let entries = std::fs::read_dir("/dev/shm").unwrap().flatten();
    entries.filter(|entry| entry.file_name().to_string_lossy().contains(&name.text)).count()
}

/// Identifiers of the SysV memory there is, and who made it.
fn sysv_memory() -> Vec<(String, String)> {
    let table = std::fs::read_to_string("/proc/sysvipc/shm").unwrap();
    let rows = table.lines().skip(1).map(|line| line.split_whitespace().map(str::to_owned));
    rows.map(|mut row| (row.nth(1).unwrap(), row.nth(2).unwrap())).collect()
}

/// SysV memory that process `creator` made and that was not there `before`: numbers of processes come again.
fn orphans_of(creator: i32, before: &[(String, String)]) -> usize {
    let is_new = |made: &(String, String)| made.1 == creator.to_string() && !before.contains(made);
    sysv_memory().iter().filter(|made| is_new(made)).count()
}

/// `dead` members stay unrecovered in the segment before the child comes.
fn dies_at(backend: Backend, point: &str, time: u32, dead: usize) {
    let name = Name::new(backend, "crash");
    let text = backend.to_string();
    let mut before = None;
    if dead > 0 {
        let segment = name.segment();
        let members: Vec<_> = (0..dead).map(|_| Process::start("dirty", &[&text, &name.text])).collect();
        members.iter().for_each(|member| member.expect("joined"));
        members.into_iter().for_each(Process::kill);
        before = Some(segment);
    }
    let others = sysv_memory();
    let child = Process::start("armed", &[&text, &name.text, point, &time.to_string()]);
    let pid = child.pid();
    assert_eq!(child.wait().signal(), Some(libc::SIGKILL), "{backend}: {point} is reached");

    assert!(files_of(&name) <= 1, "{point}");
    assert_eq!(orphans_of(pid, &others), 0, "{point}");
    let segment = name.segment();
    assert!(is_marked(segment.body()), "{point}: complete or not there at all");
    assert!(before.is_none_or(|before| before.creation_id() == segment.creation_id()));
    // What is nobody's comes before what is the dead's.
    let leases = segment.leases();
    let next = leases.iter().find(|info| !info.live).unwrap_or(&leases[0]);
    let lease = join(&segment, GUARDED);
    assert_eq!((lease.id().index, lease.id().incarnation), (next.index, next.incarnation + 1), "{point}");
    for info in segment.leases().iter().filter(|info| info.index != lease.id().index) {
        assert!(!info.live && info.held == Some(false), "{point}: {info:?}");
        assert!(!held(segment.body(), info.index), "{point}: {info:?}");
    }
    lease.leave().unwrap();
}

#[test]
fn crash_at_every_point() {
    for point in crash::ALL {
        let recovers = point.starts_with("segment.recover.") || *point == "segment.join.recovered";
        // Its own slot it recovers only where all are the dead's.
        dies_at(Backend::Shm, point, 1, if recovers { MEMBERS.into() } else { 0 });
        if point.starts_with("segment.recover.") {
            // The second time another one's.
            dies_at(Backend::Shm, point, 2, MEMBERS.into());
            dies_at(Backend::Shm, point, 1, 1);
        }
    }
}

#[test]
fn crash_at_every_point_of_the_other_named_backends() {
    for point in crash::ALL {
        let recovers = point.starts_with("segment.recover.") || *point == "segment.join.recovered";
        let dead = if recovers { MEMBERS.into() } else { 0 };
        dies_at(Backend::File, point, 1, dead);
        // SysV memory is not a file that is sized and reserved.
        if !matches!(*point, "segment.create.sized" | "segment.create.reserved") {
            dies_at(Backend::SysV, point, 1, dead);
        }
    }
}

#[test]
fn failpoints_in_the_source_are_the_registered_ones() {
    let mut found = Vec::new();
    let mut folders = vec![std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = std::fs::read_to_string(path).unwrap();
            let names =
                text.split("failpoint!(\"").skip(1).map(|rest| rest.split('"').next().unwrap().to_owned());
            found.extend(names.filter(|name| name.starts_with("segment.")));
        }
    }
    found.sort();
    let mut registered: Vec<_> = crash::ALL.iter().map(|name| (*name).to_owned()).collect();
    registered.sort();
    assert_eq!(found, registered);
}
