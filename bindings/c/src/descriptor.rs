//! Descriptors that travel by token, and the tables of a file's users and their modes.

use std::ffi::{c_char, c_int};
use std::os::fd::AsRawFd;
use std::ptr;

use tenure::{
    error::ShareError,
    file::{Access, Conflict, Descriptor, FileShare, Sharing},
};

use crate::abi::{TENURE_DELETE, TENURE_READ, TENURE_WRITE, tenure_conflict, tenure_member, tenure_object};
use crate::error::Failure;
use crate::guard::{Room, guard_list, guard_out, tell};
use crate::member::lease_word;
use crate::object::{Any, Thing, Ways, create, hand_out, joined, usable};
use crate::space::{argument, duplicate};

const NOBODY: tenure_conflict = tenure_conflict { lease: 0, pid: 0, access: 0, sharing: 0, reserved: 0 };

const BITS: u32 = TENURE_READ | TENURE_WRITE | TENURE_DELETE;
const ACCESS: [(u32, Access); 3] =
    [(TENURE_READ, Access::READ), (TENURE_WRITE, Access::WRITE), (TENURE_DELETE, Access::DELETE)];
const SHARING: [(u32, Sharing); 3] =
    [(TENURE_READ, Sharing::READ), (TENURE_WRITE, Sharing::WRITE), (TENURE_DELETE, Sharing::DELETE)];

fn access(bits: u32) -> Result<Access, Failure> {
    if bits & !BITS != 0 {
        return Err(argument("access", "0 to 7", bits));
    }
    Ok(ACCESS.iter().filter(|(bit, _)| bits & bit != 0).fold(Access::NONE, |sum, (_, one)| sum | *one))
}

fn sharing(bits: u32) -> Result<Sharing, Failure> {
    if bits & !BITS != 0 {
        return Err(argument("sharing", "0 to 7", bits));
    }
    Ok(SHARING.iter().filter(|(bit, _)| bits & bit != 0).fold(Sharing::NONE, |sum, (_, one)| sum | *one))
}

fn bits_of_access(access: Access) -> u32 {
    ACCESS.iter().filter(|(_, one)| access.contains(*one)).map(|(bit, _)| bit).sum()
}

fn bits_of_sharing(sharing: Sharing) -> u32 {
    SHARING.iter().filter(|(_, one)| sharing.contains(*one)).map(|(bit, _)| bit).sum()
}

impl From<Conflict> for tenure_conflict {
    fn from(conflict: Conflict) -> Self {
        Self {
            lease: lease_word(conflict.lease),
            pid: conflict.pid,
            access: bits_of_access(conflict.access),
            sharing: bits_of_sharing(conflict.sharing),
            reserved: 0,
        }
    }
}

impl Thing {
    fn share(&self) -> Result<&FileShare, Failure> {
        if let Any::Share(entry) = &self.any { Ok(entry) } else { Err(self.wrong("file share")) }
    }
}

/// Creates an object of a file descriptor of any kind: a file, pipe, socket, memfd or eventfd. A process that opens its
/// token, or its name, gets a duplicate of it from any member that has it open. `name` is NULL for none; `flags` is 0
/// or TENURE_OR_OPEN. The object has a duplicate of `fd`, which closes on exec; `fd` itself stays the caller's.
///
/// Takes 16 bytes of scratch for every member that the space can have.
///
/// Threads: any. Fork: TENURE_ERR_FORKED in a child of the member's process.
///
/// Returns TENURE_OK and `*object`, to be given back by tenure_object_close; TENURE_OPENED when a descriptor had the
/// name and TENURE_OR_OPEN was given: it may lead to another file than `fd`. Otherwise nothing was created and
/// `*object` is NULL. TENURE_ERR_NOT_FOUND when `fd` is not open, even if the name is in use; TENURE_ERR_NAME_TAKEN;
/// TENURE_ERR_FOREIGN_KIND when an object of another kind has the name; TENURE_ERR_REFUSED when no member can give the
/// descriptor that has the name.
///
/// # Safety
///
/// `name` is NULL or a string, `object` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_descriptor_create(
    member: *const tenure_member,
    name: *const c_char,
    flags: u32,
    fd: c_int,
    object: *mut *mut tenure_object,
) -> c_int {
    let ways = Ways::<_, Failure, Failure> {
        create: &|place| Ok(Descriptor::create(place, duplicate(fd)?)?),
        create_or_open: &|member, name| Ok(Descriptor::create_or_open(member, name, duplicate(fd)?)?),
    };
    // SAFETY: the caller's promise.
    unsafe { create(member, name, (flags, 0), object, ways, Any::Descriptor) }
}

