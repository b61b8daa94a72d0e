//! The common part of handles of processes and threads: a count of the object, the identity in it, and a watch.

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tenure_segment::process::{Ended, Identity, Look, PidError, PidFd, Scope, Status, Watch};
use tenure_segment::{Backend, MonitorState};
use tenure_wait::exit;
use tenure_wait::{Attempt, Word as _};

use super::error::ProcessError;
use super::exit::Exit;
use super::words::{EXIT, from_words, to_words};
use crate::error::NotMember;
use crate::kind::Kind;
use crate::member::Member;
use crate::names::{Name, Named};
use crate::object::Object;
use crate::place::{Key, Place};
use crate::state::{STATE_WORDS, State};
use crate::waiting::future;
use crate::waiting::source::{Gained, Memory, Source, wait_for};
use crate::waiting::word::{HalfWord, WaitWord, halves};
use crate::waiting::{WaitError, WaitOptions};

const fn kind_of(scope: Scope) -> Kind {
    match scope {
        Scope::Process => Kind::PROCESS,
        Scope::Thread => Kind::THREAD,
    }
}

/// One count of a handle of a process or thread.
#[derive(Clone)]
pub(super) struct Subject(Arc<Inner>);

struct Inner {
    object: Object,
    identity: Identity,
    watch: Mutex<Option<Watch>>,
}

/// A process or thread that was found by its number.
struct Sight {
    pidfd: PidFd,
    identity: Identity,
    exit: u32,
}

impl Sight {
    fn of(member: &Member, number: u32, scope: Scope) -> Result<Self, ProcessError> {
        member.check()?;
        // Outside the range of process ids: no process has it.
        let number = i32::try_from(number).unwrap_or(0);
        let pidfd = PidFd::open(number, scope)?;
        let identity = pidfd.identity()?.ok_or(PidError::Gone)?;
        let exit = match pidfd.look() {
            Look::Running => exit::RUNNING,
            Look::Ended(status) => exit::ended(status.map(|status| status.0)),
        };
        Ok(Self { pidfd, identity, exit })
    }

    fn words(&self) -> [u64; STATE_WORDS] {
        to_words(self.exit, &self.identity)
    }
}

impl Subject {
    pub(super) fn create(place: Place<'_>, number: u32, scope: Scope) -> Result<Self, ProcessError> {
        let sight = Sight::of(place.member, number, scope)?;
        let object = Object::create(place, kind_of(scope), sight.words(), &[])?;
        Self::created(object, &sight)
    }

    /// Opens the process or thread that has the name, or creates a handle of `number`. If it opens, `number` may be that of a process that
    /// has ended.
    pub(super) fn create_or_open(
        member: &Member,
        name: &str,
        number: u32,
        scope: Scope,
    ) -> Result<Named<Self>, ProcessError> {
        let sight = match Sight::of(member, number, scope) {
            Ok(sight) => sight,
            Err(error) => {
                return match Self::open(member, name.into(), scope) {
                    Err(ProcessError::Open(crate::error::OpenHandleError::NoSuchName)) => Err(error),
                    opened => opened.map(Named::Opened),
                };
            }
        };
        Ok(match Object::create_or_open(member, Name::new(name)?, kind_of(scope), sight.words(), &[])? {
            Named::Created(object) => Named::Created(Self::created(object, &sight)?),
            Named::Opened(object) => Named::Opened(Self::over(object, scope)?),
        })
    }

    fn created(object: Object, sight: &Sight) -> Result<Self, ProcessError> {
        let subject = Self::new(object, sight.identity);
        if subject.is_watched_from_the_start() {
            match subject.watch() {
                // The process has ended, and was reaped, since `Sight::of`.
                Err(ProcessError::Pid(PidError::Gone)) => subject.record(end_of(&sight.pidfd))?,
                result => result?,
            }
        }
        Ok(subject)
    }

    pub(super) fn open(member: &Member, key: Key<'_>, scope: Scope) -> Result<Self, ProcessError> {
        Self::over(Object::open(member, kind_of(scope), key)?, scope)
    }

