//! Values made of atomics, which all holders change at any time.
//!
//! The words of their payload: 0 the kind of the type, 1 the length of the value in bytes, 2 its alignment, 3 zero; then the value, at the
//! first multiple of its alignment.

use std::alloc::Layout;
use std::fmt;
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::slice;
use std::sync::atomic::{
    AtomicI8, AtomicI16, AtomicI32, AtomicI64, AtomicIsize, AtomicU8, AtomicU16, AtomicU32, AtomicU64,
    AtomicUsize, Ordering,
};

use tenure_slab::Token;

use crate::error::{CreateError, NotMember, OpenHandleError};
use crate::kind::Kind;
use crate::member::Member;
use crate::names::{Name, Named, NamedError};
use crate::object::Object;
use crate::raw::{ALIGN, Contents};
use crate::state::{STATE_BYTES, STATE_WORDS};

/// A type made of atomics: the integers of [`std::sync::atomic`], arrays of such types, and the structs of
/// [`made_of_atomics!`](crate::made_of_atomics).
///
/// # Safety
///
/// Any bytes are a value of the type, in particular zeros, and also bytes that another process stores at any time. Whatever safe code does
/// with a reference to the value, it accesses its bytes by atomic operations only; it takes no address and no thread's number from them.
pub unsafe trait Atomics: Sync + 'static {}

macro_rules! atomics {
    ($($atomic:ty),*) => {
        $(
            // SAFETY: any bytes are an integer; its methods that take a reference are atomic.
            unsafe impl Atomics for $atomic {}
        )*
    };
}

atomics!(
    AtomicU8,
    AtomicU16,
    AtomicU32,
    AtomicU64,
    AtomicUsize,
    AtomicI8,
    AtomicI16,
    AtomicI32,
    AtomicI64,
    AtomicIsize
);

// SAFETY: its elements are such values, and it has nothing between them.
unsafe impl<T: Atomics, const N: usize> Atomics for [T; N] {}

