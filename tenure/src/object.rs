//! The common lower half of the system's objects: a handle of a system kind, and its state words.
//!
//! A mutex, an event or a process is a handle like any other: opened by token, held by bits, gone with its last holder. What
//! is different is that its payload starts with [`STATE_WORDS`] words that its holders change, by atomic operations only.
//! Whoever touches them holds the handle, so they are never another handle's meanwhile. What may follow them is immutable,
//! except where a kind says otherwise.

use std::fmt;
use std::sync::Arc;

use tenure_core::sync::Word;
use tenure_slab::Token;

use crate::error::{CreateError, NotMember, OpenHandleError};
use crate::kind::Kind;
use crate::member::Member;
use crate::names::{Name, Named, NamedError};
use crate::raw::RawHandle;
use crate::shared::Shared;
use crate::state::{STATE_BYTES, STATE_WORDS, State, state_of};

/// One count of a system object; dropping it gives the count back.
pub struct Object {
    shared: Arc<Shared>,
    held: RawHandle,
    kind: Kind,
}

impl Object {
    /// Creates an object, with a name that nothing has or without one, with these state words, followed by bytes that never
    /// change. Without a name and without any such bytes it lies in the handle's own entry.
    ///
    /// # Errors
    ///
    /// [`CreateError`], for instance [`CreateError::NameTaken`]; nothing was created.
    ///
    /// # Crash
    ///
    /// As a handle's creation: recovery ends what nobody was told of.
    pub(crate) fn create(
        member: &Member,
        name: Option<Name<'_>>,
        kind: Kind,
        state: [u64; STATE_WORDS],
        rest: &[u8],
    ) -> Result<Self, CreateError> {
        member.check()?;
        let (shared, payload) = (member.shared(), payload(state, rest));
        let held = match name {
            None => shared.create(&mut shared.common(), kind, &payload)?,
            Some(name) => shared.create_named(name, kind, &payload)?,
        };
        Ok(Self { shared: Arc::clone(shared), held, kind })
    }

    /// Opens what has a name as an object of `kind`.
    ///
    /// # Errors
    ///
    /// As [`Object::open`], and [`OpenHandleError::NoSuchName`].
    pub(crate) fn open_named(member: &Member, name: Name<'_>, kind: Kind) -> Result<Self, OpenHandleError> {
        Self::checked(member, member.shared().open_named(name, kind)?, kind)
    }

    /// Opens what has a name, or creates it, in one step.
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
        let named = member.shared().create_or_open(name, kind, &payload(state, rest))?;
        Ok(named.try_map(|held| Self::checked(member, held, kind))?)
    }

    /// Opens a token as an object of `kind`.
    ///
    /// # Errors
    ///
    /// [`OpenHandleError`], in particular `Corrupt` when the payload is too short for its state; nothing is held.
    pub(crate) fn open(member: &Member, kind: Kind, token: Token) -> Result<Self, OpenHandleError> {
        Self::checked(member, member.shared().open(kind, token)?, kind)
    }

    fn checked(member: &Member, held: RawHandle, kind: Kind) -> Result<Self, OpenHandleError> {
        let object = Self { shared: Arc::clone(member.shared()), held, kind };
        match state_of(&held) {
            Some(_) => Ok(object),
            // Dropping the object closes it.
            None => {
                Err(OpenHandleError::Corrupt(format!("the state of {object:?} is no {STATE_BYTES} bytes")))
            }
        }
    }

    /// Holds it once more. No shared memory is written.
    ///
    /// # Errors
    ///
    /// [`OpenHandleError`] when this process is no member any more, or holds it too often.
    pub(crate) fn try_clone(&self) -> Result<Self, OpenHandleError> {
        self.shared.lease.check()?;
        self.shared.slab.reopen(self.shared.lease.acquire(), self.shared.ref_counts(), self.held.held)?;
        Ok(Self { shared: Arc::clone(&self.shared), held: self.held, kind: self.kind })
    }

    pub(crate) fn token(&self) -> Token {
        self.held.held.token(&self.shared.slab)
    }

    /// The count that it is.
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

    /// The state words.
    ///
    /// # Errors
    ///
    /// [`NotMember`] after leaving and in a forked child, where they are not mapped.
    #[inline]
    pub(crate) fn state(&self) -> Result<&State, NotMember> {
        self.shared.lease.check()?;
        // Panics: never; it was long enough when the object was made, and the place is private memory.
        Ok(state_of(&self.held).expect("checked when it was opened"))
    }

    /// All words of the payload: the state, and what follows it, for kinds whose holders change that as well.
    ///
    /// # Errors
    ///
    /// As [`Object::state`].
    pub(crate) fn words(&self) -> Result<&[Word], NotMember> {
        self.shared.lease.check()?;
        let payload = self.held.payload();
        // SAFETY: as in `state_of`, whose alignment was checked when it was opened.
        Ok(unsafe { std::slice::from_raw_parts(payload.as_ptr().cast::<Word>(), payload.len() / 8) })
    }
}

/// State, then what never changes.
fn payload(state: [u64; STATE_WORDS], rest: &[u8]) -> Vec<u8> {
    state.iter().flat_map(|word| word.to_le_bytes()).chain(rest.iter().copied()).collect()
}

impl Drop for Object {
    fn drop(&mut self) {
        if self.shared.lease.check().is_ok() {
            // SAFETY: the count is this object's own, and its state words are borrowed from it.
            let closed = unsafe { self.shared.close(&mut self.shared.common(), self.held) };
            // Held by construction; a corrupted word leaves nothing to close.
            let _ = closed;
        }
    }
}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Object").field("token", &self.token()).field("kind", &self.kind).finish()
    }
}
