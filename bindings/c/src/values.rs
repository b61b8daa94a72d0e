//! Locked, versioned and shared values: data that changes, and what protects it, in one object.

use std::ffi::{c_char, c_int, c_void};
use std::{mem, ptr, slice};

use tenure::{
    Key, Kind,
    error::OpenHandleError,
    sync::{Initial, Locked, LockedGuard, Shared, Versioned},
};

use crate::abi::{tenure_member, tenure_object};
use crate::error::{Failure, fail, tenure_status};
use crate::guard::{bytes, guard, guard_out, guard_out_status, null, tell};
use crate::handle::token;
use crate::object::{Any, Thing, Ways, create, hand_out, joined, object, usable};
use crate::space::text_of;
use crate::waiting::options_of;

impl Thing {
    #[inline(always)]
    fn locked(&self) -> Result<&Locked<[u8]>, Failure> {
        if let Any::Locked(locked) = &self.any { Ok(locked) } else { Err(self.wrong("locked value")) }
    }

    fn versioned(&self) -> Result<&Versioned<[u8]>, Failure> {
        if let Any::Versioned(value) = &self.any { Ok(value) } else { Err(self.wrong("versioned value")) }
    }
}

/// The initial bytes; null stands for zeros.
///
/// # Safety
///
/// `data` is null or readable for `size` bytes.
unsafe fn initial<'a>(data: *const c_void, size: usize) -> Initial<'a> {
    // That many bytes are too many as zeros, too.
    if data.is_null() || isize::try_from(size).is_err() {
        return Initial::Zeros(size);
    }
    // SAFETY: the caller's promise, and the check above.
    Initial::Bytes(unsafe { slice::from_raw_parts(data.cast(), size) })
}

