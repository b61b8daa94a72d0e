//! A page by which a member is told from its forked child, and from a member that has left.

use std::io;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::error::NotMember;
use crate::wiped::Wiped;

const FORKED: u32 = 0;
const MEMBER: u32 = 1;
const LEFT: u32 = 2;

/// A word that reads zero in a forked child [A6].
#[derive(Debug)]
pub(crate) struct ForkFlag {
    page: Wiped,
}

impl ForkFlag {
    pub(crate) fn new() -> io::Result<Self> {
        let flag = Self { page: Wiped::new(size_of::<AtomicU32>())? };
        // Relaxed: publishing the lease to another thread publishes this value as well.
        flag.word().store(MEMBER, Ordering::Relaxed);
        Ok(flag)
    }

    #[inline]
    fn word(&self) -> &AtomicU32 {
        // SAFETY: the page is ours, aligned, and mapped as long as `self`.
        unsafe { AtomicU32::from_ptr(self.page.base().as_ptr().cast()) }
    }

    /// Whether this process is the member. Takes about a nanosecond.
    #[inline]
    pub(crate) fn check(&self) -> Result<(), NotMember> {
        // Relaxed: the answer orders nothing; the caller excludes that other threads work while it leaves.
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
