//! A member: the right to hold things, and everything one does with it.

use std::alloc::Layout;
use std::marker::PhantomData;
use std::sync::Arc;

use tenure_core::LeaseId;
use tenure_segment::MonitorState;
use tenure_slab::Token;

use crate::block::Block;
use crate::error::{AllocError, CreateError, FreeError, NotMember, OpenHandleError};
use crate::handle::{Handle, Raw};
use crate::kind::Kind;
use crate::local::Local;
use crate::raw::RawHandle;
use crate::shared::{Reclaimed, Shared};
use crate::typed::{self, Value};

/// A member of a space. Dropping it leaves, once the last handle and block made by it are gone as well.
///
/// All threads of the process share it; for speed give each one a [`Local`].
///
/// # Fork
///
/// A forked child is no member: every call answers [`NotMember::ForkedChild`] and dropping does nothing. The child may join
/// by itself, through the [`Space`](crate::Space) it inherited. References obtained before the fork are not mapped there.
#[derive(Clone, Debug)]
pub struct Member {
    shared: Arc<Shared>,
}

impl Member {
    pub(crate) fn new(shared: Shared) -> Self {
        Self { shared: Arc::new(shared) }
    }

    #[cfg(any(test, feature = "objects"))]
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Our lease.
    #[must_use]
    pub fn lease(&self) -> LeaseId {
        self.shared.lease.id()
    }

    /// Whether this process is the member: false in a forked child and after leaving.
    ///
    /// # Errors
    ///
    /// [`NotMember`] says why not.
    #[inline]
    pub fn check(&self) -> Result<(), NotMember> {
        self.shared.lease.check()
    }

    /// Whether the monitor runs, and if not, why.
    #[must_use]
    pub fn monitor_state(&self) -> MonitorState {
        self.shared.lease.monitor_state()
    }

    /// One round of the monitor, for a member of [`Space::join_monitoring_by_hand`](crate::Space::join_monitoring_by_hand), by the
    /// thread that joined.
    #[doc(hidden)]
    pub fn play_monitor(&self) {
        self.shared.lease.play_monitor();
    }

