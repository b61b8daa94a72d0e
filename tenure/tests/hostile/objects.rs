//! Objects in corrupted segments: mutexes, read-write locks, condition variables, permits, events, semaphores, processes, threads, descriptors and entries in tables of
//! files, by token and by name, waited for one by one and together. All timeouts are short.

use std::fs::File;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use tenure::{
    Access, Condvar, Descriptor, Event, FileShare, Member, Mutex, Named, Permit, Permits, Process, Reset,
    RwLock, Semaphore, Sharing, Thread, Token, Waitable, testing::Way, wait_all, wait_any,
};

use super::{HELD_MAX, NAMES, Script, pick};

pub(crate) const MOMENT: Option<Duration> = Some(Duration::from_micros(50));
const NOT_NOW: Option<Duration> = Some(Duration::ZERO);
/// Number of operations of `operate`.
pub(super) const OPERATIONS: u8 = 28;

/// The objects of a script.
#[derive(Default)]
pub(crate) struct Objects {
    mutexes: Vec<Mutex>,
    events: Vec<Event>,
    semaphores: Vec<Semaphore>,
    processes: Vec<Process>,
    threads: Vec<Thread>,
    descriptors: Vec<Descriptor>,
    shares: Vec<FileShare>,
    locks: Vec<RwLock>,
    condvars: Vec<Condvar>,
    permits: Vec<Permits>,
    /// Permits that it has.
    had: Vec<Permit>,
}

/// The file of the descriptors and of the tables of files.
fn file() -> File {
    static FILE: OnceLock<File> = OnceLock::new();
    let made = || File::open(std::env::current_exe().unwrap()).unwrap();
    FILE.get_or_init(made).try_clone().unwrap()
}

/// A process that has ended and was not reaped.
fn ended() -> u32 {
    static CHILD: OnceLock<Option<Child>> = OnceLock::new();
    let start = || Command::new("true").stdin(Stdio::null()).spawn().ok();
    CHILD.get_or_init(start).as_ref().map_or(1, Child::id)
}

impl Objects {
    /// Creates one object of each type, some of them with names: a mutex is owned, an event set.
    pub(crate) fn of(me: &Member) -> Self {
        let mut objects = Self::default();
        objects.mutexes.extend(Mutex::create(me));
        objects.mutexes.extend(Mutex::create_named(me, NAMES[2], true));
        objects.events.extend(Event::create(me, Reset::Manual, true));
        objects.events.extend(Event::create_named(me, NAMES[3], Reset::Auto, true));
        objects.semaphores.extend(Semaphore::create(me, 1, 3));
        objects.processes.extend(Process::current(me));
        objects.processes.extend(Process::of_pid(me, ended()));
        objects.threads.extend(Thread::current(me));
        objects.descriptors.extend(Descriptor::create(me, file()));
        objects.shares.extend(FileShare::enter(me, file(), Access::READ, Sharing::ALL));
        objects.locks.extend(RwLock::create(me));
        objects.condvars.extend(Condvar::create(me));
        objects.permits.extend(Permits::create(me, 3));
        for permits in &objects.permits {
            objects.had.extend(permits.acquire(NOT_NOW));
        }
        for lock in &objects.locks {
            let _ = lock.acquire_read(NOT_NOW);
        }
        for mutex in &objects.mutexes {
            let _ = mutex.acquire(NOT_NOW);
        }
        objects
    }

    pub(crate) fn tokens(&self) -> Vec<Token> {
        let mutexes = self.mutexes.iter().map(Mutex::token);
        let events = self.events.iter().map(Event::token);
        let semaphores = self.semaphores.iter().map(Semaphore::token);
        let processes = self.processes.iter().map(Process::token);
        let threads = self.threads.iter().map(Thread::token);
        let descriptors = self.descriptors.iter().map(Descriptor::token);
        let locks = self.locks.iter().map(RwLock::token);
        let condvars = self.condvars.iter().map(Condvar::token);
        let permits = self.permits.iter().map(Permits::token);
        let locks = locks.chain(condvars).chain(permits);
        let others = processes.chain(threads).chain(descriptors).chain(locks);
        mutexes.chain(events).chain(semaphores).chain(others).collect()
    }

    pub(super) fn truncate(&mut self) {
        self.mutexes.truncate(HELD_MAX);
        self.events.truncate(HELD_MAX);
        self.semaphores.truncate(HELD_MAX);
        self.processes.truncate(HELD_MAX);
        self.threads.truncate(HELD_MAX);
        self.descriptors.truncate(HELD_MAX);
        self.shares.truncate(HELD_MAX);
        self.locks.truncate(HELD_MAX);
        self.condvars.truncate(HELD_MAX);
        self.permits.truncate(HELD_MAX);
        self.had.truncate(HELD_MAX);
    }

