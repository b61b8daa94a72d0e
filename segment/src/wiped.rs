//! Private memory that is zero in a forked child.

use std::io;
use std::ptr::NonNull;

use rustix::mm::MapFlags;

use crate::mapping::Mapping;

/// Private memory of this process, zero at first, and zero again in a forked child [A6].
#[derive(Debug)]
pub struct Wiped(Mapping);

impl Wiped {
    /// Maps `bytes`, rounded up to whole pages.
    ///
    /// # Errors
    ///
    /// The error of the system: too little address space, too many mappings, or a kernel that cannot wipe (before Linux 4.14).
    pub fn new(bytes: usize) -> io::Result<Self> {
        let bytes = bytes.next_multiple_of(rustix::param::page_size());
        let memory = Mapping::anonymous(bytes as u64, MapFlags::PRIVATE)?;
        memory.wipe_in_children()?;
        Ok(Self(memory))
    }

    /// The first byte, aligned to a page.
    #[must_use]
    pub fn base(&self) -> NonNull<u8> {
        // Mappings are never at address zero.
        NonNull::new(self.0.base()).unwrap_or(NonNull::dangling())
    }
}
