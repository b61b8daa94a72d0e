//! Mutexes, events, semaphores, and waiting for any or all.

use std::ffi::{c_char, c_int};
use std::time::Duration;

use tenure::{
    error::WaitError,
    sync::{Event, Mutex, MutexState, Reset, Semaphore, WAIT_MAX, WaitOptions, Waitable},
};

use crate::abi::{
    TENURE_ALL, TENURE_DEADLINE, TENURE_FOREVER, TENURE_INTERRUPTIBLE, TENURE_MANUAL_RESET, TENURE_RECURSIVE,
    TENURE_SIGNALLED, tenure_member, tenure_object,
};
use crate::error::{Failure, tenure_status};
use crate::guard::{guard, guard_out, guard_out_status, guard_status, null, tell};
use crate::object::{Any, Thing, Ways, create, object, usable};
use crate::registry::Pin;
use crate::space::only;

pub(crate) fn time(timeout: u64) -> Option<Duration> {
    (timeout != TENURE_FOREVER).then(|| Duration::from_nanos(timeout))
}

/// The options of tenure_wait_with; the flags may have `known` as well.
pub(crate) fn options_of(known: u32, flags: u32, time: u64) -> Result<WaitOptions, Failure> {
    only(known | TENURE_INTERRUPTIBLE | TENURE_DEADLINE, flags)?;
    let is_deadline = flags & TENURE_DEADLINE != 0 && time != TENURE_FOREVER;
    let left = if is_deadline { time.saturating_sub(monotonic()) } else { time };
    let options = WaitOptions::from(self::time(left));
    Ok(if flags & TENURE_INTERRUPTIBLE == 0 { options } else { options.interruptible() })
}

/// Nanoseconds of CLOCK_MONOTONIC.
fn monotonic() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a place for the time.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs()
}

pub(crate) const fn taken(abandoned: bool) -> tenure_status {
    if abandoned { tenure_status::TENURE_ABANDONED } else { tenure_status::TENURE_OK }
}

impl Thing {
    #[inline(always)]
    pub(crate) fn mutex(&self) -> Result<&Mutex, Failure> {
        if let Any::Mutex(mutex) = &self.any { Ok(mutex) } else { Err(self.wrong("mutex")) }
    }

    fn event(&self) -> Result<&Event, Failure> {
        if let Any::Event(event) = &self.any { Ok(event) } else { Err(self.wrong("event")) }
    }

    fn semaphore(&self) -> Result<&Semaphore, Failure> {
        if let Any::Semaphore(semaphore) = &self.any { Ok(semaphore) } else { Err(self.wrong("semaphore")) }
    }
}

/// Creates a mutex: mutual exclusion between threads of any processes, which survives the death of its owner. `name` is
/// NULL for none; `flags` are TENURE_RECURSIVE and TENURE_OR_OPEN.
///
/// Threads: any. Fork: TENURE_ERR_FORKED in a child of the member's process.
///
/// Returns TENURE_OK and `*object`, to be given back by tenure_object_close; TENURE_OPENED when a mutex had the name
/// and TENURE_OR_OPEN was given: tenure_mutex_is_recursive tells whether that mutex is recursive. Otherwise nothing was
/// created and `*object` is NULL. TENURE_ERR_NAME_TAKEN; TENURE_ERR_FOREIGN_KIND when an object of another kind has the
/// name.
///
/// # Safety
///
/// `name` is NULL or a string, `object` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_mutex_create(
    member: *const tenure_member,
    name: *const c_char,
    flags: u32,
    object: *mut *mut tenure_object,
) -> c_int {
    let options = Mutex::options().recursive(flags & TENURE_RECURSIVE != 0);
    let ways = Ways {
        create: &|place| options.create(place),
        create_or_open: &|member, name| options.create_or_open(member, name),
    };
    // SAFETY: the caller's promise.
    unsafe { create(member, name, (flags, TENURE_RECURSIVE), object, ways, Any::Mutex) }
}

