//! `Anonymous`: shared memory that only forked children get; a companion memfd carries the locks.

use rustix::mm::MapFlags;

use super::{Creation, memfd, refusal};
use crate::error::OpenError;
use crate::ground::{Ground, LockFile};
use crate::mapping::Mapping;
use crate::name::Backend;

const PLACE: &str = "anonymous memory";

pub(crate) fn create(creation: &mut Creation<'_>) -> Result<Ground, OpenError> {
    let total = creation.header.plan.total_bytes();
    let looker = Mapping::anonymous(total, MapFlags::SHARED)
        .map_err(|e| refusal(e, "map shared memory", total, PLACE))?;
    creation.populate(&looker, PLACE)?;
    creation.fill(&looker, PLACE)?;
    let os = |what| move |source| OpenError::Os { what, place: PLACE.into(), source };
    looker.make_readable_only().map_err(os("protect shared memory"))?;
    looker.keep_from_dumps().map_err(os("keep shared memory out of core dumps"))?;
    let companion = memfd::memfd("tenure-locks")?;
    let lock = LockFile::of(&companion, None).map_err(os("reopen the companion"))?;
    let backend = Backend::Anonymous;
    Ok(Ground { backend, header: creation.header, created: true, name: None, lock: Some(lock), looker })
}
