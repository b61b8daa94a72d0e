//! Slots: words of the space that hold handles, as members hold them by their bits. A handle in a slot outlives all members.
//!
//! ```text
//! handle h of generation g is held by slot s   <=>   word of h is LIVE g, home of h names s, and slot s names (h, g)
//!
//! put       word -> shared; home {0, q, r}, slot r does not name h: CAS(home -> {me, q+1, s}); CAS(slot s, EMPTY -> h); settle
//! settle    CAS(home, {me, q+1, s} -> {0, q+1, s})
//! take      slot s is h, READY: open h; settle for a putter that has not; CAS(slot s -> EMPTY), else close h, again
//! evict     slot s is h, READY: mark the group of h; CAS(slot s -> EMPTY); free_if_unheld(h)
//! replace   put, with CAS(slot s, k -> h), the group of k marked before; free_if_unheld(k), or renew_if_unheld(k) for the cache
//! claim     slot s is h, READY: open h; CAS(slot s -> CLAIMED me), else close h, again
//! ack       CAS(slot s, CLAIMED me -> EMPTY); close h
//! give back CAS(slot s, CLAIMED me -> READY); close h
//! ```
//!
//! `free_if_unheld` looks at the holder bits, then at the home word, then at the slot that it names. In this order: after "no bits" and with
//! its tag still in the handle word, nobody has a bit, so nobody puts, so the home word does not move, and the slot can only be
//! emptied by a process that decides itself afterwards.
//!
//! `verify/models/slots.pml` is the model.

mod chunks;
mod inspect;
mod keep;
mod look;
mod queue;
mod word;

pub use chunks::{CONTAINER_KIND, CONTAINER_KIND_MASK, is_container};
pub use inspect::SlotInfo;
pub use keep::{Claimed, PutError, SlotError};
pub use look::{Look, Place};
pub use queue::{Known, PopError, PushError, QueueWords};
pub use word::SLOT_MEMBERS_MAX;

use crate::slab::Slab;
use word::{ChunkWord, Hazard, HomeWord, SlotWord};

impl<'a> Slab<'a> {
    /// The number of slots, without those of containers.
    #[inline(always)]
    #[must_use]
    pub fn slots(&self) -> u32 {
        self.layout().slots()
    }

    /// The home word of a handle of the layout, if there are slots.
    pub(crate) fn home(&self, index: u32) -> Option<HomeWord<'a>> {
        let at = self.layout().home_at(index).filter(|_| self.has(index))?;
        self.words().get(at as usize).map(HomeWord::new)
    }

    fn slot_word(&self, slot: u32) -> Option<SlotWord<'a>> {
        let at = self.layout().slot_at(slot)?;
        self.words().get(at as usize).map(SlotWord::new)
    }

    fn chunk_word(&self, chunk: u32) -> Option<ChunkWord<'a>> {
        let at = (chunk < self.layout().chunks()).then(|| self.layout().chunk_at(chunk))?;
        self.words().get(at as usize).map(ChunkWord::new)
    }

    /// Only with container slots.
    fn hazard(&self, lease: u8) -> Option<Hazard<'a>> {
        let has = self.layout().chunks() > 0 && u16::from(lease) < self.layout().members();
        self.words().get(self.layout().hazard_at(lease) as usize).filter(|_| has).map(Hazard::new)
    }

    /// Whether a slot holds this generation of the handle: the home word first, the slot second.
    ///
    /// The caller has cleared or loaded the holder bits before, or has emptied a slot.
    #[cold]
    #[inline(never)]
    pub(crate) fn is_kept(&self, index: u32, generation: u64) -> bool {
        let slot = self.home(index).and_then(|home| self.slot_word(home.load().slot()?));
        slot.is_some_and(|slot| slot.look().names(index, generation))
    }
}
