//! The public interface: create, attach, inspect, remove.

use std::ops::Range;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use tenure_core::LeaseId;
use tenure_core::sync::Ordering;

use crate::attachment::{Attachment, FileId};
use crate::backend::named::{self, Unlinked};
use crate::backend::{Creation, anonymous, file, memfd, private, sysv};
use crate::data_area::DataArea;
use crate::error::{JoinError, ListError, OpenError, RemoveError};
use crate::header::Header;
use crate::host::{self, BootId};
use crate::join::{self, JoinOptions};
use crate::layout::{Plan, mixed_hash};
use crate::lease::Lease;
use crate::listing::{self, Listed};
use crate::lock;
use crate::member::Reclaim;
use crate::name::{Backend, FileName, Place};
use crate::permissions::Permissions;
use crate::presence::{self, NameState};

/// The parameters of a new segment. An attacher compares those that it depends on with the existing segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// Slots in the lease table, 1 to 256.
    pub members: u16,
    /// The length of the data area; rounded up to a multiple of 4096.
    pub data_area_bytes: u64,
    /// For the owner of the data area: stored in the header, not interpreted here.
    pub geometry: [u64; 8],
    /// The hash of the layout of the data area. An attacher with another hash is refused.
    pub layout_hash: u64,
    /// Ranges of the data area that are committed at creation.
    pub commit: Vec<Range<u64>>,
    /// Who gets in. An attacher refuses a segment with others.
    pub permissions: Permissions,
}

/// A slot of the lease table, as a reader sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseInfo {
    /// The slot.
    pub index: u8,
    /// Whether the lease word is LIVE: the slot has an owner, or its dead owner is not recovered yet.
    pub live: bool,
    /// The number of times that the slot was taken.
    pub incarnation: u64,
    /// The process id of the last owner, in its own pid namespace. Information only: no decision depends on it.
    pub pid: u32,
    /// Whether the kernel says that the owner is alive. `None` for private memory and when our descriptor is lost.
    /// `live` but not `held` is a dead member that is not recovered yet.
    pub held: Option<bool>,
}

impl LeaseInfo {
    /// The lease itself: slot and incarnation.
    #[must_use]
    pub const fn id(&self) -> LeaseId {
        LeaseId { index: self.index, incarnation: self.incarnation }
    }
}

/// An attached segment, mapped read-only (private memory: writable). It is not a member; [`join`](Self::join) makes one.
///
/// A forked child inherits it and may join on its own. A reader must not write. A clone is the same mapping.
#[derive(Clone, Debug)]
pub struct Segment {
    attachment: Arc<Attachment>,
}

