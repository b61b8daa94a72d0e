//! The daemon's book in shared memory, behind a mutex. There is no daemon, but a process that dies while it holds the
//! mutex stops all others (`raw_sync`), or leaves a book that may be inconsistent (a robust one).

use std::alloc::Layout;
use std::marker::PhantomData;
use std::sync::Arc;

use raw_sync::locks::{LockImpl, LockInit, Mutex as RawMutex};
use shared_memory::{Shmem, ShmemConf};

use crate::book::Book;
use crate::shared::Pages;
use crate::subject::{Failed, Handles, Heap, Outcome, Subject};

const BOOK_AT: usize = 4096;

/// A lock in shared memory.
pub trait Lock: Sized {
    /// Makes its memory, with an initialised lock.
    type Memory: Send + Sync;

    /// New memory of `bytes`, of which the first page has the lock.
    ///
    /// # Errors
    /// [`Failed`].
    fn memory(bytes: usize) -> Outcome<Self::Memory>;

    /// The first byte.
    fn start(memory: &Self::Memory) -> *mut u8;

    /// The lock in memory that was initialised, for this process.
    ///
    /// # Errors
    /// [`Failed`].
    fn attach(memory: &Self::Memory) -> Outcome<Self>;

    /// Runs `critical` alone.
    ///
    /// # Errors
    /// The errors of `critical`, and those of the lock.
    fn locked<T>(&self, critical: impl FnOnce() -> Outcome<T>) -> Outcome<T>;
}

/// `raw_sync`'s mutex in memory of `shared_memory`.
pub struct Plain(Box<dyn LockImpl>);

/// Memory of the crate `shared_memory`, without a name, so that nothing is left behind.
pub struct Unnamed(Shmem);

// SAFETY: used for its address only.
unsafe impl Send for Unnamed {}
// SAFETY: as above.
unsafe impl Sync for Unnamed {}

impl Lock for Plain {
    type Memory = Unnamed;

    fn memory(bytes: usize) -> Outcome<Unnamed> {
        let mut memory =
            ShmemConf::new().size(bytes).create().map_err(|error| Failed::of("shared_memory", error))?;
        // The members inherit the mapping; if we are killed, a name would outlive us. The crate must not remove it
        // then.
        memory.set_owner(false);
        let name = std::ffi::CString::new(memory.get_os_id()).map_err(|error| Failed::of("name", error))?;
        // SAFETY: a terminated string.
        unsafe { libc::shm_unlink(name.as_ptr()) };
        // SAFETY: the first page is there for the lock, and nobody else knows it yet.
        unsafe { RawMutex::new(memory.as_ptr(), memory.as_ptr().add(BOOK_AT)) }
            .map_err(|error| Failed::of("raw_sync", error))?;
        Ok(Unnamed(memory))
    }

    fn start(memory: &Unnamed) -> *mut u8 {
        memory.0.as_ptr()
    }

    fn attach(memory: &Unnamed) -> Outcome<Self> {
        let start = memory.0.as_ptr();
        // SAFETY: `memory` put an initialised lock there.
        let (lock, _) = unsafe { RawMutex::from_existing(start, start.add(BOOK_AT)) }
            .map_err(|error| Failed::of("raw_sync", error))?;
        Ok(Self(lock))
    }

    #[inline]
    fn locked<T>(&self, critical: impl FnOnce() -> Outcome<T>) -> Outcome<T> {
        let _guard = self.0.lock().map_err(|error| Failed::of("lock", error))?;
        critical()
    }
}

/// A pthread mutex, shared between processes and robust.
pub struct Robust(*mut libc::pthread_mutex_t);

impl Lock for Robust {
    type Memory = Pages;

    fn memory(bytes: usize) -> Outcome<Pages> {
        let memory = Pages::new(bytes)?;
        // SAFETY: the attributes are initialised before they are used; the first page is there for the mutex.
        let done = unsafe {
            let mut attributes = std::mem::zeroed();
            libc::pthread_mutexattr_init(&raw mut attributes)
                | libc::pthread_mutexattr_setpshared(&raw mut attributes, libc::PTHREAD_PROCESS_SHARED)
                | libc::pthread_mutexattr_setrobust(&raw mut attributes, libc::PTHREAD_MUTEX_ROBUST)
                | libc::pthread_mutex_init(memory.start().cast(), &raw const attributes)
        };
        if done == 0 { Ok(memory) } else { Err(Failed::of("robust mutex", done)) }
    }