/// Locks a mutex: without a system call when it is free. `timeout` is in nanoseconds: 0 only tries, TENURE_FOREVER
/// waits as long as it takes. The calling thread is the owner and must call tenure_mutex_unlock; if it ends without
/// doing so, the mutex stays locked until its process leaves, dies, or closes the mutex.
///
/// Threads: any. Fork: TENURE_ERR_FORKED in a child of the member's process.
///
/// Returns TENURE_OK, or TENURE_ABANDONED: locked as well. TENURE_ERR_TIMEOUT; TENURE_ERR_DEADLOCK when this thread
/// owns it and it is not recursive.
#[unsafe(no_mangle)]
pub extern "C" fn tenure_mutex_lock(object: *const tenure_object, timeout: u64) -> c_int {
    guard_status(|| Ok(taken(self::object(object)?.mutex()?.acquire(time(timeout))?)))
}

/// Unlocks a mutex once. Threads: the owner; any other thread gets TENURE_ERR_NOT_OWNER. Fork:
/// TENURE_ERR_FORKED in a child of the member's process.
#[unsafe(no_mangle)]
pub extern "C" fn tenure_mutex_unlock(object: *const tenure_object) -> c_int {
    guard(|| Ok(self::object(object)?.mutex()?.unlock()?))
}

/// Gives a mutex back as one whose owner died: the next owner gets TENURE_ABANDONED. For an owner that leaves the protected
/// data inconsistent. A recursive mutex is free afterwards, however often it was locked. Threads, fork: as
/// tenure_mutex_unlock.
#[unsafe(no_mangle)]
pub extern "C" fn tenure_mutex_abandon(object: *const tenure_object) -> c_int {
    guard(|| Ok(usable(object)?.mutex()?.abandon()?))
}

/// The owner of the mutex at the moment: `*owned` is 1 if there is one, 0 if there is none, -1 if there is none because
/// the last owner left without unlocking it. `*lease`, unless it is NULL, is the place of the owner's lease, that is
/// the lowest 8 bits of its tenure_lease; `*thread`, unless it is NULL, is the owner thread's number. Threads: any.
///
/// # Safety
///
/// `owned`, `lease` and `thread` are NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_mutex_owner(
    object: *const tenure_object,
    owned: *mut c_int,
    lease: *mut u32,
    thread: *mut u32,
) -> c_int {
    let call = || {
        let (owned, by) = match usable(object)?.mutex()?.state()? {
            MutexState::Free => (0, (0, 0)),
            MutexState::Abandoned => (-1, (0, 0)),
            MutexState::Owned { lease, thread } => (1, (lease.into(), thread)),
        };
        // SAFETY: the caller's promise.
        unsafe {
            tell(lease, by.0);
            tell(thread, by.1);
        }
        Ok(owned)
    };
    // SAFETY: the caller's promise.
    unsafe { guard_out(owned, "owned", 0, call) }
}

/// Whether a mutex is recursive: `*is` is 1 or 0. Its creator decided that; the flags of calls that open it do not
/// change it. Threads: any. Fork: TENURE_ERR_FORKED in a child of the member's process.
///
/// # Safety
///
/// `is` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_mutex_is_recursive(object: *const tenure_object, is: *mut c_int) -> c_int {
    let call = || Ok(usable(object)?.mutex()?.is_recursive().into());
    // SAFETY: the caller's promise.
    unsafe { guard_out(is, "is", 0, call) }
}

/// Creates an event: one thread signals it and others wait for it. `name` is NULL for none; `flags` are
/// TENURE_MANUAL_RESET, TENURE_SIGNALLED and TENURE_OR_OPEN.
///
/// Threads, fork, results: as tenure_mutex_create; TENURE_ERR_FOREIGN_KIND also for an event of the other sort.
///
/// # Safety
///
/// `name` is NULL or a string, `object` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_event_create(
    member: *const tenure_member,
    name: *const c_char,
    flags: u32,
    object: *mut *mut tenure_object,
) -> c_int {
    let reset = if flags & TENURE_MANUAL_RESET != 0 { Reset::Manual } else { Reset::Auto };
    let signalled = flags & TENURE_SIGNALLED != 0;
    let ways = Ways {
        create: &|place| Event::options(reset).signalled(signalled).create(place),
        create_or_open: &|member, name| {
            Event::options(reset).signalled(signalled).create_or_open(member, name)
        },
    };
    // SAFETY: the caller's promise.
    unsafe { create(member, name, (flags, TENURE_MANUAL_RESET | TENURE_SIGNALLED), object, ways, Any::Event) }
}

