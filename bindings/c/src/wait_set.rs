//! Sets of waits, for event loops.

use std::ffi::{c_int, c_void};
use std::future::Future;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::pin::Pin as Pinned;
use std::ptr;
use std::sync::{Mutex, PoisonError};

use tenure::sync::{Available, WaitSet};

use crate::abi::{
    tenure_handle, tenure_member, tenure_object, tenure_wait_done, tenure_wait_set, tenure_what,
};
use crate::error::{Failure, fail, tenure_status};
use crate::guard::{bytes, guard, guard_out, guard_out_status, null};
use crate::handle::{NOTHING, of_handle};
use crate::member::Membership;
use crate::object::{Any, Thing, joined, object, usable};
use crate::registry::{self, Object, Pin};
use crate::space::argument;
use crate::waiting::{objects_of, taken, time};

/// What a wait has taken.
type Got = (tenure_status, u64, tenure_handle);

const GOT: Got = (tenure_status::TENURE_OK, 0, NOTHING);

type Wait = Pinned<Box<dyn Future<Output = Result<Got, Failure>> + Send>>;

/// A set, and the member that it keeps from leaving.
pub(crate) struct Waits {
    // Before the member, so that it is dropped first.
    set: Mutex<WaitSet<'static, Result<Got, Failure>>>,
    member: Pin<Membership>,
}

impl Object for Waits {
    const KIND: u64 = 5;
    const NAME: &'static str = "wait set";
}

