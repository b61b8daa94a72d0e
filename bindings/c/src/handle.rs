//! Handles: creating, opening, closing.

use std::ffi::{c_int, c_void};
use std::ptr;

use tenure::{Handle, Local, Raw, RawBlock, RawHandle, Token};

use crate::abi::{tenure_handle, tenure_local};
use crate::error::Failure;
use crate::guard::{bytes, guard, guard_out};
use crate::local::{kind, seat};

pub(crate) const NOTHING: tenure_handle = tenure_handle { token: 0, data: ptr::null_mut(), size: 0 };

/// The handle as C sees it. It fails only for a handle that is not held, or whose words are corrupted.
#[inline(always)]
pub(crate) fn describe(local: &Local<'_>, token: u64, held: &RawHandle) -> Result<tenure_handle, Failure> {
    let payload = local.payload(held)?;
    Ok(tenure_handle { token, data: payload.as_ptr().cast(), size: payload.len() })
}

/// As [`describe`], for a count that this call has just taken. The caller does not get it if this fails, so it is given back.
#[inline(always)]
pub(crate) fn hand_out(local: &mut Local<'_>, token: u64, held: RawHandle) -> Result<tenure_handle, Failure> {
    describe(local, token, &held).map_err(|failure| give_back(local, held, failure))
}

#[cold]
fn give_back(local: &mut Local<'_>, held: RawHandle, failure: Failure) -> Failure {
    // SAFETY: the count that this call took; the caller has no pointer to the payload.
    let _ = unsafe { local.close(held) };
    failure
}

/// The handle of an owner, which keeps its count, as C sees it.
pub(crate) fn of_handle(handle: &Handle<Raw>) -> Result<tenure_handle, Failure> {
    let bytes = handle.get()?;
    Ok(tenure_handle {
        token: handle.token().into(),
        data: bytes.as_ptr().cast_mut().cast(),
        size: bytes.len(),
    })
}

#[inline(always)]
pub(crate) fn token(bits: u64) -> Result<Token, Failure> {
    Ok(Token::try_from(bits)?)
}

/// Creates a handle of `kind`, a number that the application chooses, with a copy of `size` bytes at `data` (NULL for
/// none) as its payload. It is held once by this process.
///
/// Up to 32 bytes lie with the handle; more take a block of scratch.
///
/// Threads: the one that opened the local. Fork: TENURE_ERR_FORKED in a child of the member's process.
///
/// Returns TENURE_OK and `*handle`, to be given back by tenure_close; otherwise nothing was created and `*handle` is
/// all zero.
///
/// # Safety
///
/// `data` is readable for `size` bytes, `handle` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_create(
    local: *mut tenure_local,
    kind: u32,
    data: *const c_void,
    size: usize,
    handle: *mut tenure_handle,
) -> c_int {
    let call = || {
        // SAFETY: the caller's promise.
        let bytes = unsafe { bytes(data.cast(), size, "data") }?;
        let local = seat(local)?.local();
        let held = local.create(self::kind(kind), bytes)?;
        hand_out(local, local.token(&held).into(), held)
    };
    // SAFETY: the caller's promise.
    unsafe { guard_out(handle, "handle", NOTHING, call) }
}

/// As tenure_create, with `size` zeros as its payload, none of them passed in; aligned to `align`, a power of two, or to 16 if it
/// is 0. For payloads whose users agree to change them by atomic operations only.
///
/// Threads, fork: as tenure_create. TENURE_ERR_ARGUMENT for an impossible alignment.
///
/// # Safety
///
/// `handle` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_create_zeroed(
    local: *mut tenure_local,
    kind: u32,
    size: usize,
    align: usize,
    handle: *mut tenure_handle,
) -> c_int {
    let call = || {
        let local = seat(local)?.local();
        let layout = crate::scratch::layout_of(size, align)?;
        let held = local.create_zeroed(self::kind(kind), layout)?;
        hand_out(local, local.token(&held).into(), held)
    };
    // SAFETY: the caller's promise.
    unsafe { guard_out(handle, "handle", NOTHING, call) }
}

