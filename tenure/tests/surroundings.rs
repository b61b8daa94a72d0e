//! Effects of the surroundings on members: namespaces, full and truncated files, sandboxes, limits, dumps, debuggers,
//! another boot, many memberships.
//!
//! Method: real processes in surroundings of their own. A case that a machine does not allow prints one line, SKIPPED.
//! Cases of the segment's tests are not repeated here: overlayfs, a full file system at creation, zombies, stops, exec.

mod common;

use std::alloc::Layout;
use std::ffi::CString;
use std::path::Path;

use common::{Name, Process, deny, die_with_parent, eventually, in_fork, linger, listen, returns, role, say};
use tenure::{
    Backend, Kind, Member, MonitorState, Options, Space, Token,
    error::{AllocError, CreateError, JoinError, ScratchError},
};

const KIND: Kind = Kind::raw(2);
/// Exit code of a role on a machine that does not allow its case.
const SKIPPED: i32 = 77;

fn options() -> Options {
    Space::options().members(8).handles(256).scratch(8 << 20)
}

fn bytes(len: usize) -> Layout {
    Layout::from_size_align(len, 1).unwrap()
}

#[test]
fn child() {
    let Some(role) = role() else { return };
    let name = role.get(1).map_or("", String::as_str);
    let code = match role[0].as_str() {
        "member" => member(&Space::options().attach(name).unwrap()),
        "pid namespace" => in_fork(|| in_pid_namespace(name)),
        "user namespace" => in_fork(|| in_user_namespace(name)),
        "mount namespace" => in_fork(|| in_mount_namespace(name)),
        "ipc namespace" => in_fork(|| in_ipc_namespace(name)),
        "full" => in_fork(full),
        "another boot" => in_fork(another_boot),
        "truncated" => in_fork(|| truncated(Path::new(name))),
        "dump advice" => in_fork(|| without_dump_advice(name)),
        "deaf" => deaf(name, role[2].parse().unwrap()),
        "limited" => limited(name),
        "cgroup" => in_cgroup(name, &role[2]),
        "dumps" => dumps(name, &role[2]),
        "many lives" => many_lives(),
        other => panic!("{other}: no such role"),
    };
    say(if code == SKIPPED { "skipped" } else { "code" }, code);
}

/// Runs a role that ends by itself, and checks its exit code. A skipped role prints the reason.
fn run(arguments: &[&str], needs: &str) {
    let mut process = Process::start(arguments);
    let code = process.receive("").unwrap_or_default();
    if code.starts_with("skipped") {
        println!("SKIPPED: {}: {needs}", arguments[0]);
    } else {
        assert_eq!(code, "code 0", "{arguments:?}");
    }
    assert!(process.wait().success());
}

/// Joins, creates a handle, prints its token, and waits.
fn member(space: &Space) -> i32 {
    let me = space.join().unwrap();
    let handle = me.create_raw(KIND, b"a member's").unwrap();
    let _other = me.create_raw(KIND, &[1; 5000]).unwrap();
    let _block = me.alloc(bytes(100)).unwrap();
    say("joined", u64::from(handle.token()));
    linger();
    0
}

fn unshare(flags: i32) -> bool {
    // SAFETY: the forked child has one thread.
    unsafe { libc::unshare(flags) == 0 }
}

/// Enters namespaces, in a user namespace of its own where that is needed.
fn enter(flags: i32) -> bool {
    // SAFETY: no arguments.
    let (uid, gid) = unsafe { (libc::geteuid(), libc::getegid()) };
    unshare(flags) || (unshare(flags | libc::CLONE_NEWUSER) && map(uid, uid, gid))
}

fn map(inside: u32, uid: u32, gid: u32) -> bool {
    let write = |file: &str, text: String| std::fs::write(format!("/proc/self/{file}"), text).is_ok();
    write("setgroups", "deny".into())
        && write("uid_map", format!("{inside} {uid} 1"))
        && write("gid_map", format!("{gid} {gid} 1"))
}

