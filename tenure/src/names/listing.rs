//! Lists the names in use.

use std::sync::atomic::{Ordering, fence};

use tenure_scratch_alloc::Scratch;
use tenure_segment::peek;
use tenure_slab::{Names, Slab, Token};

use crate::kind::Kind;

/// A name and the handle that has it; see [`Space::names`](crate::Space::names).
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let space = tenure::Space::options().handles(64).scratch(1 << 20).anonymous()?;
/// # let me = space.join()?;
/// let limit = me.named("limit").create(&7u64)?;
/// for info in space.names() {
///     assert_eq!((info.name.as_str(), info.kind, info.token), ("limit", limit.kind(), limit.token()));
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NameInfo {
    /// The name.
    pub name: String,
    /// The kind of the handle.
    pub kind: Kind,
    /// The token of the handle.
    pub token: Token,
    /// The number of members that hold the handle.
    pub holders: u32,
}

/// The names in use, sorted.
pub(crate) fn list((slab, scratch): &(Slab<'_>, Scratch<'_>), names: &Names<'_>) -> Vec<NameInfo> {
    let mut all: Vec<_> = tokens(names)
        .into_iter()
        .filter_map(|token| {
            let bytes = name_of(slab, scratch, token)?;
            let info = slab.inspect(token.index()).filter(|info| info.generation == token.generation())?;
            let (kind, holders) = (Kind::from_number(info.kind), info.holders.len());
            Some(NameInfo { name: String::from_utf8(bytes).ok()?, kind, token, holders })
        })
        .collect();
    all.sort_unstable();
    all
}

/// The handles in the table, each once, including those that are over.
pub(super) fn tokens(names: &Names<'_>) -> Vec<Token> {
    let mut named = names.look().named;
    named.sort_unstable();
    named.dedup();
    named
}

/// The name of a handle, which the caller need not hold; `None` if the handle is over or has no name.
pub(super) fn name_of(slab: &Slab<'_>, scratch: &Scratch<'_>, token: Token) -> Option<Vec<u8>> {
    let info = slab.inspect(token.index())?;
    let len = info.label?.len.get();
    let found = scratch.find(info.block?).ok()?;
    if info.len + u64::from(len) > found.bytes {
        return None;
    }
    let mut bytes = vec![0; len.into()];
    // SAFETY: inside a block of the caller's mapping. If the handle ends during the copy, the block may belong to another handle or be
    // free: `peek` copies arbitrary bytes then, and they are dropped below.
    let read = unsafe { peek(scratch.address(info.block?).wrapping_add(info.len as usize), &mut bytes) };
    // Acquire: name: keeps the copy above before the load of the handle word below:
    // - either the handle is not over here: then the bytes are its name;
    // - or it is over: then the bytes are arbitrary, and are dropped.
    fence(Ordering::Acquire);
    (read && !slab.is_over(token)).then_some(bytes)
}
