//! A process as a handle.

use std::os::fd::OwnedFd;
use std::process::{Child, ExitStatus};

use tenure_segment::process::{PidFd, Scope};
use tenure_slab::Token;

use super::error::ProcessError;
use super::exit::{Exit, status_of};
use super::subject::{Subject, waits_as_its_subject};
use crate::member::Member;
use crate::names::Named;
use crate::place::{Key, Place};
use crate::waiting::{WaitError, WaitOptions};

/// A process as a handle. The handle never refers to another process that has the same number earlier or later. Dropping it closes it.
///
/// The process can be any process of this machine that the caller can see, a member or not. Every holder of the handle can read the exit
/// of the process, for as long as at least one member holds the handle.
///
/// ```
/// # use tenure::process::{Exit, Process};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
/// # let (me, other) = (space.join()?, space.join()?);
/// let mut child = std::process::Command::new("sh").args(["-c", "exit 3"]).spawn()?;
/// let process = Process::of_child(&me, &child)?;
///
/// // Usually in another process:
/// let theirs = Process::open(&other, process.token())?;
/// theirs.wait(None)?;
///
/// process.reaped(child.wait()?)?; // now all holders know the exit, on every kernel
/// assert_eq!(theirs.exit()?, Some(Exit::Code(3)));
/// # Ok(()) }
/// ```
///
/// # Sources of the exit
///
/// Since Linux 6.15 the kernel tells the exit status to every member that held the handle when the process was reaped. Older kernels tell
/// it to the parent, and to processes that may read `/proc` between the end of the process and its reaping (as a rule, those of the same
/// user). The watcher of each holder records the status that it gets. In addition, a process can [announce](Process::exiting) its code,
/// and the process that reaps it can [record](Process::reaped) the status. Without any of these the exit is [`Exit::Unknown`].
///
/// A member [without a monitor](crate::Options::monitor) has no watcher until it waits for a process. Until then exits are recorded only
/// by calls that ask for them.
///
/// # Fork
///
/// A forked child is not a member, and its copies of handles do nothing.
#[derive(Debug)]
pub struct Process {
    subject: Subject,
}

