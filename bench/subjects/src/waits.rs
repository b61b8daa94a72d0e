//! Locks and events: a mutex, and two events that one member signals and another waits for. Tenure's, those of pthread
//! and POSIX in shared memory, eventfds, and the daemon's, where each lock, unlock, wait and signal begins with a
//! reference taken at the daemon and given back.

use std::cell::UnsafeCell;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use tenure::{
    Member, Space, Token,
    sync::{Event, Mutex, Reset},
};

use crate::daemon::{Client, Cpu, Daemon, Way};
use crate::shared::Pages;
use crate::subject::{Failed, Handles, Outcome, Subject};

/// Events of a subject.
pub const EVENTS: usize = 2;

/// One mutex that all members share.
pub trait Locks {
    /// Waits for it and takes it.
    ///
    /// # Errors
    /// [`Failed`].
    fn lock(&mut self) -> Outcome<()>;

    /// Gives it back.
    ///
    /// # Errors
    /// [`Failed`].
    fn unlock(&mut self) -> Outcome<()>;
}

/// [`EVENTS`] events that all members share. An event that was signalled lets one through.
pub trait Events {
    /// Signals an event.
    ///
    /// # Errors
    /// [`Failed`].
    fn signal(&mut self, event: usize) -> Outcome<()>;

    /// Waits until it was signalled.
    ///
    /// # Errors
    /// [`Failed`].
    fn wait(&mut self, event: usize) -> Outcome<()>;
}

/// A space in memory without a name, and the page in which the first member posts the tokens.
pub struct Tenured {
    space: Space,
    said: Arc<Pages>,
}

/// A member with its objects.
pub struct TenuredMember {
    mutex: Mutex,
    events: [Event; EVENTS],
}

/// Zero: no objects; one: a member makes them; two: made.
#[repr(C)]
struct Said {
    state: AtomicU32,
    tokens: [AtomicU64; 1 + EVENTS],
}

impl Tenured {
    /// Members are processes.
    ///
    /// # Errors
    /// The errors of tenure.
    pub fn new() -> Outcome<Self> {
        let space = Space::options().handles(1 << 10).scratch(1 << 20).memfd();
        let space = space.map_err(|error| Failed::of("tenure", error))?;
        Ok(Self { space, said: Arc::new(Pages::new(4096)?) })
    }

    /// Joins; the member, its mutex, which it keeps open for the others, and its events.
    ///
    /// # Errors
    /// The errors of tenure.
    pub fn join_with_events(&self) -> Outcome<(Member, Mutex, [Event; EVENTS])> {
        let (member, TenuredMember { mutex, events }) = self.enter()?;
        Ok((member, mutex, events))
    }

    fn said(&self) -> &Said {
        // SAFETY: zeroes are a valid value, and everything is atomic.
        unsafe { self.said.view() }
    }
}

impl Subject for Tenured {
    type Member = TenuredMember;

    fn join(&self) -> Outcome<TenuredMember> {
        Ok(self.enter()?.1)
    }
}

impl Tenured {
    fn enter(&self) -> Outcome<(Member, TenuredMember)> {
        let refused = |error: &dyn std::fmt::Display| Failed::of("waiting", error);
        let member = self.space.join().map_err(|error| refused(&error))?;
        let said = self.said();
        // Acquire: pairs with the Release below.
        if said.state.compare_exchange(0, 1, Ordering::Acquire, Ordering::Acquire).is_ok() {
            let mutex = Mutex::create(&member).map_err(|error| refused(&error))?;
            let event = || Event::create(&member, Reset::Auto).map_err(|error| refused(&error));
            let events = [event()?, event()?];
            let tokens = [mutex.token(), events[0].token(), events[1].token()];
            for (word, token) in said.tokens.iter().zip(tokens) {
                // Relaxed: published by the state.
                word.store(token.into(), Ordering::Relaxed);
            }
            // Release: publishes the tokens.
            said.state.store(2, Ordering::Release);
            return Ok((member, TenuredMember { mutex, events }));
        }
        // Acquire: pairs with the Release above.
        while said.state.load(Ordering::Acquire) != 2 {
            std::thread::yield_now();
        }
        // Relaxed: published by the state.
        let token = |at: usize| -> Outcome<Token> {
            said.tokens[at].load(Ordering::Relaxed).try_into().map_err(|error| Failed::of("token", error))
        };
        let event = |at| Event::open(&member, token(at)?).map_err(|error| refused(&error));
        let mutex = Mutex::open(&member, token(0)?).map_err(|error| refused(&error))?;
        let joined = TenuredMember { mutex, events: [event(1)?, event(2)?] };
        Ok((member, joined))
    }
}

