//! Processes and threads.

use std::ffi::{c_char, c_int};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use tenure::{
    error::ProcessError,
    process::{Exit, Process, Thread},
};

use crate::abi::{tenure_exit, tenure_how, tenure_member, tenure_object};
use crate::error::Failure;
use crate::guard::{guard, guard_out, tell};
use crate::object::{Any, Thing, Ways, create, usable};

const RUNS: tenure_exit = tenure_exit { how: tenure_how::TENURE_RUNS as u32, code: 0, core_dumped: 0 };

impl From<Option<Exit>> for tenure_exit {
    fn from(exit: Option<Exit>) -> Self {
        match exit {
            None => RUNS,
            Some(Exit::Code(code)) => Self { how: tenure_how::TENURE_EXITED as u32, code, core_dumped: 0 },
            Some(Exit::Signal { number, core_dumped }) => {
                Self { how: tenure_how::TENURE_KILLED as u32, code: number, core_dumped: core_dumped.into() }
            }
            Some(Exit::Unknown) => Self { how: tenure_how::TENURE_ENDED as u32, ..RUNS },
        }
    }
}

impl Thing {
    fn process(&self) -> Result<&Process, Failure> {
        if let Any::Process(process) = &self.any { Ok(process) } else { Err(self.wrong("process")) }
    }

    /// A process or a thread.
    fn of_either<T>(
        &self,
        process: impl FnOnce(&Process) -> Result<T, ProcessError>,
        thread: impl FnOnce(&Thread) -> Result<T, ProcessError>,
    ) -> Result<T, Failure> {
        Ok(match &self.any {
            Any::Process(it) => process(it)?,
            Any::Thread(it) => thread(it)?,
            _ => return Err(self.wrong("process or thread")),
        })
    }
}

/// Creates an object of the process that has the number `pid` now, in the caller's pid namespace; 0 is the caller. The
/// object stands for that process and for no later one with its number. The process need not be a member, but the
/// caller must see it. `name` is NULL for none; `flags` is 0 or TENURE_OR_OPEN.
///
/// Threads: any. Fork: TENURE_ERR_FORKED in a child of the member's process.
///
/// Returns TENURE_OK and `*object`, to be given back by tenure_object_close; TENURE_OPENED when a process had the name
/// and TENURE_OR_OPEN was given: it may be another one than `pid`. Otherwise nothing was created and `*object` is NULL.
/// TENURE_ERR_NOT_FOUND when no process has the number and nothing was opened; TENURE_ERR_ARGUMENT when it is a
/// thread's; TENURE_ERR_NAME_TAKEN; TENURE_ERR_FOREIGN_KIND when an object of another kind has the name.
///
/// # Safety
///
/// `name` is NULL or a string, `object` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_process_of(
    member: *const tenure_member,
    name: *const c_char,
    flags: u32,
    pid: u32,
    object: *mut *mut tenure_object,
) -> c_int {
    let pid = if pid == 0 { std::process::id() } else { pid };
    let ways = Ways {
        create: &|place| Process::of_pid(place, pid),
        create_or_open: &|member, name| Process::create_or_open(member, name, pid),
    };
    // SAFETY: the caller's promise.
    unsafe { create(member, name, (flags, 0), object, ways, Any::Process) }
}

/// As tenure_process_of, for a thread: 0 is the calling one. TENURE_ERR_UNSUPPORTED before Linux 6.9.
///
/// # Safety
///
/// `name` is NULL or a string, `object` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_thread_of(
    member: *const tenure_member,
    name: *const c_char,
    flags: u32,
    tid: u32,
    object: *mut *mut tenure_object,
) -> c_int {
    let ways = Ways {
        create: &|place| if tid == 0 { Thread::current(place) } else { Thread::of_tid(place, tid) },
        create_or_open: &|member, name| {
            let tid = if tid == 0 { Thread::current(member)?.tid() } else { tid };
            Thread::create_or_open(member, name, tid)
        },
    };
    // SAFETY: the caller's promise.
    unsafe { create(member, name, (flags, 0), object, ways, Any::Thread) }
}

/// How a process or thread ended, if it did. Does not wait; tenure_wait does. Every process that holds the object can
/// read it, also long after the end.
///
/// Threads: any. Fork: TENURE_ERR_FORKED in a child of the member's process. TENURE_ERR_UNSUPPORTED when no process has
/// reported the end, and this one cannot observe it.
///
/// # Safety
///
/// `exit` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_process_exit(object: *const tenure_object, exit: *mut tenure_exit) -> c_int {
    let call = || Ok(usable(object)?.of_either(Process::exit, Thread::exit)?.into());
    // SAFETY: the caller's promise.
    unsafe { guard_out(exit, "exit", RUNS, call) }
}

/// The number of a process or thread, in the pid namespace of the process that created the object. Once it was reaped,
/// another may have the number. `*started`, unless it is NULL, is the start time of a process, in clock ticks since the
/// machine booted; 0 if unknown, and for threads. Threads: any.
///
/// # Safety
///
/// `number` and `started` are NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_process_number(
    object: *const tenure_object,
    number: *mut u32,
    started: *mut u64,
) -> c_int {
    let call = || {
        let (number, at) = usable(object)?.of_either(
            |process| Ok((process.pid(), process.started_at().unwrap_or(0))),
            |thread| Ok((thread.tid(), 0)),
        )?;
        // SAFETY: the caller's promise.
        unsafe { tell(started, at) };
        Ok(number)
    };
    // SAFETY: the caller's promise.
    unsafe { guard_out(number, "number", 0, call) }
}

/// Tells all holders how the process ended; call it in the process that reaped it. `status` is the number that waitpid
/// stored. A status that is known already stays. Threads: any. Fork: TENURE_ERR_FORKED in a child of the member's
/// process.
#[unsafe(no_mangle)]
pub extern "C" fn tenure_process_reaped(object: *const tenure_object, status: c_int) -> c_int {
    guard(|| Ok(usable(object)?.process()?.reaped(ExitStatus::from_raw(status))?))
}

/// Called by the process, or thread, itself: announces the code with which it is about to end, with all 32 bits; the
/// kernel keeps 8. The code counts once it has ended, unless the kernel reports another end; it can be announced once.
///
/// Threads: any of the process; for a thread's object that thread. Fork: TENURE_ERR_FORKED in a child of the member's
/// process. TENURE_ERR_NOT_OWNER when the object is another's; TENURE_ERR_ANNOUNCED.
#[unsafe(no_mangle)]
pub extern "C" fn tenure_process_exiting(object: *const tenure_object, code: i32) -> c_int {
    guard(|| {
        let object = usable(object)?;
        object.of_either(|process| process.exiting(code), |thread| thread.exiting(code))
    })
}
