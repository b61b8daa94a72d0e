//! A space: a segment with its plan. An inspection needs no more; to hold handles and memory, join and become a [`Member`].

use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use tenure_core::LeaseId;
use tenure_scratch_alloc::{Found as BlockInfo, Scratch};
use tenure_segment::{
    Backend, DataArea, JoinOptions, LeaseInfo, ListError, Listed, NameState, Place, Segment, Spec,
};
use tenure_slab::{HandleInfo, Slab, SlotInfo, Token};

use crate::deaths::OnDeath;
use crate::error::{JoinError, OpenError, RemoveError};
use crate::events;
use crate::geometry::{Geometry, LAYOUT_HASH, Plan};
use crate::member::Member;
use crate::options::Options;
use crate::report::{Report, Stats, look};
use crate::shared::{Reclaimer, Shared, views};

/// Handles and scratch memory that processes share. A `Space` is attached, but is not a member: it holds nothing and writes
/// nothing. [`Space::join`] makes a member.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
/// let me = space.join()?;
/// let handle = me.create(&7u64)?;
/// assert_eq!(space.stats().handles_live, 1);
/// assert!(space.check().is_clean());
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Space {
    segment: Segment,
    plan: Arc<Plan>,
    monitor: bool,
    read_only: bool,
    on_death: Option<OnDeath>,
}

impl Space {
    /// The options to create a space or to attach to one.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let space = tenure::Space::options().handles(64).scratch(1 << 20).private()?;
    /// assert_eq!(space.geometry().handles, 64);
    /// # Ok(()) }
    /// ```
    pub fn options() -> Options {
        Options::new()
    }

