//! Values of 64 bytes that change: tenure's, a seqlock, which waits for its writer, and a robust mutex of pthread over plain words.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use tenure::{
    Space,
    sync::{Locked, Versioned},
};

use crate::shared::Pages;
use crate::subject::{Failed, Outcome, Subject};
use crate::waits::{Locks, Pthread, PthreadMember};

/// The value.
pub type Value = [u64; 8];

/// A value that is read and replaced as a whole.
pub trait Wholes {
    /// Reads it, and adds its words up.
    ///
    /// # Errors
    /// [`Failed`].
    fn read(&mut self) -> Outcome<u64>;

    /// Replaces it.
    ///
    /// # Errors
    /// [`Failed`].
    fn write(&mut self, value: &Value) -> Outcome<()>;
}

fn sum(value: &Value) -> u64 {
    value.iter().fold(0, |sum, word| sum.wrapping_add(*word))
}

/// A value behind a lock.
pub trait Changes {
    /// Locks it, adds to one of its words, and unlocks it.
    ///
    /// # Errors
    /// [`Failed`].
    fn change(&mut self) -> Outcome<()>;
}

/// A space in memory without a name.
pub struct Tenured {
    space: Space,
}

/// A member with its values.
pub struct TenuredMember {
    locked: Locked<Value>,
    versioned: Versioned<Value>,
}

impl Tenured {
    /// Members are processes.
    ///
    /// # Errors
    /// The errors of tenure.
    pub fn new() -> Outcome<Self> {
        let space = Space::options().handles(1 << 10).scratch(1 << 20).memfd();
        Ok(Self { space: space.map_err(|error| Failed::of("tenure", error))? })
    }
}

impl Subject for Tenured {
    type Member = TenuredMember;

    fn join(&self) -> Outcome<TenuredMember> {
        let member = self.space.join().map_err(|error| Failed::of("join", error))?;
        let locked = Locked::create_or_open(&member, "locked", &[0; 8]);
        let versioned = Versioned::create_or_open(&member, "versioned", &[0; 8]);
        Ok(TenuredMember {
            locked: locked.map_err(|error| Failed::of("locked", error))?.into_inner(),
            versioned: versioned.map_err(|error| Failed::of("versioned", error))?.into_inner(),
        })
    }
}

impl Wholes for TenuredMember {
    #[inline]
    fn read(&mut self) -> Outcome<u64> {
        match self.versioned.read() {
            Ok(value) => Ok(sum(&value)),
            Err(error) => Err(Failed::of("read", error)),
        }
    }

    #[inline]
    fn write(&mut self, value: &Value) -> Outcome<()> {
        self.versioned.write(value).map(drop).map_err(|error| Failed::of("write", error))
    }
}

impl Changes for TenuredMember {
    #[inline]
    fn change(&mut self) -> Outcome<()> {
        self.locked.lock().map_err(|error| Failed::of("lock", error))?[3] += 1;
        Ok(())
    }
}

/// A seqlock in shared memory. A writer that dies keeps it for ever.
pub struct Seqlock {
    pages: Arc<Pages>,
}

/// A member of [`Seqlock`].
pub struct SeqlockMember {
    pages: Arc<Pages>,
}

/// Odd: it is being written.
#[repr(C, align(64))]
struct Versions {
    version: AtomicU64,
    words: [AtomicU64; 8],
}

impl Seqlock {
    /// A value of zeros.
    ///
    /// # Errors
    /// The errors of mmap.
    pub fn new() -> Outcome<Self> {
        Ok(Self { pages: Arc::new(Pages::new(4096)?) })
    }
}

impl Subject for Seqlock {
    type Member = SeqlockMember;

    fn join(&self) -> Outcome<SeqlockMember> {
        Ok(SeqlockMember { pages: Arc::clone(&self.pages) })
    }
}

impl SeqlockMember {
    #[inline]
    fn versions(&self) -> &Versions {
        // SAFETY: zeroes are a valid value, and everything is atomic.
        unsafe { self.pages.view() }
    }
}

