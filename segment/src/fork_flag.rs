//! A page by which a member is told from its forked child, and from a member that has left.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::NotMember;
use crate::wiped::WipedPage;

const FORKED: u64 = 0;
const LEFT: u64 = 1;

/// The last serial of a member of this process, shared by its spaces: a thread compares serials of different spaces. A forked child
/// counts on from a copy, so a serial that the child's thread remembers is never given out there.
static LAST_SERIAL: AtomicU64 = AtomicU64::new(LEFT);

/// The position of the word in its page. See `Wiped::POSITION`; this is another one.
const POSITION: usize = 0xe40;

/// Whether the value of a member's [serial word](crate::Lease::serial) is a serial: this process is the member, and has not left.
#[inline]
#[must_use]
pub const fn is_serial(value: u64) -> bool {
    value > LEFT
}

/// The serial of a member: a number that no other member of this process, or of the processes that it was forked from, has. The word
/// reads zero in a forked child [A6], and [`LEFT`] after the member has left.
#[derive(Debug)]
pub(crate) struct ForkFlag {
    page: WipedPage,
}

impl ForkFlag {
    pub(crate) fn new() -> io::Result<Self> {
        let flag = Self { page: WipedPage::new()? };
        // Relaxed, both: the serials need only be distinct; publishing the lease to another thread publishes the word as well.
        let serial = LAST_SERIAL.fetch_add(1, Ordering::Relaxed) + 1;
        flag.word().store(serial, Ordering::Relaxed);
        Ok(flag)
    }

    /// The word of the serial; for reading only.
    #[inline]
    pub(crate) fn word(&self) -> &AtomicU64 {
        // SAFETY: the page is ours, mapped as long as `self`, and longer than the position, which is a multiple of 8.
        unsafe { AtomicU64::from_ptr(self.page.base().add(POSITION).cast()) }
    }

    /// Whether this process is the member. Takes about a nanosecond.
    #[inline]
    pub(crate) fn check(&self) -> Result<(), NotMember> {
        // Relaxed: the answer orders nothing; the caller excludes that other threads work while it leaves.
        let value = self.word().load(Ordering::Relaxed);
        if is_serial(value) { Ok(()) } else { Err(refusal(value)) }
    }

    pub(crate) fn mark_left(&self) {
        // Relaxed: as in `check`.
        self.word().store(LEFT, Ordering::Relaxed);
    }
}

#[cold]
fn refusal(value: u64) -> NotMember {
    if value == FORKED { NotMember::ForkedChild } else { NotMember::Left }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serials_are_distinct_and_end_with_the_membership() {
        let serial = |flag: &ForkFlag| flag.word().load(Ordering::Relaxed);
        let (first, second) = (ForkFlag::new().unwrap(), ForkFlag::new().unwrap());
        assert!(serial(&first) > LEFT && serial(&second) > serial(&first));
        first.mark_left();
        assert_eq!((first.check(), second.check()), (Err(NotMember::Left), Ok(())));
        // SAFETY: the child makes one load and ends.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let forked = second.check() == Err(NotMember::ForkedChild);
            // SAFETY: ends this process at once.
            unsafe { libc::_exit(i32::from(!forked)) };
        }
        let mut status = -1;
        // SAFETY: our child, and a place for its status.
        unsafe { libc::waitpid(child, &raw mut status, 0) };
        assert_eq!(status, 0);
    }
}
