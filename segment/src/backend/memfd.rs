//! `Memfd`: a file without a name, sealed so that no process can shrink it, passed on as a descriptor.

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{MemfdFlags, OFlags, SealFlags};
use rustix::io::Errno;

use super::{Creation, named, refusal};
use crate::attachment::{Attachment, LockFile, reopen};
use crate::error::OpenError;
use crate::header::Header;
use crate::mapping::{Access, Mapping};
use crate::name::Backend;
use crate::permissions::Permissions;

const PLACE: &str = "memfd";
const SEALS: SealFlags = SealFlags::SEAL.union(SealFlags::SHRINK).union(SealFlags::GROW);

/// A memfd, not executable if the kernel supports that (Linux 6.3).
pub(crate) fn memfd(name: &str) -> Result<OwnedFd, OpenError> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    match rustix::fs::memfd_create(name, flags | MemfdFlags::NOEXEC_SEAL) {
        Err(Errno::INVAL) => rustix::fs::memfd_create(name, flags),
        result => result,
    }
    .map_err(os("create a memfd"))
}

pub(crate) fn create(creation: &mut Creation<'_>, permissions: Permissions) -> Result<Attachment, OpenError> {
    let fd = memfd("tenure")?;
    creation.reserve(&fd, PLACE)?;
    let total = creation.header.plan.total_bytes();
    let memory = Mapping::file(&fd, total, Access::ReadWrite)
        .map_err(|e| refusal(e, "map the memfd", total, PLACE))?;
    creation.fill(&memory, PLACE)?;
    drop(memory);
    // Otherwise whoever gets the descriptor may open it again; attaching compares the owner.
    if permissions.is_given() {
        permissions.apply(&fd).map_err(os("set the owner, group and mode of the memfd"))?;
    }
    rustix::fs::fcntl_add_seals(&fd, SEALS).map_err(os("seal the memfd"))?;
    attachment(creation.header, &fd, true)
}

/// Attaches through a new file description: the passed one is shared with the process that passed it.
pub(crate) fn open(
    passed: OwnedFd,
    layout_hash: u64,
    permissions: Permissions,
) -> Result<Attachment, OpenError> {
    use std::os::fd::AsFd;
    let fd = reopen(passed.as_fd(), OFlags::RDONLY).map_err(|source| OpenError::Os {
        what: "reopen the memfd",
        place: PLACE.into(),
        source,
    })?;
    named::check_file_system(&fd, Path::new(PLACE))?;
    let found = rustix::fs::fcntl_get_seals(&fd).unwrap_or(SealFlags::empty());
    if !found.contains(SEALS) {
        return Err(OpenError::NotSealed { expected: SEALS.bits(), found: found.bits() });
    }
    let header = Header::read_file(&fd, PLACE, layout_hash, true, permissions)?;
    attachment(header, &fd, false)
}

fn attachment(header: Header, fd: &OwnedFd, created: bool) -> Result<Attachment, OpenError> {
    let backend = Backend::Memfd;
    if header.backend != backend.code() {
        return Err(OpenError::OtherBackend {
            place: PLACE.into(),
            expected: backend,
            found: header.backend,
        });
    }
    let os = |what| move |source| OpenError::Os { what, place: PLACE.into(), source };
    let read_only =
        Mapping::file(fd, header.plan.total_bytes(), Access::ReadOnly).map_err(os("map the memfd"))?;
    read_only.keep_from_dumps();
    let lock = LockFile::of(fd, None).map_err(os("reopen the memfd"))?;
    Ok(Attachment { backend, header, created, name: None, lock: Some(lock), read_only })
}

fn os(what: &'static str) -> impl FnOnce(Errno) -> OpenError {
    move |source| OpenError::Os { what, place: PLACE.into(), source: source.into() }
}