impl Waits {
    fn with<T>(
        &self,
        call: impl FnOnce(&mut WaitSet<'static, Result<Got, Failure>>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        // In a forked child, a thread that does not exist may have the set locked.
        self.member.member.check()?;
        call(&mut self.set.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn waits(pointer: *const tenure_wait_set) -> Result<Pin<Waits>, Failure> {
    registry::pin(pointer.addr() as u64)
}

/// Makes a set of waits: for an event loop that waits for objects beside sockets and other descriptors, with poll, epoll, or what is built on
/// them.
///
/// tenure_wait_set_insert adds a wait, with a number of the caller's choice. The descriptor of tenure_wait_set_fd is readable as long as
/// tenure_wait_set_take has something to do; that gives one wait after the other that is done. A wait has taken nothing before that, and one
/// that is removed takes nothing.
///
/// Threads: any. Fork: TENURE_ERR_FORKED in a child of the member's process, also in all functions of sets.
///
/// Returns TENURE_OK and `*set`, to be closed by tenure_wait_set_close before the member leaves; otherwise `*set` is NULL.
///
/// # Safety
///
/// `set` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_wait_set_create(
    member: *const tenure_member,
    set: *mut *mut tenure_wait_set,
) -> c_int {
    let call = || {
        let member = joined(member)?;
        let made = WaitSet::new(&member.member)
            .map_err(|error| fail(tenure_status::TENURE_ERR_OS, format_args!("wait set: {error}")))?;
        let pointer = registry::insert(Box::new(Waits { set: Mutex::new(made), member }), 0)
            .map_err(|(failure, _)| failure)?;
        Ok(ptr::without_provenance_mut(pointer as usize))
    };
    // SAFETY: the caller's promise.
    unsafe { guard_out(set, "set", ptr::null_mut(), call) }
}

/// Closes a set and its descriptor; its waits have taken nothing. Threads: any; TENURE_ERR_IN_USE while another call uses it. Fork: works in
/// a child, and changes nothing of the parent.
#[unsafe(no_mangle)]
pub extern "C" fn tenure_wait_set_close(set: *mut tenure_wait_set) -> c_int {
    guard(|| {
        drop(registry::take::<Waits>(set.addr() as u64)?.free());
        Ok(())
    })
}

/// The descriptor of a set, readable as long as tenure_wait_set_take has something to do. It is the set's: the caller neither reads nor
/// closes it. Threads: any.
///
/// # Safety
///
/// `fd` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_wait_set_fd(set: *const tenure_wait_set, fd: *mut c_int) -> c_int {
    let call = || waits(set)?.with(|set| Ok(set.as_fd().as_raw_fd()));
    // SAFETY: the caller's promise.
    unsafe { guard_out(fd, "fd", -1, call) }
}

/// Adds a wait for an object to a set; `what` is a tenure_what. `tag` is any number; a wait that has the same tag in the set is removed. The object must be of the
/// set's member or of another one that this process is, and cannot be closed while the wait is in the set: TENURE_ERR_IN_USE.
///
/// A lock that a wait takes belongs to no thread: it is unlocked by any thread, by tenure_mutex_unlock_task, tenure_rwlock_unlock_read or
/// tenure_rwlock_unlock_write_task. A wait for a lock that this process has waits until it is unlocked: there is no TENURE_ERR_DEADLOCK.
///
/// Threads: any.
///
/// Returns TENURE_OK; TENURE_ERR_FOREIGN_KIND when the object is not of a kind for `what`; TENURE_ERR_ARGUMENT.
#[unsafe(no_mangle)]
pub extern "C" fn tenure_wait_set_insert(
    set: *const tenure_wait_set,
    object: *const tenure_object,
    what: u32,
    tag: u64,
) -> c_int {
    guard(|| {
        let (set, wait) = (waits(set)?, wait_for(usable(object)?, what)?);
        set.with(|set| {
            set.insert(tag, wait);
            Ok(())
        })
    })
}

/// Adds a push to a set: it waits until the queue has room, and pushes a new handle with a copy of the `size` bytes at `data`, which is made now. Otherwise
/// as tenure_wait_set_insert. Threads: any.
///
/// # Safety
///
/// `data` is readable for `size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_wait_set_insert_push(
    set: *const tenure_wait_set,
    queue: *const tenure_object,
    data: *const c_void,
    size: usize,
    tag: u64,
) -> c_int {
    guard(|| {
        // SAFETY: the caller's promise.
        let bytes = unsafe { bytes(data.cast(), size, "data") }?.to_vec();
        let (set, object) = (waits(set)?, usable(queue)?);
        object.queue()?;
        set.with(|set| {
            set.insert(tag, async move {
                object.queue()?.queue.push_async(&bytes).await?;
                Ok(GOT)
            });
            Ok(())
        })
    })
}

/// Adds a wait with a condition variable to a set: it begins in the next tenure_wait_set_take, gives up the mutex, which was taken by a set, waits until
/// somebody notifies, and takes the mutex again. Until then the mutex is the set's, so the caller changes nothing that it protects; a
/// wait that is removed leaves the mutex locked if it has not begun, and unlocked if it has. Otherwise as tenure_wait_set_insert; TENURE_ERR_NOT_OWNER when no
/// set of this process has the mutex. Threads: any.
#[unsafe(no_mangle)]
pub extern "C" fn tenure_wait_set_insert_condvar(
    set: *const tenure_wait_set,
    condvar: *const tenure_object,
    mutex: *const tenure_object,
    tag: u64,
) -> c_int {
    guard(|| {
        let (set, condvar, mutex) = (waits(set)?, usable(condvar)?, usable(mutex)?);
        condvar.condvar()?;
        mem::forget(mutex.mutex()?.adopt_task()?);
        set.with(|set| {
            set.insert(tag, async move {
                let guard = condvar.condvar()?.wait_async(mutex.mutex()?.adopt_task()?).await?;
                let abandoned = guard.abandoned();
                Ok(locked(guard, abandoned))
            });
            Ok(())
        })
    })
}

/// Removes a wait from a set: it has taken nothing, and takes nothing. TENURE_ERR_NOT_FOUND when the set has none with that tag: it was
/// given to a caller already. Threads: any.
#[unsafe(no_mangle)]
pub extern "C" fn tenure_wait_set_remove(set: *const tenure_wait_set, tag: u64) -> c_int {
    guard(|| {
        let is_removed = waits(set)?.with(|set| Ok(set.remove(tag)))?;
        if is_removed {
            return Ok(());
        }
        Err(fail(
            tenure_status::TENURE_ERR_NOT_FOUND,
            format_args!("tag: expected that of a wait in the set, found {tag}"),
        ))
    })
}

/// Takes a wait that is done out of a set: `*done` says which it is, and what it has taken. Does not wait. Threads: any.
///
/// Returns TENURE_OK; TENURE_END and a `*done` of zeros when no wait is done. The result of the wait itself is in `done->status`; when that is an error,
/// tenure_last_error tells it.
///
/// # Safety
///
/// `done` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_wait_set_take(
    set: *const tenure_wait_set,
    done: *mut tenure_wait_done,
) -> c_int {
    let of = |tag, status, (_, permit, handle): Got| tenure_wait_done { tag, status, permit, handle };
    let nothing = of(0, 0, GOT);
    let call = || {
        Ok(match waits(set)?.with(|set| Ok(set.take()?))? {
            Some((tag, Ok(got))) => (of(tag, got.0 as c_int, got), tenure_status::TENURE_OK),
            Some((tag, Err(failure))) => (of(tag, failure.0, GOT), tenure_status::TENURE_OK),
            None => (nothing, tenure_status::TENURE_END),
        })
    };
    // SAFETY: the caller's promise.
    unsafe { guard_out_status(done, "done", nothing, call) }
}

