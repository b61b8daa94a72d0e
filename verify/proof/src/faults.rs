//! Negative controls: mutants in the product, each of which the points must catch.

use std::time::Instant;

use crate::case::Case;
use crate::cases;
use crate::pair::Choice;
use crate::point::{Fate, Rehearsed, Violation};
use crate::pool::{Pool, Tally, title};

/// The operations in which a fault shows first, to save looking everywhere else; all others follow.
const LIKELY: &[(&str, &str)] = &[
    ("segment.leave.freed_before_reclaimed", "leave, holding everything"),
    ("segment.recover.freed_before_reclaimed", "recover, everything of somebody"),
    ("segment.recover.without_proof", "get"),
    ("segment.recover.without_lock", "recover, rich"),
    ("segment.enlist.notifications_before_list", "join, arming notifications"),
    ("segment.withdraw.list_before_notifications", "leave, withdrawing notifications"),
    ("segment.observe.cleared_before_recovered", "observe a notification, of one who is dying"),
    ("segment.recover.notification_is_proof", "observe a notification, of one who is dying"),
    ("slab.claim.group_after_bit", "create, claiming"),
    ("slab.close.no_finish", "close, last"),
    ("slab.open.no_finish", "open, given up and drained meanwhile"),
    ("slab.free_if_unheld.no_second_look", "close, last, opened meanwhile"),
    ("slab.release.any_tag", "close, last, opened meanwhile"),
    ("slab.renew.though_shared", "close, private, opened meanwhile"),
    ("slab.release.same_generation", "close, last"),
    ("slab.recover.no_init", "create, claiming"),
    ("slab.recover.no_block", "close, last, of another's block"),
    ("slab.free_if_unheld.no_slot", "slot, put and close"),
    ("slab.put.not_shared", "slot, put and close"),
    ("slab.put.home_after_slot", "slot, put and close"),
    ("slab.take.no_bit", "slot, take"),
    ("slab.evict.no_mark", "slot, evict"),
    ("slab.evict.no_finish", "slot, evict"),
    ("slab.recover.no_settle", "slot, put of its own"),
    ("slab.recover.no_claim", "slot, claim"),
    ("names.insert.no_second_look", "create or open, created meanwhile"),
    ("names.help.done_before_slot", "create named, taken meanwhile"),
    ("names.slot.free_though_held", "create named, a neighbour meanwhile"),
    ("scratch.claim.no_exchange", "alloc, new span"),
    ("scratch.small.head_before_tails", "alloc, new span of several units"),
    ("scratch.recover.no_held", "alloc, new span of several units"),
    ("scratch.recover.plain_store", "recover, rich"),
    ("slab.shares.enter_by_store", "file share, enter, excluded meanwhile"),
    ("slab.shares.pending_ignored", "file share, enter, excluded meanwhile"),
    ("slab.shares.dead_count", "file share, leave"),
    ("files.kept_in_its_slot", "descriptor, open, closed meanwhile"),
    ("files.no_second_look", "descriptor, open, closed meanwhile"),
    ("wait.attempt.waits_for_the_waker", "set, with a waiter, waited for meanwhile"),
    ("wait.change.bit_before_wake", "set, with a waiter"),
    ("wait.unlock.freed_before_woken", "unlock, with a waiter"),
    ("wait.recover.nobody_woken", "set, with a waiter"),
    ("wait.recover.not_abandoned", "lock"),
    ("wait.take_all.by_and_by", "wait all, taken one by one meanwhile"),
    ("wait.take_all.succeeded_is_failed", "wait all, taken one by one meanwhile"),
    ("wait.versioned.current_copy", "write a versioned value"),
    ("wait.rwlock.look_first", "try to lock for reading, locked for writing meanwhile"),
    ("wait.rwlock.writer_not_woken", "unlock for reading, with a writer that waits"),
    ("wait.rwlock.readers_left", "lock for reading"),
    ("values.locked.told_once", "change a locked value"),
    ("slab.chunks.no_sweep", "queue, drop, with elements"),
    ("slab.chunks.no_hazard", "queue, drop, its slots reused meanwhile"),
    ("slab.chunks.recover_no_hazard", "queue, drop, its slots reused meanwhile"),
    ("slab.queue.no_rescan", "queue, claim"),
    ("map.change.any_record", "map, insert, a neighbour inserted meanwhile"),
    ("slab.look.no_second_look", "map, get, replaced meanwhile"),
    ("wait.exit.last_one_counts", "say how it ended"),
    ("wait.exit.announced_before_written", "announce a code"),
    ("wait.condvar.nobody_woken", "change and notify, with a waiter"),
    ("wait.condvar.marked_late", "wait for a change, which somebody is about to make"),
    ("wait.permits.not_given_back", "acquire a permit"),
    ("wait.permits.nobody_woken", "give back a permit, with a waiter"),
];

