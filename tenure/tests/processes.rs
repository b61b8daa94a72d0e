//! Processes and threads as handles: holders learn the exit status although they are stopped, killed, not the parent,
//! or late.
//!
//! Method: targets are shells or roles of this binary, which end on command. Holders are roles too, in separate
//! processes. An older kernel is simulated by a switch, in a separate process, and only with the feature `faults`,
//! which `.ci/run` builds in a separate folder. A test that needs a pid namespace creates one, or prints that it
//! cannot.
#![cfg(feature = "objects")]

mod common;

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use common::threads::{Threads, wait_until_quiet};
use common::{
    Name, Process as Role, die_with_parent, end_of, eventually, in_fork, listen, reap, returns, role, say,
    scope,
};
use tenure::{
    Kind, Member, Options, Space, Token,
    error::{PidError, ProcessError, WaitError},
    process::{Exit, Process, Thread},
    sync::{Event, Mutex, Reset, wait_all, wait_any},
};
#[cfg(feature = "faults")]
use tenure_segment::process::pretend_older_kernel;

/// Simulated kernels: the real one, and an older one where a switch for that exists.
const OLDER: &[bool] = if cfg!(feature = "faults") { &[false, true] } else { &[false] };

#[cfg(not(feature = "faults"))]
fn pretend_older_kernel(yes: bool) {
    assert!(!yes, "built without the switch");
}

const KILLED: Exit = Exit::Signal { number: 9, core_dumped: false };

/// A process that does nothing until its input ends, and then executes the rest of the script. Killed with the test.
struct Target(Child);