/// Signals an event; one that is signalled stays so. Threads: any. Fork: TENURE_ERR_FORKED in a child of the member's
/// process.
#[unsafe(no_mangle)]
pub extern "C" fn tenure_event_set(object: *const tenure_object) -> c_int {
    guard(|| Ok(self::object(object)?.event()?.set()?))
}

/// Takes the signal of an event away; `*was`, unless it is NULL, is 1 if the event was signalled, otherwise 0. Threads,
/// fork: as tenure_event_set.
///
/// # Safety
///
/// `was` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_event_reset(object: *const tenure_object, was: *mut c_int) -> c_int {
    guard(|| {
        let found = usable(object)?.event()?.reset()?;
        // SAFETY: the caller's promise.
        unsafe { tell(was, found.into()) };
        Ok(())
    })
}

/// Whether an event is signalled at the moment: `*is` is 1 or 0. Takes nothing. Threads, fork: as tenure_event_set.
///
/// # Safety
///
/// `is` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_event_is_set(object: *const tenure_object, is: *mut c_int) -> c_int {
    let call = || Ok(usable(object)?.event()?.is_set()?.into());
    // SAFETY: the caller's promise.
    unsafe { guard_out(is, "is", 0, call) }
}

/// Creates a semaphore with a count and a maximum, which is from 1 to 2^30-1. `name` is NULL for none; `flags` is 0 or
/// TENURE_OR_OPEN.
///
/// Threads, fork, results: as tenure_mutex_create; TENURE_ERR_ARGUMENT for an impossible count or maximum.
///
/// # Safety
///
/// `name` is NULL or a string, `object` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_semaphore_create(
    member: *const tenure_member,
    name: *const c_char,
    flags: u32,
    count: u32,
    maximum: u32,
    object: *mut *mut tenure_object,
) -> c_int {
    let ways = Ways {
        create: &|place| Semaphore::create(place, count, maximum),
        create_or_open: &|member, name| Semaphore::create_or_open(member, name, count, maximum),
    };
    // SAFETY: the caller's promise.
    unsafe { create(member, name, (flags, 0), object, ways, Any::Semaphore) }
}

/// Adds to the count of a semaphore; `*before`, unless it is NULL, is the count before. TENURE_ERR_MAXIMUM if that
/// would exceed the maximum: nothing is added then. Threads: any. Fork: TENURE_ERR_FORKED in a child of the member's
/// process.
///
/// # Safety
///
/// `before` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_semaphore_release(
    object: *const tenure_object,
    more: u32,
    before: *mut u32,
) -> c_int {
    guard(|| {
        let was = usable(object)?.semaphore()?.release(more)?;
        // SAFETY: the caller's promise.
        unsafe { tell(before, was) };
        Ok(())
    })
}

/// The count of a semaphore at the moment, and its maximum, unless `maximum` is NULL. Threads, fork: as
/// tenure_semaphore_release.
///
/// # Safety
///
/// `count` and `maximum` are NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_semaphore_count(
    object: *const tenure_object,
    count: *mut u32,
    maximum: *mut u32,
) -> c_int {
    let call = || {
        let object = usable(object)?;
        let semaphore = object.semaphore()?;
        let count = semaphore.count()?;
        // SAFETY: the caller's promise.
        unsafe { tell(maximum, semaphore.maximum()) };
        Ok(count)
    };
    // SAFETY: the caller's promise.
    unsafe { guard_out(count, "count", 0, call) }
}

