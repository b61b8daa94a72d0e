//! Looking at the table without taking part: what it names, and whether its words are as they must be.

use super::layout::{BUCKET_WORDS, SLOTS};
use super::table::Names;
use super::word::{Intake, Slot};
use crate::token::Token;

/// Something that must not be in the table.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NamesProblem {
    /// An intake that the protocol does not write.
    #[error("names, bucket {bucket}: the intake is corrupt")]
    Intake {
        /// The bucket.
        bucket: u32,
    },
    /// A slot that the protocol does not write.
    #[error("names, bucket {bucket}: slot {slot} is corrupt")]
    Slot {
        /// The bucket.
        bucket: u32,
        /// The slot in the bucket.
        slot: u32,
    },
    /// The control words call a chunk committed that the layout does not have.
    #[error("names: a chunk is committed that is not there")]
    Chunk,
}

/// What a look at the table finds.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub struct NamesReport {
    /// What the table names, whether over or not; a handle may be there twice.
    pub named: Vec<Token>,
    /// What is wrong; the first 100.
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
                // The intake first, the slots after: handles go from the former to the latter.
                let intake = Intake(&line[0]).load();
                if !intake.is_known(true) || usize::from(intake.detail()) >= 2 * SLOTS {
                    problems.push(NamesProblem::Intake { bucket });
                }
                report.named.extend(intake.token(self.space_tag));
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
