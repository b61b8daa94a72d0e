//! A member: the owner of a lease, which can hold handles and memory.

use std::alloc::Layout;
use std::marker::PhantomData;
use std::sync::Arc;

use tenure_core::LeaseId;
use tenure_segment::MonitorState;

use crate::block::Block;
use crate::error::{AllocError, CreateError, FreeError, NotMember, OpenHandleError, RecoverError, Returned};
use crate::handle::{Handle, Raw};
use crate::kind::Kind;
use crate::local::Local;
#[cfg(feature = "objects")]
use crate::names::Name;
use crate::place::{Key, Place};
use crate::raw::RawHandle;
use crate::shared::{Reclaimed, Shared};
use crate::slots::Slots;
use crate::space::Space;
#[cfg(feature = "typed")]
use crate::typed::Value;

/// A member of a space: the owner of a lease. The member leaves when the last clone of it, and the last handle and block that it
/// made, are dropped.
///
/// All threads of the process can share a member; for speed, give each thread a [`Local`].
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
/// let me = space.join()?;
/// let handle = me.create(&7u64)?;
/// let mut block = me.alloc_zeroed(std::alloc::Layout::new::<[u64; 8]>())?;
/// block[0] = 1;
/// assert_eq!((handle.get()?.to_native(), block.len()), (7, 64));
/// # Ok(()) }
/// ```
///
/// # Fork
///
/// A forked child is not a member: every call fails with [`NotMember::ForkedChild`], and a drop does nothing. The child can join
/// by itself, through the [`Space`](crate::Space) that it inherited. The memory behind references from before the fork is not
/// mapped in the child.
#[derive(Clone, Debug)]
pub struct Member {
    shared: Arc<Shared>,
}

impl Member {
    pub(crate) fn new(shared: Shared) -> Self {
        Self { shared: Arc::new(shared) }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// The lease of this member: slot and incarnation.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let lease = me.lease(); // to pass with a raw block, for instance
    /// assert!(space.leases()[usize::from(lease.index)].live);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn lease(&self) -> LeaseId {
        self.shared.lease.id()
    }