    pub(crate) fn create(place: Place, plan: &Plan, options: Options) -> Result<Self, OpenError> {
        let mut init = |data_area: DataArea<'_>| {
            // The tag goes into tokens only, and no token is made here: any tag serves.
            let (slab, scratch) = views(data_area, data_area, plan, 1);
            slab.init();
            slab.extend(plan.first_groups());
            scratch.init();
        };
        let spec = Spec { permissions: options.permissions, ..plan.spec() };
        // Others may change the geometry back and forth: at some time that is an error.
        let (mut place, mut attempts) = (place, if options.replaces_unused { 16 } else { 0 });
        let mut is_replaced = false;
        loop {
            let again = place.by_name().filter(|_| attempts > 0);
            let segment = Segment::open_or_create(place, &spec, &mut init)?;
            match (Self::over(segment.clone(), &options), again) {
                (Err(OpenError::Geometry { .. }), Some(again)) if segment.unname_unused() => {
                    (place, is_replaced) = (again, true);
                    attempts -= 1;
                }
                (space, _) => {
                    let space = space?;
                    events::space(&space, is_replaced && space.created());
                    return Ok(space);
                }
            }
        }
    }

    pub(crate) fn attach(place: Place, options: Options) -> Result<Self, OpenError> {
        let space = Self::over(Segment::open(place, LAYOUT_HASH, options.permissions)?, &options)?;
        events::space(&space, false);
        Ok(space)
    }

    pub(crate) fn look_at_anonymous(
        memory: &OwnedFd,
        locks: &OwnedFd,
        options: &Options,
    ) -> Result<Self, OpenError> {
        let space = Self::over(Segment::look_at_anonymous(memory, locks, LAYOUT_HASH)?, options)?;
        events::space(&space, false);
        Ok(space)
    }

    fn over(segment: Segment, options: &Options) -> Result<Self, OpenError> {
        let plan = Plan::of(segment.geometry(), segment.data_area_bytes())?;
        if plan.geometry.members != segment.members() {
            let found = vec![plan.geometry.members.into(), segment.members().into()];
            return Err(OpenError::Corrupt { what: "number of members", found });
        }
        options.accept(plan.geometry)?;
        let data_area = segment.data_area();
        let (slab, _) = views(data_area, data_area, &plan, 1);
        slab.verify()?;
        let on_death = options.on_death.clone();
        let (monitor, read_only) = (options.monitor, options.read_only);
        Ok(Self { segment, plan: Arc::new(plan), monitor, read_only, on_death })
    }

    /// The tag of this space's tokens: 1 to 255, computed from the id of its creation.
    fn tag(&self) -> u8 {
        (self.segment.creation_id() % 255) as u8 + 1
    }

    /// Becomes a member: takes a lease, recovers dead members, and starts the monitor.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let space = tenure::Space::options().members(1).scratch(1 << 20).anonymous()?;
    /// let me = space.join()?;
    /// assert!(matches!(space.join(), Err(tenure::error::JoinError::Full { members: 1 })));
    ///
    /// drop(me); // leaves: the slot is free again
    /// let again = space.join()?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`JoinError`], for instance [`JoinError::Full`] when as many members as the geometry allows are alive, or
    /// [`JoinError::LockNotPinned`] when the file system does not keep the lock of a lease.
    ///
    /// # Progress
    ///
    /// Never waits for a live process. When every slot is taken, and the owner of one has died or is ending, it looks again: at most
    /// 216 times, 16 of them at once and the others a millisecond apart, while other members recover that slot or the kernel ends the
    /// process. Then it returns `Full`. Within this process, the first half of a join and a `fork` in another thread wait for each
    /// other.
    ///
    /// # Crash
    ///
    /// A process that is killed while it joins leaves a lease that holds nothing; the next join takes the slot.
    pub fn join(&self) -> Result<Member, JoinError> {
        self.join_as(JoinOptions::guarded(self.monitor))
    }

    /// The space of a member.
    pub(crate) fn of(shared: &Shared) -> Self {
        Self {
            segment: shared.lease.segment(),
            plan: Arc::clone(&shared.reclaimer.plan),
            monitor: shared.lease.is_guarded(),
            read_only: shared.check_writer().is_err(),
            on_death: shared.reclaimer.on_death.clone(),
        }
    }

    pub(crate) fn join_as(&self, options: JoinOptions) -> Result<Member, JoinError> {
        let (reclaimer, ear) = Reclaimer::new(Arc::clone(&self.plan), self.tag(), self.on_death.clone());
        let reclaimer = Arc::new(reclaimer);
        let lease = self.segment.join(options, Arc::clone(&reclaimer) as Arc<dyn tenure_segment::Reclaim>)?;
        if let Some(ear) = ear {
            // What was recovered meanwhile waits for it.
            let what = "start the thread that tells of deaths";
            ear.listen().map_err(|source| JoinError::Os { what, source })?;
        }
        events::joined(lease.id());
        let reader = self.read_only.then(|| self.segment.clone());
        Ok(Member::new(Shared::new(lease, reclaimer, reader)))
    }

    /// The backend in use.
    ///
    /// ```
    /// # use tenure::{Backend, Space};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let space = Space::options().scratch(1 << 20).memfd()?;
    /// assert_eq!((space.backend(), space.name(), space.path()), (Backend::Memfd, None, None));
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn backend(&self) -> Backend {
        self.segment.backend()
    }

    /// The name of the space; `None` for a backend without names.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let name = format!("doc-name-{}", std::process::id());
    /// let space = tenure::Space::options().scratch(1 << 20).open(&name)?;
    /// assert_eq!(space.name(), Some(name.as_str()));
    /// # tenure::Space::remove(tenure::Backend::Shm, &name, false)?;
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.segment.name()
    }

    /// The path of the space's file; `None` for a backend without files.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.segment.path()
    }

    /// Where the name leads at the moment. A file can be removed while members live: by `Space::remove` with force, or by somebody else,
    /// for instance systemd's `RemoveIPC=` at the end of a login session. Its members go on, and nobody else finds them.
    ///
    /// ```
    /// use tenure::{NameState, Space};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let name = format!("doc-name-state-{}", std::process::id());
    /// let space = Space::options().scratch(1 << 20).open(&name)?;
    /// let me = space.join()?;
    /// assert_eq!(space.name_state(), NameState::Current);
    ///
    /// std::fs::remove_file(space.path().ok_or("no path")?)?;
    /// assert_eq!(space.name_state(), NameState::Removed);
    /// // While members live, nobody creates a second space of the name by mistake.
    /// assert!(Space::options().scratch(1 << 20).open(&name).is_err());
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn name_state(&self) -> NameState {
        self.segment.name_state()
    }

    /// The file descriptor to pass to another process; see [`Options::from_fd`]. `None` for a backend without descriptors.
    ///
    /// ```
    /// # use tenure::Space;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// assert!(Space::options().scratch(1 << 20).memfd()?.fd().is_some());
    /// assert!(Space::options().scratch(1 << 20).private()?.fd().is_none());
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.segment.fd()
    }

    /// Whether the call that returned this `Space` created the space; false if it attached.
    #[must_use]
    pub fn created(&self) -> bool {
        self.segment.created()
    }

    /// The geometry of the space.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// assert_eq!(space.geometry().scratch_bytes, 1 << 20);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn geometry(&self) -> Geometry {
        self.plan.geometry
    }

    /// The size of the whole segment in bytes. Most of these bytes have no memory behind them until they are used.
    ///
    /// ```
    /// # use tenure::Space;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let space = Space::options().scratch(1 << 20).private()?;
    /// assert!(space.bytes() > 1 << 20); // the scratch memory, and the tables before it
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.segment.total_bytes()
    }

    /// The lease table: for each slot its owner, and whether the kernel says that the owner is alive.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// let me = space.join()?;
    /// let leases = space.leases();
    /// let mine = &leases[usize::from(me.lease().index)];
    /// assert!(mine.live && mine.pid == std::process::id());
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn leases(&self) -> Vec<LeaseInfo> {
        self.segment.leases()
    }

    /// Whether the lease is that of a living member: [`Member::lease`], [`LeaseInfo::id`], or the owner that came with a
    /// [block](crate::raw::RawBlock). It stays false for ever once it is. `None` if the kernel cannot be asked: in a [private](Options::private) space, or
    /// if other code has closed our descriptor.
    ///
    /// A process that joins a full space in the place of a dead member counts as that one until it has recovered it.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// let other = space.join()?; // usually in another process
    /// let lease = other.lease();
    /// assert_eq!(space.is_alive(lease), Some(true));
    /// drop(other);
    /// let again = space.join()?; // in the same slot
    /// assert_eq!(again.lease().index, lease.index);
    /// assert_eq!(space.is_alive(lease), Some(false));
    /// # Ok(()) }
    /// ```
    ///
    /// # Progress
    ///
    /// Never waits; makes a system call.
    #[must_use]
    pub fn is_alive(&self, lease: LeaseId) -> Option<bool> {
        self.segment.is_alive(lease)
    }

    /// The handles in use. Other processes may change them during the call, so the list is not a snapshot of one moment.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let handle = me.create(&7u64)?;
    /// let handles = space.handles();
    /// assert_eq!((handles.len(), handles[0].index), (1, handle.token().index()));
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn handles(&self) -> Vec<HandleInfo> {
        let (slab, _) = self.views();
        slab.iter().collect()
    }

    /// The token of a handle of [`Space::handles`]. `None` if its words are corrupt.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let handle = me.create(&7u64)?;
    /// assert_eq!(space.token_of(&space.handles()[0]), Some(handle.token()));
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn token_of(&self, handle: &HandleInfo) -> Option<Token> {
        Token::new(self.tag(), handle.generation, handle.index)
    }

    /// The slots that are not empty, by number. Other processes may change them during the call, so the list is not a snapshot of one
    /// moment.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let space = tenure::Space::options().slots(8).handles(64).scratch(1 << 20).anonymous()?;
    /// let me = space.join()?;
    /// let handle = me.create(&7u64)?;
    /// me.slots().put(3, &handle)?;
    /// let slots = space.slots();
    /// assert_eq!((slots.len(), slots[0].slot, slots[0].token), (1, 3, handle.token()));
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn slots(&self) -> Vec<SlotInfo> {
        let (slab, _) = self.views();
        slab.kept().collect()
    }

    /// The scratch blocks in use, including pinned ones. Other processes may change them during the call, so the list is not a
    /// snapshot of one moment.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let block = me.alloc(std::alloc::Layout::new::<[u64; 8]>())?;
    /// assert!(space.blocks().iter().any(|found| found.offset == block.offset() && found.bytes >= 64));
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn blocks(&self) -> Vec<BlockInfo> {
        let (_, scratch) = self.views();
        scratch.iter().collect()
    }

    /// Counts the members, handles, blocks and bytes in use, in one pass over the words in use.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let block = me.alloc(std::alloc::Layout::new::<[u64; 8]>())?;
    /// let stats = space.stats();
    /// assert_eq!((stats.members_live, stats.blocks_leased), (1, 1));
    /// assert!(stats.bytes_live >= 64 && stats.bytes_capacity >= 1 << 20);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.look(false).stats
    }

    /// Checks every word of the space against the invariants of docs/architecture.md. States that an operation in progress or a due
    /// recovery can produce are `pending`; all others are `violations`. Without live members no state is `pending`.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let handle = me.create(&7u64)?;
    /// let report = space.check();
    /// assert!(report.is_clean(), "{:?}", report.violations);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn check(&self) -> Report {
        if self.leases().iter().all(|lease| !lease.live) {
            return self.look(true);
        }
        // A process may join, work and leave during one pass, and the words that the pass loads may belong to no single moment. A
        // real violation is still there in the next passes.
        let mut report = self.look(false);
        for _ in 0..3 {
            if report.is_clean() {
                break;
            }
            let again = self.look(false);
            report.violations.retain(|violation| again.violations.contains(violation));
        }
        report
    }

    /// As [`Space::check`], for a caller that knows that no member works during the call: no state is `pending`.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let handle = me.create(&7u64)?;
    /// assert!(space.check_quiet().pending.is_empty()); // no other thread or process works on the space
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn check_quiet(&self) -> Report {
        self.look(true)
    }

    fn look(&self, stable: bool) -> Report {
        let (views, leases) = (self.views(), self.leases());
        #[cfg_attr(not(feature = "objects"), expect(unused_mut, reason = "objects add to it"))]
        let mut report = look(&views, &leases, self.segment.committed_bytes(), stable);
        #[cfg(feature = "objects")]
        {
            crate::files::check(&views.0, &views.1, &leases, stable, &mut report);
            crate::names::check(&views, &self.directory(), &leases, stable, &mut report);
        }
        report
    }

    /// The names in use, sorted. Other processes may change them during the call; the call holds none of the handles.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let limit = me.named("limit").create(&7u64)?;
    /// let names = space.names();
    /// assert_eq!((names[0].name.as_str(), names[0].holders), ("limit", 1));
    /// assert_eq!(names[0].token, limit.token());
    /// # Ok(()) }
    /// ```
    #[cfg(feature = "objects")]
    #[must_use]
    pub fn names(&self) -> Vec<crate::NameInfo> {
        crate::names::list(&self.views(), &self.directory())
    }

    /// The system's own objects in use: who has each lock, and how full each queue is. Other processes may change them during the call, so
    /// the list is not a snapshot of one moment; the call holds none of them.
    ///
    /// ```
    /// use tenure::{sync::Mutex, ObjectState, Space};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let space = Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let mutex = Mutex::create(&me)?;
    /// let guard = mutex.lock()?;
    /// let objects = space.objects(); // usually in another process
    /// let ObjectState::Lock { owner, .. } = &objects[0].state else { panic!("{objects:?}") };
    /// assert_eq!(owner.map(|owner| owner.lease), Some(me.lease().index));
    /// # Ok(()) }
    /// ```
    #[cfg(feature = "objects")]
    #[must_use]
    pub fn objects(&self) -> Vec<crate::ObjectInfo> {
        let (slab, scratch) = self.views();
        let data_area = self.segment.data_area();
        let before = self.segment.total_bytes() - self.segment.data_area_bytes();
        let offset =
            |word: *const tenure_core::sync::Word| before + (word.addr() - data_area.base().addr()) as u64;
        crate::objects::list(&slab, &scratch, self.tag(), self.plan.geometry.members, offset)
    }

    #[cfg(feature = "objects")]
    fn directory(&self) -> tenure_slab::Names<'_> {
        crate::names::view(self.segment.data_area(), &self.plan, self.tag())
    }

    fn views(&self) -> (Slab<'_>, Scratch<'_>) {
        let data_area = self.segment.data_area();
        views(data_area, data_area, &self.plan, self.tag())
    }

    /// Lists the named spaces of this user, sorted by name.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let name = format!("doc-list-{}", std::process::id());
    /// let space = tenure::Space::options().handles(64).scratch(1 << 20).open(&name)?;
    /// assert!(tenure::Space::list()?.iter().any(|listed| listed.name == name && listed.bytes == space.bytes()));
    /// # tenure::Space::remove(tenure::Backend::Shm, &name, false)?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`ListError`] when the directory cannot be read.
    pub fn list() -> Result<Vec<Listed>, ListError> {
        Segment::list()
    }

    /// Removes a named space: from now on no process can attach to it, and its memory is freed when its last member leaves or dies.
    /// `name` is the path for [`Backend::File`]. With `force` it may have members, and another space of the name may be created beside
    /// them.
    ///
    /// ```
    /// use tenure::{error::RemoveError, Backend, Space};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let name = format!("doc-remove-{}", std::process::id());
    /// let space = Space::options().handles(64).scratch(1 << 20).open(&name)?;
    /// let me = space.join()?;
    /// assert!(matches!(Space::remove(Backend::Shm, &name, false), Err(RemoveError::Held { .. })));
    ///
    /// drop(me);
    /// Space::remove(Backend::Shm, &name, false)?;
    /// assert!(Space::options().attach(&name).is_err());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`RemoveError`], for instance [`RemoveError::NotFound`]; [`RemoveError::Held`] when the space has live members and `force`
    /// is false, [`RemoveError::Unnamed`] when somebody has also removed its file.
    pub fn remove(backend: Backend, name: &str, force: bool) -> Result<(), RemoveError> {
        let place = match backend {
            Backend::SysV => Place::SysV(name.into()),
            Backend::File => Place::File(name.into()),
            _ => Place::Shm(name.into()),
        };
        Segment::remove(&place, force)
    }
}
