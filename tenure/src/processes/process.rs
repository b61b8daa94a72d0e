//! A process as a handle.

use std::process::{Child, ExitStatus};
use std::time::Duration;

use tenure_segment::process::Scope;
use tenure_slab::Token;

use super::error::ProcessError;
use super::exit::{Exit, status_of};
use super::subject::{Subject, waits_as_its_subject};
use crate::member::Member;
use crate::names::{Name, Named};
use crate::waiting::WaitError;

/// A process, and no other one that has its number earlier or later. Dropping it closes it.
///
/// It can be any process of this machine that this one can see, a member or not. How it ended can be read by every process
/// that holds the handle, for as long as anybody holds it.
///
/// # Who knows how it ended
///
/// Since Linux 6.15 the kernel tells every member that held the handle when the process was reaped. Before, it tells whoever
/// may look into `/proc` in the moment between its end and its being reaped (the same user, as a rule), and its parent. Each
/// holder's watcher writes down what it is told. Beyond that a process can [announce](Process::exiting) its code, and whoever
/// reaps it can [say](Process::reaped) how it ended. If nobody knows, that is what is said: [`Exit::Unknown`].
///
/// A member that asked for [no monitor](crate::Options::monitor) has no watcher either until it waits for a process: then
/// ends are written down when somebody looks.
///
/// # Fork
///
/// A forked child is no member, and its copies of handles do nothing.
#[derive(Debug)]
pub struct Process {
    subject: Subject,
}

impl Process {
    /// Creates a handle of whoever has this number now, in the caller's pid namespace. One that has ended and was not reaped
    /// yet is found too. The number of a child of ours is its own until we reap it; others' numbers may be given again at any
    /// time, so check [`Process::started_at`] if it matters.
    ///
    /// # Errors
    ///
    /// [`ProcessError`]: nobody has the number, or it is a thread's; or no handle could be created. Nothing is held then.
    ///
    /// # Progress
    ///
    /// As [`Member::create`](crate::Member::create), and some system calls; waits for a thread of our own, which waits for nobody.
    ///
    /// # Crash
    ///
    /// As [`Member::create`](crate::Member::create): recovery takes it back.
    pub fn of_pid(member: &Member, pid: u32) -> Result<Self, ProcessError> {
        Ok(Self { subject: Subject::create(member, None, pid, Scope::Process)? })
    }

    /// As [`Process::of_pid`], with a name that nothing has.
    ///
    /// # Errors
    ///
    /// As [`Process::of_pid`], and [`CreateError::NameTaken`](crate::CreateError::NameTaken).
    pub fn create_named(member: &Member, name: &str, pid: u32) -> Result<Self, ProcessError> {
        let name = Some(Name::new(name)?);
        Ok(Self { subject: Subject::create(member, name, pid, Scope::Process)? })
    }

    /// Opens the process that has a name, whichever it is, or gives the name to this one, in one step; see
    /// [`Member::create_or_open`](crate::Member::create_or_open).
    ///
    /// # Errors
    ///
    /// As [`Process::create_named`] and [`Process::open_named`]; nothing is held.
    pub fn create_or_open(member: &Member, name: &str, pid: u32) -> Result<Named<Self>, ProcessError> {
        let named = Subject::create_or_open(member, Name::new(name)?, pid, Scope::Process)?;
        named.try_map(|subject| Ok(Self { subject }))
    }

    /// Opens the process that has a name.
    ///
    /// # Errors
    ///
    /// As [`Process::open`]; [`OpenHandleError::NoSuchName`](crate::OpenHandleError::NoSuchName).
    pub fn open_named(member: &Member, name: &str) -> Result<Self, ProcessError> {
        Ok(Self { subject: Subject::open_named(member, Name::known(name)?, Scope::Process)? })
    }

    /// Creates a handle of the calling process.
    ///
    /// # Errors
    ///
    /// As [`Process::of_pid`].
    pub fn current(member: &Member) -> Result<Self, ProcessError> {
        Self::of_pid(member, std::process::id())
    }

