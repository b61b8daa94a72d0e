//! The definition of a correct region, and the view of inspectors.

use crate::class::LARGE;
use crate::scratch::{Found, Scratch};
use crate::span::tail;
use crate::word::{Block, Owner, Shape, Unit};

/// The result of [`Scratch::check`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Impossible states. Empty in a correct region.
    pub violations: Vec<String>,
    /// States that only an operation in progress or a due recovery can produce. Empty in a quiet region.
    pub pending: Vec<String>,
    /// Blocks owned by leases.
    pub leased: u64,
    /// Blocks attached to handles.
    pub attached: u64,
    /// Pinned blocks.
    pub pinned: u64,
    /// Blocks freed by others and not collected by the span's owner yet.
    pub remote: u64,
    /// Bytes of payload of leased, attached and pinned blocks.
    pub bytes_used: u64,
    /// Committed bytes of payload.
    pub bytes_backed: u64,
    /// Bytes of payload in spans that have an owner.
    pub bytes_owned: u64,
    /// Bytes of payload that leases keep for their next large blocks.
    pub bytes_kept: u64,
    /// Spans without an owner.
    pub abandoned: u64,
}

impl Report {
    /// Blocks in use.
    #[must_use]
    pub fn blocks_live(&self) -> u64 {
        self.leased + self.attached + self.pinned
    }
}

fn owner_of(state: Unit) -> Option<Owner> {
    match state {
        Unit::Held(owner) | Unit::Backing(owner) | Unit::Span(owner, _) | Unit::Tail(owner, _) => Some(owner),
        _ => None,
    }
}

impl<'a> Scratch<'a> {
    /// Checks every unit and block word.
    ///
    /// `lease_live(i)` tells whether lease i is LIVE, `is_current(index, generation, offset)` whether that handle is alive in
    /// that generation and names the block at `offset`. `stable`: no other process works meanwhile, so states of an operation in
    /// progress are violations, too.
    pub fn check(
        &self,
        stable: bool,
        lease_live: &dyn Fn(u8) -> bool,
        is_current: &dyn Fn(u32, u64, u64) -> bool,
    ) -> Report {
        let mut report = Report::default();
        let mut head: Option<(u32, Shape, Unit)> = None;
        for unit in 0..self.ready() {
            let state = self.unit_state(unit);
            let cover = head.filter(|(head, shape, _)| unit < head + u32::from(shape.units));
            if !matches!(state, Unit::Unbacked | Unit::Backing(_)) {
                report.bytes_backed += u64::from(self.layout.unit_bytes());
            }
            let (Unit::Span(_, shape) | Unit::Abandoned(shape)) = state else {
                self.check_unit(unit, state, cover, stable, lease_live, &mut report);
                continue;
            };
            if !self.plausible(unit, shape) {
                report.violations.push(format!("unit {unit}: impossible {state:?}"));
                continue;
            }
            if cover.is_some() {
                report.explain(!stable, format!("[scratch-heads-cover] two heads cover unit {unit}"));
            }
            head = Some((unit, shape, state));
            let owner = owner_of(state);
            // A recovery may have changed the word since; it never has the same value again.
            if let Some(owner) = owner
                && !lease_live(owner.lease)
                && self.unit_state(unit) == state
            {
                let what =
                    format!("[lease-live-first] span {unit} belongs to lease {}, which is free", owner.lease);
                report.violations.push(what);
            }
            self.check_span(unit, shape, owner, stable, is_current, &mut report);
        }
        report
    }

    /// Checks a unit that is no head; `cover` is the head that covers it, if any.
    fn check_unit(
        &self,
        unit: u32,
        state: Unit,
        cover: Option<(u32, Shape, Unit)>,
        stable: bool,
        lease_live: &dyn Fn(u8) -> bool,
        report: &mut Report,
    ) {
        if let Unit::Unknown(raw) = state {
            report.violations.push(format!("unit {unit}: unknown word {raw:#x}"));
            return;
        }
        let named_live = owner_of(state).is_some_and(|owner| lease_live(owner.lease));
        if let Some((head, shape, head_state)) = cover {
            // The tails of an abandoned span name the lease that made it, or an adopter that died.
            let expected = owner_of(head_state).or(owner_of(state));
            if expected.is_none_or(|owner| state != tail(owner, shape.class, unit - head)) {
                let what =
                    format!("[scratch-heads-cover] unit {unit} is {state:?} in {head_state:?} at {head}");
                report.explain(!stable, what);
            }
            return;
        }
        match state {
            Unit::Held(_) if named_live => {
                // Kept for the next large block, or part of a span that is being made.
                report.bytes_kept += u64::from(self.layout.unit_bytes());
            }
            Unit::Held(_) | Unit::Backing(_) | Unit::Tail(..) => {
                report.explain(!stable, format!("[scratch-heads-cover] unit {unit} is {state:?} of no head"));
            }
            _ => {}
        }
    }

    fn check_span(
        &self,
        head: u32,
        shape: Shape,
        owner: Option<Owner>,
        stable: bool,
        is_current: &dyn Fn(u32, u64, u64) -> bool,
        report: &mut Report,
    ) {
        match owner {
            Some(_) => {
                let cached = shape.class == LARGE && self.large_state(head) == Block::Free;
                let bytes = if cached { &mut report.bytes_kept } else { &mut report.bytes_owned };
                *bytes += u64::from(shape.units) * u64::from(self.layout.unit_bytes());
            }
            None => report.abandoned += 1,
        }
        for found in self.blocks_of(head, shape) {
            let (offset, state) = (found.offset, found.owner);
            match state {
                Block::Free => continue,
                Block::Remote => {
                    report.remote += 1;
                    continue;
                }
                Block::Lease { lease, .. } => {
                    report.leased += 1;
                    if owner.is_none_or(|owner| owner.lease != lease) {
                        report.explain(
                            !stable,
                            format!("[scratch-block-in-own-span] block {offset} is {state:?} in a span of {owner:?}"),
                        );
                    }
                }
                Block::Attached { index, generation } => {
                    report.attached += 1;
                    if !is_current(index, generation, offset) {
                        report.explain(
                            !stable,
                            format!(
                                "[scratch-attached-garbage] block {offset} is {state:?}, which is not current"
                            ),
                        );
                    }
                }
                Block::Pinned { .. } => report.pinned += 1,
                Block::Unknown(raw) => {
                    report.violations.push(format!("block {offset}: unknown word {raw:#x}"));
                    continue;
                }
            }
            report.bytes_used += found.bytes;
        }
    }

    pub(crate) fn blocks_of(self, head: u32, shape: Shape) -> impl Iterator<Item = Found> + use<'a> {
        let bytes = self.layout.block_bytes(shape.class, u32::from(shape.units));
        self.blocks_at(head, shape).map(move |(offset, at)| {
            let owner = self.block_state(at, offset);
            Found { offset, bytes, owner, at, head, shape }
        })
    }

    /// Every block that is in use, for inspectors. A block may have changed by the time it is returned.
    pub fn iter(&self) -> impl Iterator<Item = Found> {
        (0..self.ready())
            .filter_map(|unit| match self.unit_state(unit) {
                Unit::Span(_, shape) | Unit::Abandoned(shape) if self.plausible(unit, shape) => {
                    Some((unit, shape))
                }
                _ => None,
            })
            .flat_map(|(head, shape)| self.blocks_of(head, shape))
            .filter(|found| !matches!(found.owner, Block::Free | Block::Remote))
    }
}

impl Report {
    fn explain(&mut self, explained: bool, what: String) {
        if explained { &mut self.pending } else { &mut self.violations }.push(what);
    }
}