fn mount(source: &str, target: &str, kind: &str, flags: libc::c_ulong, data: &str) -> bool {
    let c = |text: &str| CString::new(text).unwrap();
    let (source, target, kind, data) = (c(source), c(target), c(kind), c(data));
    // SAFETY: four strings that outlive the call.
    unsafe { libc::mount(source.as_ptr(), target.as_ptr(), kind.as_ptr(), flags, data.as_ptr().cast()) == 0 }
}

/// Enters a mount namespace with its own `/dev/shm`.
fn own_shm(bytes: u64) -> bool {
    enter(libc::CLONE_NEWNS)
        && mount("none", "/", "", libc::MS_REC | libc::MS_PRIVATE, "")
        && mount("tmpfs", "/dev/shm", "tmpfs", 0, &format!("size={bytes}"))
}

fn is_quiet(space: &Space) {
    let report = space.check();
    assert!(report.is_clean() && report.pending.is_empty(), "{report:?}");
    assert_eq!((report.stats.handles_live, report.stats.blocks_live()), (0, 0), "{report:?}");
}

/// A member in another namespace: its death is observed, it shares handles, and it is recovered when it is killed.
fn shares_and_dies(arguments: &[&str], space: &Space, needs: &str) {
    let me = space.join().unwrap();
    let mut process = Process::start(arguments);
    let said = process.receive("").unwrap_or_default();
    let Some(token) = said.strip_prefix("joined ") else {
        assert!(said.starts_with("skipped"), "{said}");
        return println!("SKIPPED: {}: {needs}", arguments[0]);
    };
    let token = Token::try_from(token.parse::<u64>().unwrap()).unwrap();
    let handle = me.open_raw(KIND, token).unwrap();
    assert_eq!(handle.get().unwrap(), b"a member's");
    assert_eq!((space.stats().members_live, space.stats().handles_live), (2, 2));
    process.kill();
    // Its monitor may or may not observe the death across the namespace; a caller of `recover` gets an answer in any
    // case.
    eventually("the dead member is recovered", || {
        me.recover().unwrap();
        space.stats().members_live == 1
    });
    assert_eq!(space.stats().handles_live, 1);
    assert_eq!(handle.get().unwrap(), b"a member's");
    drop(handle);
    me.leave().unwrap();
    is_quiet(space);
}

/// The slot of the dead member is reused at once, while all others are just recovering it.
#[test]
fn who_follows_a_dead_member_in_a_full_space_gets_its_slot() {
    let name = Name::new("respawn");
    let space = name.open(Space::options().members(6).handles(256).scratch(8 << 20));
    let others: Vec<_> = (0..5).map(|_| space.join().unwrap()).collect();
    for round in 0..150 {
        let mut process = Process::start(&["member", &name.0]);
        process.receive("joined").unwrap();
        assert!(matches!(space.join(), Err(JoinError::Full { .. })), "round {round}");
        process.kill();
        space.join().unwrap_or_else(|error| panic!("round {round}: {error}")).leave().unwrap();
    }
    drop(others);
    is_quiet(&space);
}

fn in_pid_namespace(name: &str) -> i32 {
    if !enter(libc::CLONE_NEWPID) {
        return SKIPPED;
    }
    in_fork(|| {
        assert_eq!(std::process::id(), 1);
        die_with_parent();
        member(&Space::options().attach(name).unwrap())
    })
}

#[test]
fn members_in_other_pid_namespaces_are_members() {
    let name = Name::new("pidns");
    let space = name.open(options());
    shares_and_dies(&["pid namespace", &name.0], &space, "no pid namespace to be had here");
}

fn in_user_namespace(name: &str) -> i32 {
    // SAFETY: no arguments.
    let (uid, gid) = unsafe { (libc::geteuid(), libc::getegid()) };
    // Another user id: the kernel knows that it is the same user.
    if !unshare(libc::CLONE_NEWUSER) || !map(uid + 1, uid, gid) {
        return SKIPPED;
    }
    member(&Space::options().attach(name).unwrap())
}

#[test]
fn members_in_other_user_namespaces_are_members() {
    let name = Name::new("userns");
    let space = name.open(options());
    shares_and_dies(&["user namespace", &name.0], &space, "no user namespace to be had here");
}

