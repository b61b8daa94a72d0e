//! Objects that begin with a mutex and go on with data of one type that changes.
//!
//! The words of their payload: 0 to 2 as of a mutex; 3 is the object's own; 4 the kind of the type; 5 the length of the value in bytes; then
//! the copies of the value, each aligned to 16 bytes.

use std::alloc;
use std::ptr::NonNull;
use std::sync::atomic::Ordering;

use tenure_core::sync::Word;
use tenure_slab::Token;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::mutex::Mutex;
use super::source::Source as _;
use crate::error::{CreateError, NotMember, OpenHandleError};
use crate::kind::Kind;
use crate::member::Member;
use crate::names::{Name, Named, NamedError};
use crate::object::Object;
use crate::raw::{ALIGN, Contents};
use crate::state::STATE_WORDS;

/// The words before the data.
pub(super) const HEAD_WORDS: usize = STATE_WORDS + 2;
const HEAD_BYTES: usize = HEAD_WORDS * 8;
/// The positions among them. The first is the object's own.
pub(super) const OWN: usize = STATE_WORDS - 1;
const TYPE: usize = STATE_WORDS;
const LEN: usize = STATE_WORDS + 1;

/// Plain data: any bytes are a value, it has no padding, no pointers and no cells. All types that derive zerocopy's `FromBytes`, `IntoBytes`
/// and `Immutable` are.
///
/// A value of [`Locked`](crate::Locked) or [`Versioned`](crate::Versioned) is plain because its owner may be killed in the middle of a
/// change: whatever bytes are left must still be a value.
///
/// ```
/// # use tenure::Locked;
/// use zerocopy::{FromBytes, Immutable, IntoBytes};
///
/// #[derive(FromBytes, IntoBytes, Immutable)]
/// #[repr(C)]
/// struct Account {
///     balance: i64,
///     transfers: u64,
/// }
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
/// # let me = space.join()?;
/// let account = Locked::create(&me, &Account { balance: 10, transfers: 0 })?;
/// account.lock()?.balance -= 3;
/// # assert_eq!(account.lock()?.balance, 7);
/// # Ok(()) }
/// ```
pub trait Plain: FromBytes + IntoBytes + Immutable + Send + 'static {}

impl<T: FromBytes + IntoBytes + Immutable + Send + 'static> Plain for T {}

/// The kind of a plain type. Values are aligned as payloads are.
pub(super) fn kind_of<T: Plain>() -> Kind {
    const { assert!(align_of::<T>() <= ALIGN, "values are aligned to at most 16 bytes") };
    Kind::of_plain::<T>()
}

/// How an object lays out its data.
#[derive(Clone, Copy)]
pub(super) struct Layout {
    pub(super) kind: Kind,
    pub(super) copies: usize,
}

impl Layout {
    /// Bytes from one copy of `len` bytes to the next.
    pub(super) const fn stride(len: usize) -> usize {
        len.next_multiple_of(ALIGN)
    }

    /// Bytes of the payload.
    fn bytes(self, len: usize) -> Option<usize> {
        len.checked_next_multiple_of(ALIGN)?.checked_mul(self.copies)?.checked_add(HEAD_BYTES)
    }

    /// The payload: the state words, the kind of the type, the length, and the copies, the first of which is the value. What is missing in
    /// the bytes is zero.
    fn payload(self, of: Kind, value: Initial<'_>) -> Result<(Vec<u8>, alloc::Layout), CreateError> {
        let len = value.len();
        let bytes = self.bytes(len).and_then(|bytes| alloc::Layout::from_size_align(bytes, ALIGN).ok());
        let layout = bytes.ok_or_else(|| crate::local::too_large(len))?;
        let words = [of.number(), len as u64];
        let words = Mutex::initial(false).into_iter().chain(words).flat_map(u64::to_le_bytes);
        let value = if let Initial::Bytes(bytes) = value { bytes } else { &[] };
        Ok((words.chain(value.iter().copied()).collect(), layout))
    }
}

/// The initial bytes of a [`Locked`](crate::Locked) or [`Versioned`](crate::Versioned) value of bytes.
///
/// ```
/// # use tenure::{Initial, Kind, Locked};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
/// # let me = space.join()?;
/// let text = Locked::create_raw(&me, Kind::raw(7), b"tea")?;
/// let large = Locked::create_raw(&me, Kind::raw(8), Initial::Zeros(100_000))?;
/// assert_eq!((&text.lock()?[..], large.lock()?.len()), (&b"tea"[..], 100_000));
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Initial<'a> {
    /// A copy of these.
    Bytes(&'a [u8]),
    /// As many zeros.
    Zeros(usize),
}

