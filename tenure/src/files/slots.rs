//! The payload of a descriptor: the identity of its object, and for each lease the place where that member has it open.
//!
//! Each lease has two words: `{incarnation:32 | number + 1:32}`, with a lower half of zero for none, and `{pid namespace:32 | pid:32}`.
//! Only the owner of the lease writes them, the second word first. The lower 32 bits of the incarnation distinguish the words of a live
//! owner from those of a dead one, so recovery does not clear them, and concurrent recoverers need no coordination here.

use tenure_core::LeaseId;
use tenure_core::sync::{Ordering, Word};
use tenure_segment::Lease;
use tenure_segment::passing::{Holder, Identity, pid_namespace};

use crate::state::STATE_WORDS;

const SLOT_WORDS: usize = 2;

/// Words of a payload for the given number of members.
pub(super) const fn payload_words(members: u16) -> usize {
    STATE_WORDS + SLOT_WORDS * members as usize
}

/// The payload words of a descriptor; the caller holds its handle.
#[derive(Clone, Copy)]
pub(crate) struct Slots<'a>(&'a [Word]);

/// The claim of a member that it has the descriptor open, with the first word of its slot.
#[derive(Clone, Copy, Debug)]
pub(super) struct Claim {
    pub(super) holder: Holder,
    word: u64,
}

/// The two words of a slot: `lease` has the descriptor open as `number`.
fn words_for(lease: LeaseId, number: i32) -> [u64; SLOT_WORDS] {
    let place = u64::from(pid_namespace()) << 32 | u64::from(std::process::id());
    [lease.incarnation << 32 | u64::from(number as u32 + 1), place]
}

/// The payload of a new descriptor, which only its creator has open.
pub(super) fn payload(members: u16, identity: Identity, lease: LeaseId, number: i32) -> Vec<u64> {
    let mut words = vec![0; payload_words(members)];
    words[..3].copy_from_slice(&[identity.device, identity.inode, identity.tag]);
    let at = STATE_WORDS + SLOT_WORDS * usize::from(lease.index);
    words[at..at + SLOT_WORDS].copy_from_slice(&words_for(lease, number));
    words
}

impl<'a> Slots<'a> {
    /// `None` if there are too few words for the given number of members.
    pub(crate) fn over(words: &'a [Word], members: u16) -> Option<Self> {
        Some(Self(words.get(..payload_words(members))?))
    }

    /// The identity of the object of the descriptor.
    pub(super) fn identity(self) -> Identity {
        // Relaxed: written before the handle was published.
        let [device, inode, tag] = [0, 1, 2].map(|at| self.0[at].load(Ordering::Relaxed));
        Identity { device, inode, tag }
    }

    fn slot(self, lease: u8) -> &'a [Word] {
        let at = STATE_WORDS + SLOT_WORDS * usize::from(lease);
        &self.0[at..at + SLOT_WORDS]
    }

    /// Publishes that the caller, `lease`, has the descriptor open as `number`.
    pub(super) fn put(self, lease: LeaseId, number: i32) {
        let ([word, place], slot) = (words_for(lease, number), self.slot(lease.index));
        // Relaxed: published by the store below. Until then the word has another incarnation, or this place already.
        slot[1].store(place, Ordering::Relaxed);
        // Release: publishes the place; pairs with the Acquire in `number`.
        slot[0].store(word, Ordering::Release);
    }

    /// Publishes that the caller, `lease`, does not have the descriptor open any more. It calls this before it closes the descriptor.
    pub(super) fn clear(self, lease: LeaseId) {
        // SeqCst, with the load in `still`: if a process duplicates the number and then finds the word unchanged, it has duplicated the
        // number before the owner closed it, because the owner closes it after this store. The system calls between order them as well.
        self.slot(lease.index)[0].store(lease.incarnation << 32, Ordering::SeqCst);
    }

    /// The number in the slot of `lease`, and the word; `None` if the word is of another incarnation or has no number.
    pub(super) fn number(self, lease: u8, incarnation: u64) -> Option<(i32, u64)> {
        // Acquire: as in `put`.
        let word = self.slot(lease)[0].load(Ordering::Acquire);
        let number = i32::try_from((word as u32).checked_sub(1)?).ok()?;
        (word >> 32 == incarnation & 0xFFFF_FFFF).then_some((number, word))
    }

    /// The claims of all present members.
    pub(super) fn claims(self, lease: &Lease) -> Vec<Claim> {
        let slots = (self.0.len() - STATE_WORDS) / SLOT_WORDS;
        let claim = |index: u8| {
            let incarnation = lease.incarnation_of(index)?;
            let (number, word) = self.number(index, incarnation)?;
            // Relaxed: published by the word above.
            let place = self.slot(index)[1].load(Ordering::Relaxed);
            let lease = LeaseId { index, incarnation };
            let holder = Holder { lease, pid: place as u32, pid_namespace: (place >> 32) as u32, number };
            Some(Claim { holder, word })
        };
        (0..slots).filter_map(|index| claim(index as u8)).collect()
    }

    /// Whether the word of a claim is unchanged.
    pub(super) fn still(self, claim: &Claim) -> bool {
        // SeqCst: as in `clear`.
        self.slot(claim.holder.lease.index)[0].load(Ordering::SeqCst) == claim.word
    }
}