/// Waits for a mutex, event, semaphore, process, thread or queue, and takes it: locks the mutex, resets an auto-reset event,
/// takes one from the semaphore's count. Manual-reset events stay signalled, and processes ended. For a queue it waits until an
/// element waits in it, and takes nothing. `timeout` is in nanoseconds: 0 does not wait, TENURE_FOREVER waits as long as it takes. A waiting thread sleeps in the kernel.
///
/// Threads: any. Fork: TENURE_ERR_FORKED in a child of the member's process.
///
/// Returns TENURE_OK, or for a mutex TENURE_ABANDONED; TENURE_ERR_TIMEOUT; for mutexes the errors of tenure_mutex_lock;
/// TENURE_ERR_UNSUPPORTED for a process whose end cannot be observed from here.
#[unsafe(no_mangle)]
pub extern "C" fn tenure_wait(object: *const tenure_object, timeout: u64) -> c_int {
    guard_status(|| {
        let object = self::object(object)?;
        Ok(taken(wait_one(&object, time(timeout).into())?))
    })
}

/// Waits for one object; true if it is a mutex that was abandoned.
#[inline(always)]
fn wait_one(object: &Thing, options: WaitOptions) -> Result<bool, Failure> {
    Ok(match &object.any {
        Any::Mutex(mutex) => mutex.acquire(options)?,
        Any::Event(event) => event.wait(options).map(|()| false)?,
        Any::Semaphore(semaphore) => semaphore.acquire(options).map(|()| false)?,
        _ => {
            object.check()?;
            tenure::sync::wait_any(&[object.waitable()?], options)?.abandoned
        }
    })
}

/// Runs a call with all objects of a list.
///
/// # Safety
///
/// `objects` is null or readable for `count` pointers.
unsafe fn with_all<T>(
    objects: *const *mut tenure_object,
    count: usize,
    call: impl FnOnce(&[&dyn Waitable]) -> Result<T, WaitError>,
) -> Result<T, Failure> {
    // SAFETY: the caller's promise.
    let pins = unsafe { objects_of(objects, count) }?;
    let all: Vec<&dyn Waitable> = pins.iter().map(|pin| pin.waitable()).collect::<Result<_, _>>()?;
    Ok(call(&all)?)
}

/// The objects of a list.
///
/// # Safety
///
/// As [`with_all`].
pub(crate) unsafe fn objects_of(
    objects: *const *mut tenure_object,
    count: usize,
) -> Result<Vec<Pin<Thing>>, Failure> {
    if objects.is_null() {
        return Err(null("objects"));
    }
    if count == 0 || count > WAIT_MAX {
        return Err(WaitError::Number {
            found: u32::try_from(count).unwrap_or(u32::MAX),
            max: WAIT_MAX as u32,
        }
        .into());
    }
    // SAFETY: the caller's promise.
    let pointers = unsafe { std::slice::from_raw_parts(objects, count) };
    pointers.iter().map(|pointer| usable(*pointer)).collect()
}

/// Waits until one of up to TENURE_WAIT_MAX objects is available, and takes it, as tenure_wait: the first available one
/// in the list. `*index` is its place. From a queue it takes nothing: a queue is available while an element waits in it, so a
/// tenure_queue_pop may succeed now.
///
/// Threads, fork: as tenure_wait.
///
/// Returns TENURE_OK, or TENURE_ABANDONED if it is a mutex whose last owner did not unlock it. Otherwise nothing was
/// taken and `*index` is 0: TENURE_ERR_TIMEOUT; TENURE_ERR_ARGUMENT for no objects, or too many.
///
/// # Safety
///
/// `objects` is NULL or readable for `count` pointers, `index` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_wait_any(
    objects: *const *mut tenure_object,
    count: usize,
    timeout: u64,
    index: *mut usize,
) -> c_int {
    let call = || {
        // SAFETY: the caller's promise.
        let woken = unsafe { with_all(objects, count, |all| tenure::sync::wait_any(all, time(timeout))) }?;
        Ok((woken.index, taken(woken.abandoned)))
    };
    // SAFETY: the caller's promise.
    unsafe { guard_out_status(index, "index", 0, call) }
}

