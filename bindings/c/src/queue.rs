//! Queues.

use std::collections::HashMap;
use std::ffi::{c_char, c_int, c_void};
use std::mem::ManuallyDrop;
use std::ptr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tenure::{
    Claim, Handle, Key, Raw,
    collections::Queue,
    error::{QueueError, UseError},
    sync::WaitOptions,
};

use crate::abi::{TENURE_DEADLINE, tenure_handle, tenure_local, tenure_member, tenure_object};
use crate::error::{Failure, fail, tenure_status};
use crate::guard::{bytes, guard, guard_out, null, tell};
use crate::handle::{NOTHING, of_handle, token};
use crate::local::{kind, seat};
use crate::object::{Any, Thing, Ways, create, hand_out, joined, usable};
use crate::space::text_of;
use crate::waiting::options_of;

/// A queue, and what it has lent: C names a claim by its token.
pub(crate) struct Lent {
    pub(crate) queue: Queue<Raw>,
    /// Of the elements.
    kind: u32,
    claims: Mutex<HashMap<u64, Claim<Raw>>>,
}

impl Lent {
    fn of(queue: Queue<Raw>, kind: u32) -> Any {
        Any::Queue(Self { queue, kind, claims: Mutex::default() })
    }

    /// Keeps a claim until it is ended by its token.
    pub(crate) fn keep(&self, token: u64, claim: Claim<Raw>) {
        self.claims().insert(token, claim);
    }

    /// Whoever panicked has left the table whole. A forked child does not come here: its calls are refused before.
    fn claims(&self) -> MutexGuard<'_, HashMap<u64, Claim<Raw>>> {
        self.claims.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Thing {
    pub(crate) fn queue(&self) -> Result<&Lent, Failure> {
        if let Any::Queue(queue) = &self.any { Ok(queue) } else { Err(self.wrong("queue")) }
    }
}

/// Creates a queue: bounded, first in, first out, between threads of any processes. Its elements are handles of `kind`, a number of
/// the application's choice, and `capacity` of them may wait: 1 to 2^20. It takes the next power of two of container slots, at least 64:
/// see tenure_options.container_slots. `name` is NULL for none; `flags` is 0 or TENURE_OR_OPEN. One that was opened has the capacity
/// that it was created with.
///
/// The queue holds what is in it, so an element outlives the process that pushed it. tenure_queue_pop takes an element out: if the
/// process dies then, the element ends with it. tenure_queue_claim lends it: if the process dies before tenure_queue_ack, others get it.
/// (In Rust it is a `Queue<Raw>`.)
///
/// Elements leave in the order in which they were pushed. One that was given back, by its claimer or after its death, comes next, or
/// at the latest after the elements that were pushed up to that moment.
///
/// Threads, fork, results: as tenure_mutex_create. TENURE_ERR_CONTAINER_SLOTS; TENURE_ERR_ARGUMENT for an impossible capacity;
/// TENURE_ERR_FOREIGN_KIND also when a queue of elements of another kind has the name.
///
/// Progress: no function of queues waits for a process that is stopped, nor for one that keeps an element claimed; those with a time
/// sleep while the queue is empty, or full. Crash: if the process is killed, a push or a pop is done or not done.
///
/// # Safety
///
/// `name` is NULL or a string, `object` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_queue_create(
    member: *const tenure_member,
    name: *const c_char,
    flags: u32,
    kind: u32,
    capacity: u32,
    object: *mut *mut tenure_object,
) -> c_int {
    let of = self::kind(kind);
    let ways = Ways {
        create: &|place| Queue::create_raw(place, of, capacity),
        create_or_open: &|member, name| Queue::create_or_open_raw(member, name, of, capacity),
    };
    // SAFETY: the caller's promise.
    unsafe { create(member, name, (flags, 0), object, ways, |queue| Lent::of(queue, kind)) }
}

fn open(member: *const tenure_member, key: Key<'_>, number: u32) -> Result<*mut tenure_object, Failure> {
    let (member, kind) = (joined(member)?, kind(number));
    let queue = Queue::open_raw(&member.member, kind, key)?;
    hand_out(member, Lent::of(queue, number))
}

