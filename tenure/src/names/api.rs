//! Names: the calls of members.

use crate::error::{CreateError, NotMember, OpenHandleError, UseError};
use crate::handle::{Handle, Raw};
use crate::kind::Kind;
use crate::local::Local;
use crate::member::Member;
use crate::names::Name;
use crate::raw::{Contents, RawHandle};
#[cfg(feature = "typed")]
use crate::typed::{self, Value};
use tenure_slab::Token;

/// The result of create-or-open.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
/// # let me = space.join()?;
/// match me.create_or_open("limit", &7u64)? {
///     tenure::Named::Created(handle) => println!("{} is the creator's value", handle.get()?),
///     tenure::Named::Opened(handle) => println!("{} was there already", handle.get()?),
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named<H> {
    /// The name was not in use; this handle was created with it.
    Created(H),
    /// This handle had the name, and was opened.
    Opened(H),
}

impl<H> Named<H> {
    /// Whether this call created the handle.
    #[must_use]
    pub fn is_created(&self) -> bool {
        matches!(self, Self::Created(_))
    }

    /// The handle, created or opened.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let handle = me.create_or_open("limit", &7u64)?.into_inner();
    /// assert_eq!(handle.get()?.to_native(), 7);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn into_inner(self) -> H {
        match self {
            Self::Created(inner) | Self::Opened(inner) => inner,
        }
    }

    /// Maps the handle.
    pub(crate) fn try_map<I, E>(self, map: impl FnOnce(H) -> Result<I, E>) -> Result<Named<I>, E> {
        Ok(match self {
            Self::Created(inner) => Named::Created(map(inner)?),
            Self::Opened(inner) => Named::Opened(map(inner)?),
        })
    }
}

/// The reason why create-or-open neither created nor opened. Nothing is held.
///
/// ```
/// # use tenure::{CreateError, NamedError, OpenHandleError};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
/// # let me = space.join()?;
/// let limit = me.create_named("limit", &7u64)?;
/// let other_type = me.create_or_open("limit", &7u32);
/// assert!(matches!(other_type, Err(NamedError::Open(OpenHandleError::ForeignKind { .. }))));
/// let no_name = me.create_or_open("", &7u64);
/// assert!(matches!(no_name, Err(NamedError::Create(CreateError::BadName { found: 0 }))));
/// # drop(limit);
/// # Ok(()) }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NamedError {
    /// The caller is not a member, or no member any more.
    #[error(transparent)]
    NotMember(#[from] NotMember),
    /// The name was not in use, and nothing was created.
    #[error(transparent)]
    Create(CreateError),
    /// The handle that has the name was not opened; for instance because it is of another kind.
    #[error(transparent)]
    Open(OpenHandleError),
}

impl NamedError {
    /// Converts into an error that has each of the causes as a variant.
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

/// Names. All kinds of objects share one directory in the space. A name is 1 to [`NAME_MAX`](crate::NAME_MAX) bytes of UTF-8, compared byte
/// by byte: `Queue` and `queue` are two names. A handle gets its name at creation. The name ends together with the handle: when the last
/// holder closes it or dies.
impl Member {
    /// Creates a handle with a name and a typed value.
    ///
    /// ```
    /// # use tenure::CreateError;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let (me, other) = (space.join()?, space.join()?);
    /// let limit = me.create_named("limit", &7u64)?;
    /// assert_eq!(limit.name()?, Some("limit"));
    /// let Err(CreateError::NameTaken { token }) = other.create_named("limit", &8u64) else { panic!() };
    /// assert_eq!(token, limit.token());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`CreateError::NameTaken`], with the token of the handle that has the name; any other [`CreateError`]. Nothing was created.
    ///
    /// # Progress
    ///
    /// Lock-free between processes: a round is repeated only when another name was inserted through the same bucket. Within one process it
    /// may wait for calls on this member without a [`Local`](crate::Local), and for first opens and last closes of the same
    /// handle.
    ///
    /// # Crash
    ///
    /// At any instruction: either the handle has the name and is recovered with it, or no handle has it.
    #[cfg(feature = "typed")]
    pub fn create_named<T: Value>(&self, name: &str, value: &T) -> Result<Handle<T>, CreateError> {
        let bytes = typed::to_bytes(value)?;
        let held = self.shared().create_named(Name::new(name)?, Kind::of::<T>(), Contents::of(&bytes))?;
        Ok(self.hand_out(held, Kind::of::<T>()))
    }

