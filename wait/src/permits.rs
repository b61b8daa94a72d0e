//! Permits with owners: a word for each permit, and the word of a [sequence](crate::sequence), on which those sleep who find none free.
//!
//! `{version:48 | owner:16}`; the owner is 0 for none, or the index of the lease that has the permit, plus one; the version counts how often the
//! permit was taken.
//!
//! | from -> to | who | killed right after |
//! |---|---|---|
//! | version, no owner -> version + 1, lease | a thread of the lease takes it | recovery gives it back |
//! | version, lease -> version, no owner | a thread of the lease gives it back, and wakes then | recovery of the lease wakes |
//! | version, lease -> version, no owner | recovery of the lease, which wakes then, before it clears the holder's bit | the next recoverer starts over |
//!
//! There is no count that could differ from the owners: who has a permit is in its own word, and each step is one compare-and-swap of that. So
//! nothing is halfway for whoever dies, and any number of recoverers may do the same at once: of an exact compare-and-swap only one succeeds.
//!
//! A count would make a look one load. Here a look is a load of each permit, until one is free; each member begins at another place.
//!
//! verify/models/permits.pml is the model.

use tenure_core::ordering;
use tenure_core::sync::Ordering::{AcqRel, Acquire, SeqCst};
use tenure_core::sync::Word;

/// The most permits of one object.
pub const PERMITS_MAX: u32 = 1 << 16;

const OWNER: u64 = 0xffff;
const VERSION_SHIFT: u32 = OWNER.trailing_ones();

/// The lease that has the permit, plus one; 0 for none.
#[must_use]
pub const fn owner(word: u64) -> u64 {
    word & OWNER
}

/// How often the permit was taken.
#[must_use]
pub const fn version(word: u64) -> u64 {
    word >> VERSION_SHIFT
}

/// A permit that was taken: its place, and its word since then, which no other taking has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Taken {
    /// The index of the permit.
    pub index: usize,
    /// Its word.
    pub word: u64,
}

/// Looks at every permit once, from `first` on, and takes the first free one.
///
/// # Errors
///
/// None was free when it was looked at; the sum of their versions.
///
/// # Progress
///
/// Lock-free.
///
/// # Crash
///
/// The permit is taken and has an owner, or not.
pub fn look(permits: &[Word], first: usize, lease: u8) -> Result<Taken, u64> {
    let (before, from) = permits.split_at(first.min(permits.len()));
    let places = (before.len()..).zip(from).chain((0..).zip(before));
    let mut versions = 0u64;
    for (index, permit) in places {
        // SeqCst: the look of one who has marked the sequence and is about to sleep; pairs with the one in `give_back`: either this sees the
        // permit free, or the waker sees the mark.
        let mut seen = permit.load(ordering!("wait.permits.look", SeqCst, Acquire));
        while owner(seen) == 0 {
            let word = (version(seen) + 1) << VERSION_SHIFT | (u64::from(lease) + 1);
            // AcqRel: permit: obtains what its last owner did, and passes it on; pairs with `give_back`. Failure, SeqCst: as the load.
            match permit.compare_exchange(seen, word, AcqRel, SeqCst) {
                Ok(_) => return Ok(Taken { index, word }),
                Err(found) => seen = found,
            }
        }
        versions = versions.wrapping_add(version(seen));
    }
    Err(versions)
}

/// Takes a permit, unless at one moment of the call none was free.
///
/// That moment is between two looks, one after the other, which find every permit owned and the sum of the versions the same: versions only
/// grow, so none was taken in between, and each had the same owner from the first look at it to the second.
///
/// # Progress
///
/// Lock-free: a look is repeated only when another process has taken a permit meanwhile.
///
/// # Crash
///
/// As [`look`].
pub fn try_take(permits: &[Word], first: usize, lease: u8) -> Option<Taken> {
    let mut before = None;
    loop {
        match look(permits, first, lease) {
            Ok(taken) => return Some(taken),
            Err(versions) if before == Some(versions) => return None,
            Err(versions) => before = Some(versions),
        }
    }
}

/// Gives back a permit that was taken as `word`; false if it is not taken, or not as that. The caller wakes those that sleep.
///
/// # Crash
///
/// Killed before the wake: see [`recover`].
pub fn give_back(permit: &Word, word: u64) -> bool {
    // SeqCst: the change, before the waker's look at the sequence: see `look`. It publishes what the owner did to the next taker. Failure,
    // Acquire: nothing is concluded from it.
    owner(word) != 0
        && permit
            .compare_exchange(
                word,
                word & !OWNER,
                ordering!("wait.permits.give_back", SeqCst, AcqRel),
                Acquire,
            )
            .is_ok()
}

/// Gives back all permits of a lease that is over, or that closes them. The caller wakes those that sleep, in any case: the lease may have
/// given one back, and not woken.
///
/// # Crash
///
/// The next recoverer starts over.
pub fn recover(permits: &[Word], lease: u8) {
    for permit in permits {
        // Acquire: permit: a lease that is over changes it no more; others may free it as well, or take it when it is free.
        let seen = permit.load(Acquire);
        if owner(seen) == u64::from(lease) + 1 {
            give_back(permit, seen);
        }
    }
}
