//! A value in two copies with a version: readers never wait, and always read one whole value.
//!
//! Copy `version % 2` is the value of that version. A writer writes the other copy and then stores the next version. Writers exclude each
//! other, by a lock that their death frees; what a dead one left in the other copy is overwritten by the next. The word of the version and
//! the copies:
//!
//! | word | from -> to | who | killed right after |
//! |---|---|---|---|
//! | a word of copy `(v + 1) % 2` | any -> the new value's | the writer, version `v` | version `v` stands, its copy is untouched |
//! | version | `v` -> `v + 1` | the writer, all words of the copy stored | the new value stands |
//!
//! A reader takes the copy of the version that it loaded, and takes it for whole if the version is still the same afterwards: the
//! writer of `v + 1` does not touch copy `v % 2`, and the writer of `v + 2` begins after version `v + 1` was stored. It is a seqlock
//! (Lameter 2005; Boehm 2012, "Can seqlocks get along with programming language memory models?") whose odd phase is the other copy, so
//! that a writer which stops or dies in the middle keeps no reader. verify/models/versioned.pml is the model.

use tenure_core::sync::{Ordering, Word, fence};
use tenure_core::{mutant, ordering};

/// The copy of a version: 0 or 1.
const fn copy_of(version: u64) -> usize {
    (version % 2) as usize
}

/// The version, for a writer.
pub fn current(version: &Word) -> u64 {
    // Relaxed: only writers store it, and the caller's lock orders them.
    version.load(Ordering::Relaxed)
}

/// Writes the version after `current`; `copy` returns the words of copy 0 or 1, `words` are the words of the new value, as many as a copy
/// has. The caller excludes other writers. Returns the new version.
///
/// # Crash
///
/// Killed inside, the old value stands or the new one.
#[inline]
pub fn write<'w>(
    version: &Word,
    current: u64,
    copy: impl Fn(usize) -> &'w [Word],
    words: impl Iterator<Item = u64>,
) -> u64 {
    let next = current.wrapping_add(1);
    // Release [V1]: whoever loads one of the words stored below, and passes `read`'s fence, sees the version that was stored before them;
    // pairs with that fence.
    fence(ordering!("wait.versioned.fence", Release, Acquire));
    let written = if mutant!("wait.versioned.current_copy") { current } else { next };
    for (word, value) in copy(copy_of(written)).iter().zip(words) {
        // Relaxed: published by the version; see the fence for readers of the version before the last.
        word.store(value, Ordering::Relaxed);
    }
    // Release [V2]: the words of the copy come before; pairs with the Acquire in `read`.
    version.store(next, ordering!("wait.versioned.publish", Release, Relaxed));
    next
}

/// Reads one whole value, word by word in order; returns its version. `copy` returns the words of copy 0 or 1. `word` may be given the
/// words of several values: the last ones are the result.
///
/// # Progress
///
/// Lock-free: a round is repeated only when a writer has finished meanwhile.
#[inline]
pub fn read<'w>(version: &Word, copy: impl Fn(usize) -> &'w [Word], mut word: impl FnMut(usize, u64)) -> u64 {
    loop {
        // Acquire [V2]: the words of this version are visible; pairs with the Release in `write`.
        let seen = version.load(ordering!("wait.versioned.load", Acquire, Relaxed));
        for (at, stored) in copy(copy_of(seen)).iter().enumerate() {
            // Relaxed: if it is a later writer's, the look below finds a later version.
            word(at, stored.load(Ordering::Relaxed));
        }
        // Acquire [V1]: the load below is not older than the words above; pairs with the fence in `write`.
        fence(ordering!("wait.versioned.look", Acquire, Release));
        // Relaxed: ordered by the fence.
        if version.load(Ordering::Relaxed) == seen {
            return seen;
        }
    }
}
