//! `Private`: ordinary memory of this process. No other process shares it, so no death has to be detected.

use rustix::mm::MapFlags;

use super::{Creation, refusal};
use crate::attachment::Attachment;
use crate::error::OpenError;
use crate::mapping::Mapping;
use crate::name::Backend;

const PLACE: &str = "private memory";

/// Reserves nothing: an access commits its page, and private pages never fault for lack of space.
pub(crate) fn create(creation: &mut Creation<'_>) -> Result<Attachment, OpenError> {
    let total = creation.header.plan.total_bytes();
    let read_only =
        Mapping::anonymous(total, MapFlags::PRIVATE).map_err(|e| refusal(e, "map memory", total, PLACE))?;
    creation.fill(&read_only, PLACE)?;
    let backend = Backend::Private;
    Ok(Attachment { backend, header: creation.header, created: true, name: None, lock: None, read_only })
}
