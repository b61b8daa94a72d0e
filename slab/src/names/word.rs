//! The two kinds of words in the table: pending slots and slots. Only this file packs and accesses them.
//!
//! Both are `{state:2 | detail:6 | generation:36 | index:20}`.
//!
//! | word | state | detail | meaning | who may change it |
//! |---|---|---|---|---|
//! | slot | 0 | - | never used | a helper, to LISTED |
//! | slot | LISTED | mark of the name | the handle is in the table; if it is over, the slot is free | a helper, once the handle is over |
//! | pending slot | 0 | - | never used | an insert, to INSERTING |
//! | pending slot | INSERTING | slot | the handle is in the table, and goes to this slot | a helper: to another slot, or to DONE |
//! | pending slot | DONE | slot | the handle is in its slot | an insert, to INSERTING |
//! | either | anything else | - | corrupted | as if it were free |
//!
//! A slot or a pending slot whose handle is over is free, whatever its state: nobody ever clears one.
//!
//! | from -> to | who | killed right after |
//! |---|---|---|
//! | pending slot: free or DONE(any) -> INSERTING(h, slot) | the creator of h, after it has looked through all slots of the name | h is in the table |
//! | pending slot: INSERTING(h, s) -> INSERTING(h, t) | a helper that finds s taken by another handle and t free | - |
//! | slot: free -> LISTED(h, mark) | a helper that finds h INSERTING this slot | h is there twice, which counts once |
//! | pending slot: INSERTING(h, s) -> DONE(h, s) | a helper that finds h in s | - |

use tenure_core::{mutant, ordering};

use crate::sync::{Ordering, Word};
use crate::token::Token;

const DETAIL_SHIFT: u32 = 56;
const STATE_SHIFT: u32 = 62;
const HANDLE_MASK: u64 = (1 << DETAIL_SHIFT) - 1;
const DETAIL_MASK: u64 = 0x3f;

const DONE: u64 = 1;
const TAKEN: u64 = 2;

/// A value of a slot or a pending slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Seen(u64);

impl Seen {
    const fn new(state: u64, detail: u8, token: Token) -> Self {
        Self(state << STATE_SHIFT | (detail as u64 & DETAIL_MASK) << DETAIL_SHIFT | token.handle_bits())
    }

    pub(super) const fn listed(mark: u8, token: Token) -> Self {
        Self::new(TAKEN, mark, token)
    }

    pub(super) const fn inserting(slot: u8, token: Token) -> Self {
        Self::new(TAKEN, slot, token)
    }

    /// The value of a pending slot whose handle is in its slot.
    pub(super) const fn done(self) -> Self {
        Self(self.0 & !(3 << STATE_SHIFT) | DONE << STATE_SHIFT)
    }

    /// LISTED in a slot, INSERTING in a pending slot.
    pub(super) const fn is_taken(self) -> bool {
        self.0 >> STATE_SHIFT == TAKEN
    }

    /// Whether the protocol writes such a value to a slot or, if `is_pending`, to a pending slot.
    pub(super) const fn is_known(self, is_pending: bool) -> bool {
        match self.0 >> STATE_SHIFT {
            0 => self.0 == 0,
            DONE => is_pending,
            TAKEN => true,
            _ => false,
        }
    }

    /// The mark in a slot, the slot in a pending slot.
    pub(super) const fn detail(self) -> u8 {
        (self.0 >> DETAIL_SHIFT & DETAIL_MASK) as u8
    }

    /// The handle, if the value names one.
    pub(super) const fn token(self, space_tag: u8) -> Option<Token> {
        if self.is_taken() { Token::from_handle_bits(space_tag, self.0 & HANDLE_MASK) } else { None }
    }

    /// Whether the value names this handle.
    pub(super) const fn names(self, token: Token) -> bool {
        self.is_taken() && self.0 & HANDLE_MASK == token.handle_bits()
    }
}

/// A slot in shared memory.
#[derive(Clone, Copy)]
pub(super) struct Slot<'a>(pub(super) &'a Word);

impl Slot<'_> {
    pub(super) fn load(self) -> Seen {
        // Acquire: slot: obtains the handle's own words, so that a new handle is not taken for one that is over; pairs with the Release
        // in `list`.
        Seen(self.0.load(ordering!("names.slot.load", Acquire, Relaxed)))
    }

    /// Stores a handle in a slot that was seen free; false if the slot has changed.
    pub(super) fn list(self, seen: Seen, handle: Seen) -> bool {
        // Release: slot: passes on the handle's own words, which the pending slot published; pairs with the Acquire in `load`. Failure,
        // Relaxed: the slot is loaded again.
        let released = ordering!("names.slot.list", Release, Relaxed);
        if mutant!("names.help.listed_by_store") {
            self.0.store(handle.0, Ordering::Release);
            return true;
        }
        self.0.compare_exchange(seen.0, handle.0, released, Ordering::Relaxed).is_ok()
    }
}

/// A pending slot in shared memory.
#[derive(Clone, Copy)]
pub(super) struct PendingSlot<'a>(pub(super) &'a Word);

impl PendingSlot<'_> {
    pub(super) fn load(self) -> Seen {
        // Acquire: pending slot: obtains the words of the handle that is inserted, and the slots of all handles inserted before; pairs with
        // the Release in `compare_exchange`.
        Seen(self.0.load(ordering!("names.pending.load", Acquire, Relaxed)))
    }

    /// Stores `next` if the pending slot is `seen`; else returns the value found.
    pub(super) fn compare_exchange(self, seen: Seen, next: Seen) -> Result<(), Seen> {
        // AcqRel: pending slot: publishes the inserted handle, or the slot that it is in now; pairs with the Acquire in `load`. Acquire on
        // both outcomes: as in `load`.
        let released = ordering!("names.pending.compare_exchange", AcqRel, Acquire);
        let obtained = ordering!("names.pending.load", Acquire, Relaxed);
        if mutant!("names.help.done_by_store") && next == seen.done() {
            self.0.store(next.0, Ordering::Release);
            return Ok(());
        }
        self.0.compare_exchange(seen.0, next.0, released, obtained).map(drop).map_err(Seen)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn words_say_what_was_put_in() {
        let token = Token::new(9, (1 << 36) - 2, 0xf_fffe).unwrap();
        let listed = Seen::listed(0x3e, token);
        assert_eq!((listed.token(9), listed.detail(), listed.names(token)), (Some(token), 0x3e, true));
        let inserting = Seen::inserting(13, token);
        assert_eq!((inserting.token(9), inserting.detail()), (Some(token), 13));
        assert_eq!((inserting.done().token(9), inserting.done().detail()), (None, 13));
        assert!(
            inserting.is_known(true) && inserting.done().is_known(true) && !inserting.done().is_known(false)
        );
        assert!(Seen(0).is_known(true) && Seen(0).token(9).is_none() && !Seen(7).is_known(true));
        assert!(!Seen(u64::MAX).is_known(true) && Seen(u64::MAX).token(9).is_none());
    }
}
