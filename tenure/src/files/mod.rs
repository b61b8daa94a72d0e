//! Files: descriptors that travel by token, and the tables of who has a file open for what.

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

/// What one member keeps about files, in private memory.
///
/// In a forked child its locks may be held by threads that are not there: look at the lease first.
#[derive(Default)]
pub(crate) struct Files {
    /// The thread that hands descriptors over, from the first descriptor on; `None` where it could not be had.
    offers: OnceLock<Option<Offers>>,
    /// The descriptors that this member has open, by token.
    open: Mutex<BTreeMap<u64, Weak<Open>>>,
    /// What this member has entered into the tables of files.
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
