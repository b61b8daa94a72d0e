//! The tables of files: Windows' access modes and share modes among the members of a space.

use std::collections::BTreeMap;
use std::fmt;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, Weak};

use tenure_core::LeaseId;
use tenure_core::sync;
use tenure_segment::Lease;
use tenure_slab::{InTheWay, Modes, Shares};

use super::error::{Conflict, ShareError};
use super::modes::{Access, Sharing, modes, parts};
use crate::error::OpenHandleError;
use crate::kind::Kind;
use crate::member::Member;
use crate::names::Name;
use crate::object::Object;
use crate::state::STATE_WORDS;

/// Words of the table of one file, for the given number of members: device and inode, then two words for each lease.
pub(super) const fn table_words(members: u16) -> usize {
    STATE_WORDS + Shares::words(members)
}

/// An entry in the table of a file: the access of this member, and the access that it permits to others. Dropping it removes the entry.
///
/// Two entries conflict if one has an access that the other does not share; this also holds for two entries of one process. An entry
/// without access ([`Access::NONE`]) never conflicts. This is as on Windows, except that it is an agreement of the members of one space:
/// the kernel does not know the table, and does not stop a process that uses the file without an entry.
///
/// A file is identified by its device and inode, not by its path. The entry keeps the file open, so that its inode is not used for
/// another file during that time.
///
/// ```
/// # use tenure::{error::ShareError, file::{Access, FileShare, Sharing}};
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
/// # let (me, other) = (space.join()?, space.join()?);
/// # let path = std::env::current_exe()?;
/// let file = std::fs::File::open(path)?;
/// let reading = FileShare::enter(&me, &file, Access::READ, Sharing::READ)?;
///
/// // Usually in another process:
/// let also = FileShare::enter(&other, &file, Access::READ, Sharing::ALL)?;
/// let Err(ShareError::Conflict(who)) = FileShare::enter(&other, &file, Access::WRITE, Sharing::ALL) else {
///     panic!("nobody shares writing");
/// };
/// assert_eq!((who.pid, who.sharing), (std::process::id(), Sharing::READ));
/// # Ok(()) }
/// ```
pub struct FileShare {
    modes: Modes,
    entries: Arc<Mutex<Entries>>,
    object: Object,
    /// Keeps the inode.
    _file: OwnedFd,
}

/// The entries of one member in one table. A thread that changes the member's word in the table holds the lock.
#[derive(Default)]
pub(super) struct Entries(BTreeMap<Modes, u64>);

impl Entries {
    fn all(&self) -> Modes {
        self.0.keys().fold(Modes::NONE, |all, modes| all.and(*modes))
    }

    fn add(&mut self, modes: Modes) {
        *self.0.entry(modes).or_default() += 1;
    }

    fn remove(&mut self, modes: Modes) {
        if let Some(count) = self.0.get_mut(&modes) {
            *count -= 1;
            if *count == 0 {
                self.0.remove(&modes);
            }
        }
    }
}

/// The entries of one member in all tables, by the tables' tokens.
pub(super) type Tables = Mutex<BTreeMap<u64, Weak<Mutex<Entries>>>>;

impl FileShare {
    /// Adds an entry to the table of a file, with `access` for this member and `sharing` for others, unless another entry conflicts. It is
    /// one atomic step: of two conflicting requests exactly one succeeds.
    ///
    /// Open the file before this call, in a way that does not change it (without truncation), and use it afterwards. The table of a file
    /// takes 16 bytes of scratch memory for each member of the geometry, and an internal name, which users do not see.
    ///
    /// ```
    /// # use tenure::{error::ShareError, file::{Access, FileShare, Sharing}};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let path = std::env::current_exe()?;
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let (me, other) = (space.join()?, space.join()?);
    /// let file = std::fs::File::open(path)?;
    /// let alone = FileShare::enter(&me, &file, Access::READ, Sharing::NONE)?;
    /// let refused = FileShare::enter(&other, &file, Access::READ, Sharing::ALL); // usually in another process
    /// assert!(matches!(refused, Err(ShareError::Conflict(who)) if who.lease == me.lease()));
    ///
    /// drop(alone);
    /// FileShare::enter(&other, &file, Access::READ, Sharing::ALL)?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`ShareError::Conflict`] with the conflicting member and its modes; no entry was added.
    ///
    /// # Progress
    ///
    /// Lock-free between processes: starts over only when the request of another member was decided. If a member is stopped in the middle of
    /// a request, the other members decide that request.
    ///
    /// # Crash
    ///
    /// The entries of a dead member stay until they conflict with a request: that request then recovers the dead member first.
    pub fn enter(
        member: &Member,
        file: impl AsFd,
        access: Access,
        sharing: Sharing,
    ) -> Result<Self, ShareError> {
        member.check()?;
        let os = |what| move |source: std::io::Error| ShareError::Os { what, source };
        let file = file.as_fd().try_clone_to_owned().map_err(os("duplicate the descriptor"))?;
        let identity = tenure_segment::passing::Identity::of(&file).map_err(os("ask which file it is"))?;
        let object = table_of(member, identity.device, identity.inode)?;
        let shared = member.shared();
        let token = u64::from(object.token());
        let entries = {
            let mut tables = sync::lock(&shared.objects.files.tables);
            let known = tables.get(&token).and_then(Weak::upgrade);
            known.unwrap_or_else(|| {
                let entries = Arc::default();
                tables.insert(token, Arc::downgrade(&entries));
                entries
            })
        };
        let asked = modes(access, sharing);
        {
            let mut entries = sync::lock(&entries);
            enter_table(&shared.lease, shares(&object)?, asked)?;
            entries.add(asked);
        }
        Ok(Self { modes: asked, entries, object, _file: file })
    }

