//! The common part of the system's own objects: a handle of a system kind, and its state words.
//!
//! A mutex, an event or a process is a handle like any other: it is opened by token, held by holder bits, and ends with its last
//! holder. The difference is its payload, which starts with [`STATE_WORDS`] words that its holders change, by atomic operations only.
//! A process accesses these words only while it holds the handle, so they never belong to another handle at that time. The bytes after
//! them are immutable, except where a kind says otherwise.

use std::fmt;
use std::ptr::NonNull;
use std::sync::Arc;

use tenure_core::sync::Word;
use tenure_slab::Token;

use crate::error::{BlockError, CreateError, NotMember, OpenHandleError};
use crate::kind::Kind;
use crate::member::Member;
use crate::names::{Name, Named, NamedError};
use crate::place::{Key, Place};
use crate::raw::{Contents, RawHandle};
use crate::shared::Shared;
use crate::slots::sealed::Keep;
use crate::state::{STATE_BYTES, STATE_WORDS, State, state_of};

/// One count of a system object; dropping it closes that count.
pub struct Object {
    shared: Arc<Shared>,
    held: RawHandle,
    kind: Kind,
    payload: NonNull<[u8]>,
}

// SAFETY: the address of atomics, used only while the handle is held; see `state`.
unsafe impl Send for Object {}
// SAFETY: as above.
unsafe impl Sync for Object {}

impl Object {
    /// Creates an object, with a name that is not in use or without a name. Its payload is these state words and then `rest`, bytes that
    /// do not change. If there is no name and `rest` is empty, the payload lies in the handle's own entry.
    ///
    /// # Errors
    ///
    /// [`CreateError`], for instance [`CreateError::NameTaken`]; nothing was created.
    ///
    /// # Crash
    ///
    /// As [`Member::create`].
    pub(crate) fn create(
        place: Place<'_>,
        kind: Kind,
        state: [u64; STATE_WORDS],
        rest: &[u8],
    ) -> Result<Self, CreateError> {
        Self::create_from(place, kind, Contents::of(&payload(state, rest)))
    }

    /// As [`Object::create`]; `contents` begins with the state words.
    ///
    /// # Errors
    ///
    /// As [`Object::create`].
    pub(crate) fn create_from(
        place: Place<'_>,
        kind: Kind,
        contents: Contents<'_>,
    ) -> Result<Self, CreateError> {
        let (member, name) = (place.member, place.name()?);
        member.check()?;
        let shared = member.shared();
        let held = match name {
            None if contents.are_inline() => shared.create(&mut shared.common(), kind, contents.bytes)?,
            None => shared.create_from(&mut shared.common(), kind, contents)?,
            Some(name) => shared.create_named(name, kind, contents)?,
        };
        let block = shared.slab.block_of(held.held);
        Self::checked(member, held, kind).map_err(|_| Self::corrupted(block))
    }

    /// Checks an object that this process has just created, as its open does. It fails only if somebody has corrupted its words at once.
    pub(crate) fn just_created<T>(
        self,
        over: impl FnOnce(Self) -> Result<T, OpenHandleError>,
    ) -> Result<T, CreateError> {
        let block = self.shared.slab.block_of(self.held());
        over(self).map_err(|_| Self::corrupted(block))
    }

    /// The error of a creation whose result is not what was created: the segment is corrupted.
    fn corrupted(block: Option<(u64, u64)>) -> CreateError {
        CreateError::Block(BlockError::NotABlock { offset: block.map_or(0, |(offset, _)| offset) })
    }

    /// Opens the object that has the name, or creates it, in one step.
    ///
    /// # Errors
    ///
    /// [`NamedError`]; nothing is held.
    pub(crate) fn create_or_open(
        member: &Member,
        name: Name<'_>,
        kind: Kind,
        state: [u64; STATE_WORDS],
        rest: &[u8],
    ) -> Result<Named<Self>, NamedError> {
        Self::create_or_open_from(member, name, kind, Contents::of(&payload(state, rest)))
    }

    /// As [`Object::create_or_open`]; `contents` begins with the state words.
    ///
    /// # Errors
    ///
    /// As [`Object::create_or_open`].
    pub(crate) fn create_or_open_from(
        member: &Member,
        name: Name<'_>,
        kind: Kind,
        contents: Contents<'_>,
    ) -> Result<Named<Self>, NamedError> {
        let named = member.shared().create_or_open(name, kind, contents)?;
        Ok(named.try_map(|held| Self::checked(member, held, kind))?)
    }