impl Target {
    fn start(then: &str) -> Self {
        let script = format!("read line; {then}");
        Self(Command::new("sh").args(["-c", &script]).stdin(Stdio::piped()).spawn().unwrap())
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Ends the process; its parent has yet to reap it.
    fn end(&mut self) {
        drop(self.0.stdin.take());
    }

    fn reap(&mut self) -> std::process::ExitStatus {
        end_of(&mut self.0)
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn options() -> Options {
    Space::options().members(8).handles(128).scratch(1 << 20)
}

fn token(text: &str) -> Token {
    Token::try_from(text.parse::<u64>().unwrap()).unwrap()
}

/// The result of a wait in this process.
fn told_end(wait: impl FnOnce() -> Result<Exit, WaitError>) -> Exit {
    returns("the end is told", wait).unwrap()
}

fn in_words(exit: Option<Exit>) -> String {
    exit.map_or_else(|| "running".into(), |exit| exit.to_string())
}

/// A holder executes commands, one a line, with one process and one thread.
#[test]
fn child() {
    let Some(role) = role() else { return };
    match role[1].as_str() {
        "holder" => hold(&role),
        "announcer" => announce(&role),
        "namespace" => in_a_namespace(&role),
        "reuse" => reuse(),
        "sleeper" => sleep_well(),
        "threadless" => wait_without_threads(),
        "closer" => close_everything(&role),
        other => panic!("no role {other}"),
    }
}

fn hold(role: &[String]) {
    pretend_older_kernel(role.get(2).is_some_and(|how| how == "older"));
    let me = Space::options().attach(&role[0]).unwrap().join().unwrap();
    let (mut process, mut thread) = (None, None);
    loop {
        let line = listen();
        let mut words = line.split(' ');
        let (verb, argument) = (words.next().unwrap(), words.next());
        let held = || process.as_ref().map(|process: &Process| process);
        match verb {
            "create" => {
                process = Some(Process::of_pid(&me, argument.unwrap().parse().unwrap()).unwrap());
                say("token", u64::from(process.as_ref().unwrap().token()));
            }
            "open" => {
                process = Some(Process::open(&me, token(argument.unwrap())).unwrap());
                say("opened", "");
            }
            "open-thread" => {
                thread = Some(Thread::open(&me, token(argument.unwrap())).unwrap());
                say("opened", "");
            }
            "look" => say("exit", in_words(held().unwrap().exit().unwrap())),
            "wait" => {
                say("waiting", "");
                say("exit", held().unwrap().wait(None).unwrap());
            }
            "wait-thread" => {
                say("waiting", "");
                say("exit", thread.as_ref().unwrap().wait(None).unwrap());
            }
            "thread" => say(
                "thread",
                Thread::current(&me).err().map_or_else(|| "ok".into(), |error| error.to_string()),
            ),
            other => panic!("no verb {other}"),
        }
    }
}

struct Holder(Role);

impl Holder {
    fn start(name: &Name, how: &str) -> Self {
        Self(Role::start(&[&name.0, "holder", how]))
    }

    fn ask(&mut self, order: &str, answer: &str) -> String {
        self.0.tell(order);
        self.0.receive(answer).unwrap_or_else(|| panic!("no answer to {order}"))
    }

    fn opening(name: &Name, how: &str, token: Token) -> Self {
        let mut holder = Self::start(name, how);
        holder.ask(&format!("open {}", u64::from(token)), "opened");
        holder
    }
}

#[test]
fn others_than_the_parent_learn_the_code_also_when_it_is_gone() {
    let name = Name::new("code");
    let space = name.open(options());
    let me = space.join().unwrap();
    for (then, expected) in [("exit 42", Exit::Code(42)), ("exit 0", Exit::Code(0)), ("kill -9 $$", KILLED)] {
        let mut target = Target::start(then);
        let mine = Process::of_child(&me, &target.0).unwrap();
        assert_eq!((mine.exit().unwrap(), mine.pid()), (None, target.pid()));
        let mut other = Holder::opening(&name, "", mine.token());
        let mut waiter = Holder::opening(&name, "", mine.token());
        waiter.ask("wait", "waiting");
        assert_eq!(other.ask("look", "exit"), "running");
        target.end();
        assert_eq!(waiter.0.receive("exit").unwrap(), expected.to_string());
        assert_eq!(other.ask("wait", "exit"), expected.to_string());
        assert_eq!(told_end(|| mine.wait(None)), expected);
        target.reap();
        assert_eq!(mine.exit().unwrap(), Some(expected));
        // A holder that comes after the process id was freed learns the exit status as well.
        let mut late = Holder::opening(&name, "", mine.token());
        assert_eq!(late.ask("look", "exit"), expected.to_string());
        drop(mine);
        assert_eq!(other.ask("look", "exit"), expected.to_string());
    }
    let report = space.check();
    assert!(report.is_clean(), "{report:#?}");
}

#[test]
fn handles_of_what_was_not_reaped_know_how_it_ended() {
    let name = Name::new("zombie");
    let space = name.open(options());
    let me = space.join().unwrap();
    for (then, expected) in [("exit 5", Exit::Code(5)), ("exit 0", Exit::Code(0)), ("kill -9 $$", KILLED)] {
        let mut target = Target::start(then);
        let first = Process::of_child(&me, &target.0).unwrap();
        target.end();
        assert_eq!(told_end(|| first.wait(None)), expected);
        // From a process that is not its parent, and has nothing from its parent.
        let mut other = Holder::start(&name, "");
        other.ask(&format!("create {}", target.pid()), "token");
        assert_eq!(other.ask("look", "exit"), expected.to_string());
        target.reap();
    }
}

#[test]
fn stopped_and_killed_holders_keep_nothing_from_others() {
    let name = Name::new("stopped");
    let space = name.open(options());
    let me = space.join().unwrap();
    for signal in [libc::SIGSTOP, libc::SIGKILL] {
        let mut target = Target::start("exit 3");
        let mut creator = Holder::start(&name, "");
        let token = token(&creator.ask(&format!("create {}", target.pid()), "token"));
        let mine = Process::open(&me, token).unwrap();
        let mut other = Holder::opening(&name, "", token);
        let mut sleeper = Holder::opening(&name, "", token);
        sleeper.ask("wait", "waiting");
        other.ask("wait", "waiting");
        creator.0.signal(signal);
        sleeper.0.signal(signal);
        target.end();
        assert_eq!(other.0.receive("exit").unwrap(), "exit code 3");
        assert_eq!(told_end(|| mine.wait(None)), Exit::Code(3));
        target.reap();
        if signal == libc::SIGSTOP {
            creator.0.signal(libc::SIGCONT);
            sleeper.0.signal(libc::SIGCONT);
            assert_eq!(sleeper.0.receive("exit").unwrap(), "exit code 3");
            assert_eq!(creator.ask("look", "exit"), "exit code 3");
        }
    }
}

#[cfg(feature = "faults")]
#[test]
fn what_nobody_knows_is_said_and_completed_by_who_reaped_it() {
    let name = Name::new("unknown");
    let space = name.open(options());
    let mut target = Target::start("exit 0");
    // Holders on a kernel that reports the exit status only to the parent.
    let mut first = Holder::start(&name, "older");
    let token = token(&first.ask(&format!("create {}", target.pid()), "token"));
    let mut second = Holder::opening(&name, "older", token);
    second.ask("wait", "waiting");
    assert_eq!(first.ask("look", "exit"), "running");
    target.0.kill().unwrap();
    let status = target.reap();
    assert_eq!(second.0.receive("exit").unwrap(), "ended, unknown how");
    assert_eq!(first.ask("look", "exit"), "ended, unknown how");
    let me = space.join().unwrap();
    let late = Process::open(&me, token).unwrap();
    assert_eq!(told_end(|| late.wait(None)), Exit::Unknown);
    late.reaped(status).unwrap();
    assert_eq!(late.exit().unwrap(), Some(KILLED));
    for holder in [&mut first, &mut second] {
        assert_eq!(holder.ask("look", "exit"), "signal 9");
    }
    // The first reported status is accepted.
    late.reaped(std::os::unix::process::ExitStatusExt::from_raw(0x0700)).unwrap();
    assert_eq!(late.exit().unwrap(), Some(KILLED));
    assert!(space.check().is_clean());
}

/// Announces a code and ends on command.
fn announce(role: &[String]) {
    let me = Space::options().attach(&role[0]).unwrap().join().unwrap();
    let process = Process::current(&me).unwrap();
    say("token", u64::from(process.token()));
    match listen().as_str() {
        "exit" => {
            process.exiting(0xC000_0005_u32 as i32).unwrap();
            assert!(matches!(process.exiting(1), Err(ProcessError::AlreadyAnnounced)));
            // SAFETY: ends the process at once.
            unsafe { libc::_exit(5) };
        }
        "lie" => {
            process.exiting(7).unwrap();
            // SAFETY: as above.
            unsafe { libc::_exit(8) };
        }
        "killed" => {
            process.exiting(7).unwrap();
            // SAFETY: no memory is involved.
            unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
        }
        other => panic!("{other}"),
    }
}

#[test]
fn announced_codes_are_whole_unless_the_kernel_says_otherwise() {
    let name = Name::new("announced");
    let space = name.open(options());
    let me = space.join().unwrap();
    let whole = Exit::Code(0xC000_0005_u32 as i32);
    for (how, expected, when_nobody_knows) in
        [("exit", whole, whole), ("lie", Exit::Code(8), Exit::Code(7)), ("killed", KILLED, Exit::Code(7))]
    {
        for &older in OLDER {
            let mut target = Role::start(&[&name.0, "announcer"]);
            let token = token(&target.receive("token").unwrap());
            let mut holder = Holder::opening(&name, if older { "older" } else { "" }, token);
            let mine = (!older).then(|| Process::open(&me, token).unwrap());
            if let Some(mine) = &mine {
                assert!(matches!(mine.exiting(0), Err(ProcessError::NotItself)));
            }
            target.tell(how);
            let expected = if older { when_nobody_knows } else { expected };
            assert_eq!(holder.ask("wait", "exit"), expected.to_string(), "{how}");
            if let Some(mine) = mine {
                assert_eq!(told_end(|| mine.wait(None)), expected, "{how}");
            }
        }
    }
}

#[test]
fn waits_end_when_they_should() {
    let name = Name::new("waits");
    let space = name.open(options());
    for space in [space, Space::options().tiny().private().unwrap()] {
        let me = space.join().unwrap();
        let mut target = Target::start("exit 1");
        let process = Process::of_child(&me, &target.0).unwrap();
        for timeout in [Duration::ZERO, Duration::from_millis(5)] {
            assert!(matches!(process.wait(Some(timeout)), Err(WaitError::TimedOut)));
        }
        let mutex = Mutex::create(&me).unwrap();
        let event = Event::create(&me, Reset::Auto).unwrap();
        let held = mutex.lock().unwrap();
        scope("both waiters are done", |scope| {
            let any = scope.spawn(|| {
                let first = wait_any(&[&mutex, &event, &process], None).unwrap().index;
                let second = wait_any(&[&mutex, &event, &process], None).unwrap().index;
                (first, second)
            });
            let all = scope.spawn(|| wait_all(&[&process, &mutex], None).map(|_| mutex.unlock().unwrap()));
            event.set().unwrap();
            eventually("the event is taken", || !event.is_set().unwrap());
            target.end();
            assert_eq!(any.join().unwrap(), (1, 2));
            assert!(!all.is_finished());
            drop(held);
            all.join().unwrap().unwrap();
        });
        // A recorded end does not change.
        assert_eq!(process.wait(Some(Duration::ZERO)).unwrap(), Exit::Code(1));
        assert_eq!(wait_any(&[&process], Some(Duration::ZERO)).unwrap().index, 0);
    }
}

#[test]
fn threads_are_handles_too() {
    let name = Name::new("threads");
    let space = name.open(options());
    let me = space.join().unwrap();
    let (tell, told) = std::sync::mpsc::channel();
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let twin = me.clone();
    let running = std::thread::spawn(move || match Thread::current(&twin) {
        Ok(thread) => {
            assert!(matches!(
                Process::of_pid(&twin, thread.tid()),
                Err(ProcessError::Pid(PidError::NotAProcess { .. }))
            ));
            tell.send(Ok(thread.try_clone().unwrap())).unwrap();
            let _ = wait.recv();
            thread.exiting(77).unwrap();
        }
        Err(error) => tell.send(Err(error)).unwrap(),
    });
    let thread = match returns("the thread says who it is", || told.recv()).unwrap() {
        Ok(thread) => thread,
        Err(ProcessError::Pid(PidError::Unsupported { what, .. })) => {
            return println!("SKIPPED: handles of threads are not supported here: {what}");
        }
        Err(error) => panic!("{error}"),
    };
    assert_eq!(thread.exit().unwrap(), None);
    assert!(matches!(thread.exiting(1), Err(ProcessError::NotItself)));
    let mut other = Holder::start(&name, "");
    other.ask(&format!("open-thread {}", u64::from(thread.token())), "opened");
    other.ask("wait-thread", "waiting");
    go.send(()).unwrap();
    returns("the thread ends", || running.join()).unwrap();
    assert_eq!(told_end(|| thread.wait(None)), Exit::Code(77));
    assert_eq!(other.0.receive("exit").unwrap(), "exit code 77");
    // Waiters are woken before the process id is free.
    eventually("its number is free", || {
        matches!(Thread::of_tid(&me, thread.tid()), Err(ProcessError::Pid(PidError::Gone)))
    });
    // A thread handle cannot be opened as a process, and a process handle not as a thread.
    assert!(matches!(Process::open(&me, thread.token()), Err(ProcessError::Open(_))));
}

#[cfg(feature = "faults")]
#[test]
fn threads_need_a_kernel_that_knows_them() {
    let name = Name::new("older");
    let _space = name.open(options());
    let answer = Holder::start(&name, "older").ask("thread", "thread");
    assert!(answer.contains("Linux 6.9"), "{answer}");
}

#[test]
fn numbers_of_nobody_are_refused() {
    let space = Space::options().tiny().memfd().unwrap();
    let me = space.join().unwrap();
    let mut target = Target::start("exit 0");
    target.reap();
    for pid in [0, u32::MAX, i32::MAX as u32, 1 << 30, target.pid()] {
        let refused = Process::of_pid(&me, pid);
        assert!(matches!(refused, Err(ProcessError::Pid(PidError::Gone))), "{pid}: {refused:?}");
    }
    assert_eq!(space.stats().handles_live, 0);
}

/// Threads of this process that are watchers.
fn watchers() -> Vec<std::path::PathBuf> {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().map(|task| task.unwrap().path());
    tasks
        .filter(|task| {
            std::fs::read_to_string(task.join("comm")).is_ok_and(|name| name.trim() == "tenure-watcher")
        })
        .collect()
}

#[test]
fn nobody_wakes_up_for_nothing() {
    let mut role = Role::start(&["", "sleeper"]);
    assert_eq!(role.receive("done").as_deref(), Some(""));
    assert!(!role.was_killed());
}

/// In a separate process, which has no other watchers.
fn sleep_well() {
    let space = options().memfd().unwrap();
    let me = space.join().unwrap();
    let mut target = Target::start("exit 6");
    let process = Process::of_child(&me, &target.0).unwrap();
    assert_eq!(watchers().len(), 1);
    // The parent of this process has the fail-safe: here its thread would be counted as one that polls.
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| process.wait(None).unwrap());
        let before = wait_until_quiet(std::process::id());
        // No assertion on time: a longer pause shows more wake-ups from other sources, such as a timer.
        std::thread::sleep(Duration::from_millis(200));
        let after = wait_until_quiet(std::process::id());
        target.end();
        assert_eq!(waiter.join().unwrap(), Exit::Code(6));
        assert!(matches!(before, Threads::Asleep(_)), "{before:?}");
        assert_eq!(before, after, "woken for nothing");
    });
    drop(process);
    me.leave().unwrap();
    // `leave` waited for the end of the thread; the kernel lists it for a moment longer.
    eventually("it is gone", || watchers().is_empty());
    say("done", "");
}

