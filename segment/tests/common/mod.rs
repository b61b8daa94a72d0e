//! Real processes for tests: the test binary starts itself again in a role, talks to it over pipes, and kills it.
#![allow(dead_code, unused_imports, reason = "each test binary uses a part")]

use std::collections::HashMap;
use std::io::Write;
use std::ops::Range;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use tenure_core::{LeaseId, Recovery};
use tenure_segment::{
    Backend, DataArea, JoinOptions, Lease, OpenError, Permissions, Place, Reclaim, Segment, Spec,
};

pub(crate) mod fail_safe;
pub(crate) mod threads;

use fail_safe::Lines;
pub(crate) use fail_safe::{end_of, eventually, reap, scope};

pub(crate) const HASH: u64 = 77;
pub(crate) const MEMBERS: u16 = 8;

/// A unique name, removed on drop, also if the test fails.
pub(crate) struct Name {
    pub(crate) backend: Backend,
    pub(crate) text: String,
}

impl Name {
    pub(crate) fn new(backend: Backend, tag: &str) -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        Self { backend, text: format!("segtest-{}-{count}-{tag}", std::process::id()) }
    }

    pub(crate) fn shm(tag: &str) -> Self {
        Self::new(Backend::Shm, tag)
    }

    pub(crate) fn place(&self) -> Place {
        place(self.backend, &self.text)
    }

    pub(crate) fn segment(&self) -> Segment {
        open_or_create(self.place(), &spec())
    }
}

/// Process starts write, and tests read that must not run beside one.
static STARTS: RwLock<()> = RwLock::new(());

/// For tests of a name that nobody has any more, and after the `Name`: as long as the value lives, this process starts no other one. A
/// child between `fork` and the C library's handlers in it has all the locks of its parent.
pub(crate) fn while_nobody_starts() -> RwLockReadGuard<'static, ()> {
    STARTS.read().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Name {
    fn drop(&mut self) {
        let _alone = while_nobody_starts();
        let _ = Segment::remove(&self.place(), true);
    }
}

pub(crate) fn place(backend: Backend, name: &str) -> Place {
    match backend {
        Backend::Shm => Place::Shm(name.into()),
        Backend::SysV => Place::SysV(name.into()),
        // A file system that is always accepted.
        Backend::File => Place::File(format!("/dev/shm/{name}").into()),
        other => panic!("{other} has no name"),
    }
}

pub(crate) fn spec() -> Spec {
    let all: Range<u64> = 0..16384;
    Spec {
        members: MEMBERS,
        data_area_bytes: 16384,
        geometry: [1, 2, 3, 4, 5, 6, 7, 8],
        layout_hash: HASH,
        commit: vec![all],
        permissions: Permissions::default(),
    }
}

pub(crate) fn members(members: u16) -> Spec {
    Spec { members, ..spec() }
}

pub(crate) fn open_or_create(place: Place, spec: &Spec) -> Segment {
    Segment::open_or_create(place, spec, &mut mark).unwrap()
}

/// The initialisation that tests look for.
pub(crate) fn mark(data_area: DataArea<'_>) {
    data_area.words()[2047].store(4711, Ordering::Relaxed);
}

pub(crate) fn is_marked(data_area: DataArea<'_>) -> bool {
    data_area.words()[2047].load(Ordering::Relaxed) == 4711
}

/// The `Reclaim` of tests. In a test data area word i is nonzero if lease i holds something, word 256 + i counts its
/// reclamations, and word 512 + i is the recoverer's index plus one.
pub(crate) struct Clear;

impl Reclaim for Clear {
    fn reclaim(&self, data_area: DataArea<'_>, recovery: &Recovery) {
        let dead = usize::from(recovery.dead().index);
        let words = data_area.words();
        words[dead].store(0, Ordering::SeqCst);
        words[512 + dead].store(u64::from(recovery.by()) + 1, Ordering::SeqCst);
        words[256 + dead].fetch_add(1, Ordering::SeqCst);
    }
}

pub(crate) fn hold(data_area: DataArea<'_>, id: LeaseId) {
    data_area.words()[usize::from(id.index)].store(id.incarnation, Ordering::SeqCst);
}

pub(crate) fn held(data_area: DataArea<'_>, index: u8) -> bool {
    data_area.words()[usize::from(index)].load(Ordering::SeqCst) != 0
}

pub(crate) fn reclaimed_by(data_area: DataArea<'_>, index: u8) -> Option<u8> {
    data_area.words()[512 + usize::from(index)].load(Ordering::SeqCst).checked_sub(1).map(|by| by as u8)
}

pub(crate) const GUARDED: JoinOptions = JoinOptions::guarded(true);
pub(crate) const ALONE: JoinOptions = JoinOptions::guarded(false);

pub(crate) fn join(segment: &Segment, options: JoinOptions) -> Lease {
    let lease = segment.join(options, Arc::new(Clear)).unwrap();
    hold(lease.data_area(), lease.id());
    lease
}

/// A process in a role. It is killed when the value is dropped.
pub(crate) struct Process {
    child: Child,
    input: Option<ChildStdin>,
    lines: Lines,
}

const ROLE: &str = "TENURE_SEGMENT_TEST_ROLE";

