//! Owned handles: a drop closes them.

use std::fmt;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::sync::Arc;

use tenure_slab::Token;

use crate::error::{OpenHandleError, UseError};
use crate::kind::Kind;
use crate::member::Member;
use crate::raw::RawHandle;
use crate::shared::Shared;
#[cfg(feature = "typed")]
use crate::typed::{self, Value};

/// The type parameter of a [`Handle`] with plain bytes as its payload.
#[derive(Clone, Copy, Debug)]
pub enum Raw {}

/// One count of an object that lives as long as at least one member holds it. Dropping the handle closes that count.
///
/// The payload is immutable: `get` borrows it from shared memory.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
/// # let (me, other) = (space.join()?, space.join()?);
/// let handle = me.create(&7u64)?;
/// let opened = other.open::<u64>(handle.token())?; // usually in another process
/// drop(handle);
/// assert_eq!(opened.get()?.to_native(), 7); // `other` still holds the object
/// # Ok(()) }
/// ```
pub struct Handle<T> {
    pub(crate) shared: Arc<Shared>,
    pub(crate) held: RawHandle,
    pub(crate) kind: Kind,
    pub(crate) value: PhantomData<fn() -> T>,
}

impl<T> Handle<T> {
    /// The token: 64 bits to pass to other processes, printed and parsed as 16 hexadecimal digits. A token keeps nothing alive: hold
    /// the handle until the other process has opened the token.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let handle = me.create(&7u64)?;
    /// let text = handle.token().to_string();
    /// assert_eq!((text.len(), text.parse::<tenure::Token>()?), (16, handle.token()));
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn token(&self) -> Token {
        self.held.held.token(&self.shared.slab)
    }

    /// The kind of the object.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    pub(crate) fn bytes(&self) -> Result<&[u8], UseError> {
        self.shared.lease.check()?;
        let payload = self.shared.payload(&self.shared.slab, self.held)?;
        // SAFETY: the handle owns a count of this member for as long as it is borrowed, and so for as long as the slice is used;
        // closing that count through a raw value is unsafe. Payloads that change are of system kinds, and those have no `Handle`.
        Ok(unsafe { payload.as_ref() })
    }

    /// Opens the same handle once more, by a local count: writes no shared memory, except that the first call for a handle that only its
    /// creator holds marks it as shared.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let handle = me.create(&7u64)?;
    /// let second = handle.try_clone()?;
    /// drop(handle);
    /// assert_eq!(second.get()?.to_native(), 7);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`OpenHandleError::NotMember`]; [`OpenHandleError::TooMany`] when the local count is at its limit.
    pub fn try_clone(&self) -> Result<Self, OpenHandleError> {
        self.shared.lease.check()?;
        let held = self.shared.reopen(self.held)?;
        Ok(Self { shared: Arc::clone(&self.shared), held, kind: self.kind, value: PhantomData })
    }
}

impl Handle<Raw> {
    /// The payload, borrowed from shared memory.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let handle = me.create_raw(tenure::Kind::raw(1), b"tea")?;
    /// assert_eq!(handle.get()?, b"tea");
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`UseError`] after the member has left, or in a forked child.
    pub fn get(&self) -> Result<&[u8], UseError> {
        self.bytes()
    }
}

impl<T> Handle<T> {
    /// Gives the count up as plain data, for [`Local`](crate::Local) or [`Handle::from_raw`]. It stays open until one of them closes it, or the
    /// member leaves or dies.
    ///
    /// ```
    /// # use tenure::{Handle, Kind};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let handle = me.create_raw(Kind::raw(1), b"tea")?;
    /// let raw = handle.into_raw();
    /// // SAFETY: the count of `raw`, which is not used again.
    /// let handle = unsafe { Handle::from_raw(&me, Kind::raw(1), raw) };
    /// assert_eq!(handle.get()?, b"tea");
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn into_raw(self) -> RawHandle {
        let mut this = ManuallyDrop::new(self);
        // SAFETY: `this` is neither used nor dropped afterwards; its other fields need no drop.
        unsafe { std::ptr::drop_in_place(&raw mut this.shared) };
        this.held
    }
}