#[test]
fn a_member_without_threads_has_none_until_it_waits() {
    let mut role = Role::start(&["", "threadless"]);
    assert_eq!(role.receive("done").as_deref(), Some(""));
    assert!(!role.was_killed());
}

fn wait_without_threads() {
    let space = options().monitor(false).memfd().unwrap();
    let me = space.join().unwrap();
    let mut target = Target::start("exit 6");
    let process = Process::of_child(&me, &target.0).unwrap();
    assert_eq!((watchers().len(), process.exit().unwrap()), (0, None));
    assert!(process.wait(Some(Duration::from_millis(1))).is_err());
    assert_eq!(watchers().len(), 1);
    target.end();
    assert_eq!(process.wait(None).unwrap(), Exit::Code(6));
    say("done", "");
}

#[test]
fn who_closes_a_handle_writes_no_end_down_any_more() {
    let space = Space::options().tiny().handles(64).memfd().unwrap();
    let (me, other) = (space.join().unwrap(), space.join().unwrap());
    let mut target = Target::start("exit 4");
    let process = Process::of_child(&me, &target.0).unwrap();
    let token = process.token();
    drop(process);
    // A new handle in the same entry is not changed.
    let kind = Kind::raw(1);
    let mut all: Vec<_> =
        std::iter::repeat_with(|| me.create_raw(kind, &[0; 32]).ok()).map_while(|one| one).collect();
    assert!(all.iter().any(|one| one.token().index() == token.index()), "{} in its place", all.len());
    let kept: Vec<_> = all.iter().map(|one| other.open_raw(kind, one.token()).unwrap()).collect();
    let witness = Process::of_child(&other, &target.0);
    assert!(witness.is_err(), "there is a handle left");
    all.truncate(0);
    target.reap();
    // Waits for the watcher's end, and so for all its writes.
    me.leave().unwrap();
    assert!(kept.iter().all(|one| one.get().unwrap() == [0; 32]));
}

