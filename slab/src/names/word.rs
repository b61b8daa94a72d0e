//! The table's two sorts of words: the only file that packs them, and the only one that touches them.
//!
//! Both are `{state:2 | detail:6 | generation:36 | index:20}`.
//!
//! | word | state | detail | meaning | who may change it |
//! |---|---|---|---|---|
//! | slot | 0 | - | never used | whoever puts an entering handle here |
//! | slot | LISTED | mark of the name | the handle is in the table; if it is over, the slot is free | as above, when it is over |
//! | intake | 0 | - | never used | whoever enters a handle |
//! | intake | ENTERING | slot | the handle is in the table, and goes to this slot | anybody: to another slot, to DONE |
//! | intake | DONE | slot | the handle is in its slot | whoever enters a handle |
//! | either | anything else | - | corrupted | as if it were free |

use tenure_core::{fault, ordering};

use crate::sync::{Ordering, Word};
use crate::token::Token;

const DETAIL_SHIFT: u32 = 56;
const STATE_SHIFT: u32 = 62;
const HANDLE_MASK: u64 = (1 << DETAIL_SHIFT) - 1;
const DETAIL_MASK: u64 = 0x3f;

const DONE: u64 = 1;
const TAKEN: u64 = 2;

/// One value of a slot or an intake.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Seen(u64);

impl Seen {
    const fn new(state: u64, detail: u8, token: Token) -> Self {
        Self(state << STATE_SHIFT | (detail as u64 & DETAIL_MASK) << DETAIL_SHIFT | token.handle_bits())
    }

    pub(super) const fn listed(mark: u8, token: Token) -> Self {
        Self::new(TAKEN, mark, token)
    }

    pub(super) const fn entering(slot: u8, token: Token) -> Self {
        Self::new(TAKEN, slot, token)
    }

    /// What an intake becomes when its handle is in its slot.
    pub(super) const fn done(self) -> Self {
        Self(self.0 & !(3 << STATE_SHIFT) | DONE << STATE_SHIFT)
    }

    /// LISTED in a slot, ENTERING in an intake.
    pub(super) const fn is_taken(self) -> bool {
        self.0 >> STATE_SHIFT == TAKEN
    }

    /// Whether it is a value that the protocol writes to an intake or a slot.
    pub(super) const fn is_known(self, is_intake: bool) -> bool {
        match self.0 >> STATE_SHIFT {
            0 => self.0 == 0,
            DONE => is_intake,
            TAKEN => true,
            _ => false,
        }
    }

    /// The mark of a slot, the slot of an intake.
    pub(super) const fn detail(self) -> u8 {
        (self.0 >> DETAIL_SHIFT & DETAIL_MASK) as u8
    }

    /// The handle, if there is one.
    pub(super) const fn token(self, space_tag: u8) -> Option<Token> {
        if self.is_taken() { Token::from_handle_bits(space_tag, self.0 & HANDLE_MASK) } else { None }
    }

    /// Whether it is this handle.
    pub(super) const fn names(self, token: Token) -> bool {
        self.is_taken() && self.0 & HANDLE_MASK == token.handle_bits()
    }
}

/// A slot in place.
#[derive(Clone, Copy)]
pub(super) struct Slot<'a>(pub(super) &'a Word);

impl Slot<'_> {
    pub(super) fn load(self) -> Seen {
        // Acquire: slot: obtains the handle's own words, so that a handle just created does not look as if it were over;
        // pairs with the Release in `list`.
        Seen(self.0.load(ordering!("names.slot.load", Acquire, Relaxed)))
    }

    /// Puts a handle into a slot that was seen free.
    pub(super) fn list(self, seen: Seen, handle: Seen) -> bool {
        // Release: slot: passes on what the intake published of the handle. Relaxed on failure: it is read again.
        let released = ordering!("names.slot.list", Release, Relaxed);
        if fault!("names.settle.listed_by_store") {
            self.0.store(handle.0, Ordering::Release);
            return true;
        }
        self.0.compare_exchange(seen.0, handle.0, released, Ordering::Relaxed).is_ok()
    }
}

/// An intake in place.
#[derive(Clone, Copy)]
pub(super) struct Intake<'a>(pub(super) &'a Word);

impl Intake<'_> {
    pub(super) fn load(self) -> Seen {
        // Acquire: intake: obtains the words of the handle that is entering, and the slots of all that have entered before;
        // pairs with the Release in `change`.
        Seen(self.0.load(ordering!("names.intake.load", Acquire, Relaxed)))
    }

    /// One step of the intake; the value found if somebody else was first.
    pub(super) fn change(self, seen: Seen, next: Seen) -> Result<(), Seen> {
        // Release: intake: publishes the handle that enters, or its slot. Acquire on both outcomes: as in `load`.
        let released = ordering!("names.intake.change", AcqRel, Acquire);
        let obtained = ordering!("names.intake.load", Acquire, Relaxed);
        if fault!("names.settle.done_by_store") && next == seen.done() {
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
        let entering = Seen::entering(13, token);
        assert_eq!((entering.token(9), entering.detail()), (Some(token), 13));
        assert_eq!((entering.done().token(9), entering.done().detail()), (None, 13));
        assert!(
            entering.is_known(true) && entering.done().is_known(true) && !entering.done().is_known(false)
        );
        assert!(Seen(0).is_known(true) && Seen(0).token(9).is_none() && !Seen(7).is_known(true));
        assert!(!Seen(u64::MAX).is_known(true) && Seen(u64::MAX).token(9).is_none());
    }
}
