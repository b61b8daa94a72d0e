//! Units: claiming runs of them, making spans, giving them back.

use std::ops::Range;

use tenure_segment::sync::Ordering;

use crate::class::LARGE;
use crate::crash::crash_point;
use crate::scratch::{Backing, READY, Scratch};
use crate::word::{Owner, Shape, Unit};

/// Why no run of units was claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// No run of that length is free.
    Exhausted,
    /// The system has no memory for it.
    NoMemory,
}

/// Cold units that are committed together with the one that is needed, to share the system call.
const COMMIT_AHEAD: u32 = 4;

impl Scratch<'_> {
    /// Claims `length` adjacent units with memory behind them; afterwards they are HELD by `me`.
    ///
    /// Lowest address first, warm units before cold ones (the fit that keeps the footprint small).
    pub(crate) fn claim(&self, me: Owner, length: u32, backing: &dyn Backing) -> Result<u32, Refused> {
        loop {
            let ready = self.ready();
            if let Some(claimed) = self.claim_hinted(me, length, ready, backing) {
                return claimed;
            }
            if ready < self.layout.units {
                self.extend(ready, backing)?;
            } else if self.mend_hints() {
                return self.claim_hinted(me, length, ready, backing).unwrap_or(Err(Refused::Exhausted));
            } else {
                return Err(Refused::Exhausted);
            }
        }
    }

    fn claim_hinted(
        &self,
        me: Owner,
        length: u32,
        ready: u32,
        backing: &dyn Backing,
    ) -> Option<Result<u32, Refused>> {
        for cold_too in [false, true] {
            let mut from = 0;
            while let Some(start) = self.find_run(from, length, ready, cold_too) {
                match self.claim_run(me, start, length) {
                    Ok(()) => return Some(self.back(me, start, length, ready, backing).map(|()| start)),
                    Err(at) => from = at + 1,
                }
            }
        }
        None
    }

    /// Commits the control of the next units and publishes them.
    fn extend(&self, ready: u32, backing: &dyn Backing) -> Result<(), Refused> {
        let (next, ranges) = self.layout.next_ready(ready);
        for range in ranges {
            backing.commit(range).map_err(|_| Refused::NoMemory)?;
        }
        for unit in ready..next {
            if self.unit_state(unit) == Unit::Unbacked {
                self.hint(self.layout.cold, unit, true);
            }
        }
        crash_point!("scratch.extend.committed");
        // AcqRel: publishes the commit above; pairs with the Acquire in `ready`. A maximum: a slower extender must not
        // take back what a faster one published.
        self.control(READY).fetch_max(u64::from(next), Ordering::AcqRel);
        Ok(())
    }

    /// Rebuilds the hints from the words; true if a lost one was found.
    fn mend_hints(&self) -> bool {
        let mut mended = false;
        for unit in 0..self.ready() {
            let bitmap = match self.unit_state(unit) {
                Unit::Free => self.layout.warm,
                Unit::Unbacked => self.layout.cold,
                _ => continue,
            };
            if self.hints(bitmap, unit) >> (unit % 64) & 1 == 0 {
                self.hint(bitmap, unit, true);
                mended = true;
            }
        }
        mended
    }

    /// The first run of `length` hinted units at or after `from`.
    fn find_run(&self, from: u32, length: u32, ready: u32, cold_too: bool) -> Option<u32> {
        let (mut start, mut run) = (from, 0);
        let mut unit = from;
        while unit < ready {
            let mut bits = self.hints(self.layout.warm, unit);
            if cold_too {
                bits |= self.hints(self.layout.cold, unit);
            }
            let (first, end) = (unit % 64, ready.min((unit | 63) + 1));
            bits &= u64::MAX << first;
            if bits == 0 {
                (run, unit) = (0, end);
                continue;
            }
            while unit < end {
                let ahead = bits >> (unit % 64);
                if ahead & 1 == 1 {
                    if run == 0 {
                        start = unit;
                    }
                    let ones = ahead.trailing_ones().min(end - unit);
                    run += ones;
                    unit += ones;
                    if run >= length {
                        return Some(start);
                    }
                } else {
                    run = 0;
                    unit += ahead.trailing_zeros().min(end - unit);
                }
            }
        }
        None
    }

    /// Marks every unit of the run; `Err` names the one that was not to be had, and nothing is claimed.
    fn claim_run(&self, me: Owner, start: u32, length: u32) -> Result<(), u32> {
        for unit in start..start + length {
            let claimed = match self.unit_state(unit) {
                Unit::Free => self.unit_exchange(unit, Unit::Free, Unit::Held(me)),
                Unit::Unbacked => self.unit_exchange(unit, Unit::Unbacked, Unit::Backing(me)),
                _ => {
                    self.hint(self.layout.warm, unit, false);
                    self.hint(self.layout.cold, unit, false);
                    false
                }
            };
            if !claimed {
                self.give_up(start..unit);
                return Err(unit);
            }
            crash_point!("scratch.claim.marked");
        }
        for unit in start..start + length {
            self.hint(self.layout.warm, unit, false);
            self.hint(self.layout.cold, unit, false);
        }
        Ok(())
    }

    /// Returns claimed units to what they were.
    fn give_up(&self, units: Range<u32>) {
        for unit in units {
            if matches!(self.unit_state(unit), Unit::Backing(_)) {
                self.unit_store(unit, Unit::Unbacked);
                self.hint(self.layout.cold, unit, true);
            } else {
                self.free_unit(unit);
            }
        }
    }

    /// Gives one unit that the caller owns to everybody.
    fn free_unit(&self, unit: u32) {
        self.unit_store(unit, Unit::Free);
        self.hint(self.layout.warm, unit, true);
    }

    /// Puts memory behind the cold units of a claimed run, and behind some cold neighbours.
    fn back(
        &self,
        me: Owner,
        start: u32,
        length: u32,
        ready: u32,
        backing: &dyn Backing,
    ) -> Result<(), Refused> {
        let end = start + length;
        let is_cold = |unit: &u32| matches!(self.unit_state(*unit), Unit::Backing(_));
        if !(start..end).any(|unit| is_cold(&unit)) {
            return Ok(());
        }
        let mut ahead = end;
        while is_cold(&(end - 1))
            && ahead < ready
            && ahead - start < COMMIT_AHEAD
            && self.claim_run(me, ahead, 1).is_ok()
        {
            if !is_cold(&ahead) {
                self.free_unit(ahead);
                break;
            }
            ahead += 1;
        }
        let mut unit = start;
        while unit < ahead {
            let run = (unit..ahead).take_while(is_cold).count() as u32;
            if run > 0 && backing.commit(self.layout.data_range(unit, run)).is_err() {
                self.give_up(start..ahead);
                return Err(Refused::NoMemory);
            }
            crash_point!("scratch.back.committed");
            for cold in unit..unit + run {
                self.unit_store(cold, Unit::Held(me));
            }
            unit += run.max(1);
        }
        (end..ahead).for_each(|unit| self.free_unit(unit));
        Ok(())
    }

    /// Turns a claimed run into a span with all blocks free.
    pub(crate) fn make_span(
        &self,
        me: Owner,
        head: u32,
        shape: Shape,
        backing: &dyn Backing,
    ) -> Result<(), Refused> {
        let blocks = self.layout.blocks(shape.class);
        if !self.commit_table(head, blocks, backing) {
            self.give_up(head..head + u32::from(shape.units));
            return Err(Refused::NoMemory);
        }
        for index in 0..blocks {
            // Relaxed: published by the Release store of the head below. 0 is Block::Free.
            self.block(self.slot_of(head, index)).store(0, Ordering::Relaxed);
        }
        self.remote(head).store(0, Ordering::Relaxed);
        self.make_tails(me, head, 1..u32::from(shape.units));
        crash_point!("scratch.span.tails_stored");
        self.unit_store(head, Unit::Span(me, shape));
        Ok(())
    }

    /// Marks claimed units as tails of the span at `head`.
    pub(crate) fn make_tails(&self, me: Owner, head: u32, distances: Range<u32>) {
        for distance in distances {
            self.unit_store(head + distance, Unit::Tail(me, distance as u16));
        }
    }

    /// Frees the tails of the span at `head`, by exact exchanges: any of them may be gone already.
    pub(crate) fn free_tails(&self, head: u32, distances: Range<u32>) {
        for distance in distances {
            let unit = head + distance;
            // An equal distance means this head, which still stands: the unit cannot have begun another life.
            if let tail @ Unit::Tail(_, d) = self.unit_state(unit)
                && u32::from(d) == distance
                && self.unit_exchange(unit, tail, Unit::Free)
            {
                self.hint(self.layout.warm, unit, true);
                crash_point!("scratch.release.tail_freed");
            }
        }
    }

    /// Claims exactly the `length` units from `start`, to lengthen the span before them.
    pub(crate) fn claim_at(&self, me: Owner, start: u32, length: u32, backing: &dyn Backing) -> bool {
        let ready = self.ready();
        u64::from(start) + u64::from(length) <= u64::from(ready)
            && self.claim_run(me, start, length).is_ok()
            && self.back(me, start, length, ready, backing).is_ok()
    }

    /// Splits a large span of the caller after `units`; its remaining `rest` units become another one, with the block free.
    ///
    /// Refused when no memory is committed for the second block's word.
    pub(crate) fn split(&self, me: Owner, head: u32, units: u16, rest: u16, backing: &dyn Backing) -> bool {
        let second = head + u32::from(units);
        if !self.commit_table(second, 1, backing) {
            return false;
        }
        self.block(self.slot_of(second, 0)).store(0, Ordering::Relaxed);
        self.remote(second).store(0, Ordering::Relaxed);
        // Killed between any two of these stores, every unit still names `me`: tails at a distance that no head covers are
        // freed for themselves, and the first head, still at full length, skips what does not point to it.
        self.make_tails(me, second, 1..u32::from(rest));
        self.unit_store(second, Unit::Span(me, Shape { class: LARGE, units: rest }));
        crash_point!("scratch.split.second_stored");
        self.unit_store(head, Unit::Span(me, Shape { class: LARGE, units }));
        true
    }

    /// Makes the first `words` words of the table at `head` touchable.
    fn commit_table(&self, head: u32, words: u32, backing: &dyn Backing) -> bool {
        let committed = self.table_committed(head);
        // Relaxed: only the unit's owner stores it; ownership came with the Acquire of the claim.
        if committed.load(Ordering::Relaxed) >= u64::from(words) {
            return true;
        }
        let done = backing.commit(self.layout.table_range(head, words)).is_ok();
        if done {
            committed.store(u64::from(words), Ordering::Relaxed);
        }
        done
    }

    /// Gives back a span whose blocks are all free; its head is SPAN of the caller.
    pub(crate) fn release_span(&self, head: u32, shape: Shape) {
        self.free_tails(head, 1..u32::from(shape.units));
        self.free_unit(head);
    }

    /// Takes over an abandoned span.
    pub(crate) fn adopt(&self, me: Owner, head: u32, shape: Shape) -> bool {
        if !self.unit_exchange(head, Unit::Abandoned(shape), Unit::Span(me, shape)) {
            return false;
        }
        crash_point!("scratch.adopt.head_taken");
        for distance in 1..u32::from(shape.units) {
            let unit = head + distance;
            if let tail @ Unit::Tail(_, d) = self.unit_state(unit)
                && u32::from(d) == distance
            {
                self.unit_exchange(unit, tail, Unit::Tail(me, d));
            }
        }
        true
    }

    /// Gives the memory of free units back to the system; returns its bytes.
    pub(crate) fn punch_free(&self, me: Owner, backing: &dyn Backing) -> u64 {
        let mut punched = 0;
        for unit in 0..self.ready() {
            if self.unit_state(unit) == Unit::Free && self.unit_exchange(unit, Unit::Free, Unit::Backing(me))
            {
                self.hint(self.layout.warm, unit, false);
                self.table_committed(unit).store(0, Ordering::Relaxed);
                crash_point!("scratch.trim.marked");
                let (data, table) = (
                    self.layout.data_range(unit, 1),
                    self.layout.table_range(unit, self.layout.table_words()),
                );
                punched += data.end - data.start;
                backing.punch(data);
                backing.punch(table);
                self.unit_store(unit, Unit::Unbacked);
                self.hint(self.layout.cold, unit, true);
            }
        }
        punched
    }
}
