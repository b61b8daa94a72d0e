//! The invariants of names, for `check`.

use std::collections::BTreeMap;

use tenure_scratch_alloc::Scratch;
use tenure_segment::LeaseInfo;
use tenure_slab::{HandleInfo, Names, Slab, State, Token};

use super::listing::{name_of, tokens};
use crate::report::Report;

/// Adds violations of the invariants of names to a report `[names-unique]` `[names-reachable]` `[names-slots-keep]`.
pub(crate) fn check(
    (slab, scratch): &(Slab<'_>, Scratch<'_>),
    names: &Names<'_>,
    leases: &[LeaseInfo],
    stable: bool,
    report: &mut Report,
) {
    // Before the table: if such a handle is inserted already, the pass over the table finds it.
    let labelled: Vec<HandleInfo> =
        slab.iter().filter(|info| info.state == Some(State::Live) && info.label.is_some()).collect();
    report.violations.extend(names.look().problems.iter().map(ToString::to_string));
    let listed = tokens(names);
    let mut known: BTreeMap<Vec<u8>, Token> = BTreeMap::new();
    for token in listed.iter().copied().filter(|token| !slab.is_over(*token)) {
        let Some(name) = name_of(slab, scratch, token) else {
            if !slab.is_over(token) {
                report.violations.push(format!("{token} is among the names, but has none"));
            }
            continue;
        };
        let shown = String::from_utf8_lossy(&name).into_owned();
        if let Some(other) = known.insert(name, token)
            && !slab.is_over(other)
            && !slab.is_over(token)
        {
            report.violations.push(format!("{other} and {token} have one name: {shown}"));
        }
    }
    for info in labelled {
        let Some(token) = Token::new(names.space_tag(), info.generation, info.index) else { continue };
        if listed.binary_search(&token).is_ok() || slab.is_over(token) {
            continue;
        }
        // The creator of the handle is about to insert it, or to close it because another handle has the name.
        let is_in_progress = !stable || info.holders.iter().any(|lease| is_dead(leases, lease));
        let list = if is_in_progress { &mut report.pending } else { &mut report.violations };
        list.push(format!("{token} has a name, but is not among the names"));
    }
}

fn is_dead(leases: &[LeaseInfo], lease: u8) -> bool {
    leases.get(usize::from(lease)).is_some_and(|lease| lease.live && lease.held == Some(false))
}