fn in_mount_namespace(name: &str) -> i32 {
    if !own_shm(16 << 20) {
        return SKIPPED;
    }
    let error = Space::options().attach(name).unwrap_err();
    assert!(error.to_string().contains(name), "{error}");
    // A different space of the same name.
    let space = options().open(name).unwrap();
    assert!(space.created());
    let me = space.join().unwrap();
    drop(me.create_raw(KIND, b"x").unwrap());
    me.leave().unwrap();
    assert!(Space::list().unwrap().iter().any(|listed| listed.name == name));
    Space::remove(Backend::Shm, name, false).unwrap();
    0
}

#[test]
fn another_dev_shm_is_another_world() {
    let name = Name::new("mountns");
    let space = name.open(options());
    let me = space.join().unwrap();
    let _handle = me.create_raw(KIND, b"ours").unwrap();
    run(&["mount namespace", &name.0], "no mount namespace to be had here");
    assert_eq!((space.stats().handles_live, space.stats().members_live), (1, 1));
}

fn in_ipc_namespace(name: &str) -> i32 {
    if !enter(libc::CLONE_NEWIPC) {
        return SKIPPED;
    }
    // The lock file exists and the memory does not: an error, and nothing may be created or removed.
    let error = Space::options().backend(Backend::SysV).attach(name).unwrap_err();
    say("refused", error);
    0
}

#[test]
fn sysv_memory_of_another_ipc_namespace_is_refused() {
    let text = Name::new("ipcns");
    let space = options().backend(Backend::SysV).open(&text.0).unwrap();
    let me = space.join().unwrap();
    let mut process = Process::start(&["ipc namespace", &text.0]);
    let said = process.receive("").unwrap_or_default();
    if said.starts_with("skipped") {
        println!("SKIPPED: ipc namespace: none to be had here");
    } else {
        assert!(said.starts_with("refused"), "{said}");
    }
    drop(process);
    let handle = me.create_raw(KIND, b"still here").unwrap();
    assert_eq!(handle.get().unwrap(), b"still here");
    drop(handle);
    me.leave().unwrap();
    Space::remove(Backend::SysV, &text.0, true).unwrap();
}

/// Grows until the file system is full, by blocks and by handles; frees all; continues.
fn full() -> i32 {
    if !own_shm(4 << 20) {
        return SKIPPED;
    }
    let space = Space::options().members(4).handles(1 << 16).scratch(64 << 20).open("full").unwrap();
    let me = space.join().unwrap();
    for _ in 0..2 {
        let mut blocks = Vec::new();
        let refused = loop {
            match me.alloc(bytes(60_000)) {
                Ok(mut block) => {
                    block.fill(blocks.len() as u8);
                    blocks.push(block);
                }
                Err(error) => break error,
            }
        };
        assert!(matches!(refused, AllocError::Scratch(ScratchError::NoMemory { .. })), "{refused}");
        assert!(blocks.len() > 10, "{}", blocks.len());
        let mut handles = Vec::new();
        let refused = loop {
            match me.create_raw(KIND, b"small") {
                Ok(handle) => handles.push(handle),
                Err(error) => break error,
            }
        };
        assert!(matches!(refused, CreateError::Scratch(ScratchError::NoMemory { .. })), "{refused}");
        for (index, block) in blocks.iter().enumerate() {
            assert!(block.iter().all(|byte| *byte == index as u8));
        }
        assert!(handles.iter().all(|handle| handle.get().unwrap() == b"small"));
        assert!(space.check().is_clean());
        drop((blocks, handles));
        assert!(me.trim().unwrap() > 0);
    }
    me.leave().unwrap();
    is_quiet(&space);
    0
}

