//! The one trait that all subjects implement, and the operations of their members.

use std::alloc::Layout;
use std::fmt;

/// The reason why a subject cannot go on: the name of the operation. No measured operation should fail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed(pub String);

impl Failed {
    /// Makes the error, away from the measured path.
    #[cold]
    #[inline(never)]
    pub fn of(what: &'static str, why: impl fmt::Display) -> Self {
        Self(format!("{what}: {why}"))
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failed {}

impl From<std::io::Error> for Failed {
    fn from(error: std::io::Error) -> Self {
        Self::of("system call", error)
    }
}

/// The result of an operation.
pub type Outcome<T> = Result<T, Failed>;

/// One contender. It is founded in the process that forks the members, before they are forked.
pub trait Subject: Sized {
    /// The access of one process, or of one thread of it.
    type Member;

    /// The right to work: called in the member's own process, and in the member's own thread where members are threads.
    ///
    /// # Errors
    /// [`Failed`].
    fn join(&self) -> Outcome<Self::Member>;

    /// Called where it was founded, once all members have joined: nobody needs to find it any more.
    fn settle(&self) {}
}

/// Handles: numbers of objects that live as long as a member holds them. The payload is 8 bytes.
pub trait Handles {
    /// One hold.
    type Held: Copy;

    /// Creates a handle, held once.
    ///
    /// # Errors
    /// [`Failed`].
    fn create(&mut self, payload: u64) -> Outcome<Self::Held>;

    /// The payload of a held handle.
    ///
    /// # Errors
    /// [`Failed`].
    fn get(&mut self, held: &Self::Held) -> Outcome<u64>;

    /// The number to pass to others.
    fn token(&mut self, held: &Self::Held) -> u64;

    /// Holds once more a handle that a member holds.
    ///
    /// # Errors
    /// [`Failed`], also when nobody holds it.
    fn open(&mut self, token: u64) -> Outcome<Self::Held>;

    /// Gives a hold back.
    ///
    /// # Errors
    /// [`Failed`].
    fn close(&mut self, held: Self::Held) -> Outcome<()>;

    /// Creates and closes `count` handles, in the subject's quickest way.
    ///
    /// # Errors
    /// [`Failed`].
    #[inline]
    fn create_and_close(&mut self, count: u32) -> Outcome<()> {
        for payload in 0..count {
            let held = self.create(u64::from(payload))?;
            self.close(held)?;
        }
        Ok(())
    }
}

/// Malloc-like memory.
pub trait Heap {
    /// A block in use.
    type Block: Copy;

    /// Allocates; the contents are arbitrary.
    ///
    /// # Errors
    /// [`Failed`].
    fn alloc(&mut self, layout: Layout) -> Outcome<Self::Block>;

    /// Frees a block that this member allocated.
    ///
    /// # Errors
    /// [`Failed`].
    fn free(&mut self, block: Self::Block, layout: Layout) -> Outcome<()>;

    /// Its address, in this process.
    fn address(&self, block: Self::Block) -> *mut u8;

    /// Resizes, moving the contents where it must.
    ///
    /// # Errors
    /// [`Failed`].
    fn realloc(&mut self, block: Self::Block, old: Layout, new: Layout) -> Outcome<Self::Block> {
        let moved = self.alloc(new)?;
        // SAFETY: both blocks are ours and at least as long as the smaller layout says.
        unsafe {
            self.address(moved).copy_from_nonoverlapping(self.address(block), old.size().min(new.size()));
        }
        self.free(block, old)?;
        Ok(moved)
    }

    /// The block as a number that means the same to all members.
    fn word(&self, block: Self::Block) -> u64;

    /// The block of such a number.
    fn of_word(&self, word: u64, layout: Layout) -> Self::Block;

    /// The data about us that others need to free our blocks.
    fn owner(&self) -> [u64; 2] {
        [0; 2]
    }

    /// Frees a block of another member, which passed it to us.
    ///
    /// # Errors
    /// [`Failed`].
    fn free_passed(&mut self, block: Self::Block, layout: Layout, _owner: [u64; 2]) -> Outcome<()> {
        self.free(block, layout)
    }

    /// Called now and then by a member whose blocks others free.
    fn collect(&mut self) {}
}
