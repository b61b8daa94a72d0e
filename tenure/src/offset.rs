//! Pointers that are relative to the scratch memory of a space.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;
use std::ptr::NonNull;

#[cfg(feature = "objects")]
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::local::Local;

/// The place of a `T` in the scratch memory of a space, as a number that is the same in every process, where the memory is mapped at different
/// addresses. It keeps nothing alive. All bytes are an offset, so it may be stored wherever [plain](crate::sync::Plain) data may; zero is none.
///
/// ```
/// # use std::alloc::Layout;
/// # use tenure::Offset;
/// struct Node {
///     value: u64,
///     next: Offset<Node>,
/// }
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
/// # let (me, other) = (space.join()?, space.join()?);
/// let (mut local, theirs) = (me.local(), other.local()); // usually in another process
/// let mut first = Offset::NONE;
/// for value in 0..3 {
///     let block = local.alloc(Layout::new::<Node>())?;
///     let node = local.address(block).cast::<Node>();
///     // SAFETY: the block is in use, large enough and aligned; no other code accesses it.
///     unsafe { node.write(Node { value, next: first }) };
///     first = local.offset_of(node).ok_or("not in the space")?;
/// }
/// let mut sum = 0;
/// while let Some(node) = theirs.resolve(first) {
///     // SAFETY: a node that was written above, and is not changed any more.
///     let Node { value, next } = unsafe { node.read() };
///     (sum, first) = (sum + value, next);
/// }
/// assert_eq!(sum, 3);
/// # Ok(()) }
/// ```
#[cfg_attr(feature = "objects", derive(FromBytes, IntoBytes, Immutable))]
#[repr(transparent)]
pub struct Offset<T> {
    /// Zero, or the offset plus one.
    bits: u64,
    value: PhantomData<fn() -> T>,
}

impl<T> Offset<T> {
    /// The offset of nothing.
    pub const NONE: Self = Self::from_bits(0);

    /// An offset of bits that [`Offset::bits`] returned, usually in another process. With any other bits, [`Local::resolve`] returns nothing,
    /// or the address of some other bytes of the scratch memory.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self { bits, value: PhantomData }
    }

    /// The number: zero for none. It may be stored in an atomic word.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.bits
    }

    /// Whether it is the offset of nothing.
    #[must_use]
    pub const fn is_none(self) -> bool {
        self.bits == 0
    }
}

impl Local<'_> {
    /// The offset of a value in the scratch memory of this space; `None` for an address elsewhere.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let local = me.local();
    /// let block = me.alloc(std::alloc::Layout::new::<[u64; 8]>())?;
    /// let third = block.as_ptr().cast::<u64>().wrapping_add(3);
    /// let offset = local.offset_of(third).ok_or("not in the space")?;
    /// assert_eq!(local.resolve(offset).map(|at| at.as_ptr()), Some(third));
    /// assert!(local.offset_of(&7u64).is_none()); // on the stack
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn offset_of<T>(&self, value: *const T) -> Option<Offset<T>> {
        Some(Offset::from_bits(self.shared().scratch.offset(value.cast())? + 1))
    }

    /// The address of a value in this process. `None` if the offset is none, if there are not as many bytes of scratch memory behind it, if they
    /// are not aligned for a `T`, and in a forked child: whatever the bits, the address is one of mapped bytes.
    ///
    /// To access them is unsafe, as with every pointer: see [`Local::address`].
    #[must_use]
    pub fn resolve<T>(&self, offset: Offset<T>) -> Option<NonNull<T>> {
        let at = offset.bits.checked_sub(1)?;
        self.shared().lease.check().ok()?;
        let start = self.shared().scratch.bytes_within(at, size_of::<T>() as u64)?.cast::<T>();
        start.is_aligned().then_some(start)
    }
}

impl<T> Clone for Offset<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Offset<T> {}

impl<T> Default for Offset<T> {
    fn default() -> Self {
        Self::NONE
    }
}

impl<T> PartialEq for Offset<T> {
    fn eq(&self, other: &Self) -> bool {
        self.bits == other.bits
    }
}

impl<T> Eq for Offset<T> {}

impl<T> Hash for Offset<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.bits.hash(state);
    }
}

impl<T> fmt::Debug for Offset<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.bits.checked_sub(1) {
            Some(offset) => write!(f, "Offset({offset})"),
            None => f.write_str("Offset::NONE"),
        }
    }
}