/// The result, the stats and the file agree on the returned memory.
#[test]
fn trim_counts_what_goes_back_of_locked_memory() {
    let name = Name::new("trim-locked");
    let directory = tempfile::tempdir().unwrap();
    let options = || options().scratch(8 << 20);
    let spaces = [
        name.open(options()),
        options().open_file(directory.path().join("space")).unwrap(),
        options().memfd().unwrap(),
        options().anonymous().unwrap(),
        options().private().unwrap(),
    ];
    for space in spaces {
        let me = space.join().unwrap();
        let mut blocks: Vec<_> = (0..4).map(|_| me.alloc(bytes(1 << 20)).unwrap()).collect();
        blocks.iter_mut().for_each(|block| block.fill(7));
        let locked = blocks[1].as_ptr();
        // SAFETY: a page of ours.
        if unsafe { libc::mlock(locked.cast(), 4096) } != 0 {
            return println!("SKIPPED: trim: no memory to be locked here");
        }
        drop(blocks);
        let before = space.stats();
        let trimmed = me.trim().unwrap();
        let after = space.stats();
        assert!(trimmed >= 3 << 20, "{}: the rest goes: {trimmed}", space.backend());
        assert_eq!(before.bytes_committed - after.bytes_committed, trimmed, "{}", space.backend());
        let shrunk = before.bytes_resident.zip(after.bytes_resident).map(|(before, after)| before - after);
        // A file system may need blocks of its own for the list of what is left of a file.
        let close = |shrunk: u64| shrunk.abs_diff(trimmed) <= 16 << 10;
        assert!(shrunk.is_none_or(close), "{}: {trimmed}, {shrunk:?}", space.backend());
        assert_eq!(me.trim().unwrap(), 0, "{}: nothing is counted twice", space.backend());
        // SAFETY: as above; the address belongs to our mapping as long as we are a member.
        assert_eq!(unsafe { libc::munlock(locked.cast(), 4096) }, 0);
        assert_eq!(me.trim().unwrap(), after.bytes_committed, "{}: tried again", space.backend());
        assert!(me.alloc_zeroed(bytes(4 << 20)).unwrap().iter().all(|byte| *byte == 0));
    }
}

#[test]
fn a_file_system_that_is_full_while_growing_is_an_error_and_nothing_is_lost() {
    run(&["full"], "no mount namespace to be had here");
}

fn another_boot() -> i32 {
    if !own_shm(16 << 20) {
        return SKIPPED;
    }
    let killed = in_fork(|| {
        let me = options().open("boot").unwrap().join().unwrap();
        let _handle = me.create_raw(KIND, b"of the last boot").unwrap();
        // SAFETY: ends this process.
        unsafe { libc::kill(libc::getpid(), libc::SIGKILL) }
    });
    assert_eq!(killed, 1000 + libc::SIGKILL);
    assert!(!options().open("boot").unwrap().created(), "the same boot: the same space");
    std::fs::write("/dev/shm/id", "01234567-89ab-cdef-0123-456789abcdef\n").unwrap();
    if !mount("/dev/shm/id", "/proc/sys/kernel/random/boot_id", "", libc::MS_BIND, "") {
        return SKIPPED;
    }
    assert!(Space::options().attach("boot").is_err());
    let space = options().open("boot").unwrap();
    assert!(space.created(), "another boot: another space");
    assert_eq!(space.stats().handles_live, 0);
    let me = space.join().unwrap();
    drop(me.create_raw(KIND, b"of this boot").unwrap());
    me.leave().unwrap();
    is_quiet(&space);
    0
}

#[test]
fn after_another_boot_the_next_simply_starts() {
    run(&["another boot"], "no mount namespace or no bind mount to be had here");
}

/// A peer truncates the file under a member. This is the limit of [A7]: an access to the truncated part is SIGBUS, for
/// that member; later openers are refused with the reason, and no other process is affected.
fn truncated(path: &Path) -> i32 {
    let space = options().open_file(path).unwrap();
    let file = space.path().unwrap().to_owned();
    let code = in_fork(|| {
        let me = space.join().unwrap();
        let handle = me.create_raw(KIND, &[3; 3000]).unwrap();
        std::fs::File::options().write(true).open(&file).unwrap().set_len(4096).unwrap();
        // Refused before any access to the file.
        let refused = space.join().unwrap_err();
        assert!(matches!(refused, tenure::error::JoinError::Truncated { .. }), "{refused}");
        let refused = Space::options().attach_file(path).unwrap_err();
        assert!(refused.to_string().contains("bytes"), "{refused}");
        say("refused", "");
        i32::from(handle.get().map(|bytes| bytes[2999]).unwrap() != 3)
    });
    assert_eq!(code, 1000 + libc::SIGBUS);
    // A new space, without removing any file by hand.
    let refused = options().open_file(path).map(|space| space.created());
    say("afterwards", format!("{refused:?}"));
    0
}

