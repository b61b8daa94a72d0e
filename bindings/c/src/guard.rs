//! The steps that every call shares: catching panics, checking pointers, storing results.

use std::ffi::c_int;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::error::{Failure, fail, tenure_status};

/// Runs a call and catches panics.
#[inline(always)]
pub(crate) fn guard(call: impl FnOnce() -> Result<(), Failure>) -> c_int {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(())) => 0,
        Ok(Err(failure)) => failure.0,
        Err(panic) => panicked(&*panic),
    }
}

/// As [`guard`], for calls with several results that are no errors.
#[inline(always)]
pub(crate) fn guard_status(call: impl FnOnce() -> Result<tenure_status, Failure>) -> c_int {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(status)) => status as c_int,
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

/// Runs a call and stores its result where C wants it; stores `nothing` when the call fails.
///
/// # Safety
///
/// `to` is null, which is refused before anything is done, or writable for a `T`.
#[inline(always)]
pub(crate) unsafe fn guard_out<T: Copy>(
    to: *mut T,
    what: &'static str,
    nothing: T,
    call: impl FnOnce() -> Result<T, Failure>,
) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { guard_out_status(to, what, nothing, || Ok((call()?, tenure_status::TENURE_OK))) }
}

/// As [`guard_out`], for calls with several results that are no errors.
///
/// # Safety
///
/// As [`guard_out`].
#[inline(always)]
pub(crate) unsafe fn guard_out_status<T: Copy>(
    to: *mut T,
    what: &'static str,
    nothing: T,
    call: impl FnOnce() -> Result<(T, tenure_status), Failure>,
) -> c_int {
    if to.is_null() {
        return null(what).0;
    }
    let (result, status) = match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok((result, status))) => (result, status as c_int),
        Ok(Err(failure)) => (nothing, failure.0),
        Err(panic) => (nothing, panicked(&*panic)),
    };
    // SAFETY: the caller's promise.
    unsafe { to.write(result) };
    status
}

/// The destination of a list: as much of it as fits, and its length.
pub(crate) struct Room<T> {
    pub(crate) to: *mut T,
    pub(crate) capacity: usize,
    pub(crate) count: *mut usize,
}

/// Runs a call whose result is a list; `what` is the name of the list. With a `capacity` of 0 only the length is
/// stored.
///
/// # Safety
///
/// `to` is writable for `capacity` of them unless that is 0, `count` is null, which is refused, or writable.
pub(crate) unsafe fn guard_list<T, I: Iterator<Item = T> + ExactSizeIterator>(
    Room { to, capacity, count }: Room<T>,
    what: &'static str,
    call: impl FnOnce() -> Result<I, Failure>,
) -> c_int {
    guard(|| {
        if count.is_null() {
            return Err(null("count"));
        }
        // SAFETY: the caller's promise.
        unsafe { count.write(0) };
        if to.is_null() && capacity != 0 {
            return Err(null(what));
        }
        let all = call()?;
        let found = all.len();
        // SAFETY: the caller's promise.
        unsafe { count.write(found) };
        for (at, one) in all.take(capacity).enumerate() {
            // SAFETY: `at < capacity`, the caller's promise.
            unsafe { to.add(at).write(one) };
        }
        if capacity != 0 && found > capacity {
            return Err(fail(
                tenure_status::TENURE_ERR_BUFFER,
                format_args!("{what}: expected room for {found}, found {capacity}"),
            ));
        }
        Ok(())
    })
}

/// Bytes that C passes: null stands for none.
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

/// Writes a result unless the caller passes null for it.
///
/// # Safety
///
/// `to` is null or writable for a `T`.
pub(crate) unsafe fn tell<T>(to: *mut T, what: T) {
    if !to.is_null() {
        // SAFETY: the caller's promise.
        unsafe { to.write(what) };
    }
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
