//! Processes, tracing and shared pages: the few calls of the operating system that the harness needs.

use std::ffi::c_void;
use std::os::fd::AsRawFd;
use std::ptr;
use std::sync::atomic::AtomicU64;

use libc::{c_long, pid_t};

/// The change of a child's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Stopped(i32),
    Exited(i32),
    Killed(i32),
}

/// Forks; `None` in the child, which is killed when its parent's thread ends.
///
/// # Safety
///
/// The process has one thread, so that the child may do anything.
pub(crate) unsafe fn fork() -> Option<pid_t> {
    // SAFETY: no pointers; one thread, as the caller promises.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "fork: {}", std::io::Error::last_os_error());
    if pid == 0 {
        // SAFETY: no pointers.
        unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
        return None;
    }
    Some(pid)
}

/// Runs code in a process of its own, and waits for its end.
pub(crate) fn in_a_child(act: impl FnOnce()) {
    // SAFETY: the harness has one thread.
    let Some(pid) = (unsafe { fork() }) else {
        act();
        exit(0);
    };
    assert_eq!(wait(pid), Status::Exited(0));
}

/// Ends the process without any clean-up.
pub(crate) fn exit(code: i32) -> ! {
    // SAFETY: no pointers, does not return.
    unsafe { libc::_exit(code) }
}

/// Whether there is such a process, ended and not reaped ones included.
pub(crate) fn exists(pid: u32) -> bool {
    // SAFETY: signal 0 is none.
    unsafe { libc::kill(pid as pid_t, 0) == 0 }
}

pub(crate) fn wait(pid: pid_t) -> Status {
    let mut status = 0;
    loop {
        // SAFETY: `status` is ours.
        let found = unsafe { libc::waitpid(pid, &raw mut status, libc::__WALL) };
        if found == pid {
            break;
        }
        let error = std::io::Error::last_os_error();
        assert!(error.kind() == std::io::ErrorKind::Interrupted, "waitpid {pid}: {error}");
    }
    if libc::WIFSTOPPED(status) {
        Status::Stopped(libc::WSTOPSIG(status))
    } else if libc::WIFEXITED(status) {
        Status::Exited(libc::WEXITSTATUS(status))
    } else {
        Status::Killed(libc::WTERMSIG(status))
    }
}

/// Whether a process sleeps in a futex call; only one of its threads matters.
pub(crate) fn sleeps_on_a_futex(pid: pid_t) -> bool {
    let call = std::fs::read_to_string(format!("/proc/{pid}/syscall")).unwrap_or_default();
    let number = call.split_whitespace().next().and_then(|number| number.parse::<c_long>().ok());
    number == Some(libc::SYS_futex)
}

/// Sends SIGKILL to a child of ours and waits until it has ended, without reaping it.
pub(crate) fn end(pid: pid_t) {
    // SAFETY: no pointers; a child that was not reaped yet, so the number is its own.
    unsafe { libc::kill(pid, libc::SIGKILL) };
    // SAFETY: a zeroed structure of ours, to be filled.
    let done = unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        libc::waitid(libc::P_PID, pid as libc::id_t, &raw mut info, libc::WEXITED | libc::WNOWAIT)
    };
    assert!(done == 0, "waitid {pid}: {}", std::io::Error::last_os_error());
}

/// Sleeps until a signal comes.
pub(crate) fn pause() {
    // SAFETY: no pointers.
    unsafe { libc::pause() };
}

/// Sends SIGKILL to a child of ours and waits until it is gone.
pub(crate) fn kill(pid: pid_t) {
    // SAFETY: no pointers; a child that was not waited for yet, so the number is its own.
    unsafe { libc::kill(pid, libc::SIGKILL) };
    while matches!(wait(pid), Status::Stopped(_)) {}
}

/// Stops a child of ours, with all its threads; they are stopped when this returns.
pub(crate) fn stop(pid: pid_t) {
    let mut status = 0;
    // SAFETY: a child that was not waited for yet, so the number is its own; `status` is ours.
    unsafe {
        libc::kill(pid, libc::SIGSTOP);
        let found = libc::waitpid(pid, &raw mut status, libc::WUNTRACED);
        assert!(found == pid && libc::WIFSTOPPED(status), "process {pid} did not stop: {status:#x}");
    }
}

/// Resumes it.
pub(crate) fn go_on(pid: pid_t) {
    // SAFETY: as in `stop`.
    unsafe { libc::kill(pid, libc::SIGCONT) };
}

