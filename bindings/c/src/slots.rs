//! Slots: words of the space that hold handles.

use std::ffi::c_int;
use std::mem::ManuallyDrop;

use tenure::{Claim, Handle, PutError, Raw, Slots, UseError};

use crate::abi::{tenure_handle, tenure_local, tenure_object};
use crate::error::{Failure, fail, tenure_status};
use crate::guard::{guard, guard_out, tell};
use crate::handle::{NOTHING, hand_out, of_handle, token};
use crate::local::{Seat, kind, seat};
use crate::object::{Any, Thing, usable};

/// Puts a handle that the caller holds.
fn put<T>(
    seat: &mut Seat,
    number: u32,
    bits: u64,
    put: impl FnOnce(Slots<'_>, &Handle<Raw>) -> Result<T, PutError>,
) -> Result<T, Failure> {
    let held = seat.local().held(kind(number), token(bits)?)?;
    let member = &seat.membership().member;
    // SAFETY: this member has the count, and raw kinds are not the system's own. It stays the caller's, so it is not dropped here.
    let handle = ManuallyDrop::new(unsafe { Handle::from_raw(member, kind(number), held) });
    let done = put(member.slots(), &handle);
    let _ = ManuallyDrop::into_inner(handle).into_raw();
    Ok(done?)
}

/// Puts a handle of `kind` that this process holds into an empty slot. From then on the slot holds it as well, as a
/// process does: what is in a slot outlives all members, until it is taken out, replaced or evicted. The caller still
/// holds its handle. Slots are numbered from 0; tenure_options.slots says how many there are.
///
/// A handle with a name, in a slot, is a root: it is found by its name when the processes that made it are gone.
///
/// Threads: the one that opened the local. Fork: TENURE_ERR_FORKED in a child of the member's process.
///
/// Progress: waits for no process; it repeats only if others change the same slot or handle. Crash: if the process is
/// killed, the slot holds the handle or not. Both are so for all functions of slots.
///
/// TENURE_ERR_SLOT_FULL; TENURE_ERR_KEPT when a slot holds the handle already: it is in one at most;
/// TENURE_ERR_IN_TRANSIT; TENURE_ERR_PUT_TOO_OFTEN after 2^23 puts; TENURE_ERR_NO_SLOT; TENURE_ERR_STALE when this
/// process does not hold the handle.
#[unsafe(no_mangle)]
pub extern "C" fn tenure_slot_put(local: *mut tenure_local, slot: u32, kind: u32, token: u64) -> c_int {
    guard(|| put(seat(local)?, kind, token, |slots, handle| slots.put(slot, handle)))
}

/// As tenure_slot_put, into an empty slot, whichever: `*slot` is its number. TENURE_ERR_SLOT_FULL when none is empty.
/// Threads, fork: as tenure_slot_put.
///
/// # Safety
///
/// `slot` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_slot_keep(
    local: *mut tenure_local,
    kind: u32,
    token: u64,
    slot: *mut u32,
) -> c_int {
    let call = || put(seat(local)?, kind, token, |slots, handle| slots.keep(handle));
    // SAFETY: the caller's promise.
    unsafe { guard_out(slot, "slot", 0, call) }
}

impl Thing {
    /// Puts the object into an empty slot.
    fn keep(&self) -> Result<u32, Failure> {
        let slots = self.slots();
        Ok(match &self.any {
            Any::Mutex(mutex) => slots.keep(mutex),
            Any::Event(event) => slots.keep(event),
            Any::Semaphore(semaphore) => slots.keep(semaphore),
            Any::RwLock(lock) => slots.keep(lock),
            Any::Locked(locked) => slots.keep(locked),
            Any::Versioned(versioned) => slots.keep(versioned),
            Any::Shared(shared) => slots.keep(shared),
            Any::Queue(lent) => slots.keep(&lent.queue),
            Any::Map(map) => slots.keep(map),
            Any::Process(_)
            | Any::Thread(_)
            | Any::Descriptor(_)
            | Any::Share(_)
            | Any::Entry(_)
            | Any::Iteration(_) => return Err(self.wrong("thing that a slot can hold")),
        }?)
    }
}

