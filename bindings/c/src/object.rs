//! Objects: the calls that mutexes, read-write locks, events, semaphores, processes, threads, descriptors, values, queues and maps share.

use std::ffi::{c_char, c_int};
use std::ptr;
use std::sync::atomic::AtomicU8;

use tenure::{
    Key, Kind, Named, Place, Slots, Token,
    collections::{Entry, Map},
    error::{DescriptorError, OpenHandleError, ProcessError},
    file::{Descriptor, FileShare},
    process::{Process, Thread},
    sync::{Condvar, Event, Locked, Mutex, Permits, RwLock, Semaphore, Shared, Versioned, Waitable},
};

use crate::abi::{TENURE_OR_OPEN, tenure_member, tenure_object, tenure_object_kind};
use crate::error::{Failure, fail, tenure_status};
use crate::guard::{guard, guard_out, guard_out_status, null};
use crate::handle::token;
use crate::map::Iteration;
use crate::member::{Membership, member};
use crate::queue::Lent;
use crate::registry::{self, Object, Pin};
use crate::space::{argument, only, text_of};

use tenure_object_kind::{
    TENURE_ANY, TENURE_CONDVAR, TENURE_DESCRIPTOR, TENURE_EVENT_AUTOMATIC, TENURE_EVENT_MANUAL,
    TENURE_FILE_SHARE, TENURE_LOCKED, TENURE_MAP, TENURE_MAP_ENTRY, TENURE_MAP_ITERATION, TENURE_MUTEX,
    TENURE_PERMITS, TENURE_PROCESS, TENURE_QUEUE, TENURE_RWLOCK, TENURE_SEMAPHORE, TENURE_SHARED,
    TENURE_THREAD, TENURE_VERSIONED,
};

/// An object of any kind.
pub(crate) enum Any {
    Mutex(Mutex),
    Event(Event),
    Semaphore(Semaphore),
    Process(Process),
    Thread(Thread),
    Descriptor(Descriptor),
    Share(FileShare),
    Locked(Locked<[u8]>),
    Versioned(Versioned<[u8]>),
    Shared(Shared<[AtomicU8]>),
    RwLock(RwLock),
    Condvar(Condvar),
    Permits(Permits),
    Queue(Lent),
    Map(Map),
    Entry(#[expect(dead_code, reason = "held until it is closed")] Entry),
    Iteration(Iteration),
}

/// An object, and the member that it keeps from leaving.
pub(crate) struct Thing {
    // Before the member, so that it is dropped first.
    pub(crate) any: Any,
    member: Pin<Membership>,
}

impl Object for Thing {
    const KIND: u64 = 4;
    const NAME: &'static str = "object";
}

/// An object of any kind; in a forked child as well.
#[inline(always)]
pub(crate) fn object(pointer: *const tenure_object) -> Result<Pin<Thing>, Failure> {
    registry::pin(pointer.addr() as u64)
}

/// An object, if this process is its member: not in a forked child.
pub(crate) fn usable(pointer: *const tenure_object) -> Result<Pin<Thing>, Failure> {
    let object = self::object(pointer)?;
    object.check()?;
    Ok(object)
}

impl Thing {
    /// Whether this process is the member: not in a forked child.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        Ok(self.member.member.check()?)
    }

    /// Its member, for one more object.
    pub(crate) fn member(&self) -> Result<Pin<Membership>, Failure> {
        self.member.again()
    }

