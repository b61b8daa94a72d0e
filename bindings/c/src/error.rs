//! Error codes, and texts that name the expected and the found value.

use std::cell::RefCell;
use std::error::Error;
use std::ffi::{c_char, c_int};
use std::fmt::{self, Write};

use tenure::error::{
    AllocError, BlockError, CreateError, DescriptorError, FreeError, JoinError, LeaveError, MapError,
    NamedError, NotMember, OpenError, OpenHandleError, PidError, ProcessError, PutError, QueueError,
    ReadOnly, RecoverError, RemoveError, ScratchError, SegmentError, ShareError, SlotError, TokenError,
    UseError, WaitError,
};

/// The result of a function: TENURE_OK, or an error, which is negative. A few functions, which say so, have two results
/// that are no errors: the second one is positive.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum tenure_status {
    /// Done.
    TENURE_OK = 0,
    /// Done, and the mutex is the caller's: its last owner died, or left without unlocking it, so that the data it
    /// protects may be inconsistent. No other process gets this result.
    TENURE_ABANDONED = 1,
    /// Done: something had the name already and was opened.
    TENURE_OPENED = 2,
    /// Done: the value is locked, and an owner died or gave up in the middle of a change of it. Every owner gets this result, until one calls
    /// tenure_locked_repaired.
    TENURE_DAMAGED = 3,
    /// Done: there is nothing more; see tenure_map_next.
    TENURE_END = 4,
    /// A pointer is null that must not be.
    TENURE_ERR_NULL = -1,
    /// An argument has a value that it cannot have.
    TENURE_ERR_ARGUMENT = -2,
    /// The caller was compiled with the header of another ABI version.
    TENURE_ERR_ABI = -3,
    /// Not an open space, member, local or object: a closed one, one of another type, or garbage.
    TENURE_ERR_CLOSED = -4,
    /// A local that another thread opened.
    TENURE_ERR_WRONG_THREAD = -5,
    /// A forked child is not the member that its parent is. It may join by itself.
    TENURE_ERR_FORKED = -6,
    /// The member has left.
    TENURE_ERR_LEFT = -7,
    /// The object is in use: locals of the member are open, a call is in progress, or a space has living members.
    TENURE_ERR_IN_USE = -8,
    /// There is no space of that name, nothing in the space has it, the key has no value in the map, or there is no such file
    /// descriptor, file or process.
    TENURE_ERR_NOT_FOUND = -9,
    /// The name is not valid for a space, or for an object in a space.
    TENURE_ERR_NAME = -10,
    /// Impossible numbers in the options, or numbers that differ from those of the existing space.
    TENURE_ERR_GEOMETRY = -11,
    /// Made by another version, on another boot or kernel, by another backend, or for another user.
    TENURE_ERR_INCOMPATIBLE = -12,
    /// The file system, memfd, kind of space, kernel or process does not support this.
    TENURE_ERR_UNSUPPORTED = -13,
    /// The space, or a handle, contains bytes that no program of ours writes.
    TENURE_ERR_CORRUPT = -14,
    /// The system has no memory (for shared memory: the file system is full).
    TENURE_ERR_NO_MEMORY = -15,
    /// Living members have all leases of the space.
    TENURE_ERR_FULL = -16,
    /// No handle, or no scratch memory, is free; nothing was changed.
    TENURE_ERR_EXHAUSTED = -17,
    /// No member holds the handle any more; or this process does not hold it, although the call requires that.
    TENURE_ERR_STALE = -18,
    /// A token that was never issued.
    TENURE_ERR_FORGED = -19,
    /// A token of another space.
    TENURE_ERR_FOREIGN_SPACE = -20,
    /// A handle, or an object, of another kind.
    TENURE_ERR_FOREIGN_KIND = -21,
    /// This process holds the handle as often as can be counted.
    TENURE_ERR_TOO_MANY = -22,
    /// No block starts at that offset.
    TENURE_ERR_NOT_A_BLOCK = -23,
    /// The block is free already.
    TENURE_ERR_ALREADY_FREE = -24,
    /// The block has another owner: another member, a handle, or none because it is pinned.
    TENURE_ERR_WRONG_OWNER = -25,
    /// More bytes than any block, or this payload, can have.
    TENURE_ERR_TOO_LARGE = -26,
    /// The buffer is too short; the size that is needed was stored.
    TENURE_ERR_BUFFER = -27,
    /// The system refused the call; the text has the call and the reason.
    TENURE_ERR_OS = -28,
    /// A defect of the library, caught at its border.
    TENURE_ERR_PANIC = -29,
    /// The wait timed out; nothing was taken.
    TENURE_ERR_TIMEOUT = -30,
    /// This thread owns the mutex already, and it is not recursive.
    TENURE_ERR_DEADLOCK = -31,
    /// This thread does not own the mutex, or is not the process or thread that the object names.
    TENURE_ERR_NOT_OWNER = -32,
    /// More than the semaphore's maximum, or a mutex locked more often than is counted; nothing was changed.
    TENURE_ERR_MAXIMUM = -33,
    /// Something has the name.
    TENURE_ERR_NAME_TAKEN = -34,
    /// The process has announced its code already, or has ended.
    TENURE_ERR_ANNOUNCED = -35,
    /// No process that has the descriptor can give it to this one; the text says which has it, and why.
    TENURE_ERR_REFUSED = -36,
    /// Another member uses the file in a way that excludes this one; the text says which.
    TENURE_ERR_SHARING = -37,
    /// A signal handler ran during the wait, which was to end then; nothing was taken.
    TENURE_ERR_INTERRUPTED = -38,
    /// The member only reads: see TENURE_READ_ONLY.
    TENURE_ERR_READ_ONLY = -39,
    /// The space has no slot of that number.
    TENURE_ERR_NO_SLOT = -40,
    /// The slot holds nothing.
    TENURE_ERR_SLOT_EMPTY = -41,
    /// The slot holds another handle; for tenure_slot_replace: one that is claimed; for tenure_slot_keep: so do all slots.
    TENURE_ERR_SLOT_FULL = -42,
    /// A slot holds this handle already.
    TENURE_ERR_KEPT = -43,
    /// Another holder of the handle is putting it into a slot, or is stopped while it does.
    TENURE_ERR_IN_TRANSIT = -44,
    /// The handle was put into slots as often as it can be.
    TENURE_ERR_PUT_TOO_OFTEN = -45,
    /// A member has claimed what is in the slot.
    TENURE_ERR_CLAIMED = -46,
    /// This member has not claimed that handle in that slot; or not by that object of the queue.
    TENURE_ERR_NOT_CLAIMED = -47,
    /// The queue has no element that waits, and the call only tries.
    TENURE_ERR_QUEUE_EMPTY = -48,
    /// The queue has no room for one more element, and the call only tries.
    TENURE_ERR_QUEUE_FULL = -49,
    /// So many container slots in a row are not free, or the space has not so many: see tenure_options.container_slots.
    TENURE_ERR_CONTAINER_SLOTS = -50,
    /// The bucket of the key has as many pairs as it can have: the map has far more than its capacity.
    TENURE_ERR_MAP_FULL = -51,
}

