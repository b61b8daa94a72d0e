//! Slow motion: with every first write to a page of the space a process goes on one instruction at a time for a while, and
//! may be killed after one of them.
//!
//! The pages are protected, and the handler of the fault lets the write go on and sets the trap flag; then the processor
//! traps after every instruction, and the kernel makes a signal of it, which takes many microseconds. Recoverers that begin
//! together write first to the same handle, so they are side by side for milliseconds, and a window of a few instructions
//! is as long as a few of those signals. Only the time between the instructions is changed, not what they do.

use std::io;
use std::ptr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use rustix::param::page_size;

/// Whether it works here.
pub(super) const IS_THERE: bool = cfg!(target_arch = "x86_64");
/// How many instructions run in slow motion after a first write to a page.
const STEPS: u64 = 160;
/// How many do so altogether: what comes first is what several do at the same time.
pub(super) const STEPS_MAX: u64 = 2 * STEPS;

/// Where the protected pages begin and end.
static START: AtomicUsize = AtomicUsize::new(0);
static END: AtomicUsize = AtomicUsize::new(0);
/// Instructions in slow motion so far.
static DONE: AtomicU64 = AtomicU64::new(0);
/// After how many the present slow motion ends.
static ENDS: AtomicU64 = AtomicU64::new(0);
/// After how many the process is killed; 0: never.
static LAST: AtomicU64 = AtomicU64::new(0);

/// The pages are protected as long as this lives.
pub(super) struct SlowMotion(());

impl SlowMotion {
    /// Protects the mapping that ends at `end`, or goes on there. After instruction `last` the process is killed.
    ///
    /// # Errors
    /// There is no such mapping, it cannot be protected, a signal cannot be handled.
    pub(super) fn begin(end: *const u8, last: Option<u64>) -> io::Result<Self> {
        let maps = std::fs::read_to_string("/proc/self/maps")?;
        let start = maps.lines().find_map(|line| mapping_with(line, end.addr() - 1));
        let start = start.ok_or_else(|| io::Error::other("expected a mapping of the space, found none"))?;
        // Relaxed, all here and below: one thread.
        DONE.store(0, Ordering::Relaxed);
        ENDS.store(0, Ordering::Relaxed);
        LAST.store(last.unwrap_or(0), Ordering::Relaxed);
        START.store(start, Ordering::Relaxed);
        END.store(end.addr() / page_size() * page_size(), Ordering::Relaxed);
        handle(libc::SIGSEGV, Some(let_write))?;
        handle(libc::SIGTRAP, Some(count_step))?;
        protect(START.load(Ordering::Relaxed), END.load(Ordering::Relaxed), libc::PROT_READ)?;
        Ok(Self(()))
    }
}

impl Drop for SlowMotion {
    fn drop(&mut self) {
        let (start, end) = (START.swap(0, Ordering::Relaxed), END.swap(0, Ordering::Relaxed));
        // It cannot fail: it was possible before.
        let _ = protect(start, end, libc::PROT_READ | libc::PROT_WRITE);
        let _ = handle(libc::SIGSEGV, None);
    }
}

/// The start of the mapping that `line` of a table of mappings describes, if `address` is in it.
fn mapping_with(line: &str, address: usize) -> Option<usize> {
    let (start, rest) = line.split_once('-')?;
    let (end, _) = rest.split_once(' ')?;
    let [start, end] = [start, end].map(|text| usize::from_str_radix(text, 16));
    let (start, end) = (start.ok()?, end.ok()?);
    (start..end).contains(&address).then_some(start)
}

fn protect(start: usize, end: usize, access: libc::c_int) -> io::Result<()> {
    let start = ptr::with_exposed_provenance_mut::<libc::c_void>(start);
    // SAFETY: pages of a mapping of ours; whoever writes to them meanwhile is let write by the handler.
    match unsafe { libc::mprotect(start, end - start.addr(), access) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

type Handler = extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void);

/// Sets the handler of a signal; `None`: what the system does.
fn handle(signal: libc::c_int, handler: Option<Handler>) -> io::Result<()> {
    // SAFETY: all its fields are numbers and pointers, for which zero is a value.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler.map_or(libc::SIG_DFL, |handler| handler as usize);
    action.sa_flags = libc::SA_SIGINFO;
    // SAFETY: `action` lives across the call, and the handlers do what handlers may do.
    match unsafe { libc::sigaction(signal, &raw const action, ptr::null_mut()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The handler of a fault: a first write to a page.
extern "C" fn let_write(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel passes it, and of this signal it has an address.
    let address = unsafe { (*info).si_addr() }.addr();
    let page = address / page_size() * page_size();
    let is_ours = (START.load(Ordering::Relaxed)..END.load(Ordering::Relaxed)).contains(&address);
    if !is_ours || protect(page, page + page_size(), libc::PROT_READ | libc::PROT_WRITE).is_err() {
        // A fault like any other: it comes again, and ends the process.
        let _ = handle(signal, None);
        return;
    }
    let done = DONE.load(Ordering::Relaxed);
    ENDS.store((done + STEPS).min(STEPS_MAX), Ordering::Relaxed);
    set_trap(context, done < STEPS_MAX);
}

/// The handler of a trap: one instruction is done.
extern "C" fn count_step(_: libc::c_int, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let done = DONE.load(Ordering::Relaxed) + 1;
    DONE.store(done, Ordering::Relaxed);
    if done == LAST.load(Ordering::Relaxed) {
        // SAFETY: both are system calls that a handler may make.
        unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
    }
    if done >= ENDS.load(Ordering::Relaxed) {
        set_trap(context, false);
    }
}

/// Sets or clears the trap flag of what a handler returns to.
#[cfg(target_arch = "x86_64")]
fn set_trap(context: *mut libc::c_void, on: bool) {
    const TRAP: i64 = 1 << 8;
    // SAFETY: the kernel passes a context to a handler with SA_SIGINFO, which is the handler's until it returns.
    let flags =
        unsafe { &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs[libc::REG_EFL as usize] };
    *flags = if on { *flags | TRAP } else { *flags & !TRAP };
}

#[cfg(not(target_arch = "x86_64"))]
fn set_trap(_: *mut libc::c_void, _: bool) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_writes_to_pages_are_slow_and_do_what_they_do() {
        let space = tenure::Space::options().handles(64).scratch(1 << 20).private().unwrap();
        let member = space.join().unwrap();
        let end = member.local().address(tenure::RawBlock { offset: 0, len: 0 });
        let slow = SlowMotion::begin(end, None).unwrap();
        let handle = member.create_raw(tenure::Kind::raw(1), b"slowly").unwrap();
        drop(slow);
        assert_eq!(handle.get().unwrap(), b"slowly");
        if IS_THERE {
            assert!(DONE.load(Ordering::Relaxed) >= STEPS);
        }
    }
}