/// Opens a queue by its token: afterwards this member holds it once more. `kind` is that of its elements.
///
/// Threads, fork, results: as tenure_object_open; TENURE_ERR_FOREIGN_KIND also for a queue of elements of another kind.
///
/// # Safety
///
/// `object` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_queue_open(
    member: *const tenure_member,
    kind: u32,
    token: u64,
    object: *mut *mut tenure_object,
) -> c_int {
    let call = || open(member, Key::Token(self::token(token)?), kind);
    // SAFETY: the caller's promise.
    unsafe { guard_out(object, "object", ptr::null_mut(), call) }
}

/// As tenure_queue_open, by name: TENURE_ERR_NOT_FOUND when the name is not in use. Threads, fork: as there.
///
/// # Safety
///
/// `name` is NULL or a string, `object` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_queue_open_named(
    member: *const tenure_member,
    kind: u32,
    name: *const c_char,
    object: *mut *mut tenure_object,
) -> c_int {
    // SAFETY: the caller's promise.
    let call = || open(member, Key::Name(unsafe { text_of(name) }?), kind);
    // SAFETY: the caller's promise.
    unsafe { guard_out(object, "object", ptr::null_mut(), call) }
}

/// Runs `attempt` once if the time is 0, `wait` otherwise.
fn within<T>(
    (flags, time): (u32, u64),
    attempt: impl FnOnce() -> Result<T, Failure>,
    wait: impl FnOnce(WaitOptions) -> Result<T, QueueError>,
) -> Result<T, Failure> {
    let options = options_of(0, flags, time)?;
    if time == 0 && flags & TENURE_DEADLINE == 0 { attempt() } else { Ok(wait(options)?) }
}

/// What was taken out, or that there was nothing.
fn found<T>(element: Option<T>) -> Result<T, Failure> {
    element.ok_or_else(|| {
        fail(
            tenure_status::TENURE_ERR_QUEUE_EMPTY,
            format_args!("queue: expected an element that waits, found none"),
        )
    })
}

/// Pushes a new handle with a copy of the `size` bytes at `data` (NULL for none), in any number. `flags` is 0, or a sum of
/// TENURE_INTERRUPTIBLE and TENURE_DEADLINE; `time` is a timeout in nanoseconds, or a deadline: see tenure_wait_with. With a timeout of 0 it
/// only tries: TENURE_ERR_QUEUE_FULL.
///
/// Threads: any. Fork: TENURE_ERR_FORKED in a child of the member's process.
///
/// Returns TENURE_OK; otherwise nothing was changed: TENURE_ERR_TIMEOUT; TENURE_ERR_INTERRUPTED; TENURE_ERR_EXHAUSTED when no handle, or no
/// memory, is free.
///
/// # Safety
///
/// `data` is readable for `size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_queue_push(
    object: *const tenure_object,
    data: *const c_void,
    size: usize,
    flags: u32,
    time: u64,
) -> c_int {
    guard(|| {
        // SAFETY: the caller's promise.
        let bytes = unsafe { bytes(data.cast(), size, "data") }?;
        let object = usable(object)?;
        let queue = &object.queue()?.queue;
        within((flags, time), || Ok(queue.push(bytes)?), |options| queue.push_with(bytes, options))
    })
}

/// Bytes of the caller's: `data` is NULL if `size` is 0. Laid out as an iovec of POSIX.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct tenure_bytes {
    /// Where they are.
    pub data: *const c_void,
    /// How many.
    pub size: usize,
}

/// Pushes new handles with copies of the first of `count` values, in their order, until one finds no room: `*pushed` is how many. It costs
/// less than as many calls of tenure_queue_push, and others may push in between. `flags` and `time` are as there: it waits only while
/// there is no room for the first value.
///
/// Threads, fork: as tenure_queue_push.
///
/// Returns TENURE_OK if it has pushed at least one, or `count` is 0; otherwise `*pushed` is 0, and the results are those of
/// tenure_queue_push. If the process is killed meanwhile, the queue has got the first values, each as a whole, and not the others.
///
/// # Safety
///
/// `values` is NULL or readable for `count` of them, each of which is readable for its bytes; `pushed` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_queue_push_many(
    object: *const tenure_object,
    values: *const tenure_bytes,
    count: usize,
    flags: u32,
    time: u64,
    pushed: *mut usize,
) -> c_int {
    let call = || {
        let object = usable(object)?;
        let queue = &object.queue()?.queue;
        if count == 0 {
            return Ok(0);
        }
        if values.is_null() {
            return Err(null("values"));
        }
        // SAFETY: the caller's promise.
        let values = unsafe { std::slice::from_raw_parts(values, count) };
        // SAFETY: the caller's promise.
        let all = values.iter().map(|value| unsafe { bytes(value.data.cast(), value.size, "data") });
        let all = all.collect::<Result<Vec<&[u8]>, _>>()?;
        let all = || all.iter().copied();
        within((flags, time), || Ok(queue.push_many(all())?), |options| queue.push_many_with(all(), options))
    };
    // SAFETY: the caller's promise.
    unsafe { guard_out(pushed, "pushed", 0, call) }
}

