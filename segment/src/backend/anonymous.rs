//! `Anonymous`: shared memory that only forked children get; a companion memfd carries the locks.

use std::os::fd::OwnedFd;

use rustix::mm::MapFlags;

use super::{Creation, memfd, refusal};
use crate::attachment::{Attachment, LockFile};
use crate::error::OpenError;
use crate::header::Header;
use crate::mapping::{Access, Mapping};
use crate::name::Backend;
use crate::permissions::Permissions;

const PLACE: &str = "anonymous memory";

/// The name of a companion, before the creation id.
const LOCKS: &str = "tenure-locks-";

/// Attaches, only to look, by the memory and the companion of another process.
pub(crate) fn open(memory: &OwnedFd, companion: &OwnedFd, layout_hash: u64) -> Result<Attachment, OpenError> {
    let header = Header::read_file(memory, PLACE, layout_hash, true, Permissions::default())?;
    let backend = Backend::Anonymous;
    if header.backend != backend.code() {
        let (place, found) = (PLACE.into(), header.backend);
        return Err(OpenError::OtherBackend { place, expected: backend, found });
    }
    let os = |what| move |source| OpenError::Os { what, place: PLACE.into(), source };
    let total = header.plan.total_bytes();
    let read_only = Mapping::file(memory, total, Access::ReadOnly).map_err(os("map shared memory"))?;
    read_only.keep_from_dumps();
    let lock = LockFile::of(companion, None).map_err(os("reopen the companion"))?;
    Ok(Attachment { backend, header, created: false, name: None, lock: Some(lock), read_only })
}

pub(crate) fn create(creation: &mut Creation<'_>) -> Result<Attachment, OpenError> {
    let total = creation.header.plan.total_bytes();
    let read_only = Mapping::anonymous(total, MapFlags::SHARED)
        .map_err(|e| refusal(e, "map shared memory", total, PLACE))?;
    creation.populate(&read_only, PLACE)?;
    creation.fill(&read_only, PLACE)?;
    let os = |what| move |source| OpenError::Os { what, place: PLACE.into(), source };
    read_only.make_readable_only().map_err(os("protect shared memory"))?;
    read_only.keep_from_dumps();
    // Whoever looks for the memory of these locks finds it by the number.
    let companion = memfd::memfd(&format!("{LOCKS}{:016x}", creation.header.creation_id))?;
    let lock = LockFile::of(&companion, None).map_err(os("reopen the companion"))?;
    let backend = Backend::Anonymous;
    Ok(Attachment {
        backend,
        header: creation.header,
        created: true,
        name: None,
        lock: Some(lock),
        read_only,
    })
}
