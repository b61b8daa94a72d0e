//! Threads for monitors and reapers, started by `pthread_create` itself.
//!
//! The standard library's threads take a process-wide lock when they start. In a forked child a thread that does not
//! exist may hold that lock, and a child that joins would wait for its monitor for ever.

use std::ffi::{CStr, c_void};
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::RawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};

type Body = Box<dyn FnOnce() + Send>;

/// A running thread; dropping it lets the thread run on by itself.
#[derive(Debug)]
pub(crate) struct Thread(libc::pthread_t);

// SAFETY: any thread of the process may join or detach a thread by its identifier, which is a pointer with musl and a number with glibc.
unsafe impl Send for Thread {}
// SAFETY: nothing can be done through a reference.
unsafe impl Sync for Thread {}

impl Thread {
    /// Starts a thread that runs `body` with all signals blocked but those of its own faults, so that no other signal handler of the program
    /// runs on it. The kernel ends a process that blocks the signal of a fault: a handler that reports faults would not run. A panic in `body`
    /// ends only the thread.
    pub(crate) fn start(
        name: &'static CStr,
        stack_bytes: usize,
        body: impl FnOnce() + Send + 'static,
    ) -> io::Result<Self> {
        let body: Body = Box::new(move || {
            // SAFETY: a string that outlives the call.
            unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) };
            body();
        });
        let body = Box::into_raw(Box::new(body));
        // libc needs additional stack, for thread-local variables and other data.
        // SAFETY: a number.
        let system_bytes = usize::try_from(unsafe { libc::sysconf(libc::_SC_THREAD_STACK_MIN) }).unwrap_or(0);
        let page_bytes = rustix::param::page_size();
        let stack_bytes = (stack_bytes + system_bytes).next_multiple_of(page_bytes);
        // SAFETY: attributes and signal sets on this stack, initialised before they are used and destroyed afterwards; the
        // caller's mask is restored; `run` has the required signature and treats `body` as the type that it has.
        let (started, id) = unsafe {
            let mut all = std::mem::zeroed::<libc::sigset_t>();
            let mut before = std::mem::zeroed::<libc::sigset_t>();
            let mut attributes = std::mem::zeroed::<libc::pthread_attr_t>();
            let mut id = std::mem::zeroed::<libc::pthread_t>();
            libc::sigfillset(&raw mut all);
            // SIGSYS: of a sandbox that answers a call by a signal.
            for fault in
                [libc::SIGBUS, libc::SIGSEGV, libc::SIGILL, libc::SIGFPE, libc::SIGTRAP, libc::SIGSYS]
            {
                libc::sigdelset(&raw mut all, fault);
            }
            let mut result = libc::pthread_attr_init(&raw mut attributes);
            if result == 0 {
                // If the call refuses the size, the default is large enough.
                let _ = libc::pthread_attr_setstacksize(&raw mut attributes, stack_bytes);
                libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut before);
                result = libc::pthread_create(&raw mut id, &raw const attributes, run, body.cast());
                libc::pthread_sigmask(libc::SIG_SETMASK, &raw const before, std::ptr::null_mut());
                libc::pthread_attr_destroy(&raw mut attributes);
            }
            (result, id)
        };
        if started != 0 {
            // SAFETY: no thread has taken it.
            drop(unsafe { Box::from_raw(body) });
            return Err(io::Error::from_raw_os_error(started));
        }
        Ok(Self(id))
    }

    /// Waits until the thread has ended.
    pub(crate) fn join(self) {
        let this = ManuallyDrop::new(self);
        // SAFETY: a thread that was neither joined nor detached; `self` is not used again.
        unsafe { libc::pthread_join(this.0, std::ptr::null_mut()) };
    }
}

/// Starts a thread with the descriptors of the caller that runs by itself until `body` is over, with all signals blocked but those of its own
/// faults. A panic in `body` ends only the thread.
///
/// # Errors
///
/// The system has no room for it.
pub fn start_thread(
    name: &'static CStr,
    stack_bytes: usize,
    body: impl FnOnce() + Send + 'static,
) -> io::Result<()> {
    Thread::start(name, stack_bytes, body).map(drop)
}

impl Drop for Thread {
    fn drop(&mut self) {
        // SAFETY: as in `join`.
        unsafe { libc::pthread_detach(self.0) };
    }
}

extern "C" fn run(body: *mut c_void) -> *mut c_void {
    // SAFETY: made by `start` from a box of this type, for this thread alone.
    let body = unsafe { Box::from_raw(body.cast::<Body>()) };
    // The panic hook has reported the panic, and a joiner waits only for the end of the thread.
    let _ = catch_unwind(AssertUnwindSafe(body));
    std::ptr::null_mut()
}

/// Gives the calling thread its own descriptor table, with only `keep` in it. Returns false if the kernel refuses. Threads that it
/// starts share the table, which the kernel closes when the last of them ends. In such a thread `/proc/self/fd` shows another
/// table: only `/proc/thread-self/fd` shows its own.
pub(crate) fn take_own_table(keep: RawFd) -> bool {
    let keep = keep as libc::c_uint;
    let close = |first: libc::c_uint, last: libc::c_uint, flags: libc::c_uint| {
        // SAFETY: no pointers; with the flag this thread gets its own table, and no code of it relies on other descriptors.
        first > last || unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) } == 0
    };
    // The first call copies the descriptors outside of its range: as few as possible.
    if !close(keep + 1, libc::c_uint::MAX, libc::CLOSE_RANGE_UNSHARE) {
        return false;
    }
    if keep > 0 {
        close(0, keep - 1, 0);
    }
    true
}

#[cfg(all(test, not(miri)))]
mod tests {
    use super::*;

    #[test]
    fn faults_of_a_thread_reach_the_programs_handlers_and_nothing_else_does() {
        let (send, masks) = std::sync::mpsc::channel();
        let thread = Thread::start(c"mask", 64 << 10, move || {
            // SAFETY: a set on this stack.
            let blocked = unsafe {
                let mut set = std::mem::zeroed::<libc::sigset_t>();
                libc::pthread_sigmask(libc::SIG_BLOCK, std::ptr::null(), &raw mut set);
                [libc::SIGBUS, libc::SIGSEGV, libc::SIGTERM, libc::SIGALRM]
                    .map(|signal| libc::sigismember(&raw const set, signal) == 1)
            };
            send.send(blocked).unwrap();
        });
        thread.unwrap().join();
        assert_eq!(masks.recv().unwrap(), [false, false, true, true]);
    }
}