/// As tenure_create, with a block of this member as its payload, of which `size` bytes count; no copy is made. The
/// block belongs to the handle from now on: it is freed when nobody holds the handle any more.
///
/// Threads, fork: as tenure_create. If it fails the block is still the caller's.
///
/// # Safety
///
/// `handle` is NULL or writable. If a block of this member starts at `offset`, it is the caller's, who does not write it
/// any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_create_with(
    local: *mut tenure_local,
    kind: u32,
    offset: u64,
    size: usize,
    handle: *mut tenure_handle,
) -> c_int {
    let call = || {
        let local = seat(local)?.local();
        let block = RawBlock { offset, len: size };
        crate::scratch::fits(local, block)?;
        // SAFETY: the caller's promise: if the block is one of this member, it is the caller's to give up.
        let held = unsafe { local.create_with(self::kind(kind), block) }?;
        hand_out(local, local.token(&held).into(), held)
    };
    // SAFETY: the caller's promise.
    unsafe { guard_out(handle, "handle", NOTHING, call) }
}

/// Opens a handle of `kind` by its token: afterwards this process holds it once more. The token may come by any means
/// that orders memory, as pipes, sockets, locks and atomics do.
///
/// Threads, fork: as tenure_create.
///
/// Returns TENURE_OK and `*handle`, to be given back by tenure_close; otherwise nothing is held and `*handle` is all
/// zero. TENURE_ERR_STALE, TENURE_ERR_FORGED, TENURE_ERR_FOREIGN_SPACE, TENURE_ERR_FOREIGN_KIND: the fault of the
/// token.
///
/// # Safety
///
/// `handle` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_open(
    local: *mut tenure_local,
    kind: u32,
    token: u64,
    handle: *mut tenure_handle,
) -> c_int {
    let call = || {
        let local = seat(local)?.local();
        let held = local.open(self::kind(kind), self::token(token)?)?;
        hand_out(local, token, held)
    };
    // SAFETY: the caller's promise.
    unsafe { guard_out(handle, "handle", NOTHING, call) }
}

/// The payload of a handle of `kind` that this process holds already. It is not held once more.
///
/// Threads, fork: as tenure_create. TENURE_ERR_STALE when this process does not hold it.
///
/// # Safety
///
/// `handle` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_get(
    local: *mut tenure_local,
    kind: u32,
    token: u64,
    handle: *mut tenure_handle,
) -> c_int {
    let call = || {
        let local = seat(local)?.local();
        let held = local.held(self::kind(kind), self::token(token)?)?;
        describe(local, token, &held)
    };
    // SAFETY: the caller's promise.
    unsafe { guard_out(handle, "handle", NOTHING, call) }
}

/// Gives back one of the times that this process holds the handle. When the last process gives the last one back, the
/// handle and its payload are freed.
///
/// Threads, fork: as tenure_create; any local of the member will do. TENURE_ERR_STALE when this process does not hold
/// it.
///
/// # Safety
///
/// If this member holds the handle, one of its counts is the caller's: no object stands for it. With the last of the
/// member's counts, nobody in this process uses the payload any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_close(local: *mut tenure_local, token: u64) -> c_int {
    // SAFETY: the caller's promise.
    guard(|| Ok(unsafe { seat(local)?.local().close_token(self::token(token)?) }?))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use tenure::{Kind, Space};

    use super::*;

    /// The file behind a mapping is the same memory.
    #[test]
    fn a_count_that_cannot_be_handed_out_is_given_back() {
        let name = tenure_testkit::unique_name("capi-count");
        let space = Space::options().tiny().open(&name).unwrap();
        let file = std::fs::File::options().read(true).write(true).open(space.path().unwrap()).unwrap();
        let read = || {
            let mut words = vec![0; file.metadata().unwrap().len() as usize];
            file.read_exact_at(&mut words, 0).unwrap();
            words
        };
        let (me, other) = (space.join().unwrap(), space.join().unwrap());
        let (mut mine, mut local) = (me.local(), other.local());
        let before = read();
        // In a block, whose place is in a word of the handle.
        let held = mine.create(Kind::raw(1), &[7; 100]).unwrap();
        let token = mine.token(&held);
        let after = read();
        let is_changed = |at: &usize| before[*at..*at + 8] != after[*at..*at + 8];
        let mut given_back = 0;
        for at in (0..after.len()).step_by(8).filter(is_changed) {
            let held = local.open(Kind::raw(1), token).unwrap();
            let now = read();
            file.write_all_at(&[0xff; 8], at as u64).unwrap();
            let result = hand_out(&mut local, token.into(), held);
            file.write_all_at(&now[at..at + 8], at as u64).unwrap();
            // SAFETY: the count of `held`, if it was not given back.
            let closed = unsafe { local.close_token(token) };
            assert_eq!(closed.is_err(), result.is_err(), "word {at}");
            given_back += u32::from(result.is_err());
        }
        assert!(given_back > 0);
        drop((mine, local));
        drop((me, other));
        Space::remove(tenure::Backend::Shm, &name, true).unwrap();
    }
}