    /// A thread's fast access.
    #[must_use]
    pub fn local(&self) -> Local<'_> {
        Local::new(&self.shared)
    }

    /// Creates a handle with a typed value, archived by rkyv.
    ///
    /// # Errors
    ///
    /// [`CreateError`]; nothing was created.
    pub fn create<T: Value>(&self, value: &T) -> Result<Handle<T>, CreateError> {
        let bytes = typed::to_bytes(value)?;
        self.handle(Kind::of::<T>(), &bytes)
    }

    /// Creates a handle with a copy of `bytes`.
    ///
    /// # Errors
    ///
    /// [`CreateError`]; nothing was created.
    pub fn create_raw(&self, kind: Kind, bytes: &[u8]) -> Result<Handle<Raw>, CreateError> {
        self.handle(kind, bytes)
    }

    fn handle<T>(&self, kind: Kind, bytes: &[u8]) -> Result<Handle<T>, CreateError> {
        // Before the lock: in a forked child it may be held by a thread that is not there.
        self.shared.lease.check()?;
        kind.to_create()?;
        let held = self.shared.create(&mut self.shared.common(), kind, bytes)?;
        Ok(self.hand_out(held, kind))
    }

    /// The owner of a count.
    pub(crate) fn hand_out<T>(&self, held: RawHandle, kind: Kind) -> Handle<T> {
        Handle { shared: Arc::clone(&self.shared), held, kind, value: PhantomData }
    }

    /// Creates a handle whose payload is the block, which from now on belongs to the handle and is immutable.
    ///
    /// # Errors
    ///
    /// [`CreateError`] and the block, unchanged.
    pub fn create_with(&self, kind: Kind, block: Block) -> Result<Handle<Raw>, (CreateError, Block)> {
        let created = self
            .shared
            .lease
            .check()
            .map_err(CreateError::from)
            .and_then(|()| kind.to_create())
            .and_then(|()| self.shared.create_with(&mut self.shared.common(), kind, block.scratch()));
        match created {
            Ok(held) => {
                block.forget();
                Ok(self.hand_out(held, kind))
            }
            Err(error) => Err((error, block)),
        }
    }

    /// Opens a token as a typed value, whose bytes are validated once.
    ///
    /// # Errors
    ///
    /// [`OpenHandleError`]; nothing is held.
    pub fn open<T: Value>(&self, token: Token) -> Result<Handle<T>, OpenHandleError> {
        self.open_as::<T>(Kind::of::<T>(), token)?.validated()
    }

    /// Opens a token as raw bytes.
    ///
    /// # Errors
    ///
    /// [`OpenHandleError`]; nothing is held.
    pub fn open_raw(&self, kind: Kind, token: Token) -> Result<Handle<Raw>, OpenHandleError> {
        self.open_as(kind, token)
    }

    fn open_as<T>(&self, kind: Kind, token: Token) -> Result<Handle<T>, OpenHandleError> {
        kind.to_open()?;
        Ok(self.hand_out(self.shared.open(kind, token)?, kind))
    }

    /// Allocates scratch memory. Its contents are whatever was there before.
    ///
    /// # Errors
    ///
    /// [`AllocError`]; nothing was changed.
    pub fn alloc(&self, layout: Layout) -> Result<Block, AllocError> {
        self.shared.lease.check()?;
        let offset = self.shared.alloc(&mut self.shared.common(), layout)?;
        Ok(Block::new(Arc::clone(&self.shared), offset, layout))
    }

    /// As [`Member::alloc`], zeroed.
    ///
    /// # Errors
    ///
    /// As [`Member::alloc`].
    pub fn alloc_zeroed(&self, layout: Layout) -> Result<Block, AllocError> {
        let mut block = self.alloc(layout)?;
        block.fill(0);
        Ok(block)
    }

    /// Frees a pinned block, whoever pinned it; see [`Block::pin`].
    ///
    /// # Errors
    ///
    /// [`FreeError`] when no pinned block starts there.
    ///
    /// # Safety
    ///
    /// If a pinned block starts there, nobody in any process uses a reference or a pointer to its bytes any more.
    pub unsafe fn free_pinned(&self, offset: u64) -> Result<(), FreeError> {
        self.shared.lease.check()?;
        Ok(self.shared.scratch.free_pinned(self.shared.lease.acquire(), offset)?)
    }

    /// For tests: has [`wait_any`](crate::wait_any) do as if the kernel had no `futex_waitv`, or no longer.
    #[cfg(feature = "objects")]
    #[doc(hidden)]
    pub fn pretend_no_waitv(&self, yes: bool) {
        // Relaxed: set before one waits.
        self.shared.objects.books.no_waitv.store(yes, std::sync::atomic::Ordering::Relaxed);
    }

    /// Takes back what dead members held, without waiting for the monitor; returns how many leases were recovered.
    ///
    /// # Errors
    ///
    /// [`NotMember`].
    pub fn recover(&self) -> Result<usize, NotMember> {
        self.shared.lease.check()?;
        Ok(self.shared.lease.recover())
    }

    /// What this member took back from the dead since it joined.
    #[must_use]
    pub fn reclaimed(&self) -> Reclaimed {
        self.shared.reclaimer.reclaimed()
    }

    /// Gives what is idle in this member's caches to everybody, and the memory behind all free scratch to the system;
    /// returns its bytes. Caches in use by a [`Local`] keep what they have.
    ///
    /// # Errors
    ///
    /// [`NotMember`].
    pub fn trim(&self) -> Result<u64, NotMember> {
        self.shared.lease.check()?;
        Ok(self.shared.trim())
    }

    /// Leaves now and says whether that worked; dropping the last clone, handle and block leaves too.
    ///
    /// # Errors
    ///
    /// [`LeaveError::InUse`] while handles, blocks or clones of this member exist: references into shared memory may exist as
    /// well. [`LeaveError::NotMember`] in a forked child.
    ///
    /// # Crash
    ///
    /// Killed while leaving, the lease is still LIVE until everything was given back; recovery does the rest.
    pub fn leave(self) -> Result<(), LeaveError> {
        self.shared.lease.check()?;
        match Arc::try_unwrap(self.shared) {
            Ok(shared) => Ok(shared.lease.leave()?),
            Err(shared) => Err(LeaveError::InUse(Self { shared })),
        }
    }
}

/// Why a member has not left.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LeaveError {
    /// It is none, or not any more.
    #[error(transparent)]
    NotMember(#[from] NotMember),
    /// Handles, blocks or clones of it exist; drop them first. Here it is back.
    #[error("{0:?} cannot leave while handles, blocks or clones of it exist")]
    InUse(Member),
}
