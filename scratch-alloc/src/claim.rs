//! Units without an owner: finding runs of them, claiming, committing and decommitting.

use std::ops::Range;

use tenure_core::mutant;

use crate::geometry::FIRST_TABLE;
use crate::scratch::{Backing, READY, Scratch};
use crate::sync::Ordering;
use crate::word::{Owner, Unit};

/// Why no run of units was claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// No run of that length is free.
    Exhausted,
    /// The system has no memory for it.
    NoMemory,
}

/// The most units that one system call commits when fewer are needed.
const COMMIT_AHEAD: u32 = 4;
/// The most units that one system call decommits: no process can claim them meanwhile.
const DECOMMIT_MAX: u32 = 256;

impl Scratch<'_> {
    /// Claims and commits `length` adjacent units; afterwards they are HELD by `me`.
    ///
    /// Lowest address first, dirty units before clean ones (the fit that keeps the footprint small).
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
        for clean_too in [false, true] {
            let mut from = 0;
            while let Some(start) = self.find_run(from, length, ready, clean_too) {
                match self.claim_run(me, start, length) {
                    Ok(()) => return Some(self.back(me, start, length, ready, backing).map(|()| start)),
                    Err(at) => from = at + 1,
                }
            }
        }
        None
    }

    /// Claims exactly the `length` units from `start`, to lengthen the span before them.
    pub(crate) fn claim_at(&self, me: Owner, start: u32, length: u32, backing: &dyn Backing) -> bool {
        let ready = self.ready();
        u64::from(start) + u64::from(length) <= u64::from(ready)
            && self.claim_run(me, start, length).is_ok()
            && self.back(me, start, length, ready, backing).is_ok()
    }

    /// Commits the control words of the next units and publishes these units.
    fn extend(&self, ready: u32, backing: &dyn Backing) -> Result<(), Refused> {
        let (next, ranges) = self.layout.next_ready(ready);
        for range in ranges {
            backing.commit(range).map_err(|_| Refused::NoMemory)?;
        }
        self.hint_run(self.layout.clean, ready..next, true);
        // AcqRel: publishes the commit above; pairs with the Acquire in `ready`. A maximum: a slower extender must not undo the store
        // of a faster one.
        self.control(READY).fetch_max(u64::from(next), Ordering::AcqRel);
        Ok(())
    }

    /// Rebuilds the hints from the words; true if a lost one was found.
    fn mend_hints(&self) -> bool {
        // `|` and not `||`: all hints are rebuilt.
        (0..self.ready()).fold(false, |mended, unit| self.mend_hint(unit) | mended)
    }

    fn mend_hint(&self, unit: u32) -> bool {
        let bitmap = match self.unit_state(unit) {
            Unit::Free => self.layout.dirty,
            Unit::Unbacked => self.layout.clean,
            _ => return false,
        };
        let lost = self.hints(bitmap, unit) >> (unit % 64) & 1 == 0;
        if lost {
            self.hint_run(bitmap, unit..unit + 1, true);
        }
        lost
    }

    /// The first run of `length` hinted units at or after `from`.
    fn find_run(&self, from: u32, length: u32, ready: u32, clean_too: bool) -> Option<u32> {
        let (mut start, mut run) = (from, 0);
        let mut unit = from;
        while unit < ready {
            let mut bits = self.hints(self.layout.dirty, unit);
            if clean_too {
                bits |= self.hints(self.layout.clean, unit);
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

    /// Claims every unit of the run. `Err` has the unit that could not be claimed; then nothing is claimed.
    fn claim_run(&self, me: Owner, start: u32, length: u32) -> Result<(), u32> {
        for unit in start..start + length {
            let claimed = match self.unit_state(unit) {
                Unit::Free if mutant!("scratch.claim.no_exchange") => {
                    self.unit_store(unit, Unit::Held(me));
                    true
                }
                Unit::Free => self.unit_compare_exchange(unit, Unit::Free, Unit::Held(me)),
                Unit::Unbacked => self.unit_compare_exchange(unit, Unit::Unbacked, Unit::Backing(me)),
                _ => {
                    self.unhint(unit..unit + 1);
                    // The unit may have been freed since the load, and its hint set before `unhint` cleared it.
                    self.mend_hint(unit);
                    false
                }
            };
            if !claimed {
                self.give_up(start..unit);
                return Err(unit);
            }
        }
        self.unhint(start..start + length);
        Ok(())
    }

    /// Returns claimed units to their former states.
    fn give_up(&self, units: Range<u32>) {
        for unit in units {
            if matches!(self.unit_state(unit), Unit::Backing(_)) {
                self.unit_store(unit, Unit::Unbacked);
                self.hint_run(self.layout.clean, unit..unit + 1, true);
            } else {
                self.free_units(unit..unit + 1);
            }
        }
    }

    /// Frees units that the caller owns.
    pub(crate) fn free_units(&self, units: Range<u32>) {
        for unit in units.clone() {
            self.unit_store(unit, Unit::Free);
        }
        self.hint_run(self.layout.dirty, units, true);
    }

    fn is_clean(&self, unit: u32) -> bool {
        matches!(self.unit_state(unit), Unit::Backing(_))
    }

    /// Commits the clean units of a claimed run, and some clean neighbours for the next claim.
    fn back(
        &self,
        me: Owner,
        start: u32,
        length: u32,
        ready: u32,
        backing: &dyn Backing,
    ) -> Result<(), Refused> {
        let end = start + length;
        if !(start..end).any(|unit| self.is_clean(unit)) {
            return Ok(());
        }
        let mut ahead = end;
        while self.is_clean(ahead - 1)
            && ahead < ready
            && ahead - start < COMMIT_AHEAD
            && self.claim_run(me, ahead, 1).is_ok()
        {
            ahead += 1;
        }
        let mut backed = self.commit_clean(me, start..ahead, backing);
        if !backed && ahead > end {
            // Little memory is left: the neighbours must not make the commit fail.
            self.give_up(end..ahead);
            ahead = end;
            backed = self.commit_clean(me, start..end, backing);
        }
        if !backed {
            self.give_up(start..ahead);
            return Err(Refused::NoMemory);
        }
        self.free_units(end..ahead);
        Ok(())
    }

    fn commit_clean(&self, me: Owner, units: Range<u32>, backing: &dyn Backing) -> bool {
        let mut unit = units.start;
        while unit < units.end {
            let run = (unit..units.end).take_while(|unit| self.is_clean(*unit)).count() as u32;
            if run > 0 && backing.commit(self.layout.data_range(unit, run)).is_err() {
                return false;
            }
            for clean in unit..unit + run {
                self.unit_store(clean, Unit::Held(me));
            }
            unit += run.max(1);
        }
        true
    }

    /// Decommits the free units; returns the bytes that the system took.
    ///
    /// Tables of shared memory stay committed: a process that was stopped while it examined a span may load from its table much later, and the
    /// kernel may then have no page for a decommitted table.
    pub(crate) fn decommit_free(&self, me: Owner, backing: &dyn Backing) -> u64 {
        self.decommit_free_of(me, 0..self.ready(), backing)
    }

    /// The number of free units, by their hints.
    pub(crate) fn free_units_hinted(&self) -> u32 {
        (0..self.ready()).step_by(64).map(|unit| self.hints(self.layout.dirty, unit).count_ones()).sum()
    }

    /// Decommits `units` free units, or some more, from the highest on: claims prefer the lowest ones. Returns the bytes that the system took.
    pub(crate) fn decommit_highest(&self, me: Owner, units: u32, backing: &dyn Backing) -> u64 {
        let (mut end, mut decommitted) = (self.ready(), 0);
        while end > 0 && decommitted < u64::from(units) << self.layout.unit_shift {
            let start = (end - 1) / DECOMMIT_MAX * DECOMMIT_MAX;
            decommitted += self.decommit_free_of(me, start..end, backing);
            end = start;
        }
        decommitted
    }

    fn decommit_free_of(&self, me: Owner, units: Range<u32>, backing: &dyn Backing) -> u64 {
        let mut decommitted = 0;
        if backing.keeps_all() {
            return 0;
        }
        let Range { start: mut unit, end } = units;
        while unit < end {
            let start = unit;
            while unit < end
                && unit - start < DECOMMIT_MAX
                && self.unit_state(unit) == Unit::Free
                && self.unit_compare_exchange(unit, Unit::Free, Unit::Backing(me))
            {
                unit += 1;
            }
            if unit == start {
                unit += 1;
                continue;
            }
            self.unhint(start..unit);
            decommitted += self.decommit_run(start..unit, backing);
        }
        decommitted
    }

    /// Decommits units that are BACKING of the caller; returns the bytes that the system took. Afterwards the units have no owner:
    /// they are UNBACKED if they were decommitted, else FREE, and the next call tries again.
    pub(crate) fn decommit_run(&self, units: Range<u32>, backing: &dyn Backing) -> u64 {
        let (start, length) = (units.start, units.end - units.start);
        let data = self.layout.data_range(start, length);
        if let Some(gone) = backing.decommit(data.clone()) {
            // If units are smaller than a page, the units at the ends of the run may stay committed.
            let stays = |unit: &u32| {
                let bytes = self.layout.data_range(*unit, 1);
                gone.is_empty() || bytes.end <= gone.start || gone.end <= bytes.start
            };
            let first = start + units.clone().take_while(stays).count() as u32;
            let end = (first..units.end).find(stays).unwrap_or(units.end);
            self.decommit_tables(first..end, backing);
            for unit in first..end {
                self.unit_store(unit, Unit::Unbacked);
            }
            self.hint_run(self.layout.clean, first..end, true);
            self.free_units(start..first);
            self.free_units(end..units.end);
            return gone.end.saturating_sub(gone.start);
        }
        if length > 1 {
            // A page that the system refuses must not keep the others committed.
            let middle = start + length / 2;
            return self.decommit_run(start..middle, backing) + self.decommit_run(middle..units.end, backing);
        }
        // Some pages may be decommitted, but a FREE unit must be committed.
        if backing.commit(data).is_ok() {
            self.free_units(units);
        } else {
            self.unit_store(start, Unit::Unbacked);
            self.hint_run(self.layout.clean, units, true);
        }
        0
    }

    /// Returns the block words of units of the caller, which have no span, to the system, if the backing does so.
    fn decommit_tables(&self, units: Range<u32>, backing: &dyn Backing) {
        for table in FIRST_TABLE..self.layout.unit_shift {
            let bit = 1 << table;
            // Relaxed, all: only the unit's owner stores it.
            let has = |unit: &u32| self.tables_committed(*unit).load(Ordering::Relaxed) & bit != 0;
            let mut next = units.clone();
            while let Some(first) = next.find(has) {
                // Only words that were committed: the backing may have no memory at others.
                let end = (first..units.end).find(|unit| !has(unit)).unwrap_or(units.end);
                next = end..units.end;
                let words = self.layout.table_words(table, first, end - first);
                if backing.decommit_words(words.start as u64 * 8..words.end as u64 * 8) {
                    for unit in first..end {
                        let committed = self.tables_committed(unit);
                        committed.store(committed.load(Ordering::Relaxed) & !bit, Ordering::Relaxed);
                    }
                }
            }
        }
    }

    /// Clears both hints of units that cannot be claimed.
    fn unhint(&self, units: Range<u32>) {
        self.hint_run(self.layout.dirty, units.clone(), false);
        self.hint_run(self.layout.clean, units, false);
    }

    /// Sets or clears the hint bits of a run. A hint may be wrong: code that finds one loads the unit word before it acts on it.
    #[cfg_attr(test, track_caller)]
    pub(crate) fn hint_run(&self, bitmap: usize, units: Range<u32>, set: bool) {
        let mut unit = units.start;
        while unit < units.end {
            let end = units.end.min((unit | 63) + 1);
            let bits = u64::MAX >> (64 - (end - unit)) << (unit % 64);
            let word = self.word(bitmap + unit as usize / 64);
            // Relaxed, all: hints publish nothing. A word that has the bits already is not written: all processes share its cache line.
            let seen = word.load(Ordering::Relaxed);
            if set && seen & bits != bits {
                word.fetch_or(bits, Ordering::Relaxed);
            } else if !set && seen & bits != 0 {
                word.fetch_and(!bits, Ordering::Relaxed);
            }
            unit = end;
        }
    }

    fn hints(&self, bitmap: usize, at: u32) -> u64 {
        // Relaxed: a hint.
        self.word(bitmap + at as usize / 64).load(Ordering::Relaxed)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::alloc::Layout as Request;
    use std::cell::{Cell, RefCell};
    use std::ops::Range;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use crate::sync::Word;
    use tenure_core::{Acquire, LeaseId};

    use super::*;
    use crate::error::OutOfMemory;
    use crate::geometry::{Geometry, Layout};
    use crate::local::Local;

    const KIB: u64 = 1024;

    /// Memory with some locked pages, which records the pages that were used since they were committed.
    struct Memory {
        layout: Layout,
        words: Box<[Word]>,
        data: Box<[u64]>,
        page: u64,
        /// By KiB of payload.
        locked: RefCell<Vec<bool>>,
        used: RefCell<Vec<bool>>,
        /// Whether the thread ends (unwinds) when it decommits.
        gone: Cell<bool>,
    }

    impl Memory {
        fn new(kib: u64, unit_bytes: u32, page: u64) -> Self {
            let layout = Geometry { bytes: kib * KIB, unit_bytes }.layout().unwrap();
            let memory = Self {
                words: (0..layout.data_at() / 8).map(|_| Word::new(0)).collect(),
                data: vec![0; layout.capacity() as usize / 8].into(),
                page,
                locked: RefCell::new(vec![false; kib as usize]),
                used: RefCell::new(vec![false; kib as usize]),
                gone: Cell::new(false),
                layout,
            };
            memory.scratch().init();
            memory
        }

        fn scratch(&self) -> Scratch<'_> {
            // SAFETY: as long as the capacity, and nobody asks for aligned blocks or touches them.
            unsafe { Scratch::new(&self.words, self.data.as_ptr().cast_mut().cast(), &self.layout) }
        }

        fn local(&self) -> Local<'_> {
            // SAFETY: private memory, one simulated member.
            Local::new(self.scratch(), &unsafe { Acquire::assume(LeaseId { index: 0, incarnation: 1 }) })
        }

        /// Allocates and frees every byte.
        fn use_all(&self, local: &mut Local<'_>) {
            let all = Request::from_size_align(self.layout.capacity() as usize, 1).unwrap();
            let block = local.alloc(all, self).unwrap();
            self.used.borrow_mut().fill(true);
            local.free(block).unwrap();
        }

        /// The UNBACKED units, and for each whether it is unused since it was committed.
        fn unbacked(&self) -> Vec<(u32, bool)> {
            let used = self.used.borrow();
            (0..self.layout.units)
                .filter(|unit| self.scratch().unit_state(*unit) == Unit::Unbacked)
                .map(|unit| (unit, !self.kib(&self.layout.data_range(unit, 1)).any(|kib| used[kib])))
                .collect()
        }

        fn kib(&self, bytes: &Range<u64>) -> Range<usize> {
            let at = |byte: u64| ((byte - self.layout.data_at()) / KIB) as usize;
            at(bytes.start)..at(bytes.end)
        }
    }

    impl Backing for Memory {
        fn commit(&self, _: Range<u64>) -> Result<(), OutOfMemory> {
            Ok(())
        }

        fn decommit(&self, bytes: Range<u64>) -> Option<Range<u64>> {
            assert!(!self.gone.get(), "the thread ends here");
            let pages = bytes.start.next_multiple_of(self.page)..bytes.end / self.page * self.page;
            let kib = self.kib(&pages);
            if self.locked.borrow()[kib.clone()].contains(&true) {
                return None;
            }
            self.used.borrow_mut()[kib].fill(false);
            Some(pages)
        }
    }

    #[test]
    fn what_cannot_be_given_back_stays_and_is_tried_again() {
        let memory = Memory::new(80, 2048, KIB);
        let mut local = memory.local();
        memory.use_all(&mut local);
        memory.locked.borrow_mut()[21] = true;
        assert_eq!(local.trim(&memory), 78 * KIB, "all but the unit of the page that is locked");
        let unbacked = memory.unbacked();
        assert_eq!(unbacked.len(), 39);
        assert!(unbacked.iter().all(|(unit, zero)| *unit != 10 && *zero), "{unbacked:?}");
        assert_eq!(memory.scratch().unit_state(10), Unit::Free);
        assert_eq!(local.trim(&memory), 0);
        memory.locked.borrow_mut().fill(false);
        assert_eq!(local.trim(&memory), 2 * KIB);
        assert_eq!(memory.unbacked().len(), 40);
        memory.use_all(&mut local);
    }

    #[test]
    fn of_units_smaller_than_a_page_only_whole_pages_count() {
        let memory = Memory::new(80, 1024, 4 * KIB);
        let mut local = memory.local();
        memory.use_all(&mut local);
        let kept = local.alloc(Request::from_size_align(1024, 1).unwrap(), &memory).unwrap();
        assert_eq!(kept, 0);
        assert_eq!(local.trim(&memory), 76 * KIB, "the page of the block stays");
        let unbacked = memory.unbacked();
        assert_eq!(unbacked.len(), 76);
        assert!(unbacked.iter().all(|(_, zero)| *zero), "{unbacked:?}");
    }

    #[test]
    fn what_a_thread_was_giving_back_when_it_went_is_zero_when_it_is_said_to_be() {
        let memory = Memory::new(80, 2048, KIB);
        let mut local = memory.local();
        memory.use_all(&mut local);
        memory.gone.set(true);
        catch_unwind(AssertUnwindSafe(|| local.trim(&memory))).unwrap_err();
        memory.gone.set(false);
        memory.locked.borrow_mut()[21] = true;
        let mut heir = memory.local();
        assert_eq!(heir.inherit(&[], &memory).units, 40);
        let unbacked = memory.unbacked();
        assert_eq!(unbacked.len(), 39);
        assert!(unbacked.iter().all(|(unit, zero)| *unit != 10 && *zero), "{unbacked:?}");
        memory.use_all(&mut heir);
    }
}