#[test]
fn a_file_truncated_under_a_member_is_sigbus_for_it_and_an_error_for_others() {
    let directory = tempfile::tempdir_in("/dev/shm").unwrap();
    let path = directory.path().join("x");
    let mut process = Process::start(&["truncated", path.to_str().unwrap()]);
    assert_eq!(process.receive("refused").as_deref(), Some(""));
    let said = process.receive("").unwrap_or_default();
    // An opener is told, and the user removes the file by hand: it may belong to another program.
    assert!(said.starts_with("afterwards") && said.contains("Truncated"), "{said}");
    assert_eq!(process.receive("code").as_deref(), Some("0"));
    Space::remove(Backend::File, path.to_str().unwrap(), true).unwrap();
    assert!(options().open_file(&path).unwrap().created());
    Space::remove(Backend::File, path.to_str().unwrap(), true).unwrap();
}

/// On a kernel without MADV_DONTDUMP, a program creates, attaches, joins and works all the same.
fn without_dump_advice(name: &str) -> i32 {
    if !deny(libc::SYS_madvise, Some(libc::MADV_DONTDUMP as u32), libc::EINVAL) {
        return SKIPPED;
    }
    let attached = Space::options().attach(name).unwrap();
    for space in [attached, options().memfd().unwrap(), options().anonymous().unwrap()] {
        let me = space.join().unwrap();
        assert_eq!(me.create_raw(KIND, b"all the same").unwrap().get().unwrap(), b"all the same");
        me.leave().unwrap();
    }
    0
}

#[test]
fn a_refused_dump_advice_refuses_nothing_else() {
    let name = Name::new("dump-advice");
    let space = name.open(options());
    run(&["dump advice", &name.0], "no seccomp to be had here");
    is_quiet(&space);
}

/// Denies `futex_waitv` with `errno`, joins, and recovers when it is told to, or when handles run out.
fn deaf(name: &str, errno: i32) -> i32 {
    if !deny(libc::SYS_futex_waitv, None, errno) {
        return SKIPPED;
    }
    let me = Space::options().attach(name).unwrap().join().unwrap();
    let MonitorState::Unavailable(tenure_segment::Absence::FutexWaitv { errno: found }) = me.monitor_state()
    else {
        return 1;
    };
    assert_eq!(found, errno);
    say("joined", "");
    let mut handles = Vec::new();
    loop {
        match listen().as_str() {
            "recover" => say("recovered", me.recover().unwrap()),
            "create" => {
                handles.extend((0..200).map(|_| me.create_raw(KIND, b"deaf").unwrap()));
                say("created", handles.len());
            }
            _ => {
                drop(handles);
                me.leave().unwrap();
                return 0;
            }
        }
    }
}

/// A member that takes most handles; the test kills it.
fn greedy(name: &str) -> Process {
    let mut process = Process::start(&["member", name]);
    process.receive("joined").unwrap();
    process
}

