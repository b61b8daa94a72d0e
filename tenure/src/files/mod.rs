//! Files: descriptors as handles, and for each file a table of the members that use it and their share modes.

mod check;
mod descriptor;
mod error;
mod modes;
mod share;
mod slots;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, Weak};

use tenure_segment::Lease;
use tenure_segment::passing::Offers;

pub(crate) use check::check;
pub use descriptor::{Descriptor, Way};
pub use error::{Conflict, DescriptorError, Refused, ShareError};
pub use modes::{Access, Sharing};
pub use share::FileShare;

use descriptor::Open;

/// The bookkeeping of one member about files, in private memory.
///
/// In a forked child its locks may be held by threads that do not exist there: check the lease first.
#[derive(Default)]
pub(crate) struct Files {
    /// The thread that sends descriptors to other processes, started by the first descriptor; `None` if it could not be started.
    offers: OnceLock<Option<Offers>>,
    /// The descriptors that this member has open, by token.
    open: Mutex<BTreeMap<u64, Weak<Open>>>,
    /// The entries of this member in the tables of files.
    tables: share::Tables,
}

impl Files {
    fn offers(&self, lease: &Lease) -> Option<&Offers> {
        self.offers.get_or_init(|| lease.offers().ok()).as_ref()
    }

    /// The descriptor of this token, if this member has it open.
    fn find(&self, token: u64) -> Option<Arc<Open>> {
        tenure_core::sync::lock(&self.open).get(&token)?.upgrade()
    }
}