/// Puts a mutex, read-write lock, event, semaphore, value, queue or map into an empty slot, whichever: `*slot` is its number. From then on
/// the slot holds it as well, with all that is in it, until tenure_slot_evict. With a name it is found when the processes that made it are
/// gone. The caller's object stays open.
///
/// Threads: any. Fork, results: as tenure_slot_keep; TENURE_ERR_FOREIGN_KIND for an object that no slot can hold.
///
/// # Safety
///
/// `slot` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_slot_keep_object(object: *const tenure_object, slot: *mut u32) -> c_int {
    let call = || usable(object)?.keep();
    // SAFETY: the caller's promise.
    unsafe { guard_out(slot, "slot", 0, call) }
}

/// As tenure_slot_put, also in the place of another handle, in one step. That one ends if nobody else holds it;
/// `*before`, unless it is NULL, is its token, or 0 if the slot was empty. TENURE_ERR_SLOT_FULL when the other handle is
/// claimed. Threads, fork: as tenure_slot_put.
///
/// # Safety
///
/// `before` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_slot_replace(
    local: *mut tenure_local,
    slot: u32,
    kind: u32,
    token: u64,
    before: *mut u64,
) -> c_int {
    guard(|| {
        let former = put(seat(local)?, kind, token, |slots, handle| slots.replace(slot, handle))?;
        // SAFETY: the caller's promise.
        unsafe { tell(before, former.map_or(0, u64::from)) };
        Ok(())
    })
}

/// Takes the handle out of a slot: the slot is empty, and this process holds the handle, to be given back by
/// tenure_close. If the process dies, the handle ends with it; tenure_slot_claim is for work that must not be lost.
///
/// Threads, fork: as tenure_slot_put.
///
/// Returns TENURE_OK and `*handle`; otherwise the slot is unchanged and `*handle` is all zero. TENURE_ERR_SLOT_EMPTY;
/// TENURE_ERR_CLAIMED; TENURE_ERR_FOREIGN_KIND when what is there is of another kind; TENURE_ERR_NO_SLOT.
///
/// # Safety
///
/// `handle` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_slot_take(
    local: *mut tenure_local,
    slot: u32,
    kind: u32,
    handle: *mut tenure_handle,
) -> c_int {
    let call = || {
        let seat = seat(local)?;
        let held = seat.membership().member.slots().take_raw(slot, self::kind(kind))?.into_raw();
        let local = seat.local();
        hand_out(local, local.token(&held).into(), held)
    };
    // SAFETY: the caller's promise.
    unsafe { guard_out(handle, "handle", NOTHING, call) }
}

/// Hands a claim out. If that fails, the words of the handle are corrupted, and the drop of the claim gives it back.
fn lend(claim: Claim<Raw>) -> Result<tenure_handle, Failure> {
    let handle = of_handle(&claim)?;
    // The claim and its count last, until `tenure_slot_ack` or `tenure_slot_give_back`. It is not one of a queue.
    let _ = claim.into_raw();
    Ok(handle)
}

/// Claims the handle in a slot: the slot still holds it, and lends it to this member alone, until tenure_slot_ack or
/// tenure_slot_give_back, which also close the handle. If the process dies, recovery gives it back.
///
/// Threads, fork, results: as tenure_slot_take.
///
/// # Safety
///
/// `handle` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_slot_claim(
    local: *mut tenure_local,
    slot: u32,
    kind: u32,
    handle: *mut tenure_handle,
) -> c_int {
    let call = || lend(seat(local)?.membership().member.slots().claim_raw(slot, self::kind(kind))?);
    // SAFETY: the caller's promise.
    unsafe { guard_out(handle, "handle", NOTHING, call) }
}

fn end_claim(
    pointer: *mut tenure_local,
    (slot, number, bits): (u32, u32, u64),
    end: impl FnOnce(&mut tenure::Local<'_>, tenure::RawHandle) -> Result<(), UseError>,
) -> Result<(), Failure> {
    let local = seat(pointer)?.local();
    let held = local.held(kind(number), token(bits)?)?;
    end(local, held).map_err(|error| match error {
        UseError::Stale => fail(
            tenure_status::TENURE_ERR_NOT_CLAIMED,
            format_args!("slot {slot}: expected a claim of {bits:#018x} by this member, found none"),
        ),
        error => error.into(),
    })
}

/// Ends a claim and closes its handle: the slot is empty, and the handle ends unless somebody else holds it.
///
/// Threads, fork: as tenure_slot_put; any local of the member will do. TENURE_ERR_NOT_CLAIMED when this member has not
/// claimed that handle in that slot.
///
/// # Safety
///
/// The count of the claim is the caller's, as for tenure_close.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_slot_ack(
    local: *mut tenure_local,
    slot: u32,
    kind: u32,
    token: u64,
) -> c_int {
    // SAFETY: the caller's promise.
    guard(|| end_claim(local, (slot, kind, token), |local, held| unsafe { local.ack(slot, held) }))
}

