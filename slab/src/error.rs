//! Errors of the handle operations.

use crate::word::{Snapshot, State};

/// The handle does not have the caller's generation, or has it no longer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("expected generation {expected} of handle {index}, found it over: generation {found}")]
pub struct Stale {
    /// Index of the handle.
    pub index: u32,
    /// The caller's generation.
    pub expected: u64,
    /// The generation found.
    pub found: u64,
}

/// No committed handle is free.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("all {committed} committed handles are taken ({handles} can be committed)")]
pub struct Exhausted {
    /// Handles committed.
    pub committed: u32,
    /// Handles of the geometry; if more than `committed`, committing more helps.
    pub handles: u32,
}

/// A token that could not be opened. Nothing is left behind.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The handle was closed by its last holder.
    #[error(transparent)]
    Stale(#[from] Stale),
    /// No such handle was ever created.
    #[error("generation {generation} of handle {index} was never created")]
    Forged {
        /// Index in the token.
        index: u32,
        /// Generation in the token.
        generation: u64,
    },
    /// A token of another space.
    #[error("expected a token of space {expected}, found one of space {found}")]
    ForeignSpace {
        /// Tag of this space.
        expected: u8,
        /// Tag in the token.
        found: u8,
    },
    /// A handle of another kind.
    #[error("expected a handle of kind {expected:016x}, found kind {found:016x}")]
    ForeignKind {
        /// The caller's kind.
        expected: u64,
        /// The handle's kind.
        found: u64,
    },
    /// The process already has [`COUNT_MAX`](crate::COUNT_MAX) counts on this handle.
    #[error("this process holds handle {index} as often as it can")]
    CountFull {
        /// Index of the handle.
        index: u32,
    },
    /// The handle word is corrupted: the protocol does not write such a value.
    #[error("the word of handle {index} is corrupt: {found:016x}")]
    Corrupt {
        /// Index of the handle.
        index: u32,
        /// The word found.
        found: u64,
    },
}

impl OpenError {
    /// The error if `word` is not LIVE in generation `generation` of handle `index`.
    pub(crate) fn refuted(index: u32, generation: u64, word: Snapshot, generation_bits: u32) -> Self {
        let found = word.generation();
        match word.state() {
            Some(state) if found >> generation_bits == 0 => {
                if generation < found || (generation == found && state == State::Retired) {
                    Self::Stale(Stale { index, expected: generation, found })
                } else {
                    Self::Forged { index, generation }
                }
            }
            _ => Self::Corrupt { index, found: word.raw() },
        }
    }
}
