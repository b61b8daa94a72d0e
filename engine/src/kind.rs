//! What sort of object a handle names.

use std::fmt;

use crate::geometry::{fnv1a, hash_of};

/// A 64-bit kind: chosen by the application for raw payloads, derived from the type for typed ones.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Kind(u64);

const TYPED: u64 = 1 << 63;

impl Kind {
    /// An application's own kind.
    #[must_use]
    pub const fn raw(number: u32) -> Self {
        Self(number as u64)
    }

    /// The kind of a type: a hash of its path and of the size and alignment of its archive.
    ///
    /// Two programs agree on it when they use the same type from the same path; the bytes are validated all the same.
    #[must_use]
    pub fn of<T: rkyv::Archive>() -> Self {
        let path = hash_of(std::any::type_name::<T>());
        let shape = [size_of::<T::Archived>() as u64, align_of::<T::Archived>() as u64];
        let hash = shape.iter().fold(path, |hash, number| fnv1a(hash, &number.to_le_bytes()));
        Self(hash | TYPED)
    }

    pub(crate) const fn from_word(word: u64) -> Self {
        Self(word)
    }

    /// The number stored with the handle.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 & TYPED == 0 { write!(f, "kind {}", self.0) } else { write!(f, "type {:016x}", self.0) }
    }
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
