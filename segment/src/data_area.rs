//! The data area: the part of a segment that belongs to the crates above.

use std::marker::PhantomData;

use tenure_core::sync::Word;

/// The data area of a segment, borrowed from a mapping: page aligned memory that other processes change meanwhile.
///
/// Access it only by atomics and raw copies. If it is borrowed from a [`Segment`](crate::Segment), it is mapped read-only: a store
/// faults. Bytes that were never committed must not be accessed, not even by loads.
#[derive(Clone, Copy, Debug)]
pub struct DataArea<'a> {
    base: *mut u8,
    bytes: usize,
    borrow: PhantomData<&'a Word>,
}

// SAFETY: a `DataArea` hands out `&[Word]` and a raw pointer; words are atomics, and dereferencing the pointer is unsafe.
unsafe impl Send for DataArea<'_> {}
// SAFETY: as above.
unsafe impl Sync for DataArea<'_> {}

impl<'a> DataArea<'a> {
    /// Asserts that `bytes` bytes at `base` are a data area.
    ///
    /// # Safety
    ///
    /// - `base` is aligned to 4096, `bytes` is a multiple of 8;
    /// - the range stays mapped for `'a`, and all code that accesses it meanwhile does so atomically or as an exclusive owner by the
    ///   protocols of the upper crates.
    #[must_use]
    pub const unsafe fn assume(base: *mut u8, bytes: usize) -> Self {
        Self { base, bytes, borrow: PhantomData }
    }

    /// The first byte.
    #[inline]
    #[must_use]
    pub const fn base(self) -> *mut u8 {
        self.base
    }

    /// The length in bytes, a multiple of 4096.
    #[inline]
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "a data area is never empty")]
    pub const fn len(self) -> usize {
        self.bytes
    }

    /// The whole data area as words.
    #[inline]
    #[must_use]
    pub const fn words(self) -> &'a [Word] {
        // SAFETY: in range and aligned by the contract of `assume`; words are atomics, so writes by others through
        // their own mappings are no aliasing violation [A1].
        unsafe { std::slice::from_raw_parts(self.base.cast::<Word>(), self.bytes / 8) }
    }
}
