//! Slots: words of the space that hold handles.

use std::fmt;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::sync::Arc;

use tenure_slab::{self as slab, Token};

use crate::error::{NotMember, OpenHandleError, UseError};
use crate::handle::{Handle, Raw};
use crate::kind::Kind;
use crate::local::Local;
use crate::raw::RawHandle;
use crate::shared::Shared;
use crate::typed::Value;

/// The slots of a space. A slot holds a handle as a member does: what is in a slot outlives all members, until it is taken out, replaced
/// or evicted. So a handle with a name, kept in a slot, is a root: it is found by its name when the processes that made it are gone.
///
/// Slots are numbered from 0; [`Options::slots`](crate::Options::slots) sets how many there are, none by default. A handle is in at most
/// one slot.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let space = tenure::Space::options().slots(8).handles(64).scratch(1 << 20).anonymous()?;
/// let me = space.join()?;
/// let job = me.create(&7u64)?;
/// me.slots().put(0, &job)?;
/// drop((job, me)); // nobody is left
///
/// let other = space.join()?; // usually another process, and later
/// let job = other.slots().claim::<u64>(0)?; // if this process dies, the job is claimed by another one
/// assert_eq!(job.get()?.to_native(), 7);
/// job.ack()?; // done: the slot is empty, and the handle ends
/// # Ok(()) }
/// ```
///
/// # Progress
///
/// All operations are lock-free between processes: none waits for a process that is stopped, and each repeats only if another one
/// changed the same slot or handle.
///
/// # Crash
///
/// Each operation is done or not done when its process is killed. Recovery of the dead member gives back what it had claimed, and ends
/// what it had taken out.
#[derive(Clone, Copy)]
pub struct Slots<'m> {
    shared: &'m Arc<Shared>,
}

/// What a slot can hold: a handle, or an object that is one: a mutex, a read-write lock, an event, a semaphore, a value that changes, a queue,
/// a map, a condition variable, permits.
///
/// An object in a slot is found by its name, and evicted; only values are taken out and claimed.
///
/// ```
/// # use tenure::{Locked, OpenHandleError};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let space = tenure::Space::options().slots(8).handles(64).scratch(1 << 20).anonymous()?;
/// let me = space.join()?;
/// let slot = me.slots().keep(&Locked::create_named(&me, "total", &7u64)?)?;
/// drop(me); // nobody lives
///
/// let me = space.join()?;
/// assert_eq!(*Locked::<u64>::open_named(&me, "total")?.lock()?, 7);
/// me.slots().evict(slot)?;
/// assert!(matches!(Locked::<u64>::open_named(&me, "total"), Err(OpenHandleError::NoSuchName)));
/// # Ok(()) }
/// ```
pub trait Keep: sealed::Keep {}

impl<K: sealed::Keep> Keep for K {}

pub(crate) mod sealed {
    use super::{Arc, Handle, Shared, slab};

    /// A member and a count of it.
    pub struct Count<'h>(pub(crate) &'h Arc<Shared>, pub(crate) slab::Held);

    pub trait Keep {
        fn count(&self) -> Count<'_>;
    }

    impl<T> Keep for Handle<T> {
        fn count(&self) -> Count<'_> {
            Count(&self.shared, self.held.held)
        }
    }
}

