//! A set of waits, with a descriptor that is readable when one of them can go on.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::future::Future;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll, Wake, Waker};

use tenure_core::sync::lock;
use tenure_segment::futex::Slept;
use tenure_segment::readiness::{self, Signal};

use super::error::WaitError;
use super::options::{Limits, WaitOptions};
use crate::member::Member;
use crate::shared::Shared;

/// Waits of one thread for any number of objects, beside what has a descriptor: sockets, pipes, timers.
///
/// A wait is a future, for instance of [`Event::wait_async`](crate::sync::Event::wait_async), or of an `async` block that does several
/// things one after the other. Each has a tag, a number of the caller's choice. The descriptor of the set is readable as long as
/// [`take`](WaitSet::take) has something to do, so an event loop on `poll` or `epoll` waits for it beside its other descriptors.
/// A program that has an executor for futures needs no set.
///
/// ```
/// # use tenure::sync::{Event, Reset, Semaphore, WaitSet};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
/// # let me = space.join()?;
/// let (stop, permits) = (Event::create(&me, Reset::Manual)?, Semaphore::create(&me, 0, 8)?);
/// let mut waits = WaitSet::new(&me)?;
/// waits.insert(1, stop.wait_async());
/// waits.insert(2, permits.acquire_async());
/// assert!(waits.take()?.is_none());
///
/// permits.release(1)?; // usually by another process: now the descriptor is readable
/// # use std::os::fd::AsFd;
/// let _fd = waits.as_fd(); // for poll, or epoll
/// let (tag, result) = waits.wait(None)?; // as poll and take
/// assert_eq!(tag, 2);
/// result?;
/// # Ok(()) }
/// ```
///
/// A wait has taken nothing until [`take`](WaitSet::take) or [`wait`](WaitSet::wait) returns its result. One that is removed before, or
/// dropped with the set, has taken nothing, and keeps no wake-up from others.
///
/// # Progress
///
/// [`take`](WaitSet::take) does not wait, unless a future of the caller does. Nothing polls: threads of the member, one for 127 objects, sleep in the kernel.
///
/// # Crash
///
/// As the waits in it.
pub struct WaitSet<'w, T> {
    shared: Arc<Shared>,
    woken: Arc<Woken>,
    waits: HashMap<u64, Wait<'w, T>>,
}

struct Wait<'w, T> {
    future: Pin<Box<dyn Future<Output = T> + Send + 'w>>,
    tagged: Arc<Tagged>,
}

/// The waits that can go on.
struct Woken {
    /// Those in the list once; also former ones, which are not in the set any more.
    list: Mutex<VecDeque<Arc<Tagged>>>,
    /// Raised while the list is not empty, and changed under its lock.
    signal: Signal,
}

/// The waker of a wait.
struct Tagged {
    tag: u64,
    /// It is in the list.
    is_listed: AtomicBool,
    /// None after the set was dropped.
    woken: Weak<Woken>,
}

impl Wake for Tagged {
    fn wake(self: Arc<Self>) {
        // AcqRel: whoever finds it listed leaves its wake-up to that entry; pairs with the exchange in `take`, after which the poll sees what came
        // before this.
        if !self.is_listed.swap(true, Ordering::AcqRel) {
            let Some(woken) = self.woken.upgrade() else { return };
            let mut list = lock(&woken.list);
            if list.is_empty() {
                woken.signal.raise();
            }
            list.push_back(self);
        }
    }
}

impl<'w, T> WaitSet<'w, T> {
    /// Makes an empty set for waits of this member.
    ///
    /// # Errors
    ///
    /// The process has no descriptors left, or a sandbox denies them (eventfd).
    pub fn new(member: &Member) -> io::Result<Self> {
        let woken = Arc::new(Woken { list: Mutex::default(), signal: Signal::new()? });
        Ok(Self { shared: Arc::clone(member.shared()), woken, waits: HashMap::new() })
    }