use tenure_status::*;

const TEXTS: &[(tenure_status, &str)] = &[
    (TENURE_OK, "ok\0"),
    (TENURE_ERR_NULL, "a pointer is null that must not be\0"),
    (TENURE_ERR_ARGUMENT, "an argument has a value that it cannot have\0"),
    (TENURE_ERR_ABI, "compiled with the header of another ABI version\0"),
    (TENURE_ERR_CLOSED, "not an open space, member, local or object\0"),
    (TENURE_ERR_WRONG_THREAD, "the local was opened by another thread\0"),
    (TENURE_ERR_FORKED, "a forked child is not a member until it joins\0"),
    (TENURE_ERR_LEFT, "the member has left\0"),
    (TENURE_ERR_IN_USE, "in use\0"),
    (TENURE_ERR_NOT_FOUND, "not found\0"),
    (TENURE_ERR_NAME, "not a name that this can have\0"),
    (TENURE_ERR_GEOMETRY, "impossible numbers, or not those of the existing space\0"),
    (TENURE_ERR_INCOMPATIBLE, "made by another version, boot, kernel, backend or user\0"),
    (TENURE_ERR_UNSUPPORTED, "not possible with this file system, kind of space, kernel or process\0"),
    (TENURE_ERR_CORRUPT, "corrupt\0"),
    (TENURE_ERR_NO_MEMORY, "no memory\0"),
    (TENURE_ERR_FULL, "all leases are taken\0"),
    (TENURE_ERR_EXHAUSTED, "exhausted\0"),
    (TENURE_ERR_STALE, "stale: no process, or not this one, holds the handle\0"),
    (TENURE_ERR_FORGED, "forged: the token was never issued\0"),
    (TENURE_ERR_FOREIGN_SPACE, "a token of another space\0"),
    (TENURE_ERR_FOREIGN_KIND, "a handle or object of another kind\0"),
    (TENURE_ERR_TOO_MANY, "held as often as can be counted\0"),
    (TENURE_ERR_NOT_A_BLOCK, "no block starts there\0"),
    (TENURE_ERR_ALREADY_FREE, "the block is free already\0"),
    (TENURE_ERR_WRONG_OWNER, "the block is somebody else's\0"),
    (TENURE_ERR_TOO_LARGE, "too large\0"),
    (TENURE_ERR_BUFFER, "the buffer is too short\0"),
    (TENURE_ERR_OS, "refused by the system\0"),
    (TENURE_ERR_PANIC, "a defect of the library\0"),
    (TENURE_ERR_TIMEOUT, "timed out\0"),
    (TENURE_ERR_DEADLOCK, "this thread owns the mutex already\0"),
    (TENURE_ERR_NOT_OWNER, "the caller is not the owner\0"),
    (TENURE_ERR_MAXIMUM, "more than the maximum\0"),
    (TENURE_ERR_NAME_TAKEN, "something has the name\0"),
    (TENURE_ERR_ANNOUNCED, "its code was announced already, or it has ended\0"),
    (TENURE_ERR_REFUSED, "no process that has the descriptor can give it\0"),
    (TENURE_ERR_SHARING, "somebody uses the file in a way that excludes this one\0"),
    (TENURE_ERR_INTERRUPTED, "interrupted by a signal\0"),
    (TENURE_ERR_READ_ONLY, "the member only reads\0"),
    (TENURE_ERR_NO_SLOT, "no such slot\0"),
    (TENURE_ERR_SLOT_EMPTY, "the slot is empty\0"),
    (TENURE_ERR_SLOT_FULL, "the slot is in use\0"),
    (TENURE_ERR_KEPT, "a slot holds the handle already\0"),
    (TENURE_ERR_IN_TRANSIT, "another holder of the handle is putting it into a slot\0"),
    (TENURE_ERR_PUT_TOO_OFTEN, "the handle was put as often as it can be\0"),
    (TENURE_ERR_CLAIMED, "what is in the slot is claimed\0"),
    (TENURE_ERR_NOT_CLAIMED, "this member has not claimed it\0"),
    (TENURE_ERR_QUEUE_EMPTY, "the queue is empty\0"),
    (TENURE_ERR_QUEUE_FULL, "the queue is full\0"),
    (TENURE_ERR_CONTAINER_SLOTS, "too few container slots\0"),
    (TENURE_ERR_MAP_FULL, "the bucket of the key is full\0"),
    (TENURE_ABANDONED, "ok: the last owner of the mutex did not unlock it\0"),
    (TENURE_OPENED, "ok: something had the name and was opened\0"),
    (TENURE_DAMAGED, "ok: an owner of the value died or gave up in the middle of a change\0"),
    (TENURE_END, "ok: there is nothing more\0"),
];

