//! Statuses in the words of the suite.

use std::ffi::{CStr, c_int};

use tenure_capi::tenure_status::{self, *};
use tenure_capi::{tenure_last_error, tenure_strerror};

use crate::order::Fault;

fn text(status: c_int) -> String {
    // SAFETY: both answer strings that live until the next call of this thread fails.
    let (what, why) =
        unsafe { (CStr::from_ptr(tenure_strerror(status)), CStr::from_ptr(tenure_last_error())) };
    format!("{}: {}", what.to_string_lossy(), why.to_string_lossy())
}

const FAULTS: &[(tenure_status, Fault)] = &[
    (TENURE_ERR_ARGUMENT, Fault::Argument),
    (TENURE_ERR_FORKED, Fault::Forked),
    (TENURE_ERR_LEFT, Fault::NotMember),
    (TENURE_ERR_IN_USE, Fault::InUse),
    (TENURE_ERR_FULL, Fault::Full),
    (TENURE_ERR_EXHAUSTED, Fault::Exhausted),
    (TENURE_ERR_STALE, Fault::Stale),
    (TENURE_ERR_FORGED, Fault::Forged),
    (TENURE_ERR_FOREIGN_SPACE, Fault::ForeignSpace),
    (TENURE_ERR_FOREIGN_KIND, Fault::ForeignKind),
    (TENURE_ERR_NOT_A_BLOCK, Fault::NotABlock),
    (TENURE_ERR_ALREADY_FREE, Fault::AlreadyFree),
    (TENURE_ERR_WRONG_OWNER, Fault::WrongOwner),
    (TENURE_ERR_TOO_LARGE, Fault::TooLarge),
    (TENURE_ERR_CLOSED, Fault::Stale),
    (TENURE_ERR_NAME, Fault::BadName),
    (TENURE_ERR_NAME_TAKEN, Fault::NameTaken),
    (TENURE_ERR_NOT_FOUND, Fault::NoSuchName),
    (TENURE_ERR_TIMEOUT, Fault::TimedOut),
    (TENURE_ERR_DEADLOCK, Fault::Deadlock),
    (TENURE_ERR_NOT_OWNER, Fault::NotOwner),
    (TENURE_ERR_MAXIMUM, Fault::Maximum),
    (TENURE_ERR_ANNOUNCED, Fault::Announced),
    (TENURE_ERR_NO_SLOT, Fault::NoSlot),
    (TENURE_ERR_SLOT_EMPTY, Fault::SlotEmpty),
    (TENURE_ERR_SLOT_FULL, Fault::SlotFull),
    (TENURE_ERR_KEPT, Fault::Kept),
    (TENURE_ERR_CLAIMED, Fault::Claimed),
    (TENURE_ERR_NOT_CLAIMED, Fault::NotClaimed),
    (TENURE_ERR_QUEUE_EMPTY, Fault::QueueEmpty),
    (TENURE_ERR_QUEUE_FULL, Fault::QueueFull),
    (TENURE_ERR_MAP_FULL, Fault::MapFull),
    (TENURE_ERR_CONTAINER_SLOTS, Fault::ContainerSlots),
];

/// The result of a function: a status that is no error, or the fault.
pub(super) fn told(status: c_int) -> Result<c_int, Fault> {
    if status >= 0 {
        return Ok(status);
    }
    if status == TENURE_ERR_UNSUPPORTED as c_int {
        return Err(Fault::NotHere(text(status)));
    }
    let known = FAULTS.iter().find(|(of, _)| *of as c_int == status);
    Err(known.map_or_else(|| Fault::Other(text(status)), |(_, fault)| fault.clone()))
}

/// The result of a function with one status that is no error.
pub(super) fn checked(status: c_int) -> Result<(), Fault> {
    match told(status)? {
        0 => Ok(()),
        other => Err(Fault::Other(format!("status {other}"))),
    }
}