/// The reason why a handle was not put into a slot. Nothing was changed.
///
/// ```
/// # use tenure::PutError;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let space = tenure::Space::options().slots(8).handles(64).scratch(1 << 20).anonymous()?;
/// # let me = space.join()?;
/// let (one, two) = (me.create(&1u64)?, me.create(&2u64)?);
/// me.slots().put(0, &one)?;
/// assert_eq!(me.slots().put(0, &two), Err(PutError::Full { slot: 0 }));
/// assert_eq!(me.slots().put(1, &one), Err(PutError::Already { slot: 0 }));
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PutError {
    /// The caller is not a member, or no member any more.
    #[error(transparent)]
    NotMember(#[from] NotMember),
    /// The handle is one of another member, of this space or of another one.
    #[error("the handle belongs to another member")]
    ForeignHandle,
    /// The slot holds another handle. For a replacement: one that is claimed.
    #[error("slot {slot} is in use")]
    Full {
        /// The number of the slot.
        slot: u32,
    },
    /// No slot is empty.
    #[error("all {slots} slots are in use")]
    AllFull {
        /// The number of slots.
        slots: u32,
    },
    /// A slot holds this handle already.
    #[error("the handle is in slot {slot} already")]
    Already {
        /// The number of the slot that holds it.
        slot: u32,
    },
    /// Another holder of the handle was putting it into a slot meanwhile, or is stopped while it does.
    #[error("another holder of the handle is putting it into slot {slot}")]
    InTransit {
        /// The number of that slot.
        slot: u32,
    },
    /// The handle was put 2^23 times, puts that lost a race for a slot included.
    #[error("the handle was put as often as it can be")]
    Exhausted,
    /// The space has no such slot.
    #[error("expected a slot below {slots}, found {slot}")]
    NoSlot {
        /// The requested slot.
        slot: u32,
        /// The number of slots.
        slots: u32,
    },
    /// The words of the handle are corrupted: it is over although it is held.
    #[error("the handle is not held")]
    Stale,
}

impl From<slab::PutError> for PutError {
    fn from(error: slab::PutError) -> Self {
        match error {
            slab::PutError::Full { slot } => Self::Full { slot },
            slab::PutError::Already { slot } => Self::Already { slot },
            slab::PutError::InTransit { slot } => Self::InTransit { slot },
            slab::PutError::Exhausted => Self::Exhausted,
            slab::PutError::NoSlot { slot, slots } => Self::NoSlot { slot, slots },
            _ => Self::Stale,
        }
    }
}

/// The reason why nothing was taken out of a slot. The slot is unchanged.
///
/// ```
/// # use tenure::{OpenHandleError, SlotError};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let space = tenure::Space::options().slots(8).handles(64).scratch(1 << 20).anonymous()?;
/// # let me = space.join()?;
/// assert!(matches!(me.slots().take::<u64>(0), Err(SlotError::Empty { slot: 0 })));
/// me.slots().put(0, &me.create(&1u64)?)?;
/// let wrong = me.slots().take::<u32>(0);
/// assert!(matches!(wrong, Err(SlotError::NotOpened(OpenHandleError::ForeignKind { .. }))));
/// let claim = me.slots().claim::<u64>(0)?;
/// assert!(matches!(me.slots().evict(0), Err(SlotError::Claimed { slot: 0, .. })));
/// # Ok(()) }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SlotError {
    /// The caller is not a member, or no member any more.
    #[error(transparent)]
    NotMember(#[from] NotMember),
    /// The slot holds nothing.
    #[error("slot {slot} is empty")]
    Empty {
        /// The number of the slot.
        slot: u32,
    },
    /// A member has claimed what is in the slot.
    #[error("slot {slot} is claimed by lease {lease}")]
    Claimed {
        /// The number of the slot.
        slot: u32,
        /// The slot of the member in the lease table.
        lease: u8,
    },
    /// The space has no such slot.
    #[error("expected a slot below {slots}, found {slot}")]
    NoSlot {
        /// The requested slot.
        slot: u32,
        /// The number of slots.
        slots: u32,
    },
    /// What is in the slot was not opened, for instance because it is of another kind.
    #[error(transparent)]
    NotOpened(#[from] OpenHandleError),
}

impl From<slab::SlotError> for SlotError {
    fn from(error: slab::SlotError) -> Self {
        match error {
            slab::SlotError::Empty { slot } => Self::Empty { slot },
            slab::SlotError::Claimed { slot, lease } => Self::Claimed { slot, lease },
            slab::SlotError::NoSlot { slot, slots } => Self::NoSlot { slot, slots },
            slab::SlotError::NotOpened(error) => Self::NotOpened(error.into()),
            other => Self::NotOpened(OpenHandleError::Corrupt(other.to_string())),
        }
    }
}

impl<'m> Slots<'m> {
    pub(crate) fn new(shared: &'m Arc<Shared>) -> Self {
        Self { shared }
    }

    /// The number of slots.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.shared.reclaimer.plan.geometry.slots
    }

    fn own(&self, handle: &impl Keep) -> Result<slab::Held, PutError> {
        self.shared.lease.check()?;
        let sealed::Count(shared, held) = handle.count();
        if Arc::ptr_eq(self.shared, shared) { Ok(held) } else { Err(PutError::ForeignHandle) }
    }

    /// A slot of these: containers have others.
    fn slot(&self, slot: u32) -> Result<u32, slab::SlotError> {
        let slots = self.count();
        if slot < slots { Ok(slot) } else { Err(slab::SlotError::NoSlot { slot, slots }) }
    }

    fn slot_to_put(&self, slot: u32) -> Result<u32, PutError> {
        self.slot(slot).map_err(|_| PutError::NoSlot { slot, slots: self.count() })
    }

    /// Puts a handle into an empty slot. From then on the slot holds it as well; the caller still holds its handle.
    ///
    /// # Errors
    ///
    /// [`PutError`]; the slot is unchanged.
    pub fn put(&self, slot: u32, handle: &impl Keep) -> Result<(), PutError> {
        let (held, slot) = (self.own(handle)?, self.slot_to_put(slot)?);
        Ok(self.shared.slab.put(self.shared.lease.acquire(), self.shared.ref_counts(), held, slot)?)
    }

    /// Puts a handle into an empty slot, whichever, and returns the number of the slot.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let space = tenure::Space::options().slots(8).handles(64).scratch(1 << 20).anonymous()?;
    /// let me = space.join()?;
    /// me.slots().keep(&me.create_named("limits", &[3u32, 5])?)?; // a root
    /// drop(me);
    ///
    /// let limits = space.join()?.open_named::<[u32; 2]>("limits")?;
    /// assert_eq!(limits.get()?[0].to_native(), 3);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`PutError`], for instance [`PutError::AllFull`]; nothing was changed.
    pub fn keep(&self, handle: &impl Keep) -> Result<u32, PutError> {
        let held = self.own(handle)?;
        let slab = &self.shared.slab;
        for slot in (0..self.count()).filter(|slot| slab.slot(*slot).is_none()) {
            match slab.put(self.shared.lease.acquire(), self.shared.ref_counts(), held, slot) {
                Ok(()) => return Ok(slot),
                // Somebody was faster.
                Err(slab::PutError::Full { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        if let Some(slot) = slab.slot_of(held.token(slab)) {
            return Err(PutError::Already { slot });
        }
        Err(PutError::AllFull { slots: self.count() })
    }

    /// Puts a handle into a slot that is empty or holds another one, in one step. The former handle ends if nobody else holds it; its token
    /// is returned.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().slots(8).handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let (old, new) = (me.create(&1u64)?, me.create(&2u64)?);
    /// assert_eq!(me.slots().replace(3, &old)?, None);
    /// assert_eq!(me.slots().replace(3, &new)?, Some(old.token()));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`PutError`]; the slot is unchanged.
    pub fn replace(&self, slot: u32, handle: &impl Keep) -> Result<Option<Token>, PutError> {
        let (held, slot) = (self.own(handle)?, self.slot_to_put(slot)?);
        let (acquire, ref_counts) = (self.shared.lease.acquire(), self.shared.ref_counts());
        Ok(self
            .shared
            .slab
            .replace(acquire, ref_counts, held, slot, |block| self.shared.free_block(block))?)
    }

    /// Takes a typed value out of a slot: the slot is empty, and the caller holds the handle. If the caller dies, the handle ends with it;
    /// [`Slots::claim`] is for work that must not be lost.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().slots(8).handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// me.slots().put(3, &me.create(&7u64)?)?;
    /// let taken = me.slots().take::<u64>(3)?;
    /// assert_eq!(taken.get()?.to_native(), 7);
    /// assert!(me.slots().take::<u64>(3).is_err()); // empty
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`SlotError`]; the slot is unchanged. If the bytes are not valid for the type, they were taken out and are gone.
    pub fn take<T: Value>(&self, slot: u32) -> Result<Handle<T>, SlotError> {
        Ok(self.take_as::<T>(slot, Kind::of::<T>())?.validated()?)
    }

    /// As [`Slots::take`], as raw bytes.
    ///
    /// # Errors
    ///
    /// [`SlotError`]; the slot is unchanged.
    pub fn take_raw(&self, slot: u32, kind: Kind) -> Result<Handle<Raw>, SlotError> {
        self.take_as(slot, kind)
    }

    fn take_as<T>(&self, slot: u32, kind: Kind) -> Result<Handle<T>, SlotError> {
        self.shared.lease.check()?;
        kind.to_open()?;
        let (acquire, ref_counts) = (self.shared.lease.acquire(), self.shared.ref_counts());
        let free = |block| self.shared.free_block(block);
        let held = self.shared.slab.take(acquire, ref_counts, self.slot(slot)?, Some(kind.number()), free)?;
        let handle = self.handle(held, kind);
        self.shared.place(handle.held)?;
        Ok(handle)
    }

    fn handle<T>(&self, held: slab::Held, kind: Kind) -> Handle<T> {
        Handle { shared: Arc::clone(self.shared), held: RawHandle { held }, kind, value: PhantomData }
    }

    /// Claims a typed value: the slot still holds it, and lends it to this member alone, until [`Claim::ack`] or [`Claim::give_back`]. If
    /// this process dies, recovery gives the value back.
    ///
    /// # Errors
    ///
    /// [`SlotError`]; the slot is unchanged.
    pub fn claim<T: Value>(&self, slot: u32) -> Result<Claim<T>, SlotError> {
        let claim = self.claim_as::<T>(slot, Kind::of::<T>())?;
        // If it fails, the drop gives it back.
        crate::typed::validate::<T>(
            claim.bytes().map_err(|error| OpenHandleError::Corrupt(error.to_string()))?,
        )?;
        Ok(claim)
    }

    /// As [`Slots::claim`], as raw bytes.
    ///
    /// # Errors
    ///
    /// [`SlotError`]; the slot is unchanged.
    pub fn claim_raw(&self, slot: u32, kind: Kind) -> Result<Claim<Raw>, SlotError> {
        self.claim_as(slot, kind)
    }

    fn claim_as<T>(&self, slot: u32, kind: Kind) -> Result<Claim<T>, SlotError> {
        self.shared.lease.check()?;
        kind.to_open()?;
        let (acquire, ref_counts) = (self.shared.lease.acquire(), self.shared.ref_counts());
        let free = |block| self.shared.free_block(block);
        let slot = self.slot(slot)?;
        let claimed = self.shared.slab.claim_slot(acquire, ref_counts, slot, Some(kind.number()), free)?;
        let claim = Claim {
            handle: self.handle(claimed.held(), kind),
            claimed,
            has_ended: false,
            #[cfg(feature = "objects")]
            lender: None,
        };
        self.shared.place(claim.handle.held)?;
        Ok(claim)
    }

    /// Empties a slot. What was in it ends if nobody else holds it; its token is returned.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().slots(8).handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// me.slots().put(3, &me.create(&7u64)?)?;
    /// let token = me.slots().evict(3)?;
    /// assert!(me.open::<u64>(token).is_err()); // it was held by nothing else
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`SlotError`]; the slot is unchanged.
    pub fn evict(&self, slot: u32) -> Result<Token, SlotError> {
        self.shared.lease.check()?;
        let (acquire, ref_counts) = (self.shared.lease.acquire(), self.shared.ref_counts());
        let slot = self.slot(slot)?;
        Ok(self.shared.slab.evict(acquire, ref_counts, slot, |block| self.shared.free_block(block))?)
    }

    /// The slot that holds the handle at the moment.
    ///
    /// # Errors
    ///
    /// [`NotMember`].
    pub fn find(&self, token: Token) -> Result<Option<u32>, NotMember> {
        self.shared.lease.check()?;
        Ok(self.shared.slab.slot_of(token))
    }
}

impl Local<'_> {
    /// Ends a claim that was given up by [`Claim::into_raw`], and closes its count: the slot is empty.
    ///
    /// ```
    /// # use tenure::{Claim, Kind};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().slots(8).handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let kind = Kind::raw(1);
    /// me.slots().put(0, &me.create_raw(kind, b"tea")?)?;
    /// let raw = me.slots().claim_raw(0, kind)?.into_raw().expect("no queue");
    /// let mut local = me.local();
    /// // SAFETY: the count of the claim, which is not used again.
    /// unsafe { local.ack(0, raw)? };
    /// assert!(space.slots().is_empty());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`UseError::Stale`] if this member has not claimed that handle in that slot; nothing was changed.
    ///
    /// # Safety
    ///
    /// As [`Local::close`].
    ///
    /// # Crash
    ///
    /// As [`Slots`].
    pub unsafe fn ack(&mut self, slot: u32, held: RawHandle) -> Result<(), UseError> {
        // SAFETY: the caller's promise.
        unsafe { self.end_claim(slot, held, true) }
    }

    /// Gives a handle that was claimed back to its slot, and closes the count of the claim. Otherwise as [`Local::ack`].
    ///
    /// # Errors
    ///
    /// As [`Local::ack`].
    ///
    /// # Safety
    ///
    /// As [`Local::close`].
    pub unsafe fn give_back(&mut self, slot: u32, held: RawHandle) -> Result<(), UseError> {
        // SAFETY: the caller's promise.
        unsafe { self.end_claim(slot, held, false) }
    }

    /// # Safety
    ///
    /// As [`Local::close`].
    unsafe fn end_claim(&mut self, slot: u32, held: RawHandle, is_done: bool) -> Result<(), UseError> {
        let shared = self.shared();
        shared.lease.check()?;
        if slot >= shared.reclaimer.plan.geometry.slots {
            return Err(UseError::Stale);
        }
        let claimed = slab::Claimed::new(held.held, slot);
        shared.end_claim(claimed, is_done)?;
        // SAFETY: the caller's promise.
        unsafe { self.close(held) }
    }
}

impl Shared {
    fn end_claim(&self, claimed: slab::Claimed, is_done: bool) -> Result<(), UseError> {
        let (slab, acquire) = (&self.slab, self.lease.acquire());
        let has_claimed = if is_done { slab.ack(acquire, claimed) } else { slab.give_back(acquire, claimed) };
        if has_claimed { Ok(()) } else { Err(UseError::Stale) }
    }
}

impl fmt::Debug for Slots<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slots").field("count", &self.count()).finish_non_exhaustive()
    }
}

