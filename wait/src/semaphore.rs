//! A semaphore: `{waiters:1 | count:31}`.
//!
//! | count | waiters bit | meaning | who stores it |
//! |---|---|---|---|
//! | 0 | 0 | nothing to take, no waiters | the process that takes the last |
//! | 0 | 1 | nothing to take, waiters may be asleep | a waiter |
//! | 1 and more | 0 | available | a process that releases; a wake |
//! | 1 and more | 1 | pending: released, and the waiters are not woken yet | a process that releases |

use tenure_core::sync::Ordering::{AcqRel, Acquire};

use crate::word::{self, Attempt, Change, Look, Word};

/// The largest maximum a semaphore can have.
pub const MAXIMUM: u32 = (1 << 30) - 1;

/// Whether a waiter could take one: the count is not zero.
#[must_use]
pub const fn is_available(value: u32) -> bool {
    value > 0
}

/// Adds `more` to the count of a semaphore without waiters, in one step; returns the count before. `seen` is the whole word as it was
/// loaded, Acquire. `None` if the word has changed, has waiters or a reference, or the count would exceed `maximum`: then [`release`]
/// decides.
#[inline(always)]
#[must_use]
pub fn release_unwaited<W: Word>(word: &W, seen: u64, more: u32, maximum: u32) -> Option<u32> {
    // The waiters bit, and a reference, make a word larger than any maximum, so this one comparison finds them as well.
    let fits = seen <= u64::from(maximum).wrapping_sub(more.into()) && more <= maximum;
    let count = seen as u32;
    // AcqRel: wait word: as in `change`, of which this is the last step. Failure, Acquire: nothing is concluded from it.
    (fits && word.compare_exchange(count, count + more, AcqRel, Acquire).is_ok()).then_some(count)
}

/// Subtracts one from the count, if it is not zero and not pending, in one step. `seen` is as in [`release_unwaited`]. False otherwise, or
/// if the word has changed: then [`try_acquire`] decides.
#[inline(always)]
#[must_use]
pub fn take_one<W: Word>(word: &W, seen: u64) -> bool {
    // A pending word and a reference are above the largest maximum; zero, less one, is as well.
    let is_available = seen.wrapping_sub(1) < MAXIMUM.into();
    let count = seen as u32;
    // AcqRel: wait word: as in `attempt`, of which this is the last step. Failure, Acquire: nothing is concluded from it.
    is_available && word.compare_exchange(count, count - 1, AcqRel, Acquire).is_ok()
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
