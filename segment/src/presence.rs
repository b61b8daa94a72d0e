//! That members live, told by the folder of their file: each member holds a read lock on a byte of the folder itself.
//!
//! A file can lose its name while members live: systemd's RemoveIPC=, tmpfiles, `rm`. Whoever creates a segment of that name then would
//! make a second one beside the first, and both would believe to be alone. The folder stays, and so do the locks on it: the creator
//! asks for them. The byte is `{ hash of the name without the boot:46 | creation:16 }`, so the lock also tells whether the members are
//! of the caller's own segment. No byte is written or read: these offsets are far behind the end of any folder.
//!
//! A lock of a folder is not pinned by a mapping. It lasts as long as the descriptor: in a monitor's own descriptor table, until the
//! member ends; elsewhere, until the program closes it. A forked child closes its copy; the child of a bare `clone` keeps it. A missing
//! lock only means that a removal is not noticed.

use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags};

use crate::attachment::{Exposed, FileId};
use crate::error::OpenError;
use crate::fork_lock::NoForks;
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
    /// `None` only while it is dropped.
    folder: Option<Exposed>,
    /// The number and the file of the descriptor, if forked children close it.
    withheld: Option<(RawFd, FileId)>,
}

impl Presence {
    /// Takes the lock. `None` if the folder cannot be read or locked.
    pub(crate) fn claim(name: &FileName, creation_id: u64) -> Option<Self> {
        let folder = open(&name.directory).ok()?;
        let byte = Bytes { first: first_of(&stem_of(name)) + creation_of(creation_id), count: 1 };
        lock::try_read_bytes(&folder, byte).ok()?.then_some(())?;
        Some(Self { folder: Some(Exposed::new(folder).ok()?), withheld: None })
    }

    /// Keeps forked children from having the lock, for a descriptor in the table of the program. Without it a child that does not
    /// execute a program keeps the lock when its parent is dead. From now on the value must not be dropped while the thread keeps
    /// others from forking: the drop does that itself.
    pub(crate) fn withheld(mut self, no_forks: &mut NoForks) -> Self {
        self.withheld = self.folder.as_ref().map(Exposed::entry);
        if let Some((number, id)) = self.withheld {
            no_forks.withhold(number, id);
        }
        self
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        // Until the descriptor is closed, so that no child inherits it in between.
        let mut no_forks = self.withheld.and_then(|_| NoForks::begin());
        if let (Some(no_forks), Some((number, id))) = (&mut no_forks, self.withheld) {
            no_forks.release(number, id);
        }
        drop(self.folder.take());
    }
}

/// Some creations of a name, by their bits.
type Creations = Range<i64>;

fn one(creation_id: u64) -> Creations {
    let creation = creation_of(creation_id);
    creation..creation + 1
}

/// Some creations of which members hold locks, apart from those in `but`.
fn some_locked(folder: &OwnedFd, stem: &str, but: &[Creations]) -> io::Result<Option<Creations>> {
    let first = first_of(stem);
    let mut but = but.to_vec();
    but.sort_by_key(|creations| creations.start);
    but.push(CREATIONS..CREATIONS);
    let mut from = 0;
    for excepted in but {
        let bytes = Bytes { first: first + from, count: excepted.start - from };
        if bytes.count > 0
            && let Some(found) = lock::some_locked(folder, bytes)?
        {
            // Others than members may lock more than a byte.
            let start = from.max(found.first - first);
            return Ok(Some(start..excepted.start.min(start.saturating_add(found.count))));
        }
        from = from.max(excepted.end);
    }
    Ok(None)
}

fn is_anybody_but(name: &FileName, but: &[Creations]) -> io::Result<bool> {
    Ok(some_locked(&open(&name.directory)?, &stem_of(name), but)?.is_some())
}

/// Whether members live of a segment that had the name.
pub(crate) fn is_anybody_there(name: &FileName) -> io::Result<bool> {
    is_anybody_but(name, &[])
}

/// As [`is_anybody_there`], apart from the members beside which a removal permits to create.
pub(crate) fn is_anybody_unpermitted(name: &FileName) -> io::Result<bool> {
    is_anybody_but(name, &permitted(&permit(name)).unwrap_or_default())
}

/// The end of the name of a permit.
const PERMIT_SUFFIX: &str = ".tenure-removed";

/// A permit consists of records `{ magic:32 | first creation:16 | last creation:16 }`, of whole ranges of creations.
const PERMIT_MAGIC: [u8; 4] = *b"TPMT";
const RECORD_BYTES: usize = 8;
/// With more, for which only strangers can have the locks, the permit is not complete, and creators are refused.
const PERMIT_RECORDS: usize = 1000;
/// A record for each creation.
const PERMIT_BYTES_MAX: i64 = CREATIONS * RECORD_BYTES as i64;

