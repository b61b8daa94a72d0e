//! Locals: one thread's access, and the fast path.

use std::cell::RefCell;
use std::ffi::c_int;
use std::mem::ManuallyDrop;
use std::ptr;

use tenure::{Kind, Local};

use crate::abi::{tenure_local, tenure_member};
use crate::error::Failure;
use crate::guard::{guard, guard_out};
use crate::member::{Membership, member};
use crate::registry::{self, Object, Pin};
use crate::thread;

/// A local and the member that it keeps from leaving.
pub(crate) struct Seat {
    local: ManuallyDrop<Local<'static>>,
    member: Pin<Membership>,
}

impl Seat {
    fn new(member: Pin<Membership>) -> Self {
        // SAFETY: the member is neither moved nor dropped while it is pinned, which it is until the local is gone (see
        // `drop`).
        let membership = unsafe { &*ptr::from_ref::<Membership>(&member) };
        Self { local: ManuallyDrop::new(membership.member.local()), member }
    }

    #[inline(always)]
    pub(crate) fn local(&mut self) -> &mut Local<'static> {
        &mut self.local
    }

    pub(crate) fn membership(&self) -> &Membership {
        &self.member
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        // SAFETY: not used again; the member is unpinned after it.
        unsafe { ManuallyDrop::drop(&mut self.local) };
    }
}

impl Object for Seat {
    const KIND: u64 = 3;
    const NAME: &'static str = "local";
}

/// The locals that a thread has open: closed when it ends.
struct Open(RefCell<Vec<u64>>);

impl Drop for Open {
    fn drop(&mut self) {
        for pointer in self.0.borrow_mut().drain(..) {
            // Nobody else can have closed it.
            if let Ok(taken) = registry::take::<Seat>(pointer) {
                drop(taken.free());
            }
        }
    }
}

thread_local! {
    static OPEN: Open = const { Open(RefCell::new(Vec::new())) };
}

#[inline(always)]
pub(crate) fn seat<'a>(pointer: *const tenure_local) -> Result<&'a mut Seat, Failure> {
    registry::seat(pointer.addr() as u64)
}

/// The kind of raw payloads.
pub(crate) const fn kind(number: u32) -> Kind {
    Kind::raw(number)
}

/// Opens a local of the member for the calling thread: a cache of free handles and blocks. Open one per thread.
///
/// Threads: any; the local then belongs to the thread that opened it, and is closed when that thread ends.
/// Fork: TENURE_ERR_FORKED in a child of the member's process.
///
/// Returns TENURE_OK and `*local`, to be closed by tenure_local_close; otherwise `*local` is NULL.
///
/// # Safety
///
/// `local` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_local_open(
    member: *const tenure_member,
    local: *mut *mut tenure_local,
) -> c_int {
    let call = || {
        let member = self::member(member)?;
        member.member.check()?;
        let pointer = registry::insert(Box::new(Seat::new(member)), thread::current())
            .map_err(|(failure, _)| failure)?;
        // A thread that is ending keeps no list any more; only the caller that opened the local can close it.
        let _ = OPEN.try_with(|open| open.0.borrow_mut().push(pointer));
        Ok(ptr::without_provenance_mut(pointer as usize))
    };
    // SAFETY: the caller's promise.
    unsafe { guard_out(local, "local", ptr::null_mut(), call) }
}

/// As tenure_local_open, but the local is bound to no thread: any thread may use and close it, one at a time, and the
/// end of a thread does not close it. For bindings with pools of threads: they keep a stack of such locals and take one
/// for each call. Concurrent use by two threads is undefined behaviour and is not detected.
///
/// Threads: any. Fork: TENURE_ERR_FORKED in a child of the member's process.
///
/// Returns TENURE_OK and `*local`, to be closed by tenure_local_close; otherwise `*local` is NULL.
///
/// # Safety
///
/// `local` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_local_open_unbound(
    member: *const tenure_member,
    local: *mut *mut tenure_local,
) -> c_int {
    let call = || {
        let member = self::member(member)?;
        member.member.check()?;
        let pointer =
            registry::insert(Box::new(Seat::new(member)), thread::ANY).map_err(|(failure, _)| failure)?;
        Ok(ptr::without_provenance_mut(pointer as usize))
    };
    // SAFETY: the caller's promise.
    unsafe { guard_out(local, "local", ptr::null_mut(), call) }
}

/// Closes a local. Handles and blocks that were made through it stay the member's: other locals may use them and give
/// them back.
///
/// Threads: the one that opened it; any other gets TENURE_ERR_WRONG_THREAD, unless it was opened by
/// tenure_local_open_unbound. Fork: TENURE_ERR_FORKED in a child of the member's process, where nothing is done.
#[unsafe(no_mangle)]
pub extern "C" fn tenure_local_close(local: *mut tenure_local) -> c_int {
    guard(|| {
        let pointer = local.addr() as u64;
        seat(local)?.membership().member.check()?;
        drop(registry::take::<Seat>(pointer)?.free());
        let _ = OPEN.try_with(|open| open.0.borrow_mut().retain(|other| *other != pointer));
        Ok(())
    })
}
