//! The cache of a thread: entries that it has claimed.

/// The most entries a cache can hold.
pub const CACHE_MAX: usize = 64;

/// Entries that one thread of one member has claimed ahead: the word is INIT, the holder bit is the member's, and no other thread of
/// the member uses them.
///
/// Call [`Slab::drain`](crate::Slab::drain) before you drop a cache. Without it the entries stay claimed until the member leaves or dies;
/// nothing is lost.
#[derive(Debug)]
pub struct Cache {
    len: usize,
    capacity: usize,
    entries: [u32; CACHE_MAX],
}

impl Cache {
    /// An empty cache for at most `capacity` entries; other numbers than 1 to [`CACHE_MAX`] are clamped.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        Self { len: 0, capacity: capacity.clamp(1, CACHE_MAX), entries: [0; CACHE_MAX] }
    }

    /// The number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether it has no entries.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The capacity, in entries.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    #[inline]
    pub(crate) fn room(&self) -> usize {
        self.capacity - self.len
    }

    /// Adds an entry; false if the cache is full.
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

    /// The entry pushed last: most likely in the processor's cache.
    #[inline]
    pub(crate) fn pop(&mut self) -> Option<u32> {
        let len = self.len.checked_sub(1)?;
        self.len = len;
        self.entries.get(len).copied()
    }
}