/// The file descriptor of this member. It belongs to the object and is closed with this member's last object of it:
/// duplicate it to keep it longer. Threads: any. Fork: TENURE_ERR_FORKED in a child of the member's process.
///
/// # Safety
///
/// `fd` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_descriptor_fd(object: *const tenure_object, fd: *mut c_int) -> c_int {
    let call = || {
        let object = usable(object)?;
        let Any::Descriptor(descriptor) = &object.any else { return Err(object.wrong("descriptor")) };
        Ok(descriptor.as_raw_fd())
    };
    // SAFETY: the caller's promise.
    unsafe { guard_out(fd, "fd", -1, call) }
}

/// Asks to use the file behind `fd` in the modes `access` while letting others use it in the modes `sharing`. Enters
/// both into the file's table, unless an entry there excludes them: one step, so that of two calls that exclude each
/// other exactly one enters. Both are sums of TENURE_READ, TENURE_WRITE and TENURE_DELETE. As Windows' open and share
/// modes, among the members of a space: the kernel does not know of it. A file is identified by device and inode, not
/// by path.
///
/// Closing the object gives the entry back, and so does dying. `fd` stays the caller's.
///
/// Threads: any. Fork: TENURE_ERR_FORKED in a child of the member's process.
///
/// Returns TENURE_OK and `*object`, to be given back by tenure_object_close; otherwise `*object` is NULL.
/// TENURE_ERR_SHARING when an entry excludes this one: `*who`, unless it is NULL, has that entry; otherwise it is all
/// zero.
///
/// # Safety
///
/// `object` and `who` are NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_share_enter(
    member: *const tenure_member,
    fd: c_int,
    access: u32,
    sharing: u32,
    object: *mut *mut tenure_object,
    who: *mut tenure_conflict,
) -> c_int {
    let call = || {
        // SAFETY: the caller's promise.
        unsafe { tell(who, NOBODY) };
        let member = joined(member)?;
        let (access, sharing) = (self::access(access)?, self::sharing(sharing)?);
        let file = duplicate(fd)?;
        let entry = FileShare::enter(&member.member, &file, access, sharing).inspect_err(|error| {
            if let ShareError::Conflict(conflict) = error {
                // SAFETY: the caller's promise.
                unsafe { tell(who, (*conflict).into()) };
            }
        })?;
        hand_out(member, Any::Share(entry))
    };
    // SAFETY: the caller's promise.
    unsafe { guard_out(object, "object", ptr::null_mut(), call) }
}

/// The members that have entries for the file of an entry, this member as well, each with the sum of its modes: up to
/// `capacity` into `all`. `*count` is their number; with a `capacity` of 0 only that is stored.
///
/// Threads: any. Fork: TENURE_ERR_FORKED in a child of the member's process. TENURE_ERR_BUFFER if they do not fit, with
/// as many as fit.
///
/// # Safety
///
/// `all` is writable for `capacity` of them unless that is 0, `count` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_share_everybody(
    object: *const tenure_object,
    all: *mut tenure_conflict,
    capacity: usize,
    count: *mut usize,
) -> c_int {
    let call = || {
        let object = usable(object)?;
        Ok(object.share()?.everybody()?.into_iter().map(tenure_conflict::from))
    };
    // SAFETY: the caller's promise.
    unsafe { guard_list(Room { to: all, capacity, count }, "all", call) }
}

/// The modes of this entry, `*access` and `*sharing`, as they were asked for; tenure_share_everybody has the sum of a
/// member's entries. Threads: any. Fork: TENURE_ERR_FORKED in a child of the member's process.
///
/// # Safety
///
/// `access` and `sharing` are NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_share_modes(
    object: *const tenure_object,
    access: *mut u32,
    sharing: *mut u32,
) -> c_int {
    let call = || {
        let object = usable(object)?;
        let entry = object.share()?;
        // SAFETY: the caller's promise.
        unsafe { tell(sharing, bits_of_sharing(entry.sharing())) };
        Ok(bits_of_access(entry.access()))
    };
    // SAFETY: the caller's promise.
    unsafe { guard_out(access, "access", 0, call) }
}