impl Segment {
    /// Attaches the segment at `place`, or creates it; [`created`](Self::created) tells which.
    ///
    /// `init` fills the data area of a new segment, whose committed ranges read zero before. No other process sees the segment until
    /// `init` has returned. It runs again in the rare case that an existing name vanishes meanwhile.
    ///
    /// # Errors
    ///
    /// [`OpenError`]. A segment that exists but does not fit is never replaced: see [`remove`](Self::remove).
    ///
    /// # Progress
    ///
    /// Waits for no other process. Creators that race all end up with the winner's segment.
    ///
    /// # Crash
    ///
    /// Killed inside, either nothing is left or a complete segment without members.
    pub fn open_or_create(
        place: Place,
        spec: &Spec,
        init: &mut dyn FnMut(DataArea<'_>),
    ) -> Result<Self, OpenError> {
        let header = header_for(&place, spec)?;
        let permissions = spec.permissions;
        permissions.check()?;
        let mut creation = Creation { header, spec, init };
        let attachment = match place {
            Place::Shm(name) => file::open_or_create(
                &FileName::shm(&name, boot()?)?.with(permissions),
                Backend::Shm,
                &mut creation,
            )?,
            Place::File(path) => file::open_or_create(
                &FileName::file(&path, boot()?)?.with(permissions),
                Backend::File,
                &mut creation,
            )?,
            Place::Memfd(Some(fd)) => memfd::open(fd, spec.layout_hash, permissions)?,
            Place::Memfd(None) => memfd::create(&mut creation, permissions)?,
            Place::Anonymous => anonymous::create(&mut creation)?,
            Place::SysV(name) => {
                sysv::open_or_create(&FileName::sysv(&name, boot()?)?.with(permissions), &mut creation)?
            }
            Place::Private => private::create(&mut creation)?,
        };
        Ok(Self { attachment: Arc::new(attachment) })
    }

    /// Attaches the segment at `place`.
    ///
    /// # Errors
    ///
    /// [`OpenError::NotFound`] if there is none; [`OpenError::Nameless`] for a backend whose segments can only be inherited.
    pub fn open(place: Place, layout_hash: u64, permissions: Permissions) -> Result<Self, OpenError> {
        permissions.check()?;
        // If the members of one live that has no name any more, that is the better answer.
        let missing = |name: &FileName| {
            let not_found = || OpenError::NotFound { place: name.path().display().to_string() };
            named::check_alone(name).err().unwrap_or_else(not_found)
        };
        let backend = place.backend();
        let attachment = match place {
            Place::Shm(name) => {
                let name = FileName::shm(&name, boot()?)?.with(permissions);
                file::open(&name, backend, layout_hash)?.ok_or_else(|| missing(&name))?
            }
            Place::File(path) => {
                let name = FileName::file(&path, boot()?)?.with(permissions);
                file::open(&name, backend, layout_hash)?.ok_or_else(|| missing(&name))?
            }
            Place::SysV(name) => {
                let name = FileName::sysv(&name, boot()?)?.with(permissions);
                sysv::open(&name, layout_hash)?.ok_or_else(|| missing(&name))?
            }
            Place::Memfd(Some(fd)) => memfd::open(fd, layout_hash, permissions)?,
            Place::Memfd(None) | Place::Anonymous | Place::Private => {
                return Err(OpenError::Nameless { backend });
            }
        };
        Ok(Self { attachment: Arc::new(attachment) })
    }

    /// Attaches to the anonymous segment of another process, only to look: it cannot be joined. `memory` leads to the memory, and `locks` to the memfd whose
    /// bytes are the locks, which is named after the creation id.
    ///
    /// # Errors
    ///
    /// [`OpenError`].
    pub fn look_at_anonymous(memory: &OwnedFd, locks: &OwnedFd, layout_hash: u64) -> Result<Self, OpenError> {
        Ok(Self { attachment: Arc::new(anonymous::open(memory, locks, layout_hash)?) })
    }

    pub(crate) fn over(attachment: Arc<Attachment>) -> Self {
        Self { attachment }
    }

    /// Removes a named segment, whatever its contents, and segments that had the name on other boots.
    ///
    /// With `force` it also removes a segment that has members: they continue undisturbed, no other process can attach, and the next
    /// creator may create another segment of the name. A small hidden file keeps that until then, or until the last
    /// member has left.
    ///
    /// # Errors
    ///
    /// [`RemoveError::Held`] while the segment has members; [`RemoveError::Unnamed`] if it has, and its file was removed already.
    ///
    /// # Progress
    ///
    /// Waits for no other process. A concurrent join may return `Full` or, afterwards, `Removed`.
    pub fn remove(place: &Place, force: bool) -> Result<(), RemoveError> {
        let name = match place {
            Place::Shm(name) => FileName::shm(name, removal_boot()?),
            Place::SysV(name) => FileName::sysv(name, removal_boot()?),
            Place::File(path) => FileName::file(path, removal_boot()?),
            other => return Err(RemoveError::Nameless { backend: other.backend() }),
        }
        .map_err(|error| match error {
            OpenError::InvalidName { name, why } => RemoveError::InvalidName { name, why },
            other => {
                RemoveError::Os { what: "name", place: String::new(), source: std::io::Error::other(other) }
            }
        })?;
        named::remove_leftovers(&name);
        remove_file(&name, force)
    }

    /// Takes its name from this very segment if no member lives in it, nor in another one that had the name before. Returns whether the name leads
    /// somewhere else by now: to nothing, or to a segment that somebody else made.
    ///
    /// It locks all leases, as [`remove`](Self::remove) does, before the name goes. A join has the lock of a lease before it looks whether the file still
    /// has a name. So of both at the same moment:
    /// - either the join has its lock first, and this returns false;
    /// - or this has all locks first: then the join finds no lease, or finds afterwards that the name is gone.
    ///
    /// # Progress
    ///
    /// Waits for no other process. While this is stopped with the locks, joins are `Full`.
    ///
    /// # Crash
    ///
    /// Killed inside, the segment has its name or has none; it is complete, and nobody is in it.
    #[must_use]
    pub fn unname_unused(&self) -> bool {
        let Some(lock) = &self.attachment.lock else { return false };
        let Some(name) = &lock.name else { return false };
        let path = &*name.path();
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = match rustix::fs::open(path, flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(error) => return error == Errno::NOENT,
        };
        match FileId::of(&fd) {
            Ok(id) if id == lock.id => {}
            moved => return moved.is_ok(),
        }
        // As long as `fd` is open, no process can take a lease. What cannot be asked may be locked.
        let is_unused = matches!(lock::try_write_all(&fd), Ok(true))
            && matches!(presence::is_anybody_there(name), Ok(false));
        is_unused && named::unlink(path, &fd).is_ok()
    }

    /// The segments of this user in `/dev/shm`, of the backends `Shm` and `SysV`, by name.
    ///
    /// # Errors
    ///
    /// [`ListError`] if the directory cannot be read; a segment that cannot is listed with its error.
    pub fn list() -> Result<Vec<Listed>, ListError> {
        listing::list()
    }

    /// Becomes a member. May be called any number of times; each lease has its own lock, mapping and monitor.
    ///
    /// Before this returns, it recovers the former owner of its slot and every other member that is dead by then.
    ///
    /// # Errors
    ///
    /// [`JoinError::Full`] if no slot is free. A monitor that cannot be started is no error: see [`Lease::monitor_state`].
    ///
    /// # Progress
    ///
    /// Waits for no other process as long as a slot is free. Otherwise, if some member has ended and others are recovering it,
    /// or the kernel still has its memory, it waits for its slot: some tenths of a second at most, then it is `Full`.
    ///
    /// # Crash
    ///
    /// Killed inside, the slot is unchanged, or dirty and empty; the next recoverer frees it. If another thread forks during the few
    /// system calls between open and close, the child inherits the descriptor: should we die before the child execs or exits, we
    /// appear alive until then.
    pub fn join(&self, options: JoinOptions, reclaim: Arc<dyn Reclaim>) -> Result<Lease, JoinError> {
        join::join(&self.attachment, options, reclaim)
    }

    /// The backend.
    #[must_use]
    pub fn backend(&self) -> Backend {
        self.attachment.backend
    }

    /// The slots in the lease table.
    #[must_use]
    pub fn members(&self) -> u16 {
        self.attachment.header.plan.members
    }

    /// The creator's [`Spec::geometry`].
    #[must_use]
    pub fn geometry(&self) -> [u64; 8] {
        self.attachment.header.geometry
    }

    /// The length of the data area.
    #[must_use]
    pub fn data_area_bytes(&self) -> u64 {
        self.attachment.header.plan.data_area_bytes
    }

    /// The length of the whole segment.
    #[must_use]
    pub fn total_bytes(&self) -> u64 {
        self.attachment.header.plan.total_bytes()
    }

    /// The random number that identifies the creation of the segment.
    #[must_use]
    pub fn creation_id(&self) -> u64 {
        self.attachment.header.creation_id
    }

    /// The layout hash in the header: the hash of the segment's own layout, continued over the data area's.
    #[must_use]
    pub fn layout_hash(&self) -> u64 {
        self.attachment.header.layout_hash
    }

    /// Whether this call created it.
    #[must_use]
    pub fn created(&self) -> bool {
        self.attachment.created
    }

    /// The name or path that the segment was opened by.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.attachment.name.as_deref()
    }