    fn over(object: Object, scope: Scope) -> Result<Self, ProcessError> {
        // Relaxed: words 1 to 3 never change after the handle is LIVE; word 0 is not loaded.
        let words = object.state()?.each_ref();
        let words = [
            0,
            words[1].load(Ordering::Relaxed),
            words[2].load(Ordering::Relaxed),
            words[3].load(Ordering::Relaxed),
        ];
        let identity = from_words(words, scope).map_err(ProcessError::Corrupt)?;
        let subject = Self::new(object, identity);
        if subject.is_watched_from_the_start() && subject.recorded()?.is_none_or(|end| end.status.is_none()) {
            match subject.watch() {
                Err(ProcessError::Pid(PidError::Gone)) => subject.record(None)?,
                // Another process may record the exit. A wait in this process fails with `Unwatched`.
                Err(ProcessError::Pid(PidError::ForeignNamespace { .. } | PidError::Unsupported { .. })) => {}
                result => result?,
            }
        }
        Ok(subject)
    }

    fn new(object: Object, identity: Identity) -> Self {
        Self(Arc::new(Inner { object, identity, watch: Mutex::default() }))
    }

    pub(super) fn try_clone(&self) -> Result<Self, NotMember> {
        self.0.object.state()?;
        Ok(self.clone())
    }

    pub(super) fn identity(&self) -> &Identity {
        &self.0.identity
    }

    pub(super) fn object(&self) -> &Object {
        &self.0.object
    }

    /// Whether the watch starts with the handle. In a member without a monitor thread it starts with the first wait.
    fn is_watched_from_the_start(&self) -> bool {
        let lease = &self.0.object.shared().lease;
        lease.monitor_state() != MonitorState::Off || lease.backend() == Backend::Private
    }

    /// The exit word.
    pub(super) fn exit_word(&self) -> Result<HalfWord<'_>, NotMember> {
        Ok(HalfWord::of(self.0.object.state()?))
    }

    /// The place of the announced code; it is valid if the exit word says so.
    fn announced(&self) -> Result<&AtomicU32, NotMember> {
        let [_, high] = halves(&self.0.object.state()?[EXIT]);
        Ok(high)
    }

    /// Ensures that this process records the exit.
    pub(super) fn watch(&self) -> Result<(), ProcessError> {
        /// The state words of the object.
        struct At(*const State);
        // SAFETY: words of shared memory, which all processes access by atomic operations only.
        unsafe impl Send for At {}

        let mut watch = self.0.watch.lock().unwrap_or_else(PoisonError::into_inner);
        if watch.is_some() {
            return Ok(());
        }
        let at = At(self.0.object.state()?);
        let ended: Ended = Box::new(move |status| {
            let at = &at;
            // SAFETY: `Inner` holds the object until the watch is ended, and ending it waits for this closure to return; in a
            // forked child no thread runs this closure.
            let state = unsafe { &*at.0 };
            exit::record(&HalfWord::of(state), status.map(|status| status.0));
        });
        *watch = Some(self.0.object.shared().objects.watcher.watch(self.0.identity, ended)?);
        Ok(())
    }

    /// The recorded end; `None` if none is recorded.
    fn recorded(&self) -> Result<Option<exit::End>, ProcessError> {
        let word = self.exit_word()?;
        let value = word.load();
        if !exit::is_valid(value) {
            return Err(ProcessError::Corrupt(format!("exit word {value:#x}")));
        }
        match exit::try_ended(&word) {
            Attempt::Taken(end) => Ok(Some(end)),
            Attempt::Blocked(_) => Ok(None),
        }
    }

    /// Records the end.
    pub(super) fn record(&self, status: Option<Status>) -> Result<(), ProcessError> {
        exit::record(&self.exit_word()?, status.map(|status| status.0));
        Ok(())
    }

    /// The exit; `None` while the process or thread runs.
    pub(super) fn exit(&self) -> Result<Option<Exit>, ProcessError> {
        if self.recorded()?.is_none_or(|end| end.status.is_none()) {
            self.look()?;
        }
        let Some(end) = self.recorded()? else { return Ok(None) };
        // Acquire: obtains the announced code; pairs with the Release store of it in `exiting`.
        let announced = self.announced()?;
        Ok(Some(Exit::of(end, self.0.identity.scope, || announced.load(Ordering::Acquire) as i32)))
    }

    /// Waits for the end.
    pub(super) fn wait(&self, options: WaitOptions) -> Result<Exit, WaitError> {
        wait_for(self, options)?;
        self.ended()
    }

    /// As [`Subject::wait`], as a future.
    pub(super) async fn wait_async(&self) -> Result<Exit, WaitError> {
        future::taken(self).await?;
        self.ended()
    }

    /// The exit, after a wait that found it recorded: it is never removed, so without one the word is corrupted.
    fn ended(&self) -> Result<Exit, WaitError> {
        let exit = self.exit().map_err(to_wait_error)?;
        exit.ok_or_else(|| WaitError::corrupt("an end that was recorded, and is not"))
    }

    /// Asks the kernel whether the process or thread has ended, and records the end.
    fn look(&self) -> Result<(), ProcessError> {
        match PidFd::open_same(&self.0.identity) {
            Ok(pidfd) => match pidfd.look() {
                Look::Running => Ok(()),
                Look::Ended(status) => self.record(status),
            },
            Err(PidError::Gone) => {
                // The watcher of this process opened its pidfd earlier, and may know the status.
                let watch = self.0.watch.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(watch) = &*watch {
                    self.0.object.shared().objects.watcher.look(watch);
                }
                drop(watch);
                self.record(None)
            }
            // The kernel does not answer, so the recorded end is the result.
            Err(_) if self.recorded()?.is_some() => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Announces the code with which the calling process or thread will end. `own` is its number.
    pub(super) fn exiting(&self, own: i32, code: i32) -> Result<(), ProcessError> {
        let identity = &self.0.identity;
        let announced = self.announced()?;
        // The number is that of the caller, which is alive: so a process with this identity is the caller.
        if identity.number != own || PidFd::open_same(identity).is_err() {
            return Err(ProcessError::NotItself);
        }
        // Release: publishes the code; pairs with the Acquire load in `exit`, which follows a load of the exit word.
        let store = || announced.store(code as u32, Ordering::Release);
        if exit::announce(&self.exit_word()?, store) { Ok(()) } else { Err(ProcessError::AlreadyAnnounced) }
    }
}

impl Source for Subject {
    fn object(&self) -> &Object {
        &self.0.object
    }

    fn word(&self) -> Result<WaitWord<'_>, WaitError> {
        Ok(WaitWord::Half(self.exit_word()?))
    }

    fn attempt(&self, _: &mut Memory) -> Result<Attempt<Gained>, WaitError> {
        Ok(match exit::try_ended(&self.exit_word()?) {
            Attempt::Taken(_) => Attempt::Taken(Gained::default()),
            Attempt::Blocked(seen) => Attempt::Blocked(seen),
        })
    }

    fn take(&self, value: u32) -> Option<u32> {
        exit::is_available(value).then_some(value)
    }

    /// Ensures that this process records the end; other processes may do so as well.
    fn prepare(&self, seen: u32) -> Result<(), WaitError> {
        if !exit::is_valid(seen) {
            return Err(WaitError::corrupt(format!("exit word {seen:#x}")));
        }
        match self.watch() {
            // The process was reaped: its end is recorded already, or `look` records it now, without a status.
            Err(ProcessError::Pid(PidError::Gone)) => self.look().map_err(to_wait_error),
            result => result.map_err(to_wait_error),
        }
    }
}

