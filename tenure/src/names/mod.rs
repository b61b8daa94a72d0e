//! Names: a directory in the segment, from a name to the handle that has it.
//!
//! A handle gets its name at creation, and the name ends with the handle, that is, with its last holder. Names are 1 to [`NAME_MAX`] bytes
//! of UTF-8, compared byte by byte: `Queue` and `queue` are two names. All kinds of objects share one directory. The crate `tenure-slab`
//! has the table and its protocol; this module connects the table with handles, blocks and members.

mod api;
mod check;
mod directory;
mod listing;

pub use api::{Named, NamedError};
pub use listing::NameInfo;

pub(crate) use check::check;
pub(crate) use listing::list;

use tenure_segment::DataArea;
use tenure_slab::{NAME_MAX, NameHash, Names};

use crate::error::{CreateError, OpenHandleError};
use crate::geometry::Plan;

/// The directory in a data area.
pub(crate) fn view<'a>(data_area: DataArea<'a>, plan: &Plan, space_tag: u8) -> Names<'a> {
    let start = plan.slab.words() as usize;
    let words = &data_area.words()[start..start + plan.names.words() as usize];
    Names::new(words, plan.names, space_tag).expect("the plan's own layout")
}

/// The bytes of a name, and their hash.
#[derive(Clone, Copy)]
pub(crate) struct Name<'n> {
    bytes: &'n [u8],
    hash: NameHash,
}

/// The first byte of internal names. It never occurs in UTF-8.
const INTERNAL: u8 = 0xff;

impl<'n> Name<'n> {
    /// A user's name.
    pub(crate) fn new(name: &'n str) -> Result<Self, CreateError> {
        Self::of(name.as_bytes())
    }

    /// An internal name, which no user's name can equal; `bytes` are at most [`NAME_MAX`] - 1.
    pub(crate) fn internal(bytes: &[u8], buffer: &'n mut Vec<u8>) -> Result<Self, CreateError> {
        buffer.clear();
        buffer.push(INTERNAL);
        buffer.extend_from_slice(bytes);
        Self::of(buffer)
    }

    /// A name to look up; no handle has an invalid one.
    pub(crate) fn known(name: &'n str) -> Result<Self, OpenHandleError> {
        Self::new(name).map_err(|_| OpenHandleError::NoSuchName)
    }

    fn of(bytes: &'n [u8]) -> Result<Self, CreateError> {
        if bytes.is_empty() || bytes.len() > NAME_MAX {
            return Err(CreateError::BadName { found: bytes.len() });
        }
        Ok(Self { bytes, hash: NameHash::of(bytes) })
    }
}