    /// Where the name leads at the moment: files can be removed while members live.
    #[must_use]
    pub fn name_state(&self) -> NameState {
        self.attachment.name_state()
    }

    /// The file on disk.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.attachment.lock.as_ref()?.path.as_deref()
    }

    /// The descriptor, to be passed to other processes (only a memfd needs that). It is read-only and closes on exec;
    /// an attach reopens it. `None` also once other code of this process has closed it.
    #[must_use]
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.attachment
            .lock
            .as_ref()
            .filter(|_| self.attachment.is_file_memory())
            .and_then(|lock| lock.probe())
    }

    /// The data area, read-only.
    #[must_use]
    pub fn data_area(&self) -> DataArea<'_> {
        self.attachment.read_only_control().data_area()
    }

    /// A snapshot of the lease table.
    #[must_use]
    pub fn leases(&self) -> Vec<LeaseInfo> {
        let control = self.attachment.read_only_control();
        let probe = self.attachment.lock.as_ref().and_then(|lock| lock.probe());
        let info = |index| {
            let word = control.look(index);
            // Relaxed: information only.
            let pid = control.pid(index).load(Ordering::Relaxed) as u32;
            let held = probe.and_then(|probe| lock::is_owned(probe, index).ok());
            LeaseInfo { index, live: word.is_dirty(), incarnation: word.incarnation(), pid, held }
        };
        control.slots().map(info).collect()
    }

    /// Whether the lease is alive, as [`Lease::is_alive`](crate::Lease::is_alive); for those that are no member, too.
    ///
    /// # Progress
    ///
    /// Never waits; makes a system call.
    #[must_use]
    pub fn is_alive(&self, id: LeaseId) -> Option<bool> {
        let control = self.attachment.read_only_control();
        crate::lease::is_alive(&self.attachment, id, |index| {
            let word = (u16::from(index) < control.plan().members).then(|| control.look(index))?;
            word.is_dirty().then(|| word.incarnation())
        })
    }

    /// The bytes that the file system has allocated to the segment. `None` if they are not counted (anonymous, SysV and private
    /// memory).
    #[must_use]
    pub fn committed_bytes(&self) -> Option<u64> {
        self.attachment.committed_bytes()
    }
}