/// The file that allows to create a segment although members of a former one live, which was removed. It says of which ones, so it is
/// of no use for a third segment, should the creator of the second be killed before it removes the file.
fn permit(name: &FileName) -> PathBuf {
    name.directory.join(format!(".{}{PERMIT_SUFFIX}", stem_of(name)))
}

/// The creations in the open file. `None` if it is no permit, or that of a user who is not in `users`: others may write to the folder.
fn creations_in(fd: impl AsFd, users: &[u64]) -> Option<Vec<Creations>> {
    let stat = rustix::fs::fstat(&fd).ok()?;
    let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    if !is_file || !users.contains(&stat.st_uid.into()) || stat.st_size > PERMIT_BYTES_MAX {
        return None;
    }
    let mut bytes = vec![0; stat.st_size as usize];
    let read = rustix::io::pread(&fd, &mut bytes, 0).ok()?;
    // A last record that is being written counts for nothing yet.
    let records = bytes[..read].chunks_exact(RECORD_BYTES);
    let creations = |record: &[u8]| {
        let number = |at: usize| i64::from(u16::from_le_bytes([record[at], record[at + 1]]));
        (record[..4] == PERMIT_MAGIC).then(|| number(4)..number(6) + 1)
    };
    let creations: Vec<_> = records.map(creations).collect::<Option<_>>()?;
    (read == 0 || !creations.is_empty()).then_some(creations)
}

/// The creations in a permit that was made by our user or root; `None` if the file is no such permit.
fn permitted(path: &Path) -> Option<Vec<Creations>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let fd = rustix::fs::open(path, flags, Mode::empty()).ok()?;
    creations_in(fd, &[host::effective_uid(), 0])
}

/// Permits to create beside the members that live at the moment, and those of the creation `removed`, which may still get some.
/// Called before a segment is removed.
pub(crate) fn permit_next(name: &FileName, removed: Option<u64>) -> io::Result<()> {
    let flags = OFlags::RDWR | OFlags::APPEND | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let mode = Mode::RUSR | Mode::WUSR;
    let permit = rustix::fs::open(permit(name), flags | OFlags::CLOEXEC, mode)?;
    // Only what also counts as a permit is written to.
    let mut creations =
        creations_in(&permit, &[host::effective_uid()]).ok_or(io::ErrorKind::AlreadyExists)?;
    let known = creations.len();
    creations.extend(removed.map(one));
    let folder = open(&name.directory)?;
    while creations.len() < PERMIT_RECORDS
        && let Some(more) = some_locked(&folder, &stem_of(name), &creations)?
    {
        creations.push(more);
    }
    let record = |creations: &Creations| {
        let number = |number: i64| (number as u16).to_le_bytes();
        [&PERMIT_MAGIC[..], &number(creations.start), &number(creations.end - 1)].concat()
    };
    let records: Vec<u8> = creations[known..].iter().flat_map(record).collect();
    // Root permits it to others, who have to read that.
    rustix::fs::fchmod(&permit, mode | Mode::RGRP | Mode::ROTH)?;
    // One write at the end of the file: removals at the same time add to each other's permit.
    if rustix::io::write(&permit, &records)? == records.len() {
        Ok(())
    } else {
        Err(io::ErrorKind::WriteZero.into())
    }
}

/// Ends the permit. Called after a segment of the name was created.
pub(crate) fn end_permit(name: &FileName) {
    let permit = permit(name);
    if permitted(&permit).is_some() {
        let _ = rustix::fs::unlink(permit);
    }
}

/// Removes the file if it is a permit in `/dev/shm` of a name that no member has any more: its last members were killed.
pub(crate) fn tidy(directory: &Path, file_name: &str) {
    let stem = file_name.strip_prefix('.').and_then(|rest| rest.strip_suffix(PERMIT_SUFFIX));
    let Some(stem) =
        stem.filter(|stem| directory == Path::new(SHM_DIRECTORY) && stem.starts_with(SHM_PREFIX))
    else {
        return;
    };
    let is_over = || open(directory).and_then(|folder| some_locked(&folder, stem, &[]));
    let file = directory.join(file_name);
    if permitted(&file).is_some() && is_over().is_ok_and(|found| found.is_none()) {
        let _ = rustix::fs::unlink(file);
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
            match is_anybody_but(name, &[one(creation_id)]) {
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
