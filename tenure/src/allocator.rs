//! An allocator for collections, over a local.

use std::alloc::Layout;
use std::cell::RefCell;
use std::ptr::NonNull;

use allocator_api2::alloc::{AllocError, Allocator};

use crate::local::Local;
use crate::raw::RawBlock;

/// Scratch memory for collections of `allocator_api2`, of `hashbrown` and of others that take an allocator: they use memory of the space
/// instead of the heap. The collections are this process's own; if it dies, their memory is recovered.
///
/// ```
/// use allocator_api2::vec::Vec;
/// use tenure::collections::ScratchAllocator;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
/// # let me = space.join()?;
/// let scratch = ScratchAllocator::new(me.local());
/// let mut numbers = Vec::new_in(&scratch);
/// numbers.extend(0..1000);
/// assert_eq!((numbers.iter().sum::<i32>(), space.stats().blocks_leased), (499_500, 1));
/// # Ok(()) }
/// ```
///
/// A collection borrows the allocator, which has the local, which borrows the member: so the memory is mapped as long as a collection exists.
/// This does not compile:
///
/// ```compile_fail,E0505
/// # use allocator_api2::vec::Vec;
/// # use tenure::collections::ScratchAllocator;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
/// # let me = space.join()?;
/// let scratch = ScratchAllocator::new(me.local());
/// let numbers = Vec::<i32, _>::with_capacity_in(10, &scratch);
/// me.leave()?;
/// drop(numbers);
/// # Ok(()) }
/// ```
///
/// # Fork
///
/// As with all references from before a fork, the memory is not mapped in a forked child: to use a collection there ends the child, by
/// SIGSEGV. A child that only calls `exec` or `_exit` is not concerned.
#[derive(Debug)]
pub struct ScratchAllocator<'m> {
    local: RefCell<Local<'m>>,
}

impl<'m> ScratchAllocator<'m> {
    /// Allocates through this local from now on.
    #[must_use]
    pub fn new(local: Local<'m>) -> Self {
        Self { local: RefCell::new(local) }
    }

    fn block(&self, data: NonNull<u8>, layout: Layout) -> Option<RawBlock> {
        let offset = self.local.borrow().shared().scratch.offset(data.as_ptr())?;
        Some(RawBlock { offset, len: layout.size() })
    }

    /// # Safety
    ///
    /// As [`Allocator::grow`] and [`Allocator::shrink`].
    unsafe fn resize(
        &self,
        data: NonNull<u8>,
        old: Layout,
        new: Layout,
    ) -> Result<NonNull<[u8]>, AllocError> {
        if old.size() == 0 || new.size() == 0 {
            let fresh = self.allocate(new)?;
            // SAFETY: the caller's promise. One of the two has no bytes to keep.
            unsafe { self.deallocate(data, old) };
            return Ok(fresh);
        }
        let block = self.block(data, old).ok_or(AllocError)?;
        let mut local = self.local.borrow_mut();
        // SAFETY: the caller owns the block, and uses the old address no more.
        let resized = unsafe { local.realloc(block, new) }.map_err(|_| AllocError)?;
        slice(local.address(resized), new.size())
    }
}

fn slice(data: *mut u8, len: usize) -> Result<NonNull<[u8]>, AllocError> {
    Ok(NonNull::slice_from_raw_parts(NonNull::new(data).ok_or(AllocError)?, len))
}

// SAFETY: a block is mapped as long as the member exists, which the local borrows; it is freed by `deallocate` only, since freeing it by a raw
// value is unsafe. Moving the allocator moves no block.
unsafe impl Allocator for ScratchAllocator<'_> {
    fn allocate(&self, layout: Layout) -> Result<NonNull<[u8]>, AllocError> {
        if layout.size() == 0 {
            return slice(std::ptr::without_provenance_mut(layout.align()), 0);
        }
        let mut local = self.local.borrow_mut();
        let block = local.alloc(layout).map_err(|_| AllocError)?;
        slice(local.address(block), block.len)
    }

    unsafe fn deallocate(&self, data: NonNull<u8>, layout: Layout) {
        if layout.size() == 0 {
            return;
        }
        if let Some(block) = self.block(data, layout) {
            // In a forked child it is refused: the block is the parent's.
            // SAFETY: the caller owns the block, and uses it no more.
            let _ = unsafe { self.local.borrow_mut().free(block) };
        }
    }

    unsafe fn grow(&self, data: NonNull<u8>, old: Layout, new: Layout) -> Result<NonNull<[u8]>, AllocError> {
        // SAFETY: the caller's promise.
        unsafe { self.resize(data, old, new) }
    }

    unsafe fn shrink(
        &self,
        data: NonNull<u8>,
        old: Layout,
        new: Layout,
    ) -> Result<NonNull<[u8]>, AllocError> {
        // SAFETY: the caller's promise.
        unsafe { self.resize(data, old, new) }
    }
}