/// What a wait has that has taken a lock: its guard is forgotten, and made again by whoever unlocks it.
fn locked<G>(guard: G, abandoned: bool) -> Got {
    mem::forget(guard);
    (taken(abandoned), 0, NOTHING)
}

/// The wait for an object. What it takes is the caller's when it is done.
fn wait_for(thing: Pin<Thing>, what: u32) -> Result<Wait, Failure> {
    use tenure_what::{
        TENURE_WHAT_CLAIM, TENURE_WHAT_OBJECT, TENURE_WHAT_PERMIT, TENURE_WHAT_POP, TENURE_WHAT_READ,
        TENURE_WHAT_WRITE,
    };
    const OBJECT: u32 = TENURE_WHAT_OBJECT as u32;
    const READ: u32 = TENURE_WHAT_READ as u32;
    const WRITE: u32 = TENURE_WHAT_WRITE as u32;
    const POP: u32 = TENURE_WHAT_POP as u32;
    const CLAIM: u32 = TENURE_WHAT_CLAIM as u32;
    const PERMIT: u32 = TENURE_WHAT_PERMIT as u32;
    Ok(match what {
        OBJECT => {
            // A queue is waited for by a pop or a claim, which takes an element.
            if let Any::Queue(_) = &thing.any {
                return Err(thing.wrong("object that can be waited for"));
            }
            thing.waitable()?;
            Box::pin(async move {
                Ok(match &thing.any {
                    Any::Mutex(mutex) => {
                        let guard = mutex.lock_async().await?;
                        let abandoned = guard.abandoned();
                        locked(guard, abandoned)
                    }
                    Any::Event(event) => event.wait_async().await.map(|()| GOT)?,
                    Any::Semaphore(semaphore) => semaphore.acquire_async().await.map(|()| GOT)?,
                    Any::Process(process) => process.wait_async().await.map(|_| GOT)?,
                    Any::Thread(thread) => thread.wait_async().await.map(|_| GOT)?,
                    _ => return Err(thing.wrong("object that can be waited for")),
                })
            })
        }
        READ => {
            thing.rwlock()?;
            Box::pin(async move {
                let guard = thing.rwlock()?.read_async().await?;
                let abandoned = guard.abandoned();
                Ok(locked(guard, abandoned))
            })
        }
        WRITE => {
            thing.rwlock()?;
            Box::pin(async move {
                let guard = thing.rwlock()?.write_async().await?;
                let abandoned = guard.abandoned();
                Ok(locked(guard, abandoned))
            })
        }
        POP => {
            thing.queue()?;
            Box::pin(async move {
                let popped = thing.queue()?.queue.pop_async().await?;
                let handle = of_handle(&popped)?;
                // The count is the caller's from now on.
                let _ = popped.into_raw();
                Ok((tenure_status::TENURE_OK, 0, handle))
            })
        }
        CLAIM => {
            thing.queue()?;
            Box::pin(async move {
                let lent = thing.queue()?;
                let claim = lent.queue.claim_async().await?;
                // If it fails, the drop of the claim gives the element back.
                let handle = of_handle(&claim)?;
                lent.keep(handle.token, claim);
                Ok((tenure_status::TENURE_OK, 0, handle))
            })
        }
        PERMIT => {
            thing.permits()?;
            Box::pin(async move {
                let permit = thing.permits()?.acquire_async().await?;
                Ok((tenure_status::TENURE_OK, permit.into_number(), NOTHING))
            })
        }
        _ => return Err(argument("what", format_args!("0 to {PERMIT}"), what)),
    })
}

