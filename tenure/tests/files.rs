//! Descriptors passed by token between real processes: every kind, both ways, and the errors when both ways fail.
#![cfg(feature = "objects")]

mod common;

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;

use common::{Name, Process, eventually, in_fork, linger, listen, reap, role, say, scope};
use tenure::{
    Backend, Options, Space, Token,
    error::{DescriptorError, NotMember, OpenHandleError},
    file::Descriptor,
    testing::Way,
};

fn options() -> Options {
    Space::options().members(8).handles(64).unit(4 << 10).scratch(200 << 10)
}

fn unattended() -> Options {
    options().monitor(false)
}

// ---- kinds of descriptors ----

const KINDS: &[&str] = &["file", "memfd", "pipe", "socket", "eventfd"];
const TEXT: &[u8] = b"what it says";

fn new_fd(fd: RawFd) -> OwnedFd {
    assert!(fd >= 0, "{}", std::io::Error::last_os_error());
    // SAFETY: a new descriptor with no other owner.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

fn memfd() -> OwnedFd {
    // SAFETY: a name that outlives the call.
    let fd = File::from(new_fd(unsafe { libc::memfd_create(c"passed".as_ptr(), libc::MFD_CLOEXEC) }));
    fd.write_all_at(TEXT, 0).unwrap();
    fd.into()
}

fn eventfd() -> OwnedFd {
    // SAFETY: numbers.
    new_fd(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) })
}

/// The descriptor to pass, and the other end, which stays.
fn make(kind: &str) -> (OwnedFd, OwnedFd) {
    match kind {
        "file" => {
            let file = tempfile::tempfile().unwrap();
            file.write_all_at(TEXT, 0).unwrap();
            (file.try_clone().unwrap().into(), file.into())
        }
        "memfd" => {
            let fd = memfd();
            (fd.try_clone().unwrap(), fd)
        }
        "pipe" => {
            let (reader, writer) = std::io::pipe().unwrap();
            (writer.into(), reader.into())
        }
        "socket" => {
            let (here, there) = UnixStream::pair().unwrap();
            (there.into(), here.into())
        }
        "eventfd" => {
            let fd = eventfd();
            (fd.try_clone().unwrap(), fd)
        }
        other => panic!("{other}"),
    }
}

/// Uses the received descriptor.
fn use_it(kind: &str, got: OwnedFd) {
    let mut got = File::from(got);
    match kind {
        "file" | "memfd" => {
            let mut text = [0; TEXT.len()];
            got.read_exact_at(&mut text, 0).unwrap();
            assert_eq!(text, TEXT);
            got.write_all_at(b"AFTER", 0).unwrap();
        }
        "eventfd" => got.write_all(&7_u64.to_ne_bytes()).unwrap(),
        _ => got.write_all(b"AFTER").unwrap(),
    }
}

/// Whether the end that stayed observed the use.
fn saw_it(kind: &str, stayed: OwnedFd) -> bool {
    let mut stayed = File::from(stayed);
    let mut text = [0; 8];
    match kind {
        "file" | "memfd" => stayed.read_exact_at(&mut text[..5], 0).unwrap(),
        "eventfd" => stayed.read_exact(&mut text).unwrap(),
        _ => stayed.read_exact(&mut text[..5]).unwrap(),
    }
    if kind == "eventfd" { text == 7_u64.to_ne_bytes() } else { &text[..5] == b"AFTER" }
}

// ---- denied system calls and privileges ----

/// Has the kernel answer `call` with EPERM in this thread from now on.
fn forbid(call: libc::c_long) {
    assert!(common::deny(call, None, libc::EPERM), "{}", std::io::Error::last_os_error());
}

/// Root may trace every process; this thread may not from now on.
fn drop_capabilities() {
    let header = [0x2008_0522_u32, 0];
    let none = [0_u32; 6];
    // SAFETY: a header and a set of version 3 that outlive the call.
    let set = unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), none.as_ptr()) };
    assert_eq!(set, 0, "{}", std::io::Error::last_os_error());
}

