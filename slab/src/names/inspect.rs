//! Inspects the table without taking part: the handles that it names, and corrupted words.

use super::layout::{BUCKET_WORDS, SLOTS};
use super::table::Names;
use super::word::{PendingSlot, Slot};
use crate::token::Token;

/// A word of the table that the protocol does not write.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NamesProblem {
    /// A pending slot.
    #[error("names, bucket {bucket}: the pending slot is corrupt")]
    Pending {
        /// The bucket.
        bucket: u32,
    },
    /// A slot.
    #[error("names, bucket {bucket}: slot {slot} is corrupt")]
    Slot {
        /// The bucket.
        bucket: u32,
        /// The slot in the bucket.
        slot: u32,
    },
    /// A control bit of a chunk that the layout does not have.
    #[error("names: a chunk is committed that is not there")]
    Chunk,
}

/// The result of [`Names::look`].
#[derive(Clone, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub struct NamesReport {
    /// The handles in the table, also those that are over; a handle may be there twice.
    pub named: Vec<Token>,
    /// The problems; the first 100.
    pub problems: Vec<NamesProblem>,
}

impl Names<'_> {
    /// Reads every committed word of the table.
    #[must_use]
    pub fn look(&self) -> NamesReport {
        let mut report = NamesReport::default();
        let mut problems = Vec::new();
        let committed =
            (0..self.layout.chunks().next_multiple_of(64)).filter(|chunk| self.is_committed(*chunk));
        for chunk in committed {
            if chunk >= self.layout.chunks() {
                problems.push(NamesProblem::Chunk);
                continue;
            }
            let words = self.layout.chunk_range(chunk);
            let first = self.first_bucket(chunk);
            let lines = self.words[words.start as usize..words.end as usize].chunks_exact(BUCKET_WORDS);
            for (bucket, line) in (first..).zip(lines) {
                // The pending slot first, the slots afterwards, as in `find`: helpers move handles from the former to the latter.
                let pending = PendingSlot(&line[0]).load();
                if !pending.is_known(true) || usize::from(pending.detail()) >= 2 * SLOTS {
                    problems.push(NamesProblem::Pending { bucket });
                }
                report.named.extend(pending.token(self.space_tag));
                for (slot, word) in (0..).zip(&line[1..]) {
                    let seen = Slot(word).load();
                    if !seen.is_known(false) {
                        problems.push(NamesProblem::Slot { bucket, slot });
                    }
                    report.named.extend(seen.token(self.space_tag));
                }
            }
        }
        problems.truncate(100);
        report.problems = problems;
        report
    }

    fn first_bucket(&self, chunk: u32) -> u32 {
        let words = self.layout.chunk_range(chunk).start - self.layout.control_words();
        words as u32 / BUCKET_WORDS as u32
    }
}