#[test]
fn without_futex_waitv_recovery_comes_with_a_call_a_need_or_a_join() {
    for errno in [libc::ENOSYS, libc::EPERM] {
        let name = Name::new("deaf");
        // A number of handles that does not suffice for two members with 200 each.
        let space = name.open(Space::options().members(4).handles(201).scratch(8 << 20));
        let mut process = Process::start(&["deaf", &name.0, &errno.to_string()]);
        let said = process.receive("").unwrap_or_default();
        if said.starts_with("skipped") {
            return println!("SKIPPED: deaf: no seccomp to be had here");
        }
        assert_eq!(said.trim(), "joined");
        greedy(&name.0).kill();
        assert_eq!(space.stats().members_live, 2, "nobody has heard of it");
        process.tell("recover");
        assert_eq!(process.receive("recovered").as_deref(), Some("1"));
        assert_eq!((space.stats().members_live, space.stats().handles_live), (1, 0));
        greedy(&name.0).kill();
        drop(space.join().unwrap());
        assert_eq!((space.stats().members_live, space.stats().handles_live), (1, 0), "a join recovers");
        greedy(&name.0).kill();
        process.tell("create");
        assert_eq!(process.receive("created").as_deref(), Some("200"), "want makes it recover");
        assert_eq!((space.stats().members_live, space.stats().handles_live), (1, 200));
        process.tell("leave");
        assert_eq!(process.receive("code").as_deref(), Some("0"));
        is_quiet(&space);
    }
}

fn set_limit(what: libc::__rlimit_resource_t, soft: u64) -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: a place for two numbers.
    assert_eq!(unsafe { libc::getrlimit(what, &raw mut limit) }, 0);
    let before = limit.rlim_cur;
    limit.rlim_cur = soft.min(limit.rlim_max);
    // SAFETY: two numbers.
    assert_eq!(unsafe { libc::setrlimit(what, &raw const limit) }, 0);
    before
}

/// Too few descriptors, too little address space, a limit on file sizes: errors, and everything works again afterwards.
fn limited(name: &str) -> i32 {
    let space = Space::options().attach(name).unwrap();
    // The lowest free descriptor and all above it.
    let next = std::os::fd::AsRawFd::as_raw_fd(&std::fs::File::open("/dev/null").unwrap()) as u64;
    let before = set_limit(libc::RLIMIT_NOFILE, next);
    assert!(Space::options().attach(name).is_err());
    assert!(matches!(space.join().unwrap_err(), tenure::error::JoinError::Os { .. }));
    set_limit(libc::RLIMIT_NOFILE, before);

    let status = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = status.split(' ').next().unwrap().parse().unwrap();
    let before = set_limit(libc::RLIMIT_AS, pages * 4096 + (1 << 20));
    let refused = space.join().map(drop);
    let huge = Space::options().scratch(64 << 30).anonymous().map(drop);
    set_limit(libc::RLIMIT_AS, before);
    assert!(matches!(refused, Err(tenure::error::JoinError::Os { .. })), "{refused:?}");
    assert!(huge.is_err());

    // The default action of SIGXFSZ would end the process.
    let before = set_limit(libc::RLIMIT_FSIZE, 1 << 20);
    let refused = Space::options().scratch(64 << 20).memfd().map(drop);
    set_limit(libc::RLIMIT_FSIZE, 100);
    // Of SysV memory only the lock file is one.
    let sysv = Space::options().backend(Backend::SysV).open(&format!("{name}-sysv")).map(drop);
    set_limit(libc::RLIMIT_FSIZE, before);
    assert!(matches!(&sysv, Err(error) if error.to_string().contains("RLIMIT_FSIZE")), "{sysv:?}");
    assert!(matches!(&refused, Err(error) if error.to_string().contains("RLIMIT_FSIZE")), "{refused:?}");

    let me = space.join().unwrap();
    assert_eq!(me.create_raw(KIND, b"after all").unwrap().get().unwrap(), b"after all");
    me.leave().unwrap();
    0
}

#[test]
fn limits_are_errors_and_leave_everything_usable() {
    let name = Name::new("limited");
    let space = name.open(options());
    run(&["limited", &name.0], "");
    is_quiet(&space);
}

/// Joins a control group with little memory and allocates more: an error, or the system kills this process.
fn in_cgroup(name: &str, group: &str) -> i32 {
    if std::fs::write(format!("{group}/cgroup.procs"), std::process::id().to_string()).is_err() {
        return SKIPPED;
    }
    let me = Space::options().attach(name).unwrap().join().unwrap();
    let mut blocks = Vec::new();
    while let Ok(mut block) = me.alloc(bytes(1 << 20)) {
        block.fill(1);
        blocks.push(block);
    }
    i32::from(blocks.len() > 48)
}

