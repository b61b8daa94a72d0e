//! Large spans of a local: one block each, of whole units, and the runs of units that are kept for the next ones.
//!
//! A kept run is just units HELD by the lease: nothing else is written about it, so splitting and joining runs touches
//! private memory only, and a large block comes and goes with two stores to its block word and two to its head.

use crate::claim::Refused;
use crate::class::LARGE;
use crate::error::AllocError;
use crate::local::Local;
use crate::scratch::{Backing, Found};
use crate::small::Cover;
use crate::word::{Block, Shape, Unit};

/// Runs kept.
const RUNS_MAX: usize = 32;
/// Units kept in all: an eighth of the region, at most this.
const UNITS_MAX: u32 = 1024;

/// What a local knows about its large spans.
pub(crate) struct Large {
    runs: Runs,
    /// Heads of spans in use.
    heads: Vec<u32>,
    /// Per unit that is such a head: where in `heads`.
    places: Box<[u32]>,
    /// Runs claimed since frees by others were last looked for.
    claims: usize,
}

impl Large {
    pub(crate) fn new(units: u32) -> Self {
        Self {
            runs: Runs { kept: Vec::new(), units: 0, most: (units / 8).clamp(1, UNITS_MAX) },
            heads: Vec::new(),
            places: vec![0; units as usize].into(),
            claims: 0,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    start: u32,
    units: u32,
}

/// Runs of units HELD by the lease: disjoint and never adjacent.
struct Runs {
    kept: Vec<Run>,
    units: u32,
    most: u32,
}

impl Runs {
    /// Takes `units` from the shortest run that has them.
    fn take(&mut self, units: u32) -> Option<u32> {
        let mut best: Option<usize> = None;
        for (at, run) in self.kept.iter().enumerate() {
            if run.units >= units && best.is_none_or(|best| run.units < self.kept[best].units) {
                best = Some(at);
            }
        }
        let best = best?;
        Some(self.cut(best, units))
    }

    /// Takes at most `units` that start exactly at `start`; returns how many.
    fn take_at(&mut self, start: u32, units: u32) -> u32 {
        let Some(at) = self.kept.iter().position(|run| run.start == start) else { return 0 };
        let units = units.min(self.kept[at].units);
        self.cut(at, units);
        units
    }

    fn cut(&mut self, at: usize, units: u32) -> u32 {
        let run = &mut self.kept[at];
        let start = run.start;
        (run.start, run.units) = (start + units, run.units - units);
        if run.units == 0 {
            self.kept.swap_remove(at);
        }
        self.units -= units;
        start
    }

    /// Keeps a run, joined to its neighbours; false when there are too many.
    fn put(&mut self, start: u32, units: u32) -> bool {
        if self.units + units > self.most {
            return false;
        }
        let (mut before, mut after) = (None, None);
        for (at, run) in self.kept.iter().enumerate() {
            if run.start + run.units == start {
                before = Some(at);
            } else if start + units == run.start {
                after = Some(at);
            }
        }
        match (before, after) {
            (Some(before), Some(after)) => {
                self.kept[before].units += units + self.kept[after].units;
                self.kept.swap_remove(after);
            }
            (Some(before), None) => self.kept[before].units += units,
            (None, Some(after)) => {
                self.kept[after].start = start;
                self.kept[after].units += units;
            }
            (None, None) if self.kept.len() == RUNS_MAX => return false,
            (None, None) => self.kept.push(Run { start, units }),
        }
        self.units += units;
        true
    }
}

impl Local<'_> {
    pub(crate) fn alloc_large(&mut self, bytes: u64, backing: &dyn Backing) -> Result<u64, AllocError> {
        let layout = self.scratch.layout;
        if bytes > layout.largest() {
            return Err(AllocError::TooLarge { bytes, max: layout.largest() });
        }
        let units = layout.units_for(bytes);
        let head = match self.large.runs.take(units) {
            Some(head) => head,
            None => self.claim_large(units, backing).map_err(|refused| self.error(refused, bytes))?,
        };
        self.scratch.make_large(self.owner, head, units as u16, self.hot.mine);
        self.enter_large(head);
        Ok(u64::from(head) << layout.unit_shift)
    }

    /// Enters a large span that is ours into the private books.
    pub(crate) fn enter_large(&mut self, head: u32) {
        self.hot.map[head as usize] = Cover::LARGE;
        self.large.places[head as usize] = self.large.heads.len() as u32;
        self.large.heads.push(head);
    }

    /// Whether `unit` is kept for the next large blocks.
    pub(crate) fn keeps(&self, unit: u32) -> bool {
        self.large.runs.kept.iter().any(|run| (run.start..run.start + run.units).contains(&unit))
    }

    #[cold]
    #[inline(never)]
    fn claim_large(&mut self, units: u32, backing: &dyn Backing) -> Result<u32, Refused> {
        self.large.claims += 1;
        if self.large.claims * 8 >= self.large.heads.len() {
            self.collect_large();
            if let Some(head) = self.large.runs.take(units) {
                return Ok(head);
            }
        }
        if self.large.runs.units > self.large.runs.most / 2 {
            // Much is kept and does not serve.
            self.release_runs();
        }
        self.scratch.claim(self.owner, units, backing).or_else(|_| {
            self.release_idle();
            self.scratch.release_abandoned(self.owner);
            self.scratch.claim(self.owner, units, backing)
        })
    }

    /// Frees a large block of this local if its word is `expected`, and keeps its units.
    pub(crate) fn free_large(&mut self, offset: u64, expected: Block) -> bool {
        let unit = offset >> self.scratch.layout.unit_shift;
        if !self.is_large_head(unit) || unit << self.scratch.layout.unit_shift != offset {
            return false;
        }
        let head = unit as u32;
        let ours = self.scratch.block_state(self.scratch.block_at(head, LARGE, 0)) == expected;
        ours && self.put_large(head)
    }

    /// Ends a large span of ours; false where its head was scribbled over.
    fn put_large(&mut self, head: u32) -> bool {
        let Some(shape) = self.large_shape(head) else { return false };
        let place = self.large.places[head as usize] as usize;
        self.large.heads.swap_remove(place);
        if let Some(&moved) = self.large.heads.get(place) {
            self.large.places[moved as usize] = place as u32;
        }
        self.hot.map[head as usize] = Cover::NONE;
        self.scratch.unmake_large(self.owner, head);
        self.keep(head, u32::from(shape.units));
        true
    }

    fn large_shape(&self, head: u32) -> Option<Shape> {
        match self.scratch.unit_state(head) {
            Unit::Span(owner, shape)
                if owner == self.owner && shape.class == LARGE && self.scratch.plausible(head, shape) =>
            {
                Some(shape)
            }
            _ => None,
        }
    }

    /// Keeps units that are HELD by us, or gives them to everybody.
    fn keep(&mut self, start: u32, units: u32) {
        if units > 0 && !self.large.runs.put(start, units) {
            self.scratch.free_units(start..start + units);
        }
    }

    /// Gives the kept runs to everybody; returns how many units.
    fn release_runs(&mut self) {
        for run in std::mem::take(&mut self.large.runs.kept) {
            self.scratch.free_units(run.start..run.start + run.units);
        }
        self.large.runs.units = 0;
    }

    /// Collects large blocks that others freed, then gives everything kept to everybody.
    pub(crate) fn release_large(&mut self) {
        self.collect_large();
        self.release_runs();
    }

    /// Collects large blocks that others freed, regardless of hints.
    fn collect_large(&mut self) {
        self.large.claims = 0;
        let mut at = 0;
        while let Some(&head) = self.large.heads.get(at) {
            let freed = self.scratch.block_state(self.scratch.block_at(head, LARGE, 0)) == Block::Remote;
            // Another one takes its place where it goes.
            if !freed || !self.put_large(head) {
                at += 1;
            }
        }
    }

    /// Resizes a block of this lease to at least `bytes` where it is, if it is a large one of this local and that is possible.
    pub fn resize_in_place(&mut self, offset: u64, bytes: u64, backing: &dyn Backing) -> bool {
        let ours = Block::lease(self.id);
        self.scratch
            .find(offset)
            .is_ok_and(|found| found.owner == ours && self.resize_large(&found, bytes, backing))
    }

    /// Resizes a large block of this local in place, if that is possible.
    pub(crate) fn resize_large(&mut self, found: &Found, bytes: u64, backing: &dyn Backing) -> bool {
        let ours = found.shape.class == LARGE && self.is_large_head(u64::from(found.head));
        if !ours || self.is_small(bytes) || bytes > self.scratch.layout.largest() {
            return false;
        }
        let (has, wants) = (u32::from(found.shape.units), self.scratch.layout.units_for(bytes));
        let end = found.head + has;
        if wants > has {
            let kept = self.large.runs.take_at(end, wants - has);
            let missing = wants - has - kept;
            if missing > 0 && !self.scratch.claim_at(self.owner, end + kept, missing, backing) {
                self.keep(end, kept);
                return false;
            }
        }
        self.scratch.resize_large(self.owner, found.head, wants as u16);
        if wants < has {
            self.keep(found.head + wants, has - wants);
        }
        true
    }
}
