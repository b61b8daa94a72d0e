//! What members do with names.

use crate::error::{CreateError, NotMember, OpenHandleError, UseError};
use crate::handle::{Handle, Raw};
use crate::kind::Kind;
use crate::local::Local;
use crate::member::Member;
use crate::names::Name;
use crate::raw::RawHandle;
use crate::typed::{self, Value};
use tenure_slab::Token;

/// What create-or-open did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named<H> {
    /// Nothing had the name; now this has.
    Created(H),
    /// This had the name.
    Opened(H),
}

impl<H> Named<H> {
    /// Whether it was created by this call.
    #[must_use]
    pub fn is_created(&self) -> bool {
        matches!(self, Self::Created(_))
    }

    /// It, whether created or opened.
    #[must_use]
    pub fn into_inner(self) -> H {
        match self {
            Self::Created(inner) | Self::Opened(inner) => inner,
        }
    }

    /// The same about something made of it.
    pub(crate) fn try_map<I, E>(self, map: impl FnOnce(H) -> Result<I, E>) -> Result<Named<I>, E> {
        Ok(match self {
            Self::Created(inner) => Named::Created(map(inner)?),
            Self::Opened(inner) => Named::Opened(map(inner)?),
        })
    }
}

/// Why something was neither created nor opened by its name. Nothing is held.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NamedError {
    /// Not a member (any more).
    #[error(transparent)]
    NotMember(#[from] NotMember),
    /// Nothing had the name, and nothing was created.
    #[error(transparent)]
    Create(CreateError),
    /// Something has the name and was not opened: it is of another kind, for instance.
    #[error(transparent)]
    Open(OpenHandleError),
}

impl NamedError {
    /// As an error that has each of the causes itself.
    pub(crate) fn into_cause<E: From<NotMember> + From<CreateError> + From<OpenHandleError>>(self) -> E {
        match self {
            Self::NotMember(why) => why.into(),
            Self::Create(why) => why.into(),
            Self::Open(why) => why.into(),
        }
    }
}

impl From<CreateError> for NamedError {
    fn from(error: CreateError) -> Self {
        match error {
            CreateError::NotMember(why) => why.into(),
            other => Self::Create(other),
        }
    }
}

impl From<OpenHandleError> for NamedError {
    fn from(error: OpenHandleError) -> Self {
        match error {
            OpenHandleError::NotMember(why) => why.into(),
            other => Self::Open(other),
        }
    }
}

/// Names. All kinds of objects share one directory, which is a part of the space: a name is 1 to [`NAME_MAX`](crate::NAME_MAX)
/// bytes of UTF-8, compared byte by byte, so that `Queue` and `queue` are two names. It is given at creation and ends with
/// the last holder of what has it, at once, also when that one is killed.
impl Member {
    /// Creates a handle with a name and a typed value.
    ///
    /// # Errors
    ///
    /// [`CreateError::NameTaken`], which tells who has the name; any other [`CreateError`]. Nothing was created.
    ///
    /// # Progress
    ///
    /// Lock-free between processes: it is repeated only when another name has come in through the same bucket. Within one it
    /// may wait for calls on this member without a [`Local`](crate::Local), and for first opens and last closes of handles
    /// of the same stripe.
    ///
    /// # Crash
    ///
    /// At any point: either the handle has the name and is recovered with it, or nothing has.
    pub fn create_named<T: Value>(&self, name: &str, value: &T) -> Result<Handle<T>, CreateError> {
        let bytes = typed::to_bytes(value)?;
        let held = self.shared().create_named(Name::new(name)?, Kind::of::<T>(), &bytes)?;
        Ok(self.hand_out(held, Kind::of::<T>()))
    }

    /// As [`Member::create_named`], with a copy of `bytes`.
    ///
    /// # Errors
    ///
    /// As [`Member::create_named`].
    pub fn create_raw_named(&self, name: &str, kind: Kind, bytes: &[u8]) -> Result<Handle<Raw>, CreateError> {
        kind.to_create()?;
        let held = self.shared().create_named(Name::new(name)?, kind, bytes)?;
        Ok(self.hand_out(held, kind))
    }

    /// Opens what has a name, as a typed value.
    ///
    /// # Errors
    ///
    /// [`OpenHandleError::NoSuchName`]; [`OpenHandleError::ForeignKind`] when something of another kind has the name;
    /// any other [`OpenHandleError`]. Nothing is held.
    ///
    /// # Progress
    ///
    /// Wait-free between processes but for the opening of the handle found, which is that of [`Member::open`].
    ///
    /// # Crash
    ///
    /// As opening a token.
    pub fn open_named<T: Value>(&self, name: &str) -> Result<Handle<T>, OpenHandleError> {
        let held = self.shared().open_named(Name::known(name)?, Kind::of::<T>())?;
        self.hand_out::<T>(held, Kind::of::<T>()).validated()
    }