#[test]
fn forked_children_have_no_watcher_and_do_not_wait_for_one() {
    let space = options().memfd().unwrap();
    let me = space.join().unwrap();
    let mut target = Target::start("exit 4");
    let mut process = Some(Process::of_child(&me, &target.0).unwrap());
    let code = in_fork(|| {
        let inherited = process.take().unwrap();
        assert!(matches!(inherited.exit(), Err(ProcessError::NotMember(_))));
        assert!(matches!(inherited.wait(None), Err(WaitError::NotMember(_))));
        assert!(matches!(Process::of_pid(&me, 1), Err(ProcessError::NotMember(_))));
        drop(inherited);
        // The child may join itself.
        let me = space.join().unwrap();
        let parent = Process::of_pid(&me, std::os::unix::process::parent_id()).unwrap();
        assert_eq!(parent.exit().unwrap(), None);
        drop(parent);
        me.leave().unwrap();
        0
    });
    assert_eq!(code, 0);
    target.end();
    assert_eq!(told_end(|| process.unwrap().wait(None)), Exit::Code(4));
}

/// A program that closes every descriptor that is not its own.
fn close_everything(role: &[String]) {
    let me = Space::options().attach(&role[0]).unwrap().join().unwrap();
    let mut before = Target::start("exit 1");
    let mut after = Target::start("exit 2");
    let kept: Vec<_> = [&mut before, &mut after].map(|target| target.0.stdin.take().unwrap()).into();
    let watched = Process::of_child(&me, &before.0).unwrap();
    // SAFETY: nothing else closes the descriptors of the targets' inputs; the targets end when these are closed.
    unsafe { libc::close_range(3, libc::c_uint::MAX, 0) };
    std::mem::forget(kept);
    assert_eq!(watched.wait(None).unwrap(), Exit::Code(1));
    let late = Process::of_child(&me, &after.0).unwrap();
    assert_eq!(late.wait(None).unwrap(), Exit::Code(2));
    drop((watched, late));
    say("done", "");
    // SAFETY: ends at once: the descriptors of the standard library are closed.
    unsafe { libc::_exit(0) };
}

