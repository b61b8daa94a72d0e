//! Where something is created, and which one is opened.

use tenure_slab::Token;

use crate::error::CreateError;
use crate::handle::{Handle, Raw};
use crate::kind::Kind;
use crate::member::Member;
#[cfg(feature = "objects")]
use crate::raw::Contents;
#[cfg(feature = "typed")]
use crate::typed::{self, Value};

/// Where something is created: by a member, without a name or, as [`Member::named`] says, with one that is not in use. `&Member` is a place
/// without a name.
///
/// ```
/// # use tenure::{error::CreateError, sync::Mutex};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
/// # let me = space.join()?;
/// let private = Mutex::create(&me)?; // others find it by its token
/// let public = Mutex::create(me.named("queue"))?;
/// assert_eq!(Mutex::open(&me, "queue")?.token(), public.token());
/// let again = Mutex::create(me.named("queue"));
/// assert!(matches!(again, Err(CreateError::NameTaken { token }) if token == public.token()));
/// # drop(private);
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    pub(crate) member: &'a Member,
    #[cfg(feature = "objects")]
    name: Option<&'a str>,
}

impl<'a> From<&'a Member> for Place<'a> {
    fn from(member: &'a Member) -> Self {
        Self {
            member,
            #[cfg(feature = "objects")]
            name: None,
        }
    }
}

impl Place<'_> {
    /// Creates a handle at this place, otherwise as [`Member::create`].
    ///
    /// # Errors
    ///
    /// [`CreateError::NameTaken`], with the token of the handle that has the name; any other [`CreateError`]. Nothing was created.
    ///
    /// # Progress
    ///
    /// As [`Member::create`]. With a name, a round is repeated when another name was inserted through the same bucket.
    ///
    /// # Crash
    ///
    /// At any instruction: either the handle has the name and is recovered with it, or no handle has it.
    #[cfg(feature = "typed")]
    pub fn create<T: Value>(self, value: &T) -> Result<Handle<T>, CreateError> {
        self.create_as(Kind::of::<T>(), value)
    }

    /// Creates a handle at this place, otherwise as [`Member::create_as`].
    ///
    /// # Errors
    ///
    /// As [`Place::create`]; [`CreateError::SystemKind`] for a kind of the system's own objects.
    #[cfg(feature = "typed")]
    pub fn create_as<T: Value>(self, kind: Kind, value: &T) -> Result<Handle<T>, CreateError> {
        self.handle(kind, &typed::to_bytes(value)?)
    }

    /// Creates a handle at this place, otherwise as [`Member::create_raw`].
    ///
    /// ```
    /// # use tenure::{error::CreateError, Kind};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let tea = me.named("tea").create_raw(Kind::raw(1), b"green")?;
    /// assert_eq!(me.open_raw(Kind::raw(1), "tea")?.get()?, b"green");
    /// let long = me.named(&"x".repeat(256)).create_raw(Kind::raw(1), b"");
    /// assert!(matches!(long, Err(CreateError::BadName { found: 256 })));
    /// # drop(tea);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Place::create`]; [`CreateError::SystemKind`] for a kind of the system's own objects.
    pub fn create_raw(self, kind: Kind, bytes: &[u8]) -> Result<Handle<Raw>, CreateError> {
        self.handle(kind, bytes)
    }

    fn handle<T>(self, kind: Kind, bytes: &[u8]) -> Result<Handle<T>, CreateError> {
        let shared = self.member.shared();
        // Before the lock: in a forked child the lock may be held by a thread that does not exist there.
        shared.lease.check()?;
        kind.to_create()?;
        #[cfg(feature = "objects")]
        if let Some(name) = self.name()? {
            let held = shared.create_named(name, kind, Contents::of(bytes))?;
            return Ok(self.member.hand_out(held, kind));
        }
        let held = shared.create(&mut shared.common(), kind, bytes)?;
        Ok(self.member.hand_out(held, kind))
    }
}

/// Which one is opened: the one of a token, or the one that has a name. A [`Token`] and a `&str` are keys.
///
/// ```
/// # use tenure::sync::Event;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
/// # let (me, other) = (space.join()?, space.join()?);
/// let go = Event::create(me.named("go"), tenure::sync::Reset::Manual)?;
/// let by_name = Event::open(&other, "go")?; // usually in another process
/// let by_token = Event::open(&other, go.token())?;
/// assert_eq!(by_name.token(), by_token.token());
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Key<'a> {
    /// The handle of a token.
    Token(Token),
    /// The handle that has the name.
    #[cfg(feature = "objects")]
    Name(&'a str),
    /// None: a lifetime needs a use, also without names.
    #[cfg(not(feature = "objects"))]
    #[doc(hidden)]
    Never(std::convert::Infallible, std::marker::PhantomData<&'a str>),
}

impl From<Token> for Key<'_> {
    fn from(token: Token) -> Self {
        Self::Token(token)
    }
}

#[cfg(feature = "objects")]
mod named {
    use super::{Key, Place};
    use crate::error::CreateError;
    use crate::member::Member;
    use crate::names::Name;

    impl Member {
        /// The place for something that gets a name: 1 to [`NAME_MAX`](crate::NAME_MAX) bytes, compared byte by byte.
        ///
        /// ```
        /// # use tenure::error::CreateError;
        /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
        /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
        /// # let (me, other) = (space.join()?, space.join()?);
        /// let limit = me.named("limit").create(&7u64)?;
        /// assert_eq!(limit.name()?, Some("limit"));
        /// let Err(CreateError::NameTaken { token }) = other.named("limit").create(&8u64) else { panic!() };
        /// assert_eq!(token, limit.token());
        /// # Ok(()) }
        /// ```
        #[must_use]
        pub fn named<'a>(&'a self, name: &'a str) -> Place<'a> {
            Place { member: self, name: Some(name) }
        }
    }

    impl<'a> Place<'a> {
        pub(crate) fn name(&self) -> Result<Option<Name<'a>>, CreateError> {
            self.name.map(Name::new).transpose()
        }
    }

    impl<'a> From<&'a str> for Key<'a> {
        fn from(name: &'a str) -> Self {
            Self::Name(name)
        }
    }

    impl<'a> From<&'a String> for Key<'a> {
        fn from(name: &'a String) -> Self {
            Self::Name(name)
        }
    }
}
