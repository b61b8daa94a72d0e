//! Events that tasks and event loops wait for: tenure's, by futures of tokio, in sets, and beside descriptors; eventfds and `Notify` on tokio.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use tenure::Member;
use tenure::sync::{Event, Mutex, WaitSet, wait_any, wait_any_or_fd};
use tokio::io::unix::AsyncFd;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Notify;

use crate::subject::{Failed, Outcome, Subject};
use crate::waits::{EVENTS, EventFds, Events, Tenured};

/// How a member of [`Tasks`] waits.
#[derive(Clone, Copy, Debug)]
pub enum How {
    /// By a future on tokio.
    Tokio,
    /// By a [`WaitSet`].
    Set,
    /// By [`wait_any`] for two events.
    Any,
    /// By [`wait_any_or_fd`] for an event and a pipe.
    AnyOrFd,
}

/// The events of [`Tenured`], waited for as `how` says.
pub struct Tasks {
    inner: Tenured,
    how: How,
}

impl Tasks {
    /// Members are processes.
    ///
    /// # Errors
    /// The errors of tenure.
    pub fn new(how: How) -> Outcome<Self> {
        Ok(Self { inner: Tenured::new()?, how })
    }
}

/// A member of [`Tasks`].
pub struct TasksMember {
    how: How,
    events: [Arc<Event>; EVENTS],
    never: Event,
    runtime: Runtime,
    set: WaitSet<'static, Outcome<()>>,
    /// Nobody writes.
    pipe: (OwnedFd, OwnedFd),
    _mutex: Mutex,
    _member: Member,
}

fn runtime() -> Outcome<Runtime> {
    Builder::new_current_thread().enable_io().build().map_err(|error| Failed::of("tokio", error))
}

impl Subject for Tasks {
    type Member = TasksMember;

    fn join(&self) -> Outcome<TasksMember> {
        let (member, mutex, [first, second]) = self.inner.join_with_events()?;
        let never = Event::create(&member, tenure::sync::Reset::Auto);
        let pipe = std::io::pipe().map_err(|error| Failed::of("pipe", error))?;
        Ok(TasksMember {
            how: self.how,
            events: [Arc::new(first), Arc::new(second)],
            never: never.map_err(|error| Failed::of("event", error))?,
            runtime: runtime()?,
            set: WaitSet::new(&member).map_err(|error| Failed::of("wait set", error))?,
            pipe: (pipe.0.into(), pipe.1.into()),
            _mutex: mutex,
            _member: member,
        })
    }
}

impl Events for TasksMember {
    fn signal(&mut self, event: usize) -> Outcome<()> {
        self.events[event].set().map_err(|error| Failed::of("set", error))
    }

    fn wait(&mut self, event: usize) -> Outcome<()> {
        let refused = |error| Failed::of("wait", error);
        let event = &self.events[event];
        match self.how {
            How::Tokio => self.runtime.block_on(event.wait_async()).map_err(refused),
            How::Set => {
                let event = Arc::clone(event);
                self.set.insert(0, async move { event.wait_async().await.map_err(refused) });
                self.set.wait(None).map_err(refused)?.1
            }
            How::Any => wait_any(&[&**event, &self.never], None).map(drop).map_err(refused),
            How::AnyOrFd => {
                wait_any_or_fd(&[&**event], &[self.pipe.0.as_fd()], None).map(drop).map_err(refused)
            }
        }
    }
}

/// The eventfds of [`EventFds`], read by tokio.
pub struct AsyncEventFds(EventFds);

impl AsyncEventFds {
    /// As [`EventFds::new`].
    ///
    /// # Errors
    /// The error of `eventfd`.
    pub fn new() -> Outcome<Self> {
        EventFds::new().map(Self)
    }
}

/// A member of [`AsyncEventFds`].
pub struct AsyncEventFdsMember {
    fds: Vec<AsyncFd<OwnedFd>>,
    runtime: Runtime,
}

impl Subject for AsyncEventFds {
    type Member = AsyncEventFdsMember;

    fn join(&self) -> Outcome<AsyncEventFdsMember> {
        let runtime = runtime()?;
        let inside = runtime.enter();
        let register = |fd| {
            // SAFETY: the descriptor is open as long as the `OwnedFd` in it, which nobody takes out.
            unsafe { AsyncFd::register(fd) }
        };
        let fds = self.0.duplicates()?.into_iter().map(register).collect::<Result<_, _>>();
        drop(inside);
        Ok(AsyncEventFdsMember { fds: fds.map_err(|error| Failed::of("tokio", error))?, runtime })
    }
}

impl Events for AsyncEventFdsMember {
    fn signal(&mut self, event: usize) -> Outcome<()> {
        crate::waits::give(self.fds[1 + event].get_ref())
    }

    fn wait(&mut self, event: usize) -> Outcome<()> {
        let fd = &self.fds[1 + event];
        self.runtime.block_on(async {
            loop {
                let mut ready = fd.readable().await.map_err(|error| Failed::of("readable", error))?;
                if crate::waits::try_take(fd.get_ref())? {
                    return Ok(());
                }
                ready.clear_ready();
            }
        })
    }
}

/// tokio's `Notify`, between threads of one process: private.
pub struct Notifies(Arc<[Notify; EVENTS]>);

impl Notifies {
    /// Members are threads.
    ///
    /// # Errors
    /// Never.
    pub fn new() -> Outcome<Self> {
        Ok(Self(Arc::new([Notify::new(), Notify::new()])))
    }
}

/// A member of [`Notifies`].
pub struct NotifiesMember {
    notifies: Arc<[Notify; EVENTS]>,
    runtime: Runtime,
}

impl Subject for Notifies {
    type Member = NotifiesMember;

    fn join(&self) -> Outcome<NotifiesMember> {
        Ok(NotifiesMember { notifies: Arc::clone(&self.0), runtime: runtime()? })
    }
}

impl Events for NotifiesMember {
    fn signal(&mut self, event: usize) -> Outcome<()> {
        self.notifies[event].notify_one();
        Ok(())
    }

    fn wait(&mut self, event: usize) -> Outcome<()> {
        self.runtime.block_on(self.notifies[event].notified());
        Ok(())
    }
}