#[test]
fn closing_all_descriptors_ends_no_watch() {
    let name = Name::new("closer");
    let _space = name.open(options());
    let mut closer = Role::start(&[&name.0, "closer"]);
    assert_eq!(closer.receive("done").as_deref(), Some(""));
    assert!(!closer.was_killed());
}

/// Forks into a new pid namespace and returns the result of the first process in it. `None`: not permitted.
fn in_namespace(body: impl FnOnce() -> i32) -> Option<i32> {
    let code = in_fork(|| {
        // SAFETY: no memory is involved. Without privileges, a user namespace may be permitted.
        if unsafe {
            libc::unshare(libc::CLONE_NEWPID) != 0
                && libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWPID) != 0
        } {
            return 100;
        }
        in_fork(body)
    });
    (code != 100).then_some(code)
}

const NO_NAMESPACE: &str = "SKIPPED: no new pid namespace is permitted here";

/// A process in a pid namespace in which the same number belongs to another process.
fn in_a_namespace(role: &[String]) {
    let code = in_namespace(|| {
        let me = Space::options().attach(&role[0]).unwrap().join().unwrap();
        let process = Process::open(&me, token(&role[2])).unwrap();
        let foreign = |error: &PidError| matches!(error, PidError::ForeignNamespace { .. });
        assert!(matches!(process.exit(), Err(ProcessError::Pid(error)) if foreign(&error)));
        assert!(matches!(process.wait(None), Err(WaitError::Unwatched(error)) if foreign(&error)));
        assert!(matches!(process.wait(Some(Duration::ZERO)), Err(WaitError::TimedOut)));
        // A process of that namespace is a different one, even with the same number.
        let own = Process::current(&me).unwrap();
        assert_eq!((own.pid(), own.exit().unwrap()), (1, None));
        drop(own);
        say("refused", "");
        listen();
        assert_eq!(process.exit().unwrap(), Some(Exit::Code(9)));
        assert_eq!(process.wait(None).unwrap(), Exit::Code(9));
        0
    });
    match code {
        Some(code) => say("refused", if code == 0 { "over".into() } else { code.to_string() }),
        None => say("refused", "not permitted"),
    }
}