    /// Opens an object of `kind`.
    ///
    /// # Errors
    ///
    /// [`OpenHandleError`], in particular `Corrupt` when the payload is too short for its state; nothing is held.
    pub(crate) fn open(member: &Member, kind: Kind, key: Key<'_>) -> Result<Self, OpenHandleError> {
        Self::checked(member, member.open_key(kind, key)?, kind)
    }

    fn checked(member: &Member, held: RawHandle, kind: Kind) -> Result<Self, OpenHandleError> {
        let shared = Arc::clone(member.shared());
        let payload = shared.place_of_state(held);
        if let Ok(payload) = payload
            // SAFETY: the object holds the handle, and is opened as one of a system kind.
            && unsafe { state_of(payload) }.is_some()
        {
            return Ok(Self { shared, held, kind, payload });
        }
        // SAFETY: the count was opened by the caller for this object, and is not used again.
        let _ = unsafe { shared.close(&mut shared.common(), held) };
        Err(OpenHandleError::Corrupt(format!("the state of {held:?}, a {kind}, is no {STATE_BYTES} bytes")))
    }

    /// Opens the same handle once more, by a local count.
    ///
    /// # Errors
    ///
    /// [`OpenHandleError::NotMember`]; [`OpenHandleError::TooMany`] when the local count is at its limit.
    pub(crate) fn try_clone(&self) -> Result<Self, OpenHandleError> {
        self.shared.lease.check()?;
        let held = self.shared.reopen(self.held)?;
        Ok(Self { shared: Arc::clone(&self.shared), held, kind: self.kind, payload: self.payload })
    }

    pub(crate) fn token(&self) -> Token {
        self.held.held.token(&self.shared.slab)
    }

    /// The count that this object owns.
    pub(crate) fn held(&self) -> tenure_slab::Held {
        self.held.held
    }

    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    /// Index and generation of the handle.
    pub(crate) fn identity(&self) -> (u32, u64) {
        (self.held.held.index(), self.held.held.generation())
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// The address of the payload, which is that of the state words.
    pub(crate) fn payload(&self) -> NonNull<u8> {
        self.payload.cast()
    }

    /// Bytes of the payload.
    pub(crate) fn bytes(&self) -> usize {
        self.payload.len()
    }

    /// The state words.
    ///
    /// # Errors
    ///
    /// [`NotMember`] after the member has left, and in a forked child: the words are not mapped there.
    #[inline]
    pub(crate) fn state(&self) -> Result<&State, NotMember> {
        self.shared.lease.check()?;
        // SAFETY: this process is the member.
        Ok(unsafe { self.mapped_state() })
    }

    /// The state words, without a check.
    ///
    /// # Safety
    ///
    /// This process is the member.
    #[inline(always)]
    pub(crate) unsafe fn mapped_state(&self) -> &State {
        // SAFETY: the segment is mapped in the process that is the member; the handle is held as long as this object, and `state_of` found
        // the payload long enough and aligned.
        unsafe { self.payload.cast().as_ref() }
    }

    /// All words of the payload: the state words and the words after them, for kinds whose holders change those as well.
    ///
    /// # Errors
    ///
    /// As [`Object::state`].
    pub(crate) fn words(&self) -> Result<&[Word], NotMember> {
        self.shared.lease.check()?;
        let payload = self.payload;
        // SAFETY: as in `state_of`, whose alignment was checked when it was opened.
        Ok(unsafe { std::slice::from_raw_parts(payload.as_ptr().cast::<Word>(), payload.len() / 8) })
    }
}

impl Keep for Object {
    fn count(&self) -> crate::slots::sealed::Count<'_> {
        crate::slots::sealed::Count(&self.shared, self.held.held)
    }
}

/// The payload: the state words, then the bytes that do not change.
fn payload(state: [u64; STATE_WORDS], rest: &[u8]) -> Vec<u8> {
    state.iter().flat_map(|word| word.to_le_bytes()).chain(rest.iter().copied()).collect()
}

impl Drop for Object {
    fn drop(&mut self) {
        if self.shared.lease.check().is_ok() {
            // SAFETY: this object owns the count, and references to its state words borrow this object.
            let closed = unsafe { self.shared.close(&mut self.shared.common(), self.held) };
            // The handle is held by construction; if its word is corrupted, there is nothing to close.
            let _ = closed;
        }
    }
}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Object").field("token", &self.token()).field("kind", &self.kind).finish()
    }
}