/// Opens a value of a type by its token or name, and hands it out.
fn open<'k, T>(
    member: *const tenure_member,
    key: Key<'k>,
    r#type: u64,
    open: impl FnOnce(&tenure::Member, Kind, Key<'k>) -> Result<T, OpenHandleError>,
    any: impl FnOnce(T) -> Any,
) -> Result<*mut tenure_object, Failure> {
    let (member, kind) = (joined(member)?, Kind::from_number(r#type));
    let value = open(&member.member, kind, key)?;
    hand_out(member, any(value))
}

fn open_locked(
    member: *const tenure_member,
    key: Key<'_>,
    r#type: u64,
) -> Result<*mut tenure_object, Failure> {
    open(member, key, r#type, Locked::open_raw, Any::Locked)
}

fn open_versioned(
    member: *const tenure_member,
    key: Key<'_>,
    r#type: u64,
) -> Result<*mut tenure_object, Failure> {
    open(member, key, r#type, Versioned::open_raw, Any::Versioned)
}

fn open_shared(
    member: *const tenure_member,
    key: Key<'_>,
    r#type: u64,
) -> Result<*mut tenure_object, Failure> {
    open(member, key, r#type, Shared::open_raw, Any::Shared)
}

/// Creates a value with the lock that protects it: `size` bytes, a copy of those at `data`, or zeros if that is NULL.
/// They are aligned to 16 bytes, and have no other owner than the object: neither outlives the other. `type` is a number
/// of the application's choice; only who knows it opens the value. (Rust's number of a type T is
/// `Kind::of_plain::<T>().number()`.) `name` is NULL for none; `flags` is 0 or TENURE_OR_OPEN.
///
/// If the owner of the lock dies in the middle of a change, the value is damaged: every next owner is told so, until one
/// calls tenure_locked_repaired.
///
/// Threads: any. Fork: TENURE_ERR_FORKED in a child of the member's process.
///
/// Returns TENURE_OK, or TENURE_OPENED, and `*object`, to be given back by tenure_object_close; otherwise nothing was
/// created and `*object` is NULL. One that was opened has the size that it was created with: see tenure_value_size.
/// TENURE_ERR_NAME_TAKEN; TENURE_ERR_FOREIGN_KIND when an object of another kind or type has the name.
///
/// # Safety
///
/// `name` is NULL or a string, `data` is NULL or readable for `size` bytes, `object` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_locked_create(
    member: *const tenure_member,
    name: *const c_char,
    flags: u32,
    r#type: u64,
    data: *const c_void,
    size: usize,
    object: *mut *mut tenure_object,
) -> c_int {
    // SAFETY: the caller's promise.
    let (kind, initial) = (Kind::from_number(r#type), unsafe { initial(data, size) });
    let ways = Ways {
        create: &|place| Locked::create_raw(place, kind, initial),
        create_or_open: &|member, name| Locked::create_or_open_raw(member, name, kind, initial),
    };
    // SAFETY: the caller's promise.
    unsafe { create(member, name, (flags, 0), object, ways, Any::Locked) }
}

/// Opens a locked value by its token: afterwards this member holds it once more. `type` is that of its creation.
///
/// Threads, fork, results: as tenure_object_open; TENURE_ERR_FOREIGN_KIND also for one of another type.
///
/// # Safety
///
/// `object` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_locked_open(
    member: *const tenure_member,
    r#type: u64,
    token: u64,
    object: *mut *mut tenure_object,
) -> c_int {
    let call = || open_locked(member, Key::Token(self::token(token)?), r#type);
    // SAFETY: the caller's promise.
    unsafe { guard_out(object, "object", ptr::null_mut(), call) }
}

/// As tenure_locked_open, by name: TENURE_ERR_NOT_FOUND when the name is not in use. Threads, fork: as there.
///
/// # Safety
///
/// `name` is NULL or a string, `object` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_locked_open_named(
    member: *const tenure_member,
    r#type: u64,
    name: *const c_char,
    object: *mut *mut tenure_object,
) -> c_int {
    // SAFETY: the caller's promise.
    let call = || open_locked(member, Key::Name(unsafe { text_of(name) }?), r#type);
    // SAFETY: the caller's promise.
    unsafe { guard_out(object, "object", ptr::null_mut(), call) }
}

/// Locks a value, as tenure_mutex_lock, and tells where it is: `*data` may be read and written until this thread calls
/// tenure_locked_unlock; after that, and in other threads, it may not. A member that only reads does not write it.
/// `flags` is 0, or a sum of TENURE_INTERRUPTIBLE and TENURE_DEADLINE; `time` is a timeout, or a deadline: see
/// tenure_wait_with.
///
/// Threads: any. Fork: TENURE_ERR_FORKED in a child of the member's process.
///
/// Progress: without a system call when it is free; waits for the owner otherwise. Crash: an owner that is killed at any
/// instruction leaves the value damaged, or has not locked yet, or has unlocked already.
///
/// Returns TENURE_OK, or TENURE_DAMAGED: locked as well. Otherwise `*data` is NULL: TENURE_ERR_TIMEOUT;
/// TENURE_ERR_INTERRUPTED; TENURE_ERR_DEADLOCK when this thread has it locked already.
///
/// # Safety
///
/// `data` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_locked_lock(
    object: *const tenure_object,
    flags: u32,
    time: u64,
    data: *mut *mut c_void,
) -> c_int {
    let call = || {
        let object = self::object(object)?;
        let guard = object.locked()?.lock_with(options_of(0, flags, time)?)?;
        let is_damaged = guard.is_damaged();
        let address = guard.address();
        // `tenure_locked_unlock` makes it again.
        mem::forget(guard);
        let status = if is_damaged { tenure_status::TENURE_DAMAGED } else { tenure_status::TENURE_OK };
        Ok((address.cast(), status))
    };
    // SAFETY: the caller's promise.
    unsafe { guard_out_status(data, "data", ptr::null_mut(), call) }
}

/// Runs a call with the guard of a value that this thread has locked.
fn with_guard(
    pointer: *const tenure_object,
    call: impl FnOnce(LockedGuard<'_, [u8]>),
) -> Result<(), Failure> {
    let object = self::object(pointer)?;
    // SAFETY: `tenure_locked_lock` forgot the guard, and all calls here end or forget theirs. A call does not call back.
    call(unsafe { object.locked()?.adopt() }?);
    Ok(())
}

/// Unlocks a value. Threads: the one that locked it; any other gets TENURE_ERR_NOT_OWNER. Fork: TENURE_ERR_FORKED in a
/// child of the member's process.
#[unsafe(no_mangle)]
pub extern "C" fn tenure_locked_unlock(object: *const tenure_object) -> c_int {
    guard(|| with_guard(object, |guard| drop(guard)))
}

/// Says that a damaged value, which this thread has locked, makes sense again. If the process dies before it unlocks,
/// the value is damaged again. Threads, fork: as tenure_locked_unlock.
#[unsafe(no_mangle)]
pub extern "C" fn tenure_locked_repaired(object: *const tenure_object) -> c_int {
    guard(|| {
        with_guard(object, |mut guard| {
            guard.repaired();
            mem::forget(guard);
        })
    })
}

/// Unlocks a value and leaves it damaged: for an owner that gives up in the middle of a change. Threads, fork: as
/// tenure_locked_unlock.
#[unsafe(no_mangle)]
pub extern "C" fn tenure_locked_abandon(object: *const tenure_object) -> c_int {
    guard(|| with_guard(object, |guard| guard.abandon()))
}

/// Creates a value that is read and replaced as a whole: `size` bytes, a copy of those at `data`, or zeros if that is
/// NULL. Every read returns one whole value, whatever becomes of the writers: it lies in two copies, of which writers
/// write the one that is not read.
///
/// Everything else as tenure_locked_create.
///
/// # Safety
///
/// As tenure_locked_create.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_versioned_create(
    member: *const tenure_member,
    name: *const c_char,
    flags: u32,
    r#type: u64,
    data: *const c_void,
    size: usize,
    object: *mut *mut tenure_object,
) -> c_int {
    // SAFETY: the caller's promise.
    let (kind, initial) = (Kind::from_number(r#type), unsafe { initial(data, size) });
    let ways = Ways {
        create: &|place| Versioned::create_raw(place, kind, initial),
        create_or_open: &|member, name| Versioned::create_or_open_raw(member, name, kind, initial),
    };
    // SAFETY: the caller's promise.
    unsafe { create(member, name, (flags, 0), object, ways, Any::Versioned) }
}

/// Opens a versioned value by its token; see tenure_locked_open.
///
/// # Safety
///
/// `object` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_versioned_open(
    member: *const tenure_member,
    r#type: u64,
    token: u64,
    object: *mut *mut tenure_object,
) -> c_int {
    let call = || open_versioned(member, Key::Token(self::token(token)?), r#type);
    // SAFETY: the caller's promise.
    unsafe { guard_out(object, "object", ptr::null_mut(), call) }
}

/// Opens a versioned value by its name; see tenure_locked_open_named.
///
/// # Safety
///
/// `name` is NULL or a string, `object` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_versioned_open_named(
    member: *const tenure_member,
    r#type: u64,
    name: *const c_char,
    object: *mut *mut tenure_object,
) -> c_int {
    // SAFETY: the caller's promise.
    let call = || open_versioned(member, Key::Name(unsafe { text_of(name) }?), r#type);
    // SAFETY: the caller's promise.
    unsafe { guard_out(object, "object", ptr::null_mut(), call) }
}

fn same_size(value: &Versioned<[u8]>, size: usize, status: tenure_status) -> Result<(), Failure> {
    if size == value.len() {
        return Ok(());
    }
    Err(fail(status, format_args!("size: expected {}, found {size}", value.len())))
}

/// Reads the value into `buffer`, which has exactly its size: one that some writer has written, whole, and never an older
/// one than this thread has read or written before. `*version`, unless it is NULL, is its version: the number of writes
/// until then.
///
/// Threads: any. Fork: TENURE_ERR_FORKED in a child of the member's process.
///
/// Progress: waits for nobody; it repeats only when a writer has finished meanwhile. TENURE_ERR_BUFFER for a buffer of
/// another size, in which nothing is stored: see tenure_value_size.
///
/// # Safety
///
/// `buffer` is NULL or writable for `size` bytes, `version` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_versioned_read(
    object: *const tenure_object,
    buffer: *mut c_void,
    size: usize,
    version: *mut u64,
) -> c_int {
    guard(|| {
        let object = usable(object)?;
        let value = object.versioned()?;
        same_size(value, size, tenure_status::TENURE_ERR_BUFFER)?;
        if buffer.is_null() && size != 0 {
            return Err(null("buffer"));
        }
        // SAFETY: the caller's promise. The read stores every byte and loads none.
        let into = unsafe {
            slice::from_raw_parts_mut(if size == 0 { ptr::dangling_mut() } else { buffer.cast::<u8>() }, size)
        };
        let found = value.read_into(into)?;
        // SAFETY: the caller's promise.
        unsafe { tell(version, found) };
        Ok(())
    })
}

/// Replaces the value by the `size` bytes at `data`, exactly as many as it has. `*version`, unless it is NULL, is the
/// version of what was written.
///
/// Threads: any. Fork: TENURE_ERR_FORKED in a child of the member's process.
///
/// Progress: waits for other writers, as tenure_mutex_lock with TENURE_FOREVER does for the owner. Crash: a writer that is
/// killed at any instruction has written nothing or everything. TENURE_ERR_ARGUMENT for another size;
/// TENURE_ERR_READ_ONLY for a member that only reads.
///
/// # Safety
///
/// `data` is NULL or readable for `size` bytes, `version` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_versioned_write(
    object: *const tenure_object,
    data: *const c_void,
    size: usize,
    version: *mut u64,
) -> c_int {
    guard(|| {
        let object = usable(object)?;
        let value = object.versioned()?;
        same_size(value, size, tenure_status::TENURE_ERR_ARGUMENT)?;
        // SAFETY: the caller's promise.
        let written = value.write_from(unsafe { bytes(data.cast(), size, "data") }?)?;
        // SAFETY: the caller's promise.
        unsafe { tell(version, written) };
        Ok(())
    })
}

/// The version of a versioned value: the number of writes until now. Threads: any. Fork: TENURE_ERR_FORKED in a child of
/// the member's process.
///
/// # Safety
///
/// `version` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_versioned_version(object: *const tenure_object, version: *mut u64) -> c_int {
    let call = || Ok(usable(object)?.versioned()?.version()?);
    // SAFETY: the caller's promise.
    unsafe { guard_out(version, "version", 0, call) }
}

/// Creates a value that all who have it open change at any time, by atomic operations only: `size` zeros, aligned to
/// `align`, a power of two, or to 16 if it is 0.
///
/// In Rust it is a `Shared<[AtomicU8]>`. Everything else as tenure_locked_create; TENURE_ERR_ARGUMENT for an impossible alignment; TENURE_ERR_READ_ONLY for a
/// member that only reads, which neither creates nor opens one.
///
/// # Safety
///
/// `name` is NULL or a string, `object` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_shared_create(
    member: *const tenure_member,
    name: *const c_char,
    flags: u32,
    r#type: u64,
    size: usize,
    align: usize,
    object: *mut *mut tenure_object,
) -> c_int {
    let kind = Kind::from_number(r#type);
    let layout = match crate::scratch::layout_of(size, align) {
        Ok(layout) => layout,
        // SAFETY: the caller's promise.
        Err(failure) => return unsafe { guard_out(object, "object", ptr::null_mut(), || Err(failure)) },
    };
    let ways = Ways {
        create: &|place| Shared::create_raw(place, kind, layout),
        create_or_open: &|member, name| Shared::create_or_open_raw(member, name, kind, layout),
    };
    // SAFETY: the caller's promise.
    unsafe { create(member, name, (flags, 0), object, ways, Any::Shared) }
}

/// Opens a shared value by its token; see tenure_locked_open.
///
/// # Safety
///
/// `object` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_shared_open(
    member: *const tenure_member,
    r#type: u64,
    token: u64,
    object: *mut *mut tenure_object,
) -> c_int {
    let call = || open_shared(member, Key::Token(self::token(token)?), r#type);
    // SAFETY: the caller's promise.
    unsafe { guard_out(object, "object", ptr::null_mut(), call) }
}

/// Opens a shared value by its name; see tenure_locked_open_named.
///
/// # Safety
///
/// `name` is NULL or a string, `object` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_shared_open_named(
    member: *const tenure_member,
    r#type: u64,
    name: *const c_char,
    object: *mut *mut tenure_object,
) -> c_int {
    // SAFETY: the caller's promise.
    let call = || open_shared(member, Key::Name(unsafe { text_of(name) }?), r#type);
    // SAFETY: the caller's promise.
    unsafe { guard_out(object, "object", ptr::null_mut(), call) }
}

/// Where a shared value is, until this object of it is closed: for atomic operations only, by any thread of this process.
/// Threads: any. Fork: TENURE_ERR_FORKED in a child of the member's process, where it is not mapped.
///
/// # Safety
///
/// `data` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_shared_data(object: *const tenure_object, data: *mut *mut c_void) -> c_int {
    let call = || {
        let object = usable(object)?;
        let Any::Shared(shared) = &object.any else { return Err(object.wrong("shared value")) };
        Ok(shared.get()?.as_ptr().cast_mut().cast())
    };
    // SAFETY: the caller's promise.
    unsafe { guard_out(data, "data", ptr::null_mut(), call) }
}

/// The size in bytes of a locked, versioned or shared value, which never changes. Threads: any. Fork: TENURE_ERR_FORKED in a child
/// of the member's process.
///
/// # Safety
///
/// `size` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_value_size(object: *const tenure_object, size: *mut usize) -> c_int {
    let call = || {
        let object = usable(object)?;
        match &object.any {
            Any::Locked(locked) => Ok(locked.len()),
            Any::Versioned(versioned) => Ok(versioned.len()),
            Any::Shared(shared) => Ok(shared.len()),
            _ => Err(object.wrong("value")),
        }
    };
    // SAFETY: the caller's promise.
    unsafe { guard_out(size, "size", 0, call) }
}
