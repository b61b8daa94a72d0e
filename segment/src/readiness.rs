//! Waiting for descriptors, and a descriptor that threads of this process make readable.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::task::Wake;

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::io::Errno;
use rustix::thread::ClockId;
use rustix::time::Timespec;

use crate::futex::{Deadline, Slept};

/// A descriptor that is readable from [`raise`](Signal::raise) to [`lower`](Signal::lower): an eventfd. As a waker, it is raised.
#[derive(Debug)]
pub struct Signal(OwnedFd);

impl Signal {
    /// Makes one that is lowered.
    ///
    /// # Errors
    ///
    /// The process has no descriptors left, or a sandbox denies them.
    pub fn new() -> io::Result<Self> {
        Ok(Self(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?))
    }

    /// Makes the descriptor readable; it may be so already.
    pub fn raise(&self) {
        // It fails only if the counter is at its maximum, and then the descriptor is readable.
        let _ = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
    }

    /// Makes the descriptor not readable.
    pub fn lower(&self) {
        // It fails only if the counter is zero.
        let _ = rustix::io::read(&self.0, &mut [0_u8; 8]);
    }
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.raise();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.raise();
    }
}

impl AsFd for Signal {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Sleeps until one of the descriptors can be read without waiting, has hung up or has failed; `Ok` is the index of the first that does,
/// `Err` why the sleep ended otherwise.
///
/// # Errors
///
/// An unexpected error of the kernel; a sandbox may deny the call.
pub fn sleep<'f>(
    descriptors: impl IntoIterator<Item = BorrowedFd<'f>>,
    deadline: &Deadline,
) -> io::Result<Result<usize, Slept>> {
    let mut polled: Vec<PollFd<'f>> =
        descriptors.into_iter().map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
    let left = deadline.time().map(left);
    match poll(&mut polled, left.as_ref()) {
        Ok(_) => Ok(polled.iter().position(|one| !one.revents().is_empty()).ok_or(Slept::TimedOut)),
        Err(Errno::INTR) => Ok(Err(Slept::Interrupted)),
        Err(error) => Err(error.into()),
    }
}

/// The time until the deadline, as `poll` wants it; zero if it has passed.
fn left(deadline: &Timespec) -> Timespec {
    let now = rustix::time::clock_gettime(ClockId::Monotonic);
    let (mut tv_sec, mut tv_nsec) = (deadline.tv_sec - now.tv_sec, deadline.tv_nsec - now.tv_nsec);
    if tv_nsec < 0 {
        (tv_sec, tv_nsec) = (tv_sec - 1, tv_nsec + 1_000_000_000);
    }
    if tv_sec < 0 { Timespec { tv_sec: 0, tv_nsec: 0 } } else { Timespec { tv_sec, tv_nsec } }
}

#[cfg(all(test, not(miri)))]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_signal_is_readable_from_the_raise_to_the_lowering() {
        let (first, second) = (Arc::new(Signal::new().unwrap()), Signal::new().unwrap());
        let now = Deadline::after(Some(Duration::ZERO));
        let look = || sleep([first.as_fd(), second.as_fd()], &now).unwrap();
        assert_eq!(look(), Err(Slept::TimedOut));
        second.raise();
        second.raise();
        assert_eq!(look(), Ok(1));
        first.wake_by_ref();
        assert_eq!(look(), Ok(0));
        first.lower();
        assert_eq!(look(), Ok(1));
        second.lower();
        assert_eq!(look(), Err(Slept::TimedOut));
        second.lower();
    }

    #[test]
    fn a_sleep_ends_at_its_deadline() {
        let signal = Signal::new().unwrap();
        let soon = Deadline::after(Some(Duration::from_millis(2)));
        assert_eq!(sleep([signal.as_fd()], &soon).unwrap(), Err(Slept::TimedOut));
        assert_eq!(left(soon.time().unwrap()), Timespec { tv_sec: 0, tv_nsec: 0 });
        let later = Timespec { tv_sec: soon.time().unwrap().tv_sec + 1000, tv_nsec: 0 };
        assert!((990..=1000).contains(&left(&later).tv_sec));
    }
}