/// A status that is not TENURE_OK and whose text was kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Failure(pub(crate) c_int);

const TEXT_BYTES: usize = 512;

/// A text that ends with a zero byte and is cut at a character's border.
struct Text {
    bytes: [u8; TEXT_BYTES],
    len: usize,
}

impl Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = text.len().min(TEXT_BYTES - 1 - self.len);
        let end = (0..=room).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        self.bytes[self.len..self.len + end].copy_from_slice(&text.as_bytes()[..end]);
        self.len += end;
        self.bytes[self.len] = 0;
        // The rest is cut off.
        if end < text.len() { Err(fmt::Error) } else { Ok(()) }
    }
}

thread_local! {
    // Without a destructor, so that it serves as long as its thread does.
    static LAST: RefCell<Text> = const { RefCell::new(Text { bytes: [0; TEXT_BYTES], len: 0 }) };
}

/// Keeps the text and makes a failure of it.
#[cold]
#[inline(never)]
pub(crate) fn fail(status: tenure_status, text: impl fmt::Display) -> Failure {
    LAST.with(|last| {
        // Borrowed already: by the formatting of another failure, which does not happen.
        if let Ok(mut last) = last.try_borrow_mut() {
            last.len = 0;
            last.bytes[0] = 0;
            // An error means that it was cut off.
            let _ = write!(last, "{text}");
        }
    });
    Failure(status as c_int)
}

