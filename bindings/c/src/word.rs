//! Atomic words in payloads, for languages that have no atomic operations on memory of their own.

use std::ffi::c_int;
use std::sync::atomic::{AtomicU64, Ordering};

use tenure::error::ReadOnly;

use crate::abi::tenure_local;
use crate::error::{Failure, fail, tenure_status};
use crate::guard::{guard, guard_out, null};
use crate::handle::token;
use crate::local::{kind, seat};

/// The word at `position`, in bytes, of the payload of a handle that this process holds.
fn word<'a>(
    local: *mut tenure_local,
    number: u32,
    bits: u64,
    position: usize,
    is_changed: bool,
) -> Result<&'a AtomicU64, Failure> {
    let local = seat(local)?.local();
    if is_changed && local.is_read_only() {
        return Err(ReadOnly.into());
    }
    let held = local.held(kind(number), token(bits)?)?;
    let payload = local.payload(&held)?;
    if !position.is_multiple_of(8) {
        return Err(fail(
            tenure_status::TENURE_ERR_ARGUMENT,
            format_args!("position: expected a multiple of 8, found {position}"),
        ));
    }
    if payload.len() < 8 || position > payload.len() - 8 {
        return Err(fail(
            tenure_status::TENURE_ERR_TOO_LARGE,
            format_args!("position: expected 8 bytes within {}, found {position}", payload.len()),
        ));
    }
    // SAFETY: inside of the payload, which is aligned to 8 at least and mapped while this process holds the handle;
    // the caller's other threads do not close it meanwhile. All users of the kind agree to use atomic operations only.
    Ok(unsafe { AtomicU64::from_ptr(payload.as_ptr().cast::<u8>().add(position).cast()) })
}

/// Reads the 64-bit word at `position`, in bytes and a multiple of 8, of the payload of a handle that this process
/// holds.
///
/// This and the next three are for payloads whose users agree to change them by such operations only; they order
/// memory as memory_order_seq_cst. C has its own, on tenure_handle.data. Those that change the word are refused to a member that only
/// reads: TENURE_ERR_READ_ONLY.
///
/// Threads: the one that opened the local; the handle must not be closed meanwhile. Fork: TENURE_ERR_FORKED in a child
/// of the member's process. TENURE_ERR_TOO_LARGE when the word does not lie within the payload.
///
/// # Safety
///
/// `value` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_word_load(
    local: *mut tenure_local,
    kind: u32,
    token: u64,
    position: usize,
    value: *mut u64,
) -> c_int {
    let call = || {
        // SeqCst: as promised to the caller; pairs with the other operations on the payload, in any process.
        Ok(word(local, kind, token, position, false)?.load(Ordering::SeqCst))
    };
    // SAFETY: the caller's promise.
    unsafe { guard_out(value, "value", 0, call) }
}

/// Stores a word; see tenure_word_load.
#[unsafe(no_mangle)]
pub extern "C" fn tenure_word_store(
    local: *mut tenure_local,
    kind: u32,
    token: u64,
    position: usize,
    value: u64,
) -> c_int {
    guard(|| {
        // SeqCst: as in `tenure_word_load`.
        word(local, kind, token, position, true)?.store(value, Ordering::SeqCst);
        Ok(())
    })
}

/// Adds to a word, modulo 2^64; `*before`, unless it is NULL, is the value before; see tenure_word_load.
///
/// # Safety
///
/// `before` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_word_add(
    local: *mut tenure_local,
    kind: u32,
    token: u64,
    position: usize,
    summand: u64,
    before: *mut u64,
) -> c_int {
    guard(|| {
        // SeqCst: as in `tenure_word_load`.
        let was = word(local, kind, token, position, true)?.fetch_add(summand, Ordering::SeqCst);
        if !before.is_null() {
            // SAFETY: the caller's promise.
            unsafe { before.write(was) };
        }
        Ok(())
    })
}

/// Stores `value` if the word is `*expected`. `*exchanged` is 1 if it was stored, otherwise 0; then `*expected` becomes
/// the word's value. See tenure_word_load.
///
/// # Safety
///
/// `expected` and `exchanged` are NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_word_exchange(
    local: *mut tenure_local,
    kind: u32,
    token: u64,
    position: usize,
    expected: *mut u64,
    value: u64,
    exchanged: *mut c_int,
) -> c_int {
    let call = || {
        if expected.is_null() {
            return Err(null("expected"));
        }
        let word = word(local, kind, token, position, true)?;
        // SAFETY: the caller's promise.
        let wanted = unsafe { expected.read() };
        // SeqCst, both: as in `tenure_word_load`.
        match word.compare_exchange(wanted, value, Ordering::SeqCst, Ordering::SeqCst) {
            Ok(_) => Ok(1),
            Err(found) => {
                // SAFETY: the caller's promise.
                unsafe { expected.write(found) };
                Ok(0)
            }
        }
    };
    // SAFETY: the caller's promise.
    unsafe { guard_out(exchanged, "exchanged", 0, call) }
}