/// Defines a struct that is made of atomics, for [`Shared`]: each field is an integer of [`std::sync::atomic`], another such struct, or an
/// array of such types. The struct is `#[repr(C)]`.
///
/// ```
/// use std::sync::atomic::{AtomicU32, AtomicU64};
///
/// tenure::made_of_atomics! {
///     /// Counters.
///     pub struct Counters {
///         hits: AtomicU64,
///         pub by_size: [AtomicU32; 16],
///     }
/// }
/// ```
///
/// Other fields do not compile:
///
/// ```compile_fail
/// tenure::made_of_atomics! {
///     struct Counters {
///         hits: u64,
///     }
/// }
/// ```
#[macro_export]
macro_rules! made_of_atomics {
    (
        $(#[$attribute:meta])*
        $visibility:vis struct $name:ident {
            $($(#[$of_field:meta])* $field_visibility:vis $field:ident: $type:ty),* $(,)?
        }
    ) => {
        $(#[$attribute])*
        #[repr(C)]
        $visibility struct $name {
            $($(#[$of_field])* $field_visibility $field: $type),*
        }

        // SAFETY: all fields are such types, and nobody accesses what is between them.
        unsafe impl $crate::Atomics for $name where $($type: $crate::Atomics),* {}
    };
}

/// A value made of [atomics](Atomics) that processes share: all of them have a `&T` and change it at any time, without a lock. It is created
/// with all bytes zero, and lives as long as somebody holds it.
///
/// ```
/// # use tenure::Shared;
/// use std::sync::atomic::{AtomicU64, Ordering};
///
/// tenure::made_of_atomics! {
///     struct Counters {
///         requests: AtomicU64,
///         by_worker: [AtomicU64; 64],
///     }
/// }
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
/// # let (me, other) = (space.join()?, space.join()?);
/// let counters = Shared::<Counters>::create(&me)?;
/// let theirs = Shared::<Counters>::open(&other, counters.token())?; // usually in another process
/// theirs.get()?.by_worker[7].fetch_add(1, Ordering::Relaxed);
/// assert_eq!(counters.get()?.by_worker[7].load(Ordering::Relaxed), 1);
/// # Ok(()) }
/// ```
///
/// The program ensures that what it stores makes sense when its process dies between two stores; for more than one word there are
/// [`Locked`](crate::Locked) and [`Versioned`](crate::Versioned). A member that only [reads](crate::Options::read_only) opens none: every `&T`
/// can store.
///
/// `Shared<[AtomicU8]>` is for bytes of any length and alignment, which programs in other languages share: its [`Kind`] is a number of the
/// application's choice.
pub struct Shared<T: ?Sized> {
    object: Object,
    data: NonNull<u8>,
    len: usize,
    value: PhantomData<fn(&T)>,
}

// SAFETY: an object, and the address of atomics that all threads may use.
unsafe impl<T: ?Sized> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T: ?Sized> Sync for Shared<T> {}

/// The layout of the payload, and the position of the value in it.
fn payload_of(layout: Layout) -> Option<(Layout, usize)> {
    let head = Layout::from_size_align(STATE_BYTES, ALIGN).ok()?;
    head.extend(layout).ok()
}

impl<T: ?Sized> Shared<T> {
    fn create_of(
        member: &Member,
        name: Option<&str>,
        kind: Kind,
        layout: Layout,
    ) -> Result<Self, CreateError> {
        let name = name.map(Name::new).transpose()?;
        let object = Self::with_contents(kind, layout, |contents| {
            Object::create_from(member, name, Kind::SHARED, contents)
        })??;
        object.just_created(|object| Self::checked(object, kind, Some(layout)))
    }

    fn create_or_open_of(
        member: &Member,
        name: &str,
        kind: Kind,
        layout: Layout,
        expected: Option<Layout>,
    ) -> Result<Named<Self>, NamedError> {
        let name = Name::new(name)?;
        let named = Self::with_contents(kind, layout, |contents| {
            Object::create_or_open_from(member, name, Kind::SHARED, contents)
        })??;
        Ok(named.try_map(|object| Self::checked(object, kind, expected))?)
    }

    fn with_contents<R>(
        kind: Kind,
        layout: Layout,
        create: impl FnOnce(Contents<'_>) -> R,
    ) -> Result<R, CreateError> {
        let words: [u64; STATE_WORDS] = [kind.number(), layout.size() as u64, layout.align() as u64, 0];
        let head: Vec<u8> = words.into_iter().flat_map(u64::to_le_bytes).collect();
        let (all, _) = payload_of(layout).ok_or_else(|| crate::local::too_large(layout.size()))?;
        Ok(create(Contents { bytes: &head, layout: all }))
    }

    /// Checks the type, the length and the place. `expected` is the layout of the type.
    fn checked(object: Object, kind: Kind, expected: Option<Layout>) -> Result<Self, OpenHandleError> {
        object.shared().check_writer()?;
        let state = object.state()?;
        // Relaxed: written before the handle was published, never changed.
        let word = |at: usize| state[at].load(Ordering::Relaxed);
        let found = Kind::from_number(word(0));
        if found != kind {
            return Err(OpenHandleError::ForeignKind { expected: kind, found });
        }
        let number = |at| usize::try_from(word(at)).unwrap_or(usize::MAX);
        let layout = Layout::from_size_align(number(1), number(2)).ok();
        let place = layout.filter(|layout| expected.is_none_or(|expected| expected == *layout));
        let place = place.and_then(|layout| Some((layout, payload_of(layout)?)));
        if let Some((layout, (all, at))) = place
            && all.size() == object.bytes()
        {
            // SAFETY: inside of the payload, or at its end.
            let data = unsafe { object.payload().add(at) };
            if data.addr().get().is_multiple_of(layout.align()) {
                return Ok(Self { object, data, len: layout.size(), value: PhantomData });
            }
        }
        Err(OpenHandleError::Corrupt(format!("a {} of {} bytes", Kind::SHARED, object.bytes())))
    }

    /// Opens the same handle once more.
    ///
    /// # Errors
    ///
    /// [`OpenHandleError`].
    pub fn try_clone(&self) -> Result<Self, OpenHandleError> {
        let Self { data, len, .. } = *self;
        Ok(Self { object: self.object.try_clone()?, data, len, value: PhantomData })
    }

    /// The token: 64 bits to pass to other processes.
    #[must_use]
    pub fn token(&self) -> Token {
        self.object.token()
    }
}

impl<T: Atomics> Shared<T> {
    fn kind() -> Kind {
        Kind::named_and_shaped::<T, T>()
    }

    /// Creates one with all bytes zero.
    ///
    /// # Errors
    ///
    /// [`CreateError`]; nothing was created.
    pub fn create(member: &Member) -> Result<Self, CreateError> {
        Self::create_of(member, None, Self::kind(), Layout::new::<T>())
    }

    /// Creates one with a name that is not in use; see [`Member::create_named`].
    ///
    /// # Errors
    ///
    /// [`CreateError`], for instance [`CreateError::NameTaken`]; nothing was created.
    pub fn create_named(member: &Member, name: &str) -> Result<Self, CreateError> {
        Self::create_of(member, Some(name), Self::kind(), Layout::new::<T>())
    }

    /// Opens the one that has the name, or creates it, in one step; see [`Member::create_or_open`].
    ///
    /// # Errors
    ///
    /// [`NamedError`]; nothing is held.
    pub fn create_or_open(member: &Member, name: &str) -> Result<Named<Self>, NamedError> {
        let layout = Layout::new::<T>();
        Self::create_or_open_of(member, name, Self::kind(), layout, Some(layout))
    }

    /// Opens a token.
    ///
    /// # Errors
    ///
    /// [`OpenHandleError`], for instance [`OpenHandleError::ForeignKind`] if it is no such value or one of another type, or
    /// [`OpenHandleError::ReadOnly`]; nothing is held.
    pub fn open(member: &Member, token: Token) -> Result<Self, OpenHandleError> {
        let object = Object::open(member, Kind::SHARED, token)?;
        Self::checked(object, Self::kind(), Some(Layout::new::<T>()))
    }

    /// Opens the one that has the name.
    ///
    /// # Errors
    ///
    /// As [`Shared::open`], and [`OpenHandleError::NoSuchName`].
    pub fn open_named(member: &Member, name: &str) -> Result<Self, OpenHandleError> {
        let object = Object::open_named(member, Name::known(name)?, Kind::SHARED)?;
        Self::checked(object, Self::kind(), Some(Layout::new::<T>()))
    }

    /// The value, in place.
    ///
    /// # Errors
    ///
    /// [`NotMember`] after the member has left, and in a forked child, where the value is not mapped.
    #[inline]
    pub fn get(&self) -> Result<&T, NotMember> {
        self.object.state()?;
        // SAFETY: mapped, since this process is the member, for as long as the object is held; as long and as aligned as `checked` has found;
        // any bytes are a `T`, which peers change by atomic operations.
        Ok(unsafe { self.data.cast().as_ref() })
    }
}

impl Shared<[AtomicU8]> {
    /// Creates one of a kind, with as many zeros as the layout has, aligned as it says.
    ///
    /// ```
    /// # use std::alloc::Layout;
    /// # use std::sync::atomic::Ordering;
    /// # use tenure::{Kind, Shared};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let page = Shared::create_raw(&me, Kind::raw(7), Layout::from_size_align(4096, 4096)?)?;
    /// assert!(page.get()?.iter().all(|byte| byte.load(Ordering::Relaxed) == 0));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Shared::create`].
    pub fn create_raw(member: &Member, kind: Kind, layout: Layout) -> Result<Self, CreateError> {
        Self::create_of(member, None, kind, layout)
    }

    /// As [`Shared::create_named`], of a kind and a layout.
    ///
    /// # Errors
    ///
    /// As [`Shared::create_named`].
    pub fn create_raw_named(
        member: &Member,
        name: &str,
        kind: Kind,
        layout: Layout,
    ) -> Result<Self, CreateError> {
        Self::create_of(member, Some(name), kind, layout)
    }

    /// As [`Shared::create_or_open`], of a kind. One that is opened has the layout that it was created with.
    ///
    /// # Errors
    ///
    /// As [`Shared::create_or_open`].
    pub fn create_or_open_raw(
        member: &Member,
        name: &str,
        kind: Kind,
        layout: Layout,
    ) -> Result<Named<Self>, NamedError> {
        Self::create_or_open_of(member, name, kind, layout, None)
    }

    /// As [`Shared::open`], if it is of the kind.
    ///
    /// # Errors
    ///
    /// As [`Shared::open`].
    pub fn open_raw(member: &Member, kind: Kind, token: Token) -> Result<Self, OpenHandleError> {
        Self::checked(Object::open(member, Kind::SHARED, token)?, kind, None)
    }

    /// As [`Shared::open_named`], if it is of the kind.
    ///
    /// # Errors
    ///
    /// As [`Shared::open_named`].
    pub fn open_raw_named(member: &Member, name: &str, kind: Kind) -> Result<Self, OpenHandleError> {
        Self::checked(Object::open_named(member, Name::known(name)?, Kind::SHARED)?, kind, None)
    }

    /// The length in bytes, which never changes.
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "no container")]
    pub fn len(&self) -> usize {
        self.len
    }

    /// The bytes, in place.
    ///
    /// # Errors
    ///
    /// As for other types.
    pub fn get(&self) -> Result<&[AtomicU8], NotMember> {
        self.object.state()?;
        // SAFETY: as above; as long as `checked` has found.
        Ok(unsafe { slice::from_raw_parts(self.data.as_ptr().cast(), self.len) })
    }
}

impl<T: ?Sized> crate::slots::sealed::Keep for Shared<T> {
    fn count(&self) -> crate::slots::sealed::Count<'_> {
        self.object.count()
    }
}

impl<T: ?Sized> fmt::Debug for Shared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("token", &self.token()).finish_non_exhaustive()
    }
}
