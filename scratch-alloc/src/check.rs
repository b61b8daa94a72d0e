//! The definition of correct, and what inspectors see.

use crate::class::LARGE;
use crate::scratch::{Found, Scratch};
use crate::word::{Block, Owner, Shape, Unit};

/// What a look at the whole region found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// What can never be. Empty in a correct region.
    pub violations: Vec<String>,
    /// What only an operation in progress, or a recovery that is due, explains. Empty in a quiet region.
    pub pending: Vec<String>,
    /// Blocks owned by leases.
    pub leased: u64,
    /// Blocks attached to handles.
    pub attached: u64,
    /// Pinned blocks.
    pub pinned: u64,
    /// Blocks freed by others and not collected yet.
    pub remote: u64,
    /// Bytes of payload of leased, attached and pinned blocks.
    pub bytes_used: u64,
    /// Bytes of payload with memory behind them.
    pub bytes_backed: u64,
    /// Bytes of payload in spans that somebody owns.
    pub bytes_owned: u64,
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

impl Scratch<'_> {
    /// Looks at every unit and block word.
    ///
    /// `lease_live(i)` says whether lease i is LIVE, `is_current(index, generation, offset)` whether that handle is alive in
    /// that generation and names the block at `offset`. `stable` says that nobody works meanwhile, so that whatever an
    /// operation in progress would explain is a violation too.
    pub fn check(
        &self,
        stable: bool,
        lease_live: &dyn Fn(u8) -> bool,
        is_current: &dyn Fn(u32, u64, u64) -> bool,
    ) -> Report {
        let mut report = Report::default();
        let mut covered_until = 0;
        for unit in 0..self.ready() {
            let state = self.unit_state(unit);
            if state != Unit::Unbacked {
                report.bytes_backed += u64::from(self.layout.unit_bytes());
            }
            let names = |owner: Owner| lease_live(owner.lease) && !stable;
            match state {
                Unit::Unbacked | Unit::Free => {
                    if unit < covered_until {
                        // A release frees tails before the head.
                        report.explain(!stable, format!("[I14] unit {unit} is {state:?} inside of a span"));
                    }
                }
                Unit::Held(owner) | Unit::Backing(owner) => {
                    report.explain(names(owner), format!("[I14] unit {unit} is {state:?}"));
                }
                Unit::Tail(owner, _) => {
                    if self.span_of(unit).is_none() {
                        report.explain(names(owner), format!("[I14] unit {unit} is {state:?} of no head"));
                    }
                }
                Unit::Span(_, shape) | Unit::Abandoned(shape) => {
                    if !self.plausible(unit, shape) {
                        report.violations.push(format!("unit {unit}: impossible {state:?}"));
                        continue;
                    }
                    if unit < covered_until {
                        report.explain(!stable, format!("[I14] two heads cover unit {unit}"));
                    }
                    covered_until = unit + u32::from(shape.units);
                    let owner = match state {
                        Unit::Span(owner, _) => Some(owner),
                        _ => None,
                    };
                    if let Some(owner) = owner
                        && !lease_live(owner.lease)
                    {
                        report.violations.push(format!(
                            "[I1] span {unit} belongs to lease {}, which is free",
                            owner.lease
                        ));
                    }
                    self.check_span(unit, shape, owner, stable, is_current, &mut report);
                }
                Unit::Unknown(raw) => report.violations.push(format!("unit {unit}: unknown word {raw:#x}")),
            }
        }
        report
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
            Some(_) => report.bytes_owned += u64::from(shape.units) * u64::from(self.layout.unit_bytes()),
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
                            format!("[I10] block {offset} is {state:?} in a span of {owner:?}"),
                        );
                    }
                }
                Block::Attached { index, generation } => {
                    report.attached += 1;
                    if !is_current(index, generation, offset) {
                        report.explain(
                            !stable,
                            format!("[I13] block {offset} is {state:?}, which is not current"),
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

    fn blocks_of(&self, head: u32, shape: Shape) -> impl Iterator<Item = Found> {
        let bytes = self.layout.block_bytes(shape.class, u32::from(shape.units));
        let start = u64::from(head) << self.layout.unit_shift;
        (0..self.layout.blocks(shape.class)).map(move |index| {
            let slot = self.slot_of(head, index);
            let offset = start + if shape.class == LARGE { 0 } else { u64::from(index) * bytes };
            Found { offset, bytes, owner: self.block_state(slot), slot, head, shape }
        })
    }

    /// Every block that is in use, for inspectors: what is seen may have changed by the time it is returned.
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
