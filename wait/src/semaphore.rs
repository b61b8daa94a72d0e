//! A semaphore: `{asleep:1 | count:31}`.

use crate::word::{self, Attempt, Change, Look, Word};

/// The largest maximum a semaphore can have.
pub const MAXIMUM: u32 = (1 << 30) - 1;

/// Whether one who waits could have one.
#[must_use]
pub const fn offers(value: u32) -> bool {
    value > 0
}

/// Adds `more`; the count before.
///
/// # Errors
///
/// The count, when it would exceed `maximum`; nothing was added.
pub fn release<W: Word>(word: &W, more: u32, maximum: u32) -> Result<u32, u32> {
    word::change(word, offers, |count| match count.checked_add(more) {
        Some(to) if to <= maximum && more > 0 => Change::Offer { to, answer: Ok(count) },
        _ if more == 0 => Change::Nothing(Ok(count)),
        _ => Change::Nothing(Err(count)),
    })
}

/// Takes one, if there is one.
pub fn try_acquire<W: Word>(word: &W) -> Attempt<()> {
    word::attempt(
        word,
        |count| {
            if count > 0 { Look::Take { to: count - 1, gained: () } } else { Look::Blocked }
        },
    )
}
