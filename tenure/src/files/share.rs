//! Who has a file open, for what, and what it lets others do: Windows' open modes and share modes, among the members.

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

/// Words of the table of one file, for so many members: device and inode, then two words a lease.
pub(super) const fn table_words(members: u16) -> usize {
    STATE_WORDS + Shares::words(members)
}

/// An entry in the table of a file: what this member does with it, and what it lets others do. Dropping it gives it back.
///
/// Two entries go together when neither does what the other one does not share; the entries of one process count among each
/// other as those of several do. An entry that does nothing ([`Access::NONE`]) is never in the way. As on Windows, except
/// that it is an agreement of the members of one space: the kernel does not know of it, and stops nobody who does not ask.
///
/// A file is told by its device and inode, whatever path led to it. While the entry lives it keeps the file open, so that its
/// inode is not used for another file meanwhile.
///
/// ```
/// # use tenure::{Access, FileShare, ShareError, Sharing};
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

/// The entries of one member in one table. Whoever changes its word in the table has the lock.
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
    /// Asks for `access` to a file while letting others do `sharing`, and enters that into the file's table unless somebody
    /// is in the way: one step, so that of two who exclude each other exactly one enters.
    ///
    /// Open the file before, in a way that changes nothing (without truncating it), and use it afterwards. The table of a file
    /// takes 16 bytes of scratch memory for every member of the geometry, and a name that users do not see.
    ///
    /// # Errors
    ///
    /// [`ShareError::Conflict`] says who is in the way, with what. Nothing was entered then.
    ///
    /// # Progress
    ///
    /// Lock-free between processes: starts over only when somebody else's request was decided. One that was stopped in the
    /// middle of asking is decided by the others.
    ///
    /// # Crash
    ///
    /// The entries of the dead count until somebody finds them in the way; it then recovers the dead first.
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

    /// What this entry does.
    #[must_use]
    pub fn access(&self) -> Access {
        parts(self.modes).0
    }

    /// What this entry lets others do.
    #[must_use]
    pub fn sharing(&self) -> Sharing {
        parts(self.modes).1
    }

    /// Everybody who has entries for this file, with the sum of them: this member as well.
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
        // In a forked child there is neither the memory nor, perhaps, the thread that has the lock.
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

/// The table of a file: found by a name that no user can give.
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

/// Enters, after recovering whoever is in the way and dead.
fn enter_table(lease: &Lease, shares: Shares<'_>, asked: Modes) -> Result<(), ShareError> {
    let incarnations = |index| lease.incarnation_of(index);
    let mut ended = None;
    loop {
        let Err(InTheWay { lease: other, modes }) = shares.enter(lease.id(), asked, &incarnations) else {
            return Ok(());
        };
        if other != lease.id() && lease.is_alive(other) == Some(false) {
            lease.recover();
            // Another round for every lease that ended. One that could not be recovered is in the way.
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
