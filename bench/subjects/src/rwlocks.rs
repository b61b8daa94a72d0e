//! Read-write locks that processes share: tenure's, which survives its owners, and that of pthread.

use std::cell::UnsafeCell;
use std::sync::Arc;

use tenure::{Space, sync::RwLock};

use crate::shared::Pages;
use crate::subject::{Failed, Outcome, Subject};

/// A lock that many may have for reading.
pub trait ReadLocks {
    /// Waits for it and takes it for reading.
    ///
    /// # Errors
    /// [`Failed`].
    fn read(&mut self) -> Outcome<()>;

    /// Gives it back.
    ///
    /// # Errors
    /// [`Failed`].
    fn unlock_read(&mut self) -> Outcome<()>;
}

/// A space in memory without a name.
pub struct Tenured(Space);

impl Tenured {
    /// Members are processes.
    ///
    /// # Errors
    /// The errors of tenure.
    pub fn new() -> Outcome<Self> {
        let space = Space::options().handles(1 << 10).scratch(1 << 20).memfd();
        space.map(Self).map_err(|error| Failed::of("tenure", error))
    }
}

impl Subject for Tenured {
    type Member = RwLock;

    fn join(&self) -> Outcome<RwLock> {
        let member = self.0.join().map_err(|error| Failed::of("join", error))?;
        let lock = RwLock::create_or_open(&member, "lock").map_err(|error| Failed::of("lock", error))?;
        Ok(lock.into_inner())
    }
}

impl ReadLocks for RwLock {
    #[inline]
    fn read(&mut self) -> Outcome<()> {
        self.acquire_read(None).map(drop).map_err(|error| Failed::of("read", error))
    }

    #[inline]
    fn unlock_read(&mut self) -> Outcome<()> {
        RwLock::unlock_read(self).map_err(|error| Failed::of("unlock", error))
    }
}

/// A `pthread_rwlock_t`, shared between processes. A reader that dies keeps it for ever.
pub struct Pthread(Arc<Pages>);

/// A member of [`Pthread`].
pub struct PthreadMember(Arc<Pages>);

/// It lies at the start of the pages.
#[repr(C)]
struct Lock(UnsafeCell<libc::pthread_rwlock_t>);

impl Pthread {
    /// A free one.
    ///
    /// # Errors
    /// The errors of pthread.
    pub fn new() -> Outcome<Self> {
        let pages = Pages::new(4096)?;
        // SAFETY: the attributes are initialised before they are used; nobody else knows the pages yet.
        let done = unsafe {
            let mut attributes = std::mem::zeroed();
            libc::pthread_rwlockattr_init(&raw mut attributes)
                | libc::pthread_rwlockattr_setpshared(&raw mut attributes, libc::PTHREAD_PROCESS_SHARED)
                | libc::pthread_rwlock_init(lock(&pages), &raw const attributes)
        };
        if done == 0 { Ok(Self(Arc::new(pages))) } else { Err(Failed::of("rwlock", done)) }
    }
}

fn lock(pages: &Pages) -> *mut libc::pthread_rwlock_t {
    // SAFETY: a lock is valid when it is zero, and is changed by pthread only, through its cell.
    unsafe { pages.view::<Lock>() }.0.get()
}

impl Subject for Pthread {
    type Member = PthreadMember;

    fn join(&self) -> Outcome<PthreadMember> {
        Ok(PthreadMember(Arc::clone(&self.0)))
    }
}

impl ReadLocks for PthreadMember {
    #[inline]
    fn read(&mut self) -> Outcome<()> {
        // SAFETY: initialised by `Pthread::new`.
        match unsafe { libc::pthread_rwlock_rdlock(lock(&self.0)) } {
            0 => Ok(()),
            error => Err(Failed::of("read", error)),
        }
    }

    #[inline]
    fn unlock_read(&mut self) -> Outcome<()> {
        // SAFETY: initialised by `Pthread::new`; this thread has it.
        match unsafe { libc::pthread_rwlock_unlock(lock(&self.0)) } {
            0 => Ok(()),
            error => Err(Failed::of("unlock", error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two_read<S: Subject<Member: ReadLocks>>(subject: Outcome<S>) {
        let subject = subject.unwrap();
        let (mut a, mut b) = (subject.join().unwrap(), subject.join().unwrap());
        a.read().unwrap();
        b.read().unwrap();
        a.unlock_read().unwrap();
        b.unlock_read().unwrap();
    }

    #[test]
    fn two_read_at_once() {
        two_read(Tenured::new());
        two_read(Pthread::new());
    }
}
