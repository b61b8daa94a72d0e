//! `Private`: ordinary memory of this process. There is nobody to share with and nobody whose death matters.

use rustix::mm::MapFlags;

use super::{Creation, refusal};
use crate::attachment::Attachment;
use crate::error::OpenError;
use crate::mapping::Mapping;
use crate::name::Backend;

const PLACE: &str = "private memory";

/// Nothing is reserved: what is touched is committed, and a private page never faults for want of room.
pub(crate) fn create(creation: &mut Creation<'_>) -> Result<Attachment, OpenError> {
    let total = creation.header.plan.total_bytes();
    let read_only =
        Mapping::anonymous(total, MapFlags::PRIVATE).map_err(|e| refusal(e, "map memory", total, PLACE))?;
    creation.fill(&read_only, PLACE)?;
    let backend = Backend::Private;
    Ok(Attachment { backend, header: creation.header, created: true, name: None, lock: None, read_only })
}