    /// Adds a wait; it begins in the next [`take`](WaitSet::take). One that had the same tag is removed.
    pub fn insert(&mut self, tag: u64, wait: impl Future<Output = T> + Send + 'w) {
        let woken = Arc::downgrade(&self.woken);
        let tagged = Arc::new(Tagged { tag, is_listed: AtomicBool::new(false), woken });
        self.waits.insert(tag, Wait { future: Box::pin(wait), tagged: Arc::clone(&tagged) });
        tagged.wake();
    }

    /// Ends a wait, which has taken nothing; false if the set has none with that tag.
    pub fn remove(&mut self, tag: u64) -> bool {
        self.waits.remove(&tag).is_some()
    }

    /// How many waits are in the set.
    #[must_use]
    pub fn len(&self) -> usize {
        self.waits.len()
    }

    /// Whether no wait is in the set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waits.is_empty()
    }

    /// The tag and the result of a wait that is done, which leaves the set; `None` if no wait is done. The waits take turns.
    ///
    /// An event loop whose descriptors are edge-triggered (`EPOLLET`) calls this until it returns `None`.
    ///
    /// # Errors
    ///
    /// [`WaitError::NotMember`]: in a forked child. Other errors are in the result of the wait that they belong to.
    pub fn take(&mut self) -> Result<Option<(u64, T)>, WaitError> {
        // In a forked child, a thread that does not exist may have the list locked.
        self.shared.lease.check()?;
        loop {
            let next = {
                let mut list = lock(&self.woken.list);
                let next = list.pop_front();
                if list.is_empty() {
                    self.woken.signal.lower();
                }
                next
            };
            let Some(tagged) = next else { return Ok(None) };
            // AcqRel: before the poll: a wake-up that comes after its look lists it again; pairs with the exchange in `wake`.
            tagged.is_listed.swap(false, Ordering::AcqRel);
            let Some(wait) = self.waits.get_mut(&tagged.tag) else { continue };
            if !Arc::ptr_eq(&wait.tagged, &tagged) {
                continue;
            }
            let tag = tagged.tag;
            let waker = Waker::from(tagged);
            if let Poll::Ready(result) = wait.future.as_mut().poll(&mut Context::from_waker(&waker)) {
                self.waits.remove(&tag);
                return Ok(Some((tag, result)));
            }
        }
    }

    /// As [`take`](WaitSet::take), and waits. `options` is usually a timeout: `None` waits without limit, zero does not wait; see [`WaitOptions`].
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tenure::{error::WaitError, sync::{Event, Reset, WaitSet}};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let events = (0..1000).map(|_| Event::create(&me, Reset::Auto)).collect::<Result<Vec<_>, _>>();
    /// # assert!(events.is_err()); // 64 handles
    /// # let events = (0..32).map(|_| Event::create(&me, Reset::Auto)).collect::<Result<Vec<_>, _>>();
    /// let events = events?;
    /// let mut waits = WaitSet::new(&me)?;
    /// for (tag, event) in (0..).zip(&events) {
    ///     waits.insert(tag, event.wait_async());
    /// }
    /// let none = waits.wait(Duration::from_millis(1));
    /// assert!(matches!(none, Err(WaitError::TimedOut)));
    /// events[17].set()?;
    /// assert_eq!(waits.wait(None)?.0, 17);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`WaitError::TimedOut`] or [`WaitError::Interrupted`], by the options; [`WaitError::NotMember`]; [`WaitError::Os`] if a sandbox denies
    /// `poll`. An empty set waits as one whose waits are never done.
    pub fn wait(&mut self, options: impl Into<WaitOptions>) -> Result<(u64, T), WaitError> {
        let mut limits = Limits::of(options.into());
        loop {
            if let Some(done) = self.take()? {
                return Ok(done);
            }
            limits.check()?;
            let woken = &self.woken;
            limits.sleep(|deadline| {
                let slept = readiness::sleep([woken.signal.as_fd()], deadline)?;
                Ok(slept.map_or_else(|end| end, |_| Slept::Woken))
            })?;
        }
    }
}

impl<T> AsFd for WaitSet<'_, T> {
    /// Readable as long as [`take`](WaitSet::take) has something to do. To be watched, not to be read.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.woken.signal.as_fd()
    }
}

impl<T> fmt::Debug for WaitSet<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WaitSet").field("len", &self.len()).finish_non_exhaustive()
    }
}
