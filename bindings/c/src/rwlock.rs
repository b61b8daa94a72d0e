//! Read-write locks.

use std::ffi::{c_char, c_int};

use tenure::{
    error::WaitError,
    sync::{RwLock, WaitOptions},
};

use crate::abi::{tenure_member, tenure_object};
use crate::error::Failure;
use crate::guard::{guard, guard_status, tell};
use crate::object::{Any, Thing, Ways, create, object, usable};
use crate::waiting::{options_of, taken, time};

impl Thing {
    pub(crate) fn rwlock(&self) -> Result<&RwLock, Failure> {
        if let Any::RwLock(lock) = &self.any { Ok(lock) } else { Err(self.wrong("read-write lock")) }
    }
}

/// Creates a read-write lock: any number of readers, or one writer, between threads of any processes. A reader that dies keeps no
/// writer waiting. It takes 64 bytes of scratch memory for each member of the geometry. `name` is NULL for none; `flags` is 0 or
/// TENURE_OR_OPEN.
///
/// Threads, fork, results: as tenure_mutex_create.
///
/// # Safety
///
/// `name` is NULL or a string, `object` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_rwlock_create(
    member: *const tenure_member,
    name: *const c_char,
    flags: u32,
    object: *mut *mut tenure_object,
) -> c_int {
    let ways = Ways {
        create: &|place| RwLock::create(place),
        create_or_open: &|member, name| RwLock::create_or_open(member, name),
    };
    // SAFETY: the caller's promise.
    unsafe { create(member, name, (flags, 0), object, ways, Any::RwLock) }
}

/// Locks a read-write lock for reading: without a system call when no writer has it or waits for it. `timeout` is as in
/// tenure_mutex_lock. To be unlocked by tenure_rwlock_unlock_read, in any thread of this member; a member that dies, leaves, or closes the
/// lock, has it for reading no more.
///
/// Threads: any. Fork: TENURE_ERR_FORKED in a child of the member's process.
///
/// Returns TENURE_OK, or TENURE_ABANDONED: locked as well, but the last writer died or left without unlocking; each reader is told, until
/// a writer was. TENURE_ERR_TIMEOUT; TENURE_ERR_DEADLOCK when this thread has it for writing.
#[unsafe(no_mangle)]
pub extern "C" fn tenure_rwlock_read(object: *const tenure_object, timeout: u64) -> c_int {
    guard_status(|| Ok(taken(self::object(object)?.rwlock()?.acquire_read(time(timeout))?)))
}

/// Locks with the options of tenure_wait_with.
///
/// # Safety
///
/// `locked` is null or writable.
unsafe fn lock_with(
    object: *const tenure_object,
    (flags, time): (u32, u64),
    locked: *mut c_int,
    lock: impl FnOnce(&RwLock, WaitOptions) -> Result<bool, WaitError>,
) -> c_int {
    guard_status(|| {
        // SAFETY: the caller's promise.
        unsafe { tell(locked, 0) };
        let is_abandoned = lock(self::object(object)?.rwlock()?, options_of(0, flags, time)?)?;
        // SAFETY: the caller's promise.
        unsafe { tell(locked, if is_abandoned { 2 } else { 1 }) };
        Ok(taken(is_abandoned))
    })
}

/// As tenure_rwlock_read. `flags` is 0, or a sum of TENURE_INTERRUPTIBLE and TENURE_DEADLINE; `time` is a timeout, or a deadline: see
/// tenure_wait_with. `*locked`, unless it is NULL, is 1 if it was locked, 2 if it was and the result is TENURE_ABANDONED, otherwise 0. Threads, fork: as there.
///
/// # Safety
///
/// `locked` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_rwlock_read_with(
    object: *const tenure_object,
    flags: u32,
    time: u64,
    locked: *mut c_int,
) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { lock_with(object, (flags, time), locked, |lock, options| lock.acquire_read(options)) }
}

/// As tenure_rwlock_write, with the arguments of tenure_rwlock_read_with. Threads, fork: as there.
///
/// # Safety
///
/// `locked` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_rwlock_write_with(
    object: *const tenure_object,
    flags: u32,
    time: u64,
    locked: *mut c_int,
) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { lock_with(object, (flags, time), locked, |lock, options| lock.acquire_write(options)) }
}

/// Unlocks a read-write lock for reading once. Threads: any; TENURE_ERR_NOT_OWNER when no thread of this member has it for reading. Fork:
/// TENURE_ERR_FORKED in a child of the member's process.
#[unsafe(no_mangle)]
pub extern "C" fn tenure_rwlock_unlock_read(object: *const tenure_object) -> c_int {
    guard(|| Ok(self::object(object)?.rwlock()?.unlock_read()?))
}

/// Locks a read-write lock for writing. From the moment that it has claimed the lock, readers that come wait for this writer; it waits for those that
/// were before it. `timeout`, threads, fork: as tenure_mutex_lock, also what becomes of the lock when its owner ends.
///
/// Returns TENURE_OK, or TENURE_ABANDONED: locked as well, but the last writer died or left without unlocking; one writer is told.
/// TENURE_ERR_TIMEOUT; TENURE_ERR_DEADLOCK when this thread has it for writing. A thread that has it for reading waits for itself.
#[unsafe(no_mangle)]
pub extern "C" fn tenure_rwlock_write(object: *const tenure_object, timeout: u64) -> c_int {
    guard_status(|| Ok(taken(self::object(object)?.rwlock()?.acquire_write(time(timeout))?)))
}

/// Unlocks a read-write lock for writing. Threads: the writer; any other thread gets TENURE_ERR_NOT_OWNER. Fork: TENURE_ERR_FORKED in a
/// child of the member's process.
#[unsafe(no_mangle)]
pub extern "C" fn tenure_rwlock_unlock_write(object: *const tenure_object) -> c_int {
    guard(|| Ok(self::object(object)?.rwlock()?.unlock_write()?))
}

/// Unlocks a read-write lock for writing as one whose writer died: readers and the next writer get TENURE_ABANDONED. For a writer that leaves
/// the protected data inconsistent. Threads, fork: as tenure_rwlock_unlock_write.
#[unsafe(no_mangle)]
pub extern "C" fn tenure_rwlock_abandon(object: *const tenure_object) -> c_int {
    guard(|| Ok(usable(object)?.rwlock()?.abandon()?))
}
