//! What a lock or a permit answers that is not to be had.

use std::fmt::Debug;

use tenure::error::WaitError;

#[track_caller]
pub(crate) fn would_block<T: Debug>(result: Result<T, WaitError>) {
    assert!(matches!(result, Err(WaitError::WouldBlock)), "{result:?}");
}

#[track_caller]
pub(crate) fn timed_out<T: Debug>(result: Result<T, WaitError>) {
    assert!(matches!(result, Err(WaitError::TimedOut)), "{result:?}");
}
