//! A thread as a handle.

use tenure_segment::process::{Scope, own_thread};
use tenure_slab::Token;

use super::error::ProcessError;
use super::exit::Exit;
use super::subject::{Subject, waits_as_its_subject};
use crate::member::Member;
use crate::names::Named;
use crate::place::{Key, Place};
use crate::waiting::{WaitError, WaitOptions};

/// A thread of any process as a handle. The handle never refers to another thread that has the same number earlier or later. Dropping it
/// closes it.
///
/// Needs Linux 6.9; on older kernels, creation fails with [`PidError::Unsupported`](crate::error::PidError::Unsupported). A thread that returns
/// ends with code 0 in the kernel; the code that it [announced](Thread::exiting) completes that. When its process ends, the thread
/// ends with the status of the process. All else is as for [`Process`](crate::process::Process).
///
/// ```
/// # use tenure::{error::{PidError, ProcessError}, process::Thread};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
/// # let (me, other) = (space.join()?, space.join()?);
/// let thread = match Thread::current(&me) {
///     Err(ProcessError::Pid(PidError::Unsupported { .. })) => return Ok(()), // before Linux 6.9
///     thread => thread?,
/// };
/// let theirs = Thread::open(&other, thread.token())?; // usually in another process
/// assert_eq!(theirs.exit()?, None); // it runs
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Thread {
    subject: Subject,
}

impl Thread {
    /// Creates a handle of the thread that has the number `tid` now, in the caller's pid namespace.
    ///
    /// ```
    /// # use tenure::{error::ProcessError, process::Thread};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// assert!(matches!(Thread::of_tid(&me, u32::MAX), Err(ProcessError::Pid(_)))); // no thread has it
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Process::of_pid`](crate::process::Process::of_pid), and `Unsupported` before Linux 6.9.
    ///
    /// # Progress
    ///
    /// As [`Process::of_pid`](crate::process::Process::of_pid).
    ///
    /// # Crash
    ///
    /// As [`Process::of_pid`](crate::process::Process::of_pid).
    pub fn of_tid<'a>(place: impl Into<Place<'a>>, tid: u32) -> Result<Self, ProcessError> {
        Ok(Self { subject: Subject::create(place.into(), tid, Scope::Thread)? })
    }

    /// Opens the thread that has the name, or creates a handle of the thread `tid` with the name, in one step; see
    /// [`Member::create_or_open`](crate::Member::create_or_open). The opened thread may be another one than `tid`.
    ///
    /// # Errors
    ///
    /// As [`Thread::of_tid`] and [`Thread::open`]; nothing is held.
    pub fn create_or_open(member: &Member, name: &str, tid: u32) -> Result<Named<Self>, ProcessError> {
        let named = Subject::create_or_open(member, name, tid, Scope::Thread)?;
        named.try_map(|subject| Ok(Self { subject }))
    }

    /// Creates a handle of the calling thread.
    ///
    /// # Errors
    ///
    /// As [`Thread::of_tid`].
    pub fn current<'a>(place: impl Into<Place<'a>>) -> Result<Self, ProcessError> {
        Self::of_tid(place, own_thread().unsigned_abs())
    }

    /// Opens the thread of a token, or the one that has a name.
    ///
    /// # Errors
    ///
    /// As [`Process::open`](crate::process::Process::open).
    pub fn open<'k>(member: &Member, key: impl Into<Key<'k>>) -> Result<Self, ProcessError> {
        Ok(Self { subject: Subject::open(member, key.into(), Scope::Thread)? })
    }

    /// One more owner of the same count of the handle.
    ///
    /// # Errors
    ///
    /// [`ProcessError::NotMember`].
    pub fn try_clone(&self) -> Result<Self, ProcessError> {
        Ok(Self { subject: self.subject.try_clone()? })
    }

    /// The token: 64 bits to pass to other processes.
    #[must_use]
    pub fn token(&self) -> Token {
        self.subject.object().token()
    }

    /// The thread id, in the pid namespace of the creator of the handle.
    #[must_use]
    pub fn tid(&self) -> u32 {
        self.subject.identity().number.unsigned_abs()
    }

    /// The exit of the thread; `None` while it runs. As [`Process::exit`](crate::process::Process::exit).
    ///
    /// # Errors
    ///
    /// As [`Process::exit`](crate::process::Process::exit).
    pub fn exit(&self) -> Result<Option<Exit>, ProcessError> {
        self.subject.exit()
    }

    /// Waits for the end of the thread. As [`Process::wait`](crate::process::Process::wait).
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tenure::{error::{PidError, ProcessError, WaitError}, process::Thread};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// # let thread = match Thread::current(&me) {
    /// #     Err(ProcessError::Pid(PidError::Unsupported { .. })) => return Ok(()),
    /// #     thread => thread?,
    /// # };
    /// let timed_out = thread.wait(Some(Duration::ZERO));
    /// assert!(matches!(timed_out, Err(WaitError::TimedOut))); // `thread` is this one, which still runs
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Process::wait`](crate::process::Process::wait).
    pub fn wait(&self, options: impl Into<WaitOptions>) -> Result<Exit, WaitError> {
        self.subject.wait(options.into())
    }

    /// As [`Thread::wait`], as a future, for any executor; the executor's own timeouts limit it.
    ///
    /// # Errors
    ///
    /// As [`Thread::wait`], but for the timeout; [`WaitError::Os`] if no thread can sleep for it.
    ///
    /// # Cancellation
    ///
    /// A future that is dropped has taken nothing, and keeps no wake-up from others.
    pub async fn wait_async(&self) -> Result<Exit, WaitError> {
        self.subject.wait_async().await
    }

    /// Announces the code with which this thread is about to end. Only the thread of the handle can call it. As
    /// [`Process::exiting`](crate::process::Process::exiting); a thread that returns ends with 0 in the kernel, so any announced code is kept, unless
    /// the process of the thread is killed.
    ///
    /// ```
    /// # use tenure::{error::{PidError, ProcessError}, process::Thread};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let thread = match Thread::current(&me) {
    ///     Err(ProcessError::Pid(PidError::Unsupported { .. })) => return Ok(()), // before Linux 6.9
    ///     thread => thread?,
    /// };
    /// thread.exiting(7)?; // and then this thread returns
    /// assert!(matches!(thread.exiting(8), Err(ProcessError::AlreadyAnnounced)));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Process::exiting`](crate::process::Process::exiting).
    pub fn exiting(&self, code: i32) -> Result<(), ProcessError> {
        self.subject.exiting(own_thread(), code)
    }
}

waits_as_its_subject!(Thread);
