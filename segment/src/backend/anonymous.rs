//! `Anonymous`: shared memory that only forked children get; a companion memfd carries the locks.

use rustix::mm::MapFlags;

use super::{Creation, memfd, refusal};
use crate::attachment::{Attachment, LockFile};
use crate::error::OpenError;
use crate::mapping::Mapping;
use crate::name::Backend;

const PLACE: &str = "anonymous memory";

pub(crate) fn create(creation: &mut Creation<'_>) -> Result<Attachment, OpenError> {
    let total = creation.header.plan.total_bytes();
    let read_only = Mapping::anonymous(total, MapFlags::SHARED)
        .map_err(|e| refusal(e, "map shared memory", total, PLACE))?;
    creation.populate(&read_only, PLACE)?;
    creation.fill(&read_only, PLACE)?;
    let os = |what| move |source| OpenError::Os { what, place: PLACE.into(), source };
    read_only.make_readable_only().map_err(os("protect shared memory"))?;
    read_only.keep_from_dumps();
    let companion = memfd::memfd("tenure-locks")?;
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