impl Locks for TenuredMember {
    #[inline]
    fn lock(&mut self) -> Outcome<()> {
        self.mutex.acquire(None).map(drop).map_err(|error| Failed::of("lock", error))
    }

    #[inline]
    fn unlock(&mut self) -> Outcome<()> {
        self.mutex.unlock().map_err(|error| Failed::of("unlock", error))
    }
}

impl Events for TenuredMember {
    #[inline]
    fn signal(&mut self, event: usize) -> Outcome<()> {
        self.events[event].set().map_err(|error| Failed::of("set", error))
    }

    #[inline]
    fn wait(&mut self, event: usize) -> Outcome<()> {
        self.events[event].wait(None).map_err(|error| Failed::of("wait", error))
    }
}

/// The pthread objects, in one page.
#[repr(C)]
struct Threads {
    mutex: UnsafeCell<libc::pthread_mutex_t>,
    events: [CondEvent; EVENTS],
}

/// A flag behind a mutex, and the condition that it is set.
#[repr(C)]
struct CondEvent {
    mutex: UnsafeCell<libc::pthread_mutex_t>,
    condition: UnsafeCell<libc::pthread_cond_t>,
    is_set: UnsafeCell<bool>,
}

/// Mutexes and conditions of pthread, shared between processes; the mutex is robust if asked for.
pub struct Pthread {
    pages: Arc<Pages>,
}

/// A member of [`Pthread`].
pub struct PthreadMember {
    pages: Arc<Pages>,
}

fn ok(what: &'static str, status: libc::c_int) -> Outcome<()> {
    if status == 0 { Ok(()) } else { Err(Failed::of(what, std::io::Error::from_raw_os_error(status))) }
}

fn last(what: &'static str, status: impl Into<i64>) -> Outcome<()> {
    if status.into() >= 0 { Ok(()) } else { Err(Failed::of(what, std::io::Error::last_os_error())) }
}

impl Pthread {
    /// Ordinary ones.
    ///
    /// # Errors
    /// The errors of pthread.
    pub fn plain() -> Outcome<Self> {
        Self::new(false)
    }

    /// A robust mutex.
    ///
    /// # Errors
    /// The errors of pthread.
    pub fn robust() -> Outcome<Self> {
        Self::new(true)
    }

    fn new(robust: bool) -> Outcome<Self> {
        let pages = Pages::new(4096)?;
        // SAFETY: zeroed memory of ours that nobody else knows yet; the attributes are initialised before they are used.
        unsafe {
            let threads: &Threads = pages.view();
            let mut of_mutex = std::mem::zeroed();
            ok("mutexattr", libc::pthread_mutexattr_init(&raw mut of_mutex))?;
            ok(
                "pshared",
                libc::pthread_mutexattr_setpshared(&raw mut of_mutex, libc::PTHREAD_PROCESS_SHARED),
            )?;
            let mut of_condition = std::mem::zeroed();
            ok("condattr", libc::pthread_condattr_init(&raw mut of_condition))?;
            ok(
                "pshared",
                libc::pthread_condattr_setpshared(&raw mut of_condition, libc::PTHREAD_PROCESS_SHARED),
            )?;
            for event in &threads.events {
                ok("mutex", libc::pthread_mutex_init(event.mutex.get(), &raw const of_mutex))?;
                ok("cond", libc::pthread_cond_init(event.condition.get(), &raw const of_condition))?;
            }
            if robust {
                ok(
                    "robust",
                    libc::pthread_mutexattr_setrobust(&raw mut of_mutex, libc::PTHREAD_MUTEX_ROBUST),
                )?;
            }
            ok("mutex", libc::pthread_mutex_init(threads.mutex.get(), &raw const of_mutex))?;
        }
        Ok(Self { pages: Arc::new(pages) })
    }
}

impl Subject for Pthread {
    type Member = PthreadMember;

    fn join(&self) -> Outcome<PthreadMember> {
        Ok(PthreadMember { pages: Arc::clone(&self.pages) })
    }
}

impl PthreadMember {
    #[inline]
    fn threads(&self) -> &Threads {
        // SAFETY: initialised by `Pthread::new`; its contents are accessed through pthread, or under its mutex.
        unsafe { self.pages.view() }
    }
}

impl Locks for PthreadMember {
    #[inline]
    fn lock(&mut self) -> Outcome<()> {
        // SAFETY: an initialised mutex.
        ok("lock", unsafe { libc::pthread_mutex_lock(self.threads().mutex.get()) })
    }

    #[inline]
    fn unlock(&mut self) -> Outcome<()> {
        // SAFETY: as above.
        ok("unlock", unsafe { libc::pthread_mutex_unlock(self.threads().mutex.get()) })
    }
}

