//! The payload of a descriptor: what it leads to, and for each lease where that member has it open.
//!
//! Two words a lease: `{incarnation:32 | number + 1:32}`, zero in the lower half for none, and `{pid namespace:32 | pid:32}`. Both
//! are written by the owner of the lease only, the second one first. The incarnation, its lower 32 bits, tells the words of the
//! living from those that a dead owner left behind: nobody has to clear them. For the same reason two recoverers at once have
//! nothing to hand over to each other here.

use tenure_core::LeaseId;
use tenure_core::sync::{Ordering, Word};
use tenure_segment::Lease;
use tenure_segment::passing::{Holder, Identity, pid_namespace};

use crate::state::STATE_WORDS;

const SLOT_WORDS: usize = 2;

/// Words of a payload for so many members.
pub(super) const fn payload_words(members: u16) -> usize {
    STATE_WORDS + SLOT_WORDS * members as usize
}

/// The words of a descriptor that is held.
#[derive(Clone, Copy)]
pub(crate) struct Slots<'a>(&'a [Word]);

/// Where somebody says that it has the descriptor, and the word that says so.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claim {
    pub(super) holder: Holder,
    word: u64,
}

/// What `number` in the hands of `lease` looks like.
fn words_for(lease: LeaseId, number: i32) -> [u64; SLOT_WORDS] {
    let place = u64::from(pid_namespace()) << 32 | u64::from(std::process::id());
    [lease.incarnation << 32 | u64::from(number as u32 + 1), place]
}

/// The payload of a descriptor that its creator alone has open.
pub(super) fn payload(members: u16, identity: Identity, lease: LeaseId, number: i32) -> Vec<u64> {
    let mut words = vec![0; payload_words(members)];
    words[..3].copy_from_slice(&[identity.device, identity.inode, identity.tag]);
    let at = STATE_WORDS + SLOT_WORDS * usize::from(lease.index);
    words[at..at + SLOT_WORDS].copy_from_slice(&words_for(lease, number));
    words
}

impl<'a> Slots<'a> {
    /// `None` when there are too few words for so many members.
    pub(crate) fn over(words: &'a [Word], members: u16) -> Option<Self> {
        Some(Self(words.get(..payload_words(members))?))
    }

    /// What the descriptor leads to.
    pub(super) fn identity(self) -> Identity {
        // Relaxed: written before the handle was published.
        let [device, inode, tag] = [0, 1, 2].map(|at| self.0[at].load(Ordering::Relaxed));
        Identity { device, inode, tag }
    }

    fn slot(self, lease: u8) -> &'a [Word] {
        let at = STATE_WORDS + SLOT_WORDS * usize::from(lease);
        &self.0[at..at + SLOT_WORDS]
    }

    /// Says that the caller, `lease`, has it open as `number`.
    pub(super) fn put(self, lease: LeaseId, number: i32) {
        let ([word, place], slot) = (words_for(lease, number), self.slot(lease.index));
        // Relaxed: published by the store below. Until then the word has another incarnation, or this place already.
        slot[1].store(place, Ordering::Relaxed);
        // Release: pairs with the Acquire of whoever looks for holders; the place comes with it.
        slot[0].store(word, Ordering::Release);
    }

    /// Says that the caller, `lease`, does not have it open any more; before it closes it.
    pub(super) fn clear(self, lease: LeaseId) {
        // SeqCst, with the load of `still`: whoever duplicates the number and then finds the word unchanged has duplicated it
        // before it was closed, because closing comes after this. The system calls between order them as well.
        self.slot(lease.index)[0].store(lease.incarnation << 32, Ordering::SeqCst);
    }

    /// The number in the word of `lease` of this incarnation, if it has one.
    pub(super) fn number(self, lease: u8, incarnation: u64) -> Option<(i32, u64)> {
        // Acquire: as in `put`.
        let word = self.slot(lease)[0].load(Ordering::Acquire);
        let number = i32::try_from((word as u32).checked_sub(1)?).ok()?;
        (word >> 32 == incarnation & 0xFFFF_FFFF).then_some((number, word))
    }

    /// Everybody who says to have it, and is a member.
    pub(super) fn claims(self, lease: &Lease) -> Vec<Claim> {
        let slots = (self.0.len() - STATE_WORDS) / SLOT_WORDS;
        let claim = |index: u8| {
            let incarnation = lease.incarnation_of(index)?;
            let (number, word) = self.number(index, incarnation)?;
            // Relaxed: comes with the word above.
            let place = self.slot(index)[1].load(Ordering::Relaxed);
            let lease = LeaseId { index, incarnation };
            let holder = Holder { lease, pid: place as u32, pid_namespace: (place >> 32) as u32, number };
            Some(Claim { holder, word })
        };
        (0..slots).filter_map(|index| claim(index as u8)).collect()
    }

    /// Whether it still says so.
    pub(super) fn still(self, claim: &Claim) -> bool {
        // SeqCst: as in `clear`.
        self.slot(claim.holder.lease.index)[0].load(Ordering::SeqCst) == claim.word
    }
}
