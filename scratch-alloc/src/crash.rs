//! The places where a member may die or be stopped, for the tests that make it do so.

/// Names a point between two shared stores. It is nothing unless the unit tests are built.
macro_rules! failpoint {
    ($name:literal) => {{
        // The name is checked where it is used: a point that is not in the list does not compile.
        const _: () = assert!($crate::crash::listed($name), "add the point to FAILPOINTS");
        #[cfg(all(test, not(loom)))]
        $crate::explore::hooks::passed($name);
    }};
}
pub(crate) use failpoint;

/// The failpoints of this crate, in the order of the source.
pub(crate) const FAILPOINTS: &[&str] = &[
    "scratch.free.remote_stored",
    "scratch.free.hinted",
    "scratch.free.orphan_stored",
    "scratch.extend.committed",
    "scratch.claim.marked",
    "scratch.claim.returned",
    "scratch.free_units.freed",
    "scratch.back.committed",
    "scratch.trim.marked",
    "scratch.trim.decommitted",
    "scratch.small.blocks_stored",
    "scratch.small.tail_stored",
    "scratch.small.head_stored",
    "scratch.table.committed",
    "scratch.large.parked",
    "scratch.large.unparked",
    "scratch.large.block_stored",
    "scratch.large.head_stored",
    "scratch.large.block_freed",
    "scratch.large.head_held",
    "scratch.release.head_held",
    "scratch.adopt.head_taken",
    "scratch.adopt.tail_named",
    "scratch.abandon.head_stored",
    "scratch.gather.hint_cleared",
    "scratch.gather.block_taken",
    "scratch.recover.head_held",
    "scratch.recover.block_freed",
    "scratch.recover.abandoned",
    "scratch.recover.unit_freed",
];

/// The member is about to access a shared word.
#[inline(always)]
pub(crate) fn step() {
    #[cfg(all(test, not(loom)))]
    crate::explore::hooks::step();
}

/// Whether a name is in [`FAILPOINTS`].
pub(crate) const fn listed(name: &str) -> bool {
    let mut at = 0;
    while at < FAILPOINTS.len() {
        if same(FAILPOINTS[at].as_bytes(), name.as_bytes()) {
            return true;
        }
        at += 1;
    }
    false
}

const fn same(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let mut at = 0;
    while at < a.len() {
        if a[at] != b[at] {
            return false;
        }
        at += 1;
    }
    true
}