#[test]
fn other_namespaces_read_what_is_written_down() {
    let name = Name::new("namespace");
    let space = name.open(options());
    let me = space.join().unwrap();
    let mut target = Target::start("exit 9");
    let process = Process::of_child(&me, &target.0).unwrap();
    let mut other = Role::start(&[&name.0, "namespace", &u64::from(process.token()).to_string()]);
    if other.receive("refused").as_deref() == Some("not permitted") {
        return println!("{NO_NAMESPACE}");
    }
    target.end();
    assert_eq!(told_end(|| process.wait(None)), Exit::Code(9));
    other.tell("look");
    assert_eq!(other.receive("refused").as_deref(), Some("over"));
}

/// Forks a child that waits to be killed.
fn fork_sleeper() -> u32 {
    // SAFETY: the child waits and nothing else.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        die_with_parent();
        loop {
            // SAFETY: no memory is involved.
            unsafe { libc::pause() };
        }
    }
    assert!(pid > 0);
    pid as u32
}

fn kill_and_reap(pid: u32) {
    // SAFETY: our own child, which was not reaped yet.
    unsafe { libc::kill(pid as i32, libc::SIGKILL) };
    reap(pid as i32);
}

/// The clock that the kernel uses for start times of processes, in the unit of `/proc/PID/stat`.
fn ticks_since_boot() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a place for the time, and a number.
    let (result, ticks_per_second) = unsafe {
        (libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut now), libc::sysconf(libc::_SC_CLK_TCK))
    };
    assert!(result == 0 && ticks_per_second > 0);
    let ticks_per_second = ticks_per_second as u64;
    now.tv_sec as u64 * ticks_per_second + now.tv_nsec as u64 / (1_000_000_000 / ticks_per_second)
}

