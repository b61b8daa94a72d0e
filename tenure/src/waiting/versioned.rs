//! A value in two copies with a version. The crate `tenure-wait` has the protocol.

use std::fmt;
use std::marker::PhantomData;
use std::slice;

use tenure_core::sync::Word;
use tenure_slab::Token;
use tenure_wait::versioned;

use super::error::WaitError;
use super::mutex::Mutex;
use super::plain::{self, Plain, data_of, head_of};
use super::source::Source as _;
use crate::error::{CreateError, NotMember, OpenHandleError};
use crate::kind::Kind;
use crate::member::Member;
use crate::names::{Named, NamedError};
use crate::typed::ALIGN;

/// The state word that is the version.
const VERSION: usize = 3;

/// A value that processes read and replace: every read returns one whole value, whatever becomes of the writers.
///
/// The value lies in two copies. A writer writes the copy that is not read, and then makes it the current one, by one store. A writer that is
/// killed in the middle leaves the old value; a writer that is stopped in the middle keeps other writers waiting, but no reader.
///
/// ```
/// # use tenure::Versioned;
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
/// # let (me, other) = (space.join()?, space.join()?);
/// let position = Versioned::create(&me, &[0.0f64; 3])?;
/// let theirs = Versioned::<[f64; 3]>::open(&other, position.token())?; // usually in another process
/// position.write(&[1.0, 2.0, 3.0])?;
/// assert_eq!((theirs.read()?, theirs.version()?), ([1.0, 2.0, 3.0], 1));
/// # Ok(()) }
/// ```
///
/// # Progress
///
/// `read` is lock-free: it is repeated only when a writer has finished meanwhile. `write` and `update` wait for other writers, as
/// [`Mutex::lock`] waits for its owner.
///
/// # Crash
///
/// A writer that is killed at any instruction has written nothing or everything.
pub struct Versioned<T> {
    /// Of the writers.
    mutex: Mutex,
    value: PhantomData<fn() -> T>,
}

/// Two copies of whole words.
struct Two<T>(PhantomData<T>);

impl<T> plain::Layout for Two<T> {
    const KIND: Kind = Kind::VERSIONED;
    const COPIES: usize = 2;
    const STRIDE: usize = size_of::<T>().next_multiple_of(ALIGN);
}

impl<T: Plain> Versioned<T> {
    fn over(mutex: Mutex) -> Self {
        Self { mutex, value: PhantomData }
    }

    /// Creates it with a copy of `value`, which is version 0.
    ///
    /// # Errors
    ///
    /// [`CreateError`]; nothing was created.
    pub fn create(member: &Member, value: &T) -> Result<Self, CreateError> {
        plain::create::<Two<T>, T>(member, None, value).map(Self::over)
    }

    /// Creates it with a name that is not in use; see [`Member::create_named`].
    ///
    /// # Errors
    ///
    /// [`CreateError`], for instance [`CreateError::NameTaken`]; nothing was created.
    pub fn create_named(member: &Member, name: &str, value: &T) -> Result<Self, CreateError> {
        plain::create::<Two<T>, T>(member, Some(name), value).map(Self::over)
    }

    /// Opens the one that has the name, or creates it with a copy of `value`, in one step; see [`Member::create_or_open`].
    ///
    /// # Errors
    ///
    /// [`NamedError`]; nothing is held.
    pub fn create_or_open(member: &Member, name: &str, value: &T) -> Result<Named<Self>, NamedError> {
        plain::create_or_open::<Two<T>, T>(member, name, value)?.try_map(|mutex| Ok(Self::over(mutex)))
    }

    /// Opens a token.
    ///
    /// # Errors
    ///
    /// [`OpenHandleError`], for instance [`OpenHandleError::ForeignKind`] if it is no such value or one of another type; nothing is held.
    pub fn open(member: &Member, token: Token) -> Result<Self, OpenHandleError> {
        plain::open::<Two<T>, T>(member, token).map(Self::over)
    }

    /// Opens the one that has the name.
    ///
    /// # Errors
    ///
    /// As [`Versioned::open`], and [`OpenHandleError::NoSuchName`].
    pub fn open_named(member: &Member, name: &str) -> Result<Self, OpenHandleError> {
        plain::open_named::<Two<T>, T>(member, name).map(Self::over)
    }