/// Unlocks a mutex that a set of this process has taken. Threads: any; TENURE_ERR_NOT_OWNER when none has. Fork: TENURE_ERR_FORKED in a child
/// of the member's process.
#[unsafe(no_mangle)]
pub extern "C" fn tenure_mutex_unlock_task(mutex: *const tenure_object) -> c_int {
    guard(|| {
        drop(object(mutex)?.mutex()?.adopt_task()?);
        Ok(())
    })
}

/// As tenure_mutex_unlock_task; the next owner gets TENURE_ABANDONED, as of tenure_mutex_abandon. Threads, fork: as there.
#[unsafe(no_mangle)]
pub extern "C" fn tenure_mutex_abandon_task(mutex: *const tenure_object) -> c_int {
    guard(|| Ok(object(mutex)?.mutex()?.adopt_task()?.abandon()?))
}

/// Unlocks a read-write lock that a set of this process has taken for writing. Threads: any; TENURE_ERR_NOT_OWNER when none has. Fork:
/// TENURE_ERR_FORKED in a child of the member's process.
#[unsafe(no_mangle)]
pub extern "C" fn tenure_rwlock_unlock_write_task(rwlock: *const tenure_object) -> c_int {
    guard(|| {
        drop(object(rwlock)?.rwlock()?.adopt_write_task()?);
        Ok(())
    })
}

/// As tenure_rwlock_unlock_write_task; others get TENURE_ABANDONED, as of tenure_rwlock_abandon. Threads, fork: as there.
#[unsafe(no_mangle)]
pub extern "C" fn tenure_rwlock_abandon_task(rwlock: *const tenure_object) -> c_int {
    guard(|| Ok(object(rwlock)?.rwlock()?.adopt_write_task()?.abandon()?))
}

/// As tenure_wait_any, of `count` objects, which may be 0, or until one of `fd_count` descriptors can be read without waiting, has hung up or has
/// failed: then `*index` is `count` and its place in `fds`, and nothing was read. If several of all these are, it takes the first object. For a wait now and then; an
/// event loop keeps a wait set.
///
/// Threads, fork, results: as tenure_wait_any.
///
/// # Safety
///
/// `objects` is NULL, with a `count` of 0, or readable for `count` pointers; `fds` likewise for `fd_count` open descriptors, which stay open
/// until the call returns; `index` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_wait_any_or_fd(
    objects: *const *mut tenure_object,
    count: usize,
    fds: *const c_int,
    fd_count: usize,
    timeout: u64,
    index: *mut usize,
) -> c_int {
    let call = || {
        // SAFETY: the caller's promise.
        let pins = if count == 0 { Vec::new() } else { unsafe { objects_of(objects, count) }? };
        let all = pins.iter().map(|pin| pin.waitable()).collect::<Result<Vec<_>, _>>()?;
        let fds = match fd_count {
            0 => &[][..],
            _ if fds.is_null() => return Err(null("fds")),
            _ if fd_count > 1 << 20 => {
                return Err(argument("fd_count", "at most 2^20", fd_count));
            }
            // SAFETY: the caller's promise.
            _ => unsafe { std::slice::from_raw_parts(fds, fd_count) },
        };
        if let Some(wrong) = fds.iter().find(|fd| **fd < 0) {
            return Err(argument("fds", "open descriptors", wrong));
        }
        // SAFETY: open until the call returns, the caller's promise; not -1.
        let fds: Vec<BorrowedFd<'_>> = fds.iter().map(|fd| unsafe { BorrowedFd::borrow_raw(*fd) }).collect();
        Ok(match tenure::sync::wait_any_or_fd(&all, &fds, time(timeout))? {
            Available::Object(woken) => (woken.index, taken(woken.abandoned)),
            Available::Descriptor(at) => (count + at, tenure_status::TENURE_OK),
        })
    };
    // SAFETY: the caller's promise.
    unsafe { guard_out_status(index, "index", 0, call) }
}
