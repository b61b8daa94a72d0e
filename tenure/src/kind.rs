//! What sort of object a handle names.

use std::fmt;

use tenure_segment::layout::{FNV_START, fnv1a};

/// A 64-bit kind: chosen by the application for raw payloads, derived from the type for typed ones.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Kind(u64);

const TYPED: u64 = 1 << 63;
const SYSTEM: u64 = 1 << 62;

/// The kinds of the system's own objects. The numbers are part of the layout.
#[cfg_attr(not(feature = "objects"), allow(dead_code, reason = "without them some are only printed"))]
impl Kind {
    pub(crate) const MUTEX: Self = Self::system(1);
    pub(crate) const EVENT_MANUAL: Self = Self::system(2);
    pub(crate) const EVENT_AUTO: Self = Self::system(3);
    pub(crate) const SEMAPHORE: Self = Self::system(4);
    pub(crate) const PROCESS: Self = Self::system(5);
    pub(crate) const THREAD: Self = Self::system(6);
    pub(crate) const DESCRIPTOR: Self = Self::system(7);
    pub(crate) const FILE_SHARE: Self = Self::system(8);

    const fn system(number: u32) -> Self {
        Self(number as u64 | SYSTEM)
    }
}

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
        let path = fnv1a(FNV_START, std::any::type_name::<T>().as_bytes());
        let shape = [size_of::<T::Archived>() as u64, align_of::<T::Archived>() as u64];
        let hash = shape.iter().fold(path, |hash, number| fnv1a(hash, &number.to_le_bytes()));
        Self(hash | TYPED)
    }

    pub(crate) const fn from_word(word: u64) -> Self {
        Self(word)
    }

    /// Whether handles of this kind are the system's objects: mutexes, events and so on. Their payload changes while it is
    /// held, so they cannot be created or opened as raw bytes.
    #[inline]
    #[must_use]
    pub const fn is_system(self) -> bool {
        self.0 & (TYPED | SYSTEM) == SYSTEM
    }

    /// The number stored with the handle.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_system() {
            let name = match *self {
                Self::MUTEX => "mutex",
                Self::EVENT_MANUAL => "manual-reset event",
                Self::EVENT_AUTO => "auto-reset event",
                Self::SEMAPHORE => "semaphore",
                Self::PROCESS => "process",
                Self::THREAD => "thread",
                Self::DESCRIPTOR => "descriptor",
                Self::FILE_SHARE => "file share",
                Self(other) => return write!(f, "system kind {}", other & !SYSTEM),
            };
            return f.write_str(name);
        }
        if self.0 & TYPED == 0 { write!(f, "kind {}", self.0) } else { write!(f, "type {:016x}", self.0) }
    }
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
