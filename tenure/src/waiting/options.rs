//! The limits of a wait.

use std::time::{Duration, Instant};

use tenure_segment::futex::{Deadline, Slept};

use super::error::WaitError;

/// How long a wait lasts at most, and whether a signal ends it.
///
/// All waits take one, and accept an `Option<Duration>` or a `Duration` in its place: a timeout, and no interruption. `None` waits without
/// limit, zero does not wait.
///
/// ```
/// # use std::time::{Duration, Instant};
/// # use tenure::{error::WaitError, sync::{Event, Reset, WaitOptions, wait_any}};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
/// # let me = space.join()?;
/// # let (one, two) = (Event::create(&me, Reset::Auto)?, Event::options(Reset::Auto).signalled(true).create(&me)?);
/// // One deadline for several waits:
/// let both = WaitOptions::new().deadline(Instant::now() + Duration::from_millis(10));
/// two.wait(both)?;
/// assert!(matches!(one.wait(both), Err(WaitError::TimedOut)));
///
/// // A program whose signal handlers only set a flag:
/// # let is_over = || true;
/// match wait_any(&[&one, &two], WaitOptions::new().timeout(Duration::from_millis(1)).interruptible()) {
///     Err(WaitError::Interrupted) if is_over() => { /* nothing was taken */ }
///     other => println!("{other:?}"),
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct WaitOptions {
    limit: Limit,
    interruptible: bool,
}

#[derive(Clone, Copy, Debug, Default)]
enum Limit {
    #[default]
    Never,
    After(Duration),
    At(Instant),
}

impl WaitOptions {
    /// A wait without limit that goes on after a signal.
    #[must_use]
    pub const fn new() -> Self {
        Self { limit: Limit::Never, interruptible: false }
    }

    /// The wait fails with [`WaitError::TimedOut`] when it has lasted for `timeout`. Zero does not wait.
    #[must_use]
    pub const fn timeout(self, timeout: Duration) -> Self {
        Self { limit: Limit::After(timeout), ..self }
    }

    /// The wait fails with [`WaitError::TimedOut`] at `deadline`. A deadline in the past does not wait.
    #[must_use]
    pub const fn deadline(self, deadline: Instant) -> Self {
        Self { limit: Limit::At(deadline), ..self }
    }

    /// A signal handler that runs while the calling thread sleeps ends the wait with [`WaitError::Interrupted`]: nothing was taken, and no
    /// signal of an object is lost. Without this, the wait goes on after the handler, until the same deadline.
    ///
    /// A handler that was installed with `SA_RESTART` need not end the wait. A handler that runs just before the thread sleeps does not
    /// end it.
    #[must_use]
    pub const fn interruptible(self) -> Self {
        Self { interruptible: true, ..self }
    }
}

impl WaitOptions {
    /// The same limit for a wait in several parts, which begins now.
    pub(super) fn begun(self) -> Self {
        let limit = match self.limit {
            Limit::After(timeout) if !timeout.is_zero() => {
                // A time that cannot be expressed is no limit.
                Instant::now().checked_add(timeout).map_or(Limit::Never, Limit::At)
            }
            other => other,
        };
        Self { limit, ..self }
    }
}

impl From<Option<Duration>> for WaitOptions {
    #[inline]
    fn from(timeout: Option<Duration>) -> Self {
        timeout.map_or(Self::new(), |timeout| Self::new().timeout(timeout))
    }
}

impl From<Duration> for WaitOptions {
    #[inline]
    fn from(timeout: Duration) -> Self {
        Self::new().timeout(timeout)
    }
}

/// The limits of one wait that has begun.
pub(crate) struct Limits {
    options: WaitOptions,
    /// Computed before the first sleep.
    deadline: Option<Deadline>,
    /// The deadline has passed.
    is_over: bool,
}

impl Limits {
    pub(crate) fn of(options: WaitOptions) -> Self {
        let is_over = matches!(options.limit, Limit::After(timeout) if timeout.is_zero());
        Self { options, deadline: None, is_over }
    }

    /// After a look at the objects that found none to take: whether the caller may sleep.
    ///
    /// # Errors
    ///
    /// [`WaitError::TimedOut`].
    pub(crate) fn check(&self) -> Result<(), WaitError> {
        if self.is_over { Err(WaitError::TimedOut) } else { Ok(()) }
    }

    /// Sleeps until the deadline at most. When it has passed, the caller looks once more.
    ///
    /// # Errors
    ///
    /// [`WaitError::Interrupted`]. The caller takes nothing then, even if an object is available by now: it stays available to all.
    pub(crate) fn sleep(
        &mut self,
        sleep: impl FnOnce(&Deadline) -> Result<Slept, WaitError>,
    ) -> Result<(), WaitError> {
        let deadline = self.deadline.get_or_insert_with(|| {
            Deadline::after(match self.options.limit {
                Limit::Never => None,
                Limit::After(timeout) => Some(timeout),
                Limit::At(deadline) => Some(deadline.saturating_duration_since(Instant::now())),
            })
        });
        match sleep(deadline)? {
            Slept::Interrupted if self.options.interruptible => return Err(WaitError::Interrupted),
            Slept::Interrupted | Slept::Woken => {}
            Slept::TimedOut => self.is_over = true,
        }
        Ok(())
    }
}
