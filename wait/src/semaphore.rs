//! A semaphore: `{waiters:1 | count:31}`.
//!
//! | count | waiters bit | meaning | who stores it |
//! |---|---|---|---|
//! | 0 | 0 | nothing to take, no waiters | the process that takes the last |
//! | 0 | 1 | nothing to take, waiters may be asleep | a waiter |
//! | 1 and more | 0 | available | a process that releases; a wake |
//! | 1 and more | 1 | pending: released, and the waiters are not woken yet | a process that releases |

use crate::word::{self, Attempt, Change, Look, Word};

/// The largest maximum a semaphore can have.
pub const MAXIMUM: u32 = (1 << 30) - 1;

/// Whether a waiter could take one: the count is not zero.
#[must_use]
pub const fn is_available(value: u32) -> bool {
    value > 0
}

/// Adds `more` to the count; returns the count before.
///
/// # Errors
///
/// The count, when it would exceed `maximum`; nothing was added.
pub fn release<W: Word>(word: &W, more: u32, maximum: u32) -> Result<u32, u32> {
    word::change(word, is_available, |count| match count.checked_add(more) {
        Some(to) if to <= maximum && more > 0 => Change::Offer { to, answer: Ok(count) },
        _ if more == 0 => Change::Nothing(Ok(count)),
        _ => Change::Nothing(Err(count)),
    })
}

/// Subtracts one from the count, unless it is zero.
pub fn try_acquire<W: Word>(word: &W) -> Attempt<()> {
    word::attempt(
        word,
        |count| {
            if count > 0 { Look::Take { to: count - 1, gained: () } } else { Look::Blocked }
        },
    )
}