/// Takes up to `limit` of the oldest elements out of a queue, in their order: this process holds the handles, each to be given back by
/// tenure_close. `*popped` is how many. It costs less than as many calls of tenure_queue_pop, and others may pop in between. `flags` and
/// `time` are as there: it waits only while the queue is empty.
///
/// Threads, fork: as tenure_queue_pop.
///
/// Returns TENURE_OK if it has popped at least one, or `limit` is 0; otherwise `*popped` is 0, and the results are those of
/// tenure_queue_pop. If the process is killed meanwhile, the first of these elements end with it, and the others are in the queue.
///
/// # Safety
///
/// `handles` is NULL or writable for `limit` of them, `popped` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_queue_pop_many(
    object: *const tenure_object,
    handles: *mut tenure_handle,
    limit: usize,
    flags: u32,
    time: u64,
    popped: *mut usize,
) -> c_int {
    let call = || {
        let object = usable(object)?;
        let queue = &object.queue()?.queue;
        if limit == 0 {
            return Ok(0);
        }
        if handles.is_null() {
            return Err(null("handles"));
        }
        let (mut now, mut later) = (Vec::new(), Vec::new());
        let result = within(
            (flags, time),
            || match queue.pop_many(&mut now, limit)? {
                0 => found(None),
                _ => Ok(()),
            },
            |options| queue.pop_many_with(&mut later, limit, options).map(|_| ()),
        );
        let all = if now.is_empty() { later } else { now };
        if all.is_empty() {
            return result.map(|()| 0);
        }
        // What ended the call after the first one is found by the next call as well.
        let all = all.into_iter().map(|popped| Ok((of_handle(&popped)?, popped)));
        let all = all.collect::<Result<Vec<_>, Failure>>()?;
        let count = all.len();
        for (at, (handle, popped)) in all.into_iter().enumerate() {
            // SAFETY: `at < limit`, the caller's promise.
            unsafe { handles.add(at).write(handle) };
            // The count is the caller's from now on.
            let _ = popped.into_raw();
        }
        Ok(count)
    };
    // SAFETY: the caller's promise.
    unsafe { guard_out(popped, "popped", 0, call) }
}

/// Pushes a handle that this process holds, of the kind of the elements. From then on the queue holds it as well; the caller still
/// holds its handle. `flags` and `time` are as in tenure_queue_push.
///
/// Threads: the one that opened the local, which is one of the queue's member. Fork, results: as tenure_queue_push; TENURE_ERR_STALE when
/// this process does not hold the handle; TENURE_ERR_KEPT when a slot or a queue holds it already; TENURE_ERR_WRONG_OWNER for a local of
/// another member; TENURE_ERR_IN_TRANSIT; TENURE_ERR_PUT_TOO_OFTEN after 2^23 pushes.
#[unsafe(no_mangle)]
pub extern "C" fn tenure_queue_push_handle(
    local: *mut tenure_local,
    object: *const tenure_object,
    token: u64,
    flags: u32,
    time: u64,
) -> c_int {
    guard(|| {
        let (seat, object) = (seat(local)?, usable(object)?);
        let Lent { queue, kind, .. } = object.queue()?;
        let kind = self::kind(*kind);
        let held = seat.local().held(kind, self::token(token)?)?;
        // SAFETY: the local's member has the count, and raw kinds are not the system's own. It stays the caller's, so it is not dropped here.
        let handle = ManuallyDrop::new(unsafe { Handle::from_raw(&seat.membership().member, kind, held) });
        let pushed = within(
            (flags, time),
            || Ok(queue.push_handle(&handle)?),
            |options| queue.push_handle_with(&handle, options),
        );
        let _ = ManuallyDrop::into_inner(handle).into_raw();
        pushed
    })
}

