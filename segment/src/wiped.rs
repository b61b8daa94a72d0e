//! Private memory, and private values, that read zero in a forked child.

use std::alloc::{Layout, handle_alloc_error};
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

use rustix::mm::MapFlags;

use crate::mapping::Mapping;

/// A page of private memory of this process, zero at first, and zero again in a forked child `[A6]`.
#[derive(Debug)]
pub struct WipedPage(Mapping);

impl WipedPage {
    /// The bytes that every page has.
    pub const BYTES: usize = 4096;

    /// Maps a page.
    ///
    /// # Errors
    ///
    /// The error of the system: too little address space, too many mappings, or a kernel that cannot wipe (before Linux 4.14).
    pub fn new() -> io::Result<Self> {
        let page = Mapping::anonymous(rustix::param::page_size() as u64, MapFlags::PRIVATE)?;
        page.wipe_in_children()?;
        Ok(Self(page))
    }

    /// The first byte.
    #[must_use]
    #[inline(always)]
    pub fn base(&self) -> *mut u8 {
        self.0.base()
    }
}

/// A value in a page of its own, of whose bytes a forked child has zeroes `[A6]`. So one compare with a number in it, which the operation
/// needs anyway, refuses the child as well.
pub struct Wiped<T> {
    page: WipedPage,
    value: PhantomData<T>,
}

// SAFETY: it owns the value, as a `Box` does.
unsafe impl<T: Send> Send for Wiped<T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for Wiped<T> {}

impl<T: Copy> Wiped<T> {
    /// The position in the page. Not the start, where many objects with pages of their own begin: some processors delay a load that
    /// follows a store to the same position of another page.
    const POSITION: usize = 0x600;

    /// Zero bytes as a value. Without memory it ends the process, as a `Box` does.
    ///
    /// # Safety
    ///
    /// Zero bytes are a valid `T`.
    #[must_use]
    pub unsafe fn zeroed() -> Self {
        const { assert!(size_of::<T>() <= WipedPage::BYTES - Self::POSITION && align_of::<T>() <= 64) };
        let page = WipedPage::new().unwrap_or_else(|_| handle_alloc_error(Layout::new::<T>()));
        Self { page, value: PhantomData }
    }
}

impl<T: Copy> Deref for Wiped<T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: the page is ours, mapped as long as `self`, and large enough; its bytes are a value, or zero, which is one.
        unsafe { &*self.page.base().add(Self::POSITION).cast() }
    }
}

impl<T: Copy> DerefMut for Wiped<T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`; borrowed alone.
        unsafe { &mut *self.page.base().add(Self::POSITION).cast() }
    }
}

impl<T: Copy + fmt::Debug> fmt::Debug for Wiped<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forked_child_reads_zero() {
        // SAFETY: zero bytes are numbers.
        let mut value = unsafe { Wiped::<[u64; 3]>::zeroed() };
        assert_eq!(*value, [0; 3]);
        *value = [1, 2, 3];
        // SAFETY: the child makes one load and ends.
        let child = unsafe { libc::fork() };
        if child == 0 {
            // SAFETY: ends this process at once.
            unsafe { libc::_exit(i32::from(*value != [0; 3])) };
        }
        let mut status = -1;
        // SAFETY: our child, and a place for its status.
        unsafe { libc::waitpid(child, &raw mut status, 0) };
        assert_eq!((status, *value), (0, [1, 2, 3]));
    }
}