fn way(word: &str) -> Way {
    match word {
        "direct" => Way::Direct,
        "socket" => Way::Socket,
        _ => Way::Any,
    }
}

fn token(word: &str) -> Token {
    Token::try_from(word.parse::<u64>().unwrap()).unwrap()
}

fn number(token: Token) -> u64 {
    token.into()
}

// ---- roles ----

#[test]
fn child() {
    let Some(role) = role() else { return };
    if role[0] != "elsewhere" {
        return act(&role);
    }
    let code = in_fork(|| {
        // SAFETY: no memory is involved.
        if unsafe { libc::unshare(libc::CLONE_NEWPID) } != 0 {
            return 100;
        }
        in_fork(|| {
            act(&role[1..]);
            0
        })
    });
    if code != 0 {
        say(if code == 100 { "skipped" } else { "failed" }, "");
    }
}

fn act(role: &[String]) {
    let space = Space::options().monitor(false).attach(&role[1]).unwrap();
    let me = space.join().unwrap();
    match role[0].as_str() {
        "open" => {
            for denied in role[5..].iter() {
                match denied.as_str() {
                    "getfd" => forbid(libc::SYS_pidfd_getfd),
                    "connect" => forbid(libc::SYS_connect),
                    "capabilities" => drop_capabilities(),
                    // SAFETY: numbers.
                    "user" => assert_eq!(unsafe { libc::setresuid(65534, 65534, 65534) }, 0),
                    other => panic!("{other}"),
                }
            }
            match tenure::testing::open_by(&me, token(&role[2]), way(&role[3])) {
                Ok(got) => {
                    if role[4] != "-" {
                        use_it(&role[4], got.duplicate().unwrap());
                    }
                    say("opened", "");
                    linger();
                }
                Err(error) => say("refused", error),
            }
        }
        "hold" => {
            let (passed, stayed) = make(&role[2]);
            let mut held = Some(match role.get(3) {
                None => Descriptor::create(&me, passed).unwrap(),
                Some(called) => Descriptor::create(me.named(called), passed).unwrap(),
            });
            say("token", number(held.as_ref().unwrap().token()));
            loop {
                match listen().as_str() {
                    "drop" => held = None,
                    "undumpable" => {
                        // SAFETY: numbers.
                        assert_eq!(unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0) }, 0);
                    }
                    // Closed without the library, as a bug in the program would.
                    "close" => {
                        let number = held.as_ref().unwrap().as_raw_fd();
                        // SAFETY: the point of the test; nothing else in this process uses the number.
                        unsafe { libc::close(number) };
                    }
                    "replace" => {
                        let number = held.as_ref().unwrap().as_raw_fd();
                        let other = make(&role[2]).0;
                        // SAFETY: descriptors of ours.
                        assert!(unsafe { libc::dup3(other.as_raw_fd(), number, libc::O_CLOEXEC) } >= 0);
                    }
                    other => panic!("{other}"),
                }
                say("done", "");
                let _ = &stayed;
            }
        }
        "fork" => {
            let held = Descriptor::create(&me, memfd()).unwrap();
            let token = held.token();
            let code = in_fork(|| {
                let gone = |error| matches!(error, DescriptorError::NotMember(NotMember::ForkedChild));
                assert!(Descriptor::create(&me, memfd()).is_err_and(gone));
                let refused = Descriptor::open(&me, token).unwrap_err();
                assert!(matches!(refused, DescriptorError::Open(OpenHandleError::NotMember(_))), "{refused}");
                // It is a descriptor like any other.
                use_it("memfd", held.duplicate().unwrap());
                drop((held.clone(), me.clone()));
                // As a separate member it gets one from its parent, either way.
                for way in [Way::Direct, Way::Socket] {
                    let me = space.join().unwrap();
                    drop(tenure::testing::open_by(&me, token, way).unwrap());
                    me.leave().unwrap();
                }
                0
            });
            assert_eq!(code, 0);
            say("token", number(token));
            linger();
        }
        "leave" => {
            let count = |path: &str| std::fs::read_dir(path).unwrap().count();
            let descriptors = count("/proc/self/fd");
            let threads = threads_named("tenure-files");
            assert_eq!(threads, 0);
            let held = Descriptor::create(&me, memfd()).unwrap();
            let again = Descriptor::open(&me, held.token()).unwrap();
            assert_eq!(again.as_raw_fd(), held.as_raw_fd(), "one descriptor a token");
            // The thread sets its own name.
            eventually("the thread runs", || threads_named("tenure-files") == 1);
            drop((held, again));
            me.leave().unwrap();
            // `leave` waited for the end of the thread; the kernel lists it for a moment longer.
            eventually("the thread is gone", || threads_named("tenure-files") == 0);
            assert!(count("/proc/self/fd") <= descriptors, "a descriptor is left");
            say("left", "");
        }
        other => panic!("{other}"),
    }
}

