//! `Private`: ordinary memory of this process. There is nobody to share with and nobody whose death matters.

use rustix::mm::MapFlags;

use super::{Creation, refusal};
use crate::error::OpenError;
use crate::ground::Ground;
use crate::mapping::Mapping;
use crate::name::Backend;

const PLACE: &str = "private memory";

/// Nothing is reserved: what is touched is committed, and a private page never faults for want of room.
pub(crate) fn create(creation: &mut Creation<'_>) -> Result<Ground, OpenError> {
    let total = creation.header.plan.total_bytes();
    let looker =
        Mapping::anonymous(total, MapFlags::PRIVATE).map_err(|e| refusal(e, "map memory", total, PLACE))?;
    creation.fill(&looker, PLACE)?;
    let backend = Backend::Private;
    Ok(Ground { backend, header: creation.header, created: true, name: None, lock: None, looker })
}
