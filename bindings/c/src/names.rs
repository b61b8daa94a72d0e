//! Names of handles, and the directory of a space.

use std::ffi::{c_char, c_int, c_void};

use tenure::Kind;

use crate::abi::{TENURE_SYSTEM_KIND, tenure_handle, tenure_local, tenure_member, tenure_name, tenure_space};
use crate::error::tenure_status;
use crate::guard::{Room, bytes, guard_list, guard_out, guard_out_status, tell};
use crate::handle::{NOTHING, hand_out};
use crate::local::{kind, seat};
use crate::object::{joined, opened, or_open};
use crate::space::{space, text_of};

/// The number of a kind as C has it: of a queue or map, without the mark that it owns slots.
fn number_of(kind: Kind) -> u64 {
    if kind.is_system() { TENURE_SYSTEM_KIND | u64::from(kind.number() as u32) } else { kind.number() }
}

/// As tenure_create, with a name; see tenure_object_open_named. `flags` is 0 or TENURE_OR_OPEN: then a handle of this
/// kind with that name is opened, and `data` is not read.
///
/// A handle with a name takes a block of scratch, with a payload of any size.
///
/// Threads, fork: as tenure_create.
///
/// Returns TENURE_OK, or TENURE_OPENED, and `*handle`, to be given back by tenure_close; otherwise nothing was created
/// and `*handle` is all zero. TENURE_ERR_NAME_TAKEN; TENURE_ERR_FOREIGN_KIND when an object of another kind has the
/// name.
///
/// # Safety
///
/// `name` is NULL or a string, `data` is readable for `size` bytes, `handle` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_create_named(
    local: *mut tenure_local,
    name: *const c_char,
    flags: u32,
    kind: u32,
    data: *const c_void,
    size: usize,
    handle: *mut tenure_handle,
) -> c_int {
    let call = || {
        // SAFETY: the caller's promise.
        let bytes = unsafe { bytes(data.cast(), size, "data") }?;
        let local = seat(local)?.local();
        // SAFETY: the caller's promise.
        let name = unsafe { text_of(name) }?;
        let (held, status) = if or_open(Some(name), flags, 0)? {
            opened(local.create_or_open(name, self::kind(kind), bytes)?)
        } else {
            (local.create_named(name, self::kind(kind), bytes)?, tenure_status::TENURE_OK)
        };
        Ok((hand_out(local, local.token(&held).into(), held)?, status))
    };
    // SAFETY: the caller's promise.
    unsafe { guard_out_status(handle, "handle", NOTHING, call) }
}

/// As tenure_open, by name: TENURE_ERR_NOT_FOUND when nothing has it. Threads, fork: as tenure_create.
///
/// # Safety
///
/// `name` is NULL or a string, `handle` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_open_named(
    local: *mut tenure_local,
    name: *const c_char,
    kind: u32,
    handle: *mut tenure_handle,
) -> c_int {
    let call = || {
        let local = seat(local)?.local();
        // SAFETY: the caller's promise.
        let held = local.open_named(unsafe { text_of(name) }?, self::kind(kind))?;
        hand_out(local, local.token(&held).into(), held)
    };
    // SAFETY: the caller's promise.
    unsafe { guard_out(handle, "handle", NOTHING, call) }
}

/// The token of the object or handle with that name, and its kind, as in tenure_name.kind, unless `kind` is NULL. The
/// call holds it only while it runs. TENURE_ERR_NOT_FOUND when the name is not in use. Threads: any. Fork:
/// TENURE_ERR_FORKED in a child of the member's process.
///
/// # Safety
///
/// `name` is NULL or a string, `token` and `kind` are NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_look_up(
    member: *const tenure_member,
    name: *const c_char,
    token: *mut u64,
    kind: *mut u64,
) -> c_int {
    let call = || {
        let member = joined(member)?;
        // SAFETY: the caller's promise.
        let (found, token) = member.member.look_up(unsafe { text_of(name) }?)?;
        // SAFETY: the caller's promise.
        unsafe { tell(kind, number_of(found)) };
        Ok(token.into())
    };
    // SAFETY: the caller's promise.
    unsafe { guard_out(token, "token", 0, call) }
}

/// The names in use, in the order of their bytes: up to `capacity` of them into `names`. Other members may change them
/// during the call. `*count` is their number; with a `capacity` of 0 only that is stored. Holds and writes nothing.
///
/// Threads: any. TENURE_ERR_BUFFER if they do not fit, with as many as fit.
///
/// # Safety
///
/// `names` is writable for `capacity` of them unless that is 0, `count` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_space_names(
    space: *const tenure_space,
    names: *mut tenure_name,
    capacity: usize,
    count: *mut usize,
) -> c_int {
    let call = || {
        Ok(self::space(space)?.names().into_iter().map(|info| {
            let mut name: [c_char; 256] = [0; 256];
            // At most 255, so that a zero stays.
            for (to, byte) in name[..255].iter_mut().zip(info.name.bytes()) {
                *to = byte as c_char;
            }
            tenure_name { token: info.token.into(), kind: number_of(info.kind), holders: info.holders, name }
        }))
    };
    // SAFETY: the caller's promise.
    unsafe { guard_list(Room { to: names, capacity, count }, "names", call) }
}
