//! A program that uses the crate `tenure`, by its owned types.

mod collections;
mod faults;
mod values;

use std::alloc::Layout;
use std::collections::HashMap;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::Arc;
use std::sync::atomic::AtomicU8;
use std::time::Duration;

use rkyv::{Archive, Serialize};
use tenure::{
    Block, Claim, Handle, Kind, LeaseId, Member, Named, Options, Raw, Space, Token,
    collections::{Entry, Map, MapOptions, Queue},
    error::Returned,
    file::{Access, Descriptor, FileShare, Sharing},
    process::{Exit, Process, Thread},
    raw::RawBlock,
    sync::{
        Condvar, Event, Locked, Mutex, Permits, Reset, RwLock, Semaphore, Shared, Versioned, Waitable,
        wait_all, wait_any,
    },
};

use crate::driver::{Backend, Driver, OpenSpace, Place, Sizes};
use crate::order::{Answer, End, Fault, InUse, Modes, New, Order, Sort, Thing};

/// The value of typed handles.
#[derive(Archive, Serialize)]
struct Note {
    id: u64,
    lines: Vec<String>,
}

/// An object held under a number.
enum Object {
    Raw(Handle<Raw>),
    Typed(Handle<Note>),
    Mutex(Mutex),
    Event(Event),
    RwLock(RwLock),
    Condvar(Condvar),
    Permits(Permits),
    Semaphore(Semaphore),
    Process(Process),
    Thread(Thread),
    Descriptor(Descriptor),
    Locked(Locked<[u8]>),
    Versioned(Versioned<[u8]>),
    Shared(Shared<[AtomicU8]>),
    Claim(Claim<Raw>),
    Queue(Queue<Raw>),
    Map(Map),
    Entry(Entry),
    Share(#[expect(dead_code, reason = "held until it is dropped")] FileShare),
}

impl Object {
    /// Its token; opens of files and held values have none.
    fn token(&self) -> u64 {
        let token = match self {
            Self::Raw(handle) => handle.token(),
            Self::Typed(handle) => handle.token(),
            Self::Mutex(mutex) => mutex.token(),
            Self::Event(event) => event.token(),
            Self::RwLock(lock) => lock.token(),
            Self::Condvar(condvar) => condvar.token(),
            Self::Permits(permits) => permits.token(),
            Self::Semaphore(semaphore) => semaphore.token(),
            Self::Process(process) => process.token(),
            Self::Thread(thread) => thread.token(),
            Self::Descriptor(descriptor) => descriptor.token(),
            Self::Locked(locked) => locked.token(),
            Self::Versioned(versioned) => versioned.token(),
            Self::Shared(shared) => shared.token(),
            Self::Claim(claim) => claim.token(),
            Self::Queue(queue) => queue.token(),
            Self::Map(map) => map.token(),
            Self::Entry(_) | Self::Share(_) => return 0,
        };
        token.into()
    }

    fn try_clone(&self) -> Result<Self, Fault> {
        Ok(match self {
            Self::Raw(handle) => Self::Raw(handle.try_clone()?),
            Self::Typed(handle) => Self::Typed(handle.try_clone()?),
            Self::Mutex(mutex) => Self::Mutex(mutex.try_clone()?),
            Self::Event(event) => Self::Event(event.try_clone()?),
            Self::RwLock(lock) => Self::RwLock(lock.try_clone()?),
            Self::Condvar(condvar) => Self::Condvar(condvar.try_clone()?),
            Self::Permits(permits) => Self::Permits(permits.clone()),
            Self::Semaphore(semaphore) => Self::Semaphore(semaphore.try_clone()?),
            Self::Process(process) => Self::Process(process.try_clone()?),
            Self::Thread(thread) => Self::Thread(thread.try_clone()?),
            Self::Descriptor(descriptor) => Self::Descriptor(descriptor.clone()),
            Self::Locked(locked) => Self::Locked(locked.try_clone()?),
            Self::Versioned(versioned) => Self::Versioned(versioned.try_clone()?),
            Self::Shared(shared) => Self::Shared(shared.try_clone()?),
            Self::Claim(claim) => Self::Raw(claim.try_clone()?),
            Self::Queue(queue) => Self::Queue(queue.try_clone()?),
            Self::Map(map) => Self::Map(map.try_clone()?),
            Self::Entry(_) | Self::Share(_) => return Err(Fault::Argument),
        })
    }