    /// The slots of its space.
    pub(crate) fn slots(&self) -> Slots<'_> {
        self.member.member.slots()
    }

    pub(crate) fn kind(&self) -> tenure_object_kind {
        match &self.any {
            Any::Mutex(_) => TENURE_MUTEX,
            Any::Event(event) if event.resets() == tenure::sync::Reset::Manual => TENURE_EVENT_MANUAL,
            Any::Event(_) => TENURE_EVENT_AUTOMATIC,
            Any::Semaphore(_) => TENURE_SEMAPHORE,
            Any::Process(_) => TENURE_PROCESS,
            Any::Thread(_) => TENURE_THREAD,
            Any::Descriptor(_) => TENURE_DESCRIPTOR,
            Any::Share(_) => TENURE_FILE_SHARE,
            Any::Locked(_) => TENURE_LOCKED,
            Any::Versioned(_) => TENURE_VERSIONED,
            Any::Shared(_) => TENURE_SHARED,
            Any::RwLock(_) => TENURE_RWLOCK,
            Any::Condvar(_) => TENURE_CONDVAR,
            Any::Permits(_) => TENURE_PERMITS,
            Any::Queue(_) => TENURE_QUEUE,
            Any::Map(_) => TENURE_MAP,
            Any::Entry(_) => TENURE_MAP_ENTRY,
            Any::Iteration(_) => TENURE_MAP_ITERATION,
        }
    }

    fn token(&self) -> Result<Token, Failure> {
        Ok(match &self.any {
            Any::Mutex(mutex) => mutex.token(),
            Any::Event(event) => event.token(),
            Any::Semaphore(semaphore) => semaphore.token(),
            Any::Process(process) => process.token(),
            Any::Thread(thread) => thread.token(),
            Any::Descriptor(descriptor) => descriptor.token(),
            Any::Share(_) | Any::Entry(_) | Any::Iteration(_) => {
                return Err(self.wrong("thing that has a token"));
            }
            Any::Locked(locked) => locked.token(),
            Any::Versioned(versioned) => versioned.token(),
            Any::Shared(shared) => shared.token(),
            Any::RwLock(lock) => lock.token(),
            Any::Condvar(condvar) => condvar.token(),
            Any::Permits(permits) => permits.token(),
            Any::Queue(queue) => queue.queue.token(),
            Any::Map(map) => map.token(),
        })
    }

    /// The object as a wait source.
    pub(crate) fn waitable(&self) -> Result<&dyn Waitable, Failure> {
        Ok(match &self.any {
            Any::Mutex(mutex) => mutex,
            Any::Event(event) => event,
            Any::Semaphore(semaphore) => semaphore,
            Any::Process(process) => process,
            Any::Thread(thread) => thread,
            Any::Queue(lent) => &lent.queue,
            Any::Descriptor(_)
            | Any::Share(_)
            | Any::RwLock(_)
            | Any::Condvar(_)
            | Any::Permits(_)
            | Any::Locked(_)
            | Any::Versioned(_)
            | Any::Shared(_)
            | Any::Map(_)
            | Any::Entry(_)
            | Any::Iteration(_) => {
                return Err(self.wrong("thing to wait for"));
            }
        })
    }

    #[cold]
    #[inline(never)]
    pub(crate) fn wrong(&self, expected: &str) -> Failure {
        let found = kind_of(self.kind() as u32);
        fail(
            tenure_status::TENURE_ERR_FOREIGN_KIND,
            format_args!("object: expected a {expected}, found a {found}"),
        )
    }
}

/// For messages.
fn kind_of(number: u32) -> &'static str {
    const NAMES: [&str; 21] = [
        "thing",
        "mutex",
        "manual-reset event",
        "auto-reset event",
        "semaphore",
        "process",
        "thread",
        "descriptor",
        "file share",
        "locked value",
        "versioned value",
        "read-write lock",
        "thing",
        "thing",
        "shared value",
        "thing",
        "map",
        "queue",
        "held value of a map",
        "condition variable",
        "set of permits",
    ];
    if number == TENURE_MAP_ITERATION as u32 {
        return "iteration over a map";
    }
    NAMES.get(number as usize).copied().unwrap_or("thing of another version")
}

/// A member, if this process is that member: not in a forked child.
pub(crate) fn joined(pointer: *const tenure_member) -> Result<Pin<Membership>, Failure> {
    let member = self::member(pointer)?;
    member.member.check()?;
    Ok(member)
}

