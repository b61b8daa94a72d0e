//! Owned handles: closed when they are dropped.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use tenure_slab::Token;

use crate::error::{OpenHandleError, UseError};
use crate::kind::Kind;
use crate::raw::RawHandle;
use crate::shared::Shared;
use crate::typed::{self, Value};

/// The type of handles whose payload is plain bytes.
#[derive(Clone, Copy, Debug)]
pub enum Raw {}

/// An object that lives as long as some member holds it. Dropping it closes it.
///
/// The payload is immutable: `get` borrows it from shared memory.
pub struct Handle<T> {
    pub(crate) shared: Arc<Shared>,
    pub(crate) held: RawHandle,
    pub(crate) kind: Kind,
    pub(crate) value: PhantomData<fn() -> T>,
}

impl<T> Handle<T> {
    /// The 64 bits to pass to others. It keeps nothing alive: hold the handle until the other has opened it.
    #[must_use]
    pub fn token(&self) -> Token {
        self.held.held.token(&self.shared.slab)
    }

    /// What sort of object it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    pub(crate) fn bytes(&self) -> Result<&[u8], UseError> {
        self.shared.lease.check()?;
        // SAFETY: the handle owns a count of this member for as long as it is borrowed, and so for as long as the slice is used;
        // to give that count back by a raw value is unsafe. Payloads that change are of system kinds, and those have no `Handle`.
        unsafe { self.shared.get(&self.held) }
    }

    /// Holds it once more. No shared memory is written.
    ///
    /// # Errors
    ///
    /// [`OpenHandleError`] when this process is no member any more, or holds it too often.
    pub fn try_clone(&self) -> Result<Self, OpenHandleError> {
        self.shared.lease.check()?;
        self.shared.slab.reopen(self.shared.lease.acquire(), self.shared.ref_counts(), self.held.held)?;
        Ok(Self { shared: Arc::clone(&self.shared), held: self.held, kind: self.kind, value: PhantomData })
    }
}

impl Handle<Raw> {
    /// The payload.
    ///
    /// # Errors
    ///
    /// [`UseError`] after the member left, or in a forked child.
    pub fn get(&self) -> Result<&[u8], UseError> {
        self.bytes()
    }
}

impl<T: Value> Handle<T> {
    /// The handle, if its bytes are a value; otherwise it is closed.
    pub(crate) fn validated(self) -> Result<Self, OpenHandleError> {
        typed::validate::<T>(self.bytes().map_err(|error| OpenHandleError::Corrupt(error.to_string()))?)?;
        Ok(self)
    }

    /// The archived value, zero copy. It was validated when the handle was opened.
    ///
    /// # Errors
    ///
    /// [`UseError`] after the member left, or in a forked child.
    pub fn get(&self) -> Result<&T::Archived, UseError> {
        let bytes = self.bytes()?;
        // SAFETY: validated where the handle was made, by `typed::to_bytes` or by `Handle::validated`; immutable while held [slab-bit-covers-use],
        // by peers that are not hostile [A8].
        Ok(unsafe { typed::access::<T>(bytes) })
    }
}

impl<T> Drop for Handle<T> {
    fn drop(&mut self) {
        if self.shared.lease.check().is_ok() {
            // SAFETY: the count is this handle's own, and to give it back by a raw value is unsafe (`Local::close`). References to the
            // payload borrow a handle, which holds a count of its own.
            let closed = unsafe { self.shared.close(&mut self.shared.common(), self.held) };
            // Held by construction; a corrupted word leaves nothing to close.
            let _ = closed;
        }
    }
}

impl<T> fmt::Debug for Handle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("token", &self.token()).field("kind", &self.kind).finish()
    }
}