impl Events for PthreadMember {
    fn signal(&mut self, event: usize) -> Outcome<()> {
        let event = &self.threads().events[event];
        // SAFETY: initialised; the flag is touched under the mutex.
        unsafe {
            ok("lock", libc::pthread_mutex_lock(event.mutex.get()))?;
            *event.is_set.get() = true;
            ok("signal", libc::pthread_cond_signal(event.condition.get()))?;
            ok("unlock", libc::pthread_mutex_unlock(event.mutex.get()))
        }
    }

    fn wait(&mut self, event: usize) -> Outcome<()> {
        let event = &self.threads().events[event];
        // SAFETY: as in `ring`.
        unsafe {
            ok("lock", libc::pthread_mutex_lock(event.mutex.get()))?;
            while !*event.is_set.get() {
                ok("wait", libc::pthread_cond_wait(event.condition.get(), event.mutex.get()))?;
            }
            *event.is_set.get() = false;
            ok("unlock", libc::pthread_mutex_unlock(event.mutex.get()))
        }
    }
}

/// Counters that one waits for until they are above zero: the first is a mutex, the others are events.
trait Counters {
    fn take(&self, at: usize) -> Outcome<()>;
    fn give(&self, at: usize) -> Outcome<()>;
}

impl<C: Counters> Locks for C {
    #[inline]
    fn lock(&mut self) -> Outcome<()> {
        self.take(0)
    }

    #[inline]
    fn unlock(&mut self) -> Outcome<()> {
        self.give(0)
    }
}

impl<C: Counters> Events for C {
    fn signal(&mut self, event: usize) -> Outcome<()> {
        self.give(1 + event)
    }

    fn wait(&mut self, event: usize) -> Outcome<()> {
        self.take(1 + event)
    }
}

/// POSIX semaphores in shared memory: the first is the mutex.
pub struct Semaphores {
    pages: Arc<Pages>,
}

impl Semaphores {
    /// One that is free and [`EVENTS`] that were not signalled.
    ///
    /// # Errors
    /// The error of `sem_init`.
    pub fn new() -> Outcome<Self> {
        let pages = Arc::new(Pages::new(4096)?);
        let new = SemaphoresMember { pages: Arc::clone(&pages) };
        for at in 0..=EVENTS {
            // SAFETY: zeroed memory of ours that nobody else knows yet.
            last("sem_init", unsafe { libc::sem_init(new.semaphore(at), 1, u32::from(at == 0)) })?;
        }
        Ok(Self { pages })
    }
}

/// A member of [`Semaphores`].
pub struct SemaphoresMember {
    pages: Arc<Pages>,
}

impl Subject for Semaphores {
    type Member = SemaphoresMember;

    fn join(&self) -> Outcome<SemaphoresMember> {
        Ok(SemaphoresMember { pages: Arc::clone(&self.pages) })
    }
}

impl SemaphoresMember {
    fn semaphore(&self, at: usize) -> *mut libc::sem_t {
        self.pages.start().cast::<libc::sem_t>().wrapping_add(at)
    }
}

impl Counters for SemaphoresMember {
    #[inline]
    fn take(&self, at: usize) -> Outcome<()> {
        // SAFETY: initialised by `Semaphores::new`.
        last("sem_wait", unsafe { libc::sem_wait(self.semaphore(at)) })
    }

    #[inline]
    fn give(&self, at: usize) -> Outcome<()> {
        // SAFETY: initialised by `Semaphores::new`.
        last("sem_post", unsafe { libc::sem_post(self.semaphore(at)) })
    }
}

/// eventfds that the members inherit: the first is the mutex.
pub struct EventFds {
    fds: Arc<[OwnedFd]>,
}

impl EventFds {
    /// One that is free and [`EVENTS`] that were not signalled.
    ///
    /// # Errors
    /// The error of `eventfd`.
    pub fn new() -> Outcome<Self> {
        let make = |at| -> Outcome<OwnedFd> {
            // SAFETY: makes a descriptor.
            let fd = unsafe { libc::eventfd(u32::from(at == 0), libc::EFD_CLOEXEC | libc::EFD_SEMAPHORE) };
            last("eventfd", fd)?;
            // SAFETY: new, and nobody else's.
            Ok(unsafe { OwnedFd::from_raw_fd(fd) })
        };
        Ok(Self { fds: (0..=EVENTS).map(make).collect::<Outcome<_>>()? })
    }
}

