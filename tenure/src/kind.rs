//! Kinds: the sort of object that a handle names.

use std::fmt;

use tenure_segment::layout::{FNV_START, fnv1a};

/// The kind of a handle's object, 64 bits. An application chooses the kind of a raw payload; the kind of a typed value is derived
/// from its type. To open a handle, a process must know its kind.
///
/// ```
/// # use tenure::Kind;
/// assert_ne!(Kind::raw(1), Kind::raw(2));
/// assert_ne!(Kind::of::<u32>(), Kind::of::<u64>());
/// assert_eq!(Kind::raw(1).to_string(), "kind 1");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Kind(u64);

const TYPED: u64 = 1 << 63;
const SYSTEM: u64 = 1 << 62;

// The kinds of containers are of the system's own.
const _: () = assert!(tenure_slab::CONTAINER_KIND & (TYPED | SYSTEM) == SYSTEM);

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
    pub(crate) const LOCKED: Self = Self::system(9);
    pub(crate) const VERSIONED: Self = Self::system(10);
    pub(crate) const RWLOCK: Self = Self::system(11);
    pub(crate) const MAP: Self = Self::container(16);
    pub(crate) const QUEUE: Self = Self::container(17);
    /// The pairs of one bucket of a map.
    pub(crate) const MAP_RECORD: Self = Self::system(18);
    pub(crate) const SHARED: Self = Self::system(14);

    const fn system(number: u32) -> Self {
        Self(number as u64 | SYSTEM)
    }

    /// The kind of an object that owns slots.
    const fn container(number: u32) -> Self {
        Self(number as u64 | tenure_slab::CONTAINER_KIND)
    }
}

impl Kind {
    /// The kind of an application's raw payloads, by a number of its own choice.
    ///
    /// ```
    /// # use tenure::Kind;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// const ORDERS: Kind = Kind::raw(1);
    /// assert_eq!(ORDERS.number(), 1);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub const fn raw(number: u32) -> Self {
        Self(number as u64)
    }

    /// The kind that has a name and a version of the application's choice: the same in all programs, whichever compiler made them and wherever
    /// they have the type. The version is for a later type of the same name: a process that knows another one only is refused.
    ///
    /// It is a kind of raw payloads and of values: see [`Member::create_as`](crate::Member::create_as).
    ///
    /// ```
    /// # use tenure::Kind;
    /// const ORDER: Kind = Kind::named("shop.example/order", 2);
    /// assert_ne!(ORDER, Kind::named("shop.example/order", 1));
    /// ```
    #[must_use]
    pub const fn named(name: &str, version: u32) -> Self {
        // No name contains the byte between them.
        let hash = fnv1a(fnv1a(FNV_START, name.as_bytes()), &[0xFF]);
        Self(fnv1a(hash, &version.to_le_bytes()) | TYPED)
    }

    /// The kind of a type: a hash of its path and of the size and alignment of its archive.
    ///
    /// Two programs compute the same kind if they use the same type from the same path, and were built by compilers that spell the path alike:
    /// for programs that are built apart, [`Kind::named`] is the safer one. The bytes are validated in any case.
    ///
    /// ```
    /// # use tenure::Kind;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let handle = me.create(&7u64)?;
    /// assert_eq!(handle.kind(), Kind::of::<u64>());
    /// # Ok(()) }
    /// ```
    #[cfg(feature = "typed")]
    #[must_use]
    pub fn of<T: rkyv::Archive>() -> Self {
        Self::named_and_shaped::<T, T::Archived>()
    }

    /// The kind of the type of a [`Locked`](crate::Locked) or [`Versioned`](crate::Versioned) value: a hash of its path, size and alignment. A
    /// program in another language opens the value by this [number](Kind::number).
    ///
    /// ```
    /// # use tenure::Kind;
    /// assert_ne!(Kind::of_plain::<[u64; 2]>(), Kind::of_plain::<[i64; 2]>());
    /// ```
    #[cfg(feature = "objects")]
    #[must_use]
    pub fn of_plain<T: crate::Plain>() -> Self {
        Self::named_and_shaped::<T, T>()
    }

    #[cfg(any(feature = "typed", feature = "objects"))]
    pub(crate) fn named_and_shaped<Name, Shape>() -> Self {
        let path = fnv1a(FNV_START, std::any::type_name::<Name>().as_bytes());
        let shape = [size_of::<Shape>() as u64, align_of::<Shape>() as u64];
        let hash = shape.iter().fold(path, |hash, number| fnv1a(hash, &number.to_le_bytes()));
        Self(hash | TYPED)
    }

    /// The kind that has the number, as [`Kind::number`] returned it, usually in another program.
    ///
    /// ```
    /// # use tenure::Kind;
    /// assert_eq!(Kind::from_number(Kind::of::<u64>().number()), Kind::of::<u64>());
    /// ```
    #[must_use]
    pub const fn from_number(number: u64) -> Self {
        Self(number)
    }

    /// Whether handles of this kind are the system's own objects: mutexes, events and so on. The payload of such a handle changes while
    /// it is held, so it cannot be created or opened as raw bytes.
    ///
    /// ```
    /// # use tenure::Kind;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let handle = me.create_raw(Kind::raw(1), b"tea")?;
    /// assert!(!handle.kind().is_system());
    /// # Ok(()) }
    /// ```
    #[inline]
    #[must_use]
    pub const fn is_system(self) -> bool {
        self.0 & (TYPED | SYSTEM) == SYSTEM
    }

    /// The number that is stored with the handle.
    ///
    /// ```
    /// # use tenure::Kind;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// assert_eq!(Kind::raw(7).number(), 7);
    /// # Ok(()) }
    /// ```
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
                Self::LOCKED => "locked value",
                Self::VERSIONED => "versioned value",
                Self::RWLOCK => "read-write lock",
                Self::MAP => "map",
                Self::MAP_RECORD => "record of a map",
                Self::SHARED => "shared value",
                Self::QUEUE => "queue",
                Self(other) => return write!(f, "system kind {}", other & !tenure_slab::CONTAINER_KIND_MASK),
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
