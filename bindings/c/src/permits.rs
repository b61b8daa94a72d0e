//! Permits with owners.

use std::ffi::{c_char, c_int};

use tenure::sync::Permits;

use crate::abi::{tenure_member, tenure_object};
use crate::error::Failure;
use crate::guard::{guard, guard_out, tell};
use crate::object::{Any, Thing, Ways, create, object, usable};
use crate::waiting::options_of;

impl Thing {
    pub(crate) fn permits(&self) -> Result<&Permits, Failure> {
        if let Any::Permits(permits) = &self.any { Ok(permits) } else { Err(self.wrong("set of permits")) }
    }
}

/// Creates so many permits, 1 to 65536, which members own: a semaphore that loses none. What a member has when it dies, leaves, or closes the
/// object comes back, and wakes those that wait. Each takes 8 bytes of scratch memory. `name` is NULL for none; `flags` is 0 or
/// TENURE_OR_OPEN.
///
/// Threads, fork, results: as tenure_mutex_create; TENURE_ERR_ARGUMENT for an impossible number.
///
/// # Safety
///
/// `name` is NULL or a string, `object` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_permits_create(
    member: *const tenure_member,
    name: *const c_char,
    flags: u32,
    total: u32,
    object: *mut *mut tenure_object,
) -> c_int {
    let ways = Ways {
        create: &|place| Permits::create(place, total),
        create_or_open: &|member, name| Permits::create_or_open(member, name, total),
    };
    // SAFETY: the caller's promise.
    unsafe { create(member, name, (flags, 0), object, ways, Any::Permits) }
}

/// Acquires a permit; `*permit` is its number, to be given back by tenure_permits_give_back, in any thread of this member. `flags` are
/// TENURE_INTERRUPTIBLE and TENURE_DEADLINE; `time` is as in tenure_wait_with.
///
/// Threads: any. Fork: TENURE_ERR_FORKED in a child of the member's process.
///
/// Returns TENURE_OK; TENURE_ERR_TIMEOUT: at one moment no permit was free; TENURE_ERR_INTERRUPTED.
///
/// # Safety
///
/// `permit` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_permits_acquire(
    object: *const tenure_object,
    flags: u32,
    time: u64,
    permit: *mut u64,
) -> c_int {
    let call = || {
        let options = options_of(0, flags, time)?;
        Ok(self::object(object)?.permits()?.acquire(options)?.into_number())
    };
    // SAFETY: the caller's promise.
    unsafe { guard_out(permit, "permit", 0, call) }
}

/// Gives back a permit. Threads: any; TENURE_ERR_NOT_OWNER when this member does not have it, or not any more. Fork: TENURE_ERR_FORKED in
/// a child of the member's process.
#[unsafe(no_mangle)]
pub extern "C" fn tenure_permits_give_back(object: *const tenure_object, permit: u64) -> c_int {
    guard(|| {
        drop(self::object(object)?.permits()?.adopt(permit)?);
        Ok(())
    })
}

/// How many permits are free at the moment, and how many there are, unless `total` is NULL. Threads: any. Fork: TENURE_ERR_FORKED in a child
/// of the member's process.
///
/// # Safety
///
/// `available` and `total` are NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_permits_count(
    object: *const tenure_object,
    available: *mut u32,
    total: *mut u32,
) -> c_int {
    let call = || {
        let object = usable(object)?;
        let permits = object.permits()?;
        let now = permits.available()?;
        // SAFETY: the caller's promise.
        unsafe { tell(total, permits.total()) };
        Ok(now)
    };
    // SAFETY: the caller's promise.
    unsafe { guard_out(available, "available", 0, call) }
}
