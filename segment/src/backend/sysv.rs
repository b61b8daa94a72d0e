//! `SysV`: System V shared memory, for sandboxes that refuse shared file mappings, and a small lock file by which it is found.
//!
//! The memory is marked for removal as soon as its creator is attached. Linux lets others attach by its identifier
//! while any process is attached, and frees the memory with the last one. So if a creator is killed before the lock file has its
//! name, or if all processes die, no memory is left that must be removed by hand. (A creator that is killed between the call that
//! creates and the call that marks leaves an identifier without memory: no single call does both.) The disadvantage: the
//! contents end with the last process that has the segment open. If the memory of a lock file is gone, the next creator replaces the
//! lock file, unless a lease of it is still held: then the memory exists but cannot be attached from here (another IPC namespace),
//! which is an error.

use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::OFlags;

use super::named::{self, Unlinked};
use super::{Creation, check_file_size, refusal};
use crate::attachment::{Attachment, LockFile};
use crate::error::OpenError;
use crate::header::Header;
use crate::lock;
use crate::mapping::{Access, Mapping};
use crate::name::{Backend, FileName};
use crate::permissions::Permissions;

const LOCK_FILE_BYTES: u64 = 4096;

/// The result of opening the name.
enum Found {
    Nothing,
    Attachment(Box<Attachment>),
    /// A lock file whose memory is gone.
    Husk(OwnedFd),
}

pub(crate) fn open(name: &FileName, layout_hash: u64) -> Result<Option<Attachment>, OpenError> {
    match look(name, layout_hash)? {
        Found::Attachment(attachment) => Ok(Some(*attachment)),
        Found::Nothing | Found::Husk(_) => Ok(None),
    }
}

pub(crate) fn open_or_create(name: &FileName, creation: &mut Creation<'_>) -> Result<Attachment, OpenError> {
    let path = name.path();
    let place = path.display().to_string();
    let os = |what| {
        let place = place.clone();
        move |source| OpenError::Os { what, place, source }
    };
    for _ in 0..named::ATTEMPTS {
        match look(name, creation.spec.layout_hash)? {
            Found::Attachment(attachment) => return Ok(*attachment),
            Found::Nothing => named::check_alone(name)?,
            Found::Husk(fd) => {
                // No process can join without the memory, so this lock only has to exclude other replacers.
                if !lock::try_replace(&fd).map_err(os("lock the husk"))? {
                    std::thread::yield_now();
                    continue;
                }
                if matches!(named::unlink(&path, &fd).map_err(os("remove the husk"))?, Unlinked::Moved) {
                    continue;
                }
                // It had the name: to replace it is like attaching to an empty segment of that name.
            }
        }
        check_file_size(LOCK_FILE_BYTES)?;
        let memory = create_memory(creation, &place, name.permissions)?;
        let header = creation.header;
        let created = named::create(name, &mut |fd| {
            let words = header.words().map_err(os("write the header"))?;
            let mut bytes = vec![0; LOCK_FILE_BYTES as usize];
            for (chunk, word) in bytes.chunks_exact_mut(8).zip(words) {
                chunk.copy_from_slice(&word.to_le_bytes());
            }
            match rustix::io::pwrite(fd, &bytes, 0) {
                Ok(n) if n == bytes.len() => Ok(()),
                Ok(_) => Err(OpenError::NoSpace { wanted: LOCK_FILE_BYTES, place: place.clone() }),
                Err(e) => Err(refusal(e.into(), "write the lock file", LOCK_FILE_BYTES, &place)),
            }
        })?;
        // After a lost race, the drop of the memory detaches it, and the kernel frees it.
        if let Some(fd) = created {
            return attachment(name, header, memory, &fd, true);
        }
    }
    Err(OpenError::Contended { place, attempts: named::ATTEMPTS })
}

/// Creates memory that is filled, attached read-only, and already marked for removal.
fn create_memory(
    creation: &mut Creation<'_>,
    place: &str,
    permissions: Permissions,
) -> Result<Mapping, OpenError> {
    let total = creation.header.plan.total_bytes();
    let flags = libc::IPC_CREAT | libc::IPC_EXCL | libc::SHM_NORESERVE | 0o600;
    // SAFETY: no memory arguments.
    let shmid = unsafe { libc::shmget(libc::IPC_PRIVATE, total as usize, flags) };
    if shmid < 0 {
        return Err(refusal(io::Error::last_os_error(), "create SysV memory", total, place));
    }
    let attached = let_in(shmid, permissions).and_then(|()| Mapping::sysv(shmid, total, Access::ReadWrite));
    // SAFETY: IPC_RMID takes no buffer. The memory is marked also if the attach failed, so that it need not be removed by hand.
    unsafe { libc::shmctl(shmid, libc::IPC_RMID, std::ptr::null_mut()) };
    let memory = attached.map_err(|e| refusal(e, "attach SysV memory", total, place))?;
    creation.header.shmid = shmid;
    creation.populate(&memory, place)?;
    creation.fill(&memory, place)?;
    memory.make_readable_only().map_err(|source| OpenError::Os {
        what: "protect SysV memory",
        place: place.to_owned(),
        source,
    })?;
    Ok(memory)
}