/// Gives what was claimed back to its slot, where any member can claim it, and closes its handle. Otherwise as
/// tenure_slot_ack. Threads, fork: as there.
///
/// # Safety
///
/// As tenure_slot_ack.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_slot_give_back(
    local: *mut tenure_local,
    slot: u32,
    kind: u32,
    token: u64,
) -> c_int {
    // SAFETY: the caller's promise.
    guard(|| end_claim(local, (slot, kind, token), |local, held| unsafe { local.give_back(slot, held) }))
}

/// Empties a slot, whatever the kind. What was in it ends if nobody else holds it; `*token`, unless it is NULL, is its
/// token. TENURE_ERR_SLOT_EMPTY; TENURE_ERR_CLAIMED; TENURE_ERR_NO_SLOT. Threads, fork: as tenure_slot_put.
///
/// # Safety
///
/// `token` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_slot_evict(local: *mut tenure_local, slot: u32, token: *mut u64) -> c_int {
    guard(|| {
        let evicted = seat(local)?.membership().member.slots().evict(slot)?;
        // SAFETY: the caller's promise.
        unsafe { tell(token, evicted.into()) };
        Ok(())
    })
}

/// The slot that holds the handle at the moment: `*slot` is its number. TENURE_ERR_NOT_FOUND when none does. Threads,
/// fork: as tenure_slot_put.
///
/// # Safety
///
/// `slot` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tenure_slot_find(local: *mut tenure_local, token: u64, slot: *mut u32) -> c_int {
    let call = || {
        let found = seat(local)?.membership().member.slots().find(self::token(token)?)?;
        found.ok_or_else(|| {
            fail(
                tenure_status::TENURE_ERR_NOT_FOUND,
                format_args!("token: expected one that a slot holds, found {token:#018x}"),
            )
        })
    };
    // SAFETY: the caller's promise.
    unsafe { guard_out(slot, "slot", 0, call) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use tenure::{Kind, Space};

    use super::*;

    /// The file behind a mapping is the same memory.
    #[test]
    fn a_claim_that_cannot_be_handed_out_is_given_back() {
        let name = tenure_testkit::unique_name("capi-claim");
        let space = Space::options().tiny().slots(1).open(&name).unwrap();
        let file = std::fs::File::options().read(true).write(true).open(space.path().unwrap()).unwrap();
        let read = || {
            let mut words = vec![0; file.metadata().unwrap().len() as usize];
            file.read_exact_at(&mut words, 0).unwrap();
            words
        };
        let (me, other) = (space.join().unwrap(), space.join().unwrap());
        let before = read();
        // In a block, whose place is in a word of the handle.
        let handle = me.create_raw(Kind::raw(1), &[7; 100]).unwrap();
        let after = read();
        me.slots().put(0, &handle).unwrap();
        let is_changed = |at: &usize| before[*at..*at + 8] != after[*at..*at + 8];
        let mut given_back = 0;
        for at in (0..after.len()).step_by(8).filter(is_changed) {
            let claim = me.slots().claim_raw(0, Kind::raw(1)).unwrap();
            let now = read();
            file.write_all_at(&[0xff; 8], at as u64).unwrap();
            let result = lend(claim);
            file.write_all_at(&now[at..at + 8], at as u64).unwrap();
            let again = other.slots().claim_raw(0, Kind::raw(1));
            assert_eq!(again.is_ok(), result.is_err(), "word {at}");
            given_back += u32::from(result.is_err());
            if result.is_ok() {
                let mut local = me.local();
                let held = local.held(Kind::raw(1), handle.token()).unwrap();
                // SAFETY: the count of the claim, which is not used again.
                unsafe { local.give_back(0, held) }.unwrap();
            }
        }
        assert!(given_back > 0);
        drop(handle);
        drop((me, other));
        Space::remove(tenure::Backend::Shm, &name, true).unwrap();
    }
}