impl Process {
    /// Creates a handle of the process that has this number now, in the caller's pid namespace. A process that has ended and is not reaped
    /// yet has its number still. A child of the caller keeps its number until the caller reaps it. The kernel may reuse any other number at
    /// any time: check [`Process::started_at`] if that matters.
    ///
    /// ```
    /// # use tenure::{error::ProcessError, process::Process};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let process = Process::of_pid(&me, std::process::id())?;
    /// assert_eq!((process.pid(), process.exit()?), (std::process::id(), None)); // it runs
    /// assert!(matches!(Process::of_pid(&me, u32::MAX), Err(ProcessError::Pid(_))));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`ProcessError::Pid`] if no process has the number, or if it is the number of a thread; [`ProcessError::Create`]. Nothing is held.
    ///
    /// # Progress
    ///
    /// As [`Member::create`](crate::Member::create), and a few system calls. Waits for the watcher thread of this process, which waits for no
    /// other process.
    ///
    /// # Crash
    ///
    /// As [`Member::create`](crate::Member::create): recovery closes the handle.
    pub fn of_pid<'a>(place: impl Into<Place<'a>>, pid: u32) -> Result<Self, ProcessError> {
        Ok(Self { subject: Subject::create(place.into(), pid, Scope::Process)? })
    }

    /// Opens the process that has the name, or creates a handle of the process `pid` with the name, in one step; see
    /// [`Member::create_or_open`](crate::Member::create_or_open). The opened process may be another one than `pid`.
    ///
    /// ```
    /// # use tenure::process::Process;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let (me, other) = (space.join()?, space.join()?);
    /// let first = Process::create_or_open(&me, "server", std::process::id())?;
    /// let second = Process::create_or_open(&other, "server", std::process::id())?;
    /// assert!(first.is_created() && !second.is_created());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Process::of_pid`] and [`Process::open`]; nothing is held.
    pub fn create_or_open(member: &Member, name: &str, pid: u32) -> Result<Named<Self>, ProcessError> {
        let named = Subject::create_or_open(member, name, pid, Scope::Process)?;
        named.try_map(|subject| Ok(Self { subject }))
    }

    /// Creates a handle of the calling process.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let process = tenure::process::Process::current(&me)?;
    /// assert_eq!(process.pid(), std::process::id());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Process::of_pid`].
    pub fn current<'a>(place: impl Into<Place<'a>>) -> Result<Self, ProcessError> {
        Self::of_pid(place, std::process::id())
    }

    /// Creates a handle of a child of this process. Call it before [`Child::wait`].
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let mut child = std::process::Command::new("true").spawn()?;
    /// let process = tenure::process::Process::of_child(&me, &child)?;
    /// process.wait(None)?;
    /// child.wait()?; // reaps it
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Process::of_pid`].
    pub fn of_child<'a>(place: impl Into<Place<'a>>, child: &Child) -> Result<Self, ProcessError> {
        Self::of_pid(place, child.id())
    }

    /// Opens the process of a token, or the one that has a name.
    ///
    /// ```
    /// # use tenure::{error::{OpenHandleError, ProcessError}, process::Process};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let (me, other) = (space.join()?, space.join()?);
    /// let process = Process::current(&me)?;
    /// let theirs = Process::open(&other, process.token())?; // usually in another process
    /// assert_eq!(theirs.exit()?, None);
    ///
    /// let number = me.create(&7u64)?;
    /// let wrong = Process::open(&other, number.token());
    /// assert!(matches!(wrong, Err(ProcessError::Open(OpenHandleError::ForeignKind { .. }))));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`ProcessError::Open`], in particular for a stale token or a handle of another kind. [`ProcessError::Pid`] when the resources to watch
    /// the process are missing.
    ///
    /// # Progress
    ///
    /// As [`Member::open`](crate::Member::open), and a few system calls. Waits for the watcher thread of this process, which waits for no
    /// other process.
    ///
    /// # Crash
    ///
    /// As [`Member::open`](crate::Member::open): recovery closes the handle.
    pub fn open<'k>(member: &Member, key: impl Into<Key<'k>>) -> Result<Self, ProcessError> {
        Ok(Self { subject: Subject::open(member, key.into(), Scope::Process)? })
    }

    /// One more owner of the same count of the handle.
    ///
    /// ```
    /// # use tenure::process::Process;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let process = Process::current(&me)?;
    /// let second = process.try_clone()?; // for instance for another thread
    /// assert_eq!(second.token(), process.token());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`ProcessError::NotMember`].
    pub fn try_clone(&self) -> Result<Self, ProcessError> {
        Ok(Self { subject: self.subject.try_clone()? })
    }

    /// The token: 64 bits to pass to other processes. A token keeps nothing alive: hold the handle until the other process has opened the
    /// token.
    #[must_use]
    pub fn token(&self) -> Token {
        self.subject.object().token()
    }

    /// The process id, in the pid namespace of the creator of the handle. After the process is reaped, the kernel may reuse the number.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.subject.identity().number.unsigned_abs()
    }

    /// The start time of the process in clock ticks since boot, as in `/proc`; `None` if `/proc` hides it.
    ///
    /// ```
    /// # use tenure::process::Process;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let process = Process::current(&me)?;
    /// if let Some(ticks) = process.started_at() {
    ///     println!("started {ticks} clock ticks after boot");
    /// }
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn started_at(&self) -> Option<u64> {
        Some(self.subject.identity().start_ticks).filter(|ticks| *ticks != 0)
    }

    /// The exit of the process; `None` while it runs or is stopped. Unless a status is recorded already, asks the kernel.
    ///
    /// ```
    /// # use tenure::process::{Exit, Process};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let mut child = std::process::Command::new("sleep").arg("600").spawn()?;
    /// let process = Process::of_child(&me, &child)?;
    /// assert_eq!(process.exit()?, None);
    ///
    /// child.kill()?;
    /// process.reaped(child.wait()?)?;
    /// assert_eq!(process.exit()?, Some(Exit::Signal { number: 9, core_dumped: false }));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`ProcessError::NotMember`]. [`ProcessError::Pid`] when no exit is recorded and this process cannot ask the kernel, for example from
    /// another pid namespace. [`ProcessError::Corrupt`].
    ///
    /// # Progress
    ///
    /// Lock-free, with a few system calls. Waits for the watcher thread of this process, which waits for no other process.
    ///
    /// # Crash
    ///
    /// If this process is killed while it records the exit, the next call that asks or waits, or the next recovery, records it.
    pub fn exit(&self) -> Result<Option<Exit>, ProcessError> {
        self.subject.exit()
    }

    /// Waits for the end of the process, and returns its exit. `options` is usually a timeout: `None` waits without limit, zero does
    /// not wait; see [`WaitOptions`].
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tenure::{error::WaitError, process::Process};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let process = Process::current(&me)?;
    /// let timed_out = process.wait(Some(Duration::from_millis(1)));
    /// assert!(matches!(timed_out, Err(WaitError::TimedOut))); // this process still runs
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`WaitError::TimedOut`]; [`WaitError::Unwatched`] when no exit is recorded and this process cannot watch the process, for example from
    /// another pid namespace.
    ///
    /// # Progress
    ///
    /// Sleeps in the kernel until the process ends, and waits for no other process. There is no polling.
    ///
    /// # Crash
    ///
    /// A waiter that is killed or stopped takes no wake-up from others.
    pub fn wait(&self, options: impl Into<WaitOptions>) -> Result<Exit, WaitError> {
        self.subject.wait(options.into())
    }

    /// As [`Process::wait`], as a future, for any executor; the executor's own timeouts limit it.
    ///
    /// ```
    /// # use tenure::process::{Exit, Process};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// # let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    /// # runtime.block_on(async {
    /// let mut child = std::process::Command::new("true").spawn()?;
    /// let process = Process::of_child(&me, &child)?;
    /// assert_eq!(process.wait_async().await?, Exit::Code(0));
    /// child.wait()?; // reaps it
    /// # Ok(()) }) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Process::wait`], but for the timeout; [`WaitError::Os`] if no thread can sleep for it.
    ///
    /// # Cancellation
    ///
    /// A future that is dropped has taken nothing, and keeps no wake-up from others.
    pub async fn wait_async(&self) -> Result<Exit, WaitError> {
        self.subject.wait_async().await
    }

    /// A descriptor of the process (a pidfd): readable once the process has ended, for `poll`, `epoll` and executors, and to signal the process.
    ///
    /// ```
    /// # use tenure::process::Process;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// # use std::os::fd::AsFd;
    /// let mut child = std::process::Command::new("true").spawn()?;
    /// let pidfd = Process::of_child(&me, &child)?.pidfd()?;
    /// tenure::sync::wait_any_or_fd(&[], &[pidfd.as_fd()], None)?; // it has ended
    /// # child.wait()?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`ProcessError::Pid`]: it has ended and was reaped; or this process cannot see it, for example from another pid namespace.
    pub fn pidfd(&self) -> Result<OwnedFd, ProcessError> {
        Ok(PidFd::open_same(self.subject.identity())?.into())
    }

    /// Records the exit status for all holders. For the process that has reaped this one, by `wait` or [`Child::wait`]. A status that is
    /// recorded already stays. The status of a process that is stopped or continued changes nothing.
    ///
    /// ```
    /// # use tenure::process::{Exit, Process};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let mut child = std::process::Command::new("sh").args(["-c", "exit 3"]).spawn()?;
    /// let process = Process::of_child(&me, &child)?;
    /// process.reaped(child.wait()?)?;
    /// assert_eq!(process.exit()?, Some(Exit::Code(3)));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`ProcessError::NotMember`].
    ///
    /// # Progress
    ///
    /// Lock-free.
    ///
    /// # Crash
    ///
    /// As [`Process::exit`].
    pub fn reaped(&self, status: ExitStatus) -> Result<(), ProcessError> {
        match status_of(status) {
            Some(status) => self.subject.record(Some(status)),
            None => Ok(()),
        }
    }

    /// Announces the code with which this process is about to end, all 32 bits of it. Only the process of the handle can call it, and only
    /// once. The code counts after the process has ended, unless the kernel reports something else (a signal, or other lowest 8 bits).
    ///
    /// ```
    /// # use tenure::{error::ProcessError, process::Process};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let process = Process::current(&me)?;
    /// process.exiting(0x1234)?; // and then `std::process::exit(0x1234)`
    /// assert!(matches!(process.exiting(5), Err(ProcessError::AlreadyAnnounced)));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`ProcessError::NotItself`] when the handle is of another process; [`ProcessError::AlreadyAnnounced`].
    ///
    /// # Progress
    ///
    /// Lock-free.
    ///
    /// # Crash
    ///
    /// If the process is killed here, the code is announced or not.
    pub fn exiting(&self, code: i32) -> Result<(), ProcessError> {
        self.subject.exiting(std::process::id() as i32, code)
    }
}

waits_as_its_subject!(Process);
