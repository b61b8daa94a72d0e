//! Where a process may be killed on purpose: one point between any two stores to shared words.

/// Marks a point at which a test may end the process.
macro_rules! crash_point {
    ($name:literal) => {{
        // The name is checked where it is used: a point that is not in the list does not compile.
        const _: () = assert!($crate::crash::listed($name), "add the point to CRASH_POINTS");
    }};
}
pub(crate) use crash_point;

/// The crash points of this crate, in the order of the source.
pub const CRASH_POINTS: &[&str] = &[
    "slab.group.set",
    "slab.claim.hint_set",
    "slab.claim.bit_set",
    "slab.claim.claimed",
    "slab.claim.lost",
    "slab.claim.block_freed",
    "slab.create.entry_named",
    "slab.create.attached",
    "slab.create.published",
    "slab.open.bit_set",
    "slab.open.shared",
    "slab.open.refused",
    "slab.close.renewed",
    "slab.close.block_freed",
    "slab.close.block_forgotten",
    "slab.close.retired",
    "slab.close.bit_cleared",
    "slab.drain.bit_cleared",
    "slab.finish.tagged",
    "slab.finish.empty",
    "slab.finish.freed",
    "slab.finish.hint_cleared",
    "slab.recover.bit_cleared",
    "slab.recover.block_freed",
    "slab.recover.map_cleared",
    "slab.extend.published",
];

/// Whether a name is in [`CRASH_POINTS`].
pub(crate) const fn listed(name: &str) -> bool {
    let mut i = 0;
    while i < CRASH_POINTS.len() {
        if same(CRASH_POINTS[i].as_bytes(), name.as_bytes()) {
            return true;
        }
        i += 1;
    }
    false
}

const fn same(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let mut i = 0;
    while i < a.len() {
        if a[i] != b[i] {
            return false;
        }
        i += 1;
    }
    true
}