#[cfg(feature = "published")]
impl EventFds {
    /// Other descriptors of the same ones, which do not wait.
    pub(crate) fn duplicates(&self) -> Outcome<Vec<OwnedFd>> {
        self.fds
            .iter()
            .map(|fd| {
                // SAFETY: a flag of a descriptor of ours.
                let set = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) };
                last("fcntl", i64::from(set))?;
                fd.try_clone().map_err(|error| Failed::of("duplicate", error))
            })
            .collect()
    }
}

/// Adds one.
#[inline]
pub(crate) fn give(fd: &OwnedFd) -> Outcome<()> {
    let number = 1u64;
    // SAFETY: eight bytes of ours to read.
    last("write", unsafe { libc::write(fd.as_raw_fd(), (&raw const number).cast(), 8) } as i64)
}

/// Takes one; false if there is none.
#[cfg(feature = "published")]
pub(crate) fn try_take(fd: &OwnedFd) -> Outcome<bool> {
    let mut number = 0u64;
    // SAFETY: eight bytes of ours to write.
    if unsafe { libc::read(fd.as_raw_fd(), (&raw mut number).cast(), 8) } == 8 {
        return Ok(true);
    }
    let error = std::io::Error::last_os_error();
    if error.kind() == std::io::ErrorKind::WouldBlock { Ok(false) } else { Err(Failed::of("read", error)) }
}

/// A member of [`EventFds`].
pub struct EventFdsMember {
    fds: Arc<[OwnedFd]>,
}

impl Subject for EventFds {
    type Member = EventFdsMember;

    fn join(&self) -> Outcome<EventFdsMember> {
        Ok(EventFdsMember { fds: Arc::clone(&self.fds) })
    }
}

impl Counters for EventFdsMember {
    #[inline]
    fn take(&self, at: usize) -> Outcome<()> {
        let mut number = 0u64;
        // SAFETY: eight bytes of ours to write.
        last("read", unsafe { libc::read(self.fds[at].as_raw_fd(), (&raw mut number).cast(), 8) } as i64)
    }

    #[inline]
    fn give(&self, at: usize) -> Outcome<()> {
        give(&self.fds[at])
    }
}

/// The daemon's model: the objects lie in shared memory, behind pthread; every call takes a reference to the handle and
/// gives it back, two round trips.
pub struct Daemonic {
    daemon: Daemon,
    pthread: Pthread,
}

/// A member of [`Daemonic`].
pub struct DaemonicMember {
    client: Client,
    pthread: PthreadMember,
    token: u64,
}

impl Daemonic {
    /// With a daemon over a socket.
    ///
    /// # Errors
    /// [`Failed`].
    pub fn new() -> Outcome<Self> {
        let daemon = Daemon::new(Way::Socket, Cpu::Any)?;
        Ok(Self { daemon, pthread: Pthread::plain()? })
    }
}

impl Subject for Daemonic {
    type Member = DaemonicMember;

    fn join(&self) -> Outcome<DaemonicMember> {
        let mut client = self.daemon.join()?;
        // Any handle will do, so each member has its own: the round trip is measured.
        let held = client.create(7)?;
        let token = client.token(&held);
        Ok(DaemonicMember { client, pthread: self.pthread.join()?, token })
    }

    fn settle(&self) {
        self.daemon.settle();
    }
}

impl DaemonicMember {
    fn referenced<T>(&mut self, work: impl FnOnce(&mut PthreadMember) -> Outcome<T>) -> Outcome<T> {
        let held = self.client.open(self.token)?;
        let done = work(&mut self.pthread);
        self.client.close(held)?;
        done
    }
}

impl Locks for DaemonicMember {
    fn lock(&mut self) -> Outcome<()> {
        self.referenced(Locks::lock)
    }

    fn unlock(&mut self) -> Outcome<()> {
        self.referenced(Locks::unlock)
    }
}

impl Events for DaemonicMember {
    fn signal(&mut self, event: usize) -> Outcome<()> {
        self.referenced(|pthread| pthread.signal(event))
    }

    fn wait(&mut self, event: usize) -> Outcome<()> {
        self.referenced(|pthread| pthread.wait(event))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn both_ways<S: Subject<Member: Locks + Events>>(subject: Outcome<S>) {
        let subject = subject.unwrap();
        let (mut a, mut b) = (subject.join().unwrap(), subject.join().unwrap());
        a.lock().unwrap();
        a.unlock().unwrap();
        b.lock().unwrap();
        b.unlock().unwrap();
        a.signal(0).unwrap();
        b.wait(0).unwrap();
        b.signal(1).unwrap();
        a.wait(1).unwrap();
    }

    #[test]
    fn whoever_rings_is_heard() {
        both_ways(Tenured::new());
        both_ways(Pthread::plain());
        both_ways(Pthread::robust());
        both_ways(Semaphores::new());
        both_ways(EventFds::new());
    }
}