    /// The space that this member joined, with the options of that join: for code that has only the member. A forked child can join
    /// through it.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let other = me.space().join()?;
    /// assert_eq!(me.space().stats().members_live, 2);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn space(&self) -> Space {
        Space::of(&self.shared)
    }

    /// Checks that this process is still the member.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// assert_eq!(me.check(), Ok(()));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`NotMember`]: this process is a forked child, or the member has left.
    #[inline]
    pub fn check(&self) -> Result<(), NotMember> {
        self.shared.lease.check()
    }

    /// Whether this member is notified of the death of others, and what is missing if it is not. The monitor looks at the moment of
    /// the call: a process may lose rights, descriptors or threads that it had when it joined.
    ///
    /// ```
    /// # use tenure::{MonitorState, Space};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let space = Space::options().scratch(1 << 20).monitor(false).anonymous()?;
    /// assert_eq!(space.join()?.monitor_state(), MonitorState::Off);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn monitor_state(&self) -> MonitorState {
        self.shared.lease.monitor_state()
    }

    /// Creates the fast access of one thread to this member.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let mut local = me.local(); // one for each thread
    /// let held = local.create(tenure::Kind::raw(1), b"tea")?;
    /// // SAFETY: this member holds the handle until the `close`; nothing else closes this count.
    /// unsafe {
    ///     assert_eq!(local.get(&held)?, b"tea");
    ///     local.close(held)?;
    /// }
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn local(&self) -> Local<'_> {
        Local::new(&self.shared)
    }

    /// The slots of the space, for this member; see [`Slots`].
    #[must_use]
    pub fn slots(&self) -> Slots<'_> {
        Slots::new(&self.shared)
    }

    /// Creates a handle with a typed value, archived by rkyv. A value of up to 32 archived bytes lies in the handle's own cache line, a
    /// longer one in a block.
    ///
    /// ```
    /// use tenure::error::CreateError;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let space = tenure::Space::options().handles(1).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let handle = me.create(&7u64)?;
    /// assert_eq!(handle.get()?.to_native(), 7);
    /// assert!(matches!(me.create(&8u64), Err(CreateError::Exhausted { capacity: 1 })));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`CreateError`], for instance [`CreateError::Exhausted`] when every handle is in use; nothing was created.
    ///
    /// # Progress
    ///
    /// Lock-free between processes. Within one process it may wait for other calls on this member without a [`Local`], and for first
    /// opens and last closes of the same handle. When handles or memory run out, it recovers dead members before it fails.
    ///
    /// # Crash
    ///
    /// A process that is killed here has created the handle or not; recovery closes a handle that only this process holds.
    #[cfg(feature = "typed")]
    pub fn create<T: Value>(&self, value: &T) -> Result<Handle<T>, CreateError> {
        self.create_as(Kind::of::<T>(), value)
    }

    /// As [`Member::create`], with a kind of the application's choice instead of one that is derived from the type's path. Programs that are built
    /// apart, or by several compilers, agree on a [`Kind::named`]. The payload is the archive as raw bytes: other calls with kinds, such
    /// as [`Member::open_raw`], open it as well, and [`Handle::get_as`] reads it.
    ///
    /// ```
    /// use rkyv::{Archive, Serialize};
    /// use tenure::{error::OpenHandleError, Kind};
    ///
    /// #[derive(Archive, Serialize)]
    /// struct Order {
    ///     id: u64,
    /// }
    /// const ORDER: Kind = Kind::named("shop.example/order", 1);
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let (me, other) = (space.join()?, space.join()?);
    /// let order = me.create_as(ORDER, &Order { id: 7 })?;
    /// let opened = other.open_as::<Order>(ORDER, order.token())?; // usually in another program
    /// assert_eq!(opened.get()?.id.to_native(), 7);
    /// let derived = other.open::<Order>(order.token());
    /// assert!(matches!(derived, Err(OpenHandleError::ForeignKind { .. })));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Member::create`]; [`CreateError::SystemKind`] for a kind of the system's own objects.
    #[cfg(feature = "typed")]
    pub fn create_as<T: Value>(&self, kind: Kind, value: &T) -> Result<Handle<T>, CreateError> {
        Place::from(self).create_as(kind, value)
    }

    /// Creates a handle with a copy of `bytes`.
    ///
    /// ```
    /// use tenure::Kind;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let handle = me.create_raw(Kind::raw(1), b"tea")?;
    /// assert_eq!(handle.get()?, b"tea");
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Member::create`]; [`CreateError::SystemKind`] for a kind of the system's own objects.
    pub fn create_raw(&self, kind: Kind, bytes: &[u8]) -> Result<Handle<Raw>, CreateError> {
        Place::from(self).create_raw(kind, bytes)
    }

    /// The owner of a count.
    pub(crate) fn hand_out<T>(&self, held: RawHandle, kind: Kind) -> Handle<T> {
        Handle { shared: Arc::clone(&self.shared), held, kind, value: PhantomData }
    }

    /// Creates a handle with the block as its payload, without a copy. From now on the block belongs to the handle and is immutable.
    ///
    /// ```
    /// use tenure::Kind;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let mut block = me.alloc(std::alloc::Layout::new::<[u8; 100]>())?;
    /// block.fill(7);
    /// let handle = me.create_with(Kind::raw(1), block)?;
    /// assert_eq!(handle.get()?, [7; 100]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`CreateError`] and the block, unchanged.
    pub fn create_with(&self, kind: Kind, block: Block) -> Result<Handle<Raw>, Returned<CreateError, Block>> {
        let created = self
            .shared
            .lease
            .check()
            .map_err(CreateError::from)
            .and_then(|()| kind.to_create())
            .and_then(|()| block.check_owner(&self.shared))
            .and_then(|()| self.shared.create_with(&mut self.shared.common(), kind, block.scratch()));
        match created {
            Ok(held) => {
                block.forget();
                Ok(self.hand_out(held, kind))
            }
            Err(error) => Err(Returned { error, value: block }),
        }
    }

    /// Opens the handle of a token, or the one that has a name, as a typed value. The bytes are validated once, here.
    ///
    /// ```
    /// use tenure::error::OpenHandleError;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let (me, other) = (space.join()?, space.join()?);
    /// let handle = me.create(&7u64)?;
    /// let opened = other.open::<u64>(handle.token())?; // usually in another process
    /// assert_eq!(opened.get()?.to_native(), 7);
    /// assert!(matches!(other.open::<u32>(handle.token()), Err(OpenHandleError::ForeignKind { .. })));
    ///
    /// let token = handle.token();
    /// drop((handle, opened)); // the last holder closes the handle
    /// assert!(matches!(other.open::<u64>(token), Err(OpenHandleError::Stale { .. })));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`OpenHandleError`], for instance [`OpenHandleError::Stale`] or [`OpenHandleError::ForeignKind`]; nothing is held.
    ///
    /// # Progress
    ///
    /// Lock-free between processes. Within one process, a first open may wait for other first opens and last closes of the same
    /// handle. A second open in the same process writes private memory only.
    ///
    /// # Crash
    ///
    /// Recovery closes the handle for a process that is killed.
    #[cfg(feature = "typed")]
    pub fn open<'k, T: Value>(&self, key: impl Into<Key<'k>>) -> Result<Handle<T>, OpenHandleError> {
        self.open_as(Kind::of::<T>(), key)
    }

    /// Opens a handle as a value of a kind of the application's choice; see [`Member::create_as`]. Otherwise as [`Member::open`].
    ///
    /// # Errors
    ///
    /// As [`Member::open`]; [`OpenHandleError::SystemKind`] for a kind of the system's own objects.
    #[cfg(feature = "typed")]
    pub fn open_as<'k, T: Value>(
        &self,
        kind: Kind,
        key: impl Into<Key<'k>>,
    ) -> Result<Handle<T>, OpenHandleError> {
        self.open_kind::<T>(kind, key.into())?.validated()
    }

    /// Opens the handle of a token, or the one that has a name, as raw bytes.
    ///
    /// ```
    /// use tenure::{error::OpenHandleError, Kind};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let (me, other) = (space.join()?, space.join()?);
    /// let handle = me.create_raw(Kind::raw(1), b"tea")?;
    /// let opened = other.open_raw(Kind::raw(1), handle.token())?; // usually in another process
    /// assert_eq!(opened.get()?, b"tea");
    /// let wrong = other.open_raw(Kind::raw(2), handle.token());
    /// assert!(matches!(wrong, Err(OpenHandleError::ForeignKind { .. })));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Member::open`]; [`OpenHandleError::SystemKind`] for a kind of the system's own objects.
    pub fn open_raw<'k>(&self, kind: Kind, key: impl Into<Key<'k>>) -> Result<Handle<Raw>, OpenHandleError> {
        self.open_kind(kind, key.into())
    }

    fn open_kind<T>(&self, kind: Kind, key: Key<'_>) -> Result<Handle<T>, OpenHandleError> {
        kind.to_open()?;
        Ok(self.hand_out(self.open_key(kind, key)?, kind))
    }

    /// Opens a handle of a kind once more.
    #[inline]
    pub(crate) fn open_key(&self, kind: Kind, key: Key<'_>) -> Result<RawHandle, OpenHandleError> {
        match key {
            Key::Token(token) => self.shared.open(kind, token),
            #[cfg(feature = "objects")]
            Key::Name(name) => self.shared.open_named(Name::known(name)?, kind),
            #[cfg(not(feature = "objects"))]
            Key::Never(never, _) => match never {},
        }
    }

    /// Allocates a block of scratch memory. Its bytes are initialised, but their values are arbitrary: earlier owners may have written
    /// them.
    ///
    /// ```
    /// use std::alloc::Layout;
    /// use tenure::error::{AllocError, ScratchError};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let mut block = me.alloc(Layout::from_size_align(1000, 64)?)?;
    /// block[0] = 7;
    /// assert_eq!(block.len(), 1000);
    ///
    /// let large = me.alloc(Layout::from_size_align(1 << 30, 8)?);
    /// assert!(matches!(large, Err(AllocError::Scratch(ScratchError::TooLarge { .. } | ScratchError::Exhausted { .. }))));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`AllocError`], for instance [`ScratchError::Exhausted`](crate::error::ScratchError::Exhausted) or
    /// [`ScratchError::TooLarge`](crate::error::ScratchError::TooLarge); nothing was changed.
    ///
    /// # Progress
    ///
    /// Lock-free between processes. Within one process it may wait for other calls on this member without a [`Local`]. When memory runs
    /// out, it recovers dead members before it fails.
    ///
    /// # Crash
    ///
    /// Recovery frees the blocks of a process that is killed.
    pub fn alloc(&self, layout: Layout) -> Result<Block, AllocError> {
        self.shared.lease.check()?;
        self.shared.check_writer()?;
        let offset = self.shared.alloc(&mut self.shared.common(), layout)?;
        Ok(Block::new(Arc::clone(&self.shared), offset, layout))
    }

    /// As [`Member::alloc`]; all bytes are zero.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let block = me.alloc_zeroed(std::alloc::Layout::new::<[u64; 8]>())?;
    /// assert_eq!(block[..], [0; 64]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Member::alloc`].
    pub fn alloc_zeroed(&self, layout: Layout) -> Result<Block, AllocError> {
        let mut block = self.alloc(layout)?;
        block.fill(0);
        Ok(block)
    }

    /// Frees a pinned block, which any member may have pinned; see [`Block::pin`].
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let (me, other) = (space.join()?, space.join()?);
    /// let offset = me.alloc(std::alloc::Layout::new::<[u64; 8]>())?.pin()?;
    /// drop(me);
    /// assert_eq!(space.stats().blocks_pinned, 1); // outlives the member that allocated it
    ///
    /// // SAFETY: no process uses the bytes.
    /// unsafe { other.free_pinned(offset)? };
    /// assert_eq!(space.stats().blocks_pinned, 0);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`FreeError`] when no pinned block starts at `offset`.
    ///
    /// # Safety
    ///
    /// If a pinned block starts at `offset`, no process uses a reference or a pointer to its bytes any more.
    pub unsafe fn free_pinned(&self, offset: u64) -> Result<(), FreeError> {
        self.shared.lease.check()?;
        Ok(self.shared.scratch.free_pinned(self.shared.lease.acquire(), offset)?)
    }

    /// Recovers dead members now, without waiting for the monitor: closes their handles and frees their blocks. Returns the number of
    /// leases that this call recovered.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// assert_eq!(me.recover()?, 0); // no member has died
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`RecoverError::NotMember`]; [`RecoverError::Unable`] if there are other members and the kernel cannot be asked which of them are
    /// dead. What a recovery needs is opened by the join, so this needs no right, path or free descriptor.
    ///
    /// # Crash
    ///
    /// If this process is killed, the next recovery starts over.
    pub fn recover(&self) -> Result<usize, RecoverError> {
        self.shared.lease.recover()
    }

    /// The number of leases, handles and blocks that this member has recovered since it joined.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// assert_eq!(me.reclaimed(), tenure::Reclaimed::default());
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn reclaimed(&self) -> Reclaimed {
        self.shared.reclaimer.reclaimed()
    }

    /// Returns the idle handles and blocks of this member's caches to the space, and the memory behind free scratch to the system.
    /// Returns the number of bytes given to the system: none while there is a [`Map`](crate::collections::Map), whose readers may load from there. The cache of a
    /// [`Local`] that exists stays as it is.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// drop(me.alloc_zeroed(std::alloc::Layout::new::<[u8; 100_000]>())?);
    /// let bytes = me.trim()?;
    /// println!("{bytes} bytes returned to the system");
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`NotMember`].
    pub fn trim(&self) -> Result<u64, NotMember> {
        self.shared.lease.check()?;
        Ok(self.shared.trim())
    }

    /// Leaves now, and reports a failure. Dropping the last clone, handle and block leaves as well, but cannot report one.
    ///
    /// ```
    /// use tenure::error::LeaveError;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// let me = space.join()?;
    /// let handle = me.create(&7u64)?;
    /// let Err(returned) = me.leave() else { panic!("the handle exists") };
    /// assert!(matches!(returned.error, LeaveError::InUse));
    /// drop(handle);
    /// returned.value.leave()?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// The member is returned. [`LeaveError::InUse`] while handles, blocks or clones of it exist: references into shared memory may exist too.
    /// [`LeaveError::NotMember`] in a forked child.
    ///
    /// # Crash
    ///
    /// The lease stays LIVE until everything is given back. If the process is killed before, recovery gives back the rest.
    pub fn leave(self) -> Result<(), Returned<LeaveError, Self>> {
        if let Err(error) = self.shared.lease.check() {
            return Err(Returned { error: error.into(), value: self });
        }
        match Arc::try_unwrap(self.shared) {
            Ok(mut shared) => {
                // Before the mapping is out of reach: they may still be about words of it.
                shared.close_threads();
                shared.lease.leave().map_err(|error| {
                    let value = Self { shared: Arc::new(shared) };
                    Returned { error: error.into(), value }
                })
            }
            Err(shared) => Err(Returned { error: LeaveError::InUse, value: Self { shared } }),
        }
    }
}

/// Why a member has not left.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LeaveError {
    /// This process is a forked child, or the member has left already.
    #[error(transparent)]
    NotMember(#[from] NotMember),
    /// Handles, blocks or clones of the member exist; drop them first.
    #[error("a member cannot leave while handles, blocks or clones of it exist")]
    InUse,
}