/// Makes a pointer for C of an object.
pub(crate) fn hand_out(member: Pin<Membership>, any: Any) -> Result<*mut tenure_object, Failure> {
    let pointer = registry::insert(Box::new(Thing { any, member }), 0).map_err(|(failure, _)| failure)?;
    Ok(ptr::without_provenance_mut(pointer as usize))
}

/// A name, if there is one.
///
/// # Safety
///
/// `name` is null or a string.
pub(crate) unsafe fn name_of<'a>(name: *const c_char) -> Result<Option<&'a str>, Failure> {
    if name.is_null() {
        return Ok(None);
    }
    // SAFETY: the caller's promise.
    unsafe { text_of(name) }.map(Some)
}

/// Creates an object as name and flags ask, and hands it out.
///
/// # Safety
///
/// `name` is null or a string, `to` null or writable.
pub(crate) unsafe fn create<T, C, N>(
    member: *const tenure_member,
    name: *const c_char,
    (flags, known): (u32, u32),
    to: *mut *mut tenure_object,
    ways: Ways<T, C, N>,
    any: impl FnOnce(T) -> Any,
) -> c_int
where
    Failure: From<C> + From<N>,
{
    let call = || {
        let member = joined(member)?;
        // SAFETY: the caller's promise.
        let name = unsafe { name_of(name) }?;
        let or_open = or_open(name, flags, known)?;
        let owner = &member.member;
        let (made, status) = match name {
            Some(name) if or_open => opened((ways.create_or_open)(owner, name)?),
            Some(name) => ((ways.create)(owner.named(name))?, tenure_status::TENURE_OK),
            None => ((ways.create)(owner.into())?, tenure_status::TENURE_OK),
        };
        Ok((hand_out(member, any(made))?, status))
    };
    // SAFETY: the caller's promise.
    unsafe { guard_out_status(to, "object", ptr::null_mut(), call) }
}

type CreateOrOpen<'f, T, N> = &'f (dyn Fn(&tenure::Member, &str) -> Result<Named<T>, N> + 'f);

/// How objects of a kind are created, and the errors: `C` creating, `N` creating or opening.
pub(crate) struct Ways<'f, T, C, N> {
    pub(crate) create: &'f dyn Fn(Place<'_>) -> Result<T, C>,
    pub(crate) create_or_open: CreateOrOpen<'f, T, N>,
}

/// Whether the flags ask to create or open. They may have `known` and TENURE_OR_OPEN.
pub(crate) fn or_open(name: Option<&str>, flags: u32, known: u32) -> Result<bool, Failure> {
    only(known | TENURE_OR_OPEN, flags)?;
    if flags & TENURE_OR_OPEN != 0 && name.is_none() {
        return Err(null("name"));
    }
    Ok(flags & TENURE_OR_OPEN != 0)
}

pub(crate) fn opened<T>(named: Named<T>) -> (T, tenure_status) {
    let status = if named.is_created() { tenure_status::TENURE_OK } else { tenure_status::TENURE_OPENED };
    (named.into_inner(), status)
}