impl Handle<Raw> {
    /// Makes a handle of a raw count.
    ///
    /// # Safety
    ///
    /// The member has the count, of a handle of that kind, which is not one of the system's own; from now on the result owns it.
    #[must_use]
    pub unsafe fn from_raw(member: &Member, kind: Kind, held: RawHandle) -> Self {
        Self { shared: Arc::clone(member.shared()), held, kind, value: PhantomData }
    }
}

/// Payloads of a kind of the application's choice that are archives of values; see [`Member::create_as`].
#[cfg(feature = "typed")]
impl Handle<Raw> {
    /// The payload as an archive of `T`, validated by this call.
    ///
    /// ```
    /// # use tenure::{collections::Queue, Kind};
    /// const JOB: Kind = Kind::named("shop.example/job", 1);
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().container_slots(64).handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let jobs = Queue::create_raw(&me, JOB, 64)?; // for programs of any compiler
    /// jobs.push_handle(&me.create_as(JOB, &vec![1u32, 2, 3])?.into_untyped())?;
    /// let job = jobs.claim()?.unwrap();
    /// assert_eq!(job.get_as::<Vec<u32>>()?.len(), 3);
    /// # job.ack()?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`OpenHandleError::Corrupt`] if it is none; [`OpenHandleError::NotMember`].
    pub fn get_as<T: Value>(&self) -> Result<&T::Archived, OpenHandleError> {
        typed::validated::<T>(self.bytes().map_err(UseError::of_opened)?)
    }

    /// The same handle, as one of a value. The payload is validated here, and not by each [`get`](Handle::get).
    ///
    /// # Errors
    ///
    /// As [`Handle::get_as`]; the handle is closed.
    pub fn into_typed<T: Value>(self) -> Result<Handle<T>, OpenHandleError> {
        let (kind, shared) = (self.kind, Arc::clone(&self.shared));
        let handle = Handle { shared, held: self.into_raw(), kind, value: PhantomData };
        handle.validated()
    }
}

#[cfg(feature = "typed")]
impl<T: Value> Handle<T> {
    /// The same handle, as one of bytes: those of the archive.
    #[must_use]
    pub fn into_untyped(self) -> Handle<Raw> {
        let (kind, shared) = (self.kind, Arc::clone(&self.shared));
        Handle { shared, held: self.into_raw(), kind, value: PhantomData }
    }

    /// Returns the handle if its bytes are a valid value; else closes it.
    pub(crate) fn validated(self) -> Result<Self, OpenHandleError> {
        typed::validated::<T>(self.bytes().map_err(UseError::of_opened)?)?;
        Ok(self)
    }

    /// The archived value, borrowed from shared memory without a copy. It was validated when the handle was opened.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let handle = me.create(&vec![1u32, 2, 3])?;
    /// assert_eq!(handle.get()?.len(), 3);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`UseError`] after the member has left, or in a forked child.
    pub fn get(&self) -> Result<&T::Archived, UseError> {
        let bytes = self.bytes()?;
        // SAFETY: validated where the handle was made, by `typed::to_bytes` or by `Handle::validated`; immutable while held [slab-bit-covers-use],
        // by peers that are not hostile [A8].
        unsafe { typed::access::<T>(bytes) }
    }
}

impl<T> Drop for Handle<T> {
    fn drop(&mut self) {
        if self.shared.lease.check().is_ok() {
            // SAFETY: this handle owns the count, and the contract of `Local::close` forbids closing it through a raw value.
            // References to the payload borrow a handle that holds a count as well.
            // The handle is held by construction; if its word is corrupted, there is nothing to close.
            let _ = unsafe {
                if self.held.held.is_shared_inline() {
                    // Without the lock of the common caches.
                    self.shared.close_shared(self.held)
                } else {
                    self.shared.close(&mut self.shared.common(), self.held)
                }
            };
        }
    }
}

impl<T> fmt::Debug for Handle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("token", &self.token()).field("kind", &self.kind).finish()
    }
}