impl<'a> From<&'a [u8]> for Initial<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::Bytes(bytes)
    }
}

impl<'a, const N: usize> From<&'a [u8; N]> for Initial<'a> {
    fn from(bytes: &'a [u8; N]) -> Self {
        Self::Bytes(bytes)
    }
}

impl Initial<'_> {
    fn len(self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Zeros(len) => len,
        }
    }
}

/// An object with a mutex and data.
pub(super) struct Data {
    pub(super) mutex: Mutex,
    /// Bytes of the value.
    pub(super) len: usize,
}

impl Data {
    /// Creates the object, with a name or without.
    pub(super) fn create(
        member: &Member,
        name: Option<&str>,
        layout: Layout,
        of: Kind,
        value: Initial<'_>,
    ) -> Result<Self, CreateError> {
        let name = name.map(Name::new).transpose()?;
        let (bytes, all) = layout.payload(of, value)?;
        let object = Object::create_from(member, name, layout.kind, Contents { bytes: &bytes, layout: all })?;
        object.just_created(|object| Self::over(object, layout, of))
    }

    /// Opens the object that has the name, or creates it.
    pub(super) fn create_or_open(
        member: &Member,
        name: &str,
        layout: Layout,
        of: Kind,
        value: Initial<'_>,
    ) -> Result<Named<Self>, NamedError> {
        let (name, (bytes, all)) = (Name::new(name)?, layout.payload(of, value)?);
        let contents = Contents { bytes: &bytes, layout: all };
        let named = Object::create_or_open_from(member, name, layout.kind, contents)?;
        Ok(named.try_map(|object| Self::over(object, layout, of))?)
    }

    pub(super) fn open(
        member: &Member,
        token: Token,
        layout: Layout,
        of: Kind,
    ) -> Result<Self, OpenHandleError> {
        Self::over(Object::open(member, layout.kind, token)?, layout, of)
    }

    pub(super) fn open_named(
        member: &Member,
        name: &str,
        layout: Layout,
        of: Kind,
    ) -> Result<Self, OpenHandleError> {
        Self::over(Object::open_named(member, Name::known(name)?, layout.kind)?, layout, of)
    }

    /// Checks the type and the length.
    fn over(object: Object, layout: Layout, of: Kind) -> Result<Self, OpenHandleError> {
        let bytes = object.bytes();
        let corrupt = || OpenHandleError::Corrupt(format!("a {} of {bytes} bytes", layout.kind));
        if bytes < HEAD_BYTES {
            return Err(corrupt());
        }
        let head = head(&object)?;
        // Relaxed, both: written before the handle was published, never changed.
        let found = Kind::from_number(head[TYPE].load(Ordering::Relaxed));
        let len = usize::try_from(head[LEN].load(Ordering::Relaxed)).unwrap_or(usize::MAX);
        if found != of {
            return Err(OpenHandleError::ForeignKind { expected: of, found });
        }
        if layout.bytes(len) != Some(bytes) {
            return Err(corrupt());
        }
        Ok(Self { mutex: Mutex::over_one_guard(object)?, len })
    }

    /// Checks the length, which is that of the type unless the words are corrupted.
    pub(super) fn sized<T>(self) -> Result<Self, OpenHandleError> {
        if self.len == size_of::<T>() {
            return Ok(self);
        }
        Err(OpenHandleError::Corrupt(format!("a value of {} bytes, expected {}", self.len, size_of::<T>())))
    }

    pub(super) fn try_clone(&self) -> Result<Self, OpenHandleError> {
        Ok(Self { mutex: self.mutex.try_clone()?, len: self.len })
    }

    /// The words before the data.
    pub(super) fn head(&self) -> Result<&[Word; HEAD_WORDS], NotMember> {
        head(self.mutex.object())
    }

    /// The words before the data, and the address of the value, or of its first copy. The member that has it mapped is the caller's: see
    /// [`Object::state`].
    #[inline(always)]
    pub(super) fn parts(&self) -> Result<(&[Word; HEAD_WORDS], NonNull<u8>), NotMember> {
        let object = self.mutex.object();
        let head = head(object)?;
        // SAFETY: inside of the payload, or at its end.
        Ok((head, unsafe { object.payload().add(HEAD_BYTES) }))
    }
}

/// The words before the data.
///
/// # Errors
///
/// As [`Object::state`].
#[inline(always)]
fn head(object: &Object) -> Result<&[Word; HEAD_WORDS], NotMember> {
    object.state()?;
    // SAFETY: as in `Object::state`; the payload has these words: checked by `over`, or made so by `create`. They are accessed atomically
    // only. The data behind them is not part of the reference.
    Ok(unsafe { object.payload().cast().as_ref() })
}