/// Reuses the process id of a process that is gone.
fn reuse() {
    let code = in_namespace(|| {
        let space = options().monitor(false).memfd().unwrap();
        let (watching, blind) = (options().memfd().unwrap(), space);
        let (watching, blind) = (watching.join().unwrap(), blind.join().unwrap());
        for &older in OLDER {
            let pid = fork_sleeper();
            // One has a watcher; the others are checked only after the process id is reused.
            pretend_older_kernel(false);
            let watched = Process::of_pid(&watching, pid).unwrap();
            pretend_older_kernel(older);
            let looked_at = Process::of_pid(&blind, pid).unwrap();
            let opened = Process::of_pid(&blind, pid).unwrap();
            assert_eq!((watched.exit().unwrap(), looked_at.exit().unwrap()), (None, None));
            kill_and_reap(pid);
            // Start times have a resolution of one tick: the next process must not start in the same one.
            let start = looked_at.started_at().unwrap_or(0);
            eventually("the clock ticks", || ticks_since_boot() > start);
            if std::fs::write("/proc/sys/kernel/ns_last_pid", (pid - 1).to_string()).is_err() {
                return 201;
            }
            let other = fork_sleeper();
            if other != pid {
                kill_and_reap(other);
                return 202;
            }
            // It was reaped at once: on an older kernel the watcher learns the status too late.
            let found = watched.exit().unwrap();
            assert!(
                found == Some(KILLED) || older && found == Some(Exit::Unknown),
                "older {older}: {found:?}"
            );
            assert_eq!(looked_at.exit().unwrap(), Some(Exit::Unknown), "older {older}");
            assert!(matches!(opened.wait(None), Ok(Exit::Unknown)), "older {older}");
            // The opposite confusion must not happen either.
            let new = Process::of_pid(&blind, pid).unwrap();
            assert_eq!(new.exit().unwrap(), None);
            assert_eq!(
                Process::open(&blind, looked_at.token()).unwrap().exit().unwrap(),
                Some(Exit::Unknown)
            );
            kill_and_reap(pid);
            assert!(new.exit().unwrap().is_some());
        }
        0
    });
    match code {
        None => say("reused", NO_NAMESPACE),
        Some(201) => {
            say("reused", "SKIPPED: the next number of a process cannot be chosen here (ns_last_pid)")
        }
        Some(202) => say("reused", "SKIPPED: the number was given to somebody else"),
        Some(code) => say("reused", code),
    }
}

