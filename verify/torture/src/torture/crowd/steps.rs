//! Slow motion: after every first write to a page of the space, a process executes one instruction at a time for a
//! while, and may be killed after one of them.
//!
//! The pages are write-protected. The handler of the fault makes the page writable and sets the trap flag; then the
//! processor traps after every instruction, and the kernel turns the trap into a signal, which takes many microseconds.
//! Recoverers that begin together write first to the same handle, so they execute the same code for milliseconds, and a
//! window of a few instructions lasts as long as a few of those signals. Only the time between the instructions
//! changes, not their effect.

use std::io;
use std::ptr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use rustix::param::page_size;

/// Whether slow motion is available.
pub(super) const IS_THERE: bool = cfg!(target_arch = "x86_64");
/// Number of instructions in slow motion after a first write to a page.
const STEPS: u64 = 160;
/// Maximum number of instructions in slow motion; the first ones are those that several processes execute at the same
/// time.
pub(super) const STEPS_MAX: u64 = 2 * STEPS;

/// Start and end address of the protected pages.
static START: AtomicUsize = AtomicUsize::new(0);
static END: AtomicUsize = AtomicUsize::new(0);
/// Number of instructions executed in slow motion.
static DONE: AtomicU64 = AtomicU64::new(0);
/// The count at which the present slow motion ends.
static ENDS: AtomicU64 = AtomicU64::new(0);
/// The count at which the process is killed; 0: never.
static LAST: AtomicU64 = AtomicU64::new(0);

/// The pages are protected as long as this value lives.
pub(super) struct SlowMotion(());

impl SlowMotion {
    /// Protects the mapping that ends at `end`, or continues there. After instruction `last` the process is killed.
    ///
    /// # Errors
    /// There is no such mapping, it cannot be protected, or a signal handler cannot be set.
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
        // It cannot fail: the same call succeeded before.
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
    // SAFETY: the pages belong to a mapping of ours; the handler lets writes to them succeed.
    match unsafe { libc::mprotect(start, end - start.addr(), access) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

type Handler = extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void);

/// Sets the handler of a signal; `None` sets the default action.
fn handle(signal: libc::c_int, handler: Option<Handler>) -> io::Result<()> {
    // SAFETY: all fields are integers and pointers, for which zero is valid.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler.map_or(libc::SIG_DFL, |handler| handler as usize);
    action.sa_flags = libc::SA_SIGINFO;
    // SAFETY: `action` lives across the call, and the handlers are async-signal-safe.
    match unsafe { libc::sigaction(signal, &raw const action, ptr::null_mut()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The handler of a fault: a first write to a page.
extern "C" fn let_write(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel passes a valid pointer, and this signal has an address.
    let address = unsafe { (*info).si_addr() }.addr();
    let page = address / page_size() * page_size();
    let is_ours = (START.load(Ordering::Relaxed)..END.load(Ordering::Relaxed)).contains(&address);
    if !is_ours || protect(page, page + page_size(), libc::PROT_READ | libc::PROT_WRITE).is_err() {
        // Not handled here: the fault occurs again and ends the process.
        let _ = handle(signal, None);
        return;
    }
    let done = DONE.load(Ordering::Relaxed);
    ENDS.store((done + STEPS).min(STEPS_MAX), Ordering::Relaxed);
    set_trap(context, done < STEPS_MAX);
}

/// The handler of a trap: one instruction has been executed.
extern "C" fn count_step(_: libc::c_int, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let done = DONE.load(Ordering::Relaxed) + 1;
    DONE.store(done, Ordering::Relaxed);
    if done == LAST.load(Ordering::Relaxed) {
        // SAFETY: both calls are async-signal-safe.
        unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
    }
    if done >= ENDS.load(Ordering::Relaxed) {
        set_trap(context, false);
    }
}

/// Sets or clears the trap flag of the interrupted code.
#[cfg(target_arch = "x86_64")]
fn set_trap(context: *mut libc::c_void, on: bool) {
    const TRAP: i64 = 1 << 8;
    // SAFETY: with SA_SIGINFO the kernel passes a context, which belongs to the handler until it returns.
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
        let end = member.local().address(tenure::raw::RawBlock { offset: 0, len: 0 });
        let slow = SlowMotion::begin(end, None).unwrap();
        let handle = member.create_raw(tenure::Kind::raw(1), b"slowly").unwrap();
        drop(slow);
        assert_eq!(handle.get().unwrap(), b"slowly");
        if IS_THERE {
            assert!(DONE.load(Ordering::Relaxed) >= STEPS);
        }
    }
}
