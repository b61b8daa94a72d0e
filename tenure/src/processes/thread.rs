//! A thread as a handle.

use std::time::Duration;

use tenure_segment::process::{Scope, own_thread};
use tenure_slab::Token;

use super::error::ProcessError;
use super::exit::Exit;
use super::subject::{Subject, waits_as_its_subject};
use crate::member::Member;
use crate::names::{Name, Named};
use crate::waiting::WaitError;

/// A thread of whichever process, and no other one that has its number earlier or later. Dropping it closes it.
///
/// Needs Linux 6.9; before, creating one says [`PidError::Unsupported`](crate::PidError::Unsupported). A thread that ends by
/// returning ends with code 0 as the kernel sees it; what it [announced](Thread::exiting) with a zero in the lowest 8 bits completes
/// that. When its process ends, it ends with the process's status. Otherwise as [`Process`](crate::Process).
#[derive(Debug)]
pub struct Thread {
    subject: Subject,
}

impl Thread {
    /// Creates a handle of the thread that has this number now, in the caller's pid namespace.
    ///
    /// # Errors
    ///
    /// As [`Process::of_pid`](crate::Process::of_pid), and `Unsupported` before Linux 6.9.
    ///
    /// # Progress
    ///
    /// As [`Process::of_pid`](crate::Process::of_pid).
    ///
    /// # Crash
    ///
    /// As [`Process::of_pid`](crate::Process::of_pid).
    pub fn of_tid(member: &Member, tid: u32) -> Result<Self, ProcessError> {
        Ok(Self { subject: Subject::create(member, None, tid, Scope::Thread)? })
    }

    /// As [`Thread::of_tid`], with a name that nothing has.
    ///
    /// # Errors
    ///
    /// As [`Thread::of_tid`], and [`CreateError::NameTaken`](crate::CreateError::NameTaken).
    pub fn create_named(member: &Member, name: &str, tid: u32) -> Result<Self, ProcessError> {
        let name = Some(Name::new(name)?);
        Ok(Self { subject: Subject::create(member, name, tid, Scope::Thread)? })
    }

    /// Opens the thread that has a name, whichever it is, or gives the name to this one, in one step; see
    /// [`Member::create_or_open`](crate::Member::create_or_open).
    ///
    /// # Errors
    ///
    /// As [`Thread::create_named`] and [`Thread::open_named`]; nothing is held.
    pub fn create_or_open(member: &Member, name: &str, tid: u32) -> Result<Named<Self>, ProcessError> {
        let named = Subject::create_or_open(member, Name::new(name)?, tid, Scope::Thread)?;
        named.try_map(|subject| Ok(Self { subject }))
    }

    /// Opens the thread that has a name.
    ///
    /// # Errors
    ///
    /// As [`Process::open_named`](crate::Process::open_named).
    pub fn open_named(member: &Member, name: &str) -> Result<Self, ProcessError> {
        Ok(Self { subject: Subject::open_named(member, Name::known(name)?, Scope::Thread)? })
    }

    /// Creates a handle of the calling thread.
    ///
    /// # Errors
    ///
    /// As [`Thread::of_tid`].
    pub fn current(member: &Member) -> Result<Self, ProcessError> {
        Self::of_tid(member, own_thread().unsigned_abs())
    }

    /// Opens a token.
    ///
    /// # Errors
    ///
    /// As [`Process::open`](crate::Process::open).
    pub fn open(member: &Member, token: Token) -> Result<Self, ProcessError> {
        Ok(Self { subject: Subject::open(member, token, Scope::Thread)? })
    }

    /// Another owner of the same count.
    ///
    /// # Errors
    ///
    /// [`ProcessError::NotMember`].
    pub fn try_clone(&self) -> Result<Self, ProcessError> {
        Ok(Self { subject: self.subject.try_clone()? })
    }

    /// The 64 bits to pass to others.
    #[must_use]
    pub fn token(&self) -> Token {
        self.subject.object().token()
    }

    /// Its number, in the pid namespace of whoever created the handle.
    #[must_use]
    pub fn tid(&self) -> u32 {
        self.subject.identity().number.unsigned_abs()
    }

    /// How it ended; `None` while it runs. As [`Process::exit`](crate::Process::exit).
    ///
    /// # Errors
    ///
    /// As [`Process::exit`](crate::Process::exit).
    pub fn exit(&self) -> Result<Option<Exit>, ProcessError> {
        self.subject.exit()
    }

    /// Waits for its end. As [`Process::wait`](crate::Process::wait).
    ///
    /// # Errors
    ///
    /// As [`Process::wait`](crate::Process::wait).
    pub fn wait(&self, timeout: Option<Duration>) -> Result<Exit, WaitError> {
        self.subject.wait(timeout)
    }

    /// For the thread itself: announces the code with which it is about to end. As
    /// [`Process::exiting`](crate::Process::exiting); a thread that returns ends with 0 as the kernel sees it, so the announced code
    /// is kept whatever it is, unless its process is killed.
    ///
    /// # Errors
    ///
    /// As [`Process::exiting`](crate::Process::exiting).
    pub fn exiting(&self, code: i32) -> Result<(), ProcessError> {
        self.subject.exiting(own_thread(), code)
    }
}

waits_as_its_subject!(Thread);