impl Wholes for SeqlockMember {
    #[inline]
    fn read(&mut self) -> Outcome<u64> {
        let Versions { version, words } = self.versions();
        loop {
            // Acquire: the words of this version; pairs with the Release in `write`.
            let before = version.load(Ordering::Acquire);
            // Relaxed: see the fence.
            let value: Value = std::array::from_fn(|at| words[at].load(Ordering::Relaxed));
            // Acquire: if a word is of a later writer, its odd version is seen below; pairs with the fence in `write`.
            fence(Ordering::Acquire);
            if before % 2 == 0 && version.load(Ordering::Relaxed) == before {
                return Ok(sum(&value));
            }
            std::hint::spin_loop();
        }
    }

    #[inline]
    fn write(&mut self, value: &Value) -> Outcome<()> {
        let Versions { version, words } = self.versions();
        let before = loop {
            // Relaxed: only the expected value of the CAS.
            let seen = version.load(Ordering::Relaxed) & !1;
            // Acquire: after the stores of the writer before.
            if version.compare_exchange(seen, seen + 1, Ordering::Acquire, Ordering::Relaxed).is_ok() {
                break seen;
            }
            std::hint::spin_loop();
        };
        // Release: the odd version comes before the words; pairs with the fence in `read`.
        fence(Ordering::Release);
        for (word, value) in words.iter().zip(value) {
            word.store(*value, Ordering::Relaxed);
        }
        // Release: publishes the words.
        version.store(before + 2, Ordering::Release);
        Ok(())
    }
}

/// The crate `seqlock`: private to a process.
#[cfg(feature = "published")]
pub struct Published(Arc<seqlock::SeqLock<Value>>);

/// A thread of [`Published`].
#[cfg(feature = "published")]
pub struct PublishedMember(Arc<seqlock::SeqLock<Value>>);

#[cfg(feature = "published")]
impl Published {
    /// A value of zeros.
    ///
    /// # Errors
    /// None.
    pub fn new() -> Outcome<Self> {
        Ok(Self(Arc::new(seqlock::SeqLock::new([0; 8]))))
    }
}

#[cfg(feature = "published")]
impl Subject for Published {
    type Member = PublishedMember;

    fn join(&self) -> Outcome<PublishedMember> {
        Ok(PublishedMember(Arc::clone(&self.0)))
    }
}

#[cfg(feature = "published")]
impl Wholes for PublishedMember {
    #[inline]
    fn read(&mut self) -> Outcome<u64> {
        Ok(sum(&self.0.read()))
    }

    #[inline]
    fn write(&mut self, value: &Value) -> Outcome<()> {
        *self.0.lock_write() = *value;
        Ok(())
    }
}

/// A robust mutex of pthread, and plain words in other pages.
pub struct Guarded {
    lock: Pthread,
    pages: Arc<Pages>,
}

/// A member of [`Guarded`].
pub struct GuardedMember {
    lock: PthreadMember,
    pages: Arc<Pages>,
}

impl Guarded {
    /// A value of zeros.
    ///
    /// # Errors
    /// The errors of pthread.
    pub fn new() -> Outcome<Self> {
        Ok(Self { lock: Pthread::robust()?, pages: Arc::new(Pages::new(4096)?) })
    }
}

impl Subject for Guarded {
    type Member = GuardedMember;

    fn join(&self) -> Outcome<GuardedMember> {
        Ok(GuardedMember { lock: self.lock.join()?, pages: Arc::clone(&self.pages) })
    }
}

impl Changes for GuardedMember {
    #[inline]
    fn change(&mut self) -> Outcome<()> {
        self.lock.lock()?;
        let value = self.pages.start().cast::<Value>();
        // SAFETY: 64 bytes of the page, which is mapped as long as `pages`; the mutex excludes others.
        unsafe { (*value)[3] += 1 };
        self.lock.unlock()
    }
}
