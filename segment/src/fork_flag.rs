//! The page that tells a member from its forked child, and from one that has left.

use std::io;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::mm::MapFlags;

use crate::error::NotMember;
use crate::mapping::Mapping;

const FORKED: u32 = 0;
const MEMBER: u32 = 1;
const LEFT: u32 = 2;

/// A word that reads zero in a forked child [A6].
#[derive(Debug)]
pub(crate) struct ForkFlag {
    page: Mapping,
}

impl ForkFlag {
    pub(crate) fn new() -> io::Result<Self> {
        let page = Mapping::anonymous(rustix::param::page_size() as u64, MapFlags::PRIVATE)?;
        page.wipe_in_children()?;
        let flag = Self { page };
        // Relaxed: the value is handed to other threads by whatever publishes the lease.
        flag.word().store(MEMBER, Ordering::Relaxed);
        Ok(flag)
    }

    #[inline]
    fn word(&self) -> &AtomicU32 {
        // SAFETY: the page is ours, aligned, and mapped as long as `self`.
        unsafe { AtomicU32::from_ptr(self.page.base().cast()) }
    }

    /// About a nanosecond.
    #[inline]
    pub(crate) fn check(&self) -> Result<(), NotMember> {
        // Relaxed: an answer, not an edge; leaving while other threads work is excluded by the caller.
        match self.word().load(Ordering::Relaxed) {
            MEMBER => Ok(()),
            value => Err(refusal(value)),
        }
    }

    pub(crate) fn mark_left(&self) {
        // Relaxed: as in `check`.
        self.word().store(LEFT, Ordering::Relaxed);
    }
}

#[cold]
fn refusal(value: u32) -> NotMember {
    if value == FORKED { NotMember::ForkedChild } else { NotMember::Left }
}