fn boot() -> Result<BootId, OpenError> {
    BootId::current().map_err(|source| OpenError::Os {
        what: "read the boot id",
        place: "/proc".into(),
        source,
    })
}

fn removal_boot() -> Result<BootId, RemoveError> {
    BootId::current().map_err(|source| RemoveError::Os {
        what: "read the boot id",
        place: "/proc".into(),
        source,
    })
}

fn header_for(place: &Place, spec: &Spec) -> Result<Header, OpenError> {
    let geometry = |what, found, limit| OpenError::Geometry { what, found, limit };
    let plan = Plan::new(spec.members.into(), spec.data_area_bytes)
        .map_err(|n| geometry(n.what, n.found, n.limit))?;
    if let Some(range) = spec.commit.iter().find(|range| range.end > plan.data_area_bytes) {
        return Err(geometry("end of a committed range", range.end, plan.data_area_bytes));
    }
    let creation_id = host::random_word().map_err(|source| OpenError::Os {
        what: "get randomness",
        place: "getrandom".into(),
        source,
    })?;
    Ok(Header {
        plan,
        geometry: spec.geometry,
        layout_hash: mixed_hash(spec.layout_hash),
        creation_id,
        backend: place.backend().code(),
        shmid: 0,
    })
}

fn remove_file(name: &FileName, force: bool) -> Result<(), RemoveError> {
    let path = &*name.path();
    let place = path.display().to_string();
    let not_found = || RemoveError::NotFound { place: place.clone() };
    let os = |what| {
        let place = place.clone();
        move |source: std::io::Error| RemoveError::Os { what, place, source }
    };
    for _ in 0..named::ATTEMPTS {
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let fd = match rustix::fs::open(path, flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::NOENT) if presence::is_anybody_there(name).unwrap_or(false) => {
                if !force {
                    return Err(RemoveError::Unnamed { place });
                }
                return presence::permit_next(name, None).map_err(os("permit another segment"));
            }
            Err(Errno::NOENT) => {
                presence::end_permit(name);
                return Err(not_found());
            }
            Err(error) => return Err(os("open")(error.into())),
        };
        // As long as `fd` is open, no process can take a lease.
        if !force && !lock::try_write_all(&fd).map_err(os("lock"))? {
            let lease = lock::first_held(&fd).map_err(os("ask for the locks of"))?.unwrap_or(0);
            return Err(RemoveError::Held { place, lease });
        }
        // Before the name goes: killed in between, the segment is still there. Without force there are no members; a child that
        // inherited the lock of one, or members of a segment that had the name before, may be. If it fails, creators are refused
        // until nobody has such a lock.
        let is_anybody_there = presence::is_anybody_there(name).unwrap_or(false);
        if is_anybody_there {
            let _ = presence::permit_next(name, Header::creation_of(&fd));
        }
        match named::unlink(path, &fd) {
            Ok(Unlinked::Yes) => return Ok(()),
            Ok(Unlinked::Moved) => {}
            Err(error) => {
                if is_anybody_there {
                    presence::end_permit(name);
                }
                return Err(os("remove")(error));
            }
        }
    }
    Err(not_found())
}
