//! Containers: objects that own slots. Words 0 and 1 of their payload, which lies in a block, are the first slot and the number of slots.

use std::ops::Range;
use std::sync::atomic::Ordering;

use crate::error::OpenHandleError;
use crate::object::Object;
use crate::shared::Shared;
use crate::state::{STATE_BYTES, state_of};

impl Shared {
    /// Claims the slots of a container that is being created, as many as its payload says, and completes the payload. `block` is its block, and
    /// `identity` its handle, which is not LIVE yet. Returns whether there were enough.
    ///
    /// # Crash
    ///
    /// See [`tenure_slab::Slab::claim_slots`].
    pub(crate) fn claim_slots(&self, block: u64, identity: (u32, u64)) -> bool {
        let at = std::ptr::slice_from_raw_parts_mut(self.scratch.address(block), STATE_BYTES);
        // SAFETY: the block of the new object, which begins with its state words; no other code knows it yet.
        let Some(words) = std::ptr::NonNull::new(at).and_then(|at| unsafe { state_of(at) }) else {
            return false;
        };
        // Relaxed: the handle word publishes the payload.
        let slots = words[1].load(Ordering::Relaxed);
        let claim = |slots| {
            let (acquire, free) = (self.lease.acquire(), |block| self.free_block(block));
            self.slab.claim_slots(acquire, self.ref_counts(), identity, slots, free)
        };
        let first = u32::try_from(slots).ok().and_then(claim);
        // Relaxed: as above.
        words[0].store(first.unwrap_or(0).into(), Ordering::Relaxed);
        first.is_some()
    }
}

/// The slots of a container that this process holds.
pub(crate) fn slots_of(object: &Object) -> Result<Range<u32>, OpenHandleError> {
    // Relaxed: written before the handle was published, never changed.
    let [first, slots, ..] = object.state()?.each_ref().map(|word| word.load(Ordering::Relaxed));
    match (u32::try_from(first), u32::try_from(slots)) {
        (Ok(first), Ok(slots)) if object.shared().slab.owns_slots(object.identity(), first, slots) => {
            Ok(first..first + slots)
        }
        _ => Err(OpenHandleError::Corrupt(format!(
            "a {} that does not own {slots} slots from {first} on",
            object.kind()
        ))),
    }
}