    /// At most `count` of the waitable objects, starting at number `which`.
    fn some(&self, which: u64, count: usize) -> Vec<&dyn Waitable> {
        let mut all: Vec<&dyn Waitable> = Vec::new();
        all.extend(self.mutexes.iter().map(|one| one as &dyn Waitable));
        all.extend(self.events.iter().map(|one| one as &dyn Waitable));
        all.extend(self.semaphores.iter().map(|one| one as &dyn Waitable));
        all.extend(self.processes.iter().map(|one| one as &dyn Waitable));
        all.extend(self.threads.iter().map(|one| one as &dyn Waitable));
        let first = which as usize % all.len().max(1);
        all.rotate_left(first);
        all.truncate(count);
        all
    }
}

fn chosen<T>(things: &[T], which: u64) -> Option<&T> {
    (!things.is_empty()).then(|| &things[which as usize % things.len()])
}

fn reset(which: u64) -> Reset {
    if which.is_multiple_of(2) { Reset::Manual } else { Reset::Auto }
}

/// One step of a script; the token is one that a member had, or noise.
pub(super) fn operate(
    me: &Member,
    objects: &mut Objects,
    operation: u8,
    token: Option<Token>,
    script: &mut Script<'_>,
) {
    let which = script.number::<1>();
    let name = NAMES[which as usize % NAMES.len()];
    let in_vain = which.is_multiple_of(3);
    let timeout = if in_vain { NOT_NOW } else { MOMENT };
    match operation {
        0 => objects.mutexes.extend(match which % 3 {
            0 => Mutex::create(me).ok(),
            1 => Mutex::create_named(me, name, in_vain).ok(),
            _ => Mutex::create_or_open(me, name, true).map(Named::into_inner).ok(),
        }),
        1 => objects.mutexes.extend(match token {
            Some(token) => Mutex::open(me, token).ok(),
            None => Mutex::open_named(me, name).ok(),
        }),
        2 | 3 => {
            let _ = chosen(&objects.mutexes, which).map(|mutex| (mutex.acquire(timeout), mutex.state()));
        }
        4 | 5 => {
            let _ = chosen(&objects.mutexes, which).map(|mutex| (mutex.unlock(), mutex.try_clone()));
        }
        6 => objects.events.extend(match which % 3 {
            0 => Event::create(me, reset(which / 3), which.is_multiple_of(4)).ok(),
            1 => Event::create_named(me, name, reset(which / 3), false).ok(),
            _ => Event::create_or_open(me, name, reset(which / 3), true).map(Named::into_inner).ok(),
        }),
        7 => objects.events.extend(match token {
            Some(token) => Event::open(me, token).ok(),
            None => Event::open_named(me, name).ok(),
        }),
        8 => {
            let _ = chosen(&objects.events, which).map(|event| (event.wait(timeout), event.is_set()));
        }
        9 => {
            let _ = chosen(&objects.events, which)
                .map(|event| if in_vain { event.reset().is_ok() } else { event.set().is_ok() });
        }
        10 => objects.semaphores.extend(match token {
            Some(token) => Semaphore::open(me, token).ok(),
            None if in_vain => Semaphore::open_named(me, name).ok(),
            None => Semaphore::create_or_open(me, name, 1, 4).map(Named::into_inner).ok(),
        }),
        11 => {
            let _ = chosen(&objects.semaphores, which).map(|semaphore| {
                (semaphore.acquire(timeout), semaphore.release(which as u32 / 64), semaphore.count())
            });
        }
        12 => objects.processes.extend(match token {
            Some(token) => Process::open(me, token).ok(),
            None if in_vain => Process::create_or_open(me, name, ended()).map(Named::into_inner).ok(),
            None => Process::current(me).ok(),
        }),
        13 => {
            let _ = chosen(&objects.processes, which)
                .map(|process| (process.pid(), process.started_at(), process.exit(), process.wait(timeout)));
        }
        14 => {
            let status = ExitStatus::from_raw(script.number::<2>() as i32);
            let _ =
                chosen(&objects.processes, which).map(|process| (process.reaped(status), process.exiting(7)));
        }
        15 => objects.threads.extend(match token {
            Some(token) => Thread::open(me, token).ok(),
            None => Thread::create_or_open(me, name, std::process::id()).map(Named::into_inner).ok(),
        }),
        16 => {
            let _ = chosen(&objects.threads, which)
                .map(|thread| (thread.tid(), thread.exit(), thread.wait(timeout), thread.exiting(3)));
        }
        17 => {
            let way = [Way::Any, Way::Direct, Way::Socket][which as usize % 3];
            objects.descriptors.extend(match token {
                Some(token) => tenure::testing::open_by(me, token, way).ok(),
                None if in_vain => Descriptor::open_named(me, name).ok(),
                None => Descriptor::create_or_open(me, name, file()).map(Named::into_inner).ok(),
            });
        }
        18 => {
            let _ = chosen(&objects.descriptors, which).map(Descriptor::duplicate);
        }
        19 => {
            let access = [Access::NONE, Access::READ, Access::WRITE, Access::DELETE][which as usize % 4];
            let sharing = [Sharing::ALL, Sharing::NONE, Sharing::READ][which as usize / 4 % 3];
            objects.shares.extend(FileShare::enter(me, file(), access, sharing));
            let _ = chosen(&objects.shares, which).map(FileShare::everybody);
        }
        20 => {
            let some = objects.some(which, 1 + script.byte() as usize % 5);
            let _ = if in_vain { wait_any(&some, MOMENT).is_ok() } else { wait_all(&some, MOMENT).is_ok() };
        }
        21 => objects.locks.extend(match token {
            Some(token) => RwLock::open(me, token).ok(),
            None if in_vain => RwLock::create(me).ok(),
            None => RwLock::create_or_open(me, name).map(Named::into_inner).ok(),
        }),
        22 => {
            let _ = chosen(&objects.locks, which).map(|lock| match which / 3 % 4 {
                0 => (lock.acquire_read(timeout).is_ok(), lock.state().is_ok()),
                1 => (lock.acquire_write(timeout).is_ok(), lock.try_clone().is_ok()),
                2 => (lock.unlock_read().is_ok(), lock.try_write().is_ok()),
                _ => (lock.unlock_write().is_ok(), lock.try_read().is_ok()),
            });
        }
        23 => objects.condvars.extend(match token {
            Some(token) => Condvar::open(me, token).ok(),
            None if in_vain => Condvar::create(me).ok(),
            None => Condvar::create_or_open(me, name).map(Named::into_inner).ok(),
        }),
        24 => {
            let _ = chosen(&objects.condvars, which).map(|condvar| {
                let _ = condvar.notify_all();
                let mutex = chosen(&objects.mutexes, which / 3)?;
                let guard = mutex.adopt().or_else(|_| mutex.try_lock()).ok()?;
                condvar.wait_with(guard, MOMENT).ok().map(|(guard, _)| std::mem::forget(guard))
            });
        }
        25 => objects.permits.extend(match token {
            Some(token) => Permits::open(me, token).ok(),
            None if in_vain => Permits::create(me, 1 + which as u32 % 9).ok(),
            None => Permits::create_or_open(me, name, 2).map(Named::into_inner).ok(),
        }),
        26 => {
            let had = chosen(&objects.permits, which).and_then(|permits| {
                let _ = (permits.available(), permits.adopt(which));
                permits.acquire(MOMENT).ok()
            });
            match which / 3 % 3 {
                0 => objects.had.extend(had),
                1 => drop(pick(&mut objects.had, which)),
                _ => drop(had.map(Permit::into_number)),
            }
        }
        _ => {
            let _ = pick(&mut objects.locks, which);
            let _ = (pick(&mut objects.condvars, which), pick(&mut objects.permits, which));
            let _ = (pick(&mut objects.mutexes, which), pick(&mut objects.events, which));
            let _ = (pick(&mut objects.semaphores, which), pick(&mut objects.processes, which));
            let _ = (pick(&mut objects.threads, which), pick(&mut objects.descriptors, which));
            let _ = pick(&mut objects.shares, which);
        }
    }
}