#[test]
fn a_member_that_the_memory_controller_kills_is_recovered() {
    let root = Path::new("/sys/fs/cgroup");
    let group = root.join(format!("tenure-test-{}", std::process::id()));
    let has_memory = std::fs::read_to_string(root.join("cgroup.controllers"))
        .is_ok_and(|controllers| controllers.contains("memory"));
    if !has_memory || std::fs::create_dir(&group).is_err() {
        return println!("SKIPPED: cgroup: no writable cgroup v2 with a memory controller here");
    }
    struct Remove(std::path::PathBuf);
    impl Drop for Remove {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir(&self.0);
        }
    }
    let group = Remove(group);
    let limited = std::fs::write(group.0.join("memory.max"), "16M").is_ok();
    let _ = std::fs::write(group.0.join("memory.swap.max"), "0");
    if !limited {
        return println!("SKIPPED: cgroup: no memory limit to be had here");
    }
    let name = Name::new("cgroup");
    let space = name.open(Space::options().members(4).handles(64).scratch(64 << 20));
    let me = space.join().unwrap();
    let handle = me.create_raw(KIND, b"ours").unwrap();
    let process = Process::start(&["cgroup", &name.0, group.0.to_str().unwrap()]);
    // Killed, or refused memory and exited.
    let _ = process.wait();
    eventually("what it held is taken back", || {
        me.recover().unwrap();
        space.stats().members_live == 1 && space.stats().blocks_leased == 0
    });
    assert_eq!(handle.get().unwrap(), b"ours");
    assert!(space.check().is_clean());
}

/// Dies of a signal that dumps core, with much of the segment in use.
fn dumps(name: &str, directory: &str) -> i32 {
    std::env::set_current_dir(directory).unwrap();
    set_limit(libc::RLIMIT_CORE, u64::MAX);
    // Everything that is not excluded goes into the dump.
    std::fs::write("/proc/self/coredump_filter", "0xff").unwrap();
    let space = Space::options().attach(name).unwrap();
    let me = space.join().unwrap();
    let _handle = me.create_raw(KIND, b"dumped?").unwrap();
    let mut block = me.alloc(bytes(48 << 20)).unwrap();
    block.fill(1);
    let _offset = block.pin();
    say("joined", "");
    std::process::abort();
}

#[test]
fn a_member_that_dumps_core_is_recovered_when_the_dump_is_done() {
    let name = Name::new("dumps");
    let space = name.open(Space::options().members(4).handles(64).scratch(64 << 20));
    let me = space.join().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let mut process = Process::start(&["dumps", &name.0, directory.path().to_str().unwrap()]);
    assert_eq!(process.receive("joined").as_deref(), Some(""));
    let status = process.wait();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(libc::SIGABRT));
    // The monitor recovers without a call.
    eventually("the dead member is recovered", || space.stats().members_live == 1);
    assert_eq!(space.stats().handles_live, 0);
    let pinned: Vec<_> = space.blocks().iter().map(|block| block.offset).collect();
    // SAFETY: the blocks are ours, and nobody uses their bytes.
    pinned.iter().for_each(|offset| unsafe { me.free_pinned(*offset) }.unwrap());
    let dumped: Option<u64> = std::fs::read_dir(directory.path())
        .unwrap()
        .flatten()
        .map(|file| file.metadata().unwrap().len())
        .max();
    match dumped {
        // A large dump would delay the recovery for all members.
        Some(dumped) => assert!(dumped < 40 << 20, "{dumped} bytes: the segment is in the dump"),
        None => println!("SKIPPED: the size of the dump: cores go elsewhere here"),
    }
    me.leave().unwrap();
    is_quiet(&space);
}