    fn start(memory: &Pages) -> *mut u8 {
        memory.start()
    }

    fn attach(memory: &Pages) -> Outcome<Self> {
        Ok(Self(memory.start().cast()))
    }

    #[inline]
    fn locked<T>(&self, critical: impl FnOnce() -> Outcome<T>) -> Outcome<T> {
        // SAFETY: initialised by `memory`, which the subject keeps.
        match unsafe { libc::pthread_mutex_lock(self.0) } {
            0 => {}
            // SAFETY: we hold it, as the answer says. The book may be half changed; nothing here can tell.
            libc::EOWNERDEAD => unsafe {
                libc::pthread_mutex_consistent(self.0);
            },
            error => return Err(Failed::of("lock", error)),
        }
        let answer = critical();
        // SAFETY: we hold it.
        unsafe { libc::pthread_mutex_unlock(self.0) };
        answer
    }
}

/// The book behind a lock.
pub struct Locked<L: Lock> {
    memory: Arc<L::Memory>,
    lock: PhantomData<L>,
}

impl<L: Lock> Locked<L> {
    /// An empty book.
    ///
    /// # Errors
    /// [`Failed`].
    pub fn new() -> Outcome<Self> {
        Ok(Self { memory: Arc::new(L::memory(BOOK_AT + Book::BYTES)?), lock: PhantomData })
    }

    /// The book, for a caller that ensures exclusive access.
    #[must_use]
    pub fn book(&self) -> &Book {
        book_of::<L>(&self.memory)
    }
}

fn book_of<L: Lock>(memory: &L::Memory) -> &Book {
    // SAFETY: the memory is `BOOK_AT + Book::BYTES` long, zero at first, and an empty book is all zeroes.
    unsafe { &*L::start(memory).add(BOOK_AT).cast::<Book>() }
}

/// A client of the book: the lock, and a number.
pub struct Client<L: Lock> {
    memory: Arc<L::Memory>,
    lock: L,
    client: usize,
}

impl<L: Lock> Client<L> {
    #[inline]
    fn locked<T>(&self, critical: impl FnOnce(&Book, usize) -> Outcome<T>) -> Outcome<T> {
        self.lock.locked(|| critical(book_of::<L>(&self.memory), self.client))
    }
}

impl<L: Lock> Subject for Locked<L> {
    type Member = Client<L>;

    fn join(&self) -> Outcome<Client<L>> {
        let memory = Arc::clone(&self.memory);
        let lock = L::attach(&memory)?;
        // SAFETY: the lock is held.
        let client = lock.locked(|| unsafe { book_of::<L>(&memory).enter() })?;
        Ok(Client { memory, lock, client })
    }
}

impl<L: Lock> Handles for Client<L> {
    type Held = u64;

    #[inline]
    fn create(&mut self, payload: u64) -> Outcome<u64> {
        // SAFETY: the lock is held.
        self.locked(|book, client| unsafe { book.create(client, payload) })
    }

    #[inline]
    fn get(&mut self, held: &u64) -> Outcome<u64> {
        // SAFETY: it is held.
        Ok(unsafe { book_of::<L>(&self.memory).payload(*held) })
    }

    fn token(&mut self, held: &u64) -> u64 {
        *held
    }

    #[inline]
    fn open(&mut self, token: u64) -> Outcome<u64> {
        // SAFETY: the lock is held.
        self.locked(|book, client| unsafe { book.open(client, token) }).map(|_| token)
    }

    #[inline]
    fn close(&mut self, held: u64) -> Outcome<()> {
        // SAFETY: the lock is held.
        self.locked(|book, client| unsafe { book.close(client, held) })
    }
}

impl<L: Lock> Heap for Client<L> {
    type Block = u64;

    #[inline]
    fn alloc(&mut self, layout: Layout) -> Outcome<u64> {
        // SAFETY: the lock is held.
        self.locked(|book, client| unsafe { book.alloc(client, layout.size()) })
    }

    #[inline]
    fn free(&mut self, block: u64, _: Layout) -> Outcome<()> {
        // SAFETY: the lock is held, and the caller got the offset from `alloc`.
        self.locked(|book, _| unsafe { book.free(block) })
    }

    #[inline]
    fn address(&self, block: u64) -> *mut u8 {
        book_of::<L>(&self.memory).address(block)
    }

    #[inline]
    fn word(&self, block: u64) -> u64 {
        block
    }

    #[inline]
    fn of_word(&self, word: u64, _: Layout) -> u64 {
        word
    }
}