fn threads_named(name: &str) -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    tasks
        .filter(|task| {
            std::fs::read_to_string(task.path().join("comm")).is_ok_and(|comm| comm.trim_end() == name)
        })
        .count()
}

fn opener(name: &Name, token: Token, way: &str, kind: &str, denied: &[&str]) -> Process {
    let number = number(token).to_string();
    Process::start(&[&["open", &name.0, &number, way, kind], denied].concat())
}

/// The first answer of an opener: `opened`, or `refused` and the reason.
fn answer(opener: &mut Process) -> String {
    opener.receive("").expect("an answer")
}

/// The answer of an opener that must not get the descriptor.
fn refused(name: &Name, token: Token, way: &str, denied: &[&str]) -> String {
    let mut opener = opener(name, token, way, "-", denied);
    let said = answer(&mut opener);
    opener.wait();
    said.strip_prefix("refused ").unwrap_or_else(|| panic!("{way} {denied:?}: {said}")).to_owned()
}

fn opened(name: &Name, token: Token, way: &str, denied: &[&str]) {
    let mut opener = opener(name, token, way, "-", denied);
    assert_eq!(answer(&mut opener), "opened", "{way} {denied:?}");
    opener.wait();
}

fn holder(name: &Name, kind: &str) -> (Process, Token) {
    let mut holder = Process::start(&["hold", &name.0, kind]);
    let said = holder.receive("token").unwrap();
    (holder, token(&said))
}

fn order(holder: &mut Process, word: &str) {
    holder.tell(word);
    holder.receive("done").unwrap();
}

fn assert_clean(space: &Space) {
    let report = space.check_quiet();
    assert!(report.is_clean() && report.pending.is_empty(), "{report:#?}");
}

// ---- tests ----

#[test]
fn every_kind_travels_both_ways() {
    let name = Name::new("kinds");
    let space = name.open(options());
    let me = space.join().unwrap();
    for kind in KINDS {
        for way in ["direct", "socket", "any"] {
            let (passed, stayed) = make(kind);
            let held = Descriptor::create(&me, passed).unwrap();
            let mut opener = opener(&name, held.token(), way, kind, &[]);
            assert_eq!(answer(&mut opener), "opened", "{kind} {way}");
            // When only the other process holds it, it still exists, and this process can open it.
            let token = held.token();
            drop(held);
            let back = Descriptor::open(&me, token).unwrap();
            assert!(saw_it(kind, stayed), "{kind} {way}");
            assert!(opener.wait().success());
            drop(back);
            let over = Descriptor::open(&me, token).unwrap_err();
            assert!(matches!(over, DescriptorError::Open(OpenHandleError::Stale { .. })), "{over}");
        }
    }
    drop(me);
    assert_clean(&space);
}