/// Gives new memory its owner, group and mode.
fn let_in(shmid: i32, permissions: Permissions) -> io::Result<()> {
    if !permissions.is_given() {
        return Ok(());
    }
    // SAFETY: plain integers.
    let mut stat: libc::shmid_ds = unsafe { std::mem::zeroed() };
    // SAFETY: a local buffer, which the kernel fills.
    if unsafe { libc::shmctl(shmid, libc::IPC_STAT, &raw mut stat) } < 0 {
        return Err(io::Error::last_os_error());
    }
    stat.shm_perm.uid = permissions.owner.unwrap_or(stat.shm_perm.uid);
    stat.shm_perm.gid = permissions.group.unwrap_or(stat.shm_perm.gid);
    stat.shm_perm.mode = permissions.mode() as _;
    // SAFETY: a local buffer, which the kernel reads.
    if unsafe { libc::shmctl(shmid, libc::IPC_SET, &raw mut stat) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

fn look(name: &FileName, layout_hash: u64) -> Result<Found, OpenError> {
    let path = name.path();
    let place = path.display().to_string();
    let Some(fd) = named::open_existing(&path, OFlags::RDWR, name.permissions)? else {
        return Ok(Found::Nothing);
    };
    let header = Header::read_file(&fd, &place, layout_hash, false, name.permissions)?;
    if header.backend != Backend::SysV.code() {
        return Err(OpenError::OtherBackend { place, expected: Backend::SysV, found: header.backend });
    }
    if let Ok(memory) = attach(&header, name.permissions) {
        // SAFETY: an attached mapping is page aligned and, by the check in `attach`, long enough.
        let inside = unsafe { Header::read_mapping(memory.base(), &place, layout_hash) };
        // An identifier that was used again names memory with another creation id, or no segment at all.
        if inside.is_ok_and(|inside| inside == header) {
            return attachment(name, header, memory, &fd, false)
                .map(|attachment| Found::Attachment(Box::new(attachment)));
        }
    }
    match lock::first_held(&fd) {
        Ok(None) => Ok(Found::Husk(fd)),
        Ok(Some(_)) => Err(OpenError::Unreachable { place, shmid: header.shmid }),
        Err(source) => Err(OpenError::Os { what: "ask for the locks of", place, source }),
    }
}

/// Attaches read-only, if the memory of the identifier has the expected length.
fn attach(header: &Header, permissions: Permissions) -> io::Result<Mapping> {
    // SAFETY: plain integers.
    let mut stat: libc::shmid_ds = unsafe { std::mem::zeroed() };
    // SAFETY: a local buffer, which the kernel fills.
    if unsafe { libc::shmctl(header.shmid, libc::IPC_STAT, &raw mut stat) } < 0 {
        return Err(io::Error::last_os_error());
    }
    let total = header.plan.total_bytes();
    // For others the creation id in the lock file decides, which they were let in to read.
    let is_ours = permissions.is_given() || u64::from(stat.shm_perm.cuid) == crate::host::effective_uid();
    if stat.shm_segsz as u64 != total || !is_ours {
        return Err(io::ErrorKind::NotFound.into());
    }
    Mapping::sysv(header.shmid, total, Access::ReadOnly)
}

fn attachment(
    name: &FileName,
    header: Header,
    read_only: Mapping,
    fd: &OwnedFd,
    created: bool,
) -> Result<Attachment, OpenError> {
    let place = name.path().display().to_string();
    let os = |what| {
        let place = place.clone();
        move |source| OpenError::Os { what, place, source }
    };
    read_only.keep_from_dumps();
    let lock = LockFile::of(fd, Some(name)).map_err(os("reopen the lock file"))?;
    let (backend, name) = (Backend::SysV, Some(name.name.clone()));
    Ok(Attachment { backend, header, created, name, lock: Some(lock), read_only })
}
