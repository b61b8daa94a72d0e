//! A value in two copies with a version. The crate `tenure-wait` has the protocol.

use std::fmt;
use std::marker::PhantomData;
use std::slice;

use tenure_core::sync::Word;
use tenure_slab::Token;
use tenure_wait::versioned;

use super::error::WaitError;
use super::mutex::MutexGuard;
use super::plain::{Data, Initial, Layout, OWN, Plain, kind_of};
use super::source::Source as _;
use crate::error::{CreateError, NotMember, OpenHandleError};
use crate::kind::Kind;
use crate::member::Member;
use crate::names::{Named, NamedError};
use crate::place::{Key, Place};

const TWO: Layout = Layout { kind: Kind::VERSIONED, copies: 2 };

/// A value that processes read and replace: every read returns one whole value, whatever becomes of the writers.
///
/// The value lies in two copies. A writer writes the copy that is not read, and then makes it the current one, by one store. A writer that is
/// killed in the middle leaves the old value; a writer that is stopped in the middle keeps other writers waiting, but no reader.
///
/// ```
/// # use tenure::sync::Versioned;
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
/// [`Mutex::lock`](crate::sync::Mutex::lock) waits for its owner.
///
/// # Crash
///
/// A writer that is killed at any instruction has written nothing or everything.
///
/// `Versioned<[u8]>` is for bytes of any length, which programs in other languages share: its [`Kind`] is a number of the application's choice.
pub struct Versioned<T: ?Sized> {
    /// Its mutex is of the writers; the object's own word is the version.
    data: Data,
    value: PhantomData<fn(&T)>,
}

impl<T: ?Sized> Versioned<T> {
    fn over(data: Data) -> Self {
        Self { data, value: PhantomData }
    }
}

impl<T: Plain> Versioned<T> {
    /// Creates it with a copy of `value`, which is version 0.
    ///
    /// # Errors
    ///
    /// [`CreateError`]; nothing was created.
    pub fn create<'a>(place: impl Into<Place<'a>>, value: &T) -> Result<Self, CreateError> {
        Data::create(place.into(), TWO, kind_of::<T>(), Initial::Bytes(value.as_bytes())).map(Self::over)
    }

    /// Opens the one that has the name, or creates it with a copy of `value`, in one step; see [`Member::create_or_open`].
    ///
    /// # Errors
    ///
    /// [`NamedError`]; nothing is held.
    pub fn create_or_open(member: &Member, name: &str, value: &T) -> Result<Named<Self>, NamedError> {
        let named =
            Data::create_or_open(member, name, TWO, kind_of::<T>(), Initial::Bytes(value.as_bytes()))?;
        Ok(named.try_map(|data| data.sized::<T>().map(Self::over))?)
    }

    /// Opens the one of a token, or the one that has a name.
    ///
    /// # Errors
    ///
    /// [`OpenHandleError`], for instance [`OpenHandleError::ForeignKind`] if it is no such value or one of another type; nothing is held.
    pub fn open<'k>(member: &Member, key: impl Into<Key<'k>>) -> Result<Self, OpenHandleError> {
        Data::open(member, key.into(), TWO, kind_of::<T>())?.sized::<T>().map(Self::over)
    }

    /// The value: one that some writer has written, whole, and never an older one than this thread has read or written before.
    ///
    /// # Errors
    ///
    /// [`NotMember`](crate::error::NotMember).
    ///
    /// # Progress
    ///
    /// See [`Versioned`].
    #[inline]
    pub fn read(&self) -> Result<T, NotMember> {
        let mut value = T::new_zeroed();
        self.read_bytes(value.as_mut_bytes())?;
        Ok(value)
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
        self.write_bytes(value.as_bytes())
    }

    /// Changes the value as one step for everybody: no other write comes between the read and the write. Returns the version.
    ///
    /// ```
    /// # use tenure::sync::Versioned;
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
        let _guard = self.lock()?;
        let mut value = self.read()?;
        change(&mut value);
        self.write_locked(value.as_bytes())
    }
}

impl Versioned<[u8]> {
    /// Creates one of a kind; `bytes` are its initial bytes, or how many zeros it has.
    ///
    /// ```
    /// # use tenure::{sync::Versioned, Kind};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let (me, other) = (space.join()?, space.join()?);
    /// let text = Versioned::create_raw(&me, Kind::raw(7), b"tea")?;
    /// let theirs = Versioned::open_raw(&other, Kind::raw(7), text.token())?; // usually a program in C or Python
    /// theirs.write_from(b"ten")?;
    /// let mut found = [0; 3];
    /// assert_eq!((text.read_into(&mut found)?, &found), (1, b"ten"));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Versioned::create`].
    pub fn create_raw<'a, 'b>(
        place: impl Into<Place<'a>>,
        kind: Kind,
        bytes: impl Into<Initial<'b>>,
    ) -> Result<Self, CreateError> {
        Data::create(place.into(), TWO, kind, bytes.into()).map(Self::over)
    }