#[test]
fn every_backend_within_one_process() {
    let name = Name::new("backends");
    let directory = tempfile::tempdir().unwrap();
    let spaces = [
        options().anonymous().unwrap(),
        options().memfd().unwrap(),
        options().private().unwrap(),
        options().open_file(directory.path().join("space")).unwrap(),
        options().backend(Backend::SysV).open(&name.0).unwrap(),
    ];
    for space in spaces {
        let (me, other) = (space.join().unwrap(), space.join().unwrap());
        let held = Descriptor::create(&me, memfd()).unwrap();
        for way in [Way::Direct, Way::Socket] {
            let got = tenure::testing::open_by(&other, held.token(), way).unwrap();
            assert_ne!(got.as_raw_fd(), held.as_raw_fd());
            use_it("memfd", got.duplicate().unwrap());
            File::from(held.duplicate().unwrap()).write_all_at(TEXT, 0).unwrap();
        }
        if space.backend() == Backend::SysV {
            Space::remove(Backend::SysV, &name.0, true).unwrap();
        }
    }
}

#[test]
fn obtained_from_another_holder_when_the_creator_is_dead() {
    let name = Name::new("another");
    let space = name.open(unattended());
    let me = space.join().unwrap();
    let (creator, token) = holder(&name, "memfd");
    let ours = Descriptor::open(&me, token).unwrap();
    creator.kill();
    // Before and after the recovery of the dead member.
    for way in ["direct", "socket"] {
        opened(&name, token, way, &[]);
    }
    me.recover().unwrap();
    for way in ["direct", "socket"] {
        opened(&name, token, way, &[]);
    }
    drop(ours);
    assert!(refused(&name, token, "any", &[]).contains("stale"));
}

#[test]
fn nobody_alive_is_said() {
    let name = Name::new("nobody");
    let space = name.open(unattended());
    let me = space.join().unwrap();
    let (creator, token) = holder(&name, "memfd");
    creator.kill();
    let error = Descriptor::open(&me, token).unwrap_err();
    assert!(matches!(error, DescriptorError::NoHolder), "{error}");
    assert_eq!(error.to_string(), "no living process has the descriptor open");
    me.recover().unwrap();
    let error = Descriptor::open(&me, token).unwrap_err();
    assert!(matches!(error, DescriptorError::Open(OpenHandleError::Stale { .. })), "{error}");
}

#[test]
fn whoever_creates_or_opens_the_name_of_the_dead_creates() {
    let name = Name::new("named");
    let space = name.open(unattended());
    let me = space.join().unwrap();
    let mut creator = Process::start(&["hold", &name.0, "memfd", "log"]);
    let theirs = token(&creator.receive("token").unwrap());
    let opened = Descriptor::create_or_open(&me, "log", eventfd()).unwrap();
    assert!(!opened.is_created() && opened.into_inner().token() == theirs);
    creator.kill();
    let (passed, mut stayed) = std::io::pipe().map(|(reader, writer)| (writer, reader)).unwrap();
    let created = Descriptor::create_or_open(&me, "log", passed).unwrap();
    assert!(created.is_created());
    let made = created.into_inner();
    File::from(made.duplicate().unwrap()).write_all(b"new").unwrap();
    drop(made);
    let mut text = String::new();
    stayed.read_to_string(&mut text).unwrap();
    assert_eq!(text, "new");
    assert_clean(&space);
}

#[test]
fn the_process_id_of_the_dead_in_other_hands_is_not_asked() {
    let name = Name::new("reused");
    let space = name.open(unattended());
    let me = space.join().unwrap();
    let (creator, token) = holder(&name, "eventfd");
    let pid = creator.pid();
    creator.kill();
    // clone_args, with a chosen process id; only a privileged process may choose one.
    let mut arguments = [0_u64; 11];
    arguments[4] = libc::SIGCHLD as u64;
    arguments[8] = (&raw const pid) as u64;
    arguments[9] = 1;
    // SAFETY: arguments that outlive the call; without flags it is a fork.
    let child = unsafe { libc::syscall(libc::SYS_clone3, arguments.as_ptr(), size_of_val(&arguments)) };
    if child == 0 {
        common::die_with_parent();
        // SAFETY: waits for the end of the child, and accesses no memory.
        unsafe {
            libc::pause();
            libc::_exit(0);
        }
    }
    if child < 0 {
        let error = std::io::Error::last_os_error();
        println!("SKIPPED: no process with the id of another that ended: {error}");
        return;
    }
    assert_eq!(child, libc::c_long::from(pid));
    let error = Descriptor::open(&me, token).unwrap_err();
    // SAFETY: a child of ours.
    unsafe { libc::kill(pid, libc::SIGKILL) };
    reap(pid);
    assert!(matches!(error, DescriptorError::NoHolder), "{error}");
}