/// Denies all threads of this process new descriptors, threads, processes and files, for good. What was opened before stays.
pub(crate) fn deny_everything() {
    const DENIED: &[libc::c_long] = &[
        #[cfg(target_arch = "x86_64")]
        libc::SYS_open,
        libc::SYS_openat,
        libc::SYS_openat2,
        libc::SYS_clone,
        libc::SYS_clone3,
        libc::SYS_execve,
        libc::SYS_memfd_create,
        libc::SYS_pidfd_open,
        libc::SYS_pidfd_getfd,
        libc::SYS_pipe2,
        libc::SYS_socket,
        libc::SYS_kill,
        libc::SYS_ptrace,
        libc::SYS_setrlimit,
        libc::SYS_prlimit64,
    ];
    /// An answer to all threads, not only to the calling one: linux/seccomp.h.
    const TO_ALL_THREADS: libc::c_ulong = 1;
    let limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    let rule = |code: u32, jt, jf, k| libc::sock_filter { code: code as u16, jt, jf, k };
    let refuse = rule(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32);
    let mut rules = vec![rule(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0)];
    for call in DENIED {
        rules.push(rule(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, *call as u32));
        rules.push(refuse);
    }
    rules.push(rule(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW));
    let program = libc::sock_fprog { len: rules.len() as u16, filter: rules.as_mut_ptr() };
    // SAFETY: a limit of ours; a complete program that outlives the call.
    let denied = unsafe {
        libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) == 0
            && libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit) == 0
            && libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
            && libc::syscall(
                libc::SYS_seccomp,
                libc::SECCOMP_SET_MODE_FILTER as libc::c_ulong,
                TO_ALL_THREADS,
                &raw const program,
            ) == 0
    };
    assert!(denied, "not denied: {}", std::io::Error::last_os_error());
}

/// Has SIGALRM kill this process after so many seconds: the fail-safe against waiting for ever.
pub(crate) fn alarm(seconds: u32) {
    // SAFETY: no pointers.
    unsafe { libc::alarm(seconds) };
}

/// Keeps this process and its children on one processor, where switching between them is cheapest.
pub(crate) fn stay_on_cpu(number: usize) {
    // SAFETY: a zeroed set is a valid empty one, and it is ours. Failure costs time only.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(number, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set);
    }
}

/// Zeroed memory that this process shares with children forked from now on. It is never unmapped.
pub(crate) fn shared_pages(bytes: usize) -> *mut u8 {
    map(bytes, libc::PROT_READ | libc::PROT_WRITE, libc::MAP_ANONYMOUS | libc::MAP_NORESERVE, -1)
}

/// The same, as words.
pub(crate) fn shared_words(count: usize) -> &'static [AtomicU64] {
    let base = shared_pages(count * size_of::<AtomicU64>());
    // SAFETY: as many zeroed words, aligned, never unmapped.
    unsafe { std::slice::from_raw_parts(base.cast(), count) }
}

/// Zeroed memory of this process's own, of which forked processes get a copy. It is never unmapped.
pub(crate) fn private_pages(bytes: usize) -> *mut u8 {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    // SAFETY: a new mapping at an address of the kernel's choice.
    let base =
        unsafe { libc::mmap(ptr::null_mut(), bytes, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0) };
    assert!(base != libc::MAP_FAILED, "mmap: {}", std::io::Error::last_os_error());
    base.cast()
}

/// A read-only mapping of a file. It is never unmapped.
pub(crate) fn look_at(fd: i32, bytes: usize) -> *const u8 {
    map(bytes, libc::PROT_READ, 0, fd)
}

/// Numbers in memory of their own that forked processes share instead of getting a copy.
#[derive(Debug)]
pub(crate) struct SharedSlice<T> {
    base: *mut T,
    len: usize,
}

impl<T: Copy + Default> SharedSlice<T> {
    pub(crate) fn new(len: usize) -> Self {
        let mut slice = Self { base: shared_pages((len * size_of::<T>()).max(1)).cast(), len };
        slice.fill(T::default());
        slice
    }

    /// The items of an iterator, which must be the same each time.
    pub(crate) fn collect<I: Iterator<Item = T>>(items: impl Fn() -> I) -> Self {
        let mut slice = Self::new(items().count());
        slice.iter_mut().zip(items()).for_each(|(place, item)| *place = item);
        slice
    }
}

impl<T> std::ops::Deref for SharedSlice<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: page-aligned, mapped as long as `self`, filled when it was made, written only through `&mut self`.
        unsafe { std::slice::from_raw_parts(self.base, self.len) }
    }
}

impl<T> std::ops::DerefMut for SharedSlice<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as above; nobody else writes: forked processes only read.
        unsafe { std::slice::from_raw_parts_mut(self.base, self.len) }
    }
}

impl<T> Drop for SharedSlice<T> {
    fn drop(&mut self) {
        // SAFETY: mapped by `new`, and nothing borrows from it any more.
        unsafe { libc::munmap(self.base.cast(), (self.len * size_of::<T>()).max(1)) };
    }
}

/// The pages of a mapped file that have memory, a byte each, of which the lowest bit counts.
pub(crate) fn resident(base: *const u8, pages: &mut [u8]) {
    // SAFETY: a mapping of at least as many pages, and a byte of ours for each.
    let done = unsafe { libc::mincore(base.cast_mut().cast(), pages.len() * PAGE, pages.as_mut_ptr()) };
    assert!(done == 0, "mincore: {}", std::io::Error::last_os_error());
    pages.iter_mut().for_each(|page| *page &= 1);
}

pub(crate) const PAGE: usize = 4096;