fn open_as(member: &Membership, key: Key<'_>, kind: u32) -> Result<Any, NotOpened> {
    let member = &member.member;
    const MUTEX: u32 = TENURE_MUTEX as u32;
    const MANUAL: u32 = TENURE_EVENT_MANUAL as u32;
    const AUTOMATIC: u32 = TENURE_EVENT_AUTOMATIC as u32;
    const SEMAPHORE: u32 = TENURE_SEMAPHORE as u32;
    const PROCESS: u32 = TENURE_PROCESS as u32;
    const THREAD: u32 = TENURE_THREAD as u32;
    const DESCRIPTOR: u32 = TENURE_DESCRIPTOR as u32;
    const LOCKED: u32 = TENURE_LOCKED as u32;
    const VERSIONED: u32 = TENURE_VERSIONED as u32;
    const SHARED: u32 = TENURE_SHARED as u32;
    const RWLOCK: u32 = TENURE_RWLOCK as u32;
    const QUEUE: u32 = TENURE_QUEUE as u32;
    const MAP: u32 = TENURE_MAP as u32;
    const CONDVAR: u32 = TENURE_CONDVAR as u32;
    const PERMITS: u32 = TENURE_PERMITS as u32;
    Ok(match kind {
        MUTEX => Any::Mutex(Mutex::open(member, key)?),
        MANUAL | AUTOMATIC => Any::Event(Event::open(member, key)?),
        SEMAPHORE => Any::Semaphore(Semaphore::open(member, key)?),
        PROCESS => Any::Process(Process::open(member, key)?),
        THREAD => Any::Thread(Thread::open(member, key)?),
        DESCRIPTOR => Any::Descriptor(Descriptor::open(member, key)?),
        LOCKED | VERSIONED | SHARED | QUEUE => return Err(NotOpened::Failed(has_a_type(kind))),
        RWLOCK => Any::RwLock(RwLock::open(member, key)?),
        MAP => Any::Map(Map::open(member, key)?),
        CONDVAR => Any::Condvar(Condvar::open(member, key)?),
        PERMITS => Any::Permits(Permits::open(member, key)?),
        _ => {
            return Err(NotOpened::Failed(argument("kind", "an object kind that is opened", kind)));
        }
    })
}

fn open_any(member: &Membership, key: Key<'_>) -> Result<Any, Failure> {
    let mut kind = TENURE_MUTEX as u32;
    loop {
        match open_as(member, key, kind) {
            Ok(any) => return Ok(any),
            // A token has one kind; a name may pass to something of another kind meanwhile: once more.
            Err(NotOpened::Foreign { found, .. }) if number_of(found).is_some_and(|found| found != kind) => {
                kind = number_of(found).unwrap_or_default();
            }
            Err(error) => return Err(error.into()),
        }
    }
}

#[cold]
fn has_a_type(kind: u32) -> Failure {
    let open = match kind {
        kind if kind == TENURE_LOCKED as u32 => "tenure_locked_open",
        kind if kind == TENURE_VERSIONED as u32 => "tenure_versioned_open",
        kind if kind == TENURE_QUEUE as u32 => "tenure_queue_open",
        _ => "tenure_shared_open",
    };
    let kind = kind_of(kind);
    fail(
        tenure_status::TENURE_ERR_FOREIGN_KIND,
        format_args!("object: a {kind} is opened with the number of its type or kind, by {open}"),
    )
}

/// Why opening an object failed.
enum NotOpened {
    /// It is of another kind.
    Foreign {
        found: Kind,
        failure: Failure,
    },
    Failed(Failure),
}

impl From<OpenHandleError> for NotOpened {
    fn from(error: OpenHandleError) -> Self {
        match error {
            OpenHandleError::ForeignKind { found, .. } => Self::Foreign { found, failure: error.into() },
            other => Self::Failed(other.into()),
        }
    }
}

impl From<ProcessError> for NotOpened {
    fn from(error: ProcessError) -> Self {
        if let ProcessError::Open(error) = error { error.into() } else { Self::Failed(error.into()) }
    }
}

impl From<DescriptorError> for NotOpened {
    fn from(error: DescriptorError) -> Self {
        if let DescriptorError::Open(error) = error { error.into() } else { Self::Failed(error.into()) }
    }
}

impl From<NotOpened> for Failure {
    fn from(error: NotOpened) -> Self {
        match error {
            NotOpened::Foreign { failure, .. } | NotOpened::Failed(failure) => failure,
        }
    }
}

/// The number of a kind of object, as in [`tenure_object_kind`].
fn number_of(kind: Kind) -> Option<u32> {
    kind.is_system().then(|| kind.number() as u32)
}