/// Opens and uses all objects of the tokens.
pub(crate) fn use_all(me: &Member, tokens: &[Token]) {
    for &token in tokens {
        if let Ok(mutex) = Mutex::open(me, token) {
            let _ = (mutex.state(), mutex.acquire(MOMENT), mutex.acquire(MOMENT));
            let _ = (mutex.unlock(), mutex.unlock(), mutex.unlock());
            let _ = mutex.try_clone();
        }
        if let Ok(lock) = RwLock::open(me, token) {
            let _ = (lock.state(), lock.read_with(MOMENT), lock.write_with(MOMENT));
            let _ = (lock.acquire_read(MOMENT), lock.acquire_write(MOMENT));
            let _ = (lock.unlock_read(), lock.unlock_write(), lock.try_clone());
        }
        if let Ok(condvar) = Condvar::open(me, token) {
            let waited = Mutex::create(me).map(|mutex| {
                mutex.lock().and_then(|guard| condvar.wait_with(guard, MOMENT).map(|(_, end)| end))
            });
            let _ = (waited, condvar.notify_one(), condvar.try_clone());
        }
        if let Ok(permits) = Permits::open(me, token) {
            let _ = [permits.acquire(MOMENT), permits.try_acquire(), permits.acquire(MOMENT)];
            let _ = (permits.available(), permits.adopt(0), permits.total());
        }
        if let Ok(event) = Event::open(me, token) {
            let _ = (event.wait(MOMENT), event.set(), event.is_set(), event.wait(MOMENT), event.reset());
        }
        if let Ok(semaphore) = Semaphore::open(me, token) {
            let _ = (semaphore.acquire(MOMENT), semaphore.release(1), semaphore.release(u32::MAX));
            let _ = (semaphore.count(), semaphore.acquire(MOMENT));
        }
        if let Ok(process) = Process::open(me, token) {
            let _ = (process.pid(), process.exit(), process.wait(NOT_NOW));
        }
        if let Ok(thread) = Thread::open(me, token) {
            let _ = (thread.tid(), thread.exit(), thread.wait(NOT_NOW));
        }
        let _ = tenure::testing::open_by(me, token, Way::Direct).map(|descriptor| descriptor.duplicate());
    }
    let _ = FileShare::enter(me, file(), Access::WRITE, Sharing::NONE).map(|share| share.everybody());
}
