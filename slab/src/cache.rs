//! The cache of a thread: entries that it has claimed.

use crate::word::Claimed;

/// The most entries a cache can hold.
pub(crate) const CACHE_MAX: usize = 64;

/// Entries that one thread of one member has claimed ahead: the word is INIT, the holder bit is the member's, and no other thread of
/// the member uses them.
///
/// Call [`Slab::drain`](crate::Slab::drain) before you drop a cache. Without it the entries stay claimed until the member leaves or dies;
/// nothing is lost. A cache is void once its member has left. A cache of zero bytes is valid: it is empty and has room for nothing.
#[derive(Clone, Copy, Debug)]
pub struct Cache {
    len: usize,
    capacity: usize,
    entries: [Claimed; CACHE_MAX],
}

impl Cache {
    /// An empty cache for at most `capacity` entries; other numbers than 1 to 64 are clamped.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        Self { len: 0, capacity: capacity.clamp(1, CACHE_MAX), entries: [Claimed::NONE; CACHE_MAX] }
    }

    /// The number of entries.
    #[must_use]
    #[inline(always)]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has no entries.
    #[must_use]
    #[inline(always)]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The capacity, in entries.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    #[inline(always)]
    pub(crate) fn room(&self) -> usize {
        self.capacity - self.len
    }

    /// Room for one entry.
    #[inline(always)]
    pub(crate) fn slot(&mut self) -> Option<Slot<'_>> {
        let at = self.len;
        if at < self.capacity { Some(Slot { cache: self, at }) } else { None }
    }

    /// Adds an entry; the caller has seen that there is room.
    pub(crate) fn push(&mut self, claimed: Claimed) {
        debug_assert!(self.room() > 0);
        if let Some(slot) = self.slot() {
            slot.fill(claimed);
        }
    }

    /// The entry pushed last: most likely in the processor's cache.
    #[inline(always)]
    pub(crate) fn pop(&mut self) -> Option<Claimed> {
        let len = self.len.checked_sub(1)?;
        self.len = len;
        // SAFETY: below the length, which is at most CACHE_MAX.
        Some(unsafe { *self.entries.get_unchecked(len) })
    }
}

/// Room for one entry in a cache.
pub(crate) struct Slot<'a> {
    cache: &'a mut Cache,
    /// The length of the cache, in a register over a CAS.
    at: usize,
}

impl Slot<'_> {
    /// Adds an entry.
    #[inline(always)]
    pub(crate) fn fill(self, claimed: Claimed) {
        // SAFETY: below the capacity, which is at most CACHE_MAX.
        unsafe { *self.cache.entries.get_unchecked_mut(self.at) = claimed };
        self.cache.len = self.at + 1;
    }
}
