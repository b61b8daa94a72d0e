//! Objects that begin with a mutex and go on with data of one type that changes.
//!
//! The words of their payload: 0 to 3 as of a mutex, except that 3 is free for the object; 4 the kind of the type; 5 free for the object;
//! then the data, aligned to 16 bytes.

use std::ptr::NonNull;

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
use crate::state::STATE_WORDS;
use crate::typed::ALIGN;

/// The words before the data.
pub(super) const HEAD_WORDS: usize = STATE_WORDS + 2;
const HEAD_BYTES: usize = HEAD_WORDS * 8;
/// The positions among them.
const TYPE: usize = STATE_WORDS;
pub(super) const FLAGS: usize = STATE_WORDS + 1;

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

/// The payload behind the state words: the kind of the type, zero, `copies` copies of the value, each of `stride` bytes.
fn rest<T: Plain>(value: &[u8], copies: usize, stride: usize) -> Vec<u8> {
    const { assert!(align_of::<T>() <= ALIGN, "values are aligned to at most 16 bytes") };
    let mut rest = vec![0; 16 + copies * stride];
    rest[..8].copy_from_slice(&Kind::of_plain::<T>().number().to_le_bytes());
    rest[16..16 + value.len()].copy_from_slice(value);
    rest
}

/// How an object lays out its data.
pub(super) trait Layout {
    const KIND: Kind;
    const COPIES: usize;
    /// Bytes from one copy to the next.
    const STRIDE: usize;
}

/// Creates the object, with a name or without.
pub(super) fn create<L: Layout, T: Plain>(
    member: &Member,
    name: Option<&str>,
    value: &T,
) -> Result<Mutex, CreateError> {
    let name = name.map(Name::new).transpose()?;
    let rest = rest::<T>(value.as_bytes(), L::COPIES, L::STRIDE);
    let object = Object::create(member, name, L::KIND, Mutex::initial(false), &rest)?;
    Ok(Mutex::counted(object, false))
}

/// Opens the object that has the name, or creates it.
pub(super) fn create_or_open<L: Layout, T: Plain>(
    member: &Member,
    name: &str,
    value: &T,
) -> Result<Named<Mutex>, NamedError> {
    let rest = rest::<T>(value.as_bytes(), L::COPIES, L::STRIDE);
    let named = Object::create_or_open(member, Name::new(name)?, L::KIND, Mutex::initial(false), &rest)?;
    Ok(named.try_map(over::<L, T>)?)
}

pub(super) fn open<L: Layout, T: Plain>(member: &Member, token: Token) -> Result<Mutex, OpenHandleError> {
    over::<L, T>(Object::open(member, L::KIND, token)?)
}

pub(super) fn open_named<L: Layout, T: Plain>(member: &Member, name: &str) -> Result<Mutex, OpenHandleError> {
    over::<L, T>(Object::open_named(member, Name::known(name)?, L::KIND)?)
}

/// Checks the type and the length.
fn over<L: Layout, T: Plain>(object: Object) -> Result<Mutex, OpenHandleError> {
    const { assert!(align_of::<T>() <= ALIGN, "values are aligned to at most 16 bytes") };
    let (expected, found) = (HEAD_BYTES + L::COPIES * L::STRIDE, object.bytes());
    let kind = (found >= HEAD_BYTES).then(|| head(&object)).transpose()?;
    // Relaxed: written before the handle was published, never changed.
    let kind = kind.map(|head| Kind::from_word(head[TYPE].load(std::sync::atomic::Ordering::Relaxed)));
    match kind {
        Some(kind) if kind == Kind::of_plain::<T>() && found == expected => match Mutex::over(object)? {
            // Its owner could have two guards.
            mutex if mutex.is_recursive() => {
                Err(OpenHandleError::Corrupt(format!("a {} with a recursive mutex", L::KIND)))
            }
            mutex => Ok(mutex),
        },
        Some(found) if found != Kind::of_plain::<T>() => {
            Err(OpenHandleError::ForeignKind { expected: Kind::of_plain::<T>(), found })
        }
        _ => Err(OpenHandleError::Corrupt(format!("a {} of {found} bytes, expected {expected}", L::KIND))),
    }
}

/// The words before the data.
///
/// # Errors
///
/// As [`Object::state`].
fn head(object: &Object) -> Result<&[Word; HEAD_WORDS], NotMember> {
    object.state()?;
    // SAFETY: as in `Object::state`; the payload has these words: checked by `over`, or made so by `create`. They are accessed atomically
    // only. The data behind them is not part of the reference.
    Ok(unsafe { object.payload().cast().as_ref() })
}

/// The words before the data, of an object that `create` or `over` has made.
pub(super) fn head_of(mutex: &Mutex) -> Result<&[Word; HEAD_WORDS], NotMember> {
    head(mutex.object())
}

/// The address of copy `copy`. The member that has it mapped is the caller's: see [`Object::state`].
pub(super) fn data_of<L: Layout>(mutex: &Mutex, copy: usize) -> Result<NonNull<u8>, NotMember> {
    mutex.object().state()?;
    let start = mutex.object().payload().cast::<u8>();
    // SAFETY: inside of the payload, whose length `over` has checked.
    Ok(unsafe { start.add(HEAD_BYTES + copy * L::STRIDE) })
}