/// The pairs that show a fault that no operation shows alone: `--without-pairs` does not find them.
const LIKELY_PAIRS: &[(&str, &str)] = &[
    ("slab.recover.no_mark", "recover | recover, of a holder"),
    ("names.help.done_by_store", "create or open | create a neighbour"),
    ("names.help.listed_by_store", "create or open | create a neighbour, reused meanwhile"),
    ("scratch.adopt.by_store", "alloc | alloc, adopting"),
    ("wait.take_all.released_by_store", "wait all | lock"),
    ("wait.take_all.installed_by_store", "wait all | wait all"),
];

/// The result of one fault.
struct Outcome {
    points: u64,
    caught: Option<String>,
}

/// Switches on every fault in turn; returns the number of faults, and the number not caught.
pub(crate) fn run(
    pool: &Pool,
    all: &[Case],
    without_pairs: bool,
    is_wanted: impl Fn(&str) -> bool,
) -> (usize, usize) {
    println!("{:<42} {:>8} {:>6}  caught by", "fault", "points", "s");
    let faults: Vec<_> = tenure::mutant::ALL.iter().filter(|fault| is_wanted(fault)).collect();
    let mut missed = 0;
    for &fault in &faults {
        let started = Instant::now();
        tenure::mutant::choose(Some(fault));
        let in_pair = if without_pairs { None } else { hunt_in_pair(fault, pool, all) };
        let Outcome { points, caught } = in_pair.unwrap_or_else(|| hunt(fault, pool, all));
        tenure::mutant::choose(None);
        missed += usize::from(caught.is_none());
        let caught = caught.unwrap_or_else(|| "NOT CAUGHT".into());
        println!("{fault:<42} {points:>8} {:>6.1}  {caught}", started.elapsed().as_secs_f32());
    }
    (faults.len(), missed)
}

/// Looks for a fault that only two operations at once show.
fn hunt_in_pair(fault: &str, pool: &Pool, all: &[Case]) -> Option<Outcome> {
    let (_, likely) = LIKELY_PAIRS.iter().find(|(name, _)| *name == fault)?;
    let pair = cases::pairs().into_iter().find(|pair| pair.name == *likely)?;
    let (tally, violations) = match pool.rehearse_pair(&pair, all) {
        Ok(rehearsed) => pool.play_pair(&rehearsed, Choice { every: 1, at_most: u64::MAX, only: None }),
        Err(what) => (Tally::default(), vec![Violation::rehearsing(pair.name.into(), what)]),
    };
    let caught = violations.first().map(describe);
    Some(Outcome { points: tally.killed + tally.stopped, caught })
}

fn hunt(fault: &str, pool: &Pool, all: &[Case]) -> Outcome {
    let likely = LIKELY.iter().find(|(name, _)| *name == fault).map(|(_, case)| *case);
    let (first, rest): (Vec<_>, Vec<_>) = all.iter().partition(|case| Some(case.name) == likely);
    let mut points = 0;
    for case in first.into_iter().chain(rest) {
        let (tally, violations) = match pool.rehearse(case, all) {
            Ok(rehearsed) => pool.play(&rehearsed, all, &near_steps(&rehearsed)),
            // Wrong without any kill or stop.
            Err(what) => (Tally::default(), vec![Violation::rehearsing(title(case), what)]),
        };
        points += tally.killed + tally.stopped;
        if let Some(violation) = violations.first() {
            return Outcome { points, caught: Some(describe(violation)) };
        }
    }
    for case in [cases::recover_rich_after(20), cases::recover_rich_after(40)] {
        let (tally, violations) = pool.play_steps(&[case], all, 1);
        points += tally.killed + tally.stopped;
        if let Some(violation) = violations.first() {
            return Outcome { points, caught: Some(describe(violation)) };
        }
    }
    Outcome { points, caught: None }
}

/// Operations of fewer instructions are played at each of them.
const SHORT: u32 = 1000;

/// Near the shared steps, where faults show. Kills are side by side, and share survivors as they do elsewhere.
fn near_steps(rehearsed: &Rehearsed) -> Vec<(Fate, u32)> {
    let points = || {
        (1..=rehearsed.track.len()).filter(|n| rehearsed.track.len() < SHORT || rehearsed.is_near_a_step(*n))
    };
    let of = |fate| points().map(move |n| (fate, n));
    of(Fate::Killed).chain(of(Fate::Stopped)).collect()
}

fn describe(violation: &Violation) -> String {
    let Violation { case, point, what, .. } = violation;
    // The first line of a panic has the place, the first lines of a report the finding.
    let says = |line: &&str| !line.contains("panicked at") && !line.trim_end().ends_with(['{', '[']);
    let what = what.lines().find(says).unwrap_or_default().trim();
    let what: String = what.chars().take(100).collect();
    format!("{case}, {point}: {what}")
}
