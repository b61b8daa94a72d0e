//! A space: a segment with its plan. Looking needs no more; working needs a [`Member`].

use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::Arc;

use tenure_scratch_alloc::{Found as BlockInfo, Scratch};
use tenure_segment::{Backend, DataArea, JoinOptions, LeaseInfo, ListError, Listed, Place, Segment};
use tenure_slab::{HandleInfo, Slab};

use crate::error::{JoinError, OpenError, RemoveError};
use crate::geometry::{Geometry, LAYOUT_HASH, Plan};
use crate::member::Member;
use crate::options::Options;
use crate::report::{Report, Stats, look};
use crate::shared::{Reclaimer, Shared, views};

/// Handles and scratch memory that processes share. Attached, not joined: it holds nothing and writes nothing.
#[derive(Debug)]
pub struct Space {
    segment: Segment,
    plan: Arc<Plan>,
    monitor: bool,
}

impl Space {
    /// How to create or find a space.
    pub fn options() -> Options {
        Options::new()
    }

    pub(crate) fn create(place: Place, plan: &Plan, options: Options) -> Result<Self, OpenError> {
        let mut init = |data_area: DataArea<'_>| {
            // The tag goes into tokens only; any will do here.
            let (slab, scratch) = views(data_area, plan, 1);
            slab.init();
            slab.extend(plan.first_groups());
            scratch.init();
        };
        let segment = Segment::open_or_create(place, &plan.spec(), &mut init)?;
        Self::over(segment, &options)
    }

    pub(crate) fn attach(place: Place, options: Options) -> Result<Self, OpenError> {
        Self::over(Segment::open(place, LAYOUT_HASH)?, &options)
    }

    fn over(segment: Segment, options: &Options) -> Result<Self, OpenError> {
        let plan = Plan::of(segment.geometry(), segment.data_area_bytes())?;
        if plan.geometry.members != segment.members() {
            let found = vec![plan.geometry.members.into(), segment.members().into()];
            return Err(OpenError::Corrupt { what: "number of members", found });
        }
        options.accept(plan.geometry)?;
        let (slab, _) = views(segment.data_area(), &plan, 1);
        slab.verify()?;
        Ok(Self { segment, plan: Arc::new(plan), monitor: options.monitor })
    }

    /// The tag of this space's tokens: 1 to 255, from the identity of its creation.
    fn tag(&self) -> u8 {
        (self.segment.creation_id() % 255) as u8 + 1
    }

    /// Becomes a member: takes a lease, recovers what the dead left behind, starts the monitor.
    ///
    /// # Errors
    ///
    /// [`JoinError`]: as many members as the geometry allows are alive, or the locks do not work here.
    ///
    /// # Progress
    ///
    /// Waits for no process that lives. When every slot is taken, and the owner of one has died or is ending, it looks again: at most 216
    /// times, 16 of them at once and the others a millisecond apart, while others recover that slot or the kernel takes the process apart.
    /// Then it answers `Full`. Within this process its first half and a `fork` in another thread wait for each other.
    ///
    /// # Crash
    ///
    /// Killed while joining, a process leaves a lease that holds nothing; the next one to join takes it.
    pub fn join(&self) -> Result<Member, JoinError> {
        self.join_as(JoinOptions::guarded(self.monitor))
    }

    /// Becomes a member with a monitor that this thread plays: [`Member::play_monitor`]. For the proof.
    ///
    /// # Errors
    ///
    /// As [`Space::join`].
    #[doc(hidden)]
    pub fn join_monitoring_by_hand(&self) -> Result<Member, JoinError> {
        self.join_as(JoinOptions { monitor: true, by_hand: true })
    }

    fn join_as(&self, options: JoinOptions) -> Result<Member, JoinError> {
        let reclaimer = Arc::new(Reclaimer::new(Arc::clone(&self.plan), self.tag()));
        let lease = self.segment.join(options, Arc::clone(&reclaimer) as Arc<dyn tenure_segment::Reclaim>)?;
        Ok(Member::new(Shared::new(lease, reclaimer)))
    }

    /// The backend in use.
    #[must_use]
    pub fn backend(&self) -> Backend {
        self.segment.backend()
    }

    /// The name, for those that have one.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.segment.name()
    }

    /// The file, for those that have one.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.segment.path()
    }

    /// The file descriptor to pass to another process; see [`Options::from_fd`].
    #[must_use]
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.segment.fd()
    }

    /// Whether this call created it.
    #[must_use]
    pub fn created(&self) -> bool {
        self.segment.created()
    }

    /// The geometry found.
    #[must_use]
    pub fn geometry(&self) -> Geometry {
        self.plan.geometry
    }

    /// Bytes of the whole segment, most of them without memory behind them.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.segment.total_bytes()
    }

    /// The lease table: who is a member, and whether the kernel says that they live.
    #[must_use]
    pub fn leases(&self) -> Vec<LeaseInfo> {
        self.segment.leases()
    }

    /// The handles in use, as they are while one looks.
    #[must_use]
    pub fn handles(&self) -> Vec<HandleInfo> {
        let (slab, _) = self.views();
        slab.iter().collect()
    }

    /// The scratch blocks in use, pinned ones among them, as they are while one looks.
    #[must_use]
    pub fn blocks(&self) -> Vec<BlockInfo> {
        let (_, scratch) = self.views();
        scratch.iter().collect()
    }

    /// Counts what is in use. One pass over the words in use.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.look(false).stats
    }

    /// The definition of correct: looks at every word. What an operation in progress or a recovery that is due explains is
    /// pending; anything else is a violation. Without living members nothing explains anything.
    #[must_use]
    pub fn check(&self) -> Report {
        if self.leases().iter().all(|lease| !lease.live) {
            return self.look(true);
        }
        // Somebody may join, work and leave while we look, and what we see of it fit no single moment. What is really wrong
        // is still wrong when we look again.
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

    /// As [`Space::check`], when the caller knows that no member works meanwhile.
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

    /// The names in use, in their order, as they are while one looks. Nothing is held.
    #[cfg(feature = "objects")]
    #[must_use]
    pub fn names(&self) -> Vec<crate::NameInfo> {
        crate::names::list(&self.views(), &self.directory())
    }

    #[cfg(feature = "objects")]
    fn directory(&self) -> tenure_slab::Names<'_> {
        crate::names::view(self.segment.data_area(), &self.plan, self.tag())
    }

    fn views(&self) -> (Slab<'_>, Scratch<'_>) {
        views(self.segment.data_area(), &self.plan, self.tag())
    }

    /// The named spaces of this user.
    ///
    /// # Errors
    ///
    /// [`ListError`] when the directory cannot be read.
    pub fn list() -> Result<Vec<Listed>, ListError> {
        Segment::list()
    }

    /// Removes a named space: nobody can attach to it any more, and its memory goes with its last member.
    ///
    /// # Errors
    ///
    /// [`RemoveError`]: it does not exist, or has living members and `force` is not set.
    pub fn remove(backend: Backend, name: &str, force: bool) -> Result<(), RemoveError> {
        let place = match backend {
            Backend::SysV => Place::SysV(name.into()),
            Backend::File => Place::File(name.into()),
            _ => Place::Shm(name.into()),
        };
        Segment::remove(&place, force)
    }
}
