//! The check of the invariants of payloads that name leases: descriptors, tables of files, read-write locks, permits.

use tenure_core::sync::Word;
use tenure_scratch_alloc::Scratch;
use tenure_segment::LeaseInfo;
use tenure_slab::{HandleInfo, Shares, Slab, State};

use super::share::table_words;
use super::slots::{Slots, payload_words};
use crate::kind::Kind;
use crate::report::Report;
use crate::state::STATE_WORDS;
use crate::waiting::permits;
use crate::waiting::rwlock::{self, lock_words};

/// Adds violations of the invariants of the payloads of descriptors, file shares, read-write locks and permits to a report
/// `[files-claim-is-open]` `[files-exclusive]` `[wait-reader-holds]` `[wait-permit-holds]`.
pub(crate) fn check(
    slab: &Slab<'_>,
    scratch: &Scratch<'_>,
    leases: &[LeaseInfo],
    stable: bool,
    report: &mut Report,
) {
    let members = slab.layout().geometry().members;
    let incarnation_of = |lease: u8| {
        let lease = leases.get(usize::from(lease))?;
        lease.live.then_some(lease.incarnation)
    };
    for handle in slab.iter().filter(|handle| handle.state == Some(State::Live)) {
        let kind = Kind::from_number(handle.kind);
        let words = match kind {
            Kind::DESCRIPTOR => payload_words(members),
            Kind::FILE_SHARE => table_words(members),
            Kind::RWLOCK => lock_words(members),
            Kind::PERMITS => permits::FIRST,
            _ => continue,
        };
        let mut found = Vec::new();
        match payload(scratch, &handle) {
            Some(payload) if payload.len() >= words => match kind {
                Kind::DESCRIPTOR => check_slots(payload, members, &handle, &incarnation_of, &mut found),
                Kind::FILE_SHARE => {
                    check_shares(&payload[STATE_WORDS..], members, &handle, &incarnation_of, &mut found);
                }
                Kind::PERMITS => permits::check(payload, &handle.holders, &mut found),
                _ => rwlock::check(payload, members, &handle.holders, &mut found),
            },
            _ => found.push(format!("the payload is too short for {members} members")),
        }
        // If the handle has ended during the inspection, its payload may hold arbitrary bytes.
        if slab.inspect(handle.index) != Some(handle) && !stable {
            continue;
        }
        let list = if stable { &mut report.violations } else { &mut report.pending };
        list.extend(found.into_iter().map(|what| format!("{kind} {}: {what}", handle.index)));
    }
}

/// The words of a handle's block, for an inspection.
fn payload<'a>(scratch: &Scratch<'a>, handle: &HandleInfo) -> Option<&'a [Word]> {
    let offset = handle.block?;
    let at = scratch
        .find(offset)
        .ok()
        .filter(|found| handle.len <= found.bytes)
        .map(|_| scratch.address(offset))?;
    let at = at.cast::<Word>();
    // SAFETY: a block of the space, at least that long, mapped for the whole inspection; atomics [A1], which the callers only
    // load; aligned, as all blocks are.
    at.is_aligned().then(|| unsafe { std::slice::from_raw_parts(at, handle.len as usize / 8) })
}

type Incarnations<'a> = &'a dyn Fn(u8) -> Option<u64>;

fn check_slots(
    payload: &[Word],
    members: u16,
    handle: &HandleInfo,
    incarnation_of: Incarnations<'_>,
    found: &mut Vec<String>,
) {
    let Some(slots) = Slots::over(payload, members) else { return };
    for lease in (0..members).map(|lease| lease as u8) {
        let number = incarnation_of(lease).and_then(|incarnation| slots.number(lease, incarnation));
        if number.is_some() && !handle.holders.contains(lease) {
            found.push(format!("lease {lease} has it open and does not hold it"));
        }
    }
}

fn check_shares(
    words: &[Word],
    members: u16,
    handle: &HandleInfo,
    incarnation_of: Incarnations<'_>,
    found: &mut Vec<String>,
) {
    let Some(shares) = Shares::over(words, members) else { return };
    let all: Vec<_> = shares.iter(incarnation_of).collect();
    for (at, share) in all.iter().enumerate() {
        let lease = share.lease.index;
        if !handle.holders.contains(lease) {
            found.push(format!("lease {lease} has entries and does not hold it"));
        }
        if let Some(pending) = share.pending {
            found.push(format!("lease {lease} asks for {pending:?}, undecided"));
        }
        for other in all[..at].iter().filter(|other| other.entered.conflicts(share.entered)) {
            let (one, two) = (other.lease.index, lease);
            found.push(format!("leases {one} and {two} have entered what excludes each other"));
        }
    }
}