    /// As [`Member::open_named`], as raw bytes.
    ///
    /// # Errors
    ///
    /// As [`Member::open_named`].
    pub fn open_raw_named(&self, name: &str, kind: Kind) -> Result<Handle<Raw>, OpenHandleError> {
        kind.to_open()?;
        let held = self.shared().open_named(Name::known(name)?, kind)?;
        Ok(self.hand_out(held, kind))
    }

    /// Opens what has a name, or creates a handle with the name and this value, in one step: of any number of processes that
    /// do this at the same time exactly one creates, and all hold the same handle.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let (me, other) = (space.join()?, space.join()?);
    /// let first = me.create_or_open("limit", &7u64)?;
    /// let second = other.create_or_open("limit", &8u64)?; // usually in another process
    /// assert!(first.is_created() && !second.is_created());
    /// assert_eq!(second.into_inner().get()?.to_native(), 7);
    ///
    /// drop(first); // the last one has let go of it: the name is free again
    /// assert!(other.open_named::<u64>("limit").is_err());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`NamedError`]; nothing is held. An error that handles or memory ran out means that nothing had the name afterwards
    /// either: another process that is creating it may have taken the last of them, and is given the time to copy its value.
    ///
    /// # Progress
    ///
    /// As [`Member::create_named`]. When something ran out it waits before it fails, ten milliseconds or more for large values.
    ///
    /// # Crash
    ///
    /// As [`Member::create_named`].
    pub fn create_or_open<T: Value>(&self, name: &str, value: &T) -> Result<Named<Handle<T>>, NamedError> {
        let bytes = typed::to_bytes(value)?;
        match self.shared().create_or_open(Name::new(name)?, Kind::of::<T>(), &bytes)? {
            Named::Created(held) => Ok(Named::Created(self.hand_out(held, Kind::of::<T>()))),
            Named::Opened(held) => Ok(Named::Opened(self.hand_out::<T>(held, Kind::of::<T>()).validated()?)),
        }
    }

    /// As [`Member::create_or_open`], with a copy of `bytes`.
    ///
    /// # Errors
    ///
    /// As [`Member::create_or_open`].
    pub fn create_or_open_raw(
        &self,
        name: &str,
        kind: Kind,
        bytes: &[u8],
    ) -> Result<Named<Handle<Raw>>, NamedError> {
        kind.to_create()?;
        let named = self.shared().create_or_open(Name::new(name)?, kind, bytes)?;
        named.try_map(|held| Ok(self.hand_out(held, kind)))
    }

    /// Kind and token of what has a name. It was held for a moment and is not any more.
    ///
    /// # Errors
    ///
    /// As [`Member::open_named`].
    pub fn look_up(&self, name: &str) -> Result<(Kind, Token), OpenHandleError> {
        self.shared().look_up(Name::known(name)?)
    }
}

/// Names, for callers that close by hand. These wait for the member's calls without a local, as [`Member`]'s do.
impl Local<'_> {
    /// As [`Member::create_raw_named`]; held once by this process.
    ///
    /// # Errors
    ///
    /// As [`Member::create_raw_named`].
    pub fn create_named(&mut self, name: &str, kind: Kind, bytes: &[u8]) -> Result<RawHandle, CreateError> {
        kind.to_create()?;
        self.shared().create_named(Name::new(name)?, kind, bytes)
    }

    /// As [`Member::open_raw_named`]; afterwards this process holds it once more.
    ///
    /// # Errors
    ///
    /// As [`Member::open_raw_named`].
    pub fn open_named(&mut self, name: &str, kind: Kind) -> Result<RawHandle, OpenHandleError> {
        kind.to_open()?;
        self.shared().open_named(Name::known(name)?, kind)
    }

    /// As [`Member::create_or_open_raw`]; afterwards this process holds it once, or once more.
    ///
    /// # Errors
    ///
    /// As [`Member::create_or_open_raw`].
    pub fn create_or_open(
        &mut self,
        name: &str,
        kind: Kind,
        bytes: &[u8],
    ) -> Result<Named<RawHandle>, NamedError> {
        kind.to_create()?;
        self.shared().create_or_open(Name::new(name)?, kind, bytes)
    }
}

impl<T> Handle<T> {
    /// Its name, if it was created with one.
    ///
    /// # Errors
    ///
    /// [`UseError`] after the member left, or in a forked child.
    pub fn name(&self) -> Result<Option<&str>, UseError> {
        self.shared.lease.check()?;
        let bytes = self.shared.name_of(self.held.held);
        Ok(bytes.and_then(|bytes| std::str::from_utf8(bytes).ok()))
    }
}
