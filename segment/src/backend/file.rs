//! `Shm` and `File`: the segment is a file, found by name.

use std::os::fd::OwnedFd;

use rustix::fs::OFlags;

use super::{Creation, named};
use crate::attachment::{Attachment, LockFile};
use crate::error::OpenError;
use crate::header::Header;
use crate::mapping::{Access, Mapping};
use crate::name::{Backend, FileName};

pub(crate) fn open(
    name: &FileName,
    backend: Backend,
    layout_hash: u64,
) -> Result<Option<Attachment>, OpenError> {
    let path = name.path();
    let Some(fd) = named::open_existing(&path, OFlags::RDONLY, name.permissions)? else { return Ok(None) };
    let header = Header::read_file(&fd, &path.display().to_string(), layout_hash, true, name.permissions)?;
    attachment(name, backend, header, &fd, false).map(Some)
}

pub(crate) fn open_or_create(
    name: &FileName,
    backend: Backend,
    creation: &mut Creation<'_>,
) -> Result<Attachment, OpenError> {
    let place = name.path().display().to_string();
    for _ in 0..named::ATTEMPTS {
        if let Some(attachment) = open(name, backend, creation.spec.layout_hash)? {
            return Ok(attachment);
        }
        named::check_alone(name)?;
        let created = named::create(name, &mut |fd| {
            creation.reserve(fd, &place)?;
            let memory =
                Mapping::file(fd, creation.header.plan.total_bytes(), Access::ReadWrite).map_err(|e| {
                    super::refusal(e, "map the segment", creation.header.plan.total_bytes(), &place)
                })?;
            creation.fill(&memory, &place)
        })?;
        if let Some(fd) = created {
            return attachment(name, backend, creation.header, &fd, true);
        }
    }
    Err(OpenError::Contended { place, attempts: named::ATTEMPTS })
}

fn attachment(
    name: &FileName,
    backend: Backend,
    header: Header,
    fd: &OwnedFd,
    created: bool,
) -> Result<Attachment, OpenError> {
    let place = name.path().display().to_string();
    if header.backend != backend.code() {
        return Err(OpenError::OtherBackend { place, expected: backend, found: header.backend });
    }
    let os = |what| {
        let place = place.clone();
        move |source| OpenError::Os { what, place, source }
    };
    let total = header.plan.total_bytes();
    let read_only = Mapping::file(fd, total, Access::ReadOnly).map_err(os("map the segment"))?;
    read_only.keep_from_dumps();
    let lock = LockFile::of(fd, Some(name)).map_err(os("reopen the segment"))?;
    Ok(Attachment { backend, header, created, name: Some(name.name.clone()), lock: Some(lock), read_only })
}
