//! Members: joining, leaving, recovering.

use std::ffi::c_int;
use std::ptr;

use tenure::{LeaseId, Member};

use crate::abi::{tenure_member, tenure_space};
use crate::error::{Failure, fail, tenure_status};
use crate::guard::{guard, guard_out};
use crate::registry::{self, Object, Pin};
use crate::space::space;

/// A member and the data that its locals need.
pub(crate) struct Membership {
    pub(crate) member: Member,
}

impl Object for Membership {
    const KIND: u64 = 2;
    const NAME: &'static str = "member";
}

pub(crate) fn member(pointer: *const tenure_member) -> Result<Pin<Membership>, Failure> {
    registry::pin(pointer.addr() as u64)
}

/// A lease as C passes it: `{incarnation:56 | index:8}`.
pub(crate) const fn lease_word(lease: LeaseId) -> u64 {
    lease.incarnation << 8 | lease.index as u64
}

pub(crate) const fn lease_of(word: u64) -> LeaseId {
    LeaseId { index: word as u8, incarnation: word >> 8 }
}

/// Becomes a member of the space: recovers dead members, and starts the monitor thread unless the options forbid it. A
/// process may join more than once.
///
/// Threads: any. Fork: a child is no member until it joins by itself, which it may do through the space that it
/// inherited.
///
/// Returns TENURE_OK and `*member`, to be ended by tenure_leave; otherwise `*member` is NULL. TENURE_ERR_FULL when as
/// many members as the space has leases are alive.
///
/// # Safety
///
/// `member` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_join(space: *const tenure_space, member: *mut *mut tenure_member) -> c_int {
    let call = || {
        let joined = Membership { member: self::space(space)?.join()? };
        let pointer = registry::insert(Box::new(joined), 0).map_err(|(failure, _)| failure)?;
        Ok(ptr::without_provenance_mut(pointer as usize))
    };
    // SAFETY: the caller's promise.
    unsafe { guard_out(member, "member", ptr::null_mut(), call) }
}

/// Leaves: gives back every handle and block that the member still holds, and its lease. Pointers into the space that
/// were obtained through the member are invalid afterwards: their memory is no longer mapped.
///
/// Threads: any. Fork: in a child of the member's process nothing is done.
///
/// Returns TENURE_ERR_IN_USE while locals or objects of it are open or another thread is in a call with it,
/// TENURE_ERR_FORKED in a forked child, TENURE_ERR_CLOSED if it left already.
#[unsafe(no_mangle)]
pub extern "C" fn tenure_leave(member: *mut tenure_member) -> c_int {
    guard(|| {
        let pointer = member.addr() as u64;
        self::member(member)?.member.check()?;
        registry::take::<Membership>(pointer)?.free().member.leave().map_err(|returned| returned.error)?;
        Ok(())
    })
}

/// The member's lease: a number that tells this membership from any other of the space; for tenure_free_of. Threads:
/// any.
///
/// # Safety
///
/// `lease` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_lease(member: *const tenure_member, lease: *mut u64) -> c_int {
    let call = || Ok(lease_word(self::member(member)?.member.lease()));
    // SAFETY: the caller's promise.
    unsafe { guard_out(lease, "lease", 0, call) }
}

/// Recovers dead members without waiting for a monitor. `*recovered`, unless it is NULL, is the number of members
/// recovered. Returns TENURE_ERR_OS if there are other members and the kernel cannot be asked which of them are dead.
///
/// Threads: any. Fork: TENURE_ERR_FORKED in a child of the member's process.
///
/// # Safety
///
/// `recovered` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_recover(member: *const tenure_member, recovered: *mut usize) -> c_int {
    guard(|| {
        let count = self::member(member)?.member.recover()?;
        if !recovered.is_null() {
            // SAFETY: the caller's promise.
            unsafe { recovered.write(count) };
        }
        Ok(())
    })
}

/// Returns idle handles and memory in this member's caches to the space, and the memory behind all free scratch to the
/// system; `*bytes`, unless it is NULL, is the bytes returned to the system. Open locals keep their caches.
///
/// Threads: any. Fork: TENURE_ERR_FORKED in a child of the member's process.
///
/// # Safety
///
/// `bytes` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_trim(member: *const tenure_member, bytes: *mut u64) -> c_int {
    guard(|| {
        let given = self::member(member)?.member.trim()?;
        if !bytes.is_null() {
            // SAFETY: the caller's promise.
            unsafe { bytes.write(given) };
        }
        Ok(())
    })
}

/// Whether the member is notified of deaths, as its monitor thread finds at the moment of the call: `*monitor` is 1 if
/// it is; 2 if the monitor lacks something and looks at intervals of at most 0.1 s; 0 if no monitor was asked for, or
/// the space is private; -1 if dead members are not recovered until they can be again, or the monitor could not be
/// started. With 2 and -1 tenure_last_error has the reason. Threads: any.
///
/// # Safety
///
/// `monitor` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_monitor(member: *const tenure_member, monitor: *mut c_int) -> c_int {
    let call = || {
        Ok(match self::member(member)?.member.monitor_state() {
            tenure::MonitorState::Running => 1,
            tenure::MonitorState::Degraded(why) => {
                fail(tenure_status::TENURE_OK, format_args!("the monitor notices deaths late: {why}"));
                2
            }
            tenure::MonitorState::Failed(why) => {
                fail(tenure_status::TENURE_OK, format_args!("the monitor cannot recover: {why}"));
                -1
            }
            tenure::MonitorState::Unavailable(why) => {
                fail(tenure_status::TENURE_OK, format_args!("no monitor: {why}"));
                -1
            }
            tenure::MonitorState::Off => 0,
        })
    };
    // SAFETY: the caller's promise.
    unsafe { guard_out(monitor, "monitor", 0, call) }
}