    /// As [`Versioned::create_or_open`], of bytes and of a kind. One that is opened has the length that it was created with.
    ///
    /// # Errors
    ///
    /// As [`Versioned::create_or_open`].
    pub fn create_or_open_raw<'a>(
        member: &Member,
        name: &str,
        kind: Kind,
        bytes: impl Into<Initial<'a>>,
    ) -> Result<Named<Self>, NamedError> {
        Data::create_or_open(member, name, TWO, kind, bytes.into())?.try_map(|data| Ok(Self::over(data)))
    }

    /// As [`Versioned::open`], if it is of the kind.
    ///
    /// # Errors
    ///
    /// As [`Versioned::open`].
    pub fn open_raw<'k>(
        member: &Member,
        kind: Kind,
        key: impl Into<Key<'k>>,
    ) -> Result<Self, OpenHandleError> {
        Data::open(member, key.into(), TWO, kind).map(Self::over)
    }

    /// The length in bytes, which never changes.
    #[must_use]
    #[allow(clippy::len_without_is_empty, reason = "no container")]
    pub fn len(&self) -> usize {
        self.data.len
    }

    /// Reads the bytes into `bytes`; returns their version. As [`Versioned::read`].
    ///
    /// # Errors
    ///
    /// [`NotMember`](crate::error::NotMember).
    ///
    /// # Panics
    ///
    /// Panics if `bytes` has another length.
    pub fn read_into(&self, bytes: &mut [u8]) -> Result<u64, NotMember> {
        assert_eq!(bytes.len(), self.data.len, "the length of the versioned bytes");
        self.read_bytes(bytes)
    }

    /// Replaces the bytes; returns their version. As [`Versioned::write`].
    ///
    /// # Errors
    ///
    /// As [`Versioned::write`].
    ///
    /// # Panics
    ///
    /// Panics if `bytes` has another length.
    pub fn write_from(&self, bytes: &[u8]) -> Result<u64, WaitError> {
        assert_eq!(bytes.len(), self.data.len, "the length of the versioned bytes");
        self.write_bytes(bytes)
    }
}

impl<T: ?Sized> Versioned<T> {
    /// Opens the same handle once more.
    ///
    /// # Errors
    ///
    /// [`OpenHandleError`].
    pub fn try_clone(&self) -> Result<Self, OpenHandleError> {
        self.data.try_clone().map(Self::over)
    }

    /// The number of writes until now.
    ///
    /// # Errors
    ///
    /// [`NotMember`](crate::error::NotMember).
    pub fn version(&self) -> Result<u64, NotMember> {
        Ok(versioned::current(self.version_word()?))
    }

    fn version_word(&self) -> Result<&Word, NotMember> {
        Ok(&self.data.head()?[OWN])
    }

    /// The version, and the copies of `len` bytes, as many as the value has: if that is known to the compiler, the loops over the words have no
    /// counter.
    #[inline(always)]
    fn parts<'v>(&'v self, len: usize) -> Result<(&'v Word, impl Fn(usize) -> &'v [Word]), NotMember> {
        debug_assert_eq!(len, self.data.len, "the length of the value");
        let (head, start) = self.data.parts()?;
        let copy = move |copy: usize| {
            // SAFETY: mapped, and copy 0 or 1 in the payload, whose length was checked when it was opened; aligned to 16 bytes; all access
            // is atomic.
            unsafe {
                let start = start.add(copy * Layout::stride(len)).cast::<Word>();
                slice::from_raw_parts(start.as_ptr(), len.div_ceil(8))
            }
        };
        Ok((&head[OWN], copy))
    }

    /// Reads as many bytes as the value has; returns their version.
    #[inline(always)]
    fn read_bytes(&self, bytes: &mut [u8]) -> Result<u64, NotMember> {
        let (version, copy) = self.parts(bytes.len())?;
        Ok(versioned::read(version, copy, |at, word| {
            let part = &mut bytes[8 * at..];
            let part_len = part.len().min(8);
            part[..part_len].copy_from_slice(&word.to_ne_bytes()[..part_len]);
        }))
    }

    /// Locks out other writers. An owner that died has left the copy that nobody reads, which the caller overwrites.
    fn lock(&self) -> Result<MutexGuard<'_>, WaitError> {
        self.data.mutex.object().shared().check_writer()?;
        self.data.mutex.lock()
    }

    #[inline(always)]
    fn write_bytes(&self, bytes: &[u8]) -> Result<u64, WaitError> {
        let _guard = self.lock()?;
        self.write_locked(bytes)
    }

    /// The caller owns the mutex.
    #[inline(always)]
    fn write_locked(&self, bytes: &[u8]) -> Result<u64, WaitError> {
        let words = bytes.chunks(8).map(|part| {
            let mut word = [0; 8];
            word[..part.len()].copy_from_slice(part);
            u64::from_ne_bytes(word)
        });
        let (version, copy) = self.parts(bytes.len())?;
        Ok(versioned::write(version, versioned::current(version), copy, words))
    }

    /// The token: 64 bits to pass to other processes.
    #[must_use]
    pub fn token(&self) -> Token {
        self.data.mutex.token()
    }
}

impl<T: ?Sized> crate::slots::sealed::Keep for Versioned<T> {
    fn count(&self) -> crate::slots::sealed::Count<'_> {
        self.data.mutex.count()
    }
}

impl<T: ?Sized> fmt::Debug for Versioned<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Versioned").field("token", &self.token()).finish_non_exhaustive()
    }
}