/// Implements `Source` by delegating to `subject`.
macro_rules! waits_as_its_subject {
    ($over:ty) => {
        impl $crate::waiting::source::Source for $over {
            fn object(&self) -> &$crate::object::Object {
                $crate::waiting::source::Source::object(&self.subject)
            }

            fn word(&self) -> Result<$crate::waiting::word::WaitWord<'_>, $crate::error::WaitError> {
                self.subject.word()
            }

            fn attempt(
                &self,
                memory: &mut $crate::waiting::source::Memory,
            ) -> Result<::tenure_wait::Attempt<$crate::waiting::source::Gained>, $crate::error::WaitError>
            {
                self.subject.attempt(memory)
            }

            fn take(&self, value: u32) -> Option<u32> {
                self.subject.take(value)
            }

            fn prepare(&self, seen: u32) -> Result<(), $crate::error::WaitError> {
                self.subject.prepare(seen)
            }
        }
    };
}
pub(super) use waits_as_its_subject;

fn to_wait_error(error: ProcessError) -> WaitError {
    match error {
        ProcessError::NotMember(why) => WaitError::NotMember(why),
        ProcessError::Pid(why) => WaitError::Unwatched(Box::new(why)),
        other => WaitError::corrupt(other.to_string()),
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let watch = self.watch.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let (Some(watch), Ok(_)) = (watch, self.object.state()) {
            self.object.shared().objects.watcher.end(watch);
        }
    }
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subject")
            .field("token", &self.0.object.token())
            .field("identity", &self.0.identity)
            .finish()
    }
}

fn end_of(pidfd: &PidFd) -> Option<Status> {
    if let Look::Ended(status) = pidfd.look() { status } else { None }
}