impl Process {
    /// Starts this binary's `child_entry` in `role`.
    pub(crate) fn start(role: &str, arguments: &[&str]) -> Self {
        use std::os::unix::process::CommandExt;
        let mut command = Command::new(std::env::current_exe().unwrap());
        // If the test is killed, its children die, too. With code to run before exec, std calls `fork`, which waits for a join in
        // another thread. Otherwise std starts the child by a call that does not wait: the child would inherit a lock that is being
        // taken, and keep it until exec.
        // SAFETY: plain numbers.
        unsafe {
            command.pre_exec(|| {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                Ok(())
            })
        };
        let alone = STARTS.write().unwrap_or_else(PoisonError::into_inner);
        // Returns when the child executes the program.
        let mut child = command
            .args(["--exact", "child_entry", "--nocapture", "--test-threads=1"])
            .env(ROLE, std::iter::once(&role).chain(arguments).copied().collect::<Vec<_>>().join("\n"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        drop(alone);
        let input = child.stdin.take();
        let lines = Lines::of(child.stdout.take().unwrap());
        Self { child, input, lines }
    }

    /// Waits for the next line of the process.
    pub(crate) fn receive(&self) -> String {
        self.hear_of("something")
    }

    fn hear_of(&self, what: &str) -> String {
        let mut lines = std::iter::from_fn(|| self.lines.next(what));
        lines
            .find_map(|line| word_in(&line))
            .unwrap_or_else(|| panic!("the child ended and did not say {what}"))
    }

    /// The next line of the process, if it has arrived.
    pub(crate) fn said(&self) -> Option<String> {
        std::iter::from_fn(|| self.lines.arrived()).find_map(|line| word_in(&line))
    }

    pub(crate) fn expect(&self, word: &str) {
        assert_eq!(self.hear_of(word), word);
    }

    pub(crate) fn tell(&mut self, word: &str) {
        writeln!(self.input.as_mut().unwrap(), "{word}").unwrap();
    }

    pub(crate) fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: i32) {
        // SAFETY: a child of ours that was not waited for.
        assert_eq!(unsafe { libc::kill(self.pid(), signal) }, 0);
    }

    /// Stops it, and waits until all of its threads are stopped.
    pub(crate) fn stop(&self) {
        self.signal(libc::SIGSTOP);
        threads::wait_until_stopped(self.child.id());
    }

    /// Kills it and waits until it is gone.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        end_of(&mut self.child);
    }

    /// Kills it without waiting: it stays a zombie until dropped.
    pub(crate) fn kill_only(&mut self) {
        self.child.kill().unwrap();
    }

    pub(crate) fn wait(mut self) -> std::process::ExitStatus {
        self.input = None;
        end_of(&mut self.child)
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The message in a line of a child: libtest writes "test child_entry ... " before the first one.
fn word_in(line: &str) -> Option<String> {
    line.split_once('@').map(|(_, word)| word.to_owned())
}

/// The child's side.
pub(crate) struct Stage {
    pub(crate) arguments: Vec<String>,
}

impl Stage {
    pub(crate) fn say(&self, word: impl std::fmt::Display) {
        let mut out = std::io::stdout().lock();
        writeln!(out, "@{word}").unwrap();
        out.flush().unwrap();
    }

    /// The next word from the parent; the process ends when the parent is gone.
    pub(crate) fn listen(&self) -> String {
        let mut line = String::new();
        if std::io::stdin().read_line(&mut line).unwrap_or(0) == 0 {
            std::process::exit(0);
        }
        line.trim_end().to_owned()
    }

    /// Argument `i` is a backend, the next one a name.
    pub(crate) fn place(&self, i: usize) -> Place {
        place(self.arguments[i].parse().unwrap(), &self.arguments[i + 1])
    }

    pub(crate) fn attach(&self) -> Result<Segment, OpenError> {
        Segment::open(self.place(0), HASH, Permissions::default())
    }
}

pub(crate) type Role = fn(&Stage);

/// The body of every `child_entry`.
pub(crate) fn enter(roles: &[(&str, Role)]) {
    let Ok(text) = std::env::var(ROLE) else { return };
    let mut words = text.split('\n').map(str::to_owned);
    let role = words.next().unwrap();
    let stage = Stage { arguments: words.collect() };
    let roles: HashMap<_, _> = roles.iter().copied().collect();
    roles[role.as_str()](&stage);
}

/// Runs `body` in a forked child of this process and returns what it returned. For processes that few threads share.
pub(crate) fn in_fork(body: impl FnOnce() -> i32) -> i32 {
    // SAFETY: the child runs `body` and leaves by `_exit`; glibc makes allocation usable in it.
    match unsafe { libc::fork() } {
        0 => {
            // SAFETY: plain numbers.
            unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
            let code = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body)).unwrap_or(101);
            // SAFETY: ends the child without running anything of the parent's.
            unsafe { libc::_exit(code) }
        }
        child => {
            assert!(child > 0);
            let status = reap(child);
            if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { 1000 + libc::WTERMSIG(status) }
        }
    }
}

pub(crate) fn is_root() -> bool {
    // SAFETY: no arguments.
    unsafe { libc::geteuid() == 0 }
}

/// Has the kernel refuse these system calls to all threads of this process; false if it does not.
pub(crate) fn deny(calls: &[libc::c_long]) -> bool {
    let rule = |code: u32, jt, jf, k| libc::sock_filter { code: code as u16, jt, jf, k };
    let mut rules = vec![rule(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0)];
    for call in calls {
        rules.push(rule(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, *call as u32));
        rules.push(rule(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32));
    }
    rules.push(rule(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW));
    let program = libc::sock_fprog { len: rules.len() as u16, filter: rules.as_mut_ptr() };
    // SAFETY: a complete program that outlives the calls.
    unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
            && libc::syscall(
                libc::SYS_seccomp,
                libc::SECCOMP_SET_MODE_FILTER,
                libc::SECCOMP_FILTER_FLAG_TSYNC,
                &raw const program,
            ) == 0
    }
}
