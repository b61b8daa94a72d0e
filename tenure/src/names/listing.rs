//! Who has which name, to look at.

use std::sync::atomic::{Ordering, fence};

use tenure_scratch_alloc::Scratch;
use tenure_segment::peek;
use tenure_slab::{Names, Slab, Token};

use crate::kind::Kind;

/// A name and what has it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NameInfo {
    /// The name.
    pub name: String,
    /// The kind of what has it.
    pub kind: Kind,
    /// Its token.
    pub token: Token,
    /// How many members hold it.
    pub holders: u32,
}

/// The names in use, in their order.
pub(crate) fn list((slab, scratch): &(Slab<'_>, Scratch<'_>), names: &Names<'_>) -> Vec<NameInfo> {
    let mut all: Vec<_> = tokens(names)
        .into_iter()
        .filter_map(|token| {
            let bytes = name_of(slab, scratch, token)?;
            let info = slab.inspect(token.index()).filter(|info| info.generation == token.generation())?;
            let (kind, holders) = (Kind::from_word(info.kind), info.holders.len());
            Some(NameInfo { name: String::from_utf8(bytes).ok()?, kind, token, holders })
        })
        .collect();
    all.sort_unstable();
    all
}

/// What the table names, each once, whether over or not.
pub(super) fn tokens(names: &Names<'_>) -> Vec<Token> {
    let mut named = names.look().named;
    named.sort_unstable();
    named.dedup();
    named
}

/// The name of a handle that the caller need not hold. `None`: it is over, or has none.
pub(super) fn name_of(slab: &Slab<'_>, scratch: &Scratch<'_>, token: Token) -> Option<Vec<u8>> {
    let info = slab.inspect(token.index())?;
    let len = info.label?.len.get();
    let found = scratch.find(info.block?).ok()?;
    if info.len + u64::from(len) > found.bytes {
        return None;
    }
    let mut bytes = vec![0; len.into()];
    // SAFETY: inside of a block of that space, whose mapping the caller has. It is another's by now, or nobody's, if the handle is
    // over afterwards.
    let read = unsafe { peek(scratch.address(info.block?).wrapping_add(info.len as usize), &mut bytes) };
    // Acquire: what was read above was read before this look; if the handle is not over, it was its name.
    fence(Ordering::Acquire);
    (read && !slab.is_over(token)).then_some(bytes)
}
