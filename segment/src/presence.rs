//! That members live, told by the folder of their file: each member holds a read lock on a byte of the folder itself.
//!
//! A file can lose its name while members live: systemd's RemoveIPC=, tmpfiles, `rm`. Whoever creates a segment of that name then would
//! make a second one beside the first, and both would believe to be alone. The folder stays, and so do the locks on it: the creator
//! asks for them. The byte is `{ hash of the name without the boot:46 | creation:16 }`, so the lock also tells whether the members are
//! of the caller's own segment. No byte is written or read: these offsets are far behind the end of any folder.
//!
//! A lock of a folder is not pinned by a mapping. It lasts as long as the descriptor: in a monitor's own descriptor table, until the
//! member ends; elsewhere, until the program closes it. A missing lock only means that a removal is not noticed.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags};

use crate::attachment::Exposed;
use crate::error::OpenError;
use crate::host;
use crate::layout::{FNV_START, fnv1a};
use crate::lock::{self, Bytes};
use crate::name::{FileName, SHM_DIRECTORY, SHM_PREFIX};

const CREATION_BITS: u32 = 16;
const CREATIONS: i64 = 1 << CREATION_BITS;

/// The first byte of all segments that had the name; `stem` is its file name without the boot.
fn first_of(stem: &str) -> i64 {
    (fnv1a(FNV_START, stem.as_bytes()) >> (64 - 46)) as i64 * CREATIONS
}

fn stem_of(name: &FileName) -> String {
    format!("{}{}", name.stem, name.suffix)
}

fn creation_of(creation_id: u64) -> i64 {
    creation_id as i64 & (CREATIONS - 1)
}

fn open(directory: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(directory, flags, Mode::empty())?)
}

/// The lock of one member. Dropping it releases the lock.
#[derive(Debug)]
pub(crate) struct Presence {
    _folder: Exposed,
}

impl Presence {
    /// Takes the lock. `None` if the folder cannot be read or locked.
    pub(crate) fn claim(name: &FileName, creation_id: u64) -> Option<Self> {
        let folder = open(&name.directory).ok()?;
        let byte = Bytes { first: first_of(&stem_of(name)) + creation_of(creation_id), count: 1 };
        lock::try_read_bytes(&folder, byte).ok()?.then_some(())?;
        Some(Self { _folder: Exposed::new(folder).ok()? })
    }
}

/// Whether members live of a segment that had the name: of any, or of any but the one with this id.
pub(crate) fn is_anybody_there(name: &FileName, but: Option<u64>) -> io::Result<bool> {
    let folder = open(&name.directory)?;
    let first = first_of(&stem_of(name));
    let is_locked = |from: i64, to: i64| {
        let bytes = Bytes { first: first + from, count: to - from };
        if from < to { lock::is_locked(&folder, bytes) } else { Ok(false) }
    };
    match but.map(creation_of) {
        None => is_locked(0, CREATIONS),
        Some(ours) => Ok(is_locked(0, ours)? || is_locked(ours + 1, CREATIONS)?),
    }
}

const PERMIT_SUFFIX: &str = ".removed";

/// Removes the permits in `/dev/shm` of names that no member has any more: their last members were killed.
pub(crate) fn tidy(file: &Path) {
    let Some((directory, file_name)) = file.parent().zip(file.file_name().and_then(|name| name.to_str()))
    else {
        return;
    };
    let stem = file_name.strip_prefix('.').and_then(|rest| rest.strip_suffix(PERMIT_SUFFIX));
    let Some(stem) =
        stem.filter(|stem| directory == Path::new(SHM_DIRECTORY) && stem.starts_with(SHM_PREFIX))
    else {
        return;
    };
    let stat = rustix::fs::statat(CWD, file, AtFlags::SYMLINK_NOFOLLOW);
    let is_ours = stat.is_ok_and(|s| u64::from(s.st_uid) == host::effective_uid() && s.st_size == 0);
    let all = Bytes { first: first_of(stem), count: CREATIONS };
    if is_ours && open(directory).and_then(|folder| lock::is_locked(folder, all)).is_ok_and(|locked| !locked)
    {
        let _ = rustix::fs::unlink(file);
    }
}

/// The file that allows to create a segment although members of a former one live, which was removed with force.
fn permit(name: &FileName) -> PathBuf {
    name.directory.join(format!(".{}{PERMIT_SUFFIX}", stem_of(name)))
}

/// Whether the creation of a segment of this name is permitted although members of another one live.
pub(crate) fn is_permitted(name: &FileName) -> bool {
    let stat = rustix::fs::statat(CWD, permit(name), AtFlags::SYMLINK_NOFOLLOW);
    // In a folder that all users write to, only our user's own permit counts.
    stat.is_ok_and(|stat| [host::effective_uid(), 0].contains(&u64::from(stat.st_uid)))
}

/// Permits the next creation. Called before a segment is removed with force.
pub(crate) fn permit_next(name: &FileName) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::open(permit(name), flags, Mode::RUSR | Mode::WUSR)?;
    Ok(())
}

/// Ends the permit. Called after a segment of the name was created.
pub(crate) fn end_permit(name: &FileName) {
    if is_permitted(name) {
        let _ = rustix::fs::unlink(permit(name));
    }
}

/// The members of another boot's file of this name that live in this very kernel: they hold a lock on it.
pub(crate) fn living_elsewhere(name: &FileName) -> Option<OpenError> {
    let entries = std::fs::read_dir(&name.directory).ok()?;
    for entry in entries.flatten() {
        let file = entry.file_name();
        if !file.to_str().is_some_and(|file| name.is_of_another_boot(file)) {
            continue;
        }
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let Ok(fd) = rustix::fs::open(entry.path(), flags, Mode::empty()) else { continue };
        if let Ok(Some(lease)) = lock::first_held(&fd) {
            return Some(OpenError::OtherBootId { place: entry.path().display().to_string(), lease });
        }
    }
    None
}

/// Where the name of an attached segment leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameState {
    /// The segment has no name, or its folder cannot be looked at.
    Unknown,
    /// The name leads to this segment, and no other segment of the name has members.
    Current,
    /// The name leads to this segment. Another segment that had the name before, and was removed, has members, too.
    Contested,
    /// The segment was removed: no file has the name. Its members go on.
    Removed,
    /// The segment was removed, and another one has the name: processes that open the name do not meet the members of this one.
    Replaced,
}

/// The state of a file that a descriptor leads to.
pub(crate) fn state_of(name: &FileName, fd: Option<BorrowedFd<'_>>, creation_id: u64) -> NameState {
    let Some(fd) = fd else { return NameState::Unknown };
    let Ok(ours) = rustix::fs::fstat(fd) else { return NameState::Unknown };
    match rustix::fs::statat(CWD, name.path(), AtFlags::SYMLINK_NOFOLLOW) {
        Ok(named) if (named.st_dev, named.st_ino) == (ours.st_dev, ours.st_ino) => {
            match is_anybody_there(name, Some(creation_id)) {
                Ok(true) => NameState::Contested,
                _ => NameState::Current,
            }
        }
        Ok(_) => NameState::Replaced,
        // The path may be out of reach by now; the file itself tells whether it has a name.
        Err(_) if ours.st_nlink == 0 => NameState::Removed,
        Err(_) => NameState::Unknown,
    }
}