    /// Creates a handle of a child that was not waited for yet.
    ///
    /// # Errors
    ///
    /// As [`Process::of_pid`].
    pub fn of_child(member: &Member, child: &Child) -> Result<Self, ProcessError> {
        Self::of_pid(member, child.id())
    }

    /// Opens a token.
    ///
    /// # Errors
    ///
    /// [`ProcessError::Open`], in particular when it is stale or no process. [`ProcessError::Pid`] when it could be watched but
    /// for a lack of resources.
    ///
    /// # Progress
    ///
    /// As [`Member::open`](crate::Member::open), and some system calls; waits for a thread of our own, which waits for nobody.
    ///
    /// # Crash
    ///
    /// As [`Member::open`](crate::Member::open): recovery closes it.
    pub fn open(member: &Member, token: Token) -> Result<Self, ProcessError> {
        Ok(Self { subject: Subject::open(member, token, Scope::Process)? })
    }

    /// Another owner of the same count.
    ///
    /// # Errors
    ///
    /// [`ProcessError::NotMember`].
    pub fn try_clone(&self) -> Result<Self, ProcessError> {
        Ok(Self { subject: self.subject.try_clone()? })
    }

    /// The 64 bits to pass to others. It keeps nothing alive: hold the handle until the other has opened it.
    #[must_use]
    pub fn token(&self) -> Token {
        self.subject.object().token()
    }

    /// Its number, in the pid namespace of whoever created the handle. Once it was reaped somebody else may have it.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.subject.identity().number.unsigned_abs()
    }

    /// When it started, in clock ticks since the machine did, as `/proc` has it; `None` where `/proc` hides it.
    #[must_use]
    pub fn started_at(&self) -> Option<u64> {
        Some(self.subject.identity().start_ticks).filter(|ticks| *ticks != 0)
    }

    /// How it ended; `None` while it runs or is stopped. Looks by itself, whatever others have written down.
    ///
    /// # Errors
    ///
    /// [`ProcessError::NotMember`]. [`ProcessError::Pid`] when nothing is written down and we cannot look, for example from another
    /// pid namespace. [`ProcessError::Corrupt`].
    ///
    /// # Progress
    ///
    /// Lock-free, with some system calls; waits for a thread of our own, which waits for nobody.
    ///
    /// # Crash
    ///
    /// Killed while it writes down what it saw, it leaves that to the next one who looks, waits or recovers.
    pub fn exit(&self) -> Result<Option<Exit>, ProcessError> {
        self.subject.exit()
    }

    /// Waits for its end, however it comes. `None` waits as long as it takes, zero not at all.
    ///
    /// # Errors
    ///
    /// [`WaitError::TimedOut`]; [`WaitError::Unwatched`] when this process cannot notice its end, for example from another pid
    /// namespace, and nobody has written it down.
    ///
    /// # Progress
    ///
    /// Waits for the process and for nobody else, in the kernel: no polling, no wake-ups but the one.
    ///
    /// # Crash
    ///
    /// Whoever is killed or stopped while it waits takes nobody's wake-up with it.
    pub fn wait(&self, timeout: Option<Duration>) -> Result<Exit, WaitError> {
        self.subject.wait(timeout)
    }

    /// For whoever reaped it without this handle, by `wait` or [`Child::wait`]: says how it ended, to all holders. What is
    /// known already stays as it is. A status of one that has not ended changes nothing.
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

    /// For the process itself: announces the code with which it is about to end, all 32 bits of it. It counts once the process
    /// has ended, unless the kernel says otherwise (a signal, another code). It can be done once.
    ///
    /// # Errors
    ///
    /// [`ProcessError::NotItself`] when the handle is another process's, [`ProcessError::AlreadyAnnounced`].
    ///
    /// # Progress
    ///
    /// Lock-free.
    ///
    /// # Crash
    ///
    /// It is announced, or it is not.
    pub fn exiting(&self, code: i32) -> Result<(), ProcessError> {
        self.subject.exiting(std::process::id() as i32, code)
    }
}

waits_as_its_subject!(Process);