    /// The access of this entry.
    #[must_use]
    pub fn access(&self) -> Access {
        parts(self.modes).0
    }

    /// The access that this entry permits to others.
    #[must_use]
    pub fn sharing(&self) -> Sharing {
        parts(self.modes).1
    }

    /// All members with entries for this file, including this member, each with the sum of its entries.
    ///
    /// ```
    /// # use tenure::file::{Access, FileShare, Sharing};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let path = std::env::current_exe()?;
    /// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
    /// # let me = space.join()?;
    /// let file = std::fs::File::open(path)?;
    /// let reading = FileShare::enter(&me, &file, Access::READ, Sharing::ALL)?;
    /// let all = reading.everybody()?;
    /// assert_eq!((all.len(), all[0].lease, all[0].access), (1, me.lease(), Access::READ));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`ShareError::NotMember`].
    pub fn everybody(&self) -> Result<Vec<Conflict>, ShareError> {
        let lease = &self.object.shared().lease;
        let incarnations = |index| lease.incarnation_of(index);
        let all = shares(&self.object)?.iter(&incarnations);
        Ok(all
            .filter(|share| share.entered != Modes::NONE)
            .map(|share| told(lease, share.lease, share.entered))
            .collect())
    }
}

impl fmt::Debug for FileShare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (access, sharing) = parts(self.modes);
        f.debug_struct("FileShare")
            .field("access", &access)
            .field("sharing", &sharing)
            .finish_non_exhaustive()
    }
}

impl Drop for FileShare {
    fn drop(&mut self) {
        let shared = self.object.shared();
        // In a forked child the memory is not mapped, and the lock may be held by a thread that does not exist there.
        if shared.lease.check().is_err() {
            return;
        }
        {
            let mut entries = sync::lock(&self.entries);
            entries.remove(self.modes);
            if let Ok(shares) = shares(&self.object) {
                shares.leave(shared.lease.id(), entries.all());
            }
        }
        let mut tables = sync::lock(&shared.objects.files.tables);
        // References are taken under this lock only.
        if Arc::strong_count(&self.entries) == 1 {
            tables.remove(&self.object.token().into());
        }
    }
}

/// The table of a file, found by an internal name, which no user's name can equal.
fn table_of(member: &Member, device: u64, inode: u64) -> Result<Object, ShareError> {
    let members = member.shared().reclaimer.plan.geometry.members;
    let mut name = b"file".to_vec();
    name.extend(device.to_le_bytes());
    name.extend(inode.to_le_bytes());
    let mut buffer = Vec::new();
    let name = Name::internal(&name, &mut buffer)?;
    let rest = vec![0; 8 * (table_words(members) - STATE_WORDS)];
    let state = [device, inode, 0, 0];
    Ok(Object::create_or_open(member, name, Kind::FILE_SHARE, state, &rest)?.into_inner())
}

fn shares(object: &Object) -> Result<Shares<'_>, OpenHandleError> {
    let members = object.shared().reclaimer.plan.geometry.members;
    let words = object.words()?.get(STATE_WORDS..).unwrap_or_default();
    Shares::over(words, members)
        .ok_or_else(|| OpenHandleError::Corrupt(format!("{object:?} is too short for {members} members")))
}

/// Adds the entry; recovers dead members whose entries conflict.
fn enter_table(lease: &Lease, shares: Shares<'_>, asked: Modes) -> Result<(), ShareError> {
    let incarnations = |index| lease.incarnation_of(index);
    let mut ended = None;
    loop {
        let Err(InTheWay { lease: other, modes }) = shares.enter(lease.id(), asked, &incarnations) else {
            return Ok(());
        };
        if other != lease.id() && lease.is_alive(other) == Some(false) {
            let _ = lease.recover();
            // One more round for each lease that has ended. A dead lease that could not be recovered still conflicts.
            if lease.incarnation_of(other.index) != Some(other.incarnation) && ended != Some(other) {
                ended = Some(other);
                continue;
            }
        }
        return Err(ShareError::Conflict(told(lease, other, modes)));
    }
}

fn told(lease: &Lease, other: LeaseId, modes: Modes) -> Conflict {
    let (access, sharing) = parts(modes);
    Conflict { lease: other, pid: lease.pid_of(other).unwrap_or(0), access, sharing }
}