#[cfg(test)]
pub(crate) fn last() -> String {
    LAST.with(|last| {
        let last = last.borrow();
        String::from_utf8(last.bytes[..last.len].to_vec()).unwrap()
    })
}

/// The meaning of a status, in English: a text that lives as long as the process. Any thread, any time.
#[unsafe(no_mangle)]
pub extern "C" fn tenure_strerror(status: c_int) -> *const c_char {
    let found = TEXTS.iter().find(|(of, _)| *of as c_int == status);
    found.map_or("unknown status\0", |(_, text)| text).as_ptr().cast()
}

/// The text of the calling thread's last failed call, with the expected and the found value: at most 511 bytes of
/// UTF-8, empty if no call failed. It belongs to the thread; the thread's next failed call overwrites it.
#[unsafe(no_mangle)]
pub extern "C" fn tenure_last_error() -> *const c_char {
    // SAFETY: only the address of a part of the thread's own text is taken.
    LAST.with(|last| unsafe { (&raw const (*last.as_ptr()).bytes).cast() })
}

/// An error with everything that caused it.
struct Chain<'a>(&'a dyn Error);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(error) = source {
            write!(f, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}

/// An error of tenure as one of ours.
pub(crate) trait Coded: Error + Sized {
    fn status(&self) -> tenure_status;
}

impl<E: Coded> From<E> for Failure {
    #[cold]
    #[inline(never)]
    fn from(error: E) -> Self {
        fail(error.status(), Chain(&error))
    }
}

fn of_system(error: &std::io::Error) -> tenure_status {
    match error.kind() {
        std::io::ErrorKind::NotFound => TENURE_ERR_NOT_FOUND,
        std::io::ErrorKind::OutOfMemory | std::io::ErrorKind::StorageFull => TENURE_ERR_NO_MEMORY,
        _ => TENURE_ERR_OS,
    }
}

impl Coded for NotMember {
    fn status(&self) -> tenure_status {
        match self {
            Self::ForkedChild => TENURE_ERR_FORKED,
            Self::Left => TENURE_ERR_LEFT,
        }
    }
}

impl Coded for RecoverError {
    fn status(&self) -> tenure_status {
        match self {
            Self::NotMember(error) => error.status(),
            _ => TENURE_ERR_OS,
        }
    }
}

impl Coded for SegmentError {
    fn status(&self) -> tenure_status {
        match self {
            Self::InvalidName { .. } => TENURE_ERR_NAME,
            Self::Geometry { .. } => TENURE_ERR_GEOMETRY,
            Self::NotFound { .. } => TENURE_ERR_NOT_FOUND,
            Self::Removed { .. } => TENURE_ERR_IN_USE,
            Self::NotASegment { .. }
            | Self::Version { .. }
            | Self::LayoutHash { .. }
            | Self::ByteOrder { .. }
            | Self::PageBytes { .. }
            | Self::Boot { .. }
            | Self::OtherBootId { .. }
            | Self::Owner { .. }
            | Self::OtherBackend { .. } => TENURE_ERR_INCOMPATIBLE,
            Self::Truncated { .. } => TENURE_ERR_CORRUPT,
            Self::Nameless { .. }
            | Self::NotSealed { .. }
            | Self::FileSystem { .. }
            | Self::Unreachable { .. } => TENURE_ERR_UNSUPPORTED,
            Self::NoSpace { .. } => TENURE_ERR_NO_MEMORY,
            // Something of the system, /proc or /dev/shm for example. That the segment was not found is said above.
            Self::Os { source, .. } if source.kind() == std::io::ErrorKind::NotFound => TENURE_ERR_OS,
            Self::Os { source, .. } => of_system(source),
            _ => TENURE_ERR_OS,
        }
    }
}

impl Coded for OpenError {
    fn status(&self) -> tenure_status {
        match self {
            Self::Segment(error) => error.status(),
            Self::Corrupt { .. } => TENURE_ERR_CORRUPT,
            _ => TENURE_ERR_GEOMETRY,
        }
    }
}

impl Coded for JoinError {
    fn status(&self) -> tenure_status {
        match self {
            Self::Full { .. } => TENURE_ERR_FULL,
            Self::LockNotPinned { .. } | Self::LostDescriptor { .. } => TENURE_ERR_UNSUPPORTED,
            Self::Denied { .. } => TENURE_ERR_INCOMPATIBLE,
            Self::Removed { .. } => TENURE_ERR_NOT_FOUND,
            Self::Truncated { .. } => TENURE_ERR_CORRUPT,
            Self::Os { source, .. } => of_system(source),
            _ => TENURE_ERR_OS,
        }
    }
}

impl Coded for RemoveError {
    fn status(&self) -> tenure_status {
        match self {
            Self::InvalidName { .. } => TENURE_ERR_NAME,
            Self::NotFound { .. } => TENURE_ERR_NOT_FOUND,
            Self::Held { .. } | Self::Unnamed { .. } => TENURE_ERR_IN_USE,
            Self::Nameless { .. } => TENURE_ERR_UNSUPPORTED,
            // As for `SegmentError`.
            Self::Os { source, .. } if source.kind() == std::io::ErrorKind::NotFound => TENURE_ERR_OS,
            Self::Os { source, .. } => of_system(source),
            _ => TENURE_ERR_OS,
        }
    }
}

impl Coded for LeaveError {
    fn status(&self) -> tenure_status {
        match self {
            Self::NotMember(error) => error.status(),
            _ => TENURE_ERR_IN_USE,
        }
    }
}

impl Coded for TokenError {
    fn status(&self) -> tenure_status {
        TENURE_ERR_FOREIGN_SPACE
    }
}

impl Coded for ScratchError {
    fn status(&self) -> tenure_status {
        match self {
            Self::TooLarge { .. } => TENURE_ERR_TOO_LARGE,
            Self::Empty | Self::Align { .. } => TENURE_ERR_ARGUMENT,
            Self::Exhausted { .. } => TENURE_ERR_EXHAUSTED,
            Self::NoMemory { .. } => TENURE_ERR_NO_MEMORY,
        }
    }
}

impl Coded for BlockError {
    fn status(&self) -> tenure_status {
        match self {
            Self::OutOfRange { .. } | Self::NotABlock { .. } => TENURE_ERR_NOT_A_BLOCK,
            Self::AlreadyFree { .. } => TENURE_ERR_ALREADY_FREE,
            Self::WrongOwner { .. } => TENURE_ERR_WRONG_OWNER,
        }
    }
}

impl Coded for AllocError {
    fn status(&self) -> tenure_status {
        match self {
            Self::NotMember(error) => error.status(),
            Self::ReadOnly(error) => error.status(),
            Self::Scratch(error) => error.status(),
            Self::Block(error) => error.status(),
            _ => TENURE_ERR_OS,
        }
    }
}

impl Coded for FreeError {
    fn status(&self) -> tenure_status {
        match self {
            Self::NotMember(error) => error.status(),
            Self::Block(error) => error.status(),
            _ => TENURE_ERR_OS,
        }
    }
}

impl Coded for ReadOnly {
    fn status(&self) -> tenure_status {
        TENURE_ERR_READ_ONLY
    }
}

impl Coded for CreateError {
    fn status(&self) -> tenure_status {
        match self {
            Self::NotMember(error) => error.status(),
            Self::ReadOnly(error) => error.status(),
            Self::Exhausted { .. } => TENURE_ERR_EXHAUSTED,
            Self::Scratch(error) => error.status(),
            Self::Block(error) => error.status(),
            Self::ForeignBlock { .. } => TENURE_ERR_WRONG_OWNER,
            Self::Semaphore { .. } | Self::Permits { .. } | Self::Capacity { .. } => TENURE_ERR_ARGUMENT,
            Self::ContainerSlots { .. } => TENURE_ERR_CONTAINER_SLOTS,
            Self::SystemKind { .. } => TENURE_ERR_FOREIGN_KIND,
            Self::NameTaken { .. } => TENURE_ERR_NAME_TAKEN,
            Self::BadName { .. } => TENURE_ERR_NAME,
            Self::NamesFull(_) => TENURE_ERR_EXHAUSTED,
            _ => TENURE_ERR_OS,
        }
    }
}

impl Coded for OpenHandleError {
    fn status(&self) -> tenure_status {
        match self {
            Self::NotMember(error) => error.status(),
            Self::NoSuchName => TENURE_ERR_NOT_FOUND,
            Self::SystemKind { .. } => TENURE_ERR_FOREIGN_KIND,
            Self::Stale { .. } => TENURE_ERR_STALE,
            Self::Forged { .. } => TENURE_ERR_FORGED,
            Self::ForeignSpace { .. } => TENURE_ERR_FOREIGN_SPACE,
            Self::ForeignKind { .. } => TENURE_ERR_FOREIGN_KIND,
            Self::TooMany { .. } => TENURE_ERR_TOO_MANY,
            Self::ReadOnly(error) => error.status(),
            _ => TENURE_ERR_CORRUPT,
        }
    }
}

impl Coded for UseError {
    fn status(&self) -> tenure_status {
        match self {
            Self::NotMember(error) => error.status(),
            _ => TENURE_ERR_STALE,
        }
    }
}

impl Coded for NamedError {
    fn status(&self) -> tenure_status {
        match self {
            Self::NotMember(error) => error.status(),
            Self::Create(error) => error.status(),
            Self::Open(error) => error.status(),
            _ => TENURE_ERR_OS,
        }
    }
}

impl Coded for PutError {
    fn status(&self) -> tenure_status {
        match self {
            Self::NotMember(error) => error.status(),
            Self::ForeignHandle => TENURE_ERR_WRONG_OWNER,
            Self::Full { .. } | Self::AllFull { .. } => TENURE_ERR_SLOT_FULL,
            Self::Already { .. } => TENURE_ERR_KEPT,
            Self::InTransit { .. } => TENURE_ERR_IN_TRANSIT,
            Self::Exhausted => TENURE_ERR_PUT_TOO_OFTEN,
            Self::NoSlot { .. } => TENURE_ERR_NO_SLOT,
            Self::Stale => TENURE_ERR_STALE,
            _ => TENURE_ERR_CORRUPT,
        }
    }
}

impl Coded for SlotError {
    fn status(&self) -> tenure_status {
        match self {
            Self::NotMember(error) => error.status(),
            Self::Empty { .. } => TENURE_ERR_SLOT_EMPTY,
            Self::Claimed { .. } => TENURE_ERR_CLAIMED,
            Self::NoSlot { .. } => TENURE_ERR_NO_SLOT,
            Self::NotOpened(error) => error.status(),
            _ => TENURE_ERR_CORRUPT,
        }
    }
}

impl Coded for QueueError {
    fn status(&self) -> tenure_status {
        match self {
            Self::NotMember(error) => error.status(),
            Self::Full { .. } => TENURE_ERR_QUEUE_FULL,
            Self::Wait(error) => error.status(),
            Self::NotCreated(error) => error.status(),
            Self::NotPut(error) => error.status(),
            Self::NotOpened(error) => error.status(),
            _ => TENURE_ERR_CORRUPT,
        }
    }
}

impl Coded for MapError {
    fn status(&self) -> tenure_status {
        match self {
            Self::NotMember(error) => error.status(),
            Self::ReadOnly(error) => error.status(),
            Self::Create(error) => error.status(),
            Self::Full { .. } => TENURE_ERR_MAP_FULL,
            Self::TooLarge { .. } => TENURE_ERR_TOO_LARGE,
            Self::TooMany { .. } => TENURE_ERR_TOO_MANY,
            _ => TENURE_ERR_CORRUPT,
        }
    }
}

impl Coded for PidError {
    fn status(&self) -> tenure_status {
        match self {
            Self::Gone => TENURE_ERR_NOT_FOUND,
            Self::NotAProcess { .. } => TENURE_ERR_ARGUMENT,
            Self::ForeignNamespace { .. } | Self::Unsupported { .. } => TENURE_ERR_UNSUPPORTED,
            Self::Os { source, .. } => of_system(source),
            _ => TENURE_ERR_OS,
        }
    }
}

impl Coded for ProcessError {
    fn status(&self) -> tenure_status {
        match self {
            Self::NotMember(error) => error.status(),
            Self::Create(error) => error.status(),
            Self::Open(error) => error.status(),
            Self::Pid(error) => error.status(),
            Self::NotItself => TENURE_ERR_NOT_OWNER,
            Self::AlreadyAnnounced => TENURE_ERR_ANNOUNCED,
            _ => TENURE_ERR_CORRUPT,
        }
    }
}

impl Coded for DescriptorError {
    fn status(&self) -> tenure_status {
        match self {
            Self::Create(error) => error.status(),
            Self::Open(error) => error.status(),
            Self::NotMember(error) => error.status(),
            // It is over as soon as their deaths are known.
            Self::NoHolder => TENURE_ERR_STALE,
            Self::Refused(_) => TENURE_ERR_REFUSED,
            Self::Os { source, .. } => of_system(source),
            _ => TENURE_ERR_OS,
        }
    }
}

impl Coded for ShareError {
    fn status(&self) -> tenure_status {
        match self {
            Self::Conflict(_) => TENURE_ERR_SHARING,
            Self::Named(error) => error.status(),
            Self::Open(error) => error.status(),
            Self::NotMember(error) => error.status(),
            Self::Os { source, .. } => of_system(source),
            _ => TENURE_ERR_OS,
        }
    }
}

impl Coded for WaitError {
    fn status(&self) -> tenure_status {
        match self {
            Self::NotMember(error) => error.status(),
            Self::ReadOnly(error) => error.status(),
            Self::TimedOut | Self::WouldBlock => TENURE_ERR_TIMEOUT,
            Self::Interrupted => TENURE_ERR_INTERRUPTED,
            Self::Deadlock | Self::LockedAgain { .. } => TENURE_ERR_DEADLOCK,
            Self::NotOwner => TENURE_ERR_NOT_OWNER,
            Self::TooDeep { .. } | Self::Maximum { .. } => TENURE_ERR_MAXIMUM,
            Self::Number { .. }
            | Self::Twice { .. }
            | Self::SeveralMembers { .. }
            | Self::NotTaken { .. } => TENURE_ERR_ARGUMENT,
            Self::Unwatched(error) => error.status(),
            Self::Of { error, .. } => error.status(),
            Self::Corrupt(_) => TENURE_ERR_CORRUPT,
            _ => TENURE_ERR_OS,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_a_text() {
        let (negative, positive) = TEXTS.split_at(TEXTS.len() - 4);
        for (at, (status, text)) in negative.iter().enumerate() {
            assert_eq!(*status as c_int, -(at as c_int), "in order, none left out");
            assert!(text.ends_with('\0') && text.len() > 1);
        }
        assert_eq!(negative.last().map(|(status, _)| *status), Some(TENURE_ERR_MAP_FULL));
        assert_eq!(positive.iter().map(|(status, _)| *status as c_int).collect::<Vec<_>>(), [1, 2, 3, 4]);
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        fail(TENURE_ERR_OS, "x".repeat(510) + "é");
        assert_eq!(last(), "x".repeat(510));
        fail(TENURE_ERR_OS, "short");
        assert_eq!(last(), "short");
    }
}