/// Gives a file in memory pages, of zeroes unless they are there.
pub(crate) fn commit(file: &std::fs::File, from: usize, pages: usize) {
    // The first call reserves missing pages, the second one makes them zeroes, which `resident` counts.
    for _ in 0..2 {
        allocate(file, 0, from, pages);
    }
}

/// Takes a page away.
pub(crate) fn punch_hole(file: &std::fs::File, page: usize) {
    allocate(file, libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE, page, 1);
}

fn allocate(file: &std::fs::File, mode: i32, from: usize, pages: usize) {
    let bytes = |pages: usize| (pages * PAGE) as i64;
    // SAFETY: numbers only.
    let done = unsafe { libc::fallocate(file.as_raw_fd(), mode, bytes(from), bytes(pages)) };
    assert!(done == 0, "fallocate: {}", std::io::Error::last_os_error());
}

/// Takes the lock of a byte for an open file, as members do with those of their leases; false if another process has
/// it.
pub(crate) fn lock(file: &std::fs::File, byte: u8) -> bool {
    set_lock(file, byte, libc::F_WRLCK)
}

pub(crate) fn unlock(file: &std::fs::File, byte: u8) {
    assert!(set_lock(file, byte, libc::F_UNLCK), "unlock {byte}: {}", std::io::Error::last_os_error());
}

fn set_lock(file: &std::fs::File, byte: u8, kind: i32) -> bool {
    // SAFETY: a zeroed structure is a valid one, and it is ours.
    unsafe {
        let mut lock: libc::flock = std::mem::zeroed();
        lock.l_type = kind as i16;
        (lock.l_start, lock.l_len) = (i64::from(byte), 1);
        libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const lock) == 0
    }
}

/// Processor time of children and their children that were waited for, in seconds.
pub(crate) fn seconds_of_children() -> f64 {
    // SAFETY: a zeroed structure of ours, to be filled.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_CHILDREN, &raw mut usage);
        usage
    };
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    seconds(usage.ru_utime) + seconds(usage.ru_stime)
}

/// Whether a process has one thread.
pub(crate) fn has_one_thread(pid: pid_t) -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(format!("/proc/{pid}/task")).is_ok_and(|task| task.nlink() == 3)
}

fn map(bytes: usize, protection: i32, flags: i32, fd: i32) -> *mut u8 {
    // SAFETY: a new mapping at an address of the kernel's choice.
    let base = unsafe { libc::mmap(ptr::null_mut(), bytes, protection, libc::MAP_SHARED | flags, fd, 0) };
    assert!(base != libc::MAP_FAILED, "mmap: {}", std::io::Error::last_os_error());
    base.cast()
}

/// Has the parent trace this process.
pub(crate) fn ask_to_be_traced() -> bool {
    // SAFETY: no pointers are used by this request.
    unsafe { libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) == 0 }
}

fn ptrace(request: libc::c_uint, pid: pid_t, address: usize, data: usize) -> c_long {
    // SAFETY: only requests that take numbers in place of the pointers are made here.
    unsafe { libc::ptrace(request, pid, address as *mut c_void, data as *mut c_void) }
}

/// The tracee dies with its tracer.
pub(crate) fn die_with_me(pid: pid_t) {
    ptrace(libc::PTRACE_SETOPTIONS, pid, 0, libc::PTRACE_O_EXITKILL as usize);
}

/// Runs one instruction.
pub(crate) fn step(pid: pid_t) -> Status {
    assert!(ptrace(libc::PTRACE_SINGLESTEP, pid, 0, 0) == 0, "step: {}", std::io::Error::last_os_error());
    wait(pid)
}

/// Runs on until the next stop.
pub(crate) fn resume(pid: pid_t) -> Status {
    assert!(ptrace(libc::PTRACE_CONT, pid, 0, 0) == 0, "continue: {}", std::io::Error::last_os_error());
    wait(pid)
}

const DEBUG_REGISTERS: usize = std::mem::offset_of!(libc::user, u_debugreg);
const INSTRUCTION_POINTER: usize = std::mem::offset_of!(libc::user_regs_struct, rip);

/// The address of the next instruction.
pub(crate) fn instruction_pointer(pid: pid_t) -> u64 {
    let mut word: c_long = 0;
    // The C library's wrapper returns the word itself; the system call takes a pointer to it.
    // SAFETY: `word` is ours.
    unsafe {
        libc::syscall(libc::SYS_ptrace, libc::PTRACE_PEEKUSER, pid, INSTRUCTION_POINTER, &raw mut word);
    }
    word as u64
}

/// Sets the one breakpoint, in a debug register, or takes it away. False: this machine has none.
pub(crate) fn set_breakpoint(pid: pid_t, address: Option<u64>) -> bool {
    let poke = |register: usize, value: u64| {
        ptrace(libc::PTRACE_POKEUSER, pid, DEBUG_REGISTERS + register * 8, value as usize) == 0
    };
    match address {
        Some(address) => poke(0, address) && poke(7, 1),
        None => poke(7, 0),
    }
}