#[test]
fn the_holder_is_asked_where_tracing_is_denied() {
    let name = Name::new("denied");
    let _space = name.open(options());
    let (mut creator, token) = holder(&name, "pipe");
    for denied in [&["getfd"][..], &["capabilities"]] {
        let said = refused(&name, token, "direct", denied);
        if denied == ["capabilities"] && said.is_empty() {
            continue;
        }
        assert!(said.contains("pidfd_getfd: ") && said.contains(&creator.pid().to_string()), "{said}");
        opened(&name, token, "any", denied);
    }
    order(&mut creator, "undumpable");
    let said = refused(&name, token, "direct", &["capabilities"]);
    assert!(said.contains("pidfd_getfd: Operation not permitted"), "{said}");
    opened(&name, token, "any", &["capabilities"]);
}

/// The socket reports the user of the other end, and no process id, because there is none.
#[test]
fn between_pid_namespaces_the_holder_is_asked() {
    let name = Name::new("pidns");
    let space = name.open(options());
    let mut holder = Process::start(&["elsewhere", "hold", &name.0, "pipe"]);
    let said = holder.receive("").unwrap();
    let Some(number) = said.strip_prefix("token ") else {
        assert_eq!(said, "skipped");
        return println!("SKIPPED: namespaces: no pid namespace to be had here");
    };
    let direct = refused(&name, token(number), "direct", &[]);
    assert!(direct.contains("its process is not visible from here"), "{direct}");
    opened(&name, token(number), "any", &[]);
    let mut opener = Process::start(&["elsewhere", "open", &name.0, number, "any", "-"]);
    assert_eq!(answer(&mut opener), "opened");
    opener.wait();
    holder.kill();
    eventually("both are gone", || {
        space.join().unwrap().recover().is_ok() && space.stats().members_live == 0
    });
}

#[test]
fn both_refusals_are_named() {
    let name = Name::new("refused");
    let _space = name.open(options());
    let (creator, token) = holder(&name, "socket");
    let said = refused(&name, token, "any", &["getfd", "connect"]);
    let pid = creator.pid();
    assert!(said.contains(&format!("process {pid} (lease 0#1): pidfd_getfd: ")), "{said}");
    assert!(said.contains("connect to its socket: Operation not permitted"), "{said}");
}

#[test]
fn another_user_is_refused() {
    // SAFETY: asks for a number.
    if unsafe { libc::geteuid() } != 0 {
        println!("SKIPPED: only root becomes another user");
        return;
    }
    let name = Name::new("user");
    let _space = name.open(options());
    let (creator, token) = holder(&name, "socket");
    let said = refused(&name, token, "any", &["user"]);
    assert!(said.ends_with(", and its socket says no"), "{said}");
    drop(creator);
}

#[test]
fn a_stopped_holder_is_as_good_where_tracing_is_allowed() {
    let name = Name::new("stopped");
    let _space = name.open(options());
    let (creator, token) = holder(&name, "pipe");
    creator.signal(libc::SIGSTOP);
    opened(&name, token, "any", &[]);
    let said = refused(&name, token, "any", &["getfd"]);
    assert!(said.contains("its socket does not answer"), "{said}");
    // Another holder sends the descriptor.
    let mut other = opener(&name, token, "any", "-", &[]);
    assert_eq!(answer(&mut other), "opened");
    opened(&name, token, "any", &["getfd"]);
    creator.signal(libc::SIGCONT);
    opened(&name, token, "any", &["getfd"]);
}

