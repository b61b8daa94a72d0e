//! Large spans of a local: one block each, of whole units, and the units that are kept for the next large spans.
//!
//! A span whose block was freed is *cached* unchanged for a while: the next block of as many units costs one store to its
//! block word, as a small block does. A cached span that is not used again becomes a kept run: units HELD by the lease, with no
//! other shared state. So splitting and joining runs touches private memory only.

use crate::claim::Refused;
use crate::class::LARGE;
use crate::error::AllocError;
use crate::local::Local;
use crate::scratch::{Backing, Found};
use crate::small::Entry;
use crate::sync::Ordering;
use crate::word::{Block, END, Unit};

/// The most cached spans; they are searched from the last to the first.
const CACHED_MAX: usize = 8;
/// The most kept runs.
const RUNS_MAX: usize = 32;
/// The most units in cached spans and kept runs: an eighth of the region, at most this.
const UNITS_MAX: u32 = 128;

/// The private state of the large spans of a local.
pub(crate) struct Large {
    runs: Runs,
    /// Spans of this local whose blocks are FREE.
    cached: Vec<Run>,
    /// Number of units of the cached spans.
    parked_units: u32,
    /// All spans of this local, with the cached ones.
    spans: Vec<Run>,
    /// Number of runs claimed since the last collection of blocks that others freed.
    claims: usize,
}