#[test]
fn a_number_that_is_given_again_is_another_process() {
    let mut role = Role::start(&["", "reuse"]);
    let answer = role.receive("reused").unwrap();
    if answer.starts_with("SKIPPED") {
        return println!("{answer}");
    }
    assert_eq!(answer, "0");
}

/// A handle of this process in a memfd space, with state words that can be overwritten.
struct Corrupted {
    space: Space,
    me: Member,
    process: Process,
    file: std::fs::File,
    /// Position of the first word of the state.
    at: u64,
}

impl Corrupted {
    fn new() -> Self {
        use std::os::fd::AsRawFd;
        use std::os::unix::fs::FileExt;
        let space = Space::options().tiny().memfd().unwrap();
        let path = format!("/proc/self/fd/{}", space.fd().unwrap().as_raw_fd());
        let file = std::fs::File::options().read(true).write(true).open(path).unwrap();
        let me = space.join().unwrap();
        let process = Process::current(&me).unwrap();
        // The process id and the start time are adjacent, after the exit word.
        let wanted = [u64::from(process.pid()), process.started_at().unwrap()].map(u64::to_le_bytes).concat();
        let mut bytes = vec![0; space.bytes() as usize];
        file.read_exact_at(&mut bytes, 0).unwrap();
        let at = (0..bytes.len() - 16).step_by(8).find(|at| bytes[*at..*at + 16] == wanted[..]).unwrap()
            as u64
            - 8;
        Self { space, me, process, file, at }
    }

    fn write(&self, word: u64, value: u64) {
        std::os::unix::fs::FileExt::write_all_at(&self.file, &value.to_le_bytes(), self.at + word * 8)
            .unwrap();
    }
}

/// A corrupted handle state is an error, or a process that is gone.
#[test]
fn corrupted_identities_are_errors() {
    let it = Corrupted::new();
    for number in [0, u64::MAX, 1 << 31] {
        it.write(1, number);
        let opened = Process::open(&it.me, it.process.token());
        assert!(matches!(opened, Err(ProcessError::Corrupt(_))), "{number}: {opened:?}");
        assert!(!it.space.check().is_clean());
    }
    // Another process, but not the right one.
    it.write(1, 1);
    let opened = Process::open(&it.me, it.process.token()).unwrap();
    assert_eq!(opened.exit().unwrap(), Some(Exit::Unknown));
    it.write(1, it.process.pid().into());
    for word in [1 << 20, 3 << 27, 1 << 29, 0x7fff_ffff] {
        it.write(0, word);
        assert!(matches!(it.process.exit(), Err(ProcessError::Corrupt(_))), "{word:#x}");
        assert!(matches!(it.process.wait(None), Err(WaitError::Corrupt(_)) | Ok(_)), "{word:#x}");
        assert!(!it.space.check().is_clean(), "{word:#x}");
    }
}

/// Whichever word is corrupted, every operation returns.
#[test]
fn corrupted_states_harm_nobody() {
    use proptest::prelude::*;
    let it = Corrupted::new();
    let word = prop_oneof![any::<u64>(), (0..64_u32).prop_map(|bit| 1 << bit), 0..70_000_u64];
    let words = proptest::collection::vec((0..4_u64, word), 1..8);
    let config = ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(words in words)| {
        for (at, value) in words {
            it.write(at, value);
            let opened = Process::open(&it.me, it.process.token());
            for process in opened.iter().chain([&it.process]) {
                let _ = (process.exit(), process.wait(Some(Duration::ZERO)), process.exiting(1));
                let _ = wait_any(&[process], Some(Duration::from_micros(1)));
                let _ = process.reaped(std::os::unix::process::ExitStatusExt::from_raw(0x0100));
            }
            let _ = it.space.check();
        }
    });
}
