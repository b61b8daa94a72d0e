//! A thread's claimed entries.

/// The most entries a cache can hold.
pub const CACHE_MAX: usize = 64;

/// Entries claimed ahead by one thread of one member: the word is INIT, the holder bit is the member's, and nobody else
/// of the member knows them.
///
/// Give them back with [`Slab::drain`](crate::Slab::drain) before dropping it; a cache that is simply dropped keeps its
/// entries from others until the member leaves or dies, and loses nothing.
#[derive(Debug)]
pub struct Cache {
    len: usize,
    capacity: usize,
    entries: [u32; CACHE_MAX],
}

impl Cache {
    /// An empty cache for at most `capacity` entries, 1 to [`CACHE_MAX`]; other numbers are taken to the nearest.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        Self { len: 0, capacity: capacity.clamp(1, CACHE_MAX), entries: [0; CACHE_MAX] }
    }

    /// Entries in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has no entries.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The most entries it takes.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    #[inline]
    pub(crate) fn room(&self) -> usize {
        self.capacity - self.len
    }

    /// Adds an entry; false when it is full.
    #[inline]
    pub(crate) fn push(&mut self, index: u32) -> bool {
        if self.len >= self.capacity {
            return false;
        }
        let Some(slot) = self.entries.get_mut(self.len) else { return false };
        *slot = index;
        self.len += 1;
        true
    }

    /// The entry pushed last: the warmest.
    #[inline]
    pub(crate) fn pop(&mut self) -> Option<u32> {
        let len = self.len.checked_sub(1)?;
        self.len = len;
        self.entries.get(len).copied()
    }
}
