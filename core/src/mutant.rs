//! Mutants: the proof harness switches one on and must then fail. Without the feature `faults`
//! [`mutant!`](crate::mutant!) is the constant `false`.

/// All mutants; a name has the place of the mutant and the mistake.
pub const ALL: &[&str] = &[
    "segment.leave.freed_before_reclaimed",
    "segment.recover.freed_before_reclaimed",
    "segment.recover.without_proof",
    "segment.recover.without_lock",
    "segment.enlist.notifications_before_list",
    "segment.withdraw.list_before_notifications",
    "segment.observe.cleared_before_recovered",
    "segment.recover.notification_is_proof",
    "slab.claim.group_after_bit",
    "slab.close.no_finish",
    "slab.open.no_finish",
    "slab.free_if_unheld.no_second_look",
    "slab.release.any_tag",
    "slab.renew.though_shared",
    "slab.release.same_generation",
    "slab.recover.no_init",
    "slab.recover.no_block",
    "slab.recover.no_mark",
    "slab.free_if_unheld.no_slot",
    "slab.put.not_shared",
    "slab.put.home_after_slot",
    "slab.take.no_bit",
    "slab.evict.no_mark",
    "slab.evict.no_finish",
    "slab.recover.no_settle",
    "slab.recover.no_claim",
    "slab.chunks.no_sweep",
    "slab.chunks.no_hazard",
    "slab.chunks.recover_no_hazard",
    "slab.queue.no_rescan",
    "names.insert.no_second_look",
    "names.help.done_before_slot",
    "names.help.done_by_store",
    "names.help.listed_by_store",
    "names.slot.free_though_held",
    "slab.shares.enter_by_store",
    "slab.shares.pending_ignored",
    "slab.shares.dead_count",
    "scratch.claim.no_exchange",
    "scratch.small.head_before_tails",
    "scratch.adopt.by_store",
    "scratch.recover.no_held",
    "scratch.recover.plain_store",
    "wait.attempt.waits_for_the_waker",
    "wait.change.bit_before_wake",
    "wait.unlock.freed_before_woken",
    "wait.recover.nobody_woken",
    "wait.recover.not_abandoned",
    "wait.take_all.by_and_by",
    "wait.take_all.succeeded_is_failed",
    "wait.take_all.released_by_store",
    "wait.take_all.installed_by_store",
    "wait.versioned.current_copy",
    "wait.rwlock.look_first",
    "wait.rwlock.writer_not_woken",
    "wait.rwlock.readers_left",
    "wait.exit.last_one_counts",
    "wait.exit.announced_before_written",
    "values.locked.told_once",
    "map.change.any_record",
    "slab.look.no_second_look",
    "files.kept_in_its_slot",
    "files.no_second_look",
    "wait.condvar.nobody_woken",
    "wait.condvar.marked_late",
    "wait.permits.not_given_back",
    "wait.permits.nobody_woken",
];

/// Whether a mutant is switched on: `if mutant!("crate.operation.what") { … }`.
#[cfg(feature = "faults")]
#[macro_export]
macro_rules! mutant {
    ($name:expr) => {
        $crate::mutant::is_on($name)
    };
}

/// Whether a mutant is switched on; never in this build.
#[cfg(not(feature = "faults"))]
#[macro_export]
macro_rules! mutant {
    ($name:expr) => {
        false
    };
}

#[cfg(feature = "faults")]
pub use switch::{choose, is_on};

#[cfg(feature = "faults")]
mod switch {
    use std::sync::atomic::{AtomicUsize, Ordering};

    static CHOSEN: AtomicUsize = AtomicUsize::new(usize::MAX);

    /// Switches on the mutant of this name and no other, or none, in this process and its later forked children.
    ///
    /// # Panics
    ///
    /// If there is no such mutant.
    pub fn choose(name: Option<&str>) {
        let find = |name| super::ALL.iter().position(|known| *known == name).expect("a mutant of the list");
        // Relaxed: stored before there are other threads or processes.
        CHOSEN.store(name.map_or(usize::MAX, find), Ordering::Relaxed);
    }

    /// Whether this mutant is switched on.
    #[must_use]
    pub fn is_on(name: &str) -> bool {
        // Relaxed: as in `choose`.
        super::ALL.get(CHOSEN.load(Ordering::Relaxed)) == Some(&name)
    }
}