    fn waitable(&self) -> Result<&dyn Waitable, Fault> {
        Ok(match self {
            Self::Mutex(mutex) => mutex,
            Self::Event(event) => event,
            Self::Semaphore(semaphore) => semaphore,
            Self::Process(process) => process,
            Self::Thread(thread) => thread,
            Self::Queue(queue) => queue,
            _ => return Err(Fault::Argument),
        })
    }
}

fn options(sizes: &Sizes) -> Options {
    Space::options()
        .members(sizes.members)
        .handles(sizes.handles)
        .generation_bits(sizes.generation_bits)
        .scratch(sizes.scratch)
        .slots(sizes.slots)
        .container_slots(sizes.container_slots)
}

pub(crate) fn create(place: &Place, sizes: &Sizes) -> Result<Arc<dyn OpenSpace>, Fault> {
    let options = options(sizes);
    let space = match place.backend {
        Backend::Shm | Backend::SysV => options.backend(place.backend).open(&place.name),
        Backend::File => options.open_file(&place.path),
        Backend::Memfd => options.memfd(),
        Backend::Anonymous => options.anonymous(),
        Backend::Private => options.private(),
    };
    Ok(Arc::new(space?))
}

pub(crate) fn attach(place: &Place, fd: Option<RawFd>) -> Result<Arc<dyn OpenSpace>, Fault> {
    let options = Space::options();
    let space = match place.backend {
        Backend::Shm | Backend::SysV => options.backend(place.backend).attach(&place.name),
        Backend::File => options.attach_file(&place.path),
        Backend::Memfd => {
            // SAFETY: the program that gives the number keeps it open meanwhile.
            let fd = unsafe { BorrowedFd::borrow_raw(fd.ok_or(Fault::Argument)?) };
            options.from_fd(fd.try_clone_to_owned()?)
        }
        Backend::Anonymous | Backend::Private => return Err(Fault::Argument),
    };
    Ok(Arc::new(space?))
}

pub(crate) fn remove(place: &Place) -> Result<(), Fault> {
    let name = match place.backend {
        Backend::Shm | Backend::SysV => place.name.as_str(),
        Backend::File => place.path.to_str().ok_or(Fault::Argument)?,
        _ => return Ok(()),
    };
    Ok(Space::remove(place.backend, name, false)?)
}

impl OpenSpace for Space {
    fn fd(&self) -> Option<RawFd> {
        Space::fd(self).map(|fd| fd.as_raw_fd())
    }

