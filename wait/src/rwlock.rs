//! A read-write lock: the word of a mutex for its writers, and a readers' word for each lease.
//!
//! A reader announces itself in the word of its own lease, and then looks at the writers' word: if no writer owns it, the reader has the lock,
//! else it withdraws and waits for that writer. A writer owns the writers' word first, and then looks at the word of every lease until it has
//! no readers (`drain`). Each of the two stores before it looks (Dekker), so at least one of them sees the other.
//!
//! The readers' word of a lease is a wait word, on which writers sleep. Its value is available to them when it is zero:
//!
//! `{waiters:1 | readers:31}`
//!
//! | readers | waiters bit | meaning | who stores it |
//! |---|---|---|---|
//! | 0 | 0 | no reader of this lease | the last reader that withdraws; a wake |
//! | 0 | 1 | pending: the writer is not woken yet | the last reader that withdraws; recovery of the lease |
//! | 1 and more | 0 | readers, or such that are about to look or to withdraw | a reader of the lease |
//! | 1 and more | 1 | the same, and a writer may be asleep | a writer; a reader of the lease |
//!
//! | from -> to | who | killed right after |
//! |---|---|---|
//! | n, no waiters -> n + 1 | a reader of the lease, before its look | recovery stores 0 |
//! | n -> n - 1, waiters bit unchanged | a reader of the lease: unlock, or a look that found a writer | the last one, with waiters: pending; recovery wakes |
//! | n -> 0, waiters bit unchanged | recovery of the lease, before it clears the holder's bit | the next recoverer wakes |
//! | n -> n, waiters bit set | a writer, before it sleeps | costs the last reader a system call |
//!
//! A new reader waits for a writer that owns the writers' word, also while that writer waits for older readers: so no stream of readers that
//! wait keeps a writer waiting; readers that only try are counted for a moment each. verify/models/rwlock.pml is the model.

use tenure_core::sync::Ordering::{AcqRel, Acquire};
use tenure_core::sync::{Word as Whole, fence};
use tenure_core::{mutant, ordering};

use crate::mutex;
use crate::word::{self, Attempt, Change, Look, WAITERS, Word};

/// The most readers of one lease.
pub const READERS_MAX: u32 = 1 << 30;

/// The readers in a readers' word.
#[must_use]
pub const fn readers(word: u32) -> u32 {
    word & !WAITERS
}

/// Announces the only reader of the lease if no waiters bit is set: the first of the two steps of a read lock without contention. False if
/// the word is anything else: then [`announce`] decides.
#[inline(always)]
#[must_use]
pub fn announce_only<W: Word>(readers: &W) -> bool {
    // SeqCst: the reader's announcement, before the look; pairs with the fence in `begin_drain`: either the look sees the writer, or the drain
    // sees this reader. Failure, Acquire: nothing is concluded from it.
    readers.compare_exchange(0, 1, ordering!("wait.rwlock.announce", SeqCst, AcqRel), Acquire).is_ok()
}

/// Whether no writer owns the lock, and the last one did unlock it: the second step of a read lock without contention. `writers` is the whole
/// writers' word. False if the word is anything else: then [`look`] decides.
#[inline(always)]
#[must_use]
pub fn is_free(writers: &Whole) -> bool {
    // SeqCst: the reader's look: after the announcement; see there. It also makes visible what the last writer did: pairs with the AcqRel of its
    // unlock.
    writers.load(ordering!("wait.rwlock.look", SeqCst, Acquire)) == u64::from(mutex::FREE)
}

/// Withdraws the only reader of the lease if no waiters bit is set: the one step of a read unlock without contention. False if the word is
/// anything else: then [`withdraw`] decides.
#[inline(always)]
#[must_use]
pub fn withdraw_only<W: Word>(readers: &W) -> bool {
    // AcqRel: wait word: as in `change`, of which this is the last step: what was read comes before it; pairs with the Acquire of the drain.
    // Failure, Acquire: nothing is concluded from it.
    readers.compare_exchange(1, 0, AcqRel, Acquire).is_ok()
}

/// Announces one reader of the lease; false if it has [`READERS_MAX`] of them.
///
/// # Crash
///
/// The recovery of the lease withdraws all of its readers.
#[must_use]
pub fn announce<W: Word>(readers: &W) -> bool {
    let announced = word::change(readers, is_gone, |count| {
        if count < READERS_MAX {
            Change::Quiet { to: count + 1, answer: true }
        } else {
            Change::Nothing(false)
        }
    });
    // SeqCst: the reader's announcement, before the look; pairs with the fence in `begin_drain`.
    fence(ordering!("wait.rwlock.announced", SeqCst, AcqRel));
    announced
}

/// The look of a reader that has announced itself: taken, with whether the last writer did not unlock the lock; or the writers' word as it was
/// seen, with a writer.
pub fn look<W: Word>(writers: &W) -> Attempt<bool> {
    word::attempt(writers, |value| {
        if mutex::is_available(value) {
            Look::Take { to: value, gained: value == mutex::ABANDONED }
        } else {
            Look::Blocked
        }
    })
}

/// Withdraws one reader of the lease, which unlocks the lock or could not lock it; false if the lease has none.
///
/// # Crash
///
/// As [`announce`]. A reader that is killed before it wakes leaves the word pending, and the recovery of its lease wakes.
pub fn withdraw<W: Word>(readers: &W) -> bool {
    word::change(readers, is_gone, |count| match count {
        0 => Change::Nothing(false),
        1 if !mutant!("wait.rwlock.writer_not_woken") => Change::Offer { to: 0, answer: true },
        _ => Change::Quiet { to: count - 1, answer: true },
    })
}

/// Withdraws all readers of a lease that is over, or that closes the lock, and wakes the writer that waits for them. Recovery calls this for
/// each lock that the dead lease held.
///
/// # Crash
///
/// A recoverer that is killed before it wakes leaves the word pending; the next recoverer, or the next writer, wakes.
pub fn withdraw_all<W: Word>(readers: &W) {
    word::change(readers, is_gone, |count| match count {
        0 => Change::Nothing(()),
        _ if mutant!("wait.rwlock.readers_left") => Change::Nothing(()),
        _ => Change::Offer { to: 0, answer: () },
    });
    word::wake_waiters(readers);
}

/// Called by a writer that has just become the owner of the writers' word, before it looks at the readers' words.
pub fn begin_drain() {
    // SeqCst: the writer's store of the writers' word, before it looks at the readers' words; pairs with the announcements: see
    // `announce_only`.
    fence(ordering!("wait.rwlock.drain", SeqCst, AcqRel));
}

/// Whether a lease has no readers, of which the writer sees the last access; or its word as it was seen, to sleep on.
pub fn drained<W: Word>(readers: &W) -> Attempt<()> {
    word::attempt(
        readers,
        |count| {
            if is_gone(count) { Look::Take { to: count, gained: () } } else { Look::Blocked }
        },
    )
}

/// Whether a lease has no readers, and no waiters bit: a look of [`drained`] that stores nothing.
#[inline(always)]
pub fn is_drained<W: Word>(readers: &W) -> bool {
    readers.load() == 0
}

/// Whether a writer could go on: there are no readers.
const fn is_gone(count: u32) -> bool {
    count == 0
}
