//! The books of a space at the end of a round, when no member works in it: every handle and every block of the space is
//! in the books of a living member, and every entry of the books exists, with exactly those holders.

use std::collections::BTreeMap;

use tenure::{BlockInfo, BlockState, HandleInfo, Space, Token};

use crate::verdict::Verdict;

/// The state of a handle with a holder.
const LIVE: &str = "Live";

/// A handle: either as found or as expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// Name of its state; the books contain only [`LIVE`].
    pub(super) state: String,
    /// Indices of the leases that hold it, in order.
    pub(super) holders: Vec<u8>,
    /// Offset of its block.
    pub(super) block: Option<u64>,
}

impl Entry {
    fn of(info: &HandleInfo) -> Self {
        Self {
            state: info.state.map_or_else(|| "Corrupt".into(), |state| format!("{state:?}")),
            holders: info.holders.iter().collect(),
            block: info.block,
        }
    }
}

/// A block: either as found or as expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    Lease(u8),
    Handle(u32, u64),
    Nobody,
}

impl Owner {
    fn of(block: &BlockInfo) -> Self {
        match block.owner {
            BlockState::Lease { lease, .. } => Self::Lease(lease),
            BlockState::Attached { index, generation } => Self::Handle(index, generation),
            _ => Self::Nobody,
        }
    }
}

/// All handles by index and generation, and all blocks by offset.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Books {
    handles: BTreeMap<(u32, u64), Entry>,
    blocks: BTreeMap<u64, Owner>,
}

impl Books {
    /// Reads the handles and blocks from the words of the space.
    pub(super) fn of(space: &Space) -> Self {
        let handles =
            space.handles().iter().map(|info| ((info.index, info.generation), Entry::of(info))).collect();
        let blocks = space.blocks().iter().map(|block| (block.offset, Owner::of(block))).collect();
        Self { handles, blocks }
    }

    pub(super) fn handles(&self) -> u64 {
        self.handles.len() as u64
    }

    pub(super) fn blocks(&self) -> u64 {
        self.blocks.len() as u64
    }

    /// Whether the handle has a holder.
    pub(super) fn is_live(&self, token: Token) -> bool {
        self.handles.get(&(token.index(), token.generation())).is_some_and(|entry| entry.state == LIVE)
    }

    /// Records that `lease` holds the handle. Only the space knows its block: it is taken from `found`.
    pub(super) fn enter_handle(&mut self, lease: u8, token: Token, found: &Self) {
        let key = (token.index(), token.generation());
        let block = found.handles.get(&key).and_then(|entry| entry.block);
        let new = || Entry { state: LIVE.into(), holders: Vec::new(), block };
        let entry = self.handles.entry(key).or_insert_with(new);
        if !entry.holders.contains(&lease) {
            entry.holders.push(lease);
            entry.holders.sort_unstable();
        }
        if let Some(offset) = block {
            self.blocks.insert(offset, Owner::Handle(key.0, key.1));
        }
    }

    /// Records that `lease` has the block.
    pub(super) fn enter_block(&mut self, lease: u8, offset: u64) {
        self.blocks.insert(offset, Owner::Lease(lease));
    }

    /// Compares the books with the state found.
    pub(super) fn compare(&self, found: &Self, about: &str, verdict: &mut Verdict) {
        for (key @ (index, generation), entry) in &found.handles {
            let handle = format!("{about}: handle {index} of generation {generation}");
            match self.handles.get(key) {
                Some(expected) if expected == entry => {}
                Some(expected) => {
                    verdict.mixed_up(format!("{handle}: expected {expected:?}, found {entry:?}"));
                }
                None => verdict.leaked(1, format!("{handle} is in no books: {entry:?}")),
            }
        }
        for ((index, generation), entry) in
            self.handles.iter().filter(|(key, _)| !found.handles.contains_key(key))
        {
            let handle = format!("handle {index} of generation {generation}");
            verdict.lost(format!("{about}: {handle} is gone, but in the books: {entry:?}"));
        }
        for (offset, owner) in &found.blocks {
            match self.blocks.get(offset) {
                Some(expected) if expected == owner => {}
                Some(expected) => {
                    let text = format!("block at {offset}: expected {expected:?}, found {owner:?}");
                    verdict.mixed_up(format!("{about}: {text}"));
                }
                None => verdict.leaked(1, format!("{about}: block at {offset} is in no books: {owner:?}")),
            }
        }
        for (offset, owner) in self.blocks.iter().filter(|(offset, _)| !found.blocks.contains_key(offset)) {
            verdict.lost(format!("{about}: block at {offset} is free, but in the books: {owner:?}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn books() -> Books {
        let entry = Entry { state: LIVE.into(), holders: vec![0, 4], block: Some(64) };
        Books {
            handles: [((5, 3), entry)].into(),
            blocks: [(64, Owner::Handle(5, 3)), (128, Owner::Lease(0))].into(),
        }
    }

    fn verdict(found: &Books) -> Verdict {
        let mut verdict = Verdict::default();
        books().compare(found, "space", &mut verdict);
        verdict
    }

    #[test]
    fn equal_books_are_clean() {
        assert!(verdict(&books()).is_clean());
    }

    #[test]
    fn control_a_handle_that_nobody_holds_is_a_leak_with_its_index() {
        for state in [LIVE, "Init"] {
            let mut found = books();
            let entry = Entry { state: state.into(), holders: Vec::new(), block: None };
            found.handles.insert((17, 9), entry);
            let verdict = verdict(&found);
            assert_eq!(verdict.leaked, 1);
            assert!(
                verdict.notes[0].contains("handle 17 of generation 9 is in no books"),
                "{:?}",
                verdict.notes
            );
        }
    }

    #[test]
    fn control_a_block_that_nobody_has_is_a_leak_with_its_offset() {
        for owner in [Owner::Lease(3), Owner::Handle(5, 2), Owner::Nobody] {
            let mut found = books();
            found.blocks.insert(4096, owner);
            let verdict = verdict(&found);
            assert_eq!(verdict.leaked, 1);
            assert!(verdict.notes[0].contains("block at 4096"), "{:?}", verdict.notes);
        }
    }

    #[test]
    fn control_missing_handles_and_blocks_are_lost_and_other_holders_are_mixed_up() {
        let mut found = books();
        found.handles.clear();
        assert_eq!(verdict(&found).lost, 1);
        found.blocks.clear();
        assert_eq!(verdict(&found).lost, 3);
        let mut found = books();
        found.handles.values_mut().for_each(|entry| entry.holders = vec![0]);
        assert_eq!(verdict(&found).mixed_up, 1);
    }

    #[test]
    fn control_a_handle_whose_index_is_used_again_is_lost_and_the_new_one_in_no_books() {
        let mut found = books();
        let entry = found.handles.remove(&(5, 3)).unwrap();
        found.handles.insert((5, 4), entry);
        let verdict = verdict(&found);
        assert_eq!((verdict.lost, verdict.leaked, verdict.mixed_up), (1, 1, 0), "{:?}", verdict.notes);
    }
}
