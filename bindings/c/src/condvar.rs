//! Condition variables.

use std::ffi::{c_char, c_int};
use std::mem;

use tenure::sync::{Condvar, LockGuard, WaitEnd};

use crate::abi::{tenure_member, tenure_object};
use crate::error::{Failure, tenure_status};
use crate::guard::{guard, guard_status};
use crate::object::{Any, Thing, Ways, create, object};
use crate::waiting::{options_of, taken};

impl Thing {
    pub(crate) fn condvar(&self) -> Result<&Condvar, Failure> {
        if let Any::Condvar(condvar) = &self.any {
            Ok(condvar)
        } else {
            Err(self.wrong("condition variable"))
        }
    }
}

/// Creates a condition variable: to wait, with a mutex or a locked value, for what another thread of any process will change under that
/// lock. `name` is NULL for none; `flags` is 0 or TENURE_OR_OPEN.
///
/// Threads, fork, results: as tenure_mutex_create.
///
/// # Safety
///
/// `name` is NULL or a string, `object` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_condvar_create(
    member: *const tenure_member,
    name: *const c_char,
    flags: u32,
    object: *mut *mut tenure_object,
) -> c_int {
    let ways = Ways {
        create: &|place| Condvar::create(place),
        create_or_open: &|member, name| Condvar::create_or_open(member, name),
    };
    // SAFETY: the caller's promise.
    unsafe { create(member, name, (flags, 0), object, ways, Any::Condvar) }
}

/// Gives up `lock`, a mutex or a locked value that this thread has locked, sleeps until somebody notifies, and locks it again, however long
/// that takes. It may also return without a notification: look again at what you wait for. `flags` are TENURE_INTERRUPTIBLE and
/// TENURE_DEADLINE; `time` is the limit of the sleep, as in tenure_wait_with. A pointer into a locked value is the same as before.
///
/// When a process dies that has the condition variable open, all that wait return, since it may have changed something and notified nobody.
///
/// Threads: the one that has the lock. Fork: TENURE_ERR_FORKED in a child of the member's process.
///
/// Returns with the lock locked: TENURE_OK; TENURE_ABANDONED, of a mutex whose last owner died or left without unlocking it, and TENURE_DAMAGED, of a
/// value that is damaged, both also after the time; TENURE_ERR_TIMEOUT; TENURE_ERR_INTERRUPTED. Returns with the lock given up once:
/// TENURE_ERR_DEADLOCK when this thread has locked the recursive mutex more than once; TENURE_ERR_OS when the system does not let it sleep. Changes nothing:
/// TENURE_ERR_NOT_OWNER when this thread does not have the lock; TENURE_ERR_FOREIGN_KIND when `lock` is none; TENURE_ERR_ARGUMENT.
#[unsafe(no_mangle)]
pub extern "C" fn tenure_condvar_wait(
    object: *const tenure_object,
    lock: *const tenure_object,
    flags: u32,
    time: u64,
) -> c_int {
    guard_status(|| {
        let options = options_of(0, flags, time)?;
        let (object, lock) = (self::object(object)?, self::object(lock)?);
        let condvar = object.condvar()?;
        let (status, end) = match &lock.any {
            Any::Mutex(mutex) => wait(condvar, mutex.adopt()?, options, |guard| taken(guard.abandoned()))?,
            Any::Locked(locked) => {
                // SAFETY: `tenure_locked_lock` forgot the guard, and all calls here end or forget theirs. A wait does not call back.
                let guard = unsafe { locked.adopt() }?;
                let damaged = |is| if is { tenure_status::TENURE_DAMAGED } else { tenure_status::TENURE_OK };
                wait(condvar, guard, options, |guard| damaged(guard.is_damaged()))?
            }
            _ => return Err(lock.wrong("mutex or locked value")),
        };
        Ok(match end {
            _ if status != tenure_status::TENURE_OK => status,
            WaitEnd::Notified => tenure_status::TENURE_OK,
            WaitEnd::TimedOut => tenure_status::TENURE_ERR_TIMEOUT,
            WaitEnd::Interrupted => tenure_status::TENURE_ERR_INTERRUPTED,
        })
    })
}

/// Waits, and forgets the guard again, which the unlock makes again. The status that the guard tells, and how the wait ended.
fn wait<G: LockGuard>(
    condvar: &Condvar,
    guard: G,
    options: tenure::sync::WaitOptions,
    tells: impl FnOnce(&G) -> tenure_status,
) -> Result<(tenure_status, WaitEnd), Failure> {
    let (guard, end) = condvar.wait_with(guard, options)?;
    let status = tells(&guard);
    mem::forget(guard);
    Ok((status, end))
}

/// Wakes all that wait with the condition variable; without waiters it makes no system call. The caller may have the lock or not; it has changed
/// before, under the lock, what they wait for. Threads: any. Fork: TENURE_ERR_FORKED in a child of the member's process.
#[unsafe(no_mangle)]
pub extern "C" fn tenure_condvar_notify(object: *const tenure_object) -> c_int {
    guard(|| Ok(self::object(object)?.condvar()?.notify_all()?))
}