impl Large {
    pub(crate) fn new(units: u32) -> Self {
        Self {
            runs: Runs {
                kept: Vec::with_capacity(RUNS_MAX),
                units: 0,
                most: (units / 8).clamp(1, UNITS_MAX),
            },
            cached: Vec::with_capacity(CACHED_MAX),
            parked_units: 0,
            spans: Vec::new(),
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
    /// The most units in runs and cached spans together.
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

    /// Takes up to `most` units that start exactly at `start`, or none if there are fewer than `least`; returns their number.
    fn take_at(&mut self, start: u32, least: u32, most: u32) -> u32 {
        let Some(at) = self.kept.iter().position(|run| run.start == start && run.units >= least) else {
            return 0;
        };
        let units = most.min(self.kept[at].units);
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

    /// Keeps a run, joined to its neighbours; false if there are too many.
    fn put(&mut self, start: u32, units: u32) -> bool {
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
    #[inline(never)]
    pub(crate) fn alloc_large(&mut self, bytes: u64, backing: &dyn Backing) -> Result<u64, AllocError> {
        let layout = self.scratch.layout;
        if bytes > layout.largest() {
            return Err(AllocError::TooLarge { bytes, max: layout.largest() });
        }
        let units = layout.units_for(bytes);
        match self.reuse_parked(units) {
            Some(head) => Ok(u64::from(head) << layout.unit_shift),
            None => self.make_large(units, backing).map_err(|refused| self.error(refused, bytes)),
        }
    }

    /// Allocates the block of a cached span, cut to `units`, or lengthened by the kept units behind it; returns the head.
    fn reuse_parked(&mut self, units: u32) -> Option<u32> {
        let large = &mut self.large;
        let mut best: Option<usize> = None;
        for (at, span) in large.cached.iter().enumerate().rev() {
            if span.units >= units && best.is_none_or(|best| span.units < large.cached[best].units) {
                best = Some(at);
                if span.units == units {
                    break;
                }
            }
        }
        let at = best.or_else(|| {
            // Only the last cached span: a search of all would take longer than a new span.
            let last = large.cached.last()?;
            let (end, missing) = (last.start + last.units, units - last.units);
            (large.runs.take_at(end, missing, missing) > 0).then(|| large.cached.len() - 1)
        })?;
        let span = large.cached.swap_remove(at);
        large.parked_units -= span.units;
        if span.units != units {
            // As when a block is resized: the units behind the span are HELD by this lease, and no part of the span.
            self.set_units(span, units);
        }
        // Release: the previous owner's accesses come before; pairs with the Acquire in `Scratch::block_state`.
        let (at, mine) = (self.scratch.block_at(span.start, LARGE, 0), self.leased(span.start));
        self.scratch.word(at).store(mine, Ordering::Release);
        Some(span.start)
    }

    #[inline(never)]
    fn make_large(&mut self, units: u32, backing: &dyn Backing) -> Result<u64, Refused> {
        let head = match self.large.runs.take(units).or_else(|| self.take_parked(units)) {
            Some(head) => head,
            None => self.claim_large(units, backing)?,
        };
        if !self.enter_large(head, units) {
            self.scratch.free_units(head..head + units);
            return Err(Refused::NoMemory);
        }
        self.scratch.make_large(self.owner, head, units as u16, self.leased(head));
        Ok(u64::from(head) << self.scratch.layout.unit_shift)
    }

    /// Allocates a block of whole units whose offset is a multiple of `align` bytes, a power of two; returns the offset.
    ///
    /// # Errors
    ///
    /// As [`Local::alloc`].
    ///
    /// # Progress
    ///
    /// As [`Local::alloc`] of a block that is longer by the alignment: the units before and behind the block are given back.
    ///
    /// # Crash
    ///
    /// All units are HELD by the lease, and recovery frees them, until the head of the span is stored.
    pub fn alloc_aligned(
        &mut self,
        bytes: u64,
        align: u64,
        backing: &dyn Backing,
    ) -> Result<u64, AllocError> {
        let layout = self.scratch.layout;
        let steps = (align >> layout.unit_shift).max(1);
        let slack = (steps - 1) << layout.unit_shift;
        let needed = bytes.saturating_add(slack);
        if bytes == 0 || !align.is_power_of_two() || needed > layout.largest() {
            return Err(AllocError::TooLarge { bytes: needed, max: layout.largest() });
        }
        let (units, all) = (layout.units_for(bytes), layout.units_for(needed));
        let start = self.claim_large(all, backing).map_err(|refused| self.error(refused, bytes))?;
        let head = start.next_multiple_of(steps as u32);
        if !self.enter_large(head, units) {
            self.scratch.free_units(start..start + all);
            return Err(AllocError::NoMemory { bytes });
        }
        self.scratch.free_units(start..head);
        self.scratch.free_units(head + units..start + all);
        self.scratch.make_large(self.owner, head, units as u16, self.leased(head));
        Ok(u64::from(head) << layout.unit_shift)
    }

    /// The word of a large block of this lease at `head`.
    fn leased(&self, head: u32) -> u64 {
        self.hot.leased(u64::from(head) << self.scratch.layout.unit_shift)
    }

    /// Takes units of the runs that this local keeps.
    pub(crate) fn take_run(&mut self, units: u32) -> Option<u32> {
        self.large.runs.take(units)
    }

    /// Enters a large span of this lease, or one that is about to be, into the private state of this local, which covers its units. False
    /// without memory.
    fn enter_large(&mut self, head: u32, units: u32) -> bool {
        let spans = &mut self.large.spans;
        let place = spans.len();
        if place == spans.capacity() && spans.try_reserve(1).is_err() {
            return false;
        }
        self.hot.entries[head as usize] = Entry::LARGE;
        self.links[head as usize].place = place as u32;
        spans.spare_capacity_mut()[0].write(Run { start: head, units });
        // SAFETY: there was room for one more, and it was just written.
        unsafe { spans.set_len(place + 1) };
        true
    }

    /// Takes over a span of a local of the same lease whose thread no longer exists.
    pub(crate) fn inherit_large(&mut self, head: u32, units: u32) {
        // Without memory the span stays what it is: nobody frees it.
        if !self.cover(head + units) || !self.enter_large(head, units) {
            return;
        }
        if self.scratch.large_state(head) == Block::Free {
            // The other local had cached it.
            self.put_large(head);
        }
    }

    /// Makes kept runs of all cached spans, and takes `units` from them.
    fn take_parked(&mut self, units: u32) -> Option<u32> {
        if self.large.cached.is_empty() {
            return None;
        }
        self.unpark();
        self.large.runs.take(units)
    }

    fn unpark(&mut self) {
        self.large.parked_units = 0;
        while let Some(cached) = self.large.cached.pop() {
            self.put_large(cached.start);
        }
    }

    /// Whether `unit` is kept for the next large blocks.
    pub(crate) fn keeps(&self, unit: u32) -> bool {
        self.large.runs.kept.iter().any(|run| (run.start..run.start + run.units).contains(&unit))
    }

    #[cold]
    #[inline(never)]
    fn claim_large(&mut self, units: u32, backing: &dyn Backing) -> Result<u32, Refused> {
        self.large.claims += 1;
        if self.large.claims * 8 >= self.large.spans.len() {
            self.collect_large();
            if let Some(head) = self.large.runs.take(units) {
                return Ok(head);
            }
        }
        if self.large.runs.units > self.large.runs.most / 2 {
            // Many units are kept in runs that are too short.
            self.release_runs();
        }
        self.answer_requests();
        self.claim(units, backing).or_else(|_| {
            self.release_idle();
            self.scratch.release_abandoned(self.owner);
            self.claim_covered(units, backing).inspect_err(|_| self.request())
        })
    }

    /// Frees a large block of this local if its word is `expected`, and parks the span or keeps its units.
    pub(crate) fn free_large(&mut self, offset: u64, expected: u64) -> bool {
        let unit = offset >> self.scratch.layout.unit_shift;
        if !self.is_large_head(unit) || unit << self.scratch.layout.unit_shift != offset {
            return false;
        }
        let head = unit as u32;
        let word = self.scratch.word(self.scratch.block_at(head, LARGE, 0));
        // Relaxed: as in `Hot::put`.
        if word.load(Ordering::Relaxed) != expected {
            return false;
        }
        let large = &mut self.large;
        let span = large.spans[self.links[head as usize].place as usize];
        let kept = large.runs.units + large.parked_units + span.units;
        if large.cached.len() == CACHED_MAX || kept > large.runs.most {
            return self.put_large(head);
        }
        large.parked_units += span.units;
        large.cached.push(span);
        // Release: our payload accesses come before; pairs with the Acquire in `Scratch::block_state`.
        word.store(END, Ordering::Release);
        true
    }

    /// Ends a large span of this local; false if its head was corrupted.
    fn put_large(&mut self, head: u32) -> bool {
        if !self.owns_large(head) {
            return false;
        }
        let place = self.links[head as usize].place as usize;
        let span = self.large.spans.swap_remove(place);
        if let Some(&moved) = self.large.spans.get(place) {
            self.links[moved.start as usize].place = place as u32;
        }
        self.hot.entries[head as usize] = Entry::FOREIGN;
        self.scratch.unmake_large(self.owner, head);
        self.keep(head, span.units);
        true
    }

    /// Whether the unit word agrees that `head` is the head of a large span of this lease.
    fn owns_large(&self, head: u32) -> bool {
        matches!(self.scratch.unit_state(head), Unit::Span(owner, shape) if owner == self.owner && shape.class == LARGE)
    }

    /// Keeps units that are HELD by this lease, or frees them if too many are kept.
    fn keep(&mut self, start: u32, units: u32) {
        let large = &mut self.large;
        let fits = large.runs.units + large.parked_units + units <= large.runs.most;
        if units > 0 && !(fits && large.runs.put(start, units)) {
            self.scratch.free_units(start..start + units);
        }
    }

    /// Frees the kept runs.
    fn release_runs(&mut self) {
        for run in std::mem::take(&mut self.large.runs.kept) {
            self.scratch.free_units(run.start..run.start + run.units);
        }
        self.large.runs.units = 0;
    }

    /// Collects large blocks that others freed, then frees all cached spans and kept runs.
    pub(crate) fn release_large(&mut self) {
        self.unpark();
        self.collect_large();
        self.release_runs();
    }

    /// Collects large blocks that others freed, regardless of hints.
    fn collect_large(&mut self) {
        self.large.claims = 0;
        let mut at = 0;
        while let Some(&Run { start: head, .. }) = self.large.spans.get(at) {
            let freed = self.scratch.large_state(head) == Block::Remote;
            // After `put_large` another span is at this position.
            if !freed || !self.put_large(head) {
                at += 1;
            }
        }
    }

    /// Resizes a block of this lease in place to at least `bytes`. Returns false if that is impossible, or if the block is not a
    /// large block of this local.
    pub fn resize_in_place(&mut self, offset: u64, bytes: u64, backing: &dyn Backing) -> bool {
        let ours = Block::lease(self.id);
        self.scratch
            .find(offset)
            .is_ok_and(|found| found.owner == ours && self.resize_large(&found, bytes, backing))
    }

    /// Sets the length of a large span of this local. Units that it gains are HELD by this lease; units that it loses are kept.
    fn set_units(&mut self, span: Run, units: u32) {
        self.scratch.resize_large(self.owner, span.start, units as u16);
        self.large.spans[self.links[span.start as usize].place as usize].units = units;
        if units < span.units {
            self.keep(span.start + units, span.units - units);
        }
    }

    /// Resizes a large block of this local in place, if that is possible.
    pub(crate) fn resize_large(&mut self, found: &Found, bytes: u64, backing: &dyn Backing) -> bool {
        let ours = found.shape.class == LARGE && self.is_large_head(u64::from(found.head));
        if !ours || self.is_small(bytes) || bytes > self.scratch.layout.largest() {
            return false;
        }
        // The length of private memory: the unit word may be corrupted.
        let has = self.large.spans[self.links[found.head as usize].place as usize].units;
        let wants = self.scratch.layout.units_for(bytes);
        let end = found.head + has;
        if wants > has {
            if self.large.cached.iter().any(|cached| cached.start == end) {
                self.unpark();
            }
            let kept = self.large.runs.take_at(end, 1, wants - has);
            let missing = wants - has - kept;
            if missing > 0
                && !(self.cover(end + kept + missing)
                    && self.scratch.claim_at(self.owner, end + kept, missing, backing))
            {
                self.keep(end, kept);
                return false;
            }
        }
        self.set_units(Run { start: found.head, units: has }, wants);
        true
    }
}