    /// Opens the same handle once more.
    ///
    /// # Errors
    ///
    /// [`OpenHandleError`].
    pub fn try_clone(&self) -> Result<Self, OpenHandleError> {
        self.mutex.try_clone().map(Self::over)
    }

    fn version_word(&self) -> Result<&Word, NotMember> {
        Ok(&head_of(&self.mutex)?[VERSION])
    }

    fn copies(&self) -> Result<[&[Word]; 2], NotMember> {
        let copy = |copy| {
            let start = data_of::<Two<T>>(&self.mutex, copy)?.cast::<Word>();
            // SAFETY: mapped, and in the payload, as `data_of` has checked; aligned to 16 bytes; all access is atomic.
            Ok(unsafe { slice::from_raw_parts(start.as_ptr(), size_of::<T>().div_ceil(8)) })
        };
        Ok([copy(0)?, copy(1)?])
    }

    /// The value, and its version.
    fn read_versioned(&self) -> Result<(T, u64), NotMember> {
        let mut value = T::new_zeroed();
        let bytes = value.as_mut_bytes();
        let version = versioned::read(self.version_word()?, self.copies()?, |at, word| {
            let part = &mut bytes[8 * at..];
            let part_len = part.len().min(8);
            part[..part_len].copy_from_slice(&word.to_ne_bytes()[..part_len]);
        });
        Ok((value, version))
    }

    /// The value: one that some writer has written, whole, and never an older one than this thread has read or written before.
    ///
    /// # Errors
    ///
    /// [`NotMember`](crate::NotMember).
    ///
    /// # Progress
    ///
    /// See [`Versioned`].
    pub fn read(&self) -> Result<T, NotMember> {
        Ok(self.read_versioned()?.0)
    }

    /// The number of writes until now.
    ///
    /// # Errors
    ///
    /// [`NotMember`](crate::NotMember).
    pub fn version(&self) -> Result<u64, NotMember> {
        Ok(versioned::current(self.version_word()?))
    }

    /// Replaces the value; returns its version.
    ///
    /// # Errors
    ///
    /// [`WaitError::NotMember`]; [`WaitError::ReadOnly`] for a member that only reads; nothing was changed.
    ///
    /// # Crash
    ///
    /// See [`Versioned`].
    pub fn write(&self, value: &T) -> Result<u64, WaitError> {
        self.mutex.object().shared().check_writer()?;
        // An owner that died has left the other copy, which this call overwrites.
        let _guard = self.mutex.lock()?;
        self.write_locked(value)
    }

    /// Changes the value as one step for everybody: no other write comes between the read and the write. Returns the version.
    ///
    /// ```
    /// # use tenure::Versioned;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let limits = Versioned::create(&me, &[1u32, 2])?;
    /// limits.update(|limits| limits[1] += 1)?;
    /// assert_eq!(limits.read()?, [1, 3]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Versioned::write`].
    pub fn update(&self, change: impl FnOnce(&mut T)) -> Result<u64, WaitError> {
        self.mutex.object().shared().check_writer()?;
        let _guard = self.mutex.lock()?;
        let mut value = self.read()?;
        change(&mut value);
        self.write_locked(&value)
    }

    /// The caller owns the mutex.
    fn write_locked(&self, value: &T) -> Result<u64, WaitError> {
        let words = value.as_bytes().chunks(8).map(|part| {
            let mut word = [0; 8];
            word[..part.len()].copy_from_slice(part);
            u64::from_ne_bytes(word)
        });
        let version = self.version_word()?;
        Ok(versioned::write(version, versioned::current(version), self.copies()?, words))
    }
}

impl<T> Versioned<T> {
    /// The token: 64 bits to pass to other processes.
    #[must_use]
    pub fn token(&self) -> Token {
        self.mutex.token()
    }
}

impl<T> crate::slots::sealed::Keep for Versioned<T> {
    fn count(&self) -> crate::slots::sealed::Count<'_> {
        self.mutex.count()
    }
}

impl<T> fmt::Debug for Versioned<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Versioned").field("token", &self.token()).finish_non_exhaustive()
    }
}