    /// As [`Member::create_named`], with a copy of `bytes`.
    ///
    /// ```
    /// # use tenure::{CreateError, Kind};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let tea = me.create_raw_named("tea", Kind::raw(1), b"green")?;
    /// assert_eq!(tea.get()?, b"green");
    /// let long = me.create_raw_named(&"x".repeat(256), Kind::raw(1), b"");
    /// assert!(matches!(long, Err(CreateError::BadName { found: 256 })));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Member::create_named`].
    pub fn create_raw_named(&self, name: &str, kind: Kind, bytes: &[u8]) -> Result<Handle<Raw>, CreateError> {
        kind.to_create()?;
        let held = self.shared().create_named(Name::new(name)?, kind, Contents::of(bytes))?;
        Ok(self.hand_out(held, kind))
    }

    /// Opens the handle that has a name, as a typed value.
    ///
    /// ```
    /// # use tenure::OpenHandleError;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let (me, other) = (space.join()?, space.join()?);
    /// let limit = me.create_named("limit", &7u64)?;
    /// let opened = other.open_named::<u64>("limit")?; // usually in another process
    /// assert_eq!(opened.get()?.to_native(), 7);
    /// assert!(matches!(other.open_named::<u64>("Limit"), Err(OpenHandleError::NoSuchName)));
    /// assert!(matches!(other.open_named::<u32>("limit"), Err(OpenHandleError::ForeignKind { .. })));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`OpenHandleError::NoSuchName`]; [`OpenHandleError::ForeignKind`] if a handle of another kind has the name;
    /// any other [`OpenHandleError`]. Nothing is held.
    ///
    /// # Progress
    ///
    /// Wait-free between processes, except for opening the handle found, as [`Member::open`].
    ///
    /// # Crash
    ///
    /// As opening a token.
    #[cfg(feature = "typed")]
    pub fn open_named<T: Value>(&self, name: &str) -> Result<Handle<T>, OpenHandleError> {
        let held = self.shared().open_named(Name::known(name)?, Kind::of::<T>())?;
        self.hand_out::<T>(held, Kind::of::<T>()).validated()
    }

    /// As [`Member::open_named`], as raw bytes.
    ///
    /// ```
    /// # use tenure::Kind;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let (me, other) = (space.join()?, space.join()?);
    /// let tea = me.create_raw_named("tea", Kind::raw(1), b"green")?;
    /// let opened = other.open_raw_named("tea", Kind::raw(1))?; // usually in another process
    /// assert_eq!(opened.get()?, b"green");
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Member::open_named`].
    pub fn open_raw_named(&self, name: &str, kind: Kind) -> Result<Handle<Raw>, OpenHandleError> {
        kind.to_open()?;
        let held = self.shared().open_named(Name::known(name)?, kind)?;
        Ok(self.hand_out(held, kind))
    }

    /// Opens the handle that has a name, or creates one with this value, in one step: of any number of processes that do so at the same time
    /// exactly one creates, and all hold the same handle.
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
    /// drop(first); // the last holder has closed it: the name is free again
    /// assert!(other.open_named::<u64>("limit").is_err());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`NamedError`]; nothing is held. If handles or memory ran out, another process that is creating the same name may have taken the last
    /// of them: this call gives it time to copy its value, and returns the error only if the name is not in use afterwards either.
    ///
    /// # Progress
    ///
    /// As [`Member::create_named`]. If a resource ran out it waits before it fails: 10 ms and 1 ms for each MiB of the value, one second at
    /// most.
    ///
    /// # Crash
    ///
    /// As [`Member::create_named`].
    #[cfg(feature = "typed")]
    pub fn create_or_open<T: Value>(&self, name: &str, value: &T) -> Result<Named<Handle<T>>, NamedError> {
        let bytes = typed::to_bytes(value)?;
        match self.shared().create_or_open(Name::new(name)?, Kind::of::<T>(), Contents::of(&bytes))? {
            Named::Created(held) => Ok(Named::Created(self.hand_out(held, Kind::of::<T>()))),
            Named::Opened(held) => Ok(Named::Opened(self.hand_out::<T>(held, Kind::of::<T>()).validated()?)),
        }
    }

    /// As [`Member::create_or_open`], with a copy of `bytes`.
    ///
    /// ```
    /// # use tenure::Kind;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let (me, other) = (space.join()?, space.join()?);
    /// let first = me.create_or_open_raw("tea", Kind::raw(1), b"green")?;
    /// let second = other.create_or_open_raw("tea", Kind::raw(1), b"black")?; // usually in another process
    /// assert_eq!((first.is_created(), second.is_created()), (true, false));
    /// assert_eq!(second.into_inner().get()?, b"green");
    /// # Ok(()) }
    /// ```
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
        let named = self.shared().create_or_open(Name::new(name)?, kind, Contents::of(bytes))?;
        named.try_map(|held| Ok(self.hand_out(held, kind)))
    }