/// A handle that a slot or a queue lends to this member alone; see [`Slots::claim`] and `Queue::claim`. It is used as a [`Handle`]. Dropping it
/// gives it back.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let space = tenure::Space::options().slots(8).handles(64).scratch(1 << 20).anonymous()?;
/// # let (me, other) = (space.join()?, space.join()?);
/// me.slots().put(0, &me.create(&7u64)?)?;
/// let claim = me.slots().claim::<u64>(0)?;
/// assert!(other.slots().claim::<u64>(0).is_err()); // lent to `me`
/// claim.give_back()?;
/// other.slots().claim::<u64>(0)?.ack()?;
/// assert!(me.slots().claim::<u64>(0).is_err()); // done: the slot is empty
/// # Ok(()) }
/// ```
pub struct Claim<T> {
    /// The count of `claimed`; closed after the claim has ended.
    handle: Handle<T>,
    claimed: slab::Claimed,
    has_ended: bool,
    /// The queue that has lent it, if it is not one of the space's slots. Dropped after the handle.
    #[cfg(feature = "objects")]
    lender: Option<crate::collections::Lender>,
}

#[cfg(feature = "objects")]
impl<T> Claim<T> {
    pub(crate) fn by_queue(
        handle: Handle<T>,
        claimed: slab::Claimed,
        lender: crate::collections::Lender,
    ) -> Self {
        Self { handle, claimed, has_ended: false, lender: Some(lender) }
    }
}