    fn driver(self: Arc<Self>) -> Box<dyn Driver> {
        let (objects, blocks) = (HashMap::new(), HashMap::new());
        Box::new(Program { objects, blocks, last: 0, member: None, space: self })
    }
}

struct Program {
    // Dropped in this order: a member leaves with the last object that it holds.
    objects: HashMap<u32, Object>,
    blocks: HashMap<u64, Block>,
    member: Option<Member>,
    space: Arc<Space>,
    last: u32,
}

fn token(token: u64) -> Result<Token, Fault> {
    Token::try_from(token).map_err(|_| Fault::ForeignSpace)
}

fn reset(manual: bool) -> Reset {
    if manual { Reset::Manual } else { Reset::Auto }
}

fn timeout(timeout: Option<u64>) -> Option<Duration> {
    timeout.map(Duration::from_millis)
}

/// A descriptor that the program was told to give up.
fn given_up(fd: RawFd) -> OwnedFd {
    // SAFETY: one of its own, which it does not use any more.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

fn map_options(capacity: u32, max_bytes: u64) -> MapOptions {
    MapOptions::new(capacity).max_bytes(max_bytes)
}

fn layout(size: usize, align: usize) -> Result<Layout, Fault> {
    Layout::from_size_align(size, align).map_err(|_| Fault::Argument)
}

/// A block of somebody else's.
fn theirs(offset: u64) -> RawBlock {
    RawBlock { offset, len: 0 }
}

impl Program {
    fn member(&self) -> Result<&Member, Fault> {
        self.member.as_ref().ok_or(Fault::NotMember)
    }

    fn object(&self, thing: &Thing) -> Result<&Object, Fault> {
        self.objects.get(&thing.id).ok_or(Fault::Stale)
    }

    fn keep(&mut self, object: Object) -> Thing {
        self.last += 1;
        let thing = Thing { id: self.last, token: object.token() };
        self.objects.insert(thing.id, object);
        thing
    }

    fn create(&self, new: &New) -> Result<Object, Fault> {
        let me = self.member()?;
        Ok(match new {
            New::Raw { kind, bytes } => Object::Raw(me.create_raw(Kind::raw(*kind), bytes)?),
            New::Typed { id, lines } => Object::Typed(me.create(&Note { id: *id, lines: lines.clone() })?),
            New::Mutex { recursive: false } => Object::Mutex(Mutex::create(me)?),
            New::Mutex { recursive: true } => Object::Mutex(Mutex::options().recursive(true).create(me)?),
            New::Event { manual, signalled } => Object::Event(
                Event::options(if *manual { Reset::Manual } else { Reset::Auto })
                    .signalled(*signalled)
                    .create(me)?,
            ),
            New::RwLock => Object::RwLock(RwLock::create(me)?),
            New::Condvar => Object::Condvar(Condvar::create(me)?),
            New::Permits { total } => Object::Permits(Permits::create(me, *total)?),
            New::Semaphore { count, maximum } => Object::Semaphore(Semaphore::create(me, *count, *maximum)?),
            New::Process(pid) => Object::Process(Process::of_pid(me, *pid)?),
            New::Thread(tid) => Object::Thread(Thread::of_tid(me, *tid)?),
            New::Descriptor(fd) => Object::Descriptor(Descriptor::create(me, given_up(*fd))?),
            New::Locked { of, bytes } => {
                Object::Locked(Locked::create_raw(me, Kind::from_number(*of), &bytes[..])?)
            }
            New::Versioned { of, bytes } => {
                Object::Versioned(Versioned::create_raw(me, Kind::from_number(*of), &bytes[..])?)
            }
            New::Shared { of, size, align } => {
                Object::Shared(Shared::create_raw(me, Kind::from_number(*of), layout(*size, *align)?)?)
            }
            New::Queue { kind, capacity } => {
                Object::Queue(Queue::create_raw(me, Kind::raw(*kind), *capacity)?)
            }
            New::Map { capacity, max_bytes } => {
                Object::Map(Map::create(me, map_options(*capacity, *max_bytes))?)
            }
        })
    }

    fn create_named(&self, name: &str, new: &New) -> Result<Object, Fault> {
        let me = self.member()?;
        Ok(match new {
            New::Raw { kind, bytes } => Object::Raw(me.named(name).create_raw(Kind::raw(*kind), bytes)?),
            New::Typed { id, lines } => {
                Object::Typed(me.named(name).create(&Note { id: *id, lines: lines.clone() })?)
            }
            New::Mutex { recursive } => {
                Object::Mutex(Mutex::options().recursive(*recursive).create(me.named(name))?)
            }
            New::Event { manual, signalled } => {
                Object::Event(Event::options(reset(*manual)).signalled(*signalled).create(me.named(name))?)
            }
            New::RwLock => Object::RwLock(RwLock::create(me.named(name))?),
            New::Condvar => Object::Condvar(Condvar::create(me.named(name))?),
            New::Permits { total } => Object::Permits(Permits::create(me.named(name), *total)?),
            New::Semaphore { count, maximum } => {
                Object::Semaphore(Semaphore::create(me.named(name), *count, *maximum)?)
            }
            New::Process(pid) => Object::Process(Process::of_pid(me.named(name), *pid)?),
            New::Thread(tid) => Object::Thread(Thread::of_tid(me.named(name), *tid)?),
            New::Descriptor(fd) => Object::Descriptor(Descriptor::create(me.named(name), given_up(*fd))?),
            New::Locked { of, bytes } => {
                Object::Locked(Locked::create_raw(me.named(name), Kind::from_number(*of), &bytes[..])?)
            }
            New::Versioned { of, bytes } => {
                Object::Versioned(Versioned::create_raw(me.named(name), Kind::from_number(*of), &bytes[..])?)
            }
            New::Shared { of, size, align } => {
                let (kind, layout) = (Kind::from_number(*of), layout(*size, *align)?);
                Object::Shared(Shared::create_raw(me.named(name), kind, layout)?)
            }
            New::Queue { kind, capacity } => {
                Object::Queue(Queue::create_raw(me.named(name), Kind::raw(*kind), *capacity)?)
            }
            New::Map { capacity, max_bytes } => {
                Object::Map(Map::create(me.named(name), map_options(*capacity, *max_bytes))?)
            }
        })
    }

    fn create_or_open(&self, name: &str, new: &New) -> Result<(Object, bool), Fault> {
        let me = self.member()?;
        fn both<H>(named: Named<H>, object: impl FnOnce(H) -> Object) -> (Object, bool) {
            let created = named.is_created();
            (object(named.into_inner()), created)
        }
        Ok(match new {
            New::Raw { kind, bytes } => {
                both(me.create_or_open_raw(name, Kind::raw(*kind), bytes)?, Object::Raw)
            }
            New::Typed { id, lines } => {
                both(me.create_or_open(name, &Note { id: *id, lines: lines.clone() })?, Object::Typed)
            }
            New::Mutex { recursive } => {
                both(Mutex::options().recursive(*recursive).create_or_open(me, name)?, Object::Mutex)
            }
            New::Event { manual, signalled } => both(
                Event::options(reset(*manual)).signalled(*signalled).create_or_open(me, name)?,
                Object::Event,
            ),
            New::RwLock => both(RwLock::create_or_open(me, name)?, Object::RwLock),
            New::Condvar => both(Condvar::create_or_open(me, name)?, Object::Condvar),
            New::Permits { total } => both(Permits::create_or_open(me, name, *total)?, Object::Permits),
            New::Semaphore { count, maximum } => {
                both(Semaphore::create_or_open(me, name, *count, *maximum)?, Object::Semaphore)
            }
            New::Process(pid) => both(Process::create_or_open(me, name, *pid)?, Object::Process),
            New::Thread(tid) => both(Thread::create_or_open(me, name, *tid)?, Object::Thread),
            New::Descriptor(fd) => {
                both(Descriptor::create_or_open(me, name, given_up(*fd))?, Object::Descriptor)
            }
            New::Locked { of, bytes } => {
                let kind = Kind::from_number(*of);
                both(Locked::create_or_open_raw(me, name, kind, &bytes[..])?, Object::Locked)
            }
            New::Versioned { of, bytes } => {
                let kind = Kind::from_number(*of);
                both(Versioned::create_or_open_raw(me, name, kind, &bytes[..])?, Object::Versioned)
            }
            New::Shared { of, size, align } => {
                let (kind, layout) = (Kind::from_number(*of), layout(*size, *align)?);
                both(Shared::create_or_open_raw(me, name, kind, layout)?, Object::Shared)
            }
            New::Queue { kind, capacity } => {
                both(Queue::create_or_open_raw(me, name, Kind::raw(*kind), *capacity)?, Object::Queue)
            }
            New::Map { capacity, max_bytes } => {
                both(Map::create_or_open(me, name, map_options(*capacity, *max_bytes))?, Object::Map)
            }
        })
    }

    fn open(&self, sort: Sort, found: u64) -> Result<Object, Fault> {
        let (me, token) = (self.member()?, token(found)?);
        Ok(match sort {
            Sort::Raw(kind) => Object::Raw(me.open_raw(Kind::raw(kind), token)?),
            Sort::Typed => Object::Typed(me.open(token)?),
            Sort::Mutex => Object::Mutex(Mutex::open(me, token)?),
            Sort::Event => Object::Event(Event::open(me, token)?),
            Sort::RwLock => Object::RwLock(RwLock::open(me, token)?),
            Sort::Condvar => Object::Condvar(Condvar::open(me, token)?),
            Sort::Permits => Object::Permits(Permits::open(me, token)?),
            Sort::Semaphore => Object::Semaphore(Semaphore::open(me, token)?),
            Sort::Process => Object::Process(Process::open(me, token)?),
            Sort::Thread => Object::Thread(Thread::open(me, token)?),
            Sort::Descriptor => Object::Descriptor(Descriptor::open(me, token)?),
            Sort::Locked(of) => Object::Locked(Locked::open_raw(me, Kind::from_number(of), token)?),
            Sort::Versioned(of) => Object::Versioned(Versioned::open_raw(me, Kind::from_number(of), token)?),
            Sort::Shared(of) => Object::Shared(Shared::open_raw(me, Kind::from_number(of), token)?),
            Sort::Queue(kind) => Object::Queue(Queue::open_raw(me, Kind::raw(kind), token)?),
            Sort::Map => Object::Map(Map::open(me, token)?),
        })
    }

    fn open_named(&self, name: &str, sort: Sort) -> Result<Object, Fault> {
        let me = self.member()?;
        Ok(match sort {
            Sort::Raw(kind) => Object::Raw(me.open_raw(Kind::raw(kind), name)?),
            Sort::Typed => Object::Typed(me.open(name)?),
            Sort::Mutex => Object::Mutex(Mutex::open(me, name)?),
            Sort::Event => Object::Event(Event::open(me, name)?),
            Sort::RwLock => Object::RwLock(RwLock::open(me, name)?),
            Sort::Condvar => Object::Condvar(Condvar::open(me, name)?),
            Sort::Permits => Object::Permits(Permits::open(me, name)?),
            Sort::Semaphore => Object::Semaphore(Semaphore::open(me, name)?),
            Sort::Process => Object::Process(Process::open(me, name)?),
            Sort::Thread => Object::Thread(Thread::open(me, name)?),
            Sort::Descriptor => Object::Descriptor(Descriptor::open(me, name)?),
            Sort::Locked(of) => Object::Locked(Locked::open_raw(me, Kind::from_number(of), name)?),
            Sort::Versioned(of) => Object::Versioned(Versioned::open_raw(me, Kind::from_number(of), name)?),
            Sort::Shared(of) => Object::Shared(Shared::open_raw(me, Kind::from_number(of), name)?),
            Sort::Queue(kind) => Object::Queue(Queue::open_raw(me, Kind::raw(kind), name)?),
            Sort::Map => Object::Map(Map::open(me, name)?),
        })
    }

    fn thing(&mut self, object: Object) -> Result<Answer, Fault> {
        Ok(Answer::Thing(self.keep(object)))
    }

    fn all(&self, things: &[Thing]) -> Result<Vec<&dyn Waitable>, Fault> {
        things.iter().map(|thing| self.object(thing)?.waitable()).collect()
    }

    fn mutex(&self, thing: &Thing) -> Result<&Mutex, Fault> {
        if let Object::Mutex(mutex) = self.object(thing)? { Ok(mutex) } else { Err(Fault::ForeignKind) }
    }

    fn condvar(&self, thing: &Thing) -> Result<&Condvar, Fault> {
        if let Object::Condvar(condvar) = self.object(thing)? { Ok(condvar) } else { Err(Fault::ForeignKind) }
    }

    fn permits(&self, thing: &Thing) -> Result<&Permits, Fault> {
        if let Object::Permits(permits) = self.object(thing)? { Ok(permits) } else { Err(Fault::ForeignKind) }
    }

    fn rwlock(&self, thing: &Thing) -> Result<&RwLock, Fault> {
        if let Object::RwLock(lock) = self.object(thing)? { Ok(lock) } else { Err(Fault::ForeignKind) }
    }

    fn event(&self, thing: &Thing) -> Result<&Event, Fault> {
        if let Object::Event(event) = self.object(thing)? { Ok(event) } else { Err(Fault::ForeignKind) }
    }

    fn semaphore(&self, thing: &Thing) -> Result<&Semaphore, Fault> {
        if let Object::Semaphore(semaphore) = self.object(thing)? {
            Ok(semaphore)
        } else {
            Err(Fault::ForeignKind)
        }
    }

    fn take(&self, thing: &Thing, patience: Option<Duration>) -> Result<Answer, Fault> {
        let abandoned = match self.object(thing)? {
            Object::Mutex(mutex) => mutex.acquire(patience)?,
            Object::Event(event) => event.wait(patience).map(|()| false)?,
            Object::Semaphore(semaphore) => semaphore.acquire(patience).map(|()| false)?,
            Object::Process(process) => process.wait(patience).map(|_| false)?,
            Object::Thread(thread) => thread.wait(patience).map(|_| false)?,
            _ => return Err(Fault::Argument),
        };
        Ok(Answer::Truth(abandoned))
    }

    /// Orders about the space and the membership.
    fn membership(&mut self, order: &Order) -> Result<Answer, Fault> {
        match order {
            Order::Join => {
                self.member = Some(self.space.join()?);
                Ok(Answer::Done)
            }
            Order::Leave => {
                self.objects.clear();
                self.blocks.clear();
                self.member.take().ok_or(Fault::NotMember)?.leave().map_err(|returned| returned.error)?;
                Ok(Answer::Done)
            }
            Order::Lease => {
                let LeaseId { index, incarnation } = self.member()?.lease();
                Ok(Answer::Number(incarnation << 8 | u64::from(index)))
            }
            Order::Recover => Ok(Answer::Number(self.member()?.recover()? as u64)),
            Order::Check => {
                let report = self.space.check();
                Ok(Answer::Report(report.violations, report.pending))
            }
            Order::Stats => {
                let stats = self.space.stats();
                Ok(Answer::InUse(InUse {
                    members: stats.members_live.into(),
                    handles: stats.handles_live,
                    claimed: stats.handles_claimed,
                    leased: stats.blocks_leased,
                    attached: stats.blocks_attached,
                    pinned: stats.blocks_pinned,
                }))
            }
            Order::Names => {
                let names = self.space.names();
                Ok(Answer::Names(names.into_iter().map(|name| (name.name, name.token.into())).collect()))
            }
            _ => Err(Fault::NotInThisLanguage(format!("{order:?}"))),
        }
    }

    /// Orders about scratch memory.
    fn scratch(&mut self, order: &Order) -> Result<Answer, Fault> {
        match order {
            Order::Alloc { bytes, align, zeroed } => {
                let layout = layout(*bytes, *align)?;
                let me = self.member()?;
                let block = if *zeroed { me.alloc_zeroed(layout)? } else { me.alloc(layout)? };
                let offset = block.offset();
                self.blocks.insert(offset, block);
                Ok(Answer::Number(offset))
            }
            Order::Resize { block, bytes } => {
                let mut mine = self.blocks.remove(block).ok_or(Fault::NotABlock)?;
                let resized = mine.resize(*bytes);
                let offset = mine.offset();
                self.blocks.insert(offset, mine);
                resized?;
                Ok(Answer::Number(offset))
            }
            Order::Free(block) => match self.blocks.remove(block) {
                Some(mine) => {
                    drop(mine);
                    Ok(Answer::Done)
                }
                // An owned block cannot be freed twice; by hand one can try.
                // SAFETY: no block that we own starts there: it is refused, or nobody has it.
                None => Ok(unsafe { self.member()?.local().free(theirs(*block)) }.map(|()| Answer::Done)?),
            },
            Order::FreeOf { block, lease } => {
                let owner = LeaseId { index: *lease as u8, incarnation: lease >> 8 };
                // SAFETY: its owner gave it to us, or it is refused.
                Ok(unsafe { self.member()?.local().free_of(theirs(*block), owner) }.map(|()| Answer::Done)?)
            }
            Order::Pin(block) => {
                let mine = self.blocks.remove(block).ok_or(Fault::NotABlock)?;
                mine.pin().map_err(|returned| returned.error)?;
                Ok(Answer::Done)
            }
            Order::FreePinned(block) => {
                // SAFETY: nobody uses the bytes of a pinned block any more when the scenario has it freed.
                Ok(unsafe { self.member()?.free_pinned(*block) }.map(|()| Answer::Done)?)
            }
            Order::Address(block) => {
                let local = self.member()?.local();
                local.usable(theirs(*block))?;
                Ok(Answer::Number(local.address(theirs(*block)) as u64))
            }
            _ => self.membership(order),
        }
    }

    /// Orders about processes and files.
    fn system(&mut self, order: &Order) -> Result<Answer, Fault> {
        match order {
            Order::ExitOf(thing) => {
                let exit = match self.object(thing)? {
                    Object::Process(process) => process.exit()?,
                    Object::Thread(thread) => thread.exit()?,
                    _ => return Err(Fault::ForeignKind),
                };
                Ok(Answer::Exit(exit.map(End::from)))
            }
            Order::WaitForExit { thing, timeout: patience } => {
                let exit = match self.object(thing)? {
                    Object::Process(process) => process.wait(timeout(*patience))?,
                    Object::Thread(thread) => thread.wait(timeout(*patience))?,
                    _ => return Err(Fault::ForeignKind),
                };
                Ok(Answer::Exit(Some(exit.into())))
            }
            Order::NumberOf(thing) => match self.object(thing)? {
                Object::Process(process) => Ok(Answer::Number(process.pid().into())),
                Object::Thread(thread) => Ok(Answer::Number(thread.tid().into())),
                _ => Err(Fault::ForeignKind),
            },
            Order::Exiting { thing, code } => {
                match self.object(thing)? {
                    Object::Process(process) => process.exiting(*code)?,
                    Object::Thread(thread) => thread.exiting(*code)?,
                    _ => return Err(Fault::ForeignKind),
                }
                Ok(Answer::Done)
            }
            Order::Reaped { thing, status } => {
                let Object::Process(process) = self.object(thing)? else { return Err(Fault::ForeignKind) };
                process.reaped(ExitStatus::from_raw(*status))?;
                Ok(Answer::Done)
            }
            Order::Duplicate(thing) => {
                let Object::Descriptor(descriptor) = self.object(thing)? else {
                    return Err(Fault::ForeignKind);
                };
                Ok(Answer::Number(descriptor.duplicate()?.into_raw_fd() as u64))
            }
            Order::Share { fd, access, sharing } => {
                // SAFETY: a descriptor of this program's, which stays open meanwhile.
                let fd = unsafe { BorrowedFd::borrow_raw(*fd) };
                let share = FileShare::enter(self.member()?, fd, access_of(*access), sharing_of(*sharing))?;
                self.thing(Object::Share(share))
            }
            _ => self.slots(order),
        }
    }
}

fn access_of(modes: Modes) -> Access {
    let all = [(modes.read, Access::READ), (modes.write, Access::WRITE), (modes.delete, Access::DELETE)];
    all.into_iter().filter(|(is, _)| *is).fold(Access::NONE, |sum, (_, one)| sum | one)
}

fn sharing_of(modes: Modes) -> Sharing {
    let all = [(modes.read, Sharing::READ), (modes.write, Sharing::WRITE), (modes.delete, Sharing::DELETE)];
    all.into_iter().filter(|(is, _)| *is).fold(Sharing::NONE, |sum, (_, one)| sum | one)
}

impl Driver for Program {
    fn obey(&mut self, order: &Order) -> Result<Answer, Fault> {
        match order {
            Order::Create(new) => {
                let object = self.create(new)?;
                self.thing(object)
            }
            Order::CreateWith { kind, block, len } => {
                let mut mine = self.blocks.remove(block).ok_or(Fault::NotABlock)?;
                if mine.len() != *len {
                    mine.resize(*len)?;
                }
                match self.member()?.create_with(Kind::raw(*kind), mine) {
                    Ok(handle) => self.thing(Object::Raw(handle)),
                    Err(Returned { error, value: mine }) => {
                        self.blocks.insert(mine.offset(), mine);
                        Err(error.into())
                    }
                }
            }
            Order::CreateNamed { name, new } => {
                let object = self.create_named(name, new)?;
                self.thing(object)
            }
            Order::CreateOrOpen { name, new } => {
                let (object, created) = self.create_or_open(name, new)?;
                Ok(Answer::CreatedOrOpened(self.keep(object), created))
            }
            Order::Open { sort, token } => {
                let object = self.open(*sort, *token)?;
                self.thing(object)
            }
            Order::OpenNamed { name, sort } => {
                let object = self.open_named(name, *sort)?;
                self.thing(object)
            }
            Order::LookUp(name) => Ok(Answer::Number(self.member()?.look_up(name)?.1.into())),
            Order::Get(thing) => match self.object(thing)? {
                Object::Raw(handle) => Ok(Answer::Bytes(handle.get()?.to_vec())),
                Object::Claim(claim) => Ok(Answer::Bytes(claim.get()?.to_vec())),
                Object::Entry(entry) => Ok(Answer::Bytes(entry.get()?.to_vec())),
                _ => Err(Fault::SystemKind),
            },
            Order::GetTyped(thing) => {
                let Object::Typed(handle) = self.object(thing)? else { return Err(Fault::ForeignKind) };
                let note = handle.get()?;
                let lines = note.lines.iter().map(|line| line.as_str().to_owned()).collect();
                Ok(Answer::Typed(note.id.to_native(), lines))
            }
            Order::Clone(thing) => {
                let object = self.object(thing)?.try_clone()?;
                self.thing(object)
            }
            Order::Close(thing) => self.objects.remove(&thing.id).map(|_| Answer::Done).ok_or(Fault::Stale),
            Order::Take { thing, timeout: patience } => self.take(thing, timeout(*patience)),
            Order::TakeAny { things, timeout: patience } => {
                let woken = wait_any(&self.all(things)?, timeout(*patience))?;
                Ok(Answer::Woken(woken.index, woken.abandoned))
            }
            Order::TakeAll { things, timeout: patience } => {
                Ok(Answer::Indices(wait_all(&self.all(things)?, timeout(*patience))?))
            }
            Order::Unlock(thing) => Ok(self.mutex(thing)?.unlock().map(|()| Answer::Done)?),
            Order::LockRead { lock, timeout: patience } => {
                Ok(Answer::Truth(self.rwlock(lock)?.acquire_read(timeout(*patience))?))
            }
            Order::UnlockRead(lock) => Ok(self.rwlock(lock)?.unlock_read().map(|()| Answer::Done)?),
            Order::LockWrite { lock, timeout: patience } => {
                Ok(Answer::Truth(self.rwlock(lock)?.acquire_write(timeout(*patience))?))
            }
            Order::UnlockWrite(lock) => Ok(self.rwlock(lock)?.unlock_write().map(|()| Answer::Done)?),
            Order::Set(thing) => Ok(self.event(thing)?.set().map(|()| Answer::Done)?),
            Order::Reset(thing) => Ok(Answer::Truth(self.event(thing)?.reset()?)),
            Order::IsSet(thing) => Ok(Answer::Truth(self.event(thing)?.is_set()?)),
            Order::Release { thing, more } => {
                Ok(Answer::Number(self.semaphore(thing)?.release(*more)?.into()))
            }
            Order::Count(thing) => Ok(Answer::Number(self.semaphore(thing)?.count()?.into())),
            Order::WaitWith { condvar, lock, timeout: patience } => {
                let condvar = self.condvar(condvar)?;
                if matches!(self.object(lock)?, Object::Locked(_)) {
                    let guard = self.guard(lock)?;
                    waited(condvar, guard, timeout(*patience), tenure::sync::LockedGuard::is_damaged)
                } else {
                    let guard = self.mutex(lock)?.adopt()?;
                    waited(condvar, guard, timeout(*patience), tenure::sync::MutexGuard::abandoned)
                }
            }
            Order::Notify(condvar) => Ok(self.condvar(condvar)?.notify_all().map(|()| Answer::Done)?),
            Order::Acquire { permits, timeout: patience } => {
                Ok(Answer::Number(self.permits(permits)?.acquire(timeout(*patience))?.into_number()))
            }
            Order::GiveBackPermit { permits, permit } => {
                drop(self.permits(permits)?.adopt(*permit)?);
                Ok(Answer::Done)
            }
            Order::Available(permits) => Ok(Answer::Number(self.permits(permits)?.available()?.into())),
            _ => self.system(order),
        }
    }
}

/// Waits, and forgets the guard again: the lock stays locked.
fn waited<G: tenure::sync::LockGuard>(
    condvar: &Condvar,
    guard: G,
    patience: Option<Duration>,
    tells: impl FnOnce(&G) -> bool,
) -> Result<Answer, Fault> {
    let (guard, end) = condvar.wait_with(guard, patience)?;
    let told = tells(&guard);
    std::mem::forget(guard);
    match end {
        tenure::sync::WaitEnd::TimedOut if !told => Err(Fault::TimedOut),
        _ => Ok(Answer::Truth(told)),
    }
}

impl From<Exit> for End {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Code(code) => Self::Code(code),
            Exit::Signal { number, .. } => Self::Signal(number),
            Exit::Unknown => Self::Unknown,
        }
    }
}