    /// The kind and the token of the handle that has a name. The call holds the handle only until it returns.
    ///
    /// ```
    /// # use tenure::OpenHandleError;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let (me, other) = (space.join()?, space.join()?);
    /// let limit = me.create_named("limit", &7u64)?;
    /// assert_eq!(other.look_up("limit")?, (limit.kind(), limit.token()));
    /// drop(limit);
    /// assert!(matches!(other.look_up("limit"), Err(OpenHandleError::NoSuchName)));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Member::open_named`].
    pub fn look_up(&self, name: &str) -> Result<(Kind, Token), OpenHandleError> {
        self.shared().look_up(Name::known(name)?)
    }
}

/// Names, for callers that close by hand. As the calls of [`Member`], these calls may wait for other calls of this process that use no
/// local.
impl Local<'_> {
    /// As [`Member::create_raw_named`]; this process holds the handle once.
    ///
    /// ```
    /// # use tenure::{CreateError, Kind};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let mut local = me.local();
    /// let held = local.create_named("tea", Kind::raw(1), b"green")?;
    /// let again = local.create_named("tea", Kind::raw(1), b"black");
    /// assert!(matches!(again, Err(CreateError::NameTaken { .. })));
    /// # let _ = held;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Member::create_raw_named`].
    pub fn create_named(&mut self, name: &str, kind: Kind, bytes: &[u8]) -> Result<RawHandle, CreateError> {
        kind.to_create()?;
        self.shared().create_named(Name::new(name)?, kind, Contents::of(bytes))
    }

    /// As [`Member::open_raw_named`]; this process holds the handle once more.
    ///
    /// ```
    /// # use tenure::Kind;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let (me, other) = (space.join()?, space.join()?);
    /// let tea = me.create_raw_named("tea", Kind::raw(1), b"green")?;
    /// let mut local = other.local();
    /// let opened = local.open_named("tea", Kind::raw(1))?; // usually in another process
    /// // SAFETY: held until the `close`, which is the only one of this count.
    /// unsafe {
    ///     assert_eq!(local.get(&opened)?, b"green");
    ///     local.close(opened)?;
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Member::open_raw_named`].
    pub fn open_named(&mut self, name: &str, kind: Kind) -> Result<RawHandle, OpenHandleError> {
        kind.to_open()?;
        self.shared().open_named(Name::known(name)?, kind)
    }

    /// As [`Member::create_or_open_raw`]; this process holds the handle once, or once more.
    ///
    /// ```
    /// # use tenure::Kind;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let mut local = me.local();
    /// let first = local.create_or_open("tea", Kind::raw(1), b"green")?;
    /// let second = local.create_or_open("tea", Kind::raw(1), b"black")?; // a second count
    /// assert_eq!((first.is_created(), second.is_created()), (true, false));
    /// # Ok(()) }
    /// ```
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
        self.shared().create_or_open(Name::new(name)?, kind, Contents::of(bytes))
    }
}

impl<T> Handle<T> {
    /// The name of the handle; `None` if it was created without one.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// assert_eq!(me.create_named("limit", &7u64)?.name()?, Some("limit"));
    /// assert_eq!(me.create(&7u64)?.name()?, None);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`UseError`] after the member has left, or in a forked child.
    pub fn name(&self) -> Result<Option<&str>, UseError> {
        self.shared.lease.check()?;
        let bytes = self.shared.name_of(self.held.held);
        Ok(bytes.and_then(|bytes| std::str::from_utf8(bytes).ok()))
    }
}
