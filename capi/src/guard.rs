//! What every call goes through.

use std::ffi::c_int;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::error::{Failure, fail, tenure_status};

/// Runs a call: no panic crosses the border.
#[inline(always)]
pub(crate) fn guard(call: impl FnOnce() -> Result<(), Failure>) -> c_int {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(())) => 0,
        Ok(Err(failure)) => failure.0,
        Err(panic) => panicked(&*panic),
    }
}

#[cold]
#[inline(never)]
fn panicked(panic: &(dyn std::any::Any + Send)) -> c_int {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message");
    fail(tenure_status::TENURE_ERR_PANIC, format_args!("a defect of the library: {text}")).0
}

/// Where C wants a result. Checked before anything is done; written `nothing` first, so that a failure leaves no
/// garbage.
///
/// # Safety
///
/// Not null means writable for a `T`, by this call alone.
#[inline(always)]
pub(crate) unsafe fn out<'a, T: Copy>(
    pointer: *mut T,
    what: &'static str,
    nothing: T,
) -> Result<&'a mut T, Failure> {
    if pointer.is_null() {
        return Err(null(what));
    }
    // SAFETY: the caller's promise; `T` is plain data, written before a reference to it is made.
    unsafe {
        pointer.write(nothing);
        Ok(&mut *pointer)
    }
}

/// Bytes that C passes: null is fine for none.
///
/// # Safety
///
/// Not null means readable for `size` bytes during the call.
#[inline(always)]
pub(crate) unsafe fn bytes<'a>(
    data: *const u8,
    size: usize,
    what: &'static str,
) -> Result<&'a [u8], Failure> {
    if size == 0 {
        return Ok(&[]);
    }
    if data.is_null() {
        return Err(null(what));
    }
    if size > isize::MAX as usize {
        return Err(fail(
            tenure_status::TENURE_ERR_TOO_LARGE,
            format_args!("{what}: expected at most {} bytes, found {size}", isize::MAX),
        ));
    }
    // SAFETY: the caller's promise, and the checks above.
    Ok(unsafe { std::slice::from_raw_parts(data, size) })
}

#[cold]
#[inline(never)]
pub(crate) fn null(what: &'static str) -> Failure {
    fail(tenure_status::TENURE_ERR_NULL, format_args!("{what}: expected a pointer, found NULL"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panics_become_errors() {
        for panic in [(|| panic!("at {}", 7)) as fn() -> Result<(), Failure>, || panic!("at 7")] {
            assert_eq!(guard(panic), tenure_status::TENURE_ERR_PANIC as c_int);
            assert!(crate::error::last().ends_with("at 7"), "{}", crate::error::last());
        }
        assert_eq!(guard(|| std::panic::panic_any(7)), tenure_status::TENURE_ERR_PANIC as c_int);
    }
}