/// Takes the oldest element out of a queue: this process holds the handle, to be given back by tenure_close. `flags` and `time` are as in
/// tenure_queue_push; with a timeout of 0 it only tries: TENURE_ERR_QUEUE_EMPTY. If the process dies, the element ends with it;
/// tenure_queue_claim is for work that must not be lost.
///
/// Threads: any. Fork: TENURE_ERR_FORKED in a child of the member's process.
///
/// Returns TENURE_OK and `*handle`; otherwise `*handle` is all zero: TENURE_ERR_TIMEOUT; TENURE_ERR_INTERRUPTED.
///
/// # Safety
///
/// `handle` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_queue_pop(
    object: *const tenure_object,
    flags: u32,
    time: u64,
    handle: *mut tenure_handle,
) -> c_int {
    let call = || {
        let object = usable(object)?;
        let queue = &object.queue()?.queue;
        let popped = within((flags, time), || found(queue.pop()?), |options| queue.pop_with(options))?;
        let handle = of_handle(&popped)?;
        // The count is the caller's from now on.
        let _ = popped.into_raw();
        Ok(handle)
    };
    // SAFETY: the caller's promise.
    unsafe { guard_out(handle, "handle", NOTHING, call) }
}

/// Claims the oldest element of a queue: it leaves the queue at tenure_queue_ack. Until then it is lent to this member, and
/// tenure_queue_give_back, closing the object, and the death of the process give it back: then others get it, next, or at the latest after what was pushed up to then.
/// `*handle` is valid until the claim ends; tenure_close does not end it.
///
/// `flags`, `time`, threads, fork, results: as tenure_queue_pop.
///
/// # Safety
///
/// `handle` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_queue_claim(
    object: *const tenure_object,
    flags: u32,
    time: u64,
    handle: *mut tenure_handle,
) -> c_int {
    let call = || {
        let object = usable(object)?;
        let lent = object.queue()?;
        let queue = &lent.queue;
        let claim = within((flags, time), || found(queue.claim()?), |options| queue.claim_with(options))?;
        // If it fails, the drop of the claim gives the element back.
        let handle = of_handle(&claim)?;
        lent.keep(handle.token, claim);
        Ok(handle)
    };
    // SAFETY: the caller's promise.
    unsafe { guard_out(handle, "handle", NOTHING, call) }
}

fn end_claim(
    object: *const tenure_object,
    token: u64,
    end: impl FnOnce(Claim<Raw>) -> Result<(), UseError>,
) -> Result<(), Failure> {
    let object = usable(object)?;
    let claim = object.queue()?.claims().remove(&token).ok_or_else(|| {
        fail(
            tenure_status::TENURE_ERR_NOT_CLAIMED,
            format_args!("token: expected a claim by this object of the queue, found {token:#018x}"),
        )
    })?;
    Ok(end(claim)?)
}

/// Ends a claim and closes its handle: the element is out of the queue, and ends unless somebody else holds it.
///
/// Threads: any. Fork: TENURE_ERR_FORKED in a child of the member's process. TENURE_ERR_NOT_CLAIMED when this object has not claimed that
/// handle, or the claim has ended.
///
/// # Safety
///
/// Nobody in this process uses the payload through the claim any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_queue_ack(object: *const tenure_object, token: u64) -> c_int {
    guard(|| end_claim(object, token, Claim::ack))
}

/// Gives what was claimed back to the queue, where any member can take it, and closes its handle. Otherwise as tenure_queue_ack.
/// Threads, fork: as there.
///
/// # Safety
///
/// As tenure_queue_ack.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_queue_give_back(object: *const tenure_object, token: u64) -> c_int {
    guard(|| end_claim(object, token, Claim::give_back))
}

/// The length of a queue at the moment: `*waiting` elements wait, and, unless these are NULL, `*claimed` are claimed, and `*capacity` may
/// wait. It looks at every slot of the queue. Threads: any. Fork: TENURE_ERR_FORKED in a child of the member's process.
///
/// # Safety
///
/// `waiting`, `claimed` and `capacity` are NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_queue_len(
    object: *const tenure_object,
    waiting: *mut u32,
    claimed: *mut u32,
    capacity: *mut u32,
) -> c_int {
    let call = || {
        let object = usable(object)?;
        let queue = &object.queue()?.queue;
        let len = queue.len()?;
        // SAFETY: the caller's promise.
        unsafe {
            tell(claimed, len.claimed);
            tell(capacity, queue.capacity());
        }
        Ok(len.waiting)
    };
    // SAFETY: the caller's promise.
    unsafe { guard_out(waiting, "waiting", 0, call) }
}