#[test]
fn a_number_that_leads_elsewhere_is_told() {
    for kind in KINDS {
        let name = Name::new("changed");
        let _space = name.open(options());
        let (mut creator, token) = holder(&name, kind);
        opened(&name, token, "any", &[]);
        order(&mut creator, "replace");
        for way in ["direct", "socket"] {
            let said = refused(&name, token, way, &[]);
            assert!(said.contains("leads to something else by now"), "{kind} {way}: {said}");
        }
        order(&mut creator, "close");
        let said = refused(&name, token, "any", &[]);
        assert!(said.contains("pidfd_getfd: Bad file descriptor"), "{kind}: {said}");
        // The number may belong to the new connection by now.
        let told = ["its socket says no", "leads to something else by now"];
        assert!(told.iter().any(|told| said.ends_with(told)), "{kind}: {said}");
        // The drop ends the child: a second close of that number affects only the child.
        drop(creator);
    }
}

#[test]
fn closed_by_its_last_holder_it_is_over() {
    let name = Name::new("over");
    let space = name.open(options());
    let me = space.join().unwrap();
    let (mut creator, token) = holder(&name, "pipe");
    let mut ours = Some(Descriptor::open(&me, token).unwrap());
    order(&mut creator, "drop");
    opened(&name, token, "any", &["getfd"]);
    drop(ours.take());
    let error = Descriptor::open(&me, token).unwrap_err();
    assert!(matches!(error, DescriptorError::Open(OpenHandleError::Stale { .. })), "{error}");
    creator.kill();
    me.recover().unwrap();
    me.leave().unwrap();
    assert_clean(&space);
}

#[test]
fn forked_children_inherit_it_and_harm_nobody() {
    let name = Name::new("forks");
    let _space = name.open(options());
    let mut parent = Process::start(&["fork", &name.0]);
    let token = token(&parent.receive("token").unwrap());
    for way in ["direct", "socket"] {
        opened(&name, token, way, &[]);
    }
    assert!(parent.wait().success());
}

#[test]
fn leaving_ends_the_thread_and_closes_everything() {
    let name = Name::new("leave");
    let _space = name.open(options());
    let mut process = Process::start(&["leave", &name.0]);
    assert!(process.receive("left").is_some());
    assert!(process.wait().success());
}

#[test]
fn threads_open_and_close_one_token_at_once() {
    let space = options().memfd().unwrap();
    let (me, other) = (space.join().unwrap(), space.join().unwrap());
    let held = Descriptor::create(&me, memfd()).unwrap();
    let token = held.token();
    scope("all threads open and close", |scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..200 {
                    let got = Descriptor::open(&other, token).unwrap();
                    let mut text = [0; TEXT.len()];
                    File::from(got.duplicate().unwrap()).read_exact_at(&mut text, 0).unwrap();
                    assert_eq!(text, TEXT);
                }
            });
        }
        scope.spawn(|| {
            let third = space.join().unwrap();
            for _ in 0..200 {
                // From one of the two, whichever has it now.
                drop(tenure::testing::open_by(&third, token, Way::Socket).unwrap());
            }
        });
    });
    drop((held, me, other));
    eventually("everything is given back", || space.stats().handles_live == 0);
    assert_clean(&space);
}

#[test]
fn a_wrong_kind_is_told() {
    let space = options().memfd().unwrap();
    let me = space.join().unwrap();
    let handle = me.create_raw(tenure::Kind::raw(1), b"plain").unwrap();
    let error = Descriptor::open(&me, handle.token()).unwrap_err();
    assert!(matches!(error, DescriptorError::Open(OpenHandleError::ForeignKind { .. })), "{error}");
    let held = Descriptor::create(&me, memfd()).unwrap();
    assert!(me.open_raw(tenure::Kind::raw(1), held.token()).is_err());
    assert!(held.as_fd().try_clone_to_owned().is_ok());
}