/// Thousands of joins and leaves: the same number of descriptors, mappings, threads and slots afterwards, and about the
/// same memory.
fn many_lives() -> i32 {
    let count = |what: &str| std::fs::read_dir(format!("/proc/self/{what}")).unwrap().count();
    let mappings = || std::fs::read_to_string("/proc/self/maps").unwrap().lines().count();
    let resident = || -> u64 {
        let text = std::fs::read_to_string("/proc/self/statm").unwrap();
        text.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
    };
    let space = options().memfd().unwrap();
    let live = |rounds: u64| {
        for round in 0..rounds {
            let me = space.join().unwrap();
            assert_eq!(me.lease().index, 0);
            let handle = me.create_raw(KIND, &[1; 500]).unwrap();
            let block = me.alloc(bytes(200)).unwrap();
            if round % 2 == 0 {
                drop((handle, block));
                me.leave().unwrap();
            }
        }
    };
    let alone = count("task");
    let measured = || {
        // The kernel lists a thread for a moment after its end.
        eventually("the threads of those that left are gone", || count("task") == alone);
        (count("fd"), mappings(), resident())
    };
    live(100);
    let before = measured();
    live(4000);
    let after = measured();
    assert_eq!(before.0, after.0, "descriptors");
    assert!(after.1 <= before.1 + 8, "mappings: {before:?}, then {after:?}");
    assert!(after.2 <= before.2 + (4 << 20), "resident bytes: {before:?}, then {after:?}");
    is_quiet(&space);
    0
}

#[test]
fn thousands_of_lives_leave_nothing_behind() {
    run(&["many lives"], "");
}

/// Every operation of a member that must not be blocked.
fn goes_on(me: &Member, token: Token) {
    let opened = me.open_raw(KIND, token).unwrap();
    assert_eq!(opened.get().unwrap(), b"a member's");
    let handles: Vec<_> = (0..100).map(|_| me.create_raw(KIND, &[2; 700]).unwrap()).collect();
    let mut block = me.alloc(bytes(3000)).unwrap();
    block.resize(9000).unwrap();
    drop((handles, block, opened));
    me.recover().unwrap();
    me.trim().unwrap();
}

#[test]
fn a_member_under_a_debugger_hinders_nobody() {
    let name = Name::new("traced");
    let space = name.open(options());
    let me = space.join().unwrap();
    let mut process = Process::start(&["member", &name.0]);
    let token = Token::try_from(process.receive("joined").unwrap().parse::<u64>().unwrap()).unwrap();
    let pid = process.pid();
    let null = std::ptr::null_mut::<libc::c_void>();
    // SAFETY: attaching stops our own child and has no other effect.
    if unsafe { libc::ptrace(libc::PTRACE_ATTACH, pid, null, null) } != 0 {
        return println!("SKIPPED: traced: no ptrace to be had here");
    }
    let mut status = 0;
    eventually("the traced child is stopped", || {
        // SAFETY: our own child, and a valid pointer for its status.
        let found = unsafe { libc::waitpid(pid, &raw mut status, libc::__WALL | libc::WNOHANG) };
        assert!(found == 0 || found == pid);
        found == pid
    });
    assert!(libc::WIFSTOPPED(status));
    goes_on(&me, token);
    // A stopped member is alive.
    assert_eq!((me.recover().unwrap(), space.stats().members_live), (0, 2));
    // SAFETY: the child is traced by this thread and stopped.
    assert_eq!(unsafe { libc::ptrace(libc::PTRACE_DETACH, pid, null, null) }, 0);
    goes_on(&me, token);
    process.kill();
    eventually("the dead member is recovered", || space.stats().members_live == 1);
    me.leave().unwrap();
    is_quiet(&space);
}

#[test]
fn a_member_killed_under_a_debugger_is_recovered() {
    let name = Name::new("killed-traced");
    let space = name.open(options());
    let me = space.join().unwrap();
    let mut process = Process::start(&["member", &name.0]);
    process.receive("joined").unwrap();
    let gdb = returns("gdb ends", || {
        std::process::Command::new("gdb")
            .args(["-nx", "-batch", "-p", &process.pid().to_string(), "-ex", "kill"])
            .stdin(std::process::Stdio::null())
            .output()
    });
    if gdb.is_err() {
        println!("SKIPPED: gdb: not installed");
    }
    process.kill();
    eventually("the dead member is recovered", || space.stats().members_live == 1);
    me.leave().unwrap();
    is_quiet(&space);
}