impl<T> Claim<T> {
    /// The number of the slot.
    #[must_use]
    pub fn slot(&self) -> u32 {
        self.claimed.slot()
    }

    /// Ends the claim: the slot is empty, and the handle ends unless somebody else holds it.
    ///
    /// # Errors
    ///
    /// [`UseError`] after the member has left, or in a forked child; nothing was changed.
    pub fn ack(mut self) -> Result<(), UseError> {
        self.end(true)
    }

    /// Gives the handle back to its slot, where any member can claim it.
    ///
    /// # Errors
    ///
    /// As [`Claim::ack`].
    pub fn give_back(mut self) -> Result<(), UseError> {
        self.end(false)
    }

    fn end(&mut self, is_done: bool) -> Result<(), UseError> {
        let shared = &self.handle.shared;
        shared.lease.check()?;
        self.has_ended = true;
        #[cfg(feature = "objects")]
        if let Some(lender) = &self.lender {
            return if lender.end(self.claimed, is_done)? { Ok(()) } else { Err(UseError::Stale) };
        }
        // If it fails, the segment is corrupted.
        shared.end_claim(self.claimed, is_done)
    }
}

impl Claim<Raw> {
    /// Gives the claim up as plain data: its count, which [`Local::ack`] or [`Local::give_back`] ends together with the claim. Both last until
    /// then, or until the member leaves or dies. `None` for a claim of a queue, which keeps its queue open: it is given back.
    #[must_use]
    pub fn into_raw(self) -> Option<RawHandle> {
        #[cfg(feature = "objects")]
        if self.lender.is_some() {
            return None;
        }
        let this = ManuallyDrop::new(self);
        // SAFETY: `this` is neither used nor dropped afterwards; its other fields need no drop.
        Some(unsafe { std::ptr::read(&raw const this.handle) }.into_raw())
    }
}

impl<T> Deref for Claim<T> {
    type Target = Handle<T>;

    fn deref(&self) -> &Handle<T> {
        &self.handle
    }
}

impl<T> Drop for Claim<T> {
    fn drop(&mut self) {
        if !self.has_ended {
            // In a forked child, and after the member has left, it is not this process's claim.
            let _ = self.end(false);
        }
    }
}

impl<T> fmt::Debug for Claim<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Claim").field("slot", &self.slot()).field("token", &self.token()).finish()
    }
}