fn open<'a>(
    member: *const tenure_member,
    kind: u32,
    key: impl FnOnce() -> Result<Key<'a>, Failure>,
) -> Result<*mut tenure_object, Failure> {
    let member = joined(member)?;
    let key = key()?;
    if kind == TENURE_ANY as u32 {
        let any = open_any(&member, key)?;
        return hand_out(member, any);
    }
    let any = open_as(&member, key, kind)?;
    let thing = Thing { any, member };
    if thing.kind() as u32 != kind {
        return Err(thing.wrong(kind_of(kind)));
    }
    let Thing { any, member } = thing;
    hand_out(member, any)
}

/// Opens an object by its token, which may come by any means: afterwards this member holds it once more. `kind` is one
/// of enum tenure_object_kind; TENURE_ANY accepts every kind but TENURE_LOCKED, TENURE_VERSIONED and TENURE_SHARED, which
/// are opened with their types, and TENURE_QUEUE, which is opened with the kind of its elements.
///
/// Threads: any. Fork: TENURE_ERR_FORKED in a child of the member's process.
///
/// Returns TENURE_OK and `*object`, to be given back by tenure_object_close; otherwise `*object` is NULL.
/// TENURE_ERR_STALE, TENURE_ERR_FORGED, TENURE_ERR_FOREIGN_SPACE, TENURE_ERR_FOREIGN_KIND: the fault of the token.
/// TENURE_ERR_UNSUPPORTED for a process that this one cannot see. TENURE_ERR_REFUSED for a descriptor that no member
/// can give.
///
/// # Safety
///
/// `object` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_object_open(
    member: *const tenure_member,
    kind: u32,
    token: u64,
    object: *mut *mut tenure_object,
) -> c_int {
    let call = || open(member, kind, || Ok(Key::Token(self::token(token)?)));
    // SAFETY: the caller's promise.
    unsafe { guard_out(object, "object", ptr::null_mut(), call) }
}

/// Opens the object with that name, as tenure_object_open. TENURE_ERR_NOT_FOUND when the name is not in use.
///
/// A name is 1 to 255 bytes of UTF-8, compared byte by byte: upper and lower case are different. All kinds of objects
/// and handles of a space share one directory. A name is given at creation, and ends with the object's last holder,
/// also when that holder is killed.
///
/// # Safety
///
/// `name` is NULL or a string, `object` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_object_open_named(
    member: *const tenure_member,
    kind: u32,
    name: *const c_char,
    object: *mut *mut tenure_object,
) -> c_int {
    // SAFETY: the caller's promise.
    let call = || open(member, kind, || Ok(Key::Name(unsafe { text_of(name) }?)));
    // SAFETY: the caller's promise.
    unsafe { guard_out(object, "object", ptr::null_mut(), call) }
}

/// The number to pass to other processes, for tenure_object_open. It keeps nothing alive by itself. Threads: any.
///
/// # Safety
///
/// `token` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_object_token(object: *const tenure_object, token: *mut u64) -> c_int {
    let call = || Ok(usable(object)?.token()?.into());
    // SAFETY: the caller's promise.
    unsafe { guard_out(token, "token", 0, call) }
}

/// The kind of the object: one of enum tenure_object_kind. Threads: any.
///
/// # Safety
///
/// `kind` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_object_kind_of(object: *const tenure_object, kind: *mut u32) -> c_int {
    let call = || Ok(usable(object)?.kind() as u32);
    // SAFETY: the caller's promise.
    unsafe { guard_out(kind, "kind", 0, call) }
}

/// Closes an object. The object ends with the last holder of all processes. A mutex that a thread of this member owns
/// is abandoned when the member closes its last object of it.
///
/// Threads: any. TENURE_ERR_IN_USE while another thread is in a call with it, waiting for instance. Fork:
/// TENURE_ERR_FORKED in a child of the member's process, where nothing is done.
#[unsafe(no_mangle)]
pub extern "C" fn tenure_object_close(object: *mut tenure_object) -> c_int {
    guard(|| {
        drop(usable(object)?);
        drop(registry::take::<Thing>(object.addr() as u64)?.free());
        Ok(())
    })
}