/// Waits until all of up to TENURE_WAIT_MAX objects are available, and takes them, as tenure_wait. While one of them is
/// not available it takes none; killed or stopped at any instruction, it has taken all or none. They are different
/// objects, opened by one member. `*abandoned`, unless it is NULL, has a bit for each mutex whose last owner did not
/// unlock it: 1 for the first of the list, 2 for the second, 4 for the third and so on.
///
/// Threads, fork: as tenure_wait.
///
/// Returns TENURE_OK, or TENURE_ABANDONED if there is any such mutex. Otherwise nothing was taken: TENURE_ERR_TIMEOUT;
/// TENURE_ERR_ARGUMENT for no objects, too many, one of them twice, those of several members, or a queue.
///
/// # Safety
///
/// `objects` is NULL or readable for `count` pointers, `abandoned` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_wait_all(
    objects: *const *mut tenure_object,
    count: usize,
    timeout: u64,
    abandoned: *mut u64,
) -> c_int {
    guard_status(|| {
        // SAFETY: the caller's promise.
        unsafe { tell(abandoned, 0) };
        // SAFETY: the caller's promise.
        let which = unsafe { with_all(objects, count, |all| tenure::sync::wait_all(all, time(timeout))) }?;
        let bits = which.iter().fold(0, |bits, index| bits | 1_u64 << index);
        // SAFETY: the caller's promise.
        unsafe { tell(abandoned, bits) };
        Ok(taken(bits != 0))
    })
}

/// Waits as tenure_wait_any, or, with TENURE_ALL, as tenure_wait_all; `count` may be 1. `flags` is a sum of TENURE_ALL,
/// TENURE_INTERRUPTIBLE and TENURE_DEADLINE. `time` is a timeout in nanoseconds, or with TENURE_DEADLINE a time of
/// CLOCK_MONOTONIC in nanoseconds; TENURE_FOREVER waits as long as it takes.
///
/// With TENURE_INTERRUPTIBLE a signal handler that runs while the thread sleeps ends the wait: TENURE_ERR_INTERRUPTED.
/// Nothing was taken then, and no signal of an object is lost. A handler that was installed with SA_RESTART need not end the
/// wait, and one that runs just before the thread sleeps does not end it. Without TENURE_INTERRUPTIBLE, and in all other
/// functions, waits go on after handlers, until the same deadline.
///
/// `*index`, unless it is NULL, is the place of the object that was taken, 0 with TENURE_ALL, and `count` if nothing was
/// taken. `*abandoned`, unless it is NULL, has a bit for each taken mutex whose last owner did not unlock it.
///
/// Threads, fork: as tenure_wait.
///
/// Returns TENURE_OK, or TENURE_ABANDONED if there is any such mutex. Otherwise nothing was taken: TENURE_ERR_INTERRUPTED,
/// and as tenure_wait_any and tenure_wait_all.
///
/// # Safety
///
/// `objects` is NULL or readable for `count` pointers, `index` and `abandoned` are NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_wait_with(
    objects: *const *mut tenure_object,
    count: usize,
    flags: u32,
    time: u64,
    index: *mut usize,
    abandoned: *mut u64,
) -> c_int {
    guard_status(|| {
        // SAFETY: the caller's promise.
        unsafe {
            tell(index, count);
            tell(abandoned, 0);
        }
        let options = options_of(TENURE_ALL, flags, time)?;
        let (at, bits) = if flags & TENURE_ALL != 0 {
            // SAFETY: the caller's promise.
            let which = unsafe { with_all(objects, count, |all| tenure::sync::wait_all(all, options)) }?;
            (0, which.iter().fold(0, |bits, index| bits | 1_u64 << index))
        } else {
            // SAFETY: the caller's promise.
            let woken = unsafe { with_all(objects, count, |all| tenure::sync::wait_any(all, options)) }?;
            (woken.index, u64::from(woken.abandoned) << woken.index)
        };
        // SAFETY: the caller's promise.
        unsafe {
            tell(index, at);
            tell(abandoned, bits);
        }
        Ok(taken(bits != 0))
    })
}
